"""
Eight properties of molecules, three ways
=========================================

SMILES in, a table of properties with gaps as ``y``: this script takes 1,000 molecules
of the shipped sample, of whose 8,000 possible labels 52 % are missing, and predicts a
quarter of them. It compares one multi-task graph network, gradient boosting on RDKit's
descriptors, and a network beside trees in a
:class:`~skgnn_mtl.ensemble.HybridRegressor`. It takes half a minute on two cores.
"""

import time

import matplotlib
import numpy as np
import pandas as pd
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.ensemble import HybridRegressor, PerTaskRegressor
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.inspection import ParityDisplay
from skgnn_mtl.metrics import nan_mean_absolute_error

matplotlib.use("Agg")

# %%
# The models
# ----------
# A directed message passing network reads the molecules; one hidden layer and eight
# linear heads answer. NaN in ``y`` means unlabelled: it costs nothing and teaches
# nothing. Targets are standardised task by task inside the estimator, over the training
# rows only, so predictions come back in kelvin, kg/m3 and so on.
#
# scikit-learn's regressors refuse NaN in ``y``. ``PerTaskRegressor`` fits one of them
# for each task, on the rows that have its label.
#
# The hybrid predicts the mean of a network and of trees on descriptors. Its parts are
# named here to save time; ``HybridRegressor()`` chooses between trees and boosting.


def make_models(max_epochs=40, n_trees=100):
    """Make the models from SMILES to eight predictions, by their names."""
    network = make_pipeline(
        SmilesToGraph(features="chemprop"),
        MultiTaskGNNRegressor(
            DMPNN(width=300),
            head_hidden_dims=(300,),
            loss="absolute_error",
            lr_schedule="warmup_cosine",
            max_epochs=max_epochs,
            random_state=0,
        ),
    )
    descriptors = SmilesToDescriptors(morgan_counts=0)
    boosting = HistGradientBoostingRegressor(max_iter=n_trees, random_state=0)
    trees = ExtraTreesRegressor(n_trees, random_state=0)
    return {
        "mean": PerTaskRegressor(DummyRegressor()),
        "boosting": make_pipeline(descriptors, PerTaskRegressor(boosting)),
        "network": network,
        "hybrid": HybridRegressor(network, trees, descriptors=descriptors),
    }


# %%
# The comparison
# --------------
# All models learn from the same molecules and predict the same others. The score is the
# mean absolute error of each task over its labelled test rows. One split is enough for
# a first look; :func:`~skgnn_mtl.model_selection.compare_models` takes many, and tests
# the differences.


def compare(models, smiles, y):
    """Errors of the models as a table, and the predictions of the last one."""
    train, test = train_test_split(np.arange(len(y)), random_state=0)
    table = y.count().rename("labels").to_frame()
    for name, model in models.items():
        start = time.perf_counter()
        model.fit(smiles.iloc[train], y.iloc[train])
        predictions = model.predict(smiles.iloc[test])
        table[name] = nan_mean_absolute_error(
            y.iloc[test], predictions, multioutput="raw_values"
        )
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return table, y.iloc[test], predictions


# %%
# The answers
# -----------
# A table, in the units of each property, and a parity plot of the hybrid's predictions
# for molecules that it was not trained on.


def three_digits(value):
    """Write a number with three significant digits and no exponent."""
    return np.format_float_positional(
        value, 3, unique=False, fractional=False, trim="-"
    )


def to_text(table):
    """Lay the table out for the terminal, the lowest error of each row marked."""
    errors = table.drop(columns="labels")
    best = errors.eq(errors.min(axis=1), axis=0)
    text = errors.map(three_digits) + best.replace({True: " *", False: "  "})
    return pd.concat([table["labels"], text], axis=1).to_string()


def main(n_molecules=1000, max_epochs=40, n_trees=100, path="quickstart_parity.png"):
    """Run everything; return the table of errors."""
    smiles, y = load_physchem(return_X_y=True)
    smiles, y = smiles[:n_molecules], y[:n_molecules]
    print(
        f"{len(smiles)} molecules, {y.shape[1]} properties, "
        f"{y.isna().to_numpy().mean():.0%} of the labels missing; a quarter held out"
    )
    table, truth, predictions = compare(make_models(max_epochs, n_trees), smiles, y)
    print("\nMean absolute error, in the unit of each property (* = lowest):")
    print(to_text(table))
    ratios = table["hybrid"] / table[["boosting", "network"]].min(axis=1)
    print(
        "\nError of the hybrid over that of the better of boosting and network: "
        f"{np.exp(np.log(ratios).mean()):.2f} (geometric mean over the properties)"
    )
    ParityDisplay.from_predictions(truth, predictions).figure_.savefig(path, dpi=150)
    print(f"Parity plot of the hybrid: {path}")
    return table


def check(table):
    """Fail if the hybrid has not learned more than the mean on every task."""
    behind = table.index[table["hybrid"] >= table["mean"]].tolist()
    assert not behind, f"The hybrid does not beat the mean predictor on {behind}."
    print("The hybrid beats the mean predictor on every task.")


if __name__ == "__main__":
    check(main())
