"""The difference of two releases, and since when a value is published."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import release_sample as sample

from warehouse.changes import FirstSeen, number_fr
from warehouse.release import Releases

OTHER = "fedcba9876543210" * 4


def modified() -> pl.DataFrame:
    """The sample with one value changed, one masked, one unmasked, one row removed and one added."""
    one = pl.col("territory_id") == "COM-01001"
    tp60 = pl.col("indicator_id") == "rev_tp60"
    year = pl.col("year")
    rows = sample.observations()
    rows = rows.filter(~((pl.col("indicator_id") == "dem_pop") & (year == 2010)))
    added = rows.filter(pl.col("indicator_id") == "dem_pop").with_columns(year=pl.lit(2019, pl.Int16))
    value = (
        pl.when(tp60 & one & (year == 2018)).then(22.0)
        .when(tp60 & one & (year == 2019)).then(None)
        .when(tp60 & one & (year == 2020)).then(47.0)
        .otherwise("value")
    )  # fmt: skip
    status = (
        pl.when(tp60 & one & (year == 2019)).then(pl.lit("Q"))
        .when(tp60 & one & (year == 2020)).then(pl.lit("A"))
        .otherwise("obs_status")
    )  # fmt: skip
    return pl.concat([rows.with_columns(value=value, obs_status=status), added]).sort(sample.TABLES["observation"].key)


def two_releases(data: Path, **changed: pl.DataFrame) -> Releases:
    releases = Releases(data)
    sample.publish(releases)
    sample.publish(releases, modified(), digest=OTHER, **changed)
    return releases


def test_a_first_release_adds_everything(tmp_path: Path) -> None:
    release = sample.publish(Releases(tmp_path))
    assert (release.added, release.changed, release.removed) == (21, 0, 0)
    text = (release.public / "CHANGES.md").read_text(encoding="utf-8")
    assert "Première publication : 21 lignes" in text
    assert "| insee_filosofi_cc | Libellé de rev_med (`rev_med`) | 3 |" in text


def test_counts_by_source_and_indicator(tmp_path: Path) -> None:
    releases = two_releases(tmp_path)
    changes = releases.diff(*(r.release_id for r in releases.list()))
    counts = {r["indicator_id"]: r for r in changes.counts.iter_rows(named=True)}
    assert counts.keys() == {"dem_pop", "rev_tp60"}
    assert counts["rev_tp60"]["source"] == "insee_filosofi_cc"
    assert [counts["rev_tp60"][k] for k in ("added", "changed", "removed", "hidden", "shown")] == [0, 3, 0, 1, 1]
    assert [counts["dem_pop"][k] for k in ("added", "changed", "removed")] == [1, 0, 1]
    latest = releases.latest()
    assert latest is not None and (latest.added, latest.changed, latest.removed) == (1, 3, 1)


def test_the_text_says_what_moved_most(tmp_path: Path) -> None:
    latest = two_releases(tmp_path).latest()
    assert latest is not None
    text = (latest.public / "CHANGES.md").read_text(encoding="utf-8")
    assert "1 lignes ajoutées, 3 modifiées (dont 1 valeurs qui ne sont plus publiées et 1 qui le" in text
    assert (
        "| Libellé de rev_tp60 (`rev_tp60`) | Épinay-l'Œuvre (COM-01001) | 2018 | 44 | 22 | −22 | −50\u202f% |" in text
    )


def test_nothing_changed_is_said(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    sample.publish(releases)
    changes = sample.candidate(releases, digest=OTHER).changes
    assert changes.empty
    assert "Aucune différence" in changes.markdown()


def test_a_redefined_indicator_stands_apart(tmp_path: Path) -> None:
    version = pl.when(pl.col("indicator_id") == "rev_tp60").then(2).otherwise(1).cast(pl.Int16)
    indicator = sample.tables()["indicator"].with_columns(version=version)
    releases = two_releases(tmp_path, indicator=indicator)
    changes = releases.diff(*(r.release_id for r in releases.list()))
    assert changes.definitions.row(0) == ("rev_tp60", "Libellé de rev_tp60", 1, 2)
    assert changes.relative.height == 0
    text = changes.markdown()
    assert "| Libellé de rev_tp60 (`rev_tp60`) | 1 | 2 | 0 | 3 | 0 |" in text
    assert "| insee_filosofi_cc | Libellé de rev_tp60" not in text


def test_territories_that_come_and_go(tmp_path: Path) -> None:
    territory = sample.tables()["territory"].with_columns(pl.col("territory_id").replace("COM-01003", "COM-01009"))
    releases = two_releases(tmp_path, territory=territory)
    changes = releases.diff(*(r.release_id for r in releases.list()))
    assert changes.territories_added["territory_id"].to_list() == ["COM-01009"]
    assert changes.territories_removed["territory_id"].to_list() == ["COM-01003"]
    assert "## Territoires retirés (1)" in changes.markdown()


def test_release_added_is_that_of_the_first_appearance(tmp_path: Path) -> None:
    releases = two_releases(tmp_path)
    first, second = (r.release_id for r in releases.list())
    latest = releases.get(second)
    new = pl.read_parquet(latest.path("observation")).filter(pl.col("release_added") == second)
    assert new.select("indicator_id", "year").rows() == [
        ("dem_pop", 2019), ("rev_tp60", 2018), ("rev_tp60", 2019), ("rev_tp60", 2020)
    ]  # fmt: skip
    third = sample.publish(releases, modified(), digest="9" * 64)
    again = pl.read_parquet(third.path("observation"))
    assert set(again["release_added"]) == {first, second}


def test_release_added_does_not_depend_on_the_blocks(tmp_path: Path) -> None:
    previous = sample.publish(Releases(tmp_path)).path("observation")
    seen = FirstSeen(previous, "r0002-0")
    rows = modified().with_columns(release_added=pl.lit(""))
    whole = seen.fill(rows)
    for size in (1, 2, 5):
        assert pl.concat([seen.fill(block) for block in rows.iter_slices(size)]).equals(whole)
    assert set(whole["release_added"]) == {"r0001-0123456789ab", "r0002-0"}


def test_numbers_as_french_readers_write_them() -> None:
    assert [number_fr(x) for x in (None, 0.0, 13960.4, 12.04, 0.256, -3.5)] == [
        "", "0", "13\u202f960", "12", "0,26", "−3,5"
    ]  # fmt: skip
    assert number_fr(2.0, signed=True) == "+2"
