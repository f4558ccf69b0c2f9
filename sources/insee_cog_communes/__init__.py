"""Communes of each official geographic code (COG), with associated and delegated ones, on 1 January."""
