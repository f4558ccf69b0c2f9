"""A year without hands, on real files: editions appear, change, vanish and come back malformed on the mirror's server;
sensors, schedules and alerts do the rest, and one person approves one candidate.

What is real: the server, the client, Dagster's sensors, schedules, jobs and run status sensors, the mails and posts.
What is not: the clock, and the sources, a few of which are declared here with the editions of the story.
"""

from __future__ import annotations

import importlib.util
import io
import re
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import polars as pl
import pytest
from alert_servers import Received, receiving
from vigie_runs import damage, leftovers, unlocked

from pipelines import alerts, checks, workspace
from pipelines.alerts import CHANNELS, KINDS, STOPS
from pipelines.definitions import build_definitions
from pipelines.settings import Settings
from pipelines.stages import acquisition, publication
from pipelines.workspace import Workspace
from sources import client
from sources.description import Source, load_sources
from warehouse import release
from warehouse.release import Releases

pytestmark = pytest.mark.real

EDITIONS = {  # of the story; the other sources have none
    "insee_cog_communes": ("2021", "2023", "2024"),
    "insee_cog_departements": ("2021",),
    "insee_cog_regions": ("2021",),
    "insee_cog_evenements": ("2023", "2024"),
    "dgcl_epci": ("2021", "2023", "2024"),
    "anct_non_inseres": ("2018-epci", "2018-departements"),
    "insee_filosofi_distribution": ("2020",),
    "insee_populations_legales": ("2019", "2021", "2022"),  # that of 2022 is not stored: it never comes out
}
DATED = ("dgcl_epci", "insee_cog_communes", "insee_populations_legales")  # of the story by their calendar too
NEW_COG = ["dgcl_epci/2024", "insee_cog_communes/2024", "insee_cog_evenements/2024"]
YOUTH, INCOME = "anct_non_inseres/2018-departements", "insee_filosofi_distribution/2020"
PEOPLE_2019, PEOPLE_2021 = "insee_populations_legales/2019", "insee_populations_legales/2021"
BROKEN = [INCOME, PEOPLE_2019, PEOPLE_2021]
LATER = [*NEW_COG, YOUTH, "insee_populations_legales/2022"]
START = sorted({f"{s}/{e}" for s, own in EDITIONS.items() for e in own} - {*LATER})


def declared() -> dict[str, Source]:
    """Every source of Vigie, with the editions and the calendars of the story only."""
    return {
        name: source.model_copy(
            update={
                "editions": tuple(e for e in source.editions if e.edition in EDITIONS.get(name, ())),
                "expected": source.expected if name in DATED else None,
            }
        )
        for name, source in load_sources().items()
    }


