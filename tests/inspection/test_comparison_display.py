"""The picture of a comparison with single-task models."""

import numpy as np
import pandas as pd

from skgnn_mtl.inspection import SingleTaskComparisonDisplay
from skgnn_mtl.model_selection import SingleTaskComparison


def comparison(n_folds=3):
    rng = np.random.default_rng(0)
    rows = [
        {
            "task": task,
            "fold": fold,
            "seed": 0,
            "model": model,
            "error": scale * (1 + 0.1 * rng.random() + shift * (model[0] == "m")),
            "n_train": 80,
            "n_test": 40,
            "seconds": 1.0,
        }
        for task, scale, shift in (("Tb (K)", 10, 0.1), ("logP", 0.3, -0.1))
        for fold in range(n_folds)
        for model in ("multi-task", "single-task")
    ]
    return SingleTaskComparison(pd.DataFrame(rows), "mae")


def test_one_row_a_task_and_a_direction_to_read(tmp_path):
    display = SingleTaskComparisonDisplay.from_comparison(comparison())
    (ax,) = display.axes_
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Tb (K)", "logP"]
    assert "multi-task is better" in ax.get_xlabel()
    assert "mean change" in ax.get_title()
    display.figure_.savefig(tmp_path / "comparison.png")
    # A single fold has no error bar, and is drawn.
    SingleTaskComparisonDisplay.from_comparison(comparison(1))


def test_the_mean_of_the_title_is_that_of_the_marks():
    unlike = comparison(2)
    multi = unlike.errors["model"] == "multi-task"
    boiling = unlike.errors["task"] == "Tb (K)"
    unlike.errors.loc[multi & boiling, "error"] = [1.0, 30.0]
    unlike.errors.loc[~multi & boiling, "error"] = [2.0, 20.0]
    display = SingleTaskComparisonDisplay.from_comparison(unlike)
    (ax,) = display.axes_
    marks = [bar.lines[0].get_xdata()[0] for bar in ax.containers]
    assert marks[0] == 0.0
    assert ax.get_title().endswith(f"mean change {np.mean(marks):+.1f} %")
