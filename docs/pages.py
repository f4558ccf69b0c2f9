"""The pages of the dictionary, in Markdown: one per indicator, one per source, one per theme, and the home page.

What they say comes from the catalogue and the descriptions of sources; what is published, from a release if there is
one. Readers are a committee first: plain words above, codes at the bottom.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
import yaml

from sources.description import Edition, Source
from warehouse.catalogue import FOLDER, Catalogue, Indicator, SeriesBreak
from warehouse.models import CODELISTS
from warehouse.release import Release

TESTED_ON = {
    "real": "de vrais fichiers du producteur",
    "generated": "des fichiers générés d'après sa documentation : jamais encore sur un vrai fichier",
}
LEVELS = list(CODELISTS["level"])
ACRONYMS = ("IRIS", "QPV", "EPCI", "EPT")  # levels whose acronym says more than their name
ABSENT = "—"
# what a cell says instead of a number of territories: the reason in `coverage`, and what it means
NO_VALUE = {
    "bornes": ("borne", "un encadrement ou un minimum, sans valeur exacte"),
    "masqué": ("secret", "des valeurs toutes secrètes"),
}


@dataclass(frozen=True)
class Site:
    """What the pages are made from. release: the published one, None when nothing real is."""

    catalogue: Catalogue
    sources: dict[str, Source]
    release: Release | None

    def table(self, name: str) -> pl.DataFrame:
        """A table of the release; empty without one."""
        return pl.read_parquet(self.release.path(name)) if self.release else pl.DataFrame()

    def users_of(self, source_id: str) -> list[Indicator]:
        """The indicators that rest on a source."""
        return [i for i in self.catalogue.indicators if source_id in self.catalogue.sources_of(i)]


def pages(site: Site) -> dict[str, str]:
    """Path (without .md) -> text of every page made here."""
    coverage, groups, files = site.table("coverage"), groups_of(site), site.table("source_file")
    written = {"index": home_page(site)}
    written["indicateurs/index"], written["sources/index"] = indicators_page(site), sources_page(site)
    for theme, title in theme_titles(site.catalogue).items():
        written[f"indicateurs/theme-{theme}"] = theme_page(site, theme, title)
    for indicator in site.catalogue.indicators:
        written[f"indicateurs/{indicator.id}"] = indicator_page(site, indicator, coverage, groups)
    for source in site.sources.values():
        written[f"sources/{source.source_id}"] = source_page(site, source, files)
    return written


def theme_titles(catalogue: Catalogue) -> dict[str, str]:
    """Theme -> title: the first sentence of the comment that opens its file. ValueError for a file without one."""
    titles: dict[str, str] = {}
    for theme in sorted({i.theme for i in catalogue.indicators}):
        path = FOLDER / f"{theme}.yaml"
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        found = re.match(r"# ([^.]+)", first)
        if found is None:
            raise ValueError(
                f"{path}, ligne 1 : attendu le titre du thème en commentaire (« # Revenus et pauvreté. ») ; trouvé "
                f"{first!r}. À faire : l'écrire."
            )
        titles[theme] = found.group(1).strip()
    return titles


def home_page(site: Site) -> str:
    """The entrance: what this is, how to find, the themes."""
    titles = theme_titles(site.catalogue)
    themes = [
        [f"[{title}](indicateurs/theme-{theme}.md)", str(sum(i.theme == theme for i in site.catalogue.indicators))]
        for theme, title in titles.items()
    ]
    return _page(
        "Dictionnaire des indicateurs",
        "Ce que mesure chaque indicateur, comment il se calcule, d'où il vient, où et quand il est publié, et comment "
        "on risque de le lire de travers.",
        f"Pour trouver un indicateur : le champ **Recherche**, en haut (avec ou sans accents), les {len(titles)} "
        "thèmes ci-dessous, ou la [liste complète](indicateurs/index.md).",
        _table(["Thème", "Indicateurs"], themes, numbers=1),
        "## Discuter et amender",
        "Une définition se discute à partir de sa page. La changer fait une nouvelle version, datée, avec ce qui "
        "change : la page garde l'histoire, et chaque publication distingue les chiffres que la définition a fait "
        "bouger de ceux que les données ont fait bouger. Un libellé, une formule en mots ou un piège se reprend "
        "librement. Tout est écrit en clair dans un fichier par thème : voir le "
        "[guide de l'analyste](guide-analyste.md).",
        _published(site),
        _toctree(["indicateurs/index", "sources/index", "Tables et codes <dictionnaire>", "guides"]),
    )


def _published(site: Site) -> str:
    if site.release is None:
        return "Aucune publication n'accompagne ces pages : elles disent ce qui est déclaré, non ce qui est publié."
    return f"Les chiffres de couverture sont ceux de la publication {_release_name(site.release)}."


def _release_name(release: Release) -> str:
    return f"`{release.release_id}` du {release.created_at:%d/%m/%Y}"


def indicators_page(site: Site) -> str:
    """Every indicator, in alphabetical order of its label."""
    titles = theme_titles(site.catalogue)
    rows = [
        [f"[{i.label_fr}]({i.id}.md)", f"[{titles[i.theme]}](theme-{i.theme}.md)", i.unit, f"`{i.id}`"]
        for i in sorted(site.catalogue.indicators, key=lambda i: _alphabetical(i.label_fr))
    ]
    return _page(
        "Indicateurs",
        f"{len(rows)} indicateurs, par ordre alphabétique.",
        _table(["Indicateur", "Thème", "Unité", "Identifiant"], rows),
        _toctree([f"theme-{theme}" for theme in titles]),
    )


def _alphabetical(text: str) -> str:
    return text.lower().replace("é", "e").replace("è", "e").replace("ê", "e").replace("î", "i")


def theme_page(site: Site, theme: str, title: str) -> str:
    """The indicators of a theme with the first sentence of their definition."""
    own = [i for i in site.catalogue.indicators if i.theme == theme]
    rows = [[f"[{i.label_fr}]({i.id}.md)", _first_sentence(i.definition_fr), i.unit] for i in own]
    return _page(
        title,
        _table(["Indicateur", "Définition", "Unité"], rows),
        _toctree([i.id for i in own]),
    )


def _first_sentence(text: str) -> str:
    return re.split(r"[.;](?: |$)", " ".join(text.split()))[0].strip() + "."


def indicator_page(site: Site, indicator: Indicator, coverage: pl.DataFrame, groups: pl.DataFrame) -> str:
    """All that is known of an indicator, what a committee asks first."""
    title = theme_titles(site.catalogue)[indicator.theme]
    facts = [
        ["Thème", f"[{title}](theme-{indicator.theme}.md)"],
        ["Unité", indicator.unit],
        ["Sens de lecture", CODELISTS["direction"][indicator.direction]],
        ["Version", _version(indicator)],
        ["Identifiant", f"`{indicator.id}`"],
    ]
    return _page(
        indicator.label_fr,
        " ".join(indicator.definition_fr.split()),
        _table(["", ""], facts),
        "## Comment il se calcule",
        *_calculation(site, indicator),
        *_traps(site, indicator),
        "## Où et quand il est publié",
        *_coverage(site, indicator, coverage, groups),
        "## Ruptures de série",
        *_breaks(site.catalogue.breaks_of(indicator)),
        "## Sources",
        *_sources(site, indicator),
        "## Qui peut voir ce chiffre",
        f"Diffusion : {_lower(CODELISTS['diffusion'][indicator.diffusion])}. Propriétaire de la donnée : "
        f"{indicator.owner}.",
        f"{CODELISTS['secrecy_rule'][indicator.secrecy_rule]}.",
        "## Histoire de la définition",
        *_history(indicator),
        "## Pour les techniciens",
        *_technical(indicator),
    )


def _version(indicator: Indicator) -> str:
    since = f"du {indicator.history[-1].date:%d/%m/%Y}" if indicator.history else "d'origine"
    return f"{indicator.version}, {since}"


def _calculation(site: Site, indicator: Indicator) -> Iterable[str]:
    yield f"> {indicator.formula_fr or indicator.formula}"
    yield f"Pour un territoire qui en réunit d'autres : {_lower(CODELISTS['aggregation'][indicator.aggregation])}."
    bases = site.catalogue.bases_of(indicator)
    if bases:
        yield f"Il se calcule à partir de : {_links(bases)}."
    derived = [i for i in site.catalogue.indicators if indicator in site.catalogue.bases_of(i)]
    if derived:
        yield f"Il sert à calculer : {_links(derived)}."


def _links(indicators: Iterable[Indicator]) -> str:
    return ", ".join(f"[{i.label_fr}]({i.id}.md)" for i in indicators)


def _traps(site: Site, indicator: Indicator) -> Iterable[str]:
    """The traps of the indicator, of what it is computed from and of its sources, each once."""
    own = list(indicator.traps_fr)
    own += [t for base in site.catalogue.bases_of(indicator) for t in base.traps_fr]
    sources = [t for s in site.catalogue.sources_of(indicator) for t in site.catalogue.traps_of(s)]
    if not own and not sources:
        return
    yield "## Pièges à éviter"
    yield _bullets(dict.fromkeys(own))
    if sources:
        yield "Pour tout chiffre de cette source :" if own else ""
        yield _bullets(dict.fromkeys(sources))


def _coverage(site: Site, indicator: Indicator, coverage: pl.DataFrame, groups: pl.DataFrame) -> Iterable[str]:
    """Level x year of what is published; nothing real published, it says so."""
    if site.release is None:
        yield "Aucune publication n'accompagne ces pages. D'après les fichiers déclarés :"
        yield _bullets(_declared(site, indicator))
        return
    own = list(coverage.filter(pl.col("indicator_id") == indicator.id).iter_rows(named=True))
    cells = {(r["level"], r["year"]): cell for r in own if (cell := _cell(r)) != ABSENT}
    if not cells:
        yield f"Rien dans la publication {_release_name(site.release)}."
        return
    years = sorted({year for _, year in cells})
    sizes = {r["level"]: r["territories"] for r in own if (r["level"], r["year"]) in cells}
    rows = [
        [f"{_level(level)} ({_number(sizes[level])})", *(cells.get((level, y), ABSENT) for y in years)]
        for level in LEVELS
        if level in sizes
    ]
    yield _table(["Niveau (territoires)", *map(str, years)], rows, numbers=len(years))
    yield f"Nombre de territoires qui ont une valeur, dans la publication {_release_name(site.release)}."
    yield " ".join(f"*{cell}* : {told}." for cell, (_, told) in NO_VALUE.items() if cell in cells.values())
    detail = groups.filter(pl.col("indicator_id") == indicator.id)
    for column, name in (("sex", "sexe"), ("age", "âge")):
        codes = [c for c in CODELISTS[column] if c != "_T" and c in set(detail[column])]
        if codes:
            yield f"Aussi par {name} : {', '.join(_lower(CODELISTS[column][c]) for c in codes)}."


def _declared(site: Site, indicator: Indicator) -> Iterable[str]:
    """Levels and years that the files of each source should give."""
    taken = getattr(indicator.compute, "levels", {})
    for source_id in site.catalogue.sources_of(indicator):
        source = site.sources[source_id]
        levels = ", ".join(map(_level, taken.get(source_id) or _levels(source.editions))) or "niveaux non déclarés"
        yield f"{source.title} : {levels} ; {_years(source)}"


def _cell(row: dict[str, Any]) -> str:
    if row["published"]:
        return _number(row["published"])
    reasons = row["reason_fr"] or ""
    return next((cell for cell, (code, _) in NO_VALUE.items() if CODELISTS["reason"][code] in reasons), ABSENT)


def groups_of(site: Site) -> pl.DataFrame:
    """Each indicator's sexes and ages in the release."""
    if site.release is None:
        return pl.DataFrame()
    rows = pl.scan_parquet(site.release.path("observation"))
    return rows.select("indicator_id", "sex", "age").unique().collect()


