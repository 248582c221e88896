"""
Add a property with few labels to a trained model
=================================================

Most molecules have a boiling or a melting point; few have a flash point or a
permittivity. A network of GATE is trained on the properties with many labels. Then the
scarce ones are added, one after the other: only small maps of their own are trained,
and the predictions of all earlier properties stay the same to the last bit.

The learning curve of the flash point compares the addition with a network that is
trained on the flash point alone. It is one split of a small sample: whether properties
help each other depends on them, so that it is worth asking for your own with
:func:`~skgnn_mtl.model_selection.compare_transfer`, as here.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import ShuffleSplit
from sklearn.pipeline import make_pipeline

from skgnn_mtl import GATERegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.inspection import TransferComparisonDisplay
from skgnn_mtl.model_selection import compare_transfer

N_MOLECULES = 1000
MAX_EPOCHS = 25
STEPS = 150
SIZES = (25, 50, 100)

rich = ["Tb (K)", "Tm (K)", "rho (kg/m3)", "RI"]
scarce = ["Tflash (K)", "log10 permittivity"]
smiles, y = load_physchem(return_X_y=True)
y = y[rich + scarce].dropna(how="all")[:N_MOLECULES]
featurizer = SmilesToGraph("chemprop")
X = featurizer.fit_transform(smiles[y.index])

# %%
# The rich properties first
# -------------------------

maps = {
    "latent_dim": 16,
    "encoder_hidden_dims": (32,),
    "transfer_hidden_dims": (16,),
    "head_hidden_dims": (16,),
}
model = GATERegressor(
    DMPNN(64),
    **maps,
    lr=3e-3,
    max_epochs=MAX_EPOCHS,
    add_task_steps=STEPS,
    random_state=0,
).fit(X, y[rich])
before = model.predict(X)

# %%
# The scarce ones later
# ---------------------
# A Series has a name, and the task gets it. Molecules without a label help.

for name in scarce:
    model.add_task(X, y[name])
same = np.array_equal(model.predict(X)[:, : len(rich)], before)
print(f"Predictions of {', '.join(rich)} are bit for bit as before: {same}")

pipeline = make_pipeline(featurizer, model)
for molecule, values in zip(
    ["CCCCO", "CC(C)=O"], pipeline.predict(["CCCCO", "CC(C)=O"]), strict=True
):
    pairs = zip(model.task_names_, values, strict=True)
    print(molecule, ", ".join(f"{name} {value:.4g}" for name, value in pairs))

# %%
# Does it pay?
# ------------

comparison = compare_transfer(
    X,
    y,
    sources=rich,
    targets=["Tflash (K)"],
    sizes=SIZES,
    cv=ShuffleSplit(1, test_size=0.3, random_state=0),
    methods=["single-task", "addition", "addition-unlabelled"],
    encoder=DMPNN(64),
    parameters={"lr": 3e-3},
    gate_parameters=maps,
    source_steps=4 * MAX_EPOCHS,
    target_steps=STEPS,
    random_states=(0, 1),
)
print(comparison.summary().round(3).to_string())

# %%
# The answer
# ----------
# Test error of the flash point, in standard deviations of its labels, against their
# number. Smaller is better.

TransferComparisonDisplay.from_comparison(comparison)
plt.show()
