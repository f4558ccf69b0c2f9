"""The adapter: answers of Great Expectations as rows of quality_check, and checks that cannot be computed."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from expectations import adapter
from expectations.results import QUALITY_CHECK, Run, blocking, to_frame
from expectations.vocabulary import (
    Expect,
    Suite,
    Summary,
    Violation,
    at_least,
    between,
    in_set,
    matches,
    not_empty,
    not_null,
    summary_suite,
    unique,
)
from warehouse.models import TABLES, conform

RUN = Run("essai", datetime(2026, 1, 2, 3, 4, tzinfo=UTC))
SUITE = Suite(
    "communes",
    "territory",
    ("code",),
    (
        not_empty(),
        unique("code"),
        not_null("name"),
        matches("code", r"^\d{5}$", "5 chiffres"),
        in_set("level", ["COM"]),
        between("population", 0, None, "warning"),
        at_least("upper", "lower", "ordered", "des bornes dans l'ordre"),
    ),
)
FRAME = pl.DataFrame(
    {
        "code": ["91286", "91228", "91174"],
        "name": ["Grigny", "Évry-Courcouronnes", "Corbeil-Essonnes"],
        "level": ["COM"] * 3,
        "population": [28265, 66700, 51234],
        "lower": [1.0, None, 3.0],
        "upper": [2.0, 5.0, 3.0],
        "unread": [1, 2, 3],
    },
    schema_overrides={"level": pl.Enum(["COM", "DEP"])},
)


def run(frame: pl.DataFrame, suite: Suite = SUITE):
    with adapter.connect() as con:
        con.register("frame", frame)
        return adapter.run_suites(con, [suite], {suite.table: "frame"}, RUN)


def failed(results):
    return {r.check_id.split(".", 1)[1]: r for r in results if not r.passed}


def test_what_a_check_spills_stays_in_the_folder_given(tmp_path: Path) -> None:
    """Not in the current one, which may be read only, and is not private."""
    for scratch, expected in ((tmp_path / "own", str(tmp_path / "own")), (None, "")):
        with adapter.connect(scratch) as con:
            assert con.execute("SELECT current_setting('temp_directory')").fetchall() == [(expected,)]
    with adapter.connect(tmp_path / "own") as con:
        con.execute("SET memory_limit = '20MB'")
        con.execute("CREATE TABLE t AS SELECT range AS a, hash(range) AS b FROM range(3000000)")
        assert list((tmp_path / "own").iterdir())


def test_a_good_frame_passes_everything_in_the_order_of_the_declaration() -> None:
    results = run(FRAME)
    assert [r.check_id for r in results] == [f"communes.{e.name}" for e in SUITE.expects]
    assert failed(results) == {}
    assert results[1].observed == "0 ligne(s) en défaut sur 3"


def test_a_failure_says_how_many_rows_and_which() -> None:
    spoiled = FRAME.with_columns(code=pl.Series(["91286", "9128", "x"]), population=pl.Series([-1, 0, 1]))
    found = failed(run(spoiled))
    assert set(found) == {"code_format", "population_range"}
    assert (found["code_format"].rows_failed, found["code_format"].sample) == (2, "9128 ; x")
    assert found["population_range"].severity == "warning"
    assert [r.check_id for r in blocking(found.values())] == ["communes.code_format"]


def test_the_message_says_expected_found_where_and_what_to_do() -> None:
    message = failed(run(FRAME.with_columns(code=pl.lit("91286"))))["key_unique"].message()
    for part in (
        "communes.key_unique",
        "territory",
        "une seule ligne par (code)",
        "3 ligne(s)",
        "91286",
        "À faire",
    ):
        assert part in message
    assert "conforme" in run(FRAME)[0].message()


@pytest.mark.parametrize(
    "broken",
    [
        Expect(
            "broken",
            "expect_column_values_to_be_between",
            {"column": "absent", "min_value": 0},
            "x",
            "warning",
        ),
        Expect("broken", "expect_column_values_to_be_between", {"column": "code", "min_value": 0}, "x", "warning"),
        Expect("broken", "expect_no_such_thing", {"column": "code"}, "x", "warning"),
        Expect("broken", "expect_column_values_to_be_in_set", {"colonne": "code"}, "x", "warning"),
    ],
    ids=["missing column", "text compared with a number", "unknown expectation", "wrong argument"],
)
def test_a_check_that_cannot_be_computed_is_a_critical_error_of_the_check(broken: Expect) -> None:
    suite = Suite("communes", "territory", ("code",), (not_null("name"), broken))
    frame = FRAME.select("code", "name", pl.lit(None).alias("absent")).drop("absent")
    results = adapter.run_suite(suite, frame, RUN)
    assert results[0].passed, "the other expectations of the suite are still answered"
    assert not results[1].passed
    assert not results[1].computed
    assert results[1].severity == "critical"
    assert "non calculé" in results[1].message()
    assert blocking(results) == [results[1]]


def test_a_missing_table_and_a_missing_column_are_not_computed() -> None:
    with adapter.connect() as con:
        results = adapter.run_suites(con, [SUITE], {}, RUN)
    assert len(results) == len(SUITE.expects)
    assert not any(r.computed or r.passed for r in results)
    assert not any(r.computed for r in run(FRAME.drop("name")))


def test_only_the_columns_named_are_read() -> None:
    assert SUITE.columns == ["code", "level", "lower", "name", "population", "upper"]
    assert "unread" not in adapter._to_pandas(FRAME, SUITE).columns


SUMMARY = summary_suite(
    "long",
    "observation",
    Summary(
        by={"indicator": "indicator"},
        key="territory",
        violations=(Violation("negative", "value < 0", "des valeurs positives"),),
        measures={"highest": "max(value)"},
    ),
    (between("highest", None, 100),),
)


def test_a_summary_counts_rows_of_the_table_and_names_them() -> None:
    frame = pl.DataFrame(
        {
            "indicator": ["a"] * 8 + ["b"],
            "territory": [f"T{i}" for i in range(9)],
            "value": [-1.0] * 8 + [101.0],
        }
    )
    found = failed(run(frame, SUMMARY))
    assert set(found) == {"negative", "highest_range"}
    assert (found["negative"].rows_failed, found["negative"].sample) == (8, "T0 ; T1 ; T2 ; T3 ; T4")
    assert (found["highest_range"].rows_failed, found["highest_range"].sample) == (1, "b")
    assert failed(run(frame.with_columns(value=pl.lit(1.0)), SUMMARY)) == {}


def test_results_are_the_table_quality_check() -> None:
    frame = to_frame(run(FRAME))
    assert frame.schema == QUALITY_CHECK
    table = TABLES["quality_check"]
    conformed = conform(table, frame)
    assert conformed.columns == table.names
    assert conformed.height == len(SUITE.expects)


def test_nothing_is_written_nor_printed(tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    capfd.readouterr()
    run(FRAME)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert adapter._context() is adapter._context()


def test_great_expectations_is_not_imported_before_a_suite_runs() -> None:
    code = (
        "import sys, expectations.adapter, expectations.suites, expectations.reconciliation;"
        "sys.exit('great_expectations' in sys.modules or 'pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
