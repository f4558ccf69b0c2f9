"""Running a suite: reads what it needs with DuckDB, hands pandas to Great Expectations, returns CheckResults.

`great_expectations` costs seconds to import: it is imported inside the functions that need it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl

from expectations.results import SAMPLE_SIZE, CheckResult, Run, count_fr, not_computed, result
from expectations.vocabulary import EXAMPLES, Expect, Suite, Summary

if TYPE_CHECKING:
    import pandas as pd

MEMORY_LIMIT = "600MB"


def connect(scratch: Path | None = None) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB for checks: bounded memory, no progress bar in logs, no extension download.

    scratch: a private folder for what does not fit in memory; without one, a check that needs it is not computed.
    """
    con = duckdb.connect()
    con.execute(f"SET temp_directory = '{scratch or ''}'")
    con.execute(f"SET memory_limit='{MEMORY_LIMIT}'")
    con.execute("SET enable_progress_bar=false")
    con.execute("SET autoinstall_known_extensions=false")
    return con


def query(con: duckdb.DuckDBPyConnection, sql: str) -> pl.DataFrame:
    """The rows of a query as a Polars frame."""
    return con.sql(sql).pl()


def warm_up() -> None:
    """Imports Great Expectations (seconds of one core), for a caller that has a core to spare before the checks.

    It looks for PySpark, which we never give it, and whose import ends the process where the main module has no file:
    that is how Dagster starts a run.
    """
    hidden = "pyspark" not in sys.modules
    if hidden:
        sys.modules["pyspark"] = None  # pyright: ignore[reportArgumentType] # as if it were not installed
    try:
        import great_expectations  # noqa: F401 # pyright: ignore[reportUnusedImport]
    finally:
        if hidden:
            del sys.modules["pyspark"]


def run_suites(
    con: duckdb.DuckDBPyConnection, suites: Iterable[Suite], relations: Mapping[str, str], run: Run
) -> list[CheckResult]:
    """Every expectation of every suite, each answered once.

    `relations` maps a table's name to what stands after FROM (a view, `read_parquet('...')`). A table that is
    missing or cannot be read gives critical results saying that the checks were not computed.
    """
    results: list[CheckResult] = []
    for suite in suites:
        try:
            if suite.table not in relations:
                raise LookupError(f"la table {suite.table} n'est pas là")
            frame = read(con, suite, relations[suite.table])
        except (duckdb.Error, pl.exceptions.PolarsError, LookupError) as error:
            results += [_not_computed(run, suite, e, str(error)) for e in suite.expects]
            continue
        results += run_suite(suite, frame, run)
    return results


@dataclass
class EditionsRead:
    """What the suites of core tables judge: a summary per suite and edition, and the suites that could not be read."""

    suites: dict[str, Suite] = field(default_factory=dict[str, Suite])
    frames: dict[str, list[pl.DataFrame]] = field(default_factory=dict[str, list[pl.DataFrame]])
    unread: list[tuple[Suite, str]] = field(default_factory=list[tuple[Suite, str]])


def read_editions(con: duckdb.DuckDBPyConnection, editions: Iterable[tuple[Sequence[Suite], str]]) -> EditionsRead:
    """One query for each suite of each edition of core tables.

    `editions`: the suites of each (see core_suites) and what stands after FROM.
    """
    told = EditionsRead()
    for own, relation in editions:
        for suite in own:
            try:
                frame = read(con, suite, relation)
            except duckdb.Error as error:
                told.unread.append((suite, str(error)))
                continue
            whole = replace(suite, table="core", where=None, key=("edition", *suite.key))
            told.suites.setdefault(suite.name, whole)
            told.frames.setdefault(suite.name, []).append(_of_edition(frame, suite.label))
    return told


def judge_editions(told: EditionsRead, run: Run) -> list[CheckResult]:
    """The groups of all the editions judged together: Great Expectations costs as much for one edition as for fifty.

    Results are one per expectation and kind of table, `sample` names the edition.
    """
    unread = [_not_computed(run, suite, e, error) for suite, error in told.unread for e in suite.expects]
    return unread + [
        result
        for name, suite in told.suites.items()
        for result in run_suite(suite, pl.concat(told.frames[name], how="diagonal_relaxed"), run)
    ]


def _of_edition(frame: pl.DataFrame, label: str) -> pl.DataFrame:
    """A summary with its edition, in a column and in its examples."""
    named = pl.lit(f"{label} ") + pl.element()
    shown = [pl.col(c).list.eval(named) for c in frame.columns if c.endswith(EXAMPLES)]
    return frame.with_columns(pl.lit(label).alias("edition"), *shown)


def read(con: duckdb.DuckDBPyConnection, suite: Suite, relation: str) -> pl.DataFrame:
    """The frame a suite judges: the columns it names, or the groups of its summary with examples."""
    if suite.summary is None:
        columns = ", ".join(f'"{c}"' for c in suite.columns)
        return query(con, f"SELECT {columns} FROM {relation}")
    frame = query(con, suite.summary.sql(relation))
    for violation in suite.summary.violations:
        if frame[violation.name].fill_null(0).sum():
            frame = _with_examples(con, frame, suite.summary, violation.name, relation)
    if suite.summary.complete:
        frame = suite.summary.complete(frame)
    # a table without rows has no group: one of 0 rows stands for it, or nothing would fail
    return frame if frame.height else frame.clear(1).with_columns(n_rows=pl.lit(0, pl.Int64))


