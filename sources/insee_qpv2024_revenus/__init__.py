"""Standard of living and poverty of the priority districts (QPV) of 2024: other perimeters than those of 2015."""
