"""Per-task scores equal scikit-learn's on the labelled rows of each task."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import metrics as sk
from sklearn.exceptions import UndefinedMetricWarning

from skgnn_mtl.metrics import (
    nan_mean_absolute_error,
    nan_r2_score,
    nan_root_mean_squared_error,
)

NAN = float("nan")
PEERS = {
    nan_r2_score: sk.r2_score,
    nan_mean_absolute_error: sk.mean_absolute_error,
    nan_root_mean_squared_error: sk.root_mean_squared_error,
}
SCORES = pytest.mark.parametrize("score", PEERS, ids=lambda f: f.__name__)
ERRORS = pytest.mark.parametrize(
    "error",
    [nan_mean_absolute_error, nan_root_mean_squared_error],
    ids=lambda f: f.__name__,
)


@pytest.fixture
def table():
    """Sixty rows, five tasks in very different units, a third of the labels missing."""
    rng = np.random.default_rng(0)
    units = np.array([1e-6, 1.0, 3.0, 1e3, 1e8])
    y_true = rng.normal(5, 1, (60, 5)) * units
    y_pred = y_true + rng.normal(0, 0.7, (60, 5)) * units
    y_true[rng.random((60, 5)) < 1 / 3] = np.nan
    return y_true, y_pred, rng.integers(0, 4, 60)


@SCORES
@pytest.mark.parametrize("weighted", [False, True])
def test_each_task_is_scored_on_its_labelled_rows(table, score, weighted):
    y_true, y_pred, weight = table
    sample_weight = weight if weighted else None
    expected = []
    for true, pred in zip(y_true.T, y_pred.T, strict=True):
        rows = ~np.isnan(true)
        expected.append(
            PEERS[score](
                true[rows], pred[rows], sample_weight=weight[rows] if weighted else None
            )
        )
    options = {"sample_weight": sample_weight}
    raw = score(y_true, y_pred, multioutput="raw_values", **options)
    np.testing.assert_allclose(raw, expected, rtol=1e-12)
    assert score(y_true, y_pred, **options) == pytest.approx(np.mean(expected))
    weights = [0, 1, 2, 3, 0.5]
    mean = np.average(expected, weights=weights)
    assert score(y_true, y_pred, multioutput=weights, **options) == pytest.approx(mean)


@SCORES
def test_without_nan_the_scores_are_those_of_scikit_learn(table, score):
    _, y_pred, weight = table
    y_true = y_pred + np.sin(np.arange(y_pred.size)).reshape(y_pred.shape)
    for multioutput in ("uniform_average", "raw_values", np.arange(5)):
        options = {"sample_weight": weight, "multioutput": multioutput}
        np.testing.assert_allclose(
            score(y_true, y_pred, **options),
            PEERS[score](y_true, y_pred, **options),
            rtol=1e-9,
        )


@SCORES
def test_integer_weights_equal_repetitions(table, score):
    y_true, y_pred, weight = table
    weighted = score(y_true, y_pred, sample_weight=weight, multioutput="raw_values")
    repeated = score(
        np.repeat(y_true, weight, axis=0),
        np.repeat(y_pred, weight, axis=0),
        multioutput="raw_values",
    )
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12)


@SCORES
def test_scaling_all_weights_changes_nothing(table, score):
    y_true, y_pred, weight = table
    one = score(y_true, y_pred, sample_weight=weight)
    assert score(y_true, y_pred, sample_weight=1e-3 * weight) == pytest.approx(one)


@SCORES
def test_predictions_of_unlabelled_rows_do_not_matter(table, score):
    y_true, y_pred, _ = table
    other = np.where(np.isnan(y_true), 1e12, y_pred)
    assert score(y_true, other) == score(y_true, y_pred)


@SCORES
def test_order_of_rows_and_tasks_does_not_matter(table, score):
    y_true, y_pred, _ = table
    raw = score(y_true, y_pred, multioutput="raw_values")
    rows, tasks = np.random.default_rng(1).permutation(60), [4, 0, 3, 1, 2]
    permuted = score(
        y_true[rows][:, tasks], y_pred[rows][:, tasks], multioutput="raw_values"
    )
    np.testing.assert_allclose(permuted, raw[tasks], rtol=1e-12)


def test_r2_does_not_depend_on_the_units(table):
    y_true, y_pred, _ = table
    scale = np.array([1e-170, 1e170, -1.0, 7.0, 1e-8])
    raw = nan_r2_score(y_true, y_pred, multioutput="raw_values")
    scaled = nan_r2_score(y_true * scale, y_pred * scale, multioutput="raw_values")
    np.testing.assert_allclose(scaled, raw, rtol=1e-9)


@ERRORS
def test_errors_have_the_unit_of_their_task(table, error):
    y_true, y_pred, _ = table
    scale = np.array([1e-3, 2.0, -1.0, 7.0, 1e5])
    raw = error(y_true, y_pred, multioutput="raw_values")
    scaled = error(y_true * scale, y_pred * scale, multioutput="raw_values")
    np.testing.assert_allclose(scaled, raw * np.abs(scale), rtol=1e-12)


def test_task_means_score_zero_and_are_never_pooled():
    y_true = np.array([[1.0, 1e6], [2.0, NAN], [3.0, 3e6], [NAN, 8e6]])
    y_pred = np.tile(np.nanmean(y_true, axis=0), (4, 1))
    assert nan_r2_score(y_true, y_pred) == pytest.approx(0, abs=1e-15)


@SCORES
def test_one_dimension_is_a_table_of_one_column(table, score):
    y_true, y_pred, weight = (part.T[1] if part.ndim == 2 else part for part in table)
    flat = score(y_true, y_pred, sample_weight=weight)
    assert isinstance(flat, float)
    assert score(y_true[:, None], y_pred, sample_weight=weight) == flat
    assert score(y_true, y_pred, sample_weight=weight, multioutput="raw_values") == [
        flat
    ]


@SCORES
def test_all_containers_give_one_result(table, score):
    y_true, y_pred, _ = table
    expected = score(y_true, y_pred, multioutput="raw_values")
    names = list("abcde")
    frame, pred = (pd.DataFrame(y, columns=names) for y in (y_true, y_pred))
    with_none = y_true.astype(object)
    with_none[np.isnan(y_true)] = None
    with_na = frame.astype("Float64")
    assert with_na.isna().to_numpy().any()
    for labels in (
        y_true.tolist(),
        frame,
        frame.set_index(frame.index[::-1]),
        with_none,
        with_none.tolist(),
        pd.DataFrame(with_none, columns=names),
        with_na,
        with_na.astype(object),
        pl.DataFrame(with_none.tolist(), schema=names, orient="row"),
    ):
        for predictions in (y_pred, y_pred.tolist(), pred):
            raw = score(labels, predictions, multioutput="raw_values")
            np.testing.assert_array_equal(raw, expected)
    one = score(y_true[:, 1], y_pred[:, 1])
    assert score(frame["b"], y_pred[:, 1]) == one
    assert score(with_na["b"], y_pred[:, 1]) == one


@SCORES
def test_inputs_are_left_as_they_are(table, score):
    y_true, y_pred, weight = table
    for part in table:
        part.flags.writeable = False
    before = y_true.copy(), y_pred.copy()
    score(y_true, y_pred, sample_weight=weight)
    np.testing.assert_array_equal(y_true, before[0])
    np.testing.assert_array_equal(y_pred, before[1])


@ERRORS
def test_a_task_without_label_is_named_and_left_out(table, error):
    y_true, y_pred, _ = table
    y_true[:, 2] = NAN
    others = error(np.delete(y_true, 2, 1), np.delete(y_pred, 2, 1))
    with pytest.warns(UndefinedMetricWarning, match="1 of 5 tasks.*a label.*'task_2'"):
        assert error(y_true, y_pred) == others
    frame = pd.DataFrame(y_true, columns=["a", "b", "gap", "d", "e"])
    with pytest.warns(UndefinedMetricWarning, match="'gap'"):
        raw = error(frame, y_pred, multioutput="raw_values")
    assert np.flatnonzero(np.isnan(raw)).tolist() == [2]


@pytest.mark.parametrize("labels", [[], [0.1], [0.1, 0.1, 0.1]])
def test_r2_needs_two_distinct_labels(table, labels):
    y_true, y_pred, _ = table
    y_true[:, 3] = NAN
    y_true[: len(labels), 3] = labels
    others = nan_r2_score(np.delete(y_true, 3, 1), np.delete(y_pred, 3, 1))
    with pytest.warns(UndefinedMetricWarning, match=r"two distinct labels.*'task_3'"):
        assert nan_r2_score(y_true, y_pred) == others


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e300, -7e-300])
def test_constant_labels_are_found_whatever_the_rounding(constant):
    y_true = np.full(10, constant)
    with pytest.raises(ValueError, match="no task has two distinct labels"):
        nan_r2_score(y_true, np.zeros(10), sample_weight=np.linspace(0.1, 1, 10))


def test_labels_of_weight_zero_count_as_missing():
    y_true, y_pred = [[1.0, 1.0], [2.0, 1.0], [3.0, 2.0]], np.zeros((3, 2))
    with pytest.warns(UndefinedMetricWarning, match="'task_1'"):
        nan_r2_score(y_true, y_pred, sample_weight=[1, 1, 0])


@SCORES
def test_no_task_defined_is_an_error(score):
    y_true = np.full((4, 2), np.nan)
    for multioutput in ("uniform_average", "raw_values", [1, 2]):
        with pytest.raises(ValueError, match="no task has"):
            score(y_true, np.zeros((4, 2)), multioutput=multioutput)


@SCORES
def test_invalid_graphs_are_left_out_and_counted(table, score):
    y_true, y_pred, weight = table
    invalid = [3, 17, 40]
    expected = score(
        np.delete(y_true, invalid, 0),
        np.delete(y_pred, invalid, 0),
        sample_weight=np.delete(weight, invalid),
    )
    y_pred[invalid] = NAN
    with pytest.warns(UserWarning, match=r"3 of 60 rows .* rows 3, 17, 40\.") as record:
        assert score(y_true, y_pred, sample_weight=weight) == expected
    assert len(record) == 1


def test_a_long_list_of_invalid_rows_is_cut():
    y_pred = np.r_[np.full(14, NAN), 1.0]
    with pytest.warns(UserWarning, match="14 of 15 rows.* 9 and 4 more"):
        nan_mean_absolute_error(np.zeros(15), y_pred)


@SCORES
def test_a_prediction_missing_in_some_tasks_only_is_an_error(table, score):
    y_true, y_pred, _ = table
    y_pred[[7, 8], 1] = NAN
    with pytest.raises(ValueError, match=r"2 row.*first is row 7, task 'task_1'"):
        score(y_true, y_pred)


@SCORES
def test_no_prediction_at_all_is_an_error(score):
    with pytest.raises(ValueError, match="NaN in all of its 3 rows"):
        score([1.0, 2.0, 3.0], [NAN] * 3)


@SCORES
@pytest.mark.parametrize("side", ["y_true", "y_pred"])
def test_infinity_is_an_error_that_names_row_and_task(table, score, side):
    y_true, y_pred, _ = table
    names = ["a", "b", "c", "gap", "e"]
    tables = {
        "y_true": pd.DataFrame(y_true, columns=names),
        "y_pred": pd.DataFrame(y_pred, columns=names),
    }
    tables[side].iloc[5, 3] = -np.inf
    with pytest.raises(ValueError, match=f"{side} has 1 infinite.*row 5 .* 'gap'"):
        score(**tables)


@SCORES
@pytest.mark.parametrize(
    ("y_true", "y_pred", "message"),
    [
        ([1.0, 2.0], [1.0, 2.0, 3.0], r"\(2,\), but y_pred has shape \(3,\)"),
        (np.ones((3, 2)), np.ones((3, 1)), r"\(3, 2\), but y_pred .* \(3, 1\)"),
        (np.ones((3, 2)), np.ones(6), r"\(3, 2\), but y_pred .* \(6,\)"),
        ([], [], r"y_true must have shape .* has shape \(0,\)"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 2)), r"has shape \(2, 2, 2\)"),
        (3.0, [3.0], r"y_true must have shape"),
        (["a", "b"], [1.0, 2.0], "y_true must hold numbers"),
        ([1.0, 2.0], np.array(["x", None], dtype=object), "y_pred must hold numbers"),
        ([1j, 2.0], [1.0, 2.0], "y_true must hold numbers, but holds complex"),
    ],
)
def test_wrong_tables_are_refused(score, y_true, y_pred, message):
    with pytest.raises(ValueError, match=message):
        score(y_true, y_pred)


@SCORES
def test_columns_in_different_order_are_refused(table, score):
    y_true, y_pred = (pd.DataFrame(y, columns=list("abcde")) for y in table[:2])
    with pytest.raises(ValueError, match=r"columns of y_true .*differ"):
        score(y_true, y_pred[list("bacde")])


@SCORES
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0], r"shape \(3,\), but has shape \(1,\)"),
        ([1.0, -1.0, 1.0], r"sample_weight\[1\] = -1.0"),
        ([1.0, 1.0, NAN], r"sample_weight\[2\] = nan"),
        ([0, 0, 0], "zero in every row"),
    ],
)
def test_wrong_weights_are_refused(score, weight, message):
    with pytest.raises(ValueError, match=message):
        score([1.0, 2.0, 4.0], [1.0, 2.0, 3.0], sample_weight=weight)


@SCORES
@pytest.mark.parametrize(
    ("multioutput", "message"),
    [
        ("variance_weighted", "'uniform_average', 'raw_values' or one weight"),
        ([1.0], r"y has 2 tasks, but multioutput has shape \(1,\)"),
        ([1.0, -1.0], "not negative"),
        ([0, 0], "gives weight zero to"),
    ],
)
def test_wrong_multioutput_is_refused(score, multioutput, message):
    y_true = np.array([[1.0, 2.0], [2.0, 5.0]])
    with pytest.raises(ValueError, match=message):
        score(y_true, y_true, multioutput=multioutput)


def test_the_published_file_of_one_data_set(shared_data):
    """Gaps as they are in real tables: 6 tasks, 46 % of the labels missing."""
    table = pd.read_csv(shared_data / "ADME_public_set_3521.csv")
    y = table[[c for c in table.columns if c.startswith("LOG")]]
    mean = np.tile(y.mean().to_numpy(), (len(y), 1))
    rmse = nan_root_mean_squared_error(y, mean, multioutput="raw_values")
    np.testing.assert_allclose(rmse, y.std(ddof=0), rtol=1e-12)
    assert nan_r2_score(y, mean) == pytest.approx(0, abs=1e-12)
