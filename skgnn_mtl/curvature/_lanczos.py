r"""Lanczos runs, and the joint space of several runs.

A run of m steps from a vector v gives orthonormal rows Q (m, P), a tridiagonal T and a
remainder, :math:`A Q^T = Q^T T + \beta_m q_{m+1} e_m^T`. The
symmetric matrix A enters only by its products with vectors, so that this file needs no
network.

Vectors are *rows* of C-contiguous tensors; operators see their transposed views. All
scalars (dot products, norms, Gram matrices) are computed in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.linalg import eigh, eigh_tridiagonal, eigvalsh
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skgnn_mtl._gram import gram
from skgnn_mtl._warn import warn

from ._trace import Matmat, wide_standard_error

# Deflated samples share their spaces, so they are correlated. The variance of a mean of
# four was 1.1 to 1.6 times that of independent samples (orders 100 to 240).
_SHARED = 1.5**0.5


@dataclass(frozen=True)
class LanczosRun:
    """One Lanczos run of m steps on a matrix of order P.

    Parameters
    ----------
    alpha : ndarray of float64, (m,)
        Diagonal of the tridiagonal matrix.
    beta : ndarray of float64, (m,)
        Its off-diagonal; the last entry is the norm of the remainder.
    vectors : Tensor of shape (m, P)
        Orthonormal rows, the first along the start vector.
    remainder : Tensor of shape (P,)
        Direction of the remainder; zeros where an invariant subspace was found.
    start_norm : float
        Norm of the start vector.

    See Also
    --------
    lanczos : Ritz values of a symmetric matrix.

    References
    ----------
    .. [1] B. N. Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, chapter 13.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import lanczos
    >>> A = torch.diag(torch.tensor([1.0, 2.0], dtype=torch.float64))
    >>> start = torch.ones(2, 1, dtype=torch.float64)
    >>> (run,) = lanczos(lambda V: A @ V, start, n_steps=2)
    >>> nodes, weights = run.nodes()
    >>> nodes.round(6).tolist(), weights.round(6).tolist()
    ([1.0, 2.0], [0.5, 0.5])
    """

    alpha: np.ndarray
    beta: np.ndarray
    vectors: Tensor
    remainder: Tensor
    start_norm: float

    def nodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Compute nodes and weights of the Gauss quadrature of this run.

        Returns
        -------
        nodes : ndarray of shape (m,)
            Eigenvalues of the tridiagonal matrix, ascending.
        weights : ndarray of shape (m,)
            Squared first components of its eigenvectors; they add up to 1.
        """
        nodes, vectors = eigh_tridiagonal(self.alpha, self.beta[:-1])
        return nodes, vectors[0] ** 2


