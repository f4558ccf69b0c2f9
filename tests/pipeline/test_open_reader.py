"""A process that keeps the published file open and queries it in a loop while releases follow one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import release_sample as sample

from warehouse.release import Releases

READER = """
import json, sys, time
from pathlib import Path
import duckdb

data = Path(sys.argv[1])
database, parquet, stop = data / "vigie.duckdb", data / "releases/latest/public/observation.parquet", data / "stop"
asked = "SELECT release_id, (SELECT sum(value) FROM observation) FROM v_publication"
seen, followed, queries = set(), [], 0
with duckdb.connect(str(database), read_only=True) as connection:
    print("open", flush=True)
    while not stop.exists():
        seen.add(connection.execute(asked).fetchall()[0])
        rows = connection.execute(f"SELECT max(release_added), count(*) FROM read_parquet('{parquet}')").fetchall()
        if rows[0] not in followed:
            followed.append(rows[0])
        queries += 1
        time.sleep(0.002)
with duckdb.connect(str(database), read_only=True) as connection:
    after = connection.execute(asked).fetchall()[0]
print(json.dumps({"queries": queries, "seen": sorted(seen), "followed": followed, "after": after}))
"""


def version(number: int) -> pl.DataFrame:
    """The sample with every published value moved, so that each release is told apart by its sum."""
    return sample.observations().with_columns(pl.col("value") + number)


def test_three_publications_under_an_open_reader(tmp_path: Path) -> None:
    releases = Releases(tmp_path)
    first = sample.publish(releases, version(0))
    held = releases.database.open("rb")
    before = held.read()
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert reader.stdout is not None and reader.stdout.readline() == "open\n"
        for number in (1, 2, 3):
            last = sample.publish(releases, version(number), digest=str(number) * 64)
            time.sleep(0.1)  # the reader queries each of them
        (tmp_path / "stop").touch()
        out, errors = reader.communicate(timeout=60)
    finally:
        reader.kill()
    assert reader.returncode == 0, errors
    answer = json.loads(out)
    total = version(0)["value"].sum()
    # the open file never changes under its reader, not even where he has not read yet
    held.seek(0)
    assert held.read() == before
    held.close()
    assert answer["seen"] == [[first.release_id, total]]
    # the new one is there when it opens again
    assert answer["after"] == [last.release_id, version(3)["value"].sum()]
    # who follows `latest` meets every release, each whole
    assert [seen[0] for seen in answer["followed"]] == [r.release_id for r in releases.list()]
    assert {seen[1] for seen in answer["followed"]} == {first.rows}
    assert answer["queries"] > 20
    assert os.readlink(releases.root / "latest") == last.release_id
