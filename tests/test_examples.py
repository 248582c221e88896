"""Examples run, small, with the code that the reader sees."""

import importlib.util
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

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
    assert list(table.columns) == ["labels", "mean", "boosting", "network", "hybrid"]
    assert len(table) == 8
    assert path.stat().st_size > 10_000
    assert (table["hybrid"] < table["mean"]).mean() > 0.7
    assert (table["hybrid"] < table["network"]).mean() > 0.7
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
    path = tmp_path / "parity.png"
    table = load("plot_crystals").main(
        n_crystals=120, max_epochs=12, n_splits=2, path=path
    )
    assert list(table.columns) == ["mean", "single-task", "multi-task"]
    assert len(table) == 4
    assert path.stat().st_size > 10_000
    assert table.loc["log10 K (GPa)", "multi-task"] < table.loc["log10 K (GPa)", "mean"]
    assert "Parity plots" in capsys.readouterr().out


def test_plot_atoms(tmp_path, capsys):
    pytest.importorskip("captum")
    path = tmp_path / "atoms.png"
    table, step, change = load("plot_atoms").main(
        n_molecules=400, max_epochs=30, path=path
    )
    assert list(table.columns) == ["graph", "atom", "element", "logP", "Tb (K)"]
    assert step < 0
    assert change.argmin() == 0  # the added oxygen
    assert path.stat().st_size > 10_000
    assert "Pictures" in capsys.readouterr().out


def test_diagonal_preconditioning_evens_curvature_out():
    """Two quadratics, curved 1 : 100 and unlike in each coordinate, fall together."""
    rule = load("diagonal_preconditioning").DiagonalPreconditioning(
        damping=1e-9, update_every=3
    )
    rule.build(2)
    curvature = torch.tensor([[1.0, 10.0], [100.0, 700.0]], dtype=torch.float64)
    factor = float((1 / curvature).mean())
    x = torch.tensor([3.0, -2.0], dtype=torch.float64)
    losses = []
    for _ in range(5):
        losses.append(0.5 * (curvature * x**2).sum(dim=1))
        direction = rule.direction(curvature * x, diagonals=lambda: curvature)
        # Half a Newton step of both tasks together.
        x = x - 0.25 * factor * direction
    ratios = torch.stack(losses)[1:] / torch.stack(losses)[:-1]
    torch.testing.assert_close(ratios, torch.full_like(ratios, 0.25))


def test_diagonal_preconditioning_looks_in_time_and_at_new_tasks():
    rule = load("diagonal_preconditioning").DiagonalPreconditioning(update_every=4)
    rule.build(3)
    J = torch.eye(3)
    looks = []

    def diagonals():
        looks.append(rule.age)
        return torch.ones(2, 3)

    for step in range(9):
        tasks = torch.tensor([0, 1] if step < 6 else [1, 2])
        direction = rule.direction(J[tasks], tasks=tasks, diagonals=diagonals)
        # Curvature that is the same everywhere changes nothing.
        torch.testing.assert_close(direction, J[tasks].sum(dim=0))
    assert looks == [0, 4, 6, 8]
    assert rule.counts.tolist() == [2, 4, 2]


def test_diagonal_preconditioning_sees_no_units_of_a_loss():
    rule = load("diagonal_preconditioning").DiagonalPreconditioning
    torch.manual_seed(0)
    J, D = torch.randn(3, 5), torch.rand(3, 5)
    units = torch.tensor([[1.0], [1e3], [1e-3]])
    directions = []
    for scale in (torch.ones(3, 1), units):
        method = rule()
        method.build(3)
        d = method.direction(scale * J, diagonals=lambda s=scale: s * D)
        directions.append(d / d.norm())
    torch.testing.assert_close(*directions)


