"""QM8: computed excitation energies of small molecules."""

from __future__ import annotations

import os
from typing import Any

from sklearn.utils import Bunch

from ._cache import RemoteFile
from ._table import Table, fetch_bunch, read_descr

_METHODS = ("CC2", "PBE0", "CAM")
_UNITS = {"E1": " (hartree)", "E2": " (hartree)", "f1": "", "f2": ""}

_TABLE = Table(
    file=RemoteFile("https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/qm8.csv"),
    smiles="smiles",
    # The first PBE0 block, because the file repeats it and pandas renames the second.
    tasks={
        f"{quantity}-{method}": f"{quantity}-{method}{unit}"
        for method in _METHODS
        for quantity, unit in _UNITS.items()
    },
    n_rows=21_786,
)


def fetch_qm8(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load QM8: 21,786 molecules, 12 computed electronic properties, no gaps.

    Energies E1, E2 (hartree) and oscillator strengths f1, f2 (dimensionless) of the
    lowest two singlet excitations by CC2, TD-PBE0 and TD-CAM-B3LYP. The file names 16
    columns; its two blocks of PBE0 are identical in all rows, and the second is
    dropped. A published mean over 16 tasks therefore counts PBE0 twice.

    Parameters
    ----------
    data_home : path-like, optional
        Cache folder. Default: the environment variable ``SKGNN_MTL_DATA``, else the
        user's cache folder (on Linux ``~/.cache/skgnn_mtl``).
    download_if_missing : bool, default=True
        Whether to download the file (4.7 MB) if it is not in the cache.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Whether to return pandas objects instead of NumPy arrays.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With the entries

        data : Series or object ndarray of shape (21786,)
            SMILES with each hydrogen written as ``[H]``.
        target : DataFrame or float64 ndarray of shape (21786, 12)
            Properties.
        frame : DataFrame of shape (21786, 13)
            Both together; only with ``as_frame=True``.
        target_names : list of str
            Properties with their units.
        DESCR : str
            Description with citation, licence and defects.
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
    R. Ramakrishnan, M. Hartmann, E. Tapavicza and O. A. von Lilienfeld, "Electronic
    spectra from TDDFT and machine learning in chemical space", J. Chem. Phys. 143,
    084111 (2015).

    Z. Wu et al., "MoleculeNet: a benchmark for molecular machine learning", Chem. Sci.
    9, 513 (2018).

    Examples
    --------
    >>> from skgnn_mtl.datasets import fetch_qm8
    >>> qm8 = fetch_qm8()  # doctest: +SKIP
    >>> qm8.target.shape  # doctest: +SKIP
    (21786, 12)
    """
    return fetch_bunch(
        _TABLE,
        read_descr("qm8"),
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
