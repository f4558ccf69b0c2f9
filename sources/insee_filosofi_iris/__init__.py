"""Filosofi by IRIS: standard of living and poverty, and, apart, declared income."""
