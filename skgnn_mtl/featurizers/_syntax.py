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


def _mistake(tokens: list[re.Match]) -> str:
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


def _mistake_of_neighbours(tokens: list[re.Match]) -> str:
    before = None
    for token in tokens:
        dangling = token["bond"] and (before is None or before["bond"])
        if dangling or (before is None and not token["atom"]):
            return f"unexpected {token[0]!r} at position {token.start()}"
        before = token
    if before is not None and before["bond"]:
        return "a bond without a second atom at the end"
    return _UNKNOWN
