"""Dagster's part in alerts: what runs started from its page or its schedules tell, and a daily look at freshness.

All off until switched on; `vigie run` tells by itself.
"""

from __future__ import annotations

import dagster as dg

from pipelines.alerts import tell
from pipelines.checks import FRESHNESS
from pipelines.running import failure_message, told_elsewhere
from pipelines.workspace import Workspace

WATCH = "watch_freshness"
OFF = dg.DefaultSensorStatus.STOPPED


def watch_job(workspace: Workspace) -> dg.UnresolvedAssetJobDefinition:
    """The freshness checks alone: nothing is asked of a producer, nothing is written to the data folder."""
    dated = [s.source_id for s in workspace.sources.values() if s.expected is not None]
    return dg.define_asset_job(
        WATCH,
        selection=dg.AssetSelection.checks(*(dg.AssetCheckKey(dg.AssetKey(["core", s]), FRESHNESS) for s in dated)),
        executor_def=dg.in_process_executor,
        description="Le calendrier de chaque source face à ce qui est reçu : une édition est-elle en retard ?",
    )


def watch_schedule(job: dg.UnresolvedAssetJobDefinition) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name="watch_freshness_weekly",
        job=job,
        cron_schedule="30 7 * * 1",
        execution_timezone="Europe/Paris",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Le lundi à 7 h 30, heure de Paris ; à activer.",
    )


def build_alert_sensors(
    workspace: Workspace, job: dg.UnresolvedAssetJobDefinition, watch: dg.UnresolvedAssetJobDefinition
) -> list[dg.SensorDefinition]:
    """One sensor for the runs that failed, one for those that ended well: drifts, late editions, what is over.

    They are evaluated by a process that lasts for months: the workspace is made anew, with what was deposited since.
    """

    @dg.run_failure_sensor(
        name="alert_on_failure",
        monitored_jobs=[job],
        default_status=OFF,
        description="Prévient (VIGIE_ALERTS) d'une exécution en échec ; à activer.",
    )
    def alert_on_failure(context: dg.RunFailureSensorContext) -> None:
        steps = [(e.step_key or "?", failure_message(e.step_failure_data)) for e in context.get_step_failure_events()]
        said = [(step, text) for step, text in steps if not told_elsewhere(text)]
        said = said or ([] if steps else [("l'exécution", context.failure_event.message or "")])
        for wrong in tell(Workspace(workspace.settings), said):
            context.log.warning(wrong)

    @dg.run_status_sensor(
        name="alert_on_success",
        run_status=dg.DagsterRunStatus.SUCCESS,
        monitored_jobs=[job, watch],
        default_status=OFF,
        description="Prévient (VIGIE_ALERTS) des dérives, des retards, des nouvelles éditions ; à activer.",
    )
    def alert_on_success(context: dg.RunStatusSensorContext) -> None:
        for wrong in tell(Workspace(workspace.settings), [] if context.dagster_run.job_name == job.name else None):
            context.log.warning(wrong)

    return [alert_on_failure, alert_on_success]
