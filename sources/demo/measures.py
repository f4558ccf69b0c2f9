"""Exact statistics of groups of households: weighted quantiles, concentration, poverty. No territory is named
here.

Everything is weighted by persons, as the producer does. A quantile of order q is the smallest standard of
living such that the households at or below it hold at least a share q of the persons.
"""

from __future__ import annotations

import numpy as np

DECILES = (1, 2, 3, 4, 6, 7, 8, 9)  # the fifth is the median
QUANTILES = {"Q1": 0.25, "Q2": 0.5, "Q3": 0.75, **{f"D{k}": k / 10 for k in DECILES}}
POVERTY_LINE = 0.6  # of the country's median


class Ranking:
    """Households ranked by standard of living inside each group.

    Households come poorest first. `group` is the group of each, from 0; a negative one leaves the household
    out. Raises ValueError when a group has nobody or the households are not ranked.
    """

    def __init__(self, living: np.ndarray, persons: np.ndarray, group: np.ndarray) -> None:
        if living.size > 1 and (living[1:] < living[:-1]).any():
            raise ValueError("households are not ranked")
        if group.size and group.min() < 0:
            inside = np.flatnonzero(group >= 0)
            living, persons, group = living[inside], persons[inside], group[inside]
        groups = int(group.max()) + 1 if group.size else 0
        narrow = np.uint16 if groups < 2**16 else np.int64  # numpy sorts 16 bits by radix, many times faster
        order = np.argsort(group.astype(narrow), kind="stable")
        size = np.bincount(group, minlength=groups)
        if (size == 0).any():
            raise ValueError("a group has no household")
        self.living = living[order]
        self.persons = persons[order].astype(np.float64)
        self.weight = np.cumsum(self.persons)
        self.mass = np.cumsum(self.persons * self.living)
        self.last = np.cumsum(size) - 1
        self.first = self.last - size + 1
        self.before = self.weight[self.first] - self.persons[self.first]  # persons of the groups before
        self.total = self.weight[self.last] - self.before

    def quantile(self, q: float) -> np.ndarray:
        """Quantile of order q of each group."""
        at = np.searchsorted(self.weight, self.before + q * self.total - 1e-6)
        return self.living[np.clip(at, self.first, self.last)]

    def share_of_poorest(self, q: float) -> np.ndarray:
        """Lorenz curve: share of all standards of living held by the poorest q of the persons."""
        mass = self.mass
        start = np.concatenate([[0.0], mass])[self.first]
        target = self.before + q * self.total
        at = np.clip(np.searchsorted(self.weight, target - 1e-6), self.first, self.last)
        held = mass[at] - (self.weight[at] - target) * self.living[at] - start
        return held / (mass[self.last] - start)

    def gini(self) -> np.ndarray:
        """Gini index of each group."""
        mass = self.mass
        start = np.concatenate([[0.0], mass])[self.first]
        size = self.last - self.first + 1
        held = mass - np.repeat(start, size)
        strip = self.persons * (2 * held - self.persons * self.living)
        area = np.add.reduceat(strip, self.first)
        return 1 - area / (self.total * (mass[self.last] - start))


def poverty_threshold(living: np.ndarray, persons: np.ndarray) -> float:
    """60 % of the median standard of living of all the persons given, in euros a year. Households poorest
    first.
    """
    everyone = np.zeros(living.size, dtype=np.int64)
    return POVERTY_LINE * float(Ranking(living, persons, everyone).quantile(0.5)[0])
