"""The binary form, read by NumPy, against RDKit's accessors."""

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem, rdBase

from skgnn_mtl.featurizers import SmilesToGraph, _molecules
from skgnn_mtl.featurizers._binary import ATOM_ACCESSORS, BOND_ACCESSORS, unpack
from skgnn_mtl.featurizers._presets import PRESETS


def binary(molecule) -> bytes:
    return molecule.ToBinary(int(Chem.PropertyPickleOptions.NoConformers))


def parse(strings) -> list:
    with rdBase.BlockLogs():
        molecules = [Chem.MolFromSmiles(smiles) for smiles in strings]
    return [mol for mol in molecules if mol is not None]


def assert_equal_to_accessors(molecules):
    table = unpack([binary(mol) for mol in molecules])
    assert table.understood.all()
    assert table.n_atoms.tolist() == [mol.GetNumAtoms() for mol in molecules]
    assert table.n_bonds.tolist() == [mol.GetNumBonds() for mol in molecules]
    atoms = [atom for mol in molecules for atom in mol.GetAtoms()]
    bonds = [bond for mol in molecules for bond in mol.GetBonds()]
    for columns, items in ((table.atoms, atoms), (table.bonds, bonds)):
        for name, values in columns.items():
            np.testing.assert_array_equal(
                values, [int(getattr(item, name)()) for item in items], err_msg=name
            )
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]
    np.testing.assert_array_equal(table.ends.T, np.reshape(ends, (-1, 2)))


def test_layout_is_known_for_this_rdkit():
    # False is no wrong result: graphs are then read twice as slowly. A new layout
    # wants a look at _binary.py.
    assert _molecules._binary_form_is_known()


def test_accessors_of_a_table_are_those_promised():
    table = unpack([binary(Chem.MolFromSmiles("CC"))])
    assert set(table.atoms) == ATOM_ACCESSORS
    assert set(table.bonds) == BOND_ACCESSORS


def test_varied_molecules(varied):
    molecules = parse(varied)
    table = unpack([binary(mol) for mol in molecules])
    easy = [m for m, good in zip(molecules, table.understood, strict=True) if good]
    assert_equal_to_accessors(easy)
    hard = [s for s, good in zip(varied, table.understood, strict=True) if not good]
    assert hard == ["*c1ccccc1", "[CH3:1][OH:2]", "C" * 300]


def test_each_molecule_alone(varied):
    for molecule in parse(varied):
        if unpack([binary(molecule)]).understood.all():
            assert_equal_to_accessors([molecule])


def atropisomer():
    molecule = Chem.MolFromSmiles("Cc1cccc(Cl)c1-c1c(C)cccc1Cl")
    (match,) = molecule.GetSubstructMatches(Chem.MolFromSmarts("c(C)c-!@c(cC)"))
    axis = molecule.GetBondBetweenAtoms(match[2], match[3])
    axis.SetStereoAtoms(match[0], match[4])
    axis.SetStereo(Chem.BondStereo.STEREOATROPCW)
    return molecule


def test_unusual_molecule_objects():
    with_hydrogens = Chem.AddHs(Chem.MolFromSmiles("CC=O"))
    zero_order = Chem.RWMol(Chem.MolFromSmiles("C.C"))
    zero_order.AddBond(0, 1, Chem.BondType.ZERO)
    Chem.SanitizeMol(zero_order)
    fast_rings = Chem.MolFromSmiles("C1CC1C", sanitize=False)
    fast_rings.UpdatePropertyCache()
    Chem.FastFindRings(fast_rings)
    wiggly = Chem.MolFromSmiles("CC=CC")
    wiggly.GetBondWithIdx(1).SetStereo(Chem.BondStereo.STEREOANY)
    assert_equal_to_accessors(
        [with_hydrogens, zero_order, fast_rings, wiggly, atropisomer()]
    )


@pytest.mark.parametrize(
    "molecule",
    [
        Chem.MolFromSmiles("[CH3:1]C"),
        Chem.MolFromSmiles("*C"),
        Chem.MolFromSmiles("C" * 256),
        Chem.MolFromSmarts("[C,N]"),
        Chem.MolFromSequence("GG"),
        Chem.MolFromSmiles("CC", sanitize=False),
    ],
    ids=["map number", "dummy", "large", "query", "residues", "without rings"],
)
def test_further_data_are_reported_not_guessed(molecule):
    plain = Chem.MolFromSmiles("CCO")
    table = unpack([binary(plain), binary(molecule), binary(plain)])
    assert table.understood.tolist() == [True, False, True]


def test_other_bytes_are_reported_not_guessed():
    good = binary(Chem.MolFromSmiles("c1ccccc1"))
    random = np.random.default_rng(0)
    garbage = [random.bytes(n) for n in (1, 29, 30, 31, 200, 2000)]
    headed = [good[:30] + random.bytes(n) for n in (0, 5, 100, 1000)]
    cut = [good[:n] for n in range(0, len(good) - 20, 7)]
    understood = unpack([good, *garbage, *headed, *cut, good]).understood
    assert understood[[0, -1]].all()
    assert not understood[1:-1].any()


def test_no_molecule_is_no_row():
    table = unpack([])
    assert len(table.understood) == len(table.n_atoms) == table.ends.shape[1] == 0


@pytest.mark.parametrize("features", PRESETS)
def test_an_unknown_layout_changes_nothing_but_the_time(features, varied, monkeypatch):
    expected = SmilesToGraph(features).transform(varied)
    monkeypatch.setattr(_molecules, "_binary_form_is_known", lambda: False)
    assert SmilesToGraph(features).transform(varied) == expected


def test_a_changed_layout_is_noticed(monkeypatch):
    table = unpack([])

    def other_layout(binaries):
        read = unpack(binaries)
        if len(binaries):
            read.atoms["GetFormalCharge"][-1] ^= 1
        return read

    assert len(table.atoms) == len(ATOM_ACCESSORS)
    monkeypatch.setattr(_molecules, "unpack", other_layout)
    assert not _molecules._binary_form_is_known.__wrapped__()


def test_real_molecules(shared_data):
    for name in ("delaney-processed.csv", "clintox.csv.gz"):
        molecules = parse(pd.read_csv(shared_data / name)["smiles"])
        understood = unpack([binary(mol) for mol in molecules]).understood
        assert understood.mean() > 0.99
        assert_equal_to_accessors([molecules[i] for i in np.flatnonzero(understood)])
