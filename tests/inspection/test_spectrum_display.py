"""Every kind of picture is drawn, with what a reader needs."""

import matplotlib as mpl
import numpy as np
import pytest

from skgnn_mtl import MultiTaskGNNRegressor
from skgnn_mtl.curvature import hessian_spectrum
from skgnn_mtl.encoders import GIN
from skgnn_mtl.inspection import HessianSpectrumDisplay

mpl.use("Agg")


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4))
    y = np.column_stack([X[:, 0], X[:, 1] ** 2, 10 * X[:, 2]])
    y[rng.random(y.shape) < 0.2] = np.nan
    options = {"n_lanczos": 20, "n_eigenvalues": 4, "at": (0, 0.5, 1)}
    model = MultiTaskGNNRegressor(
        GIN(width=8, n_layers=1, norm=None, activation="tanh"),
        max_epochs=4,
        random_state=0,
        hessian_spectrum=options,
    )
    return model.fit(X, y), X, y


@pytest.fixture(autouse=True)
def close():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


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


def test_history(fitted):
    display = HessianSpectrumDisplay.from_spectrum(
        fitted[0].hessian_spectrum_path_, kind="history"
    )
    assert [ax.get_xlabel() for ax in display.axes_] == ["epoch", "epoch"]
    with pytest.raises(ValueError, match="several spectra"):
        HessianSpectrumDisplay.from_spectrum(
            fitted[0].hessian_spectrum_, kind="history"
        )


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
        ("density", "no density"),
        ("pairs", "pairwise=True"),
        ("bars", "kind must be"),
    ):
        with pytest.raises(ValueError, match=message):
            HessianSpectrumDisplay.from_spectrum(sketch, kind=kind)
    HessianSpectrumDisplay.from_spectrum(sketch, kind="eigenvalues")
