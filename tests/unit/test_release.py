"""Releases: publication, going back, and what is left after a failure at each step."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import duckdb
import polars as pl
import pytest
import release_sample as sample

from warehouse import release as module
from warehouse.duckdb_file import published_in
from warehouse.models import TABLES, ContractError
from warehouse.package import verify_sums
from warehouse.release import ReleaseError, Releases, State

OTHER = "fedcba9876543210" * 4


def query(database: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def assert_consistent(releases: Releases, release_id: str) -> None:
    """The pointer, the DuckDB file and the folder tell of the same release, and nothing else is left."""
    latest = releases.latest()
    assert latest is not None and latest.release_id == release_id
    assert verify_sums(latest.public) == []
    assert published_in(releases.database) == release_id
    kept = {r.release_id for r in releases.list()} | {"latest", ".lock"}
    assert {p.name for p in releases.root.iterdir()} == kept
    assert {p.name for p in releases.data.iterdir()} == {"releases", "vigie.duckdb"}


def test_a_release_is_published(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    assert releases.latest() is None
    release = sample.publish(releases)
    assert release.release_id == "r0001-0123456789ab"
    assert (release.rows, release.indicators, release.previous_id) == (21, 5, None)
    assert os.readlink(tmp_path / "releases" / "latest") == release.release_id
    assert_consistent(releases, release.release_id)
    assert query(releases.database, "SELECT count(*) FROM observation") == [(21,)]


def test_a_release_is_all_that_is_promised(published: Callable[..., Releases]) -> None:
    public = published().list()[0].public
    small = {f"csv/{t.name}.csv" for t in TABLES.values() if t.csv}
    expected = {f"{name}.parquet" for name in TABLES} | small
    expected |= {"CHANGES.md", "MOUVEMENTS.md", "LICENCE.md", "dictionary.csv", "dictionnaire.md"}
    expected |= {"datapackage.json", "SHA256SUMS"}
    assert files(public).keys() == expected
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=public, check=False).returncode == 0
    assert {oct(p.stat().st_mode & 0o777) for p in public.rglob("*") if p.is_file()} == {"0o644"}


def test_two_builds_of_the_same_inputs_are_the_same_bytes(published: Callable[..., Releases], tmp_path: Path) -> None:
    two = files(sample.publish(Releases(tmp_path / "two")).public)
    one = files(published().list()[0].public)
    moving = {f"{n}.parquet" for n, t in TABLES.items() if not t.deterministic}
    moving |= {f"csv/{n}.csv" for n, t in TABLES.items() if not t.deterministic} | {"SHA256SUMS"}
    assert {name for name in one if one[name] != two[name]} <= moving
    assert moving <= one.keys() == two.keys()


def test_the_file_is_in_the_format_that_older_clients_open(published: Callable[..., Releases]) -> None:
    releases = published()
    head = releases.database.read_bytes()[8:20]
    assert head[:4] == b"DUCK"
    assert int.from_bytes(head[4:], "little") == 64  # storage version of DuckDB 1.0 to 1.4
    assert oct(releases.database.stat().st_mode & 0o777) == "0o644"


def test_csv_opens_in_a_french_spreadsheet(published: Callable[..., Releases]) -> None:
    public = published().list()[0].public
    text = (public / "csv" / "reconciliation.csv").read_bytes().decode("utf-8")
    assert text.splitlines()[1] == "rev_tp60;DEP;insee_filosofi_cc;2018-geo2022;2018;1;1;0,1;0,5;0;conforme;"
    assert text.startswith("\ufeff")


def test_the_notice_is_everywhere(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    release = sample.publish(releases, notice=sample.NOTICE)
    for name in ("CHANGES.md", "LICENCE.md", "dictionnaire.md", "datapackage.json"):
        assert sample.NOTICE in (release.public / name).read_text(encoding="utf-8"), name
    assert query(releases.database, "SELECT avertissement FROM v_publication") == [(sample.NOTICE,)]
    comments = query(releases.database, "SELECT comment FROM duckdb_tables()")
    assert all(str(c[0]).startswith(sample.NOTICE) for c in comments)


def test_sources_are_credited(published: Callable[..., Releases]) -> None:
    text = (published().list()[0].public / "LICENCE.md").read_text(encoding="utf-8")
    assert "- Source : Insee, Filosofi, communes, éditions 2018-geo2022" in text
    assert "Licence Ouverte 2.0" in text


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    candidate = sample.candidate(releases)
    candidate.path("series_break").unlink()
    with pytest.raises(ReleaseError, match="series_break"):
        releases.publish(candidate)
    assert releases.latest() is None


def test_a_frame_that_breaks_its_model_leaves_no_file(tmp_path: Path) -> None:
    candidate = Releases(tmp_path).candidate(sample.DIGEST)
    with pytest.raises(ContractError, match="level"):
        candidate.write("territory", sample.tables()["territory"].drop("level"))
    with pytest.raises(ContractError, match="clés uniques"):
        candidate.write("territory", pl.concat([sample.tables()["territory"]] * 2))
    assert [p.name for p in candidate.tables.iterdir()] == ["nomenclature.parquet"]


def test_history_and_rollback(published: Callable[..., Releases]) -> None:
    releases = published(OTHER)
    first, second = releases.list()
    assert [r.release_id for r in releases.list()] == ["r0001-0123456789ab", "r0002-fedcba987654"]
    assert second.previous_id == first.release_id
    assert query(releases.database, "SELECT count(*) FROM release") == [(2,)]

    back = releases.rollback(first.release_id)
    assert back.published
    assert_consistent(releases, first.release_id)
    assert query(releases.database, "SELECT count(*) FROM release") == [(1,)]
    assert releases.recover() == []  # the newer release was left on purpose
    first.folder.chmod(0o700)  # as one that was made again, and put there by hand
    releases.rollback(first.release_id)
    assert first.folder.stat().st_mode & 0o777 == 0o755

    third = sample.publish(releases, digest=OTHER)
    assert (third.release_id, third.previous_id) == ("r0003-fedcba987654", first.release_id)


def test_rollback_refuses_what_is_unknown_or_altered(published: Callable[..., Releases]) -> None:
    releases = published(OTHER)
    first, second = releases.list()
    with pytest.raises(ReleaseError, match="r0001-0123456789ab"):
        releases.rollback("r0009-000000000000")
    first.path("passage").write_bytes(b"x")
    with pytest.raises(ReleaseError, match=r"passage\.parquet : contenu modifié"):
        releases.rollback(first.release_id)
    assert_consistent(releases, second.release_id)


def test_sums_tell_missing_and_unknown_files(published: Callable[..., Releases]) -> None:
    public = published().list()[0].public
    (public / "passage.parquet").unlink()
    (public / "more.txt").write_text("x", encoding="utf-8")
    assert verify_sums(public) == ["passage.parquet : fichier absent", "more.txt : fichier non déclaré"]


STEPS: list[tuple[str, str, bool]] = [
    # where it dies, and whether the publication had begun to show
    ("seal", "Candidate", False),
    ("_build", "Releases", False),
    ("_put_in_place", "Releases", False),
    ("rename", "os", False),
    ("_point", "Releases", True),
    ("_swap_databases", "Releases", True),
]


@pytest.mark.parametrize(("step", "owner", "finished"), STEPS)
@pytest.mark.parametrize("earlier", [True, False])
def test_a_failure_at_any_step(
    published: Callable[..., Releases],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    owner: str,
    finished: bool,
    earlier: bool,
) -> None:
    releases = published() if earlier else Releases(tmp_path)
    first = releases.latest()
    candidate = sample.candidate(releases, digest=OTHER)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(module, owner), step, full)
        with pytest.raises(OSError, match="No space left"):
            releases.publish(candidate)
    if first is not None:  # what readers have is whole, whatever happened
        latest = releases.latest()
        assert latest is not None and verify_sums(latest.public) == []
        assert published_in(releases.database) is not None

    done = releases.recover()
    expected = candidate.release_id if finished else first.release_id if first else None
    assert done != []
    if expected is None:
        assert releases.latest() is None
        assert {p.name for p in releases.root.iterdir()} == {".lock"}
    else:
        assert_consistent(releases, expected)
    assert releases.recover() == []


@pytest.mark.parametrize("step", ["_build", "_point", "_swap_databases"])
def test_a_failure_during_a_rollback(
    published: Callable[..., Releases], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    releases = published(OTHER)
    first, second = releases.list()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Releases, step, killed)
        with pytest.raises(KeyboardInterrupt):
            releases.rollback(first.release_id)
    releases.recover()
    assert_consistent(releases, second.release_id if step == "_build" else first.release_id)


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [remove, truncate])
def test_a_damaged_database_is_rebuilt(published: Callable[..., Releases], damage: Callable[[Path], None]) -> None:
    releases = published()
    (release,) = releases.list()
    damage(releases.database)
    assert releases.recover() == [f"vigie.duckdb reconstruit depuis {release.release_id}"]
    assert_consistent(releases, release.release_id)


def test_a_lost_pointer_names_the_newest_release(published: Callable[..., Releases]) -> None:
    releases = published(OTHER)
    _, second = releases.list()
    (releases.root / "latest").unlink()
    releases.recover()
    assert_consistent(releases, second.release_id)


def test_the_log_of_someone_who_wrote_is_not_replayed(published: Callable[..., Releases]) -> None:
    releases = published()
    writer = duckdb.connect(str(releases.database))
    writer.execute("SET wal_autocheckpoint = '1GB'")
    writer.execute("CREATE TABLE brouillon AS SELECT 1 AS x")
    wal = releases.data / "vigie.duckdb.wal"
    kept = wal.read_bytes()
    writer.close()
    wal.write_bytes(kept)  # as if that process had been killed
    second = sample.publish(releases, digest=OTHER)
    assert not wal.exists()
    assert_consistent(releases, second.release_id)
    assert query(releases.database, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'brouillon'") == [(0,)]


def test_a_release_of_an_older_version_can_be_published_again(published: Callable[..., Releases]) -> None:
    """A column and a table that did not exist then stay empty."""
    releases = published(OTHER)
    first, _ = releases.list()
    pl.read_parquet(first.path("release")).drop("notice").write_parquet(first.path("release"))
    first.path("reconciliation").unlink()
    from warehouse.package import write_sums

    write_sums(first.public)
    releases.rollback(first.release_id)
    assert query(releases.database, "SELECT count(*) FROM reconciliation") == [(0,)]
    assert query(releases.database, "SELECT avertissement FROM v_publication") == [(None,)]


def test_one_process_at_a_time(published: Callable[..., Releases]) -> None:
    releases = published()
    script = (
        "import sys; from pathlib import Path; from warehouse.release import Releases, ReleaseError\n"
        "try: Releases(Path(sys.argv[1])).recover()\n"
        "except ReleaseError as error: sys.exit(str(error))"
    )
    command = [sys.executable, "-c", script, str(releases.data)]
    with releases.exclusive():
        assert releases.recover() == []  # the same process may go on
        other = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert other.returncode == 1 and "une autre en cours" in other.stderr
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_a_candidate_built_on_an_older_release_is_refused(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    late = sample.candidate(releases, digest=OTHER)
    sample.publish(releases, digest="1" * 64)
    with pytest.raises(ReleaseError, match="entre-temps"):
        releases.publish(late)


def test_a_short_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="hexadécimaux"):
        Releases(tmp_path).candidate("abc")


def test_the_descriptor_points_at_every_file(published: Callable[..., Releases]) -> None:
    public = published().list()[0].public
    package = json.loads((public / "datapackage.json").read_text(encoding="utf-8"))
    paths = [r["path"] for r in package["resources"]]
    assert all((public / path).is_file() for path in paths)
    assert {p for p in files(public) if p.endswith(".parquet")} <= set(paths)


def test_pending_shows_a_candidate_that_was_not_published(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    assert releases.pending() is None
    candidate = sample.candidate(releases)
    assert releases.pending() == candidate.tables
    shutil.rmtree(candidate.folder)


# --- the partners' edition


def both(releases: Releases, digest: str = sample.DIGEST) -> str:
    """Publishes a release whose partners' edition has one more row than the public one."""
    everything = sample.observations()
    public = sample.candidate(releases, everything.head(20), digest=digest)
    partner = public.beside("partner")
    for name, frame in (sample.tables() | {"observation": everything}).items():
        partner.write(name, frame)
    return releases.publish(public, partner).release_id


