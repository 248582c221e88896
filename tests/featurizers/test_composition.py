"""Descriptors of crystals: statistics of elements, density, or those of a function."""

import numpy as np
import pytest
from ase import Atoms
from crystals import (
    CESIUM_CHLORIDE,
    COPPER,
    ORDERED,
    PEROVSKITE,
    QUARTZ,
    changes,
    cif,
    structure_of,
)
from joblib import parallel_config
from pymatgen.core import Element

from skgnn_mtl import CifToGraph
from skgnn_mtl.featurizers._composition import CompositionDescriptors
from skgnn_mtl.featurizers._elements import NUMERIC_PROPERTIES, numeric_properties

STATISTICS = ("mean", "std", "min", "max", "range")
# Half of the sites of a salt are a third potassium, with vacancies.
MIXED = cif(
    [
        "Na1 Na+ 0 0 0 0.5",
        "K1 K+ 0 0 0 0.25",
        "Cl1 Cl- 0.5 0.5 0.5 1",
    ]
)


def described(rows, descriptors="composition", **options):
    return CifToGraph(descriptors=descriptors, **options).transform(rows)


def values_of(X, row=0):
    return dict(zip(X.schema.graph_features, X.graph_features[row], strict=True))


def test_names_are_five_statistics_of_ten_properties_and_three_more():
    names = described([COPPER]).schema.graph_features
    assert len(names) == 5 * 10 + 3
    assert names[:6] == (
        *(f"atomic_number_{kind}" for kind in STATISTICS),
        "atomic_mass_mean",
    )
    assert names[-3:] == ("n_elements", "density", "volume_per_atom")
    assert CompositionDescriptors().names == names


def test_one_element_has_no_spread():
    values = values_of(described([COPPER]))
    for name in ("atomic_number", *NUMERIC_PROPERTIES):
        assert values[f"{name}_std"] == values[f"{name}_range"] == 0
        assert values[f"{name}_mean"] == values[f"{name}_min"] == values[f"{name}_max"]
    assert values["atomic_number_mean"] == 29
    assert values["group_mean"] == 11
    assert values["n_elements"] == 1


def test_statistics_by_hand():
    values = values_of(described([QUARTZ]))  # SiO2
    x = np.array([1, 2]) / 3
    for name, pair in {
        "atomic_number": (14, 8),
        "electronegativity": (1.9, 3.44),
        "group": (14, 16),
        "period": (3, 2),
    }.items():
        mean = x @ pair
        assert values[f"{name}_mean"] == pytest.approx(mean)
        expected = np.sqrt(x @ (np.array(pair) - mean) ** 2)
        assert values[f"{name}_std"] == pytest.approx(expected)
        assert values[f"{name}_min"] == pytest.approx(min(pair))
        assert values[f"{name}_max"] == pytest.approx(max(pair))
        assert values[f"{name}_range"] == pytest.approx(max(pair) - min(pair))


@pytest.mark.parametrize("text", ORDERED.values(), ids=ORDERED.keys())
def test_density_mass_and_volume_are_those_of_pymatgen(text):
    structure, values = structure_of(text), values_of(described([text]))
    assert values["density"] == pytest.approx(structure.density, rel=1e-4)
    assert values["volume_per_atom"] == pytest.approx(structure.volume / len(structure))
    mass = structure.composition.weight / structure.composition.num_atoms
    assert values["atomic_mass_mean"] == pytest.approx(mass, rel=1e-4)
    assert values["n_elements"] == len(structure.composition)


def test_other_descriptions_of_a_crystal_have_the_same_descriptors():
    structure = structure_of(PEROVSKITE)
    expected = described([structure]).graph_features[0]
    for name, other in changes(structure).items():
        found = described([other]).graph_features[0]
        np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)


def test_parts_of_atoms_count_as_parts():
    values = values_of(described([MIXED], disorder="mix"))
    amounts, numbers = np.array([0.5, 0.25, 1.0]), np.array([11, 19, 17])
    assert values["n_elements"] == 3
    assert values["atomic_number_mean"] == pytest.approx(amounts @ numbers / 1.75)
    assert values["volume_per_atom"] == pytest.approx(64 / 1.75)
    mass = amounts @ [float(Element.from_Z(z).atomic_mass) for z in numbers]
    assert values["density"] == pytest.approx(1.66053907 * mass / 64, rel=1e-4)
    majority = values_of(described([MIXED], disorder="majority"))
    assert majority["n_elements"] == 2
    assert majority["volume_per_atom"] == pytest.approx(32)


