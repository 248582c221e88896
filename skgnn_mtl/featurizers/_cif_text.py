"""From CIF text to the sites that it lists."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import numpy as np

from ._cif_repair import NEEDED, without_faulty_items
from ._containers import other_format, without_sites
from ._crystal import Composition, UnreadableCrystal, gemmi
from ._sites import Sites, clip_occupancy
from ._species import CERTAIN, UNKNOWN, Species

_AXES = ("fract_x", "fract_y", "fract_z")
_COLUMNS = (
    *(*_AXES, "label", "type_symbol", "occupancy"),
    *("calc_flag", "disorder_assembly", "disorder_group"),
)
_FULL = {"1", "1.0", "1.00", "1.000", "1.0000", *UNKNOWN}
_QUOTES = frozenset("'\";")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?(\d*)|\.(\d+))(?:[eE][+-]?\d+)?)(?:\((\d+)\))?")
_PLACE = re.compile(r"string:(\d+)(?::\d+\(\d+\))?(?: in data_\S*)?: ")


def parse(text: str) -> Any:
    """Parse a CIF, without the faulty items that are not needed.

    Parameters
    ----------
    text : str
        The CIF.

    Returns
    -------
    document : gemmi.cif.Document
        Its data blocks.

    Raises
    ------
    UnreadableCrystal
        With the line and the reason of gemmi.
    """
    read = gemmi().cif.read_string
    try:
        return read(text)
    # What a library in C++ raises may be of any class.
    except Exception as error:
        if other := other_format(text):
            raise UnreadableCrystal(other) from error
        reason = _PLACE.sub(r"line \1 is not valid CIF: ", str(error))

    def parses(part: str) -> bool:
        try:
            read(part)
        except Exception:
            return False
        return True

    repaired = without_faulty_items(text, parses)
    if repaired is None:
        raise UnreadableCrystal(reason)
    try:
        # Repeated tags and blocks are looked at below.
        document = read(repaired, check_level=0)
    except Exception as error:
        raise UnreadableCrystal(reason) from error
    for block in document:
        _check_repeated_tags(block)
    return document


def choose_block(document: Any, wanted: str | None) -> Any:
    """Find the data block that has sites.

    Parameters
    ----------
    document : gemmi.cif.Document
        Data blocks.
    wanted : str or None
        Name of the block; None takes the only one that has sites.

    Returns
    -------
    block : gemmi.cif.Block
        The block.

    Raises
    ------
    UnreadableCrystal
        If there is no such block, or several.
    """
    if wanted is not None:
        for block in document:
            if block.name == wanted:
                return block
        names = [block.name for block in document]
        raise UnreadableCrystal(f"it has no data block {wanted!r}, but {names}")
    with_sites = [b for b in document if _column(b, "_atom_site_fract_x")]
    if len(with_sites) > 1:
        names = [block.name for block in with_sites]
        raise UnreadableCrystal(f"{len(names)} data blocks have sites: {names}")
    if not with_sites:
        reasons = [why for b in document if (why := without_sites(b))]
        if not len(document):
            reasons = ["the file is empty, or has comments alone"]
        raise UnreadableCrystal(
            ": ".join(["no data block has sites (_atom_site_fract_x)", *reasons[:1]])
        )
    return with_sites[0]


def values(block: Any, tag: str) -> list[str]:
    """Find the values of a tag, in the first or the second form of tags.

    Parameters
    ----------
    block : gemmi.cif.Block
        A data block.
    tag : str
        Such as "_atom_type_symbol", which "_atom_type.symbol" is as well.

    Returns
    -------
    values : list of str
        Without quotes; empty if the tag is absent.
    """
    column = _column(block, tag)
    return _unquoted(list(column)) if column else []


def listed_sites(block: Any, disorder: str) -> tuple[Sites, np.ndarray, Species]:
    """Read the sites of a data block.

    Parameters
    ----------
    block : gemmi.cif.Block
        A data block.
    disorder : {"raise", "majority", "mix"}
        With "raise" a site that marks a vacancy is unreadable.

    Returns
    -------
    sites : Sites
        Without those of occupancy 0, and without dummies that the file flags as such.
    fractions : ndarray of float64 of shape (n_sites, 3)
        Fractional coordinates.
    species : Species
        What labels were read with.

    Raises
    ------
    UnreadableCrystal
        With the site and what is wrong with its species, coordinates or occupancy.
    """
    columns = _columns(block)
    missing = [f"_atom_site_{axis}" for axis in _AXES if axis not in columns]
    if missing:
        raise UnreadableCrystal(f"the sites have no {' and no '.join(missing)}")
    unknown = ["?"] * len(columns["fract_x"])
    types, labels = columns.get("type_symbol", unknown), columns.get("label")
    if labels is None:
        labels = [f"{k} ({symbol})" for k, symbol in enumerate(types)]
    occupancies = _occupancies(columns.get("occupancy"), labels)
    species = Species()
    # Without None, once the symbols that are not certain are read.
    kinds = cast(list[Composition], [CERTAIN.get(symbol) for symbol in types])
    if None in kinds or not occupancies.all() or "dum" in columns.get("calc_flag", ()):
        there = [
            k for k in np.flatnonzero(occupancies).tolist() if not _is_dummy(columns, k)
        ]
        columns = {name: [c[k] for k in there] for name, c in columns.items()}
        types, labels = [types[k] for k in there], [labels[k] for k in there]
        occupancies = occupancies[there]
        species = _stated_species(block)
        kinds = list(map(species.of_site, types, labels))
        if disorder == "raise":
            _check_vacancies(kinds, types, labels)
    groups = None
    if "disorder_group" in columns:
        assemblies = columns.get("disorder_assembly", unknown)
        groups = list(zip(assemblies, columns["disorder_group"], strict=False))
    sites = Sites(labels, kinds, occupancies, groups)
    return sites, _coordinates(columns, labels), species


def _column(block: Any, tag: str) -> Any:
    """Find a column of the core dictionaries, whose second version has dots."""
    return block.find_values(tag) or block.find_values(_dotted(tag))


@lru_cache(maxsize=256)
def _dotted(tag: str) -> str:
    return re.sub(r"(_atom_site|_atom_type|_chemical_formula)_", r"\1.", tag, count=1)


def _columns(block: Any) -> dict[str, list[str]]:
    """List columns of the sites by the last part of their tags, without quotes."""
    x = _column(block, "_atom_site_fract_x")
    loop = x and x.get_loop()
    if not loop:
        # One site may be written without a loop.
        pairs = {name: values(block, f"_atom_site_{name}") for name in _COLUMNS}
        return {name: found for name, found in pairs.items() if found}
    flat, names = loop.values, _names(tuple(loop.tags))
    joined = "".join(flat)
    if any(quote in joined for quote in _QUOTES):
        flat = _unquoted(flat)
    columns = {name: flat[k :: len(names)] for k, name in enumerate(names)}
    for name in _COLUMNS[:6]:
        if name not in columns and _column(block, f"_atom_site_{name}"):
            raise UnreadableCrystal(
                f"_atom_site_{name} stands in another loop than _atom_site_fract_x"
            )
    return columns


@lru_cache(maxsize=256)
def _names(tags: tuple[str, ...]) -> list[str]:
    return [re.sub(r"^_atom_site[_.]", "", tag.lower()) for tag in tags]


def _unquoted(column: list[str]) -> list[str]:
    as_string = gemmi().cif.as_string
    return [as_string(v).strip() if v[:1] in _QUOTES else v for v in column]


def _stated_species(block: Any) -> Species:
    symbols = values(block, "_atom_type_symbol")
    described = values(block, "_atom_type_description")
    described += ["?"] * (len(symbols) - len(described))
    formula = values(block, "_chemical_formula_sum")
    return Species(
        formula[0] if formula else "", dict(zip(symbols, described, strict=False))
    )


def _is_dummy(columns: dict[str, list[str]], k: int) -> bool:
    """Tell whether the file says that the coordinates mean nothing."""
    if "calc_flag" not in columns or columns["calc_flag"][k].lower() != "dum":
        return False
    # An element without coordinates is an atom of the crystal, and missing.
    unknown = any(columns[axis][k] in UNKNOWN for axis in _AXES)
    is_element = "type_symbol" in columns and columns["type_symbol"][k] in CERTAIN
    return not (unknown and is_element)


def _check_vacancies(
    kinds: Sequence[Composition], types: list[str], labels: list[str]
) -> None:
    for kind, symbol, label in zip(kinds, types, labels, strict=True):
        if not kind:
            named = label if symbol in UNKNOWN else symbol
            raise UnreadableCrystal(
                f"site {label} has the unknown species {named!r}, which marks a "
                'vacancy; disorder="majority" or "mix" would read it as an empty part'
            )


def _number(text: str) -> tuple[float, float] | None:
    """Read value and standard uncertainty, as in "0.512(3)"."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    n_digits = len(match[2] or match[3] or "")
    return float(match[1]), int(match[4] or 0) / 10**n_digits


