r"""Task weightings that learn from training rows which the steps do not use.

Every k steps such a method receives :class:`HeldOutEvidence`. It holds the gradient of
the pooled target over the held-out rows and, on request, the losses of a fresh batch.

For a loss that is linear in the task weights, :math:`\sum_i w_i L_i`, the derivative
of its gradient with respect to :math:`w_i` is the task's gradient :math:`g_i`. Methods
need products :math:`v^\top g_i`, which are derivatives of the losses along v. One
forward pass that carries v as a tangent gives those of all tasks, without a backward
pass. Where products with the Hessian are needed as well, one backward pass along v
through the graph of the weighted gradient gives both.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from numbers import Real
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad

from skgnn_mtl._flat import flat_size, flatten, pull_back, unflatten

from ._constraints import check_choice, check_count


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
    n_batches : int or None
        Size of the sample of these rows that an evaluation draws, in batches of the
        training; None takes all rows.

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
    n_batches: int | None = None


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


# Moves of the parameters, or None, to one loss per entry and the places of the entries.
Evaluate = Callable[[Sequence[Tensor] | None], tuple[list[Tensor], Tensor]]


class FreshBatch:
    """A batch of training rows in training mode, and derivatives of its losses.

    Entries are the pooled target and the auxiliary tasks that the batch has. The
    network is that of the evaluation; use the batch before the next step.

    Parameters
    ----------
    evaluate : callable
        Computes the k losses, each of shape (), and their places (k,). It receives what
        is to be added to the parameters, or None, and uses the same random numbers in
        each call.
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
    >>> def evaluate(moves):
    ...     moved = w if moves is None else w + moves[0]
    ...     return [moved.square().sum()], torch.tensor([0])
    >>> batch = FreshBatch(evaluate, [w])
    >>> batch.jacobian()
    tensor([[2., 4.]])
    >>> batch.products(torch.tensor([1.0, -1.0]))
    tensor([-2.])
    """

    def __init__(self, evaluate: Evaluate, parameters: Sequence[Tensor]) -> None:
        self._evaluate, self.parameters = evaluate, parameters
        self._places: Tensor | None = None

    @cached_property
    def losses(self) -> list[Tensor]:
        """One loss per entry, with its graph.

        They are separate, because each gradient of a common tensor would walk through
        the graph of all of them.
        """
        with torch.enable_grad():
            losses, self._places = self._evaluate(None)
        return losses

    @property
    def places(self) -> Tensor:
        """0 for the pooled target, 1 + i for task i; int64 (k,), on the CPU."""
        if self._places is None:
            _ = self.losses  # which come with their places
        assert self._places is not None
        return self._places

    def products(self, vector: Tensor) -> Tensor:
        r"""Compute the inner products of a vector with the gradients of the losses.

        They are the derivatives of the losses along the vector, by automatic
        differentiation in forward mode: one forward pass without a graph. Rows of
        :meth:`jacobian` would take a backward pass per entry.

        Parameters
        ----------
        vector : Tensor of shape (p,)
            The vector.

        Returns
        -------
        products : Tensor of shape (k,)
            One per entry.
        """
        try:
            return self._forward_products(vector)
        except NotImplementedError:
            # Because operations of a user's encoder may lack a forward derivative.
            return self.jacobian() @ vector

    def _forward_products(self, vector: Tensor) -> Tensor:
        _import_forward_mode()
        parts = unflatten(vector, self.parameters)
        with torch.no_grad(), forward_ad.dual_level():
            moves = [forward_ad.make_dual(torch.zeros_like(v), v) for v in parts]
            losses, self._places = self._evaluate(moves)
            found = [forward_ad.unpack_dual(loss).tangent for loss in losses]
        products = vector.new_zeros(len(found))
        for k, tangent in enumerate(found):
            if tangent is not None:  # as it is where nothing depends on the parameters
                products[k] = tangent
        return products

    def jacobian(self) -> Tensor:
        """Compute the gradients of the losses, one row per entry (k, p)."""
        like = self.parameters[0]
        J = like.new_empty(len(self.losses), flat_size(self.parameters))
        for row, loss in zip(J, self.losses, strict=True):
            parts = pull_back([loss], self.parameters, [torch.ones_like(loss)])
            # Into the row, without a temporary of p numbers.
            torch.cat([part.reshape(-1) for part in parts], out=row)
        return J

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
        if not self.losses:
            return Series(vector.new_zeros(0), vector, 0.0)
        parameters = self.parameters
        weights = weights.detach().requires_grad_()
        slopes = torch.autograd.grad(
            weights @ torch.stack(self.losses),
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


@cache
def _import_forward_mode() -> None:
    """Let torch import its forward derivatives, once per process."""
    # Because torch compiles some of them with a function that it warns of.
    with warnings.catch_warnings(), forward_ad.dual_level():
        warnings.simplefilter("ignore", DeprecationWarning)
        forward_ad.make_dual(torch.zeros(()), torch.zeros(()))


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
        Returns a :class:`FreshBatch`, which may have no entry.

    See Also
    --------
    HeldOutWeighting : Adds evidence from held-out rows.
    FreshBatch : A batch of training rows for an update.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import HeldOutEvidence
    >>> evidence = HeldOutEvidence(torch.ones(3), None, None, draw_batch=None)
    >>> evidence.gradient.shape
    torch.Size([3])
    """

    gradient: Tensor
    last_tasks: Tensor | None
    last_products: Tensor | None
    draw_batch: Callable[[], FreshBatch]


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
    HeldOut(every=20, fraction=0.2, split='tail', n_batches=2)
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
    check_count(part, "every")
    if not isinstance(part.fraction, Real) or not 0 < float(part.fraction) < 1:
        raise ValueError(f"fraction must lie in (0, 1), got {part!r}.")
    check_choice(part, "split", ("tail", "random"))
