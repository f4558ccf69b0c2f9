"""Runs of Dagster's instance that nothing executes any more: closed by what begins, never while a run goes on."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from vigie_runs import Run, call

from pipelines import running
from pipelines.settings import Settings
from pipelines.workspace import Workspace

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

DEAD = ("NOT_STARTED", "STARTING", "STARTED", "CANCELING")
OTHERS = ("QUEUED", "SUCCESS", "FAILURE", "CANCELED")
QUEUED = RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("vigie"), "vigie"), "build_release")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of the folder, with one run in each status; a run has its status as identifier."""
    for name, value in running.instance_environment(Workspace(Settings(data=tmp_path))).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as opened:
        for status in DEAD + OTHERS:
            run = dg.DagsterRun("build_release", status, status=dg.DagsterRunStatus[status], remote_job_origin=QUEUED)
            opened.add_run(run)
        yield opened


def statuses(instance: dg.DagsterInstance) -> dict[str, str]:
    return {run.run_id: run.status.value for run in instance.get_runs()}


def dev(data: Path) -> tuple[Run, mock.Mock]:
    """`vigie dev` up to the moment when Dagster would take the place of the process."""
    with mock.patch.object(os, "execv") as execv, mock.patch.object(os, "chdir"):
        return call(data, "dev", recorded=True), execv


def test_what_seems_to_go_on_is_failed_and_the_rest_is_left(instance: dg.DagsterInstance) -> None:
    told = running.close_dead_runs()
    assert statuses(instance) == dict.fromkeys(DEAD, "FAILURE") | {s: s for s in OTHERS}
    assert sorted(told) == sorted(f"exécution {s} interrompue, notée en échec dans Dagster" for s in DEAD)
    (event,) = (e for e in instance.all_logs("STARTED") if e.dagster_event and e.dagster_event.is_job_failure)
    assert "son processus n'existe plus" in event.dagster_event.message
    assert running.close_dead_runs() == []


def test_the_page_opens_on_no_dead_run(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    run, execv = dev(tmp_path)
    assert execv.call_count == 1, run.text
    assert set(statuses(instance).values()).isdisjoint(DEAD)
    assert run.text.count("Reprise :") == len(DEAD)


def test_the_page_opens_beside_a_run_that_goes_on(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("4321\n")
    with (tmp_path / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run, execv = dev(tmp_path)
    assert execv.call_count == 1, run.text
    assert statuses(instance) == {s: s for s in DEAD + OTHERS}
    assert "le processus 4321" in run.text and "la page la montre" in run.text


def test_a_refused_run_closes_nothing(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert call(tmp_path, "run", recorded=True).code == 2
    assert statuses(instance) == {s: s for s in DEAD + OTHERS}


@pytest.mark.parametrize(
    "key",
    ["core/insee_cog_communes", "core/insee_filosofi_cc", "geography/passage", "geography/territory",
     "geography/correspondence", "settled/insee_filosofi_cc", "observation/revenus_pauvrete", "candidate"],
)  # fmt: skip
def test_a_run_of_a_few_assets_waits_for_the_folder_too(tmp_path: Path, key: str) -> None:
    """Else it would be taken for dead while it goes on."""
    from pipelines.definitions import build_definitions

    (tmp_path / ".lock").touch()
    with (tmp_path / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        job = build_definitions(Workspace(Settings(data=tmp_path))).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            asset_selection=[dg.AssetKey(key.split("/"))],
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            partition_key="2018" if key == "core/insee_filosofi_cc" else None,
            raise_on_error=False,
        )
    (failure,) = result.get_step_failure_events()
    assert "est déjà utilisé par le processus" in failure.step_failure_data.error.to_string()
