"""Drift: what moved between two editions of a dataset of figures, measured, then judged by thresholds.

Each measure is a gap, 0 where nothing moved, that a producer's ordinary year keeps small and an accident makes large:

| kind | a gap of | one row per |
|---|---|---|
| `levels` | 1 for a level that left | level |
| `gone`, `appeared` | share of the variables of the level that left, or that came | level |
| `rows` | how far the number of rows is from before (0.1: ten per cent) | level, variable |
| `regions` | the same inside each region (a region without a row: 1) | level, variable, region |
| `masks` | how far the share of rows without a value is from before (masks that vanish were read as figures) | same |
| `shape` | largest move of a decile, quartile or median, in widths from first to last decile before | same |
| `scale` | decimal logarithm of the median of after / before, territory by territory (a unit in thousands: 3) | same |
| `likeness` | 1 less the correlation of ranks of the same territories (two columns exchanged: about 1) | same |
| `sums` | decimal logarithm of the sum after / before, of variables that add up | level, variable, region |

Thresholds are written beside the source (`drift` in description.yaml), their defaults in sources/description.py;
`bench/drift.py` says how many alarms they raise on real history, and which accidents they catch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import polars as pl

from expectations.results import CheckResult, Run, result

SUITE = "drift"
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
FEWEST = 90  # territories from which a share, a distribution or a correlation means something
FEWEST_PAIRED = 20  # territories from which a factor does
FEWEST_IN_REGION = 20  # rows
MEASURED = ("level", "code", "year", "variable", "value")  # the columns that are read
NAMED = 6  # variables named in one line
GAPS = pl.Schema(
    {
        "kind": pl.String,
        "level": pl.String,
        "variable": pl.String,
        "region": pl.String,
        "before": pl.Float64,  # what was measured, to be read by a person
        "after": pl.Float64,
        "gap": pl.Float64,
    }
)
EXPECTED = {
    "levels": "les niveaux de territoires de l'édition précédente",
    "gone": "les variables de l'édition précédente",
    "appeared": "aucune variable de plus que dans l'édition précédente",
    "rows": "à peu près autant de lignes que dans l'édition précédente",
    "regions": "à peu près autant de lignes dans chaque région que dans l'édition précédente",
    "masks": "une part de valeurs absentes proche de celle de l'édition précédente",
    "shape": "une répartition (déciles, quartiles, médiane) proche de celle de l'édition précédente",
    "scale": "le même ordre de grandeur, territoire par territoire, que dans l'édition précédente",
    "likeness": "des territoires rangés à peu près comme dans l'édition précédente",
    "sums": "des sommes par région proches de celles de l'édition précédente",
}
# the two figures shown beside a gap
SHOWN = {
    "masks": "part absente",
    "rows": "lignes",
    "regions": "lignes",
    "shape": "médiane",
    "scale": "rapport médian",
    "likeness": "corrélation",
    "sums": "somme",
}


def gaps(
    before: pl.DataFrame, after: pl.DataFrame, additive: Collection[str], regions: Mapping[str, str]
) -> pl.DataFrame:
    """Every gap (GAPS) between two frames of figures (sources/schema.py, VALUES), of the last year of each variable.

    additive: the variables whose values add up. regions: département -> region, for the sums and rows by region.
    """
    old, new = _latest(before, regions), _latest(after, regions)
    both = _described(old).join(_described(new), on=["level", "variable"], suffix="_new")
    found = [_variables(old, new), *_by_variable(both), *_by_territory(old, new), *_by_region(old, new, additive)]
    return pl.concat([f.select(_columns(f)).cast(dict(GAPS)) for f in found])  # pyright: ignore[reportArgumentType]


def _columns(frame: pl.DataFrame) -> list[pl.Expr]:
    return [pl.col(c) if c in frame.columns else pl.lit(None).alias(c) for c in GAPS]


def _latest(figures: pl.DataFrame, regions: Mapping[str, str]) -> pl.DataFrame:
    """The rows of the last year of each variable, with the region of the territories that lie in one département."""
    overseas = pl.col("code").str.starts_with("97")
    departement = pl.when(overseas).then(pl.col("code").str.head(3)).otherwise(pl.col("code").str.head(2))
    inside = pl.col("level").is_in(["IRIS", "COM", "ARM", "DEP"])
    return (
        figures.select(pl.col("level", "variable").cast(pl.Categorical), "code", "year", "value")
        .filter(pl.col("year") == pl.col("year").max().over("level", "variable"))
        .with_columns(region=pl.when(inside).then(departement.replace_strict(dict(regions), default=None)))
    )


def _described(figures: pl.DataFrame) -> pl.DataFrame:
    """Rows, values, share without a value and quantiles of each variable of each level."""
    value = pl.col("value")
    return figures.group_by("level", "variable").agg(
        pl.len().alias("rows"),
        value.count().alias("values"),
        (value.null_count() / pl.len()).alias("masked"),
        *(value.quantile(q).alias(f"q{q}") for q in QUANTILES),
    )


def _variables(old: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """Kinds `levels`, `gone` and `appeared`, one row per level that has any; `variable` names the variables."""
    pairs = ["level", "variable"]
    had, has = old.select(pairs).unique(), new.select(pairs).unique()
    left = had.join(has, on="level", how="anti").select("level").unique()
    size = had.group_by("level").len("before")
    moved = {"gone": had.join(has, on=pairs, how="anti").join(has, on="level", how="semi")}
    moved["appeared"] = has.join(had, on=pairs, how="anti")
    named = [
        lost.sort("variable")
        .group_by("level", maintain_order=True)
        .agg(_names(pl.col("variable")), pl.len().alias("count"))
        .join(size, on="level", how="left")
        .select(
            "level", "variable", kind=pl.lit(kind), gap=pl.col("count") / pl.col("before").fill_null(pl.col("count"))
        )
        for kind, lost in moved.items()
    ]
    gone = left.select("level", pl.lit(None, pl.String).alias("variable"), kind=pl.lit("levels"), gap=pl.lit(1.0))
    return pl.concat([gone, *named])


def _names(variables: pl.Expr) -> pl.Expr:
    """The first names of a group as one text, and how many more there are."""
    more = pl.when(pl.len() > NAMED).then(pl.format(" et {} autre(s)", pl.len() - NAMED)).otherwise(pl.lit(""))
    return variables.cast(pl.String).head(NAMED).str.join(", ") + more


def _by_variable(both: pl.DataFrame) -> list[pl.DataFrame]:
    """Kinds `rows`, `masks` and `shape`."""
    width = pl.max_horizontal(pl.col("q0.9") - pl.col("q0.1"), 1e-9 + pl.col("q0.5").abs() * 1e-3)
    moves = [(pl.col(f"q{q}_new") - pl.col(f"q{q}")).abs() for q in QUANTILES]
    enough = both.filter(pl.min_horizontal("values", "values_new") >= FEWEST)

    def told(frame: pl.DataFrame, kind: str, column: str, gap: pl.Expr) -> pl.DataFrame:
        shown = {"before": pl.col(column), "after": pl.col(f"{column}_new")}
        return frame.select("level", "variable", kind=pl.lit(kind), gap=gap, **shown)

    return [
        told(both.filter(pl.col("rows") >= FEWEST), "rows", "rows", (pl.col("rows_new") / pl.col("rows") - 1).abs()),
        told(both.filter(pl.col("rows") >= FEWEST), "masks", "masked", (pl.col("masked_new") - pl.col("masked")).abs()),
        told(enough, "shape", "q0.5", pl.max_horizontal(*moves) / width),
    ]


def _by_territory(old: pl.DataFrame, new: pl.DataFrame) -> list[pl.DataFrame]:
    """Kinds `scale` and `likeness`: the same territories before and after, those that have a value in both."""
    key = ["level", "variable", "code"]
    paired = old.drop_nulls("value").join(new.drop_nulls("value"), on=key, suffix="_new")
    factor = pl.col("value_new") / pl.col("value")
    found = (
        paired.group_by("level", "variable")
        .agg(
            pl.len().alias("territories"),
            factor.filter((pl.col("value") != 0) & (factor > 0)).median().alias("factor"),
            pl.corr(pl.col("value").rank(), pl.col("value_new").rank()).alias("alike"),
        )
        .filter(pl.col("territories") >= FEWEST_PAIRED)
    )
    # no correlation of a column where every value is the same
    alike = found.filter(pl.col("territories") >= FEWEST, pl.col("alike").is_finite())
    return [
        found.drop_nulls("factor").select(
            "level", "variable", after="factor", kind=pl.lit("scale"), gap=pl.col("factor").log10().abs()
        ),
        alike.select("level", "variable", after="alike", kind=pl.lit("likeness"), gap=1 - pl.col("alike")),
    ]


def _by_region(old: pl.DataFrame, new: pl.DataFrame, additive: Collection[str]) -> list[pl.DataFrame]:
    """Kinds `regions` and `sums`, of the variables that both have at the level."""
    key = ["level", "variable", "region"]
    common = new.select("level", "variable").unique()

    def summed(figures: pl.DataFrame) -> pl.DataFrame:
        inside = figures.filter(pl.col("region").is_not_null())
        return inside.group_by(key).agg(pl.len().alias("before"), pl.col("value").sum().alias("total"))

    both = (
        summed(old)
        .filter(pl.col("before") >= FEWEST_IN_REGION)
        .join(common, on=["level", "variable"], how="semi")
        .join(summed(new).rename({"before": "after"}), on=key, how="left", suffix="_new")
        .with_columns(pl.col("after").fill_null(0))
    )
    added = both.filter(
        pl.col("variable").is_in(list(additive)), pl.col("total") > 0, pl.col("total_new") > 0, pl.col("after") > 0
    )
    return [
        both.with_columns(kind=pl.lit("regions"), gap=(pl.col("after") / pl.col("before") - 1).abs()),
        added.with_columns(
            kind=pl.lit("sums"),
            gap=(pl.col("total_new") / pl.col("total")).log10().abs(),
            before=pl.col("total"),
            after=pl.col("total_new"),
        ),
    ]


def judge(
    found: pl.DataFrame,
    thresholds: Mapping[str, tuple[float | None, float | None]],
    run: Run,
    *,
    edition: str,
    previous: str,
    breaks: Mapping[str | None, str],
) -> list[CheckResult]:
    """One result per kind of gap, of one edition (`source/edition`) against `previous`.

    thresholds: of each kind, the gap above which it is a warning, and above which nothing is published (None: never).
    breaks: variable (None: all) -> cause of a declared series break between the two; what it explains is no alarm.
    """
    named = pl.col("variable").is_in([b for b in breaks if b is not None]).fill_null(False)  # a level has none
    explained = pl.lit(None in breaks) | named
    results: list[CheckResult] = []
    for kind, (warn, stop) in thresholds.items():
        own = found.filter(pl.col("kind") == kind)
        # a gap that is no number is one that nothing bounds
        over = own.filter((pl.col("gap") > warn) | pl.col("gap").is_nan()) if warn is not None else own.clear()
        kept = over.filter(~explained).sort("gap", "level", "variable", "region", descending=[True, *[False] * 3])
        if kind in ("rows", "regions"):  # the variables of a level mostly move together: the farthest says it
            kept = kept.unique(["level", "region"], keep="first", maintain_order=True)
        critical = stop is not None and bool((kept["gap"] > stop).any())
        told = f"{own.height} mesure(s), {kept.height} au-delà du seuil {warn:g}" if warn is not None else "non jugé"
        if accounted := over.filter(explained).height:
            causes = " ; ".join(dict.fromkeys(breaks.values()))
            told += f", {accounted} expliquée(s) par une rupture déclarée ({causes})"
        results.append(
            result(
                run,
                check_id=f"drift_{kind}",
                suite=SUITE,
                table_name=edition,
                severity="critical" if critical else "warning",
                expected=f"{EXPECTED[kind]} ({previous})",
                observed=told,
                rows_failed=kept.height,
                sample=[_told(row) for row in kept.head(5).iter_rows(named=True)],
            )
        )
    return results


def _told(row: Mapping[str, str | float | None]) -> str:
    """One gap, for a person: where, and what was found."""
    where = "/".join(str(row[c]) for c in ("level", "variable", "region") if row[c] is not None)
    shown = [f"{row[c]:.6g}".replace(".", ",") for c in ("before", "after") if row[c] is not None]
    what = f" : {SHOWN[str(row['kind'])]} {' puis '.join(shown)}" if shown else ""
    return f"{where}{what} (écart {row['gap']:.3g})".replace(" ; ", ", ")
