"""Fitted estimators as pickles and as files that are safe to load."""

from __future__ import annotations

import copy

import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ._compute import ComputeMixin
from ._io import read, write


class PersistenceMixin(ComputeMixin, BaseEstimator):
    """Pickling, ``save`` and ``load``."""

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
        }
        tensors = {
            "module": self.module_.state_dict(),
            "task_weighting": self.task_weighting_.state_dict(),
        }
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
            ``partial_fit``.

        Raises
        ------
        ValueError
            If the file is of something else.
        """
        values, tensors = read(path, kind=cls.__name__)
        estimator = cls(**values["parameters"])
        estimator.__dict__.update(values["fitted"])
        estimator._one_dimensional = values["one_dimensional"]
        with estimator._seeded_with(0):
            estimator._assemble(**values["parts"])
        estimator.module_.load_state_dict(tensors["module"])
        estimator.module_.eval()
        estimator.task_weighting_.load_state_dict(tensors["task_weighting"])
        return estimator


def _on_accelerator(module: torch.nn.Module) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    return any(tensor.device.type != "cpu" for tensor in tensors)
