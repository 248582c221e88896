"""Fitted states as files that are safe to load."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from skgnn_mtl._archive import Target
from skgnn_mtl.auxiliary import auxiliary_names
from skgnn_mtl.curvature import GramMatrix, LastLayerPosterior
from skgnn_mtl.gate import GATEModel
from skgnn_mtl.training import MultiTaskModel

from ._compute import present_device, seeded
from ._inputs import Inputs
from ._io import MALFORMED, malformed, read, require_shapes, write
from ._state import Additions, FittedState
from ._targets import Targets

# Only these networks are ever made from a file.
_NETWORKS: dict[str, type] = {
    "GATEModel": GATEModel,
    "MultiTaskModel": MultiTaskModel,
}
# Fields of a state that are values; the others have a form of their own in a file.
_VALUES = (
    *("seed", "split_seed", "history", "best_epoch", "task_weights"),
    *("held_out_rows", "spectrum", "spectrum_path"),
)


def save_state(
    path: Target,
    kind: str,
    parameters: dict[str, Any],
    state: FittedState,
    card: str = "",
) -> None:
    """Write a fitted state, and the parameters of its estimator.

    Parameters
    ----------
    path : str, path-like or binary file
        The file. One that exists is replaced as a whole.
    kind : str
        Class of the estimator.
    parameters : dict
        Its parameters.
    state : FittedState
        The state.
    card : str, default=""
        Text for people who open the file.

    Raises
    ------
    ValueError
        If something cannot be expressed; the message names it.
    """
    module: Any = state.module
    inputs, weighting, source = state.inputs, state.weighting, state.random_state
    values = {
        "parameters": parameters,
        "network": type(module).__name__,
        "parts": {
            "encoder": module.encoder,
            "readout": module.readout,
            **module.architecture,
        },
        "task_weighting": weighting,
        "entries": entries_of(state),
        "inputs": [inputs.schema, inputs.n_features, inputs.feature_names],
        # Only what was learned, because the rest is among the parameters.
        "targets": state.targets.learned,
        "state": {name: getattr(state, name) for name in _VALUES},
        "additions": None if state.additions is None else asdict(state.additions),
        "tensors": {
            "module": module.state_dict(),
            "task_weighting": None if weighting is None else weighting.state_dict(),
            # Left by partial_fit alone, because only its next call goes on with it.
            "optimizer": state.optimizer_state,
            "widths": _packed_widths(state.widths),
        },
        "random_state": None if source is None else source.get_state(legacy=False),
    }
    write(path, kind=kind, values=values, card=card)


def load_state(
    path: Target, kind: str, make: Callable[..., Any]
) -> tuple[Any, FittedState]:
    """Read what :func:`save_state` wrote.

    Parameters
    ----------
    path : str, path-like or binary file
        The file.
    kind : str
        Class of the estimator.
    make : callable
        Makes the estimator from its parameters, and refuses wrong ones.

    Returns
    -------
    estimator : estimator
        Not fitted yet.
    state : FittedState
        What it has learned.

    Raises
    ------
    ValueError
        If the file is of something else, or damaged.
    """
    values = read(path, kind=kind)
    try:
        estimator = make(**values["parameters"])
        device = present_device(estimator.device)
        return estimator, _state_of(values, estimator._targets(), device)
    except MALFORMED as error:
        raise malformed(path, kind, error) from error


def _state_of(
    values: dict[str, Any], targets: Targets, device: torch.device
) -> FittedState:
    """Build what a file describes, and load its tensors."""
    schema, n_features, feature_names = values["inputs"]
    tensors, weighting = values["tensors"], values["task_weighting"]

    def build() -> nn.Module:
        # Copies, because each network builds its own.
        parts = copy.deepcopy(values["parts"])
        network = _NETWORKS[values["network"]]
        made: nn.Module = network(
            parts.pop("encoder"), parts.pop("readout"), schema, **parts
        )
        return made

    # In a forked generator, because building draws numbers that are replaced.
    with seeded(0, device, None):
        require_shapes(build, tensors["module"])
        module = build()
        if weighting is not None:
            # Built first, because a state is loaded into buffers of its shapes.
            weighting.build(len(values["entries"]), values["entries"])
    # Before loading, because weights of float64 would be rounded to float32.
    module = module.to(device, getattr(torch, schema.dtype))
    module.load_state_dict(tensors["module"])
    if weighting is not None:
        weighting = weighting.to(device)
        weighting.load_state_dict(tensors["task_weighting"])
    source, additions = values["random_state"], values["additions"]
    return FittedState(
        Inputs(schema, n_features, feature_names),
        targets.with_learned(values["targets"]),
        module.eval(),
        weighting,
        **values["state"],
        optimizer_state=tensors["optimizer"],
        widths=_unpacked_widths(tensors["widths"]),
        random_state=None if source is None else _unpack(source),
        additions=None if additions is None else Additions(**additions),
    )


def entries_of(state: FittedState) -> list[str]:
    """List the names of the entries of the losses: tasks, then auxiliary tasks."""
    # With a default, because a network of GATE does not have auxiliary tasks.
    tasks: Any = getattr(state.module, "auxiliary", ())
    return [*state.targets.names, *auxiliary_names(list(tasks))]


def on_cpu(state: FittedState) -> FittedState:
    """Give a state whose tensors are on the CPU, for a pickle."""
    parts: dict[str, nn.Module | None] = {
        "module": state.module,
        "weighting": state.weighting,
    }
    moved: dict[str, Any] = {
        # A copy, because cpu() moves a module in place.
        name: copy.deepcopy(part).cpu()
        for name, part in parts.items()
        if part is not None and _on_accelerator(part)
    }
    return replace(state, **moved, optimizer_state=_moved(state.optimizer_state))


def _moved(value: Any) -> Any:
    """Move all tensors in nested containers to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, dict):
        return {key: _moved(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_moved, value))
    return value


def _packed_widths(widths: dict[str, LastLayerPosterior]) -> dict[str, Any]:
    """Express posteriors in what a safe file may hold; each matrix once."""
    # By identity, because tasks with the same rows share one object.
    matrices = {id(width.matrix): width.matrix for width in widths.values()}
    places = {key: place for place, key in enumerate(matrices)}
    return {
        "matrices": [
            {
                "basis": torch.from_numpy(m.basis),
                "values": torch.from_numpy(m.eigenvalues),
            }
            for m in matrices.values()
        ],
        "tasks": {
            name: [places[id(width.matrix)], width.ridge, width.noise]
            for name, width in widths.items()
        },
    }


def _unpacked_widths(packed: dict[str, Any]) -> dict[str, LastLayerPosterior]:
    matrices = [
        GramMatrix(entry["basis"].numpy(), entry["values"].numpy())
        for entry in packed["matrices"]
    ]
    return {
        name: LastLayerPosterior(matrices[place], ridge, noise)
        for name, (place, ridge, noise) in packed["tasks"].items()
    }


def _unpack(packed: dict[str, Any]) -> np.random.RandomState:
    source = np.random.RandomState()
    source.set_state(packed)
    return source


def _on_accelerator(module: nn.Module) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    return any(tensor.device.type != "cpu" for tensor in tensors)
