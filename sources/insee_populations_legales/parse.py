"""Populations légales: a workbook with a sheet a level, or a delimited file of communes in two layouts.

Layouts: `classeur`; `csv_codcom` (commune in three digits beside its département; `COM` is its name);
`csv_com` (`COM` is the whole code). Overseas collectivities have their own sheet, which is not read: they are
not communes of a département.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import fastexcel
import polars as pl

from sources.description import Edition, Source
from sources.tabular import (
    NOT_AVAILABLE,
    Block,
    Column,
    assemble,
    layout_of,
    read_member,
    value_blocks,
)

VARIABLES = ("pmun", "pcap", "ptot")  # municipal, counted apart, total


@dataclass(frozen=True)
class Layout:
    """Columns of the code (joined: département then commune) and of the populations, by level."""

    codes: dict[str, tuple[str, ...]]
    populations: dict[str, tuple[str, ...]]
    header_cell: str = ""


MUNICIPAL, APART, TOTAL = "Population municipale", "Population comptée à part", "Population totale"
LAYOUTS = {
    "classeur": Layout(
        codes={
            "COM": ("Code département", "Code commune"),
            "DEP": ("Code département",),
            "REG": ("Code région",),
        },
        populations={"COM": (MUNICIPAL, APART, TOTAL), "DEP": (MUNICIPAL, TOTAL), "REG": (MUNICIPAL, TOTAL)},
        header_cell="Code région",
    ),
    "csv_codcom": Layout(codes={"COM": ("CODDEP", "CODCOM")}, populations={"COM": ("PMUN", "PCAP", "PTOT")}),
    "csv_com": Layout(codes={"COM": ("COM",)}, populations={"COM": ("PMUN", "PCAP", "PTOT")}),
}
NAMES = {"PMUN": "pmun", "PCAP": "pcap", "PTOT": "ptot", MUNICIPAL: "pmun", APART: "pcap", TOTAL: "ptot"}
WHOLE_CITIES = ("13055", "69123", "75056", "96001")  # the last is the generated country's


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per territory and variable (inhabitants), year of the census.

    Paris, Lyon and Marseille come by arrondissement, and as a whole only where the file has them whole (2021:
    the municipal population alone; the cells left empty there give no row).
    Raises LayoutError (member, sheet or column missing) and CellError (cell or code that cannot be read).
    """
    layout = layout_of(source, edition, LAYOUTS)
    books: dict[str, fastexcel.ExcelReader] = {}
    blocks: list[Block] = []
    for member in edition.members:
        level = member.level or "COM"
        codes, populations = layout.codes[level], layout.populations[level]
        name, frame = read_member(
            source,
            edition,
            member,
            files,
            required=list(dict.fromkeys([*codes, *populations])),
            header_cell=layout.header_cell,
            books=books,
        )
        blocks += value_blocks(
            source,
            edition,
            frame,
            [Column(c, NAMES[c], edition.data_year, NOT_AVAILABLE) for c in populations],
            code=_code(codes),
            level=level,
            file=name,
            sheet=member.sheet,
        )
    absent = pl.col("code").is_in(WHOLE_CITIES) & pl.col("value").is_null()
    kept = [Block(b.level, b.variable, b.year, b.rows.filter(~absent)) for b in blocks]
    return assemble(source, edition, kept)


def _code(columns: tuple[str, ...]) -> pl.Expr:
    """The code of a territory; overseas, 974 and 423 make 97423."""
    if len(columns) == 1:
        return pl.col(columns[0])
    departement, commune = columns
    return pl.col(departement).str.zfill(2).str.slice(0, 2) + pl.col(commune).str.zfill(3)
