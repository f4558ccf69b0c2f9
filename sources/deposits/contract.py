"""The contract of a partner's dataset, in text: columns, owner, convention, diffusion, secrecy, retention.

Those of the house are in `contracts/`; an observatory's own, in `contracts/` of its data folder, come before them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sources.description import Edition, Format, Member, Source
from sources.written import read_written

SHIPPED = Path(__file__).parent / "contracts"
# frequency below which nothing is said, by rule: the law, the producer's own, an agreement between partners
LEGAL = {"S_OPEN": 0, "S_5": 5, "S_CNAF": 5, "S_11": 11}
LEVELS = ("IRIS", "QPV", "COM", "EPCI", "DEP", "REG", "FRANCE")  # levels a partner may deposit
SHEET, NOTICE = "Données", "Notice"  # of a form: the table, and what explains it
PERIODS = {"year": 1, "half": 2, "month": 12}  # periods in a year

# territory, level, period, dimension and unit say what a row is of; the others are figures.
# dimension: a breakdown that is kept (sex, age). unit: what is summed up (an association, a school, an action).
# largest, contributors: what the largest contributor of an amount brings, and how many there are; never published.
# measure: a figure that does not add up (a median, a rate).
Role = Literal[
    "territory",
    "level",
    "period",
    "dimension",
    "unit",
    "count",
    "amount",
    "denominator",
    "largest",
    "contributors",
    "measure",
]
KEYS = ("territory", "level", "period", "dimension", "unit")


class ContractError(ValueError):
    """A contract cannot be read; the message (French) names the file and what to mend."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Modality(_Strict):
    """One code of a dimension. `suffix` ends the variable; "" is the whole population, given by the partner; null
    counts in the whole only (sex unknown)."""

    label: str
    suffix: str | None = None


