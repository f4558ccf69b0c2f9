"""IRIS and priority districts: which code is still the same piece of land, which commune holds it."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from methods.districts import (
    district_members,
    district_territories,
    iris_places,
    located,
    newest,
    qpv_places,
    same_iris,
)
from methods.passage import passage
from methods.settle import VariableRule, settle
from methods.territories import TERRITORY
from pipelines.stages.geography import compared_levels, parents_of_parts
from sources.demo.country import Country, build_country
from sources.demo.districts import iris_list, pieces
from sources.demo.households import draw
from sources.description import ROOT, load_source, parser_of
from sources.schema import EVENTS, IRIS, IRIS_CHANGES, QPV, VALUES

Move = tuple[int, date, str, str]
LIST_YEAR = 2023
TOLD = range(2019, 2024)
RECODE: Move = (50, date(2024, 1, 1), "99001", "99002")  # keeps every year in the table


def table(*moves: Move) -> pl.DataFrame:
    """The passage 2015-2025 of moves between communes (mod, date, before, after)."""
    lines = [(m, d, "COM", b, b, "COM", a, a) for m, d, b, a in (*moves, RECODE)]
    return passage(pl.DataFrame(lines, schema=EVENTS, orient="row"), range(2015, 2026))


def listed(*codes: str) -> pl.DataFrame:
    rows = [(c, f"Quartier {c}", "Z" if c.endswith("0000") else "H", c[:5]) for c in codes]
    return pl.DataFrame(rows, schema=IRIS, orient="row")


def changes(*rows: tuple[int, str, str]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=IRIS_CHANGES, orient="row")


def same(
    codes: list[str],
    now: list[str],
    year: int,
    *told: tuple[int, str, str],
    moves: tuple[Move, ...] = (),
    list_year: int = LIST_YEAR,
) -> dict[str, str]:
    """Published code -> identifier of the IRIS it is."""
    found = same_iris(pl.Series(codes), listed(*now), changes(*told), TOLD, table(*moves), year, list_year)
    return {code: territory for _, code, territory in found.iter_rows()}


# --- which IRIS is the same ---------------------------------------------------------------------------------


def test_a_code_of_the_list_that_nothing_changed_is_the_same() -> None:
    assert same(["010010101", "010010102"], ["010010101", "010010103"], 2019) == {"010010101": "IRIS-010010101"}


def test_a_renumbered_iris_is_the_same_under_its_new_code() -> None:
    told = [(2019, "911820101", "912280201"), (2021, "912280201", "912280301")]
    assert same(["911820101"], ["912280301"], 2018, *told) == {"911820101": "IRIS-912280301"}
    # the first change is already in the geography of 2019
    assert same(["911820101"], ["912280301"], 2019, *told) == {}
    assert same(["912280201"], ["912280301"], 2019, *told) == {"912280201": "IRIS-912280301"}


@pytest.mark.parametrize(
    ("published", "told"),
    [
        (["010010101"], [(2020, "010010101", "010010105"), (2020, "010010101", "010010106")]),  # cut
        (["010010101", "010010102"], [(2020, "010010101", "010010105"), (2020, "010010102", "010010105")]),  # joined
        # some land goes from one to the other, both keep their code
        (
            ["010010101", "010010102"],
            [(2020, a, b) for a, b in (("010010101",) * 2, ("010010101", "010010102"), ("010010102",) * 2)],
        ),
        # enlarged under its own code by another, which does not say that it stays
        (["010010101"], [(2020, "010010102", "010010101")]),
        # a code that is new that year stood for something else before
        (["010010105"], [(2020, "010010101", "010010105"), (2020, "010010102", "010010105")]),
    ],
)
def test_a_redrawn_iris_is_not_the_same(published: list[str], told: list[tuple[int, str, str]]) -> None:
    now = ["010010101", "010010102", "010010105", "010010106"]
    assert same(published, now, 2019, *told) == {}
    assert same(published, now, 2020, *told) == {c: f"IRIS-{c}" for c in published}


def test_an_undivided_commune_is_no_iris_unless_it_became_one_whole() -> None:
    assert same(["010010000", "785240000"], ["010010000", "781580201"], 2018) == {}
    told = (2019, "785240000", "781580201")
    assert same(["010010000", "785240000"], ["010010000", "781580201"], 2018, told) == {"785240000": "IRIS-781580201"}
    assert (
        same(["332840000"], ["332840101", "332840102"], 2022, *((2023, "332840000", f"33284010{i}") for i in (1, 2)))
        == {}
    )


def test_years_that_no_list_tells_are_read_in_the_events_of_communes() -> None:
    merger = (32, date(2016, 1, 1), "01002", "01001")
    merged = (merger, (32, date(2016, 1, 1), "01001", "01001"))
    codes = ["010010101", "010020102", "010030101"]
    # 01001 grew in 2016: its IRIS may have been redrawn; 01003 did not move
    assert same(codes, ["010010101", "010010102", "010030101"], 2015, moves=merged) == {"010030101": "IRIS-010030101"}
    assert len(same(codes, ["010010101", "010030101"], 2016, moves=merged)) == 2
    moved = (41, date(2017, 1, 1), "01004", "02004")
    assert same(["010040101"], ["020040101"], 2015, moves=(moved,)) == {"010040101": "IRIS-020040101"}
    split = [(21, date(2018, 1, 1), "01005", c) for c in ("01005", "01006")]
    assert same(["010050101"], ["010050101"], 2017, moves=tuple(split)) == {}


def test_an_edition_newer_than_the_list_is_walked_back() -> None:
    told = [(2023, "010010101", "010010105"), (2023, "010010102", "010010106"), (2023, "010010102", "010010107")]
    codes = ["010010103", "010010105", "010010106"]
    assert same(codes, ["010010101", "010010102", "010010103"], 2023, *told, list_year=2022) == {
        "010010103": "IRIS-010010103", "010010105": "IRIS-010010101",
    }  # fmt: skip
    later = (32, date(2024, 1, 1), "01002", "01001")
    grown = (later, (32, date(2024, 1, 1), "01001", "01001"))
    assert same(["010010101", "010030101"], ["010010101", "010030101"], 2024, moves=grown) == {
        "010030101": "IRIS-010030101"
    }


@pytest.mark.parametrize("seed", [1, 2])
def test_no_iris_of_a_country_that_changes_is_taken_for_another(seed: int) -> None:
    """Pieces of the generated country are known by their place, whatever their code each year."""
    country = build_country(2_000)
    count = draw(country, seed, 600_000).iris_count
    lines = [(int(e[0]), date.fromisoformat(e[1]), *e[2:]) for e in country.events]
    moves = passage(pl.DataFrame(lines, schema=EVENTS, orient="row"), range(2015, 2027))
    told = _told(country, count)
    now = pieces(country, count, LIST_YEAR).select("atom", "rank", truth="iris")
    kept: dict[int, float] = {}
    for year in range(2015, 2027):
        then = pieces(country, count, year).join(now, on=["atom", "rank"]).filter(~pl.col("iris").str.ends_with("0000"))
        found = same_iris(then["iris"], listed(*now["truth"].unique()), told, TOLD, moves, year, LIST_YEAR)
        right = then.join(found, left_on="iris", right_on="code")
        assert right.filter(pl.col("territory_id") != "IRIS-" + pl.col("truth")).height == 0, year
        assert found["territory_id"].is_unique().all()
        kept[year] = found.height / then.height
    assert kept[2023] == kept[2022] == 1.0
    assert 0.9 < kept[2015] <= kept[2019] < 1.0  # mergers before the list tells, then an exchange of land


def _told(country: Country, iris_count: np.ndarray) -> pl.DataFrame:
    source = load_source(ROOT / "insee_iris_modifications")
    edition = source.edition("2023")
    workbook = iris_list(country, edition, iris_count)[None]
    return parser_of(source)(source, edition, {"reference_IRIS_geo2023.xlsx": workbook})


# --- where a priority district lies -------------------------------------------------------------------------

COMMUNES = pl.DataFrame(
    [
        ("COM", "91286", "Grigny", "91"), ("COM", "91687", "Viry-Châtillon", "91"), ("COM", "69096", "Grigny", "69"),
        ("COM", "54547", "Vandœuvre-lès-Nancy", "54"), ("COM", "95018", "L'Île-Saint-Denis", "95"),
        ("COM", "2A004", "Ajaccio", "2A"), ("COM", "97411", "Saint-Denis", "974"),
        ("COM", "93066", "Saint-Denis", "93"), ("COM", "13055", "Marseille", "13"),
        ("ARM", "13214", "Marseille 14e Arrondissement", "13"),
        ("ARM", "13215", "Marseille 15e Arrondissement", "13"), ("COM", "62907", "Libercourt", "62"),
        ("COM", "59452", "Ostricourt", "59"), ("COM", "60001", "Abancourt", "60"), ("COM", "60002", "Abancourt", "60"),
        ("COMD", "91999", "Ancienne", "91"), ("COM", "76676", "Sigy", "76"), ("COM", "69149", "Oullins", "69"),
    ],
    schema=["typecom", "code", "name", "departement"], orient="row",
)  # fmt: skip
MOVES = (
    (21, date(2022, 1, 1), "76676", "76676"),
    (21, date(2022, 1, 1), "76676", "76601"),
    (41, date(2022, 1, 1), "69149", "69266"),
)


def where(code: str, *names: str, by_code: bool = False) -> list[tuple[str | None, str | None]]:
    """(as printed, commune of 2025) of each commune of a district, in the order of the list."""
    rows = [(code, "Nom", None, n) if by_code else (code, "Nom", n, None) for n in names]
    found = located(pl.DataFrame(rows, schema=QPV, orient="row"), COMMUNES, table(*MOVES), 2020, 2025)
    return list(found.select("printed", "commune").iter_rows())


@pytest.mark.parametrize(
    ("code", "name", "commune"),
    [
        ("QP091026", "Grigny", "91286"),  # that of the département, not the other
        ("QP069040", "Grigny", "69096"),
        ("QP054014", "Vandoeuvre-lès-Nancy", "54547"),
        ("QP095001", "L’ILE SAINT DENIS", "95018"),
        ("QP02A001", "Ajaccio", "2A004"),
        ("QP974001", "Saint-Denis", "97411"),
        ("QP013032", "Marseille 14e  Arrondissement", "13214"),
        ("QP062040", "Libercourt", "62907"),
        ("QP062040", "Ostricourt", "59452"),  # declared to reach into the next département
        ("QP062041", "Ostricourt", None),
        ("QP060001", "Abancourt", None),  # two communes of that name
        ("QP091001", "Ancienne", None),  # no longer a commune
        ("QP091001", "Nulle-Part", None),
        ("QP076001", "Sigy", None),  # split since: which piece is not known
        ("QP069001", "Oullins", "69266"),  # another code since
    ],
)
def test_a_commune_is_found_by_its_name_or_not_at_all(code: str, name: str, commune: str | None) -> None:
    assert where(code, name) == [(name, commune)]


def test_communes_by_code_are_those_of_the_cog() -> None:
    assert where("QN09126M", "91286", "91687", "91000", by_code=True) == [
        ("91286", "91286"), ("91687", "91687"), ("91000", None),
    ]  # fmt: skip


def test_a_district_without_commune_stays() -> None:
    rows = pl.DataFrame([("QP091001", None, None, None)], schema=QPV, orient="row")
    found = located(rows, COMMUNES, table(*MOVES), 2020, 2025)
    assert found.rows() == [("QP091001", None, None, None)]


def test_the_newest_list_tells_the_communes_and_the_newest_name_stays() -> None:
    lists = pl.DataFrame(
        [
            (2018, "QP091026", "La Grande Borne", "Grigny", "91286"), (2018, "QP091099", "Disparu", "X", None),
            (2020, "QP091026", None, "Grigny", "91286"), (2020, "QP091026", None, "Viry", "91687"),
            (2024, "QN09126M", "La Grande Borne", "91286", "91286"),
        ],
        schema=["year", "code", "name", "printed", "commune"], orient="row",
    )  # fmt: skip
    places = qpv_places(lists).sort("code", "commune")
    assert places.rows() == [
        ("QPV", "QN09126M", "La Grande Borne", 2024, "91286"), ("QPV", "QP091026", "La Grande Borne", 2015, "91286"),
        ("QPV", "QP091026", "La Grande Borne", 2015, "91687"), ("QPV", "QP091099", "Disparu", 2015, None),
    ]  # fmt: skip
    assert newest(lists).filter(pl.col("commune").is_null())["printed"].to_list() == ["X"]


# --- territories and their members --------------------------------------------------------------------------

REFERENCE = pl.DataFrame(
    [
        ("COM-91286", "COM", "91286", None, "EPCI-1", "DEP-91", "REG-11"),
        ("COM-91687", "COM", "91687", None, "EPCI-2", "DEP-91", "REG-11"),
        ("COM-91228", "COM", "91228", None, "EPCI-1", "DEP-91", "REG-11"),
        ("COM-13055", "COM", "13055", None, "EPCI-3", "DEP-13", "REG-93"),
        ("ARM-13214", "ARM", "13214", "COM-13055", "EPCI-3", "DEP-13", "REG-93"),
        ("ARM-13215", "ARM", "13215", "COM-13055", "EPCI-3", "DEP-13", "REG-93"),
        ("COM-97411", "COM", "97411", None, "EPCI-4", "DEP-974", "REG-04"),
        ("COM-75056", "COM", "75056", None, "EPCI-5", "DEP-75", "REG-11"),
    ],
    schema=["territory_id", "level", "code", "commune_id", "epci_id", "departement_id", "region_id"], orient="row",
).with_columns(name=pl.col("code"), cog_year=pl.lit(2025, pl.Int16), perimeter_year=pl.lit(None, pl.Int16))  # fmt: skip


def places(*rows: tuple[str, str, str | None]) -> pl.DataFrame:
    columns = {"level": pl.String, "code": pl.String, "commune": pl.String}
    frame = pl.DataFrame(list(rows), schema=columns, orient="row")
    year = pl.when(pl.col("level") == "IRIS").then(2023).otherwise(2015).cast(pl.Int16)
    return frame.with_columns(name="Nom " + pl.col("code"), perimeter_year=year)


PLACES = places(
    ("IRIS", "912860101", "91286"), ("IRIS", "132140101", "13214"), ("IRIS", "974110101", "97411"),
    ("QPV", "QP091027", "91286"), ("QPV", "QP091026", "91286"), ("QPV", "QP091026", "91687"),
    ("QPV", "QP091030", "91286"), ("QPV", "QP091030", "91228"),
    ("QPV", "QP013050", "13214"), ("QPV", "QP013050", "13215"), ("QPV", "QP091099", None),
    ("QPV", "QP974001", "97411"), ("QPV", "QP091031", "91286"), ("QPV", "QP091031", "75056"),
    ("QPV", "QP091098", "91286"), ("QPV", "QP091098", None),
)  # fmt: skip


def test_territories_of_districts() -> None:
    frame = district_territories(PLACES, REFERENCE, 2025)
    assert tuple(frame.columns) == TERRITORY
    above = {r[0]: r[1:] for r in frame.select("territory_id", "commune_id", "epci_id", "departement_id").iter_rows()}
    assert above == {
        "IRIS-912860101": ("COM-91286", "EPCI-1", "DEP-91"),
        "IRIS-132140101": ("ARM-13214", "EPCI-3", "DEP-13"),
        "IRIS-974110101": ("COM-97411", "EPCI-4", "DEP-974"),
        "QPV-QP091027": ("COM-91286", "EPCI-1", "DEP-91"),
        "QPV-QP091026": (None, None, "DEP-91"),  # two communes of two EPCI
        "QPV-QP091030": (None, "EPCI-1", "DEP-91"),  # two communes of one EPCI
        "QPV-QP013050": ("COM-13055", "EPCI-3", "DEP-13"),  # two arrondissements of one city
        "QPV-QP974001": ("COM-97411", "EPCI-4", "DEP-974"),
        "QPV-QP091031": (None, None, None),  # two départements of one région
        "QPV-QP091099": (None, None, None),
        "QPV-QP091098": (None, None, None),  # one of its communes is unknown: nothing holds it for sure
    }
    one = frame.filter(pl.col("territory_id") == "IRIS-912860101").row(0, named=True)
    assert (one["level"], one["code"], one["name"]) == ("IRIS", "912860101", "Nom 912860101")
    assert (one["cog_year"], one["perimeter_year"]) == (2025, 2023)


def test_members_of_communes() -> None:
    members = district_members(PLACES, REFERENCE, 2025)
    assert {(p, c): s for p, c, _, s in members.iter_rows()} == {
        ("COM-91286", "IRIS-912860101"): 1.0, ("ARM-13214", "IRIS-132140101"): 1.0,
        ("COM-97411", "IRIS-974110101"): 1.0, ("COM-91286", "QPV-QP091027"): 1.0,
        ("COM-91286", "QPV-QP091026"): None, ("COM-91687", "QPV-QP091026"): None,
        ("COM-91286", "QPV-QP091030"): None, ("COM-91228", "QPV-QP091030"): None,
        ("ARM-13214", "QPV-QP013050"): None, ("ARM-13215", "QPV-QP013050"): None,
        ("COM-91286", "QPV-QP091098"): None, ("COM-97411", "QPV-QP974001"): 1.0,
        ("COM-91286", "QPV-QP091031"): None, ("COM-75056", "QPV-QP091031"): None,
    }  # fmt: skip


def test_only_divided_communes_have_iris_and_a_merged_one_keeps_them() -> None:
    moves = table((32, date(2024, 1, 1), "01002", "01001"), (32, date(2024, 1, 1), "01001", "01001"))
    found = iris_places(listed("010020101", "010030000"), moves, 2023, 2025)
    assert found.select("code", "commune", "perimeter_year").rows() == [("010020101", "01001", 2023)]


def test_what_is_above_a_district_and_an_arrondissement() -> None:
    whole = pl.concat([REFERENCE.select(TERRITORY), district_territories(PLACES, REFERENCE, 2025)])
    above: dict[str, set[str]] = {}
    for territory, reference, level in parents_of_parts(whole).iter_rows():
        assert reference.startswith(f"{level}-")
        above.setdefault(territory, set()).add(reference)
    assert above == {
        "ARM-13214": {"COM-13055"},
        "ARM-13215": {"COM-13055"},
        "IRIS-912860101": {"COM-91286", "EPCI-1", "DEP-91", "REG-11", "METRO-FM"},
        "IRIS-132140101": {"ARM-13214", "COM-13055", "EPCI-3", "DEP-13", "REG-93", "METRO-FM"},
        "IRIS-974110101": {"COM-97411", "EPCI-4", "DEP-974", "REG-04"},
        "QPV-QP091027": {"COM-91286", "EPCI-1", "DEP-91", "REG-11", "METRO-FM"},
        "QPV-QP091026": {"DEP-91", "REG-11", "METRO-FM"},
        "QPV-QP091031": {"REG-11", "METRO-FM"},
        "QPV-QP974001": {"COM-97411", "EPCI-4", "DEP-974", "REG-04"},
        "QPV-QP091030": {"EPCI-1", "DEP-91", "REG-11", "METRO-FM"},
        "QPV-QP013050": {"COM-13055", "EPCI-3", "DEP-13", "REG-93", "METRO-FM"},
    }


def test_a_zone_of_another_zoning_says_that_none_is_of_this_one() -> None:
    """Filosofi 2017 (COG 2020) has the zones d'emploi of 2010; 111 of their codes are zones of 2020 too."""
    members = pl.DataFrame({"level": ["ZE", "ZE", "DEP"], "code": ["1101", "1102", "91"]})
    coded = pl.DataFrame({"level": ["ZE", "ZE", "DEP", "DEP"], "code": ["1101", "0050", "91", "92"]})
    assert compared_levels(coded, members) == ["DEP"]
    assert compared_levels(coded.filter(pl.col("code") != "0050"), members) == ["DEP", "ZE"]


