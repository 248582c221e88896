"""Sums over neighbourhoods as sparse linear maps.

All message passing is built from two kinds of linear maps with entries 0 and 1:
copying the state of an owner to its elements, and summing elements into owners. Each
is the transpose of the other, so each is the other's derivative. Both, and a copy
followed by a sum, can therefore be differentiated any number of times.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Incidence:
    """Map each element to its owner: nodes to graphs, edges to nodes.

    Parameters
    ----------
    owner : Tensor of int64 of shape (n_elements,)
        Owner of each element.
    n_owners : int
        Number of owners.

    See Also
    --------
    GraphBatch : A disjoint union of graphs as tensors.

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
        """Number of elements of each owner, int64, shape (n_owners,)."""
        zeros = self.owner.new_zeros(self.n_owners)
        return zeros.index_add(0, self.owner, torch.ones_like(self.owner))

    @cached_property
    def _by_owner(self) -> tuple[Tensor, Tensor]:
        """Elements in the order of their owners, and where each owner begins.

        Only for the CPU.
        """
        owner = self.owner.numpy()
        # Small integers, because NumPy sorts those in linear time.
        if self.n_owners <= np.iinfo(np.uint16).max:
            owner = owner.astype(np.uint16)
        ptr = np.zeros(self.n_owners + 1, dtype=np.int64)
        np.cumsum(np.bincount(owner, minlength=self.n_owners), out=ptr[1:])
        order = np.argsort(owner, kind="stable")
        return torch.from_numpy(order), torch.from_numpy(ptr)

    def gather(self, x: Tensor) -> Tensor:
        """Copy the owners' rows to their elements.

        Parameters
        ----------
        x : Tensor of shape (n_owners, width)
            One row per owner.

        Returns
        -------
        copied : Tensor of shape (n_elements, width)
            One row per element.
        """
        return _transfer(x, None, self)

    def sum(self, y: Tensor) -> Tensor:
        """Sum the elements' rows into their owners.

        Parameters
        ----------
        y : Tensor of shape (n_elements, width)
            One row per element.

        Returns
        -------
        sums : Tensor of shape (n_owners, width)
            One row per owner, zero for an owner without elements.
        """
        return _transfer(y, self, None)

    def transfer(self, x: Tensor, source: Incidence) -> Tensor:
        """Copy rows to the elements and sum those: ``sum(source.gather(x))``.

        On the CPU the copies take no memory.

        Parameters
        ----------
        x : Tensor of shape (source.n_owners, width)
            One row per owner of ``source``.
        source : Incidence
            Other owners of the same elements.

        Returns
        -------
        sums : Tensor of shape (n_owners, width)
            One row per owner, zero for an owner without elements.
        """
        return _transfer(x, self, source)

    def mean(self, y: Tensor) -> Tensor:
        """Average the elements' rows over their owners.

        Parameters
        ----------
        y : Tensor of shape (n_elements, width)
            One row per element.

        Returns
        -------
        means : Tensor of shape (n_owners, width)
            One row per owner, zero for an owner without elements.
        """
        return self.sum(y) / self.counts.clamp(min=1).to(y.dtype)[:, None]

    def softmax(
        self, scores: Tensor, *, least_shift: float = -torch.inf, floor: float = 0.0
    ) -> Tensor:
        r"""Compute the softmax of the scores of each owner, column by column.

        .. math::
            w_e = \frac{e^{s_e - M}}{\sum_{e'} e^{s_{e'} - M} + \varepsilon}, \qquad
            M = \max(M_0, \max_{e'} s_{e'}),

        where the sum and the maximum run over the elements of the owner of e.

        Parameters
        ----------
        scores : Tensor of shape (n_elements, n_columns)
            Unnormalised log weights :math:`s`.
        least_shift : float, default=-inf
            Lower bound :math:`M_0` of the shift. It has an effect together with
            ``floor`` only.
        floor : float, default=0.0
            The constant :math:`\varepsilon` in the denominator.

        Returns
        -------
        weights : Tensor of shape (n_elements, n_columns)
            Positive weights that sum to 1 over the elements of each owner, or to less
            with a ``floor``.
        """
        largest = scores.new_full((self.n_owners, scores.shape[1]), least_shift)
        index = self.owner[:, None].expand_as(scores)
        # Detached, because the shift cancels in the ratio: its gradient is zero.
        largest = largest.scatter_reduce(0, index, scores.detach(), "amax")
        weights = torch.exp(scores - largest[self.owner])
        total = self.gather(self.sum(weights))
        return weights / (total + floor if floor else total)


def _transfer(x: Tensor, target: Incidence | None, source: Incidence | None) -> Tensor:
    moved: Tensor = _Transfer.apply(x, target, source)  # type: ignore[no-untyped-call]
    return moved


class _Transfer(torch.autograd.Function):
    """Copy rows to the elements of ``source``, sum them into the owners of ``target``.

    None stands for the elements themselves. The map is linear in the rows. Therefore it
    is its own derivative along a tangent, its transpose is the transfer back, and a
    batch of matrices is one wider matrix.
    """

    @staticmethod
    def forward(
        x: Tensor, target: Incidence | None, source: Incidence | None
    ) -> Tensor:
        if target is None:
            assert source is not None
            return x.index_select(0, source.owner)
        if x.device.type == "cpu" and x.dtype == torch.float32 and x.numel():
            # One kernel gathers and sums, because index_add takes three times as long.
            rows, ptr = target._by_owner
            rows = rows if source is None else source.owner[rows]
            return torch.embedding_bag(
                x.contiguous(), rows, ptr, mode=0, include_last_offset=True
            )[0]
        rows = x if source is None else x.index_select(0, source.owner)
        zeros = x.new_zeros(target.n_owners, x.shape[1])
        return zeros.index_add(0, target.owner, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, ctx.target, ctx.source = inputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _transfer(grad, ctx.source, ctx.target), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _transfer(tangent, ctx.target, ctx.source)

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int, None, None],
        x: Tensor,
        target: Incidence | None,
        source: Incidence | None,
    ) -> tuple[Tensor, int]:
        x = x.movedim(in_dims[0], -1)
        moved = _transfer(x.flatten(1), target, source)
        return moved.unflatten(1, x.shape[1:]), 2
