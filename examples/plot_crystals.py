"""
Elastic properties of crystals from CIF
=======================================

A materials scientist has CIF files and a table of properties. This script predicts the
bulk modulus, the shear modulus, the Poisson ratio and the elastic anisotropy of 600
inorganic crystals of the Materials Project: one network for all four properties, beside
one network for each. The folds are cut by chemical system, so that no compound of the
same elements is in the training rows: what is measured is chemistry that the network
has not seen. It takes some minutes on two cores.
"""

import time

import matplotlib
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
from skgnn_mtl.datasets import load_elasticity
from skgnn_mtl.encoders import CGCNN
from skgnn_mtl.model_selection import CompositionKFold

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# %%
# Structures and labels
# ---------------------
# ``X`` is a column of CIF texts; paths, pymatgen Structures and ASE Atoms would do as
# well. Moduli and anisotropy spread over decades, so their logarithms are learned.


def read(n_crystals=None):
    """Read CIF texts, and four targets with their units."""
    cifs, y = load_elasticity(return_X_y=True)
    targets = pd.DataFrame(
        {
            "log10 K (GPa)": np.log10(y["K_VRH (GPa)"]),
            "log10 G (GPa)": np.log10(y["G_VRH (GPa)"]),
            "Poisson ratio": y["poisson_ratio"],
            "log10 anisotropy": np.log10(y["elastic_anisotropy"].clip(lower=1e-3)),
        }
    )
    return cifs[:n_crystals], targets[:n_crystals]


# %%
# The model
# ---------
# The same regressor as for molecules, with another transformer in front: each site of
# the unit cell is a node, its twelve nearest neighbours (whole shells) send messages.


def network(max_epochs):
    """Make the pipeline from CIF to predictions."""
    return make_pipeline(
        CifToGraph(),
        MultiTaskGNNRegressor(
            CGCNN(width=64, n_layers=3),
            head_hidden_dims=(128,),
            head_activation="softplus",
            lr=3e-3,
            lr_schedule="warmup_cosine",
            batch_size=32,
            max_epochs=max_epochs,
            random_state=0,
        ),
    )


# %%
# One network for all, and one for each
# -------------------------------------
# Both are cross-validated on the same folds by chemical system. Single-task networks
# get the same architecture and the same number of epochs.


def compare(cifs, y, max_epochs, n_splits):
    """Out-of-fold predictions of the multi-task and the single-task networks."""
    folds = list(CompositionKFold(n_splits, by="chemical_system").split(cifs))
    model, start = network(max_epochs), time.perf_counter()
    together = pd.DataFrame(
        cross_val_predict(model, cifs, y, cv=folds), y.index, y.columns
    )
    print(f"multi-task: {time.perf_counter() - start:.0f} s", flush=True)
    start = time.perf_counter()
    alone = pd.DataFrame(
        {
            task: cross_val_predict(clone(model), cifs, labels, cv=folds)
            for task, labels in y.items()
        },
        y.index,
    )
    print(f"single-task: {time.perf_counter() - start:.0f} s", flush=True)
    return together, alone


def errors(y, predictions):
    """Mean absolute error of each task."""
    return (predictions - y).abs().mean()


# %%
# The answers
# -----------


def parity_plot(y, predictions, path):
    """Draw predictions against computed values, one panel a task and model."""
    figure, axes = plt.subplots(
        len(predictions), y.shape[1], figsize=(13, 6.4), layout="constrained"
    )
    for row, (name, table) in zip(axes, predictions.items(), strict=True):
        for ax, task in zip(row, y, strict=True):
            limits = (y[task].min(), y[task].max())
            ax.plot(limits, limits, color="0.35", linewidth=1, zorder=1)
            ax.scatter(y[task], table[task], s=7, alpha=0.4, linewidths=0)
            error = errors(y, table)[task]
            ax.set(title=f"{task}, {name}\nMAE {error:.3f}", xlabel="computed")
        row[0].set_ylabel("predicted, out of fold")
    figure.savefig(path, dpi=120)


def main(n_crystals=None, max_epochs=40, n_splits=5, path="crystals_parity.png"):
    """Run everything; return the table of errors."""
    cifs, y = read(n_crystals)
    print(f"{len(cifs)} crystals, {y.shape[1]} properties, folds by chemical system")
    together, alone = compare(cifs, y, max_epochs, n_splits)
    table = pd.DataFrame(
        {
            "mean": (y - y.mean()).abs().mean(),
            "single-task": errors(y, alone),
            "multi-task": errors(y, together),
        }
    )
    print("\nMean absolute errors:")
    print(table.round(3).to_string())
    parity_plot(y, {"multi-task": together, "single-task": alone}, path)
    print(f"\nParity plots: {path}")
    return table


if __name__ == "__main__":
    main()
