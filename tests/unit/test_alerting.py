"""Dagster's part: freshness shows as checks, a run started from the page is told by the sensors, a look by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines import alerting, checks
from pipelines.alerting import build_alert_sensors
from pipelines.checks import FRESHNESS, build_checks
from pipelines.settings import Settings
from pipelines.workspace import Workspace
from sources.calendar import Freshness


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Settings(data=tmp_path, profile="live"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `tell` was called with."""
    calls: list[Any] = []

    def tell(workspace: Workspace, failures: Any) -> list[str]:
        calls.append(failures)
        return ["canal n° 1 : refusé"]

    monkeypatch.setattr(alerting, "tell", tell)
    return calls


def ended(sensor: dg.SensorDefinition, step: Any, instance: dg.DagsterInstance, *, name: str = "build_release") -> Any:
    """Runs a job of one step and hands its end to a sensor."""

    @dg.op(name="candidate")
    def candidate() -> None:
        step()

    @dg.job(name=name)
    def job() -> None:
        candidate()

    result = job.execute_in_process(instance=instance, raise_on_error=False)
    kind = dg.DagsterEventType.RUN_SUCCESS if result.success else dg.DagsterEventType.RUN_FAILURE
    event = next(e for e in result.all_events if e.event_type == kind)
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name, dagster_event=event, dagster_instance=instance, dagster_run=result.dagster_run
    )
    return sensor(context if result.success else context.for_run_failure())  # pyright: ignore


def sensors(workspace: Workspace) -> dict[str, dg.SensorDefinition]:
    job = dg.define_asset_job("build_release")
    return {s.name: s for s in build_alert_sensors(workspace, job, dg.define_asset_job("watch_freshness"))}


def test_a_run_that_failed_on_the_page_is_told_with_its_message(workspace: Workspace, told: list[Any]) -> None:
    def broken() -> None:
        raise dg.Failure("disque plein : attendu 3 Go libres")

    with dg.DagsterInstance.ephemeral() as instance:
        ended(sensors(workspace)["alert_on_failure"], broken, instance)
    assert told == [[("candidate", "disque plein : attendu 3 Go libres")]]


def test_a_run_that_ended_well_is_told_and_a_look_at_freshness_says_nothing_of_runs(
    workspace: Workspace, told: list[Any]
) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        ended(sensors(workspace)["alert_on_success"], lambda: None, instance)
        ended(sensors(workspace)["alert_on_success"], lambda: None, instance, name="watch_freshness")
    assert told == [[], None]


def test_the_sensors_are_off_until_switched_on(workspace: Workspace) -> None:
    assert all(s.default_status == dg.DefaultSensorStatus.STOPPED for s in sensors(workspace).values())


def test_freshness_is_a_check_of_each_core_asset_and_a_late_one_is_a_warning(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [
        Freshness("cnaf_commune", "late", None, "édition 2025 en retard"),
        Freshness("insee_cog_communes", "expected", None, "édition 2027 attendue"),
    ]
    monkeypatch.setattr(checks, "freshness_of_all", lambda *a: answers)
    (freshness,) = [c for c in build_checks(workspace) if c.node_def.name == "check_freshness"]
    dated = {s.source_id for s in workspace.sources.values() if s.expected}
    assert {key.asset_key.path[-1] for key in freshness.check_keys} == dated
    keys = {dg.AssetCheckKey(dg.AssetKey(["core", a.source_id]), FRESHNESS) for a in answers}
    assets = [dg.AssetSpec(["core", a.source_id]) for a in answers]
    selection = dg.AssetSelection.checks(*keys)
    defs = dg.Definitions(
        assets=assets, asset_checks=[freshness], jobs=[dg.define_asset_job("look", selection=selection)]
    )
    result = defs.resolve_job_def("look").execute_in_process()
    found = {e.asset_key.path[-1]: e for e in result.get_asset_check_evaluations()}
    late, fresh = found["cnaf_commune"], found["insee_cog_communes"]
    assert (late.passed, late.severity, late.description) == (
        False,
        dg.AssetCheckSeverity.WARN,
        "édition 2025 en retard",
    )
    assert fresh.passed, "expected is not late"
