"""What y means: tables of numbers, or of classes, with gaps."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from numbers import Integral
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    MultiOutputMixin,
    RegressorMixin,
)
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._archive import Target
from skgnn_mtl._callbacks import SUPPORT
from skgnn_mtl._links import TEMPLATE, page_of
from skgnn_mtl._target_transforms import TargetTransforms
from skgnn_mtl.estimators._card import model_card
from skgnn_mtl.estimators._class_columns import (
    class_errors,
    class_probabilities,
    likeliest_labels,
    owners,
)
from skgnn_mtl.estimators._class_labels import (
    encode_labels,
    find_classes,
    read_class_labels,
)
from skgnn_mtl.estimators._inputs import (
    check_labels,
    in_task_order,
    read_targets,
    require_exact,
    require_labels,
)
from skgnn_mtl.metrics import nan_r2_score, nan_roc_auc_scorer
from skgnn_mtl.metrics._tables import as_row_weights
from skgnn_mtl.model_selection._folds import (
    class_presence,
    label_presence,
    require_groups,
)

from ._files import load, save
from ._labels import MemberLabels, with_bounds
from ._members import mean_squares, numbers_of, probabilities_of


class Table(
    *SUPPORT,  # type: ignore[misc]
    MultiOutputMixin,  # type: ignore[misc]
    MetaEstimatorMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
    metaclass=ABCMeta,
):
    """Abstract base of the meta-estimators: y is a table with gaps.

    A subclass says what y means (:class:`NumericTable`, :class:`ClassTable`) and how
    its members are fitted and combined (``fit``, :meth:`_predict_table`).
    """

    # For the "?" of the representation in notebooks.
    _doc_link_module: ClassVar[str] = "skgnn_mtl"
    _doc_link_template: ClassVar[str] = TEMPLATE
    _doc_link_url_param_generator = page_of

    task_names_: list[str]
    n_tasks_: int
    _one_dimensional: bool

    # A name that is no parameter of a subclass is passed over. target_transform has
    # checks of its own, which name the task.
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "censored": [StrOptions({"raise", "drop", "bound"})],
        "n_jobs": [None, Integral],
        "random_state": ["random_state"],
        "checkpoint": [None, str, PathLike],
    }

    @abstractmethod
    def _predict_table(self, X: Any) -> np.ndarray:
        """Predict numbers (n, t), or probabilities of all classes but the first.

        Those have the columns (n, c) of :mod:`skgnn_mtl.estimators._class_columns`,
        which for tasks of two classes are one per task.
        """

    @abstractmethod
    def _read_labels(self, X: Any, y: Any) -> tuple[np.ndarray, list[str]]:
        """Read y as numbers or codes of classes, (n,) or (n, t), and its names."""

    @abstractmethod
    def _outputs(self, member: Any, X: Any, name: str) -> np.ndarray:
        """Predict by one member of the whole table, as :meth:`_predict_table`."""

    @abstractmethod
    def _owners(self) -> np.ndarray:
        """Find the task of each column of :meth:`_predict_table`, (c,)."""

    @abstractmethod
    def _errors(self, table: np.ndarray, outputs: np.ndarray) -> list[np.ndarray]:
        """Compute errors (..., n, k) of outputs (..., n, c) for each task.

        Those of labels or codes (n, t), NaN where a label is missing.
        """

    @abstractmethod
    def _presence(self, table: np.ndarray) -> pd.DataFrame:
        """Mark by 1 what each fold must have some of, NaN elsewhere, (n, columns)."""

    def _read_y(
        self, X: Any, y: Any, sample_weight: Any, groups: Any = None
    ) -> MemberLabels:
        """Read y, and check weights and groups; a label of weight zero is missing."""
        labels, names = self._read_labels(X, y)
        table = labels.reshape(len(labels), -1)
        require_groups(groups, len(table))
        # As a gap, because a label of weight 0 must not count anywhere.
        counted = as_row_weights(sample_weight, len(table))[:, None] > 0
        check_labels(counted & ~np.isnan(table), names, "training")
        self._one_dimensional = labels.ndim == 1
        self.task_names_, self.n_tasks_ = names, len(names)
        learned, changed = self._learned_labels(table, counted)
        return MemberLabels(y, learned, counted, names, labels.ndim == 1, changed)

    def _learned_labels(
        self, table: np.ndarray, counted: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        """Make of labels (n, t) what members learn; tell whether it is different."""
        return table, False

    def _ready(self, part: Any) -> Any:
        """Let a part learn bounds, if the ensemble is to; the part is not changed."""
        return with_bounds(part, getattr(self, "censored", "raise"))

    def _shaped(self, table: np.ndarray) -> np.ndarray:
        """Bring a table into the dimensions of the y of fit."""
        return table[:, 0] if self._one_dimensional else table

    def _in_units(self, table: np.ndarray) -> np.ndarray:
        """Bring predictions of members (n, t) into the units of y."""
        transforms: TargetTransforms | None = getattr(self, "target_transforms_", None)
        # Classes do not have any.
        return table if transforms is None else transforms.inverse_transform(table)

    def _mean_squares(
        self, table: np.ndarray, outputs: np.ndarray, sample_weight: Any
    ) -> np.ndarray:
        """Average the squared errors (..., t) of outputs (..., n, c)."""
        errors = self._errors(table, outputs)
        squares = np.stack([(part**2).sum(axis=-1) for part in errors], axis=-1)
        return mean_squares(squares, as_row_weights(sample_weight, len(table))[:, None])

    def _forget(self, *names: str) -> None:
        """Remove attributes that an earlier fit may have left, and this one may not."""
        for name in names:
            self.__dict__.pop(name, None)

    def _note_features(self, member: Any) -> None:
        """Keep what a fitted member learned about the columns of X."""
        for name in ("n_features_in_", "feature_names_in_"):
            self._forget(name)
            if hasattr(member, name):
                setattr(self, name, getattr(member, name))

    @abstractmethod
    def _parts(self) -> Sequence[Any]:
        """Estimators that are given X, not fitted."""

    def save(self, path: Target, *, description: str = "") -> None:
        """Write the fitted estimator into one file that is safe to load.

        Networks are kept in their own format. Other estimators of scikit-learn, such as
        trees, are kept by skops, an optional package. A file at ``path`` is replaced as
        a whole: whatever happens, ``path`` holds the old or the new one.

        Parameters
        ----------
        path : str, path-like or binary file
            The file.
        description : str, default=""
            What the model is for; stands in the text about it in the file.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a part cannot be kept, such as a function or a class of your own; it is
            named. Pickle keeps those.
        ImportError
            If a part needs skops, and it is not installed.
        OSError
            If the file cannot be written, for instance because the disk is full.
        """
        check_is_fitted(self)
        save(path, self, model_card(self, description))

    @classmethod
    def load(cls, path: Target) -> Self:
        """Read what :meth:`save` wrote. Never executes code from the file.

        Parameters
        ----------
        path : str, path-like or binary file
            The file.

        Returns
        -------
        estimator : estimator of this class
            It predicts as the saved one, with the same version of scikit-learn.

        Raises
        ------
        ValueError
            If the file is of something else, damaged, or of a newer version.
        ImportError
            If a part needs skops, and it is not installed.
        """
        model: Self = load(path, cls.__name__)
        return model

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        parts = [get_tags(part) for part in self._parts() if hasattr(part, "fit")]
        if parts:
            # A copy, because the tags of the part must not change below.
            tags.input_tags = deepcopy(parts[0].input_tags)
            tags.input_tags.sparse = all(part.input_tags.sparse for part in parts)
            tags.input_tags.allow_nan = all(p.input_tags.allow_nan for p in parts)
            tags.non_deterministic = any(part.non_deterministic for part in parts)
        return tags


class NumericTable(RegressorMixin):  # type: ignore[misc]
    """Numbers with gaps, each task in its unit.

    Members learn transformed labels, and their predictions are combined as such.
    """

    target_transform: Any
    censored: str
    n_tasks_: int
    task_names_: list[str]
    target_transforms_: TargetTransforms

    def _read_labels(self, X: Any, y: Any) -> tuple[np.ndarray, list[str]]:
        require_labels(self, y)
        labels, names = read_targets(X, y, self.censored)
        return labels, names

    def _learned_labels(
        self, table: np.ndarray, counted: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        require_exact(table, counted, self.task_names_)
        known = np.where(counted, table.real, np.nan)
        transforms = TargetTransforms.fit(
            self.target_transform, known, self.task_names_
        )
        self.target_transforms_ = transforms
        learned = transforms.transform(table.real)
        if np.iscomplexobj(table):
            learned = learned + 1j * (table.imag * transforms.directions(known))
        return learned, self.censored != "raise" or not transforms.is_identity

    def _outputs(self, member: Any, X: Any, name: str) -> np.ndarray:
        return numbers_of(member, X, self.n_tasks_, name)

    def _owners(self) -> np.ndarray:
        return np.arange(self.n_tasks_)

    def _errors(self, table: np.ndarray, outputs: np.ndarray) -> list[np.ndarray]:
        return np.split(outputs - table, self.n_tasks_, axis=-1)

    def _presence(self, table: np.ndarray) -> pd.DataFrame:
        return label_presence(table, self.task_names_)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Average the coefficient of determination over tasks.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing; columns of a DataFrame may have another order.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Mean over tasks of R2 on the labelled rows, at most 1.
        """
        check_is_fitted(self)
        y = in_task_order(y, self.task_names_)
        predictions = self.predict(X)
        return float(nan_r2_score(y, predictions, sample_weight=sample_weight))


