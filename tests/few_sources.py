"""A fictional country that publishes through a few sources: whole runs, of which the content is not what is tested, in
a quarter of the time. In a module that asks nothing of pytest: `python few_sources.py run` is `vigie run` on them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from sources.description import Source, load_sources

FEW = (
    "cnaf_iris",
    "dgcl_epci",
    "insee_appartenance",
    "insee_cog_communes",
    "insee_cog_departements",
    "insee_cog_evenements",
    "insee_cog_regions",
    "insee_epci_ancien",
    "insee_filosofi_cc",
    "insee_filosofi_distribution",
    "insee_populations_legales",
)
PROGRAM = (sys.executable, __file__)


def few_sources() -> dict[str, Source]:
    """Every source of Vigie; those that are not of FEW have no edition, and none is expected of them."""
    nothing = {"editions": (), "expected": None}
    return {name: s if name in FEW else s.model_copy(update=nothing) for name, s in load_sources().items()}


@contextmanager
def only_a_few() -> Iterator[None]:
    """Whoever publishes and whoever reads has those editions only."""
    with (
        mock.patch("sources.demo.generate.load_sources", few_sources),
        mock.patch("pipelines.workspace.load_sources", few_sources),
    ):
        yield


if __name__ == "__main__":
    from pipelines.cli import app

    with only_a_few():
        app()
