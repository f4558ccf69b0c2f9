"""Filosofi "structure et distribution": deciles, income structure, and poverty of subgroups (2020).

Tables: `disp` (whole population only), `pauvres` (whole population and subgroups, as column prefixes), `ensemble` or
the prefix of one subgroup (a sheet each).
Layouts: `2014`, `2015` (copies rounded to one decimal: the Gini index is not read) and `default`.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.tabular import Block, Column, assemble, layout_of, read_member, value_blocks

DISTRIBUTION = {
    "NBMEN": "nb_men",
    "NBPERS": "nb_pers",
    "NBUC": "nb_uc",
    "Q1": "q1",
    "Q2": "q2",  # the median: there is no D5
    "Q3": "q3",
    **{f"D{i}": f"d{i}" for i in (1, 2, 3, 4, 6, 7, 8, 9)},
    "S80S20": "s80s20",
    "PBEN": "pben",
    "PPEN": "ppen",
    "PPAT": "ppat",
    "PPSOC": "ppsoc",
    "PPFAM": "ppfam",
    "PPMINI": "ppmini",
    "PPLOGT": "pplogt",
    "PIMPOT": "pimpot",
}
ACTIVITY = {"PACT": "pact", "PTSA": "ptsa", "PCHO": "pcho"}
LAYOUTS = {
    "2014": {**DISTRIBUTION, "PTSAC": "ptsac"},  # wages and unemployment benefits together
    "2015": {**DISTRIBUTION, **ACTIVITY},
    "default": {**DISTRIBUTION, **ACTIVITY, "GI": "gini"},
}
WITHOUT_YEAR = {"RD": "rd", "Q3_Q1": "q3_q1"}

POVERTY = {
    "TP40": "tp40",
    "TP50": "tp50",
    "TP60": "tp60",
    "TP60Q2": "tp60_median_pauvres",
    "TP60IP": "tp60_intensite",
}
SUBGROUPS = {
    **{
        f"AGE{i}": f"rf_{age}"
        for i, age in enumerate(("lt30", "30t39", "40t49", "50t59", "60t74", "ge75"), start=1)
    },  # age of the tax referent
    **{f"TME{i}": f"taille_{size}" for i, size in enumerate(("1", "2", "3", "4", "5p"), start=1)},
    "TOL1": "prop",
    "TOL2": "loc",
    "TLD2": "loc_social",
    "TLD3": "loc_prive",
    **{
        f"TYM{i}": kind
        for i, kind in enumerate(
            (
                "homme_seul",
                "femme_seule",
                "couple_sans_enfant",
                "couple_avec_enfant",
                "monoparentale",
                "complexe",
            ),
            start=1,
        )
    },
    **{
        f"OPR{i}": f"source_{main}"
        for i, main in enumerate(
            ("salaires", "chomage", "independant", "pensions", "patrimoine", "nulle"), start=1
        )
    },  # main income
}


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per level, code and variable of the edition's year.

    Euros per UC and year for q1 to d9 and tp60_median_pauvres, percent for shares, rates and tp60_intensite,
    0 to 1 for gini. Marks and bounds as in `insee_filosofi_cc`.
    Raises LayoutError (member, sheet or column missing) and CellError (cell or code that cannot be read).
    """
    blocks: list[Block] = []
    for member in edition.members:
        columns = columns_of(source, edition, member.table or "disp")
        required = ["CODGEO", *(c.name for c in columns)]
        name, frame = read_member(source, edition, member, files, required=required)
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


def columns_of(source: Source, edition: Edition, table: str) -> list[Column]:
    """The producer's columns of one of the two tables of an edition."""
    year, suffix = edition.data_year, f"{edition.data_year % 100:02d}"
    if table == "disp":
        glued = [
            Column(base + suffix, name, year) for base, name in layout_of(source, edition, LAYOUTS).items()
        ]
        return glued + [Column(base, name, year) for base, name in WITHOUT_YEAR.items()]
    every = {"": "", **{prefix: f"_{name}" for prefix, name in SUBGROUPS.items()}}
    prefix = "" if table == "ensemble" else table
    groups = every if table == "pauvres" else {prefix: every[prefix]}
    return [
        Column(
            prefix + base + suffix,
            variable + group,
            year,
            rate=variable in ("tp40", "tp50", "tp60"),
            scale=100.0 if variable == "tp60_intensite" else 1.0,
        )
        for prefix, group in groups.items()
        for base, variable in POVERTY.items()
    ]
