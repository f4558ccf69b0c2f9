"""Indicators from settled variables: published figures, ratios, growth, gaps to a reference, ranks.

Each function returns rows of the long table without `indicator_id` and `release_added`, columns COLUMNS.
Nothing here reads the catalogue: it hands over one of the specifications below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

COLUMNS = (
    "territory_id",
    "year",
    "sex",
    "age",
    "reference",
    "value",
    "obs_status",
    "conf_status",
    "grade",
    "lower",
    "upper",
    "interval_kind",
    "weight",
    "reason",
    "masked_parts",
    "cog_year_source",
    "source_ids",
)
ORDER = ("reference", "year", "sex", "age", "territory_id")  # of the rows that each function returns
CODES = (  # columns of few distinct codes: a fifth of the memory that text takes
    "sex",
    "age",
    "obs_status",
    "conf_status",
    "grade",
    "interval_kind",
    "reason",
    "source_ids",
)
TOTAL = "_T"
NO_REFERENCE = "_Z"
MEDIAN_RULED_OUT = "mediane_non_sommable"

# settled rows (see methods.settle) of one variable, with source_id, source_ids (source/edition), cog_year, issue
Variables = Callable[[str], pl.DataFrame]


@dataclass(frozen=True)
class Published:
    """A variable as settled: source -> variable, in order of preference; `ages` maps an age code to the
    variable of that group; `weight` is the variable giving the population the value bears on."""

    variables: Mapping[str, str]
    ages: Mapping[str, str] = field(default_factory=dict[str, str])
    weight: str | None = None


@dataclass(frozen=True)
class Term:
    """One term of a ratio: coefficient x variable, `lag` years before the year of the indicator."""

    variable: str
    coefficient: float = 1.0
    lag: int = 0


@dataclass(frozen=True)
class Ratio:
    """scale x sum of terms / sum of terms, both summed over the same territory (never a mean of ratios)."""

    numerator: Sequence[Term]
    denominator: Sequence[Term]
    scale: float = 100.0


@dataclass(frozen=True)
class Growth:
    """Mean annual growth (%) of an indicator over `span` years: ((x(t)/x(t-span))^(1/span) - 1) x 100."""

    of: str
    span: int = 5


@dataclass(frozen=True)
class Gap:
    """Distance of an indicator to the same figure of the territory above, in points or as a ratio (%)."""

    of: str
    kind: Literal["points", "ratio"]
    references: Sequence[str] = ("EPCI", "DEP", "REG", "METRO")


@dataclass(frozen=True)
class Rank:
    """Descending rank (1 = highest value, ties at the smallest rank) within a stated universe of communes."""

    of: str
    universe: str = "COM_METRO"


Specification = Published | Ratio | Growth | Gap | Rank


def published(spec: Published, variables: Variables) -> pl.DataFrame:
    """Settled figures as observations; where several sources have a territory and year, the first wins, a
    figure published for the territory before one aggregated here."""
    groups = {TOTAL: spec.variables, **{age: dict.fromkeys(spec.variables, v) for age, v in spec.ages.items()}}
    parts: dict[tuple[int, str], pl.DataFrame] = {}
    for age, by_source in groups.items():
        frames = [
            variables(variable).filter(pl.col("source_id") == source).with_columns(_rank=pl.lit(rank))
            for rank, (source, variable) in enumerate(by_source.items())
        ]
        rows = _prefer(pl.concat(frames), ["territory_id", "year"])
        # the population of a group (an age of referent) is not published: no weight rather than a wrong one
        weighted = _weighted(rows, variables, spec.weight if age == TOTAL else None)
        done = weighted.with_columns(sex=pl.lit(TOTAL), age=pl.lit(age), reference=pl.lit(NO_REFERENCE)).pipe(
            _provenance
        )
        for (year,), block in done.group_by("year"):
            parts[int(str(year)), age] = block.sort("territory_id")
    return pl.concat([parts[key] for key in sorted(parts)]) if parts else _coded(_nothing())


def _nothing() -> pl.DataFrame:
    """No row: the years asked for have no edition of the sources."""
    numbers = dict.fromkeys(("value", "lower", "upper", "weight"), pl.Float64)
    small = {"territory_id": pl.UInt32, "year": pl.Int16, "masked_parts": pl.Int32, "cog_year_source": pl.Int16}
    return pl.DataFrame(schema={c: (numbers | small).get(c, pl.String) for c in COLUMNS})


def _weighted(rows: pl.DataFrame, variables: Variables, weight: str | None) -> pl.DataFrame:
    if weight is None:
        return rows.with_columns(weight=pl.lit(None, pl.Float64))
    weights = _prefer(variables(weight).with_columns(_rank=pl.lit(0)), ["territory_id", "year"])
    return rows.join(
        weights.select("territory_id", "year", weight="value"), on=["territory_id", "year"], how="left"
    )


def ratio(spec: Ratio, variables: Variables) -> pl.DataFrame:
    """A ratio of counts of one source and edition; null, with the reason, when any term is null."""
    key = ["territory_id", "source_id", "source_ids", "cog_year", "issue", "year"]
    terms = [("num", t) for t in spec.numerator] + [("den", t) for t in spec.denominator]
    wide: pl.DataFrame | None = None
    for i, (_, term) in enumerate(terms):
        column = variables(term.variable).select(
            *key[:-1],
            (pl.col("year") + term.lag).cast(pl.Int16).alias("year"),
            (pl.col("value") * term.coefficient).alias(f"v{i}"),
            pl.col("reason").alias(f"r{i}"),
            pl.col("obs_status").alias(f"o{i}"),
            pl.col("conf_status").alias(f"c{i}"),
            pl.col("aggregated").alias(f"a{i}"),
        )
        wide = column if wide is None else wide.join(column, on=key)
    assert wide is not None, "a ratio has at least one term"

    def total(part: str) -> pl.Expr:
        return pl.sum_horizontal(
            [pl.col(f"v{i}") for i, (p, _) in enumerate(terms) if p == part], ignore_nulls=False
        )

    def first(prefix: str) -> pl.Expr:
        unknown = [pl.when(pl.col(f"v{i}").is_null()).then(pl.col(f"{prefix}{i}")) for i in range(len(terms))]
        return pl.coalesce(unknown)

    rows = wide.with_columns(num=total("num"), den=total("den")).with_columns(
        # ten decimals: the census weights leave residues that would put a share of 100 % above it
        value=pl.when(pl.col("den") > 0).then((spec.scale * pl.col("num") / pl.col("den")).round(10)),
        weight=pl.col("den"),
    )
    known = pl.col("value").is_not_null()
    rows = rows.with_columns(
        obs_status=pl.when(known).then(pl.lit("A")).otherwise(first("o").fill_null("M")),
        conf_status=pl.when(known).then(pl.lit("F")).otherwise(first("c").fill_null("F")),
        grade=pl.when(known).then(pl.lit("A")),
        reason=pl.when(known).then(None).otherwise(first("r").fill_null("sans_objet")),
        aggregated=pl.any_horizontal([pl.col(f"a{i}") for i in range(len(terms))]),
        _rank=pl.lit(0),
        sex=pl.lit(TOTAL),
        age=pl.lit(TOTAL),
        reference=pl.lit(NO_REFERENCE),
        lower=pl.lit(None, pl.Float64),
        upper=pl.lit(None, pl.Float64),
        interval_kind=pl.lit(None, pl.String),
        masked_parts=pl.lit(None, pl.Int32),
    )
    return _prefer(rows, ["territory_id", "year"]).sort(ORDER).pipe(_provenance)


def growth(spec: Growth, base: pl.DataFrame) -> pl.DataFrame:
    """Mean annual growth between year t - span and t of the observations `base`; null where either is null."""
    base = base.filter((pl.col("age") == TOTAL) & (pl.col("sex") == TOTAL))
    key = ["territory_id", "year"]
    before = base.select(
        "territory_id",
        (pl.col("year") + spec.span).cast(pl.Int16).alias("year"),
        before="value",
        before_reason="reason",
        before_sources="source_ids",
    )
    rows = base.join(before, on=key)
    known = pl.col("value").is_not_null() & (pl.col("before") > 0)
    change = ((pl.col("value") / pl.col("before")) ** (1 / spec.span) - 1) * 100
    return rows.with_columns(
        value=pl.when(known & (pl.col("value") > 0)).then(change),
        reason=pl.when(known)
        .then(None)
        .otherwise(pl.coalesce(pl.col("reason", "before_reason").cast(pl.String), pl.lit("sans_objet"))),
        obs_status=pl.when(known).then(pl.lit("A")).otherwise(pl.lit("O")),
        conf_status=pl.lit("F"),
        grade=pl.when(known).then(pl.lit("A")),
        source_ids=_join_sources("before_sources", "source_ids"),
        **_no_interval(),
        weight=pl.lit(None, pl.Float64),
    ).pipe(_finished)


def gap(spec: Gap, base: pl.DataFrame, parents: pl.DataFrame) -> pl.DataFrame:
    """Gaps of communes, arrondissements and EPCI to the territories above them: `reference` is the latter.

    base: observations of the indicator; parents: (territory_id, reference, reference_level). Only pairs of
    published values give a row: a bound never enters a gap.
    """
    known = base.filter(pl.col("value").is_not_null() & (pl.col("age") == TOTAL) & (pl.col("sex") == TOTAL))
    above = known.select(
        pl.col("territory_id").alias("reference"),
        "year",
        above="value",
        above_sources="source_ids",
    )
    rows = (
        known.drop("reference")
        .join(parents.filter(pl.col("reference_level").is_in(list(spec.references))), on="territory_id")
        .join(above, on=["reference", "year"])
    )
    distance = (
        pl.col("value") - pl.col("above")
        if spec.kind == "points"
        else 100 * pl.col("value") / pl.col("above")
    )
    return rows.with_columns(
        value=distance,
        grade=pl.lit("A"),
        source_ids=_join_sources("source_ids", "above_sources"),
        **_no_interval(),
        weight=pl.lit(None, pl.Float64),
    ).pipe(_finished)


def rank(spec: Rank, base: pl.DataFrame, universe: pl.DataFrame) -> pl.DataFrame:
    """Rank among the territories of `universe` (column territory_id) that have a published value that year."""
    rows = base.filter(
        pl.col("value").is_not_null() & (pl.col("age") == TOTAL) & (pl.col("sex") == TOTAL)
    ).join(universe.select("territory_id"), on="territory_id", how="semi")
    return rows.with_columns(
        value=pl.col("value").rank("min", descending=True).over("year").cast(pl.Float64),
        weight=pl.len().over("year").cast(pl.Float64),  # how many territories are ranked
        reference=pl.lit(spec.universe),
        grade=pl.lit("A"),
        **_no_interval(),
    ).pipe(_finished)


def _prefer(rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """One row per key: published before aggregated, then the preferred source, then the latest issue."""
    several = rows.group_by("year").agg(n=pl.col("source_ids").n_unique()).filter(pl.col("n") > 1)
    if several.height == 0:
        return rows
    shared = rows.join(several, on="year", how="semi")
    order = [*key, "aggregated", "_rank", "issue"]
    descending = [False] * (len(order) - 1) + [True]
    chosen = shared.sort(order, descending=descending).unique(key, keep="first", maintain_order=True)
    return pl.concat([rows.join(several, on="year", how="anti"), chosen])


def _provenance(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(cog_year_source=pl.col("cog_year").cast(pl.Int16)).pipe(_coded)


def _finished(rows: pl.DataFrame) -> pl.DataFrame:
    text = [pl.col(c).cast(pl.String) for c in ("sex", "age")]
    return rows.with_columns(text).sort(ORDER).pipe(_coded)


def _coded(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(COLUMNS).with_columns(pl.col(CODES).cast(pl.Categorical))


def _no_interval() -> dict[str, pl.Expr]:
    return {
        "lower": pl.lit(None, pl.Float64),
        "upper": pl.lit(None, pl.Float64),
        "interval_kind": pl.lit(None, pl.String),
        "masked_parts": pl.lit(None, pl.Int32),
    }


def _join_sources(first: str, second: str) -> pl.Expr:
    one, other = pl.col(first).cast(pl.String), pl.col(second).cast(pl.String)
    return pl.when(one == other).then(one).otherwise(pl.format("{};{}", one, other))
