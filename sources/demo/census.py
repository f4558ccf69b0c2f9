"""What a census would count in the fictional country, by atom: people, dwellings, work, births and deaths.

Counts of people are exact; dwellings and workers carry a weight, as a sample's would, so they have decimals.
"""

from __future__ import annotations

import numpy as np

from sources.demo.households import Households, present_in

OUTSIDE_HOUSEHOLDS = 0.02  # share of inhabitants who live in no ordinary household
WEIGHT = 1.0173


def population(all_of: Households, year: int) -> np.ndarray:
    """Population municipale by atom."""
    p = present_in(all_of, year)
    people = np.bincount(all_of.atom[p], all_of.persons[p], minlength=all_of.iris_count.size)
    return (people + np.rint(OUTSIDE_HOUSEHOLDS * people)).astype(np.int64)


def counts(all_of: Households, year: int) -> dict[str, np.ndarray]:
    """Census variables of one year by atom, as INSEE names them, without their prefix."""
    p = present_in(all_of, year)
    rng = np.random.default_rng((all_of.seed, 1))  # the same local rates in every year
    n = all_of.iris_count.size
    vacant, second, jobs = rng.uniform(0.04, 0.11, n), rng.uniform(0.01, 0.15, n), rng.uniform(0.3, 1.2, n)
    working_age = all_of.age[p] <= 4
    students = all_of.children[5:, p].sum(axis=0)
    people_1564 = np.where(working_age, all_of.adults[p], 0.35 * all_of.adults[p]) + students
    active = np.where(working_age, 0.93 * all_of.adults[p], 0.2 * all_of.adults[p]) + 0.15 * students
    unemployed = np.where(all_of.jobless[p], 0.7 * all_of.adults[p] * working_age, 0.05 * active)

    def weighted(weight: np.ndarray) -> np.ndarray:
        return WEIGHT * np.bincount(all_of.atom[p], weight, minlength=n)

    homes, workers = weighted(np.ones(p.size)), weighted(active)
    return {
        "POP": population(all_of, year),
        "MEN": homes,
        "LOG": homes * (1 + vacant + second),
        "RP": homes,
        "RSECOCC": homes * second,
        "LOGVAC": homes * vacant,
        "RP_PROP": weighted(all_of.owner[p]),
        "EMPLT": workers * jobs,
        "EMPLT_SAL": workers * jobs * 0.87,
        "POP1564": weighted(people_1564),
        "CHOM1564": weighted(unemployed),
        "ACT1564": workers,
    }


def registers(all_of: Households) -> dict[str, np.ndarray]:
    """Area (km²), births and deaths, establishments, by atom: what the comparateur adds to the census."""
    rng = np.random.default_rng((all_of.seed, 2))
    people = population(all_of, 2018)
    n = people.size
    establishments = rng.poisson(0.06 * people)
    sectors = {s: establishments * share // 100 for s, share in _SECTORS.items()}
    return {
        "SUPERF": np.round(rng.uniform(3, 40, n), 2),
        "NAIS1318": rng.poisson(0.055 * people),
        "DECE1318": rng.poisson(0.045 * people),
        "NAISD20": rng.poisson(0.0105 * people),
        "DECESD20": rng.poisson(0.0098 * people),
        "ETTOT18": np.sum(list(sectors.values()), axis=0),
        **{f"ET{s}18": number for s, number in sectors.items()},
        "ETTEF118": establishments * 70 // 100,
        "ETTEFP1018": establishments * 9 // 100,
    }


_SECTORS = {"AZ": 5, "BE": 7, "FZ": 11, "GU": 55, "GZ": 20, "OQ": 15}
