"""How poverty figures must not be read: by age, across the sources that followed one another, across QPV perimeters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from warehouse.catalogue import PublishedForm, RatioForm, load_catalogue, series_break_table, variable_rules
from warehouse.duckdb_file import create_tables, create_views
from warehouse.models import CODELISTS

REFERENT = "référent fiscal"
CATALOGUE = load_catalogue()


def test_every_age_of_a_tax_referent_says_so() -> None:
    labels = {code: label for code, label in CODELISTS["age"].items() if code.startswith("RF_")}
    assert len(labels) == 6
    assert [code for code, label in labels.items() if REFERENT not in label.lower()] == []


@pytest.mark.parametrize("indicator", CATALOGUE.indicators, ids=lambda i: i.id)
def test_a_figure_by_age_of_the_referent_is_never_told_as_the_age_of_persons(indicator: Any) -> None:
    form = indicator.compute
    if not isinstance(form, PublishedForm):
        return
    of_referent = {age for age, variable in form.ages.items() if "_rf_" in variable}
    assert of_referent == {age for age in form.ages if age.startswith("RF_")}
    assert not any("_rf_" in variable for variable in form.variables.values())
    if of_referent:
        assert REFERENT in indicator.definition_fr.lower()
        assert any(REFERENT in trap.lower() for trap in indicator.traps_fr)


def test_declared_income_serves_no_indicator() -> None:
    used = {rule.variable for rules in variable_rules(CATALOGUE).values() for rule in rules}
    assert not [v for v in used if v.startswith("dec_")]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A small database with the register of series breaks."""
    with duckdb.connect() as con:
        create_tables(con)
        create_views(con)
        con.register("breaks", series_break_table(CATALOGUE))
        con.execute("INSERT INTO series_break BY NAME SELECT * FROM breaks")
        yield con


def evolution(con: duckdb.DuckDBPyConnection, indicator: str, **years: str) -> list[tuple[int, float | None, bool]]:
    """Year, evolution and whether a break is told, of a series whose source each year is given (y2011="insee_rfl")."""
    con.execute("DELETE FROM observation")
    for year, source in years.items():
        con.execute(
            "INSERT INTO observation BY NAME SELECT ? AS indicator_id, 'COM-1' AS territory_id, ? AS year, "
            "'_T' AS sex, '_T' AS age, '_Z' AS reference, 10.0 + ? AS value, 'A' AS obs_status, ? AS source_ids",
            [indicator, int(year[1:]), int(year[1:]) % 100, f"{source}/{year[1:]}"],
        )
    found = con.execute(
        "SELECT annee, evolution, coalesce(contains(note, 'rupture'), false) FROM evolution(?, 'COM-1')", [indicator]
    )
    return found.fetchall()


@pytest.mark.parametrize("source", ["insee_filosofi_cc", "insee_filosofi_distribution"])
def test_rfl_filosofi_and_filosofi_2023_are_three_series(connection: duckdb.DuckDBPyConnection, source: str) -> None:
    years = {"y2010": "insee_rfl", "y2011": "insee_rfl", "y2013": source, "y2021": source}
    new = "insee_filosofi_2023"
    assert evolution(connection, "rev_med", **years, y2023=new, y2024=new) == [
        (2010, None, False),
        (2011, 1.0, False),
        (2013, None, True),
        (2021, 8.0, False),
        (2023, None, True),
        (2024, 1.0, False),
    ]


def test_the_perimeters_of_2015_and_of_2024_are_never_joined(connection: duckdb.DuckDBPyConnection) -> None:
    old, new = "insee_qpv_demographie", "insee_qpv2024_revenus"
    assert evolution(connection, "qpv_part", y2013=old, y2018=old, y2024=old) == [
        (2013, None, False),
        (2018, 5.0, False),
        (2024, None, True),
    ]
    # whatever the year that the figures of the new perimeters describe
    assert evolution(connection, "rev_med", y2018="insee_qpv_revenus", y2021=new)[1] == (2021, None, True)


def test_a_share_of_districts_is_given_to_their_commune_only() -> None:
    form = CATALOGUE.indicator("qpv_part").compute
    assert isinstance(form, RatioForm) and form.lifted
