"""`vigie doctor`: what is right and wrong in an installation and its data folder, and what to do (French).

Reads only; with `repair`, mends what can be made again from something sound: the DuckDB files, intermediate files,
altered downloads, Dagster's databases, and what a killed run left.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import duckdb
import polars as pl
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console
from rich.markup import escape

from pipelines.alerts import CHANNELS
from pipelines.settings import Settings
from pipelines.stages.acquisition import client
from pipelines.workspace import ROOT, Workspace, WorkspaceError
from sources.errors import AcquisitionError
from sources.raw_store import ALTERED, TEMPORARY, RawStoreError
from warehouse.duckdb_file import engine, published_in
from warehouse.models import TABLES, quoted
from warehouse.package import verify_sums
from warehouse.release import BUILD, CANDIDATE, EDITIONS, MODES, PARTNER, Release, Releases

Level = Literal["bon", "à voir", "à corriger"]
COLOURS: dict[Level, str] = {"bon": "green", "à voir": "yellow", "à corriger": "red"}
SOUND, WRONG = 0, 1
ROOM = 3  # times the size of what is published: a candidate, its DuckDB file, and some room
LEAST_ROOM = 1024**3  # bytes
DRIFT = timedelta(minutes=5)  # between this clock and that of a site
POSTGRES = tuple(f"VIGIE_POSTGRES_{name}" for name in ("HOST", "PORT", "DB", "USER", "PASSWORD"))  # of dagster.yaml
PRIVATE_FOLDERS = ("stage", "told", "deposits", "recipes")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` makes it right from something sound, and says what it did (French)."""

    what: str
    level: Level
    told: str
    action: str = ""
    mend: Callable[[], str] | None = None


def examine(workspace: Workspace, *, network: bool) -> Iterator[Finding]:
    """Everything that can be wrong, one finding or more a part. Reads every file once: seconds a gigabyte."""
    parts: dict[str, Callable[[Workspace], Iterable[Finding]]] = {
        "Python": _python, "Paquets": _packages, "Réglages": _settings, "Dossier": _folder, "Droits": _modes,
        "Disque": _room, "Horloge": _clock, "Verrou": _lock, "Restes": _leftovers, "Déclarations": _declared,
        "Magasin brut": _raw, "Fichiers intermédiaires": _intermediate, "Publications": _releases,
        "Fichiers DuckDB": _databases, "Historique Dagster": _history,
    }  # fmt: skip
    for what, part in (parts | ({"Producteurs": _network} if network else {})).items():
        try:
            yield from part(workspace)
        except Exception as error:  # what prevents one part from being looked at is a finding; the others are looked at
            told = f"n'a pas pu être examiné ({type(error).__name__} : {error})"
            yield Finding(what, "à corriger", told, "corriger ce que disent les autres points, puis recommencer")


def run_doctor(workspace: Workspace, out: Console, *, repair: bool, network: bool) -> int:
    """Prints what `examine` finds; 1 when something is left to mend. `repair` waits for no run: it takes the folder."""
    if repair:
        workspace.lock()
    wrong = 0
    for finding in examine(workspace, network=network):
        level, told, action = finding.level, finding.told, finding.action
        if repair and finding.mend is not None:
            level, told, action = "bon", f"{told} ; réparé : {finding.mend()}", ""
        wrong += level == "à corriger"
        todo = f"\n{'':12}À faire : {escape(action)}" if action else ""
        out.print(f"[{COLOURS[level]}]{level:<11}[/] {finding.what} : {escape(told)}{todo}", highlight=False)
    out.print(f"{wrong} point(s) à corriger." if wrong else "Rien à corriger.", highlight=False)
    return WRONG if wrong else SOUND


# --- the machine


def _python(_: Workspace) -> Iterator[Finding]:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    found = ".".join(map(str, sys.version_info[:3]))
    if SpecifierSet(asked).contains(found):
        yield Finding("Python", "bon", found)
    else:
        yield Finding("Python", "à corriger", f"attendu {asked} ; trouvé {found}", "make clean && make setup PYTHON=…")


