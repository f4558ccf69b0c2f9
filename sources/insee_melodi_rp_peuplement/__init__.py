"""Census, over- and under-occupied dwellings (Melodi): declared layout."""
