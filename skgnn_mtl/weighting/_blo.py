"""Task weights that are learned on held-out rows: bi-level optimisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from ._base import LossWeighting, positions
from ._held_out import HeldOut, check_held_out
from ._rcgrad import RCGrad

_MODES = ("consistent", "intended", "released")


class BLO(LossWeighting):
    r"""Bi-level optimisation of the task weights, after Dey and Ning (2024).

    The network descends on :math:`\sum_i w_i L_i + (w_0 + \kappa) L_0` over most of the
    training rows, with the pooled target :math:`L_0` and the auxiliary tasks
    :math:`L_i`; the weights descend on :math:`L_0` over rows that are held out. Every
    k steps the gradient :math:`g_v` of the target on all held-out rows meets a fresh
    batch of the others, with the gradients :math:`g_i` of all entries and the Hessian H
    of the weighted loss:

    .. math:: h_i = -p^\top g_i, \qquad
        p = \sum_{j=0}^{J} (I - \alpha H)^j g_v, \qquad
        w \leftarrow \max(0, w - \eta\, \mathrm{momentum}(h)).

    A weight rises when its gradient points along p. Heads are not part of this.

    Parameters
    ----------
    inner : RCGrad or None, default=None
        How a step combines the gradients; None is the weighted sum. With
        :class:`RCGrad` the auxiliary tasks go along
        :math:`(\rho_i + w_i) P_i / 2`, where :math:`P_i` is the turned or projected
        gradient; then :math:`w_i` is at most 1, and :math:`w_0` has no meaning. Its
        own ``pool``, ``norm``, ``every``, ``fraction`` and ``split`` are not used.
    mode : {"consistent", "intended", "released"}, default="consistent"
        With ``inner``. "consistent" learns by the derivative of the step that is made,
        :math:`h_i = -g_v^\top P_i / 2`, without the Hessian. The others project,
        whatever the mode of ``inner``: "intended" learns by p as above, "released"
        never learns, as the authors' code, so that every weight keeps its first value.
    every : int, default=10
        Steps between two updates of the weights.
    fraction : float, default=0.2
        Share of the training rows to hold out.
    split : {"tail", "random"}, default="tail"
        Which ones. "tail" orders the ``groups`` of ``fit`` by size and takes whole ones
        from the end: with scaffolds as groups, the rare ones. "random" draws groups.
        Without groups, rows are drawn in both cases.
    lr, momentum : float, default=1e-3, 0.9
        Rate :math:`\eta` and momentum of the updates.
    clip : float, default=25.0
        Largest norm of h.
    weight_init : float, array-like of shape (1 + n_auxiliary,) or None, default=None
        First weights, that of the pooled target first; None is
        1 / (1 + n_auxiliary).
    skip_connection : bool, default=True
        Whether :math:`\kappa` is 1, not 0.
    n_terms : int, default=3
        Number J of products with the Hessian; 0 compares with :math:`g_v` itself.
    scale : float, default=1.0
        Step :math:`\alpha` of the series. It converges only if all eigenvalues of H lie
        between 0 and :math:`2/\alpha`.
    normalize : bool, default=False
        Divide :math:`h_i` by the lengths of its two vectors. Then an ``lr`` of 0.01 to
        0.05 is a start.
    pool : {"labels", "tasks"}, default="labels"
        Weights of the targets within :math:`L_0`: their labels, or equal.

    Attributes
    ----------
    weights_ : ndarray of shape (1 + n_auxiliary,)
        The weights, that of the pooled target first, then auxiliary columns of ``y``
        and auxiliary tasks in order.
    n_outer_steps_ : int
        Number of updates of the weights.

    Raises
    ------
    ValueError
        In ``build``, if a parameter is out of range.
    TypeError
        In ``build``, if ``inner`` is something else.

    Notes
    -----
    Which tasks are targets is said by the estimator's ``target_tasks``; without
    auxiliary tasks nothing is held out. Held-out rows are seen in evaluation mode, the
    fresh batch in training mode, and neither changes statistics of batch normalisation.
    :math:`g_v` comes from all held-out rows, the mean over labels. Two differences to
    the released code are ours: that mean, in place of a sum over batches, and the mode
    "consistent". ``history_`` records h and the ratio
    :math:`\|(I - \alpha H)^J g_v\| / \|g_v\|`; a fit warns if it exceeds 1. The network
    does not learn from the held-out rows: a refit on all rows, with
    ``Fixed(model.task_weights_)``, may follow.

    References
    ----------
    .. [1] V. Dey, X. Ning, "Enhancing Molecular Property Prediction with Auxiliary
       Learning and Task-Specific Adaptation", J. Cheminformatics 16, 85 (2024).
    .. [2] A. Navon et al., "Auxiliary Learning by Implicit Differentiation", ICLR 2021.
    .. [3] J. Lorraine et al., "Optimizing Millions of Hyperparameters by Implicit
       Differentiation", AISTATS 2020.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import BLO
    >>> weighting = BLO()
    >>> weighting.build(n_tasks=2)
    >>> weighting.task_weights(torch.tensor([1.0, 2.0]))
    tensor([1.5000, 0.5000])
    """

    w: Tensor
    velocity: Tensor
    auxiliary: Tensor
    n_outer_steps: Tensor

    def __init__(
        self,
        inner=None,
        *,
        mode="consistent",
        every=10,
        fraction=0.2,
        split="tail",
        lr=1e-3,
        momentum=0.9,
        clip=25.0,
        weight_init=None,
        skip_connection=True,
        n_terms=3,
        scale=1.0,
        normalize=False,
        pool="labels",
    ) -> None:
        super().__init__()
        self.inner = inner
        self.mode = mode
        self.every = every
        self.fraction = fraction
        self.split = split
        self.lr = lr
        self.momentum = momentum
        self.clip = clip
        self.weight_init = weight_init
        self.skip_connection = skip_connection
        self.n_terms = n_terms
        self.scale = scale
        self.normalize = normalize
        self.pool = pool

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Make the weights; the first task is the target until :meth:`aim` is called.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        self._check()
        # The pooled target, then a place for each task.
        for name in ("w", "velocity"):
            values = torch.full((n_tasks + 1,), torch.nan, dtype=torch.float64)
            self.register_buffer(name, values)
        self.register_buffer("auxiliary", torch.zeros(n_tasks, dtype=torch.bool))
        self.register_buffer("n_outer_steps", torch.zeros((), dtype=torch.int64))
        if self.inner is not None:
            self.inner.check_settings()
            self.inner.build(n_tasks, task_names)
            self.inner.projects |= self.mode != "consistent"
        if not isinstance(self.weight_init, (Sequence, np.ndarray)):
            self.aim([0])

    def _check(self) -> None:
        if self.inner is not None and not isinstance(self.inner, RCGrad):
            raise TypeError(f"inner must be an RCGrad or None, got {self!r}.")
        if self.inner is not None and self.inner.gradients != "parameters":
            raise ValueError(f"inner needs gradients='parameters', got {self!r}.")
        if self.mode not in _MODES:
            raise ValueError(f"mode must be one of {_MODES}, got {self!r}.")
        check_held_out(self)
        if self.pool is None:
            raise ValueError(f"pool must be 'labels' or 'tasks', got {self!r}.")
        if not isinstance(self.n_terms, Integral) or self.n_terms < 0:
            raise ValueError(f"n_terms must be an integer >= 0, got {self!r}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {self!r}.")
        for name in ("lr", "clip", "scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be > 0, got {self!r}.")

    def aim(self, targets: Sequence[int]) -> None:
        """Say which tasks are targets; the weights begin anew if they were others.

        Parameters
        ----------
        targets : sequence of int
            Positions of the target tasks.

        Raises
        ------
        ValueError
            If ``weight_init`` does not fit the number of auxiliary tasks.
        """
        auxiliary = torch.ones(len(self.w) - 1, dtype=torch.bool)
        auxiliary[list(targets)] = False
        if torch.equal(auxiliary, self.auxiliary.cpu()) and bool(self.w[0].isfinite()):
            return
        first = self._first(int(auxiliary.sum()))
        self.auxiliary.copy_(auxiliary)
        self.velocity.zero_()
        self.n_outer_steps.zero_()
        self.w.zero_()
        self.w[self._places()] = torch.from_numpy(first).to(self.w)
        self._lead()

    def _first(self, n_auxiliary: int) -> np.ndarray:
        size = 1 + n_auxiliary
        given = 1.0 / size if self.weight_init is None else self.weight_init
        values = np.asarray(given, dtype=np.float64)
        if values.shape not in ((), (size,)):
            raise ValueError(
                f"weight_init must be a number or {size} numbers, for the target and "
                f"{n_auxiliary} auxiliary tasks; got {self!r}."
            )
        if not (np.isfinite(values) & (values >= 0) & (values <= self._largest)).all():
            raise ValueError(
                f"weight_init must lie in [0, {self._largest}], got {self!r}."
            )
        return np.broadcast_to(values, (size,)).copy()

    def _places(self) -> Tensor:
        """Where the weights of the pooled target and of the auxiliary tasks stand."""
        own = 1 + self.auxiliary.nonzero()[:, 0]
        return torch.cat([own.new_zeros(1), own])

    @property
    def _largest(self) -> float:
        return math.inf if self.inner is None else 1.0

    def _lead(self) -> None:
        """Hand the weights to the method that makes the steps."""
        if self.inner is not None:
            self.inner.shares.copy_(self.w[1:])

    @property
    def weights_(self) -> np.ndarray:
        """Weights of the pooled target and of the auxiliary tasks."""
        return self.w[self._places()].cpu().numpy()

    @property
    def n_outer_steps_(self) -> int:
        """Number of updates of the weights."""
        return int(self.n_outer_steps)

    @property
    def held_out(self) -> HeldOut:  # type: ignore[override]
        """Rows that judge the weights."""
        every = 0 if self._never_learns else self.every
        return HeldOut(every, self.fraction, self.split)

    @property
    def _never_learns(self) -> bool:
        return self.inner is not None and self.mode == "released"

    @property
    def compares_norms(self) -> bool:  # type: ignore[override]
        """Whether lengths are compared with the target's."""
        return self.inner is not None

    @property
    def uses_hessian(self) -> bool:
        """Whether the weights are learned by the series."""
        return self.inner is None or self.mode == "intended"

    def factors(self) -> Tensor:
        r"""Give the weights of the pooled target and of all tasks in the loss.

        Returns
        -------
        factors : Tensor of float64 of shape (1 + n_tasks,)
            The first is :math:`w_0 + \kappa`; of no meaning for targets.
        """
        factors = self.w.clone()
        factors[0] += float(self.skip_connection)
        if not bool(self.auxiliary.any()):
            factors[0] = 1.0  # there is nothing to weigh it against
        return factors

    def forward(
        self,
        losses: Tensor,
        tasks: Tensor | None = None,
        anchor: Tensor | None = None,
    ) -> Tensor:
        """Combine losses of shape (t,) to a scalar."""
        where = positions(len(self.w) - 1, tasks).to(self.w.device)
        if anchor is None:
            anchor = torch.eye(len(losses), dtype=torch.float64)[0]
        anchor, factors = anchor.to(self.w), self.factors()
        weights = torch.where(anchor > 0, factors[0] * anchor, factors[1 + where])
        return (weights.to(losses) * losses).sum()

    def learn(self, hypergradient: Tensor, places: Tensor) -> None:
        """Take a step against derivatives with respect to the weights.

        Parameters
        ----------
        hypergradient : Tensor of shape (k,)
            Derivatives h.
        places : Tensor of int64 of shape (k,)
            To which weights they belong: 0 is the pooled target, 1 + i is task i. The
            others stay as they are.

        Raises
        ------
        FloatingPointError
            If a derivative is not finite.
        """
        h = hypergradient.to(self.w)
        if not bool(torch.isfinite(h).all()):
            raise FloatingPointError(
                f"The derivatives of the task weights became infinite: {self!r}. Lower "
                "scale, or set n_terms=0."
            )
        places = places.to(self.w.device)
        if self.inner is not None:  # whose target has a factor of its own
            h, places = h[places > 0], places[places > 0]
        h = h * min(1.0, self.clip / max(float(h.norm()), 1e-300))
        self.velocity[places] = self.momentum * self.velocity[places] + h
        new = self.w[places] - self.lr * self.velocity[places]
        self.w[places] = new.clamp(0.0, self._largest)
        self.n_outer_steps += 1
        self._lead()
