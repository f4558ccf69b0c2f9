"""The register of definitions: a definition changed without a new version does not pass.

`catalogue/versions.tsv` holds one line per indicator and version, with the digest of the definition it stood for.
Lines are added, never rewritten: a version that was published keeps its meaning.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from warehouse.catalogue import Catalogue, Indicator

REGISTER = "versions.tsv"
HEADER = ("indicator_id", "version", "digest")
# Labels, the formula in words and the traps are free: rewording them changes no figure.
DEFINING = ("formula", "unit", "direction", "aggregation", "secrecy_rule")

Register = dict[tuple[str, int], str]  # (indicator, version) -> digest


def definition_digest(catalogue: Catalogue, indicator: Indicator) -> str:
    """16 hexadecimal digits of what makes a definition: the text, DEFINING, how it is computed and from what.

    An indicator computed from another changes with it. Blanks of the text, and options left at their default, count
    for nothing.
    """
    content: dict[str, Any] = {name: getattr(indicator, name) for name in DEFINING}
    content["definition_fr"] = " ".join(indicator.definition_fr.split())
    content["compute"] = indicator.compute.model_dump(mode="json", exclude_defaults=True)
    content["bases"] = [definition_digest(catalogue, base) for base in catalogue.bases_of(indicator)]
    # the order of `compute` is kept: sources are tried in the order they are written
    text = json.dumps(sorted(content.items()), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_register(folder: Path) -> Register:
    """The register of a catalogue's folder; empty before the first line. ValueError names a line that is not one."""
    path = folder / REGISTER
    if not path.exists():
        return {}
    register: Register = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(HEADER) or not cells[1].isdigit():
            raise ValueError(
                f"{path}, ligne {number} : attendu {', '.join(HEADER)} séparés par des tabulations ; trouvé {line!r}. "
                "À faire : reprendre la ligne de la dernière version enregistrée du fichier."
            )
        register[cells[0], int(cells[1])] = cells[2]
    return register


def write_register(folder: Path, register: Register) -> None:
    """Writes the register, sorted by indicator and version."""
    rows = [HEADER, *((i, str(v), digest) for (i, v), digest in sorted(register.items()))]
    (folder / REGISTER).write_text("".join("\t".join(r) + "\n" for r in rows), encoding="utf-8", newline="\n")


def disagreements(catalogue: Catalogue, register: Register) -> list[str]:
    """What differs between a catalogue and its register (French), one line per indicator; empty when they agree."""
    found = [_disagreement(catalogue, indicator, register) for indicator in catalogue.indicators]
    return [problem for problem in found if problem is not None]


def _disagreement(catalogue: Catalogue, indicator: Indicator, register: Register) -> str | None:
    where = f"{indicator.id}, version {indicator.version}"
    known = [v for i, v in register if i == indicator.id]
    if indicator.version < max(known, default=0):
        return f"{where} : le registre a la version {max(known)}. À faire : reprendre celle-ci, avec son histoire."
    if indicator.version not in known:
        return f"{where} : absente du registre {REGISTER}. À faire : python -m warehouse.amend"
    if register[indicator.id, indicator.version] != definition_digest(catalogue, indicator):
        return (
            f"{where} : la définition, ou celle d'un indicateur dont il dérive, n'est plus celle du registre. "
            f'À faire : python -m warehouse.amend {indicator.id} "ce qui change", ou reprendre la définition.'
        )
    return None
