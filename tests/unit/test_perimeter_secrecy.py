"""Perimeters under secrecy: shown in their turn, refused with the reason, never at the cost of a territory."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from bench.disclosure import RULE, Country, country, protected
from methods.audit import audit
from methods.register import published, versioned
from methods.suppression import primary_counts, protect_in_turn, show_in_turn
from methods.tables import CELLS, HIDDEN, System, cells_of, identified, judged, relations_of, sums_of, system_of
from pipelines.judging import counts_judged, refusals
from pipelines.stages.protecting import DIMENSIONS
from pipelines.stages.refusing import of_perimeters, official

Frames = tuple[pl.DataFrame, pl.DataFrame]  # cells with primary statuses, relations


@pytest.fixture(scope="module")
def drawn() -> Country:
    return country(8, years=1, ages=1, seed=3, epci=4, departement=5)


def summed(cells: pl.DataFrame, sets: dict[str, list[str]]) -> Frames:
    """Cells of perimeters, each a set of communes, and what they add up."""
    split = cells.with_columns(at=pl.col("cell").str.head(6), rest=pl.col("cell").str.slice(6))
    parts = pl.concat(
        split.filter(pl.col("at").is_in(codes)).select(pl.lit(name) + pl.col("rest").alias("total"), "cell", "value")
        for name, codes in sets.items()
    ).rename({"literal": "total", "cell": "part"})
    totals = parts.group_by("total", maintain_order=True).agg(pl.col("value").sum()).rename({"total": "cell"})
    return primary_counts(cells_of(totals), RULE), sums_of(parts.select("total", "part"))


def hidden(system: System) -> set[str]:
    return {name for name, status in zip(system.names, system.status, strict=True) if status in HIDDEN}


def test_a_perimeter_never_costs_a_territory_its_figure(drawn: Country) -> None:
    """Four perimeters that overlap: the same territories are withheld as without them, and the audit holds."""
    cells, sums = primary_counts(drawn.cells, RULE), drawn.without()
    codes = [f"C{at:05d}" for at in range(8)]
    sets = {"W": codes[:3], "X": codes[1:4], "Y": codes[2:7], "Z": codes[:7]}
    own, more = summed(cells, sets)
    both = system_of(pl.concat([cells.select(*CELLS), own.select(*CELLS)]), pl.concat([sums, more]))
    done = protect_in_turn(both, own["cell"].to_list())
    without = protected(cells, sums).filter(pl.col("status").is_in(HIDDEN))["cell"]
    assert {name for name in hidden(done) if name[0] not in "WXYZ"} == set(without)
    assert audit(done)["ok"].all()
    asked = own.filter(pl.col("status") == "V")["cell"]
    shown = set(asked) - hidden(done)
    assert 0 < len(shown) < len(asked)
    every = done.status.copy()
    every[np.isin(done.names, asked.to_list())] = "V"
    assert not audit(System(**{**vars(done), "status": every}))["ok"].all(), "all of them would tell too much"


def test_what_is_shown_first_counts_for_what_follows() -> None:
    """Two masked cells among four: either sum is harmless, both together give a cell by difference."""
    values = {"a": 5.0, "b": 30.0, "c": 40.0, "d": 4.0, "all": 79.0, "P": 35.0, "Q": 39.0}
    frame = primary_counts(cells_of(pl.DataFrame({"cell": list(values), "value": list(values.values())})), RULE)
    cells = frame.with_columns(
        status=pl.when(pl.col("cell") == "all").then(pl.lit("V"))
        .when(pl.col("cell").is_in(["P", "Q"])).then(pl.lit("D")).otherwise(pl.lit("A"))
    )  # fmt: skip
    terms = [("all", c) for c in "abcd"] + [("P", "a"), ("P", "b"), ("Q", "b"), ("Q", "a"), ("Q", "d")]
    system = system_of(cells, sums_of(pl.DataFrame(terms, schema=["total", "part"], orient="row")))
    for first, second in (("P", "Q"), ("Q", "P")):
        done = show_in_turn(system, [first, second])
        assert hidden(done) & {"P", "Q"} == {second}


SEXES = pl.DataFrame({"breakdown": ["sex"] * 2, "parent": [""] * 2, "child": ["_f", "_m"]})
PLACES = pl.DataFrame({"breakdown": ["epci"] * 4, "parent": ["EPCI-1"] * 4, "child": [f"COM-{i}" for i in range(4)]})
WOMEN, MEN = [3.0, 50.0, 40.0, 2.0], [97.0, 60.0, 45.0, 80.0]


@pytest.fixture(scope="module")
def told() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """What a release told of a deposit: four communes of an EPCI, 3 women in one and 2 in another."""
    sexes = {"_f": WOMEN, "_m": MEN, "": [f + m for f, m in zip(WOMEN, MEN, strict=True)]}
    rows = [
        ("n", place, "2022", sex, value)
        for sex, values in sexes.items()
        for place, value in [*((f"COM-{i}", v) for i, v in enumerate(values)), ("EPCI-1", sum(values))]
    ]
    frame = identified(pl.DataFrame(rows, schema=[*DIMENSIONS, "value"], orient="row"), DIMENSIONS)
    cells = primary_counts(cells_of(frame.select("cell", "value")), RULE)
    relations = relations_of(frame, DIMENSIONS, {"territory": PLACES, "modality": SEXES})
    nothing = pl.DataFrame(schema={"cell": pl.String, "value": pl.Float64, "version": pl.Int64})
    cells, relations = versioned(cells, relations, nothing)
    done = judged(cells, protect_in_turn(system_of(cells, relations), []))
    assert done.filter(pl.col("status").is_in(HIDDEN)).height > 2
    values = cells.select(pl.col("cell").str.strip_suffix("#1"), "value", version=pl.lit(1, pl.Int64))
    return values, published(done).select(*CELLS), relations


def members(**perimeters: str) -> pl.DataFrame:
    rows = [(f"PER-{name}", f"COM-{i}") for name, digits in perimeters.items() for i in digits]
    return pl.DataFrame(rows, schema=["parent_id", "child_id"], orient="row")


def test_counts_refused_with_the_reason(told: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]) -> None:
    found = counts_judged(*told, members(petit="03", tout="0123", sans="12", absent="19"), RULE)
    reasons = {(row[1], row[3]): row[4] for row in found.iter_rows()}
    assert "inférieur au seuil de secret (11)" in reasons["PER-petit", "_f"], "3 + 2 women"
    assert [reasons["PER-tout", sex] for sex in ("", "_f", "_m")] == [None] * 3, "the EPCI itself"
    assert "PER-absent" not in found["territory"], "a commune that the deposit does not have: no figure"
    few = counts_judged(*told, members(un="01"), RULE).drop_nulls("reason")
    assert few.height and few["reason"].str.contains("Par différence").all()
    assert few["reason"].str.contains("masquée").all()


def test_no_admitted_count_tells_a_masked_one(told: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]) -> None:
    """Every set of two communes or more, all asked for one after the other: the audit of the whole still holds."""
    sets = {
        f"x{mask}": "".join(str(i) for i in range(4) if mask >> i & 1) for mask in range(3, 16) if mask & (mask - 1)
    }
    found = counts_judged(*told, members(**sets), RULE)
    assert 0 < found["reason"].null_count() < found.height
    values, cells, relations = told
    admitted = found.filter(pl.col("reason").is_null())
    names = admitted.select(pl.concat_str(pl.col(DIMENSIONS), separator="|"))[DIMENSIONS[0]].to_list()
    parts = pl.DataFrame(
        [(n, n.replace(n.split("|")[1], f"COM-{i}") + "#1") for n in names for i in sets[n.split("|")[1][4:]]],
        schema=["total", "part"], orient="row",
    )  # fmt: skip
    known = values.select(part=pl.col("cell") + "#1", value="value")
    totals = parts.join(known, on="part").group_by(cell="total").agg(pl.col("value").sum())
    held = cells.drop("value").join(known.rename({"part": "cell"}), on="cell", how="left").select(*CELLS)
    whole = pl.concat([held, cells_of(totals).select(*CELLS)])
    assert audit(system_of(whole, pl.concat([relations, sums_of(parts)])))["ok"].all()


COMMUNES = pl.DataFrame(
    {
        "code": [f"0100{i}" for i in range(6)],
        "persons": [9000.0, 8000.0, 150.0, 300.0, 300.0, 7000.0],
        "households": [4000.0, 3500.0, 60.0, 120.0, 120.0, 3000.0],
        "rate": [20.0, 15.0, None, None, None, 12.0],
        "d5": [19000.0, 20000.0, None, 21000.0, 22000.0, 20500.0],
    }
)


def unions(**sets: str) -> pl.DataFrame:
    rows = [(at, f"0100{i}") for at, digits in enumerate(sets.values()) for i in digits]
    return pl.DataFrame(rows, schema={"union": pl.Int64, "code": pl.String}, orient="row")


def test_estimates_of_territories_are_judged_without_the_perimeters() -> None:
    composition = pl.DataFrame({"level": ["EPCI"] * 3, "territory": ["1"] * 3, "code": ["01000", "01002", "01005"]})
    published = pl.DataFrame({"level": ["EPCI"], "territory": ["1"], "rate": [18.0]})
    known, refused = official(COMMUNES, composition, published, unions(seul="02", deux="034"))
    assert refused == [0], "one masked commune of 150 persons; the other leaves two"
    assert known.filter(pl.col("code") == "01002")["sets"].to_list()[0] is not None
    alone = of_perimeters(known, unions(seul="13"), [])
    assert list(alone) == [0] and "périmètre refusé : ses 1 commune(s)" in alone[0]
    assert of_perimeters(known, unions(connu="015", deux="134"), []) == {}
    before = official(COMMUNES, composition, published, unions(seul="02"))[0]
    assert of_perimeters(before, unions(deux="134"), []) == {}
    assert list(of_perimeters(before, unions(deux="134"), [{"01001", "01003"}])) == [0], "one was told of before"


def test_what_is_printed_is_one_line_a_reason() -> None:
    rows = [
        ("Taux", 2019, "ses 3 communes"),
        ("Taux", 2018, "ses 2 communes"),
        ("Taux", 2020, None),
        ("n", 2019, "seuil"),
    ]
    frame = pl.DataFrame(rows, schema=["figures", "year", "reason"], orient="row")
    assert refusals(frame) == [("Taux", "2018, 2019", "ses 3 communes"), ("n", "2019", "seuil")]


def test_a_deposit_of_which_nothing_was_told_is_not_judged(
    told: tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame],
) -> None:
    values, cells, relations = told
    assert counts_judged(values.clear(), cells.clear(), relations.clear(), members(a="01"), RULE).is_empty()
    assert counts_judged(*told, members(a="01").clear(), RULE).is_empty()
