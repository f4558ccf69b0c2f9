"""Downloading what the descriptions declare: one HTTP client, its retries and limits, an outcome per edition.

urllib3's Retry neither covers a body cut midway nor knows a total deadline: all retries are in one loop here.
"""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import io
import ipaddress
import random
import re
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.exceptions import ReadTimeoutError as BodyTimeoutError

from sources import archive, connectors
from sources.description import Edition, Source
from sources.errors import AcquisitionError, BodyRefusedError, DiskError, NotPublishedError, SourceError
from sources.raw_store import Partial, RawFile, RawStore

PARALLEL = 4  # downloads at once, all hosts together
CHUNK = 256 * 1024
HEADWAY = 64 * 1024  # bytes that make an attempt worth not counting against the retries
LONGEST_PAUSE = 30.0  # seconds between two attempts, unless the server asks for more
INDEX_EVERY = 1.0  # seconds: a killed process loses at most this much of the index (never of the bodies)
INTERVAL = 0.5  # seconds between two requests to one producer's host
INTERVALS = {"api.insee.fr": 2.1}  # of those that ask for more: 30 requests a minute there
REDIRECTS = 10

Request = tuple[Source, Edition]
Kind = Literal["fetched", "unchanged", "changed", "not_published", "failed"]
ProbeKind = Literal["unchanged", "newer", "not_published", "unreachable"]


@dataclass(frozen=True)
class Outcome:
    """What became of one edition. `sha256` is the body this run vouches for, if any."""

    source_id: str
    edition: str
    kind: Kind  # fetched: the first time; changed: another body than the edition's last one
    url: str
    requested_url: str
    sha256: str | None = None
    bytes: int = 0  # size of that body
    previous_sha256: str | None = None  # the edition's last good body, when it is not `sha256`
    error: SourceError | None = None  # for not_published and failed


@dataclass(frozen=True)
class Probe:
    """Whether the producer has something else than the index, found without downloading it."""

    source_id: str
    edition: str
    kind: ProbeKind
    detail: str  # French
    version: str = ""  # what tells the file there from the next one: its date, tag or size, as far as the site says


Settled = tuple[Outcome, RawFile | None]  # an edition's outcome and the row to index, if any


class Progress(Protocol):
    """What a display implements. Calls come from several threads, but never two at once."""

    def started(self, name: str, total: int | None) -> None:
        """A body begins to arrive, of `total` bytes when known; not called when none does."""

    def advanced(self, name: str, count: int) -> None:
        """`count` more bytes arrived; negative when a download starts again from zero."""

    def finished(self, name: str, outcome: Outcome) -> None:
        """Called exactly once per edition."""


