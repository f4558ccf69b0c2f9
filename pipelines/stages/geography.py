"""The geography of a run: passage between COG years, reference territories, what each edition's codes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from methods import districts
from methods.passage import dated_as_listed, passage
from methods.perimeters import LEVEL as PERIMETER
from methods.perimeters import perimeter_members, perimeter_parents, perimeter_territories, unplaced
from methods.territories import (
    METRO,
    communes_of_year,
    composition_of_year,
    edition_members,
    members_by_year,
    published_communes,
    reference_year,
    same_territory,
    territories,
    territory_members,
    twins,
)
from pipelines.perimeters import Perimeter, members_frame
from pipelines.workspace import Workspace, WorkspaceError, digest, fingerprint_of, refresh
from sources.description import Edition, Source
from sources.schema import IRIS, IRIS_CHANGES

COMPOSITIONS = ("dgcl_epci", "insee_epci_ancien", "insee_appartenance")
QPV_LISTS = ("insee_qpv", "anct_qpv2024")  # perimeters of 2015, of 2024
LISTS_EVERY_COMMUNE = 0.98  # share of the COG's communes above which an edition is taken to leave none out
# levels computed from communes when need be
AGGREGATED = ("COM", "EPCI", "EPT", "ARR", "ZE", "DEP", "REG", "METRO", "FRANCE")
REFERENCE_LEVELS = ("EPCI", "DEP", "REG", "METRO")


def path(workspace: Workspace, name: str) -> Path:
    return workspace.stage("geography", f"{name}.parquet")


def read(workspace: Workspace, name: str) -> pl.DataFrame:
    return pl.read_parquet(path(workspace, name))


def reference_cog(workspace: Workspace) -> int:
    """The COG year of all series: the asked one, else the newest with a list and a composition of EPCI.

    Raises WorkspaceError when the asked one is not among those that can be built.
    """
    lists = set(_latest(workspace, "insee_cog_communes"))
    compositions = {year for source in COMPOSITIONS for year in _years_with_epci(workspace, source)}
    asked = workspace.settings.cog
    if asked is None:
        return reference_year(lists, compositions)
    if asked not in lists & compositions:
        raise WorkspaceError(
            f"COG {asked} : attendu une année qui a une liste de communes et une composition des EPCI, parmi "
            f"{sorted(lists & compositions)}. À faire : choisir l'une d'elles avec --cog."
        )
    return asked


def build_passage(workspace: Workspace) -> pl.DataFrame:
    """Writes the table of code changes between any two COG years from the first used to the newest."""
    events = _latest(workspace, "insee_cog_evenements")
    newest = workspace.core("insee_cog_evenements", events[max(events)].edition)
    lists = ("insee_cog_communes", "insee_epci_ancien", "insee_iris", *QPV_LISTS)
    used = [*_values(workspace), *(workspace.sources[s] for s in lists)]
    first = min(e.cog_year or e.data_year for s in used for e in workspace.present(s))
    span = range(first, max(events) + 1)
    fingerprint = digest(f"{fingerprint_of(newest)} {span} {workspace.code_digest}")
    refresh(
        path(workspace, "passage"),
        fingerprint,
        lambda: passage(dated_as_listed(pl.read_parquet(newest)), span),
    )
    return read(workspace, "passage")


def build_territories(workspace: Workspace) -> pl.DataFrame:
    """Writes the reference territories, their members and those above each; returns the territories."""
    reference = reference_cog(workspace)
    fingerprint = _geography_fingerprint(workspace)
    communes = _communes(workspace, reference)
    composition = _composition(workspace, reference)
    members = territory_members(communes, composition, reference)
    whole = territories(
        communes,
        _zones(workspace, "insee_cog_departements", reference),
        _zones(workspace, "insee_cog_regions", reference),
        composition,
        reference,
    )
    qpv = _located_qpv(workspace, reference)
    places = pl.concat([_iris_places(workspace, reference), districts.qpv_places(qpv)])
    inside = districts.district_members(places, whole, reference)
    table = pl.concat([whole, districts.district_territories(places, whole, reference)]).sort("territory_id")
    own = _perimeters(workspace, table, reference)
    cities = communes.filter(pl.col("typecom") == "ARM").select(code="parent", arm="code").sort("code", "arm")
    every_member = pl.concat([members, inside, own.members]).sort("parent_id", "child_id")
    frames = {
        "territory": pl.concat([table, own.territories]).sort("territory_id"),
        "territory_member": every_member,
        "twins": twins(every_member),
        "cities": cities,
        "reference_members": members_by_year(communes, composition),
        "parents": pl.concat([parents(members, cities), parents_of_parts(table), own.parents]).sort(
            "territory_id", "reference"
        ),
        "unplaced": districts.newest(qpv).filter(pl.col("commune").is_null()).select("code", "printed"),
    }
    for name, frame in frames.items():
        refresh(path(workspace, name), fingerprint, lambda f=frame: f)
    return frames["territory"]


@dataclass(frozen=True)
class _Perimeters:
    """The observatory's perimeters among the territories."""

    territories: pl.DataFrame
    members: pl.DataFrame
    parents: pl.DataFrame


