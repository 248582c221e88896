"""Images of sites, occupancies, split sites, and the policies for disorder."""

from collections import Counter

import gemmi
import numpy as np
import pytest
from crystals import cif, structure_of

from skgnn_mtl import CifToGraph
from skgnn_mtl.featurizers._cif_reader import read_crystal
from skgnn_mtl.featurizers._sites import Images, Sites, multiply, settle
from skgnn_mtl.featurizers._species import SYMBOLS

POLICIES = ("raise", "majority", "mix")
CUBIC = (6.0, 6.0, 6.0, 90, 90, 90)
NAME = "_symmetry_space_group_name_H-M '{}'\n"
LISTED = "label type_symbol fract_x fract_y fract_z occupancy"


def crystal(text, policy="raise"):
    return read_crystal(text, disorder=policy, block=None)


def elements(text, policy="raise"):
    return dict(Counter(SYMBOLS[z - 1] for z in crystal(text, policy).numbers))


def reason(text, policy="raise"):
    with pytest.raises(ValueError, match=r"Could not read X\[0\]") as error:
        CifToGraph(disorder=policy).transform([text])
    return str(error.value)


def operations(name):
    found = list(gemmi.find_spacegroup_by_name(name).operations())
    rotations = np.array([op.rot for op in found]) / 24
    return rotations, np.array([op.tran for op in found]) / 24


def distances(lattice, first, second):
    """Between each two points, to the nearest image of 27."""
    around = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), axis=-1).reshape(-1, 3) @ lattice
    shifts = first[:, None, None] - second[None, :, None] + around
    return np.linalg.norm(shifts, axis=-1).min(axis=-1)


# -- images --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["P 1", "P -1", "P 1 21/c 1", "F m m m", "P 63/m m c", "I a -3 d", "F d -3 m:2"],
)
def test_images_of_a_general_position_are_those_of_gemmi(name):
    group = gemmi.find_spacegroup_by_name(name)
    cell = (7, 7, 7, 90, 90, 120) if "63" in name else (7, 7, 7, 90, 90, 90)
    lattice = np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T
    fractions = np.array([[0.103, 0.341, 0.057]])
    images = multiply(fractions, np.ones(1), operations(name), lattice)
    assert len(images.site) == len(group.operations())
    theirs = np.array([op.apply_to_xyz(fractions[0]) for op in group.operations()])
    nearest = distances(lattice, images.positions, theirs @ lattice)
    np.testing.assert_allclose(nearest.min(axis=1), 0, atol=1e-8)
    np.testing.assert_allclose(nearest.min(axis=0), 0, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "position", "count"),
    [
        ("F m -3 m", (0, 0, 0), 4),
        ("F m -3 m", (0.25, 0.25, 0.25), 8),
        ("F m -3 m", (0, 0.5, 0.5), 4),
        ("F d -3 m:2", (0.5, 0.5, 0.5), 16),
        ("F d -3 m:2", (0.2624, 0.2624, 0.2624), 32),
        ("I a -3 d", (0.125, 0, 0.25), 24),
        ("P 63/m m c", (0.3333, 0.6667, 0.25), 2),
        ("P 63/m m c", (1 / 3, 2 / 3, 0.25), 2),
        ("P 63/m m c", (0.33, 0.67, 0.25), 2),
        ("P 63/m m c", (0.66667, 0.33333, 0.75), 2),
        ("P 63/m m c", (0.8333, 0.6667, 0.25), 6),
        ("P n m a", (0.3, 0.2499, 0.1), 4),
        ("P n m a", (0.3, 0.25, 0.1), 4),
        ("P m -3 m", (0.0001, 0.9999, 0.0002), 1),
    ],
)
@pytest.mark.parametrize("occupancy", [1.0, 0.4])
def test_special_positions_may_be_rounded(name, position, count, occupancy):
    cell = (4, 4, 6, 90, 90, 120) if "63" in name else (8, 8, 8, 90, 90, 90)
    lattice = np.array(gemmi.UnitCell(*cell).orth.mat.tolist()).T
    found = operations(name)
    sites = np.array([position, (0.103, 0.341, 0.057)])
    images = multiply(sites, np.array([occupancy, 1.0]), found, lattice)
    assert np.bincount(images.site).tolist() == [count, len(found[0])]
    merged = images.positions[images.site == 0]
    # A merged image lies where the symmetry leaves one: all images are equivalent.
    again = multiply(
        merged[:1] @ np.linalg.inv(lattice), np.array([occupancy]), found, lattice
    )
    nearest = distances(lattice, again.positions, merged).min(axis=1)
    np.testing.assert_allclose(nearest, 0, atol=1e-9)
    listed = sites[:1] @ lattice
    assert distances(lattice, listed, merged).min() < 0.05


