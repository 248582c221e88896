"""Wrong input by chance: strings from real ones, tables, values of parameters.

Each function draws from the generator that it is given, so that a seed and a number
give the same input everywhere.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

# A row of this length is still a row; longer ones are refused by their length alone.
_LONGEST = 8000
_ODD_LETTERS = ("\0", "\t", "\n", "\r\n", "é", "–", "\ud800", "\U0001f600", "\ufeff")
_SMILES_TOKENS = (
    *("C", "c", "N", "n", "O", "o", "S", "s", "P", "F", "Cl", "Br", "B", "*", "H"),
    *("[", "]", "(", ")", "=", "#", "$", ":", "/", "\\", ".", "-", "+", "@", "@@"),
    *("%", "0", "1", "2", "9", "%10", "%(100)", "999", "~", "!", "&", "^", "|", "{"),
    *("[nH]", "[NH4+]", "[C@@H]", "[C@]", "[13C]", "[#6]", "[Cu+2]", "[se]", "[H]"),
    *("[2H]", "[U]", "[#119]", "[C:1]", "[C@TH2]", "[C@OH30]", "->", "<-", ">>", " "),
    *("[CH99]", "[C-200]", "C#1CCCCC1", "|$a$|", "(=O)", "/C=C/", "c1ccccc1", "?"),
)
# These nearly always leave a molecule.
_SMILES_GROUPS = (
    *("C", "N", "O", "(C)", "(=O)", "(F)", "[C@@H](O)", "[C@H]", "/C=C/", "[13C]"),
    *("c1ccccc1", "C1CC1", "S(=O)(=O)", "[N+](C)(C)", ".[Na+]", "[Si](C)(C)", "*"),
)
_CIF_VALUES = (
    *("?", ".", "nan", "inf", "-1", "0", "1e400", "1e-400", "-0.0", "90(", "1.2(34)"),
    *("0.5.5", "1/3", "''", "'", '"', "0x10", "1e9", "1,5", "99999999999999999999"),
)
_CIF_WORDS = (
    *("loop_", "data_", "data_other", "save_", "stop_", "global_", "#", ";", "'a b'"),
    *("_atom_site_label", "_atom_site_fract_x", "_atom_site_occupancy", "_unknown"),
    *("_cell_length_a 3.0", "_symmetry_space_group_name_H-M 'P 1'", "x,y,z", "-x,y,z"),
    *("_space_group_IT_number 225", "_symmetry_Int_Tables_number 999", "x,x,x", "x+,y"),
    *("_space_group_name_Hall '-F 4 2 3'", "Xx1 Xx 1 0 0 0 1", "D D 1 0.1 0.2 0.3 1"),
    *("Fe0+ Fe0+ 1 0 0 0 0.5", "_symmetry_equiv_pos_as_xyz", "_cell_angle_beta 180"),
)


def _pick(rng: np.random.Generator, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


def _span(rng: np.random.Generator, n: int) -> tuple[int, int]:
    """Draw a part of a sequence; most parts are short."""
    begin = int(rng.integers(n + 1))
    return begin, min(n, begin + int(rng.geometric(0.3)))


def _edit(parts: Any, rng: np.random.Generator, new: Any, other: Any) -> Any:
    """Change a string, or a list of lines, at one place."""
    begin, end = _span(rng, len(parts))
    match int(rng.integers(7)):
        case 0:  # insert
            return parts[:begin] + new + parts[begin:]
        case 1:  # replace
            return parts[:begin] + new + parts[end:]
        case 2:  # delete
            return parts[:begin] + parts[end:]
        case 3:  # repeat
            n = 2 if rng.random() < 0.998 else int(rng.integers(2, 3000))
            return parts[:begin] + parts[begin:end] * n + parts[end:]
        case 4:  # cut off
            return parts[:end]
        case 5:  # go on with another one
            return parts[:begin] + other[int(rng.integers(len(other) + 1)) :]
        case _:  # exchange
            first, last = _span(rng, len(parts))
            (a, b), (c, d) = sorted([(begin, end), (first, last)])
            b = min(b, c)
            return parts[:a] + parts[c:d] + parts[b:c] + parts[a:b] + parts[d:]


def mutate_smiles(rng: np.random.Generator, corpus: Sequence[str]) -> str:
    """Change a SMILES of a corpus at a few places."""
    text, other = _pick(rng, corpus), _pick(rng, corpus)
    for _ in range(int(rng.geometric(0.5))):
        kind = rng.random()
        if kind < 0.5:
            at = int(rng.integers(len(text) + 1))
            text = text[:at] + _pick(rng, _SMILES_GROUPS) + text[at:]
        else:
            tokens = _ODD_LETTERS if kind < 0.52 else _SMILES_TOKENS
            text = _edit(text, rng, _pick(rng, tokens), other)
    return text[:_LONGEST]


def mutate_cif(rng: np.random.Generator, corpus: Sequence[str]) -> str:
    """Change a CIF of a corpus: its lines, its numbers, its letters."""
    text, other = _pick(rng, corpus), _pick(rng, corpus)
    for _ in range(int(rng.geometric(0.5))):
        kind = rng.random()
        if kind < 0.35:
            lines = _edit(
                text.split("\n"), rng, [_pick(rng, _CIF_WORDS)], other.split("\n")
            )
            text = "\n".join(lines)
        elif kind < 0.75:
            text = _other_value(text, rng)
        else:
            odd = _ODD_LETTERS if rng.random() < 0.2 else (*_CIF_VALUES, *_CIF_WORDS)
            text = _edit(text, rng, _pick(rng, odd), other)
    # With a line break, or it would be the name of a file.
    return text[:1_000_000] + "\n"


def _other_value(text: str, rng: np.random.Generator) -> str:
    """Replace one word by a number that is odd, or by a word from another place."""
    words = list(re.finditer(r"\S+", text))
    if not words:
        return text
    word = _pick(rng, words)
    new = _pick(rng, _CIF_VALUES) if rng.random() < 0.6 else _pick(rng, words)[0]
    return text[: word.start()] + new + text[word.end() :]


# -- values of parameters -----------------------------------------------------------


def odd_value(rng: np.random.Generator) -> Any:
    """Draw what could be passed by mistake; no value asks for hours or gigabytes."""
    return _pick(rng, _ODD_VALUES)()


_ODD_VALUES: tuple[Callable[[], Any], ...] = (
    *(lambda v=v: v for v in (None, True, False, 0, 1, -1, 2, 0.5, 1.5, -0.5, 1e-300)),
    *(lambda v=v: v for v in (float("nan"), float("inf"), 1e400, 10**400, -(10**400))),
    *(lambda v=v: v for v in ("", "a", "auto", "mean", "é\ud800", b"a", "1", "none")),
    *(lambda v=v: v for v in (1j, decimal.Decimal("0.5"), datetime.date(2020, 1, 1))),
    *(list, dict, set, tuple, object, lambda: lambda *_: None, lambda: int),
    *(lambda: [1], lambda: ["a", 1], lambda: (0.5, None), lambda: {"a": 1}),
    *(lambda: [float("nan")], lambda: np.array([1.0, 2.0]), lambda: np.array(3)),
    *(lambda: np.float32(0.5), lambda: np.int8(2), lambda: np.bool_(True)),
    *(lambda: np.datetime64("2020-01-01"), lambda: pd.NA, lambda: pd.Series([1, 2])),
    *(lambda: range(3), lambda: iter([1]), lambda: slice(None), lambda: Ellipsis),
    *(lambda: pd.DataFrame({"a": [1.0]}), lambda: [[1, 2], [3]], lambda: "a" * 100_000),
)


# -- tables --------------------------------------------------------------------------

_ODD_ENTRIES: tuple[Any, ...] = (
    *(
        None,
        np.nan,
        np.inf,
        -np.inf,
        1e308,
        -1e308,
        1e-320,
        10**400,
        10**20,
        "a",
        "1.5",
    ),
    *("", b"1", 1j, True, decimal.Decimal("1.5"), datetime.date(2020, 1, 1), pd.NA),
    *(np.datetime64("2020-01-01", "ns"), np.timedelta64(1, "s"), pd.NaT, [1.0], (), {}),
    *(np.float16(1), np.longdouble(1), np.array([1.0]), np.ma.masked, object(), "nan"),
)
_DTYPES = ("f2", "f4", "f8", "i1", "i8", "u8", "?", "c16", "O", "U8", "M8[ns]", "m8[s]")


def table(
    rng: np.random.Generator, n_rows: int, n_columns: int, *, classes: bool = False
) -> Any:
    """Make a table of numbers, and nearly always spoil it.

    Parameters
    ----------
    rng : Generator
        Source.
    n_rows, n_columns : int
        Size before anything happens to it; one column may become a flat array.
    classes : bool, default=False
        Whether the numbers are 0 and 1.

    Returns
    -------
    table : object
        An array, a list, a table of pandas, or something else.
    """
    values: Any = rng.normal(size=(n_rows, n_columns))
    if classes:
        values = (values > 0).astype(float)
    if n_columns == 1 and rng.random() < 0.5:
        values = values[:, 0]
    for _ in range(int(rng.integers(0, 3))):
        values = _spoil(values, rng)
    return _contain(values, rng)


def _spoil(values: np.ndarray, rng: np.random.Generator) -> Any:
    match int(rng.integers(9)):
        case 0 | 1 | 2:
            return _with_entries(values, rng)
        case 3:
            values = values.copy()
            values[rng.random(values.shape) < 0.5] = None if values.dtype == "O" else 0
            return values
        case 4:
            with np.errstate(all="ignore"):
                try:
                    return values.astype(_pick(rng, _DTYPES))
                except Exception:  # NumPy has many for what it cannot convert
                    return values
        case 5:
            return values[: int(rng.integers(len(values) + 1))]
        case 6:
            return np.concatenate([values, values[:1]])
        case 7:
            return values[..., None]
        case _:
            return values[:0] if rng.random() < 0.2 else values[::-1]


def _with_entries(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put odd entries at some places, or all along a column."""
    values = values.astype(object)
    entry = _pick(rng, _ODD_ENTRIES)
    for _ in range(int(rng.integers(1, 4))):
        if values.size:
            place = tuple(int(rng.integers(n)) for n in values.shape)
            if rng.random() < 0.2:
                place = (slice(None), *place[1:])
            holder = np.empty((), dtype=object)
            holder[()] = entry
            values[place] = holder if isinstance(place[0], slice) else entry
    return values


def _contain(values: Any, rng: np.random.Generator) -> Any:
    """Put an array into another container, if that container takes it."""
    kind = int(rng.integers(9))
    try:
        match kind:
            case 0:
                return values.tolist()
            case 1 | 2 if values.ndim == 2:
                names = [_pick(rng, ("a", "b", 1, "", "a b", None)) for _ in values.T]
                plain = [f"t{k}" for k in range(values.shape[1])]
                return pd.DataFrame(values, columns=plain if kind == 1 else names)
            case 1 | 2 if values.ndim == 1:
                return pd.Series(values, index=rng.permutation(len(values)))
            case 3:
                return np.array(values.tolist(), dtype=float)
            case 4:
                return np.ma.masked_array(values, rng.random(values.shape) < 0.1)
            case 5:
                return np.asfortranarray(values)
            case 6 if rng.random() < 0.3:
                return odd_value(rng)
    except (TypeError, ValueError, OverflowError, np.ma.MaskError):
        pass
    return values
