"""Lists of départements and of régions of a COG: TAB text to 2018, CSV in either case from 2019 on."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import LayoutError
from sources.schema import ZONES
from sources.tabular import check_columns, read_delimited

LEVEL = {"insee_cog_departements": "DEP", "insee_cog_regions": "REG"}  # also the name of the code column


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per département or région; `region` is the région of a département, null for a région.

    Text files to 2018 name the région REGION and give names without their article.
    Raises LayoutError when a column is missing or a code comes twice.
    """
    level = code = LEVEL[source.source_id]
    ((name, data),) = files.items()
    raw = read_delimited(source, edition, data, name=name, required=())
    raw = raw.rename({c: "REG" if c.upper() == "REGION" else c.upper() for c in raw.columns})
    label = "NCCENR" if edition.layout == "texte" else "LIBELLE"
    check_columns(source, edition, raw.columns, [code, "REG", label], file=name, row=1)
    if raw[code].is_duplicated().any() or raw[code].null_count():
        raise LayoutError(
            source.source_id,
            edition.edition,
            "un code par ligne",
            "des codes absents ou en double",
            "vérifier que le fichier est bien la liste attendue",
            file=name,
            column=code,
        )
    return raw.select(
        level=pl.lit(level),
        code=code,
        name=label,
        region=pl.col("REG") if level == "DEP" else pl.lit(None, pl.String),
    ).cast(ZONES)  # pyright: ignore[reportArgumentType]
