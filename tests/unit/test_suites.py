"""The contract of the suites: each expectation is seen failing on data that must fail it, and only it.

Most data that fail an expectation follow from what it states (`derived`); the others stand in `EXPLICIT`.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import cache

import polars as pl
import pytest

from expectations import adapter
from expectations.core_suites import core_suites
from expectations.results import Run
from expectations.suites import base_expectations, published_suites
from expectations.vocabulary import Bounds, Expect, Suite, load_bounds
from sources.schema import COMMUNES, COMPOSITION, EVENTS, IRIS, IRIS_CHANGES, QPV, VALUES, ZONES
from warehouse.models import CODELISTS, TABLES, nomenclature_frame

RUN = Run("essai", datetime(2026, 1, 2, tzinfo=UTC))
ROWS = {
    "*": {"COM": (2, 3), "EPCI": (1, 2), "DEP": (1, 2)},
    "dgcl_epci": {"EPCI": (2, 3)},
    "insee_cog_departements": {"DEP": (2, 3)},
    "insee_iris": {"IRIS": (2, 3)},
    "insee_qpv": {"QPV": (1, 2)},
    "territory": {"COM": (1, 3), "DEP": (1, 2)},
}
NATIONAL = load_bounds("national")
BOUNDS = Bounds(NATIONAL.variables, NATIONAL.indicators, ROWS)
Spoiler = Callable[[pl.DataFrame], pl.DataFrame]

# --- frames that satisfy everything -------------------------------------------------------------------------


def values_frame() -> pl.DataFrame:
    figures = {
        "nb_men": 100.0,
        "nb_pers": 250.0,
        "med": 24000.0,
        "tp60": 12.0,
        "pact": 70.0,
        "ppen": 28.0,
        "ppat": 10.0,
        "ppsoc": 6.0,
        "ppfam": 2.0,
        "ppmini": 2.0,
        "pplogt": 2.0,
        "pimpot": -14.0,
        **{f"d{k}": 9000.0 + 3000 * k for k in range(1, 10) if k != 5},
        "q1": 16000.0,
        "q3": 32000.0,
        "chom1564": 100.0,
        "chom1564_f": 44.0,
        "chom1564_m": 56.0,
        "tx_emploi": 50.0,
        "tx_emploi_f": 45.0,
        "tx_emploi_m": 55.0,
    }
    territories = [("COM", "91286"), ("COM", "2A004"), ("EPCI", "200059228"), ("DEP", "91")]
    rows = [
        (level, code, 2018, name, value, None, None, "A", "F", None, None)
        for level, code in territories
        for name, value in figures.items()
    ]
    rows += [
        ("COM", "91286", 2018, "tp60_prop", None, 0.0, 5.0, "Q", "A", "5", None),
        ("COM", "2A004", 2018, "tp60_prop", None, None, None, "Q", "A", "s", 2),
    ]
    return pl.DataFrame(rows, schema=VALUES, orient="row").with_columns(
        pl.col("level", "variable", "obs_status", "conf_status", "mark").cast(pl.String)
    )


def communes_frame() -> pl.DataFrame:
    rows = [
        ("COM", "91286", "Grigny", "91", "11", "911", None),
        ("COM", "2A004", "Ajaccio", "2A", "94", "2A1", None),
        ("ARM", "75101", "Paris 1er", "75", "11", None, "75056"),
        ("COMD", "91001", "Abc", None, None, None, "91286"),
    ]
    return pl.DataFrame(rows, schema=COMMUNES, orient="row").with_columns(pl.col("typecom").cast(pl.String))


def events_frame() -> pl.DataFrame:
    rows = [(32, date(2019, 1, 1), "COM", "91222", "A", "COM", "91390", "B")]
    return pl.DataFrame(rows, schema=EVENTS, orient="row")


def zones_frame() -> pl.DataFrame:
    rows = [("DEP", "91", "Essonne", "11"), ("DEP", "2A", "Corse-du-Sud", "94")]
    return pl.DataFrame(rows, schema=ZONES, orient="row").with_columns(pl.col("level").cast(pl.String))


def composition_frame() -> pl.DataFrame:
    rows = [
        ("EPCI", "200059228", "Grand Paris Sud", "CA", "91286"),
        ("EPCI", "200017846", "Val d'Essonne", "CC", "91228"),
    ]
    return pl.DataFrame(rows, schema=COMPOSITION, orient="row").with_columns(pl.col("level").cast(pl.String))


def iris_frame() -> pl.DataFrame:
    rows = [("912860101", "La Plaine Basse", "D", "91286"), ("910010000", "Abbéville (non irisée)", "Z", "91001")]
    return pl.DataFrame(rows, schema=IRIS, orient="row").with_columns(pl.col("type").cast(pl.String))


def iris_changes_frame() -> pl.DataFrame:
    rows = [(2019, "911820101", "912280201"), (2019, "911820102", "912280202")]
    return pl.DataFrame(rows, schema=IRIS_CHANGES, orient="row")


def qpv_frame() -> pl.DataFrame:
    rows = [("QP091026", None, "Grigny", None), ("QP091026", None, "Viry-Châtillon", "91687")]
    return pl.DataFrame(rows, schema=QPV, orient="row")


def observation_frame() -> pl.DataFrame:
    def row(indicator: str, territory: str, value: float | None, **other: object) -> dict[str, object]:
        masked = value is None
        return {
            "indicator_id": indicator,
            "territory_id": territory,
            "year": 2018,
            "sex": "_T",
            "age": "_T",
            "reference": "_Z",
            "value": value,
            "obs_status": "Q" if masked else "A",
            "conf_status": "A" if masked else "F",
            "grade": None if masked else "A",
            "lower": None,
            "upper": None,
            "interval_kind": None,
            "weight": None if masked else 250.0,
            "reason": "secret" if masked else None,
            "masked_parts": None,
            "cog_year_source": 2021,
            "source_ids": "s/2018",
            "release_added": "r1",
            **other,
        }

    rows = [
        row("rev_d1", "COM-91286", 9000.0),
        row("rev_d9", "COM-91286", 30000.0),
        row("rev_med", "COM-91286", 13810.0),
        row("rev_med", "EPCI-200059228", 20000.0),
        row("rev_tp60", "COM-2A004", None, lower=0.0, upper=5.0, interval_kind="bound", reason="borne"),
        row("rev_tp60", "COM-91286", 45.0, lower=44.5, upper=45.5, interval_kind="bound", masked_parts=0),
    ]
    return pl.DataFrame(rows, schema=TABLES["observation"].schema()).sort(TABLES["observation"].key)


TEXTS = {
    "territory_id": "COM-91286",
    "parent_id": "DEP-91",
    "child_id": "COM-91286",
    "from_code": "91222",
    "to_code": "91390",
    "indicator_id": "rev_tp60",
    "sha256": "a" * 64,
    "url": "https://exemple.fr/f",
    "region_id": "REG-11",
    "departement_id": "DEP-91",
    "epci_id": "EPCI-200059228",
    "commune_id": "COM-91286",
    "status": "ok",
}
NUMBERS = {
    "share": 1.0,
    "to_year": 2021,
    "from_year": 2020,
    "territories": 2,
    "compared": 1,
    "outside": 0,
    "published": 1,
    "suppressed": 1,
    "missing": 0,
    "year": 2018,
}


def published_frame(name: str) -> pl.DataFrame:
    """Two rows of a table, made from its model."""
    table = TABLES[name]
    if name == "nomenclature":
        return nomenclature_frame()
    if name == "territory":
        ids, levels, codes = ["COM-91286", "DEP-91"], ["COM", "DEP"], ["91286", "91"]
        extra = {"territory_id": ids, "level": levels, "code": codes}
    elif name == "comparable_territory":
        extra = {"rank": [1, 2], "comparable_id": ["COM-93014", "COM-95268"], "distance": [0.5, 1.0]}
    else:
        # the rows differ by one column of the key that no expectation constrains, or by two valid values
        other = {
            "parent_id": "REG-11",
            "index_id": "b",
            "indicator_id": "rev_med",
            "release_id": "r2",
            "source_id": "b",
            "scope": "b",
            "check_id": "b",
            "from_code": "91223",
        }
        first = next(k for k in table.key if k in other)
        extra = {first: [TEXTS.get(first, "a"), other[first]]}
    columns: dict[str, object] = {}
    for c in table.columns:
        if c.codelist is not None:
            columns[c.name] = [next(iter(CODELISTS[c.codelist]))] * 2
        elif c.dtype == pl.String:
            columns[c.name] = [TEXTS.get(c.name, "a")] * 2
        elif c.dtype == pl.Boolean:
            columns[c.name] = [True] * 2
        elif isinstance(c.dtype, pl.Datetime):
            columns[c.name] = [datetime(2026, 1, 1)] * 2
        else:
            columns[c.name] = [NUMBERS.get(c.name, 1)] * 2
    return pl.DataFrame({**columns, **extra}, schema=table.schema(), strict=False)


CORE = {
    "insee_filosofi_cc": values_frame,
    "insee_cog_communes": communes_frame,
    "insee_cog_evenements": events_frame,
    "insee_cog_departements": zones_frame,
    "dgcl_epci": composition_frame,
    "insee_iris": iris_frame,
    "insee_iris_modifications": iris_changes_frame,
    "insee_qpv": qpv_frame,
}
GOOD: dict[str, pl.DataFrame] = {source: frame() for source, frame in CORE.items()}
GOOD |= {name: published_frame(name) for name in TABLES if name != "observation"}
GOOD["observation"] = observation_frame()
SUITES: dict[str, Suite] = {
    s.name: s
    for s in (
        *(s for source, f in CORE.items() for s in core_suites(source, "2018", f().columns, BOUNDS)),
        *published_suites(BOUNDS, tuple(TABLES)),
    )
}

# --- how data fail what an expectation states --------------------------------------------------------


def put(column: str, value: object, row: int = 0) -> Spoiler:
    """The frame with one cell replaced."""

    def spoil(frame: pl.DataFrame) -> pl.DataFrame:
        cells = frame[column].to_list()
        cells[row] = value
        return frame.with_columns(pl.Series(column, cells, dtype=frame.schema[column], strict=False))

    return spoil


def repeat(frame: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([frame.head(1), frame])


def derived(expect: Expect) -> Spoiler | None:
    """What fails an expectation on the rows of a table, read in its own statement."""
    kwargs = expect.kwargs
    match expect.kind.removeprefix("expect_"):
        case "table_row_count_to_be_between":
            return lambda f: f.clear()
        case "compound_columns_to_be_unique" | "column_values_to_be_unique":
            return repeat
        case "column_values_to_not_be_null":
            return put(kwargs["column"], None)
        case "column_values_to_be_in_set":
            return put(kwargs["column"], "inconnu")
        case "column_values_to_match_regex":
            return put(kwargs["column"], "!")
        case "column_values_to_be_between":
            low, high = kwargs["min_value"], kwargs["max_value"]
            return put(kwargs["column"], low - 1 if low is not None else high + 1)
        case "column_pair_values_a_to_be_greater_than_b":
            a, b = kwargs["column_A"], kwargs["column_B"]
            return lambda f: put(a, f[b][0] - 1)(f)
    return None


def put_value(variable: str, value: float, level: str = "COM") -> Spoiler:
    """The core frame with one figure replaced, in every territory of a level."""
    return lambda f: f.with_columns(
        value=pl.when((pl.col("variable") == variable) & (pl.col("level") == level)).then(value).otherwise("value")
    )


def put_observed(indicator: str, **cells: object) -> Spoiler:
    """The observations with cells of Grigny's row of an indicator replaced."""
    chosen = (pl.col("indicator_id") == indicator) & (pl.col("territory_id") == "COM-91286")
    return lambda f: f.with_columns(
        **{c: pl.when(chosen).then(pl.lit(v, f.schema[c])).otherwise(c) for c, v in cells.items()}
    )