# --- figures ------------------------------------------------------------------------------------------------


def test_figures_of_districts_and_zones_pass_and_are_never_added_up() -> None:
    rows = [
        ("IRIS", "912860101", "pop", 2000.0, "A"), ("IRIS", "912860199", "pop", 50.0, "A"),
        ("IRIS", "912860102", "tp60", None, "Q"), ("QPV", "QP091026", "tp60", 44.7, "A"),
        ("ZE", "1101", "tp60", 15.0, "A"), ("EPT", "200057966", "pop", 9.0, "A"), ("ARR", "911", "pop", 8.0, "A"),
        ("FRANCE", "F", "pop", 7.0, "A"), ("COM", "91286", "pop", 28_000.0, "A"),
        ("COM", "91687", "pop", 30_000.0, "A"),
    ]  # fmt: skip
    full = [(lv, c, 2018, v, x, None, None, s, "A" if s == "Q" else "F", None, None) for lv, c, v, x, s in rows]
    published = pl.DataFrame(full, schema=VALUES, orient="row")
    known = [(lv, c, f"{lv}-{c}") for lv, c, *_ in rows if c != "912860199"]
    frame = settle(
        published,
        same=pl.DataFrame(known, schema=["level", "code", "territory_id"], orient="row").unique(),
        groups=pl.DataFrame(
            [("EPCI-1", "91286", False), ("EPCI-1", "91687", False), ("COM-91286", "91286", False)],
            schema=["territory_id", "code", "partial"],
            orient="row",
        ),
        cities=pl.DataFrame(schema={"code": pl.String, "arm": pl.String}),
        rules=[VariableRule("pop", "sum"), VariableRule("tp60", "weighted_mean", "pop", 1.0)],
    )
    found = {
        (r["territory_id"], str(r["variable"])): (r["value"], r["aggregated"], r["reason"])
        for r in frame.iter_rows(named=True)
    }
    added = found.pop(("EPCI-1", "pop"))
    assert added == (58_000.0, True, None)
    assert found == {
        ("IRIS-912860101", "pop"): (2000.0, False, None), ("IRIS-912860102", "tp60"): (None, False, "secret"),
        ("QPV-QP091026", "tp60"): (44.7, False, None), ("ZE-1101", "tp60"): (15.0, False, None),
        ("EPT-200057966", "pop"): (9.0, False, None), ("ARR-911", "pop"): (8.0, False, None),
        ("FRANCE-F", "pop"): (7.0, False, None), ("COM-91286", "pop"): (28_000.0, False, None),
        ("COM-91687", "pop"): (30_000.0, False, None),
    }  # fmt: skip


def test_an_edition_without_communes_gives_what_it_publishes() -> None:
    row = ("QPV", "QP091026", 2018, "tp60", 44.7, None, None, "A", "F", None, None)
    frame = settle(
        pl.DataFrame([row], schema=VALUES, orient="row"),
        same=pl.DataFrame({"level": ["QPV"], "code": ["QP091026"], "territory_id": ["QPV-QP091026"]}),
        groups=pl.DataFrame(schema={"territory_id": pl.String, "code": pl.String, "partial": pl.Boolean}),
        cities=pl.DataFrame(schema={"code": pl.String, "arm": pl.String}),
        rules=[VariableRule("tp60", "none")],
    )
    assert frame.select("territory_id", "value", "grade").rows() == [("QPV-QP091026", 44.7, "A")]
