"""Conflicting auxiliary gradients, turned towards the target."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ._anchored import Anchored, see_from_target
from ._base import GramianWeighting, as_matrix, positions
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
    :math:`g_v` of the next batch judges the last step,

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
    learn : {"next"} or None, default="next"
        None keeps :math:`x_i` at its first value.
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

    def __init__(
        self,
        *,
        mode="angle",
        norm="target",
        rotation_init=0.0,
        rotation_lr=0.01,
        learn="next",
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
            ("learn", ("next", None)),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}, got {self!r}.")
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
        if self.mode == "angle":
            return self._turn(seen, where, lookback, gramian)
        w = (np.minimum(1.0, seen.target_norm / seen.norms) + self._share(where)) / 2
        opposed = np.clip(seen.products, None, 0.0) / seen.target_norm**2
        factor = 1.0 - float((w * opposed)[seen.auxiliary].sum())
        self._advance(where[seen.auxiliary], losses, seen)
        return seen.weights(factor, w, gramian)

    # -- angle --------------------------------------------------------------------

    def _turn(self, seen: Anchored, where, lookback, gramian: Tensor) -> Tensor:
        self._learn(seen, where, lookback)
        c, ratio = seen.cosines.clip(-1.0, 1.0), seen.norms / seen.target_norm
        self._remember(c, where, seen)
        angle = np.pi / 2 * (1.0 - self.rotation_[where])
        gain = np.clip(_divide(np.sin(angle), np.sqrt(1.0 - c**2)), None, self.max_gain)
        r = np.minimum(1.0, 1.0 / ratio) if self.norm == "target" else np.ones_like(c)
        turned = c < 0.0
        w = np.where(turned, r * gain, r)
        share = np.where(turned, r * ratio * (np.cos(angle) - c * gain), 0.0)
        return seen.weights(1.0 + float(share[seen.auxiliary].sum()), w, gramian)

    def _remember(self, cosines: np.ndarray, where: np.ndarray, seen: Anchored) -> None:
        kept = np.full((2, len(self.turns)), np.nan)
        kept[:, where] = cosines, seen.norms
        self._last = (kept, seen.target_norm)

    def _learn(self, seen: Anchored, where: np.ndarray, lookback) -> None:
        """Let the target's gradient judge the turns of the last step."""
        if self.learn is None or lookback is None or self._last is None:
            return
        (c, norms), n0 = self._last[0][:, where], self._last[1]
        b = as_matrix(lookback)
        along = float(b[~seen.auxiliary][0]) / n0
        across = _divide(b / norms - c * along, np.sqrt(1.0 - c**2))
        x = self.rotation_[where]
        angle = np.pi / 2 * (1.0 - x)
        slope = np.sin(angle) * along - np.cos(angle) * across
        x = x + self.rotation_lr * np.pi / 2 * slope / seen.target_norm
        judged = (c < 0.0) & seen.auxiliary & np.isfinite(x)
        self.turns[where[judged]] = (
            torch.from_numpy(x[judged]).clamp(0, 1).to(self.turns)
        )

    # -- schedule and released ----------------------------------------------------

    def _share(self, where: np.ndarray) -> np.ndarray:
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
