"""Symmetry operations: what is read as one, and what is a group."""

import gemmi
import numpy as np
import pytest

from skgnn_mtl.featurizers._crystal import UnreadableCrystal
from skgnn_mtl.featurizers._operations import (
    FAMILIES,
    METRIC,
    best_fit,
    group_of,
    misfit,
    parse_operation,
)

TABLE = list(gemmi.spacegroup_table())
# One of each crystal class, with centrings, screw axes and glide planes.
SOME = ["P -1", "C 1 2/c 1", "P n a 21", "I 41/a m d:2", "R -3 c:H", "P 63/m m c"]
SOME += ["F d -3 c:1", "I a -3 d", "P 41 21 2", "P -6 2 c", "F 2 3"]


def triplets(group):
    return tuple(op.triplet() for op in group.operations())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x,y,z", "x,y,z"),
        (" X , -Y, Z + 1/2 ", "x,-y,z+1/2"),
        ("'1/2-x,.5+y,-z'", "-x+1/2,y+1/2,-z"),
        ("x+5/10,y+9/12,z-3/24", "x+1/2,y+3/4,z+7/8"),
        ("x+0.3333,y+.667,z+0.66", "x+1/3,y+2/3,z+2/3"),
        ("x+0.125,y+0.38,z-0.17", "x+1/8,y+3/8,z+5/6"),
        ("x+3/2,y-5,z-1/4", "x+1/2,y,z+3/4"),
        ("\u2212x,\u2013y,1*z", "-x,-y,z"),
        ("y-x,-x,z+2/3", "-x+y,-x,z+2/3"),
        ("x+1/4+1/4,y,z", "x+1/2,y,z"),
        ("+x,+y,-z+0", "x,y,-z"),
        ("x-2y,-y,z", "x-2*y,-y,z"),
    ],
)
def test_an_operation_is_read_in_every_spelling(text, expected):
    assert parse_operation(text).triplet() == expected


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x,y", "three parts"),
        ("x,y,z,+1", "three parts"),
        ("x,,z", "a part is empty"),
        ("x,foo,z", "'foo' is not a sum of x, y, z"),
        ("x,xy,z", "'xy' is not a sum"),
        ("a,b,c", "'a' is not a sum"),
        ("x,y,z+1/0", "divides by zero"),
        ("x,x,z", "determinant is 0"),
        ("2x,y,z", "determinant is 2"),
        ("x/2,y,z", "not a small integer"),
        ("x+1/5,y,z", "0.2 is not a multiple of 1/12 or 1/8"),
        ("x+.2,y,z", "0.2 is not a multiple"),
        ("x+0.43,y,z", "0.43 is not a multiple"),
        ("x+33/100,y,z", "0.33 is not a multiple"),
        ("1,y,z", "determinant is 0"),
    ],
)
def test_what_is_no_operation_of_a_crystal_is_named(text, fault):
    with pytest.raises(UnreadableCrystal, match="symmetry operation") as error:
        parse_operation(text)
    assert fault in str(error.value)
    assert repr(text) in str(error.value)


def test_all_settings_of_the_table_are_groups_and_recognized():
    for entry in TABLE:
        group = group_of(triplets(entry))
        assert group.triplets == {*triplets(entry)}
        # Two entries may share their operations.
        assert {*triplets(group.setting)} == group.triplets
        assert group.setting.number == entry.number
        system = entry.crystal_system_str()
        expected = "hexagonal" if system == "trigonal" else system
        assert FAMILIES[group.family] == expected, entry.xhm()
        centerings = {"P": 1, "F": 4, "R": 3 if entry.ext != "R" else 1}
        assert group.n_centerings == centerings.get(entry.hm[0], 2), entry.xhm()


@pytest.mark.parametrize("name", SOME)
def test_a_list_without_one_of_its_operations_is_no_group(name):
    listed = triplets(gemmi.find_spacegroup_by_name(name))
    rng = np.random.default_rng(0)
    missing = rng.choice(len(listed), size=min(8, len(listed)), replace=False)
    for k in missing:
        rest = listed[:k] + listed[k + 1 :]
        if len(rest) == 1:
            continue
        with pytest.raises(UnreadableCrystal, match=r"not a group|identity"):
            group_of(rest)


