"""Conflicting auxiliary gradients, rotated towards the target."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from skgnn_mtl._component import Numbers

from ._anchored import TargetRelation, relate_to_target
from ._base import Decision, GramianWeighting, as_matrix, positions
from ._capabilities import EpochAware, TargetAware
from ._constraints import NOT_NEGATIVE, check_choice
from ._held_out import (
    HeldOut,
    HeldOutEvidence,
    HeldOutReport,
    HeldOutWeighting,
    check_held_out,
)
from ._solvers import SolverReport

_MODES = ("angle", "schedule", "released")


class RCGrad(GramianWeighting, HeldOutWeighting, TargetAware, EpochAware):
    r"""Rotation of conflicting gradients, after Dey and Ning (2024).

    Let :math:`g_0` be the gradient of the pooled target, :math:`n_0` its length and
    :math:`u` its direction. The gradient of auxiliary task i has the length :math:`n_i`
    and the cosine :math:`c_i` with :math:`u`. In the plane of both, :math:`v_i` is the
    unit vector orthogonal to :math:`u`. Let :math:`\rho_i = \min(1, n_0/n_i)`.

    With mode "angle" the direction is :math:`g_0 + \sum_i \rho_i g_i'`, where a
    conflicting gradient, :math:`c_i < 0`, is rotated at constant length,

    .. math:: g_i' = n_i (\cos \alpha_i\, u + \sin \alpha_i\, v_i), \qquad
        \alpha_i = \tfrac{\pi}{2} (1 - x_i),

    and the others are :math:`g_i' = g_i`. The rotation :math:`x_i \in [0, 1]` is
    learned: 0 is orthogonal to the target, 1 parallel to it. The target's gradient
    :math:`g_v` on other rows updates it after a step,

    .. math:: x_i \leftarrow x_i + \eta\, \tfrac{\pi}{2}\, \bigl(
        \sin \alpha_i\, g_v^\top u - \cos \alpha_i\, g_v^\top v_i \bigr) / \|g_v\|.

    The other modes project, :math:`P_i = g_i - \min(0, g_i^\top g_0) g_0 / n_0^2`, and
    go along :math:`g_0 + \sum_i (\rho_i + s_i) P_i / 2`.

    It maps a Gramian (t, t) to weights (t,).

    Parameters
    ----------
    mode : {"angle", "schedule", "released"}, default="angle"
        "angle" rotates gradients. "released" follows the authors' code. There every
        :math:`s_i` starts at 1, and Adam trains it with the task's *loss* in place of a
        gradient. All of them fall together, for any gradients. "schedule"
        prescribes this fall: :math:`s = 1 - t/T`.
    norm : {"target", "keep"}, default="target"
        With mode "angle", "keep" omits :math:`\rho_i`.
    rotation_init : float, default=0.0
        First value of :math:`x_i`.
    rotation_lr : float, default=0.01
        Rate :math:`\eta`.
    learn : {"next", "heldout"} or None, default="next"
        Source of :math:`g_v` with mode "angle": the next batch, or training rows that
        are kept out; both need ``gradients="parameters"``. None keeps the first value
        of :math:`x_i`.
    every : int, default=10
        Steps between two evaluations of the rows kept out.
    fraction : float, default=0.2
        Share of the training rows to keep out.
    split : {"tail", "random"}, default="tail"
        Which rows, as for :class:`BLO`.
    max_gain : float, default=10.0
        Largest factor on the part of a gradient that is orthogonal to the target. It is
        needed because gradients that oppose the target exactly have no plane to rotate
        in.
    decay_steps : int, default=1000
        Steps T of mode "schedule".
    pool : {"labels", "tasks"}, default="labels"
        Weights of the targets within :math:`g_0`: their labels in the batch, or equal.
    **options : object
        ``gradients``, ``update_every``, ``rescale`` and ``adaptive_momentum`` of
        :class:`GramianWeighting`.

    Attributes
    ----------
    rotation_ : ndarray of shape (n_tasks,)
        The rotations :math:`x_i`, or the :math:`s_i` of the other modes; the entries of
        targets have no meaning.

    Raises
    ------
    ValueError
        At the start of a fit, if a parameter is out of range.

    See Also
    --------
    GNS : Shortens auxiliary gradients to the length of the target's.
    AnchoredPCGrad : Removes the part of an auxiliary gradient that opposes the target.
    BLO : Learns weights of auxiliary tasks on held-out rows.

    Notes
    -----
    Mode "angle" is a choice of this package: the released code never rotates. The
    estimator's ``target_tasks`` names the targets. On a plain Gramian the first task is
    the target.

    References
    ----------
    .. [1] V. Dey, X. Ning, "Enhancing Molecular Property Prediction with Auxiliary
       Learning and Task-Specific Adaptation", J. Cheminformatics 16, 85 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import RCGrad
    >>> weighting = RCGrad()
    >>> weighting.build(n_tasks=2)
    >>> G = torch.tensor([[1.0, -0.6], [-0.6, 1.0]])
    >>> weighting.task_weights(G).round(decimals=2)
    tensor([1.7500, 1.2500])
    """

    rotation: Tensor
    n_steps: Tensor
    shares: Tensor
    last_gradients: Tensor
    auxiliary: Tensor

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "rotation_init": [Numbers(Real, 0, 1, closed="both")],
        "rotation_lr": [NOT_NEGATIVE],
        "max_gain": [NOT_NEGATIVE],
        "decay_steps": [Numbers(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        *,
        mode: str = "angle",
        norm: str = "target",
        rotation_init: float = 0.0,
        rotation_lr: float = 0.01,
        learn: str | None = "next",
        every: int = 10,
        fraction: float = 0.2,
        split: str = "tail",
        max_gain: float = 10.0,
        decay_steps: int = 1000,
        pool: str = "labels",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.mode = mode
        self.norm = norm
        self.rotation_init = rotation_init
        self.rotation_lr = rotation_lr
        self.learn = learn
        self.every = every
        self.fraction = fraction
        self.split = split
        self.max_gain = max_gain
        self.decay_steps = decay_steps
        self.pool = pool

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Create the rotations.

        Parameters
        ----------
        n_tasks : int
            Number of tasks of the fit.
        task_names : sequence of str, optional
            Not used.
        """
        for name, choices in (
            ("mode", _MODES),
            ("norm", ("target", "keep")),
            ("learn", ("next", "heldout", None)),
        ):
            check_choice(self, name, choices)
        check_held_out(self)
        learns = self.mode == "angle" and self.learn is not None
        if learns and self.gradients != "parameters":
            raise ValueError(
                f"learn={self.learn!r} needs gradients='parameters', got {self!r}. Set "
                "learn=None to keep the rotations at rotation_init."
            )
        # Whether conflicting gradients are projected; BLO sets it, too.
        self.projects = self.mode != "angle"
        # Factors that BLO learns; NaN means that the method's own factors count.
        shares = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("shares", shares)
        first = float(self.rotation_init) if self.mode == "angle" else 1.0
        rotation = torch.full((n_tasks,), first, dtype=torch.float64)
        if self.mode == "released":
            self.rotation = nn.Parameter(rotation)
        else:
            self.register_buffer("rotation", rotation)
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))
        # Cosines with the target and lengths in the last evaluation. The last column
        # has the length of the target's gradient; NaN stands for absent tasks.
        last = torch.full((2, n_tasks + 1), torch.nan, dtype=torch.float64)
        self.register_buffer("last_gradients", last)
        auxiliary = torch.arange(n_tasks) > 0  # until the targets are set
        self.register_buffer("auxiliary", auxiliary)

    def set_targets(self, targets: Sequence[int]) -> None:
        """Set the target tasks, by position."""
        self.auxiliary.fill_(True)
        self.auxiliary[list(targets)] = False

    @property
    def rotation_(self) -> np.ndarray:
        """The rotations of all tasks, (n_tasks,)."""
        return self.rotation.detach().cpu().clamp(0.0, 1.0).numpy()

    @property
    def held_out(self) -> HeldOut | None:
        """Rows that the rotations learn from."""
        if self.learn != "heldout" or self.mode != "angle":
            return None
        return HeldOut(self.every, self.fraction, self.split)

    @property
    def compares_norms(self) -> bool:  # type: ignore[override]
        """Whether the method compares lengths with the target's."""
        return self.mode != "angle" or self.norm == "target"

    def forward(
        self,
        gramian: Tensor,
        tasks: Tensor | None = None,
        losses: Tensor | None = None,
        anchor: Tensor | None = None,
        lookback: Tensor | None = None,
    ) -> Tensor | Decision:
        """Weigh the tasks by a Gramian (t, t)."""
        relation = relate_to_target(gramian, anchor)
        if relation is None:
            nothing = gramian.new_zeros(len(gramian))
            return Decision(nothing, SolverReport(stationary=True))
        where = positions(len(self.rotation), tasks).numpy()
        if not self.projects:
            if self.learn == "next" and lookback is not None:
                products = as_matrix(lookback)
                self._rotate(products, where, relation.auxiliary, relation.target_norm)
            self._remember(relation, where)
        own, along = self.parts(relation, where)
        factors = self._factors(relation, where)
        target = 1.0 + float((factors * along)[relation.auxiliary].sum())
        if self.projects and not self._is_led:
            self._advance(where[relation.auxiliary], losses, relation)
        return relation.weights(target, factors * own, gramian)

    def parts(
        self, relation: TargetRelation, where: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Decompose rotated or projected gradients into the task's and the target's.

        Parameters
        ----------
        relation : TargetRelation
            Gradients of some tasks.
        where : ndarray of int of shape (t,)
            Positions of these tasks.

        Returns
        -------
        own, along : ndarray of shape (t,)
            Task i goes along ``own[i] * g_i + along[i] * g_0``.
        """
        if self.projects:
            opposed = np.clip(relation.products, None, 0.0) / relation.target_norm**2
            return np.ones_like(opposed), -opposed
        c = relation.cosines.clip(-1.0, 1.0)
        ratio = relation.norms / relation.target_norm
        angle = np.pi / 2 * (1.0 - self.rotation_[where])
        gain = np.clip(_divide(np.sin(angle), np.sqrt(1.0 - c**2)), None, self.max_gain)
        own = np.where(c < 0.0, gain, 1.0)
        return own, np.where(c < 0.0, ratio * (np.cos(angle) - c * gain), 0.0)

    @property
    def _is_led(self) -> bool:
        return not bool(self.shares.isnan().any())

    def _factors(self, relation: TargetRelation, where: np.ndarray) -> np.ndarray:
        """Compute the factors (t,) on the rotated or projected gradients."""
        rho = np.minimum(1.0, relation.target_norm / relation.norms)
        if self._is_led:
            learned: np.ndarray = (rho + self.shares.cpu().numpy()[where]) / 2
            return learned
        if self.projects:
            scheduled: np.ndarray = (rho + self._scheduled(where)) / 2
            return scheduled
        return rho if self.norm == "target" else np.ones_like(rho)

    # -- learning the angle -------------------------------------------------------

    def update(self, evidence: HeldOutEvidence) -> HeldOutReport | None:
        """Update the rotations by the gradient of held-out rows."""
        tasks, products = evidence.last_tasks, evidence.last_products
        if tasks is None or products is None or self.projects:
            return None
        auxiliary = np.arange(len(tasks)) > 0
        length = float(evidence.gradient.norm())
        self._rotate(as_matrix(products), tasks.cpu().numpy(), auxiliary, length)
        return None

    def end_epoch(self, mean_losses: Tensor) -> dict[str, dict[int, float]]:
        """Report the rotation of each auxiliary task; the losses are not used."""
        tasks = self.auxiliary.nonzero()[:, 0].tolist()
        rotation = self.rotation_.tolist()
        return {"rotation": {task: rotation[task] for task in tasks}} if tasks else {}

    def _remember(self, relation: TargetRelation, where: np.ndarray) -> None:
        last = np.full(self.last_gradients.shape, np.nan)
        last[:, where] = relation.cosines.clip(-1.0, 1.0), relation.norms
        last[1, -1] = relation.target_norm
        self.last_gradients.copy_(torch.from_numpy(last))

    def _rotate(
        self, b: np.ndarray, where: np.ndarray, auxiliary: np.ndarray, length: float
    ) -> None:
        """Update the rotations by inner products b (t,) with a target's gradient."""
        last = self.last_gradients.cpu().numpy()
        n0 = last[1, -1]
        if np.isnan(n0) or not length > 0.0:
            return
        c, norms = last[:, where]
        along = float(b[~auxiliary][0]) / n0
        across = _divide(b / norms - c * along, np.sqrt(1.0 - c**2))
        x = self.rotation_[where]
        angle = np.pi / 2 * (1.0 - x)
        slope = np.sin(angle) * along - np.cos(angle) * across
        x = x + self.rotation_lr * np.pi / 2 * slope / length
        learned = (c < 0.0) & auxiliary & np.isfinite(x)
        self.rotation[where[learned]] = (
            torch.from_numpy(x[learned]).clamp(0, 1).to(self.rotation)
        )

    # -- schedule and released ----------------------------------------------------

    def _scheduled(self, where: np.ndarray) -> np.ndarray:
        if self.mode == "schedule":
            s = max(0.0, 1.0 - int(self.n_steps) / self.decay_steps)
            self.rotation.fill_(s)
        shares: np.ndarray = self.rotation_[where]
        return shares

    def _advance(
        self, where: np.ndarray, losses: Tensor | None, relation: TargetRelation
    ) -> None:
        self.n_steps += self.update_every
        if self.mode == "schedule" or losses is None:
            return
        # The Adam of the training makes the step, and may have left the interval.
        with torch.no_grad():
            self.rotation.clamp_(0.0, 1.0)
        gradient = torch.zeros_like(self.rotation)
        gradient[where] = losses.detach().to(gradient)[relation.auxiliary]
        self.rotation.grad = gradient


def _divide(values: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Divide by the sine between gradient and target; 0 where they are parallel."""
    parallel = ~(root >= 1e-6)
    return np.where(parallel, 0.0, values / np.where(parallel, 1.0, root))
