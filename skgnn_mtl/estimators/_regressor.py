"""The multi-task regressor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl.auxiliary import AuxiliaryTask
from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.metrics import nan_r2_score
from skgnn_mtl.readouts import Readout
from skgnn_mtl.training import LIKELIHOODS, LOSSES, Loss
from skgnn_mtl.weighting import TaskWeighting

from ._base import BaseGNN
from ._cgcnn import published_state, read_published
from ._inputs import in_task_order, require_labels
from ._linear import PREDICTOR_CONSTRAINTS, LinearHeadGNN, predictor_recipe
from ._number_predictions import predict_intervals, predict_numbers
from ._numeric import TRANSFORM_CONSTRAINT, NumericTargets
from ._recipe import MultiTaskRecipe


class MultiTaskGNNRegressor(RegressorMixin, MultiOutputMixin, LinearHeadGNN):  # type: ignore[misc]
    """Multi-task graph neural network for regression.

    The prediction is heads(readout(encoder(graph))): node states, one vector per
    graph, one linear head per task. ``graph_features``, such as descriptors, are
    standardised and appended to what the readout gives. Each task has a loss of its own
    over its labelled graphs; a task weighting combines them.

    Parameters
    ----------
    encoder : str or GraphEncoder, default="dmpnn"
        Makes node states: "gin", "gcn", "graphsage", "gat", "dmpnn", "cgcnn" (for
        crystals), or an instance such as ``DMPNN(width=600)``, which is cloned;
        :class:`~skgnn_mtl.encoders.Pretrained` starts from given weights, "pretrained"
        from those of :func:`~skgnn_mtl.encoders.load_encoder`.
    readout : str or Readout, default="auto"
        Makes one vector per graph: "mean", "sum", "attention", or an instance; "auto"
        is ``Sum(norm=20)`` for molecules, and the mean for others.
    head_hidden_dims : tuple of int, default=(300,)
        Widths of hidden layers between the readout and the heads. All tasks share
        them; only the last linear map is a task's own.
    head_activation : {"relu", "elu", "gelu", "silu", "softplus", "tanh"}, \
default="relu"
        Nonlinearity behind each of these layers.
    task_weighting : str, TaskWeighting or callable, default="equal"
        Combines the tasks: the name of a class of ``skgnn_mtl.weighting`` in lower
        case ("famo", "nashmtl", "upgrad", ...), an instance such as
        ``PCGrad(update_every=10)``, an object of TorchJD, or a function of the losses,
        the Gramian or the Jacobian. With a single task all train alike.
    target_tasks : None, str, int or list of these, default=None
        Names or positions of the tasks that count in early stopping and in the
        "plateau" schedule, and that "gcs", "gns", "gcs+gns", "anchoredpcgrad", "rcgrad"
        and "blo" help with the other tasks; None stands for all.
    auxiliary_tasks : sequence of str or AuxiliaryTask, default=()
        Tasks to train along, which need no labels: names of classes of
        ``skgnn_mtl.auxiliary`` in lower case ("atommasking", "motifprediction", ...) or
        instances. They are entries of the losses behind the columns of ``y``; graphs
        without any label take part in them.
    loss : {"squared_error", "absolute_error", "huber", "gaussian_nll", "beta_nll"} \
