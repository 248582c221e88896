"""Errors of a training in words that say what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import BatchDataset

from ._options import TrainingOptions

# How torch says on each device that the memory is too small.
_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class NotFinite(FloatingPointError):
    """NaN or infinite values in a step, before the loop says which epoch it was.

    Parameters
    ----------
    what : str
        What became infinite.
    tasks : sequence of int
        Positions of the tasks that it happened to.

    Examples
    --------
    >>> from skgnn_mtl.training._faults import NotFinite
    >>> error = NotFinite("The gradient", [1])
    >>> error.message(["gap", "homo"], epoch=3, advice="Lower lr")
    "The gradient of 'homo' became NaN or infinite in epoch 3. Lower lr."
    """

    def __init__(self, what: str, tasks: Sequence[int]) -> None:
        super().__init__(f"{what} became NaN or infinite.")
        self.what, self.tasks = what, list(tasks)

    def message(self, names: Sequence[str], epoch: int, advice: str) -> str:
        """Say of which tasks, when, and what to do."""
        return broken(self.what, [names[k] for k in self.tasks], epoch, advice)


def broken(what: str, tasks: Sequence[str], epoch: int, advice: str) -> str:
    """Say what became infinite, of which tasks, when, and what to do."""
    whose = f" of {', '.join(map(repr, tasks))}" if tasks else ""
    return f"{what}{whose} became NaN or infinite in epoch {epoch}. {advice}."


def require_finite_gramian(gramian: Tensor, tasks: Tensor | None) -> Tensor:
    """Move a Gramian to the CPU, and refuse one that is not finite.

    Parameters
    ----------
    gramian : Tensor of shape (t, t) or (n_splits, t, t)
        Inner products of the gradients of the present tasks.
    tasks : Tensor of int64 of shape (t,) or None
        Positions of these tasks; None stands for all.

    Returns
    -------
    gramian : Tensor of the same shape, on the CPU
        The values.

    Raises
    ------
    NotFinite
        Naming the tasks whose gradients are NaN or infinite.
    """
    G = gramian.cpu()
    if bool(torch.isfinite(G).all()):
        return G
    lengths = G.diagonal(dim1=-2, dim2=-1).reshape(-1, G.shape[-1])
    places = (~torch.isfinite(lengths)).any(dim=0).nonzero()[:, 0]
    positions = places if tasks is None else tasks.cpu()[places]
    raise NotFinite("The gradient of the loss", positions.tolist())


def require_finite_weights(model: nn.Module, epoch: int, advice: str) -> None:
    """Refuse a network with weights that are not finite.

    Parameters
    ----------
    model : torch.nn.Module
        The network.
    epoch : int
        The epoch that has ended, for the message.
    advice : str
        What to do, for the message.

    Raises
    ------
    FloatingPointError
        If a weight is NaN or infinite.
    """
    sums = [p.detach().sum() for p in model.parameters()]
    # One number, because each one that is read waits for the device.
    if sums and not bool(torch.isfinite(torch.stack(sums)).all()):
        raise FloatingPointError(broken("A weight of the network", [], epoch, advice))


def check_predictions(
    model: nn.Module, data: BatchDataset, device: torch.device, advice: str
) -> None:
    """Refuse a network whose predictions are not finite.

    Parameters
    ----------
    model : torch.nn.Module
        The network; it is in evaluation mode afterwards.
    data : BatchDataset
        Rows to predict.
    device : torch.device
        Device of the network.
    advice : str
        What to do, for the message.

    Raises
    ------
    FloatingPointError
        If the step after the last loss broke the network.
    """
    # A few rows, because weights that are not finite break all predictions.
    graphs, _ = data.__getitems__(torch.arange(min(len(data), 16)).numpy())
    with torch.inference_mode():
        graphs = graphs.to(device)
        outputs = model.eval()(graphs)
        if not outputs.shape[1]:  # because self-supervised models have no heads
            outputs = model.embed(graphs)  # type: ignore[operator]
    if not bool(torch.isfinite(outputs).all()):
        raise FloatingPointError(
            f"The predictions became infinite in the last step of an epoch. {advice}."
        )


@contextmanager
def explained(net: Any, options: TrainingOptions) -> Iterator[None]:
    """Say which batch size to try, or of which tasks a step became infinite.

    Parameters
    ----------
    net : object
        The training.
    options : TrainingOptions
        Its options.

    Raises
    ------
    MemoryError
        Where memory runs out, naming a batch size.
    FloatingPointError
        Where a step became infinite, naming epoch and tasks.
    """
    try:
        yield
    except NotFinite as error:
        names, epoch = net.epochs.task_names, len(net.history)
        raise FloatingPointError(error.message(names, epoch, options.advice)) from error
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        size = int(options.batch_size)
        advice = f"Try batch_size={size // 2}, or choose" if size > 1 else "Choose"
        raise MemoryError(
            f"A step with batch_size={size} needs more memory than {str(net.device)!r} "
            f"has. {advice} a narrower encoder."
        ) from error


def lacks_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a device is too small."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(text in str(error).lower() for text in _MEMORY)
