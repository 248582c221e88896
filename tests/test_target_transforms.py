"""Transforms of labels, task by task."""

import pickle

import numpy as np
import pytest
from sklearn.preprocessing import (
    FunctionTransformer,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)

from skgnn_mtl._target_transforms import TargetTransforms, check_target_transform

NAMES = ["a", "b"]


def table(rng=0):
    values = np.exp(np.random.default_rng(rng).normal(size=(30, 2)))
    values[::3, 0] = np.nan
    return values


@pytest.mark.parametrize(
    "spec",
    [
        None,
        "log",
        "log10",
        {"b": "log10"},
        StandardScaler(),
        {"a": PowerTransformer(), "b": "log"},
    ],
    ids=str,
)
def test_the_inverse_undoes_the_transform_and_gaps_stay(spec):
    y = table()
    transforms = pickle.loads(pickle.dumps(TargetTransforms.fit(spec, y, NAMES)))
    inside = transforms.transform(y)
    np.testing.assert_array_equal(np.isnan(inside), np.isnan(y))
    np.testing.assert_allclose(transforms.inverse_transform(inside), y, rtol=1e-10)


def test_each_task_has_its_own_function():
    y = table()
    inside = TargetTransforms.fit({"a": "log10", "b": "log"}, y, NAMES).transform(y)
    np.testing.assert_allclose(inside[:, 0], np.log10(y[:, 0]))
    np.testing.assert_allclose(inside[:, 1], np.log(y[:, 1]))


def test_a_transformer_learns_each_task_from_its_labels_only():
    y = table()
    given = StandardScaler()
    transforms = TargetTransforms.fit(given, y, NAMES)
    inside = transforms.transform(y)
    np.testing.assert_allclose(np.nanmean(inside, axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(inside, axis=0), 1)
    assert not hasattr(given, "mean_")


def test_the_input_is_left_alone():
    y = table()
    before = y.copy()
    transforms = TargetTransforms.fit("log", y, NAMES)
    transforms.inverse_transform(transforms.transform(y))
    np.testing.assert_array_equal(y, before)
    assert not transforms.is_identity
    assert TargetTransforms.fit(None, y, NAMES).is_identity
    assert TargetTransforms.fit({}, y, NAMES).is_identity


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_a_label_out_of_domain_is_named(value):
    y = table()
    y[7, 1] = value
    with pytest.raises(ValueError, match=rf"'log10'.*task 'b' has {value} in row 7"):
        TargetTransforms.fit({"b": "log10"}, y, NAMES)
    TargetTransforms.fit({"a": "log10"}, y, NAMES)  # another task's labels


def test_new_labels_out_of_domain_are_refused_too():
    transforms = TargetTransforms.fit("log", table(), NAMES)
    with pytest.raises(ValueError, match="task 'a' has -1.0 in row 1"):
        transforms.transform(np.array([[1.0, 1.0], [-1.0, 1.0]]))


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("sqrt", ValueError, "has 'sqrt'"),
        ({"c": "log"}, ValueError, r"task 'c', but the tasks are \['a', 'b'\]"),
        ({"a": 3}, TypeError, "int lacks fit"),
        (object(), TypeError, "object lacks fit"),
    ],
)
def test_a_wrong_specification_is_refused(spec, error, message):
    with pytest.raises(error, match=message):
        check_target_transform(spec, NAMES)


def test_a_transformer_that_fails_names_the_task():
    y = table()
    y[:, 1] = -y[:, 1]
    with pytest.raises(ValueError, match="labels of task 'b'"):
        TargetTransforms.fit(PowerTransformer("box-cox"), y, NAMES)


def test_a_transformer_that_refuses_later_labels_names_the_task():
    y = table()
    transforms = TargetTransforms.fit({"b": PowerTransformer("box-cox")}, y, NAMES)
    y[3, 1] = -1.0
    with pytest.raises(
        ValueError, match="applied to the labels of task 'b': .*Box-Cox"
    ):
        transforms.transform(y)


def test_a_prediction_beyond_floats_is_bounded_with_a_warning():
    transforms = TargetTransforms.fit("log10", table(), NAMES)
    with pytest.warns(UserWarning, match="1 prediction.* of task 'b'"):
        found = transforms.inverse_transform(np.array([[1.0, 400.0], [np.nan, 0.0]]))
    assert found[0, 1] == np.finfo(float).max
    assert np.isnan(found[1, 0])
    assert found[1, 1] == 1.0


