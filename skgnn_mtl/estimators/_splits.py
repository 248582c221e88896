"""Rows that train, rows that validate, and rows held out for a task weighting."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
from sklearn.model_selection import GroupShuffleSplit
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skgnn_mtl.weighting import HeldOut

from ._sides import assign_sides


def split_validation(
    validation: Any,
    X: Any,
    y: np.ndarray,
    weights: np.ndarray,
    groups: Any,
    labelled: np.ndarray,
    seed: int,
    *,
    names: Sequence[str],
    watched: Sequence[int] | np.ndarray,
    held_out: HeldOut | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose the rows that validate the training.

    A random choice must leave every task a label to train on, and every watched task
    one to validate with. Where it does not, as few rows as possible change sides.

    Parameters
    ----------
    validation : float or cross-validation splitter
        Share of the labelled rows, or a splitter whose first split is used.
    X : GraphArray of shape (n_samples,)
        All rows, as the user passed them; a splitter receives all of them.
    y : ndarray of shape (n_samples,) or (n_samples, n_tasks)
        Labels with their gaps, in the dimensions of the user's.
    weights : ndarray of shape (n_samples, n_tasks)
        Weights of the labels; a random share is spread evenly over the patterns of
        missing labels.
    groups : array-like of shape (n_samples,) or None
        Rows of one group stay together.
    labelled : ndarray of bool of shape (n_samples,)
        Rows to choose from.
    seed : int
        Seed of a random split.
    names : sequence of str
        Task names, for the message.
    watched : sequence of int
        Tasks that need a label in the validation rows. Other tasks get one if they
        can.
    held_out : HeldOut, optional
        What :func:`hold_out` takes from the training rows later: if there is a split
        that leaves this possible, it is found.

    Returns
    -------
    train_rows, valid_rows : ndarray of int
        Positions of labelled rows.

    Raises
    ------
    ValueError
        If no split gives the tasks what they need, or a splitter gives rows that X
        does not have.
    """
    if hasattr(validation, "split"):
        return _first_split(validation, X, y, groups, labelled)
    rows = np.flatnonzero(labelled)
    if len(rows) < 2:
        raise ValueError(
            f"validation={validation} leaves none of {len(rows)} rows to train on."
        )
    units, present = _units(rows, weights, groups)
    if len(present) < 2:
        raise ValueError(
            f"groups has one value for all {len(rows)} rows with labels, which "
            "leaves none for validation: pass smaller groups, or none."
        )
    # At least one unit on each side, because neither may be empty.
    n_valid = min(ceil(validation * len(present)), len(present) - 1)
    if groups is None:
        picked = _systematic(present, n_valid, seed)
    else:
        # Its test_size counts groups, because they move as a whole.
        splitter = GroupShuffleSplit(1, test_size=n_valid, random_state=seed)
        picked = units[next(splitter.split(rows, groups=units))[1]]
    drawn = np.zeros(len(present), dtype=int)
    drawn[picked] = 1
    kind = "row" if groups is None else "group"
    # All tasks are trained, but only the watched ones must validate.
    needs = [np.ones(len(names), dtype=bool), np.isin(np.arange(len(names)), watched)]
    sides = assign_sides(present, drawn, needs, seed)
    if sides is None:
        raise ValueError(_refusal(present, needs, names, kind, "validate with"))
    found = rows[sides[units] == 0], rows[sides[units] == 1]
    if held_out is None:
        return found
    try:
        # A trial, because the rows to hold out are chosen later, out of these.
        hold_out(held_out, weights, groups, found[0], seed, targets=watched)
    except ValueError:
        has_target = np.asarray(present[:, watched].any(axis=1))
        # It failed, so that all three sides are chosen at once. The third goes back to
        # the training rows, because it is chosen again.
        three = [*needs, np.zeros(len(names), dtype=bool)]
        sides = assign_sides(present, sides, three, seed, has_target, wishes=needs[1])
        if sides is not None:
            found = rows[sides[units] != 1], rows[sides[units] == 1]
    return found


