"""Logs for what gathers them: with VIGIE_LOG=json, one JSON object a line on standard error.

Fields: time (UTC), level, run, step, source, edition, message; null where there is none. Passwords and keys that the
environment holds are never written, whatever message carries them.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from rich.console import Console

LOG = logging.getLogger("vigie")
LOG.addHandler(logging.NullHandler())  # until `begin`, the terminal and Dagster's page tell what there is to tell
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|VIGIE_ALERTS")  # in the name of an environment variable
PASSWORD = re.compile(r"://[^/@\s]*:([^/@\s]+)@")  # in an address
SHORTEST_SECRET = 6  # a shorter one would hide ordinary words
TOLD = {f"{of}_{what}" for of in ("PIPELINE", "STEP") for what in ("START", "SUCCESS", "FAILURE")} | {
    "STEP_UP_FOR_RETRY"
}
_now: dict[str, Any] = {}  # the run and the step that this process is at: one run a process


class JsonLines(logging.Formatter):
    """A record as one line."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + self.formatException(record.exc_info)
        step = _now.get("step")
        told = {
            "time": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "level": record.levelname.lower(),
            "run": _now.get("run"),
            "step": step,
            "source": getattr(record, "source", None) or _source_of(step),
            "edition": getattr(record, "edition", None),
            "message": message.strip(),
        }
        return without_secrets(json.dumps(told, ensure_ascii=False))


class Events(logging.Handler):
    """Dagster's events that a person follows a run by, and what steps log. Named in dagster.yaml: it serves the page's
    runs as well as the terminal's."""

    def __init__(self) -> None:
        super().__init__()
        if os.environ.get("VIGIE_LOG") == "json":
            begin()

    def emit(self, record: logging.LogRecord) -> None:
        meta = getattr(record, "dagster_meta", None) or {}
        event = meta.get("dagster_event")
        if LOG.propagate or (event is not None and event.event_type_value not in TOLD):
            return
        _now.update(run=meta.get("run_id"), step=meta.get("step_key"))
        level = record.levelno if event is None else max(record.levelno, logging.INFO)
        LOG.log(level, "%s", meta.get("orig_message") or record.getMessage())
        if event is not None and event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE"):
            _now["step"] = None


class _Told(io.TextIOBase):
    """What a console prints, one record a message."""

    def __init__(self, level: int) -> None:
        self._level = level

    def write(self, text: str) -> int:
        if text.strip():
            LOG.log(self._level, "%s", text)
        return len(text)


def begin(out: Console | None = None, err: Console | None = None) -> None:
    """From now on this process writes JSON lines, and so do these consoles; may be called again."""
    if LOG.propagate:
        handler = logging.StreamHandler(_own_stderr())
        handler.setFormatter(JsonLines())
        for logger in (LOG, logging.getLogger("py.warnings")):
            logger.addHandler(handler)
        logging.captureWarnings(True)
        LOG.setLevel(logging.INFO)
        LOG.propagate = False
    for console, level in ((out, logging.INFO), (err, logging.WARNING)):
        if console is not None:
            console.file = _Told(level)  # pyright: ignore[reportAttributeAccessIssue]


def _own_stderr() -> TextIO:
    """Standard error as it is now: during a run Dagster takes the process's own, and gives back not quite all of it."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w", encoding="utf-8", buffering=1)
    except io.UnsupportedOperation:  # not a file
        return sys.stderr


def without_secrets(text: str) -> str:
    """The text, without the values of the environment's passwords, keys and tokens, nor the passwords of addresses."""
    values = [word for name, value in os.environ.items() if SECRET.search(name.upper()) for word in value.split()]
    passwords = [found for value in values for found in PASSWORD.findall(value)]
    for value in sorted({*values, *passwords}, key=len, reverse=True):
        if len(value) >= SHORTEST_SECRET:
            text = text.replace(json.dumps(value, ensure_ascii=False)[1:-1], "***")
    return text


def _source_of(step: str | None) -> str | None:
    """Of a step that is about one source."""
    stage, _, source = (step or "").partition("__")
    return source if stage in ("core", "settled") and source else None