@pytest.mark.parametrize(
    ("shift", "occupancy", "count"),
    [(0.04, 0.5, 1), (0.12, 0.5, 2), (0.12, 1.0, 1), (0.2, 1.0, 2), (0.04, 0.3, 1)],
)
def test_half_an_atom_beside_its_image_is_split_and_a_whole_one_is_special(
    shift, occupancy, count
):
    fractions = np.array([[0.2, 0.3, shift / 6]])
    images = multiply(
        fractions, np.array([occupancy]), operations("P 1 1 m"), 6 * np.eye(3)
    )
    assert len(images.site) == count
    mean = 0.0 if count == 1 else shift
    z = images.positions[:, 2]
    np.testing.assert_allclose(np.abs(z - 6 * np.rint(z / 6)), mean, atol=1e-9)


def test_images_in_a_chain_stay_and_overlap():
    # Images on two sides of a fourfold axis are too far from each other to be one.
    fractions = np.array([[0.18 / 6, 0, 0.1]])
    images = multiply(fractions, np.ones(1), operations("P 4"), 6 * np.eye(3))
    assert len(images.site) == 4
    assert distances(6 * np.eye(3), 6 * fractions, images.positions).min() < 1e-12
    text = cif([f"Na1 Na {0.18 / 6} 0 .1 1"], CUBIC, extra=NAME.format("P 4"))
    assert "overlapping sites" in reason(text)


def test_images_keep_the_order_of_sites_and_operations():
    found = operations("P n m a")
    sites = np.array([[0.1, 0.2, 0.3], [0.3, 0.25, 0.1], [0.6, 0.1, 0.9]])
    images = multiply(sites, np.ones(3), found, np.diag([9.0, 8, 7]))
    assert (np.diff(images.site) >= 0).all()
    first = np.unique(images.site, return_index=True)[1]
    np.testing.assert_allclose(images.positions[first], sites @ np.diag([9.0, 8, 7]))
    again = multiply(sites[::-1], np.ones(3), found, np.diag([9.0, 8, 7]))
    np.testing.assert_array_equal(
        again.positions[again.site == 2], images.positions[images.site == 0]
    )


@pytest.mark.parametrize("seed", range(5))
def test_rounding_does_not_choose_the_order(seed):
    rng = np.random.default_rng(seed)
    x = np.array([[1 / 3, 2 / 3, 0.25]]) + rng.normal(scale=1e-13, size=(1, 3))
    cell = gemmi.UnitCell(4, 4, 6, 90, 90, 120)
    lattice = np.array(cell.orth.mat.tolist()).T
    images = multiply(x, np.ones(1), operations("P 63/m m c"), lattice)
    expected = np.array([[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.75]])
    np.testing.assert_allclose(images.positions, expected @ lattice, atol=1e-10)


# -- occupancies ---------------------------------------------------------------------


