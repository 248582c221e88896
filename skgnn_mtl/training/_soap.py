"""SOAP from an optional package."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from ._parts import PartedOptimizer


class SOAP(PartedOptimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner [1]_.

    It is that of the package ``pytorch_optimizer``. Matrices are preconditioned on both
    sides, and the eigenbases are renewed every ten steps; vectors follow Adam. The
    first step of a training only makes the preconditioner.

    Parameters
    ----------
    params : iterable of Parameter or of dict
        Parameters, or groups of them with learning rates of their own.
    lr : float
        Learning rate.
    weight_decay : float
        Decoupled decay of the parameters.

    Raises
    ------
    ImportError
        If the package is absent.

    References
    ----------
    .. [1] N. Vyas et al., "SOAP: Improving and Stabilizing Shampoo using Adam", ICLR
       2025, arXiv:2409.11321.
    """

    def __init__(self, params: Iterable[Any], lr: float, weight_decay: float) -> None:
        super().__init__(params, lr, weight_decay)
        # A part, because the package counts its steps in a group, and groups are not
        # what a continuation keeps.
        self.add_part(_soap, lambda parameter: True)


def _soap(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    try:
        import pytorch_optimizer
    except ImportError as error:
        raise ImportError(
            "optimizer='soap' needs the package pytorch_optimizer: "
            "pip install pytorch-optimizer."
        ) from error
    made: torch.optim.Optimizer = pytorch_optimizer.SOAP(groups)
    made.register_step_post_hook(_lay_out)
    return made


def _lay_out(optimizer: torch.optim.Optimizer, *arguments: Any) -> None:
    """Lay the eigenbases out by rows, as files do."""
    # Because another layout in memory changes the last digits of products, and a
    # training that goes on from a file must end with the same bits.
    for state in optimizer.state.values():
        state["Q"] = [q.contiguous() if len(q) else q for q in state["Q"]]
