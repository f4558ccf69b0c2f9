"""Census, types of household (Melodi): declared layout."""
