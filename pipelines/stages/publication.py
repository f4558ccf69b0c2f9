"""From the long table to what users open: the candidate, its checks, the release."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from expectations.results import CheckResult, Run, blocking, to_frame
from pipelines.stages import geography, restoring, told
from pipelines.stages.checking import (
    DISCLOSURE,
    SCRATCH,
    check_core,
    check_folder,
    check_protection,
    judge_core,
    read_core,
)
from pipelines.stages.drifting import check_drift
from pipelines.stages.erasing import erase_ended
from pipelines.stages.reconciling import reconciled_lines
from pipelines.stages.tables import has_partner_edition, sources_of, write_tables
from pipelines.workspace import ROOT, Workspace, WorkspaceError, replace_frame, sweep, unreadable
from warehouse.catalogue import load_catalogue
from warehouse.release import EDITIONS, MOVEMENTS, PARTNER, Candidate, Release, ReleaseError, Releases, State

ASKED = "approbation demandée par le réglage publish"
SHOWN = 20_000  # characters of the page of movements that go with the candidate on Dagster's page
# of what the stages show
PUBLISHED, HELD, MOVED, PRUNED = "publication", "en attente", "ce qui bouge le plus", "conservation"
FICTION = "Données fictives : pays imaginaire généré pour la démonstration, aucun chiffre n'est réel."


def prepare(workspace: Workspace) -> list[str]:
    """Takes the data folder for this run, puts right what a killed one left and erases the deposits whose retention has
    ended; returns what was done (French). Raises WorkspaceError as `put_right` does."""
    return put_right(workspace) + erase_ended(workspace)


def put_right(workspace: Workspace) -> list[str]:
    """Takes the data folder and puts right what a killed run left; returns what was done (French).

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
    shutil.rmtree(workspace.stage(SCRATCH), ignore_errors=True)
    left = [p for folder in ("core", "stage") for p in sweep(workspace.data / folder)] + workspace.store.sweep()
    if left:
        done.append(f"{len(left)} fichier(s) temporaire(s) d'une exécution interrompue, supprimé(s)")
    for path in [p for folder in ("core", "stage") for p in unreadable(workspace.data / folder)]:
        path.unlink()
        done.append(f"{path.relative_to(workspace.data)} : fichier abîmé, supprimé ; il est refait")
    return done


def build_candidate(workspace: Workspace) -> dict[str, Any]:
    """Writes every table of a new release but the two that tell of its checks; returns what to show.

    Nothing is built when the inputs, the code and the choices are those of the published release, or of the candidate
    that waits for a decision.
    """
    workspace.lock()
    releases = Releases(workspace.data)
    inputs = workspace.input_digest()
    workspace.candidates = []
    if workspace.unchanged():
        for state in releases.states():  # of data that are no longer there
            releases.reject(state.release_id)
        return {"inchangé": True, "entrées": inputs}
    if (held := _same_waiting(workspace)) is not None:
        return {HELD: held.release_id, "entrées": inputs}
    demo = workspace.settings.profile == "demo"
    public = releases.candidate(inputs, git_commit=_commit(), notice=FICTION if demo else None)
    catalogue = load_catalogue()
    candidates = [public]
    if has_partner_edition(workspace, catalogue):
        candidates.append(public.beside(PARTNER))
    for candidate in candidates:
        write_tables(workspace, catalogue, candidate)
    restoring.record(workspace, candidates)
    changes = public.changes
    releases.keep(replace(public.state(c.edition for c in candidates), stale=tuple(workspace.stale)))
    workspace.candidates = candidates
    return {
        "publication": public.release_id,
        "éditions": [c.edition for c in candidates],
        "lignes": pl.scan_parquet(public.path("observation")).select(pl.len()).collect().item(),
        "ajoutées": changes.total("added"),
        "modifiées": changes.total("changed"),
        "retirées": changes.total("removed"),
        "entrées": inputs,
        MOVED: changes.movements()[:SHOWN],
    }


def check_candidate(workspace: Workspace, run_id: str) -> list[CheckResult]:
    """Runs every check on each edition of the candidate and keeps the results; those of the release when nothing
    changed. An edition's table tells only of its own sources. Returns the results of the widest edition, and what
    fails in another."""
    candidates = _in_hand(workspace)
    if not candidates:
        return _nothing_fails_any_more(workspace)
    run = Run(run_id, datetime.now(UTC))
    results: list[CheckResult] = []
    restoring.record_checks(workspace, candidates[0].release_id, run)
    for candidate in candidates:
        found = check_edition(workspace, candidate, run)
        failed = {(r.suite, r.check_id, r.table_name) for r in found if not r.passed}
        results = [
            *found,
            *(r for r in results if not r.passed and (r.suite, r.check_id, r.table_name) not in failed),
        ]
    workspace.results = results
    failed = tuple(r.message() for r in blocking(results))
    releases = Releases(workspace.data)
    releases.keep(replace(_state(releases, candidates[0]), refused=failed))
    replace_frame(workspace.stage("quality_check.parquet"), to_frame(results))
    return results


