"""What runs without hands, once switched on: a sensor a producer, two schedules; and the job that approves a candidate.

A sensor asks whether files changed, without fetching any, a few at a time; it then requests a run of what is made of
those that did. Nothing here computes or publishes.
"""

import fcntl
import json
import time
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import dagster as dg

from pipelines.assets import build_assets, is_partitioned, partitioned_years
from pipelines.sending import send_release
from pipelines.stages import acquisition, publication
from pipelines.workspace import Workspace, WorkspaceError
from sources.client import PARALLEL, Client, Probe, Request
from sources.description import Source
from warehouse.release import ReleaseError

JOB = "build_release"
PARIS = "Europe/Paris"
EVERY = 6 * 3600  # seconds between two evaluations of a sensor
BUDGET = 25.0  # seconds that one evaluation takes, about: Dagster gives up after sixty; the next one goes on from there
PATIENCE = 10.0  # seconds without an answer
SILENT = ("typed", "deposit")  # connectors that ask no site


def asking(editions: Sequence[str]) -> dict[str, Any]:
    """The configuration of a run that asks these editions only of the producers; all of them when there is none."""
    return {"ops": {"acquire": {"config": {"editions": list(editions)}}}} if editions else {}


def partition_range(years: Collection[int]) -> dict[str, str]:
    """Tags that make a run cover the partitions from the first of these years to the last; none when there is none."""
    if not years:
        return {}
    return {
        "dagster/asset_partition_range_start": str(min(years)),
        "dagster/asset_partition_range_end": str(max(years)),
    }


def whole_range(workspace: Workspace) -> dict[str, str]:
    """Tags that make a run cover every partition at once."""
    return partition_range(partitioned_years(workspace))


def by_producer(sources: Iterable[Source]) -> dict[str, list[Source]]:
    """The sources that a site serves, by who publishes them, whoever else had a part in it or puts them on line."""
    found: dict[str, list[Source]] = {}
    for source in sources:
        if any(e.connector not in SILENT for e in source.editions):
            found.setdefault(source.producer.partition(",")[0].partition("(")[0].strip(), []).append(source)
    return dict(sorted(found.items()))


def build_sensors(workspace: Workspace) -> list[dg.SensorDefinition]:
    """A sensor a producer, all stopped until someone switches them on."""
    producers = by_producer(workspace.sources.values())
    return [_sensor(workspace, name, [s.source_id for s in own]) for name, own in producers.items()]


