"""Sums by atom of one year of households, and the figures of territories made from them.

One row per territory; figures are exact, neither rounded nor hidden. Names are the producer's, without the
year.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl
import polars.selectors as cs

from sources.demo import measures
from sources.demo.country import Country, words
from sources.demo.households import AGE_CLASSES, COMPONENTS, Households, Year, blocks, components, taxed

LEVELS = ("COM", "ARM", "EPCI", "EPT", "ARR", "ZE", "DEP", "REG", "METRO")
LINES = {"TP40": 0.4, "TP50": 0.5, "TP60": 0.6}  # poverty lines, shares of the country's median
GROUPS = (
    *(f"AGE{k + 1}" for k in range(AGE_CLASSES)),
    "TOL1",  # owners
    "TOL2",  # tenants
)
COUNTS = ("NBMENFISC", "NBPERSMENFISC")
RATES = ("PIMP", "TP60", *(f"TP60{g}" for g in GROUPS))  # %, of households then of persons
# % of disposable income; PTSAC is wages and unemployment benefits together
SHARES = words("PACT PTSAC PTSA PCHO PBEN PPEN PPAT PPSOC PPFAM PPMINI PPLOGT PIMPOT")


@dataclass(frozen=True)
class Tally:
    """One year: its poverty threshold (euros a year), its households, and sums with one row per atom.

    `living`, `persons` and `atom` are those of the year, poorest household first, as `rank` puts them.
    """

    of: Year
    threshold: float
    rank: np.ndarray
    living: np.ndarray
    persons: np.ndarray
    atom: np.ndarray
    sums: dict[str, np.ndarray]


def numbered(of_atom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted codes of the territories given by atom, and the number of each atom's, -1 outside them ('')."""
    codes, index = np.unique(of_atom, return_inverse=True)
    return (codes[1:], index - 1) if codes[0] == "" else (codes, index)


def sums_by(of_atom: np.ndarray, columns: Mapping[str, np.ndarray]) -> pl.DataFrame:
    """Sums by territory of columns given by atom: `code`, sorted, then the columns.

    numpy adds in the order of the atoms, so that the last decimal does not depend on the machine.
    """
    codes, index = numbered(of_atom)
    kept = index >= 0
    sums = {
        name: np.bincount(index[kept], column[kept], minlength=codes.size).astype(
            np.int64 if column.dtype.kind in "iu" else np.float64
        )
        for name, column in columns.items()
    }
    return pl.DataFrame({"code": codes.tolist()} | sums)


def tally(all_of: Households, of: Year) -> Tally:
    """The sums of a year. `X_men` and `X_pers` count households and persons of X."""
    rank = np.argsort(of.living)
    living, persons = of.living[rank], of.persons[rank]
    threshold = measures.poverty_threshold(living, persons)
    atoms, p = all_of.iris_count.size, of.present

    def both(who: np.ndarray, name: str) -> dict[str, np.ndarray]:
        return _counts(of, of.atom, atoms, who, name)

    everyone = np.ones(p.size, dtype=bool)
    poor = of.living < threshold
    groups = {f"AGE{k + 1}": all_of.age[p] == k + 1 for k in range(AGE_CLASSES)}
    groups |= {"TOL1": all_of.owner[p], "TOL2": ~all_of.owner[p]}
    sums = both(everyone, "all") | both(taxed(all_of, of), "taxed")
    for line, share in LINES.items():
        sums |= both(of.living < share / measures.POVERTY_LINE * threshold, line)
    for group, inside in groups.items():
        sums |= both(inside, group) | both(inside & poor, f"{group}TP60")
    sums["uc"] = np.bincount(of.atom, all_of.uc[p], minlength=atoms)
    sums["income"] = np.bincount(of.atom, of.income, minlength=atoms)
    for _, part in blocks(of):
        for name, amount in components(all_of, part):
            for key, found in {
                name: np.bincount(part.atom, amount, minlength=atoms),
                f"{name}_men": np.bincount(part.atom[amount != 0], minlength=atoms),
            }.items():
                sums[key] = sums[key] + found if key in sums else found
    return Tally(of, threshold, rank, living, persons, of.atom[rank], sums)


def figures(country: Country, year: Tally, level: str, cog_year: int) -> pl.DataFrame:
    """Figures of the territories of one level in one geography, by code.

    Counts of households and persons; quantiles in euros a year; rates and shares in %; GI between 0 and 1;
    TP60IP, the intensity of poverty, and TP60Q2, the median of the poor, null where nobody is poor. Columns
    ending in `_men` and `_pers` are the counts on which rules of secrecy bear.
    """
    _, index = numbered(country.territory(level, cog_year))
    group = index[year.atom]
    return (
        sums_by(country.territory(level, cog_year), year.sums)
        .with_columns(pl.lit(level).alias("level"), *_ratios(), **_spread(year, group))
        .with_columns(RD=pl.col("D9") / pl.col("D1"), Q3_Q1=pl.col("Q3") - pl.col("Q1"))
    )


