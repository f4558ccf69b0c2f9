"""Poverty and inequality from households: the definitions, the secrecy, the intervals, the same result on Spark."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_docs import blocks

from methods.households import DECILES, LINES, MEASURES, Cells, HouseholdError, aggregate, measure

ROOT = Path(__file__).parents[2]
Household = tuple[int, int, int]  # income, persons, weight


def frame(households: list[Household], **columns: Any) -> pl.DataFrame:
    """One consumption unit each, so that the income is the standard of living."""
    rows = pl.DataFrame(households, schema=["income", "persons", "weight"], orient="row")
    return rows.with_columns(units=1.0, **{c: pl.Series(v) for c, v in columns.items()})


def drawn(size: int, seed: int = 0) -> pl.DataFrame:
    """Households of three territories, weights that are no whole numbers."""
    rng = np.random.default_rng(seed)
    persons = 1 + rng.poisson(1.3, size)
    return pl.DataFrame(
        {
            "territory": rng.choice(["01", "02", "03"], size, p=[0.6, 0.3, 0.1]),
            "sex": rng.choice(["F", "M"], size),
            "income": np.round(rng.lognormal(10, 0.6, size) * (1 + 0.5 * (persons > 1)), 2),
            "units": 1 + 0.5 * (persons > 1) + 0.3 * np.maximum(persons - 2, 0),
            "persons": persons,
            "weight": rng.uniform(0.5, 900, size),
        }
    )


def one(table: pl.DataFrame, name: str, column: str = "value") -> Any:
    return table.filter(pl.col("measure") == name)[column].item()


def quantile(persons: list[int], share: Fraction) -> Fraction:
    """Of persons, one by one: the mean of the two in the middle where the share is reached exactly."""
    position = share * len(persons)
    below = -(-position.numerator // position.denominator) - 1
    return Fraction(persons[below] + persons[position.numerator // position.denominator], 2)


def by_hand(households: list[Household]) -> dict[str, Fraction]:
    """Every measure from the list of persons, in fractions."""
    persons = sorted(income for income, size, weight in households for _ in range(size * weight))
    deciles = [quantile(persons, Fraction(k, 10)) for k in range(1, 10)]
    count, total = len(persons), sum(persons)
    lines = [deciles[4] * Fraction(k, 10) for k in (6, 5, 4)]
    found = {m: Fraction(100 * sum(p < line for p in persons), count) for m, line in zip(LINES, lines, strict=True)}
    poor = [p for p in persons if p < lines[0]]
    if poor:
        found["intensite"] = 100 * (1 - quantile(poor, Fraction(1, 2)) / lines[0])
    low, high = sum(p for p in persons if p <= deciles[1]), sum(p for p in persons if p > deciles[7])
    found |= dict(zip(DECILES, deciles, strict=True)) | {"moyenne": Fraction(total, count)}
    found |= {"d9d1": deciles[8] / deciles[0], "s80s20": Fraction(high, low)}
    apart = sum(abs(a - b) for a in persons for b in persons)
    return found | {"gini": Fraction(apart, 2 * count * total)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 3), st.integers(1, 2)), min_size=1, max_size=9))
def test_each_figure_is_that_of_the_persons_counted_one_by_one(households: list[Household]) -> None:
    table = measure(aggregate(frame(households * 11), []), replicates=0)
    expected = by_hand(households * 11)
    shown = table.drop_nulls("value")
    assert {"gini", "moyenne"} <= set(shown["measure"])
    for name, value in shown.select("measure", "value").iter_rows():
        assert value == pytest.approx(float(expected[name]), abs=1e-9), name


def test_every_measure_is_shown_of_a_large_group() -> None:
    table = measure(aggregate(drawn(3000), ["territory"]), [], replicates=0)
    assert table["measure"].to_list() == list(MEASURES)
    assert table["value"].null_count() == 0
    assert table["lower"].null_count() == len(MEASURES)  # no replicate, no interval


def test_a_coarser_grouping_of_the_same_cells_is_that_of_the_file() -> None:
    rows = drawn(2000)
    cells = aggregate(rows, ["territory", "sex"])
    whole = measure(aggregate(rows, ["territory"]))
    assert measure(cells, ["territory"]).equals(whole)
    assert measure(aggregate(rows.sample(fraction=1, shuffle=True, seed=3).lazy(), ["territory"])).equals(whole)


def test_the_line_is_that_of_the_file_or_of_the_median_given() -> None:
    cells = aggregate(drawn(3000), ["territory"])
    own = measure(cells, [], replicates=0)
    assert one(own, "tp50", "line") == pytest.approx(one(own, "med") / 2)
    given_one = measure(cells, median=10_000.0, replicates=0)
    assert given_one.filter(pl.col("measure") == "tp60")["line"].unique().to_list() == [6000.0]
    assert given_one.filter(pl.col("measure") == "moyenne")["line"].null_count() == 3


def test_a_group_of_less_than_eleven_households_tells_nothing() -> None:
    table = measure(aggregate(frame([(10 * k, 3, 500) for k in range(1, 11)]), []))
    assert table.select("value", "lower", "upper", "line", "households", "persons").null_count().row(0) == (17,) * 6
    assert table["conf_status"].unique().to_list() == ["A"]
    larger = measure(aggregate(frame([(10 * k, 3, 500) for k in range(1, 12)]), []))
    assert larger.drop_nulls("value")["measure"].to_list() == ["gini", "moyenne"]
    assert one(larger, "gini", "persons") == 11 * 3 * 500
    assert one(larger, "tp60", "line") is None  # it would tell the median


@pytest.mark.parametrize(("poor", "status"), [(0, "A"), (10, "A"), (11, "V")])
def test_a_rate_needs_eleven_households_under_the_line(poor: int, status: str) -> None:
    table = measure(aggregate(frame([(100, 1, 1)] * poor + [(1000, 1, 1)] * 80), []), replicates=0)
    assert [one(table, m, "conf_status") for m in ("tp60", "intensite")] == [status] * 2
    assert (one(table, "tp60") is None) == (status == "A")


def test_two_rates_with_few_households_between_their_lines_are_not_both_shown() -> None:
    households = [(100, 1, 1)] * 20 + [(550, 1, 1)] * 3 + [(1000, 1, 1)] * 80
    table = measure(aggregate(frame(households), []), replicates=0)
    assert [one(table, m, "conf_status") for m in ("tp60", "tp50")] == ["V", "A"]


@pytest.mark.parametrize("dominant", [(1000, 1, 1000), (90_000_000, 1, 1)])
def test_nothing_is_told_of_a_group_that_one_household_makes(dominant: Household) -> None:
    table = measure(aggregate(frame([(1000 + k, 1, 1) for k in range(60)] + [dominant]), []))
    assert table["conf_status"].unique().to_list() == ["B"]
    assert table["value"].null_count() == len(MEASURES)


def test_negative_incomes_are_left_out_and_counted() -> None:
    cells = aggregate(frame([(1000, 1, 1)] * 20 + [(-5, 1, 1)] * 3), [])
    assert cells.excluded == 3
    assert one(measure(cells, replicates=0), "moyenne") == 1000


def test_a_missing_group_is_a_group() -> None:
    rows = frame([(1000, 1, 1)] * 30, tenure=["owner"] * 15 + [None] * 15)
    table = measure(aggregate(rows, ["tenure"]), replicates=0).filter(pl.col("measure") == "moyenne")
    assert table["tenure"].to_list() == ["owner", None]


@pytest.mark.parametrize(
    ("column", "value"), [("income", None), ("income", float("nan")), ("units", 0.0), ("persons", -1), ("weight", None)]
)
def test_a_household_that_cannot_be_counted_stops_all(column: str, value: float | None) -> None:
    rows = drawn(50).with_columns(pl.when(pl.int_range(50) < 2).then(pl.lit(value)).otherwise(column).alias(column))
    with pytest.raises(HouseholdError, match=rf"{column} \(2 ménage"):
        aggregate(rows, [])


def test_a_file_of_another_layout_is_refused() -> None:
    rows = drawn(50)
    for spoiled, words in (
        (rows.drop("units"), "absente.* : units"),
        (rows.with_columns(income=pl.lit("mille")), "colonne income : attendu un nombre"),
        (rows.with_columns(psu=1), "attendu les deux colonnes stratum et psu"),
        (rows.clear(), "trouvé aucun"),
        (rows.with_columns(weight=1e11), "et 1e\\+11 au plus en tout"),
        (rows.with_columns(weight=1 / 50_000), "au moins 0.001 personne par ménage"),
        (rows.with_columns(stratum=1, psu=pl.lit(None)), "colonne psu .* trouvé des vides"),
    ):
        with pytest.raises(HouseholdError, match=words):
            aggregate(spoiled, [])
    with pytest.raises(HouseholdError, match="groupe line"):
        aggregate(rows.with_columns(line=1), ["line"])
    with pytest.raises(HouseholdError, match="Médiane : attendu un montant annuel"):
        measure(aggregate(rows, []), median=0.0)
    with pytest.raises(HouseholdError, match="par age : attendu des colonnes de l'agrégation"):
        measure(aggregate(rows, ["sex"]), ["age"])


def deviation(cells: Cells, name: str) -> float:
    """Standard deviation that the interval tells, were the law normal."""
    table = measure(cells, [], replicates=1500)
    return (one(table, name, "upper") - one(table, name, "lower")) / (2 * 1.96)


@pytest.mark.parametrize("alike", [True, False])
def test_the_interval_is_as_wide_as_theory_says(alike: bool) -> None:
    """Of a share p of n households: sqrt(p (1 - p) / n), whether they are one cell or thousands."""
    rich = [10_000 if alike else 10_000 + k for k in range(1200)]
    cells = aggregate(frame([(100, 1, 1)] * 400 + [(income, 1, 1) for income in rich]), [])
    assert (cells.frame.height == 2) == alike
    assert deviation(cells, "tp60") == pytest.approx(100 * (0.25 * 0.75 / 1600) ** 0.5, rel=0.08)


def test_primary_units_are_drawn_within_their_stratum() -> None:
    """Of a mean over H strata of n units of equal weights: sqrt(sum of s2 / n) / H (Rao, Wu and Yue, 1992)."""
    rng = np.random.default_rng(5)
    units = rng.normal(10_000, 1_000, (20, 5)) + 5_000 * np.arange(20)[:, None]
    rows = pl.DataFrame({"income": np.repeat(units.ravel(), 4), "units": 1.0, "persons": 1, "weight": 10.0})
    rows = rows.with_columns(stratum=pl.int_range(400) // 20, psu=pl.int_range(400) // 4 % 5)
    expected = (units.var(axis=1, ddof=1).sum() / 5) ** 0.5 / 20
    assert deviation(aggregate(rows, []), "moyenne") == pytest.approx(expected, rel=0.08)
    assert deviation(aggregate(rows.drop("stratum", "psu"), []), "moyenne") > 5 * expected
    by_stratum = measure(aggregate(rows, ["stratum"]), replicates=0)
    assert by_stratum.filter(pl.col("measure") == "moyenne")["value"].to_list() == pytest.approx(
        [units[int(k)].mean() for k in sorted(map(str, range(20)))], abs=1
    )
    with pytest.raises(HouseholdError, match=r"strate 19 \(1 strate"):
        measure(aggregate(rows.filter((pl.col("stratum") < 19) | (pl.col("psu") == 0)), []))


def test_draws_are_the_same_at_each_run() -> None:
    cells = aggregate(drawn(500), ["sex"])
    assert measure(cells).equals(measure(cells))
    assert not measure(cells, seed=1).equals(measure(cells))


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    pytest.importorskip("pyspark", reason="Spark absent : pip install 'vigie[spark]'")
    if "JAVA_HOME" not in os.environ and shutil.which("java") is None:
        pytest.skip("Spark demande Java 17 ou plus récent (openjdk-17-jre-headless)")
    from pyspark.sql import SparkSession

    local = {"spark.ui.enabled": "false", "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
             "spark.sql.shuffle.partitions": "2"}  # fmt: skip
    session = SparkSession.Builder().master("local[2]").config(map=local).getOrCreate()
    yield session
    session.stop()


def test_spark_gives_the_same_figures_as_polars(spark: Any, tmp_path: Path) -> None:
    """The same cells, hence the same figures and draws, to the last bit; the same refusals."""
    path = str(tmp_path / "households.parquet")
    rows = drawn(4000).with_columns(stratum=pl.col("territory"), psu=pl.int_range(4000) % 40)
    rows = rows.with_columns(income=pl.when(pl.int_range(4000) < 5).then(-1.0).otherwise("income"))
    rows.write_parquet(path)
    ours, theirs = (aggregate(f, ["territory", "sex"], step=0.01) for f in (rows.lazy(), spark.read.parquet(path)))
    keys = [c for c in ours.frame.columns if c != "households"]
    assert theirs.frame.sort(keys).equals(ours.frame.sort(keys))
    assert theirs.excluded == ours.excluded == 5
    assert measure(theirs).equals(measure(ours))
    rows.with_columns(units=pl.when(pl.int_range(4000) < 5).then(0.0).otherwise("units")).write_parquet(path)
    with pytest.raises(HouseholdError, match=r"units \(5 ménage"):
        aggregate(spark.read.parquet(path), ["territory"])


def test_the_example_of_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [b for b in blocks(ROOT / "docs" / "guide-statisticien.md", "python") if "households" in b]
    monkeypatch.chdir(tmp_path)
    names = {"territory": "departement", "income": "revdisp", "units": "nbuc", "persons": "nbpers", "weight": "poids"}
    drawn(2000).rename(names).with_columns(tenure=pl.lit("locataire")).write_parquet("menages.parquet")
    exec(example, {})
    assert "tp60" in pl.read_csv("resultats.csv")["measure"]
