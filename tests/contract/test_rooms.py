"""The arrows between rooms, and where the heavy imports may stand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("sources", "methods", "warehouse", "expectations", "pipelines")
MAY_IMPORT = {
    "sources": set(),
    "methods": set(),
    "warehouse": {"methods"},
    "expectations": {"warehouse"},
    "pipelines": {"sources", "methods", "warehouse", "expectations"},
}
ONLY_IN = {"dagster": "pipelines", "great_expectations": "expectations", "requests": "sources", "duckdb": None}


def imports(path: Path) -> list[tuple[str, int, bool]]:
    """(top-level package, line, whether at module level) of each import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(a.name.split(".")[0], node.lineno, id(node) in top) for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module.split(".")[0], node.lineno, id(node) in top))
    return found


def wrong_arrows(room: str, path: Path) -> list[str]:
    allowed = MAY_IMPORT[room] | {room}
    return [f"{path}:{line} {name}" for name, line, _ in imports(path) if name in ROOMS and name not in allowed]


@pytest.mark.parametrize("room", ROOMS)
def test_data_walks_from_left_to_right(room: str) -> None:
    assert [w for p in (ROOT / room).rglob("*.py") for w in wrong_arrows(room, p)] == []


def test_the_arrow_check_fails_on_an_import_against_the_stream(tmp_path: Path) -> None:
    spoiled = tmp_path / "bad.py"
    spoiled.write_text("from pipelines.settings import Settings\n")
    assert wrong_arrows("methods", spoiled)


@pytest.mark.parametrize("package", ["dagster", "great_expectations", "requests"])
def test_a_library_stays_in_its_room(package: str) -> None:
    elsewhere = [r for r in ROOMS if r != ONLY_IN[package]]
    found = [
        f"{path}:{line}"
        for room in elsewhere
        for path in (ROOT / room).rglob("*.py")
        for name, line, _ in imports(path)
        if name == package
    ]
    assert found == []


def test_great_expectations_is_never_imported_when_a_module_loads() -> None:
    at_load = [
        f"{path}:{line}"
        for path in (ROOT / "expectations").rglob("*.py")
        for name, line, top in imports(path)
        if name == "great_expectations" and top
    ]
    assert at_load == []


@pytest.mark.parametrize("room", ROOMS)
def test_each_folder_says_what_belongs_there(room: str) -> None:
    bare = [
        str(p.parent.relative_to(ROOT))
        for p in (ROOT / room).rglob("*.py")
        if not (p.parent / "__init__.py").exists()
        or not ast.get_docstring(ast.parse((p.parent / "__init__.py").read_text(encoding="utf-8")))
    ]
    assert sorted(set(bare)) == []
