"""The small country again, published through a few sources: what the tests of runs that go wrong start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from few_sources import only_a_few
from vigie_runs import Built, call


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, small: dict[str, str]) -> Built:
    """The first run, in an empty folder."""
    data = tmp_path_factory.mktemp("few") / "data"
    with only_a_few():
        run = call(data, "run", recorded=True, **small)
    assert run.code == 0, run.text
    return Built(data, run)


@pytest.fixture(autouse=True)
def published_through_a_few_sources() -> Iterator[None]:
    """Every run of these tests, in this process, is on them."""
    with only_a_few():
        yield
