"""Distances blurred, and the blur guessed from the atoms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skgnn_mtl.graphs import GraphSchema

from ._base import AuxiliaryTask, NodeEncoder, PlainPass

# Name of the edge column that is a distance in angstrom.
_DISTANCE = "distance"


class Denoising(AuxiliaryTask):
    r"""Denoising of interatomic distances, for crystals.

    Gaussian noise is added to the distance of every edge; the encoder runs on the
    blurred graph, and a small network guesses the noise of each edge from the states of
    both of its atoms and its blurred distance :math:`\tilde d`. The loss is

    .. math:: \operatorname*{mean}_{uv} \Bigl(\frac{\epsilon_{uv}}{\sigma}
        - f(h_u, h_v, \tilde d_{uv})\Bigr)^2, \qquad
        \tilde d_{uv} = d_{uv} + \epsilon_{uv}, \quad
        \epsilon_{uv} \sim \mathcal{N}(0, \sigma^2),

    1 for a network that always guesses zero.

    Parameters
    ----------
    sigma : float, default=0.1
        Standard deviation of the noise, in Å.
    scaling : {"unit", "released"}, default="unit"
        Of no consequence here: the loss has unit scale already.

    Raises
    ------
    ValueError
        In ``build``, if ``sigma`` is not positive, or if the graphs' edges carry no
        distance, as those of ``CifToGraph`` do.

    Notes
    -----
    The blurred distance is an input of the guess since several edges may join the same
    two atoms, through different cells. Guessing distances from surroundings is learning
    the forces of an ensemble of structures near equilibrium [1]_; both directions of an
    edge are blurred independently.

    References
    ----------
    .. [1] S. Zaidi et al., "Pre-training via Denoising for Molecular Property
       Prediction", ICLR 2023.

    Examples
    --------
    >>> from skgnn_mtl.auxiliary import Denoising
    >>> Denoising(sigma=0.05)
    Denoising(sigma=0.05)
    """

    def __init__(self, sigma=0.1, *, scaling="unit") -> None:
        super().__init__()
        self.sigma = sigma
        self.scaling = scaling

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the network that guesses.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder.
        """
        if not self.sigma > 0.0:
            raise ValueError(f"sigma must be > 0, got {self!r}.")
        if _DISTANCE not in schema.edge_features:
            raise ValueError(
                f"Denoising blurs the distances of edges, but those of schema "
                f"{schema.name!r} carry none. Graphs of CifToGraph do."
            )
        self.position = schema.edge_features.index(_DISTANCE)
        width = encoder.width
        self.head = nn.Sequential(
            nn.Linear(2 * width + 1, width), nn.SiLU(), nn.Linear(width, 1)
        )

    @property
    def chance(self) -> float:
        """Variance of the noise in its own unit."""
        return 1.0

    def forward(self, seen: PlainPass, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        seen : PlainPass
            The batch, its states, and a source of randomness.
        columns : Tensor of shape (n_graphs, 0)
            Not used.

        Returns
        -------
        loss : Tensor of shape (), or None
            Mean squared error; None without an edge.
        """
        batch = seen.batch
        if not batch.n_edges:
            return None
        noise = seen.normal(batch.n_edges).to(batch.edge_features)
        features = batch.edge_features.clone()
        features[:, self.position] += self.sigma * noise
        blurred = batch.with_edge_features(features)
        nodes = seen.encoder(blurred)
        ends = [blurred.source.gather(nodes), blurred.target.gather(nodes)]
        distance = features[:, self.position, None]
        guess = self.head(torch.cat([*ends, distance], dim=1))[:, 0]
        return (noise - guess).square().mean()
