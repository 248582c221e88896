"""Task weightings: maps from losses or gradients to the direction of a step.

Three families: maps of the losses to a scalar, of the Gramian of the tasks' gradients
to weights, and of their Jacobian to a direction. A method can be tested on plain
matrices, because it receives nothing else.

For example, two tasks with gradients (1, 0) and (-1, 2) have the Gramian
[[1, -1], [-1, 5]]: they conflict. ``Equal`` goes along (0, 2), which does not change
the loss of the first task. ``PCGrad`` removes the conflicting parts with the weights
(2, 6/5). It goes along (0.8, 2.4), which improves both tasks.
"""

from ._aligned_mtl import AlignedMTL
from ._anchored import relate_to_target as relate_to_target
from ._anchored_pcgrad import AnchoredPCGrad
from ._base import (
    Decision,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    TaskWeighting,
)
from ._base import wants as wants
from ._blo import BLO
from ._cagrad import CAGrad
from ._capabilities import EpochAware, LookBack, TargetAware
from ._config import ConFIG
from ._cosmos import COSMOS
from ._curvature import Curvature, CurvatureWeighting
from ._db_mtl import DBMTL
from ._dwa import DWA
from ._equal import Equal
from ._excess_mtl import ExcessMTL
from ._fair_grad import FairGrad
from ._famo import FAMO
from ._fixed import Fixed
from ._gcs import GCS
from ._gcs_gns import GCSGNS
from ._geometric_mean import GeometricMean
from ._gns import GNS
from ._go4align import GO4Align
from ._grad_drop import GradDrop
from ._grad_norm import GradNorm
from ._grad_vac import GradVac
from ._held_out import (
    FreshBatch,
    HeldOut,
    HeldOutEvidence,
    HeldOutReport,
    HeldOutWeighting,
)
from ._imtl_g import IMTLG
from ._imtl_l import IMTLL
from ._ldc_mtl import LDCMTL
from ._mgda import MGDA
from ._modo import MoDo
from ._momentum import momentum_bounds as momentum_bounds
from ._nash_mtl import NashMTL
from ._ntk_mtl import NTKMTLSR
from ._pbi import PBI
from ._pcgrad import PCGrad
from ._plug_in import as_task_weighting
from ._rcgrad import RCGrad
from ._rlw import RLW
from ._scale_invariant import ScaleInvariant
from ._sdmgrad import SDMGrad
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
    "COSMOS",
    "ConFIG",
    "Curvature",
    "CurvatureWeighting",
    "DBMTL",
    "DWA",
    "Decision",
    "EpochAware",
    "Equal",
    "ExcessMTL",
    "FAMO",
    "FairGrad",
    "Fixed",
    "FreshBatch",
    "GCS",
    "GCSGNS",
    "GNS",
    "GO4Align",
    "GeometricMean",
    "GradDrop",
    "GradNorm",
    "GradVac",
    "GramianWeighting",
    "HeldOut",
    "HeldOutEvidence",
    "HeldOutReport",
    "HeldOutWeighting",
    "IMTLG",
    "IMTLL",
    "JacobianAggregation",
    "LDCMTL",
    "LookBack",
    "LossWeighting",
    "MGDA",
    "MoDo",
    "NTKMTLSR",
    "NashMTL",
    "PBI",
    "PCGrad",
    "RCGrad",
    "RLW",
    "SDMGrad",
    "STCH",
    "ScaleInvariant",
    "SolverReport",
    "TargetAware",
    "TaskWeighting",
    "UPGrad",
    "Uncertainty",
    "as_task_weighting",
]
