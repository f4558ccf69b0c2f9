"""The fictional country: reproducible, plainly fictional, secret where its producer's rules say so."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

import fastexcel
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.demo import caf, disclosure, formats, households, measures
from sources.demo.country import (
    ARM_PREFIX,
    EPCI_FAMILY,
    EPT_FAMILY,
    LEAST_COMMUNES,
    YEARS,
    Country,
    build_country,
    commune_code,
    region_codes,
    siren,
)
from sources.demo.disclosure import BOUNDED, COMPONENT, DETAIL, SIDE, TERRITORY, publish
from sources.demo.generate import COVERED, generate, planned
from sources.demo.households import Households, Year, blocks, components, draw, in_year, present_in
from sources.demo.tally import LEVELS, SHARES, figures, poverty, tally
from sources.demo.truth import Truth
from sources.description import load_sources

SMALL = {"communes": LEAST_COMMUNES, "households": 6_000}


def digests(root: Path) -> dict[str, str]:
    return {
        str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(root.rglob("*"))
        if p.is_file()
    }


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    root = tmp_path_factory.mktemp("small")
    return root, generate(root, **SMALL)


# --- reproducible -----------------------------------------------------------------------------------------


def test_same_seed_same_bytes_in_another_process(small: tuple[Path, Truth], tmp_path: Path) -> None:
    """Whatever the order of sets, the number of threads and the time of day."""
    program = (
        "import pathlib, sys; from sources.demo.generate import generate;"
        f"generate(pathlib.Path(sys.argv[1]), communes={SMALL['communes']}, households={SMALL['households']})"
    )
    environment = os.environ | {"PYTHONHASHSEED": "7", "POLARS_MAX_THREADS": "1", "TZ": "Pacific/Auckland"}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, env=environment, cwd=root)
    assert digests(tmp_path) == digests(small[0])


def test_another_seed_gives_other_figures_of_the_same_country(small: tuple[Path, Truth], tmp_path: Path) -> None:
    other = generate(tmp_path, seed=2, **SMALL)
    ours, theirs = digests(small[0]), digests(tmp_path)
    assert ours.keys() == theirs.keys()
    income = small[1].files["insee_filosofi_cc", "2017"]
    assert ours[income] != theirs[income]
    codes = small[1].files["insee_cog_communes", "2026"]
    assert ours[codes] == theirs[codes]
    assert not other.values.equals(small[1].values)


# --- fictional --------------------------------------------------------------------------------------------


def test_every_file_says_that_it_is_fictional(small: tuple[Path, Truth]) -> None:
    """In its labels, its preamble or beside its members; the IRIS of 2019 have invented codes and no label."""
    root, truth = small
    for (source_id, edition), path in truth.files.items():
        data = (root / path).read_bytes()
        if path.endswith(".xlsx"):
            book = fastexcel.read_excel(data)
            sheet = book.load_sheet_by_name(book.sheet_names[0], header_row=None, dtypes="string").to_polars()
            text = " ".join(str(v) for row in sheet.rows() for v in row)
        elif data[:2] == b"PK":
            names = zipfile.ZipFile(io.BytesIO(data)).namelist()
            text = " ".join(names)
            if "xl/workbook.xml" in names:  # a workbook behind an address without a file name
                sheet = fastexcel.read_excel(data).load_sheet(0, header_row=None, dtypes="string")
                text = str(sheet.to_polars().rows())
        else:
            text = data.decode("cp1252" if path.endswith(".txt") else "utf-8")
        silent = (source_id, edition) == ("cnaf_iris", "2019")
        assert silent or "fictif" in text.lower(), path


def test_codes_are_borne_by_nothing_real() -> None:
    country = build_country(240)
    assert {c[:2] for codes in country.codes.values() for c in codes.tolist()} == {"96", "99", "00"}
    assert set(country.regions.values()) <= {"98", "99"}
    assert not set(region_codes(10)) & {"01", "11", "24", "75", "84", "93", "94"}
    for code in (*country.epci_names, *set(country.ept.tolist()) - {""}):
        assert re.fullmatch(r"29\d{7}", code)
        digits = [int(c) * (1 + i % 2) for i, c in enumerate(code)]
        assert sum(d // 10 + d % 10 for d in digits) % 10 != 0, "a valid SIREN could be someone's"
    assert siren("2999", 1) != siren("2999", 2)


def test_a_country_too_large_for_the_real_codes_has_others() -> None:
    """More than 979 communes in a département, more than 10,000 intercommunalities: as many codes of the same width."""
    codes = [commune_code("96", number) for number in range(1, 12_001)]
    assert len(set(codes)) == len(codes) and sorted(codes) == codes
    assert all(re.fullmatch(r"\d{5}|96[A-Z][0-9A-Z]{2}", c) and not c.startswith(ARM_PREFIX) for c in codes)
    assert not any(re.fullmatch(r"\d+E\d+", c) for c in codes), "a spreadsheet would read a number"
    sirens = [siren(EPCI_FAMILY, number) for number in range(9_900, 20_100)] + [siren(EPT_FAMILY, 1)]
    assert len(set(sirens)) == len(sirens) and all(re.fullmatch(r"29\d{7}", s) for s in sirens)


def test_only_the_editions_of_the_years_asked_are_written() -> None:
    some = planned(range(2020, 2022))
    assert {e.data_year for s, e in some if s.kind == "values"} == {2020, 2021}
    geographies = [(s.source_id, e.edition) for s, e in planned() if s.kind == "geography"]
    assert [(s.source_id, e.edition) for s, e in some if s.kind == "geography"] == geographies


def test_a_sheet_never_loses_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer of workbooks leaves out what the format has no room for, and says nothing."""
    monkeypatch.setattr(formats, "SHEET_ROWS", 2)
    assert formats.workbook({"a": [("x",), ("y",)]})
    with pytest.raises(ValueError, match="more than 2 rows"):
        formats.workbook({"a": [("x",), ("y",), ("z",)]})


