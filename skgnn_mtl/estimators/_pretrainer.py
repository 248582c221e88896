"""Pretraining of encoders, with labels or without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl.auxiliary import AuxiliaryTask
from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.graphs._output import with_index
from skgnn_mtl.readouts import Readout
from skgnn_mtl.weighting import TaskWeighting

from ._base import BaseGNN
from ._linear import WEIGHTING_CONSTRAINTS, LinearHeadGNN
from ._mixed import CHOICES, MixedTargets
from ._recipe import MultiTaskRecipe


class GNNPretrainer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, LinearHeadGNN):  # type: ignore[misc]
    """Pretrain a graph encoder; embed graphs with it.

    Without ``y`` the auxiliary tasks alone are trained (self-supervised), with it its
    columns beside them, one linear head each. The encoder then starts other fits
    through :class:`~skgnn_mtl.encoders.Pretrained`, or serves as it is: ``transform``
    gives one vector per graph to any model of scikit-learn.

    Parameters
    ----------
    encoder : str or GraphEncoder, default="gin"
        Makes node states: "gin", "gcn", "graphsage", "gat", "dmpnn", "cgcnn" (for
        crystals), or an instance, which is cloned;
        :class:`~skgnn_mtl.encoders.Pretrained` starts from given weights.
    readout : str or Readout, default="mean"
        Makes one vector per graph: "mean", "sum", "attention", or an instance.
    auxiliary_tasks : sequence of str or AuxiliaryTask, default=("atommasking",)
        Tasks that need no labels: names of classes of ``skgnn_mtl.auxiliary`` in lower
        case ("atommasking", "contextprediction", ...) or instances.
    task_weighting : str, TaskWeighting or callable, default="equal"
        Combines the tasks; see :class:`MultiTaskGNNRegressor`. The columns of ``y``
        are its targets.
    target_loss : {"auto", "logistic", "squared_error", "absolute_error", "huber"}, \
None, or list of these names, default="auto"
        Loss of the columns of ``y``; a list has one entry per column. "auto" takes the
        logistic loss where a column has two values in the training rows, else the
        squared error. All but the logistic loss are of standardised columns. None
        ignores ``y``, which pipelines hand to every step.
    optimizer : str or callable, default="adamw"
        As in :class:`MultiTaskGNNRegressor`.
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
    max_epochs : int or "auto", default=100
        Passes over the training rows; "auto" as in :class:`MultiTaskGNNRegressor`.
    early_stopping : bool, default=False
        Stop after ``n_iter_no_change`` epochs without a better validation loss, of the
        columns of ``y`` or, without them, of the auxiliary tasks, and end with all
        rows; see :class:`MultiTaskGNNRegressor`.
    validation : float or cross-validation splitter, default=0.1
        Validation rows: a share, drawn (by ``groups`` where given) only if early
        stopping or the "plateau" schedule needs it; or a splitter, whose first split
        is always used.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    weight_averaging : {None, "tail", "ema"}, default=None
        Average of the weights along the training; see :class:`MultiTaskGNNRegressor`.
    callbacks : list of skorch callbacks or None, default=None
        They receive the private training net, whose ``module_`` is the network.
    checkpoint : path or None, default=None
        File that keeps the state of ``fit`` after its epochs. The next ``fit`` of the
        same data and parameters goes on from it; see :ref:`checkpoints`.
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
    verbose : "auto", bool or int, default="auto"
        "auto" shows a bar over epochs in a terminal or notebook after 5 s; 1 at once.

    Attributes
    ----------
    encoder_ : GraphEncoder
        The trained encoder, for ``Pretrained``.
    module_ : torch.nn.Module
        The whole trained network, in evaluation mode.
    task_weighting_ : TaskWeighting
        The weighting with its state.
    targets_ : object
        What was learned about ``y``: names, units or classes, the loss; curvature
        and files read it.
    history_ : list of dict
        One record per epoch, as :class:`MultiTaskGNNRegressor` keeps it.
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
        Columns of the graphs of fit.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseGNN._parameter_constraints,
        **WEIGHTING_CONSTRAINTS,
        "target_loss": [None, StrOptions(set(CHOICES)), list, tuple],
    }

    def __init__(
        self,
        encoder: str | GraphEncoder = "gin",
        *,
        readout: str | Readout = "mean",
        auxiliary_tasks: Sequence[str | AuxiliaryTask] = ("atommasking",),
        task_weighting: str | TaskWeighting | Callable[..., Any] = "equal",
        target_loss: str | Sequence[str] | None = "auto",
        optimizer: str | Callable[..., Any] = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        lr_schedule: str | Callable[[float], float] = "cosine",
        gradient_clip: float | None = None,
        batch_size: int = 64,
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
        self.weight_averaging = weight_averaging
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.device = device
        self.n_threads = n_threads
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
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
        resume = self._goes_on
        return self._adopt(self._fit(X, y, sample_weight, groups, resume=resume))

    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch on a chunk, from the fitted state if there is one.

        The first call fixes the columns of the graphs, the tasks, and the losses and
        scales of the columns of ``y``, as well as the scales of auxiliary tasks. The
        learning rate is constant; ``set_params(lr=...)`` changes it between calls. Of
        ``weight_averaging``, "ema" goes on from call to call, and "tail" has no effect.

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
        state = self._fit(X, y, sample_weight, None, resume=resume, partial=True)
        return self._adopt(state)

    def transform(self, X: Any) -> np.ndarray:
        """Embed graphs, in evaluation mode.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.

        Returns
        -------
        embedding : ndarray of float64 of shape (n_samples, width)
            What the readout gives, then graph features; NaN for an invalid graph. Under
            ``set_output`` a table, with the index of the frame that the graphs come
            from.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit.
        """
        return with_index(self.embed(X), X, self)

    @property
    def encoder_(self) -> GraphEncoder:
        """The trained encoder, out of any wrapper."""
        module: Any = self.module_
        encoder: GraphEncoder = module.encoder.core
        return encoder

    @property
    def target_losses_(self) -> list[str]:
        """Loss of each column of ``y``."""
        return list(self.targets_.losses)

    @property
    def target_mean_(self) -> np.ndarray:
        """What is subtracted from the columns of ``y``."""
        mean: np.ndarray = self.targets_.mean
        return mean

    @property
    def target_scale_(self) -> np.ndarray:
        """What the columns of ``y`` are divided by."""
        spread: np.ndarray = self.targets_.spread
        return spread

    @property
    def _n_features_out(self) -> int:
        # Needed, because scikit-learn names the columns by it.
        module: Any = self.module_
        width: int = module.width
        return width

    def _targets(self) -> MixedTargets:
        return MixedTargets(target_loss=self.target_loss)

    def _recipe(self) -> MultiTaskRecipe:
        return MultiTaskRecipe(
            self.encoder, self.readout, self.task_weighting, self.auxiliary_tasks
        )
