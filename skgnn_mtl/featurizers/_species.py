"""From the text of a type symbol or a label to the elements of a site.

A type symbol states an element. A label suggests one: it is read where it has one
reading only, or where the chemical formula leaves one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ._crystal import Composition, UnreadableCrystal

SYMBOLS = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn "
    "Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce "
    "Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At "
    "Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn "
    "Nh Fl Mc Lv Ts Og"
).split()
UNKNOWN = ("", "?", ".")
# How far shares of one site may add up to something else, because they are rounded.
SHARE_TOLERANCE = 0.02
# How far amounts of guessed elements may differ from those of the formula.
_AMOUNT_TOLERANCE = 0.1

_NUMBERS = {symbol: z for z, symbol in enumerate(SYMBOLS, 1)} | {"D": 1, "T": 1}
_HYDROGEN, _OXYGEN, _VANADIUM, _TUNGSTEN = 1, 8, 23, 74
_EMPTY: Composition = {}
# Letters that also mark a vacancy, water, a dummy or a tetrahedral site.
_MARKS = ("D", "T", "V", "W")
# Two capitals that spell an element, and a group of atoms as well.
_SPELLS_A_GROUP = ("BH", "CF", "CN", "CO", "HF", "HO", "HS", "NH", "NO", "PO")
# Type symbols that mean an element whatever the file says.
CERTAIN: dict[str, Composition] = {
    symbol: {z: 1.0} for symbol, z in _NUMBERS.items() if symbol not in _MARKS
}
# Scattering factors of bonded atoms in the International Tables.
_FACTORS = {"cval": "C", "siva": "Si", "sival": "Si"}

_MINUS_SIGNS = dict.fromkeys(map(ord, "‐‑‒–—−﹣-"), "-") | {ord("^"): "", ord("~"): ""}
_VACANCY = re.compile(r"(?:va|vac|vc|vacancy|vacant|[□☐◻▢⬜])\d*", re.IGNORECASE)
_SEPARATORS = re.compile(r"[/,;:|&]")
_CHARGE = r"(?:\d*\.?\d*[+-]+|[+-]+\d*\.?\d*)"
_TAIL = (
    rf"(?:{_CHARGE}|\d+)?(?:[(\[](?:{_CHARGE}|\d+|[IVX]+)[)\]])?"
    r"['\"*.#]*(?:_[a-z0-9]+)?"
)
_ELEMENT = re.compile(rf"(\d{{0,3}})([A-Za-z]{{1,2}}){_TAIL}")
_SHARE = re.compile(r"([A-Z][a-z]?|□)(?:\d[+-])?(\d*\.\d+)")
_SHARES = re.compile(rf"(?:{_SHARE.pattern}){{2,}}")
_WATER = re.compile(rf"(?:O\(?[HhDd][2-4]?\)?|[HD][23]?O|HDO|O[Ww]){_TAIL}")
_GROUP = re.compile(r"(?:\(?[A-Z][a-z]?\d*\)?\d*){2,}(?:[+-]\d*|\d*[+-])?")
_NAMED_GROUPS = re.compile(
    r"(?:[NCB]O3|[SPBV]O4|SiO4|ClO4|NH4|BF4|PF6|H[23]O|D2O)(?!\d)", re.IGNORECASE
)
_FORMULA_PART = re.compile(r"([A-Z][a-z]?)(\d*\.?\d*)")
_FORMULA_TOKEN = re.compile(rf"(?:{_FORMULA_PART.pattern})+")


@dataclass
class Species:
    """The elements of listed sites, as a file states them.

    Parameters
    ----------
    formula : str, default=""
        ``_chemical_formula_sum``; empty or "?" where there is none.
    types : mapping of str to str, default={}
        ``_atom_type_symbol`` -> ``_atom_type_description``.

    Attributes
    ----------
    guessed : set of int
        Elements that labels suggest and the formula does not refute.
    """

    formula: str = ""
    types: Mapping[str, str] = field(default_factory=dict)
    guessed: set[int] = field(default_factory=set)

    def of_site(self, type_symbol: str, label: str) -> Composition:
        """Read the type symbol of a site, or its label where the type is unknown.

        Parameters
        ----------
        type_symbol, label : str
            Texts of the file, "?" and "." where they are unknown.

        Returns
        -------
        composition : dict of int to float
            Atomic number -> share, which add up to 1; empty for a vacancy. Isotopes
            and ions are elements. The oxygen of water and hydroxyl stands for the
            whole group, because files list such hydrogen atoms or leave them out.

        Raises
        ------
        UnreadableCrystal
            For dummies, groups, mixtures without shares, and labels with two readings.
        """
        certain = CERTAIN.get(type_symbol)
        if certain is not None:
            return certain
        try:
            if type_symbol in UNKNOWN:
                composition, guessed = read_label(label, self._elements())
                self.guessed |= guessed
                return composition
            described = CERTAIN.get(self.types.get(type_symbol, ""))
            try:
                return read_type(type_symbol, self._elements())
            except ValueError:
                if described is None:
                    raise
                return described
        except ValueError as error:
            raise UnreadableCrystal(f"site {label} has {error}") from None

    def check_guesses(self, amounts: Mapping[int, float]) -> None:
        """Compare the elements read from labels with the formula.

        Parameters
        ----------
        amounts : mapping of int to float
            Atomic number -> atoms of the unit cell.

        Raises
        ------
        UnreadableCrystal
            If a guessed element is there more often, or less often, than the formula
            says. Hydrogen may be there less often.
        """
        formula = read_formula(self.formula)
        if not self.guessed or formula is None:
            return
        heavy = [z for z in {*formula, *amounts} if z != _HYDROGEN]
        units = sum(amounts.get(z, 0) for z in heavy) / (
            sum(formula.get(z, 0) for z in heavy) or 1
        )
        for z in self.guessed:
            found, wanted = amounts.get(z, 0), formula[z] * units
            excess = found - wanted if z == _HYDROGEN else abs(found - wanted)
            if units and excess > _AMOUNT_TOLERANCE * wanted:
                raise UnreadableCrystal(
                    f"the labels name {found:g} atoms of {SYMBOLS[z - 1]} in the cell, "
                    f"but the formula {self.formula!r} needs {wanted:.4g}; state "
                    "_atom_site_type_symbol"
                )

    def _elements(self) -> frozenset[int] | None:
        """List elements of the formula, else of the types; None if not stated."""
        formula = read_formula(self.formula)
        if formula is not None:
            return frozenset(formula)
        return _elements_of_types(tuple(self.types))


@lru_cache(maxsize=1024)
def read_formula(text: str) -> Mapping[int, float] | None:
    """Read a chemical formula without brackets, such as "C6 H12 Cl2".

    Parameters
    ----------
    text : str
        Value of ``_chemical_formula_sum``.

    Returns
    -------
    formula : dict of int to float or None
        Atomic number -> number of atoms; None if it is unknown or written otherwise.
    """
    formula: dict[int, float] = {}
    for token in _normal(text).replace(",", " ").split():
        if re.fullmatch(_CHARGE, token):
            continue
        parts = _FORMULA_PART.findall(token) if _FORMULA_TOKEN.fullmatch(token) else []
        if not parts or any(symbol not in _NUMBERS for symbol, _ in parts):
            # A formula in capitals has one element between two spaces.
            match = re.fullmatch(r"([A-Z]{2})(\d*\.?\d*)", token)
            parts = [(match[1].capitalize(), match[2])] if match else []
        for symbol, amount in parts:
            if symbol not in _NUMBERS or amount == ".":
                return None
            z = _NUMBERS[symbol]
            formula[z] = formula.get(z, 0.0) + float(amount or 1)
        if not parts:
            return None
    return formula or None


@lru_cache(maxsize=4096)
def read_type(text: str, stated: frozenset[int] | None = None) -> Composition:
    """Read a type symbol.

    Parameters
    ----------
    text : str
        Such as "Fe", "FE3+", "2H", "Vac", "OH", "Fe0.5Co0.5".
    stated : frozenset of int or None
        Elements that the file has, if it says so.

    Returns
    -------
    composition : dict of int to float
        Atomic number -> share; empty for a vacancy.

    Raises
    ------
    ValueError
        With a noun phrase: what the text is instead of an element.
    """
    symbol = _normal(text).replace(" ", "")
    symbol = re.sub(r",?spin=[-+.\d]*$", "", symbol)
    bare = re.fullmatch(r"[(\[{](.*)[)\]}]", symbol)
    symbol = bare[1] if bare else symbol
    if _VACANCY.fullmatch(symbol):
        return _vacancy(text, symbol, stated)
    joined = _SEPARATORS.sub("", symbol)
    if _SHARES.fullmatch(joined):
        return _mixture(text, joined)
    parts = _SEPARATORS.split(symbol)
    if len(parts) > 1:
        return _one_element(text, parts, stated)
    symbol = _FACTORS.get(symbol.lower(), symbol)
    match = _ELEMENT.fullmatch(symbol)
    z = match and _number(match[2])
    if match and z and _is_mass(match[1], z):
        _check_mark(text, match[2], z, stated)
        return {z: 1.0}
    if _WATER.fullmatch(symbol):
        return {_OXYGEN: 1.0}
    if re.fullmatch(rf"H[Ww]{_TAIL}", symbol):
        return {_HYDROGEN: 1.0}
    raise ValueError(_what_it_is(text, symbol))


@lru_cache(maxsize=4096)
def read_label(
    text: str, stated: frozenset[int] | None
) -> tuple[Composition, frozenset[int]]:
    """Read the label of a site without a type symbol.

    Parameters
    ----------
    text : str
        Such as "Na1", "O1W", "HO2".
    stated : frozenset of int or None
        Elements that the file has, if it says so.

    Returns
    -------
    composition : dict of int to float
        Atomic number -> share; empty for a vacancy.
    guessed : frozenset of int
        The element, if it needs the formula; empty if the label spells it.

    Raises
    ------
    ValueError
        With a noun phrase: what the text is instead of an element.
    """
    label = _normal(text).lstrip("([{'\"*_ ")
    if re.search(r"[A-Za-z].*[/,;:|&]\s*[A-Za-z]", label) or _SHARES.match(label):
        return read_type(label, stated), frozenset()
    letters = re.match(r"[A-Za-z]*", label)[0]  # type: ignore[index]
    if _VACANCY.fullmatch(letters or label[:1]):
        return _vacancy(text, letters, stated), frozenset()
    if _NAMED_GROUPS.match(label):
        raise ValueError(_what_it_is(text, label))
    _check_second_element(text, label[len(letters) :], stated)
    if stated is None:
        return {_only_reading(text, letters): 1.0}, frozenset()
    spelled = re.match(r"[A-SU-Z][a-z]?(?![a-z])|T[a-z](?![a-z])", letters)
    if spelled and _is_whole(letters, spelled[0]) and _number(spelled[0]) in stated:
        z = _NUMBERS[spelled[0]]
        _check_rest(text, letters, len(spelled[0]), z, stated)
        return {z: 1.0}, frozenset()
    z = _reading_of_formula(text, letters, stated)
    return {z: 1.0}, frozenset([z])


@lru_cache(maxsize=256)
def _elements_of_types(types: tuple[str, ...]) -> frozenset[int] | None:
    stated: set[int] = set()
    for text in types:
        try:
            stated.update(read_type(text))
        except ValueError:
            return None
    return frozenset(stated) or None


def _normal(text: str) -> str:
    """Write text with ASCII digits and signs, without marks of superscripts."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return text.translate(_MINUS_SIGNS).strip()


