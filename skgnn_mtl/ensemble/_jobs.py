"""Fits of members: in parallel, and each kept in a folder as soon as it has ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import isfunction
from io import BytesIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib import Parallel
from sklearn.utils import check_random_state

from skgnn_mtl._callbacks import Job, in_tasks
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl._warn import warn
from skgnn_mtl.estimators._checkpoint import (
    FREE,
    Checkpoint,
    checkpoint_path,
    graph_parts,
)
from skgnn_mtl.graphs import GraphArray

from ._files import load, save

# Name of the file that says of which fit a folder is.
_FIT = "fit"


class Jobs:
    """The fits of members in one call of ``fit``.

    Parameters
    ----------
    model : estimator
        The meta-estimator, whose parameters ``checkpoint`` and ``n_jobs`` are read;
        callbacks hear of its tasks.
    **data : object
        X, y and further arguments of fit, by their names.

    Raises
    ------
    ValueError
        If a member has a checkpoint of its own, if the folder is of another fit, or if
        a part cannot be kept.
    """

    def __init__(self, model: Any, **data: Any) -> None:
        self.model, self.n_jobs = model, model.n_jobs
        self.folder: Path | None = None
        _refuse_inner_checkpoints(model)
        if model.checkpoint is None:
            return
        self.folder = _own_folder(checkpoint_path(model.checkpoint))
        # Now, because a part that no file can hold must not be found after its fit.
        parts = model.get_params(deep=False)
        parts.pop("random_state", None)  # may be a generator, and is in no member
        save(BytesIO(), parts)
        self._fit = Checkpoint(
            self.folder / _FIT, f"{type(model).__name__}.fit", _flat_parameters(model)
        )
        known = self._fit.stage(_FIT)
        known.require(**{name: _parts_of(value) for name, value in data.items()})
        generator = check_random_state(getattr(model, "random_state", None))
        self._seed = known.seed(int(generator.randint(MAX_SEED)))
        self._is_new = True

    def random_state(self, given: Any) -> Any:
        """Give the source of random numbers of this fit.

        Parameters
        ----------
        given : int, RandomState instance or None
            The parameter.

        Returns
        -------
        source : int, RandomState instance or None
            The same; but with a folder, a seed that the next process finds there.
        """
        if self.folder is None or isinstance(given, (int, np.integer)):
            return given
        return self._seed

    def run(
        self, stage: str, jobs: Iterable[Job], names: Iterable[str] = ()
    ) -> list[Any]:
        """Run fits in parallel, each as a task that callbacks are told of.

        Parameters
        ----------
        stage : str
            Their name, the same in each process.
        jobs : iterable of jobs
            In an order that is the same in each process.
        names : iterable of str, default=()
            Names of the first tasks; the others are members.

        Returns
        -------
        results : list
            What the functions return, some of it from an earlier process.
        """
        kept = [self._kept(f"{stage}-{k}", job) for k, job in enumerate(jobs)]
        tasks = in_tasks(self.model, kept, names)
        found: list[Any] = Parallel(n_jobs=self.n_jobs)(tasks)
        return found

    def run_one(self, stage: str, job: Job) -> Any:
        """Run a single fit in this process; as :meth:`run`."""
        ((function, arguments, keywords),) = in_tasks(
            self.model, [self._kept(stage, job)], [stage]
        )
        return function(*arguments, **keywords)

    def _kept(self, name: str, job: Job) -> Job:
        """Let a fit keep what comes out, if there is a folder."""
        if self.folder is None:
            return job
        if self._is_new:
            # Not before the first fit, because what is refused until then is mended,
            # and the mended call would be of another fit.
            self._fit.write()
            self._is_new = False
        function, arguments, keywords = job
        return partial(_kept, self.folder / name, function), arguments, keywords

    def finish(self) -> None:
        """Remove the folder of a fit that has ended."""
        if self.folder is not None:
            # Without a complaint, because what is fitted must not be lost at this
            # point.
            shutil.rmtree(self.folder, ignore_errors=True)


def _kept(
    path: Path, function: Callable[..., Any], member: Any, *data: Any, **keywords: Any
) -> Any:
    """Read the result of a fit, or fit the member and keep what comes out."""
    if path.exists():
        return load(path, dict.__name__)["result"]
    names = list(_checkpoint_parameters(member))
    paths = {name: f"{path}.{k}" for k, name in enumerate(names)}
    if names:
        member.set_params(**paths)
    result = function(member, *data, **keywords)
    # Back, because the fitted member is the user's, and the folder goes.
    if names:
        member.set_params(**dict.fromkeys(names))
    try:
        save(path, {"result": result})
    except (OSError, ValueError) as error:
        # A warning, because a full disk must not undo a fit of many hours.
        warn(f"{path} cannot be written: {error}. The fit goes on without it.")
    return result


def _checkpoint_parameters(member: Any, prefix: str = "") -> Iterator[str]:
    """List the parameters of a member that are checkpoints, also inside of pipelines.

    A meta-estimator has one for all its parts. Others, such as searches, would give the
    same file to several fits at a time.
    """
    if hasattr(member, "checkpoint"):
        yield f"{prefix}checkpoint"
    for name, step in getattr(member, "steps", ()):
        yield from _checkpoint_parameters(step, f"{prefix}{name}__")


def _refuse_inner_checkpoints(model: Any) -> None:
    for name, value in model.get_params(deep=True).items():
        if name.endswith("__checkpoint") and value is not None:
            raise ValueError(
                f"{name} must be None, because several fits would write the same "
                f"file, but is {value!r}. Set checkpoint of "
                f"{type(model).__name__}: its members keep theirs in this folder."
            )


def _flat_parameters(model: Any) -> dict[str, Any]:
    """Name all parameters of a model and its parts."""
    return {
        # A part stands as its class, because its parameters follow by their names.
        name: _kind(value) if _is_part(value) else _plain(value)
        for name, value in model.get_params(deep=True).items()
    }


def _plain(value: Any) -> Any:
    """Express parts inside of containers, such as a grid, by their parameters."""
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if _is_part(value):
        given = value.get_params(deep=False).items()
        return [_kind(value), {k: _plain(v) for k, v in given if k not in FREE}]
    if isfunction(value):
        return f"{value.__module__}.{value.__qualname__}"
    return value


def _is_part(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


def _kind(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _parts_of(rows: Any) -> list[Any]:
    """List what two equal containers of rows have in common, for a checkpoint."""
    if isinstance(rows, GraphArray):
        return graph_parts(rows)
    return [joblib.hash(rows)]


def _own_folder(path: Path) -> Path:
    """Make the folder of a fit, or find that of one before."""
    if path.exists() and not path.is_dir():
        raise ValueError(
            f"checkpoint={str(path)!r} is a file, but several fits need a folder. "
            "Choose another path."
        )
    # A process may have been killed while it wrote the first file.
    others = path.is_dir() and any(f.suffix != ".part" for f in path.iterdir())
    if others and not (path / _FIT).exists():
        raise ValueError(
            f"checkpoint={str(path)!r} is a folder with other files, but is removed at "
            "the end of fit. Choose the path of a folder that does not exist."
        )
    path.mkdir(exist_ok=True)
    return path
