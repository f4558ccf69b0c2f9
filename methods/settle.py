"""Moving one edition's figures to the territories of the reference COG ("on one geography").

The producer's own figure wins where the published territory is the same set of communes as the reference
territory. Elsewhere the figure is aggregated from the edition's communes by the variable's rule, or left null
with a reason. Nothing here knows a source or an indicator: variables come with their rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import polars as pl

Aggregation = Literal["sum", "weighted_mean", "distribution", "none"]

KNOWN_SHARE = 0.99  # a rate of a union is exact only when members holding this share of the weight are known
UNKNOWN_WEIGHT = 100.0  # a commune whose persons are masked holds fewer than 100 (Filosofi's lowest threshold)

SETTLED = (
    "territory_id",
    "year",
    "variable",
    "value",
    "lower",
    "upper",
    "obs_status",
    "conf_status",
    "grade",
    "interval_kind",
    "reason",
    "masked_parts",
    "aggregated",
)
KEY = ["territory_id", "year", "variable"]
CODES = ("variable", "obs_status", "conf_status", "grade", "interval_kind", "reason")


@dataclass(frozen=True)
class VariableRule:
    """How a variable of a source combines: `weight` is the variable holding the weights, `step` the rounding
    of the figures published by commune (a rate printed 44 with step 1 lies in [43.5, 44.5]); `span` is where a rate
    lies for certain, None for a score that lies anywhere."""

    variable: str
    aggregation: Aggregation
    weight: str | None = None
    step: float = 0.0
    levels: tuple[str, ...] = ()  # levels taken from the edition; all when empty
    absent_is_zero: bool = False  # the source lists every unit: a commune it does not name has none
    span: tuple[float, float] | None = (0.0, 100.0)


def settle(
    values: pl.DataFrame,
    *,
    same: pl.DataFrame,
    groups: pl.DataFrame,
    cities: pl.DataFrame,
    rules: Sequence[VariableRule],
    iris: pl.DataFrame | None = None,
    twins: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """One edition's figures on the reference territories.

    values: core frame of one edition (one row per level, code, year, variable).
    same: (level, code, territory_id), published territories that are a reference territory. Here and below
        territory_id is the identifier or anything that stands for it (its rank: integers join and sort faster).
    groups: (territory_id, code, partial), the edition's communes of every reference territory; `partial` where
        the commune was split and only a part is inside. iris: the same for the territories made of IRIS, if any.
    twins: (territory_id, twin_id), territories that are the same communes: what is published of one is taken for the
        other where this one has nothing of its own.
    cities: (code, arm), the arrondissements municipaux of Paris, Lyon and Marseille.
    Returns one row per territory, year and variable of the edition's universe, columns SETTLED.
    """
    names = [r.variable for r in rules]
    values = values.filter(pl.col("variable").is_in(names), *_taken(rules)).drop("mark")
    values = _with_whole_cities(values, cities, rules)
    direct = _published(values, same)
    if twins is not None:
        direct = pl.concat([direct, _of_twins(direct, twins)])
    parts = [direct]
    for level, members in (("COM", groups), ("IRIS", groups.clear() if iris is None else iris)):
        units = values.filter(pl.col("level") == level)
        targets = _targets(units, direct, members)
        for rule in rules:
            missing = targets.filter(pl.col("variable") == rule.variable)
            if missing.height:
                parts.append(_aggregate(missing, units, members, rule))
    return pl.concat([p.with_columns(pl.col(CODES).cast(pl.Categorical)) for p in parts])


def _taken(rules: Sequence[VariableRule]) -> list[pl.Expr]:
    """Filters that keep, of each variable, the levels its rule takes."""
    return [
        ~pl.col("variable").is_in([r.variable for r in rules if r.levels == levels])
        | pl.col("level").is_in(list(levels))
        for levels in {r.levels for r in rules if r.levels}
    ]


def _published(values: pl.DataFrame, same: pl.DataFrame) -> pl.DataFrame:
    """The producer's figures of territories that are a reference territory."""
    bounded = pl.col("lower").is_not_null() | pl.col("upper").is_not_null()
    masked = pl.col("value").is_null()
    status = pl.col("obs_status")
    return (
        values.join(same.with_columns(pl.col("level").cast(values.schema["level"])), on=["level", "code"])
        .with_columns(
            grade=pl.when(~masked).then(pl.lit("A")),
            interval_kind=pl.when(bounded).then(pl.lit("bound")),
            reason=pl.when(masked & bounded)
            .then(pl.lit("borne"))
            .when(masked & (status == "Q"))
            .then(pl.lit("secret"))
            .when(masked & (status == "N"))
            .then(pl.lit("non_significatif"))
            .when(masked)
            .then(pl.lit("non_disponible")),
            aggregated=pl.lit(False),
        )
        .select(SETTLED)
    )


