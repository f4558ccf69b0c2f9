"""The end of a deposit's retention: its file is erased, and all that was read or computed of it.

Published releases stay as they are, and so does the private register of what they told (`told/`): without it, a later
release could reveal by difference what an earlier one hid.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from shutil import rmtree

import polars as pl

from pipelines.stages.observations import observation_path
from pipelines.stages.told import forget_proposed
from pipelines.workspace import Workspace, WorkspaceError
from sources.deposits.contract import Contract
from sources.deposits.register import Event, Register, RegisterError, files_held, kept_until, years_in_force
from warehouse.catalogue import load_catalogue


def erase_ended(workspace: Workspace) -> list[str]:
    """Erases every deposited file whose retention has ended; what was done (French), one line a deposit.

    Takes the data folder. A file that another deposit brought as well stays until the end of its own. The register
    comes last: killed before, the next call does the same again, to the end. Raises WorkspaceError when another process
    holds the folder, or the register cannot be read.
    """
    register = Register(workspace.deposits_folder)
    if not register.path.exists():
        return []
    workspace.lock()
    today = datetime.now(UTC).date()
    try:
        with register.alone():
            contracts, held = workspace.contracts, files_held(register.events())
            ended = [e for e in held if e.contract in contracts and kept_until(e, contracts[e.contract]) <= today]
            _erase_bodies(workspace, {e.sha256 for e in held if e.kind == "accepted" and e not in ended})
            return [_erase(workspace, register, e, contracts[e.contract]) for e in ended]
    except RegisterError as error:
        raise WorkspaceError(str(error)) from error


def _erase_bodies(workspace: Workspace, kept: Collection[str | None]) -> None:
    """Erases the bodies that only deposits brought, but those to be kept: that of a deposit killed before the register
    knew it goes as well."""
    rows = workspace.store.history().select("sha256", deposited=pl.col("url").str.starts_with("deposit:"))
    public = rows.filter(~pl.col("deposited"))["sha256"]
    for sha256 in rows.filter("deposited")["sha256"].unique():
        if sha256 not in kept and sha256 not in public:
            workspace.store.erase(sha256)


def _erase(workspace: Workspace, register: Register, event: Event, contract: Contract) -> str:
    """Erases what else there is of a deposit, then says in the register that it is erased."""
    quarantine = workspace.deposits_folder / "quarantine" / event.deposit
    if quarantine.exists():
        rmtree(quarantine)
    if event.kind == "accepted":
        forget(workspace, contract.source_id, event.years)
        for copy in (workspace.data / "recipes").glob(f"*.told/{contract.source_id}"):  # it cannot be made again
            rmtree(copy)
    os.sync()  # the register never says erased what a power cut would bring back
    at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    years = tuple(years_in_force(register.events(), event))
    reason = f"conservation de {contract.retention_months} mois achevée le {kept_until(event, contract)}"
    register.add(Event("erased", event.deposit, event.contract, event.owner, at, years, reason=reason))
    return f"{event.deposit} effacé : {reason}"


def forget(workspace: Workspace, source_id: str, years: Iterable[int]) -> None:
    """Removes what was read of some years of a deposit, and all that was computed of it and is not published; the next
    run computes again what may still be."""
    for folder in (workspace.data / "core" / source_id, workspace.stage("settled", source_id)):
        for path in [p for year in years for p in folder.glob(f"{year}.*")]:
            path.unlink()
    protected = workspace.stage("protected", source_id)
    if protected.exists():
        rmtree(protected)
    forget_proposed(workspace.told / source_id)
    catalogue = load_catalogue()
    for indicator in catalogue.indicators:
        if source_id in catalogue.sources_of(indicator):
            observation_path(workspace, indicator).unlink(missing_ok=True)
