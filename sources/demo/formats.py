"""Bytes in the producers' formats: delimited text, workbooks, archives. The same content gives the same
bytes.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import polars as pl
import xlsxwriter

from sources.connectors import STABLE, lines
from sources.description import Edition

NOTICE = "PAYS FICTIF : données générées, aucune ne décrit un territoire ni une personne réels."
SHEET_ROWS = 1_048_576
_BORN = (2020, 1, 1, 0, 0, 0)  # date written inside archives and workbooks

Cell = str | int | float | None


def delimited(
    table: pl.DataFrame,
    *,
    separator: str = ";",
    end: str = "\r\n",
    encoding: str = "utf-8",
    quote: bool = False,
) -> bytes:
    """A delimited file with a header; `utf-8-sig` writes a byte order mark. Cells are written as text."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(
        buffer, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
    )
    writer.writerow(table.columns)
    writer.writerows(table.iter_rows())
    return buffer.getvalue().encode(encoding)


def tabbed(table: pl.DataFrame) -> bytes:
    """Tab separated, cp1252, never quoted: INSEE's text files to 2018."""
    lines = ["\t".join(table.columns), *("\t".join(c or "" for c in row) for row in table.iter_rows())]
    return ("\r\n".join(lines) + "\r\n").encode("cp1252")


def objects(table: pl.DataFrame) -> bytes:
    """An object a line, empty cells null."""
    return lines({k: v or None for k, v in row.items()} for row in table.iter_rows(named=True))


def parquet(table: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def as_published(edition: Edition, path: str, data: bytes) -> dict[str, bytes]:
    """What the addresses of a connector answer: path -> body; `path` is that of the edition, `data` its body."""
    rows = [json.loads(line) for line in data.splitlines()] if edition.connector in ("records", "melodi") else []
    match edition.connector:
        case "records":
            return {path: json.dumps({"total_count": len(rows), "results": rows}).encode()}
        case "melodi":
            page = {"observations": [_observation(r) for r in rows], "paging": {"count": len(rows)}}
            return {path: json.dumps(page).encode()}
        case "datagouv":
            identifier = f"fictif-{path.rstrip('/').rsplit('/', 1)[-1]}"
            stable = STABLE.format(id=identifier)
            found = {"id": identifier, "title": edition.resource, "format": edition.format}
            found["last_modified"] = "2020-01-01"
            listing = json.dumps({"resources": [found]}).encode()
            return {path.rstrip("/"): listing, stable.removeprefix("https://"): data}
        case _:
            return {path: data}


def _observation(row: Mapping[str, str]) -> dict[str, object]:
    dimensions = {k: v for k, v in row.items() if k not in ("OBS_VALUE", "GEO_OBJECT")}
    measure = {"value": float(row["OBS_VALUE"])} if row["OBS_VALUE"] else {}
    geo = f"2025-{row['GEO_OBJECT']}-{row['GEO']}"
    return {"dimensions": {**dimensions, "GEO": geo}, "measures": {"OBS_VALUE_NIVEAU": measure}}


def numbers(table: pl.DataFrame, *, comma: bool = False, pad: bool = False, mark: str = "") -> pl.DataFrame:
    """Every figure of a table as text: decimal comma or point, `25` or `25.0`, a mark for a hidden cell.

    Integers have no decimals; floats have as many as they need, one at least when `pad`.
    """
    shown: list[pl.Expr] = []
    for name, dtype in table.schema.items():
        text = pl.col(name).cast(pl.String)
        if dtype.is_float():
            text = text if pad else text.str.strip_suffix(".0")
            text = text.str.replace(".", ",", literal=True) if comma else text
        shown.append(text.fill_null(mark) if dtype.is_numeric() else text)
    return table.with_columns(shown)


def whole(table: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Those columns as integers."""
    return table.with_columns(pl.col(list(columns)).round().cast(pl.Int64))


def workbook(sheets: Mapping[str, Iterable[Sequence[Cell]]]) -> bytes:
    """An .xlsx file: sheets of rows, text as text and numbers as numbers, None as an empty cell.

    A row leaves memory once the next one begins. Raises ValueError for a sheet of more rows than the format has.
    """
    buffer = io.BytesIO()
    options = {"constant_memory": True, "strings_to_urls": False, "strings_to_formulas": False}
    book = xlsxwriter.Workbook(buffer, options)
    book.set_properties({"title": NOTICE, "created": datetime(*_BORN)})
    for name, rows in sheets.items():
        sheet = book.add_worksheet(name)
        for r, row in enumerate(rows):
            if r >= SHEET_ROWS:
                raise ValueError(f"{name}: more than {SHEET_ROWS} rows, which a sheet of this format cannot hold")
            for c, cell in enumerate(row):
                if isinstance(cell, str):
                    sheet.write_string(r, c, cell)
                elif cell is not None:
                    sheet.write_number(r, c, cell)
    book.close()
    return buffer.getvalue()


def archive(members: Mapping[str, bytes]) -> bytes:
    """A zip archive, with a note that says that the content is fictional."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as out:
        for name, data in {**members, "A_LIRE_PAYS_FICTIF.txt": NOTICE.encode()}.items():
            entry = zipfile.ZipInfo(name, _BORN)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            out.writestr(entry, data)
    return buffer.getvalue()
