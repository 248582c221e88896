"""hessian_spectrum: every field against the dense matrices, and its contracts."""

import copy
import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from scipy.stats import t as student
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skgnn_mtl.curvature import HessianSpectrum, hessian_spectrum
from skgnn_mtl.curvature._hessian_spectrum import _choose_rows

EXACT = {"n_eigenvalues": 5, "n_lanczos": 60, "n_samples": None, "random_state": 0}


def spectrum(case, **options):
    options = {**EXACT, "dtype": "float64", **options}
    return hessian_spectrum(case.model, case.X, case.y, **options)


def test_all_statistics_are_those_of_the_dense_matrix(gin):
    s = spectrum(gin, keep_vectors=True)
    problem = gin.problem()
    losses, gradients = problem.gradients()
    g = gradients.numpy()
    for t in range(3):
        H = gin.hessian(t).numpy()
        values, vectors = np.linalg.eigh(H)
        np.testing.assert_allclose(s.eigenvalues[t], values[::-1][:5], rtol=1e-8)
        np.testing.assert_allclose(s.lambda_min[t], values[0], rtol=1e-6)
        assert s.converged[t].all()
        assert abs(s.trace[t] - np.trace(H)) <= 3 * s.trace_sem[t]
        assert s.trace_sem[t] < 0.1 * np.abs(values).sum()
        np.testing.assert_allclose(s.frobenius_sq[t], (H**2).sum(), rtol=1e-3)
        np.testing.assert_allclose(s.loss[t], float(losses[t]))
        np.testing.assert_allclose(s.gradient_norm[t], np.linalg.norm(g[t]))
        along = g[t] @ H @ g[t] / (g[t] @ g[t])
        np.testing.assert_allclose(s.gradient_curvature[t], along, rtol=1e-9)
        share = (vectors[:, -5:].T @ g[t]) ** 2 / (g[t] @ g[t])
        np.testing.assert_allclose(s.gradient_in_top[t], share.sum(), rtol=1e-6)
        for row, value in zip(s.eigenvectors[t], s.eigenvalues[t], strict=True):
            error = np.linalg.norm(H @ row - value * row)
            assert error < 1e-5 * abs(values).max()
        head = gin.model.module_.heads.weight[t].detach().double()
        np.testing.assert_allclose(s.head_norm[t], float(head.norm()), rtol=1e-6)
    for a in range(3):
        for b in range(3):
            A, B = gin.hessian(a).numpy(), gin.hessian(b).numpy()
            cross = g[a] @ B @ g[a] / (g[a] @ g[a])
            np.testing.assert_allclose(s.cross_curvature[a, b], cross, rtol=1e-9)
            cosine = g[a] @ g[b] / np.linalg.norm(g[a]) / np.linalg.norm(g[b])
            np.testing.assert_allclose(s.gradient_cosine[a, b], cosine, rtol=1e-9)
            U, V = (np.linalg.eigh(M)[1][:, -5:] for M in (A, B))
            overlap = ((U.T @ V) ** 2).sum() / 5
            np.testing.assert_allclose(s.subspace_overlap[a, b], overlap, rtol=1e-5)
    labelled = ~np.isnan(gin.y)
    common = (labelled[:, 0] & labelled[:, 1]).sum()
    either = (labelled[:, 0] | labelled[:, 1]).sum()
    assert 0 < common < either
    np.testing.assert_allclose(s.label_overlap[0, 1], common / either)


def test_gauss_newton_spectrum(gin):
    s = spectrum(gin, matrix="ggn")
    for t in range(3):
        values = torch.linalg.eigvalsh(gin.gauss_newton(t)).numpy()[::-1]
        np.testing.assert_allclose(s.eigenvalues[t], values[:5], rtol=1e-8)
        np.testing.assert_allclose(s.trace[t], values.sum(), rtol=1e-6)
    assert (s.lambda_min > -1e-8).all()


def test_nystrom_is_a_quick_lower_bound(gin):
    s = spectrum(gin, matrix="ggn", method="nystrom", n_lanczos=40)
    exact = spectrum(gin, matrix="ggn")
    assert (s.eigenvalues <= exact.eigenvalues * (1 + 1e-6)).all()
    np.testing.assert_allclose(s.eigenvalues[:, 0], exact.eigenvalues[:, 0], rtol=0.02)
    assert not s.converged.any()
    with pytest.raises(ValueError, match="matrix='ggn'"):
        spectrum(gin, method="nystrom")


