"""Reading delimited text and workbooks as text, and turning text into typed values. No dataset is named here.

Everything is read as text first, so that marks (`s`, `nd`) and leading zeros survive.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite
from typing import Any, Literal, TypeVar

import fastexcel
import polars as pl

from sources.archive import file_name, json_rows
from sources.description import Edition, Member, Source
from sources.errors import CellError, LayoutError
from sources.schema import LEVELS, VALUES, ConfStatus, Level, ObsStatus

SPACES = ("\u00a0", "\u202f", "\u2009", " ")  # what spreadsheets put between thousands

T = TypeVar("T")

Status = tuple[str, str]  # obs_status, conf_status
NORMAL: Status = ("A", "F")
SECRET: Status = ("Q", "A")  # suppressed by the producer: too few units
NOT_AVAILABLE: Status = ("O", "F")
NOT_SIGNIFICANT: Status = ("N", "F")
NOT_APPLICABLE: Status = ("M", "F")

# The marks French producers write in place of a number.
MARKS: dict[str, Status] = {"s": SECRET, "nd": NOT_AVAILABLE, "ns": NOT_SIGNIFICANT}

OBJECTS = 20_000  # of a JSON file, held as Python's at once: they take thirty times the room of their text
METROPOLE = "FM"  # code of the level METRO, whatever the file calls it
# of Paris, Lyon and Marseille, and of the generated country's city (96001)
ARRONDISSEMENT_MUNICIPAL = r"^(751(0[1-9]|1\d|20)|6938[1-9]|132(0[1-9]|1[0-6])|9698[1-4])$"

# What a code of each level looks like in the COG; shorter digits have lost their leading zeros.
CODE_PATTERNS = {
    "IRIS": r"^(\d{2}|2[AB])\d{7}$",
    "QPV": r"^Q(P(\d{3}|02[AB])\d{3}|N(\d{3}|02[AB])\d{2}[A-Z])$",  # perimeters of 2015, of 2024
    "COM": r"^(\d{2}|2[AB])\d{3}$",
    "ARM": ARRONDISSEMENT_MUNICIPAL,
    "EPCI": r"^2\d{8}$",
    "EPT": r"^2\d{8}$",
    "ARR": r"^((\d{2}|2[AB])\d|97\d{2})$",
    "ZE": r"^\d{4}$",
    "DEP": r"^(\d{2}|2[AB]|97\d)$",
    "REG": r"^\d{2}$",
    "METRO": r"^FM$",
    "FRANCE": r"^F$",
}
CODE_WIDTHS = {
    "IRIS": 9,
    "QPV": 8,
    "COM": 5,
    "ARM": 5,
    "EPCI": 9,
    "EPT": 9,
    "ARR": 3,
    "ZE": 4,
    "DEP": 2,
    "REG": 2,
    "FRANCE": 1,
}


@dataclass(frozen=True)
class Column:
    """What one column of a producer's table becomes: one variable of one year."""

    name: str  # in the file
    variable: str
    year: int
    blank: Status = SECRET  # what an empty cell of this column means
    rate: bool = False  # a rate printed 5 or 95 is a bound: it stands for [0, 5] or [95, 100], then rounded
    scale: float = 1.0  # what the printed figure is multiplied by (100 for a proportion kept in percent)
    step: float = 0.0  # the producer's rounding, which leaves the value between lower and upper
    integer: bool = False  # of a rounded count: 30 rounded to 5 stands for 28 to 32
    possible: tuple[float, float] | None = None  # outside, the figure is a mark, not significant
    marks: Mapping[str, Status] = field(default_factory=dict[str, Status])  # besides MARKS

    @property
    def margin(self) -> float:
        """How far from the printed figure the producer's rounding leaves the true one."""
        return (self.step - 1) / 2 if self.integer else self.step / 2


@dataclass(frozen=True)
class Block:
    """The rows of one variable, year and level, sorted by code, columns VALUES."""

    level: str
    variable: str
    year: int
    rows: pl.DataFrame


