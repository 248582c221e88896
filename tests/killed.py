"""Fits that end in the middle, as those of a process that is killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skgnn_mtl.estimators import _checkpoint
from skgnn_mtl.training import _net


class Killed(BaseException):
    """A process that ends, which nothing in the package expects."""


def killer(monkeypatch: Any) -> Callable[[int], None]:
    """Let the next fits end after some epochs of all together; 0 stands for no end.

    All epochs are written, however fast they are.
    """
    monkeypatch.setattr(_checkpoint, "_LARGEST_SHARE", 1e12)
    kept = _net._Net.keep
    count = {"left": 0}

    def keep(net: Any, final: bool) -> None:
        kept(net, final)
        count["left"] -= 1
        if count["left"] == 0:
            raise Killed

    monkeypatch.setattr(_net._Net, "keep", keep)
    return lambda n: count.update(left=n)
