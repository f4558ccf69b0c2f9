"""The two Filosofi parsers on small files in the producers' layouts.

No kept library writes .xls: the bytes here are .xlsx under an .xls name, which the reader tells by content.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import polars as pl
import pytest
import xlsxwriter

from sources.description import ROOT, Edition, Source, load_source
from sources.errors import CellError, LayoutError
from sources.insee_filosofi_cc import parse as cc
from sources.insee_filosofi_distribution import parse as distribution
from sources.schema import VALUES

Rows = Sequence[Sequence[object]]
Territories = Mapping[object, Mapping[str, object]]  # code -> cells by name
PREAMBLE: Rows = [["Fichier Localisé Social et Fiscal"], ["Communes"], ["Géographie"], ["©Insee"]]
NAMES_2014 = [
    "NBMENFISC",
    "NBPERSMENFISC",
    "MED",
    "PIMP",
    "TP60",
    "TP60AGE1",
    "TP60AGE2",
    "TP60AGE3",
    "TP60AGE4",
    "TP60AGE5",
    "TP60AGE6",
    "TP60TOL1",
    "TP60TOL2",
    "PRA",
    "PTSAC",
    "PBEN",
    "PPEN",
    "PPAT",
    "PPSOC",
    "PPFAM",
    "PPMINI",
    "PPLOGT",
    "PIMPOT",
    "D1",
    "D9",
    "RD",
]
NAMES = [n for n in NAMES_2014 if n not in ("PRA", "PTSAC")] + ["PACT", "PTSA", "PCHO"]


def source(source_id: str, **edition: object) -> tuple[Source, Edition]:
    """A dataset with one edition, declared as in a description."""
    entry = {"edition": "e", "url": "https://exemple.invalid/f.zip", "format": "zip", **edition}
    described = Source.model_validate(
        {
            "source_id": source_id,
            "title": "T",
            "producer": "P",
            "owner": "P",
            "licence": "L",
            "editions": [entry],
        }
    )
    return described, described.editions[0]


def workbook(sheets: Mapping[str, Rows]) -> bytes:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for i, row in enumerate(rows):
                for j, cell in enumerate(row):
                    if cell is not None:
                        sheet.write(i, j, cell)
    return buffer.getvalue()


def line(names: Sequence[str], **cells: object) -> list[object]:
    """The cells of one territory: those given, else 10."""
    return [cells.get(n, 10) for n in names]


def table(names: Sequence[str], year: int, territories: Territories) -> list[list[object]]:
    """Header and one row per code, with a name column as in workbooks."""
    header = ["CODGEO", "LIBGEO", *(f"{n}{year % 100:02d}" for n in names)]
    return [header, *([code, "Nom", *line(names, **cells)] for code, cells in territories.items())]


def sheet(names: Sequence[str], year: int, territories: Territories) -> list[list[object]]:
    rows = table(names, year, territories)
    return [*map(list, PREAMBLE), ["Libellé"] * len(rows[0]), *rows]


def text(rows: Rows, comma: bool = False) -> bytes:
    """A delimited file; `comma` writes decimals as the 2020 edition does."""
    cells = [["" if c is None else str(c) for c in row] for row in rows]
    if comma:
        cells = [[c.replace(".", ",") for c in row] for row in cells]
    return "\r\n".join(";".join(row) for row in cells).encode()


def value(frame: pl.DataFrame, variable: str, code: str, level: str = "COM") -> dict[str, object]:
    rows = frame.filter(
        (pl.col("variable").cast(pl.String) == variable)
        & (pl.col("code") == code)
        & (pl.col("level").cast(pl.String) == level)
    )
    assert rows.height == 1, (variable, code, level, rows)
    return rows.row(0, named=True)


def parse_workbook(
    year: int, sheets: Mapping[str, Rows], layout: str = "default", **table_of: str
) -> pl.DataFrame:
    levels = {"ZE2020": "ZE", "ZE2010": "ZE"}
    described, edition = source(
        "insee_filosofi_cc",
        data_year=year,
        layout=layout,
        members=[
            {"path": "base.xls", "sheet": s, "level": levels.get(s, s), "table": table_of.get(s)}
            for s in sheets
            if s not in ("AU2010", "Variables")
        ],
    )
    return cc.parse(described, edition, {"base.xls": workbook(sheets)})


# --- base cc ----------------------------------------------------------------------------------------------


def test_every_level_of_a_workbook_and_only_those_declared() -> None:
    frame = parse_workbook(
        2018,
        {
            "COM": sheet(NAMES, 2018, {"91286": {}, "75056": {}, "75101": {}}),
            "EPCI": sheet(NAMES, 2018, {"200057966": {}}),
            "DEP": sheet(NAMES, 2018, {"11": {}, "974": {}}),
            "REG": sheet(NAMES, 2018, {"11": {}}),
            "METRO": sheet(NAMES, 2018, {"1": {}}),
            "ZE2020": sheet(NAMES, 2018, {"0051": {}}),
            "AU2010": sheet(NAMES, 2018, {"001": {}}),
            "Variables": [["VAR_ID"], ["CODGEO"]],
        },
    )
    assert sorted(frame.select(pl.col("level").cast(pl.String), "code").unique().rows()) == [
        ("ARM", "75101"),
        ("COM", "75056"),
        ("COM", "91286"),
        ("DEP", "11"),
        ("DEP", "974"),
        ("EPCI", "200057966"),
        ("METRO", "FM"),
        ("REG", "11"),
        ("ZE", "0051"),
    ]
    assert frame["variable"].n_unique() == 27
    assert list(frame.schema) == list(VALUES)
    assert frame["year"].unique().to_list() == [2018]


def test_names_without_their_year() -> None:
    cells = {
        "TP60AGE1": 44.1,
        "TP60AGE6": 6.1,
        "TP60TOL1": 7.1,
        "TP60TOL2": 8.1,
        "D1": 1.1,
        "D9": 9.1,
        "PCHO": 3.1,
    }
    frame = parse_workbook(2018, {"COM": sheet(NAMES, 2018, {"91286": cells})})
    assert {
        v: value(frame, v, "91286")["value"]
        for v in ("tp60_rf_lt30", "tp60_rf_ge75", "tp60_prop", "tp60_loc", "d1", "d9", "pcho")
    } == {
        "tp60_rf_lt30": 44.1,
        "tp60_rf_ge75": 6.1,
        "tp60_prop": 7.1,
        "tp60_loc": 8.1,
        "d1": 1.1,
        "d9": 9.1,
        "pcho": 3.1,
    }


def test_2014_has_other_income_components() -> None:
    frame = parse_workbook(
        2014, {"COM": sheet(NAMES_2014, 2014, {"91286": {"PRA": 80, "PTSAC": 75}})}, layout="2014"
    )
    variables = set(frame["variable"].cast(pl.String))
    assert value(frame, "pact", "91286")["value"] == 80
    assert value(frame, "ptsac", "91286")["value"] == 75  # wages with unemployment benefits: not ptsa
    assert not variables & {"ptsa", "pcho"}


def test_blank_is_suppressed_and_5_is_a_bound_at_every_level() -> None:
    cells = {"TP60": 5, "PIMP": 95, "TP60AGE1": None, "PPSOC": 5, "PACT": 95, "PIMPOT": -5}
    frame = parse_workbook(
        2018, {"COM": sheet(NAMES, 2018, {"91286": cells}), "REG": sheet(NAMES, 2018, {"52": cells})}
    )
    for level, code, half in (("COM", "91286", 0.5), ("REG", "52", 0.05)):
        low, high = value(frame, "tp60", code, level), value(frame, "pimp", code, level)
        assert (low["value"], low["lower"], low["upper"], low["obs_status"], low["mark"]) == (
            None,
            0,
            5 + half,
            "Q",
            "5",
        )
        assert (high["lower"], high["upper"], high["conf_status"]) == (95 - half, 100, "A")
        blank = value(frame, "tp60_rf_lt30", code, level)
        assert (blank["value"], blank["lower"], blank["obs_status"], blank["conf_status"]) == (
            None,
            None,
            "Q",
            "A",
        )
        assert [value(frame, v, code, level)["value"] for v in ("ppsoc", "pact", "pimpot")] == [5, 95, -5]


def test_integers_that_lost_their_zeros() -> None:
    frame = parse_workbook(
        2018,
        {
            "COM": sheet(NAMES, 2018, {1001: {}}),
            "DEP": sheet(NAMES, 2018, {1: {}}),
            "REG": sheet(NAMES, 2018, {4: {}}),
        },
    )
    assert sorted(frame["code"].unique()) == ["01", "01001", "04"]


SECOND_TABLE: Rows = [
    [],
    ["Guadeloupe, Guyane, Mayotte"],
    ["©Insee   Source : enquête Budget de famille"],
    ["Code géographique"],
    ["971", "Guadeloupe", *[1] * 27],
]


def test_a_survey_below_the_table_is_never_taken_for_filosofi() -> None:
    rows = [*sheet(NAMES, 2019, {"01": {}, "974": {}}), *SECOND_TABLE]
    frame = parse_workbook(2019, {"DEP": rows}, DEP=cc.ABOVE_OTHERS)
    assert sorted(frame["code"].unique()) == ["01", "974"]
    assert (frame["value"] == 10).all()
    with pytest.raises(LayoutError, match=r"feuille DEP, ligne 10\).*« Guadeloupe, Guyane, Mayotte »"):
        parse_workbook(2019, {"DEP": rows})


def test_the_delimited_twin_gives_the_same_frame() -> None:
    territories = {"91286": {"TP60": 44, "TP60AGE1": None}, "01001": {"TP60": 5, "MED": 25350.5}}
    from_sheet = parse_workbook(2018, {"COM": sheet(NAMES, 2018, territories)})
    described, edition = source(
        "insee_filosofi_cc", data_year=2018, members=[{"path": "c.CSV", "level": "COM"}]
    )
    rows = table(NAMES, 2018, territories)
    for comma in (False, True):
        assert cc.parse(described, edition, {"c.CSV": text(rows, comma)}).equals(from_sheet)


def test_marks_of_the_2020_edition() -> None:
    described, edition = source(
        "insee_filosofi_cc", data_year=2020, members=[{"path": "c.csv", "level": "COM"}]
    )
    rows = table(NAMES, 2020, {"55039": dict.fromkeys(NAMES, "nd"), "01001": {"TP60": "s", "PIMP": "5.0"}})
    frame = cc.parse(described, edition, {"c.csv": text(rows, comma=True)})
    assert frame.filter(pl.col("code") == "55039").select(
        "obs_status", "conf_status", "mark"
    ).unique().rows() == [("O", "F", "nd")]
    assert value(frame, "tp60", "01001")["mark"] == "s"
    assert value(frame, "pimp", "01001")["upper"] == 5.5


def test_a_future_edition_in_a_known_layout_needs_no_code() -> None:
    described, edition = source(
        "insee_filosofi_cc",
        data_year=2029,
        cog_year=2031,
        members=[
            {"path": "base-cc-filosofi-2029.xlsx", "sheet": "COM", "level": "COM"},
            {"path": "cc_filosofi_2029_EPCI.csv", "level": "EPCI"},
        ],
    )
    frame = cc.parse(
        described,
        edition,
        {
            "base-cc-filosofi-2029.xlsx": workbook({"COM": sheet(NAMES, 2029, {"91286": {"TP60": 41}})}),
            "cc_filosofi_2029_EPCI.csv": text(table(NAMES, 2029, {"200057966": {"TP60": 12.5}}), comma=True),
        },
    )
    assert value(frame, "tp60", "91286")["value"] == 41
    assert value(frame, "tp60", "200057966", "EPCI")["value"] == 12.5
    assert frame["year"].unique().to_list() == [2029]


def test_the_year_of_the_columns_is_checked() -> None:
    with pytest.raises(LayoutError, match=r"fichier base.xls, feuille COM, ligne 6\).*'MED18'"):
        parse_workbook(2018, {"COM": sheet(NAMES, 2017, {"91286": {}})})


def test_a_missing_column_or_sheet_is_named() -> None:
    with pytest.raises(LayoutError, match=r"attendu les colonnes \['TP60TOL218'\]"):
        parse_workbook(2018, {"COM": sheet([n for n in NAMES if n != "TP60TOL2"], 2018, {"91286": {}})})
    described, edition = source(
        "insee_filosofi_cc", data_year=2018, members=[{"path": "b.xls", "sheet": "EPT", "level": "EPT"}]
    )
    with pytest.raises(LayoutError, match="une feuille « EPT »"):
        cc.parse(described, edition, {"b.xls": workbook({"COM": sheet(NAMES, 2018, {"91286": {}})})})


def test_an_unreadable_cell_says_where_it_is() -> None:
    place = r"insee_filosofi_cc e \(fichier base.xls, feuille COM, ligne 8, colonne MED18\).*« env. 12000 »"
    with pytest.raises(CellError, match=place):
        parse_workbook(2018, {"COM": sheet(NAMES, 2018, {"01001": {}, "01002": {"MED": "env. 12000"}})})


def test_the_wrong_level_is_refused() -> None:
    with pytest.raises(CellError, match="un code de niveau EPCI"):
        parse_workbook(2018, {"EPCI": sheet(NAMES, 2018, {"91286": {}})})


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"\['2014', 'default'\] ; trouvé « 2013 »"):
        parse_workbook(2018, {"COM": sheet(NAMES, 2018, {"91286": {}})}, layout="2013")


# --- distribution -----------------------------------------------------------------------------------------

DECILES = [
    "NBMEN",
    "NBPERS",
    "NBUC",
    "Q1",
    "Q2",
    "Q3",
    "D1",
    "D2",
    "D3",
    "D4",
    "D6",
    "D7",
    "D8",
    "D9",
    "S80S20",
    "GI",
    "PACT",
    "PTSA",
    "PCHO",
    "PBEN",
    "PPEN",
    "PPAT",
    "PPSOC",
    "PPFAM",
    "PPMINI",
    "PPLOGT",
    "PIMPOT",
]


def distribution_rows(
    year: int, territories: Territories, names: Sequence[str] = DECILES
) -> list[list[object]]:
    """As published: the ratios of two quantiles carry no year, `S80S2018` is S80S20 of 2018."""
    rows = table([*names, "RD", "Q3_Q1"], year, territories)
    rows[0][-2:] = ["RD", "Q3_Q1"]
    return rows


def parse_distribution(year: int, rows: Rows, level: str = "COM", **edition: object) -> pl.DataFrame:
    described, declared = source(
        "insee_filosofi_distribution", data_year=year, members=[{"path": "d.csv", "level": level}], **edition
    )
    return distribution.parse(described, declared, {"d.csv": b"\xef\xbb\xbf" + text(rows, comma=True)})


def test_deciles_and_ratios() -> None:
    cells = {"Q2": 25350, "D9": 48360, "S80S20": 4.3, "GI": 0.29, "RD": 3.6, "Q3_Q1": 16160, "D1": None}
    frame = parse_distribution(2018, distribution_rows(2018, {"91286": cells}))
    assert {
        v: value(frame, v, "91286")["value"] for v in ("q2", "d9", "s80s20", "gini", "rd", "q3_q1", "d1")
    } == {"q2": 25350, "d9": 48360, "s80s20": 4.3, "gini": 0.29, "rd": 3.6, "q3_q1": 16160, "d1": None}
    assert value(frame, "d1", "91286")["obs_status"] == "Q"
    assert "d5" not in set(frame["variable"].cast(pl.String))
    assert frame["variable"].n_unique() == len(DECILES) + 2


def test_a_share_printed_5_is_a_share() -> None:
    frame = parse_distribution(2018, distribution_rows(2018, {"91286": {"PPSOC": 5, "PACT": 95}}))
    assert value(frame, "ppsoc", "91286")["value"] == 5
    assert value(frame, "pact", "91286")["value"] == 95


def test_the_2014_and_2015_copies_are_too_rounded_for_the_gini_index() -> None:
    names = ["PTSAC", *(n for n in DECILES if n not in ("PACT", "PTSA", "PCHO"))]
    frame = parse_distribution(
        2014, distribution_rows(2014, {"01": {"PTSAC": 70}}, names), "DEP", layout="2014"
    )
    assert value(frame, "ptsac", "01", "DEP")["value"] == 70
    assert "gini" not in set(frame["variable"].cast(pl.String))
    frame = parse_distribution(2015, distribution_rows(2015, {"01": {}}), "DEP", layout="2015")
    assert not {"gini", "ptsac"} & set(frame["variable"].cast(pl.String))


POVERTY = ["TP40", "TP50", "TP60", "TP60Q2", "TP60IP"]
CLASSES = {"AGE": "123456", "TME": "12345", "TOL": "12", "TLD": "23", "TYM": "123456", "OPR": "123456"}
PREFIXES = ["", *(name + i for name, numbers in CLASSES.items() for i in numbers)]
POOR = [p + n for p in PREFIXES for n in POVERTY]


def poor(cells: Mapping[str, object], drop: str = "") -> pl.DataFrame:
    described, edition = source(
        "insee_filosofi_distribution",
        data_year=2029,
        members=[{"path": "d.csv", "level": "DEP"}, {"path": "p.csv", "level": "DEP", "table": "pauvres"}],
    )
    rows = table([n for n in POOR if n != drop], 2029, {"91": cells})
    return distribution.parse(
        described,
        edition,
        {"d.csv": text(distribution_rows(2029, {"91": {}}), comma=True), "p.csv": text(rows, comma=True)},
    )


def test_poverty_of_subgroups() -> None:
    frame = poor(
        {
            "TP40": "5.0",
            "TP60": 13.2,
            "TP60Q2": 10620,
            "TP60IP": "0.210",
            "AGE1TP60": 18.6,
            "AGE6TP60": "5.0",
            "TOL2TP60": 26.3,
            "TLD2TP60": 29.4,
            "TYM5TP60": 23,
            "TME5TP60": 25.0,
            "OPR6TP60IP": "0.388",
            "TYM6TP40": "s",
        }
    )
    expected = {
        "tp60": 13.2,
        "tp60_median_pauvres": 10620,
        "tp60_intensite": 21.0,
        "tp60_rf_lt30": 18.6,
        "tp60_loc": 26.3,
        "tp60_loc_social": 29.4,
        "tp60_monoparentale": 23,
        "tp60_taille_5p": 25,
        "tp60_intensite_source_nulle": 38.8,
        "tp60_rf_ge75": None,
        "tp40": None,
        "tp40_complexe": None,
    }
    assert {v: value(frame, v, "91", "DEP")["value"] for v in expected} == expected
    assert value(frame, "tp40", "91", "DEP")["upper"] == 5.05
    assert value(frame, "tp40_complexe", "91", "DEP")["mark"] == "s"
    assert frame["variable"].n_unique() == len(POOR) + len(DECILES) + 2


def test_a_workbook_may_have_a_sheet_for_each_subgroup() -> None:
    described, edition = source(
        "insee_filosofi_pauvres",
        data_year=2029,
        members=[
            {"path": "p.xlsx", "sheet": "ENSEMBLE", "level": "COM", "table": "ensemble"},
            {"path": "p.xlsx", "sheet": "TYPMENR_2", "level": "COM", "table": "TYM2"},
        ],
    )
    names = ["TP40", "TP50", "TP60", "TP60Q2", "TP60IP"]
    alone = {"TYM2TP40": None, "TYM2TP50": 5, "TYM2TP60": 23, "TYM2TP60Q2": 9750, "TYM2TP60IP": 0.259}
    sheets = {
        "ENSEMBLE": sheet(names, 2029, {"91286": {"TP60": 44, "TP60IP": 0.245}, "75101": {}}),
        "TYPMENR_2": sheet([f"TYM2{n}" for n in names], 2029, {"91286": alone}),
    }
    frame = distribution.parse(described, edition, {"p.xlsx": workbook(sheets)})
    assert value(frame, "tp60", "91286")["value"] == 44
    assert value(frame, "tp60_intensite", "91286")["value"] == 24.5
    assert value(frame, "tp60_femme_seule", "91286")["value"] == 23
    masked, bound = value(frame, "tp40_femme_seule", "91286"), value(frame, "tp50_femme_seule", "91286")
    assert (masked["value"], masked["obs_status"], masked["conf_status"]) == (None, "Q", "A")
    assert (bound["value"], bound["lower"], bound["upper"]) == (None, 0.0, 5.5)
    assert frame.filter(pl.col("code") == "75101")["level"].unique().to_list() == ["ARM"]


def test_a_missing_subgroup_is_named() -> None:
    with pytest.raises(LayoutError, match=r"fichier p.csv, ligne 1\).*\['TYM3TP6029'\]"):
        poor({}, drop="TYM3TP60")


def test_a_workbook_of_a_future_year_needs_no_code() -> None:
    described, edition = source(
        "insee_filosofi_distribution",
        data_year=2029,
        members=[{"path": "FILO2029_DISP_COM.xls", "sheet": "ENSEMBLE", "level": "COM"}],
    )
    data = workbook(
        {"ENSEMBLE": [*PREAMBLE, ["Code géographique"], *distribution_rows(2029, {"91286": {"Q2": 1}})]}
    )
    frame = distribution.parse(described, edition, {"FILO2029_DISP_COM.xls": data})
    assert value(frame, "q2", "91286")["value"] == 1


def test_the_same_table_twice_is_refused() -> None:
    described, edition = source(
        "insee_filosofi_distribution",
        data_year=2018,
        members=[{"path": "d.csv", "level": "COM"}, {"path": "d.csv", "level": "COM"}],
    )
    with pytest.raises(LayoutError, match="deux fois au niveau COM"):
        distribution.parse(described, edition, {"d.csv": text(distribution_rows(2018, {"91286": {}}))})


# --- descriptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source_id", "layouts"),
    [("insee_filosofi_cc", cc.LAYOUTS), ("insee_filosofi_distribution", distribution.LAYOUTS)],
)
def test_every_declared_edition_has_a_known_layout_and_levels(
    source_id: str, layouts: Mapping[str, object]
) -> None:
    described = load_source(ROOT / source_id)
    for edition in described.editions:
        assert edition.layout in layouts
        assert edition.members
        assert all(m.level for m in edition.members)


def test_within_a_year_one_edition_passes_before_its_twin() -> None:
    editions = load_source(ROOT / "insee_filosofi_cc").editions
    latest = {e.data_year: e for e in sorted(editions, key=lambda e: e.issue)}
    assert latest[2018].edition == "2018"
    assert latest[2019].edition == "2019-geo2022"
    for year in latest:
        issues = [e.issue for e in editions if e.data_year == year]
        assert len(issues) == len(set(issues))
