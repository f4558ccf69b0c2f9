"""Distribution curves of communes from whatever is published of them, and of the territories that contain them.

Published for a commune: nine deciles, or D1, median and D9, or its median, or nothing; its poverty rate, rounded or
in an interval. What is missing is borrowed in three steps.

1. `learn`: ln(D_k / median) of communes with nine deciles, reduced to four principal components, is regressed on what
   is known of every commune (size, median, census, département, neighbours of its area).
2. `calibrate`: small communes are more alike inside than the large ones learnt from. Their coefficients are moved
   (Gauss-Newton, with the regression as prior) until the mixtures of members reproduce published deciles of
   territories: at each published D_k, a share k/10 of persons.
3. `curves`: each commune's curve is conditioned on what is published of it (Gaussian residuals of the regression; the
   poverty rate as a bound of F at the threshold); then, level by level, what a territory's mixture still misses at its
   published deciles is given to its members in proportion to their doubt, nothing at their own published figures.

Territories whose figures are to be judged must be left out of `published`, with their complements.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from methods.distribution import (
    DECILES,
    GRID,
    MEDIAN,
    SHARES,
    Array,
    Curves,
    Index,
    Single,
    Z,
    at,
    cumulative,
    doubt,
    interpolate,
    normal,
    probit,
)

COMPONENTS = 4
CONTEXT = "DEP"  # level whose published shape is a covariate of its communes
RIDGE = 1.0  # in communes: weight of the prior of a coefficient at zero
PRIOR = 0.05  # weight of a commune with nine deciles against published territories
TERRITORY_ERROR, MODEL_ERROR = 0.003, 0.012  # in share of persons: of a territory all known, all modelled
MODELLED = 4.0  # doubt of a modelled shape against that of sampling
UNEXPLAINED = 0.01  # doubt of a territory that its members do not explain (rounding, sampling of the grid)
AREA_WEIGHT, AREA_MEMBERS = 5000, 3  # persons, communes that weigh as much as all the country in an area's mean
STEP = 1e-3  # least distance of modelled ln deciles
ITERATIONS = 2
CHUNK = 300  # communes whose curves are drawn at a time: they fit in a core's cache

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ShapeModel:
    """What communes with nine deciles teach of the others (learn), corrected by territories (calibrate).

    centre and scale standardise the design; scores = design @ coefficients, ln(D_k/median) = mean + scores @ basis.
    `large` are the coefficients of the regression, true of communes with deciles; `coefficients` those of the others.
    """

    covariates: tuple[str, ...]
    centre: Array
    scale: Array
    mean: Array
    basis: Array
    large: Array
    coefficients: Array
    precision: Array
    score_variance: Array
    residual: Array


@dataclass(frozen=True)
class Communes:
    """Members as arrays: one row a commune. knots: ln deciles, nan where not published; median: filled."""

    codes: list[str]
    knots: Array
    median: Array
    persons: Array
    raw: Array
    poverty: Array

    @property
    def detailed(self) -> Flags:
        """Communes with more than a median: D1 or D9 is published."""
        return ~np.isnan(self.knots[:, 0]) | ~np.isnan(self.knots[:, 8])


@dataclass(frozen=True)
class Level:
    """Territories of one level: ln deciles (nan where not published), territory of each commune (-1: none)."""

    name: str
    deciles: Array
    territory: Index


def learn(
    members: pl.DataFrame,
    published: pl.DataFrame,
    composition: pl.DataFrame,
    national_median: float,
    covariates: tuple[str, ...],
) -> ShapeModel:
    """The model of shapes of a year with communes whose nine deciles are published (columns: see `curves`).

    ValueError when fewer than 200 communes have nine deciles: take the model of another year.
    """
    levels = read_levels(members, published, composition)
    communes = read_communes(members, levels, national_median, covariates)
    nine = ~np.isnan(communes.knots).any(axis=1)
    if nine.sum() < 200:
        raise ValueError(
            f"{int(nine.sum())} communes ont neuf déciles, il en faut 200 : prendre le modèle d'un autre an"
        )
    centre, scale = moments(communes.raw)
    x = standardise(communes.raw[nine], centre, scale)
    shape = communes.knots[nine] - communes.knots[nine][:, [MEDIAN]]
    mean = shape.mean(axis=0)
    basis = np.linalg.svd(shape - mean, full_matrices=False)[2][:COMPONENTS]
    scores = (shape - mean) @ basis.T
    precision = x.T @ x + RIDGE * np.eye(x.shape[1])
    large: Array = solve(precision, x.T @ scores)
    rest: Array = shape - mean - x @ large @ basis
    return ShapeModel(
        covariates, centre, scale, mean, basis, large, large,
        precision=PRIOR * x.T @ x + RIDGE * np.eye(x.shape[1]),
        score_variance=(scores - x @ large).var(axis=0),
        residual=rest.T @ rest / len(rest),
    )  # fmt: skip


def calibrate(
    model: ShapeModel,
    members: pl.DataFrame,
    published: pl.DataFrame,
    composition: pl.DataFrame,
    national_median: float,
) -> ShapeModel:
    """The model moved so that mixtures of members reproduce the published deciles of territories (columns: `curves`).

    Least squares on k/10 - F_T(D_k) over territories whose members' medians are known for 90 % of persons, each
    weighted by what may be expected of it; two steps of Gauss-Newton.
    """
    levels = read_levels(members, published, composition)
    communes = read_communes(members, levels, national_median, model.covariates)
    x = standardise(communes.raw, model.centre, model.scale)
    known = knotted(communes, model, x)
    coefficients = model.coefficients
    for _ in range(ITERATIONS):
        size = coefficients.size
        normal_matrix, gradient = np.zeros((size, size)), np.zeros(size)
        for level in levels:
            jacobian, miss, weight = linearised(level, communes, known, model, x, coefficients)
            normal_matrix += (jacobian * weight[:, None]).T @ jacobian
            gradient += (jacobian * weight[:, None]).T @ miss
        prior = np.kron(np.diag(1 / model.score_variance), model.precision)
        gradient -= prior @ (coefficients - model.coefficients).T.ravel()
        step = solve(normal_matrix + prior, gradient)
        coefficients = coefficients + step.reshape(COMPONENTS, -1).T
    return replace(model, coefficients=coefficients)


def linearised(
    level: Level, communes: Communes, known: Array, model: ShapeModel, x: Array, coefficients: Array
) -> tuple[Array, Array, Array]:
    """Derivatives of F_T(D_k) in the coefficients of modelled communes, k/10 - F_T(D_k), weights: a row each T, k."""
    inside = np.flatnonzero(level.territory >= 0)
    inside = inside[np.argsort(level.territory[inside], kind="stable")]
    territory = level.territory[inside]
    starts = np.flatnonzero(np.diff(territory, prepend=-1))
    rows = territory[starts]
    persons = communes.persons[inside]
    share = persons / np.add.reduceat(persons, starts)[np.searchsorted(rows, territory)]
    modelled = ~communes.detailed[inside]
    target = level.deciles[rows]
    points = np.where(np.isnan(target), np.log(10_000), target)[np.searchsorted(rows, territory)]
    knots = known[inside]
    scores = x[inside] @ coefficients
    base = communes.median[inside][:, None] + model.mean
    knots[modelled] = (base + scores @ model.basis)[modelled]
    knots = ordered(knots)
    value = cumulative(knots, points)
    miss = SHARES - np.add.reduceat(value * share[:, None], starts)
    density = (cumulative(knots, points + 0.005) - value) / 0.005
    z = probit(np.clip(value, 1e-6, 1 - 1e-6))
    effect = x[inside] * (share * modelled)[:, None]
    # F falls by its density where the knots around it rise: (commune, k, component)
    moved = np.stack([-density * interpolate(z, Z, component) for component in model.basis], axis=2)
    moved = moved.reshape(len(inside), -1)
    jacobian = np.empty((len(rows), moved.shape[1], x.shape[1]))
    for t, (first, last) in enumerate(zip(starts, np.append(starts[1:], len(inside)), strict=True)):
        jacobian[t] = moved[first:last].T @ effect[first:last]
    unknown = np.add.reduceat(share * modelled, starts)
    covered = np.add.reduceat(share * ~np.isnan(communes.knots[inside, MEDIAN]), starts) > 0.9
    weight = covered[:, None] * ~np.isnan(target) / (TERRITORY_ERROR**2 + (MODEL_ERROR * unknown[:, None]) ** 2)
    return jacobian.reshape(len(rows) * 9, -1), miss.ravel(), weight.ravel()


def curves(
    model: ShapeModel,
    members: pl.DataFrame,
    published: pl.DataFrame,
    composition: pl.DataFrame,
    national_median: float,
) -> Curves:
    """Distribution curves of communes, for methods.distribution.mixture.

    members, one row a commune: code; area (its EPCI, for instance); persons and households of fiscal households (null:
    masked); population (census, stands for masked persons); d1 to d9 (euros, null: not published; a median must stand
    with other deciles); tp60_lower and tp60_upper (%, null: not published); the covariates of the model, any null.
    published: level, territory, d1 to d9; composition: level, territory, code, a commune at most once a level.
    ValueError names a commune whose deciles do not increase.
    """
    levels = read_levels(members, published, composition)
    communes = read_communes(members, levels, national_median, model.covariates)
    x = standardise(communes.raw, model.centre, model.scale)
    knots = knotted(communes, model, x)
    found = ~np.isnan(communes.knots)
    poor = ~np.isnan(communes.poverty[:, 0]) & ~found.all(axis=1)
    line = np.log(0.6 * national_median)
    for given, rows in patterns(found):
        rows = rows & poor
        left = model.residual - gain(model.residual, given).T @ model.residual[given]
        knots[rows] = at_threshold(knots[rows], found[rows], communes.poverty[rows], line, left)
    values = np.empty((len(knots), len(GRID)), dtype=np.float32)
    variance = np.empty_like(values)
    modelled = np.where(communes.detailed, 1, MODELLED)[:, None]
    for first in range(0, len(knots), CHUNK):
        part = slice(first, first + CHUNK)
        value = cumulative(knots[part], GRID[None])
        values[part], variance[part] = value, doubt(value, found[part]) * modelled[part]
    for level in sorted(levels, key=lambda level: len(level.deciles)):
        spread_miss(values, variance, communes.persons, level)
    return Curves(
        communes.codes, communes.persons, communes.knots, values, variance,
        [level.territory for level in levels],
    )  # fmt: skip


def spread_miss(values: Single, variance: Single, persons: Array, level: Level) -> None:
    """Gives what each territory's mixture misses at its published deciles to its members, by their doubt, in place."""
    inside = np.flatnonzero(level.territory >= 0)
    inside = inside[np.argsort(level.territory[inside], kind="stable")]
    starts = np.flatnonzero(np.diff(level.territory[inside], prepend=-1))
    for first, last in zip(starts, np.append(starts[1:], len(inside)), strict=True):
        rows = inside[first:last]
        deciles = level.deciles[level.territory[rows[0]]]
        found = ~np.isnan(deciles)
        total = persons[rows].sum()
        if not found.any() or total <= 0:
            continue
        share = (persons[rows] / total).astype(np.float32)
        value = share @ values[rows]
        points = deciles[found]
        miss = SHARES[found] - at(value[None].astype(np.float64), points[None])[0]
        along: Array = interpolate(GRID, np.r_[points[0] - 1, points, points[-1] + 1], np.r_[0, miss, 0])
        push: Single = (along / (share @ variance[rows] + UNEXPLAINED)).astype(np.float32)
        values[rows] = np.clip(values[rows] + variance[rows] * push, 0, 1)


