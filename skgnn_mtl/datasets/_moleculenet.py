"""Eight data sets of the MoleculeNet collection."""

from __future__ import annotations

import os
from typing import Any

from sklearn.utils import Bunch

from ._cache import RemoteFile
from ._table import Table, fetch_bunch, read_descr

_ADDRESS = "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/"

_SIDER = (
    "Hepatobiliary disorders",
    "Metabolism and nutrition disorders",
    "Product issues",
    "Eye disorders",
    "Investigations",
    "Musculoskeletal and connective tissue disorders",
    "Gastrointestinal disorders",
    "Social circumstances",
    "Immune system disorders",
    "Reproductive system and breast disorders",
    "Neoplasms benign, malignant and unspecified (incl cysts and polyps)",
    "General disorders and administration site conditions",
    "Endocrine disorders",
    "Surgical and medical procedures",
    "Vascular disorders",
    "Blood and lymphatic system disorders",
    "Skin and subcutaneous tissue disorders",
    "Congenital, familial and genetic disorders",
    "Infections and infestations",
    "Respiratory, thoracic and mediastinal disorders",
    "Psychiatric disorders",
    "Renal and urinary disorders",
    "Pregnancy, puerperium and perinatal conditions",
    "Ear and labyrinth disorders",
    "Cardiac disorders",
    "Nervous system disorders",
    "Injury, poisoning and procedural complications",
)

_TOX21 = {  # assay -> number of labels
    "NR-AR": 7265,
    "NR-AR-LBD": 6758,
    "NR-AhR": 6549,
    "NR-Aromatase": 5821,
    "NR-ER": 6193,
    "NR-ER-LBD": 6955,
    "NR-PPAR-gamma": 6450,
    "SR-ARE": 5832,
    "SR-ATAD5": 7072,
    "SR-HSE": 6467,
    "SR-MMP": 5810,
    "SR-p53": 6774,
}

_TABLES = {
    "bace": Table(
        RemoteFile(
            _ADDRESS + "bace.csv",
            "sha256:f3fb9ce90bada3e2bd6148b0df13f8f8145a357bf87df0dd5b391ede974fc737",
        ),
        smiles="mol",
        tasks={"Class": "Class"},
        n_rows=1513,
        extra={"pIC50": "pIC50"},
    ),
    "bbbp": Table(
        RemoteFile(
            _ADDRESS + "BBBP.csv",
            "sha256:d07a38487aeac5cee5508413e468043ef3097451d2a112701c2d60be9ec6b662",
        ),
        smiles="smiles",
        tasks={"p_np": "p_np"},
        n_rows=2050,
    ),
    "clintox": Table(
        RemoteFile(
            _ADDRESS + "clintox.csv.gz",
            "sha256:7324a84a180ad9068d3847677c85d58e8432e82b3ae6ac95cf0e98b3a58d9697",
        ),
        smiles="smiles",
        tasks={"FDA_APPROVED": "FDA_APPROVED", "CT_TOX": "CT_TOX"},
        n_rows=1484,
    ),
    "esol": Table(
        RemoteFile(
            _ADDRESS + "delaney-processed.csv",
            "sha256:8c06a76f0c6487d29ab0f903e6a7a7139f189ab3c1178f159c8be8964602f189",
        ),
        smiles="smiles",
        tasks={"measured log solubility in mols per litre": "log10 S (mol/L)"},
        n_rows=1128,
    ),
    "freesolv": Table(
        RemoteFile(_ADDRESS + "SAMPL.csv"),
        smiles="smiles",
        tasks={"expt": "expt (kcal/mol)"},
        n_rows=642,
        extra={"calc": "calc (kcal/mol)"},
    ),
    "lipophilicity": Table(
        RemoteFile(
            _ADDRESS + "Lipophilicity.csv",
            "sha256:aed41590cb30609d51d8e08ad3ff06495a76e80e211358801f596b10da69bacd",
        ),
        smiles="smiles",
        tasks={"exp": "logD7.4"},
        n_rows=4200,
    ),
    "sider": Table(
        RemoteFile(
            _ADDRESS + "sider.csv.gz",
            "sha256:4cc7ccb20dded475853c583596e227116c222c6ca7dbb40159bdbe9ee3f099b9",
        ),
        smiles="smiles",
        tasks={name: name for name in _SIDER},
        n_rows=1427,
    ),
    "tox21": Table(
        RemoteFile(
            _ADDRESS + "tox21.csv.gz",
            "md5:2882d69e70bba0fec14995f26787cc25",
            copies=("tox21.csv",),
        ),
        smiles="smiles",
        tasks={name: name for name in _TOX21},
        n_rows=7831,
        n_labels=tuple(_TOX21.values()),
    ),
}


