"""Declared exceptions when a run reads only some years; the coverage that a release owes to the one before."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import polars as pl
import pytest

from expectations.reconciliation import KnownKeys
from pipelines.stages.checking import _of_these_years, _owed_coverage
from sources.deposits.contract import as_source, shipped_contracts
from sources.description import load_sources

KNOWN = [KnownKeys("cities", ("dem_deces/COM-13055/2020", "dem_deces/COM-13055/2018"), "état civil")]
OBSERVED = "(SELECT 'dem_deces' AS indicator_id, 'COM-13055' AS territory_id, 2018 AS year)"


def test_an_exception_of_a_year_that_is_not_read_did_not_go_away() -> None:
    with duckdb.connect() as connection:
        relations = {"observation": OBSERVED}
        assert _of_these_years(connection, relations, KNOWN, True)[0].keys == ("dem_deces/COM-13055/2018",)
        assert _of_these_years(connection, relations, KNOWN, False) == KNOWN, "of all years, it must still occur"


@pytest.mark.parametrize(
    ("edition", "diffusion", "freed"),
    [("public", "public", False), ("public", "partner", True), ("partner", "partner", False)],
)
def test_no_coverage_is_owed_of_what_its_owner_now_keeps_to_partners(
    edition: str, diffusion: str, freed: bool, tmp_path: Path
) -> None:
    previous = tmp_path / edition
    previous.mkdir()
    told = {"source_id": ["depot_accueil_loisirs"], "url": ["https://exemple.fr"]}
    pl.DataFrame(told).write_parquet(previous / "source_file.parquet")
    changed = {"accueil_loisirs": {"diffusion": diffusion}}
    contracts = [c.model_copy(update=changed.get(c.name, {})) for c in shipped_contracts().values()]
    workspace: Any = SimpleNamespace(sources=load_sources() | {c.source_id: as_source(c) for c in contracts})
    owed = _owed_coverage(workspace, previous)
    assert ("edu_loisirs" in owed) is freed
    assert "rev_tp60" not in owed
