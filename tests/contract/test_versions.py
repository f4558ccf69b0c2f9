"""A definition does not change without a new version: the register, and the command that amends."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
import yaml

from sources.description import load_sources
from warehouse.amend import AmendError, amend, amended_text, enter, main
from warehouse.catalogue import FOLDER, NOT_THEMES, load_catalogue, read_catalogue
from warehouse.versions import REGISTER, disagreements, read_register

TODAY = dt.date(2026, 12, 3)
THEME = "pauvrete.yaml"
CATALOGUE = """\
# Pauvreté. Un thème d'essai, écrit comme ceux du catalogue.
- id: taux
  label_fr: Taux de pauvreté
  label_en: Poverty rate
  definition_fr: >-
    Part des personnes vivant sous 60 % de la médiane.
  formula: pauvres / personnes
  formula_fr: personnes pauvres sur personnes
  unit: "%"
  direction: higher_is_worse
  aggregation: weighted_mean
  secrecy_rule: S_FILO
  owner: Insee
  tier: A
  traps_fr:
    - 5 et 95 sont des bornes.
  compute:
    kind: published
    variables: {une_source: tp60, autre_source: tp60}
# un écart au taux
- id: ecart
  label_fr: Écart de taux
  label_en: Gap
  definition_fr: Taux moins celui de la référence.
  formula: taux - taux(référence)
  unit: points
  direction: higher_is_worse
  aggregation: none
  secrecy_rule: S_FILO
  owner: Insee
  tier: A
  compute: {kind: gap, of: taux, unit: points}
- id: part
  label_fr: Part des logements vacants
  label_en: Vacancy
  definition_fr: Logements vacants rapportés aux logements.
  formula: vacants / logements
  unit: "%"
  direction: neutral
  aggregation: ratio
  secrecy_rule: S_RP
  owner: Insee
  tier: A
  compute:
    kind: ratio
    sources: [une_source]
    numerator: {vacants: 1}
    denominator: {logements: 1}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small catalogue whose register is up to date."""
    (tmp_path / THEME).write_text(CATALOGUE, encoding="utf-8")
    for name in NOT_THEMES:
        (tmp_path / f"{name}.yaml").write_text("[]\n", encoding="utf-8")
    enter(tmp_path)
    return tmp_path


def reword(folder: Path, old: str, new: str) -> None:
    path = folder / THEME
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def problems(folder: Path) -> list[str]:
    return disagreements(read_catalogue(folder), read_register(folder))


def test_the_committed_definitions_are_those_of_the_register() -> None:
    assert disagreements(load_catalogue(), read_register(FOLDER)) == []


@pytest.mark.parametrize(
    ("old", "new", "seen"),
    [
        ("sous 60 %", "sous 50 %", "taux"),
        ("pauvres / personnes", "pauvres / ménages", "taux"),
        ("unit: points", "unit: point", "ecart"),
        ("direction: neutral", "direction: higher_is_worse", "part"),
        ("aggregation: weighted_mean", "aggregation: none", "taux"),
        ("secrecy_rule: S_RP", "secrecy_rule: S_OPEN", "part"),
        ("{logements: 1}", "{logements: 2}", "part"),
        ("{une_source: tp60, autre_source: tp60}", "{autre_source: tp60, une_source: tp60}", "taux"),
        ("kind: gap, of: taux, unit: points", "kind: gap, of: taux, unit: ratio", "ecart"),
    ],
)
def test_a_changed_definition_is_seen(folder: Path, old: str, new: str, seen: str) -> None:
    assert problems(folder) == []
    reword(folder, old, new)
    assert any(p.startswith(f"{seen}, version 1 :") and "warehouse.amend" in p for p in problems(folder))


def test_an_indicator_changes_with_what_it_is_computed_from(folder: Path) -> None:
    reword(folder, "sous 60 %", "sous 50 %")
    assert [p.split(",")[0] for p in problems(folder)] == ["ecart", "taux"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("label_fr: Taux de pauvreté", "label_fr: Taux de bas revenus"),
        ("5 et 95 sont des bornes.", "5 et 95 ne sont pas des valeurs."),
        ("personnes pauvres sur personnes", "part des personnes pauvres"),
        ("vivant sous 60 %", "vivant\n    sous 60 %"),
        ("numerator: {vacants: 1}", "numerator: {vacants: 1}\n    scale: 100.0"),  # the default, written
    ],
)
def test_labels_traps_blanks_and_defaults_are_free(folder: Path, old: str, new: str) -> None:
    reword(folder, old, new)
    assert problems(folder) == []


def test_amending_makes_a_version_and_touches_nothing_else(folder: Path) -> None:
    reword(folder, "sous 60 %", "sous 50 %")
    assert amend(folder, "taux", "le seuil passe à 50 %\n de la médiane", TODAY) == ["taux", "ecart"]
    taux = """\
  history:
    - version: 2
      date: 2026-12-03
      change_fr: >-
        le seuil passe à 50 % de la médiane
  compute:
    kind: published