EMPTY: Spoiler = lambda f: f.clear()  # noqa: E731
ROWS_SPOILED: dict[str, Spoiler] = {
    "enough_rows": lambda f: f.tail(f.height - 1),
    "not_too_many_rows": lambda f: pl.concat(
        [
            f,
            *(f.filter(pl.col(f.columns[0]) == "COM").head(1).with_columns(code=pl.lit(f"9100{i}")) for i in range(4)),
        ]
    ),
}
VALUES_SPOILED: dict[str, Spoiler] = {
    "value_matches_status": put("obs_status", "O"),
    "secret_has_no_value": put("conf_status", "C"),
    "value_finite": put("value", float("inf")),
    "bounds_ordered": put("lower", 6.0, -2),
    "value_within_bounds": lambda f: put("upper", 1.0)(put("lower", 0.0)(f)),
    "masked_parts_positive": put("masked_parts", -1),
    "above_minimum": put_value("tp60", -1.0),
    "below_maximum": put_value("tp60", 101.0),
}
EXPLICIT: dict[str, dict[str, Spoiler]] = {
    "core_values": {
        **VALUES_SPOILED,
        "not_empty": EMPTY,
        "code_present": put("year", None, -1),
        "key_unique": repeat,
        "declared_min_present": put("variable", None, -1),
    },
    "core_values_rows": {
        "not_empty": EMPTY,
        "code_format": put("code", "2004"),
        "enough_rows": lambda f: f.with_columns(code=pl.when(pl.col("level") == "COM").then(None).otherwise("code")),
        "not_too_many_rows": ROWS_SPOILED["not_too_many_rows"],
    },
    "core_sexes": {
        "women_and_men_add_up": put_value("chom1564", 101.0),
        "rate_between_women_and_men": put_value("tx_emploi", 60.0),
    },
    "core_income": {
        "not_empty": EMPTY,
        "deciles_monotone": put_value("d6", 23000.0),
        "median_between_deciles": put_value("med", 40000.0),
        "quartiles_between_deciles": put_value("q1", 14000.0),
        "persons_cover_households": put_value("nb_pers", 99.0),
        "shares_add_to_100": put_value("ppat", 10.3),
        "benefits_add_up": put_value("ppfam", 2.3),
        "median_present": lambda f: f.filter(pl.col("variable") != "med"),
    },
    "core_communes": {
        "not_empty": EMPTY,
        "key_unique": repeat,
        "typecom_known": put("typecom", "inconnu", 2),
        "code_present": put("code", None),
        "name_present": put("name", None),
        "departement_present": put("departement", None),
        "region_present": put("region", None),
        "parent_present": put("parent", None, 2),
        "code_format": put("code", "1001"),
        "departement_format": put("departement", "1"),
        "region_format": put("region", "1"),
    },
    "core_events": {
        "not_empty": EMPTY,
        "key_unique": repeat,
        "mod_present": put("date", None),
        "mod_range": put("mod", 5),
        "type_before_known": put("type_before", "inconnu"),
        "type_after_known": put("type_after", "inconnu"),
        "code_before_format": put("code_before", "1001"),
        "code_after_format": put("code_after", "1001"),
    },
    "core_zones": {
        "not_empty": EMPTY,
        "key_unique": repeat,
        "level_known": put("level", "inconnu"),
        "code_present": put("name", None),
        "code_format": put("code", "1"),
        "region_format": put("region", "1"),
    },
    "core_composition": {
        "not_empty": EMPTY,
        "key_unique": repeat,
        "level_known": put("level", "inconnu"),
        "code_present": put("name", None),
        "code_format": put("code", "20005922"),
        "commune_format": put("commune", "1001"),
    },
    "core_iris": {
        "not_empty": EMPTY,
        "key_unique": repeat,
        "type_known": put("type", "X"),
        "name_present": put("name", None),
        "code_format": put("code", "91286010"),
        "commune_format": put("commune", "1286"),
    },
    "core_iris_changes": {
        "not_empty": EMPTY,
        "key_unique": repeat,
        "before_format": put("before", "91182"),
        "after_format": put("after", "91182"),
    },
    "core_qpv": {
        "not_empty": EMPTY,
        "key_unique": repeat,
        "code_format": put("code", "QP91026"),
        "commune_format": put("commune", "9168", 1),
    },
    **{
        f"{name}_rows": {
            "not_empty": EMPTY,
            "enough_rows": (lambda f: f.head(1)) if name == "core_iris" else (lambda f: f.with_columns(code=None)),
            "not_too_many_rows": lambda f: pl.concat([f.with_columns(code=pl.lit(str(i))) for i in range(4)]),
        }
        for name in ("core_iris", "core_qpv")
    },
    "core_communes_rows": {"not_empty": EMPTY, **ROWS_SPOILED},
    "core_zones_rows": {
        "not_empty": EMPTY,
        "enough_rows": put("level", "REG"),
        "not_too_many_rows": lambda f: pl.concat([f, f.with_columns(code=pl.lit("9") + pl.col("code"))]),
    },
    "core_composition_rows": {
        "not_empty": EMPTY,
        "enough_rows": put("code", None),
        "not_too_many_rows": lambda f: pl.concat([f, *(f.with_columns(code=pl.lit(str(i) * 9)) for i in range(3))]),
    },
    "observation_codes": {
        "not_empty": EMPTY,
        **{f"{c.name}_known": put(c.name, "??") for c in TABLES["observation"].columns if c.codelist},
    },
    "observation_values": {
        **{k: v for k, v in VALUES_SPOILED.items() if k not in ("value_matches_status", "bounds_ordered")},
        **{f"{c.name}_present": put(c.name, None) for c in TABLES["observation"].columns if not c.nullable},
        "not_empty": EMPTY,
        "value_matches_status": put_observed("rev_d1", obs_status="O"),
        "secret_has_no_value": put_observed("rev_d1", conf_status="C"),
        "bounds_ordered": put("lower", 6.0, 4),
        "value_finite": put_observed("rev_d1", value=float("nan")),
        "value_within_bounds": put_observed("rev_tp60", value=46.0),
        "masked_parts_positive": put_observed("rev_tp60", masked_parts=-1),
        "above_minimum": put_observed("rev_d1", value=0.0),
        "below_maximum": put_observed("rev_d9", value=2e6),
        "reason_when_absent": put_observed("rev_d1", reason="secret"),
        "grade_needs_value": put("grade", "A", 4),
        "interval_has_kind": put("interval_kind", None, 4),
        "ci90_complete": lambda f: put("lower", None, 5)(put("interval_kind", "ci90", 5)(f)),
        "weight_positive": put_observed("rev_d1", weight=-1.0),
        "declared_min_present": put("indicator_id", "zzz"),
    },
    **{
        f"{name}_key": {
            "not_empty": EMPTY,
            "key_unique": repeat,
            "sorted": lambda f: f.reverse(),
        }
        for name in ("observation", "territory_member")
    },
    "passage_key": {"key_unique": repeat, "sorted": lambda f: f.reverse()},
    **{
        name: {
            **{f"{c.name}_present": put(c.name, None) for c in TABLES[name].columns if not c.nullable},
            "share_range": put("share", 1.5),
        }
        for name in ("territory_member", "passage")
    },
    "observation_quantiles": {
        "not_empty": lambda f: f.filter(pl.col("indicator_id") == "rev_tp60"),
        "median_between_deciles": put_observed("rev_med", value=8000.0),
        "deciles_ordered": lambda f: put_observed("rev_d9", value=8000.0)(
            f.filter(pl.col("indicator_id") != "rev_med")
        ),
    },
    "territory_levels": {
        "id_is_level_and_code": put("code", "91228"),
        "parents_of_communes": put("region_id", None),
        "enough_rows": lambda f: f.filter(pl.col("level") != "COM"),
        "not_too_many_rows": lambda f: pl.concat([f.filter(pl.col("level") == "COM")] * 4 + [f.tail(1)]),
    },
    "comparable_territory": {
        **{f"{c.name}_present": put(c.name, None) for c in TABLES["comparable_territory"].columns},
        "communes_only": put("comparable_id", "ARM-75101X"),
        "not_itself": put("comparable_id", "COM-91286"),
    },
    "comparable_territory_key": {"key_unique": repeat, "sorted": lambda f: f.reverse()},
    "comparable_territory_order": {
        "ranks_follow": put("rank", 3, 1),
        "distances_increase": put("distance", 0.25, 1),
        "comparable_once": put("comparable_id", "COM-93014", 1),
    },
    "composite_component": {
        **{f"{c.name}_present": put(c.name, None) for c in TABLES["composite_component"].columns if not c.nullable},
        "contribution_needs_score": put("score", None),
    },
    "composite_rank": {
        **{f"{c.name}_present": put(c.name, None) for c in TABLES["composite_rank"].columns},
        "ranks_within_n": put("n", 0),
        "rank_bounds_ordered": put("loo_upper", 0),
    },
    **{
        f"{name}_key": {"key_unique": repeat, "sorted": lambda f: f.reverse()}
        for name in ("composite_component", "composite_rank")
    },
    "coverage_totals": {"not_empty": EMPTY, "coverage_adds_up": put("missing", 1)},
}
EXPLICIT["territory_member"] |= {"not_empty": EMPTY, "parent_differs": put("child_id", "DEP-91")}
EXPLICIT["passage"] |= {
    "kind_known": put("kind", "??"),
    "code_format": put("from_code", "9122"),
    "years_differ": put("to_year", 2020),
}
# what a spoiled frame cannot help failing too, and why
ALSO: dict[tuple[str, str], set[str]] = {
    ("core_values", "value_finite"): {"below_maximum"},  # infinity is above any maximum
    ("core_income", "median_between_deciles"): {"deciles_monotone"},  # the median is the fifth decile
    ("core_income", "not_empty"): {"median_present"},  # no row, no median
    ("core_values", "declared_min_present"): {"code_present"},  # no name, hence no declared range
    ("core_values", "not_empty"): {"declared_min_present"},  # no variable, no declared range
    ("observation_values", "not_empty"): {"declared_min_present"},
    ("observation_values", "indicator_id_present"): {"declared_min_present"},  # no name, no declared range
}


