"""Estimates of standards of living for the territories whose figures nobody publishes: merged communes, changed EPCI,
zones d'emploi, perimeters. Distributions of unions (methods.distribution) and poverty rates (methods.unions)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from methods import calibration, unions
from methods.distribution import DECILES, GRID, cumulative, mixture, quantiles
from methods.indicators import COLUMNS, NO_REFERENCE, TOTAL
from methods.measured import measured
from methods.perimeters import LEVEL as PERIMETER
from methods.shapes import ShapeModel, calibrate, curves, learn
from methods.territories import FRANCE
from pipelines.perimeters import in_order
from pipelines.stages import geography, refusing
from pipelines.stages.refusing import ALL_MEDIANS, LARGE
from pipelines.stages.settling import editions_to_settle, settled_path
from pipelines.workspace import Workspace, digest, fingerprint_of, in_pairs, refresh
from sources.description import Edition

COMMUNAL, DETAILED = "insee_filosofi_cc", "insee_filosofi_distribution"
LEVELS = ("COM", "EPCI", "ARR", "DEP", "METRO")
ABOVE = ("EPCI", "ARR", "DEP")  # levels whose published figures bind their communes
COVARIATES = {  # census of communes: numerator, denominator
    "hlm": ("ls", "rp"),
    "owners": ("rp_prop", "rp"),
    "unemployed": ("chom1564", "act1564"),
    "active": ("act1564", "pop1564"),
    "adults": ("pop1564", "pop"),
    "vacant": ("logvac", "log"),
    "second": ("rsecocc", "log"),
    "household": ("pop", "rp"),
    "jobs": ("emplt", "pop1564"),
    "employees": ("emplt_sal", "emplt"),
    "deaths": ("deces_periode", "pop"),
    "births": ("naissances_periode", "pop"),
}
CENSUS, SOCIAL_HOUSING = "insee_comparateur", "sdes_rpls"
READ = (DETAILED, CENSUS, SOCIAL_HOUSING)  # beside the settled figures of COMMUNAL
RATE_STEP = 1.0  # rounding of the poverty rates of communes, in points
SOME = (pl.col("persons") >= 100) | (pl.col("households") >= 50)
FEWEST_LEARNT = 200  # communes with nine deciles
DIFFERENCE = "difference"  # reason: the figure would single out masked communes
RATE_PRINTED = 0.1
# quantity of a distribution -> what its figures are rounded to
TOLD = {"d1": 10.0, "d5": 10.0, "d9": 10.0, "rd": 0.1, "gini": 0.001, "s80s20": 0.1}
TOLD |= {"tp50": RATE_PRINTED, "intensity": 0.1}  # of tp40 too few published figures tell how wrong it is


@dataclass(frozen=True)
class Facts:
    """What is published of a year in the COG of its communal file.

    communes: one row a commune (columns of methods.shapes.curves, and `rate`). published: level, territory, d1 to d9,
    rate. composition: level, territory, code.
    """

    communes: pl.DataFrame
    published: pl.DataFrame
    composition: pl.DataFrame
    national_median: float | None


def path(workspace: Workspace, year: int) -> Path:
    return workspace.stage("estimated", f"{year}.parquet")


def read(workspace: Workspace, quantity: str) -> pl.DataFrame | None:
    """The estimates of a quantity, every year together (methods.indicators.COLUMNS); None where no year has any."""
    files = [path(workspace, year) for year in years(workspace)]
    if not files:
        return None
    return pl.scan_parquet(files).filter(pl.col("quantity") == quantity).drop("quantity").collect()


def years(workspace: Workspace) -> list[int]:
    """Years whose communal file is there."""
    return sorted(_editions(workspace, COMMUNAL))


def estimate(workspace: Workspace) -> dict[str, Any]:
    """Writes the estimates of each year; returns what to show."""
    models: dict[int, ShapeModel] = {}
    asked = years(workspace)

    def refreshed(year: int) -> int:
        refresh(path(workspace, year), _fingerprint(workspace, year), lambda: _rows(workspace, year, models))
        return pl.scan_parquet(path(workspace, year)).select(pl.len()).collect().item()

    # two years at a time: linear algebra on more threads would only wait, and its sums depend on how many they are
    with workspace.progress.step("Territoires estimés", len(asked)) as step, threadpool_limits(1, "blas"):
        written: dict[str, int] = {}
        for year, rows in zip(asked, in_pairs(refreshed, asked), strict=True):
            step.advance(str(year))
            written[str(year)] = rows
    return {"lignes par année": written}


def facts(workspace: Workspace, year: int) -> Facts:
    """Everything published of a year that the estimates may rest on."""
    edition = _editions(workspace, COMMUNAL)[year]
    rows = _wide(workspace.core(COMMUNAL, edition.edition))
    detailed = _editions(workspace, DETAILED).get(year)
    if detailed is not None:
        rows = _with_deciles(rows, _wide(workspace.core(DETAILED, detailed.edition)))
    cog = edition.cog_year or edition.data_year
    held = geography.read(workspace, f"members-{cog}").rename({"code": "territory", "commune": "code"})
    composition = held.filter(pl.col("level").is_in(ABOVE))
    listed = held.filter(pl.col("level") == "COM").select("code")
    area = composition.filter(pl.col("level") == "EPCI").select("code", area="territory")
    communes = (
        listed.join(rows.filter(pl.col("level") == "COM"), on="code", how="left")
        .join(area, on="code", how="left")
        .join(_census(workspace), on="code", how="left")
        .filter(
            _departement("code").is_in(
                rows.filter(pl.col("level") == "COM").select(_departement("code")).to_series().implode()
            )
        )
        .with_columns(tp60_lower=pl.col("rate_lower"), tp60_upper=pl.col("rate_upper"))
        .sort("code")
    )
    published = rows.rename({"code": "territory"}).join(composition, on=["level", "territory"], how="semi")
    national = rows.filter(pl.col("level") == "METRO")["d5"]
    return Facts(
        communes,
        published,
        composition.join(communes.select("code"), on="code", how="semi"),
        national[0] if national.len() else None,
    )


def _departement(code: str) -> pl.Expr:
    return pl.col(code).str.head(pl.when(pl.col(code).str.starts_with("97")).then(3).otherwise(2))


def _editions(workspace: Workspace, source_id: str) -> dict[int, Edition]:
    """year -> the edition that lists communes, of the highest issue."""
    found: dict[int, Edition] = {}
    for edition in editions_to_settle(workspace, workspace.sources[source_id]):
        known = found.get(edition.data_year)
        if known is None or edition.issue > known.issue:
            found[edition.data_year] = edition
    return found


def _wide(core: Path) -> pl.DataFrame:
    """A parsed file with a column per variable: level, code, med or q2, d1 to d9, persons, households, rate, and
    between what and what the rate lies (rounding, 5 and 95)."""
    wanted = ["med", "q2", *DECILES, "nb_pers", "nb_men", "tp60"]
    rows = (
        pl.scan_parquet(core)
        .filter(pl.col("variable").cast(pl.String).is_in(wanted), pl.col("level").cast(pl.String).is_in(LEVELS))
        .select(pl.col("level", "variable").cast(pl.String), "code", "value", "lower", "upper")
        .collect()
    )
    half = RATE_STEP / 2
    rates = rows.filter(pl.col("variable") == "tp60").select(
        "level",
        "code",
        rate_lower=pl.coalesce(pl.col("value") - half, "lower"),
        rate_upper=pl.coalesce(pl.col("value") + half, "upper"),
    )
    values = rows.pivot("variable", index=["level", "code"], values="value")
    names = {"nb_pers": "persons", "nb_men": "households", "tp60": "rate"}
    there = [c for c in ("level", "code", *wanted) if c in values.columns]
    absent = {c: pl.lit(None, pl.Float64) for c in wanted if c not in values.columns}
    full = values.select(there).with_columns(**absent).with_columns(d5=pl.coalesce("med", "q2")).drop("med", "q2")
    return full.rename(names).join(rates, on=["level", "code"], how="left")


def _with_deciles(rows: pl.DataFrame, detailed: pl.DataFrame) -> pl.DataFrame:
    """The communal file's rows with the deciles of the detailed one, where both are of the same persons: the two may be
    in the COG of different years, and a code is not a territory."""
    found = rows.join(
        detailed.select("level", "code", "persons", *DECILES), on=["level", "code"], how="left", suffix="_2"
    )
    same = (pl.col("persons") - pl.col("persons_2")).abs() < 1
    filled = found.with_columns(pl.when(same).then(pl.coalesce(f"{d}_2", d)).otherwise(d).alias(d) for d in DECILES)
    more = detailed.filter(pl.col("level") != "COM").join(rows, on=["level", "code"], how="anti")
    return pl.concat([filled.select(rows.columns), more.select(rows.columns)])


def _census(workspace: Workspace) -> pl.DataFrame:
    """What the census and social housing tell of communes: code, population and the ratios of COVARIATES; columns of
    nulls where an edition is not there."""
    needed = {name for ratio in COVARIATES.values() for name in ratio}
    frames = [
        pl.scan_parquet(workspace.core(source_id, edition.edition))
        .filter(pl.col("level") == "COM", pl.col("variable").cast(pl.String).is_in(needed))
        .select("code", pl.col("variable").cast(pl.String), "year", "value")
        for source_id in (CENSUS, SOCIAL_HOUSING)
        for edition in workspace.present(workspace.sources[source_id])
    ]
    schema = {"code": pl.String, "variable": pl.String, "year": pl.Int16, "value": pl.Float64}
    rows = pl.concat([pl.DataFrame(schema=schema), *pl.collect_all(frames)]).sort("year")
    counts = rows.pivot("variable", index="code", values="value", aggregate_function="last")
    counts = counts.with_columns(pl.lit(None, pl.Float64).alias(n) for n in sorted(needed - set(counts.columns)))
    ratios = {
        name: pl.when(pl.col(below) > 0).then((pl.col(above).fill_null(0) / pl.col(below)).clip(0, 10))
        for name, (above, below) in COVARIATES.items()
    }
    return counts.select("code", population="pop", **ratios)


def _fingerprint(workspace: Workspace, year: int) -> str:
    communal, detailed = _editions(workspace, COMMUNAL), _editions(workspace, DETAILED)
    used = [
        settled_path(workspace, workspace.sources[COMMUNAL], communal[year]),
        *(
            workspace.core(s, e.edition)
            for s, held in ((COMMUNAL, communal), (DETAILED, detailed))
            for e in held.values()
        ),
        *(
            workspace.core(s, e.edition)
            for s in (CENSUS, SOCIAL_HOUSING)
            for e in workspace.present(workspace.sources[s])
        ),
    ]
    return digest(" ".join([*map(fingerprint_of, used), workspace.code_digest]))


def _rows(workspace: Workspace, year: int, models: dict[int, ShapeModel]) -> pl.DataFrame:
    """The estimates of a year: columns of methods.indicators.COLUMNS, and `quantity`."""
    edition = _editions(workspace, COMMUNAL)[year]
    own, asked = facts(workspace, year), targets(workspace, edition)
    outside = asked.join(own.communes.select("code"), on="code", how="anti").select("union_id")
    asked = asked.join(outside, on="union_id", how="anti", maintain_order="left")  # not all in the field of the source
    median = own.national_median or national_median(own.published)
    rates = poverty_rates(own, asked, median, _refused(workspace, edition, own, asked))
    parts = [_of_rates(rates)]
    model = _model(workspace, year, models)
    if model is not None:
        arguments = (own.communes, own.published, own.composition, median)
        rebuilt = mixture(curves(calibrate(model, *arguments), *arguments), asked, median)
        rebuilt = calibration.intervals(rebuilt, measured().distribution).drop("persons")
        told = rates.select("households", "persons", "refused", union_id="union")
        parts.append(_of_distribution(rebuilt.join(told, on="union_id")))
    return (
        pl.concat(parts)
        .with_columns(
            year=pl.lit(year, pl.Int16),
            sex=pl.lit(TOTAL),
            age=pl.lit(TOTAL),
            reference=pl.lit(NO_REFERENCE),
            conf_status=pl.lit("F"),
            masked_parts=pl.lit(None, pl.Int32),
            cog_year_source=pl.lit(edition.cog_year or edition.data_year, pl.Int16),
            source_ids=pl.lit(f"{COMMUNAL}/{edition.edition}"),
        )
        .select("quantity", *COLUMNS)
    )


def targets(workspace: Workspace, edition: Edition) -> pl.DataFrame:
    """Communes (of the edition) of every territory whose median or rate is not published under its own name and that
    holds each of them whole: (union_id, code), the rank of the territory. Perimeters come last, in the order in which
    they were defined: what one more may tell hangs on what is already told. The twin of a published territory is there
    for what is not published of either."""
    settled = pl.scan_parquet(settled_path(workspace, workspace.sources[COMMUNAL], edition))
    open_ = (
        settled.filter(pl.col("variable").cast(pl.String).is_in(["med", "tp60"]))
        .filter(pl.col("value").is_null() & pl.col("aggregated"))
        .select(union_id="territory_id")
        .unique()
        .collect()
    )
    values = pl.read_parquet(workspace.core(COMMUNAL, edition.edition), columns=["level", "code"])
    where = geography.correspondence(workspace, edition, values)
    twins = geography.ranked(workspace, geography.read(workspace, "twins"), "territory_id").select(
        union_id="territory_id"
    )
    shared = twins.unique().join(where.same, left_on="union_id", right_on="territory_id", how="anti")
    groups = where.groups
    whole = groups.filter(~pl.col("partial").any().over("territory_id"))
    order = geography.ranked(workspace, _names(workspace), "union_id")
    # Filosofi says nothing of the whole of France: its field is the métropole and two départements
    country = geography.ranked(workspace, pl.DataFrame({"union_id": [f"FRANCE-{FRANCE}"]}), "union_id")
    return (
        whole.select("code", union_id="territory_id")
        .join(pl.concat([open_, shared]).unique(), on="union_id", how="semi")
        .join(country, on="union_id", how="anti")
        .join(order.select("order", "union_id"), on="union_id", how="left")
        .sort(pl.col("order").fill_null(0), "union_id", "code")
        .drop("order")
    )


def _refused(workspace: Workspace, edition: Edition, own: Facts, asked: pl.DataFrame) -> set[int]:
    """The territories of `asked` whose estimates would single out masked communes; keeps what perimeters are judged by
    until the next run."""
    wanted = asked.select("code", union="union_id")
    defined = pl.col("union").is_in(geography.ranked(workspace, _names(workspace), "union_id")["union_id"].implode())
    known, refused = refusing.official(own.communes, own.composition, own.published, wanted.filter(~defined))
    year, cog = edition.data_year, edition.cog_year or edition.data_year
    refresh(refusing.known_path(workspace, year), _fingerprint(workspace, year), lambda: known)
    older = refusing.older_versions(workspace, workspace.perimeters, cog)
    return {*refused, *refusing.of_perimeters(known, wanted.filter(defined), older)}


def _names(workspace: Workspace) -> pl.DataFrame:
    """The perimeters in the order in which they were defined: (union_id, order)."""
    names = [f"{PERIMETER}-{p.slug}" for p in in_order(workspace.perimeters)]
    order = range(1, len(names) + 1)
    return pl.DataFrame({"union_id": names, "order": order}, schema={"union_id": pl.String, "order": pl.UInt32})


def cog_years(workspace: Workspace) -> dict[int, int]:
    """year -> COG of its communal file."""
    return {year: e.cog_year or e.data_year for year, e in sorted(_editions(workspace, COMMUNAL).items())}


def _model(workspace: Workspace, year: int, models: dict[int, ShapeModel]) -> ShapeModel | None:
    """What communes with nine deciles teach: of the year, else of the nearest one that has enough (the earlier first);
    None where no year has, and no distribution is rebuilt."""
    detailed = set(_editions(workspace, DETAILED)) & set(years(workspace))
    for near in sorted(detailed, key=lambda y: (abs(y - year), y)):
        if near not in models:
            own = facts(workspace, near)
            if own.communes["d3"].count() < FEWEST_LEARNT:
                continue
            median = own.national_median or national_median(own.published)
            models[near] = learn(own.communes, own.published, own.composition, median, tuple(COVARIATES))
        return models[near]
    return None


def national_median(published: pl.DataFrame) -> float:
    """Median of the métropole where no file prints it: that of the mixture of its départements' deciles."""
    rows = published.filter(
        pl.col("level") == "DEP",
        ~pl.col("territory").str.starts_with("97"),
        pl.all_horizontal(pl.col(DECILES).is_not_null()),
    )
    shares = (rows["persons"] / rows["persons"].sum()).to_numpy()
    values = cumulative(np.log(rows.select(DECILES).to_numpy()), GRID[None])
    return float(np.exp(quantiles(shares[None] @ values, np.array([0.5]))[0, 0]))


