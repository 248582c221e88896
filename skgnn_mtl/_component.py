"""The common base of everything that can be plugged into an estimator."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import Signature, signature
from numbers import Integral
from types import ModuleType
from typing import Any, ClassVar

from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import HasMethods, Interval
from torch import nn

from skgnn_mtl._links import TEMPLATE, page_of


class Numbers(Interval):  # type: ignore[misc]
    """Numbers in an interval, as a constraint on a parameter.

    True and False are refused, though Python counts them among the integers, and
    integers that neither NumPy nor a float can hold.
    """

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value is such a number."""
        if not super().is_satisfied_by(val) or isinstance(val, bool):
            return False
        largest = sys.maxsize if self.type is Integral else sys.float_info.max
        # Also in an open interval, because such a number is not meant.
        return not isinstance(val, Integral) or abs(int(val)) <= largest


class Condition(HasMethods):  # type: ignore[misc]
    """A condition on a parameter, by a function.

    Parameters
    ----------
    holds : callable
        Maps a value to whether it is right.
    description : str
        What the value must be, for the message.
    """

    # A subclass, because scikit-learn does not accept constraints of other classes.

    def __init__(self, holds: Callable[[Any], bool], description: str) -> None:
        super().__init__("__class__")
        self.holds, self.description = holds, description

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether a value is right."""
        return self.holds(val)

    def __str__(self) -> str:
        return self.description


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and neither True nor False."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether a value is an integer of at least one, and not True."""
    return is_integer(value) and int(value) >= 1


class Component(nn.Module, BaseEstimator):  # type: ignore[misc]
    """A torch module whose constructor follows scikit-learn's parameter protocol.

    Hyper-parameters go into the constructor, which only assigns; tensors that learn
    are made in ``build``, once the data are known. ``clone`` therefore gives an unbuilt
    part, nested search and ``repr`` come from scikit-learn, and ``state_dict``, ``to``
    and ``train`` come from torch. ``build`` calls ``super().build(...)`` first, which
    checks the parameters that have an entry in ``_parameter_constraints``.

    A constructor may end in ``**options`` and pass these on to that of its base class:
    the parameters of both are parameters of the part.
    """

    # For the "?" of the representation in notebooks.
    _doc_link_module: ClassVar[str] = "skgnn_mtl"
    _doc_link_template: ClassVar[str] = TEMPLATE
    _doc_link_url_param_generator = page_of

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Complete the signature of a constructor that passes ``**options`` on."""
        super().__init_subclass__(**arguments)
        constructor = cls.__dict__.get("__init__")
        if constructor is not None:
            constructor.__signature__ = _complete_signature(cls, constructor)

    def __init__(self) -> None:
        # Because nn.Module's own signature has varargs, which scikit-learn refuses.
        super().__init__()

    def check_parameters(self) -> None:
        """Refuse a parameter that breaks its constraint.

        Raises
        ------
        ValueError
            Naming the parameter and what it must be.
        """
        BaseEstimator._validate_params(self)

    # Because nn.Module would print its (empty) tree of layers, not the parameters.
    __repr__ = BaseEstimator.__repr__


def _complete_signature(cls: type, constructor: Callable[..., Any]) -> Signature:
    """Put the parameters of the base's constructor in the place of ``**options``."""
    own = signature(constructor)
    names = own.parameters
    if not any(p.kind is p.VAR_KEYWORD for p in names.values()):
        return own
    base = next(c for c in cls.__mro__[1:] if "__init__" in c.__dict__)
    inherited = list(signature(vars(base)["__init__"]).parameters.values())[1:]
    parameters = [p for p in names.values() if p.kind is not p.VAR_KEYWORD]
    parameters += [p for p in inherited if p.name not in names]
    return own.replace(parameters=parameters)


def part_names(family: ModuleType, base: type) -> dict[str, type]:
    """Map the short names of a family, class names in lower case, to its classes.

    Parameters
    ----------
    family : module
        Package whose ``__all__`` lists the classes.
    base : type
        Base class of the family.

    Returns
    -------
    names : dict of str to type
        Every concrete subclass of ``base``.
    """
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
        A clone, because the user's own object must stay unbuilt.

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
