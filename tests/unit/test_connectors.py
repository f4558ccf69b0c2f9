"""The producers' ways of publishing, against a site on loopback: pages, catalogues, newest resources, and their faults.

The shapes are those that the producers' services answered in 2026 (api.insee.fr/melodi, Explore v2.1, data.gouv.fr).
"""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from loopback import HTML, Site, client_of
from pydantic import ValidationError

from sources import connectors
from sources.archive import members
from sources.client import INTERVALS, Client, Outcome, _Pace
from sources.declared import parse
from sources.description import Edition, Source
from sources.errors import AcquisitionError, BodyRefusedError, LayoutError, NotPublishedError
from sources.raw_store import TEMPORARY, RawStore

MELODI = "https://api.insee.fr/melodi/data/DS_X?TIME_PERIOD=2023"
RECORDS = "https://data.caf.fr/api/explore/v2.1/catalog/datasets/ds/records?order_by=code"
DATAGOUV = "https://www.data.gouv.fr/api/1/datasets/jeu/"
ADDRESSES = {"melodi": MELODI, "records": RECORDS, "datagouv": DATAGOUV}


def ask(connector: str, **said: Any) -> tuple[Source, Edition]:
    paged = connector in ("melodi", "records")
    edition = {"edition": "2023", "data_year": 2023, "url": ADDRESSES.get(connector), "connector": connector}
    edition |= {"format": "json" if paged else "csv"} | ({"resource": "Communes"} if connector == "datagouv" else {})
    source = Source.model_validate(
        {
            "source_id": "essai",
            "title": "Essai",
            "producer": "P",
            "owner": "P",
            "licence": "L",
            "layouts": {"default": LONG},
            "editions": [edition | said],
        }
    )
    return source, source.editions[0]


LONG = {
    "shape": "long",
    "code": "GEO",
    "level_column": "GEO_OBJECT",
    "levels": {"COM": "COM", "DEP": "DEP"},
    "year_column": "TIME_PERIOD",
    "value": "OBS_VALUE",
    "conf_status": "CONF_STATUS",
    "variables": [{"variable": "n", "where": {"MEASURE": "N"}}],
}


def observation(code: str, value: float | None, level: str = "COM", **attributes: str) -> dict[str, Any]:
    measure = {} if value is None else {"value": value}
    return {
        "dimensions": {"GEO": f"2025-{level}-{code}", "TIME_PERIOD": "2023", "MEASURE": "N"},
        "attributes": {"CONF_STATUS": "F"} | attributes,
        "measures": {"OBS_VALUE_NIVEAU": measure},
    }


ROWS = [observation(f"01{i:03d}", float(i)) for i in range(1, 8)]


def path(url: str) -> str:
    """Where the site sees a declared address."""
    return "/" + url.removeprefix("https://")


def melodi_pages(site: Site, *pages: list[Any], counts: list[int] | None = None, ends: str | None = None) -> list[str]:
    """Serves pages chained by `paging.next`; the paths at which they are."""
    first = connectors.with_query(MELODI, maxResult=connectors.MELODI_PAGE, totalCount="TRUE")
    addresses = [first, *(f"{first}&page={i + 2}" for i in range(len(pages) - 1))]
    total = sum(len(p) for p in pages)
    for i, (address, rows) in enumerate(zip(addresses, pages, strict=True)):
        paging: dict[str, Any] = {"first": f"{first}&page=1", "count": counts[i] if counts else total}
        following = addresses[i + 1] if i + 1 < len(addresses) else ends
        paging |= {"next": following} if following else {}
        body = {"identifier": "DS_X", "observations": rows, "paging": paging}
        site.files[path(address)] = json.dumps(body).encode()
    return [path(a) for a in addresses]


