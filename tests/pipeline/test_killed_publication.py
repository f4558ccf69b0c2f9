"""kill -9 at random moments of a publication: what is published stays whole, the next run leaves no orphan."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import release_sample as sample

from warehouse.duckdb_file import published_in
from warehouse.package import verify_sums
from warehouse.release import Releases

KILLS = 20

PUBLISHER = """
import sys, time
from pathlib import Path
import release_sample as sample

def slowed(step):
    def run(*arguments):
        time.sleep(0.1)
        return step(*arguments)
    return run

# the moments between the steps that readers see last microseconds: widened, so that kills fall there too
for name in ("_point", "_swap_database"):
    setattr(sample.Releases, name, slowed(getattr(sample.Releases, name)))

releases = sample.Releases(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
releases.recover()
for number in range(100):
    rows = sample.observations().with_columns(sample.pl.col("value") + number)
    sample.publish(releases, rows, digest=f"{number:064x}")
"""


def publisher(data: Path) -> subprocess.Popen[str]:
    """A process that publishes in a loop once it is told to start."""
    path = os.pathsep.join([str(Path(sample.__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", PUBLISHER, str(data)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path}, text=True,
    )  # fmt: skip


def kill_after(process: subprocess.Popen[str], delay: float) -> None:
    """Starts the process's loop and kills it `delay` seconds later."""
    assert process.stdin is not None and process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(delay)
    assert process.poll() is None, "the publisher stopped by itself"
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_twenty_kills(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    started = time.monotonic()
    sample.publish(releases)
    one = time.monotonic() - started + 0.2
    moments = random.Random(7)
    repaired = 0
    following = publisher(tmp_path)
    try:
        for kill in range(KILLS):
            process, following = following, publisher(tmp_path)  # the next one loads its modules meanwhile
            kill_after(process, moments.uniform(0.02, 2 * one))

            latest = releases.latest()
            assert latest is not None and verify_sums(latest.public) == [], f"kill {kill}"
            assert published_in(releases.database) is not None, f"kill {kill}"

            repaired += bool(releases.recover())
            latest = releases.latest()
            assert latest is not None and published_in(releases.database) == latest.release_id, f"kill {kill}"
            known = {r.release_id for r in releases.list()} | {"latest", ".lock"}
            assert {p.name for p in releases.root.iterdir()} == known, f"kill {kill}"
            assert {p.name for p in tmp_path.iterdir()} == {"releases", "vigie.duckdb"}, f"kill {kill}"
    finally:
        following.kill()
        following.communicate()
    assert repaired > KILLS / 2  # most moments fall inside a publication
    assert len(releases.list()) > 1  # and some publications went through
