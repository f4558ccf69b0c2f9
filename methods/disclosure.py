"""What an edition of diffusion may show. The producers' masks are kept verbatim; nothing is unmasked here."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

SECRET = ("N", "C", "A", "O", "D")  # SDMX conf_status of values that are not free


@dataclass(frozen=True)
class RatioRule:
    """What a producer's rule asks of a ratio: no ratio below `minimum` in the numerator or `base` in the denominator, a
    flag below `fragile` in the numerator."""

    minimum: float = 0.0
    fragile: float = 0.0
    base: float = 0.0


@dataclass(frozen=True)
class SizeRule:
    """Inhabitants below which a figure is not shown: of a commune or arrondissement municipal, of any other zone."""

    commune: int
    zone: int


# Counts of the census below 200 are fragile; counts rounded to 5 give no ratio below 10; nothing is said of cells that
# hold fewer than 11 households together (DOMAIN.md 4.1 and 4.2).
RATIO_RULES = {
    "S_RP": RatioRule(fragile=200.0),
    "S_RPX": RatioRule(fragile=200.0),
    "S_CNAF": RatioRule(minimum=10.0),
    "S_FT": RatioRule(minimum=10.0),
    "S_GRID": RatioRule(base=11.0),
}
# Census, previous residence and nationality: decree of 24 March 2005, article 5 (DOMAIN.md 4.1).
SIZE_RULES = {"S_RPX": SizeRule(commune=5_000, zone=10_000)}
PUBLISHED_APART = ("QPV",)  # the producer publishes districts under a rule of its own, with its own masks


def protect(rows: pl.DataFrame, *, diffusion: str, edition: str, secrecy_rule: str) -> pl.DataFrame:
    """Rows of one indicator as an edition may carry them (same columns).

    rows: with the `level` and the `population` of their territory. diffusion: the indicator's level, `public` or
    `partner`; edition: the one being written. A partner indicator is absent from the public edition. A row whose
    conf_status is not free never carries a value, a weight or a grade; its certain bounds stay, since they are what
    the producer itself lets know. Below the size that the secrecy rule asks, nothing is told: not even a bound.
    """
    if edition == "public" and diffusion != "public":
        return rows.clear()
    free = ~pl.col("conf_status").is_in(SECRET)
    rows = rows.with_columns(pl.when(free).then(pl.col(c)).alias(c) for c in ("value", "weight", "grade"))
    rule = SIZE_RULES.get(secrecy_rule)
    return rows if rule is None else _large_enough(rows, rule)


def _large_enough(rows: pl.DataFrame, rule: SizeRule) -> pl.DataFrame:
    """The figures of territories below the size, or of unknown size, withheld."""
    level = pl.col("level").cast(pl.String)
    least = pl.when(level.is_in(["COM", "ARM"])).then(rule.commune).otherwise(rule.zone)
    small = ~level.is_in(PUBLISHED_APART) & ~(pl.col("population") >= least).fill_null(False)
    hidden = small & pl.any_horizontal(pl.col("value", "lower", "upper").is_not_null())
    emptied = ("value", "weight", "grade", "lower", "upper", "interval_kind", "masked_parts")
    codes = {"obs_status": "Q", "conf_status": "N", "reason": "seuil_diffusion"}
    told = [
        pl.when(hidden).then(pl.lit(code)).otherwise(pl.col(c).cast(pl.String)).cast(rows.schema[c]).alias(c)
        for c, code in codes.items()
    ]
    return rows.with_columns(*(pl.when(~hidden).then(pl.col(c)).alias(c) for c in emptied), *told)
