"""The sample release, published once: what the tests of what follows a publication start from. A site and a store."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import release_sample as sample
from loopback import Site, serving

from sources.raw_store import RawStore
from warehouse.release import Releases


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`stored(*digests)`: a data folder where the sample was published under each in turn, not to be changed."""

    @cache
    def build(*digests: str) -> Path:
        releases = Releases(tmp_path_factory.mktemp("sample"))
        for digest in digests:
            sample.publish(releases, digest=digest)
        return releases.data

    return build


@pytest.fixture
def published(stored: Callable[..., Path], tmp_path: Path) -> Callable[..., Releases]:
    """`published(*more)`: the test's own folder, where the sample was published, then again under each digest."""

    def copy(*more: str) -> Releases:
        shutil.copytree(stored(sample.DIGEST, *more), tmp_path, symlinks=True, dirs_exist_ok=True)
        return Releases(tmp_path)

    return copy


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as made:
        yield made


@pytest.fixture
def store(tmp_path: Path) -> RawStore:
    return RawStore(tmp_path / "data")
