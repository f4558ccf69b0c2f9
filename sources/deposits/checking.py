"""The table of a deposited file against its contract: typed rows, or every fault with its cell."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from sources.deposits.contract import NOTICE, PERIODS, SHEET, Column, Contract
from sources.deposits.faults import MONTHS, Fault, letters, shown
from sources.deposits.reading import Book
from sources.deposits.workbook import Cell, Table
from sources.tabular import CODE_PATTERNS, CODE_WIDTHS, MARKS, SPACES

FIRST_YEAR = 1990
HEADER_WITHIN = 12  # lines in which a misplaced header is looked for
TOTAL = re.compile(r"(sous[- ]?)?tot(al|aux)?\b.*|ensemble\b.*|somme\b.*|t|_t", re.I)
BLANK = "[" + "".join(SPACES) + "]"
NUMBER = re.compile(rf"[+-]?(\d+|\d{{1,3}}({BLANK}\d{{3}})+)([.,]\d+)?")
DATE = re.compile(rf"\d{{1,4}}[/-]\d{{1,2}}([/-]\d{{1,4}})?|(\d{{1,2}}[ -])?({'|'.join(MONTHS)})\w*\.?[ -].*")
PERIOD = {"year": r"(\d{4})", "half": r"(\d{4})-S([12])", "month": r"(\d{4})-(0[1-9]|1[0-2])"}
PERIOD_FORM = {"year": "AAAA (2023)", "half": "AAAA-S1 ou AAAA-S2", "month": "AAAA-MM (2023-04)"}
SUMMED_FROM = 3  # other territories that have something, for a row to be the sum of the others
SUMMED_ABOVE = 100  # the smallest such sum that no chance explains, when there is one figure only
NEVER_A_VALUE = {
    "formula": ("formula", "une formule", "copier, puis « Collage spécial : valeurs »"),
    "error": ("error_cell", "une erreur du tableur", "corriger le calcul, puis coller les valeurs"),
    "boolean": ("text_for_number", "VRAI ou FAUX", "écrire le nombre"),
}

Value = tuple[float | None, str | None]  # figure, or the mark that stands for it


@dataclass(frozen=True)
class Row:
    """One row of a valid table. `sub` is the period's position in its year, from 1."""

    number: int
    level: str
    code: str
    year: int
    sub: int
    dimensions: tuple[str, ...]
    units: tuple[str, ...]
    values: dict[str, Value]

    @property
    def key(self) -> tuple[object, ...]:
        return (self.level, self.code, self.year, self.sub, self.dimensions, self.units)


@dataclass
class Checked:
    """What a table says: its rows when there is no fault. `years`: those whose every period is there."""

    rows: list[Row] = field(default_factory=list[Row])
    faults: list[Fault] = field(default_factory=list[Fault])
    years: list[int] = field(default_factory=list[int])
    notices: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class Reference:
    """What a deposit is checked against: the codes of each level in a COG, the day. known_in: the COG years in which a
    (level, code) is known."""

    cog_year: int
    codes: Mapping[str, frozenset[str]]
    today: date
    known_in: Callable[[str, str], Sequence[int]] = lambda level, code: ()


def check(book: Book, contract: Contract, reference: Reference | None) -> Checked:
    """The rows of a file, or its faults.

    reference: None for a deposit that was accepted before, whose codes and dates are not checked again.
    """
    found = Checked(faults=[f for table in book.tables for f in table.faults], notices=list(book.notices))
    table = _chosen(book, found)
    if table is None:
        return found
    places = _header(table, contract, found)
    if places is None:
        return found
    _TableCheck(table, contract, reference, places, found).run()
    return found


