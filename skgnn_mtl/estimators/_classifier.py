"""The multi-task classifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.base import ClassifierMixin, MultiOutputMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from skgnn_mtl.auxiliary import AuxiliaryTask
from skgnn_mtl.encoders import GraphEncoder
from skgnn_mtl.metrics import nan_roc_auc_scorer
from skgnn_mtl.readouts import Readout
from skgnn_mtl.training import MultiTaskModel
from skgnn_mtl.weighting import TaskWeighting

from ._base import BaseGNN
from ._class_columns import (
    class_logits,
    class_probabilities,
    from_outputs,
    to_probabilities,
)
from ._classes import ClassTargets
from ._inputs import in_task_order, require_labels
from ._linear import PREDICTOR_CONSTRAINTS, LinearHeadGNN, predictor_recipe
from ._recipe import MultiTaskRecipe


def _is_one_task(estimator: MultiTaskGNNClassifier) -> bool:
    # Before a fit the method exists, because only y decides about it.
    return not estimator.__sklearn_is_fitted__() or estimator.targets_.one_dimensional


# Mixins on the left, because scikit-learn builds tags from the right.
class MultiTaskGNNClassifier(ClassifierMixin, MultiOutputMixin, LinearHeadGNN):  # type: ignore[misc]
    """Multi-task graph neural network for classification.

    The network of :class:`MultiTaskGNNRegressor`. The loss of a task is the mean
    cross-entropy of its classes over its labelled graphs. A task of two classes has one
    output, the logit of the second. A task of more has one for each class. A task
    weighting combines the tasks.

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
    class_weight : None, "balanced", dict or list of these, default=None
        Weights of the labels of each class: a dict from class to weight for a single
        task, a list with one entry per task for several. "balanced" gives all classes
        of a task the same total weight.
    optimizer : str or callable, default="adamw"
        As in :class:`MultiTaskGNNRegressor`.
    lr : float, default=1e-3
        Learning rate at its highest.
    weight_decay : float, default=0.0
        Weight decay of the optimizer.
    lr_schedule : {"cosine", "warmup_cosine", "noam", "constant", "plateau"} or \
