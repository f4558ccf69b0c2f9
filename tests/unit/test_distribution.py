"""Distributions of unions of communes: what must hold whatever the figures, and what a known law gives."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.calibration import FEWEST, fit_calibration, intervals
from methods.distribution import DECILES, GRID, SHARES, Array, Curves, Z, bounds, cumulative, doubt, mixture, quantiles
from methods.shapes import calibrate, curves, learn, ordered

NATIONAL = 21_000.0
COVARIATES = ("social",)
GRAIN = 2e-3  # what points of the grid 1 % apart may cost a quantile

steps = st.lists(st.floats(0.01, 0.4), min_size=9, max_size=9)


def knots_of(gaps: list[float]) -> Array:
    """Nine ln deciles, from the first and gaps between them."""
    return np.log(8000) + np.cumsum(gaps)[None]


def country(
    small: int = 900, large: int = 260, seed: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, Array]:
    """Members, published and composition of a country of log-normal communes, and the true ln deciles of each.

    Spread grows with the share of social housing; small communes are 20 % more alike inside than large ones, which
    the regression cannot see. Two communes of each of the ten départements are masked.
    """
    random = np.random.default_rng(seed)
    count = small + large
    is_large = np.arange(count) < large
    social = random.uniform(0, 0.4, count)
    median = np.log(NATIONAL) + random.normal(0, 0.12, count) - social * 0.3
    sigma = (0.3 + 0.5 * social) * np.where(is_large, 1, 0.8)
    truth = median[:, None] + sigma[:, None] * Z
    persons = np.where(is_large, random.uniform(2000, 5000, count), random.uniform(200, 2000, count)).round()
    departement = [f"{i % 10:02d}" for i in range(count)]
    masked = np.arange(count) >= count - 20
    deciles = np.where(is_large[:, None], np.exp(truth), np.nan)
    deciles[:, 4] = np.where(masked, np.nan, np.exp(median))
    members = pl.DataFrame({d: deciles[:, k] for k, d in enumerate(DECILES)}).with_columns(
        code=pl.Series([f"{i:05d}" for i in range(count)]),
        area=pl.Series(departement),
        persons=pl.Series(np.where(masked, np.nan, persons)).fill_nan(None),
        households=pl.Series(np.where(masked, np.nan, persons / 2.3)).fill_nan(None),
        population=pl.Series(persons),
        tp60_lower=pl.lit(None, pl.Float64),
        tp60_upper=pl.lit(None, pl.Float64),
        social=pl.Series(social),
    )
    members = members.with_columns(pl.col(DECILES).fill_nan(None))
    exact = Curves(
        members["code"].to_list(), persons, truth,
        cumulative(truth, GRID[None]).astype(np.float32), np.zeros((count, len(GRID)), np.float32),
    )  # fmt: skip
    composition = pl.DataFrame({"level": "DEP", "territory": departement, "code": members["code"]})
    unions = composition.select("code", union_id="territory")
    published = mixture(exact, unions, NATIONAL).select(pl.lit("DEP").alias("level"), "union_id", *DECILES)
    return members, published.rename({"union_id": "territory"}), composition, truth


@pytest.fixture(scope="module")
def made() -> tuple[pl.DataFrame, pl.DataFrame, Curves, Array]:
    """Members, published départements, curves made of all that is published, true ln deciles."""
    members, published, composition, truth = country()
    arguments = (members, published, composition, NATIONAL)
    return members, published, curves(calibrate(learn(*arguments, COVARIATES), *arguments), *arguments), truth


@given(steps)
def test_a_curve_passes_through_its_deciles_and_never_falls(gaps: list[float]) -> None:
    knots = knots_of(gaps)
    assert np.allclose(cumulative(knots, knots), SHARES)
    values = cumulative(knots, GRID[None])
    assert (np.diff(values) >= 0).all() and (values >= 0).all() and (values <= 1).all()
    assert np.allclose(cumulative(knots, knots[:, -1:] + 1e-9), 0.9, atol=1e-6)


@given(steps, st.lists(st.booleans(), min_size=9, max_size=9))
def test_doubt_is_nothing_at_published_deciles_and_never_negative(gaps: list[float], flags: list[bool]) -> None:
    values, published = np.concatenate([SHARES, SHARES - 0.05])[None], np.array([flags])
    found = doubt(values, published)
    assert (found >= 0).all()
    assert np.allclose(found[0, :9][np.array(flags)], 0, atol=1e-12)
    assert (found[0, 9:] > 0).all()


def test_the_log_normal_law_gives_its_own_inequality() -> None:
    """A law of sigma 0.5 has a median of the poor, rates and quantiles known in closed form; the tail alone differs."""
    knots = np.log(20_000) + 0.5 * Z[None]
    one = Curves(["a"], np.array([1000.0]), knots,
                 cumulative(knots, GRID[None]).astype(np.float32), np.zeros((1, len(GRID)), np.float32))  # fmt: skip
    row = mixture(one, pl.DataFrame({"union_id": ["u"], "code": ["a"]}), 20_000).row(0, named=True)
    assert row["d5"] == pytest.approx(20_000, rel=1e-4)
    assert row["rd"] == pytest.approx(np.exp(0.5 * (Z[8] - Z[0])), rel=1e-3)
    assert row["tp60"] == pytest.approx(15.35, abs=0.05)  # normal(ln 0.6 / 0.5)
    assert row["tp40"] == pytest.approx(3.34, abs=0.05)
    assert row["intensity"] == pytest.approx(18.6, abs=0.3)  # 1 - exp(0.5 z(0.0768)) / 0.6
    assert 0.276 < row["gini"] < 0.30  # 0.276 is the law's own; the tail above D9 is meant to be heavier
    assert row["coverage"] == row["decile_coverage"] == 1 and row["parent_share"] == 0


def test_a_union_of_whom_nobody_is_known_has_no_estimate() -> None:
    """Masked communes of a year without a census: no persons, none to stand for them; 0/0 is not a coverage."""
    knots = np.log(20_000) + 0.5 * Z[None]
    nobody = Curves(["a", "b"], np.zeros(2), np.full((2, 9), np.nan),
                    np.repeat(cumulative(knots, GRID[None]), 2, axis=0).astype(np.float32),
                    np.zeros((2, len(GRID)), np.float32))  # fmt: skip
    row = mixture(nobody, pl.DataFrame({"union_id": ["u", "u"], "code": ["a", "b"]}), 20_000).row(0, named=True)
    assert row["coverage"] == 0 and row["d5"] is None and row["tp60"] is None


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_union_does_not_depend_on_order_and_lies_between_its_members(
    made: tuple[pl.DataFrame, pl.DataFrame, Curves, Array], data: st.DataObject
) -> None:
    members, _, known, _ = made
    codes = data.draw(st.lists(st.sampled_from(members["code"].to_list()[:400]), min_size=1, max_size=8, unique=True))
    shuffled = data.draw(st.permutations(codes))
    names = ["a"] * len(codes) + ["b"] * len(codes)
    union = mixture(known, pl.DataFrame({"union_id": names, "code": codes + shuffled}), NATIONAL)
    a, b = union.drop("union_id").row(0), union.drop("union_id").row(1)
    assert a == pytest.approx(b, rel=1e-9)
    alone = mixture(known, pl.DataFrame({"union_id": codes, "code": codes}), NATIONAL)
    quantile = np.array(union.select(DECILES).row(0))
    assert (np.diff(quantile) > 0).all()
    each = alone.select(DECILES).to_numpy()
    assert (quantile <= each.max(axis=0) * (1 + GRAIN)).all() and (quantile >= each.min(axis=0) * (1 - GRAIN)).all()
    assert union["tp40"][0] <= union["tp50"][0] <= union["tp60"][0]
    certain = bounds(known, codes)
    assert all(low is None or low <= q * (1 + GRAIN) for low, q in zip(certain["lower"], quantile, strict=True))
    assert all(up is None or up >= q * (1 - GRAIN) for up, q in zip(certain["upper"], quantile, strict=True))


def test_a_union_of_one_is_what_is_published_of_it(made: tuple[pl.DataFrame, pl.DataFrame, Curves, Array]) -> None:
    """Borrowed shapes and constraints of the département never move a published decile, nor a lone median."""
    members, _, known, _ = made
    alone = mixture(known, members.select("code", union_id="code"), NATIONAL).join(
        members, left_on="union_id", right_on="code", suffix="_published"
    )
    for decile in DECILES:
        pair = alone.drop_nulls([decile, f"{decile}_published"])
        assert pair.height >= 260
        assert (pair[decile] / pair[f"{decile}_published"] - 1).abs().max() < GRAIN, decile  # type: ignore[operator]


def test_territories_correct_what_large_communes_cannot_teach(
    made: tuple[pl.DataFrame, pl.DataFrame, Curves, Array],
) -> None:
    """Small communes are more alike inside than those learnt from: départements tell, the regression alone does not."""
    members, published, known, truth = made
    _, _, composition, _ = country()
    empty = published.clear()
    alone = (members, empty, composition, NATIONAL)
    small = members.with_row_index("row").filter(pl.col("d1").is_null() & pl.col("d5").is_not_null())
    true = np.exp(truth[small["row"].to_numpy()])

    def bias(curve: Curves) -> float:
        rows = mixture(curve, small.select("code", union_id="code"), NATIONAL).sort("union_id")
        return float(np.mean(rows["d1"].to_numpy() / true[:, 0] - 1))

    untaught = curves(learn(*alone, COVARIATES), *alone)
    assert bias(untaught) < -0.06
    assert abs(bias(known)) < 0.015
    whole = mixture(known, composition.select("code", union_id="territory"), NATIONAL)
    gap = whole.select(DECILES).to_numpy() / published.select(DECILES).to_numpy() - 1
    assert np.abs(gap).max() < 0.004
    assert whole["parent_share"].to_list() == pytest.approx([1] * 10)


def test_a_poverty_rate_bends_the_curve_that_has_only_a_median() -> None:
    members, published, composition, _ = country()
    bent = members.with_columns(
        tp60_lower=pl.when(pl.col("code") == "00300").then(24.5),
        tp60_upper=pl.when(pl.col("code") == "00300").then(25.5),
    )
    model = learn(members, published, composition, NATIONAL, COVARIATES)
    empty = published.clear()
    union = pl.DataFrame({"union_id": ["u"], "code": ["00300"]})
    before = mixture(curves(model, members, empty, composition, NATIONAL), union, NATIONAL)
    after = mixture(curves(model, bent, empty, composition, NATIONAL), union, NATIONAL)
    assert not 24.4 < before["tp60"][0] < 25.6
    assert after["tp60"][0] == pytest.approx(25, abs=0.7)
    assert after["d5"][0] == pytest.approx(before["d5"][0], rel=1e-3)


def test_below_the_minimum_coverage_there_are_bounds_only(
    made: tuple[pl.DataFrame, pl.DataFrame, Curves, Array],
) -> None:
    members, _, known, _ = made
    masked = members.filter(pl.col("d5").is_null())["code"].to_list()
    codes = [*masked[:6], "00300"]
    row = mixture(known, pl.DataFrame({"union_id": "u", "code": codes}), NATIONAL).row(0, named=True)
    assert row["coverage"] < 0.8 and row["persons"] > 0
    assert all(row[name] is None for name in (*DECILES, "tp60", "gini", "noise_d1"))
    assert bounds(known, masked[:2])["upper"].null_count() == 9
    certain = bounds(known, ["00000", "00001"])  # nine deciles each
    assert certain["lower"].null_count() == 0 and certain["upper"].null_count() == 0
    assert (certain["lower"] <= certain["upper"]).all()


def test_codes_and_deciles_that_cannot_be_are_refused(made: tuple[pl.DataFrame, pl.DataFrame, Curves, Array]) -> None:
    members, published, known, _ = made
    composition = pl.DataFrame({"level": "DEP", "territory": members["area"], "code": members["code"]})
    with pytest.raises(ValueError, match="99999"):
        mixture(known, pl.DataFrame({"union_id": ["u"], "code": ["99999"]}), NATIONAL)
    falling = members.with_columns(d2=pl.when(pl.col("code") == "00003").then(1.0).otherwise("d2"))
    with pytest.raises(ValueError, match="00003 : déciles non croissants"):
        learn(falling, published, composition, NATIONAL, COVARIATES)
    without = members.with_columns(d5=pl.when(pl.col("code") == "00004").then(None).otherwise("d5"))
    with pytest.raises(ValueError, match="00004"):
        learn(without, published, composition, NATIONAL, COVARIATES)
    with pytest.raises(ValueError, match="neuf déciles"):
        learn(members.head(150), published, composition, NATIONAL, COVARIATES)
    with pytest.raises(ValueError, match="plusieurs territoires"):
        twice = pl.concat([composition, composition.head(1).with_columns(territory=pl.lit("05"))])
        learn(members, published, twice, NATIONAL, COVARIATES)


@given(steps, st.lists(st.booleans(), min_size=9, max_size=9))
def test_knots_are_put_in_order_without_moving_published_ones(gaps: list[float], flags: list[bool]) -> None:
    knots = knots_of(gaps)
    published = np.array([flags])
    crossed = np.where(published, knots, knots[:, ::-1])
    fixed = ordered(crossed, published)
    assert (np.diff(fixed) > 0).all()
    assert np.allclose(fixed[published], knots[published])


def estimates(count: int, seed: int, scale: float = 1.0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Estimates whose errors have the announced noise times scale, three times as much where coverage is poor."""
    random = np.random.default_rng(seed)
    noise = random.uniform(0.001, 0.01, count)
    coverage = np.where(np.arange(count) % 4 == 0, 0.9, 1.0)
    error = random.normal(0, noise * scale * np.where(coverage < 0.95, 3, 1))
    frame = pl.DataFrame(
        {
            "union_id": [f"{i}" for i in range(count)], "d5": 20_000 * np.exp(error), "noise_d5": noise,
            "persons": random.uniform(1e3, 1e5, count), "coverage": coverage,
            "decile_coverage": random.uniform(0, 1, count), "parent_share": random.uniform(0, 0.5, count),
        }
    )  # fmt: skip
    return frame, pl.DataFrame({"union_id": frame["union_id"], "d5": 20_000.0})


