"""An outsider with the published figures only: nothing withheld comes out; with one protection off, something does.

His linear programmes are written here apart from the audit's: every cell, every relation, nothing left out.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.optimize import linprog

from bench.disclosure import OFF, RULE, Country, corrected, country, protected, two_releases, with_rates
from methods.audit import audit
from methods.register import published, versioned
from methods.suppression import Rule, primary_counts
from methods.tables import HIDDEN, cells_of, ratios_of, sums_of, system_of, withheld_with

NOTHING = pl.DataFrame(schema={"cell": pl.String, "value": pl.Float64, "version": pl.Int64})


def outsider(cells: pl.DataFrame, relations: pl.DataFrame) -> pl.DataFrame:
    """Cells to protect with the interval computed from what is published: cell, lower, upper, width, at_least."""
    told = published(cells)
    place = {name: i for i, name in enumerate(dict.fromkeys([*told["cell"], *relations["cell"]]))}
    rows = {name: i for i, name in enumerate(relations["relation"].unique(maintain_order=True))}
    sums = np.zeros((len(rows), len(place)))
    for relation, cell, coefficient in relations.iter_rows():
        sums[rows[relation], place[cell]] = coefficient
    bounds = [(0.0, None)] * len(place)
    for cell, lower, upper in told.select("cell", "lower", "upper").iter_rows():
        bounds[place[cell]] = (lower, None if upper == float("inf") else upper)
    asked = told.filter(pl.col("width").is_not_null()).select("cell", "width", "at_least")
    ends = []
    for cell in asked["cell"]:
        gain = np.zeros(len(place))
        gain[place[cell]] = 1.0
        least, most = (linprog(s * gain, A_eq=sums, b_eq=np.zeros(len(rows)), bounds=bounds) for s in (1, -1))
        ends.append((least.fun, float("inf") if most.status == 3 else -most.fun))
    return asked.with_columns(pl.DataFrame(ends, schema=["lower", "upper"], orient="row"))


def exact(found: pl.DataFrame) -> int:
    return found.filter(pl.col("upper") - pl.col("lower") < 0.5).height


def tight(found: pl.DataFrame) -> int:
    wide = (pl.col("upper") - pl.col("lower") >= pl.col("width") - 1e-6) & (
        pl.col("upper") >= pl.col("at_least") - 1e-6
    )
    return found.filter(~wide).height


@pytest.fixture(scope="module")
def drawn() -> Country:
    return country(8, years=2, ages=1, seed=3, epci=4, departement=5)


@pytest.fixture(scope="module")
def primary(drawn: Country) -> pl.DataFrame:
    return primary_counts(drawn.cells, RULE)


@pytest.fixture(scope="module")
def safe(drawn: Country, primary: pl.DataFrame) -> pl.DataFrame:
    return protected(primary, drawn.without())


def test_nothing_comes_out_of_a_protected_country(drawn: Country, safe: pl.DataFrame) -> None:
    found = outsider(safe, drawn.without())
    assert found.height > 20
    assert tight(found) == 0


def test_without_secondary_suppression_cells_come_out(drawn: Country, primary: pl.DataFrame) -> None:
    assert exact(outsider(primary, drawn.without())) > 0


@pytest.mark.parametrize("kind", [k for kinds in OFF.values() for k in kinds if k != "age"])
def test_a_forgotten_link_lets_cells_out(drawn: Country, primary: pl.DataFrame, kind: str) -> None:
    assert tight(outsider(protected(primary, drawn.without(kind)), drawn.without())) > 0


def test_a_correction_opens_no_difference(drawn: Country) -> None:
    second = country(8, years=2, ages=1, seed=3, epci=4, departement=5, corrections=0.3)
    assert second.cells["value"].to_list() != drawn.cells["value"].to_list()
    assert tight(outsider(*corrected(drawn, second, register=True))) == 0
    assert tight(outsider(*corrected(drawn, second, register=False))) > 0


def test_a_withdrawal_opens_no_difference(drawn: Country, primary: pl.DataFrame) -> None:
    """The communes are withdrawn: their EPCI alone, protected alone, would show what kept the communes secret."""
    left = primary.filter(~pl.col("cell").str.starts_with("C"))
    sums = drawn.without().filter(pl.col("cell").is_in(left["cell"].implode()).all().over("relation"))
    first = (primary, drawn.without())
    assert tight(outsider(*two_releases(first, (left, sums), register=True))) == 0
    assert tight(outsider(*two_releases(first, (left, sums), register=False))) > 0


@pytest.mark.parametrize(("before", "after"), [(20, 11), (11, 20)])
def test_another_threshold_opens_no_difference(drawn: Country, before: int, after: int) -> None:
    first, second = ((primary_counts(drawn.cells, Rule(t)), drawn.without()) for t in (before, after))
    assert tight(outsider(*two_releases(first, second, register=True))) == 0
    assert tight(outsider(*two_releases(first, second, register=False))) > 0


def test_a_raised_threshold_asks_no_more_than_what_is_left(drawn: Country) -> None:
    first, second = ((primary_counts(drawn.cells, Rule(t)), drawn.without()) for t in (11, 20))
    both, _ = two_releases(first, second, register=True)
    asked = both.join(second[0].select("cell", first="width"), on="cell").filter(pl.col("width") < pl.col("first"))
    assert asked.height > 0 and asked["width"].min() >= 0


def test_a_corrected_figure_is_another_cell() -> None:
    frame = cells_of(pl.DataFrame({"cell": ["a", "b", "c"], "value": [1.0, 2.0, None]}))
    sums = sums_of(pl.DataFrame({"total": ["a", "a"], "part": ["b", "absent"]}))
    former = pl.DataFrame({"cell": ["a", "b", "c"], "value": [1.0, 3.0, None], "version": [4, 4, 4]})
    cells, relations = versioned(frame, sums, former)
    assert cells["cell"].to_list() == ["a#4", "b#5", "c#4"]
    assert set(relations["cell"]) == {"a#4", "b#5", "absent#1"}


def test_the_register_holds_no_withheld_value(safe: pl.DataFrame) -> None:
    kept = published(safe)
    hidden = kept.filter(pl.col("status").is_in(HIDDEN))
    assert hidden.height > 0 and hidden["value"].null_count() == hidden.height
    assert kept.height == safe.height and kept["value"].null_count() == hidden.height


def merged(drawn: Country) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The country once C00001 has joined C00000 in N: cells, and relations, those of N to what it replaces too."""
    old = drawn.cells.with_columns(new=pl.col("cell").str.replace("^C0000[01]", "N"))
    kept = old.group_by("new", maintain_order=True).agg(pl.col("value", "upper").sum()).rename({"new": "cell"})
    renamed = drawn.without().with_columns(pl.col("relation", "cell").str.replace("C0000[01]", "N")).unique()
    same = old.filter(pl.col("new") != pl.col("cell")).select(total="new", part="cell")
    return cells_of(kept), pl.concat([renamed, sums_of(same)])


