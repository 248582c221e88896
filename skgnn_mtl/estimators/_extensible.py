"""Estimators that learn further tasks next to those of their fit."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl._component import Numbers
from skgnn_mtl._warn import warnings_once
from skgnn_mtl.gate import GATEModel
from skgnn_mtl.graphs import GraphBatch
from skgnn_mtl.metrics._tables import name_of

from ._additions import AdditionData, AdditionSettings, add_task, free_name, remove_task
from ._base import BaseGNN
from ._compute import stopped_by_sigterm
from ._inputs import read_graphs
from ._number_predictions import predict_intervals, predict_numbers
from ._state import Additions

ADDITION_CONSTRAINTS: dict[str, list[Any]] = {
    "sources": [str, Numbers(Integral, 1, None, closed="left"), list, tuple],
    "target_init": [StrOptions({"random", "nearest"})],
    "add_task_steps": [Numbers(Integral, 1, None, closed="left")],
}


class ExtensibleGNN(BaseGNN, ABC):
    """Sources, tasks that are added to them and removed, and predictions of both."""

    sources: str | int | Sequence[str]
    target_init: str
    add_task_steps: int

    # -- what was learned --------------------------------------------------------

    @property
    def _additions(self) -> Additions:
        additions = self._state.additions
        # Always true, because each fit of GATE records its sources.
        assert additions is not None
        return additions

    @property
    def source_names_(self) -> list[str]:
        """Tasks that were trained together."""
        return list(self._additions.sources)

    @property
    def added_names_(self) -> list[str]:
        """Tasks that were added to the sources."""
        return list(self._additions.added)

    @property
    def addition_history_(self) -> dict[str, list[dict[str, Any]]]:
        """Records of each addition."""
        return self._additions.history

    @property
    def sources_frozen_(self) -> bool:
        """Whether the sources are as they were trained."""
        return self._additions.frozen

    @property
    def aligned_(self) -> bool:
        """Whether the sources have frames."""
        return self._additions.aligned

    @property
    def seed_(self) -> int:
        """Seed of the fit."""
        return self._state.seed

    @property
    def target_mean_(self) -> np.ndarray:
        """What the targets were reduced by, after their transform."""
        mean: np.ndarray = self.targets_.mean
        return mean

    @property
    def target_scale_(self) -> np.ndarray:
        """What the targets were divided by, after their transform."""
        spread: np.ndarray = self.targets_.spread
        return spread

    def _addition(self, sources: Any = None) -> AdditionSettings:
        """Read the parameters of an addition."""
        return AdditionSettings(
            self._settings(self._targets()),
            self.sources if sources is None else sources,
            self.target_init == "nearest",
            int(self.add_task_steps),
        )

    # -- added tasks -------------------------------------------------------------

    def add_task(
        self,
        X: Any,
        y: Any,
        *,
        name: Any = None,
        sources: str | int | Sequence[str] | None = None,
        train_encoder: bool = False,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Learn another task beside the frozen sources.

        Only the four maps of the new task are trained, on what the sources make of
        these graphs, which is computed once: the encoder takes no part in the steps,
        and the predictions of all other tasks stay the same to the last bit (on one
        machine, with the same batches and threads). Added tasks are never sources, so
        that the order of additions does not matter. On any error the model is as
        before.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, 1)
            At least two labels; rows of NaN take part in the alignment, which is worth
            while beside up to some hundred labels. A quarter of the rows in a batch is
            labelled, or more.
        name : str, optional
            Name of the task, by default that of ``y``, else the first free ``task_k``.
        sources : "all", str, int or list of str, optional
            Sources to learn from, by default the constructor's.
        train_encoder : bool, default=False
            Train the encoder along, without a cache. This changes the predictions of
            all other tasks, which a warning lists.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.
        groups : array-like of shape (n_samples,), optional
            Rows of one group stay on one side of the validation split. A splitter that
            was passed as ``validation`` splits the rows given here.

        Returns
        -------
        self : GATERegressor
            The estimator, with one more column in ``predict``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the name is taken, a source unknown, X of other columns, there are
            fewer than two labels, or the encoder to train is frozen.
        """
        state = self._state
        self._check_parameters()
        name = name_of(free_name(state, y) if name is None else name)
        if not name:
            raise ValueError("name is empty; pass a name for the new task, or none.")
        with warnings_once():
            data = AdditionData(read_graphs(self, X), y, sample_weight, groups)
            settings, along = self._addition(sources), bool(train_encoder)
            arguments = {"sources": settings.sources, "train_encoder": along}
            checkpoint = self._open_checkpoint("add_task", name=name, **arguments)
            stage = checkpoint.stage(name) if checkpoint else None
            with stopped_by_sigterm():
                state = add_task(
                    state, settings, data, name, train_encoder=along, stage=stage
                )
            if checkpoint is not None:
                checkpoint.finish()
            # Adopted at the end, because an error must leave the estimator as it was.
            return self._adopt(state)

    def remove_task(self, name: Any) -> Self:
        """Forget an added task; the others stay the same to the last bit.

        Parameters
        ----------
        name : str
            Name of the task.

        Returns
        -------
        self : GATERegressor
            The estimator.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If no added task has this name.
        """
        return self._adopt(remove_task(self._state, name_of(name)))

    # -- predictions -------------------------------------------------------------

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict all tasks, with standard deviations if wanted.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        return_std : bool, default=False
            Return the standard deviation of a new label around each prediction, too.

        Returns
        -------
        predictions : ndarray of float64, (n_samples,) or (n_samples, n_tasks)
            In units of ``y``, columns as ``task_names_``; one-dimensional if ``y`` was
            and nothing was added. NaN for an invalid graph.
        std : ndarray of float64, of the same shape
            With ``return_std``: in the units of ``y``, as in
            :meth:`MultiTaskGNNRegressor.predict`, from the last layer of each task's
            map to its prediction.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit, or if there is no width; the
            message says what to set.
        """
        return predict_numbers(self, X, return_std=return_std)

    def predict_interval(self, X: Any, coverage: float = 0.9) -> np.ndarray:
        """Predict intervals that a share of new labels is expected to lie in.

        They are central intervals of the normal distributions of
        ``predict(X, return_std=True)``; with ``target_transform`` those of the
        transformed labels, whose ends are transformed back.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        coverage : float, default=0.9
            Expected share, between 0 and 1.

        Returns
        -------
        intervals : ndarray of float64, (n_samples, n_tasks, 2)
            Lower and upper ends in the units of ``y``, also of a one-dimensional one;
            NaN for an invalid graph.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If ``coverage`` is not between 0 and 1, and as :meth:`predict` raises.
        """
        return predict_intervals(self, X, coverage)

    def embed(
        self, X: Any, *, space: str = "shared", task: str | None = None
    ) -> np.ndarray:
        """Embed graphs in the space of all tasks, or in one of a single task.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            The graphs.
        space : {"shared", "latent", "frame"}, default="shared"
            Behind the readout, or the latent vectors or the flat frame of a task.
        task : str, optional
            Name of the task, for the last two.

        Returns
        -------
        embedding : ndarray of shape (n_samples, width)
            One row per graph, NaN for an invalid one; graph features come last.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the space or the task is unknown.
        """
        state = self._state
        if space == "shared":
            return self._apply(X, GATEModel.embed)
        if space not in ("latent", "frame") or task not in state.targets.names:
            raise ValueError(
                "embed needs space='shared', or 'latent' or 'frame' and a task of "
                f"{list(state.targets.names)}; got space={space!r}, task={task!r}."
            )
        position = self._additions.module_order.index(task)

        def point(module: GATEModel, batch: GraphBatch) -> torch.Tensor:
            group, row = module.modules_of(position)
            function = group.encode if space == "latent" else group.frame
            found: torch.Tensor = function(module.embed(batch))[row]
            return found

        return self._apply(X, point)
