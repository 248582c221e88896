"""The sample of eight physical properties in the package."""

from __future__ import annotations

from importlib import resources
from typing import Any

import pandas as pd
from sklearn.utils import Bunch

from ._table import read_descr, to_bunch


def load_physchem(
    *, return_X_y: bool = False, as_frame: bool = True
) -> Bunch | tuple[Any, Any]:
    """Load 2,000 organic molecules with 8 physical properties, 52 % of them missing.

    Boiling, melting and flash point (K), density (kg/m3), refractive index, enthalpy
    of vaporization at 298 K (J/mol), logP and the decadic logarithm of the relative
    permittivity. ``DESCR`` describes the selection of the sample, and the sources and
    weaknesses of the values.

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

        data : Series or object ndarray of shape (2000,)
            SMILES.
        target : DataFrame or float64 ndarray of shape (2000, 8)
            Properties, NaN where missing.
        frame : DataFrame of shape (2000, 9)
            Both together; only with ``as_frame=True``.
        target_names : list of str
            Properties with their units.
        DESCR : str
            Description.
    (data, target) : tuple
        With ``return_X_y=True``.

    See Also
    --------
    load_elasticity : Elastic properties of 600 crystals, shipped.
    fetch_moleculenet : Sets of MoleculeNet.

    References
    ----------
    The tables of the Python package ``chemicals`` 1.5.2 by Caleb Bell and
    contributors (MIT licence), and the sources named in ``DESCR``.

    Examples
    --------
    >>> from skgnn_mtl.datasets import load_physchem
    >>> X, y = load_physchem(return_X_y=True)
    >>> y.notna().sum()
    Tb (K)                1465
    Tm (K)                1517
    Tflash (K)             415
    rho (kg/m3)           1157
    RI                    1089
    Hvap298 (J/mol)        707
    logP                   795
    log10 permittivity     511
    dtype: int64
    """
    path = resources.files(__package__) / "data" / "physchem.csv.gz"
    with path.open("rb") as file:
        frame = pd.read_csv(
            file,
            compression="gzip",
            keep_default_na=False,
            na_values=[""],
        )
    return to_bunch(
        frame["smiles"],
        frame.drop(columns="smiles"),
        read_descr("physchem"),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
