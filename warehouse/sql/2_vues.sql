-- Vues pour les statisticiens : noms français, une ligne par territoire et année quand cela aide.

CREATE VIEW v_publication AS
SELECT release_id, created_at AS publiee_le, previous_id AS precedente, git_commit AS programme,
       "rows" AS observations, indicators AS indicateurs, notice AS avertissement
FROM release
ORDER BY length(release_id) DESC, release_id DESC
LIMIT 1;
COMMENT ON VIEW v_publication IS 'La publication que contient ce fichier.';
COMMENT ON COLUMN v_publication.release_id IS 'Identifiant de la publication';
COMMENT ON COLUMN v_publication.publiee_le IS 'Date et heure de publication (UTC)';
COMMENT ON COLUMN v_publication.precedente IS 'Publication précédente';
COMMENT ON COLUMN v_publication.programme IS 'Version du programme';
COMMENT ON COLUMN v_publication.observations IS 'Lignes de la table observation';
COMMENT ON COLUMN v_publication.indicateurs IS 'Indicateurs présents';
COMMENT ON COLUMN v_publication.avertissement IS 'Avertissement à lire avant usage';

CREATE VIEW v_pauvrete_territoire AS
WITH chiffres AS (
  -- groupé par les colonnes du territoire : un filtre sur le code ou le nom descend jusqu'à la lecture
  SELECT o."year", t.territory_id, t.level, t.code, t.name, t.epci_id, t.departement_id, t.region_id,
    max(value) FILTER (indicator_id = 'rev_tp60') AS taux_pauvrete,
    max(lower) FILTER (indicator_id = 'rev_tp60') AS borne_inf,
    max(upper) FILTER (indicator_id = 'rev_tp60') AS borne_sup,
    max(obs_status) FILTER (indicator_id = 'rev_tp60') AS statut,
    max(reason) FILTER (indicator_id = 'rev_tp60') AS motif,
    max(grade) FILTER (indicator_id = 'rev_tp60') AS qualite,
    max(value) FILTER (indicator_id = 'rev_med') AS niveau_vie_median,
    max(valeur_affichee(value, lower, upper, obs_status))
      FILTER (indicator_id = 'rev_med') AS niveau_vie_median_affiche,
    max(value) FILTER (indicator_id = 'rev_d1') AS d1,
    max(value) FILTER (indicator_id = 'rev_d9') AS d9,
    max(value) FILTER (indicator_id = 'rev_rd') AS rapport_interdecile,
    max(value) FILTER (indicator_id = 'dem_pop') AS population
  FROM observation o
  JOIN territory t ON t.territory_id = o.territory_id
  WHERE o.indicator_id IN ('rev_tp60', 'rev_med', 'rev_d1', 'rev_d9', 'rev_rd', 'dem_pop')
    AND o.sex = '_T' AND o.age = '_T' AND o.reference = '_Z'
  GROUP BY o."year", t.territory_id, t.level, t.code, t.name, t.epci_id, t.departement_id, t.region_id
  HAVING bool_or(indicator_id <> 'dem_pop')
)
SELECT c.territory_id, c.level AS niveau, c.code, c.name AS nom, c."year" AS annee,
  c.taux_pauvrete,
  valeur_affichee(c.taux_pauvrete, c.borne_inf, c.borne_sup, c.statut) AS taux_pauvrete_affiche,
  c.borne_inf, c.borne_sup, c.statut, c.motif, c.qualite,
  c.niveau_vie_median, c.niveau_vie_median_affiche, c.d1, c.d9, c.rapport_interdecile, c.population,
  e.name AS epci, d.name AS departement, r.name AS region,
  c.epci_id, c.departement_id, c.region_id