def knotted(communes: Communes, model: ShapeModel, x: Array) -> Array:
    """Nine ln deciles of every commune: published where they are, else modelled given those that are."""
    scores = np.where(communes.detailed[:, None], x @ model.large, x @ model.coefficients)
    knots = communes.median[:, None] + model.mean + scores @ model.basis
    found = ~np.isnan(communes.knots)
    for given, rows in patterns(found):
        miss = communes.knots[rows][:, given] - knots[rows][:, given]
        knots[rows] += miss @ gain(model.residual, given)
    return ordered(np.where(np.isnan(communes.knots), knots, communes.knots), ~np.isnan(communes.knots))


def patterns(published: Flags) -> list[tuple[Index, Flags]]:
    """Each set of deciles that is published of some commune, beside the median, and the communes of which it is."""
    beside = published & (np.arange(9) != MEDIAN)
    pattern = beside @ (1 << np.arange(9))
    return [(np.flatnonzero(bits >> np.arange(9) & 1), pattern == bits) for bits in np.unique(pattern)]


def gain(residual: Array, given: Index) -> Array:
    """What an error at the given deciles says of the errors at all nine: (given, 9), of Gaussian residuals."""
    between = residual[np.ix_(given, given)] + 1e-6 * np.eye(len(given))
    return solve(between, residual[given])


