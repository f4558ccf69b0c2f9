"""The raw store: bytes come back under their hash, the index only grows, a killed process costs nothing."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sources.raw_store import INDEX, TEMPORARY, RawFile, RawStore, RawStoreError

REPOSITORY = Path(__file__).parents[2]
BODY = b"code;valeur\n91286;44\n"


def row(sha256: str, edition: str = "2020", **changes: object) -> RawFile:
    made = RawFile(
        "essai",
        edition,
        "https://a.test/t.csv",
        "https://a.test/t.csv",
        datetime.now(UTC),
        '"tag"',
        None,
        sha256,
        len(BODY),
        "Licence Ouverte 2.0",
        "Producteur",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    return RawStore(tmp_path)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies=st.lists(st.binary(max_size=2000), max_size=4), cuts=st.lists(st.integers(1, 700), min_size=1))
def test_any_bytes_come_back_and_the_same_bytes_have_one_name(
    store: RawStore, bodies: list[bytes], cuts: list[int]
) -> None:
    for body in bodies:
        name = store.add(body)
        assert name == hashlib.sha256(body).hexdigest()
        assert store.read(name, verify=True) == body
        with store.partial() as piecewise:
            piecewise.write(b"a start that is given up")
            piecewise.restart()
            rest, i = body, 0
            while rest:
                piecewise.write(rest[: cuts[i % len(cuts)]])
                rest, i = rest[cuts[i % len(cuts)] :], i + 1
            assert piecewise.size == len(body)
            assert piecewise.commit() == name
        assert store.path(name).relative_to(store.root).as_posix() == f"sha256/{name[:2]}/{name[2:]}"
        assert store.has(name, len(body)) and not store.has(name, len(body) + 1)
    stored = {p.parent.name + p.name for p in store.bodies.glob("*/*")}
    assert {hashlib.sha256(b).hexdigest() for b in bodies} <= stored


def test_an_altered_body_is_found_out(store: RawStore) -> None:
    name = store.add(BODY)
    store.path(name).chmod(0o644)
    store.path(name).write_bytes(BODY.replace(b"44", b"45"))
    assert store.read(name) != BODY
    with pytest.raises(RawStoreError, match=r"intact.*supprimer ce fichier"):
        store.read(name, verify=True)
    store.add(BODY)
    assert store.read(name, verify=True) == BODY, "storing it again heals it"


def test_an_absent_body_is_said_so(store: RawStore) -> None:
    with pytest.raises(RawStoreError, match="trouvé rien"):
        store.read("0" * 64)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_only_hashes_are_names(store: RawStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a sha256"):
        store.path(name)


def test_a_body_that_is_not_committed_leaves_nothing(store: RawStore) -> None:
    with pytest.raises(RuntimeError), store.partial() as body:
        body.write(BODY)
        raise RuntimeError
    assert [p for p in store.bodies.rglob("*") if p.is_file()] == []


def test_the_index_is_a_history(store: RawStore) -> None:
    assert store.history().schema == INDEX
    assert store.latest("essai", "2020") is None
    one, two = store.add(BODY), store.add(BODY + b"91000;1\n")
    store.record([row(one), row(one, "2021")])
    store.record([row(two, bytes=len(BODY) + 8)])
    store.record([row(one)])
    history = store.history()
    assert history.schema == INDEX
    assert history["sha256"].to_list() == [one, one, two, one]
    assert history["previous_sha256"].to_list() == [None, None, one, two]
    latest = store.latest("essai", "2020")
    assert latest is not None and (latest.sha256, latest.previous_sha256) == (one, two)
    assert latest.retrieved_at.tzinfo is not None
    assert pl.read_parquet(store.index).equals(history)


def test_an_index_of_before_the_catalogues_is_read_and_carried_on(store: RawStore) -> None:
    one = store.add(BODY)
    store.record([row(one)])
    pl.read_parquet(store.index).drop("catalogue_date").write_parquet(store.index)
    store.record([row(one, catalogue_date="2026-01-20")])
    assert store.history()["catalogue_date"].to_list() == [None, "2026-01-20"]


def test_what_is_already_known_is_not_written_again(store: RawStore) -> None:
    one = store.add(BODY)
    assert len(store.record([row(one), row(one)])) == 1
    before = store.index.stat().st_mtime_ns
    assert store.record([row(one)]) == []
    assert store.record([]) == []
    assert store.index.stat().st_mtime_ns == before
    assert [r.previous_sha256 for r in store.record([row(one, etag='"other"')])] == [None]
    assert store.history().height == 2, "a new tag of the same bytes is worth a line"


def test_who_reads_the_index_keeps_a_whole_one(store: RawStore) -> None:
    store.record([row(store.add(BODY))])
    before = store.index.read_bytes()
    with store.index.open("rb") as reader:
        store.record([row(store.add(BODY), "2021")])
        assert reader.read() == before, "the index is replaced, never written over"
    assert store.history().height == 2


def test_an_address_is_known_as_long_as_its_body_is_there(store: RawStore) -> None:
    one = store.add(BODY)
    store.record([row(one)])
    url = "https://a.test/t.csv"
    assert store.known(url, url) is not None
    assert store.known(url, "http://mirror/a.test/t.csv") is None
    store.path(one).unlink()
    assert store.known(url, url) is None


def test_an_unreadable_index_is_said_so(store: RawStore) -> None:
    store.index.write_bytes(b"PAR1 but no more")
    with pytest.raises(RawStoreError, match="fichier illisible"):
        store.history()
    with pytest.raises(RawStoreError):
        store.record([row("0" * 64)])
    assert store.index.read_bytes() == b"PAR1 but no more", "it may still be repaired"
    assert not list(store.root.rglob(f"{TEMPORARY}*"))


def test_another_store_of_the_same_folder_sees_new_lines(store: RawStore) -> None:
    other = RawStore(store.root.parent)
    assert other.history().height == 0
    store.record([row(store.add(BODY))])
    assert other.history().height == 1


def test_threads_lose_no_line(store: RawStore) -> None:
    def work(n: int) -> None:
        for i in range(5):
            body = b"%d %d" % (n, i)
            store.record([row(store.add(body), f"e{n}-{i}", bytes=len(body))])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.history()["edition"].n_unique() == 30


WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from sources.raw_store import RawFile, RawStore
store, name = RawStore(Path(sys.argv[1])), sys.argv[2]
for i in range(int(sys.argv[3])):
    body = f"{name} {i}".encode() * 1000
    sha = store.add(body)
    store.record([RawFile("essai", f"{name}-{i}", "https://a.test/", "https://a.test/", datetime.now(UTC),
                          None, None, sha, len(body), "L", "P")])
    print(i, flush=True)
with store.partial() as body:
    body.write(b"half")
    body.flush()
    print("half", flush=True)
    sys.stdin.read()
"""


