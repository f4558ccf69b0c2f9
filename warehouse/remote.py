"""Releases on an object store (S3 and its like): files first, verified, then the pointer that names them.

`releases/<id>/<edition>/` holds a release as on disk, `latest.json` names the one in force. A reader that goes by the
pointer only ever sees a whole release: what it names is never changed in place, and is taken away long after.
Keys and addresses of the store come from the environment, under the names that every S3 tool reads (AWS_*).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from warehouse.package import SUMS, declared_sums, digest, verify_sums
from warehouse.release import PARTNER, PUBLIC, Release, ReleaseError

POINTER = "latest.json"
FOLDER = "releases"
KEPT_AT_LEAST = timedelta(days=1)  # whoever read the pointer just before it moved finishes its reading
TYPES = {".json": "application/json", ".md": "text/markdown", ".csv": "text/csv"}


@dataclass
class Pushed:
    """What a push did. Files and bytes are counted once; `held` were there already, whole."""

    release_id: str
    audience: str
    sent: int = 0
    sent_bytes: int = 0
    held: int = 0
    removed: list[str] = field(default_factory=list[str])


def open_store(url: str) -> ObjectStore:
    """The object store at an address such as s3://bucket/prefix.

    Raises ReleaseError for an address that is not one, or that holds a password.
    """
    if "@" in url.partition("://")[2].partition("/")[0]:
        raise ReleaseError(
            "dépôt distant : attendu une adresse sans mot de passe, comme s3://seau/dossier ; trouvé une adresse qui "
            "en porte un. À faire : donner les clés par l'environnement (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."
        )
    try:
        return from_url(url, retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=60)})
    except (BaseError, ValueError) as error:
        raise _refused(url, error) from error


def push(release: Release, store: ObjectStore, *, partner: bool = False, keep: int | None = None) -> Pushed:
    """Sends a release and then makes the pointer name it; what is there already and whole is not sent again.

    partner: its partners' edition too, to a store that is theirs from the first push on. keep: how many releases stay
    there, with the last one of each year; None keeps all. Raises ReleaseError when a file is altered here, when it does
    not read back there as it was sent, when the store is for another audience or cannot be reached; the pointer then
    still names the release it named.
    """
    pushed = Pushed(release.release_id, PARTNER if partner else PUBLIC)
    editions = release.editions if partner else [PUBLIC]
    problems = [p for edition in editions for p in verify_sums(release.folder / edition)]
    if problems:
        raise ReleaseError(
            f"{release.release_id} : attendu les fichiers publiés ; trouvé {problems[:5]}. À faire : restaurer cette "
            "publication avant de l'envoyer."
        )
    try:
        _same_audience(store, pushed.audience)
        sums = {e: _send(release.folder / e, store, _place(release, e), pushed) for e in editions}
        _point(store, release, pushed.audience, sums)
        if keep is not None:
            pushed.removed = _prune(store, release.release_id, keep)
    except (BaseError, OSError) as error:
        raise _refused(f"{release.release_id} vers le dépôt distant", error) from error
    return pushed


def pointer(store: ObjectStore) -> dict[str, Any] | None:
    """What the pointer says: release_id, audience, and of each edition its path and the digest of its SHA256SUMS; None
    before the first push."""
    try:
        return json.loads(bytes(obstore.get(store, POINTER).bytes()))
    except FileNotFoundError:
        return None


def kept_by_policy(dated: Mapping[str, datetime], keep: int) -> set[str]:
    """The names that stay: the `keep` newest, and the newest of each year."""
    by_age = sorted(dated, key=lambda name: (dated[name], name))
    of_year = {dated[name].year: name for name in by_age}
    return {*by_age[-keep:], *of_year.values()}


def _place(release: Release, edition: str) -> str:
    return f"{FOLDER}/{release.release_id}/{edition}"


def _same_audience(store: ObjectStore, audience: str) -> None:
    """Partners' figures never join a store that was opened to everybody, nor leave theirs without its pointer."""
    held = pointer(store)
    if held is not None and held["audience"] != audience:
        raise ReleaseError(
            f"dépôt distant : attendu un dépôt pour l'édition « {audience} » ; trouvé un dépôt ouvert pour l'édition "
            f"« {held['audience']} ». À faire : donner à chaque public son propre seau (ou dossier) ; l'option "
            "--partner est celle des partenaires."
        )


