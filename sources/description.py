"""The description of a dataset (`description.yaml`): who publishes it, under which licence, which editions.

One description, one folder. A future edition in a known layout is one more entry under `editions`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal, Protocol

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sources.layout import Layout

ROOT = Path(__file__).parent
Format = Literal["zip", "csv", "txt", "xls", "xlsx", "json", "parquet"]
# file: one address, one body. records, melodi: pages of JSON assembled into one body (sources/connectors.py).
# datagouv: the address is a dataset's of data.gouv.fr; its newest resource titled as `resource` says is fetched.
# typed: figures that stand in a text only, written in `rows`; the address is that of the text, which is not asked.
# deposit: a partner brought it (sources/deposits); the body is in the raw store and nobody is asked.
Connector = Literal["file", "records", "melodi", "datagouv", "typed", "deposit"]
ADDRESSES: dict[Connector, str] = {
    "file": "https://.+",
    "typed": "https://.+",
    "deposit": r"deposit:[a-z0-9_]+-\d{4,}/\d{4}",  # name of the deposit, year
    "records": r"https://[^/]+/api/explore/v2\.\d/catalog/datasets/[^/]+/records\?(.+&)?order_by=.+",
    "melodi": r"https://api\.insee\.fr/melodi/data/\w+(\?.+)?",
    "datagouv": r"https://www\.data\.gouv\.fr/api/1/datasets/[^/?]+/",
}


class Member(BaseModel):
    """One table of an edition: a file of the archive (or the file itself) and, in a workbook, a sheet."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None  # name inside the archive; None when the file is not an archive
    sheet: str | None = None
    level: str | None = None  # territorial level of the rows, when the member holds only one
    table: str | None = None  # which of the dataset's tables this is, when it has several


class Edition(BaseModel):
    """One published edition of a dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    edition: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]*$")  # key inside the source
    data_year: int
    cog_year: int | None = None  # geography of the codes
    url: str = Field(pattern=r"^(https://|deposit:)")
    url_verified: bool = True
    format: Format
    connector: Connector = "file"
    resource: str | None = None  # of a data.gouv.fr dataset: a regular expression of the resource's title
    rows: tuple[dict[str, str | float], ...] = ()  # typed figures
    layout: str = "default"  # which of the parser's layouts
    members: tuple[Member, ...] = ()
    issue: int = 1  # within a data year, the highest issue wins
    reused_url: bool = False  # the producer serves each new edition at this same address
    note: str | None = None

    @model_validator(mode="after")
    def _connector_can_ask(self) -> Edition:
        expected = ADDRESSES.get(self.connector)
        if expected and not re.fullmatch(expected, self.url):
            # without an order, pages may repeat a row and leave another out
            raise ValueError(f"{self.edition}: the connector {self.connector!r} asks addresses like {expected}")
        if self.connector in ("records", "melodi", "typed") and self.format != "json":
            raise ValueError(f"{self.edition}: what {self.connector!r} brings is kept as JSON, not {self.format!r}")
        if (self.connector == "typed") != bool(self.rows):
            raise ValueError(f"{self.edition}: `rows` are said with the connector 'typed', and only then")
        if (self.connector == "datagouv") != (self.resource is not None):
            raise ValueError(f"{self.edition}: `resource` is said with the connector 'datagouv', and only then")
        return self


class Expected(BaseModel):
    """When the producer brings out the next edition of a dataset (sources/calendar.py reads it)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    months: tuple[Annotated[int, Field(ge=1, le=12)], ...] = ()  # in which an edition comes out; none: never again
    lag: int | None = None  # yearly: years from the data to that month; None: a new body at the same address
    every: int = Field(default=1, ge=1)  # years between two editions
    after_quarter: int | None = Field(default=None, ge=0)  # quarterly: days after the quarter of the edition's key
    delay_days: int = Field(default=60, ge=0)  # after the end of the month, before it is called late
    known: bool = True  # False: no calendar of the producer is known here, this one is a careful guess
    why: str | None = None  # French: why no edition comes any more, or what the calendar is known from

    @model_validator(mode="after")
    def _an_end_has_a_cause(self) -> Expected:
        if not self.months and self.after_quarter is None and not self.why:
            raise ValueError("sans mois de parution (`months`), attendu la raison (`why`) : série arrêtée, remplacée…")
        if self.lag is not None and len(self.months) != 1:
            raise ValueError(f"avec `lag`, attendu un seul mois de parution ; trouvé {list(self.months)}")
        return self


