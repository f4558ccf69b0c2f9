"""The client against a small site on loopback that fails in every way the client claims to survive."""

from __future__ import annotations

import _thread
import errno
import hashlib
import io
import signal
import socket
import threading
import time
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from loopback import HOST, HTML, TABLE, Site, client_of

from sources import client as client_module
from sources.client import Client, DirectoryAdapter, Outcome, _compare
from sources.description import Edition, Member, Source
from sources.errors import (
    AcquisitionError,
    BodyRefusedError,
    DiskError,
    LayoutError,
    NotPublishedError,
    SourceError,
)
from sources.raw_store import TEMPORARY, Partial, RawFile, RawStore


def ask(
    name: str, format: str = "csv", key: str | None = None, members: tuple[str, ...] = ()
) -> tuple[Source, Edition]:
    edition = Edition(
        edition=key or "2020",
        data_year=2020,
        url=f"https://{HOST}/{name}",
        format=format,  # type: ignore
        members=tuple(Member(path=m) for m in members),
    )
    source = Source(
        source_id="essai",
        title="Essai",
        producer="Producteur",
        owner="Producteur",
        licence="Licence Ouverte 2.0",
        editions=(edition,),
    )
    return source, edition


def zip_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return buffer.getvalue()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def assert_intact(store: RawStore) -> None:
    """Every body of the index reads back under its hash, and nothing temporary is left."""
    assert not list(store.root.rglob(f"{TEMPORARY}*"))
    for row in store.history().iter_rows(named=True):
        assert len(store.read(row["sha256"], verify=True)) == row["bytes"]


def assert_fetched(outcome: Outcome, store: RawStore, body: bytes) -> None:
    assert (outcome.kind, outcome.error) == ("fetched", None)
    assert outcome.sha256 == sha(body)
    assert store.read(outcome.sha256) == body
    assert_intact(store)


def assert_failed(outcome: Outcome, store: RawStore, error: type[SourceError] = AcquisitionError) -> str:
    """The message, in which the source and edition are named."""
    assert outcome.kind == ("not_published" if error is NotPublishedError else "failed")
    assert type(outcome.error) is error
    assert outcome.sha256 is None
    message = str(outcome.error)
    assert "essai 2020" in message
    assert "À faire" in message
    assert_intact(store)
    return message


# --- the ordinary life of a file


