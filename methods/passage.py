"""Moving commune codes between two years of the official geographic code (COG), from INSEE's events file.

The COG of year Y is the state on 1 January Y, events of that day included. Everything follows from one idea:
cut France into parts that no event between the first and the last year divides, and note which commune holds
each part each year. The passage between two years is then a join on parts, in either direction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

import polars as pl

KINDS = ("merge", "split", "recode")
PASSAGE = {
    "from_year": pl.Int16,
    "from_code": pl.String,
    "to_year": pl.Int16,
    "to_code": pl.String,
    "share": pl.Float64,
    "kind": pl.String,
}
MERGERS = (31, 32, 33)  # events in which a commune becomes, whole, an associated or delegated commune
PAIR = ["from_year", "from_code", "to_year", "to_code"]


class LateListing(NamedTuple):
    """An event that INSEE dates before a 1 January whose list of communes does not show it yet."""

    codes: tuple[str, ...]
    day: date
    first_cog: int  # first list that shows the event
    why: str


LATE_LISTINGS = (
    LateListing(
        ("14472", "14697"),
        date(2014, 1, 7),
        2016,
        "L'Oudon garde le code 14697 dans la composition des EPCI de 2015 et dans Filosofi 2014 (COG 2015)",
    ),
    LateListing(
        ("55138", "55298"),
        date(2014, 1, 1),
        2015,
        "Culey, rétablie ce jour-là, n'est pas encore dans la composition des EPCI de 2014",
    ),
)


def dated_as_listed(events: pl.DataFrame, late: Sequence[LateListing] = LATE_LISTINGS) -> pl.DataFrame:
    """The events, those listed late moved to 1 January of the first COG that shows them.

    Data files follow the list that was published, not the decree. Raises ValueError when an event declared
    late is not there at its date: the source was corrected, and the declaration has to go. Events of another
    country, which has no such commune (demonstration data), are returned as they are.
    """
    for listing in late:
        codes = list(listing.codes)
        theirs = pl.col("code_before").is_in(codes) | pl.col("code_after").is_in(codes)
        these = theirs & (pl.col("date") == listing.day)
        if events.filter(theirs).height == 0:
            continue
        if events.filter(these).height == 0:
            raise ValueError(
                f"aucun événement du {listing.day:%d/%m/%Y} sur {' ou '.join(codes)} : la source a corrigé"
                + " l'événement déclaré tardif, retirer sa déclaration de LATE_LISTINGS"
            )
        moved = pl.lit(date(listing.first_cog, 1, 1))
        events = events.with_columns(date=pl.when(these).then(moved).otherwise("date"))
    return events


def passage(
    events: pl.DataFrame, years: Iterable[int], *, shares: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Rows (from_year, from_code, to_year, to_code, share, kind) for every ordered pair of `years`.

    A commune has rows where its code changes, or where part of it is elsewhere in the other year (its own
    code is then a row too, with share null). No row: it is there whole, under the same code. `share` is the
    part of the from commune found in the to commune: 1 when it is there whole, null when it is divided
    among several, be it forward through a split or backward across a merger. `kind` is what happened
    between the two years, whatever the direction: merge, split, recode (a new code only); split wins where
    several happened.

    events: frame of the newest events file (each file repeats and corrects the former ones).
    shares: declared shares of splits (from_code, to_code, year, share), year being the first COG in which the
        split shows. A split row whose share is below 1 is thus an estimate, to be flagged as such.
    Raises ValueError when an event contradicts the events before it, when a commune appears from nothing or
    vanishes between the years, when a declared share is not of a split or shares do not sum to 1.
    """
    wanted = sorted(set(years))
    span = range(wanted[0], wanted[-1] + 1)
    links = _links(_holders(events, span))
    if shares is not None and shares.height:
        links = links.join(_declared(links, shares), on=PAIR, how="left", maintain_order="left")
    else:
        links = links.with_columns(declared=pl.lit(None, pl.Float64))
    forward = links.filter(pl.col("from_year") < pl.col("to_year")).with_columns(
        kind=pl.when(pl.col("images") > 1)
        .then(pl.lit("split"))
        .when(pl.col("origins") > 1)
        .then(pl.lit("merge"))
        .otherwise(pl.lit("recode"))
    )
    backward = forward.select(
        from_year="to_year",
        from_code="to_code",
        to_year="from_year",
        to_code="from_code",
        kind="kind",
        share=pl.when(pl.col("origins") == 1).then(1.0),
    )
    forward = forward.with_columns(share=pl.when(pl.col("images") == 1).then(1.0).otherwise("declared"))
    whole = (pl.col("from_code") == pl.col("to_code")) & (pl.col("share") == 1).fill_null(False)
    return (
        pl.concat([forward.select(list(PASSAGE)), backward.select(list(PASSAGE))])
        .filter(~whole & pl.col("from_year").is_in(wanted) & pl.col("to_year").is_in(wanted))
        .sort("from_year", "to_year", "from_code", "to_code")
        .cast(PASSAGE)  # pyright: ignore[reportArgumentType]
    )


