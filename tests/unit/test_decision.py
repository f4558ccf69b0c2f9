"""Whether a candidate is published by itself, and what makes its approval refused: on the sample, without a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
import release_sample as sample
from vigie_runs import unlocked

from pipelines.settings import Settings
from pipelines.stages import publication
from pipelines.workspace import Workspace, WorkspaceError
from warehouse.release import Candidate, ReleaseError, Releases

OTHER = "fedcba9876543210" * 4
NEWER = sample.tables()["territory"].with_columns(cog_year=pl.lit(2099, pl.Int16))


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample's inputs are whatever its digest says."""
    monkeypatch.setattr(Workspace, "input_digest", lambda _: OTHER)


def built(releases: Releases, mode: str = "automatic", **changed: pl.DataFrame) -> tuple[Workspace, Candidate]:
    """A candidate that passed its checks, in another process's hands."""
    candidate = sample.candidate(releases, digest=OTHER, **changed)
    releases.keep(replace(candidate.state(["public"]), refused=()))
    return Workspace(Settings(data=releases.data, publish=mode)), candidate  # pyright: ignore[reportArgumentType]


def in_force(releases: Releases) -> str:
    latest = releases.latest()
    assert latest is not None
    return latest.release_id


def test_a_candidate_is_published_by_itself_or_waits_as_the_setting_says(published: Callable[..., Releases]) -> None:
    releases = published()
    first = in_force(releases)
    workspace, candidate = built(releases, "on_approval")
    with unlocked():
        assert publication.publish(workspace) == {"en attente": candidate.release_id, "motif": publication.ASKED}
        assert in_force(releases) == first
        again = publication.build_candidate(workspace)
        assert again["en attente"] == candidate.release_id, "the same is not built twice"
        assert publication.publish(workspace)["en attente"] == candidate.release_id
        assert "vigie release approve" in publication.conclusion(workspace)
    automatic = Workspace(Settings(data=releases.data))
    assert publication.publish(automatic)["publication"] == candidate.release_id == in_force(releases)


def test_another_reference_geography_is_never_published_by_itself(published: Callable[..., Releases]) -> None:
    releases = published()
    first = in_force(releases)
    workspace, candidate = built(releases, territory=NEWER)
    shown = publication.publish(workspace)
    assert "la géographie de référence passe du COG" in shown["motif"] and "au COG 2099" in shown["motif"]
    assert in_force(releases) == first
    assert publication.publish(workspace)["en attente"] == candidate.release_id, "nor at the next run"
    assert publication.approve(workspace, candidate.release_id)["publication"] == in_force(releases)


def test_a_first_release_needs_no_decision_of_its_geography(tmp_path: Path) -> None:
    workspace, candidate = built(Releases(tmp_path), territory=NEWER)
    workspace.told.mkdir()
    assert publication.publish(workspace)["publication"] == candidate.release_id


def test_a_candidate_whose_checks_failed_is_not_published(published: Callable[..., Releases]) -> None:
    releases = published()
    workspace, candidate = built(releases)
    releases.keep(replace(candidate.state(["public"]), refused=("trop haut",)))
    with pytest.raises(WorkspaceError, match="trouvé trop haut"):
        publication.publish(workspace)
    with pytest.raises(ReleaseError, match="en échec : trop haut"):
        publication.approve(workspace, candidate.release_id)


def test_a_candidate_of_other_inputs_is_not_taken_up(
    published: Callable[..., Releases], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = built(published())
    monkeypatch.setattr(Workspace, "input_digest", lambda _: "1" * 64)
    with pytest.raises(WorkspaceError, match="À faire : relancer tout le travail"):
        publication.publish(workspace)


def test_what_partners_corrected_or_withdrew_since_is_not_published(published: Callable[..., Releases]) -> None:
    releases = published()
    first = in_force(releases)
    url = pl.lit("deposit:depot_aides-0001/2024")
    deposited = sample.tables()["source_file"].with_columns(url=url)
    workspace, candidate = built(releases, "on_approval", source_file=deposited)
    publication.publish(workspace)
    with pytest.raises(ReleaseError, match=r"un dépôt retiré ou remplacé \(deposit:depot_aides-0001/2024\)"):
        publication.approve(workspace, candidate.release_id)
    assert in_force(releases) == first


def test_what_is_told_of_partners_is_what_was_computed_with_the_candidate(published: Callable[..., Releases]) -> None:
    """Another run protected the figures anew and failed: what the candidate would tell is no longer noted."""
    releases = published()
    first = in_force(releases)
    workspace, candidate = built(releases, "on_approval")
    draft = workspace.told / "depot_aides" / "effectifs.values.proposed"
    draft.parent.mkdir(parents=True)
    draft.write_bytes(b"computed with it")
    publication.publish(workspace)
    draft.write_bytes(b"computed since")
    with pytest.raises(ReleaseError, match="une autre protection calculée"):
        publication.approve(workspace, candidate.release_id)
    assert in_force(releases) == first
    draft.write_bytes(b"computed with it")
    publication.approve(workspace, candidate.release_id)
    assert [p.name for p in draft.parent.iterdir()] == ["effectifs.values.parquet"], "told from now on"
    assert in_force(releases) == candidate.release_id