def test_a_merger_opens_no_difference(drawn: Country, primary: pl.DataFrame) -> None:
    cells, sums = merged(drawn)
    second = primary_counts(cells, RULE), sums
    assert tight(outsider(*two_releases((primary, drawn.without()), second, register=True))) == 0
    assert tight(outsider(*two_releases((primary, drawn.without()), second, register=False))) > 0


def test_rates_of_withheld_counts_give_them_back(drawn: Country, safe: pl.DataFrame) -> None:
    """Hence `withheld_with`: a rate goes with its count."""
    assert exact(outsider(with_rates(safe), drawn.without())) > 0
    assert audit(system_of(with_rates(safe), drawn.without()))["ok"].sum() < 20
    rates = pl.DataFrame({"figure": ["taux a", "taux a", "taux b", "rang b"], "cell": ["a", "n", "b", "b"]})
    assert withheld_with(rates, pl.Series(["b"])).to_list() == ["rang b", "taux b"]


def test_a_share_of_two_withheld_counts_narrows_both() -> None:
    """60.0 % of a total between 11 and 30: 7 of 11 or 12 are out, 12 of 20 is in."""
    frame = cells_of(pl.DataFrame({"cell": ["part", "rest", "all"], "value": [12.0, 8.0, 20.0], "upper": [30.0] * 3}))
    cells = primary_counts(frame.with_columns(status=pl.lit("A")), RULE)
    sums = sums_of(pl.DataFrame({"total": ["all", "all"], "part": ["part", "rest"]}))
    assert audit(system_of(cells, sums))["ok"].all()
    ratio = pl.DataFrame({"numerator": ["part"], "denominator": ["all"], "lower": [0.5995], "upper": [0.6005]})
    told, more = ratios_of(ratio)
    found = audit(system_of(pl.concat([cells.select(told.columns), told]), pl.concat([sums, more])))
    asked = {row["cell"]: row for row in found.iter_rows(named=True)}
    assert not asked["rest"]["ok"] or asked["rest"]["upper"] <= 12
    lp = outsider(pl.concat([cells.select(told.columns), told]), pl.concat([sums, more]))
    assert lp.filter(pl.col("cell") == "rest")["upper"].item() == pytest.approx(12.0, abs=0.1)


def test_a_rounded_margin_hides_no_more_than_its_rounding() -> None:
    """Printed 20 and 15 to the nearest 5: the third part, withheld, lies within the roundings and no wider."""
    frame = pl.DataFrame({"cell": ["a", "b", "all"], "value": [4.0, 16.0, 20.0], "step": [0.0, 5.0, 5.0]})
    cells = primary_counts(cells_of(frame), RULE)
    sums = sums_of(pl.DataFrame({"total": ["all", "all"], "part": ["a", "b"]}))
    row = audit(system_of(cells, sums)).row(0, named=True)
    assert (row["lower"], row["upper"], row["ok"]) == (1.0, 9.0, False)
    assert outsider(cells, sums).row(0)[3:] == pytest.approx((0.0, 10.0))


def test_telling_why_a_cell_is_withheld_gives_it_back() -> None:
    """Status A says « below 11 », D « 11 or more »: an edition must show one mark for both. Here 10 + 10 = 20."""
    cells = primary_counts(cells_of(pl.DataFrame({"cell": ["a", "b", "all"], "value": [10.0, 10.0, 20.0]})), RULE)
    sums = sums_of(pl.DataFrame({"total": ["all", "all"], "part": ["a", "b"]}))
    assert tight(outsider(cells, sums)) == 0
    told = cells.with_columns(upper=pl.when(pl.col("status") == "A").then(10.0).otherwise("upper"))
    assert exact(outsider(told, sums)) == 2
