"""Reading text and workbooks, and turning cells into values with their statuses, on files written here."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

import polars as pl
import pytest
import xlsxwriter
from hypothesis import given
from hypothesis import strategies as st

from sources import tabular
from sources.description import Edition, Member, Source
from sources.errors import BodyRefusedError, CellError, LayoutError
from sources.schema import VALUES
from sources.tabular import (
    Block,
    Column,
    assemble,
    coded,
    decode,
    layout_of,
    member_data,
    number,
    open_workbook,
    read_delimited,
    read_json,
    read_member,
    read_sheet,
    value_blocks,
)

EDITION = Edition(edition="2018", data_year=2018, url="https://exemple.invalid/a/b.zip", format="zip")
SOURCE = Source(source_id="essai", title="Essai", producer="P", owner="P", licence="L", editions=(EDITION,))


def workbook(**sheets: Sequence[Sequence[object]]) -> bytes:
    """An .xlsx of those sheets; None is an empty cell."""
    buffer = io.BytesIO()
    with xlsxwriter.Workbook(buffer, {"in_memory": True}) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for i, row in enumerate(rows):
                for j, cell in enumerate(row):
                    if cell is not None:
                        sheet.write(i, j, cell)
    return buffer.getvalue()


def sheet_of(data: bytes, sheet: str = "COM", **options: object) -> pl.DataFrame:
    arguments = {"header_cell": "CODGEO", "required": ["CODGEO", "MED18"], **options}
    return read_sheet(SOURCE, EDITION, data, name="base.xls", sheet=sheet, **arguments)  # type: ignore[arg-type]


def delimited(text: str | bytes, required: Sequence[str] = ("CODGEO",), **options: object) -> pl.DataFrame:
    data = text.encode() if isinstance(text, str) else text
    return read_delimited(SOURCE, EDITION, data, name="f.csv", required=required, **options)  # type: ignore[arg-type]


def table(**columns: Sequence[str | None]) -> pl.DataFrame:
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)).with_row_index("row", offset=2)


def values(column: Column, cells: Sequence[str | None], codes: Sequence[str] | None = None) -> pl.DataFrame:
    """One column of communes as values."""
    codes = codes or [f"01{i:03d}" for i in range(1, len(cells) + 1)]
    frame = table(CODGEO=codes, **{column.name: cells})
    blocks = value_blocks(
        SOURCE, EDITION, frame, [column], code=pl.col("CODGEO"), level="COM", file="f.csv", sheet="COM"
    )
    return assemble(SOURCE, EDITION, blocks)


# --- text -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"abc", "abc"),
        ("é".encode(), "é"),
        (b"\xef\xbb\xbf" + "œ".encode(), "œ"),
        (b"c\x9cur, \xe9t\xe9", "cœur, été"),  # cp1252, beyond latin-1
    ],
)
def test_both_encodings_are_read(data: bytes, text: str) -> None:
    assert decode(data) == text


@pytest.mark.parametrize("separator", [";", "\t", ","])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "newline"])
def test_separators_newlines_and_missing_last_newline(separator: str, newline: str, end: str) -> None:
    lines = [separator.join(row) for row in (["CODGEO", "MED18"], ["01001", "12"], ["2A004", ""])]
    frame = delimited(newline.join(lines) + (newline if end else ""))
    assert frame.columns == ["CODGEO", "MED18"]
    assert frame.rows() == [("01001", "12"), ("2A004", None)]


def test_leading_zeros_marks_and_quotes_survive() -> None:
    frame = delimited('CODGEO;"V"\n"01001";s\n01002;"1;2"\n')
    assert frame.rows() == [("01001", "s"), ("01002", "1;2")]


def test_only_the_asked_columns_are_kept() -> None:
    frame = delimited("CODGEO;A;B\n01001;1;2\n", columns=["CODGEO", "B", "C"])
    assert frame.columns == ["CODGEO", "B"]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(LayoutError, match=r"essai 2018 \(fichier f.csv, ligne 1\).*\['MED18'\]"):
        delimited("CODGEO;MED17\n01001;1\n", required=["CODGEO", "MED18"])


def test_lines_longer_than_the_header_are_refused() -> None:
    with pytest.raises(LayoutError, match="un fichier délimité"):
        delimited("CODGEO;A\n01001;1;2;3\n")


def test_a_missing_member_is_named() -> None:
    with pytest.raises(LayoutError, match=r"« a.csv » ; trouvé les fichiers \['b.csv'\]"):
        member_data(SOURCE, EDITION, Member(path="a.csv"), {"b.csv": b""})


def test_a_body_that_is_no_archive_is_named_by_its_address() -> None:
    assert member_data(SOURCE, EDITION, Member(), {"b.zip": b"x"}) == ("b.zip", b"x")


def test_an_unknown_layout_is_named() -> None:
    assert layout_of(SOURCE, EDITION, {"default": 1}) == 1
    with pytest.raises(LayoutError, match=r"\['2014'\] ; trouvé « default »"):
        layout_of(SOURCE, EDITION, {"2014": 1})


# --- workbooks --------------------------------------------------------------------------------------------

PREAMBLE: list[list[object]] = [["Filosofi"], ["Communes"], ["Mise en ligne"], ["©Insee"]]
HEADER: list[list[object]] = [["Code géographique", "Médiane"], ["CODGEO", "MED18"]]


def test_a_table_below_a_preamble_and_labels() -> None:
    data = workbook(COM=[*PREAMBLE, *HEADER, ["01001", 25350], ["01002", None]])
    frame = sheet_of(data)
    assert frame.rows() == [(7, "01001", "25350"), (8, "01002", None)]
    assert frame.columns == ["row", "CODGEO", "MED18"]


def test_a_workbook_is_opened_once_for_many_sheets() -> None:
    data = workbook(COM=[*HEADER, ["01001", 1]], DEP=[*HEADER, ["01", 2]])
    book = open_workbook(SOURCE, EDITION, data, name="base.xls")
    assert [sheet_of(book, s)["MED18"][0] for s in ("COM", "DEP")] == ["1", "2"]  # type: ignore[arg-type]


def test_empty_columns_beyond_the_table_are_dropped() -> None:
    wide = [["CODGEO", "MED18", *[None] * 97, " "], ["01001", 1, *[None] * 97, None]]
    frame = sheet_of(workbook(COM=wide))
    assert frame.columns[:3] == ["row", "CODGEO", "MED18"]
    assert frame.width <= 4


def test_a_second_table_below_is_never_read() -> None:
    rows = [*HEADER, ["01", 1], [None, None], ["Guadeloupe"], ["Code géographique", "x"], ["971", 2]]
    assert sheet_of(workbook(DEP=rows), "DEP")["CODGEO"].to_list() == ["01"]


def test_a_hole_in_a_table_is_refused_where_one_table_is_expected() -> None:
    rows = [*PREAMBLE, *HEADER, ["01", 1], [None, 3], ["02", 2]]
    with pytest.raises(
        LayoutError, match=r"fichier base.xls, feuille DEP, ligne 9\).*« 02 » sous une ligne vide"
    ):
        sheet_of(workbook(DEP=rows), "DEP", below="refuse")
    assert sheet_of(workbook(DEP=[*HEADER, ["01", 1], [None, None]]), "DEP", below="refuse").height == 1


TWO_TABLES = [
    ["Départements"],
    ["CODGEO", "MED18"],
    ["01", 20000],
    [None],
    ["Outre-mer"],
    ["Source : une autre enquête"],
    ["CODGEO", "MED18"],
    ["971", 15770],
]


def test_a_table_of_a_sheet_is_told_by_its_title() -> None:
    data = workbook(DEP=TWO_TABLES)
    assert sheet_of(data, "DEP", title="Départements")["CODGEO"].to_list() == ["01"]
    overseas = sheet_of(data, "DEP", title="Outre-mer", below="refuse")
    assert overseas.rows() == [(8, "971", "15770")]


@pytest.mark.parametrize("extra", [[], [["Métropole"], ["CODGEO", "MED18"], ["Métropole"]]])
def test_a_title_that_does_not_tell_one_table_is_refused(extra: list[list[object]]) -> None:
    with pytest.raises(LayoutError, match="sous le titre « Métropole », présent une fois"):
        sheet_of(workbook(DEP=[*TWO_TABLES, *extra]), "DEP", title="Métropole")


def test_a_missing_sheet_header_or_column_is_named() -> None:
    data = workbook(COM=[["rien"]], DEP=[["CODGEO", "MED17"]])
    with pytest.raises(LayoutError, match=r"une feuille « REG » ; trouvé feuilles \['COM', 'DEP'\]"):
        sheet_of(data, "REG")
    with pytest.raises(LayoutError, match=r"feuille COM.*commençant par « CODGEO »"):
        sheet_of(data, "COM")
    with pytest.raises(LayoutError, match=r"feuille DEP, ligne 1\).*\['MED18'\]"):
        sheet_of(data, "DEP")


# --- objects ----------------------------------------------------------------------------------------------

OBJECTS = [{"CODGEO": "01001", "n": 1}, {"CODGEO": "01002", "mark": "s"}, {"n": None, "CODGEO": "01003"}]


@pytest.mark.parametrize("data", [json.dumps(OBJECTS), "".join(f"{json.dumps(o)}\r\n" for o in OBJECTS)])
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_objects_are_read_some_at_a_time(data: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "OBJECTS", at_once)
    frame = read_json(SOURCE, EDITION, data.encode(), name="f.json", required=["CODGEO"])
    assert frame.rows() == [(1, "01001", "1", None), (2, "01002", None, "s"), (3, "01003", None, None)]
    assert frame.columns == ["row", "CODGEO", "n", "mark"]


@pytest.mark.parametrize(
    "data", [b"[]", b"{}[", b'[{"CODGEO": "01001"}, 2]', b'{"CODGEO": "01001"}\n2\n', b'{"CODGEO": "01001"}\n{"C']
)
def test_what_is_no_list_of_objects_is_refused_wherever_it_is_found_out(data: bytes) -> None:
    with pytest.raises(BodyRefusedError):
        read_json(SOURCE, EDITION, data, name="f.json", required=["CODGEO"])


def test_a_column_named_twice_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"une seule colonne \['MED18'\]"):
        sheet_of(workbook(COM=[["CODGEO", "MED18", "MED18"], ["01001", 1, 2]]))


def test_bytes_that_are_no_workbook_are_refused() -> None:
    with pytest.raises(LayoutError, match=r"fichier base.xls.*un classeur Excel lisible"):
        sheet_of(b"<html></html>")


def test_a_member_is_a_sheet_or_a_file() -> None:
    files = {"b.xls": workbook(COM=[*HEADER, ["01001", 1]]), "c.csv": b"X;CODGEO;MED18\n9;01001;1\n"}
    for member, line in ((Member(path="b.xls", sheet="COM"), 3), (Member(path="c.csv"), 2)):
        name, frame = read_member(SOURCE, EDITION, member, files, required=["CODGEO", "MED18"])
        assert name == member.path
        assert frame.rows() == [(line, "01001", "1")]


# --- numbers ----------------------------------------------------------------------------------------------


def read_number(text: str | None) -> float | None:
    return pl.DataFrame({"t": [text]}, schema={"t": pl.String}).select(number("t")).item()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12.0),
        ("12,5", 12.5),
        ("-16.1", -16.1),
        ("1\u202f036", 1036.0),
        ("1\u00a0234\u00a0567,8", 1234567.8),
        ("2 256", 2256.0),
        ("7,83e-03", 0.00783),
        ("", None),
        ("s", None),
        ("nan", None),
        ("inf", None),
        ("1.2.3", None),
        ("1,234.5", None),  # an English thousands comma is not guessed
        (None, None),
    ],
)
def test_numbers_as_producers_write_them(text: str | None, value: float | None) -> None:
    assert read_number(text) == value


@given(
    st.integers(-(10**12), 10**12),
    st.integers(0, 999),
    st.sampled_from(["", " ", "\u00a0", "\u202f"]),
    st.sampled_from(",."),
)
def test_any_french_number_is_read(whole: int, thousandths: int, space: str, point: str) -> None:
    text = f"{whole:,}".replace(",", space) + f"{point}{thousandths:03d}"
    sign = -1 if whole < 0 else 1
    assert read_number(text) == pytest.approx(whole + sign * thousandths / 1000)


# --- codes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "raw", "code"),
    [
        ("COM", "1001", "01001"),
        ("COM", "2A004", "2A004"),
        ("COM", "97423", "97423"),
        ("DEP", "1", "01"),
        ("DEP", "974", "974"),
        ("DEP", "2B", "2B"),
        ("REG", "4", "04"),
        ("ARR", "11", "011"),
        ("ARR", "9744", "9744"),
        ("ZE", "51", "0051"),
        ("EPCI", "200057966", "200057966"),
        ("METRO", "1", "FM"),
        ("METRO", "M", "FM"),
    ],
)
def test_codes_get_their_zeros_back(level: str, raw: str, code: str) -> None:
    frame = coded(SOURCE, EDITION, table(CODGEO=[raw]), pl.col("CODGEO"), level=level, file="f.csv")
    assert frame["code"].to_list() == [code]


@pytest.mark.parametrize(
    ("level", "raw"),
    [
        ("COM", "200057966"),
        ("COM", "Source : Insee"),
        ("EPCI", "ZZZZZZZZZ"),
        ("DEP", "01001"),
        ("REG", "971"),
        ("COM", None),
    ],
)
def test_a_code_of_another_level_is_refused(level: str, raw: str | None) -> None:
    with pytest.raises(
        CellError, match=rf"fichier f.csv, ligne 2, colonne code\).*un code de niveau {level}"
    ):
        coded(SOURCE, EDITION, table(CODGEO=[raw]), pl.col("CODGEO"), level=level, file="f.csv")


def test_a_territory_found_twice_is_refused() -> None:
    with pytest.raises(LayoutError, match=r"ligne 4\).*le code 01001 en double"):
        coded(
            SOURCE,
            EDITION,
            table(CODGEO=["01001", "01002", "1001"]),
            pl.col("CODGEO"),
            level="COM",
            file="f.csv",
        )


# --- values -----------------------------------------------------------------------------------------------

MEDIAN = Column("MED18", "med", 2018)
RATE = Column("TP6018", "tp60", 2018, rate=True)
STATUS = ["value", "lower", "upper", "obs_status", "conf_status", "mark"]


@pytest.mark.parametrize(
    ("column", "cell", "row"),
    [
        (MEDIAN, "25350", (25350.0, None, None, "A", "F", None)),
        (MEDIAN, "12,5", (12.5, None, None, "A", "F", None)),
        (MEDIAN, "0", (0.0, None, None, "A", "F", None)),
        (MEDIAN, None, (None, None, None, "Q", "A", None)),
        (MEDIAN, "s", (None, None, None, "Q", "A", "s")),
        (MEDIAN, "nd", (None, None, None, "O", "F", "nd")),
        (MEDIAN, "ns", (None, None, None, "N", "F", "ns")),
        (MEDIAN, "5", (5.0, None, None, "A", "F", None)),  # only rates are censored
        (RATE, "5", (None, 0.0, 5.5, "Q", "A", "5")),
        (RATE, "5,0", (None, 0.0, 5.5, "Q", "A", "5")),
        (RATE, "95.0", (None, 94.5, 100.0, "Q", "A", "95")),
        (RATE, "5.1", (5.1, None, None, "A", "F", None)),
        (RATE, "s", (None, None, None, "Q", "A", "s")),
        (Column("P18", "pop", 2018, blank=("O", "F")), None, (None, None, None, "O", "F", None)),
        (Column("IP18", "intensite", 2018, scale=100.0), "0,207", (20.7, None, None, "A", "F", None)),
    ],
)
def test_the_status_of_a_cell(column: Column, cell: str | None, row: tuple[object, ...]) -> None:
    assert values(column, [cell]).select(STATUS).row(0) == row
    # the same beside a cell that needs the slower reading
    assert values(column, [cell, "1 000,5"]).select(STATUS).row(0) == row


@given(st.lists(st.sampled_from([None, "s", "nd", "ns", "5", "95", "5,0", "12", "12,5", "0"]), min_size=1))
def test_missing_is_never_a_number(cells: list[str | None]) -> None:
    frame = values(RATE, cells)
    normal = frame["obs_status"] == "A"
    assert (normal == frame["value"].is_not_null()).all()
    assert frame["value"].drop_nulls().is_in([0.0, 12.0, 12.5]).all()
    assert (frame["conf_status"].eq("A") == frame["obs_status"].eq("Q")).all()


@pytest.mark.parametrize("cell", ["x", "N/A - division par 0", "nan", " ", "S"])
def test_an_unknown_mark_is_refused_with_its_place(cell: str) -> None:
    place = r"essai 2018 \(fichier f.csv, feuille COM, ligne 3, colonne MED18\)"
    with pytest.raises(CellError, match=place) as caught:
        values(MEDIAN, ["1", cell])
    assert f"« {cell} »" in str(caught.value)


def test_arrondissements_are_their_own_level() -> None:
    codes = ["75056", "75101", "69123", "69381", "13055", "13216", "13217", "91286"]
    frame = values(MEDIAN, ["1"] * len(codes), codes)
    by_level = {str(k): v["code"].to_list() for (k,), v in frame.group_by("level", maintain_order=True)}
    assert by_level == {
        "COM": ["13055", "13217", "69123", "75056", "91286"],
        "ARM": ["13216", "69381", "75101"],
    }


@given(st.permutations(["01001", "01002", "2A004", "75101", "91286"]))
def test_the_frame_is_typed_and_sorted_whatever_the_order_of_the_file(codes: list[str]) -> None:
    frame = table(CODGEO=codes, A=codes, B=[None] * len(codes))
    columns = [Column("B", "zeta", 2018), Column("B", "alpha", 2018), Column("B", "alpha", 2013)]
    blocks = value_blocks(SOURCE, EDITION, frame, columns, code=pl.col("CODGEO"), level="COM", file="f.csv")
    result = assemble(SOURCE, EDITION, blocks)
    assert list(result.schema) == list(VALUES)
    assert all(result.schema[name] == dtype for name, dtype in VALUES.items())
    keys = result.select("level", pl.col("variable").cast(pl.String), "year", "code")
    assert keys.equals(keys.sort("level", "variable", "year", "code"))
    assert result.height == len(codes) * len(columns)


def test_a_variable_given_twice_is_refused() -> None:
    block = Block("COM", "med", 2018, pl.DataFrame(schema=VALUES))
    with pytest.raises(LayoutError, match="med 2018 deux fois au niveau COM"):
        assemble(SOURCE, EDITION, [block, block])


def test_an_edition_without_a_table_is_refused() -> None:
    with pytest.raises(LayoutError, match="aucune variable"):
        assemble(SOURCE, EDITION, [])


def test_blank_lines_at_the_end_are_no_rows() -> None:
    """A producer's file may end with one line feed more than the day before."""
    plain = read_delimited(SOURCE, EDITION, b"A;B\n1;2\n", name="f.csv", required=["A"])
    assert read_delimited(SOURCE, EDITION, b"A;B\n1;2\n\r\n\n", name="f.csv", required=["A"]).equals(plain)
    assert plain.height == 1


def test_a_line_too_long_is_refused_whatever_the_columns_kept() -> None:
    with pytest.raises(LayoutError, match="délimité"):
        delimited("CODGEO;MED18\n01001;10;5\n", columns=["CODGEO"])


def test_the_lines_of_a_long_file_keep_their_order() -> None:
    lines = "".join(f"{i:06d};{'x' * 60}\n" for i in range(300_000))
    read = delimited(f"CODGEO;autre\n{lines}", columns=["CODGEO"])["CODGEO"]
    assert read.is_sorted() and read.n_unique() == 300_000
