"""Composition of the EPCI with own taxation: one sheet, one row per member commune."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Source
from sources.errors import LayoutError
from sources.schema import COMPOSITION
from sources.tabular import read_sheet

NATURES = ("CC", "CA", "CU", "METRO", "MET69")  # MET69 is the métropole de Lyon; METRO holds the Grand Paris


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per commune that belongs to an EPCI on 1 January; communes outside any EPCI are not listed.

    The EPT of the Grand Paris are not EPCI with own taxation and are not in these files.
    Raises LayoutError when the sheet or a column is missing, a nature is unknown or a commune has two EPCI.
    """
    ((name, data),) = files.items()
    sheet = edition.members[0].sheet or ""
    raw = read_sheet(
        source,
        edition,
        data,
        name=name,
        sheet=sheet,
        header_cell="dept",
        required=["siren", "raison_sociale", "nature_juridique", "insee"],
    )
    frame = raw.select(
        level=pl.lit("EPCI"),
        code="siren",
        name="raison_sociale",
        nature="nature_juridique",
        commune=pl.col("insee").str.zfill(5),
    )
    unknown = frame.filter(~pl.col("nature").is_in(NATURES) | pl.col("nature").is_null())
    double = frame.filter(pl.col("commune").is_duplicated() | pl.col("commune").is_null())
    for bad, expected in (
        (unknown, f"une nature parmi {list(NATURES)}"),
        (double, "un seul EPCI par commune"),
    ):
        if bad.height:
            raise LayoutError(
                source.source_id,
                edition.edition,
                expected,
                f"{bad.height} ligne(s), dont {bad.row(0)}",
                "vérifier que la feuille est bien la composition des EPCI à fiscalité propre",
                file=name,
                sheet=sheet,
            )
    return frame.cast(COMPOSITION)  # pyright: ignore[reportArgumentType]
