"""The picture of a comparison of models."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from skgnn_mtl.inspection import ModelComparisonDisplay
from skgnn_mtl.model_selection import ModelComparison

mpl.use("Agg")


def comparison(n_folds=5):
    rng = np.random.default_rng(0)
    rows = [
        (
            model,
            0,
            fold,
            task,
            scale * level * (1 + 0.01 * rng.random()),
            80,
            20,
            1.0,
            1,
        )
        for model, level in (("network", 1.0), ("trees", 0.8), ("twin", 1.0))
        for fold in range(n_folds)
        for task, scale in (("Tb (K)", 10.0), ("logP", 0.3))
    ]
    columns = "model repeat fold task error n_train n_test fit_seconds predict_seconds"
    return ModelComparison(pd.DataFrame(rows, columns=columns.split()), "mae")


def test_one_mark_for_each_task_and_model_filled_where_the_difference_is_sure(tmp_path):
    display = ModelComparisonDisplay.from_comparison(comparison())
    (ax,) = display.axes_
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Tb (K)", "logP"]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["trees", "twin"]
    trees, twin = (c for c in ax.collections if c.get_label() in ("trees", "twin"))
    np.testing.assert_allclose(trees.get_offsets()[:, 0], -20, atol=1)
    np.testing.assert_allclose(twin.get_offsets()[:, 0], 0, atol=1)
    assert {to_hex(c) for c in trees.get_facecolors()} == {"#0072b2"}
    assert {to_hex(c) for c in twin.get_facecolors()} == {"#ffffff"}
    assert "against network" in ax.get_xlabel()
    display.figure_.savefig(tmp_path / "comparison.png")


def test_bars_are_two_standard_errors_in_percent_of_the_reference():
    table = comparison()
    display = ModelComparisonDisplay.from_comparison(table, reference="trees")
    lines = table.differences("trees").set_index(["model_a", "task"])
    level = table.summary().loc["trees"]
    (ax,) = display.axes_
    for container, model in zip(ax.containers, ["network", "twin"], strict=True):
        for segment, task in zip(
            container.lines[2][0].get_segments(), ["Tb (K)", "logP"], strict=True
        ):
            expected = 400 * lines.loc[(model, task), "standard_error"] / level[task]
            assert np.ptp(segment[:, 0]) == pytest.approx(expected)


def test_a_single_fold_is_drawn_without_bars():
    ModelComparisonDisplay.from_comparison(comparison(1))
    with pytest.raises(ValueError, match="one of the models"):
        ModelComparisonDisplay.from_comparison(comparison(), reference="forest")