def test_a_prediction_that_cannot_be_brought_back_is_reported():
    spec = {"a": PowerTransformer("box-cox")}
    y = table()
    # Labels of a parameter below 0, for which Box and Cox have an upper bound.
    y[:, 0] = np.linspace(1, 2, 30) ** -2.0
    transforms = TargetTransforms.fit(spec, y, NAMES)
    with pytest.warns(UserWarning, match="prediction.* of task 'a' are outside"):
        found = transforms.inverse_transform(np.array([[1e3, 1.0], [0.0, 1.0]]))
    assert np.isnan(found[0, 0])
    assert np.isfinite(found[1]).all()


def test_a_task_without_a_label_passes():
    y = table()
    y[:, 0] = np.nan
    transforms = TargetTransforms.fit(QuantileTransformer(n_quantiles=5), y, NAMES)
    assert np.isnan(transforms.transform(y)[:, 0]).all()


def test_intervals_come_back_sorted_and_infinite_ends_stay():
    falling = FunctionTransformer(np.negative, np.negative)
    transforms = TargetTransforms(("a", "b"), ("log10", falling))
    table = np.array([[10.0, 1.0], [100.0, 2.0], [np.nan, np.nan]])
    np.testing.assert_array_equal(transforms.directions(table), [1.0, -1.0])
    ends = np.array([[[1.0, 2.0], [3.0, 4.0]], [[-np.inf, np.inf], [np.nan, np.nan]]])
    np.testing.assert_allclose(
        transforms.inverse_ends(ends),
        [[[10, 100], [-4, -3]], [[-np.inf, np.inf], [np.nan, np.nan]]],
    )


def test_an_end_out_of_range_stays_on_its_side():
    # Its values are above 0, so that its inverse is NaN where 2 x + 1 is not.
    rising = PowerTransformer("box-cox", standardize=False)
    rising.fit([[1.0], [2.0]]).lambdas_ = np.array([2.0])
    falling = FunctionTransformer(
        lambda y: -rising.transform(y), lambda z: rising.inverse_transform(-z)
    )
    transforms = TargetTransforms(("up", "down"), (rising, falling))
    mean, std = np.array([[0.0, 0.0], [4.0, -4.0]]), np.ones((2, 2))
    ends = np.stack([mean - std, mean + std], axis=2)
    with pytest.warns(UserWarning, match="1 prediction.* are outside"):
        found = transforms.inverse_ends(ends)
    known = np.sqrt([[np.nan, 3.0], [7.0, 11.0]])
    np.testing.assert_allclose(found, np.stack([known, known], axis=1))
    with pytest.warns(UserWarning, match="1 deviation.* are outside"):
        deviations = transforms.inverse_std(mean, std)
    half = [np.nan, (np.sqrt(11) - np.sqrt(7)) / 2]
    np.testing.assert_allclose(deviations, np.column_stack([half, half]))


def test_intervals_of_an_inverse_that_turns_are_reported():
    reciprocal = FunctionTransformer(lambda y: 1 / y, lambda z: 1 / z)
    falling = FunctionTransformer(np.negative, np.negative)
    transforms = TargetTransforms(("rate", "down"), (reciprocal, falling))
    ends = np.array([[[-1.0, 3.0], [0.0, 1.0]], [[1.0, 2.0], [np.nan, np.nan]]])
    with pytest.warns(UserWarning, match=r"1 interval\(s\) of task 'rate' are wrong"):
        transforms.inverse_ends(ends)
    ends[0, 0] = [0.5, 0.5]
    np.testing.assert_array_equal(
        transforms.inverse_ends(ends)[:, 0], [[2, 2], [0.5, 1]]
    )


@pytest.mark.parametrize(
    "step", [FunctionTransformer(np.log), FunctionTransformer(np.abs)], ids=str
)
def test_a_transformer_that_is_not_undone_is_reported(step):
    y = table()
    y[4, 1] = -2.0 if step.func is np.abs else y[4, 1]
    with pytest.warns(UserWarning, match="the label .* of task 'b' becomes"):
        TargetTransforms.fit({"b": step}, y, NAMES)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_rounding_of_an_inverse_is_not_reported(scale):
    y = scale * table()
    for step in (
        PowerTransformer(),
        QuantileTransformer(n_quantiles=5, output_distribution="normal"),
        FunctionTransformer(np.sqrt, np.square),
    ):
        TargetTransforms.fit(step, y, NAMES)
