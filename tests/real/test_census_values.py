"""The census on real files: known values, and what the extracts kept by others really hold."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import polars as pl
import pytest

from expectations.editions import CITIES
from sources.archive import members
from sources.description import ROOT, load_source, parser_of

MIRROR = Path(__file__).parents[2].parent / "shared" / "mirror" / "files"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MIRROR.is_dir(), reason=f"fichiers réels absents : {MIRROR}"),
]
EXTRACT, COMPARATEUR = "insee_rp_extrait", "insee_comparateur"
SHORT = "2017-extrait"  # columns of the producer's files, every commune


@lru_cache(maxsize=16)
def core(source_id: str, key: str) -> pl.DataFrame:
    source = load_source(ROOT / source_id)
    edition = next(e for e in source.editions if e.edition == key)
    data = (MIRROR / edition.url.removeprefix("https://")).read_bytes()
    frame = parser_of(source)(source, edition, members(source, edition, data))
    return frame.with_columns(pl.col("level", "variable").cast(pl.String))


def value(source_id: str, key: str, variable: str, code: str, year: int | None = None) -> float:
    asked = (pl.col("variable") == variable) & (pl.col("code") == code)
    found = core(source_id, key).filter(asked & ((pl.col("year") == year) if year else pl.lit(True)))
    assert found.height == 1, found
    return found["value"].item()


@pytest.mark.parametrize(
    ("source_id", "key", "variable", "code", "year", "known"),
    [
        # Grigny
        ("insee_rp_population", SHORT, "pop", "91286", 2007, 26_636.954211),
        ("insee_rp_population", SHORT, "pop", "91286", 2017, 28_737),
        ("insee_rp_emploi", SHORT, "act1564", "91286", 2017, 11_621.4849),
        ("insee_rp_emploi", SHORT, "chom1564", "91286", 2017, 2_685.708785),
        ("insee_rp_emploi", SHORT, "pop1564", "91286", 2017, 18_082.254595),
        ("insee_rp_diplomes", SHORT, "scol1517", "91286", 2017, 1_393.889494),
        ("insee_rp_diplomes", SHORT, "pop1517", "91286", 2017, 1_464.041032),
        (EXTRACT, "2018", "rp_lochlmv", "91286", 2018, 3_292.497876),
        (EXTRACT, "2018", "nscol15p_diplmin", "91286", 2018, 5_974.182573),
        (EXTRACT, "2012", "rp_lochlmv", "91286", 2012, 3_547),
        ("insee_suroccupation", "2020", "tx_surocc", "91286", 2020, 27.7),
        ("insee_suroccupation", "2020", "tx_surocc", "91", 2020, 8.7),
        # Paris
        ("insee_rp_population", SHORT, "pop", "75056", 2017, 2_187_526),
        # Bordeaux
        ("insee_melodi_rp_familles", "2023", "fammono", "33063", 2023, 11_338.57897),
        ("insee_melodi_rp_familles", "2023", "fammono_f", "33063", 2023, 9_368.96394),
        ("insee_melodi_rp_logement", "2023", "rp_lochlmv", "33063", 2023, 20_552.27852),
        ("insee_melodi_rp_emploi", "2023", "chom1564", "33063", 2023, 16_878.00024),
    ],
)
def test_known_values(source_id: str, key: str, variable: str, code: str, year: int, known: float) -> None:
    assert value(source_id, key, variable, code, year) == pytest.approx(known, abs=1e-5)


def test_figures_called_of_15_or_more_in_the_extract_are_of_the_15_to_64() -> None:
    """pop_act_15p and pop_chom: the comparateur has the same figures, to the last digit, under their real name."""
    for variable in ("pop", "act1564", "chom1564", "rp", "rp_prop", "rsecocc"):
        one, other = (
            core(source, "2018").filter((pl.col("variable") == variable) & (pl.col("year") == 2018))
            for source in (EXTRACT, COMPARATEUR)
        )
        both = one.join(other, on=["level", "code"])
        assert both.height == one.height == 5_372 + 45
        assert (both["value"] - both["value_right"]).abs().max() < 1e-6, variable


def test_occupations_of_the_extract_never_exceed_the_labour_force() -> None:
    """Two counts of the census: occupations of the complementary one, labour force of the main one."""
    frame = core(EXTRACT, "2018").pivot(on="variable", index=["level", "code"], values="value")
    share = (frame["act1564_cs5"] + frame["act1564_cs6"]) / frame["act1564_cs"]
    assert share.max() < 0.9


def test_the_melodi_extract_has_the_figures_of_the_files_of_2017() -> None:
    """The vintages before are not recomputed in the new form."""
    for variable in ("pop1564", "act1564", "chom1564"):
        for code in ("33063", "75101"):
            for year in (2012, 2017):
                one = value("insee_melodi_rp_emploi", "2023", variable, code, year)
                assert one == pytest.approx(value("insee_rp_emploi", SHORT, variable, code, year), abs=1e-4)


def test_the_melodi_extracts_are_no_coverage() -> None:
    for theme in ("familles", "logement", "emploi", "population"):
        frame = core(f"insee_melodi_rp_{theme}", "2023")
        assert set(frame["code"]) == {"33063", "33281", "75101", "243300316", "33", "75", "7514", "FM"}


@pytest.mark.parametrize("theme", ["population", "emploi", "diplomes"])
def test_the_files_of_2017_hold_every_commune_but_those_of_mayotte(theme: str) -> None:
    frame = core(f"insee_rp_{theme}", SHORT)
    assert set(frame["year"]) == {2007, 2012, 2017}
    sizes = frame.group_by("level").agg(n=pl.col("code").n_unique())
    assert dict(sizes.iter_rows()) == {"COM": 34_951, "ARM": 45}
    assert not frame["code"].str.starts_with("976").any()
    cells = frame.filter(pl.col("level") == "COM").group_by("variable", "year").agg(n=pl.col("value").null_count())
    assert cells["n"].max() < 10


@pytest.mark.parametrize(
    ("source_id", "key"), [(f"insee_rp_{t}", SHORT) for t in ("population", "emploi", "diplomes")] + [(EXTRACT, "2018")]
)
def test_cities_are_the_sum_of_their_arrondissements(source_id: str, key: str) -> None:
    frame = core(source_id, key)
    for city, districts in CITIES.items():
        whole = frame.filter(pl.col("code") == city).select("variable", "year", "value")
        added = frame.filter(pl.col("code").is_in(districts)).group_by("variable", "year").agg(pl.col("value").sum())
        both = whole.join(added, on=["variable", "year"])
        assert both.height == whole.height > 0
        assert (both["value"] - both["value_right"]).abs().max() < 1e-6


def test_overcrowding_of_communes_surrounds_that_of_their_departement() -> None:
    frame = core("insee_suroccupation", "2020")
    communes = frame.filter(pl.col("level") == "COM")
    assert communes.height == 34_945
    assert communes["value"].null_count() == 31
    assert (communes["value"].min(), communes["value"].max()) == (0.0, 100.0)
    assert communes["upper"].max() == 100.0, "a rate of 100 % is not rounded upwards"