def record_pages(site: Site, *pages: list[Any], totals: list[int] | None = None) -> list[str]:
    """Serves pages found by offset."""
    at, paths = 0, []
    for i, rows in enumerate(pages):
        address = connectors.with_query(RECORDS, limit=connectors.RECORDS_PAGE, offset=at)
        total = totals[i] if totals else sum(len(p) for p in pages)
        site.files[path(address)] = json.dumps({"total_count": total, "results": rows}).encode()
        paths.append(path(address))
        at += len(rows)
    return paths


def records(first: int, last: int) -> list[dict[str, Any]]:
    return [{"code": f"{i:05d}", "n": i, "lieu": {"lon": 2.4, "lat": 48.6}, "nom": None} for i in range(first, last)]


def assert_nothing_stored(outcome: Outcome, store: RawStore, said: str, error: type = AcquisitionError) -> None:
    assert (outcome.kind, outcome.sha256) == ("failed", None)
    assert type(outcome.error) is error
    assert said in str(outcome.error) and "À faire" in str(outcome.error)
    assert store.history().height == 0
    assert [p for p in store.bodies.rglob("*") if p.is_file()] == []


# --- pages make one body


def test_pages_of_observations_make_one_body_read_like_the_producers_csv(site: Site, store: RawStore) -> None:
    masked = observation("91286", None, CONF_STATUS="C")
    melodi_pages(site, ROWS[:3], ROWS[3:6], [*ROWS[6:], masked, observation("91", 5.5, "DEP")])
    source, edition = ask("melodi")
    outcome = client_of(site, store).fetch(source, edition)
    assert (outcome.kind, outcome.error) == ("fetched", None)
    body = store.read(outcome.sha256 or "", verify=True)
    assert body.count(b"\n") == 9
    frame = parse(source, edition, members(source, edition, body))
    shown = frame.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String))
    columns = ["level", "code", "year", "value", "conf_status"]
    assert shown.select(columns).rows()[-2:] == [("COM", "91286", 2023, None, "C"), ("DEP", "91", 2023, 5.5, "F")]
    text = b"GEO;GEO_OBJECT;TIME_PERIOD;MEASURE;CONF_STATUS;OBS_VALUE\n" + b"".join(
        f"01{i:03d};COM;2023;N;F;{i}\n".encode() for i in range(1, 8)
    )
    same = parse(*ask("file", url="https://api.insee.fr/melodi/file/DS_X/DS_X_CSV_FR"), {"DS_X_CSV_FR": text})
    assert frame.head(7).equals(same), "one layout for the file and for the pages"


def test_pages_of_records_make_one_body(site: Site, store: RawStore) -> None:
    record_pages(site, records(0, 100), records(100, 200), records(200, 230))
    source, edition = ask("records", members=[{"level": "COM"}])
    outcome = client_of(site, store).fetch(source, edition)
    assert (outcome.kind, outcome.error) == ("fetched", None)
    lines = store.read(outcome.sha256 or "", verify=True).splitlines()
    assert [json.loads(x)["n"] for x in lines] == list(range(230))
    assert [s.path.rpartition("=")[2] for s in site.seen if "records" in s.path] == ["0", "100", "200"]


def test_equal_answers_give_equal_bytes_however_they_are_cut_and_written(site: Site, store: RawStore) -> None:
    melodi_pages(site, ROWS[:3], ROWS[3:])
    client = client_of(site, store)
    first = client.fetch(*ask("melodi"))
    site.files.clear()
    melodi_pages(site, [dict(reversed(list(r.items()))) for r in ROWS])
    again = client.fetch(*ask("melodi"))
    assert (again.kind, again.sha256) == ("unchanged", first.sha256)
    assert store.history().height == 1


def test_each_page_has_the_retries_of_a_file(site: Site, store: RawStore) -> None:
    paths = melodi_pages(site, ROWS[:3], ROWS[3:6], ROWS[6:])
    site.faults[paths[0]] = ["503"]
    site.faults[paths[1]] = ["429=1", "reset"]
    site.faults[paths[2]] = ["truncate"]
    began = time.monotonic()
    outcome = client_of(site, store).fetch(*ask("melodi"))
    assert (outcome.kind, outcome.error) == ("fetched", None)
    assert time.monotonic() - began >= 1, "Retry-After is honoured"
    assert [s.status for s in site.seen if s.path == paths[1]] == [429, 0, 200]
    assert store.read(outcome.sha256 or "").count(b"\n") == len(ROWS)


