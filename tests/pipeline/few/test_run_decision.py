"""A run of a few editions that ends with a candidate: what it asks, what it leaves, who may publish it and when."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import dagster as dg
import polars as pl
import pytest
from test_run_failures import FILOSOFI_2018, change, site
from vigie_runs import call, damage, environment, leftovers, unlocked

from pipelines.definitions import build_definitions
from pipelines.settings import Settings
from pipelines.stages import publication
from pipelines.workspace import Workspace, WorkspaceError
from warehouse.duckdb_file import published_in
from warehouse.release import Releases

EDITION = "insee_filosofi_cc/2018-csv"
DEPARTEMENTS = FILOSOFI_2018[0], "cc_filosofi_2018_DEP-geo2021.CSV"


def revise(content: bytes) -> bytes:
    """Another median in the first département."""
    head, first, *rest = content.split(b"\r\n" if b"\r\n" in content else b"\n")
    cells = first.split(b";")
    at = [h.strip(b'"') for h in head.split(b";")].index(b"MED18")
    cells[at] = b"%d" % (int(float(cells[at])) + 10)
    return (b"\r\n" if b"\r\n" in content else b"\n").join([head, b";".join(cells), *rest])


def in_process(data: Path, job: str, settings: dict[str, str], **options: object) -> dg.ExecuteInProcessResult:
    """A job of Dagster's page, begun in a workspace that remembers nothing of the run before."""
    with mock.patch.dict(os.environ, environment(data, settings), clear=True), unlocked():
        definitions = build_definitions(Workspace(Settings()))
        return definitions.resolve_job_def(job).execute_in_process(raise_on_error=False, **options)  # type: ignore[arg-type]


def test_a_run_of_one_edition_waits_for_a_decision_then_is_published_from_the_page(
    copied: Callable[..., Path], small: dict[str, str]
) -> None:
    data = copied()
    before = os.readlink(data / "releases" / "latest")
    coverage = pl.read_parquet(data / "releases/latest/public/coverage.parquet")
    change(data, DEPARTEMENTS, revise)
    (site(data) / "www.collectivites-locales.gouv.fr/files/epcicom2025.xlsx").write_bytes(b"<!doctype html><p>panne")
    run = call(data, "run", "--editions", EDITION, VIGIE_PUBLISH="on_approval", **small)
    assert run.code == 0, run.text  # the page in the place of a file was not asked for
    assert "Éditions : 1 modifiées." in run.text and "En attente de décision : r0002-" in run.text
    assert published_in(data / "vigie.duckdb") == before == os.readlink(data / "releases" / "latest")
    assert damage(data) == []
    (state,) = Releases(data).states()
    folder = data / f"releases/.candidate-{state.release_id}/public"
    page = (folder / "MOUVEMENTS.md").read_text(encoding="utf-8")
    assert "| insee_filosofi_cc | insee_filosofi_cc | édition révisée |" not in page
    assert "(`rev_med`) | insee_filosofi_cc | édition révisée | 0 |" in page
    assert pl.read_parquet(folder / "coverage.parquet").equals(coverage), "what was not asked is as it was told"
    assert state.release_id in call(data, "release", "candidates", **small).text

    again = call(data, "run", "--editions", EDITION, VIGIE_PUBLISH="on_approval", **small)
    assert again.code == 0 and f"En attente de décision : {state.release_id}" in again.text
    assert Releases(data).states() == [state], "the same is not built twice"

    altered = folder / "observation.parquet"
    kept = altered.read_bytes()
    altered.write_bytes(kept + b"x")
    refused = call(data, "release", "approve", state.release_id, **small)
    assert refused.code == 2 and "observation.parquet : contenu modifié" in refused.text
    altered.write_bytes(kept)

    asked = {"ops": {"approve": {"config": {"release_id": state.release_id}}}}
    approved = in_process(data, "approve_release", small, run_config=asked)
    assert approved.success
    (told,) = approved.asset_materializations_for_node("approve")
    assert told.asset_key == dg.AssetKey("release") and told.metadata["publication"].value == state.release_id
    assert damage(data) == [] == leftovers(data)
    assert published_in(data / "vigie.duckdb") == state.release_id


def test_checks_that_broke_are_made_again_by_another_process(
    copied: Callable[..., Path], small: dict[str, str]
) -> None:
    """What « Re-execute from failure » does: the checks and the release of the candidate that is on disk."""
    data = copied()
    change(data, DEPARTEMENTS, revise)
    with mock.patch("pipelines.checks.publication.check_candidate", side_effect=OSError(5, "Input/output error")):
        run = call(data, "run", "--editions", EDITION, **small)
    assert run.code == 1 and "Input/output error" in run.text
    (state,) = Releases(data).states()
    refused = call(data, "release", "approve", state.release_id, **small)
    assert refused.code == 2 and "trouvé une exécution qui ne s'est pas achevée" in refused.text
    with mock.patch.dict(os.environ, environment(data, small), clear=True):
        with unlocked(), pytest.raises(WorkspaceError, match="trouvé des contrôles inachevés"):
            publication.publish(Workspace(Settings()))
        with unlocked():
            made_again(state.release_id)
    assert damage(data) == [] == leftovers(data)
    assert published_in(data / "vigie.duckdb") == state.release_id


def made_again(release_id: str) -> None:
    """The checks of the candidate that is on disk, then its publication."""
    later = Workspace(Settings())
    publication.check_candidate(later, "reprise")
    assert publication.blocking_results(later) == []
    assert publication.publish(later)["publication"] == release_id
