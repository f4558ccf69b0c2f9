"""`python -m bench.deposited [runs] [off]`: whole runs on the fictional country, a partner's counts deposited, and what
an outsider computes from the published files of every release (bench.outsider).

Prints Markdown. runs: 300 communes, five years, sexes: the deposit in the geography of 2024, then communes merged, the
deposit corrected, perimeters added, the threshold raised. off: 60 communes, releases published with one protection
switched off, by patching the code of this process only: the checks, which would stop them, are left out.
"""

from __future__ import annotations

import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

from bench.outsider import REST, inhabitants, intervals, joined, merged, told
from expectations.results import to_frame
from methods.tables import System, relations_of
from pipelines.perimeters import revised, save
from pipelines.settings import Settings
from pipelines.stages import acquisition, geography, observations, protecting, publication, settling
from pipelines.workspace import Workspace
from sources.deposits.contract import SHIPPED, Contract, contracts_of
from tests.vigie_runs import call, unlocked
from warehouse.catalogue import load_catalogue
from warehouse.release import PARTNER, Releases

CONTRACT = "cpam_assures"
FIGURES = ("assures_17p", "sans_mt", "c2s")
YEARS = range(2019, 2024)
LEVELS = ("COM", "EPCI", "DEP")  # of the deposit
THRESHOLD = 11  # of the contract
SMALL = {"VIGIE_DEMO_COMMUNES": "60", "VIGIE_YEARS": "2021-2023"}
SMALL_YEARS = range(2021, 2024)
Patch = tuple[str, Callable[..., Any]]  # a name of pipelines.stages.protecting, and what stands for it
Frames = tuple[pl.DataFrame, pl.DataFrame]


@dataclass(frozen=True)
class Release:
    """The folder of an edition, and every count of the deposit (cell, value) when it was published."""

    folder: Path
    truth: pl.DataFrame


def drawn(release: Path, years: Sequence[int] = YEARS, seed: int = 1) -> pl.DataFrame:
    """Insured persons of each commune: commune, year, sexe (F, M, X), FIGURES. Gamma-Poisson, many of them small; never
    more than the inhabitants."""
    rng = np.random.default_rng(seed)
    people = inhabitants(release).filter(pl.col("territory_id").str.starts_with("COM-")).sort("territory_id")
    size = people["inhabitants"].to_numpy()
    shape = (len(size), len(years), 2)
    adults = rng.binomial(np.floor(size * 0.45).astype(int)[:, None, None], 0.8, shape)
    share = rng.gamma(4.0, 0.03, (len(size), 1, 2))
    share = np.where(rng.random(share.shape) < 0.03, 0.97, np.minimum(share, 0.9))  # few are left, now and then
    without = rng.binomial(adults, share)
    covered = rng.binomial(adults, np.minimum(rng.gamma(2.0, 0.05, (len(size), 1, 2)), 0.9))
    place, year, sex = (index.ravel() for index in np.indices(shape))
    known = pl.DataFrame(
        {
            "commune": people["territory_id"].gather(place),
            "year": [years[int(y)] for y in year],
            "sexe": [("F", "M")[s] for s in sex],
            "assures_17p": adults.ravel(),
            "sans_mt": without.ravel(),
            "c2s": covered.ravel(),
        }
    )
    lost = known.filter(pl.col("sexe") == "F").with_columns(sexe=pl.lit("X"), assures_17p=0, sans_mt=0, c2s=0)
    return pl.concat([known, lost.cast(dict(known.schema))]).sort("commune", "year", "sexe")  # pyright: ignore[reportArgumentType]


def corrected(counts: pl.DataFrame, share: float = 0.05, seed: int = 2) -> pl.DataFrame:
    """The same counts, some of them one or two persons more: those that a partner found afterwards."""
    rng = np.random.default_rng(seed)
    more = np.where(rng.random(counts.height) < share, rng.integers(1, 3, counts.height), 0)
    return counts.with_columns(
        assures_17p=pl.col("assures_17p") + pl.Series(more), sans_mt=pl.col("sans_mt") + pl.Series(more)
    )


def file_of(counts: pl.DataFrame, release: Path) -> bytes:
    """The deposit: a row a territory of LEVELS, year and sex."""
    levels = [counts.rename({"commune": "territory_id"})]
    levels += [g.rename({"parent_id": "territory_id"}) for level, g in _above(counts, release) if level in LEVELS]
    rows = pl.concat([g.select("territory_id", "year", "sexe", *FIGURES) for g in levels])
    parts = pl.col("territory_id").str.split("-").list
    keys = [parts.last().alias("code"), parts.first().alias("niveau"), pl.col("year").alias("annee"), pl.col("sexe")]
    rows = rows.select(*keys, *FIGURES)
    return rows.write_csv(separator=";").encode()