@pytest.mark.filterwarnings("ignore:.*eigenvalues have not converged")
def test_curvature_study(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    study = importlib.import_module("curvature_study")
    plots = importlib.import_module("plot_curvature_qm8")
    tiny = study.Setting(70, 40, 8, 1, 2, (0, 1.0), 30, 5, 2, 2)
    monkeypatch.setattr(plots, "SMALL", tiny)
    for name in ("correlations", "single_correlations"):
        full = getattr(plots, name)
        monkeypatch.setattr(plots, name, partial(full, n_permutations=20))
    plots.small_study(tmp_path)
    before = (tmp_path / "errors.csv").read_text()
    plots.small_study(tmp_path)  # everything is there already
    assert (tmp_path / "errors.csv").read_text() == before
    spread, changes, table, rules = plots.main(tmp_path)
    named = {"multi-task", "weights: 1 / trace", "weights: diagonal, Newton"}
    assert named <= set(rules.index)
    assert changes.shape == (8, 1)
    assert table["p_within_groups"].between(0, 1).all()
    assert spread["mean"].notna().all()
    assert len(list(tmp_path.glob("*.png"))) == 14
    assert "Rank correlation" in capsys.readouterr().out


def test_curvature_beside_networks_of_their_own(monkeypatch):
    """Rows with known ratios: tasks a and b are curved 2 and 8 times as much."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    analysis = importlib.import_module("curvature_analysis")
    rows = []
    for seed in (0, 1):
        for task, own, factor in (("a", 1.0, 2.0), ("b", 10.0, 8.0), ("c", 5.0, 4.0)):
            common = {"seed": seed, "matrix": "ggn", "fraction": 1.0, "task": task}
            for run, m in (("multi-task", own * factor), (f"single: {task}", own)):
                values = {"lambda_max": m, "trace": m, "head_norm": 1.0, "run": run}
                rows.append({**common, **values})
    spectra = pd.DataFrame(rows)
    again = spectra[spectra.run == "multi-task"].assign(run="shuffled labels")
    spectra = pd.concat([spectra, again.assign(trace=1e9)])
    ratios = 10 ** analysis.single_ratios(spectra).loc["trace"]
    assert ratios.round(9).to_numpy().tolist() == [[2, 2], [8, 8], [4, 4]]
    errors = pd.DataFrame(
        [
            {"run": run, "seed": seed, "task": task, "mae": mae}
            for seed in (0, 1)
            for task, cost in (("a", 0.0), ("b", 0.3), ("c", 0.1))
            for run, mae in (("multi-task", 1 + cost), (f"single: {task}", 1.0))
        ]
    )
    table = analysis.single_correlations(spectra, errors, n_permutations=200)
    assert table.loc[("trace", "log ratio"), "rho"] == pytest.approx(1.0)
    # Two of the six orders of three tasks are as extreme.
    p = table.loc[("trace", "log ratio"), "p_within_groups"]
    assert p == pytest.approx(1 / 3, abs=0.1)
    spread = analysis.single_spread(spectra).loc["trace"]
    logs = np.log10([1.0, 10.0, 5.0]), np.log10([2.0, 80.0, 20.0])
    assert spread["single"] == pytest.approx(logs[0].std(ddof=1))
    assert spread["multi-task"] == pytest.approx(logs[1].std(ddof=1))


def test_curvature_study_chooses_rates_once(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    study = importlib.import_module("curvature_study")
    tiny = study.Setting(150, 40, 4, 1, 1, rates=(1e-12, 1e-2))
    X, y = study.load("physchem", tiny)
    one = study.Study(X, y, tmp_path, tiny)
    # The smaller rate leaves the network as it began.
    assert one.rate("multi-task", 0, y) == 1e-2
    path = tmp_path / "rates.csv"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 3
    path.write_text("".join(lines[:2]))
    again = study.Study(X, y, tmp_path, tiny)
    assert again.rate("multi-task", 0, y) == 1e-2
    assert again.rate("multi-task", 1, y) == 1e-2
    assert path.read_text() == "".join(lines)
    fitted = again.fit(again.estimator(0, 1e-2), y)
    again.record("multi-task", 0, fitted, y, started=0.0)
    assert again.done("multi-task", 0)
    assert not again.done("multi-task", 1)
    with pytest.raises(ValueError, match="were made with a choice"):
        study.Study(X, y, tmp_path, study.Setting(150, 40, 4, 1, 1))


@pytest.mark.filterwarnings("ignore:.*eigenvalues have not converged")
def test_plot_curvature_materials(tmp_path, monkeypatch, capsys):
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
    assert len(list(tmp_path.glob("*.png"))) == 14
    # Label counts are as equal as they are said to be.
    spectra = pd.read_csv(tmp_path / "spectra.csv")
    counts = spectra.groupby("run").n_labels.nunique()
    assert counts["equal label counts"] == 1 < counts["multi-task"]
    assert "Rank correlation" in capsys.readouterr().out


def test_plot_task_addition(tmp_path, capsys):
    path = tmp_path / "curves.png"
    pipeline, comparison = load("plot_task_addition").main(
        n_molecules=300, max_epochs=3, steps=10, path=path
    )
    assert pipeline.predict(["CCO"]).shape == (1, 6)
    assert pipeline[-1].added_names_ == ["Tflash (K)", "log10 permittivity"]
    methods = {"single-task", "addition", "addition-unlabelled"}
    assert set(comparison.errors["method"]) == methods
    assert path.stat().st_size > 10_000
    assert "bit for bit as before: True" in capsys.readouterr().out