def spoiler(suite: Suite, expect: Expect) -> Spoiler | None:
    explicit = EXPLICIT.get(suite.name, {}).get(expect.name)
    return explicit or (None if suite.summary else derived(expect))


connected = cache(adapter.connect)  # hundreds of tests, one connection


def answers(suite: Suite, frame: pl.DataFrame):
    con = connected()
    con.register("frame", frame)
    return adapter.run_suites(con, [suite], {suite.table: "frame"}, RUN)


CASES = [(s, e) for s in SUITES.values() for e in s.expects]


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_good_data_pass(suite: Suite) -> None:
    results = answers(suite, GOOD[suite.table])
    assert [r.message() for r in results if not r.passed] == []
    assert len(results) == len(suite.expects)


@pytest.mark.parametrize(("suite", "expect"), CASES, ids=[f"{s.name}.{e.name}" for s, e in CASES])
def test_each_expectation_fails_on_data_that_must_fail_it_and_only_it(suite: Suite, expect: Expect) -> None:
    spoil = spoiler(suite, expect)
    assert spoil is not None, "no data that fails it: add a spoiler"
    results = answers(suite, spoil(GOOD[suite.table]))
    assert [r.message() for r in results if not r.computed] == []
    failed = {r.check_id.split(".", 1)[1] for r in results if not r.passed}
    assert failed == {expect.name} | ALSO.get((suite.name, expect.name), set())
    found = next(r for r in results if r.check_id == f"{suite.name}.{expect.name}")
    assert found.severity == expect.severity
    assert found.rows_failed is None or found.rows_failed > 0


