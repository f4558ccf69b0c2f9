"""Reconciliations: each is seen failing on data that must fail it, and tolerances follow from roundings."""

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations import adapter, editions
from expectations.editions import Known, Rule, lines, reconcile_edition
from expectations.reconciliation import (
    BETWEEN_TABLES,
    COVERAGE_LOSS,
    KnownKeys,
    derived_checks,
    known_keys,
    reconcile_release,
    stale_exceptions,
)
from expectations.results import Run
from sources.schema import VALUES
from warehouse.catalogue import load_catalogue
from warehouse.comparable import load_profile
from warehouse.models import TABLES

RUN = Run("essai", datetime(2026, 1, 2, tzinfo=UTC))
Tables = dict[str, pl.DataFrame]

# --- one edition against its own higher levels


def figures(*rows: tuple[object, ...]) -> pl.DataFrame:
    """(level, code, variable, value[, lower, upper]) of 2018 as a core frame."""
    full = [
        (
            r[0],
            r[1],
            2018,
            r[2],
            r[3],
            *(r[4:6] if len(r) > 4 else (None, None)),
            "A" if r[3] is not None else "Q",
            "F",
            None,
            None,
        )
        for r in rows
    ]
    return pl.DataFrame(full, schema=VALUES, orient="row")


MEMBERS = pl.DataFrame(
    [("DEP", "01", "01001"), ("DEP", "01", "01002"), ("REG", "84", "01001"), ("REG", "84", "01002")],
    schema=["level", "code", "commune"],
    orient="row",
)


def communes(variable: str, first: float | None, second: float | None, published: float) -> pl.DataFrame:
    return figures(
        ("COM", "01001", variable, first),
        ("COM", "01002", variable, second),
        ("DEP", "01", variable, published),
    )


def judged(values: pl.DataFrame, rules: dict[str, Rule], variable: str | None = None) -> dict[str, object]:
    """The only comparison of a variable."""
    details = reconcile_edition(values, MEMBERS, rules)
    found = details.filter((pl.col("variable") == (variable or next(iter(rules)))) & (pl.col("level") == "DEP"))
    assert found.height == 1
    return found.row(0, named=True)


def test_a_sum_is_exact_when_nothing_is_rounded() -> None:
    rules = {"pop": Rule("sum")}
    assert judged(communes("pop", 10, 20, 30), rules)["inside"]
    row = judged(communes("pop", 10, 20, 31), rules)
    assert not row["inside"]
    assert (row["rebuilt"], row["lower"], row["upper"], row["compared"]) == (30, 30, 30, True)


@pytest.mark.parametrize(("published", "inside"), [(28.5, False), (29, True), (31, True), (32, False)])
def test_a_sum_of_rounded_members_may_differ_by_their_roundings(published: float, inside: bool) -> None:
    # two members rounded to 1 (0.5 each) and the published figure rounded to 1 when whole
    rules = {"pop": Rule("sum", steps={"*": (1.0,)})}
    assert judged(communes("pop", 10, 20, published), rules)["inside"] is inside


@pytest.mark.parametrize(("published", "inside"), [(9, False), (10, True), (59, True), (60, False)])
def test_a_masked_member_holds_at_most_what_the_threshold_allows(published: float, inside: bool) -> None:
    row = judged(communes("nb_men", 10, None, published), {"nb_men": Rule("sum", unknown_most=49)})
    assert row["inside"] is inside
    assert not row["compared"]


RATE = {"tp60": Rule("weighted", "nb_pers", {"COM": (1.0,), "*": (0.1,)}), "nb_pers": Rule("sum")}


def rates(first: float | None, second: float | None, published: float, weights=(300.0, 100.0)) -> pl.DataFrame:
    counts = communes("nb_pers", *weights, sum(w for w in weights if w))
    return pl.concat([communes("tp60", first, second, published), counts])


@pytest.mark.parametrize(("published", "inside"), [(11.9, False), (12.0, True), (13.0, True), (13.1, False)])
def test_a_rate_is_the_weighted_mean_within_the_rounding_of_the_members(published: float, inside: bool) -> None:
    row = judged(rates(10, 20, published), RATE, "tp60")  # (300 x 10 + 100 x 20) / 400 = 12.5, 0.5 + 0.05 allowed
    assert row["inside"] is inside
    assert row["rebuilt"] == pytest.approx(12.5)
    assert row["compared"]