def _chosen(book: Book, found: Checked) -> Table | None:
    """The sheet of the data; a fault for what stands in others."""
    filled = [t for t in book.tables if t.rows and t.sheet != NOTICE]
    named = [t for t in filled if t.sheet in (None, SHEET)]
    chosen = named[0] if named else filled[0] if len(filled) == 1 else None
    if chosen is None:
        sheets = f"{len(filled)} feuilles remplies d'un autre nom" if filled else "aucune donnée"
        action = "remplir le formulaire vierge (vigie deposit new)"
        found.faults.append(Fault("sheet", f"une feuille « {SHEET} » remplie", sheets, action))
        return None
    for other in filled:
        if other is not chosen:
            action = "supprimer cette feuille, ou déposer son tableau avec son propre contrat"
            expected = f"la seule feuille « {chosen.sheet} » (et « {NOTICE} »)"
            found.faults.append(Fault("extra_sheet", expected, "une autre feuille remplie", action, sheet=other.sheet))
    return chosen


def _header(table: Table, contract: Contract, found: Checked) -> dict[str, int] | None:
    """Column name -> index; None when the table cannot be read."""
    wanted = [c.name for c in contract.columns]
    first = _names(table, 1)
    lines = [n for n in sorted(table.rows) if n <= HEADER_WITHIN]
    best = max(lines, key=lambda n: len(set(wanted) & set(_names(table, n).values())))
    if best != 1 and set(wanted) & set(_names(table, best).values()):
        found.faults.append(
            Fault(
                "header_rows",
                f"les noms des colonnes à la première ligne, et sur elle seule : {', '.join(wanted)}",
                f"ces noms à la ligne {best}",
                "supprimer les lignes de titre au-dessus des noms de colonnes",
                sheet=table.sheet,
                row=best,
            )
        )
        return None
    names = list(first.values())
    missing = [c.name for c in contract.columns if c.name not in names and not c.optional]
    if missing:
        found.faults.append(
            Fault(
                "missing_column",
                f"les colonnes {', '.join(wanted)}",
                f"il manque {', '.join(missing)}",
                "reprendre les noms de colonnes du formulaire vierge, sans les traduire ni les compléter",
                sheet=table.sheet,
                row=1,
            )
        )
    for index, name in first.items():
        if name not in wanted or names.count(name) > 1:
            double = name in wanted
            found.faults.append(
                Fault(
                    "double_column" if double else "unknown_column",
                    "une seule colonne de ce nom" if double else f"les seules colonnes {', '.join(wanted)}",
                    "plusieurs" if double else "une autre colonne",
                    "la supprimer : le contrat ne la demande pas",
                    sheet=table.sheet,
                    row=1,
                    column=letters(index),
                )
            )
    unnamed = sorted({i for cells in table.rows.values() for i in cells} - set(first))
    for index in unnamed:
        action = "donner son nom à la colonne, ou vider ces cellules"
        found.faults.append(
            Fault(
                "unnamed_column",
                "une colonne nommée",
                "des cellules sous un en-tête vide",
                action,
                table.sheet,
                row=1,
                column=letters(index),
            )
        )
    return None if missing else {name: index for index, name in first.items() if name in wanted}


def _names(table: Table, row: int) -> dict[int, str]:
    return {i: cell.text.strip().casefold() for i, cell in sorted(table.rows.get(row, {}).items())}


