"""Muon for the matrices of hidden layers, AdamW for all other parameters."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import nn

from ._parts import PartedOptimizer


class MuonAdamW(PartedOptimizer):
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
        super().__init__(params, lr, weight_decay)
        self.add_part(_muon, lambda p: id(p) in matrices)
        self.add_part(torch.optim.AdamW, lambda p: id(p) not in matrices)


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
