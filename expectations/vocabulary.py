"""The words suites are written in (Expect, Violation, Summary, Suite) and the bounds of a profile.

A suite reads columns and states Great Expectations expectations on them. A long table is never handed over
row by row: its suite declares a summary (one SQL query, counts of violations per group) and judges groups.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from expectations.results import Severity

FOLDER = Path(__file__).parent
EXAMPLES = "__examples"  # suffix of the column holding keys of offending rows


@dataclass(frozen=True)
class Expect:
    """One expectation of Great Expectations. `counts` names the summary column that counts offending rows."""

    name: str
    kind: str  # snake-case name of the expectation
    kwargs: Mapping[str, Any]
    expected: str  # French, follows « attendu »
    severity: Severity = "critical"
    counts: str | None = None


@dataclass(frozen=True)
class Violation:
    """Rows that must not be: `where` is an SQL predicate; `count` replaces it by an aggregate."""

    name: str
    where: str
    expected: str
    severity: Severity = "critical"
    count: str | None = None


@dataclass(frozen=True)
class Summary:
    """One SQL query: counts of violations, and other measures, per group."""

    by: Mapping[str, str]  # column -> SQL expression
    key: str  # SQL expression naming a row in messages
    violations: tuple[Violation, ...]
    measures: Mapping[str, str] = field(default_factory=dict[str, str])
    source: str = "{table}"
    complete: Callable[[pl.DataFrame], pl.DataFrame] | None = None

    def sql(self, relation: str) -> str:
        counts = {v.name: v.count or f"count(*) FILTER (WHERE {v.where})" for v in self.violations}
        columns = {**self.by, "n_rows": "count(*)", **self.measures, **counts}
        select = ", ".join(f"{sql} AS {name}" for name, sql in columns.items())
        group = "GROUP BY ALL ORDER BY ALL" if self.by else ""
        return f"SELECT {select} FROM {self.source} AS t {group}".replace("{table}", relation)

    def examples_sql(self, name: str, relation: str, limit: int) -> str:
        """Keys of a few offending rows, the same ones at every run."""
        where = next(v.where for v in self.violations if v.name == name)
        rows = f"SELECT DISTINCT {self.key} AS example FROM {self.source} AS t WHERE {where}"
        return f"{rows} ORDER BY example LIMIT {limit}".replace("{table}", relation)


@dataclass(frozen=True)
class Suite:
    """The expectations on one table; `key` names an offending row, `label` the table in results."""

    name: str
    table: str
    key: tuple[str, ...]
    expects: tuple[Expect, ...]
    summary: Summary | None = None
    where: str | None = None  # edition of a core table, for messages

    @property
    def label(self) -> str:
        return f"{self.table}/{self.where}" if self.where else self.table

    @property
    def columns(self) -> list[str]:
        """The columns the suite reads, and no other."""
        names: set[str] = set(self.key)
        for expect in self.expects:
            for argument in ("column", "column_A", "column_B"):
                names.update([expect.kwargs[argument]] if argument in expect.kwargs else [])
            names.update(expect.kwargs.get("column_list", ()))
        return sorted(names)


def not_null(column: str) -> Expect:
    return Expect(
        f"{column}_present",
        "expect_column_values_to_not_be_null",
        {"column": column},
        f"colonne {column} renseignée",
    )


def unique(*columns: str) -> Expect:
    text = f"une seule ligne par ({', '.join(columns)})"
    if len(columns) == 1:
        return Expect("key_unique", "expect_column_values_to_be_unique", {"column": columns[0]}, text)
    return Expect("key_unique", "expect_compound_columns_to_be_unique", {"column_list": list(columns)}, text)


def in_set(column: str, codes: Sequence[Any]) -> Expect:
    shown = ", ".join(str(c) for c in codes)
    return Expect(
        f"{column}_known",
        "expect_column_values_to_be_in_set",
        {"column": column, "value_set": list(codes)},
        f"colonne {column} parmi : {shown}",
    )


def matches(column: str, regex: str, what: str) -> Expect:
    return Expect(
        f"{column}_format",
        "expect_column_values_to_match_regex",
        {"column": column, "regex": regex},
        f"colonne {column} de la forme {what}",
    )


def between(
    column: str,
    low: float | None,
    high: float | None,
    severity: Severity = "critical",
    name: str | None = None,
) -> Expect:
    text = " et ".join(f"{s} {b}" for s, b in (("au moins", low), ("au plus", high)) if b is not None)
    return Expect(
        name or f"{column}_range",
        "expect_column_values_to_be_between",
        {"column": column, "min_value": low, "max_value": high},
        f"colonne {column} : {text}",
        severity,
    )


def at_least(column: str, floor: str, name: str, expected: str, severity: Severity = "critical") -> Expect:
    return Expect(
        name,
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": column, "column_B": floor, "or_equal": True, "ignore_row_if": "either_value_is_missing"},
        expected,
        severity,
    )


def not_empty(minimum: int = 1) -> Expect:
    """Every other expectation holds of an empty table: this one does not."""
    return Expect(
        "not_empty",
        "expect_table_row_count_to_be_between",
        {"min_value": minimum, "max_value": None},
        f"au moins {minimum} ligne(s)",
    )


def none_of(violation: Violation) -> Expect:
    return Expect(
        violation.name,
        "expect_column_values_to_be_between",
        {"column": violation.name, "min_value": 0, "max_value": 0},
        violation.expected,
        violation.severity,
        counts=violation.name,
    )


def summary_suite(
    name: str,
    table: str,
    summary: Summary,
    expects: Sequence[Expect] = (),
    where: str | None = None,
    *,
    may_be_empty: bool = False,
) -> Suite:
    """A suite on the groups of a summary: nothing of each violation, something to judge, and `expects`."""
    filled = Expect(
        "not_empty",
        "expect_column_values_to_be_between",
        {"column": "n_rows", "min_value": 1, "max_value": None},
        "au moins une ligne",
    )
    judged = (*(none_of(v) for v in summary.violations), *expects)
    return Suite(name, table, tuple(summary.by), judged if may_be_empty else (filled, *judged), summary, where)


def quoted(codes: Sequence[str]) -> str:
    """Codes as a SQL list."""
    return ", ".join(f"'{c}'" for c in codes)


@dataclass(frozen=True)
class Bounds:
    """What is plausible in one profile: ranges by name pattern, numbers of territories by table and level."""

    variables: tuple[tuple[str, float, float], ...]
    indicators: tuple[tuple[str, float, float], ...]
    rows: Mapping[str, Mapping[str, tuple[int, int]]]
    units: Mapping[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])

    def of_units(self, indicators: Mapping[str, str]) -> Bounds:
        """The same, where an indicator (identifier -> unit) that no pattern names has the range of its unit."""
        named = [pattern for pattern, _, _ in self.indicators]
        by_unit = tuple(
            (re.escape(name), *self.units[unit])
            for name, unit in indicators.items()
            if unit in self.units and not any(re.fullmatch(p, name) for p in named)
        )
        return replace(self, indicators=(*self.indicators, *by_unit))

    def rows_of(self, table: str) -> Mapping[str, tuple[int, int]]:
        return self.rows.get(table) or self.rows.get("*") or {}


@lru_cache
def load_bounds(profile: str) -> Bounds:
    """The bounds of `national` (live, mirror) or `demo`, from bounds.yaml. KeyError names the known ones."""
    declared = yaml.load((FOLDER / "bounds.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    if profile not in declared["rows"]:
        raise KeyError(f"no bounds for profile {profile!r}; known: {sorted(declared['rows'])}")

    def ranges(key: str) -> tuple[tuple[str, float, float], ...]:
        return tuple((r["pattern"], float(r["range"][0]), float(r["range"][1])) for r in declared[key])

    rows = {
        table: {level: (int(low), int(high)) for level, (low, high) in levels.items()}
        for table, levels in declared["rows"][profile].items()
    }
    units = {unit: (float(low), float(high)) for unit, (low, high) in declared["units"].items()}
    return Bounds(ranges("variables"), ranges("indicators"), rows, units)


def with_ranges(column: str, ranges: Sequence[tuple[str, float, float]]) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Adds `declared_min` and `declared_max` of the first pattern that matches the whole name, else null."""

    def add(frame: pl.DataFrame) -> pl.DataFrame:
        names = frame[column].cast(pl.String).unique().to_list()
        found = [next((r for r in ranges if re.fullmatch(r[0], n or "")), None) for n in names]
        table = pl.DataFrame(
            {
                column: names,
                "declared_min": [r[1] if r else None for r in found],
                "declared_max": [r[2] if r else None for r in found],
            },
            schema={column: pl.String, "declared_min": pl.Float64, "declared_max": pl.Float64},
        )
        return frame.with_columns(pl.col(column).cast(pl.String)).join(table, on=column, how="left")

    return add


def with_row_bounds(
    bounds: Mapping[str, tuple[int, int]], every_level: bool = False
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Adds `fewest` and `most` by level. Editions differ in the levels they publish: only with `every_level`
    does a declared level that is absent become a group of 0 territories."""

    def add(frame: pl.DataFrame) -> pl.DataFrame:
        table = pl.DataFrame(
            [(level, low, high) for level, (low, high) in bounds.items()],
            schema={"level": pl.String, "fewest": pl.Int64, "most": pl.Int64},
            orient="row",
        )
        counted = frame.with_columns(pl.col("level").cast(pl.String))
        how = "full" if every_level else "left"
        return (
            counted.join(table, on="level", how=how, coalesce=True)
            .with_columns(pl.col("territories").fill_null(0))
            .sort("level")
        )

    return add
