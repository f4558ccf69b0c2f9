"""IRIS of a geography year (sheet Emboitements_IRIS) and their changes over five years (Modifications_IRIS)."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import CellError
from sources.schema import IRIS, IRIS_CHANGES
from sources.tabular import CODE_PATTERNS, coded, read_member

UNDIVIDED = "Z"  # type of the IRIS that is a whole commune; its code ends in 0000


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """The table that the member declares: `iris`, one row per IRIS, or `modifications`, one row per pair of IRIS
    that share a piece of land across a change.

    Raises LayoutError when a sheet or a column is missing or an IRIS is listed twice, CellError for a code, a type
    or a year that cannot be.
    """
    (member,) = edition.members
    if member.table == "modifications":
        columns = ["ANNEE_MODIF", "IRIS_INI", "IRIS_FIN"]
        name, frame = read_member(source, edition, member, files, required=columns, header_cell=columns[0])
        patterns = {"ANNEE_MODIF": r"^\d{4}$", "IRIS_INI": CODE_PATTERNS["IRIS"], "IRIS_FIN": CODE_PATTERNS["IRIS"]}
        for column, pattern in patterns.items():
            expected = "une année" if column == columns[0] else "un code d'IRIS"
            known = pl.col(column).str.contains(pattern)
            _refuse(source, edition, frame, known, column=column, expected=expected, name=name, sheet=member.sheet)
        changes = frame.select(year="ANNEE_MODIF", before="IRIS_INI", after="IRIS_FIN").unique(maintain_order=True)
        return changes.cast(IRIS_CHANGES)  # pyright: ignore[reportArgumentType]
    columns = ["CODE_IRIS", "LIB_IRIS", "TYP_IRIS", "DEPCOM"]
    name, frame = read_member(source, edition, member, files, required=columns, header_cell=columns[0])
    frame = coded(source, edition, frame, pl.col("CODE_IRIS"), level="IRIS", file=name, sheet=member.sheet)
    whole = pl.col("code").str.ends_with("0000") == (pl.col("TYP_IRIS") == UNDIVIDED)
    rules = {
        "TYP_IRIS": (
            pl.col("TYP_IRIS").is_in(list(IRIS["type"].categories)) & whole,
            "H, A ou D, ou Z pour un code en 0000",
        ),
        "DEPCOM": (pl.col("code").str.head(5) == pl.col("DEPCOM"), "les cinq premiers caractères de l'IRIS"),
    }
    for column, (holds, expected) in rules.items():
        _refuse(source, edition, frame, holds, column=column, expected=expected, name=name, sheet=member.sheet)
    listed = frame.select("code", name="LIB_IRIS", type="TYP_IRIS", commune="DEPCOM")
    return listed.cast(IRIS)  # pyright: ignore[reportArgumentType]


def _refuse(
    source: Source,
    edition: Edition,
    frame: pl.DataFrame,
    holds: pl.Expr,
    *,
    column: str,
    expected: str,
    name: str,
    sheet: str | None,
) -> None:
    bad = frame.filter(~holds.fill_null(False)).sort("row")
    if bad.height:
        raise CellError(
            source.source_id,
            edition.edition,
            expected,
            f"« {bad[column][0]} » ({bad.height} ligne(s))",
            "comparer le classeur à celui de l'année précédente ; sinon prévenir l'Insee",
            file=name,
            sheet=sheet,
            row=int(bad["row"][0]),
            column=column,
        )