def test_a_file_is_fetched_then_unchanged_then_changed(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    client = client_of(site, store)
    assert_fetched(client.fetch(*ask("t.csv")), store, TABLE)
    row = store.latest("essai", "2020")
    assert row is not None
    assert (row.url, row.requested_url) == (f"https://{HOST}/t.csv", f"{site.base}/{HOST}/t.csv")
    assert (row.bytes, row.licence, row.producer) == (len(TABLE), "Licence Ouverte 2.0", "Producteur")
    assert row.etag and row.last_modified and row.retrieved_at.tzinfo is not None

    written = store.index.stat()
    again = client.fetch(*ask("t.csv"))
    assert (again.kind, again.sha256, again.bytes) == ("unchanged", sha(TABLE), len(TABLE))
    assert site.seen[-1].status == 304
    assert store.index.stat().st_mtime_ns == written.st_mtime_ns, "an unchanged run writes nothing"

    site.put("t.csv", TABLE + b"99999;1\n")
    changed = client.fetch(*ask("t.csv"))
    assert (changed.kind, changed.sha256, changed.previous_sha256) == (
        "changed",
        sha(TABLE + b"99999;1\n"),
        sha(TABLE),
    )
    assert store.read(sha(TABLE)) == TABLE, "the old body stays"
    assert store.history()["previous_sha256"].to_list() == [None, sha(TABLE)]


def test_without_validators_the_hash_tells_that_nothing_changed(site: Site, store: RawStore) -> None:
    site.validators = False
    site.put("t.csv", TABLE)
    client = client_of(site, store)
    client.fetch(*ask("t.csv"))
    assert client.fetch(*ask("t.csv")).kind == "unchanged"
    assert site.seen[-1].status == 200
    assert store.history().height == 1


def test_a_lost_body_is_downloaded_again(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    client = client_of(site, store)
    client.fetch(*ask("t.csv"))
    store.path(sha(TABLE)).unlink()
    assert client.fetch(*ask("t.csv")).kind == "unchanged"
    assert site.seen[-1].status == 200
    assert_intact(store)


def test_tags_of_one_site_are_not_shown_to_another(site: Site, store: RawStore, tmp_path: Path) -> None:
    site.put("t.csv", TABLE)
    client_of(site, store).fetch(*ask("t.csv"))
    folder = tmp_path / "site" / HOST
    folder.mkdir(parents=True)
    (folder / "t.csv").write_bytes(TABLE)
    assert Client(store, directory=tmp_path / "site").fetch(*ask("t.csv")).kind == "unchanged"
    assert store.history()["requested_url"].to_list()[-1] == f"directory://{HOST}/t.csv"
    client_of(site, store).fetch(*ask("t.csv"))
    assert site.seen[-1].status == 304, "its own tags are known again"


def test_the_agent_says_who_asks(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    client_of(site, store).fetch(*ask("t.csv"))
    assert site.seen[0].headers["User-Agent"].startswith("Vigie/")
    assert site.seen[0].headers["Accept-Encoding"] == "identity"


def test_one_address_of_several_editions_is_asked_once(site: Site, store: RawStore) -> None:
    site.put("a.zip", zip_of(x__csv=TABLE, y__csv=TABLE))
    outcomes = client_of(site, store).fetch_all(
        [
            ask("a.zip", "zip", "2020", ("x.csv",)),
            ask("a.zip", "zip", "2021", ("y.csv",)),
            ask("a.zip", "zip", "2022", ("absent.csv",)),
        ]
    )
    assert [o.kind for o in outcomes] == ["fetched", "fetched", "failed"]
    assert isinstance(outcomes[2].error, LayoutError)
    assert "2022" in str(outcomes[2].error) and "x.csv" in str(outcomes[2].error)
    assert len(site.seen) == 1
    assert store.history()["edition"].to_list() == ["2020", "2021"]
    late = client_of(site, store).fetch(*ask("a.zip", "zip", "2023", ("y.csv",)))
    assert (late.kind, site.seen[-1].status) == ("fetched", 304), "known bytes, new to this edition"
    assert store.latest("essai", "2023") is not None


def test_outcomes_come_in_the_order_asked_and_one_failure_stops_nothing(site: Site, store: RawStore) -> None:
    names = [f"t{i}.csv" for i in range(9)]
    for name in names[1:]:
        site.put(name, TABLE + name.encode())
    outcomes = client_of(site, store).fetch_all([ask(n, key=f"e{i}") for i, n in enumerate(names)])
    assert [o.edition for o in outcomes] == [f"e{i}" for i in range(9)]
    assert [o.kind for o in outcomes] == ["not_published"] + ["fetched"] * 8
    assert store.history().height == 8


# --- what mends itself


def test_a_busy_site_is_asked_again(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "503", "500", "502")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert [s.status for s in site.seen] == [503, 500, 502, 200]


def test_retry_after_is_honoured(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "429=1")
    began = time.monotonic()
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert 1.0 <= time.monotonic() - began < 3


def test_retry_after_may_be_a_date() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < client_module._retry_after(soon) <= 30
    assert client_module._retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert client_module._retry_after("bientôt") == client_module._retry_after(None) == 0


def test_a_wait_beyond_the_deadline_is_not_waited_for(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail_always("t.csv", "503=3600")
    began = time.monotonic()
    assert "3600 s" in assert_failed(client_of(site, store).fetch(*ask("t.csv")), store)
    assert time.monotonic() - began < 2


def test_a_connection_reset_is_tried_again(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "reset", "reset")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)


@pytest.mark.parametrize("fault", ["truncate", "chunked"])
def test_a_body_cut_midway_is_resumed_where_it_stopped(site: Site, store: RawStore, fault: str) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", fault, "truncate")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    first, second, third = site.gets("t.csv")
    assert second.headers["If-Range"] == third.headers["If-Range"] == f'"{hashlib.md5(TABLE).hexdigest()}"'
    have = int(second.headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < have <= first.sent
    assert third.headers["Range"] == f"bytes={have + second.sent}-"
    assert (second.status, third.status) == (206, 206)
    assert have + second.sent + third.sent == len(TABLE), "only the missing bytes were asked"


def test_a_weak_tag_is_replaced_by_the_date(site: Site, store: RawStore) -> None:
    site.weak = True
    site.put("t.csv", TABLE)
    site.fail("t.csv", "truncate")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert site.seen[1].headers["If-Range"] == "Wed, 01 Jan 2020 00:00:00 GMT"
    assert site.seen[1].status == 206


def test_a_body_that_changed_meanwhile_starts_from_zero(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "truncate", "change")
    outcome = client_of(site, store).fetch(*ask("t.csv"))
    assert_fetched(outcome, store, b"nouveau;corps\n" + TABLE[::-1])
    row = store.latest("essai", "2020")
    assert row is not None
    assert row.etag == f'"{hashlib.md5(b"nouveau;corps" + bytes([10]) + TABLE[::-1]).hexdigest()}"'


def test_without_validators_a_cut_body_starts_from_zero(site: Site, store: RawStore) -> None:
    site.validators = False
    site.put("t.csv", TABLE)
    site.fail("t.csv", "truncate")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert "Range" not in site.seen[1].headers


def test_a_wrong_piece_is_not_glued(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "truncate", "wrongrange")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert "Range" not in site.seen[2].headers


def test_the_rest_of_another_body_is_not_glued(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "truncate", "ignoreifrange")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE.replace(b"7", b"8"))
    assert [s.status for s in site.seen] == [200, 206, 200]


def test_a_piece_shorter_than_asked_is_not_the_end(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "truncate", "shortrange")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert [s.status for s in site.seen] == [200, 206, 206]
    assert sum(s.sent for s in site.seen) == len(TABLE)


def test_a_site_without_ranges_starts_from_zero(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "truncate", "norange")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert site.seen[1].status == 200


def test_a_large_body_cut_many_times_arrives_while_it_advances(site: Site, store: RawStore) -> None:
    body = TABLE * 12  # halved five times it is still more than what counts as headway
    site.put("t.csv", body)
    site.fail("t.csv", *["truncate"] * 5)
    assert_fetched(client_of(site, store, attempts=2).fetch(*ask("t.csv")), store, body)


def test_gzip_of_the_transport_is_undone(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "gzip")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)


def test_redirections_stay_inside_the_mirror(site: Site, store: RawStore) -> None:
    site.put("neuf.csv", TABLE)
    site.fail("t.csv", f"redirect=https://{HOST}/milieu.csv")
    site.fail("milieu.csv", f"redirect=/{HOST}/neuf.csv")
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)
    assert [s.path for s in site.seen] == [f"/{HOST}/{n}.csv" for n in ("t", "milieu", "neuf")]


def test_a_proxy_of_the_environment_does_not_hide_loopback(
    site: Site, store: RawStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    site.put("t.csv", TABLE)
    assert_fetched(client_of(site, store).fetch(*ask("t.csv")), store, TABLE)


# --- what does not


@pytest.mark.parametrize("fault", ["503", "reset", "truncate", "chunked", "longer", "norange"])
def test_what_never_mends_ends_by_an_error_that_names_the_source(
    site: Site, store: RawStore, fault: str
) -> None:
    site.put("t.csv", TABLE[:5000])
    site.fail_always("t.csv", "truncate" if fault == "norange" else fault)
    site.validators = fault != "norange"
    message = assert_failed(client_of(site, store, attempts=3).fetch(*ask("t.csv")), store)
    assert 3 <= len(site.seen) <= 6
    if fault == "longer":
        assert "reçus sur 6000" in message or "reprendre" in message
    assert store.history().height == 0


@pytest.mark.parametrize("status", [404, 410])
def test_an_absent_file_is_not_published(site: Site, store: RawStore, status: int) -> None:
    site.put("t.csv", TABLE)
    client = client_of(site, store)
    site.fail("t.csv", str(status))
    assert_failed(client.fetch(*ask("t.csv")), store, NotPublishedError)
    assert len(site.seen) == 1, "no retry"
    client.fetch(*ask("t.csv"))
    site.fail("t.csv", str(status))
    withdrawn = client.fetch(*ask("t.csv"))
    assert (withdrawn.kind, withdrawn.previous_sha256) == ("not_published", sha(TABLE))


@pytest.mark.parametrize("status", [400, 403])
def test_a_refusal_is_not_insisted_upon(site: Site, store: RawStore, status: int) -> None:
    site.fail_always("t.csv", str(status))
    assert str(status) in assert_failed(client_of(site, store).fetch(*ask("t.csv")), store)
    assert len(site.seen) == 1


def test_a_slow_body_ends_at_the_deadline(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail_always("t.csv", "slow")
    began = time.monotonic()
    message = assert_failed(client_of(site, store, deadline=1.0).fetch(*ask("t.csv")), store)
    assert 0.9 < time.monotonic() - began < 2.5
    assert "moins de 1 s" in message and f"reçus sur {len(TABLE)}" in message


def test_a_silent_body_ends_at_the_read_timeout(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.hold = 1.0
    client = client_of(site, store, read_timeout=0.2, attempts=2)
    assert "n'envoie plus rien" in assert_failed(client.fetch(*ask("t.csv")), store)


@pytest.mark.parametrize("format", ["csv", "txt", "zip", "xls", "xlsx", "json"])
def test_a_page_instead_of_the_file_is_refused_and_the_last_good_one_kept(
    site: Site, store: RawStore, format: str
) -> None:
    good = {
        "csv": TABLE,
        "txt": TABLE,
        "json": b'[{"a": 1}]',
        "zip": zip_of(x__csv=TABLE),
        "xls": bytes.fromhex("d0cf11e0a1b11ae1") + bytes(4000),
        "xlsx": zip_of(**{"[Content_Types]__xml": b"<Types/>"}),
    }[format]
    site.put("t", good)
    client = client_of(site, store)
    assert client.fetch(*ask("t", format)).kind == "fetched"
    site.put("t", HTML)
    outcome = client.fetch(*ask("t", format))
    message = assert_failed(outcome, store, BodyRefusedError)
    assert "page HTML" in message and "Maintenance" in message
    assert outcome.previous_sha256 == sha(good)
    latest = store.latest("essai", "2020")
    assert latest is not None
    assert store.read(latest.sha256, verify=True) == good
    assert store.history().height == 1
    assert not store.path(sha(HTML)).exists()


@pytest.mark.parametrize(
    ("format", "body", "found"),
    [
        ("csv", b"", "un corps vide"),
        ("csv", b"\r\n  \n", "un corps vide"),
        ("csv", "code;é\n".encode("utf-16"), "octet nul"),
        ("csv", b"code;\x81\xe9\n", "ni de l'UTF-8 ni du cp1252"),
        ("csv", b'{"error_code": "x"}', "du JSON"),
        ("txt", zip_of(x__txt=TABLE), "une archive zip"),
        ("zip", zip_of(x__csv=TABLE)[:-30], "tronquée ou illisible"),
        ("zip", TABLE, "autre chose"),
        ("xls", zip_of(x__csv=TABLE), "une archive zip"),
        ("xlsx", zip_of(x__csv=TABLE), "n'est pas un classeur"),
        ("xlsx", bytes.fromhex("d0cf11e0a1b11ae1"), "Excel 97-2003"),
        ("json", b"a;b\n1;2\n", "autre chose"),
        ("json", b'{"a": 1}\n{"a": ', "du JSON illisible"),
        ("json", b'[{"a": 1}, 2]', "pas une liste d'objets"),
        ("json", b"[]", "pas une liste d'objets"),
    ],
)
def test_a_body_of_another_kind_is_refused(
    site: Site, store: RawStore, format: str, body: bytes, found: str
) -> None:
    site.put("t", body)
    message = assert_failed(client_of(site, store).fetch(*ask("t", format)), store, BodyRefusedError)
    assert found in message
    assert store.history().height == 0
    assert not store.path(sha(body)).exists()


def test_an_archive_announced_shorter_than_it_is_is_refused(site: Site, store: RawStore) -> None:
    site.put("a.zip", zip_of(x__csv=TABLE))
    site.fail_always("a.zip", "shorter")
    assert_failed(client_of(site, store).fetch(*ask("a.zip", "zip")), store, BodyRefusedError)


def test_compression_that_cannot_be_undone_is_refused(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail("t.csv", "gzip=br")
    message = assert_failed(client_of(site, store).fetch(*ask("t.csv")), store, BodyRefusedError)
    assert "« br »" in message


@pytest.mark.parametrize("target", ["ftp://x.test/t.csv", "file:///etc/passwd", f"https://{HOST}/t.csv"])
def test_redirections_that_lead_nowhere_are_refused(site: Site, store: RawStore, target: str) -> None:
    site.fail_always("t.csv", f"redirect={target}")
    assert "redirection" in assert_failed(client_of(site, store).fetch(*ask("t.csv")), store)


def test_https_is_not_left_for_http(store: RawStore) -> None:
    source, edition = ask("t.csv")
    with pytest.raises(AcquisitionError, match="redirection vers http://x"):
        Client(store)._redirected(source, edition, edition.url, "http://x.test/t.csv")


def test_a_host_where_nothing_answers_is_not_insisted_upon(store: RawStore) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{closed.getsockname()[1]}"
    client = Client(store, mirror=base, attempts=3, backoff=0.05)
    first = client.fetch(*ask("t.csv"))
    assert "connexion impossible (3 essai(s)" in str(first.error)
    assert "(1 essai(s)" in str(client.fetch(*ask("u.csv")).error)


def test_a_full_disk_is_said_so(site: Site, store: RawStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Partial, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Partial, "write", full)
    site.put("t.csv", TABLE)
    assert "No space left" in assert_failed(client_of(site, store).fetch(*ask("t.csv")), store, DiskError)


def test_an_interrupt_ends_slow_downloads_at_once(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    site.fail_always("t.csv", "slow")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in this process may have set its own
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            client_of(site, store).fetch(*ask("t.csv"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 3
    assert_intact(store)


# --- good manners


def test_at_most_four_downloads_at_once(site: Site, store: RawStore) -> None:
    site.hold = 0.08
    for i in range(12):
        site.put(f"t{i}.csv", TABLE)
    client = client_of(site, store)
    halves = [[ask(f"t{i}.csv", key=f"e{i}") for i in range(start, start + 6)] for start in (0, 6)]
    threads = [threading.Thread(target=client.fetch_all, args=(half,)) for half in halves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.open_most == 4
    assert store.history().height == 12


def test_requests_to_one_host_are_spaced(site: Site, store: RawStore) -> None:
    for i in range(4):
        site.put(f"t{i}.csv", b"a;b\n1;2\n")
    began = time.monotonic()
    client_of(site, store, min_interval=0.2).fetch_all([ask(f"t{i}.csv", key=f"e{i}") for i in range(4)])
    assert time.monotonic() - began >= 0.6


def test_the_index_is_written_while_a_long_batch_goes_on(
    site: Site, store: RawStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "INDEX_EVERY", 0.1)
    site.put("court.csv", TABLE)
    site.put("long.csv", TABLE)
    site.fail_always("long.csv", "slow")
    seen: list[int] = []
    timer = threading.Timer(0.7, lambda: seen.append(RawStore(store.root.parent).history().height))
    timer.start()
    client_of(site, store, deadline=1.2).fetch_all([ask("court.csv", key="a"), ask("long.csv", key="b")])
    assert seen == [1]


class Display:
    def __init__(self) -> None:
        self.totals: dict[str, int | None] = {}
        self.counts: dict[str, int] = {}
        self.ends: list[tuple[str, str]] = []

    def started(self, name: str, total: int | None) -> None:
        assert name not in self.totals
        self.totals[name] = total

    def advanced(self, name: str, count: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + count

    def finished(self, name: str, outcome: Outcome) -> None:
        self.ends.append((name, outcome.kind))


def test_progress_adds_up_even_when_a_download_starts_again(site: Site, store: RawStore) -> None:
    site.put("a.csv", TABLE)
    site.put("b.csv", TABLE)
    site.fail("a.csv", "truncate", "norange")
    display = Display()
    asked = [ask("a.csv", key="a"), ask("b.csv", key="b"), ask("c.csv", key="c")]
    client_of(site, store).fetch_all(asked, display)
    assert display.totals == display.counts == {"essai a": len(TABLE), "essai b": len(TABLE)}
    assert sorted(display.ends) == [
        ("essai a", "fetched"),
        ("essai b", "fetched"),
        ("essai c", "not_published"),
    ]
    display = Display()
    client_of(site, store).fetch_all(asked, display)
    assert display.totals == {}
    assert sorted(k for _, k in display.ends) == ["not_published", "unchanged", "unchanged"]


# --- a folder instead of the network


def test_a_folder_answers_like_a_site(tmp_path: Path, store: RawStore) -> None:
    folder = tmp_path / "site"
    (folder / HOST / "a b").mkdir(parents=True)
    (folder / HOST / "a b" / "t.csv").write_bytes(TABLE)
    client = Client(store, directory=folder)
    began = time.monotonic()
    assert_fetched(client.fetch(*ask("a%20b/t.csv?x=1")), store, TABLE)
    assert client.fetch(*ask("a%20b/t.csv?x=1")).kind == "unchanged"
    assert store.history().height == 1
    (folder / HOST / "a b" / "t.csv").write_bytes(TABLE + b"1;1\n")
    assert client.probe(*ask("a%20b/t.csv?x=1")).kind == "newer"
    assert client.fetch(*ask("a%20b/t.csv?x=1")).kind == "changed"
    assert_failed(client.fetch(*ask("absent.csv")), store, NotPublishedError)
    assert time.monotonic() - began < 1, "no spacing of requests to a folder"


@pytest.mark.parametrize("path", ["../secret.csv", "%2e%2e/%2e%2e/secret.csv", "..%2fsecret.csv"])
def test_a_folder_serves_nothing_outside_itself(tmp_path: Path, store: RawStore, path: str) -> None:
    (tmp_path / "secret.csv").write_bytes(TABLE)
    (tmp_path / "site" / HOST).mkdir(parents=True)
    outcome = Client(store, directory=tmp_path / "site").fetch(*ask(f"../{path}"))
    assert outcome.kind == "not_published"


def test_a_folder_never_lets_a_request_out(store: RawStore, tmp_path: Path) -> None:
    client = Client(store, directory=tmp_path)
    for url in ("https://x.test/a", "http://x.test/a", "directory://x.test/a"):
        assert isinstance(client.session.get_adapter(url), DirectoryAdapter)


def test_mirror_and_folder_exclude_each_other(store: RawStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="exclude"):
        Client(store, mirror="http://127.0.0.1:1", directory=tmp_path)
    with pytest.raises(ValueError, match="http://"):
        Client(store, mirror="127.0.0.1:1")


def test_addresses(store: RawStore) -> None:
    url = "https://a.test/b/c.csv?d=1"
    assert Client(store).address(url) == url
    assert Client(store, mirror="http://m/x/").address(url) == "http://m/x/a.test/b/c.csv?d=1"


# --- probing


def test_probe_tells_what_is_newer_without_downloading(site: Site, store: RawStore) -> None:
    site.put("t.csv", TABLE)
    client = client_of(site, store)
    assert client.probe(*ask("t.csv")).kind == "newer"
    client.fetch(*ask("t.csv"))
    assert client.probe(*ask("t.csv")).kind == "unchanged"
    site.put("t.csv", TABLE + b"1;1\n")
    assert client.probe(*ask("t.csv")).kind == "newer"
    site.fail("t.csv", "404", "503", "405")
    kinds = [client.probe(*ask("t.csv")).kind for _ in range(3)]
    assert kinds == ["not_published", "unreachable", "newer"]
    assert [s.method for s in site.seen[-2:]] == ["HEAD", "GET"], "GET where HEAD is not allowed"
    assert store.history().height == 1


def test_probe_hears_a_date_that_changes_under_the_same_size() -> None:
    at = datetime(2026, 1, 2, tzinfo=UTC)
    before, after = "Fri, 02 Jan 2026 00:00:00 GMT", "Mon, 02 Feb 2026 00:00:00 GMT"
    known = RawFile("s", "2020", "https://a", "https://a", at, None, before, "0" * 64, 10, "L", "P")

    def told(date: str | None, *, same_site: bool = True) -> str:
        headers = {"Content-Length": "10"} | ({"Last-Modified": date} if date else {})
        return _compare(known, headers, same_site=same_site)[0]

    assert (told(before), told(None), told(after)) == ("unchanged", "unchanged", "newer")
    assert told(after, same_site=False) == "unchanged", "the date of a mirror is its own"


def test_probe_without_validators_compares_sizes(site: Site, store: RawStore) -> None:
    site.validators = False
    site.put("t.csv", TABLE)
    client = client_of(site, store)
    client.fetch(*ask("t.csv"))
    assert client.probe(*ask("t.csv")).kind == "unchanged"
    site.put("t.csv", TABLE + b"1;1\n")
    probe = client.probe(*ask("t.csv"))
    assert (probe.kind, str(len(TABLE)) in probe.detail) == ("newer", True)


def test_probe_of_a_dead_host_is_unreachable(store: RawStore) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        client = Client(store, mirror=f"http://127.0.0.1:{closed.getsockname()[1]}")
    probes = client.probe_all([ask("t.csv"), ask("u.csv", key="2021")])
    assert [p.kind for p in probes] == ["unreachable", "unreachable"]
    assert "connexion impossible" in probes[0].detail
