"""Brevet results by school (Opendatasoft export)."""
