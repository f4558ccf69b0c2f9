"""The assets, in the order in which a figure walks: raw, core, geography, settled, observation, candidate, release.

Thin on purpose: each calls a stage and says what a person wants to know of its result. No figure is computed here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl
from pydantic import Field

from pipelines.choosing import matching
from pipelines.executing import under_lock
from pipelines.pruning import prune
from pipelines.sending import send_release
from pipelines.stages import acquisition, estimating, geography, observations, publication, settling
from pipelines.stages.completing import bring_up_to_date
from pipelines.workspace import FAILURES, Workspace
from sources.deposits.contract import Deposited
from sources.description import Source
from warehouse.catalogue import load_catalogue

NEWEST = "derniere_edition"  # the check of each source: whether its newest files were received and read
SENDING_RETRY = dg.RetryPolicy(max_retries=1, delay=30)
PREVIEW_ROWS = 5
MANY_YEARS = 5


class Asked(dg.Config):
    """Which editions a run asks of the producers."""

    editions: list[str] = Field(
        default=[],
        description="Éditions à demander, « source/édition » avec des * au besoin, par exemple cnaf_commune/* ; "
        "vide : toutes. Les autres servent telles qu'elles ont été reçues.",
    )


def year_partitions(workspace: Workspace) -> dg.StaticPartitionsDefinition:
    """One partition a year of edition of the statistical sources of many years (never one a commune).

    Geographies have none: the passage between two years needs all of them. Raw files have none either: asking a
    producer for what did not change costs a few milliseconds.
    """
    return dg.StaticPartitionsDefinition([str(y) for y in partitioned_years(workspace)])


def partitioned_years(workspace: Workspace) -> list[int]:
    """The years of edition of the sources that are partitioned."""
    return sorted({year for s in workspace.sources.values() if is_partitioned(s) for year in _years(s)})


def is_partitioned(source: Source) -> bool:
    """Whether reading one year of a source alone is worth it: Dagster writes events for every partition of every
    partitioned asset, two or three milliseconds in all, at every run."""
    return source.kind == "values" and len(_years(source)) >= MANY_YEARS


def _years(source: Source) -> set[int]:
    return {e.data_year for e in source.editions}


def build_assets(workspace: Workspace) -> list[dg.AssetsDefinition]:
    """Every asset of the house, for one workspace."""
    partitions = year_partitions(workspace)
    values = _figures(workspace)
    geographies = [s for s in workspace.sources.values() if s.kind == "geography"]
    return [
        _raw(workspace),
        *(_core(workspace, s, None) for s in geographies),
        *(_core(workspace, s, partitions if is_partitioned(s) else None) for s in values),
        *_geography(workspace, geographies),
        *(_settled(workspace, s) for s in values),
        _estimated(workspace),
        *_observations(workspace),
        *_publication(workspace),
    ]


def _figures(workspace: Workspace) -> list[Source]:
    """The sources of figures that have an edition: a contract without a deposit has nothing to walk."""
    return [s for s in workspace.sources.values() if s.kind == "values" and s.editions]


def _raw(workspace: Workspace) -> dg.AssetsDefinition:
    """Bytes as served, one asset a source, fetched together so that the limits per host and in all hold."""
    sources = [s for s in workspace.sources.values() if s.editions]
    specs = [
        dg.AssetSpec(
            ["raw", s.source_id],
            group_name="acquisition",
            description=s.title,
            metadata={"producteur": s.producer, "licence": s.licence, "diffusion": s.diffusion},
            kinds={"http"},
        )
        for s in sources
    ]

    @dg.multi_asset(name="acquire", specs=specs, can_subset=True)
    def acquire(context: dg.AssetExecutionContext, config: Asked) -> Iterator[dg.MaterializeResult]:
        only = matching(workspace, config.editions) if config.editions else None
        chosen = {key.path[-1] for key in context.selected_asset_keys}
        with under_lock(workspace, context):
            for done in publication.prepare(workspace):
                context.log.warning(done)
            outcomes = acquisition.acquire(workspace, [s for s in sources if s.source_id in chosen], only)
        reports = acquisition.acquisition_report(outcomes)
        for source_id in sorted(chosen):
            shown = reports.get(source_id, {"éditions": 0})
            yield dg.MaterializeResult(asset_key=["raw", source_id], metadata=shown)

    return acquire


def _newest_spec(source: Source) -> dg.AssetCheckSpec:
    """On what is read, not on what is received too: Dagster writes three events a check, at every run."""
    told = "Les fichiers les plus récents ont été reçus et lus ; sinon, la dernière bonne édition sert, dite périmée."
    return dg.AssetCheckSpec(NEWEST, asset=["core", source.source_id], description=told)


def _newest(workspace: Workspace, source: Source) -> dg.AssetCheckResult:
    """A warning that tells each edition that failed: it shows on the page, and stops nothing. Of a deposit, no word of
    what its file holds."""
    found = workspace.failures(source).items()
    failed = [f"{e} : {FAILURES[step]}" if isinstance(source, Deposited) else told for e, (step, told) in found]
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(["core", source.source_id]),
        check_name=NEWEST,
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description="\n\n".join(failed)[:2000] or None,
        metadata={"en échec": len(failed)},
    )


def _core(workspace: Workspace, source: Source, partitions: dg.PartitionsDefinition[str] | None) -> dg.AssetsDefinition:
    """Typed frames of one source, one Parquet an edition."""

    @dg.asset(
        key=["core", source.source_id],
        group_name="lecture",
        deps=[["raw", source.source_id]],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run() if partitions else None,
        description=f"{source.title} : une ligne typée par valeur, statut à côté de chaque valeur.",
        metadata={"producteur": source.producer, "licence": source.licence},
        kinds={"polars", "parquet"},
        check_specs=[_newest_spec(source)],
    )
    def core(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        # a run over a range of partitions shows that range to assets without partitions too; a run started without
        # any partition reads every year
        asked = partitions and (context.has_partition_key or context.has_partition_key_range)
        years = {int(key) for key in context.partition_keys} if asked else None
        with under_lock(workspace, context):
            report = acquisition.parse(workspace, source, years)
        shown = {} if report.sample is None else {"aperçu": dg.MetadataValue.md(preview(report.sample))}
        checks = [_newest(workspace, source)]
        return dg.MaterializeResult(metadata=report.metadata() | shown, check_results=checks)

    return core


def _geography(workspace: Workspace, sources: Sequence[Source]) -> list[dg.AssetsDefinition]:
    """The passage between COG years, the reference territories and what each edition's territories are."""
    deps = [["core", s.source_id] for s in sources]

    @dg.asset(key=["geography", "passage"], group_name="geographie", deps=deps, kinds={"polars"})
    def passage(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Code changes of communes between any two COG years, computed from the events file."""
        with under_lock(workspace, context):
            return _described(geography.build_passage(workspace))

    @dg.asset(key=["geography", "territory"], group_name="geographie", deps=[passage], kinds={"polars"})
    def territory(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Territories of the reference COG and their members, IRIS and priority districts included."""
        with under_lock(workspace, context):
            table = geography.build_territories(workspace)
            unplaced = geography.read(workspace, "unplaced").rows()
        return _described(table, {"quartiers sans commune connue": [f"{code} : {name}" for code, name in unplaced]})

    @dg.asset(key=["geography", "correspondence"], group_name="geographie", deps=[territory], kinds={"polars"})
    def correspondence(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """For each COG year: which published territories are a reference territory, which communes compose it."""
        with under_lock(workspace, context):
            return _described(geography.build_correspondences(workspace))

    return [passage, territory, correspondence]


def _settled(workspace: Workspace, source: Source) -> dg.AssetsDefinition:
    """One source's figures on the reference geography."""

    @dg.asset(
        key=["settled", source.source_id],
        group_name="perimetres",
        kinds={"polars"},
        deps=[["core", source.source_id], ["geography", "correspondence"]],
        description=f"{source.title} : sur la géographie de référence (fusions, scissions, périmètres).",
    )
    def settled(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with under_lock(workspace, context):
            return dg.MaterializeResult(metadata=settling.settle_source(workspace, source))

    return settled


def _estimated(workspace: Workspace) -> dg.AssetsDefinition:
    """Standards of living of the territories that nobody publishes."""

    @dg.asset(
        key="estimated",
        group_name="perimetres",
        kinds={"polars"},
        deps=[["settled", estimating.COMMUNAL], *(["core", s] for s in estimating.READ)],
    )
    def estimated(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Medians, deciles, poverty rates and inequality of merged communes, changed EPCI, perimeters, each with its
        interval, from what is published of their communes and of the territories above them."""
        with under_lock(workspace, context):
            return dg.MaterializeResult(metadata=estimating.estimate(workspace))

    return estimated


def _observations(workspace: Workspace) -> list[dg.AssetsDefinition]:
    """The long table, one asset a theme of the catalogue."""
    catalogue = load_catalogue()
    themes = sorted({i.theme for i in catalogue.indicators})
    held = sorted(s.source_id for s in _figures(workspace))

    def build(theme: str) -> dg.AssetsDefinition:
        indicators = [i for i in catalogue.indicators if i.theme == theme]
        others = sorted({b.theme for i in indicators for b in catalogue.bases_of(i)} - {theme})

        @dg.asset(
            key=["observation", theme],
            group_name="indicateurs",
            kinds={"polars"},
            # after every figure and estimate, whatever it computes: its fingerprint is made of them all
            deps=[*(["settled", s] for s in held), "estimated", *(["observation", t] for t in others)],
            description="Indicateurs : " + ", ".join(i.label_fr for i in indicators),
        )
        def observation(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            with under_lock(workspace, context):
                return dg.MaterializeResult(metadata=observations.observe(workspace, theme))

        return observation

    return [build(theme) for theme in themes]


def _publication(workspace: Workspace) -> list[dg.AssetsDefinition]:
    themes = sorted({i.theme for i in load_catalogue().indicators})

    @dg.asset(key="candidate", group_name="candidate", deps=[["observation", t] for t in themes], kinds={"parquet"})
    def candidate(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """A complete release in its own folder, protected, compared with the last one, not yet published."""
        with under_lock(workspace, context):
            if context.run.asset_selection or context.run.parent_run_id:  # a few assets, or going on with a failed run
                bring_up_to_date(workspace)
            shown = publication.build_candidate(workspace)
        if publication.MOVED in shown:
            shown[publication.MOVED] = dg.MetadataValue.md(shown[publication.MOVED])
        return dg.MaterializeResult(metadata=shown)

    @dg.asset(
        key="release", group_name="publication", deps=[candidate], kinds={"duckdb", "parquet"}, output_required=False
    )
    def release(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        """The release, renamed into place, the pointer swapped, the DuckDB file replaced; nothing of a candidate that
        waits for a decision."""
        with under_lock(workspace, context):
            shown = publication.publish(workspace)
            pruned = prune(workspace, context.instance)
        if pruned:
            context.log_event(dg.AssetObservation("release", description=pruned, metadata={publication.PRUNED: pruned}))
            context.log.warning(pruned)
        if publication.HELD in shown:
            context.log.warning(f"{shown[publication.HELD]} attend une décision : {shown['motif']}")
        else:
            yield dg.MaterializeResult(metadata=shown)

    @dg.asset(key="sent", group_name="publication", deps=[release], kinds={"s3"}, retry_policy=SENDING_RETRY)
    def sent(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """The release in force, in the object store where partners read it; the pointer there comes last."""
        with under_lock(workspace, context):
            return dg.MaterializeResult(metadata=send_release(workspace, str(workspace.settings.remote)))

    return [candidate, release, *([sent] if workspace.settings.remote else [])]


def _described(frame: pl.DataFrame, told: Mapping[str, Any] | None = None) -> dg.MaterializeResult:
    shown = {"lignes": frame.height, "aperçu": dg.MetadataValue.md(preview(frame))}
    return dg.MaterializeResult(metadata={**shown, **(told or {})})


def preview(frame: pl.DataFrame) -> str:
    """The first rows as a Markdown table."""
    head = frame.head(PREVIEW_ROWS)
    lines = ["| " + " | ".join(head.columns) + " |", "|" + "---|" * len(head.columns)]
    lines += ["| " + " | ".join("" if v is None else str(v) for v in row) + " |" for row in head.rows()]
    return "\n".join(lines)
