"""Every stored file is read by a declared source, or docs/sources-non-lues.md says why not."""

from __future__ import annotations

import csv
from pathlib import Path
from urllib.parse import urlsplit

from sources.description import load_sources

UNREAD = Path(__file__).parents[2] / "docs" / "sources-non-lues.md"


def test_every_stored_file_is_declared_or_explained(mirror: Path) -> None:
    declared = {e.url for s in load_sources().values() for e in s.editions}
    explained = UNREAD.read_text(encoding="utf-8")
    with (mirror / "manifest.csv").open(encoding="utf-8", newline="") as file:
        urls = [row["url"] for row in csv.DictReader(file)]
    left = [u for u in urls if u not in declared and f"`{Path(urlsplit(u).path).name}`" not in explained]
    assert len(urls) > 100
    assert left == []
