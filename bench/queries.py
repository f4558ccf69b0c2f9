"""What the three users ask, beside pandas on the same files: `python -m bench.queries`, in VIGIE_DATA after a run.

The analyst and the statistician ask the DuckDB file, the partner the Parquet files with Polars; pandas answers the same
question from the Parquet files, reading only the columns it needs. Both must find the same rows. Milliseconds are the
best of TIMES, the files being in the system's cache; memory is not measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl

from bench.floor import released
from pipelines.settings import Settings
from pipelines.workspace import Workspace

TIMES = 5
Rows = int


@dataclass(frozen=True)
class Question:
    """`asked` is SQL, or a function of the folder of Parquet files; both answers are numbers of rows."""

    user: str
    what: str
    asked: str | Callable[[Path], Rows]
    pandas: Callable[[Path], Rows]


def main() -> None:
    """Prints a line a question: milliseconds of each, ratio, rows. Ends with code 1 when two answers differ."""
    workspace = Workspace(Settings())
    public = released(workspace).public
    with duckdb.connect(str(workspace.data / "vigie.duckdb"), read_only=True) as base:
        base.execute("SET threads = 2")
        territory, indicator, year = subject(base)
        print(f"territoire {territory}, indicateur {indicator}, année {year}")
        wrong = [q.what for q in questions(territory, indicator, year) if not ask(base, public, q)]
    raise SystemExit(f"réponses différentes : {wrong}" if wrong else 0)


def subject(base: duckdb.DuckDBPyConnection) -> tuple[str, str, int]:
    """The commune with most figures, and the indicator and year with most communes."""
    figures = "observation WHERE territory_id LIKE 'COM-%' AND reference = '_Z' AND sex = '_T' AND age = '_T'"
    known = f"FROM {figures} AND value IS NOT NULL GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT 1"
    (territory,) = base.sql(f"SELECT territory_id {known}").fetchall()[0]
    indicator, year = base.sql(f"SELECT indicator_id::VARCHAR, year {known}").fetchall()[0]
    return territory, indicator, year


def ask(base: duckdb.DuckDBPyConnection, public: Path, question: Question) -> bool:
    """Asks both ways and prints the line; whether they agree."""
    asked = question.asked
    own = (lambda: len(base.sql(asked).fetchall())) if isinstance(asked, str) else (lambda: asked(public))
    (rows, mine), (theirs, reference) = best(own), best(lambda: question.pandas(public))
    print(
        f"{question.user:<14} {question.what:<48} {mine * 1000:8.1f} ms   pandas {reference * 1000:9.1f} ms   "
        f"rapport {reference / mine:7.1f}   {rows} lignes",
        flush=True,
    )
    return rows == theirs


def best(work: Callable[[], Rows]) -> tuple[Rows, float]:
    seconds: list[float] = []
    rows = 0
    for _ in range(TIMES):
        started = time.perf_counter()
        rows = work()
        seconds.append(time.perf_counter() - started)
    return rows, min(seconds)


def frame(public: Path, table: str, *columns: str) -> pd.DataFrame:
    return pd.read_parquet(public / f"{table}.parquet", columns=list(columns) or None)


def questions(territory: str, indicator: str, year: int) -> list[Question]:
    """The questions, about one territory, one indicator and one year."""
    key = ["indicator_id", "territory_id", "year"]

    def ordinary(public: Path, *more: str) -> pd.DataFrame:
        rows = frame(public, "observation", *key, "sex", "age", "reference", "value", *more)
        return rows[(rows["reference"] == "_Z") & (rows["sex"] == "_T") & (rows["age"] == "_T")]

    def portrait(public: Path) -> Rows:
        rows = frame(public, "observation", *key, "sex", "age", "reference", "value", "lower", "upper")
        return int(((rows["reference"] == "_Z") & (rows["territory_id"] == territory)).sum())

    def map_of_year(public: Path) -> Rows:
        rows = ordinary(public)
        found = rows[(rows["indicator_id"] == indicator) & (rows["year"] == year)]
        return len(found.merge(frame(public, "territory", "territory_id", "name", "departement_id"), on="territory_id"))

    def series(public: Path) -> Rows:
        rows = ordinary(public)
        return int(((rows["indicator_id"] == indicator) & (rows["territory_id"] == territory)).sum())

    def ranked(public: Path) -> Rows:
        rows = ordinary(public)
        of_level = rows["territory_id"].str.startswith("COM-")
        found = rows[(rows["indicator_id"] == indicator) & (rows["year"] == year) & of_level & rows["value"].notna()]
        return len(found.assign(rank=found["value"].rank(ascending=False, method="min")))

    def of_one_indicator(public: Path) -> Rows:
        scanned = pl.scan_parquet(public / "observation.parquet").filter(
            pl.col("indicator_id") == indicator, pl.col("year") == year, pl.col("reference") == "_Z",
            pl.col("sex") == "_T", pl.col("age") == "_T",
        )  # fmt: skip
        names = pl.scan_parquet(public / "territory.parquet").select("territory_id", "name", "departement_id")
        return scanned.join(names, on="territory_id").collect().height

    def of_one_territory(public: Path) -> Rows:
        scanned = pl.scan_parquet(public / "observation.parquet")
        return scanned.filter(pl.col("territory_id") == territory, pl.col("reference") == "_Z").collect().height

    failed = "SELECT check_id, observed FROM quality_check WHERE NOT passed"
    suppressed = "SELECT indicator_id, year, reason_fr FROM coverage WHERE level = 'COM' AND suppressed > 0"
    figures = "reference = '_Z' AND sex = '_T' AND age = '_T'"
    return [
        Question("analyste", "contrôles non réussis", failed,
                 lambda public: int((~frame(public, "quality_check", "passed")["passed"]).sum())),
        Question("analyste", "années masquées, par indicateur", suppressed,
                 lambda public: len(frame(public, "coverage").query("level == 'COM' and suppressed > 0"))),
        Question("partenaire", "un indicateur, une année, avec les noms", of_one_indicator, map_of_year),
        Question("partenaire", "tous les chiffres d'un territoire", of_one_territory, portrait),
        Question("statisticien", "série d'un indicateur dans une commune",
                 f"FROM observation WHERE indicator_id = '{indicator}' AND territory_id = '{territory}' AND {figures}",
                 series),
        Question("statisticien", "rang des communes (rang)", f"FROM rang('{indicator}', {year}, 'COM')", ranked),
        Question("statisticien", "portrait d'une commune (v_portrait)",
                 f"FROM v_portrait WHERE territory_id = '{territory}'", portrait),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
