"""Faulty items of a CIF: left out if they are not needed, else refused."""

import time

import pytest
from crystals import COPPER, ROCK_SALT, cif

from skgnn_mtl import CifToGraph

UNRELATED = {
    "several words": "_journal_name Acta Cryst B",
    "open quote": "_publ_author_name 'Doe, J.",
    "no value": "_publ_section_title",
    "short loop": "loop_\n_publ_author_name\n_publ_author_address\nDoe",
    "empty loop": "loop_\n_publ_author_name\n_publ_author_address",
    "letters": "_publ_author_name Müller",
    "list of the second version": "_diffrn_source [X-ray 'rotating anode']",
    "three quotes": "_publ_contact '''a\nb'''",
    "displacements": "loop_\n_atom_site_aniso_label\n_atom_site_aniso_U_11\nNa1 1 2",
    "volume": "_cell_volume 179 A^3",
    "temperature": "_cell_measurement_temperature 293 K",
    "geometry": "loop_\n_geom_bond_site_symmetry_1\n_geom_bond_distance\n1_555 2.8 ?",
    "twice": "_publ_note 1\n_publ_note 2",
}
NEEDED = {
    "short loop": ("loop_\n_symmetry_equiv_pos_site_id\n_symmetry_equiv_pos_as_xyz\n1"),
    "cell": "_cell_length_a 5.64 A",
    "angle": "_cell_angle_beta '90",
    "name": "_symmetry_space_group_name_H-M F m -3 m",
    "dots": "_space_group.name_H-M_alt F m -3 m",
    "modulation": "_cell_modulation_dimension",
    "moments": "loop_\n_atom_site_moment.label\n_atom_site_moment.crystalaxis_x\nNa1",
    "behind a fault": "_publ_note a b _cell_length_b 7",
    "a text with tags": "_exptl_note what\n;\n_cell_length_a 3 is wrong\n;",
    "no header": "loop_\n_cell_length_b",
    "swallowed": "_publ_note\n;\nno end\n_cell_length_b 7",
}


def graph(text):
    return CifToGraph().transform([text])


def reason(text):
    with pytest.raises(ValueError, match=r"Could not read X\[0\]") as error:
        graph(text)
    return str(error.value)


def places(item):
    """The item behind the name of the block, between two tags, and at the end."""
    first, rest = ROCK_SALT.split("\n", 1)
    yield f"{first}\n{item}\n{rest}"
    yield ROCK_SALT.replace("_cell_angle_alpha", f"{item}\n_cell_angle_alpha")
    yield ROCK_SALT.replace("loop_\n", f"{item}\nloop_\n")
    yield f"{ROCK_SALT}{item}\n"


@pytest.mark.parametrize("fault", UNRELATED)
def test_faults_of_items_that_are_not_needed_change_nothing(fault):
    expected = graph(ROCK_SALT)
    for text in places(UNRELATED[fault]):
        assert graph(text) == expected


@pytest.mark.parametrize("fault", NEEDED)
def test_faults_of_items_that_are_needed_are_refused(fault):
    for text in places(NEEDED[fault]):
        assert "Could not read" in reason(text)


def test_the_reason_names_the_line():
    bare = COPPER.replace("_cell_length_b 2.556", "_cell_length_b 2.556 A")
    line = 1 + bare[: bare.index("_cell_length_b")].count("\n")
    assert f"line {line} is not valid CIF: parse error" in reason(bare)
    assert "no line that begins with data_" in reason("C C O\nwater\n")


def test_a_faulty_loop_of_sites_is_refused():
    assert "Wrong number of values" in reason(COPPER + "Na1 Na 0.5\n")
    assert "not valid CIF" in reason(cif(["Na1 Na 0 0 0 1", "O1 O 'x 0 0 1"]))


def test_words_around_the_name_of_the_block_are_left_out():
    assert graph("written by a program\n" + COPPER) == graph(COPPER)
    head, rest = COPPER.split("\n", 1)
    assert graph(f"{head}\nwritten by hand\n{rest}") == graph(COPPER)
    assert "not valid CIF" in reason(COPPER + "written by hand\n")
    assert "not valid CIF" in reason("_cell_length_a 3\n" + COPPER)


def test_texts_with_many_faults_are_no_cif():
    head, rest = COPPER.split("\n", 1)
    faults = "".join(f"_note_{k} a b\n" for k in range(20))
    assert graph(f"{head}\n{faults}{rest}") == graph(COPPER)
    assert "not valid CIF" in reason(f"{head}\n{faults}_note a b\n{rest}")


def test_save_frames_are_not_taken_apart():
    frame = "save_a\n_cell_length_a 9\nsave_\n"
    assert graph(COPPER + frame) == graph(COPPER)
    assert "not valid CIF" in reason(COPPER + frame + "_note a b\n")


@pytest.mark.parametrize(
    ("tag", "value"),
    [("_cell_length_b", "3.5"), ("_CELL_length_b", "3.5"), ("_cell_angle_alpha", "61")],
)
def test_needed_tags_with_two_values_are_refused(tag, value):
    assert f"the tag {tag} twice" in reason(
        COPPER.replace("loop_", f"{tag} {value}\nloop_")
    )


def test_a_tag_repeated_with_its_value_is_read():
    twice = COPPER.replace("loop_", "_cell_length_b 2.556\n_note 1\n_note 2\nloop_")
    assert graph(twice) == graph(COPPER)


def test_columns_twice_are_refused():
    rows = ["Na1 0 0 0 0.5"]
    text = cif(rows, columns="label fract_x fract_y fract_z fract_x")
    assert "duplicate tag _atom_site_fract_x" in reason(text)


def test_blocks_of_one_name_are_counted():
    assert "2 data blocks have sites" in reason(COPPER + COPPER)


def test_vacancies_and_signs_beyond_ascii_are_read_without_quotes():
    sites = ["Na1 Na⁺ 0 0 0 .4", "□1 □ 0 0 0 .6", "Cl1 Cl− .5 .5 .5 1"]
    X = CifToGraph(disorder="majority").transform([cif(sites)])
    assert X.node_codes.tolist() == [[17]]


def test_a_fault_does_not_make_reading_slow():
    sites = [f"Si{k} Si {k / 800} {k % 7 / 7} {k % 11 / 11} 1" for k in range(800)]
    text = cif(sites, (60, 60, 60, 90, 90, 90))
    faulty = text.replace("loop_", "_journal_name Acta Cryst\nloop_", 1)

    def seconds(row):
        spent = []
        for _ in range(3):
            start = time.process_time()
            graph(row)
            spent.append(time.process_time() - start)
        return min(spent)

    graph(text)
    assert seconds(faulty) < 3 * seconds(text)
