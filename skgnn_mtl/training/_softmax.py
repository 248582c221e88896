"""Cross-entropy of the classes of each task, also of tasks with different numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class SoftmaxLoss:
    r"""Negative logarithm of the probability of the true class of each task.

    The first class of a task has the logit 0, and each other one an output
    :math:`o_{c}`, so that

    .. math:: \ell = \log \big(1 + \sum_{c > 1} e^{o_c}\big) - o_y, \qquad o_1 = 0 .

    For two classes it is the logistic loss. Outputs are ordered by class: the second
    class of all tasks, then the third of all tasks, and so on. Outputs of classes that
    a task does not have are not read.

    Parameters
    ----------
    n_classes : tuple of int
        Number of classes of each task, at least 2.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.training import SoftmaxLoss
    >>> outputs = torch.zeros(1, 4)  # tasks of two and three classes, and one padding
    >>> SoftmaxLoss((2, 3))(outputs, torch.tensor([[1.0, 2.0]])).exp()
    tensor([[2.0000, 3.0000]])
    """

    n_classes: tuple[int, ...]

    @property
    def n_logits(self) -> int:
        """Outputs per task."""
        return max(self.n_classes) - 1

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the losses (n, t) of outputs (n, n_logits t) and classes (n, t)."""
        logits = outputs.view(len(outputs), self.n_logits, len(self.n_classes))
        logits = F.pad(logits, (0, 0, 1, 0))
        counts = torch.tensor(self.n_classes, device=outputs.device)
        absent = torch.arange(self.n_logits + 1, device=outputs.device)[:, None]
        logits = logits.masked_fill(absent >= counts, -torch.inf)
        true = logits.gather(1, targets.long()[:, None])[:, 0]
        losses: Tensor = logits.logsumexp(dim=1) - true
        return losses
