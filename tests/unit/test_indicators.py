"""Indicators from settled variables: preference between sources, ratios, growth, gaps and ranks."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest

from methods.indicators import (
    COLUMNS,
    WHOLE,
    Difference,
    Gap,
    Growth,
    Published,
    Rank,
    Ratio,
    Term,
    Terms,
    Trend,
    difference,
    gap,
    growth,
    lift,
    published,
    rank,
    ratio,
    sex_gap,
    trend,
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
    rows = published(Published({"s": "tp60"}, {("_T", "RF_Y_LT30"): {"s": "young"}}, "nb_pers"), read)
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
    rows = ratio(Ratio({WHOLE: Terms([Term("chom")], [Term("act")])}, ["s"]), read).sort("territory_id")
    assert rows["value"].to_list() == [25.0, None, None]
    assert rows["reason"].to_list() == [None, "secret", "sans_objet"]
    assert rows["obs_status"].to_list() == ["A", "Q", "M"]
    assert rows["weight"].to_list() == [40.0, 40.0, 0.0]


def test_ratio_terms_may_lie_in_an_earlier_year() -> None:
    read = variables(row("COM-1", "births", 60.0), row("COM-1", "pop", 110.0), row("COM-1", "pop", 90.0, year=2013))
    terms = Terms([Term("births")], [Term("pop", 2.5), Term("pop", 2.5, 5)])
    rows = ratio(Ratio({WHOLE: terms}, ["s"], scale=1000), read)
    assert rows.select("year", "value").rows() == [(2018, pytest.approx(1000 * 60 / (5 * 100)))]


def observations(*rows: tuple[str, int, float | None]) -> pl.DataFrame:
    read = variables(*[row(t, "x", v, year=y) for t, y, v in rows])
    return published(Published({"s": "x"}), read)


@pytest.mark.parametrize("scope", ["x", "s"])
def test_growth_never_crosses_a_series_break(scope: str) -> None:
    base = observations(("COM-1", 2013, 100.0), ("COM-1", 2018, 110.0), ("COM-1", 2023, 121.0))
    rows = growth(Growth("x"), base, [(scope, 2015), ("another", 2020)]).sort("year")
    assert rows["value"].to_list() == [None, pytest.approx(1.924487649)]
    assert rows["reason"].to_list() == ["rupture", None]
    assert growth(Growth("x"), base)["value"].null_count() == 0, "without the register nothing stops it"


def test_growth_is_annual_and_null_when_the_earlier_figure_is() -> None:
    base = observations(("COM-1", 2013, 100.0), ("COM-1", 2018, 110.0), ("COM-2", 2013, None), ("COM-2", 2018, 5.0))
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


# --- groups, rounded counts, denominators from elsewhere, differences


def values(rows: pl.DataFrame, *columns: str) -> list[tuple]:
    text = rows.with_columns(pl.col(pl.Categorical).cast(pl.String))
    return sorted(text.select(columns).rows(), key=str)


def test_a_ratio_has_a_row_for_women_men_and_each_age() -> None:
    read = variables(
        *(row("COM-1", v, n) for v, n in {"a": 40.0, "b": 100.0, "a_f": 30.0, "b_f": 50.0, "a_m": 10.0}.items()),
        row("COM-1", "b_m", 50.0),
    )
    groups = {("_T", "_T"): "", ("F", "_T"): "_f", ("M", "_T"): "_m"}
    spec = Ratio({g: Terms([Term(f"a{s}")], [Term(f"b{s}")]) for g, s in groups.items()}, ["s"])
    assert values(ratio(spec, read), "sex", "value") == [("F", 60.0), ("M", 20.0), ("_T", 40.0)]
    gap_rows = sex_gap(ratio(spec, read))
    assert values(gap_rows, "sex", "value", "obs_status", "reason") == [("_T", -40.0, "A", None)]


def test_a_ratio_that_a_source_prints_stands_where_no_count_gives_it() -> None:
    read = variables(
        row("COM-1", "a", 30.0),
        row("COM-1", "b", 100.0),
        row("COM-1", "rate", 31.0, source_id="printed", source_ids="printed/2018"),
        row("COM-2", "rate", 40.0, source_id="printed", source_ids="printed/2018", lower=39.95, upper=40.05),
        row("COM-3", "rate", None, source_id="printed", source_ids="printed/2018", obs_status="O", reason="secret"),
        row("COM-4", "rate", 50.0, source_id="another", source_ids="another/2018"),
    )
    spec = Ratio({WHOLE: Terms([Term("a")], [Term("b")])}, ["s"], published={"printed": "rate"})
    rows = ratio(spec, read)
    assert values(rows, "territory_id", "value", "lower", "weight", "source_ids", "reason") == [
        ("COM-1", 30.0, None, 100.0, "s/2018", None),
        ("COM-2", 40.0, 39.95, None, "printed/2018", None),
        ("COM-3", None, None, None, "printed/2018", "secret"),
    ]
    alone = variables(row("COM-2", "rate", 40.0, source_id="printed", source_ids="printed/2018"))
    assert values(ratio(spec, alone), "territory_id", "value") == [("COM-2", 40.0)], "no count at all"
    assert rows.schema == ratio(spec, alone).schema


def test_of_two_editions_that_give_the_same_year_the_latest_geography_wins() -> None:
    """RP 2013 stands in the files of the censuses of 2018 and of 2019."""
    old = [row("COM-1", "pop", 100.0, source_ids="s/2018", cog_year=2021)]
    new = [row("COM-1", "pop", 101.0, source_ids="s/2019", cog_year=2022)]
    for rows in (old + new, new + old):
        found = published(Published({"s": "pop"}), variables(*rows))
        assert found.select("value", "source_ids").rows() == [(101.0, "s/2019")]


def test_a_numerator_below_200_is_flagged_and_one_below_the_minimum_gives_no_ratio() -> None:
    read = variables(
        row("COM-1", "a", 199.0),
        row("COM-2", "a", 200.0),
        row("COM-3", "a", 9.0),
        *(row(f"COM-{i}", "b", 400.0) for i in (1, 2, 3)),
    )
    terms = {WHOLE: Terms([Term("a")], [Term("b")])}
    flagged = ratio(Ratio(terms, ["s"], fragile=200.0), read)
    assert values(flagged, "territory_id", "value", "obs_status") == [
        ("COM-1", 49.75, "U"),
        ("COM-2", 50.0, "A"),
        ("COM-3", 2.25, "U"),
    ]
    refused = ratio(Ratio(terms, ["s"], minimum=10.0), read).filter(pl.col("territory_id") == "COM-3")
    assert values(refused, "value", "obs_status", "conf_status", "reason", "lower") == [
        (None, "N", "F", "effectif_faible", None)
    ]
    assert ratio(Ratio(terms, ["s"]), read)["obs_status"].unique().to_list() == ["A"], "no rule, no flag"


def test_a_denominator_below_the_base_gives_no_ratio() -> None:
    read = variables(
        *(row("COM-1", v, n) for v, n in {"a": 2.0, "b": 10.0}.items()),
        *(row("COM-2", v, n) for v, n in {"a": 2.0, "b": 11.0}.items()),
    )
    rows = ratio(Ratio({WHOLE: Terms([Term("a")], [Term("b")])}, ["s"], base=11.0), read)
    assert values(rows, "territory_id", "reason") == [("COM-1", "effectif_faible"), ("COM-2", None)]


def test_a_producer_may_give_women_and_men_only() -> None:
    read = variables(row("DEP-91", "ev_f", 86.0), row("DEP-91", "ev_m", 81.0))
    groups = {("F", "_T"): {"s": "ev_f"}, ("M", "_T"): {"s": "ev_m"}}
    assert values(published(Published({"s": "ev"}, groups, whole=False), read), "sex", "value") == [
        ("F", 86.0),
        ("M", 81.0),
    ]
    assert published(Published({"s": "ev"}, groups), read).height == 0, "under an unknown total, nothing"


def test_a_balance_may_be_negative() -> None:
    read = variables(row("COM-1", "births", 5.0), row("COM-1", "deaths", 9.0), row("COM-1", "pop", 1000.0))
    terms = {WHOLE: Terms([Term("births"), Term("deaths", -1.0)], [Term("pop")])}
    assert values(ratio(Ratio(terms, ["s"], scale=1000.0), read), "value", "obs_status") == [(-4.0, "A")]


def test_a_rounded_count_leaves_the_ratio_between_bounds() -> None:
    read = variables(
        row("COM-1", "a", 30.0, lower=28.0, upper=32.0),
        row("COM-1", "b", 100.0, lower=98.0, upper=102.0),
        row("COM-2", "a", None, lower=20.0, obs_status="Q", conf_status="A", reason="borne"),
        row("COM-2", "b", 100.0),
    )
    rows = ratio(Ratio({WHOLE: Terms([Term("a")], [Term("b")])}, ["s"]), read)
    assert values(rows, "territory_id", "value", "lower", "upper", "interval_kind", "reason") == [
        ("COM-1", 30.0, 100 * 28 / 102, 100 * 32 / 98, "bound", None),
        ("COM-2", None, 20.0, None, "bound", "borne"),
    ]


def test_a_denominator_from_elsewhere_is_that_of_the_nearest_year() -> None:
    read = variables(
        row("COM-1", "rsa", 30.0, year=2020, source_id="caf", source_ids="caf/2020"),
        row("COM-1", "rsa", 30.0, year=2023, source_id="caf", source_ids="caf/2023"),
        row("COM-1", "pop", 100.0, year=2018, source_id="rp", source_ids="rp/2018"),
        row("COM-1", "pop", 200.0, year=2019, source_id="rp", source_ids="rp/2019"),
    )
    spec = Ratio({WHOLE: Terms([Term("rsa")], [Term("pop")])}, ["caf"], ["rp"])
    assert values(ratio(spec, read), "year", "value", "source_ids") == [(2020, 15.0, "caf/2020;rp/2019")]


def test_a_difference_keeps_the_reason_of_what_is_missing() -> None:
    read = variables(
        row("QPV-1", "all", 44.6),
        row("QPV-1", "foreign", 39.7),
        row("QPV-2", "all", 40.0),
        row("QPV-2", "foreign", None, obs_status="Q", conf_status="A", reason="secret"),
    )
    rows = difference(Difference({"s": "all"}, {"s": "foreign"}), read)
    assert values(rows, "territory_id", "value", "obs_status", "reason") == [
        ("QPV-1", pytest.approx(4.9), "A", None),
        ("QPV-2", None, "Q", "secret"),
    ]


def test_a_figure_of_districts_is_lifted_to_their_commune_when_they_agree() -> None:
    base = observations(
        *(("QPV-1", 2018, 40.0), ("QPV-2", 2018, 40.0), ("QPV-3", 2018, 10.0), ("QPV-4", 2018, 11.0)),
        *(("QPV-5", 2018, 20.0), ("QPV-6", 2018, 25.0), ("QPV-7", 2018, 30.0)),
    )
    parents = pl.DataFrame(
        [
            ("QPV-1", "COM-1", "COM"),
            ("QPV-2", "COM-1", "COM"),
            ("QPV-3", "COM-2", "COM"),
            ("QPV-4", "COM-2", "COM"),
            ("QPV-1", "EPCI-1", "EPCI"),
            # in an arrondissement; in two of the same city; astride two communes
            ("QPV-5", "ARM-1", "ARM"),
            ("QPV-5", "COM-3", "COM"),
            ("QPV-6", "COM-3", "COM"),
            ("ARM-1", "COM-3", "COM"),
            ("QPV-7", "EPCI-1", "EPCI"),
        ],
        schema=["territory_id", "reference", "reference_level"],
        orient="row",
    )
    assert values(lift(base, parents), "territory_id", "value") == [("ARM-1", 20.0), ("COM-1", 40.0)]


def test_a_gap_may_be_to_another_indicator() -> None:
    district = observations(("QPV-1", 2018, 45.0))
    commune = observations(("COM-1", 2018, 30.0), ("QPV-1", 2018, 1.0))
    parents = pl.DataFrame({"territory_id": ["QPV-1"], "reference": ["COM-1"], "reference_level": ["COM"]})
    rows = gap(Gap("x", "points", ("COM",), "y"), district, parents, commune)
    assert values(rows, "territory_id", "reference", "value") == [("QPV-1", "COM-1", 15.0)]


def test_a_group_is_listed_only_where_its_total_is_known() -> None:
    read = variables(
        row("COM-1", "tp60", 44.0),
        row("COM-1", "young", None, obs_status="Q", conf_status="A", reason="secret"),
        row("COM-2", "tp60", None, obs_status="Q", conf_status="A", reason="secret"),
        row("COM-2", "young", None, obs_status="Q", conf_status="A", reason="secret"),
    )
    rows = published(Published({"s": "tp60"}, {("_T", "RF_Y_LT30"): {"s": "young"}}), read)
    assert values(rows, "territory_id", "age") == [("COM-1", "RF_Y_LT30"), ("COM-1", "_T"), ("COM-2", "_T")]


def test_a_trend_is_the_median_slope_of_the_last_unbroken_segment() -> None:
    gaps = observations(
        *(("COM-1", y, v) for y, v in zip(range(2014, 2021), [30, 31, 33, 33, 35, 36, 90], strict=True))
    )
    rows = trend(Trend("x"), gaps)
    assert values(rows, "territory_id", "year", "value", "obs_status") == [("COM-1", 2020, pytest.approx(4 / 3), "E")]
    low, high = rows.select("lower", "upper").row(0)
    assert low < 4 / 3 < high
    assert trend(Trend("x"), gaps, [("x", 2017)]).height == 0, "four years after the break are too few"
    assert trend(Trend("x"), gaps, [("elsewhere", 2017)]).height == 1
