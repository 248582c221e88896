"""The constructor: parameters, clones, validation, representation."""

from __future__ import annotations

import copy
import inspect

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone, is_regressor
from sklearn.utils import get_tags
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import Callback

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.encoders import DMPNN, GIN
from skgnn_mtl.readouts import Attention, Mean, Sum
from skgnn_mtl.weighting import Fixed, Uncertainty

# Signature of the architecture, in its order.
SIGNATURE = {
    "encoder": "dmpnn",
    "readout": "auto",
    "head_hidden_dims": (300,),
    "head_activation": "relu",
    "task_weighting": "equal",
    "target_tasks": None,
    "auxiliary_tasks": (),
    "loss": "squared_error",
    "normalize_targets": True,
    "target_transform": None,
    "censored": "raise",
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "lr_schedule": "cosine",
    "gradient_clip": None,
    "batch_size": 64,
    "max_epochs": "auto",
    "early_stopping": False,
    "scoring": "loss",
    "validation": 0.1,
    "n_iter_no_change": 10,
    "weight_averaging": None,
    "hessian_spectrum": False,
    "callbacks": None,
    "checkpoint": None,
    "device": "auto",
    "n_threads": None,
    "warm_start": False,
    "random_state": None,
    "verbose": "auto",
}


def is_built(part) -> bool:
    return bool(list(part.parameters()) or list(part.buffers()))


def test_the_signature_is_the_agreed_one():
    parameters = inspect.signature(MultiTaskGNNRegressor).parameters
    assert {name: p.default for name, p in parameters.items()} == SIGNATURE
    assert list(parameters) == list(SIGNATURE)
    kinds = [p.kind for p in parameters.values()]
    assert kinds[0] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}


def test_every_parameter_has_a_constraint_and_a_paragraph():
    assert set(MultiTaskGNNRegressor._parameter_constraints) == set(SIGNATURE)
    for name in SIGNATURE:
        assert f"\n    {name} : " in MultiTaskGNNRegressor.__doc__


def test_the_default_readout_follows_the_graphs(graphs, gaps):
    """The sum of molecules; the mean of tables, and of crystals, which are no pairs."""
    model = MultiTaskGNNRegressor(GIN(8, n_layers=1), max_epochs=1, random_state=0)
    assert repr(model.fit(graphs, gaps).module_.readout) == repr(Sum(norm=20))
    table = np.random.default_rng(0).normal(size=(30, 2))
    assert isinstance(model.fit(table, gaps).module_.readout, Mean)


def test_tags():
    tags = get_tags(MultiTaskGNNRegressor())
    assert is_regressor(MultiTaskGNNRegressor())
    assert tags.target_tags.required
    assert tags.target_tags.multi_output
    assert tags.target_tags.single_output
    assert not tags.input_tags.allow_nan
    assert not tags.regressor_tags.poor_score


def test_the_constructor_only_assigns():
    encoder, weighting, callbacks = GIN(8), Fixed([1.0]), []
    model = MultiTaskGNNRegressor(
        encoder, task_weighting=weighting, callbacks=callbacks, lr="not a number"
    )
    assert model.encoder is encoder
    assert model.task_weighting is weighting
    assert model.callbacks is callbacks
    assert set(vars(model)) == set(SIGNATURE)


def test_nested_parameters_are_reached():
    model = MultiTaskGNNRegressor(
        GIN(8), readout=Attention(), task_weighting=Fixed([1.0])
    )
    parameters = model.get_params()
    assert parameters["encoder__width"] == 8
    assert parameters["readout__n_heads"] == 1
    model.set_params(
        encoder__width=32, readout__n_heads=2, task_weighting__weights=[2.0], lr=0.5
    )
    assert model.encoder.width == 32
    assert model.readout.n_heads == 2
    assert model.task_weighting.weights == [2.0]
    assert model.lr == 0.5
    with pytest.raises(ValueError, match="depth_of_the_sea"):
        model.set_params(encoder__depth_of_the_sea=1)


def test_replacing_a_part_and_its_parameter_at_once():
    model = MultiTaskGNNRegressor(GIN(8))
    model.set_params(encoder=DMPNN(16), encoder__width=24)
    assert isinstance(model.encoder, DMPNN)
    assert model.encoder.width == 24


def test_clone_is_deep_and_unfitted(small, graphs, gaps):
    model = small(task_weighting=Uncertainty(lr=0.1)).fit(graphs, gaps)
    twin = clone(model)
    assert set(vars(twin)) == set(SIGNATURE)
    assert twin.encoder is not model.encoder
    assert twin.encoder.get_params() == model.encoder.get_params()
    assert twin.task_weighting.lr == 0.1
    twin.set_params(encoder__width=99)
    assert model.encoder.width == 16
    # A built part gives an unbuilt clone.
    assert not is_built(clone(model.module_.encoder))


def test_a_fitted_part_can_be_a_parameter(small, graphs, gaps, same_weights):
    donor = small(random_state=7).fit(graphs, gaps)
    state = {k: v.clone() for k, v in donor.module_.encoder.state_dict().items()}
    with pytest.warns(UserWarning, match="has weights, which this fit does not use"):
        model = small(encoder=donor.module_.encoder).fit(graphs, gaps)
    assert same_weights(model, small().fit(graphs, gaps))
    after = donor.module_.encoder.state_dict()
    assert all((after[key] == state[key]).all() for key in state)