def _packages(_: Workspace) -> Iterator[Finding]:
    """What is installed against requirements.lock."""
    wrong: list[str] = []
    count = 0
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        try:
            locked = Requirement(line.removesuffix("\\").strip())
        except InvalidRequirement:
            continue  # a hash, a comment
        if locked.marker is not None and not locked.marker.evaluate():
            continue
        count += 1
        try:
            found = version(locked.name)
        except PackageNotFoundError:
            found = "rien"
        if not locked.specifier.contains(found if found != "rien" else "0", prereleases=True):
            wrong.append(f"{locked.name} : attendu {locked.specifier}, trouvé {found}")
    if wrong:
        yield Finding("Paquets", "à corriger", " ; ".join(wrong[:10]), "make clean && make setup")
    else:
        yield Finding("Paquets", "bon", f"{count} paquets aux versions de requirements.lock")


def _settings(workspace: Workspace) -> Iterator[Finding]:
    known = {f"VIGIE_{name.upper()}" for name in Settings.model_fields} | {"VIGIE_DAGSTER", CHANNELS, *POSTGRES}
    unknown = sorted(name for name in os.environ if name.startswith("VIGIE_") and name not in known)
    if unknown:
        told = f"variables que Vigie ne connaît pas : {', '.join(unknown)}"
        yield Finding("Réglages", "à voir", told, "corriger leur nom ; les réglages sont dans README.md")
    settings = workspace.settings
    if settings.profile == "mirror" and not settings.mirror:
        yield Finding("Réglages", "à corriger", "profil mirror sans adresse", "donner VIGIE_MIRROR")
    marker = workspace.data / "PROFILE"
    held = marker.read_text(encoding="utf-8").strip() if marker.exists() else None
    if held and (held == "demo") != (settings.profile == "demo"):
        told = f"le dossier est du genre « {held} », le profil est {settings.profile}"
        yield Finding("Réglages", "à corriger", told, "choisir l'autre profil (--profile), ou un autre dossier")
    else:
        yield Finding("Réglages", "bon", f"profil {settings.profile}, dossier {workspace.data}")


def _folder(workspace: Workspace) -> Iterator[Finding]:
    folder = workspace.data
    if not folder.is_dir():
        yield Finding("Dossier", "à voir", f"{folder} n'existe pas encore", "lancer « vigie run »")
        return
    closed = [p for p in [folder, *(c for c in folder.iterdir() if c.is_dir())] if not os.access(p, os.W_OK | os.X_OK)]
    if closed:
        told = f"sans droit d'écriture : {', '.join(map(str, closed))}"
        yield Finding("Dossier", "à corriger", told, "chown -R de ces dossiers à qui lance Vigie")
    else:
        yield Finding("Dossier", "bon", f"{folder} accessible en écriture")


def _modes(workspace: Workspace) -> Iterator[Finding]:
    """Who may read what is private: what is not for everybody, and what is for partners alone."""
    folders, files = MODES[PARTNER]
    asked = {workspace.data / name: 0o700 for name in PRIVATE_FOLDERS}
    asked[workspace.data / EDITIONS[PARTNER]] = files
    for tables in workspace.data.glob(f"releases/*/{PARTNER}"):
        asked |= {p: folders if p.is_dir() else files for p in [tables, *tables.rglob("*")]}
    open_ = {p: mode for p, mode in asked.items() if p.exists() and p.stat().st_mode & 0o777 & ~mode}

    def mend() -> str:
        for path, mode in open_.items():
            path.chmod(mode)
        return f"{len(open_)} droit(s) resserré(s)"

    if open_:
        told = "trop ouverts : " + ", ".join(f"{p.relative_to(workspace.data)} ({m:04o})" for p, m in open_.items())
        yield Finding("Droits", "à corriger", told[:500], "vigie doctor --repair, ou chmod", mend)
    else:
        yield Finding("Droits", "bon", "rien de privé n'est lisible par d'autres")