# --- from bytes to text -----------------------------------------------------------------------------------


def decode(data: bytes) -> str:
    """UTF-8 (with or without BOM), else cp1252: the two encodings French producers use."""
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252")


def _utf8(data: bytes) -> bytes:
    """The same text in UTF-8, without BOM; the bytes themselves when they already are."""
    plain = data.removeprefix(codecs.BOM_UTF8)
    try:
        plain.decode("utf-8")
    except UnicodeDecodeError:
        return decode(data).encode("utf-8")
    return plain


def member_data(
    source: Source, edition: Edition, member: Member, files: Mapping[str, bytes]
) -> tuple[str, bytes]:
    """Name and bytes of a member. Raises LayoutError when it is not among `files`."""
    name = member.path or file_name(edition)
    if name not in files:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"le fichier « {name} »",
            f"les fichiers {sorted(files)}",
            f"corriger `members` dans sources/{source.source_id}/description.yaml",
        )
    return name, files[name]


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
    kept (those present). Row n of the frame is line n + 2 of the file. Raises LayoutError when the file is
    not such a table or a required column is missing.
    """
    plain = _utf8(data).rstrip(b"\r\n")  # blank lines at the end say nothing
    if separator is None:
        separator = max(";\t,", key=plain.split(b"\n", 1)[0].decode().count)
    try:
        lines = pl.scan_csv(plain, separator=separator, infer_schema=False, null_values=[""])
        names = lines.collect_schema().names()
        check_columns(source, edition, names, required, file=name, row=1)
        keep = set(names if columns is None else columns)
        # in batches, each whole: told which columns it needs, polars would no longer see a line that is too long
        frame = lines.select([c for c in names if c in keep]).collect(
            engine="streaming", optimizations=pl.QueryOptFlags(projection_pushdown=False)
        )
    except pl.exceptions.PolarsError as error:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"un fichier délimité par « {separator} »",
            str(error).splitlines()[0],
            "comparer le fichier à la description ; le producteur a pu en changer",
            file=name,
        ) from error
    return frame


def read_parquet(
    source: Source, edition: Edition, data: bytes, *, name: str, required: Sequence[str]
) -> pl.DataFrame:
    """The required columns of a Parquet file as text, the line number in `row`. Raises LayoutError without one."""
    try:
        check_columns(source, edition, pl.read_parquet_schema(io.BytesIO(data)), required, file=name)
        frame = pl.read_parquet(io.BytesIO(data), columns=list(dict.fromkeys(required)))
    except pl.exceptions.PolarsError as error:
        raise LayoutError(
            source.source_id,
            edition.edition,
            "un fichier Parquet lisible",
            str(error).splitlines()[0],
            "télécharger de nouveau ; sinon prévenir le producteur",
            file=name,
        ) from error
    return frame.cast(pl.String).with_row_index("row", offset=1)


def read_json(
    source: Source, edition: Edition, data: bytes, *, name: str, required: Iterable[str]
) -> pl.DataFrame:
    """Objects of JSON as a frame of text columns, their line number in `row`; what is nested is brought up.

    Of an observation of Melodi (dimensions, attributes, measures), the columns are those of the same dataset's CSV:
    GEO `2025-COM-91286` gives GEO 91286 and GEO_OBJECT COM, its measure OBS_VALUE, whatever it is called.
    Raises BodyRefusedError when it is no such thing, LayoutError when a required column is missing.
    """
    rows = map(_flat, json_rows(source, edition, data))
    parts: list[pl.DataFrame] = []
    while some := list(islice(rows, OBJECTS)):
        columns = dict.fromkeys(c for row in some for c in row)
        parts.append(pl.DataFrame(some, schema=dict.fromkeys(columns, pl.String)))
    frame = pl.concat(parts, how="diagonal")
    check_columns(source, edition, frame.columns, required, file=name)
    return frame.with_row_index("row", offset=1)


def _flat(row: Mapping[str, Any]) -> dict[str, str | None]:
    """The cells of one object, as text."""
    cells = {k: v for k, v in row.items() if k not in ("dimensions", "attributes", "measures")}
    for part in ("dimensions", "attributes"):
        cells |= row.get(part) or {}
    if row.get("dimensions"):
        measures = [m for m in (row.get("measures") or {}).values() if m]
        cells["OBS_VALUE"] = measures[0].get("value") if measures else None
        found = re.fullmatch(r"\d{4}-([A-Z0-9]+)-(\w+)", str(cells.get("GEO")))
        if found:
            cells |= {"GEO_OBJECT": found[1], "GEO": found[2]}
    return {k: _text(v) for k, v in cells.items()}


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def open_workbook(source: Source, edition: Edition, data: bytes, *, name: str) -> fastexcel.ExcelReader:
    """A workbook (.xls or .xlsx), to be given to `read_sheet` as many times as it has sheets to read.

    Raises LayoutError when it is not one.
    """
    try:
        return fastexcel.read_excel(data)
    except fastexcel.FastExcelError as error:
        raise LayoutError(
            source.source_id,
            edition.edition,
            "un classeur Excel lisible",
            str(error).splitlines()[0],
            "télécharger de nouveau ; sinon prévenir le producteur",
            file=name,
        ) from error


def read_sheet(
    source: Source,
    edition: Edition,
    data: bytes | fastexcel.ExcelReader,
    *,
    name: str,
    sheet: str,
    header_cell: str,
    required: Iterable[str],
    below: Literal["ignore", "refuse"] = "ignore",
    title: str | None = None,
    units_row: bool = False,
) -> pl.DataFrame:
    """A worksheet as text, from the row whose first cell is `header_cell` down to the first empty first cell.

    `title`: first cell of a row above, which tells one table of the sheet from those before it. `units_row`: the
    row under the header says the units, whatever its first cell. What stands below
    that empty cell (a second table, a note) is not read; `below="refuse"` makes it an error, so that a hole in a
    table cannot hide its end. Columns without a name are dropped. Column `row` is the line number in the sheet.
    Raises LayoutError when the sheet, the header or a required column is missing, or a column is named twice.
    """
    grid = sheet_grid(source, edition, data, name=name, sheet=sheet)
    first = grid.to_series(0)
    above = (first == title).arg_true().to_list() if title else [-1]
    starts = [row for row in (first == header_cell).arg_true().to_list() if len(above) == 1 and row > above[0]]
    if not starts:
        under = f" sous le titre « {title} », présent une fois" if title else ""
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"une ligne d'en-tête commençant par « {header_cell} »{under}",
            f"première colonne : {first.head(8).to_list()}",
            "vérifier la mise en page de la feuille",
            file=name,
            sheet=sheet,
        )
    names = {i: h for i, h in enumerate(grid.row(starts[0])) if h}
    check_columns(source, edition, list(names.values()), required, file=name, sheet=sheet, row=starts[0] + 1)
    start = starts[0] + units_row
    body = grid.slice(start + 1)
    blanks = body.to_series(0).is_null().arg_true()
    if blanks.len():
        rest = body.slice(int(blanks[0])).to_series(0)
        body = body.head(int(blanks[0]))
        if below == "refuse" and rest.null_count() < rest.len():
            found = int(rest.is_not_null().arg_true()[0])
            raise LayoutError(
                source.source_id,
                edition.edition,
                "une feuille d'un seul tableau, sans ligne vide",
                f"« {rest[found]} » sous une ligne vide",
                "si c'est un second tableau, le déclarer par `table`",
                file=name,
                sheet=sheet,
                row=start + 2 + body.height + found,
            )
    frame = body.select([pl.col(body.columns[i]).alias(h) for i, h in names.items()])
    return frame.with_row_index("row", offset=start + 2)


def sheet_grid(
    source: Source, edition: Edition, data: bytes | fastexcel.ExcelReader, *, name: str, sheet: str
) -> pl.DataFrame:
    """All cells of a sheet as text, without header; trailing empty columns are kept."""
    book = open_workbook(source, edition, data, name=name) if isinstance(data, bytes) else data
    if sheet not in book.sheet_names:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"une feuille « {sheet} »",
            f"feuilles {book.sheet_names}",
            "corriger `sheet` dans description.yaml",
            file=name,
        )
    return book.load_sheet_by_name(sheet, header_row=None, dtypes="string").to_polars()


def read_member(
    source: Source,
    edition: Edition,
    member: Member,
    files: Mapping[str, bytes],
    *,
    required: Sequence[str],
    header_cell: str = "CODGEO",
    below: Literal["ignore", "refuse"] = "refuse",
    books: dict[str, fastexcel.ExcelReader] | None = None,
) -> tuple[str, pl.DataFrame]:
    """File name and table of a member: its sheet where it has one, else the whole delimited file.

    Only the required columns are kept, with the line number in `row`. `books` keeps workbooks open from one
    sheet to the next. Raises LayoutError when the file, sheet or a column is missing.
    """
    name, data = member_data(source, edition, member, files)
    if member.sheet is None:
        frame = read_delimited(source, edition, data, name=name, required=required, columns=required)
        return name, frame.with_row_index("row", offset=2)
    books = {} if books is None else books
    if name not in books:
        books[name] = open_workbook(source, edition, data, name=name)
    frame = read_sheet(
        source,
        edition,
        books[name],
        name=name,
        sheet=member.sheet,
        header_cell=header_cell,
        required=required,
        below=below,
    )
    return name, frame.select("row", *required)


def layout_of(source: Source, edition: Edition, layouts: Mapping[str, T]) -> T:
    """What a parser knows of the edition's layout. Raises LayoutError when it knows none of that name."""
    if edition.layout not in layouts:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"une des mises en page {sorted(layouts)}",
            f"« {edition.layout} »",
            f"corriger `layout` dans sources/{source.source_id}/description.yaml",
        )
    return layouts[edition.layout]


