"""What must hold of one edition as read from its producer, as data: suites per kind of core frame.

Everything is a summary: one query per edition, and the groups of all editions are then judged together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from expectations.suites import (
    CODES,
    COMMUNE,
    DEPARTEMENT,
    ENOUGH_ROWS,
    IN_RANGE,
    RANGE_MEASURES,
    VALUE_RULES,
)
from expectations.vocabulary import (
    Bounds,
    Expect,
    Suite,
    Summary,
    Violation,
    quoted,
    summary_suite,
    with_ranges,
    with_row_bounds,
)

INCOME_SOURCES = ("insee_filosofi_cc", "insee_filosofi_distribution")
TYPES = ("COM", "COMA", "COMD", "ARM")


def core_suites(
    source_id: str,
    edition: str,
    columns: Sequence[str],
    bounds: Bounds,
    *,
    by_sex: bool = True,
    sex_known: bool = True,
) -> tuple[Suite, ...]:
    """The suites of one core frame, chosen by its columns (the kinds of sources/schema.py).

    by_sex: whether it has figures of women, which few do: looking for them costs as much as the other checks.
    sex_known: whether everybody counted is a woman or a man; not where a contract has persons of unknown sex.
    Their table is `source_id`. Raises LookupError when the columns are of no known kind.
    """
    present = set(columns)
    summaries = next((make(source_id, bounds) for kind, make in _KINDS if kind <= present), None)
    if summaries is None:
        raise LookupError(f"{source_id}/{edition}: no suite for columns {sorted(present)}")
    suites = [
        summary_suite(name, source_id, summary, expects, edition) for name, (summary, expects) in summaries.items()
    ]
    if "core_values" in summaries and by_sex:
        suites.append(summary_suite("core_sexes", source_id, _sexes(bounds, sex_known), (), edition, may_be_empty=True))
    return tuple(suites)


_Summaries = dict[str, tuple[Summary, tuple[Expect, ...]]]


def _values(source_id: str, bounds: Bounds) -> _Summaries:
    summaries = {"core_values": (_cells(bounds), IN_RANGE), **_territories(source_id, bounds)}
    if source_id in INCOME_SOURCES:
        summaries["core_income"] = (_income(), (MEDIAN_PRESENT,))
    return summaries


def _list(name: str, summary: Callable[[], Summary], level: str | None) -> Callable[[str, Bounds], _Summaries]:
    """Of a geography: its own checks, and how many rows it has by `level` (an expression) when it has one."""

    def make(source_id: str, bounds: Bounds) -> _Summaries:
        rows = {} if level is None else _rows(name, level, source_id, bounds)
        return {name: (summary(), ()), **rows}

    return make

# --- small vocabulary -----------------------------------------------------------------------------------------


def _present(*columns: str, where: str = "true", name: str | None = None, told: str = "") -> Violation:
    missing = " OR ".join(f"{c} IS NULL" for c in columns)
    text = f"{', '.join(columns)} : toujours renseigné{told}"
    return Violation(name or f"{columns[0]}_present", f"({missing}) AND {where}", text)


def _known(column: str, codes: Sequence[str]) -> Violation:
    return Violation(f"{column}_known", f"{column} NOT IN ({quoted(codes)})", f"{column} parmi : {', '.join(codes)}")


def _format(column: str, regex: str, what: str) -> Violation:
    return Violation(f"{column}_format", f"NOT regexp_matches({column}, '{regex}')", f"{column} de la forme {what}")


def _unique(*columns: str) -> Violation:
    key = f"({', '.join(columns)})"
    again = f"{key} IN (SELECT {key} FROM {{table}} GROUP BY ALL HAVING count(*) > 1)"
    return Violation("key_unique", again, f"une seule ligne par {key}", count=f"count(*) - count(DISTINCT ROW{key})")


def _code_of_level() -> Violation:
    wrong = " OR ".join(
        f"(level = '{level}' AND NOT regexp_matches(code, '{regex}'))"
        for level, regex in CODES.items()
        if level not in ("PER", "METRO", "FRANCE")
    )
    return Violation("code_format", wrong, "des codes de la forme de leur niveau (commune : 5 caractères)")


def _rows(name: str, level: str, source_id: str, bounds: Bounds) -> _Summaries:
    """How many territories of each level (an expression): `core_communes_rows` and the like."""
    summary = Summary(
        by={"level": "level"},
        key="code",
        source=f"(SELECT code, {level} AS level FROM {{table}})",
        violations=(),
        measures={"territories": "count(DISTINCT code)"},
        complete=with_row_bounds(bounds.rows_of(source_id)),
    )
    return {f"{name}_rows": (summary, ENOUGH_ROWS)}


# --- values -----------------------------------------------------------------------------------------------------


def _cells(bounds: Bounds) -> Summary:
    """Every figure of an edition (frame VALUES), by level, year and variable."""
    return Summary(
        by={"level": "level", "year": "year", "variable": "variable"},
        key="concat_ws('/', level, code, year, variable)",
        violations=(
            *VALUE_RULES,
            _present("code", "level", "year", "variable", "obs_status", "conf_status"),
            Violation(
                "key_unique",
                "concat_ws('/', level, code, year, variable) IN (SELECT concat_ws('/', level, code, year, variable) "
                "FROM {table} GROUP BY level, code, year, variable HAVING count(*) > 1)",
                "une seule ligne par (level, code, year, variable)",
                count="count(code) - count(DISTINCT code)",  # within a group, the code is the key
            ),
        ),
        measures=RANGE_MEASURES,
        complete=with_ranges("variable", bounds.variables),
    )


def _territories(source_id: str, bounds: Bounds) -> _Summaries:
    """The territories of an edition: codes of the form of their level, and as many as expected."""
    summary = Summary(
        by={"level": "level"},
        key="concat_ws('/', level, code)",
        violations=(_code_of_level(),),
        measures={"territories": "count(*)"},
        source="(SELECT DISTINCT level, code FROM {table})",
        complete=with_row_bounds(bounds.rows_of(source_id)),
    )
    return {"core_values_rows": (summary, ENOUGH_ROWS)}


def _sexes(bounds: Bounds, sex_known: bool) -> Summary:
    """Figures given for women (`_f`), for men (`_m`) and for all: counts add up (to no more than the whole, where the
    sex of some is not known), a rate of all lies between the two, as far as rounding lets them (the bounds of each; a
    tenth for a rate that has none)."""
    above, below = "f_low + m_low > high + 1e-6 * high + 1e-3", "f_high + m_high < low - 1e-6 * low - 1e-3"
    apart, sums = (f"({above} OR {below})", "=") if sex_known else (above, "≤")
    # one pass that gathers the three, and no join: a country ten times as large has them in hundreds of megabytes
    cells = (
        "(SELECT level, code, year, variable::VARCHAR AS name, right(name, 2) AS sex, left(name, -2) AS base, "
        "coalesce(lower, value) AS low, coalesce(upper, value) AS high FROM {table} WHERE value IS NOT NULL)"
    )
    told = "(SELECT DISTINCT left(variable::VARCHAR, -2) FROM {table} WHERE suffix(variable::VARCHAR, '_f'))"
    mine = {"": "name = variable", "f_": "name = variable || '_f'", "m_": "name = variable || '_m'"}
    bounds_of = ", ".join(
        f"max({bound}) FILTER (WHERE {which}) AS {prefix}{bound}"
        for prefix, which in mine.items()
        for bound in ("low", "high")
    )
    is_rate = " ".join(f"WHEN regexp_full_match(variable, '{p}') THEN {top <= 100}" for p, _, top in bounds.variables)
    return Summary(
        by={"level": "level", "year": "year", "variable": "variable"},
        key="concat_ws('/', level, code, year, variable)",
        source=(
            f"(SELECT *, CASE {is_rate} ELSE false END AS rate FROM (SELECT level, code, year, variable, {bounds_of} "
            f"FROM (SELECT *, CASE WHEN sex IN ('_f', '_m') AND base IN {told} THEN base ELSE name END AS variable "
            f"FROM {cells}) WHERE variable IN {told} GROUP BY level, code, year, variable) "
            "WHERE low IS NOT NULL AND f_low IS NOT NULL AND m_low IS NOT NULL)"
        ),
        violations=(
            # the census weights leave residues
            Violation(
                "women_and_men_add_up",
                f"NOT rate AND {apart}",
                f"effectif des femmes + effectif des hommes {sums} effectif total (aux arrondis près)",
            ),
            Violation(
                "rate_between_women_and_men",
                "rate AND (least(f_low, m_low) > high + 0.1 + 1e-6 OR greatest(f_high, m_high) < low - 0.1 - 1e-6)",
                "un taux d'ensemble compris entre celui des femmes et celui des hommes (aux arrondis près)",
            ),
        ),
    )


MEDIAN_PRESENT = Expect(
    "median_present",
    "expect_column_max_to_be_between",
    {"column": "compared", "min_value": 1, "max_value": None},
    "au moins un territoire dont la médiane est publiée",
)


def _income() -> Summary:
    """Consistency of one territory's income figures: order of the quantiles, shares that add up."""
    deciles = [f"d{k}" for k in range(1, 10)]
    shares = ["pact", "ptsa", "pcho", "pben", "ppen", "ppat", "ppsoc", "ppfam", "ppmini", "pplogt", "pimpot"]
    names = [*(d for d in deciles if d != "d5"), "q1", "q3", "nb_men", "nb_pers", *shares]
    pivot = [f"max(value) FILTER (WHERE variable = '{n}') AS {n}" for n in names]
    # the median is q2 in the distribution files, and stands for the fifth decile
    pivot += [f"max(value) FILTER (WHERE variable IN ('med', 'q2')) AS {n}" for n in ("med", "d5")]
    wide = (
        f"(SELECT level, code, year, {', '.join(pivot)} FROM {{table}} "
        f"WHERE variable IN ({quoted([*names, 'med', 'q2'])}) GROUP BY level, code, year)"
    )
    descending = " OR ".join(f"{a} > {b}" for a, b in pairwise(deciles))
    return Summary(
        by={"level": "level", "year": "year"},
        key="concat_ws('/', level, code, year)",
        source=wide,
        violations=(
            Violation("deciles_monotone", descending, "des déciles croissants : D1 <= D2 <= ... <= D9"),
            Violation("median_between_deciles", "med < d1 OR med > d9", "D1 <= médiane <= D9"),
            Violation(
                "quartiles_between_deciles",
                "q1 < d2 OR q1 > d3 OR q3 < d7 OR q3 > d8",
                "D2 <= Q1 <= D3 et D7 <= Q3 <= D8",
            ),
            Violation("persons_cover_households", "nb_pers < nb_men", "au moins autant de personnes que de ménages"),
            # five shares, each rounded to 0.1: their sum is 100 within 5 x 0.05
            Violation(
                "shares_add_to_100",
                "abs(pact + ppen + ppat + ppsoc + pimpot - 100) > 0.25 + 1e-6",
                "activité + pensions + patrimoine + prestations + impôts = 100 % (à 0,25 point d'arrondi)",
            ),
            # one total and three parts, each rounded to 0.1
            Violation(
                "benefits_add_up",
                "abs(ppfam + ppmini + pplogt - ppsoc) > 0.2 + 1e-6",
                "familles + minima + logement = prestations (à 0,2 point d'arrondi près)",
            ),
        ),
        measures={"compared": "count(*) FILTER (WHERE med IS NOT NULL)"},
    )


