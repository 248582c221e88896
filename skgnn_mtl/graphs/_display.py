"""How arrays of graphs look: a line of text, and a few graphs in a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._array import GraphArray

# Graphs that a notebook shows, and letters of their names.
_SHOWN, _LETTERS = 6, 40
_WIDTH, _HEIGHT = 200, 150
_CELL = (
    '<figure style="display:inline-block;margin:4px;text-align:center">{}'
    '<figcaption style="font-size:80%">{}</figcaption></figure>'
)


def text_of(graphs: GraphArray) -> str:
    """Count graphs, nodes and edges in a line.

    Parameters
    ----------
    graphs : GraphArray
        The graphs.

    Returns
    -------
    text : str
        For ``repr``.
    """
    invalid = len(graphs) - int(graphs.valid.sum())
    return (
        f"GraphArray({len(graphs)} graphs, {int(graphs.n_nodes.sum())} nodes, "
        f"{int(graphs.n_edges.sum())} edges, {graphs.schema.name!r}"
        + (f", {invalid} invalid)" if invalid else ")")
    )


def html_of(graphs: GraphArray) -> str:
    """Draw the first molecules, or list the first graphs of another kind.

    Parameters
    ----------
    graphs : GraphArray
        The graphs.

    Returns
    -------
    html : str
        A piece of a page.
    """
    # Of the first only, because a mapped array may be larger than the memory.
    first = graphs[: min(_SHOWN, len(graphs))]
    body = _pictures(first) or _table(first)
    left = len(graphs) - len(first)
    more = f"<p>and {left:,} more</p>" if left else ""
    return f"<div><p>{escape(text_of(graphs))}</p>{body}{more}</div>"


def _pictures(graphs: GraphArray) -> str:
    """Draw molecules by their SMILES; '' if there are none, or no RDKit."""
    if not graphs.schema.paired_edges or not any(graphs.ids):
        return ""
    try:
        from rdkit import Chem
        from rdkit.Chem.Draw.rdMolDraw2D import MolDraw2DSVG
    except ImportError:
        return ""

    def picture(smiles: str) -> str:
        with Chem.rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(smiles) if smiles else None
        if molecule is None:
            return "(invalid)"
        drawing = MolDraw2DSVG(_WIDTH, _HEIGHT)
        drawing.DrawMolecule(molecule)
        drawing.FinishDrawing()
        # Without the XML declaration, which is no part of a page.
        svg: str = drawing.GetDrawingText()
        return svg[svg.index("<svg") :]

    return "".join(_CELL.format(picture(name), _short(name)) for name in graphs.ids)


def _table(graphs: GraphArray) -> str:
    head = "<tr><th></th><th>name</th><th>nodes</th><th>edges</th></tr>"
    rows = (
        f"<tr><td>{k}</td><td>{_short(name)}</td><td>{n_nodes}</td><td>{n_edges}</td>"
        + ("</tr>" if valid else "<td>invalid</td></tr>")
        for k, (name, n_nodes, n_edges, valid) in enumerate(
            zip(graphs.ids, graphs.n_nodes, graphs.n_edges, graphs.valid, strict=True)
        )
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _short(name: str) -> str:
    return escape(name if len(name) <= _LETTERS else f"{name[:_LETTERS]}...")