FROM chiffres c
LEFT JOIN territory e ON e.territory_id = c.epci_id
LEFT JOIN territory d ON d.territory_id = c.departement_id
LEFT JOIN territory r ON r.territory_id = c.region_id;
COMMENT ON VIEW v_pauvrete_territoire IS 'Pauvreté et niveau de vie, tous niveaux : une ligne par territoire et année (Filosofi).';
COMMENT ON COLUMN v_pauvrete_territoire.territory_id IS 'Identifiant du territoire';
COMMENT ON COLUMN v_pauvrete_territoire.niveau IS 'Niveau du territoire';
COMMENT ON COLUMN v_pauvrete_territoire.code IS 'Code officiel';
COMMENT ON COLUMN v_pauvrete_territoire.nom IS 'Nom';
COMMENT ON COLUMN v_pauvrete_territoire.annee IS 'Année des revenus';
COMMENT ON COLUMN v_pauvrete_territoire.taux_pauvrete IS 'Taux de pauvreté à 60 % de la médiane métropolitaine (%), vide si non publié';
COMMENT ON COLUMN v_pauvrete_territoire.taux_pauvrete_affiche IS 'Taux de pauvreté tel qu''on le montre : 44, ≤ 5, secret...';
COMMENT ON COLUMN v_pauvrete_territoire.borne_inf IS 'Borne inférieure du taux de pauvreté';
COMMENT ON COLUMN v_pauvrete_territoire.borne_sup IS 'Borne supérieure du taux de pauvreté';
COMMENT ON COLUMN v_pauvrete_territoire.statut IS 'Statut du taux de pauvreté (nomenclature obs_status)';
COMMENT ON COLUMN v_pauvrete_territoire.motif IS 'Motif de l''absence du taux de pauvreté (nomenclature reason)';
COMMENT ON COLUMN v_pauvrete_territoire.qualite IS 'Qualité du taux de pauvreté (nomenclature grade)';
COMMENT ON COLUMN v_pauvrete_territoire.niveau_vie_median IS 'Niveau de vie médian (€ par unité de consommation et par an)';
COMMENT ON COLUMN v_pauvrete_territoire.niveau_vie_median_affiche IS 'Niveau de vie médian tel qu''on le montre';
COMMENT ON COLUMN v_pauvrete_territoire.d1 IS 'Premier décile de niveau de vie (€ par unité de consommation et par an)';
COMMENT ON COLUMN v_pauvrete_territoire.d9 IS 'Neuvième décile de niveau de vie (€ par unité de consommation et par an)';
COMMENT ON COLUMN v_pauvrete_territoire.rapport_interdecile IS 'Rapport interdécile D9/D1';
COMMENT ON COLUMN v_pauvrete_territoire.population IS 'Population municipale de la même année, vide si elle n''est pas publiée';
COMMENT ON COLUMN v_pauvrete_territoire.epci IS 'Nom de l''EPCI';
COMMENT ON COLUMN v_pauvrete_territoire.departement IS 'Nom du département';
COMMENT ON COLUMN v_pauvrete_territoire.region IS 'Nom de la région';
COMMENT ON COLUMN v_pauvrete_territoire.epci_id IS 'Identifiant de l''EPCI';
COMMENT ON COLUMN v_pauvrete_territoire.departement_id IS 'Identifiant du département';
COMMENT ON COLUMN v_pauvrete_territoire.region_id IS 'Identifiant de la région';

CREATE VIEW v_pauvrete_commune AS
SELECT code, nom, annee, taux_pauvrete, taux_pauvrete_affiche, borne_inf, borne_sup, statut, motif, qualite,
  niveau_vie_median, niveau_vie_median_affiche, d1, d9, rapport_interdecile, population,
  epci, departement, region, territory_id, epci_id, departement_id, region_id
