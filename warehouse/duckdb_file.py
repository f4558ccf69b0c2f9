"""The DuckDB file: built from a release's Parquet by one writer, with comments, views and macros.

Only building and reading back what was built; when it is built and where it goes is `release.py`'s matter.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import duckdb

from warehouse.models import TABLES, Table, quoted

SQL = Path(__file__).parent / "sql"
STORAGE_VERSION = "v1.0.0"  # what DuckDB 1.4 and older can open
THREADS = 2
MEMORY_LIMIT = "800MB"


class DatabaseError(Exception):
    """The DuckDB file cannot be built as declared. The message (French) says what to do."""


@contextmanager
def engine(scratch: Path | None = None) -> Generator[duckdb.DuckDBPyConnection, None, None]:
    """An in-memory DuckDB with bounded memory, silent, fetching nothing; what it spills goes to `scratch`."""
    connection = duckdb.connect()
    try:
        connection.execute(f"SET threads = {THREADS}")
        connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET autoinstall_known_extensions = false")
        connection.execute(f"SET temp_directory = {quoted(str(scratch) if scratch else '')}")
        yield connection
    finally:
        connection.close()


def begin_database(tables: Path, target: Path) -> None:
    """Builds the first part of `target`, nine tenths of the time: the large tables of the folder `tables`.

    It may go on while the small ones are still written. A column or table that the folder lacks (a release of an
    older version) stays empty.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with _writing(target) as connection:
        for table in TABLES.values():
            if not table.csv:
                _load(connection, table, tables / f"{table.name}.parquet")


def finish_database(tables: Path, target: Path, *, notice: str | None = None) -> None:
    """Adds the small tables, comments, views and macros to a file begun by begin_database, and syncs it to disk.

    `notice` opens the comment of every table. Raises DatabaseError when an object is left without a comment.
    """
    with _writing(target) as connection:
        connection.execute("BEGIN")  # hundreds of statements: each would wait for the disk on its own
        for table in TABLES.values():
            if table.csv:
                _load(connection, table, tables / f"{table.name}.parquet")
            for comment in table.comments(notice):
                connection.execute(comment)
        create_views(connection)
        connection.execute("COMMIT")
        silent = uncommented(connection)
        if silent:
            raise DatabaseError(
                f"attendu un COMMENT sur chaque objet de la base ; trouvé sans commentaire : {silent}. "
                "À faire : compléter warehouse/models.py ou warehouse/sql."
            )
        connection.execute("CHECKPOINT vigie")
    with target.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _writing(target: Path) -> Generator[duckdb.DuckDBPyConnection, None, None]:
    """An engine at work in a file of its own."""
    with engine(target.parent / "scratch") as connection:
        connection.execute(f"ATTACH {quoted(str(target))} AS vigie (STORAGE_VERSION {quoted(STORAGE_VERSION)})")
        connection.execute("USE vigie")
        # with the order kept, two threads write many small blocks: half as slow again and a third larger
        connection.execute("SET preserve_insertion_order = false")
        yield connection
        connection.execute("USE memory")
        connection.execute("DETACH vigie")


def _load(connection: duckdb.DuckDBPyConnection, table: Table, parquet: Path) -> None:
    relation = f"read_parquet({quoted(str(parquet))})"
    found: set[str] = set()
    if parquet.exists():
        found = {str(row[0]) for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    enums = {name: f'"code_{name}"' for name in table.enums if name in found}
    for name, kind in enums.items():
        codes = f'SELECT DISTINCT "{name}" FROM {relation} WHERE "{name}" IS NOT NULL ORDER BY 1'
        connection.execute(f"CREATE TYPE {kind} AS ENUM ({codes})")
    connection.execute(table.ddl(enums))
    if found:
        columns = ", ".join(f'"{name}"' for name in table.names if name in found)
        connection.execute(f'INSERT INTO "{table.name}" BY NAME SELECT {columns} FROM {relation}')


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """The declared tables, empty, with their comments: for tests and for the dictionary of views."""
    for table in TABLES.values():
        connection.execute(table.ddl())
        for comment in table.comments():
            connection.execute(comment)


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """The French views and macros of `sql/`, in the order of the files' names."""
    for path in sorted(SQL.glob("*.sql")):
        connection.execute(path.read_text(encoding="utf-8"))


def uncommented(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """Tables, views, columns and macros of the current database that have no comment."""
    rows = connection.execute(
        """
        SELECT name FROM (
          SELECT table_name AS name, comment FROM duckdb_tables()
            WHERE database_name = current_database() AND NOT internal
          UNION ALL SELECT view_name, comment FROM duckdb_views()
            WHERE database_name = current_database() AND NOT internal
          UNION ALL SELECT table_name || '.' || column_name, comment FROM duckdb_columns()
            WHERE database_name = current_database() AND NOT internal
          UNION ALL SELECT function_name, comment FROM duckdb_functions()
            WHERE database_name = current_database() AND NOT internal
        ) WHERE coalesce(comment, '') = '' ORDER BY name
        """
    ).fetchall()
    return [str(row[0]) for row in rows]


@lru_cache(maxsize=1)
def views_and_macros() -> tuple[tuple[str, str], ...]:
    """Name and comment of every view and macro, in the order of their declaration."""
    with engine() as connection:
        create_tables(connection)
        create_views(connection)
        rows = connection.execute(
            """
            SELECT view_name, comment FROM (
              SELECT view_name, comment, view_oid AS oid, 1 AS part FROM duckdb_views() WHERE NOT internal
              UNION ALL SELECT function_name, comment, function_oid, 2 FROM duckdb_functions()
                WHERE NOT internal
            ) ORDER BY part, oid
            """
        ).fetchall()
    return tuple((str(name), str(comment)) for name, comment in rows)


def published_in(database: Path) -> str | None:
    """The release that the file holds; None when it is missing, cannot be opened or is not whole."""
    if not database.exists():
        return None
    # attached, not connected to: inside one process a second connection may still be given a replaced file
    with engine() as connection:
        try:
            connection.execute(f"ATTACH {quoted(str(database))} AS published (READ_ONLY)")
            connection.execute("SELECT count(*) FROM published.observation").fetchall()
            rows = connection.execute("SELECT release_id FROM published.v_publication").fetchall()
        except duckdb.Error:
            return None
    return str(rows[0][0]) if rows else None
