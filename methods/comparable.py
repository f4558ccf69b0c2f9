"""Comparable territories: the nearest ones on a declared profile of variables.

As the statistical nearest neighbours of the ONS (United Kingdom) and of CIPFA: a weighted Euclidean distance between
standardised variables. The spread is the interquartile range, that a few extreme communes do not move, in units of a
normal standard deviation. A territory is compared on the variables it has, with those that have all of these too, so
that the distances of one territory all rest on the same variables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial import KDTree  # pyright: ignore[reportMissingTypeStubs]

Transformation = Literal["none", "log", "sqrt"]
Floats = NDArray[np.float64]
TRANSFORMED: Mapping[Transformation, Callable[[pl.Expr], pl.Expr]] = {
    "none": lambda values: values,
    "log": lambda values: pl.when(values > 0).then(values).log(),  # nobody there: no logarithm, unknown
    "sqrt": lambda values: values.sqrt(),
}
NORMAL_IQR = 1.3489795003921634  # interquartile range of a normal of standard deviation 1
STEP = 1e-6  # distances are told to this, and equal ones ranked by identifier
AT_ONCE = 20_000  # territories whose nearest ones are sought together: memory does not grow with the country
NAMED = 3  # variables named as the closest, and as the farthest


@dataclass(frozen=True)
class Variable:
    """One variable of a profile: the column of its values, how they are transformed, its weight in the distance."""

    name: str
    transformation: Transformation
    weight: float


@dataclass(frozen=True)
class Profile:
    """What territories are compared on. min_known: share of the weights that a territory's known variables must carry;
    neighbours: how many comparables each has."""

    variables: tuple[Variable, ...]
    min_known: float
    neighbours: int


def spreads(profile: Profile, values: pl.DataFrame) -> dict[str, float]:
    """Variable -> spread of its transformed values: interquartile range / 1.349, over all territories that have it.

    A variable that half of them have at the same value tells nothing of a spread: it is left out, as one that none has.
    """
    found: dict[str, float] = {}
    for variable in profile.variables:
        known = values.select(TRANSFORMED[variable.transformation](pl.col(variable.name)).alias("v"))["v"].drop_nulls()
        low, high = (known.quantile(q, "linear") for q in (0.25, 0.75))
        if low is not None and high is not None and high > low:
            found[variable.name] = (high - low) / NORMAL_IQR
    return found


def comparables(profile: Profile, values: pl.DataFrame) -> pl.DataFrame:
    """The nearest territories of each: territory_id, rank (1 the nearest), comparable_id, distance, closest, farthest.

    values: one row per territory: territory_id, group (boolean: comparables are sought on the same side), one column
    per variable, null where unknown. distance: square root of the weighted mean of the squared gaps, in spreads.
    closest, farthest: the variables that add least and most to it (names joined by « ; »).
    A territory that knows too few variables has no row; one of a small group has fewer than `neighbours`.
    """
    values = values.sort("territory_id")
    spread = spreads(profile, values)
    points = values.select(
        TRANSFORMED[v.transformation](pl.col(v.name)) / pl.lit(spread.get(v.name), pl.Float64)
        for v in profile.variables
    ).to_numpy()
    weights = np.array([v.weight for v in profile.variables])
    names = np.array([v.name for v in profile.variables])
    frames = [
        _ranked(profile, points[:, on], weights[on], names[on], own, others)
        for on, own, others in _patterns(profile, points, weights, values["group"].to_numpy())
    ]
    if not frames:
        return _named(pl.DataFrame(schema=RANKED), values["territory_id"])
    return _named(pl.concat(frames), values["territory_id"])


RANKED: dict[str, Any] = {
    "own": pl.Int64,
    "rank": pl.Int16,
    "other": pl.Int64,
    "distance": pl.Float64,
    "closest": pl.String,
    "farthest": pl.String,
}


def _patterns(
    profile: Profile, points: Floats, weights: Floats, groups: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]]:
    """For each group and set of known variables: the set, the rows that have just it, the rows that have all of it."""
    known = ~np.isnan(points)
    told = np.column_stack([groups, known])[known @ weights >= profile.min_known * weights.sum() - STEP]
    for pattern in np.unique(told, axis=0):
        on = pattern[1:]
        inside = groups == pattern[0]
        own = inside & (known == on).all(axis=1)
        others = inside & known[:, on].all(axis=1)
        if others.sum() > 1:
            yield on, np.flatnonzero(own), np.flatnonzero(others)


def _ranked(
    profile: Profile,
    points: Floats,
    weights: Floats,
    names: NDArray[np.str_],
    own: NDArray[np.int64],
    others: NDArray[np.int64],
) -> pl.DataFrame:
    """The nearest of `others` to each of `own` (rows of `points`, every column known), AT_ONCE of them at a time."""
    scaled = points * np.sqrt(weights / weights.sum())
    tree = cast(Any, KDTree(scaled[others]))  # its methods are not typed
    nearest = min(profile.neighbours + 1, len(others))  # itself is one of them
    parts = [pl.DataFrame(schema=RANKED)]
    for start in range(0, len(own), AT_ONCE):
        some = own[start : start + AT_ONCE]
        away, found = tree.query(scaled[some], k=np.arange(1, nearest + 2))  # one more; infinitely far if there is none
        reach = away[:, nearest - 1] + 2 * STEP
        tied = away[:, nearest] <= reach  # the last one is not alone: all that are as far count
        balls = [np.array(ball, dtype=np.int64) for ball in tree.query_ball_point(scaled[some[tied]], reach[tied])]
        first = [np.repeat(some[~tied], nearest), np.repeat(some[tied], [len(ball) for ball in balls])]
        second = others[np.concatenate([found[~tied, :nearest].ravel(), *balls])]
        parts.append(_compared(profile, scaled, names, np.concatenate(first), second))
    return pl.concat(parts)


def _compared(
    profile: Profile, scaled: Floats, names: NDArray[np.str_], first: NDArray[np.int64], second: NDArray[np.int64]
) -> pl.DataFrame:
    """Pairs of territories, ranked from the nearest to each of the first (RANKED); none with itself."""
    first, second = first[first != second], second[first != second]
    squares = (scaled[first] - scaled[second]) ** 2
    order = np.argsort(squares, axis=1, kind="stable")
    shown = min(NAMED, scaled.shape[1] // 2)
    pairs = pl.DataFrame(
        {
            "own": first,
            "other": second,
            "distance": np.sqrt(squares.sum(axis=1)).round(6),
            "closest": _joined(names, order[:, :shown]),
            "farthest": _joined(names, order[:, ::-1][:, :shown]),
        }
    )
    rank = pl.int_range(1, pl.len() + 1, dtype=pl.Int16).over("own").alias("rank")
    ranked = pairs.sort("own", "distance", "other").with_columns(rank)
    return ranked.filter(pl.col("rank") <= profile.neighbours).select(*RANKED)


def _joined(names: NDArray[np.str_], chosen: NDArray[np.int64]) -> pl.Series:
    """The names of each row, joined."""
    columns = [pl.Series(f"{i}", names[chosen[:, i]], dtype=pl.String) for i in range(chosen.shape[1])]
    if not columns:
        return pl.Series([""] * len(chosen), dtype=pl.String)
    return pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=";"))[:, 0]


def _named(ranked: pl.DataFrame, identifiers: pl.Series) -> pl.DataFrame:
    """Rows turned into identifiers."""
    return ranked.select(
        identifiers.gather(ranked["own"]).alias("territory_id"),
        "rank",
        identifiers.gather(ranked["other"]).alias("comparable_id"),
        "distance",
        "closest",
        "farthest",
    ).sort("territory_id", "rank")
