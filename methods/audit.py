"""What an outsider can compute of each protected cell from everything published: the audit by linear programming.

He knows the sums that tie cells, the figures shown (to the rounding they are printed with), that a count is whole and
not negative, and the bounds told. The interval of a cell is the smallest and the largest value it takes in a table that
agrees with all this (Fischetti and Salazar, Management Science 47, 2001; Hundepool et al., Statistical Disclosure
Control, 2012, chapter 4). A cell is protected when its interval is as wide as asked (the sliding protection level) and
reaches the two values asked: for a count below the threshold, the threshold itself, so that nobody can say it is below.

Two tables that agree with everything published and differ enough on a cell are a proof for this cell, and for all the
others on which they differ enough: they are looked for among the cells around it, then farther. Bounds got by reading
sums one at a time are a proof of the contrary. What is left is settled on the whole set of cells that hang together.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from methods.tables import (
    EPSILON,
    HIDDEN,
    PUBLISHABLE,
    Booleans,
    Floats,
    Integers,
    System,
    settled,
    solved,
)

NEAR = 400  # cells looked at around a cell, first
FAR = 3_000  # then
SHORT = 12  # terms of a relation that is always looked at whole
SIBLINGS = 4  # of a longer one looked at, the others keeping their value
FOREMOST = 1e4  # weight of the cell examined against those around it


def audit(system: System) -> pl.DataFrame:
    """The interval of each protected cell: cell, status, lower, upper, at_most, at_least, width, ok.

    Where ok, the outsider's interval is [lower, upper] or wider; where not, it is [lower, upper] or narrower (or could
    not be proved wider in time). Nothing here is random: the same table gives the same figures.
    """
    asked = system.asked
    low, high = tightened(system, *system.bounds(np.isin(system.status, HIDDEN)))
    proof = Proof(system, low, high)
    for cell in asked[proof.enough(asked, low, high)]:
        for size in (NEAR, FAR):
            if proof.lacks(cell):
                proof.explore(cell, size)
        if proof.lacks(cell):
            low[cell], high[cell] = proof.extremes(cell)
    ok = proof.enough(asked, proof.low, proof.high)
    columns: dict[str, Any] = {
        "cell": [system.names[i] for i in asked],
        "status": system.status[asked],
        "lower": np.where(ok, proof.low[asked], low[asked]),
        "upper": np.where(ok, proof.high[asked], high[asked]),
        "at_most": system.at_most[asked],
        "at_least": system.at_least[asked],
        "width": system.width[asked],
        "ok": ok,
    }
    return pl.DataFrame(columns)


def attainable(system: System) -> System:
    """The same system, asking of no cell more than what would be left of it if nothing new were told.

    What earlier releases told cannot be taken back: a threshold raised since is out of reach of some cells, whose
    protection then asks that nothing more comes out. These are the cells whose `width` is lower in the result.
    """
    return proven(system, np.isin(system.status, [*HIDDEN, PUBLISHABLE])).system


def proven(system: System, hidden: Booleans) -> Proof:
    """The range of each protected cell when the cells `hidden` are, as far as is asked; where it falls short, no more
    than it is asked for in the proof's system."""
    proof = Proof(system, *tightened(system, *system.bounds(hidden)))
    for cell in system.asked:
        for size in (NEAR, FAR):
            if proof.lacks(cell):
                proof.explore(cell, size)
        if proof.lacks(cell):
            proof.extremes(cell, exact=True)
    short = system.asked[~proof.enough(system.asked, proof.low, proof.high)]
    at_most, at_least, width = (a.copy() for a in (system.at_most, system.at_least, system.width))
    at_most[short] = np.maximum(at_most[short], proof.low[short])
    at_least[short] = np.minimum(at_least[short], proof.high[short])
    width[short] = np.minimum(width[short], proof.high[short] - proof.low[short])
    proof.system = replace(system, at_most=at_most, at_least=at_least, width=width)
    return proof


