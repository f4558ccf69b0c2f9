"""The geography sources in the producers' layouts: official codes, events, intercommunalities, zones.

Each writer takes the country and an edition and gives the bytes of its members, by path (None: the file
itself).
"""

from __future__ import annotations

import unicodedata

import numpy as np
import polars as pl

from sources.demo.country import NO_EPCI, Country, words
from sources.demo.formats import NOTICE, Cell, delimited, numbers, tabbed, workbook
from sources.description import Edition

Members = dict[str | None, bytes]

OUTSIDE = "ZZZZZZZZZ"  # INSEE's code for a commune in no EPCI
# A merger of long ago, as the real file goes back to 1943: mod, date, before, after.
_OLD_EVENT = ("31", "1972-01-01", "COM", "96990", "Ancienne-Fable (fictif)", "COM", "96002", "")


def communes(country: Country, edition: Edition) -> Members:
    """List of communes, delegated communes and arrondissements municipaux of one year."""
    if edition.layout == "texte":
        return {_path(edition): tabbed(_communes_text(country, edition.data_year))}
    year = edition.data_year
    table = _units(country, year).select(
        TYPECOM="typecom",
        COM="code",
        REG="region",
        DEP="departement",
        CTCD=pl.col("departement") + "D",
        ARR="arrondissement",
        TNCC=pl.lit("0"),
        NCC=_capitals("name"),
        NCCENR="name",
        LIBELLE="name",
        CAN=pl.col("departement") + "01",
        COMPARENT="parent",
    )
    return {_path(edition): _dialect(table if year >= 2021 else table.drop("CTCD"), year)}


def departements(country: Country, edition: Edition) -> Members:
    """List of départements."""
    rows = [(r, d, f"{d}001", country.name("DEP", d, edition.data_year)) for d, r in country.regions.items()]
    return _zones(edition, pl.DataFrame(rows, ["REG", "DEP", "CHEFLIEU", "name"], orient="row"), "DEP")


def regions(country: Country, edition: Edition) -> Members:
    """List of régions."""
    seats = {r: f"{d}001" for d, r in reversed(country.regions.items())}
    rows = [(r, seat, country.name("REG", r, edition.data_year)) for r, seat in sorted(seats.items())]
    return _zones(edition, pl.DataFrame(rows, ["REG", "CHEFLIEU", "name"], orient="row"), "REG")


def events(country: Country, edition: Edition) -> Members:
    """Events until 1 January of the edition, newest first; the edition of 2022 repeats a line."""
    until = f"{edition.data_year}-01-01"
    after = country.names[min(country.names)]["96002"]
    rows = [e for e in country.events if e[1] <= until] + [(*_OLD_EVENT[:7], after)]
    if edition.layout == "historique":
        return {_path(edition): tabbed(_events_text(rows))}
    rows.sort(key=lambda e: (e[0], e[3], e[6]))
    rows.sort(key=lambda e: e[1], reverse=True)
    if edition.data_year == 2022:
        rows.append(rows[0])
    names = ["MOD", "DATE_EFF", "TYPECOM_AV", "COM_AV", "LIBELLE_AV", "TYPECOM_AP", "COM_AP", "LIBELLE_AP"]
    table = pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")
    if edition.data_year == 2019:
        date = pl.col("DATE_EFF").str
        table = table.with_columns(DATE_EFF=date.slice(8, 2) + "/" + date.slice(5, 2) + "/" + date.slice(2, 2))
    sides = [
        expr
        for side in ("AV", "AP")
        for expr in (
            pl.col(f"TYPECOM_{side}", f"COM_{side}"),
            pl.lit("0").alias(f"TNCC_{side}"),
            _capitals(f"LIBELLE_{side}").alias(f"NCC_{side}"),
            pl.col(f"LIBELLE_{side}").alias(f"NCCENR_{side}"),
            pl.col(f"LIBELLE_{side}"),
        )
    ]
    return {_path(edition): _dialect(table.select("MOD", "DATE_EFF", *sides), edition.data_year, bom=False)}


