"""Comparing one edition's lower-level figures with the higher level the same producer publishes.

Every comparison is an interval: what the published figure can be, given how its members and itself are
rounded and what is masked. A figure outside its interval is a finding: a tolerance is computed, never
chosen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import yaml
from scipy.sparse import csr_array

FOLDER = Path(__file__).parent
KNOWN_SHARE = 0.99  # below it, unknown members leave a rate to an interval, and quantiles uncompared
EPSILON = 1e-8  # of floating point, relative to the figure; ratios are printed with nine decimals
# levels published side by side where the first is made of the second
NESTED = (("EPCI", "EPT"), ("DEP", "ARR"), ("REG", "DEP"), ("METRO", "REG"))
# zones d'emploi changed zoning in 2020 under codes of the same form: members of one are not those of the other
UNCOMPARED = ("ZE",)
# Paris, Lyon and Marseille; every edition gives the same codes
CITIES = {
    "75056": tuple(str(c) for c in range(75101, 75121)),
    "69123": tuple(str(c) for c in range(69381, 69390)),
    "13055": tuple(str(c) for c in range(13201, 13217)),
}

Kind = Literal["sum", "weighted", "range", "ratio", "none"]
# what a person reads of a line that is not a plain comparison
CAUSES = {
    "range": "non sommable sans les poids ou les distributions : vérifié par encadrement (plus petite "
    "et plus grande valeur des membres)",
    "ratio": "rapport non sommable : vérifié contre son numérateur et son dénominateur publiés",
    "none": "indice de dispersion non sommable et sans encadrement possible par ses membres",
}

DETAILS: dict[str, pl.DataType | type[pl.DataType]] = {
    "variable": pl.String,
    "level": pl.String,
    "code": pl.String,
    "year": pl.Int16,
    "member_level": pl.String,
    "kind": pl.String,
    "published": pl.Float64,
    "rebuilt": pl.Float64,
    "lower": pl.Float64,  # what the members allow, rounding of the members included
    "upper": pl.Float64,
    "half_step": pl.Float64,  # rounding of the published figure
    "known_share": pl.Float64,
    "compared": pl.Boolean,  # members holding 99 % of the weight are known
    "inside": pl.Boolean,  # null: nothing can be said
}


@dataclass(frozen=True)
class Rule:
    """How a variable of a source combines over the members of a territory.

    weight: the variable holding the weights (`weighted`), or giving how much of a territory is known
    (`range`). steps: level -> rounding steps in use there, coarsest first ("*": other levels). A figure is
    taken as rounded by the coarsest step it is a multiple of: the widest it can have been rounded.
    half_width replaces it for a figure that is not rounded but deduced from rounded ones. parts: numerator
    and denominator of a `ratio`. unknown_most: the most a masked member of a `sum` can hold.
    """

    kind: Kind
    weight: str | None = None
    steps: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    parts: tuple[str, str] | None = None
    unknown_most: float | None = None
    half_width: float | None = None


@dataclass(frozen=True)
class Known:
    """A declared exception: figures that do not reconcile, and why. It fails once they do."""

    source_id: str
    edition: str
    level: str
    variables: tuple[str, ...]
    codes: tuple[str, ...]
    cause_fr: str


def reconcile_edition(values: pl.DataFrame, members: pl.DataFrame, rules: Mapping[str, Rule]) -> pl.DataFrame:
    """One row per published higher-level figure and member level: is it what its members allow?

    values: core frame of one edition (sources/schema.py VALUES), through `comparable`. members: (level, code,
    commune) in that edition's COG. rules: by variable; a variable without a rule is left out.
    """
    present = set(values["variable"].unique().cast(pl.String))
    rules = {variable: rule for variable, rule in rules.items() if variable in present}
    places = _informative(values.lazy(), _needed(rules)).select("level", "code").unique().collect()
    links = _links(members, places.cast(pl.String).sort("level", "code"))
    alone = links.is_empty()  # an edition of communes: its ratios are compared, all the rules say how it rounds
    named = [(variable, rule) for variable, rule in rules.items() if rule.kind == "ratio" or not alone]
    at_once = max(1, LARGEST // max(1, links.height, places.height))
    parts = [pl.DataFrame(schema=DETAILS)]
    for first in range(0, len(named), at_once):
        some = dict(named[first : first + at_once])
        parts += _reconciled(_wide(_text(values, _needed(some)), _needed(some), rules), links, some)
    return pl.concat(parts).sort("variable", "level", "code", "year", "member_level")


def _reconciled(wide: pl.DataFrame, links: pl.DataFrame, rules: Mapping[str, Rule]) -> list[pl.DataFrame]:
    """The figures of each of these variables, judged (DETAILS). wide: what they need, from `_wide`."""
    published = wide.join(links.select("level", "code").unique(), on=["level", "code"], how="semi")
    found = _from_members(wide, links, rules)
    parts: list[pl.DataFrame] = []
    for variable, rule in rules.items():
        if rule.kind == "ratio":
            rows = _against_parts(wide, variable, rule)
        elif rule.kind == "none":
            rows = published.with_columns(member_level=pl.lit(None, pl.String), **_nothing())
        else:
            rows = found.select(*KEY, "member_level", *(pl.col(f"{variable}:{c}").alias(c) for c in FOUND))
            rows = rows.join(published, on=KEY)
        parts.append(_judged(rows, variable, rule))
    return parts


def _needed(rules: Mapping[str, Rule]) -> list[str]:
    """The variables that the rules read: their own, weights, parts of ratios."""
    needed = {*rules, *(r.weight for r in rules.values()), *(p for r in rules.values() for p in r.parts or ())}
    return sorted(n for n in needed if n)


def _informative(values: pl.LazyFrame, names: Sequence[str]) -> pl.LazyFrame:
    """The cells of these variables that say something."""
    told = pl.any_horizontal(pl.col("value", "lower", "upper").is_not_null())
    return values.filter(pl.col("variable").cast(pl.String).is_in(names), told)


def _text(values: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The same, codes as text."""
    text = pl.col("level", "code", "variable").cast(pl.String)
    return _informative(values.lazy(), names).with_columns(text).collect()