def lanczos(
    matmat: Matmat,
    starts: Tensor,
    n_steps: int,
    *,
    stop: Callable[[list[LanczosRun]], bool] | None = None,
    check_every: int = 10,
) -> list[LanczosRun]:
    r"""Run Lanczos from several vectors, in lockstep and fully reorthogonalised.

    .. math::

        w = A q_j, \quad \alpha_j = q_j \cdot w, \quad
        w \leftarrow w - \alpha_j q_j - \beta_{j-1} q_{j-1}, \quad
        w \leftarrow w - Q Q^T w, \quad
        \beta_j = |w|, \quad q_{j+1} = w / \beta_j;

    the reorthogonalisation is repeated if it has shortened w.

    A run ends early when its space is invariant, :math:`\beta_j \le 10\,\epsilon
    \max(|\alpha|, \beta)`. The runs are independent; they only share calls of
    ``matmat``.

    Parameters
    ----------
    matmat : callable
        Maps a tensor of shape (P, k) to its product with the symmetric matrix.
    starts : Tensor of shape (P, n_runs)
        One start vector per column.
    n_steps : int
        Largest number of steps per run; never more than P.
    stop : callable, optional
        Receives the runs so far every ``check_every`` steps; True ends them.
    check_every : int, default=10
        Steps between these calls.

    Returns
    -------
    runs : list of LanczosRun
        One run per column of ``starts``.

    Raises
    ------
    ValueError
        If a start vector is zero or ``n_steps`` < 1.
    FloatingPointError
        If a product is not finite.

    See Also
    --------
    top_eigenpairs : Largest eigenvalues with residuals.
    LanczosRun : Result of one run of Lanczos.

    References
    ----------
    .. [1] B. N. Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, chapter 13.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import lanczos
    >>> A = torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
    >>> (run,) = lanczos(lambda V: A @ V, torch.ones(3, 1, dtype=torch.float64), 3)
    >>> run.nodes()[0].round(6)
    array([1., 2., 5.])
    """
    if n_steps < 1:
        raise ValueError(f"n_steps must be at least 1, got {n_steps}.")
    size, n_runs = starts.shape
    n_steps = min(n_steps, size)
    norms = [_norm(start) for start in starts.T]
    if min(norms) == 0:
        raise ValueError("A start vector of Lanczos is zero.")
    Q = starts.new_zeros(n_runs, n_steps + 1, size)
    for run, norm in enumerate(norms):
        Q[run, 0] = _divided(starts[:, run], norm)
    alphas: list[list[float]] = [[] for _ in norms]
    betas: list[list[float]] = [[] for _ in norms]
    active = list(range(n_runs))
    for j in range(n_steps):
        W = matmat(Q[active, j].T).T
        for run, w in zip(list(active), W, strict=True):
            alpha, beta = _step(Q[run], j, w, betas[run])
            alphas[run].append(alpha)
            betas[run].append(beta)
            scale = max(*map(abs, alphas[run]), *betas[run])
            # The space is invariant, and a further vector would be a rounding error.
            if beta <= 10 * torch.finfo(Q.dtype).eps * scale:
                Q[run, j + 1] = 0
                active.remove(run)
        if not active:
            break
        if stop and (j + 1) % check_every == 0 and stop(_runs(alphas, betas, Q, norms)):
            break
    return _runs(alphas, betas, Q, norms)


def _runs(
    alphas: list[list[float]],
    betas: list[list[float]],
    Q: Tensor,
    norms: list[float],
) -> list[LanczosRun]:
    return [
        LanczosRun(np.array(a), np.array(b), Q[run, : len(a)], Q[run, len(a)], norm)
        for run, (a, b, norm) in enumerate(zip(alphas, betas, norms, strict=True))
    ]


def _step(Q: Tensor, j: int, w: Tensor, betas: list[float]) -> tuple[float, float]:
    """Compute row j + 1 of Q from w = A q_j; return alpha and beta."""
    alpha = _dot(Q[j], w)
    if not np.isfinite(alpha):
        raise FloatingPointError(
            "A product with the matrix is not finite; compute in float64, or check the "
            "parameters that the matrix belongs to."
        )
    w = w - alpha * Q[j]
    if j:
        w -= betas[-1] * Q[j - 1]
    before, beta = np.inf, _norm(w)
    # The components along the other vectors are rounding errors. A pass that shortens
    # w causes new ones, so it is repeated: twice is enough (Parlett, section 6.9).
    while beta < 0.7 * before and beta > 0:
        before = beta
        w -= Q[: j + 1].T @ (Q[: j + 1] @ w)
        beta = _norm(w)
    if beta > 0:
        Q[j + 1] = _divided(w, beta)
    return alpha, beta


def _dot(x: Tensor, y: Tensor) -> float:
    return float(x.double() @ y.double())


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x.double()))


def _divided(x: Tensor, norm: float) -> Tensor:
    # In float64, because 1/norm may leave the range of float32.
    return (x.double() / norm).to(x.dtype)


@dataclass(frozen=True)
class RitzPairs:
    """Approximate eigenpairs with a bound of their error.

    Parameters
    ----------
    values : ndarray of shape (k,)
        Ritz values; an eigenvalue lies within its residual of each.
    residuals : ndarray of shape (k,)
        Norms of A x - theta x.
    vectors : Tensor of shape (k, P)
        Orthonormal rows.

    See Also
    --------
    top_eigenpairs : Largest eigenvalues with residuals.
    KrylovUnion : Several Krylov spaces as one.

    References
    ----------
    .. [1] B. N. Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, chapter 13.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import top_eigenpairs
    >>> A = torch.diag(torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64))
    >>> start = torch.ones(3, dtype=torch.float64)
    >>> pairs, _ = top_eigenpairs(lambda V: A @ V, start, count=1)
    >>> pairs.values.round(6).tolist()
    [5.0]
    """

    values: np.ndarray
    residuals: np.ndarray
    vectors: Tensor


