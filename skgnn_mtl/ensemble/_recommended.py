"""The parts of the recommended model: a network, descriptors, trees on them."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np
from sklearn.base import TransformerMixin, clone
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline, make_pipeline

from skgnn_mtl import featurizers
from skgnn_mtl.encoders import CGCNN, DMPNN
from skgnn_mtl.estimators import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.readouts import Sum


def default_network(X: Any, *, classifier: bool) -> Any:
    """Make the network for molecules or crystals.

    Parameters
    ----------
    X : GraphArray, or strings of shape (n,)
        Graphs, SMILES, or CIF texts and paths.
    classifier : bool
        Whether labels are classes.

    Returns
    -------
    network : estimator
        With its featurizer in front, if X holds strings.
    """
    kind = MultiTaskGNNClassifier if classifier else MultiTaskGNNRegressor
    crystals = are_crystals(X)
    if crystals:
        network = kind(CGCNN(), head_hidden_dims=(64,), lr_schedule="warmup_cosine")
        # NaN for a text that cannot be read, because one row must not end the fit.
        featurizer: Any = featurizers.CifToGraph(on_error="nan")
    else:
        network = kind(
            DMPNN(width=300),
            readout=Sum(norm=20),
            head_hidden_dims=(300,),
            lr_schedule="warmup_cosine",
        )
        featurizer = featurizers.SmilesToGraph("chemprop", on_error="nan")
    if crystals and not classifier:
        network.set_params(loss="absolute_error")
    return network if isinstance(X, GraphArray) else make_pipeline(featurizer, network)


def are_crystals(X: Any) -> bool:
    """Tell crystals from molecules, by the first row that is there."""
    if isinstance(X, GraphArray):
        # Only bonds of molecules are stored as pairs of directions.
        return not X.schema.paired_edges
    rows = X.to_numpy() if hasattr(X, "to_numpy") else X
    for row in np.asarray(rows, dtype=object).ravel()[:1000]:
        if isinstance(row, PathLike):
            return True
        if isinstance(row, str) and row.strip():
            # CIF has many lines, or is the path of a file.
            return "\n" in row or row.strip().lower().endswith((".cif", ".cif.gz"))
    return False


def make_descriptors(descriptors: Any, n_jobs: int | None) -> TransformerMixin:
    """Make the transformer from X to a table of numbers.

    Parameters
    ----------
    descriptors : "rdkit2d", "composition" or transformer
        The parameter of the estimator; a transformer is cloned.
    n_jobs : int or None
        Number of processes.

    Returns
    -------
    transformer : transformer
        Not fitted.

    Raises
    ------
    ValueError
        If the name is unknown, or this version does not have the descriptors.
    """
    if not isinstance(descriptors, str):
        if not hasattr(descriptors, "transform"):
            raise TypeError(
                "descriptors must be 'rdkit2d', 'composition' or a transformer, but is "
                f"{descriptors!r}."
            )
        return clone(descriptors)
    if descriptors == "rdkit2d":
        return featurizers.SmilesToDescriptors(on_error="nan", n_jobs=n_jobs)
    if descriptors != "composition":
        raise ValueError(
            "descriptors must be 'rdkit2d', 'composition' or a transformer, but is "
            f"{descriptors!r}."
        )
    # The one place to connect descriptors of crystals, once there are some.
    kind = getattr(featurizers, "CifToDescriptors", None)
    if kind is None:
        raise ValueError(
            "descriptors='composition' is not part of this version; pass a transformer "
            "from crystals to a table of numbers."
        )
    return kind(on_error="nan", n_jobs=n_jobs)


def default_learner(
    *, classifier: bool, cv: Any, groups: Any, random_state: int | None, n_jobs: Any
) -> GridSearchCV:
    """Make the better of extra trees and gradient boosting, by errors out of fold.

    Parameters
    ----------
    classifier : bool
        Whether labels are classes.
    cv : int or splitter
        Folds of the choice; a number stands for shuffled ones.
    groups : array-like or None
        Whether rows have groups, which folds keep together.
    random_state : int or None
        Seed of folds and trees.
    n_jobs : int or None
        Number of fits in parallel.

    Returns
    -------
    learner : GridSearchCV
        Of one target.
    """
    if classifier:
        trees: Any = ExtraTreesClassifier(random_state=random_state)
        boosting: Any = HistGradientBoostingClassifier(random_state=random_state)
        grouped, plain = StratifiedGroupKFold, StratifiedKFold
        scoring: Any = negative_brier
    else:
        trees = ExtraTreesRegressor(random_state=random_state)
        boosting = HistGradientBoostingRegressor(random_state=random_state)
        grouped, plain = GroupKFold, KFold
        scoring = "neg_mean_squared_error"
    if isinstance(cv, (int, np.integer)):
        splitter = plain if groups is None else grouped
        # Shuffled, because tables are often sorted by a property.
        cv = splitter(int(cv), shuffle=True, random_state=random_state)
    return GridSearchCV(
        # A pipeline, because the search replaces the whole model as a step.
        Pipeline([("model", trees)]),
        {"model": [trees, boosting]},
        scoring=scoring,
        cv=cv,
    )


def negative_brier(model: Any, X: Any, y: Any) -> float:
    """Mean squared error of the probability of the last class, negated."""
    truth = np.asarray(y) == model.classes_[-1]
    return -float(np.mean((model.predict_proba(X)[:, -1] - truth) ** 2))
