"""Running the job from the terminal: through Dagster, recorded in its instance, with a summary at the end."""

from __future__ import annotations

import os
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.alerts import tell
from pipelines.choosing import matching
from pipelines.doctor import behind, mend_history
from pipelines.progress import Terminal
from pipelines.sending import send_what_is_in_force
from pipelines.stages import acquisition, publication
from pipelines.stages.freshness import freshness_of_all
from pipelines.workspace import NOT_RUN, ROOT, Workspace, WorkspaceError
from sources.calendar import STATES
from sources.raw_store import RawStoreError
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
    """The whole job, where the settings say; prints what was published, skipped and why. Returns the exit code.

    editions: those asked of the producers, as `choosing.matching` reads them; all of them when there is none.
    """
    matching(workspace, editions)
    if workspace.settings.profile == "mirror" and not workspace.settings.mirror:
        err.print("Le profil mirror attend l'adresse du miroir : VIGIE_MIRROR=http://127.0.0.1:8765, par exemple.")
        return USAGE
    try:
        return _whole_run(workspace, out, err, editions)
    except (WorkspaceError, ReleaseError, RawStoreError, OSError, *storage_errors()) as error:
        if workspace.locked:  # else another run holds the folder, and says what becomes of it
            _tell(workspace, [("l'exécution", str(getattr(error, "orig", error)))], err)  # of a base, less the query
        raise


def storage_errors() -> tuple[type[Exception], ...]:
    """What Dagster raises when its bases refuse: SQLite files, or the PostgreSQL server where its package is there."""
    from sqlalchemy.exc import DBAPIError

    with suppress(ImportError):
        from dagster_postgres.utils import DagsterPostgresException

        return DBAPIError, sqlite3.DatabaseError, DagsterPostgresException
    return DBAPIError, sqlite3.DatabaseError


def _tell(workspace: Workspace, failures: Sequence[tuple[str, str]], err: Console) -> None:
    """Alerts, and says which could not be sent."""
    for wrong in tell(workspace, failures):
        err.print(f"[yellow]{escape(wrong)}[/yellow]", highlight=False, soft_wrap=True)


def _whole_run(workspace: Workspace, out: Console, err: Console, editions: Sequence[str]) -> int:
    """The job, in a folder that it takes; its exit code. Raises what prevents it from beginning."""
    started = time.monotonic()
    recovered = publication.prepare(workspace)
    os.environ.update(instance_environment(workspace))
    for done in [*recovered, *close_dead_runs()]:
        err.print(f"[yellow]Reprise :[/yellow] {done}", highlight=False)
    if late := behind(workspace):
        err.print(f"[yellow]Horloge de la machine :[/yellow] {late}. À faire : la remettre à l'heure.", highlight=False)
    workspace.stage(acquisition.LAST).unlink(missing_ok=True)
    told = Told()
    failures = _execute(workspace, editions, told)
    seconds = time.monotonic() - started
    _summary(acquisition.kinds(workspace, acquisition.LAST), told, out)
    _tell(workspace, failures, err)
    if failures:
        for step, message in failures:
            err.print(f"\n[red]Échec de {step}[/red]\n{escape(message)}", highlight=False)
        latest = Releases(workspace.data).latest()
        kept = f"la publication {latest.release_id} reste en place" if latest else "rien n'est publié"
        new = workspace.published
        ended = f"{new} est publiée" if new else f"Rien de nouveau n'a été publié ({kept})"
        err.print(f"\n{ended}. Durée : {seconds:.1f} s.", highlight=False)
        return FAILED
    out.print(escape(publication.conclusion(workspace)), highlight=False, soft_wrap=True)
    for line in told.pruned:
        out.print(escape(line), highlight=False, soft_wrap=True)
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


@dataclass
class Told:
    """What the events of a run tell that the data folder does not (French)."""

    replaced: list[str] = field(default_factory=list[str])  # editions whose address now serves another one
    pruned: list[str] = field(default_factory=list[str])  # what the policy of the settings let go of


