"""The whole job on the fictional country, as a user runs it: what is published, what commands say, how they refuse."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner
from vigie_runs import Built, begin, call, damage, leftovers

from pipelines.cli import app
from pipelines.settings import Settings
from pipelines.workspace import Workspace
from sources.demo.census import population
from sources.demo.declared import Figures
from sources.demo.generate import HOUSEHOLDS_PER_COMMUNE
from sources.demo.households import draw
from sources.demo.truth import Truth
from sources.description import load_sources
from warehouse.catalogue import PublishedForm, load_catalogue
from warehouse.models import TABLES

FICTION = "Données fictives : pays imaginaire"
MIRROR = {"VIGIE_PROFILE": "mirror", "VIGIE_MIRROR": "http://127.0.0.1:9"}  # nothing answers on that port


@pytest.fixture(scope="module")
def narrow(built: Built, small: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two releases: the built one, then the year 2020 alone."""
    data = tmp_path_factory.mktemp("narrow") / "data"
    shutil.copytree(built.data, data, symlinks=True)
    run = call(data, "run", "--years", "2020", **small)
    assert run.code == 0, run.text
    return data


def rows(data: Path, query: str) -> list[dict[str, str]]:
    """A query's rows through `vigie sql --csv`, cells as text."""
    run = call(data, "sql", "--csv", query)
    assert run.code == 0, run.text
    return pl.read_csv(run.out.encode(), infer_schema=False).to_dicts()


# --- the first run


def test_the_end_says_what_was_published_and_where(built: Built) -> None:
    said = built.run.text
    release = os.readlink(built.data / "releases" / "latest")
    count = pl.scan_parquet(built.public / "observation.parquet").select(pl.len()).collect().item()
    assert f"Publiée : {release}" in said
    assert FICTION in said
    indicators = pl.scan_parquet(built.public / "observation.parquet").select(pl.col("indicator_id").n_unique())
    told = f"{indicators.collect().item()} indicateurs ; première publication"
    assert f"{count:,} lignes, ".replace(",", " ", 1) + told in said
    for path in (built.data / "vigie.duckdb", built.public.resolve(), built.public.resolve() / "CHANGES.md"):
        assert path.exists()
        assert str(path) in said
    assert "0 avertissement(s)" in said
    assert re.search(r"bsentes chez le producteur .*insee_populations_legales : 2022, 2023", said), "not there"
    assert "Durée : " in said
    assert "Traceback" not in said and "Blocking asset check" not in said


