"""One lock for the several processes of a run; which executor the settings choose."""

from __future__ import annotations

import sys
from pathlib import Path

import dagster as dg
import pytest

from pipelines.automation import in_use
from pipelines.executing import executor_of
from pipelines.settings import Settings
from pipelines.workspace import Workspace, WorkspaceError

RUN = "8910222a"


def workspace_of(data: Path, **settings: object) -> Workspace:
    return Workspace(Settings(data=data, executor="multiprocess", **settings))  # type: ignore[arg-type]


def refused(other: Workspace) -> bool:
    with pytest.raises(WorkspaceError, match="est déjà utilisé par le processus"):
        other.lock()
    return True


def test_the_steps_of_a_run_work_under_its_lock_and_nobody_else_does(tmp_path: Path) -> None:
    coordinator, first, second, other = (workspace_of(tmp_path) for _ in range(4))
    coordinator.share(RUN)
    with first.joined(RUN), second.joined(RUN):
        first.lock()  # what the stages do
        assert refused(other) and in_use(other)
    assert not first.locked and refused(other) and in_use(other)
    coordinator.unlock()
    other.lock()


def test_a_step_left_by_its_dead_run_keeps_the_folder_until_it_ends(tmp_path: Path) -> None:
    coordinator, step, other = (workspace_of(tmp_path) for _ in range(3))
    coordinator.share(RUN)
    with step.joined(RUN):
        coordinator.unlock()  # as the system does when a process is killed
        assert refused(other)
    other.lock()


@pytest.mark.parametrize("settings", [{"years": "2019"}, {"dask": "tcp://10.0.0.1:8786"}])
def test_a_step_of_other_settings_is_refused(tmp_path: Path, settings: dict[str, str]) -> None:
    """A worker of another machine has an environment of its own."""
    coordinator = workspace_of(tmp_path)
    coordinator.share(RUN)
    with pytest.raises(WorkspaceError, match="mêmes variables VIGIE_…"), workspace_of(tmp_path, **settings).joined(RUN):
        pass


def test_a_step_of_another_run_or_of_none_is_refused(tmp_path: Path) -> None:
    coordinator, step = workspace_of(tmp_path), workspace_of(tmp_path)
    with pytest.raises(WorkspaceError, match="trouvé celui du processus inconnu"), step.joined(RUN):
        pass
    coordinator.share("another")
    with pytest.raises(WorkspaceError, match=f"attendu le verrou de l'exécution {RUN}"), step.joined(RUN):
        pass
    coordinator.unlock()
    coordinator.lock()  # a run of one process
    with pytest.raises(WorkspaceError, match="est déjà utilisé"), step.joined(RUN):
        pass


def test_the_run_that_coordinates_keeps_what_the_terminal_locked(tmp_path: Path) -> None:
    terminal, coordinator, other = (workspace_of(tmp_path) for _ in range(3))
    terminal.lock()
    coordinator.take_over(terminal)
    coordinator.share(RUN)
    with workspace_of(tmp_path).joined(RUN):
        assert refused(other)


def test_one_process_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    assert executor_of(Workspace(Settings(data=tmp_path))) is dg.in_process_executor
    assert executor_of(workspace_of(tmp_path)).name == "multiprocess"


def test_dask_that_is_not_installed_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dagster_dask", None)
    with pytest.raises(WorkspaceError, match=r"pip install 'vigie\[dask\]'"):
        executor_of(Workspace(Settings(data=tmp_path, executor="dask")))
