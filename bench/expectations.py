"""What Great Expectations costs: `python -m bench.expectations`, in the data folder of VIGIE_DATA after a run.

The suites of the published tables and of the core frames are read once (DuckDB, columns or summaries), then judged
twice: by Great Expectations as a run does, and by the same expectations written in plain Polars here. Both must pass
and fail the same ones, also on frames in which every column was damaged; ends with code 1 otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl

from bench.floor import released
from expectations.adapter import connect, read, read_editions, run_suite, warm_up
from expectations.results import Run
from expectations.suites import published_suites
from expectations.vocabulary import Bounds, Expect, Suite, load_bounds
from pipelines.settings import Settings
from pipelines.stages.checking import core_frames
from pipelines.workspace import Workspace
from warehouse.catalogue import load_catalogue

RUN = Run("bench", datetime.now(UTC))
Judge = Callable[[Suite, pl.DataFrame], dict[str, bool]]


def main() -> None:
    """Prints the seconds of reading and of each judge, their ratio, and on what they disagree."""
    workspace = Workspace(Settings())
    started = time.perf_counter()
    judged = list(frames(workspace))
    rows = sum(frame.height for _, frame in judged)
    expects = sum(len(suite.expects) for suite, _ in judged)
    print(f"lecture (DuckDB)       {time.perf_counter() - started:7.2f} s   {len(judged)} tableaux, {rows} lignes")
    started = time.perf_counter()
    warm_up()
    print(f"import de la biblioth. {time.perf_counter() - started:7.2f} s")
    seconds: dict[str, float] = {}
    answers: dict[str, list[dict[str, bool]]] = {}
    for name, judge in {"Great Expectations": by_library, "Polars": by_polars}.items():
        started = time.perf_counter()
        answers[name] = [judge(suite, frame) for suite, frame in judged]
        seconds[name] = time.perf_counter() - started
        print(f"{name:<22} {seconds[name]:7.2f} s   {expects} attentes")
    print(f"rapport                {seconds['Great Expectations'] / seconds['Polars']:7.1f}")
    wrong = differences(judged, *answers.values())
    spoilt = [(suite, damaged(frame)) for suite, frame in judged]
    theirs, ours = ([judge(suite, frame) for suite, frame in spoilt] for judge in (by_library, by_polars))
    failed = sum(not passed for answer in theirs for passed in answer.values())
    print(f"abîmés : {failed} attentes en échec sur {expects}")
    wrong += differences(spoilt, theirs, ours)
    raise SystemExit(f"jugés autrement : {wrong}" if wrong else 0)


def frames(workspace: Workspace) -> Iterator[tuple[Suite, pl.DataFrame]]:
    """Each suite and what it judges: the tables of the release in force, and every core frame."""
    bounds: Bounds = load_bounds("demo" if workspace.settings.profile == "demo" else "national")
    bounds = bounds.of_units({i.id: i.unit for i in load_catalogue().indicators})
    public = released(workspace).public
    connection = connect()
    for suite in published_suites(bounds):
        yield suite, read(connection, suite, f"read_parquet('{public / suite.table}.parquet')")
    core = read_editions(connection, core_frames(workspace, workspace.sources.values(), bounds))
    for name, suite in core.suites.items():
        yield suite, pl.concat(core.frames[name], how="diagonal_relaxed")


def by_library(suite: Suite, frame: pl.DataFrame) -> dict[str, bool]:
    """check -> passed, by Great Expectations."""
    return {r.check_id.rpartition(".")[2]: r.passed for r in run_suite(suite, frame, RUN)}


def by_polars(suite: Suite, frame: pl.DataFrame) -> dict[str, bool]:
    """check -> passed, all the expectations of a suite in one query."""
    return frame.select(judged(e).alias(e.name) for e in suite.expects).row(0, named=True)


def judged(expect: Expect) -> pl.Expr:
    """Whether a frame meets an expectation; nulls are no matter but of presence, as in the library."""
    told: dict[str, Any] = dict(expect.kwargs)
    column = pl.col(told["column"]) if "column" in told else pl.lit(None)
    match expect.kind.removeprefix("expect_"):
        case "column_values_to_not_be_null":
            return column.null_count() == 0
        case "column_values_to_be_unique":
            return ~column.drop_nulls().is_duplicated().any()
        case "compound_columns_to_be_unique":
            return ~pl.struct(told["column_list"]).is_duplicated().any()
        case "column_values_to_be_in_set":
            codes = pl.Series([str(code) for code in told["value_set"]]).implode()
            return column.cast(pl.String).is_in(codes).all()
        case "column_values_to_match_regex":
            return column.cast(pl.String).str.contains(f"^(?:{told['regex']})").all()
        case "column_values_to_be_between":
            return within(column, told).all()
        case "column_max_to_be_between":
            return within(column.max(), told).fill_null(False)
        case "table_row_count_to_be_between":
            return within(pl.len(), told)
        case "column_pair_values_a_to_be_greater_than_b":
            return (pl.col(told["column_A"]) >= pl.col(told["column_B"])).all()
        case other:
            raise NotImplementedError(other)


def within(value: pl.Expr, told: dict[str, Any]) -> pl.Expr:
    low, high = told["min_value"], told["max_value"]
    return pl.all_horizontal(
        pl.lit(True) if low is None else value >= low, pl.lit(True) if high is None else value <= high
    )


def damaged(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame with one more row: texts are nonsense, numbers far too small, every third column empty."""
    worst = {
        name: None if k % 3 == 2 else "?" if dtype in (pl.String, pl.Categorical, pl.Enum) else -(10**6)
        for k, (name, dtype) in enumerate(frame.schema.items())
        if dtype.is_numeric() or dtype in (pl.String, pl.Categorical, pl.Enum)
    }
    text = frame.with_columns(pl.col(pl.Categorical, pl.Enum).cast(pl.String))
    row = text.head(1).with_columns(
        pl.lit(bad).cast(text.schema[name], strict=False).alias(name) for name, bad in worst.items()
    )
    return pl.concat([text, row], how="vertical_relaxed")


def differences(
    judged: list[tuple[Suite, pl.DataFrame]], one: list[dict[str, bool]], other: list[dict[str, bool]]
) -> list[str]:
    """The checks that two judges answer differently."""
    return [
        f"{suite.label}.{name}"
        for (suite, _), mine, theirs in zip(judged, one, other, strict=True)
        for name, passed in mine.items()
        if passed != theirs[name]
    ]


if __name__ == "__main__":
    main()
