"""One small fictional country, built once by the `vigie` command: what the tests of whole runs start from."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import pytest
from filelock import FileLock
from vigie_runs import Built, Run, vigie

from pipelines.perimeters import revised, save
from sources.demo.generate import generate
from sources.demo.truth import Truth

COMMUNES = 60
PERIMETERS = [("Deux communes", 2025, ["COM-99011", "COM-99012"]), ("Avant fusion", 2014, ["COM-99003", "COM-99012"])]
SMALL = {"VIGIE_DEMO_COMMUNES": str(COMMUNES)}


@pytest.fixture(scope="session")
def small() -> dict[str, str]:
    """Settings of every run on that country."""
    return SMALL


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The first run, in a folder that has nothing but two perimeters, one of which was defined before a merger.

    The workers of `pytest -n 2` have the same one: the first that needs it makes it, the other waits.
    """
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    data, said = shared / "built" / "data", shared / "built" / "said.json"
    with FileLock(shared / "built.lock"):
        if not said.exists():
            for name, cog, members in PERIMETERS:
                save(data / "perimeters", revised([], name, cog, members, members, datetime(2026, 1, 1))[0])
            said.write_text(json.dumps(asdict(vigie(data, "run", **SMALL))), encoding="utf-8")
    run = Run(**json.loads(said.read_text(encoding="utf-8")))
    assert run.code == 0, run.text
    return Built(data, run)


@pytest.fixture
def copied(built: Built, tmp_path: Path) -> Callable[..., Path]:
    """`copied(*without)`: a copy of the built folder that the test may change, less some of its folders."""

    def copy(*without: str) -> Path:
        data = tmp_path / "data"
        shutil.copytree(built.data, data, symlinks=True)
        for name in without:
            shutil.rmtree(data / name)
        return data

    return copy


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """The same country as it is, whatever is published of it."""
    return generate(tmp_path_factory.mktemp("truth"), communes=COMMUNES)
