"""Disclosure control of partners' figures, between their settled figures and the indicators computed from them.

Every indicator is computed from what is left: a rate whose numerator is withheld is withheld with it. Both editions
show the same cells. Counts of a deposit are protected together, for a part, its whole and what is left between them
tell each other; each amount is protected by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl

from methods.audit import audit
from methods.perimeters import LEVEL as PERIMETER
from methods.register import versioned, with_history
from methods.settle import VariableRule
from methods.suppression import Rule, primary_amounts, primary_counts, primary_unknowns, protect_in_turn
from methods.tables import (
    CELLS,
    EPSILON,
    FREQUENCY,
    HIDDEN,
    SECONDARY,
    TableError,
    cells_of,
    identified,
    judged,
    merged,
    relations_of,
    system_of,
)
from pipelines.perimeters import in_order
from pipelines.stages import geography
from pipelines.stages.told import Told, forget_proposed
from pipelines.workspace import Workspace, digest, fingerprint_of, refresh
from sources.deposits.contract import Column, Contract, Deposited

DIMENSIONS = ("column", "territory", "year", "modality")
# lowered: less is asked than the rule does, as earlier releases told more. refused: why the figures cannot be
# protected, and are all withheld
AUDIT = {
    **dict.fromkeys(("source_id", "variable", "cell", "status"), pl.String),
    **dict.fromkeys(("lower", "upper", "width"), pl.Float64),
    **dict.fromkeys(("ok", "lowered"), pl.Boolean),
    "refused": pl.String,
}
COUNTS = "effectifs"  # of a deposit: its counts and denominators, protected together
UNSAID = "?"  # modality of those who count in the whole only
SEXES = ("_f", "_m")  # end the name of a variable
WITHHELD = {"territory_id": pl.UInt32, "year": pl.Int16, "variable": pl.String, "status": pl.String}


@dataclass(frozen=True)
class Table:
    """Figures protected together. frame: a row a figure, with `cell`, DIMENSIONS, `value`, `variable`, `territory_id`
    and, of an amount, `largest` and `contributors`; cells: with primary statuses; relations: what ties them."""

    group: str
    frame: pl.DataFrame
    cells: pl.DataFrame
    relations: pl.DataFrame


def protected(workspace: Workspace, source: Deposited, settled: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Settled figures of every year of a deposit as they may be used, and the audit of what is withheld.

    settled: columns of methods.settle.SETTLED, territories as ranks. Rows of the audit: columns AUDIT.
    """
    contract = source.contract
    if contract.secrecy.threshold == 0:
        return settled, pl.DataFrame(schema=AUDIT)
    withheld, audits = [pl.DataFrame(schema=WITHHELD)], [pl.DataFrame(schema=AUDIT)]
    perimeters = [f"{PERIMETER}-{p.slug}" for p in in_order(workspace.perimeters)]
    withheld.append(_of_parts(workspace, settled))
    for table in _tables(workspace, contract, settled):
        told = Told(workspace.told / source.source_id, table.group)
        kept, report = _protected(table, told, perimeters, contract.secrecy.threshold)
        withheld.append(kept)
        origin = {"source_id": pl.lit(source.source_id), "variable": pl.lit(table.group)}
        audits.append(report.with_columns(**origin).select(*AUDIT))
    private = [n for c in contract.of_role("largest", "contributors") for n in _names(contract, c)["variable"]]
    used = settled.filter(~pl.col("variable").cast(pl.String).is_in(private))
    return _without(used, pl.concat(withheld)), pl.concat(audits)


def private_rules(source: Deposited, rules: Sequence[VariableRule]) -> Iterator[VariableRule]:
    """How what is read for the protection of amounts combines: the largest contributors of several territories are
    added up, the most that one contributor of all of them may bring."""
    used = {rule.variable for rule in rules}
    for column in source.contract.of_role("largest", "contributors"):
        amounts = _names(source.contract, source.contract.column(str(column.of)))["variable"]
        names = _names(source.contract, column)["variable"]
        yield from (VariableRule(n, "sum") for n, amount in zip(names, amounts, strict=True) if amount in used)


