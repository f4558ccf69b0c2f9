"""What an edition of diffusion may show. The producers' masks are kept verbatim; nothing is unmasked here."""

from __future__ import annotations

import polars as pl

SECRET = ("N", "C", "A", "O", "D")  # SDMX conf_status of values that are not free


def protect(rows: pl.DataFrame, *, diffusion: str, edition: str) -> pl.DataFrame:
    """Rows of one indicator as an edition may carry them (same columns).

    diffusion: the indicator's level, `public` or `partner`; edition: the one being written. A partner indicator
    is absent from the public edition. A row whose conf_status is not free never carries a value, a weight or a
    grade; its certain bounds stay, since they are what the producer itself lets know.
    """
    if edition == "public" and diffusion != "public":
        return rows.clear()
    free = ~pl.col("conf_status").is_in(SECRET)
    return rows.with_columns(pl.when(free).then(pl.col(c)).alias(c) for c in ("value", "weight", "grade"))
