"""Alerts: what someone should look at, told once by e-mail and webhook, and said to be over when it is.

Everything is gathered from the data folder, so that a run from the terminal and Dagster's sensors tell the same. The
channels are Apprise addresses (`mailto://…`, `json://…`) in VIGIE_ALERTS, separated by spaces: of the environment only,
in no file and no log. Nothing that was withheld from publication is ever told.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import polars as pl
from rich.console import Console

from expectations.drift import SUITE as DRIFT
from expectations.results import CheckResult
from pipelines.stages.acquisition import kinds
from pipelines.stages.freshness import freshness_of_all
from pipelines.workspace import FAILURES, Workspace, replace_bytes
from sources.deposits.contract import Deposited
from warehouse.release import Releases

CHANNELS = "VIGIE_ALERTS"
TOLD_AGAIN = timedelta(days=30)  # what lasts is told again after that
LINES = 15  # of one kind in one message
LONGEST = 600  # characters of one line
RUN, ALL = "run:", ""  # how the names begin of the causes that runs tell, and of all of them
STOPS = "ARRÊTE LA PUBLICATION. "  # before a drift that does

Kind = Literal["run", "edition", "gone", "check", "drift", "decision", "late", "news"]
# what a kind is called, and what to do about it
KINDS: dict[Kind, tuple[str, str]] = {
    "run": ("Exécution en échec", "lire le message, puis relancer « vigie run » ; vigie doctor dit ce qui manque"),
    "edition": (
        "Éditions en échec (la dernière bonne édition sert)",
        "regarder le fichier chez le producteur ; corriger l'adresse ou la lecture, puis relancer",
    ),
    "gone": (
        "Éditions retirées de leur adresse (le dernier fichier reçu sert)",
        "voir la page du producteur : déplacée, corriger l'adresse ; retirée parce que fausse, ne plus la déclarer",
    ),
    "check": ("Contrôles critiques en échec : rien n'est publié", "vigie check en donne le détail"),
    "drift": (
        "Dérive par rapport à l'édition précédente",
        "comparer au fichier du producteur ; corriger la lecture, déclarer la rupture ou relever le seuil (`drift`)",
    ),
    "decision": (
        "Candidate en attente d'une décision",
        "lire ses CHANGES.md et MOUVEMENTS.md (vigie release candidates), puis vigie release approve ou reject",
    ),
    "late": (
        "Éditions en retard sur le calendrier du producteur",
        "voir sa page ; si l'édition est parue, la déclarer (description.yaml), sinon corriger `expected`",
    ),
    "news": ("Nouvelles éditions reçues", "lire CHANGES.md, de la publication ou de la candidate"),
}


@dataclass(frozen=True)
class Cause:
    """One thing to tell. It is told again when `mark` changes; `text` is French, on one line."""

    kind: Kind
    key: str
    mark: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.key}"


# --- what there is to tell


def gather(workspace: Workspace, failures: Sequence[tuple[str, str]], now: datetime, since: datetime) -> list[Cause]:
    """Everything worth telling as the data folder stands. failures: (step, message) of the run that just ended; since:
    the moment from which a body received is news."""
    editions = _editions(workspace)
    unread = {c.key for c in editions}
    late = [
        Cause("late", f.source_id, str(f.due), f"{f.source_id} : {f.message}")
        for f in freshness_of_all(workspace, now.date())
        if f.state == "late"
    ]
    return [
        *_run(failures),
        *editions,
        *_gone(workspace),
        *_checks(workspace),
        *_waiting(workspace),
        *late,
        *(c for c in _news(workspace, since) if c.key not in unread),  # told as failed
    ]


def _run(failures: Sequence[tuple[str, str]]) -> list[Cause]:
    """What broke in a run, but the checks: `_checks` tells them."""
    return [
        Cause("run", step, "", f"{step} : voir vigie status")
        if _private(text)
        else Cause("run", step, text, f"{step} : {text}")
        for step, text in failures
        if not step.startswith("contrôle ")
    ]


def _unread(workspace: Workspace, failures: Sequence[tuple[str, str]], error: Exception) -> list[Cause]:
    """What is left to tell when the data folder cannot be read: what broke, and that."""
    told = "voir vigie doctor" if _private(str(error)) else f"{error} ; voir vigie doctor"
    return [*_run(failures), Cause("run", "le dossier", "", f"le dossier {workspace.data} ne se lit pas : {told}")]


def _private(text: str) -> bool:
    """Whether a message is about a partner's file: nothing of it leaves the machine."""
    return "depot_" in text or "deposit" in text


def _editions(workspace: Workspace) -> list[Cause]:
    return [
        Cause(
            "edition",
            f"{s.source_id}/{edition}",
            step,
            f"{s.source_id}/{edition} : {FAILURES[step] if isinstance(s, Deposited) else message}",
        )
        for s in workspace.sources.values()
        for edition, (step, message) in workspace.failures(s).items()
    ]