def test_below_99_percent_known_a_rate_is_only_bounded() -> None:
    row = judged(rates(10, None, 9.0), RATE, "tp60")
    assert not row["compared"]
    assert row["inside"]  # 100 of 400 persons may have any rate: from 7.1 to 32.9
    assert (row["lower"], row["upper"]) == (pytest.approx(7.125), pytest.approx(32.875))
    assert not judged(rates(10, None, 33.0), RATE, "tp60")["inside"]


def test_a_printed_bound_counts_from_zero_to_the_rounded_five() -> None:
    values = pl.concat(
        [
            figures(
                ("COM", "01001", "tp60", None, 0.0, 5.5),
                ("COM", "01002", "tp60", 9.0),
                ("DEP", "01", "tp60", 6.3),
            ),
            communes("nb_pers", 300, 100, 400),
        ]
    )
    row = judged(values, RATE, "tp60")
    assert (row["lower"], row["upper"]) == (pytest.approx(2.125), pytest.approx(6.5))  # 5 printed may be 5.49
    assert row["inside"]


def test_a_member_without_a_weight_takes_what_remains_of_the_published_weight() -> None:
    row = judged(pl.concat([communes("tp60", 10, None, 12.0), communes("nb_pers", 396, None, 400)]), RATE, "tp60")
    assert row["known_share"] == pytest.approx(0.99)
    assert row["compared"]
    assert (row["lower"], row["upper"]) == (pytest.approx(9.405), pytest.approx(11.395))
    assert not row["inside"]


@pytest.mark.parametrize(("published", "inside"), [(17989, False), (17990, True), (22010, True), (22011, False)])
def test_a_median_lies_between_those_of_the_members(published: float, inside: bool) -> None:
    rules = {"med": Rule("range", "nb_pers", {"COM": (10.0,), "*": (10.0, 1.0)}), "nb_pers": Rule("sum")}
    values = pl.concat([communes("med", 18000, 22000, published), communes("nb_pers", 300, 100, 400)])
    row = judged(values, rules, "med")
    # members rounded to 10; 17990 and 22010 are multiples of 10 too, 17989 is rounded to 1
    assert row["inside"] is inside
    assert row["rebuilt"] is None


def test_a_median_is_not_compared_when_too_little_is_known() -> None:
    rules = {"med": Rule("range", "nb_pers"), "nb_pers": Rule("sum")}
    values = pl.concat([communes("med", 18000, None, 30000), communes("nb_pers", 300, 100, 400)])
    row = judged(values, rules, "med")
    assert row["inside"] is None
    assert not row["compared"]


def test_a_ratio_is_checked_against_its_published_parts_at_every_level() -> None:
    rules = {
        "rd": Rule("ratio", parts=("d9", "d1"), steps={"*": (0.1,)}),
        "d9": Rule("range", steps={"*": (10.0,)}),
        "d1": Rule("range", steps={"*": (10.0,)}),
    }
    both = figures(("DEP", "01", "d9", 40000), ("DEP", "01", "d1", 10000))
    assert judged(pl.concat([both, figures(("DEP", "01", "rd", 4.0))]), rules, "rd")["inside"]
    assert not judged(pl.concat([both, figures(("DEP", "01", "rd", 4.1))]), rules, "rd")["inside"]
    exact = rules | {"rd": Rule("ratio", parts=("d9", "d1"))}  # the rounding of its parts alone: 4 ± 0.0025
    assert judged(pl.concat([both, figures(("DEP", "01", "rd", 4.002))]), exact, "rd")["inside"]
    assert not judged(pl.concat([both, figures(("DEP", "01", "rd", 4.003))]), exact, "rd")["inside"]


def test_a_level_is_compared_with_the_level_below_that_covers_it() -> None:
    values = pl.concat([communes("pop", 10, 20, 30), figures(("REG", "84", "pop", 29))])
    details = reconcile_edition(values, MEMBERS, {"pop": Rule("sum")})
    region = details.filter(pl.col("level") == "REG")
    assert region["member_level"].to_list() == ["COM", "DEP"]
    assert region["inside"].to_list() == [False, False]


