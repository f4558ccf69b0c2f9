"""Releases: a candidate folder, its publication, going back, and putting things right after a killed run.

What a reader sees is always whole: `latest` names a complete release and `vigie.duckdb` is a complete file,
whatever moment the process dies at. What a table holds is `models.py`'s matter, what a row says the caller's.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import TypeAdapter

from warehouse.changes import Changes, FirstSeen, compare
from warehouse.duckdb_file import begin_database, finish_database, published_in
from warehouse.models import TABLES, nomenclature_frame
from warehouse.package import SUMS, verify_sums, write_package, write_sums
from warehouse.parquet import TableWriter

DATABASE = "vigie.duckdb"
PUBLIC, PARTNER = "public", "partner"
EDITIONS = {PUBLIC: DATABASE, PARTNER: "vigie-partner.duckdb"}  # edition: its DuckDB file
PRIVATE = 0o700
MODES = {PUBLIC: (0o755, 0o644), PARTNER: (0o750, 0o640)}  # of its folders and of its files
RELEASE_NAME = re.compile(r"r(\d{4,})-[0-9a-f]{12}")
MOVEMENTS = "MOUVEMENTS.md"  # the page of the largest movements
CANDIDATE = ".candidate-"
STATE = ".state.json"  # ends the name of the file that says how far a candidate is
BUILD = ".build-"
POINTER_DRAFT = ".latest-"
INTENT = ".publishing"  # the release being put in place: what `recover` must finish
LOCK = ".lock"

_held: dict[Path, tuple[int, int]] = {}  # locked folders of this process: descriptor, depth


class ReleaseError(Exception):
    """A release cannot be built, published or found. The message (French) says what to do."""


@dataclass(frozen=True)
class Release:
    """A complete release on disk. Counts are rows of `observation`."""

    release_id: str
    folder: Path
    published: bool  # the one `latest` names
    created_at: datetime  # UTC, without time zone
    previous_id: str | None
    git_commit: str | None
    input_digest: str
    rows: int
    indicators: int
    added: int
    changed: int
    removed: int
    notice: str | None

    @property
    def public(self) -> Path:
        """The tables of the public edition."""
        return self.folder / PUBLIC

    @property
    def editions(self) -> list[str]:
        """The editions it has: the partners' one only where it holds something that the public one does not."""
        return editions_in(self.folder)

    def path(self, table: str) -> Path:
        """The Parquet file of a table of the public edition."""
        return self.public / f"{table}.parquet"


@dataclass(frozen=True)
class State:
    """How far a candidate is, on disk beside its folder: whatever process comes next can go on with it."""

    release_id: str
    previous_id: str | None
    input_digest: str
    git_commit: str | None
    notice: str | None
    editions: tuple[str, ...]  # whose tables are written, but those that the publication writes
    stale: tuple[str, ...] = ()  # declared exceptions that no longer occur: the checks tell them
    told: str = ""  # digest of what it would add to the private register of what releases told
    why: str | None = None  # it is complete and waits for a decision: the reason (French)
    refused: tuple[str, ...] | None = None  # critical checks that failed; None before the checks


_STATE = TypeAdapter(State)


