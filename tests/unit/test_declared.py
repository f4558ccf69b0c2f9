"""Reading declared layouts: every shape, what is refused, and every declared dataset on a generated file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from sources.archive import file_name
from sources.declared import parse
from sources.demo import census
from sources.demo import declared as demo
from sources.demo.country import Country, build_country
from sources.demo.formats import workbook
from sources.demo.households import draw
from sources.description import Edition, Source, load_sources
from sources.errors import CellError, LayoutError

DECLARED = [s for s in load_sources().values() if s.layouts]


def source(layout: Mapping[str, Any], **edition: Any) -> tuple[Source, Edition]:
    made = Source.model_validate(
        {
            "source_id": "essai",
            "title": "Essai",
            "producer": "P",
            "owner": "P",
            "licence": "L",
            "layouts": {"default": dict(layout)},
            "editions": [
                {
                    "edition": "e",
                    "data_year": 2018,
                    "url": "https://exemple.fr/f.csv",
                    "format": "csv",
                    "members": [{"level": "COM"}],
                }
                | edition
            ],
        }
    )
    return made, made.editions[0]


def read(layout: Mapping[str, Any], text: str, **edition: Any) -> pl.DataFrame:
    made, declared = source(layout, **edition)
    return parse(made, declared, {"f.csv": text.encode()})


def cells(frame: pl.DataFrame, *columns: str) -> list[tuple[Any, ...]]:
    names = columns or ("code", "year", "variable", "value")
    return frame.with_columns(pl.col(pl.Enum, pl.Categorical).cast(pl.String)).select(names).rows()


WIDE = {"shape": "wide", "code": "CODGEO", "lags": [0, 5], "columns": {"P{yy}_POP": "pop", "N": "n"}}


def test_a_wide_table_has_a_column_a_variable_and_a_year() -> None:
    frame = read(WIDE, "CODGEO;P18_POP;P13_POP;N\n01001;10,5;;3\n")
    assert sorted(cells(frame)) == [
        ("01001", 2013, "pop", None),
        ("01001", 2018, "n", 3.0),
        ("01001", 2018, "pop", 10.5),
    ]


def test_a_missing_column_is_refused_by_name() -> None:
    with pytest.raises(LayoutError, match="P13_POP"):
        read(WIDE, "CODGEO;P18_POP;N\n01001;10;3\n")


def test_statuses_of_empty_cells_and_marks_are_declared() -> None:
    layout = {
        "shape": "wide",
        "code": "c",
        "columns": {"a": "a", "b": {"variable": "b", "blank": "not_applicable"}},
        "cells": {"secret": ["a"]},
        "marks": {"NA": "insignificant"},
    }
    frame = read(layout, "c;a;b\n01001;;\n01002;NA;2\n")
    assert cells(frame, "code", "variable", "obs_status", "conf_status", "mark") == [
        ("01001", "a", "Q", "A", None),
        ("01002", "a", "N", "F", "NA"),
        ("01001", "b", "M", "F", None),
        ("01002", "b", "A", "F", None),
    ]


def test_an_empty_cell_may_mean_secrecy_in_a_whole_table() -> None:
    columns = {"a": "a", "b": "b"}
    layout = {"shape": "wide", "code": "c", "blank": "secret", "columns": columns, "cells": {"missing": ["b"]}}
    assert cells(read(layout, "c;a;b\n01001;;\n"), "variable", "obs_status") == [("a", "Q"), ("b", "O")]


def test_a_column_may_describe_an_earlier_year_than_its_edition() -> None:
    layout = {"shape": "wide", "code": "c", "columns": {"TX": {"variable": "tx", "lags": [4]}, "N": "n"}}
    assert cells(read(layout, "c;TX;N\n01001;40;3\n")) == [("01001", 2018, "n", 3.0), ("01001", 2014, "tx", 40.0)]


NOTES = {
    "shape": "wide",
    "code": "c",
    "blank": "secret",
    "columns": {"a": "a", "b": "b", "free": "free"},
    "notes": {"NOTE": {"shown": ["0", "1"], "withheld": {"5": "missing", "": "not_applicable"}, "variables": "a|b"}},
}


def test_a_note_says_why_a_row_has_no_figure() -> None:
    text = "c;a;b;free;NOTE\n01001;1;;7;0\n01002;;;8;5\n01003;;;9;\n"
    frame = read(NOTES, text)
    assert cells(frame.filter(pl.col("variable") != "free"), "code", "variable", "value", "obs_status", "mark") == [
        ("01001", "a", 1.0, "A", None),
        ("01002", "a", None, "O", "NOTE 5"),
        ("01003", "a", None, "M", "NOTE"),
        ("01001", "b", None, "Q", None),
        ("01002", "b", None, "O", "NOTE 5"),
        ("01003", "b", None, "M", "NOTE"),
    ]
    assert cells(frame.filter(pl.col("variable") == "free"), "value") == [(7.0,), (8.0,), (9.0,)]


@pytest.mark.parametrize("row", ["01002;;;8;4", "01002;3;;8;5"])
def test_a_note_that_is_unknown_or_denied_by_a_figure_is_refused(row: str) -> None:
    with pytest.raises(CellError, match=r"ligne 3, colonne NOTE.* pour 01002"):
        read(NOTES, f"c;a;b;free;NOTE\n01001;1;2;7;0\n{row}\n")


def test_an_unknown_mark_is_refused_with_its_place() -> None:
    with pytest.raises(CellError, match="ligne 3, colonne a"):
        read({"shape": "wide", "code": "c", "columns": {"a": "a"}}, "c;a\n01001;1\n01002;environ\n")


def test_a_rounded_count_is_known_within_its_rounding() -> None:
    cell = {"variable": "n", "step": 5, "integer": True}
    frame = read({"shape": "wide", "code": "c", "columns": {"n": cell}}, "c;n\n01001;30\n01002;0\n")
    assert cells(frame, "value", "lower", "upper") == [(30.0, 28.0, 32.0), (0.0, 0.0, 2.0)]


def test_an_impossible_figure_is_a_mark_and_no_value() -> None:
    cell = {"variable": "share", "possible": [0, 100]}
    frame = read({"shape": "wide", "code": "c", "columns": {"p": cell}}, "c;p\n01001;100\n01002;132,5\n01003;\n")
    assert cells(frame, "value", "obs_status", "mark") == [(100.0, "A", None), (None, "N", "132,5"), (None, "O", None)]


LONG = {
    "shape": "long",
    "code": "GEO",
    "level_column": "OBJ",
    "levels": {"COM": "COM", "DEP": "DEP", "FRANCE": "FRANCE", "AAV": None},
    "year_column": "T",
    "value": "V",
    "obs_status": "S",
    "variables": [{"variable": "n", "where": {"SEX": "_T"}}, {"variable": "n_f", "where": {"SEX": ["F", "W"]}}],
}


def test_a_long_table_has_a_row_a_modality_and_its_own_statuses() -> None:
    text = (
        "GEO;OBJ;SEX;T;V;S\n01001;COM;_T;2018;4;A\n01001;COM;F;2018;3;P\n001;AAV;_T;2018;9;A\n"
        "FM;FRANCE;_T;2017;8;A\n01;DEP;_T;2018;;L\n"
    )
    assert cells(read(LONG, text), "level", "code", "year", "variable", "value", "obs_status") == [
        ("COM", "01001", 2018, "n", 4.0, "A"),
        ("COM", "01001", 2018, "n_f", 3.0, "P"),
        ("DEP", "01", 2018, "n", None, "L"),
        ("METRO", "FM", 2017, "n", 8.0, "A"),
    ]


def test_an_empty_cell_that_is_not_free_is_secret() -> None:
    text = "GEO;OBJ;SEX;T;V;S;C\n01001;COM;_T;2018;4;A;F\n01002;COM;_T;2018;;O;C\n01003;COM;_T;2018;;O;F\n"
    assert cells(read({**LONG, "conf_status": "C"}, text), "code", "obs_status", "conf_status") == [
        ("01001", "A", "F"),
        ("01002", "Q", "C"),
        ("01003", "O", "F"),
    ]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("01;UU;_T;2018;1;A", "« UU »"),
        ("01001;COM;_T;2018;1;Z", "« Z »"),
        ("01001;COM;_T;2018;2;A\n01001;COM;_T;2018;3;A", "en double"),
    ],
)
def test_a_long_table_refuses_what_it_does_not_know(row: str, said: str) -> None:
    with pytest.raises((CellError, LayoutError), match=said):
        read(LONG, f"GEO;OBJ;SEX;T;V;S\n{row}\n")


def test_a_table_without_any_row_of_the_year_is_refused() -> None:
    layout = {**LONG, "year_pattern": r"^(\d{4})-T4$"}
    with pytest.raises(LayoutError, match="aucune de celles-là"):
        read(layout, "GEO;OBJ;SEX;T;V;S\n01001;COM;_T;2018-T3;4;A\n")


def test_quarters_give_the_mean_of_whole_years_only() -> None:
    layout = {"shape": "periods", "code": "c", "period": r"T(?P<quarter>\d)_(?P<year>\d{4})", "cell": {"variable": "t"}}
    text = "c;T1_2018;T2_2018;T3_2018;T4_2018;T1_2019\n01;7;8;8;9;5\n02;7;;8;9;5\n"
    frame = read(layout, text, members=[{"level": "DEP"}])
    assert cells(frame, "code", "year", "value", "obs_status") == [("01", 2018, 8.0, "A"), ("02", 2018, None, "O")]


UNITS = {
    "shape": "units",
    "level": "COM",
    "code": "commune",
    "unit": "id",
    "marks": {"NS": "insignificant"},
    "variables": [{"variable": "ips", "value": "IPS", "weight": "eleves", "count": "ips_n"}],
}


def test_units_are_summed_with_their_weight() -> None:
    text = "commune;id;IPS;eleves\n01001;a;100;30\n01001;b;80;10\n01001;c;NS;5\n01002;d;90,5;2\n"
    assert cells(read(UNITS, text)) == [
        ("01001", 2018, "ips", 3800.0),
        ("01002", 2018, "ips", 181.0),
        ("01001", 2018, "ips_n", 40.0),
        ("01002", 2018, "ips_n", 2.0),
    ]


def test_units_are_counted_where_the_layout_asks() -> None:
    layout = {**UNITS, "variables": [{"variable": "pop", "value": "P"}]}
    assert cells(read(layout, "commune;id;P\n01001;a;100\n01001;b;80,5\n")) == [("01001", 2018, "pop", 180.5)]


def test_a_unit_listed_twice_is_refused() -> None:
    with pytest.raises(LayoutError, match="a en double"):
        read(UNITS, "commune;id;IPS;eleves\n01001;a;100;30\n01001;a;80;10\n")


def test_a_column_may_mean_something_else_in_another_year() -> None:
    columns = {
        "P{yy}_SUP": [{"variable": "sup", "vintages": [1]}, {"variable": "sup_long", "vintages": [2]}],
        "P{yy}_SUP5": {"variable": "sup5", "vintages": [0]},
    }
    frame = read({**WIDE, "lags": [0, 5, 10], "columns": columns}, "CODGEO;P18_SUP5;P13_SUP;P08_SUP\n01001;1;2;3\n")
    assert sorted(cells(frame, "variable", "year", "value")) == [
        ("sup", 2013, 2.0),
        ("sup5", 2018, 1.0),
        ("sup_long", 2008, 3.0),
    ]


def test_the_same_columns_for_women_and_men_are_written_once() -> None:
    layout = {
        "shape": "wide",
        "code": "c",
        "sexes": {"": "", "H": "_m", "F": "_f"},
        "columns": {"P{yy}_{sex}CDD": "cdd", "P{yy}_{sex}INT": "int"},
        "sums": [{"variable": "precaires", "of": ["cdd", "int"], "suffixes": ["", "_f"]}],
    }
    text = "c;P18_CDD;P18_HCDD;P18_FCDD;P18_INT;P18_HINT;P18_FINT\n01001;3;1;2;5;4;1\n"
    assert sorted(cells(read(layout, text), "variable", "value")) == [
        ("cdd", 3.0),
        ("cdd_f", 2.0),
        ("cdd_m", 1.0),
        ("int", 5.0),
        ("int_f", 1.0),
        ("int_m", 4.0),
        ("precaires", 8.0),
        ("precaires_f", 3.0),
    ]


SUMS = {
    **WIDE,
    "columns": {
        "P{yy}_F65P": "pop65p_f",
        "P{yy}_H65P": "pop65p_m",
        "P{yy}_N": {"variable": "n", "vintages": [0], "step": 1},
    },
    "sums": [
        {"variable": "pop65p", "of": ["pop65p_f", "pop65p_m"]},
        {"variable": "both", "of": ["pop65p", "n"]},
    ],
}


def test_a_sum_is_null_where_a_part_is_and_not_made_where_one_is_absent() -> None:
    text = "CODGEO;P18_F65P;P18_H65P;P13_F65P;P13_H65P;P18_N\n01001;3;4;1;1,5;10\n01002;3;s;1;;2\n"
    frame = read(SUMS, text).filter(pl.col("variable").is_in(["pop65p", "both"]))
    shown = cells(frame, "code", "variable", "year", "value", "lower", "upper", "obs_status", "conf_status")
    assert sorted(shown) == [
        ("01001", "both", 2018, 17.0, 16.5, 17.5, "A", "F"),
        ("01001", "pop65p", 2013, 2.5, None, None, "A", "F"),
        ("01001", "pop65p", 2018, 7.0, None, None, "A", "F"),
        ("01002", "both", 2018, None, None, None, "Q", "A"),
        ("01002", "pop65p", 2013, None, None, None, "O", "F"),
        ("01002", "pop65p", 2018, None, None, None, "Q", "A"),
    ]


def test_a_territory_without_a_part_has_no_sum() -> None:
    layout = {**LONG, "sums": [{"variable": "twice", "of": ["n", "n_f"]}]}
    text = "GEO;OBJ;SEX;T;V;S\n01001;COM;_T;2018;4;A\n01001;COM;F;2018;3;A\n01002;COM;_T;2018;5;A\n"
    frame = read(layout, text).filter(pl.col("variable") == "twice")
    assert cells(frame, "code", "value", "obs_status") == [("01001", 7.0, "A"), ("01002", None, "O")]


def test_a_status_of_the_producer_is_declared_before_it_is_read() -> None:
    text = "GEO;OBJ;SEX;T;V;S\n01001;COM;_T;2018;4;W\n"
    with pytest.raises(CellError, match="« W »"):
        read(LONG, text)
    assert cells(read({**LONG, "statuses": {"W": "A"}}, text), "value", "obs_status") == [(4.0, "A")]


def test_units_of_a_modality_are_counted_and_the_others_bring_nothing() -> None:
    layout = {
        **UNITS,
        "variables": [
            {"variable": "ecoles", "where": {"type": "Ecole"}},
            {"variable": "eleves_rep", "value": "eleves", "where": {"type": ["Ecole", "Collège"], "ep": "REP+"}},
        ],
    }
    text = "commune;id;type;ep;eleves\n01001;a;Ecole;REP+;30\n01001;b;Collège;;10\n01002;c;Collège;REP+;5\n"
    assert cells(read(layout, text)) == [
        ("01001", 2018, "ecoles", 1.0),
        ("01002", 2018, "ecoles", 0.0),
        ("01001", 2018, "eleves_rep", 30.0),
        ("01002", 2018, "eleves_rep", 5.0),
    ]


def test_a_city_added_from_rounded_arrondissements_has_the_bounds_of_their_sum() -> None:
    layout = {"shape": "wide", "code": "CODGEO", "columns": {"N": {"variable": "n", "step": 5, "integer": True}}}
    text = "CODGEO;N\n01001;100\n75056;100\n"
    bounds = ("code", "value", "lower", "upper")
    assert cells(read(layout, text), *bounds) == [("01001", 100, 98, 102), ("75056", 100, 98, 102)]
    told = read({**layout, "summed": {"75056": 20}}, text)
    assert cells(told, *bounds) == [("01001", 100, 98, 102), ("75056", 100, 60, 140)]


def test_the_rounding_of_each_term_is_carried_into_a_sum() -> None:
    layout = {
        **UNITS,
        "unit": ["commune", "type"],
        "variables": [{"variable": "rsa", "value": "n", "step": 5, "integer": True}],
    }
    text = "commune;type;n\n01001;majoré;10\n01001;autre;30\n01002;autre;0\n"
    frame = read(layout, text)
    assert cells(frame, "code", "value", "lower", "upper") == [("01001", 40.0, 36.0, 44.0), ("01002", 0.0, 0.0, 2.0)]
    with pytest.raises(LayoutError, match="01001, autre en double"):
        read(layout, text + "01001;autre;5\n")


def test_a_file_of_several_years_gives_an_edition_its_own() -> None:
    layout = {
        "shape": "wide",
        "code": "c",
        "year_column": "mois",
        "year_pattern": r"^(\d{4})-?12$",
        "years": "own",
        "columns": {"n": "n"},
    }
    text = "c;mois;n\n01001;2018-12;1\n01001;2018-11;2\n01001;2019-12;3\n"
    assert cells(read(layout, text)) == [("01001", 2018, "n", 1.0)]
    with pytest.raises(LayoutError, match="aucune de celles-là"):
        read(layout, text.replace("2018", "2017"))


def test_rows_without_a_code_are_left_out_when_declared() -> None:
    layout = {"shape": "wide", "code": "c", "skip": {"c": ["", "Total"]}, "columns": {"n": "n"}}
    assert cells(read(layout, "c;n\n01001;1\n;2\nTotal;3\n"), "code", "value") == [("01001", 1.0)]
    with pytest.raises(CellError, match="« None »"):
        read({**layout, "skip": {}}, "c;n\n;2\n")


def test_a_code_is_taken_out_of_a_longer_one() -> None:
    layout = {"shape": "wide", "code": "c", "code_pattern": r"^(\w{5})", "columns": {"n": "n"}}
    assert cells(read(layout, "c;n\n9128691027;1\n01001;2\n"), "code", "value") == [("01001", 2.0), ("91286", 1.0)]


def test_a_sheet_says_its_units_under_its_header() -> None:
    layout = {"shape": "wide", "code": "Code", "units_row": True, "columns": {"APL": "apl"}}
    made, declared = source(layout, format="xlsx", members=[{"level": "COM", "sheet": "A"}])
    rows = [["Titre"], ["Code", "Nom", "APL"], [None, None, "par habitant"], ["01001", "a", "3.2"]]
    assert cells(parse(made, declared, {"f.csv": workbook({"A": rows})}), "code", "value") == [("01001", 3.2)]
    made, declared = source({**layout, "units_row": False}, format="xlsx", members=[{"level": "COM", "sheet": "A"}])
    with pytest.raises(LayoutError, match="sous une ligne vide"):
        parse(made, declared, {"f.csv": workbook({"A": rows})})


def test_rows_left_out_are_declared() -> None:
    layout = {
        "shape": "wide",
        "code": "c",
        "keep": {"type": ["x"]},
        "skip": {"nom": ["Ensemble"]},
        "leave": "^98",
        "recode": {"69381": "69123"},
        "columns": {"n": "n"},
    }
    text = "c;type;nom;n\n01001;x;a;1\n01002;y;b;2\n01003;x;Ensemble;3\n98001;x;d;4\n69381;x;e;5\n"
    assert cells(read(layout, text), "code", "value") == [("01001", 1.0), ("69123", 5.0)]


# --- every declared dataset, on the fictional country


@pytest.fixture(scope="module")
def figures() -> demo.Figures:
    country: Country = build_country(60)
    people = draw(country, 1, 6000)
    return demo.Figures(country, 1, lambda year: census.population(people, year), people.iris_count)


@pytest.mark.parametrize("declared", DECLARED, ids=lambda s: s.source_id)
def test_every_declared_layout_is_read_as_it_was_written(declared: Source, figures: demo.Figures) -> None:
    editions = demo.editions_of(declared)
    written_layouts = {e.layout for e in editions}
    for edition in editions:
        files = {path or file_name(edition): data for path, data in demo.write(declared, edition, figures).items()}
        frame = parse(declared, edition, files)
        assert frame["value"].is_not_null().any(), f"{edition.edition} gives no value"
    if declared.tested_on == "generated":
        assert written_layouts == {e.layout for e in declared.editions}, "a layout is never tested"


def test_women_and_men_of_the_fictional_country_add_up(figures: demo.Figures) -> None:
    total, women, men = (figures.count(v, 2018) for v in ("defm_abc", "defm_abc_f", "defm_abc_m"))
    assert np.array_equal(total, women + men)
    assert (women > 0).any() and (men > 0).any()
