"""Neighbour lists: against brute force, shells, ties, slivers, symmetry."""

import itertools
import time

import numpy as np
import pytest

from skgnn_mtl.featurizers._neighbors import TIE, find_neighbors


def neighbors(lattice, fractions, numbers=None, **options):
    lattice = np.asarray(lattice, dtype=float)
    positions = np.asarray(fractions, dtype=float) @ lattice
    numbers = np.ones(len(positions), int) if numbers is None else np.array(numbers)
    settings = {
        "periodic": (True, True, True),
        "cutoff": 8.0,
        "max_neighbors": 12,
        "ties": "shell",
        "symmetrize": False,
        **options,
    }
    return find_neighbors(lattice, positions, numbers, **settings)


def brute_force(lattice, fractions, cutoff, reach=6, periodic=(True, True, True)):
    """All (target, source, distance) within the cutoff."""
    spans = [range(-reach, reach + 1) if p else (0,) for p in periodic]
    found = []
    for cell in itertools.product(*spans):
        shifted = (fractions + np.array(cell)) @ lattice
        for i, center in enumerate(fractions @ lattice):
            for j, d in enumerate(np.linalg.norm(shifted - center, axis=1)):
                if d < cutoff + TIE and (i != j or any(cell)):
                    found.append((i, j, d))
    return sorted(found, key=lambda t: (t[0], t[2]))


def random_cell(seed, n_atoms=4):
    rng = np.random.default_rng(seed)
    lattice = 3.5 * np.eye(3) + rng.uniform(-0.8, 0.8, (3, 3))
    grid = np.array(list(itertools.product((0.1, 0.6), repeat=3)))
    fractions = grid[rng.permutation(8)[:n_atoms]] + rng.uniform(0, 0.1, (n_atoms, 3))
    return lattice, fractions


@pytest.mark.parametrize("seed", range(6))
def test_all_pairs_within_a_radius_are_those_of_brute_force(seed):
    lattice, fractions = random_cell(seed)
    near = neighbors(lattice, fractions, cutoff=5.0, max_neighbors=None)
    expected = brute_force(lattice, fractions, 5.0)
    assert len(near.distance) == len(expected)
    assert near.target.tolist() == [i for i, _, _ in expected]
    np.testing.assert_allclose(near.distance, [d for _, _, d in expected], atol=1e-9)
    found = sorted(zip(near.target, near.source, near.distance.round(6), strict=True))
    assert found == sorted((i, j, round(d, 6)) for i, j, d in expected)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("k", [1, 5, 12])
def test_the_nearest_k_and_their_shell_are_those_of_brute_force(seed, k):
    lattice, fractions = random_cell(seed, n_atoms=2)
    near = neighbors(lattice, fractions, max_neighbors=k)
    for i in range(2):
        distances = [d for t, _, d in brute_force(lattice, fractions, 8.0) if t == i]
        kept = [d for d in distances if d <= distances[k - 1] + TIE]
        np.testing.assert_allclose(near.distance[near.target == i], kept, atol=1e-9)


@pytest.mark.parametrize("periodic", [(True, True, False), (False, False, False)])
def test_directions_without_repetition_have_no_images(periodic):
    lattice, fractions = random_cell(1)
    near = neighbors(
        lattice, fractions, cutoff=5.0, max_neighbors=None, periodic=periodic
    )
    expected = brute_force(lattice, fractions, 5.0, periodic=periodic)
    np.testing.assert_allclose(near.distance, [d for _, _, d in expected], atol=1e-9)


def test_shells_of_a_cubic_lattice():
    """Six neighbours at a, twelve at a sqrt(2), eight at a sqrt(3)."""
    for k, n in [(1, 6), (6, 6), (7, 18), (18, 18), (19, 26)]:
        near = neighbors(3 * np.eye(3), [[0, 0, 0]], max_neighbors=k)
        assert len(near.source) == n, k
        cut = neighbors(3 * np.eye(3), [[0, 0, 0]], max_neighbors=k, ties="cut")
        assert len(cut.source) == k


def test_cut_orders_ties_by_element_then_displacement():
    fractions = np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    numbers = [30, 9, 8, 7]
    near = neighbors(4 * np.eye(3), fractions, numbers, max_neighbors=3, ties="cut")
    # Six at 2 Å, two of each; Z = 7 comes before Z = 8.
    assert near.source[near.target == 0].tolist() == [3, 3, 2]


def test_cut_is_the_same_for_any_order_of_the_atoms():
    lattice, fractions = 4 * np.eye(3), np.array([[0, 0, 0], [0.5, 0.5, 0.5]])
    fractions = np.concatenate([fractions, [[0.5, 0, 0], [0, 0.5, 0]]])
    numbers = np.array([11, 17, 8, 8])
    order = np.array([2, 0, 3, 1])
    one = neighbors(lattice, fractions, numbers, max_neighbors=5, ties="cut")
    two = neighbors(
        lattice, fractions[order], numbers[order], max_neighbors=5, ties="cut"
    )
    for new, old in enumerate(order):
        first = one.source[one.target == old]
        assert order[two.source[two.target == new]].tolist() == first.tolist()


