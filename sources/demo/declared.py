"""Files of the datasets that a description declares (sources/layout.py): the fictional country in any layout.

Figures follow variables.yaml: each count is a share of another one, drawn once per atom, so that parts never exceed
their whole and women and men add up; each rate is drawn in its range. Territories are sums of their atoms.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from sources.declared import wide_columns
from sources.demo import districts
from sources.demo.country import Country
from sources.demo.formats import NOTICE, Cell, delimited, numbers, objects, parquet, workbook
from sources.demo.households import SPAN
from sources.demo.tally import sums_by
from sources.description import Edition, Member, Source
from sources.layout import Layout, LongLayout, PeriodsLayout, UnitsLayout, WideLayout

Files = dict[str | None, bytes]
DISTRICTS = ("IRIS", "QPV")
DRIFT = 0.004  # change of a share from one year to the next
PERIODS = ("{year}-T{quarter}", "T{quarter}_{year}")  # how producers name a quarter
UNITS_PER_COMMUNE = 3
WOMEN = (0.46, 0.56)  # their share of any count


@lru_cache(maxsize=1)
def models() -> tuple[dict[str, Any], ...]:
    """variables.yaml: {pattern, of, share} for counts, {pattern, range} for rates, {pattern, start, total} for
    rates that follow from others; the first that matches counts.
    """
    path = Path(__file__).with_name("variables.yaml")
    return tuple(yaml.safe_load(path.read_text(encoding="utf-8")))


def model_of(variable: str) -> dict[str, Any]:
    """The model of a variable, that of the whole for women or men. Raises KeyError when no pattern matches it."""
    for name in dict.fromkeys((variable, variable.removesuffix("_f").removesuffix("_m"))):
        for model in models():
            if re.fullmatch(model["pattern"], name):
                return model
    raise KeyError(f"no model of {variable!r} in sources/demo/variables.yaml")


def _is_rate(model: Mapping[str, Any]) -> bool:
    return "range" in model or "total" in model


@dataclass(frozen=True)
class Figures:
    """True figures of the fictional country; population: inhabitants by atom in a year; iris_count: pieces of an atom,
    see districts.py. atoms: those of the pieces that the figures are about, when they are not about the atoms."""

    country: Country
    seed: int
    population: Callable[[int], np.ndarray]
    iris_count: np.ndarray
    atoms: np.ndarray | None = None

    def count(self, variable: str, year: int) -> np.ndarray:
        """A count by atom."""
        for suffix, other in (("_f", "_m"), ("_m", "_f")):
            base = variable.removesuffix(suffix)
            if base != variable and {"of", "is"} & set(model_of(base)):
                if suffix == "_m":
                    return self.count(base, year) - self.count(base + other, year)
                # one share of women an atom: women of a part are never more than women of the whole
                low, high = model_of(base).get("women", WOMEN)
                return np.rint(self.count(base, year) * self._drawn("women", low, high))
        model = model_of(variable)
        if model.get("is") == "population":
            people = self.population(min(max(year, SPAN[0]), SPAN[-1])).astype(np.float64)
            return people if self.atoms is None else np.floor(people / self.iris_count)[self.atoms]
        low, high = model["share"]
        drift = 1 + DRIFT * (year - 2018) * (1 if zlib.crc32(variable.encode()) % 2 else -1)
        share = np.clip(self._drawn(variable, low, high) * drift, low, max(high, low))
        return np.rint(self.count(model["of"], year) * share)

    def table(self, level: str, cog_year: int, variables: Sequence[tuple[str, int]]) -> pl.DataFrame:
        """One row per territory: `code`, and `variable|year` for each asked."""
        if level in ("IRIS", "QPV"):
            places = self._districts(level, cog_year)
            inside = replace(self, atoms=places["atom"].to_numpy())
            return inside._table(places["code"].to_numpy(), variables)
        return self._table(self.country.territory(level, cog_year), variables)

    def _districts(self, level: str, year: int) -> pl.DataFrame:
        """(atom, code) of each piece of a district."""
        if level == "QPV":
            return districts.qpv(self.country, self.iris_count)
        own = districts.pieces(self.country, self.iris_count, year)
        return own.filter("divided").rename({"iris": "code"})

    def _table(self, places: np.ndarray, variables: Sequence[tuple[str, int]]) -> pl.DataFrame:
        weight = self.count("pop", 2018)
        columns: dict[str, np.ndarray] = {"_weight": weight}
        for variable, year in variables:
            model = model_of(variable)
            name = f"{variable}|{year}"
            columns[name] = self._rate(variable, year) * weight if _is_rate(model) else self.count(variable, year)
        table = sums_by(places, columns)
        rates = [f"{v}|{y}" for v, y in variables if _is_rate(model_of(v))]
        digits = {f"{v}|{y}": int(model_of(v).get("digits", 1)) for v, y in variables}
        return table.with_columns((pl.col(r) / pl.col("_weight")).round(digits[r]) for r in rates).drop("_weight")

    def _pieces(self, level: str, cog_year: int) -> tuple[np.ndarray, np.ndarray]:
        """Atoms and the code of each one's territory; of the districts, one line per piece of an atom."""
        if level == "IRIS":
            own = districts.pieces(self.country, self.iris_count, cog_year).filter("divided")
            return own["atom"].to_numpy(), own["iris"].to_numpy()
        if level == "QPV":
            own = districts.qpv(self.country, self.iris_count)
            return own["atom"].to_numpy(), own["code"].to_numpy()
        return np.arange(self.country.home.size), self.country.territory(level, cog_year)

    def _rate(self, variable: str, year: int) -> np.ndarray:
        model = model_of(variable)
        if "total" in model:
            return model.get("start", 0.0) + sum(k * self._rate(part, year) for part, k in model["total"].items())
        low, high = model["range"]
        drift = DRIFT * (year - 2018) * (high - low)
        return np.clip(self._drawn(variable, low, high) + drift, low, high)

    def _drawn(self, variable: str, low: float, high: float) -> np.ndarray:
        rng = np.random.default_rng((self.seed, zlib.crc32(variable.encode())))
        drawn = rng.uniform(low, high, self.country.home.size)
        return drawn if self.atoms is None else drawn[self.atoms]