class Client:
    """Fetches editions into a raw store. One per run; its methods may be called from several threads.

    `mirror`: base URL that answers for every producer, `https://HOST/PATH?QUERY` -> `MIRROR/HOST/PATH?QUERY`.
    `directory`: folder that answers instead of the network, `ROOT/HOST/PATH`.
    Times are in seconds. `deadline` bounds one file, retries included; `min_interval` is between two requests
    to one host (default: 0.5, or INTERVALS, and none on loopback); `attempts` counts those that brought nothing.
    """

    def __init__(
        self,
        store: RawStore,
        *,
        mirror: str | None = None,
        directory: Path | None = None,
        connect_timeout: float = 10.0,
        read_timeout: float = 60.0,
        deadline: float = 600.0,
        attempts: int = 5,
        backoff: float = 0.5,
        min_interval: float | None = None,
    ) -> None:
        if mirror is not None and directory is not None:
            raise ValueError("mirror and directory exclude each other")
        if mirror is not None and not mirror.startswith(("http://", "https://")):
            raise ValueError(f"mirror must begin with http:// or https://, got {mirror!r}")
        self.store = store
        self.mirror = mirror.rstrip("/") if mirror else None
        self.directory = directory
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.deadline = deadline
        self.attempts = attempts
        self.backoff = backoff
        self.session = _session(directory)
        self.pace = _Pace(0.0 if directory is not None else min_interval)
        self.unreachable: set[str] = set()  # hosts where nothing answered at all: no more retries there
        self._catalogues: dict[str, dict[str, Any] | SourceError] = {}  # what each catalogue answered, once a run
        self._asking: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # by host
        self.stopped = threading.Event()
        self._slots = threading.BoundedSemaphore(PARALLEL)

    # --- fetching

    def fetch(self, source: Source, edition: Edition, progress: Progress | None = None) -> Outcome:
        """One edition; see `fetch_all`."""
        return self.fetch_all([(source, edition)], progress)[0]

    def fetch_all(self, editions: Iterable[Request], progress: Progress | None = None) -> list[Outcome]:
        """Brings the store up to date for these editions; one outcome each, in the order asked.

        An address declared by several editions is downloaded once. A file's failure is an outcome, never an
        exception; RawStoreError (a damaged store) is raised. The index is written each second and at the end.
        """
        asked = {(s.source_id, e.edition): (s, e) for s, e in editions}
        groups: dict[tuple[str | None, ...], list[Request]] = {}
        for source, edition in asked.values():
            file_format = edition.format if edition.resource else None  # of the resource to choose
            wanted = (edition.url, edition.connector, edition.resource, file_format, str(edition.rows))
            groups.setdefault(wanted, []).append((source, edition))
        reporter = _Reporter(progress)
        pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="vigie-client")
        try:
            waiting = {pool.submit(self._fetch_address, group, reporter) for group in groups.values()}
            done = self._collect(waiting)
        except BaseException:  # an interrupt above all: downloads in progress must end before we leave
            self.stopped.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            self.stopped.clear()
        return [done[key] for key in asked]

    def _collect(self, waiting: set[Future[list[Settled]]]) -> dict[tuple[str, str], Outcome]:
        """The outcomes as they come, the index written on the way."""
        done: dict[tuple[str, str], Outcome] = {}
        pending: list[RawFile] = []
        written = time.monotonic()
        try:
            while waiting:
                ready, waiting = wait(waiting, timeout=INDEX_EVERY, return_when=FIRST_COMPLETED)
                for outcome, file in (one for future in ready for one in future.result()):
                    done[outcome.source_id, outcome.edition] = outcome
                    pending += [file] if file else []
                if time.monotonic() - written > INDEX_EVERY:
                    self.store.record(pending)
                    pending.clear()
                    written = time.monotonic()
        finally:
            self.store.record(pending)
        return done

    def _fetch_address(self, group: list[Request], reporter: _Reporter) -> list[Settled]:
        """One address, asked once, for the editions that declare it."""
        source, edition = group[0]
        requested = self.address(edition.url)
        results: list[Settled] = []
        with self._slots:
            try:
                with self._arrive(source, edition, reporter) as arrival:
                    requested = arrival.requested
                    results = self._settle(group, arrival)
            except SourceError as error:
                results = [(self._failure(s, e, requested, error), None) for s, e in group]
            except OSError as error:
                results = [(self._failure(s, e, requested, _disk_error(s, e, error)), None) for s, e in group]
        for (s, e), (outcome, _) in zip(group, results, strict=True):
            reporter.finished(_name(s, e), outcome)
        return results

    def _arrive(self, source: Source, edition: Edition, reporter: _Reporter) -> _Arrival:
        """What the edition's address answers, asked as its connector says.

        A body whose date in the producer's catalogue is the one it was received with is not asked again.
        """
        began = time.monotonic()
        if edition.connector == "typed" and self.directory is None:
            return self._typed(edition)
        if edition.connector == "deposit":
            return self._deposited(source, edition)
        if edition.connector == "datagouv":
            url, date = connectors.newest_resource(source, edition, self._catalogue(source, edition, edition.url))
        else:
            url, date = edition.url, self._catalogue_date(source, edition)
        known = self.store.known(edition.url, self.address(url))
        # a resource of data.gouv.fr may be on another site, and change unknown to it: always asked, on conditions
        if known and date and known.catalogue_date == date and edition.connector != "datagouv":
            return _Arrival.of_known(known)
        if edition.connector in ("records", "melodi"):
            arrival = self._assemble(source, edition, reporter, began)
        else:
            arrival = _Transfer(self, source, edition, self.address(url), reporter, known, began).run()
        arrival.catalogue_date = date
        return arrival

    def _typed(self, edition: Edition) -> _Arrival:
        """The figures that the description itself gives."""
        partial = self.store.partial()
        partial.write(connectors.lines(edition.rows))
        return _Arrival("description.yaml", partial, partial.sha256, partial.size, None, None)

    def _deposited(self, source: Source, edition: Edition) -> _Arrival:
        """The body that a partner brought. Raises AcquisitionError where the store has lost it."""
        known = self.store.known(edition.url, edition.url)
        if known is not None:
            return _Arrival.of_known(known)
        raise AcquisitionError(
            source.source_id,
            edition.edition,
            "le fichier déposé, dans le magasin brut",
            "rien",
            "restaurer le dossier raw d'une sauvegarde, ou déposer de nouveau (vigie deposit)",
        )

    def _assemble(self, source: Source, edition: Edition, reporter: _Reporter, began: float) -> _Arrival:
        """Every page of an answer as one body, a JSON object a line; nothing when a page is missing or astray."""
        pages = connectors.pages_of(source, edition)
        partial = self.store.partial()
        try:
            following: str | None = pages.first()
            while following:
                rows, following = pages.read(self._body(source, edition, following, began))
                if not partial.size:
                    reporter.started(_name(source, edition), None)
                data = connectors.lines(rows)
                partial.write(data)
                reporter.advanced(_name(source, edition), len(data))
        except NotPublishedError as error:
            begun = partial.size
            partial.discard()
            raise connectors.incoherent(source, edition, error.found) if begun else error from error
        except BaseException:
            partial.discard()
            raise
        return _Arrival(self.address(edition.url), partial, partial.sha256, partial.size, None, None)

    def _body(self, source: Source, edition: Edition, url: str, began: float) -> bytes:
        """A page or a catalogue, with the retries and the deadline of a file; it is not kept."""
        transfer = _Transfer(self, source, edition, self.address(url), _Reporter(None), None, began)
        with transfer.run() as arrival:
            return arrival.path(self.store).read_bytes()

    def _catalogue(self, source: Source, edition: Edition, address: str) -> dict[str, Any]:
        """What a producer's catalogue says, asked once a run. Raises SourceError, each time, when it did not answer."""
        with self._asking[urlsplit(address).netloc]:
            if address not in self._catalogues:
                try:
                    body = self._body(source, edition, address, time.monotonic())
                    self._catalogues[address] = connectors.document(source, edition, body)
                except SourceError as error:
                    self._catalogues[address] = error
        found = self._catalogues[address]
        if isinstance(found, SourceError):
            raise _named(found, source, edition)
        return found

    def _catalogue_date(self, source: Source, edition: Edition) -> str | None:
        """When the producer's catalogue says the edition last changed; None without a catalogue that answers.

        Raises NotPublishedError when the catalogue answers and has no such resource.
        """
        address = connectors.catalogue_address(edition)
        if address is None:
            return None
        try:
            told = self._catalogue(source, edition, address)
        except SourceError:
            return None
        return connectors.catalogue_date(source, edition, told)

    def _settle(self, group: list[Request], arrival: _Arrival) -> list[Settled]:
        """Checks what arrived against each edition's promise and stores it if one accepts it."""
        refused: dict[str, SourceError] = {}
        for source, edition in group:
            before = self.store.latest(source.source_id, edition.edition)
            if arrival.partial is None and before is not None and before.sha256 == arrival.sha256:
                continue  # not modified, and this edition accepted that body before
            try:
                archive.check_body(source, edition, arrival.path(self.store), arrival.content_type)
            except SourceError as error:
                refused[_name(source, edition)] = error
        if arrival.partial is not None and len(refused) < len(group):
            arrival.partial.commit()
        return [
            (self._failure(source, edition, arrival.requested, error), None)
            if (error := refused.get(_name(source, edition)))
            else self._success(source, edition, arrival)
            for source, edition in group
        ]

    def _success(self, source: Source, edition: Edition, arrival: _Arrival) -> tuple[Outcome, RawFile]:
        before = self.store.latest(source.source_id, edition.edition)
        kind: Kind = "fetched"
        if before is not None:
            kind = "unchanged" if before.sha256 == arrival.sha256 else "changed"
        file = RawFile(
            source.source_id,
            edition.edition,
            edition.url,
            arrival.requested,
            datetime.now(UTC),
            arrival.etag,
            arrival.last_modified,
            arrival.sha256,
            arrival.size,
            source.licence,
            source.producer,
            catalogue_date=arrival.catalogue_date,
        )
        outcome = Outcome(
            source.source_id,
            edition.edition,
            kind,
            edition.url,
            arrival.requested,
            arrival.sha256,
            arrival.size,
            before.sha256 if before is not None and kind == "changed" else None,
        )
        return outcome, file

    def _failure(self, source: Source, edition: Edition, requested: str, error: SourceError) -> Outcome:
        before = self.store.latest(source.source_id, edition.edition)
        return Outcome(
            source.source_id,
            edition.edition,
            "not_published" if isinstance(error, NotPublishedError) else "failed",
            edition.url,
            requested,
            previous_sha256=before.sha256 if before else None,
            error=_named(error, source, edition),
        )

    # --- probing

    def probe(self, source: Source, edition: Edition) -> Probe:
        """Whether upstream differs from the index, without downloading. Never raises for the network."""
        known = self.store.latest(source.source_id, edition.edition)
        if edition.connector in ("typed", "deposit"):
            kind, detail = ("unchanged", "rien à demander à un site") if known else ("newer", "jamais reçue")
            return Probe(source.source_id, edition.edition, kind, detail)
        version = ""
        try:
            with self._slots:
                if date := self._catalogue_date(source, edition):
                    (kind, detail), version = _dated(known, date), date
                else:
                    status, headers = self._head(source, edition)
                    kind, detail = self._told(source, edition, known, status, headers)
                    told = (headers.get(name) for name in ("ETag", "Last-Modified", "Content-Length"))
                    version = next(filter(None, told), "")
        except NotPublishedError as error:
            kind, detail = "not_published", error.found
        except SourceError as error:
            kind, detail = "unreachable", error.found
        except requests.RequestException as error:
            kind, detail = "unreachable", _cause(error)
        return Probe(source.source_id, edition.edition, kind, detail, version)

    def _told(
        self, source: Source, edition: Edition, known: RawFile | None, status: int, headers: Mapping[str, str]
    ) -> tuple[ProbeKind, str]:
        """What the address itself tells, where no catalogue answers."""
        if status in (404, 410):
            return "not_published", f"le site répond {status}"
        if status not in (200, 304):
            return "unreachable", f"le site répond {status}"
        if known is None:
            return "newer", "jamais reçue"
        if edition.connector != "file":  # the address gives a page, or a list: not the body
            return "unreachable", "le catalogue du producteur ne répond pas"
        if status == 304:
            return "unchanged", f"inchangée depuis le {known.retrieved_at:%d/%m/%Y}"
        return _compare(known, headers, same_site=known.requested_url == self.address(edition.url))

    def probe_all(self, editions: Iterable[Request]) -> list[Probe]:
        """`probe` for each, in the order asked."""
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="vigie-probe") as pool:
            return list(pool.map(lambda pair: self.probe(*pair), editions))

    def _head(self, source: Source, edition: Edition) -> tuple[int, Mapping[str, str]]:
        """Status and headers of an address; asked by GET, body unread, where HEAD is not allowed."""
        requested = self.address(edition.url)
        conditions = _conditions(self.store.known(edition.url, requested))
        for method in ("HEAD", "GET"):
            with self.send(method, source, edition, requested, conditions) as answer:
                if answer.status_code not in (405, 501):
                    break
        return answer.status_code, answer.headers

    def clock(self, source: Source, edition: Edition) -> datetime | None:
        """What time it is at an edition's site, as its answer is dated; None when it does not say.

        Raises AcquisitionError when nothing answers.
        """
        try:
            with self.send("HEAD", source, edition, self.address(edition.url), {}) as answer:
                told = answer.headers.get("Date")
        except requests.RequestException as error:
            raise AcquisitionError(
                source.source_id, edition.edition, f"une réponse de {edition.url}", _cause(error), "vérifier le réseau"
            ) from error
        return email.utils.parsedate_to_datetime(told) if told else None

    # --- one request

    def address(self, url: str) -> str:
        """Where a declared URL is really asked: the mirror, the folder, or the producer."""
        parts = urlsplit(url)
        rest = parts.netloc + parts.path + (f"?{parts.query}" if parts.query else "")
        if self.directory is not None:
            return f"directory://{rest}"
        return f"{self.mirror}/{rest}" if self.mirror else url

    def send(
        self,
        method: str,
        source: Source,
        edition: Edition,
        url: str,
        headers: dict[str, str],
        *,
        remaining: Callable[[], float] | None = None,
    ) -> requests.Response:
        """One answer, redirections followed (through the mirror, when there is one), its body not read yet.

        Raises requests.RequestException, and AcquisitionError for a redirection that may not be followed.
        """
        for _ in range(REDIRECTS):
            host = urlsplit(url).hostname or ""
            self.pace.wait(host, self.stopped)
            limit = remaining() if remaining else self.read_timeout
            answer = self.session.request(
                method,
                url,
                headers=headers,
                stream=True,
                allow_redirects=False,
                timeout=(min(self.connect_timeout, limit), min(self.read_timeout, limit)),
                # a proxy of the environment cannot reach our own loopback
                proxies={"http": "", "https": ""} if _is_loopback(host) else None,
            )
            location = answer.headers.get("Location")
            if answer.status_code not in (301, 302, 303, 307, 308) or not location:
                return answer
            answer.close()
            url = self._redirected(source, edition, url, location)
        raise AcquisitionError(
            source.source_id,
            edition.edition,
            f"un fichier à {edition.url}",
            f"plus de {REDIRECTS} redirections",
            f"ouvrir l'adresse dans un navigateur et corriger sources/{source.source_id}/description.yaml",
        )

    def _redirected(self, source: Source, edition: Edition, url: str, location: str) -> str:
        target = urljoin(url, location)
        if (
            self.mirror
            and not target.startswith(f"{self.mirror}/")
            and target.startswith(("http://", "https://"))
        ):
            target = self.address(target)
        allowed = ("https://",) if url.startswith("https://") else ("https://", "http://")
        if not target.startswith(allowed):
            raise AcquisitionError(
                source.source_id,
                edition.edition,
                f"un fichier servi en {allowed[0]} à {edition.url}",
                f"une redirection vers {target[:200]}",
                f"vérifier l'adresse et corriger sources/{source.source_id}/description.yaml",
            )
        return target