FROM v_pauvrete_territoire
WHERE niveau = 'COM';
COMMENT ON VIEW v_pauvrete_commune IS 'Pauvreté et niveau de vie des communes : une ligne par commune et année (Filosofi).';
COMMENT ON COLUMN v_pauvrete_commune.code IS 'Code officiel de la commune';
COMMENT ON COLUMN v_pauvrete_commune.nom IS 'Nom de la commune';
COMMENT ON COLUMN v_pauvrete_commune.annee IS 'Année des revenus';
COMMENT ON COLUMN v_pauvrete_commune.taux_pauvrete IS 'Taux de pauvreté à 60 % de la médiane métropolitaine (%), vide si non publié';
COMMENT ON COLUMN v_pauvrete_commune.taux_pauvrete_affiche IS 'Taux de pauvreté tel qu''on le montre : 44, ≤ 5, secret...';
COMMENT ON COLUMN v_pauvrete_commune.borne_inf IS 'Borne inférieure du taux de pauvreté';
COMMENT ON COLUMN v_pauvrete_commune.borne_sup IS 'Borne supérieure du taux de pauvreté';
COMMENT ON COLUMN v_pauvrete_commune.statut IS 'Statut du taux de pauvreté (nomenclature obs_status)';
COMMENT ON COLUMN v_pauvrete_commune.motif IS 'Motif de l''absence du taux de pauvreté (nomenclature reason)';
COMMENT ON COLUMN v_pauvrete_commune.qualite IS 'Qualité du taux de pauvreté (nomenclature grade)';
COMMENT ON COLUMN v_pauvrete_commune.niveau_vie_median IS 'Niveau de vie médian (€ par unité de consommation et par an)';
COMMENT ON COLUMN v_pauvrete_commune.niveau_vie_median_affiche IS 'Niveau de vie médian tel qu''on le montre';
COMMENT ON COLUMN v_pauvrete_commune.d1 IS 'Premier décile de niveau de vie (€ par unité de consommation et par an)';
COMMENT ON COLUMN v_pauvrete_commune.d9 IS 'Neuvième décile de niveau de vie (€ par unité de consommation et par an)';
COMMENT ON COLUMN v_pauvrete_commune.rapport_interdecile IS 'Rapport interdécile D9/D1';
COMMENT ON COLUMN v_pauvrete_commune.population IS 'Population municipale de la même année, vide si elle n''est pas publiée';
COMMENT ON COLUMN v_pauvrete_commune.epci IS 'Nom de l''EPCI';
COMMENT ON COLUMN v_pauvrete_commune.departement IS 'Nom du département';
COMMENT ON COLUMN v_pauvrete_commune.region IS 'Nom de la région';
COMMENT ON COLUMN v_pauvrete_commune.territory_id IS 'Identifiant du territoire';
COMMENT ON COLUMN v_pauvrete_commune.epci_id IS 'Identifiant de l''EPCI';
COMMENT ON COLUMN v_pauvrete_commune.departement_id IS 'Identifiant du département';
COMMENT ON COLUMN v_pauvrete_commune.region_id IS 'Identifiant de la région';

CREATE VIEW v_portrait AS
WITH au_dessus AS (
  SELECT o.indicator_id, o.territory_id, o."year", o.sex, o.age, o.value
  FROM observation o
  JOIN territory t ON t.territory_id = o.territory_id
  WHERE o.reference = '_Z' AND o.value IS NOT NULL AND t.level IN ('EPCI', 'DEP', 'REG', 'METRO')
),
communes AS (
  -- only those that hold an IRIS, a QPV or an arrondissement: two thousand of thirty-five thousand
  SELECT o.indicator_id, o.territory_id, o."year", o.sex, o.age, o.value
  FROM observation o
  JOIN (SELECT DISTINCT commune_id FROM territory WHERE commune_id IS NOT NULL) h ON h.commune_id = o.territory_id
  WHERE o.reference = '_Z' AND o.value IS NOT NULL
)
SELECT t.territory_id, t.name AS nom, t.level AS niveau, i.theme, o.indicator_id, i.label_fr AS indicateur,
  i.unit AS unite, o."year" AS annee, o.sex AS sexe, o.age, o.value AS valeur,
  valeur_affichee(o.value, o.lower, o.upper, o.obs_status) AS valeur_affichee,
  o.lower AS borne_inf, o.upper AS borne_sup, o.obs_status AS statut, o.reason AS motif, o.grade AS qualite,
  c.value AS valeur_commune, e.value AS valeur_epci, d.value AS valeur_departement, r.value AS valeur_region,
  m.value AS valeur_metropole,
  o.source_ids AS sources
