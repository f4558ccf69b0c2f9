"""What runs without hands: sensors against a site where editions appear, change and vanish; schedules; the approval."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest
from loopback import Site, client_of, serving

from pipelines import automation
from pipelines.automation import build_schedules, build_sensors, by_producer, partition_range, whole_range
from pipelines.choosing import matching
from pipelines.settings import Settings
from pipelines.workspace import Workspace, WorkspaceError
from sources.description import Edition, Source, load_sources

HOST = "https://producteur.test"


def source(source_id: str, producer: str, *years: int) -> Source:
    """A source of one file a year."""
    editions = tuple(
        Edition(edition=str(y), data_year=y, url=f"{HOST}/{source_id}-{y}.csv", format="csv") for y in years
    )
    told = {"title": source_id, "producer": producer, "owner": producer, "licence": "libre"}
    return Source(source_id=source_id, editions=editions, **told)  # pyright: ignore[reportArgumentType]


SOURCES = {
    s.source_id: s
    for s in (source("revenus", "Insee", *range(2014, 2022)), source("loyers", "Insee, Ministère", 2020, 2021))
}


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


@pytest.fixture
def workspace(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace whose two sources are on that site, and which has received the two editions that are out."""
    monkeypatch.setattr(Workspace, "sources", SOURCES)
    made = Workspace(Settings(data=tmp_path, profile="mirror", mirror=site.base))
    for name in ("revenus-2020.csv", "loyers-2020.csv"):
        site.put(name, b"code;valeur\n01001;1\n" + name.encode() + b"\n")
    editions = [(s, e) for s in SOURCES.values() for e in s.editions]
    assert sorted(o.kind for o in client_of(site, made.store).fetch_all(editions)) == ["fetched"] * 2 + [
        "not_published"
    ] * (len(editions) - 2)
    site.seen.clear()
    return made


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two assets a source and the end of the walk: what a request selects among."""
    assets: list[dg.AssetsDefinition] = []
    for name in SOURCES:
        for step, deps in (("raw", []), ("core", [["raw", name]])):
            assets.append(dg.asset(key=[step, name], deps=deps)(lambda: None))  # pyright: ignore[reportArgumentType]
    assets.append(dg.asset(key="release", deps=[["core", name] for name in SOURCES])(lambda: None))
    monkeypatch.setattr(automation, "build_assets", lambda _: assets)


def evaluate(workspace: Workspace, cursor: str | None) -> dg.SensorResult | dg.SkipReason:
    """One evaluation of the sensor of Insee."""
    (sensor,) = build_sensors(workspace)
    context = dg.build_sensor_context(cursor=cursor, instance=dg.DagsterInstance.ephemeral())
    result = sensor(context)
    assert isinstance(result, dg.SensorResult | dg.SkipReason)
    return result


def asked(result: dg.SensorResult | dg.SkipReason) -> list[str]:
    """The editions that an evaluation requests a run of."""
    assert isinstance(result, dg.SensorResult)
    requests = result.run_requests or []
    return [name for r in requests for name in r.run_config["ops"]["acquire"]["config"]["editions"]]


def test_the_sources_of_a_producer_have_one_sensor_off_until_switched_on(workspace: Workspace) -> None:
    (sensor,) = build_sensors(workspace)
    assert (sensor.name, sensor.default_status) == ("nouveautes_insee", dg.DefaultSensorStatus.STOPPED)
    assert sensor.minimum_interval_seconds == 6 * 3600


def test_real_producers_have_a_sensor_each_but_those_that_no_site_serves() -> None:
    found = by_producer(load_sources().values())
    assert {"INSEE", "Cnaf", "DREES", "ANCT", "DGCL"} <= found.keys() and "Département de l'Essonne" not in found
    assert {s.source_id for s in found["INSEE"]} >= {"insee_epci_ancien", "insee_qpv_revenus", "insee_rp_extrait"}


@pytest.mark.usefixtures("graph")
def test_nothing_new_requests_nothing_and_downloads_nothing(workspace: Workspace, site: Site) -> None:
    result = evaluate(workspace, None)
    assert asked(result) == [] and isinstance(result, dg.SensorResult)
    assert "10 édition(s) demandée(s) sur 10, rien de nouveau" in str(result.skip_reason)
    assert {s.method for s in site.seen} == {"HEAD"} and len(site.seen) == 10
    conditions = [s for s in site.seen if s.path.endswith("-2020.csv")]
    assert [s.status for s in conditions] == [304, 304]


@pytest.mark.usefixtures("graph")
def test_an_edition_that_appears_is_requested_once_with_what_is_made_of_it(workspace: Workspace, site: Site) -> None:
    site.put("revenus-2021.csv", b"code;valeur\n01001;2\n")
    result = evaluate(workspace, None)
    assert asked(result) == ["revenus/2021"] and isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    keys = {key.to_user_string() for key in request.asset_selection or []}
    assert keys == {"raw/revenus", "core/revenus", "release"}, "from its raw file to the release, and nothing else"
    assert partition_range([2021]).items() <= request.tags.items()
    again = evaluate(workspace, result.cursor)
    assert asked(again) == [], "the run was requested: it succeeds, or a person sees that it failed"


@pytest.mark.usefixtures("graph")
def test_an_edition_that_changes_is_requested_each_time_it_changes(workspace: Workspace, site: Site) -> None:
    site.put("revenus-2020.csv", b"code;valeur\n01001;3\n")
    one = evaluate(workspace, None)
    site.put("revenus-2020.csv", b"code;valeur\n01001;4\n")
    assert isinstance(one, dg.SensorResult)
    two = evaluate(workspace, one.cursor)
    assert (asked(one), asked(two)) == (["revenus/2020"], ["revenus/2020"])
    assert isinstance(two, dg.SensorResult)
    client_of(site, workspace.store).fetch(SOURCES["revenus"], SOURCES["revenus"].edition("2020"))
    three = evaluate(workspace, two.cursor)
    assert asked(three) == [] and isinstance(three, dg.SensorResult)
    assert json.loads(str(three.cursor))["requested"] == {}, "received: what comes next is new"
    site.put("revenus-2020.csv", b"code;valeur\n01001;3\n")
    four = evaluate(workspace, three.cursor)
    assert asked(four) == ["revenus/2020"] and isinstance(four, dg.SensorResult), "what it was before is new again"
    keys = {r.run_key for result in (one, two, four) for r in result.run_requests or []}
    assert keys == {None}, "Dagster starts one run a key, for ever"


@pytest.mark.usefixtures("graph")
def test_an_edition_that_failed_and_is_again_as_received_is_requested_once(workspace: Workspace) -> None:
    workspace.note_failures("raw", "revenus", ["2020"], {"2020": "une page HTML"})
    one = evaluate(workspace, None)
    assert asked(one) == ["revenus/2020"] and isinstance(one, dg.SensorResult), "or it is said to be stale for weeks"
    assert asked(evaluate(workspace, one.cursor)) == []
    workspace.note_failures("raw", "revenus", ["2020"], {})
    two = evaluate(workspace, one.cursor)
    assert asked(two) == [] and isinstance(two, dg.SensorResult)
    assert json.loads(str(two.cursor))["requested"] == {}


@pytest.mark.usefixtures("graph")
def test_what_vanishes_or_does_not_answer_requests_nothing(workspace: Workspace, site: Site) -> None:
    site.files.clear()
    assert asked(evaluate(workspace, None)) == []
    site.fail_always("revenus-2020.csv", "500")
    result = evaluate(workspace, None)
    assert asked(result) == [] and isinstance(result, dg.SensorResult)
    assert "revenus/2020 : le site répond 500" in str(result.skip_reason)


@pytest.mark.usefixtures("graph")
def test_an_evaluation_stops_in_time_and_the_next_goes_on(
    workspace: Workspace, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(automation, "BUDGET", -1.0)
    seen: list[set[str]] = []
    cursor = None
    for _ in range(3):
        site.seen.clear()
        result = evaluate(workspace, cursor)
        assert isinstance(result, dg.SensorResult)
        cursor = result.cursor
        seen.append({s.path for s in site.seen})
    assert [len(paths) for paths in seen] == [4, 4, 4] and len(set.union(*seen)) == 10


@pytest.mark.usefixtures("graph")
def test_a_folder_in_use_is_left_alone(workspace: Workspace, site: Site) -> None:
    site.put("revenus-2021.csv", b"code;valeur\n01001;2\n")
    with (workspace.data / ".lock").open("w") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        result = evaluate(workspace, None)
        assert isinstance(result, dg.SkipReason) and "en cours" in str(result.skip_message)
        assert site.seen == []
    assert asked(evaluate(workspace, None)) == ["revenus/2021"]


# --- editions named by a person


def test_editions_are_named_by_source_edition_or_pattern(workspace: Workspace) -> None:
    assert matching(workspace, ["loyers/2020"]) == {("loyers", "2020")}
    assert matching(workspace, ["loyers"]) == matching(workspace, ["loyers/*"])
    assert matching(workspace, ["*/2021", "loyers/2020"]) == {
        ("revenus", "2021"),
        ("loyers", "2021"),
        ("loyers", "2020"),
    }
    assert matching(workspace, []) == set()


@pytest.mark.parametrize(
    ("name", "near"), [("revenu/2021", "revenus/2021"), ("revenus/20211", "revenus/2021"), ("loyer", "loyers")]
)
def test_an_unknown_edition_is_refused_with_the_nearest(workspace: Workspace, name: str, near: str) -> None:
    with pytest.raises(WorkspaceError, match=f"« {name} », qui n'en désigne aucune.*{near}"):
        matching(workspace, ["loyers/2020", name])


# --- schedules


def schedules(workspace: Workspace) -> Mapping[str, dg.ScheduleDefinition]:
    return {s.name: s for s in build_schedules(workspace)}


def test_schedules_are_in_paris_time_and_off(tmp_path: Path) -> None:
    found = schedules(Workspace(Settings(data=tmp_path)))
    assert {s.execution_timezone for s in found.values()} == {"Europe/Paris"}
    assert {s.default_status for s in found.values()} == {dg.DefaultScheduleStatus.STOPPED}
    crons = {name: s.cron_schedule for name, s in found.items()}
    assert crons == {"build_release_monthly": "0 5 3 * *", "prepare_cog_yearly": "0 5 15 4 *"}


def test_the_yearly_change_of_geography_asks_for_geographies_only(tmp_path: Path) -> None:
    workspace = Workspace(Settings(data=tmp_path))
    tick = schedules(workspace)["prepare_cog_yearly"].evaluate_tick(dg.build_schedule_context())
    (request,) = tick.run_requests or []
    assert whole_range(workspace).items() <= request.tags.items()
    chosen = {s for s, _ in matching(workspace, request.run_config["ops"]["acquire"]["config"]["editions"])}
    assert chosen == {s.source_id for s in workspace.sources.values() if s.kind == "geography"}
