"""Predictions against labels: points, limits, numbers, names."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from small_estimators import small

from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph
from skgnn_mtl.inspection import ParityDisplay
from skgnn_mtl.metrics import nan_mean_absolute_error, nan_r2_score

NAN = float("nan")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = pd.DataFrame({"Tb (K)": 300 + 90 * X[:, 0], "logP": X[:, 1], "gap": X[:, 2] ** 2})
Y.iloc[::3, 1] = NAN
PREDICTED = Y.fillna(0.0).to_numpy() + RNG.normal(size=Y.shape)


def points(ax):
    return np.asarray(ax.collections[0].get_offsets())


def names(display):
    return [ax.get_title().split("\n")[0] for ax in display.axes_]


def test_each_panel_has_the_labelled_rows_of_its_task_and_their_scores(tmp_path):
    display = ParityDisplay.from_predictions(Y, PREDICTED)
    assert names(display) == list(Y)
    r2 = nan_r2_score(Y, PREDICTED, multioutput="raw_values")
    mae = nan_mean_absolute_error(Y, PREDICTED, multioutput="raw_values")
    for k, (ax, task) in enumerate(zip(display.axes_, Y, strict=True)):
        rows = Y[task].notna().to_numpy()
        pairs = np.column_stack([Y[task], PREDICTED[:, k]])[rows]
        np.testing.assert_array_equal(points(ax), pairs)
        assert ax.get_title() == (
            f"{task}\n{rows.sum()} labels, R² {r2[k]:.3f}, MAE {mae[k]:.4g}"
        )
    assert display.axes_[1].get_title().startswith("logP\n40 labels")
    display.figure_.savefig(tmp_path / "parity.png")


def test_both_axes_have_the_same_limits_around_all_points_and_the_diagonal():
    for ax in ParityDisplay.from_predictions(Y, PREDICTED).axes_:
        low, high = ax.get_xlim()
        assert ax.get_ylim() == (low, high)
        assert low < points(ax).min() < points(ax).max() < high
        assert ax.get_aspect() == 1.0
        (line,) = ax.lines
        assert line.get_xy1() == (0, 0)
        assert line.get_slope() == 1


def test_invalid_graphs_are_left_out_with_a_warning():
    predicted = PREDICTED.copy()
    predicted[[4, 7]] = NAN
    with pytest.warns(UserWarning, match=r"2 of 60 rows have no prediction.*4, 7"):
        display = ParityDisplay.from_predictions(Y, predicted)
    rest = np.delete(Y.to_numpy(), [4, 7], axis=0), np.delete(PREDICTED, [4, 7], axis=0)
    whole = ParityDisplay.from_predictions(*rest, task_names=Y.columns)
    for ax, other in zip(display.axes_, whole.axes_, strict=True):
        np.testing.assert_array_equal(points(ax), points(other))
        assert ax.get_title() == other.get_title()


def test_tasks_with_few_labels_are_drawn():
    y = [[1.0, 7.0, NAN], [1.0, NAN, NAN]]
    display = ParityDisplay.from_predictions(y, [[1.0, 9.0, 1.0], [2.0, 9.0, 2.0]])
    assert [ax.get_title() for ax in display.axes_] == [
        "task_0\n2 labels, R² –, MAE 0.5",
        "task_1\n1 label, R² –, MAE 2",
        "task_2\nno labels",
    ]
    assert len(points(display.axes_[2])) == 0
    one = ParityDisplay.from_predictions([0.0], [0.0])
    assert one.axes_[0].get_xlim() == (-1.0, 1.0)


def test_one_dimensional_labels_keep_their_name():
    y = Y["Tb (K)"]
    display = ParityDisplay.from_predictions(y, PREDICTED[:, 0])
    assert names(display) == ["Tb (K)"]
    np.testing.assert_array_equal(points(display.axes_[0])[:, 0], y)
    model = small().fit(X, y)
    from_array = ParityDisplay.from_estimator(model, X, y.to_numpy())
    assert names(from_array) == ["Tb (K)"]


def test_columns_may_have_another_order_than_in_fit():
    model = small().fit(X, Y)
    display = ParityDisplay.from_estimator(model, X, Y[["gap", "Tb (K)", "logP"]])
    expected = ParityDisplay.from_predictions(Y, model.predict(X))
    assert names(display) == names(expected) == list(Y)
    for ax, other in zip(display.axes_, expected.axes_, strict=True):
        np.testing.assert_array_equal(points(ax), points(other))
    assert names(ParityDisplay.from_estimator(model, X, Y.to_numpy())) == list(Y)
    with pytest.raises(ValueError, match="fitted with"):
        ParityDisplay.from_estimator(model, X, Y.rename(columns={"gap": "band gap"}))


def test_a_pipeline_predicts_from_what_it_was_fitted_on():
    smiles = ["C", "CC", "CCC", "CO", "CCO", "CN"]
    y = pd.DataFrame({"carbons": [1.0, 2, 3, 1, 2, 1], "atoms": [1.0, 2, 3, 2, 3, 2]})
    model = make_pipeline(SmilesToGraph(), small()).fit(smiles, y)
    display = ParityDisplay.from_estimator(model, smiles, y[["atoms", "carbons"]])
    assert names(display) == ["carbons", "atoms"]
    np.testing.assert_array_equal(
        points(display.axes_[1])[:, 1], model.predict(smiles)[:, 1]
    )
    # Nor need the estimator be of this package.
    linear = make_pipeline(StandardScaler(), LinearRegression()).fit(X, PREDICTED)
    other = ParityDisplay.from_estimator(linear, X, Y)
    np.testing.assert_array_equal(points(other.axes_[0])[:, 1], linear.predict(X)[:, 0])


def test_chosen_tasks_on_given_axes():
    figure, axes = plt.subplots(1, 2)
    display = ParityDisplay(Y, PREDICTED).plot(tasks=["gap", "logP"], axes=axes)
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes)
    assert names(display) == ["gap", "logP"]
    np.testing.assert_array_equal(points(axes[0])[:, 0], Y["gap"])
    assert display.plot(tasks=["gap"], axes=axes[1]).axes_[0] is axes[1]


def test_wrong_input_is_named():
    display = ParityDisplay(Y, PREDICTED)
    with pytest.raises(ValueError, match="'nope'"):
        display.plot(tasks=["nope"])
    with pytest.raises(ValueError, match="1 axes were given for 3 tasks"):
        display.plot(axes=plt.gca())
    with pytest.raises(ValueError, match=r"3 column\(s\), but task_names"):
        ParityDisplay(Y, PREDICTED, task_names=["a"]).plot()
    with pytest.raises(ValueError, match="both need one row per sample"):
        ParityDisplay(Y, PREDICTED[:, :2]).plot()
    model = MultiTaskGNNClassifier(max_epochs=1, random_state=0).fit(X, X[:, :2] > 0)
    for classifier in (model, make_pipeline(model)):
        with pytest.raises(TypeError, match="predicts classes; use a regressor"):
            ParityDisplay.from_estimator(classifier, X, X[:, :2] > 0)