class _TableCheck:
    """One table, cell by cell, then what its rows say together."""

    def __init__(
        self, table: Table, contract: Contract, reference: Reference | None, places: dict[str, int], found: Checked
    ) -> None:
        self.table, self.contract, self.reference, self.found = table, contract, reference, found
        self.columns = [(c, places[c.name]) for c in contract.columns if c.name in places]
        self.marks: dict[str, list[tuple[int, Column, str]]] = {",": [], ".": []}  # where each decimal mark stands
        self.restored = 0

    def run(self) -> None:
        numbers = [n for n in sorted(self.table.rows) if n > 1]
        if numbers and self._second_header(numbers[0]):
            self._fault(
                "header_rows",
                numbers[0],
                None,
                "des chiffres sous la ligne des noms de colonnes",
                "une seconde ligne d'en-tête (libellés ou unités)",
                "supprimer cette ligne",
            )
            numbers = numbers[1:]
        if not numbers:
            self._fault("no_rows", None, None, "au moins une ligne de données", "aucune", "remplir le tableau")
        rows = [row for n in numbers if (row := self._row(n)) is not None]
        self._decimal_marks()
        self._together(rows)
        if self.restored:
            self.found.notices.append(f"{self.restored} code(s) dont les zéros de tête ont été rétablis")
        if not self.found.faults:
            self.found.rows = rows
            self._years(rows)

    def _fault(self, kind: str, row: int | None, column: str | None, expected: str, found: str, action: str) -> None:
        self.found.faults.append(Fault(kind, expected, found, action, self.table.sheet, row, column))

    def _cell(self, row: int, index: int) -> Cell:
        return self.table.rows[row].get(index, Cell(""))

    def _second_header(self, row: int) -> bool:
        """No figure and no period: labels or units."""
        cells = [self._cell(row, i) for c, i in self.columns if not c.is_key or c.role == "period"]
        return all(
            c.kind == "text" and not re.search(r"\d", c.text) and c.text.strip().lower() not in MARKS for c in cells
        )

    # --- one row

    def _row(self, number: int) -> Row | None:
        """The row, None when one of its cells is at fault."""
        before = len(self.found.faults)
        texts = {c.name: self._key_text(number, c, i) for c, i in self.columns if c.is_key}
        level = self._level(number, texts)
        code = self._code(number, level, texts[self._one("territory").name]) if level else ""
        year, sub = self._period(number, texts[self._one("period").name])
        dimensions = tuple(self._modality(number, c, texts[c.name]) for c in self.contract.of_role("dimension"))
        units = tuple(
            self._modality(number, c, texts[c.name]) for c in self.contract.of_role("unit") if c.name in texts
        )
        values = {c.name: self._value(number, c, self._cell(number, i)) for c, i in self.columns if not c.is_key}
        row = Row(number, level, code, year, sub, dimensions, units, values)
        self._within(row)
        return row if len(self.found.faults) == before else None

    def _one(self, role: str) -> Column:
        return self.contract.of_role(role)[0]

    def _key_text(self, number: int, column: Column, index: int) -> str | None:
        """The text of a cell that says what the row is of; None, and a fault, when it is no text."""
        cell = self._cell(number, index)
        text = cell.text.strip()
        told = NEVER_A_VALUE.get(cell.kind)
        if cell.kind in ("date", "percent"):
            found = "une date du tableur" if cell.kind == "date" else "un pourcentage"
            told = (cell.kind, found, "mettre la colonne au format Texte, puis écrire de nouveau la valeur")
        if told:
            self._fault(told[0], number, column.name, column.label, told[1], told[2])
        elif not text:
            self._fault("blank_key", number, column.name, column.label, "une cellule vide", "remplir la cellule")
        elif cell.kind == "number" and re.fullmatch(r"\d+\.0+", text):
            return text.split(".")[0]
        else:
            return text
        return None

    def _level(self, number: int, texts: dict[str, str | None]) -> str:
        levels = self.contract.levels
        if len(levels) == 1:
            return levels[0]
        column = self._one("level").name
        text = texts[column]
        if text is None or text.upper() in levels:
            return (text or "").upper()
        self._fault("level", number, column, f"un des niveaux {', '.join(levels)}", shown(text), "corriger le niveau")
        return ""

    def _code(self, number: int, level: str, text: str | None) -> str:
        column = self._one("territory").name
        if text is None:
            return ""
        if TOTAL.fullmatch(text):
            self._total(number, column, text)
            return ""
        code = text.upper().zfill(CODE_WIDTHS[level])
        self.restored += code != text.upper()
        if not re.fullmatch(CODE_PATTERNS[level], code):
            self._fault(
                "code",
                number,
                column,
                f"un code de niveau {level}",
                shown(text),
                "écrire le code officiel (code commune Insee à 5 caractères, SIREN d'EPCI…), pas un nom "
                "ni un code postal",
            )
        elif self.reference is not None and code not in self.reference.codes.get(level, frozenset()):
            known = self.reference.known_in(level, code)
            action = "corriger le code"
            if known:
                action = f"ce code est du COG {known[-1]} : redéposer avec --cog {known[-1]}, ou corriger le code"
            expected = f"un code {level} du COG {self.reference.cog_year}"
            self._fault("unknown_code", number, column, expected, shown(code), action)
        return code

    def _total(self, number: int, column: str, text: str) -> None:
        self._fault(
            "total_row",
            number,
            column,
            "des lignes de détail seulement",
            f"un total ({shown(text)})",
            "supprimer la ligne : les totaux sont recalculés",
        )

    def _period(self, number: int, text: str | None) -> tuple[int, int]:
        column, kind = self._one("period").name, self.contract.period
        if text is None:
            return 0, 0
        read = re.fullmatch(PERIOD[kind], text)
        if read is None:
            self._fault("period", number, column, f"une période {PERIOD_FORM[kind]}", shown(text), "la corriger")
            return 0, 0
        year, sub = int(read[1]), int(read[2]) if kind != "year" else 1
        if year < FIRST_YEAR:
            self._fault("period", number, column, f"une année depuis {FIRST_YEAR}", shown(text), "la corriger")
        elif self.reference is not None and end_of(year, sub, kind) >= self.reference.today:
            self._fault(
                "future",
                number,
                column,
                f"une période achevée au {self.reference.today:%d/%m/%Y}",
                shown(text),
                "retirer la ligne : une période se dépose quand elle est finie",
            )
        return year, sub

    def _modality(self, number: int, column: Column, text: str | None) -> str:
        if text is None:
            return ""
        if column.codes:
            known = {code.casefold(): code for code in column.codes}
            if text.casefold() in known:
                return known[text.casefold()]
            if TOTAL.fullmatch(text):
                self._total(number, column.name, text)
                return ""
            codes = ", ".join(f"{code} ({m.label})" for code, m in column.codes.items())
            self._fault("modality", number, column.name, f"un des codes {codes}", shown(text), "écrire le code")
        elif TOTAL.fullmatch(text):
            self._total(number, column.name, text)
        elif not re.fullmatch(column.pattern or "", text):
            self._fault(
                "modality",
                number,
                column.name,
                f"un identifiant de la forme {column.pattern}",
                shown(text),
                "écrire l'identifiant, sans texte libre",
            )
        return text

    def _value(self, number: int, column: Column, cell: Cell) -> Value:
        text = cell.text.strip()
        if text.lower() in MARKS:
            return None, text.lower()
        fault = _unread(cell, text)
        if fault is not None:
            kind, found, action = fault
            self._fault(kind, number, column.name, _expected(column), found, action)
            return None, None
        if cell.kind == "text":
            for mark in self.marks:
                if mark in text:
                    self.marks[mark].append((number, column, text))
        value = float(re.sub(BLANK, "", text).replace(",", "."))
        low, high = column.minimum, column.maximum
        if not column.decimal and value != int(value):
            self._fault(
                "not_whole",
                number,
                column.name,
                _expected(column),
                shown(text),
                "écrire un nombre entier, sans séparateur de milliers",
            )
        elif (low is not None and value < low) or (high is not None and value > high):
            kind = "negative" if value < 0 else "out_of_range"
            self._fault(kind, number, column.name, _expected(column), shown(text), "corriger la valeur")
        return value, None

    def _within(self, row: Row) -> None:
        """A part is no more than its whole, a largest contributor no more than the amount, which comes with it."""
        for column in self.contract.figures:
            whole = column.part_of or column.of
            if whole is None or column.name not in row.values or whole not in row.values:
                continue
            part, total = row.values[column.name][0], row.values[whole][0]
            if column.of is not None and part is None and total is not None:
                self._fault(
                    "amount_alone",
                    row.number,
                    column.name,
                    f"un nombre partout où « {whole} » en a un : sans lui, la dominance ne se vérifie pas",
                    "pas de nombre",
                    f"remplir la case, ou écrire s dans « {whole} »",
                )
            elif part is not None and total is not None and part > total and column.role != "contributors":
                self._fault(
                    "part_above_whole",
                    row.number,
                    column.name,
                    f"au plus « {whole} » ({total:g})",
                    f"{part:g}",
                    "corriger l'une des deux colonnes",
                )

    # --- all rows together

    def _decimal_marks(self) -> None:
        fewer, more = sorted(self.marks.values(), key=len)
        for number, column, text in fewer if fewer and more else []:
            self._fault(
                "mixed_decimals",
                number,
                column.name,
                "la même marque décimale dans tout le fichier",
                shown(text),
                "choisir la virgule, partout, et n'écrire aucun séparateur de milliers",
            )

    def _together(self, rows: list[Row]) -> None:
        seen: dict[tuple[object, ...], int] = {}
        for row in rows:
            first = seen.setdefault(row.key, row.number)
            if first != row.number:
                self._fault(
                    "duplicate_key",
                    row.number,
                    self._one("territory").name,
                    "une ligne par territoire, période et modalité",
                    f"les mêmes que la ligne {first}",
                    "garder une seule des deux lignes",
                )
        if not self.found.faults:  # a row at fault would be missed as well
            self._modalities_missing(rows)
            self._periods_missing(rows)
        summed = {c.name for c in self.contract.figures if c.role != "measure"}
        for number in hidden_totals(rows, summed):
            self._fault(
                "total_row",
                number,
                self._one("territory").name,
                "des lignes de détail seulement",
                "une ligne égale à la somme des autres",
                "supprimer la ligne : les totaux sont recalculés",
            )

    def _modalities_missing(self, rows: list[Row]) -> None:
        """Every modality that has its own figure is there wherever one is: their sum would be wrong without."""
        for position, column in enumerate(self.contract.of_role("dimension")):
            wanted = {code for code, m in column.codes.items() if m.suffix is not None}
            held: dict[tuple[object, ...], dict[str, int]] = defaultdict(dict)
            for row in rows:
                others = (*row.dimensions[:position], *row.dimensions[position + 1 :])
                held[row.level, row.code, row.year, row.sub, others, row.units][row.dimensions[position]] = row.number
            for numbers in held.values():
                if missing := sorted(wanted - set(numbers)):
                    self._fault(
                        "missing_modality",
                        min(numbers.values()),
                        column.name,
                        f"une ligne pour chacun de {', '.join(sorted(wanted))}",
                        f"aucune pour {', '.join(missing)}",
                        "ajouter la ligne : 0, ou s (secret), nd (non disponible)",
                    )

    def _periods_missing(self, rows: list[Row]) -> None:
        """Every month or half-year of the file is there for each territory and modality."""
        periods: dict[int, set[int]] = defaultdict(set)
        held: dict[tuple[object, ...], dict[int, int]] = defaultdict(dict)
        for row in rows:
            periods[row.year].add(row.sub)
            held[row.level, row.code, row.year, row.dimensions, row.units][row.sub] = row.number
        for key, numbers in held.items():
            year = next(y for y in key if isinstance(y, int))
            form = "{}-S{}" if self.contract.period == "half" else "{}-{:02d}"
            if missing := sorted(periods[year] - set(numbers)):
                told = ", ".join(form.format(year, m) for m in missing)
                self._fault(
                    "missing_period",
                    min(numbers.values()),
                    self._one("period").name,
                    "les mêmes périodes pour tous",
                    f"aucune ligne pour {told}",
                    "ajouter la ligne : 0, ou s (secret), nd (non disponible)",
                )

    def _years(self, rows: list[Row]) -> None:
        periods: dict[int, set[int]] = defaultdict(set)
        for row in rows:
            periods[row.year].add(row.sub)
        needed = PERIODS[self.contract.period]
        for year, held in sorted(periods.items()):
            if len(held) == needed:
                self.found.years.append(year)
            else:
                self.found.notices.append(
                    f"{year} : {len(held)} périodes sur {needed}, publiée une fois l'année entière"
                )
        if not self.found.years:
            self._fault(
                "no_whole_year",
                None,
                self._one("period").name,
                f"une année entière ({needed} périodes)",
                "aucune",
                "déposer quand une année est entière",
            )


