"""Groups of tasks that help each other, found by trial fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.linear_model import RidgeCV
from sklearn.utils import check_random_state

from skgnn_mtl._overlap import label_overlap
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl.metrics._tables import as_cells

from ._compare_models import compare_models, read_problem
from ._fitting import as_rows, without_tasks
from ._folds import table_folds

# Penalties of the regression, of which leave-one-out errors choose one.
_PENALTIES = np.logspace(-2, 3, 26)
_N_FOLDS = 5


@dataclass(frozen=True)
class TaskGroups:
    """Groups of tasks, and the trial fits that speak for them.

    Parameters
    ----------
    groups : list of list of str
        Names of the tasks of each group; each task is in one.
    effects : DataFrame of shape (t, t)
        Estimated change, in percent, of the error of the task of a row if the task of a
        column is learned beside it; it helps below 0. The diagonal is 0.
    overlap : DataFrame of shape (t, t)
        Share of the rows with both labels among those with either.
    trials : DataFrame
        One row per trial fit and task: ``trial``, ``task``, ``error``, and the tasks of
        the fit as a tuple, ``learned``.
    errors : DataFrame of shape (t, 3)
        Errors of each task on rows that no trial fit has seen, by models of the groups
        (``grouped``), of all tasks (``together``) and of each task (``alone``).
    metric : str
        Kind of the errors.

    See Also
    --------
    suggest_task_groups : Makes this object.
    skgnn_mtl.ensemble.GroupedRegressor : Fits one model for each group.

    Examples
    --------
    >>> import pandas as pd
    >>> from skgnn_mtl.model_selection import TaskGroups
    >>> table, errors = pd.DataFrame(), pd.DataFrame(
    ...     {"grouped": [0.9], "together": [1.0], "alone": [1.2]}, index=["logP"]
    ... )
    >>> TaskGroups([["logP"]], table, table, table, errors, "rmse").changes().round(1)
    together   -10.0
    alone      -25.0
    dtype: float64
    """

    groups: list[list[str]]
    effects: pd.DataFrame
    overlap: pd.DataFrame
    trials: pd.DataFrame
    errors: pd.DataFrame
    metric: str

    def changes(self) -> pd.Series:
        """Compare the errors of the groups with those of the two alternatives.

        Returns
        -------
        changes : Series
            Mean over tasks of the relative change of the error, in percent, against one
            model of all tasks (``together``) and one model per task (``alone``); the
            groups are better below 0.
        """
        others = self.errors[["together", "alone"]]
        return 100 * (1 / others).mul(self.errors["grouped"], axis=0).sub(1).mean()


def suggest_task_groups(
    estimator: Any,
    X: Any,
    y: Any,
    *,
    n_trials: int | None = None,
    groups: Any = None,
    scoring: str | None = None,
    n_jobs: int | None = None,
    random_state: Any = None,
) -> TaskGroups:
    r"""Find groups of tasks that should be learned together.

    Tasks help and hinder each other, and the gradients of tasks tell little about it
    [1]_. Trial fits tell more: the estimator is fitted on each task alone, on all, and
    on random sets of tasks. For each task a ridge regression explains its error by the
    tasks beside it [2]_,

    .. math::
        \frac{e_t(S)}{e_t(\{t\})} - 1 \approx b_t + \sum_{s \in S \setminus t}
            \theta_{ts} .

    The groups are a partition with a small sum of :math:`\theta_{ts}` over all pairs
    within groups, which is found by merging the best pair of groups, and by moving
    single tasks, as long as the sum falls.

    A fifth of the rows is used by no trial. There the models of the groups, of all
    tasks and of single tasks, each fitted on all other rows, are compared.

    Parameters
    ----------
    estimator : estimator or Pipeline
        Model of the whole table; it is cloned. Fewer epochs than those of the final
        model are enough to rank tasks. A dict ``target_transform`` is cut to the tasks
        of each fit.
    X : array-like of shape (n,)
        Inputs of the estimator.
    y : DataFrame or array-like of shape (n, t)
        Labels, NaN where missing. Columns of an array are ``task_0``, ``task_1``, ...
    n_trials : int, default=None
        Number of random sets, each with half of the tasks on average; None means twice
        the number of tasks.
    groups : array-like of shape (n,), optional
        Groups of the rows, which stay on one side of a split.
    scoring : str, default=None
        Error, as in :func:`compare_models`.
    n_jobs : int, optional
        Number of fits in parallel.
    random_state : int, RandomState instance or None, default=None
        Seed of the rows, the sets and the models.

    Returns
    -------
    found : TaskGroups
        Groups, effects, trials and confirmed errors.

    Raises
    ------
    ValueError
        If y has fewer than two tasks, if a task has no label to learn from, or if
        ``n_trials`` is not a positive integer.

    Warns
    -----
    UserWarning
        If a task has fewer labels than the five folds. Its errors may then be NaN, and
        its effects 0.

    See Also
    --------
    skgnn_mtl.ensemble.GroupedRegressor : Fits one model for each group.
    compare_models : Compares the result with others over folds.

    Notes
    -----
    There are t + 1 + ``n_trials`` trial fits, and one for each group, all and single
    task at the end.

    References
    ----------
    .. [1] T. Standley et al., "Which Tasks Should Be Learned Together in Multi-task
       Learning?", ICML 2020.
    .. [2] D. Li, H. L. Nguyen, H. R. Zhang, "Identification of Negative Transfers in
       Multitask Learning Using Surrogate Models", TMLR 2023.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.model_selection import suggest_task_groups
    >>> X = np.random.default_rng(0).normal(size=(60, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 0] + 0.1 * X[:, 1], X[:, 2] ** 2])
    >>> model = MultiTaskGNNRegressor(max_epochs=2)
    >>> found = suggest_task_groups(model, X, y, n_trials=2, random_state=0)
    >>> sorted(task for group in found.groups for task in group)
    ['task_0', 'task_1', 'task_2']
    """
    X, y = as_rows(X), as_rows(y)
    problem = read_problem(X, y, classifier=is_classifier(estimator))
    names = problem.names
    if len(names) < 2:
        raise ValueError(
            f"y must have at least two tasks to group, but has {len(names)}."
        )
    n_trials = 2 * len(names) if n_trials is None else n_trials
    if not isinstance(n_trials, Integral) or n_trials < 1:
        raise ValueError(f"n_trials must be a positive integer, but is {n_trials!r}.")
    columns = pd.DataFrame(as_cells(y, "y").reshape(-1, len(names)), columns=names)
    generator = check_random_state(random_state)
    seed, model_seed = (int(generator.randint(MAX_SEED)) for _ in range(2))
    folds = table_folds(_N_FOLDS, X, y, problem.presence, groups, random_state=seed)
    unseen, valid = folds[0][1], folds[1][1]
    train = np.setdiff1d(folds[0][0], valid)

    fits = _Fits(estimator, X, columns, groups, scoring, model_seed, n_jobs)
    alone, together = [(name,) for name in names], tuple(names)
    sets = [*alone, together, *_random_sets(names, int(n_trials), generator)]
    trials = fits.trials(sets, (train, valid))
    effects = effects_of(trials, names)
    chosen = [[names[t] for t in group] for group in best_partition(effects.to_numpy())]
    rows = np.sort(np.concatenate([train, valid])), unseen
    ways = {"grouped": chosen, "together": [together], "alone": alone}
    confirmed = fits.confirmed(ways, rows)
    shares = label_overlap(~np.isnan(problem.table))
    overlap = pd.DataFrame(shares, names, names)
    kind = scoring or ("roc_auc" if is_classifier(estimator) else "rmse")
    return TaskGroups(chosen, effects, overlap, trials, confirmed, kind)


def effects_of(trials: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Estimate by how many percent each task changes the error of each other one.

    Parameters
    ----------
    trials : DataFrame
        As in :class:`TaskGroups`; each task has a trial of its own.
    names : sequence of str
        Names of the tasks.

    Returns
    -------
    effects : DataFrame of shape (t, t)
        Rows are the tasks whose errors change.
    """
    beside = np.array(
        [[name in tasks for name in names] for tasks in trials["learned"]]
    )
    effects = np.zeros((len(names), len(names)))
    for t, name in enumerate(names):
        own = (trials["task"] == name).to_numpy()
        error, others = trials["error"].to_numpy()[own], beside[own].astype(float)
        reference = error[others.sum(axis=1) == 1].mean()
        known = np.isfinite(error)
        # An error of 0 has no relative change, and one trial tells nothing.
        if known.sum() < 2 or not reference > 0:
            continue
        change = 100 * (error[known] / reference - 1)
        # Its own column, which is constant, has the coefficient 0.
        effects[t] = RidgeCV(_PENALTIES).fit(others[known], change).coef_
    return pd.DataFrame(effects, list(names), list(names))


