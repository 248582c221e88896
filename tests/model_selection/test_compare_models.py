"""Comparisons of any models on the same folds."""

from itertools import chain, combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.tree import DecisionTreeRegressor

from skgnn_mtl.ensemble import PerTaskClassifier, PerTaskRegressor
from skgnn_mtl.model_selection import ModelComparison, compare_models
from skgnn_mtl.model_selection._model_comparison import holm

LINE = PerTaskRegressor(Ridge())
MEAN = PerTaskRegressor(DummyRegressor())
COLUMNS = "model repeat fold task error n_train n_test fit_seconds predict_seconds"


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = X @ rng.normal(size=(3, 2)) + 0.1 * rng.normal(size=(60, 2))
    y[::4, 1] = np.nan
    return X, pd.DataFrame(y, columns=["Tb", "logP"])


def scores(errors, n_train=20, n_test=10, task="Tb"):
    rows = [
        (model, 0, fold, task, error, n_train, n_test, 1.0, 0.1)
        for model, parts in errors.items()
        for fold, error in enumerate(parts)
    ]
    return pd.DataFrame(rows, columns=COLUMNS.split())


class Blind(RegressorMixin, BaseEstimator):
    """Predicts NaN where the first column is large, or everywhere."""

    def __init__(self, limit=1.0):
        self.limit = limit

    def fit(self, X, y):
        self.n_ = y.shape[1]
        return self

    def predict(self, X):
        found = np.zeros((len(X), self.n_))
        found[X[:, 0] > self.limit] = np.nan
        return found


# -- the test ---------------------------------------------------------------------


def test_the_corrected_t_statistic_by_hand():
    # Differences -1.0, -1.1, -0.9: mean -1, variance 0.01, 10 test per 20 training
    # labels; t = -1 / sqrt((1/3 + 1/2) * 0.01).
    comparison = ModelComparison(
        scores({"a": [1.0, 1.2, 1.1], "b": [2.0, 2.3, 2.0]}), "rmse"
    )
    line = comparison.differences().iloc[0]
    assert line["difference"] == pytest.approx(-1.0)
    assert line["ratio"] == pytest.approx(3.3 / 6.3)
    assert line["standard_error"] == pytest.approx(np.sqrt(5 / 6) * 0.1)
    assert line["t"] == pytest.approx(-1 / (np.sqrt(5 / 6) * 0.1))
    # Student's distribution with two degrees of freedom in closed form.
    t = abs(line["t"])
    assert line["p"] == pytest.approx(1 - t / np.sqrt(2 + t**2))
    assert line["n_folds"] == 3


def test_without_training_rows_in_common_it_is_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 12))
    comparison = ModelComparison(scores({"a": a, "b": b}, n_train=10**9), "mae")
    line, peer = comparison.differences().iloc[0], stats.ttest_rel(a, b)
    assert line["t"] == pytest.approx(peer.statistic)
    assert line["p"] == pytest.approx(peer.pvalue)


def test_equal_errors_and_errors_without_spread():
    comparison = ModelComparison(
        scores({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [0.5, 1.5]}), "mae"
    )
    table = comparison.differences().set_index(["model_a", "model_b"])
    assert table.loc[("a", "b"), "p"] == 1.0
    assert table.loc[("a", "c"), "t"] == np.inf
    assert table.loc[("a", "c"), "p"] == 0.0


def test_a_single_fold_has_no_test_and_missing_errors_no_pair():
    comparison = ModelComparison(
        scores({"a": [1.0, np.nan, 3.0], "b": [2.0, 5.0, np.nan]}), "mae"
    )
    line = comparison.differences().iloc[0]
    assert line["n_folds"] == 1
    assert line["difference"] == -1.0
    assert np.isnan([line["t"], line["p"], line["p_adjusted"]]).all()


