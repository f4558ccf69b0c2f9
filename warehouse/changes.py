"""What changes from one release to the next: counts, biggest movements, since when each value is there.

Everything is read from the two releases' Parquet; nothing here writes a release.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from warehouse.duckdb_file import engine
from warehouse.models import TABLES, quoted

KEY = TABLES["observation"].key
COMPARED = ("value", "lower", "upper", "obs_status", "conf_status")
TOP_RELATIVE = 20  # movements shown, all indicators together
TOP_ABSOLUTE = 5  # movements shown per indicator: units do not compare
TOP_TERRITORIES = 10  # shown per level
SHOWN_TERRITORIES = 50

DATA = "données"  # cause of a movement: the same definition, other figures
NEW, GONE = "nouvel indicateur", "indicateur retiré"
MOVED = ("added", "changed", "removed")
# why a row moves, the first that holds
DEFINITION, GEOGRAPHY, EDITION = "définition changée", "géographie changée", "nouvelle édition"
REVISED, GONE_EDITION, COMPUTED = "édition révisée", "édition retirée", "calcul"
REASONS_FR = {
    DEFINITION: "la version de l'indicateur n'est plus la même",
    GEOGRAPHY: "le territoire n'est plus fait de ce dont il était fait, ou apparaît ou disparaît",
    EDITION: "une édition que la publication précédente n'avait pas",
    REVISED: "le producteur, ou le partenaire, a remplacé son fichier",
    GONE_EDITION: "une édition n'est plus employée",
    COMPUTED: "mêmes fichiers : le programme, ou un chiffre qui dépend d'autres (rang, écart, estimation)",
}

_COUNTS = {"added": pl.Int64, "changed": pl.Int64, "removed": pl.Int64, "hidden": pl.Int64, "shown": pl.Int64}
_MOVEMENT = {
    "indicator_id": pl.String,
    "territory_id": pl.String,
    "year": pl.Int16,
    "sex": pl.String,
    "age": pl.String,
    "old": pl.Float64,
    "new": pl.Float64,
    "reason": pl.String,
}
_REASONS = {"source": pl.String, "indicator_id": pl.String, "reason": pl.String, **dict.fromkeys(MOVED, pl.Int64)}


class FirstSeen:
    """Fills `release_added`: the release in which a row's key, value, bounds and status first appeared.

    `previous` is the published release's observation file, None on a first build.
    """

    def __init__(self, previous: Path | None, release_id: str) -> None:
        self._previous = previous
        self._release_id = release_id

    def fill(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The block (dtypes of the table) with its column `release_added` replaced."""
        if self._previous is None or frame.height == 0:
            return frame.with_columns(release_added=pl.lit(self._release_id))
        before = self._before(frame)
        beside = _from_first_key(frame, before)
        if _same(frame, beside, [*KEY, *COMPARED]):  # the usual case: nothing changed in this block
            return frame.with_columns(beside["release_added"])
        old = before.rename({c: f"old_{c}" for c in (*COMPARED, "release_added")})
        unchanged = pl.all_horizontal([pl.col(c).eq_missing(pl.col(f"old_{c}")) for c in COMPARED])
        since = pl.when(unchanged).then("old_release_added")
        return (
            frame.join(old, on=list(KEY), how="left", maintain_order="left")
            .with_columns(release_added=pl.coalesce(since, pl.lit(self._release_id)))
            .select(frame.columns)
        )

    def _before(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The previous release's rows that the block may hold again, sorted as the table is."""
        assert self._previous is not None
        # the block's few indicators, references and years: most row groups are skipped
        wanted = [pl.col(c).is_in(frame[c].unique().implode()) for c in ("indicator_id", "reference", "year")]
        return (
            pl.scan_parquet(self._previous)
            .filter(pl.all_horizontal(wanted))
            .select(*KEY, *COMPARED, "release_added")
            .collect()
        )


def _from_first_key(frame: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """As many rows of `before` as the block has, from the block's first key on."""
    key = frame.row(0, named=True)
    start = before.select(pl.all_horizontal([pl.col(k) == key[k] for k in KEY])).to_series().arg_max()
    return before.slice(start or 0, frame.height)


def _same(one: pl.DataFrame, other: pl.DataFrame, columns: Sequence[str]) -> bool:
    return one.height == other.height and all(one[c].eq_missing(other[c]).all() for c in columns)


@dataclass(frozen=True)
class Changes:
    """The difference of two releases' published figures.

    counts: source, indicator_id, label_fr, cause, added, changed, removed, hidden (published before, no
        longer), shown (published now, not before): one row per source and indicator that differ. cause says whether
        the definition moved the values (`définition (v1 → v2)`, NEW, GONE) or the data did (DATA).
    reasons: source, indicator_id, reason (DEFINITION ... COMPUTED), added, changed, removed: the same rows, by what
        moved them. Empty for a first release.
    territories: of each territory, its largest movement in proportion (columns of `relative`), its level, and how many
        of its figures moved.
    relative, absolute: indicator_id, label_fr, unit, territory_id, name, year, sex, age, old, new,
        difference, relative (%), reason: biggest first. Only ordinary rows: gaps and ranks follow from them.
        Redefined indicators are left out.
    definitions: indicator_id, label_fr, old, new (versions).
    territories_added, territories_removed: territory_id, level, name.
    """

    before: str | None
    after: str
    rows_before: int
    rows_after: int
    counts: pl.DataFrame
    relative: pl.DataFrame
    absolute: pl.DataFrame
    definitions: pl.DataFrame
    territories_added: pl.DataFrame
    territories_removed: pl.DataFrame
    reasons: pl.DataFrame
    territories: pl.DataFrame
    notice: str | None = None

    def total(self, column: str) -> int:
        """Sum of a column of `counts`: added, changed, removed, hidden or shown."""
        return int(self.counts[column].sum())

    @property
    def empty(self) -> bool:
        """True when no row, territory or definition differs."""
        frames = (self.counts, self.definitions, self.territories_added, self.territories_removed)
        return all(f.height == 0 for f in frames)

    def markdown(self) -> str:
        """The text of CHANGES.md (French)."""
        return "\n".join(_markdown(self))

    def movements(self) -> str:
        """The page of the largest movements: by reason, source, indicator, territory (French)."""
        return "\n".join(_movements(self))


def compare(before: Path | None, after: Path, *, notice: str | None = None) -> Changes:
    """The difference between two folders of Parquet tables; `before` is None for a first release.

    `before` and `after` are `releases/<id>/public` folders, or a candidate's. Holds one indicator in memory.
    """
    with engine() as connection:
        _open(connection, "old", before)
        _open(connection, "new", after)
        versions = _frame(connection, _VERSIONS)
        definitions = versions.filter(pl.col("old") != pl.col("new"))
        counts, reasons, moves, territories = _differences(connection, set(definitions["indicator_id"]))
        causes = {i: cause_of(old, new) for i, _, old, new in versions.iter_rows()}
        counts = counts.with_columns(cause=pl.col("indicator_id").replace_strict(causes, default=DATA))
        moves = _described(connection, moves)
        return Changes(
            before=_release_of(before) if before else None,
            after=_release_of(after),
            rows_before=_scalar(connection, "SELECT count(*) FROM old_observation"),
            rows_after=_scalar(connection, "SELECT count(*) FROM new_observation"),
            counts=_labelled(connection, counts).sort("source", "indicator_id"),
            relative=_largest(moves, "relative").head(TOP_RELATIVE),
            absolute=_largest(moves, "difference")
            .group_by("indicator_id", maintain_order=True)
            .head(TOP_ABSOLUTE)
            .sort("indicator_id", maintain_order=True),
            definitions=definitions,
            territories_added=_frame(connection, _TERRITORIES.format(here="new", there="old")),
            territories_removed=_frame(connection, _TERRITORIES.format(here="old", there="new")),
            reasons=_labelled(connection, reasons).sort("source", "indicator_id", "reason"),
            territories=_largest(_described(connection, territories), "relative"),
            notice=notice,
        )


def cause_of(old: int | None, new: int | None) -> str:
    """Why the values of an indicator move (French), from its version before and after; None where it is not."""
    if old is None:
        return NEW
    if new is None:
        return GONE
    return DATA if old == new else f"définition (v{old} → v{new})"


def _release_of(public: Path) -> str:
    return public.parent.name.removeprefix(".candidate-")


_VERSIONS = """
    SELECT indicator_id, coalesce(n.label_fr, o.label_fr) AS label_fr, o.version AS "old", n.version AS "new"
    FROM new_indicator n FULL JOIN old_indicator o USING (indicator_id) ORDER BY 1
"""

_TERRITORIES = """
    SELECT territory_id, level, name FROM {here}_territory
    ANTI JOIN {there}_territory USING (territory_id) ORDER BY 1
"""

# Order does not matter to a sum: two files with the same rows have the same fingerprint.
_FINGERPRINT = """
    SELECT indicator_id, count(*) AS n,
      sum(hash(
        reference, "year", sex, age, territory_id, value, lower, upper, obs_status, conf_status
      )::HUGEINT) AS h
    FROM {side}_observation GROUP BY indicator_id
"""

_ALL_ADDED = """
    SELECT regexp_replace(source_ids, '/[^;]*', '', 'g') AS source, indicator_id,
      sum(n)::BIGINT AS added, 0 AS changed, 0 AS removed, 0 AS hidden, 0 AS shown
    FROM (SELECT source_ids, indicator_id, count(*) AS n FROM new_observation GROUP BY ALL) GROUP BY ALL
"""

# Editions by what became of them, and the territories that are not made of what they were, or are new or gone.
_CAUSES = """
    CREATE TEMP TABLE edition AS
      SELECT concat_ws('/', source_id, edition) AS name,
        CASE WHEN o.url IS NULL THEN 'new' WHEN n.url IS NULL THEN 'gone'
          WHEN (o.url, o.sha256) IS DISTINCT FROM (n.url, n.sha256) THEN 'revised' END AS fate
      FROM old_source_file o FULL JOIN new_source_file n USING (source_id, edition) WHERE fate IS NOT NULL;
    CREATE TEMP TABLE reshaped AS
      SELECT parent_id AS territory_id FROM old_territory_member o
        FULL JOIN new_territory_member n USING (parent_id, child_id)
        WHERE (o.cog_year IS NULL OR n.cog_year IS NULL)
          AND split_part(child_id, '-', 1) = 'COM' -- districts come and go inside a commune that stays the same
      UNION SELECT territory_id FROM old_territory o FULL JOIN new_territory n USING (territory_id)
        WHERE o.level IS NULL OR n.level IS NULL OR o.perimeter_year IS DISTINCT FROM n.perimeter_year
      UNION SELECT 'COM-' || to_code FROM new_passage
        WHERE from_year = (SELECT max(cog_year) FROM old_territory)
          AND to_year = (SELECT max(cog_year) FROM new_territory);
"""

_REASON = f"""
    CASE WHEN $redefined THEN '{DEFINITION}'
      WHEN territory_id IN (SELECT territory_id FROM reshaped) THEN '{GEOGRAPHY}'
      WHEN list_has_any(editions, (SELECT list(name) FROM edition WHERE fate = 'new')) THEN '{EDITION}'
      WHEN list_has_any(editions, (SELECT list(name) FROM edition WHERE fate = 'revised')) THEN '{REVISED}'
      WHEN list_has_any(editions, (SELECT list(name) FROM edition WHERE fate = 'gone')) THEN '{GONE_EDITION}'
      ELSE '{COMPUTED}' END
"""

_DELTA = f"""
    CREATE OR REPLACE TEMP TABLE delta AS
    WITH o AS (SELECT * FROM old_observation WHERE indicator_id = $indicator),
         n AS (SELECT * FROM new_observation WHERE indicator_id = $indicator)
    SELECT *, {_REASON} AS reason FROM (
      SELECT reference, "year", sex, age, territory_id, o.value AS "old", n.value AS "new",
      CASE WHEN o.source_ids IS NULL THEN 'added' WHEN n.source_ids IS NULL THEN 'removed' ELSE 'changed' END
        AS kind,
      regexp_replace(coalesce(n.source_ids, o.source_ids), '/[^;]*', '', 'g') AS source,
      string_split(concat_ws(';', n.source_ids, o.source_ids), ';') AS editions
    FROM o FULL JOIN n USING (reference, "year", sex, age, territory_id)
    WHERE o.source_ids IS NULL OR n.source_ids IS NULL
      OR (o.value, o.lower, o.upper, o.obs_status, o.conf_status)
        IS DISTINCT FROM (n.value, n.lower, n.upper, n.obs_status, n.conf_status))
"""

_DELTA_COUNTS = """
    SELECT source, $indicator AS indicator_id,
      count(*) FILTER (kind = 'added') AS added,
      count(*) FILTER (kind = 'changed') AS changed,
      count(*) FILTER (kind = 'removed') AS removed,
      count(*) FILTER (kind = 'changed' AND "old" IS NOT NULL AND "new" IS NULL) AS hidden,
      count(*) FILTER (kind = 'changed' AND "old" IS NULL AND "new" IS NOT NULL) AS shown
    FROM delta GROUP BY source
"""

_DELTA_REASONS = """
    SELECT source, $indicator AS indicator_id, reason, count(*) FILTER (kind = 'added') AS added,
      count(*) FILTER (kind = 'changed') AS changed, count(*) FILTER (kind = 'removed') AS removed
    FROM delta GROUP BY source, reason
"""

_DELTA_TERRITORIES = """
    SELECT $indicator AS indicator_id, territory_id, "year", sex, age, "old", "new", reason,
      count(*) OVER (PARTITION BY territory_id) AS moved
    FROM delta WHERE kind = 'changed' AND reference = '_Z' AND "new" <> "old" AND "old" <> 0
    QUALIFY row_number() OVER (
      PARTITION BY territory_id ORDER BY abs("new" / "old" - 1) DESC, "year", sex, age) = 1
"""

_DELTA_TOP = """
    SELECT $indicator AS indicator_id, territory_id, "year", sex, age, "old", "new", reason FROM delta
    WHERE kind = 'changed' AND reference = '_Z' AND "new" <> "old"
    QUALIFY row_number() OVER (ORDER BY abs("new" - "old") DESC, "year", sex, age, territory_id) <= {absolute}
      OR row_number() OVER (ORDER BY abs("new" / nullif("old", 0) - 1) DESC NULLS LAST,
        abs("new" - "old") DESC, "year", sex, age, territory_id) <= {relative}
"""


def _open(connection: duckdb.DuckDBPyConnection, side: str, folder: Path | None) -> None:
    """Views `<side>_<table>` on a folder's Parquet; empty tables when there is no folder."""
    for name in ("observation", "territory", "territory_member", "passage", "indicator", "source_file"):
        if folder is None or not (folder / f"{name}.parquet").exists():  # a release of an older version

            table = TABLES[name]
            connection.execute(table.ddl().replace(f'"{name}"', f'"{side}_{name}"', 1))
        else:
            path = quoted(str(folder / f"{name}.parquet"))
            connection.execute(f"CREATE VIEW {side}_{name} AS SELECT * FROM read_parquet({path})")


def _differences(
    connection: duckdb.DuckDBPyConnection, redefined: set[str]
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Counts by source and indicator, then by reason too, candidates for the biggest movements, and the biggest of each
    territory; one indicator at a time."""
    reasons, moves = [pl.DataFrame(schema=_REASONS)], [pl.DataFrame(schema=_MOVEMENT)]
    territories = pl.DataFrame(schema={**_MOVEMENT, "moved": pl.Int64})
    if _scalar(connection, "SELECT count(*) FROM old_observation") == 0:
        return _frame(connection, _ALL_ADDED), reasons[0], moves[0], territories
    connection.execute(_CAUSES)
    fingerprints = [_FINGERPRINT.format(side=side) for side in ("old", "new")]
    differing = connection.execute(
        f"""
        SELECT coalesce(o.indicator_id, n.indicator_id) FROM ({fingerprints[0]}) o
        FULL JOIN ({fingerprints[1]}) n ON n.indicator_id = o.indicator_id
        WHERE (o.n, o.h) IS DISTINCT FROM (n.n, n.h) ORDER BY 1
        """
    ).fetchall()
    counts = [pl.DataFrame(schema={"source": pl.String, "indicator_id": pl.String, **_COUNTS})]
    top = _DELTA_TOP.format(absolute=TOP_ABSOLUTE, relative=TOP_RELATIVE)
    for (indicator,) in differing:
        parameters = {"indicator": str(indicator)}
        connection.execute(_DELTA, {**parameters, "redefined": indicator in redefined})
        counts.append(_frame(connection, _DELTA_COUNTS, parameters))
        reasons.append(_frame(connection, _DELTA_REASONS, parameters))
        if indicator not in redefined:
            moves.append(_frame(connection, top, parameters))
            territories = _merged(territories, _frame(connection, _DELTA_TERRITORIES, parameters))
    return pl.concat(counts), pl.concat(reasons), pl.concat(moves), territories


def _merged(territories: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    """Of each territory, the larger of two movements in proportion, and how many there are in all."""
    both = pl.concat([territories, more], how="vertical_relaxed")
    others = pl.exclude("territory_id", "moved", "size").first()
    return (
        both.with_columns(size=(pl.col("new") / pl.col("old") - 1).abs())
        .sort("size", "indicator_id", descending=[True, False])
        .group_by("territory_id", maintain_order=True)
        .agg(others, moved=pl.col("moved").sum())
        .select(territories.columns)
    )


def _labelled(connection: duckdb.DuckDBPyConnection, rows: pl.DataFrame) -> pl.DataFrame:
    """Adds label_fr and unit of the new catalogue, or of the old one for what is gone."""
    labels = _frame(
        connection,
        """
        SELECT indicator_id, coalesce(n.label_fr, o.label_fr) AS label_fr, coalesce(n.unit, o.unit) AS unit
        FROM new_indicator n FULL JOIN old_indicator o USING (indicator_id)
        """,
    )
    return rows.join(labels, on="indicator_id", how="left")


def _described(connection: duckdb.DuckDBPyConnection, moves: pl.DataFrame) -> pl.DataFrame:
    """Adds labels, the territory's name, the difference and the relative difference (%)."""
    names = _frame(connection, "SELECT territory_id, name, level FROM new_territory")
    difference = pl.col("new") - pl.col("old")
    return (
        _labelled(connection, moves)
        .join(names, on="territory_id", how="left")
        .with_columns(difference=difference)
        .with_columns(relative=pl.when(pl.col("old") != 0).then(100 * difference / pl.col("old").abs()))
    )


def _largest(moves: pl.DataFrame, measure: str) -> pl.DataFrame:
    order = [pl.col(measure).abs(), *("indicator_id", "year", "sex", "age", "territory_id")]
    return moves.filter(pl.col(measure).is_not_null()).sort(order, descending=[True] + [False] * 5)


def _frame(connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any] | None = None) -> pl.DataFrame:
    return connection.sql(query, params=parameters).pl()


def _scalar(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(connection.execute(query).fetchall()[0][0])


def number_fr(value: float | None, *, signed: bool = False) -> str:
    """A number for French readers: one decimal at most from 1 up, two below; `signed` writes the plus."""
    if value is None:
        return ""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 1 else 2
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text.replace(",", "\u202f").replace(".", ",").replace("-", "\u2212")


def _markdown(c: Changes) -> list[str]:
    lines = [f"# Ce qui change dans {c.after}", ""]
    if c.notice:
        lines += [f"**{c.notice}**", ""]
    if c.before is None:
        lines += [f"Première publication : {number_fr(c.rows_after)} lignes d'observation.", ""]
    elif c.empty:
        return [*lines, f"Aucune différence avec {c.before}.", ""]
    else:
        lines += [
            f"Par rapport à {c.before} : {number_fr(c.total('added'))} lignes ajoutées, "
            f"{number_fr(c.total('changed'))} modifiées (dont {number_fr(c.total('hidden'))} valeurs qui ne "
            f"sont plus publiées et {number_fr(c.total('shown'))} qui le deviennent), "
            f"{number_fr(c.total('removed'))} retirées ; {number_fr(c.rows_before)} lignes avant, "
            f"{number_fr(c.rows_after)} après.",
            "",
        ]
    if c.before is None:
        return lines + _section("Par source et indicateur", _first_rows(c.counts))
    lines += _section("Définition ou données", _cause_rows(c))
    data = c.counts.filter(pl.col("cause") == DATA)
    lines += _section("Ce que les données changent, par source et indicateur", _count_rows(data))
    lines += _section("Plus grands mouvements, en proportion", _move_rows(c.relative))
    lines += _section("Plus grands mouvements de chaque indicateur, en valeur", _move_rows(c.absolute))
    lines += _territories("Territoires ajoutés", c.territories_added)
    lines += _territories("Territoires retirés", c.territories_removed)
    return lines


def _cause_rows(c: Changes) -> list[list[str]]:
    """What moved because a definition did, indicator by indicator, then all that the data moved."""
    moved = {(cause_of(r["old"], r["new"]), _named(r)): Counter[str]() for r in c.definitions.iter_rows(named=True)}
    for row in c.counts.filter(pl.col("cause") != DATA).iter_rows(named=True):
        moved.setdefault((row["cause"], _named(row)), Counter()).update({k: row[k] for k in MOVED})
    data = c.counts.filter(pl.col("cause") == DATA)
    if data.height:
        indicators = data["indicator_id"].n_unique()
        whose = f"{indicators} indicateur" + ("s" if indicators > 1 else "")
        moved[DATA, whose] = Counter({k: int(data[k].sum()) for k in MOVED})
    last = (NEW, GONE, DATA)
    ordered = sorted(moved, key=lambda key: (last.index(key[0]) if key[0] in last else -1, key[1]))
    return [["Cause", "Indicateur", "Lignes ajoutées", "modifiées", "retirées"]] + [
        [cause, whose, *(number_fr(moved[cause, whose][k]) for k in MOVED)] for cause, whose in ordered
    ]


def _named(row: dict[str, Any]) -> str:
    return f"{row['label_fr'] or ''} (`{row['indicator_id']}`)"


def _first_rows(counts: pl.DataFrame) -> list[list[str]]:
    return [["Source", "Indicateur", "Lignes"]] + [
        [r["source"], _named(r), number_fr(r["added"])] for r in counts.iter_rows(named=True)
    ]


def _count_rows(counts: pl.DataFrame) -> list[list[str]]:
    head = [
        "Source",
        "Indicateur",
        "Ajoutées",
        "Modifiées",
        "dont devenues vides",
        "dont devenues publiées",
        "Retirées",
    ]
    return [head] + [
        [r["source"], _named(r), *(number_fr(r[k]) for k in ("added", "changed", "hidden", "shown", "removed"))]
        for r in counts.iter_rows(named=True)
    ]


def _move_rows(moves: pl.DataFrame) -> list[list[str]]:
    head = ["Indicateur", "Territoire", "Année", "Avant", "Après", "Écart", "Écart relatif", "Motif"]
    return [head] + [
        [
            _named(r) + "".join(f", {r[k]}" for k in ("sex", "age") if r[k] != "_T"),
            f"{r['name'] or ''} ({r['territory_id']})",
            str(r["year"]),
            number_fr(r["old"]),
            number_fr(r["new"]),
            number_fr(r["difference"], signed=True),
            "" if r["relative"] is None else number_fr(r["relative"], signed=True) + "\u202f%",
            r["reason"],
        ]
        for r in moves.iter_rows(named=True)
    ]


def _movements(c: Changes) -> list[str]:
    lines = [f"# Ce qui bouge le plus dans {c.after}", "", *([f"**{c.notice}**", ""] if c.notice else [])]
    if c.before is None:
        return [*lines, "Première publication : rien à quoi la comparer.", ""]
    if c.reasons.height == 0:
        return [*lines, f"Aucun chiffre ne diffère de {c.before}.", ""]
    lines += [f"Par rapport à {c.before}. Motifs, le premier qui convient :", ""]
    lines += [f"- {reason} : {told}" for reason, told in REASONS_FR.items()] + [""]
    sums = [pl.col(k).sum() for k in MOVED]
    whole = c.reasons.group_by("reason").agg(sums).sort(pl.sum_horizontal(*MOVED), "reason", descending=[True, False])
    sources = c.reasons.group_by("source", "reason").agg(sums).sort("source", "reason")
    lines += _section("Par motif", _reason_rows(whole, ["reason"]))
    lines += _section("Par source", _reason_rows(sources, ["source", "reason"]))
    lines += _section("Par indicateur", _reason_rows(c.reasons, ["indicator_id", "source", "reason"]))
    largest = c.absolute.group_by("indicator_id", maintain_order=True).first().select(c.absolute.columns)
    lines += _section("Plus grand mouvement de chaque indicateur", _move_rows(largest))
    lines += ["Les indicateurs dont la définition a changé n'y sont pas : leurs valeurs ne se comparent pas.", ""]
    for (level,), rows in c.territories.sort("level", maintain_order=True).group_by("level", maintain_order=True):
        head, *body = _move_rows(rows.head(TOP_TERRITORIES))
        moved = [number_fr(n) for n in rows["moved"].head(TOP_TERRITORIES)]
        lines += _section(
            f"Territoires de niveau {level or 'disparu'} qui bougent le plus",
            [[*head, "Chiffres modifiés"], *([*row, n] for row, n in zip(body, moved, strict=True))],
        )
    return lines


def _reason_rows(rows: pl.DataFrame, keys: list[str]) -> list[list[str]]:
    heads = {"reason": "Motif", "source": "Source", "indicator_id": "Indicateur"}
    return [[*(heads[k] for k in keys), "Lignes ajoutées", "modifiées", "retirées"]] + [
        [*(_named(r) if k == "indicator_id" else str(r[k]) for k in keys), *(number_fr(r[k]) for k in MOVED)]
        for r in rows.iter_rows(named=True)
    ]


def _territories(title: str, territories: pl.DataFrame) -> list[str]:
    if territories.height == 0:
        return []
    shown = territories.head(SHOWN_TERRITORIES)
    lines = [f"## {title} ({number_fr(territories.height)})", ""]
    lines += [f"- {r['name']} ({r['territory_id']})" for r in shown.iter_rows(named=True)]
    hidden = territories.height - shown.height
    return [*lines, *([f"- et {number_fr(hidden)} autres"] if hidden else []), ""]


def _section(title: str, rows: list[list[str]]) -> list[str]:
    """A heading and a Markdown table; nothing when the table has only its head."""
    if len(rows) < 2:
        return []
    head, *body = rows
    table = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body)]
    return [f"## {title}", "", *table, ""]