def _perimeters(workspace: Workspace, table: pl.DataFrame, cog: int) -> _Perimeters:
    """table: every other territory. Raises WorkspaceError naming the members that are no territory."""
    asked = members_frame(workspace.perimeters)
    reference = _units(table)
    lost = unplaced(asked, read(workspace, "passage"), reference, cog)
    if lost.height:
        told = ", ".join(f"{level}-{member} ({code})" for code, _, level, member in lost.head(20).iter_rows())
        raise WorkspaceError(
            f"{workspace.perimeters_folder} : attendu des communes et des IRIS qui existent ; trouvé {told}. "
            "À faire : redéfinir ces périmètres (vigie perimeter add), ou retirer leur fichier."
        )
    members = perimeter_members(asked, read(workspace, "passage"), reference, cog)
    names = pl.DataFrame(
        [(p.slug, p.name) for p in workspace.perimeters], schema={"code": pl.String, "name": pl.String}, orient="row"
    )
    own = perimeter_territories(names, members, table, cog)
    return _Perimeters(own, members, perimeter_parents(members, own))


def _units(table: pl.DataFrame) -> pl.DataFrame:
    """What perimeters are made of: (level, code)."""
    return table.filter(pl.col("level").is_in(["COM", "IRIS"])).select("level", "code")


def own_members(workspace: Workspace, perimeters: Sequence[Perimeter]) -> pl.DataFrame:
    """Members of some perimeters among the reference territories, built at the last run: (parent_id, child_id,
    cog_year, share)."""
    table, cog = read(workspace, "territory"), reference_cog(workspace)
    return perimeter_members(members_frame(perimeters), read(workspace, "passage"), _units(table), cog)


def members_of_cog(workspace: Workspace, year: int) -> pl.DataFrame:
    """Communes of every territory of a COG: (level, code, commune). Raises WorkspaceError for a year that the passage
    does not cover."""
    known = read(workspace, "passage")["from_year"].unique().sort().to_list()
    if year not in known:
        span = f"{known[0]} à {known[-1]}"
        raise WorkspaceError(f"COG {year} : attendu une année de {span}. À faire : en choisir une avec --cog.")
    return members_by_year(_communes(workspace, year), _composition(workspace, year))


def listed_iris(workspace: Workspace) -> list[str]:
    """The IRIS of the list in use."""
    return read(workspace, "territory").filter(pl.col("level") == "IRIS")["code"].to_list()


def as_iris(workspace: Workspace, members: Sequence[str]) -> list[str]:
    """Communes and IRIS told in IRIS, as far as the communes are divided: identifiers."""
    own = read(workspace, "territory").filter(pl.col("level") == "IRIS").select("territory_id", "commune_id")
    cities = read(workspace, "cities").select(city=pl.lit("COM-") + pl.col("code"), arm=pl.lit("ARM-") + pl.col("arm"))
    placed = own.join(cities, left_on="commune_id", right_on="arm", how="left")
    inside = placed.filter(pl.coalesce("city", "commune_id").is_in(list(members)))
    divided = set(inside.select(pl.coalesce("city", "commune_id")).to_series())
    return sorted({*inside["territory_id"], *(m for m in members if m not in divided)})


