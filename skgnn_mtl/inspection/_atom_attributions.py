"""What each atom adds to a prediction: integrated gradients, and occlusion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, overload

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._component import is_count
from skgnn_mtl._pipelines import at_last_step
from skgnn_mtl.estimators import (
    GATERegressor,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
)
from skgnn_mtl.estimators._inputs import lists_tasks, read_graphs, task_positions
from skgnn_mtl.estimators._network import FittedNetwork
from skgnn_mtl.graphs import GraphArray

_METHODS = ("integrated_gradients", "occlusion")
# Atoms per batch, about: on a CPU, the states of more do not stay in its cache.
_MOST_NODES = 1024
# Rows of the atoms of some graphs, and the map from such rows to outputs (k, n_tasks).
_Cut = tuple[Tensor, Callable[[Tensor], Tensor]]
_ESTIMATORS = (GATERegressor, MultiTaskGNNClassifier, MultiTaskGNNRegressor)


@overload
def atom_attributions(
    estimator: Any,
    X: Any,
    task: Any = None,
    *,
    label: Any = ...,
    method: str = ...,
    n_steps: int = ...,
    return_difference: Literal[False] = ...,
) -> list[np.ndarray]: ...


@overload
def atom_attributions(
    estimator: Any,
    X: Any,
    task: Any = None,
    *,
    label: Any = ...,
    method: str = ...,
    n_steps: int = ...,
    return_difference: Literal[True],
) -> tuple[list[np.ndarray], np.ndarray]: ...


def atom_attributions(
    estimator: Any,
    X: Any,
    task: Any = None,
    *,
    label: Any = None,
    method: str = "integrated_gradients",
    n_steps: int = 6,
    return_difference: bool = False,
) -> list[np.ndarray] | tuple[list[np.ndarray], np.ndarray]:
    r"""Attribute predictions to atoms, or to the sites of crystals.

    The prediction :math:`f(x)` is read as a function of the rows :math:`x_v` that the
    atoms give to the first layer. The baseline :math:`x' = 0` has the same bonds, but
    atoms without any feature. The integrated gradients [1]_ of atom v are

    .. math::

        a_v = x_v^T \int_0^1 \frac{\partial f(\alpha x)}{\partial x_v}\, d\alpha,
        \qquad \sum_v a_v = f(x) - f(0),

    where the sum holds up to the error of the integration. Occlusion is the check
    without gradients, :math:`a_v = f(x) - f(x \text{ with } x_v = 0)`, whose sum is
    free.

    Parameters
    ----------
    estimator : fitted estimator or Pipeline
        A regressor, classifier or :class:`~skgnn_mtl.GATERegressor` of this package, or
        a pipeline that ends with one.
    X : GraphArray, or what the pipeline reads
        Molecules or crystals.
    task : None, str, int or list of these, default=None
        Names or positions of tasks; None takes all.
    label : object or list, default=None
        For classifiers, the class that is explained, of ``classes_``: one for one task,
        else a list with one per task. None is the second class of two. A task of more
        classes needs a label.
    method : {"integrated_gradients", "occlusion"}, default="integrated_gradients"
        How to attribute.
    n_steps : int, default=6
        Points of the Gauss-Legendre rule of the integral; occlusion does not use it.
        More points lower the error of the sum; see Notes.
    return_difference : bool, default=False
        Whether to return :math:`f(x) - f(0)`, too.

    Returns
    -------
    attributions : list of ndarray of float64
        One array for each graph, of shape (n_atoms, n_tasks), or (n_atoms,) for one
        task that is not in a list. Atoms are in the order of the graph, which is that
        of the SMILES or of the molecule. An invalid graph does not have atoms.
    difference : ndarray of float64 of shape (n_graphs, n_tasks) or (n_graphs,)
        Only if asked for; NaN for an invalid graph.

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    ImportError
        If Captum is missing for integrated gradients; ``pip install captum``.
    TypeError
        If the estimator is another one, if X is not graphs, or if an encoder of your
        own does not have ``cut``.
    ValueError
        If a task, a label, the method or the number of steps is not valid.

    See Also
    --------
    AtomAttributionDisplay : Draws them.

    Notes
    -----
    Attributions have the units of ``y``. They explain the transformed target where the
    estimator has a ``target_transform`` (decades for "log10"), because it is a sum of
    what the heads read, and its inverse is not. For classifiers they explain the
    logarithm of the odds of the class, :math:`\log\frac{p_c}{1 - p_c}`, which is the
    logit of the second class of two.

    Bonds, distances and ``graph_features`` are held fixed: what they add without the
    atoms is in :math:`f(0)`. Attributions say what the network computes, not what
    causes the property. Compare both methods, and ask whether a change of the molecule
    changes the prediction as its atoms say.

    ``difference - sum`` is the error of the integration. Activations with kinks such as
    ReLU need more points than smooth ones. The estimator is not changed.

    References
    ----------
    .. [1] M. Sundararajan, A. Taly, Q. Yan, "Axiomatic Attribution for Deep Networks",
       ICML 2017.

    Examples
    --------
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
    >>> from skgnn_mtl.inspection import atom_attributions
    >>> model = make_pipeline(
    ...     SmilesToGraph(), MultiTaskGNNRegressor(max_epochs=2, random_state=0)
    ... )
    >>> _ = model.fit(["CCO", "CCN", "CC", "CCC"], [-0.3, -0.1, 1.8, 2.4])
    >>> attributions, difference = atom_attributions(
    ...     model, ["OCC", "CC"], method="occlusion", return_difference=True
    ... )
    >>> [values.shape for values in attributions], difference.shape
    ([(3,), (2,)], (2,))
    """
    _check_options(method, n_steps)
    fitted, network, graphs = _read(estimator, X)
    targets = fitted.targets_
    if task is None:
        tasks, is_one = list(range(targets.n_tasks)), targets.one_dimensional
    else:
        tasks = task_positions(task, targets.names, "task")
        is_one = not lists_tasks(task, targets.names)
    read_outputs = _reader(fitted, tasks, [label] if is_one else label)
    rows = np.flatnonzero(graphs.valid)
    # Atoms of the graphs in the order of X, an empty part for the case without any.
    values = [np.empty((0, len(tasks)))]
    difference = np.full((len(graphs), len(tasks)), np.nan)
    with network.at_work(differentiable=True) as module:
        cut = partial(_cut, module, graphs, read_outputs, network.device)
        for part in _parts(graphs.n_nodes, rows):
            if return_difference:
                difference[part] = _difference(*cut(part))
            if method == "occlusion":
                values.append(_occlusion(cut, part, graphs.n_nodes))
            else:
                values.append(_integrated_gradients(*cut(part), len(tasks), n_steps))
    sizes = np.where(graphs.valid, graphs.n_nodes, 0)
    table = np.concatenate(values) * targets.scale[tasks]
    attributions = np.split(table, np.cumsum(sizes)[:-1])
    difference *= targets.scale[tasks]
    if is_one:
        attributions = [array[:, 0] for array in attributions]
        difference = difference[:, 0]
    return (attributions, difference) if return_difference else attributions


def _check_options(method: str, n_steps: int) -> None:
    """Refuse wrong options, and integrated gradients without Captum."""
    if method not in _METHODS:
        raise ValueError(f"method must be one of {list(_METHODS)}, got {method!r}.")
    if not is_count(n_steps):
        raise ValueError(f"n_steps must be an integer >= 1, got {n_steps!r}.")
    if method == "integrated_gradients":
        _captum()


def _captum() -> Any:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ImportError(
            "Integrated gradients need Captum: pip install captum. "
            "method='occlusion' does without."
        ) from error
    return IntegratedGradients


def _read(estimator: Any, X: Any) -> tuple[Any, FittedNetwork, GraphArray]:
    """Run the steps of a pipeline; take the state of its estimator, and its graphs."""
    graphs, estimator = at_last_step(estimator, X)
    if not isinstance(estimator, _ESTIMATORS):
        names = ", ".join(cls.__name__ for cls in _ESTIMATORS)
        raise TypeError(
            f"atom_attributions needs one of {names}, or a pipeline that ends with "
            f"one, got {type(estimator).__name__}. Of an ensemble, pass its members."
        )
    fitted = estimator._at_rest()
    network = fitted._at_work()
    if not isinstance(graphs, GraphArray):
        raise TypeError(
            f"X must be a GraphArray, got {type(graphs).__name__}. Transform it "
            "with the featurizer of fit, or pass the pipeline of both."
        )
    return fitted, network, read_graphs(fitted, graphs)


def _reader(
    fitted: Any, tasks: Sequence[int], labels: Any
) -> Callable[[Tensor], Tensor]:
    """Make the map from the outputs of the network to what is explained, (n, t)."""
    names = fitted.targets_.names
    if labels is None:
        labels = [None] * len(tasks)
    if not isinstance(labels, (list, tuple, np.ndarray)) or len(labels) != len(tasks):
        raise ValueError(
            f"label must be a list with a class for each of {len(tasks)} task(s), but "
            f"is {labels!r}."
        )
    # Asked with a default, because tasks of numbers do not have classes.
    classes = getattr(fitted.targets_, "classes", None)
    if classes is not None:
        pairs = zip(tasks, labels, strict=True)
        codes = [_code(classes[k], label, names[k]) for k, label in pairs]
        sizes = [len(classes[k]) for k in tasks]
        return partial(_log_odds, tasks, codes, sizes, len(classes))
    if any(label is not None for label in labels):
        raise ValueError(
            f"label must be None for a task of numbers, but is {labels!r}: only a "
            "classifier has classes."
        )
    positions = [fitted._state.output_order[task] for task in tasks]
    return lambda outputs: outputs[:, positions]


def _code(classes: np.ndarray, label: Any, name: str) -> int:
    """Find the position of a class of a task."""
    known: list[Any] = classes.tolist()
    if label is None and len(known) > 2:
        raise ValueError(
            f"Task {name!r} has {len(known)} classes: say by label= which of {known} "
            "is to be explained, or name other tasks by task=."
        )
    if label is None:
        return 1
    if label not in known:
        raise ValueError(f"label of task {name!r} must be in {known}, got {label!r}.")
    return known.index(label)


def _log_odds(
    tasks: Sequence[int],
    codes: Sequence[int],
    sizes: Sequence[int],
    n_tasks: int,
    outputs: Tensor,
) -> Tensor:
    """Compute the logarithms of the odds of one class of each task, (n, t).

    The outputs are those that :class:`~skgnn_mtl.training.SoftmaxLoss` reads.
    """
    parts = []
    for task, code, size in zip(tasks, codes, sizes, strict=True):
        own = outputs[:, task::n_tasks]
        if size <= 2:
            parts.append(own[:, 0] if code else -own[:, 0])
            continue
        others = [k for k in range(size) if k != code]
        parts.append(own[:, code] - own[:, others].logsumexp(dim=1))
    return torch.stack(parts, dim=1)


def _parts(n_nodes: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into batches of few nodes."""
    # Before the graph, so that a batch has at least one, however large.
    before = np.cumsum(n_nodes[rows]) - n_nodes[rows]
    is_first = np.diff(before // _MOST_NODES, prepend=-1) > 0
    yield from np.split(rows, np.flatnonzero(is_first)[1:]) if len(rows) else ()


def _cut(
    module: Any,
    graphs: GraphArray,
    read_outputs: Callable[[Tensor], Tensor],
    device: torch.device,
    rows: np.ndarray,
) -> _Cut:
    """Cut the network behind the rows of the atoms of some graphs."""
    batch = graphs.batch(rows).to(device)
    parts = module.encoder.cut(batch)
    if parts is None:
        raise TypeError(
            f"{type(module.encoder.core).__name__} does not say which rows of the "
            "atoms it reads: write its method cut, see GraphEncoder."
        )
    columns, rest = parts

    def outputs(columns: Tensor) -> Tensor:
        return read_outputs(module.predict_states(rest(columns), batch))

    return columns, outputs


def _difference(columns: Tensor, outputs: Callable[[Tensor], Tensor]) -> np.ndarray:
    """Subtract the outputs of atoms without features."""
    # In double precision from here on, because the difference may be small.
    without = _numbers(outputs(torch.zeros_like(columns)))
    difference: np.ndarray = _numbers(outputs(columns)) - without
    return difference


def _integrated_gradients(
    columns: Tensor,
    outputs: Callable[[Tensor], Tensor],
    n_tasks: int,
    n_steps: int,
) -> np.ndarray:
    """Integrate from zero for all graphs of a batch at once, (n_nodes, n_tasks).

    The derivative of the sum of the outputs is that of each graph by its own atoms.
    """
    found = []
    for task in range(n_tasks):
        attribute = _captum()(outputs).attribute
        # One step at a time, because Captum counts atoms as examples.
        values = attribute(
            columns, target=task, n_steps=n_steps, internal_batch_size=len(columns)
        )
        found.append(_numbers(values.sum(dim=1)))
    return np.stack(found, axis=1)


def _occlusion(
    cut: Callable[[np.ndarray], _Cut], rows: np.ndarray, n_nodes: np.ndarray
) -> np.ndarray:
    """Take the features of one atom at a time, (n_nodes, n_tasks)."""
    columns, outputs = cut(rows)
    whole = np.repeat(_numbers(outputs(columns)), n_nodes[rows], axis=0)
    # A copy of a graph for each of its atoms.
    copies = np.repeat(rows, n_nodes[rows])
    atoms = np.concatenate([np.arange(n) for n in n_nodes[rows]])
    masked, start = [], 0
    for part in _parts(n_nodes, copies):
        columns, outputs = cut(part)
        first = np.cumsum(n_nodes[part]) - n_nodes[part]
        hidden = torch.from_numpy(first + atoms[start : start + len(part)])
        columns = columns.index_fill(0, hidden.to(columns.device), 0.0)
        masked.append(_numbers(outputs(columns)))
        start += len(part)
    found: np.ndarray = whole - np.concatenate(masked)
    return found


def _numbers(values: Tensor) -> np.ndarray:
    # On the CPU first, because some accelerators lack double precision.
    numbers: np.ndarray = values.detach().cpu().double().numpy()
    return numbers
