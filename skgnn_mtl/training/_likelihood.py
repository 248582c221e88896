"""Normal likelihood: each task has a mean and a logarithm of its variance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ._bounded import tobit_nll

# Ends of the log-variance of standardised labels: deviations of 0.7 % to 148 times.
LOWEST, HIGHEST = -10.0, 10.0
# Share of the epochs in which the means learn as by the squared error.
WARMUP = 0.2


class GaussianNLL:
    r"""Negative log-likelihood of normal labels, with weights of its gradients [1]_.

    With the mean m, the log-variance s, and the residual r = y - m, the value is

    .. math:: (s - s_{min} + r^2 e^{-s}) / 2 .

    The constant makes it positive, because some task weightings take logarithms. The
    gradient is multiplied by :math:`e^{\beta s}`: at 0 it is that of the likelihood, at
    1 its part in the mean is that of the squared error. The value is always the same
    function, so that validation losses of all epochs can be compared. A bound, such as
    ">100", has the negative logarithm of its probability (:func:`tobit_nll`).

    Parameters
    ----------
    beta : float, default=0.0
        Weight of the variances.
    n_warmup : int, default=0
        First epochs, with a ``beta`` of 1.

    References
    ----------
    .. [1] M. Seitzer et al., "On the Pitfalls of Heteroscedastic Uncertainty Estimation
       with Probabilistic Neural Networks", ICLR 2022, arXiv:2203.09168.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.training import GaussianNLL
    >>> outputs = torch.tensor([[1.0, 0.0]])  # mean and log-variance of one task
    >>> GaussianNLL()(outputs, torch.tensor([[3.0]])).round(decimals=2)
    tensor([[7.]])
    """

    def __init__(self, beta: float = 0.0, n_warmup: int = 0) -> None:
        self.beta, self.n_warmup, self.n_epochs = beta, n_warmup, 0

    def for_training(self, n_epochs: int) -> GaussianNLL:
        """Make the loss of one training; 0 epochs of one that goes on."""
        return GaussianNLL(self.beta, round(WARMUP * n_epochs))

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the losses (n, t) of means and log-variances (n, 2 t)."""
        means, raw = outputs.chunk(2, dim=1)
        s = log_variances(raw)
        values = _values(means, s, targets)
        beta = 1.0 if self.n_epochs < self.n_warmup else self.beta
        if not beta:
            return values
        weights = (beta * s.detach()).exp()
        # The gradient alone, because a weighted value could not be compared.
        weighted: Tensor = values.detach() + weights * (values - values.detach())
        return weighted

    def end_epoch(self) -> None:
        """Count an epoch of the training."""
        self.n_epochs += 1


def _values(means: Tensor, s: Tensor, targets: Tensor) -> Tensor:
    """Compute the value of exact labels, and of bounds that of their probability."""
    # Data sets without a bound are real, and cost nothing.
    exact = targets.real if targets.is_complex() else targets
    values: Tensor = (s - LOWEST + (exact - means).square() * (-s).exp()) / 2
    if not targets.is_complex():
        return values
    signs = targets.imag
    return torch.where(signs == 0, values, tobit_nll(means, s, exact, signs))


def log_variances(raw: Tensor) -> Tensor:
    """Bound log-variances smoothly, so that none overflows or loses its gradient."""
    return LOWEST + F.softplus(HIGHEST - F.softplus(HIGHEST - raw) - LOWEST)


# By the name of the estimators' parameter ``loss``; a training has one of its own.
LIKELIHOODS: dict[str, GaussianNLL] = {
    "beta_nll": GaussianNLL(0.5),
    "gaussian_nll": GaussianNLL(0.0),
}
