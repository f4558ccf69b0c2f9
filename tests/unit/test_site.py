"""The dictionary as a site: a page per indicator and per source, no dead link, a search that ignores accents."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
import release_sample as sample

from docs import pages as made
from docs import site as built
from docs.pages import Site, indicator_page, source_page, theme_titles
from docs.site import build
from sources.deposits.contract import contract_sources
from sources.description import load_sources
from warehouse.catalogue import Amendment, Catalogue, load_catalogue
from warehouse.models import CODELISTS, TABLES
from warehouse.release import Release, Releases

pytestmark = pytest.mark.filterwarnings("ignore:'myst_parser")  # of the generator's extension, for its next versions


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The sample, where a cell of its coverage is a bound and another secret."""
    rows = [
        ("rev_tp60", "COM", 2018, 1234, 1000, 200, 34, f"{CODELISTS['reason']['secret']} (200)", False),
        ("rev_tp60", "COM", 2020, 1234, 0, 1200, 34, f"{CODELISTS['reason']['secret']} (1200)", False),
        ("rev_tp60", "DEP", 2020, 100, 0, 100, 0, "Seule une borne est publiée (100)", False),
        ("rev_tp60", "REG", 2020, 18, 0, 0, 18, "Non publiée par le producteur (18)", False),
    ]
    coverage = pl.DataFrame(rows, schema=TABLES["coverage"].schema(), orient="row")
    return sample.publish(Releases(tmp_path_factory.mktemp("data")), coverage=coverage)


@pytest.fixture(scope="module")
def site(release: Release) -> Site:
    return Site(load_catalogue(), load_sources() | contract_sources(), release)


