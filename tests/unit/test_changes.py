"""The difference of two releases, and since when a value is published."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import release_sample as sample

from warehouse.changes import COMPUTED, FirstSeen, number_fr
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
    whose = "| Libellé de rev_tp60 (`rev_tp60`) | Épinay-l'Œuvre (COM-01001)"
    assert f"{whose} | 2018 | 44 | 22 | −22 | −50\u202f% | calcul |" in text


def test_nothing_changed_is_said(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    sample.publish(releases)
    changes = sample.candidate(releases, digest=OTHER).changes
    assert changes.empty
    assert "Aucune différence" in changes.markdown()


def with_versions(**versions: int) -> pl.DataFrame:
    """The sample's catalogue, of these indicators only, with these versions."""
    table = sample.tables()["indicator"].filter(pl.col("indicator_id").is_in(list(versions)))
    return table.with_columns(version=pl.col("indicator_id").replace_strict(versions, return_dtype=pl.Int16))


def test_what_a_definition_moves_is_told_from_what_the_data_move(tmp_path: Path) -> None:
    indicator = with_versions(rev_tp60=2, rev_med=2, dem_pop=1, caf_rsa=1, rev_tp60_rang=1)
    releases = two_releases(tmp_path, indicator=indicator)
    changes = releases.diff(*(r.release_id for r in releases.list()))
    causes = dict(changes.counts.select("indicator_id", "cause").iter_rows())
    assert causes == {"rev_tp60": "définition (v1 → v2)", "dem_pop": "données"}
    assert changes.relative.height == 0  # no movement of a redefined indicator is shown as one
    text = changes.markdown()
    assert "| définition (v1 → v2) | Libellé de rev_tp60 (`rev_tp60`) | 0 | 3 | 0 |" in text
    assert "| définition (v1 → v2) | Libellé de rev_med (`rev_med`) | 0 | 0 | 0 |" in text  # moved no value: told too
    assert "| données | 1 indicateur | 1 | 0 | 1 |" in text
    by_source = text[text.index("## Ce que les données changent") :]
    assert "dem_pop" in by_source and "rev_tp60" not in by_source


def test_the_same_values_at_the_same_version_are_the_data(tmp_path: Path) -> None:
    releases = two_releases(tmp_path)
    changes = releases.diff(*(r.release_id for r in releases.list()))
    assert set(changes.counts["cause"]) == {"données"}
    assert "définition (" not in changes.markdown()


def test_an_indicator_that_comes_or_goes_is_not_the_data(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    rows = sample.observations()
    all_but = dict.fromkeys(("rev_tp60", "rev_med", "dem_pop", "rev_tp60_rang"), 1)
    without = rows.filter(pl.col("indicator_id") != "caf_rsa")
    sample.publish(releases, without, indicator=with_versions(**all_but))
    sample.publish(releases, rows, digest=OTHER)
    here = releases.list()
    text = releases.diff(here[0].release_id, here[1].release_id).markdown()
    assert "| nouvel indicateur | Libellé de caf_rsa (`caf_rsa`) | 3 | 0 | 0 |" in text
    text = releases.diff(here[1].release_id, here[0].release_id).markdown()
    assert "| indicateur retiré | Libellé de caf_rsa (`caf_rsa`) | 0 | 0 | 3 |" in text


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


# --- why a row moves


def sources(**changed: object) -> pl.DataFrame:
    """The sample's source files, one of their columns changed."""
    return sample.tables()["source_file"].with_columns(**{k: pl.lit(v) for k, v in changed.items()})


def reasons(releases: Releases) -> dict[str, set[str]]:
    """Indicator -> why its rows move, between the two releases."""
    changes = releases.diff(*(r.release_id for r in releases.list()))
    told: dict[str, set[str]] = {}
    for row in changes.reasons.iter_rows(named=True):
        told.setdefault(row["indicator_id"], set()).add(row["reason"])
    return told


def test_a_row_moves_for_the_first_reason_that_holds(tmp_path: Path) -> None:
    """One of the sample's poverty rates comes from `insee_filosofi_cc/2018-geo2022`: the file is another one, or goes;
    then communes are no longer made of the same land; then the definition is another one."""
    assert reasons(two_releases(tmp_path / "same")) == {"rev_tp60": {COMPUTED}, "dem_pop": {COMPUTED}}
    revised = sources(sha256="b" * 64)
    assert reasons(two_releases(tmp_path / "revised", source_file=revised))["rev_tp60"] == {"édition révisée", COMPUTED}
    gone = sources(edition="2018-geo2021")
    assert reasons(two_releases(tmp_path / "gone", source_file=gone))["rev_tp60"] == {"édition retirée", COMPUTED}
    merged = sample.tables()["territory"].with_columns(perimeter_year=pl.lit(2024, pl.Int16))
    changed = {"source_file": revised, "territory": merged}
    assert reasons(two_releases(tmp_path / "land", **changed))["rev_tp60"] == {"géographie changée"}
    changed["indicator"] = with_versions(rev_tp60=2, rev_med=1, dem_pop=1, caf_rsa=1, rev_tp60_rang=1)
    assert reasons(two_releases(tmp_path / "definition", **changed)) == {
        "rev_tp60": {"définition changée"},
        "dem_pop": {"géographie changée"},
    }


def test_a_new_edition_is_the_reason_of_what_comes_from_it(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    sample.publish(releases, source_file=sources(edition="2017-geo2022"))
    sample.publish(releases, modified(), digest=OTHER)
    assert reasons(releases)["rev_tp60"] == {"nouvelle édition", COMPUTED}


def test_the_page_of_movements_tells_by_reason_source_indicator_and_territory(tmp_path: Path) -> None:
    latest = two_releases(tmp_path, source_file=sources(sha256="b" * 64)).latest()
    assert latest is not None
    text = (latest.public / "MOUVEMENTS.md").read_text(encoding="utf-8")
    assert "| édition révisée | 0 | 1 | 0 |" in text
    assert "| insee_filosofi_cc | édition révisée | 0 | 1 | 0 |" in text
    assert "| Libellé de rev_tp60 (`rev_tp60`) | insee_filosofi_cc | édition révisée | 0 | 1 | 0 |" in text
    at = text.index("## Territoires de niveau COM qui bougent le plus")
    assert "Épinay-l'Œuvre (COM-01001) | 2018 | 44 | 22 | −22 | −50\u202f% | édition révisée | 1 |" in text[at:]


def test_the_page_of_a_first_release_compares_with_nothing(tmp_path: Path) -> None:
    release = sample.publish(Releases(tmp_path))
    assert "rien à quoi la comparer" in (release.public / "MOUVEMENTS.md").read_text(encoding="utf-8")