Limit = tuple[float | None, float | None]  # gap above which it is a warning; above which nothing is published


class Drift(BaseModel):
    """How far an edition may be from the one before: gaps of each kind (expectations/drift.py). The defaults are those
    of every source that says nothing; `python -m bench.drift` measures them on real history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    levels: Limit = (0.0, None)  # the description says which levels are read: the coverage checks guard the rest
    gone: Limit = (0.0, 0.5)
    appeared: Limit = (0.0, None)
    rows: Limit = (0.05, 0.5)
    regions: Limit = (0.1, 0.9)
    masks: Limit = (0.05, 0.4)
    shape: Limit = (0.5, 3.0)
    scale: Limit = (0.2, 0.7)
    likeness: Limit = (0.4, 0.95)
    sums: Limit = (0.15, 0.7)


class Source(BaseModel):
    """A dataset: grain and variables are those of its `parse` module."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source_id: str
    title: str  # French, as shown to users
    producer: str
    owner: str
    licence: str
    diffusion: Literal["public", "partner"] = "public"
    homepage: str | None = None
    kind: Literal["values", "geography"] = "values"
    parser: str | None = None  # folder whose parse.py is used, when not this one
    layouts: dict[str, Layout] = {}  # declared: no parse.py (see sources/layout.py)
    tested_on: Literal["real", "generated"] = "real"
    expected: Expected | None = None  # None: a contract's, whose partner has no calendar
    drift: Drift = Drift()
    editions: tuple[Edition, ...]

    @model_validator(mode="after")
    def _keys_are_unique(self) -> Source:
        keys = [e.edition for e in self.editions]
        double = sorted({k for k in keys if keys.count(k) > 1})
        if double:
            raise ValueError(f"{self.source_id}: edition keys declared twice: {double}")
        return self

    def levels_of(self, edition: Edition) -> tuple[str, ...]:
        """Levels of the territories that an edition's figures are of; communes unless something says otherwise."""
        found: dict[str, None] = {}
        for member in edition.members or (Member(),):
            layout = self.layouts.get(member.table or edition.layout)
            several = [level for level in layout.levels.values() if level] if layout else []
            own = member.level or (layout.level if layout else None)
            found |= dict.fromkeys(several or [own or "COM"])
        return tuple(found)

    def edition(self, key: str) -> Edition:
        """The edition of that key; KeyError names the known ones."""
        for e in self.editions:
            if e.edition == key:
                return e
        raise KeyError(f"{self.source_id}: no edition {key!r}; known: {[e.edition for e in self.editions]}")


class Parse(Protocol):
    """What each `parse.py` offers: bytes of the members -> one typed frame."""

    def __call__(self, source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame: ...


def load_source(folder: Path) -> Source:
    """The description of one dataset folder. Raises pydantic.ValidationError with the faulty key."""
    text = (folder / "description.yaml").read_text(encoding="utf-8")
    source = Source.model_validate(yaml.load(text, Loader=yaml.CSafeLoader))  # libyaml: seventy files at every start
    if source.source_id != folder.name:
        raise ValueError(f"{folder}: source_id is {source.source_id!r}, expected {folder.name!r}")
    return source


@lru_cache(maxsize=1)
def load_sources() -> dict[str, Source]:
    """Every declared dataset, by source_id, in alphabetical order."""
    return {
        p.parent.name: load_source(p.parent)
        for p in sorted(ROOT.glob("*/description.yaml"))
    }


def parser_of(source: Source) -> Parse:
    """The `parse` function of a dataset: its own, or the reader of declared layouts."""
    module = "sources.declared" if source.layouts else f"sources.{source.parser or source.source_id}.parse"
    return import_module(module).parse
