"""Reconciling each edition with the producer's own higher levels."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from expectations import editions as reconcile
from pipelines.stages import geography
from pipelines.workspace import Workspace
from sources.description import Edition, Source
from warehouse.catalogue import Catalogue, PublishedForm, RatioForm


def reconciliation_table(workspace: Workspace, catalogue: Catalogue) -> pl.DataFrame:
    """The table `reconciliation`: one row per indicator, level, edition and year that the producer publishes."""
    lines, workspace.stale = reconciled_lines(workspace)
    return reconcile.published_table(lines, _served(catalogue))


def reconciled_lines(workspace: Workspace) -> tuple[pl.DataFrame, list[str]]:
    """One line per variable, level, edition and year, and the declared exceptions that no longer occur (a check
    fails on them). A generated country has no declared exception."""
    exceptions = reconcile.declared_exceptions() if workspace.settings.profile != "demo" else ()
    stale: list[str] = []
    frames: list[pl.DataFrame] = []
    for source, edition in _editions(workspace):
        frame, gone = _lines(workspace, source, edition, exceptions)
        frames.append(frame)
        stale += gone
    return pl.concat(frames) if frames else pl.DataFrame(schema=reconcile.LINES), stale


def _served(catalogue: Catalogue) -> dict[tuple[str, str], str]:
    """(source, variable) -> the indicator that rests on it; the first in the catalogue where several do."""
    served: dict[tuple[str, str], str] = {}
    for indicator in catalogue.indicators:
        form = indicator.compute
        if isinstance(form, PublishedForm):
            for source, own in form.variables.items():
                for variable in (own, *(group[source] for group in form.groups().values())):
                    served.setdefault((source, variable), indicator.id)
        elif isinstance(form, RatioForm):
            for named in form.rules():
                served.setdefault(named, indicator.id)
    return served


def _editions(workspace: Workspace) -> list[tuple[Source, Edition]]:
    """The editions that rules are declared for."""
    return [
        (source, edition)
        for source in workspace.sources.values()
        if source.kind == "values"
        for edition in workspace.present(source)
        if reconcile.declared_rules(source.source_id, edition.edition)
    ]


def _lines(
    workspace: Workspace, source: Source, edition: Edition, exceptions: Sequence[reconcile.Known]
) -> tuple[pl.DataFrame, list[str]]:
    rules = reconcile.declared_rules(source.source_id, edition.edition)
    # zones d'emploi change zoning under the same codes: an edition's are not those of its COG year
    kept = pl.col("level").cast(pl.String) != "ZE"
    core = workspace.core(source.source_id, edition.edition)
    own = pl.read_parquet(core, columns=["level", "code", "year", "variable", "value", "lower", "upper"]).filter(kept)
    values = reconcile.comparable(own, source.source_id, edition.edition, lambda s, e: _core(workspace, s, e))
    members = geography.read(workspace, f"members-{edition.cog_year or edition.data_year}").filter(kept)
    found, stale = reconcile.lines(
        reconcile.reconcile_edition(values, members, rules), source.source_id, edition.edition, exceptions
    )
    alone = reconcile.without_higher_level(own, found, list(rules), source.source_id, edition.edition)
    return pl.concat([found, alone]), stale


def _core(workspace: Workspace, source_id: str, edition: str) -> pl.DataFrame | None:
    path = workspace.core(source_id, edition)
    return pl.read_parquet(path) if path.exists() else None
