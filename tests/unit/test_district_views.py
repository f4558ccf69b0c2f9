"""Districts in the French views, the macros and the portrait: an IRIS or a QPV beside its commune."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import release_sample as sample
from rich.console import Console

from pipelines.reading import show_portrait
from warehouse.models import TABLES
from warehouse.release import Releases

ABOVE = ("EPCI-200000001", "DEP-01", "REG-84")
DISTRICTS = [
    ("ARM-01901", "ARM", "01901", "Épinay 1er", None, "COM-01001", *ABOVE),
    ("IRIS-010010101", "IRIS", "010010101", "Le Mesnil", 2023, "COM-01001", *ABOVE),  # as a commune is called
    ("IRIS-019010101", "IRIS", "019010101", "Les Tuileries", 2023, "ARM-01901", *ABOVE),
    ("QPV-QP001001", "QPV", "QP001001", "Grand Pré", 2015, "COM-01001", *ABOVE),
    ("QPV-QP001002", "QPV", "QP001002", "À cheval", 2015, None, *ABOVE),
]
MEMBERS = [
    ("COM-01001", "ARM-01901", 1.0), ("COM-01001", "IRIS-010010101", 1.0), ("ARM-01901", "IRIS-019010101", 1.0),
    ("COM-01001", "QPV-QP001001", 1.0), ("COM-01001", "QPV-QP001002", None), ("COM-01002", "QPV-QP001002", None),
    ("METRO-FM", "COM-01001", 1.0), ("METRO-FM", "COM-01002", 1.0),
]  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tables = sample.tables()
    own = [(*t[:4], 2025, *t[4:], None, None) for t in DISTRICTS]
    territory = pl.concat([tables["territory"], _rows("territory", own)]).sort("territory_id")
    links = _rows("territory_member", [(p, c, 2025, s) for p, c, s in MEMBERS])
    member = pl.concat([tables["territory_member"], links]).sort("parent_id", "child_id")
    rows = sample.observations()
    base = rows.filter((pl.col("indicator_id") == "rev_tp60") & (pl.col("territory_id") == "COM-01001"))
    base = base.filter(pl.col("year") == 2018)
    figures = {"IRIS-010010101": 52.0, "QPV-QP001001": 61.0, "QPV-QP001002": 58.0, "ARM-01901": 47.0}
    figures["IRIS-019010101"] = 49.0
    ours = [base.with_columns(territory_id=pl.lit(t), value=pl.lit(v)) for t, v in figures.items()]
    releases = Releases(tmp_path_factory.mktemp("data"))
    rows = pl.concat([rows, *ours]).sort(TABLES["observation"].key)
    sample.publish(releases, rows, territory=territory, territory_member=member)
    return releases.database


def _rows(table: str, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=TABLES[table].schema(), orient="row")


@pytest.fixture(scope="module")
def database(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(path), read_only=True) as connection:
        yield connection


@pytest.mark.parametrize(
    ("territory", "beside"),
    [
        ("IRIS-010010101", (52.0, 44.0, 30.0, 12.5, 14.8)),
        ("IRIS-019010101", (49.0, 47.0, 30.0, 12.5, 14.8)),  # its arrondissement
        ("ARM-01901", (47.0, 44.0, 30.0, 12.5, 14.8)),  # its city
        ("QPV-QP001001", (61.0, 44.0, 30.0, 12.5, 14.8)),
        ("QPV-QP001002", (58.0, None, 30.0, 12.5, 14.8)),  # in two communes
        ("COM-01001", (44.0, None, 30.0, 12.5, 14.8)),
    ],
)
def test_v_portrait(database: duckdb.DuckDBPyConnection, territory: str, beside: tuple[float | None, ...]) -> None:
    found = database.execute(
        "SELECT valeur, valeur_commune, valeur_epci, valeur_departement, valeur_metropole FROM v_portrait "
        "WHERE territory_id = ? AND indicator_id = 'rev_tp60' AND annee = 2018",
        [territory],
    ).fetchall()
    assert found == [beside]


@pytest.mark.parametrize(
    ("territory", "references"),
    [
        ("IRIS-010010101", ["COM", "EPCI", "DEP", "REG", "METRO"]),
        ("IRIS-019010101", ["ARM", "EPCI", "DEP", "REG", "METRO"]),
        ("QPV-QP001002", ["EPCI", "DEP", "REG", "METRO"]),
        ("COM-01001", ["EPCI", "DEP", "REG", "METRO"]),
    ],
)
def test_ecart_reference(database: duckdb.DuckDBPyConnection, territory: str, references: list[str]) -> None:
    query = "SELECT reference, ecart FROM ecart_reference('rev_tp60', $id, 2018)".replace("$id", f"'{territory}'")
    found = database.execute(query).fetchall()
    assert [r[0] for r in found] == references
    if territory == "IRIS-010010101":
        assert found[0][1] == 8.0


def test_a_district_found_by_its_name_is_told_from_others_by_its_commune(database: duckdb.DuckDBPyConnection) -> None:
    found = database.execute("SELECT territory_id, commune FROM chercher_territoire('le mesnil')").fetchall()
    assert found == [("COM-01003", None), ("IRIS-010010101", "Épinay-l'Œuvre")]


def portrait(path: Path, asked: str) -> tuple[int, str]:
    out = Console(file=io.StringIO(), width=200)
    code = show_portrait(path, asked, 2018, out, Console(file=io.StringIO()))
    return code, out.file.getvalue()  # type: ignore[attr-defined]


def test_portrait_of_districts(path: Path) -> None:
    code, text = portrait(path, "IRIS-019010101")
    assert code == 0
    order = [text.index(t) for t in ("Épinay 1er (ARM-01901)", "(COM-01001)", "(EPCI-200000001)", "(METRO-FM)")]
    assert order == sorted(order)
    assert "IRIS" in text and "Arrondissement" in text
    code, text = portrait(path, "à cheval")
    assert code == 0 and "(COM-" not in text and "(METRO-FM)" in text and "Quartier prioritaire" in text


def test_a_commune_of_the_same_name_comes_first(path: Path) -> None:
    code, text = portrait(path, "le mesnil")
    assert code == 0 and "Le Mesnil (Commune, COM-01003)" in text
