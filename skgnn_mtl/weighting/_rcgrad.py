"""Conflicting auxiliary gradients, turned towards the target."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from ._anchored import Anchored, see_from_target
from ._base import GramianWeighting, as_matrix, positions
from ._held_out import HeldOut, check_held_out
from ._solvers import SolverReport

_MODES = ("angle", "schedule", "released")


class RCGrad(GramianWeighting):
    r"""Rotation of conflicting gradients, after Dey and Ning (2024).

    Let :math:`g_0` be the gradient of the pooled target, :math:`n_0` its length and
    :math:`u` its direction; :math:`n_i` and :math:`c_i` the length of the gradient of
    auxiliary task i and its cosine with :math:`u`; :math:`v_i` the unit vector
    orthogonal to :math:`u` in their plane, and :math:`\rho_i = \min(1, n_0/n_i)`. With
    mode "angle" the direction is :math:`g_0 + \sum_i \rho_i g_i'`, where a conflicting
    gradient, :math:`c_i < 0`, is turned at constant length,

    .. math:: g_i' = n_i (\cos \alpha_i\, u + \sin \alpha_i\, v_i), \qquad
        \alpha_i = \tfrac{\pi}{2} (1 - x_i),

    and the others are :math:`g_i' = g_i`. The turn :math:`x_i \in [0, 1]` is learned:
    0 is orthogonal to the target, 1 parallel to it. The target's gradient
    :math:`g_v` on other rows judges the last step,

    .. math:: x_i \leftarrow x_i + \eta\, \tfrac{\pi}{2}\, \bigl(
        \sin \alpha_i\, g_v^\top u - \cos \alpha_i\, g_v^\top v_i \bigr) / \|g_v\|.

    The other modes project, :math:`P_i = g_i - \min(0, g_i^\top g_0) g_0 / n_0^2`, and
    go along :math:`g_0 + \sum_i (\rho_i + s_i) P_i / 2`.

    Parameters
    ----------
    mode : {"angle", "schedule", "released"}, default="angle"
        "angle" turns gradients. "released" does what the authors' code does: every
        :math:`s_i` starts at 1 and is trained by Adam with the task's *loss* as its
        gradient, so that all fall together, whatever the gradients are. "schedule" is
        that fall without the detour: :math:`s = 1 - t/T`.
    norm : {"target", "keep"}, default="target"
        With mode "angle", "keep" leaves out :math:`\rho_i`.
    rotation_init : float, default=0.0
        First value of :math:`x_i`.
    rotation_lr : float, default=0.01
        Rate :math:`\eta`.
    learn : {"next", "heldout"} or None, default="next"
        Where :math:`g_v` comes from, with mode "angle": the next batch, or training
        rows that are kept out. None keeps :math:`x_i` at its first value.
    every : int, default=10
        Steps between two looks at the rows kept out.
    fraction : float, default=0.2
        Share of the training rows to keep out.
    split : {"tail", "random"}, default="tail"
        Which ones, as for :class:`BLO`.
    max_gain : float, default=10.0
        Largest factor on the part of a gradient that is orthogonal to the target:
        gradients that oppose the target exactly have none to turn along.
    decay_steps : int, default=1000
        Steps T of mode "schedule".
    pool : {"labels", "tasks"}, default="labels"
        Weights of the targets within :math:`g_0`: their labels in the batch, or equal.
    gradients : {"parameters", "representation"}, default="parameters"
        With respect to what gradients are taken; see :class:`GramianWeighting`. Turns
        are learned with "parameters" only.
    update_every : int, default=1
        Steps between two looks at the gradients.
    rescale : {"none", "mean1"}, default="none"
        "mean1" divides the weights by their mean.

    Attributes
    ----------
    rotation_ : ndarray of shape (n_tasks,)
        The turns :math:`x_i`, or the :math:`s_i` of the other modes; of no meaning for
        targets.

    Notes
    -----
    What the name promises is mode "angle", which is ours: the released code never
    rotates. Which tasks are targets is said by the estimator's ``target_tasks``. On a
    plain Gramian the first task is the target.

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
    >>> weighting(torch.tensor([[1.0, -0.6], [-0.6, 1.0]])).round(decimals=2)
    tensor([1.7500, 1.2500])
    """

    turns: Tensor
    n_steps: Tensor
    shares: Tensor
    projects: bool

    def __init__(
        self,
        *,
        mode="angle",
        norm="target",
        rotation_init=0.0,
        rotation_lr=0.01,
        learn="next",
        every=10,
        fraction=0.2,
        split="tail",
        max_gain=10.0,
        decay_steps=1000,
        pool="labels",
        gradients="parameters",
        update_every=1,
        rescale="none",
    ) -> None:
        super().__init__()
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
        self.gradients = gradients
        self.update_every = update_every
        self.rescale = rescale

    def build(self, n_tasks: int, task_names: Sequence[str] | None = None) -> None:
        """Make the turns.

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
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {self!r}.")
        for name, least, most in (
            ("rotation_init", 0.0, 1.0),
            ("rotation_lr", 0.0, np.inf),
            ("max_gain", 0.0, np.inf),
            ("decay_steps", 1.0, np.inf),
        ):
            value = getattr(self, name)
            if not isinstance(value, Real) or not least <= float(value) <= most:
                raise ValueError(
                    f"{name} must be a number in [{least:g}, {most:g}], got {self!r}."
                )
        check_held_out(self)
        if self.held_out is not None and self.gradients != "parameters":
            raise ValueError(
                f"learn='heldout' needs gradients='parameters', got {self!r}."
            )
        self.projects = self.mode != "angle"
        # Factors that ``BLO`` learns, in the place of the method's own.
        shares = torch.full((n_tasks,), torch.nan, dtype=torch.float64)
        self.register_buffer("shares", shares)
        first = float(self.rotation_init) if self.mode == "angle" else 1.0
        turns = torch.full((n_tasks,), first, dtype=torch.float64)
        if self.mode == "released":
            self.turns = nn.Parameter(turns)
        else:
            self.register_buffer("turns", turns)
        self.register_buffer("n_steps", torch.zeros((), dtype=torch.int64))
        # Cosines of the last look, and the length of its target gradient.
        self._last: tuple[np.ndarray, float] | None = None

    @property
    def rotation_(self) -> np.ndarray:
        """The turns of all tasks, (n_tasks,)."""
        return self.turns.detach().cpu().clamp(0.0, 1.0).numpy()

    @property
    def held_out(self) -> HeldOut | None:  # type: ignore[override]
        """Rows that judge the turns."""
        if self.learn != "heldout" or self.mode != "angle":
            return None
        return HeldOut(self.every, self.fraction, self.split)

    @property
    def compares_norms(self) -> bool:  # type: ignore[override]
        """Whether lengths are compared with the target's."""
        return self.mode != "angle" or self.norm == "target"

    def forward(
        self,
        gramian: Tensor,
        tasks: Tensor | None = None,
        losses: Tensor | None = None,
        anchor: Tensor | None = None,
        lookback: Tensor | None = None,
    ) -> Tensor:
        """Weigh the tasks by a Gramian (t, t)."""
        seen = see_from_target(gramian, anchor)
        if seen is None:
            self.report = SolverReport(stationary=True)
            return gramian.new_zeros(len(gramian))
        where = positions(len(self.turns), tasks).numpy()
        if not self.projects:
            if self.learn == "next" and lookback is not None:
                self._learn(
                    as_matrix(lookback), where, seen.auxiliary, seen.target_norm
                )
            self._remember(seen, where)
        own, along = self.parts(seen, where)
        factors = self._factors(seen, where)
        target = 1.0 + float((factors * along)[seen.auxiliary].sum())
        if self.projects and not self._is_led:
            self._advance(where[seen.auxiliary], losses, seen)
        return seen.weights(target, factors * own, gramian)

    def parts(self, seen: Anchored, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Take a turned or projected gradient apart into the task's and the target's.

        Parameters
        ----------
        seen : Anchored
            Gradients of some tasks.
        where : ndarray of int of shape (t,)
            Which tasks these are.

        Returns
        -------
        own, along : ndarray of shape (t,)
            Task i goes along ``own[i] * g_i + along[i] * g_0``.
        """
        if self.projects:
            opposed = np.clip(seen.products, None, 0.0) / seen.target_norm**2
            return np.ones_like(opposed), -opposed
        c, ratio = seen.cosines.clip(-1.0, 1.0), seen.norms / seen.target_norm
        angle = np.pi / 2 * (1.0 - self.rotation_[where])
        gain = np.clip(_divide(np.sin(angle), np.sqrt(1.0 - c**2)), None, self.max_gain)
        own = np.where(c < 0.0, gain, 1.0)
        return own, np.where(c < 0.0, ratio * (np.cos(angle) - c * gain), 0.0)

    @property
    def _is_led(self) -> bool:
        return not bool(self.shares.isnan().any())

    def _factors(self, seen: Anchored, where: np.ndarray) -> np.ndarray:
        """Factors (t,) on the turned or projected gradients."""
        rho = np.minimum(1.0, seen.target_norm / seen.norms)
        if self._is_led:
            return (rho + self.shares.cpu().numpy()[where]) / 2
        if self.projects:
            return (rho + self._scheduled(where)) / 2
        return rho if self.norm == "target" else np.ones_like(rho)

    # -- learning the angle -------------------------------------------------------

    def judge(self, products: Tensor, tasks: Tensor, length: float) -> None:
        """Let a gradient of the target judge the turns of the last step.

        Parameters
        ----------
        products : Tensor of shape (t,)
            Its inner products with the gradients of the last step, that of the pooled
            target first.
        tasks : Tensor of int64 of shape (t,)
            Which tasks these are.
        length : float
            Its length.
        """
        auxiliary = np.arange(len(tasks)) > 0
        self._learn(as_matrix(products), tasks.cpu().numpy(), auxiliary, length)

    def _remember(self, seen: Anchored, where: np.ndarray) -> None:
        kept = np.full((2, len(self.turns)), np.nan)
        kept[:, where] = seen.cosines.clip(-1.0, 1.0), seen.norms
        self._last = (kept, seen.target_norm)

    def _learn(
        self, b: np.ndarray, where: np.ndarray, auxiliary: np.ndarray, length: float
    ) -> None:
        if self._last is None or not length > 0.0:
            return
        (c, norms), n0 = self._last[0][:, where], self._last[1]
        along = float(b[~auxiliary][0]) / n0
        across = _divide(b / norms - c * along, np.sqrt(1.0 - c**2))
        x = self.rotation_[where]
        angle = np.pi / 2 * (1.0 - x)
        slope = np.sin(angle) * along - np.cos(angle) * across
        x = x + self.rotation_lr * np.pi / 2 * slope / length
        judged = (c < 0.0) & auxiliary & np.isfinite(x)
        self.turns[where[judged]] = (
            torch.from_numpy(x[judged]).clamp(0, 1).to(self.turns)
        )

    # -- schedule and released ----------------------------------------------------

    def _scheduled(self, where: np.ndarray) -> np.ndarray:
        if self.mode == "schedule":
            s = max(0.0, 1.0 - int(self.n_steps) / self.decay_steps)
            self.turns.fill_(s)
        return self.rotation_[where]

    def _advance(self, where: np.ndarray, losses: Tensor | None, seen: Anchored):
        self.n_steps += self.update_every
        if self.mode == "schedule" or losses is None:
            return
        with torch.no_grad():
            self.turns.clamp_(0.0, 1.0)
        gradient = torch.zeros_like(self.turns)
        gradient[where] = losses.detach().to(gradient)[seen.auxiliary]
        self.turns.grad = gradient


def _divide(values: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Divide by the sine between gradient and target; 0 where they are parallel."""
    parallel = ~(root >= 1e-6)
    return np.where(parallel, 0.0, values / np.where(parallel, 1.0, root))