def test_an_iris_listed_under_two_types_is_found() -> None:
    suite, good = SUITES["core_iris"], GOOD["insee_iris"]
    other = good.head(1).with_columns(type=pl.when(pl.col("type") == "H").then(pl.lit("A")).otherwise(pl.lit("H")))
    failed = {r.check_id for r in answers(suite, pl.concat([good, other])) if not r.passed}
    assert failed == {"core_iris.key_unique"}


@pytest.mark.parametrize("column", ["variable", "obs_status", "conf_status"])
def test_a_figure_without_a_status_or_a_name_is_found(column: str) -> None:
    good = GOOD["insee_filosofi_cc"]
    empty = pl.when(pl.int_range(pl.len()) > 0).then(column).cast(good.schema[column]).alias(column)
    failed = {r.check_id for r in answers(SUITES["core_values"], good.with_columns(empty)) if not r.passed}
    assert "core_values.code_present" in failed


def test_every_expectation_has_a_spoiler_and_every_spoiler_an_expectation() -> None:
    without = [f"{s.name}.{e.name}" for s, e in CASES if spoiler(s, e) is None]
    assert without == []
    declared = {(s.name, e.name) for s, e in CASES}
    unused = [f"{s}.{e}" for s, named in EXPLICIT.items() for e in named if (s, e) not in declared]
    assert unused == []
    assert {key for key in ALSO if key not in declared} == set()


