"""What a downloaded body is: whether it keeps its description's promise, and the members of an archive.

Names and sizes written inside an archive are never trusted: nothing is unpacked to disk, unsafe names are
refused, and what is unpacked is counted while it is read.
"""

from __future__ import annotations

import codecs
import html
import io
import json
import re
import stat
import zipfile
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from sources.description import Edition, Source
from sources.errors import BodyRefusedError, LayoutError

MAX_UNPACKED = 2 * 1024**3  # bytes, all members read from one archive
MAX_RATIO = 200  # unpacked over packed; the producers' archives stay below 15
RATIO_FROM = 32 * 1024**2  # bytes unpacked before the ratio counts: small repetitive files pack very well
CHUNK = 1024**2

OLE2 = bytes.fromhex("d0cf11e0a1b11ae1")
ZIP = b"PK\x03\x04"
PARQUET = b"PAR1"  # at both ends
SHORTEST_PARQUET = 12  # bytes: both ends, and the length of what describes it
SIGNATURES = {
    ZIP: "une archive zip",
    OLE2: "un classeur Excel 97-2003 (OLE2)",
    b"%PDF": "un PDF",
    b"\x1f\x8b": "un fichier gzip",
    PARQUET: "un fichier Parquet",
}
FORMATS = {
    "zip": "une archive zip",
    "xlsx": "un classeur Excel (.xlsx)",
    "xls": "un classeur Excel 97-2003 (.xls)",
    "csv": "un fichier CSV",
    "txt": "un fichier texte délimité",
    "parquet": "un fichier Parquet",
    "json": "un fichier JSON (une liste d'objets, ou un objet par ligne)",
}
DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


def members(source: Source, edition: Edition, data: bytes | Path) -> dict[str, bytes]:
    """The tables of a body: {member promised by the description: bytes}, or every file when none is promised.

    A promised name is looked for as it is, then by its last part (producers add and drop a folder). A body
    that is not an archive is its own only member, named by the last part of the URL's path.
    Raises LayoutError when a promised member is missing or ambiguous, BodyRefusedError when the archive is
    unreadable, names files outside itself or unpacks beyond the limits.
    """
    if edition.format != "zip":
        return {file_name(edition): data if isinstance(data, bytes) else data.read_bytes()}
    found: dict[str, list[bytes]] = {}
    for name, chunk in _unpack(source, edition, data):
        found.setdefault(name, []).append(chunk)
    return {name: b"".join(chunks) for name, chunks in found.items()}


def check_body(source: Source, edition: Edition, data: bytes | Path, content_type: str | None = None) -> None:
    """Whether a body is what the description promises; returns nothing, or raises.

    zip: readable, promised members present and intact (CRC). xlsx: the same, and a workbook. xls: OLE2.
    csv, txt: not empty, no HTML nor JSON, no NUL, decodable as UTF-8 or cp1252. json: objects, whole. parquet: both
    ends.
    Raises BodyRefusedError, or LayoutError when a promised member is missing.
    """
    with _opened(data) as file:
        head = file.read(4096)
    if not head.strip():
        raise refusal(source, edition, head, content_type)
    if edition.format in ("csv", "txt"):
        if _is_markup(head) or head.startswith(tuple(SIGNATURES)):
            raise refusal(source, edition, head, content_type)
        _check_text(source, edition, data)
    elif edition.format == "json":
        deque(json_rows(source, edition, data if isinstance(data, bytes) else data.read_bytes()), maxlen=0)
    elif edition.format == "parquet":
        _check_parquet(source, edition, data, head)
    elif edition.format == "xls":
        if not head.startswith(OLE2):
            raise refusal(source, edition, head, content_type)
    else:
        if not head.startswith(b"PK"):
            raise refusal(source, edition, head, content_type)
        for _ in _unpack(source, edition, data):
            pass