# --- geography --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("communes", [LEAST_COMMUNES, 240, 2_000])
def test_the_story_is_told_at_any_size(communes: int) -> None:
    country = build_country(communes)
    assert len(set(country.codes[2014].tolist())) == communes
    assert set(country.codes) == set(YEARS)
    for codes in country.codes.values():
        assert all(re.fullmatch(r"\d{5}", c) for c in codes.tolist())
    assert np.array_equal(country.codes[2019], country.codes[2020]), "a year without any change"
    moved = country.home == "99006"
    story = {y: str(country.codes[y][moved][0]) for y in (2020, 2021, 2022, 2023)}
    assert story == {2020: "99006", 2021: "99007", 2022: "99007", 2023: "99006"}, "flips, then back"
    pair = np.isin(country.home, ["99010", "99011"])
    communes_of_pair = [len(set(country.codes[y][pair].tolist())) for y in (2016, 2017, 2021)]
    assert communes_of_pair == [2, 1, 2], "a true split"
    hop = country.home == "00005"
    assert [str(country.codes[y][hop][0]) for y in (2017, 2018)] == ["00005", "99013"], "two hops, one day"
    assert set(country.names[2026]) == set(country.codes[2026].tolist())
    assert len(set(country.names[2014].values())) == communes


def test_a_commune_has_one_epci_and_perimeters_change() -> None:
    country = build_country(240)
    for year in YEARS:
        pairs = set(zip(country.codes[year].tolist(), country.epci[year].tolist(), strict=True))
        assert len(pairs) == len(set(country.codes[year].tolist()))
    members = {y: frozenset(country.home[country.epci[y] == country.epci[y][0]].tolist()) for y in (2016, 2019, 2025)}
    assert len(set(members.values())) == 3, "the same SIREN, three perimeters"
    assert "" in country.epci[2025], "an island in no EPCI"


def test_too_small_a_country_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 60"):
        build_country(LEAST_COMMUNES - 1)


# --- households and statistics ----------------------------------------------------------------------------


def test_households_follow_the_official_scale_and_their_income_adds_up() -> None:
    country = build_country(LEAST_COMMUNES)
    all_of = draw(country, 3, 4_000)
    young = all_of.children[:4].sum(axis=0)
    assert np.allclose(all_of.uc, 1 + 0.5 * (all_of.persons - 1 - young) + 0.3 * young)
    assert (all_of.persons == all_of.adults + all_of.children.sum(axis=0)).all()
    of = in_year(all_of, 2019)
    parts = dict(components(all_of, of))
    assert np.allclose(sum(parts.values()), of.income)
    assert (parts["PIMPOT"] < 0).all()
    assert all((amount >= 0).all() for name, amount in parts.items() if name != "PIMPOT")
    assert np.array_equal(of.living, in_year(all_of, 2019).living), "years are independent"
    with pytest.raises(ValueError, match="2030"):
        present_in(all_of, 2030)