@pytest.mark.parametrize(
    ("figures", "failed"),
    [
        # rounded to 5 by the producer: 7 + 7 = 14 prints 5 + 5 = 15
        ({"x_f": (5.0, 2.5, 7.5), "x_m": (5.0, 2.5, 7.5), "x": (15.0, 12.5, 17.5)}, set()),
        ({"x_f": (5.0, 2.5, 7.5), "x_m": (5.0, 2.5, 7.5), "x": (20.0, 17.5, 22.5)}, {"women_and_men_add_up"}),
        ({"x_f": (5.0, None, None), "x_m": (5.0, None, None), "x": (15.0, None, None)}, {"women_and_men_add_up"}),
        ({"x_f": (9.0, None, None), "x_m": (9.0, None, None), "x": (15.0, None, None)}, {"women_and_men_add_up"}),
        ({"x_f": (0.1, None, None), "x_m": (0.2, None, None), "x": (0.30000000000000004, None, None)}, set()),
        # nothing to add up
        ({"x_f": (5.0, None, None), "x_m": (None, None, None), "x": (15.0, None, None)}, set()),
        ({"x_f": (5.0, None, None), "x": (15.0, None, None)}, set()),
        # a rate printed to the tenth
        ({"tx_emploi_f": (45.0,) * 3, "tx_emploi_m": (45.0,) * 3, "tx_emploi": (45.1,) * 3}, set()),
        (
            {"tx_emploi_f": (45.0,) * 3, "tx_emploi_m": (45.0,) * 3, "tx_emploi": (45.2,) * 3},
            {"rate_between_women_and_men"},
        ),
        (
            {"tx_emploi_f": (45.0,) * 3, "tx_emploi_m": (46.0,) * 3, "tx_emploi": (44.8,) * 3},
            {"rate_between_women_and_men"},
        ),
    ],
)
def test_women_and_men_add_up_within_the_rounding(figures: dict[str, tuple], failed: set[str]) -> None:
    rows = [("COM", "91286", 2018, name, *cells) for name, cells in figures.items()]
    frame = pl.DataFrame(rows, schema=["level", "code", "year", "variable", "value", "lower", "upper"], orient="row")
    suite = next(s for s in core_suites("s", "2018", list(VALUES), BOUNDS) if s.name == "core_sexes")
    with adapter.connect() as con:
        con.register("frame", frame)
        results = adapter.run_suites(con, [suite], {suite.table: "frame"}, RUN)
    assert {r.check_id.split(".")[1] for r in results if not r.passed} == failed
    assert all(r.severity == "critical" for r in results)


