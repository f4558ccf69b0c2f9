"""Composition of the EPCI of 2014 to 2019: one file for all years, one year a block, and a file of names."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.description import Edition, Member, Source
from sources.errors import LayoutError
from sources.schema import COMPOSITION
from sources.tabular import read_delimited

NO_EPCI = "ZZZZZZZZZ"
NATURES = {
    "CC": "CC",
    "CA": "CA",
    "CU": "CU",
    "SAN": "SAN",
}  # first word of the name; all others are métropoles


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per commune that belongs to an EPCI on 1 January of the edition's year; others are dropped.

    Raises LayoutError when a file or column is missing, the year is absent, or an EPCI has no name.
    """
    year = str(edition.data_year)
    communes = _table(source, edition, files, "communes", ["annee", "CODGEO", "EPCI"], year)
    names = _table(source, edition, files, "libelles", ["annee", "CODGEO", "LIBGEO"], year)
    frame = communes.filter(pl.col("EPCI") != NO_EPCI).join(
        names.select(EPCI="CODGEO", name="LIBGEO"), on="EPCI", how="left", maintain_order="left"
    )
    unnamed = frame.filter(pl.col("name").is_null())
    if unnamed.height:
        raise LayoutError(
            source.source_id,
            edition.edition,
            "un nom pour chaque EPCI",
            f"{unnamed['EPCI'].n_unique()} EPCI sans nom, dont {unnamed['EPCI'][0]}",
            "comparer les deux fichiers de l'archive",
        )
    first = pl.col("name").str.extract(r"^(\S+)")
    return frame.select(
        level=pl.lit("EPCI"),
        code="EPCI",
        name="name",
        nature=first.replace_strict(NATURES, default="METRO"),
        commune="CODGEO",
    ).cast(COMPOSITION)  # pyright: ignore[reportArgumentType]


def _table(
    source: Source, edition: Edition, files: Mapping[str, bytes], table: str, required: list[str], year: str
) -> pl.DataFrame:
    member = next((m for m in edition.members if m.table == table), Member())
    if member.path is None or member.path not in files:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"la table « {table} »",
            f"les fichiers {sorted(files)}",
            "corriger `members` dans description.yaml",
        )
    frame = read_delimited(source, edition, files[member.path], name=member.path, required=required)
    block = frame.filter(pl.col("annee") == year)
    if block.height == 0:
        raise LayoutError(
            source.source_id,
            edition.edition,
            f"des lignes de l'année {year}",
            f"les années {frame['annee'].unique().sort().to_list()}",
            "vérifier l'année de l'édition",
            file=member.path,
            column="annee",
        )
    return block
