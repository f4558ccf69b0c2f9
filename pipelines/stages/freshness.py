"""Freshness of every source, by its producer's calendar and what was received."""

from __future__ import annotations

from datetime import date
from email.utils import parsedate_to_datetime

from pipelines.workspace import Workspace
from sources.calendar import Freshness, Held, freshness
from sources.description import Source
from sources.raw_store import RawFile


def freshness_of_all(workspace: Workspace, today: date) -> list[Freshness]:
    """One answer a source that has a calendar, the late ones first."""
    order = {"late": 0, "expected": 1, "up_to_date": 2, "ended": 3}
    found = (freshness(s, held(workspace, s), today) for s in workspace.sources.values())
    return sorted((f for f in found if f is not None), key=lambda f: (order[f.state], f.due or today, f.source_id))


def held(workspace: Workspace, source: Source) -> list[Held]:
    """The editions that were received and read: at a reused address, what came may be another one."""
    return [
        Held(edition, _dated(raw))
        for edition in source.editions
        if workspace.core(source.source_id, edition.edition).exists()
        and (raw := workspace.store.latest(source.source_id, edition.edition)) is not None
    ]


def _dated(raw: RawFile) -> date:
    """The date that the producer's site gives of a body, else the day it came."""
    try:
        return parsedate_to_datetime(raw.last_modified or "").date()
    except ValueError:
        return raw.retrieved_at.date()
