"""Territories inside a commune: IRIS and priority districts (QPV).

A list tells them, not the communes they hold: nothing is ever added up to them, and a published figure is theirs
only where its code stands for the same piece of land as in the list.
"""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from methods.passage import convert
from methods.territories import TERRITORY, only

LEVELS = ("IRIS", "QPV")
UNDIVIDED = "0000$"  # end of the code that stands for a commune without IRIS
CHANGES_SPAN = 5  # years of changes that each list of IRIS tells, its own included
PERIMETERS = {"QP": 2015, "QN": 2024}  # generations of QPV, by the first letters of their code
# Other départements that a QPV reaches: its communes are looked for in that of its code.
REACHES = {"QP062040": "59"}  # Libercourt (62) and Ostricourt (59)


def iris_places(listed: pl.DataFrame, table: pl.DataFrame, list_year: int, to_year: int) -> pl.DataFrame:
    """The IRIS of divided communes: (level, code, name, perimeter_year, commune), commune of the COG to_year.

    listed: list of IRIS of list_year; table: from `passage`. An IRIS whose commune was split since has a row for each
    piece: which one holds it is not known.
    """
    divided = listed.filter(~pl.col("code").str.contains(UNDIVIDED))
    moved = convert(divided["commune"], table, list_year, to_year).select(commune="from_code", now="to_code")
    return divided.join(moved, on="commune").select(
        pl.lit("IRIS").alias("level"),
        "code",
        "name",
        pl.lit(list_year, pl.Int16).alias("perimeter_year"),
        pl.col("now").alias("commune"),
    )


def located(
    listed: pl.DataFrame, communes: pl.DataFrame, table: pl.DataFrame, cog_year: int, to_year: int
) -> pl.DataFrame:
    """The list of QPV with their commune in the COG to_year: (code, name, printed, commune).

    listed: (code, name, commune_name, commune), one edition that gives names or codes; communes: list of its COG. A
    name is looked for among the communes and arrondissements municipaux of the département of the code, without
    accent, capital, hyphen or apostrophe. commune is null, never guessed, where no or several communes bear the name
    (`printed`) or the code, or where the commune was split since.
    """
    code = pl.col("code")
    overseas = code.str.slice(2, 2).is_in(["97", "98"])
    own = pl.when(overseas).then(code.str.slice(2, 3)).otherwise(code.str.slice(3, 2))
    other = code.replace_strict(REACHES, default=None, return_dtype=pl.String)
    asked = listed.with_columns(
        departement=pl.concat_list(own, other).list.drop_nulls(), plain=_plain("commune_name")
    ).explode("departement")
    known = communes.filter(pl.col("typecom").is_in(["COM", "ARM"]))
    borne = known.select("departement", plain=_plain("name"), found="code").drop_nulls()
    printed = pl.coalesce("commune_name", "commune").alias("printed")
    given = pl.when(pl.col("commune").is_in(known["code"].implode())).then("commune")
    found = (
        asked.join(borne, on=["departement", "plain"], how="left")
        .with_columns(printed, found=pl.coalesce(given, "found"))
        .group_by("code", "name", "printed", maintain_order=True)
        .agg(pl.col("found").drop_nulls().unique())
        .with_columns(found=pl.when(pl.col("found").list.len() == 1).then(pl.col("found").list.first()))
    )
    moved = convert(found["found"].drop_nulls(), table, cog_year, to_year)
    whole = moved.filter(pl.col("from_code").is_unique()).select(found="from_code", commune="to_code")
    return found.join(whole, on="found", how="left", maintain_order="left").select("code", "name", "printed", "commune")


def _plain(column: str) -> pl.Expr:
    """A name without accent, ligature, capital nor anything but letters and digits between single spaces."""
    text = pl.col(column).str.to_lowercase().str.replace_all("œ", "oe").str.replace_all("æ", "ae")
    letters = text.str.normalize("NFKD").str.replace_all(r"\p{M}", "")
    return letters.str.replace_all(r"[^a-z0-9]+", " ").str.strip_chars()


def newest(lists: pl.DataFrame) -> pl.DataFrame:
    """Of lists of QPV (from `located`, with column `year`), the rows of the newest that has each district."""
    return lists.filter(pl.col("year") == pl.col("year").max().over("code"))


def qpv_places(lists: pl.DataFrame) -> pl.DataFrame:
    """The QPV of every list: (level, code, name, perimeter_year, commune), a row a commune, null where unknown.

    lists: from `located`, with column `year`: the newest list that has a district tells its communes, the newest that
    names it tells its name.
    """
    names = lists.filter(pl.col("name").is_not_null()).sort("year").group_by("code").agg(pl.col("name").last())
    return (
        newest(lists)
        .drop("name")
        .join(names, on="code", how="left")
        .select(
            pl.lit("QPV").alias("level"),
            "code",
            "name",
            pl.col("code").str.head(2).replace_strict(PERIMETERS, return_dtype=pl.Int16).alias("perimeter_year"),
            "commune",
        )
        .unique()
    )


