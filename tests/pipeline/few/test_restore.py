"""A past release made again from the raw store: byte for byte, or a clear word on what is gone."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

from vigie_runs import Built, call

from pipelines.settings import Settings
from pipelines.stages.restoring import read_recipe, recipe_path
from pipelines.workspace import Workspace
from sources.raw_store import RawStore
from warehouse.package import SUMS


def recipe_of(data: Path) -> tuple[str, Path]:
    """The published release and its recipe."""
    release_id = os.readlink(data / "releases" / "latest")
    return release_id, recipe_path(Workspace(Settings(data=data)), release_id)


def test_a_release_is_made_again_to_the_byte(built: Built, small: dict[str, str], tmp_path: Path) -> None:
    """The clocks of `release` and `quality_check` included; nothing of the folder in use is touched."""
    release_id, path = recipe_of(built.data)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700, "it names what partners brought"
    run = call(built.data, "restore", release_id, "--into", str(tmp_path), **small)
    assert run.code == 0, run.text
    assert "fichiers identiques, octet pour octet" in run.text and "Attention" not in run.text
    assert (tmp_path / release_id / "public" / SUMS).read_bytes() == (built.public / SUMS).read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [release_id], "no scratch is left"
    again = call(built.data, "restore", release_id, "--into", str(tmp_path), **small)
    assert again.code == 2 and "existe déjà" in again.text


def test_what_is_gone_is_named(copied: Callable[..., Path], small: dict[str, str], tmp_path: Path) -> None:
    data = copied("stage", "core")
    release_id, path = recipe_of(data)
    store = RawStore(data)
    lost, altered = store.latest("insee_filosofi_cc", "2019-geo2022"), store.latest("cnaf_iris", "2019")
    assert lost is not None and altered is not None
    store.path(lost.sha256).unlink()
    store.path(altered.sha256).chmod(0o644)
    store.path(altered.sha256).write_bytes(b"?" * altered.bytes)
    recipe = json.loads(path.read_text())
    path.write_text(json.dumps(recipe | {"bodies": [*recipe["bodies"], ["depot_essai", "2021", "0" * 64]]}))
    run = call(data, "restore", release_id, "--into", str(tmp_path / "out"), **small)
    assert run.code == 2 and not (tmp_path / "out").exists(), run.text
    for words in ("insee_filosofi_cc 2019-geo2022 (perdu ou altéré", "cnaf_iris 2019 (perdu ou altéré",
                  "depot_essai 2021 (dépôt effacé ou perdu", "ne peut plus être refaite en entier"):  # fmt: skip
        assert words in run.text
    assert store.path(altered.sha256).exists(), "nothing is asked nor set aside"
    path.unlink()
    unknown = call(data, "restore", release_id, **small)
    assert unknown.code == 2 and "attendu de quoi elle est faite" in unknown.text


def test_another_program_is_told(built: Built) -> None:
    """The comparison judges; the warning says how to have the program of then."""
    from pipelines.stages.restoring import _differences_of_inputs

    release_id, _ = recipe_of(built.data)
    workspace = Workspace(Settings(data=built.data))
    recipe = read_recipe(workspace, release_id)
    assert _differences_of_inputs(workspace, recipe) == []
    recipe.versions["polars"] = "0.1"
    workspace.__dict__["code_digest"] = "other"
    recipe.bodies.append(["cnaf_iris", "1999", "0" * 64])
    program, versions, lost = _differences_of_inputs(workspace, recipe)
    assert "git worktree add" in program and "polars 0.1 -> " in versions and "cnaf_iris 1999" in lost
