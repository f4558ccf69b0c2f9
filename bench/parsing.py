"""Reading every file that the last run acquired, in full: Vigie's parsers, or pandas on the same tables.

`python -m bench.parsing polars|pandas`, in the data folder of VIGIE_DATA. pandas reads each table with its own
reader (read_excel on calamine, the only engine that opens them all; read_csv) into text columns: it does none of
the typing, statuses and checks of the parsers.
"""

from __future__ import annotations

import io
import sys

from pipelines.settings import Settings
from pipelines.workspace import Workspace
from sources.archive import members
from sources.description import Edition, Source, parser_of


def main() -> None:
    """Reads everything once, with the reader named on the command line."""
    workspace = Workspace(Settings())
    read = {"polars": with_polars, "pandas": with_pandas}[sys.argv[1]]
    for source in workspace.sources.values():
        for edition in workspace.present(source):
            raw = workspace.store.latest(source.source_id, edition.edition)
            if raw is not None:
                read(source, edition, members(source, edition, workspace.store.read(raw.sha256)))


def with_polars(source: Source, edition: Edition, files: dict[str, bytes]) -> None:
    parser_of(source)(source, edition, files)


def with_pandas(source: Source, edition: Edition, files: dict[str, bytes]) -> None:
    import pandas as pd

    sheets = {m.sheet for m in edition.members if m.sheet}
    for name, data in files.items():
        if name.lower().endswith((".xls", ".xlsx")) or edition.format in ("xls", "xlsx"):
            pd.read_excel(
                io.BytesIO(data), sheet_name=sorted(sheets) or None, dtype=str, header=None, engine="calamine"
            )
        else:
            head = data[:4000]
            separator = max((b";", b"\t", b","), key=head.count).decode()
            pd.read_csv(io.BytesIO(data), sep=separator, dtype=str, encoding=encoding(data), low_memory=False)


def encoding(data: bytes) -> str:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


if __name__ == "__main__":
    main()
