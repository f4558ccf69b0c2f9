"""Deposits that partners could bring, good and bad, made from the contracts of the house: the same tables in every
format, one fault at a time.
"""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product

import polars as pl
import xlsxwriter

from sources.deposits.contract import PERIODS, Column, Contract, shipped_contracts

CODES = {
    "COM": ["99001", "99002", "99003", "99004", "99005", "01099"],
    "EPCI": ["200099001", "200099002", "200099003", "200099004", "200099005"],
    "DEP": ["98", "99"],
    "QPV": ["QP099001", "QP099002", "QP099003", "QP099004", "QP099005"],
}
UNITS = {"uai": "0990001A", "structure": "CCAS-01", "action": "AC1-2", "financeur": "ANCT", "axe": "3", "theme": "2"}
YEAR = 2023
Row = dict[str, str]


@dataclass(frozen=True)
class Case:
    """A file as brought. `kind`: the fault that its report must name (None: accepted); row and column where it is."""

    name: str
    contract: str
    suffix: str
    data: bytes
    kind: str | None = None
    row: int | None = None
    column: str | None = None
    secret: tuple[str, ...] = field(default=())  # texts that must be written nowhere


# --- a table that keeps a contract


def rows_of(contract: Contract, seed: int = 0, year: int = YEAR) -> list[Row]:
    """A valid table: every territory of the first level of the contract, every period and modality."""
    draw = random.Random(f"{contract.name}{seed}")
    level = "COM" if "COM" in contract.levels else contract.levels[0]
    dimensions = contract.of_role("dimension")
    rows: list[Row] = []
    for code, period in product(CODES[level], periods(contract, year)):
        for modalities in product(*(d.codes for d in dimensions)):
            keys = {c.name: _key(c, level, code, period) for c in contract.columns if c.is_key}
            keys |= {d.name: m for d, m in zip(dimensions, modalities, strict=True)}
            rows.append(keys | _figures(contract, draw))
    return rows


def periods(contract: Contract, year: int) -> list[str]:
    form = {"year": "{y}", "half": "{y}-S{p}", "month": "{y}-{p:02d}"}[contract.period]
    return [form.format(y=year, p=p) for p in range(1, PERIODS[contract.period] + 1)]


def _key(column: Column, level: str, code: str, period: str) -> str:
    return {"territory": code, "level": level, "period": period}.get(column.role) or UNITS.get(column.name, "")


def _figures(contract: Contract, draw: random.Random) -> Row:
    """Figures between the bounds, a part never above its whole."""
    found: dict[str, float] = {}
    waiting = list(contract.figures)
    while waiting:
        column = waiting.pop(0)
        whole = column.part_of or column.of
        if whole is not None and whole not in found:
            waiting.append(column)
            continue
        top = found[whole] if whole is not None else min(column.maximum or 5000, 5000)
        value = draw.uniform(top * 0.3, top * 0.9)
        found[column.name] = round(value, 1) if column.decimal else int(value) + (whole is None)
    return {c.name: f"{found[c.name]:g}".replace(".", ",") for c in contract.figures}


# --- in each format


def as_csv(rows: list[Row], separator: str = ";", encoding: str = "utf-8") -> bytes:
    lines = [list(rows[0]), *(list(r.values()) for r in rows)]
    quoted = [[f'"{c}"' if separator in c or '"' in c or "\n" in c else c for c in line] for line in lines]
    return "\r\n".join(separator.join(line) for line in quoted).encode(encoding) + b"\r\n"


Touch = Callable[[xlsxwriter.Workbook, xlsxwriter.worksheet.Worksheet], None]


def as_xlsx(rows: list[Row], touch: Touch | None = None, sheet: str = "Données") -> bytes:
    """Figures as numbers, keys as text; `touch` changes the sheet before it is closed."""
    held = io.BytesIO()
    with xlsxwriter.Workbook(held, {"in_memory": True}) as book:
        page = book.add_worksheet(sheet)
        for j, name in enumerate(rows[0]):
            page.write_string(0, j, name)
        for i, row in enumerate(rows, 1):
            for j, text in enumerate(row.values()):
                number = re.fullmatch(r"-?[1-9]\d*(,\d+)?|0(,\d+)?|-?0,\d+", text) and list(row)[j] not in KEYS
                page.write_number(i, j, float(text.replace(",", "."))) if number else page.write_string(i, j, text)
        if touch is not None:
            touch(book, page)
    return held.getvalue()