FROM observation o
JOIN territory t ON t.territory_id = o.territory_id
JOIN indicator i ON i.indicator_id = o.indicator_id
LEFT JOIN communes c ON c.territory_id = t.commune_id AND c.indicator_id = o.indicator_id
  AND c."year" = o."year" AND c.sex = o.sex AND c.age = o.age
LEFT JOIN au_dessus e ON e.territory_id = t.epci_id AND e.indicator_id = o.indicator_id
  AND e."year" = o."year" AND e.sex = o.sex AND e.age = o.age
LEFT JOIN au_dessus d ON d.territory_id = t.departement_id AND d.indicator_id = o.indicator_id
  AND d."year" = o."year" AND d.sex = o.sex AND d.age = o.age
LEFT JOIN au_dessus r ON r.territory_id = t.region_id AND r.indicator_id = o.indicator_id
  AND r."year" = o."year" AND r.sex = o.sex AND r.age = o.age
LEFT JOIN au_dessus m ON m.territory_id = 'METRO-FM' AND m.indicator_id = o.indicator_id
  AND m."year" = o."year" AND m.sex = o.sex AND m.age = o.age
WHERE o.reference = '_Z'
-- sorted: DuckDB 2.0.0 never ends a LIMIT without ORDER BY over these joins at national size
ORDER BY t.territory_id, o.indicator_id, o."year", o.sex, o.age;
COMMENT ON VIEW v_portrait IS 'Portrait : une ligne par territoire, indicateur, année, sexe et âge, avec les valeurs de la commune (pour un IRIS, un quartier prioritaire ou un arrondissement municipal), de l''EPCI, du département, de la région et de la métropole en regard.';
COMMENT ON COLUMN v_portrait.territory_id IS 'Identifiant du territoire';
COMMENT ON COLUMN v_portrait.nom IS 'Nom du territoire';
COMMENT ON COLUMN v_portrait.niveau IS 'Niveau du territoire';
COMMENT ON COLUMN v_portrait.theme IS 'Thème de l''indicateur';
COMMENT ON COLUMN v_portrait.indicator_id IS 'Identifiant de l''indicateur';
COMMENT ON COLUMN v_portrait.indicateur IS 'Libellé de l''indicateur';
COMMENT ON COLUMN v_portrait.unite IS 'Unité';
COMMENT ON COLUMN v_portrait.annee IS 'Année';
COMMENT ON COLUMN v_portrait.sexe IS 'Sexe (nomenclature sex)';
COMMENT ON COLUMN v_portrait.age IS 'Âge (nomenclature age)';
COMMENT ON COLUMN v_portrait.valeur IS 'Valeur, vide si elle n''est pas publiée';
COMMENT ON COLUMN v_portrait.valeur_affichee IS 'Valeur telle qu''on la montre : un nombre, ≤ 5, secret...';
COMMENT ON COLUMN v_portrait.borne_inf IS 'Borne inférieure';
COMMENT ON COLUMN v_portrait.borne_sup IS 'Borne supérieure';
COMMENT ON COLUMN v_portrait.statut IS 'Statut (nomenclature obs_status)';
COMMENT ON COLUMN v_portrait.motif IS 'Motif de l''absence de valeur (nomenclature reason)';
COMMENT ON COLUMN v_portrait.qualite IS 'Qualité (nomenclature grade)';
COMMENT ON COLUMN v_portrait.valeur_commune IS 'Valeur de la commune ou de l''arrondissement municipal qui contient le territoire';
COMMENT ON COLUMN v_portrait.valeur_epci IS 'Valeur de l''EPCI du territoire';
COMMENT ON COLUMN v_portrait.valeur_departement IS 'Valeur du département du territoire';
COMMENT ON COLUMN v_portrait.valeur_region IS 'Valeur de la région du territoire';
COMMENT ON COLUMN v_portrait.valeur_metropole IS 'Valeur de la France métropolitaine';
COMMENT ON COLUMN v_portrait.sources IS 'Jeux de données et éditions';

