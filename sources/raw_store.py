"""The raw store: bytes as the producers served them, named by sha256, and the index of where they came from.

Nothing is ever changed in place; only what a partner deposited is erased, at the end of its retention. A body is
written to a temporary name, fsynced, renamed; the index is written anew beside the old one, and renamed over it.

A process killed between the two leaves a body without a line in the index. That is harmless and needs no
repair: the next download of the same bytes lands on the same name and is then indexed. A temporary file left
behind is removed by `sweep`.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import polars as pl

TEMPORARY = ".partiel-"  # start of every temporary name; nothing else in the store starts so

ALTERED = ".altere"  # end of the name of a body set aside because its bytes changed

# One row per body retrieved for an edition: a history, rows are only ever added, in order of time.
INDEX = pl.Schema(
    {
        "source_id": pl.String,
        "edition": pl.String,
        "url": pl.String,  # as declared
        "requested_url": pl.String,  # as asked, behind a mirror for instance
        "retrieved_at": pl.Datetime("us", "UTC"),
        "etag": pl.String,
        "last_modified": pl.String,
        "sha256": pl.String,
        "bytes": pl.Int64,
        "licence": pl.String,
        "producer": pl.String,
        "previous_sha256": pl.String,  # body of the edition's row before, when it was another one
        "catalogue_date": pl.String,  # of the body, as the producer's catalogue wrote it; null without a catalogue
    }
)


class RawStoreError(Exception):
    """The store itself is damaged. `str(error)` is the whole message, in French."""


@dataclass(frozen=True)
class RawFile:
    """One row of the index: a body, and the address and date it was retrieved for one edition."""

    source_id: str
    edition: str
    url: str
    requested_url: str
    retrieved_at: datetime
    etag: str | None
    last_modified: str | None
    sha256: str
    bytes: int
    licence: str
    producer: str
    previous_sha256: str | None = None
    catalogue_date: str | None = None

    def says_the_same(self, other: RawFile) -> bool:
        """Whether both rows describe the same body at the same address (dates aside)."""
        return replace(self, retrieved_at=other.retrieved_at, previous_sha256=other.previous_sha256) == other


class Partial:
    """A body being written. `commit` gives it its name; leaving the `with` block without commit drops it.

    The file stays locked while it is open: that is how `sweep` tells a download in progress from a leftover.
    """

    def __init__(self, store: RawStore) -> None:
        self._store = store
        with store.locked():  # sweep holds the same lock: it never sees the file before it is locked
            self.path = store.bodies / f"{TEMPORARY}{secrets.token_hex(8)}"
            # nobody else reads a body before it is known what it is
            self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            fcntl.flock(self._file, fcntl.LOCK_EX)
        self._hash = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> Partial:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, data: bytes) -> None:
        """Appends. OSError when the disk refuses."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def restart(self) -> None:
        """Forgets what was written: the body changed, or cannot be resumed."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._hash.hexdigest()

    def flush(self) -> Path:
        """The path, its content complete for another reader."""
        self._file.flush()
        return self.path

    def commit(self, mode: int = 0o444) -> str:
        """The body takes its final name and mode, durably; its sha256. One already there is replaced by the same."""
        self._file.flush()
        os.fchmod(self._file.fileno(), mode)
        os.fsync(self._file.fileno())
        target = self._store.path(self.sha256)
        new_folder = not target.parent.is_dir()
        target.parent.mkdir(exist_ok=True)
        os.replace(self.path, target)
        _fsync_folder(target.parent)
        if new_folder:
            _fsync_folder(self._store.bodies)
        self._file.close()
        return self.sha256

    def discard(self) -> None:
        """Removes the temporary file, if it still has its temporary name."""
        if not self._file.closed:
            self.path.unlink(missing_ok=True)
            self._file.close()


class RawStore:
    """`raw/` of a data folder. Several threads and several processes may use it at once."""

    def __init__(self, data_folder: Path) -> None:
        self.root = Path(data_folder) / "raw"
        self.bodies = self.root / "sha256"
        self.index = self.root / "index.parquet"
        self.bodies.mkdir(parents=True, exist_ok=True)
        self._cache: tuple[object, _Rows] | None = None

    # --- bodies

    def path(self, sha256: str) -> Path:
        """Where the body of that hash is or would be: raw/sha256/ab/cdef..."""
        if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
            raise ValueError(f"not a sha256: {sha256!r}")
        return self.bodies / sha256[:2] / sha256[2:]

    def has(self, sha256: str, size: int) -> bool:
        """Whether the body is there, whole as far as its size tells."""
        try:
            return self.path(sha256).stat().st_size == size
        except FileNotFoundError:
            return False

    def partial(self) -> Partial:
        """A body to write piece by piece; use in a `with` block."""
        return Partial(self)

    def add(self, data: bytes, mode: int = 0o444) -> str:
        """Stores a whole body, 0600 for what a partner deposits; its sha256."""
        with self.partial() as body:
            body.write(data)
            return body.commit(mode)

    def open(self, sha256: str) -> BinaryIO:
        """The body, for reading. RawStoreError when it is not there."""
        path = self.path(sha256)
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise RawStoreError(
                f"magasin brut : attendu le fichier {path} ; trouvé rien. "
                "À faire : relancer `vigie run`, qui le téléchargera de nouveau"
            ) from None

    def read(self, sha256: str, *, verify: bool = False) -> bytes:
        """The whole body. With `verify`, RawStoreError when its bytes no longer have that hash."""
        with self.open(sha256) as file:
            data = file.read()
        if verify and (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise RawStoreError(
                f"magasin brut : attendu {self.path(sha256)} intact ; trouvé {len(data)} octets d'empreinte "
                f"{found[:12]}…. À faire : supprimer ce fichier et relancer `vigie run`, qui le téléchargera "
                "de nouveau ; s'il s'altère encore, faire examiner le disque"
            )
        return data

    def set_aside(self, sha256: str) -> Path:
        """Renames a body that is no longer what its name says, so that it is asked again: bytes are never destroyed.
        The new path."""
        with self.locked():
            path = self.path(sha256)
            aside = path.with_name(f"{path.name}{ALTERED}")
            os.replace(path, aside)
        return aside

    def erase(self, sha256: str) -> None:
        """Removes a body, if it is there, and what was set aside of it; the index keeps its rows."""
        with self.locked():
            path = self.path(sha256)
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}{ALTERED}").unlink(missing_ok=True)

    # --- index

    def history(self) -> pl.DataFrame:
        """The whole index, oldest row first; columns as in INDEX."""
        return self._rows().frame

    def latest(self, source_id: str, edition: str) -> RawFile | None:
        """The newest row of an edition, None when it was never retrieved."""
        return self._rows().by_edition.get((source_id, edition))

    def earlier(self, source_id: str, edition: str) -> list[str]:
        """The other bodies that an edition had before its newest one, newest first."""
        own = self.history().filter(pl.col("source_id") == source_id, pl.col("edition") == edition)["sha256"]
        return list(dict.fromkeys(own.reverse()))[1:]

    def known(self, url: str, requested_url: str) -> RawFile | None:
        """The newest row of an address, whichever edition it was for, if its body is still there.

        Both addresses must agree: the dates and tags of a mirror say nothing about the producer's own site.
        """
        row = self._rows().by_address.get((url, requested_url))
        return row if row is not None and self.has(row.sha256, row.bytes) else None

    def record(self, files: Sequence[RawFile]) -> list[RawFile]:
        """Adds rows to the index in one write, and returns those added, with their `previous_sha256`.

        A row that says no more than the edition's newest one is left out: an unchanged run writes nothing.
        """
        if not files:
            return []
        with self.locked():
            rows = self._rows()
            newest = dict(rows.by_edition)
            added: list[RawFile] = []
            for file in files:
                before = newest.get((file.source_id, file.edition))
                if before is not None and file.says_the_same(before):
                    continue
                changed = before is not None and before.sha256 != file.sha256
                file = replace(file, previous_sha256=before.sha256 if before and changed else None)
                newest[file.source_id, file.edition] = file
                added.append(file)
            if added:
                self._write_index(pl.concat([rows.frame, _frame(added)]))
        return added

    def sweep(self) -> list[Path]:
        """Removes the temporary files of processes that were killed, and returns them; those in use stay."""
        removed: list[Path] = []
        with self.locked():
            for path in sorted([*self.bodies.glob(f"{TEMPORARY}*"), *self.root.glob(f"{TEMPORARY}*")]):
                if _abandoned(path):
                    path.unlink(missing_ok=True)
                    removed.append(path)
        return removed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in the store, among threads and processes; the system frees the lock of a killed process."""
        with (self.root / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write_index(self, frame: pl.DataFrame) -> None:
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd")
        temporary = self.root / f"{TEMPORARY}{secrets.token_hex(8)}"
        try:
            with temporary.open("xb") as file:
                file.write(buffer.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.index)
        finally:
            temporary.unlink(missing_ok=True)
        _fsync_folder(self.root)

    def _rows(self) -> _Rows:
        """The index as it stands on disk; read again only when another file took its place."""
        try:
            with self.index.open("rb") as file:
                stat = os.fstat(file.fileno())
                stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                cache = self._cache
                if cache is not None and cache[0] == stamp:
                    return cache[1]
                held = pl.read_parquet(file.read())
                if "catalogue_date" not in held.columns:  # an index written before there was one
                    held = held.with_columns(catalogue_date=None)
                rows = _Rows(held.select(INDEX.names()).cast(INDEX))
        except FileNotFoundError:
            return _Rows(pl.DataFrame(schema=INDEX))
        except pl.exceptions.PolarsError as error:
            raise RawStoreError(
                f"magasin brut : attendu un index Parquet dans {self.index} ; trouvé un fichier illisible "
                f"({str(error).splitlines()[0]}). À faire : le restaurer d'une sauvegarde, ou le supprimer : "
                "tout sera téléchargé de nouveau"
            ) from error
        self._cache = (stamp, rows)
        return rows


class _Rows:
    """The index in memory, and the newest row by edition and by address."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.by_edition: dict[tuple[str, str], RawFile] = {}
        self.by_address: dict[tuple[str, str], RawFile] = {}
        for row in frame.iter_rows(named=True):
            file = RawFile(**row)
            self.by_edition[file.source_id, file.edition] = file
            self.by_address[file.url, file.requested_url] = file


def _frame(files: Sequence[RawFile]) -> pl.DataFrame:
    assert [f.name for f in fields(RawFile)] == list(INDEX)
    return pl.DataFrame([asdict(f) for f in files], schema=INDEX)


def _abandoned(path: Path) -> bool:
    """Whether no process holds the file (index files are not locked, but written under the store's lock)."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except BlockingIOError:
        return False
    except FileNotFoundError:
        return False


def _fsync_folder(path: Path) -> None:
    """Makes a rename in that folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
