"""Names and numbers of space groups, in the spellings that files have."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ._crystal import gemmi

# How databases mark origins and axes at the end of a name.
_SUFFIXES = {
    **{"s": "1", "z": "2", "o1": "1", "o2": "2"},
    **{"h": "h", "r": "r", "hr": "h", "rs": "r", "hs": "h"},
}
_ORIGIN = re.compile(r"[:;,]?\(?(?:origin)?(?:choice|at)?([12])\)?")
_NUMBER = re.compile(r"[(\[]?(?:#|no\.?|nr\.?|number|(?<=[(\[])(?=\d\d))(\d+)[)\]]?$")
_MINUS = str.maketrans(
    "\u2010\u2011\u2012\u2013\u2014\u2212\uff0d\u00af", "-" * 8, "'\"`{}<>$~^"
)


@dataclass(frozen=True, eq=False)
class Setting:
    """A space group with its axes and origin.

    Parameters
    ----------
    group : gemmi.SpaceGroup
        Entry of gemmi's table.
    is_standard : bool
        Whether its axes are those of the first entry of its number, up to the choice of
        rhombohedral axes and of the origin.
    """

    group: Any
    is_standard: bool

    @cached_property
    def operations(self) -> tuple[str, ...]:
        """All operations as triplets."""
        return tuple(op.triplet() for op in self.group.operations())

    @property
    def extension(self) -> str:
        """'1' or '2' for an origin, 'h' or 'r' for axes, else ''."""
        extension: str = self.group.ext.strip("\0 ").lower()
        return extension


def settings_of_number(number: int) -> tuple[Setting, ...]:
    """List all settings of a type of space groups.

    Parameters
    ----------
    number : int
        Number in the International Tables.

    Returns
    -------
    settings : tuple of Setting
        The standard one first; empty if there is no such number.
    """
    return _by_number().get(number, ())


@lru_cache(maxsize=4096)
def settings_of_name(name: str) -> tuple[Setting, ...]:
    """List the settings that a Hermann-Mauguin symbol may mean.

    Spaces, underscores, brackets and the case of letters do not matter. Short, full and
    some older symbols are known.

    Parameters
    ----------
    name : str
        Symbol, perhaps with an origin or axes behind it: "F d -3 m :2", "R -3 m H".

    Returns
    -------
    settings : tuple of Setting
        Those of one name differ in their origin or axes; the standard one first. Empty
        if the name is unknown.
    """
    key, code = _split(_compact(name))
    number = _NUMBER.search(key)
    if number:
        key = key[: number.start()]
    found = _find(key)
    if not found and not code:
        key, code = _split_suffix(key)
        found = _find(key) if code else ()
    if code:
        found = tuple(s for s in found if has_code(s, code))
    if number:
        found = tuple(s for s in found if s.group.number == int(number[1]))
    return found


def has_code(setting: Setting, code: str) -> bool:
    """Tell whether a setting has the axes and the origin of a code.

    Parameters
    ----------
    setting : Setting
        The setting.
    code : str
        Code of the International Tables, Volume B: "1", "2cab", "h", "b1", "-cba".

    Returns
    -------
    has_code : bool
        Axes and origins that the code does not mention may be any.
    """
    code = re.sub(r"[\s()]", "", code.lower())
    if code in ("h", "r"):
        return setting.extension == code
    origin = code[:1] if code[:1] in ("1", "2") else ""
    axes = code[len(origin) :]
    if origin and setting.extension != origin:
        return False
    own = setting.group.qualifier
    return not axes or own == axes or (axes == "abc" and not own)


def _compact(name: str) -> str:
    """Remove all that is spelled in several ways."""
    # A bar above a digit is a combining character behind it.
    name = re.sub("(\\d)[\u0304\u0305]", r"-\1", unicodedata.normalize("NFD", name))
    name = unicodedata.normalize("NFKC", name).lower()
    name = re.sub(r"</?su[bp]>|\\(?=[=\d-])", "", name).translate(_MINUS)
    name = re.sub(r"(?<=[2346])\(([1-5])\)", r"\1", name)
    return re.sub(r"[\s_]", "", name).rstrip(".")


def _split(key: str) -> tuple[str, str]:
    """Split 'fd-3m:2' in its name and its code."""
    name, colon, code = key.partition(":")
    if not colon:
        origin = re.search(r"[,;(]?origin(?:choice)?([12])\)?$", key)
        return (key[: origin.start()], origin[1]) if origin else (key, "")
    origin = _ORIGIN.fullmatch(code)
    code = origin[1] if origin else code
    return name, _SUFFIXES.get(code, code)


def _split_suffix(key: str) -> tuple[str, str]:
    for length in (2, 1):
        suffix = key[-length:]
        if suffix in _SUFFIXES and len(key) > length:
            return key[:-length], _SUFFIXES[suffix]
    return key, ""


def _find(key: str) -> tuple[Setting, ...]:
    if key.isdigit():
        return tuple(s for s in settings_of_number(int(key)) if s.is_standard)
    names = _by_name()
    return names.get(key) or names.get(_short(key), ())


def _short(key: str) -> str:
    """Shorten a full symbol: 'p21/n21/m21/a' to 'pnma', 'f4/m-32/m' to 'fm-3m'."""
    if key.count("/") < 2 and not ("/" in key and "-3" in key):
        return key
    key = re.sub(r"(?<![46])21?/(?=[a-z])", "", key)
    return re.sub(r"^([pif])4[1-3]?/([a-z])-3", r"\1\2-3", key)


@lru_cache(maxsize=1)
def _table() -> tuple[Setting, ...]:
    """List all settings; unusual ones stand at the end, as in gemmi's table."""
    first: dict[int, str] = {}
    return tuple(
        Setting(group, group.hm == first.setdefault(group.number, group.hm))
        for group in gemmi().spacegroup_table()
    )


@lru_cache(maxsize=1)
def _by_number() -> dict[int, tuple[Setting, ...]]:
    settings: dict[int, list[Setting]] = {}
    for setting in _table():
        settings.setdefault(setting.group.number, []).append(setting)
    return {number: tuple(listed) for number, listed in settings.items()}


@lru_cache(maxsize=1)
def _by_name() -> dict[str, tuple[Setting, ...]]:
    """List settings by compact name; those of an alias where no other has the name."""
    names: dict[str, list[Setting]] = {}
    aliases: dict[str, list[Setting]] = {}
    for setting in _table():
        parts = setting.group.hm.lower().split()
        names.setdefault("".join(parts), []).append(setting)
        for alias in _aliases(parts, setting):
            aliases.setdefault(alias, []).append(setting)
    return {key: tuple(found) for key, found in {**aliases, **names}.items()}


def _aliases(parts: list[str], setting: Setting) -> list[str]:
    """List other compact names: without ones, with e for two glides, m3 for m-3."""
    found, number = [], setting.group.number
    if parts.count("1") == 2:
        found.append("".join(part for part in parts if part != "1"))
    if number >= 200 and "-3" in parts:
        found.append("".join(parts).replace("-3", "3"))
    if setting.extension == "h":
        found.append("h" + "".join(parts[1:]))
    if number in _DOUBLE_GLIDES:
        found.append("".join(_with_double_glide(parts)))
    return found


# Numbers whose symbols have an e since 1992, for a plane with glides along both axes.
_DOUBLE_GLIDES = (39, 41, 64, 67, 68)


def _with_double_glide(parts: list[str]) -> list[str]:
    """Write e in the direction of the centring's letter: A b m 2 is A e m 2."""
    parts = list(parts)
    parts["abc".index(parts[0]) + 1] = "e"
    return parts
