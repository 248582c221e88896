"""Multi-task against single-task models: pairing, budget, arithmetic."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl import MultiTaskGNNClassifier, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import GIN
from skgnn_mtl.metrics import delta_m
from skgnn_mtl.model_selection import SingleTaskComparison, compare_with_single_task
from skgnn_mtl.weighting import Fixed


class Constant(RegressorMixin, BaseEstimator):
    """Predicts each task's mean, plus 1 when it has several tasks; tells its fits."""

    fits: ClassVar[list] = []

    def __init__(self, random_state=None, task_weighting=None, target_tasks=None):
        self.random_state = random_state
        self.task_weighting = task_weighting
        self.target_tasks = target_tasks

    def fit(self, X, y):
        several = y.shape[1] > 1
        self.mean_ = np.nanmean(y, axis=0) + several
        Constant.fits.append((len(X), y, self.random_state, self.task_weighting))
        return self

    def predict(self, X):
        return np.tile(self.mean_, (len(X), 1))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    y = pd.DataFrame({"a": X[:, 0], "b": 100 * X[:, 1], "c": X[:, 2] ** 2})
    y.iloc[::3, 1] = np.nan
    return X, y


def test_folds_seeds_and_labels_are_paired(data):
    X, y = data
    Constant.fits.clear()
    cv = KFold(3, shuffle=True, random_state=0)
    estimator = Constant(task_weighting="anything", target_tasks="a")
    comparison = compare_with_single_task(estimator, X, y, cv=cv, random_states=(3, 7))
    errors = comparison.errors
    assert len(errors) == 3 * 3 * 2 * 2
    assert len(Constant.fits) == 2 * 3 * (1 + 3)
    single = [fit for fit in Constant.fits if fit[1].shape[1] == 1]
    assert all(fit[1].notna().all().all() for fit in single)
    assert {fit[3] for fit in single} == {"equal"}
    assert {fit[2] for fit in Constant.fits} == {3, 7}
    sizes = errors.groupby("task")["n_test"].sum()
    assert sizes["b"] == 40 * 4
    # The same labels on both sides of a pair.
    both = errors.pivot_table(index=["task", "fold", "seed"], columns="model")
    for name in ("n_train", "n_test"):
        assert (both[name]["multi-task"] == both[name]["single-task"]).all()


def test_folds_without_labels_do_not_count_in_the_standard_error():
    errors = pd.DataFrame(
        [
            ("Tb", fold, 0, model, error, 30, 10, 1.0)
            for model, parts in {
                "multi-task": [1.0, 1.2, 1.1],
                "single-task": [2.0, 2.3, 2.0],
            }.items()
            for fold, error in enumerate(parts)
        ],
        columns="task fold seed model error n_train n_test seconds".split(),
    )
    bare = errors.query("fold == 0").assign(fold=3, error=np.nan, n_test=0)
    pd.testing.assert_frame_equal(
        SingleTaskComparison(pd.concat([errors, bare]), "mae").summary(),
        SingleTaskComparison(errors, "mae").summary(),
    )


def test_errors_and_their_summary(data):
    X, y = data
    comparison = compare_with_single_task(Constant(), X, y, cv=4, metric="rmse")
    first = comparison.errors.query("task == 'b' and fold == 0")
    train, test = next(KFold(4).split(X))
    truth = y["b"].to_numpy()[test]
    mean = np.nanmean(y["b"].to_numpy()[train])
    rmse = np.sqrt(np.nanmean((truth - mean) ** 2))
    single = first.loc[first["model"] == "single-task", "error"].item()
    np.testing.assert_allclose(single, rmse)
    table = comparison.summary()
    assert list(table.index) == ["a", "b", "c"]
    assert (table["pairs"] == 4).all()
    pairs = comparison.paired()
    folds = [
        delta_m(pair["multi-task"].to_numpy(), pair["single-task"].to_numpy())
        for _, pair in pairs.groupby("fold")
    ]
    np.testing.assert_allclose(comparison.delta_m, np.mean(folds))
    np.testing.assert_allclose(comparison.delta_m, table["change"].mean())
    change = comparison.paired().query("task == 'a'")["change"]
    plain = change.std(ddof=1) / 2
    wide = change.std(ddof=1) * np.sqrt(1 / 4 + 15 / 45)
    np.testing.assert_allclose(table.loc["a", "standard_error"], wide)
    assert wide > plain
    assert table.loc["a", "wins"] == (change < 0).mean()


