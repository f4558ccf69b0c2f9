"""How a run shows that it advances: nothing, or a display in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class Step(Protocol):
    def advance(self, what: str = "") -> None:
        """One more unit is done."""


class Reporter(Protocol):
    """What long work reports to."""

    def step(self, title: str, total: int) -> AbstractContextManager[Step]: ...


class _Nothing:
    def advance(self, what: str = "") -> None:
        return None


class Silent:
    """Reports nothing: for Dagster's page, whose own log and metadata tell the run."""

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Step]:
        yield _Nothing()


class Terminal:
    """A progress display on standard error, one line per stage."""

    def __init__(self, shown: bool = True) -> None:
        from rich.console import Console

        console = Console(stderr=True)
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<34}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[what]}"),
            console=console,
            disable=not shown,
            auto_refresh=console.is_terminal,  # elsewhere only the last state is shown: nothing to draw meanwhile
            refresh_per_second=4,
        )

    @contextmanager
    def step(self, title: str, total: int) -> Iterator[Step]:
        task = self.progress.add_task(title, total=total, what="")
        progress = self.progress

        class _Step:
            def advance(self, what: str = "") -> None:
                progress.update(task, advance=1, what=what)

        yield _Step()
        progress.update(task, completed=total, what="")
