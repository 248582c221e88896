"""Batches: the disjoint union, its incidences, and the loader."""

from dataclasses import fields
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from random_graphs import as_tuples, random_graphs

from skgnn_mtl.graphs import (
    GraphArray,
    GraphBatch,
    GraphDataset,
    GraphLoader,
    Incidence,
)


def test_a_batch_is_the_disjoint_union_of_its_graphs():
    X = random_graphs()
    rows = [5, 0, 5, 12]
    batch = X.batch(rows)
    codes, edges, owner, offset = [], [], [], 0
    for k, i in enumerate(rows):
        nodes, _, edge_index, *_ = as_tuples(X)[i]
        codes += nodes
        edges += (np.array(edge_index, dtype=int).T + offset).tolist()
        owner += [k] * len(nodes)
        offset += len(nodes)
    assert len(batch) == batch.n_graphs == 4
    assert batch.node_codes.tolist() == codes
    assert batch.edge_index.t().tolist() == edges
    assert batch.graph_of_node.tolist() == owner
    assert batch.edge_index.dtype == torch.int64
    assert batch.graph_features.tolist() == X.graph_features[rows].tolist()


def test_a_batch_of_no_graph_has_no_row():
    batch = random_graphs().batch([])
    assert (batch.n_graphs, batch.n_nodes, batch.n_edges) == (0, 0, 0)


def test_joined_batches_are_the_batch_of_all_rows():
    X = random_graphs()
    parts = [X.batch([2, 0]), X.batch([]), X.batch([1])]
    joined, wanted = GraphBatch.concatenate(parts), X.batch([2, 0, 1])
    assert len(joined) == 3
    for field in fields(GraphBatch):
        value = getattr(wanted, field.name)
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(getattr(joined, field.name), value)


def test_moving_a_batch_moves_every_tensor():
    batch = random_graphs().batch([1, 2, 3])
    assert batch.to("cpu") is batch
    moved = batch.to("meta")
    tensors = [v for v in vars(moved).values() if isinstance(v, torch.Tensor)]
    assert len(tensors) == 7
    assert all(t.device.type == "meta" for t in tensors)


@pytest.fixture(params=[torch.float32, torch.float64])
def incidence(request):
    """Seven elements of four owners, one of which has none, and the dense matrix."""
    owner = torch.tensor([2, 0, 0, 3, 2, 2, 0])
    dense = torch.nn.functional.one_hot(owner, 4).to(request.param)
    return Incidence(owner, 4), dense


def test_gather_and_sum_are_a_matrix_and_its_transpose(incidence):
    maps, dense = incidence
    x, y = torch.randn(4, 3, dtype=dense.dtype), torch.randn(7, 3, dtype=dense.dtype)
    torch.testing.assert_close(maps.gather(x), dense @ x)
    torch.testing.assert_close(maps.sum(y), dense.t() @ y)
    means = dense.t() @ y / dense.sum(0).clamp(min=1)[:, None]
    torch.testing.assert_close(maps.mean(y), means)
    assert maps.counts.tolist() == [3, 0, 3, 1]


def test_a_transfer_is_a_copy_and_a_sum(incidence):
    target, dense = incidence
    source = Incidence(torch.tensor([1, 1, 4, 0, 0, 2, 4]), 5)
    x = torch.randn(5, 3, dtype=dense.dtype)
    torch.testing.assert_close(target.transfer(x, source), target.sum(source.gather(x)))


def test_softmax_is_that_of_each_owner_and_safe_for_large_scores():
    maps = Incidence(torch.tensor([2, 0, 0, 3, 2, 2, 0]), 4)
    scores = torch.randn(7, 2, dtype=torch.float64) * 1e3
    weights = maps.softmax(scores)
    for owner in (0, 2, 3):
        mine = maps.owner == owner
        torch.testing.assert_close(weights[mine], scores[mine].softmax(dim=0))


@pytest.mark.parametrize("scores", [[-50.0, -40.0], [-1.0, 3.0], [200.0, 199.0]])
def test_softmax_with_a_floor_and_a_least_shift_is_its_formula(scores):
    s = torch.tensor(scores, dtype=torch.float64)[:, None]
    maps = Incidence(torch.tensor([0, 0]), 1)
    weights = maps.softmax(s, least_shift=0.0, floor=1e-16)
    powers = torch.exp(s - max(0.0, max(scores)))
    torch.testing.assert_close(weights, powers / (powers.sum() + 1e-16))
    # All scores far below the least shift: the floor takes part of the weight.
    assert bool(weights.sum() < 0.99) == (max(scores) < -30.0)


