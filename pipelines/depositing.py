"""The `vigie deposit` commands: a partner's file through its contract, into the raw store or into quarantine."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from shutil import rmtree

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.stages import geography
from pipelines.stages.erasing import erase_ended, forget
from pipelines.stages.tables import sources_of
from pipelines.workspace import Workspace, WorkspaceError, replace_bytes
from sources.deposits.checking import Checked, Reference, check
from sources.deposits.contract import Contract, as_source, read_contract
from sources.deposits.faults import Fault, UnreadableError
from sources.deposits.forms import contract_text, csv_form, xlsx_form
from sources.deposits.gate import may_be_kept, persons_in
from sources.deposits.reading import Book, columns_of, load, read
from sources.deposits.register import Event, Register, RegisterError, files_held, kept_until, years_in_force
from sources.deposits.report import Refusal, as_html, as_text
from sources.raw_store import RawFile
from warehouse.catalogue import load_catalogue
from warehouse.release import PUBLIC

DONE, FAILED, USAGE = 0, 1, 2
PRIVATE = 0o600


@dataclass(frozen=True)
class _File:
    """A file brought by a partner; its name is shown on the screen and written nowhere: it may be a person's."""

    size: int
    data: bytes | None  # None when it was not even opened
    book: Book | None
    fault: Fault | None  # why there is no book


def new_contract(workspace: Workspace, name: str, out: Console, err: Console) -> int:
    """Writes the commented contract of that name, unless the folder has it, and its empty forms; the exit code."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        err.print(f"Contrat : attendu un nom en minuscules, chiffres et « _ » ; trouvé « {escape(name)} ».")
        return USAGE
    path = workspace.contracts_folder / f"{name}.yaml"
    if not path.exists():
        replace_bytes(path, contract_text(name).encode())
    try:
        contract = read_contract(path)
    except ValueError as error:
        return _told(err, error)
    forms = workspace.deposits_folder / "forms"
    replace_bytes(forms / f"{name}.csv", csv_form(contract))
    replace_bytes(forms / f"{name}.xlsx", xlsx_form(contract))
    out.print(f"Contrat : {path}", highlight=False, soft_wrap=True)
    out.print(f"Formulaires vierges : {forms / name}.csv et .xlsx", highlight=False, soft_wrap=True)
    out.print(
        "À faire : compléter le contrat, relancer cette commande s'il change, remplir un formulaire, puis "
        f"« vigie deposit FICHIER --contract {name} ».",
        highlight=False,
    )
    return DONE


def deposit(workspace: Workspace, path: Path, name: str | None, cog: int | None, out: Console, err: Console) -> int:
    """A partner's file through its contract; the exit code: 0 accepted, 1 refused with a report, 2 wrong usage."""
    file = _opened(path)
    register = Register(workspace.deposits_folder)
    try:
        contract = _contract_of(workspace, path, file, name)
        year = cog or contract.cog_year or _reference_cog(workspace)
        reference = _reference(workspace, year)
        workspace.claim()
        with register.alone():
            judged = _judge(file, contract, reference)
            if judged.checked.faults:
                return _refuse(workspace, register, contract, file, judged, out)
            return _accept(workspace, register, contract, file, judged.checked, year, out)
    except (RegisterError, WorkspaceError) as error:
        return _told(err, error)


