"""Dagster's history on PostgreSQL, as docs/deploiement.md says: a real server on loopback, killed and started again."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipelines.running import instance_environment
from pipelines.settings import Settings
from pipelines.workspace import ROOT, Workspace

FOLDER = ROOT / "docs" / "deploiement" / "postgresql"
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
PASSWORD = secrets.token_hex(12)


def declared(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "dagster.yaml").read_text(encoding="utf-8"))


def test_only_the_storage_differs_and_it_holds_no_secret() -> None:
    ours, postgres = declared(ROOT), declared(FOLDER)
    place = postgres.pop("storage")["postgres"]["postgres_db"]
    del ours["storage"]
    assert ours == postgres
    assert place.pop("scheme") == "postgresql+psycopg2"
    assert all(list(value) == ["env"] for value in place.values())


def test_another_instance_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(Settings(data=tmp_path))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    assert instance_environment(workspace)["DAGSTER_HOME"] == str(ROOT)
    monkeypatch.setenv("DAGSTER_HOME", str(FOLDER))
    assert instance_environment(workspace)["DAGSTER_HOME"] == str(FOLDER)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`server("restart")`: a PostgreSQL server of the test's own, run by a user without rights and named by the
    environment."""
    folder = Path(tempfile.mkdtemp(prefix="vigie-pg-"))
    (folder / "password").write_text(PASSWORD)
    as_user: list[str] = []
    if os.geteuid() == 0:
        for path in (folder, folder / "password"):
            shutil.chown(path, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    programs, data = PROGRAMS[-1].parent, folder / "data"

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), "-D", str(data), *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)

    def act(action: str) -> None:
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        given = [] if action == "stop" else ["-o", options]
        run("pg_ctl", action, "-w", "-m", "immediate", "-l", str(folder / "log"), *given)

    run("initdb", "-U", "vigie", "--auth=scram-sha-256", f"--pwfile={folder / 'password'}", "-E", "UTF8", "--no-sync")
    act("start")
    place = {"HOST": "127.0.0.1", "PORT": str(port), "DB": "postgres", "USER": "vigie", "PASSWORD": PASSWORD}
    for name, value in place.items():
        monkeypatch.setenv(f"VIGIE_POSTGRES_{name}", value)
    monkeypatch.setenv("VIGIE_DAGSTER", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(FOLDER))
    yield act
    act("stop")
    shutil.rmtree(folder)


@pytest.mark.skipif(not PROGRAMS, reason="no PostgreSQL server on this machine")
def test_runs_are_kept_there_and_outlive_the_server(server: Callable[..., None], tmp_path: Path) -> None:
    @dg.asset
    def figure() -> dg.MaterializeResult:
        return dg.MaterializeResult(metadata={"lignes": 3})

    with dg.DagsterInstance.get() as instance:
        run_id = dg.materialize([figure], instance=instance).run_id
    server("restart")
    with dg.DagsterInstance.get() as instance:
        assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
        assert [(r.run_id, r.status) for r in instance.get_runs()] == [(run_id, dg.DagsterRunStatus.SUCCESS)]
        event = instance.get_latest_materialization_event(dg.AssetKey("figure"))
        assert event is not None and event.asset_materialization is not None
        assert event.asset_materialization.metadata["lignes"].value == 3
        assert PASSWORD not in str(instance.info_dict())
    assert not list(tmp_path.rglob("*.db"))