def test_a_fold_without_a_test_label_is_left_out(data):
    X, y = data
    y = y.copy()
    y.iloc[:20, 2] = np.nan
    comparison = compare_with_single_task(Constant(), X, y, cv=KFold(3))
    assert comparison.summary().loc["c", "pairs"] == 2
    assert np.isfinite(comparison.delta_m)


@pytest.mark.filterwarnings("ignore:.*invalid graphs:UserWarning")
@pytest.mark.parametrize("inside", [False, True], ids=["before", "in a pipeline"])
@pytest.mark.parametrize("readable", [0, 1])
def test_invalid_graphs_are_left_out(readable, inside):
    smiles = ["CCO", "CCN", "CCC", "CC", "C", "CO", "CN", "OCC"] * 4
    smiles[readable:8] = ["C1C"] * (8 - readable)
    y = pd.DataFrame({"a": np.arange(32.0), "b": np.arange(32.0) ** 2})
    featurizer = SmilesToGraph(on_error="nan")
    model = MultiTaskGNNRegressor(GIN(width=8, n_layers=1), max_epochs=1)
    if inside:
        comparison = compare_with_single_task(
            make_pipeline(featurizer, model), smiles, y, cv=4
        )
    else:
        X = featurizer.transform(smiles)
        comparison = compare_with_single_task(model, X, y, cv=4)
        counts = comparison.errors.groupby("fold")["n_train"].unique()
        assert [list(count) for count in counts] == [[24], *[[16 + readable]] * 3]
    errors = comparison.errors
    assert (errors.loc[errors["fold"] == 0, "n_test"] == readable).all()
    assert (errors.loc[errors["fold"] > 0, "n_test"] == 8).all()
    assert (errors["error"].notna() == (errors["n_test"] > 0)).all()
    assert (comparison.summary()["pairs"] == 3 + readable).all()


def test_labels_are_read_as_in_fit(data):
    X, y = data
    expected = compare_with_single_task(Constant(), X, y, cv=2).errors
    polars = pytest.importorskip("polars")
    for given in (
        y.astype("Float64").astype(object),  # pandas.NA
        y.astype(object).where(y.notna(), None),
        polars.DataFrame({name: y[name].to_numpy() for name in y}),
    ):
        errors = compare_with_single_task(Constant(), X, given, cv=2).errors
        pd.testing.assert_frame_equal(
            errors.drop(columns="seconds"), expected.drop(columns="seconds")
        )
    # Rows are those of X, whatever an index says; it is kept for who looks at it.
    Constant.fits.clear()
    shifted = y.set_index(np.arange(100, 160))
    compare_with_single_task(Constant(), X, shifted, cv=KFold(2))
    assert Constant.fits[0][1].index[0] == 130


def test_the_real_estimator_in_a_pipeline(data):
    X, y = data
    model = make_pipeline(
        StandardScaler(),
        MultiTaskGNNRegressor(
            GIN(width=8, n_layers=1, norm=None),
            task_weighting=Fixed([1, 2, 3]),
            target_tasks=[1],
            max_epochs=2,
        ),
    )
    first = compare_with_single_task(model, X, y.to_numpy(), cv=2)
    again = compare_with_single_task(model, X, y.to_numpy(), cv=2, n_jobs=2)
    assert isinstance(first, SingleTaskComparison)
    pd.testing.assert_frame_equal(
        first.errors.drop(columns="seconds"), again.errors.drop(columns="seconds")
    )
    assert list(first.errors["task"].unique()) == ["task_0", "task_1", "task_2"]


