"""What production brings, provoked on the fictional country: `python -m bench.recovery [two|failures] [--times N]`.

`failures`: each failure once, on a copy of one good folder: what the command answered, what is published then, how long
until all is right again, and whether a figure was lost. `two`: two runs started together, N times: one does the work,
the other stops with a clear word. Ends with code 1 when something is not as docs/exploitation.md says.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from sources.raw_store import RawStore
from tests.vigie_runs import VIGIE, Run, begin, damage, end, environment, leftovers, vigie
from warehouse.release import Releases

SMALL = {"VIGIE_DEMO_COMMUNES": "60"}
SPOILED = "www.insee.fr/fr/statistiques/fichier/6011070/donnees_communes_2019.zip"


@dataclass(frozen=True)
class Trial:
    """A failure: how it is provoked in a folder, what the run that meets it answers, what mends it if that one does
    not."""

    name: str
    provoke: Callable[[Path], object]
    code: int
    said: str
    mend: tuple[str, ...] = ()


def main() -> None:
    """Runs the trials asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", choices=("two", "failures"))
    parser.add_argument("--times", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vigie-reprise-") as folder:
        base = Path(folder) / "base"
        first = vigie(base, "run", **SMALL)
        print(f"dossier de départ : code {first.code}, {first.seconds:.1f} s", flush=True)
        good = two(base, asked.times) if asked.trial == "two" else failures(base)
    raise SystemExit(0 if good else 1)


# --- two runs at once


def two(base: Path, times: int) -> bool:
    """Each pair has something to publish: other years than the pair before."""
    good = True
    for n in range(1, times + 1):
        before = len(Releases(base).list())
        pair = [begin(base, "run", "--years", f"{2014 + n % 5}-2030", **SMALL) for _ in range(2)]
        runs = sorted((end(process, time.monotonic()) for process in pair), key=lambda run: run.code)
        won, stopped = runs
        pids = {str(process.pid) for process in pair}
        named = any(f"déjà utilisé par le processus {pid} (machine " in stopped.text for pid in pids)
        made = len(Releases(base).list()) - before
        fine = (won.code, stopped.code, named, made, damage(base)) == (0, 2, True, 1, [])
        good &= fine
        told = f"codes {won.code} et {stopped.code}, {made} publication de plus, le premier nommé : {named}"
        print(f"{n:2} : {told}{'' if fine else '  INATTENDU ' + stopped.text[-300:]}", flush=True)
    return good


# --- failures


def failures(base: Path) -> bool:
    """Prints a line a failure."""
    good = True
    print(f"{'panne':<34}{'code':<6}{'dit':<5}{'publié':<10}{'rétabli en':<12}{'chiffres perdus':<16}")
    for trial in TRIALS:
        data = base.parent / "essai"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(base, data, symlinks=True)
        began = time.monotonic()
        provoked = trial.provoke(data)
        run = provoked if isinstance(provoked, Run) else vigie(data, "run", **SMALL)
        whole = "entier" if not damage(data) else "abîmé"
        last = vigie(data, *trial.mend, **SMALL) if trial.mend else run
        seconds = time.monotonic() - began
        lost = figures(data) != figures(base)
        fine = run.code == trial.code and trial.said in run.text and not lost and not damage(data)
        fine = fine and not leftovers(data) and (not trial.mend or last.code in (0, 3))
        good &= fine
        told, gone = "oui" if trial.said in run.text else "non", "oui" if lost else "aucun"
        line = f"{trial.name:<34}{run.code:<6}{told:<5}{whole:<10}{f'{seconds:.1f} s':<12}{gone:<16}"
        print(line + ("" if fine else f"INATTENDU {leftovers(data)} {damage(data)} {last.text[-400:]}"), flush=True)
    return good


def figures(data: Path) -> list[int]:
    """What is published of the indicators, less when each figure was first seen: a number a row."""
    latest = Releases(data).latest()
    return pl.read_parquet(latest.path("observation")).drop("release_added").hash_rows().to_list() if latest else []


def spoil_a_source(data: Path) -> None:
    """Its address now serves something else."""
    (done,) = (data / "stage" / "demo").glob("*/DONE")
    (done.parent / SPOILED).write_bytes(b"<!doctype html><title>Maintenance</title>")


def no_network(data: Path) -> Run:
    """Producers that nobody reaches: a mirror where nothing listens, of a folder that has nothing to fall back on."""
    other = data.parent / "sans-reseau"
    return vigie(other, "run", VIGIE_PROFILE="mirror", VIGIE_MIRROR="http://127.0.0.1:9", VIGIE_ATTEMPTS="2")


def full_disk(data: Path) -> Run:
    """No file may grow beyond half of the DuckDB file."""
    room = (data / "vigie.duckdb").stat().st_size // 2
    began = time.monotonic()
    process = subprocess.Popen(
        [VIGIE, "run", "--years", "2019"], env=environment(data, SMALL), text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)),
    )  # fmt: skip
    return end(process, began)


