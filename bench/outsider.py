"""An outsider: what can be computed of a partner's counts from the published files alone, every release of an edition.

He reads the Parquet files as anyone may, and what is public knowledge: the catalogue (which counts an indicator shows),
the contract's text (which columns are parts of others, whose total leaves some out), the territories and their
population. A rate and its denominator tell its numerator; a margin is the sum of its parts. He is told more than he
could know: which withheld figures were corrected between two releases. Written apart from methods/: of the control,
nothing is imported. Intervals are read off sums one at a time, then by linear programmes (scipy's HiGHS).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from methods.indicators import Published, Ratio, Term
from sources.deposits.contract import Contract
from warehouse.catalogue import load_catalogue

NEVER = 1e7  # no count is that large
ROUNDS = 6  # tables looked for all cells at once, before each has its own linear programmes
EPSILON = 1e-6
SEXES = ("_f", "_m")
REST = "reste"  # begins the name of what a whole has besides its part
TERMS = {"statement": pl.String, "cell": pl.String, "coefficient": pl.Float64}
LIMITS = {"statement": pl.String, "low": pl.Float64, "high": pl.Float64}
KEY = ("variable", "territory_id", "year")


@dataclass(frozen=True)
class Statements:
    """What is known: sums of cells, and between which limits each lies. terms: columns TERMS; limits: LIMITS."""

    terms: pl.DataFrame
    limits: pl.DataFrame


def joined(parts: Sequence[Statements]) -> Statements:
    """All of them, each part's names kept apart."""

    def every(frames: Sequence[pl.DataFrame], schema: dict[str, Any]) -> pl.DataFrame:
        named = [f.with_columns(statement=pl.lit(f"{i}:") + pl.col("statement")) for i, f in enumerate(frames)]
        return pl.concat([pl.DataFrame(schema=schema), *(f.select(*schema) for f in named)])

    return Statements(every([p.terms for p in parts], TERMS), every([p.limits for p in parts], LIMITS))


def told(release: Path, contract: Contract, versions: pl.DataFrame) -> Statements:
    """Everything that one release says of the counts of a contract.

    release: the folder of an edition. versions: (cell, version), which of its successive figures each cell shows.
    """
    rows = list(_shown(release, contract))
    known = pl.concat([r for r, _ in rows]).unique() if rows else pl.DataFrame(schema=dict.fromkeys(KEY, pl.String))
    parts = [s for _, s in rows]
    if known.height:
        parts += [*_territories(release, known), *_modalities(contract, known), *_population(release, contract, known)]
    every = joined(parts)
    name = pl.concat_str("cell", pl.lit("#"), pl.col("version").fill_null(1))
    terms = every.terms.join(versions, on="cell", how="left", maintain_order="left").with_columns(cell=name)
    return Statements(terms.select(*TERMS), every.limits)


def merged(older: Path, newer: Path, before: pl.DataFrame, after: pl.DataFrame) -> Statements:
    """What two releases say together where communes merged in between: the new one is the sum of those it replaces.

    before, after: (cell, version) of each release.
    """
    old, new = (pl.read_parquet(r / "territory.parquet")["cog_year"].max() for r in (older, newer))
    moves = pl.read_parquet(newer / "passage.parquet").filter(pl.col("from_year") == old, pl.col("to_year") == new)
    moves = moves.filter((pl.col("share") == 1).all().over("to_code")).select(
        territory_id=pl.lit("COM-") + pl.col("from_code"), now=pl.lit("COM-") + pl.col("to_code")
    )
    stayed = (
        moves.select(pl.col("now").alias("territory_id"), "now").unique().join(moves, on="territory_id", how="anti")
    )
    moves = pl.concat([moves, stayed]).filter((pl.col("territory_id") != pl.col("now")).any().over("now"))
    names = pl.col("cell").str.split("|").list
    parts = before.with_columns(variable=names.get(0), territory_id=names.get(1), year=names.get(2)).join(
        moves, on="territory_id"
    )
    total = parts.with_columns(statement=pl.concat_str("variable", "now", "year", separator="|"))
    total = total.join(after.select(statement="cell", since="version"), on="statement")
    terms = [
        total.select("statement", cell=pl.concat_str("cell", pl.lit("#"), "version"), coefficient=-1.0),
        total.select("statement", cell=pl.concat_str("statement", pl.lit("#"), "since"), coefficient=1.0).unique(),
    ]
    return Statements(pl.concat(terms), total.select("statement", low=0.0, high=0.0).unique())


