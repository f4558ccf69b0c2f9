"""Information lost to confidentiality: `python -m bench.loss RELEASE`, the folder of a release of real files.

Prints the tables of docs/perte-information.md: what the observatory's own protection would withhold of counts drawn on
the real communes of a département, then what producers' masks withhold of the release and what estimates put in place.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from bench.disclosure import protected, row
from methods.audit import audit
from methods.suppression import Rule, primary_counts
from methods.tables import HIDDEN, cells_of, identified, relations_of, system_of

DEPARTEMENT = "DEP-91"
DIMENSIONS = ("territory", "sex")
PREVALENCES, THRESHOLDS, DRAWS = (0.002, 0.01, 0.05, 0.2), (5, 11), 3
SIZES = {
    "communes < 1 000 hab.": (0, 1_000),
    "communes 1 000 à 10 000": (1_000, 10_000),
    "communes > 10 000": (10_000, 1e9),
}
CLASSES = (*SIZES, "EPCI")
MASKED, SHOWN = 15, 9  # indicators shown in the second and third tables


def communes(release: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Communes of the département, their population, their EPCI; every pair (parent, child) that a table would have.

    An EPCI that goes beyond the département has a child that nobody knows: what is left of it.
    """
    territories = pl.read_parquet(release / "territory.parquet").filter(pl.col("level") == "COM")
    members = pl.read_parquet(release / "territory_member.parquet").select(parent="parent_id", child="child_id")
    inside = members.filter(pl.col("parent") == DEPARTEMENT)
    own = territories.join(inside, left_on="territory_id", right_on="child").filter(pl.col("population") > 0)
    epci = members.filter(
        pl.col("parent").str.starts_with("EPCI-"), pl.col("child").is_in(own["territory_id"].implode())
    )
    beyond = members.join(epci.select("parent").unique(), on="parent").join(epci, on=["parent", "child"], how="anti")
    rest = beyond.select("parent").unique().with_columns(child=pl.lit("reste ") + pl.col("parent"))
    pairs = pl.concat(
        [inside.join(own, left_on="child", right_on="territory_id", how="semi").select("parent", "child"), epci, rest]
    )
    return own.select("territory_id", "population"), pairs.with_columns(breakdown=pl.col("parent").str.head(3))


