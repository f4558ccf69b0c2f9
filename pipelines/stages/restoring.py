"""What each release was made of (`recipes/`, private), and a past release made again from the raw store.

A recipe names bodies by their hash and holds what else decides a figure: choices, perimeters, contracts, how long the
index of the raw store and the register of deposits were (both only grow), and what was asked and did not come.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import polars as pl

from expectations.results import Run
from pipelines.stages import acquisition
from pipelines.stages.completing import bring_up_to_date
from pipelines.stages.tables import write_tables
from pipelines.stages.told import PUBLISHING
from pipelines.workspace import Workspace, WorkspaceError, replace_bytes
from sources.deposits.register import Register
from sources.raw_store import RawStoreError
from warehouse.catalogue import load_catalogue
from warehouse.package import SUMS, digest
from warehouse.release import CANDIDATE, EDITIONS, MODES, PUBLIC, Candidate, ReleaseError, Releases

DECIDING = ("polars", "pyarrow", "numpy", "scipy", "duckdb")  # whose version may change a byte
FAILURES_FOLDER = "failures"


@dataclass(frozen=True)
class Recipe:
    """What a release was made of. Digests are SHA-256; paths are relative to the release's folder."""

    release_id: str
    previous_id: str | None
    input_digest: str
    code_digest: str
    git_commit: str | None
    notice: str | None
    versions: dict[str, str]
    choices: dict[str, Any]  # years, cog, profile
    bodies: list[list[str]]  # source, edition, digest of the body that its figures were read from
    index_rows: int
    register_lines: int
    perimeters: dict[str, str]  # file name -> text
    contracts: dict[str, str]
    outcomes: dict[str, str]  # source/edition -> what became of it when it was last asked
    failures: dict[str, str]  # file below stage/failures -> text
    sums: dict[str, str]  # Parquet file -> digest, less the two tables that come after
    checked: list[str] | None = None  # identifier of the run and moment of the checks


@dataclass(frozen=True)
class Restored:
    """A release made again. `differing`: its files that are not, byte for byte, those that were published."""

    folder: Path
    compared: int
    differing: list[str]
    warnings: list[str]


def recipe_path(workspace: Workspace, release_id: str) -> Path:
    return workspace.data / "recipes" / f"{release_id}.json"


def told_path(workspace: Workspace, release_id: str) -> Path:
    """What the releases before it had told of partners' figures: protection depends on it."""
    return workspace.data / "recipes" / f"{release_id}.told"


def record(workspace: Workspace, candidates: Sequence[Candidate]) -> None:
    """Writes the recipe of a candidate whose tables are written."""
    first = candidates[0]
    told = told_path(workspace, first.release_id)
    told.parent.mkdir(mode=0o700, exist_ok=True)
    shutil.rmtree(told, ignore_errors=True)
    told.mkdir(mode=0o700)
    if workspace.told.exists():
        proposed = shutil.ignore_patterns("*.proposed", PUBLISHING)
        shutil.copytree(workspace.told, told, ignore=proposed, dirs_exist_ok=True)
    _keep(
        workspace,
        Recipe(
            first.release_id,
            first.previous.release_id if first.previous else None,
            first.input_digest,
            workspace.code_digest,
            first.git_commit,
            first.notice,
            _versions(),
            {name: getattr(workspace.settings, name) for name in ("years", "cog", "profile")},
            [[*key, sha256] for key, sha256 in _bodies(workspace).items()],
            workspace.store.history().height,
            len(Register(workspace.deposits_folder).events()),
            _texts(workspace.perimeters_folder),
            _texts(workspace.contracts_folder),
            acquisition.kinds(workspace),
            _texts(workspace.stage(FAILURES_FOLDER)),
            {f"{c.edition}/{p.name}": digest(p) for c in candidates for p in sorted(c.tables.glob("*.parquet"))},
        ),
    )


def record_checks(workspace: Workspace, release_id: str, run: Run) -> None:
    """Adds to a recipe when its checks were run: two columns of `quality_check` tell it."""
    if recipe_path(workspace, release_id).exists():
        recipe = read_recipe(workspace, release_id)
        _keep(workspace, replace(recipe, checked=[run.run_id, run.checked_at.isoformat()]))


