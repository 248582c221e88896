"""Unit cells: what a CIF says of them, and those of molecules and slabs."""

import warnings

import gemmi
import numpy as np
import pytest
from crystals import cif

from skgnn_mtl import CifToGraph
from skgnn_mtl.featurizers._cell import complete_lattice, read_cell, tags_of
from skgnn_mtl.featurizers._crystal import UnreadableCrystal

Atoms = pytest.importorskip("ase").Atoms

PLAIN = {
    "_cell_length_a": "5",
    "_cell_length_b": "6.5",
    "_cell_length_c": "7",
    "_cell_angle_alpha": "90",
    "_cell_angle_beta": "99.5",
    "_cell_angle_gamma": "90",
}
RIGHT_ANGLES = dict.fromkeys([t for t in PLAIN if "angle" in t], "90")


def tags(text):
    return tags_of(gemmi.cif.read_string(text).sole_block())


def parameters(text):
    return read_cell(tags(text)).parameters


def with_values(**changes):
    """The plain cell; None leaves an item out."""
    values = {**PLAIN, **{f"_cell_{tag}": value for tag, value in changes.items()}}
    items = [f"{tag} {value}\n" for tag, value in values.items() if value is not None]
    return "data_x\n" + "".join(items)


def refusal(text):
    with pytest.raises(UnreadableCrystal, match="unit cell") as error:
        parameters(text)
    return str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"length_b": "6.5(2)", "angle_beta": "99.50(10)"},
        {"length_b": "'6.5'", "angle_beta": '"99.5"'},
        {"length_b": "\n;6.5\n;"},
        {"length_b": "+6.50", "length_c": "7."},
        {"length_b": "65e-1", "length_a": "0.5E+1"},
        {"angle_alpha": None, "angle_gamma": "."},
        {"angle_alpha": None, "volume": "224.38"},
        {"angle_gamma": ".", "volume": "224.4(3)"},
        {"volume": "999"},
    ],
)
def test_numbers_with_uncertainties_quotes_and_default_angles(changes):
    np.testing.assert_allclose(
        parameters(with_values(**changes)), (5, 6.5, 7, 90, 99.5, 90)
    )


def test_tags_of_all_dictionaries():
    text = with_values()
    expected = parameters(text)
    assert parameters(text.replace("_cell_", "_cell.")) == expected
    assert parameters(text.upper().replace("DATA_X", "data_x")) == expected
    names, values = zip(*PLAIN.items(), strict=True)
    loop = "data_x\nloop_\n" + "\n".join(names) + "\n" + " ".join(values) + "\n"
    assert parameters(loop) == expected


@pytest.mark.parametrize("axis", "abc")
@pytest.mark.parametrize(
    "value",
    ["5,64", "?", ".", "0", "-5", "0.0", "1e9", "5.64A", "five", "nan", "inf", "0.1"],
)
def test_impossible_lengths_are_named(axis, value):
    message = refusal(with_values(**{f"length_{axis}": value}))
    assert f"_cell_length_{axis}" in message
    assert repr(value) in message


def test_missing_lengths_are_named():
    assert "there is no _cell_length_b" in refusal(with_values(length_b=None))


@pytest.mark.parametrize("value", ["90,5", "?", "right", "nan"])
def test_unreadable_angles_are_named(value):
    message = refusal(with_values(angle_beta=value))
    assert f"_cell_angle_beta is {value!r}" in message


@pytest.mark.parametrize(
    "angles",
    [
        (100, 130, 140),
        (130, 60, 60),
        (90, 0, 90),
        (90, -90, 90),
        (90, 180, 90),
        (200, 90, 90),
        (120, 120, 120),
        (60, 60, 120),
        (1.5708, 1.5708, 1.5708),
    ],
)
def test_angles_of_no_cell_are_named(angles):
    keys = ("angle_alpha", "angle_beta", "angle_gamma")
    message = refusal(with_values(**dict(zip(keys, angles, strict=True))))
    assert "impossible: there are no angles of " in message
    assert f"{angles[0]:g}, {angles[1]:g}, {angles[2]:g}" in message
    assert ("radians" in message) == (max(angles) < 3.2)


def test_extreme_but_possible_angles_are_read():
    for angles in ((61, 61, 119), (119, 119, 119), (5, 88, 90), (100, 100, 159)):
        keys = ("angle_alpha", "angle_beta", "angle_gamma")
        text = with_values(**dict(zip(keys, angles, strict=True)))
        cell = read_cell(tags(text))
        assert cell.parameters[3:] == angles
        assert cell.volume > 0.1


def test_the_volume_reveals_an_angle_that_is_not_ninety():
    text = with_values(angle_beta=None, volume="224.4")
    message = refusal(text)
    assert "no _cell_angle_beta" in message
    assert "224.4" in message
    assert parameters(with_values(angle_beta=None, volume="227.5"))[4] == 90
    assert parameters(with_values(angle_beta=None, volume="?"))[4] == 90


