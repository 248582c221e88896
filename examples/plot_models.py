"""
A network, trees, or both?
==========================

Networks read the graph, trees read descriptors, and their errors have little to do with
each other. Is the mean of the two better than either? The comparison fits all models on
the same folds and tests the differences.
"""

import matplotlib.pyplot as plt
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.pipeline import make_pipeline

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.ensemble import BlendRegressor, PerTaskRegressor
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.inspection import ModelComparisonDisplay
from skgnn_mtl.model_selection import LabelPresenceKFold, compare_models

N_MOLECULES = 900
MAX_EPOCHS = 40
N_SPLITS = 3

smiles, y = load_physchem(return_X_y=True)
y = y[["Tb (K)", "Tm (K)", "rho (kg/m3)", "RI", "logP"]]
smiles, y = smiles[:N_MOLECULES], y[:N_MOLECULES]

# %%
# The models
# ----------
# ``BlendRegressor`` predicts the mean of its members.
# :class:`~skgnn_mtl.ensemble.HybridRegressor` is such a mean with chosen members.

network = make_pipeline(
    SmilesToGraph(features="chemprop"),
    MultiTaskGNNRegressor(
        DMPNN(width=150), lr=3e-3, max_epochs=MAX_EPOCHS, random_state=0
    ),
)
trees = make_pipeline(
    SmilesToDescriptors(morgan_counts=0),
    PerTaskRegressor(ExtraTreesRegressor(50, max_features=0.3, random_state=0)),
)
both = BlendRegressor([("network", network), ("trees", trees)])

# %%
# The same folds for all
# ----------------------
# Every fold has its share of the labels of each task.

comparison = compare_models(
    {"network": network, "trees": trees, "both": both},
    smiles,
    y,
    cv=LabelPresenceKFold(N_SPLITS, random_state=0),
    random_state=0,
)
print(comparison.summary().round(3).to_string())

# %%
# The answer
# ----------
# Change of the error against the trees: left of 0 is better. A filled mark is a
# difference that the test finds significant; with three folds few are.

display = ModelComparisonDisplay.from_comparison(comparison, reference="trees")
display.figure_.suptitle("A network, and its mean with trees, against trees")
plt.show()
