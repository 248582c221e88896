"""Small convex problems of the weightings, in NumPy and SciPy, float64.

Every solver works on the unit gradients, whose Gramian is the matrix of cosines. The
reason is that the norms of the tasks' gradients often differ by a factor of a thousand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, nnls

from skgnn_mtl._gram import cosines


@dataclass(frozen=True)
class SolverReport:
    """Quality of a solution.

    Parameters
    ----------
    residual : float
        Relative violation of the optimality conditions.
    n_iter : int
        Iterations; 0 for a direct solver.
    converged : bool
        Whether the residual is small enough.
    stationary : bool
        Whether a convex combination of the gradients vanishes, so that no step improves
        all tasks. Some methods have no solution of their own then. For methods with
        target tasks: whether the target has no gradient.
    flipped : bool
        Whether the published direction pointed uphill for all tasks and was reversed.

    See Also
    --------
    Decision : Weights together with a report.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.weighting import NashMTL
    >>> decision = NashMTL().decide(torch.eye(3))
    >>> decision.report.converged, decision.report.residual < 1e-6
    (True, True)
    """

    residual: float = 0.0
    n_iter: int = 0
    converged: bool = True
    stationary: bool = False
    flipped: bool = False


def norms_and_cosines(G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the norms (t,) of the gradients and the cosines (t, t) between them."""
    d = np.sqrt(np.diagonal(G))
    return d, cosines(G, d, d[:, None])


def unit_columns(C: np.ndarray) -> np.ndarray:
    """Find R (t, t) with R^T R = C: unit gradients, in coordinates of their span."""
    values, vectors = np.linalg.eigh(C)
    R: np.ndarray = np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T
    return R


def equal_projection(C: np.ndarray, tolerance: float) -> np.ndarray:
    """Find the shortest v (t,) with C v = 1, or as near as the rank allows."""
    v: np.ndarray = np.linalg.pinv(C, rcond=tolerance, hermitian=True).sum(axis=1)
    return v


def min_norm_point(R: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, float]:
    r"""Minimise ||sum_t w_t d_t R_t|| over the simplex.

    The minimiser a of :math:`\|R\,\mathrm{diag}(d)\,a\|^2 + (s\,1^\top a - 1)^2` over
    :math:`a \ge 0` is parallel to w for any s > 0: non-negative least squares, exact
    also where the minimum is zero.

    Parameters
    ----------
    R : ndarray of shape (k, t)
        Columns.
    d : ndarray of shape (t,)
        Positive factors of the columns.

    Returns
    -------
    w : ndarray of shape (t,)
        Weights that sum to 1.
    gap : float
        Duality gap relative to the mean squared norm, a bound of the error.
    """
    # In the variables d a, whose columns have unit length.
    A = np.vstack([R, d.min() / d])
    b = np.zeros(len(A))
    b[-1] = 1.0
    a, _ = nnls(A, b, maxiter=100 * len(d))
    w = a / d
    w /= w.sum()
    point = R @ (d * w)
    slopes = d * (point @ R)
    return w, float((point @ point - slopes.min()) / (d * d).mean())


def combination_vanishes(G: np.ndarray, weights: np.ndarray, tolerance: float) -> bool:
    """Tell whether a convex combination of the unit gradients vanishes.

    Parameters
    ----------
    G : ndarray of shape (t, t)
        Gramian with a positive diagonal.
    weights : ndarray of shape (t,)
        Weights of any combination. If it improves all tasks, no combination vanishes,
        and nothing needs to be solved.
    tolerance : float
        Largest length of a combination that counts as zero.

    Returns
    -------
    vanishes : bool
        If so, no direction improves all tasks.
    """
    d, C = norms_and_cosines(G)
    if not C.min() < 0.0:
        return False
    # No combination is shorter than the projections of unit gradients on a direction.
    slopes = C @ (d * weights)
    if slopes.min() > tolerance * np.sqrt(max(d * weights @ slopes, 0.0)):
        return False
    R = unit_columns(C)
    w, _ = min_norm_point(R, np.ones(len(C)))
    return bool(np.linalg.norm(R @ w) <= tolerance)


