"""FDep deprivation index by commune (Opendatasoft export)."""
