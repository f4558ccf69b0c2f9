"""The whole job on the stored real files, one year only: known figures, and faults of the producers' sites."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from vigie_runs import Built, call, damage, leftovers, vigie

pytestmark = pytest.mark.real

QUICK = {"VIGIE_PROFILE": "mirror", "VIGIE_YEARS": "2018", "VIGIE_ATTEMPTS": "2"}


@pytest.fixture(scope="module")
def built(mirror_server: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A data folder after one good run."""
    data = tmp_path_factory.mktemp("mirror") / "data"
    run = vigie(data, "run", VIGIE_MIRROR=mirror_server(), **QUICK)
    assert run.code == 0, run.text
    assert "Publiée : r0001-" in run.text and "fictives" not in run.text
    return Built(data, run)


@pytest.fixture
def fresh(built: Built, tmp_path: Path) -> Path:
    """A copy that has everything but the bodies of the raw store: they travel again."""
    data = tmp_path / "data"
    aside = shutil.ignore_patterns("sha256", "dagster", ".lock")
    shutil.copytree(built.data, data, symlinks=True, ignore=aside, copy_function=os.link)
    return data


def rows(data: Path, query: str) -> list[tuple[float | str | None, ...]]:
    run = call(data, "sql", "--csv", query)
    assert run.code == 0, run.text
    return pl.read_csv(run.out.encode()).rows()


def series(data: Path, indicator: str, territory: str) -> list[tuple[float | str | None, ...]]:
    return rows(
        data,
        f"SELECT year, value FROM observation WHERE indicator_id = '{indicator}' AND territory_id = '{territory}' "
        "AND reference = '_Z' AND age = '_T' AND value IS NOT NULL ORDER BY year",
    )


def test_grigny_and_its_departement(built: Built) -> None:
    assert series(built.data, "rev_tp60", "COM-91286") == [(2018, 45.0)]
    assert series(built.data, "rev_med", "COM-91286") == [(2018, 13810.0)]
    assert (2018, 28265.0) in series(built.data, "dem_pop", "COM-91286")
    assert series(built.data, "rev_tp60", "DEP-91") == [(2018, 13.1)]
    assert series(built.data, "rev_tp60", "REG-11") == [(2018, 15.6)]


def test_rank_among_communes_of_the_metropole(built: Built) -> None:
    ranked = rows(
        built.data,
        "SELECT t.name FROM observation o JOIN territory t USING (territory_id) "
        "WHERE indicator_id = 'rev_tp60_rang' AND o.value <= 2 ORDER BY o.value",
    )
    assert ranked == [("Sainte-Foy-la-Grande",), ("Grigny",)]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("COM-91286", ("Grigny", "CA Grand Paris Sud", "Essonne", "Île-de-France", "France métropolitaine", "28 265")),
        ("EPCI-200017846", ("CA Étampois Sud Essonne", "Essonne", "Île-de-France", "France métropolitaine", "12,7")),
        ("DEP-91", ("Essonne", "Île-de-France", "France métropolitaine", "13,1", "15,6")),
    ],
)
def test_portrait(built: Built, asked: str, shown: tuple[str, ...]) -> None:
    run = call(built.data, "portrait", asked, "--year", "2018")
    assert run.code == 0, run.text
    for words in shown:
        assert words in run.text, run.text
    assert "fictives" not in run.text


def test_communes_comparable_to_grigny_are_large_and_poor_suburbs(built: Built) -> None:
    near = rows(
        built.data,
        "SELECT v.comparable, v.population, o.value FROM v_territoires_comparables v "
        "JOIN observation o ON o.territory_id = v.comparable_id AND o.indicator_id = 'rev_tp60' AND o.year = 2018 "
        "WHERE v.territory_id = 'COM-91286' AND o.reference = '_Z' AND o.age = '_T' ORDER BY v.rang",
    )
    assert len(near) == 10
    assert {"Clichy-sous-Bois", "La Courneuve", "Garges-lès-Gonesse"} <= {str(name) for name, _, _ in near[:4]}
    assert all(10_000 < float(people or 0) < 100_000 and float(rate or 0) > 30 for _, people, rate in near)
    shown = call(built.data, "portrait", "COM-91286", "--year", "2018")
    assert "Communes comparables" in shown.text and "Clichy-sous-Bois" in shown.text


def test_sites_that_fail_are_named_and_their_last_good_editions_stand_in(
    fresh: Path, mirror_server: Callable[..., str]
) -> None:
    """503 without end on one site, a page instead of an archive on another: both are told, and stop nothing."""
    before = (fresh / "releases" / "latest" / "public" / "observation.parquet").read_bytes()
    run = call(fresh, "run", VIGIE_MIRROR=mirror_server("503:epcicom2021", "html:base-cc-filosofi-2018_XLSX"), **QUICK)
    assert run.code == 3 and "Traceback" not in run.text, run.text
    assert damage(fresh) == [] == leftovers(fresh)
    assert (fresh / "releases" / "latest" / "public" / "observation.parquet").read_bytes() == before
    stale = "SELECT source_id || '/' || edition FROM source_file WHERE stale ORDER BY 1"
    assert rows(fresh, stale) == [("dgcl_epci/2021",), ("insee_filosofi_cc/2018",)]
    assert "dgcl_epci 2021 : attendu" in run.text and "une réponse 503" in run.text
    assert "insee_filosofi_cc 2018 (fichier base-cc-filosofi-2018_XLSX-geo2021.zip)" in run.text and "HTML" in run.text


def test_a_cut_body_is_resumed_and_nothing_changes(fresh: Path, mirror_server: Callable[..., str]) -> None:
    before = os.readlink(fresh / "releases" / "latest")
    faults = ("truncate:data_CAF_2018_IRIS:1", "reset:ensemble.xlsx:1", "503:commune2021.csv:1")
    run = call(fresh, "run", VIGIE_MIRROR=mirror_server(*faults), **QUICK)
    assert run.code == 0, run.text
    assert f"Rien n'a changé depuis la publication {before}" in run.text
    assert damage(fresh) == [] == leftovers(fresh)


def test_without_a_network_nothing_is_published_nor_blamed(fresh: Path) -> None:
    before = os.readlink(fresh / "releases" / "latest")
    run = call(fresh, "run", VIGIE_MIRROR="http://127.0.0.1:9", **QUICK)
    assert run.code == 1 and "Traceback" not in run.text, run.text
    assert "vérifier le réseau de la machine" in run.text and "édition(s) en échec" not in run.text
    assert f"la publication {before} reste en place" in run.text
    assert os.readlink(fresh / "releases" / "latest") == before
    assert damage(fresh) == [] == leftovers(fresh)
