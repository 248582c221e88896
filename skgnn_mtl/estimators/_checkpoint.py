"""Checkpoints: a fit in progress as a file, which the next fit goes on from.

Everything before the first epoch follows from data, parameters and one seed, and is
computed again. The file therefore holds the seed, the state of the training after an
epoch, and digests by which other data and parameters are refused.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import is_main

from ._io import MALFORMED, Writer, malformed, read, write
from ._state import FittedState

# Raised when the state of a training has another form.
_FORMAT = 1
_KIND = "checkpoint"
# Largest share of the time of a fit that writing takes.
_LARGEST_SHARE = 0.02
# Parameters that do not change what is trained.
FREE = ("checkpoint", "n_jobs", "verbose")
_LONGEST = 60


def checkpoint_path(path: str | PathLike[str]) -> Path:
    """Find where a checkpoint is, or will be.

    Parameters
    ----------
    path : str or path-like
        The parameter ``checkpoint``.

    Returns
    -------
    path : Path
        Without links and relative parts.

    Raises
    ------
    ValueError
        If no file can have this path, or if its folder does not exist.
    """
    try:
        resolved = Path(path).resolve()
        resolved.exists()
    # For instance a null, half of a surrogate pair, or a name that is too long.
    except (OSError, ValueError) as error:
        raise ValueError(
            f"checkpoint={str(path)!r} cannot be the path of a file: {error}."
        ) from error
    if not resolved.parent.is_dir():
        raise ValueError(
            f"checkpoint={str(path)!r} is in a folder that does not exist. Make "
            f"{str(resolved.parent)!r} first."
        )
    return resolved


class Checkpoint:
    """The file of a fit in progress.

    Parameters
    ----------
    path : str or path-like
        The file. One that exists must be of a fit of the same kind with the same
        parameters.
    call : str
        What is in progress, such as "MultiTaskGNNRegressor.fit".
    parameters : dict
        Parameters of the call.

    Raises
    ------
    ValueError
        If no file can be there, if the file is of something else, or if a parameter
        cannot be compared with that of a later process, such as a function.
    """

    def __init__(
        self, path: str | PathLike[str], call: str, parameters: Mapping[str, Any]
    ) -> None:
        self.path, self.call = checkpoint_path(path), call
        self.parameters = {
            name: _described(name, value)
            for name, value in parameters.items()
            if _own_name(name) not in FREE
        }
        self._stages: dict[str, dict[str, Any]] = {}
        self._cost, self._written_at, self._warned = 0.0, 0.0, False
        if self.path.is_dir():
            raise ValueError(
                f"checkpoint={str(path)!r} is a folder, but one network needs a file. "
                "Choose another path."
            )
        # Left by a process that was killed while it wrote.
        for part in self.path.parent.glob(f".{self.path.name}.*.part"):
            part.unlink(missing_ok=True)
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        values = read(self.path, kind=_KIND)
        try:
            self._require_same(values)
            self._stages = dict(values["stages"])
        except _Refused:
            raise
        except MALFORMED as error:
            raise malformed(self.path, _KIND, error) from error

    def _require_same(self, values: dict[str, Any]) -> None:
        """Refuse the file of another call, version or set of parameters."""
        for what, own in (("call", self.call), ("version", _version())):
            if values[what] != own:
                raise _Refused(self.path, [f"{what} was {values[what]}, is {own}"])
        before, differences = values["parameters"], []
        for name in sorted({*before, *self.parameters}):
            was, now = before.get(name), self.parameters.get(name)
            if was != now:
                texts = [entry[0] if entry else "absent" for entry in (was, now)]
                differences.append(f"parameter {name} was {texts[0]}, is {texts[1]}")
        if differences:
            raise _Refused(self.path, differences)

    def stage(self, name: str) -> Stage:
        """Give one training of the fit.

        Parameters
        ----------
        name : str
            Its name, the same in each process.
        """
        return Stage(self, name, self._stages.setdefault(name, {}))

    def is_due(self, final: bool) -> bool:
        """Whether to write now: writing must not take too large a share of the time.

        Of several processes of a fit only the main one writes.

        Parameters
        ----------
        final : bool
            Whether the training has ended, so that it is never too early.
        """
        passed = time.perf_counter() - self._written_at
        due = final or passed >= self._cost / _LARGEST_SHARE
        return due and is_main()

    def write(self) -> None:
        """Write the present state of all stages."""
        started = time.perf_counter()
        values = {
            "call": self.call,
            "version": _version(),
            "parameters": self.parameters,
            "stages": self._stages,
        }
        try:
            # In one line, because it is written often, and not for people.
            write(self.path, kind=_KIND, values=values, indent=None)
        except OSError as error:
            self._warn(error)
        self._written_at = time.perf_counter()
        self._cost = self._written_at - started

    def _warn(self, error: OSError) -> None:
        # A warning, because a full disk must not end a training of many hours.
        if not self._warned:
            warn(
                f"The checkpoint {self.path} cannot be written: {error}. The training "
                "goes on without it."
            )
        self._warned = True

    def finish(self) -> None:
        """Remove the file of a fit that has ended."""
        # Suppressed, because what is fitted must not be lost at this point.
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


class Stage:
    """One training of a fit, in its checkpoint.

    Parameters
    ----------
    checkpoint : Checkpoint
        The file.
    name : str
        Name of the training.
    entry : dict
        Its part of the file; empty in a new fit.
    """

    def __init__(
        self, checkpoint: Checkpoint, name: str, entry: dict[str, Any]
    ) -> None:
        self.checkpoint, self.name, self._entry = checkpoint, name, entry

    @property
    def goes_on(self) -> bool:
        """Whether there is a state from before."""
        return "training" in self._entry

    @property
    def n_epochs(self) -> int:
        """Number of epochs of the state from before."""
        return len(self._entry["training"]["records"]) if self.goes_on else 0

    def seed(self, drawn: int) -> int:
        """Give the seed of the training: that of the file, else the one drawn."""
        seed: int = self._entry.setdefault("seed", drawn)
        return seed

    def require(self, **pieces: Iterable[Any]) -> None:
        """Refuse other data than those that the training began with.

        Parameters
        ----------
        **pieces : iterable
            Arrays, tensors and texts of each piece of the data.

        Raises
        ------
        ValueError
            Naming the pieces that differ.
        """
        known = self._entry.setdefault("data", {})
        now = {name: digest(parts) for name, parts in pieces.items()}
        other = [name for name in now if known.setdefault(name, now[name]) != now[name]]
        if other:
            names = [name.replace("_", " ") for name in other]
            raise _Refused(self.checkpoint.path, [f"{name} differs" for name in names])

    def restore(self, load: Callable[[dict[str, Any]], None]) -> None:
        """Call ``load`` with the state that was kept last, if there is one."""
        if not self.goes_on:
            return
        try:
            load(self._entry["training"])
        except MALFORMED as error:
            raise malformed(self.checkpoint.path, _KIND, error) from error

    def keep(self, collect: Callable[[], dict[str, Any]], final: bool) -> bool:
        """Keep what ``collect`` returns, unless it is too early; tell whether."""
        if not self.checkpoint.is_due(final):
            return False
        # Copies, because the network goes on, and later stages write this one again.
        self._entry["training"] = _copied(collect())
        self.checkpoint.write()
        return True


class _Refused(ValueError):
    """A checkpoint of another fit."""

    def __init__(self, path: Path, differences: list[str]) -> None:
        super().__init__(
            f"The checkpoint {path} is of another fit: {'; '.join(differences)}. Set "
            "them back to go on, delete the file to begin anew, or choose another path."
        )


def graph_parts(graphs: GraphArray) -> list[Any]:
    """List everything that two equal arrays of graphs have in common.

    Parameters
    ----------
    graphs : GraphArray of shape (n,)
        The graphs.

    Returns
    -------
    parts : list
        For :meth:`Stage.require`.
    """
    state = graphs.__getstate__()
    arrays = {**state["_pointers"], **state["_columns"]}
    return [json.dumps(graphs.schema.to_dict()), *dict(sorted(arrays.items())).values()]


def state_parts(state: FittedState | None) -> list[Any]:
    """List what a training that goes on reads of the fitted state.

    Parameters
    ----------
    state : FittedState or None
        None before the first fit.

    Returns
    -------
    parts : list
        For :meth:`Stage.require`.
    """
    if state is None:
        return []
    weighting = state.weighting
    tensors = [state.module.state_dict(), weighting.state_dict() if weighting else {}]
    return [str(state.split_seed), *(t for part in tensors for t in part.values())]


def group_parts(groups: np.ndarray | None) -> list[Any]:
    """List the groups as numbers, in the order in which they appear."""
    return [] if groups is None else [pd.factorize(np.asarray(groups))[0]]


def _copied(value: Any) -> Any:
    """Copy nested containers with their tensors, to the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_copied, value))
    return value


