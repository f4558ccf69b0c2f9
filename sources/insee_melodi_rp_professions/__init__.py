"""Census, occupations of the labour force (Melodi): declared layout."""
