"""The weighting by curvature inside a fit: rhythm, records, state, refusals."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.curvature import hessian_spectrum, leading_eigenpairs
from skgnn_mtl.graphs import GraphDataset
from skgnn_mtl.training import LOSSES, network_problem
from skgnn_mtl.weighting import Curvature

STATISTICS = ["ggn_trace", "ggn_max", "hessian_max"]


def often(statistic="ggn_trace", **changes):
    return Curvature(statistic=statistic, update_every=2, clip=None, **changes)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_weights_follow_curvature_and_both_are_recorded(
    small, graphs, gaps, statistic, same_weights
):
    settings = {"batch_size": 8, "max_epochs": 4}
    model = small(task_weighting=often(statistic), **settings).fit(graphs, gaps)
    record = model.history_[-1]
    m = np.array(list(record["curvature"].values()))
    assert (m > 0).all()
    # The record has means over an epoch, the weighting what followed from m.
    w = model.task_weighting_.weights().numpy()
    assert (w.argsort() == m.argsort()[::-1]).all()
    means = np.array(list(record["task_weights"].values()))
    assert np.corrcoef(means, w)[0, 1] > 0.8
    # Steps before the first evaluation have the weight 1.
    assert model.history_[0]["task_weights_std"]["task_0"] > 0
    again = clone(model).fit(graphs, gaps)
    assert same_weights(model, again)


def test_before_the_first_look_it_trains_like_equal(small, graphs, gaps, same_weights):
    model = small(task_weighting="curvature").fit(graphs, gaps)
    assert same_weights(model, small().fit(graphs, gaps))
    assert np.isnan(list(model.history_[-1]["curvature"].values())).all()


@pytest.mark.parametrize("statistic", ["ggn_max", "hessian_max"])
def test_eigenvalues_converge_from_below_to_those_of_the_spectrum(
    small, graphs, gaps, statistic
):
    model = small(max_epochs=20).fit(graphs, gaps)
    matrix = statistic.removesuffix("_max")
    exact = hessian_spectrum(
        model, graphs, gaps, matrix=matrix, n_eigenvalues=1, random_state=0
    ).eigenvalues[:, 0]
    weights = (~np.isnan(gaps)).astype(float)
    targets = model.targets_.encode(gaps)
    data = GraphDataset(graphs, targets, weights)
    # The same rows in two batches of unequal size.
    batches = [data.__getitems__(rows) for rows in np.split(np.arange(30), [11])]
    problem = network_problem(
        model.module_, batches, LOSSES["squared_error"], task_names=model.task_names_
    )
    vectors, before = None, -np.inf
    for _ in range(6):
        values, vectors = leading_eigenpairs(problem, matrix=matrix, vectors=vectors)
        assert (values.numpy() >= before - 1e-4 * exact).all()
        before = values.numpy()
    np.testing.assert_allclose(before, exact, rtol=1e-2)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_partial_fit_pickle_and_files_keep_the_state(
    small, graphs, gaps, statistic, tmp_path, same_weights
):
    part = often(statistic, n_batches=1)
    model = small(task_weighting=part, batch_size=20)
    for _ in range(3):  # two steps each
        model.partial_fit(graphs, gaps)
    state = {k: v.clone() for k, v in model.task_weighting_.state_dict().items()}
    assert int(state["n_steps"]) == 6
    copy = pickle.loads(pickle.dumps(model))
    model.save(tmp_path / "model.pt")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model.pt")
    for other in (copy, loaded):
        found = other.task_weighting_.state_dict()
        assert all(torch.equal(found[key], state[key]) for key in state)
    for other in (model, copy):
        other.partial_fit(graphs, gaps)
    assert same_weights(model, copy)
    assert not torch.equal(model.task_weighting_.means, state["means"])
    assert not clone(model.task_weighting_).state_dict()
    assert part.state_dict() == {}


def test_a_task_absent_from_most_batches(small, graphs, table):
    table[3:, 2] = np.nan
    model = small(task_weighting=often(), batch_size=2).fit(graphs, table)
    assert np.isfinite(model.predict(graphs)).all()
    assert model.history_[-1]["curvature"]["task_2"] > 0


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_frozen_network_has_no_curvature(small, graphs, table, statistic):
    model = small(task_weighting=often(statistic), warm_start=True)
    model.fit(graphs, table)
    for name, parameter in model.module_.named_parameters():
        parameter.requires_grad_(name.startswith("heads."))
    model.task_weighting_.build(3)
    model.fit(graphs, table)
    assert set(model.history_[-1]["task_weights"].values()) == {1.0}


@pytest.mark.parametrize("statistic", ["ggn_trace", "ggn_max"])
def test_absolute_error_is_refused_and_the_hessian_is_named(
    small, graphs, table, statistic
):
    model = small(task_weighting=often(statistic), loss="absolute_error")
    with pytest.raises(ValueError, match="absolute_error.*statistic='hessian_max'"):
        model.fit(graphs, table)
    assert not hasattr(model, "module_")
    model.set_params(task_weighting__statistic="hessian_max").fit(graphs, table)