def end_of(year: int, sub: int, kind: str) -> date:
    """The last day of a period."""
    months = sub * 12 // PERIODS[kind]
    return date(year + months // 12, months % 12 + 1, 1) - timedelta(days=1)


def _expected(column: Column) -> str:
    what = "un nombre" if column.decimal else "un nombre entier"
    if column.minimum is not None:
        what += f" d'au moins {column.minimum:g}"
    if column.maximum is not None:
        what += f" et d'au plus {column.maximum:g}"
    return f"{what}{f' ({column.unit})' if column.unit else ''}, ou s, nd, ns"


def _unread(cell: Cell, text: str) -> tuple[str, str, str] | None:
    """(kind, found, action) of a cell that is no number; None for a number."""
    if cell.kind in NEVER_A_VALUE:
        return NEVER_A_VALUE[cell.kind]
    if not text:
        return "blank", "une cellule vide", "écrire 0, ou s (secret), nd (non disponible)"
    if cell.kind == "percent" or "%" in text:
        return "percent", f"un pourcentage ({shown(text)})", "écrire le nombre sans « % », au format Nombre"
    if cell.kind == "date" or DATE.fullmatch(text):
        return "date", "une date", "mettre la colonne au format Nombre, puis écrire de nouveau la valeur"
    if cell.kind == "number":
        return None if _is_finite(text) else ("text_for_number", f"un texte ({shown(text)})", "écrire un nombre, ou nd")
    if NUMBER.fullmatch(text):
        return None
    if "," in text and "." in text:
        return "mixed_decimals", shown(text), "écrire 1234,5 : une virgule décimale, aucun séparateur de milliers"
    if re.match(r"[<>≤≥]", text):
        return "bound", shown(text), "écrire s : un effectif trop petit est secret"
    if re.fullmatch(r"[\d .,]+", text.replace("\u00a0", " ").replace("\u202f", " ")):
        return "thousands", shown(text), "écrire le nombre sans espace ni point entre les milliers"
    return "text_for_number", f"un texte ({shown(text)})", "écrire le nombre seul, sans unité ni commentaire"


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def hidden_totals(rows: list[Row], names: set[str]) -> Iterator[int]:
    """First row number of each territory whose every figure (names) is the sum of the others' of its level."""
    sums: dict[tuple[object, ...], float] = defaultdict(float)
    cells: dict[tuple[str, str], dict[tuple[object, ...], float]] = defaultdict(dict)
    first: dict[tuple[str, str], int] = {}
    filled: dict[tuple[object, ...], int] = defaultdict(int)
    for row in rows:
        for name in sorted(names & set(row.values)):
            value = row.values[name][0]
            cell = (row.level, row.year, row.sub, row.dimensions, row.units, name)
            sums[cell] += value or 0.0
            filled[cell] += bool(value)
            cells[row.level, row.code][cell] = value or 0.0
        first.setdefault((row.level, row.code), row.number)
    for territory, own in cells.items():
        large = {c: v for c, v in own.items() if v and filled[c] > SUMMED_FROM}
        alike = all(abs(sums[c] - 2 * v) <= 1e-6 * abs(v) for c, v in own.items())
        if alike and (len(large) > 1 or any(v >= SUMMED_ABOVE for v in large.values())):
            yield first[territory]
