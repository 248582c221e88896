"""CifToGraph: every policy of reading, and what the graphs contain."""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
import pandas as pd
import pytest
from crystals import (
    CESIUM_CHLORIDE,
    COPPER,
    N_SITES,
    ORDERED,
    QUARTZ,
    ROCK_SALT,
    changes,
    cif,
    structure_of,
)

from skgnn_mtl import CifToGraph


def graph(row, **options):
    return CifToGraph(**options).transform([row])


def reason(row, **options):
    with pytest.raises(ValueError, match=r"Could not read X\[0\]") as error:
        graph(row, **options)
    return str(error.value)


def neighborhoods(X, digits=6):
    """Multiset of nodes, each as its element and its sorted neighbours."""
    codes, (source, target) = X.node_codes[:, 0], X.edge_index
    return sorted(
        (
            int(codes[v]),
            *sorted(
                (round(float(d), digits), int(codes[u]))
                for u, d in zip(
                    source[target == v],
                    X.edge_features[target == v, 0],
                    strict=True,
                )
            ),
        )
        for v in range(len(codes))
    )


# -- what a graph contains -----------------------------------------------------------


def test_columns_and_schema():
    X = graph(CESIUM_CHLORIDE)
    assert X.node_codes.dtype == np.uint8
    assert X.node_codes.tolist() == [[55], [17]]
    assert X.edge_features.dtype == np.float32
    assert X.schema.edge_features == ("distance",)
    assert X.schema.node_columns == (("element", 104),)
    assert len(X.schema.node_table) == 104
    np.testing.assert_allclose(
        X.edge_features[:14, 0], [4.12 * 0.75**0.5] * 8 + [4.12] * 6, rtol=1e-6
    )
    assert X.edge_index[:, :8].tolist() == [[1] * 8, [0] * 8]
    assert X.edge_index[:, 8:14].tolist() == [[0] * 6] * 2


def test_edges_are_sorted_by_centre_then_distance():
    X = graph(ORDERED["CaTiO3"])
    target, distance = X.edge_index[1], X.edge_features[:, 0]
    np.testing.assert_array_equal(
        np.lexsort((distance, target)), np.arange(len(target))
    )


@pytest.mark.parametrize("name", ORDERED)
def test_symmetry_is_applied_and_pymatgen_agrees(name):
    X = graph(ORDERED[name], dtype="float64")
    assert X.n_nodes[0] == N_SITES[name]
    theirs = graph(structure_of(ORDERED[name]), dtype="float64")
    # pymatgen snaps coordinates such as 0.3333 to fractions.
    assert [node[0] for node in neighborhoods(X)] == [
        node[0] for node in neighborhoods(theirs)
    ]
    np.testing.assert_allclose(
        np.sort(X.edge_features[:, 0]), np.sort(theirs.edge_features[:, 0]), atol=1e-3
    )


