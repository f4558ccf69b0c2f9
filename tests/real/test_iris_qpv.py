"""IRIS and priority districts on the real lists, and what the editions of every year are of them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from methods.districts import same_iris
from pipelines.settings import Settings
from pipelines.stages import geography
from pipelines.workspace import Workspace, refresh
from sources.archive import members
from sources.description import parser_of

pytestmark = pytest.mark.real

NEEDED = {
    "insee_cog_communes": ("2016", "2020", "2023", "2025"),
    "insee_cog_evenements": ("2026",),
    "insee_cog_departements": ("2026",),
    "insee_cog_regions": ("2026",),
    "insee_epci_ancien": ("2015",),  # the passage starts there
    "dgcl_epci": ("2025",),
    "insee_appartenance": ("2024",),
    "insee_iris": ("2023",),
    "insee_iris_modifications": ("2023",),
    "insee_qpv": ("2018", "2020"),
}


@pytest.fixture(scope="module")
def france(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The geography of the stored files, built as a run does."""
    workspace = Workspace(Settings(data=tmp_path_factory.mktemp("data"), profile="mirror"))
    for source_id, editions in NEEDED.items():
        source = workspace.sources[source_id]
        for edition in map(source.edition, editions):
            path = mirror / "files" / edition.url.removeprefix("https://")
            target = workspace.core(source_id, edition.edition)
            read = parser_of(source)
            refresh(target, "real", lambda e=edition, s=source, p=path, r=read: r(s, e, members(s, e, p)))
    geography.build_passage(workspace)
    geography.build_territories(workspace)
    return workspace


@pytest.fixture(scope="module")
def territory(france: Workspace) -> dict[str, dict]:
    return {r["territory_id"]: r for r in geography.read(france, "territory").iter_rows(named=True)}


def test_iris_of_divided_communes(france: Workspace, territory: dict[str, dict]) -> None:
    table = geography.read(france, "territory").filter(pl.col("level") == "IRIS")
    assert table.height == 16_359
    assert table["commune_id"].null_count() == table["departement_id"].null_count() == 0
    assert table["perimeter_year"].unique().to_list() == [2023]
    municipal = pl.col("commune_id").str.starts_with("ARM-")
    assert table.filter(municipal).height == 992 + 185 + 393  # Paris, Lyon, Marseille
    # two IRIS of the islands in no EPCI, and those alone
    assert table.filter(pl.col("epci_id").is_null())["commune_id"].unique().to_list() == ["COM-85113"]
    grigny = table.filter(pl.col("commune_id") == "COM-91286")
    assert grigny["code"].to_list() == [f"91286010{i}" for i in range(1, 10)]
    assert territory["IRIS-912860101"]["name"] == "La Plaine Basse"
    assert territory["IRIS-912860101"]["epci_id"] == "EPCI-200059228"
    assert territory["IRIS-751010101"]["commune_id"] == "ARM-75101"
    assert territory["IRIS-693810101"]["departement_id"] == "DEP-69"
    assert "IRIS-010010000" not in territory


def test_every_commune_of_every_priority_district_is_found(france: Workspace, territory: dict[str, dict]) -> None:
    table = geography.read(france, "territory").filter(pl.col("level") == "QPV")
    assert table.height == 1_400  # 1,296 of the métropole, 104 of four départements overseas
    overseas = pl.col("code").str.slice(2, 2) == "97"
    assert table.filter(overseas).height == 104
    assert geography.read(france, "unplaced").height == 0
    assert (table["name"] == table["code"]).sum() == 55  # Guadeloupe, Martinique and Guyane are not named
    assert territory["QPV-QP091027"]["commune_id"] == "COM-91286"
    assert territory["QPV-QP091027"]["name"] == "Grigny 2"
    astride = territory["QPV-QP091026"]  # Grigny and Viry-Châtillon, of two EPCI
    assert (astride["commune_id"], astride["epci_id"], astride["departement_id"]) == (None, None, "DEP-91")
    assert territory["QPV-QP062040"]["region_id"] == "REG-32"  # Libercourt (62) and Ostricourt (59)
    assert territory["QPV-QP062040"]["departement_id"] is None
    assert territory["QPV-QP069014"]["commune_id"] == "COM-69149"  # Pierre-Bénite, merged into Oullins in 2024
    assert territory["QPV-QP013050"]["commune_id"] == "COM-13055"  # two arrondissements
    members = geography.read(france, "territory_member").filter(pl.col("child_id").str.starts_with("QPV-"))
    assert (members.height, members["share"].null_count()) == (1_595, 349)


CAF = "www.data.gouv.fr/caf/data_CAF_{}_IRIS.csv"
FILOSOFI = "www.insee.fr/fr/statistiques/fichier/{}"
EDITIONS = {  # file, geography of the codes, published codes, those that are an IRIS of 2023
    "caf-2016": (CAF.format(2016), 2015, 13_148, 13_017),
    "caf-2017": (CAF.format(2017), 2018, 13_279, 13_262),
    "caf-2018": (CAF.format(2018), 2019, 13_349, 13_339),
    "caf-2019": (CAF.format(2019), 2020, 13_424, 13_421),
    "filosofi-2018": (FILOSOFI.format("5055909/BASE_TD_FILO_DEC_IRIS_2018_CSV.zip"), 2019, 12_395, 12_386),
    "filosofi-2021": (FILOSOFI.format("8229323/BASE_TD_FILO_IRIS_2021_DEC_CSV.zip"), 2022, 16_026, 16_026),
}


@pytest.mark.parametrize("name", EDITIONS)
def test_iris_of_an_edition_that_are_still_the_same(france: Workspace, mirror: Path, name: str) -> None:
    file, year, published, kept = EDITIONS[name]
    codes = _codes(mirror / "files" / file)
    listed = pl.read_parquet(france.core("insee_iris", "2023"))
    changes = pl.read_parquet(france.core("insee_iris_modifications", "2023"))
    found = same_iris(codes, listed, changes, range(2019, 2024), geography.read(france, "passage"), year, 2023)
    assert (codes.len(), found.height) == (published, kept)
    assert found["territory_id"].is_unique().all()
    if name == "caf-2017":  # Évry-Courcouronnes was born in 2019 of two divided communes
        assert dict(found.select("code", "territory_id").iter_rows())["911820101"] == "IRIS-912280201"


def _codes(path: Path) -> pl.Series:
    data = path.read_bytes()
    if path.suffix == ".zip":
        archive = zipfile.ZipFile(io.BytesIO(data))
        data = archive.read(next(n for n in archive.namelist() if not n.startswith("meta")))
    text = data.decode("utf-8-sig").encode()
    return pl.read_csv(io.BytesIO(text), separator=";", infer_schema=False).to_series(0).str.zfill(9)