def test_the_deadline_is_that_of_all_the_pages(site: Site, store: RawStore) -> None:
    melodi_pages(site, *[[row] for row in ROWS])
    site.hold = 0.3
    outcome = client_of(site, store, deadline=1.0).fetch(*ask("melodi"))
    assert_nothing_stored(outcome, store, "moins de 1 s")
    assert len(site.seen) < len(ROWS)


def test_progress_counts_the_assembled_body_once(site: Site, store: RawStore) -> None:
    melodi_pages(site, ROWS[:3], ROWS[3:])
    told: list[tuple[str, Any]] = []

    class Display:
        def started(self, name: str, total: int | None) -> None:
            told.append((name, total))

        def advanced(self, name: str, count: int) -> None:
            told.append((name, count))

        def finished(self, name: str, outcome: Outcome) -> None:
            told.append((name, outcome.kind))

    outcome = client_of(site, store).fetch(*ask("melodi"), Display())
    assert [n for n, _ in told] == ["essai 2023"] * 4
    assert (told[0][1], told[-1][1]) == (None, "fetched")
    assert sum(c for _, c in told[1:-1]) == outcome.bytes


# --- pages that do not add up


def test_a_page_missing_at_the_end_is_refused(site: Site, store: RawStore) -> None:
    melodi_pages(site, ROWS[:3], ROWS[3:5], counts=[7, 7])
    assert_nothing_stored(client_of(site, store).fetch(*ask("melodi")), store, "5 observation(s) sur 7")


def test_a_page_that_is_not_there_is_refused(site: Site, store: RawStore) -> None:
    paths = melodi_pages(site, ROWS[:3], ROWS[3:])
    del site.files[paths[1]]
    assert_nothing_stored(client_of(site, store).fetch(*ask("melodi")), store, "une réponse 404")


def test_an_empty_page_is_a_hole(site: Site, store: RawStore) -> None:
    record_pages(site, records(0, 100), [], totals=[230, 230])
    assert_nothing_stored(client_of(site, store).fetch(*ask("records")), store, "page vide après 100 ligne(s) sur 230")


@pytest.mark.parametrize("connector", ["melodi", "records"])
def test_a_total_that_changes_between_two_pages_is_refused(site: Site, store: RawStore, connector: str) -> None:
    if connector == "melodi":
        melodi_pages(site, ROWS[:3], ROWS[3:], counts=[7, 8])
    else:
        record_pages(site, records(0, 100), records(100, 150), totals=[150, 151])
    assert_nothing_stored(client_of(site, store).fetch(*ask(connector)), store, "ont changé pendant la lecture")


@pytest.mark.parametrize("connector", ["melodi", "records"])
def test_more_rows_than_announced_are_refused(site: Site, store: RawStore, connector: str) -> None:
    if connector == "melodi":
        melodi_pages(site, ROWS[:3], ROWS[3:], counts=[6, 6])
    else:
        record_pages(site, records(0, 100), totals=[99])
    assert_nothing_stored(client_of(site, store).fetch(*ask(connector)), store, "reçue(s) pour")


def test_a_loop_of_pages_is_refused(site: Site, store: RawStore) -> None:
    first = connectors.with_query(MELODI, maxResult=connectors.MELODI_PAGE, totalCount="TRUE")
    melodi_pages(site, ROWS[:1], ROWS[1:2], counts=[700, 700], ends=f"{first}&page=2")
    assert_nothing_stored(client_of(site, store).fetch(*ask("melodi")), store, "déjà lue")
    assert len(site.seen) < 6


