"""Puts this folder on the import path, for the samples that several kinds of tests share; says which tests one worker
takes when there are two (`pytest -n 2`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import pytest

hypothesis.settings.register_profile("house", deadline=None)  # how long an example takes is the machine's matter
hypothesis.settings.load_profile("house")


def shared(nodeid: str) -> str:
    """What a test starts from, when it costs seconds to make: tests of one name run in one worker."""
    module = Path(nodeid.partition("::")[0])
    match module.parent.name:
        case "pipeline":
            return module.name
        case "few":
            return "few"
        case "real":
            return module.name if module.name in ("test_run_mirror.py", "test_faults.py") else "files"
        case _:
            return module.name if module.name == "test_site.py" else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Whole groups first, the largest first; then the others one by one."""
    from xdist.scheduler import LoadScopeScheduling

    class ByWhatIsShared(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return shared(nodeid)

    return ByWhatIsShared(config, log)