def _above(counts: pl.DataFrame, release: Path) -> list[tuple[str, pl.DataFrame]]:
    """Level -> the sums of the communes of each of its territories."""
    members = pl.read_parquet(release / "territory_member.parquet").filter(pl.col("share") == 1)
    sums = counts.join(members, left_on="commune", right_on="child_id").group_by("parent_id", "year", "sexe")
    rows = sums.agg(pl.col(FIGURES).sum()).with_columns(level=pl.col("parent_id").str.split("-").list.first())
    return [(str(level), group.sort("parent_id", "year", "sexe")) for (level,), group in rows.group_by("level")]


def truth_of(counts: pl.DataFrame, release: Path) -> pl.DataFrame:
    """Every count of every territory of the release: cell (as the outsider names it), value."""
    above = [g.rename({"parent_id": "territory_id"}).drop("level") for _, g in _above(counts, release)]
    rows = pl.concat([counts.rename({"commune": "territory_id"}), *above], how="diagonal")
    long = rows.unpivot(list(FIGURES), index=["territory_id", "year", "sexe"])
    both = [long.with_columns(sexe=pl.lit("")), long.filter(pl.col("sexe") != "X")]
    suffix = pl.when(pl.col("sexe") == "").then(pl.lit("")).otherwise(pl.lit("_") + pl.col("sexe").str.to_lowercase())
    named = pl.concat(both).with_columns(variable=pl.col("variable") + suffix)
    wholes = named.filter(pl.col("variable").str.starts_with("assures_17p"))
    parts = named.filter(pl.col("variable").str.starts_with("sans_mt")).with_columns(value=-pl.col("value"))
    rest = pl.lit(f"{REST} sans_mt") + suffix
    named = pl.concat([named, *(frame.with_columns(variable=rest) for frame in (wholes, parts))])
    cell = pl.concat_str("variable", "territory_id", "year", separator="|").alias("cell")
    return named.group_by(cell).agg(pl.col("value").sum().cast(pl.Float64)).sort("cell")


def attacked(releases: Sequence[Release], contract: Contract, threshold: int) -> pl.DataFrame:
    """Every count below the threshold with what the outsider computes of it, all releases in hand: cell, value, width,
    at_least, lower, upper.

    threshold: the lowest there was. Where the population says more than it does, no more than that is asked.
    """
    versions = _versions([r.truth for r in releases])
    known = [told(r.folder, contract, v) for r, v in zip(releases, versions, strict=True)]
    known += [
        merged(old.folder, new.folder, before, after)
        for (old, before), (new, after) in pairwise(zip(releases, versions, strict=True))
    ]
    most = pl.concat([inhabitants(r.folder) for r in releases]).group_by("territory_id").agg(pl.all().max())
    cells = pl.concat(versions).unique().with_columns(territory_id=pl.col("cell").str.split("|").list.get(1))
    small = cells.filter(pl.col("value") < threshold).join(most, on="territory_id", how="left")
    width = pl.min_horizontal(pl.lit(float(threshold)), "inhabitants")
    name = pl.concat_str("cell", pl.lit("#"), "version").alias("cell")
    wanted = small.select(name, "value", width=width, at_least=width).sort("cell")
    return intervals(joined(known), wanted)