@pytest.mark.parametrize(
    "ends", ["https://ailleurs.test/melodi/data/DS_X?page=2", "https://api.insee.fr/melodi/data/DS_Y?page=2"]
)
def test_pages_never_lead_to_another_table(site: Site, store: RawStore, ends: str) -> None:
    melodi_pages(site, ROWS[:1], counts=[7], ends=ends)
    assert_nothing_stored(client_of(site, store).fetch(*ask("melodi")), store, "d'un autre jeu")


def test_a_row_given_twice_is_refused(site: Site, store: RawStore) -> None:
    record_pages(site, records(0, 100), records(99, 150))
    assert_nothing_stored(client_of(site, store).fetch(*ask("records")), store, "déjà donnée")


def test_more_than_the_pages_can_give_is_refused(site: Site, store: RawStore) -> None:
    record_pages(site, records(0, 100), totals=[10_001])
    assert_nothing_stored(client_of(site, store).fetch(*ask("records")), store, "exports/")


@pytest.mark.parametrize("connector", ["melodi", "records"])
def test_a_page_of_maintenance_among_the_pages_is_refused(site: Site, store: RawStore, connector: str) -> None:
    paths = (
        melodi_pages(site, ROWS[:3], ROWS[3:])
        if connector == "melodi"
        else record_pages(site, records(0, 100), records(100, 150))
    )
    site.always[paths[1]] = "html"
    outcome = client_of(site, store).fetch(*ask(connector))
    assert_nothing_stored(outcome, store, "« Maintenance »", BodyRefusedError)


@pytest.mark.parametrize("body", [b'{"error_code": "InvalidREST"}', b"[1, 2]", b'{"observations": [], "paging": {}}'])
def test_json_that_is_no_page_is_refused(site: Site, store: RawStore, body: bytes) -> None:
    (first,) = melodi_pages(site, ROWS)
    site.files[first] = body
    assert_nothing_stored(client_of(site, store).fetch(*ask("melodi")), store, "du JSON", BodyRefusedError)


@pytest.mark.parametrize("connector", ["melodi", "records"])
def test_an_empty_selection_is_not_published_yet(site: Site, store: RawStore, connector: str) -> None:
    _ = melodi_pages(site, []) if connector == "melodi" else record_pages(site, [])
    outcome = client_of(site, store).fetch(*ask(connector))
    assert (outcome.kind, type(outcome.error)) == ("not_published", NotPublishedError)


def test_a_missing_column_of_json_is_named() -> None:
    source, edition = ask("records", members=[{"level": "COM"}])
    body = connectors.lines(records(0, 2))
    with pytest.raises(LayoutError, match="GEO"):
        parse(source, edition, members(source, edition, body))


# --- catalogues


def melodi_catalogue(site: Site, modified: str, product: str | None = None) -> str:
    products = [{"id": "DS_X_CSV_FR", "modified": product or modified}, {"id": "AUTRE", "modified": "1999-01-01"}]
    body = {"identifier": "DS_X", "modified": modified, "product": products}
    site.files["/api.insee.fr/melodi/catalog/DS_X"] = json.dumps(body).encode()
    return "/api.insee.fr/melodi/catalog/DS_X"


def explore_catalogue(site: Site, processed: str) -> None:
    body = {"dataset_id": "ds", "metas": {"default": {"modified": "2020-01-01", "data_processed": processed}}}
    site.files["/data.caf.fr/api/explore/v2.1/catalog/datasets/ds"] = json.dumps(body).encode()


def test_what_the_catalogue_dates_alike_is_not_asked_again(site: Site, store: RawStore) -> None:
    catalogue = melodi_catalogue(site, "2026-01-20T10:00:00")
    (pages,) = melodi_pages(site, ROWS)
    assert client_of(site, store).fetch(*ask("melodi")).kind == "fetched"
    site.seen.clear()
    assert client_of(site, store).fetch(*ask("melodi")).kind == "unchanged"
    assert [s.path for s in site.seen] == [catalogue]
    melodi_catalogue(site, "2026-02-01T10:00:00")
    assert client_of(site, store).fetch(*ask("melodi")).kind == "unchanged", "read again, and the same"
    assert site.seen[-1].path == pages
    assert store.history()["catalogue_date"].to_list() == ["2026-01-20T10:00:00", "2026-02-01T10:00:00"]
    site.seen.clear()
    client_of(site, store).fetch(*ask("melodi"))
    assert [s.path for s in site.seen] == [catalogue], "the new date is known"


