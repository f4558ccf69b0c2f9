"""The code location that `dagster dev` and the daemon load, with the settings of the environment."""

import warnings

import dagster as dg

from pipelines.automation import JOB
from pipelines.definitions import build_definitions
from pipelines.settings import Settings
from pipelines.workspace import Workspace

warnings.filterwarnings("ignore", category=dg.BetaWarning)
workspace = Workspace(Settings())
defs = build_definitions(workspace)


def build_release() -> dg.JobDefinition:
    """The whole job, for the processes of its steps: they load this module."""
    return defs.resolve_job_def(JOB)
