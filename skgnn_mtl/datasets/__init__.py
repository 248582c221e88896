"""Data sets of molecules and crystals with several properties and missing labels.

``load_*`` reads a sample from the package. ``fetch_*`` downloads a file once from its
official address, verifies it and keeps it in the cache folder (``data_home``, the
environment variable ``SKGNN_MTL_DATA``, or the user's cache). Like the loaders of
scikit-learn, they return a :class:`~sklearn.utils.Bunch` or ``(data, target)``. SMILES
and CIF texts are those of the file; targets are float64 with NaN for each missing
label. Defects are not repaired; ``DESCR`` lists them with source, units and licence.
:func:`read_table` reads a table of one's own.
"""

from ._biogen import fetch_biogen_adme
from ._elasticity import load_elasticity
from ._matminer import fetch_matbench, fetch_mp_dielectric, fetch_mp_elasticity
from ._moleculenet import fetch_moleculenet
from ._mp import fetch_mp_multitask
from ._own import read_table
from ._physchem import load_physchem
from ._qm8 import fetch_qm8

__all__ = [
    "fetch_biogen_adme",
    "fetch_matbench",
    "fetch_moleculenet",
    "fetch_mp_dielectric",
    "fetch_mp_elasticity",
    "fetch_mp_multitask",
    "fetch_qm8",
    "load_elasticity",
    "load_physchem",
    "read_table",
]