class ClassTable(ClassifierMixin):  # type: ignore[misc]
    """Labels of two or more classes for each task, with gaps."""

    classes_: Any
    n_tasks_: int
    task_names_: list[str]
    _one_dimensional: bool

    def _read_labels(self, X: Any, y: Any) -> tuple[np.ndarray, list[str]]:
        require_labels(self, y)
        labels, names = read_class_labels(X, y)
        table = labels.reshape(len(labels), -1)
        classes = find_classes(table, names, np.ones(len(table), dtype=bool))
        self.classes_ = classes[0] if labels.ndim == 1 else classes
        codes = [
            encode_labels(column, part, name, strict=True)
            for column, part, name in zip(table.T, classes, names, strict=True)
        ]
        return np.column_stack(codes).reshape(labels.shape), names

    def _classes(self) -> list[np.ndarray]:
        """List the classes of each task."""
        return [self.classes_] if self._one_dimensional else list(self.classes_)

    def _outputs(self, member: Any, X: Any, name: str) -> np.ndarray:
        return probabilities_of(member, X, self._classes(), name)

    def _owners(self) -> np.ndarray:
        return owners(self._classes())

    def _errors(self, table: np.ndarray, outputs: np.ndarray) -> list[np.ndarray]:
        return class_errors(table, outputs, self._classes())

    def _presence(self, table: np.ndarray) -> pd.DataFrame:
        return class_presence(table, self.task_names_, self._classes())

    def predict_proba(self, X: Any) -> Any:
        """Predict the probabilities of the classes of each task.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), or a list of them
            Columns are those of ``classes_``; a list with one array per task for a
            two-dimensional ``y``. NaN for an invalid row.
        """
        check_is_fitted(self)
        return self._probabilities(self._predict_table(X))

    def _probabilities(self, table: np.ndarray) -> Any:
        """Lay out probabilities (n, c) as :meth:`predict_proba` returns them."""
        tasks = class_probabilities(table, self._classes())
        return tasks[0] if self._one_dimensional else tasks

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class of each task.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs.

        Returns
        -------
        labels : ndarray of shape (n_samples,) or (n_samples, n_tasks)
            In the dimensions of the ``y`` of fit. With an invalid row numbers become
            float and strings object, NaN in this row.
        """
        check_is_fitted(self)
        classes = self._classes()
        tables = class_probabilities(self._predict_table(X), classes)
        labels = likeliest_labels(tables, classes)
        return labels[:, 0] if self._one_dimensional else labels

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Average the area under the ROC curve over tasks.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            Inputs.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN or None where missing; columns of a DataFrame may have another
            order.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        score : float
            Mean over tasks with labels of two classes or more; 1 for a perfect order.
        """
        check_is_fitted(self)
        y = in_task_order(y, self.task_names_)
        return float(nan_roc_auc_scorer(self, X, y, sample_weight=sample_weight))