@pytest.mark.parametrize("fault", ["", "404", "503", "html"])
def test_a_catalogue_that_does_not_answer_hinders_nothing(site: Site, store: RawStore, fault: str) -> None:
    melodi_pages(site, ROWS)
    if fault:
        site.always[melodi_catalogue(site, "2026-01-20T10:00:00")] = fault
    client = client_of(site, store, attempts=2)
    assert client.fetch(*ask("melodi")).kind == "fetched"
    assert client.fetch(*ask("melodi")).kind == "unchanged"


EXPORT = {"url": "https://data.caf.fr/api/explore/v2.1/catalog/datasets/ds/exports/csv?delimiter=%3B"}
ATTACHED = {"url": "https://data.caf.fr/api/explore/v2.1/catalog/datasets/ds/attachments/classeur_xlsx"}
PRODUCT = {"url": "https://api.insee.fr/melodi/file/DS_X/DS_X_CSV_FR"}


@pytest.mark.parametrize(
    ("connector", "said"),
    [("melodi", {}), ("records", {}), ("datagouv", {}), ("file", EXPORT), ("file", ATTACHED), ("file", PRODUCT)],
    ids=["melodi", "records", "datagouv", "export", "attachment", "melodi file"],
)
def test_the_catalogue_tells_what_is_newer_without_downloading(
    site: Site, store: RawStore, connector: str, said: dict[str, Any]
) -> None:
    source, edition = ask(connector, **said)

    def publish(date: str) -> None:
        melodi_catalogue(site, "2026-09-09T00:00:00" if said is PRODUCT else date, date)
        explore_catalogue(site, date)
        serve_dataset(site, ("b", "Communes 2023", "csv", date))

    publish("2026-01-20T10:00:00+00:00")
    melodi_pages(site, ROWS)
    record_pages(site, records(0, 30))
    for url in (EXPORT["url"], ATTACHED["url"], PRODUCT["url"]):
        site.files[path(url)] = b"code;n\n01001;1\n"
    assert client_of(site, store).probe(source, edition).detail == "jamais reçue"
    assert client_of(site, store).fetch(source, edition).kind == "fetched"
    site.seen.clear()
    assert client_of(site, store).probe(source, edition).kind == "unchanged"
    publish("2026-03-02T10:00:00+00:00")
    newer = client_of(site, store).probe(source, edition)
    assert (newer.kind, "02/03/2026" in newer.detail) == ("newer", True)
    assert len(site.seen) == 2, "the catalogue, each time, and nothing else"


def test_a_body_received_without_a_date_is_compared_by_when_it_was_received(site: Site, store: RawStore) -> None:
    melodi_pages(site, ROWS)
    client_of(site, store).fetch(*ask("melodi"))
    melodi_catalogue(site, "2020-01-01T00:00:00")
    assert client_of(site, store).probe(*ask("melodi")).kind == "unchanged"
    melodi_catalogue(site, "2090-01-01T00:00:00")
    assert client_of(site, store).probe(*ask("melodi")).kind == "newer"


def test_pages_without_a_catalogue_are_not_compared_by_the_size_of_one(site: Site, store: RawStore) -> None:
    melodi_pages(site, ROWS)
    site.files[path(MELODI)] = b"{}"
    client = client_of(site, store)
    client.fetch(*ask("melodi"))
    probe = client_of(site, store).probe(*ask("melodi"))
    assert (probe.kind, "catalogue" in probe.detail) == ("unreachable", True)
    del site.files[path(MELODI)]
    assert client_of(site, store).probe(*ask("melodi")).kind == "not_published"


