"""Crystal data sets of the matminer collection, Matbench among them."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import Bunch

from ._cache import RemoteFile, fetch_file
from ._table import read_descr, to_bunch

# Task columns of a data set -> their names with units.
_MATBENCH = {
    "matbench_dielectric": {"n": "n"},
    "matbench_jdft2d": {"exfoliation_en": "exfoliation_en (meV/atom)"},
    "matbench_log_gvrh": {"log10(G_VRH)": "log10(G_VRH / GPa)"},
    "matbench_log_kvrh": {"log10(K_VRH)": "log10(K_VRH / GPa)"},
    "matbench_mp_e_form": {"e_form": "e_form (eV/atom)"},
    "matbench_mp_gap": {"gap pbe": "gap pbe (eV)"},
    "matbench_mp_is_metal": {"is_metal": "is_metal"},
    "matbench_perovskites": {"e_form": "e_form (eV/cell)"},
    "matbench_phonons": {"last phdos peak": "last phdos peak (1/cm)"},
}
_ELASTICITY = {
    "K_VRH": "K_VRH (GPa)",
    "G_VRH": "G_VRH (GPa)",
    "poisson_ratio": "poisson_ratio",
    "elastic_anisotropy": "elastic_anisotropy",
}
_DIELECTRIC = {
    "n": "n",
    "poly_electronic": "poly_electronic",
    "poly_total": "poly_total",
    "band_gap": "band_gap (eV)",
}
_COMPOSITION_ONLY = ("expt_gap", "expt_is_metal", "glass", "steels")


def fetch_matbench(
    name: str,
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load one of the nine Matbench tasks that have structures.

    =============  =========  ==============================================
    name           crystals   task
    =============  =========  ==============================================
    dielectric     4,764      refractive index
    jdft2d         636        exfoliation energy (meV/atom)
    log_gvrh       10,987     log10 of the shear modulus (GPa)
    log_kvrh       10,987     log10 of the bulk modulus (GPa)
    mp_e_form      132,752    formation energy (eV/atom)
    mp_gap         106,113    band gap of PBE (eV)
    mp_is_metal    106,113    whether the band gap is zero (0 or 1)
    perovskites    18,928     formation energy of a cell of 5 atoms (eV)
    phonons        1,265      highest peak of the phonon spectrum (1/cm)
    =============  =========  ==============================================

    Rows have the order of the file, to which the folds of Matbench refer.

    Parameters
    ----------
    name : str
        Name of the table, with or without the prefix ``matbench_``.
    data_home : path-like, optional
        Cache folder. Default: the environment variable ``SKGNN_MTL_DATA``, else the
        user's cache folder (on Linux ``~/.cache/skgnn_mtl``).
    download_if_missing : bool, default=True
        Whether to download the file if it is not in the cache.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Whether to return pandas objects instead of NumPy arrays.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (CIF texts in P1), ``target`` of shape (n, 1), in the unit that
        its name has, ``frame`` (only with ``as_frame=True``), ``target_names`` and
        ``DESCR``.
    (data, target) : tuple
        With ``return_X_y=True``.

    Raises
    ------
    ValueError
        If Matbench does not have such a task with structures.
    OSError
        If the file is missing and not downloaded, or if it is another one.

    See Also
    --------
    fetch_mp_multitask : Several properties of crystals, few in common.

    References
    ----------
    A. Dunn et al., "Benchmarking materials property prediction methods: the Matbench
    test set and Automatminer reference algorithm", npj Comput. Mater. 6, 138 (2020).

    Examples
    --------
    >>> from skgnn_mtl.datasets import fetch_matbench
    >>> X, y = fetch_matbench("log_kvrh", return_X_y=True)  # doctest: +SKIP
    """
    full = name if name.startswith("matbench_") else f"matbench_{name}"
    if full not in _MATBENCH:
        known = ", ".join(key.removeprefix("matbench_") for key in _MATBENCH)
        no_structure = full.removeprefix("matbench_") in _COMPOSITION_ONLY
        raise ValueError(
            f"Matbench does not have a task {name!r} with structures"
            + (" (it has compositions only)" if no_structure else "")
            + f". Choose one of {known}."
        )
    return _fetch(
        full,
        _MATBENCH[full],
        "matbench",
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_mp_elasticity(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load elastic properties of 1,181 crystals, the whole of :func:`load_elasticity`.

    Parameters
    ----------
    data_home : path-like, optional
        Cache folder, see :func:`fetch_matbench`.
    download_if_missing : bool, default=True
        Whether to download the file if it is not in the cache.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Whether to return pandas objects instead of NumPy arrays.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (CIF texts in P1), ``target`` of shape (1181, 4), ``frame`` (only
        with ``as_frame=True``), ``target_names`` and ``DESCR``.
    (data, target) : tuple
        With ``return_X_y=True``.

    Raises
    ------
    OSError
        If the file is missing and not downloaded, or if it is another one.

    See Also
    --------
    load_elasticity : Elastic properties of 600 crystals, shipped.
    fetch_mp_multitask : Several properties of crystals, few in common.

    References
    ----------
    M. de Jong et al., "Charting the complete elastic properties of inorganic
    crystalline compounds", Scientific Data 2, 150009 (2015).

    Examples
    --------
    >>> from skgnn_mtl.datasets import fetch_mp_elasticity
    >>> X, y = fetch_mp_elasticity(return_X_y=True)  # doctest: +SKIP
    """
    return _fetch(
        "elastic_tensor_2015",
        _ELASTICITY,
        "elasticity",
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_mp_dielectric(
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load dielectric properties of 1,056 crystals.

    The refractive index ``n`` is the square root of ``poly_electronic``. Do not use one
    as auxiliary and the other as target, because they are the same task.

    Parameters
    ----------
    data_home : path-like, optional
        Cache folder, see :func:`fetch_matbench`.
    download_if_missing : bool, default=True
        Whether to download the file if it is not in the cache.
    return_X_y : bool, default=False
        Whether to return ``(data, target)`` instead of a Bunch.
    as_frame : bool, default=True
        Whether to return pandas objects instead of NumPy arrays.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        With ``data`` (CIF texts in P1), ``target`` of shape (1056, 4), ``frame`` (only
        with ``as_frame=True``), ``target_names`` and ``DESCR``.
    (data, target) : tuple
        With ``return_X_y=True``.

    Raises
    ------
    OSError
        If the file is missing and not downloaded, or if it is another one.

    See Also
    --------
    fetch_mp_elasticity : Elastic tensors of crystals.
    fetch_mp_multitask : Several properties of crystals, few in common.

    References
    ----------
    I. Petousis et al., "High-throughput screening of inorganic compounds for the
    discovery of novel dielectric and optical materials", Scientific Data 4, 160134
    (2017).

    Examples
    --------
    >>> from skgnn_mtl.datasets import fetch_mp_dielectric
    >>> X, y = fetch_mp_dielectric(return_X_y=True)  # doctest: +SKIP
    """
    return _fetch(
        "dielectric_constant",
        _DIELECTRIC,
        "mp_dielectric",
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def _fetch(
    name: str, tasks: Mapping[str, str], descr: str, **options: Any
) -> Bunch | tuple[Any, Any]:
    remote, n_rows = _remote(name)
    path = fetch_file(
        remote,
        data_home=options.pop("data_home"),
        download_if_missing=options.pop("download_if_missing"),
    )
    try:
        cifs, target = _read(path, tasks, n_rows)
    except (KeyError, TypeError, ValueError) as error:
        raise OSError(
            f"{path} is not the expected table: {error!r}. Move it away to download it "
            f"again from {remote.url}."
        ) from error
    return to_bunch(cifs, target, read_descr(descr), **options)


def _remote(name: str) -> tuple[RemoteFile, int]:
    """Read address, hash and number of rows from matminer's metadata."""
    text = (resources.files(__package__) / "data" / "matminer.json").read_text("utf-8")
    entry = json.loads(text)[name]
    remote = RemoteFile(
        entry["url"], f"sha256:{entry['sha256']}", filename=f"{name}.json.gz"
    )
    return remote, entry["n_rows"]


def _read(
    path: Path, tasks: Mapping[str, str], n_rows: int
) -> tuple[pd.Series, pd.DataFrame]:
    """Read a table that pandas wrote with orient="split", objects as dictionaries."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        content = json.load(file)
    position = {column: k for k, column in enumerate(content["columns"])}
    rows = content["data"]
    if len(rows) != n_rows:
        raise ValueError(f"{n_rows:,} rows expected, {len(rows):,} found")
    cifs = pd.Series(
        [structure_to_cif(row[position["structure"]]) for row in rows], name="cif"
    )
    target = pd.DataFrame(
        {
            name: np.array([row[position[column]] for row in rows], dtype=np.float64)
            for column, name in tasks.items()
        }
    )
    return cifs, target


def structure_to_cif(structure: Mapping[str, Any]) -> str:
    """Write the dictionary form of a pymatgen Structure as CIF text in P1.

    Parameters
    ----------
    structure : dict
        With ``lattice`` (lengths in Å, angles in degrees) and ``sites`` (species with
        occupancies, fractional coordinates).

    Returns
    -------
    text : str
        A data block with the name of the elements; numbers keep all digits.

    Examples
    --------
    >>> from skgnn_mtl.datasets._matminer import structure_to_cif
    >>> lattice = dict(a=3.0, b=3.0, c=3.0, alpha=90.0, beta=90.0, gamma=90.0)
    >>> site = {"species": [{"element": "Po", "occu": 1}], "abc": [0.0, 0.0, 0.0]}
    >>> print(structure_to_cif({"lattice": lattice, "sites": [site]}).splitlines()[-1])
    Po0 Po 0.0 0.0 0.0 1
    """
    lattice, sites = structure["lattice"], structure["sites"]
    kinds = [(k, kind) for k, site in enumerate(sites) for kind in site["species"]]
    elements = sorted({kind["element"] for _, kind in kinds})
    lines = [f"data_{''.join(elements)}", "_symmetry_space_group_name_H-M 'P 1'"]
    lines += [f"_cell_length_{key} {lattice[key]!r}" for key in "abc"]
    lines += [
        f"_cell_angle_{key} {lattice[key]!r}" for key in ("alpha", "beta", "gamma")
    ]
    columns = "label type_symbol fract_x fract_y fract_z occupancy"
    lines += ["loop_", *(f"_atom_site_{column}" for column in columns.split())]
    for k, kind in kinds:
        x, y, z = sites[k]["abc"]
        symbol = kind["element"]
        lines.append(f"{symbol}{k} {symbol} {x!r} {y!r} {z!r} {kind['occu']!r}")
    return "\n".join(lines) + "\n"
