"""Numbers of a crystal: what it is made of, and how densely."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl.graphs import GraphArray

from ._base import rows_of
from ._cif_reader import read_crystal
from ._composition import crystal_descriptors
from ._crystal import UnreadableCrystal, gemmi
from ._descriptor_table import DescriptorTable
from ._descriptors import Described


class CifToDescriptors(DescriptorTable):
    """Crystals as a table of numbers: statistics of elements, density and volume.

    Parameters
    ----------
    descriptors : "composition" or callable, default="composition"
        Those of ``CifToGraph``: statistics of the elements with density and volume per
        atom, or the numbers of a function of a pymatgen ``Structure``.
    disorder : {"raise", "majority", "mix"}, default="raise"
        Sites of partial occupancy are unreadable, or the most abundant element takes
        the place, or parts of atoms count as parts.
    block : str or None, default=None
        Name of the data block to read. By default a file must have exactly one with
        sites; others are ignored.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a row that is missing or unreadable: raise at the first one, or
        make it NaN in all columns, with one warning.
    n_jobs : int, default=None
        Number of processes, as everywhere in scikit-learn; -1 uses all cores.

    Attributes
    ----------
    n_features_in_ : int
        1, the column of structures.
    feature_names_in_ : ndarray of shape (1,)
        Name of that column, if ``fit`` saw a table.

    See Also
    --------
    CifToGraph : Crystals as graphs; its notes say what is read and define the numbers.
    SmilesToDescriptors : The same for molecules.

    Notes
    -----
    X are CIF texts, paths, pymatgen ``Structure`` or ASE ``Atoms``, or graphs that were
    made by ``CifToGraph`` with the same descriptors, whose numbers are taken. Other
    graphs are refused, because they do not have the volume of the cell.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from skgnn_mtl.featurizers import CifToDescriptors
    >>> salt = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0, 0, 0], [.5, .5, .5]])
    >>> transformer = CifToDescriptors().fit([salt])
    >>> values = transformer.transform([salt])
    >>> dict(zip(transformer.get_feature_names_out(), values[0].round(2)))["density"]
    np.float64(4.0)
    """

    _reads: ClassVar[str] = "crystal"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DescriptorTable._parameter_constraints,
        "descriptors": [StrOptions({"composition"}), callable],
        "disorder": [StrOptions({"raise", "majority", "mix"})],
        "block": [None, str],
    }

    def __init__(
        self,
        descriptors: str | Callable[[Any], Any] = "composition",
        *,
        disorder: str = "raise",
        block: str | None = None,
        on_error: str = "raise",
        n_jobs: int | None = None,
    ) -> None:
        self.descriptors = descriptors
        self.disorder = disorder
        self.block = block
        self.on_error = on_error
        self.n_jobs = n_jobs

    def _names(self) -> list[str]:
        gemmi()  # complains if it is missing
        return list(crystal_descriptors(self.descriptors).names)

    def _rows_of(self, X: Any) -> list[Any]:
        if not isinstance(X, GraphArray):
            return rows_of(X, paths=True)
        names, known = self._names(), X.schema.graph_features
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"X are graphs without the descriptor(s) {', '.join(missing[:3])}"
                f"{', ...' if len(missing) > 3 else ''}, and a graph does not have the "
                "volume of its cell. Make the graphs by "
                "CifToGraph(descriptors='composition'), or pass CIF."
            )
        columns = [known.index(name) for name in names]
        values = X.graph_features[:, columns].astype(np.float64)
        pairs = zip(values, X.valid.tolist(), strict=True)
        return [row if valid else None for row, valid in pairs]

    def _describe(self, rows: list[Any]) -> list[Described | None]:
        chosen = crystal_descriptors(self.descriptors)
        return [self._described_row(row, chosen.describe) for row in rows]

    def _described_row(
        self, row: Any, describe: Callable[[Any], Described]
    ) -> Described | None:
        if row is None or isinstance(row, np.ndarray):  # of a graph
            return row
        try:
            crystal = read_crystal(row, disorder=self.disorder, block=self.block)
        except UnreadableCrystal:
            return None
        return describe(crystal)

    def _explain(self, row: Any) -> str:
        try:
            read_crystal(row, disorder=self.disorder, block=self.block)
        except UnreadableCrystal as error:
            return str(error)
        return "it was unreadable a moment ago, but is readable now; try again"

    def _portable(self, rows: list[Any]) -> list[Any]:
        return rows
