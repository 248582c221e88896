"""The pictures of a comparison of ways to learn scarce targets."""

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl.inspection import TransferComparisonDisplay
from skgnn_mtl.model_selection import TransferComparison

METHODS = {"single-task": 1.0, "gate": 0.8, "addition": 0.7}


def comparison(n_targets=5, n_folds=3):
    rng = np.random.default_rng(0)
    rows = [
        {
            "method": method,
            "target": f"target {t}",
            "size": size,
            "fold": fold,
            "seed": 0,
            "n_train": {"50": 50, "100": 100, "all": 200 + 50 * t + fold}[size],
            "error": factor / (1 + k) * (1 + 0.2 * t + 0.1 * rng.random()),
        }
        for method, factor in METHODS.items()
        for t in range(n_targets)
        for k, size in enumerate(("50", "100", "all"))
        for fold in range(n_folds)
    ]
    return TransferComparison(pd.DataFrame(rows))


@pytest.mark.parametrize("n_targets", [1, 5])
def test_learning_curves_have_a_panel_a_target_and_a_line_a_method(n_targets, tmp_path):
    made = comparison(n_targets)
    display = TransferComparisonDisplay.from_comparison(made)
    assert [ax.get_title() for ax in display.axes_] == [
        f"target {t}" for t in range(n_targets)
    ]
    curves = made.learning_curves()
    for ax, target in zip(display.axes_, curves["target"].unique(), strict=True):
        assert ax.get_legend_handles_labels()[1] == list(METHODS)
        for container in ax.containers:
            here = curves["method"] == container.get_label()
            curve = curves[here & (curves["target"] == target)]
            assert np.allclose(container.lines[0].get_ydata(), curve["error"])
    (legend,) = display.figure_.legends
    assert [text.get_text() for text in legend.get_texts()] == list(METHODS)
    display.figure_.savefig(tmp_path / "curves.png")


def test_one_panel_is_wide_enough_for_its_words(tmp_path):
    errors = comparison(1).errors.replace({"method": {"gate": "addition-unlabelled"}})
    display = TransferComparisonDisplay.from_comparison(TransferComparison(errors))
    figure = display.figure_
    figure.savefig(tmp_path / "curves.png")  # layout
    for artist in (*figure.legends, figure._supylabel, figure._supxlabel):
        box = artist.get_window_extent(figure.canvas.get_renderer())
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height


def test_a_radar_plot_shows_errors_over_those_of_one_method(tmp_path):
    made = comparison()
    display = TransferComparisonDisplay.from_comparison(made, kind="radar", size=100)
    (ax,) = display.axes_
    summary = made.summary()
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    assert list(lines) == list(METHODS)
    assert np.allclose(lines["single-task"], 1)
    ratios = 1 + summary.xs("100", level="size").loc["gate", "change"] / 100
    assert np.allclose(lines["gate"], [*ratios, ratios.iloc[0]])
    assert "single-task, 100 labels" in ax.get_title()
    display.figure_.savefig(tmp_path / "radar.png")
    other = TransferComparisonDisplay(made).plot(kind="radar", to="gate")
    assert "gate, 50 labels" in other.axes_[0].get_title()
    # A single fold has no spread, and is drawn.
    TransferComparisonDisplay(comparison(n_folds=1)).plot()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "pie"}, "kind must be"),
        ({"kind": "radar", "size": 7}, "size must be one of .* got '7'"),
        ({"kind": "radar", "to": "nobody"}, "must be one of the methods"),
    ],
)
def test_what_cannot_be_drawn_is_said(options, message):
    with pytest.raises(ValueError, match=message):
        TransferComparisonDisplay(comparison()).plot(**options)


def test_two_targets_make_no_radar_plot():
    with pytest.raises(ValueError, match="three targets"):
        TransferComparisonDisplay(comparison(2)).plot(kind="radar")
