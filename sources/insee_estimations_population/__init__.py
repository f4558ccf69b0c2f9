"""Population estimates by département, sex and age (Melodi)."""
