"""Dagster's definitions: the assets, their checks, the jobs and their executor, what starts them once switched on."""

from __future__ import annotations

import dagster as dg

from pipelines.alerting import build_alert_sensors, watch_job, watch_schedule
from pipelines.assets import build_assets
from pipelines.automation import JOB, build_approval, build_schedules, build_sensors
from pipelines.checks import build_checks
from pipelines.executing import executor_of
from pipelines.workspace import Workspace


def build_definitions(workspace: Workspace) -> dg.Definitions:
    """Everything Dagster knows of Vigie, for one workspace."""
    job = dg.define_asset_job(
        JOB,
        selection=dg.AssetSelection.all(),
        description="Tout le chemin : acquisition, géographie, indicateurs, contrôles, publication.",
    )
    watch = watch_job(workspace)
    return dg.Definitions(
        assets=build_assets(workspace),
        asset_checks=build_checks(workspace),
        jobs=[job, build_approval(workspace), watch],
        schedules=[*build_schedules(workspace), watch_schedule(watch)],
        sensors=[*build_sensors(workspace), *build_alert_sensors(workspace, job, watch)],
        executor=executor_of(workspace),
    )