def _breaks(breaks: Sequence[SeriesBreak]) -> Iterable[str]:
    if not breaks:
        yield "Aucune rupture connue."
        return
    yield "À partir de chacune de ces années, c'est une autre série : aucune évolution ne la compare à ce qui précède."
    rows = [
        [str(b.year), " ".join(b.cause_fr.split()), b.comparable_before or ABSENT, b.comparable_after or ABSENT]
        for b in breaks
    ]
    yield _table(["Année", "Ce qui change", "Comparable avant", "Comparable après"], rows)


def _sources(site: Site, indicator: Indicator) -> Iterable[str]:
    used = [site.sources[s] for s in site.catalogue.sources_of(indicator)]
    rows = [
        [
            f"[{s.title}](../sources/{s.source_id}.md)",
            s.producer,
            s.owner,
            s.licence,
            _years(s),
        ]
        for s in used
    ]
    yield _table(["Source", "Producteur", "Propriétaire", "Licence", "Années des fichiers"], rows)
    if len(rows) > 1 and not getattr(indicator.compute, "per", ()):
        yield "Là où plusieurs sources donnent le même chiffre, la première de la liste passe avant."


def _levels(editions: Iterable[Edition]) -> list[str]:
    found = {m.level for e in editions for m in e.members}
    return [level for level in LEVELS if level in found]