def editions_of(source: Source) -> list[Edition]:
    """The editions that the fictional country publishes: the newest of each layout and of each level."""
    newest: dict[tuple[str, tuple[str | None, ...]], Edition] = {}
    for edition in sorted(source.editions, key=lambda e: e.data_year):
        old = edition.format == "xls" or any((m.path or "").endswith(".xls") for m in edition.members)
        if not old:
            newest[edition.layout, tuple(m.level for m in edition.members)] = edition
    return list(newest.values())


def write(source: Source, edition: Edition, figures: Figures) -> Files:
    """The members of one edition of a declared source."""
    members = edition.members or (Member(),)
    together = [e for e in source.editions if e.url == edition.url and _by_year(source, e)] or [edition]
    tables = {m: pl.concat([_member(source, e, m, figures) for e in together]) for m in members}
    if edition.format == "xlsx" or any(m.sheet for m in members):
        books: dict[str | None, dict[str, Iterable[Sequence[Cell]]]] = {}
        for member, table in tables.items():
            layout = source.layouts[member.table or edition.layout]
            units = [[None]] if layout.units_row else []
            rows = chain([[NOTICE], [None], table.columns, *units], table.iter_rows())
            books.setdefault(member.path, {})[member.sheet or "Feuil1"] = rows
        return {path: workbook(sheets) for path, sheets in books.items()}
    written: Files = {}
    for path in dict.fromkeys(m.path for m in members):
        parts = [table for member, table in tables.items() if member.path == path]
        layout = source.layouts[members[0].table or edition.layout]
        table = pl.concat(parts).unique(maintain_order=True).with_columns(pays=pl.lit("fictif"))
        match edition.format:
            case "json":
                written[path] = objects(table)
            case "parquet":
                written[path] = parquet(table)
            case _:
                written[path] = delimited(table, separator=layout.separator or ";")
    return written


