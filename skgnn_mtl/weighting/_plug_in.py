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
from ._capabilities import EpochAware, LookBack

_SHAPES = """\
A callable task_weighting is one of three maps. An attribute `needs` or the name of its
first parameter identifies the map:
    f(losses)    (t,)   -> a scalar to descend on      needs = "losses"
    f(gramian)   (t, t) -> weights (t,)                needs = "gramian"  (or G)
    f(jacobian)  (t, p) -> direction (p,)              needs = "jacobian" (or J)
"""
# They ask for J_1 J_2^T, with the gradients of two independent batches.
_TWO_BATCHES = {"MoDoWeighting", "SDMGradWeighting"}
_FIRST: dict[str | None, str] = {
    "losses": "losses",
    "gramian": "gramian",
    "G": "gramian",
    "jacobian": "jacobian",
    "J": "jacobian",
}


def as_task_weighting(function: Callable[..., Any]) -> TaskWeighting:
    """Make a task weighting of a callable or an object of TorchJD.

    The estimators call this function for a ``task_weighting`` of another class. The
    callable is copied, so that its own state starts anew in every fit.

    Parameters
    ----------
    function : callable
        Maps losses (t,) to a scalar, a Gramian (t, t) to weights (t,), or a Jacobian
        (t, p) to a direction (p,). The class identifies the map of a scalarizer,
        weighting or aggregator of TorchJD. An attribute ``needs`` ("losses", "gramian"
        or "jacobian") identifies that of other callables. Without it the name of the
        first parameter counts: ``losses``, ``gramian`` or ``G``, ``jacobian`` or ``J``.
        Further parameters named ``losses``, ``tasks`` or ``generator`` are passed.

    Returns
    -------
    weighting : TaskWeighting
        Applies the callable as it is, without rescaling.

    Raises
    ------
    TypeError
        If the callable does not say which of the three maps it is, or if it maps the
        gradients of two batches.

    See Also
    --------
    TaskWeighting : Base of all families.

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
    kinds = _kinds(function)
    if kinds:
        if hasattr(function, "reset"):
            function.reset()
        return _from_torchjd(function, kinds)
    needs = getattr(function, "needs", None) or _FIRST.get(_first_parameter(function))
    adapters: dict[Any, type[_Adapter]] = {
        "losses": _LossCallable,
        "gramian": _GramianCallable,
        "jacobian": _JacobianCallable,
    }
    if needs not in adapters:
        raise TypeError(f"{_SHAPES}Cannot determine which of them {function!r} is.")
    return adapters[needs](function)


def _kinds(function: Any) -> set[str]:
    """Names of the classes of TorchJD that an object is of."""
    return {c.__name__ for c in type(function).__mro__ if _is_torchjd(c)}


def _is_torchjd(cls: type) -> bool:
    return cls.__module__.split(".")[0] == "torchjd"


def _from_torchjd(function: Any, kinds: set[str]) -> TaskWeighting:
    """Adapt an object of TorchJD, whose base classes name its family."""
    parts = [part for part in function.modules() if _is_torchjd(type(part))]
    for part in parts:
        name = type(part).__name__
        if name in _TWO_BATCHES:
            raise TypeError(
                f"task_weighting={function!r} cannot be used: {name} needs products of "
                "the gradients of two independent batches. Use task_weighting='modo' "
                "or 'sdmgrad', which divide the batch of a step."
            )
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
    # Also of what a weighting wraps: it hands on what it is given.
    if any("_MatrixWeighting" in _kinds(part) for part in parts):
        return _JacobianCallable(_Combined(function))
    if "Weighting" in kinds:
        return _GramianCallable(function)
    raise TypeError(f"{_SHAPES}Cannot determine which of them {function!r} is.")


class _Combined(nn.Module):
    """A weighting of the rows of a Jacobian, followed by their combination."""

    def __init__(self, weighting: nn.Module) -> None:
        super().__init__()
        self.weighting = weighting

    def forward(self, jacobian: Tensor) -> Tensor:
        direction: Tensor = self.weighting(jacobian) @ jacobian
        return direction


def _parameters(function: Callable[..., Any]) -> list[str]:
    call = function.forward if isinstance(function, nn.Module) else function
    try:
        return list(inspect.signature(call).parameters)
    except (TypeError, ValueError):  # because some builtins have no signature
        return []


def _first_parameter(function: Callable[..., Any]) -> str | None:
    return next(iter(_parameters(function)), None)


class _Adapter(TaskWeighting):
    """A weighting whose map is a function."""

    lr = 0.025  # for parameters that the function may have

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def __repr__(self) -> str:
        return repr(self.function)

    def _call(self, value: Tensor, **context: Any) -> Tensor:
        """Call the function with the keyword arguments that it names."""
        names = _parameters(self.function)[1:]
        chosen = {k: v for k, v in context.items() if k in names}
        result: Tensor = self.function(value, **chosen)
        return result


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


class _UpdatedCallable(_LossCallable, LookBack):
    """TorchJD's FAMO, which learns by itself from the losses after a step."""

    lr = 0.0

    def after_step(
        self, losses_before: Tensor, losses_after: Tensor, tasks: Tensor | None = None
    ) -> None:
        self.function.update(losses_after)


class _EpochCallable(_LossCallable, EpochAware):
    """TorchJD's DWA, which averages by itself and needs the end of each epoch."""

    def end_epoch(self, mean_losses: Tensor) -> None:
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
