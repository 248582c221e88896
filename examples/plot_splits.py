"""
Random folds flatter a model
============================

In a random split most test molecules have a close relative among the training
molecules. New projects ask for molecules with new scaffolds. How much larger is the
error there? The same model is cross-validated twice: on random folds, and on folds that
share no Bemis-Murcko scaffold.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesRegressor

from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.ensemble import PerTaskRegressor
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.metrics import nan_mean_absolute_error
from skgnn_mtl.model_selection import (
    LabelPresenceKFold,
    ScaffoldKFold,
    cross_val_predict_with_gaps,
)

N_MOLECULES = 1000
N_TREES = 50

smiles, y = load_physchem(return_X_y=True)
y = y[["Tb (K)", "Tm (K)", "rho (kg/m3)", "RI", "logP"]]
smiles, y = smiles[:N_MOLECULES], y[:N_MOLECULES]

# %%
# One model, two ways to cut folds
# --------------------------------
# Descriptors do not depend on the folds, so they are computed once.

X = SmilesToDescriptors(morgan_counts=0).fit_transform(smiles)
trees = ExtraTreesRegressor(N_TREES, max_features=0.3, random_state=0)
model = PerTaskRegressor(trees)
folds = {
    "random folds": LabelPresenceKFold(5, random_state=0).split(X, y),
    "folds by scaffold": ScaffoldKFold(5).split(smiles),
}
errors = pd.DataFrame(index=y.columns)
for name, splits in folds.items():
    predictions = cross_val_predict_with_gaps(model, X, y, cv=list(splits))
    errors[name] = nan_mean_absolute_error(y, predictions, multioutput="raw_values")
errors = errors.div((y - y.mean()).abs().mean(), axis=0)
print(errors.round(3).to_string())

# %%
# The answer
# ----------
# Errors of each task over those of its mean value. The line between the two marks is
# what a random split hides.

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
rows = np.arange(len(errors))
ax.hlines(rows, errors.min(axis=1), errors.max(axis=1), color="0.8", linewidth=3)
for (name, values), colour in zip(errors.items(), ("#0072B2", "#D55E00"), strict=True):
    ax.plot(values, rows, "o", color=colour, markersize=9, label=name)
ax.set_yticks(rows, errors.index)
ax.invert_yaxis()
ax.set_xlim(left=0)
ax.set_xlabel("mean absolute error / error of the mean value (smaller is better)")
ax.set_title("The same trees, two ways to cut folds")
ax.legend(frameon=False)
ax.grid(axis="x", color="0.92")
plt.show()