KEY = ["level", "code", "year"]
FOUND = ("rebuilt", "lower", "upper", "known_share")
LARGEST = 30_000_000  # links between territories and their members, times variables, joined at once


def _wide(cells: pl.DataFrame, names: Sequence[str], rules: Mapping[str, Rule]) -> pl.DataFrame:
    """One row per territory and year; per variable of `names` its value and, as `:low` and `:high`, what it can have
    been before rounding. Bounds are certain as they are read. cells: those of these variables, codes as text."""
    wide = cells.select(KEY).unique().sort(KEY).with_row_index("row")
    of = cells.join(wide, on=KEY, maintain_order="left").partition_by("variable", as_dict=True)
    nothing = cells.clear().with_columns(row=pl.lit(0, pl.UInt32))
    columns: list[pl.Series] = []
    for name in names:
        known = of.get((name,), nothing)
        columns += [_placed(known, c, wide.height).alias(f"{c}_{name}") for c in ("value", "lower", "upper")]
    wide = wide.drop("row").with_columns(columns)
    shown: list[pl.Expr] = []
    for name in names:
        value, low, high = (pl.col(f"{c}_{name}") for c in ("value", "lower", "upper"))
        half = _half_step(rules[name], pl.coalesce(value, high, low)) if name in rules else pl.lit(0.0)
        shown += [
            value.alias(name),
            half.alias(f"{name}:half"),
            pl.coalesce(value - half, low).alias(f"{name}:low"),
            pl.coalesce(value + half, high).alias(f"{name}:high"),
        ]
    return wide.select(*KEY, *shown)