CREATE VIEW v_territoires_comparables AS
WITH libelles AS (SELECT map(list(indicator_id), list(label_fr)) AS noms FROM comparable_profile)
SELECT c.territory_id, t.name AS nom, c."rank" AS rang, c.comparable_id, v.name AS comparable,
  d.name AS departement, v.population, c.distance,
  list_aggregate(list_transform(string_split(c.closest, ';'), lambda x: l.noms[x]), 'string_agg', ', ') AS proches_par,
  list_aggregate(list_transform(string_split(c.farthest, ';'), lambda x: l.noms[x]), 'string_agg', ', ')
    AS eloignees_par
FROM comparable_territory c
CROSS JOIN libelles l
JOIN territory t ON t.territory_id = c.territory_id
JOIN territory v ON v.territory_id = c.comparable_id
LEFT JOIN territory d ON d.territory_id = v.departement_id;
COMMENT ON VIEW v_territoires_comparables IS 'Communes comparables : les plus proches de chaque commune sur le profil déclaré (comparable_profile), de la plus proche à la moins proche.';
COMMENT ON COLUMN v_territoires_comparables.territory_id IS 'Identifiant de la commune';
COMMENT ON COLUMN v_territoires_comparables.nom IS 'Nom de la commune';
COMMENT ON COLUMN v_territoires_comparables.rang IS 'Rang : 1 pour la plus proche';
COMMENT ON COLUMN v_territoires_comparables.comparable_id IS 'Identifiant de la commune comparable';
COMMENT ON COLUMN v_territoires_comparables.comparable IS 'Nom de la commune comparable';
COMMENT ON COLUMN v_territoires_comparables.departement IS 'Département de la commune comparable';
COMMENT ON COLUMN v_territoires_comparables.population IS 'Population de la commune comparable';
COMMENT ON COLUMN v_territoires_comparables.distance IS 'Distance : 0 pour deux communes de mêmes chiffres, 1 pour un écart d''environ un écart-type sur chaque variable';
COMMENT ON COLUMN v_territoires_comparables.proches_par IS 'Variables qui les rapprochent le plus';
COMMENT ON COLUMN v_territoires_comparables.eloignees_par IS 'Variables qui les séparent le plus';

CREATE VIEW v_couverture AS
SELECT i.theme, c.indicator_id, i.label_fr AS indicateur, c.level AS niveau, c."year" AS annee,
  c.territories AS territoires, c.published AS publies, c.suppressed AS masques, c.missing AS manquants,
  round(100.0 * c.published / nullif(c.territories, 0), 1) AS part_publiee, c.reason_fr AS raison,
  c.stale AS perimee
FROM coverage c
LEFT JOIN indicator i ON i.indicator_id = c.indicator_id;
COMMENT ON VIEW v_couverture IS 'Couverture : part des territoires dont la valeur est publiée, par indicateur, niveau et année.';
COMMENT ON COLUMN v_couverture.theme IS 'Thème';
COMMENT ON COLUMN v_couverture.indicator_id IS 'Identifiant de l''indicateur';
COMMENT ON COLUMN v_couverture.indicateur IS 'Libellé de l''indicateur';
COMMENT ON COLUMN v_couverture.niveau IS 'Niveau des territoires';
COMMENT ON COLUMN v_couverture.annee IS 'Année';
COMMENT ON COLUMN v_couverture.territoires IS 'Territoires du niveau';
COMMENT ON COLUMN v_couverture.publies IS 'Territoires dont la valeur est publiée';
COMMENT ON COLUMN v_couverture.masques IS 'Territoires dont la valeur est masquée ou réduite à une borne';
COMMENT ON COLUMN v_couverture.manquants IS 'Territoires sans valeur pour une autre raison';
COMMENT ON COLUMN v_couverture.part_publiee IS 'Part des territoires dont la valeur est publiée (%)';
COMMENT ON COLUMN v_couverture.raison IS 'Raison principale des absences';
COMMENT ON COLUMN v_couverture.perimee IS 'Vrai si une valeur vient d''une édition périmée (voir v_sources)';