def _with_examples(
    con: duckdb.DuckDBPyConnection, frame: pl.DataFrame, summary: Summary, name: str, relation: str
) -> pl.DataFrame:
    """Adds the keys of up to five offending rows to the first row of the summary: read only on failure."""
    rows = con.execute(summary.examples_sql(name, relation, SAMPLE_SIZE)).fetchall()
    sample = pl.Series(f"{name}{EXAMPLES}", [[str(r[0]) for r in rows]] + [None] * (frame.height - 1))
    return frame.with_columns(sample)


def run_suite(suite: Suite, frame: pl.DataFrame, run: Run) -> list[CheckResult]:
    """One result per expectation of the suite, in the order of its declaration.

    An expectation that Great Expectations could not compute also reads `success=False`: it is told apart by
    its exception and reported as a critical failure of the check itself.
    """
    built: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for expect in suite.expects:
        try:
            built[expect.name] = _build(expect)
        except (AttributeError, TypeError, ValueError) as error:
            errors[expect.name] = str(error)
    answers = _validate(suite, frame, list(built.values()), "BASIC")
    failed = [built[name] for name, answer in answers.items() if not answer.success]
    if failed:  # which rows: as costly as all the rest, asked of those only
        answers |= _validate(suite, frame, failed, "SUMMARY")
    results: list[CheckResult] = []
    for expect in suite.expects:
        answer = answers.get(expect.name)
        error = errors.get(expect.name) or _exception(answer)
        if error:
            results.append(_not_computed(run, suite, expect, error))
        else:
            results.append(_answer(run, suite, expect, frame, answer))
    return results


@cache
def _context() -> Any:
    """One context for all the suites of a process: nothing on disk, no progress bar, nothing sent out."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    warm_up()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    context.data_sources.add_pandas("vigie").add_dataframe_asset("frame").add_batch_definition_whole_dataframe("frame")
    return context


def _build(expect: Expect) -> Any:
    _context()
    import great_expectations.expectations as declared

    name = "".join(part.title() for part in expect.kind.split("_"))
    return getattr(declared, name)(**expect.kwargs, meta={"name": expect.name})


def _validate(suite: Suite, frame: pl.DataFrame, expectations: list[Any], detail: str) -> dict[str, Any]:
    """Great Expectations' answers by name: they come back in another order than they were asked.

    detail: "BASIC" counts the offenders, "SUMMARY" also gives the keys of a few.
    """
    import great_expectations as gx

    definition = _context().data_sources.get("vigie").get_asset("frame").get_batch_definition("frame")
    batch = definition.get_batch(batch_parameters={"dataframe": _to_pandas(frame, suite)})
    validation = batch.validate(
        gx.ExpectationSuite(name=suite.name, expectations=expectations),
        result_format={
            "result_format": detail,
            "unexpected_index_column_names": [c for c in suite.key if c in frame.columns],
            "partial_unexpected_count": SAMPLE_SIZE,
        },
    )
    return {r.expectation_config.meta["name"]: r for r in validation.results}


def _to_pandas(frame: pl.DataFrame, suite: Suite) -> pd.DataFrame:
    """Only the columns read; enums and categories as text, which is what sets and regexes compare."""
    kept = frame.select([c for c in suite.columns if c in frame.columns])
    return kept.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String)).to_pandas()


def _exception(answer: Any) -> str:
    """The message of what prevented the computation, empty when it was computed."""
    if answer is None:
        return "Great Expectations n'a pas répondu"
    info: Mapping[str, Any] = answer.exception_info or {}
    entries = [info] if "raised_exception" in info else list(info.values())
    raised = [e for e in entries if isinstance(e, Mapping) and e.get("raised_exception")]
    return str(raised[0].get("exception_message") or "exception sans message") if raised else ""


def _answer(run: Run, suite: Suite, expect: Expect, frame: pl.DataFrame, answer: Any) -> CheckResult:
    """A computed answer as a row of `quality_check`."""
    found: Mapping[str, Any] = answer.result
    sample: list[str] = []
    failed: int | None
    if expect.counts is not None:
        failed = int(frame[expect.counts].fill_null(0).sum())
        observed = f"{count_fr(failed)} ligne(s) en défaut" if failed else "aucune ligne en défaut"
        examples = f"{expect.counts}{EXAMPLES}"
        if examples in frame.columns:
            sample = frame[examples].drop_nulls().explode(empty_as_null=True).drop_nulls().to_list()
    elif "observed_value" in found:
        failed = 0 if answer.success else 1
        observed = str(found["observed_value"])
    else:
        failed = int(found["unexpected_count"])
        total = count_fr(int(found["element_count"]))
        observed = f"{count_fr(failed)} ligne(s) en défaut sur {total}"
        sample = [_key(suite, row) for row in found.get("partial_unexpected_index_list") or []]
    return result(
        run,
        check_id=f"{suite.name}.{expect.name}",
        suite=suite.name,
        table_name=suite.label,
        severity=expect.severity,
        expected=expect.expected,
        observed=observed,
        rows_failed=failed,
        passed=bool(answer.success),
        sample=sample,
    )


def _key(suite: Suite, row: Mapping[str, Any] | Any) -> str:
    if not isinstance(row, Mapping):
        return str(row)
    shown = [c for c in suite.key if c in row] or list(row)
    return "/".join("" if row[c] != row[c] or row[c] is None else str(row[c]) for c in shown)


def _not_computed(run: Run, suite: Suite, expect: Expect, error: str) -> CheckResult:
    return not_computed(
        run,
        check_id=f"{suite.name}.{expect.name}",
        suite=suite.name,
        table_name=suite.label,
        expected=expect.expected,
        error=error,
    )