def _units(
    rows: np.ndarray, weights: np.ndarray, groups: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Find what moves as a whole: each row's unit, and where units have labels."""
    present = weights[rows] > 0
    if groups is None:
        return np.arange(len(rows)), present
    groups = column_or_1d(groups)
    check_consistent_length(weights, groups)
    _, units = np.unique(groups[rows], return_inverse=True)
    # Sorted, because reduceat joins neighbours only.
    order = np.argsort(units, kind="stable")
    first = np.flatnonzero(np.diff(units[order], prepend=-1))
    return units, np.logical_or.reduceat(present[order], first, axis=0)


def _systematic(present: np.ndarray, n_picked: int, seed: int) -> np.ndarray:
    """Draw rows evenly over the patterns of labels (n, t): systematic sampling."""
    n, rng = len(present), np.random.default_rng(seed)
    # Random within a pattern, and from a random start, because each row must have the
    # same chance.
    order = np.lexsort([rng.random(n), *present.T])
    picked: np.ndarray = order[
        ((np.arange(n_picked) + rng.random()) * n / n_picked).astype(int)
    ]
    return picked


def _first_split(
    splitter: Any,
    X: Any,
    y: np.ndarray,
    groups: Any,
    labelled: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the labelled rows of the first split."""
    n = len(labelled)
    with warnings.catch_warnings():
        # They may be meant for what a weighting holds out.
        warnings.filterwarnings("ignore", "The groups parameter is ignored")
        parts = next(iter(splitter.split(X, y, groups)), None)
    if parts is None:
        raise ValueError(f"validation={splitter} gives no split.")
    # A PredefinedSplit of other rows would silently leave some out.
    n_folds = len(getattr(splitter, "test_fold", range(n)))
    if n_folds != n:
        raise ValueError(f"validation={splitter} knows {n_folds} rows, but X has {n}.")
    chosen = []
    for part, purpose in zip(parts, ("train on", "validate with"), strict=True):
        part = np.asarray(part)
        if part.size and part.max() >= n:
            raise ValueError(
                f"validation={splitter} names row {part.max()}, but X has {n} rows."
            )
        chosen.append(part[labelled[part]])
        if not len(chosen[-1]):
            raise ValueError(
                f"validation={splitter} leaves no labelled row to {purpose}."
            )
    return tuple(chosen)


def hold_out(
    part: HeldOut,
    weights: np.ndarray,
    groups: Any,
    rows: np.ndarray,
    seed: int,
    *,
    names: Sequence[str] | None = None,
    targets: Sequence[int] | np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose training rows that a task weighting learns from.

    Every task that has labels keeps one to train on. Where the choice that ``part``
    asks for leaves one without, as few rows as possible change sides.

    Parameters
    ----------
    part : HeldOut
        How many, and which.
    weights : ndarray of shape (n_samples, n_tasks)
        Weights of the labels, 0 where one is missing.
    groups : array-like of shape (n_samples,) or None
        Rows of one group stay together.
    rows : ndarray of int
        Training rows.
    seed : int
        Seed of a random choice.
    names : sequence of str, optional
        Task names, for the message.
    targets : sequence of int, optional
        Target tasks; all if not given. Each gets a held-out label if it can.

    Returns
    -------
    train_rows, held_out_rows : ndarray of int
        Positions in increasing order; those held out have a label of a target.

    Raises
    ------
    ValueError
        If nothing is left on one side, or no label of a task to train on.
    """
    tasks = np.arange(weights.shape[1])
    targets = tasks if targets is None else targets
    names = [f"task_{t}" for t in tasks] if names is None else names
    has_target = (weights[rows][:, targets] > 0).any(axis=1)
    labelled = rows[has_target]
    if len(labelled) < 2:
        raise ValueError(
            f"{len(labelled)} training rows have a label of a target, but at least 2 "
            "are needed to hold some out."
        )
    units, present = _units(rows, weights, groups)
    if groups is None:
        n_held = ceil(min(part.fraction, 1 - 1 / len(labelled)) * len(labelled))
        # Once more, because rounding can lift the product above it.
        n_held = min(n_held, len(labelled) - 1)
        picked = np.flatnonzero(has_target)[
            _systematic(weights[labelled][:, targets] > 0, n_held, seed)
        ]
    else:
        groups = column_or_1d(groups)
        tail = _tail(part, groups[labelled], seed)
        picked = units[np.isin(groups[rows], tail)]
    drawn = np.zeros(len(present), dtype=int)
    drawn[picked] = 1
    needs = [np.asarray(present.any(axis=0)), np.zeros(len(tasks), dtype=bool)]
    wishes = np.isin(tasks, targets)
    can_validate = np.bincount(units, has_target) > 0
    sides = assign_sides(present, drawn, needs, seed, can_validate, wishes)
    if sides is None:
        kind = "row" if groups is None else "group"
        raise ValueError(_refusal(present, needs, names, kind, "hold out"))
    held = sides[units] == 1
    # Rows without a label of a target leave with their group, because it must not stand
    # on both sides; they are not used.
    return rows[~held], np.sort(rows[held & has_target])


def _tail(part: HeldOut, groups: np.ndarray, seed: int) -> np.ndarray:
    """Choose the groups of the labelled rows that are held out."""
    order = _tail_last(groups)
    if part.split == "random":
        order = np.random.default_rng(seed).permutation(order)
    sizes = np.array([(groups == group).sum() for group in order])
    if len(order) < 2:
        raise ValueError(
            f"All {len(groups)} labelled training rows are of one group, "
            f"{order[0]!r}, which leaves none to hold out: pass smaller groups, or "
            "none."
        )
    # The cut moves to the border of a group, and leaves one on either side.
    fits = sizes.cumsum() <= (1 - part.fraction) * len(groups) + 1e-9
    return order[int(np.clip(fits.sum(), 1, len(order) - 1)) :]


def _tail_last(groups: np.ndarray) -> np.ndarray:
    """Sort distinct groups: large ones first, among equals those that begin late."""
    names, first, sizes = np.unique(groups, return_index=True, return_counts=True)
    return names[np.lexsort([-first, -sizes])]


def _refusal(
    present: np.ndarray,
    needs: Sequence[np.ndarray],
    names: Sequence[str],
    kind: str,
    use: str,
) -> str:
    """Say why no sides give every task what it needs, and what to do."""
    counts, needed = present.sum(axis=0), np.sum(needs, axis=0)
    advice = {
        "validate with": "fit without early_stopping and lr_schedule='plateau'",
        "hold out": "take another task_weighting",
    }[use]
    if kind == "group":
        advice = f"pass smaller groups, or {advice}"
    scarce = np.flatnonzero(counts < needed)
    if len(scarce):
        task = scarce[0]
        return (
            f"Task {names[task]!r} has labels in {counts[task]} {kind}(s), but needs "
            f"{needed[task]}: one to train on and one to {use}. Drop the task, or "
            f"{advice}."
        )
    order = np.argsort(counts, kind="stable")[:3]
    shown = ", ".join(f"{names[t]!r} ({counts[t]} {kind}s)" for t in order)
    return (
        f"No choice of {kind}s leaves every task a label to train on and to {use}: "
        f"tasks with few labels share their {kind}s, such as {shown}. Drop one, or "
        f"{advice}."
    )
