"""`python -m bench.disclosure [attaques|cout|departement|region ...]`: disclosure control on a generated country.

Prints Markdown. attaques: the demo country (300 communes, three levels, sex, age, five years and their total) protected
and attacked with everything published; then, on a smaller one, the same attack with each protection switched off in
turn. cout: what is withheld beyond the rule, against the optimum where a solver finds it and a greedy method.
departement, region: time and memory of protection and audit. The country is drawn here, the same at each run.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from methods.audit import attainable, audit, tightened
from methods.register import published, versioned, with_history
from methods.suppression import costs, optimum, primary_counts, protect, rule_of, show_in_turn, with_withheld
from methods.tables import (
    CELLS,
    HIDDEN,
    PUBLISHABLE,
    SECONDARY,
    TOLD,
    System,
    cells_of,
    identified,
    judged,
    relations_of,
    sums_of,
    system_of,
)

DIMENSIONS = ("territory", "sex", "age", "year")
RULE = rule_of("S_11")
TOTAL = "T"
OFF = {  # label -> kinds of relations forgotten when cells were withheld
    "sans les marges des départements": ("dep",),
    "sans les marges des EPCI": ("epci",),
    "sans les marges de sexe": ("sex",),
    "sans les marges d'âge": ("age",),
    "sans le total des années": ("year",),
}
SMALL = {"years": 3, "epci": 10, "departement": 15}
Frames = tuple[pl.DataFrame, pl.DataFrame]  # cells, relations


@dataclass(frozen=True)
class Country:
    """Counts of a fictional benefit: cells, and relations by kind (epci, dep, region, sex, age, year)."""

    cells: pl.DataFrame
    relations: dict[str, pl.DataFrame]

    def without(self, *kinds: str) -> pl.DataFrame:
        """Relations of every other kind."""
        return pl.concat([r for k, r in self.relations.items() if k not in kinds])


def country(
    communes: int,
    years: int = 5,
    ages: int = 3,
    seed: int = 1,
    epci: int = 20,
    departement: int = 100,
    corrections: float = 0.0,
) -> Country:
    """Gamma-Poisson counts, many of them small, under a population known to all (`upper`).

    epci, departement: communes of each; a département begins in the middle of an EPCI. corrections: share of the counts
    drawn again.
    """
    rng = np.random.default_rng(seed)
    shape = (communes, 2, ages, years)
    size = rng.lognormal(5.0, 1.3, communes)[:, None, None]
    population = np.broadcast_to(np.ceil(size * rng.dirichlet(np.full(ages, 5.0), (communes, 2)))[..., None], shape)
    rate = rng.gamma(2.0, 0.04, shape[:3])[..., None] * rng.gamma(100.0, 0.01, shape)
    counts = np.minimum(rng.poisson(rate * population), population)
    again = np.minimum(rng.poisson(rate * population), population)
    counts = np.where(rng.random(shape) < corrections, again, counts)
    commune, sex, age, year = (index.ravel() for index in np.indices(shape))
    leaves = pl.DataFrame(
        {
            "territory": [f"C{c:05d}" for c in commune],
            "epci": [f"E{c // epci:03d}" for c in commune],
            "dep": [f"D{(c + epci // 2) // departement:02d}" for c in commune],
            "sex": [("F", "M")[s] for s in sex],
            "age": [f"A{a}" for a in age],
            "year": [f"{2019 + y}" for y in year],
            "value": counts.ravel().astype(float),
            "upper": population.ravel().astype(float),
        }
    ).with_columns(region=pl.lit("R"))
    levels = [leaves.with_columns(territory=level) for level in ("territory", "epci", "dep", "region")]
    frame = pl.concat([level.select(*DIMENSIONS, "value", "upper") for level in levels])
    for dimension, number in (("sex", 2), ("age", ages), ("year", years)):
        if number > 1:
            frame = pl.concat([frame, frame.with_columns(pl.lit(TOTAL).alias(dimension))])
    frame = frame.group_by(DIMENSIONS).agg(pl.col("value", "upper").sum()).sort(DIMENSIONS)
    frame = identified(frame, DIMENSIONS)
    return Country(cells_of(frame), {k: relations_of(frame, DIMENSIONS, b) for k, b in _breakdowns(leaves).items()})


def _breakdowns(leaves: pl.DataFrame) -> dict[str, dict[str, pl.DataFrame]]:
    """Kind of relation -> dimension -> its breakdown."""
    found: dict[str, dict[str, pl.DataFrame]] = {}
    levels = (("epci", "epci", "territory"), ("dep", "dep", "territory"), ("region", "region", "dep"))
    for kind, parent, child in levels:
        pairs = leaves.select(breakdown=pl.lit(kind), parent=parent, child=child).unique().sort("child")
        found[kind] = {"territory": pairs}
    for kind in ("sex", "age", "year"):
        children = leaves[kind].unique().sort()
        pairs = pl.DataFrame({"child": children}).with_columns(breakdown=pl.lit(kind), parent=pl.lit(TOTAL))
        found[kind] = {kind: pairs}
    return found


def protected(cells: pl.DataFrame, relations: pl.DataFrame) -> pl.DataFrame:
    """Cells after secondary suppression."""
    return judged(cells, protect(system_of(cells, relations)))


def attacked(cells: pl.DataFrame, relations: pl.DataFrame) -> list[str]:
    """What an outsider who holds everything published learns of the cells to protect, as printed."""
    system = system_of(cells, relations)
    low, high = tightened(system, *system.bounds(np.isin(system.status, HIDDEN)))
    found = audit(system)
    alone = int((high - low < 0.5)[system.asked].sum())
    exact = found.filter(pl.col("upper") - pl.col("lower") < 0.5).height
    return [f"{found.height}", f"{alone}", f"{exact}", f"{found.filter(~pl.col('ok')).height}"]


def attacks() -> None:
    """The demo country with every protection; then each one off in turn, on a smaller country."""
    row("protections", "cellules", "masquées (dont secondaires)", "à protéger", "trouvées par différences",
        "trouvées exactement", "trop resserrées", "s", "mémoire")  # fmt: skip
    row(*["---"] * 9)
    attack("toutes, 300 communes, 5 ans", whole(country(300)))
    small = country(40, **SMALL)
    cells, everything = primary_counts(small.cells, RULE), small.without()
    attack("toutes, 40 communes, 3 ans", whole(small))
    attack("sans secret secondaire", lambda: (cells, everything))
    for label, kinds in OFF.items():
        attack(label, lambda kinds=kinds: (protected(cells, small.without(*kinds)), everything))
    again = country(40, **SMALL, corrections=0.1)
    attack("deux diffusions, registre tenu", lambda: corrected(small, again, register=True))
    attack("deux diffusions, sans registre", lambda: corrected(small, again, register=False))
    attack("taux des effectifs masqués publiés", lambda: (with_rates(protected(cells, everything)), everything))
    attack("20 périmètres, contrôlés", lambda: with_perimeters(small, control=True))
    attack("20 périmètres, sans contrôle", lambda: with_perimeters(small, control=False))


def whole(drawn: Country) -> Callable[[], Frames]:
    """A country under every protection, to be made."""
    return lambda: (protected(primary_counts(drawn.cells, RULE), drawn.without()), drawn.without())


def attack(label: str, make: Callable[[], Frames]) -> None:
    """One line: what was made, what was learnt of it."""
    start = time.perf_counter()
    cells, relations = make()
    hidden = cells.filter(pl.col("status").is_in(HIDDEN)).height
    secondary = cells.filter(pl.col("status") == "D").height
    learnt = attacked(cells, relations)
    row(label, f"{cells.height}", f"{hidden} ({secondary})", *learnt, f"{time.perf_counter() - start:.0f}", memory())


def corrected(drawn: Country, again: Country, *, register: bool) -> Frames:
    """Two releases of a country, some counts corrected in between."""
    nothing = pl.DataFrame(schema={"cell": pl.String, "value": pl.Float64, "version": pl.Int64})
    former = drawn.cells.select("cell", "value", version=1)
    first = versioned(primary_counts(drawn.cells, RULE), drawn.without(), nothing)
    second = versioned(primary_counts(again.cells, RULE), again.without(), former)
    return two_releases(first, second, register=register)


def two_releases(first: Frames, second: Frames, *, register: bool) -> Frames:
    """Both releases as an outsider holds them; the second was protected knowing of the first, or not."""
    (cells, sums), (new_cells, new_sums) = first, second
    cells = protected(cells, sums)
    if not register:
        new_cells = protected(new_cells, new_sums)
    both, all_sums = with_history(new_cells, new_sums, published(cells), sums)
    return (judged(both, protect(attainable(system_of(both, all_sums)))) if register else both), all_sums


def with_rates(cells: pl.DataFrame) -> pl.DataFrame:
    """The same cells when the rate of each withheld count is printed, to the tenth of a percent of its population."""
    rate = (1000 * pl.col("value") / pl.col("upper")).round() / 1000
    hidden = pl.col("status").is_in(HIDDEN) & (pl.col("upper") > 0)
    return cells.with_columns(
        lower=pl.when(hidden).then(pl.max_horizontal("lower", (rate - 0.0005) * pl.col("upper"))).otherwise("lower"),
        upper=pl.when(hidden).then(pl.min_horizontal("upper", (rate + 0.0005) * pl.col("upper"))).otherwise("upper"),
    )


def with_perimeters(drawn: Country, *, control: bool) -> Frames:
    """The same when totals of twenty sets of neighbouring communes are published, those refused left out or not."""
    cells, relations = protected(primary_counts(drawn.cells, RULE), drawn.without()), drawn.without()
    rng = np.random.default_rng(2)
    parts = pl.DataFrame(
        [
            (f"P{p:02d}", f"C{first + k:05d}|T|T|2021")
            for p in range(20)
            for first in [int(rng.integers(0, 34))]
            for k in range(int(rng.integers(2, 7)))
        ],
        schema=["perimeter", "cell"],
        orient="row",
    )
    totals = parts.join(cells, on="cell").group_by(cell="perimeter").agg(pl.col("value").sum())
    own = primary_counts(cells_of(totals), RULE)
    sums = sums_of(parts.select(total="perimeter", part="cell"))
    if control:
        free = own["status"] == PUBLISHABLE
        waiting = own.with_columns(status=pl.when(free).then(pl.lit(SECONDARY)).otherwise("status"))
        both = pl.concat([cells.select(*CELLS), waiting.select(*CELLS)])
        shown = show_in_turn(system_of(both, pl.concat([relations, sums])), sorted(own.filter(free)["cell"]))
        kept = {name for name, status in zip(shown.names, shown.status, strict=True) if status == PUBLISHABLE}
        own, parts = own.filter(pl.col("cell").is_in(kept)), parts.filter(pl.col("perimeter").is_in(kept))
    told = own.select(*CELLS).with_columns(status=pl.lit(TOLD))
    sums = sums_of(parts.select(total="perimeter", part="cell"))
    return pl.concat([cells.select(*CELLS), told]), pl.concat([relations, sums])


def cost() -> None:
    """Loss and share withheld beyond the rule, on forty small tables, against the optimum and a greedy method."""
    results: dict[str, list[tuple[float, float, float, float, float]]] = {"optimum": [], "protect": [], "glouton": []}
    for seed in range(40):
        drawn = country(6, years=1, ages=1, seed=seed, epci=3, departement=5)
        system = system_of(primary_counts(drawn.cells, RULE), drawn.without())
        for name, method in (("optimum", optimum), ("protect", protect), ("glouton", greedy)):
            start = time.perf_counter()
            pattern = method(system)
            elapsed = time.perf_counter() - start
            added = pattern.status == "D"
            lost = costs(system)[added].sum(), added.mean(), system.value[added].sum() / system.value.sum()
            results[name].append((*lost, (~audit(pattern)["ok"]).sum(), elapsed))
    row("méthode", "perte", "cellules secondaires", "valeur secondaire", "cellules mal protégées", "s par table")
    row(*["---"] * 6)
    for name, lines in results.items():
        loss, share, value, bad, elapsed = np.array(lines).T
        row(
            name,
            f"{loss.sum():.0f}",
            f"{share.mean():.1%}",
            f"{value.mean():.1%}",
            f"{bad.sum():.0f}",
            f"{elapsed.mean():.2f}",
        )


def greedy(system: System) -> System:
    """The smallest shown cell of each relation that has one withheld cell, then around whatever the audit finds."""
    withheld: set[int] = set()
    while True:
        pattern = with_withheld(system, sorted(withheld))
        hidden = np.isin(pattern.status, HIDDEN)
        rows = [system.rows.indices[a:b] for a, b in pairwise(system.rows.indptr)]
        exposed = [r for r in rows if hidden[r].sum() == 1]
        if not exposed:
            failed = audit(pattern).filter(~pl.col("ok"))["cell"].to_list()
            exposed = [r for r in rows if any(system.names[i] in failed for i in r)]
        new = {min(free, key=lambda i: system.value[i]) for r in exposed if len(free := r[pattern.status[r] == "V"])}
        if not new:
            return pattern
        withheld |= new


def scale(label: str, communes: int) -> None:
    """Time and memory of a table of one year, sex and age crossed (3 x 7 = 21 cells a commune)."""
    drawn = country(communes, years=1, ages=6)
    cells, relations = primary_counts(drawn.cells, RULE), drawn.without()
    start = time.perf_counter()
    system = protect(system_of(cells, relations))
    middle = time.perf_counter()
    found = audit(system)
    end = time.perf_counter()
    print(
        f"{label} : {cells.height} cellules, {found.height} à protéger, {int((system.status == 'D').sum())} secondaires"
        f" ; protection {middle - start:.0f} s, audit {end - middle:.0f} s, {int((~found['ok']).sum())} mal protégée(s)"
        f", {memory()} au plus"
    )


def memory() -> str:
    """The most this process has held so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} Mo"


def row(*texts: str) -> None:
    print("|", " | ".join(texts), "|", flush=True)


PARTS: dict[str, Callable[[], None]] = {
    "attaques": attacks,
    "cout": cost,
    "departement": lambda: scale("département de 200 communes", 200),
    "region": lambda: scale("région de 1 300 communes", 1_300),
}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
