"""What all meta-estimators do with the arguments of fit, and when fit fails."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import LeaveOneOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skgnn_mtl.ensemble import (
    BlendClassifier,
    BlendRegressor,
    CalibratedClassifier,
    ConformalRegressor,
    EnsembleClassifier,
    EnsembleRegressor,
    GroupedRegressor,
    HybridClassifier,
    HybridRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)
from skgnn_mtl.model_selection import compare_models

LINE, CLASSES = PerTaskRegressor(Ridge()), PerTaskClassifier(LogisticRegression())
MODELS = [
    LINE,
    GroupedRegressor(LINE, None),
    EnsembleRegressor(LINE, 2),
    EnsembleRegressor(LINE, 2, resample="bootstrap", random_state=0),
    BlendRegressor([("line", LINE)]),
    HybridRegressor(LINE, Ridge(), descriptors=StandardScaler()),
    ConformalRegressor(LINE, method="cross", cv=2),
    CLASSES,
    EnsembleClassifier(CLASSES, 2),
    BlendClassifier([("line", CLASSES)]),
    HybridClassifier(CLASSES, LogisticRegression(), descriptors=StandardScaler()),
    CalibratedClassifier(CLASSES, cv=2),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (np.arange(30), r"groups must have shape \(60,\), but has shape \(30,\)"),
        (np.ones((60, 1)), r"but has shape \(60, 1\)"),
        ([*"ab" * 29, "a", None], r"first in row 59"),
        (np.r_[np.nan, np.arange(59)], r"first in row 0"),
    ],
    ids=["short", "column", "None", "NaN"],
)
def test_each_row_must_have_a_group(model, groups, message, numbers, labels):
    X, y = numbers if hasattr(model, "censored") else labels
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, groups=groups)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("name", ["n_jobs", "checkpoint", "random_state", "censored"])
def test_a_wrong_parameter_is_named(model, name, numbers, labels):
    if name not in model.get_params():
        return
    X, y = numbers if hasattr(model, "censored") else labels
    with pytest.raises(ValueError, match=f"The '{name}' parameter of"):
        clone(model).set_params(**{name: 1.5}).fit(X, y)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_no_row_is_refused_as_such(model, numbers):
    X, y = numbers
    with pytest.raises(ValueError, match=r"found array with 0 sample\(s\)"):
        model.fit(X[:0], y[:0])


def test_each_compared_row_must_have_a_group(numbers):
    with pytest.raises(ValueError, match=r"first in row 1"):
        compare_models({"line": LINE}, *numbers, groups=["a", None, *"ab" * 29])


class Overflowing(DummyRegressor):
    """Predicts infinity for the first row."""

    def predict(self, X):
        return np.r_[np.inf, super().predict(X)[1:]]


@pytest.mark.parametrize("model", MODELS[:6], ids=lambda model: type(model).__name__)
def test_an_infinite_prediction_is_reported_as_missing(model, numbers):
    X, y = numbers
    diverged = clone(model)
    for name in [k for k in model.get_params() if k.split("__")[-1] == "estimator"]:
        if isinstance(model.get_params()[name], Ridge):
            diverged.set_params(**{name: Overflowing()})
    diverged.fit(X, y["Tb"])
    with pytest.warns(UserWarning, match="'Tb': infinite predictions in 1 of 60 rows"):
        found = diverged.predict(X)
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()


def test_a_member_that_overflows_out_of_fold_is_named(numbers):
    X, y = numbers
    members = [("line", LINE), ("over", PerTaskRegressor(Overflowing()))]
    # The first row of each fold, which is its only one.
    model = BlendRegressor(members, weights="oof", cv=LeaveOneOut())
    with (
        pytest.warns(UserWarning, match="infinite predictions in 1 of 1 rows"),
        pytest.raises(ValueError, match="Member 'over' predicts only NaN out of fold"),
    ):
        model.fit(X, y)


@pytest.mark.parametrize(
    "model",
    [
        PerTaskClassifier(RidgeClassifier()),
        EnsembleClassifier(make_pipeline(StandardScaler(), RidgeClassifier())),
        BlendClassifier([("ridge", RidgeClassifier())]),
        HybridClassifier(CLASSES, RidgeClassifier(), descriptors=StandardScaler()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_classifier_without_probabilities_is_refused_before_the_fit(model, labels):
    X, y = labels
    with pytest.raises(TypeError, match="must have predict_proba, which RidgeClass"):
        model.fit(X, y["Tb"])


def test_probabilities_may_come_with_the_fit(labels):
    X, y = labels
    stack = StackingClassifier([("line", LogisticRegression())], cv=2)
    assert PerTaskClassifier(stack).fit(X, y).predict(X).shape == y.shape


class Failing(FunctionTransformer):
    """Refuses some rows."""

    def fit(self, X, y=None):
        raise self.kw_args["error"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("model", MODELS[:2], ids=lambda model: type(model).__name__)
def test_a_fit_that_fails_leaves_the_model_as_it_was(model, error, numbers):
    X, y = numbers
    model, is_outer = clone(model), model is not LINE
    known = model.fit(X, y).predict(X)
    failing = make_pipeline(Failing(kw_args={"error": error}), Ridge())
    nested = "estimator__estimator" if is_outer else "estimator"
    model.set_params(**{nested: failing, "target_transform": "log"})
    others = pd.DataFrame({"viscosity": np.exp(X[:, 0])})
    with pytest.raises(type(error)):
        model.fit(X, others)
    assert model.task_names_ == ["Tb", "logP"]
    np.testing.assert_array_equal(model.predict(X), known)
