"""Dagster's definitions load, read like the walk of a figure, and start nothing by themselves."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from pipelines.automation import whole_range
from pipelines.definitions import JOB, build_definitions
from pipelines.settings import Settings
from pipelines.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(Settings(data=tmp_path_factory.mktemp("data"), profile="demo"))


@pytest.fixture(scope="module")
def definitions(workspace: Workspace) -> dg.Definitions:
    return build_definitions(workspace)


def test_the_definitions_load(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_the_release_is_sent_only_where_a_store_is_named(definitions: dg.Definitions, workspace: Workspace) -> None:
    sent = dg.AssetKey("sent")
    assert sent not in definitions.resolve_asset_graph().get_all_asset_keys()
    settings = workspace.settings.model_copy(update={"remote": "s3://seau/observatoire"})
    graph = build_definitions(Workspace(settings)).resolve_asset_graph()
    assert graph.get(sent).parent_keys == {dg.AssetKey("release")}


def test_every_source_with_an_edition_walks_from_raw_to_core(
    definitions: dg.Definitions, workspace: Workspace
) -> None:
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    held = [s for s in workspace.sources.values() if s.editions]
    assert {f"{stage}/{s.source_id}" for stage in ("raw", "core") for s in held} <= keys
    assert {f"settled/{s.source_id}" for s in held if s.kind == "values"} <= keys
    empty = {s.source_id for s in workspace.sources.values() if not s.editions}
    assert empty and all(s.startswith("depot_") for s in empty)
    assert not {f"{stage}/{s}" for stage in ("raw", "core", "settled") for s in empty} & keys  # nothing to walk
    assert {"geography/passage", "geography/territory", "geography/correspondence", "candidate", "release"} <= keys


def test_indicators_come_after_every_figure_and_estimate(definitions: dg.Definitions) -> None:
    """The fingerprint of what they are computed from is made of them all."""
    graph = definitions.resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    figures = {k for k in keys if k.path[0] == "settled"} | {dg.AssetKey("estimated")}
    missing = {k.to_user_string() for k in keys if k.path[0] == "observation" and figures - graph.get(k).parent_keys}
    assert missing == set()


def test_every_asset_says_what_it_is(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    silent = [k.to_user_string() for k in graph.get_all_asset_keys() if not graph.get(k).description]
    assert silent == []
    assert all(graph.get(k).group_name != "default" for k in graph.get_all_asset_keys())


def test_nothing_is_published_past_a_failed_critical_check(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    checks = graph.get_check_keys_for_assets({dg.AssetKey("candidate")})
    assert len(checks) > 20
    assert all(graph.get_check_spec(key).blocking and graph.get_check_spec(key).description for key in checks)


def test_statistical_sources_are_partitioned_by_year_of_edition(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    partitions = graph.get(dg.AssetKey(["core", "insee_filosofi_cc"])).partitions_def
    assert partitions is not None and "2018" in partitions.get_partition_keys()
    assert graph.get(dg.AssetKey(["core", "insee_cog_communes"])).partitions_def is None


def test_the_schedule_is_monthly_in_paris_time_and_off(definitions: dg.Definitions, workspace: Workspace) -> None:
    schedule = next(s for s in definitions.schedules or [] if s.name == "build_release_monthly")
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 5 3 * *", "Europe/Paris")
    assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    context = dg.build_schedule_context(scheduled_execution_time=datetime(2026, 12, 3, 5))
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert whole_range(workspace).items() <= request.tags.items()


def test_what_starts_by_itself_is_off_and_starts_a_job_that_is_there(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert len(repository.sensor_defs) > 10 and len(repository.schedule_defs) > 1
    for sensor in repository.sensor_defs:
        assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    for schedule in repository.schedule_defs:
        assert schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert {"approve_release", "watch_freshness", JOB} <= set(repository.job_names)


def test_a_run_has_one_process_whatever_it_is_started_from(definitions: dg.Definitions) -> None:
    of_a_few_assets = definitions.resolve_implicit_global_asset_job_def()
    assert {job.executor_def.name for job in (definitions.resolve_job_def(JOB), of_a_few_assets)} == {"in_process"}


def test_the_instance_file_stands_at_the_root() -> None:
    text = (Path(__file__).parents[2] / "dagster.yaml").read_text(encoding="utf-8")
    assert "VIGIE_DAGSTER" in text and "nux" in text