def writer(store: RawStore, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.root.parent), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )


def test_two_processes_lose_no_line(store: RawStore) -> None:
    writers = [writer(store, name, 15) for name in ("a", "b")]
    for process in writers:
        process.communicate("", timeout=60)
        assert process.returncode == 0
    assert store.history()["edition"].n_unique() == 30
    assert store.sweep() == []


def test_what_a_killed_process_leaves_is_swept_and_what_is_in_use_is_not(store: RawStore) -> None:
    process = writer(store, "a", 2)
    assert process.stdout is not None and process.stdin is not None
    try:
        while process.stdout.readline() != "half\n":
            pass
        assert store.sweep() == [], "a download in progress is not a leftover"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    finally:
        process.kill()
        process.stdin.close()
        process.stdout.close()
    left = list(store.bodies.glob(f"{TEMPORARY}*"))
    assert len(left) == 1
    (store.root / f"{TEMPORARY}index").write_bytes(b"half an index")
    assert set(store.sweep()) == {*left, store.root / f"{TEMPORARY}index"}
    assert store.history().height == 2, "the lock of the dead is free, its lines are there"
    assert store.sweep() == []


def test_a_body_without_a_line_is_found_again_by_its_hash(store: RawStore) -> None:
    orphan = store.add(BODY)  # killed before the index was written
    assert store.sweep() == []
    assert store.add(BODY) == orphan
    store.record([row(orphan)])
    assert [p.parent.name + p.name for p in store.bodies.glob("*/*")] == store.history()["sha256"].to_list()
