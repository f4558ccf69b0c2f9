"""The `vigie` command, in a process of its own or in this one, and what a data folder must look like whatever became
of it.

Shared by the tests of whole runs and by the long trials of bench/.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import polars as pl
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.workspace import Workspace
from warehouse.duckdb_file import engine, published_in
from warehouse.package import SUMS, verify_sums
from warehouse.release import Releases

VIGIE = str(Path(sys.executable).with_name("vigie"))
CLOCK = {"checked": None}  # of a recipe: what its checks were run by, and when
LEFTOVERS = (".candidate-", ".build-", ".latest-", ".publishing", ".partiel-")
ENDINGS = (".tmp", ".part", ".wal")


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def text(self) -> str:
        """All that a person saw, on one line, all spaces alike: a terminal may cut lines anywhere."""
        return " ".join(f"{self.out} {self.err}".split())


@dataclass(frozen=True)
class Built:
    """A data folder after its first run. Tests copy it before they change anything."""

    data: Path
    run: Run

    @property
    def public(self) -> Path:
        return self.data / "releases" / "latest" / "public"


def environment(data: Path, settings: dict[str, str]) -> dict[str, str]:
    """Settings are VIGIE_* variables, those of the caller do not count."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("VIGIE_", "DAGSTER_"))}
    return own | settings | {"VIGIE_DATA": str(data), "COLUMNS": "400"}


def begin(
    data: Path, *arguments: str, program: Sequence[str] = (VIGIE,), **settings: str
) -> subprocess.Popen[str]:
    """Starts `vigie ARGUMENTS` on a data folder, or another program that does as much."""
    return subprocess.Popen(
        [*program, *arguments],
        env=environment(data, settings),
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def vigie(data: Path, *arguments: str, **settings: str) -> Run:
    """Runs `vigie ARGUMENTS` to its end."""
    began = time.monotonic()
    return end(begin(data, *arguments, **settings), began)


def end(process: subprocess.Popen[str], began: float) -> Run:
    """What a command begun at that moment answered."""
    out, err = process.communicate()
    return Run(process.returncode, out, err, time.monotonic() - began)


def call(data: Path, *arguments: str, recorded: bool = False, **settings: str) -> Run:
    """`vigie ARGUMENTS` in this process, which is left as it was: modules are loaded already.

    Dagster's history of a run is kept in memory unless it is to be `recorded`: writing it takes seconds.
    """
    import dagster as dg

    instance = dg.DagsterInstance.get if recorded else dg.DagsterInstance.ephemeral
    began = time.monotonic()
    with (
        mock.patch.dict(os.environ, environment(data, settings), clear=True),
        mock.patch.object(dg.DagsterInstance, "get", instance),
        unlocked(),
    ):
        result = CliRunner().invoke(app, arguments)
    crash = result.exception
    told = "" if isinstance(crash, SystemExit | None) else "".join(traceback.format_exception(crash))
    return Run(result.exit_code, result.stdout, result.stderr + told, time.monotonic() - began)


@contextmanager
def unlocked() -> Iterator[None]:
    """Gives back on leaving the data folders that were locked meanwhile: a process keeps them until it ends."""
    lock, holding = Workspace.lock, list[Workspace]()

    def noted(workspace: Workspace) -> None:
        lock(workspace)
        holding.append(workspace)

    with mock.patch.object(Workspace, "lock", noted):
        yield
    for workspace in holding:
        if workspace._lock is not None:
            workspace._lock.close()


def damage(data: Path) -> list[str]:
    """What someone who opens the publication at this very moment would find wrong; empty when all is whole."""
    releases = Releases(data)
    known = {r.release_id: r for r in releases.list()}
    if releases.latest() is None:
        return ["nothing is published"]
    found = [problem for release in known.values() for problem in verify_sums(release.public)]
    held = published_in(releases.database)
    if held not in known:
        return [*found, f"vigie.duckdb holds {held}; published: {sorted(known)}"]
    with engine() as connection:
        connection.execute(f"ATTACH '{releases.database}' AS published (READ_ONLY)")
        counted = connection.execute("SELECT count(*), count(DISTINCT indicator_id) FROM published.observation")
        if counted.fetchone() != (known[held].rows, known[held].indicators):
            found.append(f"vigie.duckdb does not hold the {known[held].rows} rows of {held}")
    return found


def differing(first: Path, second: Path) -> tuple[int, list[str]]:
    """How many files of two folders' releases in force, their recipe included, were compared, and those that are not
    the same; of what carries a clock, all but the clock and the run."""
    pair = [Releases(data).latest() for data in (first, second)]
    released = [r.release_id if r else "nothing" for r in pair]
    if released[0] != released[1] or "nothing" in released:
        return 1, [f"released: {released}"]
    folders = [r.folder for r in pair if r]
    files = {str(p.relative_to(f)) for f in folders for p in f.rglob("*") if p.is_file() and p.name != SUMS}
    wrong = [name for name in sorted(files) if len({_clockless(folder / name) for folder in folders}) > 1]
    recipes = [json.loads((data / "recipes" / f"{released[0]}.json").read_text()) for data in (first, second)]
    if recipes[0] | CLOCK != recipes[1] | CLOCK:
        wrong.append("recipe")
    return len(files) + 1, wrong


def _clockless(path: Path) -> bytes:
    """The content of a file, without the moments and the run of the tables that carry them."""
    if not path.exists():
        return b"absent"
    if path.stem not in ("release", "quality_check"):
        return path.read_bytes()
    frame = pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_csv(path, separator=";", infer_schema=False)
    return repr(frame.drop("created_at", "checked_at", "run_id", strict=False).rows()).encode()


def leftovers(data: Path) -> list[str]:
    """Files and folders that a finished run must not leave behind."""
    return sorted(
        str(p.relative_to(data)) for p in data.rglob("*") if p.name.startswith(LEFTOVERS) or p.name.endswith(ENDINGS)
    )