# --- geography --------------------------------------------------------------------------------------------------


def _communes() -> Summary:
    """The list of a COG (frame COMMUNES)."""
    whole = "typecom = 'COM'"
    return Summary(
        by={"typecom": "typecom"},
        key="concat_ws('/', typecom, code)",
        violations=(
            _unique("typecom", "code"),
            _known("typecom", TYPES),
            _present("code"),
            _present("name"),
            _present("departement", where=whole, told=" pour une commune"),
            _present("region", where=whole, told=" pour une commune"),
            _present("parent", where="typecom <> 'COM'", told=" pour une partie de commune"),
            _format("code", COMMUNE, "5 caractères, zéros compris"),
            _format("departement", DEPARTEMENT, "01 à 95, 2A, 2B, 971 à 976"),
            _format("region", CODES["REG"], "2 chiffres"),
        ),
    )


def _events() -> Summary:
    """The events of a COG (frame EVENTS)."""
    columns = ("mod", "date", "type_before", "code_before", "name_before", "type_after", "code_after", "name_after")
    return Summary(
        by={"mod": "mod"},
        key="concat_ws('/', mod, date, code_before, code_after)",
        violations=(
            _unique(*columns),
            _present("mod", "date"),
            # two digits today, three until 2018
            Violation("mod_range", "mod NOT BETWEEN 10 AND 999", "un code d'événement de deux ou trois chiffres"),
            _known("type_before", TYPES),
            _known("type_after", TYPES),
            _format("code_before", COMMUNE, "5 caractères"),
            _format("code_after", COMMUNE, "5 caractères"),
        ),
    )


