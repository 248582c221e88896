"""
Elastic properties of crystals from CIF files
=============================================

A materials scientist has CIF files and a table of properties. One network predicts the
bulk modulus, the shear modulus, the Poisson ratio and the elastic anisotropy of 400
inorganic crystals of the Materials Project. The folds are cut by chemical system, so
that no compound of the same elements is in the training rows: what is measured is
chemistry that the network has not met. It takes about a minute on one core.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
from skgnn_mtl.datasets import load_elasticity
from skgnn_mtl.encoders import CGCNN
from skgnn_mtl.inspection import ParityDisplay
from skgnn_mtl.model_selection import CompositionKFold

N_CRYSTALS = 400
MAX_EPOCHS = 25
N_SPLITS = 3

# %%
# Structures and labels
# ---------------------
# ``X`` is a column of CIF texts; paths, pymatgen Structures and ASE Atoms would do as
# well. Moduli and anisotropy spread over decades, so their logarithms are learned.

cifs, table = load_elasticity(return_X_y=True)
y = pd.DataFrame(
    {
        "log10 K (GPa)": np.log10(table["K_VRH (GPa)"]),
        "log10 G (GPa)": np.log10(table["G_VRH (GPa)"]),
        "Poisson ratio": table["poisson_ratio"],
        "log10 anisotropy": np.log10(table["elastic_anisotropy"].clip(lower=1e-3)),
    }
)
cifs, y = cifs[:N_CRYSTALS], y[:N_CRYSTALS]

# %%
# The model
# ---------
# The same regressor as for molecules, with another transformer in front. Each site of
# the unit cell is a node; its twelve nearest neighbours (whole shells) send messages.

model = make_pipeline(
    CifToGraph(),
    MultiTaskGNNRegressor(
        CGCNN(width=64, n_layers=3),
        head_hidden_dims=(128,),
        head_activation="softplus",
        lr=3e-3,
        lr_schedule="warmup_cosine",
        batch_size=32,
        max_epochs=MAX_EPOCHS,
        random_state=0,
    ),
)

# %%
# Predictions for chemical systems that are new
# ---------------------------------------------

folds = CompositionKFold(N_SPLITS, by="chemical_system")
predictions = cross_val_predict(model, cifs, y, cv=folds)
errors = pd.DataFrame(
    {"mean": (y - y.mean()).abs().mean(), "network": (predictions - y).abs().mean()}
)
print("Mean absolute errors out of fold, beside those of the mean value:")
print(errors.round(3).to_string())

# %%
# The answer
# ----------
# Moduli are predicted well. The anisotropy of a crystal depends on small differences
# between its elastic constants, and remains hard.

ParityDisplay.from_predictions(y, predictions)
plt.show()
