"""How the figures of the Caf must not be read: they are not poverty in Insee's sense, and they are rounded to 5."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from methods.indicators import Ratio, Variables, published, ratio
from methods.settle import settle
from sources.archive import file_name
from sources.declared import parse
from sources.description import load_sources
from sources.schema import VALUES
from warehouse.catalogue import Catalogue, Indicator, RatioForm, load_catalogue, variable_rules

CATALOGUE = load_catalogue()
ROUNDED = ("S_CNAF", "S_FT")
LEAST = 10.0
# what Insee counts as income or poverty; insee_qpv_demographie, of the same publication, carries the Caf's counts
INCOME = [s for s in load_sources() if "filosofi" in s or s.endswith("revenus") or s == "insee_carreaux"]
CAF = [s.source_id for s in load_sources().values() if s.producer == "Cnaf"]
NOT_POVERTY = "n'est pas être pauvre au sens de l'Insee"
MEMBERS = ("01001", "01002")


def of_caf(catalogue: Catalogue) -> list[Indicator]:
    """The indicators of benefits paid by the Caf."""
    paid = {s for i in catalogue.indicators if i.secrecy_rule == "S_CNAF" for s in catalogue.sources_of(i)} & set(CAF)
    return [i for i in catalogue.indicators if paid & set(catalogue.sources_of(i))]


def mixed(catalogue: Catalogue) -> list[str]:
    """The indicators that set the Caf's figures against Insee's income or poverty."""
    apart = (set(CAF), set(INCOME))
    return [i.id for i in catalogue.indicators if all(s & set(catalogue.sources_of(i)) for s in apart)]


def unsaid(catalogue: Catalogue) -> list[str]:
    """The indicators of the Caf where no one is told that they are not poverty."""
    return [
        i.id
        for i in of_caf(catalogue)
        if not any(NOT_POVERTY in trap for s in catalogue.sources_of(i) for trap in catalogue.traps_of(s))
    ]


def test_low_income_of_the_caf_and_poverty_of_insee_are_never_mixed() -> None:
    assert len(of_caf(CATALOGUE)) >= 12 and len(INCOME) >= 6
    assert mixed(CATALOGUE) == []


def test_every_figure_of_the_caf_is_told_not_to_be_poverty() -> None:
    assert unsaid(CATALOGUE) == []


def test_the_two_guards_see_a_catalogue_that_mixes_or_keeps_silent() -> None:
    of_poverty = next(i for i in CATALOGUE.indicators if set(CATALOGUE.sources_of(i)) & set(INCOME))
    form = RatioForm(
        kind="ratio", sources=("cnaf_commune",), per=(INCOME[0],), numerator={"rsa": 1}, denominator={"nb_pers": 1}
    )
    mixing = of_poverty.model_copy(update={"id": "mixing", "compute": form, "secrecy_rule": "S_CNAF"})
    faulty = CATALOGUE.model_copy(update={"indicators": (*CATALOGUE.indicators, mixing), "traps": ()})
    assert mixed(faulty) == ["mixing"]
    assert {"mixing", "caf_rsa", "emp_travpauvres"} <= set(unsaid(faulty))


def test_no_label_of_the_caf_speaks_of_the_poor() -> None:
    assert [i.id for i in of_caf(CATALOGUE) if "pauvr" in i.label_fr.lower()] == []


RATIOS = [i for i in CATALOGUE.indicators if i.secrecy_rule in ROUNDED and isinstance(i.compute, RatioForm)]


@pytest.mark.parametrize("indicator", RATIOS, ids=lambda i: i.id)
def test_no_ratio_of_rounded_counts_stands_on_fewer_than_ten(indicator: Indicator) -> None:
    spec = indicator.specification()
    assert isinstance(spec, Ratio) and spec.minimum == LEAST


def settled(source_id: str, *rows: dict[str, Any]) -> Variables:
    """What an export of data.caf.fr gives of two communes of 100 inhabitants each and of their EPCI."""
    source = load_sources()[source_id]
    edition = next(e for e in source.editions if e.edition == "2024")
    read = parse(source, edition, {file_name(edition): json.dumps(list(rows)).encode()})
    told = {"level": "COM", "year": 2024, "variable": "pop", "value": 100.0, "obs_status": "A", "conf_status": "F"}
    people = pl.DataFrame([{**told, "code": c} for c in MEMBERS])
    rules = (*variable_rules(CATALOGUE)[source_id], *variable_rules(CATALOGUE)["insee_rp_population"])
    inside = pl.DataFrame({"code": MEMBERS, "territory_id": [f"COM-{c}" for c in MEMBERS]})
    found = settle(
        pl.concat([read, people], how="diagonal_relaxed").select(read.columns).cast(dict(VALUES)),
        same=inside.with_columns(level=pl.lit("COM")).select("level", "code", "territory_id"),
        groups=pl.concat([inside, inside.with_columns(territory_id=pl.lit("EPCI-1"))]).with_columns(partial=False),
        cities=pl.DataFrame(schema={"code": pl.String, "arm": pl.String}),
        rules=rules,
    )
    of_source = pl.when(pl.col("variable").cast(pl.String) == "pop").then(pl.lit("insee_rp_population"))
    marked = found.with_columns(
        pl.col("variable").cast(pl.String),
        source_id=of_source.otherwise(pl.lit(source_id)),
        cog_year=pl.lit(2025, pl.Int16),
        issue=pl.lit(1, pl.Int16),
    ).with_columns(source_ids=pl.format("{}/2024", "source_id"))
    return lambda name: marked.filter(pl.col("variable") == name)


def bounds(rows: pl.DataFrame) -> dict[str, tuple[float | None, ...]]:
    return {r["territory_id"]: (r["value"], r["lower"], r["upper"]) for r in rows.iter_rows(named=True)}


def test_rounding_to_5_goes_into_counts_their_sums_and_ratios() -> None:
    export = {"dtreffre": "2024-12", "indnbp_ndur": None, "indfoy_ndural": 0}
    read = settled(
        "cnaf_prestations",
        {**export, "numcomdo": "01001", "indfoy_ndur": 30, "indnbp_ndur": 50},
        {**export, "numcomdo": "01002", "indfoy_ndur": 5, "indnbp_ndur": 5},
    )
    counts = CATALOGUE.indicator("caf_alloc").specification()
    assert bounds(published(counts, read)) == {
        "COM-01001": (30.0, 28.0, 32.0),
        "COM-01002": (5.0, 3.0, 7.0),
        "EPCI-1": (35.0, 31.0, 39.0),
    }
    rates = ratio(CATALOGUE.indicator("caf_couv").specification(), read)
    assert bounds(rates) == {
        "COM-01001": (50.0, 48.0, 52.0),
        "COM-01002": (None, None, None),
        "EPCI-1": (27.5, 25.5, 29.5),
    }
    assert rates.filter(pl.col("territory_id") == "COM-01002")["reason"].to_list() == ["effectif_faible"]


def test_each_rounded_term_of_a_sum_widens_its_bounds() -> None:
    """The persons covered by the RSA are printed by kind of RSA, each rounded."""
    export = {"dtreffre": "2024-12", "numcomdo": "01001"}
    read = settled(
        "cnaf_rsa",
        {**export, "rsa_type": "RSA non majoré", "indnbp_rsa": 40},
        {**export, "rsa_type": "RSA majoré", "indnbp_rsa": 10},
        {**export, "numcomdo": "01002", "rsa_type": "RSA non majoré", "indnbp_rsa": 20},
    )
    rates = bounds(ratio(CATALOGUE.indicator("caf_rsa_couv").specification(), read))
    assert rates == {"COM-01001": (50.0, 46.0, 54.0), "COM-01002": (20.0, 18.0, 22.0), "EPCI-1": (35.0, 32.0, 38.0)}