class DirectoryAdapter(BaseAdapter):
    """Answers `SCHEME://HOST/PATH` with the file ROOT/HOST/PATH, as a producer's site would: ETag, 304, 404.

    So that the embedded demonstration goes through the very same client as the network.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = Path(root).resolve()

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """The file; OSError of the disk becomes requests.ConnectionError."""
        parts = urlsplit(request.url or "")
        path = (self.root / parts.netloc / unquote(parts.path).lstrip("/")).resolve()
        if not path.is_relative_to(self.root) or not path.is_file():
            return self._answer(request, 404, {})
        try:
            with path.open("rb") as file:
                etag = f'"{hashlib.file_digest(file, "sha256").hexdigest()}"'
            headers = {"ETag": etag, "Content-Length": str(path.stat().st_size)}
            if request.headers.get("If-None-Match") == etag:
                return self._answer(request, 304, {"ETag": etag})
            return self._answer(request, 200, headers, None if request.method == "HEAD" else path)
        except OSError as error:
            raise requests.ConnectionError(error, request=request) from error

    def close(self) -> None:
        """Nothing to close."""

    @staticmethod
    def _answer(
        request: requests.PreparedRequest, status: int, headers: dict[str, str], body: Path | None = None
    ) -> requests.Response:
        raw = HTTPResponse(
            body=body.open("rb") if body else io.BytesIO(),
            headers=headers,
            status=status,
            preload_content=False,
            request_method=request.method,
        )
        return HTTPAdapter().build_response(request, raw)  # type: ignore[arg-type]


@dataclass
class _Arrival:
    """What an address answered: a new body in `partial`, or (None) the body already known."""

    requested: str  # the address really asked
    partial: Partial | None
    sha256: str
    size: int
    etag: str | None
    last_modified: str | None
    content_type: str | None = None
    catalogue_date: str | None = None

    @classmethod
    def of_known(cls, known: RawFile) -> _Arrival:
        """The body already stored, unchanged."""
        at, tag, date = known.requested_url, known.etag, known.last_modified
        return cls(at, None, known.sha256, known.bytes, tag, date, catalogue_date=known.catalogue_date)

    def __enter__(self) -> _Arrival:
        return self

    def __exit__(self, *_: object) -> None:
        if self.partial is not None:
            self.partial.discard()

    def path(self, store: RawStore) -> Path:
        """Where its bytes can be read now."""
        return self.partial.flush() if self.partial is not None else store.path(self.sha256)


class _AgainError(Exception):
    """This attempt failed in a way that another may mend."""

    def __init__(self, cause: str, wait: float = 0.0, *, silent_host: bool = False) -> None:
        super().__init__(cause)
        self.wait = wait  # seconds the server asked for
        self.silent_host = silent_host  # nothing answered at all


class _Transfer:
    """One file on its way: what was received so far, and how to ask for the rest."""

    def __init__(
        self,
        client: Client,
        source: Source,
        edition: Edition,
        requested: str,
        reporter: _Reporter,
        known: RawFile | None,
        began: float,
    ) -> None:
        self.client = client
        self.source = source
        self.edition = edition
        self.requested = requested
        self.reporter = reporter
        self.name = _name(source, edition)
        self.known = known  # asked only if it changed
        self.began = began  # of the deadline, which may be that of several pages
        self.partial: Partial | None = None
        self.total: int | None = None  # bytes of the whole body, when the server said so
        self.headers: dict[str, str] = {}  # of the answer that the partial body belongs to

    def run(self) -> _Arrival:
        """Attempts until the body is whole. Raises AcquisitionError or NotPublishedError."""
        host = urlsplit(self.requested).netloc
        failures = 0
        try:
            while True:
                received = self._received
                try:
                    return self._attempt()
                except _AgainError as again:
                    if self._received - received < HEADWAY:
                        failures += 1
                    allowed = 1 if host in self.client.unreachable else self.client.attempts
                    if failures >= allowed:
                        if again.silent_host:
                            self.client.unreachable.add(host)
                        raise self._gave_up(f"{again} ({failures} essai(s) sans résultat)") from again
                    self._pause(again, failures)
        except BaseException:
            if self.partial is not None:
                self.partial.discard()
            raise

    def _attempt(self) -> _Arrival:
        try:
            answer = self.client.send(
                "GET", self.source, self.edition, self.requested, self._ask(), remaining=self._remaining
            )
        except requests.exceptions.SSLError as error:
            raise self._gave_up(f"un certificat refusé ({_cause(error)})") from error
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _AgainError(_cause(error), silent_host=_is_silent(error)) from error
        except requests.RequestException as error:
            raise self._gave_up(_cause(error)) from error
        with answer:
            self.client.unreachable.discard(urlsplit(self.requested).netloc)
            if answer.status_code == 304 and (known := self.known):
                _ = answer.content  # nothing, but reading it lets the connection serve again
                return _Arrival.of_known(known)
            self._refuse_status(answer)
            self._position(answer)
            self._receive(answer)
        return self._arrived()

    def _ask(self) -> dict[str, str]:
        """Headers: the rest of a body begun, else the body if it is not the one already stored."""
        if self._received and (validator := self._validator()):
            return {"Range": f"bytes={self._received}-", "If-Range": validator}
        return _conditions(self.known)

    def _validator(self) -> str | None:
        """What proves that the rest is of the same body: a strong ETag, else the date of modification."""
        etag = self.headers.get("ETag")
        return etag if etag and not etag.startswith("W/") else self.headers.get("Last-Modified")

    def _refuse_status(self, answer: requests.Response) -> None:
        """Raises for anything but a body (200, 206)."""
        status = answer.status_code
        if status in (200, 206):
            return
        if status in (404, 410):
            raise NotPublishedError(
                self.source.source_id,
                self.edition.edition,
                f"un fichier à {self.requested}",
                f"une réponse {status} (pas de fichier)",
                "rien si l'édition n'est pas encore parue ; sinon corriger `url` dans "
                f"sources/{self.source.source_id}/description.yaml",
            )
        if status == 416:  # there is no rest: what we hold belongs to another body
            self._forget()
            raise _AgainError("le serveur ne sait pas reprendre le fichier")
        if status in (408, 425, 429) or status >= 500:
            raise _AgainError(f"une réponse {status}", _retry_after(answer.headers.get("Retry-After")))
        raise self._gave_up(f"une réponse {status} ({answer.reason or 'sans motif'})")

    def _position(self, answer: requests.Response) -> None:
        """Makes ready to write: after what was received when the answer is its rest, else from zero."""
        if answer.status_code == 206:
            if not self._is_the_rest(answer.headers):
                self._forget()
                raise _AgainError("un morceau qui n'est pas celui demandé")
            return
        self._forget()
        kept = ("ETag", "Last-Modified", "Content-Type", "Content-Encoding")
        self.headers = {name: value for name in kept if (value := answer.headers.get(name))}
        length = answer.headers.get("Content-Length", "")
        self.total = int(length) if length.isdigit() else None
        if self.partial is None:
            self.partial = self.client.store.partial()
            self.reporter.started(self.name, self.total)

    def _is_the_rest(self, headers: Mapping[str, str]) -> bool:
        """Whether a partial answer begins where we stopped, in a body of the same size and tag."""
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if found is None or not self._received or int(found[1]) != self._received:
            return False
        if self.total is not None and found[2] not in ("*", str(self.total)):
            return False
        return headers.get("ETag", self.headers.get("ETag")) == self.headers.get("ETag")

    def _receive(self, answer: requests.Response) -> None:
        """Writes the body as it comes; `read1` returns what is there, so a slow body meets the deadline."""
        assert self.partial is not None
        try:
            while chunk := answer.raw.read1(CHUNK, decode_content=False):
                self.partial.write(chunk)
                self.reporter.advanced(self.name, len(chunk))
                self._remaining()
        except HTTPError as error:
            raise _AgainError(f"{_cause(error)} {self._so_far()}") from error
        if self.total is not None and self._received != self.total:
            raise _AgainError(f"un corps incomplet {self._so_far()}")

    def _arrived(self) -> _Arrival:
        partial = self.partial
        assert partial is not None
        coding = self.headers.get("Content-Encoding", "identity").lower()
        if coding != "identity":  # we asked for none, but some servers compress all the same
            partial = self._decoded(partial, coding)
        return _Arrival(
            self.requested,
            partial,
            partial.sha256,
            partial.size,
            self.headers.get("ETag"),
            self.headers.get("Last-Modified"),
            self.headers.get("Content-Type"),
        )

    def _decoded(self, packed: Partial, coding: str) -> Partial:
        """The body without the compression of its transport. Raises BodyRefusedError."""
        if coding not in ("gzip", "x-gzip"):
            raise self._refused(packed, f"un corps compressé en « {coding} », que Vigie n'a pas demandé")
        plain = self.client.store.partial()
        try:
            with packed, gzip.open(packed.flush()) as file:
                while chunk := file.read(CHUNK):
                    plain.write(chunk)
                    if plain.size > archive.MAX_UNPACKED:
                        raise self._refused(packed, f"plus de {archive.MAX_UNPACKED} octets décompressés")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            plain.discard()
            raise self._refused(packed, f"un corps compressé illisible ou tronqué ({error})") from error
        except BaseException:
            plain.discard()
            raise
        return plain

    @property
    def _received(self) -> int:
        return self.partial.size if self.partial is not None else 0

    def _so_far(self) -> str:
        total = "un nombre inconnu" if self.total is None else self.total
        return f"({self._received} octets reçus sur {total})"

    def _forget(self) -> None:
        if self.partial is not None and self.partial.size:
            self.reporter.advanced(self.name, -self.partial.size)
            self.partial.restart()

    def _remaining(self) -> float:
        """Seconds left. Raises AcquisitionError when there are none, or when the run was interrupted."""
        if self.client.stopped.is_set():
            raise self._gave_up("une interruption de la collecte")
        left = self.began + self.client.deadline - time.monotonic()
        if left <= 0:
            raise AcquisitionError(
                self.source.source_id,
                self.edition.edition,
                f"{self.requested} en entier en moins de {self.client.deadline:g} s",
                f"le délai écoulé {self._so_far()}",
                "relancer plus tard ; si la ligne est lente, allonger le délai total par fichier",
            )
        return left

    def _pause(self, again: _AgainError, failures: int) -> None:
        """Exponential back-off with jitter, at least what the server asked for, never past the deadline."""
        backoff = min(LONGEST_PAUSE, self.client.backoff * 2 ** max(0, failures - 1))
        pause = max(again.wait, backoff * random.uniform(0.5, 1.0))
        if pause > self._remaining():
            raise self._gave_up(f"{again}, et une attente de {pause:.0f} s avant de réessayer")
        self.client.stopped.wait(pause)

    def _gave_up(self, found: str) -> AcquisitionError:
        return AcquisitionError(
            self.source.source_id,
            self.edition.edition,
            f"le fichier {self.requested}",
            found,
            "relancer plus tard ; si cela dure, ouvrir l'adresse dans un navigateur, et corriger `url` dans "
            f"sources/{self.source.source_id}/description.yaml si elle a changé",
        )

    def _refused(self, packed: Partial, found: str) -> BodyRefusedError:
        return archive.refusal(self.source, self.edition, b"", found=f"{found} ({packed.size} octets reçus)")


class _Pace:
    """A minimum time between two requests to one host; `interval`: the same for all, or None for that of each."""

    def __init__(self, interval: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = interval
        self.clock = clock
        self._next: dict[str, float] = {}
        self._lock = threading.Lock()

    def wait(self, host: str, stopped: threading.Event) -> None:
        interval = self.interval
        if interval is None:
            interval = 0.0 if _is_loopback(host) else INTERVALS.get(host, INTERVAL)
        if not interval:
            return
        with self._lock:
            now = self.clock()
            at = max(now, self._next.get(host, now))
            self._next[host] = at + interval
        stopped.wait(at - now)


class _Reporter:
    """A progress display that may be absent, called by one thread at a time."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self._lock = threading.Lock() if progress is not None else nullcontext()

    def started(self, name: str, total: int | None) -> None:
        with self._lock:
            if self.progress is not None:
                self.progress.started(name, total)

    def advanced(self, name: str, count: int) -> None:
        with self._lock:
            if self.progress is not None:
                self.progress.advanced(name, count)

    def finished(self, name: str, outcome: Outcome) -> None:
        with self._lock:
            if self.progress is not None:
                self.progress.finished(name, outcome)


