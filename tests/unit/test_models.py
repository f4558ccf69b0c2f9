"""The declared tables: what a frame must be, and what the declarations generate."""

from __future__ import annotations

import polars as pl
import pytest
import release_sample as sample
from hypothesis import given
from hypothesis import strategies as st

from warehouse import parquet
from warehouse.models import CODELISTS, TABLES, ContractError, conform, dictionary_frame, nomenclature_frame
from warehouse.parquet import TableWriter, unordered_row

COVERAGE = TABLES["coverage"]


def coverage(**changed: object) -> pl.DataFrame:
    row = {
        "indicator_id": "rev_tp60", "level": "COM", "year": 2018, "territories": 3, "published": 1,
        "suppressed": 2, "missing": 0, "reason_fr": None, "stale": False,
    }  # fmt: skip
    return pl.DataFrame([row | changed])


def test_a_frame_gets_the_declared_order_and_types() -> None:
    frame = conform(COVERAGE, coverage().select(reversed(COVERAGE.names)))
    assert dict(frame.schema) == COVERAGE.schema()


def test_categories_become_text_and_instants_lose_utc() -> None:
    frame = coverage().with_columns(pl.col("level").cast(pl.Enum(["COM"])), pl.col("indicator_id").cast(pl.Categorical))
    assert conform(COVERAGE, frame)["level"].dtype == pl.String
    checks = sample.tables()["quality_check"].with_columns(pl.col("checked_at").dt.replace_time_zone("UTC"))
    assert conform(TABLES["quality_check"], checks)["checked_at"].dtype == pl.Datetime("us")


@pytest.mark.parametrize(
    ("frame", "found"),
    [
        (coverage().drop("year"), "manquantes \\['year'\\]"),
        (coverage(more=1), "inconnues \\['more'\\]"),
        (coverage(year=2018.0), "Float64"),
        (coverage(year=70000), "conversion"),
        (coverage(level=None), "1 cellule\\(s\\) vide\\(s\\) dans level"),
    ],
)
def test_a_frame_that_breaks_its_model_is_refused(frame: pl.DataFrame, found: str) -> None:
    with pytest.raises(ContractError, match=found):
        conform(COVERAGE, frame)


def test_nomenclature_holds_every_code_once() -> None:
    frame = nomenclature_frame()
    assert frame.height == sum(len(codes) for codes in CODELISTS.values())
    assert frame.select("codelist", "code").is_unique().all()
    assert conform(TABLES["nomenclature"], frame).equals(frame)


def test_dictionary_has_a_row_per_column() -> None:
    assert dictionary_frame().height == sum(len(t.columns) for t in TABLES.values())


KEYS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.sampled_from("xyz")), max_size=12)


@given(KEYS)
def test_unordered_row_is_the_first_that_does_not_increase(rows: list[tuple[str, int, str]]) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.String, "b": pl.Int16, "c": pl.String}, orient="row")
    expected = next((i for i in range(1, len(rows)) if rows[i] <= rows[i - 1]), None)
    assert unordered_row(frame, ["a", "b", "c"]) == expected


def test_a_doubled_key_is_refused_across_blocks(tmp_path) -> None:
    with pytest.raises(ContractError, match=r"2018.*déjà présente"):  # noqa: SIM117
        with TableWriter(COVERAGE, tmp_path / "coverage.parquet") as writer:
            writer.write(coverage())
            writer.write(coverage())
    assert list(tmp_path.iterdir()) == []


def test_row_groups_do_not_depend_on_the_blocks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 4)
    frame = pl.concat([coverage(year=year) for year in range(2000, 2011)])
    for name, size in (("one", 11), ("few", 3), ("many", 1)):
        with TableWriter(COVERAGE, tmp_path / name) as writer:
            for block in frame.iter_slices(size):
                writer.write(block)
    one, few, many = ((tmp_path / name).read_bytes() for name in ("one", "few", "many"))
    assert one == few == many
    assert pl.read_parquet(tmp_path / "one").equals(conform(COVERAGE, frame))


def test_an_error_while_encoding_reaches_the_caller(tmp_path, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    writer = TableWriter(COVERAGE, tmp_path / "coverage.parquet")
    monkeypatch.setattr(writer, "_encode", full)
    with pytest.raises(OSError, match="No space left"):  # noqa: SIM117
        with writer:
            writer.write(coverage())
    assert list(tmp_path.iterdir()) == []
