"""What runs: Dagster assets, checks, jobs and schedules, settings, and the `vigie` command."""
