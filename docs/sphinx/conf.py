"""How Sphinx makes the site: French, one theme, nothing fetched from elsewhere."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.search.fr import SearchFrench

project = "Vigie"
author = "Vigie"
language = "fr"
extensions = ["myst_parser"]
myst_heading_anchors = 3

html_theme = "pydata_sphinx_theme"
html_title = "Vigie, dictionnaire des indicateurs"
html_static_path = ["vigie.css"]
html_css_files = ["vigie.css"]
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
html_context = {"default_mode": "light"}
html_theme_options: dict[str, Any] = {
    "logo": {"text": "Vigie"},
    "navbar_align": "left",
    "navbar_end": [],
    "article_header_start": [],  # the path of a page would open every extract of the search
    "search_bar_text": "Chercher un indicateur, une source, un mot",
    "show_prev_next": False,
    "footer_start": [],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}


class SearchFrenchWithoutAccents(SearchFrench):
    """French search where `pauvrete` finds `pauvreté`: words lose their accents before they are stemmed, here for the
    index and in the browser for what the reader types."""

    # Sphinx writes it after the stemmer; it is escaped as HTML is, hence neither quotes nor angle brackets
    js_splitter_code = r"""
const AccentedStemmer = window.Stemmer;
window.Stemmer = function () {
  const stemmer = new AccentedStemmer();
  this.stemWord = function (word) {
    return stemmer.stemWord(word.normalize(`NFD`).replace(/\p{Mn}/gu, ``));
  };
};
"""

    def stem(self, word: str) -> str:
        return super().stem(without_accents(word))

    def word_filter(self, word: str) -> bool:
        return super().word_filter(without_accents(word))


def without_accents(word: str) -> str:
    parts = unicodedata.normalize("NFD", word.lower())
    return "".join(c for c in parts if not unicodedata.combining(c))


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.add_search_language(SearchFrenchWithoutAccents)