def epci(country: Country, edition: Edition, inhabitants: np.ndarray) -> Members:
    """Composition of the EPCI, one row per member, as the DGCL writes it; inhabitants by atom."""
    year = edition.data_year
    people = _by_commune(country, year, inhabitants).filter(pl.col("epci") != NO_EPCI)
    table = (
        people.with_columns(
            total=pl.col("pop").sum().over("epci"),
            members=pl.len().over("epci"),
            name=pl.col("epci").replace_strict({s: n for s, (n, _) in country.epci_names.items()}),
            nature=pl.col("epci").replace_strict({s: n for s, (_, n) in country.epci_names.items()}),
        )
        .sort(pl.col("departement").first().over("epci"), "epci", -pl.col("pop"), "code")
        .select(
            dept=pl.col("departement").first().over("epci"),
            siren="epci",
            raison_sociale="name",
            nature_juridique="nature",
            mode_financ=pl.lit("FPU"),
            nb_membres="members",
            total_pop_tot=_total(pl.col("total")),
            total_pop_mun="total",
            dep_com="departement",
            insee="code",
            siren_membre=pl.lit("2") + pl.col("code") + "000",
            nom_membre="label",
            **{f"ptot_{year}": _total(pl.col("pop")), f"pmun_{year}": pl.col("pop")},
        )
    )
    return {None: workbook({edition.members[0].sheet or "": [table.columns, *table.iter_rows()]})}


def old_epci(country: Country, edition: Edition) -> Members:
    """EPCI of each commune from 2014 to 2019, one year a block, and their names."""
    blocks, labels = [], []
    for year in range(2014, 2020):
        table = _by_commune(country, year, np.zeros(country.home.size, dtype=np.int64)).sort("code")
        of = table.with_columns(annee=pl.lit(str(year)), EPCI=pl.col("epci").replace(NO_EPCI, OUTSIDE))
        blocks.append(of.select("annee", CODGEO="code", LIBGEO="label", DEP="departement", REG="region", EPCI="EPCI"))
        count = of.group_by("EPCI", maintain_order=True).len().sort("EPCI")
        names = {OUTSIDE: "Sans objet"} | {s: n for s, (n, _) in country.epci_names.items()}
        labels.append(
            count.select(
                NIVGEO=pl.lit("EPCI"),
                CODGEO="EPCI",
                LIBGEO=pl.col("EPCI").replace_strict(names),
                NB_COM="len",
                annee=pl.lit(str(year)),
            )
        )
    paths = {m.table: m.path for m in edition.members}
    return {
        paths["communes"]: delimited(pl.concat(blocks), separator=",", end="\n"),
        paths["libelles"]: delimited(numbers(pl.concat(labels)), separator=",", end="\n"),
    }


def membership(country: Country, edition: Edition) -> Members:
    """Table of the zones of each commune (EPCI, EPT from 2024 on, arrondissement, employment zone)."""
    year = edition.data_year
    table = _by_commune(country, year, np.zeros(country.home.size, dtype=np.int64)).sort("code")
    nature = {s: "ME" if n == "METRO" else n for s, (_, n) in country.epci_names.items()} | {OUTSIDE: OUTSIDE[:2]}
    zones = table.select(
        CODGEO="code",
        LIBGEO="label",
        DEP="departement",
        REG="region",
        EPCI=pl.col("epci").replace(NO_EPCI, OUTSIDE),
        EPT=pl.col("ept").replace("", OUTSIDE),
        ARR="arrondissement",
        ZE2020="ze",
    ).with_columns(NATURE_EPCI=pl.col("EPCI").replace_strict(nature))
    zones = zones if year >= 2024 else zones.drop("EPT")
    names: list[tuple[Cell, ...]] = []
    for column, level in {"ARR": "ARR", "EPCI": "EPCI", "EPT": "EPT", "ZE2020": "ZE"}.items():
        if column in zones.columns:
            members = zones.group_by(column).len().sort(column)
            names += [
                (column, code, "Sans objet" if code == OUTSIDE else country.name(level, code, year), n)
                for code, n in members.iter_rows()
            ]
    head = [
        (f"Liste des communes au 1er janvier {year} - {NOTICE}",),
        ("Pays fictif",),
        (f"Géographie au 01/01/{year}",),
        (NOTICE,),
    ]
    sheets = {
        "COM": [*head, [_LABELS[c] for c in zones.columns], zones.columns, *zones.iter_rows()],
        "Zones_supra_communales": [*head, _ZONE_LABELS, ("NIVGEO", "CODGEO", "LIBGEO", "NB_COM"), *names],
    }
    return {_path(edition): workbook(sheets)}