def cell_name() -> pl.Expr:
    """The name of a cell, from KEY: « sans_mt_f|COM-99011|2022 »."""
    return pl.concat_str(pl.col(KEY), separator="|")


# --- what each row says


def _shown(release: Path, contract: Contract) -> Iterator[tuple[pl.DataFrame, Statements]]:
    """For each indicator of the contract and each group: the cells it is of (KEY), and what its rows say of them."""
    catalogue = load_catalogue()
    columns = ["territory_id", "year", "sex", "age", "value", "lower", "upper", "weight", "conf_status"]
    scan = pl.scan_parquet(release / "observation.parquet").with_columns(pl.col("year").cast(pl.String))
    for indicator in catalogue.indicators:
        if contract.source_id not in catalogue.sources_of(indicator):
            continue
        rows = _marked(scan.filter(pl.col("indicator_id") == indicator.id).select(columns).collect(), contract)
        for sex, age, top, bottom, scale in _formulas(indicator.specification(), contract):
            own = rows.filter(pl.col("sex") == sex, pl.col("age") == age)
            if own.height:
                cells = [
                    own.select(pl.lit(t.variable).alias("variable"), "territory_id", "year") for t in (*top, *bottom)
                ]
                yield pl.concat(cells), joined(list(_read(own, top, bottom, scale)))