def _of_twins(direct: pl.DataFrame, twins: pl.DataFrame) -> pl.DataFrame:
    """What is published of a twin, for the territories that have no figure of their own."""
    given = twins.select(own="territory_id", territory_id="twin_id")
    found = direct.join(given, on="territory_id").sort("own", "territory_id", *KEY[1:]).drop("territory_id")
    found = found.rename({"own": "territory_id"}).join(direct, on=KEY, how="anti")
    return found.unique(KEY, keep="first", maintain_order=True).select(SETTLED)


def _targets(communes: pl.DataFrame, direct: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Reference territories touched by the edition's communes and not published: (KEY, members, partial)."""
    known = communes.select("year", "variable").unique()
    complete = direct.group_by("territory_id").agg(n=pl.len()).filter(pl.col("n") == known.height)
    open_groups = groups.join(complete, on="territory_id", how="anti")
    touched = open_groups.join(communes.select("code").unique(), on="code", how="semi")
    whole = (
        open_groups.join(touched, on="territory_id", how="semi")
        .group_by("territory_id")
        .agg(members=pl.len(), partial=pl.col("partial").any())
    )
    some = direct.join(whole, on="territory_id", how="semi").select(
        "territory_id", "year", pl.col("variable").cast(known.schema["variable"])
    )
    return whole.join(known, how="cross").join(some, on=KEY, how="anti")


def _aggregate(targets: pl.DataFrame, communes: pl.DataFrame, groups: pl.DataFrame, rule: VariableRule) -> pl.DataFrame:
    """One variable for the territories that are not published, by its rule."""
    if rule.aggregation in ("distribution", "none"):
        reason = "mediane_non_sommable" if rule.aggregation == "distribution" else "perimetre_modifie"
        return _null_rows(targets, reason)
    if rule.aggregation == "weighted_mean":
        weights = communes.filter(pl.col("variable") == rule.weight)["value"]
        if weights.null_count() == weights.len():  # an edition without populations
            return _null_rows(targets, "couverture_insuffisante")
    own = communes.filter(pl.col("variable") == rule.variable)
    cells = targets.join(groups.select("territory_id", "code"), on="territory_id").join(
        own.select("code", "year", "value", "lower", "upper", "obs_status", "masked_parts"),
        on=["code", "year"],
        how="left",
    )
    if rule.absent_is_zero:
        absent = pl.col("obs_status").is_null()
        cells = cells.with_columns(
            value=pl.when(absent).then(0.0).otherwise("value"),
            obs_status=pl.col("obs_status").fill_null(pl.lit("A", cells.schema["obs_status"])),
        )
    combined = _sum(cells) if rule.aggregation == "sum" else _weighted_mean(cells, communes, rule)
    return combined.select(SETTLED)


def _sum(cells: pl.DataFrame) -> pl.DataFrame:
    """Counts of a union: exact when every member is known, a bound when some are bounds, else null.

    A member absent from the edition leaves the union null: a sum of what is there is not the union's count.
    """
    low = pl.coalesce("lower", "value")
    high = pl.coalesce("upper", "value")
    present = pl.col("obs_status").is_not_null().sum()
    summed = cells.group_by(*KEY, "members", "partial").agg(
        total=pl.col("value").sum(),
        known=pl.col("value").is_not_null().sum(),
        low=low.sum(),
        lows=low.is_not_null().sum(),
        high=high.sum(),
        highs=high.is_not_null().sum(),
        bounded=(pl.col("lower").is_not_null() | pl.col("upper").is_not_null()).any(),
        masked=(pl.col("obs_status") == "Q").any(),
        present=present,
        masked_parts=pl.when(pl.col("masked_parts").is_not_null().any()).then(pl.col("masked_parts").sum()),
    )
    whole = ~pl.col("partial")
    exact = whole & (pl.col("known") == pl.col("members"))
    bound = whole & pl.col("bounded") & (pl.col("lows") == pl.col("members"))
    top = whole & pl.col("bounded") & (pl.col("highs") == pl.col("members"))
    secret = whole & ~bound & pl.col("masked") & (pl.col("present") == pl.col("members"))
    hidden = ~exact & (bound | secret)
    return summed.with_columns(
        value=pl.when(exact).then("total"),
        lower=pl.when(bound).then("low"),
        upper=pl.when(top).then("high"),
        obs_status=pl.when(exact).then(pl.lit("A")).when(hidden).then(pl.lit("Q")).otherwise(pl.lit("O")),
        conf_status=pl.when(hidden).then(pl.lit("A")).otherwise(pl.lit("F")),
        grade=pl.when(exact).then(pl.lit("A")),
        interval_kind=pl.when(bound | top).then(pl.lit("bound")),
        reason=pl.when(exact)
        .then(None)
        .when(pl.col("partial"))
        .then(pl.lit("scission_sans_part"))
        .when(bound)
        .then(pl.lit("borne"))
        .when(secret)
        .then(pl.lit("secret"))
        .otherwise(pl.lit("couverture_insuffisante")),
        masked_parts=pl.when(bound).then(pl.col("masked_parts").cast(pl.Int32)),
        aggregated=pl.lit(True),
    )


def _weighted_mean(cells: pl.DataFrame, communes: pl.DataFrame, rule: VariableRule) -> pl.DataFrame:
    """A rate of a union: mean of the members' rates weighted by their own denominator.

    Exact (grade A) when members holding 99 % of the weight are known; its certain bounds come from the rounding
    of each rate and from letting the unknown members run over the rule's span. Below 99 % the value is null.
    """
    least, most = rule.span or (None, None)
    weights = communes.filter(pl.col("variable") == rule.weight).select("code", "year", weight="value")
    half = rule.step / 2
    known = pl.col("value").is_not_null()
    w = pl.col("weight").fill_null(UNKNOWN_WEIGHT)
    low = pl.coalesce((pl.col("value") - half).clip(least, most), "lower", pl.lit(least, pl.Float64))
    high = pl.coalesce((pl.col("value") + half).clip(least, most), "upper", pl.lit(most, pl.Float64))
    mean = (
        cells.join(weights, on=["code", "year"], how="left")
        .group_by(*KEY, "members", "partial")
        .agg(
            all=w.sum(),
            some=w.filter(known).sum(),
            mass=(w * pl.col("value")).sum(),
            low=pl.when(low.is_not_null().all()).then((w * low).sum()),
            high=pl.when(high.is_not_null().all()).then((w * high).sum()),
            masked=(pl.col("obs_status") == "Q").any(),
            present=pl.col("obs_status").is_not_null().sum(),
        )
    )
    exact = ~pl.col("partial") & (pl.col("some") >= KNOWN_SHARE * pl.col("all")) & (pl.col("some") > 0)
    return mean.with_columns(
        value=pl.when(exact).then(pl.col("mass") / pl.col("some")),
        lower=pl.when(exact).then(pl.col("low") / pl.col("all")),
        upper=pl.when(exact).then(pl.col("high") / pl.col("all")),
        obs_status=pl.when(exact).then(pl.lit("A")).otherwise(pl.lit("O")),
        conf_status=pl.lit("F"),
        grade=pl.when(exact).then(pl.lit("A")),
        interval_kind=pl.when(exact & pl.col("low").is_not_null()).then(pl.lit("bound")),
        reason=pl.when(exact)
        .then(None)
        .when(pl.col("partial"))
        .then(pl.lit("scission_sans_part"))
        .otherwise(pl.lit("couverture_insuffisante")),
        masked_parts=pl.lit(None, pl.Int32),
        aggregated=pl.lit(True),
    )


def _null_rows(targets: pl.DataFrame, reason: str) -> pl.DataFrame:
    """Territories for which the rule forbids a figure, with the reason."""
    return targets.select(
        *KEY,
        *(pl.lit(None, pl.Float64).alias(c) for c in ("value", "lower", "upper")),
        obs_status=pl.lit("O"),
        conf_status=pl.lit("F"),
        grade=pl.lit(None, pl.String),
        interval_kind=pl.lit(None, pl.String),
        reason=pl.lit(reason),
        masked_parts=pl.lit(None, pl.Int32),
        aggregated=pl.lit(True),
    ).select(SETTLED)


def _with_whole_cities(values: pl.DataFrame, cities: pl.DataFrame, rules: Sequence[VariableRule]) -> pl.DataFrame:
    """Adds Paris, Lyon or Marseille as a commune where the edition has it only by arrondissement.

    Only counts and weighted means, and only when every arrondissement is there; a city already published is left alone,
    so that it is never counted twice.
    """
    districts = values.filter(pl.col("level") == "ARM")
    if districts.height == 0:
        return values
    summable = [r.variable for r in rules if r.aggregation == "sum"]
    found = [_sum(_of_cities(districts.filter(pl.col("variable").is_in(summable)), cities))]
    for rule in rules:
        if rule.aggregation == "weighted_mean":
            members = _of_cities(districts.filter(pl.col("variable") == rule.variable), cities)
            found.append(_weighted_mean(members, districts, rule))
    own = values.filter(pl.col("level") == "COM")
    whole = [
        rows.filter(pl.col("present") == pl.col("members"))
        .rename({"territory_id": "code"})
        .with_columns(level=pl.lit("COM"))
        .select(values.columns)
        .cast(dict(values.schema))  # pyright: ignore[reportArgumentType]
        .join(own, on=["code", "year", "variable"], how="anti")
        for rows in found
    ]
    return pl.concat([values, *whole])


def _of_cities(districts: pl.DataFrame, cities: pl.DataFrame) -> pl.DataFrame:
    """The arrondissements of each city as the members of a union, absent ones included."""
    return (
        cities.rename({"code": "territory_id", "arm": "code"})
        .join(districts.select("year", "variable").unique(), how="cross")
        .join(districts, on=["code", "year", "variable"], how="left")
        .with_columns(partial=pl.lit(False), members=pl.len().over("territory_id", "year", "variable"))
    )