def test_a_model_without_errors_does_not_change_the_test_of_the_others():
    errors = {"a": [1.0, 1.2, 1.1], "b": [2.0, 2.3, 2.0]}
    alone = ModelComparison(scores(errors), "mae").differences("b")
    blind = scores({"c": [np.nan] * 3}, n_test=0)
    both = ModelComparison(pd.concat([scores(errors), blind]), "mae")
    pd.testing.assert_frame_equal(
        both.differences("b").iloc[:1].drop(columns="p_adjusted"),
        alone.drop(columns="p_adjusted"),
    )


def test_folds_without_an_error_do_not_count_in_the_overlap():
    whole = {"a": [1.0, 1.2, 1.1], "b": [2.0, 2.3, 2.0]}
    table = scores({model: [*part, np.nan] for model, part in whole.items()})
    table.loc[table["error"].isna(), "n_test"] = 0
    pd.testing.assert_frame_equal(
        ModelComparison(table, "mae").differences(),
        ModelComparison(scores(whole), "mae").differences(),
    )


def test_no_error_at_all_is_no_test():
    table = scores({"a": [np.nan] * 2, "b": [np.nan] * 2}, n_test=0)
    line = ModelComparison(table, "r2").differences().iloc[0]
    assert line["n_folds"] == 0
    assert np.isnan(line["p"])


def test_holm_of_a_worked_example():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    np.testing.assert_allclose(
        holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]
    )
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("seed", range(3))
def test_holm_is_the_closed_test_of_bonferroni(seed):
    p = np.random.default_rng(seed).random(6) ** 3
    subsets = list(chain.from_iterable(combinations(range(6), k) for k in range(1, 7)))
    closed = [
        min(1.0, max(len(s) * min(p[list(s)]) for s in subsets if i in s))
        for i in range(6)
    ]
    with_gap = holm([*p, np.nan])
    np.testing.assert_allclose(with_gap[:6], closed)
    assert np.isnan(with_gap[6])


def test_a_reference_is_compared_with_all_others():
    comparison = ModelComparison(
        scores({"a": [1.0, 2.0], "b": [1.5, 2.0], "c": [0.5, 1.6]}), "mae"
    )
    table = comparison.differences("b")
    assert table[["model_a", "model_b"]].to_numpy().tolist() == [["a", "b"], ["c", "b"]]
    assert len(comparison.differences()) == 3
    with pytest.raises(ValueError, match="one of the models.*'d'"):
        comparison.differences("d")


def test_the_summary_has_mean_errors_and_ratios_to_the_best():
    parts = [
        scores({"a": [1.0, 3.0], "b": [1.0, 1.0]}),
        scores({"a": [5.0, 5.0], "b": [20.0, 20.0]}, task="logP"),
    ]
    table = ModelComparison(pd.concat(parts, ignore_index=True), "mae").summary()
    assert table.loc["a", ["Tb", "logP"]].tolist() == [2.0, 5.0]
    assert table.loc["a", "mean_ratio"] == pytest.approx(np.sqrt(2.0))
    assert table.loc["b", "mean_ratio"] == pytest.approx(2.0)


# -- the folds --------------------------------------------------------------------


def test_errors_are_those_of_models_fitted_fold_by_fold(data):
    X, y = data
    cv = KFold(4, shuffle=True, random_state=0)
    found = compare_models({"line": LINE, "mean": MEAN}, X, y, cv=cv).scores
    assert list(found.columns) == COLUMNS.split()
    assert len(found) == 2 * 4 * 2
    for fold, (train, test) in enumerate(cv.split(X)):
        predicted = clone(LINE).fit(X[train], y.iloc[train]).predict(X[test])
        for t, task in enumerate(y):
            rows = y[task].notna().to_numpy()[test]
            line = found[
                (found["model"] == "line")
                & (found["fold"] == fold)
                & (found["task"] == task)
            ].iloc[0]
            expected = root_mean_squared_error(
                y[task].to_numpy()[test][rows], predicted[rows, t]
            )
            assert line["error"] == pytest.approx(expected)
            assert line["n_test"] == rows.sum()
            assert line["n_train"] == y[task].iloc[train].count()
            assert line["fit_seconds"] > 0


