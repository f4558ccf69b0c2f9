"""What the processes of steps have ready: they are copies of the one that imports this, once a run (executing.py)."""

import dagster as dg
from dagster._core.execution import context_creation_job

import pipelines.cli
import pipelines.history  # noqa: F401
from pipelines.code_location import build_release

# each would say on the terminal that it starts, whatever the configuration of the run
context_creation_job.default_system_loggers = lambda instance: []  # pyright: ignore[reportPrivateImportUsage]
dg.reconstructable(build_release).get_definition()
