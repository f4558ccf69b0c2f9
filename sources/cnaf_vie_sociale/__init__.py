"""Social centres by commune."""
