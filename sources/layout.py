"""What a producer's table looks like, declared in `description.yaml` under `layouts`: a dataset of a known kind
needs no code. sources/declared.py reads them.

Four shapes: `wide` (a row a territory, a column a variable), `long` (a row a territory, year and modality: SDMX,
Opendatasoft exports), `periods` (a column a quarter), `units` (a row a school or a dwelling, summed by territory).
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

StatusName = Literal["secret", "missing", "insignificant", "not_applicable"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Strict):
    """How the cells of a variable are read; `variable` is its canonical name, the same in every source."""

    variable: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    blank: StatusName = "missing"  # what an empty cell means
    rate: bool = False  # 5 and 95 are bounds (Filosofi)
    scale: float = 1.0  # the printed figure is multiplied by it
    step: float = 0.0  # the producer's rounding: a count rounded to 5 is known within 2, a rate to 0.1 within 0.05
    integer: bool = False  # of a count that is rounded: 30 rounded to 5 stands for 28 to 32
    possible: tuple[float, float] | None = None  # outside, the figure is kept as a mark and is no value


class Sum(_Strict):
    """A variable that the table does not print: the sum of others, null where one is; not made where one is absent.

    `suffixes`: the same sum of the variables so ended (women, men)."""

    variable: str
    of: tuple[str, ...] = Field(min_length=1)
    suffixes: tuple[str, ...] = ("",)


class Note(_Strict):
    """A column whose codes say which rows have no figure at all, and why; elsewhere an empty cell keeps its status."""

    variables: str = ".*"  # regular expression of those it is about
    shown: tuple[str, ...]  # codes of the rows that have figures
    withheld: dict[str, StatusName]  # codes of the rows that have none; "" is an empty note


class _Layout(_Strict):
    """What every shape says: where the code is, which rows count, which marks stand for no figure."""

    code: str  # column of the territory's code
    code_pattern: str | None = None  # its group 1 is the code, in a column that holds more than it
    header: str | None = None  # first cell of the header row of a workbook; default: `code`
    title: str | None = None  # first cell above the table, in a sheet that has several
    units_row: bool = False  # the row under the header of a sheet says the units
    separator: str | None = None
    level: str | None = None  # level of every row; default: that of the member
    level_column: str | None = None
    levels: dict[str, str | None] = {}  # the producer's name of a level -> ours, null for rows left out
    keep: dict[str, tuple[str, ...]] = {}  # column -> the only values of the rows that are read
    skip: dict[str, tuple[str, ...]] = {}  # column -> values of the rows left out, "" standing for an empty cell
    leave: str | None = None  # regular expression of the codes left out: totals, territories outside the COG
    recode: dict[str, str] = {}  # codes the producer uses in place of the COG's
    marks: dict[str, StatusName] = {}  # besides s, nd and ns
    year_column: str | None = None  # else every row is of the edition's year
    # its group 1 is the year (two digits: of this century); a row that does not match is left out
    year_pattern: str = r"(\d{4})"
    years: Literal["all", "own"] = "all"  # own: of a file of several years, only the rows of the edition's
    below: Literal["ignore", "refuse"] = "refuse"  # what stands under the table in its sheet
    notes: dict[str, Note] = {}  # by column
    obs_status: str | None = None  # columns of SDMX statuses
    conf_status: str | None = None
    statuses: dict[str, str] = {}  # SDMX codes of the producer's that are not ours -> ours
    # codes whose figures the producer adds from that many rounded ones (a city's arrondissements): bounds that wider
    summed: dict[str, int] = {}
    sums: tuple[Sum, ...] = ()  # in order: a sum may be part of a later one

    @field_validator("year_pattern")
    @classmethod
    def _has_a_group(cls, pattern: str) -> str:
        if re.compile(pattern).groups < 1:
            raise ValueError("year_pattern needs a group around the year")
        return pattern

    @property
    def columns_used(self) -> tuple[str, ...]:
        """Columns that every shape of layout needs."""
        named = (self.code, self.level_column, self.year_column, self.obs_status, self.conf_status)
        return tuple(dict.fromkeys([*(c for c in named if c), *self.keep, *self.skip, *self.notes]))


class WideCell(Cell):
    """A column of a wide table; `lags`: the years before that have it, when they are not all those of the layout. Of a
    column without `{yy}`, they say how old its figures are. `vintages`: the same as positions in the layout's lags."""

    lags: tuple[int, ...] | None = None
    vintages: tuple[int, ...] | None = None


class WideLayout(_Layout):
    """A row a territory, a column a variable. `{yy}` in a column's name is the year's last two digits, `{yyyy}` the
    year: that of the edition and, when `lags` says so, those that many years before; `{sex}` each key of `sexes`, whose
    suffix ends the variable. A column that means something else in another year has an entry for each."""

    shape: Literal["wide"]
    sexes: dict[str, str] = {}
    columns: dict[str, str | WideCell | tuple[WideCell, ...]]
    lags: tuple[int, ...] = (0,)
    blank: StatusName = "missing"  # status of an empty cell, of the variables given by their name alone
    cells: dict[StatusName, tuple[str, ...]] = {}  # another status -> the variables it holds for


class LongVariable(Cell):
    """A variable of a long table: the rows where each column has one of these modalities."""

    where: dict[str, str | tuple[str, ...]] = {}
    value: str | None = None  # another column than the layout's


class LongLayout(_Layout):
    """A row a territory, year and modality; several rows for one variable and territory are refused."""

    shape: Literal["long"]
    value: str
    variables: tuple[LongVariable, ...]


class PeriodsLayout(_Layout):
    """A column a quarter, read as the mean of the year's four quarters; a year that lacks one is left out."""

    shape: Literal["periods"]
    period: str  # regular expression of the columns' names, groups `year` and `quarter`
    cell: Cell


class UnitVariable(Cell):
    """The figure of a unit (none named: each counts for one); the territory gets its sum, and `count`, when named, the
    number of units that have one. A unit that is not of the modalities of `where` brings nothing to the sum."""

    value: str | None = None
    weight: str | None = None  # column: the sums are then of weight x value and of weight
    count: str | None = None
    where: dict[str, str | tuple[str, ...]] = {}


class UnitsLayout(_Layout):
    """A row a unit (a school): summed by territory, so that a mean is an exact ratio of sums at every level."""

    shape: Literal["units"]
    unit: str | tuple[str, ...]  # columns of the unit's identifier, one row each
    variables: tuple[UnitVariable, ...]


Layout = Annotated[WideLayout | LongLayout | PeriodsLayout | UnitsLayout, Field(discriminator="shape")]
