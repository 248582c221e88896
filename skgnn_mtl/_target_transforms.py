"""Transforms of labels, one for each task, which estimators undo on predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from ._warn import warn

Function = Callable[[np.ndarray], np.ndarray]
_FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "log": (np.log, np.exp),
    "log10": (np.log10, lambda values: np.power(10.0, values)),
}


@dataclass(frozen=True)
class TargetTransforms:
    """Fitted transforms of the columns of a table of labels.

    Parameters
    ----------
    names : tuple of str of length t
        Names of the tasks.
    steps : tuple of (None, str or transformer), of length t
        For each task None (unchanged), "log", "log10", or a fitted transformer of
        scikit-learn.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl._target_transforms import TargetTransforms
    >>> table = np.array([[10.0, 1.0], [1000.0, np.nan]])
    >>> transforms = TargetTransforms.fit({"solubility": "log10"}, table,
    ...                                   ["solubility", "logD"])
    >>> transforms.transform(table)
    array([[ 1.,  1.],
           [ 3., nan]])
    >>> transforms.inverse_transform(np.array([[2.0, 5.0]]))
    array([[100.,   5.]])
    """

    names: tuple[str, ...]
    steps: tuple[Any, ...]

    @classmethod
    def fit(
        cls, spec: Any, table: np.ndarray, names: Sequence[str]
    ) -> TargetTransforms:
        """Fit the transforms on the labels of the training rows.

        Parameters
        ----------
        spec : None, str, dict or transformer
            What :func:`check_target_transform` takes.
        table : ndarray of shape (n, t)
            Labels in their units, NaN where missing.
        names : sequence of str of length t
            Names of the tasks.

        Returns
        -------
        transforms : TargetTransforms
            A transformer of scikit-learn is cloned and fitted for each of its tasks,
            on the labelled rows.

        Raises
        ------
        ValueError
            If the specification is wrong, or a label is outside of the domain of its
            transform; the task, the row and the label are named.

        Warns
        -----
        UserWarning
            If the inverse of a transformer does not give the labels back.
        """
        steps = check_target_transform(spec, names)
        fitted = tuple(
            _fitted(step, column[~np.isnan(column)], name)
            for step, column, name in zip(steps, table.T, names, strict=True)
        )
        transforms = cls(tuple(names), fitted)
        learned = transforms.transform(table)  # refuses labels out of domain
        transforms._warn_of_lost_labels(table, learned)
        return transforms

    @property
    def is_identity(self) -> bool:
        """Whether no task is transformed."""
        return all(step is None for step in self.steps)

    def transform(self, table: np.ndarray) -> np.ndarray:
        """Transform labels.

        Parameters
        ----------
        table : ndarray of shape (n, t)
            Labels in their units, NaN where missing.

        Returns
        -------
        transformed : ndarray of float64 of shape (n, t)
            A new array, NaN where a label is missing.

        Raises
        ------
        ValueError
            If a label is outside of the domain of its transform.
        """
        result = np.array(table, dtype=np.float64)
        for t, step in enumerate(self.steps):
            rows = np.flatnonzero(~np.isnan(result[:, t]))
            if step is None or not len(rows):
                continue
            labels = result[rows, t]
            _refuse_outside(step, labels, rows, self.names[t])
            with _explained(step, "applied to", self.names[t]):
                found = _apply(step, labels, inverse=False)
            _refuse_infinite(found, labels, rows, step, self.names[t])
            result[rows, t] = found
        return result

    def _warn_of_lost_labels(self, table: np.ndarray, learned: np.ndarray) -> None:
        """Warn of a transformer whose inverse does not give its labels (n, t) back."""
        for t, step in enumerate(self.steps):
            rows = np.flatnonzero(~np.isnan(table[:, t]))
            if step is None or isinstance(step, str) or not len(rows):
                continue
            labels = table[rows, t]
            back = _apply(step, learned[rows, t], inverse=True)
            # Wide, because the inverse of some transformers is not exact.
            tolerance = 1e-3 * (np.abs(labels) + np.std(labels))
            lost = ~(np.abs(back - labels) <= tolerance)
            if lost.any():
                k = int(lost.argmax())
                warn(
                    f"target_transform {step!r} is not undone by its inverse: the "
                    f"label {labels[k]} of task {self.names[t]!r} becomes {back[k]}. "
                    "Predictions will be wrong as well; choose a transformer whose "
                    "inverse_transform undoes transform."
                )

    def directions(self, table: np.ndarray) -> np.ndarray:
        """Find the transforms that fall, and so exchange lower and upper bounds.

        Parameters
        ----------
        table : ndarray of shape (n, t)
            Labels in their units, NaN where missing, at least one of each task.

        Returns
        -------
        directions : ndarray of shape (t,)
            -1 for a transform that falls, else 1.
        """
        low, high = self.transform(
            np.stack([np.nanmin(table, axis=0), np.nanmax(table, axis=0)])
        )
        return np.where(high < low, -1.0, 1.0)

    def inverse_transform(self, table: np.ndarray) -> np.ndarray:
        """Bring predictions back into the units of the labels.

        Parameters
        ----------
        table : ndarray of shape (n, t)
            Predictions of transformed labels, NaN where there is none.

        Returns
        -------
        predictions : ndarray of float64 of shape (n, t)
            A new array in the units of the labels.

        Warns
        -----
        UserWarning
            If a prediction is too large for a float in the units of the labels, and is
            set to the largest float; or if the inverse of a transformer does not have a
            value there, and the prediction is NaN.
        """
        result = np.array(table, dtype=np.float64)
        for t, step in enumerate(self.steps):
            rows = np.flatnonzero(~np.isnan(result[:, t]))
            if step is None or not len(rows):
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                found = _apply(step, result[rows, t], inverse=True)
            result[rows, t] = _bounded(found, self.names[t])
        return result

    def inverse_ends(self, ends: np.ndarray) -> np.ndarray:
        """Bring intervals of transformed labels back into the labels' units.

        Parameters
        ----------
        ends : ndarray of shape (n, t, 2)
            Lower and upper ends; NaN where there is none.

        Returns
        -------
        intervals : ndarray of float64 of shape (n, t, 2)
            A new array; an infinite end stays one. NaN for an end at which the inverse
            of a transformer does not have a value.

        Warns
        -----
        UserWarning
            As :meth:`inverse_transform`, or if the inverse of a transformer is not
            monotone, as that of 1 / y beside 0.
        """
        infinite = np.isinf(ends)
        known = np.where(infinite, np.nan, ends)
        sides = [self.inverse_transform(known[..., side]) for side in (0, 1)]
        found = _in_order(np.where(infinite, ends, np.stack(sides, axis=2)))
        self._report_turns(known.mean(axis=2), found)
        return found

    def _report_turns(self, middle: np.ndarray, found: np.ndarray) -> None:
        """Warn where the middle (n, t) of ends is not between their inverses."""
        for t, step in enumerate(self.steps):
            rows = np.flatnonzero(~np.isnan(middle[:, t]))
            if step is None or isinstance(step, str) or not len(rows):
                continue
            with np.errstate(all="ignore"):
                inner = _apply(step, middle[rows, t], inverse=True)
            low, high = found[rows, t].T
            # Wider, because rounding may pass an end.
            slack = 1e-9 * np.maximum(abs(low), abs(high))
            outside = (inner < low - slack) | (inner > high + slack)
            if outside.any():
                warn(
                    f"{outside.sum()} interval(s) of task {self.names[t]!r} are wrong, "
                    "because the inverse of target_transform does not only rise or "
                    "only fall there. Choose a monotone transform."
                )

    def inverse_std(self, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
        r"""Bring standard deviations of normal predictions back into the labels' units.

        Without a transform they are unchanged. A label whose logarithm is normal has,
        exactly, :math:`e^{\mu + s^2 / 2} \sqrt{e^{s^2} - 1}` with natural logarithms.
        For other transforms it is half of the distance between what mean minus and plus
        one standard deviation become.

        Parameters
        ----------
        mean, std : ndarray of shape (n, t)
            Of the transformed labels, NaN where there is none.

        Returns
        -------
        deviations : ndarray of float64 of shape (n, t)
            A new array in the units of the labels; at most the largest float.

        Warns
        -----
        UserWarning
            If the inverse of a transformer does not have a value one deviation beside a
            mean, and the deviation is NaN.
        """
        result = np.array(std, dtype=np.float64)
        for t, step in enumerate(self.steps):
            rows = np.flatnonzero(~np.isnan(result[:, t]))
            if step is None or not len(rows):
                continue
            found = _inverse_std(step, mean[rows, t], result[rows, t])
            _report_missing(found, "deviation", self.names[t])
            result[rows, t] = np.minimum(found, np.finfo(np.float64).max)
        return result


def _inverse_std(step: Any, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(step, str):
            # In natural logarithms, whatever the base.
            unit = np.log(10.0) if step == "log10" else 1.0
            variance = (unit * std) ** 2
            found: np.ndarray = np.exp(unit * mean + variance / 2)
            return found * np.sqrt(np.expm1(variance))
        low, high = (_apply(step, mean + s * std, inverse=True) for s in (-1, 1))
        distance: np.ndarray = abs(high - low) / 2
        return distance


def check_domain(spec: Any, table: np.ndarray, names: Sequence[str]) -> None:
    """Refuse labels out of the domain of a named transform, before a fit.

    Parameters
    ----------
    spec : None, str, dict or transformer
        What :func:`check_target_transform` takes.
    table : ndarray of shape (n, t)
        All labels, so that the message names the row of the user's table.
    names : sequence of str of length t
        Names of the tasks.

    Raises
    ------
    ValueError
        If the specification is wrong, or a label is outside of the domain.
    """
    steps = check_target_transform(spec, names)
    named = tuple(step if isinstance(step, str) else None for step in steps)
    TargetTransforms(tuple(names), named).transform(table)


def check_target_transform(spec: Any, names: Sequence[str]) -> list[Any]:
    """Read a specification of transforms as one entry for each task.

    Parameters
    ----------
    spec : None, "log", "log10", transformer, or dict
        One transform for all tasks, or a dict from names of tasks to transforms; tasks
        that the dict does not name are unchanged.
    names : sequence of str
        Names of the tasks.

    Returns
    -------
    steps : list of length t
        For each task None, a name, or a transformer that is not cloned yet.

    Raises
    ------
    ValueError
        If a name of a task or of a transform is unknown.
    TypeError
        If a transform is neither a name nor has ``inverse_transform``.
    """
    if not isinstance(spec, Mapping):
        return [_checked(spec)] * len(names)
    by_name = {str(name): _checked(step) for name, step in spec.items()}
    unknown = [name for name in by_name if name not in names]
    if unknown:
        raise ValueError(
            f"target_transform names the task {unknown[0]!r}, but the tasks are "
            f"{list(names)}."
        )
    return [by_name.get(name) for name in names]


def _checked(step: Any) -> Any:
    if isinstance(step, str) and step not in _FUNCTIONS:
        raise ValueError(
            f"target_transform must be None, one of {sorted(_FUNCTIONS)}, a "
            f"transformer, or a dict of these for the tasks, but has {step!r}."
        )
    if step is not None and not isinstance(step, str):
        missing = [
            name
            for name in ("fit", "transform", "inverse_transform")
            if not hasattr(step, name)
        ]
        if missing:
            raise TypeError(
                f"target_transform must have fit, transform and inverse_transform, but "
                f"{type(step).__name__} lacks {missing[0]}."
            )
    return step


def _fitted(step: Any, labels: np.ndarray, name: str) -> Any:
    if step is None or isinstance(step, str) or not len(labels):
        return step
    with _explained(step, "fitted on", name):
        return clone(step).fit(labels[:, None])


@contextmanager
def _explained(step: Any, use: str, name: str) -> Iterator[None]:
    """Say of which task a transformer refuses the labels."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"target_transform {step!r} cannot be {use} the labels of task {name!r}: "
            f"{error}"
        ) from error


