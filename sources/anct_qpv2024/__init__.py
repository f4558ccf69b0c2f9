"""Priority districts (QPV) of the perimeters of 2024, with the codes of their communes."""
