"""Balance of the tasks' neural tangent kernels, at the representation."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ._base import GramianWeighting, as_matrix, as_weights
from ._constraints import FINITE


class NTKMTLSR(GramianWeighting):
    r"""Neural tangent kernel balancing of Qin et al. (2025), shared representation.

    The batch is split into n parts, and each part has a gradient of task t's mean loss
    with respect to the representation. The largest eigenvalue of the (n, n) matrix of
    inner products between these gradients is :math:`\lambda_t`, and

    .. math:: w_t = \Bigl(\sum_s \lambda_s / \lambda_t\Bigr)^{\text{exponent}}.

    It maps the Gramians (n, t, t) of the parts to weights (t,).

    Parameters
    ----------
    n_splits : int, default=4
        Parts of the batch.
    exponent : float, default=0.5
        At 0.5 scaling a loss does not change the direction.
    gradients : {"representation", "parameters"}, default="representation"
        Variables of the gradients. "parameters" is the variant NTKMTL and needs
        ``n_splits=1``.
    rescale : {"none", "mean1"}, default="mean1"
        "mean1" divides the weights by their mean.
    **options : object
        ``update_every`` of :class:`GramianWeighting`.

    See Also
    --------
    GradNorm : Weights that make gradient norms follow training rates.

    Notes
    -----
    The representations of different parts are different vectors, so the matrix is
    diagonal and :math:`\lambda_t` is its largest entry. As in the
    authors' code, the gradients of the heads are weighted, too.

    References
    ----------
    .. [1] X. Qin et al., "NTKMTL: Mitigating Task Imbalance in Multi-Task Learning from
       Neural Tangent Kernel Perspective", 2025, arXiv:2510.18258.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import NTKMTLSR
    >>> NTKMTLSR().task_weights(torch.tensor([[1.0, 0.0], [0.0, 9.0]]))
    tensor([1.5000, 0.5000])
    """

    weighted_heads = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "exponent": [FINITE],
    }

    def __init__(
        self,
        *,
        n_splits: int = 4,
        exponent: float = 0.5,
        gradients: str = "representation",
        rescale: str = "mean1",
        **options: Any,
    ) -> None:
        super().__init__(gradients=gradients, rescale=rescale, **options)
        self.n_splits = n_splits
        self.exponent = exponent

    def forward(self, gramian: Tensor) -> Tensor:
        """Weigh the tasks by a Gramian (t, t), or by one per part (n_splits, t, t)."""
        squares = as_matrix(gramian.diagonal(dim1=-2, dim2=-1))
        largest = squares.reshape(-1, squares.shape[-1]).max(axis=0)
        return as_weights((largest.sum() / largest) ** self.exponent, gramian)
