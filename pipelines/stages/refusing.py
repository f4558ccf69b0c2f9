"""Which estimates would single out masked communes (methods.unions.Register): those of official territories are judged
first, without any perimeter, so that none costs them a figure; then those of perimeters, in the order of definition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from itertools import chain
from pathlib import Path

import polars as pl

from methods import unions
from methods.passage import convert
from methods.perimeters import LEVEL as PERIMETER
from methods.perimeters import perimeter_members
from methods.settle import KNOWN_SHARE, UNKNOWN_WEIGHT
from pipelines.perimeters import Perimeter, members_frame
from pipelines.stages import geography
from pipelines.workspace import Workspace

# Figures of a territory of this size are told; below, and from 50 households or 100 persons, its median only.
LARGE = (pl.col("persons") >= unions.RATE_PERSONS) | (pl.col("households") >= unions.RATE_HOUSEHOLDS)
ALL_MEDIANS = 0.999  # share of the persons above which every member's median is known
_WEIGHT = pl.col("persons").fill_null(UNKNOWN_WEIGHT)


def _share(known: str) -> pl.Expr:
    return _WEIGHT.filter(pl.col(known).is_not_null()).sum() / _WEIGHT.sum()


# of a union, from its communes: its size, and the share of its persons in communes whose rate, whose median is printed
SIZES = (
    _WEIGHT.sum().alias("persons"),
    pl.col("households").sum(),
    _share("rate").alias("coverage"),
    _share("d5").alias("medians"),
)


def known_path(workspace: Workspace, year: int) -> Path:
    """What a run told of each commune of a year, perimeters left out: see `official`."""
    return workspace.stage("estimated", f"{year}.known")


def official(
    communes: pl.DataFrame, composition: pl.DataFrame, published: pl.DataFrame, wanted: pl.DataFrame
) -> tuple[pl.DataFrame, list[int]]:
    """What is told of each commune once territories are estimated (code, persons, households, rate, d5, and `sets`, the
    numbers of the territories that hold it whose figures are told), and the territories that are refused.

    communes, composition, published: of estimating.Facts. wanted: (union, code), the territories to estimate.
    """
    rated = composition.join(published.drop_nulls("rate"), on=["level", "territory"], how="semi")
    sets = [set(codes) for codes in rated.group_by("level", "territory", maintain_order=True).agg("code")["code"]]
    register = unions.Register(_masked(communes), sets)
    refused: list[int] = []
    judged = _judged(communes, wanted.join(_whole(composition, wanted), on="union", how="anti", maintain_order="left"))
    for union, held in judged:
        if register.separates(held):
            refused.append(union)
        else:
            register.admit(held)
            sets.append(held)
    numbers = pl.DataFrame(
        {"sets": range(len(sets)), "code": [list(s) for s in sets]},
        schema={"sets": pl.UInt32, "code": pl.List(pl.String)},
    )
    holders = numbers.explode("code").group_by("code").agg(pl.col("sets").sort())
    told = communes.select("code", "persons", "households", "rate", "d5")
    return told.join(holders, on="code", how="left", maintain_order="left"), refused


def of_perimeters(known: pl.DataFrame, wanted: pl.DataFrame, older: Sequence[Set[str]]) -> dict[int, str]:
    """The perimeters whose estimates are refused, and why (French).

    known: from `official`. wanted: (union, code) of perimeters, in the order of definition. older: communes of those
    that were told of before.
    """
    register = unions.Register(_masked(known), [*_around(known, [*wanted["code"], *chain(*older)]), *older])
    refused: dict[int, str] = {}
    for union, held in _judged(known, wanted):
        reason = register.refusal(held)
        if reason is None:
            register.admit(held)
        else:
            refused[union] = reason
    return refused


def _around(known: pl.DataFrame, codes: Sequence[str]) -> list[set[str]]:
    """The sets that touch a commune of a set that holds one of `codes`: no other counts."""
    pairs = known.select("code", "sets").explode("sets").drop_nulls()
    holding = pairs.filter(pl.col("code").is_in(codes)).select("sets").unique()
    reached = pairs.join(holding, on="sets", how="semi").select("code").unique()
    touching = pairs.join(reached, on="code", how="semi").select("sets").unique()
    return [set(s) for s in pairs.join(touching, on="sets", how="semi").group_by("sets").agg("code")["code"]]


def _masked(communes: pl.DataFrame) -> dict[str, float | None]:
    return dict(communes.filter(pl.col("rate").is_null()).select("code", "persons").iter_rows())


def _judged(communes: pl.DataFrame, wanted: pl.DataFrame) -> list[tuple[int, set[str]]]:
    """The unions, in their order, whose figures are told and in which masked communes count."""
    sizes = wanted.join(communes, on="code").group_by("union").agg(*SIZES)
    told = sizes.filter(LARGE, pl.col("coverage") < KNOWN_SHARE)["union"].implode()
    sets = wanted.filter(pl.col("union").is_in(told)).group_by("union", maintain_order=True).agg("code")
    return [(union, set(codes)) for union, codes in sets.iter_rows()]


def _whole(composition: pl.DataFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """The unions made of whole départements (régions, the country): what is told of them adds up what is known."""
    departements = composition.filter(pl.col("level") == "DEP").select("code", "territory")
    sizes = departements.group_by("territory").agg(size=pl.len())
    held = wanted.join(departements, on="code", how="left").group_by("union", "territory").agg(n=pl.len())
    partly = held.join(sizes, on="territory", how="left").filter(
        (pl.col("n") == pl.col("size")).fill_null(False).not_()
    )
    return wanted.select("union").unique().join(partly, on="union", how="anti")


def older_versions(workspace: Workspace, perimeters: Iterable[Perimeter], cog: int) -> list[set[str]]:
    """The communes, in the COG of a year, of the perimeters' earlier versions: their figures were told."""
    table = geography.read(workspace, "passage")
    return [
        set(convert([m.removeprefix("COM-") for m in v.members], table, v.cog_year, cog)["to_code"])
        for p in perimeters
        for v in p.versions[:-1]
        if all(m.startswith("COM-") for m in v.members)
    ]