def _by_year(source: Source, edition: Edition) -> bool:
    """Whether the edition is the rows of its year in a file of several."""
    return source.layouts[edition.layout].years == "own"


def _member(source: Source, edition: Edition, member: Member, figures: Figures) -> pl.DataFrame:
    """One table, as text, its columns in the producer's names."""
    layout = source.layouts[member.table or edition.layout]
    match layout:
        case WideLayout():
            columns = wide_columns(layout, edition.data_year)
            asked = [(c.variable, c.year or edition.data_year, c.name, c.scale) for c in columns]
            rows = [_wide(layout, edition, level, asked, figures) for level in _levels(layout, member)]
        case LongLayout():
            rows = [_long(layout, edition, level, figures) for level in _levels(layout, member)]
        case PeriodsLayout():
            rows = [_periods(layout, edition, level, figures) for level in _levels(layout, member)]
        case UnitsLayout():
            rows = [_units(layout, edition, figures)]
    return pl.concat(rows)


def _levels(layout: Layout, member: Member) -> list[tuple[str, str | None]]:
    """(level, the producer's name of it) of the rows to write."""
    if layout.level_column is None:
        return [(layout.level or member.level or "COM", None)]
    named = {level: name for name, level in layout.levels.items() if level}
    return list(named.items())


def _territories(
    figures: Figures, edition: Edition, level: str, asked: Sequence[tuple[str, int]], *, apart: bool = False
) -> pl.DataFrame:
    """True figures of a level; communes come with the arrondissements municipaux, as producers give them, unless
    those are a level `apart`."""
    cog_year = min(max(edition.cog_year or edition.data_year, 2014), 2026)
    asked = list(dict.fromkeys(asked))
    table = figures.table(level, cog_year, asked)
    if level == "COM" and not apart:
        table = pl.concat([table, figures.table("ARM", cog_year, asked)])
    return table


def _fixed(layout: Layout, edition: Edition, level_name: str | None) -> dict[str, pl.Expr]:
    """The columns of a layout that are the same on every row."""
    columns = {c: pl.lit(values[0]) for c, values in layout.keep.items()}
    columns |= {c: pl.lit("") for c in layout.skip if c not in columns}
    columns |= {column: pl.lit(note.shown[0]) for column, note in layout.notes.items()}
    if layout.level_column:
        columns[layout.level_column] = pl.lit(level_name)
    for column, status in ((layout.obs_status, "A"), (layout.conf_status, "F")):
        if column:
            columns[column] = pl.lit(status)
    if layout.year_column:
        columns[layout.year_column] = pl.lit(_printed_year(layout.year_pattern, edition.data_year))
    return columns


def _printed_year(pattern: str, year: int) -> str:
    """A text of which the pattern reads that year."""
    candidates = (f"{year}", f"{year}-T4", f"{year % 100:02d}", f"{year}-12", f"{year}-12-31", f"31/12/{year}")
    for text in candidates:
        found = re.search(pattern, text)
        if found and int(found[1]) in (year, year % 100):
            return text
    raise ValueError(f"no known way to print a year that {pattern!r} reads")


def _wide(
    layout: WideLayout,
    edition: Edition,
    level: tuple[str, str | None],
    asked: Sequence[tuple[str, int, str, float]],
    figures: Figures,
) -> pl.DataFrame:
    table = _territories(figures, edition, level[0], [(v, y) for v, y, _, _ in asked])
    own = {name: pl.col(f"{v}|{y}") / scale if scale != 1 else pl.col(f"{v}|{y}") for v, y, name, scale in asked}
    shown = table.select(pl.col("code").alias(layout.code), **own).with_columns(
        **{c: e for c, e in _fixed(layout, edition, level[1]).items() if c != layout.code}
    )
    return numbers(shown)


