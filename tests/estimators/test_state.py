"""What a fit leaves is one value, which is swapped in at the end."""

from __future__ import annotations

import dataclasses
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import torch
from skorch.callbacks import Callback

from skgnn_mtl import GNNPretrainer, MultiTaskGNNClassifier
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators._classes import ClassTargets
from skgnn_mtl.estimators._mixed import MixedTargets
from skgnn_mtl.estimators._numeric import NumericTargets


class Call(Callback):
    """Call a function at the end of each epoch."""

    def __init__(self, function):
        self.function = function

    def on_epoch_end(self, net, **kwargs):
        self.function()


@pytest.mark.parametrize("how", ["fit", "partial_fit"])
def test_predictions_during_a_training_are_those_from_before(small, graphs, gaps, how):
    model = small(warm_start=True).fit(graphs, gaps)
    before, found = model.predict(graphs), []
    model.set_params(callbacks=[Call(lambda: found.append(model.predict(graphs)))])
    getattr(model, how)(graphs, gaps)
    assert len(found) == (1 if how == "partial_fit" else 3)
    for values in found:
        np.testing.assert_array_equal(values, before)
    assert not np.array_equal(model.predict(graphs), before)


def test_other_threads_predict_while_the_model_is_trained(small, graphs, gaps):
    model = small(warm_start=True, max_epochs=20).fit(graphs, gaps)
    before, found = model.predict(graphs), []
    stop = []

    def predict():
        while not stop:
            found.append(model.predict(graphs))

    threads = [Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    model.fit(graphs, gaps)
    stop.append(True)
    for thread in threads:
        thread.join()
    after = model.predict(graphs)
    assert len(found) > 3
    for values in found:
        assert np.array_equal(values, before) or np.array_equal(values, after)


def test_the_training_does_not_depend_on_predictions_meanwhile(
    small, graphs, gaps, same_weights
):
    plain = small(warm_start=True).fit(graphs, gaps).fit(graphs, gaps)
    model = small(warm_start=True).fit(graphs, gaps)
    model.set_params(callbacks=[Call(lambda: model.predict(graphs))])
    assert same_weights(model.fit(graphs, gaps), plain)


def test_the_state_of_a_fit_cannot_be_assigned(small, graphs, gaps):
    model = small().fit(graphs, gaps)
    with pytest.raises(AttributeError):
        model.module_ = None
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.targets_.mean = None


# -- targets ---------------------------------------------------------------------------


@pytest.fixture
def weights(gaps):
    missing = np.isnan(gaps)
    drawn = np.random.default_rng(2).uniform(0.5, 2.0, (len(gaps), 1))
    return np.where(missing, 0.0, drawn)


def test_numbers_are_standardised_and_given_back(graphs, gaps, weights):
    begun, table = NumericTargets().begin(graphs, gaps, graphs.valid)
    targets = begun.learn(table, weights)
    encoded = targets.encode(table)
    known = weights > 0
    mean = np.array([np.average(c[k], weights=w[k]) for c, k, w in
                     zip(encoded.T, known.T, weights.T, strict=True)])  # fmt: skip
    np.testing.assert_allclose(mean, 0, atol=1e-12)
    np.testing.assert_allclose(targets.decode(encoded)[known], gaps[known])
    assert begun.spread.size == 0  # what knows less is not changed
    one, column = NumericTargets().begin(graphs, gaps[:, 0], graphs.valid)
    one = one.learn(column, weights[:, :1])
    assert one.decode(column).shape == (30,)


def test_raw_numbers_keep_their_units(graphs, gaps, weights):
    begun, table = NumericTargets(normalize=False).begin(graphs, gaps, graphs.valid)
    with pytest.warns(UserWarning, match="'task_0' .*Set normalize_targets=True"):
        targets = begun.learn(100 * table, weights, compared=[0])
    np.testing.assert_array_equal(targets.encode(table), table)
    np.testing.assert_array_equal(targets.scale, np.ones(3))


def test_classes_are_positions_and_labels(graphs):
    y = np.where(graphs.n_nodes > 8, "big", "small").astype(object)
    y[3] = None
    begun, table = ClassTargets(class_weight={"big": 4.0}).begin(
        graphs, y, graphs.valid
    )
    targets = begun.learn(table, np.where(np.isnan(table), 0.0, 1.0))
    assert targets.classes[0].tolist() == ["big", "small"]
    assert np.isnan(table[3, 0])
    logits = np.where(np.isnan(table), -1.0, 2 * table - 1)
    assert targets.decode(logits).tolist() == [label or "big" for label in y]
    weighed = targets.weigh(table, np.ones_like(table))
    np.testing.assert_array_equal(weighed[table == 0], 4.0)
    np.testing.assert_array_equal(weighed[table == 1], 1.0)
    with pytest.raises(ValueError, match="label 'huge', but its classes"):
        targets.read(graphs, np.where(y == "big", "huge", y))


def test_a_column_of_two_values_gets_the_logistic_loss(graphs, table):
    y = np.column_stack([table[:, 0], np.where(table[:, 1] > 8, 5.0, 3.0)])
    begun, read = MixedTargets().begin(graphs, y, graphs.valid)
    targets = begun.learn(read, np.ones_like(read))
    assert targets.losses == ("squared_error", "logistic")
    assert set(targets.encode(read)[:, 1]) == {0.0, 1.0}
    outputs = torch.randn(30, 2, dtype=torch.float64)
    labels = torch.from_numpy(targets.encode(read))
    losses = targets.elementwise_loss(outputs, labels)
    torch.testing.assert_close(losses[:, 0], (outputs - labels)[:, 0] ** 2)
    expected = (
        torch.nn.functional.softplus(outputs[:, 1]) - labels[:, 1] * outputs[:, 1]
    )
    torch.testing.assert_close(losses[:, 1], expected)
    with pytest.raises(ValueError, match="'task_1' has the label 4"):
        targets.weigh(np.full((1, 2), 4.0), np.ones((1, 2)))


def test_a_fit_that_goes_on_knows_what_the_first_learned(graphs, gaps, weights):
    begun, table = NumericTargets().begin(graphs, gaps, graphs.valid)
    first = begun.learn(table, weights)
    second = NumericTargets(loss="huber").with_learned(first.learned)
    assert second.loss_name == "huber"
    np.testing.assert_array_equal(second.encode(table), first.encode(table))
    with pytest.raises(ValueError, match=r"1 dimension\(s\)"):
        second.read(graphs, gaps[:, 0])


def test_the_order_of_columns_is_found_by_their_names(small, graphs, gaps):
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    model = small().fit(graphs, frame)
    turned = model.targets_.read_in_order(graphs, frame[["c", "a", "b"]])
    np.testing.assert_array_equal(turned, gaps)
    np.testing.assert_array_equal(model.targets_.read_in_order(graphs, gaps), gaps)
    with pytest.raises(ValueError, match="2 columns"):
        model.targets_.read_in_order(graphs, gaps[:, :2])


@pytest.mark.parametrize("cls", [MultiTaskGNNClassifier, GNNPretrainer])
def test_attributes_of_an_unfitted_estimator_are_absent(cls):
    model = cls(GIN(8))
    for name in ("module_", "history_", "n_features_in_", "classes_", "encoder_"):
        assert not hasattr(model, name)
