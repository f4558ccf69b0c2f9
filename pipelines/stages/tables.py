"""The tables of a candidate, for one edition of diffusion: who reads the public one finds no trace of the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import polars as pl

from methods.composite import Composite
from methods.disclosure import protect
from pipelines.stages import acquisition, geography
from pipelines.stages.comparing import comparable_tables
from pipelines.stages.indices import absent_indices, index_tables
from pipelines.stages.observations import observation_path
from pipelines.stages.reconciling import reconciliation_table
from pipelines.workspace import FAILURES, Workspace
from sources.deposits.contract import Deposited
from sources.description import Source
from warehouse.catalogue import Catalogue, Indicator, indicator_table, series_break_table
from warehouse.coverage import Counts, counts_of, coverage_of, with_absent
from warehouse.models import TABLES
from warehouse.release import PARTNER, PUBLIC, Candidate

BLOCK_ROWS = 262_144  # text takes five times the memory of codes: never a whole indicator at once
ABSENT = {
    "not_published": "absente à son adresse chez le producteur",
    "fetched": "remplacée à son adresse par une autre",
    "unchanged": "remplacée à son adresse par une autre",
    "changed": "remplacée à son adresse par une autre",
}


def sources_of(workspace: Workspace, catalogue: Catalogue, edition: str) -> list[Source]:
    """The sources that an edition may tell of: the public one has no deposit that no indicator of its own shows.
    catalogue: the whole one."""
    sources = list(workspace.sources.values())
    if edition != PUBLIC:
        return sources
    shown = catalogue_of(workspace, catalogue, PUBLIC)
    used = {s for i in shown.indicators for s in shown.sources_of(i)}
    public = (s for s in sources if s.diffusion == PUBLIC)
    return [s for s in public if s.source_id in used or not isinstance(s, Deposited)]


def catalogue_of(workspace: Workspace, catalogue: Catalogue, edition: str) -> Catalogue:
    """The part of the catalogue that an edition may tell of, each indicator with the strictest diffusion among its own,
    those of its sources and those of the indicators it is computed from. catalogue: the whole one."""
    public = {s.source_id for s in workspace.sources.values() if s.diffusion == PUBLIC}

    def open_to_all(indicator: Indicator) -> bool:
        rests_on = (indicator, *catalogue.bases_of(indicator))
        return set(catalogue.sources_of(indicator)) <= public and all(i.diffusion == PUBLIC for i in rests_on)

    judged = tuple(i if open_to_all(i) else i.model_copy(update={"diffusion": PARTNER}) for i in catalogue.indicators)
    if edition != PUBLIC:
        return catalogue.model_copy(update={"indicators": judged})
    kept = tuple(i for i in judged if i.diffusion == PUBLIC)
    scopes = {i.id for i in kept} | {s for i in kept for s in catalogue.sources_of(i)}
    return catalogue.model_copy(
        update={"indicators": kept, "breaks": tuple(b for b in catalogue.breaks if b.scope in scopes)}
    )


def has_partner_edition(workspace: Workspace, catalogue: Catalogue) -> bool:
    """Whether a deposit is there that is for partners alone, whole or for some of its indicators. catalogue: the whole
    one."""
    hidden = [i for i in catalogue_of(workspace, catalogue, PARTNER).indicators if i.diffusion == PARTNER]
    used = {s for i in hidden for s in catalogue.sources_of(i)}
    return any(
        isinstance(s, Deposited) and (s.diffusion == PARTNER or s.source_id in used) and workspace.present(s)
        for s in workspace.sources.values()
    )


def write_tables(workspace: Workspace, whole: Catalogue, candidate: Candidate) -> None:
    """Writes every table of an edition but the two that tell of its checks. whole: the catalogue."""
    catalogue = catalogue_of(workspace, whole, candidate.edition)
    territories = _territories(workspace, catalogue)
    with (
        workspace.progress.step("Candidate", len(catalogue.indicators)) as step,
        ThreadPoolExecutor(1) as aside,
    ):
        # the indices first: the DuckDB file waits for them, and is loaded while editions are reconciled
        composites = aside.submit(index_tables, workspace, catalogue, partial(_observed, workspace, catalogue))
        reconciled = aside.submit(reconciliation_table, workspace, catalogue)
        candidate.write("territory", territories)
        candidate.write("territory_member", geography.read(workspace, "territory_member"))
        candidate.write("passage", geography.read(workspace, "passage"))
        candidate.write("indicator", indicator_table(catalogue))
        candidate.write("series_break", series_break_table(catalogue))
        candidate.write("source_file", source_files(workspace, sources_of(workspace, whole, candidate.edition)))
        sizes = territories.group_by("level", "perimeter_year").agg(territories=pl.len().cast(pl.Int64))
        ranks = territories.sort("territory_id").select(
            "territory_id", pl.col("level").cast(pl.Categorical), "perimeter_year", "population"
        )
        counts: list[Counts] = []
        stale = [f"{source_id}/{edition}" for source_id, edition in workspace.stale_editions()]
        with candidate.writer("observation") as writer:
            for indicator in catalogue.indicators:
                step.advance(indicator.id)
                rows = _indicator_rows(workspace, indicator, ranks, candidate.edition)
                counts.append(counts_of(rows, stale))
                for block in rows.drop("level", "perimeter_year").iter_slices(BLOCK_ROWS):
                    writer.write(_identified(block, ranks["territory_id"]))
        compared = comparable_tables(candidate.path("observation"), geography.read(workspace, "territory_member"))
        for name, table in zip(("comparable_profile", "comparable_territory"), compared, strict=True):
            candidate.write(name, table)
        indices = composites.result()
        for name, table in indices.items():
            candidate.write(name, table)
        candidate.load()
        absent = _absent(workspace, catalogue, set(indices["composite_component"]["index_id"]))
        candidate.write("coverage", with_absent(coverage_of(counts, sizes), absent, sizes))
        candidate.write("reconciliation", reconciled.result())


def _absent(workspace: Workspace, catalogue: Catalogue, scored: Collection[str]) -> pl.DataFrame:
    """What the editions that are not there would give: (indicator_id, level, year, why), for `coverage`. scored: the
    indices that have figures."""
    told = {name: ABSENT.get(kind) for name, kind in acquisition.kinds(workspace).items()}
    rows = list(absent_indices(workspace, catalogue, scored, partial(_observed, workspace, catalogue)))
    year = geography.reference_cog(workspace)  # of no deposit, the year is that of the territories
    for indicator in catalogue.indicators:
        if isinstance(indicator.specification(), Composite):
            continue  # of one year, whatever the editions of what composes it
        for source_id in catalogue.sources_of(indicator):
            source = workspace.sources[source_id]
            if isinstance(source, Deposited) and not source.editions:
                why = f"Aucun dépôt de « {source.title} » ({source.owner})"
                rows += [(indicator.id, level, year, why) for level in source.contract.levels]
            there, failed = {e.edition for e in workspace.present(source)}, workspace.failures(source)
            for edition in workspace.editions(source):
                if edition.edition not in there:
                    why = told.get(f"{source_id}/{edition.edition}") or "pas encore reçue"
                    if edition.edition in failed:
                        why = FAILURES[failed[edition.edition][0]]
                    text = f"Édition {edition.edition} de {source_id} déclarée, {why}"
                    rows += [(indicator.id, level, edition.data_year, text) for level in source.levels_of(edition)]
    schema = {"indicator_id": pl.String, "level": pl.String, "year": pl.Int16, "why": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _indicator_rows(workspace: Workspace, indicator: Indicator, levels: pl.DataFrame, edition: str) -> pl.DataFrame:
    """The rows of an indicator that the edition carries, with the level and perimeter of their territory."""
    rows = pl.read_parquet(observation_path(workspace, indicator))
    own = levels.select("level", "perimeter_year", "population")[rows["territory_id"]]
    rows = protect(
        rows.with_columns(own),
        diffusion=indicator.diffusion,
        edition=edition,
        secrecy_rule=indicator.secrecy_rule,
    )
    return rows.drop("population").with_columns(indicator_id=pl.lit(indicator.id))


def _observed(workspace: Workspace, catalogue: Catalogue, indicator_id: str) -> pl.DataFrame:
    return pl.read_parquet(observation_path(workspace, catalogue.indicator(indicator_id)))


def _identified(block: pl.DataFrame, identifiers: pl.Series) -> pl.DataFrame:
    """Ranks turned into identifiers: the territory, and the reference of a gap."""
    reference = block["reference"]
    if reference.dtype.is_integer():
        block = block.with_columns(reference=identifiers.gather(reference))
    return block.with_columns(territory_id=identifiers.gather(block["territory_id"]))


def _territories(workspace: Workspace, catalogue: Catalogue) -> pl.DataFrame:
    """The table `territory` with its latest municipal population."""
    known = (
        _observed(workspace, catalogue, "dem_pop")
        .filter(pl.col("value").is_not_null())
        .sort("year")
        .group_by("territory_id", maintain_order=True)
        .agg(pl.col("value", "year").last())
    )
    population = known.select(
        geography.identifiers(workspace).gather(known["territory_id"]).alias("territory_id"),
        population=pl.col("value").round().cast(pl.Int64),
        population_year="year",
    )
    table = geography.read(workspace, "territory").drop("population", "population_year", strict=False)
    return table.join(population, on="territory_id", how="left").select(TABLES["territory"].names)


def source_files(workspace: Workspace, sources: Sequence[Source]) -> pl.DataFrame:
    """The table `source_file`: one row per edition of the sources that the release was built from. Neither the digest
    nor the size of a file with secrets is told: whoever knows all of it but a few figures would try them until they
    agree.
    """
    fictional = " (fictif)" if workspace.settings.profile == "demo" else ""
    stale = workspace.stale_editions()
    asked = pl.DataFrame(
        [
            (
                s.source_id,
                e.edition,
                workspace.raw_sha256(s, e),
                s.title,
                f"{s.producer}{fictional}",
                s.licence,
                s.owner,
                s.diffusion,
                (s.source_id, e.edition) in stale,
                stale.get((s.source_id, e.edition)),
            )
            for s in sources
            for e in workspace.present(s)
        ],
        schema=[
            *("source_id", "edition", "sha256", "title", "producer", "licence", "owner", "diffusion", "stale"),
            *("stale_reason",),
        ],
        orient="row",
        infer_schema_length=None,  # reasons are rare
    )
    served = workspace.store.history().unique(["source_id", "edition", "sha256"], keep="last", maintain_order=True)
    rows = asked.join(served.drop("producer", "licence"), on=["source_id", "edition", "sha256"])
    utc = pl.col("retrieved_at").dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    private = [s.source_id for s in sources if isinstance(s, Deposited) and s.contract.secrecy.threshold]
    told = (pl.when(~pl.col("source_id").is_in(private)).then(c).alias(c) for c in ("sha256", "bytes"))
    return rows.with_columns(utc, *told).select(TABLES["source_file"].names).cast(dict(TABLES["source_file"].schema()))  # pyright: ignore[reportArgumentType]
