"""Composite indices: their observations, and the tables that say what makes them and how sure their ranks are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from methods import robustness
from methods.composite import Composite, Evaluated, Goalposts, Matrix, descending_ranks, evaluate
from methods.indicators import CODES, COLUMNS, NO_REFERENCE, ORDER, TOTAL, nothing
from pipelines.stages import geography
from pipelines.workspace import Workspace
from warehouse.catalogue import Catalogue, Indicator
from warehouse.goalposts import DEMO, NUMBERS, Line, goalposts_of, read_goalposts
from warehouse.models import TABLES

LEVELS = ("COM", "ARM", "EPCI", "PER", "DEP", "REG", "METRO")  # that have an index
RANKED = ("COM", "EPCI")
COUNTRY = "FRANCE-F"
REBUILT_COVERAGE = 0.99  # of the weight of the communes, to stand for a territory that has no figure
COMPONENT_TABLES = ("composite_component", "composite_rank", "composite_goalpost", "composite_correlation")

Read = Callable[[str], pl.DataFrame]  # indicator -> its observations


@dataclass(frozen=True)
class Scored:
    """An index in one release. places: (territory_id, level, region_id, population, grade), a row as in every matrix.

    grade: the lowest of the components; source_ids: of every component.
    """

    indicator: Indicator
    index: Composite
    posts: Goalposts
    places: pl.DataFrame
    values: Matrix
    source_ids: str
    found: Evaluated

    def rows(self, level: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """The rows of a level that have an index."""
        return np.flatnonzero((self.places["level"] == level).to_numpy() & np.isfinite(self.found.index))


def universe_of(workspace: Workspace, index: Composite) -> str:
    """Whose communes set the goalposts of an index, in this profile."""
    return DEMO if workspace.settings.profile == "demo" else index.universe


def scored(workspace: Workspace, indicator: Indicator, read: Read) -> Scored | None:
    """An index computed for every territory large enough; None where it has no goalposts (a component has no figure),
    or where the years that are read have none of its components."""
    index = indicator.specification()
    assert isinstance(index, Composite), f"{indicator.id} is no composite"
    posts = goalposts_of(read_goalposts(), indicator, index, universe_of(workspace, index))
    if posts is None:
        return None
    places = _places(workspace, index, read)
    members = geography.ranked(workspace, geography.read(workspace, "territory_member"), "parent_id", "child_id")
    columns: list[Matrix] = []
    grades: list[pl.Series] = []
    sources: set[str] = set()
    for component in index.components:
        known = _at(read(component.indicator_id), component.year)
        if component.weighted_by:
            weights = _at(read(component.weighted_by[0]), component.weighted_by[1])
            known = with_rebuilt(known, weights, members, places)
        own = places.join(known, on="territory_id", how="left", maintain_order="left")
        columns.append(own["value"].fill_null(float("nan")).to_numpy())
        grades.append(own["grade"].alias(component.indicator_id))
        sources |= {s for ids in own["source_ids"].drop_nulls().unique() for s in ids.split(";")}
    if not sources:
        return None
    values = np.column_stack(columns)
    graded = places.with_columns(grade=pl.DataFrame(grades).select(pl.max_horizontal(pl.all())).to_series())
    found = evaluate(index, posts, values)
    return Scored(indicator, index, posts, graded, values, ";".join(sorted(sources)), found)


def _places(workspace: Workspace, index: Composite, read: Read) -> pl.DataFrame:
    """Territories large enough to have the index: (territory_id, level, region_id, population)."""
    table = geography.ranked(workspace, geography.read(workspace, "territory"), "territory_id")
    population = _at(read("dem_pop"), index.year).select("territory_id", population="value")
    return (
        table.filter(pl.col("level").is_in(LEVELS))
        .join(population, on="territory_id")
        .filter(pl.col("population") >= index.min_population)
        .select("territory_id", "level", "region_id", "population")
        .sort("territory_id")
    )


def _at(rows: pl.DataFrame, year: int) -> pl.DataFrame:
    """(territory_id, value, weight, grade, source_ids): the known values of the whole population at a year."""
    whole = (pl.col("sex") == TOTAL) & (pl.col("age") == TOTAL) & (pl.col("reference").cast(pl.String) == NO_REFERENCE)
    own = rows.filter(whole, pl.col("year") == year, pl.col("value").is_not_null())
    return own.select("territory_id", "value", "weight", pl.col("grade", "source_ids").cast(pl.String))


def with_rebuilt(
    known: pl.DataFrame, weights: pl.DataFrame, members: pl.DataFrame, places: pl.DataFrame
) -> pl.DataFrame:
    """The figures, and those of the territories without one: means of their communes', weighted by the denominators
    of another indicator, where communes of REBUILT_COVERAGE of the weight have a figure.

    known: (territory_id, value, weight, grade, source_ids); weights: (territory_id, weight); members: (parent_id,
    child_id, share); places: (territory_id, level).
    """
    lacking = places.filter(~pl.col("level").is_in(["COM", "ARM"])).join(known, on="territory_id", how="anti")
    own = (
        members.join(lacking.select(parent_id="territory_id"), on="parent_id", how="semi")
        .join(weights.select(child_id="territory_id", w="weight"), on="child_id")
        .join(known.select(child_id="territory_id", v="value", source_ids="source_ids"), on="child_id", how="left")
        .with_columns(w=pl.col("w") * pl.col("share"))
        .sort("parent_id", "child_id")
    )
    told = pl.col("w").filter(pl.col("v").is_not_null()).sum()
    made = (
        own.group_by("parent_id", maintain_order=True)
        .agg(
            value=(pl.col("v") * pl.col("w")).sum() / told,
            covered=told / pl.col("w").sum(),
            source_ids=pl.col("source_ids").drop_nulls().first(),
        )
        .filter(pl.col("covered") >= REBUILT_COVERAGE)
        .select(
            pl.col("parent_id").alias("territory_id"),
            "value",
            pl.lit(None, pl.Float64).alias("weight"),
            pl.lit("B").alias("grade"),
            "source_ids",
        )
    )
    return pl.concat([known, made])


def index_rows(workspace: Workspace, indicator: Indicator, read: Read) -> pl.DataFrame:
    """The observations of an index: a row a territory large enough, null where too few components are known."""
    own = scored(workspace, indicator, read)
    rows = _long(own) if own else nothing()
    return rows.select(COLUMNS).sort(ORDER).with_columns(pl.col(CODES).cast(pl.Categorical))


def _long(own: Scored) -> pl.DataFrame:
    known = pl.col("value").is_not_null()
    rows = own.places.select("territory_id", "grade", weight="population").with_columns(
        value=pl.Series(own.found.index).fill_nan(None)
    )
    estimated = known & (pl.col("grade") > "A")
    return rows.with_columns(
        year=pl.lit(own.index.year, pl.Int16),
        sex=pl.lit(TOTAL),
        age=pl.lit(TOTAL),
        reference=pl.lit(NO_REFERENCE),
        obs_status=pl.when(estimated).then(pl.lit("E")).when(known).then(pl.lit("A")).otherwise(pl.lit("O")),
        conf_status=pl.lit("F"),
        grade=pl.when(known).then("grade"),
        lower=pl.lit(None, pl.Float64),
        upper=pl.lit(None, pl.Float64),
        interval_kind=pl.lit(None, pl.String),
        reason=pl.when(~known).then(pl.lit("composantes_insuffisantes")),
        masked_parts=pl.lit(None, pl.Int32),
        cog_year_source=pl.lit(None, pl.Int16),
        source_ids=pl.lit(own.source_ids),
    )


def index_tables(workspace: Workspace, catalogue: Catalogue, read: Read) -> dict[str, pl.DataFrame]:
    """The tables of every index: what makes it, its ranks, its goalposts, its correlations."""
    parts: dict[str, list[pl.DataFrame]] = {name: [TABLES[name].empty()] for name in COMPONENT_TABLES}
    register = read_goalposts()
    for indicator in catalogue.indicators:
        composite = isinstance(indicator.specification(), Composite)
        own = scored(workspace, indicator, read) if composite else None
        if own is None:
            continue
        names = geography.identifiers(workspace)
        parts["composite_component"].append(_components(own, names))
        parts["composite_goalpost"].append(_goalposts(own, register, universe_of(workspace, own.index)))
        for rank, correlation in _compared(own, names):
            parts["composite_rank"].append(rank)
            parts["composite_correlation"].append(correlation)
    return {name: _table(name, frames) for name, frames in parts.items()}


def absent_indices(
    workspace: Workspace, catalogue: Catalogue, scored: Collection[str], read: Read
) -> Iterator[tuple[str, str, int, str]]:
    """(indicator_id, level, year, why in French) of the indices that have no goalposts or no component, hence no
    figure. scored: those that have some."""
    register = read_goalposts()
    for indicator in catalogue.indicators:
        index = indicator.specification()
        if not isinstance(index, Composite) or indicator.id in scored:
            continue
        lacking = [
            f"{c.indicator_id} {c.year}" for c in index.components if _at(read(c.indicator_id), c.year).is_empty()
        ]
        bounded = goalposts_of(register, indicator, index, universe_of(workspace, index)) is not None
        if bounded and len(lacking) < len(index.components):
            continue
        told = "" if bounded else f"Version {indicator.version} sans bornes ; "
        why = f"{told}composantes sans valeur : {', '.join(lacking) or 'aucune'}"
        yield from ((indicator.id, level, index.year, why) for level in RANKED)


def _table(name: str, frames: list[pl.DataFrame]) -> pl.DataFrame:
    table = TABLES[name]
    cast = [f.select(table.names).cast(table.schema()) for f in frames]  # pyright: ignore[reportArgumentType]
    return pl.concat(cast).sort(table.key)


def _head(own: Scored, n: int) -> dict[str, list[object]]:
    return {
        "index_id": [own.indicator.id] * n,
        "version": [own.indicator.version] * n,
        "year": [own.index.year] * n,
    }


def _components(own: Scored, names: pl.Series) -> pl.DataFrame:
    """What each component brings to the index of each territory that has one."""
    rows = np.flatnonzero(np.isfinite(own.found.index))
    identifiers = names.gather(own.places["territory_id"].gather(rows))
    frames = [
        pl.DataFrame(_head(own, len(rows))).with_columns(
            territory_id=identifiers,
            dimension=pl.lit(c.dimension),
            indicator_id=pl.lit(c.indicator_id),
            component_year=pl.lit(c.year),
            raw=pl.Series(own.values[rows, i]),
            score=pl.Series(own.found.scores[rows, i]),
            contribution=pl.Series(own.found.contributions[rows, i]),
        )
        for i, c in enumerate(own.index.components)
    ]
    return pl.concat(frames).with_columns(pl.col("raw", "score", "contribution").fill_nan(None))


def _goalposts(own: Scored, register: list[Line], universe: str) -> pl.DataFrame:
    """The lines of the register that the index used, with the declaration of each component."""
    lines = {
        line.indicator_id: line._asdict()
        for line in register
        if line[:3] == (own.indicator.id, own.indicator.version, universe)
    }
    rows = [
        lines[c.indicator_id]
        | {
            "dimension": c.dimension,
            "direction": c.direction,
            "transformation": c.transform,
            "dimension_weight": own.index.weights[c.dimension],
        }
        for c in own.index.components
    ]
    return pl.DataFrame(rows).with_columns(pl.col(NUMBERS).fill_nan(None))


def _compared(own: Scored, names: pl.Series) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Ranks and correlations of each set of territories that are ranked together: the communes and the EPCI of the
    country, the communes of each region."""
    regions = own.places["region_id"].to_numpy()
    for level in RANKED:
        at = own.rows(level)
        if not len(at):
            continue
        drawn = robustness.simulated_indices(own.index, own.posts, own.values[at])
        left_out = robustness.left_out_indices(own.index, own.posts, own.values[at])
        variants = np.column_stack(
            [own.found.index[at]]
            + [evaluate(own.index.varied(v), own.posts, own.values[at]).index for v in own.index.variants.values()]
        )
        inside = sorted({str(r) for r in regions[at] if r is not None}) if level == "COM" else []
        for universe in [COUNTRY, *inside]:
            chosen = np.arange(len(at)) if universe == COUNTRY else np.flatnonzero(regions[at] == universe)
            low, high = robustness.rank_interval(drawn[:, chosen])
            least, most = robustness.rank_range(left_out[:, chosen])
            ranks = pl.DataFrame(_head(own, len(chosen))).with_columns(
                universe=pl.lit(universe),
                territory_id=names.gather(own.places["territory_id"].gather(at[chosen])),
                rank=pl.Series(descending_ranks(own.found.index[at[chosen]])),
                rank_lower=pl.Series(low),
                rank_upper=pl.Series(high),
                loo_lower=pl.Series(least),
                loo_upper=pl.Series(most),
                n=pl.lit(len(chosen)),
            )
            yield ranks, _correlations(own, universe, level, own.found.scores[at[chosen]], variants[chosen])


def _correlations(own: Scored, universe: str, level: str, scores: Matrix, variants: Matrix) -> pl.DataFrame:
    """Correlations of components (Pearson, of their scores) and of variants (Spearman), each pair once."""
    of = {
        "components": ([c.indicator_id for c in own.index.components], robustness.correlations(scores)),
        "variants": (["indice", *own.index.variants], robustness.rank_correlations(variants)),
    }
    rows = [
        (kind, first, second, float(found[i, j]))
        for kind, (labels, found) in of.items()
        for i, first in enumerate(labels)
        for j, second in enumerate(labels)
        if i < j and np.isfinite(found[i, j])
    ]
    schema = {"kind": pl.String, "first": pl.String, "second": pl.String, "correlation": pl.Float64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    redundant = (pl.col("kind") == "components") & (pl.col("correlation").abs() > robustness.REDUNDANT)
    return (
        pl.DataFrame(_head(own, frame.height))
        .hstack(frame)
        .with_columns(universe=pl.lit(universe), level=pl.lit(level), n=pl.lit(len(scores)), redundant=redundant)
    )
