"""Curvature of a fitted network: its options, its record, and its problem."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from inspect import signature
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.utils._param_validation import InvalidParameterError
from torch import Tensor
from torch.nn import functional as F

from skgnn_mtl.curvature import (
    HessianSpectrum,
    TaskProblem,
    check_spectrum_options,
    hessian_spectrum,
)
from skgnn_mtl.graphs import GraphArray, GraphBatch, Labels, fill_gaps, in_precision
from skgnn_mtl.training import (
    LIKELIHOODS,
    Loss,
    MultiTaskModel,
    SoftmaxLoss,
    network_problem,
    shared_by_name,
)

from ._state import FittedState, Spectra

# From the signature, because an option that is added there must be known here.
_DEFAULTS = {
    name: parameter.default
    for name, parameter in signature(hessian_spectrum).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


@dataclass(frozen=True)
class SpectrumOptions:
    """What the estimators' parameter ``hessian_spectrum`` asks for.

    Parameters
    ----------
    options : dict
        Options of :func:`~skgnn_mtl.curvature.hessian_spectrum`.
    at : tuple of float, default=()
        Fractions of the training at which to compute further spectra.
    """

    options: dict[str, Any]
    at: tuple[float, ...] = ()


def read_spectrum_options(
    value: Any, name: str, loss: Any, verbose: Any
) -> SpectrumOptions | None:
    """Read the estimators' parameter ``hessian_spectrum``.

    Parameters
    ----------
    value : bool or dict
        Options of :func:`~skgnn_mtl.curvature.hessian_spectrum`, and ``at``.
    name : str
        Class of the estimator, for the message.
    loss : str or callable
        Its loss, because a zero matrix must be refused before the training.
    verbose : int or bool
        Default of the option of this name.

    Returns
    -------
    options : SpectrumOptions or None
        None for False.

    Raises
    ------
    InvalidParameterError
        If a key is unknown, a value wrong, or the matrix zero.
    """
    # An empty dict asks for a spectrum, too.
    if isinstance(value, (bool, np.bool_)):
        return SpectrumOptions({"verbose": verbose}) if value else None
    unknown = sorted(set(value) - set(_DEFAULTS) - {"at"})
    if unknown:
        raise InvalidParameterError(
            f"The 'hessian_spectrum' parameter of {name} has unknown keys {unknown}; "
            f"known are 'at' and {sorted(_DEFAULTS)}."
        )
    # The matrix of the first is zero, because it is linear on both sides of its kink;
    # the others have two outputs per task.
    no_curvature = isinstance(loss, str) and loss in ("absolute_error", *LIKELIHOODS)
    if value.get("matrix") == "ggn" and no_curvature:
        raise InvalidParameterError(
            f"{name}: hessian_spectrum={{'matrix': 'ggn'}} needs a loss with a second "
            f"derivative in one output, which loss={loss!r} does not have. Use "
            "matrix='hessian'."
        )
    at = value.get("at", ())
    if not isinstance(at, (list, tuple, np.ndarray)) or not all(
        isinstance(fraction, Real) and 0 <= float(fraction) <= 1 for fraction in at
    ):
        raise InvalidParameterError(
            f"hessian_spectrum['at'] must hold fractions of max_epochs in [0, 1], got "
            f"{at!r}."
        )
    options = {key: entry for key, entry in value.items() if key != "at"}
    try:
        check_spectrum_options(**{**_DEFAULTS, **options})
    except ValueError as error:
        # Renamed, because the user set a parameter and did not call a function.
        raise InvalidParameterError(
            f"The 'hessian_spectrum' parameter of {name} is wrong: {error}"
        ) from error
    return SpectrumOptions({"verbose": verbose, **options}, tuple(at))


@dataclass(frozen=True)
class StateProblem:
    """The losses of a fitted state, as curvature wants them of an estimator.

    Parameters
    ----------
    state : FittedState
        With linear heads. It is not changed.
    device : torch.device
        Where to compute.
    """

    state: FittedState
    device: torch.device

    def task_problem(
        self,
        graphs: GraphArray,
        labels: np.ndarray,
        *,
        rows: ArrayLike | Callable[[np.ndarray], ArrayLike] | None = None,
        batch_size: int = 128,
        dtype: str | None = None,
    ) -> TaskProblem:
        """State the losses of the tasks as functions of a copy of the parameters.

        Parameters
        ----------
        graphs : GraphArray of shape (n,)
            The graphs.
        labels : ndarray of shape (n, t)
            Labels as the state's targets read them.
        rows : array-like of int, callable or None, default=None
            Rows to use; a callable maps the labelled entries, bool (n, t), to them.
        batch_size : int, default=128
            Graphs per batch.
        dtype : str, optional
            Precision; that of the network if not given.

        Raises
        ------
        ValueError
            If ``dtype`` is not a floating type or no row has a label.
        """
        dtype = self.state.inputs.schema.dtype if dtype is None else str(dtype)
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
        # An invalid graph has no loss, because its input could not be read.
        labelled = ~np.isnan(labels) & graphs.valid[:, None]
        if not labelled.any():
            raise ValueError("No valid graph of X has a label.")
        if rows is None:
            rows = np.flatnonzero(labelled.any(axis=1))
        # A callable, because only here it is known which entries have labels.
        rows = np.asarray(rows(labelled) if callable(rows) else rows)
        model = self._copied_model(dtype)
        names = self.state.targets.names
        loss = self.state.targets.elementwise_loss
        heads, outputs = _split_heads(model, names, loss)
        own = {name: p for head in heads for name, p in head.items()}
        return network_problem(
            model,
            self._batches(graphs, labels, labelled, rows, batch_size, dtype),
            loss,
            task_names=names,
            parameters={**shared_by_name(model), **own},
            outputs=outputs,
            heads=[tuple(head) for head in heads],
            info=_info(self.state, labelled[rows], dtype),
        )

    def _copied_model(self, dtype: str) -> MultiTaskModel:
        """Copy the network, so that nothing that happens to the copy can touch it."""
        # Without dropout, because a Hessian needs the same function in each call. With
        # frozen parameters, because the loss depends on them, too.
        model: Any = copy.deepcopy(self.state.module).eval()
        model = model.to(self.device, getattr(torch, dtype)).requires_grad_(True)
        # Removed, because no task of y depends on the heads of auxiliary tasks.
        model.auxiliary = torch.nn.ModuleList()
        return model  # type: ignore[no-any-return]

    def _batches(
        self,
        graphs: GraphArray,
        labels: np.ndarray,
        labelled: np.ndarray,
        rows: np.ndarray,
        batch_size: int,
        dtype: str,
    ) -> list[tuple[GraphBatch, Labels]]:
        targets = self.state.targets
        # Class weights alone, because sample weights do not enter the curvature.
        weights = targets.weigh(labels[rows], labelled[rows].astype(dtype))
        weights = weights.astype(dtype)
        # Gaps become numbers, because NaN times a weight of 0 is NaN.
        values = fill_gaps(targets.encode(labels[rows]), weights)
        values = in_precision(values, dtype)
        batches = []
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            batch = _cast(graphs.batch(rows[part]), dtype).to(self.device)
            tensors = torch.from_numpy(values[part]), torch.from_numpy(weights[part])
            batches.append((batch, Labels(*tensors).to(self.device)))
        return batches


class SpectrumRecorder:
    """Compute the spectra of a network at some epochs of its training.

    Parameters
    ----------
    state : FittedState
        Its network is in training, so that each call finds it in its present state.
    graphs : GraphArray of shape (n,)
        Training rows.
    labels : ndarray of shape (n, t)
        Their labels, as the state's targets read them.
    options : SpectrumOptions
        What to compute, and when.
    max_epochs : int
        Length of the training.
    device : torch.device
        Where to compute.
    """

    def __init__(
        self,
        state: FittedState,
        graphs: GraphArray,
        labels: np.ndarray,
        options: SpectrumOptions,
        max_epochs: int,
        device: torch.device,
    ) -> None:
        self.problem = StateProblem(state, device)
        self.graphs, self.labels = graphs, labels
        # The seed of the fit by default, because spectra along one training are
        # compared.
        self.options = {"random_state": state.seed, **options.options}
        # A set, because two fractions may round to one epoch.
        self.epochs = {round(fraction * max_epochs) for fraction in options.at}
        self.path: list[Spectra] = []

    def compute(self) -> Spectra:
        """Compute the spectra of the network in its present state."""
        found: Spectra = hessian_spectrum(
            self.problem, self.graphs, self.labels, **self.options
        )
        return found

    def __call__(self, epoch: int) -> None:
        """Keep a spectrum if this number of finished epochs asks for one."""
        if epoch not in self.epochs:
            return
        spectra = self.compute()
        if isinstance(spectra, HessianSpectrum):
            self.path.append(spectra.with_settings(epoch=epoch))
        else:
            marked = {k: s.with_settings(epoch=epoch) for k, s in spectra.items()}
            self.path.append(marked)

    def state_dict(self) -> dict[str, Any]:
        """Return the spectra so far."""
        return {"path": self.path}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the spectra of a :meth:`state_dict`."""
        self.path = state["path"]


