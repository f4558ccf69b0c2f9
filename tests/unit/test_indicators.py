"""Indicators from settled variables: preference between sources, ratios, growth, gaps and ranks."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from methods.indicators import (
    COLUMNS,
    Gap,
    Growth,
    Published,
    Rank,
    Ratio,
    Term,
    gap,
    growth,
    published,
    rank,
    ratio,
)

BASE = {
    "lower": None,
    "upper": None,
    "obs_status": "A",
    "conf_status": "F",
    "grade": "A",
    "interval_kind": None,
    "reason": None,
    "masked_parts": None,
    "aggregated": False,
    "source_ids": "s/2018",
    "cog_year": 2021,
    "issue": 1,
}
SCHEMA = {
    "territory_id": pl.String,
    "year": pl.Int16,
    "variable": pl.String,
    "value": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "obs_status": pl.String,
    "conf_status": pl.String,
    "grade": pl.String,
    "interval_kind": pl.String,
    "reason": pl.String,
    "masked_parts": pl.Int32,
    "aggregated": pl.Boolean,
    "source_id": pl.String,
    "source_ids": pl.String,
    "cog_year": pl.Int16,
    "issue": pl.Int16,
}


def variables(*rows: dict) -> Callable[[str], pl.DataFrame]:
    frame = pl.DataFrame([{**BASE, "source_id": "s", "year": 2018, **r} for r in rows], schema=SCHEMA)
    return lambda name: frame.filter(pl.col("variable") == name)


def row(territory: str, variable: str, value: float | None, **other: object) -> dict:
    return {"territory_id": territory, "variable": variable, "value": value, **other}


def test_first_source_wins_and_published_comes_before_aggregated() -> None:
    read = variables(
        row(
            "DEP-90",
            "tp60",
            None,
            source_id="cc",
            source_ids="cc/2018",
            aggregated=True,
            reason="couverture_insuffisante",
        ),
        row("DEP-90", "tp60", 13.2, source_id="dist", source_ids="dist/2018"),
        row("COM-90001", "tp60", 44.0, source_id="cc", source_ids="cc/2018"),
        row("COM-90001", "tp60", 43.0, source_id="dist", source_ids="dist/2018"),
    )
    rows = published(Published({"cc": "tp60", "dist": "tp60"}), read)
    assert rows.columns == list(COLUMNS)
    got = dict(rows.select("territory_id", "value").iter_rows())
    assert got == {"DEP-90": 13.2, "COM-90001": 44.0}
    assert rows.filter(pl.col("territory_id") == "DEP-90")["source_ids"].item() == "dist/2018"


def test_latest_issue_wins_within_a_year() -> None:
    read = variables(
        row("COM-90001", "tp60", 44.0, source_ids="cc/2019-geo2021", issue=1, source_id="cc"),
        row("COM-90001", "tp60", 45.0, source_ids="cc/2019-geo2022", issue=2, source_id="cc"),
    )
    rows = published(Published({"cc": "tp60"}), read)
    assert rows.select("value", "source_ids").rows() == [(45.0, "cc/2019-geo2022")]


def test_rates_by_age_carry_their_code_and_no_weight() -> None:
    read = variables(
        row("COM-90001", "tp60", 44.0), row("COM-90001", "young", 50.0), row("COM-90001", "nb_pers", 900.0)
    )
    rows = published(Published({"s": "tp60"}, {"RF_Y_LT30": "young"}, "nb_pers"), read)
    assert rows.sort("age").select("age", "value", "weight").rows() == [
        ("RF_Y_LT30", 50.0, None),
        ("_T", 44.0, 900.0),
    ]


def test_ratio_divides_sums_and_keeps_the_reason_of_what_is_missing() -> None:
    read = variables(
        row("COM-1", "chom", 10.0),
        row("COM-1", "act", 40.0),
        row("COM-2", "chom", None, obs_status="Q", conf_status="A", reason="secret"),
        row("COM-2", "act", 40.0),
        row("COM-3", "chom", 0.0),
        row("COM-3", "act", 0.0),
    )
    rows = ratio(Ratio([Term("chom")], [Term("act")]), read).sort("territory_id")
    assert rows["value"].to_list() == [25.0, None, None]
    assert rows["reason"].to_list() == [None, "secret", "sans_objet"]
    assert rows["obs_status"].to_list() == ["A", "Q", "M"]
    assert rows["weight"].to_list() == [40.0, 40.0, 0.0]


def test_ratio_terms_may_lie_in_an_earlier_year() -> None:
    read = variables(
        row("COM-1", "births", 60.0), row("COM-1", "pop", 110.0), row("COM-1", "pop", 90.0, year=2013)
    )
    rows = ratio(Ratio([Term("births")], [Term("pop", 2.5), Term("pop", 2.5, 5)], 1000), read)
    assert rows.select("year", "value").rows() == [(2018, pytest.approx(1000 * 60 / (5 * 100)))]


def observations(*rows: tuple[str, int, float | None]) -> pl.DataFrame:
    read = variables(*[row(t, "x", v, year=y) for t, y, v in rows])
    return published(Published({"s": "x"}), read)


def test_growth_is_annual_and_null_when_the_earlier_figure_is() -> None:
    base = observations(
        ("COM-1", 2013, 100.0), ("COM-1", 2018, 110.0), ("COM-2", 2013, None), ("COM-2", 2018, 5.0)
    )
    rows = growth(Growth("x"), base).sort("territory_id")
    assert rows["year"].to_list() == [2018, 2018]
    assert rows["value"].to_list() == [pytest.approx((1.1**0.2 - 1) * 100), None]
    assert rows["reason"][1] is not None


def test_gap_needs_both_values_and_says_with_whom() -> None:
    base = observations(("COM-1", 2018, 45.0), ("COM-2", 2018, None), ("DEP-9", 2018, 13.0))
    parents = pl.DataFrame(
        {
            "territory_id": ["COM-1", "COM-2"],
            "reference": ["DEP-9", "DEP-9"],
            "reference_level": ["DEP", "DEP"],
        }
    )
    points = gap(Gap("x", "points"), base, parents)
    assert points.select("territory_id", "reference", "value").rows() == [("COM-1", "DEP-9", 32.0)]
    share = gap(Gap("x", "ratio"), base, parents)
    assert share["value"].item() == pytest.approx(100 * 45 / 13)


def test_rank_is_descending_with_ties_at_the_smallest_rank_and_outsiders_left_out() -> None:
    base = observations(
        ("COM-1", 2018, 45.0),
        ("COM-2", 2018, 46.0),
        ("COM-3", 2018, 45.0),
        ("COM-4", 2018, None),
        ("ARM-5", 2018, 60.0),
    )
    universe = pl.DataFrame({"territory_id": ["COM-1", "COM-2", "COM-3", "COM-4"]})
    rows = rank(Rank("x"), base, universe).sort("territory_id")
    assert rows.select("territory_id", "value", "weight").rows() == [
        ("COM-1", 2.0, 3.0),
        ("COM-2", 1.0, 3.0),
        ("COM-3", 2.0, 3.0),
    ]
    assert rows["reference"].unique().to_list() == ["COM_METRO"]