def _placed(known: pl.DataFrame, column: str, height: int) -> pl.Series:
    """A column of as many rows, null but where `row` says that a figure stands; of two on a row, the first."""
    placed = np.full(height, np.nan)
    backwards = known.select("row", column).reverse()
    placed[backwards["row"].to_numpy()] = backwards[column].to_numpy()
    return pl.Series(placed, nan_to_null=True)


def _half_step(rule: Rule, printed: pl.Expr) -> pl.Expr:
    """Half of the coarsest declared step that the printed figure is a multiple of, 0 where nothing is
    rounded."""

    def of(steps: Sequence[float]) -> pl.Expr:
        found = pl.lit(0.0)
        for step in reversed(steps):
            quotient = printed / step
            found = pl.when((quotient - quotient.round()).abs() < 1e-6).then(step / 2).otherwise(found)
        return found

    if rule.half_width is not None:
        return pl.lit(rule.half_width)
    half = of(rule.steps.get("*", ()))
    for level, steps in rule.steps.items():
        if level != "*":
            half = pl.when(pl.col("level") == level).then(of(steps)).otherwise(half)
    return half


def _links(members: pl.DataFrame, territories: pl.DataFrame) -> pl.DataFrame:
    """(level, code, member_level, member): every territory with its communes, with the territories of a level
    published beside it that cover it exactly, and a city with its arrondissements municipaux. territories: those of
    the edition (level, code)."""
    communes = territories.filter(pl.col("level") == "COM").select(commune="code")
    text = members.select(pl.col("level", "code", "commune").cast(pl.String))
    above = text.filter(~pl.col("level").is_in(["COM", "ARM", *UNCOMPARED]))
    whole = above.join(territories, on=["level", "code"], how="semi").unique(maintain_order=True)
    parts = [_arrondissements(territories)]
    if communes.height:
        parts.append(whole.with_columns(member_level=pl.lit("COM")).rename({"commune": "member"}))
    for level, member_level in NESTED:
        below = whole.filter(pl.col("level") == member_level).select("commune", member="code")
        joined = whole.filter(pl.col("level") == level).join(below, on="commune", how="left")
        pairs = joined.group_by("level", "code", "member").agg(shared=pl.len())
        sizes = below.group_by("member").agg(size=pl.len())
        covered = (pl.col("shared") == pl.col("size")).fill_null(False).all().over("level", "code")
        pairs = pairs.join(sizes, on="member", how="left").filter(covered)
        parts.append(pairs.with_columns(member_level=pl.lit(member_level)))
    return pl.concat([p.select("level", "code", "member_level", "member") for p in parts])


def _arrondissements(territories: pl.DataFrame) -> pl.DataFrame:
    """The arrondissements municipaux published beside Paris, Lyon and Marseille, when all of them are."""
    there = set(territories.filter(pl.col("level") == "ARM")["code"])
    found = [("COM", city, "ARM", arm) for city, arms in CITIES.items() if there.issuperset(arms) for arm in arms]
    names = ("level", "code", "member_level", "member")
    return pl.DataFrame(found, schema=dict.fromkeys(names, pl.String), orient="row")


def _from_members(wide: pl.DataFrame, links: pl.DataFrame, rules: Mapping[str, Rule]) -> pl.DataFrame:
    """Per territory, year and member level, for every variable that combines: what its members leave possible
    (FOUND).

    Sums are products of a matrix of 0 and 1, a row per territory, by the figures of the members, in the order of the
    links: the same to the last decimal whatever the machine.
    """
    pairs, groups = _pairs(wide, links)
    combined = {v: r for v, r in rules.items() if r.kind in ("sum", "weighted", "range")}
    starts, members = groups["start"].to_numpy(), pairs["member"].to_numpy()
    figures = pl.concat([wide, wide.clear(1)])  # the last row is that of members without any figure
    sums = figures.select(e for v, r in combined.items() for e in _summed(v, r))
    least = figures.select(e for v, r in combined.items() for e in _least(v, r))
    inside = csr_array((np.ones(members.size), members, [*starts, members.size]), shape=(starts.size, figures.height))
    found = groups.select(*KEY, "member_level", "members").with_columns(
        *(pl.Series(name, inside @ sums[name].to_numpy()) for name in sums.columns),
        *(pl.Series(name, np.minimum.reduceat(least[name].to_numpy()[members], starts)) for name in least.columns),
        **{f"{w}:total": wide[w].gather(groups["row"]) for w in {r.weight for r in combined.values()} if w},
    )
    return found.with_columns(
        expr.alias(f"{variable}:{name}")
        for variable, rule in combined.items()
        for name, expr in zip(FOUND, _combined(variable, rule), strict=True)
    )


