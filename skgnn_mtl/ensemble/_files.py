"""Fitted ensembles as files that are safe to load.

A file is an archive. Its header is a tree in JSON: parts of this package and pipelines
by their names, with their parameters and what they have learned. Networks are members
in their own format, arrays are members without pickle, other estimators of scikit-learn
are members of skops.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from io import BytesIO
from types import ModuleType
from typing import Any, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.pipeline import Pipeline

from skgnn_mtl import estimators, featurizers, model_selection
from skgnn_mtl._archive import Target, read_archive, write_archive
from skgnn_mtl._target_transforms import TargetTransforms
from skgnn_mtl.estimators import _io
from skgnn_mtl.metrics._scorers import METRICS

from ._trees import check_trees

FORMAT = "skgnn_mtl.ensemble"
_SHOWN_LETTERS = 160
# Parts of scikit-learn that only hold others.
_PLAIN: dict[str, type[Any]] = {
    "FrozenEstimator": FrozenEstimator,
    "Pipeline": Pipeline,
}
_SPLIT = "sklearn.model_selection._split"
# What skops does not know, but what only computes. Trees are checked.
_TRUSTED = [
    "skgnn_mtl.ensemble._recommended.negative_brier",
    # In a ColumnTransformer, which is not one of our parts.
    "skgnn_mtl.featurizers._crystal_table.CifToDescriptors",
    "skgnn_mtl.featurizers._molecule_table.SmilesToDescriptors",
    "skgnn_mtl.metrics._scorers.RankingScorer",
    "skgnn_mtl.metrics._scorers.TableScorer",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    *(f"{_SPLIT}.{name}" for name in ("GroupKFold", "KFold", "ShuffleSplit")),
    *(f"{_SPLIT}.Stratified{name}" for name in ("GroupKFold", "KFold")),
    "sklearn.tree._tree.Tree",
]
# Metrics of the scorers that a search may have.
_TRUSTED += [
    f"{metric.__module__}.{metric.__qualname__}"
    for metric in (
        *(metric.function for metric in METRICS.values()),
        *(get_scorer(name)._score_func for name in get_scorer_names()),
    )
]


def save(path: Target, model: Any, card: str = "") -> None:
    """Write an ensemble, a pipeline or a featurizer.

    Parameters
    ----------
    path : str, path-like or binary file
        The file. One that exists is replaced as a whole.
    model : estimator
        Fitted.
    card : str, default=""
        Text for people who open the file.

    Raises
    ------
    ValueError
        If a part cannot be expressed; the message names it.
    ImportError
        If a member needs skops, and it is not installed.
    OSError
        If the file cannot be written; an old file is as it was.
    """
    kind = type(model).__name__
    writer = _Writer()
    header = {
        "format": FORMAT,
        "kind": kind,
        "version": version("skgnn_mtl"),
        "model": writer.encode(model, kind),
    }
    write_archive(path, header, writer.members, card)


def load(path: Target, kind: str) -> Any:
    """Read what :func:`save` wrote. Never executes code from the file.

    Parameters
    ----------
    path : str, path-like or binary file
        The file.
    kind : str
        Class that the file must hold.

    Returns
    -------
    model : estimator
        It predicts as the saved one.

    Raises
    ------
    ValueError
        If the file is of something else, or damaged.
    ImportError
        If a member needs skops, and it is not installed.
    """
    header, members = read_archive(path, kind)
    found = header.get("kind")
    if header["format"] != FORMAT or found != kind:
        raise ValueError(f"{path} holds a {found or header['format']}, not a {kind}.")
    try:
        model = _Reader(members).decode(header["model"])
    except _io.MALFORMED as error:
        raise _io.malformed(path, kind, error) from error
    if type(model).__name__ != kind:
        raise ValueError(f"{path} holds a {type(model).__name__}, not a {kind}.")
    return model


def _families() -> dict[str, ModuleType]:
    """Rooms whose public classes are made by their names."""
    return {
        # The package of this file, which is not complete while it imports the file.
        "ensemble": import_module(__package__),
        "featurizers": featurizers,
        "model_selection": model_selection,
    }


def _name(value: Any) -> str | None:
    """Name a class that a file may hold by its name; None for other classes."""
    kind = type(value)
    for name, known in _PLAIN.items():
        if kind is known:
            return name
    for room, module in _families().items():
        if kind.__name__ in module.__all__ and getattr(module, kind.__name__) is kind:
            return f"{room}.{kind.__name__}"
    return None


def _class(name: str) -> type[Any]:
    room, _, kind = name.rpartition(".")
    if name in _PLAIN:
        return _PLAIN[name]
    families = _families()
    if room in families and kind in families[room].__all__:
        found = getattr(families[room], kind)
        if hasattr(found, "get_params") or hasattr(found, "get_n_splits"):
            return cast("type[Any]", found)
    raise ValueError(f"it names a part that is unknown: {name}.")


def _group_functions() -> dict[str, Any]:
    """Functions that a file may hold by their names."""
    names = [name for name in model_selection.__all__ if name.endswith("_groups")]
    return {name: getattr(model_selection, name) for name in names}


def _group_function(name: str) -> Any:
    functions = _group_functions()
    if name not in functions:
        raise ValueError(f"it names a function that is unknown: {name}.")
    return functions[name]


def _network_names() -> list[str]:
    return [n for n in estimators.__all__ if hasattr(getattr(estimators, n), "load")]


class _Writer(_io.Writer):
    """Express also networks, other estimators and large arrays."""

    def __init__(self) -> None:
        super().__init__()
        self.members: dict[str, bytes] = {}

    def _member(self, content: bytes) -> str:
        name = str(len(self.members))
        self.members[name] = content
        return name

    def encode_object(self, value: Any, where: str) -> Any:
        """Express what is no plain value and no container."""
        if isinstance(value, np.ndarray):
            return self._array(value, where)
        if isinstance(value, TargetTransforms):
            return super().encode_object(value, where)
        function = getattr(value, "__name__", "")
        if _group_functions().get(function) is value:
            return {"function": function}
        if type(value).__name__ in _network_names():
            return self._network(value)
        name = _name(value)
        if name is None:
            return {"skops": self._skops(value, where)}
        parameters = _parameters(value)
        learned = {k: v for k, v in vars(value).items() if k not in parameters}
        return {
            "part": name,
            "parameters": self.encode(parameters, where),
            "learned": self.encode(learned, where),
        }

    def _array(self, value: np.ndarray, where: str) -> Any:
        if value.dtype == object:
            return {"objects": self.encode(value.tolist(), where)}
        buffer = BytesIO()
        np.save(buffer, value, allow_pickle=False)
        return {"npy": self._member(buffer.getvalue())}

    def _network(self, value: Any) -> Any:
        kind, buffer = type(value).__name__, BytesIO()
        if value.__sklearn_is_fitted__():
            value.save(buffer)
            return {"fitted": kind, "member": self._member(buffer.getvalue())}
        _io.write(buffer, kind=kind, values=value.get_params(deep=False))
        return {"unfitted": kind, "member": self._member(buffer.getvalue())}

    def _skops(self, value: Any, where: str) -> str:
        if not isinstance(value, BaseEstimator) and not hasattr(value, "get_n_splits"):
            raise ValueError(
                "save() keeps numbers, strings, arrays, and estimators of skgnn_mtl "
                f"and scikit-learn, but {where} is {value!r}. Set it to another value "
                "before fit, or pickle the estimator."
            )
        skops = _import_skops()
        try:
            content: bytes = skops.dumps(value)
            _read_skops(content)
        except Exception as error:
            reason = " ".join(str(error).split())[:_SHOWN_LETTERS]
            raise ValueError(
                f"save() cannot keep {where}, of type {type(value).__name__}, because "
                f"skops refuses it: {reason.rstrip('.')}. Pickle the estimator."
            ) from error
        return self._member(content)


def _parameters(value: Any) -> dict[str, Any]:
    """Find what the constructor of a part takes."""
    if hasattr(value, "get_params"):
        # Not by the method: members of a blend are no parameters of the constructor.
        return {k: vars(value)[k] for k in type(value)._get_param_names()}
    return dict(vars(value))  # a splitter


def _import_skops() -> Any:
    try:
        import skops.io
    except ImportError as error:
        raise ImportError(
            "Files of estimators of scikit-learn need skops: pip install skops."
        ) from error
    return skops.io


def _read_skops(content: bytes) -> Any:
    value = _import_skops().loads(content, trusted=_TRUSTED)
    check_trees(value)
    return value


class _Reader(_io.Reader):
    """Give back what a writer expressed.

    Parameters
    ----------
    members : dict of str to bytes
        The archive.
    """

    def __init__(self, members: dict[str, bytes]) -> None:
        super().__init__({})
        self.members = members

    def decode_object(self, value: dict[str, Any]) -> Any:
        """Give back what :meth:`_Writer.encode_object` expressed."""
        if "npy" in value:
            return np.load(BytesIO(self.members[value["npy"]]), allow_pickle=False)
        if "objects" in value:
            return np.array(self.decode(value["objects"]), dtype=object)
        if "skops" in value:
            return _read_skops(self.members[value["skops"]])
        if "function" in value:
            return _group_function(value["function"])
        if "member" in value:
            return self._network(value)
        if "learned" in value:
            return self._estimator(value)
        return super().decode_object(value)

    def _estimator(self, value: dict[str, Any]) -> Any:
        kind = _class(value["part"])
        part = kind(**self.decode(value["parameters"]))
        for name, learned in self.decode(value["learned"]).items():
            if hasattr(kind, name):
                raise ValueError(f"it would replace {kind.__name__}.{name}.")
            setattr(part, name, learned)
        return part

    def _network(self, value: dict[str, Any]) -> Any:
        name = value.get("fitted", value.get("unfitted"))
        if name not in _network_names():
            raise ValueError(f"it names a part that is unknown: {name}.")
        kind, buffer = getattr(estimators, name), BytesIO(self.members[value["member"]])
        if "fitted" in value:
            return kind.load(buffer)
        return kind(**_io.read(buffer, kind=name))
