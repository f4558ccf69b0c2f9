"""Reading delimited text and workbooks as text, and turning text into numbers. No dataset is named here.

Everything is read as text first, so that marks (`s`, `nd`) and leading zeros survive.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterable

import fastexcel
import polars as pl

from sources.description import Edition, Source
from sources.errors import CellError, LayoutError

THOUSANDS = "[\u00a0\u202f\u2009 ]"  # the spaces that spreadsheets put between thousands


def decode(data: bytes) -> str:
    """UTF-8 (with or without BOM), else cp1252: the two encodings French producers use."""
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def read_delimited(
    source: Source,
    edition: Edition,
    data: bytes,
    *,
    name: str,
    required: Iterable[str],
    separator: str | None = None,
    columns: Iterable[str] | None = None,
) -> pl.DataFrame:
    """A delimited file as a frame of text columns, names as in the file, empty cells null.

    The separator is found on the first line among `;`, TAB and `,` when not given. `columns` limits what is
    kept (those present). Raises LayoutError when a required column is missing.
    """
    text = decode(data)
    first = text.split("\n", 1)[0]
    if separator is None:
        separator = max(";\t,", key=first.count)
    try:
        frame = pl.read_csv(
            io.BytesIO(text.encode("utf-8")), separator=separator, infer_schema=False, null_values=[""]
        )
    except pl.exceptions.PolarsError as error:
        raise LayoutError(
            source.source_id, edition.edition, f"un fichier délimité par « {separator} »",
            str(error).splitlines()[0], "comparer le fichier à la description ; le producteur a pu en changer",
            file=name,
        ) from error
    check_columns(source, edition, frame.columns, required, file=name, row=1)
    if columns is not None:
        keep = set(columns)
        frame = frame.select([c for c in frame.columns if c in keep])
    return frame


def read_sheet(
    source: Source,
    edition: Edition,
    data: bytes,
    *,
    name: str,
    sheet: str,
    header_cell: str,
    required: Iterable[str],
) -> pl.DataFrame:
    """A worksheet as text, from the row whose first cell is `header_cell` down to the first empty first cell.

    A second table further down is therefore not read here (see `rows_below`). Column `row` is the line number
    in the sheet, for messages. Raises LayoutError when the sheet, the header or a required column is missing.
    """
    grid = sheet_grid(source, edition, data, name=name, sheet=sheet)
    first = grid.to_series(0)
    starts = (first == header_cell).arg_true()
    if starts.len() == 0:
        raise LayoutError(
            source.source_id, edition.edition, f"une ligne d'en-tête commençant par « {header_cell} »",
            f"première colonne : {first.head(8).to_list()}", "vérifier la mise en page de la feuille",
            file=name, sheet=sheet,
        )
    start = int(starts[0])
    header = [c for c in grid.row(start)]
    check_columns(source, edition, [h for h in header if h], required, file=name, sheet=sheet, row=start + 1)
    body = grid.slice(start + 1)
    blanks = body.to_series(0).is_null().arg_true()
    if blanks.len():
        body = body.head(int(blanks[0]))
    kept = [i for i, h in enumerate(header) if h]
    body = body.select([pl.col(body.columns[i]).alias(header[i]) for i in kept])
    return body.with_row_index("row", offset=start + 2)


def sheet_grid(source: Source, edition: Edition, data: bytes, *, name: str, sheet: str) -> pl.DataFrame:
    """All cells of a sheet as text, without header; trailing empty columns are kept."""
    try:
        book = fastexcel.read_excel(data)
    except fastexcel.FastExcelError as error:
        raise LayoutError(
            source.source_id, edition.edition, "un classeur Excel lisible", str(error).splitlines()[0],
            "télécharger de nouveau ; sinon prévenir le producteur", file=name,
        ) from error
    if sheet not in book.sheet_names:
        raise LayoutError(
            source.source_id, edition.edition, f"une feuille « {sheet} »",
            f"feuilles {book.sheet_names}", "corriger `sheet` dans description.yaml", file=name,
        )
    return book.load_sheet_by_name(sheet, header_row=None, dtypes="string").to_polars()


def check_columns(
    source: Source, edition: Edition, found: Iterable[str], required: Iterable[str], *,
    file: str, sheet: str | None = None, row: int | None = None,
) -> None:
    """Raises LayoutError naming the missing columns."""
    present = list(found)
    missing = [c for c in required if c not in present]
    if missing:
        raise LayoutError(
            source.source_id, edition.edition, f"les colonnes {missing}", f"les colonnes {present[:40]}",
            "adapter la correspondance des colonnes de cette édition dans description.yaml ou parse.py",
            file=file, sheet=sheet, row=row,
        )


def number(column: pl.Expr | str) -> pl.Expr:
    """Text to Float64: decimal point or comma, thin spaces between thousands, exponents. Null when unreadable."""
    text = pl.col(column) if isinstance(column, str) else column
    return text.str.replace_all(THOUSANDS, "").str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)


def refuse_unreadable(
    source: Source, edition: Edition, frame: pl.DataFrame, *,
    text: str, value: str, row: str, column: str | pl.Expr, file: str, sheet: str | None = None,
) -> None:
    """Raises CellError for the first row whose `text` is neither null nor read as `value`.

    `frame` holds only cells that are not known marks; `row` and `column` name columns of `frame` with the line
    number and the producer's column name.
    """
    bad = frame.filter(pl.col(text).is_not_null() & pl.col(value).is_null())
    if bad.height:
        first = bad.row(0, named=True)
        raise CellError(
            source.source_id, edition.edition, "un nombre ou une marque connue du producteur",
            f"« {first[text]} » ({bad.height} cellule(s) illisible(s))",
            "si c'est une nouvelle marque, la déclarer dans parse.py ; sinon signaler l'erreur au producteur",
            file=file, sheet=sheet, row=int(first[row]), column=str(first[column]),
        )
