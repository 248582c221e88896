"""Auxiliary tasks weighted by their cosine and length at once."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from ._anchored import relate_to_target
from ._base import Decision, GramianWeighting
from ._constraints import POSITIVE
from ._solvers import SolverReport


class GCSGNS(GramianWeighting):
    r"""Gradient cosine similarity and norm scaling together, of Dey and Ning (2024).

    The weight of an auxiliary task is the product of the cosine of its gradient with
    that of the pooled target, :math:`g_0 = \sum_\tau a_\tau g_\tau`, and of the ratio
    of their lengths; 0 if they conflict:

    .. math:: g_0 + \sum_i \max(0, c_i) \min(s, \|g_0\| / \|g_i\|)\, g_i, \qquad
        c_i = \frac{g_i^\top g_0}{\|g_i\|\,\|g_0\|}.

    Its name in estimators is ``"gcs+gns"`` or ``"gcsgns"``. The estimator's
    ``target_tasks`` names the target tasks.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    max_scale : float or None, default=None
        Largest ratio s; None does not limit it, as the released code, so that short
        gradients are stretched.
    pool : {"labels", "tasks"}, default="labels"
        Weights of the targets within :math:`g_0`: their labels in the batch, or equal.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Raises
    ------
    ValueError
        In use, if ``max_scale`` is not positive.

    See Also
    --------
    GCS : The cosine alone.
    GNS : The limit of the norm alone.

    Notes
    -----
    The rule is that of the authors' released code. A batch without a label of a target
    does not change the shared parameters; such steps are counted as stationary. On a
    plain Gramian the first task is the target.

    References
    ----------
    .. [1] V. Dey, X. Ning, "Enhancing Molecular Property Prediction with Auxiliary
       Learning and Task-Specific Adaptation", J. Cheminformatics 16, 85 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import GCSGNS
    >>> G = torch.tensor([[1.0, 1.0, -1.0], [1.0, 4.0, 0.0], [-1.0, 0.0, 4.0]])
    >>> GCSGNS().task_weights(G)
    tensor([1.0000, 0.2500, 0.0000])
    """

    compares_norms = True

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "max_scale": [None, POSITIVE],
    }

    def __init__(
        self,
        *,
        max_scale: float | None = None,
        pool: str = "labels",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.max_scale = max_scale
        self.pool = pool

    def forward(
        self, gramian: Tensor, anchor: Tensor | None = None
    ) -> Tensor | Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        largest = np.inf if self.max_scale is None else self.max_scale
        if not largest > 0:
            raise ValueError(f"max_scale must be > 0, got {self!r}.")
        relation = relate_to_target(gramian, anchor)
        if relation is None:
            nothing = gramian.new_zeros(len(gramian))
            return Decision(nothing, SolverReport(stationary=True))
        scales = np.minimum(largest, relation.target_norm / relation.norms)
        auxiliary = np.clip(relation.cosines, 0.0, None) * scales
        return relation.weights(1.0, auxiliary, gramian)