def test_repeats_draw_new_folds_and_the_seed_repeats_them(data):
    X, y = data
    models = [("line", LINE), ("mean", MEAN)]
    one = compare_models(models, X, y, cv=3, n_repeats=2, random_state=0).scores
    again = compare_models(models, X, y, cv=3, n_repeats=2, random_state=0, n_jobs=2)
    pd.testing.assert_series_equal(one["error"], again.scores["error"])
    by_repeat = one.groupby("repeat")["error"].apply(list)
    assert by_repeat[0] != by_repeat[1]
    splitter = KFold(3, shuffle=True, random_state=5)
    drawn = compare_models(models, X, y, cv=splitter, n_repeats=2, random_state=0)
    by_repeat = drawn.scores.groupby("repeat")["error"].apply(list)
    assert by_repeat[0] != by_repeat[1]
    assert splitter.random_state == 5


def test_models_get_the_same_seed_in_a_fold_and_another_in_the_next(data):
    X, y = data
    y = y.fillna(0.0)
    tree = DecisionTreeRegressor(splitter="random")
    models = {"one": tree, "two": tree}
    found = compare_models(models, X, y, cv=3, random_state=0).scores
    errors = found.pivot_table(index=["fold", "task"], columns="model", values="error")
    np.testing.assert_array_equal(errors["one"], errors["two"])
    unseeded = compare_models(models, X, y, cv=3).scores
    errors = unseeded.pivot_table(
        index=["fold", "task"], columns="model", values="error"
    )
    assert (errors["one"] != errors["two"]).any()


def test_groups_are_not_split_and_reach_the_models(data):
    X, y = data
    groups = np.arange(60) % 6
    seen = []

    class Watcher(Ridge):
        def fit(self, X, y, groups=None):
            seen.append(sorted(set(groups)))
            return super().fit(X, np.nan_to_num(y))

    compare_models({"a": Watcher()}, X, y, cv=3, groups=groups)
    assert [len(part) for part in seen] == [4, 4, 4]


def test_rows_that_a_model_cannot_predict_count_for_none(data):
    X, y = data
    with pytest.warns(UserWarning, match="Model 'blind' predicts NaN in .* for all"):
        found = compare_models({"mean": MEAN, "blind": Blind()}, X, y, cv=3).scores
    counts = found.pivot_table(index=["fold", "task"], columns="model", values="n_test")
    np.testing.assert_array_equal(counts["mean"], counts["blind"])
    assert counts["mean"].sum() < y.count().sum()


def test_a_model_that_diverges_does_not_hide_the_others(data):
    X, y = data
    with pytest.warns(UserWarning, match="'blind' .* errors in this fold are missing"):
        comparison = compare_models({"mean": MEAN, "blind": Blind(-99.0)}, X, y, cv=3)
    found = comparison.scores.set_index("model")["error"]
    assert found["blind"].isna().all()
    assert found["mean"].notna().all()
    assert comparison.differences()["n_folds"].tolist() == [0, 0]


