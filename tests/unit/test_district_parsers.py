"""The parsers of IRIS, of their changes and of the priority districts, on small files in the producers' layouts."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import polars as pl
import pytest
import xlsxwriter

from sources.description import ROOT, load_source, parser_of
from sources.errors import CellError, LayoutError
from sources.schema import IRIS, IRIS_CHANGES, QPV

Rows = Sequence[Sequence[str | int | None]]
HEAD: Rows = [("Liste des IRIS au 1er janvier 2023",), ("@Insee",), (), ("Code IRIS", "Libellé IRIS")]
LIST = ("CODE_IRIS", "LIB_IRIS", "TYP_IRIS", "GRD_QUART", "DEPCOM", "LIBCOM", "UU2020", "REG", "DEP")
CHANGED = ("ANNEE_MODIF", "IRIS_INI", "COM_INI", "LIB_COM_INI", "IRIS_FIN", "COM_FIN", "LIB_COM_FIN", "MODIF_IRIS")


def iris(code: str, kind: str = "H", commune: str | None = None) -> tuple[str, ...]:
    return (code, f"Nom {code}", kind, code[:7], commune or code[:5], "Commune", "00000", "11", "91")


def change(year: str | int, before: str, after: str) -> tuple[str | int, ...]:
    return (year, before, before[:5], "Avant", after, after[:5], "Après", "3")


def parse(source_id: str, edition: str, files: Mapping[str, bytes]) -> pl.DataFrame:
    source = load_source(ROOT / source_id)
    return parser_of(source)(source, source.edition(edition), files)


def book(sheet: str, rows: Rows) -> dict[str, bytes]:
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as workbook:
        page = workbook.add_worksheet(sheet)
        for i, line in enumerate(rows):
            page.write_row(i, 0, line)
    return {"reference_IRIS_geo2023.xlsx": buffer.getvalue()}


def iris_book(*rows: Sequence[str], header: Sequence[str] = LIST) -> dict[str, bytes]:
    return book("Emboitements_IRIS", [*HEAD, header, *rows])


def test_iris_of_divided_and_undivided_communes() -> None:
    rows = [iris("912860101", "D"), iris("010010000", "Z"), iris("751010101", "A")]
    frame = parse("insee_iris", "2023", iris_book(*rows))
    assert frame.schema == IRIS
    assert frame.rows() == [
        ("010010000", "Nom 010010000", "Z", "01001"),
        ("751010101", "Nom 751010101", "A", "75101"),
        ("912860101", "Nom 912860101", "D", "91286"),
    ]


@pytest.mark.parametrize(
    ("rows", "header", "error", "message"),
    [
        ([iris("912860101", "X")], LIST, CellError, "ligne 6, colonne TYP_IRIS.*H, A ou D.*« X »"),
        ([iris("912860000", "H")], LIST, CellError, "colonne TYP_IRIS.*Z pour un code en 0000.*« H »"),
        ([iris("912860101", "Z")], LIST, CellError, "colonne TYP_IRIS"),
        ([iris("912860101", "H", "91287")], LIST, CellError, "colonne DEPCOM.*« 91287 »"),
        ([iris("91286010X")], LIST, CellError, "un code de niveau IRIS"),
        ([iris("912860101"), iris("912860101")], LIST, LayoutError, "912860101 en double"),
        ([iris("912860101")], [c if c != "DEPCOM" else "COM" for c in LIST], LayoutError, r"les colonnes \['DEPCOM'\]"),
        ([iris("912860101"), (), iris("912860102")], LIST, LayoutError, "ligne vide"),
    ],
)
def test_a_list_of_iris_that_is_not_one_is_refused(
    rows: list[tuple[str, ...]], header: Sequence[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse("insee_iris", "2023", iris_book(*rows, header=header))


def test_changes_of_iris() -> None:
    rows = [change(2023, "332840000", "332840101"), change("2019", "911820101", "912280201")]
    rows += [change(2022, "783220101", "786460308")] * 2  # a pair that has two natures
    frame = parse("insee_iris_modifications", "2023", book("Modifications_IRIS", [*HEAD, CHANGED, *rows]))
    assert frame.schema == IRIS_CHANGES
    assert frame.rows() == [
        (2023, "332840000", "332840101"), (2019, "911820101", "912280201"), (2022, "783220101", "786460308"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (change("19", "911820101", "912280201"), "colonne ANNEE_MODIF.*une année.*« 19 »"),
        (change(2019, "91182", "912280201"), "ligne 6, colonne IRIS_INI.*un code d'IRIS.*« 91182 »"),
        (change(2019, "911820101", "fusion"), "colonne IRIS_FIN.*« fusion »"),
    ],
)
def test_a_change_that_cannot_be_is_refused(row: tuple[str | int, ...], message: str) -> None:
    with pytest.raises(CellError, match=message):
        parse("insee_iris_modifications", "2023", book("Modifications_IRIS", [*HEAD, CHANGED, row]))


def test_priority_districts_with_communes_by_name() -> None:
    text = (
        "\ufeffCODGEO;LIBGEO;POP_MUN;LIB_COM;;;\r\nEnsemble;Ensemble des QPV;5 019 573;;;;\r\n"
        "QP091026;La Grande Borne  - Le Plateau;1;Grigny, Viry-Châtillon;;;\r\n"
        "QP02A001;Les Cannes;2;Ajaccio;;;\r\nQP013032;;3;Marseille 2e  Arrondissement;;;\r\nQP971001;;;;;;\r\n"
    )
    frame = parse("insee_qpv", "2018", {"data_DEMO_2018_V1_QP.csv": text.encode()})
    assert frame.schema == QPV
    assert frame.rows() == [
        ("QP013032", None, "Marseille 2e Arrondissement", None),
        ("QP02A001", "Les Cannes", "Ajaccio", None),
        ("QP091026", "La Grande Borne - Le Plateau", "Grigny", None),
        ("QP091026", "La Grande Borne - Le Plateau", "Viry-Châtillon", None),
        ("QP971001", None, None, None),
    ]
    without = text.replace("LIBGEO", "AUTRE")  # the edition of 2020 does not name the districts
    assert parse("insee_qpv", "2020", {"f.csv": without.encode()})["name"].null_count() == 5


def test_priority_districts_with_communes_by_code() -> None:
    text = (
        "\ufeffcode_qp;lib_qp;insee_dep;insee_com;lib_com;;\r\nQN00101M;Grande Reyssouze;01;1053;Bourg-en-Bresse;;\r\n"
        'QN09126M;La Grande Borne;91;"91286; 91687";"Grigny; Viry-Châtillon";;\r\n;;;;;;\r\n'
    )
    frame = parse("anct_qpv2024", "2024", {"listeqp2024-cog2024.csv": text.encode()})
    assert frame.rows() == [
        ("QN00101M", "Grande Reyssouze", None, "01053"),
        ("QN09126M", "La Grande Borne", None, "91286"),
        ("QN09126M", "La Grande Borne", None, "91687"),
    ]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("CODGEO;COMMUNE\r\nQP091026;Grigny\r\n", LayoutError, r"les colonnes \['LIB_COM'\]"),
        ("CODGEO;LIB_COM\r\nQP091026;Grigny\r\n91286;Grigny\r\n", CellError, "ligne 3.*un code de niveau QPV"),
        ("CODGEO;LIB_COM\r\nQN091026;Grigny\r\n", CellError, "« QN091026 »"),
        ("CODGEO;LIB_COM\r\nQP091026;Grigny\r\nQP091026;Viry\r\n", LayoutError, "QP091026 en double"),
    ],
)
def test_a_list_of_priority_districts_that_is_not_one_is_refused(
    text: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        parse("insee_qpv", "2020", {"data_DEMO_2020_V1_QP.csv": text.encode()})
