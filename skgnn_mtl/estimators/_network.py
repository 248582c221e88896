"""The network of an estimator: built from parts, and run forward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl import auxiliary, encoders, readouts, weighting
from skgnn_mtl._component import resolve_part
from skgnn_mtl._warn import warn
from skgnn_mtl.auxiliary import AuxiliaryTask, auxiliary_names
from skgnn_mtl.encoders import GraphEncoder, Pretrained
from skgnn_mtl.graphs import GraphBatch, GraphSchema
from skgnn_mtl.readouts import Readout
from skgnn_mtl.training import MultiTaskModel
from skgnn_mtl.weighting import TaskWeighting, as_task_weighting

from ._compute import ComputeMixin
from ._fitted import FittedNetwork
from ._inputs import read_graphs


class NetworkMixin(ComputeMixin):
    """Parts, assembly and forward passes of an estimator's network."""

    encoder: Any
    readout: Any
    task_weighting: Any
    auxiliary_tasks: Any
    head_hidden_dims: Any
    head_activation: str
    batch_size: int
    schema_: GraphSchema
    task_names_: list[str]
    n_tasks_: int
    module_: Any

    def _build(self) -> None:
        """Make the module and the weighting from clones of the parts."""
        encoder = self.encoder
        if isinstance(encoder, GraphEncoder) and not isinstance(encoder, Pretrained):
            _warn_of_weights(encoder)
        self._assemble(
            resolve_part(encoder, encoders, GraphEncoder, "encoder"),
            resolve_part(self.readout, readouts, Readout, "readout"),
            self._resolve_weighting(),
            **self._architecture(),
        )

    def _architecture(self) -> dict[str, Any]:
        """Give what else the network is built from, for :meth:`save` too."""
        return {
            "hidden_dims": tuple(self.head_hidden_dims),
            "head_activation": self.head_activation,
            "auxiliary_tasks": [
                resolve_part(task, auxiliary, AuxiliaryTask, "auxiliary_tasks")
                for task in self.auxiliary_tasks
            ],
        }

    def _resolve_weighting(self) -> TaskWeighting:
        value = self.task_weighting
        if callable(value) and not isinstance(value, TaskWeighting):
            return as_task_weighting(value)
        return resolve_part(value, weighting, TaskWeighting, "task_weighting")

    def _assemble(self, encoder, readout, task_weighting, **architecture) -> None:
        """Build unbuilt parts for the tasks and the schema of the fit."""
        names = auxiliary_names(architecture.get("auxiliary_tasks", ()))
        self.auxiliary_names_ = names
        if set(names) & set(self.task_names_):
            raise ValueError(
                f"A column of y has the name of an auxiliary task: {names} beside "
                f"{self.task_names_}. Rename the column."
            )
        task_weighting.check_options()
        if names and getattr(task_weighting, "gradients", None) == "representation":
            raise ValueError(
                "gradients='representation' cannot see auxiliary tasks, which read "
                f"other things than the vector of a graph: {task_weighting!r}. Use "
                "gradients='parameters'."
            )
        task_weighting.build(
            self.n_tasks_ + len(names), self.task_names_ + self.auxiliary_names_
        )
        model = self._make_model(encoder, readout, **architecture)
        device = self._device()
        self.task_weighting_ = task_weighting.to(device)
        self.module_ = model.to(device, getattr(torch, self.schema_.dtype))

    def _make_model(self, encoder, readout, **architecture) -> Any:
        return MultiTaskModel(
            encoder,
            readout,
            self.schema_,
            self.n_tasks_,
            architecture["hidden_dims"],
            architecture["head_activation"],
            architecture["auxiliary_tasks"],
        )

    def _forward(
        self, X, function: Callable[[Any, GraphBatch], torch.Tensor]
    ) -> np.ndarray:
        """Apply a function of network and batch to all valid graphs; else NaN rows."""
        check_is_fitted(self)
        graphs = read_graphs(self, X, reset=False)
        device = self._device()
        if device != self._requested_device():
            self._warn_of_absent_device()
        network = FittedNetwork(self.module_, device, self.batch_size, self.n_threads)
        return network.apply(graphs, function)

    def embed(self, X) -> np.ndarray:
        """Embed graphs in the space behind the readout, which all tasks share.

        Parameters
        ----------
        X : GraphArray or array-like of shape (n_samples, n_features)
            The graphs.

        Returns
        -------
        embedding : ndarray of shape (n_samples, width)
            One row a graph, NaN for an invalid one.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        return self._forward(X, lambda module, batch: module.embed(batch))


def _warn_of_weights(encoder: GraphEncoder) -> None:
    if encoder.schema is not None:
        warn(
            f"encoder={encoder!r} has weights, which this fit does not use: pass "
            "Pretrained(encoder) to start from them, clone(encoder) to start anew.",
        )
