"""Gradient vaccine: cosines pulled up to their running means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from skgnn_mtl._gram import cosines

from ._base import GramianWeighting, as_matrix, as_weights, positions
from ._constraints import FINITE
from ._pcgrad import random_orders


class GradVac(GramianWeighting):
    r"""Gradient vaccine of Wang et al. (2021).

    As :class:`PCGrad`, but with a target cosine :math:`\varphi_{ij}` in place of 0.
    Where the cosine c of the modified :math:`g_i` with :math:`g_j` is below it,

    .. math::

        g_i \leftarrow g_i + \frac{\|g_i\| \bigl(\varphi \sqrt{1 - c^2}
        - c \sqrt{1 - \varphi^2}\bigr)}{\|g_j\| \sqrt{1 - \varphi^2}}\; g_j,

    and always :math:`\varphi \leftarrow (1 - \beta) \varphi + \beta c`. All target
    cosines start at 0, so the first step is that of PCGrad.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    beta : float, default=0.5
        Rate of the running means.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    See Also
    --------
    PCGrad : Projects conflicting gradients on each other's normal plane.

    Notes
    -----
    Cosines are of whole gradients, not of layers.

    References
    ----------
    .. [1] Z. Wang et al., "Gradient Vaccine: Investigating and Improving Multi-task
       Optimization in Massively Multilingual Models", ICLR 2021.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GradVac
    >>> weighting = GradVac()
    >>> weighting.build(n_tasks=2)
    >>> weighting(torch.tensor([[1.0, -1.0], [-1.0, 4.0]]))
    tensor([2.0000, 1.2500])
    """

    target_cosines: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "beta": [FINITE],
    }

    def __init__(self, *, beta: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        self.beta = beta

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the running means of the cosines.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        targets = torch.zeros(n_tasks, n_tasks, dtype=torch.float64)
        self.register_buffer("target_cosines", targets)

    def forward(
        self,
        gramian: Tensor,
        tasks: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        G = as_matrix(gramian)
        where = positions(len(self.target_cosines), tasks)
        grid = (where[:, None], where[None, :])
        targets = self.target_cosines.cpu()[grid].numpy()
        rows, diagonal = np.arange(len(G)), np.diagonal(G)
        C, Q = np.eye(len(G)), G.copy()  # coefficients, and their products C G
        squares = diagonal.copy()  # of the modified gradients
        for others in random_orders(len(G), generator):
            p, d = Q[rows, others], np.sqrt(diagonal[others])
            length = np.sqrt(np.clip(squares, 1e-300, None))
            cosine = np.clip(cosines(p, length * d), -1.0, 1.0)
            target = targets[rows, others]
            # Clipped, because only a gradient parallel to the other has a cosine of 1.
            root = np.sqrt(np.clip(1.0 - target**2, 1e-12, None))
            pull = (
                length
                * (target * np.sqrt(1.0 - cosine**2) - cosine * root)
                / (d * root)
            )
            change = np.where(cosine < target, pull, 0.0)
            squares = squares + change * (2.0 * p + change * d**2)
            C[rows, others] += change
            Q += change[:, None] * G[others]
            targets[rows, others] = (1.0 - self.beta) * target + self.beta * cosine
        self.target_cosines[grid] = torch.from_numpy(targets).to(self.target_cosines)
        return as_weights(C.sum(axis=0), gramian)
