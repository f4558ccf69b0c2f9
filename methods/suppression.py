"""Which figures to withhold: primary suppression (rules as data), then secondary suppression over linked tables.

Primary: a count below the threshold of its owner, never below the legal one; an amount of too few contributors, or of
which one holds too much. Secondary: the cheapest other cells to withhold so that every primary one is protected, as
methods.audit says it. `optimum` finds the cheapest pattern (mixed integer programme of Fischetti and Salazar, 2001),
on small tables; `protect` takes the cells to protect one after the other, each by a linear programme on the cells
around it (Kelly, Golden and Assad, 1992; Castro, 2012), then gives back what proved superfluous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from methods.audit import FAR, NEAR, SIBLINGS, Proof, around, attainable, core, proven, tightened
from methods.tables import (
    DOMINANCE,
    EPSILON,
    FREQUENCY,
    HIDDEN,
    PRODUCER,
    PUBLISHABLE,
    SECONDARY,
    TOLD,
    Booleans,
    Constraint,
    Floats,
    Integers,
    System,
    TableError,
    settled,
    solved,
    sparse,
)

USERS = 60  # a withheld cell on which more proofs rest is not given back: too long to prove them otherwise
PATIENCE = 600.0  # seconds, of the exact programme
SAFETY = 0.10  # of the amount of too few contributors, either side: MAN(10), the default of INSEE's rtauargus


@dataclass(frozen=True)
class Rule:
    """What an owner asks. threshold: units below which nothing is shown. dominance: share of an amount that no single
    contributor may exceed. zeros_shown: whether a zero may be published; then whatever is withheld is known to be at
    least 1."""

    threshold: float
    dominance: float = 0.85
    zeros_shown: bool = False


# The least the law or the convention asks (DOMAIN.md 4.1 and 4.2).
LEGAL = {"S_11": Rule(11), "S_5": Rule(5)}


def rule_of(secrecy_rule: str, threshold: float | None = None, *, zeros_shown: bool = False) -> Rule:
    """The rule of an owner: the legal one, its threshold moved upwards only. Raises TableError."""
    legal = LEGAL[secrecy_rule]
    if threshold is not None and threshold < legal.threshold:
        raise TableError(
            f"Seuil de secret {threshold:g} refusé : la règle {secrecy_rule} impose au moins {legal.threshold:g}."
        )
    return replace(legal, threshold=threshold or legal.threshold, zeros_shown=zeros_shown)


def primary_counts(cells: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """Counts with their status and what their protection asks (columns of tables.CELLS).

    A count below the threshold is withheld: the outsider's interval must be as wide as the threshold and reach it. Less
    is asked only where the population alone says more. A producer's mask stays and asks as much. A zero is small like
    any other count, unless the rule shows zeros.
    """
    zero = (pl.col("value") == 0) & rule.zeros_shown
    small = pl.col("value") < rule.threshold
    masked = pl.col("value").is_null()
    positive = ~zero & ~masked & rule.zeros_shown
    free = pl.col("status") == PUBLISHABLE
    cells = cells.with_columns(
        lower=pl.when(positive).then(pl.max_horizontal("lower", 1.0)).otherwise("lower"),
        status=pl.when(free & masked)
        .then(pl.lit(PRODUCER))
        .when(free & zero)
        .then(pl.lit(TOLD))
        .when(free & small)
        .then(pl.lit(FREQUENCY))
        .otherwise("status"),
    )
    asked = pl.col("status").is_in([FREQUENCY, PRODUCER])
    limit = pl.lit(rule.threshold)
    return cells.with_columns(
        at_most=pl.when(asked & masked).then("upper").when(asked).then(pl.max_horizontal(limit - 1, "lower")),
        at_least=pl.when(asked).then(pl.min_horizontal(limit, "upper")),
        width=pl.when(asked).then(pl.min_horizontal(limit, pl.col("upper") - pl.col("lower"))),
    )


def primary_unknowns(system: System, threshold: float, among: Booleans) -> System:
    """The same system, asking protection for the counts that nobody holds (parts without a row, those of `among`) of
    which all the rest, shown, would say that they are below the threshold: what is left of a département without its
    deposited EPCI. Sums are read one at a time, so parts in the same sums must be `tables.merged`; a count that only
    several sums together would still tell is not seen.
    """
    s = system
    masked = (s.status == PRODUCER) & among
    _, high = tightened(s, *s.bounds(s.status == PRODUCER))
    small = masked & np.isnan(s.width) & (high < threshold) & (s.upper > high)
    upper = np.minimum(threshold, s.upper)
    return replace(
        s,
        at_most=np.where(small, threshold - 1, s.at_most),
        at_least=np.where(small, upper, s.at_least),
        width=np.where(small, upper - s.lower, s.width),
    )


def primary_amounts(cells: pl.DataFrame, rule: Rule) -> pl.DataFrame:
    """Amounts with their status and what their protection asks. cells: also `contributors` and `largest` (the largest
    contribution, same unit).

    Dominance (1, k): the interval must reach largest / k above the amount itself, and as far below (upper protection
    level of the rule, Hundepool et al., 2012, table 4.2). Raises TableError where the largest contributor is unknown.
    """
    unknown = pl.col("largest").is_null() | pl.col("contributors").is_null()
    blind = cells.filter(pl.col("value").is_not_null() & unknown)
    if blind.height:
        raise TableError(
            f"Montant refusé : {blind['cell'][0]} ({blind.height} cellule(s)) sans plus gros contributeur ou sans"
            " nombre de contributeurs ; la dominance ne peut pas être vérifiée. À faire : ajouter les deux colonnes."
        )
    free = pl.col("status") == PUBLISHABLE
    few = pl.col("contributors") < rule.threshold
    dominated = pl.col("largest") > rule.dominance * pl.col("value")
    cells = cells.with_columns(
        status=pl.when(free & pl.col("value").is_null())
        .then(pl.lit(PRODUCER))
        .when(free & dominated)
        .then(pl.lit(DOMINANCE))
        .when(free & few)
        .then(pl.lit(FREQUENCY))
        .otherwise("status"),
        margin=pl.max_horizontal(
            pl.when(dominated).then(pl.col("largest") / rule.dominance - pl.col("value")),
            pl.when(few).then(SAFETY * pl.col("value")),
        ),
    )
    asked = pl.col("status").is_in([FREQUENCY, DOMINANCE])
    return (
        cells.with_columns(
            at_most=pl.when(asked).then(pl.max_horizontal(pl.col("value") - pl.col("margin"), "lower")),
            at_least=pl.when(asked).then(pl.min_horizontal(pl.col("value") + pl.col("margin"), "upper")),
        )
        .with_columns(width=pl.col("at_least") - pl.col("at_most"))
        .drop("margin")
    )


def costs(system: System) -> Floats:
    """What withholding each cell loses: the square root of its value (Box-Cox of 1/2, as tau-Argus offers)."""
    return np.sqrt(np.abs(system.value)) + 1.0


def protect(system: System) -> System:
    """The same system, other cells withheld (D) so that those that ask for it are protected.

    A cell that nothing can protect (told by an earlier release, or by the population) stays without: the audit says so.
    """
    s = system
    proof = Proof(s, *s.bounds(np.isin(s.status, HIDDEN)))
    candidate = s.status == PUBLISHABLE
    withheld: dict[int, int] = {}
    for cell in s.asked:
        if proof.lacks(cell):
            proof.explore(cell, NEAR)
        for size in (NEAR, FAR, len(s.names)):
            if proof.lacks(cell):
                new = _move(proof, cell, candidate, size)
                candidate[new] = False
                withheld |= dict.fromkeys(new.tolist(), cell)
    _give_back(proof, withheld)
    return with_withheld(s, list(withheld))


def with_withheld(system: System, cells: Sequence[int]) -> System:
    """The same system, these cells withheld to protect others."""
    status = system.status.copy()
    status[list(cells)] = SECONDARY
    return replace(system, status=status)


def _move(proof: Proof, cell: int, candidate: Booleans, size: int) -> Integers:
    """Withholds the cheapest candidates, among `size` cells around, that let `cell` go as far as is asked; gives which
    (none where the cells already withheld are enough, or where there is no way)."""
    s, left = proof.system, candidate.copy()
    movable = candidate | (proof.upper - proof.lower > EPSILON)
    cells, matrix = core(s, around(s, cell, movable, size, SIBLINGS if size < len(s.names) else size))
    place = np.flatnonzero(cells == cell)
    if not len(place):
        return place
    low, high = np.where(candidate, s.lower, proof.lower), np.where(candidate, s.upper, proof.upper)
    room = low[cells] - s.value[cells], high[cells] - s.value[cells]
    for target in _targets(proof, cell):
        if proof.low[cell] - EPSILON <= target <= proof.high[cell] + EPSILON or not proof.lacks(cell):
            continue
        cost = np.where(left, costs(s), 0.0)[cells]
        moves = _cheapest(matrix, *room, cost, int(place[0]), target - s.value[cell], s.whole[cells])
        if moves is None:
            continue
        found = cells[(np.abs(moves) > EPSILON) & left[cells]]
        proof.lower[found], proof.upper[found], left[found] = s.lower[found], s.upper[found], False
        proof.record(cells, moves)
    return np.flatnonzero(candidate & ~left)


def _targets(proof: Proof, cell: int) -> list[float]:
    """Values that a cell should be able to take, in the order of trying: up by all that is missing; then up as little
    as may be, and down by the rest."""
    s = proof.system
    far = min(max(s.at_least[cell], proof.low[cell] + s.width[cell]), s.upper[cell])
    near = min(max(s.at_least[cell], proof.high[cell]), s.upper[cell])
    return [far, min(s.at_most[cell], far - s.width[cell]), near, min(s.at_most[cell], near - s.width[cell])]


def _cheapest(
    matrix: Any, low: Floats, high: Floats, cost: Floats, place: int, move: float, whole: Booleans
) -> Floats | None:
    """The moves that keep every relation, bring the cell at `place` by `move`, and cost the least: each cell costs in
    proportion of the way it goes, all of it when it goes as far as `move` or as it can. None where there are none."""
    reach = 4 * abs(move)
    up, down = np.clip(high, 0, reach), np.clip(-low, 0, reach)
    up[place], down[place] = max(move, 0), max(-move, 0)
    least = np.zeros(2 * len(cost))
    least[[place, place + len(cost)]] = up[place], down[place]
    most = np.concatenate([up, down])
    unit = np.tile(cost, 2) / np.clip(most, EPSILON, abs(move))
    sums = sparse.hstack([matrix, -matrix], format="csc")
    found = settled(unit + EPSILON, sums, least, most, np.tile(whole, 2))
    return None if found is None else found[: len(cost)] - found[len(cost) :]


def _give_back(proof: Proof, withheld: dict[int, int]) -> None:
    """Shows again each withheld cell, the dearest first, that the proofs can do without.

    withheld: cell -> the cell it was withheld for, which is tried first.
    """
    s = proof.system
    cost, printed = costs(s), s.bounds(np.zeros(len(s.names), dtype=bool))
    for cell in sorted(withheld, key=lambda c: (-cost[c], c)):
        users = proof.users(cell)
        if len(users) > USERS:
            continue
        users = users[np.argsort(users != withheld[cell], kind="stable")]
        if _shown(proof, cell, users, printed, (NEAR,)):
            del withheld[cell]


def _shown(proof: Proof, cell: int, users: Integers, printed: tuple[Floats, Floats], sizes: Sequence[int]) -> bool:
    """Shows a withheld cell, as `printed`, if each of `users`, whose proof has it move, is proven without; whether it
    could be."""
    held, kept = (proof.lower[cell], proof.upper[cell]), proof.forget(users, cell)
    proof.lower[cell], proof.upper[cell] = printed[0][cell], printed[1][cell]
    for user in users:
        for size in sizes:
            if proof.lacks(user):
                proof.explore(user, size)
        if proof.lacks(user):
            proof.restore(users, kept)
            proof.lower[cell], proof.upper[cell] = held
            return False
    return True


def show_in_turn(system: System, names: Sequence[str]) -> System:
    """The same system, each of these withheld cells shown (V) in its turn if no protected cell loses by it.

    This is how figures that nobody owes to anybody are admitted (those of perimeters): after all others, without
    withholding any other, an admitted one counting for those that follow. A protected cell asks for no more than what
    the other figures leave of it.
    """
    hidden = np.isin(system.status, HIDDEN)
    low, high = system.bounds(hidden)
    cells = [system.names.index(name) for name in names]
    reached = [around(system, cell, high - low > EPSILON, len(hidden), len(hidden)) for cell in cells]
    concerned = np.isin(np.arange(len(hidden)), np.concatenate([np.array([], dtype=np.int64), *reached]))
    proof = proven(replace(system, width=np.where(concerned, system.width, np.nan)), hidden)
    printed, status = system.bounds(np.zeros(len(hidden), dtype=bool)), system.status.copy()
    for cell in cells:
        if _shown(proof, cell, proof.users(cell), printed, (NEAR, FAR)):
            status[cell] = PUBLISHABLE
    return replace(proof.system, status=status, width=np.where(concerned, proof.system.width, system.width))


def protect_in_turn(system: System, perimeters: Sequence[str]) -> System:
    """The same system, protected: first as if there were no perimeter (`perimeters`: their cells, in the order of
    definition), so that none costs a figure to a territory; then with those of their figures that may be shown, in
    their turn."""
    waiting = np.isin(system.names, list(perimeters)) & (system.status != TOLD)
    free = waiting & (system.status == PUBLISHABLE)
    rows = system.rows[np.flatnonzero(abs(system.rows) @ waiting == 0)]
    nothing = np.where(waiting, np.nan, system.width)
    alone = np.where(waiting, SECONDARY, system.status)
    done = protect(attainable(replace(system, rows=rows, columns=rows.tocsc(), status=alone, width=nothing)))
    both = replace(
        system,
        status=np.where(waiting & ~free, system.status, done.status),
        at_most=np.where(waiting, system.at_most, done.at_most),
        at_least=np.where(waiting, system.at_least, done.at_least),
        width=np.where(waiting, system.width, done.width),
    )
    places = dict(zip(system.names, free, strict=True))
    return show_in_turn(both, [name for name in perimeters if places[name]])


def optimum(system: System) -> System:
    """The same system under the cheapest pattern that protects every cell that asks for it. For small tables.

    One integer programme: which cells to withhold, and for each protected cell two tables of the outsider. Raises
    TableError where no pattern protects them all, or none was proved the cheapest in time.
    """
    s = system
    hidden, candidate = np.isin(s.status, HIDDEN), s.status == PUBLISHABLE
    cells, matrix = core(s, np.flatnonzero(hidden | candidate))
    asked = np.flatnonzero(~np.isnan(s.width[cells]))
    if not len(s.asked):
        return s
    tables, size, chosen = 2 * len(asked), len(cells), candidate[cells]
    reach = 4 * np.nanmax(s.width) + s.value[cells]
    low = np.maximum(s.lower[cells] - s.value[cells], -reach)
    high = np.minimum(s.upper[cells] - s.value[cells], reach)
    # Variables: whether each cell is withheld, then the moves of each cell in each table.
    sums = sparse.block_diag([sparse.csr_array((1, size)), *[matrix] * tables], format="csc")
    alike, moves = np.ones((tables, 1)), sparse.eye_array(tables * size)
    below = sparse.hstack([sparse.kron(alike, sparse.diags_array(-high)), moves], format="csc")
    above = sparse.hstack([sparse.kron(alike, sparse.diags_array(-low)), moves], format="csc")
    found = solved(
        np.concatenate([np.where(chosen, costs(s)[cells], 0), np.zeros(tables * size)]),
        [(sums, 0, 0), (below, -np.inf, 0), (above, 0, np.inf), *_protections(s, cells, asked)],
        np.concatenate([np.where(chosen, 0.0, 1.0), np.tile(low, tables)]),
        np.concatenate([np.ones(size), np.tile(high, tables)]),
        np.concatenate([np.ones(size, dtype=bool), np.tile(s.whole[cells], tables)]),
        PATIENCE,
    )
    if found is None:
        raise TableError("Aucun ensemble de cellules masquées ne protège toutes les cellules confidentielles.")
    return with_withheld(s, cells[chosen & (found[:size] > 0.5)].tolist())


def _protections(system: System, cells: Integers, asked: Integers) -> list[Constraint]:
    """What each protected cell asks of its two tables: the first high enough, the second low enough, and far apart."""
    size, count = len(cells), len(asked)
    at, order = cells[asked], np.arange(count)
    shape = (count, size * (1 + 2 * count))
    first = sparse.csr_array((np.ones(count), (order, size * (1 + 2 * order) + asked)), shape)
    second = sparse.csr_array((np.ones(count), (order, size * (2 + 2 * order) + asked)), shape)
    return [
        (first, system.at_least[at] - system.value[at], np.inf),
        (second, -np.inf, system.at_most[at] - system.value[at]),
        (first - second, system.width[at], np.inf),
    ]
