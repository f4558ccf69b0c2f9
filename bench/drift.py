"""How many alarms the thresholds of drift raise on real history, and which accidents they catch.

    python -m bench.drift FOLDER

FOLDER is a data folder after a run on real files; it is only read. Every edition of figures held there is compared with
that of the year before: these are the false alarms, or what a producer really changed. Accidents are then put in the
newer edition of each pair, one at a time, seeded: caught means an alarm that was not there without the accident.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import polars as pl

from expectations.drift import FEWEST, gaps, judge
from expectations.results import CheckResult, Run
from pipelines.settings import Settings
from pipelines.stages.drifting import breaks_between, regions_of, year_before
from pipelines.stages.settling import editions_to_settle
from pipelines.workspace import Workspace
from sources.deposits.contract import Deposited
from sources.description import Edition, Source
from warehouse.catalogue import load_catalogue, variable_rules

TRIES = 2  # of each accident on each level of each pair
Accident = Callable[[pl.DataFrame, Random], pl.DataFrame | None]


@dataclass(frozen=True)
class Pair:
    """An edition, and the one of the year before."""

    source: Source
    edition: Edition
    previous: str
    year: int
    before: pl.DataFrame
    after: pl.DataFrame


def pairs(workspace: Workspace) -> Iterator[Pair]:
    """Every pair of successive editions of figures that the folder holds."""
    for source in workspace.sources.values():
        if source.kind != "values" or isinstance(source, Deposited):
            continue
        for edition in editions_to_settle(workspace, source):
            after = pl.read_parquet(workspace.core(source.source_id, edition.edition))
            earlier = year_before(workspace, source, edition, after)
            if earlier is not None:
                before, after = (
                    f.with_columns(pl.col("level", "variable").cast(pl.String)) for f in (earlier[0], after)
                )
                yield Pair(source, edition, earlier[1], earlier[2], before, after)


def judged(pair: Pair, regions: dict[str, str]) -> list[CheckResult]:
    """The results of a pair, breaks of the catalogue included."""
    catalogue = load_catalogue()
    rules = variable_rules(catalogue).get(pair.source.source_id, ())
    additive = {r.variable for r in rules if r.aggregation == "sum"}
    found = gaps(pair.before, pair.after, additive, regions)
    breaks = breaks_between(catalogue, pair.source.source_id, pair.year, pair.edition.data_year)
    named = f"{pair.source.source_id}/{pair.edition.edition}"
    run = Run("bench", datetime.now(UTC))
    limits = pair.source.drift.model_dump()
    return judge(found, limits, run, edition=named, previous=pair.previous, breaks=breaks)


def large_levels(pair: Pair) -> list[str]:
    """The levels of ninety territories or more before and after: accidents are tried in each, apart."""
    counts = [
        f.group_by("level").agg(pl.col("code").n_unique()).filter(pl.col("code") >= FEWEST)
        for f in (pair.before, pair.after)
    ]
    return sorted(set(counts[0]["level"]) & set(counts[1]["level"]))


def at_level(pair: Pair, level: str) -> Pair:
    """The same, of one level."""
    kept = (frame.filter(pl.col("level") == level) for frame in (pair.before, pair.after))
    return replace(pair, before=next(kept), after=next(kept))


# --- accidents, each in the figures of one level


def _one(frame: pl.DataFrame, random: Random) -> tuple[str, str] | None:
    """A (level, variable) with enough values that are not all the same."""
    several = (pl.col("value").count() >= FEWEST) & (pl.col("value").n_unique() > 5)
    found = (
        frame.group_by("level", "variable").agg(several.alias("ok")).filter("ok").drop("ok").sort("level", "variable")
    )
    return random.choice(found.rows()) if found.height else None


def _at(level: str, variable: str) -> pl.Expr:
    return (pl.col("level") == level) & (pl.col("variable") == variable)


def unit_changed(frame: pl.DataFrame, random: Random) -> pl.DataFrame | None:
    """One variable in thousands."""
    chosen = _one(frame, random)
    value = pl.col("value")
    return chosen and frame.with_columns(pl.when(_at(*chosen)).then(value / 1000).otherwise(value).alias("value"))


def region_missing(frame: pl.DataFrame, random: Random, regions: dict[str, str]) -> pl.DataFrame | None:
    """No row of one region."""
    head = pl.col("code").str.head(2)
    inside = frame.filter(pl.col("level").is_in(["COM", "IRIS"])).select(head.replace_strict(regions, default=None))
    held = inside.group_by("code").len().filter(pl.col("len") >= 100).drop_nulls().sort("code")["code"].to_list()
    if not held:
        return None
    chosen = random.choice(held)
    gone = [departement for departement, region in regions.items() if region == chosen]
    return frame.filter(~(pl.col("level").is_in(["COM", "IRIS"]) & head.is_in(gone)))


def rows_doubled(frame: pl.DataFrame, random: Random) -> pl.DataFrame | None:
    """A level twice."""
    chosen = _one(frame, random)
    return chosen and pl.concat([frame, frame.filter(pl.col("level") == chosen[0])])


def masks_doubled(frame: pl.DataFrame, random: Random) -> pl.DataFrame | None:
    """One variable with twice as many masks, a tenth of its rows at least."""
    chosen = _one(frame, random)
    if chosen is None:
        return None
    own = frame.filter(_at(*chosen))
    share = max(own["value"].null_count() / own.height, 0.1)
    hidden = pl.Series([random.random() < share for _ in range(own.height)])
    masked = own.with_columns(pl.when(hidden).then(None).otherwise(pl.col("value")).alias("value"))
    return pl.concat([frame.filter(~_at(*chosen)), masked])


def masks_read_as_zero(frame: pl.DataFrame, random: Random) -> pl.DataFrame | None:
    """One variable whose masks, a tenth of the rows at least, became zeros."""
    found = frame.group_by("level", "variable").agg(pl.col("value").null_count() / pl.len(), pl.len())
    found = found.filter(pl.col("value") >= 0.1, pl.col("len") >= FEWEST).sort("level", "variable")
    if not found.height:
        return None
    level, variable = random.choice(found.select("level", "variable").rows())
    return frame.with_columns(
        pl.when(_at(level, variable)).then(pl.col("value").fill_null(0)).otherwise(pl.col("value")).alias("value")
    )


def columns_swapped(frame: pl.DataFrame, random: Random) -> pl.DataFrame | None:
    """Two variables of a level exchanged, that are not nearly the same figures."""
    chosen = _one(frame, random)
    if chosen is None:
        return None
    level, one = chosen
    wide = frame.filter(pl.col("level") == level).pivot(
        "variable", index="code", values="value", aggregate_function="first"
    )
    others = [c for c in wide.columns[1:] if c != one and wide[c].drop_nulls().n_unique() > 5]
    apart = [c for c in others if not _nearly_same(wide[one], wide[c])]
    if not apart:
        return None
    two = random.choice(apart)
    name = pl.col("variable").cast(pl.String)
    exchanged = pl.when(name == one).then(pl.lit(two)).when(name == two).then(pl.lit(one)).otherwise(name)
    return frame.with_columns(pl.when(pl.col("level") == level).then(exchanged).otherwise(name).alias("variable"))


def _nearly_same(a: pl.Series, b: pl.Series) -> bool:
    """Whether half of the territories differ by less than a tenth: who exchanges such columns changes little."""
    both = pl.DataFrame({"a": a, "b": b}).drop_nulls()
    return both.height < FEWEST or bool(((both["a"] - both["b"]).abs() <= 0.1 * both["a"].abs()).mean() > 0.5)  # pyright: ignore


def _gravity(r: CheckResult) -> tuple[bool, int]:
    """What tells an alarm from a graver one."""
    return not r.passed and r.severity == "critical", r.rows_failed or 0


def main(folder: Path) -> None:
    workspace = Workspace(Settings(data=folder, profile="live"))
    regions = regions_of(workspace)
    accidents: dict[str, Accident] = {
        "unité divisée par 1000": unit_changed,
        "région absente": lambda frame, random: region_missing(frame, random, regions),
        "lignes en double": rows_doubled,
        "masques doublés": masks_doubled,
        "masques lus comme 0": masks_read_as_zero,
        "colonnes échangées": columns_swapped,
    }
    alarms: Counter[tuple[str, str]] = Counter()
    tried, caught, stopped, by = Counter[str](), Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    seconds, count = 0.0, 0
    for pair in pairs(workspace):
        started = time.monotonic()
        failed = [r for r in judged(pair, regions) if not r.passed]
        seconds, count = seconds + time.monotonic() - started, count + 1
        alarms.update((r.check_id, r.severity) for r in failed)
        for r in failed:
            print(f"{r.table_name} / {pair.previous} : {r.check_id} {r.severity} {r.rows_failed} : {r.sample[:150]}")
        for level in large_levels(pair):
            one = at_level(pair, level)
            plain = {r.check_id: _gravity(r) for r in judged(one, regions)}
            for name, accident in accidents.items():
                for number in range(TRIES):
                    spoiled = accident(one.after, Random(f"{name}{pair.source.source_id}{level}{number}"))
                    if spoiled is None:
                        continue
                    found = judged(replace(one, after=spoiled), regions)
                    new = [r for r in found if _gravity(r) > plain[r.check_id]]
                    tried[name] += 1
                    caught[name] += bool(new)
                    stopped[name] += any(r.severity == "critical" for r in new)
                    by.update((name, r.check_id) for r in new)
    print(f"\n{count} paires d'éditions, {seconds:.1f} s ; alarmes sur l'histoire :")
    for (check, severity), n in sorted(alarms.items()):
        print(f"  {check:18} {severity:9} {n:3}")
    print("\n| accident | essais | vus | dont publication arrêtée | vu par |\n|---|---|---|---|---|")
    for name in accidents:
        how = ", ".join(f"{c.removeprefix('drift_')} {n}" for (a, c), n in by.most_common() if a == name)
        print(f"| {name} | {tried[name]} | {caught[name]} | {stopped[name]} | {how} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
