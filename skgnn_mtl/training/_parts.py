"""Optimizers that leave parameters to others, which have states of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class PartedOptimizer(torch.optim.Optimizer):
    """Several optimizers of disjoint parameters, with common rates and decays.

    A subclass adds the parts in its constructor.

    Parameters
    ----------
    params : iterable of Parameter or of dict
        Parameters, or groups of them with learning rates of their own.
    lr : float
        Learning rate.
    weight_decay : float
        Decoupled decay of the parameters.

    Attributes
    ----------
    parts : list of torch.optim.Optimizer
        The optimizers that make the steps.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.parts: list[torch.optim.Optimizer] = []
        # For each group of a part, the position of the group that it belongs to.
        self._owners: list[list[int]] = []

    def add_part(
        self, make: Callable[..., Any], belongs: Callable[[Any], bool]
    ) -> None:
        """Leave the parameters that belong to a part to an optimizer.

        Parameters
        ----------
        make : callable
            Makes the optimizer of a list of groups.
        belongs : callable
            Whether a parameter belongs to it.
        """
        chosen = [
            (k, [p for p in group["params"] if belongs(p)])
            for k, group in enumerate(self.param_groups)
        ]
        chosen = [(k, params) for k, params in chosen if params]
        if chosen:
            self.parts.append(make([{"params": params} for _, params in chosen]))
            self._owners.append([k for k, _ in chosen])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step, after the closure if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part, owners in zip(self.parts, self._owners, strict=True):
            for own, k in zip(part.param_groups, owners, strict=True):
                owner = self.param_groups[k]
                # A schedule changes the groups of this optimizer only.
                own["lr"], own["weight_decay"] = owner["lr"], owner["weight_decay"]
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all parts."""
        kept = super().state_dict()
        states = {str(k): part.state_dict() for k, part in enumerate(self.parts)}
        return {"state": states, "param_groups": kept["param_groups"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the :meth:`state_dict` of an optimizer of the same model."""
        super().load_state_dict({**state_dict, "state": {}})
        for k, part in enumerate(self.parts):
            part.load_state_dict(state_dict["state"][str(k)])