def check_columns(
    source: Source,
    edition: Edition,
    found: Iterable[str],
    required: Iterable[str],
    *,
    file: str,
    sheet: str | None = None,
    row: int | None = None,
) -> None:
    """Raises LayoutError naming the missing columns, or those that are there twice."""
    present = list(found)
    missing = [c for c in required if c not in present]
    double = sorted({c for c in present if present.count(c) > 1}) if len(set(present)) < len(present) else []
    if missing or double:
        expected = f"les colonnes {missing}" if missing else f"une seule colonne {double}"
        raise LayoutError(
            source.source_id,
            edition.edition,
            expected,
            f"les colonnes {present[:40]}",
            "adapter la correspondance des colonnes de cette édition dans description.yaml ou parse.py",
            file=file,
            sheet=sheet,
            row=row,
        )


# --- from text to numbers ---------------------------------------------------------------------------------


def number(column: pl.Expr | str) -> pl.Expr:
    """Text to Float64: decimal point or comma, spaces between thousands, exponents. Null when unreadable."""
    text = pl.col(column) if isinstance(column, str) else column
    plain = text.str.replace_many([*SPACES, ","], [*("" for _ in SPACES), "."])
    value = plain.cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)


def refuse_unreadable(
    source: Source,
    edition: Edition,
    frame: pl.DataFrame,
    *,
    text: str,
    value: str,
    row: str,
    column: str | pl.Expr,
    file: str,
    sheet: str | None = None,
) -> None:
    """Raises CellError for the first row whose `text` is neither null nor read as `value`.

    `frame` holds only cells that are not known marks. `row` names the column of `frame` with the line number;
    `column` is the producer's column name, or an expression that gives it.
    """
    bad = frame.filter(pl.col(text).is_not_null() & pl.col(value).is_null())
    if bad.height:
        named = bad.select(column).item(0, 0) if isinstance(column, pl.Expr) else column
        raise CellError(
            source.source_id,
            edition.edition,
            "un nombre ou une marque connue du producteur",
            f"« {bad[text][0]} » ({bad.height} cellule(s) illisible(s))",
            "si c'est une nouvelle marque, la déclarer dans parse.py ; sinon signaler l'erreur au producteur",
            file=file,
            sheet=sheet,
            row=int(bad[row][0]),
            column=str(named),
        )


