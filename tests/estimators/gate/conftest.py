"""GATE estimators for the tests: they train in milliseconds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl import GATERegressor
from skgnn_mtl.encoders import GIN


@pytest.fixture(scope="session")
def sizes() -> dict:
    """Widths of small modules."""
    return {
        "latent_dim": 8,
        "encoder_hidden_dims": (16,),
        "transfer_hidden_dims": (8,),
        "head_hidden_dims": (8,),
    }


@pytest.fixture(scope="session")
def make(sizes, small):
    """Factory of an estimator that trains in milliseconds."""

    def build(**changes) -> GATERegressor:
        encoder = GIN(width=16, n_layers=2, norm="batch", dropout=0.1)
        parameters = {"encoder": encoder, **sizes, "add_task_steps": 8, **changes}
        return small(GATERegressor, **parameters)

    return build


@pytest.fixture
def model(make, graphs, gaps):
    return make().fit(graphs, pd.DataFrame(gaps, columns=["a", "b", "c"]))


@pytest.fixture
def scarce(table):
    """Labels of another task on ten molecules, without a label on twenty."""
    return np.where(np.arange(30) < 10, table[:, 0] - 2 * table[:, 2], np.nan)