KEYS = ("code", "niveau", "annee", "semestre", "mois", "sexe", *UNITS)


def as_parquet(rows: list[Row]) -> bytes:
    """A column of numbers where every text of it is one."""
    frame = pl.DataFrame(rows)
    for name in frame.columns:
        plain = frame[name].str.replace(",", ".")
        if name not in KEYS and plain.cast(pl.Float64, strict=False).null_count() == 0:
            frame = frame.with_columns(plain.cast(pl.Float64).alias(name))
    held = io.BytesIO()
    frame.write_parquet(held)
    return held.getvalue()


WRITERS: dict[str, Callable[[list[Row]], bytes]] = {"csv": as_csv, "xlsx": as_xlsx, "parquet": as_parquet}


# --- good ones


def good() -> Iterator[Case]:
    """Every contract in every format, and what partners' files may rightly have."""
    for name, contract in shipped_contracts().items():
        rows = rows_of(contract)
        for suffix, write in WRITERS.items():
            yield Case(f"{name}-{suffix}", name, suffix, write(rows))
    contract = shipped_contracts()["cpam_assures"]
    rows = rows_of(contract)
    yield Case("comma", contract.name, "csv", as_csv(rows, ","))
    yield Case("bom", contract.name, "csv", as_csv(rows, encoding="utf-8-sig"))
    yield Case("cp1252", contract.name, "csv", as_csv(rows, encoding="cp1252"))
    yield Case("marks", contract.name, "csv", as_csv([{**r, "c2s": m} for r, m in zip(rows, ["s", "ND", "ns"] * 99)]))  # noqa: B905
    yield Case("thousands", contract.name, "csv", as_csv([{**r, "assures_17p": "1 234 567"} for r in rows]))
    yield Case(
        "narrow-spaces", contract.name, "csv", as_csv([{**r, "assures_17p": "1\u202f234\u00a0567"} for r in rows])
    )
    yield Case("blank-lines", contract.name, "csv", as_csv(rows) + b"\r\n;;;;;;\r\n")
    yield Case("capitals", contract.name, "csv", as_csv([{k.upper(): v for k, v in r.items()} for r in rows]))
    yield Case("lost-zeros", contract.name, "csv", as_csv([{**r, "code": r["code"].lstrip("0")} for r in rows]))
    yield Case("own-sheet", contract.name, "xlsx", as_xlsx(rows, sheet="Feuil1"))
    yield Case("text-numbers", contract.name, "xlsx", as_xlsx([{**r, "c2s": f" {r['c2s']} "} for r in rows]))
    yield Case(
        "notice", contract.name, "xlsx", as_xlsx(rows, lambda b, s: b.add_worksheet("Notice").write(0, 0, "x") and None)
    )
    budget = shipped_contracts()["actions_budget"]
    decimals = [{**r, "credits": "1 234,50"} for r in rows_of(budget)]
    yield Case("decimal-comma", budget.name, "csv", as_csv(decimals))
    yield Case("decimal-quoted", budget.name, "csv", as_csv(decimals, ","))
    several = [*rows_of(contract, year=2022), *rows_of(contract, year=2023)]
    yield Case("two-years", contract.name, "parquet", as_parquet(several))


# --- one fault in a table, in any format

Spoil = Callable[[Contract, list[Row]], tuple[int | None, str | None]]  # changes the rows; where the fault is
SPOILED: dict[str, tuple[str, Spoil]] = {}


def spoil(name: str, kind: str) -> Callable[[Spoil], Spoil]:
    def register(change: Spoil) -> Spoil:
        SPOILED[name] = (kind, change)
        return change

    return register


