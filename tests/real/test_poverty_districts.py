"""Poverty by subgroup, by IRIS and by QPV on the producers' real files: known values, and what they agree with."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import polars as pl
import pytest

from sources.archive import members
from sources.description import ROOT, load_source, parser_of

PAUVRES, IRIS, CC = "insee_filosofi_pauvres", "insee_filosofi_iris", "insee_filosofi_cc"
REVENUS, DEMOGRAPHIE, INSERTION = "insee_qpv_revenus", "insee_qpv_demographie", "insee_qpv_insertion"
GRANDE_BORNE, GRIGNY_2 = "QP091026", "QP091027"
pytestmark = pytest.mark.real


@lru_cache(maxsize=16)
def core(mirror: Path, source_id: str, key: str) -> pl.DataFrame:
    source = load_source(ROOT / source_id)
    edition = source.edition(key)
    body = mirror / "files" / edition.url.removeprefix("https://")
    frame = parser_of(source)(source, edition, members(source, edition, body))
    return frame.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String))


def value(mirror: Path, source_id: str, key: str, variable: str, code: str) -> float | None:
    frame = core(mirror, source_id, key)
    found = frame.filter(pl.col("variable") == variable, pl.col("code") == code)
    assert found.height == 1, (source_id, key, variable, code)
    return found["value"][0]


def test_grigny_poverty_at_40_and_50_percent_and_intensity(mirror: Path) -> None:
    found = {v: value(mirror, PAUVRES, "2019", v, "91286") for v in ("tp40", "tp50", "tp60", "tp60_intensite")}
    assert found == {"tp40": 15, "tp50": 29, "tp60": 44, "tp60_intensite": 24.5}
    assert value(mirror, PAUVRES, "2019", "tp60_rf_40t49", "91286") == 52
    assert value(mirror, PAUVRES, "2019", "tp60_loc_prive", "91286") == 61


def test_the_rates_of_subgroups_are_those_of_the_file_by_commune(mirror: Path) -> None:
    key = ["level", "code", "variable"]
    ours = core(mirror, PAUVRES, "2019").filter(pl.col("value").is_not_null())
    joined = ours.join(core(mirror, CC, "2019-geo2021"), on=key, suffix="_cc")
    assert joined["variable"].n_unique() == 9  # whole, six ages, two tenures
    assert joined.height > 14_000
    assert joined.filter(pl.col("value").ne_missing(pl.col("value_cc"))).height == 0


def test_intensity_follows_from_the_median_of_the_poor(mirror: Path) -> None:
    """Printed to the thousandth: (threshold - median of the poor) / threshold, the median to ten euros."""
    wide = core(mirror, PAUVRES, "2019").filter(pl.col("value").is_not_null())
    wide = wide.filter(pl.col("variable").is_in(["tp60_median_pauvres", "tp60_intensite"]))
    wide = wide.pivot("variable", index="code", values="value")
    threshold = wide["tp60_median_pauvres"] / (1 - wide["tp60_intensite"] / 100)
    assert threshold.max() - threshold.min() < 40
    assert threshold.median() == pytest.approx(13163, abs=5)


def test_iris_of_grigny(mirror: Path) -> None:
    rates = {f"9128601{n:02d}": value(mirror, IRIS, "2018", "tp60", f"9128601{n:02d}") for n in range(2, 10)}
    assert list(rates.values()) == [18.1, 42.1, None, 57.1, 56.2, 35.2, None, 49.1]
    assert value(mirror, IRIS, "2018", "med", "912860105") == 12110


def test_iris_surround_their_commune(mirror: Path) -> None:
    commune = pl.col("code").str.head(5)
    published = core(mirror, CC, "2018").filter(pl.col("level").is_in(["COM", "ARM"]), pl.col("value").is_not_null())
    for variable, slack, at_least in (("tp60", 0.55, 200), ("med", 10, 900), ("pact", 0.1, 900), ("d1", 10, 900)):
        iris = core(mirror, IRIS, "2018").filter(pl.col("variable") == variable).group_by(code=commune)
        around = iris.agg(low=pl.col("value").min(), high=pl.col("value").max(), hidden=pl.col("value").null_count())
        whole = around.filter(pl.col("hidden") == 0)
        compared = published.filter(pl.col("variable") == variable).join(whole, on="code")
        assert compared.height > at_least
        outside = ~pl.col("value").is_between(pl.col("low") - slack, pl.col("high") + slack)
        assert compared.filter(outside)["code"].to_list() == []


def test_declared_income_is_not_disposable_income(mirror: Path) -> None:
    declared = core(mirror, IRIS, "2018-declare")
    assert declared["variable"].str.starts_with("dec_").all()
    assert value(mirror, IRIS, "2018-declare", "dec_tp60", "912860105") == 70.3
    # of 2021, rates are printed in classes: known within one point; and most of Grigny is not significant
    of_grigny = pl.col("code").str.head(5) == "91286"
    frame = core(mirror, IRIS, "2021-declare").filter(pl.col("variable") == "dec_tp60", of_grigny)
    known = frame.filter(pl.col("value").is_not_null())
    assert (known["upper"] - known["lower"]).to_list() == [2.0, 2.0]
    assert frame["obs_status"].value_counts().sort("obs_status").rows() == [("A", 2), ("N", 6), ("O", 1)]


def test_districts_of_grigny(mirror: Path) -> None:
    rates = [value(mirror, REVENUS, y, "tp60", GRIGNY_2) for y in ("2016", "2017", "2018")]
    assert rates == [55.1, 54.3, 53.2]
    assert [value(mirror, REVENUS, y, "med", GRANDE_BORNE) for y in ("2016", "2018")] == [13730, 14310]
    assert value(mirror, DEMOGRAPHIE, "2020", "alloc", GRIGNY_2) == 2871
    assert value(mirror, INSERTION, "2021", "tx_emploi_f", GRIGNY_2) == 38.2
    inside, all_of = (value(mirror, DEMOGRAPHIE, "2020", v, GRIGNY_2) for v in ("pop_com_qpv", "pop_com"))
    assert (inside, all_of) == (23771, 27716)


def test_the_population_of_communes_is_that_of_2013(mirror: Path) -> None:
    """Of the communes of one district, read by their population: as many are the census of 2013, none that of 2018."""
    districts = core(mirror, DEMOGRAPHIE, "2020").filter(pl.col("variable") == "pop_com")
    assert districts["year"].unique().to_list() == [2013]
    census = core(mirror, "insee_comparateur", "2018").filter(pl.col("variable") == "pop", pl.col("level") == "COM")
    by_year = {year: set(rows["value"]) for (year,), rows in census.group_by("year")}
    shared = {year: sum(v in known for v in districts["value"].unique()) for year, known in by_year.items()}
    assert shared[2013] > 600 and shared[2018] < 250


@pytest.mark.parametrize("key", ["2019", "2020", "2021"])
def test_women_and_men_looking_for_work_add_up(mirror: Path, key: str) -> None:
    wide = core(mirror, INSERTION, key).pivot("variable", index="code", values="value")
    for count in ("defm_dec_abcde", "defm_dec_abc", "defm_dec_a", "defm_dec_rsa"):
        told = wide.filter(pl.col(f"{count}_f").is_not_null(), pl.col(f"{count}_m").is_not_null())
        assert told.height > 1100
        assert (told[count] - told[f"{count}_f"] - told[f"{count}_m"]).abs().max() == 0


@pytest.mark.parametrize("source_id", [REVENUS, DEMOGRAPHIE, INSERTION])
def test_the_districts_are_those_of_2015(mirror: Path, source_id: str) -> None:
    for edition in load_source(ROOT / source_id).editions:
        if (mirror / "files" / edition.url.removeprefix("https://")).is_file():
            codes = core(mirror, source_id, edition.edition)["code"]
            assert codes.str.starts_with("QP").all()
            assert codes.n_unique() > 1300
