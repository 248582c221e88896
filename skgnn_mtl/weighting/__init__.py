"""Task weightings: maps from what is known about the tasks to the direction of a step.

Three families: maps of the losses to a scalar, of the Gramian of the tasks' gradients
to weights, and of their Jacobian to a direction. A method is tested on plain matrices,
since it knows nothing else. Two tasks with gradients (1, 0) and (-1, 2) have the
Gramian [[1, -1], [-1, 5]]: they conflict. ``Equal`` goes along (0, 2), which leaves the
first task where it is; ``PCGrad`` takes the conflicting parts out, with the weights
(2, 6/5), and goes along (0.8, 2.4), which improves both.
"""

from ._aligned_mtl import AlignedMTL
from ._anchored import see_from_target as see_from_target
from ._anchored_pcgrad import AnchoredPCGrad
from ._base import (
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    TaskWeighting,
)
from ._base import wants as wants
from ._blo import BLO
from ._cagrad import CAGrad
from ._config import ConFIG
from ._curvature import Curvature
from ._db_mtl import DBMTL
from ._dwa import DWA
from ._equal import Equal
from ._fair_grad import FairGrad
from ._famo import FAMO
from ._fixed import Fixed
from ._gcs import GCS
from ._geometric_mean import GeometricMean
from ._gns import GNS
from ._grad_drop import GradDrop
from ._grad_norm import GradNorm
from ._grad_vac import GradVac
from ._held_out import HeldOut as HeldOut
from ._imtl_g import IMTLG
from ._imtl_l import IMTLL
from ._mgda import MGDA
from ._nash_mtl import NashMTL
from ._ntk_mtl import NTKMTLSR
from ._pcgrad import PCGrad
from ._plug_in import as_task_weighting
from ._rcgrad import RCGrad
from ._rlw import RLW
from ._scale_invariant import ScaleInvariant
from ._solvers import SolverReport
from ._stch import STCH
from ._uncertainty import Uncertainty
from ._upgrad import UPGrad

# The order of ``sorted``, which the documentation test asks of every room.
__all__ = [  # noqa: RUF022
    "AlignedMTL",
    "AnchoredPCGrad",
    "BLO",
    "CAGrad",
    "ConFIG",
    "Curvature",
    "DBMTL",
    "DWA",
    "Equal",
    "FAMO",
    "FairGrad",
    "Fixed",
    "GCS",
    "GNS",
    "GeometricMean",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GramianWeighting",
    "IMTLG",
    "IMTLL",
    "JacobianAggregation",
    "LossWeighting",
    "MGDA",
    "NTKMTLSR",
    "NashMTL",
    "PCGrad",
    "RCGrad",
    "RLW",
    "STCH",
    "ScaleInvariant",
    "SolverReport",
    "TaskWeighting",
    "UPGrad",
    "Uncertainty",
    "as_task_weighting",
]