def _level(code: str) -> str:
    return code if code in ACRONYMS else CODELISTS["level"][code]


def _years(source: Source) -> str:
    """2014 à 2016, 2018."""
    runs: list[list[int]] = []
    for year in sorted({e.data_year for e in source.editions}):
        if runs and year == runs[-1][-1] + 1:
            runs[-1].append(year)
        else:
            runs.append([year])
    return ", ".join(f"{r[0]}" if len(r) == 1 else f"{r[0]} à {r[-1]}" for r in runs)


def _history(indicator: Indicator) -> Iterable[str]:
    if not indicator.history:
        yield "Version 1, celle d'origine : la définition n'a jamais été amendée."
        return
    rows = [[str(a.version), f"{a.date:%d/%m/%Y}", " ".join(a.change_fr.split())] for a in reversed(indicator.history)]
    yield _table(["Version", "Date", "Ce qui change"], [*rows, ["1", "", "Définition d'origine."]])


def _technical(indicator: Indicator) -> Iterable[str]:
    facts = [
        ["Formule", f"`{indicator.formula}`"],
        ["Libellé en anglais", indicator.label_en],
        ["Règle de secret", f"`{indicator.secrecy_rule}`"],
        ["Disponibilité", f"{indicator.tier} : {_lower(CODELISTS['tier'][indicator.tier])}"],
    ]
    yield _table(["", ""], facts)
    declared = yaml.safe_dump(
        indicator.compute.model_dump(mode="json", exclude_defaults=True), allow_unicode=True, sort_keys=False
    )
    yield f"Calcul, tel qu'il est déclaré dans `warehouse/catalogue/{indicator.theme}.yaml` :"
    yield f"```yaml\n{declared}```"


