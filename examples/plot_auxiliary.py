"""
Sixty labels: pretraining and auxiliary tasks
=============================================

Sixty molecules with a measured logP are few for a graph network. Molecules without
labels are not: an encoder is pretrained on two thousand of them (atoms masked, graphs
told apart, functional groups, descriptors), then fine-tuned on the sixty, alone and
beside the same auxiliary tasks. Among the descriptors is a computed logP, a cheap
relative of the target: such tasks are worth looking for. Whether a task helps or
hinders shows in the cosine between its gradient and the target's.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from skgnn_mtl import GNNPretrainer, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN, Pretrained
from skgnn_mtl.metrics import nan_root_mean_squared_error

N_MOLECULES = 2000
PRETRAINING_EPOCHS = 6
MAX_EPOCHS = 40
N_SPLITS = 4
N_LABELS = 60

smiles, y = load_physchem(return_X_y=True)
smiles, y = smiles[:N_MOLECULES], y["logP"].to_numpy()[:N_MOLECULES]
X = SmilesToGraph(features="hu2020").fit_transform(smiles)

# %%
# An encoder that knows molecules
# -------------------------------
# No label is used here, not even of a training molecule. For more molecules than memory
# holds, call ``partial_fit`` chunk by chunk.

auxiliary = {
    "atommasking": "masked atoms",
    "infomax": "infomax",
    "motifprediction": "functional groups",
    "descriptorprediction": "descriptors",
}
pretrainer = GNNPretrainer(
    GIN(48, n_layers=3),
    auxiliary_tasks=list(auxiliary),
    lr=2e-3,
    max_epochs=PRETRAINING_EPOCHS,
    random_state=0,
).fit(X)
losses = pd.DataFrame([record["train_losses"] for record in pretrainer.history_])
print("Losses of the pretraining, 1 by chance:")
print(losses.iloc[[0, -1]].round(2).to_string(index=False))

# %%
# Four ways to use sixty labels
# -----------------------------
# All have the same epochs, batches and learning rate. ``Pretrained`` trains a copy, so
# that one encoder serves all fits; its weights move more slowly than the new head.
# RCGrad is one of the weightings that keep auxiliary tasks from pulling against the
# target.

start = Pretrained(pretrainer.encoder_, lr_scale=0.3)
ways = {
    "from scratch": (GIN(48, n_layers=3), (), "equal"),
    "fine-tuned": (start, (), "equal"),
    "fine-tuned,\nauxiliary tasks": (start, list(auxiliary), "equal"),
    "fine-tuned,\nauxiliary tasks, RCGrad": (start, list(auxiliary), "rcgrad"),
}


def make(encoder, tasks, weighting, seed):
    return MultiTaskGNNRegressor(
        encoder,
        readout="mean",
        head_hidden_dims=(),
        auxiliary_tasks=tasks,
        task_weighting=weighting,
        lr=3e-3,
        batch_size=30,
        max_epochs=MAX_EPOCHS,
        random_state=seed,
    )


known = np.flatnonzero(~np.isnan(y))
X, y = X[known], y[known]
errors = pd.DataFrame(index=range(N_SPLITS), columns=list(ways), dtype=float)
for seed in range(N_SPLITS):
    order = np.random.default_rng(seed).permutation(len(y))
    train, test = order[:N_LABELS], order[N_LABELS:]
    for name, settings in ways.items():
        model = make(*settings, seed).fit(X[train], y[train])
        error = nan_root_mean_squared_error(y[test], model.predict(X[test]))
        errors.loc[seed, name] = error
print(f"\nRMSE of logP (standard deviation {y.std():.2f}), mean over the splits:")
print(errors.mean().round(3).to_string())

# %%
# Do the auxiliary tasks agree with the target?
# ---------------------------------------------
# Any function of the Gramian, the inner products of the tasks' gradients, is a task
# weighting. This one gives all tasks the weight 1, and notes the cosines: the target is
# the first row, the auxiliary tasks are the others.

seen = []


def watching(gramian):
    lengths = gramian.diagonal().sqrt()
    seen.append((gramian[0] / (lengths[0] * lengths))[1:].numpy())
    return torch.ones(len(gramian))


make(start, list(auxiliary), watching, seed=0).fit(X[:N_LABELS], y[:N_LABELS])
by_epoch = np.array(seen).reshape(MAX_EPOCHS, -1, len(auxiliary)).mean(axis=1)
cosines = pd.DataFrame(by_epoch, columns=list(auxiliary.values()))

# %%
# The answer
# ----------
# Each dot on the left is a split; a grey line follows it through the four ways. On the
# right, above zero a step for the auxiliary task is one for the target as well.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4), layout="constrained", width_ratios=(1.15, 1)
)
places = np.arange(len(ways))[::-1]
for _, row in errors.iterrows():
    left.plot(row, places, color="0.8", linewidth=1, zorder=1)
for place, name in zip(places, errors, strict=True):
    left.scatter(errors[name], np.full(N_SPLITS, place), s=30, color="C0", zorder=2)
    left.plot(2 * [errors[name].mean()], [place - 0.25, place + 0.25], "k", linewidth=2)
left.set_yticks(places, list(errors))
left.set_ylim(-0.5, len(places) - 0.5)
left.set(
    title=f"Test error with {N_LABELS} labels, bar: mean",
    xlabel="root mean squared error of logP (smaller is better)",
)
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
plt.show()
