"""A small site on loopback that fails in every way the client claims to survive."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sources.client import Client
from sources.raw_store import RawStore

HOST = "producteur.test"
HTML = b"<!doctype html><title>Maintenance</title><p>Service indisponible"
TABLE = b"code;valeur\n" + b"".join(b"%05d;%d\n" % (i, i * 7) for i in range(40_000))


@dataclass
class Seen:
    """One request as the site saw it."""

    method: str
    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0


@dataclass
class Site:
    """What the site serves, the faults it plays (one per request to a path, in order), what it saw."""

    base: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    always: dict[str, str] = field(default_factory=dict)
    validators: bool = True
    weak: bool = False
    hold: float = 0.0  # seconds each request is kept open
    seen: list[Seen] = field(default_factory=list)
    open_now: int = 0
    open_most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, name: str, body: bytes) -> None:
        self.files[f"/{HOST}/{name}"] = body

    def fail(self, name: str, *faults: str) -> None:
        self.faults[f"/{HOST}/{name}"] = list(faults)

    def fail_always(self, name: str, fault: str) -> None:
        self.always[f"/{HOST}/{name}"] = fault

    def gets(self, name: str) -> list[Seen]:
        return [s for s in self.seen if s.path == f"/{HOST}/{name}" and s.method == "GET"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site = self.site
        with site.lock:
            seen = Seen(self.command, self.path, dict(self.headers))
            site.seen.append(seen)
            site.open_now += 1
            site.open_most = max(site.open_most, site.open_now)
            queue = site.faults.get(self.path, [])
            fault = queue.pop(0) if queue else site.always.get(self.path, "")
        try:
            time.sleep(site.hold)
            self.play(seen, fault)
        finally:
            with site.lock:
                site.open_now -= 1

    do_HEAD = do_GET

    def play(self, seen: Seen, fault: str) -> None:  # noqa: C901 - one line per fault
        kind, _, argument = fault.partition("=")
        if kind == "reset":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if kind.isdigit():
            return self.reply(seen, int(kind), b"non", {"Retry-After": argument} if argument else {})
        if kind == "redirect":
            return self.reply(seen, 302, b"", {"Location": argument})
        if self.path not in self.site.files:
            return self.reply(seen, 404, b"non")
        if kind == "html":
            return self.reply(seen, 200, HTML, {"Content-Type": "text/html"})
        if kind == "change":  # a new body from now on
            self.site.files[self.path] = b"nouveau;corps\n" + self.site.files[self.path][::-1]
        body = self.site.files[self.path]
        headers: dict[str, str] = {}
        etag, modified = f'"{hashlib.md5(body).hexdigest()}"', "Wed, 01 Jan 2020 00:00:00 GMT"
        if self.site.validators:
            headers = {"ETag": ("W/" if self.site.weak else "") + etag, "Last-Modified": modified}
            if seen.headers.get("If-None-Match") == headers["ETag"]:
                return self.reply(seen, 304, b"", headers)
        if kind == "gzip":
            return self.reply(
                seen, 200, gzip.compress(body), headers | {"Content-Encoding": argument or "gzip"}
            )
        status, wanted = 200, seen.headers.get("Range", "")
        if kind == "ignoreifrange":  # another body of the same size, its rest given all the same
            body = self.site.files[self.path] = body.replace(b"7", b"8")
            headers["ETag"] = '"other"'
            seen.headers["If-Range"] = modified
        if wanted and seen.headers.get("If-Range") in (headers.get("ETag"), modified) and kind != "norange":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            if kind == "wrongrange":
                headers["Content-Range"] = f"bytes {start + 1}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[start:]
            if kind == "shortrange":  # allowed: less than was asked
                body = body[: len(body) // 2]
                headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{len(TABLE)}"
        self.reply(seen, status, body, headers, kind)

    def reply(
        self, seen: Seen, status: int, body: bytes, headers: dict[str, str] | None = None, kind: str = ""
    ) -> None:
        seen.status = status
        self.send_response(status)
        length = len(body) + (1000 if kind == "longer" else -100 if kind == "shorter" else 0)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n" % len(body) + body  # and no end
        elif status != 304:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command == "HEAD" or status == 304:
            return
        if kind in ("truncate", "longer", "shorter", "chunked"):
            self.close_connection = True
            body = body[: len(body) // 2] if kind in ("truncate", "chunked") else body
        step = 1024 if kind == "slow" else max(1, len(body))
        try:
            for at in range(0, len(body), step):
                self.wfile.write(body[at : at + step])
                seen.sent += len(body[at : at + step])
                if kind == "slow":
                    time.sleep(0.2)
        except OSError:  # the client has had enough
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


class QuietServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what these tests are about."""


@contextmanager
def serving() -> Iterator[Site]:
    """A site that answers on a free port until the block ends."""
    made = Site()
    handler = type("Bound", (Handler,), {"site": made})
    server = QuietServer(("127.0.0.1", 0), handler)
    made.base = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()


def client_of(site: Site, store: RawStore, **settings: Any) -> Client:
    """A client that asks this site, in a hurry."""
    return Client(store, **({"mirror": site.base, "backoff": 0.01, "deadline": 20.0} | settings))