def site(occupancy, columns=LISTED):
    return cif([f"Na1 Na 0 0 0 {occupancy}", "Cl1 Cl .5 .5 .5 1"], columns=columns)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "text", ["1.2", "2.0", "5", "-0.1", "-1", "1.02", "1.5(2)", "1e3", "100"]
)
def test_occupancies_have_a_range(text, policy):
    assert "site Na1 has the occupancy" in (found := reason(site(text), policy))
    assert "outside the range 0 to 1" in found


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "text", ["nan", "inf", "half", "1/2", "0,5", "0.5.1", "0.5(", "x"]
)
def test_occupancies_are_numbers(text, policy):
    assert f"site Na1 has the occupancy {text!r}, which is not a number" in (
        reason(site(text), policy)
    )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "text",
    [
        "1",
        "1.",
        "1.0000",
        "0.9999",
        "1.00(2)",
        "1.005",
        "1.03(2)",
        "1.2(2)",
        "?",
        ".",
        "+1",
    ],
)
def test_full_occupancies_may_be_rounded_or_left_out(text, policy):
    found = crystal(site(text), policy)
    assert found.numbers.tolist() == [11, 17]
    assert found.species is None


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("text", ["0", "0.0", "0.000", "-0.005", "-0.01(2)", "0(1)"])
def test_sites_of_no_occupancy_are_left_out(text, policy):
    assert elements(site(text), policy) == {"Cl": 1}
    # What is not there may have any species and coordinates.
    rows = ["X1 X ? ? ? 0", "Cl1 Cl .5 .5 .5 1"]
    assert elements(cif(rows), policy) == {"Cl": 1}


@pytest.mark.parametrize(
    ("text", "value"), [("0.5(2)", 0.5), (".25", 0.25), ("5e-1", 0.5), ("'0.5'", 0.5)]
)
def test_partial_occupancies(text, value):
    assert crystal(site(text), "mix").species == [{11: value}, {17: 1.0}]
    assert f"the first is Na1 with {value:g}" in reason(site(text))


def test_occupancies_that_share_a_place_add_up_to_one():
    def shared(first, second):
        return cif([f"Na1 Na 0 0 0 {first}", f"K1 K 0 0 0 {second}"])

    assert crystal(shared(".6", ".4"), "mix").species == [{11: 0.6, 19: 0.4}]
    rounded = crystal(shared(".34", ".67"), "mix").species
    np.testing.assert_allclose(sum(rounded[0].values()), 1)
    for first, second in ((".6", ".5"), ("1", ".1"), (".8", ".8")):
        for policy in POLICIES:
            found = reason(shared(first, second), policy)
            assert "2 overlapping sites (Na1, K1)" in found
            assert "more than 1" in found
    assert "overlapping sites" in reason(shared("1", "1"))


def test_objects_have_the_same_range():
    from ase import Atoms

    atoms = Atoms("Na", cell=[4, 4, 4], pbc=True)
    atoms.arrays["spacegroup_kinds"] = np.zeros(1, dtype=int)
    for part in (1.2, -0.1, np.nan, 7):
        atoms.info["occupancy"] = {"0": {"Na": part}}
        assert "outside the range 0 to 1" in reason(atoms, "majority")
    atoms.info["occupancy"] = {"0": {"Na": 0.7, "K": 0.7}}
    assert "occupancy 1.4" in reason(atoms, "mix")
    atoms.info["occupancy"] = {"0": {"Na": 0.7, "K": 0.3}}
    assert crystal(atoms, "mix").species == [{11: 0.7, 19: 0.3}]


# -- coordinates and flags -----------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("text", ["?", "."])
def test_unknown_coordinates_are_missing(text, policy):
    found = reason(cif([f"Na1 Na 0 {text} 0 1"]), policy)
    assert f"coordinates are missing: site Na1 has {text!r}" in found


@pytest.mark.parametrize("text", ["1/3", "0,5", "nan", "inf", "x", "0.5(", "1_0"])
def test_coordinates_are_numbers(text):
    assert f"site Na1 has the coordinate {text!r}" in reason(
        cif([f"Na1 Na 0 0 {text} 1"])
    )


@pytest.mark.parametrize("text", ["0.25(3)", "'0.25'", ".25", "2.5e-1", "+0.25"])
def test_spellings_of_coordinates(text):
    found = crystal(cif([f"Na1 Na 0 0 {text} 1"]))
    np.testing.assert_allclose(found.positions, [[0, 0, 1]])


