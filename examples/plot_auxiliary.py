"""
Few labels: pretraining and auxiliary tasks
===========================================

Sixty molecules with a measured logP are few for a graph network. Molecules without
labels are not: an encoder is pretrained on two thousand of them (atoms masked, graphs
told apart, functional groups, descriptors), then fine-tuned on the sixty, alone and
beside the same auxiliary tasks. Among the descriptors is a computed logP, a cheap
relative of the target: such tasks are worth looking for. Whether a task helps or
hinders shows in the cosine between its gradient and the target's. It takes less than a
minute on one core.
"""

import matplotlib
import numpy as np
import pandas as pd
import torch

from skgnn_mtl import GNNPretrainer, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN, Pretrained
from skgnn_mtl.metrics import nan_root_mean_squared_error

matplotlib.use("Agg")
import matplotlib.pyplot as plt

AUXILIARY = ["atommasking", "infomax", "motifprediction", "descriptorprediction"]
NAMES = ["masked atoms", "infomax", "functional groups", "descriptors"]

# %%
# An encoder that has seen molecules
# ----------------------------------
# No label is used here, not even of a training molecule. For more molecules than memory
# holds, call ``partial_fit`` chunk by chunk.


def pretrain(X, max_epochs):
    """Pretrain an encoder on graphs alone."""
    pretrainer = GNNPretrainer(
        GIN(48, n_layers=3),
        auxiliary_tasks=AUXILIARY,
        lr=2e-3,
        max_epochs=max_epochs,
        random_state=0,
    ).fit(X)
    losses = pd.DataFrame([record["train_losses"] for record in pretrainer.history_])
    print("Losses of the pretraining, 1 by chance:")
    print(losses.iloc[[0, -1]].round(2).to_string(index=False), flush=True)
    return pretrainer.encoder_


# %%
# Four ways to use sixty labels
# -----------------------------
# All have the same epochs, batches and learning rate. ``Pretrained`` trains a copy, so
# that one encoder serves all fits; its weights move more slowly than the new head.
# RCGrad is one of the weightings that keep auxiliary tasks from pulling against the
# target.


def arms(encoder):
    """Name the encoder, auxiliary tasks and weighting of each way."""
    start = Pretrained(encoder, lr_scale=0.3)
    return {
        "from scratch": (GIN(48, n_layers=3), (), "equal"),
        "fine-tuned": (start, (), "equal"),
        "fine-tuned, auxiliary tasks": (start, AUXILIARY, "equal"),
        "fine-tuned, auxiliary tasks, RCGrad": (start, AUXILIARY, "rcgrad"),
    }


def regressor(encoder, tasks, weighting, max_epochs, seed):
    return MultiTaskGNNRegressor(
        encoder,
        readout="mean",
        head_hidden_dims=(),
        auxiliary_tasks=tasks,
        task_weighting=weighting,
        lr=3e-3,
        batch_size=30,
        max_epochs=max_epochs,
        random_state=seed,
    )


def compare(X, y, encoder, max_epochs, n_splits, n_labels=60):
    """Root mean squared test errors, one row a split."""
    rows = []
    for seed in range(n_splits):
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[:n_labels], order[n_labels:]
        row = {}
        for name, settings in arms(encoder).items():
            model = regressor(*settings, max_epochs, seed).fit(X[train], y[train])
            row[name] = nan_root_mean_squared_error(y[test], model.predict(X[test]))
        rows.append(row)
    return pd.DataFrame(rows)


# %%
# Do the auxiliary tasks agree with the target?
# ---------------------------------------------
# Any function of the Gramian, the inner products of the tasks' gradients, is a task
# weighting. This one gives all tasks the weight 1, and notes what it sees: the target
# is the first row, the auxiliary tasks are the others.


def watch_cosines(X, y, encoder, max_epochs):
    """Cosines between auxiliary tasks and target, one row an epoch."""
    seen = []

    def watching(gramian):
        lengths = gramian.diagonal().sqrt()
        seen.append((gramian[0] / (lengths[0] * lengths))[1:].numpy())
        return torch.ones(len(gramian))

    start = Pretrained(encoder, lr_scale=0.3)
    regressor(start, AUXILIARY, watching, max_epochs, seed=0).fit(X, y)
    by_epoch = np.array(seen).reshape(max_epochs, -1, len(AUXILIARY))
    return pd.DataFrame(by_epoch.mean(axis=1), columns=NAMES)


# %%
# The answers
# -----------
# Each dot on the left is a split; a grey line follows it through the four ways. On the
# right, above zero a step for the auxiliary task is one for the target as well.


def draw(errors, cosines, path):
    """Draw errors and cosines side by side."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4), layout="constrained", width_ratios=(1.15, 1)
    )
    positions = np.arange(errors.shape[1])[::-1]
    for _, row in errors.iterrows():
        left.plot(row, positions, color="0.8", linewidth=1, zorder=1)
    for position, name in zip(positions, errors, strict=True):
        values = errors[name]
        left.scatter(values, np.full(len(values), position), s=30, color="C0", zorder=2)
        left.plot(
            2 * [values.mean()], [position - 0.25, position + 0.25], "k", linewidth=2
        )
    left.set_yticks(positions, [name.replace(", ", ",\n", 1) for name in errors])
    left.set_ylim(-0.5, len(positions) - 0.5)
    left.set(title="Test error of logP, bar: mean", xlabel="root mean squared error")
    for name, values in cosines.rolling(5, center=True, min_periods=1).mean().items():
        right.plot(np.arange(1, len(values) + 1), values, label=name)
    right.axhline(0.0, color="0.35", linewidth=1)
    right.set(
        title="Do the auxiliary tasks agree with the target?",
        xlabel="epoch of fine-tuning (mean of five)",
        ylabel="cosine with the target's gradient",
    )
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.3 * (high - low))  # room for the legend
    right.legend(frameon=False, ncols=2, loc="upper center")
    figure.savefig(path, dpi=120)


def main(
    n_molecules=2000,
    pretraining_epochs=6,
    max_epochs=40,
    n_splits=5,
    path="auxiliary.png",
):
    """Run everything; return the errors and the cosines."""
    smiles, y = load_physchem(return_X_y=True)
    smiles, y = smiles[:n_molecules], y["logP"].to_numpy()[:n_molecules]
    X = SmilesToGraph(features="hu2020").fit_transform(smiles)
    encoder = pretrain(X, pretraining_epochs)
    known = np.flatnonzero(~np.isnan(y))
    X, y = X[known], y[known]
    errors = compare(X, y, encoder, max_epochs, n_splits)
    cosines = watch_cosines(X[:60], y[:60], encoder, max_epochs)
    print(f"\nRMSE of logP (standard deviation {y.std():.2f}), mean over the splits:")
    print(errors.mean().round(3).to_string())
    print("\nMean cosine with the target, first and last quarter:")
    quarter = max(1, max_epochs // 4)
    ends = [cosines[:quarter].mean(), cosines[-quarter:].mean()]
    print(pd.concat(ends, axis=1, keys=["first", "last"]).round(2).to_string())
    draw(errors, cosines, path)
    print(f"\nFigure: {path}")
    return errors, cosines


if __name__ == "__main__":
    main()