def json_rows(source: Source, edition: Edition, data: bytes) -> Iterator[dict[str, Any]]:
    """The objects of a JSON list, or of a file of one object a line, each read when it is asked for.

    Raises BodyRefusedError on the way, or at the end where there is none.
    """
    row: object = None
    try:
        for row in json.loads(data) if data.lstrip().startswith(b"[") else map(json.loads, io.BytesIO(data)):
            if not isinstance(row, dict):
                break
            yield cast(dict[str, Any], row)
    except ValueError as error:
        head = data[:4096]
        found = _looks_like(head) if head.lstrip()[:1] not in (b"[", b"{") else f"du JSON illisible ({error})"
        raise refusal(source, edition, head, found=found) from error
    if not isinstance(row, dict):
        raise refusal(source, edition, data[:4096], found="du JSON qui n'est pas une liste d'objets")


def file_name(edition: Edition) -> str:
    """The last part of the URL's path: the name of a body that is not an archive."""
    return unquote(urlsplit(edition.url).path).rstrip("/").rsplit("/", 1)[-1]


def refusal(
    source: Source, edition: Edition, head: bytes, content_type: str | None = None, found: str | None = None
) -> BodyRefusedError:
    """The error for a body that is not what was promised; `head` is its beginning."""
    served = f", servi comme « {content_type} »" if content_type else ""
    return BodyRefusedError(
        source.source_id,
        edition.edition,
        FORMATS[edition.format],
        (found or _looks_like(head)) + served,
        f"ouvrir {edition.url} dans un navigateur : si le site est en maintenance, relancer plus tard ; "
        "si le fichier a changé d'adresse ou de format, corriger "
        f"sources/{source.source_id}/description.yaml. Ce qui a été reçu auparavant est gardé",
        file=file_name(edition),
    )


def _looks_like(head: bytes) -> str:
    """What the beginning of a body resembles, in French."""
    text = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if not text:
        return "un corps vide"
    if _is_markup(head):
        title = re.search(rb"<title[^>]*>(.*?)</title", head, re.I | re.S)
        label = html.unescape(title[1].decode("utf-8", "replace")).strip()[:80] if title else ""
        kind = "du JSON" if text[:1] in b"{[" else "une page HTML ou XML"
        return f"{kind} « {label} »" if label else kind
    for start, name in SIGNATURES.items():
        if head.startswith(start):
            return name
    return f"autre chose, qui commence par {head[:24]!r}"


def _is_markup(head: bytes) -> bool:
    """HTML, XML or JSON: no table of a producer begins so."""
    return head.removeprefix(codecs.BOM_UTF8).lstrip()[:1] in (b"<", b"{", b"[")


def _check_parquet(source: Source, edition: Edition, data: bytes | Path, head: bytes) -> None:
    if not head.startswith(PARQUET):
        raise refusal(source, edition, head)
    with _opened(data) as file:
        size = file.seek(-len(PARQUET), io.SEEK_END) + len(PARQUET)
        tail = file.read()
    if tail != PARQUET or size < SHORTEST_PARQUET:
        raise refusal(source, edition, head, found="un fichier Parquet tronqué")


def _check_text(source: Source, edition: Edition, data: bytes | Path) -> None:
    """Raises BodyRefusedError when the whole is not text in one of the two encodings producers use."""
    decoders = [codecs.getincrementaldecoder(name)() for name in ("utf-8", "cp1252")]
    at = 0
    with _opened(data) as file:
        while chunk := file.read(CHUNK):
            if (nul := chunk.find(b"\0")) >= 0:
                found = f"un octet nul en position {at + nul} (fichier binaire ou UTF-16)"
                raise refusal(source, edition, b"", found=found)
            decoders = [d for d in decoders if _decodes(d, chunk)]
            at += len(chunk)
    if not any(_decodes(d, b"", final=True) for d in decoders):
        raise refusal(source, edition, b"", found="des octets qui ne sont ni de l'UTF-8 ni du cp1252")


def _decodes(decoder: codecs.IncrementalDecoder, chunk: bytes, *, final: bool = False) -> bool:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError:
        return False
    return True