@pytest.mark.parametrize("trace", ["hutchinson", "hutch++", "xtrace", "deflated"])
def test_error_bars_of_an_indefinite_trace_cover_the_truth(gin, trace):
    inside = []
    for seed in range(4):
        s = spectrum(
            gin, trace=trace, n_lanczos=8, random_state=seed, n_eigenvalues=1,
            pairwise=False,
        )  # fmt: skip
        for t in range(3):
            truth = float(torch.trace(gin.hessian(t)))
            inside.append(abs(s.trace[t] - truth) <= 2 * s.trace_sem[t])
    assert np.mean(inside) >= 0.8


def test_density_integrates_to_one_and_cumulative_reaches_it(gin):
    s = spectrum(gin, n_lanczos=20)
    grid, values, band = s.density()
    np.testing.assert_allclose(np.trapezoid(values, grid, axis=1), 1, atol=0.01)
    assert (band >= 0).all()
    shares, _ = s.cumulative([-1e9, 0, 1e9])
    np.testing.assert_allclose(shares[:, 0], 0)
    np.testing.assert_allclose(shares[:, 2], 1)
    np.testing.assert_allclose(s.ritz_weights.sum(axis=2), 1)


def test_raw_units_are_the_square_of_the_target_scale(gin):
    twice = copy.deepcopy(gin)
    # The same network read as one of targets three times as large.
    targets = gin.model.targets_
    targets = replace(targets, mean=3 * targets.mean, spread=3 * targets.spread)
    twice.model = twice.model._with(replace(twice.model._state, targets=targets))
    twice.y = 3 * gin.y
    first, second = spectrum(gin), spectrum(twice)
    np.testing.assert_allclose(first.eigenvalues, second.eigenvalues, rtol=1e-6)
    np.testing.assert_allclose(second.target_scale, 3 * first.target_scale)


def test_batch_size_chunk_and_order_of_tasks_do_not_matter(gin):
    first = spectrum(gin, n_lanczos=10, n_eigenvalues=2)
    for options in ({"batch_size": 5}, {"chunk": 3}):
        other = spectrum(gin, n_lanczos=10, n_eigenvalues=2, **options)
        np.testing.assert_allclose(other.eigenvalues, first.eigenvalues, rtol=1e-9)
        np.testing.assert_allclose(other.trace, first.trace, rtol=1e-5)
    again = spectrum(gin, n_lanczos=10, n_eigenvalues=2)
    assert (again.eigenvalues == first.eigenvalues).all()
    assert (again.trace_samples == first.trace_samples).all()


def test_the_estimator_does_not_change(case):
    module = case.model.module_
    before = copy.deepcopy(module.state_dict())
    grads = [None if p.grad is None else p.grad.clone() for p in module.parameters()]
    mode = [part.training for part in module.modules()]
    state = torch.get_rng_state()
    legacy = np.random.get_state()[1].copy()  # noqa: NPY002
    with pytest.warns(ConvergenceWarning):
        hessian_spectrum(case.model, case.X, case.y, n_lanczos=3, random_state=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == legacy).all()  # noqa: NPY002
    assert mode == [part.training for part in module.modules()]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    for p, grad in zip(module.parameters(), grads, strict=True):
        assert (p.grad is None) == (grad is None)
        assert grad is None or torch.equal(p.grad, grad)
    assert all(p.requires_grad for p in module.parameters())


def test_blocks_by_name_and_by_dict(gin):
    layer = lambda name: "layers.0" in name  # noqa: E731
    both = spectrum(
        gin, parameters={"first": layer, "body": "shared"}, n_lanczos=10,
        n_eigenvalues=1,
    )  # fmt: skip
    assert both["first"].n_parameters < both["body"].n_parameters
    assert both["first"].parameters == "first"
    own = spectrum(gin, parameters="task", n_lanczos=30, n_eigenvalues=1)
    assert np.isnan(own.gradient_cosine).all()
    # A principal block cannot have the larger top eigenvalue.
    assert (own.eigenvalues[:, 0] >= both["body"].eigenvalues[:, 0]).all()
    everything = spectrum(gin, parameters="all", n_lanczos=30, n_eigenvalues=1)
    np.testing.assert_allclose(everything.eigenvalues, own.eigenvalues, rtol=1e-6)


def test_a_task_with_one_label_is_nan_and_the_others_are_not(gin):
    y = gin.y.copy()
    y[1:, 2] = np.nan
    y[0, 2] = 1.0
    with pytest.warns(UserWarning, match="fewer than two labels"):
        s = hessian_spectrum(gin.model, gin.X, y, **{**EXACT, "dtype": "float64"})
    assert np.isnan(s.eigenvalues[2]).all()
    assert np.isnan(s.loss[2])
    assert not s.converged[2].any()
    assert np.isfinite(s.eigenvalues[:2]).all()
    assert "task_2" in repr(s)
    s.to_frame()
    s.dispersion()
    density = s.density()[1]
    assert np.isnan(density[2]).all()
    assert np.isfinite(density[:2]).all()