def drawn(own: pl.DataFrame, pairs: pl.DataFrame, prevalence: float, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cells and relations of a count that `prevalence` of the persons have, unequally (Gamma-Poisson, coefficient of
    variation of 0.5 between communes), by sex, at the three levels."""
    rng = np.random.default_rng(seed)
    rate = prevalence * rng.gamma(4.0, 0.25, (own.height, 1))
    counts = rng.poisson(rate * own["population"].to_numpy()[:, None] / 2 * np.array([1.04, 0.96]))
    leaves = pl.DataFrame({"territory": own["territory_id"], "F": counts[:, 0], "M": counts[:, 1]})
    leaves = leaves.unpivot(index="territory", variable_name="sex").with_columns(pl.col("value").cast(pl.Float64))
    whole = pairs.filter(
        ~pl.col("parent").is_in(pairs.filter(pl.col("child").str.starts_with("reste"))["parent"].implode())
    )
    above = leaves.join(whole, left_on="territory", right_on="child").select(
        territory="parent", sex="sex", value="value"
    )
    frame = pl.concat([leaves, above.group_by("territory", "sex").agg(pl.col("value").sum())])
    total = frame.group_by("territory").agg(pl.col("value").sum()).with_columns(sex=pl.lit("T"))
    frame = identified(pl.concat([frame, total.select(frame.columns)]).sort(DIMENSIONS), DIMENSIONS)
    sexes = pl.DataFrame({"breakdown": "sexe", "parent": "T", "child": ["F", "M"]})
    return cells_of(frame), relations_of(frame, DIMENSIONS, {"territory": pairs, "sex": sexes})


def classes(cells: pl.DataFrame, own: pl.DataFrame) -> pl.Series:
    """What each cell is of, as the table says it."""
    population = cells.join(own, left_on="territory", right_on="territory_id", how="left", maintain_order="left")
    kind = (
        pl.when(pl.col("territory").str.starts_with("COM-"))
        .then(None)
        .otherwise(pl.col("territory").str.split("-").list.first())
    )
    for label, (low, high) in SIZES.items():
        kind = pl.when(pl.col("population").is_between(low, high, closed="left")).then(pl.lit(label)).otherwise(kind)
    return population.select(kind.alias("class"))["class"]


def own_protection(release: Path) -> None:
    """Share of cells and of value withheld, by prevalence, threshold and class of territories; draws averaged."""
    own, pairs = communes(release)
    row("part de la population", "seuil", *(f"{name} : {what}" for name in CLASSES for what in ("cellules", "valeur")))
    row(*["---"] * (2 + 2 * len(CLASSES)))
    for prevalence in PREVALENCES:
        for threshold in THRESHOLDS:
            done, bad = [], 0
            for seed in range(DRAWS):
                cells, relations = drawn(own, pairs, prevalence, seed)
                judged = protected(primary_counts(cells, Rule(threshold)), relations)
                bad += (~audit(system_of(judged, relations))["ok"]).sum()
                done.append(judged.with_columns(classes(judged, own)))
            shares = (
                pl.concat(done)
                .group_by("class")
                .agg(
                    masked=pl.col("status").is_in(HIDDEN).mean(),
                    secondary=(pl.col("status") == "D").mean(),
                    value=pl.col("value").filter(pl.col("status").is_in(HIDDEN)).sum() / pl.col("value").sum(),
                )
            )
            told = {line["class"]: line for line in shares.iter_rows(named=True)}
            lines = (told[name] for name in CLASSES)
            pairs_of = (
                (f"{percent(line['masked'])} ({percent(line['secondary'])})", percent(line["value"])) for line in lines
            )
            row(percent(prevalence), f"{threshold}", *(text for pair in pairs_of for text in pair))
            if bad:
                raise SystemExit(f"{bad} cellule(s) mal protégée(s)")


def percent(share: float) -> str:
    """A share as French readers write it."""
    return f"{100 * share:.1f} %".replace(".", ",")


def producers_masks(release: Path) -> None:
    """Of the communes' figures of the last year of each indicator: what its producer's secrecy leaves out."""
    figures = pl.scan_parquet(release / "observation.parquet").filter(
        pl.col("territory_id").str.starts_with("COM-"), pl.col("sex") == "_T", pl.col("reference") == "_Z"
    )
    territories = pl.scan_parquet(release / "territory.parquet").select("territory_id", "population")
    secret = pl.col("reason").is_in(["secret", "borne", "seuil_diffusion"]).fill_null(False)
    lines = (
        figures.join(territories, on="territory_id")
        .filter(pl.col("age") == "_T", pl.col("year") == pl.col("year").max().over("indicator_id"))
        .group_by("indicator_id", "year")
        .agg(
            communes=pl.len(),
            masked=secret.mean(),
            people=pl.col("population").filter(secret).sum() / pl.col("population").sum(),
            told=pl.col("value").is_not_null().mean(),
        )
        .filter(pl.col("masked") > 0.01, pl.col("communes") > 1000)
        .group_by("year", "masked", "people", "told")
        .agg(names=pl.lit("`") + pl.col("indicator_id").sort().str.join("`, `") + pl.lit("`"))
        .sort("people", "names", descending=[True, False])
        .collect()
    )
    row("indicateurs", "année", "communes masquées", "habitants de ces communes", "communes avec une valeur")
    row(*["---"] * 5)
    for line in lines.head(MASKED).iter_rows(named=True):
        shares = (percent(line[c]) for c in ("masked", "people", "told"))
        row(line["names"], f"{line['year']}", *shares)


def put_in_place(release: Path) -> None:
    """Estimates published where producers publish nothing: how many, and half the width of their interval."""
    figures = pl.scan_parquet(release / "observation.parquet").filter(
        pl.col("interval_kind") == "ci90", pl.col("value").is_not_null(), pl.col("sex") == "_T"
    )
    lines = (
        figures.filter(pl.col("indicator_id").str.starts_with("rev_"))
        .with_columns(level=pl.col("territory_id").str.split("-").list.first())
        .group_by("indicator_id", "level")
        .agg(
            pl.len(),
            half=((pl.col("upper") - pl.col("lower")) / 2).median(),
            relative=((pl.col("upper") - pl.col("lower")) / 2 / pl.col("value").abs()).median(),
        )
        .filter(pl.col("level").is_in(["EPCI", "ARR", "ZE", "COM"]))
        .sort("len", descending=True)
        .collect()
    )
    row("indicateur", "niveau", "valeurs estimées", "demi-intervalle médian", "en part de la valeur")
    row(*["---"] * 5)
    for line in lines.head(SHOWN).iter_rows(named=True):
        half = f"{line['half']:.3g}"
        row(
            f"`{line['indicator_id']}`",
            line["level"],
            f"{line['len']}",
            half.replace(".", ","),
            percent(line["relative"]),
        )


if __name__ == "__main__":
    for part in (own_protection, producers_masks, put_in_place):
        part(Path(sys.argv[1]))
        print()
