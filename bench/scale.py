"""How a whole run grows with the number of communes: `python -m bench.scale 1 10 30` (times 35,000 communes).

Each size is a fictional country of its own, written by one process and taken from its raw files to its release by
another, both on two cores. The table gives seconds, CPU and memory of the run and of each step, then the slope: the
exponent of the CPU time on the number of communes, 1 when the time is proportional.

What is measured is the whole path (every stage, every check) on a subset of the editions, the same at every size: all
geographies, and the statistical editions of the data years YEARS. Communes have HOUSEHOLDS households on average, a
tenth of the demonstration's, so that those of a country thirty times ours can be drawn in memory; the run itself
never sees a household, and a figure withheld is a row as a published one is.

INSEE's codes have room for some 100,000 communes: beyond, codes have letters, and this process reads the two patterns
of a commune's code in a wider form (`widen`); beyond LARGE communes checks have more memory. Nothing else of the
project is changed. Thirty times takes half an hour to write, as long to run, 16 and 18 GB of memory.
"""

from __future__ import annotations

import importlib.util
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
UNIT = 35_000  # communes of the country as it is
YEARS = (2020, 2021)
HOUSEHOLDS = 40  # thirty times this country then has less than the hundred million inhabitants that checks allow
CHECKS_LIMIT = "6GB"  # from LARGE communes on: the distinct codes of the largest edition take more than 600 MB
LARGE = 20 * UNIT
# Where the form of a commune's code is written: the modules, and what stands for three digits in them.
PATTERNS = ("sources.tabular", "expectations.suites")
NARROW, WIDE = r"2[AB])\d{3}", r"2[AB])[0-9A-Z]{3}"
NARROW_IRIS, WIDE_IRIS = r"2[AB])\d{7}", r"2[AB])[0-9A-Z]{3}\d{4}"
EVERY = 0.1  # seconds between two looks at the memory
NOTABLE = 0.03  # share of the largest run's CPU time from which a step has a line of its own


@dataclass(frozen=True)
class Step:
    """One step of a run, as Dagster's events tell it."""

    name: str
    seconds: float
    cpu: float
    peak: int  # bytes, of all the processes of the run while it lasted


@dataclass(frozen=True)
class Cost:
    """What a process took, with those it started."""

    wall: float
    cpu: float
    peak: int
    looks: tuple[tuple[float, float, int], ...]  # moment, CPU seconds so far, bytes


def main() -> None:
    """One size after the other, then the slopes."""
    match sys.argv[1:]:
        case ["--generate", folder, communes]:
            generate(Path(folder), int(communes))
        case ["--run", folder, communes]:
            run(Path(folder), int(communes))
        case sizes:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
            print(f"{UNIT} communes × taille, {HOUSEHOLDS} ménages par commune, années {YEARS[0]}-{YEARS[-1]}, 2 cœurs")
            report({float(size): measured(round(float(size) * UNIT)) for size in sizes or ("1", "10")})


def measured(communes: int) -> list[Step]:
    """The steps of one size's run, after a line on its generation and another on the run."""
    with tempfile.TemporaryDirectory() as place:
        files, data = Path(place) / "files", Path(place) / "data"
        environment = os.environ | {
            "VIGIE_DATA": str(data),
            "VIGIE_PROFILE": "demo",
            "VIGIE_YEARS": f"{YEARS[0]}-{YEARS[-1]}",
        }
        made = cost(["--generate", str(files), str(communes)], environment)
        done = cost(["--run", str(files), str(communes)], environment)
        size = sum(p.stat().st_size for p in files.rglob("*") if p.is_file())
        print(
            f"{communes:>9} communes : génération {made.wall:7.1f} s, cpu {made.cpu:7.1f} s, "
            f"{made.peak / 2**30:5.2f} Go, {size / 2**20:6.0f} Mo écrits ; exécution {done.wall:7.1f} s, "
            f"cpu {done.cpu:7.1f} s, {done.peak / 2**30:5.2f} Go, {rows(data):>10} lignes publiées",
            flush=True,
        )
        return [Step("exécution entière", done.wall, done.cpu, done.peak), *steps(data, done)]


