"""What the producer hides, bounds and rounds before publishing: the rules of Filosofi, applied to exact
figures.

Source of the rules: sheet « Seuils » of the producer's files on poverty by commune.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from sources.demo.households import COMPONENTS
from sources.demo.tally import COUNTS

LEAST_MEN, LEAST_PERS = 50, 100  # nothing below both
DETAIL_MEN, DETAIL_PERS = 1000, 2000  # households, persons, UC and median only, below both
SIDE_MEN, SIDE_PERS = 11, 200  # each side of a rate (poor and not poor), and each subgroup
LOW, HIGH = 5.0, 95.0  # a rate beyond is printed so
ALWAYS = (*COUNTS, "NBUC", "MED", "Q2")  # published as soon as the territory is
EUROS = ("MED", "Q1", "Q2", "Q3", "D1", "D2", "D3", "D4", "D6", "D7", "D8", "D9")  # Q3_Q1 and TP60Q2 too

# Why a cell is not published as it is.
TERRITORY = "territoire"  # too few households and persons
DETAIL = "detail"  # enough for a median, not for details
SIDE = "groupe"  # too few on one side of the rate, or in the subgroup
COMPONENT = "composante"  # too few households have that income
BOUNDED = "borne"  # printed 5 or 95
UNAVAILABLE = "indisponible"  # printed nd
REASONS = (TERRITORY, DETAIL, SIDE, COMPONENT, BOUNDED, UNAVAILABLE)


@dataclass(frozen=True)
class Precision:
    """How an edition rounds: euros to 10 or to the tenth, Gini to so many decimals, rates to the point at
    `whole`.
    """

    euros: float = 10.0
    gini: int = 3
    whole: tuple[str, ...] = ("COM", "ARM")


def reason(variable: str) -> pl.Expr:
    """Why a cell of that variable is hidden, null when published. Reads columns of `tally.figures`."""
    men, pers = pl.col("all_men"), pl.col("all_pers")
    small = (men < LEAST_MEN) & (pers < LEAST_PERS)
    if variable in ALWAYS:
        return pl.when(small).then(pl.lit(TERRITORY))
    chain = pl.when(small).then(pl.lit(TERRITORY)).when((men < DETAIL_MEN) & (pers < DETAIL_PERS)).then(pl.lit(DETAIL))
    sides = _sides(variable)
    if sides:
        return chain.when(_too_few(sides)).then(pl.lit(SIDE))
    having = [f"{c}_men" for c in COMPONENTS if c == variable]
    if having:
        return chain.when(pl.col(having[0]) < SIDE_MEN).then(pl.lit(COMPONENT))
    return chain.otherwise(None)


def _sides(variable: str) -> tuple[str, str] | None:
    """(part, whole) of a rate, as prefixes of counts; the two sides are the part and the rest.

    A subgroup is named after the rate in one file (TP60AGE1), before it in the other (AGE1TP60Q2).
    """
    if variable == "PIMP":
        return "taxed", "all"
    found = _POVERTY.fullmatch(variable)
    if not found:
        return None
    group = found["before"] or found["after"] or ""
    return group + found["line"], group or "all"


_POVERTY = re.compile(r"(?P<before>[A-Z]{3}\d)?(?P<line>TP[456]0)(?:Q2|IP|(?P<after>[A-Z]{3}\d))?")


def _too_few(sides: tuple[str, str]) -> pl.Expr:
    part, whole = sides
    few: list[pl.Expr] = []
    for unit, least in (("men", SIDE_MEN), ("pers", SIDE_PERS)):
        inside, total = pl.col(f"{part}_{unit}"), pl.col(f"{whole}_{unit}")
        few += [inside < least, total - inside < least]
    return pl.any_horizontal(few)


def publish(
    exact: pl.DataFrame, variables: Sequence[str], precision: Precision = Precision()
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The published table and the list of hidden cells.

    `exact` holds rows of `tally.figures`; the table has level, code and the variables, null where hidden. The
    list has level, code, variable, reason; rates printed 5 or 95 are in it though they are printed.
    """
    reasons = exact.select("level", "code", *(reason(v).alias(v) for v in variables))
    shown = exact.select(
        "level",
        "code",
        *(pl.when(reasons[v].is_null()).then(_rounded(v, precision)).alias(v) for v in variables),
    )
    bounded = [
        pl.when(shown[v].is_in([LOW, HIGH])).then(pl.lit(BOUNDED)).otherwise(reasons[v]).alias(v)
        for v in variables
        if is_rate(v)
    ]
    hidden = reasons.with_columns(bounded).unpivot(
        index=["level", "code"], variable_name="variable", value_name="reason"
    )
    return shown, hidden.filter(pl.col("reason").is_not_null()).cast({"reason": pl.Enum(REASONS)})


def is_rate(variable: str) -> bool:
    """Whether the producer prints 5 or 95 beyond these."""
    return _sides(variable) is not None and not variable.endswith(("Q2", "IP"))


def _rounded(variable: str, precision: Precision) -> pl.Expr:
    column = pl.col(variable)
    if variable in COUNTS:
        return column
    if variable.endswith(EUROS):
        return _to(column, precision.euros)
    if is_rate(variable):
        commune = pl.col("level").is_in(list(precision.whole))
        bounded = column.clip(LOW, HIGH)
        return pl.when(commune).then(_to(bounded, 1.0)).otherwise(_to(bounded, 0.1))
    if variable.endswith(("GI", "TP60IP")):
        return _to(column, 10.0**-precision.gini)
    return _to(column, 0.1)  # shares, ratios, consumption units


def _to(column: pl.Expr, unit: float) -> pl.Expr:
    """Rounded half up to a multiple of `unit`."""
    if unit >= 1:
        return (column / unit + 0.5).floor() * unit
    per_one = round(1 / unit)
    return (column * per_one + 0.5).floor() / per_one
