"""Census, couples, families and households by commune."""