def tightened(system: System, low: Floats, high: Floats) -> tuple[Floats, Floats]:
    """Bounds of every cell once each relation was read alone, again and again until nothing moves.

    A relation of which one cell is unknown gives it exactly. Whole cells get whole bounds.
    """
    terms = system.rows.tocoo()
    row: Integers = terms.row
    cell: Integers = terms.col
    factor: Floats = terms.data
    lines = system.rows.shape[0]
    for _ in range(100):
        least: Floats = np.where(factor > 0, factor * low[cell], factor * high[cell])  # of each term
        most: Floats = np.where(factor > 0, factor * high[cell], factor * low[cell])
        # The term is minus the sum of the others: bounded by theirs.
        upper = -_others(row, least, lines)
        lower = -_others(row, most, lines)
        first, second = np.where(factor > 0, lower, upper) / factor, np.where(factor > 0, upper, lower) / factor
        new_low, new_high = low.copy(), high.copy()
        np.maximum.at(new_low, cell, first)
        np.minimum.at(new_high, cell, second)
        new_low = np.where(system.whole, np.ceil(new_low - EPSILON), new_low)
        new_high = np.where(system.whole, np.floor(new_high + EPSILON), new_high)
        moved = (new_low > low + EPSILON) | (new_high < high - EPSILON)
        if not moved.any():
            break
        low, high = np.where(moved, new_low, low), np.where(moved, new_high, high)
    return np.minimum(low, system.value), np.maximum(high, system.value)


def _others(row: Integers, term: Floats, lines: int) -> Floats:
    """Sum of the other terms of the same row; infinite as soon as one of them is."""
    infinite = np.isinf(term)
    finite = np.where(infinite, 0.0, term)
    total = np.bincount(row, finite, lines)[row] - finite
    unbounded = np.bincount(row, infinite, lines)[row] - infinite
    sign = np.sign(term[infinite][0]) if infinite.any() else 1.0
    return np.where(unbounded > 0, sign * np.inf, total)


class Proof:
    """Tables that an outsider cannot tell from the true one, and the range they give to each cell.

    `low` and `high` are that range; `low_by` and `high_by` the number of the table that gives a cell its lowest and
    highest value (-1: the true one); `moved` the numbers of the tables where a cell differs from its true value.
    """

    def __init__(self, system: System, lower: Floats, upper: Floats) -> None:
        self.system, self.lower, self.upper = system, lower.copy(), upper.copy()
        self.low, self.high = system.value.copy(), system.value.copy()
        self.low_by = np.full(len(lower), -1)
        self.high_by = np.full(len(lower), -1)
        self.tables = 0
        self.moved: dict[int, list[int]] = {}

    def enough(self, cells: Integers, low: Floats, high: Floats) -> Booleans:
        """Whether [low, high] is what is asked of these cells."""
        s = self.system
        low, high = low[cells], high[cells]
        wide = high - low >= s.width[cells] - EPSILON
        return wide & (high >= s.at_least[cells] - EPSILON) & (low <= s.at_most[cells] + EPSILON)

    def lacks(self, cell: int) -> bool:
        """Whether the cell is still without proof."""
        return not self.enough(np.array([cell]), self.low, self.high)[0]

    def explore(self, cell: int, size: int, siblings: int = SIBLINGS) -> None:
        """Looks for the extreme values of a cell, those at most `size` cells around it moving, all others held.

        The same tables serve the other unproven cells around, pushed up and down by turns.
        """
        cells = around(self.system, cell, self.upper - self.lower > EPSILON, size, siblings)
        cells, matrix = core(self.system, cells)
        if cell not in cells:
            return
        wanted = ~np.isnan(self.system.width[cells]) & ~self.enough(cells, self.low, self.high)
        gain = np.where(wanted, np.where(np.arange(len(cells)) % 2, -1.0, 1.0), 0.0)
        gain[cells == cell] = FOREMOST
        low, high = self.lower[cells] - self.system.value[cells], self.upper[cells] - self.system.value[cells]
        for sign in (1.0, -1.0):
            moves = settled(-sign * gain, matrix, low, self._capped(cells, high), self.system.whole[cells])
            if moves is not None:
                self.record(cells, moves)

    def extremes(self, cell: int, *, exact: bool = False) -> tuple[float, float]:
        """Bounds of a cell, everything else moving as it may: by linear programmes and, where these leave enough or
        `exact` values are wanted, by integer ones, which are recorded."""
        s, ends = self.system, [self.lower[cell], self.upper[cell]]
        cells = around(s, cell, self.upper - self.lower > EPSILON, len(s.names), len(s.names))
        cells, matrix = core(s, cells)
        if cell not in cells:
            return s.value[cell], s.value[cell]
        room = 100 * np.nanmax(s.width) + np.abs(s.value[cells])  # infinity, for what is asked
        low, high = self.lower[cells] - s.value[cells], np.minimum(self.upper[cells] - s.value[cells], room)
        for whole in (np.zeros(len(cells), dtype=bool), s.whole[cells]):
            for end, sign in enumerate((1.0, -1.0)):
                moves = solved(sign * (cells == cell), [(matrix, 0, 0)], low, high, whole)
                if moves is not None:
                    reached = s.value[cell] + float(moves[cells == cell][0])
                    ends[end] = sign * np.ceil(sign * reached - EPSILON) if s.whole[cell] else reached
                if moves is not None and (whole == s.whole[cells]).all():
                    self.record(cells, moves)
            short = ends[1] - ends[0] < s.width[cell] or ends[1] < s.at_least[cell] or ends[0] > s.at_most[cell]
            if short and not exact:
                break
        return ends[0], ends[1]

    def _capped(self, cells: Integers, high: Floats) -> Floats:
        """No cell goes farther up than is of use: room is left for the others, and no move is infinite."""
        s = self.system
        target = np.fmax(s.at_least[cells] - s.value[cells], 0) + s.width[cells]
        free = 4 * np.nanmax(s.width) + np.abs(s.value[cells])
        return np.minimum(high, np.where(np.isnan(target), free, np.fmax(target, 0)))

    def record(self, cells: Integers, moves: Floats) -> None:
        """Keeps a table: the true one plus `moves` on `cells`."""
        changed = np.abs(moves) > EPSILON
        cells, moves = cells[changed], moves[changed]
        reached = self.system.value[cells] + moves
        lower, higher = reached < self.low[cells] - EPSILON, reached > self.high[cells] + EPSILON
        if lower.any() or higher.any():
            self.low[cells[lower]], self.low_by[cells[lower]] = reached[lower], self.tables
            self.high[cells[higher]], self.high_by[cells[higher]] = reached[higher], self.tables
            for cell in cells.tolist():
                self.moved.setdefault(cell, []).append(self.tables)
            self.tables += 1

    def users(self, cell: int) -> Integers:
        """Proven cells whose proof has `cell` move."""
        asked, tables = self.system.asked, self.moved.get(cell, [])
        users = asked[np.isin(self.low_by[asked], tables) | np.isin(self.high_by[asked], tables)]
        return users[self.enough(users, self.low, self.high)]

    def forget(self, users: Integers, cell: int) -> tuple[Any, ...]:
        """Takes from `users` what the tables where `cell` moves gave them; returns it for `restore`."""
        kept = tuple(a[users] for a in (self.low, self.high, self.low_by, self.high_by))
        for by, reached in ((self.low_by, self.low), (self.high_by, self.high)):
            lost = users[np.isin(by[users], self.moved[cell])] if len(users) else users
            by[lost], reached[lost] = -1, self.system.value[lost]
        return kept

    def restore(self, users: Integers, kept: tuple[Any, ...]) -> None:
        """Undoes `forget`."""
        self.low[users], self.high[users], self.low_by[users], self.high_by[users] = kept


