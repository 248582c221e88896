"""What a CIF says about its symmetry: read, or refused."""

import gemmi
import numpy as np
import pytest
from crystals import HEAD

from skgnn_mtl.featurizers._cell import read_cell, tags_of
from skgnn_mtl.featurizers._crystal import UnreadableCrystal
from skgnn_mtl.featurizers._symmetry import (
    check_all_atoms_are_listed,
    find_group,
    operations,
)

TABLE = list(gemmi.spacegroup_table())
CUBE = (5, 5, 5, 90, 90, 90)
MONOCLINIC = (6, 7, 8, 90, 99, 90)
HEXAGONAL = (5, 5, 12, 90, 90, 120)
RHOMBOHEDRAL = (5, 5, 5, 57, 57, 57)
CELLS = {
    "triclinic": (5, 6, 7, 80, 95, 103),
    "monoclinic": MONOCLINIC,
    "orthorhombic": (5, 6, 7, 90, 90, 90),
    "tetragonal": (5, 5, 7, 90, 90, 90),
    "trigonal": HEXAGONAL,
    "hexagonal": HEXAGONAL,
    "cubic": CUBE,
}
NAME = "_symmetry_space_group_name_H-M"
XYZ = "_symmetry_equiv_pos_as_xyz"
MAGNETIC = "_space_group_symop_magn_operation.xyz"


def cell_of(entry):
    if entry.ext == "R":
        return RHOMBOHEDRAL
    if entry.crystal_system_str() != "monoclinic":
        return CELLS[entry.crystal_system_str()]
    angles = [90, 90, 90]
    angles["abc".index(entry.monoclinic_unique_axis())] = 99
    return (6, 7, 8, *angles)


def listed(*triplets, tag=XYZ):
    return f"loop_\n{tag}\n" + "".join(f"'{triplet}'\n" for triplet in triplets)


def read(extra, cell=CUBE):
    keys = ("a", "b", "c", "alpha", "beta", "gamma")
    head = HEAD.format(name="x", **dict(zip(keys, cell, strict=True)))
    document = gemmi.cif.read_string(head + extra)
    return {op.triplet() for op in operations(document.sole_block())}


def refusal(extra, cell=CUBE):
    with pytest.raises(UnreadableCrystal) as error:
        read(extra, cell)
    return str(error.value)


def of(name):
    group = gemmi.find_spacegroup_by_name(name)
    return {op.triplet() for op in group.operations()}


P1, INVERSION = {"x,y,z"}, {"x,y,z", "-x,-y,-z"}


# -- every tag -----------------------------------------------------------------------


def test_all_settings_are_read_by_name_by_hall_symbol_and_by_operations():
    for entry in TABLE:
        expected = {op.triplet() for op in entry.operations()}
        cell = cell_of(entry)
        for extra in (
            f"{NAME} '{entry.xhm()}'\n",
            # Hall symbols have quotes of both kinds.
            f"_space_group.name_Hall\n;{entry.hall}\n;\n",
            listed(*expected),
        ):
            assert read(extra, cell) == expected, extra


