"""Gradient vaccine: cosines pulled up to their running means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights, positions
from ._pcgrad import random_orders


class GradVac(GramianWeighting):
    r"""Gradient vaccine of Wang et al. (2021).

    As :class:`PCGrad`, but the aim is a cosine :math:`\varphi_{ij}` in place of 0.
    Where the cosine c of the modified :math:`g_i` with :math:`g_j` is below it,

    .. math::

        g_i \leftarrow g_i + \frac{\|g_i\| \bigl(\varphi \sqrt{1 - c^2}
        - c \sqrt{1 - \varphi^2}\bigr)}{\|g_j\| \sqrt{1 - \varphi^2}}\; g_j,

    and always :math:`\varphi \leftarrow (1 - \beta) \varphi + \beta c`. All aims start
    at 0, so the first step is that of PCGrad.

    Parameters
    ----------
    beta : float, default=0.5
        Rate of the running means.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

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

    aims: Tensor

    def __init__(
        self, *, beta=0.5, gradients="parameters", update_every=1, rescale="none"
    ) -> None:
        super().__init__()
        self.beta = beta
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Make the running means of the cosines.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.register_buffer("aims", torch.zeros(n_tasks, n_tasks, dtype=torch.float64))

    def forward(
        self,
        gramian: Tensor,
        tasks: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        G = as_matrix(gramian)
        where = positions(len(self.aims), tasks)
        grid = (where[:, None], where[None, :])
        aims = self.aims.cpu()[grid].numpy()
        rows, diagonal = np.arange(len(G)), np.diagonal(G)
        C, Q = np.eye(len(G)), G.copy()  # coefficients, and their products C G
        squares = diagonal.copy()  # of the modified gradients
        for others in random_orders(len(G), generator):
            p, d = Q[rows, others], np.sqrt(diagonal[others])
            length = np.sqrt(np.clip(squares, 1e-300, None))
            cosine = np.clip(p / (length * d), -1.0, 1.0)
            aim = aims[rows, others]
            # An aim of 1 can only be met by a gradient without an own part.
            root = np.sqrt(np.clip(1.0 - aim**2, 1e-12, None))
            pull = (
                length * (aim * np.sqrt(1.0 - cosine**2) - cosine * root) / (d * root)
            )
            change = np.where(cosine < aim, pull, 0.0)
            squares = squares + change * (2.0 * p + change * d**2)
            C[rows, others] += change
            Q += change[:, None] * G[others]
            aims[rows, others] = (1.0 - self.beta) * aim + self.beta * cosine
        self.aims[grid] = torch.from_numpy(aims).to(self.aims)
        return as_weights(C.sum(axis=0), gramian)
