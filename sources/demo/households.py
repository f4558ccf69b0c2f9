"""The fictional households: drawn once from a seed, then read as they are in a given year.

A household keeps its people, its tenure and its rank for life; its income moves every year. Whether it is
there in a year depends on its atom's growth, so populations change while series stay comparable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sources.demo.country import DISTRICTS, Country

REFERENCE_YEAR = 2018
SPAN = range(2012, 2025)  # years in which households are known
INCOME_GROWTH = 0.015  # a year
CHILD_AGES = (
    (0, 2),
    (3, 5),
    (6, 10),
    (11, 13),
    (14, 14),
    (15, 17),
    (18, 24),
)  # classes of dependent children
UNDER_14 = slice(0, 4)
AGE_CLASSES = 6  # of the tax referent: under 30, 30-39, 40-49, 50-59, 60-74, 75 or more
COMPONENTS = ("PTSA", "PCHO", "PBEN", "PPEN", "PPAT", "PPFAM", "PPMINI", "PPLOGT", "PIMPOT")
CITY = 0.18  # share of the households in the big city,
LARGE = 2_500  # which does not grow with the country beyond so many communes
BLOCK = 2_000_000  # households whose components of income are computed at once
IRIS_POPULATION = 2000
IRIS_FROM = 5000  # inhabitants from which a commune is divided; the big city always is

_REFERENT_BY_CLASS = (0.11, 0.17, 0.19, 0.19, 0.22, 0.12)
_COUPLE_BY_CLASS = (0.35, 0.62, 0.62, 0.60, 0.60, 0.35)
_CHILDREN_BY_CLASS = (0.45, 1.45, 1.35, 0.45, 0.04, 0.0)  # mean number
_AGE_EFFECT = (-0.18, -0.05, 0.0, 0.08, 0.10, -0.02)  # on the logarithm of the standard of living


@dataclass(frozen=True)
class Households:
    """One cell per household ever present. Ages and tenure do not change; `standing` is the log of 2018
    income.
    """

    atom: np.ndarray
    iris: np.ndarray  # 0, 1, ... inside the atom; 0 where the commune is not divided
    age: np.ndarray  # class of the tax referent, 1 to 6
    adults: np.ndarray  # persons of 14 or more, dependent children excepted
    children: np.ndarray  # one row per class of CHILD_AGES
    persons: np.ndarray
    uc: np.ndarray  # consumption units: 1, 0.5 per other person of 14 or more, 0.3 per child under 14
    owner: np.ndarray
    couple: np.ndarray
    jobless: np.ndarray
    freelance: np.ndarray
    luck: np.ndarray  # uniform: student, disabled, ...
    standing: np.ndarray
    arrives: np.ndarray  # uniform, compared with the atom's size in the year
    growth: np.ndarray  # by atom, a year
    iris_count: np.ndarray  # by atom
    seed: int


@dataclass(frozen=True)
class Year:
    """The households of one year: those present, and what they earn, in euros a year."""

    year: int
    present: np.ndarray  # positions in Households
    atom: np.ndarray
    persons: np.ndarray
    living: np.ndarray  # standard of living: disposable income per consumption unit
    income: np.ndarray  # disposable
    relative: np.ndarray  # standard of living over a fixed real level


def draw(country: Country, seed: int, households: int) -> Households:
    """The households of the whole country; `households` is the number present in the reference year."""
    rng = np.random.default_rng(seed)
    size, growth, poor, rich, level = _draw_atoms(country, rng, households)
    peak = np.exp(np.maximum(growth * (SPAN[-1] - REFERENCE_YEAR), growth * (SPAN[0] - REFERENCE_YEAR)))
    atom = np.repeat(np.arange(size.size, dtype=np.int32), np.ceil(size * peak).astype(np.int64))
    n = atom.size
    age = (1 + np.searchsorted(np.cumsum(_REFERENT_BY_CLASS)[:-1], rng.random(n))).astype(np.int8)
    couple = rng.random(n) < np.asarray(_COUPLE_BY_CLASS)[age - 1]
    children = _draw_children(rng, age, couple)
    adults = (1 + couple).astype(np.int8)
    young = children[UNDER_14].sum(axis=0, dtype=np.int8)
    persons = (adults + children.sum(axis=0, dtype=np.int8)).astype(np.int8)
    uc = 1 + 0.5 * (persons - young - 1) + 0.3 * young
    district = rng.random(n, dtype=np.float32)
    shift = np.where(district < poor[atom], -0.55, np.where(district > 1 - rich[atom], 0.45, 0.0))
    standing = level[atom] + shift + np.asarray(_AGE_EFFECT)[age - 1] - 0.05 * np.minimum(young, 3)
    standing += 0.38 * rng.standard_normal(n, dtype=np.float32)
    owner = rng.random(n) < 1 / (1 + np.exp(-(0.15 + 0.55 * (age - 3) + 2.0 * (standing - 9.95))))
    iris_count, iris = _draw_iris(country, size, atom, rng)
    return Households(
        atom,
        iris,
        age,
        adults,
        children,
        persons,
        uc,
        owner,
        couple,
        rng.random(n) < 0.04 + 0.12 / (1 + np.exp(6 * (standing - 9.6))),
        rng.random(n) < 0.07,
        rng.random(n, dtype=np.float32),
        standing.astype(np.float32),
        rng.random(n, dtype=np.float32) * peak[atom],
        growth,
        iris_count,
        seed,
    )


def present_in(all_of: Households, year: int) -> np.ndarray:
    """Positions of the households present that year."""
    if year not in SPAN:
        raise ValueError(f"no household in {year}; known: {SPAN[0]}-{SPAN[-1]}")
    return np.flatnonzero(all_of.arrives < np.exp(all_of.growth * (year - REFERENCE_YEAR))[all_of.atom])


def in_year(all_of: Households, year: int) -> Year:
    """The households present that year, with that year's incomes. Depends on the seed and the year only."""
    elapsed = year - REFERENCE_YEAR
    present = present_in(all_of, year)
    rng = np.random.default_rng((all_of.seed, year))
    noise = 0.06 * rng.standard_normal(all_of.atom.size, dtype=np.float32)[present]
    relative = np.exp(all_of.standing[present].astype(np.float64) + noise) / 21_000
    living = relative * 21_000 * (1 + INCOME_GROWTH) ** elapsed
    return Year(
        year,
        present,
        all_of.atom[present],
        all_of.persons[present],
        living,
        living * all_of.uc[present],
        relative,
    )


