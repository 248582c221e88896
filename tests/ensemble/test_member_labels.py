"""Transforms of labels and bounds, in one place for all members."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import BayesianRidge, Ridge
from sklearn.preprocessing import FunctionTransformer

from skgnn_mtl import MultiTaskGNNRegressor, load
from skgnn_mtl._target_transforms import TargetTransforms
from skgnn_mtl.ensemble import (
    BlendRegressor,
    ConformalRegressor,
    EnsembleRegressor,
    GroupedRegressor,
    HybridRegressor,
    PerTaskRegressor,
)

LINE = PerTaskRegressor(BayesianRidge())
IDENTITY = FunctionTransformer()
KINDS = [
    EnsembleRegressor(LINE, 2, resample="folds", random_state=0),
    BlendRegressor([("a", LINE), ("b", PerTaskRegressor(Ridge()))], weights="oof"),
    HybridRegressor(LINE, BayesianRidge(alpha_1=1.0), descriptors=IDENTITY),
    GroupedRegressor(MultiTaskGNNRegressor(max_epochs=2, random_state=0), None),
    ConformalRegressor(LINE, coverage=0.5, random_state=0),
    ConformalRegressor(LINE, method="cross", normalise="std", random_state=0),
]


class Listener(RegressorMixin, BaseEstimator):
    """A member that knows bounds, and keeps what it is given."""

    def __init__(self, censored="raise"):
        self.censored = censored

    def fit(self, X, y):
        self.y_ = y
        return self

    def predict(self, X):
        return np.zeros(np.shape(self.y_)[1:] and (len(X), np.shape(self.y_)[1]))


@pytest.fixture
def bounded(numbers):
    """X, numbers, and the same with six labels as text: lower bounds, then upper."""
    X, y = numbers
    text = y.astype(object)
    rows = np.flatnonzero(y["Tb"].notna())[:6]
    for k, row in enumerate(rows):
        text.iloc[row, 0] = f"{'><'[k > 2]}{float(y.iloc[row, 0])!r}"
    return X, y, text, rows


@pytest.mark.parametrize("model", KINDS, ids=lambda model: type(model).__name__)
def test_members_learn_logarithms_and_predictions_come_back(model, numbers):
    X, y = numbers
    plain = clone(model).fit(X, y)
    logs = clone(model).set_params(target_transform="log10").fit(X, 10**y)
    mean, std = plain.predict(X, return_std=True)
    assert_allclose(logs.predict(X), 10**mean)
    found, widths = logs.predict(X, return_std=True)
    assert_allclose(found, 10**mean)
    exact = TargetTransforms(("Tb", "logP"), ("log10",) * 2).inverse_std(mean, std)
    assert_allclose(widths, exact)
    ends = plain.predict_interval(X, coverage=0.5)
    assert_allclose(logs.predict_interval(X, coverage=0.5), 10**ends)
    for name in ("weights_", "oof_mse_", "residuals_"):
        if hasattr(plain, name):
            assert_allclose(getattr(logs, name), getattr(plain, name), err_msg=name)
    if hasattr(plain, "oof_predictions_"):
        assert_allclose(logs.oof_predictions_, 10**plain.oof_predictions_)


def test_an_outer_ensemble_has_the_moments_of_an_inner_one_in_its_units(numbers):
    X, y = numbers
    inner = HybridRegressor(
        LINE, BayesianRidge(), descriptors=IDENTITY, target_transform="log10"
    )
    outer = EnsembleRegressor(inner, 1).fit(X, 10**y)
    for found, wanted in zip(
        outer.predict(X, return_std=True),
        inner.fit(X, 10**y).predict(X, return_std=True),
        strict=True,
    ):
        assert_allclose(found, wanted)


def test_one_dimension_and_a_dict_of_transforms(numbers):
    X, y = numbers
    table = y.assign(Tb=np.exp(y["Tb"]))
    model = BlendRegressor([("a", LINE)], target_transform={"Tb": "log"})
    found = model.fit(X, table).predict(X)
    wanted = BlendRegressor([("a", LINE)]).fit(X, y).predict(X)
    assert_allclose(found, np.column_stack([np.exp(wanted[:, 0]), wanted[:, 1]]))
    one = model.fit(X, table["Tb"]).predict(X)
    assert one.shape == (60,)
    assert_allclose(one, found[:, 0])


def test_bounds_are_refused_unless_they_are_meant(bounded):
    X, _, text, rows = bounded
    for model in (*KINDS, LINE):
        with pytest.raises(ValueError, match=rf"6 censored.*in row {rows[0]}. Set cen"):
            clone(model).fit(X, text)
    with pytest.raises(ValueError, match="'censored' parameter of PerTask"):
        clone(LINE).set_params(censored="bounds").fit(X, text)
    with pytest.raises(ValueError, match="'censored' parameter of BlendRegressor"):
        BlendRegressor([("a", LINE)], censored=True).fit(X, text)


def test_a_task_of_bounds_alone_is_refused(bounded):
    X, _, text, _ = bounded
    text["Tb"] = np.array([">5"] * 60, dtype=object)
    text = text.astype(object)
    model = BlendRegressor([("a", LINE)], censored="bound")
    with pytest.raises(ValueError, match="Task 'Tb' has bounds, but no exact label"):
        model.fit(X, text)
    text.iloc[0, 0] = 3.0  # exact, but does not count
    with pytest.raises(ValueError, match="Task 'Tb' has bounds, but no exact label"):
        model.fit(X, text, sample_weight=np.arange(60.0))


@pytest.mark.parametrize("model", [*KINDS, LINE], ids=lambda m: type(m).__name__)
def test_dropped_bounds_are_gaps(model, bounded):
    X, y, text, rows = bounded
    dropped = clone(model).set_params(censored="drop").fit(X, text)
    y.iloc[rows, 0] = np.nan
    assert_allclose(dropped.predict(X), clone(model).fit(X, y).predict(X))


def test_members_without_bounds_learn_their_numbers(bounded):
    X, y, text, _ = bounded
    for model in (LINE, BlendRegressor([("a", LINE)]), EnsembleRegressor(LINE, 1)):
        found = clone(model).set_params(censored="bound").fit(X, text)
        assert_allclose(found.predict(X), clone(model).fit(X, y).predict(X))


def test_members_that_know_bounds_are_given_them(bounded):
    X, y, text, rows = bounded
    parts = [("a", Listener()), ("b", Listener("drop")), ("c", LINE)]
    blend = BlendRegressor(parts, censored="bound").fit(X, text)
    first, second = (blend.named_estimators_[name] for name in "ab")
    assert (first.censored, second.censored) == ("bound", "drop")
    assert parts[0][1].censored == "raise"  # the user's own is as it was
    for member in (first, second):
        # Lower bounds, upper bounds, all digits.
        assert list(member.y_.iloc[rows, 0]) == list(text.iloc[rows, 0])
        rest = np.delete(np.arange(60), rows)
        assert_array_equal(member.y_.iloc[rest].to_numpy(float), y.iloc[rest])


def test_a_falling_transform_turns_bounds_round(bounded):
    X, _, text, rows = bounded
    falling = FunctionTransformer(np.negative, np.negative)
    model = BlendRegressor(
        [("a", Listener())], target_transform={"Tb": falling}, censored="bound"
    ).fit(X, text)
    cells = model.estimators_[0].y_.iloc[rows, 0]
    assert [cell[0] for cell in cells] == ["<"] * 3 + [">"] * 3
    numbers = [float(text.iloc[row, 0][1:]) for row in rows]
    assert [-float(cell[1:]) for cell in cells] == numbers


def test_bounds_inside_of_tasks_and_groups_and_one_dimension(bounded):
    X, _, text, rows = bounded
    for model in (
        PerTaskRegressor(Listener(), censored="bound"),
        GroupedRegressor(Listener(), [["Tb"], ["logP"]], censored="bound"),
    ):
        y = np.asarray(model.fit(X, text).estimators_[0].y_).ravel()
        assert sum(isinstance(cell, str) for cell in y) == 6
    one = EnsembleRegressor(Listener(), 1, censored="bound").fit(X, text["Tb"])
    assert one.estimators_[0].y_.name == "Tb"
    assert one.estimators_[0].y_.iloc[rows[0]] == text.iloc[rows[0], 0]


def test_weights_and_errors_out_of_fold_count_exact_labels(bounded):
    X, y, text, rows = bounded
    # Members that learn nothing, so that weights alone depend on the labels.
    fixed = [
        (str(k), FrozenEstimator(DummyRegressor(strategy="constant", constant=[k, k])))
        for k in (-1.0, 0.5)
    ]
    for _, member in fixed:
        member.estimator.fit(X, np.zeros((60, 2)))
    found = BlendRegressor(fixed, weights="oof", censored="bound", cv=3).fit(X, text)
    y.iloc[rows, 0] = np.nan
    wanted = BlendRegressor(fixed, weights="oof", cv=3).fit(X, y)
    assert_allclose(found.weights_, wanted.weights_)
    assert_allclose(found.oof_mse_, wanted.oof_mse_)


def test_bounds_do_not_calibrate(bounded):
    X, y, text, rows = bounded
    for transform in (None, IDENTITY):
        model = ConformalRegressor(
            LINE, method="cross", censored="bound", target_transform=transform
        ).fit(X, text)
        missing = y.isna().to_numpy(copy=True)
        missing[rows, 0] = True
        assert_array_equal(np.isnan(model.residuals_), missing)
    prefit = ConformalRegressor(LINE.fit(X, y), method="prefit", censored="drop")
    assert np.isnan(prefit.fit(X, text).residuals_[rows, 0]).all()


def test_a_fitted_estimator_has_no_transform_of_the_calibration(numbers):
    X, y = numbers
    model = ConformalRegressor(
        clone(LINE).fit(X, y), method="prefit", target_transform="log"
    )
    with pytest.raises(ValueError, match="must be None with method='prefit'"):
        model.fit(X, y)


def test_infinite_intervals_stay_infinite(numbers):
    X, y = numbers
    model = ConformalRegressor(
        LINE,
        categories=lambda X: np.where(X[:, 0] > 9, "b", "a"),
        coverage=0.5,
        target_transform="log10",
    ).fit(X, 10**y)
    with pytest.warns(UserWarning, match="intervals are infinite"):
        ends = model.predict_interval(np.array([[10.0, 0, 0, 0]]))
    assert_array_equal(ends, [[[-np.inf, np.inf]] * 2])


def test_the_hybrid_gives_bounds_to_its_network_and_numbers_to_its_learner(smiles):
    _, y = smiles
    text = (10**y / 1e3).astype(object)
    text[0, 0], text[3, 0] = ">0.5", "<2"
    network, X = MultiTaskGNNRegressor(max_epochs=1), np.arange(24.0)[:, None]
    model = HybridRegressor(
        network,
        Ridge(),
        descriptors=IDENTITY,
        target_transform="log10",
        censored="bound",
    ).fit(X, text)
    assert model.network_.censored == "bound"
    assert network.censored == "raise"
    numbers = 10**y / 1e3
    numbers[0, 0], numbers[3, 0] = 0.5, 2.0
    line = PerTaskRegressor(Ridge()).fit(X, np.log10(numbers))
    assert_allclose(model.learner_.predict(X), line.predict(X))
    # Half of the sum of the logarithms.
    both = model.network_.predict(X) + line.predict(X)
    assert_allclose(model.predict(X), 10 ** (both / 2))


def test_a_conformal_hybrid_of_concentrations_is_kept_in_a_file(bounded, tmp_path):
    X, _, text, _ = bounded
    text = text.map(lambda v: v if isinstance(v, str) else 10**v)
    text["Tb"] = text["Tb"].map(
        lambda v: f"{v[0]}{10 ** float(v[1:])!r}" if isinstance(v, str) else v
    )
    hybrid = HybridRegressor(
        MultiTaskGNNRegressor(max_epochs=2, random_state=0),
        MultiTaskGNNRegressor(max_epochs=2, random_state=0),
        descriptors=IDENTITY,
    )
    model = ConformalRegressor(
        hybrid, coverage=0.5, target_transform="log10", censored="bound", random_state=0
    ).fit(X, text)
    inner = model.estimator_
    assert inner.censored == inner.network_.censored == "bound"
    assert inner.learner_.estimators_[0].censored == "bound"
    model.save(tmp_path / "model.skgnn")
    again = load(tmp_path / "model.skgnn")
    assert_allclose(again.predict(X), model.predict(X))
    assert again.target_transforms_ == model.target_transforms_


def test_trial_fits_of_groups_have_no_bounds(bounded, monkeypatch):
    X, y, text, rows = bounded
    given = []

    def stop(estimator, X, columns, **others):
        given.append(columns)
        raise InterruptedError

    monkeypatch.setattr("skgnn_mtl.ensemble._grouped.suggest_task_groups", stop)
    with pytest.raises(InterruptedError):
        GroupedRegressor(LINE, censored="bound").fit(X, text)
    y.iloc[rows, 0] = np.nan
    assert_array_equal(given[0].to_numpy(float), y)
