"""Freshness by the producers' calendars: what is due, late, closed, and that every source says when it comes out."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from sources.calendar import Freshness, Held, day, freshness
from sources.description import Edition, Expected, Source, load_sources


def source(expected: Expected | None, *editions: Edition) -> Source:
    return Source(
        source_id="essai",
        title="Essai",
        producer="INSEE",
        owner="INSEE",
        licence="Licence Ouverte 2.0",
        expected=expected,
        editions=editions or (edition("2020", 2020),),
    )


def edition(key: str, year: int) -> Edition:
    return Edition(edition=key, data_year=year, url="https://exemple.fr/x", format="csv")


def judged(
    expected: Expected, today: date, *, key: str = "2020", year: int = 2020, since: date | None = None
) -> Freshness:
    found = freshness(
        source(expected, edition(key, year)), [Held(edition(key, year), since or date(2021, 1, 1))], today
    )
    assert found is not None
    return found


YEARLY = Expected(months=(6,), lag=3, delay_days=60)  # data of 2021 come out in June 2024


@pytest.mark.parametrize(
    ("today", "state", "told"),
    [
        (date(2024, 6, 30), "up_to_date", "édition 2020, du 1er janvier 2021 ; édition 2021 attendue avant le 30 juin"),
        (date(2024, 7, 1), "expected", "attendue depuis le 30 juin 2024, en retard après le 29 août 2024"),
        (date(2024, 8, 29), "expected", "attendue depuis"),
        (date(2024, 8, 30), "late", "édition 2021 en retard de 61 jours sur le 30 juin 2024"),
    ],
)
def test_a_yearly_source_is_expected_then_late_and_not_before(today: date, state: str, told: str) -> None:
    found = judged(YEARLY, today)
    assert found.state == state and told in found.message


def test_a_quarterly_source_is_judged_by_the_quarter_of_its_key() -> None:
    quarterly = Expected(after_quarter=85, delay_days=30)
    due = date(2025, 12, 31) + timedelta(days=85)
    found = judged(quarterly, due, key="1982t1-2025t3", year=2025)
    assert (found.state, found.due) == ("up_to_date", due) and "du 4e trimestre 2025" in found.message
    assert judged(quarterly, due + timedelta(days=31), key="1982t1-2025t3", year=2025).state == "late"
    assert "1er trimestre 2026" in judged(quarterly, due, key="2003t1-2025t4", year=2025).message
    with pytest.raises(ValueError, match="2025t3"):
        judged(quarterly, due, key="2025", year=2025)


def test_at_a_reused_address_the_date_of_the_body_counts() -> None:
    reused = Expected(months=(7,), delay_days=30)
    assert judged(reused, date(2026, 7, 1), since=date(2025, 8, 2)).state == "up_to_date"
    assert judged(reused, date(2026, 8, 20), since=date(2025, 8, 2)).state == "expected"
    assert judged(reused, date(2026, 9, 20), since=date(2025, 8, 2)).state == "late"
    assert judged(reused, date(2026, 9, 20), since=date(2026, 7, 31)).state == "up_to_date"


def test_several_years_between_editions_a_guess_and_a_closed_series() -> None:
    found = judged(Expected(months=(12,), lag=2, every=2, known=False), date(2024, 12, 31))
    assert found.state == "up_to_date" and found.message.endswith("31 décembre 2024 (calendrier supposé)")
    closed = judged(Expected(why="remplacée par une autre"), date(2099, 1, 1))
    assert closed.state == "ended" and "remplacée" in closed.message


def test_what_was_never_received_is_judged_by_its_newest_edition() -> None:
    never = source(YEARLY, edition("2019", 2019), edition("2020", 2020))
    early, late = freshness(never, [], date(2023, 6, 1)), freshness(never, [], date(2023, 12, 1))
    assert (
        early is not None
        and early.state == "expected"
        and "rien de reçu ; édition 2020 attendue avant" in early.message
    )
    assert late is not None and late.state == "late"


def test_without_a_calendar_nothing_is_said() -> None:
    assert freshness(source(None), [], date(2026, 1, 1)) is None


@pytest.mark.parametrize("wrong", [{}, {"months": [13]}, {"months": [6, 9], "lag": 1, "why": "x"}])
def test_a_calendar_that_says_nothing_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Expected.model_validate(wrong)


def test_every_source_has_a_calendar_that_answers() -> None:
    today = date(2026, 11, 22)
    for declared in load_sources().values():
        assert declared.expected is not None, declared.source_id
        assert declared.expected.why, f"{declared.source_id}: what the calendar is known from"
        held = [Held(e, today) for e in declared.editions]
        assert freshness(declared, held, today) is not None


ORDER = {"up_to_date": 0, "expected": 1, "late": 2}


@given(
    month=st.integers(1, 12), lag=st.integers(0, 4), year=st.integers(1990, 2050), delay=st.integers(0, 400),
    first=st.integers(0, 4000), more=st.integers(0, 4000),
)  # fmt: skip
def test_time_alone_never_makes_a_source_fresher_and_a_newer_edition_never_staler(
    month: int, lag: int, year: int, delay: int, first: int, more: int
) -> None:
    yearly = Expected(months=(month,), lag=lag, delay_days=delay)
    one, two = date(year, 1, 1) + timedelta(days=first), date(year, 1, 1) + timedelta(days=first + more)
    states = [ORDER[judged(yearly, today, year=year).state] for today in (one, two)]
    assert states == sorted(states)
    assert ORDER[judged(yearly, two, year=year + 1).state] <= states[1]


def test_dates_read_as_in_french() -> None:
    assert (day(date(2026, 8, 1)), day(date(2026, 2, 28))) == ("1er août 2026", "28 février 2026")


def test_no_description_is_without_a_why(tmp_path: Path) -> None:
    folder = tmp_path / "essai"
    folder.mkdir()
    text = "source_id: essai\ntitle: Essai\nproducer: P\nowner: P\nlicence: L\nexpected: {months: []}\neditions: []\n"
    (folder / "description.yaml").write_text(text)
    from sources.description import load_source

    with pytest.raises(ValidationError, match="série arrêtée"):
        load_source(folder)
