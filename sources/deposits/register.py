"""The register of deposits: one line of JSON an event, only ever added. It says which deposit each year rests on, and
which files are still held."""

from __future__ import annotations

import calendar
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

from sources.deposits.contract import Contract, as_source
from sources.description import Edition, Format, Source

EventKind = Literal["accepted", "refused", "withdrawn", "erased"]


@dataclass(frozen=True)
class Event:
    """What happened to a deposit. `deposit` names it; `years`: those it gives, or that no longer rest on it."""

    kind: EventKind
    deposit: str
    contract: str
    owner: str
    at: str  # UTC: 2026-11-22T13:35:00Z
    years: tuple[int, ...] = ()
    sha256: str | None = None  # None of a refused file that may hold persons: its hash would tell who has it
    bytes: int | None = None
    format: Format | None = None
    cog_year: int | None = None
    replaces: tuple[str, ...] = ()  # deposits of the same years until then
    reason: str | None = None  # of a withdrawal, of an erasure


class RegisterError(ValueError):
    """The register cannot be read; the message (French) says where."""


class Register:
    """`deposits/register.jsonl` of a data folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "register.jsonl"

    def events(self) -> list[Event]:
        """Every event, oldest first. Raises RegisterError naming the line that is none."""
        if not self.path.exists():
            return []
        found: list[Event] = []
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            try:
                found.append(_event(json.loads(line)))
            except (ValueError, TypeError, AttributeError) as error:
                raise RegisterError(
                    f"{self.path}, ligne {number} : attendu un événement du registre des dépôts ; trouvé une ligne "
                    "illisible. À faire : restaurer ce fichier d'une sauvegarde."
                ) from error
        return found

    def add(self, event: Event) -> None:
        """Adds an event, durably. OSError when the disk refuses."""
        with self.path.open("a", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(json.dumps(asdict(event), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def in_force(self, contract: str) -> dict[int, Event]:
        """Year -> the deposit it rests on: the last accepted, unless withdrawn or erased since; never an older one."""
        return in_force(self.events(), contract)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One deposit at a time; creates the folder."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.path.parent / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def in_force(events: Sequence[Event], contract: str) -> dict[int, Event]:
    """As Register.in_force, of events already read."""
    held: dict[int, Event] = {}
    for event in events:
        if event.contract != contract:
            continue
        for year in event.years:
            if event.kind == "accepted":
                held[year] = event
            elif event.kind in ("withdrawn", "erased"):
                held.pop(year, None)
    return dict(sorted(held.items()))


def years_in_force(events: Sequence[Event], deposit: Event) -> list[int]:
    """The years that rest on a deposit."""
    return [y for y, e in in_force(events, deposit.contract).items() if e.deposit == deposit.deposit]


def files_held(events: Sequence[Event]) -> list[Event]:
    """The deposits, refused ones included, whose retention has not been seen to end, oldest first."""
    erased = {e.deposit for e in events if e.kind == "erased"}
    return [e for e in events if e.kind in ("accepted", "refused") and e.deposit not in erased]


def kept_until(deposit: Event, contract: Contract) -> date:
    """The day from which the file of a deposit is no longer kept: its retention is counted from its deposit."""
    received = date.fromisoformat(deposit.at[:10])
    months = received.month - 1 + contract.retention_months
    year, month = received.year + months // 12, months % 12 + 1
    return date(year, month, min(received.day, calendar.monthrange(year, month)[1]))


def deposited_sources(folder: Path, contracts: dict[str, Contract]) -> dict[str, Source]:
    """Every contract as a source, its editions the years in force of the register of `folder`, by source_id. A deposit
    whose retention has ended is no edition, erased already or not.

    Raises RegisterError for a file held without its contract, which says how long to keep it.
    """
    events = Register(folder).events()
    lost = sorted({e.contract for e in files_held(events) if e.kind == "accepted"} - set(contracts))
    if lost:
        raise RegisterError(
            f"{folder} : attendu le contrat de chaque dépôt ; trouvé des dépôts de {', '.join(lost)}, sans contrat. "
            "À faire : remettre ce contrat dans le dossier contracts : il dit jusqu'à quand leurs fichiers se gardent."
        )
    return {c.source_id: as_source(c, _editions(c, in_force(events, c.name))) for c in contracts.values()}


def _editions(contract: Contract, held: dict[int, Event]) -> list[Edition]:
    editions: list[Edition] = []
    today = datetime.now(UTC).date()
    for year, event in held.items():
        if kept_until(event, contract) <= today:
            continue
        assert event.format and event.cog_year and event.sha256, f"{event.deposit}: accepted without its file"
        editions.append(contract.edition(year, event.deposit, event.format, event.cog_year))
    return editions


def _event(read: dict[str, Any]) -> Event:
    return Event(**{**read, "years": tuple(read["years"]), "replaces": tuple(read["replaces"])})
