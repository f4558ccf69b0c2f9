"""Recorded crime."""
