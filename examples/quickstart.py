"""
Eight properties of molecules from one network
==============================================

SMILES in, a table of properties with gaps as ``y``: this script cross-validates one
multi-task graph network on the shipped sample of 2,000 molecules, of whose 16,000
possible labels 52 % are missing. Beside it stand the two baselines that a network has
to justify itself against: each task's mean, and RDKit's descriptors in a random forest,
which needs one forest for each task. It takes about a minute on two cores.
"""

import time

import matplotlib
import numpy as np
import pandas as pd
from rdkit import Chem
from rdkit.Chem import Descriptors
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import KFold, cross_validate
from sklearn.pipeline import make_pipeline

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import DMPNN
from skgnn_mtl.inspection import ParityDisplay
from skgnn_mtl.metrics import per_task_scorers

matplotlib.use("Agg")

# %%
# The network
# -----------
# A directed message passing network reads the molecules; one hidden layer and eight
# linear heads answer. NaN in ``y`` means unlabelled: it costs nothing and teaches
# nothing. Targets are standardised task by task inside the estimator, over the training
# rows only, so predictions come back in kelvin, kg/m3 and so on.


def network(max_epochs):
    """Make the pipeline from SMILES to eight predictions."""
    return make_pipeline(
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


# %%
# The baselines
# -------------
# scikit-learn's regressors refuse NaN in ``y``, so each task gets a model of its own,
# fitted on the rows that have its label.


class PerTask(RegressorMixin, BaseEstimator):
    """One clone of a regressor for each column of ``y``."""

    def __init__(self, regressor):
        self.regressor = regressor

    def fit(self, X, y):
        """Fit each clone on the rows that have a label."""
        self.regressors_ = [
            clone(self.regressor).fit(X[label.notna()], label.dropna())
            for _, label in y.items()
        ]
        return self

    def predict(self, X):
        """Predict all columns, shape (n_samples, n_tasks)."""
        return np.column_stack([model.predict(X) for model in self.regressors_])


def forest(n_trees):
    """Make one random forest for each task."""
    return PerTask(
        RandomForestRegressor(n_trees, max_features=1 / 3, n_jobs=2, random_state=0)
    )


def descriptors(smiles):
    """Compute RDKit's 2-D descriptors."""
    rows = [Descriptors.CalcMolDescriptors(Chem.MolFromSmiles(s)) for s in smiles]
    return pd.DataFrame(rows, index=smiles.index).fillna(0).astype(np.float32)


# %%
# One cross-validation for all three
# ----------------------------------
# The folds are the same for every model, and so is the score: the mean absolute error
# of each task over its labelled test rows.


def out_of_fold(name, model, X, y, folds):
    """Cross-validate; return each task's error and the prediction of every row."""
    start = time.perf_counter()
    result = cross_validate(
        model,
        X,
        y,
        cv=folds,
        scoring=per_task_scorers(y.columns, "mae"),
        return_estimator=True,
        return_indices=True,
    )
    errors = {task: -result[f"test_mae_{task}"].mean() for task in y}
    predictions = y.copy()
    for fitted, rows in zip(
        result["estimator"], result["indices"]["test"], strict=True
    ):
        predictions.iloc[rows] = fitted.predict(X.iloc[rows])
    print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)
    return pd.Series(errors, name=name), predictions


def compare(smiles, y, max_epochs, n_trees):
    """Errors of the three models as a table, and the network's predictions."""
    folds = KFold(n_splits=3, shuffle=True, random_state=0)
    features = descriptors(smiles)
    mean, _ = out_of_fold("mean", PerTask(DummyRegressor()), features, y, folds)
    trees, _ = out_of_fold("forest", forest(n_trees), features, y, folds)
    net, predictions = out_of_fold("network", network(max_epochs), smiles, y, folds)
    labels = y.count().rename("labels")
    return pd.concat([labels, mean, trees, net], axis=1), predictions


# %%
# The answers
# -----------
# A table, in the units of each property, and a parity plot of the network's
# predictions for molecules that it was not trained on.


def three_digits(value):
    """Write a number with three significant digits and no exponent."""
    return np.format_float_positional(
        value, 3, unique=False, fractional=False, trim="-"
    )


def to_text(table):
    """Lay the table out for the terminal, the lowest error of each row marked."""
    models = ["mean", "forest", "network"]
    text = table[models].map(three_digits)
    best = table[models].eq(table[models].min(axis=1), axis=0)
    text = text + best.replace({True: " *", False: "  "})
    text.insert(0, "labels", table["labels"])
    return text.to_string()


def main(n_molecules=None, max_epochs=40, n_trees=100, path="quickstart_parity.png"):
    """Run everything; return the table of errors."""
    smiles, y = load_physchem(return_X_y=True)
    smiles, y = smiles[:n_molecules], y[:n_molecules]
    print(
        f"{len(smiles)} molecules, {y.shape[1]} properties, "
        f"{y.isna().to_numpy().mean():.0%} of the labels missing; 3-fold "
        "cross-validation"
    )
    table, predictions = compare(smiles, y, max_epochs, n_trees)
    print("\nMean absolute error, in the unit of each property (* = lowest):")
    print(to_text(table))
    ParityDisplay.from_predictions(y, predictions).figure_.savefig(path, dpi=150)
    print(f"\nParity plot of the network: {path}")
    return table


def check(table):
    """Fail if the network has not learned more than the mean on every task."""
    behind = table.index[table["network"] >= table["mean"]].tolist()
    assert not behind, f"The network does not beat the mean predictor on {behind}."
    print("The network beats the mean predictor on every task.")


if __name__ == "__main__":
    check(main())
