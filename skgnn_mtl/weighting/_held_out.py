r"""Task weightings that learn from training rows which the steps do not use.

Every k steps such a method receives :class:`HeldOutEvidence`. It holds the gradient of
the pooled target over the held-out rows and, on request, the losses of a fresh batch.

For a loss that is linear in the task weights, :math:`\sum_i w_i L_i`, the derivative
of its gradient with respect to :math:`w_i` is the task's gradient :math:`g_i`. Consider
one backward pass along a vector v through the graph of the weighted gradient. It gives
both the product with the Hessian and all :math:`v^\top g_i`. No task needs a backward
pass of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skgnn_mtl._flat import flatten, pull_back, unflatten

from ._constraints import check_choice


class HeldOut(NamedTuple):
    """Choice of the training rows that a method learns from, and how often.

    Parameters
    ----------
    every : int
        Steps between two evaluations; 0 if the rows are kept out but not evaluated.
    fraction : float
        Share of the training rows.
    split : {"tail", "random"}
        "tail" takes the smallest groups, "random" draws groups.

    See Also
    --------
    HeldOutWeighting : Adds evidence from held-out rows.

    Examples
    --------
    >>> from skgnn_mtl.weighting import HeldOut
    >>> HeldOut(every=10).fraction
    0.2
    """

    every: int
    fraction: float = 0.2
    split: str = "random"


@dataclass(frozen=True)
class Series:
    r"""A truncated Neumann series, and its products with the gradients of a batch.

    Parameters
    ----------
    products : Tensor of shape (k,)
        Inner products of :math:`p = \sum_j (I - \alpha H)^j g_v` with the entries'
        gradients.
    vector : Tensor of shape (p,)
        The sum of the terms.
    ratio : float
        Length of the last term over that of the first.
    """

    products: Tensor
    vector: Tensor
    ratio: float


@dataclass(frozen=True)
class FreshBatch:
    """Losses of a batch of training rows, in training mode, with their graphs.

    Entries are the pooled target and the auxiliary tasks that the batch has.

    Parameters
    ----------
    losses : list of k Tensors of shape ()
        One loss per entry. They are separate, because each gradient of a common tensor
        would walk through the graph of all of them.
    places : Tensor of int64 of shape (k,), on the CPU
        0 for the pooled target, 1 + i for task i.
    parameters : sequence of Tensor
        The shared parameters, of p entries in all.

    See Also
    --------
    HeldOutEvidence : What an update receives.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import FreshBatch
    >>> w = torch.tensor([1.0, 2.0], requires_grad=True)
    >>> batch = FreshBatch([w.square().sum()], torch.tensor([0]), [w])
    >>> batch.jacobian()
    tensor([[2., 4.]])
    """

    losses: Sequence[Tensor]
    places: Tensor
    parameters: Sequence[Tensor]

    def jacobian(self) -> Tensor:
        """Compute the gradients of the losses, one row per entry (k, p)."""
        rows = []
        for loss in self.losses:
            parts = pull_back([loss], self.parameters, [torch.ones_like(loss)])
            rows.append(flatten(parts, self.parameters))
        return torch.stack(rows)

    def neumann_series(
        self,
        weights: Tensor,
        vector: Tensor,
        *,
        n_terms: int,
        scale: float,
        keep_graph: bool = False,
    ) -> Series:
        r"""Apply a truncated series for the inverse Hessian of the weighted loss.

        Parameters
        ----------
        weights : Tensor of shape (k,)
            Weights of the entries.
        vector : Tensor of shape (p,)
            First term.
        n_terms : int
            Products with the Hessian.
        scale : float
            Step :math:`\alpha`.
        keep_graph : bool, default=False
            Whether the graph of the losses is needed afterwards.

        Returns
        -------
        series : Series
            The sum of the terms, and its products with the gradients of the losses.
        """
        parameters = self.parameters
        weights = weights.detach().requires_grad_()
        slopes = torch.autograd.grad(
            weights @ torch.stack(list(self.losses)),
            parameters,
            create_graph=True,
            materialize_grads=True,
        )
        # Left out, because slopes that no loss depends on are constants without graph.
        used = [slope.requires_grad for slope in slopes]
        reached = [x for x, is_used in zip(slopes, used, strict=True) if is_used]
        products = torch.zeros_like(weights)
        v = unflatten(vector, parameters)
        p = [part.clone() for part in v]
        for j in range(n_terms + 1):
            last = j == n_terms
            # The last term needs no product with the Hessian, so it only walks the part
            # of the graph that leads to the weights.
            found = torch.autograd.grad(
                reached,
                [weights] if last else [weights, *parameters],
                [part for part, is_used in zip(v, used, strict=True) if is_used],
                retain_graph=keep_graph or not last,
                materialize_grads=True,
            )
            products += found[0]
            if not last:
                v = [a - scale * b for a, b in zip(v, found[1:], strict=True)]
                p = [a + b for a, b in zip(p, v, strict=True)]
        first, final = float(vector.norm()), float(flatten(v, parameters).norm())
        ratio = final / first if first > 0 else 0.0
        return Series(products, flatten(p, parameters), ratio)


@dataclass(frozen=True)
class HeldOutEvidence:
    """Gradient of the held-out rows after a step, and what to compare it with.

    Parameters
    ----------
    gradient : Tensor of shape (p,)
        Gradient of the pooled target over all held-out rows, in evaluation mode, with
        respect to the shared parameters.
    last_tasks : Tensor of int64 of shape (t,) or None
        Tasks of the last evaluation of the training gradients. The pooled target comes
        first. None if the steps do not evaluate gradients of single tasks.
    last_products : Tensor of float64 of shape (t,) or None
        Inner products of ``gradient`` with these gradients.
    draw_batch : callable
        Returns a :class:`FreshBatch`, or None if the batch has no entry.

    See Also
    --------
    HeldOutWeighting : Adds evidence from held-out rows.
    FreshBatch : A batch of training rows for an update.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import HeldOutEvidence
    >>> evidence = HeldOutEvidence(torch.ones(3), None, None, lambda: None)
    >>> evidence.gradient.shape
    torch.Size([3])
    """

    gradient: Tensor
    last_tasks: Tensor | None
    last_products: Tensor | None
    draw_batch: Callable[[], FreshBatch | None]


@dataclass(frozen=True)
class HeldOutReport:
    """Records of a method about an evaluation of the held-out rows.

    Parameters
    ----------
    records : dict
        Numbers, or dicts of numbers by task, whose means over an epoch appear in
        ``history_``.
    converged : bool
        Whether the method trusts its result; a fit warns once of those it does not.
    advice : str
        What to do about results that are not trusted.

    See Also
    --------
    HeldOutWeighting : Adds evidence from held-out rows.

    Examples
    --------
    >>> from skgnn_mtl.weighting import HeldOutReport
    >>> HeldOutReport({"learned_rate": 0.5}).converged
    True
    """

    records: Mapping[str, Any] = field(default_factory=dict)
    converged: bool = True
    advice: str = ""


class HeldOutWeighting(ABC):
    """A task weighting that learns from held-out training rows.

    The estimator keeps the rows of :attr:`held_out` out of the steps, and the training
    calls :meth:`update` every ``held_out.every`` steps, after the optimizer's step. The
    evidence has the gradient (p,) of the held-out rows in the shared parameters.

    See Also
    --------
    HeldOut : How many rows are held out, and how often they are used.
    HeldOutEvidence : What an update receives.
    HeldOutReport : What an update returns.

    Examples
    --------
    >>> from skgnn_mtl.weighting import BLO
    >>> BLO(every=20).held_out
    HeldOut(every=20, fraction=0.2, split='tail')
    """

    @property
    @abstractmethod
    def held_out(self) -> HeldOut | None:
        """Rows to keep out, and steps between two evaluations; None for no rows."""

    @abstractmethod
    def update(self, evidence: HeldOutEvidence) -> HeldOutReport | None:
        """Learn from an evaluation of the held-out rows.

        Parameters
        ----------
        evidence : HeldOutEvidence
            Gradient of the pooled target over the rows, and what to compare it with.

        Returns
        -------
        report : HeldOutReport or None
            Records for ``history_``.
        """


def check_held_out(part: Any) -> None:
    """Check the parameters every, fraction and split of a method.

    Parameters
    ----------
    part : TaskWeighting
        The method.

    Raises
    ------
    ValueError
        If one of them is out of range; the message names it.
    """
    if not isinstance(part.every, Integral) or part.every < 1:
        raise ValueError(f"every must be an integer >= 1, got {part!r}.")
    if not isinstance(part.fraction, Real) or not 0 < float(part.fraction) < 1:
        raise ValueError(f"fraction must lie in (0, 1), got {part!r}.")
    check_choice(part, "split", ("tail", "random"))
