"""Votes by commune."""
