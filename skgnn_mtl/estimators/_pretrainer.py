"""Pretraining of encoders, with labels or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import InvalidParameterError, StrOptions
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import LOSSES, Loss, logistic
from skgnn_mtl.weighting import CurvatureWeighting

from ._base import BaseMultiTaskGNN
from ._inputs import mean_and_scale, read_targets

_LOSSES: dict[str, Loss] = {**LOSSES, "logistic": logistic}
_CHOICES = {"auto", *_LOSSES}
# Parameters of the other estimators: pretraining has no targets of its own to serve.
_FIXED = {
    "head_hidden_dims",
    "head_activation",
    "target_tasks",
    "scoring",
    "hessian_spectrum",
}


class GNNPretrainer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseMultiTaskGNN
):
    """Pretrain a graph encoder; embed graphs with it.

    Without ``y`` the auxiliary tasks alone are trained (self-supervised), with it its
    columns beside them, one linear head each. The encoder then starts other fits
    through :class:`~skgnn_mtl.encoders.Pretrained`, or serves as it is: ``transform``
    gives one vector a graph to any model of scikit-learn.

    Parameters
    ----------
    encoder : str or GraphEncoder, default="gin"
        Makes node states: "gin", "gcn", "graphsage", "gat", "dmpnn", "cgcnn" (for
        crystals), or an instance, which is cloned;
        :class:`~skgnn_mtl.encoders.Pretrained` starts from given weights.
    readout : str or Readout, default="mean"
        Makes one vector a graph: "mean", "sum", "attention", or an instance.
    auxiliary_tasks : sequence of str or AuxiliaryTask, default=("atommasking",)
        Tasks that need no labels: names of classes of ``skgnn_mtl.auxiliary`` in lower
        case ("atommasking", "contextprediction", ...) or instances.
    task_weighting : str, TaskWeighting or callable, default="equal"
        Combines the tasks; see :class:`MultiTaskGNNRegressor`. The columns of ``y``
        are its targets.
    target_loss : {"auto", "logistic", "squared_error", "absolute_error", "huber"}, \
None, or list of these names, default="auto"
        Loss of the columns of ``y``, a list has one entry a column. "auto" takes the
        logistic loss where a column has two values in the training rows, else the
        squared error. All but the logistic loss are of standardised columns. None does
        not look at ``y``, which pipelines hand to every step.
    optimizer : {"adamw", "adam", "sgd"} or callable, default="adamw"
        A callable makes a torch optimizer from (params, lr=, weight_decay=).
    lr : float, default=1e-3
        Learning rate at its highest.
    weight_decay : float, default=0.0
        Weight decay of the optimizer.
    lr_schedule : {"cosine", "warmup_cosine", "noam", "constant", "plateau"} or \
