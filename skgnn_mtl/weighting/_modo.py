"""Weights that follow the gradients of two halves of a batch."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from ._base import as_weights
from ._constraints import NOT_NEGATIVE, POSITIVE
from ._simplex import SimplexWeighting, onto_simplex, products


class MoDo(SimplexWeighting):
    r"""Multi-objective gradient with double sampling of Chen et al. (2023).

    Weights :math:`\lambda` on the simplex, equal at first, are updated in each step by
    the gradients :math:`J_1, J_2` of two halves of the batch,

    .. math::

        \lambda \leftarrow \Pi\bigl(\lambda - \gamma\,
        (J_1 J_2^\top + \rho I)\, \lambda\bigr), \qquad w = T \lambda,

    with the projection :math:`\Pi` on the simplex. Two samples make the estimate of
    the gradient unbiased, unlike :math:`J_1 J_1^\top`.

    It maps a Gramian (t, t) to weights (t,), and reads the products of both halves. A
    step costs two backward passes per task.

    Parameters
    ----------
    gamma : float, default=0.1
        Step size :math:`\gamma` of the weights.
    rho : float, default=0.1
        Strength :math:`\rho` of the pull towards equal weights.
    **options : object
        ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        At the start of a fit, if ``gradients`` is "representation".

    See Also
    --------
    SDMGrad : The same with a pull towards equal weights.
    MGDA : The shortest convex combination of the gradients.

    Notes
    -----
    The published weights sum to 1, those here to the number T of tasks. Products are
    divided by the squared mean length of the gradients, so that ``gamma`` and ``rho``
    do not depend on units; this is a choice of this package. With batch normalisation
    the halves are not independent. A task with labels in one half only, and an
    auxiliary task, have the products of the whole batch. On a plain Gramian both
    halves are the same.

    References
    ----------
    .. [1] L. Chen et al., "Three-Way Trade-Off in Multi-Objective Learning:
       Optimization, Generalization and Conflict-Avoidance", NeurIPS 2023,
       arXiv:2305.20057.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import MoDo
    >>> weighting = MoDo(rho=0.0)
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([[1.0, 0.0], [0.0, 4.0]]))
    tensor([1.0667, 0.9333])
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "gamma": [POSITIVE],
        "rho": [NOT_NEGATIVE],
    }

    def __init__(self, *, gamma: float = 0.1, rho: float = 0.1, **options: Any) -> None:
        super().__init__(**options)
        self.gamma = gamma
        self.rho = rho

    def forward(
        self,
        gramian: Tensor,
        tasks: Tensor | None = None,
        cross: Tensor | None = None,
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t), and update the weights."""
        where, w, total = self.read(tasks)
        slope = products(gramian, cross) @ w + self.rho * w
        w = onto_simplex(w - self.gamma * slope)
        self.keep(where, w, total)
        return as_weights(len(w) * w, gramian)