def _gone(workspace: Workspace) -> list[Cause]:
    """The editions received that are no longer at their address: moved, or withdrawn because they were wrong."""
    last = kinds(workspace)
    return [
        Cause("gone", name, "", f"{name} : absente à son adresse, {e.url}")
        for s in workspace.sources.values()
        for e in workspace.present(s)
        if last.get(name := f"{s.source_id}/{e.edition}") == "not_published" and not isinstance(s, Deposited)
    ]


def _checks(workspace: Workspace) -> list[Cause]:
    """Of the last checks: each drift, and the critical failures, of which no figure is told: it may be a partner's."""
    kept = workspace.stage("quality_check.parquet")
    failed = pl.read_parquet(kept).filter(~pl.col("passed")).iter_rows(named=True) if kept.exists() else ()
    causes: list[Cause] = []
    for row in failed:
        r = CheckResult(**row)
        where = f"{r.check_id} ({r.table_name})"
        if r.suite == DRIFT:
            text = f"{where} : attendu {r.expected} ; trouvé {r.observed}" + (f". Où : {r.sample}" if r.sample else "")
            stops = STOPS if r.severity == "critical" else ""
            causes.append(Cause("drift", f"{r.table_name}/{r.check_id}", f"{r.severity} {r.sample}", stops + text))
        elif r.severity == "critical":
            causes.append(Cause("check", where, "", f"{where} : attendu {r.expected}"))
    return causes


def _waiting(workspace: Workspace) -> list[Cause]:
    """The candidate that a person must approve or reject; another one in its place is told too."""
    held = [s for s in Releases(workspace.data).states() if s.why is not None]
    told = "{} attend une décision : {}"
    return [Cause("decision", "candidate", s.release_id, told.format(s.release_id, s.why)) for s in held[-1:]]


def _news(workspace: Workspace, since: datetime) -> list[Cause]:
    """Bodies received since then, of the producers: what a partner brings is known to who deposited it. A row that
    gives another date or tag to the same body is none."""
    found = (
        workspace.store.history()
        .with_columns(again=~pl.struct("source_id", "edition", "sha256").is_first_distinct())
        .filter(
            pl.col("retrieved_at") > since,
            ~pl.col("url").str.starts_with("deposit:"),
            pl.col("previous_sha256").is_not_null() | ~pl.col("again"),
        )
    )
    return [
        Cause("news", name := f"{r['source_id']}/{r['edition']}", r["sha256"], f"{name} : {_novelty(r)}")
        for r in found.sort("source_id", "edition", "retrieved_at").iter_rows(named=True)
    ]


def _novelty(row: Mapping[str, Any]) -> str:
    """How a body differs from the one that the edition had (French)."""
    if row["previous_sha256"] is None:
        return "reçue pour la première fois"
    return "de nouveau telle qu'elle a déjà été reçue" if row["again"] else "révisée"


# --- once a cause


@dataclass(frozen=True)
class Told:
    """What was told already: cause -> (mark, text, when), and the moment up to which bodies are no news."""

    causes: Mapping[str, tuple[str, str, str]]
    seen: datetime

    def new(self, causes: Iterable[Cause], now: datetime) -> list[Cause]:
        """The causes never told, changed since, or told long ago."""

        def due(cause: Cause) -> bool:
            mark, _, when = self.causes.get(cause.name, ("", "", ""))
            return not when or mark != cause.mark or now - datetime.fromisoformat(when) >= TOLD_AGAIN

        return [c for c in causes if due(c)]

    def over(self, causes: Iterable[Cause], *, whole: bool) -> list[str]:
        """The texts of what was told and is no more. whole: a run just ended, which says whether runs still fail."""
        now = {c.name for c in causes}
        lasting = {n: text for n, (_, text, _) in self.causes.items() if whole or not n.startswith(RUN)}
        return [_bare(text) for name, text in lasting.items() if name not in now]


def _bare(text: str) -> str:
    """What was told, less what it stopped and what was to be done: it is over."""
    return text.removeprefix(STOPS).partition(" À faire : ")[0]


def read_told(workspace: Workspace, now: datetime) -> Told:
    """The state file; without one, nothing was told and what is in the folder is no news."""
    path = workspace.data / "alerts.json"
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return Told({k: tuple(v) for k, v in kept["causes"].items()}, datetime.fromisoformat(kept["seen"]))
    except (FileNotFoundError, ValueError, KeyError):  # a state that cannot be read: everything is told once more
        return Told({}, now)


def _keep(
    workspace: Workspace, before: Told, causes: Sequence[Cause], new: Sequence[Cause], now: datetime, unsaid: str | None
) -> None:
    """Writes the state file. unsaid: how the names begin of the causes of which nothing is known this time."""
    told = {c.name for c in new}
    lasting = [c for c in causes if c.kind != "news"]
    kept = {c.name: (c.mark, c.text, now.isoformat()) if c.name in told else before.causes[c.name] for c in lasting}
    if unsaid is not None:
        kept = {n: v for n, v in before.causes.items() if n.startswith(unsaid)} | kept
    seen = before.seen if unsaid == ALL else now  # what came meanwhile is news once it can be read
    state = {"causes": kept, "seen": seen.isoformat()}
    replace_bytes(workspace.data / "alerts.json", json.dumps(state, ensure_ascii=False, indent=1).encode())


