"""GATERegressor.from_pretrained: sources from a regressor."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skgnn_mtl import (
    GATERegressor,
)
from skgnn_mtl.encoders import GIN


@pytest.mark.parametrize("given", [True, False])
def test_a_regressor_gives_its_tasks_as_sources(
    given, small, sizes, graphs, gaps, scarce, tmp_path
):
    regressor = small(
        encoder=GIN(16, n_layers=2, norm="batch", dropout=0.1),
        head_hidden_dims=(8,),
        head_activation="silu",
    ).fit(graphs, gaps)
    before = regressor.predict(graphs)
    model = GATERegressor.from_pretrained(
        regressor, graphs if given else None, **sizes, add_task_steps=8
    )
    assert model.aligned_ is given
    assert model.lr == regressor.lr
    assert np.array_equal(model.predict(graphs), before)
    model.add_task(graphs, scarce, name="new")
    assert np.array_equal(model.predict(graphs)[:, :3], before)
    assert len(model.history_) == regressor.max_epochs
    model.save(tmp_path / "model")
    loaded = GATERegressor.load(tmp_path / "model").add_task(graphs, -scarce, name="x")
    assert np.array_equal(loaded.predict(graphs)[:, :4], model.predict(graphs))
    for refuse in (
        lambda: model.remove_task("new").partial_fit(graphs, gaps),
        lambda: model.set_params(warm_start=True).fit(graphs, gaps),
    ):
        with pytest.raises(ValueError, match="pretrained"):
            refuse()
    assert np.array_equal(regressor.predict(graphs), before)
    assert (
        model.set_params(warm_start=False).fit(graphs, gaps).module_.pretrained is None
    )


def test_a_failed_first_addition_leaves_pretrained_sources_unaligned(
    small, sizes, graphs, gaps, scarce
):
    regressor = small().fit(graphs, gaps)
    model = GATERegressor.from_pretrained(regressor, **sizes, add_task_steps=8)
    with pytest.raises(ValueError, match="nobody"):
        model.add_task(graphs, scarce, name="new", sources=["nobody"])
    assert not model.aligned_
    assert model.history_ == []


def test_only_fitted_regressors_are_taken_over(small, model):
    with pytest.raises(TypeError, match="MultiTaskGNNRegressor"):
        GATERegressor.from_pretrained(model)
    with pytest.raises(NotFittedError):
        GATERegressor.from_pretrained(small())
