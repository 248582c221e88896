"""Coordinates of one sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ._base import JacobianAggregation, present
from ._by_task import one_per_task
from ._constraints import FINITE_NUMBERS

# Columns at a time on the CPU; with a dozen tasks, about a megabyte.
_BLOCK = 16_384


class GradDrop(JacobianAggregation):
    r"""Gradient sign dropout of Chen et al. (2020).

    In each coordinate either the positive or the negative gradients are kept, with
    probabilities P and 1 - P,

    .. math::

        P = \frac12 \Bigl(1 + \frac{\sum_t g_t}{\sum_t |g_t|}\Bigr), \qquad
        \sum_t \bigl(\ell_t + (1 - \ell_t) M_t\bigr) \circ g_t,

    with the masks :math:`M_t` of the kept entries, and leaks :math:`\ell_t`.

    It maps a Jacobian (t, p) to a direction (p,).

    Parameters
    ----------
    leak : float or array-like of shape (n_tasks,), default=0.0
        Share of a task's gradient that is always kept.
    **options : object
        ``adaptive_momentum`` of :class:`JacobianAggregation`.

    Raises
    ------
    ValueError
        In ``build``, if ``leak`` has another length than the tasks.

    See Also
    --------
    DBMTL : Balances norms of gradients of logarithmic losses.
    PCGrad : Projects conflicting gradients on each other's normal plane.

    Notes
    -----
    The paper applies the rule to the activations of a layer. Here it acts on
    parameters.

    References
    ----------
    .. [1] Z. Chen et al., "Just Pick a Sign: Optimizing Deep Multitask Models with
       Gradient Sign Dropout", NeurIPS 2020.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GradDrop
    >>> direction = GradDrop()(torch.tensor([[1.0, 3.0], [1.0, -3.0]]))
    >>> direction[0].item(), abs(direction[1]).item()
    (2.0, 3.0)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "leak": [FINITE_NUMBERS],
    }

    def __init__(self, leak: ArrayLike = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.leak = leak

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Check the leaks against the tasks.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        one_per_task(self, "leak", n_tasks)

    def forward(
        self,
        jacobian: Tensor,
        tasks: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Combine gradients (t, p) to a direction (p,)."""
        leak = torch.as_tensor(np.asarray(self.leak, dtype=np.float64)).to(jacobian)
        by_task = leak.ndim > 0
        leak = present(leak, tasks) if by_task else leak.expand(len(jacobian))
        # On the CPU, because the generator of a fit is there.
        p, dtype = jacobian.shape[1], jacobian.dtype
        draws = torch.rand(p, generator=generator, dtype=dtype).to(jacobian.device)
        # In blocks, because temporaries as large as the gradients do not fit in cache.
        width = _BLOCK if jacobian.device.type == "cpu" else max(p, 1)
        blocks = zip(jacobian.split(width, dim=1), draws.split(width), strict=True)
        sums = torch.stack([torch.ones_like(leak), 1.0 - leak])
        return torch.cat([_combine(block, sums, U) for block, U in blocks])


def _combine(J: Tensor, sums: Tensor, U: Tensor) -> Tensor:
    """Choose a sign in each column of (t, n), by draws (n,).

    The rows of ``sums`` (2, t) add the whole gradients, and their parts without the
    leaks.
    """
    (total, whole), (positive, up) = sums @ J, sums @ J.clamp(min=0.0)
    # U < P, multiplied by the sum of moduli, because that sum may be zero.
    chosen = positive > U * (2.0 * positive - total)
    kept: Tensor = (total - whole) + torch.where(chosen, up, whole - up)
    return kept
