"""Comparateur, legal populations and the two Caf datasets, on small files in the producers' layouts."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import polars as pl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from sources.cnaf_commune import parse as caf_commune
from sources.cnaf_iris import parse as caf_iris
from sources.description import ROOT, Edition, Source, load_source
from sources.errors import CellError, LayoutError
from sources.insee_comparateur import parse as comparateur
from sources.insee_populations_legales import parse as populations
from sources.schema import VALUES

Rows = Sequence[Sequence[object]]


def source(source_id: str, **edition: object) -> tuple[Source, Edition]:
    """A dataset with one edition, declared as in a description."""
    entry = {"edition": "e", "url": "https://exemple.invalid/export.csv", "format": "csv", **edition}
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


def text(rows: Rows) -> bytes:
    return "\r\n".join(";".join("" if c is None else str(c) for c in row) for row in rows).encode()


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


def cell(
    frame: pl.DataFrame, variable: str, code: str, level: str = "COM", year: int | None = None
) -> dict[str, object]:
    rows = frame.filter(
        (pl.col("variable").cast(pl.String) == variable)
        & (pl.col("code") == code)
        & (pl.col("level").cast(pl.String) == level)
        & (pl.lit(year is None) | (pl.col("year") == (year or 0)))
    )
    assert rows.height == 1, (variable, code, level, rows)
    return rows.row(0, named=True)


def is_values(frame: pl.DataFrame) -> bool:
    keys = frame.select("level", pl.col("variable").cast(pl.String), "year", "code")
    typed = list(frame.schema) == list(VALUES) and all(frame.schema[k] == t for k, t in VALUES.items())
    return typed and keys.equals(keys.sort("level", "variable", "year", "code"))


# --- comparateur ------------------------------------------------------------------------------------------

CENSUS = [
    "POP",
    "MEN",
    "LOG",
    "RP",
    "RSECOCC",
    "LOGVAC",
    "RP_PROP",
    "EMPLT",
    "EMPLT_SAL",
    "POP1564",
    "CHOM1564",
    "ACT1564",
]


def header(census: int, filosofi: int, civil: int) -> list[str]:
    c, before = f"{census:02d}", f"{census - 5:02d}"
    return [
        "CODGEO",
        *(f"P{c}_{n}" for n in CENSUS),
        f"P{before}_POP",
        f"P{before}_EMPLT",
        "SUPERF",
        f"NAIS{before}{c}",
        f"DECE{before}{c}",
        f"NAISD{civil}",
        f"DECESD{civil}",
        *(f"{n}{filosofi}" for n in ("NBMENFISC", "PIMP", "MED", "TP60")),
        f"ETTOT{c}",
    ]


def parse_comparateur(rows: Rows, year: int = 2018) -> pl.DataFrame:
    described, edition = source(
        "insee_comparateur", data_year=year, members=[{"path": "base_cc_comparateur.CSV", "level": "COM"}]
    )
    return comparateur.parse(described, edition, {"base_cc_comparateur.CSV": text(rows)})


def territory(names: Sequence[str], code: str, **cells: object) -> list[object]:
    return [code, *(cells.get(n, 7) for n in names[1:])]


def test_years_are_read_from_the_columns() -> None:
    names = header(18, 19, 20)
    frame = parse_comparateur(
        [
            names,
            territory(
                names,
                "91286",
                P18_POP=28265,
                P13_POP=27716,
                NAIS1318=3320,
                NAISD20=556,
                TP6019=44,
                P18_LOG=10029.47,
            ),
        ]
    )
    assert is_values(frame)
    assert cell(frame, "pop", "91286", year=2018)["value"] == 28265
    assert cell(frame, "pop", "91286", year=2013)["value"] == 27716
    assert cell(frame, "naissances_periode", "91286")["year"] == 2018
    assert cell(frame, "naissances", "91286")["year"] == 2020
    assert cell(frame, "tp60", "91286")["year"] == 2019
    assert cell(frame, "log", "91286")["value"] == 10029.47
    assert {(str(v), y) for v, y in frame.select("variable", "year").unique().rows()} >= {
        ("emplt", 2013),
        ("emplt", 2018),
        ("chom1564", 2018),
        ("rp_prop", 2018),
        ("deces", 2020),
        ("med", 2019),
    }
    assert not {"superf", "ettot"} & set(frame["variable"].cast(pl.String).unique())


def test_blank_census_is_not_available_and_blank_filosofi_is_secret() -> None:
    names = header(18, 19, 20)
    empty = dict.fromkeys(names[1:])
    frame = parse_comparateur([names, territory(names, "01001", **empty), territory(names, "97601", **empty)])
    assert cell(frame, "pop", "01001", year=2018)["obs_status"] == "O"
    secret, outside = cell(frame, "med", "01001"), cell(frame, "med", "97601")
    assert (secret["obs_status"], secret["conf_status"]) == ("Q", "A")
    assert (outside["obs_status"], outside["conf_status"]) == ("O", "F")
    assert frame["value"].null_count() == frame.height


def test_rates_printed_5_are_bounds_and_counts_are_not() -> None:
    names = header(18, 19, 20)
    frame = parse_comparateur([names, territory(names, "01001", TP6019=5, PIMP19=5, P18_CHOM1564=5, MED19=5)])
    assert cell(frame, "tp60", "01001")["upper"] == 5.5
    assert cell(frame, "pimp", "01001")["value"] is None
    assert cell(frame, "chom1564", "01001")["value"] == 5
    assert cell(frame, "med", "01001")["value"] == 5


def test_a_new_edition_at_the_same_address_is_refused_by_name() -> None:
    names = header(19, 20, 21)
    with pytest.raises(LayoutError, match="le recensement de 2018 ; trouvé celui de 2019"):
        parse_comparateur([names, territory(names, "01001")])


def test_a_future_edition_needs_no_code() -> None:
    names = header(29, 30, 31)
    frame = parse_comparateur([names, territory(names, "01001", P24_POP=3)], year=2029)
    assert cell(frame, "pop", "01001", year=2024)["value"] == 3
    assert cell(frame, "naissances", "01001")["year"] == 2031


def test_a_missing_variable_is_named() -> None:
    names = [n for n in header(18, 19, 20) if n not in ("P18_CHOM1564", "DECESD20")]
    with pytest.raises(LayoutError, match=r"les colonnes de \['chom1564', 'deces'\]"):
        parse_comparateur([names, territory(names, "01001")])


def test_an_unreadable_count_says_where_it_is() -> None:
    names = header(18, 19, 20)
    rows = [names, territory(names, "01001"), territory(names, "01002", P18_MEN="N/A - division par 0")]
    with pytest.raises(CellError, match=r"fichier base_cc_comparateur.CSV, ligne 3, colonne P18_MEN"):
        parse_comparateur(rows)


# --- legal populations ------------------------------------------------------------------------------------

NOTES: Rows = [
    ["Populations légales"],
    ["Mise à jour"],
    ["en habitant"],
    ["Champ"],
    ["Date"],
    ["Source :", "Insee"],
    [],
]
PMUN, PCAP, PTOT = "Population municipale", "Population comptée à part", "Population totale"
BOOK: dict[str, Rows] = {
    "Régions": [*NOTES, ["Code région", "Nom", PMUN, PTOT], ["11", "x", 100, 110], ["04", "y", 5, 6]],
    "Départements": [
        *NOTES,
        ["Code région", "Nom", "Code département", PMUN, PTOT],
        ["11", "x", "91", 60, 66],
        ["04", "y", "974", 5, 6],
    ],
    "Communes": [
        *NOTES,
        ["Code région", "Code département", "Code commune", "Nom", PMUN, PCAP, PTOT],
        ["11", "91", "286", "Grigny", 28265, 227, 28492],
        ["04", "974", "423", "Les Trois-Bassins", 5, 1, 6],
        ["84", "01", "004", "Ambérieu", 7, 0, 7],
        ["11", "75", "101", "Paris 1er", 9, 1, 10],
    ],
    "Collectivités d'outre-mer": [*NOTES, ["Code collectivité"], ["975", "x", "501", "Miquelon"]],
}
SHEETS = [
    {"sheet": "Communes", "level": "COM"},
    {"sheet": "Départements", "level": "DEP"},
    {"sheet": "Régions", "level": "REG"},
]


def parse_populations(data: bytes, **edition: object) -> pl.DataFrame:
    described, declared = source(
        "insee_populations_legales", **{"data_year": 2018, "members": [{"level": "COM"}], **edition}
    )
    return populations.parse(described, declared, {"export.csv": data})


def test_populations_of_a_workbook() -> None:
    frame = parse_populations(workbook(BOOK), layout="classeur", members=SHEETS)
    assert is_values(frame)
    assert cell(frame, "pmun", "91286")["value"] == 28265
    assert cell(frame, "ptot", "97423")["value"] == 6
    assert cell(frame, "pmun", "01004")["value"] == 7
    assert cell(frame, "pmun", "75101", "ARM")["value"] == 9
    assert cell(frame, "pmun", "974", "DEP")["value"] == 5
    assert cell(frame, "ptot", "04", "REG")["value"] == 6
    assert not frame["code"].str.starts_with("975").any()
    assert frame.filter(pl.col("level") == "DEP")["variable"].cast(pl.String).unique().sort().to_list() == [
        "pmun",
        "ptot",
    ]


def test_the_name_of_a_commune_is_not_its_code() -> None:
    rows = [
        ["CODREG", "REG", "CODDEP", "CODARR", "CODCAN", "CODCOM", "COM", "PMUN", "PCAP", "PTOT"],
        ["84", "Auvergne", "01", "2", "08", "001", "L'Abergement", 779, 19, 798],
        ["04", "La Réunion", "974", "2", "16", "424", "Cilaos", 5538, 85, 5623],
    ]
    frame = parse_populations(text(rows), layout="csv_codcom")
    assert cell(frame, "pcap", "97424")["value"] == 85
    assert sorted(frame["code"].unique()) == ["01001", "97424"]
    with pytest.raises(CellError, match="« L'Abergement »"):
        parse_populations(text([r[:6] + r[6:] for r in rows]), layout="csv_com")


WITH_CITIES: Rows = [
    ["REG", "Région", "DEP", "CODARR", "CODCAN", "CODCOM", "COM", "Commune", "PMUN", "PCAP", "PTOT"],
    ["11", "IdF", "75", "1", "  ", "101", "75101", "Paris 1er", 15919, 111, 16030],
    [None] * 6 + ["75056", "Paris", 2133111, None, None],
]


def test_a_whole_city_has_only_what_the_file_says_of_it() -> None:
    frame = parse_populations(text(WITH_CITIES), layout="csv_com", data_year=2021)
    assert cell(frame, "pmun", "75056")["value"] == 2133111
    assert frame.filter(pl.col("code") == "75056").height == 1
    assert cell(frame, "ptot", "75101", "ARM")["value"] == 16030


def test_an_empty_population_elsewhere_is_not_available() -> None:
    rows = [WITH_CITIES[0], [*WITH_CITIES[1][:6], "91286", "Grigny", 28265, None, None]]
    row = cell(parse_populations(text(rows), layout="csv_com"), "ptot", "91286")
    assert (row["value"], row["obs_status"], row["conf_status"]) == (None, "O", "F")


def test_populations_of_a_future_year_need_no_code() -> None:
    frame = parse_populations(text(WITH_CITIES), layout="csv_com", data_year=2029)
    assert frame["year"].unique().to_list() == [2029]


def test_a_layout_that_changed_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"attendu les colonnes \['CODDEP'\]"):
        parse_populations(text(WITH_CITIES), layout="csv_codcom")
    book = {**BOOK, "Communes": [["Code région", "Code département"], ["11", "91"]]}
    with pytest.raises(LayoutError, match="feuille Communes, ligne 1"):
        parse_populations(workbook(book), layout="classeur", members=SHEETS)
    with pytest.raises(LayoutError, match="une feuille « Régions »"):
        parse_populations(
            workbook({k: v for k, v in BOOK.items() if k != "Régions"}), layout="classeur", members=SHEETS
        )


# --- Caf by IRIS ------------------------------------------------------------------------------------------

IRIS_NAMES = ["CODGEO", "LIBGEO", "NOTE", *caf_iris.VARIABLES]


def iris(code: str, note: str | None = "0", **cells: object) -> list[object]:
    return [code, "Nom", note, *(cells.get(n) for n in caf_iris.VARIABLES)]


def parse_iris(rows: Rows, names: Sequence[str] = IRIS_NAMES, **edition: object) -> pl.DataFrame:
    described, declared = source(
        "cnaf_iris", **{"data_year": 2018, "members": [{"level": "IRIS"}], **edition}
    )
    return caf_iris.parse(described, declared, {"export.csv": text([names, *rows])})


BOUND = ["value", "lower", "upper", "masked_parts", "obs_status", "conf_status"]


def bound(frame: pl.DataFrame, variable: str, code: str, level: str = "COM") -> tuple[object, ...]:
    row = cell(frame, variable, code, level)
    return tuple(row[c] for c in BOUND)


def test_a_commune_is_a_lower_bound_with_its_empty_cells_counted() -> None:
    frame = parse_iris(
        [
            iris("912860101", "3"),
            iris("912860102", A=653, PERCOU="2\u202f006", AM=None),
            iris("912860103", A=585, AM=95),
        ]
    )
    assert is_values(frame)
    assert bound(frame, "alloc", "91286") == (None, 1238.0, None, 1, "Q", "A")
    assert bound(frame, "personnes", "91286") == (None, 2006.0, None, 2, "Q", "A")
    assert bound(frame, "mono", "91286") == (None, 95.0, None, 2, "Q", "A")
    assert bound(frame, "etudiants", "91286") == (None, 0.0, None, 3, "Q", "A")


def test_a_sum_of_published_cells_only_stays_a_bound() -> None:
    assert bound(parse_iris([iris("912860102", A=653)]), "alloc", "91286") == (None, 653.0, None, 0, "Q", "A")


def test_cities_are_whole_and_by_arrondissement() -> None:
    rows = [
        iris("751010101", A=100),
        iris("751200101", A=200),
        iris("751200102", "5"),
        iris("132160101", A=10),
        iris("693810101", A=1),
    ]
    frame = parse_iris(rows)
    assert bound(frame, "alloc", "75056") == (None, 300.0, None, 1, "Q", "A")
    assert bound(frame, "alloc", "75120", "ARM") == (None, 200.0, None, 1, "Q", "A")
    assert bound(frame, "alloc", "13055")[1] == 10
    assert bound(frame, "alloc", "69123")[1] == 1
    communes = frame.filter(pl.col("level") == "COM")["code"].unique().sort().to_list()
    assert communes == ["13055", "69123", "75056"]


def test_two_variables_existed_before_2018() -> None:
    names = [*IRIS_NAMES, "APRES50", "APRES100"]
    frame = parse_iris([[*iris("912860102", A=100), 40, 20]], names, layout="2016", data_year=2016)
    assert bound(frame, "prestations_50", "91286")[1] == 40
    with pytest.raises(LayoutError, match=r"\['APRES50', 'APRES100'\]"):
        parse_iris([iris("912860102")], layout="2016")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (iris("912860102", "7"), "NOTE « 7 » pour l'IRIS 912860102"),
        (iris("912860102", None), "NOTE « None »"),
        (iris("912860102", "3", A=12), "un IRIS sans aucun chiffre sous cette note"),
    ],
)
def test_a_note_that_does_not_hold_is_refused(row: list[object], message: str) -> None:
    with pytest.raises(CellError, match=rf"fichier export.csv, ligne 3, colonne NOTE\).*{message}"):
        parse_iris([iris("912860101"), row])


def test_an_unreadable_iris_says_where_it_is() -> None:
    with pytest.raises(CellError, match=r"ligne 2, colonne PERCOU\).*« <5 »"):
        parse_iris([iris("912860102", PERCOU="<5")])
    with pytest.raises(CellError, match=r"un code de niveau IRIS.*« 91286 0102 »"):
        parse_iris([iris("91286 0102")])


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.one_of(st.none(), st.integers(5, 5000))), min_size=1, max_size=30
    )
)
def test_a_bound_never_exceeds_the_published_cells(cells: list[tuple[int, int | None]]) -> None:
    rows = [iris(f"0{commune}001{i:04d}", A=count) for i, (commune, count) in enumerate(cells)]
    every = parse_iris(rows).filter(pl.col("variable").cast(pl.String) == "alloc")
    districts, frame = every.filter(pl.col("level") == "IRIS"), every.filter(pl.col("level") == "COM")
    assert sorted(districts["value"].drop_nulls()) == sorted(count for _, count in cells if count is not None)
    assert districts.filter(pl.col("value").is_null())["obs_status"].cast(pl.String).unique().to_list() in ([], ["Q"])
    assert frame["lower"].sum() == sum(count or 0 for _, count in cells)
    assert frame["masked_parts"].sum() == sum(count is None for _, count in cells)
    assert frame["value"].null_count() == frame["upper"].null_count() == frame.height


# --- Caf by commune ---------------------------------------------------------------------------------------

EXPORT_NAMES = ["dtreffre", "numcomdo", "nomcom", "indfoy_rsa", "indmtt_rsa", "indfoy_ppa", "indmtt_ppa"]
EXPORT: Rows = [
    EXPORT_NAMES,
    ["2024-12", "2A006", "ALATA", 30, 15100, 150, 29800],
    ["2023-12", "2A006", "ALATA", 35, 15000, 145, 29000],
    ["2024-12", "2A011", "ALTAGENE", 0, 0, 0, 0],
    ["2024-12", "75101", "PARIS 1ER", 600, 299900, 615, 106100],
    ["2024-12", None, None, 6675, 2694600, 3335, 642400],
]


def parse_caf(rows: Rows = EXPORT, year: int = 2024) -> pl.DataFrame:
    described, edition = source("cnaf_commune", data_year=year, members=[{"level": "COM"}])
    return caf_commune.parse(described, edition, {"export.csv": b"\xef\xbb\xbf" + text(rows)})


INTERVAL = ["value", "lower", "upper", "obs_status", "conf_status"]


@pytest.mark.parametrize(
    ("variable", "code", "level", "expected"),
    [
        ("rsa", "2A006", "COM", (30, 28, 32, "A", "F")),
        ("rsa_montant", "2A006", "COM", (15100, 15050, 15150, "A", "F")),
        ("rsa", "2A011", "COM", (0, 0, 2, "A", "F")),
        ("rsa_montant", "2A011", "COM", (0, 0, None, "A", "F")),
        ("ppa", "75101", "ARM", (615, 613, 617, "A", "F")),
        ("rsa_sans_commune", "F", "FRANCE", (6675, 6673, 6677, "A", "F")),
    ],
)
def test_rounding_leaves_an_interval(
    variable: str, code: str, level: str, expected: tuple[object, ...]
) -> None:
    row = cell(parse_caf(), variable, code, level)
    assert tuple(row[c] for c in INTERVAL) == expected


def test_one_december_only_and_nobody_lost() -> None:
    frame = parse_caf()
    assert is_values(frame)
    assert frame["year"].unique().to_list() == [2024]
    counted = frame.filter(pl.col("variable").cast(pl.String).is_in(["rsa", "rsa_sans_commune"]))[
        "value"
    ].sum()
    assert counted == sum(int(str(r[3])) for r in EXPORT[1:] if r[0] == "2024-12")


def test_the_next_december_needs_no_code() -> None:
    frame = parse_caf([*EXPORT, ["2029-12", "91286", "GRIGNY", 3000, 1, 2, 3]], 2029)
    assert cell(frame, "rsa", "91286")["value"] == 3000


def test_a_december_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        LayoutError, match=re.escape("des lignes de 2025-12 ; trouvé les dates ['2023-12', '2024-12']")
    ):
        parse_caf(year=2025)


def test_an_unknown_commune_code_or_mark_is_refused() -> None:
    with pytest.raises(CellError, match=r"ligne 2, colonne code.*« 04XXX »"):
        parse_caf([EXPORT_NAMES, ["2024-12", "04XXX", "?", 5, 100, 5, 100]])
    with pytest.raises(CellError, match=r"ligne 2, colonne indmtt_rsa.*« - »"):
        parse_caf([EXPORT_NAMES, ["2024-12", "2A006", "ALATA", 5, "-", 5, 100]])
    with pytest.raises(LayoutError, match=r"\['indmtt_ppa'\]"):
        parse_caf([EXPORT_NAMES[:-1], ["2024-12", "2A006", "ALATA", 5, 100, 5]])


# --- descriptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source_id", "layouts"),
    [
        ("insee_comparateur", {"default": 1}),
        ("insee_populations_legales", populations.LAYOUTS),
        ("cnaf_iris", caf_iris.LAYOUTS),
        ("cnaf_commune", {"default": 1}),
    ],
)
def test_every_declared_edition_has_a_known_layout_and_levels(
    source_id: str, layouts: Mapping[str, object]
) -> None:
    described = load_source(ROOT / source_id)
    for edition in described.editions:
        assert edition.layout in layouts
        assert edition.members
        assert all(m.level for m in edition.members)


def test_each_caf_december_is_in_the_cog_of_the_next_january() -> None:
    assert all(e.cog_year == e.data_year + 1 for e in load_source(ROOT / "cnaf_commune").editions)