def check_edition(workspace: Workspace, candidate: Candidate, run: Run) -> list[CheckResult]:
    """Every check on one edition, whose table `quality_check` it writes."""
    sources = sources_of(workspace, load_catalogue(), candidate.edition)
    with ThreadPoolExecutor(1) as aside:  # the core frames are read while Great Expectations judges the rest
        core = aside.submit(read_core, workspace, sources)
        after = check_protection(workspace, sources, run)
        after += check_drift(workspace, sources, run, previous=candidate.before)
        after += check_folder(workspace, candidate.tables, run, previous=candidate.before)
        before = [replace(r, run_id=run.run_id, checked_at=run.checked_at) for r in judge_core(core.result())]
    found = [*before, *after]
    told = to_frame([_told(r) for r in found])
    candidate.write("quality_check", told.with_columns(pl.col("checked_at").dt.replace_time_zone(None)))
    return found


def _told(result: CheckResult) -> CheckResult:
    """A result as it is published: not which withheld figures it is about, nor how many, which would say what they are
    withheld for. Who keeps the warehouse sees it whole."""
    if result.suite == DISCLOSURE and not result.passed:
        return replace(result, observed="dit à qui tient l'entrepôt", rows_failed=0, sample="")
    return replace(result, sample="") if "depot_" in result.sample else result


def _in_hand(workspace: Workspace) -> list[Candidate]:
    """The editions of the candidate of this run: those it built, or those that a failed one left and that this one goes
    on with, when they are of the same inputs, code and choices."""
    if not workspace.candidates:
        workspace.lock()
        releases = Releases(workspace.data)
        inputs = workspace.input_digest()
        begun = [s for s in releases.states() if s.why is None and s.input_digest == inputs]
        workspace.candidates = releases.reopened(begun[-1]) if begun else []
        workspace.stale = list(begun[-1].stale) if begun else workspace.stale
    return workspace.candidates


def _state(releases: Releases, candidate: Candidate) -> State:
    """How far a candidate in hand is."""
    return next(s for s in releases.states() if s.release_id == candidate.release_id)


def _same_waiting(workspace: Workspace) -> State | None:
    """The candidate that waits for a decision, when it is what this run would build."""
    releases = Releases(workspace.data)
    held = [s for s in releases.states() if s.why is not None]
    if not held or held[-1].input_digest != workspace.input_digest():
        return None
    try:
        return releases.waiting(held[-1].release_id)
    except ReleaseError:
        return None  # built again: why it may not be published is told to who asks for it


def _passed_results(workspace: Workspace) -> list[CheckResult]:
    """The results of the checks that the candidate that waits passed, or the published release."""
    releases = Releases(workspace.data)
    held, latest = _same_waiting(workspace), releases.latest()
    tables = releases.reopened(held)[0].tables if held else latest.public if latest else None
    return [] if tables is None else _results_in(tables)


def results_of(workspace: Workspace, run_id: str) -> list[CheckResult]:
    """The results of the checks of a run, whatever process made them; none when it made none."""
    kept = workspace.stage("quality_check.parquet")
    return [r for r in _results_in(workspace.stage()) if r.run_id == run_id] if kept.exists() else []


def _nothing_fails_any_more(workspace: Workspace) -> list[CheckResult]:
    """The results of the checks of what this run would have built: they stand for those of a run stopped since."""
    kept, results = workspace.stage("quality_check.parquet"), _passed_results(workspace)
    if kept.exists() and blocking(_results_in(workspace.stage())):
        replace_frame(kept, to_frame(results))
    return results


def _results_in(tables: Path) -> list[CheckResult]:
    return [CheckResult(**row) for row in pl.read_parquet(tables / "quality_check.parquet").iter_rows(named=True)]


def run_checks(workspace: Workspace, folder: Path, run_id: str) -> list[CheckResult]:
    """Every check on a folder of tables, outside any run; a candidate is compared with the published release."""
    latest = Releases(workspace.data).latest()
    previous = latest if latest is not None and latest.public != folder else None
    for build in (geography.build_passage, geography.build_territories, geography.build_correspondences):
        build(workspace)  # up to date unless other editions were read since
    _, workspace.stale = reconciled_lines(workspace)
    run = Run(run_id, datetime.now(UTC))
    core = check_core(workspace, workspace.sources.values())
    before = previous.public if previous else None
    drifted = check_drift(workspace, workspace.sources.values(), run, previous=before)
    return [*core, *drifted, *check_folder(workspace, folder, run, previous=before)]


def publish(workspace: Workspace) -> dict[str, Any]:
    """Publishes the candidate, or leaves it to wait for a decision; nothing when nothing changed. Returns what to show,
    with `publication` when something was published.

    Raises WorkspaceError when there is no checked candidate of these inputs, ReleaseError when it cannot be put in
    place.
    """
    workspace.lock()
    releases = Releases(workspace.data)
    candidates = _in_hand(workspace)
    if not candidates:
        return _published_already(workspace)
    state = _state(releases, candidates[0])
    if state.refused != ():
        found = " ; ".join(state.refused) if state.refused else "des contrôles inachevés"
        raise WorkspaceError(
            f"{state.release_id} : attendu des contrôles critiques réussis ; trouvé {found}. "
            "À faire : corriger la cause, puis relancer."
        )
    if (why := _to_decide(workspace, candidates[0])) is not None:
        releases.hold(replace(state, why=why, told=told.proposal(workspace.told)), *candidates)
        workspace.candidates = []
        return {HELD: state.release_id, "motif": why}
    return _announced(workspace, state.release_id, lambda: releases.publish(*candidates))


