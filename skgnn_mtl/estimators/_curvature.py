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
    check_spectrum_options,
    hessian_spectrum,
)
from skgnn_mtl.graphs import GraphBatch, Labels, fill_gaps
from skgnn_mtl.training import MultiTaskModel, network_problem, shared_by_name

from ._inputs import in_task_order, read_graphs

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
    no_curvature = isinstance(loss, str) and loss == "absolute_error"
    if options.get("matrix") == "ggn" and no_curvature:
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


class CurvatureMixin:
    """``hessian_spectrum_`` and what it is computed from."""

    # Whether the network is one with linear heads, which the curvature tools need.
    _has_curvature = True

    def __getattr__(self, name: str):
        # Only asked for what is not there.
        if name in ("hessian_spectrum_", "hessian_spectrum_path_"):
            raise AttributeError(self._advice_on_spectra(name))
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}"
        )

    def _advice_on_spectra(self, name: str) -> str:
        """Say how to get a spectrum that is not there, for this estimator."""
        cls = type(self).__name__
        wanted = "True" if name == "hessian_spectrum_" else "{'at': (0, 0.5, 1)}"
        call = "call skgnn_mtl.curvature.hessian_spectrum(estimator, X, y)"
        if "hessian_spectrum" in self._get_param_names():
            return (
                f"{cls} does not have {name}: fit it with hessian_spectrum={wanted}, "
                f"or {call} on a fitted one."
            )
        if self._has_curvature:
            return f"{cls} does not have {name}: {call} on one that was fitted with y."
        return (
            f"{cls} does not have {name}: curvature needs linear heads on one network. "
            "Use a MultiTaskGNNRegressor."
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

    def task_problem(self, X, y, *, rows=None, batch_size=128, dtype=None):
        """State the losses of the tasks as functions of the network's parameters.

        The parameters, the functions and the batches belong to a copy of the network in
        evaluation mode: nothing that happens to them can touch the estimator.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            Graphs with the columns of fit.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels in the units of fit, NaN where missing; columns of a DataFrame may
            have another order.
        rows : array-like of int, callable or None, default=None
            Rows to use; a callable maps the labelled entries, bool
            (n_samples, n_tasks), to them. None takes all rows with a label.
        batch_size : int, default=128
            Graphs in a batch.
        dtype : {"float32", "float64"}, optional
            Precision of the copy; that of the network if not given.

        Returns
        -------
        problem : TaskProblem
            Rows of the linear heads are parameters of their own, one pair per task.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If y has other tasks than in fit, ``dtype`` is no floating type or no row
            has a label.

        See Also
        --------
        skgnn_mtl.curvature.task_spectra : Spectra of such a problem.
        """
        check_is_fitted(self)
        dtype = self.schema_.dtype if dtype is None else str(dtype)
        if dtype not in ("float32", "float64"):
            raise ValueError(f"dtype must be 'float32' or 'float64', got {dtype!r}.")
        graphs = read_graphs(self, X, reset=False)
        y = in_task_order(y, self.task_names_)
        values, names = self._read_labels(graphs, y, None, True, None)
        table = values.reshape(len(values), -1)
        if len(names) != self.n_tasks_:
            raise ValueError(
                f"y has {len(names)} columns, but the estimator was fitted with the "
                f"{self.n_tasks_} tasks {self.task_names_}."
            )
        labelled = ~np.isnan(table) & graphs.valid[:, None]
        if not labelled.any():
            raise ValueError("No valid graph of X has a label.")
        if rows is None:
            rows = np.flatnonzero(labelled.any(axis=1))
        rows = np.asarray(rows(labelled) if callable(rows) else rows)
        model = copy.deepcopy(self.module_).eval().to(getattr(torch, dtype))
        model.requires_grad_(True)
        model.auxiliary = torch.nn.ModuleList()  # no task of y depends on their heads
        device = self._device()
        model.to(device)
        heads, outputs = _split_heads(model, self.task_names_)
        weights = labelled[rows].astype(dtype)
        weights = self._weigh_classes(table[rows], weights).astype(dtype)
        targets = fill_gaps(self._encode_targets(table[rows]), weights).astype(dtype)
        batches = []
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            graph_batch = _cast(graphs.batch(rows[part]), dtype).to(device)
            labels = Labels(
                torch.from_numpy(targets[part]), torch.from_numpy(weights[part])
            )
            batches.append((graph_batch, labels.to(device)))
        own = {name: p for head in heads for name, p in head.items()}
        return network_problem(
            model,
            batches,
            self._elementwise_loss(),
            task_names=self.task_names_,
            parameters={**shared_by_name(model), **own},
            outputs=outputs,
            heads=[tuple(head) for head in heads],
            info=_info(self, labelled[rows], dtype),
        )