def test_transforms_go_with_their_tasks(data):
    X, y = data
    y["c"] += 0.1
    model = MultiTaskGNNRegressor(
        GIN(width=8, n_layers=1, norm=None),
        target_transform={"c": "log10", "a": None},
        max_epochs=2,
        random_state=0,
    )
    train, test = np.arange(40), np.arange(40, 60)
    found = compare_with_single_task(
        model, X, y, cv=[(train, test)], random_states=(0,), metric="mae"
    ).errors.query("task == 'c' and model == 'single-task'")["error"]
    model.set_params(target_transform={"c": "log10"}).fit(X[train], y[["c"]][:40])
    error = np.abs(model.predict(X[test]) - y[["c"]][40:]).to_numpy().mean()
    assert found.item() == pytest.approx(error)


def test_bad_input_is_refused(data):
    X, y = data
    with pytest.raises(ValueError, match="at least two tasks to compare"):
        compare_with_single_task(Constant(), X, y["a"])
    with pytest.raises(ValueError, match="metric must be"):
        compare_with_single_task(Constant(), X, y, metric="r2")
    with pytest.raises(ValueError, match="would count one result twice"):
        compare_with_single_task(Constant(), X, y, random_states=(0, 0))
    with pytest.raises(ValueError, match="names must differ"):
        compare_with_single_task(Constant(), X, y.set_axis(["a", "b", "a"], axis=1))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        compare_with_single_task(Constant(), X, y[:50])


def test_a_classifier_is_compared_by_its_mistakes(data):
    X, y = data
    labels = (y > y.median()).astype(float).where(y.notna())
    model = MultiTaskGNNClassifier(
        GIN(width=8, n_layers=1, norm=None), lr=1e-2, max_epochs=20, device="cpu"
    )
    comparison = compare_with_single_task(model, X, labels, cv=KFold(2))
    table = comparison.summary()
    assert list(table.index) == ["a", "b", "c"]
    assert np.isfinite(comparison.delta_m)
    train, test = next(KFold(2).split(X))
    alone = model.set_params(random_state=0).fit(X[train], labels.iloc[train][["a"]])
    wrong = (alone.predict(X[test]) != labels.iloc[test][["a"]]).mean().item()
    errors = comparison.errors.query("task == 'a' and fold == 0")
    single = errors.loc[errors["model"] == "single-task", "error"].item()
    assert single == pytest.approx(wrong)


def test_bounds_are_learned_where_models_can_and_have_no_error(data):
    X, y = data
    text = y.astype(object)
    text.iloc[[1, 40], 0] = [f">{y.iloc[1, 0]}", f"<{y.iloc[40, 0]}"]
    model = MultiTaskGNNRegressor(
        GIN(width=8, n_layers=1, norm=None), max_epochs=3, random_state=0
    )
    folds = [(np.arange(40), np.arange(40, 60))]

    def errors(labels, censored):
        model.set_params(censored=censored)
        return compare_with_single_task(model, X, labels, cv=folds).errors

    found = errors(text, "bound")
    first = found["task"] == "a"
    assert set(found.loc[first, "n_train"]) == {39}
    assert set(found.loc[first, "n_test"]) == {19}
    dropped = errors(y.mask(text.map(lambda cell: isinstance(cell, str))), "raise")
    np.testing.assert_allclose(errors(text, "drop")["error"], dropped["error"])
    # Of both models, because both have learned the bound.
    assert (found["error"] != dropped["error"])[first].all()
    full = text.fillna(0.5)
    as_text = errors(full.to_numpy().astype(str), "bound")["error"]
    np.testing.assert_array_equal(as_text, errors(full, "bound")["error"])
    with pytest.raises(ValueError, match="censored label.*censored='bound'"):
        errors(text, "raise")
