"""Where Dagster keeps the history of runs: its own SQLite files, opened once and not once an event."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage, SqliteStorageConfig
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.event import listen
from sqlalchemy.pool import StaticPool


class EventLog(SqliteEventLogStorage):
    """Dagster's event log, whose connections stay open: of the index, and of the run spoken of last.

    Dagster opens and closes a file two or three times an event. The last to close a SQLite file moves its journal into
    it and waits for the disk: of a run of a thousand events, that was most of the time that Dagster takes.
    """

    def __init__(self, base_dir: str):
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:  # one thread at a time, hence one connection a file
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                yield connection

    def store_event(self, event: EventLogEntry) -> None:
        """Stores it, and tells who watches: the pages that follow a run wait for its file to change, and what is
        written stays in the journal beside it."""
        super().store_event(event)
        os.utime(self.path_for_shard(event.run_id))

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            for other in self._engines.keys() - {INDEX_SHARD_NAME}:
                self._engines.pop(other).dispose()
            engine = self._engines[shard] = create_engine(
                self.conn_string_for_shard(shard),
                poolclass=StaticPool,
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            )
            # a power cut may lose the last events of a run, never the file; a killed process loses nothing
            listen(engine, "connect", lambda opened, _: opened.execute("PRAGMA synchronous = NORMAL"))
        return self._engines[shard]

    def dispose(self) -> None:
        """Closes the files, once the observer that reads them is stopped."""
        super().dispose()
        with self._db_lock:
            for engine in self._engines.values():
                engine.dispose()
            self._engines.clear()


class History(DagsterSqliteStorage):
    """Dagster's storage in SQLite files, in the same folders, with that event log."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None):
        super().__init__(base_dir, inst_data)
        self._event_log_storage = EventLog(os.path.join(base_dir, "history", "runs", ""))

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: SqliteStorageConfig) -> History:
        return cls(inst_data=inst_data, **config_value)