def test_the_release_is_whole(built: Built) -> None:
    assert damage(built.data) == []
    assert leftovers(built.data) == []
    sums = dict(reversed(line.split("  ")) for line in (built.public / "SHA256SUMS").read_text().splitlines())
    files = [p for p in built.public.rglob("*") if p.is_file() and p.name != "SHA256SUMS"]
    assert sums == {str(p.relative_to(built.public)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    package = json.loads((built.public / "datapackage.json").read_text())
    assert FICTION in package["description"]
    assert all((built.public / resource["path"]).is_file() for resource in package["resources"])


def test_every_table_opens_in_pyarrow_polars_and_duckdb(built: Built) -> None:
    parts = [f"SELECT '{name}' AS name, count(*) AS n FROM {name}" for name in TABLES]
    held = {r["name"]: int(r["n"]) for r in rows(built.data, " UNION ALL ".join(parts))}
    for name, table in TABLES.items():
        path = built.public / f"{name}.parquet"
        arrow, frame = pq.read_table(path), pl.read_parquet(path)
        assert arrow.column_names == frame.columns == list(table.names)
        assert arrow.num_rows == frame.height == held[name]
        assert frame.height > 0, name
        assert frame.select(table.key).is_duplicated().sum() == 0


def test_views_answer(built: Built) -> None:
    (row,) = rows(built.data, "SELECT * FROM v_publication")
    assert FICTION in " ".join(filter(None, row.values()))
    for view in ("v_pauvrete_commune", "v_pauvrete_territoire", "v_rang_pauvrete", "v_sources", "v_couverture"):
        assert rows(built.data, f"FROM {view} LIMIT 2")
    assert rows(built.data, "FROM v_portrait WHERE territory_id = 'DEP-96' LIMIT 1")


# --- reading it


@pytest.mark.parametrize("level", ["COM", "EPCI", "DEP"])
def test_portrait_stands_a_territory_beside_those_above(built: Built, level: str) -> None:
    table = pl.read_parquet(built.public / "territory.parquet").filter(pl.col("level") == level)
    own = table.sort("population", descending=True).row(0, named=True)
    run = call(built.data, "portrait", own["territory_id"])
    assert run.code == 0, run.text
    assert FICTION in run.text
    above = [own[c] for c in ("epci_id", "departement_id", "region_id") if own[c] and own[c] != own["territory_id"]]
    names = dict(pl.read_parquet(built.public / "territory.parquet").select("territory_id", "name").iter_rows())
    for shown in [own["name"], *(names[a] for a in above), "France métropolitaine"]:
        assert shown in run.text
    assert ("Communes comparables" in run.text) == (level == "COM")
    assert call(built.data, "portrait", own["name"]).out == run.out, "by its name"


def test_communes_are_beside_the_communes_that_the_distance_says(built: Built) -> None:
    """What each variable adds, recomputed from the published figures, tells what parts the two most."""
    near = pl.read_parquet(built.public / "comparable_territory.parquet")
    assert near["territory_id"].n_unique() > 40
    own = near.filter(pl.col("rank") == 1).sort("distance").row(-1, named=True)["territory_id"]
    query = f"SELECT rang, arg_max(indicator_id, part) AS parts_most FROM ecart_comparables('{own}') GROUP BY rang"
    told = near.filter(pl.col("territory_id") == own).select("rank", pl.col("farthest").str.split(";").list.first())
    assert {int(r["rang"]): r["parts_most"] for r in rows(built.data, query)} == dict(told.iter_rows())


def test_portrait_shows_what_is_hidden_and_what_is_bounded(built: Built) -> None:
    observed = pl.read_parquet(built.public / "observation.parquet")
    hidden = observed.filter((pl.col("indicator_id") == "rev_tp60") & (pl.col("reason") == "secret"))
    code = hidden.filter(pl.col("territory_id").str.starts_with("COM")).row(0, named=True)["territory_id"]
    assert " secret " in call(built.data, "portrait", code).text
    bound = observed.filter((pl.col("indicator_id") == "caf_alloc") & (pl.col("reason") == "borne"))
    row = bound.sort("year").row(-1, named=True)
    shown = call(built.data, "portrait", row["territory_id"], "--year", str(row["year"])).text
    assert "≥ " + f"{row['lower']:,.0f}".replace(",", " ") in shown


def test_status_tells_editions_and_the_last_run(built: Built, small: dict[str, str]) -> None:
    run = call(built.data, "status", "--offline", **small)
    assert run.code == 0, run.text
    assert "insee_filosofi_cc │ 2019-geo2022" in run.text
    assert f"Publication en vigueur : {os.readlink(built.data / 'releases' / 'latest')}, créée le" in run.text
    assert "dont 0 non réussi(s)" in run.text
    online = call(built.data, "status", **small)
    assert online.code == 0 and "identique" in online.text and "absente" in online.text


def test_check_passes_on_the_release(built: Built, small: dict[str, str]) -> None:
    run = call(built.data, "check", **small)
    assert run.code == 0, run.text
    assert "0 en échec critique" in run.text
    assert damage(built.data) == []


@pytest.mark.parametrize("arguments", [("sql", "SELECT 1"), ("portrait", "DEP-96"), ("check",)])
def test_nothing_to_read_says_what_to_do(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, arguments, env={"VIGIE_DATA": str(tmp_path / "data")})
    assert result.exit_code == 1
    assert "lancer « vigie run »" in " ".join(result.output.split())


# --- figures


def observed_beside_truth(built: Built, truth: Truth) -> pl.DataFrame:
    """Published rows of every indicator read from a file made of the households, beside the exact figure on the
    reference geography, or on that of the edition where the country keeps no other. Datasets that are drawn (declared
    layouts) have their own test.
    """
    named = [
        (indicator.id, age, variable)
        for indicator in load_catalogue().indicators
        if isinstance(form := indicator.compute, PublishedForm)
        for age, variables in (("_T", form.variables.values()), *((a, [v]) for a, v in form.ages.items()))
        for variable in dict.fromkeys(variables)
    ]
    names = pl.DataFrame(named, ["indicator_id", "age", "variable"], orient="row")
    key = ["level", "code", "year"]
    exact = truth.values.join(names, on="variable").rename({"value": "exact"})
    exact = exact.unique(["cog_year", "indicator_id", "age", *key])  # a variable has one name a source
    here = exact.filter(pl.col("cog_year") == 2025).drop("cog_year")
    there = exact.rename({"cog_year": "cog_year_source", "exact": "exact_there"}).drop("variable")
    drawn = "|".join(s.source_id for s in load_sources().values() if s.layouts)
    observed = pl.read_parquet(built.public / "observation.parquet").filter(
        pl.col("reference") == "_Z", pl.col("sex") == "_T", ~pl.col("source_ids").str.contains(rf"(^|;)({drawn})/")
    )
    place = pl.col("territory_id").str.splitn("-", 2).struct
    observed = observed.with_columns(level=place[0], code=place[1])
    units = pl.read_parquet(built.public / "indicator.parquet").select("indicator_id", "unit")
    own = ["indicator_id", "age", *key]
    beside = observed.join(units, on="indicator_id").join(here, on=own, how="left")
    beside = beside.join(there, on=[*own, "cog_year_source"], how="left")
    return beside.with_columns(exact=pl.coalesce("exact", "exact_there"))


def rounding() -> pl.Expr:
    """How far from the truth a figure may be: half the unit in which the producer prints it."""
    point = pl.col("indicator_id").str.starts_with("rev_tp60") | (pl.col("indicator_id") == "rev_part_impose")
    return (
        pl.when(pl.col("unit").str.starts_with("€"))
        .then(5.0)
        .when(pl.col("unit") == "0-1")
        .then(0.0005)
        .when(point & (pl.col("level").is_in(["COM", "ARM"]) | (pl.col("grade") != "A")))
        .then(0.5)
        .when((pl.col("unit") == "%") | (pl.col("unit") == "rapport"))
        .then(0.05)
        .otherwise(0.0)
    )


def off(found: pl.DataFrame) -> pl.DataFrame:
    """Published figures that are not the truth, rounded; those with an interval are looked at by `outside`."""
    exact = found.filter(pl.col("value").is_not_null() & pl.col("interval_kind").is_null())
    return exact.filter(((pl.col("value") - pl.col("exact")).abs() > rounding() + 1e-6).fill_null(True))


def outside(found: pl.DataFrame) -> pl.DataFrame:
    """Rows whose interval misses the truth."""
    low, high = pl.col("lower").fill_null(float("-inf")), pl.col("upper").fill_null(float("inf"))
    inside = pl.col("exact").is_between(low - 1e-6, high + 1e-6).fill_null(False)
    return found.filter(pl.col("interval_kind").is_not_null() & ~inside)


SHOWN = ("indicator_id", "territory_id", "year", "age", "value", "exact", "lower", "upper", "source_ids")


def test_published_figures_are_the_truth_rounded(built: Built, truth: Truth) -> None:
    found = observed_beside_truth(built, truth).filter(pl.col("exact").is_not_null())
    assert off(found).height == 0, off(found).select(SHOWN)
    assert outside(found).height == 0, outside(found).select(SHOWN)
    assert found.filter(pl.col("interval_kind") == "bound").height > 100
    counted = found.filter(pl.col("value").is_not_null()).group_by("indicator_id", "level").len()
    seen = {(i, level): n for i, level, n in counted.iter_rows()}
    for indicator in ("dem_pop", "rev_tp60", "rev_med", "rev_d1", "rev_d9"):
        for level in ("COM", "EPCI", "DEP", "REG", "METRO"):
            assert seen.get((indicator, level), 0) > 0, (indicator, level)


def test_no_figure_is_published_that_the_truth_does_not_know(built: Built, truth: Truth) -> None:
    """Every figure read from a file has its truth, or is that of the territory of the same communes."""
    found = observed_beside_truth(built, truth)
    read = [i.id for i in load_catalogue().indicators if isinstance(i.compute, PublishedForm)]
    unknown = found.filter(
        pl.col("indicator_id").is_in(read) & pl.col("value").is_not_null() & pl.col("exact").is_null(),
        ~pl.col("level").is_in(["IRIS", "PER"]),  # the truth is kept for the territories that others add up to
    )
    twins = pl.read_parquet(built.data / "stage" / "geography" / "twins.parquet")
    key = ["indicator_id", "year", "sex", "age", "value"]
    lent = found.select(*key, twin_id="territory_id").join(twins, on="twin_id").select(*key, "territory_id")
    unknown = unknown.join(lent, on=[*key, "territory_id"], how="anti")
    assert unknown.height == 0, unknown.select(SHOWN)


def test_a_declared_dataset_reaches_the_release_as_it_was_drawn(
    built: Built, truth: Truth, small: dict[str, str]
) -> None:
    """Turnout, from a layout to a rate: sums over the communes of today, whatever merged since the election."""
    communes = int(small["VIGIE_DEMO_COMMUNES"])
    people = draw(truth.country, truth.seed, round(communes * HOUSEHOLDS_PER_COMMUNE))
    figures = Figures(truth.country, truth.seed, lambda year: population(people, year), people.iris_count)
    votes = figures.table("COM", 2025, [("votants", 2017), ("inscrits", 2017)])
    exact = votes.select(
        territory_id=pl.lit("COM-") + pl.col("code"), exact=100 * pl.col("votants|2017") / pl.col("inscrits|2017")
    )
    observed = pl.read_parquet(built.public / "observation.parquet").filter(pl.col("indicator_id") == "lie_particip")
    both = observed.join(exact, on="territory_id")
    assert both.height > 40
    known = both.filter(pl.col("value").is_not_null())
    assert known.height > 0.9 * both.height, both.filter(pl.col("value").is_null())
    assert (known["value"] - known["exact"]).abs().max() < 1e-6


def test_the_comparison_would_see_a_wrong_figure(built: Built, truth: Truth) -> None:
    found = observed_beside_truth(built, truth).filter(pl.col("exact").is_not_null())
    moved = found.with_columns(pl.col("value") + 2 * rounding() + 0.01, lower=pl.col("exact") + 1)
    plain = pl.col("value").is_not_null() & pl.col("interval_kind").is_null()
    assert off(moved).height == found.filter(plain).height > 0
    assert outside(moved).height == found.filter(pl.col("interval_kind").is_not_null()).height > 0


def test_no_masked_cell_carries_a_value(built: Built, truth: Truth) -> None:
    observed = pl.read_parquet(built.public / "observation.parquet")
    confidential = observed.filter(pl.col("conf_status") != "F")
    assert confidential.height > 1000
    assert confidential["value"].null_count() == confidential.height
    assert observed.filter(pl.col("value").is_null() & pl.col("reason").is_null()).height == 0
    # and no cell that the producer hides is given back by the edition that hides it
    found = observed_beside_truth(built, truth).filter(pl.col("value").is_not_null())
    hidden = truth.masked.filter(pl.col("reason") != "borne")
    hidden = hidden.with_columns(source_ids=pl.col("source_id") + "/" + pl.col("edition"))
    key = ["source_ids", "level", "code", "year", "variable"]
    back = found.filter(pl.col("cog_year_source") == 2025).join(hidden, on=key, how="semi")
    same = found.filter(pl.col("exact") == pl.col("value")).join(hidden, on=key, how="semi")
    assert back.height == same.height == 0


# --- again


def test_a_rerun_publishes_nothing_and_says_so(
    built: Built, copied: Callable[..., Path], small: dict[str, str]
) -> None:
    data = copied()
    run = call(data, "run", **small)
    assert run.code == 0, run.text
    release = os.readlink(data / "releases" / "latest")
    assert f"Rien n'a changé depuis la publication {release} : rien de nouveau n'est publié." in run.text
    assert "modifiée chez le producteur" not in run.text
    assert len(list((data / "releases").glob("r*"))) == 1
    assert run.seconds < built.run.seconds
    assert damage(data) == [] == leftovers(data)


def test_a_second_run_at_once_is_refused(tmp_path: Path, small: dict[str, str]) -> None:
    going = begin(tmp_path, "run", **small)
    try:
        while not (tmp_path / ".lock").exists() or not (tmp_path / ".lock").read_text().strip():
            assert going.poll() is None, "the run that holds the lock ended too soon"
            time.sleep(0.05)
        for arguments in (("run",), ("release", "rollback", "r0001-000000000000")):
            refused = call(tmp_path, *arguments, **small)
            assert going.poll() is None, "the run that holds the lock ended too soon"
            assert refused.code == 2, refused.text
            assert f"déjà utilisé par le processus {going.pid}" in refused.text
            assert "Traceback" not in refused.text
    finally:
        going.kill()
        going.communicate()


def test_a_lock_left_by_a_dead_process_does_not_block(built: Built, copied: Callable[..., Path]) -> None:
    data = copied()
    (data / ".lock").write_text("999999\n")
    run = call(data, "release", "rollback", os.readlink(data / "releases" / "latest"))
    assert run.code == 0, run.text


def test_two_builds_of_the_same_inputs_are_the_same_bytes(built: Built, tmp_path: Path, small: dict[str, str]) -> None:
    """All files but those that tell of the moment: the history of releases, the checks' dates, and the sums."""
    for folder in ("raw", "perimeters", "stage/demo"):  # that the same country is drawn again is tried in test_demo
        shutil.copytree(built.data / folder, tmp_path / folder)
    run = call(tmp_path, "run", **small)
    assert run.code == 0, run.text
    public = tmp_path / "releases" / "latest" / "public"
    names = sorted(str(p.relative_to(public)) for p in public.rglob("*") if p.is_file())
    assert names == sorted(str(p.relative_to(built.public)) for p in built.public.rglob("*") if p.is_file())
    differ = [n for n in names if (public / n).read_bytes() != (built.public / n).read_bytes()]
    moment = {"release.parquet", "quality_check.parquet", "csv/release.csv", "csv/quality_check.csv"}
    assert set(differ) <= moment | {"SHA256SUMS"}
    assert "release.parquet" in differ, "two runs, two dates"
    lines = [set((folder / "SHA256SUMS").read_text().splitlines()) for folder in (public, built.public)]
    assert {line.split("  ")[1] for line in lines[0] ^ lines[1]} == set(differ) - {"SHA256SUMS"}
    assert os.readlink(tmp_path / "releases" / "latest") == os.readlink(built.data / "releases" / "latest")


# --- years, releases, going back


@pytest.mark.parametrize("years", ["2018", "2018-2019", "2014-2016", "2020-2024", "1990-2030", "1990"])
def test_years_choose_the_statistical_editions_only(years: str, tmp_path: Path) -> None:
    workspace = Workspace(Settings(data=tmp_path, years=years))
    first, _, last = years.partition("-")
    for source in workspace.sources.values():
        asked = workspace.editions(source)
        if source.kind == "geography":
            assert asked == list(source.editions)
        else:
            assert asked == [e for e in source.editions if int(first) <= e.data_year <= int(last or first)]


def test_a_run_of_one_year_reads_only_that_one(built: Built, narrow: Path) -> None:
    """2020 has no comparateur and no CAF by district: the rest is published all the same."""
    sources = Workspace(Settings()).sources
    kinds = {s.source_id: s.kind for s in sources.values()}
    editions = {(r["source_id"], r["edition"]) for r in rows(narrow, "FROM source_file")}
    years = {sources[s].edition(e).data_year for s, e in editions if kinds[s] == "values"}
    assert years == {2020}
    assert {(s, e[:4]) for s, e in editions if kinds[s] == "values" and not sources[s].layouts} == {
        ("cnaf_commune", "2020"),
        ("insee_filosofi_cc", "2020"),
        ("insee_filosofi_distribution", "2020"),
        ("insee_populations_legales", "2020"),
    }
    assert {e for s, e in editions if s == "dgcl_epci"} == {str(y) for y in range(2019, 2026)}, "every geography"
    used = {e for r in rows(narrow, "SELECT DISTINCT source_ids FROM observation") for e in r["source_ids"].split(";")}
    assert {sources[s].edition(e).data_year for s, e in (u.split("/") for u in used)} == {2020}
    same = "SELECT sum(value) AS s FROM observation WHERE indicator_id = 'rev_med' AND year = 2020 AND reference = '_Z'"
    assert rows(narrow, same) == rows(built.data, same)


def test_releases_are_listed_compared_and_put_back(built: Built, narrow: Path) -> None:
    first, second = (p.name for p in sorted((narrow / "releases").glob("r0*")))
    listed = call(narrow, "release", "list")
    assert listed.code == 0
    lines = [line for line in listed.out.splitlines() if "r000" in line]
    assert [second in line for line in lines] == ["publiée" in line for line in lines] == [False, True]
    compared = call(narrow, "release", "diff", first, second)
    assert compared.code == 0
    assert "rev_tp60" in compared.text and FICTION in compared.text
    back = call(narrow, "release", "rollback", first)
    assert back.code == 0, back.text
    assert f"{first} est de nouveau publiée" in back.text
    assert os.readlink(narrow / "releases" / "latest") == first
    assert rows(narrow, "SELECT release_id FROM v_publication") == [{"release_id": first}]
    assert damage(narrow) == [] == leftovers(narrow)
    assert call(narrow, "release", "rollback", second).code == 0
    assert rows(narrow, "SELECT release_id FROM v_publication") == [{"release_id": second}]


def test_a_changed_file_makes_a_new_release_of_the_same_figures(
    narrow: Path, tmp_path: Path, small: dict[str, str]
) -> None:
    """One byte more at the end of a csv: another body, hence another release."""
    data = tmp_path / "data"
    shutil.copytree(narrow, data, symlinks=True)
    before = os.readlink(data / "releases" / "latest")
    (changed,) = (data / "stage" / "demo").rglob("s_ben_com_f/exports/csv")
    changed.write_bytes(changed.read_bytes() + b"\n")
    run = call(data, "run", "--years", "2020", **small)
    assert run.code == 0, run.text
    assert "modifiée chez le producteur : cnaf_commune 2020" in run.text
    assert "0 ajoutées, 0 modifiées, 0 retirées" in run.text
    assert os.readlink(data / "releases" / "latest") != before
    assert damage(data) == [] == leftovers(data)


# --- wrong usage


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("run", "--years", "2021-2014"), "2021-2014"),
        (("run", "--years", "hier"), "hier"),
        (("run", "--years", "20-"), "20-"),
        (("run", "--years", "2014-2016-2018"), "2014-2016-2018"),
        (("run", "--profile", "ailleurs"), "ailleurs"),
        (("run", "--profile", "mirror"), "VIGIE_MIRROR"),
        (("run", "--cog", "hier"), "--cog"),
        (("release", "diff", "r0001-000000000000", "r0002-000000000000"), "r0001-000000000000"),
        (("release", "rollback", "r0009-000000000000"), "vigie release list"),
        (("release", "rollback", "latest"), "latest"),
        (("portrait", "COM-00000"), "COM-00000"),
        (("portrait", "[/bold]"), "[/bold]"),
        (("sql", "SELEC 1"), "SELEC"),
        (("sql", "FROM absente"), "absente"),
        (("sql", "SELECT CAST('un' AS INTEGER)"), "Conversion"),
        (("sql", "SELECT error('[/bold]')"), "[/bold]"),
        (("sql", "DELETE FROM observation"), "read-only"),
        (("sql", "CREATE TABLE t AS SELECT 1"), "read-only"),
        (("ailleurs",), "ailleurs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_usage_ends_with_2_and_the_reason(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], reason: str
) -> None:
    for name in [name for name in os.environ if name.startswith("VIGIE_")]:
        monkeypatch.delenv(name)
    data = tmp_path if arguments[0] == "run" else built.data
    result = CliRunner().invoke(app, arguments, env={"VIGIE_DATA": str(data)})
    assert result.exit_code == 2, (result.output, result.exception)
    assert reason in result.output
    assert not any(tmp_path.iterdir()), "nothing was begun"


def test_a_reference_geography_that_cannot_be_built_is_wrong_usage(
    copied: Callable[..., Path], small: dict[str, str]
) -> None:
    run = call(copied(), "run", "--cog", "1900", **small)
    assert run.code == 2, run.text
    assert "COG 1900 : attendu une année" in run.text and "2025" in run.text


def test_text_between_brackets_is_shown_as_it_is(built: Built) -> None:
    run = call(built.data, "sql", "SELECT '[bold]' AS a, '[/bold]' AS b")
    assert run.code == 0, run.text
    assert "[bold]" in run.out and "[/bold]" in run.out


def test_fictional_and_real_data_never_share_a_folder(built: Built, tmp_path: Path) -> None:
    refused = call(built.data, "run", **MIRROR)
    assert refused.code == 2, refused.text
    assert "contient des données fictives (profil demo)" in refused.text
    real = tmp_path / "real"
    real.mkdir()
    (real / "PROFILE").write_text("real\n")
    refused = call(real, "run")
    assert refused.code == 2, refused.text
    assert "contient des données réelles" in refused.text
    assert not (real / "stage").exists() and not (real / "core").exists()


def test_a_held_lock_is_named_even_to_commands_that_end_fast(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(f"{os.getpid()}\n")
    with (tmp_path / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        run = call(tmp_path, "run")
    assert run.code == 2
    assert f"le processus {os.getpid()}" in run.text
