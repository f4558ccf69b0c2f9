"""The same release from each executor, and what it costs: `python -m bench.executors [FOLDER] [--of NAME …]`.

On the fictional country (60 communes, a partner's file deposited) or, from what FOLDER has received, with the settings
of the environment (VIGIE_PROFILE, VIGIE_MIRROR, VIGIE_YEARS…). Every run starts from the same raw files and nothing
computed. Prints Markdown; ends with code 1 when a file is not, byte for byte, that of the first executor.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.vigie_runs import VIGIE, differing, environment, vigie

EXECUTORS = ("in_process", "multiprocess", "dask")
RECEIVED = ("PROFILE", "raw", "perimeters", "contracts", "deposits", "stage/demo")
COMMUNES = ("99011", "99012", "99013", "99015")
PR_SET_CHILD_SUBREAPER = 36
WATCHED = 0.3  # seconds between two looks at memory


@dataclass(frozen=True)
class Cost:
    """What a command and all the processes that it started took: seconds of clock and of processor, megabytes."""

    code: int
    seconds: float
    processor: float
    memory: float


def main() -> None:
    """Runs each executor and prints a row for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--of", nargs="+", choices=EXECUTORS, default=EXECUTORS)
    asked = parser.parse_args()
    settings = {name: value for name, value in os.environ.items() if name.startswith("VIGIE_")}
    good = True
    with tempfile.TemporaryDirectory(prefix="vigie-executeurs-") as scratch:
        if asked.folder is None:
            settings |= {"VIGIE_DEMO_COMMUNES": "60"}
        received = asked.folder or fictional(Path(scratch) / "recu", settings)
        print("| exécuteur | code | secondes | processeur | mémoire | fichiers identiques |")
        print("|---|---|---|---|---|---|")
        first: Path | None = None
        for name in asked.of:
            data = Path(scratch) / name
            copy(received, data)
            cost = measured(data, settings | {"VIGIE_EXECUTOR": name})
            compared, wrong = differing(first or data, data)
            first = first or data
            good &= cost.code in (0, 3) and not wrong
            told = f"{cost.code} | {cost.seconds:.0f} s | {cost.processor:.0f} s | {cost.memory:.0f} Mo"
            print(f"| {name} | {told} | {compared - len(wrong)}/{compared} {' '.join(wrong)}|", flush=True)
    raise SystemExit(0 if good else 1)


def fictional(data: Path, settings: dict[str, str]) -> Path:
    """A folder that has received the fictional country, and a file that a partner keeps to partners."""
    lines = [
        f"{code};COM;2022;{sex};{900 + 7 * i};{97 + 5 * i};{61 + 3 * i}"
        for i, code in enumerate(COMMUNES)
        for sex in ("F", "M")
    ]
    path = data.parent / "cpam_assures-2022.csv"
    path.write_text("\n".join(["code;niveau;annee;sexe;assures_17p;sans_mt;c2s", *lines]))
    for arguments in (("run",), ("deposit", str(path))):
        done = vigie(data, *arguments, **settings)
        if done.code:
            raise SystemExit(done.text)
    return data


def copy(received: Path, data: Path) -> None:
    """What a folder has received, and nothing computed of it."""
    data.mkdir()
    for name in RECEIVED:
        if (received / name).is_dir():
            shutil.copytree(received / name, data / name)
        elif (received / name).exists():
            shutil.copy(received / name, data / name)


def measured(data: Path, settings: dict[str, str]) -> Cost:
    """Runs `vigie run`; every process that it leaves behind becomes a child of this one, whose time is then known."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, began, peak = _processor(), time.monotonic(), 0.0
    with (data.parent / f"{data.name}.txt").open("w") as told:
        process = subprocess.Popen(
            [VIGIE, "run"], env=environment(data, settings), stdout=told, stderr=told, start_new_session=True
        )
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(WATCHED)
    seconds = time.monotonic() - began
    with suppress(ChildProcessError):
        while True:
            os.wait()
    if process.returncode not in (0, 3):
        print((data.parent / f"{data.name}.txt").read_text()[-2000:])
    return Cost(process.returncode, seconds, _processor() - before, peak)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _memory(session: int) -> float:
    """Megabytes that the processes of a session take, what they share counted once."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):  # gone meanwhile
            if (folder / "stat").read_text().rpartition(")")[2].split()[3] == str(session):
                total += int((folder / "smaps_rollup").read_text().partition("Pss:")[2].split()[0])
    return total / 1024


if __name__ == "__main__":
    main()