def test_a_city_is_compared_with_its_arrondissements_when_all_are_there() -> None:
    arms = [("ARM", str(c), "pop", 1.0) for c in range(69381, 69390)]
    values = figures(("COM", "69123", "pop", 10), *arms)
    details = reconcile_edition(values, MEMBERS, {"pop": Rule("sum")})
    assert details.select("code", "rebuilt", "inside").rows() == [("69123", 9.0, False)]
    assert reconcile_edition(values.head(9), MEMBERS, {"pop": Rule("sum")}).is_empty()


def test_levels_that_overlap_are_not_taken_for_members() -> None:
    # the EPCI straddles the département: it does not make it up
    members = pl.concat(
        [MEMBERS, pl.DataFrame({"level": ["EPCI"] * 2, "code": ["1"] * 2, "commune": ["01001", "02001"]})]
    )
    values = pl.concat([communes("pop", 10, 20, 30), figures(("EPCI", "1", "pop", 12), ("COM", "02001", "pop", 2))])
    details = reconcile_edition(values, members, {"pop": Rule("sum")})
    assert details.select("level", "member_level", "inside").rows() == [
        ("DEP", "COM", True),
        ("EPCI", "COM", True),
    ]


def test_a_comparison_is_the_same_to_the_last_decimal_whatever_the_order_of_the_rows() -> None:
    # thirds and sevenths: their sum depends on the order in which they are added
    codes = [f"01{i:03d}" for i in range(400)]
    members = pl.DataFrame({"level": "DEP", "code": "01", "commune": codes})
    weights = [("COM", c, "pop", 10 ** (i % 13) / 7) for i, c in enumerate(codes)]
    rates = [("COM", c, "rate", 100 / (3 + i)) for i, c in enumerate(codes)]
    values = figures(*weights, *rates, ("DEP", "01", "pop", 1000.0), ("DEP", "01", "rate", 2.0))
    rules = {"pop": Rule("sum"), "rate": Rule("weighted", weight="pop")}
    first = reconcile_edition(values, members, rules)
    assert first.height == 2
    for seed in range(5):
        mixed = values.sample(fraction=1, shuffle=True, seed=seed)
        again = reconcile_edition(mixed, members.sample(fraction=1, shuffle=True, seed=seed), rules)
        assert again.equals(first)


@pytest.mark.parametrize("weights", [(None, None, None), (100.0, None, None)])
def test_nothing_is_said_of_a_rate_whose_weights_are_not_known(weights: tuple[float | None, ...]) -> None:
    """15 is a mean of 10 and 20: it must not be accused because nobody says how many people they are."""
    own = [("COM", "01001"), ("COM", "01002"), ("DEP", "01")]
    known = [(*place, "nb_pers", w) for place, w in zip(own, weights, strict=True) if w is not None]
    values = pl.concat([communes("tp60", 10, 20, 15), figures(*known)])
    row = judged(values, RATE, "tp60")
    assert (row["compared"], row["inside"]) == (False, None)


def test_of_members_that_all_have_a_weight_nothing_is_missing() -> None:
    people = figures(*(("COM", code, "nb_pers", 50.0) for code in ("01001", "01002")))
    for published, inside in ((15, True), (12, False)):
        values = pl.concat([communes("tp60", 10, 20, published), people])
        assert judged(values, RATE, "tp60")["inside"] is inside


WRONG = communes("pop", 10, 20, 31)
KNOWN = Known("s", "2018", "DEP", ("pop",), ("01",), "commune oubliée par le producteur")


def test_a_line_counts_what_is_outside_and_names_it() -> None:
    found, stale = lines(reconcile_edition(WRONG, MEMBERS, {"pop": Rule("sum")}), "s", "2018")
    row = found.row(0, named=True)
    assert (row["status"], row["outside"], row["sample"]) == ("outside", 1, "01")
    assert (row["territories"], row["compared"]) == (1, 1)
    assert (row["max_abs_difference"], row["tolerance"]) == (1, 0)
    assert stale == []


