"""Running the checks: the suites of every table, the reconciliations between tables, the core frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import polars as pl

from expectations.adapter import EditionsRead, connect, judge_editions, read_editions, run_suites
from expectations.core_suites import core_suites
from expectations.drift import EXPECTED
from expectations.drift import SUITE as DRIFT
from expectations.reconciliation import (
    BETWEEN_TABLES,
    SUITE,
    KnownKeys,
    known_keys,
    reconcile_release,
    stale_exceptions,
)
from expectations.results import CheckResult, Run
from expectations.suites import published_suites
from expectations.vocabulary import Bounds, Suite, load_bounds, quoted
from pipelines.stages import protecting
from pipelines.stages.tables import catalogue_of
from pipelines.workspace import Workspace
from sources.deposits.contract import Deposited
from sources.description import Source
from warehouse.catalogue import load_catalogue
from warehouse.models import TABLES

DISCLOSURE = "disclosure"
SCRATCH = "checks.duckdb.tmp"  # of the stage: what checks spill
CORE: tuple[str, ...] = (
    "core_values",
    "core_values_rows",
    "core_income",
    "core_communes",
    "core_communes_rows",
    "core_events",
    "core_composition",
    "core_composition_rows",
    "core_zones",
    "core_zones_rows",
    "core_iris",
    "core_iris_rows",
    "core_iris_changes",
    "core_qpv",
    "core_qpv_rows",
)


def check_folder(workspace: Workspace, folder: Path, run: Run, *, previous: Path | None = None) -> list[CheckResult]:
    """Every suite and reconciliation on the tables of a candidate or a release.

    previous: the tables whose coverage must not be lost; not asked when the years were narrowed.
    """
    bounds = _bounds(workspace)
    demo = workspace.settings.profile == "demo"
    relations = {
        name: _relation(folder / f"{name}.parquet") for name in TABLES if (folder / f"{name}.parquet").exists()
    }
    narrowed = workspace.settings.years is not None
    connection = connect(workspace.stage(SCRATCH))
    try:
        return [
            *run_suites(connection, published_suites(bounds), relations, run),
            *reconcile_release(
                connection,
                relations,
                load_catalogue(),
                run,
                previous_coverage=_owed_coverage(workspace, previous) if previous and not narrowed else None,
                known=() if demo else _of_these_years(connection, relations, known_keys(), narrowed),
            ),
            stale_exceptions(workspace.stale, run),
        ]
    finally:
        connection.close()


def _owed_coverage(workspace: Workspace, previous: Path) -> str:
    """What stands after FROM for the coverage that must not be lost: that of the previous release, less the indicators
    whose deposit was corrected, withdrawn or kept to partners since, which is its owner's right."""
    relation = _relation(previous / "coverage.parquet")
    held = [e.url for s in workspace.sources.values() for e in s.editions]
    gone = pl.col("url").str.starts_with("deposit:") & ~pl.col("url").is_in(held)
    changed = set(pl.scan_parquet(previous / "source_file.parquet").filter(gone).collect()["source_id"])
    catalogue = load_catalogue()
    told = {i.id for i in catalogue_of(workspace, catalogue, previous.name).indicators}
    freed = [i.id for i in catalogue.indicators if changed & set(catalogue.sources_of(i)) or i.id not in told]
    return f"(FROM {relation} WHERE indicator_id NOT IN ({quoted(freed)}))" if freed else relation


def _of_these_years(
    connection: duckdb.DuckDBPyConnection, relations: Mapping[str, str], known: Sequence[KnownKeys], narrowed: bool
) -> list[KnownKeys]:
    """The declared exceptions; of narrowed years, those on figures that are there: the others did not go away."""
    if not narrowed or "observation" not in relations:
        return list(known)
    identifiers = sorted({key.split("/")[0] for k in known for key in k.keys})
    there = connection.execute(
        f"SELECT DISTINCT concat_ws('/', indicator_id, territory_id, year) FROM {relations['observation']} "
        "WHERE list_contains(?, indicator_id)",
        [identifiers],
    ).fetchall()
    observed = {str(row[0]) for row in there}
    return [replace(k, keys=tuple(key for key in k.keys if key in observed)) for k in known]


def check_core(workspace: Workspace, sources: Iterable[Source]) -> list[CheckResult]:
    """The suites of every core frame of the sources, one result per expectation and kind of frame."""
    return judge_core(read_core(workspace, sources))