@pytest.mark.parametrize("ties", ["shell", "cut"])
def test_an_isolated_atom_has_no_edge_and_few_neighbours_stay_few(ties):
    near = neighbors(20 * np.eye(3), [[0, 0, 0]], ties=ties)
    assert near.source.size == near.distance.size == 0
    # Six images within 8 Å, not twelve: nothing is made up.
    assert neighbors(7.9 * np.eye(3), [[0, 0, 0]], ties=ties).source.size == 6
    pair = neighbors(20 * np.eye(3), [[0, 0, 0], [0.1, 0, 0]], ties=ties)
    assert pair.source.tolist() == [1, 0]
    assert pair.target.tolist() == [0, 1]
    np.testing.assert_allclose(pair.distance, [2, 2])


def test_a_tie_at_the_cutoff_is_not_left_to_rounding():
    for a in (4.0, 4.0 + 1e-9, 4.0 - 1e-9):
        assert neighbors(a * np.eye(3), [[0, 0, 0]], cutoff=4.0).source.size == 6


def test_overlapping_sites_are_named():
    with pytest.raises(ValueError, match=r"sites \d and \d are 0\.400 Å apart"):
        neighbors(4 * np.eye(3), [[0, 0, 0], [0.1, 0, 0]])
    with pytest.raises(ValueError, match="sites 0 and 0 are 0.300"):
        neighbors(np.diag([0.3, 4, 4]), [[0, 0, 0]])
    with pytest.raises(ValueError, match="0.000 Å apart"):
        neighbors(4 * np.eye(3), [[0, 0, 0], [1, 0, 0]])


def test_a_sliver_is_searched_in_a_shorter_cell_of_the_same_lattice():
    lattice, fractions = random_cell(2)
    sliver = np.array([[1, 0, 0], [40, 1, 0], [-300, 7, 1]]) @ lattice
    same = fractions @ lattice @ np.linalg.inv(sliver)
    start = time.process_time()
    near = neighbors(sliver, same)
    assert time.process_time() - start < 1
    expected = neighbors(lattice, fractions)
    np.testing.assert_allclose(near.distance, expected.distance, atol=1e-6)


@pytest.mark.parametrize("k", [12, None])
def test_a_cell_that_no_reduction_saves_is_refused_fast(k):
    start = time.process_time()
    with pytest.raises(ValueError, match="so thin, dense or wide"):
        neighbors(np.diag([1e-3, 4, 1e-3]), [[0, 0, 0]], max_neighbors=k)
    assert time.process_time() - start < 1


def grid(n):
    """Fractions of n^3 atoms on a cubic lattice."""
    return np.array(list(itertools.product(np.arange(n) / n, repeat=3)))


@pytest.mark.parametrize(
    ("lattice", "fractions", "options"),
    [
        (24 * np.eye(3), grid(10), {"max_neighbors": None, "cutoff": 44.0}),
        (1e4 * np.eye(3), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), {}),
        (np.diag([30, 30, 1e-6]), grid(1), {"periodic": (False, False, True)}),
    ],
    ids=["pairs", "boxes", "images"],
)
def test_a_search_beyond_the_budget_is_refused_before_it_begins(
    monkeypatch, lattice, fractions, options
):
    monkeypatch.delattr("skgnn_mtl.featurizers._neighbors._search")
    with pytest.raises(ValueError, match="would list more than 1e.07 pairs or boxes"):
        neighbors(lattice, fractions, **options)


def test_the_budget_is_that_of_the_search_and_not_of_the_cutoff():
    """Six neighbours are near, however wide the cutoff is."""
    near = neighbors(20 * np.eye(3), grid(8), max_neighbors=6, cutoff=50.0)
    assert len(near.source) == 6 * 512


@pytest.mark.parametrize("seed", range(4))
def test_symmetrize_adds_the_missing_reverses_and_nothing_else(seed):
    lattice, fractions = random_cell(seed)
    plain = neighbors(lattice, fractions, max_neighbors=5)
    both = neighbors(lattice, fractions, max_neighbors=5, symmetrize=True)

    def edges(near, swap=False):
        ends = (near.source, near.target) if swap else (near.target, near.source)
        return sorted(zip(*ends, near.distance.round(6), strict=True))

    assert edges(both) == edges(both, swap=True)
    assert set(edges(both)) == set(edges(plain)) | set(edges(plain, swap=True))
    assert (np.diff(both.target) >= 0).all()
