"""The history as a table."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.estimators._history import history_table


def test_a_record_is_a_row_and_a_task_a_column():
    X = np.arange(20.0).reshape(10, 2)
    y = np.stack([X[:, 0], X[:, 1] ** 2], axis=1)
    model = MultiTaskGNNRegressor(max_epochs=3, task_weighting="pcgrad").fit(X, y)
    table = model.history_frame()
    assert table.index.name == "epoch"
    assert table.index.tolist() == [1, 2, 3]
    for record, (_, row) in zip(model.history_, table.iterrows(), strict=True):
        assert row["lr"] == record["lr"]
        for task in model.task_names_:
            assert row[f"train_losses.{task}"] == record["train_losses"][task]
    # Only numbers, so that a plot is one call.
    assert all(dtype.kind in "fiu" for dtype in table.dtypes)


def test_gaps_are_nan_and_nothing_is_an_empty_table():
    table = history_table([{"epoch": 1, "a": {"b": {"c": 2.0}}}, {"epoch": 2, "d": 1}])
    assert table.columns.tolist() == ["a.b.c", "d"]
    assert np.isnan(table.loc[2, "a.b.c"])
    assert history_table([]).shape == (0, 0)
    with pytest.raises(NotFittedError):
        MultiTaskGNNRegressor().history_frame()
