"""
How curved is the loss of each task?
====================================

A network that predicts several properties at once often predicts some of them worse
than a network of its own would. One explanation is that the losses of the tasks are
curved so differently in the shared parameters that no learning rate suits all (A. New
et al., arXiv 2208.01684). This example looks: the spectrum of a task's Hessian shows
how many directions are curved, and how strongly.
"""

import matplotlib.pyplot as plt

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.inspection import HessianSpectrumDisplay

N_MOLECULES = 500
MAX_EPOCHS = 20
N_LANCZOS = 30

smiles, y = load_physchem(return_X_y=True)
y = y[["Tb (K)", "logP", "RI", "Tflash (K)"]]
X, y = SmilesToGraph().fit_transform(smiles[:N_MOLECULES]), y[:N_MOLECULES]

# %%
# Spectra are an option of ``fit``
# --------------------------------
# ReLU has no curvature between its kinks, so the activation is smooth.

regressor = MultiTaskGNNRegressor(
    GIN(width=32, n_layers=2, norm=None, activation="silu"),
    max_epochs=MAX_EPOCHS,
    random_state=0,
    hessian_spectrum={
        "n_samples": 200,
        "n_lanczos": N_LANCZOS,
        "n_eigenvalues": 3,
        "at": (0, 0.25, 0.5, 1.0),
    },
).fit(X, y)
spectrum = regressor.hessian_spectrum_
columns = ["task", "lambda_max", "trace", "trace_sem"]
print(spectrum.to_frame()[columns].round(2).to_string(index=False))

# %%
# When do the tasks begin to differ?
# ----------------------------------
# The largest eigenvalue and the trace along the training.

HessianSpectrumDisplay.from_spectrum(regressor.hessian_spectrum_path_, kind="history")

# %%
# The answer
# ----------
# Most directions are flat: the bulk is at zero. A few large eigenvalues to the right
# decide how large a step may be.

HessianSpectrumDisplay.from_spectrum(spectrum, kind="density")
plt.show()
