"""Parameters of parts are checked where these are built, by name."""

from __future__ import annotations

import inspect
from fractions import Fraction
from numbers import Integral, Real

import numpy as np
import pytest
from sklearn.utils._param_validation import StrOptions

from skgnn_mtl import (
    MultiTaskGNNRegressor,
    SmilesToGraph,
    auxiliary,
    encoders,
    readouts,
)
from skgnn_mtl._component import Component, Numbers, is_count, is_integer, part_names
from skgnn_mtl.encoders import CGCNN, DMPNN, GIN, Pretrained
from skgnn_mtl.readouts import Attention, Readout, Sum

nan, inf = np.nan, np.inf
PARTS = [
    cls
    for family in (encoders, readouts, auxiliary)
    for cls in part_names(family, Component).values()
]
NEVER = [True, False, np.True_, np.False_, nan, inf, -inf, "a", "1", None, [], {}, 1j]
NEVER += [np.float32(nan), np.array([1, 2]), -1, -0.1]


@pytest.fixture(scope="module")
def X():
    return SmilesToGraph().transform(["CCO", "CCN", "CC", "C", "CCCl", "CCBr"])


def constraints(kind):
    """All (part, parameter) whose constraints have an entry of a kind."""
    return [
        pytest.param(cls, name, entries, id=f"{cls.__name__}.{name}")
        for cls in PARTS
        for name, entries in cls._parameter_constraints.items()
        if any(isinstance(entry, kind) for entry in entries)
        and name in inspect.signature(cls).parameters
    ]


def build(part, X):
    if isinstance(part, encoders.GraphEncoder):
        return part.build(X.schema)
    if isinstance(part, Readout):
        return part.build(8)
    encoder = GIN(width=8, n_layers=1)
    encoder.build(X.schema)
    return part.build(X.schema, encoder)


def make(cls, **parameters):
    if cls is Pretrained:
        parameters = {"encoder": GIN(width=8, n_layers=1), **parameters}
    return cls(**parameters)


@pytest.mark.parametrize(("cls", "name", "entries"), constraints(Numbers))
def test_what_is_no_number_in_range_is_refused_by_name(cls, name, entries, X):
    allowed = [value for value in NEVER if any(value is e for e in entries)]
    if "boolean" in entries:
        allowed += [True, False, np.True_, np.False_]
    bad = [v for v in NEVER if not any(v is value for value in allowed)]
    if any(isinstance(e, Numbers) and e.type is Integral for e in entries):
        bad += [1.0, 1.5, np.float64(2.0), Fraction(1, 2)]
    for value in bad:
        with pytest.raises(ValueError, match=f"'{name}' parameter of {cls.__name__} "):
            build(make(cls, **{name: value}), X)


@pytest.mark.parametrize(("cls", "name", "entries"), constraints(StrOptions))
def test_what_is_no_option_is_refused_by_name(cls, name, entries, X):
    for value in ("?", "", 1, True, nan, ["batch"], {}, np.array(["batch"])):
        with pytest.raises(ValueError, match=f"'{name}' parameter of {cls.__name__} "):
            build(make(cls, **{name: value}), X)


@pytest.mark.parametrize("cls", PARTS, ids=lambda cls: cls.__name__)
def test_every_number_and_word_of_a_constructor_has_a_constraint(cls):
    # What sets only or lists names is checked elsewhere.
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if isinstance(parameter.default, (bool, int, float, str, type(None)))
    }
    assert set(defaults) <= set(cls._parameter_constraints)


@pytest.mark.parametrize("value", [0, 0.0, 0.25, np.float32(0.5), np.float64(0.999)])
def test_probabilities_are_accepted(value, X):
    for cls in (GIN, DMPNN, encoders.GAT, encoders.GCN, encoders.GraphSAGE, CGCNN):
        part = cls(width=np.int64(8), n_layers=2, dropout=value)
        part.build(X.schema)
        assert part.drop.p == value


@pytest.mark.parametrize("value", [True, nan, "a", -0.1, 1, 1.0, 1.5, np.True_, None])
@pytest.mark.parametrize("encoder", [GIN, DMPNN])
def test_fits_name_the_parameter(encoder, value, X):
    model = MultiTaskGNNRegressor(encoder(width=8, dropout=value), max_epochs=1)
    with pytest.raises(ValueError, match="'dropout' parameter"):
        model.fit(X, np.arange(6.0))
    assert not hasattr(model, "module_")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"encoder": GIN(width=8, n_layers=True)}, "n_layers"),
        ({"encoder": GIN(width=0)}, "width"),
        ({"readout": Sum(norm=0)}, "norm"),
        ({"readout": Sum(norm=nan)}, "norm"),
        ({"readout": Attention(n_heads=0)}, "n_heads"),
        ({"auxiliary_tasks": [auxiliary.AtomMasking(rate=nan)]}, "rate"),
        ({"auxiliary_tasks": [auxiliary.ContextPrediction(radius=True)]}, "radius"),
        ({"auxiliary_tasks": [auxiliary.Infomax(scaling="big")]}, "scaling"),
    ],
)
def test_all_parts_of_a_fit_are_checked(parameters, name, X):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        MultiTaskGNNRegressor(max_epochs=1).set_params(**parameters).fit(
            X, np.arange(6.0)
        )


def test_a_part_of_ones_own_may_state_constraints(X):
    class Scaled(GIN):
        _parameter_constraints = {  # noqa: RUF012
            **GIN._parameter_constraints,
            "factor": [Numbers(Real, 0, 1, closed="both")],
        }

        def __init__(self, width=8, *, factor=1.0):
            super().__init__(width, n_layers=1)
            self.factor = factor

    Scaled(factor=1).build(X.schema)
    for value in (True, 1.1, nan):
        with pytest.raises(ValueError, match="'factor' parameter of Scaled"):
            Scaled(factor=value).build(X.schema)


def test_intervals_of_numbers():
    closed, open_ = (Numbers(Real, 0, 1, closed=c) for c in ("both", "neither"))
    assert [closed.is_satisfied_by(v) for v in (0, 0.0, 1, np.float32(1))] == [True] * 4
    assert [open_.is_satisfied_by(v) for v in (0, 1.0)] == [False] * 2
    whole = Numbers(Real, None, None, closed="neither")
    assert not any(whole.is_satisfied_by(v) for v in (inf, -inf, nan, True, np.True_))
    assert whole.is_satisfied_by(-1e300)
    assert not any(whole.is_satisfied_by(v) for v in (10**400, -(10**400)))
    count = Numbers(Integral, 1, None, closed="left")
    assert [count.is_satisfied_by(v) for v in (2**63 - 1, 2**63)] == [True, False]


@pytest.mark.parametrize(
    ("value", "integer", "count"),
    [
        (1, 1, 1),
        (np.int8(3), 1, 1),
        (0, 1, 0),
        (-2, 1, 0),
        (True, 0, 0),
        (False, 0, 0),
        (np.True_, 0, 0),
        (1.0, 0, 0),
        (np.float64(1), 0, 0),
        ("1", 0, 0),
        (None, 0, 0),
    ],
)
def test_integers_and_counts(value, integer, count):
    assert is_integer(value) == bool(integer)
    assert is_count(value) == bool(count)
