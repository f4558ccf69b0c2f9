"""Territories, memberships and the comparison of perimeters, on a country of a few communes."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from methods.passage import passage
from methods.territories import (
    communes_of_year,
    composition_of_year,
    edition_members,
    members_by_year,
    published_communes,
    reference_year,
    same_territory,
    territories,
    territory_members,
    twins,
)

Move = tuple[int, date, str, str]
EVENTS = {
    "mod": pl.Int16, "date": pl.Date, "type_before": pl.String, "code_before": pl.String,
    "name_before": pl.String, "type_after": pl.String, "code_after": pl.String, "name_after": pl.String,
}  # fmt: skip


def table(*moves: Move) -> pl.DataFrame:
    """The passage 2019-2021 of moves between communes (mod, date, before, after)."""
    lines = [(m, d, "COM", b, b, "COM", a, a) for m, d, b, a in moves]
    return passage(pl.DataFrame(lines, schema=EVENTS, orient="row"), [2019, 2020, 2021])


DAY = date(2020, 1, 1)
RECODE: Move = (50, date(2021, 1, 1), "99001", "99002")  # keeps both years in every table


def zones(level: str, **communes: str) -> pl.DataFrame:
    """Zones of one level: code="commune commune"."""
    pairs = [(level, code, c) for code, listed in communes.items() for c in listed.split()]
    return pl.DataFrame(pairs, schema=["level", "code", "commune"], orient="row")


def communes(*codes: str, districts: tuple[str, ...] = ()) -> pl.DataFrame:
    region = {"01": "84", "02": "32", "75": "11", "974": "04"}
    lines = [("COM", c, f"Commune {c}", None) for c in codes]
    lines += [("ARM", c, f"Arrondissement {c}", "75056") for c in districts]
    lines += [("COMD", codes[0], "Déléguée", codes[0])]
    frame = pl.DataFrame(lines, schema=["typecom", "code", "name", "parent"], orient="row")
    frame = frame.cast({"typecom": pl.Enum(["COM", "COMA", "COMD", "ARM"])})
    department = pl.when(pl.col("code").str.starts_with("97")).then(pl.col("code").str.head(3))
    return (
        frame.with_columns(
            departement=pl.when(pl.col("typecom") != "COMD").then(
                department.otherwise(pl.col("code").str.head(2))
            )
        )
        .with_columns(
            region=pl.col("departement").replace_strict(region, default=None),
            arrondissement=pl.col("departement") + "1",
        )
        .select("typecom", "code", "name", "departement", "region", "arrondissement", "parent")
    )


LIST = communes("01001", "01002", "02001", "75056", "97401", districts=("75101", "75102"))
COMPOSITION = pl.DataFrame(
    [
        ("EPCI", "111", "CC Un", "CC", "01001"), ("EPCI", "111", "CC Un", "CC", "02001"),
        ("EPCI", "222", "MGP", "METRO", "75056"), ("EPT", "333", "Un EPT", None, "75056"),
        ("ZE", "0101", "Une zone", None, "01001"), ("ARR", "011", "Belley", None, "01001"),
    ],
    schema=["level", "code", "name", "nature", "commune"], orient="row",
)  # fmt: skip
DEPARTEMENTS = pl.DataFrame(
    {"level": ["DEP"] * 4, "code": ["01", "02", "75", "974"], "name": ["Ain", "Aisne", "Paris", "La Réunion"]}
)
REGIONS = pl.DataFrame({"level": ["REG"] * 4, "code": ["84", "32", "11", "04"], "name": ["A", "B", "C", "D"]})


def test_reference_year_needs_both() -> None:
    assert reference_year([2024, 2025, 2026], [2023, 2025]) == 2025
    with pytest.raises(ValueError, match="composition des EPCI"):
        reference_year([2026], [2025])


def test_members_of_every_level() -> None:
    members = members_by_year(LIST, COMPOSITION)
    of = {
        (level, code): set(listed)
        for level, code, listed in members.group_by("level", "code").agg("commune").iter_rows()
    }
    everything = {"01001", "01002", "02001", "75056", "97401"}
    assert of["FRANCE", "F"] == everything
    assert of["METRO", "FM"] == everything - {"97401"}
    assert of["DEP", "974"] == {"97401"}
    assert of["REG", "84"] == {"01001", "01002"}
    assert of["EPCI", "111"] == {"01001", "02001"}
    assert of["EPT", "333"] == {"75056"}
    assert of["ARR", "011"] == {"01001", "01002"}  # from the list, not from the composition
    assert of["ARM", "75101"] == {"75101"}
    assert of["COM", "75056"] == {"75056"}
    assert not members.select("level", "code", "commune").is_duplicated().any()


def test_territories_of_the_reference() -> None:
    frame = territories(LIST, DEPARTEMENTS, REGIONS, COMPOSITION, 2025)
    row = {r["territory_id"]: r for r in frame.iter_rows(named=True)}
    assert row["COM-01001"] == {
        "territory_id": "COM-01001", "level": "COM", "code": "01001", "name": "Commune 01001",
        "cog_year": 2025, "perimeter_year": None, "commune_id": None,
        "epci_id": "EPCI-111", "departement_id": "DEP-01", "region_id": "REG-84",
    }  # fmt: skip
    assert row["COM-01002"]["epci_id"] is None
    assert (row["ARM-75101"]["commune_id"], row["EPT-333"]["commune_id"]) == ("COM-75056", None)
    assert row["ARM-75101"]["epci_id"] == "EPCI-222"
    assert row["EPCI-111"]["departement_id"] is None  # astride two départements
    assert row["EPCI-222"]["departement_id"] == "DEP-75"
    assert row["EPCI-222"]["epci_id"] is None
    assert row["EPT-333"]["epci_id"] == "EPCI-222"
    assert (row["DEP-01"]["departement_id"], row["DEP-01"]["region_id"]) == (None, "REG-84")
    assert row["ARR-011"]["name"] == "Belley"
    assert row["ARR-021"]["name"] == "021"  # no name known
    assert (row["METRO-FM"]["name"], row["FRANCE-F"]["name"]) == ("France métropolitaine", "France")
    assert frame["territory_id"].is_unique().all()


def test_descending_to_communes_is_one_join_and_never_doubles() -> None:
    members = territory_members(LIST, COMPOSITION, 2025)
    assert not members.select("parent_id", "child_id").is_duplicated().any()
    paris = members.filter(pl.col("parent_id") == "COM-75056")["child_id"].to_list()
    assert paris == ["ARM-75101", "ARM-75102"]
    others = members.filter(~pl.col("parent_id").str.starts_with("COM-"))
    assert others["child_id"].str.starts_with("COM-").all()
    assert members["share"].unique().to_list() == [1.0]


def test_an_earlier_list_from_a_later_one() -> None:
    moved = table(
        (32, DAY, "01001", "01001"), (32, DAY, "01009", "01001"), (50, DAY, "97409", "97401"), RECODE
    )
    earlier = communes_of_year(LIST, moved, 2020, 2019)
    rows = {
        r["code"]: (r["departement"], r["region"])
        for r in earlier.filter(typecom="COM").iter_rows(named=True)
    }
    assert rows["01009"] == ("01", "84")
    assert rows["97409"] == ("974", "04")
    assert "97401" not in rows
    assert earlier.filter(typecom="ARM").height == 2
    assert earlier.schema == LIST.schema


def test_composition_of_a_year() -> None:
    moved = table((32, DAY, "01001", "01001"), (32, DAY, "01009", "01001"),
                  (32, DAY, "02001", "02001"), (32, DAY, "02009", "02001"), RECODE)  # fmt: skip

    def rows(year: int, issue: int, level: str, **communes: str) -> pl.DataFrame:
        named = pl.col("code").alias("name")
        frame = zones(level, **communes).with_columns(named, nature=pl.lit("CC"), year=year, issue=issue)
        return frame.select("level", "code", "name", "nature", "commune", "year", "issue")

    read = pl.concat(
        [
            rows(2020, 1, "EPCI", old="01001"), rows(2020, 2, "EPCI", new="01001"),
            rows(2021, 1, "EPCI", x="01001"), rows(2021, 1, "EPT", t="01001"), rows(2021, 1, "ZE", z="01001"),
        ]
    )  # fmt: skip
    of_2020 = composition_of_year(read, moved, 2020)
    assert set(of_2020.select("level", "code", "commune").iter_rows()) == {
        ("EPCI", "new", "01001"), ("EPT", "t", "01001"), ("ZE", "z", "01001"),
    }  # fmt: skip
    of_2019 = composition_of_year(read, moved, 2019)
    assert set(of_2019.select("level", "code", "commune").iter_rows()) == {
        ("EPT", "t", "01001"), ("EPT", "t", "01009"),  # no EPCI is lent to another year, no ZE before 2020
    }  # fmt: skip
    two = rows(2019, 1, "EPT", a="01001 02001 02009", b="01009")
    carried = composition_of_year(pl.concat([read.filter(pl.col("level") == "EPCI"), two]), moved, 2020)
    assert set(carried.filter(pl.col("level") == "EPT").select("code", "commune").iter_rows()) == {
        ("a", "02001")
    }


def same(edition: pl.DataFrame, reference: pl.DataFrame, *moves: Move) -> dict[str, str]:
    frame = same_territory(edition, reference, table(*moves, RECODE), 2019, 2020)
    return dict(frame.select("code", "territory_id").iter_rows())


def test_a_perimeter_is_compared_by_its_communes_not_by_its_code() -> None:
    then, now = zones("EPCI", a="1 2", b="3 4", c="5"), zones("EPCI", z="1 2", b="3", d="4 5")
    assert same(then, now) == {"a": "EPCI-z"}


def test_a_merger_inside_keeps_a_perimeter_and_one_across_changes_both() -> None:
    then = zones("EPCI", a="1 2", b="3 4", c="5 6")
    now = zones("EPCI", a="1", b="3", c="5 6")
    inside = ((32, DAY, "1", "1"), (32, DAY, "2", "1"))
    across = ((32, DAY, "3", "3"), (32, DAY, "4", "3"), (32, DAY, "5", "3"))
    assert same(then, zones("EPCI", a="1", b="3 4", c="5 6"), *inside) == {
        "a": "EPCI-a", "b": "EPCI-b", "c": "EPCI-c",
    }  # fmt: skip
    assert same(then, now, *inside, *across) == {"a": "EPCI-a"}


def test_a_split_keeps_the_perimeter_that_holds_all_pieces() -> None:
    split = ((21, DAY, "1", "1"), (21, DAY, "1", "9"))
    then = zones("EPCI", a="1 2")
    assert same(then, zones("EPCI", a="1 2 9"), *split) == {"a": "EPCI-a"}
    assert same(then, zones("EPCI", a="1 2", b="9"), *split) == {}


def test_leaving_or_joining_no_territory_changes_a_perimeter() -> None:
    everyone = zones("COM", **{"1": "1", "2": "2", "3": "3"})
    then, now = zones("EPCI", a="1 2", b="3"), zones("EPCI", a="1", b="3 2")
    assert {k for k in same(pl.concat([everyone, then]), now) if k in "ab"} == set()
    assert {
        k for k in same(pl.concat([everyone, zones("EPCI", a="1")]), zones("EPCI", a="1 2")) if k in "a"
    } == set()


def test_communes_are_territories_too() -> None:
    lines = (
        (32, DAY, "1", "1"),
        (32, DAY, "2", "1"),
        (50, DAY, "3", "8"),
        (21, DAY, "4", "4"),
        (21, DAY, "4", "9"),
    )
    then = zones("COM", **{c: c for c in "12345"})
    now = zones("COM", **{c: c for c in "18495"})
    assert same(then, now, *lines) == {"3": "COM-8", "5": "COM-5"}


SPLIT = ((21, date(2021, 1, 1), "1", "1"), (21, date(2021, 1, 1), "1", "9"))


def test_an_edition_may_keep_a_commune_that_its_cog_has_split() -> None:
    moved = table(*SPLIT)
    whole = published_communes(["1", "9", "2"], moved, 2019, 2021, ["1", "2"])
    assert set(whole.iter_rows()) == {("1", "1"), ("1", "9"), ("2", "2")}
    divided = published_communes(["1", "9", "2"], moved, 2019, 2021, ["1", "9", "2"])
    assert set(divided.iter_rows()) == {("1", "1"), ("9", "9"), ("2", "2")}
    later = published_communes(["1", "9", "2"], moved, 2021, 2021, ["1", "2"])
    assert set(later.iter_rows()) == {("1", "1"), ("9", "9"), ("2", "2")}


def test_members_of_the_edition_in_each_reference_territory() -> None:
    moved = table(*SPLIT, (32, DAY, "3", "3"), (32, DAY, "4", "3"), (50, DAY, "5", "8"))
    reference = pl.concat([zones("COM", **{c: c for c in "1938"}), zones("EPCI", a="1 9 3", b="8")])
    published = pl.DataFrame({"code": list("1345"), "commune": list("1345")})
    found = edition_members(reference, published, moved, 2019, 2021)
    assert set(found.select("territory_id", "code", "partial", "share").iter_rows()) == {
        ("COM-1", "1", True, None), ("COM-9", "1", True, None), ("COM-3", "3", False, 1.0),
        ("COM-3", "4", False, 1.0), ("COM-8", "5", False, 1.0), ("EPCI-a", "1", False, 1.0),
        ("EPCI-a", "3", False, 1.0), ("EPCI-a", "4", False, 1.0), ("EPCI-b", "5", False, 1.0),
    }  # fmt: skip


def test_a_code_that_stands_for_two_communes_is_partly_in_each() -> None:
    published = pl.DataFrame({"code": ["1", "1", "2"], "commune": ["1", "9", "2"]})
    reference = pl.concat([zones("COM", **{c: c for c in "192"}), zones("EPCI", a="1 9", b="2")])
    found = edition_members(reference, published, table(RECODE), 2020, 2020)
    assert set(found.select("territory_id", "partial", "share").iter_rows()) == {
        ("COM-1", True, None), ("COM-9", True, None), ("COM-2", False, 1.0), ("EPCI-a", False, 1.0),
        ("EPCI-b", False, 1.0),
    }  # fmt: skip


def test_declared_shares_reach_the_members() -> None:
    shares = pl.DataFrame(
        {"from_code": ["1", "1"], "to_code": ["1", "9"], "year": [2021, 2021], "share": [0.6, 0.4]}
    )
    lines = [(m, d, "COM", b, b, "COM", a, a) for m, d, b, a in SPLIT]
    moved = passage(pl.DataFrame(lines, schema=EVENTS, orient="row"), [2020, 2021], shares=shares)
    published = pl.DataFrame({"code": ["1"], "commune": ["1"]})
    found = edition_members(zones("COM", **{"1": "1", "9": "9"}), published, moved, 2020, 2021)
    assert set(found.select("territory_id", "partial", "share").iter_rows()) == {
        ("COM-1", True, 0.6), ("COM-9", True, 0.4),
    }  # fmt: skip


def test_twins_are_the_territories_of_the_same_communes() -> None:
    rows = [
        ("REG-04", "COM-A", 1.0),
        ("REG-04", "COM-B", 1.0),
        ("DEP-974", "COM-B", 1.0),
        ("DEP-974", "COM-A", 1.0),
        ("DEP-75", "COM-C", 1.0),
        ("PER-partie", "COM-A", 0.5),
        ("PER-partie", "COM-B", 1.0),
        ("EPCI-1", "COM-A", 1.0),
        ("EPCI-1", "COM-C", 1.0),
        ("COM-D", "QPV-1", None),
    ]
    members = pl.DataFrame(rows, schema=["parent_id", "child_id", "share"], orient="row")
    expected = [("DEP-974", "REG-04"), ("REG-04", "DEP-974")]
    assert twins(members).rows() == expected
