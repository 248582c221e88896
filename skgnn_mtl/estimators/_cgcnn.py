"""Published CGCNN checkpoints as parts of a fitted regressor."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from torch import Tensor

from skgnn_mtl._target_transforms import TargetTransforms
from skgnn_mtl.encoders import CGCNN, read_cgcnn
from skgnn_mtl.featurizers import CifToGraph
from skgnn_mtl.graphs import GraphSchema
from skgnn_mtl.readouts import Mean

from ._compute import present_device, seeded
from ._inputs import Inputs
from ._numeric import NumericTargets
from ._recipe import build_weighting, resolve_weighting
from ._state import FittedState


@dataclass(frozen=True)
class PublishedRegressor:
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


def read_published(
    path: str | PathLike[str], atom_features: str | PathLike[str]
) -> PublishedRegressor:
    """Read a checkpoint of the CGCNN code, without executing anything in it.

    Parameters
    ----------
    path : path-like
        The ``.pth.tar`` file.
    atom_features : path-like
        The ``atom_init.json`` that it was trained with.

    Returns
    -------
    checkpoint : PublishedRegressor
        Radius, Gaussians and number of neighbours are those of the published models.

    Raises
    ------
    ValueError
        If the file is something else, a classifier, or does not fit the table.
    """
    published = read_cgcnn(path)
    # Neighbours are cut as in the authors' code, because the weights belong to such
    # graphs.
    transformer = CifToGraph(
        cutoff=published.max_distance, ties="cut", element_table=atom_features
    )
    schema = transformer.transform_schema()
    # Here, because load_state_dict would name shapes only, not the file to change.
    if len(schema.node_table[0]) != published.n_inputs:
        raise ValueError(
            f"{path} wants {published.n_inputs} features of an element, but "
            f"{atom_features} has {len(schema.node_table[0])}: give the table that it "
            "was trained with."
        )
    encoder = CGCNN(
        published.width,
        n_layers=published.n_layers,
        max_distance=published.max_distance,
        step=published.step,
    )
    *hidden, output = published.dense
    architecture = {
        "encoder": encoder,
        # The authors apply softplus to the mean, before the first dense layer.
        "readout": Mean(activation="softplus"),
        "head_hidden_dims": tuple(len(bias) for _, bias in hidden),
        "head_activation": "softplus",
    }
    tensors = {f"encoder.{name}": value for name, value in published.encoder.items()}
    # Every second module of the trunk is an activation.
    names = [*(f"trunk.{2 * k}" for k in range(len(hidden))), "heads"]
    for name, (weight, bias) in zip(names, [*hidden, output], strict=True):
        tensors |= {f"{name}.weight": weight, f"{name}.bias": bias}
    mean, scale = published.mean, published.scale
    return PublishedRegressor(architecture, schema, tensors, mean, scale)


def published_state(
    estimator: Any, checkpoint: PublishedRegressor, task_name: str
) -> FittedState:
    """Make the state of a regressor that predicts what a checkpoint does.

    Parameters
    ----------
    estimator : MultiTaskGNNRegressor
        With the architecture of the checkpoint. It is not changed.
    checkpoint : PublishedRegressor
        From :func:`read_published`.
    task_name : str
        Name of the task.

    Returns
    -------
    state : FittedState
        Of one task, whose predictions are one-dimensional.

    Raises
    ------
    ValueError
        If the loss reads variances, which a checkpoint does not have.
    """
    recipe, device = estimator._recipe(), present_device(estimator.device)
    if recipe.variances:
        raise ValueError(
            "A checkpoint of CGCNN has no variances, but "
            f"loss={estimator.loss!r} reads them. Leave loss out."
        )
    targets = NumericTargets(
        names=(task_name,),
        one_dimensional=True,
        transforms=TargetTransforms((task_name,), (None,)),
        mean=np.array([checkpoint.mean]),
        spread=np.array([checkpoint.scale]),
    )
    # A forked generator, because the first weights are drawn and then replaced.
    with seeded(0, device, None):
        # Built although unused so far, because partial_fit goes on with it.
        part = resolve_weighting(estimator.task_weighting)
        weighting = build_weighting(part, [task_name], 1, device)
        module = recipe.network(checkpoint.schema, targets)
    module.load_state_dict(checkpoint.tensors)
    return FittedState(
        Inputs(checkpoint.schema),
        targets,
        module.to(device).eval(),
        weighting,
        seed=0,
        # No rows have been divided yet.
        split_seed=None,
        task_weights=np.ones(1),
    )
