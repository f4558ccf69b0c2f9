"""The statistical datasets on the producers' real files: known values, and what each edition holds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import polars as pl
import pytest
from test_geography import Geography

from sources.archive import members
from sources.description import ROOT, Edition, load_source, parser_of
from sources.schema import VALUES

MIRROR = Path(__file__).parents[2].parent / "shared" / "mirror" / "files"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MIRROR.is_dir(), reason=f"fichiers réels absents : {MIRROR}"),
]

CC, DISTRIBUTION, COMPARATEUR = "insee_filosofi_cc", "insee_filosofi_distribution", "insee_comparateur"
LEGALES, IRIS, COMMUNE = "insee_populations_legales", "cnaf_iris", "cnaf_commune"
SERIES = ("2014", "2015", "2016", "2017", "2018", "2019-geo2022", "2020")


@lru_cache(maxsize=1)
def stored() -> dict[tuple[str, str], Edition]:
    """The editions of the six datasets whose file is there."""
    return {
        (source_id, e.edition): e
        for source_id in (CC, DISTRIBUTION, COMPARATEUR, LEGALES, IRIS, COMMUNE)
        for e in load_source(ROOT / source_id).editions
        if body(e).is_file()
    }


def body(edition: Edition) -> Path:
    return MIRROR / edition.url.removeprefix("https://")


def core(source_id: str, key: str) -> pl.DataFrame:
    return Geography(MIRROR.parent).stored(source_id, key)


def rows(source_id: str, key: str, variable: str, level: str) -> pl.DataFrame:
    return core(source_id, key).filter(
        (pl.col("variable").cast(pl.String) == variable) & (pl.col("level").cast(pl.String) == level)
    )


def row(source_id: str, key: str, variable: str, code: str, level: str = "COM") -> dict[str, float | None]:
    found = rows(source_id, key, variable, level).filter(pl.col("code") == code)
    assert found.height == 1
    return found.row(0, named=True)


def value(source_id: str, key: str, variable: str, code: str, level: str = "COM") -> float | None:
    return row(source_id, key, variable, code, level)["value"]


# --- known values -----------------------------------------------------------------------------------------


def test_grigny() -> None:
    assert [value(CC, e, "tp60", "91286") for e in SERIES] == [44, 46, 46, 45, 45, 44, 43]
    medians = [round(value(CC, e, "med", "91286") or 0) for e in SERIES]
    assert medians == [13095, 12960, 13026, 13320, 13810, 13960, 14570]
    assert value(LEGALES, "2018", "pmun", "91286") == 28265


def test_essonne() -> None:
    rates = [value(CC, e, "tp60", "91", "DEP") for e in SERIES[:-1]]
    rates.append(value(DISTRIBUTION, "2020", "tp60", "91", "DEP"))
    assert rates == [12.5, 12.9, 12.9, 12.7, 13.1, 13.3, 13.2]


def test_ile_de_france_and_the_metropole() -> None:
    assert [value(CC, e, "tp60", "11", "REG") for e in SERIES[:-1]] == [15.6, 15.9, 15.7, 15.3, 15.6, 15.5]
    assert [value(CC, e, "tp60", "FM", "METRO") for e in SERIES[:-1]] == [14.7, 14.9, 14.7, 14.5, 14.6, 14.5]


def test_poverty_of_the_essonne_in_2020() -> None:
    expected = {"tp50": 7.8, "tp60_intensite": 21.0, "tp60_rf_lt30": 18.6, "tp60_loc_social": 29.4}
    assert {v: value(DISTRIBUTION, "2020", v, "91", "DEP") for v in expected} == expected
    censored = row(DISTRIBUTION, "2020", "tp40", "91", "DEP")
    assert (censored["value"], censored["lower"], censored["upper"]) == (None, 0, 5.05)


def test_comparateur_of_grigny() -> None:
    populations = rows(COMPARATEUR, "2018", "pop", "COM").filter(pl.col("code") == "91286")
    assert populations.select("year", "value").rows() == [(2013, 27716), (2018, 28265)]
    assert value(COMPARATEUR, "2018", "naissances", "91286") == 556
    assert round(value(COMPARATEUR, "2018", "chom1564", "91286") or 0) == 2539


def test_caf_of_grigny_are_bounds() -> None:
    found = [row(IRIS, y, "alloc", "91286") for y in ("2016", "2017", "2018", "2019")]
    assert [(r["value"], r["lower"], r["upper"], r["masked_parts"]) for r in found] == [
        (None, 5574, None, 2),
        (None, 5608, None, 2),
        (None, 6280, None, 1),
        (None, 6468, None, 1),
    ]


def test_caf_of_bordeaux_and_of_nowhere() -> None:
    bordeaux = row(COMMUNE, "2024", "rsa", "33063")
    assert (bordeaux["value"], bordeaux["lower"], bordeaux["upper"]) == (9260, 9258, 9262)
    unplaced = [value(COMMUNE, str(y), "rsa_sans_commune", "F", "FRANCE") for y in range(2020, 2025)]
    assert unplaced == [7180, 6780, 6500, 6470, 6675]


# --- what an edition holds --------------------------------------------------------------------------------

# territories by level; suppressed: cells empty or marked; bounds: rates printed 5 or 95
HELD: dict[tuple[str, str], tuple[str, int, int]] = {
    (CC, "2014"): ("COM 36576 ARM 45 EPCI 2123 ARR 331 ZE 314 DEP 98 REG 15 METRO 1", 771668, 1502),
    (CC, "2015"): ("COM 35803 ARM 45 EPCI 2048 ARR 330 ZE 314 DEP 98 REG 15 METRO 1", 783294, 1457),
    (CC, "2016"): ("COM 34887 ARM 45 EPCI 1244 ARR 328 ZE 314 DEP 98 REG 15 METRO 1", 755035, 1362),
    (CC, "2017"): ("COM 34886 ARM 45 EPCI 1240 ARR 328 ZE 314 DEP 98 REG 15 METRO 1", 754755, 1402),
    (CC, "2018-csv"): ("COM 34883 ARM 45 EPCI 1239 ARR 328 ZE 297 DEP 98 REG 15 METRO 1", 755061, 1430),
    (CC, "2018"): ("COM 34883 ARM 45 EPCI 1239 ARR 328 ZE 297 DEP 98 REG 15 METRO 1", 755061, 1430),
    (CC, "2019-geo2021"): ("COM 34885 ARM 45", 752704, 882),
    (CC, "2019-geo2022"): (
        "COM 34875 ARM 45 EPCI 1240 EPT 11 ARR 328 ZE 297 DEP 98 REG 15 METRO 1",
        754212,
        1470,
    ),
    (CC, "2020"): ("COM 34884 ARM 45", 752284, 865),
    (DISTRIBUTION, "2014"): ("COM 32929 ARM 45 EPCI 2123 DEP 98 REG 15 METRO 1", 612084, 0),
    (DISTRIBUTION, "2015"): ("COM 32207 ARM 45 EPCI 2048 DEP 98 REG 15 METRO 1", 649512, 0),
    (DISTRIBUTION, "2018"): ("COM 31285 ARM 45 EPCI 1244 DEP 98 REG 15 METRO 1", 650575, 0),
    (DISTRIBUTION, "2020"): ("DEP 98", 3, 2011),
    (COMPARATEUR, "2018"): ("COM 34965 ARM 45", 67331, 159),
    (LEGALES, "2018"): ("COM 34948 ARM 45 DEP 100 REG 17", 0, 0),
    (LEGALES, "2019"): ("COM 34945 ARM 45", 0, 0),
    (LEGALES, "2021"): ("COM 34928 ARM 45", 0, 0),
    (IRIS, "2016"): ("IRIS 13148 COM 915 ARM 45", 58412, 0),
    (IRIS, "2017"): ("IRIS 13279 COM 934 ARM 45", 63082, 0),
    (IRIS, "2018"): ("IRIS 13349 COM 945 ARM 45", 53429, 0),
    (IRIS, "2019"): ("IRIS 13424 COM 964 ARM 45", 51937, 0),
    (COMMUNE, "2020"): ("COM 889 ARM 20 FRANCE 1", 0, 0),
    (COMMUNE, "2021"): ("COM 890 ARM 20 FRANCE 1", 0, 0),
    (COMMUNE, "2022"): ("COM 889 ARM 20 FRANCE 1", 0, 0),
    (COMMUNE, "2023"): ("COM 886 ARM 20 FRANCE 1", 0, 0),
    (COMMUNE, "2024"): ("COM 889 ARM 20 FRANCE 1", 0, 0),
}


def test_no_stored_edition_is_left_out() -> None:
    assert set(stored()) == set(HELD)


@pytest.mark.parametrize(("source_id", "key"), HELD)
def test_what_an_edition_holds(source_id: str, key: str) -> None:
    frame = core(source_id, key)
    levels, suppressed, bounds = HELD[source_id, key]
    counted = frame.group_by("level").agg(pl.col("code").n_unique())
    assert " ".join(f"{level} {n}" for level, n in counted.sort("level").rows()) == levels
    printed = frame["mark"].cast(pl.String).is_in(["5", "95"]).fill_null(False)
    assert ((frame["obs_status"] == "Q") & ~printed).sum() == suppressed
    assert printed.sum() == bounds


@pytest.mark.parametrize(("source_id", "key"), HELD)
def test_a_frame_is_typed_sorted_and_without_doubles(source_id: str, key: str) -> None:
    frame = core(source_id, key)
    assert list(frame.schema) == list(VALUES)
    assert all(frame.schema[name] == dtype for name, dtype in VALUES.items())
    keys = frame.select("level", pl.col("variable").cast(pl.String), "year", "code")
    assert keys.equals(keys.sort("level", "variable", "year", "code"))
    assert not keys.is_duplicated().any()
    assert ((frame["obs_status"] == "A") == frame["value"].is_not_null()).all()
    assert ((frame["obs_status"] == "Q") == (frame["conf_status"] == "A")).all()


@lru_cache(maxsize=16)
def communes_of(cog_year: int) -> frozenset[str]:
    source = load_source(ROOT / "insee_cog_communes")
    edition = next(e for e in source.editions if e.cog_year == cog_year and body(e).is_file())
    frame = parser_of(source)(source, edition, members(source, edition, body(edition)))
    return frozenset(frame.filter(pl.col("typecom").cast(pl.String) == "COM")["code"])


@pytest.mark.parametrize(("source_id", "key"), [k for k in HELD if k[0] != DISTRIBUTION or k[1] != "2020"])
def test_every_commune_exists_in_the_cog_of_its_edition(source_id: str, key: str) -> None:
    cog_year = load_source(ROOT / source_id).edition(key).cog_year
    assert cog_year is not None
    codes = set(core(source_id, key).filter(pl.col("level").cast(pl.String) == "COM")["code"])
    if cog_year == 2015:  # no list of that year is stored; later ones have lost the communes merged since
        assert codes - communes_of(2016)
        return
    assert codes <= communes_of(cog_year)


# --- agreement --------------------------------------------------------------------------------------------


def test_the_2018_workbook_equals_its_csv_twin() -> None:
    assert core(CC, "2018").equals(core(CC, "2018-csv"))


def test_re_issues_differ_only_on_communes_that_changed() -> None:
    first, second = (
        core(CC, e).select(
            pl.col("level").cast(pl.String), "code", pl.col("variable").cast(pl.String), "value", "obs_status"
        )
        for e in ("2019-geo2021", "2019-geo2022")
    )
    both = first.join(second, on=["level", "code", "variable"], suffix="_new")
    changed = both.filter(
        pl.col("value").ne_missing(pl.col("value_new")) | (pl.col("obs_status") != pl.col("obs_status_new"))
    )
    assert changed["code"].n_unique() == 8


def test_the_overseas_survey_of_2017_is_not_taken_for_filosofi() -> None:
    """Guadeloupe, Guyane and Mayotte stand below the départements and régions of the 2019 workbook."""
    departements = set(rows(CC, "2019-geo2022", "med", "DEP")["code"])
    regions = set(rows(CC, "2019-geo2022", "med", "REG")["code"])
    assert not departements & {"971", "973", "976"}
    assert not regions & {"01", "03", "06"}


@pytest.mark.parametrize("key", ["2014", "2015"])
def test_the_distribution_copies_agree_with_the_base_of_their_year(key: str) -> None:
    median = rows(DISTRIBUTION, key, "q2", "COM").join(rows(CC, key, "med", "COM"), on="code")
    assert median.height > 32000
    assert (median["value"] - median["value_right"]).abs().max() < 0.051  # type: ignore[operator]


@pytest.mark.parametrize(("source_id", "key"), [k for k in HELD if k[0] == CC])
def test_no_rate_is_below_5_or_above_95(source_id: str, key: str) -> None:
    frame = core(source_id, key)
    rate = pl.col("variable").cast(pl.String).str.contains("^(tp60|pimp$)")
    rates = frame.filter(rate)["value"].drop_nulls()
    assert rates.len() > 20000
    assert rates.is_between(5, 95, closed="none").all()


def test_legal_populations_add_up() -> None:
    levels = ("COM", "ARM", "DEP", "REG")
    sums = {level: rows(LEGALES, "2018", "pmun", level)["value"].sum() for level in levels}
    assert sums["COM"] + sums["ARM"] == sums["DEP"] == sums["REG"] == 66732538
    districts = rows(LEGALES, "2021", "pmun", "ARM")
    for city, prefix in (("75056", "751"), ("69123", "6938"), ("13055", "132")):
        parts = districts.filter(pl.col("code").str.starts_with(prefix))["value"].sum()
        assert parts == value(LEGALES, "2021", "pmun", city)


def test_a_city_bound_is_the_sum_of_its_arrondissements() -> None:
    for key in ("2016", "2017", "2018", "2019"):
        parts = rows(IRIS, key, "alloc", "ARM").filter(pl.col("code").str.starts_with("751"))
        paris = row(IRIS, key, "alloc", "75056")
        assert (parts["lower"].sum(), parts["masked_parts"].sum()) == (paris["lower"], paris["masked_parts"])


def test_caf_counts_are_rounded_to_5_and_amounts_to_100() -> None:
    for year in range(2020, 2025):
        frame = core(COMMUNE, str(year)).with_columns(pl.col("variable").cast(pl.String))
        amount = pl.col("variable").str.contains("montant")
        assert (frame.filter(~amount)["value"] % 5 == 0).all()
        assert (frame.filter(amount)["value"] % 100 == 0).all()
