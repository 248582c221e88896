"""Where estimators compute, with how many threads, and with what randomness."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skgnn_mtl._warn import warn

_SEEDED = threading.RLock()


class ComputeMixin:
    """Devices, threads and seeds of an estimator."""

    device: str | torch.device
    n_threads: int | None

    def _requested_device(self) -> torch.device:
        if str(self.device) != "auto":
            return torch.device(self.device)
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("cpu")

    def _device(self) -> torch.device:
        """Device to compute on: the CPU where the requested one is absent."""
        device = self._requested_device()
        return device if _is_present(device) else torch.device("cpu")

    def _warn_of_absent_device(self) -> None:
        warn(f"device={str(self.device)!r} is not there; the CPU is used instead.")

    @contextmanager
    def _seeded_with(self, seed: int) -> Iterator[None]:
        """Run inside a forked torch generator."""
        device = self._device()
        devices = [device] if device.type == "cuda" else []
        # torch has one generator for all threads, so that fits take turns.
        with (
            _SEEDED,
            limited_threads(self.n_threads),
            torch.random.fork_rng(devices=devices),
        ):
            torch.manual_seed(seed)
            yield


def _is_present(device: torch.device) -> bool:
    """Whether this machine, and this build of torch, has a device."""
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        # Asking for memory would fail, for another reason, in a forked process.
        return (device.index or 0) < torch.cuda.device_count()
    try:
        torch.empty(1, device=device)
    # What torch raises depends on the kind of the device.
    except (AssertionError, ImportError, RuntimeError):
        return False
    return True


@contextmanager
def limited_threads(n_threads: int | None) -> Iterator[None]:
    """Run with ``n_threads`` torch threads, or as many as there are."""
    before = torch.get_num_threads()
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
