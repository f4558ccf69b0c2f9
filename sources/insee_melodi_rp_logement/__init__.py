"""Census 2023 on Melodi, dwellings of every level."""
