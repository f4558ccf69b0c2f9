"""What goes wrong with a source, a file, a lock or a clock: what stands in for it, and what is said."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest
import release_sample as sample
from alert_servers import receiving
from sqlalchemy.exc import OperationalError
from vigie_runs import call, unlocked

from pipelines import assets, doctor, running
from pipelines.settings import Settings
from pipelines.stages import acquisition, publication
from pipelines.workspace import FAILURES, ROOT, Workspace, WorkspaceError, unreadable
from sources.client import Outcome
from sources.deposits.contract import Deposited
from sources.description import Edition, Source
from sources.errors import AcquisitionError, BodyRefusedError, DiskError, LayoutError, NotPublishedError, SourceError
from sources.raw_store import RawFile, RawStoreError
from warehouse.duckdb_file import published_in
from warehouse.release import Releases

GOOD, BETTER, SPOILED = b"code;valeur\n01001;1\n", b"code;valeur\n01001;2\n", b"<html>"


def edition(key: str, host: str = "a.test", connector: str = "file") -> Edition:
    return Edition(
        edition=key,
        data_year=2020,
        url=f"https://{host}/{key}.csv",
        format="json" if connector == "typed" else "csv",
        connector=connector,  # type: ignore[arg-type]
        rows=({"code": "01001"},) if connector == "typed" else (),
    )


def source(*editions: Edition, source_id: str = "essai") -> Source:
    own = editions or (edition("2020"),)
    return Source(source_id=source_id, title="Essai", producer="P", owner="P", licence="L", editions=own)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(acquisition, "SECOND_TRY", 0.0)
    return Workspace(Settings(data=tmp_path / "data"))


# --- asking the producers


class Sites:
    """A client whose answers are given: one list an edition, the last answer for ever."""

    def __init__(self, answers: dict[str, list[SourceError | None]]) -> None:
        self.answers, self.asked = answers, list[list[str]]()

    def fetch_all(self, editions: Iterable[tuple[Source, Edition]], progress: object = None) -> list[Outcome]:
        pairs = list(editions)
        self.asked.append([e.edition for _, e in pairs])
        return [self._answer(s, e) for s, e in pairs]

    def _answer(self, s: Source, e: Edition) -> Outcome:
        left = self.answers[e.edition]
        error = left.pop(0) if len(left) > 1 else left[0]
        kind = "unchanged" if error is None else "not_published" if isinstance(error, NotPublishedError) else "failed"
        return Outcome(s.source_id, e.edition, kind, e.url, e.url, error=error)


def failed(kind: type[SourceError], key: str = "2020") -> SourceError:
    return kind("essai", key, "un fichier", "autre chose", "relancer")


Answers = list[tuple[Edition, list[SourceError | None]]]


def asked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, answers: Answers
) -> tuple[Sites, Source, Callable[[], list[Outcome]]]:
    sites = Sites({e.edition: found for e, found in answers})
    monkeypatch.setattr(acquisition, "client", lambda _: sites)
    own = source(*(e for e, _ in answers))
    return sites, own, lambda: acquisition.acquire(workspace, [own])


def test_only_what_did_not_answer_is_asked_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    sites, own, acquire = asked(
        workspace,
        monkeypatch,
        [
            (edition("bon"), [None]),
            (edition("muet"), [failed(AcquisitionError), None]),
            (edition("page"), [failed(BodyRefusedError)]),
            (edition("absent"), [failed(NotPublishedError)]),
        ],
    )
    assert [o.kind for o in acquire()] == ["unchanged", "unchanged", "failed", "not_published"]
    assert sites.asked == [["bon", "muet", "page", "absent"], ["muet"]]
    assert {e: step for e, (step, _) in workspace.failures(own).items()} == {"page": "raw"}
    assert "attendu un fichier ; trouvé autre chose" in workspace.failures(own)["page"][1]


def test_a_failure_is_forgotten_once_it_is_over(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(edition("2019"), [None]), (edition("2020"), [failed(BodyRefusedError), None])]
    _, own, acquire = asked(workspace, monkeypatch, answers)
    acquire()
    assert set(workspace.failures(own)) == {"2020"}
    acquire()
    assert workspace.failures(own) == {}
    assert list(workspace.stage("failures").rglob("*.json")) == []


@pytest.mark.parametrize(
    ("answers", "error"),
    [
        ([(edition("2019"), None), (edition("2020", "b.test"), DiskError)], DiskError),
        ([(edition("2019"), AcquisitionError), (edition("2020", "b.test"), AcquisitionError)], AcquisitionError),
        ([(edition("2019"), BodyRefusedError), (edition("2020", "b.test"), BodyRefusedError)], AcquisitionError),
        ([(edition("2019"), AcquisitionError), (edition("2020", connector="typed"), None)], AcquisitionError),
    ],
    ids=["disk", "no network", "a portal answers for every site", "what is typed needs no site"],
)
def test_a_failure_of_ours_stops_the_run(
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[tuple[Edition, type[SourceError] | None]],
    error: type[SourceError],
) -> None:
    _, own, acquire = asked(workspace, monkeypatch, [(e, [k and failed(k)]) for e, k in answers])
    with pytest.raises(error):
        acquire()
    assert workspace.failures(own) == {}, "no source is to blame"


# --- reading


@pytest.fixture
def reading(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Callable[..., acquisition.ParseReport]:
    """`reading(body, ...)`: those bodies arrive one after the other, then the source is read; a body that starts with
    `<` cannot be."""

    def parse(source: Source, edition: Edition, files: dict[str, bytes]) -> pl.DataFrame:
        (content,) = files.values()
        if content.startswith(b"<"):
            raise failed(LayoutError)
        return pl.read_csv(content, separator=";")

    def read(*bodies: bytes, of: Source | None = None) -> acquisition.ParseReport:
        own = of or source()
        now = datetime.now(UTC)
        for body in bodies:
            sha256 = workspace.store.add(body)
            url = own.editions[0].url
            row = RawFile(own.source_id, "2020", url, url, now, None, None, sha256, len(body), "L", "P")
            workspace.store.record([row])
        workspace.__dict__["sources"] = {**workspace.sources, own.source_id: own}
        return acquisition.parse(workspace, own, None)

    monkeypatch.setattr(acquisition, "parser_of", lambda _: parse)
    return read


def value(workspace: Workspace, source_id: str = "essai") -> int | None:
    path = workspace.core(source_id, "2020")
    return pl.read_parquet(path)["valeur"].item() if path.exists() else None


def test_the_last_good_edition_stands_in(
    workspace: Workspace, reading: Callable[..., acquisition.ParseReport]
) -> None:
    assert reading(GOOD).errors == []
    sound = workspace.input_digest()
    report = reading(SPOILED)
    assert [type(e) for e in report.errors] == [LayoutError]
    assert report.metadata()["illisibles"] == ["2020"]
    assert value(workspace) == 1
    assert workspace.stale_editions() == {("essai", "2020"): FAILURES["core"]}
    assert workspace.raw_sha256(source(), edition("2020")) == workspace.store.add(GOOD), "that of the body in use"
    assert workspace.input_digest() != sound, "a release says that it is stale: it is another one"
    assert reading(BETTER).errors == [] and value(workspace) == 2
    assert workspace.stale_editions() == {}
    assert reading(GOOD).errors == [] and workspace.input_digest() == sound


def test_without_its_core_frame_the_last_good_body_is_read_again(
    workspace: Workspace, reading: Callable[..., acquisition.ParseReport]
) -> None:
    reading(GOOD, BETTER, SPOILED)
    assert value(workspace) == 2
    workspace.core("essai", "2020").unlink()
    assert len(reading().errors) == 1
    assert value(workspace) == 2 and set(workspace.stale_editions()) == {("essai", "2020")}


def test_what_never_was_good_is_absent_with_a_reason(
    workspace: Workspace, reading: Callable[..., acquisition.ParseReport]
) -> None:
    assert len(reading(SPOILED).errors) == 1
    assert value(workspace) is None and workspace.stale_editions() == {}
    assert {e: step for e, (step, _) in workspace.failures(source()).items()} == {"2020": "core"}


def test_an_older_deposit_never_comes_back(
    workspace: Workspace, reading: Callable[..., acquisition.ParseReport]
) -> None:
    contract = workspace.contracts["cpam_assures"]
    own = Deposited.model_construct(**dict(source(source_id="depot_essai")), contract=contract)
    assert reading(GOOD, of=own).errors == []
    assert value(workspace, "depot_essai") == 1
    assert len(reading(SPOILED, of=own).errors) == 1
    assert value(workspace, "depot_essai") is None, "it was replaced or withdrawn"


def spoil(workspace: Workspace, body: bytes) -> Path:
    path = workspace.store.path(workspace.store.add(body))
    path.chmod(0o644)
    path.write_bytes(bytes(reversed(body)))
    return path


def test_an_altered_body_is_set_aside_and_asked_again(
    workspace: Workspace, reading: Callable[..., acquisition.ParseReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading(GOOD)
    path = spoil(workspace, GOOD)
    workspace.core("essai", "2020").unlink()

    class Site:
        def fetch(self, *_: object) -> None:
            workspace.store.add(GOOD)

    monkeypatch.setattr(acquisition, "client", lambda _: Site())
    assert reading().errors == [] and value(workspace) == 1
    assert path.read_bytes() == GOOD
    assert path.with_name(path.name + ".altere").read_bytes() == bytes(reversed(GOOD)), "nothing is destroyed"


def test_an_altered_body_that_is_not_served_any_more_leaves_the_last_good_one(
    workspace: Workspace, reading: Callable[..., acquisition.ParseReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading(GOOD)
    reading(BETTER)
    spoil(workspace, BETTER)
    workspace.core("essai", "2020").unlink()

    class Site:
        def fetch(self, *_: object) -> None: ...

    monkeypatch.setattr(acquisition, "client", lambda _: Site())
    (error,) = reading().errors
    assert isinstance(error, AcquisitionError) and "perdu ou altéré" in str(error)
    assert value(workspace) == 1 and set(workspace.stale_editions()) == {("essai", "2020")}


def test_cut_files_are_found(tmp_path: Path) -> None:
    good, cut, empty = (tmp_path / "stage" / f"{name}.parquet" for name in ("good", "cut", "empty"))
    good.parent.mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(good)
    cut.write_bytes(good.read_bytes()[:-9])
    empty.touch()
    assert unreadable(tmp_path) == [cut, empty]


# --- the lock

HOLDER = """
import sys, time
from pathlib import Path
from pipelines.settings import Settings
from pipelines.workspace import Workspace, WorkspaceError
print("ready", flush=True)
for line in sys.stdin:
    workspace = Workspace(Settings(data=Path(line.strip())))
    try:
        workspace.lock()
    except WorkspaceError as error:
        print(error, flush=True)
    else:
        time.sleep(0.4)
        print("mine", flush=True)
