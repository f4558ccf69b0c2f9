"""The table `coverage`: territories that have a value, by indicator, level and year, and why the others have none."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from warehouse.models import TABLES, nomenclature_frame

LEVELS = ("COM", "ARM", "EPCI", "DEP", "REG", "METRO")  # always counted, even where a source has nothing


def coverage_of(rows: pl.DataFrame, sizes: Mapping[str, int]) -> pl.DataFrame:
    """Coverage of one indicator: per level and year, territories published, suppressed, missing and why.

    rows: its observations, with the `level` of their territory; sizes: reference territories by level. Only the
    whole population counts (sex and age _T); a gap is published where the territory has at least one.
    """
    key = ["indicator_id", "level", "year"]
    known = pl.col("value").is_not_null()
    masked = ~known & (pl.col("obs_status") == "Q")
    own = rows.filter((pl.col("sex") == "_T") & (pl.col("age") == "_T"))
    counted = own.group_by(key).agg(
        present=pl.col("territory_id").n_unique(),
        published=pl.col("territory_id").filter(known).n_unique(),
        suppressed=pl.col("territory_id").filter(masked).n_unique(),
    )
    grid = counted.select("indicator_id", "year").unique().join(_universe(sizes), how="cross")
    table = (
        grid.join(_text(counted), on=key, how="left")
        .join(_text(_reasons(own.filter(~known), key)), on=key, how="left")
        .filter(pl.col("level").is_in(LEVELS) | pl.col("present").is_not_null())
        .with_columns(pl.col("present", "published", "suppressed").fill_null(0).cast(pl.Int64))
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


def _universe(sizes: Mapping[str, int]) -> pl.DataFrame:
    return pl.DataFrame(sorted(sizes.items()), schema={"level": pl.String, "territories": pl.Int64}, orient="row")


def _text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("level").cast(pl.String))
