-- Fonctions qui rendent une valeur : écriture des nombres, texte affiché, recherche sans accent.
-- Chaque instruction doit s'exécuter dans DuckDB 1.4 comme dans la version courante.

CREATE MACRO arrondi_lecture(nombre) AS
  CASE WHEN abs(nombre) >= 1000 THEN round(nombre) WHEN abs(nombre) >= 1 THEN round(nombre, 1) ELSE round(nombre, 2) END;
COMMENT ON MACRO arrondi_lecture IS 'arrondi_lecture(nombre) : arrondi pour la lecture : à l''unité à partir de 1 000, au centième au-dessous de 1, au dixième sinon.';

CREATE MACRO nombre_fr(nombre) AS replace(replace(CASE
  WHEN arrondi_lecture(nombre) = round(arrondi_lecture(nombre)) THEN format('{:,.0f}', arrondi_lecture(nombre) + 0.0)
  WHEN abs(nombre) < 1 THEN rtrim(format('{:,.2f}', arrondi_lecture(nombre)), '0')
  ELSE format('{:,.1f}', arrondi_lecture(nombre))
END, ',', chr(8239)), '.', ',');
COMMENT ON MACRO nombre_fr IS 'nombre_fr(nombre) : un nombre comme on l''écrit en français (13 960 ; 12,5), arrondi pour la lecture.';

CREATE MACRO valeur_affichee(value, lower, upper, obs_status) AS CASE
  WHEN value IS NOT NULL AND obs_status IN ('E', 'I') THEN '≈ ' || nombre_fr(value)
  WHEN value IS NOT NULL AND obs_status = 'P' THEN nombre_fr(value) || ' (p)'
  WHEN value IS NOT NULL AND obs_status = 'U' THEN nombre_fr(value) || ' (peu fiable)'
  WHEN value IS NOT NULL THEN nombre_fr(value)
  WHEN upper IS NOT NULL AND coalesce(lower, 0) = 0 THEN '≤ ' || nombre_fr(upper)
  WHEN lower > 0 AND (upper IS NULL OR upper = 100) THEN '≥ ' || nombre_fr(lower)
  WHEN lower IS NOT NULL AND upper IS NOT NULL THEN 'entre ' || nombre_fr(lower) || ' et ' || nombre_fr(upper)
  WHEN obs_status = 'Q' THEN 'secret'
  WHEN obs_status = 'M' THEN 'sans objet'
  WHEN obs_status = 'N' THEN 'non significatif'
  WHEN obs_status = 'L' THEN 'non collecté'
  ELSE 'non disponible'
END;
COMMENT ON MACRO valeur_affichee IS 'valeur_affichee(value, lower, upper, obs_status) : la valeur telle qu''on la montre : un nombre, ≈ pour une estimation, (peu fiable) sous 200 personnes au recensement, ≤ ou ≥ pour une borne, secret, non disponible...';

CREATE MACRO sans_accent(texte) AS
  trim(regexp_replace(replace(replace(lower(strip_accents(texte)), 'œ', 'oe'), 'æ', 'ae'), '[^a-z0-9]+', ' ', 'g'));
COMMENT ON MACRO sans_accent IS 'sans_accent(texte) : le texte en minuscules, sans accent, tiret ni apostrophe, pour comparer des noms.';
