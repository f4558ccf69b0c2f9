"""Census, population by detailed age of the IRIS, summed by commune."""