class KrylovUnion:
    r"""The space spanned by several Lanczos runs together.

    The rows B (n, P) of all runs satisfy :math:`A B^T = E^T K`, where E (N, P) adds the
    remainders to B and K (N, n) holds the tridiagonal matrices. The Gram matrix
    :math:`G = E E^T` therefore gives :math:`B B^T`, :math:`B A B^T` and
    :math:`B A^2 B^T`. These are enough for the following results *without a further
    product*:

    * eigenpairs of the joint space, which is that of block Lanczos. It finds
      multiplicities up to the number of runs, which a single run never does;
    * traces of A and of A squared, deflated by the other runs. With V an orthonormal
      basis of all runs but the l-th, which is independent of the l-th probe v,

      .. math:: t_l = \mathrm{tr}(V^T A V) + w^T A w, \quad w = (I - V V^T) v

      is unbiased for :math:`\mathrm{tr}\,A`. The mean over l is reported, with a
      standard error, as for the leave-one-out samples of XTrace [1]_.

    Parameters
    ----------
    runs : sequence of LanczosRun
        Runs on one matrix; for the traces, from independent probes with covariance I.

    See Also
    --------
    lanczos : Ritz values of a symmetric matrix.
    RitzPairs : Approximate eigenvalues, vectors and residuals.

    References
    ----------
    .. [1] E. N. Epperly, J. A. Tropp, R. J. Webber, "XTrace: Making the Most of Every
       Sample in Stochastic Trace Estimation", SIAM J. Matrix Anal. Appl. 45 (2024).

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import KrylovUnion, lanczos
    >>> A = torch.diag(torch.arange(50.0, dtype=torch.float64))
    >>> probes = torch.randn(50, 3, dtype=torch.float64).sign()
    >>> union = KrylovUnion(lanczos(lambda V: A @ V, probes, 20))
    >>> union.largest(2).values.round(6)
    array([49., 48.])
    """

    def __init__(self, runs: Sequence[LanczosRun]) -> None:
        self.runs = list(runs)
        rows = torch.cat([torch.cat([r.vectors, r.remainder[None]]) for r in self.runs])
        self.rows = rows
        lengths = [len(run.alpha) for run in self.runs]
        self.owner = np.repeat(np.arange(len(lengths)), lengths)
        K = np.zeros((len(rows), len(self.owner)))
        kept: list[int] = []
        top = left = 0
        for run, m in zip(self.runs, lengths, strict=True):
            # The tridiagonal matrix of the run, with the remainder in its last row.
            block = K[top : top + m + 1, left : left + m]
            block[np.arange(m), np.arange(m)] = run.alpha
            block[np.arange(1, m + 1), np.arange(m)] = run.beta
            block[np.arange(m - 1), np.arange(1, m)] = run.beta[:-1]
            kept += range(top, top + m)
            top, left = top + m + 1, left + m
        self.kept = np.array(kept)
        G = gram(rows).cpu().numpy()
        self.overlap = G[np.ix_(self.kept, self.kept)]
        # Symmetric up to rounding.
        first = G[self.kept] @ K
        self.first = (first + first.T) / 2  # B A B^T
        self.second = K.T @ G @ K  # B A^2 B^T
        # Directions that the runs share to this accuracy count once, because a division
        # by less would amplify the rounding of the products.
        self.cut = 1e-4 if rows.dtype == torch.float32 else 1e-10

    def _basis(self, chosen: np.ndarray) -> np.ndarray:
        """Compute coefficients (n, r) of an orthonormal basis of the chosen rows."""
        if not chosen.any():
            return np.zeros((len(chosen), 0))
        factors = self._whitening(self.overlap[np.ix_(chosen, chosen)])
        basis = np.zeros((len(chosen), factors.shape[1]))
        basis[chosen] = factors
        return basis

    def _whitening(self, overlap: np.ndarray) -> np.ndarray:
        """Compute coefficients (n, r) of orthonormal combinations of unit vectors."""
        values, vectors = eigh(overlap)
        kept = values > self.cut * max(values[-1], 1.0)
        factors: np.ndarray = vectors[:, kept] / np.sqrt(values[kept])
        return factors

    @cached_property
    def _others(self) -> list[np.ndarray]:
        """Coefficients of bases of all runs but one, per run."""
        return [self._basis(self.owner != run) for run in range(len(self.runs))]

    def _pairs(
        self,
        count: int,
        key: Callable[[np.ndarray], np.ndarray],
        basis: np.ndarray | None = None,
    ) -> RitzPairs:
        """Compute Ritz pairs in a space, by default that of all runs, by rising key."""
        if basis is None:
            basis = self._basis(np.ones(len(self.owner), dtype=bool))
        values, vectors = eigh(basis.T @ self.first @ basis)
        order = np.argsort(key(values))[:count]
        values, Y = values[order], basis @ vectors[:, order]
        squares = np.einsum("ni,nm,mi->i", Y, self.second, Y) - values**2
        # A floor, because cancellation leaves an error in the square.
        floor = np.finfo(np.float64).eps * np.abs(np.diag(self.second)).max()
        # Zeros for the remainders cost less than a copy of the long rows without them.
        coefficients = np.zeros((len(values), len(self.rows)))
        coefficients[:, self.kept] = Y.T
        vectors = torch.from_numpy(coefficients).to(self.rows) @ self.rows
        return RitzPairs(values, np.sqrt(np.maximum(squares, floor)), vectors)

    def largest(self, count: int) -> RitzPairs:
        """Compute the largest Ritz values, in falling order.

        Parameters
        ----------
        count : int
            Number of pairs; fewer if the space is smaller.

        Returns
        -------
        pairs : RitzPairs
            Values, residuals, vectors.
        """
        return self._pairs(count, np.negative)

    def smallest(self, count: int = 1) -> RitzPairs:
        """Compute the smallest Ritz values, in rising order.

        Parameters
        ----------
        count : int, default=1
            Number of pairs; fewer if the space is smaller.

        Returns
        -------
        pairs : RitzPairs
            Values, residuals, vectors.
        """
        return self._pairs(count, np.positive)

    def independent_pairs(self, count: int) -> list[RitzPairs]:
        """Compute Ritz pairs that are independent of a start vector, per start vector.

        Parameters
        ----------
        count : int
            Number of pairs of largest modulus; fewer if the space is smaller.

        Returns
        -------
        pairs : list of RitzPairs
            One entry per run, from all the other runs; empty for a single run.
        """
        if len(self.runs) == 1:
            return []
        return [self._pairs(count, lambda v: -np.abs(v), V) for V in self._others]

    def start_products(self) -> Tensor:
        """Compute the products of the matrix with the start vectors of the runs.

        Returns
        -------
        products : Tensor of shape (n_runs, P)
            One row per run.
        """
        rows = []
        for run in self.runs:
            following = run.vectors[1] if len(run.alpha) > 1 else run.remainder
            product = run.alpha[0] * run.vectors[0].double()
            product += run.beta[0] * following.double()
            rows.append((run.start_norm * product).to(self.rows.dtype))
        return torch.stack(rows)

    def trace_samples(self, power: int = 1, *, deflate: bool = True) -> np.ndarray:
        """Compute one unbiased sample of a trace for each run.

        Parameters
        ----------
        power : {1, 2}, default=1
            Trace of the matrix, or of its square (the squared Frobenius norm).
        deflate : bool, default=True
            Deflate by the space of the other runs; False gives Hutchinson's samples.

        Returns
        -------
        samples : ndarray of shape (n_runs,)
            Their mean estimates the trace.
        """
        form = self._form(power)
        samples = []
        for run, V in enumerate(self._deflations(deflate)):
            start = int(np.argmax(self.owner == run))
            w = -V @ (V.T @ self.overlap[:, start])
            w[start] += 1
            w *= self.runs[run].start_norm
            samples.append(np.trace(V.T @ form @ V) + w @ form @ w)
        return np.array(samples)

    def trace_error(self, power: int = 1, *, deflate: bool = True) -> float:
        r"""Estimate the standard error of the mean of :meth:`trace_samples`.

        A few samples of a skewed distribution often underestimate its spread. An
        example is :math:`w^T A^2 w` where few eigenvalues are left. The error is
        therefore at least that of Gaussian probes. Their variance is
        :math:`2 |Z^T A^p Z|_F^2`, with an orthonormal basis Z of the part that the run
        adds to the space of the others. The error is not below the rounding of the
        products either.

        Parameters
        ----------
        power : {1, 2}, default=1
            Trace of the matrix, or of its square.
        deflate : bool, default=True
            As for :meth:`trace_samples`.

        Returns
        -------
        error : float
            Widened by Student's factor; NaN from a single run.
        """
        samples = self.trace_samples(power, deflate=deflate)
        n = len(samples)
        if n == 1:
            return np.nan
        form = self._form(power)
        variances = []
        for run, V in enumerate(self._deflations(deflate)):
            X = np.eye(len(self.owner))[:, self.owner == run]
            X = X - V @ (V.T @ self.overlap @ X)
            Z = X @ self._whitening(X.T @ self.overlap @ X)
            variances.append(2 * np.square(Z.T @ form @ Z).sum())
        everything = self._basis(np.ones(len(self.owner), dtype=bool))
        size = np.abs(eigvalsh(everything.T @ form @ everything)).sum()
        rounding = torch.finfo(self.rows.dtype).eps * size * np.sqrt(len(self.owner))
        sampled = float(wide_standard_error(samples)) * (_SHARED if deflate else 1.0)
        return float(np.hypot(max(sampled, np.sqrt(np.mean(variances) / n)), rounding))

    def _form(self, power: int) -> np.ndarray:
        form: np.ndarray = self.first if power == 1 else self.second
        return form

    def _deflations(self, deflate: bool) -> list[np.ndarray]:
        """Return the space that each probe is independent of, per run."""
        nothing = np.zeros((len(self.owner), 0))
        return self._others if deflate else [nothing] * len(self.runs)


