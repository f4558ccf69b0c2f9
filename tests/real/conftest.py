"""The stored real files, and the loopback server that plays the producers' sites: fixtures of this folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MIRROR = Path(__file__).parents[2].parent / "shared" / "mirror"


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder of the stored real files; the test is skipped where it is not there."""
    if not (MIRROR / "serve.py").is_file():
        pytest.skip(f"fichiers réels absents : {MIRROR} n'existe pas")
    return MIRROR


@pytest.fixture(scope="session")
def mirror_server(mirror: Path) -> Iterator[Callable[..., str]]:
    """`mirror_server(*faults, log=None) -> base_url`: a server of its own, killed at the end.

    A fault is `KIND:SUBSTRING[:N]`, as `serve.py --help` tells.
    """
    running: list[subprocess.Popen[str]] = []

    def start(*faults: str, log: Path | None = None) -> str:
        command = [sys.executable, str(mirror / "serve.py"), "--port", "0"]
        for fault in faults:
            command += ["--fault", fault]
        if log is not None:
            command += ["--log", str(log)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        base = process.stdout.readline().strip()
        assert base.startswith("http://127.0.0.1:"), base
        return base

    yield start
    for process in running:
        process.kill()  # some shells make children ignore SIGTERM
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()
