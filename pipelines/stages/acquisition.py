"""From the producers' sites to typed frames: raw bytes, then one core Parquet an edition."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import polars as pl

from expectations.adapter import warm_up
from pipelines.logs import LOG
from pipelines.workspace import Workspace, digest, in_pairs, refresh, replace_bytes
from sources.archive import members
from sources.client import Client, Outcome
from sources.deposits.contract import Deposited
from sources.description import Edition, Source, parser_of
from sources.errors import AcquisitionError, BodyRefusedError, DiskError, LayoutError, NotPublishedError, SourceError
from sources.raw_store import RawStoreError

KINDS, LAST = "outcomes.json", "last_outcomes.json"
REPLACED = "remplacées à leur adresse"  # of what is shown of a source that was read
SECOND_TRY = 5.0  # seconds before what did not answer is asked once more


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


def acquire(
    workspace: Workspace, sources: Sequence[Source], only: Collection[tuple[str, str]] | None = None
) -> list[Outcome]:
    """Fetches every asked edition, or those in `only` (source, edition); one outcome an edition.

    What failed is noted for the release, and stops nothing. A site that did not answer is asked a second time, alone;
    one whose file was refused is not. Raises AcquisitionError when the disk refuses, or when nothing asked of a site
    came: there is nothing new to publish then.
    """
    asked = [
        (s, e) for s in sources for e in workspace.editions(s) if only is None or (s.source_id, e.edition) in only
    ]
    with workspace.progress.step("Acquisition", len(asked)) as step:

        class _Shown:
            def started(self, name: str, total: int | None) -> None: ...

            def advanced(self, name: str, count: int) -> None: ...

            def finished(self, name: str, outcome: Outcome) -> None:
                step.advance(name)
                level = logging.WARNING if outcome.kind == "failed" else logging.INFO
                told = f"{outcome.kind} : {outcome.error}" if outcome.error else outcome.kind
                LOG.log(level, "%s", told, extra={"source": outcome.source_id, "edition": outcome.edition})

        outcomes = client(workspace).fetch_all(asked, progress=_Shown())
        silent = {i: asked[i] for i, o in enumerate(outcomes) if may_recover(o)}
        if silent:
            time.sleep(SECOND_TRY)
            for i, outcome in zip(silent, client(workspace).fetch_all(silent.values()), strict=True):
                outcomes[i] = outcome
    last = {f"{o.source_id}/{o.edition}": o.kind for o in outcomes}
    replace_bytes(workspace.stage(LAST), json.dumps(last).encode())
    replace_bytes(workspace.stage(KINDS), json.dumps(kinds(workspace) | last).encode())
    _refuse_failure_of_ours(asked, outcomes)
    for source in sources:
        own = [o for o in outcomes if o.source_id == source.source_id]
        failed = {o.edition: str(o.error) for o in own if o.kind == "failed"}
        workspace.note_failures("raw", source.source_id, [o.edition for o in own], failed)
    if workspace.settings.executor == "in_process" and any(o.kind in ("fetched", "changed") for o in outcomes):
        # checks will be run: importing their library takes seconds of the core that parsing leaves idle. It imports
        # sqlalchemy, which Dagster uses meanwhile: half imported in a thread, it breaks in the other
        import_module("sqlalchemy.orm")
        Thread(target=warm_up, daemon=True).start()
    return outcomes


def kinds(workspace: Workspace, name: str = KINDS) -> dict[str, str]:
    """source/edition -> kind of the outcome when it was last asked, in this run or before; LAST: of those that were
    asked last."""
    path = workspace.stage(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


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


def may_recover(outcome: Outcome) -> bool:
    """Whether trying again may help: a site that did not answer, not a body that was refused, a file that is not there
    or a disk that is full."""
    lasting = (BodyRefusedError, DiskError, NotPublishedError)
    error = outcome.error
    return outcome.kind == "failed" and isinstance(error, AcquisitionError) and not isinstance(error, lasting)


def _refuse_failure_of_ours(asked: Sequence[tuple[Source, Edition]], outcomes: Sequence[Outcome]) -> None:
    """Raises AcquisitionError when the fault is on this side: a disk that refuses, or not one site that delivers."""
    for error in (o.error for o in outcomes):
        if isinstance(error, DiskError):
            raise error
    of_sites = [o for (_, e), o in zip(asked, outcomes, strict=True) if e.connector not in ("typed", "deposit")]
    several = len({urlsplit(o.url).netloc for o in of_sites}) > 1  # of a single site, what is refused is its own fault
    if of_sites and all(may_recover(o) or (several and o.kind == "failed") for o in of_sites):
        raise AcquisitionError(
            "acquisition",
            "",
            f"au moins un fichier des {len(of_sites)} éditions demandées",
            f"aucun ; le premier échec : {of_sites[0].error}",
            "vérifier le réseau de la machine, le mandataire (proxy) et VIGIE_MIRROR, puis relancer",
        )


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
            REPLACED: self.replaced,
            "illisibles": [e.edition for e in self.errors],
            "secondes": round(self.seconds, 2),
        }


def parse(workspace: Workspace, source: Source, years: set[int] | None) -> ParseReport:
    """Writes the core Parquet of each edition whose raw bytes or parser changed. An edition that cannot be read keeps
    the one of its last good reading, if there was one; every error is collected, and noted for the release."""
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
    failed = {e.edition: str(e) for e in report.errors}
    workspace.note_failures("core", source.source_id, [e.edition for e in asked], failed)
    report.seconds = time.monotonic() - started
    return report


def _refresh(workspace: Workspace, source: Source, edition: Edition) -> bool | SourceError | None:
    """True when the core Parquet was written, False when it was up to date, None when nothing was acquired, the error
    of a body that cannot be read: an earlier one is then read, unless its core Parquet is still there. An older deposit
    never comes back so: it was replaced or withdrawn."""
    raw = workspace.store.latest(source.source_id, edition.edition)
    if raw is None:
        return None
    try:
        return _written(workspace, source, edition, raw.sha256)
    except SourceError as error:
        target = workspace.core(source.source_id, edition.edition)
        if isinstance(source, Deposited):
            if target.exists() and workspace.raw_sha256(source, edition) != raw.sha256:
                target.unlink()
            return error
        for sha256 in workspace.store.earlier(source.source_id, edition.edition):
            if target.exists():
                break
            with suppress(SourceError):
                _written(workspace, source, edition, sha256)
        return error


def _written(workspace: Workspace, source: Source, edition: Edition, sha256: str) -> bool:
    """Writes the core Parquet of a body, unless it is up to date: whether it did."""
    target = workspace.core(source.source_id, edition.edition)
    fingerprint = digest(f"{sha256} {edition.model_dump_json()} {workspace.parser_digest}")
    return refresh(target, fingerprint, lambda: _read(workspace, source, edition, sha256), raw=sha256)


def _read(workspace: Workspace, source: Source, edition: Edition, sha256: str) -> pl.DataFrame:
    data = _body(workspace, source, edition, sha256)
    return parser_of(source)(source, edition, members(source, edition, data))


def _body(workspace: Workspace, source: Source, edition: Edition, sha256: str) -> bytes:
    """A stored body, its hash verified. One that is lost or altered is set aside and asked again of its producer.

    Raises AcquisitionError when what comes is not the same: the next run, which asks for everything, will take it.
    """
    store = workspace.store
    try:
        return store.read(sha256, verify=True)
    except RawStoreError as error:
        if store.path(sha256).exists():
            store.set_aside(sha256)
        client(workspace).fetch(source, edition)
        try:
            return store.read(sha256, verify=True)
        except RawStoreError:
            raise AcquisitionError(
                source.source_id,
                edition.edition,
                "le fichier reçu, intact dans le magasin brut",
                f"un fichier perdu ou altéré, et que le producteur ne sert plus tel quel ({error})",
                "relancer « vigie run », qui prendra ce que le producteur sert ; d'un dépôt, restaurer raw d'une "
                "sauvegarde ou déposer de nouveau ; faire examiner le disque",
            ) from error
