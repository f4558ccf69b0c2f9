"""What is known of the fictional country: exact figures, hidden cells, changes of code. Ground truth for
tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np
import polars as pl

from sources.demo.country import Country, words
from sources.demo.files_filosofi import POVERTY, SPREAD
from sources.demo.tally import SHARES, sums_by

# The producer's names (without the year) -> the core's.
_AGES = ("lt30", "30t39", "40t49", "50t59", "60t74", "ge75")
_GROUPS = {
    **{f"AGE{i}": f"rf_{a}" for i, a in enumerate(_AGES, 1)},
    **{f"TME{i}": f"taille_{i}" for i in range(1, 5)},
    "TME5": "taille_5p",
    "TOL1": "prop",
    "TOL2": "loc",
    "TLD2": "loc_social",
    "TLD3": "loc_prive",
    "TYM1": "homme_seul",
    "TYM2": "femme_seule",
    "TYM3": "couple_sans_enfant",
    "TYM4": "couple_avec_enfant",
    "TYM5": "monoparentale",
    "TYM6": "complexe",
    "OPR1": "source_salaires",
    "OPR2": "source_chomage",
    "OPR3": "source_independant",
    "OPR4": "source_pensions",
    "OPR5": "source_patrimoine",
    "OPR6": "source_nulle",
}
_POOR = {
    "TP40": "tp40",
    "TP50": "tp50",
    "TP60": "tp60",
    "TP60Q2": "tp60_median_pauvres",
    "TP60IP": "tp60_intensite",
}
FILOSOFI = {
    "NBMENFISC": "nb_men",
    "NBPERSMENFISC": "nb_pers",
    "NBUC": "nb_uc",
    "MED": "med",
    "PIMP": "pimp",
    "TP60": "tp60",
    **{f"TP60{g}": f"tp60_{name}" for g, name in _GROUPS.items() if g[:3] in ("AGE", "TOL")},
    **{s: s.lower() for s in (*SHARES, *SPREAD, "RD") if s != "GI"},
    "GI": "gini",
}
POOR = {f"{g}{base}": f"{name}_{_GROUPS[g]}" if g else name for g in POVERTY for base, name in _POOR.items()}
CENSUS = {n: n.lower() for n in words("POP MEN LOG RP RSECOCC LOGVAC RP_PROP EMPLT EMPLT_SAL POP1564 CHOM1564 ACT1564")}
REGISTERS = {
    "NAISD20": ("naissances", 2020),
    "DECESD20": ("deces", 2020),
    "NAIS1318": ("naissances_periode", 2018),
    "DECE1318": ("deces_periode", 2018),
}
POPULATIONS = {"PMUN": "pmun", "PCAP": "pcap", "PTOT": "ptot"}
CAF = {
    "A": "alloc",
    "PERCOU": "personnes",
    "AI": "isoles",
    "AM": "mono",
    "ACSSENF": "couple_sans_enfant",
    "ACAVENF": "couple_avec_enfant",
    "AC3ENF": "couple_3_enfants",
    "ENF": "enfants",
    "ENF_2": "enfants_0_2",
    "ENF_3_5": "enfants_3_5",
    "ENF_6_10": "enfants_6_10",
    "ENF_11_14": "enfants_11_14",
    "ENF_15_17": "enfants_15_17",
    "ENF_18_24": "enfants_18_24",
    "A_ETUD": "etudiants",
    "A_NETUD_24": "non_etudiants_lt25",
    "AAL": "aal",
    "AAPL": "aapl",
    "AAAH": "aah",
    "APPA": "ppa",
    "ARSAS": "rsa",
    "APRES50": "prestations_50",
    "APRES100": "prestations_100",
}
PAYMENTS = {
    "indfoy_rsa": "rsa",
    "indmtt_rsa": "rsa_montant",
    "indfoy_ppa": "ppa",
    "indmtt_ppa": "ppa_montant",
}
PERCENT = ("tp60_intensite",)  # printed as a proportion, kept in percent

VALUES = {
    "cog_year": pl.Int16,
    "level": pl.String,
    "code": pl.String,
    "year": pl.Int16,
    "variable": pl.String,
    "value": pl.Float64,
}
MASKED = {
    "source_id": pl.String,
    "edition": pl.String,
    "level": pl.String,
    "code": pl.String,
    "year": pl.Int16,
    "variable": pl.String,
    "reason": pl.String,
}


@dataclass(frozen=True)
class Part:
    """Exact figures of one year in one geography: level, code, then the core's variables."""

    cog_year: int
    year: int
    wide: pl.DataFrame


@dataclass(frozen=True)
class Hidden:
    """What one edition does not print as it is: level, code, variable (the core's name), reason."""

    source_id: str
    edition: str
    year: int
    cells: pl.DataFrame


