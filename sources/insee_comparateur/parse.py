"""Comparateur de territoires: one wide table of communes and arrondissements, several sources and years.

The address is re-used for every edition, and years are part of the columns' names (`P18_POP`, `P13_POP`,
`NAISD20`, `TP6019`): they are read from the header, and the census year is checked against the description.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import LayoutError
from sources.schema import ConfStatus, ObsStatus
from sources.tabular import (
    NOT_AVAILABLE,
    SECRET,
    Block,
    Column,
    assemble,
    member_data,
    read_delimited,
    value_blocks,
)

CENSUS = {
    "POP": "pop",
    "MEN": "men",
    "LOG": "log",
    "RP": "rp",
    "RSECOCC": "rsecocc",
    "LOGVAC": "logvac",
    "RP_PROP": "rp_prop",
    "EMPLT": "emplt",
    "EMPLT_SAL": "emplt_sal",
    "POP1564": "pop1564",
    "CHOM1564": "chom1564",
    "ACT1564": "act1564",
}
CIVIL = {"NAISD": "naissances", "DECESD": "deces"}  # domiciled, of one year
PERIOD = {
    "NAIS": "naissances_periode",
    "DECE": "deces_periode",
}  # between two censuses, year of the last
FILOSOFI = {"NBMENFISC": "nb_men", "PIMP": "pimp", "MED": "med", "TP60": "tp60"}
OUTSIDE_FILOSOFI = r"^97[136]"  # Guadeloupe, Guyane, Mayotte: an empty cell is no secret
FORMS = (
    (r"P(?P<year>\d\d)_(?P<base>{})", CENSUS, NOT_AVAILABLE),
    (r"(?P<base>{})(?P<year>\d\d)", CIVIL, NOT_AVAILABLE),
    (r"(?P<base>{})\d\d(?P<year>\d\d)", PERIOD, NOT_AVAILABLE),
    (r"(?P<base>{})(?P<year>\d\d)", FILOSOFI, SECRET),
)


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per commune or arrondissement municipal, variable and year; census counts are not rounded.

    The areas and establishments of the file are not read. An empty cell is not available (O, F), or
    suppressed (Q, A) for the Filosofi figures of a territory inside Filosofi.
    Raises LayoutError when a variable is missing or the file is another edition, CellError for a cell.
    """
    blocks: list[Block] = []
    for member in edition.members:
        name, data = member_data(source, edition, member, files)
        frame = read_delimited(source, edition, data, name=name, required=["CODGEO"])
        columns = columns_in(source, edition, frame.columns, name)
        blocks += value_blocks(
            source,
            edition,
            frame.with_row_index("row", offset=2),
            columns,
            code=pl.col("CODGEO"),
            level="COM",
            file=name,
        )
    return assemble(source, edition, [_in_scope(b) for b in blocks])


def columns_in(source: Source, edition: Edition, header: list[str], file: str) -> list[Column]:
    """The known columns of a header, each with its year. Raises LayoutError when one is missing."""
    century = edition.data_year // 100 * 100
    columns: list[Column] = []
    for form, variables, blank in FORMS:
        pattern = re.compile(form.format("|".join(variables)))
        for name in header:
            found = pattern.fullmatch(name)
            if found:
                variable, year = variables[found["base"]], century + int(found["year"])
                columns.append(Column(name, variable, year, blank, rate=variable in ("pimp", "tp60")))
    expected = {v for _, variables, _ in FORMS for v in variables.values()}
    missing = sorted(expected - {c.variable for c in columns})
    census = max((c.year for c in columns if c.variable == "pop"), default=None)
    if missing or census != edition.data_year:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"les colonnes de {missing}" if missing else f"le recensement de {edition.data_year}",
            f"les colonnes {header[:40]}" if missing else f"celui de {census}",
            "cette adresse sert chaque année une nouvelle édition : la déclarer dans description.yaml",
            file=file,
            row=1,
        )
    return columns


def _in_scope(block: Block) -> Block:
    """Filosofi figures of territories outside Filosofi: not available rather than suppressed."""
    if block.variable not in FILOSOFI.values():
        return block
    outside = (
        pl.col("code").str.contains(OUTSIDE_FILOSOFI)
        & (pl.col("obs_status") == "Q")
        & pl.col("mark").is_null()
    )
    rows = block.rows.with_columns(
        obs_status=pl.when(outside).then(pl.lit("O", ObsStatus)).otherwise("obs_status"),
        conf_status=pl.when(outside).then(pl.lit("F", ConfStatus)).otherwise("conf_status"),
    )
    return Block(block.level, block.variable, block.year, rows)
