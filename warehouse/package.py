"""What goes with the Parquet of a release: CSV, dictionary, datapackage.json, licence, credits, SHA256SUMS.

Everything is derived from the release's own tables and the models: no clock, no network.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl

from warehouse.duckdb_file import views_and_macros
from warehouse.models import CODELISTS, TABLES, Table, dictionary_frame

LICENCE_NAME = "etalab-2.0"
LICENCE_TITLE = "Licence Ouverte 2.0"
LICENCE_PATH = "https://www.etalab.gouv.fr/licence-ouverte-open-licence/"
SUMS = "SHA256SUMS"
CSV_INSTANT = "%Y-%m-%d %H:%M:%S"


def write_package(public: Path, release_id: str, notice: str | None = None) -> None:
    """Writes everything but CHANGES.md and SHA256SUMS beside the Parquet of a release's folder.

    `notice` (French) is shown wherever the release presents itself (fictional data, for one).
    """
    (public / "csv").mkdir(exist_ok=True)
    for table in TABLES.values():
        if table.csv:
            _write_csv(pl.read_parquet(public / f"{table.name}.parquet"), public / "csv" / f"{table.name}.csv")
    _write_csv(dictionary_frame(), public / "dictionary.csv")
    _write_text(public / "dictionnaire.md", dictionary_markdown(notice))
    _write_text(public / "LICENCE.md", licence_markdown(pl.read_parquet(public / "source_file.parquet"), notice))
    package = json.dumps(datapackage(public, release_id, notice), ensure_ascii=False, indent=2)
    _write_text(public / "datapackage.json", package + "\n")


def datapackage(public: Path, release_id: str, notice: str | None = None) -> dict[str, Any]:
    """The Data Package (Frictionless) descriptor of a release's folder."""
    named = ("title", "producer")
    sources = pl.read_parquet(public / "source_file.parquet").select(named).unique().sort(named)
    resources = [_parquet_resource(table) for table in TABLES.values()]
    resources += [_csv_resource(table) for table in TABLES.values() if table.csv]
    description = "Indicateurs de pauvreté et de conditions de vie des territoires, sources publiques."
    return {
        "$schema": "https://datapackage.org/profiles/2.0/datapackage.json",
        "name": "vigie",
        "title": "Vigie : indicateurs d'un observatoire de la pauvreté",
        "description": f"{notice} {description}" if notice else description,
        "version": release_id,
        "licenses": [{"name": LICENCE_NAME, "title": LICENCE_TITLE, "path": LICENCE_PATH}],
        "sources": [{"title": f"{s['producer']}, {s['title']}"} for s in sources.iter_rows(named=True)],
        "resources": resources,
    }


def _parquet_resource(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "path": f"{table.name}.parquet",
        "format": "parquet",
        "mediatype": "application/vnd.apache.parquet",
        "description": table.comment,
        "schema": table.frictionless(),
    }


def _csv_resource(table: Table) -> dict[str, Any]:
    schema = table.frictionless()
    for field in schema["fields"]:
        if field["type"] == "number":
            field["decimalChar"] = ","
        elif field["type"] == "datetime":
            field["format"] = CSV_INSTANT
    return {
        "name": f"{table.name}-csv",
        "path": f"csv/{table.name}.csv",
        "format": "csv",
        "mediatype": "text/csv",
        "encoding": "utf-8-sig",
        "description": table.comment,
        "dialect": {"delimiter": ";"},
        "schema": schema,
    }


def dictionary_markdown(notice: str | None = None) -> str:
    """The dictionary of tables, views, macros and codes (French)."""
    lines = ["# Dictionnaire des données", ""]
    if notice:
        lines += [f"**{notice}**", ""]
    for table in TABLES.values():
        lines += [f"## {table.name}", "", table.comment, "", f"Clé : {', '.join(table.key)}.", ""]
        lines += ["| Colonne | Type | Obligatoire | Description |", "|---|---|---|---|"]
        rows = dictionary_frame().filter(pl.col("table") == table.name).iter_rows(named=True)
        lines += [
            f"| {r['colonne']} | {r['type']} | {r['obligatoire']} | {table.column(r['colonne']).text} |" for r in rows
        ]
        lines.append("")
    lines += ["## Vues et fonctions de la base DuckDB", "", "| Nom | Ce qu'elle donne |", "|---|---|"]
    lines += [f"| {name} | {comment} |" for name, comment in views_and_macros()]
    lines += ["", "## Nomenclatures", ""]
    for codelist, codes in CODELISTS.items():
        lines += [f"### {codelist}", "", "| Code | Libellé |", "|---|---|"]
        lines += [f"| {code} | {label} |" for code, label in codes.items()]
        lines.append("")
    return "\n".join(lines)


def licence_markdown(source_file: pl.DataFrame, notice: str | None = None) -> str:
    """Licence of the data and the credit line of each source, as the Licence Ouverte asks (French)."""
    credits = (
        source_file.group_by("producer", "title", "licence")
        .agg(pl.col("edition").sort(), pl.col("retrieved_at").max())
        .sort("producer", "title", "licence")
    )
    lines = ["# Licence et sources", ""]
    if notice:
        lines += [f"**{notice}**", ""]
    lines += [
        f"Ces données sont diffusées sous {LICENCE_TITLE} ({LICENCE_PATH}). Toute réutilisation cite Vigie "
        "et la source de chaque chiffre :",
        "",
    ]
    lines += [
        f"- Source : {r['producer']}, {r['title']}, éditions {', '.join(r['edition'])}, récupérées le "
        f"{r['retrieved_at']:%d/%m/%Y} au plus tard. {r['licence']}."
        for r in credits.iter_rows(named=True)
    ]
    return "\n".join([*lines, ""])


def write_sums(public: Path) -> None:
    """Writes SHA256SUMS over every other file of the folder, in the format `sha256sum -c` reads."""
    lines = [f"{digest(path)}  {path.relative_to(public)}" for path in _files(public)]
    _write_text(public / SUMS, "\n".join([*lines, ""]))


def verify_sums(public: Path) -> list[str]:
    """What is wrong with a release's folder (French): missing, unknown or altered files. Empty when whole."""
    if not (public / SUMS).exists():
        return [f"{public.parent.name} : fichier {SUMS} absent"]
    declared = declared_sums(public)
    present = {str(path.relative_to(public)): path for path in _files(public)}
    problems = [f"{name} : fichier absent" for name in sorted(declared.keys() - present.keys())]
    problems += [f"{name} : fichier non déclaré" for name in sorted(present.keys() - declared.keys())]
    for name in sorted(declared.keys() & present.keys()):
        if digest(present[name]) != declared[name]:
            problems.append(f"{name} : contenu modifié depuis la publication")
    return problems


def declared_sums(public: Path) -> dict[str, str]:
    """What SHA256SUMS says: digest by file name, relative to the folder."""
    lines = (public / SUMS).read_text(encoding="utf-8").splitlines()
    return {name: expected for expected, _, name in (line.partition("  ") for line in lines)}


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(public: Path) -> list[Path]:
    return sorted(p for p in public.rglob("*") if p.is_file() and p.name != SUMS)


def _write_csv(frame: pl.DataFrame, path: Path) -> None:
    """As a French spreadsheet opens it: semicolons, decimal comma, UTF-8 with its mark."""
    frame.write_csv(path, separator=";", decimal_comma=True, include_bom=True, datetime_format=CSV_INSTANT)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
