"""Curvature of each task's loss: spectra of Hessians and Gauss-Newton matrices.

The algorithms need only the products of a matrix with vectors. :class:`TaskHessian` and
:class:`TaskGaussNewton` compute such products from functions that return a vector of
task losses. :func:`hessian_spectrum` combines both for a fitted estimator.
"""

from ._hessian_spectrum import check_spectrum_options as check_spectrum_options
from ._hessian_spectrum import hessian_spectrum, task_spectra
from ._lanczos import KrylovUnion, LanczosRun, RitzPairs, lanczos, top_eigenpairs
from ._last_layer import GramMatrix as GramMatrix
from ._last_layer import LastLayerPosterior as LastLayerPosterior
from ._last_layer import fit_posterior as fit_posterior
from ._last_layer import left_out_errors as left_out_errors
from ._leading import leading_eigenpairs
from ._loss_curvature import second_derivatives as second_derivatives
from ._operator import TaskGaussNewton, TaskHessian, TaskProblem
from ._spectrum import HessianSpectrum
from ._trace import (
    TraceEstimate,
    deflated_hutchinson,
    hutchinson,
    hutchpp,
    make_probes,
    nystrom,
    xtrace,
)

__all__ = [
    "HessianSpectrum",
    "KrylovUnion",
    "LanczosRun",
    "RitzPairs",
    "TaskGaussNewton",
    "TaskHessian",
    "TaskProblem",
    "TraceEstimate",
    "deflated_hutchinson",
    "hessian_spectrum",
    "hutchinson",
    "hutchpp",
    "lanczos",
    "leading_eigenpairs",
    "make_probes",
    "nystrom",
    "task_spectra",
    "top_eigenpairs",
    "xtrace",
]
