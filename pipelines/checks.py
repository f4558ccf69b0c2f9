"""The asset checks: one a suite, run together on the candidate; a failed critical one stops publication."""

from collections.abc import Iterator

import dagster as dg

from expectations.results import CheckResult
from pipelines.stages import publication
from pipelines.stages.checking import suite_descriptions
from pipelines.workspace import Workspace

CANDIDATE = dg.AssetKey("candidate")


def build_checks(workspace: Workspace) -> list[dg.AssetChecksDefinition]:
    """The checks on the candidate, all suites in one step: Great Expectations is imported once a run."""
    suites = suite_descriptions()
    specs = [dg.AssetCheckSpec(name, asset=CANDIDATE, blocking=True, description=told) for name, told in suites.items()]

    @dg.multi_asset_check(name="check_candidate", specs=specs)
    def check_candidate(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        results = publication.check_candidate(workspace, context.run.run_id)
        for name in suites:
            yield _answer(name, [r for r in results if r.suite == name])

    return [check_candidate]


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
