"""Task weights that are learned on held-out rows: bi-level optimisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ._anchored import relate_to_target
from ._base import LossWeighting, TaskWeighting, positions
from ._capabilities import EpochAware, TargetAware
from ._constraints import MEMORY, NUMBERS, POSITIVE, check_choice, check_count
from ._held_out import (
    FreshBatch,
    HeldOut,
    HeldOutEvidence,
    HeldOutReport,
    HeldOutWeighting,
    check_held_out,
)
from ._rcgrad import RCGrad

_MODES = ("consistent", "intended", "released")


class BLO(LossWeighting, HeldOutWeighting, TargetAware, EpochAware):
    r"""Bi-level optimisation of the task weights, after Dey and Ning (2024).

    The network descends on :math:`\sum_i w_i L_i + (w_0 + \kappa) L_0` over most of the
    training rows, with the pooled target :math:`L_0` and the auxiliary tasks
    :math:`L_i`. The weights descend on :math:`L_0` over rows that are held out. Every
    k steps the gradients :math:`g_i` of all entries on a fresh batch of the training
    rows are compared with the gradient :math:`g_v` of the target on held-out rows:

    .. math:: h_i = -p^\top g_i, \qquad
        p = \sum_{j=0}^{J} (I - \alpha H)^j g_v, \qquad
        w \leftarrow \max(0, w - \eta\, \mathrm{momentum}(h)),

    where H is the Hessian of the weighted loss on the fresh batch. By default J is 0
    and p is :math:`g_v`; one forward pass then gives all products. A weight rises if
    its gradient points along p. The parameters of heads do not count.

    It maps losses (t,) to a scalar.

    Parameters
    ----------
    inner : RCGrad or None, default=None
        How a step combines the gradients; None is the weighted sum. With
        :class:`RCGrad` the auxiliary tasks go along
        :math:`(\rho_i + w_i) P_i / 2`, where :math:`P_i` is the rotated or projected
        gradient; then :math:`w_i` is at most 1, and :math:`w_0` has no meaning. Its
        own ``pool``, ``norm``, ``every``, ``fraction`` and ``split`` are not used.
    mode : {"consistent", "intended", "released"}, default="consistent"
        With ``inner``. "consistent" learns by the derivative of the step that is made,
        :math:`h_i = -g_v^\top P_i / 2`, without the Hessian. The others project with
        any mode of ``inner``. "intended" learns by p as above. "released" never learns,
        as the authors' code, so that every weight keeps its first value.
    every : int, default=10
        Steps between two updates of the weights.
    fraction : float, default=0.2
        Share of the training rows to hold out.
    split : {"tail", "random"}, default="tail"
        Which rows. "tail" orders the ``groups`` of ``fit`` by size and takes whole ones
        from the end: with scaffolds as groups, the rare ones. "random" draws groups.
        Without groups, rows are drawn in both cases.
    n_batches : int or None, default=2
        Size of the sample of the held-out rows that an update draws, in batches of the
        training. None takes all of them, at a cost that grows with their number.
    lr, momentum : float, default=1e-3, 0.9
        Rate :math:`\eta` and momentum of the updates.
    clip : float, default=25.0
        Largest norm of h.
    weight_init : float, array-like of shape (1 + n_auxiliary,) or None, default=None
        First weights, in the order of ``weights_``; None is 1 / (1 + n_auxiliary).
    skip_connection : bool, default=True
        Whether :math:`\kappa` is 1, not 0.
    n_terms : int, default=0
        Number J of products with the Hessian. The authors' code takes 3, at three times
        the cost. 0 compares with :math:`g_v` itself.
    scale : float, default=1.0
        Step :math:`\alpha` of the series. It converges only if all eigenvalues of H lie
        between 0 and :math:`2/\alpha`.
    normalize : bool, default=False
        Divide :math:`h_i` by the lengths of its two vectors. Begin with an ``lr`` of
        0.01 to 0.05 in this case.
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
        In ``build``, if ``inner`` is neither an :class:`RCGrad` nor None.
    FloatingPointError
        In ``update``, if a derivative is not finite.

    See Also
    --------
    RCGrad : Rotates auxiliary gradients that oppose the target.
    HeldOutWeighting : Adds evidence from held-out rows.

    Notes
    -----
    The estimator's ``target_tasks`` names the target tasks; without auxiliary tasks
    nothing is held out. The network evaluates held-out rows in evaluation mode and the
    fresh batch in training mode. Neither changes statistics of batch normalisation.
    The released code differs in three points. It takes three products with the Hessian
    (``n_terms=3``); its :math:`g_v` is a sum over batches of all held-out rows, here it
    is the gradient of the mean over the labels of a sample; and it does not have the
    mode "consistent".

    The series with ``scale=1`` diverges where H has an eigenvalue beyond 2, and the
    sign of h then depends on the number of products. This is usual, so that the default
    takes none. Then h is the derivative of the target's loss along one small step of
    gradient descent. ``history_`` records h and, with products, the ratio
    :math:`\|(I - \alpha H)^J g_v\| / \|g_v\|`; a fit warns if it exceeds 1.

    The network does not learn from the held-out rows: a refit on all rows, with
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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "lr": [POSITIVE],
        "momentum": [MEMORY],
        "clip": [POSITIVE],
        "scale": [POSITIVE],
        "weight_init": [None, NUMBERS],
    }

    def __init__(
        self,
        inner: RCGrad | None = None,
        *,
        mode: str = "consistent",
        every: int = 10,
        fraction: float = 0.2,
        split: str = "tail",
        n_batches: int | None = 2,
        lr: float = 1e-3,
        momentum: float = 0.9,
        clip: float = 25.0,
        weight_init: Any = None,
        skip_connection: bool = True,
        n_terms: int = 0,
        scale: float = 1.0,
        normalize: bool = False,
        pool: str = "labels",
    ) -> None:
        super().__init__()
        self.inner = inner
        self.mode = mode
        self.every = every
        self.fraction = fraction
        self.split = split
        self.n_batches = n_batches
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
        """Create the weights; the first task is the target until :meth:`set_targets`.

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
            self.inner.check_options()
            self.inner.build(n_tasks, task_names)
            self.inner.projects |= self.mode != "consistent"
        # A list waits for the targets, because its length depends on their number.
        if not isinstance(self.weight_init, (Sequence, np.ndarray)):
            self.set_targets([0])

    def _check(self) -> None:
        if self.inner is not None and not isinstance(self.inner, RCGrad):
            raise TypeError(f"inner must be an RCGrad or None, got {self!r}.")
        if self.inner is not None and self.inner.gradients != "parameters":
            raise ValueError(f"inner needs gradients='parameters', got {self!r}.")
        check_choice(self, "mode", _MODES)
        check_held_out(self)
        if self.n_batches is not None:
            check_count(self, "n_batches")
        if self.pool is None:
            raise ValueError(f"pool must be 'labels' or 'tasks', got {self!r}.")
        if not isinstance(self.n_terms, Integral) or self.n_terms < 0:
            raise ValueError(f"n_terms must be an integer >= 0, got {self!r}.")

    def set_targets(self, targets: Sequence[int]) -> None:
        """Set the target tasks; the weights restart if the targets have changed.

        Parameters
        ----------
        targets : sequence of int
            Positions of the target tasks.

        Raises
        ------
        ValueError
            If ``weight_init`` does not fit the number of auxiliary tasks.
        """
        if self.inner is not None:
            self.inner.set_targets(targets)
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
        """Locate the weights of the pooled target and of the auxiliary tasks."""
        own = 1 + self.auxiliary.nonzero()[:, 0]
        return torch.cat([own.new_zeros(1), own])

    @property
    def _largest(self) -> float:
        return math.inf if self.inner is None else 1.0

    def _lead(self) -> None:
        """Copy the weights to the method that makes the steps."""
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
    def rule(self) -> TaskWeighting:
        """The method that makes the steps: ``inner``, or the weighted sum itself."""
        return self if self.inner is None else self.inner

    @property
    def needs_auxiliary_tasks(self) -> bool:
        """Whether the method does nothing special without auxiliary tasks."""
        return True

    @property
    def held_out(self) -> HeldOut:
        """Rows that the weights learn from."""
        every = 0 if self._never_learns else self.every
        return HeldOut(every, self.fraction, self.split, self.n_batches)

    @property
    def _never_learns(self) -> bool:
        return self.inner is not None and self.mode == "released"

    @property
    def compares_norms(self) -> bool:  # type: ignore[override]
        """Whether the method compares lengths with the target's."""
        return self.inner is not None

    @property
    def uses_hessian(self) -> bool:
        """Whether the weights learn by the series."""
        return self.inner is None or self.mode == "intended"

    def factors(self) -> Tensor:
        r"""Compute the weights of the pooled target and of all tasks in the loss.

        Returns
        -------
        factors : Tensor of float64 of shape (1 + n_tasks,)
            The first is :math:`w_0 + \kappa`; the entries of targets have no meaning.
        """
        factors = self.w.clone()
        factors[0] += float(self.skip_connection)
        if not bool(self.auxiliary.any()):
            factors[0] = 1.0  # a single entry needs no weight
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

    # -- learning the weights -----------------------------------------------------

    def update(self, evidence: HeldOutEvidence) -> HeldOutReport | None:
        """Learn the weights from held-out rows, and let ``inner`` learn from them."""
        if self.inner is not None and self.inner.held_out is not None:
            self.inner.update(evidence)
        batch, g = evidence.draw_batch(), evidence.gradient
        ratio: float | None = None
        if self.uses_hessian:
            h, ratio = self._by_series(batch, g)
        else:
            h = self._by_step(batch, g)
        if not len(h):  # because the batch has no entry
            return None
        h = h.detach().cpu().double()
        self.descend(h, batch.places)
        values = dict(zip(batch.places.tolist(), h.tolist(), strict=True))
        records: dict[str, Any] = {
            "hypergradients": {k - 1: v for k, v in values.items() if k > 0}
        }
        if self.inner is None and 0 in values:
            records["target_hypergradient"] = values[0]
        if ratio is None or not self.n_terms:
            return HeldOutReport(records)
        records["series_ratio"] = ratio
        advice = (
            "The terms of the series were longer at its end than at its beginning "
            "(series_ratio in history_). Lower scale, or set n_terms=0 to do without "
            "the Hessian."
        )
        return HeldOutReport(records, converged=ratio <= 1.0, advice=advice)

    def _by_series(self, batch: FreshBatch, g: Tensor) -> tuple[Tensor, float | None]:
        """Compute derivatives by the Neumann series, and the ratio of its terms."""
        p, ratio = g, None
        if self.n_terms:
            series = batch.neumann_series(
                self.factors()[batch.places.to(self.w.device)].to(g),
                g,
                n_terms=self.n_terms,
                scale=self.scale,
                keep_graph=self.normalize,
            )
            products, p, ratio = series.products, series.vector, series.ratio
        elif not self.normalize:
            products = batch.products(g)
        if self.normalize:
            # Cosines, because the lengths of the gradients differ between the tasks.
            J = batch.jacobian()
            products = (J @ p) / (J.norm(dim=1) * p.norm()).clamp(min=1e-30)
        return -products, ratio

    def _by_step(self, batch: FreshBatch, g: Tensor) -> Tensor:
        """Differentiate the target along the step that ``inner`` makes."""
        inner = self.inner
        assert inner is not None, "the weighted sum is differentiated by the series"
        J = batch.jacobian()
        b = (J @ g).cpu().double()
        h = torch.zeros_like(b)
        alive = (J.square().sum(dim=1) > 0).cpu()
        if not len(h) or int(batch.places[0]) or not bool(alive[0]):
            return h  # because the inner method makes no step without a target
        G = (J @ J.t()).cpu().double()[alive][:, alive]
        relation = relate_to_target(G, None)
        if relation is None:
            return h
        where = (batch.places[alive] - 1).clamp(min=0).numpy()
        own, along = map(torch.from_numpy, inner.parts(relation, where))
        h[alive] = -(own * b[alive] + along * b[0]) / 2
        if self.normalize:
            n, q = map(torch.from_numpy, (relation.norms, relation.products))
            squares = (own * n) ** 2 + 2 * own * along * q
            squares += (along * relation.target_norm) ** 2
            h[alive] /= squares.clamp(min=1e-60).sqrt() * float(g.norm()) / 2
        return h

    def end_epoch(self, mean_losses: Tensor) -> dict[str, Any]:
        """Report the learned weights; the mean losses (n_tasks,) are not used."""
        tasks = self.auxiliary.nonzero()[:, 0].tolist()
        if not tasks:
            return {}
        values = self.w.tolist()
        summary: dict[str, Any] = {
            "n_outer_steps": self.n_outer_steps_,
            "learned_weights": {task: values[1 + task] for task in tasks},
        }
        if self.inner is not None and not self.inner.projects:
            summary |= self.inner.end_epoch(mean_losses)
        return summary

    def descend(self, hypergradient: Tensor, places: Tensor) -> None:
        """Take a step against derivatives with respect to the weights.

        Parameters
        ----------
        hypergradient : Tensor of shape (k,)
            Derivatives h.
        places : Tensor of int64 of shape (k,)
            Weights that they belong to: 0 is the pooled target, 1 + i is task i. The
            other weights do not change.

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
        if self.inner is not None:  # because its target has a factor of its own
            h, places = h[places > 0], places[places > 0]
        # Clipped, because single batches can give very long derivatives.
        h = h * min(1.0, self.clip / max(float(h.norm()), 1e-300))
        self.velocity[places] = self.momentum * self.velocity[places] + h
        new = self.w[places] - self.lr * self.velocity[places]
        self.w[places] = new.clamp(0.0, self._largest)
        self.n_outer_steps += 1
        self._lead()