def test_a_value_that_is_stated_twice_must_be_one():
    same = with_values() + "_cell.length_a 5\n"
    assert parameters(same)[0] == 5
    with pytest.raises(UnreadableCrystal, match="_cell_length_a has two values"):
        parameters(with_values() + "_cell.length_a 6\n")
    assert parameters(with_values(length_a="?") + "_cell.length_a 6\n")[0] == 6
    loop = "loop_\n_cell_length_a\n5\n6\n"
    assert "several _cell_length_a" in refusal(with_values(length_a=None) + loop)


def test_a_crystal_says_what_is_wrong_with_its_cell():
    text = cif(["Na1 Na 0 0 0 1"]).replace("_cell_length_b 4.0", "_cell_length_b 4,0")
    with pytest.raises(ValueError, match="unit cell is unreadable: _cell_length_b"):
        CifToGraph().transform([text])


# -- cells without periodicity -------------------------------------------------------


def test_missing_vectors_become_normals():
    for periodic in ((True, True, False), (False, True, False), (False,) * 3):
        lattice = np.array([[2.46, 0, 0], [-1.23, 2.13, 0], [3, 4, 5]])
        lattice[~np.array(periodic)] = 0
        full = complete_lattice(lattice, periodic)
        kept = np.array(periodic)
        np.testing.assert_array_equal(full[kept], lattice[kept])
        np.testing.assert_allclose(np.linalg.norm(full[~kept], axis=1), 1)
        products = full[~kept] @ full.T
        np.testing.assert_allclose(products[:, kept], 0, atol=1e-12)
        assert abs(np.linalg.det(full)) > 0.9


def test_full_cells_stay_as_they_are():
    lattice = np.array([[3.0, 0, 0], [1, 4, 0], [0, 1, 30]])
    for periodic in ((True,) * 3, (True, True, False)):
        np.testing.assert_array_equal(complete_lattice(lattice, periodic), lattice)


@pytest.mark.parametrize(
    ("lattice", "words"),
    [
        ([[3, 0, 0], [0, 3, 0], [0, 0, 0]], "set pbc[2] to False"),
        ([[0, 0, 0], [0, 3, 0], [0, 0, 3]], "set pbc[0] to False"),
        ([[3, 0, 0], [6, 0, 0], [0, 0, 3]], "not independent"),
        ([[3, 0, 0], [0, np.nan, 0], [0, 0, 3]], "not finite"),
    ],
)
def test_periodic_vectors_must_span_a_volume(lattice, words):
    with pytest.raises(UnreadableCrystal, match="unit cell") as error:
        complete_lattice(lattice, (True, True, True))
    assert words in str(error.value)


@pytest.mark.parametrize("seed", range(8))
def test_edges_of_slabs_wires_and_molecules_are_those_of_ase(seed):
    from ase.neighborlist import neighbor_list

    rng = np.random.default_rng(seed)
    periodic = [(1, 1, 0), (0, 1, 0), (0, 0, 0), (1, 0, 1)][seed % 4]
    cell = rng.normal(size=(3, 3)) + 5 * np.eye(3)
    cell[~np.array(periodic, dtype=bool)] = 0
    # Atoms may lie outside of the cell, at least 0.9 Å apart.
    grid = np.array(np.meshgrid(*[range(3)] * 3)).reshape(3, -1).T * 1.6
    chosen = grid[rng.choice(len(grid), 5, replace=False)] - 4
    atoms = Atoms("C5", chosen + rng.uniform(0, 0.3, (5, 3)), cell=cell, pbc=periodic)
    expected = np.sort(neighbor_list("d", atoms, 4.0))
    if expected.size and expected.min() < 0.5:
        pytest.fail("the atoms of this seed overlap")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformer = CifToGraph(cutoff=4.0, max_neighbors=None, dtype="float64")
        X = transformer.transform([atoms])
    np.testing.assert_allclose(np.sort(X.edge_features[:, 0]), expected, atol=1e-9)


def test_objects_without_periodicity_are_read():
    from pymatgen.core import IStructure, Lattice, Structure

    molecule = Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])
    graphene = Atoms(
        "C2",
        [[0, 0, 0], [0, 1.42, 0]],
        cell=[[2.46, 0, 0], [-1.23, 2.13, 0], [0, 0, 0]],
        pbc=[1, 1, 0],
    )
    slab = Structure(
        Lattice(2.5 * np.eye(3), pbc=(True, True, False)), ["Cu"], [[0, 0, 0]]
    )
    bulk = IStructure(2.5 * np.eye(3), ["Cu"], [[0, 0, 0]])
    rows = [molecule, graphene, slab, bulk]
    X = CifToGraph(cutoff=2.6, max_neighbors=None).transform(rows)
    assert X.n_edges.tolist() == [2, 2 * 9, 4, 6]
