"""A run that goes wrong (a spoiled file, a kill, a full disk) leaves the last release; the next one is good."""

from __future__ import annotations

import io
import os
import random
import resource
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
from few_sources import PROGRAM
from vigie_runs import Built, Run, begin, call, damage, leftovers

from pipelines.stages import told
from pipelines.workspace import FAILURES
from warehouse.duckdb_file import published_in
from warehouse.release import Releases

KILLS = int(os.environ.get("VIGIE_TEST_KILLS", "2"))  # more by hand
SEED = int(os.environ.get("VIGIE_TEST_SEED", str(time.time_ns() % 10**6)))  # moments change from one day to the next

FILOSOFI_2017 = "4507225/base-filosofi-2017_XLSX.zip", "base-cc-filosofi-2017.xlsx"
FILOSOFI_2018 = "5009236/base-cc-filosofi-2018_CSV_geo2021.zip", "cc_filosofi_2018_COM-geo2021.CSV"
DISTRIBUTION_2018 = "5009218/indic-struct-distrib-revenu-2018.zip", "FILO2018_DISP_DEP.csv"
POPULATIONS_2019 = "6011070/donnees_communes_2019.zip", "donnees_communes.csv"


def site(data: Path) -> Path:
    """The folder that stands for the producers' sites."""
    (done,) = (data / "stage" / "demo").glob("*/DONE")
    return done.parent


def change(data: Path, address: tuple[str, str], edit: Callable[[bytes], bytes]) -> None:
    """Publishes another content at the producer's address: one member of an archive is edited."""
    path = site(data) / "www.insee.fr" / "fr" / "statistiques" / "fichier" / address[0]
    path.write_bytes(with_member(path.read_bytes(), address[1], edit))


