"""Curvature of each task's loss: spectra of Hessians and Gauss-Newton matrices.

The algorithms are maps from a matrix-vector product; :class:`TaskHessian` and
:class:`TaskGaussNewton` make such products from functions that return a vector of task
losses; :func:`hessian_spectrum` puts both together for a fitted estimator.
"""

from ._hessian_spectrum import check_spectrum_options as check_spectrum_options
from ._hessian_spectrum import hessian_spectrum, task_spectra
from ._lanczos import KrylovUnion, LanczosRun, RitzPairs, lanczos, top_eigenpairs
from ._operator import TaskGaussNewton, TaskHessian, TaskProblem
from ._pairs import label_overlap as label_overlap
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
    "make_probes",
    "nystrom",
    "task_spectra",
    "top_eigenpairs",
    "xtrace",
]