def test_a_declared_exception_is_told_and_fails_once_it_no_longer_occurs() -> None:
    found, stale = lines(reconcile_edition(WRONG, MEMBERS, {"pop": Rule("sum")}), "s", "2018", [KNOWN])
    row = found.row(0, named=True)
    assert (row["status"], row["outside"], stale) == ("ok", 0, [])
    assert "commune oubliée" in row["cause_fr"]
    right = reconcile_edition(communes("pop", 10, 20, 30), MEMBERS, {"pop": Rule("sum")})
    _, stale = lines(right, "s", "2018", [KNOWN])
    assert stale == ["s/2018 pop DEP-01"]
    check = stale_exceptions(stale, RUN)
    assert not check.passed
    assert check.sample == "s/2018 pop DEP-01"
    assert stale_exceptions([], RUN).passed


def test_an_exception_covers_only_its_own_figures() -> None:
    other = Known("s", "2018", "DEP", ("pop",), ("02",), "autre")
    found, stale = lines(reconcile_edition(WRONG, MEMBERS, {"pop": Rule("sum")}), "s", "2018", [other])
    assert found["status"].to_list() == ["outside"]
    assert stale == ["s/2018 pop DEP-02"]
    assert lines(reconcile_edition(WRONG, MEMBERS, {"pop": Rule("sum")}), "s", "2019", [other])[1] == []


def test_an_exception_on_figures_that_are_not_compared_is_not_stale() -> None:
    alone = reconcile_edition(figures(("COM", "01001", "pop", 10)), MEMBERS, {"pop": Rule("sum")})
    assert lines(alone, "s", "2018", [KNOWN])[1] == []


def test_variables_of_an_indicator_share_a_row_of_the_published_table() -> None:
    values = pl.concat([communes("a", 10, 20, 30), communes("b", 10, 20, 33)])
    found, _ = lines(reconcile_edition(values, MEMBERS, {"a": Rule("sum"), "b": Rule("sum")}), "s", "2018")
    table = editions.published_table(found, {("s", "a"): "dem_pop", ("s", "b"): "dem_pop"})
    assert table.columns == TABLES["reconciliation"].names
    assert table.select("status", "outside", "max_abs_difference").rows() == [("outside", 1, 3.0)]


def test_a_variable_without_a_higher_level_is_listed_as_such() -> None:
    values = figures(("COM", "01001", "pop", 10))
    details = reconcile_edition(values, MEMBERS, {"pop": Rule("sum")})
    found, _ = lines(details, "s", "2018")
    listed = editions.without_higher_level(values, found, {"pop"}, "s", "2018")
    assert listed.select("status", "territories").rows() == [("sans_objet", 0)]
    assert editions.without_higher_level(values, listed, {"pop"}, "s", "2018").is_empty()


def test_a_companion_edition_brings_the_levels_that_an_edition_lacks() -> None:
    own = figures(("COM", "01001", "tp60", 10), ("COM", "01002", "tp60", 20))
    other = figures(("DEP", "01", "tp60", 12.0), ("COM", "01001", "tp60", 99), ("DEP", "01", "autre", 1))
    asked: list[tuple[str, str]] = []

    def load(source: str, edition: str) -> pl.DataFrame:
        asked.append((source, edition))
        return other

    whole = editions.comparable(own, "insee_filosofi_cc", "2020", load)
    assert asked == [("insee_filosofi_distribution", "2020")]
    assert whole.select("level", "code", "variable").rows()[2:] == [("DEP", "01", "tp60")]
    assert editions.comparable(own, "insee_filosofi_cc", "2020", lambda *_: None).height == 2
    assert editions.comparable(own, "insee_filosofi_cc", "2014", load).height == 2


def test_zones_d_emploi_are_not_compared() -> None:
    values = figures(("COM", "01001", "pop", 10), ("ZE", "8401", "pop", 20))
    members = pl.DataFrame({"level": ["ZE"], "code": ["8401"], "commune": ["01001"]})
    assert reconcile_edition(values, members, {"pop": Rule("sum")}).is_empty()


def test_the_document_has_a_line_for_each_and_tells_the_exceptions() -> None:
    found, _ = lines(reconcile_edition(WRONG, MEMBERS, {"pop": Rule("sum")}), "s", "2018", [KNOWN])
    text = editions.render_table(found)
    assert "| pop | DEP | s | 2018 | 2018 | 1 | 1 | 1 | 0 | 0 | ok |" in text
    assert "commune oubliée par le producteur" in text
    assert text.startswith("# ")


