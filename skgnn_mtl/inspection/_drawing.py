"""Molecules as pictures with coloured atoms; the only file of this room with RDKit."""

from __future__ import annotations

from functools import reduce
from io import BytesIO
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

Colour = tuple[float, float, float]
# Pixels of a picture, enough for print at the size of a panel.
_WIDTH, _HEIGHT = 900, 580


def read_molecule(row: Any) -> Any:
    """Read a molecule with its atoms in the order of its graph.

    Parameters
    ----------
    row : str, Mol or tuple of these
        SMILES, or a molecule, which is taken as it is; several make a mixture.

    Returns
    -------
    molecule : Mol
        Sanitized.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If RDKit cannot read the SMILES.
    """
    if isinstance(row, Chem.Mol):
        return row
    if isinstance(row, tuple):
        return reduce(Chem.CombineMols, map(read_molecule, row))
    if not isinstance(row, str):
        raise TypeError(
            f"A molecule must be a SMILES or an RDKit molecule, got "
            f"{type(row).__name__}."
        )
    with Chem.rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(row)
    if molecule is None:
        raise ValueError(f"Could not read {row!r} as SMILES.")
    return molecule


def symbols(molecule: Any) -> list[str]:
    """List the elements of the atoms of a molecule."""
    return [atom.GetSymbol() for atom in molecule.GetAtoms()]


def symbol(number: int) -> str:
    """Give the symbol of an element by its atomic number."""
    name: str = Chem.GetPeriodicTable().GetElementSymbol(int(number))
    return name


def picture(molecule: Any, colours: list[Colour]) -> np.ndarray:
    """Draw a molecule on discs, one per atom.

    Parameters
    ----------
    molecule : Mol
        The molecule.
    colours : list of tuple
        Red, green and blue of the disc of each atom, from 0 to 1.

    Returns
    -------
    image : ndarray of float of shape (height, width, 4)
        Pixels.
    """
    from matplotlib.image import imread

    drawing = rdMolDraw2D.MolDraw2DCairo(_WIDTH, _HEIGHT)
    options: Any = drawing.drawOptions()
    # Letters in black, because the colours of elements would mix with those below.
    options.useBWAtomPalette()
    options.highlightRadius = 0.42
    options.fillHighlights = True
    options.padding = 0.06
    options.bondLineWidth = 4
    options.minFontSize = 28
    # A small molecule is not drawn larger than a large one can be.
    options.fixedBondLength = 90
    options.setBackgroundColour((1.0, 1.0, 1.0, 0.0))
    atoms = range(len(colours))
    rdMolDraw2D.PrepareAndDrawMolecule(
        drawing,
        molecule,
        highlightAtoms=list(atoms),
        highlightAtomColors=dict(zip(atoms, colours, strict=True)),
        highlightBonds=[],
    )
    drawing.FinishDrawing()
    image: np.ndarray = imread(BytesIO(drawing.GetDrawingText()))
    return image