def parents(members: pl.DataFrame, cities: pl.DataFrame) -> pl.DataFrame:
    """Territories above each commune, arrondissement and EPCI: (territory_id, reference, reference_level).

    A territory is above another when it holds all of its communes; an EPCI astride two départements has none.
    Above IRIS and QPV, and the city above its arrondissements: `parents_of_parts`.
    """
    level = pl.col("parent_id").str.split("-").list.first()
    above = members.with_columns(reference_level=level).filter(pl.col("reference_level").is_in(list(REFERENCE_LEVELS)))
    communes = above.select(territory_id="child_id", reference="parent_id", reference_level="reference_level")
    municipal = (
        cities.select(territory_id=pl.lit("COM-") + pl.col("code"), arm=pl.lit("ARM-") + pl.col("arm"))
        .join(communes, on="territory_id")
        .select(territory_id="arm", reference="reference", reference_level="reference_level")
    )
    epci = above.filter(pl.col("reference_level") == "EPCI").select(epci="parent_id", territory_id="child_id")
    held = (
        epci.join(communes.filter(pl.col("reference_level") != "EPCI"), on="territory_id")
        .group_by("epci", "reference", "reference_level")
        .agg(inside=pl.len())
        .join(epci.group_by("epci").agg(size=pl.len()), on="epci")
        .filter(pl.col("inside") == pl.col("size"))
        .select(territory_id="epci", reference="reference", reference_level="reference_level")
    )
    return pl.concat([communes, municipal, held])


def parents_of_parts(table: pl.DataFrame) -> pl.DataFrame:
    """Territories above what is inside a commune (columns as `parents`): the commune or arrondissement municipal, the
    city of the latter and, for IRIS and QPV, the EPCI, the département, the région and the métropole.

    table: every territory.
    """
    part = pl.col("level").is_in(districts.LEVELS)
    held = table.filter(part | (pl.col("level") == "ARM")).select("territory_id", "level", reference="commune_id")
    cities = held.filter(pl.col("level") == "ARM").select(arm="territory_id", city="reference")
    through = held.join(cities, left_on="reference", right_on="arm").select("territory_id", reference="city")
    mainland = pl.col("region_id").is_not_null() & ~pl.col("code").str.contains("^(Q[PN])?97")
    above = (
        table.filter(part)
        .with_columns(metro=pl.when(mainland).then(pl.lit(f"METRO-{METRO}")))
        .unpivot(["epci_id", "departement_id", "region_id", "metro"], index="territory_id", value_name="reference")
    )
    rows = pl.concat([held.drop("level"), through, above.drop("variable")]).drop_nulls("reference")
    return rows.with_columns(reference_level=pl.col("reference").str.split("-").list.first())


def build_correspondences(workspace: Workspace) -> pl.DataFrame:
    """Writes, for each COG year of the editions, the communes of every territory of that year."""
    years = sorted({e.cog_year or e.data_year for s in _values(workspace) for e in workspace.present(s)})
    fingerprint = _geography_fingerprint(workspace)
    sizes: list[tuple[int, str, int]] = []
    with workspace.progress.step("Périmètres par COG", len(years)) as step:
        for year in years:
            refresh(
                path(workspace, f"members-{year}"),
                fingerprint,
                lambda y=year: members_by_year(_communes(workspace, y), _composition(workspace, y)),
            )
            counts = read(workspace, f"members-{year}").group_by("level").agg(pl.col("code").n_unique())
            sizes += [(year, level, n) for level, n in sorted(counts.rows())]
            step.advance(str(year))
    return pl.DataFrame(sizes, schema=["cog", "niveau", "territoires"], orient="row")


def identifiers(workspace: Workspace) -> pl.Series:
    """Every territory_id, sorted: position is the rank that stands for it until the candidate is written."""
    return read(workspace, "territory")["territory_id"].sort()


