"""Tables of counts or amounts as disclosure control sees them: cells, and the sums that tie them.

A cell is a figure that is or could be published; a relation says that a sum of cells is zero (a margin less its parts).
Every link an outsider can use is written so: crossed dimensions and their hierarchies, several tables of the same
counts, earlier releases, perimeters, merged communes, rates. Frames hold them:

- cells, a row each: `cell`, `value` (null where not held: a producer's mask), `lower` and `upper` (what is known of it
  whatever is published: 0 at least, the population at most), `step` (of rounding, as printed; 0: exact), `whole` (a
  count, as opposed to an amount), `status` (below), and what is asked of its protection, null where nothing is:
  `at_most` and `at_least` (two values the outsider must not exclude) and `width` (of the interval he can compute).
- relations, a row each term: `relation`, `cell`, `coefficient`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.optimize  # pyright: ignore[reportMissingTypeStubs]
import scipy.sparse  # pyright: ignore[reportMissingTypeStubs]

optimize: Any = scipy.optimize  # without types
sparse: Any = scipy.sparse
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Constraint = tuple[Any, Floats | float, Floats | float]  # matrix, the least and the most of each of its rows

# Statuses of INSEE's manual (A: too few units, B: dominance, D: secondary, V: publishable), and two of ours.
FREQUENCY, DOMINANCE, SECONDARY, PUBLISHABLE = "A", "B", "D", "V"
PRODUCER = "M"  # masked by who produced it, kept so; its value is not ours to know
TOLD = "T"  # known already, or shown by rule: hiding it is of no use
HIDDEN = (FREQUENCY, DOMINANCE, PRODUCER, SECONDARY)
CELLS = {
    "cell": pl.String,
    "value": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "step": pl.Float64,
    "whole": pl.Boolean,
    "status": pl.String,
    "at_most": pl.Float64,
    "at_least": pl.Float64,
    "width": pl.Float64,
}
EPSILON = 1e-6
TIME_LIMIT = 20.0  # seconds, of one problem


class TableError(ValueError):
    """Figures that cannot be protected as they are. `str(error)` is the message, in French."""


def cells_of(frame: pl.DataFrame, **defaults: Any) -> pl.DataFrame:
    """`frame` with every column of CELLS, first those, then its own. Absent columns take `defaults`, else: any value
    from 0, printed exactly, whole, publishable, nothing asked."""
    usual = {"lower": 0.0, "upper": float("inf"), "step": 0.0, "whole": True, "status": PUBLISHABLE} | defaults
    added = [pl.lit(usual.get(c), dtype=t).alias(c) for c, t in CELLS.items() if c not in frame.columns]
    frame = frame.with_columns(*added)
    return frame.select(*CELLS, pl.exclude(*CELLS)).cast(CELLS)  # pyright: ignore[reportArgumentType]


def identified(frame: pl.DataFrame, dimensions: Sequence[str]) -> pl.DataFrame:
    """`frame` with `cell`, its name: the modalities of the dimensions, in this order."""
    return frame.with_columns(pl.concat_str(pl.col(dimensions).cast(pl.String), separator="|").alias("cell"))


def relations_of(
    frame: pl.DataFrame, dimensions: Sequence[str], breakdowns: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Relations of one table: each margin of `frame` less its parts, along each dimension.

    frame: a row a cell, with `cell` and the dimensions. breakdowns: by dimension, rows (breakdown, parent, child); a
    parent may be broken down in several ways, and hierarchies may overlap (communes in EPCI and in départements). A
    part without a row is named all the same: for an outsider it is an unknown, not a zero. No relation where every part
    is one that nothing else tells of: of two margins that share parts, each bounds the other.
    """
    found: list[pl.DataFrame] = []
    for dimension, breakdown in breakdowns.items():
        parents = frame.select("cell", *dimensions).rename({dimension: "parent", "cell": "margin"})
        parts = parents.join(breakdown, on="parent").rename({"child": dimension})
        parts = identified(parts, dimensions).with_columns(
            pl.concat_str("breakdown", pl.lit(":"), "margin").alias("relation")
        )
        found.append(parts.select("relation", "margin", "cell"))
    parts = pl.concat(found)
    held = parts.join(frame, on="cell", how="semi").select("relation")
    shared = parts.filter(pl.col("relation").n_unique().over("cell") > 1).select("relation")
    parts = parts.join(pl.concat([held, shared]).unique(), on="relation", how="semi")
    terms = [
        parts.select("relation", "cell", coefficient=-1.0),
        parts.select("relation", cell="margin", coefficient=1.0).unique(),
    ]
    return pl.concat(terms).sort("relation", "cell")


