"""What is no longer kept: the releases, raw bodies and runs that the policy of the settings lets go of.

Never what is published or waits to be, what a release is made again from (stages/restoring.py), or what the next run
reads. Partners' deposits
have their own retention, that of their contract (stages/erasing.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree

import dagster as dg
import polars as pl
from rich.console import Console
from rich.markup import escape

from pipelines.stages.restoring import read_recipe
from pipelines.workspace import Workspace, WorkspaceError
from sources.raw_store import RawStoreError
from warehouse.release import EDITIONS, ReleaseError, Releases
from warehouse.remote import kept_by_policy

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
DAYS_IN_A_MONTH = 31


@dataclass(frozen=True)
class Removal:
    """What the policy lets go of, of one kind. bytes: what it takes on the disk of this machine."""

    kind: str
    names: list[str]
    bytes: int
    remove: Callable[[str], None]

    def __str__(self) -> str:
        return f"{self.kind} : {len(self.names)}, {self.bytes / 1e6:.1f} Mo"

    def carry_out(self) -> None:
        for name in self.names:
            self.remove(name)


def removals(workspace: Workspace, instance: dg.DagsterInstance) -> list[Removal]:
    """What would go now, releases first: a body that only they name goes with them, unless they can be made again.

    Raises WorkspaceError or ReleaseError when what must be kept cannot be told.
    """
    found = []
    going: list[str] = []
    if workspace.settings.keep_releases is not None:
        releases = _old_releases(workspace, workspace.settings.keep_releases)
        going = releases.names
        found.append(releases)
    if workspace.settings.keep_raw_months is not None:
        found.append(_old_bodies(workspace, workspace.settings.keep_raw_months, going))
    if workspace.settings.keep_runs_days is not None:
        found.append(_old_runs(workspace, workspace.settings.keep_runs_days, instance))
    return found


def prune(workspace: Workspace, instance: dg.DagsterInstance) -> str:
    """Applies the policy at the end of a run; says what went (French), nothing when nothing did.

    A failure is told in the same way: what was published is, and the next run tries again.
    """
    try:
        done = removals(workspace, instance)
        for removal in done:
            removal.carry_out()
    except (WorkspaceError, ReleaseError, RawStoreError, OSError) as error:
        return f"Élagage en échec : {error}"
    gone = [str(r) for r in done if r.names]
    return "Supprimé, selon la politique de conservation : " + " ; ".join(gone) if gone else ""


def show_prune(workspace: Workspace, out: Console, *, apply: bool) -> int:
    """Says what the policy lets go of and, with `apply`, removes it. Returns the exit code."""
    workspace.lock()
    with dg.DagsterInstance.get() as instance:
        found = removals(workspace, instance)
        if not found:
            out.print(
                "Tout est gardé. À faire : régler VIGIE_KEEP_RELEASES, VIGIE_KEEP_RAW_MONTHS ou VIGIE_KEEP_RUNS_DAYS."
            )
        for removal in found:
            out.print(escape(str(removal)), *(escape(f"  {name}") for name in removal.names), sep="\n", highlight=False)
            if apply:
                removal.carry_out()
    if any(r.names for r in found):
        out.print("Supprimé." if apply else "Rien n'est supprimé : ajouter --apply pour le faire.")
    return 0


def _old_releases(workspace: Workspace, keep: int) -> Removal:
    """All but the newest, the last of each year and the one in force."""
    releases = Releases(workspace.data)
    listed = releases.list()
    kept = kept_by_policy({r.release_id: r.created_at for r in listed}, keep)
    old = [r for r in listed if r.release_id not in kept and not r.published]
    size = sum(_size(r.folder) for r in old)
    return Removal("publications", [r.release_id for r in old], size, releases.remove)


def _old_bodies(workspace: Workspace, months: int, going: list[str]) -> Removal:
    """Bodies that are neither an edition's newest, nor read by a core frame or a release, nor a deposit."""
    history = workspace.store.history()
    before = _now() - timedelta(days=months * DAYS_IN_A_MONTH)
    newest = history.group_by("source_id", "edition", maintain_order=True).last()["sha256"]
    deposits = history.filter(pl.col("url").str.starts_with("deposit:"))["sha256"]
    needed = {*newest, *deposits, *_read_by_core(workspace), *_read_by_releases(workspace, going)}
    dated = history.group_by("sha256").agg(pl.col("retrieved_at").max(), pl.col("bytes").last()).sort("retrieved_at")
    old = dated.filter(pl.col("retrieved_at") < before, ~pl.col("sha256").is_in(list(needed)))
    old = old.filter(pl.Series([workspace.store.path(s).exists() for s in old["sha256"]], dtype=pl.Boolean))
    return Removal("fichiers bruts", old["sha256"].to_list(), int(old["bytes"].sum()), workspace.store.erase)


def _read_by_core(workspace: Workspace) -> set[str]:
    try:
        return {pl.read_parquet_metadata(path)["raw"] for path in (workspace.data / "core").rglob("*.parquet")}
    except (pl.exceptions.PolarsError, OSError, KeyError) as error:
        raise WorkspaceError(
            f"{workspace.data / 'core'} : attendu des fichiers lisibles ; trouvé « {error} ». À faire : lancer « vigie "
            "run », qui les refait, puis recommencer."
        ) from error


def _read_by_releases(workspace: Workspace, going: list[str]) -> set[str]:
    """Of the releases that stay, of the candidates that wait, and of every release that can be made again."""
    folders = [p for p in (workspace.data / "releases").glob("*/") if not p.is_symlink() and p.name not in going]
    told = [p for folder in folders for e in EDITIONS if (p := folder / e / "source_file.parquet").exists()]
    found = {sha256 for path in told for sha256 in _used(path)}
    recipes = [read_recipe(workspace, path.stem) for path in (workspace.data / "recipes").glob("*.json")]
    return found | {sha256 for recipe in recipes for _, _, sha256 in recipe.bodies}


def _used(table: Path) -> pl.Series:
    """The bodies that a table `source_file` names. Raises WorkspaceError when it cannot be read."""
    try:
        return pl.read_parquet(table, columns=["sha256"])["sha256"]
    except (pl.exceptions.PolarsError, OSError) as error:
        raise WorkspaceError(
            f"{table} : attendu les fichiers dont une publication est faite ; trouvé « {error} ». À faire : vigie "
            "doctor, puis remettre cette publication en place (docs/exploitation.md) ou l'enlever."
        ) from error


def _old_runs(workspace: Workspace, days: int, instance: dg.DagsterInstance) -> Removal:
    """Finished runs; not those that last made an asset: its page would no longer know when."""
    before = _now() - timedelta(days=days)
    records = instance.get_run_records(dg.RunsFilter(statuses=FINISHED, created_before=before))
    last = {r.asset_entry.last_run_id for r in instance.get_asset_records()}
    old = [r.dagster_run.run_id for r in records if r.dagster_run.run_id not in last]

    def remove(run_id: str) -> None:
        instance.delete_run(run_id)
        for path in _files_of_run(workspace, run_id):
            rmtree(path) if path.is_dir() else path.unlink()

    size = sum(_size(path) for run_id in old for path in _files_of_run(workspace, run_id))
    return Removal("exécutions", old, size, remove)


def _files_of_run(workspace: Workspace, run_id: str) -> list[Path]:
    """Its events, where they are in SQLite files, and its logs."""
    folder = workspace.data / "dagster"
    return [*(folder / "history" / "runs").glob(f"{run_id}.db*"), *folder.glob(run_id)]


def _now() -> datetime:
    return datetime.now(UTC)


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in [path, *path.rglob("*")] if p.is_file())