def bargain(G: np.ndarray, alpha: float) -> tuple[np.ndarray, SolverReport]:
    r"""Solve :math:`(G w)_t = w_t^{-1/\alpha}`, w > 0, by damped Newton steps.

    With :math:`w_t = e_t x_t` and :math:`e_t = G_{tt}^{-\alpha/(1+\alpha)}`, which
    solves the problem of each task alone, these are the stationarity conditions of the
    strictly convex :math:`F(x) = x^\top A x / 2 - \sum_t k_t \varphi(x_t)`, where
    :math:`A = \mathrm{diag}(e)\,G\,\mathrm{diag}(e)`, :math:`k_t = A_{tt}` and
    :math:`\varphi' = x^{-1/\alpha}`.

    Parameters
    ----------
    G : ndarray of shape (t, t)
        Gramian with a positive diagonal.
    alpha : float
        Aversion to inequality.

    Returns
    -------
    w : ndarray of shape (t,)
        Weights; those of the minimum-norm point, times t, if the gradients admit no
        solution because a combination of them vanishes.
    report : SolverReport
        ``residual`` is the largest :math:`|(G w)_t w_t^{1/\alpha} - 1|`, or the duality
        gap of the minimum-norm point.
    """
    p = 1.0 / alpha
    e = np.diagonal(G) ** (-alpha / (1.0 + alpha))
    A = G * e * e[:, None]
    k = np.diagonal(A).copy()
    x, n_iter = _newton(A, k, p)
    # Silent, because the residual reports an x that has diverged or reached zero.
    with np.errstate(all="ignore"):
        residual = float(np.abs((A @ x) * x**p / k - 1.0).max())
    if residual <= 1e-8:
        return e * x, SolverReport(residual, n_iter)
    d, C = norms_and_cosines(G)
    R = unit_columns(C)
    w, gap = min_norm_point(R, d)
    if np.linalg.norm(R @ (d * w)) < 1e-6 * d.max():
        return len(G) * w, SolverReport(gap, n_iter, stationary=True)
    return e * x, SolverReport(residual, n_iter, converged=False)


def _newton(
    A: np.ndarray, k: np.ndarray, p: float, most: int = 50
) -> tuple[np.ndarray, int]:
    """Minimise F of :func:`bargain` from a multiple of ones; count the steps."""
    total = A.sum()
    start = (k.sum() / total) ** (1.0 / (1.0 + p)) if total > 0 else 1.0
    x = np.full(len(A), min(start, 1e6))
    Ax = A @ x
    for n_iter in range(most):
        power = k * x**-p
        gradient = Ax - power
        if np.abs(gradient / power).max() <= 1e-9:
            return x, n_iter
        H = A.copy()
        H.flat[:: len(A) + 1] += p * power / x
        try:
            step = -np.linalg.solve(H, gradient)
        except np.linalg.LinAlgError:
            return x, n_iter  # because x is so large that only the singular A is left
        slope = gradient @ step
        # At most 0.99 of the way to x = 0, because F is not defined beyond.
        shrink = (-step / x).max()
        size = min(1.0, 0.99 / shrink) if shrink > 0 else 1.0
        A_step = A @ step
        value = _objective(x, Ax, k, p)
        for _ in range(30):
            trial, A_trial = x + size * step, Ax + size * A_step
            bound = value + 1e-4 * size * slope + 1e-14 * abs(value)
            if _objective(trial, A_trial, k, p) <= bound:
                break
            size /= 2
        x, Ax = trial, A_trial
    return x, most


def _objective(x: np.ndarray, Ax: np.ndarray, k: np.ndarray, p: float) -> float:
    """Compute F(x) of :func:`bargain`."""
    potential = np.log(x) if p == 1.0 else x ** (1.0 - p) / (1.0 - p)
    value: float = 0.5 * (x @ Ax) - k @ potential
    return value


def conflict_averse(
    G: np.ndarray, c: float, n_guesses: int = 10
) -> tuple[np.ndarray, float, SolverReport]:
    r"""Minimise :math:`F(w) = b^\top w + r \sqrt{w^\top G w}` over the simplex.

    Here b = G 1/t and r = c ||g_0|| with the mean gradient g_0. As
    :math:`\sqrt q = \min_\tau q / 2\tau + \tau / 2`, the problem for a fixed tau is the
    minimum-norm point of the columns :math:`g_t + (\tau/r)\,g_0`, and
    :math:`\tau = \|J^\top w(\tau)\|` is a root of a monotone function. Given the tasks
    with a positive weight, it is a root of a quadratic equation. Where a few steps do
    not find these tasks, a bracketing search replaces them.

    Parameters
    ----------
    G : ndarray of shape (t, t)
        Gramian with a positive diagonal.
    c : float
        Radius of the search relative to ||g_0||.
    n_guesses : int, default=10
        Most guesses of the tasks with a positive weight before the bracketing search.

    Returns
    -------
    w : ndarray of shape (t,)
        Weights that sum to 1.
    ratio : float
        :math:`r / \|J^\top w\|`; 0 where there is nothing to correct.
    report : SolverReport
        ``residual`` is the duality gap relative to the mean squared norm.
    """
    d, C = norms_and_cosines(G)
    R = unit_columns(C) * d
    mean = R.mean(axis=1)
    scale = float(np.sqrt((d * d).mean()))
    r = c * float(np.linalg.norm(mean))
    uniform = np.full(len(G), 1.0 / len(G))
    # A vanishing mean gradient leaves no ball to search in.
    if r <= 1e-10 * scale:
        return uniform, 0.0, SolverReport(stationary=c > 0.0)
    problem = _ConflictAverse(R, mean, r, scale)
    result = problem.by_faces(n_guesses) or problem.by_bracketing()
    if result is None:
        return uniform, 0.0, SolverReport(stationary=True, n_iter=problem.calls)
    return result


