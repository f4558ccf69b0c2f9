"""Filosofi by 200 m cell, summed by commune."""