def convert(
    codes: Sequence[str] | pl.Series, table: pl.DataFrame, from_year: int, to_year: int
) -> pl.DataFrame:
    """Where each commune of `codes` (COG from_year) is in the COG to_year: (from_code, to_code, share, kind).

    One row per commune and commune found; a commune that does not change has itself, share 1 and kind null.
    table: from `passage`. Raises ValueError for a year that the table does not cover.
    """
    known = set(table["from_year"].unique().to_list())
    unknown = [y for y in (from_year, to_year) if from_year != to_year and y not in known]
    if unknown:
        raise ValueError(f"années {unknown} absentes de la table de passage, qui couvre {sorted(known)}")
    listed = pl.DataFrame({"from_code": pl.Series(codes, dtype=pl.String)}).unique(maintain_order=True)
    rows = table.filter((pl.col("from_year") == from_year) & (pl.col("to_year") == to_year))
    changed = pl.col("to_code").is_not_null()
    return listed.join(
        rows.select("from_code", "to_code", "share", "kind"),
        on="from_code",
        how="left",
        maintain_order="left_right",
    ).with_columns(
        to_code=pl.coalesce("to_code", "from_code"),
        share=pl.when(changed).then("share").otherwise(1.0),
    )


def _links(holders: pl.DataFrame) -> pl.DataFrame:
    """Pairs of communes with a part in common, year <= year; `images` and `origins` count them each way."""
    links = (
        holders.rename({"year": "from_year", "code": "from_code"})
        .join(holders.rename({"year": "to_year", "code": "to_code"}), on="part")
        .filter(pl.col("from_year") <= pl.col("to_year"))
        .select(PAIR)
        .unique()
    )
    return links.with_columns(
        images=pl.len().over("from_year", "from_code", "to_year"),
        origins=pl.len().over("from_year", "to_year", "to_code"),
    )


def _declared(links: pl.DataFrame, shares: pl.DataFrame) -> pl.DataFrame:
    """Declared shares carried to every pair of years where the split commune is the same before, under any
    code, and where each of its pieces is still whole after: (PAIR, declared)."""
    shares = shares.select("from_code", "to_code", pl.col("year").cast(pl.Int32), "share")
    split = links.filter((pl.col("to_year") == pl.col("from_year") + 1) & (pl.col("images") > 1))
    split = split.select("from_code", "to_code", year="to_year")
    _check_shares(split, shares)
    before = links.filter((pl.col("images") == 1) & (pl.col("origins") == 1)).select(
        "from_year", first="from_code", from_code="to_code", year=pl.col("to_year") + 1
    )
    after = links.filter(pl.col("images") == 1).select(
        to_code="from_code", year="from_year", to_year="to_year", last="to_code"
    )
    spread = shares.with_columns(pieces=pl.len().over("year", "from_code")).join(
        before, on=["year", "from_code"]
    )
    spread = spread.join(after, on=["year", "to_code"])
    complete = pl.len().over("from_year", "first", "to_year", "year") == pl.col("pieces")
    return (
        spread.filter(complete)
        .group_by("from_year", from_code="first", to_year="to_year", to_code="last")
        .agg(declared=pl.col("share").sum())
    )


