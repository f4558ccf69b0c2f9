"""Measures and long trials, run by hand: none of it belongs to the product or to its tests."""
