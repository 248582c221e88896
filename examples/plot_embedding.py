"""
A map of molecules
==================

``embed`` gives the vector of a molecule behind the readout, which all tasks share.
Molecules with similar properties lie close together. Two principal components are
enough for a map.
"""

import matplotlib.pyplot as plt
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN

N_MOLECULES = 1000
MAX_EPOCHS = 30

smiles, y = load_physchem(return_X_y=True)
smiles, y = smiles[:N_MOLECULES], y[:N_MOLECULES]
X = SmilesToGraph().fit_transform(smiles)

# %%
# From graphs to points
# ---------------------

regressor = MultiTaskGNNRegressor(
    DMPNN(width=100), max_epochs=MAX_EPOCHS, random_state=0
).fit(X, y)
# Directions of vectors, not their lengths: a few large molecules would fill the map.
project = make_pipeline(StandardScaler(), Normalizer(), PCA(2, random_state=0))
points = project.fit_transform(regressor.embed(X))
known = {
    "CCO": "ethanol",
    "c1ccccc1": "benzene",
    "CCCCCCCCCC": "decane",
    "O=C(O)CCCCC(=O)O": "adipic acid",
}
named = project.transform(regressor.embed(SmilesToGraph().transform(list(known))))

# %%
# The map
# -------
# The same points, coloured by two measured properties; grey is unmeasured. Size and
# polarity of a molecule lead to its place.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", sharey=True)
for ax, task, title in zip(
    axes,
    ["Tb (K)", "logP"],
    ["Boiling point (K)", "logP"],
    strict=True,
):
    labelled = y[task].notna().to_numpy()
    ax.scatter(*points[~labelled].T, s=8, color="0.88")
    low, high = y[task].quantile([0.02, 0.98])
    shown = ax.scatter(
        *points[labelled].T, s=14, c=y[task][labelled], vmin=low, vmax=high
    )
    for (x, height), name in zip(named, known.values(), strict=True):
        ax.annotate(
            name,
            (x, height),
            xytext=(1.15 * x, 1.15 * height),
            arrowprops={"arrowstyle": "-"},
            bbox={"boxstyle": "round", "facecolor": "white", "alpha": 0.8},
        )
    ax.set(title=title, xlabel="first principal component")
    figure.colorbar(shown, ax=ax)
axes[0].set_ylabel("second principal component")
plt.show()
