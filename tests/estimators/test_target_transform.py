"""Labels that are learned after a transform, and predicted in their units."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import FunctionTransformer, QuantileTransformer

from skgnn_mtl import GATERegressor, MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN


@pytest.fixture
def powers(gaps):
    """A table whose first column is a power of ten."""
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    return frame.assign(a=10.0 ** (frame["a"] / 5))


def test_a_logarithm_is_the_fit_of_logarithms(small, graphs, powers, gaps):
    model = small(target_transform={"a": "log10"}).fit(graphs, powers)
    logs = powers.assign(a=np.log10(powers["a"]))
    expected = small().fit(graphs, logs).predict(graphs)
    expected[:, 0] = 10.0 ** expected[:, 0]
    np.testing.assert_allclose(model.predict(graphs), expected, rtol=1e-6)
    np.testing.assert_allclose(model.target_mean_[0], np.log10(powers["a"]).mean())


def test_a_transformer_is_fitted_on_the_training_labels(small, graphs, gaps):
    transform = FunctionTransformer(np.sinh, np.arcsinh, check_inverse=False)
    model = small(target_transform=transform).fit(graphs, gaps)
    expected = np.arcsinh(small().fit(graphs, np.sinh(gaps)).predict(graphs))
    np.testing.assert_allclose(model.predict(graphs), expected, rtol=1e-6)
    ranks = QuantileTransformer(n_quantiles=5, output_distribution="normal")
    found = small(target_transform=ranks).fit(graphs, gaps[:, 0]).predict(graphs)
    assert found.shape == (30,)
    assert (found <= np.nanmax(gaps[:, 0])).all()
    assert not hasattr(ranks, "quantiles_")


def test_labels_out_of_domain_are_named(small, graphs, powers):
    powers.loc[7, "a"] = -2.0
    model = small(target_transform={"a": "log10"})
    with pytest.raises(ValueError, match=r"task 'a' has -2.0 in row 7"):
        model.fit(graphs, powers)
    model.fit(graphs[:7], powers[:7])
    with pytest.raises(ValueError, match=r"task 'a' has -2.0 in row 7"):
        model.partial_fit(graphs, powers)
    with pytest.raises(ValueError, match="names the task 'd', but the tasks are"):
        small(target_transform={"d": "log"}).fit(graphs, powers)


def test_files_keep_logarithms_and_refuse_transformers(small, graphs, powers, tmp_path):
    model = small(target_transform={"a": "log10"}).fit(graphs, powers)
    model.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(graphs), model.predict(graphs))
    other = small(target_transform=FunctionTransformer()).fit(graphs, powers)
    with pytest.raises(ValueError, match="target_transform"):
        other.save(tmp_path / "other")


@pytest.fixture
def gate():
    widths = dict.fromkeys(
        ("encoder_hidden_dims", "transfer_hidden_dims", "head_hidden_dims"), (8,)
    )
    return GATERegressor(
        GIN(16, n_layers=2, norm=None),
        latent_dim=8,
        **widths,
        max_epochs=2,
        add_task_steps=4,
        random_state=0,
    )


def test_gate_transforms_sources_and_added_tasks(gate, graphs, powers):
    logs = powers.assign(a=np.log10(powers["a"]))
    gate.set_params(target_tasks=["a"], target_transform={"a": "log10"})
    found = gate.fit(graphs, powers).predict(graphs)
    expected = gate.set_params(target_transform=None).fit(graphs, logs).predict(graphs)
    expected[:, 0] = 10.0 ** expected[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_added_tasks_keep_their_transforms_when_others_leave(gate, graphs, powers):
    gate.fit(graphs, powers[["b", "c"]])
    gate.set_params(target_transform={"a": "log10"})
    gate.add_task(graphs, powers["c"], name="again")
    gate.add_task(graphs, powers["a"])
    before = gate.predict(graphs)
    gate.remove_task("again")
    np.testing.assert_array_equal(gate.predict(graphs), before[:, [0, 1, 3]])
    assert gate.targets_.transforms.steps == (None, None, "log10")
