"""Caf by IRIS: communes divided into IRIS only, counts at 31 December, many cells or whole IRIS suppressed.

Under NOTE 0 single cells are empty too; under any other NOTE the whole IRIS is. No cell holds less than
5: an empty one may be a zero or not. Households without a located address are in no IRIS. Hence a
commune's sum is a lower bound, whatever the number of empty cells.
Layouts: `2016` (with the two variables on the share of benefits in resources) and `default`.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import CellError
from sources.schema import VALUES, ConfStatus, Level, ObsStatus
from sources.tabular import (
    ARRONDISSEMENT_MUNICIPAL,
    SECRET,
    coded,
    layout_of,
    number,
    read_member,
    refuse_unreadable,
)

VARIABLES = {
    "A": "alloc",  # households
    "PERCOU": "personnes",  # persons covered
    "AI": "isoles",
    "AM": "mono",
    "ACSSENF": "couple_sans_enfant",
    "ACAVENF": "couple_avec_enfant",
    "AC3ENF": "couple_3_enfants",
    "ENF": "enfants",
    "ENF_2": "enfants_0_2",
    "ENF_3_5": "enfants_3_5",
    "ENF_6_10": "enfants_6_10",
    "ENF_11_14": "enfants_11_14",
    "ENF_15_17": "enfants_15_17",
    "ENF_18_24": "enfants_18_24",
    "A_ETUD": "etudiants",
    "A_NETUD_24": "non_etudiants_lt25",
    "AAL": "aal",
    "AAPL": "aapl",
    "AAAH": "aah",
    "APPA": "ppa",
    "ARSAS": "rsa",
}
RESOURCES = {
    "APRES50": "prestations_50",
    "APRES100": "prestations_100",
}  # half, all of the resources
LAYOUTS = {"2016": {**VARIABLES, **RESOURCES}, "default": VARIABLES}

PUBLISHED = "0"
WITHHELD = ("2", "3", "4", "5")  # the whole IRIS, for reasons that the files do not spell out

# by the first digits of their arrondissements; the last is the generated country's
CITIES = {"751": "75056", "693": "69123", "132": "13055", "969": "96001"}


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per IRIS, commune (Paris, Lyon and Marseille whole; also by arrondissement, level ARM) and variable.

    Of an IRIS, value is the published figure, null (Q, A) when the cell is empty. Of a commune, value is null,
    lower the sum of the published cells (0 when none is), upper null, masked_parts the number of empty cells in
    the sum; statuses Q and A.
    Raises LayoutError when a column is missing, CellError for an unknown NOTE, a withheld IRIS that has
    figures or a cell that cannot be read.
    """
    variables = layout_of(source, edition, LAYOUTS)
    (member,) = edition.members
    name, wide = read_member(source, edition, member, files, required=["CODGEO", "NOTE", *variables])
    wide = coded(source, edition, wide, pl.col("CODGEO"), level="IRIS", file=name)
    _check_notes(source, edition, wide, list(variables), name)
    cells = (
        wide.select("row", *variables, iris="code", code=pl.col("code").str.slice(0, 5))
        .unpivot(index=["row", "iris", "code"], variable_name="column", value_name="text")
        .with_columns(value=number("text"))
    )
    refuse_unreadable(
        source, edition, cells, text="text", value="value", row="row", column=pl.col("column"), file=name
    )
    cells = cells.with_columns(variable=pl.col("column").replace_strict(variables))
    municipal = pl.col("code").str.contains(ARRONDISSEMENT_MUNICIPAL)
    districts = cells.filter(municipal)
    cities = districts.with_columns(code=pl.col("code").str.slice(0, 3).replace_strict(CITIES))
    communes = pl.concat([cells.filter(~municipal), cities])
    return pl.concat(
        [
            _districts(cells, edition.data_year),
            _bounds(communes, "COM", edition.data_year),
            _bounds(districts, "ARM", edition.data_year),
        ]
    ).cast(VALUES)  # pyright: ignore[reportArgumentType]


def _check_notes(source: Source, edition: Edition, wide: pl.DataFrame, columns: list[str], file: str) -> None:
    """NOTE is known, and an IRIS that it withholds has no figure."""
    withheld = pl.col("NOTE").is_in(WITHHELD)
    filled = pl.any_horizontal(pl.col(c).is_not_null() for c in columns)
    bad = wide.filter(~((pl.col("NOTE") == PUBLISHED) | (withheld & ~filled)).fill_null(False)).sort("row")
    if bad.height:
        note = bad["NOTE"][0]
        raise CellError(
            source.source_id,
            edition.edition,
            "un IRIS sans aucun chiffre sous cette note"
            if note in WITHHELD
            else f"une note {PUBLISHED} (diffusé) ou {', '.join(WITHHELD)} (retenu)",
            f"NOTE « {note} » pour l'IRIS {bad['code'][0]} ({bad.height} ligne(s))",
            "demander au producteur le sens de cette note, puis l'ajouter à parse.py",
            file=file,
            row=int(bad["row"][0]),
            column="NOTE",
        )


def _districts(cells: pl.DataFrame, year: int) -> pl.DataFrame:
    """The figures of the IRIS, sorted by variable and code."""
    known = pl.col("value").is_not_null()
    return cells.sort("variable", "iris").select(
        level=pl.lit("IRIS", Level),
        code="iris",
        year=pl.lit(year, pl.Int16),
        variable="variable",
        value="value",
        lower=pl.lit(None, pl.Float64),
        upper=pl.lit(None, pl.Float64),
        obs_status=pl.when(known).then(pl.lit("A", ObsStatus)).otherwise(pl.lit(SECRET[0], ObsStatus)),
        conf_status=pl.when(known).then(pl.lit("F", ConfStatus)).otherwise(pl.lit(SECRET[1], ConfStatus)),
        mark=pl.lit(None, pl.String),
        masked_parts=pl.lit(None, pl.UInt32),
    )


def _bounds(cells: pl.DataFrame, level: str, year: int) -> pl.DataFrame:
    """Sums of the published cells by territory and variable, sorted by variable and code."""
    return (
        cells.group_by("variable", "code")
        .agg(lower=pl.col("value").sum(), masked_parts=pl.col("value").null_count())
        .sort("variable", "code")
        .select(
            level=pl.lit(level, Level),
            code="code",
            year=pl.lit(year, pl.Int16),
            variable="variable",
            value=pl.lit(None, pl.Float64),
            lower="lower",
            upper=pl.lit(None, pl.Float64),
            obs_status=pl.lit(SECRET[0], ObsStatus),
            conf_status=pl.lit(SECRET[1], ConfStatus),
            mark=pl.lit(None, pl.String),
            masked_parts="masked_parts",
        )
    )
