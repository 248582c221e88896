"""GATE: tasks aligned in a locally flat frame."""

from __future__ import annotations

from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import pandas as pd
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils._param_validation import (
    InvalidParameterError,
    StrOptions,
)

from skgnn_mtl._component import Numbers, is_count
from skgnn_mtl._warn import warnings_once
from skgnn_mtl.gate import GATEStep
from skgnn_mtl.graphs import GraphDataset
from skgnn_mtl.metrics import nan_r2_score

from ._base import BaseMultiTaskGNN
from ._extensible import WIDTHS, ExtensibleGNN
from ._inputs import (
    column_names,
    in_task_order,
    is_frame,
    read_targets,
    task_positions,
)

_WEIGHT = [Numbers(Real, 0, None, closed="left")]


class GATERegressor(RegressorMixin, MultiOutputMixin, ExtensibleGNN):
    """Regression with tasks that are aligned in a locally flat frame.

    All tasks share an embedding of the graph, e. Each has four small maps of its own:
    to a latent vector z, from there to the flat frame and back, and to the prediction.
    In the frame one molecule shall be one point whatever task it is seen from; this is
    what passes knowledge from tasks with many labels to tasks with few. Later,
    :meth:`add_task` trains such maps for another property beside frozen sources, whose
    predictions do not change by a bit.

    Parameters
    ----------
    encoder : str or GraphEncoder, default="dmpnn"
        Makes node states: a name or an instance, which is cloned.
    readout : str or Readout, default="mean"
        Makes one vector a graph, the embedding.
    latent_dim : int, default=64
        Width of latent vectors and of the flat frame.
    encoder_hidden_dims, transfer_hidden_dims, head_hidden_dims : tuple of int, \
default=(128,), (64,), (64,)
        Hidden layers of each task's maps: from the embedding to the latent vector,
        between this and the frame (both ways), and to the prediction. They are smooth
        (SiLU).
    auto_weight : float, default=1.0
        Weight of the way to the frame and back: it must lead home.
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
        Perturbations a step, the same for all tasks and all graphs of the batch.
    perturbation : {"gaussian", "sphere"}, default="gaussian"
        Their law; "sphere" has a fixed length.
    perturbation_scale : float, default=0.1
        Their size, relative to the root mean square of e.
    routes : "all", "mean" or int, default="all"
        Points that the mapping term starts from: those of all other tasks, their mean,
        or of so many tasks drawn in each step.
    mapping_target : {"labels", "predictions"}, default="labels"
        What the mapping term aims at where there is a label; elsewhere it is the task's
        own prediction.
    task_sampling : float or None, default=0.5
        Rows are drawn so that a task with n labels is met about in proportion to n to
        this power: 0 equally often, 1 as labels come. None, or one task: each row once
        an epoch.
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
    optimizer : {"adamw", "adam", "sgd"} or callable, default="adamw"
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
    max_epochs : int, default=100
        Passes over the training rows.
    early_stopping : bool, default=False
        Stop when the validation loss stalls, and restore the best epoch; also in
        :meth:`add_task`.
    validation : float or cross-validation splitter, default=0.1
        Validation rows, drawn only if they are needed.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs; an addition has about a hundred.
    callbacks : list of skorch callbacks or None, default=None
        They see the private training net.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is one, else the CPU, which also replaces, with a
        warning, a device that is absent.
    n_threads : int or None, default=None
        Threads of torch in fit and predict.
    warm_start : bool, default=False
        Let ``fit`` go on from the fitted network.
    random_state : int, RandomState or None, default=None
        Seed of everything random.
    verbose : int, default=0
        1 shows a progress bar over the epochs.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained network, in evaluation mode.
    task_names_ : list of str
        Columns of ``predict``: those of ``y`` in ``fit``, then additions in order.
    source_names_, added_names_ : list of str
        Tasks trained together, and tasks added to them.
    n_tasks_ : int
        Number of tasks.
    target_mean_, target_scale_ : ndarray of shape (n_tasks,)
        What the targets were standardised with, in units of ``y``.
    history_ : list of dict
        One record an epoch, as in :class:`MultiTaskGNNRegressor`, with ``alignment``
        (each term, without its weight), ``route_rmse`` (by task, of predictions that
        start from other tasks' points) and ``frame_spread`` (by task, mean standard
        deviation of the coordinates in the frame).
    addition_history_ : dict of str to list of dict
        The same for each added task, without ``route_rmse``; an epoch of a scarce task
        meets its rows often.
    sources_frozen_ : bool
        Whether the sources are as they were trained; ``train_encoder`` ends that.
    aligned_ : bool
        Whether the sources have frames; False only in a model made by
        :meth:`from_pretrained` without graphs, before its first addition.
    seed_ : int
        Seed of the fit, which those of additions derive from.
    best_epoch_ : int
        Epoch that the weights of the sources come from.
    n_features_in_ : int
        1 for graphs, else the number of columns of X.
    feature_names_in_ : ndarray of str
        Column names of a numeric X that has them.
    schema_ : GraphSchema
        Columns of the graphs seen in fit.

    Notes
    -----
    A re-implementation from the papers' abstracts and from descriptions by others: no
    code of the authors is known to us. Rows without any label take part in all terms
    but the regression loss. A row of weight 0 takes no part.

    ``fit`` warns (``ConvergenceWarning``) when the frame of a task has collapsed to a
    point, which consistency and distance alone would lead to.

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

    _parameter_constraints: ClassVar[dict] = {
        **BaseMultiTaskGNN._parameter_constraints,
        "latent_dim": [Numbers(Integral, 1, None, closed="left")],
        "encoder_hidden_dims": [tuple, list],
        "transfer_hidden_dims": [tuple, list],
        "auto_weight": _WEIGHT,
        "consistency_weight": _WEIGHT,
        "mapping_weight": _WEIGHT,
        "distance_weight": _WEIGHT,
        "warmup": [Numbers(Real, 0, 1, closed="both")],
        "n_perturbations": [Numbers(Integral, 1, None, closed="left")],
        "perturbation": [StrOptions({"gaussian", "sphere"})],
        "perturbation_scale": [Numbers(Real, 0, None, closed="neither")],
        "routes": [
            StrOptions({"all", "mean"}),
            Numbers(Integral, 1, None, closed="left"),
        ],
        "mapping_target": [StrOptions({"labels", "predictions"})],
        "task_sampling": [None, Numbers(Real, 0, 1, closed="both")],
        "sources": [str, Numbers(Integral, 1, None, closed="left"), list, tuple],
        "target_init": [StrOptions({"random", "nearest"})],
        "add_task_steps": [Numbers(Integral, 1, None, closed="left")],
        "normalize_targets": ["boolean"],
    }

    # What the base class would ask a parameter for.
    task_weighting = "equal"
    loss = "squared_error"
    hessian_spectrum = False
    _has_curvature = False
    scoring = "loss"
    auxiliary_tasks = ()
    _learns_from_unlabelled = True

    def __init__(
        self,
        encoder="dmpnn",
        *,
        readout="mean",
        latent_dim=64,
        encoder_hidden_dims=(128,),
        transfer_hidden_dims=(64,),
        head_hidden_dims=(64,),
        auto_weight=1.0,
        consistency_weight=1.0,
        mapping_weight=1.0,
        distance_weight=1.0,
        warmup=0.1,
        n_perturbations=4,
        perturbation="gaussian",
        perturbation_scale=0.1,
        routes="all",
        mapping_target="labels",
        task_sampling=0.5,
        target_tasks=None,
        sources="all",
        target_init="random",
        add_task_steps=1000,
        normalize_targets=True,
        optimizer="adamw",
        lr=1e-3,
        weight_decay=1e-5,
        lr_schedule="cosine",
        gradient_clip=1.0,
        batch_size=256,
        max_epochs=100,
        early_stopping=False,
        validation=0.1,
        n_iter_no_change=10,
        callbacks=None,
        device="auto",
        n_threads=None,
        warm_start=False,
        random_state=None,
        verbose=0,
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
        self.callbacks = callbacks
        self.device = device
        self.n_threads = n_threads
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y, sample_weight=None, groups=None):
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
        resume = self.warm_start and self.__sklearn_is_fitted__()
        if resume:
            self._refuse_to_move_sources("fit with warm_start=True")
        if self.target_tasks is None:
            self._fit(X, y, sample_weight, groups, resume=resume, partial=False)
            return self
        with self._unchanged_by_errors(), warnings_once():
            missing = self._fit_stages(X, y, sample_weight, groups)
        if missing is not None:
            raise KeyboardInterrupt(
                f"fit was interrupted; the estimator keeps {self.task_names_} "
                f"in the state reached so far, and lacks {missing}: add these with "
                "add_task, or fit again."
            )
        return self

    def partial_fit(self, X, y, sample_weight=None):
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
        if self.target_tasks is not None:
            raise ValueError(
                "partial_fit trains all columns of y together: set target_tasks=None, "
                "or call fit."
            )
        resume = self.__sklearn_is_fitted__()
        if resume:
            self._refuse_to_move_sources("partial_fit")
        self._fit(X, y, sample_weight, None, resume=resume, partial=True)
        return self

    def _refuse_to_move_sources(self, what: str) -> None:
        if self.added_names_:
            raise ValueError(
                f"{what} would move the sources that {self.added_names_} were added "
                "to, and spoil them. Call remove_task for these first, or fit anew "
                "with target_tasks."
            )
        if self.module_.pretrained:
            raise ValueError(
                f"{what} would move the sources, which belong to a pretrained "
                "regressor. Train that one and call from_pretrained again, or fit anew "
                "with warm_start=False."
            )

    def _fit_stages(self, X, y, sample_weight, groups) -> list[str] | None:
        """Train some columns of y, then add the others; what an interruption left."""
        self._check_parameters()
        # A numeric table has no length before it is checked.
        values, names = read_targets(self, y if X is None else X, y)
        targets = self._target_names(names)
        table = pd.DataFrame(values.reshape(len(values), -1), columns=names)
        rest = table.drop(columns=targets)
        first, interrupted = self.__dict__.get("module_"), False
        try:
            self._fit(X, rest, sample_weight, groups, resume=False, partial=False)
            for name in targets:
                with self._unchanged_by_errors():
                    self._add(
                        X, table[name], name, sample_weight=sample_weight, groups=groups
                    )
        except KeyboardInterrupt:
            if self.__dict__.get("module_") is first:  # nothing is trained yet
                raise
            interrupted = True
        found = [name for name in names if name in self.task_names_]
        order = [self.task_names_.index(name) for name in found]
        self.task_names_ = found
        self.target_mean_ = self.target_mean_[order]
        self.target_scale_ = self.target_scale_[order]
        return [name for name in names if name not in found] if interrupted else None

    def _target_names(self, names: list[str]) -> list[str]:
        found = task_positions(self.target_tasks, names, "target_tasks")
        if len(set(found)) < len(found) or len(found) == len(names):
            raise ValueError(
                f"target_tasks={self.target_tasks!r} must name some columns of y, each "
                f"once, and leave others as sources; the columns are {names}."
            )
        return [names[position] for position in found]

    def score(self, X, y, sample_weight=None) -> float:
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
        if names and set(names) <= set(self.task_names_) and predictions.ndim == 2:
            predictions = predictions[:, [self.task_names_.index(n) for n in names]]
        else:
            y = in_task_order(y, self.task_names_)
        return float(nan_r2_score(y, predictions, sample_weight=sample_weight))

    # -- what the base class asks for --------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for parameter in WIDTHS:
            widths = getattr(self, parameter)
            if not all(map(is_count, widths)):
                raise InvalidParameterError(
                    f"The {parameter!r} parameter of GATERegressor must hold integers "
                    f">= 1. Got {widths!r} instead."
                )

    def _watched_tasks(self) -> np.ndarray:
        return np.arange(self.n_tasks_)

    def _build(self) -> None:
        super()._build()
        self._begin()

    def _training_set(self, graphs, targets, weights, row_weights) -> GraphDataset:
        sampling = None
        labelled = weights > 0
        if self.task_sampling is not None and targets.shape[1] > 1 and labelled.any():
            counts = np.maximum(labelled.sum(axis=0), 1)
            shares = labelled @ (counts ** (self.task_sampling - 1.0))
            sampling = np.where(shares > 0, shares, shares[shares > 0].min())
        return GraphDataset(graphs, targets, weights, [row_weights[:, None]], sampling)

    def _step(self, targets: np.ndarray, seed: int, n_rows: int) -> GATEStep:
        self.seed_ = seed
        return GATEStep(self._terms(), self.task_names_, self._n_warmup(n_rows))

    def task_problem(self, X, y, **options):
        """Refuse: curvature needs linear heads."""
        raise TypeError(
            "Curvature and gradient tools need a network with linear heads, which "
            "GATERegressor does not have: use a MultiTaskGNNRegressor."
        )