@given(
    cells=st.lists(st.tuples(st.integers(1, 5000), st.floats(0, 100, allow_nan=False)), min_size=1, max_size=12),
    masked=st.data(),
)
def test_true_figures_rounded_and_masked_are_never_found_wrong(cells, masked) -> None:
    """Whatever the truth, publishing it rounded and masking any member leaves the published rate inside."""
    truth = sum(w * p for w, p in cells) / sum(w for w, _ in cells)
    shown = [None if masked.draw(st.booleans()) else float(round(p)) for _, p in cells]
    codes = [f"01{i:03d}" for i in range(len(cells))]
    members = pl.DataFrame({"level": ["DEP"] * len(cells), "code": ["01"] * len(cells), "commune": codes})
    values = figures(
        *(("COM", c, "tp60", v) for c, v in zip(codes, shown, strict=True)),
        *(("COM", c, "nb_pers", float(w)) for c, (w, _) in zip(codes, cells, strict=True)),
        ("DEP", "01", "tp60", round(truth, 1)),
        ("DEP", "01", "nb_pers", float(sum(w for w, _ in cells))),
    )
    details = reconcile_edition(values, members, RATE)
    assert details.filter(~pl.col("inside")).is_empty()


def test_declared_rules_are_read_and_every_exception_names_a_rule() -> None:
    rules = editions.declared_rules("insee_filosofi_cc", "2019-geo2022")
    assert rules["tp60"].kind == "weighted"
    assert rules["med"].steps == {"*": (10,)}
    assert editions.declared_rules("insee_filosofi_cc", "2014")["med"].steps == {}
    for known in editions.declared_exceptions():
        declared = editions.declared_rules(known.source_id, known.edition)
        assert set(known.variables) <= set(declared), known
        assert known.cause_fr


# --- the tables of a release

CATALOGUE = load_catalogue()


def observation(indicator: str, territory: str, year: int, value: float | None, **other: object) -> dict[str, object]:
    masked = value is None
    return {
        "indicator_id": indicator,
        "territory_id": territory,
        "year": year,
        "sex": "_T",
        "age": "_T",
        "reference": "_Z",
        "value": value,
        "obs_status": "Q" if masked else "A",
        "conf_status": "A" if masked else "F",
        "source_ids": "insee_comparateur/2018",
        "release_added": "r1",
        **other,
    }


ARMS = [f"ARM-{c}" for c in range(69381, 69384)]
IRIS = ["IRIS-690010101", "IRIS-690010102"]
QPV = "QPV-QP069001"
FILOSOFI = {"source_ids": "insee_filosofi_cc/2018"}