def test_a_country_counted_some_households_at_a_time_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    country = build_country(LEAST_COMMUNES)
    all_of = draw(country, 3, 4_000)
    of = in_year(all_of, 2019)
    whole, poor = tally(all_of, of), poverty_of(country, all_of, of)
    monkeypatch.setattr(households, "BLOCK", 700)
    parts = list(blocks(of))
    assert len(parts) > 3
    assert np.array_equal(np.concatenate([part.atom for _, part in parts]), of.atom)
    for (_, one), (_, following) in pairwise(parts):
        assert one.atom[-1] < following.atom[0], "an atom is cut"
    again = tally(all_of, of)
    assert all(np.array_equal(whole.sums[name], again.sums[name]) for name in whole.sums)
    assert list(whole.sums) == list(again.sums)
    assert poor.equals(poverty_of(country, all_of, of))


def poverty_of(country: Country, all_of: Households, of: Year) -> pl.DataFrame:
    return poverty(country, all_of, tally(all_of, of), "COM", 2019)


@given(
    st.lists(st.tuples(st.floats(1, 1e6), st.integers(1, 6), st.integers(-1, 3)), min_size=1, max_size=60),
    st.sampled_from([0.1, 0.25, 0.5, 0.8, 0.9]),
)
@settings(deadline=None)
def test_grouped_statistics_are_those_of_a_plain_list_of_persons(
    people: list[tuple[float, int, int]], q: float
) -> None:
    people.sort()
    groups = sorted({g for _, _, g in people if g >= 0})
    if not groups:
        return
    dense = np.array([groups.index(g) if g >= 0 else -1 for _, _, g in people])
    living, persons = np.array([p[0] for p in people]), np.array([p[1] for p in people])
    ranking = measures.Ranking(living, persons, dense)
    for k in range(len(groups)):
        each = np.repeat(living[dense == k], persons[dense == k])
        n = each.size
        assert ranking.quantile(q)[k] == each[int(np.ceil(q * n - 1e-6)) - 1]
        gini = 2 * (np.arange(1, n + 1) * each).sum() / (n * each.sum()) - (n + 1) / n
        assert ranking.gini()[k] == pytest.approx(gini, abs=1e-9)
        whole = int(q * n)
        poorest = each[:whole].sum() + (q * n - whole) * (each[whole] if whole < n else 0)
        assert ranking.share_of_poorest(q)[k] == pytest.approx(poorest / each.sum(), abs=1e-6)


def test_a_ranking_refuses_what_it_cannot_rank() -> None:
    with pytest.raises(ValueError, match="not ranked"):
        measures.Ranking(np.array([2.0, 1.0]), np.array([1, 1]), np.array([0, 0]))
    with pytest.raises(ValueError, match="no household"):
        measures.Ranking(np.array([1.0]), np.array([1]), np.array([1]))


def test_territories_add_up() -> None:
    country = build_country(LEAST_COMMUNES)
    year = tally(draw(country, 1, 6_000), in_year(draw(country, 1, 6_000), 2018))
    table = {level: figures(country, year, level, 2022) for level in LEVELS}
    for level in ("DEP", "REG", "METRO", "ARR", "ZE"):
        for count in ("NBMENFISC", "NBPERSMENFISC", "TP60_pers"):
            assert table[level][count].sum() == table["COM"][count].sum()
    people = table["COM"]["NBPERSMENFISC"]
    rate = (table["COM"]["TP60"] * people).sum() / people.sum()
    assert table["METRO"]["TP60"][0] == pytest.approx(rate)
    assert table["METRO"]["MED"][0] * 0.6 == pytest.approx(year.threshold)
    city = table["COM"].filter(pl.col("code") == "96001")
    assert table["ARM"]["NBMENFISC"].sum() == city["NBMENFISC"][0]
    parts = table["METRO"].select(pl.sum_horizontal("PACT", "PPEN", "PPAT", "PPSOC", "PIMPOT")).item()
    assert parts == pytest.approx(100)
    assert set(SHARES) <= set(table["COM"].columns)


# --- secrecy ----------------------------------------------------------------------------------------------


