"""Life expectancy by département (Melodi)."""