def cost(arguments: list[str], environment: dict[str, str]) -> Cost:
    """Runs this module in another process; SystemExit with its messages when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.scale", *arguments], env=environment, cwd=ROOT, stdout=told, stderr=told
        )
        looks: list[tuple[float, float, int]] = []
        while process.poll() is None:
            own = [usage(pid) for pid in family(process.pid)]
            looks.append((time.time(), sum(cpu for cpu, _ in own), sum(memory for _, memory in own)))
            time.sleep(EVERY)
        wall = time.monotonic() - started
        if process.returncode:
            told.seek(0)
            peak = max(memory for *_, memory in looks) / 2**30
            raise SystemExit(
                f"{told.read()[-5000:]}\n{arguments} : code {process.returncode}, {wall:.0f} s, {peak:.2f} Go"
            )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, max(memory for *_, memory in looks), tuple(looks))


def family(pid: int) -> Iterator[int]:
    """A process and all those it started, those that are still there."""
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def usage(pid: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of a process; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0, 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE")


def steps(data: Path, done: Cost) -> list[Step]:
    """The steps of the run of a data folder, the costliest first."""
    import dagster as dg

    os.environ |= {"DAGSTER_HOME": str(ROOT), "VIGIE_DAGSTER": str(data / "dagster")}
    found: list[Step] = []
    with dg.DagsterInstance.get() as instance:
        (last,) = instance.get_runs(limit=1)
        for told in instance.get_run_step_stats(last.run_id):
            if told.start_time is None or told.end_time is None:
                continue
            inside = [look for look in done.looks if told.start_time <= look[0] <= told.end_time + EVERY]
            cpu = inside[-1][1] - inside[0][1] if inside else 0.0
            peak = max((memory for *_, memory in inside), default=0)
            found.append(Step(told.step_key, told.end_time - told.start_time, cpu, peak))
    return sorted(found, key=lambda step: -step.cpu)


def rows(data: Path) -> int:
    """Rows of the published table of observations."""
    import polars as pl

    return (
        pl.scan_parquet(data / "releases" / "latest" / "public" / "observation*.parquet")
        .select(pl.len())
        .collect()
        .item()
    )


def report(sizes: dict[float, list[Step]]) -> None:
    """One line a step: CPU seconds and memory at each size, and the slope between sizes."""
    largest = {step.name: step for step in sizes[max(sizes)]}
    whole = largest["exécution entière"].cpu
    print(f"\n{'étape':<34}" + "".join(f"{f'{s:g}x':>19}" for s in sizes) + "    pente")
    for name, step in largest.items():
        if step.cpu < NOTABLE * whole:
            continue
        line = [next((s for s in own if s.name == name), None) for own in sizes.values()]
        shown = "".join(f"{s.cpu:9.1f} s {s.peak / 2**30:5.2f} Go" if s else f"{'':>19}" for s in line)
        pairs = pairwise((size, s.cpu) for size, s in zip(sizes, line, strict=True) if s and s.cpu > 0)
        slopes = [math.log(b / a) / math.log(large / small) for (small, a), (large, b) in pairs]
        print(f"{name:<34}{shown}    " + " ".join(f"{slope:4.2f}" for slope in slopes))


def generate(folder: Path, communes: int) -> None:
    """Writes the country's files."""
    from sources.demo.generate import generate as write

    write(folder, communes=communes, households=HOUSEHOLDS * communes, years=range(YEARS[0], YEARS[-1] + 1))


def run(folder: Path, communes: int) -> None:
    """`vigie run` on files that are already written."""
    for module in PATTERNS:
        widen(module)
    from expectations import adapter
    from methods import passage
    from pipelines import cli
    from pipelines.stages import acquisition

    passage.dated_as_listed.__defaults__ = ((),)  # real communes, whose codes a country this large has too
    acquisition.demo_folder = lambda workspace: folder
    if communes > LARGE:
        adapter.MEMORY_LIMIT = CHECKS_LIMIT
    cli.app(["run"])


def widen(name: str) -> None:
    """Imports a module as if its patterns of codes allowed letters after the département."""
    spec = importlib.util.find_spec(name)
    assert spec and spec.origin
    text = Path(spec.origin).read_text(encoding="utf-8")
    wide = text.replace(NARROW, WIDE).replace(NARROW_IRIS, WIDE_IRIS)
    if wide.count(WIDE) < 2:
        raise SystemExit(f"{name} : motif {NARROW!r} introuvable ; attendu la forme des codes de commune")
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(wide, spec.origin, "exec"), module.__dict__)


if __name__ == "__main__":
    main()
