"""Numbers of a molecule: descriptors and counts of Morgan fragments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl._component import Condition, Numbers
from skgnn_mtl.graphs import GraphArray

from ._base import rows_of
from ._descriptor_table import DescriptorTable
from ._descriptors import (
    Described,
    Descriptors,
    molecular_descriptors,
    without_hydrogens,
)
from ._parts import refuse_joined
from ._rows import map_molecules, portable, rdkit, why_unreadable

# Not "array-like", because that allows an array of no dimension.
_NAMES = Condition(
    lambda value: np.iterable(value) and not isinstance(value, str),
    "a sequence of names",
)


class SmilesToDescriptors(DescriptorTable):
    """Molecules as a table of numbers: descriptors and counts of fragments.

    Parameters
    ----------
    descriptors : "rdkit2d", sequence of str, callable or None, default="rdkit2d"
        "rdkit2d" are all descriptors of ``rdkit.Chem.Descriptors``, which need no
        coordinates. A sequence names some of them, a function of a molecule gives
        others; None leaves them out.
    morgan_counts : int, default=1024
        Number of columns of a Morgan fingerprint [1]_ with counts, into which fragments
        are hashed; 0 leaves it out.
    radius : int, default=2
        Radius of the largest fragments, in bonds.
    on_error : {"raise", "nan"}, default="raise"
        What to do with a row that is missing or that RDKit cannot read: raise at the
        first one, or make it NaN in all columns, with one warning.
    n_jobs : int, default=None
        Number of processes, as everywhere in scikit-learn; -1 uses all cores.

    Attributes
    ----------
    n_features_in_ : int
        Number k of columns of strings.
    feature_names_in_ : ndarray of str of shape (k,)
        Names of these columns, if ``fit`` saw a table.

    See Also
    --------
    SmilesToGraph : Molecules as graphs, with the same descriptors beside them.
    CifToDescriptors : The same for crystals.

    Notes
    -----
    X are SMILES, RDKit molecules, or graphs with their SMILES as identifiers. A table
    of several columns of molecules gives the numbers of each, side by side, named
    ``molecule0_...``, ``molecule1_...``.

    Descriptors are those of ``SmilesToGraph``, whose notes say when one is NaN: where
    RDKit fails, where a value is infinite or beyond single precision, and where a
    molecule is too large for it. Counts are exact, also those of large molecules.
    Explicit hydrogens are removed for both.

    References
    ----------
    .. [1] D. Rogers, M. Hahn, "Extended-Connectivity Fingerprints", J. Chem. Inf.
       Model. 50, 742 (2010).

    Examples
    --------
    >>> from skgnn_mtl.featurizers import SmilesToDescriptors
    >>> transformer = SmilesToDescriptors(("HeavyAtomCount", "RingCount"), 4)
    >>> transformer.fit_transform(["CCO", "c1ccccc1"])
    array([[ 3.,  0.,  1.,  1.,  3.,  1.],
           [ 6.,  1.,  6., 12.,  0.,  0.]])
    >>> transformer.get_feature_names_out()
    array(['HeavyAtomCount', 'RingCount', 'morgan2_0', 'morgan2_1', 'morgan2_2',
           'morgan2_3'], dtype=object)
    """

    _reads: ClassVar[str] = "SMILES"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **DescriptorTable._parameter_constraints,
        "descriptors": [StrOptions({"rdkit2d"}), _NAMES, callable, None],
        # RDKit counts in 32 bits.
        "morgan_counts": [Numbers(Integral, 0, 2**31 - 1, closed="both")],
        "radius": [Numbers(Integral, 0, 2**31 - 1, closed="both")],
    }

    def __init__(
        self,
        descriptors: str | Sequence[str] | Callable[[Any], Any] | None = "rdkit2d",
        morgan_counts: int = 1024,
        *,
        radius: int = 2,
        on_error: str = "raise",
        n_jobs: int | None = None,
    ) -> None:
        self.descriptors = descriptors
        self.morgan_counts = morgan_counts
        self.radius = radius
        self.on_error = on_error
        self.n_jobs = n_jobs

    def _chosen(self) -> Descriptors | None:
        if self.descriptors is None:
            return None
        if isinstance(self.descriptors, str) or callable(self.descriptors):
            return molecular_descriptors(self.descriptors)
        return molecular_descriptors(tuple(map(str, self.descriptors)))

    def _names(self) -> list[str]:
        chosen = self._chosen()
        if chosen is None and not self.morgan_counts:
            raise ValueError(
                "SmilesToDescriptors has no column: set descriptors or morgan_counts."
            )
        counts = [f"morgan{self.radius}_{k}" for k in range(self.morgan_counts)]
        return [*(() if chosen is None else chosen.names), *counts]

    def _rows_of(self, X: Any) -> list[Any]:
        if not isinstance(X, GraphArray):
            return rows_of(X, paths=False, several=True)
        refuse_joined(X, "Descriptors")
        if not X.schema.paired_edges:
            raise ValueError(
                "Descriptors need graphs of molecules, whose edges are bonds, but "
                f"these graphs have the schema {X.schema.name!r}."
            )
        return rows_of(np.where(X.valid, X.ids, "").tolist(), paths=False)

    def _describe(self, rows: list[Any]) -> list[Described | None]:
        chosen, size = self._chosen(), self.morgan_counts
        generator = _morgan(self.radius, size) if size else None

        def digest(molecule: Any) -> Described:
            values = np.empty(0) if chosen is None else chosen.describe(molecule)
            if generator is None or isinstance(values, Exception):
                return values
            bare = without_hydrogens(molecule)
            counts = generator.GetCountFingerprintAsNumPy(bare)
            return np.concatenate([values, counts])

        return map_molecules(rows, digest)

    def _explain(self, row: Any) -> str:
        return why_unreadable(row, without_hydrogens)

    def _portable(self, rows: list[Any]) -> list[Any]:
        return portable(rows)


@cache
def _morgan(radius: int, size: int) -> Any:
    rdkit()  # complains if it is missing
    from rdkit.Chem import rdFingerprintGenerator

    return rdFingerprintGenerator.GetMorganGenerator(
        radius=int(radius), fpSize=int(size)
    )
