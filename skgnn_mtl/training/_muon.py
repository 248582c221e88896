"""Muon for the matrices of hidden layers, AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import nn


class MuonAdamW(torch.optim.Optimizer):
    """Orthogonal updates of matrices [1]_, and AdamW's for what is no matrix.

    The updates of matrices are scaled to the size of AdamW's, so that both have one
    learning rate and decay.

    Parameters
    ----------
    params : iterable of Parameter or of dict
        Parameters, or groups of them with learning rates of their own.
    lr : float
        Learning rate.
    weight_decay : float
        Decoupled decay of the parameters.
    matrices : collection of int
        Identities (``id``) of the matrices.

    Raises
    ------
    ImportError
        If torch does not have Muon yet.

    References
    ----------
    .. [1] J. Liu et al., "Muon is Scalable for LLM Training", 2025, arXiv:2502.16982.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        weight_decay: float,
        matrices: Collection[int] = (),
    ) -> None:
        if not hasattr(torch.optim, "Muon"):
            raise ImportError(
                f"optimizer='muon' needs torch 2.9, found {torch.__version__}: "
                "pip install --upgrade torch"
            )
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self._parts: list[torch.optim.Optimizer] = []
        # For each group of a part, the position of the group that it belongs to.
        self._owners: list[list[int]] = []
        self._add(_muon, lambda p: id(p) in matrices)
        self._add(torch.optim.AdamW, lambda p: id(p) not in matrices)

    def _add(self, make: Callable[..., Any], belongs: Callable[[Any], bool]) -> None:
        chosen = [
            (k, [p for p in group["params"] if belongs(p)])
            for k, group in enumerate(self.param_groups)
        ]
        chosen = [(k, params) for k, params in chosen if params]
        if chosen:
            self._parts.append(make([{"params": params} for _, params in chosen]))
            self._owners.append([k for k, _ in chosen])

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make a step, after the closure if there is one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part, owners in zip(self._parts, self._owners, strict=True):
            for own, k in zip(part.param_groups, owners, strict=True):
                owner = self.param_groups[k]
                # A schedule changes the groups of this optimizer only.
                own["lr"], own["weight_decay"] = owner["lr"], owner["weight_decay"]
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both parts."""
        kept = super().state_dict()
        states = {str(k): part.state_dict() for k, part in enumerate(self._parts)}
        return {"state": states, "param_groups": kept["param_groups"]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the :meth:`state_dict` of an optimizer of the same model."""
        super().load_state_dict({**state_dict, "state": {}})
        for k, part in enumerate(self._parts):
            part.load_state_dict(state_dict["state"][str(k)])


def _muon(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.Muon(groups, adjust_lr_fn="match_rms_adamw")


def hidden_matrices(model: nn.Module) -> set[int]:
    """Find the matrices of hidden layers: no head, no vector, no batch of matrices.

    Parameters
    ----------
    model : torch.nn.Module
        The network; its method ``head_parameters``, if there is one, lists the heads.

    Returns
    -------
    matrices : set of int
        Identities of the parameters.
    """
    heads: Any = getattr(model, "head_parameters", list)
    last = set(map(id, heads()))
    return {
        id(p)
        for p in model.parameters()
        if p.ndim == 2 and min(p.shape) > 1 and id(p) not in last
    }