@pytest.mark.parametrize(
    "extra",
    [
        "_symmetry_space_group_name_H-M 'P -1'\n",
        "_SYMMETRY_SPACE_GROUP_NAME_h-m 'P -1'\n",
        "_symmetry.space_group_name_H-M 'P -1'\n",
        "_symmetry_space_group_name_H_M 'P -1'\n",
        "_space_group_name_H-M_alt 'P -1'\n",
        "_space_group.name_H-M_alt P-1\n",
        "_space_group_name_H-M_full 'P -1'\n",
        "_space_group.name_H-M_full 'P -1'\n",
        "_space_group.name_H-M_ref 'P -1'\n",
        f"{NAME}\n;P -1\n;\n",
        f"loop_\n{NAME}\n'P -1'\n",
        "_symmetry_space_group_name_Hall '-P 1'\n",
        "_space_group_name_Hall -P_1\n",
        "_space_group.name_Hall '-p 1'\n",
        "_symmetry_space_group_name_Hall 'P -1'\n",
        "_symmetry_Int_Tables_number 2\n",
        "_symmetry.Int_Tables_number 2\n",
        "_space_group_IT_number 2\n",
        "_space_group.IT_number '2'\n",
        listed("x,y,z", "-x,-y,-z"),
        listed("x,y,z", "-x,-y,-z", tag="_space_group_symop_operation_xyz"),
        listed("x,y,z", "-x,-y,-z", tag="_space_group_symop.operation_xyz"),
        listed("x,y,z", "-x,-y,-z", tag="_symmetry_equiv.pos_as_xyz"),
        listed("x,y,z", "-x,-y,-z", tag=XYZ.upper()),
        "loop_\n_symmetry_equiv_pos_site_id\n" + XYZ + "\n1 x,y,z\n2 -x,-y,-z\n",
        listed("x,y,z,+1", "-x,-y,-z,-1", tag=MAGNETIC),
        listed("x,y,z,+1", "-x,-y,-z,1", tag="_space_group_symop.magn_operation_xyz"),
        f"{NAME} ?\n_symmetry_Int_Tables_number 2\n",
        f"{XYZ} ?\n{NAME} 'P -1'\n",
        f"{NAME} 'P -1'\n_symmetry_space_group_name_Hall ?\n_symmetry_cell_setting .\n",
        f"{NAME} 'P -1'\n_symmetry_Int_Tables_number 0\n",
    ],
)
def test_every_tag_that_states_a_group_is_read(extra):
    assert read(extra) == INVERSION


@pytest.mark.parametrize(
    ("extra", "cell", "name"),
    [
        ("_space_group_IT_number 227\n", CUBE, "F d -3 m:1"),
        (f"{NAME} 'F d -3 m'\n", CUBE, "F d -3 m:1"),
        (
            "_space_group_IT_number 227\n_space_group.IT_coordinate_system_code 2\n",
            CUBE,
            "F d -3 m:2",
        ),
        (
            f"{NAME} 'F d -3 m'\n_space_group_IT_coordinate_system_code 2\n",
            CUBE,
            "F d -3 m:2",
        ),
        (
            "_space_group_IT_number 14\n_space_group_IT_coordinate_system_code b3\n",
            MONOCLINIC,
            "P 1 21/a 1",
        ),
        (
            f"{NAME} 'F d -3 m'\n_space_group_name_Hall '-F 4vw 2vw 3'\n",
            CUBE,
            "F d -3 m:2",
        ),
        ("_space_group_IT_number 166\n", HEXAGONAL, "R -3 m:H"),
        ("_space_group_IT_number 166\n", RHOMBOHEDRAL, "R -3 m:R"),
        (f"{NAME} 'R -3 m'\n", RHOMBOHEDRAL, "R -3 m:R"),
        (f"{NAME} 'P 21/n'\n", (6, 7, 8, 90, 90, 99), "P 1 1 21/n"),
        (f"{NAME} 'P 21/n'\n", (6, 7, 8, 90, 90, 90), "P 1 21/n 1"),
        (
            "_space_group_IT_number 2\n_space_group_transform_Pp_abc a,b,c;0,0,0\n",
            CUBE,
            "P -1",
        ),
    ],
)
def test_origin_and_axes(extra, cell, name):
    assert read(extra, cell) == of(name)


def test_magnetic_centrings_multiply_the_operations():
    extra = listed("x,y,z,+1", "-x,-y,-z,-1", tag=MAGNETIC) + listed(
        "x,y,z,+1", "x+1/2,y,z,-1", tag="_space_group_symop_magn_centering.xyz"
    )
    assert read(extra) == {*INVERSION, "x+1/2,y,z", "-x+1/2,-y,-z"}
    # The name may be that of the parent, or of the group without spins.
    assert read(f"{NAME} 'P m -3 m'\n" + extra) == read(extra)
    assert "'-x,-y,-z' is unreadable" in refusal(
        listed("x,y,z,+1", "-x,-y,-z", tag=MAGNETIC)
    )


def test_a_silent_file_lists_all_atoms():
    assert read("_cell_measurement_temperature 293\n") == P1
    assert read("_space_group.id 1\n_cell_modulation_dimension 0\n") == P1