def ranked(workspace: Workspace, frame: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The frame with territory identifiers replaced by their rank; rows of unknown territories are left out."""
    ranks = identifiers(workspace).to_frame("identifier").with_row_index("rank")
    for column in columns:
        joined = frame.join(ranks, left_on=column, right_on="identifier")
        frame = joined.with_columns(pl.col("rank").alias(column)).drop("rank").select(frame.columns)
    return frame


@dataclass(frozen=True)
class Correspondence:
    """What an edition's codes are in the reference COG; see methods.settle for the first three frames.

    left_out: (level, code), published territories that are no reference territory and are computed from no commune.
    """

    same: pl.DataFrame
    groups: pl.DataFrame
    iris: pl.DataFrame
    left_out: pl.DataFrame


@dataclass(frozen=True)
class _Sets:
    """The part of a correspondence that rests on communes."""

    same: pl.DataFrame
    groups: pl.DataFrame


def correspondence(workspace: Workspace, edition: Edition, values: pl.DataFrame) -> Correspondence:
    """values: the core frame of the edition. Territories are ranks."""
    coded = values.select("level", "code").unique().with_columns(pl.col("level").cast(pl.String)).sort("level", "code")
    same = pl.DataFrame(schema={"level": pl.String, "code": pl.String, "territory_id": pl.UInt32})
    groups = pl.DataFrame(schema={"territory_id": pl.UInt32, "code": pl.String, "partial": pl.Boolean})
    iris = groups
    inside = coded["level"].is_in(districts.LEVELS)
    if not inside.all():
        sets = _sets(workspace, edition, coded)
        same, groups = sets.same, sets.groups
    if inside.any():
        placed = _same_districts(workspace, edition.cog_year or edition.data_year, coded)
        iris = _made_of_iris(workspace, placed)
        same = pl.concat([same, placed])
    lost = coded.filter(~pl.col("level").is_in(AGGREGATED)).join(same, on=["level", "code"], how="anti")
    return Correspondence(same, groups, iris, lost)


def _same_districts(workspace: Workspace, year: int, coded: pl.DataFrame) -> pl.DataFrame:
    """The published IRIS and QPV that are a reference territory: (level, code, territory_id)."""
    iris, qpv = (coded.filter(pl.col("level") == level) for level in ("IRIS", "QPV"))
    same = [qpv.with_columns(territory_id=pl.lit("QPV-") + pl.col("code"))]
    found = _iris_list(workspace, reference_cog(workspace))
    if found is not None and iris.height:
        list_year, listed = found
        changes, told = _iris_changes(workspace)
        table = read(workspace, "passage")
        same.append(districts.same_iris(iris["code"], listed, changes, told, table, year, list_year))
    return ranked(workspace, pl.concat(same), "territory_id")


def _made_of_iris(workspace: Workspace, same: pl.DataFrame) -> pl.DataFrame:
    """The edition's IRIS of each perimeter that is made of some: (territory_id, code, partial).

    same: the edition's IRIS that are a reference territory. A commune that is not divided is there under its own code
    and 0000; an IRIS that the edition does not have keeps its place, under a code that nothing has.
    """
    asked = members_frame(workspace.perimeters)
    members = asked.filter((pl.col("level") == "IRIS").any().over("code")).select(
        "level", "member", territory_id=pl.lit(f"{PERIMETER}-") + pl.col("code")
    )
    known = same.select("code", iris="territory_id")
    ranks = identifiers(workspace).to_frame("name").with_row_index("iris")
    found = (
        ranked(workspace, members, "territory_id")
        .with_columns(name=pl.col("level") + pl.lit("-") + pl.col("member"))
        .join(ranks, on="name", how="left")
        .join(known, on="iris", how="left")
    )
    undivided = pl.when(pl.col("level") == "COM").then(pl.col("member") + pl.lit("0000"))
    absent = pl.lit("absent-") + pl.col("member")
    return found.select("territory_id", code=pl.coalesce("code", undivided, absent), partial=pl.lit(False))


def _sets(workspace: Workspace, edition: Edition, coded: pl.DataFrame) -> _Sets:
    """The published territories made of communes; computed once for editions that publish the same communes."""
    year = edition.cog_year or edition.data_year
    members = read(workspace, f"members-{year}")
    communes = members.filter(pl.col("level") == "COM")["code"]
    published = coded.filter(pl.col("level") == "COM")["code"]
    whole = published.is_in(communes.implode()).sum() >= LISTS_EVERY_COMMUNE * communes.len()
    # an edition that leaves communes out says nothing of what an undivided commune holds
    first = min(edition.data_year, year) if whole else year
    held = published_communes(communes, read(workspace, "passage"), first, year, published)
    key = (year, f"{held.height} {held.hash_rows().sum()}")  # whatever the order of its rows
    if key not in workspace.correspondences:
        workspace.correspondences[key] = _compare_sets(workspace, year, held)
    sets = workspace.correspondences[key]
    levels = [*compared_levels(coded, members), "COM"]  # a city may be known by its arrondissements only
    return replace(sets, same=sets.same.filter(pl.col("level").is_in(levels)))


def compared_levels(coded: pl.DataFrame, members: pl.DataFrame) -> list[str]:
    """The published levels whose codes are those of the year's members.

    Zones d'emploi of 2010 and of 2020 share a third of their codes, and an edition in the COG of 2020 still has those
    of 2010: one code that is not of the zoning says that none is.
    """
    zones = coded.filter(pl.col("level") == "ZE")
    foreign = zones.join(members, on=["level", "code"], how="anti").height > 0
    return [level for level in coded["level"].unique().sort() if not (level == "ZE" and foreign)]


def _compare_sets(workspace: Workspace, year: int, held: pl.DataFrame) -> _Sets:
    """held: (code, commune), what each published commune code stands for in the COG of that year. Every level of
    that COG is compared: an edition takes those it publishes."""
    table = read(workspace, "passage")
    reference = read(workspace, "reference_members")
    members = read(workspace, f"members-{year}").filter(pl.col("level") != "COM")
    target = reference_cog(workspace)
    edition = pl.concat([members, held.select(level=pl.lit("COM"), code="code", commune="commune")])
    groups = [
        edition_members(wanted, held, table, year, cog).select("territory_id", "code", "partial")
        for cog, wanted in [
            (target, reference.filter(pl.col("level").is_in(AGGREGATED))),
            *_perimeters_by_year(workspace),
        ]
    ]
    return _Sets(
        same=ranked(workspace, same_territory(edition, reference, table, year, target), "territory_id"),
        groups=ranked(workspace, pl.concat(groups), "territory_id"),
    )


def _perimeters_by_year(workspace: Workspace) -> list[tuple[int, pl.DataFrame]]:
    """The communes of the perimeters that are made of communes alone, by COG year: (level, code, commune)."""
    members = members_frame(workspace.perimeters).filter((pl.col("level") == "COM").all().over("code"))
    rows = members.select("cog_year", "code", level=pl.lit(PERIMETER), commune="member")
    return [(int(str(year)), group.select("level", "code", "commune")) for (year,), group in rows.group_by("cog_year")]


def universe_of(workspace: Workspace, universe: str) -> pl.DataFrame:
    """Territories that a rank compares: communes of the métropole, arrondissements excluded."""
    if universe != "COM_METRO":
        raise ValueError(f"unknown universe {universe!r}")
    members = read(workspace, "territory_member")
    inside = members.filter(pl.col("parent_id") == "METRO-FM").select(territory_id="child_id")
    return ranked(workspace, inside, "territory_id")


def _values(workspace: Workspace) -> list[Source]:
    return [s for s in workspace.sources.values() if s.kind == "values"]


def _latest(workspace: Workspace, source_id: str) -> dict[int, Edition]:
    """year -> the edition of that year with the highest issue, among those of the core."""
    found: dict[int, Edition] = {}
    for edition in workspace.present(workspace.sources[source_id]):
        known = found.get(edition.data_year)
        if known is None or edition.issue > known.issue:
            found[edition.data_year] = edition
    return found


def _years_with_epci(workspace: Workspace, source_id: str) -> list[int]:
    return [
        year
        for year, edition in _latest(workspace, source_id).items()
        if (pl.read_parquet(workspace.core(source_id, edition.edition), columns=["level"])["level"] == "EPCI").any()
    ]


def _nearest(workspace: Workspace, source_id: str, year: int) -> Edition:
    """The edition of the year, else of the nearest year (earlier first)."""
    held = _latest(workspace, source_id)
    if not held:
        raise WorkspaceError(
            f"{source_id} : attendu au moins une édition ; aucune n'a été acquise. À faire : relancer « vigie run » "
            "et lire les éditions absentes chez le producteur."
        )
    return held[min(held, key=lambda y: (abs(y - year), y))]


def _communes(workspace: Workspace, year: int) -> pl.DataFrame:
    edition = _nearest(workspace, "insee_cog_communes", year)
    frame = pl.read_parquet(workspace.core("insee_cog_communes", edition.edition))
    if edition.data_year == year:
        return frame
    return communes_of_year(frame, read(workspace, "passage"), edition.data_year, year)


def _zones(workspace: Workspace, source_id: str, year: int) -> pl.DataFrame:
    return pl.read_parquet(workspace.core(source_id, _nearest(workspace, source_id, year).edition))


def _composition(workspace: Workspace, year: int) -> pl.DataFrame:
    frames = [
        pl.scan_parquet(workspace.core(source_id, edition.edition)).with_columns(
            year=pl.lit(edition.data_year), issue=pl.lit(edition.issue)
        )
        for source_id in COMPOSITIONS
        for edition in workspace.present(workspace.sources[source_id])
    ]
    return composition_of_year(pl.concat(pl.collect_all(frames)), read(workspace, "passage"), year)


def _iris_list(workspace: Workspace, reference: int) -> tuple[int, pl.DataFrame] | None:
    """Year and IRIS of the list nearest to the reference COG; none where no list was acquired."""
    if not _latest(workspace, "insee_iris"):
        return None
    edition = _nearest(workspace, "insee_iris", reference)
    return edition.data_year, pl.read_parquet(workspace.core("insee_iris", edition.edition))


def _iris_changes(workspace: Workspace) -> tuple[pl.DataFrame, set[int]]:
    """Every known change of IRIS (year, before, after), and the years that the lists tell."""
    found = _latest(workspace, "insee_iris_modifications")
    frames = [pl.read_parquet(workspace.core("insee_iris_modifications", e.edition)) for e in found.values()]
    told = {year - back for year in found for back in range(districts.CHANGES_SPAN)}
    return pl.concat(frames).unique() if frames else pl.DataFrame(schema=IRIS_CHANGES), told


def _iris_places(workspace: Workspace, reference: int) -> pl.DataFrame:
    found = _iris_list(workspace, reference)
    year, listed = found or (reference, pl.DataFrame(schema=IRIS))
    return districts.iris_places(listed, read(workspace, "passage"), year, reference)


def _located_qpv(workspace: Workspace, reference: int) -> pl.DataFrame:
    """Every list of QPV with its communes in the reference COG: (year, code, name, printed, commune)."""
    table = read(workspace, "passage")
    text = dict.fromkeys(("code", "name", "printed", "commune"), pl.String)
    parts = [pl.DataFrame(schema={"year": pl.Int16, **text})]
    for source_id in QPV_LISTS:
        for year, edition in _latest(workspace, source_id).items():
            cog = edition.cog_year or year
            listed = pl.read_parquet(workspace.core(source_id, edition.edition))
            located = districts.located(listed, _communes(workspace, cog), table, cog, reference)
            parts.append(located.select(pl.lit(year, pl.Int16).alias("year"), pl.all()))
    return pl.concat(parts)


def _geography_fingerprint(workspace: Workspace) -> str:
    cores = [
        fingerprint_of(workspace.core(s.source_id, e.edition))
        for s in workspace.sources.values()
        if s.kind == "geography"
        for e in workspace.present(s)
    ]
    own = [(p.slug, p.name, p.current.cog_year, p.current.members) for p in workspace.perimeters]
    return digest(" ".join([*cores, str(reference_cog(workspace)), str(own), workspace.code_digest]))
