"""Trees of scikit-learn out of a file, which a prediction may follow safely."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.tree._tree import Tree


def check_trees(value: Any) -> None:
    """Check all trees inside of an estimator.

    Compiled code follows the numbers of children and features without looking, so that
    wrong ones would read memory of something else. In a tree of scikit-learn children
    follow their parent.

    Parameters
    ----------
    value : object
        An estimator, or what an estimator consists of.

    Raises
    ------
    ValueError
        If a tree has a child or a feature that does not exist.
    """
    _walk(value, None, set())


def _walk(value: Any, n_features: int | None, done: set[int]) -> None:
    if id(value) in done or value is None or isinstance(value, (str, bytes, float)):
        return
    done.add(id(value))
    if isinstance(value, Tree):
        inner = value.children_left >= 0
        ends = (value.children_left[inner], value.children_right[inner])
        width = value.n_features
        if n_features is not None and n_features != width:
            raise ValueError(
                f"A tree of {width} features is in a model of {n_features}."
            )
        _check(inner, ends, value.feature[inner], width)
    elif isinstance(value, TreePredictor):
        nodes = value.nodes
        inner = nodes["is_leaf"] == 0
        parts = nodes[inner]
        ends = (parts["left"].astype(np.int64), parts["right"].astype(np.int64))
        _check(inner, ends, parts["feature_idx"], n_features or 0)
        sets = parts["bitset_idx"][parts["is_categorical"] != 0]
        if (sets >= len(value.raw_left_cat_bitsets)).any():
            raise ValueError("A tree has a set of categories that does not exist.")
    elif isinstance(value, dict):
        for part in value.values():
            _walk(part, n_features, done)
    elif isinstance(value, (list, tuple)):
        for part in value:
            _walk(part, n_features, done)
    elif isinstance(value, np.ndarray):
        if value.dtype == object:
            _walk(value.ravel().tolist(), n_features, done)
    elif hasattr(value, "__dict__"):
        _walk(vars(value), getattr(value, "n_features_in_", n_features), done)


def _check(
    inner: np.ndarray,
    ends: tuple[np.ndarray, np.ndarray],
    features: np.ndarray,
    n_features: int,
) -> None:
    at = np.flatnonzero(inner)
    children = all(((end > at) & (end < len(inner))).all() for end in ends)
    if not children or not ((features >= 0) & (features < n_features)).all():
        raise ValueError("A tree has a child or a feature that does not exist.")
