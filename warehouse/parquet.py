"""Writing a table's Parquet file block by block: checked against its model, sorted, always the same bytes.

Text is plain text in the file (dictionary-encoded), whatever it was in memory.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import polars as pl

from warehouse.models import INSTANT, ContractError, DType, Table, conform

# pyarrow ships no types
pa = cast(Any, import_module("pyarrow"))
pq = cast(Any, import_module("pyarrow.parquet"))

# Small enough for a reader to skip most of the file, large enough for dictionaries to pay.
ROW_GROUP_ROWS = 262_144

ARROW_TYPES: dict[DType, Any] = {
    pl.String: pa.string(),
    pl.Float64: pa.float64(),
    pl.Int16: pa.int16(),
    pl.Int32: pa.int32(),
    pl.Int64: pa.int64(),
    pl.Boolean: pa.bool_(),
    INSTANT: pa.timestamp("us"),
}


class TableWriter:
    """Writes successive blocks of one table to `path`; the file appears under its name once complete.

    Use as a context manager. Blocks must come sorted by the table's key and must not overlap. Row groups do
    not depend on how rows were cut into blocks. `fill` gives a block its `release_added`.
    """

    def __init__(self, table: Table, path: Path, fill: Callable[[pl.DataFrame], pl.DataFrame] | None = None) -> None:
        self.rows = 0
        self._table = table
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._fill = fill
        self._pending: list[pl.DataFrame] = []
        self._last: tuple[Any, ...] | None = None
        self._schema = pa.schema([pa.field(c.name, ARROW_TYPES[c.dtype], c.nullable) for c in table.columns])
        # without Arrow's own schema: readers see plain Parquet types, not Arrow's dictionaries
        # encoding takes one core and no lock of Python's: the caller prepares the next block meanwhile
        self._encoder = ThreadPoolExecutor(max_workers=1)
        self._encoding: Future[None] | None = None
        self._sink: Any = pq.ParquetWriter(self._part, self._schema, compression="zstd", store_schema=False)

    def write(self, frame: pl.DataFrame) -> None:
        """Adds a block. Raises ContractError when it breaks the table's schema, order or key."""
        if self._fill is None:
            frame = conform(self._table, frame)
        else:
            frame = self._fill(conform(self._table, frame.with_columns(release_added=pl.lit(""))))
        if frame.height == 0:
            return
        self._check_order(frame)
        self.rows += frame.height
        self._pending.append(frame)
        if sum(f.height for f in self._pending) >= ROW_GROUP_ROWS:
            self._flush(whole_groups=True)

    def close(self) -> None:
        """Writes what is pending, syncs to disk and gives the file its name."""
        self._flush(whole_groups=False)
        self._wait()
        self._encoder.shutdown()
        self._sink.close()
        with self._part.open("rb") as part:
            os.fsync(part.fileno())
        os.replace(self._part, self._path)

    def discard(self) -> None:
        """Drops the file."""
        self._pending.clear()
        self._encoder.shutdown(cancel_futures=True)
        try:
            self._sink.close()
        finally:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.discard()
            return
        try:
            self.close()
        except BaseException:
            self.discard()
            raise

    def _flush(self, *, whole_groups: bool) -> None:
        if not self._pending:
            return
        rows = pl.concat(self._pending)
        ready = rows.height - rows.height % ROW_GROUP_ROWS if whole_groups else rows.height
        self._wait()
        self._encoding = self._encoder.submit(self._encode, rows.slice(0, ready))
        self._pending = [rows.slice(ready)] if ready < rows.height else []

    def _wait(self) -> None:
        """Raises here what went wrong while the last rows were written (a full disk, for one)."""
        if self._encoding is not None:
            self._encoding.result()
            self._encoding = None

    def _encode(self, rows: pl.DataFrame) -> None:
        # one group at a time: Arrow would hold the plain copy of all of them
        for start in range(0, rows.height, ROW_GROUP_ROWS):
            group = cast(Any, rows.slice(start, ROW_GROUP_ROWS))
            arrow = group.to_arrow(compat_level=pl.CompatLevel.oldest())
            self._sink.write_table(arrow.cast(self._schema), row_group_size=ROW_GROUP_ROWS)

    def _check_order(self, frame: pl.DataFrame) -> None:
        """Keys must increase strictly, in the block and from the block before: sorted and unique at once."""
        key = list(self._table.key)
        first, last = frame.row(0, named=True), frame.row(-1, named=True)
        place = unordered_row(frame, key)
        if place is None and self._last is not None and tuple(first[k] for k in key) <= self._last:
            place = 0
        if place is not None:
            found = {k: frame[k][place] for k in key}
            raise ContractError(
                self._table.name,
                f"des clés uniques et croissantes selon {key}",
                f"{found}, déjà présente ou plus petite que celle de la ligne d'avant",
                "trier les blocs, ou retirer les lignes en double",
            )
        self._last = tuple(last[k] for k in key)


def unordered_row(frame: pl.DataFrame, key: list[str]) -> int | None:
    """Position of the first row whose key is not greater than that of the row before; None when sorted."""
    if frame.height < 2:
        return None
    greater = pl.lit(False)
    equal = pl.lit(True)
    varying = [name for name in key if not (frame[name] == frame[name][0]).all()]  # a block is often of one indicator
    if not varying:
        return 1
    for name in varying:
        before = pl.col(name).shift(1)
        greater = greater | (equal & (pl.col(name) > before))
        equal = equal & (pl.col(name) == before)
    bad = frame.select(bad=~greater).to_series().slice(1).arg_true()
    return int(bad[0]) + 1 if bad.len() else None
