"""Steps in several processes: the same bytes, nothing after a failure, nobody else's folder.

A few steps only, since each has a process of its own; `python -m bench.executors` compares whole releases.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from few_steps import SOURCES, STEPS
from vigie_runs import Built, environment

from pipelines.automation import whole_range
from pipelines.running import failure_message, instance_environment, told_elsewhere
from pipelines.settings import Settings
from pipelines.workspace import Workspace, fingerprint_of

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

MADE = [*(f"core/{s}" for s in SOURCES), *(f"stage/settled/{s}" for s in SOURCES), "stage/geography"]


def executed(instance: dg.DagsterInstance, data: Path, executor: str) -> Any:
    return dg.execute_job(
        dg.build_reconstructable_job(
            "few_steps",
            "few",
            reconstructable_kwargs={"data": str(data), "executor": executor},
            reconstructor_working_directory=str(Path(__file__).parents[1]),
        ),
        instance=instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags=whole_range(Workspace(Settings())),
    )


def content(data: Path) -> dict[str, object]:
    """Of each file, its bytes; of the intermediate ones, which follow the order in which their process met categories,
    the fingerprint and the rows in any order."""
    files = {str(p.relative_to(data)): p for name in MADE for p in (data / name).rglob("*.parquet")}
    return {name: p.read_bytes() if name.startswith("core/") else rows(p) for name, p in files.items()}


def rows(path: Path) -> tuple[str, list[tuple[object, ...]]]:
    return fingerprint_of(path), sorted(pl.read_parquet(path).rows(), key=repr)


@pytest.mark.parametrize("executor", ["multiprocess", "dask"])
def test_steps_of_other_processes_write_the_same_bytes_and_stop_where_they_must(
    executor: str, built: Built, copied: Callable[..., Path], small: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if executor == "dask":
        pytest.importorskip("dagster_dask", reason="Dask absent : pip install 'vigie[dask]'")
    data = copied(*MADE)
    for name, value in environment(data, small).items():
        monkeypatch.setenv(name, value)
    for name, value in instance_environment(Workspace(Settings())).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        run = executed(instance, data, executor)
        assert run.success, [e.event_specific_data.error.to_string() for e in run.all_events if e.is_failure]
        assert content(data) == content(built.data) and len(content(data)) > 20
        began = [e for e in run.all_events if e.event_type == dg.DagsterEventType.STEP_START]
        assert len(began) == len(STEPS)

        (data / "stage" / "geography" / "passage.parquet").unlink()
        os.rename(data / "core" / "insee_cog_evenements", data / "core" / "away")
        run = executed(instance, data, executor)
        told = {str(e.step_key): failure_message(e.step_failure_data) for e in run.get_step_failure_events()}
        assert [key for key, message in told.items() if not told_elsewhere(message)] == ["geography__passage"]
        assert {str(e.step_key) for e in run.all_events if e.is_step_success} == {f"core__{s}" for s in SOURCES}
        assert not run.success and not (data / "stage" / "geography" / "passage.parquet").exists()
