"""Caf by commune (Opendatasoft export): all years in one file, each in the COG of the following 1 January.

Every count is rounded to the nearest 5 (7 gives 5, 8 gives 10), every amount to the nearest 100 euros.
One row a year has no commune: households that the Caf could not place. It is kept at level FRANCE, as
variables of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import LayoutError
from sources.tabular import Block, Column, assemble, read_member, value_blocks

ROUNDED_BY = {
    "rsa": 2.0,
    "ppa": 2.0,
    "rsa_montant": 50.0,
    "ppa_montant": 50.0,
}  # at most
COLUMNS = {
    "indfoy_rsa": "rsa",
    "indmtt_rsa": "rsa_montant",
    "indfoy_ppa": "ppa",
    "indmtt_ppa": "ppa_montant",
}
UNPLACED = "_sans_commune"  # suffix of the variables of households without a known commune


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per commune or arrondissement municipal and variable, households and euros of December.

    value is the rounded figure, lower and upper what it can stand for. An amount printed 0 has no upper
    bound: the producer prints 0 for the amounts of households that it rounded to 0.
    Raises LayoutError when a column or the edition's December is missing, CellError for a cell or code.
    """
    (member,) = edition.members
    name, table = read_member(source, edition, member, files, required=["dtreffre", "numcomdo", *COLUMNS])
    december = f"{edition.data_year}-12"
    rows = table.filter(pl.col("dtreffre") == december)
    if rows.height == 0:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"des lignes de {december}",
            f"les dates {table['dtreffre'].unique().sort().to_list()[:12]}",
            "attendre la publication de cette année, ou corriger `data_year` dans description.yaml",
            file=name,
            column="dtreffre",
        )
    year, blank = edition.data_year, pl.col("numcomdo").is_null()
    placed = [Column(c, variable, year) for c, variable in COLUMNS.items()]
    unplaced = [Column(c, variable + UNPLACED, year) for c, variable in COLUMNS.items()]
    blocks = value_blocks(
        source, edition, rows.filter(~blank), placed, code=pl.col("numcomdo"), level="COM", file=name
    ) + value_blocks(
        source, edition, rows.filter(blank), unplaced, code=pl.lit("F"), level="FRANCE", file=name
    )
    return assemble(source, edition, [_rounded(b) for b in blocks])


def _rounded(block: Block) -> Block:
    """The bounds that the producer's rounding leaves around each value."""
    margin = ROUNDED_BY[block.variable.removesuffix(UNPLACED)]
    value = pl.col("value")
    hidden = (value == 0) & pl.lit(block.variable.removesuffix(UNPLACED).endswith("_montant"))
    rows = block.rows.with_columns(
        lower=(value - margin).clip(lower_bound=0.0),
        upper=pl.when(~hidden).then(value + margin),
    )
    return Block(block.level, block.variable, block.year, rows)