def test_a_catalogue_is_asked_once_for_all_the_editions_of_a_dataset(site: Site, store: RawStore) -> None:
    catalogue = melodi_catalogue(site, "2026-01-20T10:00:00")
    asked = [ask("melodi", edition=f"e{y}", url=f"{MELODI[:-4]}{y}") for y in range(2018, 2024)]
    probes = client_of(site, store).probe_all(asked)
    assert [p.detail for p in probes] == ["jamais reçue"] * 6
    assert [s.path for s in site.seen] == [catalogue]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-08-29T13:38:58", "2025-08-29T11:38:58+00:00"),  # no zone: Paris
        ("2025-01-29T13:38:58Z", "2025-01-29T13:38:58+00:00"),
        ("2026-01-29T19:34:59.411000+00:00", "2026-01-29T19:34:59.411000+00:00"),
        ("bientôt", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_dates_of_catalogues_are_moments(text: str, expected: str) -> None:
    assert connectors.moment(text) == connectors.moment(expected)


# --- data.gouv.fr


def serve_dataset(site: Site, *resources: tuple[str, str, str, str]) -> None:
    """A dataset and its resources (id, title, format, date), each at its stable identifier."""
    listed = [{"id": i, "title": t, "format": f, "last_modified": d} for i, t, f, d in resources]
    site.files[path(DATAGOUV)] = json.dumps({"slug": "jeu", "resources": listed}).encode()
    for identifier, *_ in resources:
        site.files[f"/www.data.gouv.fr/fr/datasets/r/{identifier}"] = f"code;n\n01001;{identifier}\n".encode()


def test_the_newest_resource_that_matches_is_fetched(site: Site, store: RawStore) -> None:
    serve_dataset(
        site,
        ("a", "Communes 2022", "csv", "2024-01-01T00:00:00+00:00"),
        ("b", "Communes 2023", "csv", "2025-01-01T00:30:00+02:00"),  # before c, whatever its text says
        ("c", "Communes 2023 (corrigé)", "csv", "2024-12-31T23:00:00+00:00"),
        ("d", "Communes 2023", "xlsx", "2026-01-01T00:00:00+00:00"),
        ("e", "Départements 2023", "csv", "2026-01-01T00:00:00+00:00"),
    )
    client = client_of(site, store)
    source, edition = ask("datagouv")
    outcome = client.fetch(source, edition)
    assert (outcome.kind, outcome.error) == ("fetched", None)
    assert store.read(outcome.sha256 or "") == b"code;n\n01001;c\n"
    row = store.latest("essai", "2023")
    assert row is not None and row.requested_url.endswith("/fr/datasets/r/c")
    assert row.catalogue_date == "2024-12-31T23:00:00+00:00"
    assert client.fetch(source, edition).kind == "unchanged"
    assert site.seen[-1].status == 304, "asked on conditions"
    assert members(source, edition, b"x") == {"jeu": b"x"}


def test_a_stable_identifier_redirects_to_where_the_file_is(site: Site, store: RawStore) -> None:
    site.always["/www.data.gouv.fr/fr/datasets/r/a"] = "redirect=https://static.data.gouv.fr/t.csv"
    site.files["/static.data.gouv.fr/t.csv"] = b"code;n\n01001;1\n"
    outcome = client_of(site, store).fetch(*ask("file", url="https://www.data.gouv.fr/fr/datasets/r/a"))
    assert (outcome.kind, outcome.error) == ("fetched", None)


def test_a_resource_not_there_yet_is_not_published(site: Site, store: RawStore) -> None:
    serve_dataset(site, ("a", "Départements 2022", "csv", "2024-01-01T00:00:00+00:00"))
    client = client_of(site, store)
    outcome = client.fetch(*ask("datagouv"))
    assert (outcome.kind, type(outcome.error)) == ("not_published", NotPublishedError)
    assert "Départements 2022 (csv)" in str(outcome.error)
    assert client.probe(*ask("datagouv")).kind == "not_published"


def test_a_dataset_page_that_is_no_dataset_is_refused(site: Site, store: RawStore) -> None:
    site.files[path(DATAGOUV)] = HTML
    outcome = client_of(site, store).fetch(*ask("datagouv"))
    assert_nothing_stored(outcome, store, "« Maintenance »", BodyRefusedError)


def test_resources_of_one_dataset_are_fetched_apart(site: Site, store: RawStore) -> None:
    serve_dataset(
        site,
        ("a", "Communes 2022", "csv", "2024-01-01T00:00:00+00:00"),
        ("b", "Communes 2023", "csv", "2025-01-01T00:00:00+00:00"),
    )
    asked = [ask("datagouv", edition=y, resource=f"Communes {y}") for y in ("2022", "2023")]
    outcomes = client_of(site, store).fetch_all(asked)
    assert [store.read(o.sha256 or "")[-2:] for o in outcomes] == [b"a\n", b"b\n"]


# --- what a description may say


@pytest.mark.parametrize(
    ("connector", "said", "expected"),
    [
        ("records", {"url": "https://data.caf.fr/api/explore/v2.1/catalog/datasets/ds/records"}, "order_by"),
        ("records", {"format": "csv"}, "kept as JSON"),
        ("melodi", {"url": "https://api.insee.fr/melodi/file/DS_X/P"}, "melodi/data"),
        ("datagouv", {"url": "https://www.data.gouv.fr/fr/datasets/jeu/"}, "api/1/datasets"),
        ("datagouv", {"resource": None}, "`resource`"),
        ("file", {"url": "https://a.test/t.csv", "resource": "x"}, "`resource`"),
    ],
)
def test_a_description_that_a_connector_cannot_ask_is_refused(
    connector: str, said: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ValidationError, match=expected):
        ask(connector, **said)


# --- the pace that a producer asks for


class Clock:
    """Time that passes only when someone waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.now += max(0.0, seconds)
        return False


@pytest.mark.parametrize(("host", "most"), [("api.insee.fr", 30), ("data.caf.fr", 120)])
def test_no_minute_has_more_requests_than_the_producer_allows(host: str, most: int) -> None:
    clock = Clock()
    pace = _Pace(None, clock)
    starts = []
    for _ in range(200):
        pace.wait(host, clock)  # type: ignore[arg-type]
        starts.append(clock.now)
    busiest = max(sum(1 for t in starts if s <= t <= s + 60) for s in starts)
    assert most - 2 <= busiest <= most + (host not in INTERVALS)


def test_the_pace_is_by_host_and_absent_on_loopback() -> None:
    clock = Clock()
    pace = _Pace(None, clock)
    for host in ("api.insee.fr", "data.caf.fr", "127.0.0.1", "127.0.0.1", "localhost"):
        pace.wait(host, clock)  # type: ignore[arg-type]
    assert clock.now == 1000.0
    pace.wait("api.insee.fr", clock)  # type: ignore[arg-type]
    assert clock.now == pytest.approx(1000.0 + INTERVALS["api.insee.fr"])


def test_every_request_of_a_paged_answer_keeps_the_pace(
    site: Site, store: RawStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    melodi_pages(site, *[[row] for row in ROWS])
    client = client_of(site, store)
    asked: list[str] = []
    monkeypatch.setattr(client.pace, "wait", lambda host, stopped: asked.append(host))
    assert client.fetch(*ask("melodi")).kind == "fetched"
    assert len(asked) == len(site.seen) == len(ROWS) + 1, "each page, and the catalogue"


def test_an_interrupt_leaves_nothing_of_the_pages(site: Site, store: RawStore) -> None:
    melodi_pages(site, *[[row] for row in ROWS])
    site.hold = 0.2
    client = client_of(site, store)
    threading.Timer(0.5, client.stopped.set).start()
    outcome = client.fetch(*ask("melodi"))
    assert outcome.kind == "failed" and "interruption" in str(outcome.error)
    assert not list(store.root.rglob(f"{TEMPORARY}*"))


# --- figures that stand in a text only


TYPED = {
    "url": "https://drees.solidarites-sante.gouv.fr/publications/dossier",
    "format": "json",
    "rows": [
        {"GEO": "91", "GEO_OBJECT": "DEP", "TIME_PERIOD": "2023", "MEASURE": "N", "CONF_STATUS": "F", "OBS_VALUE": 34}
    ],
}


def test_typed_figures_are_raw_bytes_like_others(site: Site, store: RawStore) -> None:
    source, edition = ask("typed", **TYPED)
    client = client_of(site, store)
    assert client.probe(source, edition).detail == "jamais reçue"
    outcome = client.fetch(source, edition)
    assert (outcome.kind, outcome.requested_url) == ("fetched", "description.yaml")
    frame = parse(source, edition, members(source, edition, store.read(outcome.sha256 or "", verify=True)))
    assert frame.select("code", "value").rows() == [("91", 34.0)]
    site.seen.clear()
    assert client.fetch(source, edition).kind == "unchanged"
    assert client.probe(source, edition).kind == "unchanged"
    assert site.seen == []
    corrected = [{**TYPED["rows"][0], "OBS_VALUE": 35}]
    assert client.fetch(*ask("typed", **(TYPED | {"rows": corrected}))).kind == "changed"


def test_typed_figures_of_one_text_are_kept_apart(site: Site, store: RawStore) -> None:
    other = [{**TYPED["rows"][0], "OBS_VALUE": 20}]
    asked = [ask("typed", **TYPED, edition="a"), ask("typed", **(TYPED | {"rows": other}), edition="b")]
    first, second = client_of(site, store).fetch_all(asked)
    assert first.sha256 != second.sha256


def test_the_fictional_country_has_its_own_typed_figures(store: RawStore, tmp_path: Path) -> None:
    outcome = Client(store, directory=tmp_path).fetch(*ask("typed", **TYPED))
    assert outcome.kind == "not_published", "a real figure never enters it"


@pytest.mark.parametrize(("connector", "said"), [("file", TYPED), ("typed", TYPED | {"rows": []})])
def test_typed_figures_are_said_with_their_connector(connector: str, said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="`rows`"):
        ask(connector, **said)


# --- Parquet


def test_a_parquet_resource_is_read_as_text(site: Site, store: RawStore) -> None:
    buffer = io.BytesIO()
    columns = {"GEO": ["91"], "GEO_OBJECT": ["DEP"], "TIME_PERIOD": [2023], "MEASURE": ["N"], "CONF_STATUS": ["F"]}
    pl.DataFrame(columns | {"OBS_VALUE": [5.5], "autre": [1]}).write_parquet(buffer)
    source, edition = ask("file", url="https://a.test/t.parquet", format="parquet")
    site.files["/a.test/t.parquet"] = buffer.getvalue()
    outcome = client_of(site, store).fetch(source, edition)
    assert outcome.kind == "fetched"
    frame = parse(source, edition, members(source, edition, buffer.getvalue()))
    assert frame.select("code", "year", "value").rows() == [("91", 2023, 5.5)]
    with pytest.raises(LayoutError, match="OBS_VALUE"):
        parse(source, edition, {"t.parquet": as_parquet({"GEO": ["91"]})})


def as_parquet(columns: dict[str, list[Any]]) -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(columns).write_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("body", "found"), [(HTML, "page HTML"), (as_parquet({"a": [1]})[:-1], "tronqué"), (b"PAR1", "tronqué")]
)
def test_what_is_no_parquet_is_refused(site: Site, store: RawStore, body: bytes, found: str) -> None:
    site.files["/a.test/t.parquet"] = body
    asked = ask("file", url="https://a.test/t.parquet", format="parquet")
    assert_nothing_stored(client_of(site, store).fetch(*asked), store, found, BodyRefusedError)
