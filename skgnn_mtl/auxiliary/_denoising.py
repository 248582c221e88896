"""Noise on interatomic distances, predicted from the atoms."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skgnn_mtl._component import Numbers
from skgnn_mtl.graphs import GraphSchema

from ._base import AuxiliaryTask, BatchContext, NodeEncoder

# Name of the edge column that is a distance in angstrom.
_DISTANCE = "distance"


class Denoising(AuxiliaryTask):
    r"""Predict the noise on interatomic distances, for crystals.

    Gaussian noise is added to the distance of each edge. The encoder runs on the noisy
    graph. A small network f predicts the noise of each edge from the states of its two
    atoms and its noisy distance :math:`\tilde d`. The loss is

    .. math:: \operatorname*{mean}_{uv} \Bigl(\frac{\epsilon_{uv}}{\sigma}
        - f(h_u, h_v, \tilde d_{uv})\Bigr)^2, \qquad
        \tilde d_{uv} = d_{uv} + \epsilon_{uv}, \quad
        \epsilon_{uv} \sim \mathcal{N}(0, \sigma^2),

    with states :math:`h` of shape (width,) and distances in Å. It is 1 for a network
    that always predicts zero.

    Parameters
    ----------
    sigma : float, default=0.1
        Standard deviation of the noise, in Å.
    scaling : {"unit", "released"}, default="unit"
        Without effect, because the loss has unit scale.

    Raises
    ------
    ValueError
        In ``build``, if ``sigma`` is not positive, or if the edges do not have a
        distance, as those of ``CifToGraph`` have.

    See Also
    --------
    AtomMasking : Predicts masked atoms.

    Notes
    -----
    The noisy distance is an input of the prediction, because several edges may join the
    same two atoms through different cells. Denoising learns the forces of an ensemble
    of structures near equilibrium [1]_. The two directions of an edge have independent
    noise.

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

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **AuxiliaryTask._parameter_constraints,
        "sigma": [Numbers(Real, 0, None, closed="neither")],
    }

    def __init__(self, sigma: float = 0.1, *, scaling: str = "unit") -> None:
        super().__init__()
        self.sigma = sigma
        self.scaling = scaling

    def build(self, schema: GraphSchema, encoder: NodeEncoder) -> None:
        """Make the network that predicts the noise.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs.
        encoder : encoder
            The built encoder.
        """
        super().build(schema, encoder)
        if _DISTANCE not in schema.edge_features:
            raise ValueError(
                f"Denoising needs edges with a distance, but graphs of schema "
                f"{schema.name!r} do not have it. Use graphs of CifToGraph."
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

    def forward(self, context: BatchContext, columns: Tensor) -> Tensor | None:
        """Compute the loss of a batch.

        Parameters
        ----------
        context : BatchContext
            The batch, its states, and a source of randomness.
        columns : Tensor of shape (n_graphs, 0)
            Not used.

        Returns
        -------
        loss : Tensor of shape (), or None
            Mean squared error; None for a batch without edges.
        """
        batch = context.batch
        if not batch.n_edges:
            return None
        noise = context.normal(batch.n_edges).to(batch.edge_features)
        features = batch.edge_features.clone()
        features[:, self.position] += self.sigma * noise
        noisy = batch.with_edge_features(features)
        nodes = context.encoder(noisy)
        ends = [noisy.source.gather(nodes), noisy.target.gather(nodes)]
        distance = features[:, self.position, None]
        predicted: Tensor = self.head(torch.cat([*ends, distance], dim=1))[:, 0]
        return (noise - predicted).square().mean()
