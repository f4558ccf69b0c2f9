"""Filosofi "base cc": one table a level, the year glued to each variable (`TP60AGE118`: class 1, year 2018).

Layouts: `2014` (PRA and PTSAC), `default` (PACT, PTSA and PCHO, since 2015). A member with a sheet is read
from a workbook, one without from a delimited file.
"""

from __future__ import annotations

from collections.abc import Mapping

import fastexcel
import polars as pl

from sources.description import Edition, Source
from sources.tabular import Block, Column, assemble, layout_of, read_member, value_blocks

AGES = ("lt30", "30t39", "40t49", "50t59", "60t74", "ge75")  # of the tax referent, classes 1 to 6

COMMON = {
    "NBMENFISC": "nb_men",
    "NBPERSMENFISC": "nb_pers",
    "MED": "med",
    "PIMP": "pimp",
    "TP60": "tp60",
    **{f"TP60AGE{i}": f"tp60_rf_{age}" for i, age in enumerate(AGES, start=1)},
    "TP60TOL1": "tp60_prop",
    "TP60TOL2": "tp60_loc",
    "PBEN": "pben",
    "PPEN": "ppen",
    "PPAT": "ppat",
    "PPSOC": "ppsoc",
    "PPFAM": "ppfam",
    "PPMINI": "ppmini",
    "PPLOGT": "pplogt",
    "PIMPOT": "pimpot",
    "D1": "d1",
    "D9": "d9",
    "RD": "rd",
}
LAYOUTS = {
    # PTSAC is wages and unemployment benefits together: another concept than PTSA
    "2014": {**COMMON, "PRA": "pact", "PTSAC": "ptsac"},
    "default": {**COMMON, "PACT": "pact", "PTSA": "ptsa", "PCHO": "pcho"},
}

# `table` of a member whose sheet holds another table below, which is not Filosofi and is not read: in 2019,
# three overseas départements and régions from the household budget survey of 2017
ABOVE_OTHERS = "au_dessus"


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per level, code and variable of the edition's year; counts, euros per UC and year, percent.

    An empty cell and `s` are suppressed (Q, A); `nd` is not available, `ns` not significant. A poverty or tax
    rate printed 5 or 95 is a bound: value null, lower and upper filled.
    Raises LayoutError (member, sheet or column missing) and CellError (cell or code that cannot be read).
    """
    columns = columns_of(source, edition)
    required = ["CODGEO", *(c.name for c in columns)]
    books: dict[str, fastexcel.ExcelReader] = {}
    blocks: list[Block] = []
    for member in edition.members:
        below = "ignore" if member.table == ABOVE_OTHERS else "refuse"
        name, frame = read_member(source, edition, member, files, required=required, below=below, books=books)
        blocks += value_blocks(
            source,
            edition,
            frame,
            columns,
            code=pl.col("CODGEO"),
            level=member.level or "COM",
            file=name,
            sheet=member.sheet,
        )
    return assemble(source, edition, blocks)


def columns_of(source: Source, edition: Edition) -> list[Column]:
    """The producer's columns of an edition, in its layout."""
    suffix = f"{edition.data_year % 100:02d}"
    return [
        Column(
            base + suffix, variable, edition.data_year, rate=variable == "pimp" or variable.startswith("tp60")
        )
        for base, variable in layout_of(source, edition, LAYOUTS).items()
    ]
