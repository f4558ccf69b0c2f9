"""What a run of a few assets left out, before a candidate is made of everything."""

from __future__ import annotations

from graphlib import TopologicalSorter

from pipelines.stages import acquisition, estimating, geography, observations, settling
from pipelines.workspace import Workspace
from warehouse.catalogue import load_catalogue


def bring_up_to_date(workspace: Workspace) -> None:
    """Reads, settles, estimates and computes what is not of these raw files, this code and these choices; the rest is
    left as it is. Nobody is asked for anything."""
    workspace.lock()
    held = [s for s in workspace.sources.values() if s.editions]
    for source in held:
        acquisition.parse(workspace, source, None)
    for build in (geography.build_passage, geography.build_territories, geography.build_correspondences):
        build(workspace)
    for source in held:
        if source.kind == "values":
            settling.settle_source(workspace, source)
    estimating.estimate(workspace)
    catalogue = load_catalogue()
    rests_on: dict[str, set[str]] = {}
    for indicator in catalogue.indicators:
        themes = {b.theme for b in catalogue.bases_of(indicator)} - {indicator.theme}
        rests_on.setdefault(indicator.theme, set()).update(themes)
    for theme in TopologicalSorter(rests_on).static_order():
        observations.observe(workspace, theme)
