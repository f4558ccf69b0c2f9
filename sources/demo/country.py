"""The fictional country's geography: communes from 2014 to 2026, their events, and what they belong to.

The smallest piece is an atom, a commune of 2014 (or an arrondissement of the big city): the communes of any
year are sets of atoms, so a figure summed by atom is exact in every year's geography.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from math import ceil

import numpy as np

YEARS = range(2014, 2027)  # years of the official geography, at 1 January
LEAST_COMMUNES = 60  # below this there is no room for the events that the demonstration tells
BLOCK = 20  # communes of an intercommunality
DISTRICTS = 4  # parts of the big city, its arrondissements municipaux
EPCI_FAMILY, EPT_FAMILY = "2999", "2998"  # first digits of their SIREN
PLAIN_CODES = 979  # numbers of three digits in a département; above are the arrondissements municipaux
_LETTERS = "ABCDFGHJKLMNPQRSTVWXYZ"  # no vowel but A: 96E10 would be a number, and no word is spelt
_SIGNS = "0123456789" + _LETTERS
ARM_PREFIX = "9698"  # of their codes
BIG_CITY = "Fictive-la-Grande"
NO_EPCI = ""
METRO = "FM"  # the whole country, as the core calls it; the producer's files call it 1


def words(text: str) -> tuple[str, ...]:
    """A list of names written as a line of text."""
    return tuple(text.split())


_FIRST = words(
    """
    Fictive Imaginaire Exempleville Modèleville Supposée Inventée Hypothèse Fabuleuse Témoin Essai
    Feinte Cœur-Simulé Légende Chimère Utopie Songe Mirage Parabole
    """
)
_SECOND = words(
    """
    sur-Exemple lès-Modèle la-Feinte le-Conte en-Hypothèse sous-Réserve d'Essai aux-Nombres de-Papier
    les-Ébauches l'Imaginaire du-Brouillon sur-Mesure en-Chiffres des-Fables
    """
)


def departement_codes(count: int) -> list[str]:
    """Codes of two digits that no real département bears; beyond four, real codes under invented names.

    The départements of Paris, Lyon and Marseille are left out: some of their codes mean arrondissements.
    """
    real = [f"{d:02d}" for d in range(1, 96) if d not in (13, 20, 69, 75)]
    return ["96", "99", "00", "20", *real][:count]


def commune_code(departement: str, number: int) -> str:
    """Code of the nth commune of a département. INSEE's codes have room for 999 at most; those beyond have a letter."""
    if number <= PLAIN_CODES:
        return f"{departement}{number:03d}"
    rest, last = divmod(number - PLAIN_CODES - 1, len(_SIGNS))
    first, middle = divmod(rest, len(_SIGNS))
    return f"{departement}{_LETTERS[first]}{_SIGNS[middle]}{_SIGNS[last]}"