def test_fit_leaves_parameters_and_parts_alone(small, graphs, gaps):
    encoder, readout = GIN(16, n_layers=2), Attention(n_heads=2)
    weighting = Fixed([1.0, 2.0, 3.0])
    model = small(encoder=encoder, readout=readout, task_weighting=weighting)
    before = model.get_params(deep=False)
    kept = copy.deepcopy(
        {k: v.get_params() for k, v in before.items() if hasattr(v, "get_params")}
    )
    model.fit(graphs, gaps)
    model.partial_fit(graphs, gaps)
    after = model.get_params(deep=False)
    assert all(after[name] is before[name] for name in before)
    for name, values in kept.items():
        assert after[name].get_params() == values
    assert not any(is_built(part) for part in (encoder, readout, weighting))


def test_fit_adds_only_fitted_attributes(small, graphs, gaps):
    model = small(early_stopping=True, validation=0.3).fit(graphs, gaps)
    added = set(vars(model)) - set(SIGNATURE)
    assert all(name.startswith("_") or name.endswith("_") for name in added)
    public = {name for name in added if not name.startswith("_")}
    documented = MultiTaskGNNRegressor.__doc__.split("Attributes\n")[1]
    for name in public:
        assert name in documented, f"{name} is not documented"


def test_documented_attributes_exist(small, graphs, gaps):
    model = small().fit(graphs, gaps)
    for name in (
        "module_ task_weighting_ history_ task_names_ n_tasks_ n_features_in_ schema_ "
        "target_mean_ target_scale_ task_weights_ best_epoch_"
    ).split():
        assert hasattr(model, name)


def test_representations(small):
    model = MultiTaskGNNRegressor(GIN(32, norm=None), task_weighting="uncertainty")
    with config_context(print_changed_only=True):
        text = repr(model)
    assert "".join(text.split()) == (
        "MultiTaskGNNRegressor(encoder=GIN(norm=None,width=32),"
        "task_weighting='uncertainty')"
    )
    assert repr(MultiTaskGNNRegressor()) == "MultiTaskGNNRegressor()"
    assert "Fixed(weights=" in repr(small(task_weighting=Fixed(np.ones(3))))
    assert "GIN" in model._repr_html_()


def test_representation_of_a_fitted_estimator(small, graphs, gaps):
    model = small().fit(graphs, gaps)
    assert repr(model) == repr(clone(model))
    assert "MultiTaskGNNRegressor" in model._repr_html_()


INVALID = {
    "encoder": [None, 3, GIN],
    "readout": [None, 1.0, Sum],
    "head_hidden_dims": [3, "ab", (0,), (8, -1), (2.5,), ("8",)],
    "head_activation": ["sine", None],
    "task_weighting": [None, 1.0],
    "target_tasks": [1.5, {"a": 1}],
    "auxiliary_tasks": [None, "atom_masking"],
    "loss": ["mse", None],
    "normalize_targets": ["yes", None],
    "optimizer": ["adamax", None],
    "lr": [0, -1e-3, "fast", None],
    "weight_decay": [-1e-3, None],
    "lr_schedule": ["linear", None],
    "gradient_clip": [0, -1.0, "norm"],
    "batch_size": [0, 1.5, None],
    "max_epochs": [0, -1, 2.5, "many", None],
    "early_stopping": ["yes", None],
    "scoring": ["auc", 1],
    "validation": [0, 1, 1.5, -0.1, 5, "holdout", None],
    "n_iter_no_change": [0, 1.5, None],
    "hessian_spectrum": ["hessian", {"at": (0, 2)}, {"n_lanczo": 3}],
    "callbacks": [3, "early"],
    "device": [3, None, "toaster"],
    "n_threads": [0, -1, 1.5],
    "warm_start": ["yes", None],
    "random_state": ["seed", -1, 1.5],
    "verbose": ["loud", -1],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in INVALID.items() for value in values],
    ids=lambda v: str(v).replace("\n", " "),
)
def test_invalid_values_are_named(small, graphs, gaps, name, value):
    model = small(**{name: value})
    with pytest.raises(InvalidParameterError, match=name):
        model.fit(graphs, gaps)
    with pytest.raises(InvalidParameterError, match=name):
        model.partial_fit(graphs, gaps)
    assert not hasattr(model, "module_")


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("encoder", ["dmpnn", "gat", "gcn", "gin"]),
        ("readout", ["attention", "mean", "sum"]),
        ("task_weighting", ["equal", "fixed", "scaleinvariant", "uncertainty"]),
    ],
)
@pytest.mark.parametrize("value", ["nope", "GIN", ""])
def test_unknown_names_of_parts_list_the_choices(
    small, graphs, gaps, name, choices, value
):
    with pytest.raises(ValueError, match=f"{name}={value!r}") as error:
        small(**{name: value}).fit(graphs, gaps)
    assert all(repr(choice) in str(error.value) for choice in choices)


def test_hyper_parameters_of_parts_are_checked(small, graphs, gaps):
    for encoder, word in [
        (GIN(16, norm="group"), "norm"),
        (GIN(16, activation="swish"), "activation"),
        (GIN(0), "width"),
        (GIN(-8), "width"),
    ]:
        with pytest.raises(ValueError, match=word):
            small(encoder=encoder).fit(graphs, gaps)
    with pytest.raises(ValueError, match="n_heads=3 does not divide"):
        small(readout=Attention(n_heads=3)).fit(graphs, gaps)


def test_callbacks_can_be_cloned(small, graphs, gaps):
    class Quiet(Callback):
        pass

    model = clone(small(callbacks=[Quiet()]))
    assert np.isfinite(model.fit(graphs, gaps).predict(graphs)).all()
