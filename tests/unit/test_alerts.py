"""Alerts: sent for real to a local SMTP server and a local webhook, once a cause, over when it is, never a secret."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from alert_servers import Received, receiving
from rich.console import Console

import pipelines.alerts as alerts
from expectations.results import CheckResult, Run, result, to_frame
from pipelines.alerts import CHANNELS, TOLD_AGAIN, gather, tell, try_channels
from pipelines.settings import Settings
from pipelines.stages.acquisition import KINDS
from pipelines.workspace import Workspace, replace_bytes, replace_frame
from sources.deposits.contract import as_source
from sources.raw_store import RawFile
from warehouse.release import Releases, State

SECRET = "motdepasse-tres-secret"
START = datetime(2026, 8, 3, 7, 0, tzinfo=UTC)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """A real SMTP server and a real HTTP server on loopback, and VIGIE_ALERTS that names both."""
    with receiving(SECRET) as found:
        monkeypatch.setenv(CHANNELS, found.channels)
        yield found


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
    assert "ARRÊTE" not in received.text() and "À faire" not in received.text(), "it is over"
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


def test_a_folder_that_cannot_be_read_silences_nothing(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    checked(workspace, failed("drift_scale", "drift", "cnaf_commune/2024", "critical", "COM/rsa"))
    tell(workspace, [])
    index = workspace.data / "raw" / "index.parquet"
    index.parent.mkdir(parents=True, exist_ok=True)
    index.write_bytes(b"cut")
    now[0] += timedelta(hours=1)
    assert tell(workspace, [("l'exécution", "le magasin brut est illisible")]) == []
    text = received.text()
    assert "- l'exécution : le magasin brut est illisible" in text
    assert f"le dossier {workspace.data} ne se lit pas" in text
    assert "Rentré dans l'ordre" not in text, "nothing is known of the rest"
    index.unlink()
    receive(workspace, "cnaf_commune", "2024", b"while it could not be read", START + timedelta(minutes=30), "https://a")
    now[0] += timedelta(hours=1)
    tell(workspace, [])
    text = received.text()
    assert "Rentré dans l'ordre (2)" in text and "cnaf_commune/2024 : reçue pour la première fois" in text
    assert "drift_scale" not in text, "told already, and still so"


def test_an_edition_that_leaves_its_address_is_told_and_so_is_its_return(
    received: Received, workspace: Workspace, now: list[datetime]
) -> None:
    def answered(kind: str) -> None:
        outcomes = {"cnaf_commune/2024": kind, "cnaf_commune/2023": kind}
        replace_bytes(workspace.stage(KINDS), json.dumps(outcomes).encode())
        tell(workspace, [])

    replace_frame(workspace.core("cnaf_commune", "2024"), pl.DataFrame({"level": ["COM"]}))  # that of 2023 never came
    answered("unchanged")
    told = len(received.mails)
    answered("not_published")
    assert len(received.mails) == told + 1
    text = received.text()
    assert "Éditions retirées de leur adresse (le dernier fichier reçu sert) (1)" in text
    assert "- cnaf_commune/2024 : absente à son adresse, https://" in text and "cnaf_commune/2023" not in text
    answered("not_published")
    assert len(received.mails) == told + 1, "once"
    answered("unchanged")
    assert len(received.mails) == told + 2 and "Rentré dans l'ordre (1)" in received.text()


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


def test_a_body_is_news_for_what_it_is(workspace: Workspace) -> None:
    url, hour = "https://exemple.fr/a", timedelta(hours=1)
    for at, (edition, body) in enumerate(
        [("2022", b"un"), ("2022", b"deux"), ("2022", b"un"), ("2023", b"page"), ("2024", b"trois")]
    ):
        receive(workspace, "cnaf_commune", edition, body, START + at * hour, url)
    sha256 = workspace.store.add(b"trois")
    other_tag = RawFile("cnaf_commune", "2024", url, url, START + 9 * hour, "tag", None, sha256, 5, "L", "P")
    workspace.store.record([other_tag])
    workspace.note_failures("core", "cnaf_commune", ["2023"], {"2023": "illisible"})
    since = [START - hour, START + hour, START + 5 * hour]
    told = [[c.text for c in gather(workspace, (), START, moment) if c.kind == "news"] for moment in since]
    first = "cnaf_commune/2024 : reçue pour la première fois"
    before = ["cnaf_commune/2022 : reçue pour la première fois", "cnaf_commune/2022 : révisée"]
    assert told[0] == [*before, *told[1]]
    assert told[1] == ["cnaf_commune/2022 : de nouveau telle qu'elle a déjà été reçue", first], "2023 is told as failed"
    assert told[2] == [], "the same body under another tag"


def test_a_candidate_that_waits_is_told_until_someone_decides(
    received: Received, workspace: Workspace, now: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(workspace.__dict__, "sources", {})
    waiting = State("r0002-0123456789ab", "r0001", "0123456789ab", None, None, ("public",), why="nouveau COG")
    releases = Releases(workspace.data)
    folder = releases.root / ".candidate-r0002-0123456789ab"
    folder.mkdir(parents=True)
    for why in (None, "nouveau COG", "nouveau COG"):
        releases.keep(replace(waiting, why=why))
        tell(workspace, [])
    (mail,) = received.mails
    assert mail["subject"] == "Vigie : 1 point(s) à regarder"
    assert "- r0002-0123456789ab attend une décision : nouveau COG" in received.text()
    folder.rmdir()
    tell(workspace, None)
    assert received.mails[-1]["subject"] == "Vigie : rentré dans l'ordre"


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

    monkeypatch.setattr(alerts, "message", broken)
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
