"""
Tasks in different units, most labels missing
=============================================

Six properties of the same graphs have units that span twelve orders of magnitude, and
nine of ten labels are missing. Two habits make them train alike. Targets are
standardised on their labelled training rows (``normalize_targets=True``, the default).
The loss of a task is the mean over its *labelled* entries of a batch. Without the
first, the task of the largest unit is all that is learned, whatever the weighting.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import GIN
from skgnn_mtl.metrics import nan_r2_score

MAX_EPOCHS = 40

# %%
# Smooth functions of five numbers, each in its own unit, with gaps
# -----------------------------------------------------------------

rng = np.random.default_rng(0)
scales = 10.0 ** np.array([-6, -3, -1, 1, 3, 6])
X = rng.uniform(-1, 1, size=(3000, 5))
shared = np.column_stack([np.sin(2 * X[:, 0]), X[:, 1] * X[:, 2], X[:, 3] ** 2])
values = shared @ rng.normal(size=(3, len(scales))) + 0.3 * X[:, :1]
full = pd.DataFrame(
    (values + rng.normal(size=len(scales))) * scales,
    columns=[f"unit {scale:g}" for scale in scales],
)
y = full.mask(rng.random(full.shape) < 0.9)
train, test = np.arange(2500), np.arange(2500, len(X))
print(f"{y.iloc[train].isna().to_numpy().mean():.0%} of the labels are missing")

# %%
# Five trainings
# --------------

settings = {
    "standardised, equal": {},
    "standardised, FAMO": {"task_weighting": "famo"},
    "standardised, Nash-MTL": {"task_weighting": "nashmtl"},
    "raw targets, equal": {"normalize_targets": False},
    "raw targets, FAMO": {"normalize_targets": False, "task_weighting": "famo"},
}
scores = pd.DataFrame(index=y.columns)
for name, changes in settings.items():
    model = MultiTaskGNNRegressor(
        GIN(64, n_layers=2, norm=None),
        readout="mean",
        head_hidden_dims=(),
        lr=3e-3,
        max_epochs=MAX_EPOCHS,
        random_state=0,
        **changes,
    ).fit(X[train], y.iloc[train])
    # R2 on the complete labels of the test rows
    scores[name] = nan_r2_score(
        full.iloc[test], model.predict(X[test]), multioutput="raw_values"
    )
print(scores.clip(lower=-1).round(3).to_string())

# %%
# The answer
# ----------
# 1 is a perfect prediction, 0 that of the mean. Crosses are raw targets: only the task
# of the largest unit is learned. Values below 0 are drawn at 0.

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, values), marker in zip(scores.items(), "os^xX", strict=True):
    ax.plot(scores.index, values.clip(lower=0), marker, markersize=9, label=name)
ax.set(
    title="Standardised targets make units disappear",
    xlabel="unit of the task",
    ylabel="R2 on test rows (1 is perfect)",
    ylim=(-0.05, 1.05),
)
ax.grid(axis="y", color="0.92")
ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