def tell(workspace: Workspace, failures: Sequence[tuple[str, str]] | None) -> list[str]:
    """Sends one message about what is new, changed or over, if there is any; returns what went wrong (French).

    failures: those of the run that just ended; None when none ended. Never raises: a run is not failed by its alerts.
    What could not be sent by any channel is told by the next call.
    """
    channels = os.environ.get(CHANNELS, "").split()
    if not channels:
        return []
    try:
        now = datetime.now(UTC)
        before = read_told(workspace, now)
        unsaid = RUN if failures is None else None
        try:
            causes = gather(workspace, failures or (), now, before.seen)
            over = before.over(causes, whole=failures is not None)
        except Exception as error:
            causes, over, unsaid = _unread(workspace, failures or (), error), [], ALL
        new = before.new(causes, now)
        wrong: list[str] = []
        if new or over:
            title, body = message(workspace, new, over, now)
            wrong = send(channels, title, body)
        if len(wrong) < len(channels):
            _keep(workspace, before, causes, new, now, unsaid)
        return wrong
    except Exception as error:
        return [f"Alertes : non envoyées ({type(error).__name__} : {error}). À faire : vigie alert test."]


# --- the message


def message(workspace: Workspace, new: Sequence[Cause], over: Sequence[str], now: datetime) -> tuple[str, str]:
    """Title and text (French): what happened, what to do of each, where to look."""
    grave = [c for c in new if c.kind in ("run", "check") or c.text.startswith(STOPS)]
    if grave:
        title = "Vigie : rien de nouveau n'est publié"
    elif any(c.kind != "news" for c in new):
        title = f"Vigie : {sum(c.kind != 'news' for c in new)} point(s) à regarder"
    else:
        title = "Vigie : nouvelles éditions" if new else "Vigie : rentré dans l'ordre"
    latest = _in_force(workspace)
    parts = [
        f"Le {now:%d/%m/%Y à %H:%M} UTC, machine {socket.gethostname()}, dossier {workspace.data}.",
        f"Publication en vigueur : {latest}." if latest else "Rien n'est publié.",
    ]
    for kind, (heading, todo) in KINDS.items():
        own = [c.text for c in new if c.kind == kind]
        if own:
            parts += ["", f"{heading} ({len(own)})", *_listed(own), f"À faire : {todo}."]
    if over:
        parts += ["", f"Rentré dans l'ordre ({len(over)})", *_listed(over)]
    parts += ["", "Où regarder : vigie status, vigie check, la page de Dagster (vigie dev), docs/exploitation.md."]
    return title, "\n".join(parts)


def _in_force(workspace: Workspace) -> str | None:
    """The identifier of the release in force, told even where its tables cannot be read."""
    pointer = workspace.data / "releases" / "latest"
    return pointer.readlink().name if pointer.is_symlink() else None


def _listed(texts: Sequence[str]) -> list[str]:
    lines = [f"- {' '.join(t.split())}" for t in texts[:LINES]]
    cut = [line if len(line) <= LONGEST else line[: LONGEST - 1] + "…" for line in lines]
    return cut + ([f"- et {len(texts) - LINES} autre(s)"] if len(texts) > LINES else [])


def send(channels: Sequence[str], title: str, body: str) -> list[str]:
    """Sends by each channel; what went wrong (French), which names a channel by its rank and kind, never its address,
    where passwords are."""
    import apprise

    logging.getLogger("apprise").disabled = True  # its messages may hold parts of an address
    wrong: list[str] = []
    for rank, channel in enumerate(channels, 1):
        named = f"Alertes : canal n° {rank} ({channel.partition('://')[0] if '://' in channel else 'sans schéma'})"
        one = apprise.Apprise()
        if not one.add(channel):
            wrong.append(f"{named} : adresse illisible. À faire : corriger {CHANNELS}, puis vigie alert test.")
        elif not one.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT):
            wrong.append(f"{named} : le serveur n'a pas pris le message. À faire : vigie alert test.")
    return wrong


def try_channels(out: Console, err: Console) -> int:
    """Sends a message by each channel; returns the exit code."""
    channels = os.environ.get(CHANNELS, "").split()
    if not channels:
        err.print(
            f"Aucun canal : {CHANNELS} est vide. À faire : y mettre des adresses Apprise séparées par des espaces, par "
            'exemple "mailtos://compte:secret@smtp.exemple.fr?to=equipe@exemple.fr jsons://exemple.fr/crochet".',
            highlight=False,
            soft_wrap=True,
        )
        return 2
    wrong = send(channels, "Vigie : essai d'alerte", f"Essai depuis la machine {socket.gethostname()}. Rien à faire.")
    for told in wrong:
        err.print(told, highlight=False, soft_wrap=True, markup=False)
    out.print(f"{len(channels) - len(wrong)} canal(aux) sur {len(channels)} ont pris le message.", highlight=False)
    return 1 if wrong else 0