def kill(data: Path) -> Run:
    """kill -9 in the middle of a run that has everything to compute."""
    for name in ("core", "stage/settled", "stage/observation"):
        shutil.rmtree(data / name)
    began = time.monotonic()
    process = begin(data, "run", **SMALL)
    time.sleep(12)
    process.kill()
    return end(process, began)


def spoil_a_body(data: Path) -> None:
    """One byte of a stored file, that has to be read again."""
    store = RawStore(data)
    raw = store.latest("insee_populations_legales", "2019")
    assert raw is not None
    flip(store.path(raw.sha256))
    (data / "core" / "insee_populations_legales" / "2019.parquet").unlink()


def flip(path: Path) -> None:
    """Inverts a hundred bytes in the middle of a file."""
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + 100] = bytes(255 - b for b in content[half : half + 100])
    path.write_bytes(content)


def cut_intermediate(data: Path) -> None:
    """A core file and a file of figures lose their end."""
    for name in ("core/insee_filosofi_cc/2019-geo2022.parquet", "stage/observation/rev_tp60.parquet"):
        path = data / name
        path.write_bytes(path.read_bytes()[:-50])


def spoil_instance(data: Path) -> None:
    """Dagster's list of runs is no longer a database."""
    (data / "dagster" / "history" / "runs.db").write_bytes(b"not a database" * 500)


def lose_instance(data: Path) -> None:
    """All of Dagster's history is gone."""
    shutil.rmtree(data / "dagster")


def leave_a_candidate(data: Path) -> None:
    """What a run killed before its end leaves."""
    latest = Releases(data).latest()
    assert latest is not None
    left = data / "releases" / ".candidate-r0009-0123456789ab"
    shutil.copytree(latest.public, left / "public")


def stale_lock(data: Path) -> None:
    """The name of a dead process in the lock file, and a run that Dagster takes for going on."""
    (data / ".lock").write_text("999999 (machine ailleurs, depuis le 01/01/2020 à 00:00:00 UTC)\n")
    with sqlite3.connect(data / "dagster" / "history" / "runs.db") as runs:
        runs.execute("UPDATE runs SET status = 'STARTED'")


TRIALS = (
    Trial("source en échec", spoil_a_source, 3, "la dernière bonne édition sert, marquée périmée"),
    Trial("réseau perdu", no_network, 1, "vérifier le réseau"),
    Trial("disque plein", full_disk, 1, "reste en place", ("run",)),
    Trial("processus tué", kill, -9, "", ("run",)),
    Trial("fichier brut altéré", spoil_a_body, 0, "Rien n'a changé"),
    Trial("core et stage tronqués", cut_intermediate, 0, "fichier abîmé, supprimé"),
    Trial("DuckDB tronqué", lambda d: os.truncate(d / "vigie.duckdb", 100_000), 0, "vigie.duckdb reconstruit"),
    Trial("base de Dagster abîmée", spoil_instance, 0, "runs.db de Dagster abîmé, mis de côté"),
    Trial("base de Dagster perdue", lose_instance, 0, "Rien n'a changé"),
    Trial("candidate restée", leave_a_candidate, 0, "reste d'une exécution interrompue, supprimé"),
    Trial("verrou d'un processus mort", stale_lock, 0, "interrompue, notée en échec dans Dagster"),
)


if __name__ == "__main__":
    main()
