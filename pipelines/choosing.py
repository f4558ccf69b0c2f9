"""Editions named by a person: which declared ones they are."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from fnmatch import fnmatchcase

from pipelines.workspace import Workspace, WorkspaceError


def matching(workspace: Workspace, names: Iterable[str]) -> set[tuple[str, str]]:
    """The editions (source, edition) so named: `source/edition`, either with `*`, or `source` for all of its editions.

    Raises WorkspaceError for a name that is none of those this run reads, with the nearest ones.
    """
    known = {f"{s.source_id}/{e.edition}": (s.source_id, e.edition)
             for s in workspace.sources.values() for e in workspace.editions(s)}  # fmt: skip
    found: set[tuple[str, str]] = set()
    for name in names:
        pattern = name if "/" in name else f"{name}/*"
        own = {key for text, key in known.items() if fnmatchcase(text, pattern)}
        if not own:
            near = get_close_matches(name, known, n=3, cutoff=0.5) or get_close_matches(name, workspace.sources, n=3)
            raise WorkspaceError(
                f"Éditions : attendu des éditions déclarées, « source/édition », avec des * au besoin ; trouvé "
                f"« {name} », qui n'en désigne aucune. À faire : choisir parmi les plus proches ({', '.join(near)}), "
                "ou dans la liste de « vigie status --offline »."
            )
        found |= own
    return found
