"""Running the checks on a folder of tables and on the core frames."""

from __future__ import annotations

from pathlib import Path

from expectations.adapter import connect, run_suites
from expectations.results import CheckResult, Run
from expectations.suites import published_suites
from expectations.vocabulary import load_bounds
from pipelines.workspace import Workspace
from warehouse.models import TABLES


def check_folder(workspace: Workspace, folder: Path, run: Run) -> list[CheckResult]:
    """Every suite and reconciliation on the tables of a candidate or a release."""
    bounds = load_bounds("demo" if workspace.settings.profile == "demo" else "national")
    relations = {
        name: f"read_parquet('{folder / name}.parquet')"
        for name in TABLES
        if (folder / f"{name}.parquet").exists()
    }
    connection = connect()
    try:
        return run_suites(connection, published_suites(bounds), relations, run)
    finally:
        connection.close()


def suite_names() -> list[str]:
    """The suites that are run on a candidate, in order, each once."""
    bounds = load_bounds("national")
    return list(dict.fromkeys(s.name for s in published_suites(bounds)))