def territory(**counts: int) -> pl.DataFrame:
    """One commune as `tally.figures` gives it, from the counts that rules of secrecy read."""
    c = {"all_men": 5_000, "all_pers": 10_000, "poor_men": 700, "poor_pers": 1_500, "having": 500} | counts
    return pl.DataFrame({
        "level": ["COM"], "code": ["96002"],
        "all_men": [c["all_men"]], "all_pers": [c["all_pers"]],
        "TP60_men": [c["poor_men"]], "TP60_pers": [c["poor_pers"]], "PCHO_men": [c["having"]],
        "NBPERSMENFISC": [c["all_pers"]], "MED": [20_004.9], "D1": [10_005.0], "PCHO": [3.25],
        "TP60": [100 * c["poor_pers"] / max(c["all_pers"], 1)],
    })  # fmt: skip


VARIABLES = ("NBPERSMENFISC", "MED", "D1", "PCHO", "TP60")


@given(
    st.integers(0, 3_000),
    st.integers(0, 6_000),
    st.integers(0, 3_000),
    st.integers(0, 6_000),
    st.integers(0, 40),
)
@settings(deadline=None, max_examples=300)
def test_nothing_below_a_threshold_is_ever_published(
    men: int, pers: int, poor_men: int, poor_pers: int, having: int
) -> None:
    poor_men, poor_pers = min(poor_men, men), min(poor_pers, pers)
    counts = {
        "all_men": men,
        "all_pers": pers,
        "poor_men": poor_men,
        "poor_pers": poor_pers,
        "having": having,
    }
    shown, hidden = publish(territory(**counts), VARIABLES)
    row = shown.row(0, named=True)
    reasons = dict(hidden.select("variable", "reason").iter_rows())
    known, detailed = men >= 50 or pers >= 100, men >= 1_000 or pers >= 2_000
    sides = min(poor_men, men - poor_men) >= 11 and min(poor_pers, pers - poor_pers) >= 200
    assert (row["MED"] is not None) == (row["NBPERSMENFISC"] is not None) == known
    assert (row["D1"] is not None) == (known and detailed)
    assert (row["PCHO"] is not None) == (known and detailed and having >= 11)
    assert (row["TP60"] is not None) == (known and detailed and sides)
    for variable in VARIABLES:
        assert (row[variable] is None) == (reasons.get(variable, BOUNDED) != BOUNDED)


