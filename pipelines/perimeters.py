"""The register of perimeters: one text file each in `perimeters/` of the data folder, versions kept in it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from methods.perimeters import MEMBERS
from sources.written import read_written


class PerimeterError(ValueError):
    """A perimeter's file cannot be read; the message (French) names it and says what to do."""


HEADING = "# Périmètre d'un observatoire. Une version par composition ; la dernière est publiée.\n"
COMMUNE = re.compile(r"(\d{2}|2[AB])\d{3}")


class Version(BaseModel):
    """One composition: `asked` as it was typed, `members` what it stands for, communes of the COG and IRIS. `date`, to
    the second: what was defined first is told first, and what follows is judged by it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1)
    date: datetime
    cog_year: int
    asked: tuple[str, ...]
    members: tuple[str, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _members_are_communes_or_iris(self) -> Version:
        wrong = [m for m in self.members if not re.fullmatch(r"COM-\w{5}|IRIS-\w{9}", m)]
        if wrong:
            raise ValueError(f"attendu des identifiants COM-… ou IRIS-… ; trouvé {', '.join(wrong[:5])}")
        return self


class Perimeter(BaseModel):
    """A perimeter and its versions, oldest first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    slug: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    name: str = Field(min_length=1)
    versions: tuple[Version, ...] = Field(min_length=1)

    @property
    def current(self) -> Version:
        return self.versions[-1]


def slug_of(name: str) -> str:
    """The name in the letters of an identifier; ValueError where none is left."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.lower()) if not unicodedata.combining(c))
    slug = "-".join(re.findall(r"[a-z0-9]+", plain))
    if not slug:
        raise ValueError(f"attendu un nom qui contient des lettres ou des chiffres ; trouvé « {name} »")
    return slug


def load(folder: Path) -> list[Perimeter]:
    """The perimeters of the folder, by slug. Raises PerimeterError naming the file and what is wrong in it."""
    told = {"kind": "périmètre", "command": "vigie perimeter add", "key": "slug"}
    return [read_written(path, Perimeter, PerimeterError, **told) for path in sorted(folder.glob("*.yaml"))]


def in_order(perimeters: Iterable[Perimeter]) -> list[Perimeter]:
    """Perimeters by the moment their current version was defined."""
    return sorted(perimeters, key=lambda p: (p.current.date, p.slug))


def save(folder: Path, perimeter: Perimeter) -> Path:
    """Writes a perimeter's file, whole; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{perimeter.slug}.yaml"
    text = yaml.safe_dump(perimeter.model_dump(mode="json"), allow_unicode=True, sort_keys=False, width=110)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(HEADING + text, encoding="utf-8")
    temporary.replace(path)
    return path


def revised(
    known: Sequence[Perimeter], name: str, cog_year: int, asked: Sequence[str], members: Iterable[str], now: datetime
) -> tuple[Perimeter, bool]:
    """The perimeter of that name with this composition as its last version, and whether anything changed.

    Raises ValueError where another name already has the identifier.
    """
    slug = slug_of(name)
    before = next((p for p in known if p.slug == slug), None)
    if before is not None and before.name != name:
        raise ValueError(f"attendu un nom dont l'identifiant « {slug} » est libre ; trouvé celui de « {before.name} »")
    whole = tuple(sorted(set(members)))
    if before is not None and (before.current.cog_year, before.current.members) == (cog_year, whole):
        return before, False
    old = before.versions if before else ()
    new = Version(version=len(old) + 1, date=now, cog_year=cog_year, asked=tuple(asked), members=whole)
    return Perimeter(slug=slug, name=name, versions=(*old, new)), True


def members_frame(perimeters: Sequence[Perimeter]) -> pl.DataFrame:
    """Members of the current version of each perimeter: rows MEMBERS of `methods.perimeters`."""
    rows = [(p.slug, p.current.cog_year, *m.split("-", 1)) for p in perimeters for m in p.current.members]
    schema = dict(zip(MEMBERS, (pl.String, pl.Int16, pl.String, pl.String), strict=True))
    return pl.DataFrame(rows, schema=schema, orient="row")


def expanded(asked: Sequence[str], held: pl.DataFrame, iris: Iterable[str], cog_year: int) -> list[str]:
    """Identifiers of the communes and IRIS that the asked ones stand for.

    asked: commune codes, or identifiers COM-, EPCI-, DEP-, REG-, ARR-, ZE-, EPT- of the COG, or IRIS-. held: communes
    of every territory of that COG (level, code, commune). iris: known IRIS codes. Raises ValueError listing every one
    that is not known.
    """
    identifier = pl.col("level") + pl.lit("-") + pl.col("code")
    communes: dict[str, list[str]] = dict(held.group_by(identifier.alias("identifier")).agg("commune").iter_rows())
    listed = set(iris)
    found: set[str] = set()
    unknown: list[str] = []
    for text in asked:
        name = f"COM-{text}" if COMMUNE.fullmatch(text) else text
        level, _, code = name.partition("-")
        if level == "IRIS" and code in listed:
            found.add(name)
        elif level not in ("IRIS", "ARM", "METRO", "FRANCE") and name in communes:
            found.update(f"COM-{c}" for c in communes[name])
        else:
            unknown.append(text)
    if unknown:
        raise ValueError(
            f"attendu des codes de communes du COG {cog_year}, ou des identifiants EPCI-…, DEP-…, ARR-…, ZE-…, EPT-…, "
            f"REG-… de ce COG, ou IRIS-… de la liste employée ; inconnus : {', '.join(unknown[:20])}"
        )
    return sorted(found)
