"""IRIS and priority districts (QPV) of the fictional country: their lists, and INSEE's figures by QPV.

The pieces of the country are those of the households: each atom in one piece or several. A piece of a commune of
several pieces is an IRIS, under a code that follows its commune; a QPV is a few pieces, the same from 2015 on.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from sources.demo.caf import by_district
from sources.demo.country import Country, words
from sources.demo.files_counts import iris_numbers
from sources.demo.formats import NOTICE, Cell, delimited, numbers, workbook
from sources.demo.households import Households, Year
from sources.description import Edition

Files = dict[str | None, bytes]
TOLD = 5  # years of changes in the list of IRIS
_FIGURES = words(
    """
    POP_MUN POP_COM_QP POP_COM LIB_COM TX_F TX_TOT_0A24 TX_F_0A24 TX_TOT_60ETPLUS TX_F_60ETPLUS IND_JEUNE TX_TOT_MEN1
    TX_TOT_MEN6 TX_TOT_ET TX_F_ET A PERCOU AM AI ACSSENF ACAVENF AC3ENF A_NETUD_24 A_ETUD ENF ENF_2 ENF_3_5 ENF_6_10
    ENF_11_14 ENF_15_17 ENF_18_24 NOTE_CNAF
    """
)
EXCHANGE = 2021  # first pieces of the city's first two arrondissements exchange some land that year


def pieces(country: Country, iris_count: np.ndarray, year: int) -> pl.DataFrame:
    """One row per piece: atom, rank in the atom, whether the atom is divided, commune (or arrondissement municipal)
    and IRIS of that year. The IRIS of an undivided commune ends in 0000, as INSEE writes it."""
    atom = np.repeat(np.arange(iris_count.size), iris_count)
    place = np.where(country.arm == "", country.codes[year], country.arm)[atom]
    frame = pl.DataFrame({"atom": atom, "commune": place.tolist(), "divided": iris_count[atom] > 1})
    frame = frame.with_columns(rank=pl.int_range(pl.len()).over("atom")).with_row_index("order")
    # pieces of divided atoms come first in their commune: those are the districts of the other files
    ordered = frame.sort(~pl.col("divided"), "order", maintain_order=True)
    ordered = ordered.with_columns(number=pl.Series(iris_numbers(ordered["commune"].to_numpy())))
    whole = ~pl.col("divided").any().over("commune")
    return (
        ordered.with_columns(iris=pl.col("commune") + pl.when(whole).then(pl.lit("0000")).otherwise("number"))
        .sort("order")
        .drop("number", "order")
    )


def iris_list(country: Country, edition: Edition, iris_count: np.ndarray) -> Files:
    """The workbook of the IRIS of a year and of their changes over five years."""
    year = edition.data_year
    own = pieces(country, iris_count, year)
    region, departement = (country.territory(level, year)[own["atom"]] for level in ("REG", "DEP"))
    named = [
        country.name("COM" if arm == "" else "ARM", code, year)
        for arm, code in zip(country.arm[own["atom"]].tolist(), own["commune"].to_list(), strict=True)
    ]
    table = (
        own.with_columns(LIBCOM=pl.Series(named), REG=pl.Series(region.tolist()), DEP=pl.Series(departement.tolist()))
        .unique("iris", keep="first", maintain_order=True)
        .with_columns(whole=pl.col("iris").str.ends_with("0000"))
        .select(
            CODE_IRIS="iris",
            LIB_IRIS=pl.when("whole")
            .then(pl.format("{} (commune non irisée)", "LIBCOM"))
            .otherwise(pl.format("Quartier {} (fictif)", pl.col("iris").str.tail(4))),
            TYP_IRIS=pl.when("whole").then(pl.lit("Z")).otherwise(pl.lit("H")),
            GRD_QUART=pl.col("iris").str.head(7),
            DEPCOM="commune",
            LIBCOM="LIBCOM",
            UU2020=pl.col("DEP") + pl.lit("000"),
            REG="REG",
            DEP="DEP",
        )
        .sort("CODE_IRIS")
    )
    changed = pl.concat([_changes(country, iris_count, y) for y in range(year, year - TOLD, -1)])
    head = [
        (f"Liste des IRIS au 1er janvier {year} - {NOTICE}",),
        ("Pays fictif",),
        (NOTICE,),
        (NOTICE,),
    ]
    sheets = {
        "Emboitements_IRIS": [*head, [_LABELS[c] for c in table.columns], table.columns, *table.iter_rows()],
        "Modifications_IRIS": [*head, [_LABELS[c] for c in changed.columns], changed.columns, *changed.iter_rows()],
    }
    return {edition.members[0].path: workbook(sheets)}


def _changes(country: Country, iris_count: np.ndarray, year: int) -> pl.DataFrame:
    """The IRIS of divided communes whose code changed on 1 January, and the exchange of land."""
    before, after = (pieces(country, iris_count, y) for y in (year - 1, year))
    pairs = pl.DataFrame({"IRIS_INI": before["iris"], "IRIS_FIN": after["iris"]})
    whole = pl.col("IRIS_INI", "IRIS_FIN").str.ends_with("0000")
    moved = pairs.filter((pl.col("IRIS_INI") != pl.col("IRIS_FIN")) & ~pl.all_horizontal(whole)).unique()
    rows = [(a, b, "3", "Rétablissement/Fusion de communes irisées") for a, b in moved.sort(pl.all()).iter_rows()]
    if year == EXCHANGE and country.arms:
        one, other = before["iris"][0], before.filter(pl.col("atom") == 1)["iris"][0]
        rows += [(a, b, "4", "Échange de parcelles") for a, b in ((one, one), (one, other), (other, other))]
    columns = ["IRIS_INI", "IRIS_FIN", "MODIF_IRIS", "NATURE_MODIF"]
    table = pl.DataFrame(rows, dict.fromkeys(columns, pl.String), orient="row")

    def place(side: str, y: int) -> list[pl.Expr]:
        code = pl.col(f"IRIS_{side}").str.head(5)
        names = country.names[y] | {c: n for (level, c), n in country.zone_names.items() if level == "ARM"}
        return [code.alias(f"COM_{side}"), code.replace_strict(names).alias(f"LIB_COM_{side}")]

    return table.select(
        pl.lit(str(year)).alias("ANNEE_MODIF"),
        "IRIS_INI",
        *place("INI", year - 1),
        "IRIS_FIN",
        *place("FIN", year),
        "MODIF_IRIS",
        "NATURE_MODIF",
    )


def qpv(country: Country, iris_count: np.ndarray, perimeters: int = 2015) -> pl.DataFrame:
    """The pieces of each QPV of 2015 or of 2024: code, atom, rank. Most lie in one commune, the first of the city in
    two arrondissements, and the first elsewhere in two communes where the next one is of the same département. The
    last of 2015 is no longer one in 2024."""
    own = pieces(country, iris_count, 2015).filter("divided")
    city = own.filter(pl.col("atom") < country.city.sum())
    rest = own.filter((pl.col("atom") >= country.city.sum()) & (pl.col("rank") == 0))
    groups = [[(a, r)] for a, r in city.filter(pl.col("rank") == 0).select("atom", "rank").iter_rows()]
    groups[0] += [(1, 1)]
    alone = [[(a, r)] for a, r in rest.select("atom", "rank").iter_rows()]
    departement = country.territory("DEP", 2015)
    if len(alone) > 1 and departement[alone[0][0][0]] == departement[alone[1][0][0]]:
        alone[:2] = [alone[0] + alone[1]]
    groups = (groups + alone)[: -1 if perimeters == 2024 else None]
    seen: dict[str, int] = {}
    rows: list[tuple[str, int, int]] = []
    for group in groups:
        of = str(departement[group[0][0]])
        seen[of] = seen.get(of, 0) + 1
        code = f"QN0{of}{seen[of]:02d}M" if perimeters == 2024 else f"QP0{of}{seen[of]:03d}"
        rows += [(code, atom, rank) for atom, rank in group]
    return pl.DataFrame(rows, {"code": pl.String, "atom": pl.Int64, "rank": pl.Int64}, orient="row")


def qpv_list(country: Country, edition: Edition, iris_count: np.ndarray) -> Files:
    """The QPV of 2024 with the codes of their communes, without its leading zero when there is one."""
    year = edition.cog_year or edition.data_year
    own = pieces(country, iris_count, year).select("atom", "rank", "commune")
    districts = _in_communes(qpv(country, iris_count, 2024).join(own, on=["atom", "rank"]), country, year)
    table = districts.select(
        code_qp="code",
        lib_qp=pl.format("Quartier {} de l'Exemple (fictif)", "code"),
        insee_com=pl.col("commune").list.join("; ").str.replace(r"^0(\d{4})$", "${1}"),
        lib_com=pl.col("place").list.join("; "),
    )
    return {None: delimited(table, encoding="utf-8-sig")}


def _in_communes(districts: pl.DataFrame, country: Country, year: int) -> pl.DataFrame:
    """code, and the codes (`commune`) and names (`place`) of its communes, sorted."""
    names = country.names[year] | {c: n for (level, c), n in country.zone_names.items() if level == "ARM"}
    return (
        districts.select("code", "commune", place=pl.col("commune").replace_strict(names))
        .unique()
        .sort("code", "commune")
        .group_by("code", maintain_order=True)
        .agg("commune", "place")
    )


def qpv_figures(country: Country, edition: Edition, all_of: Households, of: Year) -> Files:
    """Population and families receiving benefits by QPV of 2015; the rates of the census are not imitated, hence
    blank. Only the edition of 2018 names the districts and has a line for all of them."""
    year = edition.cog_year or edition.data_year
    own = pieces(country, all_of.iris_count, year)
    counted = by_district(all_of, of).counts
    columns = [c for c in _FIGURES if c in counted]
    first = np.concatenate([[0], np.cumsum(all_of.iris_count)[:-1].astype(np.int64)])
    people = np.bincount(first[of.atom] + all_of.iris[of.present], of.persons, minlength=own.height).astype(np.int64)
    own = own.with_columns(POP_MUN=pl.Series(people)).with_columns(POP_COM=pl.col("POP_MUN").sum().over("commune"))
    divided = own.filter("divided").with_columns(pl.Series(n, counted[n]) for n in columns)
    inside = qpv(country, all_of.iris_count).join(divided, on=["atom", "rank"])
    communes = inside.group_by("code", "commune").agg(pl.col("POP_MUN").sum(), pl.col("POP_COM").first())
    in_qpv = communes.with_columns(POP_COM_QP=pl.col("POP_MUN").sum().over("commune"))
    table = (
        _in_communes(inside, country, year)
        .join(in_qpv.group_by("code").agg(pl.col("POP_COM_QP", "POP_COM").sum()), on="code")
        .join(inside.group_by("code").agg(pl.col("POP_MUN", *columns).sum()), on="code")
        .sort("code")
        .with_columns(LIB_COM=pl.col("place").list.join(", "), NOTE_CNAF=pl.lit("0"))
    )
    blank = {c: pl.lit(None, pl.Int64) for c in _FIGURES if c not in table.columns}
    text = numbers(table.with_columns(**blank).select(CODGEO="code", **{c: pl.col(c) for c in _FIGURES}))
    if edition.data_year <= 2018:
        text = text.with_columns(LIBGEO=pl.format("Quartier {} de l'Exemple (fictif)", "CODGEO"))
        total = pl.DataFrame({"CODGEO": "Ensemble", "LIBGEO": "Ensemble des QPV du pays fictif"})
        text = pl.concat([total, text], how="diagonal").fill_null("").select("CODGEO", "LIBGEO", *_FIGURES)
    return {None: delimited(text)}


_LABELS: dict[str, Cell] = {
    "CODE_IRIS": "Code IRIS",
    "LIB_IRIS": "Libellé IRIS",
    "TYP_IRIS": "Type IRIS",
    "GRD_QUART": "Grand-Quartier",
    "DEPCOM": "Code département commune",
    "LIBCOM": "Libellé de commune",
    "UU2020": "Unité urbaine 2020",
    "REG": "Région",
    "DEP": "Département",
    "ANNEE_MODIF": "Année de modification",
    "IRIS_INI": "Code Iris initial",
    "COM_INI": "Commune initiale",
    "LIB_COM_INI": "Libellé de la commune initiale",
    "IRIS_FIN": "Code Iris final",
    "COM_FIN": "Commune finale",
    "LIB_COM_FIN": "Libellé de la commune finale",
    "MODIF_IRIS": "Modification de l'IRIS",
    "NATURE_MODIF": "Nature de la modification",
}
