"""Coverage counts territories, whatever the number of rows, and says why the others have no value."""

from __future__ import annotations

import polars as pl

from warehouse.coverage import coverage_of
from warehouse.models import CODELISTS

SIZES = {"COM": 5, "DEP": 2}


def rows(*cells: tuple[str, str, float | None, str, str | None]) -> pl.DataFrame:
    """(level, territory, value, obs_status, reason) in 2018."""
    return pl.DataFrame(
        [("x", 2018, "_T", "_T", *c) for c in cells],
        schema=["indicator_id", "year", "sex", "age", "level", "territory_id", "value", "obs_status", "reason"],
        orient="row",
        schema_overrides={"year": pl.Int16, "value": pl.Float64, "reason": pl.String},
    )


def test_each_territory_is_published_suppressed_or_missing() -> None:
    table = coverage_of(
        rows(
            ("COM", "COM-1", 44.0, "A", None),
            ("COM", "COM-2", None, "Q", "secret"),
            ("COM", "COM-3", None, "O", "mediane_non_sommable"),
            ("COM", "COM-4", None, "Q", "secret"),
        ),
        SIZES,
    )
    com = table.filter(pl.col("level") == "COM").row(0, named=True)
    assert (com["territories"], com["published"], com["suppressed"], com["missing"]) == (5, 1, 2, 2)
    secret = CODELISTS["reason"]["secret"]
    assert com["reason_fr"].startswith(f"{secret} (2) ; ") and com["reason_fr"].endswith("Absents de la source (1)")
    dep = table.filter(pl.col("level") == "DEP").row(0, named=True)
    assert (dep["published"], dep["missing"], dep["reason_fr"]) == (0, 2, "Absents de la source (2)")


def test_a_territory_with_several_gaps_counts_once() -> None:
    table = coverage_of(rows(("DEP", "DEP-1", 1.0, "A", None), ("DEP", "DEP-1", 2.0, "A", None)), SIZES)
    dep = table.filter(pl.col("level") == "DEP").row(0, named=True)
    assert (dep["published"], dep["missing"]) == (1, 1)


def test_full_coverage_needs_no_reason() -> None:
    table = coverage_of(rows(("DEP", "DEP-1", 1.0, "A", None), ("DEP", "DEP-2", 2.0, "A", None)), SIZES)
    assert table.filter(pl.col("level") == "DEP")["reason_fr"].item() is None