def _versions(truths: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """(cell, value, version) of each release: a figure that did not change keeps its version."""
    every = pl.concat([t.with_columns(release=pl.lit(i)) for i, t in enumerate(truths)])
    firsts = every.group_by("cell", "value").agg(pl.col("release").min()).sort("cell", "release")
    ranked = firsts.with_columns(version=pl.int_range(1, pl.len() + 1).over("cell")).drop("release")
    return [t.join(ranked, on=["cell", "value"]) for t in truths]


def learnt(found: pl.DataFrame) -> tuple[int, int, int]:
    """How many counts below the threshold there are, how many are found exactly, and how many are bounded tighter than
    asked (exact ones included). AssertionError where the outsider is wrong: he would prove nothing."""
    low, high = pl.col("lower"), pl.col("upper")
    tight = found.filter((high - low < pl.col("width")) | (high < pl.col("at_least")))
    assert tight.filter((pl.col("value") < low) | (pl.col("value") > high)).is_empty(), "the outsider is wrong"
    return found.height, tight.filter(low == high, pl.col("width") >= 1).height, tight.height


# --- whole runs


def headed(first: str) -> None:
    """The heading of a table of attacks, `first` saying what its lines are of."""
    told = (
        "effectifs",
        "sous le seuil",
        "trouvés exactement",
        "trop resserrés",
        "publication, s",
        "attaque, s",
        "mémoire",
    )
    row(first, *told)
    row(*["---"] * (1 + len(told)))


def runs() -> None:
    """Five releases by the `vigie` command, the outsider before each new one and all the older in hand."""
    headed("publication")
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder) / "data", {"VIGIE_DEMO_COMMUNES": "300", "VIGIE_YEARS": "2019-2023"})
        scene.run(VIGIE_COG="2024")
        counts = drawn(scene.public)
        scene.deposit(counts, VIGIE_COG="2024")
        scene.release("dépôt, géographie de 2024", counts, VIGIE_COG="2024")
        scene.release("fusion de communes", counts)
        counts = corrected(moved(counts, scene.public))
        scene.deposit(counts)
        scene.release("dépôt corrigé", counts)
        scene.perimeters()
        scene.release("20 périmètres", counts)
        scene.threshold(15)
        scene.release("seuil porté à 15", counts)


class Scene:
    """A data folder in which releases are made one after the other, and attacked together."""

    def __init__(self, data: Path, settings: dict[str, str]) -> None:
        self.data, self.settings = data, settings
        self.releases: list[Release] = []

    @property
    def public(self) -> Path:
        return (self.data / "releases" / "latest" / "public").resolve()

    @property
    def contract(self) -> Contract:
        return contracts_of(self.data / "contracts")[CONTRACT]

    def run(self, **more: str) -> None:
        """`vigie run`; raises where it publishes nothing."""
        done = call(self.data, "run", recorded=False, **self.settings, **more)
        if done.code:
            raise SystemExit(done.text)

    def deposit(self, counts: pl.DataFrame, **more: str) -> None:
        file = self.data.parent / "depot.csv"
        file.write_bytes(file_of(counts, self.public))
        cog = str(pl.read_parquet(self.public / "territory.parquet")["cog_year"].max())
        done = call(
            self.data,
            "deposit",
            str(file),
            "--contract",
            CONTRACT,
            "--cog",
            cog,
            recorded=False,
            **self.settings,
            **more,
        )
        if done.code:
            raise SystemExit(done.text)

    def release(self, label: str, counts: pl.DataFrame, **more: str) -> None:
        """Publishes, attacks, prints a line."""
        start = time.perf_counter()
        self.run(**more)
        self.attack(label, counts, time.perf_counter() - start)

    def attack(self, label: str, counts: pl.DataFrame, seconds: float = 0.0) -> None:
        """What an outsider learns of the releases so far, the last one being of these counts."""
        folder = self.public.with_name(PARTNER)
        self.releases.append(Release(folder, truth_of(moved(counts, folder), folder)))
        start = time.perf_counter()
        found = learnt(attacked(self.releases, self.contract, THRESHOLD))
        told = (str(self.releases[-1].truth.height), *map(str, found), f"{seconds:.0f}")
        row(label, *told, f"{time.perf_counter() - start:.0f}", memory())

    def perimeters(self, number: int = 20) -> None:
        """Sets of two to six neighbouring communes."""
        rng = np.random.default_rng(3)
        table = pl.read_parquet(self.public / "territory.parquet").filter(pl.col("level") == "COM").sort("territory_id")
        communes, cog = table["territory_id"].to_list(), int(table["cog_year"][0])
        for i in range(number):
            first = int(rng.integers(0, len(communes) - 6))
            members = communes[first : first + int(rng.integers(2, 7))]
            save(self.data / "perimeters", revised([], f"Essai {i}", cog, members, members, datetime(2026, 1, 1))[0])

    def threshold(self, units: int) -> None:
        """The owner asks for more: a contract of the observatory's own."""
        text = (SHIPPED / f"{CONTRACT}.yaml").read_text(encoding="utf-8")
        (self.data / "contracts").mkdir(exist_ok=True)
        changed = text.replace(f"threshold: {THRESHOLD}", f"threshold: {units}")
        (self.data / "contracts" / f"{CONTRACT}.yaml").write_text(changed, encoding="utf-8")


