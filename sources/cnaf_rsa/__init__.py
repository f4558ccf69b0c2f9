"""Caf by commune, persons covered by the RSA (Opendatasoft export)."""
