"""Several observers of one training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._curvature import SpectrumRecorder


class Observers:
    """A recorder of spectra, and a function that hears of every epoch.

    Parameters
    ----------
    recorder : SpectrumRecorder or None
        Called first; it alone has a state.
    on_epoch : callable
        Called with the number of finished epochs.
    """

    def __init__(
        self, recorder: SpectrumRecorder | None, on_epoch: Callable[[int], None]
    ) -> None:
        self.recorder, self.on_epoch = recorder, on_epoch

    def __call__(self, epoch: int) -> None:
        """Tell both."""
        if self.recorder is not None:
            self.recorder(epoch)
        self.on_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the recorder."""
        return {} if self.recorder is None else self.recorder.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`."""
        if self.recorder is not None:
            self.recorder.load_state_dict(state)
