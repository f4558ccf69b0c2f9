"""Drift of what a release takes in: each edition that is not in the published release, against the one before it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from expectations.drift import MEASURED, SUITE, gaps, judge
from expectations.results import CheckResult, Run, result
from pipelines.stages.settling import editions_to_settle
from pipelines.workspace import Workspace
from sources.archive import members
from sources.deposits.contract import Deposited
from sources.description import Edition, Source, parser_of
from sources.errors import SourceError
from sources.raw_store import RawStoreError
from warehouse.catalogue import Catalogue, load_catalogue, variable_rules


def check_drift(
    workspace: Workspace, sources: Iterable[Source], run: Run, *, previous: Path | None
) -> list[CheckResult]:
    """The results of every edition of figures that the previous release (a folder of tables) does not have, or has with
    another body.

    An edition stopped by a drift is thus stopped again by the next run, until its thresholds say otherwise. What
    partners deposit is judged by its contract, never here: a gap would tell of figures that are withheld.
    """
    published = None if previous is None else _published(previous)
    results: list[CheckResult] = []
    for source in sources:
        if source.kind == "values" and not isinstance(source, Deposited):
            for edition in new_editions(workspace, source, published):
                body = (published or {}).get((source.source_id, edition.edition))
                results += _drift_of(workspace, source, edition, body, run, first=published is None)
    return results


Bodies = dict[tuple[str, str], str]  # (source, edition) -> sha256


def _published(tables: Path) -> Bodies:
    """The bodies that a release was built from."""
    files = pl.read_parquet(tables / "source_file.parquet", columns=["source_id", "edition", "sha256"])
    return {(source, edition): sha256 for source, edition, sha256 in files.iter_rows()}


def new_editions(workspace: Workspace, source: Source, published: Bodies | None) -> list[Edition]:
    """The editions in force whose body is not the published one; without a release, those of the last year only."""
    held = editions_to_settle(workspace, source)
    if published is None:
        return [e for e in held if e.data_year == max(o.data_year for o in held)]
    return [e for e in held if workspace.raw_sha256(source, e) != published.get((source.source_id, e.edition))]


def _drift_of(
    workspace: Workspace, source: Source, edition: Edition, body: str | None, run: Run, *, first: bool
) -> list[CheckResult]:
    """One edition against the published body that it replaces (`body`) or, without one, against the edition of the year
    before; nothing when it is the first of its kind. first: of a first release, where nobody has seen the year before
    published, only what would stop it is told."""
    after = _figures(workspace, source, edition)
    named = f"{source.source_id}/{edition.edition}"
    results: list[CheckResult] = []
    before, previous, year = None, f"édition {edition.edition}, fichier publié", edition.data_year
    if body is not None:
        try:
            data = workspace.store.read(body, verify=True)
            before = parser_of(source)(source, edition, members(source, edition, data))
        except (SourceError, RawStoreError) as error:
            results.append(_unread(run, named, previous, error))
    if before is None:
        earlier = year_before(workspace, source, edition, after)
        if earlier is None:
            return results
        before, previous, year = earlier
    catalogue = load_catalogue()
    rules = variable_rules(catalogue).get(source.source_id, ())
    found = gaps(before, after, {r.variable for r in rules if r.aggregation == "sum"}, regions_of(workspace))
    breaks = breaks_between(catalogue, source.source_id, year, edition.data_year)
    limits = {kind: (stop if first else warn, stop) for kind, (warn, stop) in source.drift.model_dump().items()}
    return [*results, *judge(found, limits, run, edition=named, previous=previous, breaks=breaks)]


def _unread(run: Run, named: str, previous: str, error: Exception) -> CheckResult:
    """A warning: the body of before cannot be read again, by a parser that was changed since for instance."""
    return result(
        run,
        check_id="drift_previous",
        suite=SUITE,
        table_name=named,
        severity="warning",
        expected=f"de quoi comparer l'édition ({previous})",
        observed=str(error).splitlines()[0],
        rows_failed=1,
    )


def year_before(
    workspace: Workspace, source: Source, edition: Edition, after: pl.DataFrame
) -> tuple[pl.DataFrame, str, int] | None:
    """(figures, what they are, their data year) of the edition of the nearest year before that shares variables with
    this one; of several, that which shares most."""
    own = _variables(after)
    earlier = [e for e in workspace.present(source) if e.data_year < edition.data_year]
    for year in sorted({e.data_year for e in earlier}, reverse=True):
        alike: list[tuple[float, str, pl.DataFrame]] = []
        for other in (e for e in earlier if e.data_year == year):
            figures = _figures(workspace, source, other)
            theirs = _variables(figures)
            alike.append((len(own & theirs) / len(own | theirs), other.edition, figures))
        share, key, figures = max(alike, key=lambda found: found[:2])
        if share > 0:
            return figures, f"édition {key}", year
    return None


def _figures(workspace: Workspace, source: Source, edition: Edition) -> pl.DataFrame:
    """What gaps are measured on, of an edition."""
    return pl.read_parquet(workspace.core(source.source_id, edition.edition), columns=list(MEASURED))


def _variables(figures: pl.DataFrame) -> set[tuple[str, str]]:
    return set(figures.select(pl.col("level", "variable").cast(pl.String)).unique().rows())


def regions_of(workspace: Workspace) -> dict[str, str]:
    """Département -> region, of the newest list there is."""
    source = workspace.sources["insee_cog_departements"]
    held = workspace.present(source)
    if not held:
        return {}
    newest = max(held, key=lambda e: e.data_year)
    zones = pl.read_parquet(workspace.core(source.source_id, newest.edition)).drop_nulls("region")
    return dict(zones.select("code", "region").rows())


def breaks_between(catalogue: Catalogue, source_id: str, first: int, last: int) -> dict[str | None, str]:
    """Variable (None: all of the source) -> cause of the series breaks declared after `first` and up to `last`."""
    found: dict[str | None, str] = {}
    for declared in catalogue.breaks:
        if not first < declared.year <= last:
            continue
        if declared.scope == source_id:
            found[None] = declared.cause_fr
        elif touched := [i for i in catalogue.indicators if i.id == declared.scope]:
            rules = variable_rules(catalogue.model_copy(update={"indicators": tuple(touched)}))
            found |= {rule.variable: declared.cause_fr for rule in rules.get(source_id, ())}
    return found