def test_other_scores_are_turned_into_errors(data):
    X, y = data
    cv = KFold(3)
    r2 = compare_models({"mean": MEAN}, X, y, cv=cv, scoring="r2").scores["error"]
    assert (r2 >= 1.0).all()
    classes = (y > 0).astype(float).where(y.notna())
    line = PerTaskClassifier(LogisticRegression())
    found = compare_models({"line": line}, X, classes, cv=3, random_state=0)
    assert found.metric == "roc_auc"
    assert (found.scores["error"] < 0.2).all()
    precise = compare_models(
        {"line": line},
        X,
        classes,
        cv=3,
        random_state=0,
        scoring="average_precision",
    )
    assert precise.metric == "average_precision"
    assert (precise.scores["error"] < 0.2).all()
    assert not np.allclose(precise.scores["error"], found.scores["error"])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"models": []}, ValueError, "at least one"),
        ({"models": [("a", LINE), ("a", MEAN)]}, ValueError, "'a' occurs twice"),
        ({"models": {"a": Ridge}}, TypeError, "Model 'a' must be an estimator"),
        (
            {"models": {"a": LINE, "b": PerTaskClassifier(LogisticRegression())}},
            TypeError,
            "'b' of them are classifiers",
        ),
        ({"scoring": "mse"}, ValueError, "scoring must be None or one of"),
        ({"n_repeats": 0}, ValueError, "n_repeats must be a positive integer"),
        ({"n_repeats": 2, "cv": KFold(3)}, ValueError, "splitter that shuffles"),
        ({"cv": 100}, ValueError, "cv=100 folds need as many rows"),
    ],
)
def test_wrong_arguments_are_refused(data, parameters, error, message):
    X, y = data
    with pytest.raises(error, match=message):
        compare_models(**{"models": {"a": LINE}, "X": X, "y": y, **parameters})


def test_a_model_that_fails_is_named_with_its_fold(data):
    X, y = data
    with pytest.raises(ValueError, match="Model 'a', repeat 0, fold 0: Input"):
        compare_models({"a": Ridge()}, X, y)
    halves = [(np.arange(30), np.arange(30, 60))]
    # Only a test row, so that the model fails when it predicts.
    X[45] = np.nan
    with pytest.raises(ValueError, match="Model 'a', repeat 0, fold 0: Input X"):
        compare_models({"a": LINE}, X, y, cv=halves)


def test_a_task_that_a_fold_cannot_learn_is_named(data):
    X, y = data
    y.loc[1:, "logP"] = np.nan
    y.loc[0, "logP"] = 1.0
    with (
        pytest.warns(UserWarning, match="'logP': 1"),
        pytest.raises(ValueError, match="Task 'logP' has 1 label"),
    ):
        compare_models({"a": LINE}, X, y)


def test_a_single_split_is_a_fold(data):
    X, y = data
    cv = ShuffleSplit(1, random_state=0)
    comparison = compare_models({"a": LINE, "b": MEAN}, X, y["Tb"], cv=cv)
    assert len(comparison.scores) == 2
    assert comparison.tasks == ["Tb"]
    assert comparison.differences()["p"].isna().all()


def test_a_classifier_of_another_shape_is_refused(data):
    X, y = data

    class Wide(ClassifierMixin, BaseEstimator):
        def fit(self, X, y):
            return self

        def decision_function(self, X):
            return np.zeros((len(X), 3))

    with pytest.raises(ValueError, match="Model 'a' predicts 3 column"):
        compare_models({"a": Wide()}, X, (y > 0).astype(int))


def test_bounds_are_learned_where_models_can_and_have_no_error(data):
    X, y = data
    text = y.astype(object)
    text.iloc[[1, 2], 0] = [">100", "<-100"]
    bound = clone(LINE).set_params(censored="bound")
    found = compare_models({"line": bound}, X, text, cv=KFold(3)).scores
    numbers, exact = y.copy(), y.copy()
    numbers.iloc[[1, 2], 0], exact.iloc[[1, 2], 0] = [100, -100], np.nan
    for (_, row), (train, test) in zip(
        found[found["task"] == "Tb"].iterrows(), KFold(3).split(X), strict=True
    ):
        predicted = clone(LINE).fit(X[train], numbers.iloc[train]).predict(X[test])
        error = (predicted[:, 0] - exact["Tb"].iloc[test]).dropna()
        assert row["error"] == pytest.approx(np.sqrt((error**2).mean()))
        assert row["n_test"] == len(error)
    with pytest.raises(ValueError, match="censored label.*censored='bound'"):
        compare_models({"line": LINE}, X, text)
