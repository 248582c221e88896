"""Units: in headers, behind numbers, and factors between them."""

from __future__ import annotations

import math
import re
from functools import reduce
from itertools import product

_PREFIXES = {
    **{"": 0, "k": 3, "M": 6, "G": 9, "d": -1, "c": -2, "m": -3, "u": -6},
    **{"n": -9, "p": -12, "f": -15},
}
# Symbol -> what it measures, and its size.
_BASES = {
    "M": ("mol/l", 1.0),
    "mol": ("mol", 1.0),
    "g": ("g", 1.0),
    "l": ("l", 1.0),
    "m": ("m", 1.0),
    "Å": ("m", 1e-10),
    "s": ("s", 1.0),
    "min": ("s", 60.0),
    "h": ("s", 3600.0),
    "J": ("J", 1.0),
    "cal": ("J", 4.184),
    "eV": ("J", 1.602176634e-19),
    "Pa": ("Pa", 1.0),
    "bar": ("Pa", 1e5),
    "K": ("K", 1.0),
    "°C": ("°C", 1.0),
    "%": ("%", 1.0),
    "hartree": ("J", 4.3597447222060e-18),
}
_WITHOUT_PREFIX = {"min", "h", "°C", "%", "hartree", "Å"}
# "m" and "M" alone are too short to be told from other marks.
_PARTS: dict[str, tuple[str, float]] = {
    prefix + base: (kind, size * 10.0**power)
    for (base, (kind, size)), (prefix, power) in product(
        _BASES.items(), _PREFIXES.items()
    )
    if not (prefix and base in _WITHOUT_PREFIX)
}
_AT_THE_END = re.compile(
    r"\s*(?:\(([^()]*)\)|\[([^\[\]]*)\]|[_ ]([fpnuµμm]M))\s*$", re.ASCII
)


def unit_of_header(name: str) -> tuple[str, str]:
    """Find a unit at the end of the name of a column.

    Parameters
    ----------
    name : str
        Such as "IC50 (nM)", "density [g/mL]" or "Ki_uM".

    Returns
    -------
    bare, unit : str
        The name before the unit, and the unit; ``(name, "")`` if there is none that is
        known.
    """
    match = _AT_THE_END.search(name)
    unit = next(filter(None, match.groups()), "").strip() if match else ""
    if not match or measure(unit) is None:
        return name, ""
    return name[: match.start()], unit


def measure(unit: str) -> tuple[str, float] | None:
    """Say what a unit measures.

    Parameters
    ----------
    unit : str
        Parts with "/" between them.

    Returns
    -------
    kind, size : str, float
        Equal kinds can be converted by the ratio of their sizes. None for an unknown
        unit.
    """
    parts = [_PARTS.get(_spelled(part)) for part in unit.split("/")]
    if not unit or None in parts:
        return None
    kinds, sizes = zip(*(part for part in parts if part), strict=True)
    return "/".join(kinds), reduce(lambda a, b: a / b, sizes)


def factor(given: str, wanted: str) -> float:
    """Compute what numbers in one unit are multiplied by to be in another.

    Parameters
    ----------
    given, wanted : str
        Units.

    Returns
    -------
    factor : float
        NaN if one cannot be turned into the other.
    """
    if _spelled(given) == _spelled(wanted):
        return 1.0
    a, b = measure(given), measure(wanted)
    if a is None or b is None or a[0] != b[0]:
        return math.nan
    # Rounded, because 1e-6 / 1e-9 is not 1000.
    return float(f"{a[1] / b[1]:.12g}")


def _spelled(unit: str) -> str:
    """Give the spellings of a unit one form."""
    unit = unit.strip().replace("µ", "u").replace("μ", "u").replace("L", "l")
    return unit.replace("Angstrom", "Å").replace("C°", "°C")