def _zones() -> Summary:
    """Départements or régions of a COG (frame ZONES)."""
    return Summary(
        by={"level": "level"},
        key="concat_ws('/', level, code)",
        violations=(
            _unique("level", "code"),
            _known("level", ("DEP", "REG")),
            _present("code", "name"),
            _code_of_level(),
            _format("region", CODES["REG"], "2 chiffres"),
        ),
    )


def _composition() -> Summary:
    """The communes of zones of one year (frame COMPOSITION): one zone a level for each commune."""
    return Summary(
        by={"level": "level"},
        key="concat_ws('/', level, code, commune)",
        violations=(
            _unique("level", "commune"),
            _known("level", ("EPCI", "EPT", "ARR", "ZE")),
            _present("code", "commune", "name"),
            _code_of_level(),
            _format("commune", COMMUNE, "5 caractères"),
        ),
    )


def _iris() -> Summary:
    """The IRIS of a geography year (frame IRIS)."""
    return Summary(
        by={"type": "type"},
        key="code",
        violations=(
            Violation(  # in the whole list: the same code may be given two types
                "key_unique",
                "code IN (SELECT code FROM {table} GROUP BY code HAVING count(*) > 1)",
                "une seule ligne par code",
            ),
            _known("type", ("H", "A", "D", "Z")),
            _present("name"),
            _format("code", CODES["IRIS"], "9 caractères"),
            _format("commune", COMMUNE, "5 caractères"),
        ),
    )