# -- refusals ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "extra",
    [
        f"{NAME} ?\n",
        f"{NAME} .\n",
        f"{NAME} '?'\n",
        f"{NAME} ''\n",
        "_space_group.IT_number ?\n",
        "_symmetry_Int_Tables_number 0\n",
        "_symmetry_cell_setting ?\n",
        "_symmetry_cell_setting cubic\n",
        f"{NAME} ?\n_symmetry_cell_setting cubic\n",
        "_space_group_crystal_system triclinic\n",
        "_space_group.Laue_class m-3m\n",
        "_space_group.point_group_H-M 2/m\n",
        "_space_group.Bravais_type cF\n",
        "_space_group.centring_type F\n",
        "_space_group.name_Schoenflies D2h.16\n",
        f"{XYZ} ?\n",
        "loop_\n_symmetry_equiv_pos_site_id\n1\n2\n",
    ],
)
def test_an_unknown_group_is_not_p1(extra):
    assert "space group is unknown" in refusal(extra)


@pytest.mark.parametrize(
    "extra",
    [
        "loop_\n_space_group_symop_generator_xyz\nx,y,z\n-x,-y,-z\n",
        "_space_group_magn.number_BNS 62.441\n",
        "_space_group.magn_name_BNS 'P n m a'\n",
        "loop_\n_space_group_symop_magn_operation.id\n"
        "_space_group_symop_magn_operation.mxmymz\n1 mx,my,mz\n",
        "_parent_space_group.name_H-M_alt 'P m -3 m'\n",
        "_symmetry_group_of_another_program 'P -1'\n",
    ],
)
def test_what_is_not_read_is_refused_unless_operations_are_listed(extra):
    assert "is not read" in refusal(extra)
    assert read(extra + listed("x,y,z", "-x,-y,-z")) == INVERSION


def test_a_transformation_of_the_setting_needs_operations():
    extra = "_space_group_IT_number 2\n_space_group_transform_Pp_abc a-b,b,c;0,0,1/4\n"
    assert "transformation of the setting" in refusal(extra)
    assert read(extra + listed("x,y,z", "-x,-y,-z")) == INVERSION


@pytest.mark.parametrize(
    "extra",
    [
        "_space_group_ssg_name 'Pnma(a00)000'\n",
        "_space_group.ssg_name_IT 'Pnma(a00)000'\n",
        "_cell_modulation_dimension 1\n",
        "_cell.modulation_dimension 2\n",
        "_exptl_crystal_type_of_structure mod\n",
        "_exptl_crystal.type_of_structure comp\n",
        listed("x1,x2,x3,x4", tag="_space_group_symop_ssg_operation_algebraic"),
        listed("x1,x2,x3,x4,+1", tag="_space_group_symop_magn_ssg_operation.algebraic"),
        "loop_\n_cell_wave_vector_seq_id\n_cell_wave_vector_x\n1 0.3\n",
        "loop_\n_atom_site_displace_Fourier_id\nA\n",
        "loop_\n_atom_site_occ_Fourier_id\nA\n",
    ],
)
def test_modulated_structures_are_refused_whatever_else_they_state(extra):
    for more in ("", listed("x,y,z"), f"{NAME} 'P 1'\n"):
        assert "modulated" in refusal(extra + more)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (f"{NAME} 'Q 7'\n", "space group 'Q 7' is unknown"),
        (f"{NAME} 'Q 7'\n_space_group_IT_number 2\n", "'Q 7' is unknown"),
        ("_space_group_IT_number 231\n", "'number 231' is unknown"),
        ("_space_group_IT_number 2.5\n", "'number 2.5' is unknown"),
        ("_space_group_name_Hall 'P nonsense'\n", "Hall symbol 'P nonsense'"),
        (listed("x,y,z", "-x,foo,z"), "'-x,foo,z' is unreadable"),
        (listed("x,y,z", "?"), "is unknown ('?')"),
        (listed("-x,-y,-z"), "identity"),
        (listed("x,y,z", "y,z,x"), "not a group"),
    ],
)
def test_unreadable_statements_are_named(extra, words):
    assert words in refusal(extra)


