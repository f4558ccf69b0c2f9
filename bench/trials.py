"""Long trials of the whole command on the stored real files, run by hand: `python -m bench.trials kill|faults|reader`.

Each prints a table and ends with code 1 when the published release was not kept whole. Nothing here is run by the
tests: their short forms are in tests/pipeline and tests/real.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vigie_runs import LEFTOVERS, begin, damage, leftovers
from warehouse.duckdb_file import published_in
from warehouse.release import Releases

ROOT = Path(__file__).parents[1]
SERVER = ROOT.parent / "shared" / "mirror" / "serve.py"

# every edition is inside each of these: another choice makes another release, of the same figures
CHOICES = ("2010-2030", "2011-2030", "2012-2030", "2010-2031", "2011-2031", "2012-2031")


def main() -> None:
    """Runs one trial."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", choices=("kill", "reader", "faults"))
    parser.add_argument("--times", type=int, default=10, help="kills")
    parser.add_argument("--seed", type=int, default=20, help="of the random moments")
    parser.add_argument("--only", nargs="*", default=(), help="faults or kinds of file to keep")
    asked = parser.parse_args()
    if not SERVER.is_file():
        raise SystemExit(f"fichiers réels absents : {SERVER} n'existe pas")
    with tempfile.TemporaryDirectory(prefix="vigie-essai-") as folder:
        match asked.trial:
            case "kill":
                good = kill(Path(folder), asked.times, asked.seed)
            case "reader":
                good = reader(Path(folder))
            case _:
                good = faults(Path(folder), asked.only)
    raise SystemExit(0 if good else 1)


# --- running and looking


@contextlib.contextmanager
def mirror(*played: str) -> Iterator[str]:
    """A server of the stored files that plays these faults (`serve.py --help`); its address."""
    command = [sys.executable, str(SERVER), "--port", "0", *(w for fault in played for w in ("--fault", fault))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def start(data: Path, address: str, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    """`vigie run` on the mirror, in its own process."""
    return begin(data, "run", *arguments, VIGIE_PROFILE="mirror", VIGIE_MIRROR=address, **settings)


def finish(process: subprocess.Popen[str]) -> str:
    """What it said; raises SystemExit when it failed."""
    out, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, process.args))} : code {process.returncode}\n{out}{errors}")  # pyright: ignore
    return out


def line(*cells: object, widths: Sequence[int]) -> None:
    print("  ".join(f"{cell!s:<{width}}" for cell, width in zip(cells, widths, strict=True)), flush=True)


# --- kill -9


def kill(folder: Path, times: int, seed: int) -> bool:
    """kill -9 at random moments, spread over the length of a run; odd attempts start from nothing but what is
    published, even ones from what the killed run left."""
    data, moments = folder / "data", random.Random(seed)
    good = True
    with mirror() as address:
        began = time.monotonic()
        finish(start(data, address))
        length = time.monotonic() - began
        print(f"exécution complète : {length:.1f} s ; {times} arrêts brutaux (graine {seed})")
        widths = (3, 12, 8, 14, 10, 60)
        line("n°", "départ", "à (s)", "publiée", "entière", "restes", widths=widths)
        order = moments.sample(range(times), times)
        for n, place in enumerate(order, 1):
            fresh = n % 2 == 1
            if fresh:
                for name in ("raw", "core", "stage"):
                    shutil.rmtree(data / name, ignore_errors=True)
            moment = length * (place + moments.random()) / times
            process = start(data, address, "--years", CHOICES[n % len(CHOICES)])
            time.sleep(moment)
            ended = process.poll() is not None
            process.send_signal(signal.SIGKILL)
            process.communicate()
            wrong = damage(data)
            good &= not wrong
            left = ", ".join(shortened(leftovers(data))) or ("aucun : déjà finie" if ended else "aucun")
            held = published_in(data / "vigie.duckdb")
            cells = (n, "de rien" if fresh else "reprise", f"{moment:.1f}", held, wrong or "oui", left)
            line(*cells, widths=widths)
        print(finish(start(data, address)).strip().splitlines()[-1])
    wrong, left = damage(data), leftovers(data)
    print(f"après l'exécution suivante : {wrong or 'publication entière'} ; restes : {left or 'aucun'}")
    return good and not wrong and not left


def shortened(paths: list[str]) -> list[str]:
    """A folder's own name instead of all that it holds, and how many files of each ending."""
    tops = sorted({part for path in paths for part in Path(path).parts if part.startswith(LEFTOVERS)})
    loose = [p for p in paths if not any(part.startswith(LEFTOVERS) for part in Path(p).parts)]
    return tops + ([f"{len(loose)} fichier(s) {'/'.join(sorted({Path(p).suffix for p in loose}))}"] if loose else [])


# --- an open reader

READER = """
import json, sys, time
from pathlib import Path
import duckdb

database, stop, keep = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "keep"
sum_up = "SELECT bit_xor(hash(territory_id, value)) FROM observation WHERE year = ?"
asked = f"SELECT release_id, ({sum_up}) FROM v_publication"
connection = duckdb.connect(database, read_only=True)
seen, sums, queries = [], {}, 0
print("open", flush=True)
while not stop.exists():
    if not keep:
        connection.close()
        connection = duckdb.connect(database, read_only=True)
    year = 2014 + queries % 7
    release, total = connection.execute(asked, [year]).fetchone()
    if release not in seen:
        seen.append(release)
    sums.setdefault((release, year), set()).add(total)
    queries += 1
    time.sleep(0.1)
connection.close()
with duckdb.connect(database, read_only=True) as connection:
    after = connection.execute("SELECT release_id FROM v_publication").fetchone()[0]
steady = all(len(found) == 1 for found in sums.values())
print(json.dumps({"queries": queries, "seen": seen, "steady": steady, "after": after}))
"""


