"""Pretrained encoders that come with the package."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from safetensors import safe_open

from skgnn_mtl.graphs import GraphSchema

from ._base import GraphEncoder
from ._dmpnn import DMPNN

_FOLDER = Path(__file__).parent / "data"
SHIPPED = {"zinc-descriptors": "zinc_descriptors.safetensors"}


def load_encoder(name: str) -> GraphEncoder:
    """Load a pretrained encoder that comes with the package.

    "zinc-descriptors" is a ``DMPNN`` for graphs of
    ``SmilesToGraph(features="chemprop")``. It has learned to predict 200 descriptors of
    RDKit for 30,000 molecules of ZINC [1]_, as CheMeleon [2]_ does on a larger scale.

    Parameters
    ----------
    name : {"zinc-descriptors"}
        Name of the encoder.

    Returns
    -------
    encoder : GraphEncoder
        With weights, in evaluation mode. Calls share it: wrap it in ``Pretrained`` to
        train a copy.

    Raises
    ------
    ValueError
        If no encoder has this name.

    See Also
    --------
    Pretrained : Starts from the weights of another encoder.
    DMPNN : Directed message passing, the default for molecules.

    References
    ----------
    .. [1] J. J. Irwin et al., "ZINC: A Free Tool to Discover Chemistry for Biology",
       J. Chem. Inf. Model. 52, 1757 (2012).
    .. [2] J. Burns et al., "Descriptor-based Foundation Models for Molecular Property
       Prediction", 2025, arXiv:2506.15792.

    Examples
    --------
    >>> from skgnn_mtl import SmilesToGraph
    >>> from skgnn_mtl.encoders import load_encoder
    >>> X = SmilesToGraph(features="chemprop").fit_transform(["CCO", "c1ccccc1"])
    >>> load_encoder("zinc-descriptors").embed(X).shape
    (2, 300)
    """
    if name not in SHIPPED:
        raise ValueError(f"name must be one of {sorted(SHIPPED)}, got {name!r}.")
    return _load(name)


@cache
def _load(name: str) -> GraphEncoder:
    with safe_open(_FOLDER / SHIPPED[name], framework="pt") as file:
        settings = json.loads(file.metadata()["settings"])
        # Kept in half precision, computed in single precision.
        state = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    encoder = DMPNN(**settings["parameters"])
    # In a forked generator, because building draws numbers that are replaced.
    with torch.random.fork_rng(devices=[]):
        encoder.build(GraphSchema.from_dict(settings["schema"]))
    encoder.load_state_dict(state)
    return encoder.eval()
