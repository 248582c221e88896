"""Leave out items of a CIF that are written wrongly and not needed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator

# Cells, sites and symmetry; displacement parameters, volumes and notes are not read.
NEEDED = re.compile(
    r"(?:^|\s)_(?:atom_site[_.](?!aniso)|symmetry|space_group|parent_space_group"
    r"|cell[_.](?!measurement|formula_units|volume|special))",
    re.IGNORECASE,
)
# With more of them the text is something else than a CIF.
_MOST_FAULTY = 20
_STARTS = ("loop_", "data_", "save_", "global_", "stop_")
_ASCII = {ord(box): "Vac" for box in "□☐◻▢⬜"} | {ord(sign): "-" for sign in "‐‑‒–—−"}


def without_faulty_items(text: str, parses: Callable[[str], bool]) -> str | None:
    """Leave out the items that cannot be parsed.

    Parameters
    ----------
    text : str
        A CIF with a syntax error.
    parses : callable
        Tells whether a text is a CIF.

    Returns
    -------
    text : str or None
        The other items. None if the cell, the sites or the symmetry are faulty, or if
        more than twenty items are.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_ASCII)
    if not re.search(r"^\s*data_", text, re.IGNORECASE | re.MULTILINE):
        return None
    kept, n_faulty = [], 0
    for item in _items(text):
        start = item.lstrip()[:5].lower()
        if start == "save_":
            # Its items would become those of the block.
            return None
        is_block = start == "data_"
        # The item is complete if another one may follow.
        if parses(f"{'' if is_block else 'data_x '}{item}\n_end 1\n"):
            kept.append(item)
            continue
        n_faulty += 1
        if n_faulty > _MOST_FAULTY or NEEDED.search(item):
            return None
        if is_block:
            kept.append(item.splitlines(keepends=True)[0])
    return "".join(kept)


def _items(text: str) -> Iterator[str]:
    """Split before each tag that starts a line, but not within loops and texts."""
    lines = text.splitlines(keepends=True)
    first, in_text, in_header = 0, False, False
    for k, line in enumerate(lines):
        if line.startswith(";"):
            in_text, in_header = not in_text, False
        word = line.lstrip().lower()
        if in_text or not word or word.startswith(("#", ";")):
            continue
        # In the header of a loop a tag has no value beside it.
        is_pair = re.match(r"_\S+\s+[^\s_#]", word)
        if word.startswith(_STARTS) or is_pair or (word[0] == "_" and not in_header):
            yield "".join(lines[first:k])
            first, in_header = k, word.startswith("loop_")
        elif word[0] != "_":
            in_header = False
    yield "".join(lines[first:])
