"""What we read: one folder per dataset (description and parser), the HTTP client, the raw store.

Nothing here knows an indicator, a table of the release, or Dagster.
"""