CREATE VIEW v_rang_pauvrete AS
SELECT o."year" AS annee, CAST(o.value AS INTEGER) AS rang, CAST(o.weight AS INTEGER) AS classes,
  count(*) OVER (PARTITION BY o."year", o.reference, o.value) AS ex_aequo,
  t.code, t.name AS nom, p.value AS taux_pauvrete, d.name AS departement, r.name AS region,
  n.label_fr AS univers, o.territory_id
FROM observation o
JOIN territory t ON t.territory_id = o.territory_id
LEFT JOIN observation p ON p.indicator_id = 'rev_tp60' AND p.territory_id = o.territory_id
  AND p."year" = o."year" AND p.sex = o.sex AND p.age = o.age AND p.reference = '_Z'
LEFT JOIN territory d ON d.territory_id = t.departement_id
LEFT JOIN territory r ON r.territory_id = t.region_id
LEFT JOIN nomenclature n ON n.codelist = 'reference' AND n.code = o.reference
WHERE o.indicator_id = 'rev_tp60_rang' AND o.value IS NOT NULL;
COMMENT ON VIEW v_rang_pauvrete IS 'Rang des communes par taux de pauvreté, du plus élevé au plus faible, parmi celles dont le taux est publié.';
COMMENT ON COLUMN v_rang_pauvrete.annee IS 'Année des revenus';
COMMENT ON COLUMN v_rang_pauvrete.rang IS 'Rang : 1 pour le taux le plus élevé ; les ex æquo ont le même rang';
COMMENT ON COLUMN v_rang_pauvrete.classes IS 'Nombre de communes classées';
COMMENT ON COLUMN v_rang_pauvrete.ex_aequo IS 'Nombre de communes à ce rang, celle-ci comprise';
COMMENT ON COLUMN v_rang_pauvrete.code IS 'Code officiel de la commune';
COMMENT ON COLUMN v_rang_pauvrete.nom IS 'Nom de la commune';
COMMENT ON COLUMN v_rang_pauvrete.taux_pauvrete IS 'Taux de pauvreté (%)';
COMMENT ON COLUMN v_rang_pauvrete.departement IS 'Nom du département';
COMMENT ON COLUMN v_rang_pauvrete.region IS 'Nom de la région';
COMMENT ON COLUMN v_rang_pauvrete.univers IS 'Territoires entre lesquels le rang est établi';
COMMENT ON COLUMN v_rang_pauvrete.territory_id IS 'Identifiant du territoire';

CREATE VIEW v_sources AS
SELECT source_id, title AS jeu_de_donnees, edition, producer AS producteur, owner AS proprietaire,
  licence, retrieved_at AS recupere_le, url AS adresse, sha256 AS empreinte,
  stale AS perimee, stale_reason AS motif_peremption,
  'Source : ' || producer || ', ' || title || ', édition ' || edition || ' ; ' || licence AS mention
FROM source_file;
COMMENT ON VIEW v_sources IS 'Sources et mention à citer : une ligne par jeu de données et édition.';
COMMENT ON COLUMN v_sources.source_id IS 'Identifiant du jeu de données';
COMMENT ON COLUMN v_sources.jeu_de_donnees IS 'Intitulé';
COMMENT ON COLUMN v_sources.edition IS 'Édition';
COMMENT ON COLUMN v_sources.producteur IS 'Producteur';
COMMENT ON COLUMN v_sources.proprietaire IS 'Propriétaire de la donnée';
COMMENT ON COLUMN v_sources.licence IS 'Licence';
COMMENT ON COLUMN v_sources.recupere_le IS 'Date et heure de récupération (UTC)';
COMMENT ON COLUMN v_sources.adresse IS 'Adresse du fichier';
COMMENT ON COLUMN v_sources.empreinte IS 'Empreinte SHA-256 du fichier';
COMMENT ON COLUMN v_sources.perimee IS 'Vrai si la dernière édition du producteur n''a pu être ni reçue ni lue : une plus ancienne sert';
COMMENT ON COLUMN v_sources.motif_peremption IS 'Pourquoi elle est périmée';
COMMENT ON COLUMN v_sources.mention IS 'Mention à reproduire avec les chiffres';

