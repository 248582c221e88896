"""Errors of models, compared in pairs, task by task."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats


@dataclass(frozen=True)
class ModelComparison:
    """Errors of some models on the same folds.

    Parameters
    ----------
    scores : DataFrame of shape (n_models * n_folds * n_tasks, 9)
        One row per model, repeat, fold and task, with the columns ``model``,
        ``repeat``, ``fold``, ``task``, ``error``, ``n_train`` and ``n_test`` (labels
        of the task), ``fit_seconds`` and ``predict_seconds`` of the model in the fold.
    metric : {"rmse", "mae", "r2", "roc_auc", "average_precision"}
        Kind of ``error``: in the unit of the task for "rmse" and "mae", one minus the
        score for the others.

    See Also
    --------
    compare_models : Makes this object.
    skgnn_mtl.inspection.ModelComparisonDisplay : Draws it.

    References
    ----------
    .. [1] C. Nadeau, Y. Bengio, "Inference for the Generalization Error", Machine
       Learning 52, 239 (2003).
    .. [2] S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
       Scandinavian Journal of Statistics 6, 65 (1979).

    Examples
    --------
    >>> import pandas as pd
    >>> from skgnn_mtl.model_selection import ModelComparison
    >>> scores = pd.DataFrame({
    ...     "model": ["a"] * 3 + ["b"] * 3, "repeat": 0, "fold": [0, 1, 2] * 2,
    ...     "task": "Tb", "error": [1.0, 1.2, 1.1, 2.0, 2.3, 2.0], "n_train": 20,
    ...     "n_test": 10, "fit_seconds": 1.0, "predict_seconds": 0.1,
    ... })
    >>> table = ModelComparison(scores, "rmse").differences()
    >>> table[["difference", "p"]].round(3).to_numpy()
    array([[-1.   ,  0.008]])
    """

    scores: pd.DataFrame
    metric: str

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(self.scores["model"].unique())

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in order."""
        return list(self.scores["task"].unique())

    def summary(self) -> pd.DataFrame:
        """Average errors and times of each model.

        Returns
        -------
        table : DataFrame
            One row per model. The columns are the mean error of each task over folds
            and repeats, ``mean_ratio`` (geometric mean over tasks of the error divided
            by that of the best model of the task), and mean ``fit_seconds`` and
            ``predict_seconds`` of a fold.
        """
        errors = self.scores.pivot_table(
            index="model", columns="task", values="error", sort=False
        ).reindex(index=self.models, columns=self.tasks)
        best = errors.min()
        # A task that the best model predicts without error has no ratios.
        ratios = np.log(errors[best.index[best > 0]] / best[best > 0])
        errors["mean_ratio"] = np.exp(ratios.mean(axis=1))
        times = self.scores.drop_duplicates(["model", "repeat", "fold"])
        seconds = times.groupby("model")[["fit_seconds", "predict_seconds"]].mean()
        table = errors.join(seconds)
        table.columns.name = None
        return table

    def differences(self, reference: str | None = None) -> pd.DataFrame:
        r"""Test the differences of errors of pairs of models, task by task.

        With the differences :math:`d_j` of a pair on :math:`J` folds, the corrected
        resampled t-test (Nadeau and Bengio 2003) has the statistic

        .. math::
            t = \frac{\bar d}
                {\sqrt{\bigl(\frac{1}{J} + \frac{n_\text{test}}{n_\text{train}}\bigr)
                 s_d^2}}

        with :math:`J - 1` degrees of freedom. The second term is there because the
        training rows of folds overlap, so that their errors depend on each other.

        Parameters
        ----------
        reference : str, optional
            Name of a model; only its pairs with the others are tested, and it is
            ``model_b``. By default all pairs are tested.

        Returns
        -------
        table : DataFrame
            One row per task and pair: ``task``, ``model_a``, ``model_b``, mean
            ``difference`` of the errors (model_a is better below 0), ``ratio`` of the
            mean errors, ``standard_error`` of the difference, ``t``, two-sided ``p``,
            ``p_adjusted`` by the procedure of Holm over all rows of the table,
            and ``n_folds``. NaN where a task has fewer than two folds.

        Raises
        ------
        ValueError
            If the reference is not among the models.
        """
        cells = self.scores.set_index(["task", "repeat", "fold", "model"])
        wide = cells[["error", "n_test", "n_train"]].unstack("model")
        rows = []
        for task in self.tasks:
            folds = wide.loc[task]
            for a, b in self._pairs(reference):
                # Without the folds in which one of them, or the task, has no error.
                pair = folds["error"][[a, b]].dropna()
                counts = folds.loc[pair.index].xs(a, axis=1, level="model").mean()
                overlap = counts["n_test"] / counts["n_train"]
                rows.append((task, a, b, *_paired_test(pair.to_numpy(), overlap)))
        table = pd.DataFrame(rows, columns=["task", "model_a", "model_b", *_COLUMNS])
        table.insert(table.columns.get_loc("p") + 1, "p_adjusted", holm(table["p"]))
        return table

    def _pairs(self, reference: str | None) -> list[tuple[str, str]]:
        if reference is None:
            return list(combinations(self.models, 2))
        if reference not in self.models:
            raise ValueError(
                f"reference must be one of the models {self.models}, but is "
                f"{reference!r}."
            )
        return [(model, reference) for model in self.models if model != reference]


_COLUMNS = ("difference", "ratio", "standard_error", "t", "p", "n_folds")


def _paired_test(
    pair: np.ndarray, overlap: float
) -> tuple[float, float, float, float, float, int]:
    """Corrected resampled t-test of errors (J, 2) of two models."""
    n = len(pair)
    if n == 0:
        return np.nan, np.nan, np.nan, np.nan, np.nan, 0
    a, b = pair.mean(axis=0)
    ratio = a / b if b != 0 else np.nan
    if n == 1:
        return a - b, ratio, np.nan, np.nan, np.nan, n
    changes = pair[:, 0] - pair[:, 1]
    error = np.sqrt((1 / n + overlap) * changes.var(ddof=1))
    # Equal predictions are no difference; one without spread is beyond doubt.
    t = 0.0 if not changes.any() else np.inf * np.sign(a - b)
    t = changes.mean() / error if error > 0 else t
    return a - b, ratio, error, t, 2 * stats.t.sf(abs(t), n - 1), n


def holm(p_values: Any) -> np.ndarray:
    """Adjust p-values for their number by the step-down procedure of Holm.

    Parameters
    ----------
    p_values : array-like of shape (k,)
        The p-values; NaN is left out and stays.

    Returns
    -------
    adjusted : ndarray of shape (k,)
        Rejecting those below a level keeps the chance of any false rejection below
        this level.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN is sorted to the end
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * p[order]), 1.0)
    return adjusted