def read_recipe(workspace: Workspace, release_id: str) -> Recipe:
    """Raises WorkspaceError where there is none, or one that cannot be read."""
    path = recipe_path(workspace, release_id)
    if not path.exists():
        raise WorkspaceError(
            f"{release_id} : attendu de quoi elle est faite, dans {path} ; trouvé rien. À faire : choisir parmi "
            f"{sorted(p.stem for p in path.parent.glob('*.json'))} ; une publication d'avant ces fichiers ne peut pas "
            "être refaite, mais peut être remise en vigueur (vigie release rollback)."
        )
    try:
        return Recipe(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise WorkspaceError(
            f"{path} : attendu de quoi une publication est faite ; trouvé « {error} ». À faire : restaurer ce fichier "
            f"d'une sauvegarde, ou le supprimer : {release_id} ne pourra plus être refaite."
        ) from error


def restore(workspace: Workspace, release_id: str, into: Path) -> Restored:
    """Makes a past release again in `into`/<identifier>, from the raw store, and compares it with what was published.

    The release before it, which says when each value was first seen, is made again as well where it is gone. Raises
    WorkspaceError when something it was made of is gone, naming it, or when `into` holds it already.
    """
    recipe = read_recipe(workspace, release_id)
    target = into / release_id
    if target.exists():
        raise WorkspaceError(f"{target} existe déjà ; attendu un dossier libre. À faire : --into, ou l'enlever.")
    refuse_what_is_gone(workspace, recipe)
    scratch = into / f".{release_id}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        again = _as_then(workspace, recipe, scratch / "data")
        _put_before(workspace, again, recipe.previous_id)
        bring_up_to_date(again)
        _write_texts(again.stage(FAILURES_FOLDER), recipe.failures)  # reading only the good bodies, none failed
        again.unlock()
        warnings = _differences_of_inputs(again, recipe)
        built = _tables_again(workspace, again, recipe)
        into.mkdir(parents=True, exist_ok=True)
        built.chmod(MODES[PUBLIC][0])
        built.rename(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    compared, differing = _compared(workspace, recipe, target)
    return Restored(target, compared, differing, warnings)


def refuse_what_is_gone(workspace: Workspace, recipe: Recipe) -> None:
    """Raises WorkspaceError naming each body of a recipe that is no longer whole in the raw store, and why."""
    gone: list[str] = []
    for source_id, edition, sha256 in recipe.bodies:
        try:
            workspace.store.read(sha256, verify=True)
        except RawStoreError:
            why = "dépôt effacé ou perdu" if source_id.startswith("depot_") else "perdu ou altéré"
            gone.append(f"{source_id} {edition} ({why} : {sha256[:12]}…)")
    if gone:
        raise WorkspaceError(
            f"{recipe.release_id} : attendu les {len(recipe.bodies)} fichiers dont elle est faite ; il manque "
            f"{', '.join(gone)}. À faire : restaurer le dossier raw d'une sauvegarde ; ce qu'un partenaire a confié et "
            "dont la conservation est finie ne revient pas : cette publication ne peut plus être refaite en entier."
        )


# --- the folder as it was


def _as_then(workspace: Workspace, recipe: Recipe, data: Path) -> Workspace:
    """A data folder that holds what the release was made of, and nothing that came since."""
    data.mkdir(parents=True, mode=0o700)
    again = Workspace(workspace.settings.model_copy(update=recipe.choices | {"data": data}), workspace.progress)
    again.stage().mkdir(mode=0o700)
    raw = data / "raw"
    raw.mkdir()
    (raw / "sha256").symlink_to(workspace.store.bodies.absolute())
    used = pl.DataFrame(recipe.bodies, schema=["source_id", "edition", "sha256"], orient="row")
    history = workspace.store.history().head(recipe.index_rows)
    history.join(used, on=used.columns, how="semi", maintain_order="left").write_parquet(raw / "index.parquet")
    _write_texts(again.perimeters_folder, recipe.perimeters)
    _write_texts(again.contracts_folder, recipe.contracts)
    register = Register(workspace.deposits_folder).path
    if register.exists():
        lines = register.read_text(encoding="utf-8").splitlines(keepends=True)[: recipe.register_lines]
        replace_bytes(again.deposits_folder / register.name, "".join(lines).encode("utf-8"))
    told = told_path(workspace, recipe.release_id)  # of an old recipe, which has none: what has been told to this day
    if (then := told if told.exists() else workspace.told).exists():
        shutil.copytree(then, again.told)
    replace_bytes(again.stage(acquisition.KINDS), json.dumps(recipe.outcomes).encode())
    return again


def _put_before(workspace: Workspace, again: Workspace, release_id: str | None) -> None:
    """The release that it came after, published in the folder: as it was published, or made again."""
    root = again.data / "releases"
    root.mkdir()
    if release_id is None:
        return
    try:
        (root / release_id).symlink_to(Releases(workspace.data).get(release_id).folder)
    except ReleaseError:
        restore(workspace, release_id, root)
    (root / "latest").symlink_to(release_id)


def _differences_of_inputs(again: Workspace, recipe: Recipe) -> list[str]:
    """What is not as it was (French): the code, the libraries, an edition that could not be read again."""
    warnings: list[str] = []
    if again.code_digest != recipe.code_digest:
        commit = recipe.git_commit or "inconnue"
        warnings.append(
            f"le programme n'est plus celui de cette publication (version {commit}) : pour la refaire à l'identique, "
            f"git worktree add ../vigie-alors {commit}, y faire make setup et relancer cette commande"
        )
    now = _versions()
    changed = [f"{n} {v} -> {now.get(n, '?')}" for n, v in recipe.versions.items() if now.get(n) != v]
    if changed:
        warnings.append(f"versions différentes : {', '.join(changed)}")
    made = _bodies(again)
    lost = [f"{s} {e}" for s, e, sha256 in recipe.bodies if made.get((s, e)) != sha256]
    if lost:
        warnings.append(f"éditions qui n'ont pas pu être relues, ou dépôts dont la conservation est finie : {lost}")
    return warnings


# --- the tables


def _tables_again(workspace: Workspace, again: Workspace, recipe: Recipe) -> Path:
    """Every edition of the release, complete and sealed, in a folder of the scratch workspace."""
    from pipelines.stages.publication import check_edition

    folder = again.data / "releases" / f"{CANDIDATE}{recipe.release_id}"
    before = Releases(again.data).latest()
    public = Candidate(folder, before, recipe.input_digest, recipe.git_commit, recipe.notice).begin()
    editions = sorted({name.split("/")[0] for name in recipe.sums}, key=list(EDITIONS).index)
    candidates = [public, *(public.beside(e) for e in editions[1:])]
    run_id, at = recipe.checked or ["", "1970-01-01T00:00:00+00:00"]
    for candidate in candidates:
        write_tables(again, load_catalogue(), candidate)
        candidate.loaded()  # a thread writes there
        check_edition(again, candidate, Run(run_id, datetime.fromisoformat(at)))
        candidate.created_at = _created_at(workspace, recipe.release_id, candidate.edition)
        candidate.seal()
    shutil.rmtree(folder / "database")
    return folder


def _created_at(workspace: Workspace, release_id: str, edition: str) -> datetime | None:
    """When an edition was sealed, as it says itself, or as those that came after it do."""
    for release in reversed(Releases(workspace.data).list()):
        table = release.folder / edition / "release.parquet"
        if table.exists():
            found = pl.read_parquet(table).filter(pl.col("release_id") == release_id)["created_at"]
            if found.len():
                return found[0]
    return None


def _compared(workspace: Workspace, recipe: Recipe, target: Path) -> tuple[int, list[str]]:
    """How many files were compared with what was published, and those that differ."""
    published = workspace.data / "releases" / recipe.release_id
    expected = dict(recipe.sums)
    for edition in EDITIONS:
        sums = published / edition / SUMS
        lines = sums.read_text(encoding="utf-8").splitlines() if sums.exists() else []
        expected |= {f"{edition}/{name}": sha256 for sha256, _, name in (row.partition("  ") for row in lines)}
    differing = [n for n, sha256 in expected.items() if not (target / n).exists() or digest(target / n) != sha256]
    return len(expected), sorted(differing)


def _bodies(workspace: Workspace) -> dict[tuple[str, str], str]:
    """(source, edition) -> digest of the body that its core frame was read from."""
    held = ((s, e) for s in workspace.sources.values() for e in workspace.present(s))
    return {(s.source_id, e.edition): workspace.raw_sha256(s, e) for s, e in held}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in DECIDING}


def _texts(folder: Path) -> dict[str, str]:
    """Every file below a folder, by relative path."""
    paths: Iterable[Path] = sorted(folder.rglob("*")) if folder.exists() else ()
    return {str(p.relative_to(folder)): p.read_text(encoding="utf-8") for p in paths if p.is_file()}


def _write_texts(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        replace_bytes(folder / name, text.encode("utf-8"))


def _keep(workspace: Workspace, recipe: Recipe) -> None:
    path = recipe_path(workspace, recipe.release_id)
    replace_bytes(path, json.dumps(asdict(recipe), ensure_ascii=False, indent=1).encode("utf-8"))