callable, default="cosine"
        Course of the learning rate over ``max_epochs``, step by step. "noam" rises
        from a tenth over the first tenth and falls exponentially to a tenth, "plateau"
        halves when the validation loss stalls. A callable maps the progress in [0, 1]
        to a factor.
    gradient_clip : float or None, default=None
        Largest norm of the gradient.
    batch_size : int, default=64
        Graphs in a training step.
    max_epochs : int or "auto", default="auto"
        Passes over the training rows; "auto" is ``100 * sqrt(4000 / n)`` for n rows,
        rounded, and in [10, 100]: 100 up to 4,000 rows.
    early_stopping : bool, default=False
        Stop after ``n_iter_no_change`` epochs without a better validation loss or
        score, at the latest after half of ``max_epochs``; then train as long again,
        on the validation rows, too, while the rate falls to zero. A splitter's rows,
        and all with ``warm_start``, stay unseen: the weights of the best epoch are
        restored instead.
    scoring : "loss", str, callable or None, default="loss"
        Criterion of early stopping and of the "plateau" schedule: the validation loss
        of the target tasks, or a score, of all columns of ``y`` unless it picks some.
        A scorer, such as those of ``skgnn_mtl.metrics``, which accept missing labels,
        is called with the estimator and the validation rows; a string names one of
        scikit-learn; None takes :meth:`score`.
    validation : float or cross-validation splitter, default=0.1
        Validation rows: a share, drawn (by ``groups`` where given) only if early
        stopping or the "plateau" schedule needs it; or a splitter, whose first split
        is always used.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    weight_averaging : {None, "tail", "ema"}, default=None
        Average of the weights along the training; see :class:`MultiTaskGNNRegressor`.
    hessian_spectrum : bool or dict, default=False
        End ``fit`` with the curvature of each task's loss on the training rows, at the
        parameters that ``predict`` uses. A dict holds options of
        :func:`~skgnn_mtl.curvature.hessian_spectrum`; its key ``at``, fractions of
        ``max_epochs`` such as ``(0, 0.25, 1.0)``, takes spectra along the training.
    callbacks : list of skorch callbacks or None, default=None
        They receive the private training net, whose ``module_`` is the network.
    checkpoint : path or None, default=None
        File that keeps the state of ``fit`` after its epochs. The next ``fit`` of the
        same data and parameters goes on from it; see :ref:`checkpoints`.
    device : str or torch.device, default="auto"
        "auto" is CUDA where there is one, else the CPU, which also replaces, with a
        warning, a device that is absent.
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
    classes_ : ndarray of shape (n_classes,), or a list of them
        Classes in sorted order; a list with one array per task for a two-dimensional
        ``y``.
    class_weight_ : ndarray of shape (n_tasks, n_classes)
        Weight of each class of each task, with a column for each class of the task that
        has most; 1 behind the last class of another one.
    module_ : torch.nn.Module
        The trained network, in evaluation mode.
    task_weighting_ : TaskWeighting
        The weighting with its state.
    targets_ : object
        What was learned about ``y``: names, units or classes, the loss; curvature
        and files read it.
    history_ : list of dict
        One record per epoch, as :class:`MultiTaskGNNRegressor` keeps it.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        1 for graphs, else the number of columns of X.
    feature_names_in_ : ndarray of str
        Column names of a numeric X that has them.
    schema_ : GraphSchema
        Columns of the graphs of fit.
    task_weights_ : ndarray of shape (n_tasks + n_auxiliary_tasks,)
        Weights of the last epoch, divided by their mean.
    auxiliary_names_ : list of str
        Names of the auxiliary tasks, as in ``history_``.
    best_epoch_ : int
        Epoch that the weights of ``module_`` come from.
    held_out_rows_ : ndarray of int
        With ``BLO`` and ``RCGrad(learn="heldout")``: training rows that they
        learn from, and that the network is not trained on.
    hessian_spectrum_ : HessianSpectrum or dict
        With ``hessian_spectrum``; a dict if its option ``parameters`` is one.
    hessian_spectrum_path_ : list of HessianSpectrum
        With the option ``at``; their ``settings["epoch"]`` say when.

    See Also
    --------
    MultiTaskGNNRegressor : Several properties with gaps.
    skgnn_mtl.ensemble.HybridClassifier : A network beside trees.

    Notes
    -----
    A task with one class in the training rows, as in a fold of rare labels, is trained
    with a warning, and always predicted as this class, unless ``classes`` or the
    validation rows hold another one.

    References
    ----------
    .. [1] Z. Wu et al., "MoleculeNet: a benchmark for molecular machine learning",
       Chemical Science 9, 513 (2018).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph
    >>> smiles = ["CCO", "CCN", "CCC", "c1ccccc1", "CC(=O)O", "CCCl"]
    >>> y = np.array([[1, 0], [0, 1], [0, np.nan], [0, 0], [1, 0], [np.nan, 0]])
    >>> model = make_pipeline(
    ...     SmilesToGraph(),
    ...     MultiTaskGNNClassifier(max_epochs=5, random_state=0),
    ... )
    >>> first, second = model.fit(smiles, y).predict_proba(["CCBr", "CO"])
    >>> first.shape
    (2, 2)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **BaseGNN._parameter_constraints,
        **PREDICTOR_CONSTRAINTS,
        "class_weight": [None, StrOptions({"balanced"}), dict, list],
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
        class_weight: str | dict[Any, float] | list[Any] | None = None,
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
        self.class_weight = class_weight
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

    def _targets(self) -> ClassTargets:
        return ClassTargets(class_weight=self.class_weight)

    def _recipe(self) -> MultiTaskRecipe:
        return predictor_recipe(self)

    @property
    def classes_(self) -> Any:
        """Classes; a list of one array per task for a two-dimensional ``y``."""
        classes = list(self.targets_.classes)
        return classes[0] if self.targets_.one_dimensional else classes

    @property
    def class_weight_(self) -> np.ndarray:
        """Factors of the losses of the classes of each task."""
        factors: np.ndarray = self.targets_.factors
        return factors

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
            Labels of the classes of each task: whole numbers, booleans or strings; NaN
            or None where missing.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.
        groups : array-like of shape (n_samples,), optional
            Rows of one group stay on one side of the validation split, and of that
            which some task weightings hold out.

        Returns
        -------
        self : MultiTaskGNNClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has no label or labels that are no classes, or a parameter is
            wrong.
        FloatingPointError
            If the training diverges.
        KeyboardInterrupt
            If the user interrupts the training: its best state so far is kept. After
            any other error the estimator is as it was before the call.
        """
        # Not in the base, because a pretrainer takes y=None.
        require_labels(self, y)
        state = self._fit(
            X,
            y,
            sample_weight,
            groups,
            resume=self._goes_on,
            scoring=self.scoring,
            hessian_spectrum=self.hessian_spectrum,
        )
        return self._adopt(state)

    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch, from the fitted state if there is one.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs, or a numeric table.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN or None where missing.
        classes : array-like, or list of array-like, optional
            All classes of each task, which the first call may not show; without them
            they are those of the first call.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        self : MultiTaskGNNClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If X or y have other columns or classes than in the first call.
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
            # With the classes, which are no parameter, so that _targets cannot know
            # them.
            targets=ClassTargets(class_weight=self.class_weight, given=classes),
        )
        return self._adopt(state)

    def predict_logits(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Logits of the classes of each task, relative to the first class.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.

        Returns
        -------
        logits : ndarray of float64, (n_samples,) or (n_samples, n_tasks), or a list
            If each task has two classes, logits of the second one, in the dimensions of
            the ``y`` of fit. Else arrays of shape (n_samples, n_classes) with 0 for the
            first class: one array, or a list with one per task for a two-dimensional
            ``y``. NaN for an invalid graph.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the graphs have other columns than in fit.
        """
        fitted = self._at_rest()
        targets, table = fitted.targets_, fitted._logits(X)
        if targets.n_outputs == 1:
            logits: np.ndarray = targets.shaped(table)
            return logits
        tasks = class_logits(table, targets.classes)
        return tasks[0] if targets.one_dimensional else tasks

    def _logits(self, X: Any) -> np.ndarray:
        # __call__ and not forward, because torch runs hooks in the former.
        outputs = self._apply(X, MultiTaskModel.__call__)
        return from_outputs(outputs, self.targets_.classes)

    @available_if(_is_one_task)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> np.ndarray:
        """Logits of the classes, for a one-dimensional ``y``.

        Several tasks have :meth:`predict_logits`: in scikit-learn a classifier with a
        list of classes has no decision function.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.

        Returns
        -------
        logits : ndarray of float64, (n_samples,) or (n_samples, n_classes)
            Logits of the second class of two, or of all of more. NaN for an invalid
            graph.
        """
        logits = self.predict_logits(X)
        assert isinstance(logits, np.ndarray), "y had one dimension"
        return logits

    def predict_proba(self, X: Any) -> np.ndarray | list[np.ndarray]:
        """Probabilities of the classes of each task.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes), or a list of them
            Columns are those of ``classes_``; a list with one array per task
            for a two-dimensional ``y``. NaN for an invalid graph.
        """
        fitted = self._at_rest()
        classes = fitted.targets_.classes
        table = to_probabilities(fitted._logits(X), classes)
        tasks = class_probabilities(table, classes)
        return tasks[0] if fitted.targets_.one_dimensional else tasks

    def predict(self, X: Any) -> np.ndarray:
        """Predict the most probable class of each task.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.

        Returns
        -------
        labels : ndarray, (n_samples,) or (n_samples, n_tasks)
            In the dimensions of the ``y`` of fit. Where a graph is invalid numbers
            become float and strings object, with NaN for the graph.
        """
        fitted = self._at_rest()
        labels: np.ndarray = fitted.targets_.decode(fitted._logits(X))
        return labels

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Mean area under the ROC curve over the tasks with labels of several classes.

        The same as :data:`~skgnn_mtl.metrics.nan_roc_auc_scorer`. That of a task of
        more than two classes is the mean of each class against the rest.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN or None where missing; columns of a DataFrame may have another
            order.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        score : float
            1 for a perfect order, 0.5 for a random one.

        Raises
        ------
        ValueError
            If y has other columns than in fit.
        """
        y = in_task_order(y, self.task_names_)
        return float(nan_roc_auc_scorer(self, X, y, sample_weight=sample_weight))