def _room(workspace: Workspace) -> Iterator[Finding]:
    latest = Releases(workspace.data).latest()
    files = [*latest.folder.rglob("*"), *workspace.data.glob("*.duckdb")] if latest else []
    needed = max(LEAST_ROOM, ROOM * sum(p.stat().st_size for p in files if p.is_file()))
    there = next(p for p in [workspace.data, *workspace.data.parents] if p.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / 1024**3:.1f} Gio libres ; une exécution en demande {needed / 1024**3:.1f}"
    if free < needed:
        action = "libérer de la place : docs/exploitation.md, « Disque plein »"
        yield Finding("Disque", "à corriger", told, action)
    else:
        yield Finding("Disque", "bon", told)


def _clock(workspace: Workspace) -> Iterator[Finding]:
    now, late = datetime.now(UTC), behind(workspace)
    if late:
        yield Finding("Horloge", "à corriger", late, "remettre la machine à l'heure (timedatectl set-ntp true)")
    try:
        ZoneInfo("Europe/Paris")
    except ZoneInfoNotFoundError:
        yield Finding("Horloge", "à corriger", "fuseau Europe/Paris inconnu", "installer le paquet tzdata")
    if not late:
        yield Finding("Horloge", "bon", f"{now:%Y-%m-%d %H:%M} UTC, après tout ce que le dossier a noté")


def behind(workspace: Workspace) -> str | None:
    """What to say of a clock that is before something that the folder has already dated; None when it is not."""
    dates: list[datetime] = [r.created_at.replace(tzinfo=UTC) for r in Releases(workspace.data).list()]
    dates += workspace.store.history()["retrieved_at"].to_list()
    newest = max(dates, default=None)
    now = datetime.now(UTC)
    if newest is None or newest <= now + DRIFT:
        return None
    return f"il serait {now:%Y-%m-%d %H:%M} UTC, mais le dossier a déjà noté le {newest:%Y-%m-%d %H:%M} UTC"


# --- the data folder


def _lock(workspace: Workspace) -> Iterator[Finding]:
    if not workspace.data.is_dir():
        return
    ours = workspace.locked
    try:
        workspace.lock()
    except WorkspaceError as error:
        yield Finding("Verrou", "à voir", str(error), "une exécution est en cours : ce qui suit peut bouger")
        return
    if not ours:
        workspace.unlock()  # a run that starts meanwhile must not be refused
    yield Finding("Verrou", "bon", "personne d'autre ne tient le dossier")


def _leftovers(workspace: Workspace) -> Iterator[Finding]:
    """What a killed run left; the next one sweeps it, and so does `--repair`."""
    from pipelines.stages.publication import put_right

    patterns = (f"releases/{CANDIDATE}*", f"{BUILD}*", "core/**/.*.tmp", "stage/**/.*.tmp", f"raw/**/{TEMPORARY}*")
    waiting = {f"{CANDIDATE}{s}" for s in _waiting(workspace)}
    left = [p for pattern in patterns for p in workspace.data.glob(pattern)]
    left = [p for p in left if not any(p.name.startswith(kept) for kept in waiting)]
    if left:
        told = ", ".join(str(p.relative_to(workspace.data)) for p in left[:5])
        action = "rien : la prochaine exécution les enlève (ou vigie doctor --repair)"
        yield Finding("Restes", "à voir", told, action, lambda: " ; ".join(put_right(workspace)) or "rien")
    else:
        yield Finding("Restes", "bon", "aucun reste d'une exécution interrompue")


def _waiting(workspace: Workspace) -> list[str]:
    """The candidates kept for a decision."""
    return [s.release_id for s in Releases(workspace.data).states() if s.why is not None]


def _declared(workspace: Workspace) -> Iterator[Finding]:
    """The files that people write: contracts, perimeters, and the register of deposits."""
    try:
        told = f"{len(workspace.sources)} sources, {len(workspace.contracts)} contrats, "
        yield Finding("Déclarations", "bon", told + f"{len(workspace.perimeters)} périmètres")
    except WorkspaceError as error:
        yield Finding("Déclarations", "à corriger", str(error), "corriger ce fichier")


