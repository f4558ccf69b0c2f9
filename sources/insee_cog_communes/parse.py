"""Communes of a COG: TAB text with one row per canton fraction to 2018, one row per code from 2019 on."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import CellError, LayoutError
from sources.schema import COMMUNES
from sources.tabular import check_columns, read_delimited

# ACTUAL of the text files. 3 (no longer a commune), 4 (code before a change of département) and 9 (canton
# fraction of a commune already listed) are not units of that COG.
ACTUAL = {"1": "COM", "2": "COMA", "5": "ARM", "6": "COMD"}
NOT_UNITS = ("3", "4", "9")


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per commune, associated or delegated commune and arrondissement municipal on 1 January.

    Départements and régions of associated and delegated communes are null where INSEE leaves them out.
    Raises LayoutError when a column is missing, CellError on an unknown type or a code listed twice.
    """
    ((name, data),) = files.items()
    raw = read_delimited(source, edition, data, name=name, required=())
    raw = raw.rename({c: c.upper() for c in raw.columns})
    frame = (
        _text(source, edition, raw, name) if edition.layout == "texte" else _csv(source, edition, raw, name)
    )
    _refuse_double(source, edition, frame, name)
    return frame.cast(COMMUNES)  # pyright: ignore[reportArgumentType]


def _text(source: Source, edition: Edition, raw: pl.DataFrame, name: str) -> pl.DataFrame:
    needed = ["ACTUAL", "REG", "DEP", "COM", "AR", "POLE", "ARTMIN", "NCCENR"]
    check_columns(source, edition, raw.columns, needed, file=name, row=1)
    _refuse_unknown(source, edition, raw, "ACTUAL", [*ACTUAL, *NOT_UNITS], name)
    article = pl.col("ARTMIN").str.strip_chars("()")
    elided = article.str.ends_with("'")
    return raw.filter(pl.col("ACTUAL").is_in(list(ACTUAL))).select(
        typecom=pl.col("ACTUAL").replace_strict(ACTUAL),
        code=pl.col("DEP") + pl.col("COM"),
        name=pl.when(article.is_null())
        .then(pl.col("NCCENR"))
        .when(elided)
        .then(article + pl.col("NCCENR"))
        .otherwise(article + pl.lit(" ") + pl.col("NCCENR")),
        departement="DEP",
        region="REG",
        arrondissement=pl.col("DEP") + pl.col("AR"),
        parent="POLE",
    )


def _csv(source: Source, edition: Edition, raw: pl.DataFrame, name: str) -> pl.DataFrame:
    needed = ["TYPECOM", "COM", "REG", "DEP", "ARR", "LIBELLE", "COMPARENT"]
    check_columns(source, edition, raw.columns, needed, file=name, row=1)
    _refuse_unknown(source, edition, raw, "TYPECOM", list(ACTUAL.values()), name)
    return raw.select(
        typecom="TYPECOM",
        code="COM",
        name="LIBELLE",
        departement="DEP",
        region="REG",
        arrondissement="ARR",
        parent="COMPARENT",
    )


def _refuse_unknown(
    source: Source, edition: Edition, raw: pl.DataFrame, column: str, known: list[str], name: str
) -> None:
    bad = raw.with_row_index("line", offset=2).filter(~pl.col(column).is_in(known) | pl.col(column).is_null())
    if bad.height:
        raise CellError(
            source.source_id,
            edition.edition,
            f"un type parmi {known}",
            f"« {bad[column][0]} »",
            "si l'INSEE a créé un type, dire dans parse.py s'il désigne une commune",
            file=name,
            row=int(bad["line"][0]),
            column=column,
        )


def _refuse_double(source: Source, edition: Edition, frame: pl.DataFrame, name: str) -> None:
    double = frame.filter(frame.select("typecom", "code").is_duplicated() | pl.col("code").is_null())
    if double.height:
        raise LayoutError(
            source.source_id,
            edition.edition,
            "un code par commune et par type",
            f"{double.height} lignes en double ou sans code, dont {double['code'].head(5).to_list()}",
            "vérifier que le fichier est bien une liste à une seule date",
            file=name,
        )