@given(st.integers(20_000, 60_000), st.floats(0, 1))
@settings(deadline=None)
def test_rates_are_printed_between_5_and_95_and_rounded(people: int, part: float) -> None:
    poor = 200 + int(part * (people - 400))
    exact = territory(all_men=people // 2, all_pers=people, poor_men=people // 4, poor_pers=poor)
    shown, hidden = publish(exact, ["TP60"])
    rate, printed = exact["TP60"][0], shown["TP60"][0]
    assert printed == int(printed) and 5 <= printed <= 95
    assert abs(printed - min(max(rate, 5), 95)) <= 0.5
    assert (hidden["reason"].to_list() == [BOUNDED]) == (printed in (5, 95))
    higher, _ = publish(exact.with_columns(level=pl.lit("DEP")), ["TP60"])
    assert abs(higher["TP60"][0] - min(max(rate, 5), 95)) <= 0.05 + 1e-9


def test_each_reason_is_given() -> None:
    def why(variable: str, **counts: int) -> list[str]:
        return publish(territory(**counts), [variable])[1]["reason"].to_list()

    assert why("MED", all_men=49, all_pers=99, poor_pers=20) == [TERRITORY]
    assert why("MED", all_men=50, all_pers=99, poor_pers=20) == []
    assert why("D1", all_men=999, all_pers=1_999) == [DETAIL]
    assert why("D1", all_men=999, all_pers=2_000) == []
    assert why("TP60", poor_men=10) == [SIDE]
    assert why("TP60", poor_pers=199) == [SIDE]
    assert why("TP60", all_pers=1_699, poor_pers=1_500) == [SIDE]
    assert why("PCHO", having=10) == [COMPONENT]
    assert why("TP60", poor_pers=500) == [BOUNDED]
    shown, _ = publish(territory(), ["MED", "D1", "PCHO"])
    assert shown.row(0)[2:] == (20_000.0, 10_010.0, 3.3)
    assert disclosure.is_rate("PIMP") and disclosure.is_rate("AGE1TP60") and not disclosure.is_rate("TP60Q2")


def test_hidden_cells_are_never_in_the_files(small: tuple[Path, Truth]) -> None:
    """The files themselves, read without any parser of the project."""
    root, truth = small
    for edition, marks in {"2018-csv": {""}, "2019-geo2021": {""}, "2020": {"s", "nd"}}.items():
        with zipfile.ZipFile(root / truth.files["insee_filosofi_cc", edition]) as archive:
            name = next(n for n in archive.namelist() if "_COM" in n)
            rows = list(csv.DictReader(io.StringIO(archive.read(name).decode()), delimiter=";"))
        hidden = truth.masked.filter(
            (pl.col("source_id") == "insee_filosofi_cc") & (pl.col("edition") == edition)
            & pl.col("level").is_in(["COM", "ARM"]) & (pl.col("variable") == "tp60") & (pl.col("reason") != BOUNDED)
        )["code"].to_list()  # fmt: skip
        column = f"TP60{edition[2:4]}"
        printed = {r["CODGEO"]: r[column] for r in rows}
        assert hidden
        assert {printed[c] for c in hidden} <= marks
        assert {c for c, v in printed.items() if v in marks} == set(hidden)


def test_districts_hide_small_cells_and_small_districts() -> None:
    country = build_country(LEAST_COMMUNES)
    all_of = draw(country, 1, 60_000)
    districts = caf.by_district(all_of, in_year(all_of, 2018))
    few = districts.counts["A"] < caf.LEAST_FAMILIES
    assert few.any() and (districts.note[few] == 3).all()
    for name, count in districts.counts.items():
        shown = districts.hidden[name] == ""
        assert (count[shown] >= caf.LEAST_CELL).all()
        assert not shown[districts.note != 0].any()
    assert set(np.unique(districts.note).tolist()) - {0, 3}, "some districts are withheld for another reason"


def test_arrondissements_stand_beside_their_city(tmp_path: Path) -> None:
    """As Paris in the real files: in the base of Filosofi both, in the benefits by arrondissement only."""
    truth = generate(tmp_path, **SMALL)
    arms = ["96981", "96982", "96983", "96984"]
    assert truth.country.arms == arms

    def read(source_id: str, edition: str, member: str | None = None) -> list[dict[str, str]]:
        data = (tmp_path / truth.files[source_id, edition]).read_bytes()
        text = zipfile.ZipFile(io.BytesIO(data)).read(member) if member else data
        separator = "," if source_id == "insee_cog_communes" else ";"
        return list(csv.DictReader(io.StringIO(text.decode("utf-8-sig")), delimiter=separator))

    rows = {r["CODGEO"]: r for r in read("insee_filosofi_cc", "2018-csv", "cc_filosofi_2018_COM-geo2021.CSV")}
    assert sum(int(rows[a]["NBMENFISC18"]) for a in arms) == int(rows["96001"]["NBMENFISC18"])
    listed = {r["COM"]: r for r in read("insee_cog_communes", "2025")}
    assert {(listed[a]["TYPECOM"], listed[a]["COMPARENT"]) for a in arms} == {("ARM", "96001")}
    paid = {r["numcomdo"] for r in read("cnaf_commune", "2024")}
    assert set(arms) < paid and "96001" not in paid
    divided = {r["CODGEO"][:5] for r in read("cnaf_iris", "2018")}
    assert set(arms) <= divided and "96001" not in divided
    assert set(truth.values.filter(pl.col("level") == "ARM")["code"]) == set(arms)


# --- what is covered --------------------------------------------------------------------------------------


def test_every_source_is_covered_and_some_editions_are_not() -> None:
    plan = [(s.source_id, e.edition) for s, e in planned()]
    known = load_sources()
    assert {s for s, _ in plan if not known[s].layouts} == set(COVERED)
    assert {s for s, _ in plan} <= set(known)
    declared = {(s.source_id, e.edition) for s in load_sources().values() for e in s.editions}
    assert set(plan) < declared
    wanted = {"2017", "2018-csv", "2019-geo2021", "2019-geo2022", "2020"}
    assert {e for s, e in plan if s == "insee_filosofi_cc"} == wanted


def test_unknown_figures_are_asked_for_in_vain(small: tuple[Path, Truth]) -> None:
    truth = small[1]
    rate = truth.value("tp60", "METRO", "FM", 2018, 2021)
    assert 5 < rate < 30
    with pytest.raises(KeyError):
        truth.value("tp60", "COM", "75056", 2018, 2021)
