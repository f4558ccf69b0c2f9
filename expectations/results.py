"""What a check answers: one row of table `quality_check`, its message, and what stops publication."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal

import polars as pl

Severity = Literal["critical", "warning"]

# `observed` starts so when the check itself failed: nothing is known about the data.
NOT_COMPUTED = "contrôle non calculé : "
SAMPLE_SIZE = 5
REMEDY = "comparer ces lignes au fichier du producteur, corriger la lecture ou déclarer l'exception et sa cause"
REMEDIES = {
    "drift": "comparer au fichier du producteur, puis corriger la lecture, déclarer la rupture (series_break.yaml) ou, "
    "si l'écart est juste, relever le seuil de la source (`drift` de sa description.yaml)"
}

QUALITY_CHECK: dict[str, pl.DataType | type[pl.DataType]] = {
    "check_id": pl.String,
    "suite": pl.String,
    "table_name": pl.String,
    "severity": pl.String,
    "passed": pl.Boolean,
    "observed": pl.String,
    "expected": pl.String,
    "rows_failed": pl.Int64,
    "sample": pl.String,
    "run_id": pl.String,
    "checked_at": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True)
class Run:
    """What the checks of one run have in common."""

    run_id: str
    checked_at: datetime  # with its time zone


@dataclass(frozen=True)
class CheckResult:
    """One check, run once. `sample` holds up to five keys of offending rows, separated by ` ; `."""

    check_id: str
    suite: str
    table_name: str
    severity: Severity
    passed: bool
    observed: str
    expected: str
    rows_failed: int | None
    sample: str
    run_id: str
    checked_at: datetime

    @property
    def computed(self) -> bool:
        """False when the check could not be computed: it then says nothing about the data."""
        return not self.observed.startswith(NOT_COMPUTED)

    def message(self) -> str:
        """One French paragraph: what was expected, what was found, where, what to do."""
        head = f"{self.check_id} (table {self.table_name})"
        if self.passed:
            return f"{head} : conforme. Attendu : {self.expected}. Trouvé : {self.observed}."
        if not self.computed:
            return (
                f"{head} : {self.observed}. Attendu : {self.expected}. À faire : corriger le contrôle ou la "
                "table qu'il lit (colonne absente, fichier illisible) ; sans son résultat, rien n'est publié."
            )
        where = f" Où : {self.sample}." if self.sample else ""
        stopped = "la publication est arrêtée, la dernière version reste en place"
        todo = (
            f"{stopped} ; {REMEDIES.get(self.suite, REMEDY)}, puis relancer"
            if self.severity == "critical"
            else "la publication continue ; regarder ces lignes et, si l'écart est expliqué, le déclarer"
        )
        return f"{head} : attendu {self.expected} ; trouvé {self.observed}.{where} À faire : {todo}."


def result(
    run: Run,
    *,
    check_id: str,
    suite: str,
    table_name: str,
    severity: Severity,
    expected: str,
    observed: str,
    rows_failed: int | None,
    passed: bool | None = None,
    sample: Iterable[object] = (),
) -> CheckResult:
    """A computed check: unless `passed` says otherwise, it passed when no row failed."""
    return CheckResult(
        check_id=check_id,
        suite=suite,
        table_name=table_name,
        severity=severity,
        passed=not rows_failed if passed is None else passed,
        observed=observed,
        expected=expected,
        rows_failed=rows_failed,
        sample=" ; ".join(str(s) for s in list(sample)[:SAMPLE_SIZE]),
        run_id=run.run_id,
        checked_at=run.checked_at,
    )


def not_computed(run: Run, *, check_id: str, suite: str, table_name: str, expected: str, error: str) -> CheckResult:
    """A check that could not be computed: always critical, never passed."""
    return CheckResult(
        check_id=check_id,
        suite=suite,
        table_name=table_name,
        severity="critical",
        passed=False,
        observed=NOT_COMPUTED + (error.strip().splitlines() or ["erreur sans message"])[0],
        expected=expected,
        rows_failed=None,
        sample="",
        run_id=run.run_id,
        checked_at=run.checked_at,
    )


def blocking(results: Iterable[CheckResult]) -> list[CheckResult]:
    """The failed critical checks: with one of them nothing is published."""
    return [r for r in results if not r.passed and r.severity == "critical"]


def to_frame(results: Iterable[CheckResult]) -> pl.DataFrame:
    """Table `quality_check`: one row per check of a run, sorted by suite then check."""
    frame = pl.DataFrame([asdict(r) for r in results], schema=QUALITY_CHECK)
    return frame.sort("suite", "check_id", "table_name")


def count_fr(n: int) -> str:
    """An integer as French readers write it: 34 968 (narrow no-break space)."""
    return f"{n:,}".replace(",", "\u202f")
