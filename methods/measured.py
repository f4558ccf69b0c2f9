"""How wrong the estimates were on territories whose figures are published: measured by `python -m bench.estimates`,
kept as numbers in `estimate_errors.yaml`, and used to give each estimate its interval and grade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from methods.calibration import Calibration

FILE = Path(__file__).with_name("estimate_errors.yaml")


@dataclass(frozen=True)
class Measured:
    """distribution: errors of methods.distribution.mixture; rate_quantile: half a 90 % interval of
    methods.unions.estimate, in standard deviations."""

    distribution: Calibration
    rate_quantile: float


@lru_cache(maxsize=1)
def kept() -> dict[str, Any]:
    """All that the last measure wrote, its tables too. FileNotFoundError before the first."""
    return yaml.load(FILE.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


@lru_cache(maxsize=1)
def measured() -> Measured:
    """What intervals are made from."""
    arrays = {
        part: {quantity: np.array(numbers) for quantity, numbers in kept()[part].items()}
        for part in ("coefficients", "factors")
    }
    return Measured(Calibration(**arrays), float(kept()["rate_quantile"]))


def write(calibration: Calibration, rate_quantile: float, told: Mapping[str, Any]) -> None:
    """Keeps a measure; told: its years and its table of accuracy, for the documentation."""
    parts = {
        "coefficients": {q: [round(float(x), 6) for x in numbers] for q, numbers in calibration.coefficients.items()},
        "factors": {q: [round(float(x), 6) for x in numbers] for q, numbers in calibration.factors.items()},
    }
    text = yaml.safe_dump(
        {"rate_quantile": round(rate_quantile, 6), **parts, **told},
        allow_unicode=True,
        sort_keys=False,
        default_flow_style=None,
        width=150,
    )
    FILE.write_text(
        "# Écrit par « python -m bench.estimates » ; ne se modifie pas à la main.\n" + text, encoding="utf-8"
    )
