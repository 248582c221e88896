"""Training reads the graphs of a file where they lie."""

import numpy as np
import pytest

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    GraphArray,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.estimators import _additions, _fit, _gate
from skgnn_mtl.gate import _fit as gate_fit
from skgnn_mtl.weighting import BLO

SMILES = [f"{'C' * (k % 9 + 1)}{tail}" for k in range(20) for tail in ("O", "N", "Cl")]
SMALL = {"max_epochs": 2, "batch_size": 16, "random_state": 0}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mapped") / "graphs"
    return SmilesToGraph().transform_to(folder, SMILES)


@pytest.fixture(scope="module")
def y():
    y = np.random.default_rng(0).normal(size=(60, 2))
    y[::7] = np.nan  # rows that are left out
    y[::3, 0] = np.nan
    return y


def network(**parameters):
    return MultiTaskGNNRegressor("gcn", **SMALL, **parameters)


def pretrained(X, y):
    weights = np.arange(len(y)) % 7 > 0
    return GNNPretrainer("gin", **SMALL).fit(X, sample_weight=weights)


def with_added_task(X, y):
    gate = GATERegressor("gcn", **SMALL, add_task_steps=20).fit(X, y[:, 1])
    with pytest.warns(UserWarning, match="train_encoder=True changed"):
        return gate.add_task(X, y[:, 0], name="new", train_encoder=True)


FITS = {
    "plain": lambda X, y: network().fit(X, y),
    "widths": lambda X, y: network(loss="gaussian_nll").fit(X, y),
    "early stopping": lambda X, y: network(early_stopping=True).fit(X, y),
    "held out": lambda X, y: network(
        task_weighting=BLO(every=2),
        target_tasks=["task_1"],
        early_stopping=True,
    ).fit(X, y),
    "normalised": lambda X, y: MultiTaskGNNRegressor("gin", **SMALL).fit(X, y),
    "auxiliary": lambda X, y: network(auxiliary_tasks=("atommasking",)).fit(X, y),
    "pretrainer": pretrained,
    "added": with_added_task,
}


def outputs(model, X):
    return model.embed(X) if isinstance(model, GNNPretrainer) else model.predict(X)


@pytest.mark.parametrize("name", FITS)
def test_a_fit_equals_that_of_copied_rows_bit_for_bit(mapped, y, name, monkeypatch):
    found = outputs(FITS[name](mapped, y), mapped)
    for module in (_fit, _gate, _additions, gate_fit):
        monkeypatch.setattr(module, "GraphRows", lambda graphs, rows: graphs[rows])
    assert np.array_equal(found, outputs(FITS[name](mapped, y), mapped))


@pytest.mark.parametrize("name", FITS)
def test_a_fit_copies_no_rows(mapped, y, name, monkeypatch):
    copied = []
    take = GraphArray._take
    monkeypatch.setattr(
        GraphArray, "_take", lambda X, rows: copied.append(rows) or take(X, rows)
    )
    FITS[name](mapped, y)
    assert not copied


def test_a_task_that_prepares_its_graphs_is_given_the_training_rows(mapped, y):
    rows = np.arange(60) % 4 > 0
    model = network(auxiliary_tasks=("motifprediction",))
    found = model.fit(mapped, y, sample_weight=rows).predict(mapped)
    wanted = model.fit(mapped[rows], y[rows]).predict(mapped)
    assert np.array_equal(found, wanted)