def _check_shares(split: pl.DataFrame, shares: pl.DataFrame) -> None:
    key = ["year", "from_code", "to_code"]
    wrong = shares.join(split, on=key, how="anti")
    if wrong.height:
        raise ValueError(f"part déclarée pour ce qui n'est pas une scission des événements : {wrong.row(0)}")
    absent = split.join(shares, on=["year", "from_code"], how="semi").join(shares, on=key, how="anti")
    if absent.height:
        raise ValueError(f"scission sans part déclarée pour une de ses communes : {absent.row(0)}")
    totals = shares.group_by("year", "from_code").agg(pl.col("share").sum(), least=pl.col("share").min())
    wrong = totals.filter(((pl.col("share") - 1).abs() > 1e-9) | (pl.col("least") < 0))
    if wrong.height:
        raise ValueError(f"les parts déclarées d'une scission ne font pas 1 : {wrong.row(0)}")


def _holders(events: pl.DataFrame, span: range) -> pl.DataFrame:
    """Which commune holds each part each year: (part, year, code), for communes that change in the span."""
    first, last = date(span[0], 1, 1), date(span[-1], 1, 1)
    inside = events.filter((pl.col("date") > first) & (pl.col("date") <= last)).unique(maintain_order=True)
    moved = inside.filter(
        (pl.col("type_before").fill_null("COM") == "COM")
        & (pl.col("type_after").fill_null("COM") == "COM")
        & pl.col("code_before").ne_missing(pl.col("code_after"))
    )
    nothing = moved.filter(pl.col("code_before").is_null() | pl.col("code_after").is_null())
    if nothing.height:
        raise ValueError(f"commune créée de rien ou disparue sans suite : {nothing.row(0)}")
    touched = pl.concat([moved["code_before"], moved["code_after"]]).unique()
    ours = pl.col("type_before").ne("COM") | pl.col("code_before").is_in(touched.implode())
    state = _State()
    rest = list(span)
    for day, rows in (
        inside.filter(ours).sort("date", maintain_order=True).group_by("date", maintain_order=True)
    ):
        while date(rest[0], 1, 1) < day[0]:
            state.note_year()
            rest.pop(0)
        _apply(state, _Day.of(rows))
    for _ in rest:
        state.note_year()
    held = state.held
    return pl.DataFrame(
        {
            "part": [p for p in held for _ in span],
            "year": [y for _ in held for y in span],
            "code": [code for codes in held.values() for code in codes],
        },
        schema={"part": pl.Int32, "year": pl.Int32, "code": pl.String},
    )


Label = tuple[str, str]  # type and code of an associated or delegated commune


@dataclass
class _State:
    """Parts held by each commune, and by each associated or delegated commune whose extent is known."""

    communes: dict[str, set[int]] = field(default_factory=dict[str, set[int]])
    labels: dict[Label, set[int]] = field(default_factory=dict[Label, set[int]])
    held: dict[int, list[str]] = field(
        default_factory=dict[int, list[str]]
    )  # part -> its commune, year by year
    gone: set[str] = field(default_factory=set[str])
    years: int = 0
    parts: int = 0

    def note_year(self) -> None:
        """The state as it is becomes that of one more year."""
        for code, parts in self.communes.items():
            for part in parts:
                self.held[part].append(code)
        self.years += 1

    def take(self, code: str) -> set[int]:
        """The parts of a commune about to change; one met for the first time was there from the start."""
        if code in self.communes:
            return self.communes.pop(code)
        if code in self.gone:
            raise ValueError(f"événement sur la commune {code}, qui n'existe plus à cette date")
        return {self._new_part([code] * self.years)}

    def cut(self, part: int, pieces: int) -> list[int]:
        """Divides a part: its pieces were together until now. Extents that held it are no longer known."""
        past = self.held.pop(part)
        self.labels = {label: parts for label, parts in self.labels.items() if part not in parts}
        return [self._new_part(list(past)) for _ in range(pieces)]

    def _new_part(self, past: list[str]) -> int:
        self.parts += 1
        self.held[self.parts] = past
        return self.parts


