"""A small country with known figures, as the tables of a release: shared by the tests of the warehouse.

Three communes in one EPCI, one département, one région; a bound, masks, a series break.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import polars as pl

from warehouse.models import TABLES
from warehouse.release import Candidate, Release, Releases

DIGEST = "0123456789abcdef" * 4
NOTICE = "Données fictives."

TERRITORIES = [
    ("COM-01001", "COM", "01001", "Épinay-l'Œuvre", "EPCI-200000001", "DEP-01", "REG-84", 5000),
    ("COM-01002", "COM", "01002", "Bourg-Saint-Éloi", "EPCI-200000001", "DEP-01", "REG-84", 900),
    ("COM-01003", "COM", "01003", "Le Mesnil", "EPCI-200000001", "DEP-01", "REG-84", 60),
    ("DEP-01", "DEP", "01", "Ain", None, None, "REG-84", 5960),
    ("EPCI-200000001", "EPCI", "200000001", "CC du Mesnil", None, "DEP-01", "REG-84", 5960),
    ("METRO-FM", "METRO", "FM", "France métropolitaine", None, None, None, 5960),
    ("REG-84", "REG", "84", "Auvergne-Rhône-Alpes", None, None, None, 5960),
]

# indicator, territory, year, value, lower, upper, obs_status
FIGURES = [
    ("rev_tp60", "COM-01001", 2018, 44.0, None, None, "A"),
    ("rev_tp60", "COM-01001", 2019, 46.0, None, None, "A"),
    ("rev_tp60", "COM-01001", 2020, None, None, None, "Q"),
    ("rev_tp60", "COM-01001", 2021, 45.0, None, None, "A"),
    ("rev_tp60", "COM-01001", 2023, 40.0, None, None, "A"),
    ("rev_tp60", "COM-01001", 2024, 41.0, None, None, "E"),
    ("rev_tp60", "COM-01002", 2018, None, 0.0, 5.0, "Q"),
    ("rev_tp60", "COM-01003", 2018, None, None, None, "Q"),
    ("rev_tp60", "DEP-01", 2018, 12.5, None, None, "A"),
    ("rev_tp60", "EPCI-200000001", 2018, 30.0, 29.5, 30.5, "A"),
    ("rev_tp60", "METRO-FM", 2018, 14.8, None, None, "A"),
    ("rev_tp60", "REG-84", 2018, None, None, None, "O"),
    ("rev_med", "COM-01001", 2018, 13960.0, None, None, "A"),
    ("rev_med", "COM-01002", 2018, 22500.0, None, None, "A"),
    ("rev_med", "METRO-FM", 2018, 21730.0, None, None, "A"),
    ("dem_pop", "COM-01001", 2018, 5000.0, None, None, "A"),
    ("dem_pop", "COM-01001", 2010, 4800.0, None, None, "A"),
    ("caf_rsa", "COM-01001", 2019, None, 120.0, None, "Q"),
    ("caf_rsa", "COM-01001", 2020, 250.0, 247.5, 252.5, "A"),
    ("caf_rsa", "COM-01001", 2021, 255.0, 252.5, 257.5, "A"),
]
SOURCES = {
    "rev": "insee_filosofi_cc/{}-geo2022",
    "dem": "insee_populations_legales/{}",
    "caf": "cnaf_commune/{}",
}
UNITS = {"rev_tp60": "%", "rev_med": "€ par UC et an", "dem_pop": "habitants", "caf_rsa": "foyers"}


def observations() -> pl.DataFrame:
    """The figures above as rows of `observation`, with the rank of the poorest commune."""
    rows = [_row(*figure) for figure in FIGURES]
    rank = _row("rev_tp60_rang", "COM-01001", 2018, 1.0, None, None, "A")
    rows.append(rank | {"reference": "COM_METRO", "weight": 1.0})
    table = TABLES["observation"]
    schema = {c.name: c.dtype for c in table.columns if c.name != "release_added"}
    return pl.DataFrame(rows, schema=schema).sort(table.key)


def _row(
    indicator: str,
    territory: str,
    year: int,
    value: float | None,
    lower: float | None,
    upper: float | None,
    status: str,
) -> dict[str, object]:
    source = "cnaf_iris/{}" if indicator == "caf_rsa" and year < 2020 else SOURCES[indicator[:3]]
    bounded = lower is not None or upper is not None
    return {
        "indicator_id": indicator,
        "territory_id": territory,
        "year": year,
        "sex": "_T",
        "age": "_T",
        "reference": "_Z",
        "value": value,
        "obs_status": status,
        "conf_status": "A" if status == "Q" else "F",
        "grade": None if value is None else "A",
        "lower": lower,
        "upper": upper,
        "interval_kind": "bound" if bounded else None,
        "weight": None,
        "reason": None if value is not None else "borne" if bounded else "secret",
        "masked_parts": None,
        "cog_year_source": 2022,
        "source_ids": source.format(year),
    }


def tables() -> dict[str, pl.DataFrame]:
    """Every table that a caller writes, but `observation`."""
    frames = {
        "territory": [(*t[:4], 2025, None, None, *t[4:7], t[7], 2022) for t in TERRITORIES],
        "territory_member": [("DEP-01", f"COM-0100{i}", 2025, 1.0) for i in (1, 2, 3)],
        "passage": [
            (2016, "01004", 2025, "01001", 1.0, "merge"),
            (2025, "01001", 2016, "01004", None, "merge"),
        ],
        "indicator": [
            (
                i,
                1,
                "revenus",
                f"Libellé de {i}",
                i,
                "Définition",
                "x / y",
                u,
                "neutral",
                "none",
                "S_FILO",
                "Insee",
                "public",
                "insee_filosofi_cc",
                "A",
                5 if i == "dem_pop" else 1,
            )
            for i, u in {**UNITS, "rev_tp60_rang": "rang"}.items()
        ],
        "series_break": [
            ("cnaf_iris", 2020, "Des effectifs par IRIS aux effectifs par commune.", None, None),
            ("insee_filosofi_cc", 2022, "Nouvelle source.", "jusqu'à 2021", "depuis 2023"),
        ],
        "source_file": [
            (
                "insee_filosofi_cc",
                "2018-geo2022",
                "Filosofi, communes",
                "https://exemple.invalid/a",
                "https://exemple.invalid/a",
                None,
                "ab" * 32,
                10,
                "Insee",
                "Licence Ouverte 2.0",
                "Insee",
                "public",
                False,
                None,
            )
        ],
        "comparable_profile": [
            ("rev_med", "niveau de vie médian", 2018, "none", 1.0, 1000.0, 2, "Revenus."),
            ("rev_tp60", "taux de pauvreté", 2018, "sqrt", 3.0, 0.5, 2, "Pauvreté."),
        ],
        "comparable_territory": [
            ("COM-01001", 1, "COM-01002", 2.5, "rev_med", "rev_tp60"),
            ("COM-01001", 2, "COM-01003", 4.0, "rev_tp60;rev_med", ""),
        ],
        "composite_component": [
            ("cmp_iss", 1, "COM-01001", 2018, "revenus", "rev_med", 2018, 13960.0, 20.0, 10.0),
            ("cmp_iss", 1, "COM-01001", 2018, "pauvreté", "rev_tp60", 2018, 44.0, 10.0, 5.0),
        ],
        "composite_rank": [("cmp_iss", 1, "COM-01001", 2018, "FRANCE-F", 1, 1, 1, 1, 1, 1)],
        "composite_goalpost": [
            ("cmp_iss", 1, "FRANCE-F", "revenus", 1.0, "rev_med", 1, "log", 2018, 9.4, 10.3, 9.9, 0.2, None, 2),
        ],
        "composite_correlation": [
            ("cmp_iss", 1, 2018, "FRANCE-F", "COM", "components", "rev_med", "rev_tp60", 0.95, True, 3),
        ],
        "coverage": [("rev_tp60", "COM", 2018, 3, 1, 2, 0, "secret", False)],
        "reconciliation": [
            (
                "rev_tp60",
                "DEP",
                "insee_filosofi_cc",
                "2018-geo2022",
                2018,
                1,
                1,
                0.1,
                0.5,
                0,
                "conforme",
                None,
            )
        ],
        "quality_check": [
            (
                "observation.cle",
                "observation",
                "observation",
                "critical",
                True,
                "0",
                "0",
                0,
                None,
                "essai",
                None,
            )
        ],
    }
    built = {
        name: pl.DataFrame(rows, schema=TABLES[name].schema(), orient="row") for name, rows in frames.items()
    }
    instant = pl.datetime(2026, 1, 2, 3, 4, 5, time_unit="us")
    built["source_file"] = built["source_file"].with_columns(retrieved_at=instant)
    built["quality_check"] = built["quality_check"].with_columns(checked_at=instant)
    return built


def candidate(
    releases: Releases,
    rows: pl.DataFrame | None = None,
    *,
    digest: str = DIGEST,
    notice: str | None = None,
    **changed: pl.DataFrame,
) -> Candidate:
    """A candidate with every table written; `changed` replaces some of them."""
    built = releases.candidate(digest, git_commit="abc", notice=notice)
    for name, frame in (tables() | changed).items():
        built.write(name, frame)
    built.write("observation", observations() if rows is None else rows)
    return built


def publish(releases: Releases, rows: pl.DataFrame | None = None, **options: object) -> Release:
    """Publishes the sample, or `rows` in the place of its observations."""
    return releases.publish(candidate(releases, rows, **options))  # type: ignore[arg-type]