def _coordinates(columns: dict[str, list[str]], labels: list[str]) -> np.ndarray:
    texts = [columns[axis] for axis in _AXES]
    as_number = gemmi().cif.as_number
    found = np.array([list(map(as_number, column)) for column in texts])
    if math.isfinite(found.sum()):
        return found.T
    axis, k = np.argwhere(~np.isfinite(found))[0]
    text = texts[axis][k]
    if text in UNKNOWN:
        raise UnreadableCrystal(
            f"coordinates are missing: site {labels[k]} has {text!r}; write 0 if zero "
            "is meant"
        )
    raise UnreadableCrystal(
        f"site {labels[k]} has the coordinate {text!r}, which is not a finite number"
    )


def _occupancies(column: list[str] | None, labels: list[str]) -> np.ndarray:
    """Read occupancies; "." and "?" mean 1, the default of the CIF dictionary."""
    different = set(column or ()) - _FULL
    if column is None or not different:
        return np.ones(len(labels))
    found = dict.fromkeys(_FULL, 1.0)
    for text in different:
        number, site = _number(text), labels[column.index(text)]
        if number is None:
            raise UnreadableCrystal(
                f"site {site} has the occupancy {text!r}, which is not a number"
            )
        found[text] = clip_occupancy(*number, site=site)
    return np.array([found[text] for text in column])


def _check_repeated_tags(block: Any) -> None:
    """Refuse needed tags with two values; gemmi would take the first."""
    seen: dict[str, Any] = {}
    for item in block:
        tags = [item.pair[0]] if item.pair else item.loop.tags if item.loop else []
        for tag in tags:
            value = item.pair[1] if item.pair else None
            name = tag.lower()
            known = name in seen and (value is None or seen[name] != value)
            if known and NEEDED.search(name):
                raise UnreadableCrystal(f"it has the tag {tag} twice")
            seen[name] = value