def _split_heads(
    model: MultiTaskModel, names: Sequence[str], loss: Loss
) -> tuple[list[dict[str, Tensor]], Callable[[GraphBatch], Tensor]]:
    """Make the rows of the linear heads leaves, and the outputs through them."""
    weights, biases = _rows(model)
    kinds = ["heads", *(f"class_{k + 1}" for k in range(1, model.n_outputs))]
    if model.log_variances is not None:
        kinds.append("log_variances")
    counts = [len(kinds)] * len(names)
    if isinstance(loss, SoftmaxLoss):
        # Not the others, because nothing reads an output that a task does not have.
        counts = loss.n_outputs
    heads = []
    for t, (name, count) in enumerate(zip(names, counts, strict=True)):
        head = {}
        for row, kind in list(enumerate(kinds))[:count]:
            position = row * len(names) + t
            # Leaves of their own, because autograd cannot differentiate by one row of a
            # matrix.
            for part, rows in (("weight", weights), ("bias", biases)):
                rows[position] = rows[position].clone().requires_grad_()
                head[f"{kind}.{name}.{part}"] = rows[position]
        heads.append(head)

    def outputs(graphs: GraphBatch) -> Tensor:
        table, offsets = torch.stack(weights), torch.stack(biases)
        return F.linear(model.represent(graphs), table, offsets)

    return heads, outputs


