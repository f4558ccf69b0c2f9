"""Publishing again the rows of a release: `python -m bench.publication`, in the data folder of VIGIE_DATA after a run.

Published: the rows proven sorted and unique, written, compared with the release in force, the folder sealed, the DuckDB
file built and swapped, everything synced. Its reference writes the same rows as Parquet and DuckDB and proves nothing.
Works in a scratch folder beside the data, never in them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from bench.floor import load, released, timed, write
from pipelines.settings import Settings
from pipelines.workspace import Workspace
from warehouse.models import TABLES
from warehouse.parquet import ROW_GROUP_ROWS
from warehouse.release import Release, Releases

REFERENCE = "mêmes lignes, sans preuve"


def main() -> None:
    """Publishes twice (a first release, then the same figures again) and writes once; prints seconds and ratios."""
    workspace = Workspace(Settings())
    latest = released(workspace)
    with tempfile.TemporaryDirectory(dir=workspace.data) as name:
        releases = Releases(Path(name) / "data")
        times = {
            "première publication": timed(lambda: publish(latest, releases, "1" * 64)),
            "publication suivante": timed(lambda: publish(latest, releases, "2" * 64)),
            REFERENCE: timed(lambda: unproven(latest, Path(name))),
        }
    for title, seconds in times.items():
        print(f"{title:<30} {seconds:6.1f} s   rapport {seconds / times[REFERENCE]:4.1f}", flush=True)


def publish(release: Release, releases: Releases, digest: str) -> None:
    """The tables of a release as a candidate of other inputs, published."""
    candidate = releases.candidate(digest, git_commit=None, notice=release.notice)
    for table in TABLES:
        if table in ("release", "nomenclature"):  # written by the publication itself
            continue
        rows = pl.scan_parquet(release.public / f"{table}.parquet")
        with candidate.writer(table) as writer:
            for first in range(0, rows.select(pl.len()).collect().item(), ROW_GROUP_ROWS):
                writer.write(rows.slice(first, ROW_GROUP_ROWS).collect())
    candidate.load()
    _ = candidate.changes
    releases.publish(candidate)


def unproven(release: Release, folder: Path) -> None:
    write(release.public, folder)
    load(folder)


if __name__ == "__main__":
    main()
