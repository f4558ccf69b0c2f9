"""Census, diplomas (Melodi): declared layout."""
