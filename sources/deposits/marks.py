"""What names, numbers and addresses of people look like in a cell or a header: words and patterns, no decision.

Patterns are of two writings: `text` (spaces and dashes tidied, case and accents kept) and `plain` (without accents nor
capitals). Those of `MARKS` are read by polars, which has no look-around.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

import polars as pl
import yaml

from sources.deposits.identifiers import IBAN, NIR

_PERSONS = (
    r"(allocataires?|beneficiaires?|usagers?|assures?|demandeurs?|enfants?|eleves?|patients?|conjoint|pere|mere|parent"
    r"|referent|tuteur|agent|personnes?|adherents?|clients?|locataires?|titulaires?|responsables?|contact|salaries?)"
)
_NUMBER = r"(n|no|nr|num|numero|id|ident|identifiant|matricule)"

# Headers, as `phrase` writes them: searched in a header, the whole of a cell that stands as header.
NIR_TITLE = rf"\b(nir|nia|nss|nirpp|{_NUMBER} (de )?(la )?(secu|ss|nir|insee)|secu(rite)? sociale|(num|no) ?secu)\b"
CAF_TITLE = (
    rf"\bmatricule\b|\b{_NUMBER} ?(d |de |de l |de la )?(allo|alloc|allocataires?|caf|cnaf)\b"
    rf"|\b(allocataire|alloc|caf) {_NUMBER}\b|\b(no|num)allo\w*"
)
NAME_TITLE = (
    r"\bprenoms?\b|\bpatronymes?\b|\bfirst ?name\b|\blast ?name\b|\bsurname\b|^identite$|^nom complet$"
    r"|\bnoms? (de )?(naissance|famille|jeune fille|usage|marital|epouse|patronymique)\b"
    rf"|\bnoms? (et )?prenoms?\b|\bnoms? (du |de la |de l |des |d un |d une )?{_PERSONS}\b"
)
FIRST_NAME_TITLE = r"^prenoms?\b|\bprenoms?$|\bfirst ?name\b"
BARE_NAME_TITLE = rf"^(noms?|name|{_PERSONS})$"
BIRTH_TITLE = (
    r"\b(date|jour|dt|dat|d|mois) ?(de )?(la )?nais(s|sance)?\b|\bddn\b|\bnee? le\b|\bne e le\b|^naissance$|^nee?$"
    r"|\bd(a|at|ate|t)?nais\w*|\bbirth ?(date|day)\b|\bdate of birth\b|\bdob\b"
)
PHONE_TITLE = r"\b(tel|tels|telephones?|portables?|mobile|gsm|phone|fixe)\b"
ADDRESS_TITLE = r"\b(adresses?|adr|domicile|rue|voie)\b"
TITLES = (NIR_TITLE, CAF_TITLE, NAME_TITLE, BARE_NAME_TITLE, BIRTH_TITLE, PHONE_TITLE, ADDRESS_TITLE)

# A header that says a quantity announces no person: « Nombre d'allocataires », « Part des prénoms rares ».
QUANTITY_TITLE = (
    r"\b(nombre|nb|nbre|nbr|effectifs?|total|part|taux|montants?|somme|population|moyenne|mediane|pct|pourcentage)\b"
)
PLACE_TITLE = (
    r"\b(communes?|villes?|ecoles?|colleges?|lycees?|etabliss\w*|structures?|associations?|quartiers?|qpv|iris|rues?"
    r"|voies?|lieux?|libelles?|lib\w*|equipements?|centres?|epci|cantons?|departements?|regions?|territoires?"
    r"|raison sociale|ncc\w*)\b"
)
# Headers that may be shown beside a name found under them: nobody is called so.
ORDINARY_TITLE = (
    r"\b(commentaires?|observations?|remarques?|notes?|texte|precisions?|motifs?|divers|infos?|informations?"
    rf"|colonne|col|champ|maires?|civilite)\b|{PLACE_TITLE}|{NAME_TITLE}|{BARE_NAME_TITLE}"
)

SCHOOL = r"\b(ecoles?|colleges?|lycees?|groupe scolaire|e e? ?pu|eepu|empu|creches?|gymnase|maternelle|elementaire)\b"
# A text with one of these is the name of a place.
_PLACE_WORDS = """
    saint sainte st ste ecole college lycee groupe rue avenue boulevard place square quartier cite residence centre
    ville nord sud est ouest bourg gare mairie hopital foyer maison parc bois zone secteur canton commune communaute
    pays les aux sur sous en et bas haut vieux grand grande petit petite mont val ile iles total ensemble autres autre
