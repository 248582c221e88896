"""
Targets of very different scales, most labels missing
=====================================================

Six properties of the same graphs whose units span twelve orders of magnitude, with nine
of ten labels missing. Two habits make them train alike: targets are standardised on
their labelled training rows (``normalize_targets=True``, the default), and the loss of
a task is the mean over its *labelled* entries of a batch. Without the first, the task
of the largest unit is all that is learned, whatever the weighting.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.inspection import TaskHistoryDisplay
from skgnn_mtl.metrics import nan_r2_score

SCALES = 10.0 ** np.array([-6, -3, -1, 1, 3, 6])


def make_data(n_rows=3000, missing=0.9, seed=0):
    """Smooth functions of five features, each in its own unit, with gaps."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n_rows, 5))
    shared = np.column_stack([np.sin(2 * X[:, 0]), X[:, 1] * X[:, 2], X[:, 3] ** 2])
    y = shared @ rng.normal(size=(3, len(SCALES))) + 0.3 * X[:, :1]
    columns = [f"unit {scale:g}" for scale in SCALES]
    full = pd.DataFrame((y + rng.normal(size=y.shape[1])) * SCALES, columns=columns)
    return X, full.mask(rng.random(y.shape) < missing), full


def fit(X, y, max_epochs=40, **changes):
    return MultiTaskGNNRegressor(
        GIN(64, n_layers=2, norm=None),
        readout="mean",
        head_hidden_dims=(),
        lr=3e-3,
        max_epochs=max_epochs,
        random_state=0,
        **changes,
    ).fit(X, y)


def main(max_epochs=40, path="target_scales.png"):
    X, y, full = make_data()
    train, test = np.arange(2500), np.arange(2500, len(X))
    settings = {
        "standardised, equal": {},
        "standardised, FAMO": {"task_weighting": "famo"},
        "standardised, Nash-MTL": {"task_weighting": "nashmtl"},
        "raw targets, equal": {"normalize_targets": False},
        "raw targets, FAMO": {"normalize_targets": False, "task_weighting": "famo"},
    }
    models = {
        name: fit(X[train], y.iloc[train], max_epochs, **changes)
        for name, changes in settings.items()
    }
    # R2 on the complete labels of the test rows
    scores = pd.DataFrame(
        {
            name: nan_r2_score(
                full.iloc[test], model.predict(X[test]), multioutput="raw_values"
            )
            for name, model in models.items()
        },
        index=y.columns,
    )
    print(f"{y.iloc[train].isna().to_numpy().mean():.0%} of the labels are missing")
    print(scores.clip(lower=-1).round(3).to_string())
    display = TaskHistoryDisplay.from_estimator(models["standardised, FAMO"])
    display.figure_.savefig(path, dpi=120)
    return scores


if __name__ == "__main__":
    main()
    plt.show()
