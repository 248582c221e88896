"""How the network of GATE is made and trained."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions
from torch import nn

from skgnn_mtl._component import Numbers
from skgnn_mtl.gate import GATEModel, GATEStep, GATETerms, TaskLayout
from skgnn_mtl.graphs import GraphArray, GraphDataset, GraphRows, GraphSchema
from skgnn_mtl.training import Step
from skgnn_mtl.weighting import TaskWeighting

from ._base import WIDTHS
from ._numeric import TRANSFORM_CONSTRAINT
from ._recipe import Recipe, StepNeeds, resolve_encoder, resolve_readout
from ._targets import Targets

# 0 is allowed, because a term of weight 0 is not computed.
_WEIGHT = [Numbers(Real, 0, None, closed="left")]
GATE_CONSTRAINTS: dict[str, list[Any]] = {
    "latent_dim": [Numbers(Integral, 1, None, closed="left")],
    "encoder_hidden_dims": [WIDTHS],
    "transfer_hidden_dims": [WIDTHS],
    "head_hidden_dims": [WIDTHS],
    "target_tasks": [None, str, Integral, list, tuple, np.ndarray],
    "auto_weight": _WEIGHT,
    "consistency_weight": _WEIGHT,
    "mapping_weight": _WEIGHT,
    "distance_weight": _WEIGHT,
    "warmup": [Numbers(Real, 0, 1, closed="both")],
    "n_perturbations": [Numbers(Integral, 1, None, closed="left")],
    "perturbation": [StrOptions({"gaussian", "sphere"})],
    "perturbation_scale": [Numbers(Real, 0, None, closed="neither")],
    "routes": [
        StrOptions({"auto", "all", "mean"}),
        Numbers(Integral, 1, None, closed="left"),
    ],
    "mapping_target": [StrOptions({"labels", "predictions"})],
    "task_sampling": [None, Numbers(Real, 0, 1, closed="both")],
    "normalize_targets": ["boolean"],
    "target_transform": TRANSFORM_CONSTRAINT,
    "censored": [StrOptions({"raise", "drop", "bound"})],
}


class GATERecipe(Recipe):
    """Tasks with maps of their own, aligned in a flat frame.

    Parameters
    ----------
    encoder, readout : str or part
        Parameters of the estimator; parts are cloned.
    layout : TaskLayout
        Widths of the maps.
    terms : GATETerms
        The alignment terms.
    warmup : float
        Share of the training over which the terms rise to their weights.
    sampling : float or None
        Exponent of the number of labels in the frequency of a task's rows; None draws
        all rows evenly.
    """

    # The step has a sum of its own, and its terms read rows without labels.
    weighting = None
    uses_unlabelled = True

    def __init__(
        self,
        encoder: Any,
        readout: Any,
        *,
        layout: TaskLayout,
        terms: GATETerms,
        warmup: float,
        sampling: float | None,
    ) -> None:
        self.encoder, self.readout = encoder, readout
        self.layout, self.terms = layout, terms
        self.warmup, self.sampling = warmup, sampling

    def entries(self, names: Sequence[str]) -> list[str]:
        """List the tasks; there are no auxiliary ones."""
        return list(names)

    def watched(self, names: Sequence[str]) -> np.ndarray:
        """Find all tasks."""
        return np.arange(len(names))

    def network(self, schema: GraphSchema, targets: Targets) -> nn.Module:
        """Build encoder, readout and the maps of all tasks."""
        encoder = resolve_encoder(self.encoder)
        readout = resolve_readout(self.readout, schema)
        return GATEModel(encoder, readout, schema, targets.n_tasks, self.layout)

    def n_warmup(self, n_steps: int) -> int:
        """Count the steps over which the terms rise, in a training of so many."""
        return round(self.warmup * n_steps)

    def training_set(
        self,
        module: Any,
        graphs: GraphArray | GraphRows,
        targets: np.ndarray,
        weights: np.ndarray,
        row_weights: np.ndarray,
    ) -> GraphDataset:
        """Add weights of the rows, and draw rows of scarce tasks more often."""
        # The terms need them, because rows without labels have label weights of 0.
        columns = [row_weights[:, None]]
        return GraphDataset(graphs, targets, weights, columns, self._shares(weights))

    def _shares(self, weights: np.ndarray) -> np.ndarray | None:
        """Compute relative frequencies of rows (n,) from their labels."""
        labelled = weights > 0
        # With one task there is no other whose rows could be drawn less often.
        if self.sampling is None or weights.shape[1] == 1 or not labelled.any():
            return None
        # At least 1, because 0 to a negative power is infinite.
        counts = np.maximum(labelled.sum(axis=0), 1)
        # A sum over tasks, because n rows of n ** (s - 1) give a task n ** s in all.
        shares = labelled @ (counts ** (self.sampling - 1.0))
        # Rows without labels are drawn too, because the terms read them, but no more
        # often than any labelled row.
        smallest: np.ndarray = np.where(shares > 0, shares, shares[shares > 0].min())
        return smallest

    def validation_set(
        self,
        module: Any,
        graphs: GraphArray | GraphRows,
        targets: np.ndarray,
        weights: np.ndarray,
    ) -> GraphDataset:
        """Add nothing, because only the losses of the tasks are compared."""
        return GraphDataset(graphs, targets, weights)

    def step(self, task_weighting: TaskWeighting | None, needs: StepNeeds) -> Step:
        """Make the step of losses and alignment terms."""
        # No warm-up in a training that goes on, because n_steps is 0 there.
        n_warmup = self.n_warmup(needs.n_steps)
        return GATEStep(self.terms, needs.targets.names, n_warmup, needs.world)


def gate_recipe(estimator: Any) -> GATERecipe:
    """Read the parameters of a GATERegressor that describe its network."""
    layout = TaskLayout(
        int(estimator.latent_dim),
        tuple(map(int, estimator.encoder_hidden_dims)),
        tuple(map(int, estimator.transfer_hidden_dims)),
        tuple(map(int, estimator.head_hidden_dims)),
    )
    routes = estimator.routes
    terms = GATETerms(
        autoencoder=float(estimator.auto_weight),
        consistency=float(estimator.consistency_weight),
        mapping=float(estimator.mapping_weight),
        distance=float(estimator.distance_weight),
        n_perturbations=int(estimator.n_perturbations),
        perturbation=estimator.perturbation,
        perturbation_scale=float(estimator.perturbation_scale),
        routes=routes if isinstance(routes, str) else int(routes),
        mapping_target=estimator.mapping_target,
    )
    return GATERecipe(
        estimator.encoder,
        estimator.readout,
        layout=layout,
        terms=terms,
        warmup=estimator.warmup,
        sampling=estimator.task_sampling,
    )
