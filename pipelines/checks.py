"""The asset checks: one a suite, run together on the candidate; a failed critical one stops publication."""

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from expectations.results import CheckResult
from pipelines.executing import under_lock
from pipelines.stages import publication
from pipelines.stages.checking import suite_descriptions
from pipelines.stages.freshness import freshness_of_all
from pipelines.workspace import Workspace
from sources.calendar import STATES

CANDIDATE = dg.AssetKey("candidate")
FRESHNESS = "fraicheur"  # the check of each core asset whose source has a calendar


def build_checks(workspace: Workspace) -> list[dg.AssetChecksDefinition]:
    """The checks on the candidate, all suites in one step: Great Expectations is imported once a run."""
    suites = suite_descriptions()
    specs = [dg.AssetCheckSpec(name, asset=CANDIDATE, blocking=True, description=told) for name, told in suites.items()]

    @dg.multi_asset_check(name="check_candidate", specs=specs)
    def check_candidate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        with under_lock(workspace, context.op_execution_context):
            results = publication.check_candidate(workspace, context.run.run_id)
        for name in suites:
            yield _answer(name, [r for r in results if r.suite == name])

    return [check_candidate, _freshness(workspace)]


def _freshness(workspace: Workspace) -> dg.AssetChecksDefinition:
    """Whether the next edition of each source is late, by the calendar of its producer: a warning, at most."""
    told = "L'édition suivante est-elle en retard, d'après le calendrier du producteur (`expected` de sa description) ?"
    dated = [s.source_id for s in workspace.sources.values() if s.expected is not None]
    specs = [dg.AssetCheckSpec(FRESHNESS, asset=["core", source_id], description=told) for source_id in dated]

    @dg.multi_asset_check(name="check_freshness", specs=specs, can_subset=True)
    def check_freshness(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        asked = {key.asset_key.path[-1] for key in context.selected_asset_check_keys}
        for found in freshness_of_all(workspace, datetime.now(UTC).date()):
            if found.source_id in asked:
                yield dg.AssetCheckResult(
                    asset_key=dg.AssetKey(["core", found.source_id]),
                    check_name=FRESHNESS,
                    passed=found.state != "late",
                    severity=dg.AssetCheckSeverity.WARN,
                    description=found.message,
                    metadata={"attendue": str(found.due or "jamais"), "état": STATES[found.state]},
                )

    return check_freshness


def _answer(name: str, results: list[CheckResult]) -> dg.AssetCheckResult:
    """One suite as Dagster shows it: what failed, what was expected and found, what to do."""
    failed = [r for r in results if not r.passed]
    critical = any(r.severity == "critical" for r in failed)
    passed = "Tous réussis." if results else "Sans objet : aucune table de ce genre dans cette exécution."
    shown = "\n\n".join(r.message() for r in failed) or passed
    return dg.AssetCheckResult(
        asset_key=CANDIDATE,
        check_name=name,
        passed=not failed,
        severity=dg.AssetCheckSeverity.ERROR if critical else dg.AssetCheckSeverity.WARN,
        description=shown[:2000],
        metadata={"contrôles": len(results), "en échec": len(failed), "détail": dg.MetadataValue.md(shown)},
    )
