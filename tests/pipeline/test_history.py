"""The history of runs that Dagster keeps: what one process writes, another reads and follows at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from unittest import mock

import dagster as dg
import pytest
from dagster._core.storage.sql import create_engine

from pipelines import history
from pipelines.running import instance_environment
from pipelines.settings import Settings
from pipelines.workspace import Workspace

SECONDS = 30


@dg.op
def nothing() -> None:
    return None


@dg.job
def job() -> None:
    nothing()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in instance_environment(Workspace(Settings(data=tmp_path / "data"))).items():
        monkeypatch.setenv(name, value)
    return Path(os.environ["VIGIE_DAGSTER"])


@pytest.fixture
def instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as opened:
        yield opened


def test_the_history_is_where_dagster_keeps_it(instance: dg.DagsterInstance, folder: Path) -> None:
    run = job.execute_in_process(instance=instance)
    assert {"index.db", f"{run.run_id}.db"} <= {p.name for p in (folder / "history" / "runs").iterdir()}
    assert (folder / "history" / "runs.db").exists() and (folder / "schedules" / "schedules.db").exists()


def test_what_a_run_writes_is_read_from_elsewhere_at_once(instance: dg.DagsterInstance) -> None:
    """The terminal runs, the page shows: two instances."""
    first, second = (job.execute_in_process(instance=instance) for _ in range(2))
    with dg.DagsterInstance.get() as page:
        for run in (first, second, first):
            assert len(page.all_logs(run.run_id)) == len(instance.all_logs(run.run_id)) > 5


def test_who_follows_a_run_is_told_of_each_event(instance: dg.DagsterInstance) -> None:
    run = instance.create_run_for_job(job)
    told: Queue[str] = Queue()
    with dg.DagsterInstance.get() as page:
        page.watch_event_logs(run.run_id, None, lambda entry, _: told.put(entry.message))
        for word in ("one", "two"):
            instance.report_engine_event(word, run)
            assert told.get(timeout=SECONDS) == word


def test_a_run_opens_its_files_once_and_not_once_an_event(folder: Path) -> None:
    with (
        mock.patch.object(history, "create_engine", side_effect=create_engine) as opened,
        dg.DagsterInstance.get() as instance,
    ):
        runs = [job.execute_in_process(instance=instance) for _ in range(3)]
        assert sum(len(instance.all_logs(run.run_id)) for run in runs) >= 10 * len(runs)
    assert opened.call_count < 4 * len(runs)  # the index; each run when it goes on, and when it is read
    assert [p.name for p in folder.rglob("*") if p.name.endswith(("-wal", "-shm", "-journal"))] == []


WRITER = """
import sys
import dagster as dg
with dg.DagsterInstance.get() as instance:
    run = instance.get_run_by_id(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(100):
        instance.report_engine_event(f"{sys.argv[2]} {n}", run)
        instance.report_runless_asset_event(dg.AssetMaterialization(f"asset_{n % 7}"))
"""


def test_several_processes_write_the_same_run_at_once(instance: dg.DagsterInstance) -> None:
    """Those of its steps: no event is lost, none is refused, and each process finds its own in order."""
    run = instance.create_run_for_job(job)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, run.run_id, str(n)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        for n in range(3)
    ]
    assert all(w.stdout and w.stdout.readline() == "ready\n" for w in writers)
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for n in range(100):
        instance.report_engine_event(f"here {n}", run)
    assert [w.wait(timeout=SECONDS * 4) for w in writers] == [0, 0, 0]
    told = [event.message for event in instance.all_logs(run.run_id)]
    for name in ("0", "1", "2", "here"):
        assert [text for text in told if text.startswith(f"{name} ")] == [f"{name} {n}" for n in range(100)]
    assert len(instance.fetch_materializations(dg.AssetKey("asset_0"), limit=100).records) == 3 * 15
