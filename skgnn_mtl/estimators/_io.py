"""Fitted estimators in files: tensors beside JSON, read without executing anything."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack
from dataclasses import asdict
from importlib.metadata import version
from inspect import isfunction
from io import BytesIO
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skgnn_mtl import auxiliary, encoders, metrics, readouts, weighting
from skgnn_mtl._component import Component, part_names
from skgnn_mtl._target_transforms import TargetTransforms
from skgnn_mtl.curvature import HessianSpectrum
from skgnn_mtl.gate import TaskLayout
from skgnn_mtl.graphs import GraphSchema

_FORMAT = "skgnn_mtl.estimator"
# Only classes of these rooms are ever made from a file.
_FAMILIES = {
    "auxiliary": auxiliary,
    "encoders": encoders,
    "readouts": readouts,
    "weighting": weighting,
}
_SCORERS = {
    name: getattr(metrics, name)
    for name in metrics.__all__
    # Without functions such as task_scorer, because they make scorers and are none.
    if name.endswith("_scorer") and not isfunction(getattr(metrics, name))
}


def write(
    path: str | PathLike[str] | BinaryIO,
    *,
    kind: str,
    values: dict[str, Any],
    tensors: dict[str, Any],
) -> None:
    """Write JSON values and tensors into one file.

    Parameters
    ----------
    path : str, path-like or binary file
        The file.
    kind : str
        Class of the estimator.
    values : dict
        What :func:`encode` can express.
    tensors : dict
        State dicts.

    Raises
    ------
    ValueError
        If a value cannot be expressed.
    """
    # Apart from the JSON, because weights of pretrained encoders are tensors.
    sources: list[dict[str, Any]] = []
    header = {
        "format": _FORMAT,
        "kind": kind,
        "version": version("skgnn_mtl"),
        "values": encode(values, kind, sources),
    }
    content = {"header": json.dumps(header), "tensors": tensors, "sources": sources}
    torch.save(content, path)


def read(
    path: str | PathLike[str] | BinaryIO, *, kind: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what :func:`write` wrote.

    Parameters
    ----------
    path : str, path-like or binary file
        The file.
    kind : str
        Class that the file must be of.

    Returns
    -------
    values : dict
        Decoded values.
    tensors : dict
        State dicts, on the CPU.

    Raises
    ------
    ValueError
        If the file is of something else.
    """
    with ExitStack() as stack:
        file: Any = path
        if isinstance(path, (str, PathLike)):
            file = stack.enter_context(open(path, "rb"))
        # Opened outside of the try, because a missing file must be reported as missing.
        try:
            # Weights only, because a pickle could execute code of whoever made the
            # file.
            content = torch.load(file, map_location="cpu", weights_only=True)
            header = json.loads(content["header"])
            known, found = header["format"] == _FORMAT, header["kind"]
        # All classes, because torch raises many kinds for a file of something else.
        except Exception as error:
            raise ValueError(f"{path} is not a saved {kind}.") from error
    if not known or found != kind:
        raise ValueError(f"{path} holds a {found}, not a {kind}.")
    return decode(header["values"], content["sources"]), content["tensors"]


