"""What a partner starts from: a commented contract, and the empty CSV and XLSX forms of a contract."""

from __future__ import annotations

import io
from collections.abc import Iterator

import xlsxwriter

from sources.deposits.checking import PERIOD_FORM
from sources.deposits.contract import NOTICE, SHEET, SHIPPED, Column, Contract

TEMPLATE = """\
# Contrat de dépôt : ce qu'un partenaire apporte, sous quelle convention, à qui cela se montre.
# Les noms en anglais ne changent pas ; le texte après « # » est une explication, que Vigie ne lit pas.
name: {name}
title: "Personnes reçues (à adapter)"  # tel que l'entrepôt l'affichera
owner: "Nom du partenaire"  # il reste propriétaire de ses données
convention: "Référence et date de la convention"
diffusion: partner  # partner : édition des partenaires seule ; public : les deux éditions
secrecy:
  rule: S_5  # S_5, S_CNAF (5), S_11 (11) ou S_OPEN (données déjà publiques)
  threshold: 5  # en dessous, rien n'est dit ; plus haut que la règle si le partenaire le veut, jamais plus bas
retention_months: 36  # durée pendant laquelle le fichier déposé peut être conservé
levels: [COM]  # parmi IRIS, QPV, COM, EPCI, DEP, REG, FRANCE ; plusieurs : ajouter une colonne de rôle level
period: year  # year (2023), half (2023-S1) ou month (2023-04)
# over_year: sum  # de mois ou de semestres à l'année : sum, mean ou last (le dernier)
# cog_year: 2025  # année des codes, si c'est toujours la même ; sinon « vigie deposit FICHIER --cog ANNÉE »
columns:
  # rôles qui disent de quoi est une ligne : territory, period, level, dimension (sexe, âge), unit (structure, action :
  # additionnées) ; rôles des chiffres : count, amount (avec, `of:` disant lequel, largest : ce qu'apporte son plus gros
  # contributeur, et contributors : leur nombre), denominator, measure (une médiane, un taux : ne s'additionne pas)
  - {{name: code, label: "Code Insee de la commune", role: territory}}
  - {{name: annee, label: "Année", role: period}}
  - name: sexe
    label: "Sexe"
    role: dimension
    codes:  # suffix : la fin du nom de la variable ; sans suffix, ne compte que dans l'ensemble
      F: {{label: femmes, suffix: _f}}
      M: {{label: hommes, suffix: _m}}
      X: {{label: sexe non connu}}
  - {{name: personnes, label: "Personnes reçues", role: count, unit: personnes}}
  - {{name: orientees, label: "Dont orientées vers un droit", role: count, unit: personnes, part_of: personnes}}
notes: >-
  Ce que compte chaque colonne, à quelle date, avec quels doublons.
"""


def contract_text(name: str) -> str:
    """The text of a new contract: that of the house when it has one of this name, else a commented example."""
    shipped = SHIPPED / f"{name}.yaml"
    return shipped.read_text(encoding="utf-8") if shipped.exists() else TEMPLATE.format(name=name)


def csv_form(contract: Contract) -> bytes:
    """The header alone, as French spreadsheets open it: semicolons, UTF-8 with its mark."""
    return (";".join(c.name for c in contract.columns) + "\r\n").encode("utf-8-sig")


def xlsx_form(contract: Contract) -> bytes:
    """A workbook: the header over columns of the right format, and a sheet that explains them."""
    held = io.BytesIO()
    with xlsxwriter.Workbook(held, {"in_memory": True}) as book:
        head, text = book.add_format({"bold": True, "bottom": 1}), book.add_format({"num_format": "@"})
        wrapped = book.add_format({"text_wrap": True, "valign": "top"})
        data, notice = book.add_worksheet(SHEET), book.add_worksheet(NOTICE)
        for i, column in enumerate(contract.columns):
            data.set_column(i, i, max(12, len(column.name) + 2), text if column.is_key else None)
            data.write_string(0, i, column.name, head)
        data.freeze_panes(1, 0)
        notice.set_column(0, 0, 28)
        notice.set_column(1, 2, 60, wrapped)
        for row, cells in enumerate(_notice(contract)):
            for i, cell in enumerate(cells):
                notice.write_string(row, i, cell, head if row == 0 else None)
    return held.getvalue()


def _notice(contract: Contract) -> Iterator[tuple[str, ...]]:
    yield "Colonne", "Ce qu'elle contient", "Ce qui s'y écrit"
    for column in contract.columns:
        optional = " (facultative)" if column.optional else ""
        yield column.name, column.label + optional, _written(contract, column)
    yield "Jeu de données", contract.title, ""
    yield "Convention", contract.convention, f"Seuil de secret : {contract.secrecy.threshold}"
    if contract.notes:
        yield "À savoir", contract.notes, ""


def _written(contract: Contract, column: Column) -> str:
    """What a cell of the column may hold, in a few words."""
    match column.role:
        case "territory":
            return f"code officiel ({', '.join(contract.levels)}), en texte : les zéros de tête comptent"
        case "level":
            return " ou ".join(contract.levels)
        case "period":
            return PERIOD_FORM[contract.period]
        case "dimension" | "unit" if column.codes:
            return " ; ".join(f"{code} : {m.label}" for code, m in column.codes.items())
        case "unit":
            return f"identifiant de la forme {column.pattern}"
        case _:
            whole = "nombre, virgule décimale" if column.decimal else "nombre entier"
            unit = f" ({column.unit})" if column.unit else ""
            return f"{whole}{unit} ; s : secret, nd : non disponible ; pas de case vide"