def moved(counts: pl.DataFrame, release: Path) -> pl.DataFrame:
    """The counts on the communes of a release, those merged since added up."""
    now = pl.read_parquet(release / "territory.parquet").filter(pl.col("level") == "COM")
    lost = counts.join(now, left_on="commune", right_on="territory_id", how="anti").select("commune").unique()
    if lost.is_empty():
        return counts
    moves = pl.read_parquet(release / "passage.parquet").filter(
        pl.col("from_year") == now["cog_year"][0] - 1, pl.col("to_year") == now["cog_year"][0]
    )
    names = moves.select(commune=pl.lit("COM-") + pl.col("from_code"), now=pl.lit("COM-") + pl.col("to_code"))
    placed = counts.join(names, on="commune", how="left").with_columns(commune=pl.coalesce("now", "commune"))
    return placed.group_by("commune", "year", "sexe").agg(pl.col(FIGURES).sum()).sort("commune", "year", "sexe")


# --- one protection off at a time


def off() -> None:
    """Each protection off in turn, on a small country."""
    headed("protection")
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "base"
        Scene(base, SMALL).run()
        for number, (label, play) in enumerate(OFF.items()):
            scene = Scene(Path(folder) / str(number) / "data", SMALL)
            shutil.copytree(base, scene.data, symlinks=True)
            play(scene, label)
            shutil.rmtree(scene.data.parent)


def once(*patches: Patch, edit: Callable[[Release], None] | None = None) -> Callable[[Scene, str], None]:
    """One release with these patches; `edit` changes its files afterwards."""

    def play(scene: Scene, label: str) -> None:
        counts = drawn(scene.public, SMALL_YEARS)
        scene.deposit(counts)
        hurried(scene, patches)
        if edit is not None:
            folder = scene.public.with_name(PARTNER)
            edit(Release(folder, truth_of(counts, folder)))
        scene.attack(label, counts)

    return play


def twice(change: Callable[[Scene, pl.DataFrame], pl.DataFrame], *patches: Patch) -> Callable[[Scene, str], None]:
    """Two releases, something changed in between; the second one with these patches."""

    def play(scene: Scene, label: str) -> None:
        counts = drawn(scene.public, SMALL_YEARS)
        scene.deposit(counts)
        hurried(scene, ())
        folder = scene.public.with_name(PARTNER)
        scene.releases.append(Release(folder, truth_of(counts, folder)))
        counts = change(scene, counts)
        hurried(scene, patches)
        scene.attack(label, counts)

    return play


def hurried(scene: Scene, patches: Sequence[Patch]) -> None:
    """Publishes what changed of the deposit, patched, without any check: figures of other sources are as they were."""
    variables = {"VIGIE_DATA": str(scene.data), **scene.settings}
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, variables))
        stack.enter_context(unlocked())
        for name, function in patches:
            stack.enter_context(mock.patch.object(protecting, name, function))
        workspace = Workspace(Settings())
        publication.prepare(workspace)
        source = workspace.sources[f"depot_{CONTRACT}"]
        acquisition.parse(workspace, source, None)
        for build in (geography.build_passage, geography.build_territories, geography.build_correspondences):
            build(workspace)
        settling.settle_source(workspace, source)
        for theme in sorted(
            {i.theme for i in load_catalogue().indicators if source.source_id in load_catalogue().sources_of(i)}
        ):
            observations.observe(workspace, theme)
        publication.build_candidate(workspace)
        for candidate in workspace.candidates:
            candidate.write("quality_check", to_frame([]))
        releases = Releases(scene.data)
        releases.keep(replace(next(s for s in releases.states() if s.refused is None), refused=()))
        publication.publish(workspace)


def unprotected(system: System, *_: Any) -> System:
    """Nothing withheld but what the rule says."""
    return system


def forgetting(*kinds: str) -> Patch:
    """Relations of these breakdowns left out of what is protected."""

    def relations(frame: pl.DataFrame, dimensions: Sequence[str], breakdowns: Any) -> pl.DataFrame:
        kept = {d: b.filter(~pl.col("breakdown").str.contains(rf"^({'|'.join(kinds)})")) for d, b in breakdowns.items()}
        return relations_of(frame, dimensions, kept)

    return "relations_of", relations


def remembering_nothing(cells: pl.DataFrame, relations: pl.DataFrame, *_: pl.DataFrame) -> Frames:
    """What earlier releases told is not known."""
    return cells, relations


