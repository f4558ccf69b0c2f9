"""Where the steps of a run are executed: in its own process, in several of this machine, or on Dask's workers.

With several processes, that of the run coordinates: it holds the data folder, and its steps work under its lock. What
they hand over to one another is on disk, and what they tell is in the run's events.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from pipelines.workspace import NOT_RUN, Workspace, WorkspaceError


def executor_of(workspace: Workspace) -> dg.ExecutorDefinition:
    """The executor that the settings choose. WorkspaceError says which package is missing."""
    match workspace.settings.executor:
        case "in_process":
            return dg.in_process_executor
        case "multiprocess":
            copies = {"forkserver": {"preload_modules": ["pipelines.forking"]}}
            config = {"retries": {"enabled": {}}, "max_concurrent": _workers(workspace), "start_method": copies}
            return _coordinated(workspace, dg.multiprocess_executor, config)
        case "dask":
            return _coordinated(workspace, _dask(), {"cluster": _cluster(workspace)})


@contextmanager
def under_lock(workspace: Workspace, context: dg.OpExecutionContext | dg.AssetExecutionContext) -> Iterator[None]:
    """The data folder, for a step: taken until this process ends, or that of its run joined.

    Raises WorkspaceError when it is held for something else.
    """
    if workspace.settings.executor == "in_process" or workspace.locked:
        workspace.lock()
        yield
    else:
        _refuse_after_failure(context)
        with workspace.joined(context.run_id):
            yield


def _refuse_after_failure(context: dg.OpExecutionContext | dg.AssetExecutionContext) -> None:
    """Dagster's executor for Dask goes on with what comes after a step that failed; the others do not."""
    before = context.get_step_execution_context().step.get_execution_dependency_keys()
    events = context.instance.all_logs(context.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    if failed := sorted(before & {str(event.step_key) for event in events}):
        raise dg.Failure(f"{NOT_RUN} : en échec avant elle, {', '.join(failed)}", allow_retries=False)


def _coordinated(workspace: Workspace, there: dg.ExecutorDefinition, config: dict[str, Any]) -> dg.ExecutorDefinition:
    """An executor of several processes, whose runs hold the data folder from their first step to their last."""
    make, make_here = there.executor_creation_fn, dg.in_process_executor.executor_creation_fn
    assert make is not None and make_here is not None

    @dg.executor(name=there.name, requirements=dg.multiple_process_executor_requirements())
    def coordinated(context: dg.InitExecutorContext) -> dg.Executor:
        executor = make(context._replace(executor_def=there, executor_config=config))
        here = make_here(context._replace(executor_config={"retries": {"enabled": {}}}))
        everywhere: Callable[..., Iterator[dg.DagsterEvent]] = executor.execute

        def execute(plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
            run = plan_context.dagster_run
            if run.asset_selection or run.parent_run_id:
                # of a few assets, or going on with a failed run: steps that nothing orders would run at once, and Dask
                # would take a step whole where a part of it is asked
                workspace.lock()
                yield from here.execute(plan_context, execution_plan)
                return
            workspace.share(run.run_id)
            if workspace.settings.dask:
                _renew_workers(workspace.settings.dask)
            with workspace.progress.step("Étapes", len(execution_plan.step_keys_to_execute)) as step:
                for event in everywhere(plan_context, execution_plan):
                    if event.is_step_success:
                        step.advance(event.step_key or "")
                    yield event

        executor.execute = execute
        return executor

    return coordinated


def _workers(workspace: Workspace) -> int:
    return workspace.settings.workers or os.cpu_count() or 1


def _dask() -> dg.ExecutorDefinition:
    try:
        from dagster_dask import dask_executor  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise WorkspaceError(
            "VIGIE_EXECUTOR=dask : attendu le paquet dagster-dask ; trouvé rien. "
            "À faire : pip install 'vigie[dask]', ou choisir multiprocess."
        ) from error
    return dask_executor


def _renew_workers(address: str) -> None:
    """What a worker has in memory is of the run before: deposits, territories."""
    from dask.distributed import Client  # pyright: ignore[reportMissingImports]

    with Client(address) as client:
        client.restart()


def _cluster(workspace: Workspace) -> dict[str, Any]:
    if workspace.settings.dask:
        return {"existing": {"address": workspace.settings.dask}}
    quiet = {"silence_logs": logging.ERROR, "dashboard_address": None}
    return {"local": {"n_workers": _workers(workspace), "threads_per_worker": 1, **quiet}}
