"""Poverty and inequality from a file of households, as an extract in a secure room: one expression, two engines.

`aggregate` is the expression, in narwhals: Polars runs it, or Spark where the file outgrows memory. Households of one
group, one rounded standard of living and one weight become a cell that counts them. Weights are counted in millionths
of a person, so that sums are of whole numbers: both engines give the same cells, to the last bit. `measure` does the
rest on the cells, which hold everything that the statistics below need, in Polars and NumPy, whatever the engine was.

Standard of living: disposable income / consumption units. A household counts for its weight x its persons; negative
incomes are left out, as INSEE does in Filosofi. Definitions are Eurostat's (EU-SILC 131-rev/04), those of the R package
laeken (Alfons and Templ, 2013, Journal of Statistical Software 54(15)), to whose published values tests compare.

- Quantile of share p: the first standard of living whose cumulated weight exceeds p of the whole; its mean with the
  one before where that one reaches p exactly. No other interpolation, nothing approximate; ties do not matter.
- Poverty rate: share of persons strictly under 60, 50, 40 % of the median of the whole file, or of the one given.
- Intensity: (line - median of the poor) / line, at 60 %.
- Gini: trapezes under the Lorenz curve. S80/S20: mass of the standards of living above the eighth
  decile / mass up to the second one.

Intervals are of 95 %, between percentiles of bootstrap replicates; the line is computed again in each of them. Where
the file has `stratum` and `psu`: of n primary units, n - 1 are drawn with replacement in each stratum, weights times
n / (n - 1) (Rao, Wu and Yue, 1992, Survey Methodology 18). Else each household is drawn a number of times that follows
a Poisson law of mean 1 (Hanley and MacGibbon, 2006; Chamandy et al., 2012); the households of a cell being alike, the
law of their sum is drawn once for all of them, which is exact and costs one draw a cell.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar, cast

import narwhals as nw
import numpy as np
import numpy.typing as npt
import polars as pl
from narwhals.typing import IntoFrame

from methods.suppression import LEGAL
from methods.tables import DOMINANCE, FREQUENCY, PUBLISHABLE

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
N = TypeVar("N", np.float64, np.int64)

AMOUNTS = ("income", "units", "persons", "weight")  # of a household; income a year, in euros
DESIGN = ("stratum", "psu")  # of its sampling, where known
MILLIONTHS = 1e6
LEAST = 1e-3  # persons that a household stands for: counted to the millionth
MOST = 1e11  # all of them: whole numbers of 64 bits hold ten times their millionths
NEGATIVE = "negative"
RULE = LEGAL["S_11"]
SHARES = (0.6, 0.5, 0.4)
LINES = ("tp60", "tp50", "tp40")
DECILES = tuple("med" if k == 5 else f"d{k}" for k in range(1, 10))
TAILS = (2.5, 97.5)
RESERVED = (*AMOUNTS, "value", "unit", "households", "problem", "measure", "lower", "upper", "conf_status", "line")
MEASURES = (*LINES, "intensite", *DECILES, "d9d1", "s80s20", "gini", "moyenne")


class HouseholdError(ValueError):
    """A file of households that cannot be aggregated as it is. `str(error)` is the message, in French."""


@dataclass(frozen=True)
class Cells:
    """What the file holds, aggregated.

    frame, a row a group (columns `by`, as text), primary unit (columns DESIGN, where known), standard of living and
    weight: `value` (euros a year), `unit` (millionths of a person that each household stands for), `households`.
    excluded: households of negative income, left out.
    """

    frame: pl.DataFrame
    by: tuple[str, ...]
    excluded: int


def aggregate(households: IntoFrame, by: Sequence[str], *, step: float = 1.0) -> Cells:
    """Cells of a file of households, read once; a Polars or Spark frame (lazy: only the columns needed are read).

    They pass through a temporary file, erased at the end, on a disk that Spark and this process both see.

    households: a row a household, columns AMOUNTS, the columns of `by`, and both of DESIGN or none; the standard of
    living is rounded to `step` euros. A missing group is a group. Raises HouseholdError: a column missing or not a
    number, an amount unknown, units, persons or a weight not above zero (see LEAST and MOST), no household.
    """
    data = nw.from_native(households).lazy()
    design = _checked(data.collect_schema(), by)
    keys = [*by, *(c for c in design if c not in by)]
    known = {c: nw.col(c).cast(nw.Float64) for c in AMOUNTS}
    sound = {c: x.is_finite() if c == "income" else x.is_finite() & (x > 0) for c, x in known.items()}
    amounts = [nw.when(sound[c]).then(x).alias(c) for c, x in known.items()]
    problem = nw.when(nw.col("income") < 0).then(nw.lit(NEGATIVE)).otherwise(nw.lit(""))
    for column in reversed(AMOUNTS):
        problem = nw.when(nw.col(column).is_null()).then(nw.lit(column)).otherwise(problem)
    cells = (
        data.select(*(nw.col(k).cast(nw.String) for k in keys), *amounts)
        .select(
            *keys,
            problem.alias("problem"),
            (nw.col("income") / nw.col("units") * (1 / step) + 0.5).floor().alias("value"),  # / step: not bit for bit
            (nw.col("weight") * nw.col("persons") * MILLIONTHS + 0.5).floor().alias("unit"),
        )
        .group_by(*keys, "problem", "value", "unit")
        .agg(nw.len().cast(nw.Int64).alias("households"))
    )
    with TemporaryDirectory() as folder:  # not collected: all would pass through the memory of Spark's driver
        cells.sink_parquet(f"{folder}/cells.parquet")  # a file of Polars, a folder of Spark
        return _sound(pl.read_parquet([p for p in Path(folder).rglob("*.parquet") if p.is_file()]), tuple(by), step)


def _checked(schema: nw.Schema, by: Sequence[str]) -> list[str]:
    """The columns of the sampling design that the file has."""
    missing = [c for c in (*AMOUNTS, *by) if c not in schema]
    if missing:
        raise HouseholdError(
            f"Fichier de ménages : attendu les colonnes {', '.join((*AMOUNTS, *by))} ; absente(s) :"
            f" {', '.join(missing)} ; trouvé {', '.join(schema)}. À faire : renommer les colonnes du fichier."
        )
    taken = [c for c in by if c in RESERVED]
    if taken:
        raise HouseholdError(
            f"Fichier de ménages, groupe {taken[0]} : attendu un nom que les résultats n'emploient pas"
            f" ({', '.join(RESERVED)}). À faire : renommer la colonne."
        )
    text = [c for c in AMOUNTS if not schema[c].is_numeric()]
    if text:
        raise HouseholdError(
            f"Fichier de ménages, colonne {text[0]} : attendu un nombre ; trouvé {schema[text[0]]}."
            " À faire : convertir la colonne."
        )
    design = [c for c in DESIGN if c in schema]
    if len(design) == 1:
        raise HouseholdError(
            f"Fichier de ménages : attendu les deux colonnes {' et '.join(DESIGN)}, ou aucune ; trouvé {design[0]}."
            " À faire : ajouter l'autre (une seule strate si le tirage n'est pas stratifié), ou retirer celle-ci."
        )
    return design


def _sound(cells: pl.DataFrame, by: tuple[str, ...], step: float) -> Cells:
    """Cells without those of negative incomes; refused where a household cannot be counted."""
    wrong = cells.filter(pl.col("problem").is_in(AMOUNTS)).group_by("problem").agg(pl.col("households").sum())
    if wrong.height:
        found = ", ".join(f"{column} ({n} ménage(s))" for column, n in wrong.sort("problem").iter_rows())
        raise HouseholdError(
            "Fichier de ménages : attendu un revenu connu, et des unités de consommation, des personnes et un poids"
            f" au-dessus de zéro ; trouvé autre chose dans {found}. À faire : corriger ou écarter ces ménages."
        )
    negative = pl.col("problem") == NEGATIVE
    excluded = int(cells.filter(negative)["households"].sum())
    frame = cells.filter(~negative).drop("problem")
    if frame.is_empty():
        raise HouseholdError(
            f"Fichier de ménages : attendu des ménages ; trouvé aucun ({excluded} de revenu négatif, écarté(s))."
            " À faire : vérifier le fichier et les filtres."
        )
    _weighed(frame)
    return Cells(frame.with_columns(pl.col("value") * step, pl.col("unit").cast(pl.Int64)), by, excluded)


def _weighed(frame: pl.DataFrame) -> None:
    """Refuses weights that millionths cannot hold, and a sampling design with holes."""
    least = cast(float, frame["unit"].min()) / MILLIONTHS
    persons = float((frame["unit"] * frame["households"]).sum()) / MILLIONTHS
    if least < LEAST or persons > MOST:
        raise HouseholdError(
            f"Fichier de ménages : attendu au moins {LEAST:g} personne par ménage, poids compris, et {MOST:g} au plus"
            f" en tout ; trouvé {least:g} et {persons:g}. À faire : vérifier les poids ; des poids de somme 1 sont à"
            " multiplier par le nombre de ménages."
        )
    blind = [c for c in DESIGN if c in frame.columns and frame[c].null_count()]
    if blind:
        raise HouseholdError(
            f"Fichier de ménages, colonne {blind[0]} : attendu la strate et l'unité primaire de chaque ménage ; trouvé"
            " des vides. À faire : les compléter, ou retirer les deux colonnes."
        )


def measure(
    cells: Cells, by: Sequence[str] | None = None, *, median: float | None = None, replicates: int = 200, seed: int = 0
) -> pl.DataFrame:
    """Statistics by group, a row a group and a measure (MEASURES), groups sorted.

    by: some of the columns of the cells (all of them by default; none: the whole file). median: of the country, euros a
    year, where the file is not the country. Columns: those of `by`, `measure`, `value` (rates and intensity in percent,
    Gini from 0 to 1, euros), `lower` and `upper` (95 %), `conf_status`, `line` (the poverty line, euros), `households`
    (in the file) and `persons` (weighted). What `_statuses` withholds has no value; a group that is too small, no size.
    Raises HouseholdError: a column of `by` that the cells have not, a median of nothing, a stratum of one primary unit.
    """
    if median is not None and not median > 0:
        raise HouseholdError(f"Médiane : attendu un montant annuel en euros ; trouvé {median}. À faire : la corriger.")
    by = cells.by if by is None else tuple(by)
    frame, starts = _grouped(cells, by)
    value, unit, households = (frame[c].to_numpy() for c in ("value", "unit", "households"))
    across = np.argsort(value, kind="stable")

    def estimate(mass: Integers) -> tuple[Floats, Floats]:
        whole = _Curves(value[across], mass[across], np.zeros(1, np.int64)).quantile(5)[0] if median is None else median
        lines = np.array(SHARES) * whole
        return lines, _statistics(_Curves(value, mass, starts), lines)

    lines, point = estimate(unit * households)
    drawn = [estimate(mass)[1] for mass in _draws(frame, replicates, seed)] or [np.full(point.shape, np.nan)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no interval where no replicate has a figure
        bounds = np.nanpercentile(drawn, TAILS, axis=0)
    counted = _Curves(value, households, starts)
    line: dict[str, float] = {}
    if median is not None or _median_told(value[across], unit[across], households[across], lines):
        line = dict(zip(LINES, lines, strict=True)) | {"intensite": lines[0]}
    table = pl.DataFrame(
        {
            "measure": MEASURES * len(starts),
            "value": point.T.ravel(),
            "lower": bounds[0].T.ravel(),
            "upper": bounds[1].T.ravel(),
            "conf_status": _statuses(counted, unit, lines, point).T.ravel(),
            "line": pl.Series([line.get(m) for m in MEASURES] * len(starts), dtype=pl.Float64),
            "households": np.repeat(counted.total, len(MEASURES)),
            "persons": np.repeat(counted.sum(unit * households) / MILLIONTHS, len(MEASURES)),
        }
    )
    groups = frame[np.repeat(starts, len(MEASURES))].select(by)
    return pl.concat([groups, _withheld(table)], how="horizontal")


def _median_told(value: Floats, unit: Integers, households: Integers, lines: Floats) -> bool:
    """Whether the median of the whole file, which the line tells, is publishable; rows sorted by standard of living."""
    whole = np.zeros(1, np.int64)
    point = _statistics(_Curves(value, unit * households, whole), lines)
    return _statuses(_Curves(value, households, whole), unit, lines, point)[MEASURES.index("med"), 0] == PUBLISHABLE


def _withheld(table: pl.DataFrame) -> pl.DataFrame:
    """The same rows, without the figures that are not publishable nor the size of groups that are too small."""
    shown, large = pl.col("conf_status") == PUBLISHABLE, pl.col("households") >= RULE.threshold
    return table.with_columns(
        *(pl.when(shown).then(pl.col(c).fill_nan(None)).alias(c) for c in ("value", "lower", "upper")),
        *(pl.when(large).then(c).alias(c) for c in ("households", "persons")),
    )


def _grouped(cells: Cells, by: tuple[str, ...]) -> tuple[pl.DataFrame, Integers]:
    """Cells of these groups, sorted by group and standard of living; where each group begins."""
    missing = [c for c in by if c not in cells.by]
    if missing:
        raise HouseholdError(
            f"Résultats par {', '.join(missing)} : attendu des colonnes de l'agrégation ({', '.join(cells.by)})."
            " À faire : agréger de nouveau le fichier avec cette colonne."
        )
    keys = [*by, "value", "unit", *(c for c in DESIGN if c in cells.frame.columns and c not in by)]
    frame = cells.frame.group_by(keys).agg(pl.col("households").sum()).sort(keys, nulls_last=True)
    group = frame.select(pl.struct(*by).rle_id()).to_series().to_numpy() if by else np.zeros(frame.height)
    return frame, np.flatnonzero(np.diff(group, prepend=-1))


def _draws(frame: pl.DataFrame, replicates: int, seed: int) -> Iterator[Integers]:
    """Mass of each cell in each replicate, in millionths of a person. Raises HouseholdError."""
    rng = np.random.default_rng(seed)
    unit, households = frame["unit"].to_numpy(), frame["households"].to_numpy()
    if "psu" not in frame.columns:
        for _ in range(replicates):
            yield unit * rng.poisson(households)
        return
    drawn = frame.select(DESIGN).unique().sort(DESIGN).with_row_index("drawn")
    row = frame.join(drawn, on=DESIGN, how="left", maintain_order="left")["drawn"].to_numpy()
    strata = drawn.group_by("stratum", maintain_order=True).len()
    alone = strata.filter(pl.col("len") == 1)
    if alone.height:
        raise HouseholdError(
            f"Fichier de ménages, strate {alone['stratum'][0]} ({alone.height} strate(s)) : attendu au moins deux"
            " unités primaires ; trouvé une. À faire : la réunir à une strate voisine."
        )
    for _ in range(replicates):
        times = [rng.multinomial(n - 1, np.full(n, 1 / n)) * (n / (n - 1)) for n in strata["len"]]
        yield np.rint(unit * households * np.concatenate(times)[row]).astype(np.int64)


class _Curves:
    """Cumulated masses along the standards of living of each group, sorted; groups are runs that begin at starts."""

    def __init__(self, value: Floats, mass: Integers, starts: Integers) -> None:
        self.value, self.mass, self.starts = value, mass, starts
        self.sizes = np.diff(np.append(starts, len(value)))
        self.total = self.sum(mass)
        self.cumulated = np.cumsum(mass)
        self.base = self.cumulated[starts] - mass[starts]

    def sum(self, of: npt.NDArray[N]) -> npt.NDArray[N]:
        """Sums by group."""
        return np.add.reduceat(of, self.starts)

    def spread(self, of: npt.NDArray[N]) -> npt.NDArray[N]:
        """A figure of each group, on each of its rows."""
        return np.repeat(of, self.sizes)

    def quantile(self, tenths: int, of: Integers | None = None) -> Floats:
        """Standard of living under which lie so many tenths of the mass `of` (all of it), the poorest of each group.

        Masses are whole numbers: whether a share is reached exactly is never a matter of rounding.
        """
        whole = self.total if of is None else of
        reached = self.base * 10 + tenths * whole
        last = len(self.value) - 1
        first = np.minimum(np.searchsorted(self.cumulated, -(-reached // 10), "left"), last)
        beyond = np.minimum(np.searchsorted(self.cumulated, reached // 10, "right"), last)
        return np.where(whole > 0, (self.value[first] + self.value[beyond]) / 2, np.nan)


def _statistics(curves: _Curves, lines: Floats) -> Floats:
    """MEASURES of each group, one row a measure; nan where a group has nobody to tell it."""
    value, mass, total = curves.value, curves.mass, curves.total
    amount = value * mass
    poor = [curves.sum(np.where(value < line, mass, 0)) for line in lines]
    deciles = [curves.quantile(k) for k in range(1, 10)]
    low, high = value <= curves.spread(deciles[1]), value > curves.spread(deciles[7])
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = [100 * p / total for p in poor]
        intensity = 100 * (1 - curves.quantile(5, poor[0]) / lines[0])
        fifths = [curves.sum(np.where(part, amount, 0)) for part in (low, high)]
        income = curves.sum(amount)
        gini = curves.sum(amount * (2 * (curves.cumulated - curves.spread(curves.base)) - mass)) / (total * income) - 1
        found = [*rates, intensity, *deciles, deciles[8] / deciles[0], fifths[1] / fifths[0], gini, income / total]
    return np.where(np.isfinite(found), found, np.nan)


def _statuses(curves: _Curves, unit: Integers, lines: Floats, point: Floats) -> npt.NDArray[np.str_]:
    """Confidentiality of each figure, one row a measure: PUBLISHABLE, or why it is withheld (curves count households).

    FREQUENCY where it tells of less than 11 households: a rate, of those under its line, or between it and the line
    above (everybody, above the first), the intensity as the rate; a quantile, of those on either side; S80/S20, of
    either fifth; any other, of the group. DOMINANCE where one household makes more than 85 % of the persons of the
    group, or of its standards of living.
    """
    value, households, total = curves.value, curves.mass, curves.total
    under = [total, *(curves.sum(np.where(value < line, households, 0)) for line in lines)]
    rates = [np.minimum(below, above - below) for above, below in pairwise(under)]
    deciles: list[Integers] = []
    for quantile in point[[MEASURES.index(d) for d in DECILES]]:
        below = curves.sum(np.where(value <= curves.spread(quantile), households, 0))
        deciles.append(np.minimum(below, total - below))
    edges = [np.minimum(deciles[8], deciles[0]), np.minimum(deciles[7], deciles[1])]
    behind = np.array([*rates, rates[0], *deciles, *edges, total, total])
    shares = [
        np.maximum.reduceat(unit * x, curves.starts) / curves.sum((unit * households * x).astype(np.float64))
        for x in (np.ones(len(value)), np.maximum(value, np.finfo(float).tiny))
    ]
    dominated = np.maximum(*shares) > RULE.dominance
    status = np.where(behind < RULE.threshold, FREQUENCY, PUBLISHABLE)
    return np.where(dominated & (total >= RULE.threshold), DOMINANCE, status)