or callable, default="squared_error"
        Loss of one label, of standardised targets; a callable maps outputs and
        targets (n, t) to losses (n, t). The last two are negative log-likelihoods of
        normal labels [3]_, whose variances a second linear head of each task
        predicts; the loss has a constant that keeps it positive. "beta_nll" weights
        gradients by standard deviations, so that rows of large variance are learned,
        too. For the first fifth of ``max_epochs`` the means learn as by the squared
        error. Log-variances of standardised labels are between -10 and 10.
    normalize_targets : bool, default=True
        Standardise each task over its labelled, weighted training rows.
    target_transform : None, "log10", "log", transformer or dict, default=None
        Transform of the labels, undone on predictions: the logarithm, or a transformer
        of scikit-learn, which is fitted on the training labels of each task. A dict
        maps names of tasks to transforms, and leaves other tasks as they are.
    censored : {"raise", "drop", "bound"}, default="raise"
        What a label that is only a bound, such as ">100" or "<= 0.77", does: it is an
        error, it is left out, or its loss is one-sided. "bound" makes the loss 0 where
        the prediction is beyond the bound. Scales count it as its number, scores leave
        it out. A falling ``target_transform`` turns it round.
    optimizer : str or callable, default="adamw"
        "adamw", "adam", "sgd"; "muon" (orthogonal updates of matrices, torch 2.9),
        "soap" (the extra "optimizers"); "sam" and "samo", or one of
        :mod:`skgnn_mtl.optimizers`. A callable has (params, lr=, weight_decay=).
    lr : float, default=1e-3
        Learning rate at its highest.
    weight_decay : float, default=0.0
        Weight decay of the optimizer.
    lr_schedule : {"cosine", "warmup_cosine", "noam", "constant", "plateau"} or \
