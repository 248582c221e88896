"""Materials Project sets joined by identifier: 13 tasks with gaps."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
import pooch
from sklearn.utils import Bunch

from ._cache import data_folder
from ._table import read_descr, to_bunch

_FILE = "mp_multitask.csv.gz"
_SHA256 = "85bfcdcff879acca83cb5ad505915e4853e3d1d7bf17aedbf640fc3df6576990"
_TASKS = {
    "K_VRH": "K_VRH (GPa)",
    "G_VRH": "G_VRH (GPa)",
    "poisson_ratio": "poisson_ratio",
    "elastic_anisotropy": "elastic_anisotropy",
    "K_VRH_mp2025": "K_VRH_mp2025 (GPa)",
    "G_VRH_mp2025": "G_VRH_mp2025 (GPa)",
    "n": "n",
    "band_gap": "band_gap (eV)",
    "poly_electronic": "poly_electronic",
    "poly_total": "poly_total",
    "eij_max": "eij_max (C/m2)",
    "formation_energy_per_atom": "formation_energy_per_atom (eV/atom)",
    "e_above_hull": "e_above_hull (eV/atom)",
}
_EXTRA = ["material_id", "formula", "structure_from"]


def fetch_mp_multitask(
    *,
    data_home: str | os.PathLike[str] | None = None,
    return_X_y: bool = False,
    as_frame: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load five Materials Project sets joined: 9,000 crystals, 13 tasks, 78 % missing.

    Elastic, dielectric and piezoelectric properties, band gaps and formation energies
    from five published sets, joined by Materials Project number. Some tasks are nearly
    equal: ``K_VRH`` and ``K_VRH_mp2025`` (correlation 0.988), ``G_VRH`` and
    ``G_VRH_mp2025`` (0.989), and ``n``, which is the square root of
    ``poly_electronic``. Use one of each pair, or keep both on the same side of each
    split, because one predicts the other.

    Parameters
    ----------
    data_home : path-like, optional
        Folder that holds ``mp_multitask.csv.gz``. Default: the environment variable
        ``SKGNN_MTL_DATA``, else the user's cache folder. The joined table cannot be
        downloaded.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Whether to return pandas objects instead of NumPy arrays.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries

        data : Series or object ndarray of shape (9000,)
            CIF texts in P1.
        target : DataFrame or float64 ndarray of shape (9000, 13)
            Properties, NaN where missing.
        frame : DataFrame of shape (9000, 14)
            Both together; only with ``as_frame=True``.
        extra : DataFrame or object ndarray of shape (9000, 3)
            Materials Project number, formula, and the source of the cell.
        target_names : list of str
            Properties with their units.
        DESCR : str
            Description with citations, licence and weaknesses.
    (data, target) : tuple
        With ``return_X_y=True``.

    Raises
    ------
    OSError
        If the file is missing, or if it is another one.

    See Also
    --------
    fetch_mp_elasticity : Elastic tensors of crystals.
    fetch_mp_dielectric : Dielectric tensors of crystals.

    References
    ----------
    M. de Jong et al., Scientific Data 2, 150009 (2015); M. de Jong et al., Scientific
    Data 2, 150053 (2015); I. Petousis et al., Scientific Data 4, 160134 (2017);
    F. Faber et al., Int. J. Quantum Chem. 115, 1094 (2015). Materials Project, CC BY
    4.0.

    Examples
    --------
    >>> from skgnn_mtl.datasets import fetch_mp_multitask
    >>> mp = fetch_mp_multitask(data_home="folder")  # doctest: +SKIP
    >>> mp.target.notna().sum().sum()  # doctest: +SKIP
    np.int64(25671)
    """
    path = data_folder(data_home) / _FILE
    if not path.is_file():
        raise OSError(
            f"{_FILE} is not in {path.parent}. It was joined from published sets and "
            "cannot be downloaded. Put the file there, or pass its folder as data_home."
        )
    found = pooch.file_hash(str(path), alg="sha256")
    if found != _SHA256:
        raise OSError(f"{path} must have sha256 {_SHA256}, but has {found}.")
    # Only empty fields are missing, because "NaN" is the formula of sodium nitride.
    frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return to_bunch(
        frame["cif"],
        frame[list(_TASKS)].astype("float64").rename(columns=_TASKS),
        read_descr("mp_multitask"),
        return_X_y=return_X_y,
        as_frame=as_frame,
        extra=frame[_EXTRA],
    )
