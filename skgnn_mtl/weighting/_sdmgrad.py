"""The shortest combination of gradients, close to their mean."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ._base import as_weights
from ._constraints import MEMORY, NOT_NEGATIVE, POSITIVE, check_count
from ._simplex import SimplexWeighting, onto_simplex, products


class SDMGrad(SimplexWeighting):
    r"""Direction-oriented multi-objective descent of Xiao, Ban and Ji (2023).

    Weights v on the simplex, equal at first, descend on
    :math:`\|J^\top (v + \lambda u)\|^2 / 2` with equal weights u that sum to 1,

    .. math:: w = T\, \frac{v + \lambda u}{1 + \lambda}.

    Each step makes some updates by projected gradients with momentum, with the
    products :math:`J_1 J_2^\top` of two halves of the batch in place of
    :math:`J J^\top`. For :math:`\lambda = 0` it approaches :class:`MGDA`, for large
    :math:`\lambda` :class:`Equal`.

    It maps a Gramian (t, t) to weights (t,), and reads the products of both halves. A
    step costs two backward passes per task.

    Parameters
    ----------
    pull : float, default=0.3
        The factor :math:`\lambda`, the value of the authors' experiments.
    rate, momentum : float, default=10.0, 0.5
        Step size and momentum of the updates.
    n_iter : int, default=20
        Updates per step.
    **options : object
        ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        At the start of a fit, if ``gradients`` is "representation" or ``n_iter`` is not
        an integer of at least 1.

    See Also
    --------
    MoDo : One step per batch, without the pull.
    CAGrad : The best direction near the mean gradient.

    Notes
    -----
    The published weights sum to 1, those here to the number T of tasks. Products are
    divided by the squared mean length of the gradients, as in the released code. With
    batch normalisation the halves are not independent. A task with labels in one half
    only, and an auxiliary task, have the products of the whole batch. On a plain
    Gramian both halves are the same.

    References
    ----------
    .. [1] P. Xiao, H. Ban, K. Ji, "Direction-Oriented Multi-Objective Learning: Simple
       and Provable Stochastic Algorithms", NeurIPS 2023, arXiv:2305.18409.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import SDMGrad
    >>> weighting = SDMGrad(pull=0.0, rate=0.2, n_iter=100)
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.6000, 0.4000])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "pull": [NOT_NEGATIVE],
        "rate": [POSITIVE],
        "momentum": [MEMORY],
    }

    def __init__(
        self,
        *,
        pull: float = 0.3,
        rate: float = 10.0,
        momentum: float = 0.5,
        n_iter: int = 20,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.pull = pull
        self.rate = rate
        self.momentum = momentum
        self.n_iter = n_iter

    def check_options(self) -> None:
        """Check the options of the family, and ``n_iter``.

        Raises
        ------
        ValueError
            If an option has a value that it cannot have.
        """
        super().check_options()
        check_count(self, "n_iter")

    def forward(
        self,
        gramian: Tensor,
        tasks: Tensor | None = None,
        cross: Tensor | None = None,
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t), and update the weights."""
        where, w, total = self.read(tasks)
        C = products(gramian, cross)
        aim = np.full(len(w), self.pull / len(w))
        velocity = np.zeros(len(w))
        for _ in range(self.n_iter):
            velocity = self.momentum * velocity + C @ (w + aim)
            w = onto_simplex(w - self.rate * velocity)
        self.keep(where, w, total)
        return as_weights(len(w) * (w + aim) / (1.0 + self.pull), gramian)