"""
NOT_IN_A_NAME = frozenset(_PLACE_WORDS.split())

STREET = (
    "rue|avenue|ave|av|boulevard|bld|blvd|bvd|bd|impasse|imp|allees?|all|chemin|che|chem|quai|ruelle|sentier|sente"
    "|route|rte"
)
# Words that also say something else (12 places, 3 cours): they count with a postcode or under a header.
PERHAPS_A_STREET = (
    "r|place|pl|square|sq|cours|cite|residence|res|lotissement|lot|passage|villa|hameau|voie|mail|clos|domaine"
    "|promenade|esplanade|parvis|montee|cour|faubourg|fbg|fg|batiment|bat|appartement|apt|lieu dit|parc"
)
_LINK = r"(?:de la |de l ?|des |du |de |d |la |le |les |l )?"
_HOUSE = r"(?:^|[^\d.,])\d{1,4}(?: ?(?:bis|ter|quater|[a-e]))?[ ,]{1,3}"

_MONTHS = r"janv\w*|fevr?\w*|mars|avr\w*|mai|juin|juil\w*|aout|sept?\w*|oct\w*|nov\w*|dec\w*"
_DAY, _MONTH, _YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])", r"(?:19\d\d|20\d\d)"
_DATE = (
    rf"(?:{_DAY}[/.\- ]{{1,2}}{_MONTH}[/.\- ]{{1,2}}(?:{_YEAR}|\d\d)"
    rf"|{_YEAR}[/.\-]{_MONTH}[/.\-]{_DAY}|{_DAY}(?:er)? ?(?:{_MONTHS})\.? {_YEAR})"
)
_SERIALS = (2923, 48_000)  # days that Excel counts from 1900: 1908 to 2031

_AT = r"(?:@|[(\[{<] ?(?:at|arobase|a) ?[)\]}>]|\barobase\b)"
_DOT = r"(?:\.|[(\[{<] ?(?:dot|point) ?[)\]}>]|\bpoint\b)"

_ABROAD = r"(?:\+ ?33|00 ?33)[ .\-/]{0,2}(?:\(0\))?[ .\-]?0?[1-9](?:[ .\-/]?\d){8}"
_PAIRS = r"\(?0 ?[1-9]\)?(?:[ .\-/]{1,3}\d\d){4}"
_OTHER_GROUPS = r"0[1-9]\d\d(?: \d{3}){2}|0[1-9]\d\d(?: \d\d){3}|0[1-9] \d{3}(?: \d\d){2} ?\d|0[1-9] \d{4} \d{4}"

_NAME = r"(?:et (?:Mme|M\.) )?(?:[Dd][eEu] |[Dd]')?[A-ZÀ-Ý][\w'\-]+"
_TITLED = (
    r"(?:^|[^\w.])(?:(?:M\.|MM\.|Mr\.|Mme\.|Mlle\.|MME\.|MLLE\.) ?"
    rf"|(?:Mr|Mme|MME|Mlle|MLLE|Monsieur|Madame|Mademoiselle|MONSIEUR|MADAME|MR) ){_NAME}"
    r"|[a-zà-ÿ]{2,},? M [A-ZÀ-Ý][A-ZÀ-Ýa-zà-ÿ]+"
)
_TITLED_LOW = r"(?:^|[^\w.])(?:(?:mme|mlle|monsieur|madame|mr)[. ] ?|m\. ?)[a-z][a-z\-]{2,}"
_OFFICE = r"\b(?:monsieur|madame|mme|m\.) (?:le|la|les|l|de la|du|des|monsieur|madame) "
_GIVEN = r"[A-ZÀ-Ý][a-zà-ÿ]+(?:-[A-ZÀ-Ý]?[a-zà-ÿ]+)?"
CASED_NAME = rf"\b(?:[A-ZÀ-Ý][A-ZÀ-Ý'\-]{{2,}} {_GIVEN}|{_GIVEN} [A-ZÀ-Ý][A-ZÀ-Ý'\-]{{2,}})\b"


def plain_of(text: pl.Expr) -> pl.Expr:
    """Without accents nor capitals, apostrophes and underscores as spaces."""
    return text.str.normalize("NFD").str.replace_all(r"\p{M}", "").str.to_lowercase().str.replace_all(r"['’_`]", " ")


def _marks() -> dict[str, pl.Expr]:
    """What a cell's `text`, `plain` and `whole` (digits of a whole number) satisfy, by name."""
    text, plain, whole = pl.col("text"), pl.col("plain"), pl.col("whole")
    flat = plain.str.replace_all(r"[-.]", " ")
    bare = text.str.replace(r"[.,]0+$", "").str.replace_all(r"[ .\-/]", "")
    digits = text.str.replace(r"[.,]0+$", "").str.replace_all(r"[^\d]", "")
    day = text.str.replace(r"[ T]00:00(:00(\.0+)?)?$", "").str.replace_all(r"[.\- ]", "/")
    school = plain.str.contains(SCHOOL)
    street = flat.str.contains(rf"{_HOUSE}(?:{STREET}) +{_LINK}[a-z]{{2,}}")
    perhaps = flat.str.contains(rf"{_HOUSE}(?:{PERHAPS_A_STREET}) +{_LINK}[a-z]{{2,}}")
    postcode = flat.str.contains(r"\b\d{5} +[a-z]{2,}|\bcedex\b")
    serial = whole.str.contains(r"^\d{4,5}$") & whole.cast(pl.Int64, strict=False).is_between(*_SERIALS)
    month_day = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    compact = whole.str.contains(rf"^(?:{_YEAR}{month_day}|\d{{1,2}}(?:0[1-9]|1[0-2]){_YEAR})$")
    return {
        "nir": whole.str.len_chars().is_in([13, 15]) | text.str.contains(NIR),
        "nir_length": whole.str.len_chars().is_in([13, 15]),
        "nir_word": plain.str.contains(r"\b(nir|nss|secu\w*|insee)\b"),
        "nir_rounded": text.str.contains(r"^[12](?:[.,]\d+)?[eE]\+?1[24]$"),  # Excel's 1.84059E+14
        "iban": text.str.contains(IBAN),
        "email": plain.str.contains(rf"[a-z0-9._%+\-]+ ?{_AT} ?[a-z0-9.\-]+ ?{_DOT} ?[a-z]{{2,}}"),
        "phone": text.str.contains(rf"(?:^|[^\d.,])(?:{_ABROAD}|{_PAIRS}|{_OTHER_GROUPS})(?:$|[^\d])")
        | (text.str.contains(r"(?:^|[^\d.,])0[1-9]\d{8}(?:$|[^\d])") & plain.str.contains("[a-z]{3}")),
        "phone_piece": text.str.contains(r"^(?:0|33)[1-9]\d{8}$"),
        "phone_digits": digits.str.contains(r"^(?:(?:00)?33|0)?[1-9]\d{8}$"),
        "caf": plain.str.contains(
            r"\b(?:alloc|allocataire|matricule|caf)\b[^a-z0-9]{0,3}(?:(?:numero|num|no|n|caf|:)[^a-z0-9]{0,3}){0,2}"
            r"\d{7} ?[a-z]?\b"
        ),
        "caf_digits": bare.str.contains(r"^\d{6,7}[A-Za-z]?$"),
        "caf_letter": bare.str.contains(r"^\d{7}[A-Za-z]$"),
        "birth": plain.str.contains(rf"\b(?:nee?|ne\(e\)|naissance|naiss?|ddn)\b[^0-9]{{0,15}}{_DATE}(?:[^\d]|$)"),
        "date": plain.str.contains(rf"^(?:le )?{_DATE}(?:[^\d].*)?$")
        | plain.str.contains(rf"^{_MONTH}[/.\-]{_YEAR}$")
        | compact
        | (serial & ~whole.str.contains(rf"^{_YEAR}$")),
        "day": day.str.contains(rf"^(?:{_DAY}/{_MONTH}/{_YEAR}|{_YEAR}/{_MONTH}/{_DAY})$"),
        "address": (street | (perhaps & postcode)) & ~school,
        "address_line": street
        | perhaps
        | flat.str.contains(rf"\b(?:{STREET}|{PERHAPS_A_STREET}|bp|cs) +{_LINK}[a-z0-9]{{2,}}")
        | flat.str.contains(r"^\d{1,4}(?: ?(?:bis|ter))?[ ,]+[a-z]{3,}|\b\d{5} +[a-z]{3,}"),
        "titled": (text.str.contains(_TITLED) | plain.str.contains(_TITLED_LOW))
        & ~plain.str.contains(_OFFICE)
        & ~school,
        "cased": text.str.contains(CASED_NAME) & ~school,
        "words": plain.str.contains(r"^[a-z][a-z .,;/\-]+$"),
    }