def fetch_moleculenet(
    name: str,
    *,
    data_home: str | os.PathLike[str] | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = True,
) -> Bunch | tuple[Any, Any]:
    """Load a data set of the MoleculeNet collection.

    =================== ========= ===== ============================================
    name                molecules tasks what
    =================== ========= ===== ============================================
    ``"esol"``          1,128     1     aqueous solubility, log10 of mol/L
    ``"freesolv"``      642       1     free energy of hydration, kcal/mol
    ``"lipophilicity"`` 4,200     1     logD at pH 7.4
    ``"bbbp"``          2,050     1     passes the blood-brain barrier, 0/1
    ``"bace"``          1,513     1     inhibits BACE-1, 0/1
    ``"clintox"``       1,484     2     approved; toxic in clinical trials, 0/1
    ``"sider"``         1,427     27    adverse drug reactions, 0/1
    ``"tox21"``         7,831     12    toxicity assays, 0/1, 17 % missing
    =================== ========= ===== ============================================

    For QM8 see :func:`fetch_qm8`. SMILES are those of the file. RDKit cannot read some
    of ``bbbp``, ``clintox`` and ``tox21`` (use ``SmilesToGraph(on_error="nan")``); some
    of ``esol`` have trailing blanks.

    Parameters
    ----------
    name : {"bace", "bbbp", "clintox", "esol", "freesolv", "lipophilicity", "sider", \
            "tox21"}
        Name of the data set.
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
        With the entries

        data : Series or object ndarray of shape (n,)
            SMILES.
        target : DataFrame or float64 ndarray of shape (n, t)
            Labels, NaN where missing.
        frame : DataFrame of shape (n, 1 + t)
            Both together; only with ``as_frame=True``.
        target_names : list of str
            Tasks, with their units.
        DESCR : str
            Description with citation, licence and defects.
        extra : DataFrame or float64 ndarray of shape (n, 1)
            A column that is not a task: the simulated free energy of ``freesolv``, or
            the pIC50 of which ``bace`` has the classes. The other sets do not have it.
    (data, target) : tuple
        With ``return_X_y=True``.

    Raises
    ------
    ValueError
        If the name is unknown.
    OSError
        If the file is missing and not downloaded, if its bytes differ from those of the
        official file, or if it is another table.

    See Also
    --------
    load_physchem : Eight properties of 2,000 molecules, shipped.
    fetch_biogen_adme : Six ADME assays.

    References
    ----------
    Z. Wu et al., "MoleculeNet: a benchmark for molecular machine learning", Chem. Sci.
    9, 513 (2018).

    Examples
    --------
    >>> from skgnn_mtl.datasets import fetch_moleculenet
    >>> X, y = fetch_moleculenet("esol", return_X_y=True)  # doctest: +SKIP
    >>> y.shape  # doctest: +SKIP
    (1128, 1)
    """
    if name not in _TABLES:
        raise ValueError(
            f"The MoleculeNet set {name!r} is unknown; choose one of "
            f"{', '.join(sorted(_TABLES))}."
        )
    return fetch_bunch(
        _TABLES[name],
        read_descr(name),
        data_home=data_home,
        download_if_missing=download_if_missing,
        return_X_y=return_X_y,
        as_frame=as_frame,
    )
