"""Census 2023 on Melodi, families of every level."""
