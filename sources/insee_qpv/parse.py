"""Lists of QPV and of their communes, `;` text. Layouts: `default`, INSEE's figures by QPV, communes by name
separated by commas; `codes`, the list of 2024, communes by code separated by semicolons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from sources.description import Edition, Source
from sources.schema import QPV
from sources.tabular import CODE_WIDTHS, coded, layout_of, read_delimited


@dataclass(frozen=True)
class _Columns:
    code: str
    name: str  # of the district; in some editions only
    communes: str
    separator: str


LAYOUTS = {
    "default": _Columns("CODGEO", "LIBGEO", "LIB_COM", ","),
    "codes": _Columns("code_qp", "lib_qp", "insee_com", ";"),
}
TOTAL = "Ensemble"  # code of the line of all QPV together


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per QPV and commune (name or code); one row with neither where the file gives no commune.

    Raises LayoutError when a column is missing or a QPV is listed twice, CellError for a code that is not a QPV's.
    """
    columns = layout_of(source, edition, LAYOUTS)
    ((file, data),) = files.items()
    required = [columns.code, columns.communes]
    raw = read_delimited(
        source, edition, data, name=file, required=required, columns=[*required, columns.name], separator=";"
    )
    code = pl.col(columns.code)
    frame = raw.with_row_index("row", offset=2).filter(code.is_not_null() & (code != TOTAL))
    frame = coded(source, edition, frame, code, level="QPV", file=file)
    name = _text(columns.name) if columns.name in frame.columns else pl.lit(None, pl.String)
    places = frame.select("code", name=name, place=pl.col(columns.communes).str.split(columns.separator))
    places = places.explode("place").with_columns(place=_text("place")).unique(maintain_order=True)
    by_code = edition.layout == "codes"
    return places.select(
        "code",
        "name",
        commune_name=pl.lit(None, pl.String) if by_code else "place",
        commune=pl.col("place").str.zfill(CODE_WIDTHS["COM"]) if by_code else pl.lit(None, pl.String),
    ).cast(QPV)  # pyright: ignore[reportArgumentType]


def _text(column: str) -> pl.Expr:
    """The cell without spaces around it nor twice in a row; null when nothing is left."""
    plain = pl.col(column).str.replace_all(r"\s+", " ").str.strip_chars()
    return pl.when(plain != "").then(plain)
