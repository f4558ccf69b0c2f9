"""Census 2023 on Melodi, population of 15 or more of every level."""
