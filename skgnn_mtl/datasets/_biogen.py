"""Biogen's public set of in-vitro ADME measurements."""

from __future__ import annotations

import os
from typing import Any

from sklearn.utils import Bunch

from ._cache import RemoteFile
from ._table import Table, fetch_bunch, read_descr

_N_LABELS = {
    "LOG HLM_CLint (mL/min/kg)": 3087,
    "LOG MDR1-MDCK ER (B-A/A-B)": 2642,
    "LOG SOLUBILITY PH 6.8 (ug/mL)": 2173,
    "LOG PLASMA PROTEIN BINDING (HUMAN) (% unbound)": 194,
    "LOG PLASMA PROTEIN BINDING (RAT) (% unbound)": 168,
    "LOG RLM_CLint (mL/min/kg)": 3054,
}

_TABLE = Table(
    file=RemoteFile(
        "https://raw.githubusercontent.com/molecularinformatics/Computational-ADME/"
        "main/ADME_public_set_3521.csv",
        "sha256:2cfabc2667740c224487876c33b23124159ef43294e0f9e4d926cb6276c95a3b",
    ),
    smiles="SMILES",
    tasks={name: name for name in _N_LABELS},
    n_rows=3521,
    n_labels=tuple(_N_LABELS.values()),
)


def fetch_biogen_adme(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load Biogen's ADME set: 3,521 molecules, 6 in-vitro tasks, 46 % missing.

    Decadic logarithms of the intrinsic clearance in human and rat liver microsomes, the
    MDR1-MDCK efflux ratio, the solubility at pH 6.8 and the plasma protein binding in
    human and rat. The names of the tasks contain the units.

    Parameters
    ----------
    data_home : path-like, optional
        Cache folder. Default: the environment variable ``SKGNN_MTL_DATA``, else the
        user's cache folder (on Linux ``~/.cache/skgnn_mtl``).
    download_if_missing : bool, default=True
        Whether to download the file (0.4 MB) if it is not in the cache.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Whether to return pandas objects instead of NumPy arrays.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries

        data : Series or object ndarray of shape (3521,)
            SMILES.
        target : DataFrame or float64 ndarray of shape (3521, 6)
            Measurements, NaN where missing.
        frame : DataFrame of shape (3521, 7)
            Both together; only with ``as_frame=True``.
        target_names : list of str
            Tasks with their units.
        DESCR : str
            Description with citation, licence and defects, such as censored values.
    (data, target) : tuple
        With ``return_X_y=True``.

    Raises
    ------
    OSError
        If the file is missing and not downloaded, or if it is another table.

    See Also
    --------
    fetch_moleculenet : Sets of MoleculeNet.

    References
    ----------
    C. Fang et al., "Prospective validation of machine learning algorithms for
    absorption, distribution, metabolism, and excretion prediction: an industrial
    perspective", J. Chem. Inf. Model. 63, 3263 (2023).

    Examples
    --------
    >>> from skgnn_mtl.datasets import fetch_biogen_adme
    >>> adme = fetch_biogen_adme()  # doctest: +SKIP
    >>> adme.target.shape  # doctest: +SKIP
    (3521, 6)
    """
    return fetch_bunch(
        _TABLE,
        read_descr("biogen_adme"),
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
