"""Poverty and inequality of a public file of households, against the values its authors publish.

`eusilc`, 6,000 fictional Austrian households, of the R package laeken (GPL); values of its vignettes laeken-standard
and laeken-variance (version 0.5.2). Without R: `apt-get download r-cran-laeken && dpkg -x r-cran-laeken_*.deb /`, and
`pip install rdata`, which reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from methods.households import Cells, aggregate, measure

EUSILC = Path("/usr/lib/R/site-library/laeken/data/eusilc.RData")
AUSTRIA = {"tp60": 14.44422, "tp50": 7.988134, "tp40": 4.766885, "intensite": 18.9286, "s80s20": 3.970004,
           "gini": 0.2648962, "med": 18098.73, "d2": 12212.60, "d8": 25997.65}  # fmt: skip
LANDS = {  # rate at 60 %, S80/S20, intensity, Gini
    "Burgenland": (19.53984, 5.008486, 12.32438, 32.05489),
    "Carinthia": (13.08627, 3.562404, 13.12787, 25.49448),
    "Lower Austria": (13.84362, 3.824539, 17.48023, 25.93737),
    "Salzburg": (13.78734, 3.768393, 28.89533, 25.01652),
    "Styria": (14.37464, 3.464305, 15.53486, 23.71190),
    "Tyrol": (15.30819, 3.586046, 19.58447, 25.24881),
    "Upper Austria": (10.88977, 3.668289, 19.47177, 25.49202),
    "Vienna": (17.23468, 4.654743, 23.35608, 28.94944),
    "Vorarlberg": (16.53731, 4.366511, 26.96706, 28.74120),
}


@pytest.fixture(scope="module")
def persons() -> pl.DataFrame:
    if not EUSILC.is_file():
        pytest.skip(f"fichier eusilc absent : {EUSILC} (paquet Debian r-cran-laeken)")
    rdata = pytest.importorskip("rdata", reason="rdata absent : pip install rdata")
    table: Any = rdata.read_rda(EUSILC)["eusilc"]
    columns = ("db030", "db040", "hsize", "eqSS", "eqIncome", "rb050")
    return pl.DataFrame({c: table[c].to_list() for c in columns})


def of(persons: pl.DataFrame, step: float) -> Cells:
    """Households, each with its weight and its persons."""
    first = persons.unique("db030", keep="first", maintain_order=True).with_columns(
        income=pl.col("eqIncome") * pl.col("eqSS"), psu="db030", stratum="db040"
    )
    return aggregate(first.rename({"eqSS": "units", "hsize": "persons", "rb050": "weight"}), ["db040"], step=step)


def test_the_country_has_the_published_values(persons: pl.DataFrame) -> None:
    table = measure(of(persons, 0.001), [], replicates=0)
    found = dict(table.select("measure", "value").iter_rows())
    assert {m: found[m] for m in AUSTRIA} == pytest.approx(AUSTRIA, rel=1e-6)
    assert table["line"].drop_nulls().to_list() == pytest.approx([10859.24, 9049.363, 7239.491, 10859.24], rel=1e-6)


def test_each_region_has_the_published_values(persons: pl.DataFrame) -> None:
    table = measure(of(persons, 0.001), replicates=0)
    for land, values in LANDS.items():
        found = dict(table.filter(pl.col("db040") == land).select("measure", "value").iter_rows())
        mine = (found["tp60"], found["s80s20"], found["intensite"], 100 * found["gini"])
        assert mine == pytest.approx(values, rel=1e-6), land


def test_the_nearest_euro_changes_the_fourth_digit_at_most(persons: pl.DataFrame) -> None:
    found = dict(measure(of(persons, 1.0), [], replicates=0).select("measure", "value").iter_rows())
    assert {m: found[m] for m in AUSTRIA} == pytest.approx(AUSTRIA, rel=1e-3)


def test_the_interval_of_persons_drawn_by_region_is_the_published_one(persons: pl.DataFrame) -> None:
    """Variance 0.08120955, interval 13.87788 to 15.06344: persons drawn one by one within regions, 100 times."""
    alone = persons.with_columns(
        income=pl.col("eqIncome"), units=1.0, persons=1, psu=pl.int_range(pl.len()), stratum="db040"
    )
    table = measure(aggregate(alone.rename({"rb050": "weight"}), [], step=0.001), replicates=400)
    rate = table.filter(pl.col("measure") == "tp60")
    assert rate["lower"].item() == pytest.approx(13.87788, abs=0.12)
    assert rate["upper"].item() == pytest.approx(15.06344, abs=0.12)
