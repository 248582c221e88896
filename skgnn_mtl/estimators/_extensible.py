"""A network of GATE that learns further tasks, and forgets them."""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import asdict, replace
from itertools import count
from math import ceil
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._component import is_count
from skgnn_mtl._seeds import MAX_SEED, stream_seed
from skgnn_mtl._warn import warn, warnings_once
from skgnn_mtl.gate import (
    GATEModel,
    GATETerms,
    NewTask,
    TaskLayout,
    fit_addition,
    fit_frames,
    rank_correlations,
    with_added,
)
from skgnn_mtl.graphs import GraphArray, GraphBatch

from ._base import BaseMultiTaskGNN
from ._inputs import (
    check_labels,
    column_names,
    name_of,
    read_graphs,
    read_targets,
)
from ._numeric_targets import NumericTargetsMixin
from ._regressor import MultiTaskGNNRegressor
from ._splits import split_validation

WIDTHS = ("encoder_hidden_dims", "transfer_hidden_dims", "head_hidden_dims")


def _is_trainable(module: torch.nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())


class ExtensibleGNN(NumericTargetsMixin, BaseMultiTaskGNN):
    """Sources, tasks added to them, and predictions of both.

    The constructor, and how sources are trained, belong to the subclass.
    """

    source_names_: list[str]
    added_names_: list[str]
    task_names_: list[str]
    target_mean_: np.ndarray
    target_scale_: np.ndarray
    seed_: int

    def _begin(self) -> None:
        """Note that all tasks are sources."""
        self.source_names_ = list(self.task_names_)
        self.added_names_: list[str] = []
        self.addition_history_: dict[str, list[dict]] = {}
        self.sources_frozen_ = self.aligned_ = True

    def _architecture(self) -> dict[str, Any]:
        widths = {name: tuple(map(int, getattr(self, name))) for name in WIDTHS}
        layout = TaskLayout(int(self.latent_dim), **widths)
        return {"n_sources": self.n_tasks_, "layout": asdict(layout)}

    def _make_model(self, encoder, readout, **architecture) -> GATEModel:
        layout = TaskLayout(**architecture.pop("layout"))
        return GATEModel(encoder, readout, self.schema_, layout=layout, **architecture)

    def _terms(self) -> GATETerms:
        return GATETerms(
            autoencoder=float(self.auto_weight),
            consistency=float(self.consistency_weight),
            mapping=float(self.mapping_weight),
            distance=float(self.distance_weight),
            n_perturbations=int(self.n_perturbations),
            perturbation=self.perturbation,
            perturbation_scale=float(self.perturbation_scale),
            routes=self.routes if isinstance(self.routes, str) else int(self.routes),
            mapping_target=self.mapping_target,
        )

    def _n_warmup(self, n_rows: int) -> int:
        n_steps = self.max_epochs * ceil(n_rows / self.batch_size)
        return round(self.warmup * n_steps)

    # -- added tasks -------------------------------------------------------------

    def add_task(
        self,
        X,
        y,
        *,
        name=None,
        sources=None,
        train_encoder=False,
        sample_weight=None,
        groups=None,
    ):
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
            If the name is taken, a source unknown, X of other columns, there are less
            than two labels, or the encoder to train is frozen.
        """
        check_is_fitted(self)
        self._check_parameters()
        if name is None:
            name = next(iter(column_names(y)), None) or self._free_name()
        name = name_of(name)
        if not name:
            raise ValueError("name is empty; pass a name for the new task, or none.")
        # Pretrained sources may have been aligned before the error.
        with self._unchanged_by_errors(), warnings_once():
            self._add(
                X,
                y,
                name,
                sources=sources,
                train_encoder=train_encoder,
                sample_weight=sample_weight,
                groups=groups,
            )
        return self

    def _free_name(self) -> str:
        made_up = (f"task_{k}" for k in count(self.n_tasks_))
        return next(name for name in made_up if name not in self.task_names_)

    def _add(
        self,
        X,
        y,
        name: str,
        *,
        sources=None,
        train_encoder: bool = False,
        sample_weight=None,
        groups=None,
    ) -> None:
        if name in self.task_names_:
            raise ValueError(
                f"There is a task {name!r} already: the tasks are {self.task_names_}. "
                "Give the new one another name, or remove_task first."
            )
        if train_encoder and not _is_trainable(self.module_.encoder):
            raise ValueError(
                "train_encoder=True, but the encoder is frozen: fit with "
                "Pretrained(..., freeze=False), or leave train_encoder out."
            )
        graphs = read_graphs(self, X, reset=False)
        # By the name, not by the order: A then B is B then A.
        seed = stream_seed(self.seed_, name)
        task, mean, scale = self._read_task(
            graphs, y, name, sample_weight, groups, seed
        )
        vectors = self._embed_tensor(graphs)
        with self._seeded_with(seed):
            if not self.aligned_:
                self._align(vectors[task.rows], seed)
            chosen, nearest = self._choose_sources(
                self.sources if sources is None else sources, task, vectors
            )
            module, result = fit_addition(
                self.module_,
                task,
                vectors,
                sources=chosen,
                init=nearest if self.target_init == "nearest" else None,
                terms=self._terms(),
                options=self._options(partial=False),
                n_steps=int(self.add_task_steps),
                device=self._device(),
                seed=seed,
                train_encoder=bool(train_encoder),
            )
        if result.interrupted:
            raise KeyboardInterrupt(
                f"The addition of {name!r} was interrupted; the estimator is as before."
            )
        self._commit(module, name, mean, scale, result.history, bool(train_encoder))

    def _read_task(self, graphs, y, name, sample_weight, groups, seed):
        """Standardise the labels of a new task and choose the rows that watch."""
        values, _ = read_targets(self, graphs, y)
        table = values.reshape(len(values), -1)
        if table.shape[1] != 1:
            raise ValueError(
                f"add_task takes one task, but y has {table.shape[1]} columns; call it "
                "once for each."
            )
        row_weights = self._row_weights(graphs, table, sample_weight)
        weights = np.where(np.isnan(table), 0.0, row_weights[:, None])
        n_labels = int((weights > 0).sum())
        if n_labels < 2:
            raise ValueError(
                f"Task {name!r} has {n_labels} label(s) on valid graphs, but needs at "
                "least 2."
            )
        rows, valid_rows = np.flatnonzero(row_weights > 0), None
        if self._needs_validation():
            rows, valid_rows = split_validation(
                self.validation,
                graphs,
                table,
                weights,
                groups,
                row_weights > 0,
                seed,
                names=[name],
                watched=[0],
            )
            check_labels(weights[rows], [name], "inner training")
            check_labels(weights[valid_rows], [name], "validation")
        mean, scale = self._scales(table[rows], weights[rows])
        targets = (table - mean) / scale
        task = NewTask(name, graphs, targets, weights, row_weights, rows, valid_rows)
        return task, mean, scale

    def _embed_tensor(self, graphs: GraphArray) -> torch.Tensor:
        dtype = getattr(torch, self.schema_.dtype)
        vectors = self._forward(graphs, lambda module, batch: module.embed(batch))
        return torch.from_numpy(vectors).to(self._device(), dtype)

    def _choose_sources(
        self, sources, task: NewTask, vectors: torch.Tensor
    ) -> tuple[list[int], int]:
        """Positions of the sources to learn from, and of the nearest."""
        rows = task.labelled()
        with torch.no_grad():
            predictions = self.module_.predict_sources(vectors[rows]).cpu().numpy()
        order = np.argsort(
            -rank_correlations(predictions, task.targets[rows, 0]), kind="stable"
        )
        if is_count(sources):
            return sorted(order[: int(sources)].tolist()), int(order[0])
        names = [sources] if isinstance(sources, str) else sources
        if isinstance(sources, str) and sources == "all":
            names = self.source_names_
        is_listed = isinstance(names, Collection)
        names = list(map(name_of, names)) if is_listed else names
        if not is_listed or not 0 < len(set(names)) == len(names):
            raise ValueError(
                f"sources must name at least one source, and each once; got "
                f"{sources!r}."
            )
        unknown = [name for name in names if name not in self.source_names_]
        if unknown:
            raise ValueError(
                f"sources names {unknown}, but the sources are {self.source_names_}."
            )
        return [self.source_names_.index(name) for name in names], int(order[0])

    def _commit(self, module, name, mean, scale, history, train_encoder) -> None:
        """Take a trained task in, at once."""
        self.module_ = module.eval()
        self.added_names_ = [*self.added_names_, name]
        self.task_names_ = [*self.task_names_, name]
        self.n_tasks_ = len(self.task_names_)
        self.target_mean_ = np.append(self.target_mean_, mean)
        self.target_scale_ = np.append(self.target_scale_, scale)
        self.addition_history_ = {**self.addition_history_, name: history}
        if train_encoder:
            self.sources_frozen_ = False
            warn(
                "train_encoder=True changed the predictions of "
                f"{self.task_names_[:-1]}.",
            )

    def remove_task(self, name):
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
        check_is_fitted(self)
        name = name_of(name)
        if name not in self.added_names_:
            raise ValueError(
                f"Only added tasks can be removed; these are {self.added_names_}, not "
                f"{name!r}."
            )
        column, place = self.task_names_.index(name), self.added_names_.index(name)
        added = list(self.module_.added)
        with self._unchanged_by_errors():
            self.module_ = with_added(self.module_, added[:place] + added[place + 1 :])
            self.added_names_ = [task for task in self.added_names_ if task != name]
            self.task_names_ = [task for task in self.task_names_ if task != name]
            self.n_tasks_ = len(self.task_names_)
            self.target_mean_ = np.delete(self.target_mean_, column)
            self.target_scale_ = np.delete(self.target_scale_, column)
            self.addition_history_ = {
                task: records
                for task, records in self.addition_history_.items()
                if task != name
            }
        return self

    # -- sources from elsewhere --------------------------------------------------

    @classmethod
    def from_pretrained(cls, regressor, X=None, **parameters):
        """Take a fitted regressor's tasks as frozen sources.

        Its encoder and heads are copied, and go on predicting the sources bit for bit.
        The maps of the sources to and from the flat frame learn to agree with these
        predictions, on X if given, else on the graphs of the first :meth:`add_task`,
        which all later additions then depend on.

        Parameters
        ----------
        regressor : MultiTaskGNNRegressor
            Fitted.
        X : GraphArray or array-like of shape (n_samples, n_features), optional
            Graphs with the columns of its fit; labels are not needed.
        **parameters : object
            Parameters of the new estimator; those of the same name are the regressor's
            by default.

        Returns
        -------
        estimator : GATERegressor
            Ready for :meth:`add_task`.

        Raises
        ------
        TypeError
            If the regressor is something else.
        NotFittedError
            If the regressor is not fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from skgnn_mtl import GATERegressor, MultiTaskGNNRegressor, SmilesToGraph
        >>> X = SmilesToGraph().fit_transform(["CCO", "CCN", "CCC", "CCCl"])
        >>> y = np.array([46.1, 45.1, 44.1, 64.5])
        >>> regressor = MultiTaskGNNRegressor(max_epochs=2, random_state=0).fit(X, y)
        >>> model = GATERegressor.from_pretrained(regressor, X, add_task_steps=5)
        >>> model.add_task(X, [0.1, np.nan, 1.8, 1.4], name="logP").predict(X).shape
        (4, 2)
        """
        if not isinstance(regressor, MultiTaskGNNRegressor):
            raise TypeError(
                "from_pretrained takes a fitted MultiTaskGNNRegressor, got "
                f"{regressor!r}."
            )
        check_is_fitted(regressor)
        own = set(cls._get_param_names()) - {"target_tasks", "head_hidden_dims"}
        shared = regressor.get_params(deep=False)
        shared = {name: value for name, value in shared.items() if name in own}
        estimator = cls(**{**shared, **parameters})
        with warnings_once():
            estimator._take_over(regressor)
            if X is not None:
                graphs = read_graphs(estimator, X, reset=False)
                vectors = estimator._embed_tensor(graphs[np.flatnonzero(graphs.valid)])
                with estimator._seeded_with(estimator.seed_):
                    estimator._align(vectors, estimator.seed_)
        return estimator

    def _take_over(self, regressor: MultiTaskGNNRegressor) -> None:
        """Become what a regressor is, with maps that have learned nothing yet."""
        self._check_parameters()
        for name in (
            *("schema_", "n_features_in_", "feature_names_in_", "n_tasks_"),
            *("target_mean_", "target_scale_", "task_names_", "_one_dimensional"),
        ):
            if name in regressor.__dict__:
                setattr(self, name, copy.deepcopy(getattr(regressor, name)))
        old = regressor.module_
        seed = check_random_state(self.random_state).randint(MAX_SEED)
        self.seed_ = int(seed)
        with self._seeded_with(self.seed_):
            self._assemble(
                clone(old.encoder),
                clone(old.readout),
                self._resolve_weighting(),
                **self._architecture(),
                pretrained=old.architecture,
            )
        new = self.module_
        new.encoder.load_state_dict(old.encoder.state_dict())
        new.readout.load_state_dict(old.readout.state_dict())
        new.heads[0].load_state_dict(old.trunk.state_dict())
        new.heads[1].load_state_dict(old.heads.state_dict())
        new.eval()
        self._begin()
        self.aligned_ = False
        self.task_weights_ = np.ones(self.n_tasks_)
        self.history_, self.best_epoch_ = [], 0

    def _align(self, vectors: torch.Tensor, seed: int) -> None:
        """Fit the frames of pretrained sources; their predictions do not change."""
        options = self._options(partial=False)
        if options.watches_plateau:
            options = replace(options, lr_schedule="cosine")
        module = copy.deepcopy(self.module_)
        result = fit_frames(
            module,
            vectors,
            self.source_names_,
            terms=self._terms(),
            options=replace(options, early_stopping=False),
            n_warmup=self._n_warmup(len(vectors)),
            device=self._device(),
            seed=seed,
        )
        if result.interrupted:
            raise KeyboardInterrupt(
                "The alignment of the sources was interrupted; nothing of it is kept."
            )
        self.module_, self.aligned_ = module.eval(), True
        self.history_, self.best_epoch_ = result.history, result.best_epoch

    # -- predictions -------------------------------------------------------------

    def predict(self, X) -> np.ndarray:
        """Predict all tasks, added ones too.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.

        Returns
        -------
        predictions : ndarray of float64, (n_samples,) or (n_samples, n_tasks)
            In units of ``y``, columns as ``task_names_``; one-dimensional if ``y`` was
            and nothing was added. NaN for an invalid graph.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit.
        """
        outputs = self._forward(X, lambda module, batch: module(batch))
        order = [self._module_order().index(name) for name in self.task_names_]
        predictions = outputs[:, order] * self.target_scale_ + self.target_mean_
        flat = self._one_dimensional and not self.added_names_
        return predictions[:, 0] if flat else predictions

    def _module_order(self) -> list[str]:
        return self.source_names_ + self.added_names_

    def embed(self, X, *, space="shared", task=None) -> np.ndarray:
        """Embed graphs in the space of all tasks, or in one of a task's own.

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
            One row a graph, NaN for an invalid one.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the space or the task is unknown.
        """
        check_is_fitted(self)
        if space == "shared":
            return self._forward(X, lambda module, batch: module.embed(batch))
        if space not in ("latent", "frame") or task not in self.task_names_:
            raise ValueError(
                "embed needs space='shared', or 'latent' or 'frame' and a task of "
                f"{self.task_names_}; got space={space!r}, task={task!r}."
            )
        position = self._module_order().index(task)

        def point(module: GATEModel, batch: GraphBatch) -> torch.Tensor:
            group, row = module.modules_of(position)
            function = group.encode if space == "latent" else group.frame
            return function(module.embed(batch))[row]

        return self._forward(X, point)
