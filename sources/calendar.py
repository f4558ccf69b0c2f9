"""Freshness: whether the next edition of a dataset is late, by the producer's own calendar (`expected`).

Ours rather than Dagster's freshness policies, which judge when an asset was last materialised: every run materialises
all of them, and a census of three years ago is up to date all the same until the next one is due.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from sources.description import Edition, Expected, Source

State = Literal["up_to_date", "expected", "late", "ended"]
STATES: dict[State, str] = {
    "late": "en retard",
    "expected": "attendue",
    "up_to_date": "à jour",
    "ended": "série close",
}
QUARTER = re.compile(r"(\d{4})t([1-4])$")  # at the end of a quarterly edition's key
MONTHS = [
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
]


@dataclass(frozen=True)
class Held:
    """An edition that was received: the date of its body, as its producer dates it or, failing that, as it came."""

    edition: Edition
    since: date


@dataclass(frozen=True)
class Freshness:
    """Where a dataset stands on a day. `due`: the end of the month or day when the next edition comes out."""

    source_id: str
    state: State
    due: date | None
    message: str  # French


def freshness(source: Source, held: Sequence[Held], today: date) -> Freshness | None:
    """Up to date, expected (due, within the delay) or late; None where nothing says when an edition comes out.

    A dataset of which nothing was ever received is judged by its newest declared edition.
    """
    calendar = source.expected
    if calendar is None:
        return None
    if not calendar.months and calendar.after_quarter is None:
        return Freshness(source.source_id, "ended", None, f"plus d'édition attendue : {calendar.why}")
    newest = max(held, key=lambda h: (h.edition.data_year, h.since), default=None)
    if newest is None:
        missing = max(source.editions, key=lambda e: e.data_year)
        due, what = _due(calendar, missing, None, 0, today), f"édition {missing.edition}"
        kept = "rien de reçu"
    else:
        due = _due(calendar, newest.edition, newest.since, 1, today)
        what = _next(calendar, newest.edition)
        kept = f"édition {newest.edition.edition}, du {day(newest.since)}"
    guessed = "" if calendar.known else " (calendrier supposé)"
    if today <= due:
        state: State = "up_to_date" if newest is not None else "expected"
        return Freshness(source.source_id, state, due, f"{kept} ; {what} attendue avant le {day(due)}{guessed}")
    limit = due + timedelta(days=calendar.delay_days)
    if today <= limit:
        told = f"{kept} ; {what} attendue depuis le {day(due)}, en retard après le {day(limit)}{guessed}"
        return Freshness(source.source_id, "expected", due, told)
    told = f"{kept} ; {what} en retard de {(today - due).days} jours sur le {day(due)}{guessed}"
    return Freshness(source.source_id, "late", due, told)


def _due(calendar: Expected, edition: Edition, since: date | None, step: int, today: date) -> date:
    """When the `step`-th edition after this one comes out (0: itself)."""
    if calendar.after_quarter is not None:
        found = QUARTER.search(edition.edition)
        if found is None:
            raise ValueError(f"édition {edition.edition} : attendu une clé qui finit par son trimestre, comme 2025t3")
        quarters = int(found[1]) * 4 + int(found[2]) - 1 + step
        return _end(quarters // 4, quarters % 4 * 3 + 3) + timedelta(days=calendar.after_quarter)
    if calendar.lag is not None:
        return _end(edition.data_year + step * calendar.every + calendar.lag, calendar.months[0])
    # the same address always: the first month of publication that ends after the date of the body
    start = since or date(edition.data_year, 12, 31)
    ends = (_end(start.year + later, month) for later in (0, 1, 2) for month in sorted(calendar.months))
    return next(end for end in ends if end > start)


def _next(calendar: Expected, edition: Edition) -> str:
    """What the edition that follows is called."""
    found = QUARTER.search(edition.edition) if calendar.after_quarter is not None else None
    if found is not None:
        quarters = int(found[1]) * 4 + int(found[2])
        return f"édition du {quarters % 4 + 1}e trimestre {quarters // 4}".replace("1e t", "1er t")
    return "nouvelle édition" if calendar.lag is None else f"édition {edition.data_year + calendar.every}"


def _end(year: int, month: int) -> date:
    return date(year, month, monthrange(year, month)[1])


def day(when: date) -> str:
    """A date as French readers write it: 1er juillet 2026."""
    return f"{'1er' if when.day == 1 else when.day} {MONTHS[when.month - 1]} {when.year}"
