"""A job of a few steps, that each process of a run must make again: in a module that asks nothing of pytest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.assets import build_assets
from pipelines.executing import executor_of
from pipelines.settings import Settings
from pipelines.workspace import Workspace

SOURCES = ("cnaf_prestations", "insee_rp_emploi")
STEPS = [*([room, s] for room in ("core", "settled") for s in SOURCES), ["geography", "passage"],
         ["geography", "territory"], ["geography", "correspondence"]]  # fmt: skip


def few(data: str, executor: Any) -> dg.JobDefinition:
    """A job of a few steps: every process makes it again."""
    workspace = Workspace(Settings(data=Path(data), executor=executor, workers=2))
    assets = [a for a in build_assets(workspace) if a.keys & {dg.AssetKey(key) for key in STEPS}]
    job = dg.define_asset_job("few", selection=dg.AssetSelection.all())
    return dg.Definitions(assets=assets, jobs=[job], executor=executor_of(workspace)).resolve_job_def("few")