def foreseen(
    workspace: Workspace, year: int, cog: int, planned: Sequence[Perimeter], name: str
) -> list[tuple[str, str | None]]:
    """What a run would say of the estimates of a year for the perimeter `name` (PER-…): figures, and why they would be
    refused (French; null where they would not). Nothing where masked communes do not count in them.

    cog: of the year's communal file. planned: every perimeter that the run would have, in the order of definition.
    """
    known, wanted = pl.read_parquet(known_path(workspace, year)), _members(workspace, cog, planned)
    outside = wanted.join(known, on="code", how="anti").select("parent_id")
    wanted = wanted.join(outside, on="parent_id", how="anti", maintain_order="left")
    communes = wanted.filter(pl.col("parent_id") == name).join(known, on="code")
    sizes = communes.select(*SIZES).filter(LARGE, pl.col("coverage") < KNOWN_SHARE)
    if sizes.is_empty():
        return []
    reason = of_perimeters(known, wanted, older_versions(workspace, planned, cog)).get(communes["union"][0])
    median = None if sizes["medians"][0] >= ALL_MEDIANS else reason
    return [("Taux de pauvreté, déciles et inégalités, estimés", reason), ("Niveau de vie médian, estimé", median)]


def _members(workspace: Workspace, cog: int, planned: Sequence[Perimeter]) -> pl.DataFrame:
    """The communes, in the COG of a year, of the perimeters that hold each of theirs whole, in their order: (parent_id,
    union, its place in the order, code)."""
    made = [p for p in planned if all(m.startswith("COM-") for m in p.current.members)]
    units = geography.read(workspace, f"members-{cog}").filter(pl.col("level") == "COM").select("level", "code")
    members = perimeter_members(members_frame(made), geography.read(workspace, "passage"), units, cog)
    order = pl.DataFrame({"parent_id": [f"{PERIMETER}-{p.slug}" for p in made]}, schema={"parent_id": pl.String})
    return (
        order.with_row_index("union")
        .join(members, on="parent_id", maintain_order="left")
        .filter(pl.col("share").is_not_null().all().over("parent_id"))
        .select("parent_id", "union", code=pl.col("child_id").str.strip_prefix("COM-"))
    )
