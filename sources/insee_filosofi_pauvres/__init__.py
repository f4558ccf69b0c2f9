"""Filosofi: poverty at 40, 50 and 60 % and its intensity, by commune, for every household and by group."""
