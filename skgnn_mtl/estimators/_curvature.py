"""What an estimator hands out so that curvature never has to know it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import fields, replace
from inspect import signature
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.nn import functional as F

from skgnn_mtl.curvature import (
    HessianSpectrum,
    KrylovUnion,
    TaskGaussNewton,
    TaskHessian,
    TaskProblem,
    check_spectrum_options,
    hessian_spectrum,
    lanczos,
)
from skgnn_mtl.graphs import GraphArray, GraphBatch, fill_gaps
from skgnn_mtl.training import MultiTaskModel, task_losses

from ._inputs import read_graphs

_OPTIONS = {
    name: parameter.default
    for name, parameter in signature(hessian_spectrum).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


def check_options(hessian_spectrum, name: str, loss) -> tuple[dict, tuple[float, ...]]:
    """Read the estimators' parameter ``hessian_spectrum``.

    Parameters
    ----------
    hessian_spectrum : bool or dict
        Options of :func:`~skgnn_mtl.curvature.hessian_spectrum`, and ``at``.
    name : str
        Class of the estimator, for the message.
    loss : str or callable
        Its loss: better to refuse a matrix now than after the training.

    Returns
    -------
    options : dict
        Options without ``at``.
    at : tuple of float
        Fractions of the training at which to compute a spectrum.

    Raises
    ------
    InvalidParameterError
        If a key is unknown, a value wrong, or the matrix zero.
    """
    options = {} if isinstance(hessian_spectrum, (bool, np.bool_)) else hessian_spectrum
    unknown = sorted(set(options) - set(_OPTIONS) - {"at"})
    if unknown:
        raise InvalidParameterError(
            f"The 'hessian_spectrum' parameter of {name} has unknown keys {unknown}; "
            f"known are 'at' and {sorted(_OPTIONS)}."
        )
    if options.get("matrix") == "ggn" and loss == "absolute_error":
        raise InvalidParameterError(
            f"{name}: hessian_spectrum={{'matrix': 'ggn'}} needs a loss with a second "
            "derivative, which loss='absolute_error' has not. Use matrix='hessian'."
        )
    at = options.get("at", ())
    if not isinstance(at, (list, tuple, np.ndarray)) or not all(
        isinstance(fraction, Real) and 0 <= float(fraction) <= 1 for fraction in at
    ):
        raise InvalidParameterError(
            f"hessian_spectrum['at'] must hold fractions of max_epochs in [0, 1], got "
            f"{at!r}."
        )
    options = {key: value for key, value in options.items() if key != "at"}
    try:
        check_spectrum_options(**{**_OPTIONS, **options})
    except ValueError as error:
        raise InvalidParameterError(
            f"The 'hessian_spectrum' parameter of {name} is wrong: {error}"
        ) from error
    return options, tuple(at)


class SpectrumRecorder:
    """Take spectra at some epochs of a training.

    Parameters
    ----------
    compute : callable
        Makes a spectrum of the network as it is now.
    at : tuple of float
        Fractions of ``max_epochs``.
    max_epochs : int
        Length of the training.
    """

    def __init__(
        self,
        compute: Callable[[], HessianSpectrum | dict[str, HessianSpectrum]],
        at: tuple[float, ...],
        max_epochs: int,
    ) -> None:
        self.compute = compute
        self.epochs = {round(fraction * max_epochs) for fraction in at}
        self.path: list[HessianSpectrum | dict[str, HessianSpectrum]] = []

    def __call__(self, epoch: int) -> None:
        """Take a spectrum if this number of finished epochs asks for one."""
        if epoch not in self.epochs:
            return
        spectra = self.compute()
        if isinstance(spectra, dict):
            marked = {k: s.with_settings(epoch=epoch) for k, s in spectra.items()}
            self.path.append(marked)
        else:
            self.path.append(spectra.with_settings(epoch=epoch))


def curvature_problem(
    estimator,
    graphs: GraphArray,
    table: np.ndarray,
    *,
    choose: Callable[[np.ndarray], np.ndarray],
    batch_size: int,
    dtype: str | None,
) -> TaskProblem:
    """Hand out functions, parameters and batches of a fitted estimator.

    They belong to a copy of the network, in evaluation mode: nothing that happens to
    them can touch the estimator.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    graphs : GraphArray of shape (n,)
        Graphs of the schema of fit.
    table : ndarray of shape (n, t)
        Labels, NaN where missing.
    choose : callable
        Maps (n, t) bool, where there is a label, to the rows to use.
    batch_size : int
        Graphs in a batch.
    dtype : str or None
        Precision of the copy.

    Returns
    -------
    problem : TaskProblem
        The heads' rows are parameters of their own, one for each task.

    Raises
    ------
    ValueError
        If ``dtype`` is no floating type or no row has a label.
    """
    dtype = estimator.schema_.dtype if dtype is None else str(dtype)
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
    labelled = ~np.isnan(table) & graphs.valid[:, None]
    if not labelled.any():
        raise ValueError("No valid graph of X has a label.")
    rows = np.asarray(choose(labelled))
    model = copy.deepcopy(estimator.module_).eval().to(getattr(torch, dtype))
    model.requires_grad_(True)
    model.auxiliary = torch.nn.ModuleList()  # no task of y depends on their heads
    device = estimator._device()
    model.to(device)
    heads, outputs = _split_heads(model, estimator.task_names_)
    weights = labelled[rows].astype(dtype)
    weights = estimator._weigh_classes(table[rows], weights).astype(dtype)
    targets = fill_gaps(estimator._encode_targets(table[rows]), weights)
    parts = [
        slice(start, start + batch_size) for start in range(0, len(rows), batch_size)
    ]
    batches = [
        (
            _cast(graphs.batch(rows[part]), dtype).to(device),
            torch.from_numpy(targets[part].astype(dtype)).to(device),
            torch.from_numpy(weights[part]).to(device),
        )
        for part in parts
    ]
    loss = estimator._elementwise_loss()
    body = _shared_by_name(model)
    return TaskProblem(
        outputs=lambda batch: outputs(batch[0]),
        losses=lambda values, batch: task_losses(values, batch[1], batch[2], loss)[0],
        parameters={**body, **{n: p for head in heads for n, p in head.items()}},
        batches=batches,
        masses=torch.stack([batch[2].double().sum(dim=0).cpu() for batch in batches]),
        task_names=tuple(estimator.task_names_),
        heads=tuple(tuple(head) for head in heads),
        info=_info(estimator, labelled[rows], dtype),
    )


def _shared_by_name(model: MultiTaskModel) -> dict[str, Tensor]:
    shared = set(map(id, model.shared_parameters()))
    return {name: p for name, p in model.named_parameters() if id(p) in shared}


def _split_heads(model: MultiTaskModel, names) -> tuple[list[dict[str, Tensor]], Any]:
    """Rows of the linear heads as leaves of their own, and the outputs through them."""
    heads = [
        {
            f"heads.{name}.weight": weight.detach().clone().requires_grad_(),
            f"heads.{name}.bias": bias.detach().clone().requires_grad_(),
        }
        for name, weight, bias in zip(
            names, model.heads.weight, model.heads.bias, strict=True
        )
    ]

    def outputs(graphs: GraphBatch) -> Tensor:
        weights, biases = zip(*(head.values() for head in heads), strict=True)
        z = model.represent(graphs)
        return F.linear(z, torch.stack(weights), torch.stack(biases))

    return heads, outputs


def _cast(batch: GraphBatch, dtype: str) -> GraphBatch:
    """Give a batch whose continuous columns have another precision."""
    wanted = getattr(torch, dtype)
    columns: dict[str, Any] = {
        item.name: value.to(wanted)
        for item in fields(batch)
        if isinstance(value := getattr(batch, item.name), Tensor)
        and value.is_floating_point()
    }
    return replace(batch, **columns)


def _info(estimator, labelled: np.ndarray, dtype: str) -> dict[str, Any]:
    encoder = estimator.module_.encoder
    return {
        "labelled": labelled,
        "n_samples": len(labelled),
        "target_scale": getattr(
            estimator, "target_scale_", np.ones(len(estimator.task_names_))
        ),
        "settings": {
            "dtype": dtype,
            "encoder": type(encoder).__name__,
            # Kinks have no second derivative: a reader has to know the activation.
            "activation": getattr(encoder, "activation", None),
            "hidden_layers": len(estimator.module_.hidden_dims),
            "loss": _loss_name(estimator),
        },
    }


def _loss_name(estimator) -> str:
    """Name the loss of an estimator, or those of the columns of a pretrainer."""
    if hasattr(estimator, "target_losses_"):
        return ", ".join(sorted(set(estimator.target_losses_)))
    loss = getattr(estimator, "loss", "logistic")  # a classifier has no choice
    return loss if isinstance(loss, str) else "callable"


# Products with a task's matrix in one look of a weighting at its largest eigenvalue:
# the first, and later ones, which begin at a vector that is nearly the one sought.
_FIRST_STEPS, _LATER_STEPS = 4, 2


def largest_eigenvalues(
    statistic: str, model: MultiTaskModel, loss, batches, vectors: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Find the largest eigenvalue of each task's matrix, for ``Curvature``.

    A few Lanczos steps from the eigenvector of the time before: of all vectors that as
    many products reach, theirs has the largest quotient, whatever shift power steps
    would take.

    Parameters
    ----------
    statistic : {"ggn_max", "hessian_max"}
        Of which matrix.
    model : MultiTaskModel
        The network in evaluation mode.
    loss : callable
        Elementwise loss.
    batches : list of tuple
        Graphs on the model's device, and labels: targets and weights (n_graphs, t).
    vectors : Tensor of shape (t, P) or None
        Where to begin; at the tasks' gradients if not given.

    Returns
    -------
    values : Tensor of float64 of shape (t,)
        NaN for a task without a label.
    vectors : Tensor of shape (t, P)
        Approximate eigenvectors.
    """
    batches = [
        (graphs, *(part.to(graphs.device) for part in labels))
        for graphs, labels in batches
    ]
    shared = _shared_by_name(model)
    n_tasks = batches[0][1].shape[1]
    if not shared:  # everything in front of the heads is frozen
        return torch.zeros(n_tasks, dtype=torch.float64), torch.zeros(n_tasks, 0)
    problem = TaskProblem(
        outputs=lambda batch: model(batch[0]),
        losses=lambda values, batch: task_losses(values, batch[1], batch[2], loss)[0],
        parameters=shared,
        batches=batches,
        masses=torch.stack([batch[2].double().sum(dim=0).cpu() for batch in batches]),
        task_names=tuple(map(str, range(n_tasks))),
    )
    n_steps = _FIRST_STEPS if vectors is None else _LATER_STEPS
    vectors = problem.gradients()[1] if vectors is None else vectors.clone()
    values = vectors.new_full((problem.n_tasks,), torch.nan, dtype=torch.float64)
    # Few batches: their graphs fit, and tasks share those of the Gauss-Newton matrix.
    ggn = TaskGaussNewton(problem, 0, keep_graph=True)
    for task in (problem.masses.sum(dim=0) > 0).nonzero()[:, 0].tolist():
        start = vectors[task]
        if not bool(start.any()):  # no gradient, or no label the time before
            start = torch.ones_like(start)
        operator = (
            ggn.for_task(task)
            if statistic == "ggn_max"
            else TaskHessian(problem, task, keep_graph=True)
        )
        runs = lanczos(operator.matmat, start[:, None], n_steps)
        pairs = KrylovUnion(runs).largest(1)
        values[task], vectors[task] = float(pairs.values[0]), pairs.vectors[0]
    return values, vectors