class Candidate:
    """An edition of a release being built in its own hidden folder; nobody reads it until it is published."""

    def __init__(
        self,
        folder: Path,
        previous: Release | None,
        input_digest: str,
        git_commit: str | None,
        notice: str | None,
        edition: str = PUBLIC,
    ) -> None:
        self.release_id = folder.name.removeprefix(CANDIDATE)
        self.folder = folder
        self.edition = edition
        self.tables = folder / edition
        self.previous = previous
        self.input_digest = input_digest
        self.git_commit = git_commit
        self.notice = notice
        self.database = folder / "database" / EDITIONS[edition]
        self.created_at: datetime | None = None  # said when a past release is made again
        self._loading: Future[None] | None = None

    def begin(self) -> Candidate:
        """Makes its folder."""
        self.folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)  # until it is put in place
        self.tables.mkdir()
        self.write("nomenclature", nomenclature_frame())
        return self

    def beside(self, edition: str) -> Candidate:
        """Another edition of the same release, begun."""
        return self.edition_of(edition).begin()

    def edition_of(self, edition: str) -> Candidate:
        """Another edition of the same release, as it is on disk."""
        return Candidate(self.folder, self.previous, self.input_digest, self.git_commit, self.notice, edition)

    def state(self, editions: Iterable[str]) -> State:
        """What to keep of it, its tables being written for these editions."""
        before = self.previous.release_id if self.previous else None
        return State(self.release_id, before, self.input_digest, self.git_commit, self.notice, tuple(editions))

    @property
    def before(self) -> Path | None:
        """The tables of this edition in the published release; None where it had none."""
        if self.previous is None or self.edition not in self.previous.editions:
            return None
        return self.previous.folder / self.edition

    def path(self, table: str) -> Path:
        """The Parquet file of a table, there once it is completely written."""
        return self.tables / f"{table}.parquet"

    def writer(self, table: str) -> TableWriter:
        """Streams blocks sorted by the table's key, as a context manager. `release_added` is filled here."""
        fill = None
        if table == "observation":
            before = self.before / f"{table}.parquet" if self.before else None
            fill = FirstSeen(before, self.release_id).fill
        return TableWriter(TABLES[table], self.path(table), fill)

    def write(self, table: str, frame: pl.DataFrame) -> None:
        """Writes a small table whole, in any order. Raises ContractError when it breaks its model."""
        key = [pl.col(k).cast(pl.String) if _is_category(frame, k) else pl.col(k) for k in TABLES[table].key]
        with self.writer(table) as writer:
            writer.write(frame.sort(key))

    def missing(self) -> list[str]:
        """Declared tables not yet written; `release` is written by the publication."""
        return [name for name in TABLES if name != "release" and not self.path(name).exists()]

    @cached_property
    def changes(self) -> Changes:
        """The difference with the published release; also writes CHANGES.md. Asks for its tables."""
        changes = compare(self.before, self.tables, notice=self.notice)
        (self.tables / "CHANGES.md").write_text(changes.markdown(), encoding="utf-8")
        (self.tables / MOVEMENTS).write_text(changes.movements(), encoding="utf-8")
        return changes

    def load(self) -> None:
        """Begins the DuckDB file in a thread, while the tables are checked. Asks for the large tables."""
        worker = ThreadPoolExecutor(1)
        self._loading = worker.submit(begin_database, self.tables, self.database)
        worker.shutdown(wait=False)

    def loaded(self) -> Path:
        """The DuckDB file begun by `load`, which it waits for; begins it now otherwise."""
        if self._loading is None:
            begin_database(self.tables, self.database)
        else:
            self._loading.result()
        return self.database

    def seal(self) -> None:
        """Completes the folder (release table, CSV, dictionary, licence, sums) and syncs it to disk."""
        missing = self.missing()
        if missing:
            raise ReleaseError(
                f"{self.release_id} : attendu toutes les tables déclarées ; trouvé sans {missing}. "
                "À faire : écrire ces tables (une table vide s'écrit aussi) avant de publier."
            )
        self.write("release", self._history())
        write_package(self.tables, self.release_id, self.notice)
        write_sums(self.tables)
        folder_mode, file_mode = MODES[self.edition]
        for path in [self.tables, *self.tables.rglob("*")]:
            path.chmod(folder_mode if path.is_dir() else file_mode)
        sync_tree(self.tables)

    def _history(self) -> pl.DataFrame:
        """The previous release's history and one more row."""
        observation = pl.scan_parquet(self.path("observation"))
        counts = observation.select(rows=pl.len(), indicators=pl.col("indicator_id").n_unique()).collect().row(0)
        own: dict[str, Any] = {
            "release_id": self.release_id,
            "created_at": self.created_at or datetime.now(UTC).replace(tzinfo=None),
            "previous_id": self.previous.release_id if self.previous else None,
            "git_commit": self.git_commit,
            "input_digest": self.input_digest,
            "rows": counts[0],
            "indicators": counts[1],
            **{name: self.changes.total(name) for name in ("added", "changed", "removed")},
            "notice": self.notice,
        }
        row = pl.DataFrame([own], schema=TABLES["release"].schema())
        if self.before is None:
            return row
        return pl.concat([pl.read_parquet(self.before / "release.parquet"), row], how="diagonal")


