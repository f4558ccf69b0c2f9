"""The producers' present ways of publishing, each once: pages of records, Melodi, data.gouv.fr, and their catalogues.

No request is made here: sources/client.py asks the addresses given here and hands over what was answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, cast
from urllib.parse import parse_qsl, urlencode, urlsplit
from zoneinfo import ZoneInfo

from sources import archive
from sources.description import Edition, Source
from sources.errors import AcquisitionError, NotPublishedError

RECORDS_PAGE = 100  # rows of a page of records, the most Opendatasoft gives
RECORDS_MOST = 10_000  # rows that can be had page by page; beyond, only by an export
MELODI_PAGE = 10_000  # observations of a page; the most Melodi gives is 100,000
PARIS = ZoneInfo("Europe/Paris")  # of the dates that a catalogue gives without a zone

EXPLORE = re.compile(r"(https://[^/]+/api/explore/v2\.\d/catalog/datasets/[^/]+)/(?:exports/\w+|records|attachments/\w+)$")
MELODI = re.compile(r"(https://api\.insee\.fr/melodi)/(?:data/(?P<data>\w+)|file/(?P<file>\w+)/(?P<product>\w+))$")
DATAGOUV = re.compile(r"https://www\.data\.gouv\.fr/api/1/datasets/[^/]+/$")
STABLE = "https://www.data.gouv.fr/fr/datasets/r/{id}"  # redirects to where the resource is today


class Pages(Protocol):
    """An answer given in pages: the address of each, and what it brings."""

    def first(self) -> str:
        """The address of the first page."""
        ...

    def read(self, body: bytes) -> tuple[list[Any], str | None]:
        """Rows of a page, and the address of the next (None: it was the last).

        Raises BodyRefusedError when it is no page, AcquisitionError when pages do not add up to what they announce.
        """
        ...


@dataclass
class RecordsPages:
    """Records of Opendatasoft Explore v2.1: {total_count, results}, asked by limit and offset."""

    source: Source
    edition: Edition
    total: int | None = None
    received: int = 0
    seen: set[str] = field(default_factory=set[str])

    def first(self) -> str:
        return with_query(self.edition.url, limit=RECORDS_PAGE, offset=0)

    def read(self, body: bytes) -> tuple[list[Any], str | None]:
        page = document(self.source, self.edition, body)
        rows, total = page.get("results"), page.get("total_count")
        if not isinstance(rows, list) or not isinstance(total, int):
            raise _not_a_page(self.source, self.edition, body, "results et total_count")
        if total > RECORDS_MOST:
            found = f"{total} lignes ; page par page, le site n'en donne que {RECORDS_MOST}"
            action = "restreindre la sélection, ou prendre l'export (exports/)"
            raise incoherent(self.source, self.edition, found, action)
        rows = cast(list[Any], rows)
        self.received += len(rows)
        self.total = _same_total(self, total, len(rows))
        texts = {json.dumps(r, sort_keys=True) for r in rows}
        if texts & self.seen:
            raise incoherent(self.source, self.edition, "une ligne déjà donnée par une page précédente")
        self.seen |= texts
        more = self.received < total
        return rows, with_query(self.edition.url, limit=RECORDS_PAGE, offset=self.received) if more else None


@dataclass
class MelodiPages:
    """Observations of INSEE's Melodi: {observations, paging: {count, next}}, next being the address to ask."""

    source: Source
    edition: Edition
    total: int | None = None
    received: int = 0
    asked: set[str] = field(default_factory=set[str])

    def first(self) -> str:
        return with_query(self.edition.url, maxResult=MELODI_PAGE, totalCount="TRUE")

    def read(self, body: bytes) -> tuple[list[Any], str | None]:
        page = document(self.source, self.edition, body)
        rows, paging = page.get("observations"), page.get("paging")
        if not isinstance(rows, list) or not isinstance(paging, dict):
            raise _not_a_page(self.source, self.edition, body, "observations et paging")
        rows, paging = cast(list[Any], rows), cast(dict[str, Any], paging)
        self.received += len(rows)
        total = paging.get("count", self.total)
        if not isinstance(total, int):
            raise _not_a_page(self.source, self.edition, body, "paging.count")
        following = paging.get("next")
        self.total = _same_total(self, total, len(rows) if following else 1)
        if not following:
            if self.received != total:
                found = f"{self.received} observation(s) sur {total}, et plus de page suivante"
                raise incoherent(self.source, self.edition, found)
            return rows, None
        return rows, self._refuse_astray(str(following))

    def _refuse_astray(self, following: str) -> str:
        """The address of the next page, unless it was asked already or is of another table."""
        if urlsplit(following)[:3] != urlsplit(self.edition.url)[:3]:
            raise incoherent(self.source, self.edition, f"une page suivante d'un autre jeu : {following[:200]}")
        if following in self.asked:
            raise incoherent(self.source, self.edition, f"une page suivante déjà lue : {following[:200]}")
        self.asked.add(following)
        return following