@pytest.mark.parametrize("policy", POLICIES)
def test_sites_flagged_as_dummies_are_no_atoms(policy):
    columns = LISTED + " calc_flag"
    rows = ["Na1 Na 0 0 0 1 d", "Cl1 Cl .5 .5 .5 1 calc"]
    for dummy in ("C9 C .2 .2 .2 1 dum", "X1 X ? ? ? 1 dum", "X1 X 0 0 0 . DUM"):
        text = cif([*rows, dummy], columns=columns)
        assert elements(text, policy) == {"Na": 1, "Cl": 1}
    lost = cif([*rows, "H1 H ? ? ? 1 dum"], columns=columns)
    assert "coordinates are missing: site H1" in reason(lost, policy)


def test_tags_with_dots_and_one_site_without_a_loop():
    text = site("0.5")
    assert crystal(text.replace("_atom_site_", "_atom_site."), "mix").species == (
        crystal(text, "mix").species
    )
    head = cif([], columns="label").replace("loop_\n_atom_site_label\n", "")
    for form in ("_atom_site_", "_atom_site."):
        pairs = {"label": "Na1", "fract_x": "0", "fract_y": ".5", "fract_z": ".25"}
        one = head + "".join(f"{form}{tag} {text}\n" for tag, text in pairs.items())
        np.testing.assert_allclose(crystal(one).positions, [[0, 2, 1]])
        half = one + f"{form}occupancy 0.5\n"
        assert "partial occupancy" in reason(half)


def test_columns_of_two_loops_are_refused():
    other = "loop_\n_atom_site_label\n_atom_site_occupancy\nCl1 1\nNa1 .5\n"
    text = cif(["Na1 0 0 0"], columns="label fract_x fract_y fract_z")
    text = text.replace("_atom_site_label\n", "_atom_site_type_symbol\n").replace(
        "Na1", "Na"
    )
    assert "_atom_site_label stands in another loop" in reason(text + other)


# -- disorder ------------------------------------------------------------------------


def split(*sites, columns=LISTED, extra=""):
    return cif([*sites, "Cl1 Cl .5 .5 .5 1"], CUBIC, columns=columns, extra=extra)


HALVES = split("Na1 Na 0 0 .02 .5", "Na2 Na 0 0 -.02 .5")


def test_split_sites_may_lie_close():
    chosen = crystal(HALVES, "majority")
    assert chosen.numbers.tolist() == [11, 17]
    np.testing.assert_allclose(chosen.positions[0], [0, 0, 0.12])
    mixed = crystal(HALVES, "mix")
    np.testing.assert_allclose(mixed.positions, [[0, 0, 0], [3, 3, 3]], atol=1e-12)
    assert mixed.numbers.tolist() == [11, 17]
    assert mixed.species is None
    assert "2 of 3 sites have partial occupancy, the first is Na1" in reason(HALVES)
    for policy in ("majority", "mix"):
        assert CifToGraph(disorder=policy).transform([HALVES]).n_nodes[0] == 2


@pytest.mark.parametrize("policy", ["majority", "mix"])
def test_an_atom_may_be_split_by_symmetry(policy):
    text = split("Na1 Na 0 0 .02 .5", extra=NAME.format("P 1 1 m"))
    one = crystal(text, policy)
    assert one.numbers.tolist() == [11, 17]
    z = one.positions[0, 2]
    np.testing.assert_allclose(min(z, 6 - z), 0.12 * (policy == "majority"), atol=1e-9)


def test_the_majority_of_a_split_site():
    # The most abundant element wins, at its largest part.
    text = split("Na1 Na 0 0 0 .4", "K1 K 0 0 .02 .25", "K2 K 0 0 .03 .35")
    found = crystal(text, "majority")
    assert found.numbers.tolist() == [19, 17]
    np.testing.assert_allclose(found.positions[0], [0, 0, 0.18])
    # A place that is more often empty is empty, also one with two parts.
    text = split("Na1 Na 0 0 0 .2", "Na2 Na 0 0 .02 .25")
    assert elements(text, "majority") == {"Cl": 1}
    mixed = crystal(text, "mix")
    assert mixed.species[0] == pytest.approx({11: 0.45})
    np.testing.assert_allclose(mixed.positions[0, 2], 0.12 * 0.25 / 0.45)


