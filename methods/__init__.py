"""How figures are made: pure functions on frames. No file is read or written here, no Dagster."""
