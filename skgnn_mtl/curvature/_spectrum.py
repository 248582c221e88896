"""What is known about the curvature of each task's loss, in one object."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pandas as pd

from ._density import cumulative, default_sigma, density, log_spread, noise_floor

_FORMAT = "skgnn_mtl.hessian_spectrum"
_PAIRS = (
    "gradient_cosine",
    "label_overlap",
    "subspace_overlap",
    "cross_curvature",
    "hessian_cosine",
)


@dataclass(frozen=True, eq=False, repr=False)
class HessianSpectrum:
    r"""Spectra of the Hessians (or Gauss-Newton matrices) of t tasks' losses.

    Losses are means over labels of standardised targets, without task weights and
    weight decay; the model is in evaluation mode. k eigenvalues, v probes, m Lanczos
    steps, P parameters. A task with fewer than two labels has NaN everywhere.

    Parameters
    ----------
    task_names : tuple of str
        Names of the tasks.
    n_labels : ndarray of shape (t,)
        Labels of each task among the samples.
    loss : ndarray of shape (t,)
        Loss :math:`L_t`.
    gradient_norm : ndarray of shape (t,)
        :math:`|g_t|`, the gradient's norm.
    head_norm : ndarray of shape (t,)
        Norm of the head's weights. For a linear head the Gauss-Newton matrix of the
        shared parameters is proportional to its square.
    eigenvalues : ndarray of shape (t, k)
        Largest eigenvalues, falling.
    residuals : ndarray of shape (t, k)
        An eigenvalue lies within its residual of each of them.
    converged : ndarray of bool, (t, k)
        Whether the residual is within ``tol`` of the largest modulus.
    lambda_min, lambda_min_residual : ndarray of shape (t,)
        Smallest eigenvalue and its residual.
    trace, trace_sem : ndarray of shape (t,)
        Trace and its standard error, widened by Student's factor: two of them cover
        95 % of normal samples, also with few probes. Samples are skewed: of 120 seeds
        of a network of 145 parameters they covered 84 to 93 %.
    frobenius_sq, frobenius_sem : ndarray of shape (t,)
        Squared Frobenius norm and its standard error, likewise.
    trace_samples : ndarray of shape (t, number of samples)
        What the trace is the mean of.
    ritz_values, ritz_weights : ndarray of shape (t, v, m)
        Quadrature nodes and weights of each probe; weight 0 is padding.
    gradient_curvature : ndarray of shape (t,)
        :math:`g^T H g / g^T g`.
    gradient_in_top : ndarray of shape (t,)
        Share of :math:`|g|^2` in the span of the k eigenvectors.
    gradient_cosine, label_overlap, subspace_overlap : ndarray of shape (t, t)
        Cosines of the gradients; share of the graphs with both labels among those with
        either; :math:`|V_s^T V_t|_F^2 / k`, which is k/P for random spaces.
    cross_curvature : ndarray of shape (t, t)
        :math:`g_s^T H_t g_s / g_s^T g_s`: row s makes the step, column t has the loss.
    hessian_cosine : ndarray of shape (t, t)
        :math:`\mathrm{tr}(H_s H_t)/\sqrt{\mathrm{tr} H_s^2\, \mathrm{tr} H_t^2}`,
        estimated from the common probes.
    matrix : {"hessian", "ggn"}
        What the spectra are of.
    parameters : str
        Which parameters.
    n_parameters, n_samples : int
        How many parameters and graphs.
    target_scale : ndarray of shape (t,)
        Scales of the targets: times its square, a spectrum is in raw units.
    n_matvec : ndarray of shape (t,)
        Products with each task's matrix.
    seconds : ndarray of shape (t,)
        Time of each task.
    settings, versions : dict
        How it was computed.
    eigenvectors : ndarray of float32, (t, k, P), or None
        Only with ``keep_vectors=True``.

    See Also
    --------
    hessian_spectrum : Makes this object.
    skgnn_mtl.inspection.HessianSpectrumDisplay : Draws it.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl import MultiTaskGNNRegressor
    >>> from skgnn_mtl.curvature import hessian_spectrum
    >>> from skgnn_mtl.encoders import GIN
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> y = np.column_stack([X[:, 0], X[:, 1] ** 2])
    >>> encoder = GIN(16, n_layers=2, activation="silu")
    >>> model = MultiTaskGNNRegressor(encoder, max_epochs=2, random_state=0).fit(X, y)
    >>> spectrum = hessian_spectrum(model, X, y, n_eigenvalues=3, random_state=0)
    >>> spectrum.eigenvalues.shape
    (2, 3)
    """

    task_names: tuple[str, ...]
    n_labels: np.ndarray
    loss: np.ndarray
    gradient_norm: np.ndarray
    head_norm: np.ndarray
    eigenvalues: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    lambda_min: np.ndarray
    lambda_min_residual: np.ndarray
    trace: np.ndarray
    trace_sem: np.ndarray
    frobenius_sq: np.ndarray
    frobenius_sem: np.ndarray
    trace_samples: np.ndarray
    ritz_values: np.ndarray
    ritz_weights: np.ndarray
    gradient_curvature: np.ndarray
    gradient_in_top: np.ndarray
    gradient_cosine: np.ndarray
    label_overlap: np.ndarray
    subspace_overlap: np.ndarray
    cross_curvature: np.ndarray
    hessian_cosine: np.ndarray
    matrix: str
    parameters: str
    n_parameters: int
    n_samples: int
    target_scale: np.ndarray
    n_matvec: np.ndarray
    seconds: np.ndarray
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    eigenvectors: np.ndarray | None = None

    # -- derived ------------------------------------------------------------------

    @property
    def stable_rank(self) -> np.ndarray:
        r"""Squared Frobenius norm over the largest squared eigenvalue, shape (t,)."""
        largest = np.maximum(np.abs(self.eigenvalues[:, 0]), np.abs(self.lambda_min))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.frobenius_sq / largest**2

    def density(self, grid=None, sigma=None):
        """Smooth the quadrature to spectral densities.

        Parameters
        ----------
        grid : ndarray of shape (g,), optional
            Where to evaluate; by default points that resolve every task.
        sigma : float, optional
            Width of the Gaussians; by default each task's range over 2 m, so that a
            small spectrum is not smoothed away beside a large one.

        Returns
        -------
        grid : ndarray of shape (g,)
            Points.
        values : ndarray of shape (t, g)
            Densities, with integral 1.
        band : ndarray of shape (t, g)
            Standard errors over the probes.
        """
        widths = [
            default_sigma(n, w) if sigma is None else sigma
            for n, w in self._quadratures()
        ]
        grid = self._grid(widths) if grid is None else np.asarray(grid, np.float64)
        results = [
            density(nodes, weights, grid, width)
            for (nodes, weights), width in zip(self._quadratures(), widths, strict=True)
        ]
        values, band = (np.array(part) for part in zip(*results, strict=True))
        return grid, values, band

    def cumulative(self, grid):
        """Compute the share of the spectrum up to each point, without smoothing.

        Parameters
        ----------
        grid : array-like of shape (g,)
            Points.

        Returns
        -------
        values, band : ndarray of shape (t, g)
            Shares in [0, 1], and standard errors over the probes.
        """
        grid = np.asarray(grid, dtype=np.float64)
        results = [cumulative(n, w, grid) for n, w in self._quadratures()]
        values, band = (np.array(part) for part in zip(*results, strict=True))
        return values, band

    def _quadratures(self):
        return zip(self.ritz_values, self.ritz_weights, strict=True)

    def _grid(self, widths) -> np.ndarray:
        points = [
            np.linspace(nodes.min() - 4 * width, nodes.max() + 4 * width, 400)
            for (nodes, _), width in zip(self._quadratures(), widths, strict=True)
            if np.isfinite(width)
        ]
        return np.unique(np.concatenate(points)) if points else np.zeros(1)

    def _statistics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Positive statistics and their errors."""
        largest, error = self.eigenvalues[:, 0], self.residuals[:, 0]
        nothing = np.zeros(len(self.task_names))
        with np.errstate(divide="ignore", invalid="ignore"):
            head = self.head_norm**2
            return {
                "lambda_max": (largest, error),
                "lambda_max / head^2": (largest / head, error / head),
                "trace": (self.trace, self.trace_sem),
                "trace / head^2": (self.trace / head, self.trace_sem / head),
                "frobenius^2": (self.frobenius_sq, self.frobenius_sem),
                "g.Hg / g.g": (self.gradient_curvature, nothing),
                "gradient norm": (self.gradient_norm, nothing),
                "loss": (self.loss, nothing),
            }

    def dispersion(self) -> pd.DataFrame:
        """Tell how much each statistic differs between the tasks.

        Returns
        -------
        table : DataFrame
            One row a statistic; ``ratio`` is largest over smallest, ``log_spread`` the
            standard deviation of the decimal logarithms, ``noise_floor`` the
            log-spread that the errors alone would make. NaN where a value is not
            positive, as the trace of a Hessian may be.
        """
        rows = {
            name: (*log_spread(values), noise_floor(values, errors))
            for name, (values, errors) in self._statistics().items()
        }
        columns = ["ratio", "log_spread", "noise_floor"]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return table.rename_axis("statistic")

    def to_frame(self, kind: str = "tasks") -> pd.DataFrame:
        """Write the numbers as a table.

        Parameters
        ----------
        kind : {"tasks", "eigenvalues", "pairs"}, default="tasks"
            One row a task, a task and eigenvalue, or a pair of tasks.

        Returns
        -------
        table : DataFrame
            Errors stand in columns of their own.

        Raises
        ------
        ValueError
            If there is no such kind.
        """
        makers = {
            "tasks": self._task_frame,
            "eigenvalues": self._eigenvalue_frame,
            "pairs": self._pair_frame,
        }
        if kind not in makers:
            raise ValueError(f"kind must be one of {sorted(makers)}, got {kind!r}.")
        return makers[kind]()

    def _task_frame(self) -> pd.DataFrame:
        scalars = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if np.shape(getattr(self, item.name)) == (len(self.task_names),)
            and item.name != "task_names"
        }
        table = pd.DataFrame({"task": self.task_names, **scalars})
        table.insert(6, "lambda_max", self.eigenvalues[:, 0])
        table.insert(7, "lambda_max_residual", self.residuals[:, 0])
        table["stable_rank"] = self.stable_rank
        return table

    def _eigenvalue_frame(self) -> pd.DataFrame:
        t, k = self.eigenvalues.shape
        return pd.DataFrame(
            {
                "task": np.repeat(self.task_names, k),
                "index": np.tile(np.arange(k), t),
                "eigenvalue": self.eigenvalues.ravel(),
                "residual": self.residuals.ravel(),
                "converged": self.converged.ravel(),
            }
        )

    def _pair_frame(self) -> pd.DataFrame:
        t = len(self.task_names)
        names = np.array(self.task_names)
        values = {name: getattr(self, name).ravel() for name in _PAIRS}
        ends = {"step of": np.repeat(names, t), "loss of": np.tile(names, t)}
        return pd.DataFrame({**ends, **values})

    def __repr__(self) -> str:
        title = (
            f"HessianSpectrum(matrix={self.matrix!r}, parameters={self.parameters!r}, "
            f"P={self.n_parameters}, {self.n_samples} samples)"
        )
        width = max(map(len, self.task_names), default=0)
        lines = [
            f"  {name:<{width}}  {n:>6} labels, loss {loss:.3g}, "
            f"lambda {low:.3g} .. {high:.3g}, trace {trace:.3g} +- {sem:.1g}"
            for name, n, loss, low, high, trace, sem in zip(
                self.task_names,
                self.n_labels,
                self.loss,
                self.lambda_min,
                self.eigenvalues[:, 0],
                self.trace,
                self.trace_sem,
                strict=True,
            )
        ]
        return "\n".join([title, *lines])

    # -- files --------------------------------------------------------------------

    def save(self, path) -> None:
        """Write everything into one npz file, without pickle.

        Parameters
        ----------
        path : str, path-like or binary file
            Where to; the name is used as it is.
        """
        arrays: dict[str, Any] = {}
        header: dict[str, Any] = {"format": _FORMAT}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, np.ndarray):
                arrays[item.name] = value
            else:
                header[item.name] = value
        arrays["header"] = np.array(json.dumps(header))
        if not isinstance(path, (str, os.PathLike)):
            np.savez_compressed(path, **arrays)
            return
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path) -> HessianSpectrum:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str, path-like or binary file
            Where from.

        Returns
        -------
        spectrum : HessianSpectrum
            Equal to the saved one.

        Raises
        ------
        ValueError
            If the file is of something else.
        """
        with np.load(path, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        header = json.loads(str(content.pop("header", "{}")))
        if header.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} is not a saved HessianSpectrum.")
        header["task_names"] = tuple(header["task_names"])
        return cls(**header, **content)

    def with_settings(self, **settings) -> HessianSpectrum:
        """Copy with further settings, for instance the epoch it was taken at.

        Parameters
        ----------
        **settings : JSON values
            Added to ``settings``.

        Returns
        -------
        spectrum : HessianSpectrum
            Shares all arrays.
        """
        return replace(self, settings={**self.settings, **settings})
