"""The sample of crystals with elastic properties in the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from ._table import read_descr, to_bunch

_EXTRA = ["material_id", "formula", "space_group"]


def load_elasticity(
    *, return_X_y: bool = False, as_frame: bool = True
) -> Bunch | tuple[Any, Any]:
    """Load a sample of inorganic crystals: 600 structures, 4 elastic properties.

    Bulk and shear modulus (GPa; averages of Voigt, Reuss and Hill), Poisson ratio and
    universal elastic anisotropy (dimensionless), computed by density functional theory.
    All four follow from one tensor, so they are dependent tasks. Take logarithms of the
    moduli and of the heavy-tailed anisotropy. Split by composition or chemical system
    (:func:`~skgnn_mtl.model_selection.composition_groups`).

    Parameters
    ----------
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Whether to return pandas objects instead of NumPy arrays.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries

        data : Series or object ndarray of shape (600,)
            CIF texts that list all atoms of the cell.
        target : DataFrame or float64 ndarray of shape (600, 4)
            Properties.
        frame : DataFrame of shape (600, 5)
            Both together; only with ``as_frame=True``.
        extra : DataFrame or object ndarray of shape (600, 3)
            Materials Project number, formula and number of the space group.
        target_names : list of str
            Properties with their units.
        DESCR : str
            Description with citation, licence and weaknesses.
    (data, target) : tuple
        With ``return_X_y=True``.

    See Also
    --------
    load_physchem : Eight properties of 2,000 molecules, shipped.
    fetch_mp_multitask : Several properties of crystals, few in common.

    References
    ----------
    M. de Jong et al., "Charting the complete elastic properties of inorganic
    crystalline compounds", Scientific Data 2, 150009 (2015). Materials Project data,
    CC BY 4.0.

    Examples
    --------
    >>> from skgnn_mtl.datasets import load_elasticity
    >>> X, y = load_elasticity(return_X_y=True)
    >>> y.median()
    K_VRH (GPa)           135.409284
    G_VRH (GPa)            61.203498
    poisson_ratio           0.291302
    elastic_anisotropy      0.341370
    dtype: float64
    """
    path = resources.files(__package__) / "data" / "elasticity.csv.gz"
    with path.open("rb") as file:
        frame = pd.read_csv(
            file, compression="gzip", keep_default_na=False, na_values=[""]
        )
    return to_bunch(
        frame["cif"],
        frame.drop(columns=["cif", *_EXTRA]),
        read_descr("elasticity"),
        return_X_y=return_X_y,
        as_frame=as_frame,
        extra=frame[_EXTRA],
    )
