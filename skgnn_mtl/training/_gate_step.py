"""One step of GATE: the tasks' losses, and the alignment terms behind them."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skgnn_mtl.graphs import GraphBatch

from ._gate_addition import AdditionModel
from ._gate_model import Embedded, GATEModel
from ._gate_terms import GATETerms, alignment, observe
from ._loss import LOSSES, task_losses
from ._step import StepRecord

# Mean standard deviation of a task's flat-frame coordinates that counts as a collapse.
COLLAPSED = 0.01


class Evaluation(NamedTuple):
    """Losses of a batch, with their graph.

    Parameters
    ----------
    losses, mass : Tensor of shape (n_tasks,)
        Of the tasks; label weights that the losses are means over.
    terms : dict of str to Tensor
        Alignment terms by name; one with an entry a task stands for their sum.
    frames : Tensor of shape (n_tasks, n, latent_dim)
        Points in the flat frame.
    """

    losses: Tensor
    mass: Tensor
    terms: dict[str, Tensor]
    frames: Tensor


class AlignmentStep(ABC):
    """Losses of a batch and their gradients, in the place of a TrainingStep.

    Parameters
    ----------
    terms : GATETerms
        The alignment terms.
    task_names : sequence of str
        Names of the tasks that are trained.
    n_warmup : int
        Steps over which consistency, mapping and distance rise to their weights.
    """

    def __init__(
        self, terms: GATETerms, task_names: Sequence[str], n_warmup: int = 0
    ) -> None:
        self.terms, self.task_names, self.n_warmup = terms, list(task_names), n_warmup
        self.begun = False
        self.n_steps = 0
        self.spread: dict[str, float] = {}
        self._seen: list[dict[str, Tensor]] = []

    @abstractmethod
    def evaluate(self, model: Any, batch: GraphBatch | Embedded, labels) -> Evaluation:
        """Compute the losses of the tasks and the alignment terms.

        Parameters
        ----------
        model : torch.nn.Module
            The network.
        batch : GraphBatch or Embedded
            The graphs.
        labels : sequence of Tensors, on the device of the batch
            Targets and weights of the labels (n_graphs, n_tasks), and weights of the
            graphs (n_graphs, 1).
        """

    def losses(self, model, graphs, labels) -> tuple[Tensor, Tensor]:
        """Losses and label weights of each trained task; tensors (n_tasks,)."""
        targets, weights = (part.to(graphs.device) for part in labels[:2])
        return task_losses(model(graphs), targets, weights, LOSSES["squared_error"])

    def backward(self, model, graphs, labels) -> StepRecord:
        """Put the gradients of a batch where the optimizer looks.

        Parameters
        ----------
        model : torch.nn.Module
            The network.
        graphs : GraphBatch or Embedded
            The batch, on the model's device.
        labels : tuple of Tensors, on the CPU
            As in :meth:`evaluate`.

        Returns
        -------
        record : StepRecord
            Losses and weights of the tasks.
        """
        self.begun = True
        found = self.evaluate(model, graphs, [x.to(graphs.device) for x in labels])
        (found.losses.sum() + self._weighted(found.terms)).backward()
        self._note(found)
        self.n_steps += 1
        losses, present = found.losses.detach(), (labels[1] > 0).any(dim=0)
        return StepRecord(losses, found.mass, torch.ones_like(losses), present)

    def _weighted(self, values: dict[str, Tensor]) -> Tensor | float:
        """Sum the terms with their weights of this step."""
        rise = min(1.0, (self.n_steps + 1) / max(self.n_warmup, 1))
        weights = {name: weight * rise for name, weight in self.terms.weights.items()}
        weights["autoencoder"] = self.terms.autoencoder
        return sum(weights[name] * value.sum() for name, value in values.items())

    def _note(self, found: Evaluation) -> None:
        seen = {name: value.detach() for name, value in found.terms.items()}
        if found.frames.shape[1] > 1:
            seen["spread"] = found.frames.detach().std(dim=1).mean(dim=-1)
        self._seen.append(seen)

    def end_epoch(self, mean_losses: np.ndarray) -> dict[str, Any]:
        """Give the epoch's mean terms, errors along the routes, spreads of frames."""
        means = {
            name: torch.stack([s[name] for s in self._seen if name in s]).mean(dim=0)
            for name in {name for seen in self._seen for name in seen}
        }
        self._seen = []
        record: dict[str, Any] = {
            "alignment": {
                name: float(means[name].sum())
                for name in self.terms.weights
                if name in means
            }
        }
        if "mapping" in means and means["mapping"].ndim:
            record["route_rmse"] = self._by_task(means["mapping"].sqrt())
        if "spread" in means:
            record["frame_spread"] = self.spread = self._by_task(means["spread"])
        return record

    def _by_task(self, values: Tensor) -> dict[str, float]:
        return dict(zip(self.task_names, values.tolist(), strict=True))

    def end_fit(self) -> None:
        """Warn of frames that have collapsed, which nothing can be learned from."""
        pulls = self.terms.consistency or self.terms.distance
        low = [name for name, sd in self.spread.items() if sd < COLLAPSED]
        if low and pulls and len(self.task_names) > 1 and self.n_steps >= self.n_warmup:
            warnings.warn(
                f"The flat frames of {low} have collapsed: their coordinates have a "
                f"standard deviation below {COLLAPSED} (frame_spread in history_). "
                "Raise mapping_weight or auto_weight, or lower consistency_weight or "
                "distance_weight.",
                ConvergenceWarning,
                stacklevel=2,
            )

    def state(self) -> dict[str, Any]:
        """Give what a later training needs: nothing, the terms have no state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the :meth:`state` of an earlier step."""
        assert not state