def sources_page(site: Site) -> str:
    """Every source: figures first, then geographies."""
    sections: list[str] = []
    for kind, title in (("values", "Chiffres"), ("geography", "Territoires")):
        rows = [
            [
                f"[{s.title}]({s.source_id}.md)",
                s.producer,
                _years(s),
                "vrais fichiers" if s.tested_on == "real" else "fichiers générés",
            ]
            for s in site.sources.values()
            if s.kind == kind
        ]
        head = ["Source", "Producteur", "Années des fichiers", "Lecture vérifiée sur"]
        sections += [f"## {title}", _table(head, rows)]
    return _page("Sources", *sections, _toctree(list(site.sources)))


def source_page(site: Site, source: Source, files: pl.DataFrame) -> str:
    """Who publishes a source, under which licence, which editions, and what is made of it."""
    facts = [
        ["Producteur", source.producer],
        ["Propriétaire", source.owner],
        ["Licence", source.licence],
        ["Diffusion", CODELISTS["diffusion"][source.diffusion]],
        ["Page du producteur", f"<{source.homepage}>" if source.homepage else ABSENT],
        ["Lecture vérifiée sur", TESTED_ON[source.tested_on]],
        ["Identifiant", f"`{source.source_id}`"],
    ]
    users = site.users_of(source.source_id)
    traps = site.catalogue.traps_of(source.source_id)
    breaks = [b for b in site.catalogue.breaks if b.scope == source.source_id]
    return _page(
        source.title,
        _table(["", ""], facts),
        "## Éditions",
        *_editions(site, source, files),
        *(["## Pièges à éviter", _bullets(traps)] if traps else []),
        *(["## Ruptures de série", *_breaks(breaks)] if breaks else []),
        "## Indicateurs qui en viennent",
        _bullets(f"[{i.label_fr}](../indicateurs/{i.id}.md)" for i in users) if users else "Aucun directement.",
    )


