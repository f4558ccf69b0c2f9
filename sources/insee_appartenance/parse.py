"""Zones of each commune: a workbook with one column per zoning (sheet COM) and the names of the zones."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import LayoutError
from sources.schema import COMPOSITION
from sources.tabular import read_sheet

# Column of the sheet -> level. EPT is there from 2024 on.
ZONINGS = {"EPCI": "EPCI", "EPT": "EPT", "ARR": "ARR", "ZE2020": "ZE"}
REQUIRED = ["EPCI", "ARR", "ZE2020"]
OUTSIDE = r"^Z+$"  # « sans objet »


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per commune and zone it belongs to (EPCI, EPT, ARR, ZE) on 1 January; « sans objet » dropped.

    `nature` is known for EPCI only, and only where the file says it (ME for a métropole).
    Raises LayoutError when a sheet or column is missing or a zone has no name.
    """
    ((name, data),) = files.items()
    communes = read_sheet(
        source, edition, data, name=name, sheet="COM", header_cell="CODGEO", required=["CODGEO", *REQUIRED]
    )
    zones = read_sheet(
        source,
        edition,
        data,
        name=name,
        sheet="Zones_supra_communales",
        header_cell="NIVGEO",
        required=["CODGEO", "LIBGEO"],
    )
    nature = pl.col("NATURE_EPCI") if "NATURE_EPCI" in communes.columns else pl.lit(None, pl.String)
    parts = [
        communes.filter(~pl.col(column).str.contains(OUTSIDE)).select(
            level=pl.lit(level),
            zoning=pl.lit(column),
            code=column,
            nature=nature if level == "EPCI" else pl.lit(None, pl.String),
            commune="CODGEO",
        )
        for column, level in ZONINGS.items()
        if column in communes.columns
    ]
    frame = pl.concat(parts).join(
        zones.select(zoning="NIVGEO", code="CODGEO", name="LIBGEO"),
        on=["zoning", "code"],
        how="left",
        maintain_order="left",
    )
    unnamed = frame.filter(pl.col("name").is_null())
    if unnamed.height:
        raise LayoutError(
            source.source_id,
            edition.edition,
            "un nom pour chaque zone",
            f"{unnamed['zoning'][0]} {unnamed['code'][0]} sans nom",
            "comparer les deux feuilles",
            file=name,
            sheet="Zones_supra_communales",
        )
    return frame.select(list(COMPOSITION)).cast(COMPOSITION)  # pyright: ignore[reportArgumentType]