@pytest.mark.parametrize("name", SOME)
def test_a_list_with_one_wrong_translation_is_no_group(name):
    listed = triplets(gemmi.find_spacegroup_by_name(name))
    # A shift of an operation of order two by a quarter cannot be one of its kind.
    changed = (*listed[:-1], f"{listed[-1]}+1/24")
    with pytest.raises(UnreadableCrystal, match="not a group"):
        group_of(changed if len(listed) > 2 else (*listed, "x+1/24,y,z"))


def test_order_and_repetition_do_not_matter():
    listed = triplets(gemmi.find_spacegroup_by_name("I 41/a m d:2"))
    rng = np.random.default_rng(1)
    shuffled = tuple(listed[k] for k in rng.permutation(len(listed)))
    twice = (*shuffled, *shuffled[:5], "x+1,y,z")
    group = group_of(twice)
    assert group.triplets == set(listed)
    assert group.operations[0].triplet() == "x,y,z"
    rotations, shifts = group.matrices
    point = rng.random(3)
    for k, operation in enumerate(group.operations):
        expected = operation.apply_to_xyz(list(point))
        np.testing.assert_allclose(rotations[k] @ point + shifts[k], expected)


def test_the_message_names_the_missing_product():
    with pytest.raises(UnreadableCrystal, match="y,z,x after y,z,x is z,x,y"):
        group_of(("x,y,z", "y,z,x"))
    with pytest.raises(UnreadableCrystal, match="identity x,y,z is not among the 1"):
        group_of(("-x,-y,-z",))


def test_an_unusual_setting_is_a_group_without_an_entry():
    group = group_of(("x,y,z", "-x+1/4,-y,-z"))
    assert group.setting is None
    assert group.crystal_class == {-1: 1, 1: 1}


def test_the_limits_of_the_metric():
    cubic = group_of(triplets(gemmi.find_spacegroup_by_name("P m -3 m")))
    for cell, fits in [
        ((5, 5, 5, 90, 90, 90), True),
        ((5, 5, 5.02, 90, 90, 90), True),
        ((5, 5, 5.05, 90, 90, 90), False),
        ((5, 6, 7, 90, 90, 90), False),
        ((5, 5, 5, 90, 90, 90.2), True),
        ((5, 5, 5, 90, 90, 91), False),
    ]:
        change, operation = misfit(cubic, gemmi.UnitCell(*cell))
        assert (change <= METRIC) == fits, (cell, change)
        assert operation.triplet() in cubic.triplets


def random_cell(system, rng):
    a, b, c = rng.uniform(4, 15, 3)
    alpha, beta, gamma = rng.uniform(75, 105, 3)
    return {
        "triclinic": (a, b, c, alpha, beta, gamma),
        "monoclinic": (a, b, c, 90, beta + 16, 90),
        "orthorhombic": (a, b, c, 90, 90, 90),
        "tetragonal": (a, a, c, 90, 90, 90),
        "trigonal": (a, a, c, 90, 90, 120),
        "hexagonal": (a, a, c, 90, 90, 120),
        "cubic": (a, a, a, 90, 90, 90),
    }[system]


def test_standard_settings_fit_cells_of_their_system_and_no_general_one():
    rng = np.random.default_rng(2)
    for number in range(1, 231):
        entry = gemmi.find_spacegroup_by_number(number)
        group = group_of(triplets(entry))
        cell = gemmi.UnitCell(*random_cell(entry.crystal_system_str(), rng))
        assert misfit(group, cell)[0] < 1e-9, entry.xhm()
        general = gemmi.UnitCell(5, 7, 9, 80, 96, 101)
        assert (misfit(group, general)[0] > METRIC) == (number > 2), entry.xhm()


def test_the_cell_chooses_among_settings():
    b, c = (
        group_of(triplets(gemmi.find_spacegroup_by_name(name)))
        for name in ("P 1 21/n 1", "P 1 1 21/n")
    )
    for angles, expected in [
        ((90, 99, 90), b),
        ((90, 90, 99), c),
        # Rounding does not choose, a fifth of a degree does.
        ((90, 90.0003, 90.0005), b),
        ((90, 90, 90.2), c),
    ]:
        assert best_fit([b, c], gemmi.UnitCell(6, 7, 8, *angles))[0] is expected