def _tables(workspace: Workspace, contract: Contract, settled: pl.DataFrame) -> Iterator[Table]:
    """The counts of a deposit, then each of its amounts."""
    identifiers = geography.identifiers(workspace)
    told = settled.filter(pl.col("value").is_not_null() | (pl.col("obs_status") == "Q"))
    named = told.with_columns(
        territory=identifiers.gather(told["territory_id"]), variable=pl.col("variable").cast(pl.String)
    ).filter(~pl.col("territory").is_in(_made_of_parts(workspace).implode()))
    divisions = {"territory": _territories(workspace), "modality": _modalities(contract)}
    rule = Rule(contract.secrecy.threshold)

    def table(columns: Sequence[Column]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
        """Figures, cells without status, relations."""
        frame = identified(named.join(pl.concat(_names(contract, c) for c in columns), on="variable"), DIMENSIONS)
        cells = cells_of(frame.select("cell", "value"))
        return frame, cells, _true(relations_of(frame.select("cell", *DIMENSIONS), DIMENSIONS, divisions), cells)

    if counts := contract.of_role("count", "denominator"):
        frame, cells, relations = table(counts)
        rest, sums = _complements(contract, frame)
        cells = pl.concat([primary_counts(cells, rule), _judged_rest(primary_counts(rest, rule))])
        if frame.height:
            yield Table(COUNTS, frame, cells, pl.concat([relations, sums]))
    for amount in contract.of_role("amount"):
        frame, cells, relations = table([amount])
        if frame.height:
            cells = cells.with_columns(whole=pl.lit(False)).join(
                _contributors(contract, amount, named), on="cell", how="left"
            )
            yield Table(amount.name, frame, primary_amounts(cells, rule).select(*CELLS), relations)


def _names(contract: Contract, column: Column) -> pl.DataFrame:
    """The variables of a column: (variable, column, modality), the modality its suffixes, one a dimension."""
    choices = [["", *(m.suffix for m in d.codes.values() if m.suffix)] for d in contract.of_role("dimension")]
    rows = [
        (column.name + "".join(sorted(suffixes, key=lambda s: s in SEXES)), column.name, "/".join(suffixes))
        for suffixes in product(*choices)
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(("variable", "column", "modality"), pl.String), orient="row")


def _modalities(contract: Contract) -> pl.DataFrame:
    """How the whole divides along each dimension: (breakdown, parent, child). What has no figure of its own is a child
    that nobody knows."""
    dimensions = contract.of_role("dimension")
    found: list[tuple[str, str, str]] = []
    choices = [["", *(m.suffix for m in d.codes.values() if m.suffix)] for d in dimensions]
    for at, dimension in enumerate(dimensions):
        told = [m.suffix for m in dimension.codes.values()]
        children = [s for s in told if s] + ([UNSAID] if None in told else [])
        for suffixes in product(*choices):
            if suffixes[at] == "":
                parent = "/".join(suffixes)
                found += [
                    (dimension.name, parent, "/".join([*suffixes[:at], c, *suffixes[at + 1 :]])) for c in children
                ]
    return pl.DataFrame(found, schema=dict.fromkeys(("breakdown", "parent", "child"), pl.String), orient="row")


def _territories(workspace: Workspace) -> pl.DataFrame:
    """How territories divide: (breakdown, parent, child), identifiers. Districts do not fill their commune: what is
    left of it is a child that nobody knows. A perimeter is filled by what it is made of."""
    members = geography.read(workspace, "territory_member").select(parent="parent_id", child="child_id")
    kind = pl.col("parent").str.split("-").list.first() + pl.lit("/") + pl.col("child").str.split("-").list.first()
    rows = members.with_columns(breakdown=kind)
    districts = pl.col("breakdown").str.ends_with("/QPV") | pl.col("breakdown").str.ends_with("/IRIS")
    rest = rows.filter(districts, ~pl.col("breakdown").str.starts_with(PERIMETER))
    rest = rest.select("parent", "breakdown").unique()
    rest = rest.with_columns(child=pl.concat_str("parent", pl.lit(" reste "), "breakdown"))
    return pl.concat([rows.select("breakdown", "parent", "child"), rest.select("breakdown", "parent", "child")])


def _made_of_parts(workspace: Workspace) -> pl.Series:
    """The perimeters that hold a part of a commune merged since: less the others, they would tell this part."""
    members = geography.read(workspace, "territory_member").filter(pl.col("share").is_null())
    return members.filter(pl.col("parent_id").str.starts_with(f"{PERIMETER}-"))["parent_id"].unique().sort()


def _of_parts(workspace: Workspace, settled: pl.DataFrame) -> pl.DataFrame:
    """All the figures of these perimeters (columns WITHHELD)."""
    names = geography.identifiers(workspace).gather(settled["territory_id"])
    rows = settled.filter(names.is_in(_made_of_parts(workspace).implode()), pl.col("value").is_not_null())
    return rows.select("territory_id", "year", pl.col("variable").cast(pl.String), status=pl.lit(SECONDARY, pl.String))


def _complements(contract: Contract, frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is left of each whole without its part, which nobody prints and a subtraction tells: cells without status,
    relations. None where the partner's part is more than its whole."""
    found = [pl.DataFrame(schema={**dict.fromkeys(("of", "cell", "rest"), pl.String), "left": pl.Float64})]
    key = list(DIMENSIONS[1:])
    for column in [c for c in contract.of_role("count", "denominator") if c.part_of is not None]:
        whole = frame.filter(pl.col("column") == column.part_of).select(*key, of="cell", total="value")
        both = frame.filter(pl.col("column") == column.name).join(whole, on=key)
        found.append(
            both.select("of", "cell", rest=pl.lit("reste ") + pl.col("cell"), left=pl.col("total") - pl.col("value"))
        )
    pairs = pl.concat(found).filter(pl.col("left").is_null() | (pl.col("left") >= 0)).rename({"cell": "part"})
    terms = [
        pairs.select(relation="rest", cell=pl.col(name), coefficient=pl.lit(sign))
        for name, sign in (("of", 1.0), ("part", -1.0), ("rest", -1.0))
    ]
    return cells_of(pairs.select(cell="rest", value="left")), pl.concat(terms)


def _judged_rest(cells: pl.DataFrame) -> pl.DataFrame:
    """Complements, never printed: those below the threshold ask for protection, nothing is asked of the others."""
    small = pl.col("status") == FREQUENCY
    asked = (pl.when(small).then(c).alias(c) for c in ("at_most", "at_least", "width"))
    return cells.with_columns(*asked, status=pl.when(small).then("status").otherwise(pl.lit(SECONDARY)))


def _contributors(contract: Contract, amount: Column, named: pl.DataFrame) -> pl.DataFrame:
    """(cell, largest, contributors) of an amount. Where they are not known (a masked part), the worst is supposed: one
    contributor, who brings all."""
    key = ["territory", "year", "modality"]
    cells = named.join(_names(contract, amount), on="variable")
    found = identified(cells, DIMENSIONS).select("cell", *key, "value")
    for role in ("largest", "contributors"):
        column = next(c for c in contract.of_role(role) if c.of == amount.name)
        told = named.join(_names(contract, column), on="variable").select(*key, pl.col("value").alias(role))
        found = found.join(told, on=key, how="left")
    return found.select("cell", pl.col("largest").fill_null(pl.col("value")), pl.col("contributors").fill_null(1.0))


def _true(relations: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """The relations that the deposited figures keep: a partner's total may differ from the sum of what it details, and
    then tells nothing exact of it."""
    terms = relations.join(cells.select("cell", "value"), on="cell", how="left")
    sums = terms.group_by("relation").agg(
        residue=(pl.col("value") * pl.col("coefficient")).sum(),
        scale=pl.col("value").abs().sum(),
        whole=pl.col("value").is_not_null().all(),
        total=pl.col("value").filter(pl.col("coefficient") > 0).is_not_null().all(),
    )
    slack = EPSILON * (1 + pl.col("scale"))
    apart = (
        pl.when("whole").then(pl.col("residue").abs() > slack).otherwise(pl.col("total") & (pl.col("residue") < -slack))
    )
    return relations.join(sums.filter(apart), on="relation", how="anti")


def _protected(
    table: Table, told: Told, perimeters: Sequence[str], threshold: float
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What is withheld of a table (columns WITHHELD), and its audit. All of it where the figures contradict each other:
    what an outsider would compute of them cannot be said."""
    cells, relations = versioned(table.cells, table.relations, told.values())
    every, sums = with_history(cells, relations, told.cells(), told.relations())
    try:
        system = system_of(every, merged(sums, every))
    except TableError as error:
        row = {"cell": "", "ok": True, "lowered": False, "refused": str(error)}
        return table.frame.with_columns(status=pl.lit(SECONDARY)).select(*WITHHELD), pl.DataFrame([row], schema=AUDIT)
    # those of unknown sex are no place's: what is left of a whole whose parts are shown, small wherever it is not zero
    places = np.array([table.group == COUNTS and UNSAID not in name for name in system.names])
    asked = primary_unknowns(system, threshold, places)
    system = protect_in_turn(asked, _in_turn(table.frame, cells, perimeters))
    done = judged(every, system)
    told.propose(cells.select("cell", "value"), done, sums)
    status = done.select(cell=pl.col("cell").str.replace(r"#\d+$", ""), status="status").unique("cell", keep="first")
    withheld = table.frame.join(status, on="cell").filter(pl.col("status").is_in(HIDDEN), pl.col("value").is_not_null())
    lowered = (asked.width > system.width + EPSILON)[system.asked]
    report = audit(system).with_columns(lowered=pl.Series(np.asarray(lowered)), refused=pl.lit(None, pl.String))
    return withheld.select(*WITHHELD), report


def _in_turn(frame: pl.DataFrame, cells: pl.DataFrame, perimeters: Sequence[str]) -> list[str]:
    """The versioned cells of perimeters, in the order in which these were defined; the whole before its modalities."""
    order = pl.DataFrame({"territory": perimeters}, schema={"territory": pl.String}).with_row_index("order")
    names = cells.select("cell", own=pl.col("cell").str.replace(r"#\d+$", ""))
    found = frame.join(order, on="territory").join(names, left_on="cell", right_on="own", suffix="_versioned")
    return found.sort("order", "year", "column", "modality")["cell_versioned"].to_list()


def _without(settled: pl.DataFrame, withheld: pl.DataFrame) -> pl.DataFrame:
    """The settled figures less what is withheld: no value, no bound. One mark for all: telling those below the
    threshold from those withheld to protect them would say that these are above it. What is left of a territory that
    has a masked part is no bound either: a sum of parts that nobody protects."""
    key = ["territory_id", "year", "variable"]
    marks = withheld.with_columns(pl.col("variable").cast(settled.schema["variable"]))
    rows = settled.join(marks, on=key, how="left", maintain_order="left")
    hidden = pl.col("status").is_not_null()
    empty = hidden | pl.col("value").is_null()

    def told(name: str, value: pl.Expr) -> pl.Expr:
        return (
            pl.when(hidden).then(value).otherwise(pl.col(name).cast(pl.String)).cast(settled.schema[name]).alias(name)
        )

    emptied = ("value", "lower", "upper", "grade", "interval_kind", "masked_parts")
    reason = pl.col("reason").cast(pl.String)
    return rows.with_columns(
        *(pl.when(~empty).then(c).alias(c) for c in emptied),
        told("obs_status", pl.lit("Q")),
        told("conf_status", pl.lit("C")),
        reason=pl.when(hidden | (reason == "borne"))
        .then(pl.lit("secret"))
        .otherwise(reason)
        .cast(settled.schema["reason"]),
    ).select(settled.columns)


def path(workspace: Workspace, source: Deposited, name: str) -> Path:
    """Figures of an edition as they may be used, or the `audit` of a deposit."""
    return workspace.stage("protected", source.source_id, f"{name}.parquet")


def refresh_protected(workspace: Workspace, source: Deposited, settled: Mapping[str, Path]) -> None:
    """Writes the figures of each edition as they may be used, and their audit. settled: edition -> its settled file."""
    if not settled:
        forget_proposed(workspace.told / source.source_id)
        return
    fingerprint = digest(" ".join([*map(fingerprint_of, settled.values()), workspace.code_digest]))
    audit_file = path(workspace, source, "audit")
    if audit_file.exists() and fingerprint_of(audit_file) == fingerprint:
        return
    every = pl.concat(pl.read_parquet(file).with_columns(edition=pl.lit(name)) for name, file in settled.items())
    kept, report = protected(workspace, source, every)
    for name in settled:
        rows = kept.filter(pl.col("edition") == name).drop("edition")
        refresh(path(workspace, source, name), fingerprint, lambda r=rows: r)
    refresh(audit_file, fingerprint, lambda: report)