def _unpack(source: Source, edition: Edition, data: bytes | Path) -> Iterator[tuple[str, bytes]]:
    """(name, piece) for each member asked for, in order; an empty member gives one empty piece.

    The names are the promised ones. Reading to the end checks each member's CRC.
    """
    packed = len(data) if isinstance(data, bytes) else data.stat().st_size
    unpacked = 0
    file = _opened(data)
    try:
        with file, zipfile.ZipFile(file) as archive:
            for name, entry in _wanted(source, edition, archive):
                yield name, b""
                with archive.open(entry) as member:
                    while chunk := member.read(CHUNK):
                        unpacked += len(chunk)
                        _refuse_bomb(source, edition, name, packed, unpacked)
                        yield name, chunk
    except DAMAGE as error:
        raise refusal(
            source,
            edition,
            b"",
            found=f"une archive tronquée ou illisible de {packed} octets ({error or type(error).__name__})",
        ) from error


def _wanted(source: Source, edition: Edition, archive: zipfile.ZipFile) -> list[tuple[str, zipfile.ZipInfo]]:
    """(name to give, entry) of what the description promises, or of every file."""
    entries: list[tuple[str, zipfile.ZipInfo]] = []
    for entry in archive.infolist():
        name = safe_name(entry.filename)
        if name is None or not is_plain(entry):
            found = f"une archive au contenu suspect : « {entry.filename[:200]} »"
            raise refusal(source, edition, b"", found=found)
        if not entry.is_dir() and not entry.filename.endswith("\\"):
            entries.append((name, entry))
    if edition.format == "xlsx":
        if not any(name == "[Content_Types].xml" for name, _ in entries):
            found = f"une archive zip qui n'est pas un classeur : {_names(entries)}"
            raise refusal(source, edition, b"", found=found)
        return entries
    promised = dict.fromkeys(m.path for m in edition.members if m.path)
    if promised:
        return [(path, _find(source, edition, entries, path)) for path in promised]
    if len({name for name, _ in entries}) < len(entries):
        found = f"une archive où un nom revient deux fois : {_names(entries)}"
        raise refusal(source, edition, b"", found=found)
    return entries


def _find(
    source: Source, edition: Edition, entries: list[tuple[str, zipfile.ZipInfo]], path: str
) -> zipfile.ZipInfo:
    """The entry of that name, else the only one with that last part. Raises LayoutError."""
    matches = [e for name, e in entries if name == path]
    if not matches:
        last = path.rsplit("/", 1)[-1]
        matches = [e for name, e in entries if name.rsplit("/", 1)[-1] == last]
    if len(matches) == 1:
        return matches[0]
    raise LayoutError(
        source.source_id,
        edition.edition,
        f"un membre « {path} » dans l'archive",
        f"{len(matches) or 'aucun'} de ce nom parmi {_names(entries)}",
        f"corriger `members` dans sources/{source.source_id}/description.yaml",
        file=file_name(edition),
    )


def safe_name(name: str) -> str | None:
    """A member's name as a relative path with `/`, or None when it could point outside (`..`, `/`, `C:`)."""
    parts = name.replace("\\", "/").split("/")
    inside = [p for p in parts if p not in ("", ".")]
    absolute = parts[0] == "" or ":" in name
    if absolute or ".." in inside or not inside or any(ord(c) < 32 for c in name):
        return None
    return "/".join(inside)


def is_plain(entry: zipfile.ZipInfo) -> bool:
    """A file or folder: neither a link, a device nor an encrypted member."""
    kind = stat.S_IFMT(entry.external_attr >> 16)
    return kind in (0, stat.S_IFREG, stat.S_IFDIR) and not entry.flag_bits & 0x1


def _refuse_bomb(source: Source, edition: Edition, name: str, packed: int, unpacked: int) -> None:
    if unpacked > MAX_UNPACKED or (unpacked > RATIO_FROM and unpacked > MAX_RATIO * packed):
        raise refusal(
            source,
            edition,
            b"",
            found=f"une archive de {packed} octets qui en donne plus de {unpacked} (membre « {name} »)",
        )


def _names(entries: list[tuple[str, zipfile.ZipInfo]]) -> list[str]:
    return [name for name, _ in entries][:40]


def _opened(data: bytes | Path) -> BinaryIO:
    return io.BytesIO(data) if isinstance(data, bytes) else data.open("rb")
