"""Cross-entropy of the classes of each task, also of tasks with different numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SoftmaxLoss:
    r"""Negative logarithm of the probability of the true class of each task.

    A task of more than two classes has an output :math:`o_c` for each class, because
    logits relative to one of them are learned more slowly, and

    .. math:: \ell = \log \sum_c e^{o_c} - o_y .

    A task of two classes has one output, the logit of the second; that of the first is
    0, so that this is the logistic loss. Outputs are ordered by class: the first output
    of all tasks, then the second of all tasks, and so on. Those that a task does not
    have are not read.

    Parameters
    ----------
    n_classes : tuple of int
        Number of classes of each task, at least 2.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.training import SoftmaxLoss
    >>> outputs = torch.zeros(1, 6)  # tasks of two and three classes
    >>> losses = SoftmaxLoss((2, 3))(outputs, torch.tensor([[1.0, 2.0]]))
    >>> losses.exp().round().tolist()
    [[2.0, 3.0]]
    """

    n_classes: tuple[int, ...]

    @property
    def n_outputs(self) -> list[int]:
        """Outputs of each task."""
        return [count if count > 2 else 1 for count in self.n_classes]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the losses (n, t) of outputs (n, k t) and classes (n, t)."""
        logits, first = self._logits(outputs)
        true = logits.gather(1, (targets.long() + first)[:, None])[:, 0]
        losses: Tensor = logits.logsumexp(dim=1) - true
        return losses

    def _logits(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Lay out logits (n, k + 1, t), and find the row (t,) of the first class."""
        counts = torch.tensor(self.n_classes, device=outputs.device)
        logits = outputs.view(len(outputs), max(self.n_outputs), len(counts))
        # The logit 0 before them, which is the first class of two.
        logits = F.pad(logits, (0, 0, 1, 0))
        first = (counts > 2).long()
        rows = torch.arange(logits.shape[1], device=outputs.device)[:, None]
        absent = (rows < first) | (rows >= first + counts)
        return logits.masked_fill(absent, -torch.inf), first

    def draw_slopes(
        self, outputs: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        r"""Draw slopes of the loss at labels that the network itself predicts.

        With a class :math:`c \sim p` of each row and task they are :math:`p - e_c`,
        whose outer product has the expectation
        :math:`\mathrm{diag}(p) - p p^\top`, the second derivatives of the loss.

        Parameters
        ----------
        outputs : Tensor of shape (n, k t)
            Outputs of the network.
        generator : torch.Generator, optional
            Source of the classes, on the CPU.

        Returns
        -------
        slopes : Tensor of shape (n, k t)
            0 for outputs that a task does not have.
        """
        logits, _ = self._logits(outputs.detach())
        p = logits.softmax(dim=1)
        shape = (len(p), 1, p.shape[2])
        level = torch.rand(shape, generator=generator).to(p)
        drawn = (p.cumsum(dim=1) <= level).sum(dim=1, keepdim=True)
        # The last class, if rounding leaves the sum below 1.
        last = (p > 0).long().cumsum(dim=1).argmax(dim=1, keepdim=True)
        slopes = p.scatter_add(1, drawn.minimum(last), -torch.ones_like(level).to(p))
        return slopes[:, 1:].reshape(outputs.shape)
