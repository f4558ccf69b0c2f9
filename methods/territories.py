"""Territories of the reference COG, who belongs to what each year, which published territories are the same.

A territory is a set of communes. Codes are compared only through the communes they stand for: an EPCI may
keep its code when its perimeter changes, and change its code when it keeps its perimeter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from methods.passage import convert

METRO, FRANCE = "FM", "F"
NAMES = {METRO: "France métropolitaine", FRANCE: "France"}
# Zonings that may be carried from one year to another, and since when they exist as they are now. EPCI may
# not: their perimeters change every year. Of ARR only names are used (see members_by_year).
CARRIED_SINCE = {"EPT": 2016, "ZE": 2020, "ARR": 2016}
ABOVE = ("EPCI", "EPT", "ARR", "ZE", "DEP", "REG", "METRO", "FRANCE")
TERRITORY = (
    "territory_id",
    "level",
    "code",
    "name",
    "cog_year",
    "perimeter_year",
    "commune_id",
    "epci_id",
    "departement_id",
    "region_id",
)


def reference_year(list_years: Iterable[int], composition_years: Iterable[int]) -> int:
    """The newest COG with a list of communes and a composition of EPCI; ValueError when none has both."""
    both = set(list_years) & set(composition_years)
    if not both:
        raise ValueError("aucune année n'a à la fois une liste de communes et une composition des EPCI")
    return max(both)


def communes_of_year(communes: pl.DataFrame, table: pl.DataFrame, list_year: int, year: int) -> pl.DataFrame:
    """The list of communes of a year that has none, from the nearest year that has one (columns as COMMUNES).

    Départements are read in the code of the commune (the first two characters, three overseas), régions are
    those that the list gives these départements. Names and parents are null, arrondissements too.
    """
    current = communes.filter(pl.col("typecom") == "COM")
    regions = current.select("departement", "region").unique()
    moved = convert(current["code"], table, list_year, year).select(code="to_code").unique().sort("code")
    overseas = pl.col("code").str.starts_with("97")
    listed = moved.with_columns(
        departement=pl.when(overseas).then(pl.col("code").str.head(3)).otherwise(pl.col("code").str.head(2))
    ).join(regions, on="departement", how="left", maintain_order="left")
    districts = communes.filter(pl.col("typecom") == "ARM")
    rows = listed.with_columns(
        typecom=pl.lit("COM").cast(communes.schema["typecom"]),
        **{c: pl.lit(None, pl.String) for c in ("name", "arrondissement", "parent")},
    )
    return pl.concat([rows.select(communes.columns), districts])


def composition_of_year(compositions: pl.DataFrame, table: pl.DataFrame, year: int) -> pl.DataFrame:
    """Zones of each commune in the COG `year`: (level, code, name, nature, commune), at most one a level.

    compositions: all compositions read, with columns `year` and `issue` added; the highest issue of a year
    and level wins. EPT, ZE and ARR that the year lacks are carried from the nearest year through the
    passage, a commune that would be in two zones being left out; EPCI never are.
    """
    held = compositions.select("level", "year", "issue").unique().cast({"level": pl.String})
    columns = [pl.col("level").cast(pl.String), "code", "name", "nature", "commune"]
    parts = [compositions.clear().select(columns)]
    for level in ("EPCI", *CARRIED_SINCE):
        since = CARRIED_SINCE.get(level)
        right = (pl.col("year") == year) if since is None else (pl.col("year") >= since)
        usable = held.filter(pl.col("level") == level, right)
        if usable.height == 0 or (since is not None and year < since):
            continue
        distance = (pl.col("year") - year).abs()
        nearest, issue = usable.sort(distance, "year", -pl.col("issue")).select("year", "issue").row(0)
        rows = compositions.filter(
            pl.col("year") == nearest, pl.col("issue") == issue, pl.col("level") == level
        ).select(columns)
        parts.append(rows if nearest == year else _carried(rows, table, nearest, year))
    return pl.concat(parts)


def _carried(rows: pl.DataFrame, table: pl.DataFrame, from_year: int, to_year: int) -> pl.DataFrame:
    """Zones of a level moved to another COG, without the communes that would be in two of them."""
    moved = convert(rows["commune"], table, from_year, to_year).select(commune="from_code", now="to_code")
    carried = rows.join(moved, on="commune", maintain_order="left_right")
    carried = carried.with_columns(commune="now").drop("now").unique(maintain_order=True)
    return carried.filter(~pl.col("commune").is_duplicated())


def members_by_year(communes: pl.DataFrame, composition: pl.DataFrame) -> pl.DataFrame:
    """Communes of every territory of one COG, in that year's codes: (level, code, commune).

    communes: list of the year (or from `communes_of_year`); composition: from `composition_of_year`.
    Levels: COM and ARM (each its own member), EPCI, EPT and ZE from the composition, ARR, DEP and REG from
    the list, METRO (everything but the five overseas départements) and FRANCE. Arrondissements municipaux
    are members of nothing else: their commune is.
    """
    current = communes.filter(pl.col("typecom") == "COM")
    own = communes.filter(pl.col("typecom").is_in(["COM", "ARM"])).select(
        level=pl.col("typecom").cast(pl.String), code="code", commune="code"
    )

    def of(level: str, code: pl.Expr) -> pl.DataFrame:
        rows = current.select(level=pl.lit(level), code=code, commune="code")
        return rows.filter(pl.col("code").is_not_null())

    mainland = pl.when(pl.col("departement").str.len_chars() == 2).then(pl.lit(METRO))
    zones = composition.filter(pl.col("level") != "ARR").select(
        pl.col("level").cast(pl.String), "code", "commune"
    )
    return pl.concat(
        [
            own,
            zones,
            of("ARR", pl.col("arrondissement")),
            of("DEP", pl.col("departement")),
            of("REG", pl.col("region")),
            of("METRO", mainland),
            of("FRANCE", pl.lit(FRANCE)),
        ]
    )


def territories(
    communes: pl.DataFrame,
    departements: pl.DataFrame,
    regions: pl.DataFrame,
    composition: pl.DataFrame,
    cog_year: int,
) -> pl.DataFrame:
    """The territories of the reference COG: one row per territory, columns TERRITORY, sorted by territory_id.

    epci_id, departement_id and region_id are the territory above, where one holds it whole: an EPCI astride
    two départements has none, and so has a région of one département. A commune outside any EPCI has no epci_id.
    commune_id is the city of an arrondissement municipal; perimeter_year is for what is not made of communes
    (methods/districts.py).
    """
    members = members_by_year(communes, composition)
    above = _above(communes, composition)
    held = (
        members.join(above, on="commune")
        .group_by("level", "code")
        .agg(only("epci_id"), only("departement_id"), only("region_id"))
    )
    names = pl.concat(
        [
            communes.filter(pl.col("typecom").is_in(["COM", "ARM"])).select(
                level=pl.col("typecom").cast(pl.String), code="code", name="name"
            ),
            *(
                zones.select(pl.col("level").cast(pl.String), "code", "name")
                for zones in (departements, regions)
            ),
            composition.select("level", "code", "name").unique(subset=["level", "code"]),
            pl.DataFrame(
                {"level": ["METRO", "FRANCE"], "code": [METRO, FRANCE], "name": list(NAMES.values())}
            ),
        ]
    )
    level = pl.col("level")
    cities = communes.filter(pl.col("typecom") == "ARM").select(
        level=pl.lit("ARM"), code="code", commune_id=pl.lit("COM-") + pl.col("parent")
    )
    return (
        held.join(names, on=["level", "code"], how="left")
        .join(cities, on=["level", "code"], how="left")
        .with_columns(
            territory_id=_identifier(),
            name=pl.coalesce("name", "code"),
            cog_year=pl.lit(cog_year, pl.Int16),
            perimeter_year=pl.lit(None, pl.Int16),
            epci_id=pl.when(level.is_in(["COM", "ARM", "EPT"])).then("epci_id"),
            departement_id=pl.when(~level.is_in(["DEP", "REG"])).then("departement_id"),
            region_id=pl.when(level != "REG").then("region_id"),
        )
        .select(TERRITORY)
        .sort("territory_id")
    )


def territory_members(communes: pl.DataFrame, composition: pl.DataFrame, cog_year: int) -> pl.DataFrame:
    """Members of the territories of the reference COG: (parent_id, child_id, cog_year, share).

    Every territory above the commune has one row per commune: descending to communes is one join on
    parent_id, and no commune is met twice under a parent. The arrondissements municipaux are the members of
    Paris, Lyon and Marseille, and of nothing else. Share is 1: no commune is partly inside a territory
    here.
    """
    members = members_by_year(communes, composition).filter(pl.col("level").is_in(ABOVE))
    districts = communes.filter(pl.col("typecom") == "ARM").select(
        parent_id=pl.lit("COM-") + pl.col("parent"), child_id=pl.lit("ARM-") + pl.col("code")
    )
    rows = members.select(parent_id=_identifier(), child_id=pl.lit("COM-") + pl.col("commune"))
    return (
        pl.concat([rows, districts])
        .with_columns(cog_year=pl.lit(cog_year, pl.Int16), share=pl.lit(1.0))
        .sort("parent_id", "child_id")
    )


def published_communes(
    communes: Sequence[str] | pl.Series,
    table: pl.DataFrame,
    data_year: int,
    cog_year: int,
    published: Sequence[str] | pl.Series,
) -> pl.DataFrame:
    """What each code of an edition that lists every commune stands for: (code, commune), communes of its COG.

    Figures of a year before a split cannot be divided: such an edition keeps the undivided commune under
    its code although its COG has the pieces (Filosofi 2017, COG 2020: 14712 still holds 14666). A piece
    that is not published is therefore in the figures of the piece that kept the code. data_year: the year
    described; splits between it and cog_year are looked for. Not for editions that leave out small
    communes.
    """
    listed = pl.DataFrame({"commune": pl.Series(communes, dtype=pl.String)}).unique(maintain_order=True)
    if data_year >= cog_year:
        return listed.select(code="commune", commune="commune")
    there = pl.Series(published, dtype=pl.String).implode()
    pieces = table.filter(
        (pl.col("from_year") == data_year)
        & (pl.col("to_year") == cog_year)
        & (pl.col("kind") == "split")
        & ~(pl.col("share") == 1).fill_null(False)
    ).select("from_code", commune="to_code")
    keeper = pieces.filter((pl.col("commune") == pl.col("from_code")) & pl.col("commune").is_in(there))
    kept = pieces.filter(~pl.col("commune").is_in(there)).join(
        keeper.select("from_code", code="commune"), on="from_code"
    )
    return listed.join(
        kept.select("commune", "code"), on="commune", how="left", maintain_order="left"
    ).select(code=pl.coalesce("code", "commune"), commune="commune")


def same_territory(
    edition: pl.DataFrame, reference: pl.DataFrame, table: pl.DataFrame, from_year: int, to_year: int
) -> pl.DataFrame:
    """Published territories that are a territory of the reference: (level, code, territory_id).

    edition, reference: (level, code, commune) in the codes of from_year and to_year, edition holding every
    commune of its COG at some level. The test: once every commune is moved through the passage, the two sets
    touch only each other. A merger across the border or a split makes them differ; a new code does not.
    """
    links = convert(edition["commune"].unique(), table, from_year, to_year).select(
        commune="from_code", reference="to_code"
    )
    key = ["level", "code"]
    theirs = reference.select("level", target="code", reference="commune")
    out = (
        edition.join(links, on="commune")
        .join(theirs, on=["level", "reference"], how="left")
        .group_by(key)
        .agg(pl.col("target").first(), kept=_single("target"))
    )
    sizes = theirs.group_by("level", "target").agg(size=pl.col("reference").n_unique())
    back = (
        theirs.join(links, on="reference")
        .join(edition, on=["level", "commune"], how="left")
        .group_by("level", "target")
        .agg(pl.col("code").first(), kept=_single("code"), reached=pl.col("reference").n_unique())
        .join(sizes, on=["level", "target"])
        .filter("kept", pl.col("reached") == pl.col("size"))
    )
    same = out.filter("kept").join(back.select("level", "target", "code"), on=["level", "target", "code"])
    return same.select("level", "code", territory_id=pl.col("level") + pl.lit("-") + pl.col("target")).sort(
        "level", "code"
    )


def twins(members: pl.DataFrame) -> pl.DataFrame:
    """Territories of different levels that are the same set of communes: (territory_id, twin_id), each pair both ways.

    A région of one département, an EPCI that is also a zone d'emploi: what is published of one is true of the other.
    Communes are left out, whose figures are rounded more than others', and the whole of France, of which producers
    leave out what they do not cover. members: (parent_id, child_id, share) of one COG, share null where unknown.
    """
    nation = pl.col("parent_id") == f"FRANCE-{FRANCE}"
    communes = members.filter(pl.col("child_id").str.starts_with("COM-"), ~nation)
    whole = communes.filter((pl.col("share") == 1).all().over("parent_id"))
    sets = whole.group_by(territory_id="parent_id").agg(communes=pl.col("child_id").sort().str.join(" "))
    return (
        sets.join(sets.rename({"territory_id": "twin_id"}), on="communes")
        .filter(pl.col("territory_id") != pl.col("twin_id"))
        .select("territory_id", "twin_id")
        .sort("territory_id", "twin_id")
    )


def edition_members(
    reference: pl.DataFrame, published: pl.DataFrame, table: pl.DataFrame, from_year: int, to_year: int
) -> pl.DataFrame:
    """The edition's communes in every reference territory: (territory_id, level, code, partial, share).

    reference: (level, code, commune) of the COG to_year, any levels. published: (code, commune) of the COG
    from_year, from `published_communes`, or each commune its own code. `partial` where only a part of what
    the code stands for is inside the territory; `share` is that part: 1 when whole, null when none is
    declared.
    """
    moved = convert(published["commune"], table, from_year, to_year)
    links = published.join(
        moved.select(commune="from_code", reference="to_code", piece="share"), on="commune"
    ).with_columns(
        links=pl.len().over("code"),
        piece=pl.when(pl.col("commune").n_unique().over("code") == 1).then("piece"),
    )
    partial = pl.len() < pl.col("links").first()
    known = pl.col("piece").is_not_null().all()
    return (
        reference.select(territory_id=_identifier(), level="level", reference="commune")
        .join(links, on="reference")
        .group_by("territory_id", "level", "code")
        .agg(
            partial=partial,
            share=pl.when(~partial).then(1.0).when(known).then(pl.col("piece").sum()),
        )
        .sort("territory_id", "code")
    )


def _identifier() -> pl.Expr:
    return pl.col("level").cast(pl.String) + pl.lit("-") + pl.col("code")


def _single(column: str) -> pl.Expr:
    """Whether a group has one value and no null."""
    return (pl.col(column).n_unique() == 1) & pl.col(column).is_not_null().all()


def only(column: str) -> pl.Expr:
    """The value that all rows of a group have, else null."""
    return pl.when(_single(column)).then(pl.col(column).first()).alias(column)


def _above(communes: pl.DataFrame, composition: pl.DataFrame) -> pl.DataFrame:
    """EPCI, département and région of each commune and arrondissement municipal, as territory identifiers."""
    epci = composition.filter(pl.col("level") == "EPCI").select(
        city="commune", epci_id=pl.lit("EPCI-") + pl.col("code")
    )
    return (
        communes.filter(pl.col("typecom").is_in(["COM", "ARM"]))
        .select(
            commune="code",
            city=pl.when(pl.col("typecom") == "ARM").then("parent").otherwise("code"),
            departement_id=pl.lit("DEP-") + pl.col("departement"),
            region_id=pl.lit("REG-") + pl.col("region"),
        )
        .join(epci, on="city", how="left")
        .drop("city")
    )
