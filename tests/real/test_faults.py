"""Each fault of the mirror's server on each kind of file: recovered or an error by name, the store intact."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sources.client import Client, Outcome
from sources.description import Edition, Member, Source
from sources.errors import AcquisitionError, BodyRefusedError
from sources.raw_store import TEMPORARY, RawStore

pytestmark = pytest.mark.real

INSEE = "https://www.insee.fr/fr/statistiques/fichier"
KINDS: dict[str, tuple[str, str, str | None]] = {  # edition: (address, format, promised member)
    "zip-csv": (f"{INSEE}/6692392/base-cc-filosofi-2020_CSV.zip", "zip", "cc_filosofi_2020_COM.csv"),
    "zip-xls": (f"{INSEE}/3126432/filo-revenu-pauvrete-menage-2014.zip", "zip", "base-cc-filosofi-2014.xls"),
    "zip-xlsx": (f"{INSEE}/4507225/base-filosofi-2017_XLSX.zip", "zip", "base-cc-filosofi-2017.xlsx"),
    "csv": (f"{INSEE}/5057840/mvtcommune2021.csv", "csv", None),
    "txt": (f"{INSEE}/2114819/France2017.txt", "txt", None),
    "xls": (f"{INSEE}/2012804/sl_etc_2025T3.xls", "xls", None),
    "xlsx": ("https://www.collectivites-locales.gouv.fr/files/epcicom2025.xlsx", "xlsx", None),
    "export": (
        "https://data.caf.fr/api/explore/v2.1/catalog/datasets/s_ben_com_f/exports/csv?delimiter=%3B",
        "csv",
        None,
    ),
}
EDITIONS = tuple(
    Edition(edition=key, data_year=2020, url=url, format=format, members=(Member(path=member),))  # type: ignore
    for key, (url, format, member) in KINDS.items()
)
SOURCE = Source(
    source_id="essai",
    title="Essai",
    producer="Producteur",
    owner="Producteur",
    licence="Licence Ouverte 2.0",
    editions=EDITIONS,
)
CATALOGUE = "/datasets/s_ben_com_f"  # asked for its date, beside the export
PAIRS = [(SOURCE, edition) for edition in EDITIONS]


def each(fault: str, times: str = "") -> list[str]:
    """The fault for every kind of file, each with its own count."""
    return [f"{fault}:{e.url.removeprefix('https://').partition('?')[0]}{times}" for e in EDITIONS]


def client_of(store: RawStore, base: str, **settings: float) -> Client:
    return Client(store, mirror=base, backoff=0.02, **({"attempts": 2} | settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def seeded(mirror_server: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder where every kind of file was fetched well once."""
    data = tmp_path_factory.mktemp("seeded") / "data"
    outcomes = client_of(RawStore(data), mirror_server()).fetch_all(PAIRS)
    assert {o.kind for o in outcomes} == {"fetched"}, [str(o.error) for o in outcomes if o.error]
    return data


@pytest.fixture
def store(seeded: Path, tmp_path: Path) -> RawStore:
    """A store of its own for each test, holding the last good bodies."""
    shutil.copytree(seeded, tmp_path / "data", copy_function=os.link)
    return RawStore(tmp_path / "data")


def assert_intact(store: RawStore, rows: int) -> None:
    assert not list(store.root.rglob(f"{TEMPORARY}*"))
    history = store.history()
    assert history.height == rows
    for row in history.iter_rows(named=True):
        assert len(store.read(row["sha256"], verify=True)) == row["bytes"]
    bodies = {p.parent.name + p.name for p in store.bodies.glob("*/*")}
    assert bodies == set(history["sha256"].to_list()), "no body without a line"


def assert_named(outcome: Outcome, error: type[AcquisitionError], good: str) -> None:
    assert (outcome.kind, outcome.sha256, outcome.previous_sha256) == ("failed", None, good)
    assert type(outcome.error) is error
    assert f"essai {outcome.edition}" in str(outcome.error)
    assert "À faire" in str(outcome.error)


@pytest.mark.parametrize("fault", ["503", "reset", "truncate"])
def test_a_fault_that_passes_is_recovered(
    fault: str, store: RawStore, mirror_server: Callable[..., str]
) -> None:
    outcomes = client_of(store, mirror_server(*each(fault, ":1"))).fetch_all(PAIRS)
    assert [o.kind for o in outcomes] == ["unchanged"] * len(PAIRS), [
        str(o.error) for o in outcomes if o.error
    ]
    assert_intact(store, 2 * len(PAIRS))  # another address, hence other lines for the same bodies