def poverty_rates(own: Facts, asked: pl.DataFrame, median: float, refused: Collection[int]) -> pl.DataFrame:
    """Rows of methods.unions.estimate for the territories asked for, with `households`, and `refused` where an estimate
    would single out masked communes."""
    communes = own.communes.select(
        "code", "persons", "households", "d1", "d9", "rate", "rate_lower", "rate_upper", med="d5"
    )
    named = pl.concat_str("level", pl.lit("/"), "territory").alias("union")
    rates, parents = own.published.select(named, "rate"), own.composition.select(named, "code")
    line, wanted = 0.6 * median, asked.select("code", union="union_id")
    found = unions.estimate(
        communes,
        wanted,
        parents,
        rates,
        model=unions.fit(communes, parents, rates, line=line, step=RATE_STEP),
        quantile=measured().rate_quantile,
        line=line,
        step=RATE_STEP,
    )
    households = wanted.join(communes.select("code", "households"), on="code").group_by("union").agg("households")
    found = found.join(households.with_columns(pl.col("households").list.sum()), on="union")
    return found.with_columns(refused=pl.col("union").is_in(list(refused)))


def _of_distribution(rebuilt: pl.DataFrame) -> pl.DataFrame:
    """Rows of the quantities of TOLD: nothing under the producer's thresholds, nor where the estimate is refused (but
    the median of a territory whose members all have theirs)."""
    parts: list[pl.DataFrame] = []
    for quantity, step in TOLD.items():
        median = quantity == "d5"
        hidden = pl.col("refused") & ((pl.col("coverage") < ALL_MEDIANS) if median else True)
        reason = (
            pl.when(~(SOME if median else LARGE))
            .then(pl.lit("seuil_diffusion"))
            .when(hidden)
            .then(pl.lit(DIFFERENCE))
            .when(pl.col(f"{quantity}_grade").is_null())
            .then(pl.lit("couverture_insuffisante"))
        )
        rows = rebuilt.with_columns(reason=reason)
        told = pl.col("reason").is_null()
        parts.append(
            rows.select(
                quantity=pl.lit(quantity),
                territory_id="union_id",
                value=pl.when(told).then(_printed((pl.col(quantity) / step).round(), step)),
                lower=pl.when(told).then(_printed((pl.col(f"{quantity}_lower") / step).floor(), step)),
                upper=pl.when(told).then(_printed((pl.col(f"{quantity}_upper") / step).ceil(), step)),
                interval_kind=pl.when(told).then(pl.lit("ci90")),
                grade=pl.when(told).then(f"{quantity}_grade"),
                obs_status=pl.when(told).then(pl.lit("E")).otherwise(pl.lit("O")),
                reason="reason",
                weight=pl.when(told).then("persons"),
            )
        )
    return pl.concat(parts)


def _of_rates(rates: pl.DataFrame) -> pl.DataFrame:
    """Rows of the poverty rate at 60 %; a refused one keeps nothing but its reason."""
    told = ~pl.col("refused")
    return rates.select(
        quantity=pl.lit("tp60"),
        territory_id="union",
        value=pl.when(told).then(_printed((pl.col("value") / RATE_PRINTED).round(), RATE_PRINTED)),
        lower=pl.when(told).then(_printed((pl.col("lower") / RATE_PRINTED).floor(), RATE_PRINTED)),
        upper=pl.when(told).then(_printed((pl.col("upper") / RATE_PRINTED).ceil(), RATE_PRINTED)),
        interval_kind=pl.when(told).then("interval_kind"),
        grade=pl.when(told).then("grade"),
        obs_status=pl.when(told).then("obs_status").otherwise(pl.lit("O")),
        reason=pl.when(told).then("reason").otherwise(pl.lit(DIFFERENCE)),
        weight=pl.when(told & pl.col("value").is_not_null()).then("persons"),
    )


def _printed(steps: pl.Expr, step: float) -> pl.Expr:
    """A number of steps as it is read: 156 steps of 0.1 are 15.6, and not 15.600000000000001."""
    return (steps * step).round(6)