def _marked(rows: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Rows with what their mark says of the count (`least`, `most`): SDMX has one for what is small (C), one for what
    protects it (D); they say something where both are used."""
    apart = (pl.col("conf_status") == "D").any()
    limit = float(contract.secrecy.threshold)
    return rows.with_columns(
        least=pl.when(pl.col("conf_status") == "D").then(limit),
        most=pl.when(apart & (pl.col("conf_status") == "C")).then(limit - 1),
    )


def _formulas(spec: Any, contract: Contract) -> Iterator[tuple[str, str, Sequence[Term], Sequence[Term], float | None]]:
    """Sex, age, the counts above, those below when the contract has them, and the scale: none of a plain count."""
    match spec:
        case Published():
            whole = {("_T", "_T"): spec.variables} if spec.whole else {}
            for (sex, age), by_source in {**whole, **spec.groups}.items():
                yield sex, age, [Term(by_source[contract.source_id])], [], None
        case Ratio():
            for (sex, age), terms in spec.groups.items():
                yield sex, age, terms.numerator, [] if spec.per else terms.denominator, spec.scale
        case _:
            pass


def _read(rows: pl.DataFrame, top: Sequence[Term], bottom: Sequence[Term], scale: float | None) -> Iterator[Statements]:
    """What is printed, as sums between limits: a count, or a denominator (`weight`) and a numerator."""
    low, high = pl.coalesce("value", "lower"), pl.coalesce("value", "upper")
    yield _sums(rows.with_columns(low="least", high="most"), top)
    if scale is None:
        yield _sums(rows.with_columns(low=low, high=high), top)
        return
    if bottom:
        yield _sums(rows.with_columns(low="weight", high="weight"), bottom)
    base = pl.col("weight") / scale
    yield _sums(rows.with_columns(low=(low * base).round(6), high=(high * base).round(6)), top)


def _sums(rows: pl.DataFrame, terms: Sequence[Term]) -> Statements:
    """The sum of some counts of a territory and year, between `low` and `high` where these are known."""
    rows = rows.filter(pl.col("low").is_not_null() | pl.col("high").is_not_null())
    named = rows.with_columns(
        statement=pl.concat_str(pl.lit(terms[0].variable + " "), "territory_id", pl.lit(" "), "year")
    )
    parts = [
        named.with_columns(variable=pl.lit(t.variable)).select(
            "statement", cell=cell_name(), coefficient=pl.lit(t.coefficient)
        )
        for t in terms
    ]
    return Statements(pl.concat(parts), named.select("statement", "low", "high"))


# --- what everyone knows


def _territories(release: Path, known: pl.DataFrame) -> Iterator[Statements]:
    """A territory is the sum of its communes; districts hold some of them; a part of one is part of its count."""
    members = pl.read_parquet(release / "territory_member.parquet")
    level = pl.col("child_id").str.split("-").list.first()
    there = known["territory_id"].str.split("-").list.first().unique().to_list()
    links = members.with_columns(
        kind=pl.col("parent_id").str.split("-").list.first() + "/" + level, district=level.is_in(["QPV", "IRIS"])
    ).filter(level.is_in([*there, "COM"]))
    sums = known.rename({"territory_id": "parent_id"}).join(links, on="parent_id")
    sums = sums.with_columns(statement=pl.concat_str(["variable", "parent_id", "year", "kind"], separator=" "))
    whole = pl.col("share").is_not_null()
    partial = ~whole.all().over("statement")
    yield _margins(sums.filter(~partial), least=0.0, most=pl.when("district").then(np.inf).otherwise(0.0))
    yield _margins(sums.filter(partial & whole), least=0.0, most=np.inf)
    yield _margins(sums.filter(partial & ~pl.col("district")), least=-np.inf, most=0.0)


def _margins(sums: pl.DataFrame, least: float, most: Any) -> Statements:
    """`parent_id` less its children, between `least` and `most`."""
    children = sums.rename({"child_id": "territory_id"}).select("statement", cell=cell_name(), coefficient=-1.0)
    parents = sums.rename({"parent_id": "territory_id"}).select("statement", cell=cell_name(), coefficient=1.0).unique()
    limits = sums.select(
        "statement", low=pl.lit(least), high=most if isinstance(most, pl.Expr) else pl.lit(most)
    ).unique()
    return Statements(pl.concat([children, parents]), limits)


def _modalities(contract: Contract, known: pl.DataFrame) -> Iterator[Statements]:
    """Women and men make the whole, or less where the sex of some is not known; a part is at most its whole."""
    dimensions = contract.of_role("dimension")
    choices = [["", *(m.suffix for m in d.codes.values() if m.suffix)] for d in dimensions]
    for column in contract.of_role("count", "denominator"):
        for suffixes in product(*choices):
            for at, dimension in enumerate(dimensions):
                if suffixes[at] == "":
                    parts = [_variable(column.name, (*suffixes[:at], s, *suffixes[at + 1 :])) for s in choices[at][1:]]
                    rest = np.inf if any(m.suffix is None for m in dimension.codes.values()) else 0.0
                    yield _parts(known, _variable(column.name, suffixes), parts, rest)
            if column.part_of:
                part = _variable(column.name, suffixes)
                yield _parts(known, _variable(column.part_of, suffixes), [part, f"{REST} {part}"], 0.0)


def _variable(column: str, suffixes: Sequence[str]) -> str:
    return column + "".join(sorted(suffixes, key=lambda s: s in SEXES))


def _parts(known: pl.DataFrame, whole: str, parts: Sequence[str], rest: float) -> Statements:
    """`whole` less `parts`, wherever it is known of: from 0 to `rest`."""
    places = known.filter(pl.col("variable") == whole).with_columns(
        statement=pl.concat_str(pl.lit(f"{whole} {' '.join(parts)} "), "territory_id", pl.lit(" "), "year")
    )
    terms = [
        places.with_columns(variable=pl.lit(v)).select("statement", cell=cell_name(), coefficient=pl.lit(c))
        for v, c in ((whole, 1.0), *((p, -1.0) for p in parts))
    ]
    return Statements(pl.concat(terms), places.select("statement", low=pl.lit(0.0), high=pl.lit(rest)))


def _population(release: Path, contract: Contract, known: pl.DataFrame) -> Iterator[Statements]:
    """Persons counted once are at most the inhabitants, whatever the year."""
    if contract.period != "year" or contract.of_role("unit"):
        return
    of_persons = [c.name for c in contract.figures if c.unit == "personnes"]
    most = inhabitants(release)
    held = known.filter(pl.col("variable").str.replace(r"(_[fm])$", "").is_in(of_persons)).join(most, on="territory_id")
    named = held.with_columns(statement=cell_name())
    terms = named.select("statement", cell="statement", coefficient=1.0)
    yield Statements(terms, named.select("statement", low=pl.lit(0.0), high="inhabitants"))


def inhabitants(release: Path) -> pl.DataFrame:
    """(territory_id, inhabitants): the most that a territory had in any year."""
    rows = pl.scan_parquet(release / "observation.parquet").filter(
        pl.col("indicator_id") == "dem_pop", pl.col("sex") == "_T", pl.col("age") == "_T"
    )
    return rows.group_by("territory_id").agg(inhabitants=pl.col("value").max().ceil()).drop_nulls().collect()


# --- what follows from it


def intervals(known: Statements, wanted: pl.DataFrame) -> pl.DataFrame:
    """What can be computed of each wanted cell: wanted, with `lower` and `upper`.

    wanted: cell, width and at_least (its interval is enough when that wide and reaching this: it is then not looked for
    any farther). ValueError where no table agrees with what is known.
    """
    cells = pl.concat([known.terms["cell"], wanted["cell"]]).unique().sort()
    low, high = np.zeros(len(cells)), np.full(len(cells), np.inf)
    matrix, least, most = _arrays(known, cells)
    low, high = propagated(matrix, least, most, low, high)
    places = _places(cells, wanted["cell"])
    width, at_least = np.full(len(cells), np.nan), np.full(len(cells), np.nan)
    width[places], at_least[places] = wanted["width"].to_numpy(), wanted["at_least"].to_numpy()
    free = high - low > EPSILON
    fixed = matrix @ np.where(free, 0.0, low)
    matrix, least, most = matrix[:, free], least - fixed, most - fixed
    found = _Found(low[free], np.minimum(high[free], NEVER), width[free], at_least[free])
    touched = abs(matrix).sum(axis=1) > 0
    matrix, least, most = matrix[touched], least[touched], most[touched]
    _, part = connected_components(abs(matrix).T @ abs(matrix), directed=False)
    for number in np.unique(part[~np.isnan(found.width)]):
        own = np.flatnonzero(part == number)
        rows = np.flatnonzero(np.diff(matrix[:, own].indptr) > 0)
        found.look(own, matrix[rows][:, own], least[rows], most[rows])
    low[free], high[free] = found.lower, found.upper
    return wanted.with_columns(lower=pl.Series(low[places]), upper=pl.Series(high[places]))


def _arrays(known: Statements, cells: pl.Series) -> tuple[Any, Any, Any]:
    """The sums as a matrix, a row a statement, and their limits."""
    limits = known.limits.with_columns(
        pl.col("low").fill_null(-np.inf), pl.col("high").fill_null(np.inf), row=pl.int_range(pl.len())
    )
    terms = known.terms.join(limits.select("statement", "row"), on="statement")
    where = terms["row"].to_numpy(), _places(cells, terms["cell"])
    matrix = csr_array((terms["coefficient"].to_numpy(), where), (limits.height, len(cells)))
    return matrix, limits["low"].to_numpy().copy(), limits["high"].to_numpy().copy()


def _places(cells: pl.Series, names: pl.Series) -> Any:
    return cells.search_sorted(names).to_numpy()


def propagated(matrix: Any, least: Any, most: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """Bounds of each cell after every sum was read alone, again until nothing moves; counts are whole."""
    terms = matrix.tocoo()
    row, cell, factor = terms.row, terms.col, terms.data
    for _ in range(200):
        under = np.where(factor > 0, factor * low[cell], factor * high[cell])
        over = np.where(factor > 0, factor * high[cell], factor * low[cell])
        room = most[row] - _rest(row, under, len(least), -np.inf)
        need = least[row] - _rest(row, over, len(least), np.inf)
        up, down = np.where(factor > 0, room, need) / factor, np.where(factor > 0, need, room) / factor
        lower, upper = low.copy(), high.copy()
        np.maximum.at(lower, cell, np.ceil(down - EPSILON))
        np.minimum.at(upper, cell, np.floor(up + EPSILON))
        if (lower > upper).any():
            raise ValueError("what is published contradicts itself")
        if not ((lower > low) | (upper < high)).any():
            break
        low, high = lower, upper
    return low, high


def _rest(row: Any, term: Any, rows: int, infinite: float) -> Any:
    """The sum of the other terms of the same row."""
    bare = np.isinf(term)
    finite = np.where(bare, 0.0, term)
    others = np.bincount(row, finite, rows)[row] - finite
    return np.where(np.bincount(row, bare, rows)[row] - bare > 0, infinite, others)


class _Found:
    """Bounds of the cells that sums read alone do not give; of wanted ones, what was reached or proved."""

    def __init__(self, low: Any, high: Any, width: Any, at_least: Any) -> None:
        self.lower, self.upper = low.copy(), high.copy()
        self.low, self.high, self.width, self.at_least = low, high, width, at_least

    def look(self, own: Any, matrix: Any, least: Any, most: Any) -> None:
        """The wanted cells among `own`, that hang together: tables that suit many of them, then each by itself."""
        low, high = self.low[own], self.high[own]
        wanted = ~np.isnan(self.width[own])
        first = _solved(np.zeros(len(own)), matrix, least, most, low, high)
        down, up = first.copy(), first.copy()
        for turn in range(2 * ROUNDS):
            lacking = wanted & ~self._enough(own, down, up)
            if not lacking.any():
                break
            cost = np.where(lacking, (-1.0) ** turn, 0.0)
            capped = np.where(lacking, np.minimum(high, np.fmax(first, down + self.width[own])), high)
            table = _solved(cost, matrix, least, most, low, capped)
            down, up = np.minimum(down, table), np.maximum(up, table)
        for at in np.flatnonzero(wanted & ~self._enough(own, down, up)):
            unit = (np.arange(len(own)) == at).astype(float)
            for sign in (1.0, -1.0):
                table = _solved(sign * unit, matrix, least, most, low, high)
                down, up = np.minimum(down, table), np.maximum(up, table)
        self.lower[own] = np.where(wanted, np.ceil(down - EPSILON), low)
        self.upper[own] = np.where(wanted, np.floor(up + EPSILON), high)

    def _enough(self, own: Any, down: Any, up: Any) -> Any:
        return (np.floor(up + EPSILON) - np.ceil(down - EPSILON) >= self.width[own]) & (
            up >= self.at_least[own] - EPSILON
        )


def _solved(cost: Any, matrix: Any, least: Any, most: Any, low: Any, high: Any) -> Any:
    """A table that agrees with everything and costs the least."""
    answer = milp(cost, constraints=LinearConstraint(matrix, least - EPSILON, most + EPSILON), bounds=Bounds(low, high))
    if answer.x is None:
        raise ValueError(f"what is published contradicts itself: {answer.message}")
    return answer.x
