"""Households aggregated by Polars and by Spark, the same expression: `python -m bench.households [MILLIONS...]`.

Draws files of 1, 10 and 30 million fictional households (weights of 1, as in an exhaustive file), aggregates each by
territory and sex in a process of its own, then measures every group with REPLICATES bootstrap replicates. Prints
size on disk, cells, seconds of wall and CPU, peak memory of the process and its Java machine, and the largest
difference between the two engines. Spark needs the extra `spark` and Java 17 or later.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from bench.__main__ import resident
from methods.households import aggregate, measure

MILLIONS = (1.0, 10.0, 30.0)
BY = ("territory", "sex")
REPLICATES = 5
BATCH = 1_000_000
TICK = os.sysconf("SC_CLK_TCK")


def main(millions: list[float]) -> None:
    """Runs both engines at each size and prints one line each."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    print(f"{'ménages':>11} {'moteur':<7} {'disque Mo':>9} {'cellules':>11} {'agrégation s':>12} {'mesures s':>9}"
          f" {'cpu s':>7} {'mémoire Go':>10}")  # fmt: skip
    for size in millions:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "households.parquet"
            write(path, int(size * 1e6))
            for engine in ("polars", "spark"):
                run(engine, path, int(size * 1e6))
            print(f"{'':>11} écart relatif maximal entre moteurs : {difference(path):.1e}", flush=True)


def write(path: Path, size: int, seed: int = 1) -> None:
    """A file of fictional households: 96 territories of unequal sizes, incomes log-normal, in whole euros."""
    rng = np.random.default_rng(seed)
    names = np.array([f"{i:02d}" for i in range(1, 97)])
    share = rng.gamma(2.0, size=96)
    writer: pq.ParquetWriter | None = None
    for start in range(0, size, BATCH):
        n = min(BATCH, size - start)
        persons = 1 + rng.poisson(1.2, n)
        units = 1 + 0.5 * np.minimum(persons - 1, 1) + 0.3 * np.maximum(persons - 2, 0)
        table = pa.table(
            {
                "territory": names[rng.choice(96, n, p=share / share.sum())],
                "sex": np.where(rng.random(n) < 0.45, "F", "M"),
                "income": np.rint(units * rng.lognormal(10.0, 0.5, n)),
                "units": units,
                "persons": persons,
                "weight": np.ones(n),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
        writer.write_table(table)
    if writer:
        writer.close()


def run(engine: str, path: Path, size: int) -> None:
    """One engine in a process of its own, watched with its Java machine. Raises when it fails."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.households", engine, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    cpu: dict[int, float] = {}
    peak = 0
    while child.poll() is None:
        family = tree(child.pid)
        peak = max(peak, sum(resident(p) for p in family))
        cpu |= {p: seconds(p) or cpu.get(p, 0.0) for p in family}
        time.sleep(0.25)
    told, errors = child.communicate()
    if child.returncode:
        raise SystemExit(f"{engine} : code {child.returncode}\n{errors}")
    cells, aggregated, measured = told.split()[-3:]
    print(f"{size:>11,} {engine:<7} {path.stat().st_size / 1e6:>9.0f} {int(cells):>11,} {float(aggregated):>12.1f}"
          f" {float(measured):>9.1f} {sum(cpu.values()):>7.0f} {peak / 2**30:>10.2f}", flush=True)  # fmt: skip


def tree(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for parent in found:
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(p) for p in children.read_text().split()]
    return found


def seconds(pid: int) -> float:
    """CPU seconds of a process so far; 0 once it is gone."""
    with contextlib.suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    return 0.0


def aggregated(engine: str, path: Path) -> None:
    """In the process of one engine: aggregates, measures, keeps the results beside the file, prints the times."""
    started = time.monotonic()
    cells = aggregate(pl.scan_parquet(path) if engine == "polars" else spark_frame(path), BY)
    between = time.monotonic()
    measure(cells, replicates=REPLICATES).write_parquet(path.with_suffix(f".{engine}"))
    print(cells.frame.height, between - started, time.monotonic() - between)


def spark_frame(path: Path):
    """The file as Spark sees it, on two cores of this machine."""
    from pyspark.sql import SparkSession

    settings = {"spark.driver.memory": "2g", "spark.driver.maxResultSize": "0", "spark.ui.enabled": "false",
                "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
                "spark.sql.shuffle.partitions": "16"}  # fmt: skip
    session = SparkSession.Builder().master("local[2]").config(map=settings).getOrCreate()
    return session.read.parquet(str(path))


def difference(path: Path) -> float:
    """Largest relative difference between the results of both engines; infinite where one alone has a figure."""
    keys = [*BY, "measure"]
    pair = [pl.read_parquet(path.with_suffix(f".{e}")).sort(keys) for e in ("polars", "spark")]
    if not pair[0].select(keys, "conf_status").equals(pair[1].select(keys, "conf_status")):
        return float("inf")
    gaps = [(pair[0][c] - pair[1][c]).abs() / pair[0][c].abs() for c in ("value", "lower", "upper")]
    same = all(pair[0][c].is_null().equals(pair[1][c].is_null()) for c in ("value", "lower", "upper"))
    return max(float(g.max()) for g in gaps) if same else float("inf")  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    if sys.argv[1:2] in (["polars"], ["spark"]):
        aggregated(sys.argv[1], Path(sys.argv[2]))
    else:
        main([float(m) for m in sys.argv[1:]] or list(MILLIONS))