@dataclass
class _ConflictAverse:
    """The problem of :func:`conflict_averse`, with gradients R (k, t) in columns."""

    R: np.ndarray
    mean: np.ndarray
    r: float
    scale: float
    calls: int = 0

    @property
    def shortest(self) -> float:
        """Length below which a combination of the gradients counts as zero."""
        return 1e-10 * self.scale

    def weights(self, tau: float) -> np.ndarray:
        """Solve the problem for a fixed tau."""
        self.calls += 1
        columns = self.R + (tau / self.r) * self.mean[:, None]
        lengths = np.maximum(np.sqrt((columns * columns).sum(axis=0)), 1e-300)
        return min_norm_point(columns / lengths, lengths)[0]

    def solution(self, w: np.ndarray) -> tuple[np.ndarray, float, SolverReport]:
        """Complete the weights (t,) by the ratio and the report."""
        point = self.R @ w
        ratio = self.r / float(np.linalg.norm(point))
        slopes = self.R.T @ (self.mean + ratio * point)
        gap = float((slopes @ w - slopes.min()) / self.scale**2)
        return w, ratio, SolverReport(gap, self.calls, converged=gap <= 1e-6)

    def by_faces(self, n_guesses: int) -> tuple[np.ndarray, float, SolverReport] | None:
        """Guess the tasks with a positive weight, solve for these, and repeat."""
        tau = float(np.linalg.norm(self.mean))
        for _ in range(n_guesses):
            w = self._on_face(self.weights(tau) > 0.0)
            if w is None:
                return None
            tau = float(np.linalg.norm(self.R @ w))
            if w.min() >= 0.0 and tau > self.shortest:
                result = self.solution(w)
                if result[2].residual <= 1e-10:
                    return result
        return None

    def by_bracketing(self) -> tuple[np.ndarray, float, SolverReport] | None:
        """Search the root tau; None if a combination of the gradients vanishes."""

        def excess(log_tau: float) -> float:
            length = float(np.linalg.norm(self.R @ self.weights(np.exp(log_tau))))
            return float(np.log(max(length, 1e-300))) - log_tau

        longest = float(np.linalg.norm(self.R, axis=0).max())
        low, high = np.log(self.shortest), np.log(2.0 * longest)
        if excess(low) <= 0.0:
            return None
        root: float = brentq(excess, low, high, xtol=1e-14, rtol=1e-14)
        return self.solution(self.weights(np.exp(root)))

    def _on_face(self, face: np.ndarray) -> np.ndarray | None:
        r"""Compute the weights on the plane of some of the tasks, bool (t,).

        Weights may be negative there. On the plane
        :math:`b + r G w / \|R w\| = \lambda 1`, which with the constraint
        :math:`1^\top w = 1` leaves a quadratic equation for lambda. None if it does not
        have a solution.
        """
        columns = self.R[:, face]
        d = np.sqrt((columns * columns).sum(axis=0))
        unit = columns / d
        right = np.stack([1.0 / d, self.mean @ unit], axis=1)
        try:
            u, v = np.linalg.solve(unit.T @ unit, right).T
        except np.linalg.LinAlgError:
            return None
        (uu, uv), (_, vv) = right.T @ np.stack([u, v], axis=1)
        square = uv * uv - uu * (vv - self.r * self.r)
        if not square > 0.0:
            return None
        w = np.zeros(len(face))
        w[face] = (u / uu + (u * (uv / uu) - v) / np.sqrt(square)) / d
        return w


def project_on_dual_cone(G: np.ndarray) -> tuple[np.ndarray, SolverReport]:
    r"""Project every gradient on the cone of directions that raise no loss; add them.

    The projection of g_i is :math:`J^\top v_i` with :math:`v_i = e_i + s`, where
    :math:`s \ge 0` minimises :math:`\|J^\top (e_i + s)\|`.

    Parameters
    ----------
    G : ndarray of shape (t, t)
        Gramian with a positive diagonal.

    Returns
    -------
    w : ndarray of shape (t,)
        Sum of the v_i.
    report : SolverReport
        ``residual`` is the largest violation of the optimality conditions of the unit
        gradients.
    """
    d, C = norms_and_cosines(G)
    R = unit_columns(C)
    w, worst = np.zeros(len(G)), 0.0
    for i in range(len(G)):
        v = np.zeros(len(G))
        v[i] = 1.0
        # A gradient without conflicts is its own projection.
        if C[i].min() < 0.0:
            s, _ = nnls(R, -R[:, i], maxiter=100 * len(G))
            v += s
            slopes = C @ v
            worst = max(worst, -slopes.min(), abs(s @ slopes))
        w += d[i] * v / d
    return w, SolverReport(float(worst), converged=worst <= 1e-6)
