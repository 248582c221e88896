"""GATE: tasks aligned in a locally flat frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin

from skgnn_mtl._target_transforms import check_domain
from skgnn_mtl._warn import warnings_once
from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphRows
from skgnn_mtl.metrics import nan_r2_score
from skgnn_mtl.metrics._tables import column_names, is_frame
from skgnn_mtl.readouts import Readout

from ._additions import (
    AdditionData,
    add_tasks,
    align,
    as_sources,
    embed,
    in_order,
    take_over,
)
from ._base import BaseGNN
from ._compute import seeded
from ._extensible import ADDITION_CONSTRAINTS, ExtensibleGNN
from ._gate_recipe import GATE_CONSTRAINTS, GATERecipe, gate_recipe
from ._inputs import (
    in_task_order,
    read_cells,
    read_graphs,
    read_targets,
    require_labels,
    task_positions,
)
from ._numeric import NumericTargets
from ._processes import draw_seed
from ._regressor import MultiTaskGNNRegressor
from ._state import FittedState


class GATERegressor(RegressorMixin, MultiOutputMixin, ExtensibleGNN):  # type: ignore[misc]
    """Regression with tasks that are aligned in a locally flat frame.

    All tasks share an embedding of the graph, e. Each has four small maps of its own:
    to a latent vector z, from there to the flat frame and back, and to the prediction.
    In the frame a molecule must be the same point for all tasks; this passes knowledge
    from tasks with many labels to tasks with few. Later, :meth:`add_task` trains such
    maps for another property, and leaves the predictions of the sources as they are.

    Parameters
    ----------
    encoder : str or GraphEncoder, default="dmpnn"
        Makes node states: a name or an instance, which is cloned.
    readout : str or Readout, default="mean"
        Makes one vector per graph, the embedding.
    latent_dim : int, default=64
        Width of latent vectors and of the flat frame.
    encoder_hidden_dims, transfer_hidden_dims, head_hidden_dims : tuple of int, \
