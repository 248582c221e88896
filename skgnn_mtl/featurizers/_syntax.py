"""Why a string is not SMILES, in a few words.

RDKit writes the reason to a log of the whole process, and to read it there would mean
to redirect that log. The common mistakes are found again here instead.
"""

from __future__ import annotations

import re
from collections import Counter

_TOKEN = re.compile(
    r"(?P<atom>\[[^\[\]]*\]|Br|Cl|[BCNOPSFI*]|[bcnops])"
    r"|(?P<ring>%\(\d+\)|%\d\d|\d)"
    r"|(?P<bond>->|<-|[-=#$:~/\\.])"
    r"|(?P<parenthesis>[()])"
)


_BLANKS = " \t\r\n\v\f"
_BRACKET = re.compile(r"\[(\d*)([^\[\]]*)\]")
_LONG_NUMBER = re.compile(r"\[(\d{5}|[^\[\]]*[#+-]\d{3})")
HEAVIEST = 118
_LARGEST_ISOTOPE, _LARGEST_CHARGE = 2**16 - 1, 2**7 - 1
# RDKit needs a second or two for these (conjugated chains, a stereo centre between long
# chains), and four times as long for twice as many.
_MOST_LETTERS = 6000

# Other notations than SMILES.
_INCHI = re.compile(r"InChI=1S?/")
_INCHI_KEY = re.compile(r"[A-Z]{14}-[A-Z]{10}-[A-Z]")
_REACTION = re.compile(r"[^\s>]*(?<!-)>[^\s>]*>[^\s>]*")
_BARE_ATOMS = re.compile(r"(?:\[(?:[BCNOPSFI]|Cl|Br)\]){2,}")
_SELFIES = re.compile(
    r"(?:\[[^\[\]]+\])*\[[=#/\\]?(?:Branch|Ring)\d\](?:\[[^\[\]]+\])*"
)


def is_suspect(text: str) -> bool:
    """Tell quickly whether RDKit might misread a row, or take minutes for it.

    Parameters
    ----------
    text : str
        A row.

    Returns
    -------
    suspect : bool
        Whether to ask :func:`why_misread`.
    """
    return (
        not text.isascii()
        or len(text) > _MOST_LETTERS
        or "\n" in text
        or "\r" in text
        or ("[" in text and _LONG_NUMBER.search(text) is not None)
    )


def why_misread(text: str) -> str:
    """Name what RDKit would leave out, wrap around as too large, or not end with.

    Parameters
    ----------
    text : str
        A row.

    Returns
    -------
    reason : str
        A clause without a full stop; '' if there is nothing of the kind.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return "it is not valid Unicode"
    lines = text.strip(_BLANKS).splitlines()
    if len(lines) > 1:
        return f"it has {len(lines)} lines, but one row is one SMILES"
    # What follows a blank is a name or an extension; RDKit skips a byte-order mark.
    smiles = re.split(f"[{_BLANKS}]", text.strip(_BLANKS), maxsplit=1)[0]
    smiles = smiles.removeprefix("\ufeff")
    if len(smiles) > _MOST_LETTERS:
        return (
            f"it has {len(smiles)} letters, but RDKit could take minutes for more than "
            f"{_MOST_LETTERS}; pass the molecule as an RDKit object"
        )
    for position, letter in enumerate(smiles):
        if not letter.isascii():
            return f"unexpected {letter!r} at position {position}"
    return next(filter(None, map(_too_large, _BRACKET.finditer(smiles))), "")


def _too_large(bracket: re.Match[str]) -> str:
    isotope, atom = bracket.groups()
    if _exceeds(isotope, _LARGEST_ISOTOPE):
        return f"the isotope {_short(isotope)} is larger than {_LARGEST_ISOTOPE}"
    for sign, digits in re.findall(r"([#+-])(\d+)", atom):
        if sign == "#" and _exceeds(digits, HEAVIEST):
            return f"the atomic number {_short(digits)} is larger than {HEAVIEST}"
        if sign != "#" and _exceeds(digits, _LARGEST_CHARGE):
            return (
                f"the charge {sign}{_short(digits)} is outside of +-{_LARGEST_CHARGE}"
            )
    return ""


def _exceeds(digits: str, most: int) -> bool:
    # Python refuses to read numbers of thousands of digits.
    return len(digits) > len(str(most)) + 9 or int(digits or 0) > most


def _short(digits: str) -> str:
    return digits if len(digits) <= 12 else f"{digits[:12]}..."


def notation(text: str) -> str:
    """Name the notation of a text that is not SMILES, but well known.

    Parameters
    ----------
    text : str
        A row.

    Returns
    -------
    clause : str
        What it looks like and what to do, without a full stop; '' if it looks like
        SMILES or nothing known.
    """
    text = text.strip()
    if _INCHI.match(text):
        return (
            "it looks like an InChI; read it with Chem.MolFromInchi of RDKit and pass "
            "the molecule"
        )
    if _INCHI_KEY.fullmatch(text):
        return "it looks like an InChIKey, a checksum that holds no structure"
    if _SELFIES.fullmatch(text) or _BARE_ATOMS.fullmatch(text):
        return (
            "it looks like SELFIES; convert it with selfies.decoder of the package "
            "selfies"
        )
    if _REACTION.fullmatch(text):
        return "it looks like a reaction; pass its reactants or products as SMILES"
    return ""


def why_not_smiles(smiles: str) -> str:
    """Name the first mistake in the syntax of a string that RDKit cannot read.

    Parameters
    ----------
    smiles : str
        The string.

    Returns
    -------
    reason : str
        A clause without a full stop.
    """
    other = notation(smiles)
    if other:
        return other
    # What follows a blank is a name or an extension, not part of the structure.
    text = smiles.split(maxsplit=1)[0]
    tokens, position = [], 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return _unexpected(text, position)
        tokens.append(token)
        position = token.end()
    if text != smiles.rstrip() and _mistake(tokens) == _UNKNOWN:
        return "the part behind the blank is not a valid extension"
    return _mistake(tokens)


_UNKNOWN = "the syntax is not valid"


def _unexpected(text: str, position: int) -> str:
    if text[position] == "[":
        return "unclosed bracket"
    return f"unexpected {text[position]!r} at position {position}"


def _mistake(tokens: list[re.Match[str]]) -> str:
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth < 0:
            return f"')' without '(' at position {token.start()}"
    if depth > 0:
        return "unclosed parenthesis"
    rings = Counter(int(token[0].strip("%()")) for token in tokens if token["ring"])
    if any(count % 2 for count in rings.values()):
        return "unclosed ring"
    return _mistake_of_neighbours(tokens)


def _mistake_of_neighbours(tokens: list[re.Match[str]]) -> str:
    before = None
    for token in tokens:
        dangling = token["bond"] and (before is None or before["bond"])
        if dangling or (before is None and not token["atom"]):
            return f"unexpected {token[0]!r} at position {token.start()}"
        before = token
    if before is not None and before["bond"]:
        return "a bond without a second atom at the end"
    return _UNKNOWN
