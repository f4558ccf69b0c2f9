"""Social housing: rents and mobility by commune."""