"""
    ecart = """\
  tier: A
  compute: {kind: gap, of: taux, unit: points}
  history:
    - version: 2
      date: 2026-12-03
      change_fr: >-
        suit « Taux de pauvreté » (taux, version 2) : le seuil passe à 50 % de la médiane
- id: part
"""
    expected = CATALOGUE.replace("sous 60 %", "sous 50 %")
    expected = expected.replace("- id: taux\n", "- id: taux\n  version: 2\n")
    expected = expected.replace("- id: ecart\n", "- id: ecart\n  version: 2\n")
    expected = expected.replace("  compute:\n    kind: published\n", taux)
    expected = expected.replace("  tier: A\n  compute: {kind: gap, of: taux, unit: points}\n- id: part\n", ecart)
    assert (folder / THEME).read_text(encoding="utf-8") == expected
    assert problems(folder) == []
    assert sorted(read_register(folder)) == [("ecart", 1), ("ecart", 2), ("part", 1), ("taux", 1), ("taux", 2)]


def test_a_second_amendment_follows_the_first(folder: Path) -> None:
    for version, threshold in ((2, 50), (3, 40)):
        reword(folder, f"sous {threshold + 10} %", f"sous {threshold} %")
        amend(folder, "taux", f"seuil à {threshold} %", TODAY)
        assert read_catalogue(folder).indicator("taux").version == version
    history = read_catalogue(folder).indicator("taux").history
    assert [a.change_fr for a in history] == ["seuil à 50 %", "seuil à 40 %"]
    assert problems(folder) == []


@pytest.mark.parametrize(
    ("indicator", "change", "message"),
    [
        ("inconnu", "autre chose", "vérifier l'identifiant"),
        ("part", "autre chose", "changer d'abord la définition"),
        ("taux", "  ", "texte vide"),
    ],
)
def test_what_is_not_an_amendment_is_refused(
    folder: Path, indicator: str, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reword(folder, "sous 60 %", "sous 50 %")
    before = (folder / THEME).read_bytes()
    assert main([indicator, change], folder) == 2
    assert message in capsys.readouterr().err
    assert (folder / THEME).read_bytes() == before


def test_an_entry_in_another_form_is_refused(folder: Path) -> None:
    reword(folder, "- id: taux\n", '- id: "taux"\n')
    reword(folder, "sous 60 %", "sous 50 %")
    before = (folder / THEME).read_bytes()
    with pytest.raises(AmendError, match="autre forme"):
        amend(folder, "taux", "le seuil change", TODAY)
    assert (folder / THEME).read_bytes() == before


def test_a_new_indicator_is_entered_at_version_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (folder / REGISTER).read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("part\t")]
    (folder / REGISTER).write_text("".join(kept), encoding="utf-8")
    (problem,) = problems(folder)
    assert problem.startswith(f"part, version 1 : absente du registre {REGISTER}")
    assert main(["part", "nouveau"], folder) == 2  # nothing to amend yet
    assert main([], folder) == 0
    assert "part." in capsys.readouterr().out
    assert (folder / REGISTER).read_text(encoding="utf-8") == "".join(lines)


def test_going_back_to_an_older_version_is_seen(folder: Path) -> None:
    original = (folder / THEME).read_bytes()
    reword(folder, "sous 60 %", "sous 50 %")
    amend(folder, "taux", "le seuil change", TODAY)
    (folder / THEME).write_bytes(original)
    assert [p for p in problems(folder) if p.startswith("taux, version 1 : le registre a la version 2")]


def test_a_damaged_register_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / REGISTER).open("a", encoding="utf-8") as register:
        register.write("rev_tp60 2 abc\n")
    assert main([], folder) == 2
    assert "tabulations" in capsys.readouterr().err


def test_a_version_without_its_history_is_refused(folder: Path) -> None:
    reword(folder, "- id: part\n", "- id: part\n  version: 2\n")
    with pytest.raises(ValueError, match="version 2, but its history tells"):
        read_catalogue(folder)


def test_the_last_entry_of_a_file_is_amended_in_its_place() -> None:
    text = "# Thème.\n- id: un\n  compute: x\n- id: deux\n  label: y\n"
    amended = amended_text(text, "deux", {"version": 2, "date": TODAY, "change_fr": "ceci"})
    history = [{"version": 2, "date": TODAY, "change_fr": "ceci"}]
    assert yaml.safe_load(amended)[1] == {"id": "deux", "version": 2, "label": "y", "history": history}
    assert amended.endswith("\n")


def test_traps_of_sources_name_sources_that_exist() -> None:
    named = {source for trap in load_catalogue().traps for source in trap.sources}
    assert named <= load_sources().keys()