@dataclass
class Sites:
    """The producers' sites: the mirror's server on a folder of its own, whose files the story changes."""

    server: ModuleType
    stored: Path
    root: Path
    base: str

    def path(self, name: str) -> Path:
        source, _, edition = name.partition("/")
        return self.root / load_sources()[source].edition(edition).url.removeprefix("https://")

    def real(self, name: str) -> bytes:
        return (self.stored / self.path(name).relative_to(self.root)).read_bytes()

    def put(self, name: str, body: bytes | None = None) -> None:
        """Serves this body from now on; the stored one by default."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_bytes(self.real(name) if body is None else body)
        self.server._HASHES.clear()

    def fail(self, *faults: str) -> None:
        """The faults of `serve.py --fault` from now on, and no other."""
        self.server.Handler.faults = [self.server.Fault(text) for text in faults]

    def asked(self) -> list[tuple[str, str, str]]:
        """(method, status, file) of each request since the beginning."""
        log = Path(self.server.Handler.log_file)
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        return [(method, status, path.rpartition("/")[2]) for method, status, path, _ in map(str.split, lines)]


@pytest.fixture
def sites(mirror: Path, tmp_path: Path) -> Iterator[Sites]:
    spec = importlib.util.spec_from_file_location("serve", mirror / "serve.py")
    assert spec is not None and spec.loader is not None
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    serve.ROOT = tmp_path / "sites"
    serve.Handler.log_file = tmp_path / "requests.log"
    server = ThreadingHTTPServer(("127.0.0.1", 0), serve.Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Sites(serve, mirror / "files", serve.ROOT, f"http://127.0.0.1:{server.server_address[1]}")
    server.shutdown()
    server.server_close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """What time it is for everything that dates, judges a calendar or tells: its only item."""
    moment = [datetime(2024, 4, 1, tzinfo=UTC)]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return moment[0]

    for module in (alerts, checks, publication, client, release):
        monkeypatch.setattr(module, "datetime", Clock)
    return moment


@dataclass
class Year:
    """What Dagster's daemon does when everything is switched on: ticks, requests, runs, then who is told.

    `server`: the definitions of the process that evaluates schedules and sensors, which lasts all year; a run reads its
    own.
    """

    settings: Settings
    clock: list[datetime]
    sites: Sites
    instance: dg.DagsterInstance
    server: dg.RepositoryDefinition
    cursors: dict[str, str | None] = field(default_factory=dict[str, str | None])
    months: list[str] = field(default_factory=list[str])
    runs: list[tuple[str, str, list[str], bool]] = field(default_factory=list[tuple[str, str, list[str], bool]])

    @property
    def today(self) -> str:
        return f"{self.clock[0]:%Y-%m-%d}"

    def at(self, day: str, hour: int) -> None:
        now = datetime.fromisoformat(day).replace(hour=hour, tzinfo=UTC)
        assert now > self.clock[0]
        self.clock[0] = now

    def tick(self, schedule: str, day: str) -> None:
        """A schedule's time has come."""
        self.at(day, 5)
        found = self.server.get_schedule_def(schedule)
        context = dg.build_schedule_context(self.instance, self.clock[0])
        for request in found.evaluate_tick(context).run_requests or []:
            self.run(found.job_name, request, schedule)

    def look(self, *days: str) -> None:
        """Each producer's sensor is evaluated on those days; it may ask, and never fetch."""
        for day in days:
            self.at(day, 12)
            before = len(self.sites.asked())
            requests: list[tuple[str, dg.RunRequest]] = []
            for sensor in self.server.sensor_defs:
                if sensor.name.startswith("nouveautes_"):
                    context = dg.build_sensor_context(self.instance, cursor=self.cursors.get(sensor.name))
                    found = sensor.evaluate_tick(context)
                    self.cursors[sensor.name] = found.cursor
                    requests += [(sensor.name, request) for request in found.run_requests or []]
            assert {method for method, _, _ in self.sites.asked()[before:]} == {"HEAD"}
            for name, request in requests:
                assert request.run_key is None, "Dagster starts one run a key, and a file may go back to what it was"
                self.run("build_release", request, name)

    def run(self, name: str, request: dg.RunRequest, cause: str) -> None:
        """A run, of an hour, with a workspace of its own; then the sensor of how it ended."""
        self.clock[0] += timedelta(hours=1)
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        with unlocked():
            job = build_definitions(Workspace(self.settings)).resolve_job_def(name)
            result = job.execute_in_process(
                run_config=quiet | dict(request.run_config),
                tags=dict(request.tags),
                asset_selection=request.asset_selection,
                instance=self.instance,
                raise_on_error=False,
            )
        asked = request.run_config.get("ops", {}).get("acquire", {}).get("config", {}).get("editions", [])
        if name == "build_release":
            self.runs.append((self.today, cause, asked, result.success))
        sensor = self.server.get_sensor_def("alert_on_success" if result.success else "alert_on_failure")
        kind = dg.DagsterEventType.RUN_SUCCESS if result.success else dg.DagsterEventType.RUN_FAILURE
        context = dg.build_run_status_sensor_context(
            sensor_name=sensor.name,
            dagster_event=next(e for e in result.all_events if e.event_type == kind),
            dagster_instance=self.instance,
            dagster_run=result.dagster_run,
        )
        sensor(context if result.success else context.for_run_failure())

    def approve(self, day: str) -> None:
        """A person approves the candidate that waits."""
        self.at(day, 14)
        (waiting,) = [s for s in Releases(self.settings.data).states() if s.why]
        config = {"ops": {"approve": {"config": {"release_id": waiting.release_id}}}}
        with unlocked():
            job = build_definitions(Workspace(self.settings)).resolve_job_def("approve_release")
            assert job.execute_in_process(run_config=config, instance=self.instance).success

    def month(self, month: str, happens: Callable[[], None] = lambda: None) -> None:
        """The run of the 3rd, what happens at the sites and after, the sensors for three days, a look at calendars."""
        self.months.append(month)
        self.tick(MONTHLY, f"{month}-03")
        happens()
        self.look(*(f"{month}-{day}" for day in ("20", "21", "22")))
        self.tick("watch_freshness_weekly", f"{month}-25")


@pytest.fixture
def year(sites: Sites, clock: list[datetime], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Year]:
    monkeypatch.setattr(workspace, "load_sources", declared)
    monkeypatch.setattr(acquisition, "SECOND_TRY", 0.0)
    settings = Settings(data=tmp_path / "data", profile="mirror", mirror=sites.base, years="2018-2024", attempts=2)
    server = build_definitions(Workspace(settings)).get_repository_def()
    with dg.DagsterInstance.ephemeral() as instance:
        yield Year(settings, clock, sites, instance, server)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    with receiving("secret") as found:
        monkeypatch.setenv(CHANNELS, found.channels)
        yield found