def test_persons_of_unknown_sex_count_in_the_whole_only() -> None:
    def failed(total: float) -> bool:
        rows = [("COM", "91286", 2018, name, value) for name, value in (("n_f", 40.0), ("n_m", 50.0), ("n", total))]
        frame = pl.DataFrame(rows, schema=["level", "code", "year", "variable", "value"], orient="row")
        bare = frame.with_columns(lower=pl.lit(None, pl.Float64), upper=pl.lit(None, pl.Float64))
        suites = core_suites("s", "2018", list(VALUES), BOUNDS, sex_known=False)
        with adapter.connect() as con:
            con.register("frame", bare)
            suite = next(s for s in suites if s.name == "core_sexes")
            results = adapter.run_suites(con, [suite], {suite.table: "frame"}, RUN)
        return any(not r.passed for r in results)

    assert (failed(93.0), failed(90.0), failed(89.0)) == (False, False, True)


def test_editions_judged_together_are_told_apart() -> None:
    with adapter.connect() as con:
        con.register("good", GOOD["insee_filosofi_cc"])
        con.register("wrong", VALUES_SPOILED["below_maximum"](GOOD["insee_filosofi_cc"]))
        con.register("repeated", repeat(GOOD["dgcl_epci"]))
        con.register("empty", GOOD["insee_cog_evenements"].clear())
        editions = [
            (core_suites(source, edition, GOOD[source].columns, BOUNDS), view)
            for source, edition, view in (
                ("insee_filosofi_cc", "2018", "good"),
                ("insee_filosofi_cc", "2019", "wrong"),
                ("dgcl_epci", "2020", "repeated"),
                ("insee_cog_evenements", "2021", "empty"),
                ("insee_cog_departements", "2022", "absent"),
            )
        ]
        results = adapter.judge_editions(adapter.read_editions(con, editions), RUN)
    failed = {r.check_id: r.sample for r in results if r.computed and not r.passed}
    assert failed == {
        "core_values.below_maximum": "insee_filosofi_cc/2019/COM/2018/tp60",
        "core_composition.key_unique": "dgcl_epci/2020 EPCI/200059228/91286",
        "core_events.not_empty": "insee_cog_evenements/2021/",
    }
    assert {r.suite for r in results if not r.computed} == {"core_zones", "core_zones_rows"}
    assert len({r.check_id for r in results if r.computed}) == sum(r.computed for r in results)


def test_every_published_table_and_every_kind_of_core_frame_has_a_suite() -> None:
    assert {s.table for s in published_suites(BOUNDS, tuple(TABLES))} == set(TABLES)
    with pytest.raises(LookupError, match="no suite"):
        core_suites("autre", "2018", ["a", "b"], BOUNDS)


def test_names_of_expectations_are_unique_in_a_suite() -> None:
    for suite in SUITES.values():
        names = [e.name for e in suite.expects]
        assert len(names) == len(set(names)), suite.name


def test_base_expectations_follow_the_model() -> None:
    table = TABLES["territory"]
    names = {e.name for e in base_expectations(table)}
    assert {"key_unique", "level_known", "cog_year_present", "not_empty"} <= names
    assert "epci_id_present" not in names, "a nullable column may be empty"


def test_bounds_of_both_profiles_load_and_an_unknown_one_is_refused() -> None:
    assert load_bounds("national").rows_of("insee_comparateur")["COM"][0] > 30000
    assert load_bounds("demo").rows_of("insee_comparateur")["COM"][0] == 1
    with pytest.raises(KeyError, match="national"):
        load_bounds("local")
