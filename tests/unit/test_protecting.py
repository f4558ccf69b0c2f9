"""What is withheld of a deposit's settled figures, in a country of one EPCI: parts and wholes, amounts, perimeters,
figures that contradict each other, releases that follow each other."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from methods.settle import SETTLED, VariableRule
from pipelines.stages import protecting, told
from sources.deposits.contract import Contract, as_source, shipped_contracts

COMMUNES = [f"COM-{code}" for code in ("A", "B", "C", "D")]
EPCI, PERIMETER = "EPCI-1", "PER-1"
PART, DEPARTEMENT, BEYOND = "PER-2", "DEP-1", "COM-E"
TERRITORIES = sorted([*COMMUNES, BEYOND, EPCI, DEPARTEMENT, PERIMETER, PART])
MEMBERS = [(EPCI, c) for c in COMMUNES] + [(PERIMETER, c) for c in COMMUNES[:3]]
MEMBERS += [(DEPARTEMENT, c) for c in (*COMMUNES, BEYOND)]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    members = pl.DataFrame(MEMBERS, schema=["parent_id", "child_id"], orient="row").with_columns(share=1.0)
    part = pl.DataFrame({"parent_id": PART, "child_id": COMMUNES[:2], "share": [1.0, None]})
    members = pl.concat([members, part])
    monkeypatch.setattr(protecting.geography, "identifiers", lambda _: pl.Series(TERRITORIES))
    monkeypatch.setattr(protecting.geography, "read", lambda *_: members)
    defined = SimpleNamespace(slug="1", current=SimpleNamespace(date=datetime(2026, 1, 1)))
    return SimpleNamespace(told=tmp_path / "told", perimeters=[defined])


def settled(figures: dict[str, dict[str, float | None]]) -> pl.DataFrame:
    """Variable -> territory -> value, of 2022; null: masked by the producer."""
    rows = [
        {
            "territory_id": TERRITORIES.index(territory),
            "year": 2022,
            "variable": variable,
            "value": value,
            "lower": value,
            "obs_status": "A" if value is not None else "Q",
            "conf_status": "F" if value is not None else "C",
            "reason": None if value is not None else "secret",
        }
        for variable, values in figures.items()
        for territory, value in values.items()
    ]
    types = {"territory_id": pl.UInt32, "year": pl.Int16, "value": pl.Float64, "lower": pl.Float64, "upper": pl.Float64}
    types |= {"masked_parts": pl.Int32, "aggregated": pl.Boolean}
    return pl.DataFrame(rows, schema={c: types.get(c, pl.Categorical) for c in SETTLED})


def totalled(values: dict[str, float]) -> dict[str, float | None]:
    """The same with the total of the EPCI and of the perimeter."""
    return {**values, EPCI: sum(values.values()), PERIMETER: sum(values[c] for c in COMMUNES[:3])}


def shown(frame: pl.DataFrame, variable: str) -> set[str]:
    kept = frame.filter(pl.col("variable").cast(pl.String) == variable, pl.col("value").is_not_null())
    return {TERRITORIES[i] for i in kept["territory_id"]}


def contract(threshold: int = 5, **changes: Any) -> Contract:
    told = shipped_contracts()["caf_prestations"].model_dump() | changes
    return Contract.model_validate(told | {"secrecy": {"rule": "S_CNAF", "threshold": threshold}})


def protect(workspace: Any, figures: dict[str, dict[str, float | None]], threshold: int = 5) -> Any:
    return protecting.protected(workspace, as_source(contract(threshold)), settled(figures))


def publish(workspace: Any, release: str) -> None:
    told.announce(workspace.told, release)
    told.accept(workspace.told)


def test_what_is_left_of_a_whole_is_protected_as_its_part_is(workspace: Any) -> None:
    wholes = dict(zip(COMMUNES, (100.0, 200.0, 300.0, 400.0), strict=True))
    parts = dict(zip(COMMUNES, (97.0, 60.0, 70.0, 80.0), strict=True))  # 3 of A are not counted
    kept, audit = protect(workspace, {"alloc_calculables": totalled(wholes), "dep75": totalled(parts)})
    assert audit["ok"].all() and audit.height
    assert not {"COM-A"} <= shown(kept, "alloc_calculables") & shown(kept, "dep75")
    alone, _ = protect(workspace, {"dep75": totalled(parts)})
    assert shown(alone, "dep75") == {*COMMUNES, EPCI, PERIMETER}


def test_an_amount_that_one_contributor_dominates_is_withheld_and_never_alone(workspace: Any) -> None:
    amounts = dict(zip(COMMUNES, (1000.0, 5000.0, 6000.0, 7000.0), strict=True))
    largest = dict(zip(COMMUNES, (950.0, 500.0, 600.0, 700.0), strict=True))
    number = dict.fromkeys(COMMUNES, 50.0)
    figures = {"montant": totalled(amounts), "montant_max": totalled(largest), "montant_foyers": totalled(number)}
    kept, audit = protect(workspace, figures)
    assert audit["ok"].all() and "B" in audit["status"].to_list()
    missing = {*COMMUNES, EPCI} - shown(kept, "montant")
    assert "COM-A" in missing and len(missing) >= 2
    assert shown(kept, "montant") >= {EPCI}
    assert set(kept["variable"].cast(pl.String)) == {"montant"}, "what amounts are judged by is never published"


def test_an_amount_whose_contributors_are_not_known_is_withheld(workspace: Any) -> None:
    amounts = dict(zip(COMMUNES, (1000.0, 5000.0, 6000.0, 7000.0), strict=True))
    kept, audit = protect(workspace, {"montant": totalled(amounts), "montant_max": totalled(amounts)})
    assert shown(kept, "montant") == set() and audit["ok"].all()


def test_largest_and_number_of_contributors_are_settled_where_their_amount_is() -> None:
    source = as_source(contract())
    names = {rule.variable for rule in protecting.private_rules(source, [VariableRule("montant", "sum")])}
    assert names == {"montant_max", "montant_foyers"}
    assert list(protecting.private_rules(source, [VariableRule("basrev", "sum")])) == []


def test_a_perimeter_gives_way_before_any_official_territory(workspace: Any) -> None:
    values = totalled(dict(zip(COMMUNES, (40.0, 50.0, 2.0, 30.0), strict=True)))
    kept, audit = protect(workspace, {"basrev": values})
    assert audit["ok"].all()
    without = {t: v for t, v in values.items() if t != PERIMETER}
    assert shown(kept, "basrev") == shown(protect(workspace, {"basrev": without})[0], "basrev")
    harmless = totalled(dict(zip(COMMUNES, (40.0, 50.0, 60.0, 30.0), strict=True)))
    assert PERIMETER in shown(protect(workspace, {"basrev": harmless})[0], "basrev")


def test_a_year_that_comes_back_is_not_taken_for_what_was_told(workspace: Any) -> None:
    first = {"basrev": totalled(dict(zip(COMMUNES, (40.0, 50.0, 2.0, 30.0), strict=True)))}
    protect(workspace, first)
    publish(workspace, "r0001")
    protect(workspace, {"dep75": totalled(dict.fromkeys(COMMUNES, 20.0))})  # all of basrev was withdrawn
    publish(workspace, "r0002")
    again = {"basrev": totalled(dict(zip(COMMUNES, (41.0, 50.0, 2.0, 30.0), strict=True)))}
    kept, audit = protect(workspace, again)
    assert audit["ok"].all() and audit["refused"].is_null().all()
    assert "COM-C" not in shown(kept, "basrev")


def test_figures_that_contradict_each_other_are_withheld_whole_and_said(workspace: Any) -> None:
    first = {"basrev": totalled(dict(zip(COMMUNES, (40.0, 50.0, 2.0, 30.0), strict=True)))}
    masked: dict[str, float | None] = {
        "COM-A": None,
        "COM-B": 50.0,
        "COM-C": 20.0,
        "COM-D": 30.0,
        EPCI: 110.0,
        PERIMETER: 95.0,
    }
    kept, audit = protect(workspace, {"basrev": masked})
    assert shown(kept, "basrev") == set()
    assert audit["refused"].is_not_null().sum() == 1
    assert protect(workspace, first)[1]["refused"].is_null().all()


def test_what_is_known_of_a_masked_total_is_no_bound(workspace: Any) -> None:
    frame = settled({"basrev": {"COM-A": None, "COM-B": 50.0, "COM-C": 20.0, "COM-D": 30.0, EPCI: None}})
    known = pl.when(pl.col("territory_id") == TERRITORIES.index(EPCI)).then(100.0).otherwise("lower")
    kept, _ = protecting.protected(workspace, as_source(contract()), frame.with_columns(lower=known))
    assert kept.filter(pl.col("value").is_null())["lower"].to_list() == [None, None]


def test_a_threshold_raised_since_says_what_it_no_longer_protects(workspace: Any) -> None:
    values = {"basrev": totalled(dict(zip(COMMUNES, (40.0, 50.0, 2.0, 30.0), strict=True)))}
    _, before = protect(workspace, values)
    assert before.height == 1 and not before["lowered"].any()
    publish(workspace, "r0001")
    kept, after = protect(workspace, values, threshold=35)  # what the others add up to is known: 32
    assert after["ok"].all() and after["lowered"].any()
    assert "COM-C" not in shown(kept, "basrev")


def test_what_a_release_tells_counts_once_it_is_published(workspace: Any) -> None:
    values = {"basrev": totalled(dict(zip(COMMUNES, (40.0, 50.0, 2.0, 30.0), strict=True)))}
    protect(workspace, values)
    folder = workspace.told / "depot_caf_prestations"
    drafts = sorted(p.name for p in folder.glob("*.proposed"))
    assert len(drafts) == 3 and not list(folder.glob("*.parquet"))
    told.announce(workspace.told, "r0001")
    told.recover(workspace.told, ["r0000"])  # killed before it was in place
    assert not list(folder.glob("*.parquet")) and not (workspace.told / told.PUBLISHING).exists()
    told.announce(workspace.told, "r0001")
    told.recover(workspace.told, ["r0000", "r0001"])  # killed after
    assert len(list(folder.glob("*.parquet"))) == 3 and not list(folder.glob("*.proposed"))
    told.recover(workspace.told, [])


def test_a_commune_that_nobody_deposited_is_not_what_is_left_of_its_departement(workspace: Any) -> None:
    kept, audit = protect(workspace, {"basrev": {EPCI: 120.0, DEPARTEMENT: 123.0}})
    assert audit["ok"].all() and audit.height == 1
    assert len(shown(kept, "basrev")) < 2
    assert len(shown(protect(workspace, {"basrev": {EPCI: 120.0, DEPARTEMENT: 153.0}})[0], "basrev")) == 2


def test_a_perimeter_with_a_part_of_a_commune_tells_nothing(workspace: Any) -> None:
    values = totalled(dict(zip(COMMUNES, (40.0, 50.0, 60.0, 30.0), strict=True))) | {PART: 42.0}
    kept, _ = protect(workspace, {"basrev": values})
    assert shown(kept, "basrev") == {*COMMUNES, EPCI, PERIMETER}