def test_intervals_hold_nine_tenths_of_other_years_in_every_class() -> None:
    calibration = fit_calibration(*estimates(3000, 1))
    rows = intervals(estimates(3000, 2)[0], calibration)
    inside = rows.with_columns(inside=pl.lit(20_000.0).is_between("d5_lower", "d5_upper"))
    for part in (inside, inside.filter(pl.col("coverage") < 0.95), inside.filter(pl.col("coverage") == 1)):
        assert 0.87 <= part["inside"].mean() <= 0.93  # type: ignore[operator]
    worse = intervals(estimates(3000, 3, scale=2)[0], calibration)
    assert worse.select(pl.lit(20_000.0).is_between("d5_lower", "d5_upper").mean()).item() < 0.75
    assert set(rows["d5_grade"]) == {"B", "C"}
    assert rows.filter((pl.col("d5_upper") / pl.col("d5")).log() <= 0.02)["d5_grade"].unique().to_list() == ["B"]


def test_what_nothing_measures_has_no_interval() -> None:
    few, truth = estimates(FEWEST - 1, 1)
    assert "d5_lower" not in intervals(few, fit_calibration(few, truth)).columns
    frame, truth = estimates(500, 1)
    rows = intervals(frame.with_columns(d5=pl.lit(None, pl.Float64)), fit_calibration(frame, truth))
    assert rows["d5_lower"].null_count() == rows["d5_grade"].null_count() == 500


def test_quantiles_return_what_made_the_curve() -> None:
    knots = knots_of([0.1] * 9)
    assert np.allclose(quantiles(cumulative(knots, GRID[None]), SHARES), knots, atol=1e-3)
