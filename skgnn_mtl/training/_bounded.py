r"""Losses of labels that are bounds, such as ">100".

A bound travels as a complex number, value :math:`+\, i\,` sign, where the sign is 1 for
a lower bound, -1 for an upper one and 0 for an exact label. Whatever gathers, divides
or reorders labels therefore moves both parts alike, and tables without a bound stay
real.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ._loss import Loss


@dataclass(frozen=True)
class BoundedLoss:
    r"""Make a loss one-sided where the label is a bound.

    .. math:: \ell(o, y, s) = 0 \text{ where } s\,(o - y) > 0, \text{ else } \ell(o, y)

    for an output o, a value y and a sign s. The loss of a satisfied bound does not have
    a gradient or a curvature. It still counts in the mean over the labels of its task.

    Parameters
    ----------
    loss : callable
        Elementwise loss of exact labels.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.training import LOSSES, BoundedLoss
    >>> loss = BoundedLoss(LOSSES["squared_error"])
    >>> at_least_2 = torch.tensor([[2 + 1j], [2 + 1j]])
    >>> loss(torch.tensor([[1.0], [4.0]]), at_least_2)
    tensor([[1.],
            [0.]])
    """

    loss: Loss

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the losses of outputs (n, t), of the shape of the outputs."""
        # Data sets without a bound are real, and cost nothing.
        if not targets.is_complex():
            return self.loss(outputs, targets)
        values, signs = targets.real, targets.imag
        losses = self.loss(outputs, values)
        return torch.where(signs * (outputs - values) > 0, 0.0, losses)


def nearest_allowed(outputs: Tensor, targets: Tensor) -> Tensor:
    """Find the values nearest to the outputs that the labels allow.

    Parameters
    ----------
    outputs : Tensor of shape (n, t)
        Predictions.
    targets : Tensor of shape (n, t)
        Labels; complex if some are bounds.

    Returns
    -------
    values : Tensor of shape (n, t)
        The output where it is beyond the bound, else the number of the label.
    """
    if not targets.is_complex():
        return targets
    values, signs = targets.real, targets.imag
    return torch.where(signs * (outputs - values) > 0, outputs, values)


def tobit_nll(
    mean: Tensor, log_variance: Tensor, values: Tensor, signs: Tensor
) -> Tensor:
    r"""Compute the negative log-likelihood of exact and censored labels [1]_.

    .. math::
        \ell = \begin{cases}
            \tfrac12 \left(\log 2 \pi \sigma^2 + z^2\right), & s = 0 \\
            -\log \Phi(-s z), & s = \pm 1
        \end{cases}
        \qquad z = \frac{y - \mu}{\sigma}

    with the standard normal distribution function :math:`\Phi`. A lower bound y has the
    probability that the label is above it, :math:`P(Y > y) = \Phi(-z)`, an upper bound
    that of a label below it, :math:`\Phi(z)`.

    Parameters
    ----------
    mean, log_variance : Tensor of shape (n, t)
        :math:`\mu` and :math:`\log \sigma^2`.
    values : Tensor of shape (n, t)
        Labels y; of a bound, its number.
    signs : Tensor of shape (n, t)
        s: 1 for a lower bound, -1 for an upper one, 0 for an exact label.

    Returns
    -------
    losses : Tensor of shape (n, t)
        In nats; not negative for a bound.

    References
    ----------
    .. [1] J. Tobin, "Estimation of Relationships for Limited Dependent Variables",
       Econometrica 26, 24 (1958).
    """
    z = (values - mean) * torch.exp(-0.5 * log_variance)
    exact = 0.5 * (math.log(2 * math.pi) + log_variance + z.square())
    # By its logarithm, because the probability of a bound that is far off underflows.
    bounded = -torch.special.log_ndtr(-signs * z)
    return torch.where(signs == 0, exact, bounded)
