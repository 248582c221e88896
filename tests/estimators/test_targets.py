"""y: gaps, statistics, losses, units, containers, names, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from skgnn_mtl import SmilesToGraph
from skgnn_mtl.encoders import GIN
from skgnn_mtl.metrics import nan_r2_score
from skgnn_mtl.readouts import Sum

ELEMENTWISE = {
    "squared_error": np.square,
    "absolute_error": np.abs,
    "huber": lambda d: np.where(abs(d) < 1, d**2 / 2, abs(d) - 0.5),
}


def hand_statistics(table, weights):
    """Mean and standard deviation of each task over labelled rows, row by row."""
    mean, scale = [], []
    for column in table.T:
        rows = [i for i in range(len(column)) if not np.isnan(column[i]) and weights[i]]
        total = sum(weights[i] for i in rows)
        mean.append(sum(weights[i] * column[i] for i in rows) / total)
        squares = sum(weights[i] * (column[i] - mean[-1]) ** 2 for i in rows)
        scale.append((squares / total) ** 0.5)
    return mean, scale


def hand_losses(model, X, table, weights=None, loss="squared_error"):
    """Weighted mean loss of standardised predictions over the labels of each task."""
    weights = np.ones(len(table)) if weights is None else weights
    residual = (model.predict(X).reshape(table.shape) - table) / model.target_scale_
    losses = []
    for column in ELEMENTWISE[loss](residual).T:
        rows = np.flatnonzero(~np.isnan(column) & (weights > 0))
        losses.append(np.average(column[rows], weights=weights[rows]))
    return losses


# -- gaps -----------------------------------------------------------------------------


def test_statistics_are_those_of_the_labelled_rows(small, graphs, gaps):
    model = small().fit(graphs, gaps)
    mean, scale = hand_statistics(gaps, np.ones(len(gaps)))
    np.testing.assert_allclose(model.target_mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(model.target_scale_, scale, rtol=1e-12)


def relative_error(outputs, targets):
    """Undefined at a label of zero."""
    return ((outputs - targets) / targets).square()


@pytest.mark.filterwarnings("ignore:.*eigenvalues have not converged")
def test_a_loss_need_not_be_defined_at_zero(small, graphs, gaps):
    y = 1.0 + abs(gaps)
    model = small(
        loss=relative_error,
        normalize_targets=False,
        hessian_spectrum={"n_lanczos": 3, "n_eigenvalues": 1},
    ).fit(graphs, y)
    expected = np.nanmean((model.predict(graphs) / y - 1.0) ** 2, axis=0)
    np.testing.assert_allclose(model.hessian_spectrum_.loss, expected, rtol=1e-4)


def test_statistics_follow_the_sample_weights(small, graphs, gaps):
    weights = np.random.default_rng(2).uniform(0.1, 3.0, len(gaps))
    weights[[2, 5, 11]] = 0.0
    model = small().fit(graphs, gaps, sample_weight=weights)
    mean, scale = hand_statistics(gaps, weights)
    np.testing.assert_allclose(model.target_mean_, mean, rtol=1e-12)
    np.testing.assert_allclose(model.target_scale_, scale, rtol=1e-12)


def test_rows_without_any_label_change_nothing(small, graphs, gaps, same_weights):
    gaps[[0, 7, 8, 29]] = np.nan
    kept = np.flatnonzero(~np.isnan(gaps).all(axis=1))
    with_them = small().fit(graphs, gaps)
    without = small().fit(graphs[kept], gaps[kept])
    assert same_weights(with_them, without)
    assert np.array_equal(with_them.target_mean_, without.target_mean_)
    losses = [
        [record["train_losses"] for record in model.history_]
        for model in (with_them, without)
    ]
    assert losses[0] == losses[1]


def test_a_row_of_weight_zero_is_no_row(small, graphs, gaps, same_weights):
    weights = np.ones(len(gaps))
    weights[[1, 4, 20]] = 0.0
    kept = np.flatnonzero(weights)
    weighted = small().fit(graphs, gaps, sample_weight=weights)
    assert same_weights(weighted, small().fit(graphs[kept], gaps[kept]))


def test_a_label_of_weight_zero_counts_as_missing(small, graphs, gaps):
    gaps[:, 1] = np.nan
    gaps[[3, 4], 1] = 1.0, 2.0
    weights = np.ones(len(gaps))
    weights[[3, 4]] = 0.0
    with pytest.raises(ValueError, match="'task_1' has no label"):
        small().fit(graphs, gaps, sample_weight=weights)


def test_the_value_under_a_gap_is_never_read(small, graphs, gaps, same_weights):
    # A zero weight over a row with a huge label, and a NaN there, are the same.
    weights = np.ones(len(gaps))
    weights[6] = 0.0
    wild = gaps.copy()
    wild[6] = 1e300
    a = small().fit(graphs, gaps, sample_weight=weights)
    b = small().fit(graphs, wild, sample_weight=weights)
    assert same_weights(a, b)


# -- losses and weights ---------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [100, 7])
@pytest.mark.parametrize("loss", ELEMENTWISE)
def test_recorded_losses_are_those_of_the_predictions(
    small, graphs, gaps, loss, batch_size
):
    # With a rate of next to nothing every batch sees the network that predicts.
    model = small(loss=loss, lr=1e-30, batch_size=batch_size, max_epochs=1)
    weights = np.random.default_rng(3).uniform(0.2, 2.0, len(gaps))
    model.fit(graphs, gaps, sample_weight=weights)
    record = model.history_[0]
    expected = hand_losses(model, graphs, gaps, weights, loss)
    assert list(record["train_losses"]) == model.task_names_
    np.testing.assert_allclose(
        list(record["train_losses"].values()), expected, rtol=1e-4
    )
    assert record["train_loss"] == pytest.approx(np.mean(expected), rel=1e-4)


def test_a_callable_loss_is_trained_on(small, graphs, gaps, same_weights):
    def squared(outputs, targets):
        return (outputs - targets) ** 2

    assert same_weights(
        small(loss=squared).fit(graphs, gaps), small().fit(graphs, gaps)
    )


@pytest.mark.parametrize(
    "loss",
    [
        torch.nn.MSELoss(),
        lambda outputs, targets: (outputs - targets).square().mean(dim=0),
        lambda outputs, targets: (outputs - targets).square().mean(dim=1),
    ],
    ids=["scalar", "one a task", "one a row"],
)
def test_a_loss_that_averages_is_refused(small, graphs, gaps, loss):
    # It would pool the tasks, and read the zeros that stand in place of gaps.
    with pytest.raises(ValueError, match=r"(?s)loss.*(30, 3)|(30, 3).*loss"):
        small(loss=loss).fit(graphs, gaps)


def test_a_loss_of_torch_is_taken_without_its_average(
    small, graphs, gaps, same_weights
):
    model = small(loss=torch.nn.MSELoss(reduction="none")).fit(graphs, gaps)
    assert same_weights(model, small().fit(graphs, gaps))


@pytest.mark.parametrize("factor", [2.0**20, 2.0**-20, 1e-60, 1e60])
def test_a_common_factor_of_the_weights_changes_nothing(small, graphs, gaps, factor):
    weights = np.random.default_rng(3).uniform(0.5, 2.0, len(gaps))
    plain = small().fit(graphs, gaps, sample_weight=weights)
    scaled = small().fit(graphs, gaps, sample_weight=factor * weights)
    np.testing.assert_allclose(
        scaled.predict(graphs), plain.predict(graphs), rtol=1e-4, atol=1e-4
    )


def test_integer_weights_are_repetitions(small, gaps):
    X = np.random.default_rng(0).normal(size=(len(gaps), 4))
    weights = np.random.default_rng(4).integers(1, 4, len(gaps))
    rows = np.repeat(np.arange(len(gaps)), weights)
    settings = {"batch_size": 1000, "max_epochs": 10}
    weighted = small(**settings).fit(X, gaps, sample_weight=weights)
    repeated = small(**settings).fit(X[rows], gaps[rows])
    np.testing.assert_allclose(weighted.predict(X), repeated.predict(X), rtol=1e-7)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(30), "zero"),
        (-np.ones(30), "(?i)negative"),
        (np.full(30, np.nan), "nan"),
        (np.ones(29), r"\(29,\)|29"),
        (np.ones((30, 2)), "1D|dimension|shape"),
    ],
)
def test_bad_sample_weights_are_refused(small, graphs, gaps, weights, message):
    with pytest.raises(ValueError, match=message) as error:
        small().fit(graphs, gaps, sample_weight=weights)
    assert "weight" in str(error.value).lower()


# -- units ----------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "shift"), [(1e6, 0.0), (1e-6, 0.0), (1.0, 100.0)])
def test_standardised_training_does_not_know_units(small, graphs, gaps, factor, shift):
    plain = small(max_epochs=10).fit(graphs, gaps)
    other = small(max_epochs=10).fit(graphs, gaps * factor + shift)
    expected = plain.predict(graphs) * factor + shift
    np.testing.assert_allclose(
        other.predict(graphs), expected, rtol=1e-4, atol=1e-4 * factor
    )
    for mine, theirs in zip(other.history_, plain.history_, strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)


def test_tasks_of_very_different_scales_all_learn(small, graphs, table):
    scales = np.array([1e-6, 1.0, 1e6])
    model = small(readout=Sum(norm=10), max_epochs=150)
    model.fit(graphs, table * scales)
    scores = nan_r2_score(
        table * scales, model.predict(graphs), multioutput="raw_values"
    )
    assert (scores > 0.8).all()


def test_targets_can_be_left_as_they_are(small, graphs, gaps):
    model = small(normalize_targets=False).fit(graphs, gaps)
    assert model.target_mean_.tolist() == [0.0] * 3
    assert model.target_scale_.tolist() == [1.0] * 3


@pytest.mark.parametrize("value", [0.0, 0.1, -273.15, 1e12])
def test_a_constant_task_has_scale_one(small, graphs, table, value):
    table[:, 1] = value
    weights = np.random.default_rng(0).uniform(size=len(table))
    model = small().fit(graphs, table, sample_weight=weights)
    assert model.target_scale_[1] == 1.0
    assert model.target_mean_[1] == pytest.approx(value)


@pytest.mark.parametrize("value", [1e160, -1e308, 1e-200])
def test_labels_whose_squares_are_no_numbers_are_refused(small, graphs, table, value):
    table[:, 1] = 0.0
    table[3, 1] = value
    with pytest.raises(ValueError, match="task 'task_1' .* another unit"):
        small().fit(graphs, table)
    # Constant ones have no spread to compute.
    table[:, 1] = value
    assert np.isfinite(small().fit(graphs, table).predict(graphs)).all()


def test_a_constant_task_has_scale_one_in_a_long_table(small):
    # Rounding errors of a sum grow with its length.
    X = np.random.default_rng(0).normal(size=(100_000, 1))
    y = np.column_stack([X[:, 0], np.full(len(X), 0.1)])
    model = small(
        encoder=GIN(2, n_layers=1, norm=None), batch_size=50_000, max_epochs=1
    )
    assert model.fit(X, y).target_scale_[1] == 1.0


# -- shapes and names -----------------------------------------------------------------


def test_one_dimension_in_one_dimension_out(small, graphs, table):
    model = small().fit(graphs, table[:, 0])
    assert model.predict(graphs).shape == (30,)
    assert model.predict(graphs).dtype == np.float64
    assert model.task_names_ == ["task_0"]
    assert model.n_tasks_ == 1
    assert np.ndim(model.score(graphs, table[:, 0])) == 0


def test_one_column_stays_a_column(small, graphs, table):
    column = small().fit(graphs, table[:, :1])
    vector = small().fit(graphs, table[:, 0])
    assert column.predict(graphs).shape == (30, 1)
    assert np.array_equal(column.predict(graphs)[:, 0], vector.predict(graphs))


def test_frames_and_series_name_the_tasks(small, graphs, table):
    frame = pd.DataFrame(table, columns=["Tb (K)", "logP", 3])
    assert small().fit(graphs, frame).task_names_ == ["Tb (K)", "logP", "3"]
    assert small().fit(graphs, frame["logP"]).task_names_ == ["logP"]
    assert small().fit(graphs, pd.Series(table[:, 0])).task_names_ == ["task_0"]
    assert small().fit(graphs, frame[["logP"]]).predict(graphs).shape == (30, 1)
    assert small().fit(graphs, frame["logP"]).predict(graphs).shape == (30,)
    assert small().fit(graphs, table).task_names_ == ["task_0", "task_1", "task_2"]


def test_the_index_of_a_frame_means_nothing(small, graphs, gaps, same_weights):
    index = np.random.default_rng(0).permutation(len(gaps))
    weights = np.linspace(0.5, 2.0, len(gaps))
    shuffled = small().fit(
        graphs,
        pd.DataFrame(gaps, index=index),
        sample_weight=pd.Series(weights, index=index),
    )
    assert same_weights(shuffled, small().fit(graphs, gaps, sample_weight=weights))


CONTAINERS = {
    "list of lists with None": lambda y: [
        [None if np.isnan(v) else v for v in row] for row in y
    ],
    "list of lists with pd.NA": lambda y: [
        [pd.NA if np.isnan(v) else v for v in row] for row in y
    ],
    "tuple of tuples with NaN": lambda y: tuple(map(tuple, y.tolist())),
    "object array with None": lambda y: np.where(np.isnan(y), None, y),
    "object frame with pd.NA": lambda y: pd.DataFrame(
        np.where(np.isnan(y), pd.NA, y), dtype=object
    ),
    "object frame with None": lambda y: pd.DataFrame(
        np.where(np.isnan(y), None, y), dtype=object
    ),
    "nullable frame": lambda y: pd.DataFrame(y).astype("Float64"),
    "arrow frame": lambda y: pd.DataFrame(y).astype("double[pyarrow]"),
    "polars with null": lambda y: pl.DataFrame(y, schema=["a", "b", "c"]).with_columns(
        pl.all().fill_nan(None)
    ),
    "polars with NaN": lambda y: pl.DataFrame(y, schema=["a", "b", "c"]),
    "Fortran order": np.asfortranarray,
    "read-only": lambda y: np.broadcast_to(y, y.shape),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_of_labels_is_the_same(small, graphs, gaps, same_weights, name):
    before = CONTAINERS[name](gaps)
    model = small(max_epochs=1).fit(graphs, before)
    assert same_weights(model, small(max_epochs=1).fit(graphs, gaps))
    assert np.isfinite(model.score(graphs, before))


def test_polars_names_the_tasks(small, graphs, table):
    frame = pl.DataFrame(table, schema=["a", "b", "c"])
    assert small().fit(graphs, frame).task_names_ == ["a", "b", "c"]
    assert small().fit(graphs, frame["b"]).task_names_ == ["b"]
    assert small().fit(graphs, frame["b"]).predict(graphs).shape == (30,)


def test_columns_of_mixed_types_are_one_table(small, graphs, table, same_weights):
    whole = np.round(table)
    mixed = pd.DataFrame(
        {
            "a": whole[:, 0].astype(int),
            "b": pd.array(whole[:, 1], dtype="Int64"),
            "c": whole[:, 2].astype("float32"),
        }
    )
    assert same_weights(small().fit(graphs, mixed), small().fit(graphs, whole))
    polars = pl.DataFrame({name: mixed[name].tolist() for name in mixed})
    assert same_weights(small().fit(graphs, polars), small().fit(graphs, whole))


def test_integers_are_numbers(small, graphs, table, same_weights):
    whole = np.round(table).astype(int)
    assert same_weights(
        small().fit(graphs, whole), small().fit(graphs, whole.astype(float))
    )


def test_y_is_not_written_to(small, graphs, gaps):
    before = gaps.copy()
    small().fit(graphs, gaps)
    np.testing.assert_array_equal(gaps, before)


# -- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_names_task_and_row(small, graphs, gaps, sign):
    gaps[17, 1] = sign * np.inf
    frame = pd.DataFrame(gaps, columns=["a", "logP", "c"])
    with pytest.raises(ValueError, match=r"infinity.*'logP'.*17"):
        small().fit(graphs, frame)


def test_a_task_without_labels_is_named(small, graphs, gaps):
    gaps[:, 2] = np.nan
    frame = pd.DataFrame(gaps, columns=["a", "b", "Tflash (K)"])
    with pytest.raises(ValueError, match=r"'Tflash \(K\)' has no label"):
        small().fit(graphs, frame)
    with pytest.raises(ValueError, match="no label"):
        small().fit(graphs, frame["Tflash (K)"])


def test_two_tasks_of_one_name_are_refused(small, graphs, table):
    with pytest.raises(ValueError, match="must differ.*'a'"):
        small().fit(graphs, pd.DataFrame(table, columns=["a", "b", "a"]))
    # Names that differ as objects but not as text.
    with pytest.raises(ValueError, match="must differ"):
        small().fit(graphs, pd.DataFrame(table, columns=["1", 1, "a"]))


def test_lengths_must_agree(small, graphs, gaps):
    with pytest.raises(ValueError, match=r"(?s)30.*29|29.*30"):
        small().fit(graphs, gaps[:-1])


def test_y_is_required(small, graphs):
    with pytest.raises(ValueError, match="requires y to be passed"):
        small().fit(graphs, None)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((30, 2, 2)), "dim"),
        (np.zeros((30, 0)), "0 feature|no task|column"),
        (np.zeros(30) + 1j, "(?i)complex"),
        (np.array(["high"] * 30), "high"),
        (np.array([{}] * 30), "dict"),
    ],
)
def test_other_labels_are_refused(small, graphs, y, message):
    with pytest.raises((TypeError, ValueError), match=message):
        small().fit(graphs, y)


def test_a_scalar_is_no_table(small, graphs):
    with pytest.raises((TypeError, ValueError)):
        small().fit(graphs, 3.0)


def test_more_labels_than_rows_of_smiles(small, smiles, table):
    with pytest.raises(ValueError, match="inconsistent"):
        small().fit(SmilesToGraph().fit_transform(smiles[:5]), table)
