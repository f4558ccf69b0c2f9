"""What releases told of partners' figures: a private register of the data folder, `told/`, that outsiders' knowledge is
computed from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import polars as pl

from methods.register import published
from methods.tables import CELLS
from pipelines.workspace import replace_bytes, replace_frame

PUBLISHING = ".publishing"  # names the release being published


class Told:
    """What the releases told of some columns of a deposit that are protected together; a release being built proposes
    what it would add, which counts once it is published."""

    PARTS = ("values", "cells", "relations")

    def __init__(self, folder: Path, group: str) -> None:
        self._folder, self._group = folder, group

    def _path(self, part: str, draft: bool = False) -> Path:
        return self._folder / f"{self._group}.{part}.{'proposed' if draft else 'parquet'}"

    def _read(self, part: str, schema: dict[str, Any]) -> pl.DataFrame:
        path = self._path(part)
        return pl.read_parquet(path) if path.exists() else pl.DataFrame(schema=schema)

    def values(self) -> pl.DataFrame:
        """(cell, value, version): the last figures deposited."""
        return self._read("values", {"cell": pl.String, "value": pl.Float64, "version": pl.Int64})

    def cells(self) -> pl.DataFrame:
        """Cells of every release, as published."""
        return self._read("cells", CELLS)

    def relations(self) -> pl.DataFrame:
        """Sums of every release: (relation, cell, coefficient)."""
        return self._read("relations", {"relation": pl.String, "cell": pl.String, "coefficient": pl.Float64})

    def propose(self, values: pl.DataFrame, cells: pl.DataFrame, relations: pl.DataFrame) -> None:
        """Keeps what the release being built tells, until it is published."""
        parts = pl.col("cell").str.split("#")
        named = values.select(parts.list.first().alias("cell"), "value", version=parts.list.last().cast(pl.Int64))
        gone = self.values().join(named, on="cell", how="anti")  # a year that comes back goes on from its last version
        frames = (
            pl.concat([named, gone]),
            pl.concat([self.cells(), published(cells).select(*CELLS)]).unique(maintain_order=True),
            relations,
        )
        for part, frame in zip(self.PARTS, frames, strict=True):
            replace_frame(self._path(part, draft=True), frame)
            self._path(part, draft=True).chmod(0o600)


def proposal(folder: Path) -> str:
    """Digest of all that is proposed and not published: a candidate that waits is published with that, or not at all.
    Private, for what is proposed could be tried until it agrees."""
    total = hashlib.sha256()
    for draft in sorted(folder.glob("*/*.proposed")):
        total.update(str(draft.relative_to(folder)).encode() + hashlib.sha256(draft.read_bytes()).digest())
    return total.hexdigest()


def announce(folder: Path, release_id: str) -> None:
    """Says which release is about to be published; what it tells is proposed already. folder: `told/`."""
    replace_bytes(folder / PUBLISHING, release_id.encode())


def accept(folder: Path) -> None:
    """What the release just published tells becomes what releases told."""
    for draft in sorted(folder.glob("*/*.proposed")):
        os.replace(draft, draft.with_suffix(".parquet"))
    (folder / PUBLISHING).unlink()


def recover(folder: Path, published: Collection[str]) -> None:
    """Finishes what a killed publication left. published: the releases there are."""
    announced = folder / PUBLISHING
    if announced.exists():
        if announced.read_text(encoding="utf-8") in published:
            accept(folder)
        else:
            announced.unlink()


def forget_proposed(folder: Path) -> None:
    """Drops what a release that was never published would have told of one deposit."""
    for draft in folder.glob("*.proposed"):
        draft.unlink()
