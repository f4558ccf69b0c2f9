"""Partners' files in whole runs: deposited, published, corrected, withdrawn, by the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from vigie_runs import call

from pipelines.judging import judged
from pipelines.settings import Settings
from pipelines.workspace import Workspace
from sources.deposits.forms import contract_text
from warehouse.release import Releases

COMMUNES = ("99011", "99012", "99013", "99015")
PARTNER = "depot_cpam_assures"


@pytest.fixture
def small(small: dict[str, str]) -> dict[str, str]:
    """Runs after the first read the years of the deposits only: half the work."""
    return small | {"VIGIE_YEARS": "2021-2022"}


def places(of: int) -> bytes:
    """A file that its owner shows to all."""
    lines = [f"{code};COM;2022;{of + i};{200 + 3 * i}" for i, code in enumerate(COMMUNES)]
    return "\n".join(["code;niveau;annee;places;enfants_3_11", *lines]).encode()


def assures() -> bytes:
    """A file for partners only: 3 women without a doctor in one commune, a count that no one may know."""
    lines = [
        f"{code};COM;2022;{sex};{900 + 7 * i};{3 if (i, sex) == (1, 'F') else 97 + 5 * i};{61 + 3 * i}"
        for i, code in enumerate(COMMUNES)
        for sex in ("F", "M")
    ]
    return "\n".join(["code;niveau;annee;sexe;assures_17p;sans_mt;c2s", *lines]).encode()


def indices() -> bytes:
    """What the Département publishes of two communes and of itself."""
    lines = ["code;niveau;annee;iss_publie", "99011;COM;2021;21,5", "99012;COM;2021;48,2", "99;DEP;2021;59,3"]
    return "\n".join(lines).encode()


def assert_the_departement_is_quoted(data: Path) -> None:
    """What it deposits, before what is cited of it, and never added up."""
    rows = published(data, "observation").filter(
        pl.col("indicator_id") == "cmp_iss_dept", pl.col("value").is_not_null()
    )
    told = rows.filter(pl.col("source_ids") == "depot_departement_sante_sociale/2021")
    values = dict(told.select("territory_id", "value").iter_rows())
    assert values == {"COM-99011": 21.5, "COM-99012": 48.2, "DEP-99": 59.3, "ZE-9902": 59.3}, "the same communes"
    assert set(rows["source_ids"]) == {*told["source_ids"], "cd91_iss/2021"}
    assert rows["territory_id"].is_unique().all()


def end_of_retention(data: Path, contract: str) -> None:
    """Dates the deposits of a contract back to a day that no retention reaches."""
    path = data / "deposits" / "register.jsonl"
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    old = [e | ({"at": "2001-01-31T10:00:00Z"} if e["contract"] == contract else {}) for e in events]
    path.write_text("".join(json.dumps(e) + "\n" for e in old), encoding="utf-8")


def assert_erased(data: Path, held: list[Path]) -> None:
    """Nothing is left of a deposit but in past releases and in the register of what they told. held: its files."""
    assert [p for p in held if p.exists()] == []
    assert pl.read_parquet(data / "stage" / "observation" / "san_sansmt.parquet").is_empty()
    partner = [pl.read_parquet(p) for p in sorted(data.glob("releases/r*/partner/observation.parquet"))]
    assert [bool((r["indicator_id"] == "san_sansmt").any()) for r in partner] == [True, True, False]
    assert PARTNER not in set(pl.read_parquet(data / "releases/latest/partner/source_file.parquet")["source_id"])
    assert any((data / "told" / PARTNER).iterdir())


def keep_to_partners(data: Path, contract: str) -> None:
    """Its owner decides so, by the contract."""
    text = contract_text(contract)
    assert "diffusion: public" in text
    (data / "contracts").mkdir()
    (data / "contracts" / f"{contract}.yaml").write_text(
        text.replace("diffusion: public", "diffusion: partner"), encoding="utf-8"
    )


def assert_kept_to_partners(data: Path, indicator: str) -> None:
    """The catalogue says public; the contract, which is stricter, wins in both editions."""
    tables = ("observation", "indicator", "coverage")
    assert [t for t in tables if (published(data, t)["indicator_id"] == indicator).any()] == []
    told = pl.read_parquet(data / "releases" / "latest" / "partner" / "indicator.parquet")
    assert told.filter(pl.col("indicator_id") == indicator)["diffusion"].to_list() == ["partner"]


def assert_made_again(data: Path, release_id: str, folder: Path, small: dict[str, str]) -> None:
    """What partners brought was protected from what had been told until then, not from what was told since."""
    again = call(data, "restore", release_id, "--into", str(folder), **small)
    assert again.code == 0 and "fichiers identiques, octet pour octet" in again.text, again.text
    assert (folder / release_id / "partner").is_dir()


def published(data: Path, table: str) -> pl.DataFrame:
    return pl.read_parquet(data / "releases" / "latest" / "public" / f"{table}.parquet")


def rates(data: Path) -> dict[str, float]:
    rows = published(data, "observation").filter(
        pl.col("indicator_id") == "edu_loisirs", pl.col("territory_id").str.starts_with("COM-")
    )
    return dict(rows.filter(pl.col("value").is_not_null()).select("territory_id", "value").iter_rows())


def assert_two_editions(data: Path) -> None:
    """Partners read what is theirs; who reads the public edition finds no trace of it, in any file."""
    partner = data / "releases" / "latest" / "partner"
    told = pl.read_parquet(partner / "observation.parquet").filter(pl.col("indicator_id") == "san_sansmt")
    assert told["value"].is_not_null().any()
    assert PARTNER in pl.read_parquet(partner / "source_file.parquet")["source_id"]
    public = data / "releases" / "latest" / "public"
    traces = ("san_sansmt", PARTNER, "cpam_assures", "sans médecin traitant")
    for file in [*public.rglob("*"), data / "vigie.duckdb"]:
        if file.suffix == ".parquet":
            text = pl.read_parquet(file).select(pl.selectors.string()).unpivot()["value"].drop_nulls().unique()
            held = "\n".join(text)
        elif file.is_file() and file.suffix != ".duckdb":
            held = file.read_text(encoding="utf-8-sig")
        else:
            held = file.read_bytes().decode("latin-1") if file.is_file() else ""
        assert [t for t in traces if t in held] == [], file
    assert (data / "vigie-partner.duckdb").stat().st_mode & 0o777 == 0o640


def assert_protected(data: Path) -> None:
    """The 3 women are withheld, and the men, or the total less the men would tell them."""
    rows = pl.read_parquet(data / "releases" / "latest" / "partner" / "observation.parquet").filter(
        pl.col("indicator_id") == "san_sansmt", pl.col("territory_id") == f"COM-{COMMUNES[1]}"
    )
    told = {sex: value for sex, value in rows.select("sex", "value").iter_rows() if value is not None}
    assert "F" not in told and len(told) < 2, told
    assert set(rows.filter(pl.col("value").is_null())["conf_status"]) == {"C"}, "one mark for all that is withheld"
    checks = pl.read_parquet(data / "releases" / "latest" / "partner" / "quality_check.parquet")
    audit = checks.filter(pl.col("check_id") == f"audit_{PARTNER}")
    assert audit["passed"].to_list() == [True] and audit["observed"][0][0] == "0"


def add_a_perimeter(data: Path, small: dict[str, str]) -> None:
    """One that holds the 3 women and two other communes: what would be withheld of it is said."""
    added = call(data, "perimeter", "add", "Trois", "--communes", " ".join(COMMUNES[:3]), **small)
    assert added.code == 0 and "Dont sans médecin traitant déclaré, femmes" in added.text, added.text
    assert "Par différence" in added.text


def assert_withheld_as_foreseen(data: Path) -> None:
    """The run withholds of the perimeter the counts that were announced, and those alone; no commune pays for it."""
    workspace = Workspace(Settings(data=data))
    foreseen = judged(workspace, workspace.perimeters[-1])
    assert workspace.perimeters[-1].slug == "trois" and foreseen is not None
    counts = foreseen.filter(pl.col("figures").str.contains("sans médecin traitant"))
    refused = counts.drop_nulls("reason")["figures"].str.extract("(femmes|hommes)$")
    told = [next(data.glob(f"releases/{name}/partner/observation.parquet")) for name in ("r0002-*", "latest")]
    before, after = (pl.read_parquet(path).filter(pl.col("indicator_id") == "san_sansmt") for path in told)
    own = after.filter(pl.col("territory_id") == "PER-trois")
    withheld = own.filter(pl.col("value").is_null())
    sexes = {"F": "femmes", "M": "hommes", "_T": None}
    assert own.height == counts.height == 3 and {sexes[s] for s in withheld["sex"]} == set(refused)
    assert set(withheld["reason"]) == {"secret"} and set(withheld["conf_status"]) == {"C"}
    key = ["territory_id", "year", "sex", "age", "reference"]
    shown = before.filter(pl.col("value").is_not_null())
    assert shown.join(after.filter(pl.col("value").is_null()), on=key, how="semi").is_empty()


def test_deposited_corrected_withdrawn(copied: Callable[..., Path], small: dict[str, str], tmp_path: Path) -> None:
    data = copied()
    reasons = published(data, "coverage").filter(pl.col("indicator_id") == "edu_loisirs")
    assert reasons["reason_fr"].str.contains("Aucun dépôt").all() and reasons.height

    (tmp_path / "accueil_loisirs-2022.csv").write_bytes(places(40))
    (tmp_path / "cpam_assures-2022.csv").write_bytes(assures())
    (tmp_path / "departement_sante_sociale-2022.csv").write_bytes(indices())
    for name in ("accueil_loisirs", "cpam_assures", "departement_sante_sociale"):
        done = call(data, "deposit", str(tmp_path / f"{name}-2022.csv"), **small)
        assert done.code == 0, done.text
    run = call(data, "run", **small)
    assert run.code == 0, run.text
    assert rates(data)["COM-99011"] == pytest.approx(20)
    assert_two_editions(data)
    assert_protected(data)
    assert_the_departement_is_quoted(data)
    files = published(data, "source_file").filter(pl.col("source_id") == "depot_accueil_loisirs")
    assert files.select("owner", "edition", "diffusion").row(0) == ("Caf, SDJES", "2022", "public")

    (tmp_path / "corrige.csv").write_bytes(places(50))
    done = call(data, "deposit", str(tmp_path / "corrige.csv"), "--contract", "accueil_loisirs", **small)
    assert done.code == 0 and "remplace accueil_loisirs-0001" in done.text
    assert "remplacé" in call(data, "deposit", "list", **small).text
    add_a_perimeter(data, small)
    assert call(data, "run", **small).code == 0
    assert rates(data)["COM-99011"] == pytest.approx(25)
    assert_withheld_as_foreseen(data)
    assert_made_again(data, Releases(data).list()[-2].release_id, tmp_path, small)

    withdrawn = call(data, "deposit", "withdraw", "accueil_loisirs-0002", "--reason", "champ erroné", **small)
    assert withdrawn.code == 0, withdrawn.text
    end_of_retention(data, "cpam_assures")
    keep_to_partners(data, "departement_sante_sociale")
    partners = [p for p in data.rglob("*.parquet") if PARTNER in p.parts and "told" not in p.parts]
    assert {p.relative_to(data).parts[0] for p in partners} == {"core", "stage", "recipes"}
    run = call(data, "run", **small)
    assert run.code == 0 and "cpam_assures-0001 effacé" in run.text, run.text
    assert rates(data) == {}
    assert published(data, "source_file").filter(pl.col("source_id") == "depot_accueil_loisirs").height == 0
    listed = call(data, "deposit", "list", **small).text
    assert "retiré" in listed and "effacé" in listed
    assert not (data / "core" / "depot_accueil_loisirs" / "2022.parquet").exists()
    assert_erased(data, partners)
    assert_kept_to_partners(data, "cmp_iss_dept")


def test_the_commands_refuse_and_say_why(copied: Callable[..., Path], small: dict[str, str], tmp_path: Path) -> None:
    data = copied()
    bad = tmp_path / "mauvais.csv"
    bad.write_bytes(places(40).replace(b"99012", b"TOTAL"))
    refused = call(data, "deposit", str(bad), "--contract", "accueil_loisirs", **small)
    assert refused.code == 1
    assert "ligne 3, colonne « code »" in refused.text and "rapport.html" in refused.text
    assert call(data, "deposit", str(tmp_path / "absent.csv"), **small).code == 2
    assert call(data, "deposit", "withdraw", "inconnu", **small).code == 2
    new = call(data, "deposit", "new", "epicerie", **small)
    assert new.code == 0 and (data / "contracts" / "epicerie.yaml").exists()
    assert (data / "deposits" / "forms" / "epicerie.xlsx").exists()
    (data / "contracts" / "faux.yaml").write_text("name: faux\n")
    stopped = call(data, "run", **small)
    assert stopped.code == 2 and "faux.yaml" in stopped.text and "Acquisition" not in stopped.text