def _rows(model: MultiTaskModel) -> tuple[list[Tensor], list[Tensor]]:
    """List weights and biases of all heads in the order of the outputs."""
    layers = model.head_layers()
    weights = [row for layer in layers for row in layer.weight.detach()]
    return weights, [row for layer in layers for row in layer.bias.detach()]


def _cast(batch: GraphBatch, dtype: str) -> GraphBatch:
    """Give a batch whose continuous columns have another precision."""
    wanted = getattr(torch, dtype)
    # Codes stay integers, because they are positions in tables.
    columns: dict[str, Any] = {
        item.name: value.to(wanted)
        for item in fields(batch)
        if isinstance(value := getattr(batch, item.name), Tensor)
        and value.is_floating_point()
    }
    return replace(batch, **columns)


def _info(state: FittedState, labelled: np.ndarray, dtype: str) -> dict[str, Any]:
    """Collect the records that a result of curvature carries."""
    module: Any = state.module
    return {
        "labelled": labelled,
        "n_samples": len(labelled),
        "target_scale": state.targets.scale,
        "settings": {
            "dtype": dtype,
            "encoder": type(module.encoder).__name__,
            # Kinks do not have a second derivative, so that a reader needs the name.
            "activation": getattr(module.encoder, "activation", None),
            "hidden_layers": len(module.hidden_dims),
            "loss": state.targets.loss_name,
        },
    }
