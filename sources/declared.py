"""Reads the tables that a description declares (see sources/layout.py). No dataset is named here."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import polars as pl

from sources.description import Edition, Member, Source
from sources.errors import CellError, LayoutError
from sources.layout import (
    Cell,
    Layout,
    LongLayout,
    PeriodsLayout,
    StatusName,
    UnitsLayout,
    UnitVariable,
    WideCell,
    WideLayout,
)
from sources.schema import CONF_STATUS, OBS_STATUS, ConfStatus, ObsStatus
from sources.tabular import (
    METROPOLE,
    NOT_APPLICABLE,
    NOT_AVAILABLE,
    NOT_SIGNIFICANT,
    SECRET,
    Block,
    Column,
    Status,
    assemble,
    check_columns,
    layout_of,
    member_data,
    number,
    read_delimited,
    read_json,
    read_parquet,
    read_sheet,
    refuse_unreadable,
    value_blocks,
)

STATUSES: dict[StatusName, Status] = {
    "secret": SECRET,
    "missing": NOT_AVAILABLE,
    "insignificant": NOT_SIGNIFICANT,
    "not_applicable": NOT_APPLICABLE,
}
QUARTERS = 4
CENTURY = 100
MARK_OF_NOTE = "{} {}"  # column and code, on the cells of a row that it withholds


def parse(source: Source, edition: Edition, files: Mapping[str, bytes]) -> pl.DataFrame:
    """One row per level, code, variable and year (sources/schema.py VALUES), as the edition's layout says.

    A member's `table` names its layout; else the edition's. Units are those of the producer, times `scale`.
    Raises LayoutError when a file, sheet or column is missing or a row appears twice, CellError for a cell,
    a code or a level that is not what is expected.
    """
    blocks: list[Block] = []
    for member in edition.members or (Member(),):
        named = edition if member.table is None else edition.model_copy(update={"layout": member.table})
        layout = layout_of(source, named, source.layouts)
        read = [_of_parts(layout, block) for block in _Reader(source, edition, member, layout).blocks(files)]
        blocks += read + _sums(layout, read)
    return assemble(source, edition, blocks)


class _Reader:
    """One member read by its layout."""

    def __init__(self, source: Source, edition: Edition, member: Member, layout: Layout) -> None:
        self.source, self.edition, self.member, self.layout = source, edition, member, layout
        self.name = ""

    def blocks(self, files: Mapping[str, bytes]) -> list[Block]:
        match self.layout:
            case WideLayout() as layout:
                columns = wide_columns(layout, self.edition.data_year)
                table = self._noted(self._table(files, [c.name for c in columns]), columns)
                return [b for level, year, rows in self._parts(table) for b in self._cells(rows, columns, level, year)]
            case LongLayout() as layout:
                return self._long(layout, files)
            case PeriodsLayout() as layout:
                return self._periods(layout, files)
            case UnitsLayout() as layout:
                return self._units(layout, files)

    def _table(self, files: Mapping[str, bytes], columns: Sequence[str]) -> pl.DataFrame:
        """The rows that count, as text: the named columns, the line number in `row`, codes as in the COG.

        No named column: all of them."""
        source, edition, member, layout = self.source, self.edition, self.member, self.layout
        required = [*layout.columns_used, *columns]
        self.name, data = member_data(source, edition, member, files)
        if edition.format == "json":
            frame = read_json(source, edition, data, name=self.name, required=required)
        elif edition.format == "parquet":
            frame = read_parquet(source, edition, data, name=self.name, required=required)
        elif member.sheet is None:
            frame = read_delimited(
                source,
                edition,
                data,
                name=self.name,
                required=required,
                separator=layout.separator,
                columns=required if columns else None,
            ).with_row_index("row", offset=2)
        else:
            frame = read_sheet(
                source,
                edition,
                data,
                name=self.name,
                sheet=member.sheet,
                header_cell=layout.header or layout.code,
                required=required,
                below=layout.below,
                title=layout.title,
                units_row=layout.units_row,
            )
        if columns:
            frame = frame.select("row", *dict.fromkeys(required))
        if layout.code_pattern is not None:
            frame = frame.with_columns(pl.col(layout.code).str.extract(layout.code_pattern))
        kept = [pl.col(c).is_in(list(v)).fill_null(False) for c, v in layout.keep.items()]
        left = [~pl.col(c).is_in(list(v)).fill_null("" in v) for c, v in layout.skip.items()]
        if layout.years == "own":
            kept.append((self._year() == edition.data_year).fill_null(False))
        if layout.leave is not None:
            left.append(~pl.col(layout.code).str.contains(layout.leave).fill_null(False))
        frame = frame.filter(*kept, *left)
        return frame.with_columns(pl.col(layout.code).replace(layout.recode)) if layout.recode else frame

    def _refused(self, bad: pl.DataFrame, column: str, expected: str, found: str, action: str) -> CellError:
        """The error for the first of some rows, by its line and column."""
        return CellError(
            self.source.source_id,
            self.edition.edition,
            expected,
            found,
            action,
            file=self.name,
            sheet=self.member.sheet,
            row=int(bad["row"][0]),
            column=column,
        )

    def _noted(self, table: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
        """The table, the empty cells of a row that a note withholds bearing the note as a mark."""
        for note, said in self.layout.notes.items():
            code = pl.col(note).fill_null("")
            cells = [c.name for c in columns if re.fullmatch(said.variables, c.variable)]
            withheld = code.is_in(list(said.withheld))
            if not cells:
                continue
            marks = list(self.layout.marks)
            filled = pl.any_horizontal(pl.col(c).is_not_null() & ~pl.col(c).is_in(marks) for c in cells)
            bad = table.filter(~(code.is_in(list(said.shown)) | (withheld & ~filled)))
            if bad.height:
                raise self._refused(
                    bad,
                    note,
                    f"une note {list(said.shown)} (chiffres), ou {list(said.withheld)} et aucun chiffre",
                    f"« {bad[note][0] or ''} » pour {bad[self.layout.code][0]} ({bad.height} ligne(s))",
                    "demander au producteur le sens de cette note, puis la déclarer dans `notes`",
                )
            mark = pl.when(withheld).then(pl.format(MARK_OF_NOTE, pl.lit(note), code).str.strip_chars())
            table = table.with_columns(mark.otherwise(c).alias(c) for c in cells)
        return table

    def _parts(self, table: pl.DataFrame) -> list[tuple[str, int, pl.DataFrame]]:
        """(level, year, rows): the rows of each level and year of the table."""
        layout = self.layout
        marked = table.with_columns(_year=self._year(), _level=self._level(table)).filter(
            pl.col("_year").is_not_null(), pl.col("_level").is_not_null()
        )
        if marked.height == 0:
            raise LayoutError(
                self.source.source_id,
                self.edition.edition,
                f"des lignes des niveaux et des années déclarés ({layout.year_column or self.edition.data_year})",
                f"{table.height} ligne(s), aucune de celles-là",
                f"comparer le fichier à `layouts` dans sources/{self.source.source_id}/description.yaml",
                file=self.name,
                sheet=self.member.sheet,
            )
        parts = marked.partition_by("_level", "_year", as_dict=True)
        return [(str(level), int(str(year)), rows) for (level, year), rows in sorted(parts.items(), key=str)]

    def _year(self) -> pl.Expr:
        """The year of each row, null where it bears none."""
        layout = self.layout
        if layout.year_column is None:
            return pl.lit(self.edition.data_year, pl.Int64)
        printed = pl.col(layout.year_column).str.extract(layout.year_pattern).cast(pl.Int64)
        return pl.when(printed < CENTURY).then(printed + 2000).otherwise(printed)

    def _level(self, table: pl.DataFrame) -> pl.Expr:
        layout = self.layout
        if layout.level_column is None:
            level = layout.level or self.member.level
            if level is None:
                raise ValueError(f"{self.source.source_id}: neither the member nor the layout says the level")
            return pl.lit(level)
        unknown = table.filter(~pl.col(layout.level_column).is_in(list(layout.levels)).fill_null(False))
        if unknown.height:
            raise self._refused(
                unknown,
                layout.level_column,
                f"un des niveaux {sorted(layout.levels)}",
                f"« {unknown[layout.level_column][0]} »",
                f"déclarer ce niveau dans `levels` de sources/{self.source.source_id}/description.yaml",
            )
        named = pl.col(layout.level_column).replace_strict(layout.levels, return_dtype=pl.String)
        return pl.when(pl.col(layout.code) == METROPOLE).then(pl.lit("METRO")).otherwise(named)

    def _cells(self, rows: pl.DataFrame, columns: Sequence[Column], level: str, year: int) -> list[Block]:
        """Blocks of some columns of rows of one level; a column of year 0 is of the rows' year."""
        told = self._statuses_told(rows)
        return [
            self._with_statuses(block, told)
            for block in value_blocks(
                self.source,
                self.edition,
                rows.drop("code", strict=False) if self.layout.code != "code" else rows,
                [_dated(c, year) for c in columns],
                code=pl.col(self.layout.code),
                level=level,
                file=self.name,
                sheet=self.member.sheet,
            )
        ]

    def _statuses_told(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        """By code, the statuses that the producer prints, `_` before their names; None where it prints none."""
        layout = self.layout
        given = {"_obs_status": (layout.obs_status, ObsStatus), "_conf_status": (layout.conf_status, ConfStatus)}
        named = {name: (column, kind) for name, (column, kind) in given.items() if column}
        if not named:
            return None
        rows = rows.with_columns(pl.col(c).replace(layout.statuses) for c, _ in named.values())
        self._refuse_unknown_statuses(rows)
        return rows.select(
            code=layout.code, **{name: pl.col(c).cast(kind, strict=False) for name, (c, kind) in named.items()}
        )

    def _with_statuses(self, block: Block, told: pl.DataFrame | None) -> Block:
        """The producer's own statuses in place of those deduced from the cell."""
        if told is None:
            return block
        joined = block.rows.join(told, on="code", how="left", maintain_order="left")
        given = [pl.coalesce(name, name[1:]).alias(name[1:]) for name in told.columns if name != "code"]
        kept = joined.with_columns(given).select(block.rows.columns)
        # an empty cell that is not free was withheld, whatever the other status says
        hidden = pl.col("value").is_null() & (pl.col("conf_status") != "F")
        secret = pl.lit(SECRET[0], ObsStatus)
        kept = kept.with_columns(obs_status=pl.when(hidden).then(secret).otherwise("obs_status"))
        return Block(block.level, block.variable, block.year, kept)

    def _refuse_unknown_statuses(self, rows: pl.DataFrame) -> None:
        for column, known in ((self.layout.obs_status, OBS_STATUS), (self.layout.conf_status, CONF_STATUS)):
            if column is None:
                continue
            bad = rows.filter(~pl.col(column).is_in(list(known)).fill_null(True))
            if bad.height:
                action = "si c'est un nouveau statut SDMX, l'ajouter à sources/schema.py"
                raise self._refused(bad, column, f"un des statuts {list(known)}", f"« {bad[column][0]} »", action)

    def _long(self, layout: LongLayout, files: Mapping[str, bytes]) -> list[Block]:
        values = dict.fromkeys([*(v.value or layout.value for v in layout.variables)])
        chosen = dict.fromkeys(c for v in layout.variables for c in v.where)
        table = self._table(files, [*values, *chosen])
        blocks: list[Block] = []
        for variable in layout.variables:
            rows = table.filter(*(_is_one_of(column, said) for column, said in variable.where.items()))
            column = column_of(variable, variable.value or layout.value, layout)
            rows = self._noted(rows, [column])
            # of an extract or a small area, a modality may be absent: its years are those of the rows
            parts = self._parts(rows) if rows.height else []
            blocks += [b for level, year, part in parts for b in self._cells(part, [column], level, year)]
        return blocks

    def _periods(self, layout: PeriodsLayout, files: Mapping[str, bytes]) -> list[Block]:
        table = self._table(files, [])
        quarters: dict[int, list[str]] = {}
        for name in table.columns:
            found = re.fullmatch(layout.period, name)
            if found:
                quarters.setdefault(int(found["year"]), []).append(name)
        whole = {year: names for year, names in sorted(quarters.items()) if len(names) == QUARTERS}
        if not whole:
            check_columns(self.source, self.edition, table.columns, [f"trimestres {layout.period}"], file=self.name)
        blocks: list[Block] = []
        for level, _, rows in self._parts(table):
            columns = [column_of(layout.cell, name, layout) for names in whole.values() for name in names]
            by_name = {
                c.name: b
                for c, b in zip(columns, self._quarter_blocks(rows, columns, level), strict=True)
            }
            blocks += [_mean_of_quarters(year, [by_name[n] for n in names]) for year, names in whole.items()]
        return blocks

    def _quarter_blocks(self, rows: pl.DataFrame, columns: Sequence[Column], level: str) -> list[Block]:
        return [b for c in columns for b in self._cells(rows, [c], level, self.edition.data_year)]

    def _units(self, layout: UnitsLayout, files: Mapping[str, bytes]) -> list[Block]:
        used = [c for v in layout.variables for c in (v.value, v.weight, *v.where) if c]
        key = [layout.unit] if isinstance(layout.unit, str) else list(layout.unit)
        table = self._table(files, [*key, *used])
        double = table.filter(pl.struct(key).is_duplicated())
        if double.height:
            raise LayoutError(
                self.source.source_id,
                self.edition.edition,
                f"une ligne par « {', '.join(key)} »",
                f"{', '.join(str(double[c][0]) for c in key)} en double",
                "prévenir le producteur",
                file=self.name,
                sheet=self.member.sheet,
                row=int(double["row"][1]),
            )
        blocks: list[Block] = []
        for level, year, rows in self._parts(table):
            for variable in layout.variables:
                blocks += self._summed(rows, variable, level, year)
        return blocks

    def _summed(self, rows: pl.DataFrame, variable: UnitVariable, level: str, year: int) -> list[Block]:
        """Sum of a figure over the units of each territory, and how many units (or what weight) it bears on."""
        code = self.layout.code
        value = number(variable.value) * variable.scale if variable.value else pl.lit(1.0)
        chosen = pl.all_horizontal(pl.lit(True), *(_is_one_of(c, said) for c, said in variable.where.items()))
        units = rows.with_columns(
            _value=pl.when(chosen).then(value).otherwise(0.0),
            _weight=number(variable.weight) if variable.weight else pl.lit(1.0),
        )
        for column, value in ((variable.value, "_value"), (variable.weight, "_weight")):
            if column is not None:
                known = pl.col(column).is_in(list(self.layout.marks)).fill_null(False)
                refuse_unreadable(
                    self.source,
                    self.edition,
                    units.filter(~known),
                    text=column,
                    value=value,
                    row="row",
                    column=column,
                    file=self.name,
                    sheet=self.member.sheet,
                )
        told = units.filter(pl.col("_value").is_not_null(), pl.col("_weight").is_not_null())
        sums = told.group_by(code, maintain_order=True).agg(
            pl.col("row").first(),
            total=(pl.col("_value") * pl.col("_weight")).sum().cast(pl.String),
            units=pl.col("_weight").sum().cast(pl.String),
            terms=pl.len(),
        )
        totals = self._cells(sums, [Column("total", variable.variable, 0)], level, year)
        counts = self._cells(sums, [Column("units", variable.count, 0)], level, year) if variable.count else []
        margin = column_of(variable, "total", self.layout).margin
        return [_rounded_by_term(block, sums, code, margin) for block in totals] + counts


def wide_columns(layout: WideLayout, data_year: int) -> list[Column]:
    """The columns of a wide table, their names with the years and sexes written out."""
    blank: dict[str, StatusName] = {v: status for status, variables in layout.cells.items() for v in variables}
    columns: list[Column] = []
    for name, said in layout.columns.items():
        sexes = layout.sexes if "{sex}" in name else {"": ""}
        for cell, (sex, suffix) in product(said if isinstance(said, tuple) else (said,), sexes.items()):
            own = WideCell(variable=cell, blank=blank.get(cell, layout.blank)) if isinstance(cell, str) else cell
            own = own.model_copy(update={"variable": own.variable + suffix})
            for year in _years(own, layout, data_year, dated="{yy" in name):
                printed = name.replace("{yyyy}", str(year)).replace("{yy}", f"{year % 100:02d}").replace("{sex}", sex)
                columns.append(_dated(column_of(own, printed, layout), year))
    return columns


def _years(cell: WideCell, layout: WideLayout, data_year: int, *, dated: bool) -> list[int]:
    """The years of a column; 0 stands for that of the rows."""
    lags = cell.lags
    if cell.vintages is not None:
        lags = tuple(layout.lags[i] for i in cell.vintages)
    if lags is None:
        lags = layout.lags if dated else None
    return [0] if lags is None else [data_year - lag for lag in lags]


def column_of(cell: Cell, name: str, layout: Layout) -> Column:
    """The column of that name, read as the cell says; its year is 0: that of the rows."""
    notes: dict[str, StatusName] = {
        MARK_OF_NOTE.format(column, code).strip(): status
        for column, note in layout.notes.items()
        for code, status in note.withheld.items()
    }
    return Column(
        name,
        cell.variable,
        0,
        blank=STATUSES[cell.blank],
        rate=cell.rate,
        scale=cell.scale,
        step=cell.step,
        integer=cell.integer,
        possible=cell.possible,
        marks={mark: STATUSES[status] for mark, status in (layout.marks | notes).items()},
    )


def _dated(column: Column, year: int) -> Column:
    return replace(column, year=year) if column.year == 0 else column


def _of_parts(layout: Layout, block: Block) -> Block:
    """The block, the bounds of codes that the producer adds from rounded figures as wide as theirs together."""
    if not layout.summed:
        return block
    value, parts = pl.col("value"), pl.col("code").replace_strict(layout.summed, default=1)
    rows = block.rows.with_columns(
        lower=(value - (value - pl.col("lower")) * parts).clip(0.0), upper=value + (pl.col("upper") - value) * parts
    )
    return Block(block.level, block.variable, block.year, rows)


def _sums(layout: Layout, blocks: Sequence[Block]) -> list[Block]:
    """The variables that a layout adds up, for each level and year that has all the parts."""
    made: list[Block] = []
    for total, suffix in ((s, suffix) for s in layout.sums for suffix in s.suffixes):
        names = [v + suffix for v in total.of]
        parts: dict[tuple[str, int], list[Block]] = {}
        for block in [*blocks, *made]:
            if block.variable in names:
                parts.setdefault((block.level, block.year), []).append(block)
        made += [_added(total.variable + suffix, found) for found in parts.values() if len(found) == len(names)]
    return made


def _added(variable: str, parts: Sequence[Block]) -> Block:
    """The sum of blocks of one level and year, bounds included; the status of the first part that is unknown."""
    read = ("value", "lower", "upper", "obs_status", "conf_status")
    keyed = [p.rows.select("code", *(pl.col(c).alias(f"{c}{i}") for c in read)) for i, p in enumerate(parts)]
    wide = keyed[0]
    for other in keyed[1:]:
        wide = wide.join(other, on="code", how="left", maintain_order="left")
    every = range(len(parts))
    unknown = [pl.col(f"value{i}").is_null() for i in every]

    def total(side: str) -> pl.Expr:
        return pl.sum_horizontal([pl.coalesce(f"{side}{i}", f"value{i}") for i in every], ignore_nulls=False)

    def status(name: str, absent: str) -> pl.Expr:
        first = [pl.when(u).then(pl.col(f"{name}{i}").fill_null(absent)) for i, u in zip(every, unknown, strict=True)]
        return pl.coalesce([*first, pl.col(f"{name}0")])

    bounded = pl.any_horizontal(pl.col(f"{side}{i}").is_not_null() for side in ("lower", "upper") for i in every)
    sums = wide.select(
        "code",
        value=total("value"),
        lower=pl.when(bounded).then(total("lower")),
        upper=pl.when(bounded).then(total("upper")),
        obs_status=status("obs_status", NOT_AVAILABLE[0]),
        conf_status=status("conf_status", NOT_AVAILABLE[1]),
    )
    first = parts[0]
    rows = first.rows.select("level", "code", "year", masked_parts=pl.lit(None, pl.Int32)).join(
        sums, on="code", how="left", maintain_order="left"
    )
    rows = rows.with_columns(variable=pl.lit(variable, pl.Categorical), mark=pl.lit(None, pl.Categorical))
    rows = rows.select(first.rows.columns).cast(dict(first.rows.schema))  # pyright: ignore[reportArgumentType]
    return Block(first.level, variable, first.year, rows)


def _is_one_of(column: str, said: str | tuple[str, ...]) -> pl.Expr:
    modalities = [said] if isinstance(said, str) else list(said)
    return pl.col(column).is_in(modalities).fill_null(False)


def _rounded_by_term(total: Block, sums: pl.DataFrame, code: str, margin: float) -> Block:
    """The bounds that the rounding of each of its `terms` leaves around a sum."""
    if not margin:
        return total
    value, by = pl.col("value"), pl.col("_terms") * margin
    rows = total.rows.join(sums.select(code=code, _terms="terms"), on="code", how="left", maintain_order="left")
    bounded = rows.with_columns(lower=(value - by).clip(0.0), upper=value + by).drop("_terms")
    return Block(total.level, total.variable, total.year, bounded)


def _mean_of_quarters(year: int, quarters: Sequence[Block]) -> Block:
    """The mean of four quarters, bounds included; the first quarter's status where one is unknown."""
    first = quarters[0].rows
    means = {
        c: pl.concat([q.rows.select(pl.col(c).alias(f"{c}{i}")) for i, q in enumerate(quarters)], how="horizontal")
        for c in ("value", "lower", "upper")
    }
    rows = first.with_columns(
        year=pl.lit(year, pl.Int16),
        **{c: frame.mean_horizontal(ignore_nulls=False).round(10) for c, frame in means.items()},
    )
    unknown = pl.col("value").is_null() & (pl.col("obs_status") == "A")
    rows = rows.with_columns(
        obs_status=pl.when(unknown).then(pl.lit(NOT_AVAILABLE[0], ObsStatus)).otherwise("obs_status"),
        # quarters are sorted by code alike: the same table
        lower=pl.when(pl.col("value").is_not_null()).then("lower"),
        upper=pl.when(pl.col("value").is_not_null()).then("upper"),
    )
    return Block(quarters[0].level, quarters[0].variable, year, rows)