def _session(directory: Path | None) -> requests.Session:
    session = requests.Session()
    try:
        own = version("vigie")
    except PackageNotFoundError:
        own = "0"
    agent = requests.utils.default_user_agent()
    session.headers["User-Agent"] = f"Vigie/{own} (observatoire de la pauvrete; {agent})"
    session.headers["Accept-Encoding"] = "identity"  # ranges and lengths are those of the file itself
    adapter: BaseAdapter
    if directory is not None:
        adapter = DirectoryAdapter(directory)
        session.mount("directory://", adapter)
    else:
        adapter = HTTPAdapter(pool_connections=16, pool_maxsize=PARALLEL, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _conditions(known: RawFile | None) -> dict[str, str]:
    """Headers that ask for the body only if it is not the known one."""
    if known is None:
        return {}
    pairs = {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    return {name: value for name, value in pairs.items() if value}


def _name(source: Source, edition: Edition) -> str:
    return f"{source.source_id} {edition.edition}"


def _dated(known: RawFile | None, date: str) -> tuple[ProbeKind, str]:
    """What a catalogue's date tells against the known body: its own date then, else when it was received."""
    if known is None:
        return "newer", "jamais reçue"
    at = connectors.moment(date)
    same = known.catalogue_date == date if known.catalogue_date else at <= known.retrieved_at
    if same:
        return "unchanged", f"inchangée depuis le {at:%d/%m/%Y}, dit le catalogue du producteur"
    return "newer", f"modifiée le {at:%d/%m/%Y}, dit le catalogue du producteur"


def _compare(known: RawFile, headers: Mapping[str, str], *, same_site: bool) -> tuple[ProbeKind, str]:
    """What the headers of a body tell against the known one: its tag on the same site, else its size."""
    date = f"{known.retrieved_at:%d/%m/%Y}"
    tag = headers.get("ETag")
    if tag and known.etag and (same_site or tag == known.etag):
        if tag == known.etag:
            return "unchanged", f"inchangée depuis le {date}"
        return "newer", f"le contenu diffère de celui du {date}"
    changed = headers.get("Last-Modified")
    if same_site and known.last_modified and changed not in (None, known.last_modified):
        return "newer", f"le site dit une autre date que le {date}"
    size = headers.get("Content-Length", "")
    if not size.isdigit():
        return "newer", f"peut-être différente de celle du {date} : le site ne dit ni version ni taille"
    if int(size) != known.bytes:
        return "newer", f"{size} octets, contre {known.bytes} le {date}"
    return "unchanged", f"même taille que le {date}"


def _named(error: SourceError, source: Source, edition: Edition) -> SourceError:
    """The error of an address, for another of the editions that share it."""
    if (error.source_id, error.edition) == (source.source_id, edition.edition):
        return error
    return replace(error, source_id=source.source_id, edition=edition.edition)


def _retry_after(text: str | None) -> float:
    """Seconds asked by a Retry-After header (a number or a date); 0 when absent or unreadable."""
    if not text:
        return 0.0
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _roots(error: BaseException) -> list[BaseException]:
    """The error and those it wraps, as requests and urllib3 nest them."""
    found: list[BaseException] = []
    todo: list[Any] = [error]
    while todo:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            todo += [*one.args, getattr(one, "reason", None), one.__cause__]
    return found


def _is_silent(error: BaseException) -> bool:
    """Nothing answered at that address: no connection was made."""
    return any(isinstance(e, (NewConnectionError, ConnectTimeoutError)) for e in _roots(error))


def _cause(error: BaseException) -> str:
    """A network error in words."""
    roots = _roots(error)
    for kind, words in (  # the narrower kinds first
        (requests.exceptions.ProxyError, "un serveur mandataire (proxy) qui refuse"),
        (requests.exceptions.SSLError, str(error)),
        (NameResolutionError, "un nom d'hôte inconnu (pas de réseau, ou adresse fautive)"),
        (NewConnectionError, "une connexion impossible"),
        (ConnectTimeoutError, "un serveur qui ne répond pas"),
        ((BodyTimeoutError, requests.ReadTimeout), "un serveur qui n'envoie plus rien"),
        ((requests.ConnectionError, HTTPError), "une connexion coupée"),
    ):
        if any(isinstance(e, kind) for e in roots):
            return words
    return str(error)


def _disk_error(source: Source, edition: Edition, error: OSError) -> DiskError:
    return DiskError(
        source.source_id,
        edition.edition,
        "un dossier de données où écrire",
        str(error),
        "vérifier la place et les droits du dossier de données (VIGIE_DATA)",
    )
