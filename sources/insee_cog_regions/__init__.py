"""Régions of each official geographic code (COG); read by the parser of insee_cog_departements."""