@dataclass(frozen=True)
class Truth:
    """The fictional country as it is, whatever is published of it."""

    country: Country
    seed: int
    thresholds: Mapping[int, float]  # year -> poverty line, euros a year
    parts: tuple[Part, ...]
    hidden: tuple[Hidden, ...]
    files: Mapping[tuple[str, str], str]  # (source_id, edition) -> path under the root

    @cached_property
    def values(self) -> pl.DataFrame:
        """Exact figures, hidden by nobody: (cog_year, level, code, year, variable, value).

        Units are the core's: counts, euros per consumption unit and year, percent, gini from 0 to 1. The
        level METRO has the code FM. A rate that does not exist (nobody in the subgroup) has no row.
        """
        return pl.concat(
            part.wide.unpivot(index=["level", "code"], variable_name="variable", value_name="value")
            .drop_nulls("value")
            .select(
                pl.lit(part.cog_year).alias("cog_year"),
                "level",
                "code",
                pl.lit(part.year).alias("year"),
                "variable",
                "value",
            )
            .cast(VALUES)  # pyright: ignore[reportArgumentType]
            for part in self.parts
        )

    @cached_property
    def masked(self) -> pl.DataFrame:
        """Cells that the producer does not print as they are, and why: (source_id, edition, level, code,
        year, variable, reason). Reasons are those of `disclosure` and `caf`; `borne` is a rate printed 5 or
        95.
        """
        return pl.concat(
            h.cells.select(
                pl.lit(h.source_id).alias("source_id"),
                pl.lit(h.edition).alias("edition"),
                "level",
                "code",
                pl.lit(h.year).alias("year"),
                "variable",
                "reason",
            ).cast(MASKED)  # pyright: ignore[reportArgumentType]
            for h in self.hidden
        )

    @cached_property
    def passage(self) -> pl.DataFrame:
        """Where communes are in other years: (from_year, from_code, to_year, to_code, share, kind).

        For every ordered pair of years, rows where a commune is not, whole and alone, the same code. `share`
        is 1 when it is there whole, null when it is divided; `kind` tells what happened forward: split, else
        merge, else recode.
        """
        rows: list[tuple[int, str, int, str, float | None, str]] = []
        for a, b in permutations(sorted(self.country.codes), 2):
            pairs = sorted(set(zip(self.country.codes[a].tolist(), self.country.codes[b].tolist(), strict=True)))
            images, origins = _count(p[0] for p in pairs), _count(p[1] for p in pairs)
            pieces, wholes = (images, origins) if a < b else (origins, images)
            for x, y in pairs:
                if x == y and images[x] == 1:
                    continue
                first, last = (x, y) if a < b else (y, x)
                kind = "split" if pieces[first] > 1 else "merge" if wholes[last] > 1 else "recode"
                rows.append((a, x, b, y, 1.0 if images[x] == 1 else None, kind))
        names = ["from_year", "from_code", "to_year", "to_code", "share", "kind"]
        return pl.DataFrame(rows, names, orient="row").cast({"from_year": pl.Int16, "to_year": pl.Int16})

    def value(self, variable: str, level: str, code: str, year: int, cog_year: int) -> float:
        """One exact figure. Raises KeyError when it is not known."""
        for part in self.parts:
            if (part.cog_year, part.year) == (cog_year, year) and variable in part.wide.columns:
                found = part.wide.filter((pl.col("level") == level) & (pl.col("code") == code))[variable]
                if found.len() and found[0] is not None:
                    return float(found[0])
        raise KeyError((variable, level, code, year, cog_year))


def named(frame: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """The figures of a frame under the core's names, in the core's units."""
    kept = {old: new for old, new in names.items() if old in frame.columns}
    return frame.select(
        "level",
        "code",
        *(
            (100 * pl.col(old) if new.startswith(PERCENT) else pl.col(old)).cast(pl.Float64).alias(new)
            for old, new in kept.items()
        ),
    )


def sums(
    country: Country,
    levels: tuple[str, ...],
    cog_year: int,
    columns: Mapping[str, np.ndarray],
    names: Mapping[str, str],
) -> pl.DataFrame:
    """Sums by territory of columns given by atom, under the core's names."""
    renamed = {names[n]: column.astype(np.float64) for n, column in columns.items()}
    return pl.concat(
        sums_by(country.territory(level, cog_year), renamed).select(pl.lit(level).alias("level"), pl.all())
        for level in levels
    )


def _count(codes) -> dict[str, int]:
    seen: dict[str, int] = {}
    for code in codes:
        seen[code] = seen.get(code, 0) + 1
    return seen