CREATE VIEW v_etat_indicateurs AS
WITH niveaux AS (
  SELECT indicator_id, level, max(published) AS publies,
    max(published) >= CASE WHEN level = 'DEP' THEN 90 ELSE 500 END AND level IN ('COM', 'EPCI', 'IRIS', 'QPV', 'DEP')
      AS large,
    min("year") FILTER (WHERE published > 0) AS premiere, max("year") FILTER (WHERE published > 0) AS derniere,
    arg_max(reason_fr, "year") AS motif
  FROM coverage GROUP BY indicator_id, level
)
SELECT i.indicator_id, i.label_fr AS indicateur, i.theme, i.tier AS categorie,
  CASE WHEN bool_or(n.large) THEN 'publié' WHEN max(n.publies) > 0 THEN 'extrait' ELSE 'sans valeur' END AS etat,
  string_agg(n.level || ' ' || n.publies, ', ' ORDER BY n.publies DESC, n.level) FILTER (WHERE n.publies > 0) AS niveaux,
  min(n.premiere) AS premiere_annee, max(n.derniere) AS derniere_annee,
  CASE WHEN coalesce(max(n.publies), 0) = 0 THEN coalesce(arg_max(n.motif, n.level = 'COM'), 'Aucune édition dans les années demandées') END
    AS motif
FROM indicator i
LEFT JOIN niveaux n ON n.indicator_id = i.indicator_id
GROUP BY i.indicator_id, i.label_fr, i.theme, i.tier;
COMMENT ON VIEW v_etat_indicateurs IS 'État de chaque indicateur : publié (au moins 500 communes, EPCI, IRIS ou QPV, ou 90 départements, une année), extrait (moins), sans valeur, et pourquoi.';
COMMENT ON COLUMN v_etat_indicateurs.indicator_id IS 'Identifiant de l''indicateur';
COMMENT ON COLUMN v_etat_indicateurs.indicateur IS 'Intitulé de l''indicateur';
COMMENT ON COLUMN v_etat_indicateurs.theme IS 'Thème';
COMMENT ON COLUMN v_etat_indicateurs.categorie IS 'Catégorie de disponibilité (A, B : données ouvertes)';
COMMENT ON COLUMN v_etat_indicateurs.etat IS 'publié, extrait ou sans valeur';
COMMENT ON COLUMN v_etat_indicateurs.niveaux IS 'Niveaux publiés et plus grand nombre de territoires une année';
COMMENT ON COLUMN v_etat_indicateurs.premiere_annee IS 'Première année publiée';
COMMENT ON COLUMN v_etat_indicateurs.derniere_annee IS 'Dernière année publiée';
COMMENT ON COLUMN v_etat_indicateurs.motif IS 'Pourquoi aucune valeur n''est publiée';

CREATE VIEW v_indice AS
SELECT r.index_id, i.label_fr AS indice, r.version, r."year" AS annee,
  t.territory_id, t.level AS niveau, t.code, t.name AS nom,
  o.value AS valeur, o.obs_status AS statut, o.grade AS qualite,
  r.universe AS univers_id, u.name AS univers, r."rank" AS rang, r.n AS classes,
  r.rank_lower AS rang_inf, r.rank_upper AS rang_sup, r.loo_lower AS rang_sans_une_inf, r.loo_upper AS rang_sans_une_sup,
  t.population, d.name AS departement
FROM composite_rank r
JOIN territory t ON t.territory_id = r.territory_id
JOIN indicator i ON i.indicator_id = r.index_id
LEFT JOIN territory u ON u.territory_id = r.universe
LEFT JOIN territory d ON d.territory_id = t.departement_id
LEFT JOIN observation o ON o.indicator_id = r.index_id AND o.territory_id = r.territory_id AND o."year" = r."year"
  AND o.sex = '_T' AND o.age = '_T' AND o.reference = '_Z';
