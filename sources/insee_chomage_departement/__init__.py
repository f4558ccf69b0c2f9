"""Localised unemployment rate by département and région."""
