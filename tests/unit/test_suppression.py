"""Primary rules, and secondary suppression: always enough, and the cheapest where it says so."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_audit import MOST, crossed, possible

from methods.audit import audit
from methods.suppression import Rule, costs, optimum, primary_amounts, primary_counts, protect, rule_of, with_withheld
from methods.tables import TOLD, System, TableError, cells_of, judged, relations_of, sums_of, system_of

SMALL = st.lists(st.lists(st.integers(0, MOST), min_size=2, max_size=2), min_size=2, max_size=2)


def counted(values: list[list[int]], rule: Rule) -> System:
    cells, relations = crossed([[float(v) for v in row] for row in values])
    return system_of(primary_counts(cells, rule), relations)


def safe(system: System) -> bool:
    """Whether every protected cell is, by enumeration."""
    tables = possible(system, 4)[:, system.asked]
    low, high = tables.min(0), tables.max(0)
    asked = system.asked
    return bool(((high - low >= system.width[asked]) & (high >= system.at_least[asked])).all())


def loss(system: System) -> float:
    return float(costs(system)[system.status == "D"].sum())


def cheapest(system: System) -> float:
    """The least loss of a safe pattern, every pattern tried."""
    free = np.flatnonzero(system.status == "V")
    patterns = [p for n in range(len(free) + 1) for p in combinations(free, n)]
    return min(loss(s) for s in (with_withheld(system, p) for p in patterns) if safe(s))


@settings(max_examples=25, deadline=None)
@given(values=SMALL, threshold=st.integers(2, 4), zeros_shown=st.booleans())
def test_the_optimum_is_the_cheapest_pattern(values: list[list[int]], threshold: int, zeros_shown: bool) -> None:
    system = counted(values, Rule(threshold, zeros_shown=zeros_shown))
    try:
        found = optimum(system)
    except TableError:
        assert not safe(with_withheld(system, np.flatnonzero(system.status == "V")))
        return
    assert safe(found)
    assert loss(found) == pytest.approx(cheapest(system))


@settings(max_examples=40, deadline=None)
@given(values=st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=4))
def test_what_is_protected_always_passes_the_audit(values: list[list[int]]) -> None:
    cells, relations = crossed([[float(v) for v in row] for row in values], upper=pl.lit(float("inf")))
    protected = protect(system_of(primary_counts(cells, Rule(11)), relations))
    assert audit(protected)["ok"].all()


def test_a_threshold_moves_upwards_only() -> None:
    assert rule_of("S_5", 20).threshold == 20 and rule_of("S_11").threshold == 11
    with pytest.raises(TableError, match="Seuil de secret 10 refusé : la règle S_11 impose au moins 11"):
        rule_of("S_11", 10)


def test_zeros_are_small_counts_unless_the_rule_shows_them() -> None:
    frame = cells_of(pl.DataFrame({"cell": ["a", "b", "c"], "value": [0.0, 4.0, 50.0]}))
    hidden, shown = (primary_counts(frame, Rule(11, zeros_shown=zeros)) for zeros in (False, True))
    assert hidden["status"].to_list() == ["A", "A", "V"] and hidden["lower"].to_list() == [0.0] * 3
    assert shown["status"].to_list() == ["T", "A", "V"] and shown["lower"].to_list() == [0.0, 1.0, 1.0]


def test_no_more_is_asked_than_the_population_leaves() -> None:
    cells = primary_counts(cells_of(pl.DataFrame({"cell": ["a"], "value": [2.0], "upper": [6.0]})), Rule(11))
    assert cells.select("at_least", "width").rows() == [(6.0, 6.0)]


def amounts(largest: list[float | None]) -> pl.DataFrame:
    """Euros paid to 3, 40 and 40 households, and all three cells together."""
    columns = {"cell": ["a", "b", "c", "all"], "value": [100.0, 10_000.0, 12_000.0, 22_100.0]}
    return cells_of(pl.DataFrame({**columns, "contributors": [3, 40, 40, 83], "largest": largest}), whole=False)


def test_an_amount_is_withheld_when_one_dominates_or_few_contribute() -> None:
    cells = primary_amounts(amounts([50.0, 9_000.0, 800.0, 9_000.0]), Rule(11))
    assert cells["status"].to_list() == ["A", "B", "V", "V"]
    at_most, at_least = cells.select("at_most", "at_least").row(1)
    assert (at_most, at_least) == pytest.approx((20_000 - 9_000 / 0.85, 9_000 / 0.85))
    sums = sums_of(pl.DataFrame({"total": ["all"] * 3, "part": ["a", "b", "c"]}))
    assert not audit(system_of(cells, sums))["ok"].all()
    safe = judged(cells, protect(system_of(cells, sums)))
    assert safe["status"].to_list() == ["A", "B", "D", "V"]
    assert audit(system_of(safe, sums))["ok"].all()


def test_amounts_without_their_largest_contributor_are_refused() -> None:
    with pytest.raises(TableError, match="Montant refusé : b"):
        primary_amounts(amounts([50.0, None, 800.0, 9_000.0]), Rule(11))


def test_a_small_table_is_looked_at_whole() -> None:
    """The nearest parts of the same sum cannot move, known by another release: the only way is through a far one."""
    stuck = [f"s{i:02d}" for i in range(14)]
    values = {"a": 3.0, **dict.fromkeys(stuck, 20.0)}
    values |= {**{f"t {s}": 5.0 for s in stuck}, **{f"u {s}": 25.0 for s in stuck}, "z": 30.0, "zz": 313.0}
    cells = primary_counts(cells_of(pl.DataFrame({"cell": list(values), "value": list(values.values())})), Rule(11))
    known = pl.col("cell").str.contains("^[tu] ")
    kept = {c: pl.when(~known).then(c) for c in ("at_most", "at_least", "width")}
    cells = cells.with_columns(status=pl.when(known).then(pl.lit(TOLD)).otherwise("status"), **kept)
    parts = [("zz", part) for part in ("a", *stuck, "z")] + [(f"u {s}", part) for s in stuck for part in (s, f"t {s}")]
    sums = sums_of(pl.DataFrame(parts, schema=["total", "part"], orient="row"))
    assert audit(protect(system_of(cells, sums)))["ok"].all()


def test_margins_that_share_parts_bound_each_other_without_them() -> None:
    """An EPCI of three communes, two of them a département: 14 and 12 tell that the third commune has 2. Nothing was
    deposited of the communes; what one margin alone divides into, nothing else tells of."""
    frame = pl.DataFrame({"cell": ["E", "D", "R"], "place": ["E", "D", "R"]})
    held = {"E": ("a", "b", "c"), "D": ("a", "b"), "R": ("x", "y")}
    rows = [(f"{parent}/COM", parent, child) for parent, children in held.items() for child in children]
    division = pl.DataFrame(rows, schema=["breakdown", "parent", "child"], orient="row")
    relations = relations_of(frame, ["place"], {"place": division})
    assert set(relations["cell"]) == {"E", "D", "a", "b", "c"}
