"""Published CGCNN checkpoints as parts of a fitted regressor."""

from __future__ import annotations

import re
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from skgnn_mtl.encoders import CGCNN
from skgnn_mtl.featurizers import CifToGraph
from skgnn_mtl.graphs import GraphSchema
from skgnn_mtl.readouts import Mean

# Distance of the Gaussians' centres in the authors' code, in Å.
_STEP = 0.2
_NORM = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class Checkpoint:
    """What a file of the authors' code holds, in our names.

    Parameters
    ----------
    architecture : dict
        Parameters of the regressor that rebuild the network.
    schema : GraphSchema
        Columns of the graphs that the network was trained on.
    tensors : dict of str to Tensor
        State of the module.
    mean, scale : float
        What the target was standardised with.
    """

    architecture: dict[str, Any]
    schema: GraphSchema
    tensors: dict[str, Tensor]
    mean: float
    scale: float


def read_checkpoint(
    path: str | PathLike[str], atom_features: str | PathLike[str]
) -> Checkpoint:
    """Read a checkpoint of the CGCNN code, without executing anything in it.

    Parameters
    ----------
    path : path-like
        The ``.pth.tar`` file.
    atom_features : path-like
        The ``atom_init.json`` that it was trained with.

    Returns
    -------
    checkpoint : Checkpoint
        Radius, Gaussians and number of neighbours are those of the published models.

    Raises
    ------
    ValueError
        If the file is something else, a classifier, or does not fit the table.
    """
    state, mean, scale = _content(path)
    width, n_inputs = state["embedding.weight"].shape
    n_gaussians = state["convs.0.fc_full.weight"].shape[1] - 2 * width
    n_layers = sum(name.endswith("fc_full.weight") for name in state)
    n_hidden = 1 + sum(
        re.fullmatch(r"fcs\.\d+\.weight", name) is not None for name in state
    )
    # The authors' Gaussians end at the radius of the search.
    radius = round(_STEP * (n_gaussians - 1), 6)
    transformer = CifToGraph(cutoff=radius, ties="cut", element_table=atom_features)
    schema = transformer.transform_schema()
    if len(schema.node_table[0]) != n_inputs:
        raise ValueError(
            f"{path} wants {n_inputs} features of an element, but {atom_features} has "
            f"{len(schema.node_table[0])}: give the table that it was trained with."
        )
    architecture = {
        "encoder": CGCNN(width, n_layers=n_layers, max_distance=radius, step=_STEP),
        "readout": Mean(activation="softplus"),
        "head_hidden_dims": (state["conv_to_fc.weight"].shape[0],) * n_hidden,
        "head_activation": "softplus",
    }
    tensors = _renamed(state, width, n_layers, n_hidden)
    return Checkpoint(architecture, schema, tensors, mean, scale)


def _content(path: str | PathLike[str]) -> tuple[dict[str, Tensor], float, float]:
    """Tensors of a regression with one target, its mean and standard deviation."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        args, state = dict(content["args"]), dict(content["state_dict"])
        mean, scale = (float(content["normalizer"][key]) for key in ("mean", "std"))
        n_outputs = state["fc_out.weight"].shape[0]
    except OSError:
        raise
    # Whatever else is in the file, it cannot be read as one.
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint of CGCNN.") from error
    if args.get("task", "regression") != "regression" or n_outputs != 1:
        raise ValueError(
            f"{path} holds a classifier or several outputs, but a regression with one "
            "target was wanted."
        )
    return state, mean, scale


def _renamed(state: dict, width: int, n_layers: int, n_hidden: int) -> dict:
    """Take our names; their layer on edges has two times three parts."""
    tensors = _linear(state, "embedding", "encoder.embedding")
    for k in range(n_layers):
        theirs, ours = f"convs.{k}", f"encoder.layers.{k}"
        for half, rows in (("gate", slice(0, width)), ("core", slice(width, None))):
            whole = state[f"{theirs}.fc_full.weight"][rows]
            parts = whole.split([width, width, whole.shape[1] - 2 * width], dim=1)
            for name, part in zip(("center", "neighbor", "edge"), parts, strict=True):
                tensors[f"{ours}.{half}.{name}.weight"] = part.contiguous()
            tensors[f"{ours}.{half}.center.bias"] = state[f"{theirs}.fc_full.bias"][
                rows
            ]
            tensors |= _norm(state, f"{theirs}.bn1", f"{ours}.{half}.norm", rows)
        tensors |= _norm(state, f"{theirs}.bn2", f"{ours}.norm", slice(None))
    tensors |= _linear(state, "conv_to_fc", "trunk.0")
    for k in range(n_hidden - 1):
        tensors |= _linear(state, f"fcs.{k}", f"trunk.{2 * (k + 1)}")
    return tensors | _linear(state, "fc_out", "heads")


def _norm(state: dict, theirs: str, ours: str, rows: slice) -> dict:
    parts = {f"{ours}.{part}": state[f"{theirs}.{part}"][rows] for part in _NORM}
    # Only counts batches; the published files do not have it.
    return parts | {f"{ours}.num_batches_tracked": torch.tensor(0)}


def _linear(state: dict, theirs: str, ours: str) -> dict:
    return {f"{ours}.{part}": state[f"{theirs}.{part}"] for part in ("weight", "bias")}
