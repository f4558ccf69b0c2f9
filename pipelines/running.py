"""Running the job from the terminal: through Dagster, recorded in its instance, with a summary at the end."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.alerts import tell
from pipelines.choosing import matching
from pipelines.doctor import behind, mend_history
from pipelines.progress import Terminal
from pipelines.stages import publication
from pipelines.stages.acquisition import client
from pipelines.stages.freshness import freshness_of_all
from pipelines.workspace import ROOT, Workspace, WorkspaceError
from sources.calendar import STATES
from warehouse.release import ReleaseError, Releases

DONE, FAILED, USAGE, STALE = 0, 1, 2, 3
REFUSED = "pipelines.workspace.WorkspaceError: "  # how Dagster reports a wrong use met inside a step


def instance_environment(workspace: Workspace) -> dict[str, str]:
    """What Dagster's processes need to find the instance and to run with these settings."""
    storage = workspace.data / "dagster"
    storage.mkdir(parents=True, exist_ok=True)
    settings = workspace.settings.model_dump(exclude_none=True) | {"data": workspace.data}
    return {
        "DAGSTER_HOME": os.environ.get("DAGSTER_HOME", str(ROOT)),  # another instance: docs/deploiement.md
        "VIGIE_DAGSTER": str(storage),
        **{f"VIGIE_{name.upper()}": str(value) for name, value in settings.items()},
    }


def run_job(workspace: Workspace, out: Console, err: Console, editions: Sequence[str] = ()) -> int:
    """The whole job in this process; prints what was published, skipped and why. Returns the exit code.

    editions: those asked of the producers, as `choosing.matching` reads them; all of them when there is none.
    """
    started = time.monotonic()
    matching(workspace, editions)
    if workspace.settings.profile == "mirror" and not workspace.settings.mirror:
        err.print("Le profil mirror attend l'adresse du miroir : VIGIE_MIRROR=http://127.0.0.1:8765, par exemple.")
        return USAGE
    recovered = publication.prepare(workspace)
    os.environ.update(instance_environment(workspace))
    for done in [*recovered, *close_dead_runs()]:
        err.print(f"[yellow]Reprise :[/yellow] {done}", highlight=False)
    if late := behind(workspace):
        err.print(f"[yellow]Horloge de la machine :[/yellow] {late}. À faire : la remettre à l'heure.", highlight=False)
    failures = _execute(workspace, editions)
    seconds = time.monotonic() - started
    _summary(workspace, out)
    for wrong in tell(workspace, failures):
        err.print(f"[yellow]{escape(wrong)}[/yellow]", highlight=False, soft_wrap=True)
    if failures:
        for step, message in failures:
            err.print(f"\n[red]Échec de {step}[/red]\n{escape(message)}", highlight=False)
        latest = Releases(workspace.data).latest()
        kept = f"la publication {latest.release_id} reste en place" if latest else "rien n'est publié"
        new = workspace.published
        told = f"{new} est publiée" if new else f"Rien de nouveau n'a été publié ({kept})"
        err.print(f"\n{told}. Durée : {seconds:.1f} s.", highlight=False)
        return FAILED
    out.print(escape(publication.conclusion(workspace)), highlight=False, soft_wrap=True)
    if workspace.pruned:
        out.print(escape(workspace.pruned), highlight=False, soft_wrap=True)
    out.print(f"Durée : {seconds:.1f} s.", highlight=False)
    return STALE if tell_failures(workspace, err) else DONE


def tell_failures(workspace: Workspace, console: Console) -> bool:
    """Says which editions failed at the last run and what stands for them; False when none did."""
    stale = workspace.stale_editions()
    told = [
        f"{message}\n  -> "
        + ("la dernière bonne édition sert, marquée périmée" if (s.source_id, edition) in stale else "chiffres absents")
        for s in workspace.sources.values()
        for edition, (_, message) in workspace.failures(s).items()
    ]
    if told:
        console.print(
            f"\n[yellow]{len(told)} édition(s) en échec[/yellow] ; les autres sources n'en dépendent pas :",
            *map(escape, told),
            sep="\n",
            highlight=False,
            soft_wrap=True,
        )
    return bool(told)


