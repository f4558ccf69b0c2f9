"""What the retention policy lets go of, and what it never does."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from rich.console import Console

from pipelines import pruning
from pipelines.pruning import prune, removals, show_prune
from pipelines.settings import Settings
from pipelines.stages.restoring import Recipe, recipe_path
from pipelines.workspace import Workspace, WorkspaceError
from sources.raw_store import RawFile
from warehouse.release import ReleaseError, Releases

NOW = datetime.now(UTC)


def removable(folder: Path, **policy: int) -> dict[str, list[str]]:
    """Names by kind, in the folder as it stands."""
    workspace = Workspace(Settings(data=folder, **policy))  # pyright: ignore[reportArgumentType]
    with dg.DagsterInstance.ephemeral() as instance:
        return {r.kind: r.names for r in removals(workspace, instance)}


def pruned(folder: Path, **policy: int) -> str:
    """What applying the policy says."""
    with dg.DagsterInstance.ephemeral() as instance:
        return prune(Workspace(Settings(data=folder, **policy)), instance)  # pyright: ignore[reportArgumentType]


def receive(folder: Path, text: bytes, edition: str, days: int, url: str = "https://producteur.test/f") -> str:
    """A body received some days ago for an edition; its sha256."""
    store = Workspace(Settings(data=folder)).store
    sha256 = store.add(text)
    at = NOW - timedelta(days=days)
    store.record([RawFile("s", edition, url, url, at, None, None, sha256, len(text), "", "")])
    return sha256


def test_nothing_goes_without_a_policy(published: Callable[..., Releases]) -> None:
    releases = published("d" * 64, "e" * 64, "f" * 64)
    assert removable(releases.data) == {}
    assert pruned(releases.data) == ""
    assert len(releases.list()) == 4


def test_old_releases_go_but_not_the_one_in_force(published: Callable[..., Releases]) -> None:
    releases = published("d" * 64, "e" * 64, "f" * 64)
    names = [r.release_id for r in releases.list()]
    releases.rollback(names[0])
    assert removable(releases.data, keep_releases=2) == {"publications": [names[1]]}
    assert pruned(releases.data, keep_releases=2).startswith("Supprimé, selon la politique de conservation : publicat")
    assert [r.release_id for r in releases.list()] == [names[0], *names[2:]]
    assert not list(releases.data.glob(".build-*"))
    latest = releases.latest()
    assert latest is not None and latest.release_id == names[0]


def test_the_last_release_of_each_year_stays(
    published: Callable[..., Releases], monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = published("d" * 64, "e" * 64, "f" * 64)
    names = [r.release_id for r in releases.list()]
    asked: list[dict[str, datetime]] = []
    real = pruning.kept_by_policy

    def two_years(dated: dict[str, datetime], keep: int) -> set[str]:
        asked.append(dated)
        return real({n: d.replace(year=2024 if n in names[:2] else 2025) for n, d in dated.items()}, keep)

    monkeypatch.setattr(pruning, "kept_by_policy", two_years)
    assert removable(releases.data, keep_releases=2) == {"publications": [names[0]]}
    assert list(asked[0]) == names


def test_a_removal_refuses_the_release_in_force_and_an_unfinished_publication(
    published: Callable[..., Releases],
) -> None:
    releases = published("f" * 64)
    old, new = releases.list()
    with pytest.raises(ReleaseError, match="attendu une publication qui n'est plus en vigueur"):
        releases.remove(new.release_id)
    (releases.root / ".publishing").write_text(old.release_id)
    with pytest.raises(ReleaseError, match="une publication interrompue"):
        releases.remove(old.release_id)
    assert "en échec" not in pruned(releases.data, keep_releases=2)


def test_a_removal_killed_meanwhile_is_finished_by_the_next_run(
    published: Callable[..., Releases], monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = published("f" * 64)
    old = releases.list()[0].release_id

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            releases.remove(old)
    assert [r.release_id for r in releases.list()] != [old]
    assert any(old in told for told in releases.recover())
    assert not list(releases.data.glob(".build-*"))


def test_only_old_bodies_that_nothing_needs_go(tmp_path: Path) -> None:
    replaced = receive(tmp_path, b"replaced long ago", "2020", 400)
    read = receive(tmp_path, b"an older body that the core was read from", "2020", 390)
    recent = receive(tmp_path, b"replaced yesterday", "2020", 20)
    newest = receive(tmp_path, b"newest of its edition, though old", "2019", 500)
    receive(tmp_path, b"newest of its edition", "2020", 10)
    deposit = receive(tmp_path, b"a partner's", "depot", 600, url="deposit:D1")
    receive(tmp_path, b"a partner's newer one", "depot", 500, url="deposit:D2")
    core = tmp_path / "core" / "s" / "2020.parquet"
    core.parent.mkdir(parents=True)
    pl.DataFrame({"a": [1]}).write_parquet(core, metadata={"raw": read})
    assert removable(tmp_path, keep_raw_months=6) == {"fichiers bruts": [replaced]}
    pruned(tmp_path, keep_raw_months=6)
    store = Workspace(Settings(data=tmp_path)).store
    assert [store.path(s).exists() for s in (replaced, read, recent, newest, deposit)] == [
        False,
        True,
        True,
        True,
        True,
    ]
    assert removable(tmp_path, keep_raw_months=6) == {"fichiers bruts": []}


@pytest.mark.parametrize("folder", ["r0009-0123456789ab", ".candidate-r0010-0123456789ab"])
def test_what_a_release_or_a_waiting_candidate_was_made_of_stays(tmp_path: Path, folder: str) -> None:
    old = receive(tmp_path, b"replaced long ago", "2020", 400)
    receive(tmp_path, b"newest", "2020", 10)
    told = tmp_path / "releases" / folder / "public" / "source_file.parquet"
    told.parent.mkdir(parents=True)
    pl.DataFrame({"sha256": [old]}).write_parquet(told)
    assert removable(tmp_path, keep_raw_months=6) == {"fichiers bruts": []}
    told.unlink()
    assert removable(tmp_path, keep_raw_months=6) == {"fichiers bruts": [old]}


def test_what_a_release_is_made_again_from_stays(tmp_path: Path) -> None:
    old = receive(tmp_path, b"replaced long ago", "2020", 400)
    receive(tmp_path, b"newest", "2020", 10)
    recipe = dict.fromkeys((f.name for f in fields(Recipe)), "") | {"bodies": [["s", "2020", old]]}
    path = recipe_path(Workspace(Settings(data=tmp_path)), "r0001-0123456789ab")
    path.parent.mkdir()
    path.write_text(json.dumps(recipe), encoding="utf-8")
    assert removable(tmp_path, keep_raw_months=6) == {"fichiers bruts": []}
    path.unlink()
    assert removable(tmp_path, keep_raw_months=6) == {"fichiers bruts": [old]}


def test_raw_files_stay_when_what_reads_them_cannot_be_told(tmp_path: Path) -> None:
    receive(tmp_path, b"replaced long ago", "2020", 400)
    receive(tmp_path, b"newest", "2020", 10)
    core = tmp_path / "core" / "s" / "2020.parquet"
    core.parent.mkdir(parents=True)
    core.write_bytes(b"cut")
    with pytest.raises(WorkspaceError, match="attendu des fichiers lisibles"):
        removable(tmp_path, keep_raw_months=6)
    assert "Élagage en échec" in pruned(tmp_path, keep_raw_months=6)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("releases/r0009-0123456789ab/public/source_file.parquet", b"cut"),
        ("recipes/r0009-0123456789ab.json", b""),
        ("recipes/r0009-0123456789ab.json", b'{"other": 1}'),
        ("raw/index.parquet", b"cut"),
    ],
)
def test_what_cannot_be_read_fails_no_publication(tmp_path: Path, name: str, content: bytes) -> None:
    receive(tmp_path, b"replaced long ago", "2020", 400)
    receive(tmp_path, b"newest", "2020", 10)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    told = pruned(tmp_path, keep_raw_months=6)
    assert told.startswith("Élagage en échec : ") and str(path) in told and "À faire" in told


def test_old_runs_go_but_not_those_that_last_made_an_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dg.asset
    def first() -> None: ...

    @dg.asset
    def second() -> None: ...

    workspace = Workspace(Settings(data=tmp_path, keep_runs_days=30))
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        runs = [dg.materialize(made, instance=instance).run_id for made in ([first, second], [second], [first])]
        assert [r.names for r in removals(workspace, instance)] == [[]]
        monkeypatch.setattr(pruning, "_now", lambda: datetime.now(UTC) + timedelta(days=40))
        (found,) = removals(workspace, instance)
        assert found.names == runs[:1] and found.bytes > 0
        assert "exécutions : 1" in prune(workspace, instance)
        assert {r.run_id for r in instance.get_runs()} == set(runs[1:])
        assert not list((tmp_path / "dagster" / "history" / "runs").glob(f"{runs[0]}*"))


def test_the_command_says_and_removes_only_when_told_to(
    published: Callable[..., Releases], monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = published("d" * 64, "e" * 64, "f" * 64)
    names = [r.release_id for r in releases.list()]
    monkeypatch.setattr(dg.DagsterInstance, "get", dg.DagsterInstance.ephemeral)
    workspace = Workspace(Settings(data=releases.data, keep_releases=3))
    out = Console(file=io.StringIO(), width=120)
    assert show_prune(workspace, out, apply=False) == 0
    assert [r.release_id for r in releases.list()] == names
    assert show_prune(workspace, out, apply=True) == 0
    assert [r.release_id for r in releases.list()] == names[1:]
    said = out.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(re.findall(rf"publications : 1, 0\.[1-9] Mo\n  {names[0]}\n", said)) == 2
    assert said.index("Rien n'est supprimé") < said.index("Supprimé.")
