"""Census, diplomas and schooling by commune."""