def release() -> Tables:
    """A small release in which everything holds: a département of two communes, one with arrondissements, the other
    with IRIS and a QPV."""
    ids = ["COM-69001", "COM-69123", "DEP-69", "REG-84", "EPCI-200046977", "METRO-FM", *ARMS, *IRIS, QPV]
    population = [100, 300, 400, 400, 400, 400, 100, 100, 100, None, None, None]
    territory = pl.DataFrame(
        {
            "territory_id": ids,
            "level": [i.split("-")[0] for i in ids],
            "code": [i.split("-")[1] for i in ids],
            "name": ids,
            "cog_year": [2025] * 12,
            "population": population,
            "population_year": [2021] * 12,
        }
    )
    tops = ["DEP-69", "REG-84", "EPCI-200046977", "METRO-FM"]
    pairs = [(p, c) for p in tops for c in ("COM-69001", "COM-69123")]
    pairs += [("COM-69123", a) for a in ARMS] + [("COM-69001", i) for i in (*IRIS, QPV)]
    member = pl.DataFrame(pairs, schema=["parent_id", "child_id"], orient="row").with_columns(
        cog_year=pl.lit(2025), share=pl.lit(1.0)
    )
    counts = {t: n for t, n in zip(ids, population, strict=True) if n is not None}
    rows = [observation("dem_pop", t, y, float(n + y - 2016)) for t, n in counts.items() for y in (2016,)]
    rows += [observation("dem_pop", t, 2021, float(n)) for t, n in counts.items()]
    rows += [
        observation("rev_tp60", "COM-69001", 2018, 30.0),
        observation("rev_tp60", "COM-69123", 2018, 15.0),
        observation("rev_tp60", "DEP-69", 2018, 18.8),
        observation("rev_med", "COM-69001", 2018, 15000.0, **FILOSOFI),
        observation("rev_med", IRIS[0], 2018, 14000.0, **FILOSOFI),
        observation("rev_med", IRIS[1], 2018, 15990.0, **FILOSOFI),
        observation("rev_med", "DEP-69", 2018, 20000.0),
        observation("rev_tp60_ecart", "COM-69001", 2018, 30.0 - 18.8, reference="DEP-69"),
        observation("qpv_tp60", QPV, 2018, 45.0),
        observation("qpv_ecart", QPV, 2018, 15.0, reference="COM-69001"),
        observation("rev_med_rapport", "COM-69001", 2018, 75.0, reference="DEP-69"),
        observation("rev_tp60_rang", "COM-69001", 2018, 1.0, reference="COM_METRO", weight=2.0),
        observation("rev_tp60_rang", "COM-69123", 2018, 2.0, reference="COM_METRO", weight=2.0),
        observation("dem_pop_evol", "COM-69001", 2021, 0.0),
        observation("cmp_idh2", "COM-69001", 2018, 0.5),
        observation("caf_rsa", "COM-69001", 2018, None, lower=10.0),
        observation("caf_rsa", "COM-69123", 2018, None, lower=5.0),
        observation("caf_rsa", "DEP-69", 2018, None, lower=15.0),
    ]
    frame = pl.DataFrame(rows, schema=TABLES["observation"].schema())
    indicators = pl.DataFrame({"indicator_id": sorted(frame["indicator_id"].unique())}).with_columns(
        aggregation=pl.when(pl.col("indicator_id").is_in(["dem_pop", "caf_rsa"]))
        .then(pl.lit("sum"))
        .otherwise(pl.lit("none")),
        unit=pl.when(pl.col("indicator_id") == "rev_med").then(pl.lit("€ par UC et an")).otherwise(pl.lit("")),
    )
    coverage = pl.DataFrame(
        {
            "indicator_id": ["rev_tp60", "rev_tp60"],
            "level": ["COM", "EPCI"],
            "year": [2018, 2018],
            "published": [1000, 1],
            "reason_fr": pl.Series([None, None], dtype=pl.String),
        }
    )
    near = pl.DataFrame(
        [("COM-69001", 1, "COM-69123", 1.0, "", ""), ("COM-69123", 1, "COM-69001", 1.0, "", "")],
        schema=TABLES["comparable_territory"].schema(),
        orient="row",
    )
    profile = pl.DataFrame({"indicator_id": [v.indicator for v in load_profile().variables]}).with_columns(year=2018)
    sources = pl.DataFrame({"source_id": ["insee_comparateur", "insee_filosofi_cc"], "edition": ["2018"] * 2})
    return {
        "territory": territory,
        "territory_member": member,
        "observation": frame,
        "indicator": indicators,
        "coverage": coverage,
        "previous_coverage": coverage,
        "source_file": sources,
        "comparable_territory": near,
        "comparable_profile": profile,
        "composite_component": pl.DataFrame(
            {
                "index_id": ["cmp_idh2"] * 3,
                "territory_id": ["COM-69001"] * 3,
                "year": [2018] * 3,
                "indicator_id": ["rev_med", "rev_tp60", "edu_sans_dipl"],
                "contribution": [0.3, 0.2, None],
            }
        ),
    }


def check(tables: Tables, known: tuple[KnownKeys, ...] = ()):
    with adapter.connect() as con:
        for name, frame in tables.items():
            con.register(f"t_{name}", frame)
        relations = {name: f"t_{name}" for name in tables if name != "previous_coverage"}
        previous = "t_previous_coverage" if "previous_coverage" in tables else None
        return reconcile_release(con, relations, CATALOGUE, RUN, previous_coverage=previous, known=known)


def change(table: str, change_frame: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Tables], Tables]:
    return lambda tables: {**tables, table: change_frame(tables[table])}


def add(*rows: dict[str, object]) -> Callable[[Tables], Tables]:
    return change("observation", lambda f: pl.concat([f, pl.DataFrame(list(rows), schema=f.schema)]))