def _iris_changes() -> Summary:
    """Changes of IRIS (frame IRIS_CHANGES)."""
    return Summary(
        by={"year": "year"},
        key="concat_ws('/', year, before, after)",
        violations=(
            _unique("year", "before", "after"),
            _format("before", CODES["IRIS"], "9 caractères"),
            _format("after", CODES["IRIS"], "9 caractères"),
        ),
    )


def _qpv() -> Summary:
    """Priority districts and their communes, by name (frame QPV)."""
    return Summary(
        by={"perimeter": "left(code, 2)"},
        key="concat_ws('/', code, commune_name, commune)",
        violations=(
            _unique("code", "commune_name", "commune"),
            _format("code", CODES["QPV"], "QP091001 ou QN09101M"),
            _format("commune", COMMUNE, "5 caractères"),
        ),
    )


# the columns by which a kind of core frame is known (sources/schema.py), and its suites
_KINDS: tuple[tuple[set[str], Callable[[str, Bounds], _Summaries]], ...] = (
    ({"variable", "value", "obs_status"}, _values),
    ({"typecom", "parent"}, _list("core_communes", _communes, "typecom")),
    ({"mod", "code_before"}, _list("core_events", _events, None)),
    ({"level", "commune"}, _list("core_composition", _composition, "level")),
    ({"code", "type", "commune"}, _list("core_iris", _iris, "'IRIS'")),
    ({"year", "before", "after"}, _list("core_iris_changes", _iris_changes, None)),
    ({"code", "commune_name"}, _list("core_qpv", _qpv, "'QPV'")),
    ({"level", "code", "name", "region"}, _list("core_zones", _zones, "level")),
)
