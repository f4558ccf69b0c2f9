"""What secrecy would refuse to a perimeter, told before any run: by the last publication, and as the next run judges.

Sums of figures that everybody reads by commune tell nothing new and are not judged. Estimates of standards of living
are (methods.unions.Register), and the counts that partners deposited (methods.suppression.show_in_turn).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import polars as pl

from methods.register import with_history
from methods.suppression import Rule, primary_counts, show_in_turn
from methods.tables import CELLS, FREQUENCY, HIDDEN, PRODUCER, PUBLISHABLE, SECONDARY, cells_of, sums_of, system_of
from pipelines.perimeters import Perimeter, in_order
from pipelines.stages import estimating, geography, refusing
from pipelines.stages.protecting import COUNTS, DIMENSIONS
from pipelines.stages.told import Told
from pipelines.workspace import Workspace
from sources.deposits.contract import Contract, Deposited
from warehouse.release import Releases

UNPRINTED = "reste "  # begins the name of what a subtraction tells
JUDGED = {"figures": pl.String, "year": pl.Int32, "reason": pl.String}


def judged(workspace: Workspace, perimeter: Perimeter) -> pl.DataFrame | None:
    """The figures of a perimeter that secrecy may withhold: figures, year, reason (French; null where they would be
    published). None where there is nothing yet by which to judge: no release, or one of before this was kept.

    The other perimeters are those of the folder; each is judged after those that were defined before it.
    """
    cogs = estimating.cog_years(workspace)
    known = all(refusing.known_path(workspace, year).exists() for year in cogs)
    if not known or Releases(workspace.data).latest() is None:
        return None
    planned = in_order([*(p for p in workspace.perimeters if p.slug != perimeter.slug), perimeter])
    name = f"PER-{perimeter.slug}"
    rows = [
        (figures, year, why)
        for year, cog in cogs.items()
        for figures, why in refusing.foreseen(workspace, year, cog, planned, name)
    ]
    frames = [pl.DataFrame(rows, schema=JUDGED, orient="row")]
    members = _whole_members(workspace, planned[: planned.index(perimeter) + 1])
    for source in workspace.sources.values():
        if isinstance(source, Deposited) and source.editions and source.contract.secrecy.threshold:
            told = Told(workspace.told / source.source_id, COUNTS)
            rule = Rule(source.contract.secrecy.threshold)
            found = counts_judged(told.values(), told.cells(), told.relations(), members, rule)
            found = found.filter(pl.col("territory") == name).join(_labels(source.contract), on=["column", "modality"])
            frames.append(found.select("figures", pl.col("year").cast(pl.Int32), "reason"))
    return pl.concat(frames)


def _whole_members(workspace: Workspace, planned: Sequence[Perimeter]) -> pl.DataFrame:
    """Members (parent_id, child_id) of the perimeters that hold each of theirs whole, in their order."""
    members = geography.own_members(workspace, planned).filter(pl.col("share").is_not_null().all().over("parent_id"))
    order = pl.DataFrame({"parent_id": [f"PER-{p.slug}" for p in planned]})
    return order.join(members.select("parent_id", "child_id"), on="parent_id", maintain_order="left")


def counts_judged(
    values: pl.DataFrame, told: pl.DataFrame, relations: pl.DataFrame, members: pl.DataFrame, rule: Rule
) -> pl.DataFrame:
    """Counts of perimeters, judged in the order of `members` (parent_id, child_id): DIMENSIONS of a partner's counts,
    reason (French; null where published). None where the deposit does not have every member.

    values, told, relations: what releases told of the deposit (pipelines.stages.told).
    """
    held = values.with_columns(part=pl.concat_str("cell", pl.lit("#"), "version"))
    parts = _parts(held, members)
    if parts.is_empty():
        return parts.select(*DIMENSIONS, reason=pl.lit(None, pl.String))
    totals = parts.group_by("total", *DIMENSIONS, maintain_order=True).agg(
        value=pl.when(pl.col("value").is_not_null().all()).then(pl.col("value").sum())
    )
    new = primary_counts(cells_of(totals.rename({"total": "cell"})), rule)
    free = new["status"] == PUBLISHABLE
    every, sums = with_history(told.clear(), relations.clear(), told, relations)
    every = every.join(held.select(cell="part", held="value"), on="cell", how="left", maintain_order="left")
    cells = [
        every.with_columns(pl.coalesce("value", "held").alias("value")).select(*CELLS),
        new.with_columns(status=pl.when(free).then(pl.lit(SECONDARY)).otherwise("status")).select(*CELLS),
    ]
    system = system_of(pl.concat(cells), pl.concat([sums, sums_of(parts.select("total", "part"))]))
    printed = ~new["column"].str.starts_with(UNPRINTED)
    shown = show_in_turn(system, new.filter(free & printed)["cell"].to_list())
    status = pl.DataFrame({"cell": shown.names, "status": shown.status})
    hidden = every.filter(pl.col("status").is_in(HIDDEN)).select(part="cell", masked=1)
    masked = parts.join(hidden, on="part").group_by(cell="total").agg(pl.col("masked").sum())
    found = new.filter(printed).drop("status").join(status, on="cell", maintain_order="left")
    return found.join(masked, on="cell", how="left", maintain_order="left").select(*DIMENSIONS, reason=_reason(rule))


def _parts(held: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """What the figures of perimeters add up: total, part (cells), DIMENSIONS of the total, value of the part."""
    names = dict(enumerate(DIMENSIONS))
    split = pl.col("cell").str.split_exact("|", len(names) - 1).struct.rename_fields(list(names.values()))
    rows = held.select("part", "value", split.alias("of")).unnest("of")
    sized = members.with_columns(size=pl.len().over("parent_id"))
    parts = sized.join(rows, left_on="child_id", right_on="territory", maintain_order="left_right")
    parts = parts.with_columns(territory="parent_id")
    total = pl.concat_str(pl.col(DIMENSIONS), separator="|") + pl.lit("#nouveau")
    parts = parts.with_columns(total.alias("total"))
    return parts.filter(pl.len().over("total") == pl.col("size")).select("total", "part", *DIMENSIONS, "value")


def _reason(rule: Rule) -> pl.Expr:
    few = f"Son total est inférieur au seuil de secret ({rule.threshold:g})."
    more = "Par différence avec ce qui est publié, il ferait connaître des effectifs masqués de ses communes ({})."
    return (
        pl.when(pl.col("status") == FREQUENCY)
        .then(pl.lit(few))
        .when(pl.col("status") == PRODUCER)
        .then(pl.lit("Le déposant a masqué la donnée d'une de ses communes."))
        .when(pl.col("status") == SECONDARY)
        .then(pl.format(more, pl.format("{} masquée(s)", pl.col("masked").fill_null(0))))
    )


def _labels(contract: Contract) -> pl.DataFrame:
    """What the counts of a contract are called: (column, modality, figures)."""
    choices = [
        [("", ""), *((m.suffix, f", {m.label}") for m in d.codes.values() if m.suffix)]
        for d in contract.of_role("dimension")
    ]
    rows = [
        (
            "/".join(suffix for suffix, _ in chosen),
            f"{contract.title} — {c.label}{''.join(t for _, t in chosen)}",
            c.name,
        )
        for c in contract.of_role("count", "denominator")
        for chosen in product(*choices)
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("modality", "figures", "column"), pl.String), orient="row")


def refusals(judged: pl.DataFrame) -> list[tuple[str, str, str]]:
    """What to print of the figures refused: figures, years, reason (of the last year, where numbers alone differ)."""
    kind = pl.col("reason").str.replace_all(r"\d+", "").alias("kind")
    rows = judged.drop_nulls("reason").sort("year", maintain_order=True)
    told = rows.group_by("figures", kind, maintain_order=True).agg("year", pl.col("reason").last())
    return [(figures, ", ".join(map(str, years)), reason) for figures, _, years, reason in told.iter_rows()]