def _number(letters: str) -> int | None:
    """Find the atomic number of a symbol in proper, upper or lower case."""
    proper = letters.capitalize()
    if letters not in (proper, letters.upper(), letters.lower()):
        return None
    return _NUMBERS.get(proper)


def _is_mass(digits: str, z: int) -> bool:
    # No nucleus has fewer nucleons than protons, or much more than twice as many.
    return not digits or z <= int(digits) <= 3 * z


def _is_whole(letters: str, symbol: str) -> bool:
    """Tell if the label is the symbol, or a symbol of two letters and capitals."""
    return letters == symbol or len(symbol) == 2


def _symbols(numbers: Iterable[int]) -> str:
    return " or ".join(SYMBOLS[z - 1] for z in sorted(numbers))


# -- type symbols --------------------------------------------------------------------


def _vacancy(text: str, symbol: str, stated: frozenset[int] | None) -> Composition:
    if stated and _VANADIUM in stated and len(symbol.rstrip("0123456789")) == 2:
        raise ValueError(f"the species {text!r}, which may mean vanadium or a vacancy")
    return _EMPTY


def _mixture(text: str, joined: str) -> Composition:
    """Read shares such as those of Fe0.5Co0.5."""
    composition: dict[int, float] = {}
    total = 0.0
    for symbol, share in _SHARE.findall(joined):
        total += float(share)
        if _VACANCY.fullmatch(symbol):
            continue
        if symbol not in _NUMBERS:
            raise ValueError(f"the unknown species {text!r}")
        z = _NUMBERS[symbol]
        composition[z] = composition.get(z, 0.0) + float(share)
    if abs(total - 1) > SHARE_TOLERANCE:
        raise ValueError(f"the species {text!r}, whose shares add up to {total:g}")
    return composition


