"""Filosofi in INSEE's layouts, from tables already rounded and with null where a cell is hidden."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from sources.demo import disclosure
from sources.demo.country import METRO, Country, words
from sources.demo.disclosure import Precision
from sources.demo.formats import NOTICE, Cell, delimited, numbers, whole, workbook
from sources.demo.tally import COUNTS, LINES, RATES, SHARES
from sources.description import Edition

SHARES_CC = tuple(s for s in SHARES if s != "PTSAC")
BASE_CC = (*COUNTS, "MED", *RATES, *SHARES_CC, "D1", "D9", "RD")
SPREAD = words("Q1 Q2 Q3 Q3_Q1 D1 D2 D3 D4 D6 D7 D8 D9 RD S80S20 GI")
SIZE = (*COUNTS, "NBUC")
DISTRIBUTION = {
    "2014": (*SIZE, *SPREAD, *(s for s in SHARES if s not in ("PACT", "PTSA", "PCHO"))),
    "2015": (*SIZE, *SPREAD, *SHARES_CC),
    "default": (*SIZE, *SPREAD, *SHARES_CC),
}
# Subgroups of the file on poverty, as prefixes; the first is everyone.
POVERTY = (
    "",
    *(f"AGE{k}" for k in range(1, 7)),
    *(f"TME{k}" for k in range(1, 6)),
    *("TOL1", "TOL2", "TLD2", "TLD3"),
    *(f"TYM{k}" for k in range(1, 7)),
    *(f"OPR{k}" for k in range(1, 7)),
)
POVERTY_COLUMNS = tuple(f"{g}{v}" for g in POVERTY for v in (*LINES, "TP60Q2", "TP60IP"))
_NO_YEAR = ("RD", "Q3_Q1")  # in the distribution files, these carry no year

MARKED_FROM = {"insee_filosofi_cc": ("2019-geo2022", "2020"), "insee_filosofi_distribution": ("2019", "2020")}


def variables(source_id: str, edition: Edition, table: str | None) -> tuple[str, ...]:
    """What a table of that edition publishes, without the year."""
    if source_id == "insee_filosofi_cc":
        return BASE_CC
    return POVERTY_COLUMNS if table == "pauvres" else DISTRIBUTION[edition.layout]


def precision(source_id: str, edition: Edition) -> Precision:
    """How that edition rounds: the older distribution files keep a decimal and lose the Gini index."""
    if source_id == "insee_filosofi_distribution" and edition.layout != "default":
        return Precision(euros=0.1, gini=1)
    if edition.data_year == 2017:
        return Precision(whole=("COM",))  # arrondissements municipaux to the tenth that year
    return Precision()


def write(
    source_id: str,
    edition: Edition,
    country: Country,
    tables: Mapping[tuple[str, str | None], pl.DataFrame],
    unavailable: str | None = None,
) -> dict[str | None, bytes]:
    """Bytes of the members, by path. `tables` holds the published figures by (level, table of the member).

    `unavailable` is a commune for which the edition prints `nd` everywhere.
    """
    sheets: dict[str, dict[str, list[tuple[Cell, ...]]]] = {}
    files: dict[str | None, bytes] = {}
    marked = edition.edition in MARKED_FROM[source_id]
    for member in edition.members:
        level = member.level or "COM"
        shown = (
            tables[level, member.table]
            .with_columns(code=pl.lit("1") if level == "METRO" else pl.col("code"))
            .sort("code")
        )
        if member.sheet:
            rows = _sheet(source_id, edition, country, shown, level, "s" if marked else None)
            if member.table == "au_dessus":
                rows += _second_table(rows)
            sheets.setdefault(member.path or "", {})[member.sheet] = rows
        else:
            files[member.path] = _csv(source_id, edition, country, shown, level, marked, unavailable)
    return files | {path: workbook(book) for path, book in sheets.items()}


def _header(source_id: str, edition: Edition, names: list[str]) -> list[str]:
    suffix = f"{edition.data_year % 100:02d}"
    if source_id == "insee_filosofi_cc":
        return [n + suffix for n in names]
    short = {"NBMENFISC": "NBMEN", "NBPERSMENFISC": "NBPERS"}
    return [n if n in _NO_YEAR else short.get(n, n) + suffix for n in names]


def _labels(country: Country, level: str, codes: list[str], year: int) -> list[str]:
    return [country.name(level, METRO if level == "METRO" else code, year) for code in codes]


def _csv(
    source_id: str,
    edition: Edition,
    country: Country,
    shown: pl.DataFrame,
    level: str,
    marked: bool,
    unavailable: str | None,
) -> bytes:
    """Decimal point and no padding in the base of 2018 and 2019; decimal comma elsewhere, padded."""
    names = [c for c in shown.columns if c not in ("level", "code")]
    recent = source_id == "insee_filosofi_cc" and edition.data_year >= 2020
    distribution = source_id == "insee_filosofi_distribution"
    integers = [*COUNTS, *(n for n in names if n.endswith(disclosure.EUROS))]
    if distribution and edition.layout == "2014":
        integers = list(COUNTS)
    elif distribution and edition.layout == "2015":
        integers = []
    body = shown.select("code", *names).with_columns(pl.col(n).cast(pl.Float64) for n in names)
    body = numbers(
        whole(body, [n for n in integers if n in names]),
        comma=recent or distribution,
        pad=recent or distribution,
        mark="s" if marked else "",
    )
    if unavailable is not None:
        hidden = pl.col("code") == unavailable
        body = body.with_columns(pl.when(hidden).then(pl.lit("nd")).otherwise(pl.col(n)).alias(n) for n in names)
    body = body.rename(dict(zip(["code", *names], ["CODGEO", *_header(source_id, edition, names)], strict=True)))
    if not distribution:
        return delimited(body, end="\n" if recent else "\r\n")
    body = body.filter(pl.col(body.columns[1]) != "")  # these files leave out territories wholly hidden
    if edition.data_year >= 2020:
        return delimited(body, end="\n")
    labels = pl.Series("LIBGEO", _labels(country, level, body["CODGEO"].to_list(), edition.cog_year or 0))
    text = delimited(body.insert_column(1, labels), encoding="utf-8-sig")
    return text.removesuffix(b"\r\n")


def _sheet(
    source_id: str, edition: Edition, country: Country, shown: pl.DataFrame, level: str, mark: str | None
) -> list[tuple[Cell, ...]]:
    """Four lines before the table, labels, then codes, as INSEE lays its sheets out."""
    names = [c for c in shown.columns if c not in ("level", "code")]
    labels = _labels(country, level, shown["code"].to_list(), edition.cog_year or 0)
    head: list[tuple[Cell, ...]] = [
        (f"Fichier localisé social et fiscal du pays fictif - Année {edition.data_year}",),
        (f"Pays fictif - {level}",),
        (f"Géographie fictive au 01/01/{edition.cog_year}",),
        (NOTICE,),
        ("Code géographique", "Libellé géographique", *(f"{n} (fictif)" for n in names)),
        ("CODGEO", "LIBGEO", *_header(source_id, edition, names)),
    ]
    figures = shown.select(names).iter_rows()
    rows = zip(shown["code"].to_list(), labels, figures, strict=True)
    return head + [(c, n, *(mark if x is None else x for x in row)) for c, n, row in rows]


def _second_table(rows: list[tuple[Cell, ...]]) -> list[tuple[Cell, ...]]:
    """Below a blank line, a table from another survey: it is no part of the edition."""
    first = rows[6]
    return [
        (),
        ("Outre-mer fictif, autre enquête (fictif)",),
        (NOTICE,),
        rows[4],
        ("97", "Île fictive", *first[2:]),
    ]
