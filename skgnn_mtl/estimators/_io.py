"""Fitted estimators in files: tensors beside JSON, read without executing anything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from inspect import isfunction
from os import PathLike
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from sklearn.base import BaseEstimator
from torch import nn

from skgnn_mtl import auxiliary, encoders, metrics, optimizers, readouts, weighting
from skgnn_mtl._archive import Target, read_archive, write_archive
from skgnn_mtl._component import Component, part_names
from skgnn_mtl._target_transforms import TargetTransforms
from skgnn_mtl.curvature import HessianSpectrum
from skgnn_mtl.gate import TaskLayout
from skgnn_mtl.graphs import GraphSchema

FORMAT = "skgnn_mtl.estimator"
_TENSORS = "tensors.safetensors"
# Only classes of these rooms are ever made from a file.
_FAMILIES = {
    "auxiliary": auxiliary,
    "encoders": encoders,
    "optimizers": optimizers,
    "readouts": readouts,
    "weighting": weighting,
}
_SCORERS = {
    name: getattr(metrics, name)
    for name in metrics.__all__
    # Without functions such as task_scorer, because they make scorers and are none.
    if name.endswith("_scorer") and not isfunction(getattr(metrics, name))
}
# What a crafted tree may raise; a damaged file is found by its checksum.
MALFORMED = (
    *(ArithmeticError, AttributeError, BadZipFile, LookupError, MemoryError),
    *(RecursionError, RuntimeError, SafetensorError, TypeError, ValueError),
)


def write(
    target: Target,
    *,
    kind: str,
    values: dict[str, Any],
    card: str = "",
    indent: int | None = 1,
) -> None:
    """Write values and tensors into one file.

    Parameters
    ----------
    target : str, path-like or binary file
        The file. One that exists is replaced as a whole.
    kind : str
        Class of the estimator.
    values : dict
        What a :class:`Writer` can express.
    card : str, default=""
        Text for people who open the file, which is a zip archive.
    indent : int or None, default=1
        Indentation of the JSON; None is one line, which is written much faster.

    Raises
    ------
    ValueError
        If a value cannot be expressed.
    OSError
        If the file cannot be written; an old file is as it was.
    """
    writer = Writer()
    header = {
        "format": FORMAT,
        "kind": kind,
        "version": version("skgnn_mtl"),
        "values": writer.encode(values, kind),
    }
    members = {_TENSORS: save_tensors(writer.tensors)}
    write_archive(target, header, members, card, indent=indent)


def read(source: Target, *, kind: str) -> dict[str, Any]:
    """Read what :func:`write` wrote.

    Parameters
    ----------
    source : str, path-like or binary file
        The file.
    kind : str
        Class that the file must be of.

    Returns
    -------
    values : dict
        Decoded values; tensors are on the CPU.

    Raises
    ------
    ValueError
        If the file is of something else, or damaged.
    """
    header, members = read_archive(source, kind)
    found = header.get("kind")
    if header["format"] != FORMAT or found != kind:
        raise ValueError(f"{source} holds a {found or header['format']}, not a {kind}.")
    try:
        reader = Reader(load_tensors(members[_TENSORS]))
        values: dict[str, Any] = reader.decode(header["values"])
        return values
    except MALFORMED as error:
        raise malformed(source, kind, error) from error


def malformed(source: Any, kind: str, error: BaseException) -> ValueError:
    """Make the error for a whole file whose content makes no sense.

    Parameters
    ----------
    source : object
        The file.
    kind : str
        What it should hold.
    error : BaseException
        What its reader met.

    Returns
    -------
    error : ValueError
        For the user.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{source} is not a valid {kind}: {reason}")