def test_a_property_that_an_element_lacks_is_missing():
    xenon_free, with_helium = cif(["X1 Cu 0 0 0 1"]), cif(["X1 He 0 0 0 1"])
    X = described([xenon_free, with_helium])
    values = values_of(X, 1)
    assert all(np.isnan(values[f"electronegativity_{kind}"]) for kind in STATISTICS)
    assert values["atomic_number_mean"] == 2
    assert np.isfinite(X.graph_features[0]).all()


def test_without_periodicity_there_is_no_density():
    slab = Atoms("CuO", [[0, 0, 0], [2, 0, 0]], cell=np.eye(3) * 5, pbc=(1, 1, 0))
    values = values_of(described([slab]))
    assert np.isnan(values["density"])
    assert np.isnan(values["volume_per_atom"])
    assert values["n_elements"] == 2
    assert values["group_mean"] == pytest.approx((11 + 16) / 2)


def test_the_graphs_and_the_schema_are_those_without_descriptors():
    rows = list(ORDERED.values())
    X, bare = described(rows), CifToGraph().transform(rows)
    names = CompositionDescriptors().names
    assert bare.with_features(X.graph_features, names) == X
    assert CifToGraph(descriptors="composition").transform_schema() == X.schema
    assert CifToGraph().transform_schema() == bare.schema


def test_invalid_graphs_have_nan_and_shift_nothing():
    rows = [COPPER, None, "data_x\n", CESIUM_CHLORIDE]
    with pytest.warns(UserWarning, match="2 of 4 rows"):
        X = described(rows, on_error="nan")
    numbers = X.graph_features[:, 0]
    assert np.array_equal(numbers, [29, np.nan, np.nan, 36], equal_nan=True)
    assert np.isnan(X.graph_features[1:3]).all()


def test_workers_change_nothing():
    rows = list(ORDERED.values()) * 30
    with parallel_config("threading"):
        assert described(rows, n_jobs=2) == described(rows)


def test_the_table_is_that_of_the_file():
    table = numeric_properties(118)
    assert table.shape == (119, 8)
    assert np.isnan(table[0]).all()
    assert np.isnan(table[104:]).all()
    oxygen = dict(zip(NUMERIC_PROPERTIES, table[8], strict=True))
    assert oxygen["group"] == 16
    assert oxygen["covalent_radius"] == 0.66
    assert oxygen["valence_electrons"] == 6


# -- functions of the user --------------------------------------------------------


def lattice(structure):
    return {"a": structure.lattice.a, "n_sites": len(structure)}


def test_a_function_takes_the_structure_of_the_graph():
    X = described([QUARTZ, CESIUM_CHLORIDE], lattice)
    assert X.schema.graph_features == ("a", "n_sites")
    np.testing.assert_allclose(X.graph_features, [[4.916, 9], [4.12, 2]], rtol=1e-6)
    assert CifToGraph(descriptors=lattice).transform_schema() == X.schema


def occupancy(structure):
    return [
        structure[0].species.num_atoms,
        structure.composition["K"],
        all(structure.lattice.pbc),
        structure.density,
    ]


def test_the_structure_has_occupancies_and_directions():
    X = described([MIXED], occupancy, disorder="mix")
    expected = described([MIXED], disorder="mix")
    assert X.graph_features[0, :3].tolist() == [0.75, 0.25, 1]
    density = values_of(expected)["density"]
    assert X.graph_features[0, 3] == pytest.approx(density, rel=1e-4)
    slab = Atoms("Cu", cell=np.eye(3) * 5, pbc=(1, 1, 0))
    assert described([slab], occupancy, cutoff=6.0).graph_features[0, 2] == 0


def test_an_error_of_a_function_names_the_row():
    def fails(structure):
        return 1 / (len(structure) - 1)

    with pytest.raises(
        ValueError, match=r"function fails on .* of X\[1\] = .*Division"
    ):
        described([QUARTZ, COPPER], fails, on_error="nan")
    with pytest.raises(ValueError, match="numbers for cesium chloride"):
        CifToGraph(descriptors=lambda structure: structure[5]).fit([COPPER])


def test_another_string_is_refused():
    with pytest.raises(ValueError, match="'descriptors' parameter of CifToGraph"):
        CifToGraph(descriptors="rdkit2d").fit([COPPER])
