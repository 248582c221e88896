"""The published feature sets, as tuples of columns.

Integers are those of RDKit's enumerations; a test compares them with RDKit's names.
"""

from __future__ import annotations

from ._columns import AtomColumn, BondColumn

CHIRALITY = {"UNSPECIFIED": 0, "CW": 1, "CCW": 2, "OTHER": 3}
HYBRIDIZATION = {
    "UNSPECIFIED": 0,
    "S": 1,
    "SP": 2,
    "SP2": 3,
    "SP3": 4,
    "SP2D": 5,
    "SP3D": 6,
    "SP3D2": 7,
    "OTHER": 8,
}
BOND_TYPE = {"SINGLE": 1, "DOUBLE": 2, "TRIPLE": 3, "AROMATIC": 12}
BOND_STEREO = {"NONE": 0, "ANY": 1, "Z": 2, "E": 3, "CIS": 4, "TRANS": 5}
BOND_DIRECTION = {"NONE": 0, "ENDUPRIGHT": 4, "ENDDOWNRIGHT": 3}
NO_YES = (0, 1)


def _hybridizations(*names: str) -> tuple[int, ...]:
    return tuple(HYBRIDIZATION[name] for name in names)


_AROMATIC = AtomColumn("is_aromatic", "GetIsAromatic", NO_YES, outside=0)
_ATOM_IN_RING = AtomColumn("is_in_ring", "IsInRing", NO_YES, outside=0)
_CONJUGATED = BondColumn("is_conjugated", "GetIsConjugated", NO_YES, outside=0)

# Hu et al., Open Graph Benchmark (2020). Its stereo list has no slot for the two
# atropisomer tags, which the original refuses: code 0.
OGB = (
    (
        AtomColumn("atomic_number", "GetAtomicNum", range(1, 119)),
        AtomColumn("chirality", "GetChiralTag", CHIRALITY.values()),
        AtomColumn("degree", "GetTotalDegree", range(11)),
        AtomColumn("formal_charge", "GetFormalCharge", range(-5, 6)),
        AtomColumn("n_hydrogens", "GetTotalNumHs", range(9)),
        AtomColumn("n_radical_electrons", "GetNumRadicalElectrons", range(5)),
        AtomColumn(
            "hybridization",
            "GetHybridization",
            _hybridizations("SP", "SP2", "SP3", "SP3D", "SP3D2"),
        ),
        _AROMATIC,
        _ATOM_IN_RING,
    ),
    (
        BondColumn("bond_type", "GetBondType", BOND_TYPE.values()),
        BondColumn(
            "stereo",
            "GetStereo",
            [BOND_STEREO[k] for k in ("NONE", "Z", "E", "CIS", "TRANS", "ANY")],
            outside=0,
        ),
        _CONJUGATED,
    ),
)

# torch_geometric.utils.from_smiles, which refuses values outside its lists.
PYG = (
    (
        AtomColumn("atomic_number", "GetAtomicNum", range(119), outside=0),
        AtomColumn("chirality", "GetChiralTag", range(9), outside=0),
        AtomColumn("degree", "GetTotalDegree", range(11), outside="nearest"),
        AtomColumn("formal_charge", "GetFormalCharge", range(-5, 7), outside="nearest"),
        AtomColumn("n_hydrogens", "GetTotalNumHs", range(9), outside="nearest"),
        AtomColumn(
            "n_radical_electrons",
            "GetNumRadicalElectrons",
            range(5),
            outside="nearest",
        ),
        AtomColumn(
            "hybridization",
            "GetHybridization",
            _hybridizations(
                "UNSPECIFIED", "S", "SP", "SP2", "SP3", "SP3D", "SP3D2", "OTHER"
            ),
            outside=7,
        ),
        _AROMATIC,
        _ATOM_IN_RING,
    ),
    (
        BondColumn("bond_type", "GetBondType", range(22), outside=0),
        BondColumn("stereo", "GetStereo", BOND_STEREO.values(), outside=0),
        _CONJUGATED,
    ),
)

# Hu et al., "Strategies for pre-training graph neural networks" (2020): the sizes are
# the rows of the published embeddings. Atom code 119 and bond codes 4 and 5 are set by
# the model (masked atom, self-loop, masked bond), never by the featurizer.
HU2020 = (
    (
        AtomColumn(
            "atomic_number", "GetAtomicNum", range(1, 119), outside=118, n_codes=120
        ),
        AtomColumn("chirality", "GetChiralTag", range(3), outside=0),
    ),
    (
        BondColumn(
            "bond_type", "GetBondType", BOND_TYPE.values(), outside=0, n_codes=6
        ),
        BondColumn("direction", "GetBondDir", BOND_DIRECTION.values(), outside=0),
    ),
)

# Chemprop 2, its "V2" atoms. Expanded one-hot, the columns are chemprop's blocks, in
# its order, but for three slots more: "not aromatic" of atoms, "other type" and the
# "no" of the two yes-or-no columns of bonds, which chemprop leaves all-zero; its slot
# for "no bond" is missing.
CHEMPROP = (
    (
        AtomColumn("atomic_number", "GetAtomicNum", (*range(1, 37), 53)),
        AtomColumn("degree", "GetTotalDegree", range(6)),
        AtomColumn("formal_charge", "GetFormalCharge", (-1, -2, 1, 2, 0)),
        AtomColumn("chirality", "GetChiralTag", range(4)),
        AtomColumn("n_hydrogens", "GetTotalNumHs", range(5)),
        AtomColumn(
            "hybridization",
            "GetHybridization",
            _hybridizations("S", "SP", "SP2", "SP2D", "SP3", "SP3D", "SP3D2"),
        ),
        _AROMATIC,
        AtomColumn("mass", "GetMass", scale=0.01),
    ),
    (
        BondColumn("bond_type", "GetBondType", BOND_TYPE.values()),
        _CONJUGATED,
        BondColumn("is_in_ring", "IsInRing", NO_YES, outside=0),
        BondColumn("stereo", "GetStereo", range(6)),
    ),
)

PRESETS = {"ogb": OGB, "pyg": PYG, "hu2020": HU2020, "chemprop": CHEMPROP}
