"""Every edition of the real files against its producer's own higher levels, and the roundings declared for it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import polars as pl
import pytest
from test_geography import Geography

from expectations import editions
from sources.description import load_sources

MIRROR = Path(__file__).parents[2].parent / "shared" / "mirror"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not MIRROR.is_dir(), reason=f"fichiers réels absents : {MIRROR}"),
]
GEOGRAPHY = Geography(MIRROR)
STORED = [
    (source.source_id, edition.edition)
    for source in load_sources().values()
    if source.kind == "values"
    for edition in source.editions
    if editions.declared_rules(source.source_id, edition.edition)
    and (MIRROR / "files" / edition.url.removeprefix("https://")).is_file()
]


@cache
def details(source_id: str, edition: str) -> pl.DataFrame:
    declared = load_sources()[source_id].edition(edition)
    values = editions.comparable(
        GEOGRAPHY.stored(source_id, edition), source_id, edition, lambda s, e: GEOGRAPHY.read(s, e)
    )
    members = GEOGRAPHY.members(declared.cog_year or declared.data_year)
    return editions.reconcile_edition(values, members, editions.declared_rules(source_id, edition))


@pytest.mark.parametrize(("source_id", "edition"), STORED, ids=[f"{s}/{e}" for s, e in STORED])
def test_an_edition_reconciles_or_its_exceptions_are_declared(source_id: str, edition: str) -> None:
    found, stale = editions.lines(details(source_id, edition), source_id, edition, editions.declared_exceptions())
    wrong = found.filter(pl.col("status") == "outside").select("variable", "level", "outside", "sample")
    assert wrong.rows() == []
    assert stale == []


@pytest.mark.parametrize(("source_id", "edition"), STORED, ids=[f"{s}/{e}" for s, e in STORED])
def test_every_figure_is_a_multiple_of_a_rounding_step_declared_for_it(source_id: str, edition: str) -> None:
    """A step coarser than the file's would widen the tolerance and hide a difference."""
    values = GEOGRAPHY.stored(source_id, edition).with_columns(pl.col("level", "variable").cast(pl.String))
    for variable, rule in editions.declared_rules(source_id, edition).items():
        own = values.filter((pl.col("variable") == variable) & pl.col("value").is_not_null())
        for (level,), rows in own.group_by("level"):
            steps = rule.steps.get(str(level), rule.steps.get("*", ()))
            if not steps:
                continue
            quotient = rows["value"] / min(steps)
            finer = rows.filter((quotient - quotient.round()).abs() > 1e-6)
            assert finer.is_empty(), (variable, level, steps, finer["value"].head(3).to_list())


def test_what_is_compared_is_not_little() -> None:
    """Départements make up régions and the métropole exactly: those comparisons leave nothing to masks."""
    found = details("insee_filosofi_cc", "2018").filter(pl.col("variable") == "tp60")
    plain = found.filter(pl.col("member_level").is_in(["DEP", "REG"]))
    assert plain.height == 16
    assert plain["compared"].all()
    assert (plain["published"] - plain["rebuilt"]).abs().max() < 0.1