# --- from tables to values --------------------------------------------------------------------------------


def coded(
    source: Source,
    edition: Edition,
    frame: pl.DataFrame,
    code: pl.Expr,
    *,
    level: str,
    file: str,
    sheet: str | None = None,
) -> pl.DataFrame:
    """The table with its territories' codes in `code`, sorted by it; `frame` has the line number in `row`.

    Codes that lost their leading zeros get them back. Raises CellError for a code that the level cannot have,
    LayoutError for a code found twice.
    """
    full = pl.lit(METROPOLE) if level == "METRO" else code.str.strip_chars().str.zfill(CODE_WIDTHS[level])
    frame = frame.with_columns(full.alias("code")).sort("code", "row")
    pattern = CODE_PATTERNS[level]
    bad = frame.filter(~pl.col("code").str.contains(pattern).fill_null(False)).sort("row")
    if bad.height:
        raise CellError(
            source.source_id,
            edition.edition,
            f"un code de niveau {level}",
            f"« {bad['code'][0]} » ({bad.height} code(s) refusé(s))",
            "vérifier le niveau du membre dans description.yaml, ou les lignes ajoutées par le producteur",
            file=file,
            sheet=sheet,
            row=int(bad["row"][0]),
            column="code",
        )
    double = frame.filter(pl.col("code").is_duplicated())
    if double.height:
        raise LayoutError(
            source.source_id,
            edition.edition,
            "une ligne par territoire",
            f"le code {double['code'][0]} en double",
            "prévenir le producteur ; la ligne de trop est à déclarer",
            file=file,
            sheet=sheet,
            row=int(double["row"][1]),
        )
    return frame


