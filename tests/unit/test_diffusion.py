"""What each edition may tell of: of an indicator, its sources and those it is computed from, the strictest wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import pytest

from pipelines.stages.tables import catalogue_of, has_partner_edition, sources_of
from pipelines.workspace import Workspace
from sources.deposits.contract import as_source, shipped_contracts
from sources.description import Source, load_sources
from warehouse.catalogue import Catalogue, Indicator, load_catalogue
from warehouse.release import PARTNER, PUBLIC

OPEN, CLOSED, LISTED = "depot_accueil_loisirs", "depot_cpam_assures", "insee_rp_population"


@dataclass
class Held:
    """As much of a workspace as editions look at. there: the sources that have a file."""

    sources: dict[str, Source]
    there: set[str]

    def present(self, source: Source) -> bool:
        return source.source_id in self.there


def held(absent: tuple[str, ...] = (), **diffusions: str) -> Workspace:
    """The deposits, two of which are there, and a source of Insee; diffusions: of some deposits, by contract."""
    contracts = [
        c.model_copy(update={"diffusion": diffusions.get(c.name, c.diffusion)}) for c in shipped_contracts().values()
    ]
    deposits = {c.source_id: as_source(c) for c in contracts}
    return cast(Workspace, Held({LISTED: load_sources()[LISTED], **deposits}, {OPEN, CLOSED} - set(absent)))


def indicator(name: str, compute: dict[str, object], diffusion: str = PUBLIC) -> Indicator:
    like = load_catalogue().indicator("edu_loisirs")
    return Indicator.model_validate(
        like.model_dump(exclude={"history", "version", "compute"})
        | {"id": name, "diffusion": diffusion, "compute": compute}
    )


def published(**variables: str) -> dict[str, object]:
    return {"kind": "published", "variables": variables}


def catalogue(*indicators: Indicator) -> Catalogue:
    return Catalogue(indicators=indicators, breaks=())


def names(workspace: Workspace, whole: Catalogue, edition: str) -> set[str]:
    return {i.id for i in catalogue_of(workspace, whole, edition).indicators}


@pytest.mark.parametrize(
    "compute",
    [
        {"kind": "rank", "of": "base"},
        {"kind": "gap", "of": "base", "unit": "points"},
        {"kind": "gap", "of": "other", "unit": "points", "against": "base"},
        {"kind": "growth", "of": "base", "span": 5},
        {"kind": "sex_gap", "of": "base"},
        {
            "kind": "composite",
            "year": 2023,
            "at_least": 1,
            "dimensions": {"a": [{"indicator": "base", "direction": 1}, {"indicator": "other", "direction": 1}]},
        },
    ],
    ids=["rank", "gap", "gap-against", "growth", "sex-gap", "index"],
)
def test_what_is_computed_from_a_partners_indicator_is_for_partners(compute: dict[str, object]) -> None:
    """Whatever it says of itself, and of open sources too: a rank tells the figures it orders."""
    whole = catalogue(
        indicator("base", published(insee_rp_population="pop"), PARTNER),
        indicator("other", published(insee_rp_population="pop")),
        indicator("dem_pop", published(insee_rp_population="pop")),
        indicator("derived", compute),
    )
    assert names(held(), whole, PUBLIC) == {"other", "dem_pop"}
    told = {i.id: i.diffusion for i in catalogue_of(held(), whole, PARTNER).indicators}
    assert told == {"base": PARTNER, "other": PUBLIC, "dem_pop": PUBLIC, "derived": PARTNER}


def test_of_two_sources_the_strictest_wins() -> None:
    """In a rate of two producers, in a figure that another may replace, and in what is computed from them."""
    rate = {"kind": "ratio", "sources": [OPEN], "per": [CLOSED], "numerator": {"a": 1}, "denominator": {"b": 1}}
    whole = catalogue(
        indicator("rate", rate),
        indicator("either", published(**{OPEN: "places", CLOSED: "assures"})),
        indicator("rank", {"kind": "rank", "of": "rate"}),
        indicator("seats", published(**{OPEN: "places"})),
    )
    assert names(held(), whole, PUBLIC) == {"seats"}
    assert {i.id for i in catalogue_of(held(), whole, PARTNER).indicators if i.diffusion == PARTNER} == {
        "rate",
        "either",
        "rank",
    }
    assert names(held(cpam_assures=PUBLIC), whole, PUBLIC) == {"rate", "either", "rank", "seats"}


def test_an_owner_who_keeps_his_data_to_partners_is_obeyed_whatever_the_catalogue_says() -> None:
    whole = load_catalogue()
    assert whole.indicator("edu_loisirs").diffusion == PUBLIC and "edu_loisirs" in names(held(), whole, PUBLIC)
    kept = held(accueil_loisirs=PARTNER)
    assert "edu_loisirs" not in names(kept, whole, PUBLIC)
    assert OPEN not in {s.source_id for s in sources_of(kept, whole, PUBLIC)}
    (told,) = (i for i in catalogue_of(kept, whole, PARTNER).indicators if i.id == "edu_loisirs")
    assert told.diffusion == PARTNER, "who reads it must not take it for public"


def test_an_open_deposit_of_partners_indicators_leaves_no_trace_in_the_public_edition() -> None:
    """Its title, its size and its date would say that it exists."""
    opened, whole = held(cpam_assures=PUBLIC), load_catalogue()
    assert opened.sources[CLOSED].diffusion == PUBLIC
    public = {s.source_id for s in sources_of(opened, whole, PUBLIC)}
    assert CLOSED not in public and {OPEN, LISTED} <= public
    assert CLOSED in {s.source_id for s in sources_of(opened, whole, PARTNER)}


@pytest.mark.parametrize(
    ("absent", "diffusion", "there"),
    [
        ((), PARTNER, True),
        ((), PUBLIC, True),  # its indicators are for partners
        ((CLOSED,), PARTNER, False),
    ],
)
def test_partners_have_an_edition_where_something_is_for_them_alone(
    absent: tuple[str, ...], diffusion: str, there: bool
) -> None:
    assert has_partner_edition(held(absent, cpam_assures=diffusion), load_catalogue()) is there
