"""Census, population by age (Melodi): declared layout."""
