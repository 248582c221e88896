"""Examples run, small, with the code that the reader sees."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_plot_target_scales(tmp_path):
    path = tmp_path / "scales.png"
    scores = load("plot_target_scales").main(max_epochs=20, path=path)
    standardised = scores.filter(like="standardised")
    assert (standardised > 0.9).all(axis=None)
    assert (scores["raw targets, equal"].iloc[:5] < 0.5).all()
    assert path.stat().st_size > 10_000


def test_quickstart(tmp_path, capsys):
    quickstart = load("quickstart")
    path = tmp_path / "parity.png"
    table = quickstart.main(n_molecules=300, max_epochs=12, n_trees=10, path=path)
    assert list(table.columns) == ["labels", "mean", "forest", "network"]
    assert len(table) == 8
    assert path.stat().st_size > 10_000
    assert (table["network"] < table["mean"]).mean() > 0.7
    assert "Parity plot" in capsys.readouterr().out


def test_plot_auxiliary(tmp_path, capsys):
    path = tmp_path / "auxiliary.png"
    errors, cosines = load("plot_auxiliary").main(
        n_molecules=500, pretraining_epochs=2, max_epochs=4, n_splits=2, path=path
    )
    assert errors.shape == (2, 4)
    assert np.isfinite(errors).all(axis=None)
    # Splits, seeds and budget are shared: the ways differ, and in nothing else.
    assert (errors.nunique(axis=1) == 4).all()
    assert list(cosines.columns)[-1] == "descriptors"
    assert cosines.abs().max(axis=None) <= 1.0
    assert path.stat().st_size > 10_000
    assert "Losses of the pretraining" in capsys.readouterr().out


def test_plot_crystals(tmp_path, capsys):
    pytest.importorskip("gemmi")
    pytest.importorskip("pymatgen.core")
    path = tmp_path / "parity.png"
    table = load("plot_crystals").main(
        n_crystals=120, max_epochs=12, n_splits=2, path=path
    )
    assert list(table.columns) == ["mean", "single-task", "multi-task"]
    assert len(table) == 4
    assert path.stat().st_size > 10_000
    assert table.loc["log10 K (GPa)", "multi-task"] < table.loc["log10 K (GPa)", "mean"]
    assert "Parity plots" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*eigenvalues have not converged")
def test_curvature_study(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    study = importlib.import_module("curvature_study")
    plots = importlib.import_module("plot_curvature_qm8")
    tiny = study.Setting(70, 40, 8, 1, 2, (0, 1.0), 30, 5, 2, 2)
    monkeypatch.setattr(plots, "SMALL", tiny)
    monkeypatch.setattr(
        plots,
        "correlations",
        lambda *args: study.correlations(*args, n_permutations=20),
    )
    plots.small_study(tmp_path)
    before = (tmp_path / "errors.csv").read_text()
    plots.small_study(tmp_path)  # everything is there already
    assert (tmp_path / "errors.csv").read_text() == before
    spread, changes, table, rules = plots.main(tmp_path)
    assert set(rules.index) >= {"multi-task", "weights: 1 / trace"}
    assert changes.shape == (8, 1)
    assert table["p_within_groups"].between(0, 1).all()
    assert spread["mean"].notna().all()
    assert len(list(tmp_path.glob("*.png"))) == 13
    assert "Rank correlation" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*eigenvalues have not converged")
def test_plot_curvature_materials(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gemmi")
    pytest.importorskip("pymatgen.core")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    study = importlib.import_module("curvature_study")
    plots = importlib.import_module("plot_curvature_materials")
    tiny = study.Setting(24, 16, 4, 1, 2, (0, 1.0), 12, 4, 2, 2)
    plots.small_study(tmp_path, tiny)
    spread, changes, _, rules = plots.main(tmp_path)
    assert "equal label counts" in spread.index.get_level_values("run")
    assert spread["mean"].notna().all()
    assert changes.notna().all(axis=None)
    assert "weights: curvature, trace" in rules.index
    assert len(list(tmp_path.glob("*.png"))) == 13
    # Label counts are as equal as they are said to be.
    spectra = study.pd.read_csv(tmp_path / "spectra.csv")
    counts = spectra.groupby("run").n_labels.nunique()
    assert counts["equal label counts"] == 1 < counts["multi-task"]
    assert "Rank correlation" in capsys.readouterr().out
