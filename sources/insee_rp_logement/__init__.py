"""Census, dwellings by commune."""
