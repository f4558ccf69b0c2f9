"""The scale bench: codes beyond INSEE's, and the slope that it prints."""

from __future__ import annotations

import re
import sys

import pytest

from bench import scale
from sources.demo.country import commune_code


@pytest.mark.parametrize("name", scale.PATTERNS)
def test_codes_with_letters_are_read_by_the_bench_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    __import__(name)
    monkeypatch.setitem(sys.modules, name, sys.modules[name])  # put back afterwards
    usual = sys.modules[name]
    scale.widen(name)
    own, wide = ((m.CODE_PATTERNS if name == "sources.tabular" else m.CODES) for m in (usual, sys.modules[name]))
    code = commune_code("01", 5_000)
    assert re.fullmatch(wide["COM"], code) and re.fullmatch(wide["IRIS"], f"{code}0101")
    assert not re.fullmatch(own["COM"], code) and re.fullmatch(own["COM"], "01001")
    assert not re.fullmatch(wide["COM"], "0100A1") and re.fullmatch(wide["COM"], "01001")


def test_a_pattern_that_is_no_longer_there_is_told() -> None:
    with pytest.raises(SystemExit, match="introuvable"):
        scale.widen("sources.errors")


def test_the_slope_is_the_exponent_of_the_time_between_two_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    def steps(seconds: float) -> list[scale.Step]:
        return [scale.Step("exécution entière", 1, seconds, 2**30), scale.Step("peu", 1, seconds / 1000, 0)]

    scale.report({1.0: steps(10), 10.0: steps(100), 30.0: steps(900)})
    told = capsys.readouterr().out
    assert re.search(r"exécution entière +10\.0 s +1\.00 Go +100\.0 s .* 900\.0 s .* 1\.00 2\.00\n", told)
    assert "peu" not in told