def value_blocks(
    source: Source,
    edition: Edition,
    frame: pl.DataFrame,
    columns: Sequence[Column],
    *,
    code: pl.Expr,
    level: str,
    file: str,
    sheet: str | None = None,
) -> list[Block]:
    """The cells of a text table (line number in `row`), one block a column and a level.

    Among communes, arrondissements municipaux get their own level (ARM), so that a city is never there twice.
    Raises CellError at the first cell that is neither a number, nor empty, nor a known mark, and as `coded`.
    """
    frame = coded(source, edition, frame, code, level=level, file=file, sheet=sheet)
    parts = [(level, frame)]
    if level == "COM":
        municipal = pl.col("code").str.contains(ARRONDISSEMENT_MUNICIPAL)
        parts = [("COM", frame.filter(~municipal)), ("ARM", frame.filter(municipal))]
    return [
        Block(part_level, column.variable, column.year, rows)
        for part_level, part in parts
        if part.height
        for column in columns
        for rows in [_cells(source, edition, part, column, level=part_level, file=file, sheet=sheet)]
    ]


def _cells(
    source: Source,
    edition: Edition,
    frame: pl.DataFrame,
    column: Column,
    *,
    level: str,
    file: str,
    sheet: str | None,
) -> pl.DataFrame:
    """One column of a table as rows of VALUES."""
    text = frame[column.name]
    plain = text.cast(pl.Float64, strict=False)
    cells = frame.select("code", "row", text=text, value=plain, mark=pl.lit(None, pl.String))
    if plain.null_count() > text.null_count() or not isfinite(plain.sum()):  # a cell is no number
        mark = pl.when(pl.col("text").is_in([*MARKS, *column.marks])).then(pl.col("text"))
        cells = cells.with_columns(mark=mark).with_columns(
            value=pl.when(pl.col("mark").is_null()).then(number("text"))
        )
        refuse_unreadable(
            source,
            edition,
            cells.filter(pl.col("mark").is_null()),
            text="text",
            value="value",
            row="row",
            column=column.name,
            file=file,
            sheet=sheet,
        )
    if column.scale != 1.0:
        cells = cells.with_columns((pl.col("value") * column.scale).round(10))
    if column.possible is not None:
        outside = ~pl.col("value").is_between(*column.possible).fill_null(True)
        cells = cells.with_columns(
            mark=pl.when(outside).then("text").otherwise("mark"), value=pl.when(~outside).then("value")
        )
    return _statuses(cells, column, level)


