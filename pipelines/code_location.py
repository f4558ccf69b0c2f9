"""The code location that `dagster dev` and the daemon load, with the settings of the environment."""

from pipelines.definitions import build_definitions
from pipelines.settings import Settings
from pipelines.workspace import Workspace

defs = build_definitions(Workspace(Settings()))
