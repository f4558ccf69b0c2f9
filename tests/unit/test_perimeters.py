"""Perimeters: their text, what they are made of, and what becomes of them when communes merge."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest
from test_settle import NO_CITIES, RULES, cells, groups, one, same
from test_territories import RECODE, table

from methods.perimeters import MEMBERS, overlaps, perimeter_members, perimeter_parents, perimeter_territories, unplaced
from methods.settle import settle
from pipelines.perimeters import PerimeterError, expanded, load, revised, save, slug_of

ONE = "name: A\nversions: [{version: 1, date: 2026-01-01, cog_year: 2021, asked: [],"
NOW = datetime(2026, 11, 22, 10, 30)
MERGER = (32, date(2020, 1, 1), "01002", "01001")
REFERENCE = pl.DataFrame(
    [("COM", "01001"), ("COM", "01003"), ("COM", "97001"), ("IRIS", "010030101")],
    schema=["level", "code"],
    orient="row",
)
HELD = pl.DataFrame(
    [
        ("COM", "01001", "01001"),
        ("COM", "2A003", "2A003"),
        ("EPCI", "200000001", "01001"),
        ("EPCI", "200000001", "2A003"),
    ],
    schema=["level", "code", "commune"],
    orient="row",
)


def members(*rows: tuple[str, int, str, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=list(MEMBERS), orient="row")


def test_a_merged_commune_is_in_the_perimeter_for_the_part_it_was() -> None:
    passage = table(MERGER, (32, date(2020, 1, 1), "01001", "01001"), RECODE)
    whole = members(("tout", 2019, "COM", "01001"), ("tout", 2019, "COM", "01002"), ("part", 2019, "COM", "01002"))
    found = perimeter_members(whole, passage, REFERENCE, 2021)
    assert found.select("parent_id", "child_id", "share").rows() == [
        ("PER-part", "COM-01001", None),
        ("PER-tout", "COM-01001", 1.0),
    ]


def test_a_member_that_is_no_territory_is_named() -> None:
    asked = members(("a", 2021, "COM", "01003"), ("a", 2021, "COM", "09999"), ("a", 2021, "IRIS", "010030101"))
    assert unplaced(asked, table(RECODE), REFERENCE, 2021)["member"].to_list() == ["09999"]


def test_a_perimeter_is_in_what_holds_all_of_it() -> None:
    places = pl.DataFrame(
        {
            "territory_id": ["COM-01001", "COM-01003", "COM-97001"],
            "level": ["COM"] * 3,
            "code": ["01001", "01003", "97001"],
            "name": ["A", "B", "C"],
            "cog_year": [2021] * 3,
            "perimeter_year": [None] * 3,
            "commune_id": [None, None, None],
            "epci_id": ["EPCI-1", "EPCI-2", "EPCI-1"],
            "departement_id": ["DEP-01", "DEP-01", "DEP-970"],
            "region_id": ["REG-84", "REG-84", "REG-01"],
        },
        schema_overrides={"commune_id": pl.String, "cog_year": pl.Int16, "perimeter_year": pl.Int16},
    )
    asked = members(
        ("ain", 2021, "COM", "01001"),
        ("ain", 2021, "COM", "01003"),
        ("iles", 2021, "COM", "97001"),
        ("iles", 2021, "COM", "01003"),
    )
    held = perimeter_members(asked, table(RECODE), REFERENCE, 2021)
    own = perimeter_territories(pl.DataFrame({"code": ["ain", "iles"], "name": ["Ain", "Îles"]}), held, places, 2021)
    above = own.select("territory_id", "name", "epci_id", "departement_id", "region_id").rows()
    assert above == [("PER-ain", "Ain", None, "DEP-01", "REG-84"), ("PER-iles", "Îles", None, None, None)]
    parents = perimeter_parents(held, own).sort("reference")
    assert parents.rows() == [
        ("PER-ain", "DEP-01", "DEP"),
        ("PER-ain", "METRO-FM", "METRO"),
        ("PER-ain", "REG-84", "REG"),
    ]


def test_what_is_shared_and_what_is_left_outside() -> None:
    every = pl.DataFrame(
        [("EPCI-1", "COM-1"), ("EPCI-1", "COM-2"), ("DEP-01", "COM-1"), ("DEP-01", "COM-2"), ("DEP-01", "COM-3"),
         ("DEP-02", "COM-9"), ("PER-a", "COM-1"), ("PER-a", "COM-3")],
        schema=["parent_id", "child_id"], orient="row",
    )  # fmt: skip
    own = every.filter(pl.col("parent_id") == "PER-a")
    assert overlaps(own, every).rows() == [("DEP-01", 2, 1, True), ("EPCI-1", 1, 1, False)]


def test_a_territory_made_of_iris_is_summed_from_iris_and_waits_for_all_of_them() -> None:
    rows = [
        ("IRIS", "010010101", "nb_pers", 40.0),
        ("IRIS", "010010102", "nb_pers", 60.0),
        ("COM", "01001", "nb_pers", 500.0),
    ]
    made = groups(PER_a=["010010101", "010010102"], PER_b=["010010101", "absent-010019999"])
    frame = settle(
        cells(rows), same=same(), groups=groups(COM_01001=["01001"]), cities=NO_CITIES, rules=RULES, iris=made
    )
    assert one(frame, "PER-a", "nb_pers")["value"] == 100.0
    missing = one(frame, "PER-b", "nb_pers")
    assert (missing["value"], missing["reason"]) == (None, "couverture_insuffisante")
    assert one(frame, "COM-01001", "nb_pers")["value"] == 500.0


def test_codes_identifiers_and_unknown_ones() -> None:
    assert expanded(["2A003"], HELD, [], 2021) == ["COM-2A003"]
    assert expanded(["EPCI-200000001", "IRIS-010010101"], HELD, ["010010101"], 2021) == [
        "COM-01001", "COM-2A003", "IRIS-010010101",
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"COG 2021.*09999, IRIS-010019999, METRO-FM"):
        expanded(["01001", "09999", "IRIS-010019999", "METRO-FM"], HELD, ["010010101"], 2021)


def test_a_composition_that_changes_is_one_more_version_and_the_text_comes_back(tmp_path: Path) -> None:
    first, changed = revised([], "Pays d'Évry", 2021, ["01001"], ["COM-01001"], NOW)
    assert changed and first.slug == "pays-d-evry"
    assert revised([first], "Pays d'Évry", 2021, ["COM-01001"], ["COM-01001"], NOW) == (first, False)
    second, changed = revised([first], "Pays d'Évry", 2021, ["a"], ["COM-01003", "COM-01001"], NOW)
    assert changed and [v.version for v in second.versions] == [1, 2]
    assert second.current.members == ("COM-01001", "COM-01003")
    save(tmp_path, second)
    assert load(tmp_path) == [second]
    with pytest.raises(ValueError, match="celui de « Pays d'Évry »"):
        revised([second], "Pays d’Evry", 2021, ["a"], ["COM-01001"], NOW)
    with pytest.raises(ValueError, match="lettres"):
        slug_of("—")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("slug: a\nname: A\n", "versions"),
        (f"slug: b\n{ONE} members: [COM-01001]}}]", "« a »"),
        (f"slug: a\n{ONE} members: [EPCI-1]}}]", "EPCI-1"),
        ("{", "a.yaml"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_perimeter_is_named(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(PerimeterError, match=r"a\.yaml.*À faire") as refused:
        load(tmp_path)
    assert told in str(refused.value)