"""


def test_of_two_at_once_one_holds_the_folder_and_the_other_names_it(tmp_path: Path) -> None:
    """Ten times out of ten."""
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path.cwd()
        )
        for _ in range(2)
    ]
    assert all(p.stdin and p.stdout and p.stdout.readline() == "ready\n" for p in pair)
    for n in range(10):
        for process in pair:
            assert process.stdin is not None
            process.stdin.write(f"{tmp_path / str(n)}\n")
            process.stdin.flush()
        said = [process.stdout.readline().strip() for process in pair if process.stdout]
        assert said.count("mine") == 1, said
        winner, refusal = pair[said.index("mine")], said[1 - said.index("mine")]
        assert f"déjà utilisé par le processus {winner.pid} (machine " in refusal and "depuis le " in refusal
    for process in pair:
        process.communicate()


def test_a_folder_is_given_back(workspace: Workspace) -> None:
    other = Workspace(workspace.settings)
    workspace.lock()
    assert workspace.locked
    with pytest.raises(WorkspaceError, match="déjà utilisé"):
        other.lock()
    workspace.unlock()
    other.lock()
    other.unlock()


# --- a clock that goes back


def test_releases_keep_their_order_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    releases = Releases(tmp_path)
    first = sample.publish(releases)

    class Early(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2020, 1, 1, tzinfo=UTC)

    monkeypatch.setattr("warehouse.release.datetime", Early)
    second = sample.publish(releases, digest="f" * 64)
    assert second.created_at < first.created_at
    assert [r.release_id for r in releases.list()] == [first.release_id, second.release_id]
    latest = releases.latest()
    assert latest is not None and latest.release_id == second.release_id and second.previous_id == first.release_id


def test_a_clock_that_is_late_is_told(workspace: Workspace, reading: Callable[..., acquisition.ParseReport]) -> None:
    reading(GOOD)
    assert doctor.behind(workspace) is None
    raw = workspace.store.latest("essai", "2020")
    assert raw is not None
    workspace.store.record([replace(raw, etag="later", retrieved_at=datetime.now(UTC) + timedelta(days=3))])
    assert "le dossier a déjà noté le" in str(doctor.behind(workspace))
    latest = workspace.store.latest("essai", "2020")
    assert latest is not None and latest.etag == "later"
    workspace.store.record([replace(raw, etag="now")])
    latest = workspace.store.latest("essai", "2020")
    assert latest is not None and latest.etag == "now", "the order of the index is that of its rows"


# --- Dagster's files, and the doctor


def test_a_base_of_dagster_that_no_longer_opens_is_set_aside(tmp_path: Path) -> None:
    good, bad = tmp_path / "schedules" / "schedules.db", tmp_path / "history" / "runs.db"
    for path in (good, bad):
        path.parent.mkdir(parents=True)
    with sqlite3.connect(good) as base:
        base.execute("CREATE TABLE t (a)")
    bad.write_bytes(b"not a database" * 100)
    bad.with_name("runs.db-wal").write_bytes(b"journal")
    (told,) = doctor.mend_history(tmp_path)
    assert told.startswith("runs.db de Dagster abîmé, mis de côté (runs.db.abime-")
    assert good.exists() and not bad.exists() and not bad.with_name("runs.db-wal").exists()
    assert {p.name.partition(".abime-")[0] for p in bad.parent.iterdir()} >= {"runs.db", "runs.db-wal"}
    assert doctor.mend_history(tmp_path) == []


def test_a_history_that_refuses_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk: the base of Dagster is what grows first."""

    class Job:
        def execute_in_process(self, **_: object) -> None:
            raise OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))

    found = SimpleNamespace(resolve_job_def=lambda _: Job())
    monkeypatch.setattr("pipelines.definitions.build_definitions", lambda _: found)
    monkeypatch.setattr("pipelines.automation.whole_range", lambda _: {})
    monkeypatch.setattr(dg.DagsterInstance, "get", dg.DagsterInstance.ephemeral)
    ((step, told),) = running._execute(workspace, [], running.Told())
    assert step == "l'historique" and "database or disk is full" in told and "libérer de la place" in told


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RawStoreError("index illisible")])
def test_a_folder_that_refuses_is_told_without_a_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def refused(*_: object) -> int:
        raise error

    monkeypatch.setattr(running, "run_job", refused)
    run = call(tmp_path, "run")
    assert run.code == 1 and "Traceback" not in run.text
    assert str(error) in run.text and "vigie doctor" in run.text


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("SELECT secret", {}, sqlite3.OperationalError("database disk image is malformed")),
        OSError(28, "No space left on device"),
        WorkspaceError("perimeters/faux.csv : attendu un code"),
    ],
)
def test_what_prevents_a_run_from_beginning_is_told_to_who_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Nobody reads the terminal of a timer."""

    def refused() -> list[str]:
        raise error

    monkeypatch.setattr(running, "close_dead_runs", refused)
    with receiving("secret") as received:
        run = call(tmp_path, "run", VIGIE_ALERTS=received.channels)
        said = "malformed" if isinstance(error, OperationalError) else str(error)
        assert run.code in (1, 2) and "Traceback" not in run.text and said in run.text
        assert received.mails[0]["subject"] == "Vigie : rien de nouveau n'est publié"
        assert said in received.text() and "SELECT" not in received.text() + run.text
        assert call(tmp_path, "run", "--editions", "inconnue/2020", VIGIE_ALERTS=received.channels).code == 2
        assert len(received.mails) == 1, "who types a wrong name reads the answer"
        with unlocked():
            Workspace(Settings(data=tmp_path)).lock()
            held = call(tmp_path, "run", VIGIE_ALERTS=received.channels)
        assert held.code == 2 and "déjà utilisé" in held.text and len(received.mails) == 1, "another run goes on"


@pytest.fixture
def published(tmp_path: Path) -> Workspace:
    """A folder with a small release and one stored body."""
    data = tmp_path / "data"
    sample.publish(Releases(data))
    made = Workspace(Settings(data=data))
    sha256 = made.store.add(GOOD)
    url = "https://a.test/2020.csv"
    made.store.record([RawFile("essai", "2020", url, url, datetime.now(UTC), None, None, sha256, len(GOOD), "L", "P")])
    return made


def wrong(workspace: Workspace) -> dict[str, doctor.Finding]:
    return {f.what: f for f in doctor.examine(workspace, network=False) if f.level != "bon"}


def test_a_sound_folder_has_nothing_to_mend(published: Workspace) -> None:
    assert wrong(published).keys() <= {"Réglages", "Paquets"}, "those are of the machine that runs the tests"
    assert not published.locked, "a run may start"


def test_the_doctor_finds_and_mends_a_spoiled_database(published: Workspace) -> None:
    path = published.data / "vigie.duckdb"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = wrong(published)["vigie.duckdb"]
    assert found.level == "à corriger" and found.mend is not None
    published.lock()
    assert "reconstruit depuis r0001" in found.mend()
    published.unlock()
    assert published_in(path) == Releases(published.data).list()[0].release_id
    assert "vigie.duckdb" not in wrong(published)


def test_the_doctor_reads_every_block(published: Workspace) -> None:
    """The file opens and has its rows, and yet one block is spoiled."""
    path = published.data / "vigie.duckdb"
    content = path.read_bytes()
    latest = Releases(published.data).latest()
    assert latest is not None


    def found(start: int) -> bool:
        path.write_bytes(content[:start] + bytes(255 - b for b in content[start : start + 64]) + content[start + 64 :])
        return doctor.database_damage(path, latest, "public") is not None

    assert any(map(found, range(3 * 4096, len(content), 262_144))), "blocks begin after three headers"
    path.write_bytes(content)
    assert doctor.database_damage(path, latest, "public") is None


def test_the_doctor_finds_an_altered_and_a_lost_body(published: Workspace) -> None:
    path = spoil(published, GOOD)
    found = wrong(published)["Magasin brut"]
    assert found.level == "à corriger" and str(path) in found.told and found.mend is not None
    found.mend()
    lost = wrong(published)["Magasin brut"]
    assert lost.level == "à voir" and "1 fichier(s) absent(s) : essai" in lost.told


def test_the_doctor_finds_what_is_open_to_others(published: Workspace) -> None:
    told = published.data / "told"
    told.mkdir(mode=0o755)
    found = wrong(published)["Droits"]
    assert "told (0700)" in found.told and found.mend is not None
    found.mend()
    assert told.stat().st_mode & 0o777 == 0o700 and "Droits" not in wrong(published)


def test_the_doctor_finds_altered_releases_spoiled_files_and_leftovers(published: Workspace) -> None:
    latest = Releases(published.data).latest()
    assert latest is not None
    path = latest.path("coverage")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    core = published.core("essai", "2020")
    core.parent.mkdir(parents=True)
    core.write_bytes(b"PAR1")
    core.with_name(".2020.parquet.1.tmp").touch()
    history = published.data / "dagster" / "history"
    history.mkdir(parents=True)
    (history / "runs.db").write_bytes(b"?" * 5000)
    (published.data / "contracts").mkdir()
    (published.data / "contracts" / "faux.yaml").write_text("nom: [")
    found = wrong(published)
    assert "coverage.parquet : contenu modifié" in found[f"Publication {latest.release_id}"].told
    assert "core/essai/2020.parquet illisible" in found["Fichiers intermédiaires"].told
    assert ".2020.parquet.1.tmp" in found["Restes"].told
    assert "runs.db abîmé" in found["Historique Dagster"].told
    assert "faux.yaml" in found["Déclarations"].told


def test_the_doctor_goes_on_past_what_it_cannot_look_at(published: Workspace) -> None:
    (published.data / "raw" / "index.parquet").write_bytes(b"cut")
    found = wrong(published)
    assert found["Magasin brut"].level == "à corriger" and "restaurer raw/index.parquet" in found["Magasin brut"].action
    assert "RawStoreError" in found["Horloge"].told
    run = call(published.data, "doctor")
    assert run.code == 1 and "Traceback" not in run.text and "vigie.duckdb" in run.text


def test_the_doctor_knows_the_variables_of_other_parts(published: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_ALERTS", "json://localhost")
    storage = (ROOT / "docs/deploiement/postgresql/dagster.yaml").read_text(encoding="utf-8")
    names = re.findall(r"env: (VIGIE_POSTGRES_\w+)", storage)
    assert len(names) == 5
    for name in names:
        monkeypatch.setenv(name, "x")
    assert "Réglages" not in wrong(published)


def test_the_doctor_erases_no_deposit(published: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is ahead would end every retention."""

    def erased(_: Workspace) -> list[str]:
        raise AssertionError("a deposit was erased")

    monkeypatch.setattr("pipelines.stages.publication.erase_ended", erased)
    core = published.core("essai", "2020")
    core.parent.mkdir(parents=True)
    core.with_name(".2020.parquet.1.tmp").touch()
    mend = wrong(published)["Restes"].mend
    assert mend is not None
    with unlocked():
        mend()
    assert "Restes" not in wrong(published)
    with unlocked(), pytest.raises(AssertionError):
        publication.prepare(published)