def test_parts_far_from_each_other_are_places_of_their_own():
    text = split("Na1 Na 0 0 0 .6", "Na2 Na 0 0 .1 .4")
    assert elements(text, "majority") == {"Na": 1, "Cl": 1}
    assert crystal(text, "mix").species == [{11: 0.6}, {11: 0.4}, {17: 1.0}]


@pytest.mark.parametrize("apart", [0.09, 0.12, 0.16])
def test_two_halves_of_one_element_are_one_atom(apart):
    text = split("Na1 Na 0 0 0 .5", f"Na2 Na 0 0 {apart} .5", "O1 O .2 0 0 .5")
    found = crystal(text, "majority")
    assert found.numbers.tolist() == [11, 8, 17]
    np.testing.assert_allclose(found.positions[0], 0, atol=1e-12)
    assert len(crystal(text, "mix").numbers) == 4
    # Two elements, or halves farther apart, may be there together.
    for other in (f"F1 F 0 0 {apart} .5", "Na2 Na 0 0 .18 .5"):
        assert len(crystal(split("Na1 Na 0 0 0 .5", other), "majority").numbers) == 3


def test_protons_of_ice_are_on_one_side_of_their_bond():
    rows = ["O1 O 0 0 0 1", "O2 O 0 0 .45 1", "H1 H 0 0 .16 .5", "H2 H 0 0 .29 .5"]
    assert elements(cif(rows, CUBIC), "majority") == {"O": 2, "H": 1}


def test_parts_that_cannot_be_there_at_once_are_refused():
    text = split("Na1 Na 0 0 0 .6", "Na2 Na 0 0 .05 .6", "Na3 Na 0 0 .1 .4")
    for policy in POLICIES:
        found = reason(text, policy)
        assert "3 overlapping sites (Na1, Na2, Na3), at most 0.600 Å from the" in found
        assert "add up to 1.6" in found


