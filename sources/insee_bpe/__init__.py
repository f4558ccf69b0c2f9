"""Permanent database of facilities (Melodi)."""
