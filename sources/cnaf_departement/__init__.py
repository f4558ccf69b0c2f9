"""Caf by département, every benefit (Opendatasoft export)."""