class Writer:
    """Express values in JSON, and gather the tensors.

    Attributes
    ----------
    tensors : dict of str to Tensor
        By the names that stand in the JSON.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}

    def encode(self, value: Any, where: str) -> Any:
        """Express a value.

        Parameters
        ----------
        value : object
            Numbers, strings, arrays, tensors, containers, schemas, this package's parts
            and scorers.
        where : str
            Where the value stands, for the message.

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
        if isinstance(value, PathLike):
            value = str(value)
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        if isinstance(value, list):
            return [self.encode(item, where) for item in value]
        if isinstance(value, tuple):
            # Tagged, because JSON would make a list of it.
            return {"tuple": [self.encode(item, where) for item in value]}
        if isinstance(value, Mapping):
            # Pairs under a tag, because keys need not be text, and none may pass for a
            # tag.
            pairs = [
                [self.encode(k, where), self.encode(v, f"{where}.{k}")]
                for k, v in value.items()
            ]
            return {"dict": pairs}
        return self.encode_object(value, where)

    def encode_object(self, value: Any, where: str) -> Any:
        """Express what is no plain value and no container.

        Parameters
        ----------
        value : object
            Arrays, tensors, schemas, parts and scorers.
        where : str
            Where the value stands, for the message.

        Returns
        -------
        expressed : object
            JSON-ready.

        Raises
        ------
        ValueError
            If the value is something else.
        """
        if isinstance(value, torch.Tensor):
            name = str(len(self.tensors))
            # A copy, because tensors in a file must not share memory.
            self.tensors[name] = value.detach().cpu().contiguous().clone()
            return {"tensor": name}
        if isinstance(value, np.ndarray):
            return {"array": value.tolist(), "dtype": value.dtype.str}
        if isinstance(value, torch.device):
            return str(value)
        if isinstance(value, GraphSchema):
            return {"schema": value.to_dict()}
        if isinstance(value, TargetTransforms):
            steps = [value.names, value.steps]
            return {"target_transforms": self.encode(steps, where)}
        if isinstance(value, TaskLayout):
            return {"layout": self.encode(asdict(value), where)}
        if isinstance(value, HessianSpectrum):
            parts = {f.name: getattr(value, f.name) for f in fields(value)}
            return {"spectrum": self.encode(parts, where)}
        for name, scorer in _SCORERS.items():
            # A clone has a copy.
            if type(value) is type(scorer) and vars(value) == vars(scorer):
                return {"scorer": name}
        if isinstance(value, Component) and _family(value):
            return self._part(value, where)
        raise ValueError(
            "save() keeps numbers, strings, and parts and ready-made scorers of "
            f"skgnn_mtl, but {where} is {value!r}. Set it to another value first, or "
            "pickle the estimator."
        )

    def _part(self, value: Component, where: str) -> dict[str, Any]:
        name = f"{_family(value)}.{type(value).__name__}"
        parameters = BaseEstimator.get_params(value, deep=False)
        part = {"part": name, "parameters": self.encode(parameters, f"{where}.{name}")}
        source = _source(value)
        if source is not None:
            # Rebuilt from its schema, because only an unbuilt part is expressed above.
            schema, state = source.schema, source.state_dict()
            part["source"] = self.encode([schema, state], where)
        return part


class Reader:
    """Give back what a :class:`Writer` expressed.

    Parameters
    ----------
    tensors : dict of str to Tensor
        By the names that stand in the JSON.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = tensors

    def decode(self, value: Any) -> Any:
        """Give back a value.

        Parameters
        ----------
        value : object
            Parsed JSON.

        Returns
        -------
        original : object
            Parts come back unbuilt, but for the sources of pretrained encoders.
        """
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "tuple" in value:
            return tuple(self.decode(value["tuple"]))
        if "dict" in value:
            return {self.decode(k): self.decode(v) for k, v in value["dict"]}
        return self.decode_object(value)

    def decode_object(self, value: dict[str, Any]) -> Any:
        """Give back what :meth:`Writer.encode_object` expressed.

        Parameters
        ----------
        value : dict
            Parsed JSON with a tag.

        Returns
        -------
        original : object
            The value.

        Raises
        ------
        ValueError
            If the tag, or a part that it names, is unknown.
        """
        if "tensor" in value:
            return self.tensors[value["tensor"]]
        if "array" in value:
            return _array(value["array"], np.dtype(value["dtype"]))
        if "spectrum" in value:
            return HessianSpectrum(**self.decode(value["spectrum"]))
        if "target_transforms" in value:
            return TargetTransforms(*self.decode(value["target_transforms"]))
        if "layout" in value:
            return TaskLayout(**self.decode(value["layout"]))
        if "schema" in value:
            return GraphSchema.from_dict(value["schema"])
        if value.get("scorer") in _SCORERS:
            return _SCORERS[value["scorer"]]
        return self._part(value)

    def _part(self, value: dict[str, Any]) -> Component:
        family, _, name = str(value.get("part", value)).partition(".")
        # Looked up and never imported, because the file may come from anywhere.
        room = _FAMILIES.get(family)
        members = {} if room is None else part_names(room, Component)
        if name.lower() not in members:
            raise ValueError(f"it names a part that is unknown: {family}.{name}.")
        part: Component = members[name.lower()](**self.decode(value["parameters"]))
        source = _source(part) if "source" in value else None
        if source is not None:
            schema, state = self.decode(value["source"])
            require_shapes(lambda: _built(copy.deepcopy(source), schema), state)
            source.build(schema)
            source.load_state_dict(state)
            source.eval()
        return part


def _built(encoder: encoders.GraphEncoder, schema: GraphSchema) -> nn.Module:
    encoder.build(schema)
    return encoder


def require_shapes(build: Callable[[], nn.Module], state: Mapping[str, Any]) -> None:
    """Compare shapes of a module with those of a file, before it takes memory.

    Parameters
    ----------
    build : callable
        Makes the module.
    state : dict of str to Tensor
        Its tensors in the file.

    Raises
    ------
    ValueError
        If the file lacks a tensor of the module, or has others.
    """
    # Without values, because a crafted file may name a width that fills the memory.
    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in build().state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    odd = sorted(n for n in {*wanted, *found} if wanted.get(n) != found.get(n))
    if odd:
        raise ValueError(
            f"its tensor {odd[0]!r} has shape {found.get(odd[0])}, but its parameters "
            f"say {wanted.get(odd[0])}."
        )


def _array(items: Any, dtype: np.dtype) -> np.ndarray:
    """Make an array; text is as wide as the longest one, whatever the file says."""
    if dtype.hasobject:
        return np.array(items, dtype=object)
    return np.array(items, dtype=str if dtype.kind == "U" else dtype)


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