def district_territories(places: pl.DataFrame, reference: pl.DataFrame, cog_year: int) -> pl.DataFrame:
    """One row per IRIS and QPV, columns TERRITORY, sorted by territory_id.

    places: from `iris_places` and `qpv_places`; reference: the territories made of communes. The commune is the
    arrondissement municipal where one holds the district whole; a district in several communes has none, and a
    district with an unknown commune has nothing above it.
    """
    return (
        _held(places, reference)
        .group_by("level", "code")
        .agg(
            pl.col("name", "perimeter_year").first(),
            only("place"),
            only("city"),
            only("epci_id"),
            only("departement_id"),
            only("region_id"),
        )
        .with_columns(
            territory_id=pl.concat_str("level", pl.lit("-"), "code"),
            name=pl.coalesce("name", "code"),
            cog_year=pl.lit(cog_year, pl.Int16),
            commune_id=pl.coalesce("place", "city"),
        )
        .select(TERRITORY)
        .sort("territory_id")
    )


def district_members(places: pl.DataFrame, reference: pl.DataFrame, cog_year: int) -> pl.DataFrame:
    """The communes and arrondissements municipaux that hold districts: (parent_id, child_id, cog_year, share).

    share is 1 where the district lies in that commune alone, null where it lies in others too.
    """
    alone = (pl.len() == 1).over("level", "code")
    return (
        _held(places, reference)
        .select(
            parent_id="place",
            child_id=pl.concat_str("level", pl.lit("-"), "code"),
            cog_year=pl.lit(cog_year, pl.Int16),
            share=pl.when(alone).then(1.0),
        )
        .drop_nulls("parent_id")
        .sort("parent_id", "child_id")
    )


def _held(places: pl.DataFrame, reference: pl.DataFrame) -> pl.DataFrame:
    """The places with the territories above their commune: `place` is the commune or arrondissement municipal,
    `city` the commune in any case."""
    communes = reference.filter(pl.col("level").is_in(["COM", "ARM"])).select(
        "epci_id",
        "departement_id",
        "region_id",
        commune="code",
        place="territory_id",
        city=pl.coalesce("commune_id", "territory_id"),
    )
    return places.join(communes, on="commune", how="left")


def same_iris(
    codes: pl.Series,
    listed: pl.DataFrame,
    changes: pl.DataFrame,
    told: Collection[int],
    table: pl.DataFrame,
    from_year: int,
    list_year: int,
) -> pl.DataFrame:
    """The codes of a geography of from_year that are an IRIS of the list of list_year: (level, code, territory_id).

    changes: (year, before, after), every change of the years `told`. From year to year, a code stays or becomes
    another where the change is one to one; an IRIS that was cut, enlarged or joined to another is no longer the same.
    In a year that is not told, IRIS are redrawn with their commune: they stay where no event of the passage touches
    it, under its new code if it has one. Codes of undivided communes (0000) are an IRIS of the list only where they
    became one, whole.
    """
    now = pl.DataFrame({"code": codes, "now": codes}, schema={"code": pl.String, "now": pl.String}).unique()
    step = 1 if from_year < list_year else -1
    for year in range(from_year, list_year, step):
        shown = max(year, year + step)
        if shown in told:
            pair = ["before", "after"] if step == 1 else ["after", "before"]
            links = changes.filter(pl.col("year") == shown).select(first=pair[0], last=pair[1]).unique()
            now = _redrawn(now, links)
        else:
            now = _moved(now, table, year, year + step)
    there = listed.filter(~pl.col("code").str.contains(UNDIVIDED)).select(now="code")
    return (
        now.join(there, on="now")
        .select(pl.lit("IRIS").alias("level"), "code", territory_id=pl.lit("IRIS-") + pl.col("now"))
        .sort("code")
    )


def _redrawn(now: pl.DataFrame, links: pl.DataFrame) -> pl.DataFrame:
    """`now` after the changes of one year (first, last), null for what is no longer the same."""
    alone = (pl.len().over("first") == 1) & (pl.len().over("last") == 1)
    touched = pl.concat([links["first"], links["last"]]).implode()
    kept = links.filter(alone).select(now="first", then="last")
    follows = pl.when(pl.col("then").is_null() & ~pl.col("now").is_in(touched)).then("now").otherwise("then")
    return now.join(kept, on="now", how="left").select("code", now=follows)


def _moved(now: pl.DataFrame, table: pl.DataFrame, from_year: int, to_year: int) -> pl.DataFrame:
    """`now` in the codes of another COG, null where the commune was merged or split in between."""
    now = now.with_columns(commune=pl.col("now").str.head(5))
    there = convert(now["commune"].drop_nulls(), table, from_year, to_year)
    back = convert(there["to_code"], table, to_year, from_year)
    whole = there.filter(
        pl.col("from_code").is_unique()
        & pl.col("to_code").is_in(back.filter(pl.col("from_code").is_unique())["from_code"].implode())
    ).select(commune="from_code", then="to_code")
    moved = now.join(whole, on="commune", how="left")
    return moved.select("code", now=pl.col("then") + pl.col("now").str.tail(4))