def _set(role: str, text: str) -> Spoil:
    """The second row's cell of the first column of a role."""

    def change(contract: Contract, rows: list[Row]) -> tuple[int | None, str | None]:
        column = contract.of_role(role)[0].name
        rows[1][column] = text
        return 3, column

    return change


for _name, _kind, _role, _text in [
    ("code-of-a-name", "code", "territory", "Grigny"),
    ("code-too-long", "code", "territory", "9900123456"),
    ("code-unknown", "unknown_code", "territory", "99777"),
    ("total-code", "total_row", "territory", "TOTAL"),
    ("total-general", "total_row", "territory", "Total général"),
    ("ensemble-code", "total_row", "territory", "Ensemble"),
    ("blank-code", "blank_key", "territory", ""),
    ("period-of-a-text", "period", "period", "l'an dernier"),
    ("period-of-a-date", "period", "period", "31/12/2023"),
    ("period-too-old", "period", "period", "1891"),
    ("modality-unknown", "modality", "dimension", "Z"),
    ("modality-total", "total_row", "dimension", "TOTAL"),
    ("modality-blank", "blank_key", "dimension", ""),
    ("level-unknown", "level", "level", "CANTON"),
    ("negative", "negative", "count", "-3"),
    ("decimal-count", "not_whole", "count", "12,5"),
    ("text-figure", "text_for_number", "count", "environ douze"),
    ("unit-in-figure", "text_for_number", "count", "12 foyers"),
    ("percent", "percent", "count", "12 %"),
    ("below-five", "bound", "count", "<5"),
    ("blank-figure", "blank", "count", ""),
    ("date-figure", "date", "count", "12/03/2023"),
    ("month-figure", "date", "count", "mars-12"),
    ("wrong-thousands", "thousands", "count", "12 34"),
    ("points-thousands", "thousands", "count", "1.234.567"),
    ("both-marks", "mixed_decimals", "count", "1.234,5"),
    ("out-of-cell", "text_for_number", "count", "#REF!"),
    ("infinite", "text_for_number", "count", "inf"),
]:
    SPOILED[_name] = (_kind, _set(_role, _text))


@spoil("future", "future")
def _future(contract: Contract, rows: list[Row]) -> tuple[int, str]:
    column = contract.of_role("period")[0].name
    rows[1][column] = rows[1][column].replace(str(YEAR), "2031")
    return 3, column


@spoil("duplicate", "duplicate_key")
def _duplicate(contract: Contract, rows: list[Row]) -> tuple[int, str]:
    rows.append(dict(rows[0]))
    return len(rows) + 1, contract.of_role("territory")[0].name


@spoil("sum-of-others", "total_row")
def _sum_of_others(contract: Contract, rows: list[Row]) -> tuple[int, str]:
    """A total under a code that exists: the last territory holds the sum of the others."""
    code, keys = contract.of_role("territory")[0].name, {c.name for c in contract.columns if c.is_key}
    last = rows[-1][code]
    groups: dict[tuple[str, ...], dict[str, float]] = {}
    for row in rows:
        group = groups.setdefault(tuple(row[k] for k in sorted(keys - {code})), dict.fromkeys(set(row) - keys, 0.0))
        if row[code] != last:
            for name in group:
                group[name] += float(row[name].replace(",", "."))
    mine = [i for i, row in enumerate(rows) if row[code] == last]
    for i in mine:
        for name, value in groups[tuple(rows[i][k] for k in sorted(keys - {code}))].items():
            rows[i][name] = f"{value:.10g}".replace(".", ",")
    return mine[0] + 2, code


@spoil("missing-column", "missing_column")
def _missing(contract: Contract, rows: list[Row]) -> tuple[int, None]:
    for row in rows:
        del row[contract.figures[0].name]
    return 1, None


@spoil("renamed-column", "missing_column")
def _renamed(contract: Contract, rows: list[Row]) -> tuple[int, None]:
    for i, row in enumerate(rows):
        rows[i] = {("Nombre" if k == contract.figures[0].name else k): v for k, v in row.items()}
    return 1, None


