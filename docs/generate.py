"""Writes the generated pages of this folder: dictionnaire.md, and reconciliation.md from what is published.

Run by `make docs`. A published country that is fictional leaves reconciliation.md as it is: that page holds the
figures of the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl
from pydantic import ValidationError

from expectations.editions import CAUSES, render_table
from pipelines.settings import Settings
from sources.description import load_sources
from warehouse.catalogue import Catalogue, Indicator, load_catalogue
from warehouse.models import CODELISTS
from warehouse.package import dictionary_markdown
from warehouse.release import Release, Releases

FOLDER = Path(__file__).parent
DONE, FAILED, USAGE = 0, 1, 2


def generate(data: Path, folder: Path = FOLDER) -> int:
    """Writes the pages into `folder` from what is published in `data`; says in French what it did.

    Returns the exit code: 1, and nothing written, when nothing is published there.
    """
    release = Releases(data).latest()
    if release is None:
        print(f"Rien n'est publié dans {data}. À faire : lancer « vigie run », ou donner VIGIE_DATA.", file=sys.stderr)
        return FAILED
    _write(folder / "dictionnaire.md", dictionary_page(load_catalogue()))
    page = folder / "reconciliation.md"
    if release.notice:
        print(f"{page} : laissée telle quelle, la publication {release.release_id} est fictive.")
    else:
        _write(page, reconciliation_page(release))
    return DONE


def dictionary_page(catalogue: Catalogue) -> str:
    """The dictionary of tables, views and codes, then one line per indicator of the catalogue."""
    titles = {s.source_id: s.title for s in load_sources().values()}
    lines = [dictionary_markdown().rstrip(), "", "## Indicateurs", ""]
    for theme in sorted({i.theme for i in catalogue.indicators}):
        lines += [f"### {theme}", "", "| Indicateur | Définition | Unité | Formule | Agrégation | Source |"]
        lines.append("|---|---|---|---|---|---|")
        lines += [_line(i, catalogue, titles) for i in catalogue.indicators if i.theme == theme]
        lines.append("")
    return "\n".join(lines)


def _line(indicator: Indicator, catalogue: Catalogue, titles: dict[str, str]) -> str:
    cells = [
        f"`{indicator.id}` {indicator.label_fr}",
        " ".join(indicator.definition_fr.split()),
        indicator.unit,
        indicator.formula,
        CODELISTS["aggregation"][indicator.aggregation],
        " ; ".join(f"{titles[s]} (`{s}`)" for s in catalogue.sources_of(indicator)),
    ]
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"


READING = """**Niveau** est celui du chiffre publié : `EPCI` dit que les EPCI publiés sont comparés à leurs communes ;
`COM`, que Paris, Lyon et Marseille le sont à leurs arrondissements. **Comparés** : territoires dont les membres connus
pèsent au moins 99 % (tous, pour une somme) ; les autres sont vérifiés par un intervalle plus large. L'**écart maximal**
est celui des territoires comparés à une valeur recalculée ; il n'y en a pas pour ce qui est seulement encadré. Un
indicateur fait de plusieurs variables (classes d'âge, termes d'un rapport) tient en une ligne, la moins bonne."""


def reconciliation_page(release: Release) -> str:
    """The published table `reconciliation`, as a page."""
    table = pl.read_parquet(release.path("reconciliation"))
    told = pl.col("cause_fr").map_elements(_told_once, return_dtype=pl.String)
    title, _, rest = render_table(table.with_columns(told)).partition("\n")
    intro, heading, lines = rest.partition("\n## ")
    origin = f"Publication {release.release_id} du {release.created_at:%d/%m/%Y}. Page écrite par `make docs`."
    return f"{title}\n\n{origin}\n{intro}\n{READING}\n{heading}{lines}"


def _told_once(causes: str) -> str:
    """The causes of a line, each once, without the general ones that the page tells at its top."""
    told = dict.fromkeys(c for c in causes.split(" ; ") if c not in CAUSES.values())
    return " ; ".join(told)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"{path} : écrite, {len(text.encode()) / 1000:.0f} ko.")


def main() -> int:
    """Exit codes: 0 written, 1 nothing published, 2 wrong setting."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"Réglage refusé : {error}", file=sys.stderr)
        return USAGE
    return generate(settings.data.absolute())


if __name__ == "__main__":
    sys.exit(main())
