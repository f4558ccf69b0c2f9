"""Population, composition and Caf counts of the priority districts (QPV) of 2015."""
