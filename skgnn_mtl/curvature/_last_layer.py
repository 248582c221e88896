r"""Widths of predictions from the Gauss-Newton matrix of a task's last linear map.

For the squared error the loss is quadratic in the weights of that map. Its Gauss-Newton
matrix is the Gram matrix of the vectors that the map reads, and Laplace's approximation
[1]_ is exact: Bayesian linear regression around the weights of the network. With
vectors :math:`\phi` (the last entry is 1, for the bias), label weights :math:`w`, noise
variance :math:`\sigma^2` and prior precision :math:`\alpha`,

.. math::
    \Sigma = (G / \sigma^2 + \alpha I)^{-1}, \qquad
    G = \sum_i w_i \phi_i \phi_i^\top, \qquad
    \mathrm{Var}\, y(\phi) = \sigma^2 + \phi^\top \Sigma \phi .

All errors here are those of predictions that have not seen the label: the residuals of
the training rows of a network that knows its labels by heart are much too small.

References
----------
.. [1] E. Daxberger et al., "Laplace Redux - Effortless Bayesian Deep Learning", NeurIPS
   2021.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

# Ridges that are tried, relative to the largest eigenvalue.
_RIDGES = np.logspace(-10, 2, 61)
# Directions whose eigenvalue is a smaller share of the ridge count as never seen.
_NEGLIGIBLE = 1e-4


@dataclass(frozen=True)
class GramMatrix:
    """Eigenvectors and eigenvalues of the Gram matrix of some vectors.

    Parameters
    ----------
    basis : ndarray of shape (r, d)
        Orthonormal eigenvectors as rows; vectors had no other components.
    eigenvalues : ndarray of shape (r,)
        Their eigenvalues, not negative.
    """

    basis: np.ndarray
    eigenvalues: np.ndarray

    @classmethod
    def of(cls, gram: np.ndarray) -> GramMatrix:
        """Decompose a symmetric matrix (d, d) without negative eigenvalues."""
        values, vectors = np.linalg.eigh(gram)
        # Rounding makes negative ones of zeros.
        return cls(vectors.T, np.maximum(values, 0.0))

    def seen(self, ridge: float) -> GramMatrix:
        """Leave out directions whose eigenvalue is negligible beside a ridge.

        In single precision, which is enough for a width.
        """
        seen = self.eigenvalues > _NEGLIGIBLE * ridge
        return GramMatrix(
            self.basis[seen].astype(np.float32),
            self.eigenvalues[seen].astype(np.float32),
        )

    def leverages(self, vectors: np.ndarray, ridges: np.ndarray) -> np.ndarray:
        r"""Compute :math:`\phi^\top (G + \lambda I)^{-1} \phi`.

        Parameters
        ----------
        vectors : ndarray of shape (n, d)
            The vectors.
        ridges : ndarray of shape (k,)
            Values of :math:`\lambda`.

        Returns
        -------
        leverages : ndarray of shape (k, n)
            One row per ridge.
        """
        basis = self.basis.astype(np.float64)
        parts = vectors @ basis.T
        # What no eigenvector sees has the ridge alone. As a sum of squares, because a
        # difference of squares holds the rounding of the basis, and ridges are tiny.
        rest = ((vectors - parts @ basis) ** 2).sum(axis=1)
        inverse = 1.0 / (self.eigenvalues.astype(np.float64) + ridges[:, None])
        leverages: np.ndarray = inverse @ (parts**2).T + rest / ridges[:, None]
        return leverages


@dataclass(frozen=True)
class LastLayerPosterior:
    r"""Gaussian posterior of the weights of one linear map.

    Directions without a vector keep the prior, so that the variance grows where the
    training rows say nothing.

    Parameters
    ----------
    matrix : GramMatrix
        The matrix G.
    ridge : float
        :math:`\alpha \sigma^2`, above 0.
    noise : float
        Noise variance :math:`\sigma^2` of a label of weight 1.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.curvature._last_layer import GramMatrix, LastLayerPosterior
    >>> matrix = GramMatrix(np.eye(2)[:1], np.array([3.0]))
    >>> posterior = LastLayerPosterior(matrix, ridge=1.0, noise=0.5)
    >>> posterior.variances(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    array([0.5, 1. , 1. ])
    """

    matrix: GramMatrix
    ridge: float
    noise: float

    @property
    def prior_precision(self) -> float:
        r"""The precision :math:`\alpha` of the prior of each weight."""
        return self.ridge / self.noise

    def variances(self, vectors: np.ndarray) -> np.ndarray:
        """Compute the variance of a label at each vector.

        Parameters
        ----------
        vectors : ndarray of shape (n, d)
            What the map reads, and 1.

        Returns
        -------
        variances : ndarray of shape (n,)
            At least the noise.
        """
        (leverages,) = self.matrix.leverages(vectors, np.array([self.ridge]))
        variances: np.ndarray = self.noise * (1.0 + leverages)
        return variances


def fit_posterior(
    matrix: GramMatrix,
    vectors: np.ndarray,
    errors: np.ndarray,
    weights: np.ndarray,
    floor: float,
) -> LastLayerPosterior:
    r"""Choose prior and noise by the density of errors of left-out labels.

    A label that was left out has the variance :math:`\sigma^2 / (1 - h_i)`, where
    :math:`h_i` is its leverage. The ridge, of a fine grid, maximises the mean log
    density of the errors; the best noise variance for a ridge is a mean [1]_.

    Parameters
    ----------
    matrix : GramMatrix
        The matrix G of all training rows.
    vectors : ndarray of shape (m, d)
        Vectors of some of these rows.
    errors : ndarray of shape (m,)
        Error of a prediction of each row's label that has not seen it.
    weights : ndarray of shape (m,)
        Weights of the labels, with the mean 1, above 0.
    floor : float
        Smallest noise variance, above 0.

    Returns
    -------
    posterior : LastLayerPosterior
        With this matrix.

    References
    ----------
    .. [1] C. E. Rasmussen, C. K. I. Williams, "Gaussian Processes for Machine
       Learning", section 5.4.2, MIT Press (2006).
    """
    largest = float(matrix.eigenvalues.max(initial=0.0)) or 1.0
    ridges = largest * _RIDGES
    # Below 1 for rows that G contains; rounding must not turn the sign.
    rest = np.maximum(1.0 - weights * matrix.leverages(vectors, ridges), 1e-8)
    scale = weights.sum()
    noises = np.maximum((errors**2 * rest) @ weights / scale, floor)
    surprise = (errors**2 * rest / noises[:, None] - np.log(rest)) @ weights / scale
    # Minus twice the mean log density, but for a constant.
    best = int(np.argmin(surprise + np.log(noises)))
    return LastLayerPosterior(matrix, float(ridges[best]), float(noises[best]))


def left_out_errors(
    kernel: np.ndarray, labels: np.ndarray, weights: np.ndarray, training_error: float
) -> np.ndarray:
    r"""Estimate the error of a network at each label if it had not been trained on it.

    Training by gradients fits the labels as kernel ridge regression does, with the
    kernel of the network's derivatives [1]_. The ridge is that at which this regression
    fits the labels as closely as the network does. Its errors at left-out labels follow
    in closed form: residual divided by one minus leverage.

    Parameters
    ----------
    kernel : ndarray of shape (m, m)
        Inner products of the derivatives of the outputs.
    labels : ndarray of shape (m,)
        Labels; their mean is taken as known.
    weights : ndarray of shape (m,)
        Their weights, above 0.
    training_error : float
        Weighted root mean square of the network's residuals of these labels.

    Returns
    -------
    errors : ndarray of shape (m,)
        Errors, in the units of the labels.

    References
    ----------
    .. [1] A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel", NeurIPS 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.curvature._last_layer import left_out_errors
    >>> x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    >>> y = np.array([-1.9, -1.2, 0.1, 0.8, 2.2])
    >>> left_out_errors(np.outer(x, x), y, np.ones(5), 0.2).round(2)
    array([-0.03, -0.29,  0.1 , -0.15,  0.51])
    """
    roots = np.sqrt(weights)
    centred = roots * (labels - weights @ labels / weights.sum())
    values, vectors = np.linalg.eigh(roots[:, None] * kernel * roots)
    values, parts = np.maximum(values, 0.0), vectors.T @ centred
    wanted = weights.sum() * training_error**2

    def kept(log_ridge: float) -> np.ndarray:
        """Compute the share of each eigenvector that the regression leaves."""
        shares: np.ndarray = 1.0 / (1.0 + values / np.exp(log_ridge))
        return shares

    def excess(log_ridge: float) -> float:
        return float(((kept(log_ridge) * parts) ** 2).sum() - wanted)

    largest = np.log(values[-1]) if values[-1] > 0 else 0.0
    # Ends that stand for a fit of all labels, and for one of none.
    low, high = largest - 23.0, largest + 7.0
    if excess(low) >= 0:
        ridge = low
    elif excess(high) <= 0:
        ridge = high
    else:
        ridge = brentq(excess, low, high)
    shares = kept(ridge)
    residuals: np.ndarray = vectors @ (shares * parts)
    # One minus the leverage, as a sum of positive terms.
    errors: np.ndarray = residuals / (vectors**2 @ shares) / roots
    return errors