# --- what happens to files


def edited(archive: bytes, edit: Callable[[list[list[str]]], None]) -> bytes:
    """An archive of one text file, whose cells were edited."""
    with zipfile.ZipFile(io.BytesIO(archive)) as before:
        (name,) = before.namelist()
        cells = [line.split(";") for line in before.read(name).decode("utf-8").split("\n")]
    edit(cells)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as after:
        after.writestr(zipfile.ZipInfo(name), "\n".join(";".join(line) for line in cells))
    return made.getvalue()


def revised(*departements: str) -> Callable[[list[list[str]]], None]:
    """Five inhabitants more in each commune of these départements."""

    def edit(cells: list[list[str]]) -> None:
        for line in cells[1:]:
            if len(line) > 10 and line[2] in departements:
                line[8], line[10] = str(int(line[8]) + 5), str(int(line[10]) + 5)

    return edit


def renamed(cells: list[list[str]]) -> None:
    """The column of the municipal population has another name."""
    cells[0] = [name.replace("PMUN", "POPULATION") for name in cells[0]]


def in_thousandths(cells: list[list[str]]) -> None:
    """Every population a thousand times what it is."""
    for line in cells[1:]:
        line[8:] = [f"{cell.strip()}000" if cell.strip() else cell for cell in line[8:]]


# --- what became of it


def published(data: Path) -> list[tuple[str, int, str, list[str], list[str]]]:
    """Of each release: day, reference COG, whether lines came (+), changed (~) or went (-), editions that are not as in
    the one before, those that are stale."""
    found: list[tuple[str, int, str, list[str], list[str]]] = []
    before: dict[str, str] = {}
    for made in Releases(data).list():
        files = pl.read_parquet(made.path("source_file")).with_columns(name=pl.format("{}/{}", "source_id", "edition"))
        bodies = dict(files.drop_nulls("sha256").select("name", "sha256").rows())
        other = sorted(name for name in bodies.keys() | before.keys() if bodies.get(name) != before.get(name))
        cog = pl.read_parquet(made.path("territory"))["cog_year"].max()
        moved = "".join(sign for sign, n in zip("+~-", (made.added, made.changed, made.removed), strict=True) if n)
        stale = sorted(files.filter("stale")["name"])
        found.append((f"{made.created_at:%Y-%m-%d}", int(str(cog)), moved, other, stale))
        before = bodies
    return found


def told(received: Received) -> list[tuple[str, str, dict[str, list[str]]]]:
    """Of each message: day, title, what each of its parts is about."""
    headings = {heading: kind for kind, (heading, _) in KINDS.items()} | {"Rentré dans l'ordre": "over"}
    found: list[tuple[str, str, dict[str, list[str]]]] = []
    for rank, mail in enumerate(received.mails):
        lines = received.text(rank).splitlines()
        about: dict[str, list[str]] = {}
        kind = ""
        for line in lines:
            kind = headings.get(line.rpartition(" (")[0], kind)
            if line.startswith("- "):
                what = line.removeprefix("- ").removeprefix(STOPS).split(" ")[0]
                about[kind] = sorted([*about.get(kind, []), re.sub("r000(.).*", r"candidate \1", what)])
        day = f"{lines[0][9:13]}-{lines[0][6:8]}-{lines[0][3:5]}"  # « Le 15/04/2024 à … »
        found.append((day, str(mail["subject"]).removeprefix("Vigie : "), about))
    return found


