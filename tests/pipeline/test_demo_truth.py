"""The fictional country read by the real parsers: every figure published is the truth, rounded; the rest is
hidden.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from sources.archive import check_body, members
from sources.demo.generate import generate, planned
from sources.demo.truth import Truth
from sources.description import Edition, Source, load_sources, parser_of

# pages and catalogues are put together by the client: tests/pipeline/test_run_demo.py reads them
PLAN = {(s.source_id, e.edition): (s, e) for s, e in planned() if e.connector == "file"}
VALUES = [k for k, (s, _) in PLAN.items() if s.kind == "values"]
FILOSOFI = [k for k in VALUES if k[0].startswith("insee_filosofi")]
STABLE = "www.data.gouv.fr/fr/datasets/r/fictif-"  # where the catalogues of data.gouv.fr lead
KEY = ["level", "code", "year", "variable"]
EUROS = ("med", "q1", "q2", "q3", "q3_q1", "d1", "d2", "d3", "d4", "d6", "d7", "d8", "d9")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    root = tmp_path_factory.mktemp("demo")
    return root, generate(root, communes=120, households=90_000)


def read(demo: tuple[Path, Truth], key: tuple[str, str]) -> pl.DataFrame:
    """An edition as the pipeline reads it: the file at its address, its members, its parser."""
    root, truth = demo
    source, edition = PLAN[key]
    body = (root / truth.files[key]).read_bytes()
    check_body(source, edition, body)
    return parser_of(source)(source, edition, members(source, edition, body))


def known(demo: tuple[Path, Truth], key: tuple[str, str]) -> pl.DataFrame:
    """Parsed rows beside the truth of the edition's geography and what the producer hides."""
    source, edition = PLAN[key]
    truth = demo[1]
    exact = truth.values.filter(pl.col("cog_year") == edition.cog_year).select(*KEY, "value").unique(KEY)
    hidden = truth.masked.filter(
        (pl.col("source_id") == source.source_id) & (pl.col("edition") == edition.edition)
    ).select(*KEY, "reason")
    rows = read(demo, key).with_columns(pl.col("level", "variable", "mark").cast(pl.String))
    return rows.join(exact, on=KEY, how="left", suffix="_exact").join(hidden, on=KEY, how="left")


@pytest.mark.parametrize("key", list(PLAN), ids=" ".join)
def test_every_edition_is_read(demo: tuple[Path, Truth], key: tuple[str, str]) -> None:
    assert read(demo, key).height > 0


def unit() -> pl.Expr:
    """How far from the truth the producer's rounding can be, by variable and level; Filosofi from 2016 on."""
    row, commune = pl.col("variable"), pl.col("level").is_in(["COM", "ARM"])
    rate = row.str.starts_with("tp") & ~row.str.contains("median|intensite") | (row == "pimp")
    return (
        pl.when(row.is_in(EUROS) | row.str.contains("median"))
        .then(5.0)
        .when(row.is_in(["nb_men", "nb_pers"]))
        .then(0.0)
        .when(row == "gini")
        .then(0.0005)
        .when(rate & commune)
        .then(0.5)
        .otherwise(0.05)
    )


@pytest.mark.parametrize("key", FILOSOFI, ids=" ".join)
def test_filosofi_publishes_the_truth_rounded_or_hides_it(demo: tuple[Path, Truth], key: tuple[str, str]) -> None:
    rows = known(demo, key)
    published = rows.filter(pl.col("value").is_not_null())
    assert published.height > 0
    assert published["reason"].null_count() == published.height, published.filter(pl.col("reason").is_not_null())
    assert published["value_exact"].null_count() == 0
    off = published.with_columns(gap=(pl.col("value") - pl.col("value_exact")).abs(), unit=unit())
    worst = off.filter(pl.col("gap") > pl.col("unit") + 1e-6)
    assert worst.height == 0, worst.select(*KEY, "value", "value_exact", "unit")
    silent = rows.filter(pl.col("value").is_null())
    assert silent["reason"].null_count() == 0, silent.filter(pl.col("reason").is_null())


