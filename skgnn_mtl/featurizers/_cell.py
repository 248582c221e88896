"""The unit cell of a crystal: from the tags of a CIF, and without periodicity."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ._crystal import UnreadableCrystal, gemmi

Tags = Mapping[str, tuple[str, ...]]

_LENGTHS = tuple(f"_cell_length_{axis}" for axis in "abc")
_ANGLES = tuple(f"_cell_angle_{angle}" for angle in ("alpha", "beta", "gamma"))
_PARAMETERS = _LENGTHS + _ANGLES
_ABSENT = (".",)
_NUMBER = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:\(\d*\))?\s*")
# The shortest period of a crystal is that of hydrogen under pressure (Å).
_SHORTEST, _LONGEST = 0.5, 100_000.0
# Edges this flat (volume of the cell over that of a box) span no volume.
_FLAT = 1e-6
# How far a stated volume may be from that of a cell whose angles are not stated.
_VOLUME = 0.01
_CATEGORIES = (
    *("_cell_length", "_cell_angle", "_cell_volume"),
    *("_symmetry", "_space_group", "_parent_space_group", "_exptl_crystal_type"),
    *("_cell_modul", "_cell_wave", "_cell_subsystem", "_atom_sites_modul"),
    *("_atom_site_fourier", "_atom_site_displace", "_atom_sites_displace"),
    *("_atom_site_occ_", "_atom_site_moment_", "_atom_site_rot_fourier"),
)


def tags_of(block: Any) -> dict[str, tuple[str, ...]]:
    """Read all items of a block that concern its cell and symmetry.

    Parameters
    ----------
    block : gemmi.cif.Block
        The data block.

    Returns
    -------
    tags : dict of str -> tuple of str
        Raw values, with their quotes. The tags are those of the first version of the
        CIF dictionary in lower case: ``_space_group.name_H-M_alt`` is
        ``_space_group_name_hm_alt``.

    Raises
    ------
    UnreadableCrystal
        If a tag has two values in two places.
    """
    tags: dict[str, tuple[str, ...]] = {}
    for item in block:
        pair = item.pair
        if pair is not None:
            tag = _normal(pair[0])
            if tag:
                _add(tags, tag, (pair[1],))
        elif (loop := item.loop) is not None:
            columns = list(map(_normal, loop.tags))
            if any(columns):
                values, width = loop.values, len(columns)
                for k, tag in enumerate(columns):
                    if tag:
                        _add(tags, tag, tuple(values[k::width]))
    return tags


def _add(tags: dict[str, tuple[str, ...]], tag: str, values: tuple[str, ...]) -> None:
    if tag not in tags:
        tags[tag] = values
    elif tuple(map(text, tags[tag])) != tuple(map(text, values)):
        known = [v for v in (tags[tag], values) if any(is_known(x) for x in v)]
        if len(known) > 1:
            raise UnreadableCrystal(
                f"{spelled(tag)} has two values, {shown(tags[tag])} and {shown(values)}"
            )
        tags[tag] = known[0] if known else values


@lru_cache(maxsize=4096)
def _normal(tag: str) -> str:
    """Write a tag as the first dictionary does; '' if it concerns other things."""
    tag = tag.lower().replace(".", "_").replace("-", "").rstrip("_")
    tag = tag.replace("name_h_m", "name_hm").replace("spacegroup", "space_group")
    return tag if tag.startswith(_CATEGORIES) else ""


def text(raw: str) -> str:
    """Remove the quotes and the white space around a raw value.

    Parameters
    ----------
    raw : str
        The value as it stands in the file.

    Returns
    -------
    text : str
        Text without quotes and line ends.
    """
    if raw[:1] == ";":
        raw = raw[1:].rstrip().removesuffix(";")
    elif len(raw) > 1 and raw[0] in "'\"" and raw[-1] == raw[0]:
        raw = raw[1:-1]
    return " ".join(raw.split())


def is_known(raw: str) -> bool:
    """Tell a value from '?', '.' and nothing.

    Parameters
    ----------
    raw : str
        The value as it stands in the file.

    Returns
    -------
    known : bool
        False for the values that say "unknown" or "does not apply".
    """
    return text(raw) not in ("", "?", ".")


def shown(values: tuple[str, ...]) -> str:
    """Show the first values of a tag in a message.

    Parameters
    ----------
    values : tuple of str
        Raw values.

    Returns
    -------
    shown : str
        Quoted, and cut.
    """
    first = text(values[0]) if values else ""
    return repr(first[:60]) + ", ..." * (len(values) > 1)


def spelled(tag: str) -> str:
    """Write a tag as files do.

    Parameters
    ----------
    tag : str
        One of :func:`tags_of`.

    Returns
    -------
    tag : str
        For messages.
    """
    tag = tag.replace("_hm", "_H-M").replace("_it_", "_IT_")
    return tag.replace("int_tables", "Int_Tables").replace("_hall", "_Hall")


def read_cell(tags: Tags) -> Any:
    """Read lengths and angles of the unit cell.

    Parameters
    ----------
    tags : dict of str -> tuple of str
        From :func:`tags_of`.

    Returns
    -------
    cell : gemmi.UnitCell
        Lengths in Å, angles in degrees. An angle that is absent, or '.', is 90, which
        is the value that the CIF dictionary gives it.

    Raises
    ------
    UnreadableCrystal
        If a length is missing, if a value is absurd or not a number, or if no such
        cell exists.
    """
    as_number = gemmi().cif.as_number
    # NaN where a value is not a plain number; then each value is looked at again.
    plain = [as_number(tags.get(tag, _ABSENT)[0]) for tag in _PARAMETERS]
    lengths, angles, absent = plain[:3], plain[3:], []
    is_plain = sum(plain) < math.inf and len(tags[_LENGTHS[0]]) == 1
    if not (is_plain and min(lengths) >= _SHORTEST and max(lengths) <= _LONGEST):
        lengths = [_length(tags, tag) for tag in _LENGTHS]
        absent = [tag for tag in _ANGLES if text(tags.get(tag, _ABSENT)[0]) == "."]
        angles = [90.0 if tag in absent else _number(tags, tag) for tag in _ANGLES]
    ratio = 1.0 if angles == [90.0] * 3 else _flatness(angles)
    if ratio < _FLAT:
        named = ", ".join(f"{angle:g}" for angle in angles)
        advice = "; are they in radians?" if max(angles) < math.pi else ""
        raise UnreadableCrystal(
            f"the unit cell is impossible: there are no angles of {named} degrees"
            f"{advice}"
        )
    if absent:
        _check_volume(tags, absent, math.prod(lengths) * ratio)
    return gemmi().UnitCell(*lengths, *angles)


def _flatness(angles: list[float]) -> float:
    """Compute the volume of a cell with edges of length 1; 0 if it does not exist."""
    if min(angles) <= 0 or max(angles) >= 180 or max(angles) < math.pi:
        return 0.0
    x, y, z = (math.cos(math.radians(angle)) for angle in angles)
    # Negative if one angle is larger than the others together, or all are too large.
    return math.sqrt(max(0.0, 1 - x * x - y * y - z * z + 2 * x * y * z))


def _length(tags: Tags, tag: str) -> float:
    length = _number(tags, tag)
    if not _SHORTEST <= length <= _LONGEST:
        raise UnreadableCrystal(
            f"the unit cell has the impossible {tag} {shown(tags[tag])}; lengths in Å "
            f"from {_SHORTEST:g} to {_LONGEST:g} are possible"
        )
    return length


def _number(tags: Tags, tag: str) -> float:
    values = tags.get(tag, ())
    if not values:
        raise UnreadableCrystal(f"the unit cell is missing: there is no {tag}")
    if len({text(value) for value in values}) > 1:
        raise UnreadableCrystal(f"the unit cell has several {tag}: {shown(values)}")
    if not is_known(values[0]):
        raise UnreadableCrystal(f"the unit cell is missing: {tag} is {shown(values)}")
    number = _NUMBER.fullmatch(text(values[0]))
    if number is None:
        raise UnreadableCrystal(
            f"the unit cell is unreadable: {tag} is {shown(values)}, but a number such "
            "as 5.64 or 5.64(2) was wanted"
        )
    return float(number[1])


def _check_volume(tags: Tags, absent: list[str], volume: float) -> None:
    """Compare with the stated volume, since angles of 90 were not stated."""
    stated = tags.get("_cell_volume", ("?",))
    if not is_known(stated[0]):
        return
    number = _number(tags, "_cell_volume")
    if abs(volume - number) > _VOLUME * number:
        raise UnreadableCrystal(
            f"the unit cell has no {' and no '.join(absent)}, and its volume of "
            f"{number:g} Å^3 is not that of angles of 90 degrees ({volume:.6g} Å^3)"
        )


def complete_lattice(lattice: Any, periodic: tuple[bool, ...]) -> np.ndarray:
    """Replace the missing vectors of a cell that does not repeat along them.

    Parameters
    ----------
    lattice : array of shape (3, 3)
        Rows are lattice vectors, in Å. Those of molecules and slabs may be zero.
    periodic : tuple of three bool
        Directions in which the lattice repeats.

    Returns
    -------
    lattice : ndarray of float64 of shape (3, 3)
        The same vectors in periodic directions. If the three are not independent, the
        others become unit vectors normal to these; no edge crosses them.

    Raises
    ------
    UnreadableCrystal
        If vectors of periodic directions are zero, infinite or not independent.
    """
    vectors: np.ndarray = np.array(lattice, dtype=np.float64).reshape(3, 3)
    lengths = np.linalg.norm(vectors, axis=1)
    repeated = list(np.flatnonzero(periodic))
    if not np.isfinite(lengths[repeated]).all():
        raise UnreadableCrystal("the unit cell has vectors that are not finite")
    if not (lengths[repeated] > 0).all():
        k = next(k for k in repeated if not lengths[k] > 0)
        raise UnreadableCrystal(
            f"the unit cell is periodic (pbc) along its vector {k}, which is zero; set "
            f"pbc[{k}] to False, or add vacuum along it"
        )
    units = vectors / np.where(lengths > 0, lengths, 1)[:, None]
    if abs(np.linalg.det(units)) > _FLAT:
        return vectors
    normals = _normals(units[repeated])
    if len(normals) != 3 - len(repeated):
        raise UnreadableCrystal(
            "the unit cell is flat: its periodic vectors are not independent"
        )
    absent = [k for k in range(3) if k not in repeated]
    vectors[absent] = normals
    return vectors


def _normals(vectors: np.ndarray) -> np.ndarray:
    """Find orthonormal vectors of shape (m, 3) normal to the given unit vectors."""
    if not len(vectors):
        return np.eye(3)
    _, scales, rows = np.linalg.svd(vectors)
    normals: np.ndarray = rows[int((scales > _FLAT).sum()) :]
    return normals
