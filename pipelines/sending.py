"""Sending the release in force to where partners read it: an object store."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape

from pipelines.workspace import Workspace, WorkspaceError
from warehouse.release import PARTNER, ReleaseError, Releases
from warehouse.remote import open_store, push


def send_release(
    workspace: Workspace, url: str, release_id: str | None = None, *, partner: bool = False
) -> dict[str, Any]:
    """Sends a release (the one in force unless named) to a store; what to show of it.

    Raises ReleaseError when there is none, or as `push` does.
    """
    releases = Releases(workspace.data)
    release = releases.get(release_id) if release_id else releases.latest()
    if release is None:
        raise ReleaseError(f"Rien n'est publié dans {workspace.data}. À faire : lancer « vigie run ».")
    pushed = push(release, open_store(url), partner=partner, keep=workspace.settings.keep_releases)
    left = [] if partner or PARTNER not in release.editions else ["l'édition des partenaires reste ici"]
    return {
        "publication": pushed.release_id,
        "dépôt": url,
        "fichiers envoyés": pushed.sent,
        "octets envoyés": pushed.sent_bytes,
        "fichiers déjà en place": pushed.held,
        "publications retirées du dépôt": pushed.removed,
        "à savoir": left,
    }


def send_what_is_in_force(workspace: Workspace) -> None:
    """Sends the release just put in force, where the settings name a store. Raises ReleaseError saying that it is
    published here, and not there."""
    if workspace.settings.remote is None:
        return
    try:
        send_release(workspace, workspace.settings.remote)
    except ReleaseError as error:
        latest = Releases(workspace.data).latest()
        named = latest.release_id if latest else "la publication"
        told = f"{named} est publiée ici, mais pas envoyée ; ensuite : vigie release push. {error}"
        raise ReleaseError(told) from error


def show_push(
    workspace: Workspace, url: str | None, release_id: str | None, out: Console, err: Console, *, partner: bool
) -> int:
    """Sends a release and says what was sent. Returns the exit code."""
    url = url or workspace.settings.remote
    if url is None:
        err.print(
            "Attendu l'adresse d'un dépôt. À faire : vigie release push s3://seau/dossier, ou régler VIGIE_REMOTE."
        )
        return 2
    try:
        workspace.lock()
        shown = send_release(workspace, url, release_id, partner=partner)
    except (ReleaseError, WorkspaceError) as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False, soft_wrap=True)
        return 1
    for name, value in shown.items():
        if value != []:
            out.print(
                f"{name} : {', '.join(value) if isinstance(value, list) else value}", highlight=False, soft_wrap=True
            )
    return 0
