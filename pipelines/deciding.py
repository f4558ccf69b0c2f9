"""Deciding of a candidate from the terminal: those that wait, publishing one, dropping one."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from pipelines.sending import send_what_is_in_force
from pipelines.stages import publication
from pipelines.workspace import Workspace, WorkspaceError
from warehouse.release import ReleaseError, Releases

DONE, USAGE = 0, 2


def list_candidates(workspace: Workspace, out: Console) -> int:
    """Prints the candidates on disk: that which waits, and that which its checks refused."""
    states = Releases(workspace.data).states()
    for state in states:
        out.print(escape(publication.waiting_told(workspace, state)), highlight=False, soft_wrap=True)
    if not states:
        out.print("Aucune candidate : rien n'attend de décision.")
    return DONE


def approve(workspace: Workspace, release_id: str, out: Console, err: Console) -> int:
    """Publishes a candidate that waits; returns the exit code."""

    def publish() -> str:
        publication.approve(workspace, release_id)
        send_what_is_in_force(workspace)
        return publication.conclusion(workspace)

    return _told(publish, out, err)


def reject(workspace: Workspace, release_id: str, out: Console, err: Console) -> int:
    """Drops a candidate; returns the exit code."""

    def drop() -> str:
        workspace.lock()
        Releases(workspace.data).reject(release_id)
        return f"{release_id} écartée. La prochaine exécution construira de nouveau ce que donnent les sources."

    return _told(drop, out, err)


def _told(act: Callable[[], str], out: Console, err: Console) -> int:
    """Does it and says so, or why it cannot be."""
    try:
        told = act()
    except (ReleaseError, WorkspaceError) as error:
        err.print(f"[red]{escape(str(error))}[/red]", highlight=False, soft_wrap=True)
        return USAGE
    out.print(escape(told), highlight=False, soft_wrap=True)
    return DONE
