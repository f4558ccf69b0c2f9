"""Archives: what was promised is found, nothing escapes, nothing explodes."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sources import archive
from sources.description import Edition, Member, Source
from sources.errors import BodyRefusedError, LayoutError

TABLE = b"code;valeur\n91286;44\n" * 1000


def ask(
    *members: str, format: str = "zip", url: str = "https://a.test/f/archive.zip"
) -> tuple[Source, Edition]:
    edition = Edition(
        edition="2020",
        data_year=2020,
        url=url,
        format=format,  # type: ignore[arg-type]
        members=tuple(Member(path=m) for m in members),
    )
    return Source(
        source_id="essai", title="", producer="", owner="", licence="", editions=(edition,)
    ), edition


def packed(members: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items() if isinstance(members, dict) else members:
            made.writestr(name, data)
    return buffer.getvalue()


def test_promised_members_are_found_by_name_or_by_last_part(tmp_path: Path) -> None:
    data = packed({"dossier/": b"", "dossier/a.csv": b"a", "b.csv": b"b", "meta.csv": b"m"})
    assert archive.members(*ask("a.csv", "b.csv"), data) == {"a.csv": b"a", "b.csv": b"b"}
    assert archive.members(*ask("dossier/a.csv"), data) == {"dossier/a.csv": b"a"}
    assert archive.members(*ask("autre/b.csv"), data) == {"autre/b.csv": b"b"}
    assert archive.members(*ask(), data) == {"dossier/a.csv": b"a", "b.csv": b"b", "meta.csv": b"m"}
    (tmp_path / "a.zip").write_bytes(data)
    assert archive.members(*ask("b.csv"), tmp_path / "a.zip") == {"b.csv": b"b"}


def test_one_member_of_several_sheets_is_read_once() -> None:
    assert archive.members(*ask("a.csv", "a.csv"), packed({"a.csv": TABLE})) == {"a.csv": TABLE}


def test_an_empty_member_is_there() -> None:
    assert archive.members(*ask("a.csv"), packed({"a.csv": b""})) == {"a.csv": b""}


def test_an_exact_name_wins_over_a_last_part() -> None:
    data = packed({"ancien/a.csv": b"old", "a.csv": b"new"})
    assert archive.members(*ask("a.csv"), data) == {"a.csv": b"new"}


@pytest.mark.parametrize("members", [{"x.csv": b"x", "y.csv": b"y"}, {"1/a.csv": b"x", "2/a.csv": b"y"}])
def test_a_missing_or_ambiguous_member_lists_what_is_there(members: dict[str, bytes]) -> None:
    with pytest.raises(LayoutError) as caught:
        archive.members(*ask("a.csv"), packed(members))
    message = str(caught.value)
    assert "essai 2020" in message and "« a.csv »" in message
    assert all(name in message for name in members)


def test_a_file_is_its_own_member(tmp_path: Path) -> None:
    export = ask(format="csv", url="https://data.test/datasets/s_ben/exports/csv?delimiter=%3B")
    assert archive.members(*export, TABLE) == {"csv": TABLE}
    (tmp_path / "f").write_bytes(TABLE)
    book = ask(format="xlsx", url="https://a.test/un%20classeur.xlsx")
    assert archive.members(*book, tmp_path / "f") == {"un classeur.xlsx": TABLE}


SUSPECT = [
    "../a.csv",
    "dossier/../../a.csv",
    "/etc/a.csv",
    "\\a.csv",
    "..\\a.csv",
    "C:\\a.csv",
    "c:a.csv",
    "//serveur/a.csv",
    "a\nb.csv",
    "..",
    "./..",
]


@pytest.mark.parametrize("name", SUSPECT)
def test_unsafe_names_are_refused(name: str) -> None:
    with pytest.raises(BodyRefusedError, match="contenu suspect"):
        archive.members(*ask("a.csv"), packed({"a.csv": b"fine", name: b"not"}))


@settings(deadline=None)
@given(
    st.text(max_size=30)
    | st.lists(st.sampled_from(["..", ".", "", "a", "C:", "/", "\\"]), max_size=6).map("/".join)
)
@example("a/../../b")
@example("a\\..\\..\\b")
def test_no_name_ever_escapes(name: str) -> None:
    safe = archive.safe_name(name)
    if safe is None:
        return
    for flavour in (PurePosixPath, PureWindowsPath):
        path = flavour(safe)
        assert not path.is_absolute() and not path.anchor
        assert ".." not in path.parts
        assert path.parts, "a name that is the folder itself"
    assert archive.safe_name(safe) == safe


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=12).filter(lambda s: s.isprintable()), st.binary(max_size=50), max_size=4
    )
)
def test_every_member_given_has_a_safe_name_and_its_bytes(members: dict[str, bytes]) -> None:
    data = packed(members)
    try:
        found = archive.members(*ask(), data)
    except BodyRefusedError:
        return
    assert all(archive.safe_name(name) == name for name in found)
    assert sorted(found.values()) == sorted(b for n, b in members.items() if not n.endswith(("/", "\\")))


def test_links_and_devices_are_refused() -> None:
    for kind in (stat.S_IFLNK, stat.S_IFCHR):
        entry = zipfile.ZipInfo("a.csv")
        entry.external_attr = (kind | 0o644) << 16
        with pytest.raises(BodyRefusedError, match="contenu suspect"):
            archive.members(*ask("a.csv"), packed([(entry, b"/etc/passwd")]))


def test_encrypted_members_are_refused() -> None:
    data = bytearray(packed({"a.csv": TABLE}))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    with pytest.raises(BodyRefusedError, match="contenu suspect"):
        archive.members(*ask("a.csv"), bytes(data))


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = packed([("a.csv", b"1"), ("a.csv", b"2")])
    with pytest.raises(LayoutError, match="2 de ce nom"):
        archive.members(*ask("a.csv"), data)
    with pytest.raises(BodyRefusedError, match="deux fois"):
        archive.members(*ask(), data)


def test_a_bomb_is_stopped_while_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed({"a.csv": bytes(20 * 1024**2)})
    monkeypatch.setattr(archive, "MAX_UNPACKED", 5 * 1024**2)
    with pytest.raises(BodyRefusedError, match=r"en donne plus de 6291456 \(membre « a.csv »\)"):
        archive.members(*ask("a.csv"), data)


def test_a_bomb_of_many_members_counts_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_UNPACKED", 3_500_000)
    members = {f"{i}.csv": bytes(1_000_000) for i in range(4)}
    with pytest.raises(BodyRefusedError, match="en donne plus"):
        archive.members(*ask(), packed(members))
    assert len(archive.members(*ask("1.csv"), packed(members))) == 1, "only what is asked for is read"


def test_a_ratio_no_table_has_is_refused() -> None:
    data = packed({"a.csv": bytes(40 * 1024**2)})
    with pytest.raises(BodyRefusedError, match="en donne plus"):
        archive.members(*ask("a.csv"), data)


def test_sizes_in_headers_are_not_believed() -> None:
    data = bytearray(packed({"a.csv": TABLE}))
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 10)  # "ten bytes unpacked"
    with pytest.raises(BodyRefusedError, match="illisible"):
        archive.members(*ask("a.csv"), bytes(data))


@pytest.mark.parametrize("cut", [1, 20, 100, 150])
def test_a_truncated_archive_is_refused(cut: int) -> None:
    with pytest.raises(BodyRefusedError, match="tronquée ou illisible"):
        archive.members(*ask("a.csv"), packed({"a.csv": TABLE})[:-cut])


def test_a_damaged_member_is_refused_when_it_is_promised() -> None:
    data = bytearray(packed({"a.csv": TABLE, "b.csv": TABLE}))
    data[45] ^= 0xFF
    with pytest.raises(BodyRefusedError, match="illisible"):
        archive.check_body(*ask("a.csv"), bytes(data))
    archive.check_body(*ask("b.csv"), bytes(data))


def test_a_byte_after_the_archive_does_no_harm() -> None:
    data = packed({"a.csv": TABLE}) + b"\n"
    archive.check_body(*ask("a.csv"), data)
    assert archive.members(*ask("a.csv"), data) == {"a.csv": TABLE}


@pytest.mark.parametrize(
    ("format", "body"),
    [
        ("csv", TABLE),
        ("csv", b"\xef\xbb\xbf" + TABLE),
        ("txt", "Œuvre\té\n".encode("cp1252")),
        ("csv", b"sans fin de ligne"),
        ("csv", "é".encode() * 700_000),  # a character across two pieces
        ("xls", archive.OLE2 + bytes(100)),
        ("xlsx", packed({"[Content_Types].xml": b"<Types/>", "xl/a": b""})),
        ("zip", packed({"a.csv": b""})),
    ],
)
def test_what_producers_serve_is_accepted(format: str, body: bytes) -> None:
    archive.check_body(*ask(format=format), body)


@pytest.mark.parametrize(
    ("format", "body", "found"),
    [
        ("csv", b"", "corps vide"),
        (
            "csv",
            b"\xef\xbb\xbf  <HTML><TITLE>Erreur &eacute;trange</TITLE>",
            "HTML ou XML « Erreur étrange »",
        ),
        ("csv", b"[]", "JSON"),
        ("csv", TABLE + b"\0", "octet nul en position 21000"),
        ("csv", TABLE + b"\x81\xff", "ni de l'UTF-8 ni du cp1252"),
        ("txt", b"%PDF-1.7", "un PDF"),
        ("zip", b"\x1f\x8b\x08", "un fichier gzip"),
        ("xls", TABLE, "commence par"),
        ("xlsx", packed({"a.csv": TABLE}), "pas un classeur"),
    ],
)
def test_what_is_not_promised_is_refused(format: str, body: bytes, found: str) -> None:
    with pytest.raises(BodyRefusedError, match=found) as caught:
        archive.check_body(*ask(format=format), body, "text/html; charset=utf-8")
    assert archive.FORMATS[format] in str(caught.value)
    assert "description.yaml" in str(caught.value)
