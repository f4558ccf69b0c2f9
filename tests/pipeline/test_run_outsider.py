"""Published files in an outsider's hands: nothing withheld comes out of them; with a protection off, something does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
from vigie_runs import call

from bench.deposited import (
    SECONDARY,
    THRESHOLD,
    Release,
    Scene,
    attacked,
    drawn,
    hurried,
    learnt,
    marked_apart,
    truth_of,
    with_rates,
)
from warehouse.release import PARTNER

YEARS = range(2022, 2023)
SHOWN = ("san_sansmt", "san_c2s")
SAYS_WHERE = ("indicator_id", "territory_id", "year", "sex", "age", "source_ids")


def released(data: Path, small: dict[str, str], *patches: tuple[str, Callable[..., object]]) -> tuple[Scene, Release]:
    """A data folder in which a generated deposit was published, and its partners' edition."""
    scene = Scene(data, small)
    counts = drawn(scene.public, YEARS)
    scene.deposit(counts)
    hurried(scene, patches)
    folder = scene.public.with_name(PARTNER)
    return scene, Release(folder, truth_of(counts, folder))


def test_nothing_withheld_comes_out(copied: Callable[..., Path], small: dict[str, str]) -> None:
    scene, release = released(copied(), small)
    below, exact, tight = learnt(attacked([release], scene.contract, THRESHOLD))
    assert below > 50 and (exact, tight) == (0, 0)

    rows = pl.read_parquet(release.folder / "observation.parquet").filter(pl.col("indicator_id").is_in(SHOWN))
    withheld = rows.filter(pl.col("value").is_null(), ~pl.col("territory_id").str.starts_with("PER-"))
    assert withheld.height > below / 2
    assert withheld.drop(SAYS_WHERE).unique().height == 1, "nothing tells one withheld row from another"
    for _, group in rows.filter(pl.col("territory_id").str.starts_with("COM-")).group_by("indicator_id", "sex"):
        assert group["territory_id"].n_unique() == 50, "a row for every commune, whatever is withheld"

    files = pl.read_parquet(release.folder / "source_file.parquet")
    deposit = files.filter(pl.col("source_id") == scene.contract.source_id)
    assert deposit.select("url", "sha256", "bytes").rows() == [("deposit:cpam_assures-0001/2022", None, None)]
    assert files["sha256"].null_count() == files["bytes"].null_count() == deposit.height == 1

    rates = release.folder / "observation.parquet"
    kept = rates.read_bytes()
    marked_apart(release)
    assert learnt(attacked([release], scene.contract, THRESHOLD))[2] > below / 2, "two marks say what is small"
    rates.write_bytes(kept)
    with_rates(release)
    assert learnt(attacked([release], scene.contract, THRESHOLD))[1] > 0, "a rate gives its count"


def test_without_secondary_suppression_counts_come_out(copied: Callable[..., Path], small: dict[str, str]) -> None:
    scene, release = released(copied(), small, *SECONDARY)
    assert learnt(attacked([release], scene.contract, THRESHOLD))[1] > 0


def test_a_perimeter_does_not_tell_of_a_merged_commune(copied: Callable[..., Path], small: dict[str, str]) -> None:
    """« Avant fusion » has 99003, merged since: less 99012, the perimeter would tell its 4 persons."""
    scene = Scene(copied(), small)
    whole, part = ["F;900;120;100", "M;910;130;90"], ["F;60;2;13", "M;50;2;14"]
    held = {"99002": whole, "99003": part, "99004": whole, "99012": whole}
    rows = [f"{code};COM;2022;{row}" for code, rows in held.items() for row in rows]
    file = scene.data.parent / "depot.csv"
    file.write_text("\n".join(["code;niveau;annee;sexe;assures_17p;sans_mt;c2s", *rows]))
    done = call(scene.data, "deposit", str(file), "--contract", scene.contract.name, "--cog", "2014", **small)
    assert done.code == 0, done.text
    hurried(scene, ())
    shown = pl.read_parquet(scene.public.with_name(PARTNER) / "observation.parquet").filter(
        pl.col("indicator_id") == "san_sansmt", pl.col("value").is_not_null(), pl.col("sex") == "_T"
    )
    assert not {"PER-avant-fusion", "COM-99012"} <= set(shown["territory_id"])
