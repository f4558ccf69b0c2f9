"""Reconciling each edition with the producer's own higher levels."""

from __future__ import annotations

import polars as pl

from expectations import editions as reconcile
from pipelines.stages import geography
from pipelines.workspace import Workspace
from sources.description import Edition, Source
from warehouse.catalogue import Catalogue, PublishedForm
from warehouse.models import TABLES


def reconciliation_table(workspace: Workspace, catalogue: Catalogue) -> pl.DataFrame:
    """The table `reconciliation`: one row per indicator, level, edition and year that the producer publishes.

    Declared exceptions that no longer occur are kept in `workspace.stale`: a check fails on them.
    """
    served = {
        (source, variable): indicator.id
        for indicator in catalogue.indicators
        if isinstance(form := indicator.compute, PublishedForm)
        for source, own in form.variables.items()
        for variable in (own, *form.ages.values())
    }
    exceptions = reconcile.declared_exceptions()
    frames: list[pl.DataFrame] = []
    workspace.stale = []
    for source, edition in _editions(workspace):
        frame, stale = reconcile.lines(
            _details(workspace, source, edition), source.source_id, edition.edition, exceptions
        )
        frames.append(frame)
        workspace.stale += stale
    if not frames:
        return TABLES["reconciliation"].empty()
    return reconcile.published_table(pl.concat(frames), served)


def _editions(workspace: Workspace) -> list[tuple[Source, Edition]]:
    """The editions that rules are declared for."""
    return [
        (source, edition)
        for source in workspace.sources.values()
        if source.kind == "values"
        for edition in workspace.present(source)
        if reconcile.declared_rules(source.source_id, edition.edition)
    ]


def _details(workspace: Workspace, source: Source, edition: Edition) -> pl.DataFrame:
    values = pl.read_parquet(workspace.core(source.source_id, edition.edition))
    members = geography.read(workspace, f"members-{edition.cog_year or edition.data_year}")
    rules = reconcile.declared_rules(source.source_id, edition.edition)
    # zones d'emploi change zoning under the same codes: an edition's are not those of its COG year
    kept = pl.col("level").cast(pl.String) != "ZE"
    return reconcile.reconcile_edition(values.filter(kept), members.filter(kept), rules)