MARKS = _marks()


def day_of(text: pl.Expr) -> pl.Expr:
    """The date of a text marked `day`."""
    written = text.str.slice(0, 10).str.replace_all(r"[.\- ]", "/")
    return pl.coalesce(written.str.to_date(form, strict=False) for form in ("%d/%m/%Y", "%Y/%m/%d"))


# --- names of people ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def names() -> dict[str, frozenset[str]]:
    """The lists of names.yaml: `prenoms` and `noms` by word, `eponymes` as whole names."""
    lists = yaml.load(Path(__file__).with_name("names.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    return {
        "prenoms": frozenset(lists["prenoms"].split()),
        "noms": frozenset(lists["noms"].split()),
        "eponymes": frozenset(e.strip() for e in lists["eponymes"].split(",")),
    }


def phrase(text: str) -> str:
    """A header as words: DateNaissance, DATE_NAISSANCE and « Date de naissance : » read alike."""
    words = re.sub(r"(?<=[a-zà-ÿ])(?=[A-ZÀ-Ý])", " ", re.sub("[°º]", " ", text))
    plain = "".join(c for c in unicodedata.normalize("NFD", words) if not unicodedata.combining(c))
    return " ".join(re.findall(r"[a-z0-9]+", plain.lower()))


def is_cased_name(text: str) -> bool:
    """Whether a first name stands beside a surname in capitals (Louis XIV has none)."""
    for match in re.finditer(CASED_NAME, text):
        given, surname = sorted(match[0].split(" "), key=str.isupper)
        words = phrase(match[0])
        if phrase(given).split(" ")[0] in names()["prenoms"] and words not in names()["eponymes"]:
            return not re.fullmatch(r"[IVXLC]+[\-']*", surname) and not NOT_IN_A_NAME & set(words.split(" "))
    return False


def is_person(plain: str) -> bool:
    """Whether a whole text without accents nor capitals is a first name and a surname, in either order."""
    words = re.split(r"[ ,;/]+", plain.strip(" .,;"))
    if not 2 <= len(words) <= 5 or not all(re.fullmatch(r"[a-z][a-z.\-]*", w) for w in words):
        return False
    parts = [part for w in words for part in w.split("-")]
    if NOT_IN_A_NAME & set(parts) or " ".join(parts) in names()["eponymes"]:
        return False
    return any(w.split("-")[0] in names()["prenoms"] for w in (words[0], words[-1]))


def is_first_name(plain: str) -> bool:
    """Whether a whole text is a first name, perhaps of two parts."""
    return bool(re.fullmatch(r"[a-z]+([ \-][a-z]+)?", plain)) and re.split("[ -]", plain)[0] in names()["prenoms"]


def is_known_name(plain: str) -> bool:
    """Whether a text of one or two words holds a frequent surname or first name."""
    words = re.split(r"[ \-]+", plain)
    return len(words) <= 2 and any(w in names()["noms"] or w in names()["prenoms"] for w in words)
