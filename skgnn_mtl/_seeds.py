"""Named streams of random numbers that all come from one seed.

Two streams of one seed are independent, and no stream depends on the others that are
drawn. The reason is that :class:`numpy.random.SeedSequence` mixes the name into the
seed.
"""

from __future__ import annotations

import numpy as np
import torch

# Largest seed that both NumPy's legacy generator and torch accept.
MAX_SEED = 2**31 - 1


def stream_seed(seed: int, name: str) -> int:
    """Derive the seed of a named stream.

    Parameters
    ----------
    seed : int
        Common seed of all streams, not negative.
    name : str
        Name of the stream.

    Returns
    -------
    derived : int
        In [0, 2**31 - 1).

    Examples
    --------
    >>> from skgnn_mtl._seeds import stream_seed
    >>> stream_seed(0, "batches") == stream_seed(0, "batches")
    True
    >>> stream_seed(0, "batches") == stream_seed(0, "weighting")
    False
    """
    # SeedSequence.spawn uses counts as keys; a name does not depend on the order.
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(name.encode()))
    return int(sequence.generate_state(1)[0] % MAX_SEED)


def torch_stream(seed: int, name: str) -> torch.Generator:
    """Create torch's generator of a named stream, on the CPU."""
    return torch.Generator().manual_seed(stream_seed(seed, name))