class Column(_Strict):
    """One column of the file; `name` is its header and, of a figure, its variable in the warehouse."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    label: str = Field(min_length=1)  # French, said to the partner
    role: Role
    unit: str | None = None
    decimal: bool = False
    minimum: float | None = 0.0
    maximum: float | None = None
    optional: bool = False  # the file may do without it
    codes: dict[str, Modality] = {}  # of a dimension or a unit: the only ones allowed
    pattern: str | None = None  # of a unit: what an identifier looks like; never free text
    part_of: str | None = None  # column that this one never exceeds
    of: str | None = None  # of a largest contributor or of a number of contributors: the amount

    @model_validator(mode="after")
    def _codes_suit_the_role(self) -> Column:
        if self.role == "dimension" and not self.codes:
            raise ValueError(f"{self.name} : une dimension dit ses codes (`codes`)")
        if self.role == "unit" and bool(self.codes) == bool(self.pattern):
            raise ValueError(f"{self.name} : une unité dit ses codes (`codes`) ou leur forme (`pattern`)")
        if (self.role in ("largest", "contributors")) != (self.of is not None):
            raise ValueError(
                f"{self.name} : `of` (le montant) se dit du plus gros contributeur et du nombre de contributeurs, d'eux"
                " seuls"
            )
        return self

    @property
    def is_key(self) -> bool:
        return self.role in KEYS


class Secrecy(_Strict):
    """The rule of the law or of the convention, and the owner's threshold: never below the rule's."""

    rule: Literal["S_OPEN", "S_5", "S_CNAF", "S_11"]
    threshold: int

    @model_validator(mode="after")
    def _never_below_the_legal_one(self) -> Secrecy:
        if self.threshold < LEGAL[self.rule]:
            raise ValueError(f"seuil {self.threshold} : attendu au moins {LEGAL[self.rule]}, celui de {self.rule}")
        return self


class Contract(_Strict):
    """A partner's dataset, one row of the file a territory, period and modality."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str = Field(min_length=1)
    owner: str = Field(min_length=1)
    convention: str = Field(min_length=1)  # reference of the agreement
    diffusion: Literal["public", "partner"] = "partner"
    secrecy: Secrecy
    retention_months: int = Field(ge=1)  # how long the deposited file may be kept
    levels: tuple[str, ...] = Field(min_length=1)
    period: Literal["year", "half", "month"] = "year"
    over_year: Literal["sum", "mean", "last"] | None = None  # of the periods of a year
    cog_year: int | None = None  # geography of the codes, when it is always the same
    columns: tuple[Column, ...]
    notes: str | None = None

    @model_validator(mode="after")
    def _columns_make_a_table(self) -> Contract:
        wrong = [*self._columns_wrong(), *self._figures_wrong()]
        if wrong:
            raise ValueError(" ; ".join(wrong))
        return self

    def _columns_wrong(self) -> Iterator[str]:
        names = [c.name for c in self.columns]
        if len(set(names)) < len(names):
            yield "deux colonnes de même nom"
        for role, expected in (("territory", 1), ("period", 1), ("level", int(len(self.levels) > 1))):
            if len(self.of_role(role)) != expected:
                yield f"attendu {expected} colonne(s) de rôle {role} ; trouvé {len(self.of_role(role))}"
        lost = {n for c in self.columns for n in (c.part_of, c.of) if n is not None} - set(names)
        if lost:
            yield f"colonnes nommées par `part_of` ou `of` qui n'existent pas : {sorted(lost)}"
        unknown = [level for level in self.levels if level not in LEVELS]
        if unknown:
            yield f"niveaux {unknown} : attendu parmi {list(LEVELS)}"
        if (self.period == "year") != (self.over_year is None):
            yield "`over_year` se dit des mois et des semestres, et d'eux seuls"

    def _figures_wrong(self) -> Iterator[str]:
        if not self.figures:
            yield "aucune colonne de chiffres"
        secret = self.secrecy.rule != "S_OPEN"
        for role, label in (("largest", "plus gros contributeur"), ("contributors", "nombre de contributeurs")):
            told = {c.of for c in self.of_role(role)}
            alone = [c.name for c in self.of_role("amount") if c.name not in told]
            if alone and secret:
                yield f"montants {alone} : sans leur {label} (rôle {role}), la dominance ne se vérifie pas"
        summed = [c.name for c in self.of_role("dimension") if not any(m.suffix == "" for m in c.codes.values())]
        if self.of_role("measure") and (summed or self.of_role("unit") or self.over_year == "sum"):
            yield f"une mesure ne s'additionne pas : donner l'ensemble (suffix: \"\") de {summed}, sans unité"

    def of_role(self, *roles: str) -> list[Column]:
        """The columns of some roles, as ordered in the file."""
        return [c for c in self.columns if c.role in roles]

    @property
    def figures(self) -> list[Column]:
        return [c for c in self.columns if not c.is_key]

    def column(self, name: str) -> Column:
        """The column of that name; KeyError when there is none."""
        return {c.name: c for c in self.columns}[name]

    @property
    def says_every_modality(self) -> bool:
        """Whether each modality of each dimension has its own figure: none counts in the whole only."""
        return all(m.suffix is not None for d in self.of_role("dimension") for m in d.codes.values())

    @property
    def source_id(self) -> str:
        """What the warehouse calls this dataset."""
        return f"depot_{self.name}"

    @property
    def digest(self) -> str:
        """Of everything the contract says: figures are read again when it changes."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()[:16]

    def edition(self, year: int, deposit: str, file_format: Format, cog_year: int) -> Edition:
        """The year of a deposit, as an edition; nobody is asked for it, its body is in the raw store. Its address is
        published, and says nothing of the file: see pipelines.stages.tables.source_files."""
        return Edition(
            edition=str(year),
            data_year=year,
            cog_year=cog_year,
            url=f"deposit:{deposit}/{year}",
            format=file_format,
            connector="deposit",
            layout=self.digest,
            members=tuple(Member(level=level) for level in self.levels),
        )


class Deposited(Source):
    """A contract as a source; its editions are the years in force."""

    contract: Contract


def as_source(contract: Contract, editions: Sequence[Edition] = ()) -> Deposited:
    """The contract as a source of these editions."""
    return Deposited(
        source_id=contract.source_id,
        title=contract.title,
        producer=contract.owner,
        owner=contract.owner,
        licence=f"Convention : {contract.convention}",
        diffusion=contract.diffusion,
        parser="deposits",
        tested_on="generated",
        editions=tuple(editions),
        contract=contract,
    )


def read_contract(path: Path) -> Contract:
    """The contract of a file. Raises ContractError naming the file and each faulty key."""
    return read_written(
        path, Contract, ContractError, kind="contrat de dépôt", command="vigie deposit new", key="name"
    )


@lru_cache(maxsize=1)
def shipped_contracts() -> dict[str, Contract]:
    """The contracts of the house, by name."""
    return {path.stem: read_contract(path) for path in sorted(SHIPPED.glob("*.yaml"))}


def contracts_of(folder: Path) -> dict[str, Contract]:
    """The contracts of the house and those of a folder, which win, by name. Raises ContractError."""
    own = {path.stem: read_contract(path) for path in sorted(folder.glob("*.yaml"))}
    return dict(sorted((shipped_contracts() | own).items()))


def contract_sources() -> dict[str, Source]:
    """The contracts of the house as sources without any deposit, by source_id."""
    return {c.source_id: as_source(c) for c in shipped_contracts().values()}
