"""Exact statistics of groups of households: weighted quantiles, concentration, poverty. No territory is named here.

Everything is weighted by persons, as the producer does. A quantile of order q is the smallest standard of living
such that the households at or below it hold at least a share q of the persons.
"""

from __future__ import annotations

import numpy as np

DECILES = (1, 2, 3, 4, 6, 7, 8, 9)  # the fifth is the median
QUANTILES = {"Q1": 0.25, "Q2": 0.5, "Q3": 0.75, **{f"D{k}": k / 10 for k in DECILES}}
POVERTY_LINE = 0.6  # of the country's median


class Ranking:
    """Households ranked by standard of living inside each group.

    `group` is the group of each household, from 0; a negative one leaves the household out. Raises ValueError when
    a group has nobody.
    """

    def __init__(self, living: np.ndarray, persons: np.ndarray, group: np.ndarray, *, by_living: np.ndarray) -> None:
        inside = by_living[group[by_living] >= 0]
        order = inside[np.argsort(group[inside], kind="stable")]
        self.order = order
        self.living = living[order]
        self.groups = int(group.max()) + 1 if group.size else 0
        self.weight = np.cumsum(persons[order], dtype=np.float64)
        ends = np.cumsum(np.bincount(group[order], minlength=self.groups))
        self.last = ends - 1
        self.first = np.concatenate([[0], ends[:-1]])
        if (ends == self.first).any():
            raise ValueError("a group has no household")
        self.before = self.weight[self.first] - persons[order][self.first]  # persons of the groups before
        self.total = self.weight[self.last] - self.before
        self.persons = persons[order].astype(np.float64)

    def quantile(self, q: float) -> np.ndarray:
        """Quantile of order q of each group."""
        at = np.searchsorted(self.weight, self.before + q * self.total - 1e-6)
        return self.living[np.clip(at, self.first, self.last)]

    def share_of_poorest(self, q: float) -> np.ndarray:
        """Lorenz curve: share of all standards of living held by the poorest q of the persons."""
        mass = self._mass()
        start = np.concatenate([[0.0], mass])[self.first]
        target = self.before + q * self.total
        at = np.clip(np.searchsorted(self.weight, target - 1e-6), self.first, self.last)
        held = mass[at] - (self.weight[at] - target) * self.living[at] - start
        return held / (mass[self.last] - start)

    def gini(self) -> np.ndarray:
        """Gini index of each group."""
        mass = self._mass()
        start = np.concatenate([[0.0], mass])[self.first]
        size = self.last - self.first + 1
        held = mass - np.repeat(start, size)
        strip = self.persons * (2 * held - self.persons * self.living)
        area = np.add.reduceat(strip, self.first)
        return 1 - area / (self.total * (mass[self.last] - start))

    def _mass(self) -> np.ndarray:
        return np.cumsum(self.persons * self.living)


def poverty_threshold(living: np.ndarray, persons: np.ndarray) -> float:
    """60 % of the median standard of living of all the persons given, in euros a year."""
    everyone = np.zeros(living.size, dtype=np.int64)
    return POVERTY_LINE * float(Ranking(living, persons, everyone, by_living=np.argsort(living)).quantile(0.5)[0])