def _published_already(workspace: Workspace) -> dict[str, Any]:
    """Of a run that built nothing: what is published, or waits, is what it would have built."""
    latest = Releases(workspace.data).latest()
    if workspace.unchanged():
        return {"inchangé": True, "en vigueur": latest.release_id if latest else None}
    held = _same_waiting(workspace)
    if held is None:
        raise WorkspaceError(
            "Publication : attendu une candidate de ces données et de ce programme ; trouvé aucune. "
            "À faire : relancer tout le travail (vigie run, ou le job build_release)."
        )
    if workspace.settings.publish == "on_approval" or held.why != ASKED:
        return {HELD: held.release_id, "motif": held.why}
    return approve(workspace, held.release_id)  # approval was asked for when it was built, and no longer is


def _to_decide(workspace: Workspace, candidate: Candidate) -> str | None:
    """Why a person must decide of its publication (French); None where nobody asked to. Another reference geography
    moves every series: it is never published by itself, but in a folder that has no release yet."""
    previous = candidate.previous
    if previous is not None:
        years = [_reference(folder) for folder in (previous.public, candidate.tables)]
        if years[0] != years[1]:
            return f"la géographie de référence passe du COG {years[0]} au COG {years[1]}"
    return ASKED if workspace.settings.publish == "on_approval" else None


def _reference(tables: Path) -> int:
    """The COG year of the territories of a release."""
    return pl.scan_parquet(tables / "territory.parquet").select(pl.col("cog_year").max()).collect().item()


def approve(workspace: Workspace, release_id: str) -> dict[str, Any]:
    """Publishes a candidate that waits; returns what to show. Raises ReleaseError when it may not be: not the next one
    any more, altered, refused by its checks, or telling of deposits otherwise than they now are. Raises WorkspaceError
    as `prepare` does."""
    workspace.lock()
    releases = Releases(workspace.data)
    state = releases.waiting(release_id)  # before what a failed run left is swept: why it failed is the answer
    prepare(workspace)
    held = {e.url for s in workspace.sources.values() for e in s.editions}
    widest = releases.reopened(state)[-1].tables
    workspace.results = _results_in(widest)
    urls = pl.read_parquet(widest / "source_file.parquet", columns=["url"])["url"]
    gone = set(urls.str.extract("^(deposit:.+)").drop_nulls()) - held
    if gone or state.told != told.proposal(workspace.told):
        found = f"un dépôt retiré ou remplacé ({', '.join(sorted(gone))})" if gone else "une autre protection calculée"
        raise ReleaseError(
            f"{release_id} : attendu les dépôts des partenaires tels qu'elle les montre ; trouvé depuis {found}. "
            "À faire : relancer « vigie run », qui construit une autre candidate."
        )
    return _announced(workspace, release_id, lambda: releases.approve(release_id))


def _announced(workspace: Workspace, release_id: str, put_in_place: Callable[[], Release]) -> dict[str, Any]:
    """Publishes, the private register saying so before and after; returns what to show."""
    told.announce(workspace.told, release_id)
    release = put_in_place()
    workspace.candidates = []
    told.accept(workspace.told)
    workspace.published = release.release_id
    return {
        PUBLISHED: release.release_id,
        "dossier": str(release.public),
        "lignes": release.rows,
        "fichier DuckDB": str(workspace.data / "vigie.duckdb"),
    }


def conclusion(workspace: Workspace) -> str:
    """What the end of a run says: what is published, or waits, where, and with which warnings."""
    held = _same_waiting(workspace)
    if held is not None:
        return waiting_told(workspace, held)
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


def waiting_told(workspace: Workspace, state: State) -> str:
    """What to say of a candidate on disk (French)."""
    tables = Releases(workspace.data).reopened(state)[0].tables
    if state.why is None:
        failed = f"{len(state.refused)} contrôle(s) critique(s) en échec" if state.refused else "inachevée"
        return f"{state.release_id} : {failed}, ne peut pas être publiée ; {tables}"
    return "\n".join(
        [
            f"En attente de décision : {state.release_id} ({state.why}). La publication en vigueur reste en place.",
            f"  Changements : {tables / 'CHANGES.md'}",
            f"  Ce qui bouge le plus : {tables / MOVEMENTS}",
            f"  Pour la publier : vigie release approve {state.release_id}",
            f"  Pour l'écarter : vigie release reject {state.release_id}",
        ]
    )


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
            f"  {r['severity']} {r['check_id']} ({r['table_name']}) : attendu {r['expected']} ; trouvé {r['observed']}"
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