def close_dead_runs() -> list[str]:
    """Marks as failed the runs that Dagster's instance shows as going on, after setting aside those of its files that
    no longer open; returns what was done (French).

    For who has just locked the data folder and has begun nothing: every run holds that lock, so what seems to go on
    was killed. Left so, a dead run would keep the one place of Dagster's queue for ever.
    """
    import dagster as dg

    going = [dg.DagsterRunStatus[name] for name in ("NOT_STARTED", "STARTING", "STARTED", "CANCELING")]
    mended = mend_history(Path(os.environ["VIGIE_DAGSTER"]))
    with dg.DagsterInstance.get() as instance:
        dead = instance.get_runs(dg.RunsFilter(statuses=going))
        for run in dead:
            instance.report_run_failed(run, "Exécution interrompue : son processus n'existe plus.")
    return mended + [f"exécution {run.run_id} interrompue, notée en échec dans Dagster" for run in dead]


def restore_release(workspace: Workspace, release_id: str, into: Path | None, out: Console, err: Console) -> int:
    """Makes a past release again from the raw store; 1 when a file is not, byte for byte, what was published."""
    from pipelines.stages.restoring import restore

    started = time.monotonic()
    workspace.progress = terminal = Terminal()
    try:
        with terminal.progress:
            made = restore(workspace, release_id, into or workspace.data / "restored")
    except (ReleaseError, WorkspaceError) as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False)
        return USAGE
    for warning in made.warnings:
        err.print(f"[yellow]Attention :[/yellow] {escape(warning)}", highlight=False)
    out.print(f"{release_id} refaite en {time.monotonic() - started:.1f} s : {made.folder}", highlight=False)
    if made.differing:
        err.print(f"{len(made.differing)} fichier(s) sur {made.compared} différents :", highlight=False)
        err.print(", ".join(made.differing), highlight=False)
        return FAILED
    out.print(f"{made.compared} fichiers identiques, octet pour octet, à ce qui a été publié.", highlight=False)
    return DONE


def _execute(workspace: Workspace, editions: Sequence[str]) -> list[tuple[str, str]]:
    """Runs the job through Dagster; returns what failed: (step, message)."""
    import dagster as dg
    from sqlalchemy.exc import DBAPIError

    from pipelines.automation import asking, whole_range
    from pipelines.definitions import JOB, build_definitions

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    terminal = Terminal(shown=workspace.settings.log == "text")
    workspace.progress = terminal
    job = build_definitions(workspace).resolve_job_def(JOB)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    asked, range_ = quiet | asking(editions), whole_range(workspace)
    try:
        with dg.DagsterInstance.get() as instance, terminal.progress:
            result = job.execute_in_process(run_config=asked, instance=instance, tags=range_, raise_on_error=False)
    except DBAPIError as error:
        todo = "À faire : libérer de la place s'il n'y en a plus, puis vigie doctor, qui dit laquelle est abîmée."
        return [("l'historique", f"Les bases de {workspace.data / 'dagster'} refusent : {error.orig}. {todo}")]
    if result.success:
        return []
    failed: list[tuple[str, str]] = []
    for event in result.get_step_failure_events():
        message = failure_message(event.step_failure_data)
        if message.startswith(REFUSED):
            raise WorkspaceError(message.removeprefix(REFUSED))
        if "blocking asset check" not in message:  # told below, check by check
            failed.append((event.step_key or "?", message))
    failed.extend(("contrôle " + r.check_id, r.message()) for r in publication.blocking_results(workspace))
    return failed or [("l'exécution", "voir la page de Dagster : vigie dev")]


