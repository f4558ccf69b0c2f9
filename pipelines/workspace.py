"""The workspace of a run: settings, folders, and which files are up to date. No figure is computed here."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import IO, Any, TypeVar

import polars as pl

from expectations.results import CheckResult
from pipelines.perimeters import Perimeter, PerimeterError, load
from pipelines.progress import Reporter, Silent
from pipelines.settings import Settings
from sources.deposits.contract import Contract, ContractError, Deposited, contracts_of
from sources.deposits.register import RegisterError, deposited_sources
from sources.description import Edition, Source, load_sources
from sources.raw_store import RawStore
from warehouse.release import Candidate, Releases

Item = TypeVar("Item")
Result = TypeVar("Result")
ROOT = Path(__file__).parent.parent
FAILURES = {  # what went wrong with an edition, as a release tells it: no word of the file, which may be a partner's
    "raw": "non reçue : le site n'a pas répondu, ou a servi autre chose qu'un fichier de données",
    "core": "reçue, mais illisible : le fichier n'est plus celui que la description annonce",
}
PUBLISHING = (  # what decides a figure, and what fills the table `reconciliation`
    *("sources", "methods", "warehouse", "pipelines/stages"),
    *("expectations/editions.py", "expectations/reconciliation.yaml"),
)
NOT_RUN = "étape non exécutée"  # how the message begins of a step that failed because another one had


class WorkspaceError(Exception):
    """The data folder cannot be used as asked; the message says what to do (French)."""


@dataclass
class Workspace:
    """Folders under `data/`: raw (as served), core (typed), stage (rebuildable intermediate), releases."""

    settings: Settings
    progress: Reporter = field(default_factory=Silent)
    # what the stages of a run hand over, and what its summary says
    correspondences: dict[tuple[int, str], Any] = field(default_factory=dict[tuple[int, str], Any])
    candidates: list[Candidate] = field(default_factory=list[Candidate])  # of each edition, the public one first
    results: list[CheckResult] = field(default_factory=list[CheckResult])
    stale: list[str] = field(default_factory=list[str])  # declared exceptions that no longer occur
    published: str | None = None
    _lock: IO[str] | None = None

    @property
    def data(self) -> Path:
        return self.settings.data.absolute()

    @cached_property
    def store(self) -> RawStore:
        return RawStore(self.data)

    @cached_property
    def sources(self) -> dict[str, Source]:
        """Every declared dataset, and every contract, whose editions are the deposits in force; WorkspaceError names a
        register that cannot be read."""
        try:
            return load_sources() | deposited_sources(self.deposits_folder, self.contracts)
        except RegisterError as error:
            raise WorkspaceError(str(error)) from error

    @property
    def deposits_folder(self) -> Path:
        return self.data / "deposits"

    @property
    def contracts_folder(self) -> Path:
        return self.data / "contracts"

    @cached_property
    def contracts(self) -> dict[str, Contract]:
        """The contracts of deposits, by name; WorkspaceError names a file that cannot be read."""
        try:
            return contracts_of(self.contracts_folder)
        except ContractError as error:
            raise WorkspaceError(str(error)) from error

    @property
    def perimeters_folder(self) -> Path:
        return self.data / "perimeters"

    @cached_property
    def perimeters(self) -> list[Perimeter]:
        """The observatory's own territories; WorkspaceError names a file that cannot be read."""
        try:
            return load(self.perimeters_folder)
        except PerimeterError as error:
            raise WorkspaceError(str(error)) from error

    def core(self, source_id: str, edition: str) -> Path:
        return self.data / "core" / source_id / f"{edition}.parquet"

    @property
    def told(self) -> Path:
        """What releases told of partners' figures, and what they withheld: private."""
        return self.data / "told"

    def stage(self, *names: str) -> Path:
        return self.data / "stage" / Path(*names)

    def editions(self, source: Source) -> list[Edition]:
        """The editions this run reads: all of a geography, those of the asked years elsewhere."""
        if source.kind == "geography":
            return list(source.editions)
        return [e for e in source.editions if self.settings.wants(e.data_year)]

    def present(self, source: Source) -> list[Edition]:
        """The asked editions that the core holds."""
        return [e for e in self.editions(source) if self.core(source.source_id, e.edition).exists()]

    def raw_sha256(self, source: Source, edition: Edition) -> str:
        """The raw file that the core frame was read from: not always the newest, when that one is another edition."""
        return pl.read_parquet_metadata(self.core(source.source_id, edition.edition))["raw"]

    def claim(self) -> None:
        """Marks the data folder as fictional or real; refuses to mix the two.

        Raises WorkspaceError when the folder already holds the other kind.
        """
        kind = "demo" if self.settings.profile == "demo" else "real"
        marker = self.data / "PROFILE"
        self.data.mkdir(parents=True, exist_ok=True)
        found = marker.read_text(encoding="utf-8").strip() if marker.exists() else None
        if found is None:
            replace_bytes(marker, f"{kind}\n".encode())
        elif found != kind:
            held = "fictives (profil demo)" if found == "demo" else "réelles"
            raise WorkspaceError(
                f"{self.data} contient des données {held} ; attendu un dossier vide ou du même genre pour le "
                f"profil {self.settings.profile}. À faire : choisir un autre dossier, par exemple "
                f"VIGIE_DATA=data-{self.settings.profile} vigie run --profile {self.settings.profile}."
            )

    def lock(self) -> None:
        """Makes this process the only writer of the data folder until it ends; may be called again.

        Raises WorkspaceError naming the process that holds it.
        """
        if self._lock is None:
            self._lock = self._flocked(fcntl.LOCK_EX)
            self._tell(self._lock)

    def share(self, run_id: str) -> None:
        """Lets the steps of a run that other processes execute work under the lock of this one, which coordinates it,
        and nobody else. Raises WorkspaceError as `lock` does."""
        self.lock()
        assert self._lock is not None
        self._tell(self._lock, self._signed(run_id))
        self._flocked(fcntl.LOCK_SH, self._lock)

    @contextmanager
    def joined(self, run_id: str) -> Iterator[None]:
        """Works under the lock of a run that another process coordinates. Should that one die, the folder stays taken
        until the steps it had begun are over.

        Raises WorkspaceError when the folder is not held for that run, with these settings and this code.
        """
        with self._flocked(fcntl.LOCK_SH) as handle:
            handle.seek(0)
            owner, *held = handle.read().splitlines() or ["inconnu"]
            if held != [self._signed(run_id)]:
                raise WorkspaceError(
                    f"{self.data} : attendu le verrou de l'exécution {run_id}, de mêmes réglages et même programme ; "
                    f"trouvé celui du processus {owner}. À faire : relancer ; sur des ouvriers Dask, leur donner les "
                    "mêmes variables VIGIE_… et la même version de Vigie."
                )
            self._lock = handle
            try:
                yield
            finally:
                self._lock = None

    def take_over(self, other: Workspace) -> None:
        """Holds what another workspace of this process holds of the same folder, and shows what it shows."""
        self._lock, self.progress = other._lock, other.progress

    def _flocked(self, kind: int, handle: IO[str] | None = None) -> IO[str]:
        """The lock file, locked; `handle`: already open. WorkspaceError names the process that holds it otherwise."""
        self.data.mkdir(parents=True, exist_ok=True)
        handle = handle or (self.data / ".lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            time.sleep(0.1)  # whoever has just taken it writes who it is
            handle.seek(0)
            owner = handle.readline().strip() or "inconnu"
            handle.close()
            raise WorkspaceError(
                f"{self.data} est déjà utilisé par le processus {owner} ; attendu un dossier libre. "
                "À faire : attendre la fin de cette exécution, ou l'arrêter."
            ) from error
        return handle

    def _tell(self, handle: IO[str], *more: str) -> None:
        """Writes in the lock file who holds it."""
        since = f"{datetime.now(UTC):%d/%m/%Y à %H:%M:%S} UTC"
        handle.truncate(0)
        handle.write("\n".join([f"{os.getpid()} (machine {socket.gethostname()}, depuis le {since})", *more, ""]))
        handle.flush()

    def _signed(self, run_id: str) -> str:
        """A run with what decides its figures: workers of other machines have settings and code of their own."""
        settings = self.settings.model_dump_json(exclude={"data"})
        return f"{run_id} {digest(settings + (self.code_digest if self.settings.dask else ''))}"

    @property
    def locked(self) -> bool:
        """Whether this process holds the data folder through this workspace."""
        return self._lock is not None

    def unlock(self) -> None:
        """Gives the data folder back before the process ends."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def unchanged(self) -> bool:
        """Whether the published release is made of these very inputs, code and choices."""
        latest = Releases(self.data).latest()
        return latest is not None and latest.input_digest == self.input_digest()

    @cached_property
    def code_digest(self) -> str:
        """Digest of everything of ours that decides what is published."""
        return digest_of_tree(ROOT / room for room in PUBLISHING)

    @cached_property
    def parser_digest(self) -> str:
        return digest_of_tree([ROOT / "sources"])

    def note_failures(self, step: str, source_id: str, asked: Iterable[str], failed: Mapping[str, str]) -> None:
        """Keeps which of the editions just asked failed at a step of FAILURES (edition -> message), for the release and
        for whoever looks later; an edition asked that did not fail is forgotten."""
        path = self.stage("failures", step, f"{source_id}.json")
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        gone = set(asked)
        now = {e: told for e, told in before.items() if e not in gone} | dict(failed)
        if now:
            replace_bytes(path, json.dumps(now, ensure_ascii=False).encode())
        else:
            path.unlink(missing_ok=True)

    def failures(self, source: Source) -> dict[str, tuple[str, str]]:
        """edition -> (step of FAILURES, message), of the asked editions whose newest body is not what is used."""
        found: dict[str, tuple[str, str]] = {}
        asked = {e.edition for e in self.editions(source)}
        for step in FAILURES:
            path = self.stage("failures", step, f"{source.source_id}.json")
            told: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            found |= {edition: (step, message) for edition, message in told.items() if edition in asked}
        return found

    def stale_editions(self) -> dict[tuple[str, str], str]:
        """(source, edition) -> why (French), of the editions kept from an earlier run because the last one could not
        receive or read them."""
        return {
            (source.source_id, e.edition): FAILURES[failed[e.edition][0]]
            for source in self.sources.values()
            if (failed := self.failures(source))
            for e in self.present(source)
            if e.edition in failed
        }

    def input_digest(self) -> str:
        """Digest of what the release is made of: raw bytes of each edition read, which are stale, code, choices. Of a
        deposit, its name: this digest is published, and whoever knows all of a file but a few figures would try them
        until it agrees."""
        inputs = [
            [s.source_id, e.edition, e.url if isinstance(s, Deposited) else self.raw_sha256(s, e)]
            for s in self.sources.values()
            for e in self.present(s)
        ]
        own = [[p.slug, p.name, p.current.cog_year, p.current.members] for p in self.perimeters]
        deposits = [[n, c.digest] for n, c in self.contracts.items() if self.sources[c.source_id].editions]
        choices = [self.settings.cog, self.settings.years, own, deposits]
        stale = [[*key, why] for key, why in self.stale_editions().items()]
        return digest(json.dumps([inputs, choices, self.code_digest, *([stale] if stale else [])]))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def digest_of_tree(places: Iterable[Path]) -> str:
    """Digest of files, and of the Python, YAML, SQL and TSV files below folders, by relative path and content."""
    total = hashlib.sha256()
    for place in places:
        below = sorted(p for p in place.rglob("*") if p.suffix in {".py", ".yaml", ".sql", ".tsv"})
        for path in [place] if place.is_file() else below:
            total.update(str(path.relative_to(place.parent)).encode())
            total.update(path.read_bytes())
    return total.hexdigest()


def replace_bytes(target: Path, data: bytes) -> None:
    """Writes a small file so that a reader sees the old content or the new, never a part."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, target)


def replace_frame(target: Path, frame: pl.DataFrame) -> None:
    """Writes a small table as Parquet, as replace_bytes does."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    replace_bytes(target, buffer.getvalue())


def refresh(target: Path, fingerprint: str, make: Callable[[], pl.DataFrame], **told: str) -> bool:
    """Writes `make()` as Parquet at `target` unless it is there with the same fingerprint; `told` is kept with it.

    Returns True when it was written. The fingerprint is kept in the file's own metadata, so that the file and
    what it was made of cannot disagree, whatever moment the process is killed at.
    """
    if target.exists() and pl.read_parquet_metadata(target).get("fingerprint") == fingerprint:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    make().write_parquet(temporary, compression="lz4", metadata={"fingerprint": fingerprint} | told)
    os.replace(temporary, target)
    return True


def unreadable(folder: Path) -> list[Path]:
    """The Parquet files below a folder that were cut or overwritten: what opens them, at their end, is gone."""
    found: list[Path] = []
    for path in sorted(folder.rglob("*.parquet")):
        try:
            pl.read_parquet_metadata(path)
        except (pl.exceptions.PolarsError, OSError):
            found.append(path)
    return found


def in_pairs(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`work` on each item, two at once, results in order: the steps that keep one core busy then use both."""
    with ThreadPoolExecutor(2) as workers:
        yield from workers.map(work, items)


def fingerprint_of(path: Path) -> str:
    """The fingerprint that `refresh` wrote in a file."""
    return pl.read_parquet_metadata(path)["fingerprint"]


def sweep(folder: Path) -> list[Path]:
    """Removes the temporary files that a killed run left under `folder`; returns them."""
    left = [p for p in folder.rglob(".*.tmp") if p.is_file()]
    for path in left:
        path.unlink()
    return left