@spoil("unknown-column", "unknown_column")
def _unknown(contract: Contract, rows: list[Row]) -> tuple[int, None]:
    for row in rows:
        row["remarque"] = "vu"
    return 1, None


@spoil("title-above", "header_rows")
def _title(contract: Contract, rows: list[Row]) -> tuple[int, None]:
    names = list(rows[0])
    titles = ["Effectifs déposés", *(f"c{i}" for i in range(1, len(names)))]
    held = [dict(zip(titles, names, strict=True)), *(dict(zip(titles, r.values(), strict=True)) for r in rows)]
    rows[:] = held
    return 2, None


@spoil("second-header", "header_rows")
def _second(contract: Contract, rows: list[Row]) -> tuple[int, None]:
    rows.insert(0, dict.fromkeys(rows[0], "libellé"))
    return 2, None


@spoil("missing-modality", "missing_modality")
def _modality(contract: Contract, rows: list[Row]) -> tuple[int, str]:
    column = contract.of_role("dimension")[0].name
    gone = next(i for i, row in enumerate(rows) if row[column] == "M")
    del rows[gone]
    return 2, column


@spoil("missing-month", "missing_period")
def _period(contract: Contract, rows: list[Row]) -> tuple[int | None, str]:
    column = contract.of_role("period")[0].name
    code = contract.of_role("territory")[0].name
    rows[:] = [r for r in rows if not (r[code] == rows[0][code] and r[column].endswith("-04"))]
    return 2, column


@spoil("part-above-whole", "part_above_whole")
def _above(contract: Contract, rows: list[Row]) -> tuple[int, str]:
    column = next(c for c in contract.figures if c.part_of)
    rows[1][column.name] = str(int(float(rows[1][column.part_of or ""].replace(",", "."))) + 1)
    return 3, column.name


@spoil("no-rows", "no_rows")
def _none(contract: Contract, rows: list[Row]) -> tuple[None, None]:
    rows[1:] = []
    rows[0] = dict.fromkeys(rows[0], "")
    return None, None


def _fits(name: str, contract: Contract, suffix: str) -> bool:
    """Whether the fault has a sense for the contract and can be written in the format."""
    needs = {
        "modality": "dimension",
        "missing-modality": "dimension",
        "level": "level",
        "period-too-old": "period",
    }
    if any(name.startswith(n) and not contract.of_role(role) for n, role in needs.items()):
        return False
    if name == "missing-month":
        return contract.period == "month"
    if name == "period-too-old" or name == "code-unknown":
        return contract.period == "year" and "COM" in contract.levels
    if name == "part-above-whole":
        return any(c.part_of for c in contract.figures)
    if name in SPOILED and SPOILED[name][1].__qualname__.startswith("_set") and not contract.of_role("count"):
        return False
    if name == "sum-of-others":
        return not contract.of_role("measure") and not any(c.maximum for c in contract.figures)
    return not (suffix == "parquet" and name == "no-rows")


SPOILED_SHAPES = {"cpam_assures": tuple(WRITERS), "logement_fragile": ("csv", "xlsx"), "aide_alimentaire": ("csv",)}


def spoiled() -> Iterator[Case]:
    """Each fault of a table, in each format, for contracts of different shapes."""
    for contract_name, suffixes in SPOILED_SHAPES.items():
        contract = shipped_contracts()[contract_name]
        for (name, (kind, change)), suffix in product(SPOILED.items(), suffixes):
            if _fits(name, contract, suffix):
                rows = rows_of(contract)
                row, column = change(contract, rows)
                title = f"{name}-{contract_name}-{suffix}"
                yield Case(title, contract_name, suffix, WRITERS[suffix](rows), kind, row, column)


# --- what only a text, a workbook, a Parquet or an archive can be


def broken() -> Iterator[Case]:
    yield from _texts()
    yield from _workbooks()
    yield from _parts()
    yield from _parquets()
    yield from _others()