def _same_total(pages: RecordsPages | MelodiPages, total: int, rows: int) -> int:
    """The announced total, which may not change from page to page, nor be passed; a page with nothing is a hole."""
    if pages.total not in (None, total):
        found = f"{total} ligne(s) annoncée(s) après {pages.total} : les données ont changé pendant la lecture"
        raise incoherent(pages.source, pages.edition, found)
    if pages.received > total:
        raise incoherent(pages.source, pages.edition, f"{pages.received} ligne(s) reçue(s) pour {total} annoncée(s)")
    if total == 0:
        raise NotPublishedError(
            pages.source.source_id,
            pages.edition.edition,
            f"des lignes à {pages.edition.url}",
            "une sélection vide",
            "rien si l'édition n'est pas encore parue ; sinon corriger `url` dans "
            f"sources/{pages.source.source_id}/description.yaml",
        )
    if rows == 0 and pages.received < total:
        raise incoherent(pages.source, pages.edition, f"une page vide après {pages.received} ligne(s) sur {total}")
    return total


def pages_of(source: Source, edition: Edition) -> Pages:
    """The pages of an edition whose connector is `records` or `melodi`."""
    return RecordsPages(source, edition) if edition.connector == "records" else MelodiPages(source, edition)


def lines(rows: Iterable[Any]) -> bytes:
    """Rows as they are stored: one JSON object a line, keys sorted, so that equal answers give equal bytes."""
    text = (json.dumps(r, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for r in rows)
    return "".join(f"{one}\n" for one in text).encode()


def newest_resource(source: Source, edition: Edition, dataset: Mapping[str, Any]) -> tuple[str, str]:
    """(stable address, date) of the newest resource of a data.gouv.fr dataset that the edition asks for.

    Its title matches `resource`, its format is the edition's. Raises NotPublishedError when none does.
    """
    resources = cast(list[dict[str, Any]], dataset.get("resources") or [])
    matching = [
        r
        for r in resources
        if re.search(edition.resource or "", str(r.get("title"))) and r.get("format") == edition.format
    ]
    if not matching:
        titles = [f"{r.get('title')} ({r.get('format')})" for r in resources[:20]]
        raise NotPublishedError(
            source.source_id,
            edition.edition,
            f"une ressource {edition.format} dont le titre suit « {edition.resource} » à {edition.url}",
            f"les ressources {titles}",
            f"rien si l'édition n'est pas encore parue ; sinon corriger `resource` dans "
            f"sources/{source.source_id}/description.yaml",
        )
    chosen = max(matching, key=lambda r: (moment(str(r.get("last_modified"))), str(r.get("id"))))
    return STABLE.format(id=chosen["id"]), str(chosen.get("last_modified"))


# --- catalogues


def catalogue_address(edition: Edition) -> str | None:
    """Where the producer says when the edition's data last changed; None when it has no catalogue we know."""
    address = edition.url.partition("?")[0]
    if found := EXPLORE.match(address):
        return found[1]
    if found := MELODI.match(address):
        return f"{found[1]}/catalog/{found['data'] or found['file']}"
    return edition.url if edition.connector == "datagouv" else None


def catalogue_date(source: Source, edition: Edition, document: Mapping[str, Any]) -> str | None:
    """When the edition's data last changed, as its catalogue writes it; None when it does not say.

    Raises NotPublishedError when the catalogue has no such file.
    """
    if edition.connector == "datagouv":
        return newest_resource(source, edition, document)[1]
    if "metas" in document:
        told = (document["metas"] or {}).get("default") or {}
        date = told.get("data_processed") or told.get("modified")
    else:
        found = MELODI.match(edition.url.partition("?")[0])
        products = cast(list[dict[str, Any]], document.get("product") or [])
        own = [p.get("modified") for p in products if found and p.get("id") == found["product"]]
        date = own[0] if own else document.get("modified")
    return str(date) if date else None


def moment(text: str) -> datetime:
    """A catalogue's date as a moment; the beginning of time when it cannot be read."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return read if read.tzinfo else read.replace(tzinfo=PARIS)


# --- helpers


def with_query(url: str, **parameters: object) -> str:
    """The address with some parameters of its query set."""
    parts = urlsplit(url)
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in parameters]
    return parts._replace(query=urlencode([*kept, *((k, str(v)) for k, v in parameters.items())])).geturl()


def document(source: Source, edition: Edition, body: bytes) -> dict[str, Any]:
    """A JSON object. Raises BodyRefusedError when the body is something else (a page of maintenance)."""
    try:
        read = json.loads(body)
    except ValueError:
        read = None
    if not isinstance(read, dict):
        raise archive.refusal(source, edition, body[:4096])
    return cast(dict[str, Any], read)


def _not_a_page(source: Source, edition: Edition, body: bytes, expected: str) -> AcquisitionError:
    return archive.refusal(source, edition, b"", found=f"du JSON sans {expected} : {body[:200]!r}")


def incoherent(
    source: Source,
    edition: Edition,
    found: str,
    action: str = "relancer : le producteur publiait peut-être ; si cela dure, ouvrir l'adresse dans un navigateur",
) -> AcquisitionError:
    """The error for pages that do not make one answer; nothing of them is stored."""
    return AcquisitionError(
        source.source_id, edition.edition, f"toutes les pages de {edition.url}, d'un seul tenant", found, action
    )