def digest(parts: Iterable[Any]) -> str:
    """Hash arrays with their shapes and types, and texts."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype.str}{part.shape}".encode())
            found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        else:
            found.update(f"{len(part)}:{part}".encode())
    return found.hexdigest()


def _described(name: str, value: Any) -> list[str]:
    """Give a parameter as a text for people and as a digest.

    Raises
    ------
    ValueError
        If the value does not have an expression that another process would find equal.
    """
    if _own_name(name) == "random_state" and not isinstance(value, (int, np.integer)):
        # The seed that was drawn from it is in the file.
        return ["drawn", ""]
    writer, text = Writer(), repr(value)
    try:
        expressed = json.dumps(writer.encode(value, name))
    except ValueError:
        # Splitters and transformers of scikit-learn show all their parameters.
        if not type(value).__module__.startswith("sklearn.") or " at 0x" in text:
            raise ValueError(
                "A checkpoint compares the parameters with those of another process, "
                f"but {name} is {text}, which cannot be compared. Use checkpoint=None, "
                "or numbers, strings and parts of skgnn_mtl."
            ) from None
        expressed = text
    key = digest([expressed, *writer.tensors.values()])
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return [short, key]


def _own_name(name: str) -> str:
    """Give the name that a parameter has in the part that it belongs to."""
    return name.rpartition("__")[2]


def _version() -> str:
    return f"{version('skgnn_mtl')}, format {_FORMAT}"
