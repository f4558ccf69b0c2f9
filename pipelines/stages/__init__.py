"""The stages of a run as plain functions: read, call a method, write, report. No Dagster here."""
