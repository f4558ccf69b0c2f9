"""Census, evolution and structure of the population by commune."""