def _raw(workspace: Workspace) -> Iterator[Finding]:
    """Every stored body has the hash of its name; of the newest of each edition, the body is there."""
    store = workspace.store
    try:
        history = store.history()
    except RawStoreError as error:
        yield Finding("Magasin brut", "à corriger", str(error), "restaurer raw/index.parquet d'une sauvegarde")
        return
    names = history["sha256"].unique().sort()
    altered = [name for name in names if store.path(name).exists() and not _is_whole(workspace, name)]
    newest = history.unique(["source_id", "edition"], keep="last").filter(~pl.col("url").str.starts_with("deposit:"))
    lost = newest.filter(~pl.col("sha256").map_elements(lambda n: store.path(n).exists(), return_dtype=pl.Boolean))
    for name in altered:
        rows = history.filter(pl.col("sha256") == name)
        told = f"{store.path(name)} altéré ({', '.join(rows['source_id'].unique())})"
        if rows["url"].str.starts_with("deposit:").any():
            yield Finding("Magasin brut", "à corriger", told, "restaurer ce fichier d'une sauvegarde, ou redéposer")
        else:
            action = "vigie doctor --repair, puis vigie run, qui le redemande"
            yield Finding("Magasin brut", "à corriger", told, action, lambda n=name: f"{store.set_aside(n).name}")
    if lost.height:
        told = f"{lost.height} fichier(s) absent(s) : {', '.join(lost['source_id'].unique().sort().head(5))}"
        yield Finding("Magasin brut", "à voir", told, "lancer « vigie run », qui les redemande")
    if not altered and not lost.height:
        kept = len(list(store.bodies.glob(f"*/*{ALTERED}")))
        aside = f", {kept} mis de côté (à supprimer à la main)" if kept else ""
        yield Finding("Magasin brut", "bon", f"{len(names)} fichiers, empreintes vérifiées{aside}")


def _is_whole(workspace: Workspace, name: str) -> bool:
    try:
        workspace.store.read(name, verify=True)
    except RawStoreError:
        return False
    return True


def _intermediate(workspace: Workspace) -> Iterator[Finding]:
    """Core and stage files, read to their end."""
    paths = [p for folder in ("core", "stage") for p in sorted((workspace.data / folder).rglob("*.parquet"))]
    bad = [p for p in paths if not _reads(p)]
    for path in bad:
        told = f"{path.relative_to(workspace.data)} illisible"

        def mend(path: Path = path) -> str:
            path.unlink()
            return "supprimé ; la prochaine exécution le refait"

        yield Finding("Fichiers intermédiaires", "à corriger", told, "vigie doctor --repair, puis vigie run", mend)
    if not bad:
        yield Finding("Fichiers intermédiaires", "bon", f"{len(paths)} fichiers lus en entier")


def _reads(path: Path) -> bool:
    try:
        pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError):
        return False
    return True


def _releases(workspace: Workspace) -> Iterator[Finding]:
    releases = Releases(workspace.data)
    known, latest = releases.list(), releases.latest()
    if latest is None:
        yield Finding("Publications", "à voir", "rien n'est publié", "lancer « vigie run »")
    for release in known:
        for edition in release.editions:
            problems = verify_sums(release.folder / edition)
            if problems:
                action = f"vigie restore {release.release_id}, puis comparer ; ou vigie release rollback d'une autre"
                yield Finding(f"Publication {release.release_id}", "à corriger", " ; ".join(problems[:5]), action)
    if latest is not None:
        yield Finding("Publications", "bon", f"{len(known)}, sommes SHA-256 relues ; en vigueur : {latest.release_id}")


def _databases(workspace: Workspace) -> Iterator[Finding]:
    """The DuckDB files: that of the release, every block read, with as many rows as its Parquet."""
    releases = Releases(workspace.data)
    latest = releases.latest()
    if latest is None:
        return

    def mend(path: Path) -> str:
        path.unlink(missing_ok=True)
        releases.rollback(latest.release_id)  # the same release: its files are built anew
        return f"reconstruit depuis {latest.release_id}"

    for edition in latest.editions:
        path = workspace.data / EDITIONS[edition]
        wrong = database_damage(path, latest, edition)
        if wrong:
            yield Finding(path.name, "à corriger", wrong, "vigie doctor --repair", lambda p=path: mend(p))
        else:
            yield Finding(path.name, "bon", f"{latest.release_id}, lu en entier")