class GATEStep(AlignmentStep):
    """All tasks of a :class:`GATEModel` at once.

    A pretrained model's own heads are left alone: its maps are what learns.

    Parameters
    ----------
    terms, task_names, n_warmup : object
        As of :class:`AlignmentStep`.
    """

    def __init__(
        self, terms: GATETerms, task_names: Sequence[str], n_warmup: int = 0
    ) -> None:
        if len(task_names) == 1:  # nothing to be aligned with
            terms = replace(terms, consistency=0.0, mapping=0.0, distance=0.0)
        super().__init__(terms, task_names, n_warmup)

    def evaluate(self, model: GATEModel, batch, labels) -> Evaluation:
        """Compute the losses of the sources and the alignment terms."""
        targets, weights, rows = labels
        tasks, e = model.sources, model.embed(batch)
        z, u, lengths = observe(tasks, e, self.terms.perturbations(e))
        outputs = tasks.head(z)[..., 0]
        losses, mass = task_losses(outputs.T, targets, weights, LOSSES["squared_error"])
        known = (weights.T > 0) & (self.terms.mapping_target == "labels")
        wanted = torch.where(known, targets.T, outputs)
        shares = rows[:, 0] / rows.sum()
        values = alignment(tasks, z, u, lengths, wanted, shares, self.terms)
        return Evaluation(losses, mass, values, u)


class AdditionStep(AlignmentStep):
    r"""A new task t beside frozen sources s, which stay what they are.

    With the symbols of :func:`~skgnn_mtl.training._gate_terms.alignment`, and means
    over sources and molecules:

    .. math::
        l_{cons} &= |u_t - u_s|^2 / d, \qquad
        l_{dis} = mean_m (s_{tm} - s_{sm})^2 \\
        l_{map} &= (Head_t(S_t(u_s)) - t_t)^2 + (Head_s(S_s(u_t)) - \hat y_s)^2
    """

    def evaluate(self, model: AdditionModel, batch, labels) -> Evaluation:
        """Compute the loss of the new task and what ties it to the sources."""
        targets, weights, rows = labels
        seen, new = model.view(batch), model.new
        z, u, lengths = observe(new, seen.vectors, model.perturbations)
        output = new.head(z)[..., 0]
        losses, mass = task_losses(output.T, targets, weights, LOSSES["squared_error"])
        shares = rows[:, 0] / rows.sum()
        values = {}
        if self.terms.autoencoder:
            values["autoencoder"] = (new.inverse(u) - z).square().mean(dim=-1) @ shares
        if self.terms.consistency:
            gaps = (u[0, :, None] - seen.frames).square()
            values["consistency"] = shares @ gaps.mean(dim=(1, 2))
        if self.terms.mapping:
            known = (weights.T > 0) & (self.terms.mapping_target == "labels")
            wanted = torch.where(known, targets.T, output)
            arrived = new.arrive(seen.frames.transpose(0, 1).flatten(0, 1))
            there = (arrived.view(-1, len(seen)) - wanted).square()
            back = (model.known.arrive(u[0]) - seen.outputs.T).square()
            values["mapping"] = (there + back).mean(dim=0) @ shares
        if self.terms.distance:
            gaps = lengths[0].T[:, None] - seen.distances
            values["distance"] = shares @ gaps.square().mean(dim=(1, 2))
        return Evaluation(losses, mass, values, u)