def _one_element(
    text: str, parts: Sequence[str], stated: frozenset[int] | None
) -> Composition:
    """Read charges of one element such as Fe2+/Fe3+, or refuse a mixture."""
    found = [read_type(part, stated) for part in parts]
    if any(other != found[0] for other in found):
        raise ValueError(
            f"the species {text!r}, a mixture; list each element as a site with its "
            "occupancy"
        )
    return found[0]


def _check_mark(text: str, letters: str, z: int, stated: frozenset[int] | None) -> None:
    """Refuse what is an element or something else, as the formula decides."""
    upper = letters.upper()
    if upper in _MARKS and stated is not None and z not in stated:
        raise ValueError(
            f"the species {text!r}, an element that the formula does not list"
        )
    if upper not in _SPELLS_A_GROUP or letters == letters.capitalize():
        return
    parts = {_NUMBERS[letter] for letter in upper}
    if stated is None or z not in stated or parts <= stated:
        raise ValueError(
            f"the species {text!r}, which spells a group of atoms; list its atoms as "
            f"sites, or write {SYMBOLS[z - 1]} for the element"
        )


def _what_it_is(text: str, symbol: str) -> str:
    if re.match(r"wat(?:er)?(?![a-z])", symbol, re.IGNORECASE):
        return f"the species {text!r}, a molecule; write O for its oxygen"
    letters = re.findall(r"[A-Z][a-z]?", symbol)
    known = [_NUMBERS.get(s) or _NUMBERS.get(s[0]) for s in letters]
    if _GROUP.fullmatch(symbol) and all(known):
        return (
            f"the species {text!r}, a group of atoms or a mixture; list each element "
            "as a site"
        )
    return f"the unknown species {text!r}"


