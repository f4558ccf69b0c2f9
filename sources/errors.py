"""Errors of acquisition and parsing. Each says where, what was expected, what was found, what to do.

Messages are read by analysts, hence in French. Nothing here decides whether an error is fatal.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class SourceError(Exception):
    """A source could not be read. `str(error)` is the whole message, in French."""

    source_id: str
    edition: str
    expected: str
    found: str
    action: str
    file: str | None = None
    sheet: str | None = None
    row: int | None = None  # as a person counts in the file: the first line is 1
    column: str | None = None
    context: dict[str, str] = field(default_factory=dict[str, str])

    def __str__(self) -> str:
        place = [self.source_id, self.edition]
        where = [
            f"fichier {self.file}" if self.file else "",
            f"feuille {self.sheet}" if self.sheet else "",
            f"ligne {self.row}" if self.row is not None else "",
            f"colonne {self.column}" if self.column else "",
        ]
        head = " ".join(p for p in place if p)
        tail = ", ".join(w for w in where if w)
        location = f"{head} ({tail})" if tail else head
        return f"{location} : attendu {self.expected} ; trouvé {self.found}. À faire : {self.action}"


class AcquisitionError(SourceError):
    """The producer's site did not deliver the file (network, refusal, deadline)."""


class NotPublishedError(AcquisitionError):
    """The address answers 404 or 410: the edition is declared but not (or no longer) there."""


class BodyRefusedError(AcquisitionError):
    """The body is not what the description promises (HTML page, truncated archive, wrong type)."""


class DiskError(AcquisitionError):
    """The data folder refuses what arrives (full disk, rights): no fault of the producer's."""


class LayoutError(SourceError):
    """A member, sheet or column that the description promises is missing or has moved."""


class CellError(SourceError):
    """A cell holds something that is neither a value nor a known mark."""
