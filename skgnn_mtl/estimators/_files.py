"""Fitted states as files that are safe to load."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import asdict, replace
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import nn

from skgnn_mtl.auxiliary import auxiliary_names
from skgnn_mtl.curvature import GramMatrix, LastLayerPosterior
from skgnn_mtl.gate import GATEModel
from skgnn_mtl.training import MultiTaskModel

from ._compute import seeded
from ._inputs import Inputs
from ._io import read, write
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
    path: str | PathLike[str], kind: str, parameters: dict[str, Any], state: FittedState
) -> None:
    """Write a fitted state, and the parameters of its estimator.

    Parameters
    ----------
    path : path-like
        The file.
    kind : str
        Class of the estimator.
    parameters : dict
        Its parameters.
    state : FittedState
        The state.

    Raises
    ------
    ValueError
        If something cannot be expressed; the message names it.
    """
    module: Any = state.module
    inputs = state.inputs
    values = {
        "parameters": parameters,
        "network": type(module).__name__,
        "parts": {
            "encoder": module.encoder,
            "readout": module.readout,
            **module.architecture,
        },
        "task_weighting": state.weighting,
        "entries": entries_of(state),
        "inputs": [inputs.schema, inputs.n_features, inputs.feature_names],
        # Only what was learned, because the rest is among the parameters.
        "targets": state.targets.learned,
        "state": {name: getattr(state, name) for name in _VALUES},
        "additions": None if state.additions is None else asdict(state.additions),
    }
    tensors: dict[str, Any] = {"module": module.state_dict()}
    if state.weighting is not None:
        tensors["task_weighting"] = state.weighting.state_dict()
    if state.optimizer_state is not None:
        # Left by partial_fit alone, because only its next call goes on with it.
        tensors["optimizer"] = state.optimizer_state
    if state.widths:
        tensors["widths"] = _packed_widths(state.widths)
    if state.random_state is not None:
        tensors["random_state"] = _pack(state.random_state)
    write(path, kind=kind, values=values, tensors=tensors)


def load_state(
    path: str | PathLike[str], kind: str
) -> tuple[dict[str, Any], Callable[[Targets, torch.device], FittedState]]:
    """Read what :func:`save_state` wrote.

    Parameters
    ----------
    path : path-like
        The file.
    kind : str
        Class of the estimator.

    Returns
    -------
    parameters : dict
        Parameters of the estimator.
    make_state : callable
        Maps its targets, with nothing learned yet, and a device to the state.

    Raises
    ------
    ValueError
        If the file is of something else.
    """
    values, tensors = read(path, kind=kind)

    # A function, because the targets come from an estimator of these parameters.
    def make_state(targets: Targets, device: torch.device) -> FittedState:
        schema, n_features, feature_names = values["inputs"]
        # In a forked generator, because building draws numbers that are replaced.
        with seeded(0, device, None):
            build = _NETWORKS[values["network"]]
            parts = dict(values["parts"])
            module: nn.Module = build(
                parts.pop("encoder"), parts.pop("readout"), schema, **parts
            )
            weighting = values["task_weighting"]
            if weighting is not None:
                # Built first, because a state is loaded into buffers of its shapes.
                weighting.build(len(values["entries"]), values["entries"])
        # Before loading, because weights of float64 would be rounded to float32.
        module = module.to(device, getattr(torch, schema.dtype))
        module.load_state_dict(tensors["module"])
        if weighting is not None:
            weighting = weighting.to(device)
            weighting.load_state_dict(tensors["task_weighting"])
        state = FittedState(
            Inputs(schema, n_features, feature_names),
            targets.with_learned(values["targets"]),
            module.eval(),
            weighting,
            **values["state"],
            optimizer_state=tensors.get("optimizer"),
            widths=_unpacked_widths(tensors.get("widths", {})),
        )
        if "random_state" in tensors:
            state = replace(state, random_state=_unpack(tensors["random_state"]))
        if values["additions"] is not None:
            state = replace(state, additions=Additions(**values["additions"]))
        return state

    return values["parameters"], make_state


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
        for entry in packed.get("matrices", ())
    ]
    return {
        name: LastLayerPosterior(matrices[place], ridge, noise)
        for name, (place, ridge, noise) in packed.get("tasks", {}).items()
    }


def _pack(source: np.random.RandomState) -> dict[str, Any]:
    """Express the state of a generator in what a safe file may hold."""
    state: dict[str, Any] = dict(source.get_state(legacy=False))
    # int64, because torch supports uint32 only in part.
    state["key"] = torch.from_numpy(state["state"]["key"].astype(np.int64))
    state["pos"] = state.pop("state")["pos"]
    return state


def _unpack(packed: dict[str, Any]) -> np.random.RandomState:
    source = np.random.RandomState()
    state = {"key": packed["key"].numpy().astype(np.uint32), "pos": packed["pos"]}
    names = ("bit_generator", "has_gauss", "gauss")
    source.set_state({"state": state, **{name: packed[name] for name in names}})
    return source


def _on_accelerator(module: nn.Module) -> bool:
    tensors = (*module.parameters(), *module.buffers())
    return any(tensor.device.type != "cpu" for tensor in tensors)