def _sensor(
    workspace: Workspace, producer: str, source_ids: Sequence[str]
) -> dg.SensorDefinition:
    plain = unicodedata.normalize("NFKD", producer.lower()).encode("ascii", "ignore").decode()
    name = "nouveautes_" + "_".join("".join(c if c.isalnum() else " " for c in plain).split())

    @dg.sensor(
        name=name,
        job_name=JOB,
        minimum_interval_seconds=EVERY,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"{producer} : éditions nouvelles ou modifiées, demandées par requêtes HEAD ou au catalogue, "
        f"quelques-unes toutes les {EVERY // 3600} heures ; à activer.",
    )
    def news(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = Workspace(workspace.settings)  # what was deposited or received since the page was opened
        if in_use(now):
            return dg.SkipReason("Une exécution est en cours : on demandera la prochaine fois.")
        sources = [now.sources[s] for s in source_ids if s in now.sources]
        editions = [(s, e) for s in sources for e in now.editions(s) if e.connector not in SILENT]
        kept = json.loads(context.cursor) if context.cursor else {}
        probes, following = probe_from(_client(now), editions, int(kept.get("next", 0)))
        failed = {f"{s.source_id}/{e}" for s in sources for e, (step, _) in now.failures(s).items() if step == "raw"}
        requested, fresh = novelties(probes, kept.get("requested", {}), failed)
        cursor = json.dumps({"next": following, "requested": requested})
        if not fresh:
            told = f"{len(probes)} édition(s) demandée(s) sur {len(editions)}, rien de nouveau. " + " ; ".join(
                f"{p.source_id}/{p.edition} : {p.detail}" for p in probes if p.kind == "unreachable"
            )
            return dg.SensorResult(skip_reason=dg.SkipReason(told.strip()), cursor=cursor)
        return dg.SensorResult(run_requests=[request(now, fresh)], cursor=cursor)

    return news


def _client(workspace: Workspace) -> Client:
    """A client that does not insist: whoever does not answer is asked again next time."""
    settings = workspace.settings
    hurried = {"timeout": min(PATIENCE, settings.timeout), "attempts": 1}
    return acquisition.client(Workspace(settings.model_copy(update=hurried)))


def in_use(workspace: Workspace) -> bool:
    """Whether a run holds the data folder: what it has received is not in the index yet."""
    path = workspace.data / ".lock"
    if not path.exists():
        return False
    with path.open(encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a run of several processes shares it
        except BlockingIOError:
            return True
    return False


def probe_from(client: Client, editions: Sequence[Request], start: int) -> tuple[list[Probe], int]:
    """Probes from a place on, each edition once at most, for as long as an evaluation may take; where to go on."""
    began, start = time.monotonic(), start if start < len(editions) else 0
    probes: list[Probe] = []
    turn = [*editions[start:], *editions[:start]]
    for at in range(0, len(turn), PARALLEL):
        probes += client.probe_all(turn[at : at + PARALLEL])
        if time.monotonic() - began > BUDGET:
            break
    return probes, (start + len(probes)) % max(1, len(editions))


def novelties(
    probes: Iterable[Probe], requested: dict[str, str], failed: Collection[str]
) -> tuple[dict[str, str], list[Probe]]:
    """What is newer at the producer's and was not requested yet, and what has been with it: edition -> version.

    An edition that is as received is forgotten: what comes next is new. One that the last run could not receive
    (`failed`) and that is again as received is requested too: until a run sees it, it is said to be stale. One that
    vanished, or whose site is silent, changes nothing: what was received of it serves.
    """
    kept, fresh = dict(requested), list[Probe]()
    for probe in probes:
        name = f"{probe.source_id}/{probe.edition}"
        if probe.kind == "unchanged" and name not in failed:
            kept.pop(name, None)
        elif probe.kind in ("newer", "unchanged") and kept.get(name) != probe.version:
            kept[name] = probe.version
            fresh.append(probe)
    return kept, fresh


def request(workspace: Workspace, fresh: Sequence[Probe]) -> dg.RunRequest:
    """A run of what is made of these editions, from the raw files to the release; only they are asked and read.

    It has no `run_key`: Dagster starts one run a key, for ever, and a file may go back to what it was. That nothing is
    asked twice is the cursor's matter.
    """
    names = sorted(f"{p.source_id}/{p.edition}" for p in fresh)
    sources = [workspace.sources[s] for s in sorted({p.source_id for p in fresh})]
    years = {
        workspace.sources[p.source_id].edition(p.edition).data_year
        for p in fresh
        if is_partitioned(workspace.sources[p.source_id])
    }
    selection = dg.AssetSelection.assets(*(["raw", s.source_id] for s in sources)).downstream()
    return dg.RunRequest(
        run_config=asking(names),
        asset_selection=sorted(selection.resolve(_graph(workspace))),
        tags={"vigie/nouveautes": " ".join(names)[:200], **partition_range(years)},
    )


def _graph(workspace: Workspace) -> Any:
    """Which assets are made of which."""
    return dg.Definitions(assets=build_assets(workspace)).resolve_asset_graph()


def build_schedules(workspace: Workspace) -> list[dg.ScheduleDefinition]:
    """The monthly run of everything, and the yearly change of geography; stopped until someone switches them on."""
    @dg.schedule(
        name="build_release_monthly",
        job_name=JOB,
        cron_schedule="0 5 3 * *",
        execution_timezone=PARIS,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Le 3 du mois à 5 h, heure de Paris ; à activer.",
    )
    def monthly() -> dg.RunRequest:
        return dg.RunRequest(tags=whole_range(workspace))

    @dg.schedule(
        name="prepare_cog_yearly",
        job_name=JOB,
        cron_schedule="0 5 15 4 *",
        execution_timezone=PARIS,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Le 15 avril à 5 h, heure de Paris : demande les éditions du code officiel géographique et des "
        "compositions. Un COG de référence plus récent donne une candidate et ses différences, qu'une personne "
        "approuve ; à activer.",
    )
    def yearly() -> dg.RunRequest:
        geographies = [f"{s.source_id}/*" for s in workspace.sources.values() if s.kind == "geography" and s.editions]
        return dg.RunRequest(run_config=asking(geographies), tags=whole_range(workspace))

    return [monthly, yearly]


class Decision(dg.Config):
    """Which candidate to publish: its identifier, as `vigie release candidates` or the page of `candidate` gives it."""

    release_id: str


def build_approval(workspace: Workspace) -> dg.JobDefinition:
    """The job that publishes a candidate that waits."""

    @dg.op(name="approve", description="Publie une candidate qui attend une décision.")
    def approve(context: dg.OpExecutionContext, config: Decision) -> None:
        try:
            shown = publication.approve(workspace, config.release_id)
        except (ReleaseError, WorkspaceError) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        context.log_event(dg.AssetMaterialization("release", metadata=shown))
        if workspace.settings.remote:
            context.log_event(
                dg.AssetMaterialization("sent", metadata=send_release(workspace, workspace.settings.remote))
            )

    told = "Publie une candidate qui attend une décision : donner son release_id."

    @dg.job(name="approve_release", description=told, executor_def=dg.in_process_executor)
    def approve_release() -> None:
        approve()

    return approve_release
