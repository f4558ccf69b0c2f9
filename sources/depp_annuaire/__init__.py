"""Schools in priority education (Opendatasoft export)."""
