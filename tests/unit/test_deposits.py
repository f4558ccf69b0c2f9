"""A partner's file through its contract: accepted whole, or refused with a report, nothing of it in the warehouse."""

from __future__ import annotations

import hashlib
import html
import io
import json
import re
import resource
from collections.abc import Callable
from datetime import date
from pathlib import Path

import deposit_cases as cases
import polars as pl
import pytest
import yaml
from deposit_cases import Case
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from methods.indicators import Published
from pipelines import depositing
from pipelines.settings import Settings
from pipelines.stages import acquisition, geography
from pipelines.stages.erasing import erase_ended
from pipelines.workspace import Workspace, WorkspaceError
from sources.deposits.checking import Reference, check, end_of
from sources.deposits.contract import (
    LEGAL,
    Contract,
    ContractError,
    as_source,
    contracts_of,
    read_contract,
    shipped_contracts,
)
from sources.deposits.faults import letters
from sources.deposits.forms import contract_text, csv_form, xlsx_form
from sources.deposits.parse import parse
from sources.deposits.reading import read
from sources.deposits.register import Event, Register, RegisterError, kept_until
from sources.description import load_sources
from sources.raw_store import RawStore
from warehouse.catalogue import load_catalogue

GOOD = list(cases.good())
BAD = [*cases.spoiled(), *cases.broken()]
PERSONS = list(cases.nominative())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that has territories, and nothing else."""
    codes = [(level, code) for level, held in cases.CODES.items() for code in held]
    table = pl.DataFrame(codes, schema=["level", "code"], orient="row")
    folder = tmp_path / "data" / "stage" / "geography"
    folder.mkdir(parents=True)
    table.write_parquet(folder / "territory.parquet")
    table.write_parquet(folder / "reference_members.parquet")
    pl.DataFrame({"from_year": [2014, 2025]}).write_parquet(folder / "passage.parquet")
    older = pl.concat([table, pl.DataFrame([("COM", "99555")], schema=table.schema, orient="row")])
    monkeypatch.setattr(geography, "reference_cog", lambda workspace: 2025)
    monkeypatch.setattr(geography, "members_of_cog", lambda workspace, year: older if year == 2014 else table)
    return tmp_path / "data"


Deposit = Callable[..., tuple[int, str]]


@pytest.fixture
def bring(data: Path, tmp_path: Path) -> Deposit:
    """`bring(body, contract, suffix)`: deposits it; the exit code and what was printed."""

    def deposit(body: bytes, contract: str | None, suffix: str = "csv", cog: int | None = None) -> tuple[int, str]:
        path = tmp_path / f"apport.{suffix}"
        path.write_bytes(body)
        return deposited(data, path, contract, cog)

    return deposit


def deposited(data: Path, path: Path, contract: str | None, cog: int | None = None) -> tuple[int, str]:
    told = io.StringIO()
    console = Console(file=told, width=200)
    code = depositing.deposit(workspace(data), path, contract, cog, console, console)
    return code, told.getvalue()


def workspace(data: Path) -> Workspace:
    return Workspace(Settings(data=data, profile="live"))  # nobody is asked for a deposit


def console() -> tuple[Console, io.StringIO]:
    told = io.StringIO()
    return Console(file=told, width=200), told


def files_of(data: Path) -> list[Path]:
    """Everything written but the territories."""
    return [p for p in data.rglob("*") if p.is_file() and "geography" not in p.parts]


def report_of(data: Path) -> Path:
    (folder,) = (data / "deposits" / "quarantine").iterdir()
    return folder


# --- good and bad files


def test_there_are_enough_cases() -> None:
    assert len(GOOD) >= 50
    assert len(BAD) >= 200
    assert len({c.name for c in GOOD}) == len(GOOD)


@pytest.mark.parametrize("case", GOOD, ids=lambda c: c.name)
def test_a_good_file_is_accepted_and_read_as_core_values(case: Case, data: Path, bring: Deposit) -> None:
    code, told = bring(case.data, case.contract, case.suffix)
    assert code == 0, told
    own = workspace(data)
    source = own.sources[f"depot_{case.contract}"]
    (event,) = Register(data / "deposits").events()
    assert event.kind == "accepted" and event.sha256 == hashlib.sha256(case.data).hexdigest()
    assert event.owner == source.owner == own.store.latest(source.source_id, source.editions[0].edition).producer  # pyright: ignore[reportOptionalMemberAccess]
    body = own.store.path(event.sha256)
    assert body.read_bytes() == case.data and body.stat().st_mode & 0o777 == 0o600
    acquisition.acquire(own, [source])
    report = acquisition.parse(own, source, None)
    assert report.errors == [] and report.rows > 0
    assert (data / "core" / source.source_id).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("case", BAD, ids=lambda c: c.name)
def test_a_bad_file_is_refused_with_its_fault_named_and_nothing_kept(case: Case, data: Path, bring: Deposit) -> None:
    code, _ = bring(case.data, case.contract, case.suffix)
    assert code == 1
    (event,) = Register(data / "deposits").events()
    assert (event.kind, event.years) == ("refused", ())
    assert not (data / "raw" / "index.parquet").exists() and not (data / "core").exists()
    assert [p for p in files_of(data) if "sha256" in p.parts] == []
    assert workspace(data).sources[f"depot_{case.contract}"].editions == ()
    folder = report_of(data)
    text = (folder / "rapport.txt").read_text(encoding="utf-8")
    told = read_report(folder)
    assert all(len(line) == 7 for line in told) and all(line[4] and line[5] and line[6] for line in told)
    matching = [line for line in told if named(case, line)]
    assert matching, f"{case.name}: {told}"
    assert html.unescape(matching[0][4]) in text and html.unescape(matching[0][6]) in text
    assert all(p.stat().st_mode & 0o077 == 0 for p in folder.iterdir())


def read_report(folder: Path) -> list[list[str]]:
    page = (folder / "rapport.html").read_text(encoding="utf-8")
    body = page.split("<tbody>")[1]
    return [re.findall(r"<td>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", body)]


FOUND = {  # words of the report that name each fault
    "code": "code officiel",
    "unknown_code": "du COG",
    "total_row": "total|somme des autres",
    "blank_key": "vide",
    "period": "une période|une année",
    "modality": "un des codes|un identifiant",
    "level": "un des niveaux",
    "negative": "au moins 0",
    "not_whole": "nombre entier",
    "text_for_number": "un texte|VRAI|erreur",
    "percent": "pourcentage",
    "bound": "trop petit est secret",
    "blank": "vide",
    "date": "date",
    "thousands": "entre les milliers",
    "mixed_decimals": "virgule",
    "future": "achevée",
    "duplicate_key": "les mêmes que la ligne",
    "missing_column": "il manque",
    "unknown_column": "le contrat ne la demande pas|une autre colonne",
    "double_column": "plusieurs",
    "unnamed_column": "en-tête vide",
    "header_rows": "première ligne|seconde ligne",
    "missing_modality": "aucune pour M",
    "missing_period": "aucune ligne pour 2023-04",
    "part_above_whole": "au plus",
    "amount_alone": "la dominance ne se vérifie pas",
    "out_of_range": "au plus 100",
    "no_rows": "au moins une ligne",
    "no_whole_year": "année entière",
    "encoding": "UTF-8",
    "separator": "autre séparateur",
    "quoting": "guillemets",
    "not_a_table": "HTML",
    "empty": "fichier vide",
    "ragged_row": "comme l&#x27;en-tête",
    "merged_cells": "fusionnées",
    "formula": "une formule",
    "hidden_sheet": "feuille masquée",
    "hidden_cells": "masquées",
    "extra_sheet": "autre feuille",
    "hidden_parts": "que des cellules",
    "too_large": "au plus|textes",
    "macros": "macros",
    "unsafe_archive": "sortent de l&#x27;archive",
    "zip_bomb": "décompressé",
    "xml_entities": "DOCTYPE",
    "damaged": "lisible",
    "old_workbook": "97-2003",
    "not_a_workbook": "pas un classeur",
    "nested": "imbriquées",
}


def named(case: Case, line: list[str]) -> bool:
    """Whether a line of the report is the fault, at its place."""
    assert case.kind is not None
    place = (case.row is None or line[2] == str(case.row)) and (case.column is None or line[3] == case.column)
    return place and re.search(FOUND[case.kind], " ".join(line[4:])) is not None


# --- persons


@pytest.mark.parametrize("case", PERSONS, ids=lambda c: c.name)
def test_a_file_about_someone_is_written_nowhere(case: Case, data: Path, bring: Deposit) -> None:
    code, told = bring(case.data, case.contract, case.suffix)
    assert code == 1
    folder = report_of(data)
    assert {p.name for p in folder.iterdir()} == {"rapport.html", "rapport.txt"}
    assert case.kind is not None
    (event,) = Register(data / "deposits").events()
    assert event.kind == "refused" and event.sha256 is None
    assert "rien qui désigne une personne" in told
    written = [(p, p.read_bytes()) for p in files_of(data)]
    for secret in case.secret:
        assert secret not in told
        assert [p for p, body in written if secret.encode() in body] == []
    digest = hashlib.sha256(case.data).hexdigest()
    assert [p for p, body in written if digest.encode() in body or digest[2:] in str(p)] == []


def test_words_that_the_gate_does_not_know_are_not_kept(data: Path, bring: Deposit) -> None:
    rows = cases.rows_of(shipped_contracts()["cpam_assures"])
    for changed in ([{**r, "c2s": "Xyzw"} for r in rows], [{**r, "remarque": "Xyzw"} for r in rows]):
        bring(cases.as_csv(changed), "cpam_assures")
    assert [p for p in files_of(data) if b"Xyzw" in p.read_bytes() and "sha256" not in p.parts] == []
    bring(cases.as_csv([{**r, "c2s": "-1"} for r in rows]), "cpam_assures")
    kept = list((data / "deposits" / "quarantine").rglob("depot.*"))
    assert len(kept) == 1  # figures and codes alone


def test_the_name_of_the_file_is_written_nowhere(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "QUINTARD Zoe.csv"
    path.write_bytes(cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"])))
    assert deposited(data, path, "cpam_assures")[0] == 0
    path.write_bytes(b"code;\n")
    assert deposited(data, path, "cpam_assures")[0] == 1
    assert [p for p in files_of(data) if b"QUINTARD" in p.read_bytes() or "QUINTARD" in str(p)] == []


# --- sizes


def test_a_file_of_a_gigabyte_is_refused_unread(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "immense.csv"
    with path.open("wb") as file:
        file.truncate(1024**3)  # a hole: nothing is written on the disk
    monkeypatch.setattr(depositing, "read", lambda data: pytest.fail("the file was read"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code, told = deposited(data, path, "cpam_assures")
    assert code == 1 and "1024 Mo" in told and "au plus 64 Mo" in told
    assert path.stat().st_blocks == 0 and resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
    assert {p.name for p in report_of(data).iterdir()} == {"rapport.html", "rapport.txt"}


@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"PAR1", b"code;annee\r\n", b"\xef\xbb\xbf"]))
def test_no_bytes_break_the_reader(body: bytes, head: bytes) -> None:
    """Whatever is brought is a table, or refused as none: never another error."""
    contract = shipped_contracts()["cpam_assures"]
    try:
        book = read(head + body)
    except Exception as error:
        assert type(error).__name__ == "UnreadableError"
    else:
        assert check(book, contract, REFERENCE).faults


REFERENCE = Reference(2025, {level: frozenset(codes) for level, codes in cases.CODES.items()}, date(2026, 11, 22))


@given(st.integers(0, 20_000))
def test_letters_are_those_of_a_spreadsheet(index: int) -> None:
    text = letters(index)
    assert sum((ord(c) - 64) * 26**i for i, c in enumerate(reversed(text))) == index + 1


# --- what becomes of deposits


def core_of(data: Path, source_id: str, edition: str) -> pl.DataFrame:
    own = workspace(data)
    outcomes = acquisition.acquire(own, [own.sources[source_id]])
    assert [o.kind for o in outcomes if o.error] == []
    assert acquisition.parse(own, own.sources[source_id], None).errors == []
    return pl.read_parquet(own.core(source_id, edition))


def value_of(frame: pl.DataFrame, variable: str, code: str = "99001") -> float | None:
    return frame.filter(pl.col("variable") == variable, pl.col("code") == code)["value"].item()


def test_a_correction_supersedes_and_the_old_file_stays(data: Path, bring: Deposit) -> None:
    rows = cases.rows_of(shipped_contracts()["cpam_assures"])
    first, second = cases.as_csv(rows), cases.as_csv([{**r, "c2s": "77"} for r in rows])
    bring(first, "cpam_assures")
    before = core_of(data, "depot_cpam_assures", "2023")
    code, told = bring(second, "cpam_assures")
    events = Register(data / "deposits").events()
    assert code == 0 and events[1].replaces == (events[0].deposit,) and events[0].deposit in told
    after = core_of(data, "depot_cpam_assures", "2023")
    assert value_of(before, "c2s_f") != 77 and value_of(after, "c2s_f") == 77 and value_of(after, "c2s") == 231
    store = workspace(data).store
    assert {store.read(e.sha256 or "") for e in events} == {first, second}
    assert bring(first, "cpam_assures")[0] == 0  # taken back
    assert core_of(data, "depot_cpam_assures", "2023").equals(before)


def test_the_same_file_twice_changes_nothing(data: Path, bring: Deposit) -> None:
    body = cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"]))
    bring(body, "cpam_assures")
    code, told = bring(body, "cpam_assures")
    assert code == 0 and "déjà en vigueur" in told
    assert len(Register(data / "deposits").events()) == 1


def test_a_year_deposited_alone_replaces_that_year_only(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["cpam_assures"]
    both = [*cases.rows_of(contract, year=2022), *cases.rows_of(contract, year=2023)]
    bring(cases.as_csv(both), contract.name)
    bring(cases.as_csv(cases.rows_of(contract, 1, 2023)), contract.name)
    first, second = Register(data / "deposits").events()
    held = Register(data / "deposits").in_force(contract.name)
    assert {y: e.deposit for y, e in held.items()} == {2022: first.deposit, 2023: second.deposit}
    out, told = console()
    assert depositing.list_deposits(workspace(data), out, out) == 0
    assert "en vigueur pour 2022" in told.getvalue()


def test_a_withdrawn_deposit_is_no_longer_an_edition_and_the_register_says_so(data: Path, bring: Deposit) -> None:
    body = cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"]))
    bring(cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"], 1)), "cpam_assures")
    bring(body, "cpam_assures")
    core_of(data, "depot_cpam_assures", "2023")
    old, current = (e.deposit for e in Register(data / "deposits").events())
    before = workspace(data)
    out, told = console()
    assert depositing.withdraw(before, current, "erreur de champ", out, out) == 0
    after = workspace(data)
    assert after.sources["depot_cpam_assures"].editions == ()  # and the older one does not come back
    assert not after.core("depot_cpam_assures", "2023").exists()
    assert Register(data / "deposits").events()[-1].reason == "erreur de champ"
    assert after.store.has(hashlib.sha256(body).hexdigest(), len(body))
    assert depositing.withdraw(before, current, "", out, out) == 2 and "remplacé ou retiré" in told.getvalue()
    assert depositing.withdraw(before, old, "", out, out) == 2
    assert depositing.withdraw(before, "rien", "", out, out) == 2 and "inconnu" in told.getvalue()
    out, told = console()
    depositing.list_deposits(after, out, out)
    assert f"remplacé par {current}" in told.getvalue() and "erreur de champ" in told.getvalue()
    assert bring(body, "cpam_assures")[0] == 0  # brought again, it is in force again
    assert core_of(data, "depot_cpam_assures", "2023").height > 0


def test_a_process_killed_before_the_register_leaves_the_deposit_in_force(data: Path, bring: Deposit) -> None:
    rows = cases.rows_of(shipped_contracts()["cpam_assures"])
    bring(cases.as_csv(rows), "cpam_assures")
    before = core_of(data, "depot_cpam_assures", "2023")
    register = data / "deposits" / "register.jsonl"
    kept = register.read_bytes()
    bring(cases.as_csv([{**r, "c2s": "77"} for r in rows]), "cpam_assures")
    register.write_bytes(kept)  # the body and its row in the index are there, the event is not
    assert core_of(data, "depot_cpam_assures", "2023").equals(before)


def test_a_lost_body_stops_the_run_and_says_what_to_do(data: Path, bring: Deposit) -> None:
    body = cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"]))
    bring(body, "cpam_assures")
    own = workspace(data)
    own.store.path(hashlib.sha256(body).hexdigest()).unlink()
    (outcome,) = acquisition.acquire(own, [own.sources["depot_cpam_assures"]])
    assert outcome.kind == "failed" and "déposer de nouveau" in str(outcome.error)


def test_a_code_of_another_cog_is_said_and_accepted_with_it(data: Path, bring: Deposit) -> None:
    rows = cases.rows_of(shipped_contracts()["logement_fragile"])
    body = cases.as_csv([{**r, "code": "99555" if r["code"] == "99001" else r["code"]} for r in rows])
    code, told = bring(body, "logement_fragile")
    assert code == 1 and "--cog 2014" in told
    assert bring(body, "logement_fragile", cog=2014)[0] == 0
    assert workspace(data).sources["depot_logement_fragile"].editions[0].cog_year == 2014


def test_the_contract_is_found_by_the_columns_or_asked_for(data: Path, bring: Deposit) -> None:
    body = cases.as_csv(cases.rows_of(shipped_contracts()["logement_fragile"]))
    assert bring(body, None)[0] == 0
    code, told = bring(b"a;b\r\n1;2\r\n", None)
    assert code == 2 and "--contract" in told
    assert bring(body, "inconnu")[0] == 2


def test_without_territories_nothing_is_deposited(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_bytes(cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"])))
    code, told = deposited(tmp_path / "data", path, "cpam_assures")
    assert code == 2 and "vigie run" in told
    assert not (tmp_path / "data").exists()


def test_a_damaged_register_is_named(data: Path, bring: Deposit) -> None:
    bring(cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"])), "cpam_assures")
    register = data / "deposits" / "register.jsonl"
    register.write_text(register.read_text() + "{...\n")
    with pytest.raises(RegisterError, match="ligne 2"):
        Register(data / "deposits").events()
    with pytest.raises(WorkspaceError, match=r"register\.jsonl"):
        _ = workspace(data).sources


# --- the end of a retention

LONG_AGO = "2001-01-31T10:00:00Z"


def aged(data: Path, *deposits: str) -> None:
    """Dates some deposits back to a day that no retention reaches."""
    path = data / "deposits" / "register.jsonl"
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    old = [{**e, "at": LONG_AGO} if e["deposit"] in deposits and e["kind"] != "withdrawn" else e for e in events]
    path.write_text("".join(json.dumps(e) + "\n" for e in old), encoding="utf-8")


def body_of(data: Path, body: bytes) -> Path:
    return workspace(data).store.path(hashlib.sha256(body).hexdigest())


@pytest.fixture
def assures(data: Path, bring: Deposit) -> bytes:
    """A deposit as a run leaves it, read and computed; its file."""
    body = cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"]))
    bring(body, "cpam_assures")
    core_of(data, "depot_cpam_assures", "2023")
    for name in COMPUTED:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).touch()
    return body


COMPUTED = [
    "stage/settled/depot_cpam_assures/2023.parquet",
    "stage/settled/depot_cpam_assures/2023.left_out",
    "stage/protected/depot_cpam_assures/2023.parquet",
    "stage/protected/depot_cpam_assures/audit.parquet",
    "stage/observation/san_sansmt.parquet",
    "told/depot_cpam_assures/effectifs.values.proposed",
]
KEPT = ["stage/observation/rev_tp60.parquet", "told/depot_cpam_assures/effectifs.values.parquet"]


def test_at_the_end_of_its_retention_a_deposit_is_erased_with_all_that_was_made_of_it(
    data: Path, assures: bytes
) -> None:
    for name in KEPT:
        (data / name).touch()
    assert erase_ended(workspace(data)) == [] and body_of(data, assures).exists()
    aged(data, "cpam_assures-0001")
    (told,) = erase_ended(workspace(data))
    assert "cpam_assures-0001 effacé : conservation de" in told
    left = [p for p in files_of(data) if "cpam" in str(p) or "san_sansmt" in p.name]
    assert left == [data / KEPT[1]] and (data / KEPT[0]).exists()
    assert not body_of(data, assures).exists()
    event = Register(data / "deposits").events()[-1]
    assert (event.kind, event.deposit, event.years) == ("erased", "cpam_assures-0001", (2023,))
    assert event.reason and "achevée le 20" in event.reason
    assert workspace(data).sources["depot_cpam_assures"].editions == ()
    assert erase_ended(workspace(data)) == []
    assert len(Register(data / "deposits").events()) == 2
    text = re.sub(r"retention_months: \d+", "retention_months: 1200", contract_text("cpam_assures"))
    (data / "contracts").mkdir()
    (data / "contracts" / "cpam_assures.yaml").write_text(text, encoding="utf-8")
    assert workspace(data).sources["depot_cpam_assures"].editions == (), "a longer retention brings nothing back"


def test_the_list_erases_and_says_until_when_the_others_are_kept(data: Path, bring: Deposit, assures: bytes) -> None:
    bring(cases.as_csv(cases.rows_of(shipped_contracts()["logement_fragile"])), "logement_fragile")
    aged(data, "cpam_assures-0001")
    running = workspace(data)
    running.lock()  # a run that goes on may read the file still
    out, _ = console()
    assert depositing.list_deposits(workspace(data), out, out) == 0 and body_of(data, assures).exists()
    assert running._lock is not None
    running._lock.close()
    out, told = console()
    assert depositing.list_deposits(workspace(data), out, out) == 0 and not body_of(data, assures).exists()
    assert "effacé le 20" in told.getvalue() and "mois achevée le" in told.getvalue()
    contract = shipped_contracts()["logement_fragile"]
    assert str(kept_until(Register(data / "deposits").events()[1], contract)) in told.getvalue()


def test_superseded_and_withdrawn_deposits_are_erased_too_and_the_one_in_force_stays(
    data: Path, bring: Deposit, assures: bytes
) -> None:
    rows = cases.rows_of(shipped_contracts()["cpam_assures"])
    second, third = (cases.as_csv([{**r, "c2s": n} for r in rows]) for n in ("77", "78"))
    bring(second, "cpam_assures")
    out, _ = console()
    depositing.withdraw(workspace(data), "cpam_assures-0002", "", out, out)
    bring(third, "cpam_assures")
    aged(data, "cpam_assures-0001", "cpam_assures-0002")
    assert len(erase_ended(workspace(data))) == 2
    assert [body_of(data, b).exists() for b in (assures, second, third)] == [False, False, True]
    assert [e.years for e in Register(data / "deposits").events() if e.kind == "erased"] == [(), ()]
    assert value_of(core_of(data, "depot_cpam_assures", "2023"), "c2s_f") == 78
    bring(assures, "cpam_assures")
    assert Register(data / "deposits").events()[-1].deposit == "cpam_assures-0004", "a name is given once"


def test_a_file_brought_again_is_kept_as_long_as_its_last_deposit(data: Path, bring: Deposit, assures: bytes) -> None:
    out, _ = console()
    depositing.withdraw(workspace(data), "cpam_assures-0001", "", out, out)
    bring(assures, "cpam_assures")
    aged(data, "cpam_assures-0001")
    assert len(erase_ended(workspace(data))) == 1
    assert core_of(data, "depot_cpam_assures", "2023").height > 0
    aged(data, "cpam_assures-0002")
    assert len(erase_ended(workspace(data))) == 1 and not body_of(data, assures).exists()


@pytest.mark.parametrize("step", [(RawStore, "erase"), (Register, "add")], ids=["body", "register"])
def test_an_erasure_that_was_killed_is_ended_by_the_next_one(
    step: tuple[type, str], data: Path, assures: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(data, "cpam_assures-0001")
    with monkeypatch.context() as patched:
        patched.setattr(*step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            erase_ended(workspace(data))
    assert [e.kind for e in Register(data / "deposits").events()] == ["accepted"]
    assert workspace(data).sources["depot_cpam_assures"].editions == (), "nothing is read of it meanwhile"
    assert len(erase_ended(workspace(data))) == 1 and not body_of(data, assures).exists()
    assert [e.kind for e in Register(data / "deposits").events()] == ["accepted", "erased"]


def test_a_file_stored_and_never_registered_is_erased(data: Path, bring: Deposit, assures: bytes) -> None:
    register = data / "deposits" / "register.jsonl"
    kept = register.read_bytes()
    body = cases.as_csv(cases.rows_of(shipped_contracts()["logement_fragile"]))
    bring(body, "logement_fragile")
    register.write_bytes(kept)  # killed before the event
    assert erase_ended(workspace(data)) == []
    assert not body_of(data, body).exists() and body_of(data, assures).exists()


def test_a_refused_file_leaves_the_quarantine(data: Path, bring: Deposit) -> None:
    rows = cases.rows_of(shipped_contracts()["cpam_assures"])
    bring(cases.as_csv([{**rows[0], "c2s": "-3"}, *rows[1:]]), "cpam_assures")
    aged(data, "cpam_assures-0001")
    assert report_of(data).name == "cpam_assures-0001" and len(erase_ended(workspace(data))) == 1
    assert list((data / "deposits" / "quarantine").iterdir()) == []


def test_the_same_file_deposited_after_its_retention_is_a_new_deposit(
    data: Path, bring: Deposit, assures: bytes
) -> None:
    aged(data, "cpam_assures-0001")
    code, told = bring(assures, "cpam_assures")
    assert code == 0 and "cpam_assures-0002" in told
    erase_ended(workspace(data))
    assert core_of(data, "depot_cpam_assures", "2023").height > 0


@pytest.mark.parametrize(
    ("received", "months", "until"),
    [
        ("2024-01-31", 1, date(2024, 2, 29)),
        ("2023-11-22", 24, date(2025, 11, 22)),
        ("2023-12-01", 13, date(2025, 1, 1)),
    ],
)
def test_a_retention_is_counted_in_months_from_the_deposit(received: str, months: int, until: date) -> None:
    event = Event("accepted", "essai-0001", "essai", "CCAS", f"{received}T08:00:00Z")
    assert kept_until(event, changed(retention_months=months)) == until


def test_what_a_run_shows_of_a_deposit_is_no_figure(data: Path, assures: bytes) -> None:
    own = workspace(data)
    assert acquisition.parse(own, own.sources["depot_cpam_assures"], None).sample is None


# --- figures


def core_lines(contract: str, body: bytes, data: Path, bring: Deposit) -> pl.DataFrame:
    assert bring(body, contract)[0] == 0
    return core_of(data, f"depot_{contract}", "2023")


def test_sexes_units_and_months_are_added_up(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["aide_alimentaire"]
    rows = [{**r, "personnes": {"F": "10", "M": "4", "X": "1"}[r["sexe"]]} for r in cases.rows_of(contract)]
    rows += [{**r, "structure": "RESTO-02"} for r in rows]
    frame = core_lines(contract.name, cases.as_csv(rows), data, bring)
    assert [value_of(frame, v) for v in ("personnes", "personnes_f", "personnes_m")] == [360, 240, 96]
    assert "personnes_x" not in frame["variable"].cast(pl.String)


def test_a_masked_part_masks_the_whole_and_what_is_known_of_it(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["cpam_assures"]
    rows = [{**r, "c2s": {"F": "40", "M": "s", "X": "2"}[r["sexe"]]} for r in cases.rows_of(contract)]
    frame = core_lines(contract.name, cases.as_csv(rows), data, bring).filter(pl.col("code") == "99001")
    whole = frame.filter(pl.col("variable") == "c2s").row(0, named=True)
    # 42 as a bound would be the count of the women and of X, whom nothing protects
    assert (whole["value"], whole["lower"], whole["masked_parts"]) == (None, None, 1)
    assert (whole["obs_status"], whole["conf_status"], whole["mark"]) == ("Q", "A", "s")
    masked = frame.filter(pl.col("variable") == "c2s_m").row(0, named=True)
    assert (masked["value"], masked["lower"], masked["mark"]) == (None, None, "s")


def test_what_is_known_of_open_data_is_a_bound(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["actions_budget"]
    rows = [{**r, "credits": "1000"} for r in cases.rows_of(contract)]
    rows += [{**r, "financeur": "VILLE", "credits": "s"} for r in rows]
    whole = core_lines(contract.name, cases.as_csv(rows), data, bring).filter(pl.col("code") == "99001")
    assert whole.select("value", "lower").row(0) == (None, 1000)


def test_a_year_of_which_months_are_missing_is_neither_a_figure_nor_a_bound(data: Path, bring: Deposit) -> None:
    """Seven months, then twelve, would tell the five others by difference."""
    contract = shipped_contracts()["aide_alimentaire"]
    rows = cases.rows_of(contract)
    seven = [r if r["mois"] <= "2023-07" else {**r, "personnes": "nd"} for r in rows]
    frame = core_lines(contract.name, cases.as_csv(seven), data, bring)
    told = frame.filter(pl.col("variable").cast(pl.String).str.starts_with("personnes"))
    assert told.height and told["value"].is_null().all() and told["lower"].is_null().all()
    text = yaml.safe_load(contract_text("essai")) | {"period": "month", "over_year": "sum"}
    text |= {"secrecy": {"rule": "S_OPEN", "threshold": 0}}
    (data / "contracts").mkdir()
    (data / "contracts" / "essai.yaml").write_text(yaml.safe_dump(text, allow_unicode=True), encoding="utf-8")
    contract = workspace(data).contracts["essai"]
    count, month = contract.figures[0].name, contract.of_role("period")[0].name
    eleven = [{**r, count: "nd"} if r[month].endswith("-12") else r for r in cases.rows_of(contract)]
    told = core_lines("essai", cases.as_csv(eleven), data, bring).filter(pl.col("variable") == count)
    assert told.height and told["value"].is_null().all() and told["lower"].is_null().all(), "open, it is no year either"


def test_a_year_in_two_deposits_is_published_once_one_has_it_whole(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["aide_alimentaire"]
    former, rows = cases.rows_of(contract, year=2022), cases.rows_of(contract)
    begun = [r for r in rows if r["mois"] <= "2023-07"]
    code, told = bring(cases.as_csv([*former, *begun]), contract.name)
    assert code == 0 and "2023 : 7 périodes sur 12, publiée une fois l'année entière" in told
    source = "depot_aide_alimentaire"
    assert [e.data_year for e in workspace(data).sources[source].editions] == [2022]
    assert core_of(data, source, "2022")["year"].unique().to_list() == [2022]
    code, told = bring(cases.as_csv([r for r in rows if r["mois"] > "2023-07"]), contract.name)
    assert code == 1 and "une année entière (12 périodes)" in told  # five months complete no other deposit
    assert [e.data_year for e in workspace(data).sources[source].editions] == [2022]
    assert bring(cases.as_csv(rows), contract.name)[0] == 0
    whole = core_of(data, source, "2023")
    assert bring(cases.as_csv([*former, *begun]), contract.name)[0] == 0  # a part does not replace the whole
    assert core_of(data, source, "2023").equals(whole)


@pytest.mark.parametrize("over_year", ["sum", "mean", "last"])
def test_half_a_year_gives_no_annual_figure(over_year: str, data: Path, bring: Deposit) -> None:
    text = contract_text("epfif_relogement").replace("over_year: last", f"over_year: {over_year}")
    (data / "contracts").mkdir()
    (data / "contracts" / "epfif_relogement.yaml").write_text(text, encoding="utf-8")
    rows = cases.rows_of(workspace(data).contracts["epfif_relogement"])
    code, told = bring(cases.as_csv([r for r in rows if r["semestre"].endswith("2")]), "epfif_relogement")
    assert code == 1 and "une année entière (2 périodes)" in told
    assert workspace(data).sources["depot_epfif_relogement"].editions == ()
    assert bring(cases.as_csv(rows), "epfif_relogement")[0] == 0


def test_a_cumulated_count_is_that_of_the_last_half_year(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["epfif_relogement"]
    rows = [{**r, "reloges": "30" if r["semestre"].endswith("1") else "55"} for r in cases.rows_of(contract)]
    assert value_of(core_lines(contract.name, cases.as_csv(rows), data, bring), "reloges") == 55


def test_a_whole_given_by_the_partner_is_not_added_up(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["ors_mortalite"]
    rates = {"T": "180,5", "F": "120", "M": "240"}
    rows = [{**r, "taux_mortprem": rates[r["sexe"]]} for r in cases.rows_of(contract)]
    frame = core_lines(contract.name, cases.as_csv(rows), data, bring)
    assert [value_of(frame, v) for v in ("taux_mortprem", "taux_mortprem_f", "taux_mortprem_m")] == [180.5, 120, 240]


@given(st.data())
def test_the_sum_of_the_sexes_is_the_whole(data: st.DataObject) -> None:
    contract = shipped_contracts()["cpam_assures"]
    counts = st.integers(0, 10_000)
    rows = [{**r, "c2s": str(data.draw(counts))} for r in cases.rows_of(contract)[:6]]
    edition = contract.edition(2023, "cpam_assures-0001", "csv", 2025)
    frame = parse(as_source(contract, [edition]), edition, {"2023": cases.as_csv(rows)})
    for code in ("99001", "99002"):
        assert value_of(frame, "c2s", code) == sum(int(r["c2s"]) for r in rows if r["code"] == code)


def test_a_file_that_no_longer_keeps_its_contract_stops_the_run(data: Path, bring: Deposit) -> None:
    bring(cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"])), "cpam_assures")
    text = contract_text("cpam_assures").replace("name: c2s", "name: css")
    (data / "contracts").mkdir()
    (data / "contracts" / "cpam_assures.yaml").write_text(text, encoding="utf-8")
    own = workspace(data)
    report = acquisition.parse(own, own.sources["depot_cpam_assures"], None)
    assert "redéposer" in str(report.errors[0]) and "css" in str(report.errors[0])


def test_a_contract_that_changes_is_another_input(data: Path, bring: Deposit) -> None:
    bring(cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"])), "cpam_assures")
    before = workspace(data).sources["depot_cpam_assures"].editions[0]
    text = contract_text("cpam_assures").replace("threshold: 11", "threshold: 20")
    (data / "contracts").mkdir()
    (data / "contracts" / "cpam_assures.yaml").write_text(text, encoding="utf-8")
    assert workspace(data).sources["depot_cpam_assures"].editions[0] != before


# --- contracts and forms


@pytest.mark.parametrize("contract", shipped_contracts().values(), ids=lambda c: c.name)
def test_the_empty_forms_are_tables_of_their_contract(contract: Contract, bring: Deposit) -> None:
    for body, suffix in ((csv_form(contract), "csv"), (xlsx_form(contract), "xlsx")):
        faults = check(read(body), contract, REFERENCE).faults
        assert [f.kind for f in faults] == ["no_rows"]
        code, told = bring(body, contract.name, suffix)
        assert code == 1 and "personne" not in told.split("attendu")[1]


def test_every_partner_indicator_rests_on_a_contract() -> None:
    catalogue = load_catalogue()
    partners = [i for i in catalogue.indicators if i.tier == "C"]
    assert len(partners) == 35
    known = {c.source_id: c for c in shipped_contracts().values()}
    for indicator in partners:
        held = [known[s] for s in catalogue.sources_of(indicator) if s in known]
        assert held, f"{indicator.id} rests on no contract"
        assert all(c.secrecy.threshold >= LEGAL[indicator.secrecy_rule] for c in held)
        opener = [c for c in held if indicator.diffusion == "public" and c.diffusion == "partner"]
        assert opener == [], f"{indicator.id} would show what its owner keeps to partners"
    assert not set(known) & set(load_sources())


def test_what_the_departement_deposits_comes_before_what_is_cited_of_it(data: Path, bring: Deposit) -> None:
    contract = shipped_contracts()["departement_sante_sociale"]
    rows = [{**r, "iss_publie": "21,5"} for r in cases.rows_of(contract)]
    deposited = core_lines(contract.name, cases.as_csv(rows), data, bring)
    spec = load_catalogue().indicator("cmp_iss_dept").specification()
    assert isinstance(spec, Published)
    assert next(iter(spec.variables.items())) == (contract.source_id, "iss_publie")
    assert value_of(deposited, spec.variables[contract.source_id]) == 21.5


def changed(**changes: object) -> Contract:
    return Contract.model_validate({**yaml.safe_load(contract_text("essai")), **changes})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"secrecy": {"rule": "S_11", "threshold": 5}}, "au moins 11"),
        ({"levels": ["COM", "DEP"]}, "rôle level"),
        ({"levels": ["CANTON"]}, "CANTON"),
        ({"period": "month"}, "over_year"),
        ({"columns": [{"name": "code", "label": "c", "role": "territory"}]}, "rôle period"),
        ({"colour": "red"}, "colour"),
        ({"retention_months": 0}, "retention_months"),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        changed(**changes)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ({"role": "amount"}, "plus gros contributeur"),
        ({"role": "measure"}, "ne s'additionne pas"),
        ({"role": "dimension"}, "dit ses codes"),
        ({"role": "unit"}, "dit ses codes"),
        ({"role": "count", "part_of": "rien"}, "rien"),
        ({"role": "largest"}, "of"),
        ({"role": "contributors"}, "of"),
    ],
)
def test_a_column_that_contradicts_the_others_is_refused(column: dict[str, str], told: str) -> None:
    columns = yaml.safe_load(contract_text("essai"))["columns"]
    with pytest.raises(ValueError, match=told):
        changed(columns=[*columns, {"name": "autre", "label": "a", **column}])


def test_an_unreadable_contract_is_named(tmp_path: Path) -> None:
    (tmp_path / "essai.yaml").write_text("name: [", encoding="utf-8")
    with pytest.raises(ContractError, match=r"essai\.yaml"):
        contracts_of(tmp_path)
    (tmp_path / "essai.yaml").write_text(contract_text("autre"), encoding="utf-8")
    with pytest.raises(ContractError, match="autre"):
        read_contract(tmp_path / "essai.yaml")


def test_a_new_contract_is_commented_and_accepts_its_own_form(data: Path, bring: Deposit) -> None:
    out, _ = console()
    assert depositing.new_contract(workspace(data), "essai", out, out) == 0
    text = (data / "contracts" / "essai.yaml").read_text(encoding="utf-8")
    assert text.count("#") > 8
    contract = workspace(data).contracts["essai"]
    assert bring(cases.as_xlsx(cases.rows_of(contract)), "essai", "xlsx")[0] == 0
    (data / "contracts" / "essai.yaml").write_text(text.replace("Personnes reçues", "Reçues"), encoding="utf-8")
    assert depositing.new_contract(workspace(data), "essai", out, out) == 0  # kept as it is
    assert "Reçues" in (data / "contracts" / "essai.yaml").read_text(encoding="utf-8")
    assert depositing.new_contract(workspace(data), "Pas Bon", out, out) == 2


@pytest.mark.parametrize(
    ("year", "sub", "kind", "end"),
    [
        (2023, 1, "year", date(2023, 12, 31)),
        (2023, 1, "half", date(2023, 6, 30)),
        (2024, 2, "month", date(2024, 2, 29)),
    ],
)
def test_the_end_of_a_period(year: int, sub: int, kind: str, end: date) -> None:
    assert end_of(year, sub, kind) == end


def test_the_register_is_plain_lines(data: Path, bring: Deposit) -> None:
    bring(cases.as_csv(cases.rows_of(shipped_contracts()["cpam_assures"])), "cpam_assures")
    path = data / "deposits" / "register.jsonl"
    assert path.stat().st_mode & 0o777 == 0o600
    event = json.loads(path.read_text(encoding="utf-8"))
    assert (event["contract"], event["owner"], event["years"]) == ("cpam_assures", "CPAM", [2023])
