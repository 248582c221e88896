r"""GATE's loss terms as functions of tensors; see :class:`GATETerms` for the symbols.

A sum over pairs is a spread around the mean, so that it needs no loop:

.. math:: \sum_{i<j} (x_i - x_j)^2 = N \sum_i (x_i - \bar x)^2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skgnn_mtl.training import ALONE, World

from ._model import TaskModules

# From here on fewer routes than all, because their number is the square of the tasks'.
_MANY_TASKS = 12


@dataclass(frozen=True)
class GATETerms:
    """Weights and parameters of the alignment terms [1]_.

    The terms compare points (n_tasks, n, latent_dim) of the tasks in the flat frame.

    Parameters
    ----------
    autoencoder, consistency, mapping, distance : float
        Weights; a term of weight 0 is not computed.
    n_perturbations : int
        Perturbations of each embedding per step.
    perturbation : {"gaussian", "sphere"}
        Distribution of the perturbations.
    perturbation_scale : float
        Their standard deviation, relative to the root mean square of the embeddings.
    routes : "auto", "all", "mean" or int
        Frames that a task's mapping term starts from: all other frames, their mean, or
        this number of frames, drawn anew in each step. "auto" is "all" with fewer than
        12 tasks, else 3.
    mapping_target : {"labels", "predictions"}
        Target of the mapping term where there is a label.

    References
    ----------
    .. [1] S. M. Ko et al., "Multitask Extension of Geometrically Aligned Transfer
       Encoder", 2024, arXiv:2405.01974.

    Examples
    --------
    >>> from skgnn_mtl.gate import GATETerms
    >>> GATETerms(mapping=0.5).weights["mapping"]
    0.5
    """

    autoencoder: float = 1.0
    consistency: float = 1.0
    mapping: float = 1.0
    distance: float = 1.0
    n_perturbations: int = 4
    perturbation: str = "gaussian"
    perturbation_scale: float = 0.1
    routes: str | int = "auto"
    mapping_target: str = "labels"

    @property
    def weights(self) -> dict[str, float]:
        """Weights by the names of the terms."""
        return {
            "autoencoder": self.autoencoder,
            "consistency": self.consistency,
            "mapping": self.mapping,
            "distance": self.distance,
        }

    def perturbations(self, embedding: Tensor, world: World = ALONE) -> Tensor:
        """Draw perturbations (n_perturbations, width), the same for all embeddings.

        They are relative to the size of the embeddings (n, width). There are 0 rows if
        the distance term is off. The processes of a world have the same ones.
        """
        # Detached, because the size of perturbations is not a trained quantity.
        e = embedding.detach()
        sigma = self.perturbation_scale * world.mean(e.square()).sqrt()
        shape = self.n_perturbations if self.distance else 0, e.shape[1]
        draws = torch.randn(shape, dtype=e.dtype, device=e.device)
        if self.perturbation == "sphere":
            # A mean square of 1 per entry, as that of the Gaussian draws.
            length = draws.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            draws = draws * (e.shape[-1] ** 0.5 / length)
        return world.of_main(sigma * draws)

    def routes_of(self, n_tasks: int, device: torch.device) -> Tensor:
        """Choose the frames (n_tasks, k) that each task's mapping term starts from."""
        # Offsets from 1 on, so that no route starts at the own frame.
        others = torch.arange(1, n_tasks, device=device).expand(n_tasks, -1)
        count = self.routes
        if count == "auto" and n_tasks >= _MANY_TASKS:
            count = 3
        if isinstance(count, int) and count < n_tasks - 1:
            # Ranks of random numbers, because the offsets of a task must differ.
            ranks = torch.rand(n_tasks, n_tasks - 1, device=device)
            others = 1 + ranks.argsort(dim=1)[:, :count]
        return (torch.arange(n_tasks, device=device)[:, None] + others) % n_tasks


def pair_spread(x: Tensor) -> Tensor:
    r"""Compute :math:`\sum_{i<j} (x_i - x_j)^2 / (N - 1)` over the first axis."""
    return (x - x.mean(dim=0)).square().sum(dim=0) * (len(x) / (len(x) - 1))


def observe(
    modules: TaskModules, embedding: Tensor, shifts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run embeddings (n, width) and their shifts (M, width) through the maps, at once.

    Returns latent vectors and frames, (N, n, d). Also returns the lengths (N, M, n) by
    which the shifts move the frames.
    """
    # A shift of zero stands for the embeddings themselves.
    everywhere = torch.cat([torch.zeros_like(embedding[:1]), shifts])
    z = modules.encode(embedding, everywhere)
    u = modules.transfer(z).unflatten(1, (len(everywhere), -1))
    steps = u[:, 1:] - u[:, :1]
    # The constant is there because the root has an infinite slope at zero.
    lengths = (steps.square().sum(dim=-1) + 1e-12).sqrt()
    return z[:, : len(embedding)], u[:, 0], lengths


def alignment(
    modules: TaskModules,
    latent: Tensor,
    frames: Tensor,
    lengths: Tensor,
    wanted: Tensor,
    shares: Tensor,
    terms: GATETerms,
    world: World = ALONE,
) -> dict[str, Tensor]:
    r"""Compute the label-free terms, and the mapping term, of a group of tasks.

    With latent vectors :math:`z_i`, frames :math:`u_i = T_i(z_i)`, inverse :math:`S_i`,
    and means over molecules:

    .. math::
        l_{auto} &= \sum_i |S_i(u_i) - z_i|^2 / d \\
        l_{cons} &= \sum_{i<j} |u_i - u_j|^2 / (d (N - 1)) \\
        l_{map} &= \sum_{i \ne j} (Head_i(S_i(u_j)) - t_i)^2 / (N - 1) \\
        l_{dis} &= \sum_{i<j} mean_m (s_{im} - s_{jm})^2 / (N - 1)

    Parameters
    ----------
    modules : TaskModules
        The maps of N tasks.
    latent, frames : Tensor of shape (N, n, d)
        z and u.
    lengths : Tensor of shape (N, M, n)
        s, the distance by which each perturbation moves u.
    wanted : Tensor of shape (N, n)
        t.
    shares : Tensor of shape (n,)
        Weights of the molecules in all means, of sum 1.
    terms : GATETerms
        Weights and parameters of the terms.
    world : World, optional
        Processes that have the other molecules; each has its share of the means.

    Returns
    -------
    values : dict of str to Tensor
        Scalars, except "mapping", which has one value per task, (N,), and is their sum.
        With one task, only "autoencoder".
    """
    n_tasks, n, d = frames.shape
    values: dict[str, Tensor] = {}
    if terms.autoencoder:
        gap = (modules.inverse(frames) - latent).square().mean(dim=-1)
        values["autoencoder"] = (gap @ shares).sum()
    # The other terms compare tasks.
    if n_tasks == 1:
        return values
    if terms.consistency:
        values["consistency"] = pair_spread(frames).mean(dim=-1) @ shares
    if terms.mapping:
        if terms.routes == "mean":
            starts = frames.mean(dim=0)
        else:
            routes = world.of_main(terms.routes_of(n_tasks, frames.device))
            starts = frames.index_select(0, routes.flatten()).view(n_tasks, -1, d)
        arrived = modules.arrive(starts).view(n_tasks, -1, n)
        error = (arrived - wanted[:, None]).square().mean(dim=1)
        values["mapping"] = error @ shares
    if terms.distance:
        values["distance"] = pair_spread(lengths).mean(dim=0) @ shares
    return values