def test_two_editions_are_published_together_the_partners_one_for_its_group_only(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    name = both(releases)
    partner = tmp_path / "vigie-partner.duckdb"
    assert query(releases.database, "SELECT count(*) FROM observation") == [(20,)]
    assert query(partner, "SELECT count(*), max(rows) FROM observation, release") == [(21, 21)]
    folder = releases.root / name
    assert verify_sums(folder / "public") == verify_sums(folder / "partner") == []
    modes = {
        p: oct(p.stat().st_mode & 0o777) for p in (partner, folder / "partner", folder / "partner/release.parquet")
    }
    assert list(modes.values()) == ["0o640", "0o750", "0o640"]
    assert oct((folder / "public").stat().st_mode & 0o777) == "0o755"


def test_the_partners_file_follows_the_release_in_force(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    partner = tmp_path / "vigie-partner.duckdb"
    alone = sample.publish(releases).release_id
    assert not partner.exists()
    name = both(releases, OTHER)
    assert published_in(partner) == name
    assert query(partner, "SELECT added FROM release") == [(21,)], "the first of its edition"
    releases.rollback(alone)
    assert not partner.exists() and published_in(releases.database) == alone
    releases.rollback(name)
    assert published_in(partner) == published_in(releases.database) == name


def test_what_a_kill_left_of_two_editions_is_put_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases = Releases(tmp_path)
    alone = sample.publish(releases).release_id
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target).name == "vigie-partner.duckdb" and Path(target).parent == tmp_path:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            both(releases, OTHER)
    partner = tmp_path / "vigie-partner.duckdb"
    assert not partner.exists() and published_in(releases.database) != alone
    assert "vigie-partner.duckdb reconstruit depuis" in " ".join(releases.recover())
    assert published_in(partner) == published_in(releases.database)
    partner.write_bytes(b"x")
    releases.recover()
    assert published_in(partner) == published_in(releases.database)
    (releases.root / str(published_in(partner)) / "partner" / "coverage.parquet").write_bytes(b"x")
    releases.rollback(alone)
    with pytest.raises(ReleaseError, match="coverage"):
        releases.rollback(str(releases.list()[-1].release_id))


# --- publication as a decision


def held(releases: Releases, digest: str = OTHER, **changed: object) -> State:
    """A candidate that waits for a decision."""
    candidate = sample.candidate(releases, digest=digest)
    state = State(**{**asdict(candidate.state(["public"])), "why": "essai", "refused": (), **changed})
    releases.hold(state, candidate)
    return state


def test_a_candidate_waits_on_disk_and_any_process_may_publish_it(published: Callable[..., Releases]) -> None:
    releases = published()
    (first,) = releases.list()
    state = held(releases)
    assert (releases.latest(), published_in(releases.database)) == (first, first.release_id)
    later = Releases(releases.data)
    assert later.recover() == [] and later.states() == [state]
    hidden = [p for p in releases.root.iterdir() if p.name.startswith(".candidate-")]
    assert {oct(p.stat().st_mode & 0o777) for p in hidden} == {"0o700", "0o600"}, "nobody else reads it"
    release = later.approve(state.release_id)
    assert release.previous_id == first.release_id
    assert_consistent(releases, state.release_id)
    assert later.states() == []


def test_a_single_candidate_waits(published: Callable[..., Releases]) -> None:
    releases = published()
    one = held(releases)
    two = held(releases, "1" * 64)
    assert releases.states() == [two] and releases.pending() == releases.root / f".candidate-{two.release_id}/public"
    with pytest.raises(ReleaseError, match=two.release_id):
        releases.approve(one.release_id)
    releases.reject(two.release_id)
    assert releases.states() == [] and releases.pending() is None
    with pytest.raises(ReleaseError, match="release candidates"):
        releases.reject(two.release_id)
    held(releases)
    third = sample.publish(releases, digest="2" * 64)
    assert_consistent(releases, third.release_id)  # what waited is of another time


def test_a_candidate_that_may_not_be_published_says_why(published: Callable[..., Releases]) -> None:
    releases = published()
    (first,) = releases.list()
    refused = held(releases, why=None, refused=("core_values.below_maximum : 140",))
    with pytest.raises(ReleaseError, match=r"critiques réussis ; trouvé en échec : core_values.below_maximum"):
        releases.approve(refused.release_id)
    begun = held(releases, why=None, refused=None)
    with pytest.raises(ReleaseError, match="Re-execute from failure"):
        releases.approve(begun.release_id)
    state = held(releases)
    altered = releases.root / f".candidate-{state.release_id}/public/passage.parquet"
    kept = altered.read_bytes()
    altered.write_bytes(b"x")
    with pytest.raises(ReleaseError, match=r"passage\.parquet : contenu modifié"):
        releases.approve(state.release_id)
    altered.write_bytes(kept)
    assert releases.waiting(state.release_id) == state
    (releases.root / "latest").unlink()
    (releases.root / "latest").symlink_to("r0000-000000000000")
    with pytest.raises(ReleaseError, match=f"attendu {first.release_id} comme publication en vigueur"):
        releases.approve(state.release_id)


def test_a_candidate_on_a_release_that_is_no_longer_in_force_is_refused(published: Callable[..., Releases]) -> None:
    releases = published(OTHER)
    first, second = releases.list()
    state = held(releases, "1" * 64)
    releases.rollback(first.release_id)
    assert releases.recover() == [], "it is the person who decides what becomes of it"
    with pytest.raises(ReleaseError, match=f"attendu {second.release_id} .* trouvé {first.release_id}"):
        releases.approve(state.release_id)
    assert published_in(releases.database) == first.release_id


@pytest.mark.parametrize(("step", "owner", "finished"), STEPS[1:])  # it was sealed when it began to wait
def test_a_failure_at_any_step_of_an_approval(
    published: Callable[..., Releases], monkeypatch: pytest.MonkeyPatch, step: str, owner: str, finished: bool
) -> None:
    """Before it shows, the candidate still waits; after, it is published, by this call or the next run."""
    releases = published()
    (first,) = releases.list()
    state = held(releases)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(getattr(module, owner), step, full)
        with pytest.raises(OSError, match="No space left"):
            releases.approve(state.release_id)
    releases.recover()
    if not finished:
        latest = releases.latest()
        assert latest is not None and latest.release_id == first.release_id
        releases.approve(state.release_id)
    assert_consistent(releases, state.release_id)


@pytest.mark.parametrize("step", ["seal", "keep"])
def test_a_failure_while_a_candidate_begins_to_wait_leaves_the_one_that_waited(
    published: Callable[..., Releases], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    releases = published()
    state = held(releases)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module.Candidate if step == "seal" else Releases, step, killed)
        with pytest.raises(KeyboardInterrupt):
            held(releases, "1" * 64)
    assert "reste d'une exécution interrompue" in " ".join(releases.recover())
    assert releases.states() == [state] == [releases.waiting(state.release_id)]
