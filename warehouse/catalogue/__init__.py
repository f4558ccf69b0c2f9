"""The indicator catalogue: one YAML file per theme, read by a committee as much as by the code.

Adding an indicator in a known form (published figure, ratio, growth, gap, rank) needs no Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field

from methods.indicators import Gap, Growth, Published, Rank, Ratio, Specification, Term
from methods.settle import Aggregation, VariableRule

FOLDER = Path(__file__).parent


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PublishedForm(_Strict):
    """A figure taken from a source: source -> variable, in order of preference."""

    kind: Literal["published"]
    variables: dict[str, str]
    levels: dict[str, tuple[str, ...]] = {}  # source -> levels taken from it; all when not said
    ages: dict[str, str] = {}
    weight: str | None = None
    rounding_step: float = 0.0  # of the figures by commune

    def specification(self) -> Published:
        return Published(self.variables, self.ages, self.weight)


class RatioForm(_Strict):
    """Sums of variables of one source; a term is `variable`, `variable@-5` (five years before)."""

    kind: Literal["ratio"]
    source: str
    numerator: dict[str, float]
    denominator: dict[str, float]
    scale: float = 100.0

    def specification(self) -> Ratio:
        return Ratio(_terms(self.numerator), _terms(self.denominator), self.scale)


class GrowthForm(_Strict):
    kind: Literal["growth"]
    of: str
    span: int

    def specification(self) -> Growth:
        return Growth(self.of, self.span)


class GapForm(_Strict):
    kind: Literal["gap"]
    of: str
    unit: Literal["points", "ratio"]
    references: tuple[str, ...] = ("EPCI", "DEP", "REG", "METRO")

    def specification(self) -> Gap:
        return Gap(self.of, self.unit, self.references)


class RankForm(_Strict):
    kind: Literal["rank"]
    of: str
    universe: Literal["COM_METRO"] = "COM_METRO"

    def specification(self) -> Rank:
        return Rank(self.of, self.universe)


Form = Annotated[PublishedForm | RatioForm | GrowthForm | GapForm | RankForm, Field(discriminator="kind")]


class Indicator(_Strict):
    """One indicator: what a person reads about it, and how it is computed."""

    id: str = Field(pattern=r"^[a-z][a-z0-9_]+$")
    version: int = 1
    label_fr: str
    label_en: str
    definition_fr: str
    formula: str
    unit: str
    direction: Literal["higher_is_worse", "higher_is_better", "neutral"]
    aggregation: Literal["sum", "ratio", "weighted_mean", "distribution", "none", "input"]
    secrecy_rule: str
    owner: str
    diffusion: Literal["public", "partner"] = "public"
    tier: Literal["A", "B", "C", "D"]
    compute: Form
    theme: str = ""  # the name of the file

    def specification(self) -> Specification:
        return self.compute.specification()


class SeriesBreak(_Strict):
    """A point that no evolution, rank or comparison crosses: years before `year` are another series."""

    scope: str  # a source or an indicator
    year: int
    cause_fr: str
    comparable_before: str | None = None
    comparable_after: str | None = None


class Catalogue(_Strict):
    indicators: tuple[Indicator, ...]
    breaks: tuple[SeriesBreak, ...]

    def indicator(self, indicator_id: str) -> Indicator:
        """KeyError names the identifier."""
        for indicator in self.indicators:
            if indicator.id == indicator_id:
                return indicator
        raise KeyError(f"no indicator {indicator_id!r} in the catalogue")

    def sources_of(self, indicator: Indicator) -> tuple[str, ...]:
        """Identifiers of the sources an indicator rests on, directly or through another indicator."""
        form = indicator.compute
        if isinstance(form, PublishedForm):
            return tuple(form.variables)
        if isinstance(form, RatioForm):
            return (form.source,)
        return self.sources_of(self.indicator(form.of))


@lru_cache(maxsize=1)
def load_catalogue() -> Catalogue:
    """The whole catalogue, indicators sorted by identifier.

    Raises pydantic.ValidationError naming the faulty key, ValueError for a doubled identifier or an indicator
    that rests on an unknown one.
    """
    entries = [
        Indicator.model_validate({**entry, "theme": path.stem})
        for path in sorted(FOLDER.glob("*.yaml"))
        if path.stem != "series_break"
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))
    ]
    ids = [e.id for e in entries]
    double = sorted({i for i in ids if ids.count(i) > 1})
    if double:
        raise ValueError(f"indicators declared twice: {double}")
    for entry in entries:
        of = getattr(entry.compute, "of", None)
        if of is not None and of not in ids:
            raise ValueError(f"{entry.id} rests on {of!r}, which is not in the catalogue")
    breaks = yaml.safe_load((FOLDER / "series_break.yaml").read_text(encoding="utf-8"))
    return Catalogue(
        indicators=tuple(sorted(entries, key=lambda e: e.id)),
        breaks=tuple(SeriesBreak.model_validate(b) for b in breaks),
    )


def variable_rules(catalogue: Catalogue) -> dict[str, tuple[VariableRule, ...]]:
    """How each variable that an indicator uses combines, by source; the first indicator to name one decides."""
    rules: dict[str, dict[str, VariableRule]] = {}
    for indicator in catalogue.indicators:
        for source, rule in _rules_of(indicator):
            rules.setdefault(source, {}).setdefault(rule.variable, rule)
    return {source: tuple(by_name.values()) for source, by_name in sorted(rules.items())}


def _rules_of(indicator: Indicator) -> Iterator[tuple[str, VariableRule]]:
    form = indicator.compute
    if isinstance(form, RatioForm):
        for term in [*_terms(form.numerator), *_terms(form.denominator)]:
            yield form.source, VariableRule(term.variable, "sum")
    elif isinstance(form, PublishedForm):
        for source, variable in form.variables.items():
            if form.weight is not None:
                yield source, VariableRule(form.weight, "sum")
            levels = form.levels.get(source, ())
            yield source, VariableRule(variable, _combines(indicator), form.weight, form.rounding_step, levels)
            for by_age in form.ages.values():
                # no population by age of the referent is published: nothing to weight by
                yield source, VariableRule(by_age, "none", levels=levels)


def _combines(indicator: Indicator) -> Aggregation:
    if indicator.aggregation in ("ratio", "input"):
        raise ValueError(f"{indicator.id}: a published figure does not combine as a ratio")
    return indicator.aggregation


def indicator_table(catalogue: Catalogue) -> pl.DataFrame:
    """The table `indicator`: one row per indicator."""
    return pl.DataFrame(
        [
            {
                "indicator_id": i.id,
                "version": i.version,
                "theme": i.theme,
                "label_fr": i.label_fr,
                "label_en": i.label_en,
                "definition_fr": " ".join(i.definition_fr.split()),
                "formula": i.formula,
                "unit": i.unit,
                "direction": i.direction,
                "aggregation": i.aggregation,
                "secrecy_rule": i.secrecy_rule,
                "owner": i.owner,
                "diffusion": i.diffusion,
                "source_ids": ";".join(catalogue.sources_of(i)),
                "tier": i.tier,
            }
            for i in catalogue.indicators
        ]
    )


def series_break_table(catalogue: Catalogue) -> pl.DataFrame:
    """The table `series_break`: one row per scope and year."""
    return pl.DataFrame(
        [b.model_dump() for b in catalogue.breaks],
        schema={
            "scope": pl.String,
            "year": pl.Int16,
            "cause_fr": pl.String,
            "comparable_before": pl.String,
            "comparable_after": pl.String,
        },
    ).sort("scope", "year")


def _terms(terms: dict[str, float]) -> tuple[Term, ...]:
    parsed: list[Term] = []
    for name, coefficient in terms.items():
        variable, _, lag = name.partition("@-")
        parsed.append(Term(variable, coefficient, int(lag) if lag else 0))
    return tuple(parsed)
