"""Distribution of the standard of living of any union of communes, from what is published of its members.

The distribution of a union is the mixture of those of its members, weighted by persons of fiscal households:
F_U(y) = sum of w_c F_c(y). A commune's F_c passes through its nine deciles (published, or modelled by methods.shapes)
as a monotone cubic (PCHIP, Fritsch and Carlson 1980) of the probit of F on ln y, straight beyond D1 and D9. All F_c
are evaluated once on one grid of ln y, so that a union is a weighted sum of rows (see bench/estimates.py for accuracy).

A fiscal household counts once for each of its persons; standards of living are annual euros per consumption unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array  # pyright: ignore[reportMissingTypeStubs]
from scipy.special import ndtr, ndtri  # pyright: ignore[reportMissingTypeStubs]

Array = npt.NDArray[np.float64]
Single = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]

SHARES: Array = np.arange(1, 10) / 10
DECILES = [f"d{k}" for k in range(1, 10)]
MEDIAN = 4  # position of the median among the nine deciles
# Grid of ln y, finest where deciles lie (1 %): between its points the probit is all but straight.
GRID: Array = np.log(np.concatenate([np.geomspace(500, 6000, 30)[:-1], np.geomspace(6000, 90000, 270),
                                     np.geomspace(90000, 1e6, 25)[1:]]))  # fmt: skip
# A share known to nobody is not estimated: below this coverage of persons, bounds only.
MINIMUM_COVERAGE = 0.8


@dataclass(frozen=True)
class Curves:
    """Distribution functions of communes on GRID, and what each is worth.

    cumulative[i] is F of commune codes[i]; variance[i] is how far the truth may lie from it, for one person (see
    `doubt`); persons is the weight, estimated where the commune is masked; knots are its published deciles (ln y, nan
    where not published). nesting gives, for each level that constrained the curves, the territory of each commune
    (-1: none).
    """

    codes: list[str]
    persons: Array
    knots: Array
    cumulative: Single
    variance: Single
    nesting: list[Index] = field(default_factory=list[Index])


def normal(values: Array) -> Array:
    """Distribution function of the standard normal law."""
    return cast(Array, ndtr(values))


def probit(shares: Array) -> Array:
    """Inverse of `normal`."""
    return cast(Array, ndtri(shares))


def interpolate(points: Array, x: Array, y: Array) -> Array:
    """Straight interpolation of y on x (increasing) at points, of any shape; constant beyond the ends."""
    return np.interp(points, x, y)


Z: Array = probit(SHARES)
# Hazard at D9 of a normal law of unit slope; what becomes of it just above D9, far above, and how far (ln y). Nothing
# is published above D9: these give D9, S80/S20 (2015, 2018) and Gini (2018) of EPCI with next to no bias.
HAZARD = float(np.exp(-(Z[-1] ** 2) / 2) / np.sqrt(2 * np.pi) / (1 - SHARES[-1]))
NEAR, FAR, REACH = 1.07, 0.72, 0.35


def slopes(knots: Array) -> Array:
    """Slopes of the monotone cubic through (ln D_k, probit of k/10), one row a commune: PCHIP, harmonic means."""
    step = np.diff(knots, axis=1)
    secant = np.diff(Z) / step
    heavy, light = 2 * step[:, 1:] + step[:, :-1], step[:, 1:] + 2 * step[:, :-1]
    inside = (heavy + light) / (heavy / secant[:, :-1] + light / secant[:, 1:])

    def edge(near: int, far: int) -> Array:
        weight = 2 * step[:, near] + step[:, far]
        slope = (weight * secant[:, near] - step[:, near] * secant[:, far]) / (step[:, near] + step[:, far])
        return np.clip(slope, 0.05 * secant[:, near], 3 * secant[:, near])

    return np.column_stack([edge(0, 1), inside, edge(-1, -2)])


def cumulative(knots: Array, points: Array) -> Array:
    """F at points of ln y, (n, m), of n communes given by their nine ln deciles, (n, 9), strictly increasing.

    points has n rows, or one for all.
    """
    slope = slopes(knots)
    step = np.diff(knots, axis=1)
    secant = np.diff(Z) / step
    leaving, reaching = slope[:, :-1], slope[:, 1:]
    square, cube = (3 * secant - 2 * leaving - reaching) / step, (leaving + reaching - 2 * secant) / step**2
    points = np.broadcast_to(points, (len(knots), points.shape[1]))
    # of each point, the place of its interval in the flattened coefficients
    interval = np.zeros(points.shape, np.int64)
    interval += 8 * np.arange(len(slope))[:, None]
    for k in range(1, 8):
        interval += points >= knots[:, k : k + 1]
    beyond_start = np.clip(points, knots[:, :1], knots[:, -1:]) - knots[:, :-1].ravel()[interval]
    value = cube.ravel()[interval]
    for coefficient in (square, leaving, np.broadcast_to(Z[:-1], secant.shape)):
        value *= beyond_start
        value += coefficient.ravel()[interval]
    value += np.minimum(points - knots[:, :1], 0) * slope[:, :1]
    share = normal(value)
    # Beyond D9, NEAR times the hazard of the cubic at D9, falling to FAR over REACH: a Pareto tail in the end.
    row, column = np.nonzero(points > knots[:, -1:])
    beyond = points[row, column] - knots[row, -1]
    hazard = slope[row, -1] * HAZARD * (FAR * beyond + (NEAR - FAR) * REACH * (1 - np.exp(-beyond / REACH)))
    share[row, column] = 1 - (1 - SHARES[-1]) * np.exp(-hazard)
    return share


def doubt(values: Array, published: npt.NDArray[np.bool_]) -> Array:
    """Variance of F around its interpolation, for one person: a Brownian bridge between the published shares.

    With lo and hi the published shares around F (0 and 1 at the ends): (F - lo)(hi - F)/(hi - lo). Nothing at a
    published decile, most half-way: a union never moves what is published of its members. (values: (n, m) of F;
    published: (n, 9), which deciles are.)
    """
    marks = np.column_stack([np.ones(len(values), bool), published, np.ones(len(values), bool)])
    ends = np.arange(11) / 10
    low = np.maximum.accumulate(np.where(marks, ends, 0), axis=1)
    high = np.minimum.accumulate(np.where(marks, ends, 1)[:, ::-1], axis=1)[:, ::-1]
    tenth = np.clip((values * 10).astype(np.int64), 0, 9)
    below, above = np.take_along_axis(low, tenth, 1), np.take_along_axis(high, tenth + 1, 1)
    return np.maximum((values - below) * (above - values) / (above - below), 0)


def sums(rows: Single, weights: Array, index: Index, starts: Index) -> Array:
    """Weighted sums of rows[index] by group; groups are runs of index that begin at starts."""
    groups = csr_array((weights, index, np.append(starts, len(index))), shape=(len(starts), len(rows)))
    return cast(Array, groups @ rows)


def quantiles(values: Array, shares: Array) -> Array:
    """ln y at the given shares, one row per distribution function on GRID, straight on (ln y, probit)."""
    z = probit(np.clip(values, 1e-9, 1 - 1e-9))
    wanted = probit(shares)
    return np.array([interpolate(wanted, row, GRID) for row in z]).reshape(len(values), len(shares))


def at(values: Array, points: Array) -> Array:
    """F at points of ln y, (n, m), from distribution functions on GRID, (n, g)."""
    rows = zip(np.broadcast_to(points, (len(values), points.shape[1])), values, strict=True)
    return np.array([interpolate(p, GRID, row) for p, row in rows]).reshape(len(values), points.shape[1])


def inequality(values: Array) -> tuple[Array, Array]:
    """Gini and S80/S20 of distribution functions on GRID: integrals of 1 - F, and incomes below D2 and above D8."""
    income = np.exp(GRID)
    left = 1 - (values[:, 1:] + values[:, :-1]) / 2
    step = np.diff(income)
    mean = income[0] + left @ step
    gini = 1 - (income[0] + left**2 @ step) / mean
    middle = (income[1:] + income[:-1]) / 2
    low, high = np.minimum(values, 0.2), np.maximum(values, 0.8)
    bottom = np.diff(low, axis=1) @ middle + low[:, 0] * income[0]
    top = np.diff(high, axis=1) @ middle + (1 - high[:, -1]) * income[-1]
    return gini, top / bottom


def mixture(curves: Curves, unions: pl.DataFrame, national_median: float) -> pl.DataFrame:
    """Distribution of unions of communes: one row a union, sorted by union_id, estimates unrounded.

    unions: union_id, code (a commune once a union). Columns returned: union_id; d1 to d9 (euros), rd (D9/D1); tp40,
    tp50, tp60 (% of persons below 40, 50, 60 % of the national median); gini (0 to 1), s80s20; intensity (% of the
    threshold between it and the median of the poor); persons; coverage, decile_coverage (share of persons in members
    whose median, whose D1 or D9, is published); parent_share (largest share of a constraining territory that the
    union holds, 0 if it lies in none); noise_d1 to noise_d9 (of ln y), noise_tp60 (of a share): the error to expect
    between published figures from sampling alone, to be scaled by methods.calibration. Estimates are null below 80 %
    of coverage: see `bounds`. ValueError names a code that curves do not have.
    """
    position = {code: i for i, code in enumerate(curves.codes)}
    unions = unions.select("union_id", "code").unique().sort("union_id", "code")
    unknown = sorted(set(unions["code"]) - position.keys())
    if unknown:
        raise ValueError(f"communes sans distribution : {', '.join(unknown[:5])} ({len(unknown)} en tout)")
    index = np.array([position[c] for c in unions["code"]], dtype=np.int64)
    runs = unions["union_id"].rle_id().to_numpy()
    starts = np.flatnonzero(np.diff(runs, prepend=-1)).astype(np.int64)
    weights = curves.persons[index]
    persons = np.add.reduceat(weights, starts)
    members = np.diff(np.append(starts, len(index)))
    # where nobody is known, neither of members nor of their population, they count alike: 0/0 is no coverage
    weights = np.where(np.repeat(persons > 0, members), weights, 1.0)
    size = np.repeat(np.add.reduceat(weights, starts), members)
    share = weights / size
    values = np.maximum.accumulate(sums(curves.cumulative, share, index, starts), axis=1)
    variance = sums(curves.variance, share / size, index, starts)

    def held(condition: npt.NDArray[np.bool_]) -> Array:
        return np.add.reduceat(share * condition[index], starts)

    published = ~np.isnan(curves.knots)
    coverage = held(published[:, MEDIAN])
    frame = estimates(values, variance, national_median).with_columns(
        union_id=unions["union_id"].gather(starts), persons=persons, coverage=coverage,
        decile_coverage=held(published[:, 0] | published[:, 8]), parent_share=parent_share(curves, index, starts),
    )  # fmt: skip
    facts = ["union_id", "persons", "coverage", "decile_coverage", "parent_share"]
    return frame.select(
        *facts, pl.when(pl.col("coverage") >= MINIMUM_COVERAGE).then(pl.exclude(facts)).name.keep()
    )  # fmt: skip


def estimates(values: Array, variance: Array, national_median: float) -> pl.DataFrame:
    """Estimates of mixture() from distribution functions on GRID and their variances, one row each."""
    logs = quantiles(values, SHARES)
    lines = np.log(national_median * np.array([[0.4, 0.5, 0.6]]))
    rates = at(values, lines)
    poor = np.array([interpolate(r / 2, row, GRID) for r, row in zip(rates[:, 2], values, strict=True)])
    gini, s80s20 = inequality(values)
    density = (at(values, logs + 0.02) - at(values, logs - 0.02)) / 0.04
    noise = np.sqrt(np.column_stack([at(variance, logs) / density**2, at(variance, lines[:, 2:])]))
    return pl.DataFrame(
        {d: np.exp(logs[:, k]) for k, d in enumerate(DECILES)}
        | {"rd": np.exp(logs[:, 8] - logs[:, 0])}
        | {name: 100 * rates[:, k] for k, name in enumerate(("tp40", "tp50", "tp60"))}
        | {"gini": gini, "s80s20": s80s20, "intensity": 100 * (1 - np.exp(poor - lines[0, 2]))}
        | {f"noise_{name}": noise[:, k] for k, name in enumerate((*DECILES, "tp60"))}
    )


def parent_share(curves: Curves, index: Index, starts: Index) -> Array:
    """Largest share of persons of a constraining territory held by each union that lies wholly in it."""
    best = np.zeros(len(starts))
    for level in curves.nesting:
        inside = level >= 0
        total = np.bincount(level[inside], curves.persons[inside])
        parent = level[index]
        first, last = np.minimum.reduceat(parent, starts), np.maximum.reduceat(parent, starts)
        within = (first == last) & (first >= 0)
        held = np.add.reduceat(curves.persons[index], starts)
        best = np.where(within, np.maximum(best, held / np.maximum(total[np.maximum(first, 0)], 1)), best)
    return np.minimum(best, 1)


def bounds(curves: Curves, codes: list[str]) -> pl.DataFrame:
    """Certain bounds of the deciles of one union, whatever its members' unpublished incomes: decile, lower, upper.

    Each member has at least k/10 of its persons at or below its D_k, less below it; what is not published lies at one
    extreme. A bound that nothing limits is null. Persons of masked members are estimated: so far is it certain.
    """
    position = {code: i for i, code in enumerate(curves.codes)}
    rows = np.array([position[c] for c in codes], dtype=np.int64)
    knots, weights = curves.knots[rows], curves.persons[rows] / curves.persons[rows].sum()
    found = ~np.isnan(knots)
    shares = np.where(found, SHARES, 0)
    before = np.maximum.accumulate(np.column_stack([np.zeros(len(rows)), shares[:, :-1]]), axis=1)
    beyond = np.where(found, SHARES, 1)[:, ::-1]
    after = np.minimum.accumulate(np.column_stack([np.ones(len(rows)), beyond[:, :-1]]), axis=1)[:, ::-1]
    # At D_k, F rises for sure from the share before it (lower side), and may rise to the share after it (upper side).
    order = np.argsort(knots[found])
    value = knots[found][order]
    sure = np.cumsum(((shares - before) * weights[:, None])[found][order])
    start = np.min(np.where(found, SHARES, 1), axis=1) @ weights
    could = start + np.cumsum(((after - SHARES) * weights[:, None])[found][order])
    lower = [value[np.searchsorted(could, p + 1e-9, "right")] if start <= p + 1e-9 else None for p in SHARES]
    upper = [value[np.searchsorted(sure, p - 1e-9)] if len(sure) and p <= sure[-1] + 1e-9 else None for p in SHARES]

    def euros(logs: Sequence[float | Array | None]) -> list[float | None]:
        return [None if x is None else float(np.exp(x)) for x in logs]

    return pl.DataFrame({"decile": DECILES, "lower": euros(lower), "upper": euros(upper)},
                        schema_overrides={"lower": pl.Float64, "upper": pl.Float64})  # fmt: skip