def _statuses(cells: pl.DataFrame, column: Column, level: str) -> pl.DataFrame:
    """Statuses and certain bounds beside each value of one column."""
    value, mark = pl.col("value"), pl.col("mark")
    low, high = (value == 5, value == 95) if column.rate else (pl.lit(False), pl.lit(False))
    bounded = low | high
    # printed after rounding, to the point for a commune: 5 may be 5.4 there (Paris, owners, 2019), 5.04 elsewhere
    half = 0.5 if level in ("COM", "ARM") else 0.05
    margin = column.margin
    rounded = pl.lit(margin > 0) & value.is_not_null()
    least, most = column.possible or (0.0, None)
    marks = {**MARKS, **column.marks} if cells["mark"].null_count() < cells.height else {}

    def status(of: int, kind: pl.Enum) -> pl.Expr:
        chosen = pl.when(bounded).then(pl.lit(SECRET[of])).when(value.is_not_null()).then(pl.lit(NORMAL[of]))
        for known, statuses in marks.items():
            chosen = chosen.when(mark == known).then(pl.lit(statuses[of]))
        if column.possible is not None:
            chosen = chosen.when(mark.is_not_null()).then(pl.lit(NOT_SIGNIFICANT[of]))
        return chosen.otherwise(pl.lit(column.blank[of])).cast(kind)

    return cells.select(
        level=pl.lit(level, Level),
        code="code",
        year=pl.lit(column.year, pl.Int16),
        variable=pl.lit(column.variable, pl.Categorical),
        value=pl.when(~bounded).then(value),
        lower=pl.when(low).then(0.0).when(high).then(95.0 - half).when(rounded).then((value - margin).clip(least)),
        upper=pl.when(low)
        .then(5.0 + half)
        .when(high)
        .then(100.0)
        .when(rounded)
        .then((value + margin).clip(None, most)),
        obs_status=status(0, ObsStatus),
        conf_status=status(1, ConfStatus),
        mark=pl.when(low)
        .then(pl.lit("5"))
        .when(high)
        .then(pl.lit("95"))
        .otherwise(mark)
        .cast(pl.Categorical),
        masked_parts=pl.lit(None, pl.Int32),
    )


def assemble(source: Source, edition: Edition, blocks: Sequence[Block]) -> pl.DataFrame:
    """All blocks of an edition as one frame, columns VALUES, sorted by level, variable, year, code.

    Raises LayoutError when two tables give the same variable, or none gives any.
    """
    keys = [(LEVELS.index(b.level), b.variable, b.year) for b in blocks]
    double = sorted({k for k in keys if keys.count(k) > 1})
    if double or not blocks:
        level, variable, year = double[0] if double else (0, "", 0)
        raise LayoutError(
            source.source_id,
            edition.edition,
            "chaque variable une fois par niveau et par année",
            f"{variable} {year} deux fois au niveau {LEVELS[level]}" if double else "aucune variable",
            "corriger `members` dans description.yaml",
        )
    order = sorted(range(len(blocks)), key=keys.__getitem__)
    return pl.concat([blocks[i].rows for i in order]).cast(VALUES)  # pyright: ignore[reportArgumentType]