class CurvatureMixin:
    """``hessian_spectrum_`` and what it is computed from."""

    def __getattr__(self, name: str):
        # Only asked for what is not there.
        if name in ("hessian_spectrum_", "hessian_spectrum_path_"):
            wanted = "True" if name == "hessian_spectrum_" else "{'at': (0, 0.5, 1)}"
            raise AttributeError(
                f"{type(self).__name__} has no {name}: fit it with hessian_spectrum="
                f"{wanted}, or call skgnn_mtl.curvature.hessian_spectrum(estimator, X, "
                "y) on a fitted one."
            )
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}"
        )

    def _forget_spectra(self) -> None:
        for name in ("hessian_spectrum_", "hessian_spectrum_path_"):
            self.__dict__.pop(name, None)

    def _spectrum_recorder(self, graphs, rows, values, seed: int, partial: bool):
        """Make what takes the spectra of the training rows; None if nobody asked."""
        asked = not isinstance(self.hessian_spectrum, (bool, np.bool_))
        if partial or not (asked or self.hessian_spectrum):  # {} asks, too
            return None
        name = type(self).__name__
        options, at = check_options(
            self.hessian_spectrum, name, getattr(self, "loss", None)
        )
        options = {"random_state": seed, "verbose": self.verbose, **options}
        graphs, values = graphs[rows], values[rows]
        # The targets' table keeps its names.
        given = self._as_given(values.reshape(len(values), -1))
        table = pd.DataFrame(given, columns=self.task_names_)

        def compute() -> HessianSpectrum:
            return hessian_spectrum(self, graphs, table, **options)

        return SpectrumRecorder(compute, at, self.max_epochs)

    def _curvature_problem(self, X, y, *, choose, batch_size, dtype) -> TaskProblem:
        """Hand out functions, parameters, batches and names of the fitted network."""
        check_is_fitted(self)
        graphs = read_graphs(self, X, reset=False)
        values, names = self._read_labels(graphs, y, None, True, None)
        table = values.reshape(len(values), -1)
        unnamed = [f"task_{t}" for t in range(self.n_tasks_)]
        if names not in (self.task_names_, unnamed):
            raise ValueError(
                f"y has the tasks {names}, but the estimator was fitted with "
                f"{self.task_names_}; use the same columns."
            )
        return curvature_problem(
            self, graphs, table, choose=choose, batch_size=batch_size, dtype=dtype
        )
