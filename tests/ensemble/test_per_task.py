"""One estimator for each task."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.ensemble import PerTaskClassifier, PerTaskRegressor
from skgnn_mtl.metrics import nan_r2_score, nan_roc_auc_score


class Recorder(RegressorMixin, BaseEstimator):
    """Keeps what it is given, and predicts zero."""

    def fit(self, X, y, sample_weight=None, groups=None):
        self.X_, self.y_ = X, y
        self.sample_weight_, self.groups_ = sample_weight, groups
        return self

    def predict(self, X):
        return np.zeros(len(X))


def test_each_task_is_the_estimator_on_its_labelled_rows(numbers):
    X, y = numbers
    found = PerTaskRegressor(Ridge()).fit(X, y).predict(X)
    for t, name in enumerate(y):
        rows = y[name].notna().to_numpy()
        alone = Ridge().fit(X[rows], y[name][rows]).predict(X)
        np.testing.assert_allclose(found[:, t], alone)


def test_names_and_shapes_are_those_of_y(numbers):
    X, y = numbers
    model = PerTaskRegressor(Ridge()).fit(X, y)
    assert model.task_names_ == ["Tb", "logP"]
    assert model.predict(X).shape == y.shape
    model.fit(X, y["Tb"])
    assert model.task_names_ == ["Tb"]
    assert model.predict(X).shape == (60,)
    model.fit(X, y[["Tb"]].to_numpy())
    assert model.task_names_ == ["task_0"]
    assert model.predict(X).shape == (60, 1)
    assert model.n_features_in_ == 4


def test_the_transform_is_that_of_labels_and_its_inverse_that_of_predictions(numbers):
    X, y = numbers
    table = np.exp(y)
    model = PerTaskRegressor(Ridge(), target_transform={"logP": "log"}).fit(X, table)
    plain = PerTaskRegressor(Ridge()).fit(X, table.assign(logP=y["logP"]))
    np.testing.assert_allclose(model.predict(X)[:, 0], plain.predict(X)[:, 0])
    np.testing.assert_allclose(model.predict(X)[:, 1], np.exp(plain.predict(X)[:, 1]))


def test_labels_out_of_the_domain_are_named(numbers):
    X, y = numbers
    row = int(np.argmax(y["Tb"] <= 0))
    with pytest.raises(ValueError, match=rf"task 'Tb' has .* in row {row}\."):
        PerTaskRegressor(Ridge(), target_transform="log10").fit(X, y)


def test_the_score_is_the_mean_of_r2_in_any_order_of_columns(numbers):
    X, y = numbers
    model = PerTaskRegressor(Ridge()).fit(X, y)
    expected = nan_r2_score(y, model.predict(X))
    assert model.score(X, y) == pytest.approx(expected)
    assert model.score(X, y[["logP", "Tb"]]) == pytest.approx(expected)


def test_weights_and_groups_are_cut_to_the_labelled_rows(numbers):
    X, y = numbers
    weight, groups = np.arange(60.0), np.arange(60) // 2
    model = PerTaskRegressor(Recorder()).fit(X, y, sample_weight=weight, groups=groups)
    for t, name in enumerate(y):
        rows = y[name].notna().to_numpy() & (weight > 0)
        np.testing.assert_array_equal(model.estimators_[t].sample_weight_, weight[rows])
        np.testing.assert_array_equal(model.estimators_[t].groups_, groups[rows])


def test_weights_reach_the_last_step_of_a_pipeline(numbers):
    X, y = numbers
    weight = np.random.default_rng(1).random(60)
    pipe = make_pipeline(StandardScaler(), make_pipeline(Recorder()))
    model = PerTaskRegressor(pipe).fit(X, y, sample_weight=weight)
    rows = y["Tb"].notna().to_numpy()
    inner = model.estimators_[0][-1][-1]
    np.testing.assert_array_equal(inner.sample_weight_, weight[rows])


def test_groups_reach_the_splitter_of_a_search(numbers):
    X, y = numbers
    search = GridSearchCV(Ridge(), {}, cv=GroupKFold(2))
    model = PerTaskRegressor(search).fit(X, y, groups=np.arange(60) % 4)
    assert model.estimators_[0].n_splits_ == 2


def test_with_routing_what_is_requested_is_passed(numbers):
    X, y = numbers
    weight = np.random.default_rng(1).random(60)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = Recorder().set_fit_request(sample_weight=True, groups=False)
        pipe = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False), inner
        )
        model = PerTaskRegressor(pipe).fit(X, y, sample_weight=weight)
    rows = y["Tb"].notna().to_numpy()
    np.testing.assert_array_equal(model.estimators_[0][-1].sample_weight_, weight[rows])


def test_with_routing_what_is_declined_is_not_passed(numbers):
    X, y = numbers
    weight = np.random.default_rng(1).random(60)
    with sklearn.config_context(enable_metadata_routing=True):
        inner = Recorder().set_fit_request(sample_weight=False, groups=True)
        with pytest.warns(UserWarning, match="fit does not take sample_weight"):
            model = PerTaskRegressor(inner).fit(X, y, weight, np.arange(60))
    assert model.estimators_[0].sample_weight_ is None
    assert model.estimators_[0].groups_ is not None


def test_it_asks_for_weights_by_routing(numbers):
    X, y = numbers
    weight = np.arange(60) % 2.0
    with sklearn.config_context(enable_metadata_routing=True):
        model = PerTaskRegressor(Ridge()).set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"estimator__alpha": [1.0]}, cv=2)
        search.fit(X, y, sample_weight=weight)
    expected = PerTaskRegressor(Ridge()).fit(X, y, sample_weight=weight).predict(X)
    np.testing.assert_allclose(search.predict(X), expected)


def test_an_estimator_without_weights_says_so(numbers):
    X, y = numbers
    model = PerTaskRegressor(KNeighborsRegressor(1))
    with pytest.warns(UserWarning, match="does not take sample_weight"):
        model.fit(X, y, sample_weight=np.ones(60))


@pytest.mark.parametrize(
    "convert", [sparse.csr_array, pd.DataFrame, lambda X: X.tolist()]
)
def test_x_may_be_of_any_kind(numbers, convert):
    X, y = numbers
    expected = PerTaskRegressor(Ridge()).fit(X, y).predict(X)
    # The default solver of sparse X is another one.
    found = PerTaskRegressor(Ridge()).fit(convert(X), y).predict(convert(X))
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_strings_and_graphs_pass_through_with_invalid_rows(smiles):
    X, y = smiles
    X[3] = "C1CC"
    network = MultiTaskGNNRegressor("dmpnn", max_epochs=1, random_state=0)
    pipe = make_pipeline(SmilesToGraph(on_error="nan"), network)
    with pytest.warns(UserWarning, match="invalid graph"):
        model = PerTaskRegressor(pipe).fit(tuple(X), y)
    with pytest.warns(UserWarning, match="invalid graph"):
        found = model.predict(X)
    assert np.isnan(found[3]).all()
    assert np.isfinite(np.delete(found, 3, axis=0)).all()


def test_it_is_cloned_searched_and_pickled_with_gaps(numbers):
    X, y = numbers
    model = clone(PerTaskRegressor(Ridge()))
    search = GridSearchCV(model, {"estimator__alpha": [1e-3, 1e3]}, cv=3, n_jobs=2)
    assert search.fit(X, y).best_params_ == {"estimator__alpha": 1e-3}
    scores = cross_validate(model, X, y, cv=3)["test_score"]
    assert (scores > 0.9).all()
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))


@pytest.mark.parametrize("n_jobs", [2])
def test_n_jobs_changes_nothing(numbers, n_jobs):
    X, y = numbers
    one = PerTaskRegressor(Ridge()).fit(X, y).predict(X)
    two = PerTaskRegressor(Ridge(), n_jobs=n_jobs).fit(X, y).predict(X)
    np.testing.assert_array_equal(one, two)


def test_errors_name_the_task(numbers):
    X, y = numbers
    y.loc[3:, "logP"] = np.nan
    search = GridSearchCV(Ridge(), {}, cv=5)
    with pytest.raises(ValueError, match=r"Task 'logP' with \d label.*n_splits=5"):
        PerTaskRegressor(search).fit(X, y)
    y["logP"] = np.nan
    with pytest.raises(ValueError, match="Task 'logP' has no label"):
        PerTaskRegressor(Ridge()).fit(X, y)


def test_wrong_estimators_are_refused(numbers):
    X, y = numbers
    with pytest.raises(TypeError, match="must be an estimator with fit"):
        PerTaskRegressor(Ridge).fit(X, y)
    with pytest.raises(TypeError, match="must be a regressor, but is Logistic"):
        PerTaskRegressor(LogisticRegression()).fit(X, y)
    with pytest.raises(TypeError, match="must be a classifier, but is Ridge"):
        PerTaskClassifier(Ridge()).fit(X, y > 0)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        PerTaskRegressor(Ridge()).fit(X[:5], y)


# -- classes ----------------------------------------------------------------------


def test_each_class_task_is_the_classifier_on_its_labelled_rows(labels):
    X, y = labels
    model = PerTaskClassifier(LogisticRegression()).fit(X, y)
    probabilities = model.predict_proba(X)
    for t, name in enumerate(y):
        rows = y[name].notna().to_numpy()
        alone = LogisticRegression().fit(X[rows], y[name][rows])
        np.testing.assert_allclose(probabilities[t], alone.predict_proba(X))
        np.testing.assert_array_equal(model.predict(X)[:, t], alone.predict(X))
    second = np.column_stack([p[:, 1] for p in probabilities])
    assert model.score(X, y) == pytest.approx(nan_roc_auc_score(y, second))


def test_classes_may_be_strings_with_gaps(labels):
    X, y = labels
    words = y.replace({0.0: "no", 1.0: "yes"}).astype(object)
    words = words.where(y.notna(), None)
    model = PerTaskClassifier(LogisticRegression()).fit(X, words)
    numbers = PerTaskClassifier(LogisticRegression()).fit(X, y)
    assert [part.tolist() for part in model.classes_] == [["no", "yes"]] * 2
    np.testing.assert_array_equal(model.predict(X) == "yes", numbers.predict(X) == 1)


def test_one_class_is_predicted_with_a_warning(labels):
    X, y = labels
    y["logP"] = y["logP"].where(y["logP"] != 0.0)
    with pytest.warns(UserWarning, match="Task 'logP' has labels of one class only"):
        model = PerTaskClassifier(LogisticRegression()).fit(X, y)
    assert (model.predict(X)[:, 1] == 1.0).all()
    assert model.predict_proba(X)[1].tolist() == [[1.0]] * 60


@pytest.mark.parametrize("given", ["sample_weight", "groups"])
def test_a_task_of_one_class_does_not_take_the_arguments_of_others(labels, given):
    X, y = labels
    y["logP"] = y["logP"].where(y["logP"] != 0.0)
    search = GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=GroupKFold(2))
    scaled = make_pipeline(StandardScaler(), LogisticRegression())
    model = PerTaskClassifier(search if given == "groups" else scaled)
    with pytest.warns(UserWarning, match="Task 'logP' has labels of one class only"):
        model.fit(X, y, **{given: np.arange(60) // 3 + 1})
    assert (model.predict(X)[:, 1] == 1.0).all()
    assert len(np.unique(model.predict(X)[:, 0])) == 2


def test_one_dimensional_classes(labels):
    X, y = labels
    model = PerTaskClassifier(LogisticRegression()).fit(X, y["Tb"])
    assert model.classes_.tolist() == [0.0, 1.0]
    assert model.predict(X).shape == (60,)
    assert model.predict_proba(X).shape == (60, 2)