def _long(layout: LongLayout, edition: Edition, level: tuple[str, str | None], figures: Figures) -> pl.DataFrame:
    """Variables that differ only by their value column share a row."""
    year = edition.data_year
    apart = "ARM" in layout.levels.values()
    table = _territories(figures, edition, level[0], [(v.variable, year) for v in layout.variables], apart=apart)
    rows: dict[str, dict[str, Any]] = {}
    for v in layout.variables:
        where = {c: said if isinstance(said, str) else said[0] for c, said in v.where.items()}
        row = rows.setdefault(str(sorted(where.items())), {"where": where, "values": {}})
        scaled = pl.col(f"{v.variable}|{year}") / v.scale
        row["values"][v.value or layout.value] = (scaled / v.step).round() * v.step if v.integer else scaled
    dimensions = dict.fromkeys(c for v in layout.variables for c in v.where)
    values = dict.fromkeys(v.value or layout.value for v in layout.variables)
    fixed = {c: e for c, e in _fixed(layout, edition, level[1]).items() if c != layout.code}
    parts = [
        table.select(
            pl.col("code").alias(layout.code),
            **{c: pl.lit(row["where"].get(c, "")) for c in dimensions if c not in fixed},
            **{c: row["values"].get(c, pl.lit(None, pl.Float64)).cast(pl.Float64) for c in values},
            **fixed,
        )
        for row in rows.values()
    ]
    return numbers(pl.concat(parts))


def _periods(layout: PeriodsLayout, edition: Edition, level: tuple[str, str | None], figures: Figures) -> pl.DataFrame:
    """Two whole years of quarters, all alike within a year."""
    name = next(n for n in PERIODS if re.fullmatch(layout.period, n.format(year=2020, quarter=1)))
    years = [edition.data_year - 1, edition.data_year]
    variable = layout.cell.variable
    table = _territories(figures, edition, level[0], [(variable, y) for y in years])
    quarters = {
        name.format(year=y, quarter=q): pl.col(f"{variable}|{y}") / layout.cell.scale
        for y in years
        for q in (1, 2, 3, 4)
    }
    fixed = {c: e for c, e in _fixed(layout, edition, level[1]).items() if c != layout.code}
    return numbers(table.select(pl.col("code").alias(layout.code), **fixed, **quarters))


def _units(layout: UnitsLayout, edition: Edition, figures: Figures) -> pl.DataFrame:
    """A few units in every commune; each has the commune's own figure, so that their mean is known."""
    table = _territories(figures, edition, "COM", [(v.variable, edition.data_year) for v in layout.variables])
    city = str(figures.country.codes[min(edition.cog_year or edition.data_year, 2026)][0])
    table = table.filter(pl.col("code") != city) if figures.country.arms else table
    values: dict[str, pl.Expr] = {}
    for v in layout.variables:
        if v.value:  # of several variables read in one column, the first says what it holds
            values.setdefault(v.value, pl.col(f"{v.variable}|{edition.data_year}") / v.scale)
    weights = {v.weight: pl.lit(100.0) for v in layout.variables if v.weight}
    key = [layout.unit] if isinstance(layout.unit, str) else list(layout.unit)
    fixed = {c: e for c, e in _fixed(layout, edition, None).items() if c not in (layout.code, *key)}
    chosen = {c: said if isinstance(said, str) else said[0] for v in layout.variables for c, said in v.where.items()}
    parts = [
        table.select(
            pl.col("code").alias(layout.code),
            **{c: pl.format("{}-{}", "code", pl.lit(str(k))) for c in key if c != layout.code},
            **fixed,
            **{c: pl.lit(said if k == 0 else "") for c, said in chosen.items() if c not in fixed},
            **values,
            **weights,
        )
        for k in range(UNITS_PER_COMMUNE)
    ]
    return numbers(pl.concat(parts))
