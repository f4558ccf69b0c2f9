"""Events on communes: a line per (before, after) pair from 2019 on, a line per commune concerned to 2018."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import CellError
from sources.schema import EVENTS
from sources.tabular import check_columns, read_delimited

COLUMNS = {
    "TYPECOM_AV": "type_before",
    "COM_AV": "code_before",
    "LIBELLE_AV": "name_before",
    "TYPECOM_AP": "type_after",
    "COM_AP": "code_after",
    "LIBELLE_AP": "name_after",
}


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per line of the file, exact duplicates removed, in the order of the file.

    Either side is null when there was no commune before (creation) or after (loss). Each side is a commune
    (COM), an associated (COMA) or delegated one (COMD), or an arrondissement municipal (ARM). Raises
    LayoutError when a column is missing, CellError when a date or a code of event is not readable.
    """
    ((name, data),) = files.items()
    raw = read_delimited(source, edition, data, name=name, required=())
    raw = raw.rename({c: c.upper() for c in raw.columns})
    frame = (
        _old(source, edition, raw, name)
        if edition.layout == "historique"
        else _new(source, edition, raw, name)
    )
    return frame.unique(maintain_order=True).cast(EVENTS)  # pyright: ignore[reportArgumentType]


def _new(source: Source, edition: Edition, raw: pl.DataFrame, name: str) -> pl.DataFrame:
    check_columns(source, edition, raw.columns, ["MOD", "DATE_EFF", *COLUMNS], file=name, row=1)
    frame = raw.with_row_index("line", offset=2).with_columns(
        mod=pl.col("MOD").cast(pl.Int16, strict=False), date=_date(pl.col("DATE_EFF"), edition.data_year)
    )
    _refuse_null(source, edition, frame, name, {"mod": "MOD", "date": "DATE_EFF"})
    return frame.select("mod", "date", **{new: pl.col(old) for old, new in COLUMNS.items()})


def _date(text: pl.Expr, data_year: int) -> pl.Expr:
    """2021-12-31, 31-12-2017, or 31/12/19 where a year after the edition's is of the century before."""
    iso = text.str.to_date("%Y-%m-%d", strict=False)
    dashed = text.str.to_date("%d-%m-%Y", strict=False)
    day, month, year = (text.str.extract(r"^(\d\d)/(\d\d)/(\d\d)$", i).cast(pl.Int32) for i in (1, 2, 3))
    full = year + pl.when(year > data_year % 100).then(1900).otherwise(2000)
    return pl.coalesce(
        iso, dashed, pl.when(text.str.contains(r"^\d\d/\d\d/\d\d$")).then(pl.date(full, month, day))
    )


def _refuse_null(
    source: Source, edition: Edition, frame: pl.DataFrame, name: str, columns: Mapping[str, str]
) -> None:
    for column, original in columns.items():
        bad = frame.filter(pl.col(column).is_null())
        if bad.height:
            raise CellError(
                source.source_id,
                edition.edition,
                "une date ou un code d'événement",
                f"« {bad[original][0]} » ({bad.height} ligne(s))",
                "ajouter ce format à parse.py",
                file=name,
                row=int(bad["line"][0]),
                column=original,
            )


# MOD of the files to 2018: the commune of the line joins COMECH; it absorbs others; it is restored or
# created out of COMECH; it comes from another département, where its code was DEPANC. Other lines repeat
# these from the other commune's side, or concern names, associated and delegated communes, arrondissements
# and cantons.
JOINS = ["310", "311", "330", "331"]
STAYS = ["320", "340"]
LEAVES = ["200", "210"]
MOVES = ["410", "411"]


def _old(source: Source, edition: Edition, raw: pl.DataFrame, name: str) -> pl.DataFrame:
    """Moves between communes only, with the old codes of event (three digits); one name a line is known.

    Transfers of the chef-lieu that change the code have no line there (28361, 49101, 49149, 14697 between
    2014 and 2018), so these files are kept for the record and the passage is computed from a file of 2019
    on.
    """
    needed = ["DEP", "COM", "EFF", "MOD", "COMECH", "DEPANC", "NCCOFF"]
    check_columns(source, edition, raw.columns, needed, file=name, row=1)
    mod, commune = pl.col("MOD"), pl.col("DEP") + pl.col("COM")
    joins, stays, leaves = mod.is_in(JOINS), mod.is_in(STAYS), mod.is_in(LEAVES)
    frame = (
        raw.with_row_index("line", offset=2)
        .filter(joins | stays | leaves | mod.is_in(MOVES))
        .select(
            "line",
            "EFF",
            "NCCOFF",
            mod=mod.cast(pl.Int16),
            date=_date(pl.col("EFF"), edition.data_year),
            commune=commune,
            leaves=leaves,
            code_before=pl.when(joins | stays).then(commune).when(leaves).then("COMECH").otherwise("DEPANC"),
            code_after=pl.when(joins).then("COMECH").otherwise(commune),
        )
    )
    _refuse_null(source, edition, frame, name, {"date": "EFF"})
    parent = frame.filter("leaves", pl.col("code_before").is_not_null()).with_columns(
        code_after="code_before"
    )

    def of_line(code: str) -> pl.Expr:
        return pl.when(pl.col(code) == pl.col("commune")).then("NCCOFF")

    return pl.concat([frame, parent]).select(
        "mod",
        "date",
        type_before=pl.when(pl.col("code_before").is_not_null()).then(pl.lit("COM")),
        code_before="code_before",
        name_before=of_line("code_before"),
        type_after=pl.lit("COM"),
        code_after="code_after",
        name_after=of_line("code_after"),
    )