def _told(err: Console, error: Exception) -> int:
    err.print(f"[red]Dépôt :[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
    return USAGE


def _opened(path: Path) -> _File:
    """The file and what can be read of it; one too large is not read at all."""
    size, data = path.stat().st_size, None
    try:
        data = load(path)
        return _File(size, data, read(data), None)
    except UnreadableError as error:
        return _File(size, data, None, error.fault)


def _contract_of(workspace: Workspace, path: Path, file: _File, name: str | None) -> Contract:
    """The contract asked for; else that of the form's name, else the only one that has these columns."""
    known = workspace.contracts
    stem = path.stem.lower()
    found = [n for n in known if n == name] if name else [n for n in known if stem == n or stem.startswith(f"{n}-")]
    if not found and name is None and file.book is not None:
        headers = [{h.casefold() for h in columns_of(table)[0]} for table in file.book.tables]
        found = [n for n, c in known.items() if any(_has_columns(c, h) for h in headers)]
    if len(found) != 1:
        raise WorkspaceError(
            f"attendu un contrat parmi {', '.join(known)} ; trouvé {name or 'aucun que ce fichier désigne'}. À faire : "
            "le nommer avec --contract, ou en écrire un (vigie deposit new)."
        )
    return known[found[0]]


def _has_columns(contract: Contract, headers: set[str]) -> bool:
    wanted = {c.name for c in contract.columns if not c.optional}
    return wanted <= headers <= {c.name for c in contract.columns}


# --- against the reference lists


def _reference_cog(workspace: Workspace) -> int:
    if not geography.path(workspace, "reference_members").exists():
        raise WorkspaceError(
            f"attendu les listes officielles de territoires dans {workspace.data} ; trouvé aucune. À faire : lancer "
            "« vigie run » une fois, puis déposer."
        )
    return geography.reference_cog(workspace)


def _reference(workspace: Workspace, year: int) -> Reference:
    """The codes of a COG year, and a way to find the years that know a code."""
    _reference_cog(workspace)

    @cache
    def codes_of(cog: int) -> dict[str, frozenset[str]]:
        held = geography.members_of_cog(workspace, cog).group_by(pl.col("level").cast(pl.String)).agg("code")
        return {level: frozenset(codes) for level, codes in held.iter_rows()} | _districts(workspace)

    def known_in(level: str, code: str) -> list[int]:
        years = geography.read(workspace, "passage")["from_year"].unique().sort()
        return [y for y in years if code in codes_of(y).get(level, frozenset())]

    return Reference(year, codes_of(year), datetime.now(UTC).date(), known_in)


def _districts(workspace: Workspace) -> dict[str, frozenset[str]]:
    """IRIS and QPV of the lists in use, whatever the COG, and the country."""
    table = geography.read(workspace, "territory").filter(pl.col("level").cast(pl.String).is_in(["IRIS", "QPV"]))
    held = table.group_by(pl.col("level").cast(pl.String)).agg("code")
    return {level: frozenset(codes) for level, codes in held.iter_rows()} | {"FRANCE": frozenset({"F"})}


# --- refused


@dataclass(frozen=True)
class _Judged:
    """What was found in a file. `kept`: its whole text was read, nobody is in it, and it has no words of its own."""

    checked: Checked
    kept: bool


def _judge(file: _File, contract: Contract, reference: Reference) -> _Judged:
    if file.book is None:
        assert file.fault is not None, "a file that is not read has a fault"
        return _Judged(Checked(faults=[file.fault]), kept=False)
    persons = persons_in(file.book, contract)
    if persons:  # nothing else is told: another fault would show a cell
        return _Judged(Checked(faults=persons), kept=False)
    return _Judged(check(file.book, contract, reference), kept=may_be_kept(file.book, contract))


def _refuse(
    workspace: Workspace, register: Register, contract: Contract, file: _File, judged: _Judged, out: Console
) -> int:
    """Writes the report, and the file when it may be kept; the exit code."""
    at = datetime.now(UTC)
    data = file.data if judged.kept else None
    sha256 = hashlib.sha256(data).hexdigest() if data is not None else None
    refusal = Refusal(contract, at, sha256, file.size, data is not None, judged.checked.faults)
    deposit_id = _identifier(register, contract)
    folder = workspace.deposits_folder / "quarantine" / deposit_id
    rmtree(folder, ignore_errors=True)  # of a process killed before the register
    folder.mkdir(mode=0o700, parents=True)
    _write(folder / "rapport.html", as_html(refusal).encode())
    _write(folder / "rapport.txt", as_text(refusal).encode())
    if data is not None and file.book is not None:
        _write(folder / f"depot.{file.book.format}", data)
    event = Event("refused", deposit_id, contract.name, contract.owner, _stamp(at), sha256=sha256, bytes=file.size)
    register.add(event)
    out.print(escape(as_text(refusal)), highlight=False, soft_wrap=True)
    out.print(f"Rapport à remettre au partenaire : {folder / 'rapport.html'}", highlight=False, soft_wrap=True)
    return FAILED


def _write(path: Path, data: bytes) -> None:
    """A file that only Vigie's account reads."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as file:
        file.write(data)


def _identifier(register: Register, contract: Contract) -> str:
    """The next deposit of a contract, refused ones counted: short, since a person types it."""
    before = [e for e in register.events() if e.contract == contract.name and e.kind in ("accepted", "refused")]
    return f"{contract.name}-{len(before) + 1:04d}"


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


# --- accepted


def _accept(
    workspace: Workspace, register: Register, contract: Contract, file: _File, checked: Checked, cog: int, out: Console
) -> int:
    """The body, its rows in the index, then the register: a deposit exists once the register says so."""
    assert file.data is not None and file.book is not None, "an accepted file was read"
    sha256 = hashlib.sha256(file.data).hexdigest()
    today = datetime.now(UTC).date()
    held = {y: e for y, e in register.in_force(contract.name).items() if kept_until(e, contract) > today}
    before = [held[y] for y in checked.years if y in held]
    if len(before) == len(checked.years) and all(_same(e, sha256, cog) for e in before):
        out.print(f"Ce fichier est déjà en vigueur ({before[0].deposit}) : rien à faire.", highlight=False)
        return DONE
    at = datetime.now(UTC)
    workspace.store.add(file.data, PRIVATE)
    source = as_source(contract)
    deposit_id = _identifier(register, contract)
    urls = [contract.edition(y, deposit_id, file.book.format, cog) for y in checked.years]
    workspace.store.record(
        [
            RawFile(
                source.source_id,
                e.edition,
                e.url,
                e.url,
                at,
                None,
                None,
                sha256,
                file.size,
                source.licence,
                source.producer,
            )
            for e in urls
        ]
    )
    for folder in (workspace.data / "core" / source.source_id, workspace.stage("settled", source.source_id)):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    replaced = tuple(dict.fromkeys(e.deposit for e in before))
    register.add(
        Event(
            "accepted",
            deposit_id,
            contract.name,
            contract.owner,
            _stamp(at),
            tuple(checked.years),
            sha256,
            file.size,
            file.book.format,
            cog,
            replaced,
        )
    )
    shown = {s.source_id for s in sources_of(workspace, load_catalogue(), PUBLIC)}
    who = "les deux éditions" if source.source_id in shown else "l'édition des partenaires"
    _show_accepted(contract, deposit_id, checked, cog, replaced, out)
    out.print(f"À faire : « vigie run » le publie, après protection, dans {who}.", highlight=False)
    return DONE


def _same(event: Event, sha256: str, cog_year: int) -> bool:
    return (event.sha256, event.cog_year) == (sha256, cog_year)


def _show_accepted(
    contract: Contract, deposit_id: str, checked: Checked, cog: int, replaced: Sequence[str], out: Console
) -> None:
    out.print(f"[green]Dépôt accepté :[/green] {deposit_id}", highlight=False)
    years = ", ".join(map(str, checked.years))
    rows = f"{len(checked.rows)} lignes, {years}, COG {cog}"
    out.print(f"  {escape(contract.title)} ({escape(contract.owner)}) : {rows}", highlight=False)
    for notice in checked.notices:
        out.print(f"  {escape(notice)}", highlight=False)
    for old in replaced:
        out.print(f"  remplace {old}, qui reste dans le magasin brut", highlight=False)


# --- what became of them


def withdraw(workspace: Workspace, deposit_id: str, reason: str, out: Console, err: Console) -> int:
    """Takes a deposit in force out of the next release; what was read of it goes, the register keeps the event."""
    register = Register(workspace.deposits_folder)
    try:
        workspace.lock()  # a run in progress would write its figures again
        with register.alone():
            contracts, events = workspace.contracts, register.events()
            found = next((e for e in events if e.kind == "accepted" and e.deposit == deposit_id), None)
            years = years_in_force(events, found) if found else []
            if found is None or not years:
                known = "remplacé ou retiré" if found else "inconnu"
                raise WorkspaceError(
                    f"attendu un dépôt en vigueur ; trouvé « {deposit_id} », {known}. "
                    "À faire : le choisir dans « vigie deposit list »."
                )
            register.add(
                Event(
                    "withdrawn",
                    deposit_id,
                    found.contract,
                    found.owner,
                    _stamp(datetime.now(UTC)),
                    tuple(years),
                    reason=reason,
                )
            )
            forget(workspace, contracts[found.contract].source_id, years)
    except (RegisterError, WorkspaceError) as error:
        return _told(err, error)
    out.print(
        f"{deposit_id} est retiré ({', '.join(map(str, years))}) : absent de la prochaine publication (« vigie run »). "
        "Les publications passées gardent ce qu'elles montraient ; le fichier reste dans le magasin brut.",
        highlight=False,
        soft_wrap=True,
    )
    return DONE


def list_deposits(workspace: Workspace, out: Console, err: Console) -> int:
    """Erases what is no longer kept, then prints every deposit, oldest first, and the contracts that have none."""
    with suppress(WorkspaceError):  # a run that goes on has erased it; what cannot be read is told below
        erase_ended(workspace)
    try:
        events, contracts = Register(workspace.deposits_folder).events(), workspace.contracts
    except (RegisterError, WorkspaceError) as error:
        return _told(err, error)
    table = Table(box=SIMPLE_HEAD)
    table.add_column("Dépôt", no_wrap=True)
    for name in ("Propriétaire", "Années", "Reçu le", "État", "À effacer le"):
        table.add_column(name)
    held = files_held(events)
    for event in (e for e in events if e.kind in ("accepted", "refused")):
        years = ", ".join(map(str, event.years))
        contract = contracts.get(event.contract)
        until = str(kept_until(event, contract)) if event in held and contract else ""
        table.add_row(event.deposit, escape(event.owner), years, event.at[:10], escape(_state(events, event)), until)
    out.print(table)
    silent = [n for n in contracts if not any(e.contract == n and e.kind == "accepted" for e in events)]
    out.print(f"Contrats sans dépôt : {', '.join(silent) or 'aucun'}.", highlight=False)
    return DONE


def _state(events: Sequence[Event], event: Event) -> str:
    """What a deposit is worth now (French)."""
    later = [e for e in events[events.index(event) + 1 :] if e.contract == event.contract]
    erased = next((e for e in later if e.kind == "erased" and e.deposit == event.deposit), None)
    if erased:
        return f"effacé le {erased.at[:10]} ({erased.reason})"
    if event.kind == "refused":
        return "refusé, en quarantaine"
    years = years_in_force(events, event)
    withdrawn = [e for e in later if e.kind == "withdrawn" and e.deposit == event.deposit]
    if withdrawn:
        reason = f" ({withdrawn[-1].reason})" if withdrawn[-1].reason else ""
        return f"retiré le {withdrawn[-1].at[:10]}{reason}"
    if not years:
        return f"remplacé par {next(e.deposit for e in later if event.deposit in e.replaces)}"
    return "en vigueur" if len(years) == len(event.years) else f"en vigueur pour {', '.join(map(str, years))}"