def best_partition(effects: np.ndarray) -> list[list[int]]:
    """Divide tasks so that the effects within groups have a small sum.

    Parameters
    ----------
    effects : ndarray of shape (t, t)
        Effects of pairs; the diagonal does not matter.

    Returns
    -------
    groups : list of list of int
        Sorted; never worse than one group, and than groups of one.
    """
    pairs = effects.copy()
    np.fill_diagonal(pairs, 0.0)
    n = len(pairs)
    # Two beginnings, because each may end in a partition that no step improves.
    found = [_improved(start, pairs) for start in (np.arange(n), np.zeros(n, int))]
    best = min(found, key=lambda group_of: _within(group_of, pairs))
    return [np.flatnonzero(best == g).tolist() for g in pd.unique(best)]


def _within(group_of: np.ndarray, pairs: np.ndarray) -> float:
    return float(pairs[group_of[:, None] == group_of].sum())


def _improved(group_of: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Merge groups and move tasks as long as the sum falls."""
    while True:
        options = list(_neighbours(group_of))
        best = min(options, key=lambda option: _within(option, pairs))
        if _within(best, pairs) >= _within(group_of, pairs) - 1e-12:
            return group_of
        group_of = best


def _neighbours(group_of: np.ndarray) -> list[np.ndarray]:
    """List the partitions after one merge of two groups, or one move of a task."""
    known = np.unique(group_of)
    free = min(set(range(len(group_of) + 1)) - set(known.tolist()))
    merged = [
        np.where(group_of == b, a, group_of) for a in known for b in known if a < b
    ]
    moved = []
    for t in range(len(group_of)):
        for g in (*known, free):
            option = group_of.copy()
            option[t] = g
            moved.append(option)
    return merged + moved


def _random_sets(
    names: Sequence[str], n_sets: int, generator: np.random.RandomState
) -> list[tuple[str, ...]]:
    """Draw sets of at least two tasks, of half of them on average."""
    sets: list[tuple[str, ...]] = []
    while len(sets) < n_sets:
        chosen = generator.random_sample(len(names)) < 0.5
        if chosen.sum() >= 2:
            sets.append(tuple(name for name, c in zip(names, chosen, strict=True) if c))
    return sets


@dataclass(frozen=True)
class _Fits:
    """Fits of clones of one estimator on some tasks of a table."""

    estimator: Any
    X: Any
    y: pd.DataFrame
    groups: Any
    scoring: str | None
    seed: int
    n_jobs: int | None

    def errors(
        self, sets: Sequence[Sequence[str]], rows: tuple[np.ndarray, np.ndarray]
    ) -> list[pd.Series]:
        """Fit one model for each set of tasks, and give its errors by task."""
        done: list[pd.Series] = Parallel(n_jobs=self.n_jobs)(
            delayed(self._errors)(list(tasks), rows) for tasks in sets
        )
        return done

    def _errors(
        self, tasks: list[str], rows: tuple[np.ndarray, np.ndarray]
    ) -> pd.Series:
        others = [name for name in self.y.columns if name not in tasks]
        comparison = compare_models(
            {"model": without_tasks(self.estimator, others)},
            self.X,
            self.y[tasks],
            cv=[rows],
            groups=self.groups,
            scoring=self.scoring,
            # The same for all sets, because only their tasks should differ.
            random_state=self.seed,
        )
        errors: pd.Series = comparison.scores.set_index("task")["error"]
        return errors

    def trials(
        self, sets: Sequence[tuple[str, ...]], rows: tuple[np.ndarray, np.ndarray]
    ) -> pd.DataFrame:
        """List the errors of all tasks of all sets."""
        found = self.errors(sets, rows)
        return pd.DataFrame(
            [
                {"trial": k, "task": task, "error": error, "learned": tasks}
                for k, (tasks, errors) in enumerate(zip(sets, found, strict=True))
                for task, error in errors.items()
            ]
        )

    def confirmed(
        self,
        ways: Mapping[str, Sequence[Sequence[str]]],
        rows: tuple[np.ndarray, np.ndarray],
    ) -> pd.DataFrame:
        """Compare divisions of the tasks; no set of tasks is fitted twice."""
        sets = list({tuple(tasks): None for way in ways.values() for tasks in way})
        found = dict(zip(sets, self.errors(sets, rows), strict=True))
        return pd.DataFrame(
            {
                name: pd.concat([found[tuple(tasks)] for tasks in way])
                for name, way in ways.items()
            }
        ).reindex(list(self.y.columns))
