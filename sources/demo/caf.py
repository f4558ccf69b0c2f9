"""Families receiving benefits, by district (IRIS) of the fictional country, and what the CNAF hides."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

import numpy as np

from sources.demo.country import words
from sources.demo.households import CHILD_AGES, Households, Year

LEAST_FAMILIES = 100  # a district with fewer is wholly hidden, NOTE 3
LEAST_CELL = 5  # a smaller count is blank under NOTE 0
CHILDREN = ("ENF_2", "ENF_3_5", "ENF_6_10", "ENF_11_14", "ENF_15_17", "ENF_18_24")
COUNTS = (
    *words("A PERCOU AI AM ACSSENF ACAVENF AC3ENF ENF"),
    *CHILDREN,
    *words("A_ETUD A_NETUD_24 AAL AAPL AAAH APPA ARSAS APRES50 APRES100"),
)
RSA, ACTIVITY_BONUS = (1, 560.0), (2, 190.0)  # (random stream, mean euros a month for a family)

# Why a cell of a district is not published.
FEW_FAMILIES = "peu_allocataires"
OTHER_NOTE = "note"  # NOTE 2, 4 or 5: the whole district
FEW_IN_CELL = "petit_effectif"
SECONDARY = "secondaire"  # blank under NOTE 0, so that no small cell can be found by difference


@dataclass(frozen=True)
class Districts:
    """Exact counts by district of one year, and what is hidden: rows in the order of the atoms."""

    year: int
    atom: np.ndarray
    counts: dict[str, np.ndarray]
    note: np.ndarray
    hidden: dict[str, np.ndarray]  # variable -> reason, '' when published


def beneficiaries(all_of: Households, of: Year) -> Iterator[tuple[str, np.ndarray]]:
    """For each variable of COUNTS, how many times each household of the year counts in it."""
    p, r, luck = of.present, of.relative, all_of.luck[of.present]
    ages = all_of.children[:, p]
    kids, age, couple = ages.sum(axis=0, dtype=np.int8), all_of.age[p], all_of.couple[p]
    student = (age == 1) & (kids == 0) & ~couple & (luck > 0.5) & (luck < 0.8) & (r < 0.9)
    rsa = (r < 0.42) & (age <= 5) & ~student
    bonus = (r >= 0.42) & (r < 0.68) & (age <= 4) & ~student
    disabled = (luck < 0.025) & (age <= 5)
    housing = (~all_of.owner[p] & (r < 0.75)) | (student & ~all_of.owner[p])
    family = (kids >= 2) | ((kids == 1) & (~couple | (ages[0] > 0)))
    a = rsa | bonus | disabled | housing | family
    assert len(CHILD_AGES) == ages.shape[0]
    by_age = (ages[0], ages[1], ages[2], ages[3] + ages[4], ages[5], ages[6])
    counted = {
        "A": a,
        "PERCOU": of.persons,
        "ENF": kids,
        **dict(zip(CHILDREN, by_age, strict=True)),
        "AI": (kids == 0) & ~couple,
        "AM": (kids > 0) & ~couple,
        "ACSSENF": (kids == 0) & couple,
        "ACAVENF": (kids > 0) & couple,
        "AC3ENF": (kids >= 3) & couple,
        "A_ETUD": student,
        "A_NETUD_24": (age == 1) & (luck < 0.25) & ~student,
        "AAL": housing,
        "AAPL": housing & (luck > 0.25),
        "AAAH": disabled,
        "APPA": bonus,
        "ARSAS": rsa,
        "APRES50": r < 0.45,
        "APRES100": r < 0.30,
    }
    return ((name, counted[name] * a) for name in COUNTS)


def by_district(all_of: Households, of: Year) -> Districts:
    """Counts of the districts of divided communes, and beside them what the producer's rules hide."""
    first = np.concatenate([[0], np.cumsum(all_of.iris_count)[:-1].astype(np.int64)])
    key = first[of.atom] + all_of.iris[of.present]
    total = int(all_of.iris_count.sum())
    atom = np.repeat(np.arange(all_of.iris_count.size), all_of.iris_count)
    divided = all_of.iris_count[atom] > 1
    times = beneficiaries(all_of, of)
    counts = {n: np.bincount(key, t, minlength=total).astype(np.int64)[divided] for n, t in times}
    atom = atom[divided]
    rng = np.random.default_rng((all_of.seed, of.year, 3))
    note = np.zeros(atom.size, dtype=np.int64)
    withheld = rng.permutation(atom.size)[: max(2, atom.size // 25)]
    note[withheld] = rng.choice([2, 4, 5], withheld.size)
    note[counts["A"] < LEAST_FAMILIES] = 3
    hidden: dict[str, np.ndarray] = {}
    for name, count in counts.items():
        chosen = rng.random(atom.size) < 0.03
        hidden[name] = np.select(
            [note == 3, note != 0, count < LEAST_CELL, chosen],
            [FEW_FAMILIES, OTHER_NOTE, FEW_IN_CELL, SECONDARY],
            default="",
        )
    return Districts(of.year, atom, counts, note, hidden)


def by_atom(all_of: Households, of: Year, names: Container[str] = COUNTS) -> dict[str, np.ndarray]:
    """Exact counts by atom of one year, divided into districts or not."""
    atoms = all_of.iris_count.size
    return {
        name: np.bincount(of.atom, times, minlength=atoms).astype(np.int64)
        for name, times in beneficiaries(all_of, of)
        if name in names
    }


def payments(all_of: Households, of: Year) -> dict[str, np.ndarray]:
    """By atom: families receiving RSA and the activity bonus in December, and euros paid to them, exact."""
    counts = by_atom(all_of, of, ("ARSAS", "APPA"))
    columns: dict[str, np.ndarray] = {}
    for name, benefit, (stream, mean) in (("rsa", "ARSAS", RSA), ("ppa", "APPA", ACTIVITY_BONUS)):
        rng = np.random.default_rng((all_of.seed, of.year, 10 + stream))
        columns[f"indfoy_{name}"] = counts[benefit]
        columns[f"indmtt_{name}"] = counts[benefit] * mean * rng.uniform(0.9, 1.1, all_of.iris_count.size)
    return columns
