"""Sets of classes that hold the true one in a wanted share of rows."""

import pickle

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph
from skgnn_mtl.ensemble import ConformalClassifier, PerTaskClassifier
from skgnn_mtl.ensemble._crepes import label_sets

pytest.importorskip("crepes")
LINE = PerTaskClassifier(LogisticRegression())


class Told(ClassifierMixin, BaseEstimator):
    """Takes the probability of the second class from the first column."""

    def fit(self, X, y):
        self.classes_ = np.array([0.0, 1.0])
        return self

    def predict_proba(self, X):
        p = np.asarray(X)[:, 0]
        return np.column_stack([1 - p, p])


def binary(n, seed, shift=0.0):
    """Two tasks with gaps; the second class is rare with a shift."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = (X[:, :2] + rng.normal(size=(n, 2)) > shift).astype(float)
    y[rng.random(y.shape) < 0.3] = np.nan
    return X, y


def covered(model, X, y, coverage=None):
    """Share of the labels of each task inside of the sets."""
    shares = []
    for sets, truth in zip(model.predict_set(X, coverage), y.T, strict=True):
        rows = ~np.isnan(truth)
        shares.append(sets[rows, truth[rows].astype(int)].mean())
    return np.array(shares)


# -- quantiles by hand ------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "coverage", "rank"), [(9, 0.9, 9), (9, 0.7, 7), (19, 0.9, 18), (4, 0.8, 4)]
)
def test_a_class_is_in_the_set_up_to_the_score_of_its_rank(n, coverage, rank):
    scores = np.random.default_rng(0).permutation(np.arange(1.0, n + 1)) / 100
    new = np.array([[rank, rank + 0.5], [rank - 0.5, 99]]) / 100
    sets = label_sets(scores, None, new_scores=new, coverage=coverage)
    np.testing.assert_array_equal(sets, [[True, False], [True, False]])


def test_sets_by_hand():
    # Scores of the true class: .1 .2 .3 .4 .1 .2 .3 .4 .5; at 0.8 the rank is 8.
    p = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0, 1.0])
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 1.0])
    model = ConformalClassifier(
        Told(), coverage=0.8, cv=[([9, 10], list(range(9)))]
    ).fit(p[:, None], y)
    np.testing.assert_allclose(
        model.scores_[:, 0], [0.1, 0.2, 0.3, 0.4, 0.1, 0.2, 0.3, 0.4, 0.5]
    )
    found = model.predict_set([[0.3], [0.65], [0.5]])
    np.testing.assert_array_equal(found, [[True, False], [False, True], [False] * 2])
    # At 0.9 the rank is 9, the score 0.5.
    assert model.predict_set([[0.5]], coverage=0.9).all()
    # One class at a time: of 4 scores the fourth, 0.4, and of 5 the fifth, 0.5.
    model.set_params(class_conditional=True).fit(p[:, None], y)
    found = model.predict_set([[0.45], [0.55], [0.35]])
    np.testing.assert_array_equal(found, [[False, False], [False, True], [True, False]])
    np.testing.assert_array_equal(model.predict_set([[0.5]]), [[False, True]])


def test_classes_are_conditioned_on_as_in_the_fit(labels):
    X, y = labels
    for by_class in (False, True):
        model = ConformalClassifier(LINE, class_conditional=by_class, coverage=0.6)
        expected = model.set_params(random_state=0).fit(X, y).predict_set(X)
        model.set_params(class_conditional=not by_class)
        np.testing.assert_array_equal(model.predict_set(X), expected)


# -- coverage ---------------------------------------------------------------------


@pytest.mark.parametrize("share", np.arange(0.01, 0.5, 0.03))
def test_equal_probabilities_are_covered_together(share):
    # 1 - (1 - p) is above or below p by rounding, but all rows have one score.
    X = np.full((100, 1), share)
    y = (np.arange(100) < round(100 * share)).astype(float)
    model = ConformalClassifier(Told().fit(X, y), method="prefit", coverage=0.5)
    np.testing.assert_array_equal(model.fit(X, y).predict_set(X[:1]), [[True, False]])
    model = ConformalClassifier(Told().fit(X, y), method="prefit", coverage=0.5)
    found = model.fit(1 - X, 1 - y).predict_set(1 - X[:1])
    np.testing.assert_array_equal(found, [[False, True]])


@pytest.mark.parametrize("method", ["split", "cross"])
def test_the_mean_coverage_over_calibration_sets(method):
    shares, n = [], 60
    for seed in range(30):
        X, y = binary(n + 300, seed)
        model = ConformalClassifier(LINE, method=method, cv=2, random_state=seed)
        shares.append(covered(model.fit(X[:n], y[:n]), X[n:], y[n:]))
    mean = np.mean(shares, axis=0)
    assert (mean > 0.9 - 3 * 0.065 / np.sqrt(30)).all()
    assert (mean < 0.9 + 1 / 22 + 3 * 0.065 / np.sqrt(30)).all()


def test_a_rare_class_is_covered_by_its_own_quantile():
    X, y = binary(6000, 0, shift=1.8)
    plain = ConformalClassifier(LINE, random_state=0).fit(X[:3000], y[:3000])
    by_class = clone(plain).set_params(class_conditional=True)
    by_class.fit(X[:3000], y[:3000])
    for label in (0.0, 1.0):
        part = np.where(y[3000:] == label, label, np.nan)
        share = covered(by_class, X[3000:], part)
        assert share == pytest.approx(0.9, abs=0.07)
    rare = np.where(y[3000:] == 1, 1.0, np.nan)
    assert (covered(plain, X[3000:], rare) < 0.6).all()
    assert covered(plain, X[3000:], y[3000:]) == pytest.approx(0.9, abs=0.03)


# -- shapes and rows --------------------------------------------------------------


def test_sets_have_the_shape_of_probabilities(labels):
    X, y = labels
    model = ConformalClassifier(LINE, method="cross", random_state=0).fit(X, y)
    sets, tables = model.predict_set(X), model.predict_proba(X)
    assert [part.shape for part in sets] == [part.shape for part in tables]
    assert all(part.dtype == bool for part in sets)
    one = clone(model).fit(X, y["Tb"])
    assert one.predict_set(X).shape == one.predict_proba(X).shape == (60, 2)
    words = y["Tb"].map({0.0: "no", 1.0: "yes"})
    text = clone(model).fit(X, words)
    np.testing.assert_array_equal(text.predict_set(X), one.predict_set(X))
    assert text.classes_.tolist() == ["no", "yes"]
    assert model.score(X, y) > 0.9
    assert model.predict(X).shape == (60, 2)


def test_cross_takes_each_row_out_of_fold(labels):
    X, y = labels
    model = ConformalClassifier(LINE, method="cross", cv=KFold(3)).fit(X, y)
    truth = y.to_numpy()
    for train, test in KFold(3).split(X):
        tables = clone(LINE).fit(X[train], y.iloc[train]).predict_proba(X[test])
        for t, table in enumerate(tables):
            rows = ~np.isnan(truth[test, t])
            codes = truth[test, t][rows].astype(int)
            np.testing.assert_allclose(
                model.scores_[test, t][rows], 1 - table[rows, codes]
            )
    assert np.isnan(model.scores_[np.isnan(truth)]).all()


@pytest.mark.filterwarnings("ignore:.*one class only:UserWarning")
def test_a_task_of_one_class_is_always_in_the_set(labels):
    X, y = labels
    y["Tb"] = y["Tb"].where(y["Tb"] == 1)
    model = ConformalClassifier(LINE, method="cross", cv=2).fit(X, y)
    assert model.predict_set(X)[0].shape == (60, 1)
    assert model.predict_set(X)[0].all()
    assert np.nanmax(model.scores_[:, 0]) == 0


def test_an_invalid_row_may_be_of_any_class(smiles):
    X, y = smiles
    network = make_pipeline(
        SmilesToGraph("chemprop", on_error="nan"),
        MultiTaskGNNClassifier(max_epochs=1, random_state=0),
    )
    labels = (y[:, 0] > 4).astype(float)
    model = ConformalClassifier(network, method="cross", cv=2, random_state=0)
    model.fit(X, labels)
    with pytest.warns(UserWarning, match="invalid"):
        sets = model.predict_set(["nothing", X[0]])
    assert sets[0].all()


def test_a_fitted_classifier_is_calibrated_as_it_is():
    X, y = binary(3000, 3)
    fitted = clone(LINE).fit(X[:500], y[:500])
    model = ConformalClassifier(FrozenEstimator(fitted), method="prefit")
    model.fit(X[500:1500], y[500:1500])
    assert covered(model, X[1500:], y[1500:]) == pytest.approx(0.9, abs=0.035)
    one = np.where(y == 1, 1.0, np.nan)
    with pytest.raises(ValueError, match=r"'task_0' are of the classes \[1.0\], but"):
        model.fit(X[500:], one[500:])
    y = y[:, 1]
    tree = PerTaskClassifier(DecisionTreeClassifier()).fit(X, y)
    with pytest.warns(UserWarning, match="reproduces .* of task 'task_0' exactly"):
        ConformalClassifier(tree, method="prefit").fit(X, y)


# -- what is refused --------------------------------------------------------------


def test_too_few_labels_are_refused_by_task_and_class(labels):
    X, y = labels
    fold = [(list(range(30)), list(range(30, 60)))]
    y.iloc[30:, 1] = y.iloc[30:, 1].where(y.iloc[30:, 1] == 1)
    model = ConformalClassifier(LINE, cv=fold, class_conditional=True, coverage=0.5)
    with pytest.raises(ValueError, match=r"'logP' has 0 calibration.*of class 0\.0,"):
        model.fit(X, y)
    model.set_params(class_conditional=False).fit(X, y)
    with pytest.raises(ValueError, match="Task 'Tb' has .*0.99 needs at least 99"):
        model.predict_set(X, coverage=0.99)
    with pytest.raises(ValueError, match="between 0 and 1"):
        model.predict_set(X, coverage=1.5)
    with pytest.raises(ValueError, match="The 'class_conditional' parameter"):
        ConformalClassifier(LINE, class_conditional="yes").fit(X, y)
    with pytest.raises(ValueError, match="is frozen"):
        ConformalClassifier(FrozenEstimator(clone(LINE).fit(X, y))).fit(X, y)


# -- the contract -----------------------------------------------------------------


def test_jobs_pickles_and_searches(labels):
    X, y = labels
    model = ConformalClassifier(LINE, method="cross", cv=3, random_state=0)
    expected = model.fit(X, y).predict_set(X)
    for other in (
        clone(model).set_params(n_jobs=2).fit(X, y),
        pickle.loads(pickle.dumps(model)),
    ):
        for found, part in zip(other.predict_set(X), expected, strict=True):
            np.testing.assert_array_equal(found, part)
    search = GridSearchCV(
        clone(model).set_params(coverage=0.5),
        {"estimator__estimator__C": [1e-3, 1.0]},
        cv=2,
    ).fit(X, y.fillna(1.0))
    assert len(search.best_estimator_.predict_set(X)) == 2
    scaled = make_pipeline(StandardScaler(), clone(model)).fit(X, y)
    assert scaled.predict(X).shape == (60, 2)