def _ratios() -> list[pl.Expr]:
    parts = {
        "PACT": ("PTSA", "PCHO", "PBEN"),
        "PTSAC": ("PTSA", "PCHO"),
        "PPSOC": ("PPFAM", "PPMINI", "PPLOGT"),
        **{c: (c,) for c in COMPONENTS},
    }
    rates = {"PIMP": ("taxed_men", "all_men")} | {line: (f"{line}_pers", "all_pers") for line in LINES}
    rates |= {f"TP60{g}": (f"{g}TP60_pers", f"{g}_pers") for g in GROUPS}
    shares = [(100 * pl.sum_horizontal(parts[s]) / pl.col("income")).alias(s) for s in SHARES]
    ratios = [
        pl.when(pl.col(whole) > 0).then(100 * pl.col(part) / pl.col(whole)).alias(name)
        for name, (part, whole) in rates.items()
    ]
    counts = {"NBMENFISC": "all_men", "NBPERSMENFISC": "all_pers", "NBUC": "uc"}
    return [*(pl.col(c).alias(n) for n, c in counts.items()), *shares, *ratios]


def _spread(year: Tally, group: np.ndarray) -> dict[str, pl.Series]:
    ranking = measures.Ranking(year.living, year.persons, group)
    columns = {name: ranking.quantile(q) for name, q in measures.QUANTILES.items()}
    columns["MED"] = columns["Q2"]
    columns["GI"] = ranking.gini()
    columns["S80S20"] = (1 - ranking.share_of_poorest(0.8)) / ranking.share_of_poorest(0.2)
    return {name: pl.Series(name, values) for name, values in columns.items()}


def poverty(country: Country, all_of: Households, year: Tally, level: str, cog_year: int) -> pl.DataFrame:
    """Poverty of everyone and of subgroups in the territories of one level, by code.

    For each prefix ('' for everyone, AGE1, TOL2...): TP40, TP50, TP60 in %; TP60Q2, the median of the poor in
    euros; TP60IP, the intensity, between 0 and 1; null where the subgroup is empty, or has no poor. Columns
    ending in `_men` and `_pers` count households and persons of the subgroup (`all` for everyone) and below
    each line.
    """
    codes, group = np.unique(country.territory(level, cog_year), return_inverse=True)
    group = group[year.of.atom]
    columns: dict[str, np.ndarray] = {}
    for prefix, inside in _subgroups(all_of, year.of).items():
        columns |= _counts(year.of, group, codes.size, inside, prefix or "all")
        for line, share in LINES.items():
            below = inside & (year.of.living < share / measures.POVERTY_LINE * year.threshold)
            columns |= _counts(year.of, group, codes.size, below, prefix + line)
            with np.errstate(invalid="ignore"):
                rate = 100 * columns[f"{prefix}{line}_pers"] / columns[f"{prefix or 'all'}_pers"]
            columns[prefix + line] = rate
        poor = inside & (year.of.living < year.threshold)
        median = _median(year, np.where(poor, group, -1), codes.size)
        columns |= {f"{prefix}TP60Q2": median, f"{prefix}TP60IP": 1 - median / year.threshold}
    return pl.DataFrame({"level": [level] * codes.size, "code": codes.tolist()} | columns).with_columns(
        cs.float().fill_nan(None)
    )


def _counts(of: Year, group: np.ndarray, groups: int, who: np.ndarray, name: str) -> dict[str, np.ndarray]:
    return {
        f"{name}_men": np.bincount(group[who], minlength=groups),
        f"{name}_pers": np.bincount(group[who], of.persons[who], minlength=groups).astype(np.int64),
    }


def _subgroups(all_of: Households, of: Year) -> dict[str, np.ndarray]:
    """Households of each subgroup, by prefix: age of the referent, size, tenure, family, main income."""
    p = of.present
    kids, couple = all_of.children[:, p].sum(axis=0), all_of.couple[p]
    owner, luck, size = all_of.owner[p], all_of.luck[p], of.persons
    main = _main_income(all_of, of)
    alone, single = ~couple & (kids == 0), ~couple & (kids > 0)
    return {
        "": np.ones(p.size, dtype=bool),
        **{f"AGE{k + 1}": all_of.age[p] == k + 1 for k in range(AGE_CLASSES)},
        **{f"TME{k}": size == k if k < 5 else size >= 5 for k in range(1, 6)},
        "TOL1": owner,
        "TOL2": ~owner,
        "TLD2": ~owner & (luck < 0.55),
        "TLD3": ~owner & (luck >= 0.55),
        "TYM1": alone & (luck < 0.45),
        "TYM2": alone & (luck >= 0.45),
        "TYM3": couple & (kids == 0),
        "TYM4": couple & (kids > 0),
        "TYM5": single & (luck >= 0.05),
        "TYM6": single & (luck < 0.05),
        **{f"OPR{k + 1}": main == k for k in range(5)},
        "OPR6": np.zeros(p.size, dtype=bool),
    }


def _main_income(all_of: Households, of: Year) -> np.ndarray:
    """Rank of the largest of the first five components of income of each household, the first where two are equal."""
    main = np.zeros(of.present.size, dtype=np.int8)
    for place, part in blocks(of):
        main[place] = np.argmax([amount for _, amount in islice(components(all_of, part), 5)], axis=0)
    return main


def _median(year: Tally, group: np.ndarray, groups: int) -> np.ndarray:
    """Median standard of living of the households given a group (not negative), nan for empty groups."""
    ranked = group[year.rank]
    present, inverse = np.unique(ranked[ranked >= 0], return_inverse=True)
    median = np.full(groups, np.nan)
    if present.size:
        ranked[ranked >= 0] = inverse
        median[present] = measures.Ranking(year.living, year.persons, ranked).quantile(0.5)
    return median
