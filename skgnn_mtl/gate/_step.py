"""One step of GATE: the tasks' losses, and the alignment terms."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skgnn_mtl._warn import warn
from skgnn_mtl.graphs import GraphBatch, Labels
from skgnn_mtl.optimizers import SharpnessAware
from skgnn_mtl.training import (
    ALONE,
    LOSSES,
    BoundedLoss,
    Replay,
    Step,
    StepRecord,
    World,
    at_moved,
    nearest_allowed,
    task_losses,
)

from ._addition import AdditionModel
from ._model import Embedded, GATEModel
from ._terms import GATETerms, alignment, observe

# Mean standard deviation of a task's flat-frame coordinates that counts as a collapse.
COLLAPSED = 0.01


class Evaluation(NamedTuple):
    """Losses of a batch, with their graph.

    With several processes each has its share of losses and terms.

    Parameters
    ----------
    losses, mass : Tensor of shape (n_tasks,)
        Losses, and the summed label weights that they are means over.
    terms : dict of str to Tensor
        Alignment terms by name; a term with one entry per task stands for their sum.
    frames : Tensor of shape (n_tasks, n, latent_dim)
        Points in the flat frame.
    """

    losses: Tensor
    mass: Tensor
    terms: dict[str, Tensor]
    frames: Tensor


class AlignmentStep(Step):
    """Losses of a batch, the alignment terms, and their gradients [1]_.

    The losses have the shape (n_tasks,), in squared standard deviations of the targets.

    Parameters
    ----------
    terms : GATETerms
        The alignment terms.
    task_names : sequence of str
        Names of the tasks that are trained.
    n_warmup : int
        Steps over which consistency, mapping and distance rise to their weights.
    world : World, optional
        Processes that have the other graphs of each batch.

    References
    ----------
    .. [1] S. M. Ko et al., "Multitask Extension of Geometrically Aligned Transfer
       Encoder", 2024, arXiv:2405.01974.
    """

    def __init__(
        self,
        terms: GATETerms,
        task_names: Sequence[str],
        n_warmup: int = 0,
        world: World = ALONE,
    ) -> None:
        self.terms, self.task_names, self.n_warmup = terms, list(task_names), n_warmup
        self.world = world
        self.n_steps = 0
        self._method: SharpnessAware | None = None
        self._replay = Replay()
        self.spread: dict[str, float] = {}
        self._values: list[dict[str, Tensor]] = []

    @abstractmethod
    def evaluate(
        self, model: Any, batch: GraphBatch | Embedded, labels: Labels
    ) -> Evaluation:
        """Compute the losses of the tasks and the alignment terms.

        Parameters
        ----------
        model : torch.nn.Module
            The network.
        batch : GraphBatch or Embedded
            The graphs.
        labels : Labels
            Targets and weights (n_graphs, n_tasks), and as a column the weights of the
            graphs (n_graphs, 1), on the device of the batch.
        """

    def sharpen(self, method: SharpnessAware) -> None:
        """Take the gradients at weights that a method moves for all tasks at once."""
        self.world.require_alone(f"optimizer={method!r}")
        if method.by_task:
            raise ValueError(
                f"optimizer={method!r} moves the weights of each task alone, but the "
                "alignment terms belong to all tasks: use 'sam'."
            )
        self._method = method

    def losses(
        self, model: Any, graphs: GraphBatch | Embedded, labels: Labels
    ) -> tuple[Tensor, Tensor]:
        """Compute losses and label weights of the trained tasks, each (n_tasks,)."""
        labels = labels.to(graphs.device)
        losses, mass = self._losses(model(graphs), labels)
        return self.world.sum(losses), mass

    def _losses(self, outputs: Tensor, labels: Labels) -> tuple[Tensor, Tensor]:
        squares, world = BoundedLoss(LOSSES["squared_error"]), self.world
        return task_losses(outputs, labels.targets, labels.weights, squares, world)

    def _shares(self, labels: Labels) -> Tensor:
        """Give the graphs (n_graphs,) weights of sum 1 over the whole batch."""
        (rows,) = labels.columns
        return rows[:, 0] / self.world.sum(rows.sum())

    def backward(
        self, model: Any, graphs: GraphBatch | Embedded, labels: Labels
    ) -> StepRecord:
        """Set the gradients of all parameters for the optimizer.

        Parameters
        ----------
        model : torch.nn.Module
            The network.
        graphs : GraphBatch or Embedded
            The batch, on the model's device.
        labels : Labels
            As in :meth:`evaluate`, on the CPU.

        Returns
        -------
        record : StepRecord
            Losses and weights of the tasks.
        """
        placed = labels.to(graphs.device)
        self._replay.begin(graphs.device)
        found = self.evaluate(model, graphs, placed)
        # One pass, because the terms share the graph of the losses.
        total = found.losses.sum() + self._weighted(found.terms)
        if self._method is not None:
            total = self._uphill(self._method, total, model, graphs, placed)
        total.backward()
        self.world.sum_gradients(model.parameters())
        self._note(found)
        self.n_steps += 1
        losses = self.world.sum(found.losses.detach())
        present = self.world.any(labels.present)
        return StepRecord(losses, found.mass, torch.ones_like(losses), present)

    def after_step(
        self,
        model: Any,
        graphs: GraphBatch | Embedded,
        labels: Labels,
        record: StepRecord,
    ) -> None:
        """Do nothing, because no term learns from the step."""

    def _uphill(
        self,
        method: SharpnessAware,
        total: Tensor,
        model: Any,
        graphs: GraphBatch | Embedded,
        labels: Labels,
    ) -> Tensor:
        """Compute the total again at moved weights, with the same random numbers."""
        moving = {n: p for n, p in model.named_parameters() if p.requires_grad}
        parts = torch.autograd.grad(
            total, list(moving.values()), materialize_grads=True
        )
        moves = dict(zip(moving, method(parts), strict=True))
        with self._replay.again(model, graphs.device):
            found = at_moved(
                lambda network: self.evaluate(network, graphs, labels), model, moves
            )
        again: Tensor = found.losses.sum() + self._weighted(found.terms)
        return again

    def _weighted(self, values: dict[str, Tensor]) -> Tensor | float:
        """Sum the terms with their weights of this step."""
        # A warm-up of 0 steps is one of 1, so that the terms begin at their weights.
        rise = min(1.0, (self.n_steps + 1) / max(self.n_warmup, 1))
        weights = {name: weight * rise for name, weight in self.terms.weights.items()}
        # Without a warm-up, because it only ties frames to their own latent vectors.
        weights["autoencoder"] = self.terms.autoencoder
        return sum(weights[name] * value.sum() for name, value in values.items())

    def _note(self, found: Evaluation) -> None:
        total, frames = self.world.sum, found.frames.detach()
        values = {name: total(value.detach()) for name, value in found.terms.items()}
        n = int(total(torch.tensor(frames.shape[1])))
        # A single graph has no spread.
        if n > 1:
            gaps = frames - total(frames.sum(dim=1, keepdim=True)) / n
            variances = total(gaps.square().sum(dim=1)) / (n - 1)
            values["spread"] = variances.sqrt().mean(dim=-1)
        self._values.append(values)

    def end_epoch(self, mean_losses: np.ndarray) -> dict[str, Any]:
        """Return the epoch's mean terms, errors along the routes, spreads of frames."""
        means = {
            name: torch.stack([v[name] for v in self._values if name in v]).mean(dim=0)
            for name in {name for values in self._values for name in values}
        }
        self._values = []
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
        """Warn of frames that have collapsed, because no task learns from them."""
        # Without these terms no force pulls the frames together.
        pulls = self.terms.consistency or self.terms.distance
        low = [name for name, sd in self.spread.items() if sd < COLLAPSED]
        if low and pulls and len(self.task_names) > 1 and self.n_steps >= self.n_warmup:
            warn(
                f"The flat frames of {low} have collapsed: their coordinates have a "
                f"standard deviation below {COLLAPSED} (frame_spread in history_). "
                "Raise mapping_weight or auto_weight, or lower consistency_weight or "
                "distance_weight.",
                ConvergenceWarning,
            )

    def state(self) -> dict[str, Any]:
        """Return nothing, because the terms do not have a state."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the :meth:`state` of an earlier step, which is empty."""
        assert not state

    def state_dict(self) -> dict[str, Any]:
        """Return the steps so far, and the spreads of the last epoch."""
        return {"n_steps": self.n_steps, "spread": self.spread}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on behind the epoch in which a :meth:`state_dict` was taken."""
        self.n_steps, self.spread = state["n_steps"], state["spread"]


class GATEStep(AlignmentStep):
    """All tasks of a :class:`GATEModel` at once [1]_.

    Labels and losses have one column per task, (n_graphs, n_tasks) and (n_tasks,).
    The heads of a pretrained model do not change; only its maps learn.

    Parameters
    ----------
    terms, task_names, n_warmup, world : object
        As for :class:`AlignmentStep`.

    References
    ----------
    .. [1] S. M. Ko et al., "Multitask Extension of Geometrically Aligned Transfer
       Encoder", 2024, arXiv:2405.01974.
    """

    def __init__(
        self,
        terms: GATETerms,
        task_names: Sequence[str],
        n_warmup: int = 0,
        world: World = ALONE,
    ) -> None:
        if len(task_names) == 1:  # because there is no other task to align with
            terms = replace(terms, consistency=0.0, mapping=0.0, distance=0.0)
        super().__init__(terms, task_names, n_warmup, world)

    def evaluate(
        self, model: GATEModel, batch: GraphBatch | Embedded, labels: Labels
    ) -> Evaluation:
        """Compute the losses of the sources and the alignment terms."""
        targets, weights = labels.targets, labels.weights
        tasks, e = model.sources, model.embed(batch)
        z, u, lengths = observe(tasks, e, self.terms.perturbations(e, self.world))
        # From the latent vectors above, so that the encoding maps run once.
        outputs = tasks.head(z)[..., 0]
        losses, mass = self._losses(outputs.T, labels)
        labelled = (weights.T > 0) & (self.terms.mapping_target == "labels")
        wanted = torch.where(labelled, nearest_allowed(outputs, targets.T), outputs)
        shares = self._shares(labels)
        values = alignment(tasks, z, u, lengths, wanted, shares, self.terms, self.world)
        return Evaluation(losses, mass, values, u)


class AdditionStep(AlignmentStep):
    r"""A new task t next to frozen sources s, which do not change [1]_.

    Labels and losses have one column, (n_graphs, 1) and (1,). The terms use the symbols
    of :func:`~skgnn_mtl.gate._terms.alignment`. They are means over sources and
    molecules:

    .. math::
        l_{cons} &= |u_t - u_s|^2 / d, \qquad
        l_{dis} = mean_m (s_{tm} - s_{sm})^2 \\
        l_{map} &= (Head_t(S_t(u_s)) - t_t)^2 + (Head_s(S_s(u_t)) - \hat y_s)^2

    References
    ----------
    .. [1] S. Yim et al., "Task Addition in Multi-Task Learning by Geometrical
       Alignment", 2024, arXiv:2409.16645.
    """

    def evaluate(
        self, model: AdditionModel, batch: GraphBatch | Embedded, labels: Labels
    ) -> Evaluation:
        """Compute the loss of the new task and its alignment terms with the sources."""
        targets, weights, shares = labels.targets, labels.weights, self._shares(labels)
        cache, new = model.cached(batch), model.new
        z, u, lengths = observe(new, cache.vectors, model.perturbations)
        output = new.head(z)[..., 0]
        losses, mass = self._losses(output.T, labels)
        values = {}
        if self.terms.autoencoder:
            values["autoencoder"] = (new.inverse(u) - z).square().mean(dim=-1) @ shares
        if self.terms.consistency:
            gaps = (u[0, :, None] - cache.frames).square()
            values["consistency"] = shares @ gaps.mean(dim=(1, 2))
        if self.terms.mapping:
            labelled = (weights.T > 0) & (self.terms.mapping_target == "labels")
            known = nearest_allowed(output, targets.T)
            wanted = torch.where(labelled, known, output)
            arrived = new.arrive(cache.frames.transpose(0, 1).flatten(0, 1))
            there = (arrived.view(-1, len(cache)) - wanted).square()
            # Both ways, because the frames must fit the new task and its sources.
            back = (model.frozen.arrive(u[0]) - cache.outputs.T).square()
            values["mapping"] = (there + back).mean(dim=0) @ shares
        if self.terms.distance:
            gaps = lengths[0].T[:, None] - cache.distances
            values["distance"] = shares @ gaps.square().mean(dim=(1, 2))
        return Evaluation(losses, mass, values, u)
