"""Caf by IRIS: households and persons covered at 31 December, summed to communes as lower bounds."""
