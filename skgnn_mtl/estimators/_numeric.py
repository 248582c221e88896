"""Targets that are numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils._param_validation import HasMethods

from skgnn_mtl._target_transforms import TargetTransforms, check_domain
from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import LIKELIHOODS, LOSSES, BoundedLoss, GaussianNLL, Loss

from ._inputs import mean_and_scale, read_targets, require_exact
from ._targets import Targets

TRANSFORM_CONSTRAINT: list[Any] = [None, str, dict, HasMethods("inverse_transform")]


def _nothing() -> np.ndarray:
    return np.empty(0)


@dataclass(frozen=True, kw_only=True)
class NumericTargets(Targets):
    """Numbers with gaps, standardised per task.

    Parameters
    ----------
    loss : str or callable
        Loss of one standardised label.
    normalize : bool
        Whether to standardise.
    transform : None, str, dict or transformer
        The regressors' parameter ``target_transform``.
    censored : {"raise", "drop", "bound"} or None
        The regressor's parameter. With bounds, tables of labels are complex: their
        imaginary part is the sign.
    transforms : TargetTransforms
        What was learned about it.
    mean, spread : ndarray of shape (n_tasks,)
        What a transformed label is reduced by, and then divided by.
    falling : tuple of str
        Tasks whose transform falls, and so exchanges lower and upper bounds.
    """

    LEARNED: ClassVar[tuple[str, ...]] = (
        *Targets.LEARNED,
        *("transforms", "mean", "spread", "falling"),
    )

    loss: str | Callable[..., Any] = "squared_error"
    normalize: bool = True
    transform: Any = None
    censored: str | None = None
    transforms: TargetTransforms = field(
        default_factory=lambda: TargetTransforms((), ())
    )
    mean: np.ndarray = field(default_factory=_nothing)
    spread: np.ndarray = field(default_factory=_nothing)
    falling: tuple[str, ...] = ()

    def begin(
        self, graphs: GraphArray, y: Any, usable: np.ndarray
    ) -> tuple[Self, np.ndarray]:
        """Read numbers and the names of their columns."""
        values, names = read_targets(graphs, y, self.censored)
        table = values.reshape(len(values), -1)
        # Here, because the message names the row of X, not that of a training row.
        check_domain(self.transform, table.real, names)
        targets = replace(self, names=tuple(names), one_dimensional=values.ndim == 1)
        return targets, table

    def read(self, graphs: GraphArray, y: Any) -> np.ndarray:
        """Read numbers of the same columns."""
        values, names = read_targets(graphs, y, self.censored)
        self.check_same(names, values.ndim)
        table = values.reshape(len(values), -1)
        self.transforms.transform(table.real)  # refuses labels out of its domain
        return table

    def learn(
        self, table: np.ndarray, weights: np.ndarray, compared: Sequence[int] = ()
    ) -> Self:
        """Learn the transforms, then mean and standard deviation of each task."""
        require_exact(table, weights, self.names)
        # A row of weight 0 becomes a gap, because it must not fit a transformer. Bounds
        # count as their numbers, because the scale must cover what they pull to.
        known = np.where(weights > 0, table.real, np.nan)
        transforms = TargetTransforms.fit(self.transform, known, self.names)
        mean, spread = mean_and_scale(transforms.transform(known), weights, self.names)
        # From labels, because the inverse may turn where there are none, as 1 / y at 0.
        falls = transforms.directions(known) < 0
        falling = tuple(np.array(self.names)[falls].tolist())
        learned = replace(
            self, transforms=transforms, mean=mean, spread=spread, falling=falling
        )
        if self.normalize:
            return learned
        # Only a warning, because the units of y may be meant.
        odd = [t for t in compared if not 0.1 <= spread[t] <= 10]
        if odd:
            named = ", ".join(f"{self.names[t]!r} ({spread[t]:.3g})" for t in odd)
            warn(
                "task_weighting compares auxiliary gradients with those of the "
                f"targets, whose standard deviations are far from 1: {named}. Set "
                "normalize_targets=True."
            )
        return replace(learned, mean=np.zeros_like(mean), spread=np.ones_like(mean))

    def encode(self, table: np.ndarray) -> np.ndarray:
        """Transform and standardise labels (n, t); complex if some are bounds."""
        transformed = self.transforms.transform(table.real)
        encoded: np.ndarray = (transformed - self.mean) / self.spread
        if np.iscomplexobj(table):
            signs = np.where(np.isin(self.names, self.falling), -1.0, 1.0)
            encoded = encoded + 1j * (table.imag * signs)
        return encoded

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Turn outputs (n, t) into predictions in the units and dimensions of y."""
        transformed = outputs * self.spread + self.mean
        return self.shaped(self.transforms.inverse_transform(transformed))

    def decode_std(self, outputs: np.ndarray, std: np.ndarray) -> np.ndarray:
        """Turn standard deviations (n, t) of outputs into the units of y."""
        transformed = outputs * self.spread + self.mean
        return self.shaped(self.transforms.inverse_std(transformed, std * self.spread))

    def decode_ends(
        self, outputs: np.ndarray, std: np.ndarray, factor: float
    ) -> np.ndarray:
        """Turn outputs -/+ ``factor`` standard deviations into intervals (n, t, 2)."""
        sides = [outputs + sign * factor * std for sign in (-1, 1)]
        transformed = [side * self.spread + self.mean for side in sides]
        return self.transforms.inverse_ends(np.stack(transformed, axis=2))

    def for_tasks(self, names: Sequence[str]) -> Self:
        """Give the parameters for some of the tasks that they describe."""
        transform = self.transform
        if isinstance(transform, Mapping):
            # Cut to these tasks, because a transform of an unknown task is refused.
            by_name = {str(name): step for name, step in transform.items()}
            transform = {n: by_name[n] for n in names if n in by_name}
        return replace(self, transform=transform)

    def in_order(self, order: Sequence[int], *, one_dimensional: bool) -> Self:
        """Give what was learned about some tasks, in another order."""
        steps = tuple(self.transforms.steps[t] for t in order)
        names = tuple(self.names[t] for t in order)
        return replace(
            self,
            names=names,
            one_dimensional=one_dimensional,
            transforms=TargetTransforms(names, steps),
            mean=self.mean[list(order)],
            spread=self.spread[list(order)],
            falling=tuple(name for name in self.falling if name in names),
        )

    def joined(self, other: NumericTargets) -> Self:
        """Append what was learned about other tasks."""
        names = self.names + other.names
        steps = self.transforms.steps + other.transforms.steps
        return replace(
            self,
            names=names,
            one_dimensional=False,
            transforms=TargetTransforms(names, steps),
            mean=np.append(self.mean, other.mean),
            spread=np.append(self.spread, other.spread),
            falling=self.falling + other.falling,
        )

    def weigh(self, table: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Keep the weights."""
        return weights

    @property
    def elementwise_loss(self) -> Loss:
        """The loss by name, or the user's own; one-sided for bounds."""
        # The type first, because a callable need not be hashable.
        named: dict[str, Loss] = {**LOSSES, **LIKELIHOODS}
        loss = named[self.loss] if isinstance(self.loss, str) else self.loss
        # A likelihood knows the probability of a bound.
        one_sided = self.censored == "bound" and not isinstance(loss, GaussianNLL)
        return BoundedLoss(loss) if one_sided else loss

    @property
    def loss_name(self) -> str:
        """Name of the loss; a function of the user has none."""
        return self.loss if isinstance(self.loss, str) else "callable"

    @property
    def has_widths(self) -> bool:
        """Whether the loss is one of the package, whose errors are taken as normal."""
        return isinstance(self.loss, str)

    @property
    def n_outputs(self) -> int:
        """One, the number."""
        return 1

    @property
    def scale(self) -> np.ndarray:
        """Standard deviations, or ones."""
        return self.spread
