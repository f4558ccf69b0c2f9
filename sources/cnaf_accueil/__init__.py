"""Childcare places (Cnaf, Opendatasoft export)."""
