"""Filosofi from 2023: a new source, in SDMX long form, never joined with the years before."""