def siren(family: str, number: int) -> str:
    """An invented SIREN: its control digit (Luhn) is wrong, so no body can ever bear it.

    A family holds 10,000 numbers; EPCI beyond have numbers below those of the EPT.
    """
    digits = f"{family}{number:04d}" if number < 10_000 else str(int(f"{EPT_FAMILY}0000") - number)
    doubled = [int(c) * (1 + i % 2) for i, c in enumerate(digits)]
    right = -sum(d // 10 + d % 10 for d in doubled) % 10
    return f"{digits}{(right + 5) % 10}"


def region_codes(count: int) -> list[str]:
    """Codes of two digits that no real région bears; 99 is also a département, as 11 is in real files."""
    real = {1, 2, 3, 4, 6, 11, 24, 27, 28, 32, 44, 52, 53, 75, 76, 84, 93, 94}
    return [f"{c:02d}" for c in range(99, 0, -1) if c not in real][:count]


def commune_names(count: int) -> list[str]:
    """Distinct invented names, each saying that it is fictional."""
    pairs = len(_FIRST) * len(_SECOND)
    names: list[str] = []
    for i in range(count):
        first, second = _FIRST[i % len(_FIRST)], _SECOND[(i + i // len(_FIRST)) % len(_SECOND)]
        turn = i // pairs
        names.append(f"{first}-{second}{f'-{turn + 1}' if turn else ''} (fictif)")
    return names


@dataclass
class Register:
    """The civil register while it is being written: who bears which code, and the lines of events."""

    code: list[str]  # by atom
    name: dict[str, str]  # communes that exist
    delegated: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])  # name, parent
    events: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    atoms: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    parts: dict[str, set[str]] = field(default_factory=dict[str, set[str]])  # parent -> its delegated communes

    def __post_init__(self) -> None:
        for atom, code in enumerate(self.code):
            self.atoms.setdefault(code, []).append(atom)

    def _event(self, mod: int, date: str, *sides: str) -> None:
        """One line: type, code and name before, then after."""
        self.events.append((str(mod), date, *sides))

    def merge(self, date: str, codes: list[str], into: str, name: str) -> None:
        """A new commune replaces `codes`; those that were plain communes become delegated ones."""
        plain = [code for code in codes if not self.parts.get(code)]
        for code in codes:
            old = self.name[code]
            self._event(32, date, "COM", code, old, "COM", into, name)
            if code in plain:
                self._event(32, date, "COM", code, old, "COMD", code, old)
        moved = {part: self.delegated[part][0] for code in codes for part in self.parts.pop(code, ())}
        self._delegate(moved | {code: self.name[code] for code in plain}, into)
        atoms = sorted(a for code in codes for a in self.atoms.pop(code))
        for code in codes:
            del self.name[code]
        self._bear(into, name, atoms)

    def recode(self, mod: int, date: str, code: str, to: str) -> None:
        """The same commune under another code (41: other département; 50: other seat)."""
        name = self.name.pop(code)
        self._event(mod, date, "COM", code, name, "COM", to, name)
        self._delegate({part: self.delegated[part][0] for part in self.parts.pop(code, ())}, to)
        self._bear(to, name, self.atoms.pop(code))

    def rename(self, date: str, code: str, name: str) -> None:
        self._event(10, date, "COM", code, self.name[code], "COM", code, name)
        self.name[code] = name

    def split(self, date: str, code: str) -> None:
        """The delegated communes of a new commune become communes again."""
        old, atoms = self.name.pop(code), self.atoms.pop(code)
        parts = self._undelegate(code)
        for part, name in parts:
            self._event(21, date, "COMD", part, name, "COM", part, name)
            self._event(21, date, "COM", code, old, "COM", part, name)
        for (part, name), atom in zip(parts, atoms, strict=True):
            self._bear(part, name, [atom])

    def drop_delegated(self, date: str, code: str, *, moves: bool = False) -> None:
        """The delegated communes of `code` cease to exist; a line says so of the commune too, unless it
        moves.
        """
        for part, name in self._undelegate(code):
            self._event(35, date, "COMD", part, name, "COM", code, self.name[code])
        if not moves:
            self._event(35, date, "COM", code, self.name[code], "COM", code, self.name[code])

    def _delegate(self, parts: dict[str, str], parent: str) -> None:
        """Those codes, under their names, become delegated communes of `parent`."""
        self.delegated |= {part: (name, parent) for part, name in parts.items()}
        self.parts.setdefault(parent, set()).update(parts)

    def _undelegate(self, parent: str) -> list[tuple[str, str]]:
        """Takes away the delegated communes of `parent`: their codes and names, sorted."""
        return sorted((part, self.delegated.pop(part)[0]) for part in self.parts.pop(parent, ()))

    def _bear(self, code: str, name: str, atoms: list[int]) -> None:
        self.name[code] = name
        self.atoms[code] = atoms
        for atom in atoms:
            self.code[atom] = code


@dataclass(frozen=True)
class Country:
    """The geography of every year. Arrays have one cell per atom; '' stands for `none`."""

    home: np.ndarray  # code of the atom's commune in 2014
    arm: np.ndarray  # arrondissement municipal, '' outside the big city
    codes: dict[int, np.ndarray]  # COG year -> commune
    names: dict[int, dict[str, str]]  # COG year -> commune -> name
    delegated: dict[int, dict[str, tuple[str, str]]]  # COG year -> COMD -> name, parent
    epci: dict[int, np.ndarray]  # year -> SIREN
    epci_names: dict[str, tuple[str, str]]  # SIREN -> name, nature
    ept: np.ndarray
    arrondissement: dict[str, str]  # commune code -> last character of its arrondissement
    regions: dict[str, str]  # département -> région
    zones: dict[str, str]  # département -> employment zone
    zone_names: dict[tuple[str, str], str]  # (level, code) -> name
    events: tuple[tuple[str, ...], ...]  # mod, date, typecom, code, name, typecom, code, name; oldest first

    @property
    def city(self) -> np.ndarray:
        """Which atoms make the big city."""
        return self.home == self.home[0]

    @property
    def arms(self) -> list[str]:
        """Codes of the arrondissements municipaux."""
        return sorted(set(self.arm.tolist()) - {""})

    def territory(self, level: str, year: int) -> np.ndarray:
        """Code of each atom's territory of that level at 1 January of `year`."""
        codes = self.codes[year]
        if level in ("METRO", "FRANCE"):
            return np.full(codes.size, METRO if level == "METRO" else "F")
        own = {"COM": codes, "ARM": self.arm, "EPCI": self.epci[year], "EPT": self.ept}
        if level in own:
            return own[level]
        departement = codes.astype("<U2")
        if level == "ARR":
            return np.strings.add(departement, np.array([self.arrondissement[c] for c in codes.tolist()]))
        above = {"DEP": dict(zip(self.regions, self.regions, strict=True)), "REG": self.regions, "ZE": self.zones}
        if level not in above:
            raise ValueError(f"unknown level {level!r}")
        return np.array([above[level][d] for d in departement.tolist()])

    def name(self, level: str, code: str, year: int) -> str:
        """The name of a territory of that year."""
        if level in ("COM", "ARM"):
            return self.names[year].get(code) or self.zone_names["ARM", code]
        if level == "EPCI":
            return self.epci_names[code][0]
        return self.zone_names[level, code]


def build_country(communes: int, *, districts: bool = True) -> Country:
    """The country of that many communes (of 2014). Nothing here is random: the same size, the same map.

    districts: whether the big city's four parts are arrondissements municipaux. Raises ValueError when the
    country is too small for its story.
    """
    if communes < LEAST_COMMUNES:
        raise ValueError(f"at least {LEAST_COMMUNES} communes, {communes} asked")
    home, number, departements = _first_codes(communes)
    arm = np.full(home.size, "", dtype="<U5")
    if districts:
        arm[:DISTRICTS] = [f"{ARM_PREFIX}{i + 1}" for i in range(DISTRICTS)]
    names = commune_names(communes)
    names[0] = f"{BIG_CITY} (fictif)"
    register = Register(home.tolist(), dict(zip(dict.fromkeys(home.tolist()), names, strict=True)))
    half = communes / len(departements) / 2
    arrondissement = {c: "1" if n + 1 <= half else "2" for c, n in zip(home.tolist(), number.tolist(), strict=True)}
    codes: dict[int, np.ndarray] = {}
    year_names: dict[int, dict[str, str]] = {}
    delegated: dict[int, dict[str, tuple[str, str]]] = {}
    pairs = _pairs(departements, communes)
    for year in YEARS:
        for step in _STORY.get(year, ()):
            _happen(register, step, departements, communes)
        if year in _STORY and year not in _QUIET_YEARS:
            for pair in islice(pairs, communes // 400):
                _merge(register, f"{year}-01-01", pair)
        codes[year] = np.array(register.code)
        year_names[year] = dict(register.name)
        delegated[year] = dict(register.delegated)
    for seen in codes.values():
        for code in seen.tolist():
            arrondissement.setdefault(code, "1")
    epci, epci_names, ept = _intercommunalities(home, number, codes, departements)
    regions = _regions(departements)
    zones = {d: f"{r}{i + 1:02d}" for i, (d, r) in enumerate(regions.items())}
    return Country(
        home,
        arm,
        codes,
        year_names,
        delegated,
        epci,
        epci_names,
        ept,
        arrondissement,
        regions,
        zones,
        _zone_names(departements, regions, zones, arm),
        tuple(sorted(register.events, key=lambda e: e[1])),
    )


def _first_codes(communes: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """By atom: the code of its commune in 2014, the rank of this commune in its département; the départements."""
    departements = departement_codes(max(3, ceil(communes / 900)))
    shares = np.array_split(np.arange(communes), len(departements))
    number = np.concatenate([np.arange(share.size) for share in shares])
    codes = [commune_code(d, i + 1) for d, share in zip(departements, shares, strict=True) for i in range(share.size)]
    more = DISTRICTS - 1  # atoms of the big city, the first commune
    return np.array(codes[:1] * more + codes), np.concatenate([np.zeros(more, dtype=int), number]), departements


# What happens before 1 January of each year: a merger, a chain of mergers, a change of département, two hops
# on one day, a code that flips and flips back, a true split, a year without any change (2020), a change of
# name. Letters stand for the first three départements; `b+1` is a code never used before.
_STORY: dict[int, tuple[tuple[str, ...], ...]] = {
    2016: (("merge", "2016-01-01", "b002", "b003"),),
    2017: (
        ("departement", "2016-12-31", "c003", "b+1"),
        ("merge", "2017-01-01", "b006", "b007", "b008"),
        ("merge", "2017-01-01", "b010", "b011"),
    ),
    2018: (
        ("departement", "2018-01-01", "c005", "b+2"),
        ("merge", "2018-01-01", "b013", "b+2"),
        ("merge", "2018-01-01", "c007", "c008"),
    ),
    2019: (("merge", "2019-01-01", "b002", "b004"),),
    2021: (
        ("split", "2021-01-01", "b010"),
        ("drop_moving", "2021-01-01", "b006"),
        ("seat", "2021-01-01", "b006", "b007"),
    ),
    2022: (("merge", "2022-01-01", "c010", "c011"), ("merge", "2022-01-01", "b015", "b016")),
    2023: (("seat", "2023-01-01", "b007", "b006"), ("drop", "2023-01-01", "b002")),
    2024: (("merge", "2024-01-01", "c013", "c014"), ("rename", "2024-01-01", "c015")),
    2025: (("seat", "2024-03-15", "c007", "c008"), ("merge", "2025-01-01", "a007", "a008")),
    2026: (("merge", "2026-01-01", "a010", "a011"),),
}
_QUIET_YEARS = (2020, 2021, 2023)  # no merger but those of the story


def _happen(register: Register, step: tuple[str, ...], departements: list[str], communes: int) -> None:
    """One step of the story."""
    verb, date, *places = step
    letters = dict(zip("abc", departements, strict=False))
    unused = communes // len(departements) + 40
    codes = [commune_code(letters[p[0]], unused + int(p[2:])) if p[1] == "+" else letters[p[0]] + p[1:] for p in places]
    if verb == "merge":
        _merge(register, date, codes)
    elif verb in ("departement", "seat"):
        register.recode(41 if verb == "departement" else 50, date, codes[0], codes[1])
    elif verb == "split":
        register.split(date, codes[0])
    elif verb == "rename":
        register.rename(date, codes[0], "Nouveau-Nom-sur-Exemple (fictif)")
    else:
        register.drop_delegated(date, codes[0], moves=verb == "drop_moving")


def _merge(register: Register, date: str, codes: list[str]) -> None:
    name = register.name[codes[0]].removesuffix(" (fictif)").removesuffix("-et-Alentours")
    register.merge(date, codes, codes[0], f"{name}-et-Alentours (fictif)")


def _pairs(departements: list[str], communes: int) -> Iterator[list[str]]:
    """Neighbours that merge in large countries, away from the communes of the story."""
    for number in range(31, communes // len(departements), 10):
        for d in departements:
            yield [commune_code(d, number), commune_code(d, number + 1)]


def _intercommunalities(
    home: np.ndarray, number: np.ndarray, codes: dict[int, np.ndarray], departements: list[str]
) -> tuple[dict[int, np.ndarray], dict[str, tuple[str, str]], np.ndarray]:
    """SIREN by atom for each year: small ones until 2016, unions in 2017, one commune that moves in 2020, a
    union of two under a new SIREN in 2022, an island in none.
    """
    rank = np.array([departements.index(c[:2]) for c in home.tolist()])
    size = int(number.max()) + 1
    blocks = max(1, size // BLOCK)
    block = rank * blocks + np.minimum(number // BLOCK, blocks - 1)
    half = (number % BLOCK >= BLOCK // 2) & (block % 2 == 0)
    count = int(block.max()) + 1
    mover = np.flatnonzero(home == f"{departements[0]}016")
    island = home == f"{departements[0]}013"
    sirens = np.array([siren(EPCI_FAMILY, i) for i in range(2 * count + 1)])
    epci: dict[int, np.ndarray] = {}
    for year, code in codes.items():
        group = block + count * half if year <= 2016 else block.copy()
        if year >= 2020:
            group[mover] = (block[mover] + 1) % count
        if year >= 2022 and count > 2:
            group[np.isin(group, (count - 2, count - 1))] = 2 * count
        of = sirens[group]
        of[island] = NO_EPCI
        _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
        epci[year] = of[first][inverse]  # a commune has one EPCI: its first atom's
    names = {s: (f"CC de l'Exemple n° {i} (fictif)", "CC") for i, s in enumerate(sirens.tolist())}
    names[sirens[0]] = ("Métropole de la Fiction (fictif)", "METRO")
    for i in range(1, count, 3):
        names[sirens[i]] = (f"CA de l'Exemple n° {i} (fictif)", "CA")
    ept = np.full(home.size, "", dtype="<U9")
    ept[epci[2022] == sirens[0]] = siren(EPT_FAMILY, 2)
    ept[home == home[0]] = siren(EPT_FAMILY, 1)
    return epci, names, ept


def _regions(departements: list[str]) -> dict[str, str]:
    """The first département alone is a région; the others share régions by eight."""
    codes = region_codes(2 + len(departements) // 8)
    return {d: codes[1] if i == 0 else codes[0 if i < 8 else 1 + i // 8] for i, d in enumerate(departements)}


def _zone_names(
    departements: list[str], regions: dict[str, str], zones: dict[str, str], arm: np.ndarray
) -> dict[tuple[str, str], str]:
    titles = ("Exemplaire", "Hypothèse", "Conte-et-Feinte")
    names = {("METRO", METRO): "Pays fictif"}
    for i, d in enumerate(departements):
        title = titles[i] if i < len(titles) else f"Département {d}"
        names["DEP", d] = f"{title} (fictif)"
        names["ZE", zones[d]] = f"Bassin d'emploi {title} (fictif)"
        names["ARR", f"{d}1"], names["ARR", f"{d}2"] = f"{title}-Nord (fictif)", f"{title}-Sud (fictif)"
    for r in dict.fromkeys(regions.values()):
        names["REG", r] = f"Région {r} du pays fictif"
    for i, code in enumerate(sorted(set(arm.tolist()) - {""})):
        names["ARM", code] = f"{BIG_CITY} {i + 1}{'er' if i == 0 else 'e'} Arrondissement (fictif)"
    for number in (1, 2):
        names["EPT", siren(EPT_FAMILY, number)] = f"EPT de la Fiction n° {number} (fictif)"
    return names
