"""The floor of a whole run: the same bytes read, parsed and written, with nothing computed and nothing checked.

`python -m bench.floor`, in the data folder of VIGIE_DATA after a run. The bodies come from the raw store and each
edition is written as Parquet, two at a time as a run does; then the rows of the long table, already there, are written
as Parquet and loaded into a DuckDB file. What a run takes beyond this is what Vigie adds: the reference geography, the
indicators, their protection, the checks, Dagster's history.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from pipelines.settings import Settings
from pipelines.workspace import Workspace, in_pairs
from sources.archive import members
from sources.description import Edition, Source, parser_of
from warehouse.duckdb_file import begin_database, finish_database
from warehouse.release import Release, Releases


def main() -> None:
    """Reads, parses and writes everything once; prints the seconds of each part."""
    workspace = Workspace(Settings())
    release = released(workspace)
    with tempfile.TemporaryDirectory(dir=workspace.data) as name:
        folder = Path(name)
        parts = {
            "lire et analyser": lambda: parse(workspace, folder),
            "écrire la table longue": lambda: write(release.public, folder),
            "charger le fichier DuckDB": lambda: load(folder),
        }
        for part, work in parts.items():
            print(f"{part:<30} {timed(work):6.1f} s", flush=True)


def released(workspace: Workspace) -> Release:
    """The release in force."""
    release = Releases(workspace.data).latest()
    if release is None:
        raise SystemExit(f"rien n'est publié dans {workspace.data} : lancer « vigie run » d'abord")
    return release


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def parse(workspace: Workspace, folder: Path) -> None:
    """Each edition that the release was made of, from its body to a Parquet file."""

    def one(asked: tuple[Source, Edition]) -> None:
        source, edition = asked
        body = workspace.store.read(workspace.raw_sha256(source, edition))
        frame = parser_of(source)(source, edition, members(source, edition, body))
        frame.write_parquet(folder / f"{source.source_id}-{edition.edition}.parquet", compression="lz4")

    editions = [(s, e) for s in workspace.sources.values() for e in workspace.present(s)]
    for _ in in_pairs(one, editions):
        pass


def write(public: Path, folder: Path) -> None:
    """The published rows once more, and the small tables as they are."""
    tables = folder / "tables"
    tables.mkdir()
    for path in public.glob("*.parquet"):
        if path.stem == "observation":
            pl.scan_parquet(path).sink_parquet(tables / path.name, compression="zstd")
        else:
            shutil.copy(path, tables)


def load(folder: Path) -> None:
    target = folder / "vigie.duckdb"
    begin_database(folder / "tables", target)
    finish_database(folder / "tables", target)


if __name__ == "__main__":
    main()