def database_damage(path: Path, release: Release, edition: str) -> str | None:
    """What is wrong with the DuckDB file of an edition; None when it is whole and agrees with the Parquet."""
    held = published_in(path)
    if held != release.release_id:
        return f"attendu {release.release_id} ; trouvé {held or 'un fichier absent ou illisible'}"
    with engine() as connection:
        connection.execute(f"ATTACH {quoted(str(path))} AS published (READ_ONLY)")
        for name in TABLES:
            parquet = release.folder / edition / f"{name}.parquet"
            if not parquet.exists():
                continue
            try:  # reading each value checks the sum of each block
                count = f"SELECT count(*), bit_xor(hash(COLUMNS(*))) FROM published.{name}"
                rows = connection.execute(count).fetchone()
                expected = pl.scan_parquet(parquet).select(pl.len()).collect().item()
            except (duckdb.Error, pl.exceptions.PolarsError) as error:
                return f"table {name} illisible : {str(error).splitlines()[0]}"
            if rows is None or rows[0] != expected:
                return f"table {name} : attendu {expected} lignes ; trouvé {rows and rows[0]}"
    return None


def _history(workspace: Workspace) -> Iterator[Finding]:
    """Dagster's SQLite files."""
    files = sorted((workspace.data / "dagster").rglob("*.db"))
    bad = [path for path in files if not database_opens(path, thorough=True)]
    for path in bad:
        told = f"{path.relative_to(workspace.data)} abîmé : l'historique qu'il tient est perdu, aucun chiffre ne l'est"
        action = "arrêter vigie dev, puis vigie doctor --repair"
        yield Finding("Historique Dagster", "à corriger", told, action, lambda p=path: set_aside(p))
    if not bad:
        yield Finding("Historique Dagster", "bon", f"{len(files)} bases vérifiées")


def mend_history(folder: Path) -> list[str]:
    """Sets aside the bases of Dagster's instance that no longer open; what was done (French). New ones are made."""
    bases = [folder / name for name in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")]
    return [f"{p.name} de Dagster abîmé, {set_aside(p)}" for p in bases if p.exists() and not database_opens(p)]


def database_opens(path: Path, *, thorough: bool = False) -> bool:
    """Whether a SQLite file is one; `thorough`: whether each of its pages is sound."""
    try:
        with sqlite3.connect(path, timeout=10) as base:
            base.execute("SELECT count(*) FROM sqlite_master").fetchone()
            return not thorough or base.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


def set_aside(path: Path) -> str:
    """Renames a SQLite file and its journals; says so (French)."""
    mark = f"abime-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        old = path.with_name(name)
        if old.exists():
            os.replace(old, path.with_name(f"{name}.{mark}"))
    return f"mis de côté ({path.name}.{mark}) ; un neuf le remplace"


# --- the network


def _network(workspace: Workspace) -> Iterator[Finding]:
    """One address a site: whether it answers, and what time it is there."""
    if workspace.settings.profile == "demo":
        yield Finding("Producteurs", "bon", "profil demo : aucun site à joindre")
        return
    asked = client(workspace)
    one = {urlsplit(e.url).netloc: (s, e) for s in workspace.sources.values() for e in s.editions if s.editions}
    sites = {host: pair for host, pair in one.items() if pair[1].connector not in ("typed", "deposit")}
    mute: list[str] = []
    for host, (source, edition) in sites.items():
        try:
            there = asked.clock(source, edition)
        except AcquisitionError:
            mute.append(host)
            continue
        if there is not None and abs(there - datetime.now(UTC)) > DRIFT:
            told = f"{host} dit {there:%Y-%m-%d %H:%M} UTC, la machine {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
            yield Finding("Horloge", "à corriger", told, "remettre la machine à l'heure (timedatectl set-ntp true)")
    if mute:
        told, action = f"sans réponse : {', '.join(mute)}", "vérifier le réseau, le mandataire (proxy), VIGIE_MIRROR"
        yield Finding("Producteurs", "à corriger" if len(mute) == len(sites) else "à voir", told, action)
    else:
        yield Finding("Producteurs", "bon", f"{len(sites)} sites répondent")