def failure_message(failure: Any) -> str:
    """The message of a failed step: ours when we raised it, else the innermost error."""
    user = failure.user_failure_data
    if user is not None and user.description:
        return str(user.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "erreur inconnue"


def _summary(workspace: Workspace, out: Console) -> None:
    """What acquisition found, and the declared editions that were not there."""
    kinds = Counter(o.kind for o in workspace.outcomes)
    labels = {
        "fetched": "nouvelles",
        "changed": "modifiées",
        "unchanged": "inchangées",
        "not_published": "absentes chez le producteur",
        "failed": "en échec",
    }
    out.print("Éditions : " + ", ".join(f"{kinds[k]} {text}" for k, text in labels.items() if kinds[k]) + ".")
    for outcome in workspace.outcomes:
        if outcome.kind == "changed":
            out.print(f"  modifiée chez le producteur : {outcome.source_id} {outcome.edition}", highlight=False)
    for told in workspace.replaced:
        out.print(f"Remplacée à son adresse : {escape(told)}", highlight=False, soft_wrap=True)
    absent: dict[str, list[str]] = {}
    for outcome in workspace.outcomes:
        if outcome.kind == "not_published":
            absent.setdefault(outcome.source_id, []).append(outcome.edition)
    if absent:
        out.print("Absentes chez le producteur (déclarées ; pas encore publiées, ou adresse changée) :")
        for source_id, editions in absent.items():
            out.print(f"  {source_id} : {', '.join(editions)}", highlight=False, soft_wrap=True)


def check_newest(workspace: Workspace, out: Console) -> int:
    """Runs the suites on the newest candidate, or on the release, and prints each result that did not pass."""
    folder = publication.newest_folder(workspace)
    if folder is None:
        out.print(f"Rien à contrôler dans {workspace.data}. À faire : lancer « vigie run ».")
        return FAILED
    results = publication.run_checks(workspace, folder, "vigie check")
    failed = [r for r in results if not r.passed]
    for result in failed:
        out.print(escape(result.message()), highlight=False)
    critical = [r for r in failed if r.severity == "critical"]
    out.print(
        f"{len(results)} contrôles sur {folder.parent.name} : {len(results) - len(failed)} réussis, "
        f"{len(critical)} en échec critique, {len(failed) - len(critical)} avertissements."
    )
    return FAILED if critical else DONE


def show_status(workspace: Workspace, out: Console, *, offline: bool) -> int:
    """Sources and editions held, what is newer upstream, the last run and its failed checks."""
    asked = [(s, e) for s in workspace.sources.values() for e in workspace.editions(s)]
    probes = {} if offline else {(p.source_id, p.edition): p for p in client(workspace).probe_all(asked)}
    table = Table("Source", "Édition", "Données", "COG", "Reçue le", "Octets", "Chez le producteur")
    labels = {
        "unchanged": "identique",
        "newer": "[yellow]plus récent[/yellow]",
        "not_published": "absente",
        "unreachable": "[red]injoignable[/red]",
    }
    for source, edition in asked:
        raw = workspace.store.latest(source.source_id, edition.edition)
        probe = probes.get((source.source_id, edition.edition))
        table.add_row(
            source.source_id,
            edition.edition,
            str(edition.data_year),
            str(edition.cog_year or ""),
            f"{raw.retrieved_at:%Y-%m-%d %H:%M}" if raw else "jamais",
            f"{raw.bytes:,}" if raw else "",
            labels[probe.kind] if probe else "",
        )
    out.print(table)
    tell_failures(workspace, out)
    _show_freshness(workspace, out)
    for line in publication.last_run(workspace):
        out.print(line, highlight=False)
    return DONE


def _show_freshness(workspace: Workspace, out: Console) -> None:
    """What the calendars say: how many sources are up to date, and the others one by one."""
    found = freshness_of_all(workspace, datetime.now(UTC).date())
    counts = Counter(f.state for f in found)
    told = ", ".join(f"{counts[state]} {label}" for state, label in STATES.items() if counts[state])
    out.print(f"Calendriers des producteurs : {told}.", highlight=False)
    for f in found:
        if f.state in ("late", "expected"):
            style = "yellow" if f.state == "late" else "dim"
            shown = f"  [{style}]{STATES[f.state]}[/{style}] {f.source_id} : {escape(f.message)}"
            out.print(shown, highlight=False, soft_wrap=True)


def roll_back(workspace: Workspace, release_id: str, out: Console, err: Console) -> int:
    """Publishes a past release again."""
    try:
        workspace.lock()
        Releases(workspace.data).rollback(release_id)
    except (ReleaseError, WorkspaceError) as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False)
        return USAGE
    out.print(f"{release_id} est de nouveau publiée : {workspace.data / 'vigie.duckdb'}", highlight=False)
    return DONE