def marked_apart(release: Release) -> None:
    """Figures withheld to protect others get a mark of their own (D), as SDMX has one."""
    rows = pl.read_parquet(release.folder / "observation.parquet")
    name = pl.when(pl.col("indicator_id") == "san_sansmt").then(pl.lit("sans_mt")).otherwise(pl.lit("c2s"))
    suffix = pl.when(pl.col("sex") == "_T").then(pl.lit("")).otherwise(pl.lit("_") + pl.col("sex").str.to_lowercase())
    cell = pl.concat_str(name + suffix, "territory_id", "year", separator="|")
    rows = rows.with_columns(cell=cell).join(
        release.truth.rename({"value": "true"}), on="cell", how="left", maintain_order="left"
    )
    of_deposit = pl.col("indicator_id").is_in(["san_sansmt", "san_c2s"]) & pl.col("value").is_null()
    mark = pl.when(of_deposit & (pl.col("true") >= THRESHOLD)).then(pl.lit("D")).otherwise("conf_status")
    rows.with_columns(conf_status=mark).drop("cell", "true").write_parquet(release.folder / "observation.parquet")


def with_rates(release: Release) -> None:
    """The rate of every withheld count is printed, to the tenth of a percent."""
    path = release.folder / "observation.parquet"
    rows = pl.read_parquet(path)
    of_deposit = (pl.col("indicator_id") == "san_c2s") & pl.col("value").is_null() & (pl.col("sex") == "_T")
    cell = pl.concat_str(pl.lit("c2s"), "territory_id", "year", separator="|")
    people = inhabitants(release.folder)
    rows = (
        rows.with_columns(cell=cell)
        .join(release.truth.rename({"value": "true"}), on="cell", how="left", maintain_order="left")
        .join(people, on="territory_id", how="left", maintain_order="left")
    )
    rate = (100 * pl.col("true") / pl.col("inhabitants")).round(1)
    told = {"lower": rate - 0.05, "upper": rate + 0.05, "weight": pl.col("inhabitants")}
    columns = {c: pl.when(of_deposit).then(e).otherwise(c) for c, e in told.items()}
    rows.with_columns(**columns).drop("cell", "true", "inhabitants").write_parquet(path)


def correct(scene: Scene, counts: pl.DataFrame) -> pl.DataFrame:
    again = corrected(counts, 0.2)
    scene.deposit(again)
    return again


def lower_threshold(scene: Scene, counts: pl.DataFrame) -> pl.DataFrame:
    (scene.data / "contracts" / f"{CONTRACT}.yaml").unlink()
    return counts


def add_perimeters(scene: Scene, counts: pl.DataFrame) -> pl.DataFrame:
    scene.perimeters()
    return counts


def without_parts(scene: Scene, label: str) -> None:
    """The contract that protection reads does not say that one column is part of another; the outsider knows it."""
    text = (SHIPPED / f"{CONTRACT}.yaml").read_text(encoding="utf-8")
    (scene.data / "contracts").mkdir(exist_ok=True)
    (scene.data / "contracts" / f"{CONTRACT}.yaml").write_text(
        text.replace(", part_of: assures_17p", ""), encoding="utf-8"
    )
    counts = drawn(scene.public, SMALL_YEARS)
    scene.deposit(counts)
    hurried(scene, ())
    (scene.data / "contracts" / f"{CONTRACT}.yaml").unlink()
    scene.attack(label, counts)


SECONDARY = [(name, unprotected) for name in ("protect", "protect_in_turn") if hasattr(protecting, name)]
NO_REGISTER: Patch = ("with_history", remembering_nothing)
OFF: dict[str, Callable[[Scene, str], None]] = {
    "toutes": once(),
    "sans secret secondaire": once(*SECONDARY),
    "sans les marges des EPCI": once(forgetting("EPCI/", "EPT/")),
    "sans les marges des départements et au-dessus": once(
        forgetting("DEP/", "ARR/", "REG/", "ZE/", "METRO/", "FRANCE/")
    ),
    "sans les marges de sexe": once(forgetting("sexe")),
    "sans le lien d'une partie à son tout": without_parts,
    "marques différentes": once(edit=marked_apart),
    "taux des effectifs masqués": once(edit=with_rates),
    "dépôt corrigé, registre tenu": twice(correct),
    "dépôt corrigé, sans registre": twice(correct, NO_REGISTER),
    "20 périmètres, contrôlés": twice(add_perimeters),
    "20 périmètres, sans contrôle": twice(add_perimeters, forgetting("PER/")),
}


def memory() -> str:
    """The most this process has held so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} Mo"


def row(*texts: str) -> None:
    print("|", " | ".join(texts), "|", flush=True)


if __name__ == "__main__":
    for part in sys.argv[1:] or ["runs", "off"]:
        {"runs": runs, "off": off}[part]()
