"""Alerts: sent for real to a local SMTP server and a local webhook, once a cause, over when it is, never a secret."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import logging
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from rich.console import Console

import pipelines.alerts as alerts
from expectations.results import CheckResult, Run, result, to_frame
from pipelines.alerts import CHANNELS, TOLD_AGAIN, gather, tell, try_channels
from pipelines.settings import Settings
from pipelines.workspace import Workspace, replace_frame
from sources.deposits.contract import as_source
from sources.raw_store import RawFile

SECRET = "motdepasse-tres-secret"
START = datetime(2026, 8, 3, 7, 0, tzinfo=UTC)


@dataclass
class Received:
    """What the two servers took."""

    mails: list[EmailMessage] = field(default_factory=list)
    posts: list[dict[str, Any]] = field(default_factory=list)
    channels: str = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # pyright: ignore
        return "250 OK"

    def text(self, rank: int = -1) -> str:
        """The plain text of a message."""
        part = self.mails[rank].get_body(("plain",))
        assert part is not None
        return part.get_content()


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """A real SMTP server and a real HTTP server on loopback, and VIGIE_ALERTS that names both."""
    found = Received()

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    mail = Controller(found, hostname="127.0.0.1", port=port)
    mail.start()
    hook = http.server.HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    to = f"mailto://127.0.0.1:{port}?from=vigie@exemple.fr&to=equipe@exemple.fr&format=text&mode=insecure"
    found.channels = f"{to} json://127.0.0.1:{hook.server_address[1]}/crochet?token={SECRET}"
    monkeypatch.setenv(CHANNELS, found.channels)
    yield found
    mail.stop()
    hook.shutdown()
    hook.server_close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The clock of alerts: its only item."""
    clock = [START]

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return clock[0]

    monkeypatch.setattr(alerts, "datetime", Clock)
    return clock


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Two sources, of which nothing was received, and both late; a deposit; no run yet."""
    whole = Workspace(Settings(data=tmp_path / "data", profile="live"))
    contract = whole.contracts["accueil_loisirs"]
    deposit = as_source(contract, [contract.edition(2022, "accueil_loisirs-0001", "csv", 2022)])
    kept = {s: whole.sources[s] for s in ("insee_cog_communes", "cnaf_commune")} | {deposit.source_id: deposit}
    monkeypatch.setitem(whole.__dict__, "sources", kept)
    return whole


def checked(workspace: Workspace, *results: CheckResult) -> None:
    replace_frame(workspace.stage("quality_check.parquet"), to_frame(results))


def failed(check_id: str, suite: str, table: str, severity: Any = "warning", sample: str = "") -> CheckResult:
    run = Run("x", START)
    told = {
        "expected": "la même échelle",
        "observed": "1 mesure(s)",
        "rows_failed": 1,
        "sample": [sample] if sample else [],
    }
    return result(run, check_id=check_id, suite=suite, table_name=table, severity=severity, **told)


def receive(workspace: Workspace, source_id: str, edition: str, body: bytes, when: datetime, url: str) -> None:
    sha256 = workspace.store.add(body)
    workspace.store.record([RawFile(source_id, edition, url, url, when, None, None, sha256, len(body), "L", "P")])


def keys(workspace: Workspace, moment: datetime, since: datetime = START) -> set[str]:
    return {c.name for c in gather(workspace, (), moment, since)}


LATE = {"late:cnaf_commune", "late:insee_cog_communes"}


def test_a_run_that_failed_is_told_by_mail_and_webhook_in_french(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    assert tell(workspace, [("candidate", "disque plein : attendu 3 Go libres ; trouvé 0")]) == []
    text = received.text()
    assert received.mails[0]["subject"] == "Vigie : rien de nouveau n'est publié"
    assert received.mails[0]["to"] == "equipe@exemple.fr"
    assert "Exécution en échec (1)" in text and "- candidate : disque plein : attendu 3 Go libres" in text
    assert "À faire : lire le message, puis relancer" in text and "Où regarder : vigie status" in text
    (post,) = received.posts
    assert post["title"] == received.mails[0]["subject"] and "disque plein" in post["message"]


def test_a_cause_is_told_once_again_when_it_changes_or_lasts_and_when_it_is_over(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    checked(workspace, failed("drift_scale", "drift", "cnaf_commune/2024", "critical", "COM/rsa"))
    tell(workspace, [])
    assert "ARRÊTE LA PUBLICATION" in received.text() and "COM/rsa" in received.text()
    told = len(received.mails)
    for _ in range(5):
        now[0] += timedelta(hours=1)
        assert tell(workspace, []) == []
    assert len(received.mails) == told, "the same causes, five runs: not a word"
    checked(workspace, failed("drift_scale", "drift", "cnaf_commune/2024", "critical", "COM/ppa"))
    tell(workspace, [])
    assert len(received.mails) == told + 1 and "COM/ppa" in received.text() and "en retard" not in received.text()
    now[0] += TOLD_AGAIN
    tell(workspace, [])
    assert len(received.mails) == told + 2, "told again when it lasts"
    checked(workspace)
    tell(workspace, [])
    assert "Rentré dans l'ordre (1)" in received.text() and "COM/ppa" in received.text()
    assert received.mails[-1]["subject"] == "Vigie : rentré dans l'ordre"
    tell(workspace, [])
    assert len(received.mails) == told + 3


def test_a_failed_check_is_told_once_not_also_as_a_failed_run(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    checked(workspace, failed("drift_scale", "drift", "cnaf_commune/2024", "critical", "COM/rsa"))
    tell(workspace, [("contrôle drift_scale", "drift_scale (table cnaf_commune/2024) : ... COM/rsa")])
    assert received.text().count("COM/rsa") == 1 and "Exécution en échec" not in received.text()
    assert received.mails[0]["subject"] == "Vigie : rien de nouveau n'est publié"


def test_one_message_a_run_however_many_causes(received: Received, workspace: Workspace, now: list[datetime]) -> None:
    checked(workspace, *(failed("drift_rows", "drift", f"cnaf_commune/{year}") for year in range(1990, 2020)))
    workspace.note_failures("raw", "cnaf_commune", ["2024"], {"2024": "le site ne répond pas"})
    tell(workspace, [])
    (mail,) = received.mails
    text = received.text()
    assert mail["subject"] == "Vigie : 33 point(s) à regarder"
    assert "- et 15 autre(s)" in text and "le site ne répond pas" in text and "en retard de" in text


def test_a_late_edition_is_not_told_again_because_a_day_went_by(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    tell(workspace, [])
    assert "cnaf_commune : rien de reçu" in received.text()
    now[0] += timedelta(days=1)
    tell(workspace, None)
    assert len(received.mails) == 1


def test_what_a_check_of_freshness_alone_does_not_know_is_kept(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    tell(workspace, [("settled", "en panne")])
    tell(workspace, None)
    assert len(received.mails) == 1, "no run ended: the failure is neither over nor new"
    tell(workspace, [])
    assert "Rentré dans l'ordre" in received.text() and "en panne" in received.text()


def test_newer_and_revised_editions_are_news_once(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    receive(workspace, "cnaf_commune", "2023", b"avant", START - timedelta(days=9), "https://exemple.fr/a")
    tell(workspace, [])  # what was there before the first alert is no news
    assert "Nouvelles éditions" not in received.text()
    now[0] += timedelta(days=1)
    receive(workspace, "cnaf_commune", "2024", b"un", now[0], "https://exemple.fr/b")
    receive(workspace, "cnaf_commune", "2023", b"apres", now[0], "https://exemple.fr/a")
    now[0] += timedelta(hours=1)
    tell(workspace, [])
    assert received.mails[-1]["subject"] == "Vigie : nouvelles éditions"
    assert "cnaf_commune/2024 : reçue pour la première fois" in received.text()
    assert "cnaf_commune/2023 : révisée" in received.text()
    sent = len(received.mails)
    tell(workspace, [])
    assert len(received.mails) == sent


def test_nothing_of_a_partner_leaves_the_machine(workspace: Workspace) -> None:
    workspace.note_failures("core", "depot_accueil_loisirs", ["2022"], {"2022": "cellule 91286 : trouvé 3 enfants"})
    checked(
        workspace,
        failed("regle_depot_accueil_loisirs", "disclosure", "observation", "critical", "COM-91286 : 3"),
        failed("core_values.in_range", "core_values", "depot_accueil_loisirs", "critical", "91286/3 enfants"),
    )
    receive(
        workspace, "depot_accueil_loisirs", "2022", b"x", START + timedelta(days=1), "deposit:accueil_loisirs-0001/2022"
    )
    causes = gather(workspace, [("settled", "depot_accueil_loisirs : 3 enfants")], START + timedelta(days=2), START)
    apart = [c for c in causes if c.kind != "late"]
    assert sorted(c.kind for c in apart) == ["check", "check", "edition", "run"]
    told = " ".join(f"{c.text} {c.mark}" for c in apart)
    assert "enfants" not in told and "91286" not in told
    assert not any(c.kind == "news" for c in causes)


def test_a_channel_that_fails_is_told_without_its_address_and_fails_nothing(
    workspace: Workspace, now: list[datetime], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    closed = f"mailto://compte:{SECRET}@127.0.0.1:9?from=v@exemple.fr&to=a@exemple.fr&mode=insecure"
    monkeypatch.setenv(CHANNELS, f"{closed} nimporte:{SECRET}")
    one, two = tell(workspace, [("candidate", "en panne")])
    assert "canal n° 1 (mailto)" in one and "n'a pas pris le message" in one
    assert "canal n° 2" in two and "illisible" in two
    assert SECRET not in one + two + caplog.text
    assert not (workspace.data / "alerts.json").exists(), "nobody was told: the next run tells"


def test_whatever_breaks_in_alerts_never_fails_a_run(
    received: Received, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(alerts, "gather", broken)
    (wrong,) = tell(workspace, [])
    assert "Alertes : non envoyées (OSError" in wrong and not received.mails


def test_without_a_channel_nothing_is_sent_and_nothing_written(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(CHANNELS, raising=False)
    assert tell(workspace, [("x", "y")]) == []
    assert not (workspace.data / "alerts.json").exists()


def test_a_state_that_cannot_be_read_tells_everything_once_more(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    tell(workspace, [])
    (workspace.data / "alerts.json").write_text("{")
    tell(workspace, [])
    assert len(received.mails) == 2


def test_the_state_holds_no_address(received: Received, workspace: Workspace, now: list[datetime]) -> None:
    tell(workspace, [("x", "y")])
    kept = (workspace.data / "alerts.json").read_text()
    assert SECRET not in kept and "exemple.fr" not in kept


def test_channels_are_tried_by_the_command(
    received: Received, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(width=200)
    assert try_channels(console, console) == 0
    assert "2 canal(aux) sur 2" in capsys.readouterr().out and "Rien à faire" in received.text()
    monkeypatch.setenv(CHANNELS, f"{received.channels} json://127.0.0.1:9/x?k={SECRET}")
    assert try_channels(console, console) == 1
    shown = capsys.readouterr().out
    assert "canal n° 3 (json)" in shown and "2 canal(aux) sur 3" in shown and SECRET not in shown
    monkeypatch.delenv(CHANNELS)
    assert try_channels(console, console) == 2
    assert "VIGIE_ALERTS est vide" in capsys.readouterr().out


def test_freshness_is_a_cause_only_when_late(workspace: Workspace) -> None:
    assert keys(workspace, datetime(2019, 1, 1, tzinfo=UTC)) == set()
    assert keys(workspace, START) == LATE
