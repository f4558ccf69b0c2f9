"""Accepted deposits as core values: one row per level, code, year and variable (sources/schema.py VALUES).

A figure keeps the breakdowns that its contract gives a suffix, and is summed over units and the periods of a year.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

import polars as pl

from sources.archive import file_name
from sources.deposits.checking import Row, check
from sources.deposits.contract import PERIODS, Column, Contract, Deposited
from sources.deposits.faults import UnreadableError
from sources.deposits.reading import read
from sources.description import Edition, Source
from sources.errors import LayoutError
from sources.schema import ConfStatus, Level, ObsStatus
from sources.tabular import MARKS, NORMAL, Block, assemble

SEXES = ("_f", "_m")  # end the name of a variable
Choice = tuple[str | None, str]  # code of a dimension (None: the whole), suffix of the variable


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """The edition's year of a deposit. A masked part leaves the sum null; the known parts are its lower bound in open
    data of whole years only: elsewhere they are a count that no one protects, of a part of the year or of the places.

    Raises LayoutError when the stored file no longer keeps its contract (a contract that changed since).
    """
    assert isinstance(source, Deposited)
    contract = source.contract
    try:
        checked = check(read(files[file_name(edition)]), contract, None)
        faults = checked.faults
    except UnreadableError as error:
        checked, faults = None, [error.fault]
    if checked is None or faults:
        fault = faults[0]
        raise LayoutError(
            source.source_id,
            edition.edition,
            fault.expected,
            f"{fault.found} ({len(faults)} erreur(s))",
            "si le contrat a changé depuis ce dépôt, redéposer un fichier selon le nouveau contrat, ou le retirer "
            "(vigie deposit withdraw)",
            file=f"deposit:{contract.name}",
            sheet=fault.sheet,
            row=fault.row,
            column=fault.column,
        )
    rows = [row for row in checked.rows if row.year == edition.data_year]
    return assemble(source, edition, list(_blocks(contract, rows, edition.data_year)))


def _blocks(contract: Contract, rows: list[Row], year: int) -> Iterator[Block]:
    bounded = contract.secrecy.threshold == 0 and contract.period == "year"
    for column in contract.figures:
        told = [row for row in rows if column.name in row.values]
        for choices in product(*(_choices(d) for d in contract.of_role("dimension"))):
            kept = [row for row in told if _is_of(row, choices)]
            if not kept:
                continue
            # women and men end the name, whatever the order of the columns
            suffixes = sorted((suffix for _, suffix in choices), key=lambda s: s in SEXES)
            variable = column.name + "".join(suffixes)
            cells = _cells(contract, column, kept)
            for level in contract.levels:
                own = cells.filter(pl.col("level") == level)
                if own.height:
                    yield Block(level, variable, year, _values(own, variable, year, bounded))


def _choices(dimension: Column) -> list[Choice]:
    """The whole, then each modality that has its own figure; the whole is a modality where the partner gives it."""
    given = [code for code, m in dimension.codes.items() if m.suffix == ""]
    whole: list[Choice] = [(given[0] if given else None, "")]
    return whole + [(code, m.suffix) for code, m in dimension.codes.items() if m.suffix]


def _is_of(row: Row, choices: tuple[Choice, ...]) -> bool:
    return all(code is None or code == own for own, (code, _) in zip(row.dimensions, choices, strict=True))


def _cells(contract: Contract, column: Column, rows: list[Row]) -> pl.DataFrame:
    """One row per level and code: the figure of the year, how many parts have none, the mark of the first of them.

    A largest contributor is summed as the others: it may be the same one in each part, and no more than that.
    """
    if contract.over_year == "last":
        rows = [row for row in rows if row.sub == PERIODS[contract.period]]
    frame = pl.DataFrame(
        [(row.level, row.code, *row.values[column.name]) for row in rows],
        schema={"level": pl.String, "code": pl.String, "value": pl.Float64, "mark": pl.String},
        orient="row",
    )
    over = PERIODS[contract.period] if contract.over_year == "mean" else 1
    return (
        frame.group_by("level", "code")
        .agg(
            known=(pl.col("value").sum() / over).round(10),
            parts=pl.len(),
            masked=pl.col("value").is_null().sum().cast(pl.Int32),
            # a secret part makes the whole secret, whatever the others are
            mark=pl.col("mark").drop_nulls().sort_by(pl.col("mark").drop_nulls() != "s").first(),
            signed=pl.lit((column.minimum or 0.0) < 0 or column.minimum is None),
        )
        .sort("level", "code")
    )


def _values(cells: pl.DataFrame, variable: str, year: int, bounded: bool) -> pl.DataFrame:
    """Rows VALUES of one variable and level. bounded: whether the known parts of a sum may be told."""
    whole = pl.col("masked") == 0
    summed = ~whole & (pl.col("parts") > 1)

    def status(of: int, kind: pl.Enum) -> pl.Expr:
        told = {mark: statuses[of] for mark, statuses in MARKS.items()}
        return pl.col("mark").replace_strict(told, default=NORMAL[of], return_dtype=pl.String).cast(kind)

    return cells.select(
        level=pl.col("level").cast(Level),
        code="code",
        year=pl.lit(year, pl.Int16),
        variable=pl.lit(variable, pl.Categorical),
        value=pl.when(whole).then("known"),
        lower=pl.when(summed & ~pl.col("signed") & bounded).then("known"),
        upper=pl.lit(None, pl.Float64),
        obs_status=status(0, ObsStatus),
        conf_status=status(1, ConfStatus),
        mark=pl.col("mark").cast(pl.Categorical),
        masked_parts=pl.when(summed).then("masked").cast(pl.Int32),
    )
