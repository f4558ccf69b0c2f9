"""The `vigie perimeter` commands: what an observatory defines, checked against the geography of the data folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from methods.perimeters import overlaps
from pipelines import judging
from pipelines import perimeters as register
from pipelines.stages import geography
from pipelines.workspace import Workspace, WorkspaceError

ALL_REFUSED = (
    "tout ce que le secret juge en serait retenu ; il ne resterait que des sommes de chiffres communaux déjà publics. "
    "Rien n'est écrit. À faire : ajouter ou retirer des communes, ou reprendre un territoire entier."
)


def add_perimeter(workspace: Workspace, name: str, typed: str, cog: int | None, out: Console, err: Console) -> int:
    """Writes a perimeter, or one more version of it, unless all of it that secrecy judges would be withheld; says what
    would be; returns the exit code.

    typed: codes and identifiers as a person types them, separated by spaces, commas or lines; a line may end with a
    comment (#).
    """
    asked = re.findall(r"[^\s,;]+", re.sub(r"#.*", "", typed))
    now = datetime.now(UTC).replace(microsecond=0, tzinfo=None)
    try:
        year = geography.reference_cog(workspace) if cog is None else cog
        members = _members(workspace, asked, year)
        perimeter, changed = register.revised(workspace.perimeters, name, year, asked, members, now)
    except (ValueError, WorkspaceError) as error:
        err.print(f"[red]Périmètre refusé :[/red] {escape(str(error))}", highlight=False)
        return 2
    identifier, version = f"PER-{perimeter.slug}", perimeter.current
    if not changed:
        out.print(f"{identifier} a déjà cette composition (version {version.version}).", highlight=False)
        return 0
    judged = judging.judged(workspace, perimeter)
    if judged is not None and judged.height and not judged["reason"].has_nulls():
        err.print(f"[red]Périmètre refusé :[/red] {escape(ALL_REFUSED)}", highlight=False)
        _print_refusals(judged, err)
        return 1
    path = register.save(workspace.perimeters_folder, perimeter)
    out.print(
        f"{identifier} : version {version.version}, {_told(version.members)}, COG {version.cog_year}. Écrit dans "
        f"{path}. À faire : « vigie run » le publie à tous les indicateurs.",
        highlight=False,
        soft_wrap=True,
    )
    _print_refusals(judged, out)
    return 0


def _print_refusals(judged: pl.DataFrame | None, console: Console) -> None:
    """Says which figures secrecy would withhold, and why; judged: from judging.judged."""
    if judged is None:
        console.print(
            "Rien n'est encore publié dont on puisse juger : la prochaine exécution dira ce que le secret retient."
        )
        return
    rows = judging.refusals(judged)
    if not rows:
        console.print("Rien n'en serait refusé au titre du secret.")
        return
    console.print("Le secret en retiendrait :")
    for figures, years, reason in rows:
        console.print(escape(f"  {figures} ({years}) : {reason}"), highlight=False, soft_wrap=True)


def _members(workspace: Workspace, asked: Sequence[str], year: int) -> list[str]:
    if not asked:
        raise ValueError("attendu au moins une commune (--communes ou --file) ; trouvé aucune")
    held = geography.members_of_cog(workspace, year)
    found = register.expanded(asked, held, geography.listed_iris(workspace), year)
    if not any(m.startswith("IRIS-") for m in found):
        return found
    return geography.as_iris(workspace, found)


def _told(members: Sequence[str]) -> str:
    iris = sum(m.startswith("IRIS-") for m in members)
    communes = len(members) - iris
    parts = [f"{communes} commune(s)"] if communes else []
    return " et ".join([*parts, *([f"{iris} IRIS"] if iris else [])])


def list_perimeters(workspace: Workspace, out: Console, err: Console) -> int:
    """Prints every perimeter of the folder."""
    try:
        known = workspace.perimeters
    except WorkspaceError as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False)
        return 1
    if not known:
        out.print(f"Aucun périmètre dans {workspace.perimeters_folder}. Pour en définir un : vigie perimeter add.")
        return 0
    table = Table("Identifiant", "Nom", "Version", "Du", "Composition", "COG", box=SIMPLE_HEAD)
    for p in known:
        v = p.current
        table.add_row(
            f"PER-{p.slug}", escape(p.name), str(v.version), f"{v.date:%Y-%m-%d}", _told(v.members), str(v.cog_year)
        )
    out.print(table)
    return 0


def show_perimeter(workspace: Workspace, asked: str, out: Console, err: Console) -> int:
    """Prints the members of a perimeter, its versions, and what it shares with each territory it touches."""
    found = [p for p in workspace.perimeters if asked in (p.name, p.slug, f"PER-{p.slug}")]
    if not found:
        err.print(f"Aucun périmètre « {escape(asked)} ». Pour les voir : vigie perimeter list.", highlight=False)
        return 2
    perimeter = found[0]
    out.print(f"\n[bold]{escape(perimeter.name)}[/bold] (PER-{perimeter.slug})")
    for v in perimeter.versions:
        out.print(f"  version {v.version}, {v.date:%Y-%m-%d} : {_told(v.members)}, COG {v.cog_year}", highlight=False)
    territories = geography.read(workspace, "territory")
    members = geography.own_members(workspace, [perimeter])
    named = members.join(territories.select(child_id="territory_id", name="name"), on="child_id").sort("child_id")
    told = "Membres : " + ", ".join(f"{name} ({identifier})" for identifier, name in named["child_id", "name"].rows())
    out.print(escape(told), highlight=False, soft_wrap=True)
    table = Table("Territoire", "Nom", "Communs", "Hors du périmètre", "Le contient", box=SIMPLE_HEAD)
    shared = overlaps(members, geography.read(workspace, "territory_member"))
    for row in shared.join(territories.select("territory_id", "name"), on="territory_id").iter_rows(named=True):
        inside = "oui" if row["holds"] else ""
        table.add_row(row["territory_id"], row["name"], str(row["shared"]), str(row["outside"]), inside)
    out.print(table)
    _print_refusals(judging.judged(workspace, perimeter), out)
    return 0