@pytest.mark.parametrize(
    ("extra", "cell"),
    [
        (f"{NAME} 'P m -3 m'\n_space_group_IT_number 225\n", CUBE),
        (f"{NAME} 'P 1'\n_space_group_name_H-M_alt 'P -1'\n", CUBE),
        (f"{NAME} 'P -1'\n_space_group_IT_coordinate_system_code h\n", CUBE),
        (f"{NAME} 'P 21/n'\n_space_group_name_Hall '-P 2ybc'\n", MONOCLINIC),
        (f"{NAME} 'P 21/n'\n_space_group_name_Hall 'P 21/m'\n", MONOCLINIC),
        (f"{NAME} 'F d -3 m :1'\n_space_group_name_Hall '-F 4vw 2vw 3'\n", CUBE),
        ("_space_group_IT_number 2\n_space_group_name_Hall 'P 1'\n", CUBE),
        (f"{NAME} 'P -1'\n_space_group_name_Hall '-P 2 (x+1/8,y,z)'\n", CUBE),
    ],
)
def test_names_numbers_and_hall_symbols_must_agree(extra, cell):
    assert "contradictory" in refusal(extra, cell)


@pytest.mark.parametrize(
    ("statement", "group"),
    [
        ("_symmetry_cell_setting cubic", "P 1"),
        ("_symmetry_cell_setting cubic", "P -1"),
        ("_symmetry_cell_setting tetragonal", "P m -3 m"),
        ("_space_group_crystal_system Triclinic", "P m -3 m"),
        ("_space_group.Laue_class m-3m", "P -1"),
        ("_space_group.Laue_class m-3", "P m -3 m"),
        ("_space_group.point_group_H-M 1", "P -1"),
        ("_space_group.point_group_H-M 432", "P m -3 m"),
        ("_space_group.centring_type F", "P m -3 m"),
    ],
)
def test_a_stated_system_or_class_must_be_that_of_the_group(statement, group):
    for extra in (f"{NAME} '{group}'\n", listed(*of(group))):
        assert statement.split()[1] in refusal(f"{extra}{statement}\n")


@pytest.mark.parametrize(
    ("statements", "group", "cell"),
    [
        (["_symmetry_cell_setting cubic"], "F m -3 m", CUBE),
        (["_space_group.Laue_class m3m"], "F m -3 m", CUBE),
        (["_space_group.centring_type F"], "F m -3 m", CUBE),
        (["_symmetry_cell_setting trigonal"], "R -3 m:H", HEXAGONAL),
        (["_symmetry_cell_setting rhombohedral"], "R -3 m:H", HEXAGONAL),
        (["_symmetry_cell_setting hexagonal"], "R -3 m:H", HEXAGONAL),
        (["_space_group.point_group_H-M -3m1"], "P -3 m 1", HEXAGONAL),
        (["_space_group.point_group_H-M -3m"], "P -3 1 m", HEXAGONAL),
        (["_symmetry_cell_setting something"], "P -1", CUBE),
    ],
)
def test_a_stated_system_that_agrees_changes_nothing(statements, group, cell):
    extra = f"{NAME} '{group}'\n" + "\n".join(statements) + "\n"
    assert read(extra, cell) == of(group)


# -- operations beside names ---------------------------------------------------------


def test_operations_outrank_the_setting_of_a_name():
    n_glide, c_glide = of("P 1 21/n 1"), of("P 1 21/c 1")
    assert read(f"{NAME} 'P 21/c'\n" + listed(*n_glide), MONOCLINIC) == n_glide
    hall = "_space_group_name_Hall '-P 2ybc'\n"
    assert read(hall + listed(*n_glide), MONOCLINIC) == n_glide
    assert read(f"{NAME} 'P 21/n'\n" + listed(*c_glide), MONOCLINIC) == c_glide
    shifted = ("x,y,z", "-x+1/4,-y,-z")
    assert read(f"{NAME} 'P -1'\n" + listed(*shifted)) == {*shifted}
    # The name of an unusual setting is not in the table.
    centred = listed("x,y,z", "x+1/2,y+1/2,z+1/2")
    assert len(read(f"{NAME} 'Q 1'\n" + centred)) == 2


def test_the_identity_alone_says_that_all_atoms_are_listed():
    assert read(f"{NAME} 'F m -3 m'\n_space_group_IT_number 225\n{XYZ} x,y,z\n") == P1