WRONG = ["drift_scale", "drift_shape", "drift_sums"]  # of a file in thousandths, and what its figures are then
TOO_LARGE = ["core_values.below_maximum", "observation_values.below_maximum"]
MONTHLY = "build_release_monthly"
RUNS = [  # day, what asked for it, editions asked, whether it ended well; and a monthly run each third of the month
    ("2024-04-15", "prepare_cog_yearly", [f"{s}/*" for s in sorted(EDITIONS) if "cog" in s or "epci" in s], True),
    ("2024-06-20", "nouveautes_anct", [YOUTH], True),
    ("2024-07-20", "nouveautes_insee", [PEOPLE_2021], True),
    ("2024-09-20", "nouveautes_insee", BROKEN, True),
    ("2024-10-20", "nouveautes_insee", BROKEN, True),
    ("2024-11-20", "nouveautes_insee", [PEOPLE_2021], False),
    ("2024-12-20", "nouveautes_insee", [PEOPLE_2021], True),
]
RELEASES = [
    ("2024-04-03", 2023, "+", START, []),
    ("2024-04-15", 2024, "+~-", NEW_COG, []),  # the day it was made; approved on the 17th
    ("2024-06-20", 2024, "+", [YOUTH], []),
    ("2024-07-20", 2024, "~", [PEOPLE_2021], []),
    ("2024-09-20", 2024, "", [], BROKEN),  # the same figures, three editions of which are the last good ones
    ("2024-10-20", 2024, "", [], []),
    ("2024-12-20", 2024, "~", [PEOPLE_2021], []),  # never the figures of November
]
ALERTS: list[tuple[str, str, dict[str, list[str]]]] = [
    ("2024-04-15", "1 point(s) à regarder", {"decision": ["candidate 2"], "news": NEW_COG}),
    ("2024-04-25", "rentré dans l'ordre", {"over": ["candidate 2"]}),
    ("2024-06-20", "nouvelles éditions", {"news": [YOUTH]}),
    ("2024-07-20", "nouvelles éditions", {"news": [PEOPLE_2021]}),
    ("2024-09-03", "1 point(s) à regarder", {"gone": [PEOPLE_2019]}),
    ("2024-09-20", "3 point(s) à regarder", {"edition": BROKEN, "over": [PEOPLE_2019]}),
    ("2024-10-20", "nouvelles éditions", {"news": [PEOPLE_2019], "over": BROKEN}),
    ("2024-11-20", "rien de nouveau n'est publié", {"check": TOO_LARGE, "drift": WRONG, "news": [PEOPLE_2021]}),
    ("2024-12-20", "nouvelles éditions", {"news": [PEOPLE_2021], "over": sorted([*TOO_LARGE, *WRONG])}),
    ("2025-03-03", "1 point(s) à regarder", {"late": ["insee_populations_legales"]}),
]


def test_a_year_of_editions_that_appear_change_vanish_and_come_back_malformed(
    year: Year, sites: Sites, received: Received
) -> None:
    for name in START:
        sites.put(name)

    def a_new_cog() -> None:
        for name in NEW_COG:
            sites.put(name)
        year.tick("prepare_cog_yearly", "2024-04-15")
        year.approve("2024-04-17")

    def malformed() -> None:
        sites.put(PEOPLE_2019, edited(sites.real(PEOPLE_2019), renamed))
        sites.put(INCOME, sites.real(INCOME)[:80_000])
        sites.fail(f"html:{sites.path(PEOPLE_2021).name}")

    def good_again() -> None:
        sites.put(PEOPLE_2019)
        sites.put(INCOME)
        sites.fail()

    def people(edit: Callable[[list[list[str]]], None]) -> None:
        sites.put(PEOPLE_2021, edited(sites.real(PEOPLE_2021), edit))

    year.month("2024-04", a_new_cog)
    year.month("2024-05")
    year.month("2024-06", lambda: sites.put(YOUTH))
    year.month("2024-07", lambda: people(revised("01")))
    year.month("2024-08", lambda: sites.path(PEOPLE_2019).unlink())
    year.month("2024-09", malformed)
    year.month("2024-10", good_again)
    year.month("2024-11", lambda: people(in_thousandths))
    year.month("2024-12", lambda: people(revised("01", "02")))
    year.month("2025-01", lambda: sites.fail("503:"))  # not one site answers the sensors
    sites.fail("503::8")  # nor, at first, the monthly run
    year.month("2025-02")
    year.month("2025-03")

    data = year.settings.data
    monthly = [(f"{m}-03", MONTHLY, [], m != "2024-12") for m in year.months]
    assert year.runs == sorted([*RUNS, *monthly])
    assert published(data) == RELEASES
    assert told(received) == ALERTS
    assert [post["title"] for post in received.posts] == [mail["subject"] for mail in received.mails]
    assert "édition révisée" in (Releases(data).list()[3].public / "CHANGES.md").read_text(encoding="utf-8")
    assert damage(data) == [] == leftovers(data)
    refused = Counter(method for method, status, _ in sites.asked() if status == "503")
    assert refused == {"HEAD": 3 * len([*START, *LATER]), "GET": 8}, "asked once a day; then again, until it answers"
    travelled = Counter(file for method, status, file in sites.asked() if (method, status) == ("GET", "200"))
    again = {PEOPLE_2019: 2, PEOPLE_2021: 5, INCOME: 2}  # each new body once; a refused one, by the monthly run too
    assert travelled == Counter(sites.path(n).name for n in [*START, *NEW_COG, YOUTH, *Counter(again).elements()])