def merged(relations: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """The same relations, parts that nobody holds and that are in the same sums taken together: their total is all that
    these sums tell of. The first by name stands for them."""
    absent = relations.join(cells, on="cell", how="anti")
    terms = pl.concat_str("relation", pl.lit(" "), "coefficient").sort().str.join("\n")
    same = absent.group_by("cell").agg(terms=terms).with_columns(first=pl.col("cell").min().over("terms"))
    others = same.filter(pl.col("cell") != pl.col("first"))
    return relations.join(others, on="cell", how="anti", maintain_order="left")


def sums_of(parts: pl.DataFrame) -> pl.DataFrame:
    """Relations of totals that are no margin of a table: perimeters, several years, a commune and those it replaces.

    parts: rows (total, part), both names of cells.
    """
    name = pl.concat_str(pl.lit("somme:"), "total")
    terms = [
        parts.select(relation=name, cell="part", coefficient=-1.0),
        parts.select(relation=name, cell="total", coefficient=1.0).unique(),
    ]
    return pl.concat(terms).sort("relation", "cell")


def ratios_of(ratios: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cells and relations that say what published ratios tell: rate, share, average, index against a mean.

    ratios: rows (numerator, denominator, lower, upper), names of cells and the values of the ratio (not in percent)
    that its printed figure allows. Two cells a ratio, of unknown value and at least 0: numerator - lower x denominator,
    and upper x denominator - numerator. A gap between two figures, or a rank, is written likewise by hand.
    """
    ratios = ratios.with_columns(ratio=pl.concat_str("numerator", pl.lit("/"), "denominator"))
    cells: list[pl.DataFrame] = []
    terms: list[pl.DataFrame] = []
    for side, sign in (("lower", 1.0), ("upper", -1.0)):
        name = pl.concat_str("ratio", pl.lit(f":{side}"))
        cells.append(ratios.select(cell=name))
        terms += [
            ratios.select(relation=name, cell="numerator", coefficient=sign),
            ratios.select(relation=name, cell="denominator", coefficient=-sign * pl.col(side)),
            ratios.select(relation=name, cell=name, coefficient=-1.0),
        ]
    return cells_of(pl.concat(cells), status=PRODUCER, whole=False), pl.concat(terms).sort("relation", "cell")


def withheld_with(figures: pl.DataFrame, hidden: pl.Series) -> pl.Series:
    """Names of the figures to withhold because one of the cells they are computed from is withheld.

    figures: rows (figure, cell). A rate, gap, rank or index computed from shown cells only tells nothing more than they
    do; any other is withheld, which is why the audit need not know the formula.
    """
    return figures.filter(pl.col("cell").is_in(hidden.implode()))["figure"].unique().sort()


@dataclass(frozen=True, eq=False)
class System:
    """The same as arrays: a position a cell; `rows` and `columns` are the relations read either way.

    value: a table that agrees with all that is known: the true one, its missing cells filled in any way that adds up.
    """

    names: list[str]
    rows: Any  # csr_array, a row a relation
    columns: Any  # csc_array of the same
    value: Floats
    lower: Floats
    upper: Floats
    step: Floats
    whole: Booleans
    status: npt.NDArray[np.str_]
    at_most: Floats  # NaN where nothing is asked
    at_least: Floats
    width: Floats

    @property
    def asked(self) -> Integers:
        """Positions of the cells to protect."""
        return np.flatnonzero(~np.isnan(self.width))

    def bounds(self, hidden: Booleans) -> tuple[Floats, Floats]:
        """What an outsider reads of each cell: the figure as printed, or what is known whatever is published."""
        step = np.where(self.step > 0, self.step, 1.0)
        printed = np.where(self.step > 0, np.floor(self.value / step + 0.5) * step, self.value)
        low = np.where(hidden, self.lower, np.maximum(self.lower, printed - self.step / 2))
        high = np.where(hidden, self.upper, np.minimum(self.upper, printed + self.step / 2))
        return low, high


def system_of(cells: pl.DataFrame, relations: pl.DataFrame) -> System:
    """Arrays of a table. Cells named by relations only are unknown to all, 0 at least.

    Raises TableError where a cell has two rows, a shown cell has no value, or figures do not add up.
    """
    doubled = cells.filter(pl.col("cell").is_duplicated())
    if doubled.height:
        raise TableError(f"Cellule décrite deux fois : {doubled['cell'][0]}. Une ligne par cellule est attendue.")
    absent = relations.select("cell").unique(maintain_order=True).join(cells, on="cell", how="anti")
    cells = pl.concat([cells.select(*CELLS), cells_of(absent, status=PRODUCER)])
    empty = cells.filter(pl.col("value").is_null() & ~pl.col("status").is_in(HIDDEN))
    if empty.height:
        raise TableError(f"Cellule sans valeur ni masque : {empty['cell'][0]}.")
    place = pl.DataFrame({"cell": cells["cell"], "place": np.arange(cells.height)})
    terms = relations.join(place, on="cell").with_columns(pl.col("relation").rank("dense").alias("row") - 1)
    names = terms.select("row", "relation").unique().sort("row")["relation"].to_list()
    shape = (len(names), cells.height)
    where = terms["row"].to_numpy(), terms["place"].to_numpy()
    rows: Any = sparse.csr_array((terms["coefficient"].to_numpy(), where), shape)
    arrays = {c: cells[c].to_numpy().copy() for c in CELLS if c not in ("cell", "status")}
    arrays["value"] = value = _complete(rows, arrays, names)
    outside = np.flatnonzero((value < arrays["lower"] - EPSILON) | (value > arrays["upper"] + EPSILON))
    if len(outside):
        raise TableError(f"Valeur hors des bornes déjà connues : {cells['cell'][int(outside[0])]}.")
    return System(cells["cell"].to_list(), rows, rows.tocsc(), status=cells["status"].to_numpy().astype(str), **arrays)


def _complete(rows: Any, arrays: Mapping[str, Any], names: Sequence[str]) -> Floats:
    """Values, the missing ones filled so that everything adds up."""
    value: Floats = arrays["value"].copy()
    missing = np.flatnonzero(np.isnan(value))
    held = np.where(np.isnan(value), 0.0, value)
    rest: Floats = -(rows @ held)
    unknown = rows[:, missing]
    bare = np.diff(unknown.indptr) == 0
    wrong = np.flatnonzero(bare & (np.abs(rest) > EPSILON * (1 + abs(rows) @ np.abs(held))))
    if len(wrong):
        first = wrong[0]
        raise TableError(f"Marge différente de la somme de ses parties : {names[first]} (écart {-rest[first]:g}).")
    if len(missing):
        whole, low, high = (arrays[c][missing] for c in ("whole", "lower", "upper"))
        sums = (unknown[~bare], rest[~bare], rest[~bare])
        found = solved(np.zeros(len(missing)), [sums], low, high, whole)
        if found is None:
            raise TableError("Aucune valeur des cellules masquées par le producteur ne satisfait les totaux publiés.")
        value[missing] = found
    return value


def solved(
    cost: Floats,
    constraints: Sequence[Constraint],
    low: Floats,
    high: Floats,
    whole: Booleans,
    patience: float = TIME_LIMIT,
) -> Floats | None:
    """The values within [low, high] that cost the least, each constraint kept, by HiGHS; whole where they must be. None
    where there are none, or the cheapest was not found within `patience` seconds."""
    answer = optimize.milp(
        cost,
        constraints=[optimize.LinearConstraint(*constraint) for constraint in constraints if constraint[0].shape[0]],
        bounds=optimize.Bounds(low, high),
        integrality=whole.astype(float),
        options={"time_limit": patience},
    )
    if not answer.success:
        return None
    found: Floats = answer.x
    return np.where(whole, np.round(found), found)


def settled(cost: Floats, matrix: Any, low: Floats, high: Floats, whole: Booleans) -> Floats | None:
    """Values within [low, high] whose sums by `matrix` are zero and that cost little; whole where they must be.

    A linear problem; where its solution is not whole, the integer problem on the values it moves, then on all.
    """
    nothing = np.zeros(len(low), dtype=bool)
    found = solved(cost, [(matrix, 0, 0)], low, high, nothing)
    if found is None or np.abs(found - np.round(found))[whole].max(initial=0) < 10 * EPSILON:
        return found if found is None else np.where(whole, np.round(found), found)
    moved = np.abs(found) > EPSILON
    short = solved(cost, [(matrix, 0, 0)], np.where(moved, low, 0), np.where(moved, high, 0), whole)
    return solved(cost, [(matrix, 0, 0)], low, high, whole) if short is None else short


def judged(cells: pl.DataFrame, system: System) -> pl.DataFrame:
    """`cells`, from which the system was made, with the statuses it gives them and what it asks."""
    columns = ("status", "at_most", "at_least", "width")
    given = {column: pl.Series(getattr(system, column)[: cells.height], nan_to_null=True) for column in columns}
    return cells.with_columns(**given)