def _editions(site: Site, source: Source, files: pl.DataFrame) -> Iterable[str]:
    received: dict[str, Any] = {}
    if site.release is not None:
        own = files.filter(pl.col("source_id") == source.source_id)
        received = dict(own.select("edition", "retrieved_at").iter_rows())
    editions = sorted(source.editions, key=lambda e: (e.data_year, e.edition))
    head = ["Édition", "Année des données", "Année du COG", "Niveaux", "Adresse du fichier", "Dans la publication"]
    yield _table(head, [_edition(e, received.get(e.edition)) for e in editions])
    yield (
        "*Année du COG* : celle du code officiel géographique des communes du fichier. *À vérifier* : adresse donnée "
        "par des tiers ou déduite, le fichier n'y a pas été vu. *Dans la publication* : date de réception du fichier."
    )
    notes: dict[str, list[str]] = {}
    for edition in editions:
        if edition.note:
            notes.setdefault(edition.note, []).append(edition.edition)
    yield _bullets(f"**{', '.join(keys)}** : {note}" for note, keys in notes.items())


def _edition(edition: Edition, received: Any) -> list[str]:
    return [
        edition.edition,
        str(edition.data_year),
        str(edition.cog_year) if edition.cog_year else ABSENT,
        ", ".join(_levels([edition])) or ABSENT,
        f"[{'vérifiée' if edition.url_verified else 'à vérifier'}]({edition.url})",
        f"{received:%d/%m/%Y}" if received else ABSENT,
    ]


def guides_page(titles: dict[str, str]) -> str:
    """The guides, page -> title."""
    return _page(
        "Guides et méthodes",
        _bullets(f"[{title}]({name}.md)" for name, title in titles.items()),
        _toctree(list(titles)),
    )


def _page(title: str, *blocks: str) -> str:
    kept = (b if b.startswith("```") else _unbroken(b) for b in blocks if b)
    return "\n\n".join([f"# {title}", *kept]) + "\n"


def _unbroken(text: str) -> str:
    """No line breaks before a French sign: « 44 % » stays in one piece."""
    return re.sub(r"(?<=[^\s|]) (?=[%:;!?»×])|(?<=[«×]) ", "\u00a0", text)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """A table whose last columns, as many as `numbers`, are aligned to the right."""
    lines = [head, ["---"] * (len(head) - numbers) + ["---:"] * numbers, *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)


def _bullets(items: Iterable[str]) -> str:
    return "\n".join("- " + " ".join(item.split()) for item in items)


def _toctree(documents: Sequence[str]) -> str:
    """The place of pages in the site's menu; shown nowhere else."""
    return "\n".join(["```{toctree}", ":hidden:", "", *documents, "```"])


def _lower(text: str) -> str:
    """A label inside a sentence: the first letter small, unless it opens an acronym."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _number(value: int) -> str:
    return f"{value:,}".replace(",", "\u202f")