@pytest.mark.parametrize("key", FILOSOFI, ids=" ".join)
def test_each_reason_shows_as_its_status(demo: tuple[Path, Truth], key: tuple[str, str]) -> None:
    rows = known(demo, key)
    bounded = rows.filter(pl.col("reason") == "borne")
    inside = pl.col("value_exact").is_between(pl.col("lower") - unit(), pl.col("upper") + unit())
    assert bounded.filter(~inside).height == 0
    assert bounded.filter(pl.col("obs_status") != "Q").height == 0
    nothing = rows.filter(pl.col("reason") == "indisponible")
    assert nothing.filter(pl.col("obs_status") != "O").height == 0
    assert (nothing.height > 0) == (key == ("insee_filosofi_cc", "2020"))
    secret = rows.filter(pl.col("reason").is_not_null() & ~pl.col("reason").is_in(["borne", "indisponible"]))
    assert secret.height > 0 or key[1] == "2020"
    assert secret.filter((pl.col("obs_status") != "Q") | (pl.col("conf_status") != "A")).height == 0


def test_the_reissue_differs_on_merged_communes_only(demo: tuple[Path, Truth]) -> None:
    first, second = (
        known(demo, ("insee_filosofi_cc", e)).filter((pl.col("level") == "COM") & (pl.col("variable") == "nb_men"))
        for e in ("2019-geo2021", "2019-geo2022")
    )
    changed = (
        first.select("code", "value")
        .join(second.select("code", "value"), on="code", how="full", coalesce=True)
        .filter(pl.col("value").ne_missing(pl.col("value_right")))
    )
    passage = demo[1].passage.filter((pl.col("from_year") == 2021) & (pl.col("to_year") == 2022))
    touched = {*passage["from_code"], *passage["to_code"]}
    assert touched
    assert set(changed["code"]) <= touched


@pytest.mark.parametrize(
    "key", [k for k in VALUES if k[0] in ("insee_populations_legales", "insee_comparateur")], ids=" ".join
)
def test_census_figures_are_the_sums_of_the_atoms(demo: tuple[Path, Truth], key: tuple[str, str]) -> None:
    rows = known(demo, key).filter(pl.col("reason").is_null() & ~pl.col("variable").is_in(["pimp", "med", "tp60"]))
    assert rows.height > 0
    off = rows.filter(((pl.col("value") - pl.col("value_exact")).abs() > 1e-6).fill_null(True))
    assert off.height == 0, off.select(*KEY, "value", "value_exact")


@pytest.mark.parametrize("key", [k for k in VALUES if k[0] == "cnaf_iris"], ids=" ".join)
def test_sums_of_districts_are_lower_bounds(demo: tuple[Path, Truth], key: tuple[str, str]) -> None:
    rows = known(demo, key).filter(pl.col("level") != "IRIS").drop("reason")
    assert rows.filter(pl.col("value").is_not_null()).height == 0
    above = rows.filter(~(pl.col("lower") <= pl.col("value_exact")).fill_null(False))
    assert above.height == 0, above.select(*KEY, "lower", "value_exact")
    parts = demo[1].masked.filter((pl.col("source_id") == key[0]) & (pl.col("edition") == key[1]))
    city = dict.fromkeys(demo[1].country.arms, "96001")  # the city is the sum of its arrondissements
    hidden = parts.group_by(pl.col("code").str.head(5).replace(city), "variable").len("hidden")
    per = rows.filter(pl.col("level") == "COM").join(hidden, on=["code", "variable"], how="left")
    assert (per["masked_parts"] == per["hidden"].fill_null(0)).all()
    whole = per.filter(pl.col("masked_parts") == 0)
    assert whole.height > 0
    assert (whole["lower"] == whole["value_exact"]).all()


@pytest.mark.parametrize("key", [k for k in VALUES if k[0] == "cnaf_commune"], ids=" ".join)
def test_payments_stand_within_their_bounds(demo: tuple[Path, Truth], key: tuple[str, str]) -> None:
    rows = known(demo, key).filter(pl.col("level") != "FRANCE")
    low, high = pl.col("lower").fill_null(0.0), pl.col("upper").fill_null(float("inf"))
    inside = rows.filter(pl.col("value_exact").is_between(low - 0.5, high + 0.5))
    assert inside.height == rows.height > 0


