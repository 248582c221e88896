"""Sums over neighbourhoods as sparse linear maps.

All message passing is built from two kinds of linear maps with entries 0 and 1:
copying the state of an owner to its elements, and summing elements into owners. Each
is the transpose of the other, so each is the other's derivative, and both can be
differentiated as often as one likes.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional as F


class Incidence:
    """Which owner each element belongs to: nodes to graphs, edges to nodes.

    Parameters
    ----------
    owner : Tensor of int64 of shape (n_elements,)
        Owner of each element.
    n_owners : int
        Number of owners.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.graphs import Incidence
    >>> graph_of_node = Incidence(torch.tensor([0, 0, 1]), 2)
    >>> graph_of_node.sum(torch.tensor([[1.0], [2.0], [3.0]]))
    tensor([[3.], [3.]])
    """

    def __init__(self, owner: Tensor, n_owners: int) -> None:
        self.owner, self.n_owners = owner, n_owners

    @cached_property
    def counts(self) -> Tensor:
        """Elements of each owner, int64, shape (n_owners,)."""
        zeros = self.owner.new_zeros(self.n_owners)
        return zeros.index_add(0, self.owner, torch.ones_like(self.owner))

    @cached_property
    def _by_owner(self) -> tuple[Tensor, Tensor]:
        """Elements in the order of their owners, and where each owner begins."""
        order = torch.argsort(self.owner, stable=True)
        return order, F.pad(self.counts.cumsum(0), (1, 0))

    def gather(self, x: Tensor) -> Tensor:
        """Copy the owners' rows to their elements.

        Parameters
        ----------
        x : Tensor of shape (n_owners, width)
            One row an owner.

        Returns
        -------
        copied : Tensor of shape (n_elements, width)
            One row an element.
        """
        return _Gather.apply(x, self)

    def sum(self, y: Tensor) -> Tensor:
        """Sum the elements' rows into their owners.

        Parameters
        ----------
        y : Tensor of shape (n_elements, width)
            One row an element.

        Returns
        -------
        sums : Tensor of shape (n_owners, width)
            One row an owner, zero for an owner without elements.
        """
        return _Sum.apply(y, self)

    def mean(self, y: Tensor) -> Tensor:
        """Average the elements' rows over their owners.

        Parameters
        ----------
        y : Tensor of shape (n_elements, width)
            One row an element.

        Returns
        -------
        means : Tensor of shape (n_owners, width)
            One row an owner, zero for an owner without elements.
        """
        return self.sum(y) / self.counts.clamp(min=1).to(y.dtype)[:, None]

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax of the elements' scores, column by column, within each owner.

        Parameters
        ----------
        scores : Tensor of shape (n_elements, n_columns)
            Unnormalised log weights.

        Returns
        -------
        weights : Tensor of shape (n_elements, n_columns)
            Positive weights that sum to 1 over the elements of each owner.
        """
        largest = scores.new_full((self.n_owners, scores.shape[1]), -torch.inf)
        index = self.owner[:, None].expand_as(scores)
        # The shift cancels in the ratio, so its gradient is zero.
        largest = largest.scatter_reduce(0, index, scores.detach(), "amax")
        weights = torch.exp(scores - largest[self.owner])
        return weights / self.gather(self.sum(weights))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, incidence):
        ctx.incidence = incidence
        return x.index_select(0, incidence.owner)

    @staticmethod
    def backward(ctx, grad):
        return ctx.incidence.sum(grad), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, incidence):
        ctx.incidence = incidence
        if y.device.type == "cpu" and y.dtype == torch.float32 and y.numel():
            # A third of the time of index_add, which stays for all other cases.
            order, ptr = incidence._by_owner
            return F.embedding_bag(
                order, y.contiguous(), ptr, mode="sum", include_last_offset=True
            )
        zeros = y.new_zeros(incidence.n_owners, y.shape[1])
        return zeros.index_add(0, incidence.owner, y)

    @staticmethod
    def backward(ctx, grad):
        return ctx.incidence.gather(grad), None