_LABELS = {
    "CODGEO": "Code géographique",
    "LIBGEO": "Libellé géographique",
    "DEP": "Département",
    "REG": "Région",
    "EPCI": "Intercommunalité - Métropole",
    "EPT": "Établissement public territorial",
    "ARR": "Arrondissement",
    "ZE2020": "Zone d'emploi 2020",
    "NATURE_EPCI": "Nature d'EPCI",
}
_ZONE_LABELS = ("Niveau géographique", "Code géographique", "Libellé géographique", "Nombre communes")


def _path(edition: Edition) -> str | None:
    return edition.members[0].path if edition.members else None


def _total(municipal: pl.Expr) -> pl.Expr:
    """Population totale, which counts some people twice."""
    return municipal + municipal // 60


def _capitals(column: str) -> pl.Expr:
    return pl.col(column).map_elements(capitals, return_dtype=pl.String)


def capitals(name: str) -> str:
    """A name as INSEE writes it in capitals: no accent, no hyphen, no apostrophe."""
    plain = unicodedata.normalize("NFKD", name.replace("œ", "oe").replace("Œ", "OE"))
    letters = "".join(c for c in plain if not unicodedata.combining(c))
    return letters.replace("-", " ").replace("'", " ").upper()


def _by_commune(country: Country, year: int, people: np.ndarray) -> pl.DataFrame:
    """One row per commune: its zones, its name and the sum of `people`."""
    atoms = {
        level.lower(): country.territory(level, year) for level in ("COM", "EPCI", "EPT", "DEP", "REG", "ARR", "ZE")
    }
    frame = pl.DataFrame({n: a.tolist() for n, a in atoms.items()} | {"pop": people})
    frame = frame.rename({"com": "code", "dep": "departement", "reg": "region", "arr": "arrondissement"})
    zones = [c for c in frame.columns if c not in ("code", "pop")]
    table = frame.group_by("code", maintain_order=True).agg(pl.col(zones).first(), pl.col("pop").sum())
    return table.with_columns(label=pl.col("code").replace_strict(country.names[year]))


def _units(country: Country, year: int) -> pl.DataFrame:
    """COM, then ARM, then COMD rows of one year, as INSEE orders them."""
    com = (
        _by_commune(country, year, np.zeros(country.home.size, dtype=np.int64))
        .sort("code")
        .select(
            pl.lit("COM").alias("typecom"),
            "code",
            pl.col("label").alias("name"),
            "departement",
            "region",
            "arrondissement",
            pl.lit(None, pl.String).alias("parent"),
        )
    )
    city = com.row(com["code"].to_list().index(str(country.codes[year][0])), named=True)
    arm = [
        city | {"typecom": "ARM", "code": a, "name": country.name("ARM", a, year), "parent": city["code"]}
        for a in country.arms
    ]
    blank = {"departement": None, "region": None, "arrondissement": None}
    comd = [
        {"typecom": "COMD", "code": c, "name": n, **blank, "parent": p}
        for c, (n, p) in sorted(country.delegated[year].items())
    ]
    return pl.concat([com, pl.DataFrame(arm + comd, schema=com.schema)])


def _dialect(table: pl.DataFrame, year: int, *, bom: bool = True) -> bytes:
    """CSV as INSEE wrote it that year: header in lower case to 2020, a BOM in 2019, everything quoted in
    2024.
    """
    if year <= 2020:
        table = table.rename(str.lower)
    return delimited(
        table,
        separator=",",
        end="\n" if year == 2020 else "\r\n",
        quote=year == 2024,
        encoding="utf-8-sig" if bom and year == 2019 else "utf-8",
    )