def set_where(table: str, column: str, value: object, **where: object) -> Callable[[Tables], Tables]:
    chosen = pl.all_horizontal([pl.col(c) == v for c, v in where.items()])
    return change(
        table,
        lambda f: f.with_columns(pl.when(chosen).then(pl.lit(value, f.schema[column])).otherwise(column).alias(column)),
    )


def add_member(parent: str, child: str) -> Callable[[Tables], Tables]:
    row = pl.DataFrame({"parent_id": [parent], "child_id": [child], "cog_year": [2025], "share": [1.0]})
    return change("territory_member", lambda f: pl.concat([f, row.cast(dict(f.schema))]))


OBS = "observation"
SPOILED: dict[str, tuple[Callable[[Tables], Tables], set[str]]] = {
    "members_exist": (add_member("REG-84", "DEP-99"), set()),
    "epci_members_in_cog": (
        # the COG of the composition is not the one of the communes
        set_where("territory_member", "cog_year", 2024, parent_id="EPCI-200046977", child_id="COM-69001"),
        set(),
    ),
    "one_parent_a_level": (
        lambda t: add_member("REG-11", "COM-69001")(
            change("territory", lambda f: pl.concat([f, f.tail(1).with_columns(territory_id=pl.lit("REG-11"))]))(t)
        ),
        set(),
    ),
    "comparables_exist": (
        set_where("comparable_territory", "comparable_id", "ARM-69381", territory_id="COM-69001"),
        set(),
    ),
    "communes_have_comparables": (
        change("comparable_territory", lambda f: f.filter(pl.col("territory_id") != "COM-69001")),
        set(),
    ),
    "contributions_add_up": (set_where("composite_component", "contribution", 0.31, indicator_id="rev_med"), set()),
    "comparable_profile_whole": (
        change("comparable_profile", lambda f: f.filter(pl.col("indicator_id") != "log_surocc")),
        set(),
    ),
    "population_sums": (set_where("territory", "population", 402, territory_id="DEP-69"), set()),
    "observed_territories_exist": (
        add(observation("rev_med", "COM-99999", 2018, 1.0)),
        {"communes_have_comparables"},  # neither does it have comparables
    ),
    "observed_indicators_in_catalogue": (add(observation("rev_nouveau", "COM-69001", 2018, 1.0)), set()),
    "catalogue_observed": (
        change(
            "indicator",
            lambda f: pl.concat([f, f.tail(1).with_columns(indicator_id=pl.lit("log_prop"))]),
        ),
        set(),
    ),
    "observed_sources_listed": (
        set_where(OBS, "source_ids", "insee_comparateur/2018;autre/2018", indicator_id="rev_med"),
        set(),
    ),
    "no_filosofi_for_france": (
        lambda t: change(
            "territory", lambda f: pl.concat([f, f.head(1).with_columns(territory_id=pl.lit("FRANCE-F"))])
        )(
            add(observation("rev_med", "FRANCE-F", 2018, 1.0, **FILOSOFI))(t)
        ),
        {"one_parent_a_level"},  # the row made for France is a copy of a commune
    ),
    "ranks_have_no_bound": (
        set_where(OBS, "upper", 3.0, indicator_id="rev_tp60_rang", territory_id="COM-69001"),
        set(),
    ),
    "additive_indicators_sum": (set_where(OBS, "value", 402.0, territory_id="REG-84", year=2021), set()),
    "cities_sum_their_arrondissements": (
        set_where(OBS, "value", 101.0, territory_id=ARMS[0], year=2021),
        set(),
    ),
    "iris_surround_their_commune": (set_where(OBS, "value", 14980.0, territory_id=IRIS[1]), set()),
    "gaps_of_published_values": (
        # the commune's rate becomes a bound, and its gap stays
        lambda t: set_where(OBS, "value", None, indicator_id="rev_med", territory_id="COM-69001")(t),
        set(),
    ),
    "ranks_of_published_values": (
        set_where(OBS, "value", 2.0, indicator_id="rev_tp60_rang", territory_id="COM-69001"),
        set(),
    ),
    "evolutions_of_published_values": (
        set_where(OBS, "value", 0.1, indicator_id="dem_pop_evol", territory_id="COM-69001"),
        set(),
    ),
    "coverage_not_lost": (set_where("coverage", "published", 980, level="COM"), set()),
}
CHECKS = [c.name for c in (*BETWEEN_TABLES, *derived_checks(CATALOGUE), COVERAGE_LOSS)]