def top_eigenpairs(
    matmat: Matmat,
    start: Tensor,
    count: int,
    *,
    max_steps: int = 100,
    tol: float = 1e-3,
    check_every: int = 10,
) -> tuple[RitzPairs, np.ndarray]:
    """Compute the largest eigenvalues by one Lanczos run until they converge.

    Parameters
    ----------
    matmat : callable
        Maps a tensor of shape (P, k) to its product with the symmetric matrix.
    start : Tensor of shape (P,)
        Start vector.
    count : int
        Number of eigenvalues.
    max_steps : int, default=100
        Largest number of products.
    tol : float, default=1e-3
        A pair has converged if its residual is below ``tol`` times the largest modulus
        of a Ritz value.
    check_every : int, default=10
        Steps between tests of convergence.

    Returns
    -------
    pairs : RitzPairs
        In falling order.
    converged : ndarray of bool, (count,)
        Whether each pair has converged; a warning counts the others.

    See Also
    --------
    lanczos, leading_eigenpairs

    References
    ----------
    .. [1] B. N. Parlett, "The Symmetric Eigenvalue Problem", SIAM 1998, chapter 13.

    Examples
    --------
    >>> import torch
    >>> from skgnn_mtl.curvature import top_eigenpairs
    >>> A = torch.diag(torch.arange(100.0, dtype=torch.float64) ** 2)
    >>> start = torch.ones(100, dtype=torch.float64)
    >>> pairs, converged = top_eigenpairs(lambda V: A @ V, start, 2, tol=1e-8)
    >>> pairs.values.round(4), converged
    (array([9801., 9604.]), array([ True,  True]))
    """
    state: list[tuple[RitzPairs, np.ndarray]] = []

    def converges(runs: list[LanczosRun]) -> bool:
        union = KrylovUnion(runs)
        pairs = union.largest(count)
        scale = max(abs(pairs.values[0]), abs(union.smallest().values[0]))
        state[:] = [(pairs, pairs.residuals <= tol * scale)]
        return len(pairs.values) >= count and bool(state[0][1].all())

    runs = lanczos(
        matmat, start[:, None], max_steps, stop=converges, check_every=check_every
    )
    # A run over the whole space is exact up to rounding.
    if not converges(runs) and len(runs[0].alpha) < len(start):
        warn(
            f"{(~state[0][1]).sum()} of {count} eigenvalues have not converged to "
            f"tol={tol} in {len(runs[0].alpha)} Lanczos steps; raise max_steps.",
            ConvergenceWarning,
        )
    return state[0]
