"""Composition of the EPCI with own taxation on 1 January of each year, by the DGCL."""