def encode(value: Any, where: str, sources: list[dict[str, Any]]) -> Any:
    """Express a value in JSON.

    Parameters
    ----------
    value : object
        Numbers, strings, arrays, containers, schemas, this package's parts and scorers.
    where : str
        Where the value stands, for the message.
    sources : list of dict
        Receives the weights of pretrained encoders.

    Returns
    -------
    expressed : object
        JSON-ready; whatever JSON cannot express is a dict with one tagged key.

    Raises
    ------
    ValueError
        If the value is something else, for instance a function.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, list):
        return [encode(item, where, sources) for item in value]
    if isinstance(value, tuple):
        # Tagged, because JSON would make a list of it.
        return {"tuple": [encode(item, where, sources) for item in value]}
    if isinstance(value, dict):
        # Pairs under a tag, because keys need not be text, and none may pass for a tag.
        pairs = [
            [encode(k, where, sources), encode(v, f"{where}.{k}", sources)]
            for k, v in value.items()
        ]
        return {"dict": pairs}
    if isinstance(value, np.ndarray):
        return {"array": value.tolist(), "dtype": value.dtype.str}
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, GraphSchema):
        return {"schema": value.to_dict()}
    if isinstance(value, TargetTransforms):
        steps = [value.names, value.steps]
        return {"target_transforms": encode(steps, where, sources)}
    if isinstance(value, TaskLayout):
        return {"layout": encode(asdict(value), where, sources)}
    if isinstance(value, HessianSpectrum):
        # In its own format and as text, because JSON has no bytes.
        buffer = BytesIO()
        value.save(buffer)
        return {"spectrum": base64.b64encode(buffer.getvalue()).decode()}
    for name, scorer in _SCORERS.items():
        # A clone has a copy.
        if type(value) is type(scorer) and vars(value) == vars(scorer):
            return {"scorer": name}
    if isinstance(value, Component) and _family(value):
        parameters = BaseEstimator.get_params(value, deep=False)
        name = f"{_family(value)}.{type(value).__name__}"
        expressed = encode(parameters, f"{where}.{name}", sources)
        source = _source(value)
        if source is None:
            return {"part": name, "parameters": expressed}
        # The source is rebuilt from its schema, because only an unbuilt part is
        # expressed above.
        sources.append(source.state_dict())
        schema = encode(source.schema, where, sources)
        known = {"schema": schema, "weights": len(sources) - 1}
        return {"part": name, "parameters": expressed, "source": known}
    raise ValueError(
        "save() keeps numbers, strings, and parts and ready-made scorers of skgnn_mtl, "
        f"but {where} is {value!r}. Set it to another value first, or pickle the "
        "estimator."
    )


def decode(value: Any, sources: list[dict[str, Any]]) -> Any:
    """Give back what :func:`encode` expressed.

    Parameters
    ----------
    value : object
        Parsed JSON.
    sources : list of dict
        Weights of pretrained encoders.

    Returns
    -------
    original : object
        Parts come back unbuilt, but for the sources of pretrained encoders.
    """
    if isinstance(value, list):
        return [decode(item, sources) for item in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(decode(item, sources) for item in value["tuple"])
    if "dict" in value:
        return {decode(k, sources): decode(v, sources) for k, v in value["dict"]}
    if "array" in value:
        dtype = np.dtype(value["dtype"])
        return np.array(value["array"], dtype=object if dtype.hasobject else dtype)
    if "spectrum" in value:
        return HessianSpectrum.load(BytesIO(base64.b64decode(value["spectrum"])))
    if "target_transforms" in value:
        return TargetTransforms(*decode(value["target_transforms"], sources))
    if "layout" in value:
        return TaskLayout(**decode(value["layout"], sources))
    if "schema" in value:
        return GraphSchema.from_dict(value["schema"])
    if value.get("scorer") in _SCORERS:
        return _SCORERS[value["scorer"]]
    family, _, name = value.get("part", str(value)).partition(".")
    # Looked up and never imported, because the file may come from anywhere.
    members = part_names(_FAMILIES[family], Component) if family in _FAMILIES else {}
    if name.lower() not in members:
        raise ValueError(f"The file names a part that is unknown: {family}.{name}.")
    part = members[name.lower()](**decode(value["parameters"], sources))
    source = _source(part) if "source" in value else None
    if source is not None:
        source.build(decode(value["source"]["schema"], sources))
        source.load_state_dict(sources[value["source"]["weights"]])
        source.eval()
    return part


def _source(part: Component) -> encoders.GraphEncoder | None:
    """Find the encoder whose weights are a parameter of a part."""
    encoder = part.encoder if isinstance(part, encoders.Pretrained) else None
    # The name of a shipped encoder is a parameter like others.
    return encoder if isinstance(encoder, encoders.GraphEncoder) else None


def _family(part: Component) -> str | None:
    """Find the family whose public member a part is; None for a user's own class."""
    cls = type(part)
    for family, module in _FAMILIES.items():
        if getattr(module, cls.__name__, None) is cls:
            return family
    return None
