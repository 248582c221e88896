"""Groups of crystals, and folds that keep them together."""

import numpy as np
import pytest
from crystals import (
    CESIUM_CHLORIDE,
    COPPER,
    ORDERED,
    QUARTZ,
    ROCK_SALT,
    changes,
    cif,
    structure_of,
)
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
from skgnn_mtl.datasets import load_elasticity
from skgnn_mtl.encoders import CGCNN
from skgnn_mtl.model_selection import CompositionKFold, composition_groups

HEMATITE = cif(["Fe1 Fe 0 0 0 1", "Fe2 Fe 0.5 0 0 1", "O1 O 0 0.5 0 1"] + [
    f"O{k} O 0.5 0.5 {z} 1" for k, z in ((2, 0.25), (3, 0.75))
], (8, 8, 8, 90, 90, 90))  # fmt: skip
WUSTITE = ROCK_SALT.replace("Na", "Fe").replace("Cl", "O")


def test_formula_is_reduced_and_the_system_is_the_set_of_elements():
    rows = [HEMATITE, WUSTITE, ROCK_SALT, ROCK_SALT, COPPER]
    doubled = structure_of(HEMATITE).make_supercell(2)
    rows.append(doubled)
    assert composition_groups(rows).tolist() == [0, 1, 2, 2, 3, 0]
    system = composition_groups(rows, by="chemical_system")
    assert system.tolist() == [0, 0, 1, 1, 2, 0]


def test_space_group_is_that_of_the_atoms():
    quartz = structure_of(QUARTZ)
    rows = [QUARTZ, *changes(quartz).values(), ROCK_SALT, COPPER, CESIUM_CHLORIDE]
    # Rock salt and the primitive copper cell are both Fm-3m.
    assert composition_groups(rows, by="space_group").tolist() == [0] * 7 + [1, 1, 2]


def test_space_groups_agree_with_the_table():
    elasticity = load_elasticity()
    rows = elasticity.data[:150]
    ours = composition_groups(rows, by="space_group")
    theirs = elasticity.extra["space_group"][:150].to_numpy()
    first = {g: theirs[np.argmax(ours == g)] for g in set(ours)}
    assert np.mean([first[g] == t for g, t in zip(ours, theirs, strict=True)]) > 0.95


def test_graphs_tell_the_same_as_their_texts():
    rows = [*ORDERED.values(), ROCK_SALT]
    X = CifToGraph().transform(rows)
    for by in ("formula", "chemical_system"):
        expected = composition_groups(rows, by=by)
        np.testing.assert_array_equal(composition_groups(X, by=by), expected)
    with pytest.raises(ValueError, match="do not contain their space_group"):
        composition_groups(X, by="space_group")
    mixed = CifToGraph(disorder="mix").transform(rows)
    with pytest.raises(ValueError, match="do not contain their formula"):
        composition_groups(mixed)


def test_partial_occupancies_count_in_the_formula():
    half = cif(["Na1 Na 0 0 0 0.5", "Cl1 Cl 0.5 0.5 0.5 1"])
    full = cif(["Na1 Na 0 0 0 1", "Cl1 Cl 0.5 0.5 0.5 1"])
    assert composition_groups([half, full, half]).tolist() == [0, 1, 0]
    assert composition_groups([half, full], by="chemical_system").tolist() == [0, 0]
    with pytest.raises(ValueError, match=r"X\[1\] as crystal: .* partial occupancy"):
        composition_groups([full, half], by="space_group")


@pytest.mark.parametrize("occupancy", [1 / 2, 1 / 3, 1 / 6, 1 / 7, 0.333, 0.167, 0.09])
def test_a_supercell_of_a_disordered_crystal_has_the_formula_of_the_cell(occupancy):
    from pymatgen.core import Lattice, Structure

    sites = [{"Na": occupancy, "K": 1 - occupancy}, "Cl"]
    cell = Structure(Lattice.cubic(4), sites, [[0, 0, 0], [0.5, 0.5, 0.5]])
    other = cell.copy().replace_species({"Cl": "Br"})
    rows = [cell, *(cell * (k, 1, 1) for k in (2, 3, 4, 6, 7)), other]
    assert composition_groups(rows).tolist() == [0] * 6 + [1]


def test_occupancies_of_two_and_of_four_digits_are_one_formula():
    def text(part):
        return cif([f"Na1 Na 0 0 0 {part}", "Cl1 Cl 0.5 0.5 0.5 1"])

    groups = composition_groups([text(part) for part in (0.333, 0.3333, 0.34, 0.35)])
    assert groups.tolist() == [0, 0, 1, 2]


def test_unreadable_rows():
    rows = [COPPER, "no\ncif", None]
    with pytest.raises(ValueError, match=r"Could not read X\[1\] as crystal"):
        composition_groups(rows)
    with pytest.raises(ValueError, match=r"X\[1\] is missing or invalid"):
        composition_groups([COPPER, None])
    assert composition_groups(rows, on_error="nan").tolist() == [0, -1, -1]


@pytest.mark.parametrize("option", [{"by": "color"}, {"on_error": "drop"}])
def test_unknown_options_are_refused(option):
    with pytest.raises(ValueError, match="must be one of"):
        composition_groups([COPPER], **option)


@pytest.mark.parametrize("by", ["formula", "chemical_system", "space_group"])
def test_no_group_lies_in_two_folds(by):
    X = load_elasticity().data[:200]
    groups = composition_groups(X, by=by)
    seen = np.zeros(len(X), dtype=int)
    for train, test in CompositionKFold(3, by=by).split(X):
        assert not set(groups[train]) & set(groups[test])
        seen[test] += 1
    assert (seen == 1).all()


def test_shuffling_deals_otherwise_and_is_reproducible():
    X = load_elasticity().data[:100]

    def folds(**options):
        splitter = CompositionKFold(3, **options)
        return [test.tolist() for _, test in splitter.split(X)]

    plain = folds()
    assert folds() == plain
    shuffled = folds(shuffle=True, random_state=0)
    assert shuffled == folds(shuffle=True, random_state=0)
    assert shuffled != plain


def test_too_few_groups_and_unreadable_rows_in_folds():
    with pytest.raises(ValueError, match="only 1 different group"):
        list(CompositionKFold(2).split([COPPER, COPPER]))
    rows = [COPPER, None, "no\ncif", ROCK_SALT]
    splitter = CompositionKFold(2, on_error="nan")
    tests = [test for _, test in splitter.split(rows)]
    assert sorted(np.concatenate(tests)) == [0, 1, 2, 3]


def test_as_cv_and_as_groups():
    X, y = load_elasticity(return_X_y=True)
    X, y = X[:40], np.log10(y[["K_VRH (GPa)", "G_VRH (GPa)"]][:40])
    model = make_pipeline(
        CifToGraph(),
        MultiTaskGNNRegressor(CGCNN(8, n_layers=1), max_epochs=1, random_state=0),
    )
    assert len(cross_val_score(model, X, y, cv=CompositionKFold(2))) == 2
    groups = composition_groups(X, by="chemical_system")
    scores = cross_val_score(model, X, y, cv=GroupKFold(2), groups=groups)
    assert np.isfinite(scores).all()
