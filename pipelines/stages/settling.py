"""From core frames to settled figures: each edition on the reference geography."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from methods.districts import UNDIVIDED
from methods.settle import VariableRule, settle
from pipelines.stages import geography, protecting
from pipelines.workspace import Workspace, digest, fingerprint_of, in_pairs, refresh
from sources.deposits.contract import Deposited
from sources.description import Edition, Source
from warehouse.catalogue import load_catalogue, variable_rules


def editions_to_settle(workspace: Workspace, source: Source) -> list[Edition]:
    """The editions that count: within a data year, a re-issue replaces the issues whose levels it all has."""
    present = workspace.present(source)
    levels = {e.edition: {m.level for m in e.members} for e in present}
    return [
        e
        for e in present
        if not any(
            o.data_year == e.data_year and o.issue > e.issue and levels[e.edition] <= levels[o.edition] for o in present
        )
    ]


def settled_path(workspace: Workspace, source: Source, edition: Edition) -> Path:
    return workspace.stage("settled", source.source_id, f"{edition.edition}.parquet")


def figures_path(workspace: Workspace, source: Source, edition: Edition) -> Path:
    """What indicators are computed from: settled figures, less what a partner's secrecy withholds."""
    if isinstance(source, Deposited):
        return protecting.path(workspace, source, edition.edition)
    return settled_path(workspace, source, edition)


def left_out_path(workspace: Workspace, source: Source, edition: Edition) -> Path:
    """Written with the settled figures: the published codes (level, code) that are no reference territory."""
    return settled_path(workspace, source, edition).with_suffix(".left_out")


def settle_source(workspace: Workspace, source: Source) -> dict[str, Any]:
    """Writes the settled Parquet of each edition of a source; returns what to show."""
    rules = variable_rules(load_catalogue()).get(source.source_id, ())
    if isinstance(source, Deposited):
        rules = (*rules, *protecting.private_rules(source, rules))
    asked = editions_to_settle(workspace, source) if rules else []
    written: list[str] = []
    with workspace.progress.step(f"Géographie {source.source_id}", len(asked)) as step:
        for edition, fresh in zip(
            asked, in_pairs(lambda e: _refresh_settled(workspace, source, e, rules), asked), strict=True
        ):
            step.advance(edition.edition)
            if fresh:
                written.append(edition.edition)
    if isinstance(source, Deposited):
        protecting.refresh_protected(workspace, source, {e.edition: settled_path(workspace, source, e) for e in asked})
    left_out = {e.edition: _left_out(workspace, source, e) for e in asked}
    return {
        "éditions": [e.edition for e in asked],
        "recalculées": written,
        "codes sans territoire de référence": {edition: counts for edition, counts in left_out.items() if counts},
        "remplacées par une réédition": [
            e.edition for e in workspace.present(source) if e.edition not in {a.edition for a in asked}
        ],
    }


def _refresh_settled(workspace: Workspace, source: Source, edition: Edition, rules: Sequence[VariableRule]) -> bool:
    core = workspace.core(source.source_id, edition.edition)
    members = geography.path(workspace, f"members-{edition.cog_year or edition.data_year}")
    fingerprint = digest(f"{fingerprint_of(core)} {fingerprint_of(members)} {workspace.code_digest}")
    target = settled_path(workspace, source, edition)
    return refresh(target, fingerprint, lambda: _settled(workspace, source, edition, rules, fingerprint))


def _left_out(workspace: Workspace, source: Source, edition: Edition) -> dict[str, int]:
    """Level -> number of published codes that stand for no reference territory, and whose figures are not kept."""
    lost = pl.read_parquet(left_out_path(workspace, source, edition))
    undivided = (pl.col("level") == "IRIS") & pl.col("code").str.contains(UNDIVIDED)
    named = pl.when(undivided).then(pl.lit("IRIS (commune entière)")).otherwise("level").alias("level")
    return dict(lost.select(named).group_by("level").len().sort("level").iter_rows())


def _settled(
    workspace: Workspace, source: Source, edition: Edition, rules: Sequence[VariableRule], fingerprint: str
) -> pl.DataFrame:
    values = pl.read_parquet(workspace.core(source.source_id, edition.edition))
    where = geography.correspondence(workspace, edition, values)
    refresh(left_out_path(workspace, source, edition), fingerprint, lambda: where.left_out)
    frame = settle(
        values,
        same=where.same,
        groups=where.groups,
        iris=where.iris,
        cities=geography.read(workspace, "cities"),
        twins=geography.ranked(workspace, geography.read(workspace, "twins"), "territory_id", "twin_id"),
        rules=rules,
    )
    # grouped, so that reading one variable skips the others; whoever reads sorts what it needs
    return frame.sort(pl.col("variable").to_physical(), maintain_order=True)