def _texts() -> Iterator[Case]:
    contract = shipped_contracts()["cpam_assures"]
    rows, name = rows_of(contract), contract.name
    plain = as_csv(rows)
    yield Case("utf-16", name, "csv", as_csv(rows, encoding="utf-16"), "encoding")
    yield Case("utf-16-bare", name, "csv", as_csv(rows, encoding="utf-16-le"), "encoding")
    yield Case("utf-32", name, "csv", as_csv(rows, encoding="utf-32"), "encoding")
    yield Case("neither-encoding", name, "csv", plain + b"\x81\x8d;x;x;x;x;x;x", "encoding")
    yield Case("nul", name, "csv", plain + b"\0", "encoding")
    told = [{**r, "c2s": "élevé"} for r in rows]
    twice = as_csv(told).decode("cp1252").encode()
    yield Case("encoded-twice", name, "csv", twice, "encoding")
    yield Case("mixed-encodings", name, "csv", as_csv(told) + as_csv(told, encoding="cp1252"), "encoding")
    yield Case("tabs", name, "csv", as_csv(rows, "\t"), "separator")
    yield Case("bars", name, "csv", as_csv(rows, "|"), "separator")
    yield Case("open-quote", name, "csv", plain + b'"99001;COM', "quoting")
    yield Case("html", name, "csv", b"<html><body>maintenance</body></html>", "not_a_table")
    yield Case("json", name, "csv", b'[{"code": "99001"}]', "not_a_table")
    yield Case("empty", name, "csv", b"", "empty")
    yield Case("spaces", name, "csv", b"  \r\n ", "empty")
    yield Case("short-row", name, "csv", plain + b"99001;COM\r\n", "ragged_row", len(rows) + 2)
    yield Case("long-row", name, "csv", plain + b"99001;COM;2023;F;1;1;1;1\r\n", "ragged_row", len(rows) + 2)
    doubled = plain.replace(b"sans_mt;c2s", b"c2s;c2s")
    yield Case("double-column", name, "csv", doubled, "double_column", 1)
    yield Case("unnamed-column", name, "csv", plain.replace(b"sans_mt;c2s", b"sans_mt;"), "missing_column", 1)
    budget = shipped_contracts()["actions_budget"]
    money = [{**r, "credits": "12,5"} for r in rows_of(budget)]
    money[3]["credits"] = "12.5"
    yield Case("mixed-decimals", budget.name, "csv", as_csv(money), "mixed_decimals", 5, "credits")
    split = as_csv([{**r, "credits": "12,5"} for r in rows_of(budget)], ",").replace(b'"', b"")
    yield Case("decimal-comma-splits", budget.name, "csv", split, "ragged_row", 2)
    yield Case(
        "euro",
        budget.name,
        "csv",
        as_csv([{**r, "credits": "12 €"} for r in rows_of(budget)]),
        "text_for_number",
        2,
        "credits",
    )
    iss = shipped_contracts()["departement_sante_sociale"]
    above = rows_of(iss)
    above[1]["iss_publie"] = "101"
    yield Case("above-maximum", iss.name, "csv", as_csv(above), "out_of_range", 3, "iss_publie")
    food = shipped_contracts()["aide_alimentaire"]
    part = [r for r in rows_of(food) if not r["mois"].endswith("-12")]
    yield Case("year-not-whole", food.name, "csv", as_csv(part), "no_whole_year", None, "mois")
    free = [{**r, "structure": "Épicerie du centre"} for r in rows_of(food)]
    yield Case("free-text-unit", food.name, "csv", as_csv(free), "modality", 2, "structure")
    caf = shipped_contracts()["caf_prestations"]
    largest = rows_of(caf)
    largest[2]["montant_max"] = "9999999"
    yield Case("largest-above-amount", caf.name, "csv", as_csv(largest), "part_above_whole", 4, "montant_max")
    for column in ("montant_max", "montant_foyers"):
        alone = rows_of(caf)
        alone[3][column] = "s"
        yield Case(f"amount-without-{column}", caf.name, "csv", as_csv(alone), "amount_alone", 5, column)