def with_member(archive: bytes, member: str, edit: Callable[[bytes], bytes]) -> bytes:
    """The archive with one of its members edited. The edit must change something."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as before, zipfile.ZipFile(written, "w") as after:
        for entry in before.infolist():
            content = before.read(entry)
            if entry.filename == member:
                edited = edit(content)
                assert edited != content
                content = edited
            after.writestr(entry, content)
    return written.getvalue()


def cell(line: int, column: str, text: str) -> Callable[[bytes], bytes]:
    """Edits one cell of a file separated by semicolons; lines are counted as a person does, the header is 1."""

    def edit(content: bytes) -> bytes:
        rows = [row.split(b";") for row in content.split(b"\r\n" if b"\r\n" in content else b"\n")]
        names = [name.decode("utf-8-sig") for name in rows[0]]
        rows[line - 1][names.index(column)] = text.encode()
        return (b"\r\n" if b"\r\n" in content else b"\n").join(b";".join(row) for row in rows)

    return edit


def fails(run: Run, data: Path, before: str, *said: str) -> None:
    """The run ended with 1 and these words; what was published is as it was."""
    assert run.code == 1, run.text
    assert "Traceback" not in run.text and "Blocking asset check" not in run.text, run.text
    for words in said:
        assert words in run.text
    assert f"Rien de nouveau n'a été publié (la publication {before} reste en place)" in run.text
    assert damage(data) == []
    assert os.readlink(data / "releases" / "latest") == before == published_in(data / "vigie.duckdb")
    assert call(data, "sql", "SELECT count(*) FROM v_pauvrete_commune").code == 0


# --- spoiled files


STALE = {
    ("dgcl_epci", "2025"): "raw",
    ("insee_filosofi_cc", "2017"): "core",
    ("insee_filosofi_cc", "2018-csv"): "core",
    ("insee_filosofi_distribution", "2018"): "core",
    ("insee_populations_legales", "2019"): "core",
}


def spoil_five(data: Path) -> None:
    """Four files that cannot be read, each for another reason, and a page instead of a workbook."""
    renamed = b'<sheet name="DEP"', b'<sheet name="Feuil4"'
    change(data, FILOSOFI_2017, lambda b: with_member(b, "xl/workbook.xml", lambda x: x.replace(*renamed)))
    change(data, FILOSOFI_2018, lambda b: b + b.splitlines(keepends=True)[5])
    change(data, DISTRIBUTION_2018, cell(3, "D118", "environ 9000"))
    change(data, POPULATIONS_2019, lambda b: b.replace(b";PMUN;", b";POPULATION;"))
    page = b"<!doctype html><title>Maintenance</title><p>Service indisponible"
    (site(data) / "www.collectivites-locales.gouv.fr/files/epcicom2025.xlsx").write_bytes(page)


def test_files_that_fail_are_named_and_their_last_good_editions_stand_in(
    copied: Callable[..., Path], small: dict[str, str]
) -> None:
    """Five of them at once: each is told, with its place; none hides nor stops the others. Put right, they are read
    again, and nothing is stale any more."""
    data = copied()
    before, producers = Releases(data).latest(), site(data)
    assert before is not None
    shutil.copytree(producers, data.parent / "good")
    spoil_five(data)
    run = call(data, "run", **small)
    assert run.code == 3 and "Traceback" not in run.text, run.text
    assert "5 édition(s) en échec" in run.text and "0 ajoutées, 0 modifiées, 0 retirées" in run.text
    for place, found in {
        "dgcl_epci 2025 (fichier epcicom2025.xlsx)": "HTML",
        "insee_filosofi_cc 2017 (fichier base-cc-filosofi-2017.xlsx) : attendu une feuille « DEP »": "Feuil4",
        "insee_filosofi_cc 2018-csv (fichier cc_filosofi_2018_COM-geo2021.CSV, ligne ": "en double",
        "insee_filosofi_distribution 2018 (fichier FILO2018_DISP_DEP.csv, ligne 3, colonne D118)": "environ 9000",
        "insee_populations_legales 2019 (fichier donnees_communes.csv, ligne 1)": "['PMUN']",
    }.items():
        assert place in run.text, run.text
        assert found in run.text.split(place)[1].split("À faire")[0]
    after = Releases(data).latest()
    assert after is not None and after.release_id != before.release_id
    assert after.path("observation").read_bytes() == before.path("observation").read_bytes()
    files, old = (pl.read_parquet(r.path("source_file")) for r in (after, before))
    stale = files.filter("stale").select("source_id", "edition", "stale_reason").rows()
    assert {(s, e): why for s, e, why in stale} == {key: FAILURES[step] for key, step in STALE.items()}
    assert files.drop("stale", "stale_reason").equals(old.drop("stale", "stale_reason")), "the bodies in use"
    touched = pl.read_parquet(after.path("coverage")).filter("stale")
    assert {2017, 2018, 2019} <= set(touched["year"]) and "rev_tp60" in touched["indicator_id"]
    assert "5 édition(s) en échec" in call(data, "status", "--offline", **small).text
    assert call(data, "sql", "--csv", "SELECT count(*) AS n FROM v_sources WHERE perimee").out.split() == ["n", "5"]

    shutil.rmtree(producers)
    (data.parent / "good").rename(producers)
    again = call(data, "run", **small)
    assert again.code == 0, again.text
    assert "insee_filosofi_cc 2018-csv" in again.text, "told as changed again"
    mended = Releases(data).latest()
    assert mended is not None and mended.input_digest == before.input_digest
    now = pl.read_parquet(mended.path("source_file"))
    assert now.drop("retrieved_at").equals(old.drop("retrieved_at")), "received again"
    assert damage(data) == [] == leftovers(data)


def test_a_source_that_was_never_good_is_absent_with_its_reason(
    copied: Callable[..., Path], small: dict[str, str]
) -> None:
    """All that was ever received of one source is gone, and what its address serves cannot be read."""
    data, small = copied("core", "stage/observation"), small | {"VIGIE_YEARS": "2019"}
    index = data / "raw" / "index.parquet"
    pl.read_parquet(index).filter(pl.col("source_id") != "insee_populations_legales").write_parquet(index)
    change(data, POPULATIONS_2019, lambda b: b.replace(b";PMUN;", b";POPULATION;"))
    run = call(data, "run", **small)
    assert run.code == 3 and "chiffres absents" in run.text, run.text
    latest = Releases(data).latest()
    assert latest is not None
    assert "insee_populations_legales" not in pl.read_parquet(latest.path("source_file"))["source_id"].to_list()
    missing = pl.read_parquet(latest.path("coverage")).filter(pl.col("reason_fr").str.contains("mais illisible"))
    assert missing.height and not missing["stale"].any()


def test_an_impossible_figure_stops_the_publication(copied: Callable[..., Path], small: dict[str, str]) -> None:
    """Readable, but no rate is above 100: the checks say which, and still say so afterwards."""
    data, whole, small = copied(), small, small | {"VIGIE_YEARS": "2018"}
    before = os.readlink(data / "releases" / "latest")
    path = site(data) / "www.insee.fr" / "fr" / "statistiques" / "fichier" / FILOSOFI_2018[0]
    good = path.read_bytes()
    change(data, (FILOSOFI_2018[0], "cc_filosofi_2018_DEP-geo2021.CSV"), cell(2, "TP6018", "140"))
    run = call(data, "run", **small)
    place = "insee_filosofi_cc/2018-csv/DEP/2018/tp60"
    fails(run, data, before, "au-dessus du maximum", place, "À faire : la publication est arrêtée")
    told = call(data, "check", **small)
    assert told.code == 1, "the candidate is kept for whoever wants to look"
    assert "en échec critique" in told.text and "rev_tp60" in told.text
    status = call(data, "status", "--offline", **small)
    assert "critical core_values.below_maximum" in status.text
    path.write_bytes(good)
    again = call(data, "run", **whole)
    assert again.code == 0 and "rien de nouveau n'est publié" in again.text, again.text
    assert "critical" not in call(data, "status", "--offline", **whole).text, "it is over"


# --- kill -9


def test_a_killed_run_leaves_a_whole_release_and_the_next_one_cleans_up(
    built: Built, copied: Callable[..., Path], small: dict[str, str]
) -> None:
    """At random moments spread over a run; each begins with what the last one left, to publish something else."""
    data = copied("raw", "core", "stage")
    moments = random.Random(SEED)
    print(f"VIGIE_TEST_SEED={SEED}")
    stopped, length = 0, built.run.seconds / 2  # about that of a run of one year
    for place in moments.sample(range(KILLS), KILLS):
        process = begin(data, "run", "--years", str(2018 + place), program=PROGRAM, **small)
        time.sleep(length * (place + moments.random()) / KILLS)
        stopped += process.poll() is None
        process.kill()
        process.communicate()
        assert damage(data) == [], f"VIGIE_TEST_SEED={SEED}, after {place}"
        assert call(data, "sql", "SELECT count(*) FROM v_pauvrete_commune").code == 0
    assert stopped > 0
    run = call(data, "run", "--years", "2020", recorded=True, **small)
    assert run.code == 0, run.text
    assert damage(data) == [] == leftovers(data)
    assert os.readlink(data / "releases" / "latest") == published_in(data / "vigie.duckdb")
    assert {p.name for p in (data / "releases").iterdir() if p.name.startswith(".")} == {".lock"}
    with sqlite3.connect(data / "dagster" / "history" / "runs.db") as runs:
        statuses = {status for (status,) in runs.execute("SELECT status FROM runs")}
    assert statuses <= {"SUCCESS", "FAILURE", "CANCELED"}, "a dead run must not look as if it were going on"


# --- a full disk


def test_a_disk_that_refuses_leaves_the_last_release(
    copied: Callable[..., Path], small: dict[str, str]
) -> None:
    """The DuckDB file, the largest one written, cannot grow to its size: as on a full disk."""
    data = copied()
    before = os.readlink(data / "releases" / "latest")
    room, (free, most) = (data / "vigie.duckdb").stat().st_size // 2, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
    try:
        run = call(data, "run", "--years", "2019", **small)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (free, most))
    fails(run, data, before, "vigie.duckdb")
    Releases(data).recover()  # what the next run begins with
    told.recover(data / "told", [before])
    assert damage(data) == [] == leftovers(data)
    assert os.readlink(data / "releases" / "latest") == before
