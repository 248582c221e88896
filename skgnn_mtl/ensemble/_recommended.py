"""The parts of the recommended model: a network, descriptors, trees on them."""

from __future__ import annotations

from collections.abc import Sequence
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

from skgnn_mtl.encoders import CGCNN, DMPNN
from skgnn_mtl.estimators import MultiTaskGNNClassifier, MultiTaskGNNRegressor
from skgnn_mtl.featurizers import (
    CifToDescriptors,
    CifToGraph,
    SmilesToDescriptors,
    SmilesToGraph,
)
from skgnn_mtl.featurizers._strings import as_rows
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.readouts import Sum

_CIF_ENDINGS = (".cif", ".mcif", ".cif.gz", ".mcif.gz")
_DESCRIPTORS: dict[str, Any] = {
    "rdkit2d": SmilesToDescriptors,
    "composition": CifToDescriptors,
}


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
        featurizer: Any = CifToGraph(on_error="nan")
    else:
        network = kind(
            DMPNN(width=300),
            readout=Sum(norm=20),
            head_hidden_dims=(300,),
            lr_schedule="warmup_cosine",
        )
        featurizer = SmilesToGraph("chemprop", on_error="nan")
    if crystals and not classifier:
        network.set_params(loss="absolute_error")
    return network if isinstance(X, GraphArray) else make_pipeline(featurizer, network)


def are_crystals(X: Any) -> bool:
    """Tell crystals from molecules.

    Parameters
    ----------
    X : GraphArray, or column of shape (n,)
        Graphs, which are told by their schema; else strings and objects, which are told
        by the first row that is not missing.

    Returns
    -------
    answer : bool
        True for crystals.
    """
    if isinstance(X, GraphArray):
        # Only bonds of molecules are stored as pairs of directions.
        return not X.schema.paired_edges
    rows = as_rows(X, paths=True)
    row = next((row for row in rows if row is not None), "")
    if isinstance(row, str):
        # CIF has many lines, or is the name of a file.
        row = row.strip().lower()
        return "\n" in row or row.startswith("data_") or row.endswith(_CIF_ENDINGS)
    # A path, a pymatgen Structure or ASE Atoms, as CifToGraph reads them. A row of
    # several is of molecules.
    return isinstance(row, PathLike) or hasattr(row, "lattice") or hasattr(row, "cell")


def make_descriptors(descriptors: Any, X: Any, n_jobs: int | None) -> TransformerMixin:
    """Make the transformer from X to a table of numbers.

    Parameters
    ----------
    descriptors : None, "rdkit2d", "composition" or transformer
        The parameter of the estimator; a transformer is cloned.
    X : GraphArray, or column of shape (n,)
        What None chooses by.
    n_jobs : int or None
        Number of processes.

    Returns
    -------
    transformer : transformer
        Not fitted.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is neither a name nor a transformer.
    """
    if descriptors is None:
        descriptors = "composition" if are_crystals(X) else "rdkit2d"
    if isinstance(descriptors, str) and descriptors in _DESCRIPTORS:
        return _DESCRIPTORS[descriptors](on_error="nan", n_jobs=n_jobs)
    if hasattr(descriptors, "transform") and not isinstance(descriptors, type):
        return clone(descriptors)
    kind = ValueError if isinstance(descriptors, str) else TypeError
    raise kind(
        "descriptors must be None, 'rdkit2d', 'composition' or a transformer, but is "
        f"{descriptors!r}."
    )


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
        n_jobs=n_jobs,
    )


def require_labels_of_folds(
    table: np.ndarray, names: Sequence[str], cv: Any, *, classifier: bool
) -> None:
    """Refuse a task with fewer labels than folds for the choice of the learner.

    Parameters
    ----------
    table : ndarray of shape (n, t)
        Labels, or codes of classes; NaN where missing.
    names : sequence of str of length t
        Names of the tasks.
    cv : int or splitter
        Folds; a splitter is not asked.
    classifier : bool
        Whether the folds are stratified by class.

    Raises
    ------
    ValueError
        Naming the task.
    """
    if not isinstance(cv, (int, np.integer)):
        return
    for column, name in zip(table.T, names, strict=True):
        labels = column[~np.isnan(column)]
        counts = np.unique(labels, return_counts=True)[1]
        if classifier and len(counts) == 1:  # always predicted, without a learner
            continue
        if (counts.max(initial=0) if classifier else len(labels)) < cv:
            raise ValueError(
                f"Task {name!r} has {len(labels)} label(s) in rows with descriptors, "
                f"too few to choose its learner by cv={cv} folds. Lower cv, pass a "
                "learner, or drop the task."
            )


def negative_brier(model: Any, X: Any, y: Any) -> float:
    """Mean squared error of the probabilities, negated; summed over several classes."""
    truth = np.asarray(y)[:, None] == model.classes_
    squares = (model.predict_proba(X) - truth) ** 2
    # Once of two classes, because their errors are opposite.
    return -float(np.mean(squares[:, int(squares.shape[1] == 2) :].sum(axis=1)))
