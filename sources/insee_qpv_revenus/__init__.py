"""Standard of living and poverty of the priority districts (QPV) of 2015."""
