"""An observatory's own territories in a whole run: published like the others, defined by a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
from vigie_runs import Built, call

from pipelines.judging import judged
from pipelines.settings import Settings
from pipelines.workspace import Workspace


def figures(built: Built, indicator: str) -> pl.DataFrame:
    rows = pl.scan_parquet(built.public / "observation.parquet").filter(
        pl.col("indicator_id") == indicator, pl.col("reference") == "_Z", pl.col("sex") == "_T", pl.col("age") == "_T"
    )
    return rows.collect()


def test_a_perimeter_has_the_figures_of_its_communes(built: Built) -> None:
    members = pl.read_parquet(built.public / "territory_member.parquet").filter(
        pl.col("parent_id") == "PER-deux-communes"
    )
    assert members.select("child_id", "share").rows() == [("COM-99011", 1.0), ("COM-99012", 1.0)]
    population = figures(built, "dem_pop")
    own = population.filter(pl.col("territory_id") == "PER-deux-communes", pl.col("year") == 2023)["value"].item()
    parts = population.filter(pl.col("territory_id").is_in(members["child_id"].implode()), pl.col("year") == 2023)
    assert own == parts["value"].sum() > 0
    allocataires = figures(built, "caf_alloc").filter(pl.col("territory_id") == "PER-deux-communes")
    low, count, high = allocataires.filter(pl.col("year") == 2022).select("lower", "value", "upper").row(0)
    assert low < count < high, "rounded to five by commune: the errors add up as bounds"


def test_a_part_of_a_merged_commune_is_known_only_before_the_merger(built: Built) -> None:
    share = pl.read_parquet(built.public / "territory_member.parquet").filter(pl.col("parent_id") == "PER-avant-fusion")
    assert share.select("child_id", "share").rows() == [("COM-99002", None), ("COM-99012", 1.0)]
    after = figures(built, "dem_pop").filter(pl.col("territory_id") == "PER-avant-fusion", pl.col("year") == 2023)
    assert after.select("value", "reason").row(0) == (None, "scission_sans_part")


def test_what_is_foreseen_is_what_the_run_refused(built: Built) -> None:
    workspace = Workspace(Settings(data=built.data))
    told = 0
    for perimeter in workspace.perimeters:
        foreseen = judged(workspace, perimeter)
        assert foreseen is not None
        rows = foreseen.filter(pl.col("figures").str.starts_with("Taux de pauvreté"))
        rates = figures(built, "rev_tp60").filter(pl.col("territory_id") == f"PER-{perimeter.slug}")
        refused = rates.filter(pl.col("reason") == "difference")["year"]
        assert set(rows.drop_nulls("reason")["year"]) == set(refused)
        told += len(refused)
    assert told, "one of the two has refused estimates"


def test_a_perimeter_of_which_nothing_could_be_told_is_refused(
    copied: Callable[..., Path], small: dict[str, str]
) -> None:
    data = copied()
    refused = call(data, "perimeter", "add", "Isolés", "--communes", "99006 99009", **small)
    assert refused.code == 1 and "Périmètre refusé" in refused.text and "au taux masqué" in refused.text
    assert not (data / "perimeters" / "isoles.yaml").exists()
    some = call(data, "perimeter", "add", "Deux et un", "--communes", "99011 99012 99015", **small)
    assert some.code == 0 and (data / "perimeters" / "deux-et-un.yaml").exists()
    (data / "releases" / "latest").unlink()
    first = call(data, "perimeter", "add", "Isolés", "--communes", "99006 99009", **small)
    assert first.code == 0 and "Rien n'est encore publié" in first.text
    assert (data / "perimeters" / "isoles.yaml").exists()


def test_the_commands(built: Built, copied: Callable[..., Path], small: dict[str, str]) -> None:
    data = copied()
    assert "PER-deux-communes" in call(data, "perimeter", "list", **small).text
    shown = call(data, "perimeter", "show", "Deux communes", **small).text
    assert "COM-99011" in shown and "DEP-99" in shown and "au taux masqué" in shown
    refused = call(data, "perimeter", "add", "Autre", "--communes", "99011 12345", **small)
    assert refused.code == 2 and "inconnus : 12345" in refused.text
    assert not (data / "perimeters" / "autre.yaml").exists()
    later = call(data, "perimeter", "add", "Avant fusion", "--communes", "EPCI-299900006, IRIS-969810101", **small)
    assert later.code == 0 and "version 2" in later.text and "IRIS" in later.text
    same = call(data, "perimeter", "add", "Deux communes", "--communes", "COM-99012 99011", **small)
    assert same.code == 0 and "a déjà cette composition" in same.text
    (data / "perimeters" / "faux.yaml").write_text("slug: faux\n")
    stopped = call(data, "run", **small)
    assert stopped.code == 2 and "faux.yaml" in stopped.text and "Acquisition" not in stopped.text
