"""
One network for all tasks, or one for each?
===========================================

Sharing a network gains where tasks have few labels and are related. It costs where they
need different features. Errors tell: each task gets a twin network of its own with the
same budget, on the same folds.
"""

import matplotlib.pyplot as plt

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.inspection import SingleTaskComparisonDisplay
from skgnn_mtl.model_selection import LabelPresenceKFold, compare_with_single_task

N_MOLECULES = 800
MAX_EPOCHS = 20
N_SPLITS = 3

smiles, y = load_physchem(return_X_y=True)
X, y = SmilesToGraph().fit_transform(smiles[:N_MOLECULES]), y[:N_MOLECULES]

# %%
# Pairs of networks
# -----------------
# ``delta_m`` is the mean over the tasks of the relative change, in percent.

regressor = MultiTaskGNNRegressor(
    GIN(width=64), lr=3e-3, max_epochs=MAX_EPOCHS, random_state=0
)
comparison = compare_with_single_task(
    regressor, X, y, cv=LabelPresenceKFold(N_SPLITS, random_state=0)
)
print(comparison.summary().round(3).to_string())
print(f"Mean change over the tasks: {comparison.delta_m:+.1f} %")

# %%
# The answer
# ----------
# A dot is a fold, a bar the mean with its standard error. Left of 0 the shared network
# has the smaller error. Here properties with few labels gain, such as the flash point
# and the heat of vaporisation, and some with many labels pay for it.

SingleTaskComparisonDisplay.from_comparison(comparison)
plt.show()
