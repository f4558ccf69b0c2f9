"""Social housing stock by commune."""