def blocks(of: Year) -> Iterator[tuple[slice, Year]]:
    """The same households some BLOCK at a time, and where they stand in the year: what is computed of each then fits in
    memory whatever the country. No atom is cut, so that sums by atom are those of the whole, to the last decimal."""
    first_of = np.flatnonzero(np.diff(of.atom, prepend=-1))  # households stand in the order of their atoms
    start = 0
    while start < of.atom.size:
        later = first_of[np.searchsorted(first_of, start + BLOCK) :]
        end = int(later[0]) if later.size else of.atom.size
        part = slice(start, end)
        columns = (of.present, of.atom, of.persons, of.living, of.income, of.relative)
        yield part, Year(of.year, *(column[part] for column in columns))
        start = end


def taxed(all_of: Households, of: Year) -> np.ndarray:
    """Whether each household pays income tax."""
    return of.relative * (0.9 + 0.2 * all_of.luck[of.present]) > 0.88


def components(all_of: Households, of: Year) -> Iterator[tuple[str, np.ndarray]]:
    """Euros a year by component, one after the other, taxes negative: their sum is the disposable income."""
    p, r = of.present, of.relative
    kids = all_of.children[:, p].sum(axis=0, dtype=np.int8)
    tax = np.clip(0.06 + 0.12 * (r - 0.5), 0.01, 0.35)
    family = np.where(kids > 0, np.clip(0.08 * kids * (1.4 - r), 0, 0.25), 0.0)
    minima = np.clip((0.65 - r) * 1.1, 0, 0.4)
    housing = np.where(all_of.owner[p], 0.0, np.clip((0.8 - r) * 0.4, 0, 0.2))
    assets = np.where(all_of.owner[p], 0.03 + 0.06 * np.clip(r - 0.8, 0, 2.5), 0.01)
    rest = 1 + tax - family - minima - housing - assets
    pension = np.asarray((0.0, 0.0, 0.01, 0.04, 0.82, 0.97))[all_of.age[p] - 1] * rest
    work = rest - pension
    benefit = np.where(all_of.jobless[p], 0.55, 0.01) * work
    profit = np.where(all_of.freelance[p], 0.8, 0.0) * (work - benefit)
    shares = (work - benefit - profit, benefit, profit, pension, assets, family, minima, housing, -tax)
    return ((name, share * of.income) for name, share in zip(COMPONENTS, shares, strict=True))