class Releases:
    """The releases of one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.root = data / "releases"
        self.database = data / DATABASE
        self._pointer = self.root / "latest"
        self._intent = self.root / INTENT

    def latest(self) -> Release | None:
        """The published release; None before the first."""
        name = self._pointed()
        return self._read(name) if name else None

    def list(self) -> list[Release]:
        """Every complete release, oldest first."""
        return [self._read(name) for name in self._complete()]

    def get(self, release_id: str) -> Release:
        """One release. Raises ReleaseError naming the known ones."""
        if release_id not in self._complete():
            raise ReleaseError(
                f"attendu une publication de {self.root} ; trouvé {release_id!r}. À faire : choisir parmi "
                f"{self._complete()} (vigie release list)."
            )
        return self._read(release_id)

    def pending(self) -> Path | None:
        """The public folder of a candidate that was built and not published, for whoever wants to look."""
        left = sorted(self.root.glob(f"{CANDIDATE}*/public"), key=lambda p: p.stat().st_mtime_ns)
        return left[-1] if left else None

    def diff(self, before: str, after: str) -> Changes:
        """The difference between two releases. Raises ReleaseError for an unknown one."""
        old, new = self.get(before), self.get(after)
        return compare(old.public, new.public, notice=new.notice)

    def candidate(self, input_digest: str, *, git_commit: str | None = None, notice: str | None = None) -> Candidate:
        """Opens a candidate on top of the published release.

        input_digest: hexadecimal digest of what the release is made of; its first 12 digits and the number of
        the release in this folder make the identifier. notice: what every output must say (fictional data).
        """
        number = max((_number(name) for name in self._complete()), default=0) + 1
        release_id = f"r{number:04d}-{input_digest[:12]}"
        if not RELEASE_NAME.fullmatch(release_id):
            raise ReleaseError(
                f"attendu une empreinte d'au moins 12 chiffres hexadécimaux ; trouvé {input_digest!r}. "
                "À faire : donner l'empreinte SHA-256 des données d'entrée."
            )
        self._drop(release_id)
        folder = self.root / f"{CANDIDATE}{release_id}"
        return Candidate(folder, self.latest(), input_digest, git_commit, notice).begin()

    def keep(self, state: State) -> None:
        """Writes how far a candidate is, whole or not at all."""
        path = self.root / f"{CANDIDATE}{state.release_id}{STATE}"
        draft = path.with_name(path.name + ".part")
        draft.touch(mode=0o600)  # what it would tell is private
        draft.write_bytes(_STATE.dump_json(state))
        _sync(draft)
        os.replace(draft, path)
        _sync(self.root)

    def states(self) -> list[State]:
        """How far each candidate on disk is, those whose tables are written; the newest last."""
        files = sorted(self.root.glob(f"{CANDIDATE}*{STATE}"), key=lambda p: p.stat().st_mtime_ns)
        found = [_STATE.validate_json(path.read_bytes()) for path in files]
        return [s for s in found if (self.root / f"{CANDIDATE}{s.release_id}").is_dir()]

    def reopened(self, state: State) -> list[Candidate]:
        """The editions of a candidate as they are on disk, the public one first."""
        previous = self.get(state.previous_id) if state.previous_id else None
        folder = self.root / f"{CANDIDATE}{state.release_id}"
        public = Candidate(folder, previous, state.input_digest, state.git_commit, state.notice)
        return [public.edition_of(edition) for edition in state.editions]

    def publish(self, *candidates: Candidate) -> Release:
        """Puts the editions of a release in place: folder, pointer, DuckDB files. Its checks are the caller's matter.

        Raises ReleaseError when a declared table is missing or another release was published meanwhile. On
        any failure the published release stays; `recover` removes or finishes what was begun.
        """
        first = candidates[0]
        with self.exclusive():
            self._still_next(first.release_id, first.previous.release_id if first.previous else None)
            built: dict[str, Path] = {}
            for candidate in candidates:
                begun = candidate.loaded()
                candidate.seal()
                built[candidate.edition] = self._build(first.release_id, candidate.tables, first.notice, begun)
            shutil.rmtree(first.folder / "database")
            sync_tree(first.folder)
            self._put_in_place(first.release_id, built, first.folder)
            self._drop_others()
        return self._read(first.release_id)

    def hold(self, state: State, *candidates: Candidate) -> None:
        """Completes a candidate, which then waits for `approve`, and drops the one that waited.

        state.why: the reason. Raises ReleaseError as `publish` does.
        """
        with self.exclusive():
            self._still_next(state.release_id, state.previous_id)
            for candidate in candidates:
                candidate.loaded()  # being written in a thread: it must be over before it goes
                candidate.seal()
            shutil.rmtree(candidates[0].folder / "database")
            self.keep(state)
            self._drop_others(state.release_id)

    def waiting(self, release_id: str) -> State:
        """A candidate that may be published: complete, checked, unaltered, on top of the release in force.

        Raises ReleaseError saying why it may not.
        """
        states = {s.release_id: s for s in self.states()}
        state = states.get(release_id)
        if state is None:
            raise ReleaseError(
                f"attendu une candidate de {self.root} ; trouvé {release_id!r}. À faire : choisir parmi "
                f"{sorted(states)} (vigie release candidates), ou lancer « vigie run »."
            )
        if state.refused:
            failed = " ; ".join(state.refused)
            raise ReleaseError(
                f"{release_id} : attendu des contrôles critiques réussis ; trouvé en échec : {failed}. "
                "À faire : corriger la cause (docs/guide-analyste.md, « Un contrôle en échec »), puis relancer."
            )
        if state.why is None:
            raise ReleaseError(
                f"{release_id} : attendu une candidate complète et contrôlée ; trouvé une exécution qui ne s'est pas "
                "achevée. À faire : la reprendre (« Re-execute from failure ») ou relancer « vigie run »."
            )
        self._still_next(release_id, state.previous_id)
        folder = self.root / f"{CANDIDATE}{release_id}"
        problems = [problem for edition in state.editions for problem in verify_sums(folder / edition)]
        if problems:
            raise ReleaseError(
                f"{release_id} : attendu les fichiers contrôlés ; trouvé {problems[:5]}. À faire : la rejeter "
                "(vigie release reject) et relancer « vigie run »."
            )
        return state

    def approve(self, release_id: str) -> Release:
        """Publishes a candidate that waits. Raises ReleaseError as `waiting` does."""
        with self.exclusive():
            state = self.waiting(release_id)
            folder = self.root / f"{CANDIDATE}{release_id}"
            built = {e: self._build(release_id, folder / e, state.notice) for e in state.editions}
            self._put_in_place(release_id, built, folder)
            self._drop_others()
        return self._read(release_id)

    def reject(self, release_id: str) -> None:
        """Drops a candidate. Raises ReleaseError when there is none of that name."""
        with self.exclusive():
            known = [s.release_id for s in self.states()]
            if release_id not in known:
                raise ReleaseError(
                    f"attendu une candidate de {self.root} ; trouvé {release_id!r}. À faire : choisir parmi "
                    f"{known} (vigie release candidates)."
                )
            self._drop(release_id)

    def _still_next(self, release_id: str, previous_id: str | None) -> None:
        """Raises ReleaseError when the release in force is not the one that a candidate was compared with."""
        if previous_id != self._pointed():
            raise ReleaseError(
                f"{release_id} : attendu {previous_id} comme publication en vigueur ; trouvé "
                f"{self._pointed()}. À faire : relancer, une autre publication a eu lieu entre-temps."
            )

    def _drop(self, release_id: str) -> None:
        """Removes a candidate: first what makes it one."""
        (self.root / f"{CANDIDATE}{release_id}{STATE}").unlink(missing_ok=True)
        shutil.rmtree(self.root / f"{CANDIDATE}{release_id}", ignore_errors=True)

    def _drop_others(self, kept: str | None = None) -> None:
        """Removes every candidate but one: a single one waits."""
        for path in self.root.glob(f"{CANDIDATE}*"):
            if (release_id := path.name.removeprefix(CANDIDATE).removesuffix(STATE)) != kept:
                self._drop(release_id)

    def rollback(self, release_id: str) -> Release:
        """Publishes an older release again. Raises ReleaseError when it is unknown or altered."""
        with self.exclusive():
            target = self.get(release_id)
            problems = [problem for edition in target.editions for problem in verify_sums(target.folder / edition)]
            if problems:
                raise ReleaseError(
                    f"{release_id} : attendu les fichiers publiés ; trouvé {problems[:5]}. À faire : choisir "
                    "une autre publication (vigie release list) ou restaurer ces fichiers d'une sauvegarde."
                )
            target.folder.chmod(MODES[PUBLIC][0])  # it may have been put there by hand
            if not target.published or self._disagreeing(target):
                self._put_in_place(release_id, self._built(target, target.editions))
        return self.get(release_id)

    def remove(self, release_id: str) -> None:
        """Removes an old release; killed meanwhile, `recover` finishes. Raises ReleaseError for the one in force."""
        with self.exclusive():
            folder = self.get(release_id).folder
            if self._intent.exists() or release_id == self._pointed():
                raise ReleaseError(
                    f"{release_id} : attendu une publication qui n'est plus en vigueur ; trouvé celle qui l'est, ou "
                    "une publication interrompue. À faire : lancer « vigie run », qui la mène à terme."
                )
            left = self.data / f"{BUILD}{release_id}"
            os.rename(folder, left)  # from now on it is no release
            shutil.rmtree(left)

    def recover(self) -> list[str]:
        """Puts right what a killed or failed run left, and says what was done (French). Call it before a run.

        Removes candidates and temporary files, finishes a publication that was being put in place, and makes
        the pointer and the DuckDB file agree.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with self.exclusive():
            done = self._sweep()
            begun = self._intent.read_text(encoding="utf-8").strip() if self._intent.exists() else None
            complete = self._complete()
            pointed = self._pointed()
            target = begun if begun in complete else pointed or (complete[-1] if complete else None)
            if target is not None and target != pointed:
                self._point(target)
                done.append(f"{target} : publication interrompue, menée à terme")
            if target is not None:
                release = self._read(target)
                wrong = self._disagreeing(release)
                self._swap_databases(self._built(release, [e for e in wrong if e in release.editions]), target)
                done += [f"{EDITIONS[edition]} reconstruit depuis {target}" for edition in wrong]
            self._intent.unlink(missing_ok=True)
            return done

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        """One process at a time builds and publishes in a data folder; nests inside one process.

        Raises ReleaseError when another process is at work. The lock dies with its process.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        key = self.root.resolve()
        descriptor, depth = _held.get(key, (-1, 0))
        if depth == 0:
            descriptor = os.open(key / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                raise ReleaseError(
                    f"{self.data} : attendu une seule exécution à la fois ; trouvé une autre en cours. "
                    "À faire : attendre sa fin, ou choisir un autre dossier (VIGIE_DATA)."
                ) from error
        _held[key] = (descriptor, depth + 1)
        try:
            yield
        finally:
            if depth:
                _held[key] = (descriptor, depth)
            else:
                del _held[key]
                os.close(descriptor)

    def _disagreeing(self, release: Release) -> list[str]:
        """Editions whose DuckDB file is not that of the release: another one's, unreadable, missing, or in excess."""
        return [
            edition
            for edition, name in EDITIONS.items()
            if published_in(self.data / name) != (release.release_id if edition in release.editions else None)
        ]

    def _built(self, release: Release, editions: Iterable[str]) -> dict[str, Path]:
        """The DuckDB files of some editions of a release, in a folder of their own."""
        return {e: self._build(release.release_id, release.folder / e, release.notice) for e in editions}

    def _complete(self) -> list[str]:
        """Names of the release folders, by number. A folder gets its name once it is complete."""
        found = [p.parent.parent.name for p in self.root.glob(f"*/public/{SUMS}")]
        return sorted((n for n in found if RELEASE_NAME.fullmatch(n)), key=_number)

    def _pointed(self) -> str | None:
        if not self._pointer.is_symlink():
            return None
        name = os.readlink(self._pointer)
        return name if name in self._complete() else None

    def _read(self, release_id: str) -> Release:
        folder = self.root / release_id
        table = folder / PUBLIC / "release.parquet"
        try:
            row = pl.read_parquet(table).row(by_predicate=pl.col("release_id") == release_id, named=True)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise ReleaseError(
                f"{table} : attendu la table de la publication {release_id} ; trouvé « {error} ». À faire : "
                f"restaurer ce fichier d'une sauvegarde, ou déplacer {folder} hors de {self.root} ; vigie restore "
                f"{release_id} la refait."
            ) from error
        # a column that an older version did not have reads as empty
        known: dict[str, Any] = {name: row.get(name) for name in TABLES["release"].names}
        return Release(folder=folder, published=release_id == self._pointed(), **known)

    def _build(self, release_id: str, tables: Path, notice: str | None, begun: Path | None = None) -> Path:
        """The DuckDB file of an edition, in a folder of its own; `begun` is one that has its large tables."""
        built = self.data / f"{BUILD}{release_id}" / EDITIONS[tables.name]
        if begun is None:
            begin_database(tables, built)
        else:
            built.parent.mkdir(parents=True, exist_ok=True)
            os.replace(begun, built)
        finish_database(tables, built, notice=notice)
        built.chmod(MODES[tables.name][1])
        return built

    def _put_in_place(self, release_id: str, built: dict[str, Path], candidate: Path | None = None) -> None:
        """The only steps a reader can see, each atomic; `recover` finishes after a kill between two."""
        draft = self._intent.with_name(INTENT + ".part")
        draft.write_text(release_id + "\n", encoding="utf-8")
        _sync(draft)
        os.replace(draft, self._intent)
        if candidate is not None:
            candidate.chmod(MODES[PUBLIC][0])
            os.rename(candidate, self.root / release_id)
        _sync(self.root)
        self._point(release_id)
        self._swap_databases(built, release_id)
        self._intent.unlink()

    def _point(self, release_id: str) -> None:
        draft = self.root / f"{POINTER_DRAFT}{release_id}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(release_id, target_is_directory=True)
        os.replace(draft, self._pointer)
        _sync(self.root)

    def _swap_databases(self, built: dict[str, Path], release_id: str) -> None:
        """Puts new DuckDB files in place of the published ones, and takes away that of an edition it does not have."""
        held = editions_in(self.root / release_id)
        for edition, name in EDITIONS.items():
            published = self.data / name
            if edition in built or edition not in held:
                # the log of someone who wrote into the published file would be replayed onto the new one
                published.with_name(name + ".wal").unlink(missing_ok=True)
            if edition in built:
                os.replace(built[edition], published)
            elif edition not in held:
                published.unlink(missing_ok=True)
        _sync(self.data)
        shutil.rmtree(self.data / f"{BUILD}{release_id}", ignore_errors=True)

    def _sweep(self) -> list[str]:
        """Removes what no release owns; a candidate that waits for a decision stays."""
        done: list[str] = []
        kept = {f"{CANDIDATE}{s.release_id}" for s in self.states() if s.why is not None}
        for path in [*self.root.glob(f"{CANDIDATE}*"), *self.data.glob(f"{BUILD}*")]:
            if path.name.removesuffix(STATE) in kept:
                continue
            if path.is_file():
                path.unlink()
                continue
            shutil.rmtree(path)
            done.append(f"{path.name} : reste d'une exécution interrompue, supprimé")
        for draft in [*self.root.glob(f"{POINTER_DRAFT}*"), *self.root.glob(f"{INTENT}.part")]:
            draft.unlink()
        return done


def editions_in(folder: Path) -> list[str]:
    """The editions that a release's folder holds."""
    return [edition for edition in EDITIONS if (folder / edition / SUMS).exists()]


def sync_tree(folder: Path) -> None:
    """Every file and folder below `folder` is on the disk when this returns."""
    for path in [folder, *folder.rglob("*")]:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _number(release_id: str) -> int:
    found = RELEASE_NAME.fullmatch(release_id)
    return int(found.group(1)) if found else 0


def _is_category(frame: pl.DataFrame, column: str) -> bool:
    """Enums sort by declaration and a category by its text: the file is sorted by text."""
    return column in frame.columns and isinstance(frame.schema[column], (pl.Categorical, pl.Enum))
