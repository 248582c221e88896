"""The result of a computation of spectra, in one object."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ._density import cumulative, default_sigma, density, log_spread, noise_floor

_FORMAT = "skgnn_mtl.hessian_spectrum"
PAIRS = (
    "gradient_cosine",
    "label_overlap",
    "subspace_overlap",
    "cross_curvature",
    "hessian_cosine",
    "hessian_cosine_error",
)


@dataclass(frozen=True, eq=False, repr=False)
class HessianSpectrum:
    r"""Spectra of the Hessians (or Gauss-Newton matrices) of t tasks' losses.

    Losses are means over labels of standardised targets, without task weights and
    weight decay. The model is in evaluation mode. There are k eigenvalues, v probes, m
    Lanczos steps and P parameters. A task with fewer than two labels has NaN
    everywhere. Results are in standardised units; see ``target_scale``.

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
        Bounds of the errors: an eigenvalue lies within the residual of each.
    converged : ndarray of bool, (t, k)
        Whether the residual is within ``tol`` of the largest modulus.
    lambda_min, lambda_min_residual : ndarray of shape (t,)
        Smallest eigenvalue and its residual.
    trace, trace_sem : ndarray of shape (t,)
        Trace and its standard error, widened by Student's factor. Two of these errors
        cover 95 % of normal samples, also with few probes. The samples are skewed, so
        the error is at least that of Gaussian probes
        (:meth:`KrylovUnion.trace_error`). Two errors covered 86 to 100 % of 50 seeds
        (networks of 236 parameters, matrices of order 100 to 400).
    frobenius_sq, frobenius_sem : ndarray of shape (t,)
        Squared Frobenius norm and its standard error, likewise.
    trace_samples : ndarray of shape (t, number of samples)
        Samples whose mean is the trace.
    ritz_values, ritz_weights : ndarray of shape (t, v, m)
        Quadrature nodes and weights of each probe; weight 0 is padding.
    gradient_curvature : ndarray of shape (t,)
        :math:`g^T H g / g^T g`.
    gradient_in_top : ndarray of shape (t,)
        Share of :math:`|g|^2` in the span of the k eigenvectors.
    gradient_cosine, label_overlap, subspace_overlap : ndarray of shape (t, t)
        Cosines of the gradients. Share of the graphs with both labels among those with
        either. :math:`|V_s^T V_t|_F^2 / k`, which is k/P for random spaces.
    cross_curvature : ndarray of shape (t, t)
        :math:`g_s^T H_t g_s / g_s^T g_s`; row s is the task of the gradient, column t
        that of the loss.
    hessian_cosine : ndarray of shape (t, t)
        :math:`\mathrm{tr}(H_s H_t)/\sqrt{\mathrm{tr} H_s^2\, \mathrm{tr} H_t^2}`,
        estimated from the common probes. Each is deflated by the runs of the others.
    hessian_cosine_error : ndarray of shape (t, t)
        Standard error of each cosine, with Student's factor. A cosine smaller than two
        errors has no certain sign.
    matrix : {"hessian", "ggn"}
        Hessian or Gauss-Newton matrix.
    parameters : str
        Parameters that the loss is differentiated by.
    n_parameters, n_samples : int
        Number of parameters and of graphs.
    target_scale : ndarray of shape (t,)
        Scales of the targets in raw units. A spectrum times its squared scale is in raw
        units, for the squared error.
    n_matvec : ndarray of shape (t,)
        Products with each task's matrix.
    seconds : ndarray of shape (t,)
        Time of each task, in seconds.
    settings, versions : dict
        Options of the computation, and versions of the packages.
    eigenvectors : ndarray of float32, (t, k, P), or None
        Only with ``keep_vectors=True``.

    See Also
    --------
    hessian_spectrum : Computes this object.
    skgnn_mtl.inspection.HessianSpectrumDisplay : Draws it.

    References
    ----------
    .. [1] B. Ghorbani, S. Krishnan, Y. Xiao, "An Investigation into Neural Net
       Optimization via Hessian Eigenvalue Density", ICML 2019.

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
    hessian_cosine_error: np.ndarray
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
            rank: np.ndarray = self.frobenius_sq / largest**2
        return rank

    def density(
        self, grid: ArrayLike | None = None, sigma: float | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Smooth the quadrature to spectral densities.

        Parameters
        ----------
        grid : ndarray of shape (g,), optional
            Points to evaluate at; by default points that resolve every task.
        sigma : float, optional
            Width of the Gaussians; by default each task's range over 2 m. A small
            spectrum then stays visible next to a large one.

        Returns
        -------
        grid : ndarray of shape (g,)
            Points of the densities.
        values : ndarray of shape (t, g)
            Densities, with integral 1.
        band : ndarray of shape (t, g)
            Standard errors over the probes, computed as that of the trace. They do not
            contain the error of the quadrature, which is below a width ``sigma``.
        """
        widths = [
            default_sigma(n, w) if sigma is None else sigma
            for n, w in self._quadratures()
        ]
        points = self._grid(widths) if grid is None else np.asarray(grid, np.float64)
        results = [
            density(nodes, weights, points, width, self.n_parameters)
            for (nodes, weights), width in zip(self._quadratures(), widths, strict=True)
        ]
        values, band = (np.array(part) for part in zip(*results, strict=True))
        return points, values, band

    def cumulative(self, grid: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        """Compute the share of the spectrum up to each point, without smoothing.

        Parameters
        ----------
        grid : array-like of shape (g,)
            Points to evaluate at.

        Returns
        -------
        values, band : ndarray of shape (t, g)
            Shares in [0, 1], and standard errors over the probes.
        """
        points = np.asarray(grid, dtype=np.float64)
        results = [
            cumulative(nodes, weights, points, self.n_parameters)
            for nodes, weights in self._quadratures()
        ]
        values, band = (np.array(part) for part in zip(*results, strict=True))
        return values, band

    def _quadratures(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return zip(self.ritz_values, self.ritz_weights, strict=True)

    def _grid(self, widths: Sequence[float]) -> np.ndarray:
        # Points of every task, because spectra of tasks differ by orders of magnitude.
        points = [
            np.linspace(nodes.min() - 4 * width, nodes.max() + 4 * width, 400)
            for (nodes, _), width in zip(self._quadratures(), widths, strict=True)
            if np.isfinite(width)
        ]
        return np.unique(np.concatenate(points)) if points else np.zeros(1)

    def _statistics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Collect statistics that may be positive, and their errors."""
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
        """Compute how much each statistic differs between the tasks.

        Returns
        -------
        table : DataFrame
            One row per statistic. ``ratio`` is largest over smallest value.
            ``log_spread`` is the standard deviation of the decimal logarithms, and
            ``noise_floor`` the log-spread that the errors alone would cause. NaN where
            a value is not positive, which is possible for the trace of a Hessian.
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
            One row per task, per task and eigenvalue, or per pair of tasks.

        Returns
        -------
        table : DataFrame
            Errors have columns of their own.

        Raises
        ------
        ValueError
            If ``kind`` has another value.
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
        # Every array with one number per task is a column.
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
        values = {name: getattr(self, name).ravel() for name in PAIRS}
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

    def save(self, path: str | os.PathLike[str] | IO[bytes]) -> None:
        """Write everything into one npz file, without pickle.

        Parameters
        ----------
        path : str, path-like or binary file
            File to write; the name does not change.
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
        # An open file, because NumPy appends .npz to a name.
        with open(path, "wb") as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | IO[bytes]) -> HessianSpectrum:
        """Read what :meth:`save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : str, path-like or binary file
            File to read.

        Returns
        -------
        spectrum : HessianSpectrum
            Equal to the saved one.

        Raises
        ------
        ValueError
            If the file does not contain a spectrum.
        """
        # Without pickle, because a file must not execute code.
        with np.load(path, allow_pickle=False) as archive:
            content = {name: archive[name] for name in archive.files}
        header = json.loads(str(content.pop("header", "{}")))
        if header.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} is not a saved HessianSpectrum.")
        header["task_names"] = tuple(header["task_names"])
        # NaN, because older files do not have the errors of the cosines.
        unknown = np.full_like(content["hessian_cosine"], np.nan)
        content.setdefault("hessian_cosine_error", unknown)
        return cls(**header, **content)

    def with_settings(self, **settings: Any) -> HessianSpectrum:
        """Copy the spectrum with further settings, for instance its epoch.

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