def _workbooks() -> Iterator[Case]:
    contract = shipped_contracts()["cpam_assures"]
    rows = rows_of(contract)

    def case(name: str, kind: str, touch: Touch, row: int | None = None, column: str | None = None) -> Case:
        return Case(name, contract.name, "xlsx", as_xlsx(rows, touch), kind, row, column)

    yield case("merged", "merged_cells", lambda b, s: s.merge_range("A2:A4", "99001") and None, 2, "A")
    yield case("merged-header", "merged_cells", lambda b, s: s.merge_range("E1:F1", "assures_17p") and None, 1, "E")
    yield case("merged-far", "merged_cells", lambda b, s: s.merge_range("K40:L41", "") and None, 40, "K")
    yield case("formula", "formula", lambda b, s: s.write_formula("G3", "=E3-F3", None, 12) and None, 3, "c2s")
    yield case(
        "formula-total",
        "formula",
        lambda b, s: s.write_formula("E5", "=SUM(E2:E4)", None, 9) and None,
        5,
        "assures_17p",
    )
    yield case(
        "formula-code", "formula", lambda b, s: s.write_formula("A3", '="99"&"001"', None, "99001") and None, 3, "code"
    )
    yield case(
        "formula-error", "formula", lambda b, s: s.write_formula("G3", "=1/0", None, "#DIV/0!") and None, 3, "c2s"
    )
    yield case("boolean", "text_for_number", lambda b, s: s.write_boolean("G3", True) and None, 3, "c2s")
    dated = {"num_format": "dd/mm/yyyy"}
    yield case("date-cell", "date", lambda b, s: s.write_number("G3", 45000, b.add_format(dated)) and None, 3, "c2s")
    yield case(
        "date-period", "date", lambda b, s: s.write_number("C3", 45000, b.add_format(dated)) and None, 3, "annee"
    )
    part = {"num_format": "0.0%"}
    yield case(
        "percent-cell", "percent", lambda b, s: s.write_number("G3", 0.12, b.add_format(part)) and None, 3, "c2s"
    )
    yield case("decimal-cell", "not_whole", lambda b, s: s.write_number("G3", 12.5) and None, 3, "c2s")
    yield case("hidden-row", "hidden_cells", lambda b, s: s.set_row(3, None, None, {"hidden": True}) and None)
    yield case("hidden-column", "hidden_cells", lambda b, s: s.set_column(4, 4, 10, None, {"hidden": True}) and None)

    def hidden(book: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
        page = book.add_worksheet("Sauvegarde")
        page.write(0, 0, 1)
        page.hide()

    def very_hidden(book: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
        book.add_worksheet("Secret").very_hidden()

    yield case("hidden-sheet", "hidden_sheet", hidden)
    yield case("very-hidden-sheet", "hidden_sheet", very_hidden)
    yield case("extra-sheet", "extra_sheet", lambda b, s: b.add_worksheet("2022").write(0, 0, "x") and None)
    yield case("comment", "hidden_parts", lambda b, s: s.write_comment("A2", "à revoir") and None)
    yield case("text-box", "hidden_parts", lambda b, s: s.insert_textbox(9, 9, "à revoir") and None)
    yield case("far-cell", "too_large", lambda b, s: s.write(1_048_575, 0, 1) and None)
    yield case("wide-cell", "too_large", lambda b, s: s.write(1, 16_383, 1) and None)
    yield case("outside-the-table", "unnamed_column", lambda b, s: s.write(4, 20, 7) and None, 1, "U")


def repacked(data: bytes, add: dict[str, bytes], change: Callable[[str, bytes], bytes] = lambda n, d: d) -> bytes:
    """The archive with some parts more, or changed."""
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, change(entry.filename, old.read(entry)))
        for name, body in add.items():
            new.writestr(name, body)
    return held.getvalue()


def _parts() -> Iterator[Case]:
    contract = shipped_contracts()["cpam_assures"]
    name, plain = contract.name, as_xlsx(rows_of(contract))
    extra = {
        "macros": ("xl/vbaProject.bin", "macros"),
        "old-macros": ("xl/macrosheets/sheet1.xml", "macros"),
        "active-x": ("xl/activeX/activeX1.bin", "macros"),
        "pivot-cache": ("xl/pivotCache/pivotCacheRecords1.xml", "hidden_parts"),
        "external-link": ("xl/externalLinks/externalLink1.xml", "hidden_parts"),
        "embedded": ("xl/embeddings/oleObject1.bin", "hidden_parts"),
        "picture": ("xl/media/image1.png", "hidden_parts"),
        "connection": ("xl/connections.xml", "hidden_parts"),
        "traversal": ("../../etc/passwd", "unsafe_archive"),
        "absolute": ("/etc/passwd", "unsafe_archive"),
        "windows-traversal": ("..\\..\\evil.dll", "unsafe_archive"),
        "drive": ("C:/evil.dll", "unsafe_archive"),
    }
    for title, (part, kind) in extra.items():
        yield Case(title, name, "xlsx", repacked(plain, {part: b"<x/>"}), kind)
    bomb = repacked(plain, {"xl/theme/theme9.xml": b"<x>" + b" " * 64 * 1024**2 + b"</x>"})
    yield Case("zip-bomb", name, "xlsx", bomb, "zip_bomb")
    cells = repacked(plain, {}, lambda n, d: d.replace(b"</sheetData>", b" " * 40 * 1024**2 + b"</sheetData>"))
    yield Case("sheet-bomb", name, "xlsx", cells, "zip_bomb")
    lol = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'

    def entities(part: str, body: bytes) -> bytes:
        return body.replace(b"?>\n", b"?>\n" + lol, 1) if part.endswith("sheet1.xml") else body

    yield Case("entities", name, "xlsx", repacked(plain, {}, entities), "xml_entities")
    yield Case("no-xml", name, "xlsx", repacked(plain, {}, lambda n, d: d[:99]), "damaged")
    yield Case(
        "bad-row", name, "xlsx", repacked(plain, {}, lambda n, d: d.replace(b'<row r="2"', b'<row r="x"')), "damaged"
    )
    yield Case("truncated", name, "xlsx", plain[: len(plain) // 2], "damaged")
    yield Case("encrypted", name, "xlsx", encrypted(plain), "unsafe_archive")
    yield Case("old-workbook", name, "xlsx", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512), "old_workbook")


def encrypted(data: bytes) -> bytes:
    """The archive with the flag of encryption on every entry of its directory."""
    changed = bytearray(data)
    at = changed.find(b"PK\x01\x02")
    while at >= 0:
        changed[at + 8] |= 1
        at = changed.find(b"PK\x01\x02", at + 4)
    return bytes(changed)


def _parquets() -> Iterator[Case]:
    contract = shipped_contracts()["cpam_assures"]
    name, rows = contract.name, rows_of(contract)
    frame = pl.read_parquet(io.BytesIO(as_parquet(rows)))

    def case(title: str, kind: str, changed: pl.DataFrame, row: int | None = None, column: str | None = None) -> Case:
        held = io.BytesIO()
        changed.write_parquet(held, compression="zstd")
        return Case(title, name, "parquet", held.getvalue(), kind, row, column)

    yield case("nested", "nested", frame.with_columns(c2s=pl.concat_list("c2s", "c2s")))
    yield case("binary", "nested", frame.with_columns(c2s=pl.col("c2s").cast(pl.String).cast(pl.Binary)))
    yield case("nan", "text_for_number", frame.with_columns(c2s=pl.lit(float("nan"))), 2, "c2s")
    yield case("infinite", "text_for_number", frame.with_columns(c2s=pl.lit(float("inf"))), 2, "c2s")
    yield case("null", "blank", frame.with_columns(c2s=pl.lit(None, pl.Float64)), 2, "c2s")
    yield case("dates", "date", frame.with_columns(c2s=pl.date(2023, 1, 1)), 2, "c2s")
    yield case("booleans", "text_for_number", frame.with_columns(c2s=pl.lit(True)), 2, "c2s")
    yield case("long-text", "too_large", frame.with_columns(code=pl.lit("9" * 1_000_000)))
    yield case("many-rows", "too_large", pl.select(code=pl.repeat("99001", 3_000_000)))
    body = as_parquet(rows)
    yield Case("truncated-parquet", name, "parquet", body[:-40], "damaged")
    yield Case("false-parquet", name, "parquet", b"PAR1" + b"x" * 99 + b"PAR1", "damaged")


def _others() -> Iterator[Case]:
    contract = shipped_contracts()["cpam_assures"]
    name, rows = contract.name, rows_of(contract)

    def archive(*entries: tuple[str, bytes]) -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as made:
            for path, body in entries:
                made.writestr(path, body)
        return held.getvalue()

    yield Case("zipped-csv", name, "csv", archive(("depot.csv", as_csv(rows))), "not_a_workbook")
    yield Case("zip-traversal", name, "csv", archive(("../../depot.csv", as_csv(rows))), "unsafe_archive")
    yield Case("zip-doubled", name, "csv", archive(("a.csv", b"1"), ("a.csv", b"2")), "unsafe_archive")
    yield Case("pdf", name, "csv", b"%PDF-1.7\n1 0 obj\n", "not_a_table")
    document = archive(("[Content_Types].xml", b"<x/>"), ("word/document.xml", b"<x/>"))
    yield Case("word", name, "xlsx", document, "not_a_workbook")


# --- persons


FIRST_NAMES = ["Marie", "Jean", "Fatima", "Paul", "Nathalie", "Mohamed", "Sophie", "Pierre", "Julie", "Thomas"]


def nominative() -> Iterator[Case]:
    """Files that tell of someone, in a column, a header, another sheet, a hidden text."""
    contract = shipped_contracts()["cpam_assures"]
    name, rows = contract.name, rows_of(contract)
    mail, phone = "zoe.quintard@exemple.fr", "06 39 98 41 27"
    for suffix, write in WRITERS.items():
        with_mail = [{**r, "contact": mail} for r in rows]
        yield Case(f"mail-{suffix}", name, suffix, write(with_mail), "nominative_courriel", secret=(mail, "quintard"))
        with_phone = [{**r, "c2s": phone if i == 3 else r["c2s"]} for i, r in enumerate(rows)]
        yield Case(f"phone-{suffix}", name, suffix, write(with_phone), "nominative_telephone", secret=(phone,))
        named = [{**r, "nom": f"QUINTARD {first}"} for r, first in zip(rows, FIRST_NAMES * 9, strict=False)]
        yield Case(f"name-{suffix}", name, suffix, write(named), "nominative_nom", secret=("QUINTARD",))

    def other_sheet(book: xlsxwriter.Workbook, sheet: xlsxwriter.worksheet.Worksheet) -> None:
        page = book.add_worksheet("Liste")
        page.write_column(0, 0, ["courriel", mail])
        page.hide()

    yield Case("hidden-sheet-mail", name, "xlsx", as_xlsx(rows, other_sheet), "nominative_courriel", secret=(mail,))

    touches: dict[str, Touch] = {
        "footer-mail": lambda b, s: s.set_footer(f"&L{mail}") and None,
        "choices-mail": lambda b, s: s.data_validation("A2", {"validate": "list", "source": [mail, "x"]}) and None,
        "link-mail": lambda b, s: s.write_url("A2", f"mailto:{mail}", string="99001") and None,
    }
    for title, touch in touches.items():
        yield Case(title, name, "xlsx", as_xlsx(rows, touch), "nominative_courriel", secret=(mail,))
    page = as_xlsx(rows, sheet=mail)
    yield Case("sheet-name-mail", name, "xlsx", page, "nominative_courriel", secret=(mail,))

    def orphan(part: str, body: bytes) -> bytes:
        """A text that no cell shows any more, as spreadsheets leave behind."""
        return body.replace(b"</sst>", f"<si><t>{mail}</t></si></sst>".encode()) if "sharedStrings" in part else body

    left = repacked(as_xlsx(rows), {}, orphan)
    yield Case("orphan-mail", name, "xlsx", left, "nominative_courriel", secret=(mail,))
    custom = repacked(as_xlsx(rows), {"customXml/item1.xml": f"<x>{mail}</x>".encode()})
    yield Case("custom-mail", name, "xlsx", custom, "nominative_courriel", secret=(mail,))
