"""Averages of a network's weights along its training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

# Share of the old average that an exponential average keeps per step.
_DECAY = 0.99
AVERAGES = ("tail", "ema")


class WeightAverage:
    """Average the weights after the steps, and stand in for them between the epochs.

    Validation, scores and the fitted network have the average; the steps go on from
    the weights themselves. Statistics of batch normalisation are averaged, too.

    Parameters
    ----------
    model : torch.nn.Module
        The network in training.
    kind : {"tail", "ema"}
        The uniform average over the second half of the steps [1]_, or the exponential
        average.
    n_steps : int
        Length of the training.

    References
    ----------
    .. [1] P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
       Generalization", UAI 2018.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.training import WeightAverage
    >>> model = torch.nn.Linear(1, 1, bias=False)
    >>> average = WeightAverage(model, "tail", n_steps=4)
    >>> for value in (1.0, 2.0, 3.0, 5.0):
    ...     _ = model.weight.data.fill_(value)
    ...     average.update(model)
    >>> average.enter(model)
    >>> model.weight.item()
    4.0
    """

    def __init__(self, model: nn.Module, kind: str, n_steps: int) -> None:
        self.kind = kind
        self.first = n_steps // 2 if kind == "tail" else 0
        self.n_steps = 0
        # Not torch's AveragedModel, which fails on integers such as counts of batches.
        self._average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] | None = None

    def update(self, model: nn.Module) -> None:
        """Add the weights after a step."""
        self.n_steps += 1
        n_averaged = self.n_steps - self.first
        if n_averaged == 1:
            self._average = _copied(_numbers(model))
        elif n_averaged > 1:
            share = 1.0 - _DECAY if self.kind == "ema" else 1.0 / n_averaged
            new = _numbers(model)
            old = [self._average[name] for name in new]
            torch._foreach_lerp_(old, list(new.values()), share)

    def restart(self, n_steps: int) -> None:
        """Plan for so many further steps; "tail" is then over their second half."""
        if self.kind == "tail":
            self.first = self.n_steps + n_steps // 2
            self._average = {}

    def enter(self, model: nn.Module) -> None:
        """Give the model the average, if there is one."""
        if self._raw is None and self._average:
            self._raw = _copied(_numbers(model))
            _assign(model, self._average)

    def leave(self, model: nn.Module) -> None:
        """Give the model its weights of the last step."""
        if self._raw is not None:
            _assign(model, self._raw)
            self._raw = None

    def state(self) -> dict[str, Any]:
        """Return what a continuation needs, after :meth:`enter`."""
        average, raw = _copied(self._average), self._raw
        steps = {"n_steps": self.n_steps, "first": self.first}
        return {"average": average, "raw": raw, **steps}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from the :meth:`state` of an earlier training of this model.

        The average is then on the device of the model, wherever the state has been.
        """
        average, raw = state["average"], state["raw"]
        self._average = {name: v.to(device, copy=True) for name, v in average.items()}
        self._raw = raw and {name: v.to(device) for name, v in raw.items()}
        self.n_steps = state["n_steps"]
        # Files from before this entry are of exponential averages, which begin at 0.
        self.first = state.get("first", self.first)


def _numbers(model: nn.Module) -> dict[str, Tensor]:
    """Name the parameters and buffers that can be averaged."""
    state = model.state_dict()
    return {name: value for name, value in state.items() if value.is_floating_point()}


def _copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _assign(model: nn.Module, values: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in _numbers(model).items():
            value.copy_(values[name])