callable, default="cosine"
        Course of the learning rate over ``max_epochs``, step by step; see
        :class:`MultiTaskGNNRegressor`.
    gradient_clip : float or None, default=None
        Largest norm of the gradient.
    batch_size : int, default=64
        Graphs in a training step.
    max_epochs : int, default=100
        Passes over the training rows.
    early_stopping : bool, default=False
        Stop after ``n_iter_no_change`` epochs without a better validation loss, of the
        columns of ``y`` or, without them, of the auxiliary tasks, and restore the
        weights of the best epoch.
    validation : float or cross-validation splitter, default=0.1
        Validation rows: a share, drawn (by ``groups`` where given) only if early
        stopping or the "plateau" schedule needs it; or a splitter, whose first split
        is always used.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    callbacks : list of skorch callbacks or None, default=None
        They see the private training net, whose ``module_`` is the network.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is one, else the CPU, which also replaces, with a
        warning, a device that is absent.
    n_threads : int or None, default=None
        Threads of torch in fit and transform; None leaves torch's setting.
    warm_start : bool, default=False
        Let ``fit`` go on from the fitted network, with the target scales, tasks and
        weighting it has.
    random_state : int, RandomState or None, default=None
        Seed of everything random: weights, batch order, dropout, masks, validation
        rows.
    verbose : int, default=0
        1 shows a progress bar over the epochs.

    Attributes
    ----------
    encoder_ : GraphEncoder
        The trained encoder, for ``Pretrained``.
    module_ : torch.nn.Module
        The whole trained network, in evaluation mode.
    task_weighting_ : TaskWeighting
        The weighting with its state.
    history_ : list of dict
        One record an epoch, as :class:`MultiTaskGNNRegressor` keeps it.
    auxiliary_names_ : list of str
        Names of the auxiliary tasks, as in ``history_``.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...; empty without ``y``.
    n_tasks_ : int
        Number of columns of ``y``; 0 without it.
    target_losses_ : list of str
        Loss of each column of ``y``.
    target_mean_, target_scale_ : ndarray of shape (n_tasks,)
        What is subtracted from a column, and what it is then divided by. With the
        logistic loss they bring the two values to 0 and 1.
    task_weights_ : ndarray of shape (n_tasks + n_auxiliary_tasks,)
        Weights of the last epoch, divided by their mean.
    best_epoch_ : int
        Epoch that the weights of ``module_`` come from.
    n_features_in_ : int
        1 for graphs, else the number of columns of X.
    feature_names_in_ : ndarray of str
        Column names of a numeric X that has them.
    schema_ : GraphSchema
        Columns of the graphs seen in fit.

    See Also
    --------
    skgnn_mtl.encoders.Pretrained : An encoder that starts from the weights of another.

    Notes
    -----
    More molecules than memory holds are trained chunk by chunk with ``partial_fit``. A
    slice of a memory-mapped :class:`GraphArray` is not read before its batches are.
    ``save`` between two calls makes a checkpoint: an estimator that was loaded goes on
    bit for bit as the saved one would have, on the CPU.

    Standardise the vectors before a linear model: node states are small.

    References
    ----------
    .. [1] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skgnn_mtl import GNNPretrainer, MultiTaskGNNRegressor, SmilesToGraph
    >>> from skgnn_mtl.encoders import GIN, Pretrained
    >>> many = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl", "CC#N", "OCCO"]
    >>> X = SmilesToGraph().fit_transform(many)
    >>> pretrainer = GNNPretrainer(GIN(width=16), max_epochs=3, random_state=0).fit(X)
    >>> pretrainer.transform(X).shape
    (8, 16)

    Its encoder starts a fit on the few molecules that have labels,

    >>> model = MultiTaskGNNRegressor(Pretrained(pretrainer.encoder_), max_epochs=2)
    >>> model.fit(X[:4], [46.1, 45.1, 44.1, 78.1]).predict(X).shape
    (8,)

    and its vectors are features for anything else.

    >>> linear = make_pipeline(
    ...     SmilesToGraph(),
    ...     GNNPretrainer(GIN(width=16), target_loss=None, max_epochs=3),
    ...     StandardScaler(),
    ...     Ridge(),
    ... )
    >>> linear.fit(many[:4], [46.1, 45.1, 44.1, 78.1]).predict(many).shape
    (8,)
    """

    _parameter_constraints: ClassVar[dict] = {
        **{
            name: constraints
            for name, constraints in BaseMultiTaskGNN._parameter_constraints.items()
            if name not in _FIXED
        },
        "target_loss": [None, StrOptions(_CHOICES), list, tuple],
    }

    head_hidden_dims = ()
    head_activation = "relu"
    target_tasks = None
    hessian_spectrum = False
    scoring = "loss"

    def __init__(
        self,
        encoder="gin",
        *,
        readout="mean",
        auxiliary_tasks=("atommasking",),
        task_weighting="equal",
        target_loss="auto",
        optimizer="adamw",
        lr=1e-3,
        weight_decay=0.0,
        lr_schedule="cosine",
        gradient_clip=None,
        batch_size=64,
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
        self.auxiliary_tasks = auxiliary_tasks
        self.task_weighting = task_weighting
        self.target_loss = target_loss
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

    def fit(self, X, y=None, sample_weight=None, groups=None):
        """Train the network.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs, or a numeric table. Invalid graphs are left out with a warning.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
            Labels, NaN where missing; rows without any still take part in the
            auxiliary tasks.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, in the losses of the columns of ``y`` and in their
            scales. A row of weight zero takes part in nothing.
        groups : array-like of shape (n_samples,), optional
            Rows of one group stay on one side of the validation split.

        Returns
        -------
        self : GNNPretrainer
            The fitted estimator.

        Raises
        ------
        ValueError
            If there is nothing to learn: neither ``y`` nor auxiliary tasks, a column
            without a label, a weighting that needs targets without ``y``; or if a
            parameter is wrong.
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            If the user interrupts the training: its best state so far is kept. After
            any other error the estimator is as it was before the call.
        """
        resume = self.warm_start and self.__sklearn_is_fitted__()
        self._fit(X, y, sample_weight, groups, resume=resume, partial=False)
        return self

    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one epoch on a chunk, from the fitted state if there is one.

        The first call fixes the columns of the graphs, the tasks, and the losses and
        scales of the columns of ``y``, as well as the scales of auxiliary tasks. The
        learning rate is constant; ``set_params(lr=...)`` changes it between calls.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs, or a numeric table.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks), optional
            Labels, NaN where missing; a later chunk without ``y`` has none.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        self : GNNPretrainer
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or y have other columns than in the first call, or a column with the
            logistic loss another value.
        KeyboardInterrupt
            If the user interrupts; see :meth:`fit`, also for other errors.
        """
        resume = self.__sklearn_is_fitted__()
        self._fit(X, y, sample_weight, None, resume=resume, partial=True)
        return self

    def transform(self, X) -> np.ndarray:
        """Embed graphs, in evaluation mode.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.

        Returns
        -------
        embedding : ndarray of float64 of shape (n_samples, width)
            What the readout gives, NaN for an invalid graph; a table under
            ``set_output``, with the index of the frame that the graphs come from.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit.
        """
        vectors = self.embed(X)
        index = X.index if isinstance(X, GraphArray) else None
        if index is None or _get_output_config("transform", self)["dense"] != "pandas":
            return vectors
        # scikit-learn takes the index of frames only, and joins tables by it.
        return pd.DataFrame(vectors, index=index)

    @property
    def encoder_(self) -> GraphEncoder:
        """The trained encoder, out of any wrapper."""
        check_is_fitted(self)
        return self.module_.encoder.core

    @property
    def _n_features_out(self) -> int:
        return self.encoder_.width

    # -- labels -------------------------------------------------------------------

    def _read_labels(self, graphs, y, sample_weight, resume, classes):
        if y is not None and self.target_loss is not None:
            values, names = _read_numbers(self, graphs, y)
            if resume and not self.n_tasks_:
                raise ValueError(
                    "y has labels, but the first call had none and made no heads for "
                    "them: start a GNNPretrainer(Pretrained(first.encoder_))."
                )
            return values, names
        if resume:
            # A chunk without labels.
            width = () if self._one_dimensional else (self.n_tasks_,)
            return np.full((len(graphs), *width), np.nan), self.task_names_
        self._check_self_supervision()
        return np.empty((len(graphs), 0)), []

    def _check_self_supervision(self) -> None:
        """Refuse what makes no sense without a column of y."""
        name = type(self).__name__
        if not len(self.auxiliary_tasks):
            raise ValueError(
                f"This {name} estimator requires y to be passed, but the target y is "
                "None: without auxiliary_tasks there is nothing else to learn."
            )
        weighting = self._resolve_weighting()
        pools = getattr(weighting, "pool", None) is not None
        if pools or isinstance(weighting, CurvatureWeighting):
            raise ValueError(
                f"task_weighting={weighting!r} looks at the columns of y, but there is "
                "no y: use another weighting, such as 'equal'."
            )

    def _as_given(self, table: np.ndarray) -> np.ndarray:
        return table

    def _learn_targets(self, table: np.ndarray, weights: np.ndarray) -> None:
        """Learn loss and scale of each column over its labelled, weighted rows."""
        mean, scale = mean_and_scale(table, weights)
        self.target_losses_ = self._chosen_losses()
        for t, name in enumerate(self.task_names_):
            values = np.unique(table[weights[:, t] > 0, t])
            if self.target_losses_[t] == "auto":
                binary = len(values) == 2
                self.target_losses_[t] = "logistic" if binary else "squared_error"
            if self.target_losses_[t] == "logistic":
                low, high = _two_values(values, name)
                mean[t], scale[t] = low, high - low
        self.target_mean_, self.target_scale_ = mean, scale

    def _chosen_losses(self) -> list[str]:
        chosen = self.target_loss
        if not isinstance(chosen, (list, tuple)):
            return [chosen] * self.n_tasks_
        if len(chosen) != self.n_tasks_ or not _CHOICES.issuperset(chosen):
            raise InvalidParameterError(
                f"target_loss must be one of {sorted(_CHOICES)}, or a list of these "
                f"with one entry for each of the tasks {self.task_names_}. Got "
                f"{chosen!r} instead."
            )
        return list(chosen)

    def _encode_targets(self, table: np.ndarray) -> np.ndarray:
        return (table - self.target_mean_) / self.target_scale_

    def _weigh_classes(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """All classes count alike; but there may be no third one."""
        for t in np.flatnonzero(np.array(self.target_losses_) == "logistic"):
            low = self.target_mean_[t]
            known = (low, low + self.target_scale_[t])
            other = table[(weights[:, t] > 0) & ~np.isin(table[:, t], known), t]
            if len(other):
                raise ValueError(
                    f"Task {self.task_names_[t]!r} has the label {other[0]:g}, but its "
                    f"logistic loss knows {known[0]:g} and {known[1]:g} only. Set "
                    "target_loss='squared_error', or one loss a task."
                )
        return weights

    def _elementwise_loss(self) -> Loss:
        return _by_column(self.target_losses_)


def _read_numbers(estimator, graphs, y) -> tuple[np.ndarray, list[str]]:
    """Read y, which in a pipeline may be the text labels of a classifier."""
    try:
        return read_targets(estimator, graphs, y)
    except ValueError as error:
        if "must hold numbers" not in str(error):
            raise
        raise ValueError(
            f"{error} GNNPretrainer reads numbers as y: encode two classes as 0 and 1, "
            "or set target_loss=None to learn from the graphs alone."
        ) from error


def _two_values(values: np.ndarray, name: str) -> tuple[float, float]:
    """Both labels of a column, of which a chunk may hold one."""
    if len(values) == 1 and values[0] in (0.0, 1.0):
        return 0.0, 1.0
    if len(values) != 2:
        shown = ", ".join(f"{value:g}" for value in values[:5])
        raise ValueError(
            f"The logistic loss needs two labels, but task {name!r} has {len(values)}: "
            f"{shown}{', ...' * (len(values) > 5)}. Set target_loss='squared_error'."
        )
    return float(values[0]), float(values[1])


def _by_column(names: Sequence[str]) -> Loss:
    """Elementwise loss of outputs whose columns have losses of their own."""
    kinds = sorted(set(names)) or ["squared_error"]
    masks = [[name == kind for name in names] for kind in kinds]

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        values = _LOSSES[kinds[0]](outputs, targets)
        for kind, mask in zip(kinds[1:], masks[1:], strict=True):
            here = torch.tensor(mask, device=outputs.device)
            values = torch.where(here, _LOSSES[kind](outputs, targets), values)
        return values

    return loss
