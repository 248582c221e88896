"""Published weights of CGCNN: the file of the authors' code, translated."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor

from ._checkpoint import NORM, PathLike, Tensors, load_content

# Distance between two centres of the Gaussians in the authors' code, in Å.
_STEP = 0.2


@dataclass(frozen=True)
class PublishedCGCNN:
    """Content of a file of the authors' code, in the names of this package.

    Parameters
    ----------
    width : int
        Width of the node states.
    n_layers : int
        Number of convolutions.
    n_inputs : int
        Features per element that the embedding reads.
    max_distance, step : float
        Last centre of the Gaussians, and the distance between two centres, in Å.
    encoder : dict of str to Tensor
        State of a :class:`~skgnn_mtl.encoders.CGCNN` of these sizes.
    dense : list of (Tensor of shape (n_out, n_in), Tensor of shape (n_out,))
        Weight and bias of the layers after the readout; the last one gives the output.
    mean, scale : float
        Mean and standard deviation that standardised the target.
    """

    width: int
    n_layers: int
    n_inputs: int
    max_distance: float
    step: float
    encoder: Tensors
    dense: list[tuple[Tensor, Tensor]]
    mean: float
    scale: float


def read_cgcnn(path: PathLike) -> PublishedCGCNN:
    """Read a checkpoint of the CGCNN code, without executing code from it.

    Parameters
    ----------
    path : path-like
        The ``.pth.tar`` file.

    Returns
    -------
    published : PublishedCGCNN
        Sizes, weights and the scale of the target.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file is not such a checkpoint, or holds a classifier.
    """
    state, mean, scale = _regression(path)
    width, n_inputs = state["embedding.weight"].shape
    n_gaussians = state["convs.0.fc_full.weight"].shape[1] - 2 * width
    n_layers = sum(name.endswith("fc_full.weight") for name in state)
    n_hidden = sum(
        re.fullmatch(r"fcs\.\d+\.weight", name) is not None for name in state
    )
    names = ["conv_to_fc", *(f"fcs.{k}" for k in range(n_hidden)), "fc_out"]
    return PublishedCGCNN(
        width=width,
        n_layers=n_layers,
        n_inputs=n_inputs,
        # The last centre, because the authors' Gaussians end at the search radius.
        max_distance=round(_STEP * (n_gaussians - 1), 6),
        step=_STEP,
        encoder=_translate(state, width, n_layers),
        dense=[(state[f"{name}.weight"], state[f"{name}.bias"]) for name in names],
        mean=mean,
        scale=scale,
    )


def _regression(path: PathLike) -> tuple[Tensors, float, float]:
    """Read the tensors of a regression with one target, its mean and its scale."""
    try:
        content = load_content(path)
        args, state = dict(content["args"]), dict(content["state_dict"])
        mean, scale = (float(content["normalizer"][key]) for key in ("mean", "std"))
        n_outputs = state["fc_out.weight"].shape[0]
    except OSError:
        raise
    # Any exception, because the content of another file may have any type.
    except Exception as error:
        raise ValueError(f"{path} is not a checkpoint of CGCNN.") from error
    if args.get("task", "regression") != "regression" or n_outputs != 1:
        raise ValueError(
            f"{path} must hold a regression with one target, but holds a classifier "
            "or several outputs."
        )
    return state, mean, scale


def _translate(state: Tensors, width: int, n_layers: int) -> Tensors:
    """Name the tensors of the encoder as :class:`~skgnn_mtl.encoders.CGCNN` does."""
    tensors = {f"embedding.{k}": state[f"embedding.{k}"] for k in ("weight", "bias")}
    for k in range(n_layers):
        conv, layer = f"convs.{k}", f"layers.{k}"
        # Two halves times three parts, because the authors have one layer for all six.
        for half, rows in (("gate", slice(0, width)), ("core", slice(width, None))):
            whole = state[f"{conv}.fc_full.weight"][rows]
            parts = whole.split([width, width, whole.shape[1] - 2 * width], dim=1)
            for name, part in zip(("center", "neighbor", "edge"), parts, strict=True):
                tensors[f"{layer}.{half}.{name}.weight"] = part.contiguous()
            bias = state[f"{conv}.fc_full.bias"][rows]
            tensors[f"{layer}.{half}.center.bias"] = bias
            tensors |= _norm(state, f"{conv}.bn1", f"{layer}.{half}.norm", rows)
        tensors |= _norm(state, f"{conv}.bn2", f"{layer}.norm", slice(None))
    return tensors


def _norm(state: Tensors, published: str, name: str, rows: slice) -> Tensors:
    parts = {f"{name}.{part}": state[f"{published}.{part}"][rows] for part in NORM}
    # Zero, because the published files do not have this counter of batches.
    return parts | {f"{name}.num_batches_tracked": torch.tensor(0)}
