"""Methods that learn scarce targets with the help of other properties, compared."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.stats import wilcoxon
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing

from skgnn_mtl._warn import warnings_once
from skgnn_mtl.metrics._tables import find_task

from ._label_presence import LabelPresenceKFold
from ._single_task import as_frames, check_seeds
from ._transfer_methods import (
    METHODS,
    SourceModels,
    TransferBudget,
    TransferMethod,
    TransferProblem,
    fit_method,
    takes_all_targets,
)

_CELL = ["target", "size", "fold", "seed"]


@dataclass(frozen=True)
class TransferComparison:
    """Errors of several methods on scarce targets.

    Parameters
    ----------
    errors : DataFrame of shape (n_results, 14)
        One row per method, target, size, fold and seed, with the columns

        * ``method``, ``target``, ``size`` (requested labels, as text, or "all"),
          ``fold``, ``seed``;
        * ``rmse`` in units of the target, and ``error``, the same in standard
          deviations of all training labels of the fold;
        * ``n_train`` and ``n_test``, numbers of labels;
        * ``trained_parameters`` for the target, and ``parameters`` that a prediction
          needs;
        * ``seconds`` of the training on the target, ``seconds_to_best`` until its final
          weights (those of the best epoch with ``early_stopping``), and
          ``source_seconds`` of the source model, which all targets and sizes share. The
          times of one fit for all targets are repeated in each row.

    See Also
    --------
    compare_transfer : Makes this object.
    skgnn_mtl.inspection.TransferComparisonDisplay : Draws it.

    Examples
    --------
    >>> import pandas as pd
    >>> from skgnn_mtl.model_selection import TransferComparison
    >>> errors = pd.DataFrame({
    ...     "method": ["single-task"] * 3 + ["addition"] * 3, "target": "dipole",
    ...     "size": "50", "fold": [0, 1, 2] * 2, "seed": 0,
    ...     "error": [1.0, 1.0, 1.0, 0.8, 0.9, 1.0],
    ... })
    >>> TransferComparison(errors).summary()[["error", "change", "wins"]]
                               error  change      wins
    method   target size
    addition dipole 50          0.9   -10.0  0.666667
    """

    errors: pd.DataFrame

    def paired(self, to: str = "single-task") -> pd.DataFrame:
        """Pair each error with that of one method on the same labels.

        Parameters
        ----------
        to : str, default="single-task"
            The method to compare with.

        Returns
        -------
        pairs : DataFrame
            Columns ``method``, ``target``, ``size``, ``fold``, ``seed``, ``error``,
            ``reference`` and ``change``, the relative change in percent. The method is
            better than the reference below 0. Pairs with a missing error are left out.

        Raises
        ------
        ValueError
            If the table does not have the method.
        """
        errors = self.errors.astype({"size": str})
        methods = list(errors["method"].unique())
        if to not in methods:
            raise ValueError(f"to must be one of the methods {methods}, got {to!r}.")
        reference = errors[errors["method"] == to].set_index(_CELL)["error"]
        pairs = errors.loc[errors["method"] != to, ["method", *_CELL, "error"]]
        pairs = pairs.join(reference.rename("reference"), on=_CELL).dropna()
        pairs["change"] = 100 * (pairs["error"] / pairs["reference"] - 1)
        return pairs.reset_index(drop=True)

    def summary(
        self,
        to: str = "single-task",
        *,
        by: Sequence[str] = ("method", "target", "size"),
    ) -> pd.DataFrame:
        """Compare each method with one of them, over folds and seeds.

        Parameters
        ----------
        to : str, default="single-task"
            The method to compare with.
        by : sequence of str, default=("method", "target", "size")
            Columns that define a row of the table. Rows average over folds, seeds and
            the columns that are not named.

        Returns
        -------
        table : DataFrame
            Means of ``error``, ``reference`` and relative ``change`` in percent (below
            0 the method is better), its standard deviation ``sd``, the share of pairs
            in which the method has the smaller error (``wins``), the number of
            ``pairs``, and ``p_value`` of Wilcoxon's signed-rank test of their
            differences.

        Raises
        ------
        ValueError
            If the table does not have the method.

        Notes
        -----
        Folds share training molecules and targets are related. The pairs are therefore
        not independent, and a p-value is an orientation, not a proof.
        """
        groups = self.paired(to).groupby(list(by), sort=False)
        table = groups[["error", "reference", "change"]].mean()
        table["sd"] = groups["change"].std(ddof=1)
        table["wins"] = groups["change"].apply(lambda change: (change < 0).mean())
        table["pairs"] = groups.size()
        table["p_value"] = [_p_value(pairs) for _, pairs in groups]
        return table

    def learning_curves(self) -> pd.DataFrame:
        """Average each method's errors by the number of labels.

        Returns
        -------
        curves : DataFrame
            One row per method, target and size: mean ``n_train``, mean ``error``, its
            standard deviation ``sd`` over folds and seeds, in the order of ``n_train``.
        """
        errors = self.errors.astype({"size": str}).dropna(subset="error")
        groups = errors.groupby(["method", "target", "size"], sort=False)
        curves = groups[["n_train", "error"]].mean()
        curves["sd"] = groups["error"].std(ddof=1)
        return curves.reset_index().sort_values("n_train", kind="stable")


def _p_value(pairs: pd.DataFrame) -> float:
    difference = (pairs["error"] - pairs["reference"]).to_numpy()
    return float(wilcoxon(difference).pvalue) if any(difference) else 1.0


def compare_transfer(
    X: Any,
    y: Any,
    *,
    sources: Sequence[str],
    targets: Sequence[str],
    sizes: Sequence[int | None] = (50, 100, 200, None),
    cv: Any = None,
    groups: Any = None,
    methods: Sequence[str] | Mapping[str, str | TransferMethod] = tuple(METHODS),
    encoder: Any = "dmpnn",
    parameters: Mapping[str, Any] | None = None,
    gate_parameters: Mapping[str, Any] | None = None,
    source_steps: int = 2000,
    target_steps: int = 1000,
    random_states: Sequence[int] = (0,),
    cache: str | os.PathLike[str] | None = None,
    n_jobs: int | None = None,
    verbose: int = 0,
) -> TransferComparison:
    """Compare methods that learn scarce targets with the help of other properties.

    Each fold splits molecules for all properties at once, so that the labels of test
    molecules are hidden, those of sources, too. ``sizes`` limits the training labels of
    the targets. Labels are drawn once per seed, and a smaller set is part of a larger
    one. All methods get the same labels. The methods by name:

    * "single-task": a network on the target alone;
    * "hard-sharing": one network with a linear head for each source and target;
    * "linear-probe": ridge regression on the embeddings of a network trained on the
      sources; leave-one-out errors of the training rows choose its penalty;
    * "source-predictions": the same on the predictions of that network;
    * "fine-tuning": the encoder of that network, trained further on the target;
    * "adapters": small maps beside the frozen linear maps of that encoder, and a head;
    * "gate": :class:`~skgnn_mtl.GATERegressor` on all sources and targets;
    * "addition": the same on the sources, then
      :meth:`~skgnn_mtl.GATERegressor.add_task`;
    * "addition-unlabelled": the same, with up to 500 further training molecules without
      a label of the target.

    All networks have the same encoder and training parameters. A training on the
    sources has ``source_steps`` steps, one on a target has ``target_steps``, and one on
    both has their sum. All are rounded up to whole epochs.

    Parameters
    ----------
    X : GraphArray or array-like of shape (n,)
        Molecules, or a numeric table of shape (n, n_features).
    y : DataFrame or array-like of shape (n, t)
        Labels, NaN where missing. Columns of an array are ``task_0``, ``task_1``, ...
    sources, targets : sequence of str, int or other label
        Columns of y with the sources, and with the targets.
    sizes : sequence of int or None, default=(50, 100, 200, None)
        Numbers of training labels per target; None means all. A target with fewer
        labels in a fold is left out at this size.
    cv : int, splitter or iterable, default=None
        Folds; None means ``LabelPresenceKFold(4, random_state=0)``. For scaffolds, pass
        ``GroupKFold`` and ``groups``.
    groups : array-like of shape (n,), optional
        Groups of the rows, for the splitter.
    methods : sequence of str or dict, default=all of the above
        Names, or a dict from your own names to methods. A method is one of the names
        above, or a function of a :class:`TransferProblem` with a single target that
        returns an object with ``predict``.
    encoder : str or GraphEncoder, default="dmpnn"
        Encoder of all networks.
    parameters : dict, optional
        Training parameters of all networks, by default those of GATE on the CPU: a
        learning rate of 1e-3, batches of 256, and so on.
    gate_parameters : dict, optional
        Parameters of GATE only, such as ``latent_dim``.
    source_steps, target_steps : int, default=2000, 1000
        Numbers of training steps.
    random_states : sequence of int, default=(0,)
        Seeds of the networks and of the training labels.
    cache : path-like, optional
        Folder that keeps source models for the next call with the same data, folds and
        parameters.
    n_jobs : int, optional
        Number of folds and seeds in parallel.
    verbose : int, default=0
        Verbosity of joblib.

    Returns
    -------
    comparison : TransferComparison
        A table of all errors, with its summaries.

    Raises
    ------
    ValueError
        If a column or a method is unknown, if a column is both source and target, or if
        a source does not have a label in the training rows of a fold.

    See Also
    --------
    TransferProblem : One target, its labels and its sources.
    TransferComparison : Errors of all methods.
    skgnn_mtl.inspection.TransferComparisonDisplay : Draws the result.

    References
    ----------
    .. [1] S. M. Ko et al., "Geometrically Aligned Transfer Encoder for Inductive
       Transfer in Regression Tasks", ICLR 2024, arXiv:2310.06369.
    .. [2] S. Yim et al., "Task Addition in Multi-Task Learning by Geometrical
       Alignment", arXiv:2409.16645.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.encoders import GIN
    >>> from skgnn_mtl.model_selection import compare_transfer
    >>> X = np.random.default_rng(0).normal(size=(80, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1], X[:, 0] - X[:, 1]])
    >>> comparison = compare_transfer(
    ...     X, y, sources=["task_0", "task_1"], targets=["task_2"], sizes=(20, None),
    ...     methods=["single-task", "linear-probe"], encoder=GIN(width=8),
    ...     source_steps=5, target_steps=5,
    ... )
    >>> comparison.errors.shape  # 2 methods, 2 sizes, 4 folds
    (16, 14)
    """
    # Without bounds, because ridge regressions need numbers.
    table, _ = as_frames(X, y, None)
    sources, targets = _check_tasks(table, sources, targets)
    functions = _check_methods(methods)
    _check_sizes(sizes)
    check_seeds(random_states)
    for name, steps in (("source_steps", source_steps), ("target_steps", target_steps)):
        if not steps >= 1:
            raise ValueError(f"{name} must be at least 1, got {steps!r}.")
    budget = TransferBudget(
        encoder,
        dict(parameters or {}),
        dict(gate_parameters or {}),
        source_steps,
        target_steps,
    )
    cv = LabelPresenceKFold(4, random_state=0) if cv is None else check_cv(cv)
    folds = list(enumerate(cv.split(X, table[sources + targets], groups)))
    folder = None if cache is None else Path(cache)
    jobs = [
        delayed(_errors)(
            X,
            table,
            sources,
            targets,
            sizes,
            functions,
            budget,
            fold,
            rows,
            seed,
            folder,
        )
        for (fold, rows), seed in product(folds, random_states)
    ]
    with warnings_once():
        parts = Parallel(n_jobs=n_jobs, verbose=verbose)(jobs)
    errors = pd.DataFrame([row for part in parts for row in part])
    if errors.empty:
        raise ValueError(
            f"No target has enough training labels for sizes={sizes!r}. The folds "
            f"share {table[targets].count().to_dict()} labels."
        )
    return TransferComparison(errors)


def _check_tasks(
    table: pd.DataFrame, sources: Sequence[str], targets: Sequence[str]
) -> tuple[list[str], list[str]]:
    for name, columns in (("sources", sources), ("targets", targets)):
        if isinstance(columns, str) or not len(columns):
            raise ValueError(f"{name} must be a list of columns of y, got {columns!r}.")
        unknown = [c for c in columns if find_task(c, list(table.columns)) is None]
        if unknown:
            raise ValueError(
                f"{name} has {unknown}, but the columns of y are {list(table.columns)}."
            )
    # The table has names only, where y may have labels of any type.
    names = list(table.columns)
    sources, targets = (
        [names[find_task(column, names) or 0] for column in columns]
        for columns in (sources, targets)
    )
    both = [*sources, *targets]
    if len(set(both)) < len(both):
        raise ValueError(
            "Each column must occur once, as a source or as a target; got "
            f"sources={list(sources)} and targets={list(targets)}."
        )
    return sources, targets


def _check_methods(
    methods: str | Sequence[str] | Mapping[str, str | TransferMethod],
) -> dict[str, TransferMethod]:
    listed = [methods] if isinstance(methods, str) else methods
    named: Mapping[str, Any] = (
        listed if isinstance(listed, Mapping) else {m: m for m in listed}
    )
    unknown = [m for m in named.values() if not callable(m) and m not in METHODS]
    if unknown or not named:
        raise ValueError(
            f"methods must be names of {list(METHODS)}, or a dict from your own names "
            f"to these or to functions; got {unknown or methods!r}."
        )
    return {name: m if callable(m) else METHODS[m] for name, m in named.items()}


def _check_sizes(sizes: Any) -> None:
    is_list = isinstance(sizes, (list, tuple, np.ndarray))
    counts = [size for size in sizes if size is not None] if is_list else []
    wrong = [n for n in counts if not isinstance(n, Integral) or int(n) < 2]
    if wrong or not is_list or not 0 < len(set(sizes)) == len(sizes):
        raise ValueError(
            "sizes must list numbers of labels of at least 2, or None for all, each "
            f"once; got {sizes!r}."
        )


def _errors(
    X: Any,
    table: pd.DataFrame,
    sources: list[str],
    targets: list[str],
    sizes: Sequence[int | None],
    functions: dict[str, TransferMethod],
    budget: TransferBudget,
    fold: int,
    rows: tuple[np.ndarray, np.ndarray],
    seed: int,
    folder: Path | None,
) -> list[dict[str, Any]]:
    """Fit all methods on the training rows of one fold, and list their test errors."""
    train, test = rows
    y, truth = table.iloc[train], table.iloc[test]
    unlabelled = [name for name in sources if not y[name].notna().any()]
    if unlabelled:
        raise ValueError(
            f"Sources {unlabelled} have no label in the training rows of fold {fold}; "
            "remove them, or choose another split."
        )
    X_train, X_test = (_safe_indexing(X, part) for part in rows)
    order = {name: _labelled(y[name], seed) for name in targets}
    models = SourceModels(folder)
    records = []
    for size in sizes:
        chosen = [name for name in targets if len(order[name]) >= max(size or 0, 2)]
        cut = _cut(y, order, size)
        for method, function in functions.items():
            together = takes_all_targets(function)
            parts = [chosen] if together else [[name] for name in chosen]
            for part in filter(None, parts):
                problem = TransferProblem(
                    X_train, cut[sources + part], sources, part, budget, seed, models
                )
                model, seconds = fit_method(function, problem)
                predictions = np.asarray(model.predict(X_test))
                predictions = predictions.reshape(len(test), len(part))
                records += [
                    {
                        "method": method,
                        "target": name,
                        "size": "all" if size is None else str(size),
                        "fold": fold,
                        "seed": seed,
                        **_rmse(truth[name], predictions[:, k], y[name]),
                        "n_train": int(cut[name].count()),
                        "n_test": int(truth[name].count()),
                        "trained_parameters": model.trained_parameters,
                        "parameters": model.parameters,
                        "seconds": seconds,
                        "seconds_to_best": model.seconds_to_best,
                        "source_seconds": model.source_seconds,
                    }
                    for k, name in enumerate(part)
                ]
    return records


def _labelled(labels: pd.Series, seed: int) -> np.ndarray:
    """Draw an order of the labelled rows of a target, which depends on its name."""
    rng = np.random.default_rng([seed, *str(labels.name).encode()])
    return rng.permutation(np.flatnonzero(labels.notna()))


def _cut(
    y: pd.DataFrame, order: dict[str, np.ndarray], size: int | None
) -> pd.DataFrame:
    """Keep the first ``size`` labels of each target, in the order of its rows."""
    cut = y.copy()
    for name, rows in order.items():
        cut.iloc[rows[size:] if size else rows[:0], cut.columns.get_loc(name)] = np.nan
    return cut


def _rmse(
    truth: pd.Series, prediction: np.ndarray, labels: pd.Series
) -> dict[str, float]:
    """Compute the error in units of a target, and in standard deviations of labels."""
    residuals = (truth - prediction).dropna()
    # NaN, because a fold may be without labels of a target.
    rmse = float(np.sqrt(np.mean(residuals**2))) if len(residuals) else np.nan
    return {"rmse": rmse, "error": rmse / float(labels.std(ddof=0) or 1.0)}