@pytest.fixture(scope="module")
def html(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site: links that lead nowhere, pages out of the menu and other warnings fail it."""
    output = tmp_path_factory.mktemp("site")
    assert build(site, output) == 0
    return output


def text_of(site: Site, indicator_id: str) -> str:
    indicator = site.catalogue.indicator(indicator_id)
    page = indicator_page(site, indicator, site.table("coverage"), made.groups_of(site))
    return page.replace("\u00a0", " ")


def test_every_indicator_theme_source_and_guide_has_its_page(site: Site, html: Path) -> None:
    names = [f"indicateurs/{i.id}" for i in site.catalogue.indicators]
    names += [f"indicateurs/theme-{i.theme}" for i in site.catalogue.indicators]
    names += [f"sources/{s}" for s in site.sources]
    names += [p.stem for p in built.FOLDER.glob("*.md")]
    assert [n for n in names if not (html / f"{n}.html").exists()] == []
    for indicator in site.catalogue.indicators:
        page = (html / f"indicateurs/{indicator.id}.html").read_text(encoding="utf-8")
        assert f'{indicator.theme}.html' in page and "Pour les techniciens" in page


class Fetched(HTMLParser):
    """Addresses that a browser would fetch to show a page: not the links a reader may follow."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [v for k, v in attrs if v and (k == "src" or (k == "href" and tag == "link"))]


def test_nothing_is_fetched_from_elsewhere(html: Path) -> None:
    fetched = {address for page in html.rglob("*.html") for address in Fetched(page).found}
    assert fetched
    assert [a for a in fetched if re.match(r"(https?:)?//", a)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in html.rglob("*.css"))
    assert re.findall(r"url\(['\"]?(?:https?:)?//[^)]+", styles) == []


def test_the_search_knows_words_without_their_accents(html: Path) -> None:
    index = (html / "searchindex.js").read_text(encoding="utf-8")
    found = json.loads(index.removeprefix("Search.setIndex(").removesuffix(")"))
    terms = found["terms"].keys() | found["titleterms"].keys()
    assert {"pauvret", "menag", "median", "monoparental"} <= terms
    assert not {"pauvreté", "ménag", "médian"} & terms
    browser = (html / "_static" / "language_data.js").read_text(encoding="utf-8")
    assert "word.normalize(`NFD`)" in browser  # what the reader types loses them too


def test_a_page_tells_what_a_committee_asks(site: Site) -> None:
    indicator = site.catalogue.indicator("rev_tp60")
    page = text_of(site, indicator.id)
    told = [indicator.formula_fr or "", *indicator.traps_fr, *site.catalogue.traps_of("insee_filosofi_cc")]
    told += [" ".join(b.cause_fr.split()) for b in site.catalogue.breaks_of(indicator)]
    assert len(told) > 8
    assert [t for t in told if t not in page] == []
    source = site.sources["insee_filosofi_cc"]
    assert f"[{source.title}](../sources/{source.source_id}.md) | {source.producer} | {source.owner} | " in page
    assert source.licence in page
    assert all(amendment.change_fr in page for amendment in indicator.history), "the committee's decisions"
    assert "Version 1, celle d'origine" in text_of(site, "edu_sans_dipl")
    assert "variables:\n  insee_filosofi_cc: tp60" in page


def test_a_page_leads_to_what_it_is_computed_from_and_back(site: Site) -> None:
    base, rank = (site.catalogue.indicator(i) for i in ("rev_tp60", "rev_tp60_rang"))
    assert "](rev_tp60_rang.md)" in text_of(site, base.id)
    page = text_of(site, rank.id)
    assert "Il se calcule à partir de : [" in page and "](rev_tp60.md)" in page
    assert [t for t in (*rank.traps_fr, *base.traps_fr) if t not in page] == []  # its own and those of its base


def test_coverage_is_that_of_the_release(site: Site) -> None:
    page = text_of(site, "rev_tp60")
    assert "| Niveau (territoires) | 2018 | 2020 |" in page
    assert "| Commune (1\u202f234) | 1\u202f000 | masqué |" in page
    assert "| Département (100) | — | bornes |" in page
    assert "Région" not in page[page.index("## Où et quand") : page.index("## Ruptures")]
    assert "Rien dans la publication" in text_of(site, "log_prop")


def test_without_a_release_the_declared_files_are_told(site: Site) -> None:
    page = text_of(Site(site.catalogue, site.sources, None), "rev_tp60")
    assert "Aucune publication n'accompagne ces pages" in page
    assert "niveau de vie : Commune, EPCI, EPT" in page and "2013 à 2021" in page


def test_an_amended_definition_shows_its_history(site: Site) -> None:
    told = Amendment(version=2, date=dt.date(2026, 12, 3), change_fr="le seuil passe à 50 % de la médiane")
    one = site.catalogue.indicator("rev_tp60").model_copy(update={"version": 2, "history": (told,)})
    others = [i for i in site.catalogue.indicators if i.id != "rev_tp60"]
    amended = Site(Catalogue(indicators=(one, *others), breaks=site.catalogue.breaks), site.sources, None)
    page = text_of(amended, "rev_tp60")
    assert "| Version | 2, du 03/12/2026 |" in page
    assert "| 2 | 03/12/2026 | le seuil passe à 50 % de la médiane |\n| 1 |  | Définition d'origine. |" in page


def test_a_source_page_says_what_was_seen_of_it(site: Site) -> None:
    source = site.sources["insee_filosofi_cc"]
    page = source_page(site, source, site.table("source_file")).replace("\u00a0", " ")
    assert "| Lecture vérifiée sur | de vrais fichiers du producteur |" in page
    assert "| 2018 | 2018 | 2021 | COM, EPCI, " in page
    assert "[à vérifier](https://www.insee.fr/fr/statistiques/fichier/2388572/" in page  # 2013
    assert "[vérifiée](https://www.insee.fr/fr/statistiques/fichier/3126432/" in page  # 2014
    assert "[Taux de pauvreté des locataires](../indicateurs/rev_tp60_loc.md)" in page
    generated = source.model_copy(update={"tested_on": "generated"})
    assert "jamais encore sur un vrai fichier" in source_page(site, generated, site.table("source_file"))


def test_a_theme_without_a_title_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(made.FOLDER, tmp_path / "catalogue")
    (tmp_path / "catalogue" / "logement.yaml").write_text("- id: log_prop\n", encoding="utf-8")
    monkeypatch.setattr(made, "FOLDER", tmp_path / "catalogue")
    with pytest.raises(ValueError, match=r"logement\.yaml, ligne 1"):
        theme_titles(load_catalogue())


def test_a_link_that_leads_nowhere_fails_the_build(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    guides = tmp_path / "docs"
    shutil.copytree(built.FOLDER / "sphinx", guides / "sphinx")
    monkeypatch.setattr(built, "FOLDER", guides)
    monkeypatch.setattr(built, "pages", lambda _: {"index": "# Accueil\n\n[plus loin](absente.md)\n"})
    assert build(site, tmp_path / "site") != 0
    assert "absente.md" in capfd.readouterr().err
