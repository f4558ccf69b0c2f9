"""Drift: each kind of gap is measured, each accident is caught, and an ordinary year raises nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from expectations.drift import EXPECTED, gaps, judge
from expectations.results import CheckResult, Run
from pipelines.settings import Settings
from pipelines.stages.drifting import breaks_between, check_drift, new_editions
from pipelines.workspace import Workspace
from sources.description import Drift, load_sources
from sources.raw_store import RawFile
from sources.schema import VALUES
from warehouse.catalogue import load_catalogue

RUN = Run("essai", datetime(2026, 1, 1, tzinfo=UTC))
REGIONS = {"01": "84", "02": "32", "03": "84"}
VARIABLES = ("pop", "taux", "med")


def figures(year: int = 2020) -> pl.DataFrame:
    """Three hundred communes of three départements: a count, a rate with masks, a median; moved a little a year."""
    rows = []
    for n in range(300):
        code = f"{n // 100 + 1:02}{n % 100:03}"
        moved = 1 + 0.01 * (year - 2020) + 0.001 * (n % 7)
        values = {
            "pop": (100 + n * n) * moved,
            "taux": None if n % 5 == 0 else 5 + n % 40 * moved,
            "med": 15000 + n * 20,
        }
        rows += [("COM", code, year, v, values[v]) for v in VARIABLES]
        if n % 5 == 1:
            rows.append(("COM", code, year - 5, "pop", 1.0))  # an older year of the same file counts for nothing
    return pl.DataFrame(rows, schema=["level", "code", "year", "variable", "value"], orient="row")


def alarms(
    before: pl.DataFrame, after: pl.DataFrame, breaks: dict[str | None, str] | None = None
) -> dict[str, CheckResult]:
    """kind -> the result that did not pass."""
    found = gaps(before, after, {"pop"}, REGIONS)
    limits = Drift().model_dump()
    results = judge(found, limits, RUN, edition="s/2021", previous="édition 2020", breaks=breaks or {})
    assert [r.check_id for r in results] == [f"drift_{kind}" for kind in limits] and set(limits) == set(EXPECTED)
    return {r.check_id.removeprefix("drift_"): r for r in results if not r.passed}


def of(variable: str) -> pl.Expr:
    return pl.col("variable") == variable


def changed(variable: str, value: pl.Expr) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.when(of(variable)).then(value).otherwise(pl.col("value")).alias("value"))


def swapped(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("variable").replace({"pop": "taux", "taux": "pop"}))


VALUE = pl.col("value")
ACCIDENTS: dict[str, tuple[Callable[[pl.DataFrame], pl.DataFrame], str, str]] = {
    "a unit in thousands": (changed("med", VALUE / 1000), "scale", "critical"),
    "a unit in thousands moves the distribution": (changed("med", VALUE / 1000), "shape", "critical"),
    "a region less": (lambda f: f.filter(~pl.col("code").str.starts_with("02")), "regions", "critical"),
    "a third less": (lambda f: f.filter(~pl.col("code").str.starts_with("02")), "rows", "warning"),
    "rows twice": (lambda f: pl.concat([f, f]), "rows", "critical"),
    "sums of a region": (
        changed("pop", pl.when(pl.col("code") > "02").then(VALUE * 9).otherwise(VALUE)),
        "sums",
        "critical",
    ),
    "twice as many masks": (
        changed("taux", pl.when(pl.col("code").str.slice(-1).is_in(["1", "2"])).then(None).otherwise(VALUE)),
        "masks",
        "warning",
    ),
    "masks read as zero": (changed("taux", VALUE.fill_null(0)), "masks", "warning"),
    "columns exchanged": (swapped, "likeness", "critical"),
    "territories in another order": (changed("pop", VALUE.reverse().over("variable")), "likeness", "critical"),
    "a variable less of three": (lambda f: f.filter(~of("taux")), "gone", "warning"),
    "two variables less of three": (lambda f: f.filter(of("taux")), "gone", "critical"),
    "a variable more": (
        lambda f: pl.concat([f, f.filter(of("pop")).with_columns(variable=pl.lit("neuf"))]),
        "appeared",
        "warning",
    ),
    "another level": (lambda f: f.with_columns(level=pl.lit("DEP")), "levels", "warning"),
}  # fmt: skip


def test_an_ordinary_year_raises_nothing() -> None:
    assert alarms(figures(2020), figures(2021)) == {}


@pytest.mark.parametrize("name", ACCIDENTS)
def test_an_accident_is_caught(name: str) -> None:
    accident, kind, severity = ACCIDENTS[name]
    found = alarms(figures(2020), accident(figures(2021)))
    assert kind in found, f"only {list(found)}"
    assert found[kind].severity == severity
    assert found[kind].sample and found[kind].rows_failed and "seuil" in found[kind].observed


def test_every_kind_of_gap_was_seen_failing() -> None:
    assert {kind for _, kind, _ in ACCIDENTS.values()} == set(EXPECTED)


def test_a_message_says_what_moved_and_what_to_do() -> None:
    stopped = alarms(figures(2020), changed("med", VALUE / 1000)(figures(2021)))["scale"].message()
    assert "COM/med : rapport médian 0,001" in stopped and "seuil de la source" in stopped and "arrêtée" in stopped


def test_a_declared_break_is_no_alarm_and_is_told() -> None:
    spoiled = changed("med", VALUE / 1000)(figures(2021))
    assert alarms(figures(2020), spoiled, {None: "nouvelle source"}) == {}
    assert alarms(figures(2020), spoiled, {"med": "nouvelle unité"}) == {}
    assert set(alarms(figures(2020), spoiled, {"pop": "autre champ"})) == {"scale", "shape"}, "it explains pop alone"
    results = judge(
        gaps(figures(2020), spoiled, {"pop"}, REGIONS), Drift().model_dump(), RUN, edition="s/2021", previous="",
        breaks={"med": "nouvelle unité"},
    )  # fmt: skip
    assert any("1 expliquée(s) par une rupture déclarée (nouvelle unité)" in r.observed for r in results)


def test_thresholds_beside_the_source_replace_the_defaults() -> None:
    spoiled = changed("med", VALUE / 1000)(figures(2021))
    limits = Drift.model_validate({"scale": [5, None], "shape": [None, None]}).model_dump()
    results = judge(gaps(figures(2020), spoiled, (), REGIONS), limits, RUN, edition="s", previous="", breaks={})
    assert all(r.passed for r in results)


@given(st.integers(0, 2**32))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    after = ACCIDENTS["a unit in thousands"][0](figures(2021))
    plain, mixed = (
        alarms(figures(2020), after),
        alarms(figures(2020), after.sample(fraction=1, shuffle=True, seed=seed)),
    )
    assert {k: (r.sample, r.observed) for k, r in plain.items()} == {
        k: (r.sample, r.observed) for k, r in mixed.items()
    }


def test_breaks_of_the_catalogue_are_those_between_the_two_years() -> None:
    catalogue = load_catalogue()
    assert None in breaks_between(catalogue, "insee_filosofi_cc", 2021, 2022)
    assert breaks_between(catalogue, "insee_filosofi_cc", 2018, 2021) == {}
    assert "ppa" in breaks_between(catalogue, "cnaf_iris", 2018, 2019), "by the variables of the indicator that breaks"


# --- which editions are judged, against what


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(Settings(data=tmp_path, profile="live"))


def put(workspace: Workspace, source_id: str, edition: str, frame: pl.DataFrame, body: bytes) -> str:
    """A core frame read from a body of the raw store; its digest."""
    sha256 = workspace.store.add(body)
    path = workspace.core(source_id, edition)
    path.parent.mkdir(parents=True, exist_ok=True)
    absent = [pl.lit(None).alias(c) for c in VALUES if c not in frame.columns]
    frame.with_columns(absent).select(list(VALUES)).write_parquet(path, metadata={"raw": sha256, "fingerprint": ""})
    url = workspace.sources[source_id].edition(edition).url
    now = datetime.now(UTC)
    workspace.store.record(
        [RawFile(source_id, edition, url, url, now, None, None, sha256, len(body), "Licence Ouverte 2.0", "Cnaf")]
    )
    return sha256


def published(folder: Path, *files: tuple[str, str, str]) -> Path:
    """The tables of a release, as far as drift reads them."""
    pl.DataFrame(list(files), schema=["source_id", "edition", "sha256"], orient="row").write_parquet(
        folder / "source_file.parquet"
    )
    return folder


def test_only_what_the_release_does_not_have_is_judged(workspace: Workspace, tmp_path: Path) -> None:
    source = workspace.sources["cnaf_commune"]
    one = put(workspace, "cnaf_commune", "2020", figures(2020), b"un")
    put(workspace, "cnaf_commune", "2021", changed("pop", VALUE / 1000)(figures(2021)), b"deux")
    assert [e.edition for e in new_editions(workspace, source, None)] == ["2021"], "the last year of a first release"
    first = {r.check_id for r in check_drift(workspace, [source], RUN, previous=None) if not r.passed}
    assert first == {"drift_scale"}, "of a first release, only what stops it"
    before = published(tmp_path, ("cnaf_commune", "2020", one))
    found = {r.check_id: r for r in check_drift(workspace, [source], RUN, previous=before)}
    assert found["drift_scale"].severity == "critical" and not found["drift_scale"].passed
    assert found["drift_scale"].table_name == "cnaf_commune/2021" and "édition 2020" in found["drift_scale"].expected
    both = published(
        tmp_path,
        ("cnaf_commune", "2020", one),
        ("cnaf_commune", "2021", workspace.raw_sha256(source, source.edition("2021"))),
    )
    assert check_drift(workspace, [source], RUN, previous=both) == [], "an unchanged edition costs nothing"


def test_a_revised_body_is_compared_with_the_published_one(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = workspace.sources["cnaf_commune"]
    old = put(workspace, "cnaf_commune", "2021", figures(2021), b"avant")
    put(workspace, "cnaf_commune", "2021", changed("med", VALUE * 50)(figures(2021)), b"apres")
    before = published(tmp_path, ("cnaf_commune", "2021", old))
    monkeypatch.setattr("pipelines.stages.drifting.members", lambda *a: {"": a[-1]})
    monkeypatch.setattr("pipelines.stages.drifting.parser_of", lambda s: lambda *a: figures(2021))
    found = {r.check_id: r for r in check_drift(workspace, [source], RUN, previous=before)}
    assert not found["drift_scale"].passed and "fichier publié" in found["drift_scale"].expected
    assert found["drift_rows"].passed


def test_a_published_body_that_cannot_be_read_again_is_told(workspace: Workspace, tmp_path: Path) -> None:
    source = workspace.sources["cnaf_commune"]
    old = put(workspace, "cnaf_commune", "2021", figures(2021), b"ni un CSV")
    put(workspace, "cnaf_commune", "2021", figures(2021), b"apres")
    before = published(tmp_path, ("cnaf_commune", "2021", old))
    (only,) = check_drift(workspace, [source], RUN, previous=before)
    assert (only.check_id, only.severity, only.passed) == ("drift_previous", "warning", False)


def test_what_partners_deposit_is_not_judged_here(workspace: Workspace) -> None:
    deposited = [s for s in workspace.sources.values() if s.source_id.startswith("depot_")]
    assert deposited and check_drift(workspace, deposited, RUN, previous=None) == []


def test_thresholds_of_every_source_can_be_judged() -> None:
    for source in load_sources().values():
        for kind, (warn, stop) in source.drift.model_dump().items():
            assert warn is None or stop is None or warn <= stop, f"{source.source_id} {kind}"