def reader(folder: Path) -> bool:
    """Two readers during three publications: one keeps its connection, the other opens the file each time."""
    data, stop = folder / "data", folder / "stop"
    good = True
    with mirror() as address:
        finish(start(data, address))
        readers = {
            kind: subprocess.Popen(
                [sys.executable, "-c", READER, str(data / "vigie.duckdb"), str(stop), kind],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for kind in ("keep", "reopen")
        }  # fmt: skip
        for process in readers.values():
            assert process.stdout is not None
            if process.stdout.readline() != "open\n":
                raise SystemExit(process.communicate()[1])
        for choice in CHOICES[:3]:
            began = time.monotonic()
            finish(start(data, address, "--years", choice))
            print(f"publiée : {published_in(data / 'vigie.duckdb')} en {time.monotonic() - began:.1f} s", flush=True)
            time.sleep(1.0)
        stop.touch()
    names = [r.release_id for r in Releases(data).list()]
    expected = {"keep": names[:1], "reopen": names}
    for kind, process in readers.items():
        out, errors = process.communicate()
        answer = json.loads(out) if process.returncode == 0 else {"erreur": errors.strip().splitlines()[-1:]}
        wanted = {"seen": expected[kind], "steady": True, "after": names[-1]}
        fine = process.returncode == 0 and answer | wanted == answer
        good &= fine
        print(f"lecteur {'qui garde sa connexion' if kind == 'keep' else 'qui rouvre'} : {answer}")
    return good and not damage(data)


# --- faults


@dataclass(frozen=True)
class Kind:
    """One kind of file, by an edition that is of it; `part` is in its address and in no other."""

    name: str
    source_id: str
    edition: str
    part: str


YEARS = "2016-2020"
KINDS = (
    Kind("zip de csv", "insee_populations_legales", "2019", "donnees_communes_2019"),
    Kind("zip de xls", "insee_filosofi_cc", "2016", "filosofi-revenu-pauvrete-menage-2016"),
    Kind("zip de xlsx", "insee_filosofi_cc", "2019-geo2022", "base-cc-filosofi-2019_XLSX"),
    Kind("csv", "cnaf_iris", "2019", "data_CAF_2019_IRIS"),
    Kind("txt", "insee_cog_communes", "2017", "France2017.txt"),
    Kind("xlsx", "dgcl_epci", "2025", "epcicom2025"),
    Kind("export", "cnaf_commune", "2020", "s_ben_com_f"),
)
FAULTS = {  # what is played -> what the command must answer
    "503:1": "remise",
    "503": "périmée",
    "reset:1": "remise",
    "reset": "périmée",
    "truncate:1": "remise",
    "truncate": "périmée",
    "html": "périmée",
    "slow": "périmée",
    "stale": "nouvelle",
}


def faults(folder: Path, only: Sequence[str]) -> bool:
    """Every fault on every kind of file, the bodies of the raw store taken away before each so that they do travel."""
    base = folder / "base"
    with mirror() as address:
        began = time.monotonic()
        finish(start(base, address, "--years", YEARS))
    print(f"publication de départ, années {YEARS} : {time.monotonic() - began:.1f} s", flush=True)
    widths = (12, 12, 6, 9, 10, 8, 90)
    line("faute", "fichier", "code", "source", "publiée", "durée", "message", widths=widths)
    good = True
    for played, expected in FAULTS.items():
        for kind in KINDS:
            if not only or played in only or kind.name in only:
                good &= fault(base, folder / "essai", played, kind, expected, widths)
    return good


def fault(base: Path, data: Path, played: str, kind: Kind, expected: str, widths: Sequence[int]) -> bool:
    """One run under one fault on a copy of the base; prints its line; whether it ended as it must."""
    shutil.rmtree(data, ignore_errors=True)
    aside = shutil.ignore_patterns("sha256", "dagster", ".lock")
    shutil.copytree(base, data, symlinks=True, ignore=aside, copy_function=os.link)
    before = Releases(data).latest()
    assert before is not None
    name, _, count = played.partition(":")
    began = time.monotonic()
    with mirror(f"{name}:{kind.part}{':' + count if count else ''}") as address:
        process = start(data, address, "--years", YEARS, VIGIE_ATTEMPTS="2", VIGIE_DEADLINE="4")
        _, errors = process.communicate()
    seconds = time.monotonic() - began
    latest, wrong = Releases(data).latest(), damage(data)
    kept = latest is not None and latest.release_id == before.release_id
    said = f"{kind.source_id} {kind.edition}" in errors
    ended = {"remise": (0, True), "périmée": (3, False), "nouvelle": (0, False)}[expected] == (process.returncode, kept)
    fine = ended and not wrong and not leftovers(data) and (said or expected != "périmée")
    text = next((row for row in errors.splitlines() if row.startswith(f"{kind.source_id} {kind.edition}")), "")
    state = "abîmée" if wrong else "intacte" if kept else "nouvelle"
    if not fine:
        text = f"INATTENDU ({expected} attendu) {wrong} {leftovers(data)} {errors.strip().splitlines()[-6:]}"
    line(played if count else f"{name} toujours" if name in ("503", "reset", "truncate") else name, kind.name,
         process.returncode, "nommée" if said else "", state, f"{seconds:.1f} s", text, widths=widths)  # fmt: skip
    return fine


if __name__ == "__main__":
    main()
