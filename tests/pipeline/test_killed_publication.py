"""kill -9 at random moments of a publication: what is published stays whole, the next run leaves no orphan."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import release_sample as sample

from warehouse.duckdb_file import published_in
from warehouse.package import verify_sums
from warehouse.release import Releases

KILLS = 12

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
for name in ("_point", "_swap_databases"):
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


def assert_readable(releases: Releases) -> None:
    """What a reader needs: every release that has its name is whole, the DuckDB file opens and is whole."""
    assert releases.latest() is not None
    assert [problem for r in releases.list() for problem in verify_sums(r.public)] == []
    assert published_in(releases.database) is not None


def assert_tidy(releases: Releases) -> None:
    """After `recover`: the pointer and the DuckDB file agree, and nothing is left that no release owns."""
    assert_readable(releases)
    latest = releases.latest()
    assert latest is not None and published_in(releases.database) == latest.release_id
    known = {r.release_id for r in releases.list()} | {"latest", ".lock"}
    assert {p.name for p in releases.root.iterdir()} == known
    assert {p.name for p in releases.data.iterdir()} == {"releases", "vigie.duckdb"}


def test_kills_at_random_moments(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    started = time.monotonic()
    sample.publish(releases)
    one = time.monotonic() - started + 0.2
    moments = random.Random(7)
    repaired = 0
    following = publisher(tmp_path)
    try:
        for _ in range(KILLS):
            process, following = following, publisher(tmp_path)  # the next one loads its modules meanwhile
            kill_after(process, moments.uniform(0.02, 3 * one))

            assert_readable(releases)
            repaired += bool(releases.recover())
            assert_tidy(releases)
    finally:
        following.kill()
        following.communicate()
    assert repaired > KILLS / 2  # most moments fall inside a publication
    assert len(releases.list()) > 1  # and some publications went through


FILE_EVENTS = ("open", "os.", "shutil.")


def die_at(event_number: int) -> None:
    """From now on, this process ends at once just before its n-th operation on files."""
    seen = 0

    def hook(event: str, _: tuple[object, ...]) -> None:
        nonlocal seen
        if event.startswith(FILE_EVENTS):
            seen += 1
            if seen == event_number:
                os._exit(9)

    sys.addaudithook(hook)


def test_death_before_each_operation_on_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visible steps, interrupted at every single place, each time on a fresh copy of the data folder."""
    ready = Releases(tmp_path / "ready")
    sample.publish(ready)
    candidate = sample.candidate(ready, digest="f" * 64)
    monkeypatch.setattr(Releases, "_put_in_place", lambda *_: None)
    monkeypatch.setattr(Releases, "_read", lambda *_: None)
    monkeypatch.setattr(Releases, "_drop_others", lambda *_: None)
    ready.publish(candidate)  # sealed and built, not yet in place
    monkeypatch.undo()
    outcomes: list[str] = []
    for place in range(1, 200):
        data = tmp_path / "try"
        shutil.copytree(ready.data, data, symlinks=True)
        releases = Releases(data)
        built = next(data.glob(".build-*/vigie.duckdb"))
        child = os.fork()
        if child == 0:
            die_at(place)
            releases._put_in_place(candidate.release_id, {"public": built}, releases.root / candidate.folder.name)
            os._exit(0)
        finished = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert_readable(releases)
        releases.recover()
        assert_tidy(releases)
        latest = releases.latest()
        assert latest is not None
        outcomes.append(latest.release_id)
        if finished:
            break
        shutil.rmtree(data)
    assert finished
    assert len(outcomes) > 10
    # once begun, a publication is never undone
    assert outcomes == sorted(outcomes)
    assert {outcomes[0], outcomes[-1]} == {"r0001-0123456789ab", candidate.release_id}
