"""Molecules and crystals with several properties, gaps included.

``load_*`` reads a sample that is shipped with the package; ``fetch_*`` downloads a file
once from its official address, checks it and keeps it in the cache folder
(``data_home``, the environment variable ``SKGNN_MTL_DATA``, or the user's cache). All
return what scikit-learn's own loaders return: a :class:`~sklearn.utils.Bunch`, or
``(data, target)``. SMILES and CIF texts come as they are written in the file, targets
as float64 with NaN for every missing label, and nothing is repaired silently: ``DESCR``
tells source, units, licence and known defects.
"""

from ._biogen import fetch_biogen_adme
from ._elasticity import load_elasticity
from ._matminer import fetch_matbench, fetch_mp_dielectric, fetch_mp_elasticity
from ._moleculenet import fetch_moleculenet
from ._mp import fetch_mp_multitask
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
]
