"""
Which atoms raise logP, and which lower it?
===========================================

A network has learned logP and the boiling point of some hundred molecules. What does
each atom of a new molecule add to the two predictions? Integrated gradients share the
difference between the prediction and that of a molecule without atom features among the
atoms. Then a hydrogen becomes a hydroxyl group: logP must fall, and the group must be
blamed for it. The example needs Captum (``pip install captum``).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.inspection import AtomAttributionDisplay, atom_attributions

N_MOLECULES = 900
MAX_EPOCHS = 50

# %%
# The network
# -----------
# The untouched regressor, trained on rows that have both labels. None of the molecules
# to explain is among them.

tasks = ["logP", "Tb (K)"]
before_and_after = ["CCCCc1ccccc1", "OCCCCc1ccccc1"]
molecules = [*before_and_after, "CC(=O)Nc1ccc(O)cc1", "CCOC(=O)CCCCCl"]

smiles, y = load_physchem(return_X_y=True)
y = y.loc[~smiles.isin(molecules), tasks].dropna()[:N_MOLECULES]
model = make_pipeline(
    SmilesToGraph(), MultiTaskGNNRegressor(max_epochs=MAX_EPOCHS, random_state=0)
)
model.fit(smiles[y.index], y)

# %%
# A change with a known answer
# ----------------------------
# The first two molecules differ by a hydroxyl group. The atoms that both have are
# numbered alike but for the oxygen, which comes first in the second SMILES.

before, after = atom_attributions(model, before_and_after, "logP", n_steps=50)
change = after - np.append(0.0, before)
step = np.diff(model.predict(before_and_after)[:, 0])[0]
print(f"logP changes by {step:.2f}, the part of the oxygen is {change[0]:.2f}")

# %%
# The pictures
# ------------
# One row per molecule and one column per task. Blue atoms lower the prediction, red
# ones raise it. A task has one scale for all molecules. Oxygen lowers logP and raises
# the boiling point, as a chemist expects.

display = AtomAttributionDisplay.from_estimator(model, molecules, tasks=tasks)
plt.show()