def around(system: System, start: int, movable: Booleans, size: int, siblings: int) -> Integers:
    """About `size` movable cells around `start`, so that moves can close on themselves: all those that short relations
    lead to (sexes, ages, years of the same commune), then, through a long relation, `siblings` others, the nearest in
    the order of cells, and all that short relations lead to from there; and so on.
    """
    by_row, by_cell = system.rows, system.columns
    seen, done = {start: None}, set[int]()
    near, far = deque([start]), deque[tuple[int, int]]()
    while near or (far and len(seen) < size):
        if near:
            cell = near.popleft()
            rows = set(by_cell.indices[by_cell.indptr[cell] : by_cell.indptr[cell + 1]].tolist()) - done
            found: list[int] = []
            for row in sorted(rows):
                cells: Integers = by_row.indices[by_row.indptr[row] : by_row.indptr[row + 1]]
                if len(cells) <= SHORT:
                    done.add(row)
                    found += cells[movable[cells]].tolist()
                else:
                    far.append((cell, row))
        else:
            cell, row = far.popleft()
            cells = by_row.indices[by_row.indptr[row] : by_row.indptr[row + 1]]
            cells = cells[movable[cells]]
            found = cells[np.argsort(np.abs(cells - cell), kind="stable")[: siblings + 1]].tolist()
        fresh = [c for c in found if c not in seen]
        seen.update(dict.fromkeys(fresh))
        near.extend(fresh)
    return np.array(list(seen))


def core(system: System, cells: Integers) -> tuple[Integers, Any]:
    """The cells of `cells` that can move when all others keep their value, and the relations between them: a relation
    with one cell left holds it."""
    matrix = system.columns[:, cells]
    while True:
        crossed = np.bincount(matrix.indices, minlength=matrix.shape[0])
        alone = crossed[matrix.indices] == 1
        if not alone.any():
            break
        held = np.zeros(len(cells), dtype=bool)
        held[np.repeat(np.arange(len(cells)), np.diff(matrix.indptr))[alone]] = True
        cells, matrix = cells[~held], matrix[:, ~held]
    return cells, matrix[np.unique(matrix.indices), :]
