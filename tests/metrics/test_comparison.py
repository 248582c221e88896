"""Delta_m and mean rank against hand-made numbers and their invariances."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.metrics import delta_m, mean_rank


def test_delta_m_is_the_mean_relative_change():
    assert delta_m([2.0, 30.0, 3.0], [1.0, 40.0, 3.0]) == pytest.approx(25.0)
    assert delta_m([2.0, 30.0, 3.0], [1.0, 40.0, 3.0], average="median") == 0.0
    change = delta_m([2.0, 30.0, 3.0], [1.0, 40.0, 3.0], average=None)
    np.testing.assert_allclose(change, [100.0, -25.0, 0.0])


def test_lower_is_better_whatever_is_measured():
    better = delta_m([0.5, 0.9], [1.0, 0.6], higher_is_better=[False, True])
    worse = delta_m([1.5, 0.3], [1.0, 0.6], higher_is_better=[False, True])
    assert better == pytest.approx(-50)
    assert worse == pytest.approx(50)
    assert delta_m([0.9], [0.6], higher_is_better=True) == -delta_m([0.9], [0.6])


def test_the_reference_itself_has_delta_zero():
    reference = np.random.default_rng(0).uniform(1e-6, 1e6, 11)
    assert delta_m(reference, reference) == 0


def test_delta_m_does_not_depend_on_units_or_order_of_tasks():
    rng = np.random.default_rng(0)
    errors, reference = rng.uniform(0.1, 2, (4, 7)), rng.uniform(0.1, 2, 7)
    units, order = 10.0 ** rng.integers(-6, 6, 7), rng.permutation(7)
    expected = delta_m(errors, reference)
    assert expected.shape == (4,)
    np.testing.assert_allclose(delta_m(errors * units, reference * units), expected)
    np.testing.assert_allclose(delta_m(errors[:, order], reference[order]), expected)


def test_a_table_of_methods_equals_its_rows():
    rng = np.random.default_rng(1)
    errors, reference = rng.uniform(0.1, 2, (5, 3)), rng.uniform(0.1, 2, 3)
    for average in ("mean", "median", None):
        table = delta_m(errors, reference, average=average)
        rows = [delta_m(row, reference, average=average) for row in errors]
        np.testing.assert_allclose(table, rows)


def test_a_frame_of_methods_and_a_series_of_references():
    errors = pd.DataFrame([[1.0, 2.0]], index=["Equal"], columns=["gap", "dipole"])
    reference = pd.Series([2.0, 2.0], index=["gap", "dipole"])
    np.testing.assert_allclose(delta_m(errors, reference), [-25.0])
    np.testing.assert_allclose(delta_m(errors, reference.to_numpy()), [-25.0])
    with pytest.raises(ValueError, match="differ; put them into one order"):
        delta_m(errors, reference[::-1])


@pytest.mark.parametrize(
    ("errors", "reference", "options", "message"),
    [
        ([1.0, 2.0], [1.0], {}, "errors has 2 tasks, but 1 reference"),
        ([1.0, 2.0], [1.0, 0.0], {}, "task 1 must be positive .* is 0.0"),
        ([1.0, 2.0], [1.0, -3.0], {}, "task 1 must be .* is -3.0"),
        ([1.0, np.nan], [1.0, 1.0], {}, "errors has 1 missing.*task 1;"),
        ([[1.0], [np.inf]], [1.0], {}, "task 0 of method 1"),
        ([1.0], [np.nan], {}, "reference_errors has 1 missing"),
        ([1.0], [[1.0]], {}, r"reference_errors must have shape \(n_tasks,\)"),
        ([], [], {}, "errors must have shape"),
        ([1.0], [1.0], {"average": "max"}, "'mean', 'median' or None"),
        ([1.0], [1.0], {"higher_is_better": [True, False]}, "one bool for each of 1"),
        ([1.0], [1.0], {"higher_is_better": "yes"}, "must be a bool"),
    ],
)
def test_delta_m_refuses(errors, reference, options, message):
    with pytest.raises(ValueError, match=message):
        delta_m(errors, reference, **options)


def test_messages_name_the_task_of_a_frame():
    errors = pd.DataFrame([[1.0, np.nan]], columns=["gap", "dipole"])
    with pytest.raises(ValueError, match="task 'dipole' of method 0"):
        mean_rank(errors)


def test_mean_rank_by_counting():
    errors = np.random.default_rng(0).integers(0, 4, (6, 9)).astype(float)
    expected = [
        np.mean([np.sum(column < e) + (np.sum(column == e) + 1) / 2
                 for e, column in zip(row, errors.T, strict=True)])
        for row in errors
    ]  # fmt: skip
    np.testing.assert_allclose(mean_rank(errors), expected)
    assert mean_rank(errors).sum() == pytest.approx(6 * 7 / 2)


def test_ranks_depend_on_the_order_of_each_task_only():
    errors = np.random.default_rng(0).uniform(1, 2, (5, 4))
    monotone = np.stack([errors[:, 0] ** 3, np.log(errors[:, 1]),
                         1e6 * errors[:, 2], errors[:, 3] - 7], axis=1)  # fmt: skip
    np.testing.assert_array_equal(mean_rank(monotone), mean_rank(errors))


def test_higher_is_better_reverses_ranks():
    errors = np.random.default_rng(0).integers(0, 3, (5, 4)).astype(float)
    np.testing.assert_allclose(
        mean_rank(errors, higher_is_better=True), 6 - mean_rank(errors)
    )
    one = mean_rank([[0.1, 0.9], [0.2, 0.8]], higher_is_better=[False, True])
    np.testing.assert_array_equal(one, [1, 2])


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ([1.0, 2.0], r"must have shape \(n_methods, n_tasks\), but has shape \(2,\)"),
        ([[1.0, np.nan], [1.0, 1.0]], "1 missing or infinite.*task 1 of method 0"),
        (np.empty((0, 3)), "has shape"),
    ],
)
def test_mean_rank_refuses(errors, message):
    with pytest.raises(ValueError, match=message):
        mean_rank(errors)