COMMENT ON VIEW v_indice IS 'Indices composites des communes et des EPCI, avec leur rang et ce qui peut le déplacer : une ligne par indice, territoire et univers de classement.';
COMMENT ON COLUMN v_indice.index_id IS 'Identifiant de l''indice';
COMMENT ON COLUMN v_indice.indice IS 'Intitulé de l''indice';
COMMENT ON COLUMN v_indice.version IS 'Version de la déclaration';
COMMENT ON COLUMN v_indice.annee IS 'Année de l''indice';
COMMENT ON COLUMN v_indice.territory_id IS 'Identifiant du territoire';
COMMENT ON COLUMN v_indice.niveau IS 'Niveau du territoire';
COMMENT ON COLUMN v_indice.code IS 'Code officiel';
COMMENT ON COLUMN v_indice.nom IS 'Nom';
COMMENT ON COLUMN v_indice.valeur IS 'Indice';
COMMENT ON COLUMN v_indice.statut IS 'Statut de l''observation (E : une composante est estimée)';
COMMENT ON COLUMN v_indice.qualite IS 'Qualité de la valeur';
COMMENT ON COLUMN v_indice.univers_id IS 'Identifiant du territoire dont les membres sont classés ensemble';
COMMENT ON COLUMN v_indice.univers IS 'Nom de ce territoire';
COMMENT ON COLUMN v_indice.rang IS 'Rang : 1 pour l''indice le plus élevé';
COMMENT ON COLUMN v_indice.classes IS 'Territoires classés';
COMMENT ON COLUMN v_indice.rang_inf IS 'Rang : borne inférieure à 90 % (poids, normalisation, agrégation tirés au sort)';
COMMENT ON COLUMN v_indice.rang_sup IS 'Rang : borne supérieure à 90 %';
COMMENT ON COLUMN v_indice.rang_sans_une_inf IS 'Meilleur rang quand une composante est ôtée';
COMMENT ON COLUMN v_indice.rang_sans_une_sup IS 'Dernier rang quand une composante est ôtée';
COMMENT ON COLUMN v_indice.population IS 'Population municipale';
COMMENT ON COLUMN v_indice.departement IS 'Nom du département';

CREATE VIEW v_indice_composantes AS
SELECT c.index_id, x.label_fr AS indice, c.version, c."year" AS annee, t.territory_id, t.level AS niveau, t.name AS nom,
  c.dimension, c.indicator_id, i.label_fr AS composante, c.component_year AS annee_composante, c.raw AS valeur,
  i.unit AS unite, c.score, c.contribution
FROM composite_component c
JOIN territory t ON t.territory_id = c.territory_id
JOIN indicator x ON x.indicator_id = c.index_id
JOIN indicator i ON i.indicator_id = c.indicator_id;
COMMENT ON VIEW v_indice_composantes IS 'Ce qui fait un indice composite : une ligne par indice, territoire et composante ; les contributions s''ajoutent à l''indice.';
COMMENT ON COLUMN v_indice_composantes.index_id IS 'Identifiant de l''indice';
COMMENT ON COLUMN v_indice_composantes.indice IS 'Intitulé de l''indice';
COMMENT ON COLUMN v_indice_composantes.version IS 'Version de la déclaration';
COMMENT ON COLUMN v_indice_composantes.annee IS 'Année de l''indice';
COMMENT ON COLUMN v_indice_composantes.territory_id IS 'Identifiant du territoire';
COMMENT ON COLUMN v_indice_composantes.niveau IS 'Niveau du territoire';
COMMENT ON COLUMN v_indice_composantes.nom IS 'Nom';
COMMENT ON COLUMN v_indice_composantes.dimension IS 'Dimension';
COMMENT ON COLUMN v_indice_composantes.indicator_id IS 'Identifiant de la composante';
COMMENT ON COLUMN v_indice_composantes.composante IS 'Intitulé de la composante';
COMMENT ON COLUMN v_indice_composantes.annee_composante IS 'Année à laquelle elle est lue';
COMMENT ON COLUMN v_indice_composantes.valeur IS 'Valeur de la composante';
COMMENT ON COLUMN v_indice_composantes.unite IS 'Unité de la valeur';
COMMENT ON COLUMN v_indice_composantes.score IS 'Score entre les bornes figées';
COMMENT ON COLUMN v_indice_composantes.contribution IS 'Part de l''indice qui lui revient';