default=(128,), (64,), (64,)
        Hidden layers of each task's maps: from the embedding to the latent vector,
        between this and the frame (both ways), and to the prediction. They are smooth
        (SiLU).
    auto_weight : float, default=1.0
        Weight of the error of z after the way to the frame and back.
    consistency_weight : float, default=1.0
        Weight of the distance between the points of one molecule in the frame.
    mapping_weight : float, default=1.0
        Weight of a task's error when its prediction starts from the points of other
        tasks.
    distance_weight : float, default=1.0
        Weight of the differences between tasks in how far a perturbation of e moves the
        point. A term of weight 0 is not computed.
    warmup : float, default=0.1
        Share of the steps over which consistency, mapping and distance rise to their
        weights.
    n_perturbations : int, default=4
        Perturbations per step, the same for all tasks and all graphs of the batch.
    perturbation : {"gaussian", "sphere"}, default="gaussian"
        Their distribution; "sphere" has a fixed length.
    perturbation_scale : float, default=0.1
        Size, relative to the root mean square of e.
    routes : "auto", "all", "mean" or int, default="auto"
        Points that the mapping term starts from: of all other tasks, their mean, or of
        so many tasks drawn in each step. "auto" is "all" with fewer than 12 tasks,
        else 3, because the time of all routes grows with the square of the tasks.
    mapping_target : {"labels", "predictions"}, default="labels"
        Target of the mapping term where there is a label; elsewhere it is the task's
        own prediction.
    task_sampling : float or None, default=0.5
        Rows are drawn so that the frequency of a task with n labels is about n to this
        power: 0 equally often, 1 as labels come. None: each row once per epoch.
    target_tasks : None, str, int or list of these, default=None
        Columns of ``y`` that ``fit`` adds with :meth:`add_task` after it has trained
        the others.
    sources : "all", str, int or list of str, default="all"
        Sources that an added task learns from: all, some names, or so many whose
        predictions have the strongest rank correlation with its labels.
    target_init : {"random", "nearest"}, default="random"
        Maps that an added task starts with; "nearest" copies those of the source with
        the strongest rank correlation.
    add_task_steps : int, default=1000
        Steps that train an added task.
    normalize_targets : bool, default=True
        Standardise each task over its labelled, weighted training rows.
    target_transform : None, "log10", "log", transformer or dict, default=None
        Transform of the labels, undone on predictions; see
        :class:`MultiTaskGNNRegressor`. :meth:`add_task` reads it for the new task.
    censored : {"raise", "drop", "bound"}, default="raise"
        What labels such as ">100" are; see :class:`MultiTaskGNNRegressor`. A satisfied
        bound is a row without a label to the mapping term. Ranks and widths of added
        tasks are those of exact labels.
    optimizer : str or callable, default="adamw"
        As in :class:`MultiTaskGNNRegressor`, like all that follow.
    lr : float, default=1e-3
        Learning rate at its highest.
    weight_decay : float, default=1e-5
        Weight decay of the optimizer.
    lr_schedule : str or callable, default="cosine"
        Course of the learning rate.
    gradient_clip : float or None, default=1.0
        Largest norm of the gradient.
    batch_size : int, default=256
        Graphs in a training step.
    max_epochs : int or "auto", default=100
        Passes over the training rows; "auto" as in :class:`MultiTaskGNNRegressor`.
    early_stopping : bool, default=False
        Stop when the validation loss stalls, and end with all rows; also in
        :meth:`add_task`. See :class:`MultiTaskGNNRegressor`.
    validation : float or cross-validation splitter, default=0.1
        Validation rows, drawn only if they are needed.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs; an addition has about a hundred.
    weight_averaging : {None, "tail", "ema"}, default=None
        Average of the weights along the training.
    callbacks : list of skorch callbacks or None, default=None
        They receive the private training net.
    checkpoint : path or None, default=None
        File that keeps the state of ``fit`` and :meth:`add_task` after their epochs,
        for the next call with the same data and parameters; see :ref:`checkpoints`.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is one, else the CPU; it replaces an absent device.
    n_threads : int or None, default=None
        Threads of torch in fit and predict.
    warm_start : bool, default=False
        Let ``fit`` go on from the fitted network.
    random_state : int, RandomState or None, default=None
        Seed of everything random.
    verbose : "auto", bool or int, default="auto"
        "auto" shows a bar over epochs in a terminal or notebook after 5 s; 1 at once.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained network, in evaluation mode.
    task_names_ : list of str
        Columns of ``predict``: those of ``y`` in ``fit``, then additions in order.
    source_names_, added_names_ : list of str
        Tasks trained together, and tasks added to them.
    target_mean_, target_scale_ : ndarray of shape (n_tasks,)
        What the targets were standardised with, after their transform.
    targets_ : object
        What was learned about ``y``: names, units or classes, the loss; curvature
        and files read it.
    history_ : list of dict
        One record per epoch, as in :class:`MultiTaskGNNRegressor`, with ``alignment``
        (each term, without its weight), ``route_rmse`` (by task, of predictions that
        start from other tasks' points) and ``frame_spread`` (by task, mean standard
        deviation of the coordinates in the frame).
    addition_history_ : dict of str to list of dict
        The same for each added task, without ``route_rmse``; an epoch of a scarce task
        repeats its rows.
    sources_frozen_ : bool
        Whether the sources are as they were trained; ``train_encoder`` ends that.
    aligned_ : bool
        Whether the sources have frames; False only in a model made by
        :meth:`from_pretrained` without graphs, before its first addition.
    n_tasks_, seed_, best_epoch_, n_features_in_ : int
        Number of tasks; seed of the fit, from which those of additions derive; epoch
        of the weights of the sources; 1 for graphs, else the number of columns of X.
    feature_names_in_ : ndarray of str
        Column names of a numeric X that has them.
    schema_ : GraphSchema
        Columns of the graphs of fit.

    See Also
    --------
    MultiTaskGNNRegressor, skgnn_mtl.model_selection.compare_transfer

    Notes
    -----
    A re-implementation from the papers' abstracts and from descriptions by others: no
    code of the authors was found. Rows without any label take part in all terms
    but the regression loss. A row of weight 0 takes no part.

    ``fit`` warns (``ConvergenceWarning``) when the frame of a task has collapsed to a
    point, to which consistency and distance alone would lead.

    References
    ----------
    .. [1] S. M. Ko et al., "Geometrically Aligned Transfer Encoder for Inductive
       Transfer in Regression Tasks", ICLR 2024, arXiv:2310.06369.
    .. [2] S. M. Ko et al., "Multitask Extension of Geometrically Aligned Transfer
       Encoder", arXiv:2405.01974.
    .. [3] S. Yim et al., "Task Addition in Multi-Task Learning by Geometrical
       Alignment", arXiv:2409.16645.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import GATERegressor, SmilesToGraph
    >>> X = SmilesToGraph().fit_transform(["CCO", "CCN", "CCC", "c1ccccc1", "CCCl"])
    >>> y = np.array([[46.1, 0.1], [45.1, np.nan], [44.1, 1.8], [78.1, 2.1], [64.5, 1]])
    >>> model = GATERegressor("gin", max_epochs=2, add_task_steps=5, random_state=0)
    >>> model = model.fit(X, y).add_task(X[:3], [78.4, 16.6, -42.1], name="Tb")
    >>> model.predict(X).shape, model.task_names_
    ((5, 3), ['task_0', 'task_1', 'Tb'])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseGNN._parameter_constraints,
        **GATE_CONSTRAINTS,
        **ADDITION_CONSTRAINTS,
    }

    def __init__(
        self,
        encoder: str | GraphEncoder = "dmpnn",
        *,
        readout: str | Readout = "mean",
        latent_dim: int = 64,
        encoder_hidden_dims: Sequence[int] = (128,),
        transfer_hidden_dims: Sequence[int] = (64,),
        head_hidden_dims: Sequence[int] = (64,),
        auto_weight: float = 1.0,
        consistency_weight: float = 1.0,
        mapping_weight: float = 1.0,
        distance_weight: float = 1.0,
        warmup: float = 0.1,
        n_perturbations: int = 4,
        perturbation: str = "gaussian",
        perturbation_scale: float = 0.1,
        routes: str | int = "auto",
        mapping_target: str = "labels",
        task_sampling: float | None = 0.5,
        target_tasks: Any = None,
        sources: str | int | Sequence[str] = "all",
        target_init: str = "random",
        add_task_steps: int = 1000,
        normalize_targets: bool = True,
        target_transform: Any = None,
        censored: str = "raise",
        optimizer: str | Callable[..., Any] = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        lr_schedule: str | Callable[[float], float] = "cosine",
        gradient_clip: float | None = 1.0,
        batch_size: int = 256,
        max_epochs: int | str = 100,
        early_stopping: bool = False,
        validation: Any = 0.1,
        n_iter_no_change: int = 10,
        weight_averaging: str | None = None,
        callbacks: Sequence[Any] | None = None,
        checkpoint: str | PathLike[str] | None = None,
        device: str | torch.device = "auto",
        n_threads: int | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int | bool | str = "auto",
    ) -> None:
        self.encoder = encoder
        self.readout = readout
        self.latent_dim = latent_dim
        self.encoder_hidden_dims = encoder_hidden_dims
        self.transfer_hidden_dims = transfer_hidden_dims
        self.head_hidden_dims = head_hidden_dims
        self.auto_weight = auto_weight
        self.consistency_weight = consistency_weight
        self.mapping_weight = mapping_weight
        self.distance_weight = distance_weight
        self.warmup = warmup
        self.n_perturbations = n_perturbations
        self.perturbation = perturbation
        self.perturbation_scale = perturbation_scale
        self.routes = routes
        self.mapping_target = mapping_target
        self.task_sampling = task_sampling
        self.target_tasks = target_tasks
        self.sources = sources
        self.target_init = target_init
        self.add_task_steps = add_task_steps
        self.normalize_targets = normalize_targets
        self.target_transform = target_transform
        self.censored = censored
        self.optimizer = optimizer
        self.lr = lr
        self.weight_decay = weight_decay
        self.lr_schedule = lr_schedule
        self.gradient_clip = gradient_clip
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation = validation
        self.n_iter_no_change = n_iter_no_change
        self.weight_averaging = weight_averaging
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.device = device
        self.n_threads = n_threads
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _targets(self) -> NumericTargets:
        return NumericTargets(
            normalize=self.normalize_targets,
            transform=self.target_transform,
            censored=self.censored,
        )

    def _recipe(self) -> GATERecipe:
        return gate_recipe(self)

    # -- sources -----------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Train all tasks together, then add ``target_tasks`` one by one.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs, or a numeric table. Invalid graphs are left out with a warning.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing. A row may have none.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, in all losses and in the target scales.
        groups : array-like of shape (n_samples,), optional
            Rows of one group stay on one side of the validation split.

        Returns
        -------
        self : GATERegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has no label, a label is infinite, a parameter is wrong, or
            ``warm_start`` would move frozen sources.
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            If the user interrupts the training: its best state so far is kept. After
            any other error the estimator is as it was before the call. Target
            tasks that were not added by then are left out.
        """
        require_labels(self, y)
        resume = self._goes_on
        if resume:
            self._refuse_to_move_sources("fit with warm_start=True")
        if self.target_tasks is None:
            state = self._fit(X, y, sample_weight, groups, resume=resume)
            return self._adopt(as_sources(state))
        # The stages read the same rows, and would repeat what they say about them.
        with warnings_once():
            state, missing = self._fit_stages(X, y, sample_weight, groups)
        return self._adopt(
            state,
            f"fit was interrupted; the estimator keeps {list(state.targets.names)} "
            f"in the state reached so far, and lacks {missing}: add these with "
            "add_task, or fit again.",
        )

    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train all tasks for one epoch, from the fitted state if there is one.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs, or a numeric table.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        self : GATERegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or y have other columns than in the first call, or if this would move
            frozen sources.
        KeyboardInterrupt
            If the user interrupts; see :meth:`fit`, also for other errors.
        """
        require_labels(self, y)
        if self.target_tasks is not None:
            raise ValueError(
                "partial_fit trains all columns of y together: set target_tasks=None, "
                "or call fit."
            )
        resume = self.__sklearn_is_fitted__()
        if resume:
            self._refuse_to_move_sources("partial_fit")
        state = self._fit(X, y, sample_weight, None, resume=resume, partial=True)
        return self._adopt(as_sources(state))

    def _refuse_to_move_sources(self, what: str) -> None:
        if self._additions.added:
            raise ValueError(
                f"{what} would move the sources that {self.added_names_} were added "
                "to, and spoil them. Call remove_task for these first, or fit anew "
                "with target_tasks."
            )
        module: Any = self.module_
        if module.pretrained:
            raise ValueError(
                f"{what} would move the sources, which belong to a pretrained "
                "regressor. Train that one and call from_pretrained again, or fit anew "
                "with warm_start=False."
            )

    def _fit_stages(
        self, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> tuple[FittedState, list[str]]:
        """Train some columns of y, then add the others, unless the user interrupts."""
        # Also in _fit, but target_tasks is read before that.
        self._check_parameters()
        # A numeric table does not have a length before it is checked.
        rows = y if X is None else X
        values, names = read_targets(rows, y, self.censored)
        targets = self._target_names(names)
        values = values.reshape(len(values), -1)
        # As they are given, because bounds are read again with their tasks.
        table = pd.DataFrame(read_cells(rows, y).reshape(values.shape), columns=names)
        rest = table.drop(columns=targets)
        # All columns, because a wrong label of the last must be found before the first
        # is trained.
        check_domain(self.target_transform, values.real, names)
        sources = self._targets().for_tasks(list(rest.columns))
        checkpoint = self._open_checkpoint("fit")
        more: dict[str, Any] = {"targets": sources, "checkpoint": checkpoint}
        fitted = self._fit(X, rest, sample_weight, groups, resume=False, **more)
        state = as_sources(fitted)
        # Against the new state, because this estimator has an earlier one or none.
        graphs = read_graphs(self._with(state), X)
        rest_of = (sample_weight, groups)
        data = {name: AdditionData(graphs, table[name], *rest_of) for name in targets}
        if not state.interrupted:
            state = add_tasks(state, self._addition(), data, checkpoint)
        if checkpoint and not state.interrupted:
            checkpoint.finish()
        # The order of y, because target tasks were trained behind the others.
        found = [name for name in names if name in state.targets.names]
        return in_order(state, found), [name for name in names if name not in found]

    def _target_names(self, names: list[str]) -> list[str]:
        found = task_positions(self.target_tasks, names, "target_tasks")
        if len(set(found)) < len(found) or len(found) == len(names):
            raise ValueError(
                f"target_tasks={self.target_tasks!r} must name some columns of y, each "
                f"once, and leave others as sources; the columns are {names}."
            )
        return [names[position] for position in found]

    @classmethod
    def from_pretrained(
        cls, regressor: MultiTaskGNNRegressor, X: Any = None, **parameters: Any
    ) -> Self:
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
        source = regressor._state
        # Without these two, because they have another meaning in GATE.
        own = set(cls._get_param_names()) - {"target_tasks", "head_hidden_dims"}
        shared = regressor.get_params(deep=False)
        shared = {name: value for name, value in shared.items() if name in own}
        estimator = cls(**{**shared, **parameters})
        with warnings_once():
            estimator._check_parameters()
            settings = estimator._settings(estimator._targets())
            seed = draw_seed(estimator.random_state)
            with seeded(seed, settings.device, settings.n_threads):
                state = take_over(source, settings, seed)
            if X is not None:
                graphs = read_graphs(estimator._with(state), X)
                rows = np.flatnonzero(graphs.valid)
                vectors = embed(state, settings, GraphRows(graphs, rows))
                with seeded(seed, settings.device, settings.n_threads):
                    state = align(state, settings, vectors, seed)
        return estimator._adopt(state)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Mean over tasks of the coefficient of determination on labelled entries.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing; a DataFrame may hold some of the tasks.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1; 0 for the prediction of each task's mean.

        Raises
        ------
        ValueError
            If y names other tasks.
        """
        predictions = self.predict(X)
        names = column_names(y) if is_frame(y) else []
        # A frame may hold some tasks, because data of an added task may lack others.
        if names and set(names) <= set(self.task_names_) and predictions.ndim == 2:
            predictions = predictions[:, [self.task_names_.index(n) for n in names]]
        else:
            y = in_task_order(y, self.task_names_)
        return float(nan_r2_score(y, predictions, sample_weight=sample_weight))