def read_core(workspace: Workspace, sources: Iterable[Source]) -> EditionsRead:
    """What the suites of the core frames of the sources judge; DuckDB reads it without Python's lock."""
    connection = connect(workspace.stage(SCRATCH))
    try:
        return read_editions(connection, core_frames(workspace, sources, _bounds(workspace)))
    finally:
        connection.close()


def judge_core(told: EditionsRead) -> list[CheckResult]:
    """The verdicts on what was read, of no run: whoever keeps the results knows which run it is."""
    return judge_editions(told, Run("", datetime.now(UTC)))


def check_protection(workspace: Workspace, sources: Iterable[Source], run: Run) -> list[CheckResult]:
    """Two results per deposit: whether what an outsider can compute of each withheld figure is wide enough (critical),
    and whether all that the rule asks could be (a warning)."""
    results: list[CheckResult] = []
    for source in sources:
        file = protecting.path(workspace, source, "audit") if isinstance(source, Deposited) else None
        if file is None or not workspace.present(source) or not file.exists():
            continue
        report = pl.read_parquet(file)
        exposed, lowered = report.filter(~pl.col("ok")), report.filter("lowered")
        refused = report.filter(pl.col("refused").is_not_null())
        results.append(
            CheckResult(
                check_id=f"audit_{source.source_id}",
                suite=DISCLOSURE,
                table_name="observation",
                severity="critical",
                passed=exposed.height == 0,
                observed=f"{exposed.height} cellule(s) mal protégée(s)",
                expected="aucun chiffre masqué ne se déduit de ce qui est publié",
                rows_failed=exposed.height,
                sample=" ; ".join(exposed["cell"].head(5)),
                run_id=run.run_id,
                checked_at=run.checked_at,
            )
        )
        results.append(
            CheckResult(
                check_id=f"regle_{source.source_id}",
                suite=DISCLOSURE,
                table_name="observation",
                severity="warning",
                passed=lowered.height + refused.height == 0,
                observed=f"{lowered.height} cellule(s) déjà resserrée(s) par une publication passée ; "
                f"{refused.height} tableau(x) retenu(s) en entier",
                expected="toute la protection que la règle demande, et des chiffres qui s'accordent entre eux",
                rows_failed=lowered.height + refused.height,
                sample=" ; ".join([*refused["refused"], *lowered["cell"].head(5)]),
                run_id=run.run_id,
                checked_at=run.checked_at,
            )
        )
    return results


def core_frames(
    workspace: Workspace, sources: Iterable[Source], bounds: Bounds
) -> Iterator[tuple[Sequence[Suite], str]]:
    """The suites of each core frame of the sources, and what stands after FROM in their queries."""
    for source in sources:
        for edition in workspace.present(source):
            path = workspace.core(source.source_id, edition.edition)
            columns = list(pl.read_parquet_schema(path))
            by_sex = "variable" in columns and _has_figures_of_women(path)
            known = not isinstance(source, Deposited) or source.contract.says_every_modality
            suites = core_suites(source.source_id, edition.edition, columns, bounds, by_sex=by_sex, sex_known=known)
            yield suites, _relation(path)


def _has_figures_of_women(path: Path) -> bool:
    """Whether a core frame has a variable for women (`_f`)."""
    variables = pl.scan_parquet(path).select(pl.col("variable").unique()).collect()["variable"]
    return variables.cast(pl.String).str.ends_with("_f").any()


def suite_descriptions() -> dict[str, str]:
    """The suites that are run before a publication, in order, each with what it expects (French)."""
    told: dict[str, str] = dict.fromkeys(CORE, "Fichiers lus, édition par édition.")
    for suite in published_suites(load_bounds("national")):
        told[suite.name] = f"Table {suite.table} : " + " ; ".join(e.expected for e in suite.expects) + "."
    told[DRIFT] = "Éditions nouvelles ou modifiées, face à la précédente : " + " ; ".join(EXPECTED.values()) + "."
    told[DISCLOSURE] = "Dépôts des partenaires : ce qui se déduit de ce qui est publié (programmation linéaire)."
    told[SUITE] = "Entre tables : " + " ; ".join(c.expected for c in BETWEEN_TABLES) + "."
    return told


def _bounds(workspace: Workspace) -> Bounds:
    bounds = load_bounds("demo" if workspace.settings.profile == "demo" else "national")
    return bounds.of_units({i.id: i.unit for i in load_catalogue().indicators})


def _relation(path: Path) -> str:
    return f"read_parquet('{path}')"
