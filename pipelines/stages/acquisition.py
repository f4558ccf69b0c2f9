"""From the producers' sites to typed frames: raw bytes, then one core Parquet an edition."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl

from expectations.adapter import warm_up
from pipelines.workspace import Workspace, digest, in_pairs, refresh
from sources.archive import members
from sources.client import Client, Outcome
from sources.deposits.contract import Deposited
from sources.description import Edition, Source, parser_of
from sources.errors import BodyRefusedError, LayoutError, SourceError


def client(workspace: Workspace) -> Client:
    """The HTTP client of the profile: producers, their mirror, or the generated country's folder."""
    settings = workspace.settings
    return Client(
        workspace.store,
        mirror=settings.mirror if settings.profile == "mirror" else None,
        directory=demo_folder(workspace) if settings.profile == "demo" else None,
        read_timeout=settings.timeout,
        deadline=settings.deadline,
        attempts=settings.attempts,
    )


def demo_folder(workspace: Workspace) -> Path:
    """The generated country's files, laid out as HOST/PATH; made once for a size and a seed."""
    from sources.demo.generate import generate

    settings = workspace.settings
    folder = workspace.stage("demo", f"{settings.demo_communes}-{settings.demo_seed}-{workspace.parser_digest[:12]}")
    done = folder / "DONE"
    if not done.exists():
        with workspace.progress.step("Pays fictif", 1) as step:
            generate(folder, seed=settings.demo_seed, communes=settings.demo_communes)
            done.touch()
            step.advance()
    return folder


def acquire(workspace: Workspace, sources: Sequence[Source]) -> list[Outcome]:
    """Fetches every asked edition; one outcome an edition, no exception for one file's failure."""
    asked = [(s, e) for s in sources for e in workspace.editions(s)]
    with workspace.progress.step("Acquisition", len(asked)) as step:

        class _Shown:
            def started(self, name: str, total: int | None) -> None: ...

            def advanced(self, name: str, count: int) -> None: ...

            def finished(self, name: str, outcome: Outcome) -> None:
                step.advance(name)

        outcomes = client(workspace).fetch_all(asked, progress=_Shown())
    workspace.outcomes = outcomes
    if any(o.kind in ("fetched", "changed") for o in outcomes):
        # checks will be run: importing their library takes seconds of the core that parsing leaves idle. It imports
        # sqlalchemy, which Dagster uses meanwhile: half imported in a thread, it breaks in the other
        import_module("sqlalchemy.orm")
        Thread(target=warm_up, daemon=True).start()
    return outcomes


def acquisition_report(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """What to show of each source's raw files."""
    by_source: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_source.setdefault(outcome.source_id, []).append(outcome)
    return {
        source_id: {
            "éditions": len(found),
            "octets": sum(o.bytes for o in found),
            "nouvelles": [o.edition for o in found if o.kind == "fetched"],
            "modifiées chez le producteur": [o.edition for o in found if o.kind == "changed"],
            "inchangées": [o.edition for o in found if o.kind == "unchanged"],
            "absentes chez le producteur": [o.edition for o in found if o.kind == "not_published"],
            "en échec": [str(o.error) for o in found if o.kind == "failed"],
        }
        for source_id, found in by_source.items()
    }


def may_recover(failed: Iterable[Outcome]) -> bool:
    """Whether trying again may help: a site that does not answer, not a body that is refused."""
    return not any(isinstance(o.error, BodyRefusedError) for o in failed)


@dataclass
class ParseReport:
    """What became of one source's editions."""

    written: list[str] = field(default_factory=list[str])
    kept: list[str] = field(default_factory=list[str])
    replaced: list[str] = field(default_factory=list[str])  # another edition now stands at their address
    rows: int = 0
    seconds: float = 0.0
    sample: pl.DataFrame | None = None  # first rows of the newest edition
    errors: list[SourceError] = field(default_factory=list[SourceError])

    def metadata(self) -> dict[str, Any]:
        return {
            "lignes": self.rows,
            "éditions lues": self.written,
            "éditions à jour": self.kept,
            "remplacées à leur adresse": self.replaced,
            "secondes": round(self.seconds, 2),
        }


def parse(workspace: Workspace, source: Source, years: set[int] | None) -> ParseReport:
    """Writes the core Parquet of each edition whose raw bytes or parser changed; collects every error."""
    report = ParseReport()
    asked = [e for e in workspace.editions(source) if years is None or e.data_year in years]
    started = time.monotonic()
    with workspace.progress.step(f"Lecture {source.source_id}", len(asked)) as step:
        for edition, fresh in zip(asked, in_pairs(lambda e: _refresh(workspace, source, e), asked), strict=True):
            step.advance(edition.edition)
            if isinstance(fresh, LayoutError) and edition.reused_url:
                report.replaced.append(f"{edition.edition} : {fresh}")
            elif isinstance(fresh, SourceError):
                report.errors.append(fresh)
            elif fresh is not None:
                (report.written if fresh else report.kept).append(edition.edition)
                target = workspace.core(source.source_id, edition.edition)
                report.rows += pl.scan_parquet(target).select(pl.len()).collect().item()
                if not isinstance(source, Deposited):  # what is shown of a run goes to its log: nothing unprotected
                    report.sample = pl.scan_parquet(target).head(5).collect()
    workspace.replaced += [f"{source.source_id} {told}" for told in report.replaced]
    report.seconds = time.monotonic() - started
    return report


def _refresh(workspace: Workspace, source: Source, edition: Edition) -> bool | SourceError | None:
    """True when the core Parquet was written, False when it was up to date, None when nothing was acquired."""
    raw = workspace.store.latest(source.source_id, edition.edition)
    if raw is None:
        return None
    target = workspace.core(source.source_id, edition.edition)
    fingerprint = digest(f"{raw.sha256} {edition.model_dump_json()} {workspace.parser_digest}")
    try:
        return refresh(target, fingerprint, lambda: _read(workspace, source, edition, raw.sha256), raw=raw.sha256)
    except SourceError as error:
        return error


def _read(workspace: Workspace, source: Source, edition: Edition, sha256: str) -> pl.DataFrame:
    data = workspace.store.read(sha256, verify=True)
    return parser_of(source)(source, edition, members(source, edition, data))
