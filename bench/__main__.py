"""`make bench`: a full run, an unchanged rerun, and what each is to be compared with, on two cores.

References: the floor of a run (same bytes, nothing computed nor checked), parsing with pandas, queries with pandas,
writing without proof, checks in plain Polars. Figures are printed as seconds of wall and CPU, peak memory, and ratios
within this one run of the benchmark. The stored real files are used where they are (../shared/mirror beside the
project), else the generated country. By hand beside it: bench.scale, bench.executors, bench.households.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
MIRROR = ROOT.parent / "shared" / "mirror"
PARSING = ("polars", "pandas")
TOLD = ("bench.queries", "bench.publication", "bench.expectations")  # each prints its own reference


def main() -> None:
    """Runs every measure and prints one line each."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory() as folder, mirror() as address:
        data = Path(folder) / "data"
        environment = os.environ | {"VIGIE_DATA": str(data), "VIGIE_PROFILE": "demo"}
        if address:
            environment |= {"VIGIE_PROFILE": "mirror", "VIGIE_MIRROR": address}
        print(f"sources : {'fichiers réels' if address else 'pays fictif'}, 2 cœurs")
        vigie = [str(Path(sys.executable).with_name("vigie")), "run"]
        full = measure("exécution complète, dossier vide", vigie, environment)
        again = measure("exécution sans changement", vigie, environment)
        print(f"{'rapport sans changement / complète':<44} {again / full:6.2f}")
        floor = measure("plancher : mêmes octets, sans calcul", [sys.executable, "-m", "bench.floor"], environment)
        print(f"{'rapport exécution / plancher':<44} {full / floor:6.2f}")
        times = {
            kind: measure(
                f"lecture de tous les fichiers, {kind}", [sys.executable, "-m", "bench.parsing", kind], environment
            )
            for kind in PARSING
        }
        print(f"{'rapport pandas / polars et fastexcel':<44} {times['pandas'] / times['polars']:6.2f}")
        for module in TOLD:
            print(f"--- {module}", flush=True)
            subprocess.run([sys.executable, "-m", module], env=environment, cwd=ROOT, check=True)


def measure(title: str, command: list[str], environment: dict[str, str]) -> float:
    """Runs a command as a whole process; prints and returns its wall seconds. Raises when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        time.sleep(0.05)
    wall = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{title} : code {process.returncode}\n{process.stderr.read().decode()}")  # pyright: ignore
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"{title:<44} {wall:6.1f} s   cpu {cpu:6.1f} s   mémoire {peak / 2**30:5.2f} Go", flush=True)
    return wall


def resident(pid: int) -> int:
    """Resident memory of a process, in bytes; 0 once it is gone."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@contextlib.contextmanager
def mirror() -> Iterator[str | None]:
    """Address of the server of the stored files, None where they are not."""
    script = MIRROR / "serve.py"
    if not script.exists():
        yield None
        return
    server = subprocess.Popen([sys.executable, str(script), "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        yield server.stdout.readline().strip()  # pyright: ignore[reportOptionalMemberAccess]
    finally:
        server.terminate()
        server.wait(10)


if __name__ == "__main__":
    main()
