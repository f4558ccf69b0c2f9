"""The fictional country's IRIS and priority districts: one numbering in every file, and lists that parse."""

from __future__ import annotations

import io

import polars as pl
import pytest

from sources.demo import caf, files_counts
from sources.demo.country import Country, build_country
from sources.demo.districts import iris_list, pieces, qpv, qpv_figures, qpv_list
from sources.demo.households import Households, draw, in_year
from sources.description import load_sources, parser_of


@pytest.fixture(scope="module")
def fiction() -> tuple[Country, Households]:
    country = build_country(240)
    return country, draw(country, 1, 100_000)


def read(source_id: str, edition_key: str, data: bytes) -> pl.DataFrame:
    source = load_sources()[source_id]
    edition = source.edition(edition_key)
    return parser_of(source)(source, edition, {edition.url.rsplit("/", 1)[-1]: data})


def table(data: bytes) -> pl.DataFrame:
    return pl.read_csv(io.BytesIO(data.decode("utf-8-sig").encode()), separator=";", infer_schema=False)


@pytest.mark.parametrize("year", [2016, 2019])
def test_the_caf_files_have_the_iris_of_the_year(fiction: tuple[Country, Households], year: int) -> None:
    country, all_of = fiction
    edition = load_sources()["cnaf_iris"].edition(str(year))
    written, _ = files_counts.caf_districts(country, edition, caf.by_district(all_of, in_year(all_of, year)))
    codes = table(written[None])["CODGEO"]
    own = pieces(country, all_of.iris_count, edition.cog_year or year).filter("divided")
    assert sorted(codes) == sorted(own["iris"])


def test_the_list_holds_every_commune_and_says_what_changed(fiction: tuple[Country, Households]) -> None:
    country, all_of = fiction
    edition = load_sources()["insee_iris"].edition("2023")
    workbook = iris_list(country, edition, all_of.iris_count)[None]
    listed = read("insee_iris", "2023", workbook)
    places = {*country.codes[2023].tolist(), *country.arms} - {str(country.codes[2023][0])}
    assert set(listed["commune"]) == places
    assert set(listed["code"]) == set(pieces(country, all_of.iris_count, 2023)["iris"])
    assert set(listed["type"]) == {"H", "Z"}
    changes = read("insee_iris_modifications", "2023", workbook)
    assert changes.filter(pl.col("year") == 2021).height >= 3  # the exchange of land


def test_figures_of_the_priority_districts_are_those_of_their_households(fiction: tuple[Country, Households]) -> None:
    country, all_of = fiction
    of = in_year(all_of, 2018)
    edition = load_sources()["insee_qpv"].edition("2018")
    data = qpv_figures(country, edition, all_of, of)[None]
    figures = table(data).filter(pl.col("CODGEO") != "Ensemble")
    found = read("insee_qpv", "2018", data)
    assert found["name"].null_count() == found["commune_name"].null_count() == 0
    assert found.filter(pl.col("code") == "QP096001").height == 2  # two arrondissements of the city
    districts = caf.by_district(all_of, of)
    own = pieces(country, all_of.iris_count, 2018).filter("divided").with_columns(A=pl.Series(districts.counts["A"]))
    exact = qpv(country, all_of.iris_count).join(own, on=["atom", "rank"]).group_by("code").agg(pl.col("A").sum())
    assert dict(figures.select("CODGEO", pl.col("A").cast(pl.Int64)).iter_rows()) == dict(exact.iter_rows())
    sizes = figures.select(pl.col("POP_MUN", "POP_COM_QP", "POP_COM").cast(pl.Int64))
    inside = (pl.col("POP_MUN") <= pl.col("POP_COM_QP")) & (pl.col("POP_COM_QP") <= pl.col("POP_COM"))
    assert sizes.select(inside.all()).item()


def test_the_perimeters_of_2024_have_other_codes_and_one_district_less(fiction: tuple[Country, Households]) -> None:
    country, all_of = fiction
    edition = load_sources()["anct_qpv2024"].edition("2024")
    found = read("anct_qpv2024", "2024", qpv_list(country, edition, all_of.iris_count)[None])
    before = qpv(country, all_of.iris_count)["code"].n_unique()
    assert found["code"].n_unique() == before - 1
    assert found["code"].str.starts_with("QN").all()
    places = {*country.codes[2024].tolist(), *country.arms}
    assert set(found["commune"]) <= places
