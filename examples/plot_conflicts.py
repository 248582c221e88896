"""
Do the tasks conflict?
======================

Methods such as PCGrad or Nash-MTL are made for tasks whose gradients point against each
other. Before you choose one, look: the cosine between the gradients of two tasks is
negative where a step for one raises the loss of the other.
"""

import matplotlib.pyplot as plt

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.inspection import GradientSimilarityDisplay

N_MOLECULES = 1000
MAX_EPOCHS = 1

smiles, y = load_physchem(return_X_y=True)
X, y = SmilesToGraph().fit_transform(smiles[:N_MOLECULES]), y[:N_MOLECULES]

# %%
# Early in a training
# -------------------
# Gradients are large then. Near the end of a training other rows do not reproduce them,
# and their cosines are noise.

regressor = MultiTaskGNNRegressor(
    GIN(width=64, n_layers=3, norm=None, activation="silu"),
    lr=3e-4,
    max_epochs=MAX_EPOCHS,
    random_state=0,
).fit(X, y)

# %%
# The answer
# ----------
# Above the diagonal are the cosines. Below it is the share of molecules with both
# labels: a cosine of two tasks with few molecules in common says little. On the
# diagonal is how well other rows reproduce the gradient of the task. Here few cosines
# are negative, and none by much: there is hardly a conflict to resolve.

GradientSimilarityDisplay.from_estimator(regressor, X, y, random_state=0)
plt.show()
