"""From the long table to what users open: the candidate, its checks, the release."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from expectations.results import CheckResult, Run, blocking, to_frame
from pipelines.stages import geography, told
from pipelines.stages.checking import DISCLOSURE, check_core, check_folder, check_protection
from pipelines.stages.erasing import erase_ended
from pipelines.stages.reconciling import reconciled_lines
from pipelines.stages.tables import has_partner_edition, sources_of, write_tables
from pipelines.workspace import ROOT, Workspace, WorkspaceError, replace_frame, sweep
from warehouse.catalogue import load_catalogue
from warehouse.release import EDITIONS, PARTNER, Releases

FICTION = "Données fictives : pays imaginaire généré pour la démonstration, aucun chiffre n'est réel."


def prepare(workspace: Workspace) -> list[str]:
    """Takes the data folder for this run, puts right what a killed one left and erases the deposits whose retention has
    ended; returns what was done (French).

    Raises WorkspaceError when another process holds it, when it holds data of the other kind, or a perimeter that
    cannot be read.
    """
    workspace.lock()
    workspace.claim()
    for private in (workspace.stage(), workspace.told):  # figures before any protection, and what was withheld of them
        private.mkdir(mode=0o700, exist_ok=True)
        private.chmod(0o700)
    _ = workspace.perimeters  # read first: a file that cannot be stops the run before anything is asked of a producer
    releases = Releases(workspace.data)
    done = releases.recover()
    told.recover(workspace.told, [r.release_id for r in releases.list()])
    left = [p for folder in ("core", "stage") for p in sweep(workspace.data / folder)] + workspace.store.sweep()
    if left:
        done.append(f"{len(left)} fichier(s) temporaire(s) d'une exécution interrompue, supprimé(s)")
    return done + erase_ended(workspace)


def build_candidate(workspace: Workspace) -> dict[str, Any]:
    """Writes every table of a new release but the two that tell of its checks; returns what to show.

    Nothing is built when the inputs, the code and the choices are those of the published release.
    """
    workspace.lock()
    releases = Releases(workspace.data)
    inputs = workspace.input_digest()
    workspace.candidates = []
    if workspace.unchanged():
        return {"inchangé": True, "entrées": inputs}
    demo = workspace.settings.profile == "demo"
    public = releases.candidate(inputs, git_commit=_commit(), notice=FICTION if demo else None)
    catalogue = load_catalogue()
    candidates = [public]
    if has_partner_edition(workspace, catalogue):
        candidates.append(public.beside(PARTNER))
    for candidate in candidates:
        write_tables(workspace, catalogue, candidate)
    workspace.candidates = candidates
    changes = public.changes
    return {
        "publication": public.release_id,
        "éditions": [c.edition for c in candidates],
        "lignes": pl.scan_parquet(public.path("observation")).select(pl.len()).collect().item(),
        "ajoutées": changes.total("added"),
        "modifiées": changes.total("changed"),
        "retirées": changes.total("removed"),
        "entrées": inputs,
    }


def check_candidate(workspace: Workspace, run_id: str) -> list[CheckResult]:
    """Runs every check on each edition of the candidate and keeps the results; those of the release when nothing
    changed. An edition's table tells only of its own sources. Returns the results of the widest edition, and what
    fails in another."""
    if not workspace.candidates:
        return _published_results(workspace)
    run = Run(run_id, datetime.now(UTC))
    results: list[CheckResult] = []
    for candidate in workspace.candidates:
        sources = sources_of(workspace, load_catalogue(), candidate.edition)
        core = check_core(workspace, sources)
        found = [replace(r, run_id=run.run_id, checked_at=run.checked_at) for r in core]
        found += check_protection(workspace, sources, run)
        found += check_folder(workspace, candidate.tables, run, previous=candidate.before)
        told = to_frame([_told(r) for r in found])
        candidate.write("quality_check", told.with_columns(pl.col("checked_at").dt.replace_time_zone(None)))
        failed = {(r.suite, r.check_id, r.table_name) for r in found if not r.passed}
        results = [
            *found,
            *(r for r in results if not r.passed and (r.suite, r.check_id, r.table_name) not in failed),
        ]
    workspace.results = results
    replace_frame(workspace.stage("quality_check.parquet"), to_frame(results))
    return results


def _told(result: CheckResult) -> CheckResult:
    """A result as it is published: not which withheld figures it is about, nor how many, which would say what they are
    withheld for. Who keeps the warehouse sees it whole."""
    if result.suite == DISCLOSURE and not result.passed:
        return replace(result, observed="dit à qui tient l'entrepôt", rows_failed=0, sample="")
    return replace(result, sample="") if "depot_" in result.sample else result


def _published_results(workspace: Workspace) -> list[CheckResult]:
    """The results of the checks that the published release passed."""
    latest = Releases(workspace.data).latest()
    if latest is None:
        return []
    return [CheckResult(**row) for row in pl.read_parquet(latest.path("quality_check")).iter_rows(named=True)]


def run_checks(workspace: Workspace, folder: Path, run_id: str) -> list[CheckResult]:
    """Every check on a folder of tables, outside any run; a candidate is compared with the published release."""
    latest = Releases(workspace.data).latest()
    previous = latest if latest is not None and latest.public != folder else None
    for build in (geography.build_passage, geography.build_territories, geography.build_correspondences):
        build(workspace)  # up to date unless other editions were read since
    _, workspace.stale = reconciled_lines(workspace)
    run = Run(run_id, datetime.now(UTC))
    core = check_core(workspace, workspace.sources.values())
    return [*core, *check_folder(workspace, folder, run, previous=previous.public if previous else None)]


def publish(workspace: Workspace) -> dict[str, Any]:
    """Publishes the candidate; nothing when nothing changed. Returns what to show."""
    if not workspace.candidates and not workspace.unchanged():
        raise WorkspaceError(
            "Publication : attendu une candidate construite et contrôlée dans la même exécution ; trouvé aucune. "
            "À faire : relancer tout le travail (vigie run, ou le job build_release)."
        )
    if not workspace.candidates:
        latest = Releases(workspace.data).latest()
        return {"inchangé": True, "publication": latest.release_id if latest else None}
    told.announce(workspace.told, workspace.candidates[0].release_id)
    release = Releases(workspace.data).publish(*workspace.candidates)
    workspace.candidates = []
    told.accept(workspace.told)
    workspace.published = release.release_id
    return {
        "publication": release.release_id,
        "dossier": str(release.public),
        "lignes": release.rows,
        "fichier DuckDB": str(workspace.data / "vigie.duckdb"),
    }


def conclusion(workspace: Workspace) -> str:
    """What the end of a run says: what is published, where, and with which warnings."""
    latest = Releases(workspace.data).latest()
    if latest is None:
        return "Rien n'est publié."
    if workspace.published is None:
        return f"Rien n'a changé depuis la publication {latest.release_id} : rien de nouveau n'est publié."
    warnings = [r for r in workspace.results if not r.passed]
    moved = " ; première publication de ce dossier"
    if latest.previous_id:
        counts = (latest.added, latest.changed, latest.removed)
        told = zip(map(_count, counts), ("ajoutées", "modifiées", "retirées"), strict=True)
        moved = f" ; depuis {latest.previous_id} : " + ", ".join(" ".join(pair) for pair in told)
    lines = [
        f"Publiée : {latest.release_id}" + (f" ({latest.notice})" if latest.notice else ""),
        f"  {_count(latest.rows)} lignes, {latest.indicators} indicateurs{moved}",
        f"  {len(workspace.results)} contrôles : {len(workspace.results) - len(warnings)} réussis, "
        f"{len(warnings)} avertissement(s).",
        *(f"    {w.message()}" for w in warnings),
        f"  DuckDB  : {workspace.data / 'vigie.duckdb'}",
        f"  Parquet : {latest.public}",
        f"  Changements : {latest.public / 'CHANGES.md'}",
    ]
    if PARTNER in latest.editions:
        lines.append(
            f"  Partenaires : {latest.folder / PARTNER} et {workspace.data / EDITIONS[PARTNER]}, à leur seul usage"
        )
    return "\n".join(lines)


def newest_folder(workspace: Workspace) -> Path | None:
    """The tables of the pending candidate, else of the published release."""
    releases = Releases(workspace.data)
    latest = releases.latest()
    return releases.pending() or (latest.public if latest else None)


def blocking_results(workspace: Workspace) -> list[CheckResult]:
    return blocking(workspace.results)


def last_run(workspace: Workspace) -> list[str]:
    """What is published and which checks failed at the last run (French)."""
    latest = Releases(workspace.data).latest()
    lines = ["Rien n'est publié."]
    if latest is not None:
        created = f"{latest.created_at:%Y-%m-%d à %H:%M} UTC"
        lines = [f"Publication en vigueur : {latest.release_id}, créée le {created}, {_count(latest.rows)} lignes."]
    kept = workspace.stage("quality_check.parquet")
    if kept.exists():
        results = pl.read_parquet(kept)
        failed = results.filter(~pl.col("passed"))
        lines.append(
            f"Derniers contrôles ({results['checked_at'].max():%Y-%m-%d à %H:%M} UTC) : {results.height}, dont "
            f"{failed.height} non réussi(s)."
        )
        lines += [
            f"  {r['severity']} {r['check_id']} : attendu {r['expected']} ; trouvé {r['observed']}"
            for r in failed.iter_rows(named=True)
        ]
    return lines


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _commit() -> str | None:
    """The commit of the code, when it runs from its repository."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except OSError:
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None
