"""Dagster's definitions: the assets, their checks, one job in one process, one schedule (off until switched on)."""

from __future__ import annotations

import dagster as dg

from pipelines.assets import build_assets, partitioned_years
from pipelines.checks import build_checks
from pipelines.workspace import Workspace

JOB = "build_release"


def build_definitions(workspace: Workspace) -> dg.Definitions:
    """Everything Dagster knows of Vigie, for one workspace."""
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description="Tout le chemin : acquisition, géographie, indicateurs, contrôles, publication.",
    )

    @dg.schedule(
        name="build_release_monthly",
        job=job,
        cron_schedule="0 5 3 * *",
        execution_timezone="Europe/Paris",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Le 3 du mois à 5 h, heure de Paris ; à activer.",
    )
    def monthly() -> dg.RunRequest:
        return dg.RunRequest(tags=whole_range(workspace))

    return dg.Definitions(
        assets=build_assets(workspace),
        asset_checks=build_checks(workspace),
        jobs=[job],
        schedules=[monthly],
        # one process a run, of a few assets too: it holds the lock of the data folder and hands the candidate over,
        # and starting a process a step costs ten times what the steps' own overhead does
        executor=dg.in_process_executor,
    )


def whole_range(workspace: Workspace) -> dict[str, str]:
    """Tags that make a run cover every partition at once."""
    years = partitioned_years(workspace)
    return {
        "dagster/asset_partition_range_start": str(years[0]),
        "dagster/asset_partition_range_end": str(years[-1]),
    }