def at_threshold(knots: Array, published: Flags, poverty: Array, line: float, residual: Array) -> Array:
    """Curves moved, along their likely errors, until F at the threshold is what bounds of the poverty rate expect."""
    point = np.array([[line]])
    target = np.zeros(len(knots))
    for iteration in range(3):
        value = cumulative(knots, point)
        slope = np.column_stack(
            [(cumulative(ordered(knots + 0.005 * unit), point) - value)[:, 0] / 0.005 for unit in np.eye(9)]
        )
        move = (slope @ residual) * ~published
        variance = np.maximum((move * slope).sum(axis=1), 1e-9)
        if iteration == 0:
            target = truncated_mean(value[:, 0], np.sqrt(variance), poverty[:, 0] / 100, poverty[:, 1] / 100)
        size = (target - value[:, 0]) / variance
        knots = ordered(knots + move * size[:, None], published)
    return knots


def truncated_mean(mean: Array, deviation: Array, low: Array, high: Array) -> Array:
    """Mean of normal laws known to lie between low and high; the nearest bound where both are out of reach."""
    a, b = (low - mean) / deviation, (high - mean) / deviation
    mass = normal(b) - normal(a)
    shift = (np.exp(-(a**2) / 2) - np.exp(-(b**2) / 2)) / np.sqrt(2 * np.pi) / np.maximum(mass, 1e-6)
    return np.clip(np.where(mass > 1e-6, mean + deviation * shift, mean), low, high)