def _draw_atoms(country: Country, rng: np.random.Generator, households: int):
    """By atom: households, growth a year, share of the poor and of the rich district, log of the median."""
    n = country.home.size
    city = country.city
    weight = rng.lognormal(0.0, 1.25, n)
    told = _communes_of_the_story(country)
    weight[told] = np.maximum(weight[told], 1.0)
    weight[told[: told.size // 3]] = np.maximum(weight[told[: told.size // 3]], 5.0)
    share = CITY * min(1.0, LARGE / n)
    weight[~city] *= (1 - share) / weight[~city].sum()
    weight[city] = share * np.array((0.15, 0.25, 0.35, 0.25))[:DISTRICTS]
    size = np.maximum(12, np.rint(weight * households))
    growth = np.clip(rng.normal(0.004, 0.008, n), -0.02, 0.03)
    poor = np.where(size > 1500, rng.beta(1.5, 4.0, n), rng.beta(1.0, 9.0, n))
    rich = rng.beta(1.0, 8.0, n)
    level = 9.96 + 0.10 * rng.standard_normal(n)
    poor[city], rich[city], level[city] = (0.75, 0.15, 0.30, 0.02), (0.02, 0.15, 0.10, 0.70), 9.95
    return size, growth, poor, rich, level


def _communes_of_the_story(country: Country) -> np.ndarray:
    """Atoms whose commune changed code: made large enough for their figures to be published."""
    first, last = country.codes[min(country.codes)], country.codes[max(country.codes)]
    moved = {e[3] for e in country.events if e[2] == "COM"}
    changed = np.flatnonzero((first != last) | np.isin(first, list(moved)))
    return changed[:: max(1, changed.size // 24)]


def _draw_children(rng: np.random.Generator, age: np.ndarray, couple: np.ndarray) -> np.ndarray:
    """Dependent children by class of age: up to four, one class drawn for each."""
    n = age.size
    mean = np.asarray(_CHILDREN_BY_CLASS)[age - 1] * np.where(couple, 1.0, 0.35)
    number = np.minimum(rng.poisson(mean), 4)
    children = np.zeros((len(CHILD_AGES), n), dtype=np.int8)
    years = np.array([b - a + 1 for a, b in CHILD_AGES])
    edges = np.cumsum(years)[:-1] / years.sum()
    for rank in range(1, 5):
        who = np.flatnonzero(number >= rank)
        of_class = np.searchsorted(edges, rng.random(who.size))
        children[of_class, who] += 1
    return children


def _draw_iris(country: Country, size: np.ndarray, atom: np.ndarray, rng: np.random.Generator):
    """Districts (IRIS) of the atoms large enough; every third has one more, a business park with few
    households.
    """
    people = 2.0 * size
    divided = (people >= IRIS_FROM) | country.city
    inhabited = np.where(divided, np.maximum(2, np.rint(people / IRIS_POPULATION)), 1).astype(np.int16)
    park = divided & (np.cumsum(divided) % 3 == 1)
    place = rng.random(atom.size, dtype=np.float32)
    iris = np.minimum((place * inhabited[atom]).astype(np.int16), inhabited[atom] - 1)
    few = park[atom] & (rng.random(atom.size, dtype=np.float32) < 0.015)
    return (inhabited + park).astype(np.int16), np.where(few, inhabited[atom], iris).astype(np.int16)