def test_poverty_of_an_epci_is_that_of_its_households(demo: tuple[Path, Truth]) -> None:
    """The published rate of an intercommunality, against households counted one by one."""
    from sources.demo.households import draw, in_year
    from sources.demo.measures import poverty_threshold

    truth = demo[1]
    of = in_year(draw(truth.country, truth.seed, 90_000), 2018)
    order = of.living.argsort()
    line = poverty_threshold(of.living[order], of.persons[order])
    assert line == truth.thresholds[2018]
    siren = truth.country.territory("EPCI", 2021)[of.atom]
    rows = known(demo, ("insee_filosofi_cc", "2018-csv"))
    for code, printed in (
        rows.filter((pl.col("level") == "EPCI") & (pl.col("variable") == "tp60") & pl.col("value").is_not_null())
        .select("code", "value")
        .iter_rows()
    ):
        poor = people = 0
        for living, persons in zip(of.living[siren == code], of.persons[siren == code], strict=True):
            people += int(persons)
            poor += int(persons) * (living < line)
        assert abs(100 * poor / people - printed) <= 0.05 + 1e-9
        assert truth.value("tp60", "EPCI", code, 2018, 2021) == pytest.approx(100 * poor / people)


def test_passage_is_what_the_events_say(demo: tuple[Path, Truth]) -> None:
    from methods.passage import passage

    events = read(demo, ("insee_cog_evenements", "2026"))
    found = passage(events, range(2014, 2027))
    key = ["from_year", "from_code", "to_year", "to_code"]
    assert found.sort(key).select(*key, "share", "kind").equals(demo[1].passage.sort(key).select(*key, "share", "kind"))
    assert set(found["kind"]) == {"merge", "split", "recode"}


@pytest.mark.parametrize("year", range(2016, 2027))
def test_geography_is_the_country_s(demo: tuple[Path, Truth], year: int) -> None:
    country = demo[1].country
    key = next(k for k, (s, e) in PLAN.items() if s.source_id == "insee_cog_communes" and e.data_year == year)
    units = read(demo, key)
    listed = units.filter(pl.col("typecom") == "COM")
    assert set(listed["code"]) == set(country.codes[year].tolist())
    arms = units.filter(pl.col("typecom") == "ARM")
    assert set(arms["code"]) == set(country.arms)
    assert set(arms["parent"]) == ({str(country.codes[year][0])} if country.arms else set())
    for source_id, first in (("insee_epci_ancien", 2014), ("dgcl_epci", 2019)):
        if (source_id, str(year)) in PLAN and year >= first:
            parts = read(demo, (source_id, str(year)))
            pairs = set(zip(country.codes[year].tolist(), country.epci[year].tolist(), strict=True))
            assert set(parts.select("commune", "code").rows()) == {p for p in pairs if p[1]}


def test_a_wrong_figure_would_be_seen(demo: tuple[Path, Truth]) -> None:
    """The comparison itself fails on a figure off by one unit of rounding."""
    rows = known(demo, ("insee_filosofi_cc", "2018-csv")).filter(pl.col("value").is_not_null())
    moved = rows.with_columns(value=pl.col("value") + 2.1 * unit() + 0.01).with_columns(
        gap=(pl.col("value") - pl.col("value_exact")).abs(), unit=unit()
    )
    assert (moved["gap"] > moved["unit"] + 1e-6).all()


def sources_named() -> dict[str, Source]:
    return load_sources()


def test_editions_not_covered_are_absent(demo: tuple[Path, Truth]) -> None:
    root, truth = demo
    absent: list[Edition] = [
        e for s in sources_named().values() for e in s.editions if (s.source_id, e.edition) not in truth.files
    ]
    written = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    plain = {path for key, path in truth.files.items() if key in PLAN}
    others = written - plain - {path.rstrip("/") for path in truth.files.values()}
    assert all(path.startswith(STABLE) for path in others)
    assert plain <= written
    assert absent
