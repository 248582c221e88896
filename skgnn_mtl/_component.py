"""The common base of everything that can be plugged into an estimator."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from sklearn.base import BaseEstimator, clone
from torch import nn


class Component(nn.Module, BaseEstimator):
    """A torch module whose constructor follows scikit-learn's parameter protocol.

    Hyper-parameters go into the constructor, which only assigns; tensors that learn
    are made in ``build``, once the data are known. ``clone`` therefore gives an unbuilt
    part, nested search and ``repr`` come from scikit-learn, and ``state_dict``, ``to``
    and ``train`` come from torch.
    """

    def __init__(self) -> None:
        # nn.Module's own signature has varargs, which scikit-learn refuses.
        super().__init__()

    # nn.Module would print its (empty) tree of layers instead of the parameters.
    __repr__ = BaseEstimator.__repr__


def part_names(family: ModuleType, base: type) -> dict[str, type]:
    """Map the short names of a family to its classes: lower-case class names."""
    members = (getattr(family, name) for name in family.__all__)
    return {
        cls.__name__.lower(): cls
        for cls in members
        if isinstance(cls, type)
        and issubclass(cls, base)
        and cls.__name__ != base.__name__
        and not getattr(cls, "__abstractmethods__", None)
    }


def resolve_part(value: Any, family: ModuleType, base: type, parameter: str) -> Any:
    """Turn a parameter into a fresh, unbuilt part.

    Parameters
    ----------
    value : str or instance of base
        A class name in lower case (the default instance), or an instance.
    family : module
        Package whose ``__all__`` lists the classes.
    base : type
        Base class of the family.
    parameter : str
        Name of the estimator's parameter, for the message.

    Returns
    -------
    part : instance of base
        A clone, so that the user's own object is never built.

    Raises
    ------
    ValueError
        If no class has this name.
    TypeError
        If the value is neither a string nor an instance of ``base``.
    """
    if isinstance(value, str):
        names = part_names(family, base)
        if value not in names:
            raise ValueError(
                f"{parameter}={value!r} is unknown; choose one of {sorted(names)} "
                f"or pass an instance of {base.__name__}."
            )
        return names[value]()
    if not isinstance(value, base):
        raise TypeError(
            f"{parameter} must be a string or an instance of {base.__name__}, "
            f"got {value!r}."
        )
    return clone(value)