def _zones(edition: Edition, table: pl.DataFrame, level: str) -> Members:
    names = {"NCC": _capitals("name"), "NCCENR": pl.col("name")}
    if edition.layout == "texte":
        codes = [c for c in ("REG", "DEP") if c in table.columns]
        text = table.select(*codes, "CHEFLIEU", TNCC=pl.lit("0"), **names).rename({"REG": "REGION"})
        return {_path(edition): tabbed(text)}
    codes = ["DEP", "REG"] if level == "DEP" else ["REG"]
    csv = table.select(*codes, "CHEFLIEU", TNCC=pl.lit("0"), **names, LIBELLE=pl.col("name"))
    return {_path(edition): _dialect(csv, edition.data_year, bom=False)}


_TEXT = words(
    """
    ACTUAL CHEFLIEU CDC RANG REG DEP COM AR CT MODIF POLE TNCC ARTMAJ NCC ARTMIN NCCENR ARTICLCT NCCCT
    """
)


def _communes_text(country: Country, year: int) -> pl.DataFrame:
    """Layout to 2018, with lines that are no unit of that year: a former code (4), a fraction of the city
    (9).
    """
    kinds = {"COM": "1", "ARM": "5", "COMD": "6"}
    units = _units(country, year).with_columns(
        ACTUAL=pl.col("typecom").replace_strict(kinds),
        DEP=pl.col("code").str.head(2),
        REG=pl.col("code").str.head(2).replace_strict(country.regions),
    )
    moved = [(e[3], e[6], e[4]) for e in country.events if e[0] == "41" and e[1] <= f"{year}-01-01"]
    extra = [
        {
            "ACTUAL": "4",
            "code": old,
            "DEP": old[:2],
            "REG": country.regions[old[:2]],
            "parent": new,
            "name": name,
        }
        for old, new, name in moved
    ]
    fraction = units.filter(pl.col("code") == str(country.codes[year][0])).with_columns(ACTUAL=pl.lit("9"))
    table = pl.concat([units, pl.DataFrame(extra, schema_overrides={"code": pl.String}), fraction], how="diagonal")
    filled = table.select(
        "ACTUAL",
        "REG",
        "DEP",
        COM=pl.col("code").str.tail(3),
        AR=pl.col("arrondissement").str.tail(1),
        POLE="parent",
        TNCC=pl.lit("0"),
        NCC=_capitals("name"),
        NCCENR="name",
    ).sort("DEP", "COM", "ACTUAL")
    return filled.select(pl.col(c) if c in filled.columns else pl.lit(None, pl.String).alias(c) for c in _TEXT)


_OLD = words(
    """
    DEP AR CT COM LEG JO EFF DTR MOD C_LOFF C_LANC NBCOM RANGCOM COMECH POPECH SUECH DEPANC ARRANC CTANC
    TNCCOFF NCCOFF TNCCANC NCCANC
    """
)


def _events_text(rows: list[tuple[str, ...]]) -> pl.DataFrame:
    """Layout to 2018: a merger is told by the commune that joins (331) and by the new one (341)."""
    lines: list[dict[str, str]] = []
    for mod, date, kind, code, name, to, to_code, to_name in rows:
        if (kind, to) != ("COM", "COM"):
            continue
        day = "-".join(reversed(date.split("-")))
        joins = {
            "MOD": "331" if mod == "32" else "310",
            "DEP": code[:2],
            "COM": code[2:],
            "COMECH": to_code,
            "NCCOFF": name,
        }
        grows = {"MOD": "341", "DEP": to_code[:2], "COM": to_code[2:], "COMECH": code, "NCCOFF": to_name}
        moves = {"MOD": "411", "DEP": to_code[:2], "COM": to_code[2:], "DEPANC": code, "NCCOFF": to_name}
        told = {"31": [joins], "32": [joins, grows], "41": [moves]}.get(mod, [])
        lines += [line | {"EFF": day, "DTR": day, "TNCCOFF": "0"} for line in told]
    return pl.DataFrame(lines, schema=dict.fromkeys(_OLD, pl.String)).sort("DEP", "COM", "EFF", maintain_order=True)
