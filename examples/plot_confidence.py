"""
How sure is a prediction?
=========================

After ``fit`` a network knows the width of each prediction. Are the widths right? Of
intervals for 90 % nine of ten labels should be inside. Where they are not, a conformal
regressor measures errors on rows that a copy was not trained on, and gives intervals
with the wanted coverage for molecules of the same kind.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import train_test_split

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.ensemble import ConformalRegressor
from skgnn_mtl.metrics import nan_interval_coverage

N_MOLECULES = 700
MAX_EPOCHS = 30

smiles, y = load_physchem(return_X_y=True)
y = y["logP"].dropna()[:N_MOLECULES]
X = SmilesToGraph().fit_transform(smiles[y.index])
X_train, X_test, y_train, y_test = train_test_split(
    X, y.to_numpy(), test_size=0.4, random_state=0
)

# %%
# Two models
# ----------
# The network learns from all training rows. The conformal regressor trains five copies,
# each on four fifths of them, and scales the widths by the errors on the last fifth.

network = MultiTaskGNNRegressor(
    DMPNN(width=64), lr=3e-3, max_epochs=MAX_EPOCHS, random_state=0
).fit(X_train, y_train)
conformal = ConformalRegressor(network, method="cross", normalise="std", random_state=0)
conformal.fit(X_train, y_train)

# %%
# What coverage do they reach?
# ----------------------------

wanted = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
reached = {
    name: [
        nan_interval_coverage(y_test, model.predict_interval(X_test, coverage=c))
        for c in wanted
    ]
    for name, model in {"network": network, "conformal": conformal}.items()
}
for name, shares in reached.items():
    print(name, np.round(shares, 2))

# %%
# The answer
# ----------
# Left: a line below the diagonal means intervals that are too narrow; here both are
# near it. Right: every sixth test molecule with its conformal interval for 90 %.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(11, 4.2), layout="constrained", width_ratios=(1, 1.5)
)
left.plot([0.45, 1], [0.45, 1], color="0.6", linewidth=1)
for name, shares in reached.items():
    left.plot(wanted, shares, "o-", label=name)
left.set(
    title="Share of labels inside of the intervals",
    xlabel="coverage that was asked for",
    ylabel="coverage on the test molecules",
)
left.legend(frameon=False)

mean = conformal.predict(X_test)
intervals = conformal.predict_interval(X_test, coverage=0.9)
shown = np.argsort(mean)[::6]
low, high = intervals[shown].reshape(-1, 2).T
inside = (low <= y_test[shown]) & (y_test[shown] <= high)
places = np.arange(len(shown))
right.vlines(places, low, high, color="#56B4E9", linewidth=3, label="interval, 90 %")
right.plot(places, mean[shown], "_", color="#0072B2", label="prediction")
right.plot(places[inside], y_test[shown][inside], "k.", label="label inside")
right.plot(places[~inside], y_test[shown][~inside], "rX", label="label outside")
right.set(
    title="Test molecules, in the order of their predictions",
    xlabel="molecule",
    ylabel="logP",
)
right.legend(frameon=False, ncols=2)
plt.show()
