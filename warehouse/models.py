"""The tables we publish, declared once: dtypes, DDL, comments, datapackage and dictionary come from here.

No SQL view, no file: only what a table is. A new column or table is declared here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import polars as pl

DType = pl.DataType | type[pl.DataType]

INSTANT = pl.Datetime("us")  # UTC, without time zone: readers need no time zone library

DUCKDB_TYPES: dict[DType, str] = {
    pl.String: "VARCHAR",
    pl.Float64: "DOUBLE",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.Boolean: "BOOLEAN",
    INSTANT: "TIMESTAMP",
}
FRICTIONLESS_TYPES: dict[DType, str] = {
    pl.String: "string",
    pl.Float64: "number",
    pl.Int16: "integer",
    pl.Int32: "integer",
    pl.Int64: "integer",
    pl.Boolean: "boolean",
    INSTANT: "datetime",
}


class ContractError(Exception):
    """A frame is not what the declared table promises. The message (French) says what to do."""

    def __init__(self, table: str, expected: str, found: str, action: str) -> None:
        super().__init__(f"table {table} : attendu {expected} ; trouvé {found}. À faire : {action}.")


@dataclass(frozen=True)
class Column:
    """One column: `codelist` names the list in `nomenclature` of its codes, `unit` what is measured."""

    name: str
    dtype: DType
    comment: str
    nullable: bool = False
    codelist: str | None = None
    unit: str | None = None

    @property
    def text(self) -> str:
        """The comment with its unit and codelist, as shown in DuckDB and in the dictionary."""
        text = self.comment + (f" ({self.unit})" if self.unit else "")
        return text + (f". Codes : nomenclature « {self.codelist} »" if self.codelist else "")


@dataclass(frozen=True)
class Table:
    """One table: `key` is unique and sorts the rows; `deterministic` is False where time or chance enters."""

    name: str
    comment: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    deterministic: bool = True
    csv: bool = True  # small enough for a spreadsheet
    # columns of few codes over millions of rows: ENUM in DuckDB, which loads them in half the time and space
    enums: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.columns]

    def column(self, name: str) -> Column:
        """KeyError names the column."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self.name} has no column {name!r}")

    def schema(self) -> dict[str, DType]:
        """Polars dtypes by column name, in the order of the table."""
        return {c.name: c.dtype for c in self.columns}

    def empty(self) -> pl.DataFrame:
        """A frame of no row."""
        return pl.DataFrame(schema=self.schema())

    def ddl(self, types: Mapping[str, str] | None = None) -> str:
        """CREATE TABLE. No NOT NULL nor key: a release of an older version must load, indexes are big.

        types: column -> DuckDB type, where it is not the declared one.
        """
        own = types or {}
        columns = ",\n  ".join(f'"{c.name}" {own.get(c.name, DUCKDB_TYPES[c.dtype])}' for c in self.columns)
        return f'CREATE TABLE "{self.name}" (\n  {columns}\n)'

    def comments(self, notice: str | None = None) -> Iterator[str]:
        """COMMENT ON of the table and of each column; `notice` (French) opens the table's comment."""
        text = f"{notice} {self.comment}" if notice else self.comment
        yield f'COMMENT ON TABLE "{self.name}" IS {quoted(text)}'
        for c in self.columns:
            yield f'COMMENT ON COLUMN "{self.name}"."{c.name}" IS {quoted(c.text)}'

    def frictionless(self) -> dict[str, Any]:
        """Table Schema (Frictionless) of the table."""
        return {"fields": [_field(c) for c in self.columns], "primaryKey": list(self.key)}


