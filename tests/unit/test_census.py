"""The census: a column map a vintage, and how its figures must not be read."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from methods.disclosure import SIZE_RULES, protect
from methods.indicators import Ratio, ratio
from methods.settle import settle
from sources.declared import parse, wide_columns
from sources.description import Edition, Source, load_sources
from sources.errors import LayoutError
from sources.layout import WideLayout
from sources.schema import VALUES
from warehouse.catalogue import Indicator, RatioForm, load_catalogue, variable_rules

SOURCES = load_sources()
CATALOGUE = load_catalogue()
THEMES = ("population", "familles", "logement", "emploi", "emploi_salarie", "diplomes")
VINTAGES = [
    (SOURCES[f"insee_rp_{theme}"], edition) for theme in THEMES for edition in SOURCES[f"insee_rp_{theme}"].editions
]


def columns_of(source: Source, edition: Edition) -> list[str]:
    layout = source.layouts[edition.layout]
    assert isinstance(layout, WideLayout)
    return [c.name for c in wide_columns(layout, edition.data_year)]


def read(source: Source, edition: Edition, columns: list[str]) -> pl.DataFrame:
    """A file of one commune with these columns, every figure 1, read as the edition says."""
    text = ";".join(["CODGEO", *columns]) + "\n" + ";".join(["01001", *("1" for _ in columns)]) + "\n"
    return parse(source, edition, {edition.members[0].path or "": text.encode()})


# --- a column map for each vintage


@pytest.mark.parametrize(("source", "edition"), VINTAGES, ids=[f"{s.source_id}-{e.edition}" for s, e in VINTAGES])
def test_every_column_of_a_vintage_is_expected_and_a_missing_one_refused_by_name(
    source: Source, edition: Edition
) -> None:
    columns = columns_of(source, edition)
    layout = source.layouts[edition.layout]
    assert isinstance(layout, WideLayout)
    newest, *others = (f"{(edition.data_year - lag) % 100:02d}_" for lag in layout.lags)
    assert {c[1:4] for c in columns} == {newest, *others}, "three vintages a file"
    assert not read(source, edition, columns)["value"].has_nulls()
    with pytest.raises(LayoutError) as refused:
        read(source, edition, [])
    assert [c for c in columns if c not in str(refused.value)] == []
    for column in (columns[0], columns[-1]):
        with pytest.raises(LayoutError, match=rf"\b{column}\b"):
            read(source, edition, [c for c in columns if c != column])


@pytest.mark.parametrize(
    ("source_id", "edition", "layout", "missing"),
    [
        # occupations of 2003, when the file has those of 2020; and the other way round
        ("insee_rp_emploi", "2022", "rp2019", "C22_ACT1564_CS5"),
        ("insee_rp_emploi", "2021", "rp2022", "C21_ACT1564_STAT_GSEC15_25"),
        # overcrowding without the studios of one person, then of every dwelling
        ("insee_rp_logement", "2022", "rp2020", "C22_RP_HSTU1P"),
        ("insee_rp_logement", "2021", "rp2022", "C21_RP_NORME"),
        # three lists of diplomas
        ("insee_rp_diplomes", "2017", "rp2018", "P12_NSCOL15P_DIPLMIN"),
        ("insee_rp_diplomes", "2019", "rp2017", "P14_NSCOL15P_DIPL0"),
        # six years between vintages since 2019, five before
        ("insee_rp_population", "2018", "rp2019", "P12_POP"),
        ("insee_rp_familles", "2020", "rp2017", "C15_MEN"),
    ],
)
def test_a_vintage_read_with_the_columns_of_another_is_refused(
    source_id: str, edition: str, layout: str, missing: str
) -> None:
    source = SOURCES[source_id]
    own = next(e for e in source.editions if e.edition == edition)
    columns = columns_of(source, own)
    assert missing not in columns
    with pytest.raises(LayoutError, match=missing):
        read(source, own.model_copy(update={"layout": layout}), columns)


def test_diplomas_of_every_vintage_have_the_variables_of_their_list() -> None:
    source = SOURCES["insee_rp_diplomes"]
    found = {}
    for name in ("2017", "2019"):
        edition = next(e for e in source.editions if e.edition == name)
        frame = read(source, edition, columns_of(source, edition))
        for year, variable in frame.select("year", pl.col("variable").cast(pl.String)).iter_rows():
            found.setdefault(year, set()).add(variable)
    lowest = {year: "nscol15p_diplmin" in variables for year, variables in found.items()}
    # of the mixed vintages (2013 to 2016), what is called DIPLMIN goes up to the BEPC
    assert lowest == {2007: True, 2012: True, 2017: True, 2008: True, 2013: False, 2019: True}
    assert all("nscol15p_sup" in variables for variables in found.values())


@pytest.mark.parametrize(
    ("source_id", "row", "variable"),
    [
        ("insee_melodi_rp_peuplement", {"OCS": "DW_MAIN", "RP_MEASURE": "DWELLINGS", "OCC_IND": "_T"}, "surocc_champ"),
        ("insee_melodi_rp_professions", {"AGE": "Y15T64", "EMPSTA_ENQ": "1T2", "PCS": "_T"}, "act1564_cs"),
    ],
)
def test_a_file_of_three_vintages_gives_only_the_one_it_measures_as_then(
    source_id: str, row: dict[str, str], variable: str
) -> None:
    """Overcrowding of 2012 and 2017 is recomputed there with the measure of 2022: before the break, after the fact."""
    source = SOURCES[source_id]
    edition = source.editions[0]
    columns = ["GEO", "GEO_OBJECT", *row, "OBS_STATUS", "TIME_PERIOD", "OBS_VALUE"]
    lines = [";".join(columns)]
    for code, level in (("33063", "COM"), ("F", "FRANCE"), ("FM", "FRANCE")):
        lines += [";".join([code, level, *row.values(), "A", str(y), "10"]) for y in (2012, 2017, 2023)]
    frame = parse(source, edition, {edition.members[0].path or "": "\n".join(lines).encode()})
    found = frame.select(pl.col("level", "variable").cast(pl.String), "code", "year").rows()
    assert found == [("COM", variable, "33063", 2023), ("METRO", variable, "FM", 2023)], "France has no Mayotte there"


# --- how census figures must not be read


def of_census() -> list[Indicator]:
    """The indicators that rest on the census alone."""
    census = ("insee_rp_", "insee_melodi_rp_", "insee_suroccupation", "insee_comparateur", "insee_populations_legales")
    civil = {"dem_naissances", "dem_deces", "dem_solde_nat"}  # of the registers of births and deaths
    return [
        i
        for i in CATALOGUE.indicators
        if i.id not in civil and all(s.startswith(census) for s in CATALOGUE.sources_of(i))
    ]


def test_every_census_indicator_asks_for_five_years_between_vintages() -> None:
    assert len(of_census()) >= 30
    assert [i.id for i in of_census() if i.min_years_apart != 5] == []


def test_every_census_ratio_flags_counts_below_200() -> None:
    forms = [i for i in of_census() if isinstance(i.compute, RatioForm)]
    assert len(forms) >= 25
    for indicator in forms:
        spec = indicator.specification()
        assert isinstance(spec, Ratio) and spec.fragile == 200.0, indicator.id


VALUE = {"lower": None, "upper": None, "obs_status": "A", "conf_status": "F", "mark": None, "masked_parts": None}


def settled(source_id: str, figures: dict[str, dict[str, float]]) -> pl.DataFrame:
    """Figures of two communes of an EPCI, and of the EPCI, as the catalogue lets them combine."""
    rows = [
        {"level": "COM", "code": code, "year": 2018, "variable": name, "value": value} | VALUE
        for code, named in figures.items()
        for name, value in named.items()
    ]
    codes = pl.DataFrame({"level": "COM", "code": list(figures)}).with_columns(territory_id="COM-" + pl.col("code"))
    members = pl.DataFrame({"territory_id": "EPCI-200000001", "code": list(figures), "partial": False})
    frame = settle(
        pl.DataFrame(rows, schema=VALUES),
        same=codes,
        groups=members,
        cities=pl.DataFrame(schema={"code": pl.String, "arm": pl.String}),
        rules=variable_rules(CATALOGUE)[source_id],
    )
    named = {"source_id": source_id, "source_ids": f"{source_id}/2018", "cog_year": 2021, "issue": 1}
    return frame.with_columns(**{k: pl.lit(v) for k, v in named.items()})


def observed(indicator_id: str, frame: pl.DataFrame) -> dict[str, tuple[float | None, str | None]]:
    spec = CATALOGUE.indicator(indicator_id).specification()
    assert isinstance(spec, Ratio)
    rows = ratio(spec, lambda name: frame.filter(pl.col("variable") == name))
    whole = rows.filter(pl.col("sex") == "_T")
    return {t: (v, r) for t, v, r in whole.select("territory_id", "value", "reason").iter_rows()}


def test_arrivals_do_not_add_up_over_communes() -> None:
    """Who moves from one commune to its neighbour is no newcomer to their EPCI."""
    arrivals = {f"pop01p_iran{k}": 100.0 for k in range(3, 8)}
    found = observed(
        "mob_arrivants",
        settled("insee_rp_population", {c: {"pop01p": 10_000.0, **arrivals} for c in ("91001", "91002")}),
    )
    assert {t: v for t, (v, _) in found.items() if t.startswith("COM")} == {"COM-91001": 5.0, "COM-91002": 5.0}
    assert found["EPCI-200000001"] == (None, "perimetre_modifie")
    summed = observed(
        "dem_part_65p",
        settled("insee_rp_population", {c: {"pop": 10_000.0, "pop65p": 500.0} for c in ("91001", "91002")}),
    )
    assert summed["EPCI-200000001"] == (5.0, None), "counts of residents do"


SIZED = [
    # level, population, shown
    ("COM", 4_999, False),
    ("COM", 5_000, True),
    ("ARM", 4_999, False),
    ("EPCI", 9_999, False),
    ("EPCI", 10_000, True),
    ("IRIS", 2_500, False),
    ("DEP", None, False),
    ("QPV", None, True),  # published by the producer under a rule of its own
]


def previous_residence(**cells: Any) -> pl.DataFrame:
    row = {"value": 12.0, "weight": 100.0, "lower": 11.0, "upper": 13.0, "interval_kind": "bound"} | {
        "grade": "A", "obs_status": "A", "conf_status": "F", "reason": None, "masked_parts": 2,
    } | cells  # fmt: skip
    frame = pl.DataFrame([{"level": level, "population": n, **row} for level, n, _ in SIZED])
    codes = [c for c in ("grade", "obs_status", "conf_status", "reason", "interval_kind") if c in frame.columns]
    return frame.with_columns(pl.col(codes).cast(pl.String).cast(pl.Categorical))


def test_previous_residence_is_not_shown_of_small_territories() -> None:
    indicator = CATALOGUE.indicator("mob_arrivants")
    assert indicator.secrecy_rule in SIZE_RULES
    rows = previous_residence()
    shown = protect(rows, diffusion="public", edition="public", secrecy_rule=indicator.secrecy_rule)
    assert shown.schema == rows.schema
    expected = (12.0, 100.0, 11.0, 13.0, "bound", "A", "A", "F", None, 2)
    withheld = (None, None, None, None, None, None, "Q", "N", "seuil_diffusion", None)
    columns = ("value", "weight", "lower", "upper", "interval_kind", "grade")
    columns += ("obs_status", "conf_status", "reason", "masked_parts")
    told = shown.with_columns(pl.col(pl.Categorical).cast(pl.String)).select(columns).rows()
    assert told == [expected if large else withheld for _, _, large in SIZED]


def test_other_census_figures_are_shown_of_any_territory() -> None:
    shown = protect(previous_residence(), diffusion="public", edition="public", secrecy_rule="S_RP")
    assert shown["value"].to_list() == [12.0] * len(SIZED)


def test_what_has_no_figure_keeps_its_own_reason() -> None:
    rows = previous_residence(value=None, lower=None, upper=None, obs_status="M", reason="perimetre_modifie")
    shown = protect(rows, diffusion="public", edition="public", secrecy_rule="S_RPX")
    assert shown["reason"].cast(pl.String).to_list() == ["perimetre_modifie"] * len(SIZED)


def test_lone_mothers_and_fathers_are_shares_of_all_families() -> None:
    spec = CATALOGUE.indicator("dem_part_mono").specification()
    assert isinstance(spec, Ratio)
    denominators = {group: [t.variable for t in terms.denominator] for group, terms in spec.groups.items()}
    assert set(map(tuple, denominators.values())) == {("fam",)}
    unemployment = CATALOGUE.indicator("emp_tchom").specification()
    assert isinstance(unemployment, Ratio)
    assert [t.variable for t in unemployment.groups["F", "_T"].denominator] == ["act1564_f"]
