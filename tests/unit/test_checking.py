"""Declared exceptions when a run reads only some years."""

from __future__ import annotations

import duckdb

from expectations.reconciliation import KnownKeys
from pipelines.stages.checking import _of_these_years

KNOWN = [KnownKeys("cities", ("dem_deces/COM-13055/2020", "dem_deces/COM-13055/2018"), "état civil")]
OBSERVED = "(SELECT 'dem_deces' AS indicator_id, 'COM-13055' AS territory_id, 2018 AS year)"


def test_an_exception_of_a_year_that_is_not_read_did_not_go_away() -> None:
    with duckdb.connect() as connection:
        relations = {"observation": OBSERVED}
        assert _of_these_years(connection, relations, KNOWN, True)[0].keys == ("dem_deces/COM-13055/2018",)
        assert _of_these_years(connection, relations, KNOWN, False) == KNOWN, "of all years, it must still occur"
