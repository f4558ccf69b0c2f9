"""Amends a definition: a new version in the YAML of the catalogue, told in its history, entered in the register.

    python -m warehouse.amend rev_tp60 "le seuil passe de 60 à 50 % de la médiane"
    python -m warehouse.amend                      # enters new indicators

The text of the definition is changed first, in the YAML; nothing else of the file is touched here.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from warehouse.catalogue import FOLDER, Catalogue, Indicator, read_catalogue
from warehouse.versions import definition_digest, read_register, write_register

DONE, USAGE = 0, 2
INDENT = " " * 8
WRAPPING: dict[str, Any] = {"width": 110, "initial_indent": INDENT, "subsequent_indent": INDENT,
                            "break_long_words": False, "break_on_hyphens": False}  # fmt: skip


class AmendError(Exception):
    """An amendment that cannot be made. The message (French) says what to do."""


def enter(folder: Path) -> list[str]:
    """Enters the indicators whose version the register does not have; returns their identifiers."""
    catalogue, register = read_catalogue(folder), read_register(folder)
    new = [i for i in catalogue.indicators if (i.id, i.version) not in register]
    register |= {(i.id, i.version): definition_digest(catalogue, i) for i in new}
    write_register(folder, register)
    return [i.id for i in new]


def amend(folder: Path, indicator_id: str, change_fr: str, today: dt.date) -> list[str]:
    """Gives a changed definition its new version, and one to each indicator computed from it; returns them all.

    change_fr: what changes, as the committee will read it. Raises AmendError when nothing changed since the
    registered version, or when the indicator is not in the register.
    """
    catalogue = read_catalogue(folder)
    indicator = _changed(catalogue, folder, indicator_id)
    change_fr = " ".join(change_fr.split())
    if not change_fr:
        raise AmendError("attendu ce qui change, en une phrase ; trouvé un texte vide. À faire : le donner.")
    follows = f"suit « {indicator.label_fr} » ({indicator_id}, version {indicator.version + 1}) : {change_fr}"
    derived = [i for i in catalogue.indicators if indicator_id in {b.id for b in catalogue.bases_of(i)}]
    texts: dict[Path, str] = {}
    for one, told in [(indicator, change_fr), *((i, follows) for i in derived)]:
        path = folder / f"{one.theme}.yaml"
        text = texts.get(path) or path.read_text(encoding="utf-8")
        texts[path] = _verified(text, one, {"version": one.version + 1, "date": today, "change_fr": told})
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8", newline="\n")
    enter(folder)
    return [indicator_id, *(i.id for i in derived)]


def _changed(catalogue: Catalogue, folder: Path, indicator_id: str) -> Indicator:
    """The indicator to amend, whose definition is no longer that of the register."""
    try:
        indicator = catalogue.indicator(indicator_id)
    except KeyError:
        raise AmendError(
            f"attendu un indicateur du catalogue ; trouvé {indicator_id!r}. À faire : vérifier l'identifiant."
        ) from None
    registered = read_register(folder).get((indicator.id, indicator.version))
    if registered is None:
        raise AmendError(
            f"{indicator_id} : attendu sa version {indicator.version} dans le registre ; trouvé un indicateur nouveau. "
            "À faire : python -m warehouse.amend, sans rien d'autre."
        )
    if registered == definition_digest(catalogue, indicator):
        raise AmendError(
            f"{indicator_id} : attendu une définition changée ; trouvé celle de la version {indicator.version}. "
            "À faire : changer d'abord la définition dans le catalogue (libellés, formule en mots et pièges se "
            "reprennent sans nouvelle version)."
        )
    return indicator


def _verified(text: str, indicator: Indicator, amendment: dict[str, Any]) -> str:
    """The text of a theme with an indicator amended, having verified that nothing else is read from it."""
    amended = amended_text(text, indicator.id, amendment)
    expected: list[dict[str, Any]] = yaml.safe_load(text)
    for entry in expected:
        if entry["id"] == indicator.id:
            entry |= {"version": amendment["version"], "history": [*entry.get("history", []), amendment]}
    if yaml.safe_load(amended) != expected:
        raise AmendError(
            f"{indicator.theme}.yaml : attendu une entrée écrite comme les autres (« - id: {indicator.id} », clés à "
            "deux espaces) ; trouvé une autre forme. À faire : la remettre en forme, ou y écrire version et history."
        )
    return amended


def amended_text(text: str, indicator_id: str, amendment: dict[str, Any]) -> str:
    """The text of a theme with the version of an indicator set and its history told; every other line as it was.

    amendment: version, date and change_fr. An entry written in another form comes back unchanged.
    """
    lines = text.split("\n")
    start = next((n for n, line in enumerate(lines) if line == f"- id: {indicator_id}"), None)
    if start is None:
        return text
    end = next((n for n in range(start + 1, len(lines)) if not lines[n].startswith("  ")), len(lines))
    entry = [line for line in lines[start:end] if not re.fullmatch(r"  version: \d+", line)]
    entry.insert(1, f"  version: {amendment['version']}")
    told = [f"    - version: {amendment['version']}", f"      date: {amendment['date']}", "      change_fr: >-"]
    told += textwrap.wrap(amendment["change_fr"], **WRAPPING)
    if "  history:" in entry:
        first = entry.index("  history:") + 1
        where = next((n for n in range(first, len(entry)) if not entry[n].startswith("    ")), len(entry))
    else:
        told.insert(0, "  history:")
        where = next((n for n, line in enumerate(entry) if line == "  compute:"), len(entry))
    return "\n".join([*lines[:start], *entry[:where], *told, *entry[where:], *lines[end:]])


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Exit codes: 0 done, 2 refused."""
    parser = argparse.ArgumentParser("python -m warehouse.amend", description="Amende une définition du catalogue.")
    parser.add_argument("indicateur", nargs="?", help="identifiant ; sans lui, les indicateurs nouveaux sont inscrits")
    parser.add_argument("changement", nargs="?", default="", help="ce qui change, en une phrase")
    asked = parser.parse_args(arguments)
    try:
        if asked.indicateur is None:
            done = enter(folder)
            print(f"Inscrits au registre : {', '.join(done) or 'aucun, tous y sont'}.")
        else:
            done = amend(folder, asked.indicateur, asked.changement, dt.date.today())
            print(f"Nouvelle version : {', '.join(done)}.")
    except (AmendError, ValueError) as error:
        print(error, file=sys.stderr)
        return USAGE
    return DONE


if __name__ == "__main__":
    sys.exit(main())