def test_parts_of_one_place_may_lie_on_both_sides_of_a_cell():
    text = split("Na1 Na .01 .99 .02 .5", "Na2 Na .99 .01 -.02 .5")
    mixed = crystal(text, "mix")
    np.testing.assert_allclose(
        mixed.positions[0] - 6 * np.rint(mixed.positions[0] / 6), 0, atol=1e-9
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_isotopes_and_charges_that_share_a_place_are_no_disorder(policy):
    for first, second, z in [("H", "D", 1), ("Fe2+", "Fe3+", 26)]:
        text = split(f"A {first} 0 0 0 .6", f"B {second} 0 0 0.001 .4")
        found = crystal(text, policy)
        assert found.numbers.tolist() == [z, 17]
        assert found.species is None


def test_structures_of_other_packages_are_settled_alike():
    text = split("Na1 Na 0 0 0 .6", "K1 K 0 0 0 .4")
    ours = crystal(text, "mix")
    theirs = crystal(structure_of(text), "mix")
    order = np.argsort(theirs.numbers)
    assert [theirs.species[k] for k in order] == ours.species
    np.testing.assert_allclose(theirs.positions[order], ours.positions, atol=1e-9)


def test_order_of_the_sites_is_kept():
    text = split(
        "B1 B .2 .2 .2 1", "Na1 Na 0 0 0 .6", "O1 O .7 .7 .7 1", "K1 K 0 0 0 .4"
    )
    for policy in ("majority", "mix"):
        assert crystal(text, policy).numbers.tolist() == [5, 11, 8, 17]


# -- groups of disorder --------------------------------------------------------------

GROUPS = LISTED + " disorder_assembly disorder_group"


def two_orientations(*shares, assembly="A"):
    """Each orientation is an oxygen and a nitrogen, more than 0.5 Å from the others."""
    rows = []
    for k, share in enumerate(shares):
        rows += [
            f"O{k} O 0 0 {0.12 * k} {share} {assembly} {k + 1}",
            f"N{k} N .25 0 {0.12 * k} {share} {assembly} {k + 1}",
        ]
    return cif([*rows, "Cl1 Cl .5 .5 .5 1 . ."], CUBIC, columns=GROUPS)


@pytest.mark.parametrize(
    ("shares", "chosen"),
    [
        ((0.6, 0.4), 0),
        ((0.3, 0.7), 1),
        ((0.5, 0.5), 0),
        ((0.4, 0.35, 0.25), 0),
        ((0.2, 0.3, 0.45), 2),
        ((0.2, 0.1), None),
    ],
)
@pytest.mark.parametrize("assembly", ["A", "."])
def test_the_majority_of_groups_is_one_orientation(shares, chosen, assembly):
    text = two_orientations(*shares, assembly=assembly)
    found = crystal(text, "majority")
    if chosen is None:
        assert found.numbers.tolist() == [17]
    else:
        assert found.numbers.tolist() == [8, 7, 17]
        np.testing.assert_allclose(found.positions[:2, 2], 0.72 * chosen, atol=1e-12)
    assert len(crystal(text, "mix").numbers) == 1 + 2 * len(shares)
    assert "partial occupancy" in reason(text)


def test_groups_without_a_common_share_fall_back_to_sites():
    rows = ["O1 O 0 0 0 .7 . 1", "N1 N .25 0 0 .5 . 1", "C1 C 0 .5 0 .1 . 1"]
    rows += ["O2 O 0 0 .12 .3 . 2", "N2 N .25 0 .12 .5 . 2", "C2 C 0 .5 .12 .9 . 2"]
    found = crystal(cif(rows, CUBIC, columns=GROUPS), "majority")
    assert found.numbers.tolist() == [8, 7, 6]
    np.testing.assert_allclose(found.positions[:, 2], [0, 0, 0.72])


def test_a_group_that_symmetry_disorders_has_no_majority():
    row = "O1 O .2 .2 .1 .5 . -1"
    text = cif([row], CUBIC, columns=GROUPS, extra=NAME.format("P -1"))
    assert "disorder group -1" in reason(text, "majority")
    assert crystal(text, "mix").species == [{8: 0.5}, {8: 0.5}]
    rare = text.replace(".5 . -1", ".7 . -1")
    assert elements(rare, "majority") == {"O": 2}


# -- the functions themselves --------------------------------------------------------


def test_molecules_have_no_images():
    sites = Sites(["a", "b"], [{6: 1.0}, {8: 1.0}], np.array([0.5, 0.5]))
    images = Images(np.arange(2), np.array([[0.0, 0, 0.1], [0, 0, 5.9]]))
    lattice = 6 * np.eye(3)
    for periodic, n_places in [((True,) * 3, 1), ((True, True, False), 2)]:
        places = settle(sites, images, lattice, periodic=periodic, disorder="mix")
        assert len(places.numbers) == n_places


def test_parts_share_a_place_in_skewed_and_in_thin_cells():
    sites = Sites(["a", "b"], [{6: 1.0}, {6: 1.0}], np.array([0.5, 0.5]))
    skewed = np.array([[4.0, 0, 0], [1.9, 0.8, 0], [0, 0, 5]])
    thin = np.diag([4.0, 5, 0.7])
    for lattice, shift, periodic in [
        (skewed, [0, 0.45, 0], (True, True, True)),
        (thin, [0, 0, 0.4], (True, True, False)),
    ]:
        images = Images(
            np.arange(2), np.array([[1.0, 1, 0.1], np.add([1, 1, 0.1], shift)])
        )
        places = settle(sites, images, lattice, periodic=periodic, disorder="mix")
        expected = np.array([[1, 1, 0.1]]) + np.array(shift) / 2
        np.testing.assert_allclose(places.positions, expected, atol=1e-12)
