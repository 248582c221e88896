"""
A weighting of one's own: every coordinate of every task by its curvature
=========================================================================

Weights make a task's loss steeper or flatter as a whole. A second-order method may go
further and divide each coordinate of each task's gradient by the curvature of *that
task* along *that coordinate*. This is such a rule, in the manner of AdaHessian (Z. Yao
et al., arXiv 2006.00719) but with a diagonal for each task, and an example of a
``JacobianAggregation`` that asks for more than gradients: ``forward`` names
``diagonals``, and is handed a function that draws a sample of the diagonals of the
tasks' Gauss-Newton matrices. ``curvature_study.py`` compares it with weightings.
"""

import torch
from torch import Tensor

from skgnn_mtl.weighting import JacobianAggregation


class DiagonalPreconditioning(JacobianAggregation):
    r"""Divide each task's gradient by the mean diagonal of its curvature.

    .. math::

        d = c \sum_t g_t / \tilde D_t^{\gamma}, \qquad
        \tilde D_t = \bar D_t + \delta\, \mathrm{mean}_j\, \bar D_{tj},

    coordinate by coordinate, where :math:`\bar D_t` is a running mean of samples of the
    diagonal, :math:`\gamma` is ``exponent`` and :math:`\delta` ``damping``; c makes the
    mean of all factors 1, so that the step of a plain optimizer keeps its length.
    Damping is relative to the task: :math:`L_t \to c_t L_t` changes nothing but the
    common factor c if the exponent is 1.

    The diagonal is that of the Gauss-Newton matrix: AdaHessian's samples
    :math:`v \circ H v` of the Hessian's change their sign far from a minimum, and need
    absolute values that are no unbiased estimate of anything.

    Parameters
    ----------
    exponent : float, default=1.0
        1 is a Newton step in each coordinate, 1/2 is half-way in decades, 0 is
        ``Equal``.
    damping : float, default=0.1
        Added curvature, in units of a task's mean.
    update_every : int, default=10
        Steps between two looks; a task that nobody has seen is looked at at once.
    ema : float, default=0.9
        Share of the old mean in the new one, corrected for its start.
    """

    def __init__(self, exponent=1.0, damping=0.1, update_every=10, ema=0.9) -> None:
        super().__init__()
        self.exponent = exponent
        self.damping = damping
        self.update_every = update_every
        self.ema = ema

    def build(self, n_tasks, task_names=None) -> None:
        """Forget everything: how many coordinates there are is seen in a Jacobian."""
        self.age = 0
        self.sums = torch.empty(n_tasks, 0)
        self.counts = torch.zeros(n_tasks, dtype=torch.int64)

    def forward(self, jacobian: Tensor, tasks=None, diagonals=None) -> Tensor:
        """Combine the gradients (t, p) to a direction (p,)."""
        rows = torch.arange(len(jacobian)) if tasks is None else tasks.cpu()
        if self.sums.shape[1] == 0:
            self.sums = jacobian.new_zeros(len(self.counts), jacobian.shape[1])
        if self.age % self.update_every == 0 or bool((self.counts[rows] == 0).any()):
            self._look(diagonals(), rows)
        self.age += 1
        return (self._factors(rows) * jacobian).sum(dim=0)

    def _look(self, samples: Tensor, rows: Tensor) -> None:
        """Take samples (t, p) into the means."""
        where = rows.to(self.sums.device)
        self.sums[where] = torch.lerp(samples, self.sums[where], self.ema)
        self.counts[rows] += 1

    def _factors(self, rows: Tensor) -> Tensor:
        """Factors (t, p) of the gradients; 1 for a task without curvature."""
        known = self.sums[rows.to(self.sums.device)]
        # A mean that began at zero is short by this much, as in Adam.
        start = 1.0 - self.ema ** self.counts[rows].double()
        D = known / start.to(known)[:, None]
        mean = D.mean(dim=1, keepdim=True)
        flat = mean == 0.0
        D = torch.where(flat, 1.0, D + self.damping * mean)
        factors = D**-self.exponent
        return factors / factors.mean()
