"""Probabilities that are corrected by predictions out of fold."""

import pickle

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph
from skgnn_mtl.ensemble import CalibratedClassifier, PerTaskClassifier
from skgnn_mtl.ensemble._calibration import (
    at_points,
    at_temperature,
    fit_isotonic,
    fit_temperature,
    log_loss,
)

METHODS = ["temperature", "isotonic"]
BAYES = PerTaskClassifier(GaussianNB())


class Told(ClassifierMixin, BaseEstimator):
    """Takes the probability of the second class from the first column."""

    def fit(self, X, y):
        self.classes_ = np.array([0.0, 1.0])
        return self

    def predict_proba(self, X):
        p = np.asarray(X)[:, 0]
        return np.column_stack([1 - p, p])


def overconfident(n, seed=0):
    """Inputs, of which each column stands there four times, and two tasks."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    y = (x + rng.normal(size=(n, 2)) > 0).astype(float)
    y[rng.random(y.shape) < 0.3] = np.nan
    return np.repeat(x, 4, axis=1), y


def loss_of(model, X, y):
    losses = []
    for table, truth in zip(model.predict_proba(X), y.T, strict=True):
        rows = ~np.isnan(truth)
        losses.append(sklearn_log_loss(truth[rows], table[rows]))
    return np.array(losses)


# -- the maps ---------------------------------------------------------------------


def test_a_log_loss_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    p, y, w = rng.random(50), rng.integers(0, 2, 50), rng.random(50)
    expected = sklearn_log_loss(y, p, sample_weight=w)
    assert log_loss(p, y, w) == pytest.approx(expected)


def test_a_temperature_divides_logits():
    p = np.array([0.2, 0.5, 0.9])
    # Odds 1/4, 1 and 9 become 1/2, 1 and 3.
    np.testing.assert_allclose(at_temperature(p, 2.0), [1 / 3, 1 / 2, 3 / 4])
    np.testing.assert_allclose(at_temperature(p, 1.0), p)
    hot = at_temperature(np.array([0.0, 1.0, np.nan]), 3.0)
    assert 0 < hot[0] < 1e-4
    assert 1 - 1e-4 < hot[1] < 1
    assert np.isnan(hot[2])


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_of_a_distorted_classifier_is_found(temperature):
    rng = np.random.default_rng(0)
    true = rng.uniform(0.02, 0.98, 200_000)
    codes = (rng.random(len(true)) < true).astype(float)
    shown = at_temperature(true, 1 / temperature)
    found = fit_temperature(shown, codes, np.ones(len(true)))
    assert found == pytest.approx(temperature, rel=0.02)


def test_the_temperature_has_the_smallest_loss():
    rng = np.random.default_rng(1)
    p, y, w = rng.random(40), rng.integers(0, 2, 40).astype(float), rng.random(40)
    p = 0.5 * p + 0.5 * np.where(y == 1, 0.9, 0.1)
    found = fit_temperature(p, y, w)
    losses = [
        log_loss(at_temperature(p, t), y, w) for t in np.geomspace(0.01, 100, 999)
    ]
    assert log_loss(at_temperature(p, found), y, w) <= min(losses) + 1e-9
    # Of rows that are right in the mean, no other is better.
    right = np.full(2, 0.25), np.array([0.0, 1.0]), np.array([3.0, 1.0])
    assert fit_temperature(*right) == 1.0
    # An order that is wrong, and one that is perfect, have a bound.
    assert fit_temperature(1 - p, y, w) == pytest.approx(1000, rel=0.01)
    sure = fit_temperature(np.where(y == 1, 0.9, 0.1), y, w)
    assert 1e-3 <= sure < 0.1


def test_an_isotonic_map_by_hand():
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    y = np.array([0.0, 1.0, 0.0, 1.0, 1.0])
    points = fit_isotonic(p, y, np.ones(5))
    # The second and third row are in the wrong order, and share their mean.
    np.testing.assert_allclose(at_points(p, points), [0, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(
        at_points([0.0, 0.15, 0.25, 1.0], points), [0, 0.25, 0.5, 1]
    )
    assert np.isnan(at_points(np.array([np.nan]), points)[0])
    weighted = fit_isotonic(p, y, np.array([1.0, 1.0, 3.0, 1.0, 1.0]))
    np.testing.assert_allclose(at_points(p, weighted)[1:3], 0.25)


# -- the estimator ----------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_new_rows_have_a_smaller_loss(method):
    X, y = overconfident(4000)
    plain = clone(BAYES).fit(X[:2000], y[:2000])
    model = CalibratedClassifier(BAYES, method=method, random_state=0)
    model.fit(X[:2000], y[:2000])
    assert (
        loss_of(model, X[2000:], y[2000:]) < 0.85 * loss_of(plain, X[2000:], y[2000:])
    ).all()
    for t, table in enumerate(model.predict_proba(X[2000:])):
        truth = y[2000:, t]
        for low in np.arange(0.1, 0.9, 0.2):
            rows = (table[:, 1] > low) & (table[:, 1] < low + 0.2) & ~np.isnan(truth)
            shown = table[rows, 1].mean()
            assert truth[rows].mean() == pytest.approx(shown, abs=0.09)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "estimator",
    [
        BAYES,
        PerTaskClassifier(DecisionTreeClassifier(max_depth=6)),
        PerTaskClassifier(LogisticRegression()),
    ],
)
def test_the_loss_on_calibration_rows_does_not_grow(method, estimator):
    X, y = overconfident(300, seed=3)
    model = CalibratedClassifier(estimator, method=method, cv=KFold(3)).fit(X, y)
    held_out = np.empty((300, 2))
    for train, test in KFold(3).split(X):
        tables = clone(estimator).fit(X[train], y[train]).predict_proba(X[test])
        held_out[test] = np.column_stack([table[:, 1] for table in tables])
    for t in range(2):
        rows = ~np.isnan(y[:, t])
        p, codes, ones = held_out[rows, t], y[rows, t], np.ones(rows.sum())
        if method == "temperature":
            corrected = at_temperature(p, model.temperatures_[t])
        else:
            corrected = at_points(p, model.points_[t])
        assert log_loss(corrected, codes, ones) <= log_loss(p, codes, ones) + 1e-9


def test_the_estimator_is_fitted_on_all_rows_and_its_order_stays():
    X, y = overconfident(200)
    model = CalibratedClassifier(BAYES, random_state=0).fit(X, y)
    plain = clone(BAYES).fit(X, y)
    tables = zip(model.predict_proba(X), plain.predict_proba(X), strict=True)
    for t, (found, before) in enumerate(tables):
        np.testing.assert_allclose(
            found[:, 1], at_temperature(before[:, 1], model.temperatures_[t])
        )
        assert spearmanr(found[:, 1], before[:, 1])[0] == pytest.approx(1)
    np.testing.assert_array_equal(model.predict(X), plain.predict(X))
    assert (model.temperatures_ > 2).all()


def test_a_method_forgets_the_other_one(labels):
    X, y = labels
    model = CalibratedClassifier(BAYES, cv=2).fit(X, y)
    assert model.temperatures_.shape == (2,)
    before = model.predict_proba(X)
    # Until the next fit, predictions are those of the last one.
    np.testing.assert_array_equal(
        model.set_params(method="isotonic").predict_proba(X), before
    )
    model.fit(X, y)
    assert not hasattr(model, "temperatures_")
    assert [part.shape[0] for part in model.points_] == [2, 2]


def test_weights_count_in_the_correction():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.95, 400)
    y = (rng.random(400) < at_temperature(p, 3.0)).astype(float)
    y[200:] = p[200:] > 0.5
    kept = np.arange(400) < 200
    model = CalibratedClassifier(Told(), cv=KFold(4))
    with pytest.warns(UserWarning, match="fit does not take sample_weight"):
        model.fit(p[:, None], y, sample_weight=np.where(kept, 1.0, 1e-9))
    other = clone(model).fit(p[kept, None], y[kept])
    assert model.temperatures_ == pytest.approx(other.temperatures_, rel=1e-3)
    assert model.temperatures_ > 1.5
    assert clone(model).fit(p[:, None], y).temperatures_ < 1.2


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*one class only:UserWarning")
def test_a_task_of_one_class_is_not_corrected(method, labels):
    X, y = labels
    y["Tb"] = y["Tb"].where(y["Tb"] == 1)
    model = CalibratedClassifier(BAYES, method=method, cv=2).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(X)[0], np.ones((60, 1)))
    assert model.predict_proba(X)[1].shape == (60, 2)


@pytest.mark.parametrize("method", METHODS)
def test_one_task_of_text(method, labels):
    X, y = labels
    words = y["Tb"].map({0.0: "no", 1.0: "yes"})
    model = CalibratedClassifier(BAYES, method=method, cv=2).fit(X, words)
    assert model.predict_proba(X).shape == (60, 2)
    assert set(model.predict(X)) == {"no", "yes"}
    assert model.score(X, words) > 0.9


@pytest.mark.filterwarnings("ignore:.*invalid graph:UserWarning")
@pytest.mark.filterwarnings("ignore:.*are left out:UserWarning")
@pytest.mark.parametrize("method", METHODS)
def test_molecules_that_cannot_be_read_are_nan(method, smiles):
    X, y = smiles
    X[3] = "no molecule"
    network = make_pipeline(
        SmilesToGraph("chemprop", on_error="nan"),
        MultiTaskGNNClassifier(max_epochs=1, random_state=0),
    )
    model = CalibratedClassifier(network, method=method, cv=2, random_state=0)
    model.fit(X, np.column_stack([y[:, 0] > 4, y[:, 0] % 2]).astype(float))
    tables = model.predict_proba([X[0], "nothing"])
    for table in tables:
        assert np.isfinite(table[0]).all()
        assert np.isnan(table[1]).all()


def test_groups_stay_together_in_folds(labels):
    _, y = labels

    class Grouped(Told):
        def fit(self, X, y, groups=None):
            self.groups_ = set(groups)
            return super().fit(X, y)

        def predict_proba(self, X):
            codes = set(np.asarray(X)[:, 1].astype(int) // 6)
            assert len(self.groups_) == 10 or not codes & self.groups_
            return super().predict_proba(X)

    rows = np.column_stack([np.linspace(0.1, 0.9, 60), np.arange(60)])
    y = y["Tb"].fillna(0)
    CalibratedClassifier(Grouped(), random_state=0).fit(
        rows, y, groups=np.arange(60) // 6
    )


# -- the contract -----------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_jobs_pickles_and_searches(method, labels):
    X, y = labels
    model = CalibratedClassifier(BAYES, method=method, cv=3, random_state=0)
    expected = model.fit(X, y).predict_proba(X)
    for other in (
        clone(model).set_params(n_jobs=2).fit(X, y),
        pickle.loads(pickle.dumps(model)),
    ):
        for found, part in zip(other.predict_proba(X), expected, strict=True):
            np.testing.assert_array_equal(found, part)
    search = GridSearchCV(
        model, {"method": METHODS, "estimator__estimator__var_smoothing": [1e-9]}, cv=2
    ).fit(X, y.fillna(1.0))
    assert len(search.predict_proba(X)) == 2
    scaled = make_pipeline(StandardScaler(), clone(model)).fit(X, y)
    assert scaled.predict(X).shape == (60, 2)


def test_what_is_refused(labels):
    X, y = labels
    with pytest.raises(ValueError, match="The 'method' parameter"):
        CalibratedClassifier(BAYES, method="sigmoid").fit(X, y)
    with pytest.raises(TypeError, match="must be a classifier, but is StandardScaler"):
        CalibratedClassifier(StandardScaler()).fit(X, y)
    rare = y["Tb"].where(np.arange(60) != 5, 1.0)
    rare[np.arange(60) != 5] = 0.0
    with pytest.raises(ValueError, match=r"'Tb = 1\.0' has 1 label.*none in the tr"):
        CalibratedClassifier(BAYES, cv=KFold(2)).fit(X, rare)
