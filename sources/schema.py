"""The typed frames that parsers return: one schema for values, one for each kind of geography.

A row of values is (level, code, year, variable): canonical names, codes as text, a status beside each value.
"""

from __future__ import annotations

import polars as pl

LEVELS = ("IRIS", "QPV", "COM", "ARM", "EPCI", "EPT", "ARR", "ZE", "DEP", "REG", "METRO", "FRANCE")
OBS_STATUS = ("A", "B", "E", "I", "L", "M", "N", "O", "P", "Q", "U")
CONF_STATUS = ("F", "N", "C", "A", "O", "D")

Level = pl.Enum(LEVELS)
ObsStatus = pl.Enum(OBS_STATUS)
ConfStatus = pl.Enum(CONF_STATUS)

# value null -> obs_status says why; lower/upper are certain bounds (a rate printed 5 is [0, 5], value null).
VALUES: dict[str, pl.DataType | type[pl.DataType]] = {
    "level": Level,
    "code": pl.String,  # as in the COG of the edition
    "year": pl.Int16,  # year the value describes
    "variable": pl.Categorical,
    "value": pl.Float64,
    "lower": pl.Float64,
    "upper": pl.Float64,
    "obs_status": ObsStatus,
    "conf_status": ConfStatus,
    "mark": pl.Categorical,  # the producer's own mark (s, nd, ns, ...), null when there was none
    "masked_parts": pl.Int32,  # suppressed cells in a sum made here, else null
}

# One row per commune (or associated/delegated commune, arrondissement municipal) of one COG.
COMMUNES = {
    "typecom": pl.Enum(["COM", "COMA", "COMD", "ARM"]),
    "code": pl.String,
    "name": pl.String,
    "departement": pl.String,
    "region": pl.String,
    "arrondissement": pl.String,
    "parent": pl.String,  # commune of a COMA, COMD or ARM
}

# One row per line of INSEE's events file, exact duplicates removed.
EVENTS = {
    "mod": pl.Int16,
    "date": pl.Date,
    "type_before": pl.String,
    "code_before": pl.String,
    "name_before": pl.String,
    "type_after": pl.String,
    "code_after": pl.String,
    "name_after": pl.String,
}

# One row per département or région of one COG.
ZONES = {"level": Level, "code": pl.String, "name": pl.String, "region": pl.String}

# One row per commune and zone it belongs to (EPCI, EPT, ARR or ZE) on 1 January of one year.
COMPOSITION = {
    "level": Level,  # EPCI, EPT, ARR or ZE
    "code": pl.String,  # SIREN for EPCI and EPT
    "name": pl.String,
    "nature": pl.String,  # of an EPCI, as its source says it: CC, CA, CU, SAN, METRO, MET69, ME; else null
    "commune": pl.String,
}

# One row per IRIS of one geography year, undivided communes (type Z) included.
IRIS = {
    "code": pl.String,
    "name": pl.String,
    "type": pl.Enum(["H", "A", "D", "Z"]),  # housing, activity, other; Z: the IRIS is the commune
    "commune": pl.String,  # commune or arrondissement municipal
}

# One row per IRIS that has a part of another one's past: unchanged ones have no row.
IRIS_CHANGES = {
    "year": pl.Int16,  # geography year in which the change shows first
    "before": pl.String,
    "after": pl.String,  # the same code where the IRIS kept it
}

# One row per priority district (QPV) and commune it lies in.
QPV = {
    "code": pl.String,  # QP...: perimeters of 2015; QN...: of 2024
    "name": pl.String,  # null where the file gives none
    "commune_name": pl.String,  # as printed, null where the file gives none
    "commune": pl.String,  # code, null where the file gives names only
}
