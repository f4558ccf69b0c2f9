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

LARGEST = 4_000_000  # figures of an edition settled at once: a few times what the largest national file has


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
    core = workspace.core(source.source_id, edition.edition)
    where = geography.correspondence(workspace, edition, pl.read_parquet(core, columns=["level", "code"]))
    refresh(left_out_path(workspace, source, edition), fingerprint, lambda: where.left_out)
    cities = geography.read(workspace, "cities")
    twins = geography.ranked(workspace, geography.read(workspace, "twins"), "territory_id", "twin_id")
    there = pl.scan_parquet(core).group_by(pl.col("variable").cast(pl.String)).len().collect()
    asked = [r for r in rules if r.variable in there["variable"]]
    at_once = max(1, len(asked) * LARGEST // max(1, int(there["len"].sum())))
    parts: list[pl.DataFrame] = []
    for first in range(0, max(1, len(asked)), at_once):
        some = asked[first : first + at_once]
        names, weights = {r.variable for r in some}, {r.weight for r in some}
        needed = [r for r in asked if r.variable in names | weights]
        read = pl.col("variable").cast(pl.String).is_in([r.variable for r in needed])
        values = pl.scan_parquet(core).filter(read).collect()
        frame = settle(
            values, same=where.same, groups=where.groups, iris=where.iris, cities=cities, twins=twins, rules=needed
        )
        # grouped, so that reading one variable skips the others; whoever reads sorts what it needs
        own = frame.filter(pl.col("variable").is_in(sorted(names)))
        parts.append(own.sort(pl.col("variable").to_physical(), maintain_order=True))
    return pl.concat(parts, rechunk=False)
