"""Cross-entropy of the classes of each task, also of tasks with different numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SoftmaxLoss:
    r"""Negative logarithm of the probability of the true class of each task.

    A task of more than two classes has an output :math:`o_c` for each class, and

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
    >>> SoftmaxLoss((2, 3))(outputs, torch.tensor([[1.0, 2.0]])).exp()
    tensor([[2.0000, 3.0000]])
    """

    n_classes: tuple[int, ...]

    @property
    def n_outputs(self) -> list[int]:
        """Outputs of each task."""
        return [count if count > 2 else 1 for count in self.n_classes]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the losses (n, t) of outputs (n, k t) and classes (n, t)."""
        counts = torch.tensor(self.n_classes, device=outputs.device)
        logits = outputs.view(len(outputs), max(self.n_outputs), len(counts))
        # The logit 0 before them, which is the first class of two.
        logits = F.pad(logits, (0, 0, 1, 0))
        first = (counts > 2).long()
        rows = torch.arange(logits.shape[1], device=outputs.device)[:, None]
        absent = (rows < first) | (rows >= first + counts)
        logits = logits.masked_fill(absent, -torch.inf)
        true = logits.gather(1, (targets.long() + first)[:, None])[:, 0]
        losses: Tensor = logits.logsumexp(dim=1) - true
        return losses