def test_first_and_second_derivatives_are_exact():
    maps = Incidence(torch.tensor([2, 0, 0, 3, 2, 2, 0]), 4)
    source = Incidence(torch.tensor([1, 1, 3, 0, 0, 2, 3]), 4)

    def function(x):
        sums = maps.sum(maps.gather(x).square()) + maps.transfer(x.exp(), source)
        return sums * maps.sum(maps.softmax(maps.gather(x)))

    x = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function, x, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(function, x)
    tangent = torch.randn_like(x)
    _, along = torch.func.jvp(function, (x.detach(),), (tangent,))
    _, directly = torch.autograd.functional.jvp(function, x, tangent)
    torch.testing.assert_close(along, directly)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_a_batch_of_matrices_is_mapped_at_once(incidence, dim):
    maps, dense = incidence
    y = torch.randn(7, 3, 5, dtype=dense.dtype).movedim(2, dim)
    at_once = torch.func.vmap(maps.sum, in_dims=dim)(y)
    one_by_one = torch.stack([maps.sum(part) for part in y.unbind(dim)])
    torch.testing.assert_close(at_once, one_by_one)


def test_nothing_to_sum_gives_zeros():
    maps = Incidence(torch.tensor([], dtype=torch.int64), 3)
    assert maps.sum(torch.zeros(0, 2)).tolist() == [[0.0, 0.0]] * 3
    assert maps.gather(torch.zeros(3, 2)).shape == (0, 2)


def make_dataset(n):
    graphs = GraphArray.from_features(np.arange(n, dtype=float)[:, None])
    labels = np.arange(n, dtype=float)[:, None]
    return GraphDataset(graphs, labels, np.ones((n, 1)))


@pytest.mark.parametrize(
    ("n", "sizes"), [(10, [4, 4, 2]), (9, [4, 5]), (8, [4, 4]), (1, [1]), (5, [5])]
)
def test_a_last_batch_of_one_joins_the_one_before(n, sizes):
    loader = GraphLoader(make_dataset(n), 4)
    assert [len(batch) for batch, _ in loader] == sizes
    assert len(loader) == len(sizes)


def test_batches_of_one_stay_if_asked_for():
    loader = GraphLoader(make_dataset(3), 1)
    assert [len(batch) for batch, _ in loader] == [1, 2]


def test_an_epoch_shows_every_row_once_with_its_label_in_a_new_order():
    generator = torch.Generator().manual_seed(0)
    loader = GraphLoader(make_dataset(50), 8, shuffle=True, generator=generator)
    epochs = []
    for _ in range(2):
        seen = []
        for batch, labels in loader:
            assert torch.equal(batch.node_features, labels.targets)
            seen += labels.targets[:, 0].tolist()
        epochs.append(seen)
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(50))
    assert epochs[0] != epochs[1]


def test_parts_of_batches_are_the_batches():
    """Of all processes, with the same generators."""

    def batches(part):
        generator = torch.Generator().manual_seed(3)
        loader = GraphLoader(
            make_dataset(11), 4, shuffle=True, generator=generator, part=part
        )
        return [labels.targets[:, 0].tolist() for _, labels in loader]

    parts = [batches((k, 3)) for k in range(3)]
    joined = [list(chain(*rows)) for rows in zip(*parts, strict=True)]
    assert joined == batches((0, 1))
    assert [len(rows) for rows in parts[0]] == [2, 2, 1]


def test_a_missing_label_is_never_a_nan():
    """A label of its task stands there: no loss is undefined at it."""
    graphs = GraphArray.from_features(np.ones((2, 1)))
    given = np.array([[np.nan, 3.0, np.nan], [2.0, np.inf, np.nan]])
    data = GraphDataset(graphs, given, np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))
    assert data.targets.tolist() == [[2.0, 3.0, 1.0], [2.0, 3.0, 1.0]]
    _, labels = data[0]
    assert labels.targets.tolist() == [[2.0, 3.0, 1.0]]
    assert labels.weights.tolist() == [[0.0, 1.0, 0.0]]
    assert labels.present.tolist() == [False, True, False]


def test_no_epoch_lacks_the_rows_that_are_drawn_most():
    """Each row is drawn as often as its share says, give or take one."""
    shares = np.ones(40)
    shares[[3, 17]] = 5.0
    data = SimpleNamespace(sampling=torch.from_numpy(shares))
    loader = GraphLoader(data, 8, shuffle=True, generator=torch.manual_seed(0))
    draws = np.array([np.bincount(loader._draw(40), minlength=40) for _ in range(400)])
    expected = 40 * shares / shares.sum()
    assert (abs(draws - expected) < 1).all()
    np.testing.assert_allclose(draws.mean(axis=0), expected, atol=0.12)
    # Which of the even rows come together is chance.
    together = np.corrcoef(draws[:, [0, 1, 2, 4, 5]].T)
    assert abs(together[np.triu_indices(5, 1)]).max() < 0.25
