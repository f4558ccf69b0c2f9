"""The table `coverage`: territories that have a value, by indicator, level and year, and why the others have none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from warehouse.models import TABLES, nomenclature_frame

KEY = ["indicator_id", "level", "year"]
LEVELS = ("COM", "ARM", "EPCI", "DEP", "REG", "METRO")  # always counted, even where a source has nothing


@dataclass(frozen=True)
class Counts:
    """What is counted of one indicator, on the whole population (sex and age _T).

    territories: indicator_id, level, year, perimeter_year, and the numbers of territories present, published and
    suppressed, with `stale`. reasons: indicator_id, level, year, reason, n rows without a value.
    """

    territories: pl.DataFrame
    reasons: pl.DataFrame


def counts_of(rows: pl.DataFrame, stale: Iterable[str] = ()) -> Counts:
    """Counts of one indicator.

    rows: its observations, with the `level` and `perimeter_year` of their territory; stale: the editions
    (source/edition) kept from an earlier run.
    """
    several = rows.schema["reference"].is_integer()  # a gap has a row per reference: its territories come several times
    stale = sorted(stale)
    needed = [*KEY, "perimeter_year", "value", "obs_status", "reason"]
    needed += ["territory_id"] * several + ["source_ids"] * bool(stale)
    own = rows.lazy().filter((pl.col("sex") == "_T") & (pl.col("age") == "_T")).select(needed).collect()
    known = pl.col("value").is_not_null()

    def number(which: pl.Expr) -> pl.Expr:
        return pl.col("territory_id").filter(which).n_unique() if several else which.sum()

    territories = own.group_by(*KEY, "perimeter_year").agg(
        present=number(pl.lit(True) | known),
        published=number(known),
        suppressed=number(~known & (pl.col("obs_status") == "Q")),
        stale=(known & _rests_on(stale)).any() if stale else pl.lit(False),
    )
    reasons = own.filter(~known).group_by(*KEY, "reason").agg(n=pl.len())
    return Counts(_text(territories), _text(reasons).with_columns(pl.col("reason").cast(pl.String)))


def coverage_of(counts: Iterable[Counts], sizes: pl.DataFrame) -> pl.DataFrame:
    """Coverage of the indicators: per level and year, territories published, suppressed, missing and why.

    counts: one per indicator; sizes: reference territories (level, perimeter_year, territories). A gap is published
    where the territory has at least one. Figures of the districts of 2015 say nothing of those of 2024: a level counts
    the perimeters that the indicator has that year.
    """
    counts = list(counts)
    by_perimeter = pl.concat([c.territories for c in counts])
    counted = by_perimeter.group_by(KEY).agg(pl.col("present", "published", "suppressed").sum(), pl.col("stale").any())
    always = (
        counted.select("indicator_id", "year").unique().join(sizes.filter(pl.col("level").is_in(LEVELS)), how="cross")
    )
    there = by_perimeter.join(sizes, on=["level", "perimeter_year"], nulls_equal=True)
    universe = pl.concat([frame.select(*KEY, "perimeter_year", "territories") for frame in (always, there)])
    table = (
        universe.unique()
        .group_by(KEY)
        .agg(pl.col("territories").sum())
        .join(counted, on=KEY, how="left")
        .join(_told(pl.concat([c.reasons for c in counts])), on=KEY, how="left")
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
        .sort(KEY)
    )


def with_absent(coverage: pl.DataFrame, absent: pl.DataFrame, sizes: pl.DataFrame) -> pl.DataFrame:
    """The coverage with a row for what declared editions would give and no edition read here does.

    absent: (indicator_id, level, year, why), one row per edition that is not there; sizes: as in coverage_of.
    """
    universe = sizes.group_by(pl.col("level").cast(pl.String)).agg(pl.col("territories").sum())
    rows = (
        absent.join(coverage, on=KEY, how="anti")
        .group_by(KEY)
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
    return pl.concat([coverage, rows]).sort(KEY)


def _rests_on(editions: Iterable[str]) -> pl.Expr:
    """Whether `source_ids` (source/edition;...) names one of the editions."""
    names = "|".join(map(re.escape, editions))
    return pl.col("source_ids").cast(pl.String).str.contains(f"(^|;)({names})(;|$)")


def _told(reasons: pl.DataFrame) -> pl.DataFrame:
    """`why`: the reasons of the rows without a value, most frequent first, with their number."""
    labels = nomenclature_frame().filter(pl.col("codelist") == "reason").select(reason="code", label="label_fr")
    return (
        reasons.join(labels, on="reason", how="left")
        .sort(*KEY, "n", "reason", descending=[False] * 3 + [True, False])
        .group_by(KEY, maintain_order=True)
        .agg(why=pl.format("{} ({})", "label", "n").str.join(" ; "))
    )


def _text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("level").cast(pl.String))
