"""Every kind of picture is drawn, with what a reader needs."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from small_estimators import small, with_gaps

from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.encoders import GIN
from skgnn_mtl.inspection import HessianSpectrumDisplay


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = np.column_stack([X[:, 0], X[:, 1] ** 2, 10 * X[:, 2]])
    y = with_gaps(y, 0.2)
    options = {"n_lanczos": 20, "n_eigenvalues": 4, "at": (0, 0.5, 1)}
    model = small(
        encoder=GIN(width=8, n_layers=1, norm=None, activation="tanh"),
        max_epochs=4,
        hessian_spectrum=options,
    )
    return model.fit(X, y), X, y


@pytest.mark.parametrize(
    ("kind", "n_axes"),
    [("density", 3), ("eigenvalues", 1), ("trace", 3), ("pairs", 4)],
)
def test_kinds_of_one_spectrum(fitted, kind, n_axes, tmp_path):
    display = HessianSpectrumDisplay.from_spectrum(
        fitted[0].hessian_spectrum_, kind=kind
    )
    assert len(display.axes_) == n_axes
    display.figure_.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000
    words = " ".join(text.get_text() for text in display.figure_.findobj(mpl.text.Text))
    assert "Hessian" in words
    assert "task_1" in words


def test_hessian_cosines_within_their_error_are_grey(fitted):
    """Above the diagonal; the gradients' cosines stand below it, as they are."""
    spectrum = fitted[0].hessian_spectrum_
    cosines = np.array([[1, 0.5, -0.3], [0.5, 1, 0.2], [-0.3, 0.2, 1]])
    errors = np.array([[0, 0.1, 0.5], [0.1, 0, np.nan], [0.5, np.nan, 0]])
    display = HessianSpectrumDisplay.from_spectrum(
        replace(spectrum, hessian_cosine=cosines, hessian_cosine_error=errors),
        kind="pairs",
    )
    ax = display.axes_[0]
    shown = np.ma.filled(np.ma.masked_invalid(ax.images[0].get_array()), np.nan)
    assert np.argwhere(np.isnan(shown)).tolist() == [[0, 2], [1, 2]]
    assert shown[0, 1] == 0.5
    below = np.tril_indices(3, -1)
    np.testing.assert_array_equal(shown[below], spectrum.gradient_cosine[below])
    cells = [patch.get_xy() for patch in ax.patches if patch.get_width() == 1]
    assert cells == [(1.5, -0.5), (1.5, 0.5)]
    colours = {text.get_text(): text.get_color() for text in ax.texts}
    assert colours["-0.30"] == colours["0.20"] == "0.55"
    assert colours["0.50"] != "0.55"
    assert not display.axes_[1].patches
    # One and two errors are below what tells a sign.
    wide = replace(spectrum, hessian_cosine_error=0.6 * np.abs(spectrum.hessian_cosine))
    ax = HessianSpectrumDisplay.from_spectrum(wide, kind="pairs").axes_[0]
    assert len([patch for patch in ax.patches if patch.get_width() == 1]) == 3


def test_history(fitted):
    display = HessianSpectrumDisplay.from_spectrum(
        fitted[0].hessian_spectrum_path_, kind="history"
    )
    assert [ax.get_title() for ax in display.axes_] == ["task_0", "task_1", "task_2"]
    for ax in display.axes_:
        assert ax.get_xlabel() == "epoch"
        assert ax.get_yscale() == "log"
    words = [text.get_text() for text in display.figure_.findobj(mpl.text.Text)]
    assert any("two standard errors" in word for word in words)
    with pytest.raises(ValueError, match="several spectra"):
        HessianSpectrumDisplay.from_spectrum(
            fitted[0].hessian_spectrum_, kind="history"
        )


@pytest.mark.parametrize("kind", ["trace", "history"])
def test_bars_below_zero_are_cut_at_the_edge_and_marked(fitted, kind):
    """Whatever is known badly neither rules the axis nor vanishes from it."""
    trace, sem = np.array([10.0, 2.0, -1.0]), np.array([1.0, 50.0, 4.0])
    path = [
        replace(s, trace=trace, trace_sem=sem) for s in fitted[0].hessian_spectrum_path_
    ]
    display = HessianSpectrumDisplay.from_spectrum(path, kind=kind)
    axes = display.axes_[1:2] if kind == "trace" else display.axes_
    arrow, axis = ("<", "x") if kind == "trace" else ("v", "y")
    assert all(getattr(ax, f"get_{axis}scale")() == "log" for ax in axes)
    lines = [line for ax in axes for line in ax.get_lines()]
    arrows = [len(line.get_xdata()) for line in lines if line.get_marker() == arrow]
    n_bars = 1 if kind == "trace" else len(path)
    assert sum(arrows) >= 2 * n_bars
    hollow = [
        np.asarray(getattr(line, f"get_{axis}data")())
        for line in lines
        if line.get_markerfacecolor() == "white"
    ]
    low, high = getattr(axes[0], f"get_{axis}lim")()
    values = np.concatenate(hollow)
    assert np.isclose(values, 2.0).sum() >= n_bars
    assert np.isclose(values, low).sum() >= n_bars
    assert ((low <= values) & (values < high)).all()


@pytest.mark.parametrize("kind", ["trace", "history"])
def test_without_a_positive_value_the_axis_is_linear(fitted, kind):
    path = [
        replace(s, trace=-s.trace_sem, eigenvalues=-np.abs(s.eigenvalues))
        for s in fitted[0].hessian_spectrum_path_
    ]
    display = HessianSpectrumDisplay.from_spectrum(path, kind=kind)
    axis = "x" if kind == "trace" else "y"
    assert {getattr(ax, f"get_{axis}scale")() for ax in display.axes_} == {"linear"}


def test_from_estimator(fitted):
    model, X, y = fitted
    display = HessianSpectrumDisplay.from_estimator(
        model, X, y, kind="eigenvalues", n_eigenvalues=2, random_state=0
    )
    assert display.spectra[0].eigenvalues.shape == (3, 2)
    assert display.axes_[0].get_xscale() == "log"


def test_what_is_not_there_is_not_drawn(fitted):
    model, X, y = fitted
    sketch = hessian_spectrum(
        model, X, y, matrix="ggn", method="nystrom", pairwise=False
    )
    for kind, message in (
        ("density", "does not have a density"),
        ("pairs", "pairwise=True"),
        ("bars", "kind must be"),
    ):
        with pytest.raises(ValueError, match=message):
            HessianSpectrumDisplay.from_spectrum(sketch, kind=kind)
    HessianSpectrumDisplay.from_spectrum(sketch, kind="eigenvalues")