def test_a_release_whose_table_cannot_be_read_is_named(published: Workspace) -> None:
    latest = Releases(published.data).latest()
    assert latest is not None
    latest.path("release").chmod(0o644)
    latest.path("release").write_bytes(b"cut")
    run = call(published.data, "run")
    assert run.code == 1 and "Traceback" not in run.text, run.text
    assert f"{latest.release_id} la refait" in run.text and "vigie doctor" in run.text


def test_the_doctor_finds_the_machine_wrong(published: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIE_DATTA", "ailleurs")
    monkeypatch.setattr(doctor, "version", lambda name: "0.0.1" if name == "polars" else version(name))
    monkeypatch.setattr(doctor.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(doctor, "LEAST_ROOM", 2**62)
    (published.data / "PROFILE").write_text("real\n")
    found: dict[str, str] = {}
    for finding in doctor.examine(published, network=False):
        if finding.level != "bon":
            found[finding.what] = found.get(finding.what, "") + finding.told
    assert "VIGIE_DATTA" in found["Réglages"] and "genre « real »" in found["Réglages"]
    assert "polars : attendu" in found["Paquets"] and "trouvé 3.9.1" in found["Python"]
    assert "libres ; une exécution en demande" in found["Disque"]


def test_the_command_mends_and_its_code_says_what_is_left(
    published: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_packages", lambda _: [])  # those of the machine that runs the tests
    path = published.data / "vigie.duckdb"
    path.write_bytes(b"")
    told = call(published.data, "doctor")
    assert told.code == 1 and "1 point(s) à corriger" in told.text and path.read_bytes() == b"", "reads only"
    published.lock()
    busy = call(published.data, "doctor", "--repair")
    assert busy.code == 2 and "déjà utilisé" in busy.text
    published.unlock()
    mended = call(published.data, "doctor", "--repair")
    assert mended.code == 0 and "réparé : reconstruit depuis r0001" in mended.text, mended.text
    assert "Rien à corriger" in call(published.data, "doctor").text


def test_the_doctor_asks_each_site_once(published: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    class Network:
        def clock(self, source: Source, edition: Edition) -> datetime | None:
            if "late.test" in edition.url:
                return datetime.now(UTC) - timedelta(hours=1)
            if "mute.test" in edition.url:
                raise failed(AcquisitionError)
            return datetime.now(UTC)

    monkeypatch.setattr(doctor, "client", lambda _: Network())
    live = Workspace(Settings(data=published.data, profile="live"))
    hosts = ("fine.test", "late.test", "mute.test")
    live.__dict__["sources"] = {"essai": source(*(edition(h, h) for h in hosts), edition("t", connector="typed"))}
    late, mute = doctor._network(live)
    assert (late.what, late.level) == ("Horloge", "à corriger") and "late.test dit" in late.told
    assert (mute.level, mute.told) == ("à voir", "sans réponse : mute.test")
    live.__dict__["sources"] = {"essai": source(edition("a", "mute.test"))}
    (alone,) = doctor._network(live)
    assert alone.level == "à corriger"


def test_the_page_shows_what_failed_and_nothing_of_a_deposit(workspace: Workspace) -> None:
    own = source()
    assert assets._newest(workspace, own).passed
    workspace.note_failures("raw", "essai", ["2020"], {"2020": "essai 2020 : trouvé une page"})
    shown = assets._newest(workspace, own)
    assert not shown.passed and shown.severity == dg.AssetCheckSeverity.WARN, "told, and stops nothing"
    assert shown.description == "essai 2020 : trouvé une page"
    deposit = Deposited.model_construct(**dict(own), contract=workspace.contracts["cpam_assures"])
    workspace.note_failures("core", "essai", ["2020"], {"2020": "ligne 3 : trouvé « 17 »"})
    assert assets._newest(workspace, deposit).description == f"2020 : {FAILURES['core']}"


def test_failures_of_a_narrowed_run_leave_the_others(workspace: Workspace) -> None:
    own = source(edition("2019"), edition("2020"))
    workspace.note_failures("core", "essai", ["2019", "2020"], {"2019": "a", "2020": "b"})
    workspace.note_failures("core", "essai", ["2020"], {})
    assert workspace.failures(own) == {"2019": ("core", "a")}
    kept = workspace.stage("failures", "core", "essai.json")
    assert json.loads(kept.read_text()) == {"2019": "a"}
