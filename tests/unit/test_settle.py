"""Figures moved to the reference geography: what is published wins, the rest follows its rule or is null."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.settle import UNKNOWN_WEIGHT, VariableRule, settle
from sources.schema import VALUES

RULES = [
    VariableRule("nb_pers", "sum"),
    VariableRule("tp60", "weighted_mean", "nb_pers", 1.0),
    VariableRule("med", "distribution"),
    VariableRule("pact", "none"),
]
NO_CITIES = pl.DataFrame(schema={"code": pl.String, "arm": pl.String})


def cells(rows: list[tuple]) -> pl.DataFrame:
    """(level, code, variable, value[, obs, lower, upper]) as a core frame of the year 2018."""
    full = [
        (
            r[0],
            r[1],
            2018,
            r[2],
            r[3],
            r[5] if len(r) > 5 else None,
            r[6] if len(r) > 6 else None,
            r[4] if len(r) > 4 else "A",
            "A" if len(r) > 4 and r[4] == "Q" else "F",
            None,
            None,
        )
        for r in rows
    ]
    return pl.DataFrame(full, schema=VALUES, orient="row")


def groups(**members: list[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [(t.replace("_", "-"), c, False) for t, codes in members.items() for c in codes],
        schema={"territory_id": pl.String, "code": pl.String, "partial": pl.Boolean},
        orient="row",
    )


def same(*codes: tuple[str, str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        list(codes), schema={"level": pl.String, "code": pl.String, "territory_id": pl.String}, orient="row"
    )


def one(frame: pl.DataFrame, territory: str, variable: str) -> dict:
    rows = frame.filter((pl.col("territory_id") == territory) & (pl.col("variable") == variable))
    assert rows.height == 1, rows
    return rows.row(0, named=True)


MERGED = groups(COM_90001=["90001", "90002"])


def test_published_figure_of_the_same_territory_is_kept_verbatim() -> None:
    frame = settle(
        cells(
            [
                ("EPCI", "999000001", "tp60", 12.3),
                ("COM", "90001", "tp60", 44.0),
                ("COM", "90001", "nb_pers", 900.0),
            ]
        ),
        same=same(("EPCI", "999000001", "EPCI-999000001"), ("COM", "90001", "COM-90001")),
        groups=groups(COM_90001=["90001"], EPCI_999000001=["90001"]),
        cities=NO_CITIES,
        rules=RULES,
    )
    row = one(frame, "EPCI-999000001", "tp60")
    assert (row["value"], row["grade"], row["aggregated"], row["reason"]) == (12.3, "A", False, None)


def test_a_score_lies_anywhere_and_has_no_bound_from_members_it_lacks() -> None:
    rules = [VariableRule("pop", "sum"), VariableRule("fdep", "weighted_mean", "pop", span=None)]

    def merged(second: float | None) -> dict:
        known = cells(
            [
                *(("COM", "90001", v, n) for v, n in {"pop": 99_900.0, "fdep": -2.0}.items()),
                *(("COM", "90002", v, n) for v, n in {"pop": 100.0, "fdep": second}.items()),
            ]
        )
        return one(settle(known, same=same(), groups=MERGED, cities=NO_CITIES, rules=rules), "COM-90001", "fdep")

    whole = merged(-1.0)
    assert whole["value"] == pytest.approx(-1.999) and whole["lower"] == whole["upper"] == whole["value"]
    lacking = merged(None)
    assert (lacking["value"], lacking["lower"], lacking["upper"], lacking["interval_kind"]) == (-2.0, None, None, None)


def test_a_city_given_by_arrondissement_has_the_weighted_mean_of_all_of_them() -> None:
    rules = [VariableRule("popstd", "sum"), VariableRule("apl", "weighted_mean", "popstd", span=None)]
    cities = pl.DataFrame({"code": ["96001"] * 2, "arm": ["96981", "96982"]})
    rows = [("ARM", "96981", "popstd", 100.0), ("ARM", "96982", "popstd", 300.0), ("ARM", "96981", "apl", 2.0)]
    where = {"same": same(("COM", "96001", "COM-96001")), "groups": groups(COM_96001=["96001"]), "cities": cities}
    whole = settle(cells([*rows, ("ARM", "96982", "apl", 4.0)]), rules=rules, **where)
    assert one(whole, "COM-96001", "apl")["value"] == 3.5
    assert one(whole, "COM-96001", "popstd")["value"] == 400.0
    part = settle(cells(rows), rules=rules, **where)
    assert part.filter(pl.col("variable") == "apl").height == 0, "an arrondissement is missing"


def test_merged_commune_counts_sum_rates_are_weighted_and_medians_stay_null() -> None:
    frame = settle(
        cells(
            [
                ("COM", "90001", "nb_pers", 3000.0),
                ("COM", "90002", "nb_pers", 1000.0),
                ("COM", "90001", "tp60", 20.0),
                ("COM", "90002", "tp60", 40.0),
                ("COM", "90001", "med", 20000.0),
                ("COM", "90002", "med", 15000.0),
                ("COM", "90001", "pact", 70.0),
                ("COM", "90002", "pact", 60.0),
            ]
        ),
        same=same(),
        groups=MERGED,
        cities=NO_CITIES,
        rules=RULES,
    )
    assert one(frame, "COM-90001", "nb_pers")["value"] == 4000
    rate = one(frame, "COM-90001", "tp60")
    assert rate["value"] == 25.0
    assert (rate["lower"], rate["upper"], rate["interval_kind"]) == (24.5, 25.5, "bound")
    median = one(frame, "COM-90001", "med")
    assert (median["value"], median["reason"], median["grade"]) == (None, "mediane_non_sommable", None)
    assert one(frame, "COM-90001", "pact")["reason"] == "perimetre_modifie"


def test_an_edition_without_populations_gives_no_mean() -> None:
    rows = [("COM", "90001", "tp60", 20.0), ("COM", "90002", "tp60", 40.0)]
    for more in ([], [("COM", "90001", "nb_pers", None, "Q"), ("COM", "90002", "nb_pers", None, "Q")]):
        frame = settle(cells([*rows, *more]), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES)
        row = one(frame, "COM-90001", "tp60")
        assert (row["value"], row["lower"], row["reason"]) == (None, None, "couverture_insuffisante")


def test_a_rate_is_null_below_99_percent_of_known_persons() -> None:
    rows = [
        ("COM", "90001", "nb_pers", 980.0),
        ("COM", "90002", "nb_pers", 20.0),
        ("COM", "90001", "tp60", 20.0),
        ("COM", "90002", "tp60", None, "Q"),
    ]
    row = one(
        settle(cells(rows), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES), "COM-90001", "tp60"
    )
    assert (row["value"], row["reason"], row["obs_status"]) == (None, "couverture_insuffisante", "O")
    rows[0] = ("COM", "90001", "nb_pers", 1990.0)
    row = one(
        settle(cells(rows), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES), "COM-90001", "tp60"
    )
    assert row["value"] == 20.0
    assert row["lower"] == pytest.approx((1990 * 19.5 + 20 * 0) / 2010)
    assert row["upper"] == pytest.approx((1990 * 20.5 + 20 * 100) / 2010)


def test_a_commune_with_masked_persons_weighs_as_much_as_the_threshold_allows() -> None:
    rows = [
        ("COM", "90001", "nb_pers", 5000.0),
        ("COM", "90002", "nb_pers", None, "Q"),
        ("COM", "90001", "tp60", 20.0),
        ("COM", "90002", "tp60", None, "Q"),
    ]
    row = one(
        settle(cells(rows), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES), "COM-90001", "tp60"
    )
    assert 5000 / (5000 + UNKNOWN_WEIGHT) < 0.99
    assert row["value"] is None


def test_a_censored_rate_is_never_averaged_as_a_value() -> None:
    rows = [
        ("COM", "90001", "nb_pers", 3000.0),
        ("COM", "90002", "nb_pers", 3000.0),
        ("COM", "90001", "tp60", 21.0),
        ("COM", "90002", "tp60", None, "Q", 0.0, 5.0),
    ]
    row = one(
        settle(cells(rows), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES), "COM-90001", "tp60"
    )
    assert row["value"] is None


def test_a_count_with_a_masked_member_is_not_a_sum_of_the_others() -> None:
    rows = [("COM", "90001", "nb_pers", 3000.0), ("COM", "90002", "nb_pers", None, "Q")]
    row = one(
        settle(cells(rows), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES), "COM-90001", "nb_pers"
    )
    assert (row["value"], row["reason"], row["obs_status"], row["conf_status"]) == (None, "secret", "Q", "A")


def test_a_count_with_an_absent_member_is_null() -> None:
    rows = [("COM", "90001", "nb_pers", 3000.0)]
    row = one(
        settle(cells(rows), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES), "COM-90001", "nb_pers"
    )
    assert (row["value"], row["reason"]) == (None, "couverture_insuffisante")


def test_a_commune_that_a_complete_list_does_not_name_counts_zero() -> None:
    """No school in a commune: the mean over the EPCI is that of the schools of the others."""
    listed = cells([("COM", "90001", "schools", 3.0)])
    for complete, expected in ((True, 3.0), (False, None)):
        rule = VariableRule("schools", "sum", absent_is_zero=complete)
        frame = settle(listed, same=same(), groups=MERGED, cities=NO_CITIES, rules=[rule])
        assert one(frame, "COM-90001", "schools")["value"] == expected


def test_bounds_add_up_as_bounds() -> None:
    rows = [
        ("COM", "90001", "nb_pers", None, "Q", 30.0),
        ("COM", "90002", "nb_pers", None, "Q", 12.0),
    ]
    row = one(
        settle(cells(rows), same=same(), groups=MERGED, cities=NO_CITIES, rules=RULES), "COM-90001", "nb_pers"
    )
    assert (row["value"], row["lower"], row["upper"], row["reason"]) == (None, 42.0, None, "borne")


def test_a_city_known_by_arrondissement_is_their_sum_and_never_counted_twice() -> None:
    cities = pl.DataFrame({"code": ["90001", "90001"], "arm": ["90101", "90102"]})
    rows = [("ARM", "90101", "nb_pers", 10.0), ("ARM", "90102", "nb_pers", 20.0)]
    dep = groups(COM_90001=["90001"], DEP_90=["90001"])
    same_city = same(("COM", "90001", "COM-90001"), ("ARM", "90101", "ARM-90101"))
    frame = settle(cells(rows), same=same_city, groups=dep, cities=cities, rules=RULES)
    assert one(frame, "COM-90001", "nb_pers")["value"] == 30
    assert one(frame, "DEP-90", "nb_pers")["value"] == 30
    with_city = settle(
        cells([*rows, ("COM", "90001", "nb_pers", 31.0)]),
        same=same_city,
        groups=dep,
        cities=cities,
        rules=RULES,
    )
    assert one(with_city, "DEP-90", "nb_pers")["value"] == 31
    partial = settle(cells(rows[:1]), same=same_city, groups=dep, cities=cities, rules=RULES)
    assert partial.filter(pl.col("territory_id") == "COM-90001").height == 0


def test_a_split_commune_gives_no_figure_to_its_parts() -> None:
    part = MERGED.with_columns(partial=pl.lit(True)).filter(pl.col("code") == "90001")
    row = one(
        settle(
            cells([("COM", "90001", "nb_pers", 10.0)]),
            same=same(),
            groups=part,
            cities=NO_CITIES,
            rules=RULES,
        ),
        "COM-90001",
        "nb_pers",
    )
    assert (row["value"], row["reason"]) == (None, "scission_sans_part")


@given(
    st.lists(st.tuples(st.integers(200, 50_000), st.integers(6, 94), st.booleans()), min_size=1, max_size=8)
)
def test_the_true_rate_of_a_union_always_lies_within_its_bounds(members: list[tuple[int, int, bool]]) -> None:
    """Whatever the members' true rates (rounded to the point by the producer), and whichever are masked."""
    rows: list[tuple] = []
    poor = total = 0.0
    for i, (persons, rate, masked) in enumerate(members):
        code = f"90{i:03d}"
        truth = rate + (0.49 if i % 2 else -0.49)
        poor += persons * truth
        total += persons
        rows.append(("COM", code, "nb_pers", float(persons)))
        rows.append(("COM", code, "tp60", None, "Q") if masked else ("COM", code, "tp60", float(rate)))
    union = groups(EPCI_999000001=[f"90{i:03d}" for i in range(len(members))])
    row = one(
        settle(cells(rows), same=same(), groups=union, cities=NO_CITIES, rules=RULES),
        "EPCI-999000001",
        "tp60",
    )
    if row["value"] is not None:
        assert row["lower"] - 1e-9 <= poor / total <= row["upper"] + 1e-9


def test_a_territory_takes_what_is_published_of_its_twin_where_it_has_nothing_of_its_own() -> None:
    values = cells([("DEP", "974", "med", 16530), ("DEP", "974", "tp60", None, "Q"), ("REG", "04", "tp60", 36)])
    pairs = pl.DataFrame({"territory_id": ["DEP-974", "REG-04"], "twin_id": ["REG-04", "DEP-974"]})
    known = same(("DEP", "974", "DEP-974"), ("REG", "04", "REG-04"))
    found = settle(values, same=known, groups=groups(), cities=NO_CITIES, rules=RULES, twins=pairs)
    assert one(found, "REG-04", "med")["value"] == 16530 and one(found, "REG-04", "med")["grade"] == "A"
    assert one(found, "REG-04", "tp60")["value"] == 36
    assert one(found, "DEP-974", "tp60")["reason"] == "secret"