def _send(folder: Path, store: ObjectStore, place: str, pushed: Pushed) -> str:
    """Sends a folder's files, SHA256SUMS last, each read back; returns the digest of SHA256SUMS."""
    sums = digest(folder / SUMS)
    expected = {**declared_sums(folder), SUMS: sums}
    for name, sha256 in expected.items():
        path, key = folder / name, f"{place}/{name}"
        size = path.stat().st_size
        if _holds(store, key, size, sha256):
            pushed.held += 1
            continue
        obstore.put(store, key, path, attributes={"Content-Type": TYPES.get(path.suffix, "application/octet-stream")})
        if not _holds(store, key, size, sha256):
            raise ReleaseError(
                f"{key} : attendu {size} octets d'empreinte {sha256[:12]}… relus tels qu'envoyés ; trouvé autre chose. "
                "À faire : relancer l'envoi, qui reprend là ; si cela recommence, faire examiner le dépôt distant."
            )
        pushed.sent += 1
        pushed.sent_bytes += size
    missing = {f"{place}/{name}" for name in expected} - _listed(store, place).keys()
    if missing:
        raise ReleaseError(
            f"{place} : attendu tous ses fichiers ; trouvé sans {sorted(missing)[:5]}. À faire : relancer."
        )
    return sums


def _holds(store: ObjectStore, key: str, size: int, sha256: str) -> bool:
    """Whether the object is there with these very bytes: they are read back, whatever the server says of them."""
    try:
        found = obstore.get(store, key)
        if found.meta["size"] != size:
            return False
        total = hashlib.sha256()
        for chunk in found:
            total.update(chunk)
        return total.hexdigest() == sha256
    except FileNotFoundError:
        return False


def _point(store: ObjectStore, release: Release, audience: str, sums: Mapping[str, str]) -> None:
    """One object, written whole: readers see the old release or the new one."""
    told = {
        "release_id": release.release_id,
        "created_at": f"{release.created_at:%Y-%m-%dT%H:%M:%SZ}",
        "audience": audience,
        "editions": {e: {"path": f"{_place(release, e)}/", "sha256sums": sha256} for e, sha256 in sums.items()},
    }
    body = (json.dumps(told, ensure_ascii=False, indent=2) + "\n").encode()
    obstore.put(store, POINTER, body, attributes={"Content-Type": TYPES[".json"], "Cache-Control": "no-cache"})


def _prune(store: ObjectStore, current: str, keep: int) -> list[str]:
    """Removes the releases that the policy does not keep, and what a push that nobody resumed left; their names.

    A release is dated by its SHA256SUMS. The last day's objects stay whatever the policy says.
    """
    objects: dict[str, dict[str, datetime]] = {}
    for path, modified in _listed(store, FOLDER).items():
        objects.setdefault(path.split("/")[1], {})[path] = modified
    last = {name: f"{FOLDER}/{name}/{PUBLIC}/{SUMS}" for name in objects}
    dated = {name: found[last[name]] for name, found in objects.items() if last[name] in found}
    before = datetime.now(UTC) - KEPT_AT_LEAST
    old = {name for name, found in objects.items() if max(found.values()) < before}
    removed = sorted(old - kept_by_policy(dated, keep) - {current})
    for name in removed:
        # its SHA256SUMS first: what a kill leaves is no release
        for path in sorted(objects[name], key=lambda p: not p.endswith(SUMS)):
            obstore.delete(store, path)
    return removed


def _listed(store: ObjectStore, place: str) -> dict[str, datetime]:
    """Every object below a folder, with the date of its last writing."""
    found = obstore.list(store, f"{place}/").collect()  # pyright: ignore[reportUnknownMemberType]
    return {o["path"]: o["last_modified"] for o in found}


def _refused(what: str, error: Exception) -> ReleaseError:
    """What a store that does not answer, or refuses, becomes: its own first line, and what to look at."""
    return ReleaseError(
        f"{what} : attendu un dépôt qui répond ; trouvé « {str(error).strip().splitlines()[0][:300]} ». À faire : "
        "vérifier l'adresse du dépôt (s3://seau/dossier), AWS_ENDPOINT_URL, AWS_REGION et les clés AWS_ACCESS_KEY_ID "
        "et AWS_SECRET_ACCESS_KEY, puis relancer : l'envoi reprend où il en était."
    )