# -- labels --------------------------------------------------------------------------


def _check_second_element(text: str, rest: str, stated: frozenset[int] | None) -> None:
    """Refuse labels such as Mg1Fe1; a capital alone, as in C1A, counts atoms."""
    for symbol in re.findall(r"[A-Z][a-z]", rest):
        if symbol in _NUMBERS and (stated is None or _NUMBERS[symbol] in stated):
            raise ValueError(f"the label {text!r}, which names two elements")


def _check_rest(
    text: str, letters: str, size: int, z: int, stated: frozenset[int]
) -> None:
    """Refuse labels such as SiAl; hydrogen may be named by what it is bound to."""
    rest = letters[size:].capitalize()
    named = {_NUMBERS[s] for s in (rest[:1], rest[:2]) if s in _NUMBERS}
    for other in named & stated:
        if _HYDROGEN not in (z, other):
            raise ValueError(
                f"the label {text!r}, which names {_symbols([z, other])}, or both; "
                "state _atom_site_type_symbol"
            )


def _only_reading(text: str, letters: str) -> int:
    """Read a label without the help of a formula, if it has one reading."""
    z, first = _number(letters[:2]), _number(letters[:1])
    proper = letters == letters.capitalize()
    if len(letters) <= 2 and z and proper and letters != "T":
        return z
    if len(letters) == 1 and first and letters not in ("T", "t", "d"):
        return first
    if len(letters) == 2 and z and not first:
        return z
    if len(letters) == 2 and not z and letters[0] in "HO":
        # Water, hydroxyl, numbered by letters: no element starts like that.
        return _NUMBERS[letters[0]]
    if len(letters) == 2 and z and first:
        raise ValueError(
            f"the label {text!r}, which may mean {_symbols([z, first])}; state "
            "_atom_site_type_symbol or _chemical_formula_sum"
        )
    raise ValueError(_what_it_is(text, letters))


def _reading_of_formula(text: str, letters: str, stated: frozenset[int]) -> int:
    """Choose the element of the formula with which the label starts."""
    starts = {size: letters[:size].capitalize() for size in (1, 2)[: len(letters)]}
    # T is the name of a tetrahedral site in most labels, not tritium.
    readings = {
        size: _NUMBERS[start]
        for size, start in starts.items()
        if start != "T" and _NUMBERS.get(start) in stated
    }
    if letters.lower() in ("wat", "water"):
        if _OXYGEN in stated and _TUNGSTEN not in stated:
            return _OXYGEN
        raise ValueError(_what_it_is(text, letters))
    if len(readings) != 1:
        raise ValueError(
            f"the label {text!r}, which may mean {_symbols(readings.values())}; state "
            "_atom_site_type_symbol"
            if readings
            else f"the unknown species {text!r}, no element of the chemical formula"
        )
    ((size, z),) = readings.items()
    _check_rest(text, letters, size, z, stated)
    return z
