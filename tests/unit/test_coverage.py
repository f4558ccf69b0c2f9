"""Coverage counts territories, whatever the number of rows, and says why the others have no value."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from warehouse.coverage import counts_of, coverage_of, with_absent
from warehouse.models import CODELISTS

SIZES = pl.DataFrame(
    [("COM", None, 5), ("DEP", None, 2), ("QPV", 2015, 4), ("QPV", 2024, 3)],
    schema={"level": pl.String, "perimeter_year": pl.Int16, "territories": pl.Int64},
    orient="row",
)


def rows(*cells: tuple[str, str, float | None, str, str | None], perimeter: int | None = None) -> pl.DataFrame:
    """(level, territory, value, obs_status, reason) in 2018."""
    return pl.DataFrame(
        [("x", 2018, "_T", "_T", *c) for c in cells],
        schema=["indicator_id", "year", "sex", "age", "level", "territory_id", "value", "obs_status", "reason"],
        orient="row",
        schema_overrides={"year": pl.Int16, "value": pl.Float64, "reason": pl.String},
    ).with_columns(reference=pl.lit("_Z"), perimeter_year=pl.lit(perimeter, pl.Int16))


def covered(frame: pl.DataFrame, stale: Sequence[str] = ()) -> pl.DataFrame:
    """Coverage of one indicator."""
    return coverage_of([counts_of(frame, stale)], SIZES)


def test_each_territory_is_published_suppressed_or_missing() -> None:
    table = covered(
        rows(
            ("COM", "COM-1", 44.0, "A", None),
            ("COM", "COM-2", None, "Q", "secret"),
            ("COM", "COM-3", None, "O", "mediane_non_sommable"),
            ("COM", "COM-4", None, "Q", "secret"),
        )
    )
    com = table.filter(pl.col("level") == "COM").row(0, named=True)
    assert (com["territories"], com["published"], com["suppressed"], com["missing"]) == (5, 1, 2, 2)
    secret = CODELISTS["reason"]["secret"]
    assert com["reason_fr"].startswith(f"{secret} (2) ; ") and com["reason_fr"].endswith("Absents de la source (1)")
    dep = table.filter(pl.col("level") == "DEP").row(0, named=True)
    assert (dep["published"], dep["missing"], dep["reason_fr"]) == (0, 2, "Absents de la source (2)")


def test_a_territory_with_several_gaps_counts_once() -> None:
    gaps = rows(("DEP", "DEP-1", 1.0, "A", None), ("DEP", "DEP-1", 2.0, "A", None))
    table = covered(gaps.with_columns(reference=pl.Series([7, 8])))
    dep = table.filter(pl.col("level") == "DEP").row(0, named=True)
    assert (dep["published"], dep["missing"]) == (1, 1)


def test_a_level_is_stale_when_a_value_comes_from_a_stale_edition() -> None:
    told = rows(
        ("COM", "COM-1", 44.0, "A", None), ("DEP", "DEP-1", 1.0, "A", None), ("DEP", "DEP-2", None, "Q", "secret")
    ).with_columns(source_ids=pl.Series(["a/2018;b/2017", "a/2018-csv", "b/2017"], dtype=pl.Categorical))
    for stale, expected in ((["b/2017"], {"COM"}), (["a/2018"], {"COM"}), (["a/2018-csv"], {"DEP"}), ([], set())):
        table = covered(told, stale)
        assert set(table.filter("stale")["level"]) == expected, stale
        assert table["stale"].null_count() == 0


def test_full_coverage_needs_no_reason() -> None:
    table = covered(rows(("DEP", "DEP-1", 1.0, "A", None), ("DEP", "DEP-2", 2.0, "A", None)))
    assert table.filter(pl.col("level") == "DEP")["reason_fr"].item() is None


def test_districts_count_against_their_own_perimeters() -> None:
    old = rows(("QPV", "QPV-QP1", 1.0, "A", None), perimeter=2015)
    new = rows(("QPV", "QPV-QN1", 1.0, "A", None), ("QPV", "QPV-QN2", None, "Q", "secret"), perimeter=2024)
    for frame, expected in ((old, (4, 1, 0, 3)), (new, (3, 1, 1, 1)), (pl.concat([old, new]), (7, 2, 1, 4))):
        table = covered(frame)
        found = table.filter(pl.col("level") == "QPV").row(0, named=True)
        assert tuple(found[c] for c in ("territories", "published", "suppressed", "missing")) == expected
        # a level that the indicator does not have is counted where users expect it, and nowhere else
        assert table["level"].to_list() == ["COM", "DEP", "QPV"]


def test_a_declared_edition_that_is_not_there_is_told_where_nothing_else_is() -> None:
    table = covered(rows(("COM", "COM-1", 44.0, "A", None)))
    absent = pl.DataFrame(
        [("x", "COM", 2018, "Édition a"), ("x", "COM", 2019, "Édition b"), ("x", "COM", 2019, "Édition c")],
        schema={"indicator_id": pl.String, "level": pl.String, "year": pl.Int16, "why": pl.String},
        orient="row",
    )
    told = with_absent(table, absent, SIZES).filter(pl.col("level") == "COM").sort("year")
    assert told.select("year", "published", "missing", "territories").rows() == [(2018, 1, 4, 5), (2019, 0, 5, 5)]
    assert told["reason_fr"].to_list()[1] == "Édition b ; Édition c"


def test_each_indicator_has_its_own_coverage() -> None:
    one = rows(("COM", "COM-1", 44.0, "A", None), ("COM", "COM-2", None, "Q", "secret"))
    other = rows(("COM", "COM-1", 1.0, "A", None)).with_columns(indicator_id=pl.lit("y"))
    whole = coverage_of([counts_of(one), counts_of(other)], SIZES)
    assert whole.equals(pl.concat([covered(one), covered(other)]).sort("indicator_id", "level", "year"))
    com = whole.filter(pl.col("level") == "COM")
    assert com.select("indicator_id", "published", "suppressed").rows() == [("x", 1, 1), ("y", 1, 0)]
