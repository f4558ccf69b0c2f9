"""Composition of the EPCI of 2014 to 2019, one year a block, as a third party keeps it."""