def quoted(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _field(column: Column) -> dict[str, Any]:
    constraints: dict[str, Any] = {"required": not column.nullable}
    if column.codelist is not None:
        constraints["enum"] = list(CODELISTS[column.codelist])
    field: dict[str, Any] = {
        "name": column.name,
        "type": FRICTIONLESS_TYPES[column.dtype],
        "description": column.text,
        "constraints": constraints,
    }
    return field | ({"unit": column.unit} if column.unit else {})


# Codes and their French labels. `reference` also holds territory identifiers: it constrains no column.
CODELISTS: dict[str, dict[str, str]] = {
    "level": {
        "IRIS": "Îlot regroupé pour l'information statistique",
        "COM": "Commune",
        "ARM": "Arrondissement municipal",
        "QPV": "Quartier prioritaire de la politique de la ville",
        "EPCI": "Établissement public de coopération intercommunale à fiscalité propre",
        "EPT": "Établissement public territorial de la métropole du Grand Paris",
        "PER": "Périmètre défini par un observatoire",
        "ARR": "Arrondissement départemental",
        "ZE": "Zone d'emploi",
        "DEP": "Département",
        "REG": "Région",
        "METRO": "France métropolitaine",
        "FRANCE": "France",
    },
    "obs_status": {
        "A": "Valeur normale",
        "B": "Rupture de série",
        "E": "Valeur estimée",
        "I": "Valeur imputée",
        "L": "Donnée existante, non collectée",
        "M": "Sans objet : ne peut pas exister",
        "N": "Non significatif",
        "O": "Non disponible",
        "P": "Valeur provisoire",
        "Q": "Masquée (secret statistique)",
        "U": "Fiabilité faible (recensement : numérateur de moins de 200)",
    },
    "conf_status": {
        "F": "Libre",
        "N": "Non destinée à la publication",
        "C": "Confidentielle",
        "A": "Secret primaire : trop peu d'unités",
        "O": "Secret primaire : une unité domine",
        "D": "Secret secondaire",
    },
    "grade": {
        "A": "Publiée par le producteur, ou calcul exact",
        "B": "Estimée, bonne précision mesurée",
        "C": "Estimée, précision mesurée faible",
    },
    "interval_kind": {
        "ci90": "Intervalle à 90 % d'une estimation",
        "bound": "Bornes certaines",
    },
    "reason": {
        "secret": "Masquée par le producteur, ou par le secret : sous le seuil, ou révélatrice par différence",
        "non_disponible": "Non publiée par le producteur",
        "non_significatif": "Jugée non significative par le producteur",
        "sans_objet": "Ne peut pas être calculée (dénominateur nul)",
        "borne": "Seule une borne est publiée",
        "mediane_non_sommable": "Une médiane ou un décile de territoires réunis ne se déduit pas des leurs",
        "couverture_insuffisante": "Membres connus : moins de 99 % du poids du territoire",
        "perimetre_modifie": "Publiée sur un autre périmètre, et la règle de l'indicateur interdit d'agréger",
        "scission_sans_part": "Commune en partie seulement dans le territoire (scission, fusion), sans clé de partage",
        "rupture": "Une rupture de série sépare les deux années",
        "composantes_insuffisantes": "Trop peu de composantes connues pour calculer l'indice",
        "effectif_faible": "Numérateur trop faible pour un rapport (effectifs arrondis)",
        "seuil_diffusion": "Sous le seuil de population au-dessus duquel la variable peut être diffusée",
        "hors_champ": "Territoire hors du champ de la source",
        "difference": "Ferait connaître, par différence, des communes masquées",
    },
    "sex": {"_T": "Ensemble", "F": "Femmes", "M": "Hommes"},
    "age": {
        "_T": "Tous âges",
        "RF_Y_LT30": "Référent fiscal de moins de 30 ans",
        "RF_Y30T39": "Référent fiscal de 30 à 39 ans",
        "RF_Y40T49": "Référent fiscal de 40 à 49 ans",
        "RF_Y50T59": "Référent fiscal de 50 à 59 ans",
        "RF_Y60T74": "Référent fiscal de 60 à 74 ans",
        "RF_Y_GE75": "Référent fiscal de 75 ans ou plus",
        "Y_LT15": "Moins de 15 ans",
        "Y_LT18": "Moins de 18 ans",
        "Y_LT25": "Moins de 25 ans",
        "Y15T24": "15 à 24 ans",
        "Y15T29": "15 à 29 ans",
        "Y25T49": "25 à 49 ans",
        "Y25T54": "25 à 54 ans",
        "Y30T44": "30 à 44 ans",
        "Y45T59": "45 à 59 ans",
        "Y55T64": "55 à 64 ans",
        "Y60T74": "60 à 74 ans",
        "Y_GE50": "50 ans ou plus",
        "Y_GE75": "75 ans ou plus",
    },
    "reference": {
        "_Z": "Sans objet : la valeur n'est comparée à aucun territoire",
        "COM_METRO": "Communes de France métropolitaine, sans les arrondissements municipaux",
    },
    "passage_kind": {
        "merge": "Fusion : la commune entre dans une autre",
        "split": "Scission : la commune se partage entre plusieurs",
        "recode": "Changement de code sans changement de territoire",
    },
    "direction": {
        "higher_is_worse": "Une valeur élevée est défavorable",
        "higher_is_better": "Une valeur élevée est favorable",
        "neutral": "Ni favorable ni défavorable",
    },
    "aggregation": {
        "sum": "Se somme",
        "ratio": "Rapport de sommes",
        "weighted_mean": "Moyenne pondérée par le dénominateur",
        "distribution": "Quantile : se déduit d'une distribution, ni somme ni moyenne",
        "none": "Ne s'agrège pas",
        "input": "Fournie à chaque niveau",
    },
    "secrecy_rule": {
        "S_OPEN": "Donnée ouverte, sans secret",
        "S_RP": "Recensement : rien n'est masqué, un numérateur de moins de 200 est signalé fragile",
        "S_RPX": "Recensement, sujets sensibles : communes de 5 000 habitants ou plus, autres zones de 10 000 ou plus",
        "S_FILO": "Filosofi : masques de l'Insee repris tels quels, 5 et 95 sont des bornes",
        "S_FILO_D": "Filosofi, détail : masques de l'Insee repris tels quels, seuils d'effectif plus élevés",
        "S_CNAF": "Cnaf : masques et arrondis à 5 repris tels quels, pas de rapport sous un numérateur de 10",
        "S_SSMSI": "Délinquance : seul ce que le service statistique diffuse est montré",
        "S_FT": "France Travail : arrondis repris tels quels, pas de rapport sous un numérateur de 10",
        "S_GRID": "Carreaux : groupes d'au moins 11 ménages, part imputée affichée",
        "S_11": "Donnée de partenaire : moins de 11 masqué, secret secondaire",
        "S_5": "Donnée de partenaire sous convention : moins de 5 masqué, secret secondaire",
        "S_DERIV": "La plus stricte des règles de ce qui le compose",
    },
    "tier": {
        "A": "Donnée ouverte, régulière",
        "B": "Donnée ouverte, aux seuls niveaux élevés ou instable",
        "C": "Donnée de partenaire, sous convention",
        "D": "Estimation, à l'essai",
    },
    "diffusion": {"public": "Publique", "partner": "Réservée aux partenaires"},
    "transformation": {
        "none": "Aucune",
        "log": "Logarithme",
        "sqrt": "Racine carrée",
        "log1p": "Logarithme de la valeur plus un",
    },
    "comparison": {
        "components": "Deux composantes : corrélation linéaire de leurs scores",
        "variants": "Deux façons de calculer l'indice : corrélation de rang (Spearman)",
    },
    "severity": {"critical": "Critique : arrête la publication", "warning": "Avertissement : consigné"},
}


def nomenclature_frame() -> pl.DataFrame:
    """Table `nomenclature`: one row per code, sorted."""
    rows = [(name, code, label) for name, codes in CODELISTS.items() for code, label in codes.items()]
    table = TABLES["nomenclature"]
    return pl.DataFrame(rows, schema=table.schema(), orient="row").sort(table.key)


_INDICATOR = Column("indicator_id", pl.String, "Identifiant de l'indicateur")
_TERRITORY = Column("territory_id", pl.String, "Identifiant du territoire : NIVEAU-CODE, par exemple COM-91286")
_LEVEL = Column("level", pl.String, "Niveau du territoire", codelist="level")
_SOURCE = Column("source_id", pl.String, "Identifiant du jeu de données")
_EDITION = Column("edition", pl.String, "Édition du jeu de données")

_OBSERVATION = Table(
    "observation",
    "Valeurs des indicateurs : une ligne par indicateur, territoire, année, sexe, âge et référence. "
    "Une valeur non publiée est vide, avec son statut et son motif ; jamais un zéro.",
    ("indicator_id", "reference", "year", "sex", "age", "territory_id"),
    (
        _INDICATOR,
        _TERRITORY,
        Column("year", pl.Int16, "Année que la valeur décrit"),
        Column("sex", pl.String, "Sexe", codelist="sex"),
        Column("age", pl.String, "Âge, ou âge du référent fiscal", codelist="age"),
        Column(
            "reference",
            pl.String,
            "Territoire comparé (écarts et rapports) ou univers du rang ; _Z pour une valeur ordinaire",
        ),
        Column(
            "value",
            pl.Float64,
            "Valeur, vide quand elle n'est pas publiée ou pas connue exactement",
            nullable=True,
            unit="unité de l'indicateur",
        ),
        Column("obs_status", pl.String, "Statut de l'observation (SDMX)", codelist="obs_status"),
        Column("conf_status", pl.String, "Statut de confidentialité (SDMX)", codelist="conf_status"),
        Column("grade", pl.String, "Qualité de la valeur, vide sans valeur", nullable=True, codelist="grade"),
        Column(
            "lower",
            pl.Float64,
            "Borne inférieure de ce que la valeur peut être",
            nullable=True,
            unit="unité de l'indicateur",
        ),
        Column(
            "upper",
            pl.Float64,
            "Borne supérieure de ce que la valeur peut être",
            nullable=True,
            unit="unité de l'indicateur",
        ),
        Column(
            "interval_kind",
            pl.String,
            "Nature de l'intervalle lower-upper",
            nullable=True,
            codelist="interval_kind",
        ),
        Column(
            "weight",
            pl.Float64,
            "Dénominateur ou population que la valeur décrit, vide si secret ou "
            "inconnu ; pour un rang, le nombre de territoires classés",
            nullable=True,
        ),
        Column("reason", pl.String, "Motif de l'absence de valeur", nullable=True, codelist="reason"),
        Column("masked_parts", pl.Int32, "Nombre de cellules masquées dans une somme faite ici", nullable=True),
        Column("cog_year_source", pl.Int16, "Année du code officiel géographique de la source", nullable=True),
        Column("source_ids", pl.String, "Jeux de données et éditions d'où vient la valeur, séparés par « ; »"),
        Column("release_added", pl.String, "Publication où cette valeur et son statut sont apparus"),
    ),
    csv=False,
    enums=(
        "indicator_id",
        "sex",
        "age",
        "obs_status",
        "conf_status",
        "grade",
        "interval_kind",
        "reason",
        "source_ids",
        "release_added",
    ),
)

_TERRITORY_TABLE = Table(
    "territory",
    "Territoires de la géographie de référence, la même pour toutes les années d'une série.",
    ("territory_id",),
    (
        _TERRITORY,
        _LEVEL,
        Column("code", pl.String, "Code officiel du territoire, en texte"),
        Column("name", pl.String, "Nom"),
        Column("cog_year", pl.Int16, "Année du code officiel géographique de référence"),
        Column(
            "perimeter_year",
            pl.Int16,
            "Année des contours d'un IRIS (liste employée) ou d'un quartier prioritaire (2015 ou 2024) ; vide pour un "
            "territoire fait de communes",
            nullable=True,
        ),
        Column(
            "commune_id",
            pl.String,
            "Commune, ou arrondissement municipal, qui contient tout un IRIS, un quartier prioritaire ou un "
            "arrondissement municipal",
            nullable=True,
        ),
        Column("epci_id", pl.String, "EPCI auquel le territoire appartient", nullable=True),
        Column("departement_id", pl.String, "Département auquel le territoire appartient", nullable=True),
        Column("region_id", pl.String, "Région à laquelle le territoire appartient", nullable=True),
        Column("population", pl.Int64, "Dernière population municipale connue", nullable=True, unit="habitants"),
        Column("population_year", pl.Int16, "Année de cette population", nullable=True),
    ),
)

_GEOGRAPHY = (
    _TERRITORY_TABLE,
    Table(
        "territory_member",
        "Composition des territoires : une ligne par territoire et membre (communes d'un territoire, arrondissements "
        "municipaux, IRIS et quartiers prioritaires d'une commune).",
        ("parent_id", "child_id"),
        (
            Column("parent_id", pl.String, "Territoire composé"),
            Column("child_id", pl.String, "Territoire membre"),
            Column("cog_year", pl.Int16, "Année du code officiel géographique"),
            Column(
                "share",
                pl.Float64,
                "Part du membre qui est à l'intérieur : 1, sauf appartenance partielle ; vide quand elle est inconnue "
                "(quartier prioritaire à cheval sur plusieurs communes)",
                nullable=True,
            ),
        ),
    ),
    Table(
        "passage",
        "Passage des codes de communes entre deux années du code officiel géographique : seulement les codes "
        "qui changent, pour tout couple ordonné d'années.",
        ("from_year", "from_code", "to_year", "to_code"),
        (
            Column("from_year", pl.Int16, "Année de départ"),
            Column("from_code", pl.String, "Code de commune l'année de départ"),
            Column("to_year", pl.Int16, "Année d'arrivée"),
            Column("to_code", pl.String, "Code de commune l'année d'arrivée"),
            Column(
                "share",
                pl.Float64,
                "Part de la commune de départ qui passe dans celle d'arrivée ; vide quand "
                "elle est inconnue (remonter avant une fusion, scission)",
                nullable=True,
            ),
            Column("kind", pl.String, "Nature du changement", codelist="passage_kind"),
        ),
    ),
)

_REFERENCE = (
    Table(
        "indicator",
        "Catalogue des indicateurs : définition, unité, sens et règles.",
        ("indicator_id",),
        (
            _INDICATOR,
            Column("version", pl.Int16, "Version de la définition : elle change quand la définition change"),
            Column("theme", pl.String, "Thème"),
            Column("label_fr", pl.String, "Libellé"),
            Column("label_en", pl.String, "Libellé en anglais"),
            Column("definition_fr", pl.String, "Définition et champ"),
            Column("formula", pl.String, "Formule"),
            Column("unit", pl.String, "Unité"),
            Column("direction", pl.String, "Sens de lecture", codelist="direction"),
            Column("aggregation", pl.String, "Règle d'agrégation", codelist="aggregation"),
            Column("secrecy_rule", pl.String, "Règle de secret de la source", codelist="secrecy_rule"),
            Column("owner", pl.String, "Organisme propriétaire de la donnée"),
            Column("diffusion", pl.String, "Niveau de diffusion", codelist="diffusion"),
            Column("source_ids", pl.String, "Jeux de données utilisés, séparés par « ; »"),
            Column("tier", pl.String, "Disponibilité de la source", codelist="tier"),
            Column(
                "min_years_apart",
                pl.Int16,
                "Écart minimal entre deux années que l'on compare : deux millésimes du recensement plus proches "
                "partagent des enquêtes",
                unit="ans",
            ),
        ),
    ),
    Table(
        "nomenclature",
        "Codes employés dans les tables et leur libellé.",
        ("codelist", "code"),
        (
            Column("codelist", pl.String, "Nomenclature"),
            Column("code", pl.String, "Code"),
            Column("label_fr", pl.String, "Libellé"),
        ),
    ),
    Table(
        "series_break",
        "Ruptures de série : aucune évolution ne franchit une rupture.",
        ("scope", "year"),
        (
            Column("scope", pl.String, "Indicateur ou jeu de données concerné"),
            Column("year", pl.Int16, "Première année de la nouvelle série"),
            Column("cause_fr", pl.String, "Cause"),
            Column("comparable_before", pl.String, "Ce qui est comparable avant la rupture", nullable=True),
            Column("comparable_after", pl.String, "Ce qui est comparable après la rupture", nullable=True),
        ),
    ),
    Table(
        "source_file",
        "Fichiers des producteurs dont viennent les valeurs : origine, date, empreinte et licence.",
        ("source_id", "edition"),
        (
            _SOURCE,
            _EDITION,
            Column("title", pl.String, "Intitulé du jeu de données"),
            Column("url", pl.String, "Adresse déclarée"),
            Column("requested_url", pl.String, "Adresse demandée"),
            Column("retrieved_at", INSTANT, "Date et heure de récupération", unit="UTC"),
            Column(
                "sha256",
                pl.String,
                "Empreinte SHA-256 du fichier tel qu'il a été servi ; celle d'un dépôt sous secret n'est pas publiée",
                nullable=True,
            ),
            Column(
                "bytes",
                pl.Int64,
                "Taille du fichier ; celle d'un dépôt sous secret n'est pas publiée",
                nullable=True,
                unit="octets",
            ),
            Column("producer", pl.String, "Producteur"),
            Column("licence", pl.String, "Licence"),
            Column("owner", pl.String, "Propriétaire de la donnée"),
            Column("diffusion", pl.String, "Niveau de diffusion", codelist="diffusion"),
            Column(
                "stale",
                pl.Boolean,
                "Vrai si l'édition est périmée : gardée d'une exécution passée, faute d'avoir reçu ou lu la dernière",
            ),
            Column("stale_reason", pl.String, "Pourquoi elle est périmée", nullable=True),
        ),
    ),
)

_COMPARABLE = (
    Table(
        "comparable_profile",
        "Profil sur lequel les communes sont rapprochées : une ligne par variable.",
        ("indicator_id",),
        (
            _INDICATOR,
            Column("label_fr", pl.String, "Nom court de la variable"),
            Column("year", pl.Int16, "Année employée, la même pour toutes les communes"),
            Column("transformation", pl.String, "Transformation de la valeur", codelist="transformation"),
            Column("weight", pl.Float64, "Poids dans le carré de la distance"),
            Column(
                "spread",
                pl.Float64,
                "Étendue qui ramène les variables à une même échelle : écart interquartile / 1,349 des valeurs "
                "transformées",
            ),
            Column("known", pl.Int64, "Communes dont la valeur est publiée cette année-là"),
            Column("reason_fr", pl.String, "Pourquoi la variable est du profil"),
        ),
    ),
    Table(
        "comparable_territory",
        "Territoires comparables : les communes les plus proches de chaque commune sur le profil déclaré "
        "(comparable_profile), cherchées en métropole ou dans les départements d'outre-mer selon la commune.",
        ("territory_id", "rank"),
        (
            _TERRITORY,
            Column("rank", pl.Int16, "Rang : 1 pour la plus proche"),
            Column("comparable_id", pl.String, "Identifiant de la commune comparable"),
            Column(
                "distance",
                pl.Float64,
                "Racine de la moyenne pondérée des carrés des écarts, sur les variables connues de la commune : 0 pour "
                "les mêmes chiffres, 1 pour un écart d'environ un écart-type (spread) sur chaque variable",
            ),
            Column("closest", pl.String, "Variables qui rapprochent le plus, séparées par « ; »"),
            Column("farthest", pl.String, "Variables qui séparent le plus, séparées par « ; »"),
        ),
        csv=False,
    ),
)

_INDEX = (
    Column("index_id", pl.String, "Identifiant de l'indice composite, qui est aussi un indicateur"),
    Column("version", pl.Int16, "Version de la déclaration de l'indice et de ses bornes"),
)
_INDEX_YEAR = Column("year", pl.Int16, "Année de l'indice")
_UNIVERSE = Column("universe", pl.String, "Territoire dont les membres de même niveau sont classés ensemble")
_DIMENSION = Column("dimension", pl.String, "Dimension de l'indice")

_COMPOSITE = (
    Table(
        "composite_component",
        "Ce qui fait un indice composite : une ligne par indice, territoire et composante. Les contributions "
        "s'ajoutent à l'indice ; une composante inconnue est vide et ne compte pas.",
        ("index_id", "version", "year", "territory_id", "indicator_id"),
        (
            *_INDEX,
            _TERRITORY,
            _INDEX_YEAR,
            _DIMENSION,
            _INDICATOR,
            Column("component_year", pl.Int16, "Année à laquelle la composante est lue"),
            Column("raw", pl.Float64, "Valeur de la composante", nullable=True, unit="unité de l'indicateur"),
            Column(
                "score",
                pl.Float64,
                "Score : de 0 à 100 entre les bornes figées, ou en écarts-types ; élevé quand l'indice l'est",
                nullable=True,
            ),
            Column(
                "contribution", pl.Float64, "Part de l'indice qui lui revient", nullable=True, unit="unité de l'indice"
            ),
        ),
        csv=False,
    ),
    Table(
        "composite_rank",
        "Rang des communes et des EPCI par indice composite, avec ce qui peut le déplacer.",
        ("index_id", "version", "year", "universe", "territory_id"),
        (
            *_INDEX,
            _TERRITORY,
            _INDEX_YEAR,
            _UNIVERSE,
            Column("rank", pl.Int32, "Rang : 1 pour l'indice le plus élevé"),
            Column(
                "rank_lower",
                pl.Int32,
                "Rang dont 5 % des simulations sont en deçà (poids, normalisation et agrégation tirés au sort)",
            ),
            Column("rank_upper", pl.Int32, "Rang dont 5 % des simulations sont au-delà"),
            Column("n", pl.Int32, "Territoires classés"),
            Column("loo_lower", pl.Int32, "Meilleur rang quand une composante est ôtée, chacune à son tour"),
            Column("loo_upper", pl.Int32, "Dernier rang quand une composante est ôtée, chacune à son tour"),
        ),
        csv=False,
    ),
    Table(
        "composite_goalpost",
        "Bornes figées des indices composites employées ici, avec les coefficients de la première composante "
        "principale.",
        ("index_id", "version", "universe", "indicator_id"),
        (
            *_INDEX,
            Column("universe", pl.String, "Territoire dont les communes ont fixé les bornes, ou demo (pays fictif)"),
            _DIMENSION,
            Column("dimension_weight", pl.Float64, "Poids déclaré de la dimension, relatif à celui des autres"),
            _INDICATOR,
            Column("direction", pl.Int16, "1 si l'indice croît avec la composante, -1 s'il décroît"),
            Column("transformation", pl.String, "Transformation de la valeur", codelist="transformation"),
            Column("base_year", pl.Int16, "Année de base"),
            Column("at_0", pl.Float64, "Valeur, transformée, dont le score est 0"),
            Column("at_100", pl.Float64, "Valeur, transformée, dont le score est 100"),
            Column("mean", pl.Float64, "Moyenne des valeurs transformées"),
            Column("sd", pl.Float64, "Écart-type des valeurs transformées"),
            Column("loading", pl.Float64, "Coefficient sur la première composante principale", nullable=True),
            Column("n", pl.Int32, "Communes qui ont fixé les bornes"),
        ),
    ),
    Table(
        "composite_correlation",
        "Corrélations entre composantes d'un indice composite, et entre façons de le calculer.",
        ("index_id", "version", "year", "universe", "level", "kind", "first", "second"),
        (
            *_INDEX,
            _INDEX_YEAR,
            _UNIVERSE,
            _LEVEL,
            Column("kind", pl.String, "Ce qui est comparé", codelist="comparison"),
            Column("first", pl.String, "Composante ou variante ; « indice » pour l'indice tel que déclaré"),
            Column("second", pl.String, "Autre composante ou variante"),
            Column("correlation", pl.Float64, "Corrélation, de -1 à 1"),
            Column("redundant", pl.Boolean, "Vrai si deux composantes disent presque la même chose (au-delà de 0,9)"),
            Column("n", pl.Int32, "Territoires comparés"),
        ),
    ),
)

_QUALITY = (
    Table(
        "coverage",
        "Couverture : combien de territoires ont une valeur, par indicateur, niveau et année.",
        ("indicator_id", "level", "year"),
        (
            _INDICATOR,
            _LEVEL,
            Column("year", pl.Int16, "Année"),
            Column("territories", pl.Int64, "Territoires du niveau dans la géographie de référence"),
            Column("published", pl.Int64, "Territoires dont la valeur est publiée"),
            Column("suppressed", pl.Int64, "Territoires dont la valeur est masquée ou réduite à une borne"),
            Column("missing", pl.Int64, "Territoires sans valeur pour une autre raison"),
            Column("reason_fr", pl.String, "Raison principale des absences", nullable=True),
            Column("stale", pl.Boolean, "Vrai si une valeur vient d'une édition périmée (voir source_file)"),
        ),
    ),
    Table(
        "reconciliation",
        "Rapprochement des communes agrégées avec le niveau supérieur publié par le producteur.",
        ("indicator_id", "level", "source_id", "edition", "year"),
        (
            _INDICATOR,
            _LEVEL,
            _SOURCE,
            _EDITION,
            Column("year", pl.Int16, "Année"),
            Column("territories", pl.Int64, "Territoires publiés par le producteur"),
            Column("compared", pl.Int64, "Territoires comparés"),
            Column(
                "max_abs_difference",
                pl.Float64,
                "Plus grand écart absolu",
                nullable=True,
                unit="unité de l'indicateur",
            ),
            Column(
                "tolerance",
                pl.Float64,
                "Écart admis, d'après les arrondis",
                nullable=True,
                unit="unité de l'indicateur",
            ),
            Column("outside", pl.Int64, "Territoires au-delà de l'écart admis"),
            Column("status", pl.String, "Résultat du rapprochement"),
            Column("cause_fr", pl.String, "Cause de l'exception", nullable=True),
        ),
    ),
    Table(
        "quality_check",
        "Contrôles exécutés sur cette publication et leur résultat.",
        ("suite", "check_id", "table_name"),
        (
            Column("check_id", pl.String, "Identifiant du contrôle"),
            Column("suite", pl.String, "Suite de contrôles"),
            Column("table_name", pl.String, "Table contrôlée"),
            Column("severity", pl.String, "Gravité", codelist="severity"),
            Column("passed", pl.Boolean, "Vrai si le contrôle est satisfait"),
            Column("observed", pl.String, "Ce qui est trouvé", nullable=True),
            Column("expected", pl.String, "Ce qui est attendu", nullable=True),
            Column("rows_failed", pl.Int64, "Lignes en défaut", nullable=True),
            Column("sample", pl.String, "Exemples de lignes en défaut", nullable=True),
            Column("run_id", pl.String, "Exécution"),
            Column("checked_at", INSTANT, "Date et heure du contrôle", unit="UTC"),
        ),
        deterministic=False,
    ),
    Table(
        "release",
        "Publications successives jusqu'à celle-ci, qui est la dernière ligne.",
        ("release_id",),
        (
            Column("release_id", pl.String, "Identifiant : numéro d'ordre et empreinte des données d'entrée"),
            Column("created_at", INSTANT, "Date et heure de publication", unit="UTC"),
            Column("previous_id", pl.String, "Publication précédente", nullable=True),
            Column("git_commit", pl.String, "Version du programme", nullable=True),
            Column("input_digest", pl.String, "Empreinte des données d'entrée et du programme"),
            Column("rows", pl.Int64, "Lignes de la table observation"),
            Column("indicators", pl.Int64, "Indicateurs présents"),
            Column("added", pl.Int64, "Lignes ajoutées depuis la publication précédente"),
            Column("changed", pl.Int64, "Lignes dont la valeur ou le statut a changé"),
            Column("removed", pl.Int64, "Lignes retirées"),
            Column("notice", pl.String, "Avertissement à lire avant usage", nullable=True),
        ),
        deterministic=False,
    ),
)

TABLES: dict[str, Table] = {
    t.name: t for t in (_OBSERVATION, *_GEOGRAPHY, *_REFERENCE, *_COMPARABLE, *_COMPOSITE, *_QUALITY)
}


def conform(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with the table's columns, order and dtypes; categories become text, instants lose UTC.

    Integers are narrowed when they fit; nothing else is converted. Raises ContractError for a missing or
    unknown column, another dtype, an integer that does not fit, or a null where the table allows none.
    """
    missing = [n for n in table.names if n not in frame.columns]
    unknown = [n for n in frame.columns if n not in table.names]
    if missing or unknown:
        raise ContractError(
            table.name,
            f"les colonnes {table.names}",
            f"manquantes {missing}, inconnues {unknown}",
            "corriger ce qui fabrique la table, ou sa déclaration dans warehouse/models.py",
        )
    try:
        frame = frame.select([_cast(c, frame.schema[c.name]) for c in table.columns])
    except pl.exceptions.InvalidOperationError as error:
        raise ContractError(
            table.name,
            "des entiers qui tiennent dans le type déclaré",
            str(error).splitlines()[0],
            "corriger la valeur, ou élargir le type dans warehouse/models.py",
        ) from error
    wanted = table.schema()
    for name, dtype in frame.schema.items():
        if dtype != wanted[name]:
            raise ContractError(
                table.name, f"{name} de type {wanted[name]}", f"{dtype}", "convertir avant d'écrire la table"
            )
    empty = {c.name: frame[c.name].null_count() for c in table.columns if not c.nullable}
    if any(empty.values()):
        raise ContractError(
            table.name,
            "aucune cellule vide dans les colonnes obligatoires",
            ", ".join(f"{n} cellule(s) vide(s) dans {c}" for c, n in empty.items() if n),
            "renseigner ces cellules ou retirer ces lignes à la source",
        )
    return frame


def _cast(column: Column, found: pl.DataType) -> pl.Expr:
    """How a column becomes what the table declares; left alone where no conversion is allowed."""
    expression = pl.col(column.name)
    if isinstance(found, (pl.Categorical, pl.Enum)):
        return expression.cast(pl.String)
    if found == pl.Null:
        return expression.cast(column.dtype)
    if isinstance(found, pl.Datetime) and found.time_zone == "UTC" and found.time_unit == "us":
        return expression.dt.replace_time_zone(None)
    if found.is_integer() and column.dtype in (pl.Int16, pl.Int32, pl.Int64):
        return expression.cast(column.dtype, strict=True)
    return expression


@lru_cache(maxsize=1)
def dictionary_frame() -> pl.DataFrame:
    """The dictionary of columns (French headings): one row per table and column, in declared order."""
    rows = [
        {
            "table": t.name,
            "colonne": c.name,
            "type": DUCKDB_TYPES[c.dtype],
            "obligatoire": "non" if c.nullable else "oui",
            "clé": "oui" if c.name in t.key else "non",
            "unité": c.unit or "",
            "nomenclature": c.codelist or "",
            "description": c.comment,
        }
        for t in TABLES.values()
        for c in t.columns
    ]
    return pl.DataFrame(rows)