@pytest.mark.parametrize(
    ("extra", "group", "cell"),
    [
        (f"{NAME} 'P m -3 m'\n", "P -1", CUBE),
        (f"{NAME} 'P 1'\n", "P -1", CUBE),
        ("_space_group_IT_number 225\n", "P m -3 m", CUBE),
        ("_space_group_name_Hall '-P 1'\n", "P m -3 m", CUBE),
        (f"{NAME} 'C 2/c'\n", "P 1 2/c 1", MONOCLINIC),
        (f"{NAME} 'P b c a'\n", "P n m a", (5, 6, 7, 90, 90, 90)),
    ],
)
def test_operations_of_another_group_than_the_named_one_are_refused(extra, group, cell):
    assert "are not those of the space group" in refusal(
        extra + listed(*of(group)), cell
    )


def test_centring_translations_that_are_left_out_are_noticed_in_any_origin():
    shift = "(x+1/8,y+1/8,z)"
    ops = [op.triplet() for op in gemmi.symops_from_hall(f"-P 2yc {shift}")]
    assert (
        gemmi.find_spacegroup_by_ops(gemmi.symops_from_hall(f"-P 2yc {shift}")) is None
    )
    extra = f"{NAME} 'C 2/c'\n"
    assert "are not those" in refusal(extra + listed(*ops), MONOCLINIC)
    full = [op.triplet() for op in gemmi.symops_from_hall(f"-C 2yc {shift}")]
    assert read(extra + listed(*full), MONOCLINIC) == {*full}


def test_two_lists_must_be_one():
    other = "_space_group_symop_operation_xyz"
    both = listed("x,y,z", "-x,-y,-z")
    assert read(both + listed("-x,-y,-z", "x,y,z", tag=other)) == INVERSION
    assert "two lists of operations differ" in refusal(
        both + listed("x,y,z", tag=other)
    )


def test_cells_that_do_not_have_the_symmetry_are_refused():
    box = (5, 6, 7, 90, 90, 90)
    assert "does not have the symmetry" in refusal(f"{NAME} 'P m -3 m'\n", box)
    assert "unit cell" in refusal(listed("x,y,z", "z,x,y", "y,z,x"), box)
    # A glide plane along c cannot be normal to c.
    assert "symmetry" in refusal(f"{NAME} 'P 21/c'\n", (6, 7, 8, 90, 90, 99))
    assert read(f"{NAME} 'P m m m'\n", box) == of("P m m m")


# -- sites that stand for several atoms ----------------------------------------------


def block_with(values, tag="_atom_site_symmetry_multiplicity", extra=""):
    rows = "".join(f"Na{k} {value}\n" for k, value in enumerate(values))
    text = HEAD.format(name="x", a=5, b=5, c=5, alpha=90, beta=90, gamma=90) + extra
    document = gemmi.cif.read_string(f"{text}loop_\n_atom_site_label\n{tag}\n{rows}")
    # The block lives as long as its document.
    return document, document.sole_block()


@pytest.mark.parametrize(
    "tag", ["_atom_site_symmetry_multiplicity", "_atom_site.site_symmetry_multiplicity"]
)
def test_multiplicities_contradict_a_list_of_all_atoms(tag):
    for values in ([4, 4], [1, 2], [2, 2, 2]):
        _document, block = block_with(values, tag)
        with pytest.raises(UnreadableCrystal, match=r"stand for \d atoms"):
            check_all_atoms_are_listed(block)
    for values in ([1, 1], [2, 2], [1, 2, 2], ["?", "."]):
        _document, block = block_with(values, tag)
        check_all_atoms_are_listed(block)


@pytest.mark.parametrize(
    ("extra", "is_doubtful"),
    [
        ("", True),
        (f"{NAME} 'P 1'\n", False),
        (f"{NAME} 'P 1'\n{XYZ} x,y,z\n", False),
        (f"{XYZ} x,y,z\n", True),
        (f"{NAME} 'F m -3 m'\n{XYZ} x,y,z\n", True),
        (f"{NAME} 'P -1'\n", False),
    ],
)
def test_only_a_named_p1_is_beyond_doubt(extra, is_doubtful):
    _document, block = block_with([1], extra=extra)
    tags = tags_of(block)
    group = find_group(tags, read_cell(tags))
    assert group.is_doubtful == is_doubtful
    assert len(group.matrices[0]) == len(group.operations)
    np.testing.assert_array_equal(group.matrices[0][0], np.eye(3))