callable, default="cosine"
        Learning rate over ``max_epochs``, step by step. "noam" rises from a tenth over
        the first tenth and falls exponentially to a tenth, "plateau" halves when the
        validation loss stalls. A callable maps the progress in [0, 1] to a factor.
    gradient_clip : float or None, default=None
        Largest norm of the gradient.
    batch_size : int, default=64
        Graphs in a training step.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows; "auto" is ``100 * sqrt(4000 / n)`` for n rows,
        rounded, and in [10, 100]: 100 up to 4,000 rows.
    early_stopping : bool, default=False
        Stop after ``n_iter_no_change`` epochs without a better validation loss or
        score, at the latest after half of ``max_epochs``; then train as long again on
        all rows, while the rate falls to zero. A splitter's rows, and all with
        ``warm_start``, stay unseen: the weights of the best epoch are restored.
    scoring : "loss", str, callable or None, default="loss"
        Criterion of early stopping and of the "plateau" schedule: the validation loss
        of the target tasks, or a score, of all columns of ``y`` unless it picks some.
        A scorer, such as those of ``skgnn_mtl.metrics``, is called with the estimator
        and the validation rows; a string names one of scikit-learn; None is ``score``.
    validation : float or cross-validation splitter, default=0.1
        Validation rows: a share, drawn (by ``groups`` where given) only if early
        stopping or the "plateau" schedule needs it; or a splitter, whose first split
        is always used.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    weight_averaging : {None, "tail", "ema"}, default=None
        Average of the weights after the steps, which validation, scores and the fitted
        network use: "tail" is uniform over the second half of the steps, or of those
        after an early stop, "ema" exponential. In ``partial_fit``, which has no last
        step, "tail" averages nothing.
    hessian_spectrum : bool or dict, default=False
        End ``fit`` with the curvature of each task's loss on the training rows, at the
        weights of ``predict``. A dict holds options of
        :func:`~skgnn_mtl.curvature.hessian_spectrum`; its key ``at``, fractions of
        ``max_epochs`` such as ``(0, 0.25, 1.0)``, takes spectra along the training.
    callbacks : list of skorch callbacks or None, default=None
        They receive the private training net, whose ``module_`` is the network.
    checkpoint : path or None, default=None
        File that keeps the state of ``fit`` after its epochs. The next ``fit`` of the
        same data and parameters goes on from it; see :ref:`checkpoints`.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is one, else the CPU; it replaces an absent device.
    n_threads : int or None, default=None
        Threads of torch in fit and predict; None leaves torch's setting.
    warm_start : bool, default=False
        Let ``fit`` go on from the fitted network, with the target scales, tasks and
        weighting it has.
    random_state : int, RandomState or None, default=None
        Seed of everything random: weights, batch order, dropout, validation rows.
    verbose : "auto", bool or int, default="auto"
        "auto" shows a bar over epochs in a terminal or notebook after 5 s; 1 at once.

    Attributes
    ----------
    module_ : torch.nn.Module
        The trained network, in evaluation mode.
    task_weighting_ : TaskWeighting
        The weighting with its state.
    targets_ : object
        What was learned about ``y``: names, units or classes, the loss; curvature
        and files read it.
    history_ : list of dict
        One record per epoch: ``epoch``, ``lr``, ``seconds``, ``train_loss`` and, while
        rows validate, ``valid_loss`` (means over tasks) or ``valid_score``; by task
        name ``train_losses``, ``valid_losses``, ``task_weights``, ``task_weights_std``
        (mean and spread over the batches with the task), ``absent_shares`` (of batches
        without it), with their mean ``absent_share``. Losses are of standardised
        targets. Methods that evaluate gradients add ``conflict_share`` (pairs with a
        negative inner product), ``norm_ratio`` (longest over shortest gradient) and
        ``solver`` (calls, worst residual, iterations, failures, stationary steps,
        flips); ``Curvature`` adds ``curvature``, its mean curvature of each task.
        Gradient methods with target tasks add ``target_norm``, the length of the pooled
        target's gradient, and of each auxiliary task ``norms``, ``cosines`` with the
        target (means over the gradient evaluations) and ``conflict_shares`` (those
        with a negative cosine); ``RCGrad`` also ``rotation``. ``BLO`` adds
        ``n_outer_steps`` so far, ``learned_weights`` and ``hypergradients`` of each
        auxiliary task (the mean h), ``target_hypergradient``, and ``series_ratio``
        (last over first term).
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_, n_features_in_ : int
        Number of tasks; 1 for graphs, else the number of columns of X.
    feature_names_in_ : ndarray of str
        Column names of a numeric X that has them.
    schema_ : GraphSchema
        Columns of the graphs of fit.
    target_mean_, target_scale_ : ndarray of shape (n_tasks,)
        What the targets were standardised with, after their transform.
    task_weights_ : ndarray of shape (n_tasks + n_auxiliary_tasks,)
        Weights of the last epoch, divided by their mean.
    auxiliary_names_ : list of str
        Names of the auxiliary tasks.
    best_epoch_ : int
        Epoch that the weights of ``module_`` come from.
    held_out_rows_ : ndarray of int
        Training rows that ``BLO`` and ``RCGrad(learn="heldout")`` alone learn from.
    hessian_spectrum_ : HessianSpectrum or dict
        With ``hessian_spectrum``; a dict if its option ``parameters`` is one.
    hessian_spectrum_path_ : list of HessianSpectrum
        With the option ``at``; their ``settings["epoch"]`` say when.

    See Also
    --------
    MultiTaskGNNClassifier, GATERegressor, skgnn_mtl.ensemble.HybridRegressor

    Notes
    -----
    A numeric two-dimensional X is read as graphs of one node and no edge, in float64: a
    multilayer perceptron, the limit of a graph network. Graphs are computed in float32.
    On the CPU, two fits with one seed agree bit for bit; on CUDA sums do not.

    References
    ----------
    .. [1] R. Caruana, "Multitask Learning", Machine Learning 28, 41 (1997).
    .. [2] J. Gilmer et al., "Neural Message Passing for Quantum Chemistry", ICML 2017.
    .. [3] M. Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation
       with Probabilistic Neural Networks", ICLR 2022, arXiv:2203.09168.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
    >>> smiles = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl"]
    >>> y = np.array([[46, 0.1], [45, np.nan], [44, 1.8], [78, 2.1], [60, 0], [64, 1]])
    >>> model = make_pipeline(
    ...     SmilesToGraph(), MultiTaskGNNRegressor(max_epochs=5, random_state=0)
    ... )
    >>> model.fit(smiles, y).predict(["CCBr", "CO"]).shape
    (2, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseGNN._parameter_constraints,
        **PREDICTOR_CONSTRAINTS,
        "loss": [StrOptions({*LOSSES, *LIKELIHOODS}), callable],
        "normalize_targets": ["boolean"],
        "target_transform": TRANSFORM_CONSTRAINT,
        "censored": [StrOptions({"raise", "drop", "bound"})],
    }

    def __init__(
        self,
        encoder: str | GraphEncoder = "dmpnn",
        *,
        readout: str | Readout = "auto",
        head_hidden_dims: Sequence[int] = (300,),
        head_activation: str = "relu",
        task_weighting: str | TaskWeighting | Callable[..., Any] = "equal",
        target_tasks: Any = None,
        auxiliary_tasks: Sequence[str | AuxiliaryTask] = (),
        loss: str | Loss = "squared_error",
        normalize_targets: bool = True,
        target_transform: Any = None,
        censored: str = "raise",
        optimizer: str | Callable[..., Any] = "adamw",
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        lr_schedule: str | Callable[[float], float] = "cosine",
        gradient_clip: float | None = None,
        batch_size: int = 64,
        max_epochs: int | str = "auto",
        early_stopping: bool = False,
        scoring: str | Callable[..., float] | None = "loss",
        validation: Any = 0.1,
        n_iter_no_change: int = 10,
        weight_averaging: str | None = None,
        hessian_spectrum: bool | dict[str, Any] = False,
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
        self.head_hidden_dims = head_hidden_dims
        self.head_activation = head_activation
        self.task_weighting = task_weighting
        self.target_tasks = target_tasks
        self.auxiliary_tasks = auxiliary_tasks
        self.loss = loss
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
        self.scoring = scoring
        self.validation = validation
        self.n_iter_no_change = n_iter_no_change
        self.weight_averaging = weight_averaging
        self.hessian_spectrum = hessian_spectrum
        self.callbacks = callbacks
        self.checkpoint = checkpoint
        self.device = device
        self.n_threads = n_threads
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def _targets(self) -> NumericTargets:
        return NumericTargets(
            loss=self.loss,
            normalize=self.normalize_targets,
            transform=self.target_transform,
            censored=self.censored,
        )

    def _recipe(self) -> MultiTaskRecipe:
        # The type first, because a callable need not be hashable.
        is_likelihood = isinstance(self.loss, str) and self.loss in LIKELIHOODS
        return predictor_recipe(self, variances=is_likelihood)

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

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs, or a numeric table. Invalid graphs are left out with a warning.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, in the losses and in the target scales.
        groups : array-like of shape (n_samples,), optional
            Rows of one group stay on one side of the validation split, and of that
            which some task weightings hold out.

        Returns
        -------
        self : MultiTaskGNNRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has no label, a label is infinite, or a parameter is wrong.
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            If the user interrupts the training: its best state so far is kept. After
            any other error the estimator is as it was before the call.
        """
        # Not in the base, because a pretrainer takes y=None.
        require_labels(self, y)
        rows = (X, y, sample_weight, groups)
        state = self._fit(
            *rows,
            resume=self._goes_on,
            scoring=self.scoring,
            hessian_spectrum=self.hessian_spectrum,
        )
        return self._adopt(state)

    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, from the fitted state if there is one.

        The first call learns the tasks, the scales of the targets and the columns of
        the graphs; later calls check them. The learning rate is constant. Of
        ``weight_averaging``, "ema" goes on from call to call, and "tail" has no effect.

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
        self : MultiTaskGNNRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or y have other columns than in the first call.
        KeyboardInterrupt
            If the user interrupts; see :meth:`fit`, also for other errors.
        """
        require_labels(self, y)
        state = self._fit(
            X,
            y,
            sample_weight,
            None,
            resume=self.__sklearn_is_fitted__(),
            partial=True,
            # Checked as in fit, but not computed, because one epoch is not the end.
            hessian_spectrum=self.hessian_spectrum,
        )
        return self._adopt(state)

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
            In the units and the dimensions of the ``y`` of fit; NaN for an invalid
            graph.
        std : ndarray of float64, of the same shape
            With ``return_std``: in the units of ``y``; see Notes.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit, or if there is no width; the
            message says what to set.

        Notes
        -----
        The width is that of Laplace's approximation at the last linear map of each task
        [1]_: Bayesian linear regression on the vectors that the map reads, around the
        weights of the network, over the task's labelled training rows. It includes the
        noise of a label, and grows for graphs whose vectors are unlike those of these
        rows.

        Residuals of the training rows are too small to tell the noise, because the
        network has seen these labels. Noise and prior come from estimates of the errors
        at left-out labels, in closed form: those of kernel ridge regression with the
        derivatives by the weights of the last hidden layer, which fits the training
        labels as closely as the network does. The noise of n labels is at least the
        n-th part of their standard deviation.

        The estimate is still optimistic: over five random folds intervals for 0.9 held
        0.80 of the labels of FreeSolv and 0.82 of those of ESOL (``confidence.csv`` of
        the documentation). They are narrower still without a hidden layer
        (``head_hidden_dims=()``). Where a coverage must hold, calibrate on rows that
        were not trained on: :class:`~skgnn_mtl.ensemble.ConformalRegressor`.

        With another loss of the package than the squared error the errors are still
        taken as normal. With "gaussian_nll" and "beta_nll" the regression is that of
        labels with the predicted variances; the noise is then a factor of them, at
        least 1. After ``partial_fit`` predicted variances are returned as they are.

        With ``target_transform`` the deviation is exact for logarithms (of a lognormal
        variable); otherwise it is half of the distance between what the transform makes
        of mean minus and plus one deviation. The prediction is then the median.

        References
        ----------
        .. [1] E. Daxberger et al., "Laplace Redux - Effortless Bayesian Deep Learning",
           NeurIPS 2021.
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

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Mean over tasks of the coefficient of determination on labelled entries.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing; columns of a DataFrame may have another order.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        score : float
            At most 1; 0 for the prediction of each task's mean.

        Raises
        ------
        ValueError
            If y has other columns than in fit.
        """
        predictions = self.predict(X)
        y = in_task_order(y, self.task_names_)
        return float(nan_r2_score(y, predictions, sample_weight=sample_weight))

    @classmethod
    def from_cgcnn(
        cls,
        path: str | PathLike[str],
        atom_features: str | PathLike[str],
        *,
        task_name: str = "task_0",
        **parameters: Any,
    ) -> Self:
        """Turn a published CGCNN checkpoint into a fitted regressor of one task.

        It predicts, embeds, is saved and trained on (``warm_start=True`` or
        ``partial_fit``) like one that was fitted here. Its graphs are those of
        ``CifToGraph(ties="cut", element_table=atom_features)``; the estimator refuses
        others.

        Parameters
        ----------
        path : path-like
            A ``.pth.tar`` file of the authors' code. It is read without executing
            anything in it.
        atom_features : path-like
            The ``atom_init.json`` that the model was trained with.
        task_name : str, default="task_0"
            Name of the task; a table ``y`` to train on must have this column.
        **parameters : object
            Parameters of the estimator other than those of the network, for further
            training.

        Returns
        -------
        estimator : MultiTaskGNNRegressor
            Fitted; predictions are one-dimensional, in the units of the checkpoint
            (log10 GPa for the published moduli).

        Raises
        ------
        ValueError
            If the file is something else or does not fit the table.

        References
        ----------
        .. [1] T. Xie, J. C. Grossman, "Crystal Graph Convolutional Neural Networks for
           an Accurate and Interpretable Prediction of Material Properties", Phys. Rev.
           Lett. 120, 145301 (2018); weights at https://github.com/txie-93/cgcnn.

        Examples
        --------
        >>> from skgnn_mtl import CifToGraph, MultiTaskGNNRegressor
        >>> model = MultiTaskGNNRegressor.from_cgcnn(
        ...     "bulk-moduli.pth.tar", "atom_init.json", lr=1e-4, warm_start=True
        ... )  # doctest: +SKIP
        >>> X = CifToGraph(
        ...     ties="cut", element_table="atom_init.json"
        ... ).transform(["NaCl.cif"])  # doctest: +SKIP
        >>> model.predict(X)  # doctest: +SKIP
        """
        checkpoint = read_published(path, atom_features)
        estimator = cls(**checkpoint.architecture, **parameters)
        # Here, because no fit checks them before they are used.
        estimator._check_parameters()
        return estimator._adopt(published_state(estimator, checkpoint, task_name))
