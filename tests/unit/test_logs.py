"""JSON logs: one object a line, always the same fields, and nothing secret, whatever a message carries."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import ValidationError
from rich.console import Console
from typer.testing import CliRunner

from pipelines import cli, logs
from pipelines.running import instance_environment
from pipelines.settings import Settings
from pipelines.workspace import Workspace

FIELDS = ["time", "level", "run", "step", "source", "edition", "message"]
SECRETS = {
    "VIGIE_POSTGRES_PASSWORD": "motdepasse-pg",
    "AWS_SECRET_ACCESS_KEY": "motdepasse-s3",
    "VIGIE_ALERTS": "mailto://vigie:motdepasse-smtp@courriel.test json://crochet.test/jeton-secret",
}


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Standard error of a process that writes JSON lines."""
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    handlers = list(logs.LOG.handlers)
    logs.begin()
    yield written
    logs.LOG.handlers[:], logs.LOG.propagate = handlers, True
    logging.captureWarnings(False)
    logging.getLogger("py.warnings").handlers.clear()
    logs.LOG.setLevel(logging.NOTSET)
    logs._now.clear()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_every_field(stream: io.StringIO) -> None:
    logs.LOG.info("fetched", extra={"source": "insee_filosofi_cc", "edition": "2021"})
    logs.LOG.warning("deux\nlignes « é »")
    first, second = lines(stream)
    assert list(first) == list(second) == FIELDS
    assert (first["level"], first["source"], first["edition"]) == ("info", "insee_filosofi_cc", "2021")
    assert (second["level"], second["source"], second["message"]) == ("warning", None, "deux\nlignes « é »")


def test_what_a_library_warns_of_is_a_record_too(stream: io.StringIO) -> None:
    with warnings.catch_warnings():  # restores what pytest does with them
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.simplefilter("always")
        warnings.warn("bientôt retiré", stacklevel=1)
    assert "bientôt retiré" in str(lines(stream)[-1]["message"])


def test_what_a_console_prints_is_a_record_a_message(stream: io.StringIO) -> None:
    out, err = Console(), Console()
    logs.begin(out, err)
    out.print("[bold]Publiée[/bold] : r0001", "deux", sep="\n")
    err.print("[red]Échec[/red]")
    assert [(r["level"], r["message"]) for r in lines(stream)] == [
        ("info", "Publiée : r0001\ndeux"),
        ("warning", "Échec"),
    ]


def test_dagsters_events_give_the_run_the_step_and_the_source(stream: io.StringIO) -> None:
    handler = logs.Events()

    def said(step: str | None, text: str) -> None:
        record = logging.LogRecord("dagster", logging.WARNING, "", 0, text, None, None)
        record.dagster_meta = {"run_id": "run-1", "step_key": step, "orig_message": text, "dagster_event": None}
        handler.handle(record)

    said("core__insee_bpe", "trois lignes")
    said("release", "en place")
    found = [(r["run"], r["step"], r["source"], r["message"]) for r in lines(stream)]
    assert found == [
        ("run-1", "core__insee_bpe", "insee_bpe", "trois lignes"),
        ("run-1", "release", None, "en place"),
    ]


def test_nothing_is_written_until_asked(capfd: pytest.CaptureFixture[str]) -> None:
    logs.LOG.error("rien")
    record = logging.LogRecord("dagster", logging.ERROR, "", 0, "rien", None, None)
    logs.Events().handle(record)
    assert capfd.readouterr() == ("", "")


def test_no_secret_of_the_environment_is_logged(stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for value in [*SECRETS.values(), "motdepasse-smtp", "://vigie:motdepasse-smtp@"]:
        logs.LOG.error("refusé : %s", value)
    logs.LOG.info("cd91_iss reste lisible")
    text = stream.getvalue()
    assert "motdepasse" not in text and "jeton-secret" not in text and text.count("***") >= 5
    assert "cd91_iss reste lisible" in text


def test_no_secret_is_handed_to_dagster_nor_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    given = instance_environment(Workspace(Settings(data=tmp_path)))
    assert not [v for v in given.values() for secret in SECRETS.values() if secret in v]
    assert not {name.lower().removeprefix("vigie_") for name in SECRETS} & set(Settings.model_fields)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


@pytest.mark.parametrize(
    "written", ['alerts = "mailto://vigie:motdepasse@courriel.test"', 'mirror = "http://vigie:motdepasse@miroir.test"']
)
def test_a_secret_in_the_settings_file_is_refused_and_not_shown(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vigie.toml").write_text(written, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit):
        cli.settings_from()
    told = capsys.readouterr().err
    assert "Réglage" in told and "motdepasse" not in told
    with pytest.raises(ValidationError) as refused:  # as the page's processes read them: the error is all they show
        Settings()
    assert "motdepasse" not in str(refused.value)


def test_a_command_speaks_json_when_the_settings_say_so(tmp_path: Path, stream: io.StringIO, monkeypatch) -> None:
    monkeypatch.setenv("VIGIE_LOG", "json")
    monkeypatch.setattr(cli, "out", Console())
    monkeypatch.setattr(cli, "err", Console())
    answer = CliRunner().invoke(cli.app, ["release", "push", "--data", str(tmp_path)])
    assert answer.exit_code == 2
    assert "Attendu l'adresse d'un dépôt" in str(lines(stream)[-1]["message"])