def _apply(step: Any, values: np.ndarray, *, inverse: bool) -> np.ndarray:
    if isinstance(step, str):
        return _FUNCTIONS[step][inverse](values)
    method = step.inverse_transform if inverse else step.transform
    found = np.asarray(method(values[:, None]), dtype=np.float64)
    return found.reshape(len(values))


def _refuse_outside(step: Any, labels: np.ndarray, rows: np.ndarray, name: str) -> None:
    if isinstance(step, str) and not (labels > 0).all():
        k = int(np.argmax(labels <= 0))
        raise ValueError(
            f"target_transform {step!r} needs labels above 0, but task {name!r} has "
            f"{labels[k]} in row {rows[k]}. Use NaN for a missing label, or leave this "
            "task untransformed."
        )


def _refuse_infinite(
    found: np.ndarray, labels: np.ndarray, rows: np.ndarray, step: Any, name: str
) -> None:
    if not np.isfinite(found).all():
        k = int(np.argmin(np.isfinite(found)))
        raise ValueError(
            f"target_transform {step!r} makes {found[k]} of the label {labels[k]} of "
            f"task {name!r} in row {rows[k]}; choose another transform."
        )


def _in_order(ends: np.ndarray) -> np.ndarray:
    """Exchange the ends (n, t, 2) of intervals whose transform has fallen."""
    low, high = ends[..., 0], ends[..., 1]
    falls = (low > high).sum(axis=0) > (low < high).sum(axis=0)
    turned = np.where(falls[:, None], ends[..., ::-1], ends)
    # Not sorted with a NaN, which would come last on either side.
    missing = np.isnan(turned).any(axis=2, keepdims=True)
    return np.where(missing, turned, np.sort(turned, axis=2))


def _report_missing(values: np.ndarray, kind: str, name: str) -> None:
    missing = np.isnan(values)
    if missing.any():
        warn(
            f"{missing.sum()} {kind}(s) of task {name!r} are outside of the range "
            "of target_transform, whose inverse is NaN there. Choose a transform that "
            "is defined for all numbers."
        )


def _bounded(values: np.ndarray, name: str) -> np.ndarray:
    """Report NaN, and replace infinite predictions, which scores refuse."""
    _report_missing(values, "prediction", name)
    infinite = np.isinf(values)
    if infinite.any():
        warn(
            f"{infinite.sum()} prediction(s) of task {name!r} are too large for a "
            "float after the inverse of target_transform, and are set to the largest "
            "float."
        )
    largest = np.finfo(np.float64).max
    bounded: np.ndarray = np.clip(values, -largest, largest)
    return bounded
