"""Where estimators compute, with how many threads, and with what randomness."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from skgnn_mtl._warn import warn

# Reentrant, because a callback may fit another estimator in the same thread.
_SEEDED = threading.RLock()


def requested_device(device: str | torch.device) -> torch.device:
    """Read the estimators' parameter ``device``, whether the device is there or not."""
    if str(device) != "auto":
        return torch.device(device)
    if torch.cuda.is_available():
        # With its index, because plain "cuda" is whatever device is current later.
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def computes(device: object) -> bool:
    """Whether a value is "auto" or names a device of torch that computes."""
    if not isinstance(device, (str, torch.device)):
        return False
    try:
        # A tensor on "meta" has a shape, but no values.
        return requested_device(device).type != "meta"
    except RuntimeError:
        return False


def present_device(device: str | torch.device) -> torch.device:
    """Choose the device to compute on: the CPU where the requested one is absent."""
    requested = requested_device(device)
    return requested if is_present(requested) else torch.device("cpu")


def warn_of_absent_device(device: str | torch.device) -> None:
    """Warn if the CPU replaces a device that is absent."""
    if not is_present(requested_device(device)):
        warn(f"device={str(device)!r} is not there; the CPU is used instead.")


def is_present(device: torch.device) -> bool:
    """Whether this machine, and this build of torch, has a device."""
    if device.type == "cpu":
        return True
    if device.type == "cuda":
        # Only counted, because asking for memory fails in a forked process.
        return (device.index or 0) < torch.cuda.device_count()
    try:
        torch.empty(1, device=device)
    # Several classes, because what torch raises depends on the kind of the device.
    except (AssertionError, ImportError, RuntimeError):
        return False
    return True


@contextmanager
def seeded(seed: int, device: torch.device, n_threads: int | None) -> Iterator[None]:
    """Run inside a forked torch generator, with a number of threads.

    Parameters
    ----------
    seed : int
        Seed of torch's generators of the CPU and of the device.
    device : torch.device
        Where the training runs.
    n_threads : int or None
        Threads of torch; None leaves torch's setting.
    """
    # Only CUDA must be named, because the CPU's generator is always forked.
    devices = [device] if device.type == "cuda" else []
    # Fits take turns, because torch has one generator for all threads.
    with (
        _SEEDED,
        limited_threads(n_threads),
        torch.random.fork_rng(devices=devices),
    ):
        torch.manual_seed(seed)
        yield


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM, by which batch systems end a process, act like Ctrl-C.

    Only in the main thread, which alone may set handlers, and only in place of the
    handler that would end the process: one that the user has set stays.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def limited_threads(n_threads: int | None) -> Iterator[None]:
    """Run with ``n_threads`` torch threads, or as many as there are."""
    if n_threads is None:
        yield
        return
    outer, _LIMIT.n_threads = _LIMIT.n_threads, n_threads
    _LIMITS.begin(n_threads)
    try:
        yield
    finally:
        # Also after an error, because the setting belongs to the process.
        _LIMIT.n_threads = outer
        _LIMITS.end(outer)


class _Limit(threading.local):
    """Torch threads that this thread of Python asked for; None without a limit."""

    n_threads: int | None = None


class _Limits:
    """All limits in force, of which the last one to end restores torch's setting.

    Each thread of Python has a number of torch threads. A new one starts with the last
    number that any thread has set. Without counting, one that starts within a limit
    would take that for the setting before, and restore it at the end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n_in_force, self._before = 0, 1

    def begin(self, n_threads: int) -> None:
        """Set the number of torch threads of this thread."""
        with self._lock:
            # Asked in any case, because a thread takes the last number of all at its
            # first question or operation: after a limit of its own it would lose it.
            present = torch.get_num_threads()
            if not self._n_in_force:
                self._before = present
            self._n_in_force += 1
            torch.set_num_threads(n_threads)

    def end(self, outer: int | None) -> None:
        """Return to the limit around this one, or to the setting before all."""
        with self._lock:
            self._n_in_force -= 1
            torch.set_num_threads(self._before if outer is None else outer)


_LIMIT, _LIMITS = _Limit(), _Limits()
