"""The parsers of lists, events and compositions, on small files in each of the producers' layouts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import date

import polars as pl
import pytest
import xlsxwriter

from sources.description import ROOT, load_source, parser_of
from sources.errors import CellError, LayoutError
from sources.schema import COMMUNES, COMPOSITION, EVENTS, ZONES


def parse(source_id: str, edition: str, files: Mapping[str, bytes]) -> pl.DataFrame:
    source = load_source(ROOT / source_id)
    return parser_of(source)(source, source.edition(edition), files)


def workbook(sheets: Mapping[str, Sequence[Sequence[str | None]]]) -> bytes:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        for name, lines in sheets.items():
            sheet = book.add_worksheet(name)
            for i, line in enumerate(lines):
                sheet.write_row(i, 0, line)
    return buffer.getvalue()


TEXT_HEAD = (
    "ACTUAL\tCHEFLIEU\tCDC\tRANG\tREG\tDEP\tCOM\tAR\tCT\tMODIF\tPOLE\tTNCC\tARTMAJ\tNCC\tARTMIN\tNCCENR\r\n"
)
TEXT_ROWS = (
    "1\t0\t0\t\t84\t01\t001\t2\t08\t0\t\t5\t(L')\tABERGEMENT\t(L')\tAbergement-Clémenciat\r\n"
    "1\t0\t0\t\t84\t01\t410\t2\t08\t0\t\t0\t\tTOURY\t(Le)\tTouré\r\n"
    "2\t\t\t\t84\t01\t120\t\t\t0\t01001\t0\t\tCORDIEUX\t\tCordieux\r\n"
    "3\t\t\t\t84\t01\t003\t\t\t0\t01165\t1\t\tAMAREINS\t\tAmareins\r\n"
    "5\t\t\t\t93\t13\t201\t3\t\t\t13055\t0\t\tMARSEILLE 1\t\tMarseille 1er\r\n"
    "6\t\t\t\t84\t01\t001\t\t\t0\t01001\t0\t\tX\t\tDéléguée\r\n"
    "9\t1\t2\t\t84\t01\t001\t2\t08\t0\t\t5\t(L')\tABERGEMENT\t(L')\tAbergement-Clémenciat\r\n"
    "1\t\t\t\t06\t976\t01\t\t08\t0\t\t5\t\tACOUA\t\tAcoua\r\n"
)


def test_communes_as_tab_text() -> None:
    frame = parse("insee_cog_communes", "2018", {"France2018.txt": (TEXT_HEAD + TEXT_ROWS).encode("cp1252")})
    assert frame.schema == COMMUNES
    assert list(frame.iter_rows()) == [
        ("COM", "01001", "L'Abergement-Clémenciat", "01", "84", "012", None),
        ("COM", "01410", "Le Touré", "01", "84", "012", None),
        ("COMA", "01120", "Cordieux", "01", "84", None, "01001"),
        ("ARM", "13201", "Marseille 1er", "13", "93", "133", "13055"),
        ("COMD", "01001", "Déléguée", "01", "84", None, "01001"),
        ("COM", "97601", "Acoua", "976", "06", None, None),
    ]


CSV = {
    "lower": "\ufefftypecom,com,reg,dep,arr,tncc,ncc,nccenr,libelle,can,comparent\r\n"
    'COM,"01001","84","01","012","5",X,Y,L\'Abergement,"0108",\r\nCOMD,"01002",,,,"5",X,Y,Bas,,"01001"\r\n',
    "upper": "TYPECOM,COM,REG,DEP,CTCD,ARR,TNCC,NCC,NCCENR,LIBELLE,CAN,COMPARENT\r\n"
    "COM,01001,84,01,01D,012,5,X,Y,L'Abergement,0108,\r\nCOMD,01002,,,,,5,X,Y,Bas,,01001\r\n",
    "quoted": '"TYPECOM","COM","REG","DEP","CTCD","ARR","TNCC","NCC","NCCENR","LIBELLE","CAN","COMPARENT"\r\n'
    '"COM","01001","84","01","01D","012","5","X","Y","L\'Abergement","0108",""\r\n'
    '"COMD","01002","","","","","5","X","Y","Bas","","01001"\r\n',
}


@pytest.mark.parametrize("layout", CSV)
def test_communes_as_csv(layout: str) -> None:
    frame = parse("insee_cog_communes", "2019", {"communes-01012019.csv": CSV[layout].encode()})
    assert list(frame.iter_rows()) == [
        ("COM", "01001", "L'Abergement", "01", "84", "012", None),
        ("COMD", "01002", "Bas", None, None, None, "01001"),
    ]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (CSV["upper"].replace("ARR,", "ARRT,"), LayoutError, r"les colonnes \['ARR'\]"),
        (CSV["upper"].replace("COMD,", "COMX,"), CellError, "ligne 3, colonne TYPECOM.*« COMX »"),
        (CSV["upper"] + "COM,01001,84,01,01D,012,5,X,Y,Z,0108,\r\n", LayoutError, "01001"),
    ],
)
def test_a_list_of_communes_that_is_not_one_is_refused(
    text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse("insee_cog_communes", "2022", {"commune_2022.csv": text.encode()})


def test_an_unknown_kind_of_unit_in_tab_text_is_refused() -> None:
    body = TEXT_HEAD + TEXT_ROWS.replace("9\t1\t2", "7\t1\t2")
    with pytest.raises(CellError, match=r"colonne ACTUAL.*« 7 »"):
        parse("insee_cog_communes", "2018", {"France2018.txt": body.encode("cp1252")})


EVENT_HEAD = (
    "MOD,DATE_EFF,TYPECOM_AV,COM_AV,TNCC_AV,NCC_AV,NCCENR_AV,LIBELLE_AV,"
    "TYPECOM_AP,COM_AP,TNCC_AP,NCC_AP,NCCENR_AP,LIBELLE_AP\r\n"
)


def event(day: str, before: str = "COM,44225,0,F,F,Freigné", after: str = "COM,44180,0,V,V,Vallons") -> str:
    return f"32,{day},{before},{after}\r\n"


@pytest.mark.parametrize(
    ("edition", "name", "day", "expected"),
    [
        ("2026", "v_mvt_commune_2026.csv", "2018-01-01", date(2018, 1, 1)),
        ("2019", "mvtcommune-01042019.csv", "01/03/19", date(2019, 3, 1)),
        ("2019", "mvtcommune-01042019.csv", "19/02/43", date(1943, 2, 19)),
    ],
)
def test_events(edition: str, name: str, day: str, expected: date) -> None:
    body = EVENT_HEAD + event(day) + event(day) + event(day, before=",,,,,")
    frame = parse("insee_cog_evenements", edition, {name: body.encode()})
    assert frame.schema == EVENTS
    assert list(frame.iter_rows()) == [
        (32, expected, "COM", "44225", "Freigné", "COM", "44180", "Vallons"),
        (32, expected, None, None, None, "COM", "44180", "Vallons"),
    ]


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (EVENT_HEAD + event("2018-13-45"), CellError, "ligne 2, colonne DATE_EFF.*2018-13-45"),
        (EVENT_HEAD + event("2018-01-01").replace("32,", "fusion,", 1), CellError, "colonne MOD.*fusion"),
        (EVENT_HEAD.replace("COM_AP", "COMAP") + event("2018-01-01"), LayoutError, "COM_AP"),
    ],
)
def test_events_that_are_not_readable_are_refused(body: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        parse("insee_cog_evenements", "2026", {"v_mvt_commune_2026.csv": body.encode()})


def test_events_to_2018_give_the_moves_between_communes() -> None:
    columns = ["DEP", "COM", "EFF", "MOD", "COMECH", "DEPANC", "NCCOFF"]
    lines = [
        ["44", "225", "01-01-2018", "331", "44180", "", "Freigné"],  # joins
        ["44", "180", "01-01-2018", "341", "44225", "", "Vallons"],  # the same, seen from the other side
        ["44", "225", "01-01-2018", "411", "", "49144", "Freigné"],  # comes from another département
        ["76", "601", "01-01-2017", "210", "76676", "", "Saint-Lucien"],  # restored
        ["14", "114", "01-07-1972", "320", "14115", "", "Absorbante"],
        ["14", "697", "07-01-2014", "130", "", "", "Tôtes"],
    ]
    body = "\r\n".join("\t".join(line) for line in [columns, *lines]) + "\r\n"
    frame = parse("insee_cog_evenements", "2018", {"historiq2018.txt": body.encode("cp1252")})
    assert frame.schema == EVENTS
    moves = frame.select("mod", "date", "code_before", "name_before", "code_after", "name_after")
    assert set(moves.iter_rows()) == {
        (331, date(2018, 1, 1), "44225", "Freigné", "44180", None),
        (411, date(2018, 1, 1), "49144", None, "44225", "Freigné"),
        (210, date(2017, 1, 1), "76676", None, "76601", "Saint-Lucien"),
        (210, date(2017, 1, 1), "76676", None, "76676", None),
        (320, date(1972, 7, 1), "14114", "Absorbante", "14114", "Absorbante"),
    }


@pytest.mark.parametrize(
    ("source_id", "edition", "body", "expected"),
    [
        (
            "insee_cog_departements", "2018",
            "REGION\tDEP\tCHEFLIEU\tTNCC\tNCC\tNCCENR\r\n84\t01\t01053\t5\tAIN\tAin\r\n",
            ("DEP", "01", "Ain", "84"),
        ),
        (
            "insee_cog_departements", "2020",
            "dep,reg,cheflieu,tncc,ncc,nccenr,libelle\n974,04,97411,0,LA REUNION,La Réunion,La Réunion\n",
            ("DEP", "974", "La Réunion", "04"),
        ),
        (
            "insee_cog_regions", "2018",
            "REGION\tCHEFLIEU\tTNCC\tNCC\tNCCENR\r\n01\t97105\t3\tG\tGuadeloupe\r\n",
            ("REG", "01", "Guadeloupe", None),
        ),
        (
            "insee_cog_regions", "2024",
            '"REG","CHEFLIEU","TNCC","NCC","NCCENR","LIBELLE"\r\n"11","75056","1","IDF","Idf","Île-de-France"\r\n',
            ("REG", "11", "Île-de-France", None),
        ),
    ],
)  # fmt: skip
def test_departements_and_regions(
    source_id: str, edition: str, body: str, expected: tuple[str | None, ...]
) -> None:
    encoding = "cp1252" if edition == "2018" else "utf-8"
    frame = parse(source_id, edition, {"list": body.encode(encoding)})
    assert frame.schema == ZONES
    assert list(frame.iter_rows()) == [expected]
    twice = body + body.splitlines()[1] + "\r\n"
    with pytest.raises(LayoutError, match="en double"):
        parse(source_id, edition, {"list": twice.encode(encoding)})
    with pytest.raises(LayoutError, match=r"NCCENR|LIBELLE"):
        changed = body.replace("NCCENR", "NOM").replace("LIBELLE", "NOM2").replace("libelle", "nom2")
        parse(source_id, edition, {"list": changed.encode(encoding)})


DGCL_HEAD = ["dept", "siren", "raison_sociale", "nature_juridique", "mode_financ", "insee", "pmun_2020"]
DGCL_ROW = ["01", "200029999", "CC Rives de l'Ain", "CC", "FPU", "1304", "2960"]


def test_epci_of_the_dgcl() -> None:
    files = {"epcicom2020.xlsx": workbook({"Epcicom2020": [DGCL_HEAD, DGCL_ROW]})}
    frame = parse("dgcl_epci", "2020", files)
    assert frame.schema == COMPOSITION
    assert list(frame.iter_rows()) == [("EPCI", "200029999", "CC Rives de l'Ain", "CC", "01304")]


@pytest.mark.parametrize(
    ("sheet", "lines", "message"),
    [
        ("Feuil1", [DGCL_HEAD, DGCL_ROW], "Epcicom2020"),
        ("Epcicom2020", [[c.replace("insee", "code") for c in DGCL_HEAD], DGCL_ROW], r"\['insee'\]"),
        ("Epcicom2020", [DGCL_HEAD, [c.replace("CC", "PETR") for c in DGCL_ROW]], "une nature parmi"),
        ("Epcicom2020", [DGCL_HEAD, DGCL_ROW, DGCL_ROW], "un seul EPCI par commune"),
    ],
)
def test_another_layout_of_the_dgcl_is_refused(sheet: str, lines: list[list[str]], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        parse("dgcl_epci", "2020", {"epcicom2020.xlsx": workbook({sheet: lines})})


OLD = {
    "epci_par_commune_2014_2019.csv": b"annee,CODGEO,LIBGEO,DEP,REG,EPCI\n2014,01001,A,01,82,200035210\n"
    b"2015,01001,A,01,82,200035211\n2015,22016,B,22,53,ZZZZZZZZZ\n2015,01002,A,01,82,240100000\n",
    "epci_libelles_2014_2019.csv": b"NIVGEO,CODGEO,LIBGEO,NB_COM,annee\nEPCI,200035210,CC Un,1,2014\n"
    b"EPCI,200035211,CA Deux,1,2015\nEPCI,240100000,Brest,1,2015\nEPCI,ZZZZZZZZZ,Sans objet,1,2015\n",
}


def test_old_epci_one_year_a_block() -> None:
    assert list(parse("insee_epci_ancien", "2015", OLD).iter_rows()) == [
        ("EPCI", "200035211", "CA Deux", "CA", "01001"),
        ("EPCI", "240100000", "Brest", "METRO", "01002"),
    ]


def test_old_epci_without_the_year_or_a_name_are_refused() -> None:
    with pytest.raises(LayoutError, match="2016"):
        parse("insee_epci_ancien", "2016", OLD)
    names = "epci_libelles_2014_2019.csv"
    with pytest.raises(LayoutError, match="240100000"):
        parse("insee_epci_ancien", "2015", {**OLD, names: OLD[names].replace(b"240100000", b"240100001")})
    with pytest.raises(LayoutError, match="libelles"):
        parse("insee_epci_ancien", "2015", {k: v for k, v in OLD.items() if k != names})


ZONES_HEAD: list[list[str | None]] = [["Liste"], ["France"], ["Mise en ligne"], ["@Insee"], ["Code"]]
COM = [*ZONES_HEAD, ["CODGEO", "LIBGEO", "DEP", "REG", "EPCI", "EPT", "ARR", "ZE2020"],
       ["93001", "Aubervilliers", "93", "11", "200054781", "200057867", "933", "1109"],
       ["29155", "Ouessant", "29", "53", "ZZZZZZZZZ", "ZZZZZZZZZ", "291", "5301"]]  # fmt: skip
NAMED = [
    ("EPCI", "200054781"), ("EPT", "200057867"), ("ARR", "933"), ("ARR", "291"), ("ZE2020", "1109"),
    ("ZE2020", "5301"),
]  # fmt: skip
SUPRA = [*ZONES_HEAD, ["NIVGEO", "CODGEO", "LIBGEO", "NB_COM"], *([n, c, f"{n} {c}", "1"] for n, c in NAMED)]


def test_zones_of_communes() -> None:
    book = workbook({"COM": COM, "Zones_supra_communales": SUPRA})
    frame = parse("insee_appartenance", "2024", {"table.xlsx": book})
    assert frame.schema == COMPOSITION
    assert set(frame.select("level", "code", "name", "commune").iter_rows()) == {
        ("EPCI", "200054781", "EPCI 200054781", "93001"),
        ("EPT", "200057867", "EPT 200057867", "93001"),
        ("ARR", "933", "ARR 933", "93001"),
        ("ARR", "291", "ARR 291", "29155"),
        ("ZE", "1109", "ZE2020 1109", "93001"),
        ("ZE", "5301", "ZE2020 5301", "29155"),
    }


def test_zones_without_ept_are_read_and_other_layouts_refused() -> None:
    without = [[c for j, c in enumerate(line) if j != 5] for line in COM]
    frame = parse(
        "insee_appartenance", "2024", {"t": workbook({"COM": without, "Zones_supra_communales": SUPRA})}
    )
    assert frame.filter(pl.col("level") == "EPT").height == 0
    with pytest.raises(LayoutError, match="ZE2020 5301 sans nom"):
        parse(
            "insee_appartenance", "2024", {"t": workbook({"COM": COM, "Zones_supra_communales": SUPRA[:-1]})}
        )
    renamed = [["ZE2030" if c == "ZE2020" else c for c in line] for line in COM]
    with pytest.raises(LayoutError, match="ZE2020"):
        parse(
            "insee_appartenance", "2024", {"t": workbook({"COM": renamed, "Zones_supra_communales": SUPRA})}
        )
