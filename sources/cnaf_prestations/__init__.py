"""Caf by commune, every benefit (Opendatasoft export)."""