def _pairs(wide: pl.DataFrame, links: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The published territories and their members as numbers of rows of `wide`, the height of `wide` for a member
    without a row: `member`, in the order of the groups; then one row per group: KEY, member_level, the `row` of the
    territory, its number of `members` and the place of the first of them (`start`)."""
    rows = wide.select(KEY).with_row_index("row")
    below = rows.select(member_level="level", member="code", year="year", number="row")
    pairs = (
        rows.join(links, on=["level", "code"])
        .join(below, on=["member_level", "member", "year"], how="left")
        .with_columns(pl.col("number").fill_null(wide.height))
        .sort("row", "member_level", "number")
    )
    groups = pairs.group_by("row", "member_level", maintain_order=True).agg(
        pl.col(KEY).first(), members=pl.len()
    )
    starts = groups["members"].cum_sum() - groups["members"]
    return pairs.select(member="number"), groups.with_columns(start=starts)


def _summed(variable: str, rule: Rule) -> list[pl.Expr]:
    """Of each member, what is summed for `_combined` to make an interval."""
    value, low, high = pl.col(variable), pl.col(f"{variable}:low"), pl.col(f"{variable}:high")
    w = pl.col(rule.weight) if rule.weight else pl.lit(None, pl.Float64)
    if rule.kind == "sum":
        most = rule.unknown_most if rule.unknown_most is not None else float("inf")
        made = {"sum": value, "low": low, "high": high.fill_null(most), "known": value.is_not_null()}
    elif rule.kind == "weighted":
        made = {
            "weight": w,
            "weighed": w.is_not_null(),
            "some": pl.when(value.is_not_null()).then(w),
            "mass": w * value,
            "low": w * low,
            "high": w * high.fill_null(100.0),
        }
    else:
        made = {"some": pl.when(_bounded(variable)).then(w)} if rule.weight else {}
    return [expr.cast(pl.Float64).fill_null(0.0).alias(f"{variable}|{name}") for name, expr in made.items()]


def _least(variable: str, rule: Rule) -> list[pl.Expr]:
    """Of each member, what the least of is taken: its lower bound, the opposite of its upper one, whether it has both;
    infinite where there is none."""
    if rule.kind != "range":
        return []
    made = {"low": pl.col(f"{variable}:low"), "high": -pl.col(f"{variable}:high"), "every": _bounded(variable)}
    return [e.cast(pl.Float64).fill_null(float("inf")).alias(f"{variable}|{name}") for name, e in made.items()]


def _bounded(variable: str) -> pl.Expr:
    return pl.col(f"{variable}:low").is_not_null() & pl.col(f"{variable}:high").is_not_null()


def _combined(variable: str, rule: Rule) -> tuple[pl.Expr, pl.Expr, pl.Expr, pl.Expr]:
    """(rebuilt, lower, upper, known_share) of a territory.

    sum: masked members hold from 0 to `unknown_most`. weighted: unknown rates run from 0 to 100, and members
    without a weight share what remains of the territory's own published weight; where it has none, nothing can be said.
    range: between the smallest
    and the largest member, which holds of a quantile as of a rate.
    """

    def part(name: str) -> pl.Expr:
        return pl.col(f"{variable}|{name}")

    if rule.kind == "sum":
        return part("sum"), part("low"), part("high"), part("known") / pl.col("members")
    total = pl.col(f"{rule.weight}:total") if rule.weight else pl.lit(None, pl.Float64)
    if rule.kind == "weighted":
        rest = (
            pl.when(total.is_not_null())
            .then(pl.max_horizontal(total - part("weight"), 0.0))
            .when(part("weighed") == pl.col("members"))
            .then(0.0)
        )
        everyone = part("weight") + rest
        everyone = pl.when(everyone > 0).then(everyone)
        rebuilt = part("mass") / part("some")
        return (
            rebuilt,
            part("low") / everyone,
            (part("high") + 100.0 * rest) / everyone,
            part("some") / everyone,
        )
    some = part("some") / total if rule.weight else pl.lit(0.0)
    low, high = part("low"), -part("high")
    return (
        pl.lit(None, pl.Float64),
        pl.when(low.is_finite()).then(low),
        pl.when(high.is_finite()).then(high),
        pl.when(part("every") == 1.0).then(1.0).otherwise(some),
    )


def _against_parts(wide: pl.DataFrame, variable: str, rule: Rule) -> pl.DataFrame:
    """A ratio against its own published numerator and denominator, whatever the level."""
    assert rule.parts is not None, "a ratio names its parts"
    top, bottom = rule.parts
    return wide.with_columns(
        member_level=pl.lit(None, pl.String),
        rebuilt=pl.col(top) / pl.col(bottom),
        known_share=pl.lit(1.0),
        lower=pl.col(f"{top}:low") / pl.col(f"{bottom}:high"),
        upper=pl.col(f"{top}:high") / pl.col(f"{bottom}:low"),
    ).filter(pl.col("rebuilt").is_not_null())


def _nothing() -> dict[str, pl.Expr]:
    return {name: pl.lit(None, pl.Float64) for name in FOUND}


def _judged(rows: pl.DataFrame, variable: str, rule: Rule) -> pl.DataFrame:
    """The published figures of one variable beside their interval (DETAILS)."""
    share = pl.col("known_share")
    enough = 1.0 if rule.kind == "sum" else KNOWN_SHARE
    compared = (share >= enough) & pl.col("lower").is_not_null()
    # a range over known members says nothing of a territory where much is unknown; other intervals always
    # hold
    said = compared if rule.kind == "range" else pl.col("lower").is_not_null()
    slack = pl.col("half_step") + EPSILON * (1 + pl.col("published").abs())
    inside = (pl.col("published") + slack >= pl.col("lower")) & (pl.col("published") - slack <= pl.col("upper"))
    return (
        rows.with_columns(
            variable=pl.lit(variable),
            kind=pl.lit(rule.kind),
            published=pl.col(variable),
            half_step=pl.col(f"{variable}:half"),
        )
        .filter(pl.col("published").is_not_null())
        .with_columns(compared=compared.fill_null(False))
        .with_columns(inside=pl.when(said.fill_null(False)).then(inside))
        .select(list(DETAILS))
        .cast(DETAILS)  # pyright: ignore[reportArgumentType]
    )


STATUSES = ("outside", "ok", "non_sommable", "sans_objet")  # worst first
STATUS_LABELS = {
    "outside": "hors écart",
    "ok": "ok",
    "non_sommable": "non sommable, encadré",
    "sans_objet": "pas de niveau supérieur",
}

LINES: dict[str, pl.DataType | type[pl.DataType]] = {
    "variable": pl.String,
    "level": pl.String,
    "source_id": pl.String,
    "edition": pl.String,
    "year": pl.Int16,
    "territories": pl.Int64,
    "compared": pl.Int64,
    "max_abs_difference": pl.Float64,
    "tolerance": pl.Float64,
    "outside": pl.Int64,
    "status": pl.String,
    "cause_fr": pl.String,
    "sample": pl.String,  # codes outside
}


def lines(
    details: pl.DataFrame, source_id: str, edition: str, exceptions: Sequence[Known] = ()
) -> tuple[pl.DataFrame, list[str]]:
    """One line per variable, level and year of an edition (LINES), and the exceptions that no longer occur.

    details: what `reconcile_edition` returned. A declared exception leaves `outside` and is told in
    `cause_fr`; a stale one is named so that it is removed.
    """
    own = [e for e in exceptions if e.source_id == source_id and e.edition == edition]
    wrong = details.filter(~pl.col("inside")).select("variable", "level", "code").unique()
    covered = pl.DataFrame(
        [(v, e.level, c, e.cause_fr) for e in own for v in e.variables for c in e.codes],
        schema={"variable": pl.String, "level": pl.String, "code": pl.String, "known": pl.String},
        orient="row",
    )
    # nothing is said of an exception on figures that are not compared here (a companion edition is missing)
    stale = covered.join(details.select("variable", "level").unique(), on=["variable", "level"], how="semi").join(
        wrong, on=["variable", "level", "code"], how="anti"
    )
    named = [f"{source_id}/{edition} {v} {level}-{code}" for v, level, code, _ in stale.sort(pl.all()).iter_rows()]
    best = (
        details.join(covered, on=["variable", "level", "code"], how="left")
        .with_columns(wrong=(~pl.col("inside")).fill_null(False).any().over("variable", "level", "code", "year"))
        .with_columns(width=pl.col("upper") - pl.col("lower"))
        .sort("compared", "width", descending=[True, False], nulls_last=True, maintain_order=True)
        .unique(["variable", "level", "code", "year"], keep="first", maintain_order=True)
    )
    plain = pl.col("compared") & pl.col("rebuilt").is_not_null()
    distance = (pl.col("published") - pl.col("rebuilt")).abs()
    allowed = pl.max_horizontal(pl.col("upper") - pl.col("rebuilt"), pl.col("rebuilt") - pl.col("lower"))
    out = pl.col("wrong") & pl.col("known").is_null()
    found = best.group_by("variable", "level", "year", "kind").agg(
        territories=pl.len().cast(pl.Int64),
        compared=pl.col("compared").sum().cast(pl.Int64),
        max_abs_difference=distance.filter(plain).max(),
        tolerance=(allowed + pl.col("half_step")).filter(plain).max(),
        outside=out.sum().cast(pl.Int64),
        sample=pl.col("code").filter(out).sort().head(5).str.join(", "),
        bounded=(pl.col("inside").is_not_null() & ~pl.col("compared")).sum(),
        known=(pl.col("wrong") & pl.col("known").is_not_null()).sum(),
        cause=pl.col("known").drop_nulls().first(),
    )
    status = (
        pl.when(pl.col("outside") > 0)
        .then(pl.lit("outside"))
        .when(pl.col("kind").is_in(["sum", "weighted"]))
        .then(pl.lit("ok"))
        .otherwise(pl.lit("non_sommable"))
    )
    return (
        found.with_columns(status=status, cause_fr=_cause(), source_id=pl.lit(source_id), edition=pl.lit(edition))
        .select(list(LINES))
        .cast(LINES)  # pyright: ignore[reportArgumentType]
        .sort("source_id", "edition", "variable", "level", "year"),
        named,
    )


def _cause() -> pl.Expr:
    """What a reader must know of a line, in French; null when every territory is plainly compared."""
    few = pl.col("territories") - pl.col("compared")
    return pl.concat_str(
        [
            pl.col("kind").replace_strict(CAUSES, default=None),
            pl.when(pl.col("kind").is_in(["sum", "weighted"]) & (pl.col("bounded") > 0)).then(
                pl.format("{} territoire(s) vérifié(s) par intervalle seulement (membres masqués)", "bounded")
            ),
            pl.when((pl.col("kind") == "range") & (few > 0)).then(
                pl.format("{} territoire(s) non comparé(s) : membres connus sous 99 % du poids", few)
            ),
            pl.when(pl.col("known") > 0).then(
                pl.format("{} exception(s) déclarée(s) : {}", "known", pl.col("cause").fill_null(""))
            ),
        ],
        separator=" ; ",
        ignore_nulls=True,
    ).replace("", None)


def without_higher_level(
    values: pl.DataFrame, found: pl.DataFrame, variables: Collection[str], source_id: str, edition: str
) -> pl.DataFrame:
    """Lines (status `sans_objet`) of the variables that no higher level of the edition publishes."""
    missing = (
        values.select(pl.col("variable").cast(pl.String), "year")
        .unique()
        .filter(pl.col("variable").is_in(list(variables)))
        .join(found, on=["variable", "year"], how="anti")
    )
    return (
        missing.select(
            "variable",
            pl.lit("COM").alias("level"),
            pl.lit(source_id).alias("source_id"),
            pl.lit(edition).alias("edition"),
            "year",
            *(pl.lit(0, pl.Int64).alias(c) for c in ("territories", "compared", "outside")),
            *(pl.lit(None, pl.Float64).alias(c) for c in ("max_abs_difference", "tolerance")),
            pl.lit("sans_objet").alias("status"),
            pl.lit("aucune valeur publiée à un niveau supérieur dans cette édition").alias("cause_fr"),
            pl.lit("").alias("sample"),
        )
        .select(list(LINES))
        .cast(LINES)  # pyright: ignore[reportArgumentType]
    )  # pyright: ignore[reportArgumentType]


def published_table(found: pl.DataFrame, indicators: Mapping[tuple[str, str], str]) -> pl.DataFrame:
    """Table `reconciliation`: lines by indicator. `indicators` maps (source_id, variable) to its indicator.

    Variables of one indicator (the age groups of a poverty rate, the terms of a ratio) share a row: the
    widest difference and tolerance, every territory outside, the worst status. Variables that serve no
    indicator (weights) are left out.
    """
    names = pl.DataFrame(
        [(source, variable, indicator) for (source, variable), indicator in indicators.items()],
        schema={"source_id": pl.String, "variable": pl.String, "indicator_id": pl.String},
        orient="row",
    )
    key = ["indicator_id", "level", "source_id", "edition", "year"]
    rank = pl.col("status").replace_strict({s: i for i, s in enumerate(STATUSES)}, return_dtype=pl.Int8)
    return (
        found.join(names, on=["source_id", "variable"])
        .sort(*key, rank, "variable")
        .group_by(key, maintain_order=True)
        .agg(
            pl.col("territories", "compared", "max_abs_difference", "tolerance").max(),
            pl.col("outside").sum(),
            pl.col("status").first(),
            pl.col("cause_fr").drop_nulls().str.split(" ; ").explode().unique(maintain_order=True).str.join(" ; "),
        )
        .with_columns(pl.col("cause_fr").replace("", None))
    )


@lru_cache
def declared() -> Mapping[str, Any]:
    """reconciliation.yaml: rules by source, exceptions."""
    return yaml.load((FOLDER / "reconciliation.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def declared_rules(source_id: str, edition: str) -> dict[str, Rule]:
    """The rules of one edition, by variable; empty when the source has none."""
    rules: dict[str, Rule] = {}
    for entry in declared()["rules"].get(source_id, ()):
        if not re.fullmatch(entry.get("editions", ".*"), edition):
            continue
        for variable in entry["variables"]:
            parts = entry.get("parts")
            rules[variable] = Rule(
                kind=entry["kind"],
                weight=entry.get("weight"),
                parts=tuple(parts) if parts else None,
                steps={level: tuple(steps) for level, steps in entry.get("steps", {}).items()},
                unknown_most=entry.get("unknown_most"),
                half_width=entry.get("half_width"),
            )
    return rules


def comparable(
    values: pl.DataFrame, source_id: str, edition: str, load: Callable[[str, str], pl.DataFrame | None]
) -> pl.DataFrame:
    """An edition's figures, with the higher levels that another edition publishes of the same year.

    For the editions that hold the communes only (reconciliation.yaml, `companions`). `load(source_id, edition)`
    gives a core frame, or None where it is not there: nothing is then appended.
    """
    shared = ["level", "code", "year", "variable", "value", "lower", "upper"]
    companions = [e for e in declared()["companions"] if (e["of"], str(e["edition"])) == (source_id, edition)]
    if not companions:
        return values.select(shared)
    own = values.select(shared).with_columns(pl.col("level", "variable").cast(pl.String))
    parts = [own]
    for entry in companions:
        other = load(entry["source_id"], str(entry["with"]))
        if other is not None:
            text = other.select(shared).with_columns(pl.col("level", "variable").cast(pl.String))
            text = text.with_columns(pl.col("variable").replace(entry.get("rename", {})))
            text = text.filter(pl.col("level").is_in(entry["levels"]))
            parts.append(text.join(own.select("year", "variable").unique(), on=["year", "variable"], how="semi"))
    return pl.concat(parts)


def declared_exceptions() -> tuple[Known, ...]:
    """Every declared exception."""
    return tuple(
        Known(
            e["source_id"],
            str(e["edition"]),
            e["level"],
            tuple(e["variables"]),
            tuple(e["codes"]),
            e["cause_fr"],
        )
        for e in declared()["exceptions"]
    )


def render_table(found: pl.DataFrame) -> str:
    """The lines as a French Markdown page: a summary, the exceptions with their cause, then every line.

    `found`: lines by variable (LINES), or the table `reconciliation` (by indicator).
    """
    name = "indicator_id" if "indicator_id" in found.columns else "variable"
    ordered = found.sort("source_id", "edition", name, "level", "year")
    counts = dict(ordered.group_by("status").len().rows())
    told = " ; ".join(f"{STATUS_LABELS[s]} : {counts[s]}" for s in STATUSES if s in counts)
    special = ordered.filter((pl.col("outside") > 0) | pl.col("cause_fr").str.contains("exception"))
    page = [
        "# Rapprochement avec les niveaux publiés par les producteurs",
        "",
        "Pour chaque édition, les chiffres d'un niveau (communes, arrondissements, départements, régions) "
        "sont rapprochés du niveau supérieur que le même producteur publie. L'écart admis se déduit des "
        "arrondis et des valeurs masquées ; il n'est jamais choisi. Ce qui ne se somme pas est encadré : une médiane, "
        "un décile ou un taux sans poids connus, par la plus petite et la plus grande valeur des membres ; un "
        "rapport, par son numérateur et son dénominateur publiés.",
        "",
        f"{ordered.height} lignes. {told}.",
        "",
        "## Ce qui ne se rapproche pas",
        "",
        *(f"- {r[name]}, {r['level']}, {r['source_id']} {r['edition']} : {_told(r)}" for r in special.to_dicts()),
        *([] if special.height else ["Rien."]),
        "",
        "## Toutes les lignes",
        "",
        "| Indicateur | Niveau | Source | Édition | Année | Territoires | Comparés | Écart maximal "
        "| Écart admis | Hors écart | Résultat | Remarque |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(r, name) for r in ordered.to_dicts()),
        "",
    ]
    return "\n".join(page)


def _told(row: Mapping[str, Any]) -> str:
    outside = f"{row['outside']} territoire(s) hors de l'écart admis" if row["outside"] else ""
    return " ; ".join(t for t in (outside, row.get("sample") or "", row["cause_fr"] or "") if t)


def _remark(row: Mapping[str, Any]) -> str:
    """The cause of a line without what the page says once for all."""
    told = row["cause_fr"] or ""
    for general in CAUSES.values():
        told = told.replace(general, "")
    return told.strip(" ;")


def _row(row: Mapping[str, Any], name: str) -> str:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3f}".rstrip("0").rstrip(".").replace(".", ",")

    cells = [
        row[name], row["level"], row["source_id"], row["edition"], row["year"], row["territories"],
        row["compared"], number(row["max_abs_difference"]), number(row["tolerance"]), row["outside"],
        STATUS_LABELS[row["status"]], _remark(row),
    ]  # fmt: skip
    return "| " + " | ".join(str(c) for c in cells) + " |"