def ordered(knots: Array, published: Flags | None = None) -> Array:
    """Knots with modelled ln deciles at least STEP apart, never across a published one; published ones unmoved."""
    wrong = (np.diff(knots, axis=1) < STEP).any(axis=1)
    if not wrong.any():
        return knots
    fixed = knots.copy()
    for row in np.flatnonzero(wrong):
        stays = np.array([MEDIAN]) if published is None else np.flatnonzero(published[row])
        stays = stays if len(stays) else np.array([MEDIAN])
        line = interpolate(Z, Z[stays], knots[row, stays])
        line += np.minimum(Z - Z[stays[0]], 0) * 0.35 + np.maximum(Z - Z[stays[-1]], 0) * 0.35
        fixed[row] = line
    return fixed


def solve(matrix: Array, target: Array) -> Array:
    """Solution x of matrix @ x = target."""
    return cast(Array, np.linalg.solve(matrix, target))


def moments(raw: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each column, where it is known; 0 where it never is."""
    known = np.isfinite(raw)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, raw, 0).sum(axis=0) / count
    return centre, np.sqrt((np.where(known, raw - centre, 0) ** 2).sum(axis=0) / count)


def standardise(raw: Array, centre: Array, scale: Array) -> Array:
    """Design: a constant, then covariates in standard deviations, at most four; 0 where unknown."""
    x = np.clip((raw - centre) / np.where(scale > 0, scale, 1), -4, 4)
    return np.column_stack([np.ones(len(raw)), np.where(np.isnan(x), 0, x)])


def read_levels(members: pl.DataFrame, published: pl.DataFrame, composition: pl.DataFrame) -> list[Level]:
    """Levels of published, as arrays in the order of members."""
    levels: list[Level] = []
    for name in published["level"].unique().sort():
        rows = published.filter(pl.col("level") == name).sort("territory").with_row_index("rank")
        of = composition.filter(pl.col("level") == name).join(rows.select("territory", "rank"), on="territory")
        found = members.select("code").join(of.select("code", "rank"), on="code", how="left", maintain_order="left")
        if found.height != members.height:
            raise ValueError(f"{name} : une commune est dans plusieurs territoires de la composition")
        territory = found["rank"].cast(pl.Int64).fill_null(-1).to_numpy()
        levels.append(Level(name, np.log(rows.select(DECILES).cast(pl.Float64).to_numpy()), territory))
    return levels


def read_communes(
    members: pl.DataFrame, levels: list[Level], national_median: float, covariates: tuple[str, ...]
) -> Communes:
    """Members as arrays, masked persons and medians filled, design before standardisation."""
    knots = np.log(members.select(DECILES).cast(pl.Float64).to_numpy())
    known = ~np.isnan(knots[:, MEDIAN])
    check_increasing(members["code"].to_list(), knots)
    persons = members["persons"].cast(pl.Float64).to_numpy()
    population = members["population"].cast(pl.Float64).to_numpy()
    both = ~np.isnan(persons) & ~np.isnan(population)
    ratio = persons[both].sum() / population[both].sum() if both.any() else 1.0
    weights = np.where(np.isnan(persons), np.nan_to_num(population * ratio), persons)
    census = members.select(pl.col(covariates).cast(pl.Float64)).to_numpy()
    area = members["area"].fill_null("").rank("dense").cast(pl.Int64).to_numpy() - 1
    households = members["households"].cast(pl.Float64).to_numpy()
    median = filled_medians(knots[:, MEDIAN], census, np.log(np.maximum(weights, 10)), area, np.log(national_median))
    relative = median - np.log(national_median)
    size = np.log(np.maximum(weights, 20))
    own = [relative, relative**2, size, size**2, persons / households, relative * size]
    raw = np.column_stack([*own, census, context(levels, len(knots), national_median),
                           neighbours(knots, relative, weights, area)])  # fmt: skip
    poverty = members.select(pl.col("tp60_lower", "tp60_upper").cast(pl.Float64)).to_numpy()
    poverty[~known] = np.nan
    return Communes(members["code"].to_list(), knots, median, weights, raw, poverty)


def check_increasing(codes: list[str], knots: Array) -> None:
    """ValueError names a commune whose published deciles do not increase, or stand without a median."""
    filled = np.where(np.isnan(knots), -np.inf, knots)
    before = np.maximum.accumulate(filled, axis=1)[:, :-1]
    wrong = (knots[:, 1:] <= before).any(axis=1) | (np.isnan(knots[:, MEDIAN]) & ~np.isnan(knots).all(axis=1))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"commune {codes[row]} : déciles non croissants, ou sans médiane : {np.exp(knots[row]).round().tolist()}"
        )


def filled_medians(median: Array, census: Array, size: Array, area: Index, national: float) -> Array:
    """ln median of every commune: masked ones from covariates and size, and from what their area has above that."""
    known = ~np.isnan(median)
    raw = np.column_stack([census, size])
    x = standardise(raw, *moments(raw))
    weight = known / (1 + np.exp(size) / 2000)  # masked communes are small: the small ones teach most
    target = np.where(known, median - national, 0)
    beta = solve((x * weight[:, None]).T @ x + 1e-3 * np.eye(x.shape[1]), (x * weight[:, None]).T @ target)
    rest = np.where(known, target - x @ beta, 0)
    local = np.bincount(area, rest) / (np.bincount(area, known.astype(np.float64)) + AREA_MEMBERS)
    return np.where(known, median, national + x @ beta + local[area])


def context(levels: list[Level], count: int, national_median: float) -> Array:
    """ln D1/median, D9/median and median of each commune's département, against the national median; nan: none."""
    for level in levels:
        if level.name == CONTEXT:
            d = level.deciles[level.territory]
            d = np.where((level.territory >= 0)[:, None], d, np.nan)
            middle = d[:, MEDIAN]
            return np.column_stack([d[:, 0] - middle, d[:, 8] - middle, middle - np.log(national_median)])
    return np.full((count, 3), np.nan)


def neighbours(knots: Array, relative: Array, weights: Array, area: Index) -> Array:
    """Of each commune's area: mean and spread of medians, mean shape of members with D1 and D9, size, and its place."""
    known = ~np.isnan(knots[:, MEDIAN])
    detailed = ~np.isnan(knots[:, 0]) & ~np.isnan(knots[:, 8]) & known

    def total(values: Array) -> Array:
        return np.bincount(area, values).astype(np.float64)

    persons = np.maximum(total(weights * known), 1)
    mean = total(weights * known * np.where(known, relative, 0)) / persons
    spread = np.sqrt(np.maximum(total(weights * known * relative**2) / persons - mean**2, 0))
    with_shape = weights * detailed
    columns = [mean, spread, np.log(np.maximum(total(weights), 100)), total(with_shape) / persons]
    for k in (0, 8):
        shape = np.where(detailed, knots[:, k] - knots[:, MEDIAN], 0)
        usual = (with_shape @ shape) / max(with_shape.sum(), 1)
        columns.append((total(with_shape * shape) + AREA_WEIGHT * usual) / (total(with_shape) + AREA_WEIGHT))
    return np.column_stack([column[area] for column in columns] + [relative - mean[area]])
