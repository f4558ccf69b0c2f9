"""Populations, comparateur and family benefits in the producers' layouts, from sums by atom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from sources.demo.caf import COUNTS, Districts
from sources.demo.country import Country
from sources.demo.files_geography import capitals
from sources.demo.formats import NOTICE, Cell, delimited, numbers, workbook
from sources.demo.tally import sums_by
from sources.description import Edition

Files = dict[str | None, bytes]
APART = 70  # one inhabitant in so many is counted apart, in another commune's total


def by_code(country: Country, level: str, year: int, columns: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Sums by territory of columns given by atom."""
    return sums_by(country.territory(level, year), columns)


def city_by_arrondissement(country: Country, table: pl.DataFrame, arms: pl.DataFrame, year: int) -> pl.DataFrame:
    """A table of communes where the big city is replaced by its arrondissements."""
    if not arms.height:
        return table
    city = str(country.codes[year][0])
    return pl.concat([table.filter(pl.col("code") != city), arms]).sort("code")


def three_populations(people: np.ndarray) -> dict[str, np.ndarray]:
    """Municipal, counted apart, total."""
    return {"PMUN": people, "PCAP": people // APART, "PTOT": people + people // APART}


def populations(country: Country, edition: Edition, columns: Mapping[str, np.ndarray]) -> Files:
    """Populations légales: a workbook with a sheet a level, or a delimited file of communes."""
    year = edition.cog_year or edition.data_year
    com, arm = by_code(country, "COM", year, columns), by_code(country, "ARM", year, columns)
    listed = city_by_arrondissement(country, com, arm, year)
    if edition.layout == "classeur":
        sheets = {
            m.sheet or "": _population_sheet(country, edition, m.level or "COM", listed, columns)
            for m in edition.members
        }
        return {None: workbook(sheets)}
    table = listed.select(*_place(country, year), Commune=_name(country, year), **_all(columns))
    if edition.layout == "csv_codcom":
        table = table.select(
            CODREG="REG",
            REG="Région",
            CODDEP="DEP",
            CODARR="CODARR",
            CODCAN="CODCAN",
            CODCOM="CODCOM",
            COM="Commune",
            **_all(columns),
        )
        return {edition.members[0].path: delimited(numbers(table), end="\n")}
    divided = listed.height > com.height
    whole = com.filter(pl.lit(divided) & (pl.col("code") == str(country.codes[year][0])))
    last = whole.select(COM="code", Commune=_name(country, year), PMUN="PMUN")
    return {edition.members[0].path: delimited(numbers(pl.concat([table, last], how="diagonal")))}


def comparateur_columns(
    year: int,
    recent: Mapping[str, np.ndarray],
    old: Mapping[str, np.ndarray],
    registers: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Columns of the comparateur in INSEE's order, figures of Filosofi excepted."""
    now, before = f"P{year % 100}_", f"P{(year - 5) % 100}_"
    order = {
        f"{now}POP": recent["POP"],
        f"{before}POP": old["POP"],
        "SUPERF": registers["SUPERF"],
        "NAIS1318": registers["NAIS1318"],
        "DECE1318": registers["DECE1318"],
        f"{now}MEN": recent["MEN"],
        "NAISD20": registers["NAISD20"],
        "DECESD20": registers["DECESD20"],
        **{f"{now}{n}": recent[n] for n in ("LOG", "RP", "RSECOCC", "LOGVAC", "RP_PROP", "EMPLT", "EMPLT_SAL")},
        f"{before}EMPLT": old["EMPLT"],
        **{f"{now}{n}": recent[n] for n in ("POP1564", "CHOM1564", "ACT1564")},
    }
    return order | {n: c for n, c in registers.items() if n not in order}


def comparateur(country: Country, edition: Edition, columns: Mapping[str, np.ndarray], income: pl.DataFrame) -> Files:
    """Communes and arrondissements; `income` has the published Filosofi figures of its own year by code."""
    year = edition.cog_year or edition.data_year
    parts = [by_code(country, level, year, columns) for level in ("COM", "ARM")]
    table = pl.concat([parts[0], parts[1]])
    order = list(columns)
    after = order.index("P18_RP_PROP") + 1
    table = table.join(income, on="code", how="left", maintain_order="left")
    names = [*order[:after], *(c for c in income.columns if c != "code"), *order[after:]]
    text = numbers(table.select(CODGEO="code", **{n: n for n in names}))
    return {edition.members[0].path: delimited(text)}


def caf_districts(country: Country, edition: Edition, districts: Districts) -> tuple[Files, pl.DataFrame]:
    """Counts by IRIS: blank where hidden, spaces between thousands in 2016 and 2017, codes alone in 2019.

    The second is the list of hidden cells: level, code, variable, reason.
    """
    year = edition.cog_year or edition.data_year
    variables = COUNTS if edition.layout == "2016" else tuple(v for v in COUNTS if not v.startswith("APRES"))
    com = country.codes[year][districts.atom]
    arm = country.arm[districts.atom]
    communes = np.where(arm == "", com, arm)
    rank = np.array(iris_numbers(communes))
    cells = pl.DataFrame({v: districts.counts[v] for v in variables}).with_columns(
        pl.when(pl.Series(districts.hidden[v]) == "").then(pl.col(v).cast(pl.String)).fill_null("").alias(v)
        for v in variables
    )
    if edition.layout == "2016":
        cells = cells.with_columns(pl.all().str.replace(r"^(\d+)(\d{3})$", "${1}\u202f${2}"))
    names = [country.name("COM" if a == "" else "ARM", c, year) for a, c in zip(arm, communes.tolist(), strict=True)]
    head = pl.DataFrame(
        {
            "CODGEO": [f"{c}{i}" for c, i in zip(communes.tolist(), rank.tolist(), strict=True)],
            "LIBGEO": [f"Quartier {i} (fictif)" for i in rank.tolist()],
            "DEPCOM": communes.tolist(),
            "LIBCOM": names,
            "EPCI": country.epci[year][districts.atom].tolist(),
            "REG": country.territory("REG", year)[districts.atom].tolist(),
            "NOTE": [str(n) for n in districts.note],
        }
    )
    table = pl.concat([head, cells], how="horizontal").sort("CODGEO")
    if edition.data_year >= 2019:
        table = table.drop("LIBGEO", "DEPCOM", "LIBCOM", "EPCI", "REG")
    hidden = (
        pl.DataFrame({v: districts.hidden[v] for v in variables})
        .with_columns(level=pl.lit("IRIS"), code=head["CODGEO"])
        .unpivot(index=["level", "code"], variable_name="variable", value_name="reason")
    )
    data = delimited(table, encoding="utf-8-sig" if edition.data_year <= 2017 else "utf-8")
    return {None: data}, hidden.filter(pl.col("reason") != "")


def iris_numbers(communes: np.ndarray) -> list[str]:
    """Four digits of each district: its rank among those of its commune, from 0101."""
    seen: dict[str, int] = {}
    numbers_: list[str] = []
    for commune in communes.tolist():
        seen[commune] = seen.get(commune, 0) + 1
        numbers_.append(f"{100 + seen[commune]:04d}")
    return numbers_


def caf_communes(country: Country, payments: Mapping[int, Mapping[str, np.ndarray]]) -> Files:
    """RSA and activity bonus by commune, every December in one file, rounded to 5 families and 100 euros.

    Each year is in the geography of the following 1 January. Families without a known commune stand on a line
    of their own, a hundredth of all.
    """
    blocks: list[pl.DataFrame] = []
    for year, columns in payments.items():
        cog = year + 1
        com, arm = (by_code(country, level, cog, columns) for level in ("COM", "ARM"))
        table = city_by_arrondissement(country, com, arm, cog)
        names = [capitals(n) for n in table.select(_name(country, cog)).to_series()]
        lost = pl.DataFrame({n: [float(c.sum()) / 100] for n, c in columns.items()})
        exact = pl.concat([table.with_columns(nomcom=pl.Series(names)), lost], how="diagonal_relaxed")
        blocks.append(
            exact.select(
                dtreffre=pl.lit(f"{year}-12"),
                numcomdo="code",
                nomcom="nomcom",
                **{
                    n: (_nearest(pl.col(n), 5) if n.startswith("indfoy") else _nearest(pl.col(n), 100)) for n in columns
                },
            )
        )
    return {None: delimited(numbers(pl.concat(blocks)), encoding="utf-8-sig")}


def _nearest(column: pl.Expr, unit: int) -> pl.Expr:
    return ((column / unit + 0.5).floor() * unit).cast(pl.Int64)


def _all(columns: Mapping[str, object]) -> dict[str, str]:
    return {n: n for n in columns}


def _name(country: Country, year: int) -> pl.Expr:
    names = country.names[year] | {c: n for (level, c), n in country.zone_names.items() if level == "ARM"}
    return pl.col("code").replace_strict(names)


def _place(country: Country, year: int) -> list[pl.Expr]:
    dep = pl.col("code").str.head(2)
    region = {d: country.name("REG", r, year) for d, r in country.regions.items()}
    return [
        dep.replace_strict(country.regions).alias("REG"),
        dep.replace_strict(region).alias("Région"),
        dep.alias("DEP"),
        pl.col("code").replace_strict(country.arrondissement, default="1").alias("CODARR"),
        pl.lit("01").alias("CODCAN"),
        pl.col("code").str.tail(3).alias("CODCOM"),
        pl.col("code").alias("COM"),
    ]


_SHEET = {
    "COM": (
        "Code région",
        "Nom de la région",
        "Code département",
        "Code arrondissement",
        "Code canton",
        "Code commune",
        "Nom de la commune",
        "Population municipale",
        "Population comptée à part",
        "Population totale",
    ),
    "DEP": (
        "Code région",
        "Nom de la région",
        "Code département",
        "Nom du département",
        "Nombre de communes",
        "Population municipale",
        "Population totale",
    ),
    "REG": (
        "Code région",
        "Nom de la région",
        "Nombre de communes",
        "Population municipale",
        "Population totale",
    ),
}


def _population_sheet(
    country: Country, edition: Edition, level: str, listed: pl.DataFrame, columns: Mapping[str, np.ndarray]
) -> list[tuple[Cell, ...]]:
    """Seven lines before the table, as INSEE lays them out."""
    year = edition.cog_year or edition.data_year
    head: list[tuple[Cell, ...]] = [
        ("Populations légales du pays fictif",),
        (NOTICE,),
        ("en habitant",),
        ("Champ : pays fictif",),
        (f"Date de référence statistique : 1er janvier {edition.data_year}",),
        ("Source :", "Recensement fictif"),
        (),
    ]
    if level == "COM":
        rows = listed.select(*_place(country, year), Commune=_name(country, year), **_all(columns)).drop("COM")
        return [*head, _SHEET[level], *rows.iter_rows()]
    zones = by_code(country, level, year, columns)
    communes = pl.Series(sorted(set(country.codes[year].tolist()))).str.head(2)
    if level == "REG":
        communes = communes.replace_strict(country.regions)
    count = dict(communes.value_counts().iter_rows())
    body: list[tuple[Cell, ...]] = []
    for code, municipal, _, total in zones.select("code", "PMUN", "PCAP", "PTOT").iter_rows():
        region = country.regions[code] if level == "DEP" else code
        own = (code, country.name("DEP", code, year)) if level == "DEP" else ()
        body.append((region, country.name("REG", region, year), *own, count[code], municipal, total))
    return [*head, _SHEET[level], *body]
