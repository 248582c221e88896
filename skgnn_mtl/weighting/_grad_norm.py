"""Gradient norms that follow the speed of training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ._base import GramianWeighting, positions


class GradNorm(GramianWeighting):
    r"""Gradient normalisation of Chen et al. (2018).

    Logits s are learned, :math:`w = T\,\mathrm{softmax}(s)`, to minimise

    .. math::

        \sum_t |w_t d_t - c_t|, \qquad
        c_t = \Bigl(\frac1T \sum_s w_s d_s\Bigr) \rho_t^{\,\alpha},

    with the norms :math:`d_t` of the gradients, the constants :math:`c_t`, and the
    inverse training rates :math:`\rho_t`, which are :math:`L_t / L_t(0)` divided by
    their mean. :math:`L(0)` is the mean loss of the first epoch, in which all weights
    are 1.

    Parameters
    ----------
    alpha : float, default=1.5
        How strongly slow tasks are pulled; 0 makes all weighted norms equal.
    lr : float, default=0.025
        Learning rate of the Adam that trains s.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    References
    ----------
    .. [1] Z. Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing
       in Deep Multitask Networks", ICML 2018.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GradNorm
    >>> weighting = GradNorm()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.eye(2))
    tensor([1., 1.])
    """

    first_losses: Tensor

    def __init__(
        self,
        *,
        alpha=1.5,
        lr=0.025,
        gradients="parameters",
        update_every=1,
        rescale="none",
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.lr = lr
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Make the logits, and room for the first losses.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self.logits = nn.Parameter(torch.zeros(n_tasks))
        self.register_buffer("first_losses", torch.full((n_tasks,), torch.nan))

    def forward(
        self,
        gramian: Tensor,
        losses: Tensor | None = None,
        tasks: Tensor | None = None,
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t); leaves a gradient in the logits."""
        rows = positions(len(self.logits), tasks)
        logits = self.logits.detach().cpu().double()
        w = len(rows) * torch.softmax(logits[rows], dim=0)
        first = self.first_losses.cpu().double()[rows]
        if losses is not None and bool(first.isfinite().any()):
            d = gramian.diagonal().double().sqrt()
            rates = losses.cpu().double() / first.clamp(min=1e-8)
            rates = rates.nan_to_num(nan=1.0)
            target = (w * d).mean() * (rates / rates.mean().clamp(min=1e-8)) ** (
                self.alpha
            )
            q = d * torch.sign(w * d - target)
            grad = torch.zeros_like(logits)
            grad[rows] = w * (q - (w @ q) / len(rows))
            # Adam divides the common scale of the gradients out.
            self.logits.grad = (grad / d.mean()).to(self.logits)
        return w.to(gramian)

    def end_epoch(self, mean_losses: Tensor) -> None:
        """Remember the first mean loss of each task; NaN where unlabelled."""
        known = self.first_losses.isfinite()
        fresh = mean_losses.to(self.first_losses)
        self.first_losses.copy_(torch.where(known, self.first_losses, fresh))
