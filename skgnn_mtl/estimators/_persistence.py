"""Fitted estimators as pickles and as files that are safe to load."""

from __future__ import annotations

import copy

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ._io import read, write
from ._network import NetworkMixin


class PersistenceMixin(NetworkMixin, BaseEstimator):
    """Pickling, ``save`` and ``load``."""

    # One for all continuations of a fit: rows that watch or judge are never trained on.
    _split_seed: int | None = None
    # State that only partial_fit leaves behind.
    _random_state: np.random.RandomState | None = None
    _optimizer_state: dict | None = None

    def __getstate__(self):
        state = dict(super().__getstate__())
        for name in ("module_", "task_weighting_"):
            if name in state and _on_accelerator(state[name]):
                state[name] = copy.deepcopy(state[name]).cpu()
        return state

    def save(self, path) -> None:
        """Write the fitted estimator into one file that is safe to load.

        Parameters
        ----------
        path : str or path-like
            The file.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a parameter holds something that JSON cannot express, such as a
            callback or a class of your own; pickle keeps those.
        """
        check_is_fitted(self)
        values = {
            "parameters": self.get_params(deep=False),
            "parts": {
                "encoder": self.module_.encoder,
                "readout": self.module_.readout,
                "task_weighting": self.task_weighting_,
                **self.module_.architecture,
            },
            "fitted": {
                name: value
                for name, value in self.__dict__.items()
                if name.endswith("_") and not isinstance(value, torch.nn.Module)
            },
            "one_dimensional": self._one_dimensional,
            "split_seed": self._split_seed,
        }
        tensors = {
            "module": self.module_.state_dict(),
            "task_weighting": self.task_weighting_.state_dict(),
        }
        if self._optimizer_state is not None:
            tensors["optimizer"] = self._optimizer_state
        if self._random_state is not None:
            tensors["random_state"] = _pack(self._random_state)
        write(path, kind=type(self).__name__, values=values, tensors=tensors)

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote. Never executes code from the file.

        Parameters
        ----------
        path : str or path-like
            The file.

        Returns
        -------
        estimator : estimator of this class
            It predicts as the saved one, and can be trained on with ``warm_start`` or
            ``partial_fit``. Calls of the latter go on exactly as in the saved one:
            optimizer and random generator are in the file.

        Raises
        ------
        ValueError
            If the file is of something else.
        """
        values, tensors = read(path, kind=cls.__name__)
        estimator = cls(**values["parameters"])
        estimator.__dict__.update(values["fitted"])
        estimator._one_dimensional = values["one_dimensional"]
        estimator._split_seed = values["split_seed"]
        with estimator._seeded_with(0):
            estimator._assemble(**values["parts"])
        estimator.module_.load_state_dict(tensors["module"])
        estimator.module_.eval()
        estimator.task_weighting_.load_state_dict(tensors["task_weighting"])
        if "optimizer" in tensors:
            estimator._optimizer_state = tensors["optimizer"]
        if "random_state" in tensors:
            estimator._random_state = _unpack(tensors["random_state"])
        return estimator


def _pack(source: np.random.RandomState) -> dict:
    """Express the state of a generator in what a safe file may hold."""
    state: dict = dict(source.get_state(legacy=False))
    state["key"] = torch.from_numpy(state["state"]["key"].astype(np.int64))
    state["pos"] = state.pop("state")["pos"]
    return state


def _unpack(packed: dict) -> np.random.RandomState:
    source = np.random.RandomState()
    state = {"key": packed["key"].numpy().astype(np.uint32), "pos": packed["pos"]}
    names = ("bit_generator", "has_gauss", "gauss")
    source.set_state({"state": state, **{name: packed[name] for name in names}})
    return source


def _on_accelerator(module: torch.nn.Module) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    return any(tensor.device.type != "cpu" for tensor in tensors)