def test_a_cut_body_costs_only_its_missing_half(
    seeded: Path, tmp_path: Path, mirror_server: Callable[..., str]
) -> None:
    store, log = RawStore(tmp_path / "data"), tmp_path / "log"
    outcomes = client_of(store, mirror_server(*each("truncate", ":1"), log=log)).fetch_all(PAIRS)
    good = RawStore(seeded)
    assert [(o.kind, o.sha256) for o in outcomes] == [
        ("fetched", row.sha256) for e in EDITIONS if (row := good.latest("essai", e.edition))
    ]
    asked = [line for line in log.read_text().splitlines() if not line.split(" ")[2].endswith(CATALOGUE)]
    assert sum(int(line.rsplit(" ", 1)[1]) for line in asked) == sum(o.bytes for o in outcomes)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("503", AcquisitionError),
        ("reset", AcquisitionError),
        ("truncate", AcquisitionError),
        ("html", BodyRefusedError),
    ],
)
def test_a_fault_that_lasts_is_an_error_by_name(
    fault: str, error: type[AcquisitionError], store: RawStore, mirror_server: Callable[..., str]
) -> None:
    good = {e.edition: row.sha256 for e in EDITIONS if (row := store.latest("essai", e.edition))}
    for outcome in client_of(store, mirror_server(*each(fault))).fetch_all(PAIRS):
        assert_named(outcome, error, good[outcome.edition])
    assert_intact(store, len(PAIRS))


def test_a_slow_body_ends_at_the_deadline(store: RawStore, mirror_server: Callable[..., str]) -> None:
    good = {e.edition: row.sha256 for e in EDITIONS if (row := store.latest("essai", e.edition))}
    client = client_of(store, mirror_server(*each("slow")), deadline=1.0)
    began = time.monotonic()
    for outcome in client.fetch_all(PAIRS):
        assert_named(outcome, AcquisitionError, good[outcome.edition])
        assert "moins de 1 s" in str(outcome.error)
    assert time.monotonic() - began < 6, "four at once, one second each"
    assert_intact(store, len(PAIRS))


def test_a_changed_body_is_a_new_file_and_the_old_one_stays(
    store: RawStore, mirror_server: Callable[..., str]
) -> None:
    good = {e.edition: row.sha256 for e in EDITIONS if (row := store.latest("essai", e.edition))}
    base = mirror_server(*each("stale", ":2"))
    client = client_of(store, base)
    assert {p.kind for p in client.probe_all(PAIRS)} == {"newer"}  # takes the first stale answer
    outcomes = client.fetch_all(PAIRS)
    for outcome in outcomes:
        old = store.read(good[outcome.edition], verify=True)
        assert (outcome.kind, outcome.previous_sha256) == ("changed", good[outcome.edition])
        assert outcome.sha256 is not None
        assert store.read(outcome.sha256, verify=True) == old + b"\n"
    assert_intact(store, 2 * len(PAIRS))
    assert {o.kind for o in client.fetch_all(PAIRS)} == {"changed"}, "and back"
    assert {o.kind for o in client.fetch_all(PAIRS)} == {"unchanged"}
    assert_intact(store, 3 * len(PAIRS))


def test_every_stored_file_is_accepted_and_an_unchanged_rerun_is_quick(
    mirror: Path, mirror_server: Callable[..., str], tmp_path: Path
) -> None:
    def format_of(path: Path) -> str:
        with path.open("rb") as file:
            packed = file.read(2) == b"PK"
        suffix = path.suffix.lower().removeprefix(".")
        return suffix if suffix in ("xls", "xlsx", "txt") else "zip" if packed else "csv"

    files = sorted(p for p in (mirror / "files").rglob("*") if p.is_file() and p.suffix != ".geojson")
    editions = tuple(
        Edition(
            edition=f"e{i}",
            data_year=2020,
            format=format_of(p),  # type: ignore[arg-type]
            url=f"https://{p.relative_to(mirror / 'files').as_posix()}",
        )
        for i, p in enumerate(files)
    )
    pairs = [(SOURCE, edition) for edition in editions]
    store, base = RawStore(tmp_path / "data"), mirror_server()
    outcomes = client_of(store, base).fetch_all(pairs)
    assert {o.kind for o in outcomes} == {"fetched"}, [str(o.error) for o in outcomes if o.error]
    assert [o.bytes for o in outcomes] == [p.stat().st_size for p in files]
    began = time.monotonic()
    assert {o.kind for o in client_of(RawStore(tmp_path / "data"), base).fetch_all(pairs)} == {"unchanged"}
    assert time.monotonic() - began < 2
    assert_intact(store, len(pairs))
