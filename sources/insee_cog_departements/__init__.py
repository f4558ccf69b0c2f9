"""Départements of each official geographic code (COG); the parser here also reads the list of régions."""
