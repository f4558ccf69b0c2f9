"""The table `coverage`: territories that have a value, by indicator, level and year, and why the others have none."""

from __future__ import annotations

import re
from collections.abc import Iterable

import polars as pl

from warehouse.models import TABLES, nomenclature_frame

LEVELS = ("COM", "ARM", "EPCI", "DEP", "REG", "METRO")  # always counted, even where a source has nothing


def coverage_of(rows: pl.DataFrame, sizes: pl.DataFrame, stale: Iterable[str] = ()) -> pl.DataFrame:
    """Coverage of one indicator: per level and year, territories published, suppressed, missing and why.

    rows: its observations, with the `level` and `perimeter_year` of their territory; sizes: reference territories
    (level, perimeter_year, territories); stale: the editions (source/edition) kept from an earlier run. Only the whole
    population counts (sex and age _T); a gap is published where the territory has at least one. Figures of the
    districts of 2015 say nothing of those of 2024: a level counts the perimeters that the indicator has that year.
    """
    key = ["indicator_id", "level", "year"]
    known = pl.col("value").is_not_null()
    masked = ~known & (pl.col("obs_status") == "Q")
    own = rows.filter((pl.col("sex") == "_T") & (pl.col("age") == "_T"))
    several = rows.schema["reference"].is_integer()  # a gap has a row per reference: its territories come several times

    def territories(which: pl.Expr) -> pl.Expr:
        return pl.col("territory_id").filter(which).n_unique() if several else which.sum()

    by_perimeter = own.group_by(*key, "perimeter_year").agg(
        present=territories(pl.lit(True) | known),
        published=territories(known),
        suppressed=territories(masked),
        stale=(known & _rests_on(stale)).any(),
    )
    by_perimeter = _text(by_perimeter)
    counted = by_perimeter.group_by(key).agg(pl.col("present", "published", "suppressed").sum(), pl.col("stale").any())
    always = (
        counted.select("indicator_id", "year").unique().join(sizes.filter(pl.col("level").is_in(LEVELS)), how="cross")
    )
    there = by_perimeter.join(sizes, on=["level", "perimeter_year"], nulls_equal=True)
    universe = pl.concat([frame.select(*key, "perimeter_year", "territories") for frame in (always, there)])
    table = (
        universe.unique()
        .group_by(key)
        .agg(pl.col("territories").sum())
        .join(counted, on=key, how="left")
        .join(_text(_reasons(own.filter(~known), key)), on=key, how="left")
        .with_columns(pl.col("present", "published", "suppressed").fill_null(0).cast(pl.Int64))
        .with_columns(pl.col("stale").fill_null(False))
    )
    absent = pl.col("territories") - pl.col("present")
    outside = pl.when(absent > 0).then(pl.format("Absents de la source ({})", absent))
    return (
        table.with_columns(
            missing=pl.col("territories") - pl.col("published") - pl.col("suppressed"),
            reason_fr=pl.concat_str(pl.col("why"), outside, separator=" ; ", ignore_nulls=True).replace("", None),
        )
        .select(TABLES["coverage"].names)
        .sort(key)
    )


def with_absent(coverage: pl.DataFrame, absent: pl.DataFrame, sizes: pl.DataFrame) -> pl.DataFrame:
    """The coverage with a row for what declared editions would give and no edition read here does.

    absent: (indicator_id, level, year, why), one row per edition that is not there; sizes: as in coverage_of.
    """
    key = ["indicator_id", "level", "year"]
    universe = sizes.group_by(pl.col("level").cast(pl.String)).agg(pl.col("territories").sum())
    rows = (
        absent.join(coverage, on=key, how="anti")
        .group_by(key)
        .agg(reason_fr=pl.col("why").unique().sort().str.join(" ; "))
        .join(universe, on="level")
        .with_columns(
            pl.lit(0, pl.Int64).alias("published"),
            pl.lit(0, pl.Int64).alias("suppressed"),
            missing=pl.col("territories"),
            stale=pl.lit(False),
        )
        .select(coverage.columns)
        .cast(dict(coverage.schema))  # pyright: ignore[reportArgumentType]
    )
    return pl.concat([coverage, rows]).sort(key)


def _rests_on(editions: Iterable[str]) -> pl.Expr:
    """Whether `source_ids` (source/edition;...) names one of the editions."""
    names = "|".join(map(re.escape, sorted(editions)))
    return pl.col("source_ids").cast(pl.String).str.contains(f"(^|;)({names})(;|$)") if names else pl.lit(False)


def _reasons(unknown: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """`why`: the reasons of the rows without a value, most frequent first, with their number."""
    labels = nomenclature_frame().filter(pl.col("codelist") == "reason").select(reason="code", label="label_fr")
    counts = unknown.group_by(*key, "reason").agg(n=pl.len()).with_columns(pl.col("reason").cast(pl.String))
    return (
        counts.join(labels, on="reason", how="left")
        .sort(*key, "n", "reason", descending=[False] * 3 + [True, False])
        .group_by(key, maintain_order=True)
        .agg(why=pl.format("{} ({})", "label", "n").str.join(" ; "))
    )


def _text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("level").cast(pl.String))
