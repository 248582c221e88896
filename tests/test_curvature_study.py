"""The study of curvature runs, resumes, and computes what its page says."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch


def test_diagonal_preconditioning_evens_curvature_out(script):
    """Two quadratics, curved 1 : 100 and unlike in each coordinate, fall together."""
    rule = script("diagonal_preconditioning").DiagonalPreconditioning(
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


def test_diagonal_preconditioning_looks_in_time_and_at_new_tasks(script):
    rule = script("diagonal_preconditioning").DiagonalPreconditioning(update_every=4)
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


def test_diagonal_preconditioning_sees_no_units_of_a_loss(script):
    rule = script("diagonal_preconditioning").DiagonalPreconditioning
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
def test_curvature_study(tmp_path, monkeypatch, capsys, script):
    study = script("curvature_study")
    plots = script("curvature_plots")
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


def test_curvature_beside_networks_of_their_own(monkeypatch, script):
    """Rows with known ratios: tasks a and b are curved 2 and 8 times as much."""
    analysis = script("curvature_analysis")
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


def test_curvature_study_chooses_rates_once(tmp_path, monkeypatch, script):
    study = script("curvature_study")
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
def test_curvature_study_of_crystals(tmp_path, monkeypatch, capsys, script):
    pytest.importorskip("gemmi")
    pytest.importorskip("pymatgen.core")
    study = script("curvature_study")
    plots = script("curvature_plots")
    tiny = study.Setting(24, 16, 4, 1, 2, (0, 1.0), 12, 4, 2, 2)
    plots.small_study_of_crystals(tmp_path, tiny)
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
