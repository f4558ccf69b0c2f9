"""Census, labour force, employment and unemployment by commune."""