@pytest.mark.parametrize("name", ORDERED)
@pytest.mark.parametrize("change", changes(structure_of(COPPER)))
def test_another_description_of_a_crystal_gives_the_same_neighbourhoods(name, change):
    structure = structure_of(ORDERED[name])
    X = graph(structure, dtype="float64")
    changed = graph(changes(structure)[change], dtype="float64")
    copies = int(changed.n_nodes[0] // X.n_nodes[0])
    assert copies == (2 if change == "supercell" else 1)
    expected = sorted(node for node in neighborhoods(X) for _ in range(copies))
    assert neighborhoods(changed) == expected


def test_cut_gives_exactly_k_and_is_deterministic():
    for text in ORDERED.values():
        X = graph(text, ties="cut")
        assert (np.bincount(X.edge_index[1]) == 12).all()
        assert graph(text, ties="cut") == X


def test_parameters_that_change_edges_are_in_the_schema():
    X = graph(COPPER)
    for options in (
        {"ties": "cut"},
        {"cutoff": 6.0},
        {"max_neighbors": None},
        {"symmetrize": True},
        {"dtype": "float64"},
        {"disorder": "mix"},
    ):
        assert graph(COPPER, **options).schema != X.schema, options
    assert graph(COPPER, disorder="majority").schema == X.schema
    assert "cutoff=8.0 " in X.schema.difference(graph(COPPER, cutoff=6.0).schema)


def test_symmetrized_graphs_have_each_edge_in_both_directions():
    X = graph(ORDERED["CaTiO3"], symmetrize=True)
    assert X.n_edges[0] > graph(ORDERED["CaTiO3"]).n_edges[0]
    ends = {tuple(e) for e in X.edge_index.T.tolist()}
    assert ends == {(v, u) for u, v in ends}


# -- kinds of rows -------------------------------------------------------------------


def test_text_paths_structures_and_atoms_give_the_same_graph(tmp_path):
    from ase.io import read

    path = tmp_path / "CsCl.cif"
    path.write_text(CESIUM_CHLORIDE)
    atoms = read(path)
    rows = [CESIUM_CHLORIDE, path, str(path), structure_of(CESIUM_CHLORIDE), atoms]
    X = CifToGraph().transform(rows)
    assert X.ids.tolist() == ["CsCl", str(path), str(path), "CsCl", "ClCs"]
    for k in range(1, len(rows)):
        assert neighborhoods(X[[k]], 4) == neighborhoods(X[[0]], 4), k
    for container in (tuple, pd.Series, lambda r: pd.DataFrame({"crystal": r})):
        assert CifToGraph().transform(container(rows)) == X


def test_windows_line_ends_are_text(tmp_path):
    text = CESIUM_CHLORIDE.replace("\n", "\r\n")
    assert graph(text) == graph(CESIUM_CHLORIDE)


def test_a_missing_file_and_other_objects_are_unreadable(tmp_path):
    # A long path would be cut in the message.
    assert "= 'absent.cif' as crystal" in reason("absent.cif")
    assert "No such file" in reason(tmp_path / "absent.cif")
    assert "read as the name of a file" in reason("NaCl")
    assert "of type object, as crystal: CIF text" in reason(object())


def test_atoms_keep_their_periodic_directions():
    from ase import Atoms

    slab = Atoms("Cu", cell=[2.5, 2.5, 30], pbc=[True, True, False])
    molecule = Atoms(
        "CO", positions=[[0, 0, 0], [0, 0, 1.1]], cell=[9, 9, 9], pbc=False
    )
    X = CifToGraph(max_neighbors=None, cutoff=3.0).transform([slab, molecule])
    assert X.n_edges.tolist() == [4, 2]
    assert "unknown species 'X'" in reason(Atoms("X", cell=[3, 3, 3], pbc=True))


def test_occupancies_of_atoms_are_read_like_those_of_a_cif(tmp_path):
    from ase.io import read

    path = tmp_path / "alloy.cif"
    path.write_text(ALLOY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        atoms = read(path, fractional_occupancies=True)
    assert "partial occupancy" in reason(atoms)
    X = CifToGraph(disorder="mix").transform([atoms, ALLOY])
    # The readers order the sites differently.
    first, second = X.node_features[:2], X.node_features[2:]
    np.testing.assert_allclose(
        first, second[::-1] if first[0, 0] != second[0, 0] else second
    )


# -- the policies --------------------------------------------------------------------


def test_several_data_blocks():
    empty = "data_global\n_publ_section_title 'no site'\n"
    assert graph(empty + CESIUM_CHLORIDE) == graph(CESIUM_CHLORIDE)
    both = CESIUM_CHLORIDE + ROCK_SALT
    assert "2 data blocks have sites: ['CsCl', 'NaCl']" in reason(both)
    assert graph(both, block="NaCl") == graph(ROCK_SALT)
    assert "no data block 'KCl'" in reason(both, block="KCl")
    assert "no data block has sites" in reason(empty)


def test_operations_outrank_the_name_of_the_space_group():
    named = "_symmetry_space_group_name_H-M 'F m -3 m'\n"
    identity = "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n"
    cell = (5.64, 5.64, 5.64, 90, 90, 90)
    sites = ["Na1 Na+ 0 0 0 1", "Cl1 Cl- 0.5 0.5 0.5 1"]
    assert graph(cif(sites, cell, extra=named)).n_nodes[0] == 8
    assert graph(cif(sites, cell, extra=named + identity)).n_nodes[0] == 2


def test_a_space_group_number_is_enough_and_an_unknown_group_is_not():
    sites, cell = ["Na1 Na+ 0 0 0 1", "Cl1 Cl- 0.5 0.5 0.5 1"], (5.64,) * 3 + (90,) * 3
    number = cif(sites, cell, extra="_symmetry_Int_Tables_number 225\n")
    assert graph(number).n_nodes[0] == 8
    unknown = cif(sites, cell, extra="_symmetry_space_group_name_H-M 'Q 7'\n")
    assert "space group 'Q 7' is unknown" in reason(unknown)
    wrong = cif(sites, cell, extra="_symmetry_Int_Tables_number 999\n")
    assert "space group 'number 999' is unknown" in reason(wrong)
    broken = "loop_\n_symmetry_equiv_pos_as_xyz\n'x,y,z'\n'-x,foo,z'\n"
    assert "operation '-x,foo,z' is unreadable" in reason(
        cif(sites, cell, extra=broken)
    )
    assert graph(cif(sites, cell)).n_nodes[0] == 2


SILICON = (["Si1 Si 0 0 0 1"], (5.43,) * 3 + (90,) * 3)
BISMUTH = (["Bi1 Bi 0.2339 0.2339 0.2339 1"], (4.746,) * 3 + (57.24,) * 3)
NAME, NUMBER = "_symmetry_space_group_name_H-M", "_space_group_IT_number"


@pytest.mark.parametrize("symmetry", [f"{NAME} 'F d -3 m'", f"{NUMBER} 227"])
def test_a_bare_name_and_a_number_mean_the_first_origin_as_in_pymatgen(symmetry):
    text = cif(*SILICON, extra=symmetry + "\n")
    X = graph(text)
    assert X.n_nodes[0] == 8
    assert neighborhoods(X, 4) == neighborhoods(graph(structure_of(text)), 4)


@pytest.mark.parametrize(
    ("name", "n_sites"),
    [
        ("F d -3 m :1", 8),
        ("F d -3 m S", 8),
        ("F d -3 m :2", 16),
        ("F d -3 m Z", 16),
    ],
)
def test_an_origin_that_is_named_is_taken(name, n_sites):
    assert graph(cif(*SILICON, extra=f"{NAME} '{name}'\n")).n_nodes[0] == n_sites


def test_a_hall_symbol_outranks_the_name():
    hall = f"{NAME} 'F d -3 m'\n_symmetry_space_group_name_Hall '-F 4vw 2vw 3'\n"
    assert graph(cif(*SILICON, extra=hall)).n_nodes[0] == 16


@pytest.mark.parametrize("symmetry", [f"{NAME} 'R -3 m'", f"{NUMBER} 166"])
def test_rhombohedral_groups_have_the_axes_of_the_cell(symmetry):
    rhombohedral = graph(cif(*BISMUTH, extra=symmetry + "\n"))
    a, z = 2 * 4.746 * np.sin(np.deg2rad(57.24 / 2)), 0.2339
    c = 4.746 * np.sqrt(3 * (1 + 2 * np.cos(np.deg2rad(57.24))))
    hexagonal = (a, a, c, 90, 90, 120)
    sites = [f"Bi1 Bi 0 0 {z} 1"]
    expected = graph(cif(sites, hexagonal, extra=symmetry + "\n"))
    assert (rhombohedral.n_nodes[0], expected.n_nodes[0]) == (2, 6)
    assert set(neighborhoods(rhombohedral, 3)) == set(neighborhoods(expected, 3))


@pytest.mark.parametrize(
    ("crystal", "name"), [(SILICON, "F d -3 m"), (BISMUTH, "R -3 m")]
)
def test_disorder_does_not_change_the_symmetry(crystal, name):
    sites, cell = crystal
    extra = f"{NAME} '{name}'\n"
    full = graph(cif(sites, cell, extra=extra))
    partial = cif([sites[0][:-1] + "0.9"], cell, extra=extra)
    assert neighborhoods(graph(partial, disorder="majority"), 3) == (
        neighborhoods(full, 3)
    )


def test_an_atom_on_a_rounded_special_position_is_one_atom():
    sites = ["Mg1 Mg 0.3333 0.6667 0.25 1"]
    extra = "_symmetry_space_group_name_H-M 'P 63/m m c'\n"
    text = cif(sites, (3.21, 3.21, 5.21, 90, 90, 120), extra=extra)
    assert graph(text).n_nodes[0] == 2


@pytest.mark.parametrize(
    ("symbol", "z"),
    [
        ("Na+", 11),
        ("Na1+", 11),
        ("O2-", 8),
        ("D", 1),
        ("T", 1),
        ("Fe3+", 26),
        ("na", 11),
    ],
)
def test_ions_and_isotopes_are_elements(symbol, z):
    assert graph(cif([f"A1 {symbol} 0 0 0 1"])).node_codes[0, 0] == z


def test_species_come_from_labels_where_no_symbol_is_given():
    text = cif(["Na1 0 0 0"], columns="label fract_x fract_y fract_z")
    assert graph(text).node_codes[0, 0] == 11


@pytest.mark.parametrize("symbol", ["X", "Vac", "?", "Uue"])
def test_unknown_species_are_named(symbol):
    text = cif([f"Q1 {symbol} 0 0 0 1"])
    named = "Q1" if symbol == "?" else symbol
    assert f"site Q1 has the unknown species '{named}'" in reason(text)


def test_elements_without_a_row_in_the_table_are_named(tmp_path):
    assert "no row for Rf" in reason(cif(["A1 Rf 0 0 0 1"]))
    path = tmp_path / "table.json"
    path.write_text('{"11": [1, 0], "17": [0, 1]}')
    X = graph(ROCK_SALT, element_table=path)
    assert X.schema.node_table[17] == (0.0, 1.0)
    assert "no row for Cs" in reason(CESIUM_CHLORIDE, element_table=str(path))


@pytest.mark.parametrize("coordinate", ["?", "."])
def test_missing_coordinates_cells_and_sites_are_unreadable(coordinate):
    text = cif([f"Na1 Na {coordinate} 0 0 1"])
    assert "coordinates are missing" in reason(text)
    assert "unit cell is missing" in reason(
        "\n".join(line for line in COPPER.splitlines() if "cell_length_a" not in line)
    )
    assert "no data block has sites" in reason("data_empty\n_cell_length_a 3\n")


@pytest.mark.parametrize("axis", ["y", "z"])
@pytest.mark.parametrize("other", ["", "_atom_site_fract_w\n"])
def test_a_coordinate_without_a_column_is_unreadable_and_not_zero(axis, other):
    tag = f"_atom_site_fract_{axis}"
    text = COPPER.replace(f"{tag}\n", other)
    if not other:
        text = text.replace("0 0 0 1", "0 0 1")
    assert f"the sites have no {tag}" in reason(text)


def test_an_impossible_cell_is_unreadable():
    flat = COPPER.replace("_cell_angle_alpha 60", "_cell_angle_alpha 0")
    assert "unit cell is impossible" in reason(flat)
    with pytest.warns(UserWarning, match="1 of 2 rows"):
        X = CifToGraph(on_error="nan").transform([COPPER, flat])
    assert X.valid.tolist() == [True, False]


def test_texts_that_are_no_cif_give_the_reason_of_both_readers():
    assert "no line that begins with data_" in reason("C C O\nwater\n")
    twice = COPPER.replace("_cell_length_b", "_cell_length_b 2.556\n_cell_length_b")
    # gemmi refuses a repeated tag; pymatgen takes the last.
    assert graph(twice).n_nodes[0] == 1


def test_overlapping_sites_are_unreadable():
    text = cif(["Na1 Na 0 0 0 1", "Na2 Na 0.1 0 0 1"])
    assert "overlapping sites: sites" in reason(text)
    assert "0.400 Å apart" in reason(text)


def test_slivers_are_read_or_refused_fast():
    start = time.process_time()
    flat = cif(["Na1 Na 0 0 0 1"], (3.0, 3.0, 300.0, 90, 90, 1.0))
    assert "overlapping sites" in reason(flat)
    thin = structure_of(QUARTZ)
    thin.make_supercell([[1, 0, 0], [30, 1, 0], [200, -70, 1]], to_unit_cell=False)
    assert neighborhoods(graph(thin), 3) == neighborhoods(
        graph(structure_of(QUARTZ)), 3
    )
    assert time.process_time() - start < 3


def test_isolated_atoms_keep_their_node_under_one_warning():
    lonely = cif(["Cs1 Cs 0 0 0 1"], (20, 20, 20, 90, 90, 90))
    with pytest.warns(UserWarning, match="2 atoms have no neighbour") as caught:
        X = CifToGraph().transform([lonely, COPPER, lonely])
    assert len(caught) == 1
    assert "rows 0, 2 of X" in str(caught[0].message)
    assert X.n_nodes.tolist() == [1, 1, 1]
    assert X.n_edges.tolist() == [0, 12, 0]
    assert graph(lonely, cutoff=21).n_edges[0] == 6


# -- partial occupancy ---------------------------------------------------------------

ALLOY = cif(["Cu1 Cu 0 0 0 0.75", "Au1 Au 0 0 0 0.25", "O1 O 0.5 0.5 0.5 1"])
VACANCY = cif(["Na1 Na+ 0 0 0 0.4", "Cl1 Cl- 0.5 0.5 0.5 1"])


def test_disorder_is_refused_unless_a_policy_is_chosen():
    assert "2 of 3 sites have partial occupancy, the first is Cu1 with 0.75" in (
        reason(ALLOY)
    )
    assert 'disorder="majority" or "mix"' in reason(structure_of(ALLOY))


def test_the_majority_may_be_the_vacancy():
    X = CifToGraph(disorder="majority").transform([ALLOY, VACANCY, structure_of(ALLOY)])
    assert X.n_nodes.tolist() == [2, 1, 2]
    assert sorted(X.node_codes[:2, 0].tolist()) == [8, 29]
    assert X.node_codes[2, 0] == 17
    assert neighborhoods(X[[2]]) == neighborhoods(X[[0]])


def test_mix_averages_the_rows_of_the_table():
    X = CifToGraph(disorder="mix").transform([ALLOY, VACANCY, ROCK_SALT])
    table = np.array(CifToGraph().transform([COPPER]).schema.node_table)
    assert X.schema.node_columns == ()
    assert X.n_nodes.tolist() == [2, 2, 8]
    mixed = 0.75 * table[29] + 0.25 * table[79]
    expected = [mixed, table[8], 0.4 * table[11], table[17]]
    np.testing.assert_allclose(X.node_features[:4], expected, rtol=1e-6)
    np.testing.assert_allclose(X.node_features[4], table[11], rtol=1e-6)


@pytest.mark.parametrize("columns", [["label"], ["label", "type_symbol"]])
def test_isotopes_on_one_site_are_one_element(columns):
    def deuterated(first, second):
        kinds = {"Cs": "0 0 0 1", first: "0.5 0.5 0.5 0.6", second: "0.5 0.5 0.5 0.4"}
        sites = [f"{' '.join([k] * len(columns))} {site}" for k, site in kinds.items()]
        tags = " ".join(columns) + " fract_x fract_y fract_z occupancy"
        return cif(sites, columns=tags)

    X = graph(deuterated("D", "H"), disorder="majority")
    assert sorted(X.node_codes[:, 0].tolist()) == [1, 55]
    mixed = graph(deuterated("D1-", "F"), disorder="mix")
    expected = graph(deuterated("H", "F"), disorder="mix")
    np.testing.assert_array_equal(mixed.node_features, expected.node_features)


def test_rows_of_two_tables_of_one_width_are_told_apart(tmp_path):
    schemas = []
    for k in range(2):
        path = tmp_path / f"{k}.json"
        path.write_text(f'{{"29": [0, {k}]}}')
        X = graph(COPPER, disorder="mix", element_table=path)
        schemas.append(X.schema)
    assert schemas[0] != schemas[1]
    assert schemas[0].node_features == schemas[1].node_features


def test_full_occupancy_may_be_rounded():
    assert graph(cif(["Na1 Na 0 0 0 0.9999"])).n_nodes[0] == 1


# -- invalid rows, packages ----------------------------------------------------------


def test_invalid_rows_stay_in_place_as_empty_graphs():
    rows = [COPPER, None, "", "no\ncif", ROCK_SALT]
    with pytest.warns(UserWarning, match="3 of 5 rows of X became invalid graphs"):
        X = CifToGraph(on_error="nan").transform(rows)
    assert X.valid.tolist() == [True, False, False, False, True]
    assert X.n_nodes.tolist() == [1, 0, 0, 0, 8]
    assert X[[0]] == graph(COPPER)
    with pytest.raises(ValueError, match=r"X\[1\] is missing"):
        CifToGraph().transform(rows)


@pytest.mark.parametrize("package", ["gemmi", "pymatgen.optimization.neighbors"])
def test_a_missing_package_is_named_with_its_cure(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pip install gemmi pymatgen"):
        CifToGraph().fit([COPPER])


def test_numbers_of_a_parameter_are_checked():
    for options, name in [
        ({"cutoff": 0}, "cutoff"),
        ({"max_neighbors": 0}, "max_neighbors"),
        ({"max_neighbors": 10**400}, "max_neighbors"),
        ({"ties": "keep"}, "ties"),
        ({"disorder": "ignore"}, "disorder"),
        ({"dtype": "float16"}, "dtype"),
    ]:
        with pytest.raises(ValueError, match=f"'{name}' parameter of CifToGraph"):
            CifToGraph(**options).fit([COPPER])


# -- real files ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(shared_data):
    path = shared_data / "mp_multitask.csv.gz"
    return pd.read_csv(path, keep_default_na=False, nrows=300)


def test_real_structures_have_the_sites_and_distances_of_pymatgen(real):
    some = real.iloc[::10]
    X = CifToGraph(cutoff=5.0, max_neighbors=None).transform(some["cif"])
    assert X.n_nodes.tolist() == some["nsites"].astype(int).tolist()
    structures = [structure_of(text) for text in some["cif"]]
    theirs = CifToGraph(cutoff=5.0, max_neighbors=None).transform(structures)
    agree = X.n_edges == theirs.n_edges
    # Some pair may lie at the cutoff, on either side of the readers' rounding.
    assert agree.mean() > 0.9
    for k in np.flatnonzero(agree):
        np.testing.assert_allclose(
            np.sort(X[[k]].edge_features, axis=0),
            np.sort(theirs[[k]].edge_features, axis=0),
            atol=2e-3,
        )


def test_all_real_structures_have_twelve_neighbours_or_more(real):
    X = CifToGraph().transform(real["cif"])
    offsets = np.repeat(np.cumsum(X.n_nodes) - X.n_nodes, X.n_edges)
    degree = np.bincount(X.edge_index[1] + offsets, minlength=X.n_nodes.sum())
    assert degree.min() == 12
    assert 12.5 < degree.mean() < 14


def test_the_number_of_processes_changes_nothing(real):
    rows = [*real["cif"]] * 5
    assert CifToGraph(n_jobs=2).transform(rows) == CifToGraph().transform(rows)
