"""Localised unemployment rate by employment zone."""