def failing(tables: Tables, known: tuple[KnownKeys, ...] = ()):
    return {r.check_id.split(".")[1]: r for r in check(tables, known) if not r.passed}


def test_a_release_in_which_everything_holds_passes() -> None:
    assert [r.message() for r in failing(release()).values()] == []


def test_every_check_has_data_that_fail_it() -> None:
    assert sorted(SPOILED) == sorted(CHECKS)


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_fails_on_data_that_must_fail_it_and_only_it(name: str) -> None:
    spoil, also = SPOILED[name]
    found = failing(spoil(release()))
    assert set(found) == {name} | also
    assert found[name].computed
    assert found[name].sample


GAPS, RANKS, GROWN = (f"{k}_of_published_values" for k in ("gaps", "ranks", "evolutions"))


def put(value: float | None, indicator: str, territory: str, **where: object) -> Callable[[Tables], Tables]:
    return set_where(OBS, "value", value, indicator_id=indicator, territory_id=territory, **where)


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        (GAPS, put(19.0, "rev_tp60", "DEP-69")),
        (GAPS, put(None, "rev_med", "DEP-69")),
        (GAPS, put(44.0, "qpv_tp60", QPV)),
        (GAPS, put(29.0, "rev_tp60", "COM-69001")),
        ("iris_surround_their_commune", put(15011.0, "rev_med", IRIS[0])),
        (RANKS, put(None, "rev_tp60", "COM-69123")),
        ("ranks_have_no_bound", put(3.0, "rev_tp60_rang", "COM-69123")),
        (GROWN, put(None, "dem_pop", "COM-69001", year=2016)),
        ("additive_indicators_sum", put(99.0, "dem_pop", "COM-69001", year=2021)),
        ("epci_members_in_cog", add_member("EPCI-200046977", "DEP-69")),
        ("one_parent_a_level", add_member("EPCI-200000000", "COM-69001")),
        ("coverage_not_lost", change("coverage", lambda f: f.filter(pl.col("level") != "EPCI"))),
    ],
)
def test_other_ways_to_fail(name: str, spoil: Callable[[Tables], Tables]) -> None:
    assert name in failing(spoil(release()))


def test_a_small_loss_of_coverage_is_allowed_and_a_first_release_has_none() -> None:
    assert "coverage_not_lost" not in failing(set_where("coverage", "published", 990, level="COM")(release()))
    first = {k: v for k, v in release().items() if k != "previous_coverage"}
    assert not any(r.check_id.endswith("coverage_not_lost") for r in check(first))


def test_a_lower_bound_is_no_contradiction() -> None:
    """A département may hold more than the sum of its communes' lower bounds, never less."""
    more = set_where(OBS, "lower", 40.0, indicator_id="caf_rsa", territory_id="DEP-69")(release())
    assert "additive_indicators_sum" not in failing(more)
    less = set_where(OBS, "upper", 14.0, indicator_id="caf_rsa", territory_id="DEP-69")(release())
    assert "additive_indicators_sum" in failing(less)


def test_a_declared_offender_passes_and_a_stale_one_fails() -> None:
    spoiled = SPOILED["cities_sum_their_arrondissements"][0](release())
    key = failing(spoiled)["cities_sum_their_arrondissements"].sample
    known = KnownKeys("cities_sum_their_arrondissements", (key,), "arrondissement inconnu")
    assert failing(spoiled, (known,)) == {}
    told = next(r for r in check(spoiled, (known,)) if r.check_id.endswith("arrondissements"))
    assert "arrondissement inconnu" in told.observed
    stale = failing(release(), (known,))["cities_sum_their_arrondissements"]
    assert "n'existent plus" in stale.observed


def test_a_check_that_cannot_be_computed_is_critical() -> None:
    tables = release()
    broken = {**tables, "coverage": tables["coverage"].drop("published")}
    found = failing(broken)["coverage_not_lost"]
    assert (found.computed, found.severity) == (False, "critical")
    del tables["source_file"]
    assert not failing(tables)["observed_sources_listed"].computed


def test_declared_offenders_name_existing_checks() -> None:
    assert {k.check for k in known_keys()} <= set(CHECKS)
