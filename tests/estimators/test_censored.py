"""Labels that are bounds, in a fit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.preprocessing import FunctionTransformer

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.metrics import nan_r2_scorer
from skgnn_mtl.metrics import neg_nan_mean_absolute_error_scorer as mae_scorer
from skgnn_mtl.weighting import BLO


@pytest.fixture
def censored(gaps):
    """The table with gaps, the highest half of whose first column is a loose bound."""
    frame = pd.DataFrame(gaps, columns=["a", "b", "c"])
    limit, high = frame["a"].quantile([0.1, 0.5]).tolist()
    bounds = frame["a"].astype(object).mask(frame["a"] > high, f">{limit!r}")
    return frame.astype(object).assign(a=bounds)


def numbers(table):
    """The table whose bounds are exact labels."""
    return table.map(lambda x: float(x.lstrip("<>=")) if isinstance(x, str) else x)


def dropped(table):
    """The table whose bounds are gaps."""
    return table.map(lambda x: np.nan if isinstance(x, str) else x)


def test_by_default_a_bound_is_an_error_that_says_what_to_set(small, graphs, censored):
    row = next(i for i, x in enumerate(censored["a"]) if isinstance(x, str))
    text = censored["a"][row]
    message = f"{text!r} of task 'a' in row {row}. Set censored='bound'"
    for y in (censored, censored.set_axis(censored.index[::-1])):
        with pytest.raises(ValueError, match=message):
            small().fit(graphs, y)
    with pytest.raises(ValueError, match="censored"):
        small(censored="ignore").fit(graphs, censored)


def test_drop_makes_gaps(small, graphs, censored):
    model = small(censored="drop").fit(graphs, censored)
    expected = small().fit(graphs, dropped(censored))
    np.testing.assert_array_equal(model.predict(graphs), expected.predict(graphs))


@pytest.mark.parametrize("mode", ["drop", "bound"])
def test_without_a_bound_nothing_changes(small, graphs, gaps, mode):
    model = small(censored=mode, task_weighting="pcgrad").fit(graphs, gaps)
    expected = small(task_weighting="pcgrad").fit(graphs, gaps)
    np.testing.assert_array_equal(model.predict(graphs), expected.predict(graphs))
    assert model.history_[-1]["train_loss"] == expected.history_[-1]["train_loss"]


def test_scales_count_bounds_as_their_numbers(small, graphs, censored):
    model = small(censored="bound").fit(graphs, censored)
    expected = small().fit(graphs, numbers(censored))
    np.testing.assert_array_equal(model.target_mean_, expected.target_mean_)
    np.testing.assert_array_equal(model.target_scale_, expected.target_scale_)


def test_bounds_that_all_predictions_violate_are_exact_labels(small, graphs, gaps):
    # At the first epoch all outputs are small, and these bounds lie far off.
    high = np.nanmax(gaps[:, 0]) + 50
    y = pd.DataFrame(gaps).astype(object)
    y.iloc[:3, 0] = f">={high}"
    changes = {"max_epochs": 2, "lr": 1e-4}
    model = small(censored="bound", **changes).fit(graphs, y)
    expected = small(**changes).fit(graphs, numbers(y))
    np.testing.assert_array_equal(model.predict(graphs), expected.predict(graphs))


def test_satisfied_bounds_do_not_pull(small, graphs, gaps):
    y = pd.DataFrame(gaps).astype(object)
    low = np.nanmin(gaps[:, 0]) - 50
    y.iloc[:3, 0] = f">={low}"
    model = small(censored="bound", lr=1e-4, optimizer="sgd").fit(graphs, y)
    # They count in the mean, so that the loss is that of gaps times the exact share.
    loss = model.history_[0]["train_losses"]["0"]
    assert np.isfinite(loss)
    problem = model.task_problem(graphs, y)
    losses = problem.losses(problem.outputs(problem.batches[0]), problem.batches[0])
    z = (dropped(y)[0].to_numpy(float) - model.predict(graphs)[:, 0]) / (
        model.target_scale_[0]
    )
    expected = np.nansum(z**2) / numbers(y)[0].notna().sum()
    np.testing.assert_allclose(losses[0].item(), expected, rtol=1e-4)


def test_bounds_help_where_numbers_mislead():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    truth = X @ [1.0, -2.0, 0.5]
    y = pd.Series(truth, name="a").astype(object).mask(truth > 1.0, ">1.0")
    settings = {"max_epochs": 80, "head_hidden_dims": (), "lr": 3e-2, "random_state": 0}
    error = {}
    for name, labels in {"bound": y, "exact": y.replace(">1.0", 1.0)}.items():
        model = MultiTaskGNNRegressor(censored="bound", **settings).fit(X, labels)
        error[name] = np.sqrt(np.mean((model.predict(X) - truth) ** 2))
    assert error["bound"] < 0.3 * error["exact"]


FALLING = FunctionTransformer(np.negative, np.negative)


def test_a_falling_transform_turns_bounds_round(small, graphs, censored):
    turned = censored.assign(
        a=[
            x.replace(">", "<-").replace("--", "") if isinstance(x, str) else -x
            for x in censored["a"]
        ]
    )
    model = small(censored="bound", target_transform={"a": FALLING})
    expected = small(censored="bound").fit(graphs, turned).predict(graphs)
    expected[:, 0] *= -1
    np.testing.assert_allclose(
        model.fit(graphs, censored).predict(graphs), expected, rtol=1e-6
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_bounds_turn_round_also_where_the_inverse_turns(small, graphs, gaps, normalize):
    # Above 0 the reciprocal falls, but one deviation below their mean is below 0.
    rates = pd.Series(np.exp(gaps[:, 0]), name="a")
    bounds = rates.astype(object)
    limit = float(rates.median())
    settings = {"censored": "bound", "normalize_targets": normalize}
    reciprocal = FunctionTransformer(np.reciprocal, np.reciprocal)
    model = small(target_transform=reciprocal, **settings)
    model.fit(graphs, bounds.mask(rates > limit, f">{limit!r}"))
    expected = small(**settings)
    expected.fit(
        graphs, (1 / rates).astype(object).mask(rates > limit, f"<{1 / limit}")
    )
    np.testing.assert_allclose(
        1 / model.predict(graphs), expected.predict(graphs), rtol=1e-5
    )


def test_a_logarithm_takes_the_number_of_a_bound(small, graphs, censored):
    def power(x):
        return f">{10 ** float(x[1:])}" if isinstance(x, str) else 10.0**x

    powers = censored.assign(a=censored["a"].map(power, na_action="ignore"))
    model = small(censored="bound", target_transform={"a": "log10"})
    found = np.log10(model.fit(graphs, powers).predict(graphs)[:, 0])
    expected = small(censored="bound").fit(graphs, censored).predict(graphs)[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    powers.loc[2, "a"] = "<-3"
    with pytest.raises(ValueError, match=r"task 'a' has -3.0 in row 2"):
        model.fit(graphs, powers)


def test_a_task_of_bounds_alone_is_refused(small, graphs, gaps):
    y = pd.DataFrame(gaps, columns=["a", "b", "c"]).astype(object)
    y["b"] = y["b"].map(lambda x: f">{x}", na_action="ignore")
    with pytest.raises(ValueError, match="Task 'b' has bounds, but no exact label"):
        small(censored="bound").fit(graphs, y)
    model = small(censored="bound").fit(graphs, gaps)
    # A later chunk may, because the scales are known.
    model.partial_fit(graphs, y.to_numpy())


@pytest.mark.parametrize(
    "changes",
    [
        {"task_weighting": "pcgrad"},
        {"task_weighting": "graddrop"},
        {"task_weighting": "famo"},
        {"task_weighting": "curvature"},
        {"task_weighting": "rcgrad", "target_tasks": ["a"]},
        {"task_weighting": BLO(), "target_tasks": ["a"]},
        {"early_stopping": True, "validation": 0.3},
        {"early_stopping": True, "validation": 0.3, "scoring": mae_scorer},
        {"loss": "huber"},
        {"auxiliary_tasks": ("atommasking",)},
        {"normalize_targets": False, "max_epochs": 60},
    ],
    ids=str,
)
def test_bounds_change_every_kind_of_fit(small, graphs, censored, changes):
    weight = np.linspace(0.5, 1.0, len(graphs))
    fits = [
        small(censored="bound", **changes).fit(graphs, y, sample_weight=weight)
        for y in (censored, numbers(censored), dropped(censored))
    ]
    found, exact, gaps = (model.predict(graphs)[:, 0] for model in fits)
    assert np.isfinite(found).all()
    assert not np.allclose(found, exact, atol=1e-6)
    assert not np.allclose(found, gaps, atol=1e-6)


def test_fits_go_on_with_bounds(small, graphs, censored, tmp_path):
    warm = small(censored="bound", warm_start=True).fit(graphs, censored)
    before = warm.predict(graphs)
    warm.save(tmp_path / "model")
    loaded = MultiTaskGNNRegressor.load(tmp_path / "model")
    assert loaded.censored == "bound"
    for model in (warm, loaded):
        model.fit(graphs, censored).partial_fit(graphs, censored)
    np.testing.assert_array_equal(warm.predict(graphs), loaded.predict(graphs))
    assert not np.array_equal(warm.predict(graphs), before)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_curvature_sees_the_one_sided_loss(small, graphs, censored):
    options = {"random_state": 0}
    model = small(censored="bound", hessian_spectrum=options).fit(graphs, censored)
    again = hessian_spectrum(model, graphs, censored, **options)
    np.testing.assert_allclose(again.trace, model.hessian_spectrum_.trace, rtol=1e-3)
    exact = hessian_spectrum(model, graphs, numbers(censored), **options)
    assert again.trace[0] < exact.trace[0]
    problem = model.task_problem(graphs, censored[["c", "a", "b"]], dtype="float64")
    assert problem.batches[0][1].targets.dtype == torch.complex128


def test_scores_and_folds_take_bounds(small, graphs, censored):
    model = small(censored="bound").fit(graphs, censored)
    assert model.score(graphs, censored) == model.score(graphs, dropped(censored))
    scores = cross_val_score(
        clone(model), graphs, censored, cv=2, scoring=nan_r2_scorer, error_score="raise"
    )
    assert np.isfinite(scores).all()