def _execute(workspace: Workspace, editions: Sequence[str], told: Told) -> list[tuple[str, str]]:
    """Runs the job through Dagster; returns what failed: (step, message). Fills `told`."""
    import dagster as dg

    from pipelines.automation import asking, whole_range

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    terminal = Terminal(shown=workspace.settings.log == "text")
    workspace.progress = terminal
    execute = _executing(workspace)
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    asked, range_ = quiet | asking(editions), whole_range(workspace)
    try:
        with dg.DagsterInstance.get() as instance, terminal.progress:
            result = execute(run_config=asked, instance=instance, tags=range_, raise_on_error=False)
    except storage_errors() as error:
        todo = "À faire : libérer de la place s'il n'y en a plus, puis vigie doctor, qui dit laquelle est abîmée."
        said = getattr(error, "orig", error)
        return [("l'historique", f"Les bases de {workspace.data / 'dagster'} refusent : {said}. {todo}")]
    _gather(workspace, result, told)
    if result.success:
        return []
    failed: list[tuple[str, str]] = []
    for event in result.get_step_failure_events():
        message = failure_message(event.step_failure_data)
        if message.startswith(REFUSED):
            raise WorkspaceError(message.removeprefix(REFUSED))
        if not told_elsewhere(message):
            failed.append((event.step_key or "?", message))
    failed.extend(("contrôle " + r.check_id, r.message()) for r in publication.blocking_results(workspace))
    return failed or [("l'exécution", "voir la page de Dagster : vigie dev")]


def _executing(workspace: Workspace) -> Callable[..., Any]:
    """How Dagster executes the job: in this process, or coordinated from here."""
    import dagster as dg

    from pipelines.definitions import JOB, build_definitions

    if workspace.settings.executor == "in_process":
        return build_definitions(workspace).resolve_job_def(JOB).execute_in_process
    from pipelines import code_location  # its settings are those just put in the environment

    code_location.workspace.take_over(workspace)
    return partial(dg.execute_job, dg.reconstructable(code_location.build_release))


def _gather(workspace: Workspace, result: Any, told: Told) -> None:
    """What a run did, wherever its steps were executed."""
    for event in result.all_events:
        if event.is_step_materialization:
            shown = event.step_materialization_data.materialization
            if (replaced := shown.metadata.get(acquisition.REPLACED)) is not None:
                told.replaced += [f"{shown.asset_key.path[-1]} {edition}" for edition in replaced.value]
            if shown.asset_key.path == ["release"] and publication.PUBLISHED in shown.metadata:
                workspace.published = str(shown.metadata[publication.PUBLISHED].value)
        elif event.is_asset_observation:
            shown = event.asset_observation_data.asset_observation
            told.pruned.append(str(shown.metadata[publication.PRUNED].value))
    workspace.results = workspace.results or publication.results_of(workspace, result.run_id)


def told_elsewhere(message: str) -> bool:
    """Whether a step failed because of what is told already: a check, or a step before it."""
    return "blocking asset check" in message or message.startswith(NOT_RUN)


def failure_message(failure: Any) -> str:
    """The message of a failed step: ours when we raised it, else the innermost error."""
    user = failure.user_failure_data
    if user is not None and user.description:
        return str(user.description)
    error = failure.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else "erreur inconnue"


def _summary(outcomes: Mapping[str, str], told: Told, out: Console) -> None:
    """What acquisition found (source/edition -> kind), and the declared editions that were not there."""
    kinds = Counter(outcomes.values())
    labels = {
        "fetched": "nouvelles",
        "changed": "modifiées",
        "unchanged": "inchangées",
        "not_published": "absentes chez le producteur",
        "failed": "en échec",
    }
    out.print("Éditions : " + ", ".join(f"{kinds[k]} {text}" for k, text in labels.items() if kinds[k]) + ".")
    for name, kind in outcomes.items():
        if kind == "changed":
            out.print(f"  modifiée chez le producteur : {name.replace('/', ' ')}", highlight=False)
    for replaced in told.replaced:
        out.print(f"Remplacée à son adresse : {escape(replaced)}", highlight=False, soft_wrap=True)
    absent: dict[str, list[str]] = {}
    for name, kind in outcomes.items():
        if kind == "not_published":
            source_id, _, edition = name.partition("/")
            absent.setdefault(source_id, []).append(edition)
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
    probes = {} if offline else {(p.source_id, p.edition): p for p in acquisition.client(workspace).probe_all(asked)}
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
        send_what_is_in_force(workspace)
    except (ReleaseError, WorkspaceError) as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False)
        return USAGE
    out.print(f"{release_id} est de nouveau publiée : {workspace.data / 'vigie.duckdb'}", highlight=False)
    return DONE
