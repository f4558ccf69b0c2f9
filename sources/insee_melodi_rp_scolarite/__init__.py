"""Census, schooling (Melodi): declared layout."""