@dataclass(frozen=True)
class _Day:
    """The events of one day, by kind of line."""

    moves: dict[str, list[str]]  # commune -> communes it is found in
    waits: dict[str, set[str]]  # commune -> communes that take its code first, the same day
    claims: list[tuple[Label, str]]  # associated or delegated commune -> commune
    relabels: list[tuple[Label, Label]]
    lowered: list[Label]  # commune that becomes, whole, the associated or delegated commune of its code

    @staticmethod
    def of(rows: pl.DataFrame) -> _Day:
        moves: dict[str, list[str]] = {}
        left: set[tuple[str, str | None]] = set()
        arrivals: list[tuple[str, str, str | None]] = []
        claims: list[tuple[Label, str]] = []
        relabels: list[tuple[Label, Label]] = []
        lowered: list[Label] = []
        columns = [
            "mod",
            "type_before",
            "code_before",
            "name_before",
            "type_after",
            "code_after",
            "name_after",
        ]
        for mod, type_1, code_1, name_1, type_2, code_2, name_2 in rows.select(columns).iter_rows():
            if type_1 == "COM" and type_2 == "COM":
                targets = moves.setdefault(code_1, [])
                if code_2 not in targets:
                    targets.append(code_2)
                left.add((code_1, name_1))
                arrivals.append((code_1, code_2, name_2))
            elif type_1 == "COM":
                if mod in MERGERS and code_1 == code_2:
                    lowered.append((type_2, code_2))
            elif type_2 == "COM":
                claims.append(((type_1, code_1), code_2))
            else:
                relabels.append(((type_1, code_1), (type_2, code_2)))
        waits: dict[str, set[str]] = {}
        for origin, code, name in arrivals:
            # 49144 becomes 44225 « Freigné », then 44225 « Freigné » joins 44180: the second line waits.
            if origin != code and (code, name) in left and code not in moves[code]:
                waits.setdefault(code, set()).add(origin)
        return _Day(moves, waits, claims, relabels, lowered)


def _apply(state: _State, day: _Day) -> None:
    """One day's events, all at once but for the communes that change twice that day."""
    extents: dict[Label, set[int]] = {}
    ended = {label for label, _ in day.claims} | {old for old, _ in day.relabels}
    claimed = {label: state.labels.pop(label) for label in ended if label in state.labels}
    waiting = dict(day.moves)
    while waiting:
        ready = [c for c in waiting if not day.waits.get(c, set()) & waiting.keys()] or list(waiting)
        taken = {code: state.take(code) for code in ready}
        for code, parts in taken.items():
            for kind, own in day.lowered:
                if own == code:
                    extents[kind, own] = set(parts)
            state.gone.add(code)
            for target, share in _shared(state, parts, waiting.pop(code), day.claims, claimed).items():
                state.communes.setdefault(target, set()).update(share)
        state.gone.difference_update(state.communes)
    for old, new in day.relabels:
        if len([o for o, _ in day.relabels if o == old]) == 1 and old in claimed:
            extents[new] = claimed[old]
    state.labels.update({label: parts for label, parts in extents.items() if parts <= state.held.keys()})


def _shared(
    state: _State,
    parts: set[int],
    targets: list[str],
    claims: list[tuple[Label, str]],
    claimed: dict[Label, set[int]],
) -> dict[str, set[int]]:
    """Who gets which parts of a commune. A restored commune gets back the former commune it was, where known.

    Parts that nothing attributes are cut in as many pieces as there are communes that may hold some.
    """
    if len(targets) == 1:
        return {targets[0]: parts}
    own: dict[str, set[int]] = {target: set() for target in targets}
    for label, target in claims:
        if target in own and claimed.get(label, set()) <= parts:
            own[target] |= claimed.get(label, set())
    free = parts.difference(*own.values())
    empty = [target for target in targets if not own[target]]
    if sum(map(len, own.values())) + len(free) != len(parts) or (empty and not free):
        own = {target: set() for target in targets}
        free, empty = set(parts), targets  # claims contradict
    if len(empty) == 1:
        own[empty[0]] = free
        return own
    heirs = empty or targets
    for part in sorted(free):
        for target, piece in zip(heirs, state.cut(part, len(heirs)), strict=True):
            own[target].add(piece)
    return own