def test_rows_keep_labels_of_rare_tasks():
    rng = np.random.RandomState(0)
    labelled = np.zeros((5000, 3), dtype=bool)
    labelled[:, 0] = True
    labelled[rng.permutation(5000)[:100], 1] = True
    labelled[rng.permutation(5000)[:20], 2] = True
    rows = _choose_rows(labelled, 300, np.random.RandomState(1))
    counts = labelled[rows].sum(axis=0)
    assert len(rows) == 300
    assert counts[1] >= 64
    assert counts[2] == 20
    assert (rows == _choose_rows(labelled, 300, np.random.RandomState(1))).all()
    assert len(_choose_rows(labelled, None, rng)) == 5000


def test_max_seconds_lowers_the_work_and_says_so(gin):
    with (
        pytest.warns(UserWarning, match="max_seconds"),
        pytest.warns(ConvergenceWarning),
    ):
        s = spectrum(gin, max_seconds=1e-3)
    assert s.settings["n_probes"] == 2
    assert s.settings["n_lanczos"] == 5
    with pytest.warns(UserWarning, match="n_probes from 4 to 4 and .* to 5"):
        spectrum(gin, matrix="ggn", method="nystrom", max_seconds=1e-9)


def test_a_trace_has_the_same_error_by_every_method(gin):
    """Student's factor for five samples, also of XTrace."""
    s = spectrum(gin, trace="xtrace", n_lanczos=5, n_eigenvalues=1, tol=1)
    samples = s.trace_samples[0]
    factor = student.ppf(norm.cdf(2), len(samples) - 1) / 2
    expected = factor * samples.std(ddof=1) / np.sqrt(len(samples))
    assert s.trace_sem[0] == pytest.approx(expected)


def test_verbose_announces(gin, capsys):
    spectrum(gin, n_lanczos=5, n_eigenvalues=1, tol=1, verbose=1)
    out, err = capsys.readouterr()
    assert "products with matrices of order" in out + err


def test_files_pickles_and_tables(gin, tmp_path):
    s = spectrum(gin, n_lanczos=12, n_eigenvalues=2, keep_vectors=True)
    s.save(tmp_path / "spectrum.npz")
    buffer = io.BytesIO()
    s.save(buffer)
    buffer.seek(0)
    for other in (
        HessianSpectrum.load(tmp_path / "spectrum.npz"),
        HessianSpectrum.load(buffer),
        pickle.loads(pickle.dumps(s)),
    ):
        for name in s.__dataclass_fields__:
            np.testing.assert_equal(getattr(other, name), getattr(s, name))
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(ValueError, match="not a saved HessianSpectrum"):
        HessianSpectrum.load(tmp_path / "other.npz")
    tasks = s.to_frame()
    assert list(tasks["task"]) == ["task_0", "task_1", "task_2"]
    assert {"trace", "trace_sem", "lambda_max", "n_labels"} <= set(tasks)
    assert len(s.to_frame("eigenvalues")) == 6
    assert len(s.to_frame("pairs")) == 9
    with pytest.raises(ValueError, match="kind"):
        s.to_frame("triples")
    table = s.dispersion()
    values = s.eigenvalues[:, 0]
    np.testing.assert_allclose(
        table.loc["lambda_max", "ratio"], values.max() / values.min()
    )
    np.testing.assert_allclose(
        table.loc["lambda_max", "log_spread"], np.log10(values).std(ddof=1)
    )


def test_a_pipeline_is_unwrapped(gin):
    pipe = make_pipeline(FunctionTransformer(), gin.model)
    first = hessian_spectrum(pipe, gin.X, gin.y, **EXACT)
    second = hessian_spectrum(gin.model, gin.X, gin.y, **EXACT)
    assert (first.eigenvalues == second.eigenvalues).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"matrix": "fisher"}, "matrix must be"),
        ({"trace": "exact"}, "trace must be"),
        ({"method": "power"}, "method must be"),
        ({"n_probes": 0}, "n_probes"),
        ({"n_lanczos": 2.5}, "n_lanczos"),
        ({"parameters": "body"}, "parameters must be"),
        ({"dtype": "int8"}, "dtype must be"),
    ],
)
def test_bad_options_are_named(gin, options, message):
    with pytest.raises(ValueError, match=message):
        spectrum(gin, **options)


def test_labels_of_other_tasks_are_refused(gin):
    with pytest.raises(ValueError, match="fitted with the 3 tasks"):
        hessian_spectrum(gin.model, gin.X, gin.y[:, :2])
    with pytest.raises(ValueError, match="has a label"):
        hessian_spectrum(gin.model, gin.X, np.full_like(gin.y, np.nan))
