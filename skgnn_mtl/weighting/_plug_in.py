"""Callables and TorchJD objects as task weightings."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ._base import (
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    TaskWeighting,
    check_finite,
    check_shape,
)

_SHAPES = """\
A task_weighting that is a callable is one of three maps, told by an attribute `needs`
or by the name of its first parameter:
    f(losses)    (t,)   -> a scalar to descend on      needs = "losses"
    f(gramian)   (t, t) -> weights (t,)                needs = "gramian"  (or G)
    f(jacobian)  (t, p) -> direction (p,)              needs = "jacobian" (or J)
"""
_FIRST: dict[str | None, str] = {
    "losses": "losses",
    "gramian": "gramian",
    "G": "gramian",
    "jacobian": "jacobian",
    "J": "jacobian",
}


def as_task_weighting(function: Callable) -> TaskWeighting:
    """Make a task weighting of a callable or an object of TorchJD.

    The estimators do this with whatever is passed as ``task_weighting``. The callable
    is copied, so that a state of its own starts afresh in every fit.

    Parameters
    ----------
    function : callable
        Maps losses (t,) to a scalar, a Gramian (t, t) to weights (t,), or a Jacobian
        (t, p) to a direction (p,). Which of them is told by an attribute ``needs``
        ("losses", "gramian" or "jacobian"), for a scalarizer, weighting or aggregator
        of TorchJD by its class, and otherwise by the name of the first parameter:
        ``losses``, ``gramian`` or ``G``, ``jacobian`` or ``J``. Further parameters
        named ``losses``, ``tasks`` or ``generator`` are passed.

    Returns
    -------
    weighting : TaskWeighting
        Applies the callable as it is, without rescaling.

    Raises
    ------
    TypeError
        If it cannot be told which of the three maps it is.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import as_task_weighting
    >>> def normalised(G):
    ...     return G.diagonal() ** -0.5
    >>> as_task_weighting(normalised).task_weights(torch.diag(torch.tensor([1.0, 4.0])))
    tensor([1.0000, 0.5000])
    """
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"{_SHAPES}Pass an instance, not {function!r}.")
    function = copy.deepcopy(function)
    kinds = {c.__name__ for c in type(function).__mro__ if _is_torchjd(c)}
    if kinds:
        if hasattr(function, "reset"):
            function.reset()
        return _from_torchjd(function, kinds)
    needs = getattr(function, "needs", None) or _FIRST.get(_first_parameter(function))
    adapters: dict[Any, type] = {
        "losses": _LossCallable,
        "gramian": _GramianCallable,
        "jacobian": _JacobianCallable,
    }
    if needs not in adapters:
        raise TypeError(f"{_SHAPES}It cannot be told which of them {function!r} is.")
    return adapters[needs](function)


def _is_torchjd(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "torchjd"


def _from_torchjd(function, kinds: set[str]) -> TaskWeighting:
    """Tell TorchJD's families by the names of their base classes."""
    if "Scalarizer" in kinds:
        if hasattr(function, "update"):
            return _UpdatedCallable(function)
        if hasattr(function, "step"):
            return _EpochCallable(function)
        return _LossCallable(function)
    if hasattr(function, "gramian_weighting"):
        return _GramianCallable(function.gramian_weighting)
    if "Aggregator" in kinds:
        return _JacobianCallable(function)
    if "_MatrixWeighting" in kinds:
        return _JacobianCallable(_Combined(function))
    if "Weighting" in kinds:
        return _GramianCallable(function)
    raise TypeError(f"{_SHAPES}It cannot be told which of them {function!r} is.")


class _Combined(nn.Module):
    """A weighting of the rows of a Jacobian, with the combination it stands for."""

    def __init__(self, weighting: nn.Module) -> None:
        super().__init__()
        self.weighting = weighting

    def forward(self, jacobian: Tensor) -> Tensor:
        return self.weighting(jacobian) @ jacobian


def _parameters(function: Callable) -> list[str]:
    call = function.forward if isinstance(function, nn.Module) else function
    try:
        return list(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # some builtins have no signature
        return []


def _first_parameter(function: Callable) -> str | None:
    return next(iter(_parameters(function)), None)


class _Adapter(TaskWeighting):
    """A weighting whose map is a function."""

    lr = 0.025  # of parameters that the function may carry

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def __repr__(self) -> str:
        return repr(self.function)

    def _call(self, value: Tensor, **known) -> Tensor:
        """Call with the keywords that are named."""
        names = _parameters(self.function)[1:]
        return self.function(value, **{k: v for k, v in known.items() if k in names})


class _LossCallable(_Adapter, LossWeighting):
    def forward(
        self,
        losses: Tensor,
        tasks: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        total = self._call(losses, tasks=tasks, generator=generator)
        check_shape(self, total, losses, ())
        check_finite(self, total)
        return total


class _UpdatedCallable(_LossCallable):
    """TorchJD's FAMO: learns by itself, from the losses after a step."""

    lr = 0.0

    def after_step(self, losses_before, losses_after, tasks=None) -> None:
        self.function.update(losses_after)


class _EpochCallable(_LossCallable):
    """TorchJD's DWA: averages by itself, and wants to know when an epoch ends."""

    def end_epoch(self, mean_losses) -> None:
        self.function.step()


class _GramianCallable(_Adapter, GramianWeighting):
    def forward(
        self,
        gramian: Tensor,
        losses: Tensor | None = None,
        tasks: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self._call(gramian, losses=losses, tasks=tasks, generator=generator)


class _JacobianCallable(_Adapter, JacobianAggregation):
    def forward(
        self,
        jacobian: Tensor,
        losses: Tensor | None = None,
        tasks: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        return self._call(jacobian, losses=losses, tasks=tasks, generator=generator)
