"""Writes the fictional country under a folder, at the producers' own addresses: HOST/PATH of each declared
URL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import polars as pl

from sources.demo import caf, census, declared, districts, files_counts, files_filosofi, files_geography, truth
from sources.demo.country import Country, build_country
from sources.demo.disclosure import UNAVAILABLE, publish
from sources.demo.formats import archive, as_published
from sources.demo.households import Households, Year, draw, in_year
from sources.demo.tally import LEVELS, Tally, figures, poverty, tally
from sources.demo.truth import Hidden, Part, Truth
from sources.description import Edition, Source, load_sources

HOUSEHOLDS_PER_COMMUNE = 100_000 / 240
REFERENCE_COG = 2025  # the newest with a composition of the EPCI here
ISLAND = "96013"  # in no EPCI; Filosofi 2020 has no figure for it (nd)
SUM_LEVELS = (*LEVELS, "FRANCE")

# Years covered, first and last; other declared editions answer 404, as editions not yet published do. Old
# workbooks (.xls) are not written either.
COVERED = {
    "insee_cog_communes": (2016, 2026),
    "insee_cog_evenements": (2016, 2026),
    "insee_cog_departements": (2016, 2026),
    "insee_cog_regions": (2016, 2026),
    "insee_epci_ancien": (2014, 2019),
    "dgcl_epci": (2019, REFERENCE_COG),
    "insee_appartenance": (2021, REFERENCE_COG),
    "insee_iris": (2023, 2023),
    "insee_iris_modifications": (2023, 2023),
    "insee_qpv": (2018, 2020),
    "anct_qpv2024": (2024, 2024),
    "insee_filosofi_cc": (2017, 2020),
    "insee_filosofi_distribution": (2014, 2020),
    "insee_comparateur": (2018, 2018),
    "insee_populations_legales": (2018, 2021),
    "cnaf_iris": (2016, 2019),
    "cnaf_commune": (2020, 2024),
}
# Declared datasets that are not generated: figures drawn for them would contradict the households'.
NOT_DRAWN = (
    "insee_filosofi_iris",
    "insee_filosofi_2023",
    "insee_qpv_demographie",  # its file is that of insee_qpv
    "insee_qpv2024_revenus",  # the districts are those of 2015
)
GEOGRAPHY: dict[str, Callable[[Country, Edition], dict[str | None, bytes]]] = {
    "insee_cog_communes": files_geography.communes,
    "insee_cog_evenements": files_geography.events,
    "insee_cog_departements": files_geography.departements,
    "insee_cog_regions": files_geography.regions,
    "insee_epci_ancien": files_geography.old_epci,
    "insee_appartenance": files_geography.membership,
}
DISTRICTS: dict[str, Callable[[Country, Edition, np.ndarray], dict[str | None, bytes]]] = {
    "insee_iris": districts.iris_list,
    "insee_iris_modifications": districts.iris_list,
    "anct_qpv2024": districts.qpv_list,
}
log = logging.getLogger(__name__)


def generate(
    root: Path,
    *,
    seed: int = 1,
    communes: int = 240,
    households: int | None = None,
    reference: int = REFERENCE_COG,
    years: Container[int] | None = None,
) -> Truth:
    """Writes every covered edition and returns what is true of the country.

    communes: in 2014, at least 60. households: in 2018, as dense as by default when not given. reference: the
    COG in which the truth is known besides that of each edition. years: data years of the statistical sources, all
    when not given. The same arguments give the same bytes.
    """
    country = build_country(communes)
    all_of = draw(country, seed, households or round(communes * HOUSEHOLDS_PER_COMMUNE))
    work = _Work(country, all_of, reference, _Desk(root, planned(years)))
    work.geography()
    work.census()
    work.declared()
    for year in sorted(work.desk.years()):
        work.year(year)
    work.desk.close()
    return Truth(country, seed, work.thresholds, tuple(work.parts), tuple(work.hidden), work.desk.written)


def planned(years: Container[int] | None = None) -> list[tuple[Source, Edition]]:
    """The editions that the fictional country publishes, of those that the descriptions declare; of the statistical
    sources, those of the data years asked when they are given.

    Of editions that repeat the same figures (same year, same geography) only the fullest, then the first.
    """
    chosen: list[tuple[Source, Edition]] = []
    for source in load_sources().values():
        if source.layouts:
            chosen += [(source, e) for e in declared.editions_of(source) if source.source_id not in NOT_DRAWN]
            continue
        first, last = COVERED.get(source.source_id, (1, 0))
        twins: dict[tuple[int, int | None], Edition] = {}
        for edition in source.editions:
            old = any((m.path or "").endswith(".xls") for m in edition.members) or edition.format == "xls"
            if old or not first <= edition.data_year <= last:
                continue
            key = edition.data_year, edition.cog_year
            if key not in twins or max(1, len(edition.members)) > len(twins[key].members or (None,)):
                twins[key] = edition
        chosen += [(source, e) for e in source.editions if e in twins.values()]
    return [(s, e) for s, e in chosen if years is None or s.kind == "geography" or e.data_year in years]


@dataclass
class _Desk:
    """Files on their way to the folder: members that several sources share wait for each other."""

    root: Path
    plan: list[tuple[Source, Edition]]
    waiting: dict[str, dict[str | None, bytes]] = field(default_factory=dict[str, dict[str | None, bytes]])
    written: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])

    def editions(self, source_id: str, year: int | None = None) -> list[Edition]:
        return [e for s, e in self.plan if s.source_id == source_id and year in (None, e.data_year)]

    def years(self) -> set[int]:
        """Years for which households and their incomes are needed."""
        sources = ("insee_filosofi_cc", "insee_filosofi_distribution", "cnaf_iris", "cnaf_commune", "insee_qpv")
        # the comparateur of a year prints the incomes of the next one
        later = {e.data_year + 1 for e in self.editions("insee_comparateur")}
        return later | {e.data_year for s in sources for e in self.editions(s)}

    def put(self, source_id: str, edition: Edition, members: dict[str | None, bytes]) -> None:
        """Takes the members of an edition; writes the file once every edition at its address has given its
        own.
        """
        self.waiting.setdefault(edition.url, {}).update(members)
        parts = urlsplit(edition.url)
        self.written[source_id, edition.edition] = f"{parts.netloc}{unquote(parts.path)}"
        if all((s.source_id, e.edition) in self.written for s, e in self.plan if e.url == edition.url):
            self._write(edition, self.written[source_id, edition.edition])

    def _write(self, edition: Edition, path: str) -> None:
        members = self.waiting.pop(edition.url)
        if edition.format == "zip":
            data = archive({path or "": member for path, member in sorted(members.items())})
        else:
            data = members[None]
        for place, body in as_published(edition, path, data).items():
            target = self.root / place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body)
            log.debug("%s (%d octets)", place, len(body))

    def close(self) -> None:
        if self.waiting:
            raise AssertionError(f"never completed: {sorted(self.waiting)}")


@dataclass
class _Work:
    country: Country
    all_of: Households
    reference: int
    desk: _Desk
    thresholds: dict[int, float] = field(default_factory=dict[int, float])
    parts: list[Part] = field(default_factory=list[Part])
    hidden: list[Hidden] = field(default_factory=list[Hidden])
    payments: dict[int, dict[str, np.ndarray]] = field(default_factory=dict[int, dict[str, np.ndarray]])

    @cached_property
    def population(self) -> Callable[[int], np.ndarray]:
        """Inhabitants by atom in a year; asked for every figure that is a share of them, hence kept."""
        return lru_cache(maxsize=None)(partial(census.population, self.all_of))

    def geography(self) -> None:
        for source_id, writer in GEOGRAPHY.items():
            for edition in self.desk.editions(source_id):
                self.desk.put(source_id, edition, writer(self.country, edition))
        for edition in self.desk.editions("dgcl_epci"):
            people = self.population(edition.data_year - 3)
            self.desk.put("dgcl_epci", edition, files_geography.epci(self.country, edition, people))
        for source_id, writer in DISTRICTS.items():
            for edition in self.desk.editions(source_id):
                self.desk.put(source_id, edition, writer(self.country, edition, self.all_of.iris_count))

    def census(self) -> None:
        for edition in self.desk.editions("insee_populations_legales"):
            people = self.population(edition.data_year)
            columns = files_counts.three_populations(people)
            written = files_counts.populations(self.country, edition, columns)
            self.desk.put("insee_populations_legales", edition, written)
            self._sums(edition.data_year, edition.cog_year, columns, truth.POPULATIONS)

    def declared(self) -> None:
        """The datasets that need no code of their own."""
        figures = declared.Figures(
            self.country,
            self.all_of.seed,
            self.population,
            self.all_of.iris_count,
        )
        for source, edition in self.desk.plan:
            if source.layouts:
                self.desk.put(source.source_id, edition, declared.write(source, edition, figures))

    def year(self, year: int) -> None:
        """Everything that depends on the incomes of one year."""
        of = in_year(self.all_of, year)
        for edition in self.desk.editions("cnaf_iris", year):
            self._districts(edition, of)
        for edition in self.desk.editions("insee_qpv", year):
            self.desk.put("insee_qpv", edition, districts.qpv_figures(self.country, edition, self.all_of, of))
        if self.desk.editions("cnaf_commune", year):
            self._payments(of)
        editions = [
            (s, e) for s in ("insee_filosofi_cc", "insee_filosofi_distribution") for e in self.desk.editions(s, year)
        ]
        comparateur = [e for e in self.desk.editions("insee_comparateur") if e.data_year + 1 == year]
        if editions or comparateur:
            self._filosofi(tally(self.all_of, of), editions, comparateur)

    def _filosofi(self, year: Tally, editions: list[tuple[str, Edition]], comparateur: list[Edition]) -> None:
        known: dict[tuple[str, bytes], pl.DataFrame] = {}

        def exact(level: str, cog_year: int) -> pl.DataFrame:
            key = level, self.country.territory(level, cog_year).tobytes()  # many levels do not change
            if key not in known:
                known[key] = figures(self.country, year, level, cog_year)
            return known[key]

        self.thresholds[year.of.year] = year.threshold
        for source_id, edition in editions:
            self._filosofi_edition(source_id, edition, year, exact)
        for edition in comparateur:
            cog_year = edition.cog_year or 0
            self._comparateur(edition, year.of.year, pl.concat([exact("COM", cog_year), exact("ARM", cog_year)]))
        for cog_year in sorted({e.cog_year or 0 for _, e in editions} | {self.reference}):
            frames = [truth.named(exact(level, cog_year), truth.FILOSOFI) for level in LEVELS]
            self.parts.append(Part(cog_year, year.of.year, pl.concat(frames)))

    def _filosofi_edition(
        self, source_id: str, edition: Edition, year: Tally, exact: Callable[[str, int], pl.DataFrame]
    ) -> None:
        cog_year = edition.cog_year or 0
        nowhere = None
        if (source_id, edition.edition) == ("insee_filosofi_cc", "2020"):
            nowhere = str(self.country.codes[cog_year][np.flatnonzero(self.country.home == ISLAND)[0]])
        tables: dict[tuple[str, str | None], pl.DataFrame] = {}
        for member in edition.members:
            level = member.level or "COM"
            if member.table == "pauvres":
                source = poverty(self.country, self.all_of, year, level, cog_year)
                names = truth.POOR
                new = [c for c in source.columns if names.get(c) not in truth.FILOSOFI.values()]
                self.parts.append(Part(cog_year, edition.data_year, truth.named(source.select(new), names)))
            else:
                source, names = exact(level, cog_year), truth.FILOSOFI
                if level == "COM":
                    source = pl.concat([source, exact("ARM", cog_year)])
            published = files_filosofi.variables(source_id, edition, member.table)
            shown, hidden = publish(source, published, files_filosofi.precision(source_id, edition))
            tables[level, member.table] = shown
            if member.level == "COM" and nowhere:
                hidden = _unavailable(hidden, nowhere, published)
            self._hide(source_id, edition, hidden, names)
        self.desk.put(source_id, edition, files_filosofi.write(source_id, edition, self.country, tables, nowhere))

    def _comparateur(self, edition: Edition, income_year: int, exact: pl.DataFrame) -> None:
        now, before = edition.data_year, edition.data_year - 5
        recent, old = census.counts(self.all_of, now), census.counts(self.all_of, before)
        registers = census.registers(self.all_of)
        columns = files_counts.comparateur_columns(now, recent, old, registers)
        names = ("NBMENFISC", "PIMP", "MED", "TP60")
        shown, hidden = publish(exact, names)
        income = shown.select("code", *(pl.col(n).alias(f"{n}{income_year % 100}") for n in names))
        written = files_counts.comparateur(self.country, edition, columns, income)
        self.desk.put("insee_comparateur", edition, written)
        self._hide("insee_comparateur", edition, hidden, truth.FILOSOFI, year=income_year)
        self._sums(now, edition.cog_year, recent, truth.CENSUS)
        self._sums(before, edition.cog_year, {n: old[n] for n in ("POP", "EMPLT")}, truth.CENSUS)
        for column, (name, year) in truth.REGISTERS.items():
            self._sums(year, edition.cog_year, {column: registers[column]}, {column: name})

    def _districts(self, edition: Edition, of: Year) -> None:
        districts = caf.by_district(self.all_of, of)
        written, hidden = files_counts.caf_districts(self.country, edition, districts)
        self.desk.put("cnaf_iris", edition, written)
        self._hide("cnaf_iris", edition, hidden, truth.CAF)
        self._sums(of.year, edition.cog_year, caf.by_atom(self.all_of, of), truth.CAF)

    def _payments(self, of: Year) -> None:
        self.payments[of.year] = caf.payments(self.all_of, of)
        self._sums(of.year, of.year + 1, self.payments[of.year], truth.PAYMENTS)
        editions = self.desk.editions("cnaf_commune")
        if set(self.payments) == {e.data_year for e in editions}:
            written = files_counts.caf_communes(self.country, self.payments)
            for edition in editions:
                self.desk.put("cnaf_commune", edition, written)

    def _hide(
        self,
        source_id: str,
        edition: Edition,
        cells: pl.DataFrame,
        names: Mapping[str, str],
        year: int | None = None,
    ) -> None:
        short = pl.Categorical  # there are millions of cells in a large country
        light = cells.select(
            pl.col("level").cast(short),
            "code",
            pl.col("variable").replace_strict(names).cast(short),
            pl.col("reason").cast(short),
        )
        self.hidden.append(Hidden(source_id, edition.edition, year or edition.data_year, light))

    def _sums(self, year: int, cog_year: int | None, columns: dict[str, np.ndarray], names: dict[str, str]) -> None:
        for geography in sorted({cog_year or self.reference, self.reference}):
            self.parts.append(Part(geography, year, truth.sums(self.country, SUM_LEVELS, geography, columns, names)))


def _unavailable(hidden: pl.DataFrame, code: str, variables: Sequence[str]) -> pl.DataFrame:
    """All figures of that commune are nd: this replaces any other reason."""
    rest = hidden.filter(~((pl.col("level") == "COM") & (pl.col("code") == code)))
    cells = pl.DataFrame({"variable": variables}).select(
        pl.lit("COM").alias("level"),
        pl.lit(code).alias("code"),
        "variable",
        pl.lit(UNAVAILABLE, hidden.schema["reason"]).alias("reason"),
    )
    return pl.concat([rest, cells])
