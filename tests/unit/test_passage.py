"""The passage between two COG years: what each kind of event gives, and the laws it obeys."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.passage import LateListing, convert, dated_as_listed, passage

SCHEMA = {
    "mod": pl.Int16, "date": pl.Date, "type_before": pl.String, "code_before": pl.String,
    "name_before": pl.String, "type_after": pl.String, "code_after": pl.String, "name_after": pl.String,
}  # fmt: skip
Line = tuple[int, date, str, str]


def events(*lines: Line) -> pl.DataFrame:
    """Lines (mod, date, "COM A" or "COMD A", "COM B"); a code followed by a name in brackets carries it."""

    def side(text: str) -> tuple[str | None, str | None, str | None]:
        if not text:
            return None, None, None
        kind, code, *name = text.split(" ", 2)
        return kind, code, name[0] if name else code.lower()

    return pl.DataFrame([(m, d, *side(b), *side(a)) for m, d, b, a in lines], schema=SCHEMA, orient="row")


def rows(table: pl.DataFrame, from_year: int, to_year: int) -> set[tuple[str, str, float | None, str]]:
    of_pair = table.filter((pl.col("from_year") == from_year) & (pl.col("to_year") == to_year))
    return set(of_pair.select("from_code", "to_code", "share", "kind").iter_rows())


def merger(day: date, into: str, *members: str) -> list[Line]:
    """A commune nouvelle as INSEE writes it: every member joins it and becomes a delegated commune."""
    return [
        line
        for m in members
        for line in ((32, day, f"COM {m}", f"COM {into}"), (32, day, f"COM {m}", f"COMD {m}"))
    ]


NEW_YEAR_18 = date(2018, 1, 1)


def test_a_merger_is_whole_forward_and_unknown_backward() -> None:
    table = passage(events(*merger(NEW_YEAR_18, "A", "A", "B")), [2017, 2018])
    assert rows(table, 2017, 2018) == {("B", "A", 1.0, "merge")}
    assert rows(table, 2018, 2017) == {("A", "A", None, "merge"), ("A", "B", None, "merge")}


def test_delegated_communes_do_not_move_communes() -> None:
    lines = [
        *merger(NEW_YEAR_18, "A", "A", "B"),
        (35, date(2019, 6, 1), "COMD B", "COM A"),  # the delegated commune is abolished
        (34, date(2019, 7, 1), "COMA X", "COM Y"),
        (70, date(2019, 8, 1), "COMA Z", "COMD Z"),
        (10, date(2019, 9, 1), "COM A", "COM A new name"),
    ]
    table = passage(events(*lines), [2019, 2020])
    assert table.height == 0


@pytest.mark.parametrize(
    ("day", "cog"), [(date(2018, 1, 1), 2018), (date(2018, 1, 2), 2019), (date(2018, 12, 31), 2019)]
)
def test_an_event_of_1_january_is_in_that_cog(day: date, cog: int) -> None:
    table = passage(events(*merger(day, "A", "A", "B")), [2016, 2017, 2018, 2019])
    assert rows(table, cog - 1, cog) == {("B", "A", 1.0, "merge")}
    assert rows(table, 2016, cog - 1) == set()


def test_two_hops_the_same_day() -> None:
    lines = [
        (32, NEW_YEAR_18, "COM 44180 Saint-Mars", "COM 44180 Vallons"),
        (32, NEW_YEAR_18, "COM 44225 Freigné", "COM 44180 Vallons"),
        (32, NEW_YEAR_18, "COM 44225 Freigné", "COMD 44225 Freigné"),
        (41, NEW_YEAR_18, "COM 49144 Freigné", "COM 44225 Freigné"),
    ]
    for ordered in (lines, lines[::-1]):
        table = passage(events(*ordered), [2017, 2018])
        assert rows(table, 2017, 2018) == {("49144", "44180", 1.0, "merge")}
        assert {r[1] for r in rows(table, 2018, 2017)} == {"44180", "49144"}


def test_two_communes_exchange_their_codes_the_same_day() -> None:
    table = passage(
        events((50, NEW_YEAR_18, "COM A x", "COM B x"), (50, NEW_YEAR_18, "COM B y", "COM A y")), [2017, 2018]
    )
    assert rows(table, 2017, 2018) == {("A", "B", 1.0, "recode"), ("B", "A", 1.0, "recode")}


def test_a_code_left_by_one_commune_and_taken_by_another_the_same_day_is_no_double_hop() -> None:
    lines = [(50, NEW_YEAR_18, "COM A one", "COM B one"), (50, NEW_YEAR_18, "COM B two", "COM C two")]
    table = passage(events(*lines), [2017, 2018])
    assert rows(table, 2017, 2018) == {("A", "B", 1.0, "recode"), ("B", "C", 1.0, "recode")}


def test_a_code_that_flips_back() -> None:
    lines = [
        (50, date(2021, 1, 1), "COM 27676", "COM 27058"),
        (50, date(2023, 1, 1), "COM 27058", "COM 27676"),
    ]
    table = passage(events(*lines), range(2020, 2024))
    assert rows(table, 2020, 2021) == {("27676", "27058", 1.0, "recode")}
    assert rows(table, 2022, 2023) == {("27058", "27676", 1.0, "recode")}
    assert rows(table, 2020, 2023) == set()
    assert rows(table, 2023, 2021) == {("27676", "27058", 1.0, "recode")}


def test_a_true_split_has_no_share_and_keeps_its_own_code_as_a_row() -> None:
    table = passage(
        events((21, NEW_YEAR_18, "COM A", "COM A"), (21, NEW_YEAR_18, "COM A", "COM B")), [2017, 2018]
    )
    assert rows(table, 2017, 2018) == {("A", "A", None, "split"), ("A", "B", None, "split")}
    assert rows(table, 2018, 2017) == {("B", "A", 1.0, "split")}


RESTORED = [
    *merger(date(2016, 1, 1), "A", "A", "B", "C"),
    (21, date(2020, 1, 1), "COM A", "COM A"),
    (21, date(2020, 1, 1), "COM A", "COM B"),
    (21, date(2020, 1, 1), "COMD B", "COM B"),
]


def test_a_restored_commune_is_the_one_it_was_before_the_merger() -> None:
    table = passage(events(*RESTORED), [2015, 2016, 2019, 2020])
    assert rows(table, 2015, 2020) == {("C", "A", 1.0, "merge")}  # B is B again, whole
    assert rows(table, 2019, 2020) == {("A", "A", None, "split"), ("A", "B", None, "split")}
    assert rows(table, 2020, 2015) == {("A", "A", None, "merge"), ("A", "C", None, "merge")}


def test_the_extent_of_a_delegated_commune_made_without_a_merger_is_not_guessed() -> None:
    lines = [
        *merger(date(2016, 1, 1), "A", "A", "B"),
        (35, date(2017, 5, 1), "COMD A", "COM A"),
        (35, date(2017, 5, 1), "COMD B", "COM A"),
        (72, date(2018, 1, 1), "COM A", "COMD A"),
        (21, date(2020, 1, 1), "COM A", "COM A"),
        (21, date(2020, 1, 1), "COM A", "COM B"),
        (21, date(2020, 1, 1), "COMD A", "COM A"),
    ]
    table = passage(events(*lines), [2015, 2020])
    assert {r[2] for r in rows(table, 2015, 2020)} == {None}


def test_contradictory_extents_are_not_used() -> None:
    lines = [*RESTORED, (21, date(2020, 1, 1), "COMD B", "COM A")]
    table = passage(events(*lines), [2015, 2020])
    assert {r[2] for r in rows(table, 2015, 2020)} == {None}


def test_a_commune_made_of_pieces_of_two() -> None:
    lines = [(20, NEW_YEAR_18, f"COM {a}", f"COM {b}") for a, b in ("AA", "AN", "BB", "BN")]
    table = passage(events(*lines), [2017, 2018])
    assert rows(table, 2017, 2018) == {(a, b, None, "split") for a, b in ("AA", "AN", "BB", "BN")}
    assert rows(table, 2018, 2017) == {("N", "A", None, "split"), ("N", "B", None, "split")}


def test_repeated_lines_change_nothing() -> None:
    once = events(*RESTORED)
    years = [2015, 2016, 2019, 2020]
    assert passage(pl.concat([once, once]), years).equals(passage(once, years))


def test_years_without_events_have_no_rows() -> None:
    assert passage(events(*merger(NEW_YEAR_18, "A", "A", "B")), [2020, 2021]).height == 0


def test_a_commune_from_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="créée de rien"):
        passage(events((20, NEW_YEAR_18, "", "COM A")), [2017, 2018])
    assert passage(events((20, NEW_YEAR_18, "", "COM A")), [2018, 2019]).height == 0


def test_an_event_on_a_commune_that_is_gone_is_refused() -> None:
    lines = [*merger(date(2016, 1, 1), "A", "A", "B"), (50, date(2017, 1, 1), "COM B", "COM C")]
    with pytest.raises(ValueError, match="B, qui n'existe plus"):
        passage(events(*lines), [2015, 2018])


def declared(*shares: tuple[str, str, int, float]) -> pl.DataFrame:
    return pl.DataFrame(shares, schema=["from_code", "to_code", "year", "share"], orient="row")


def test_declared_shares_follow_the_commune_under_its_other_codes() -> None:
    lines = [
        (50, date(2017, 1, 1), "COM O", "COM A"),
        (21, NEW_YEAR_18, "COM A", "COM A"),
        (21, NEW_YEAR_18, "COM A", "COM B"),
        (50, date(2019, 1, 1), "COM B", "COM C"),
        *merger(date(2020, 1, 1), "D", "D", "A"),
    ]
    table = passage(
        events(*lines), range(2016, 2021), shares=declared(("A", "A", 2018, 0.7), ("A", "B", 2018, 0.3))
    )
    assert rows(table, 2017, 2018) == {("A", "A", 0.7, "split"), ("A", "B", 0.3, "split")}
    assert rows(table, 2016, 2020) == {("O", "D", 0.7, "split"), ("O", "C", 0.3, "split")}
    assert rows(table, 2018, 2016) == {("A", "O", 1.0, "split"), ("B", "O", 1.0, "split")}


def test_declared_shares_are_not_lent_to_another_extent() -> None:
    lines = [
        *merger(date(2017, 1, 1), "A", "A", "E"),
        *[(21, NEW_YEAR_18, "COM A", f"COM {c}") for c in "AB"],
    ]
    shares = declared(("A", "A", 2018, 0.7), ("A", "B", 2018, 0.3))
    table = passage(events(*lines), [2016, 2017, 2018], shares=shares)
    assert {r[2] for r in rows(table, 2017, 2018)} == {0.7, 0.3}
    assert {r[2] for r in rows(table, 2016, 2018)} == {None}


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ([("A", "A", 2018, 0.7), ("A", "B", 2018, 0.2)], "ne font pas 1"),
        ([("A", "A", 2018, 1.5), ("A", "B", 2018, -0.5)], "ne font pas 1"),
        ([("A", "A", 2018, 1.0)], "sans part déclarée"),
        ([("A", "A", 2017, 0.7), ("A", "B", 2017, 0.3)], "n'est pas une scission"),
    ],
)
def test_wrong_declared_shares_are_refused(shares: list[tuple[str, str, int, float]], message: str) -> None:
    split = events((21, NEW_YEAR_18, "COM A", "COM A"), (21, NEW_YEAR_18, "COM A", "COM B"))
    with pytest.raises(ValueError, match=message):
        passage(split, [2016, 2017, 2018], shares=declared(*shares))


LATE = [LateListing(("A", "B"), date(2016, 5, 1), 2018, "test")]


def test_an_event_listed_late_takes_effect_with_its_list() -> None:
    moved = dated_as_listed(events((50, date(2016, 5, 1), "COM A", "COM B")), LATE)
    table = passage(moved, [2016, 2017, 2018])
    assert rows(table, 2016, 2017) == set()
    assert rows(table, 2017, 2018) == {("A", "B", 1.0, "recode")}


def test_a_late_listing_corrected_at_the_source_is_reported() -> None:
    with pytest.raises(ValueError, match="retirer sa déclaration"):
        dated_as_listed(events((50, date(2017, 5, 1), "COM A", "COM B")), LATE)


def test_late_listings_leave_a_country_without_these_communes_alone() -> None:
    elsewhere = events((50, date(2016, 5, 1), "COM X", "COM Y"))
    assert dated_as_listed(elsewhere, LATE).equals(elsewhere)


def test_convert_keeps_what_does_not_change_and_refuses_unknown_years() -> None:
    table = passage(events(*merger(NEW_YEAR_18, "A", "A", "B")), [2017, 2018])
    moved = convert(["A", "B", "C", "C"], table, 2017, 2018)
    assert list(moved.iter_rows()) == [("A", "A", 1.0, None), ("B", "A", 1.0, "merge"), ("C", "C", 1.0, None)]
    assert convert(["A"], table, 2030, 2030)["to_code"].to_list() == ["A"]
    with pytest.raises(ValueError, match="2019"):
        convert(["A"], table, 2017, 2019)


# ---------------------------------------------------------------- laws, on generated histories

FIRST, LAST = 2014, 2019


@st.composite
def histories(draw: st.DrawFn, splits: bool) -> tuple[pl.DataFrame, dict[int, set[str]]]:
    """Events on a small country, one a day at most, and the communes that exist each year."""
    alive = {f"C{i}" for i in range(6)}
    fresh = iter(f"N{i}" for i in range(100))
    days = sorted(draw(st.sets(st.dates(date(FIRST, 1, 2), date(LAST, 1, 1)), max_size=8)))
    lines: list[Line] = []
    lists = {FIRST: set(alive)}
    for year in range(FIRST + 1, LAST + 1):
        for day in [d for d in days if date(year - 1, 1, 1) < d <= date(year, 1, 1)]:
            kind = draw(st.sampled_from(["merge", "recode", "split"] if splits else ["merge", "recode"]))
            if kind == "merge" and len(alive) > 1:
                members = draw(st.lists(st.sampled_from(sorted(alive)), min_size=2, max_size=3, unique=True))
                into = members[0] if draw(st.booleans()) else next(fresh)
                lines += [(32, day, f"COM {m}", f"COM {into}") for m in members]
                alive = (alive - set(members)) | {into}
            elif kind == "split":
                whole = draw(st.sampled_from(sorted(alive)))
                pieces = [whole if draw(st.booleans()) else next(fresh), next(fresh)]
                lines += [(21, day, f"COM {whole}", f"COM {p}") for p in pieces]
                alive = (alive - {whole}) | set(pieces)
            else:
                old = draw(st.sampled_from(sorted(alive)))
                gone = sorted({b.split()[1] for _, d, b, _ in lines if d < day} - alive)
                new = draw(st.sampled_from(gone)) if gone and draw(st.booleans()) else next(fresh)
                lines.append((50, day, f"COM {old}", f"COM {new}"))
                alive = (alive - {old}) | {new}
        lists[year] = set(alive)
    return events(*lines), lists


YEARS = st.integers(FIRST, LAST)


@given(histories(splits=True), YEARS, YEARS)
@settings(max_examples=150, deadline=None)
def test_law_the_passage_maps_each_list_exactly_onto_the_other(
    history: tuple[pl.DataFrame, dict[int, set[str]]], a: int, b: int
) -> None:
    lines, lists = history
    table = passage(lines, range(FIRST, LAST + 1))
    if table.height == 0:
        assert lists[a] == lists[b]
    elif a in set(table["from_year"]) and b in set(table["from_year"]):
        moved = convert(sorted(lists[a]), table, a, b)
        assert set(moved["to_code"]) == lists[b]
        images = moved.with_columns(images=pl.len().over("from_code"))
        assert images.filter((pl.col("share") == 1) != (pl.col("images") == 1)).height == 0


@given(histories(splits=True), YEARS, YEARS)
@settings(max_examples=100, deadline=None)
def test_law_a_pair_does_not_depend_on_the_other_years(
    history: tuple[pl.DataFrame, dict[int, set[str]]], a: int, b: int
) -> None:
    lines, _ = history
    table = passage(lines, range(FIRST, LAST + 1))
    alone = passage(lines, [a, b])
    for pair in ((a, b), (b, a)):
        assert rows(alone, *pair) == rows(table, *pair)


@given(histories(splits=False), st.tuples(YEARS, YEARS, YEARS).map(sorted))
@settings(max_examples=150, deadline=None)
def test_law_without_splits_passages_compose_and_conserve_counts(
    history: tuple[pl.DataFrame, dict[int, set[str]]], years: list[int]
) -> None:
    lines, lists = history
    table = passage(lines, range(FIRST, LAST + 1))
    first, middle, last = years
    if not {first, middle, last} <= set(table["from_year"]):
        return
    counts = pl.DataFrame({"from_code": sorted(lists[first])}).with_row_index("count", offset=1)
    direct = convert(sorted(lists[first]), table, first, last)
    step = convert(sorted(lists[first]), table, first, middle)
    onward = convert(step["to_code"], table, middle, last)
    composed = step.join(onward, left_on="to_code", right_on="from_code", suffix="_2")
    assert dict(composed.select("from_code", "to_code_2").iter_rows()) == dict(
        direct.select("from_code", "to_code").iter_rows()
    )
    summed = direct.join(counts, on="from_code").group_by("to_code").agg(pl.col("count").sum())
    assert summed["count"].sum() == counts["count"].sum()
    assert set(summed["to_code"]) == lists[last]
