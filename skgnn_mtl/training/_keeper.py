"""The state of a training between two epochs, for a keeper outside the process.

A training is a function of its data, its options and its seed. Between two epochs it
depends on nothing else than the objects that :func:`training_state` asks, so that a
process that begins the same training and loads their states ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from ._replay import random_state


class Keeper(Protocol):
    """Keeps the state of a training, for instance in a file."""

    @property
    def goes_on(self) -> bool:
        """Whether there is a state from before."""

    def restore(self, load: Callable[[dict[str, Any]], None]) -> None:
        """Call ``load`` with the state that was kept last, if there is one."""

    def keep(self, collect: Callable[[], dict[str, Any]], final: bool) -> bool:
        """Keep what ``collect`` returns, unless it is too early; tell whether.

        Parameters
        ----------
        collect : callable
            Makes the state: numbers, strings and tensors in containers.
        final : bool
            Whether the training has ended, so that it is never too early.
        """


def training_state(net: Any) -> dict[str, Any]:
    """Collect everything that the epochs to come depend on.

    Parameters
    ----------
    net : object
        The training, between two epochs.

    Returns
    -------
    state : dict
        Numbers, strings and tensors in containers. Tensors of the network are not
        copies.
    """
    # The generators of dropout, because they belong to the process.
    cpu, device = random_state(torch.device(net.device))
    average, fall, observer = net.average, net.fall, net.observer
    return {
        "records": net.epochs.records,
        "stopped": net.stopped,
        "n_watched": net.n_watched,
        "model": dict(net.module_.state_dict()),
        "optimizer": net.optimizer_.state_dict(),
        "average": None if average is None else average.state(),
        "step": net.step.state_dict(),
        "generators": [net.generator.get_state(), cpu, device],
        # At the end with all rows nothing watches any more.
        "watching": [] if fall else [part.state_dict() for part in net.watching],
        "fall": None if fall is None else fall.state_dict(),
        "observer": None if observer is None else observer.state_dict(),
    }


def load_training_state(net: Any, state: dict[str, Any]) -> None:
    """Go on as the training that a state was collected from.

    Parameters
    ----------
    net : object
        A training with the same options, before its first epoch.
    state : dict
        From :func:`training_state`.
    """
    device = torch.device(net.device)
    net.epochs.records[:] = state["records"]
    for record in state["records"]:
        # Numbers alone, because skorch counts its own records.
        net.history.new_epoch()
        for key in ("epoch", "train_loss", "valid_loss", "valid_score"):
            if key in record:
                net.history.record(key, record[key])
    net.stopped, net.n_watched = state["stopped"], state["n_watched"]
    net.module_.load_state_dict(state["model"])
    net.optimizer_.load_state_dict(state["optimizer"])
    if net.average is not None:
        net.average.restore(state["average"], device)
    net.step.load_state_dict(state["step"])
    for part, own in zip(net.watching, state["watching"], strict=False):
        part.load_state_dict(own)
    if state["fall"] is not None:
        net.begin_fall(**state["fall"])
    if net.observer is not None:
        net.observer.load_state_dict(state["observer"])
    # Last, because nothing above may draw from them.
    batches, cpu, cuda = state["generators"]
    net.generator.set_state(batches)
    torch.set_rng_state(cpu)
    if cuda is not None and device.type == "cuda":
        torch.cuda.set_rng_state(cuda, device)
