"""An encoder that starts from the weights of another."""

from __future__ import annotations

import copy
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions
from torch import Tensor, nn

from skgnn_mtl._component import Numbers
from skgnn_mtl.graphs import GraphBatch, GraphSchema

from ._adapters import ADAPTERS, adapt
from ._base import POSITIVE, GraphEncoder
from ._shipped import SHIPPED, load_encoder


class Pretrained(GraphEncoder):
    """Start from a copy of the weights of another encoder.

    ``clone`` and searches keep the source by reference and do not change it. Each fit
    trains a copy.

    Parameters
    ----------
    encoder : GraphEncoder or str, default="zinc-descriptors"
        Source with weights, from ``from_checkpoint`` or from a fitted estimator. A
        fitted ``Pretrained`` gives the weights that it has trained. A string names an
        encoder that :func:`load_encoder` knows.
    freeze : bool or int, default=False
        True keeps all weights and computes in evaluation mode. An integer n keeps the
        embedding of the nodes and the first n layers, with their statistics.
    lr_scale : float, default=1.0
        Factor on the learning rate of the copy's weights.
    recalibrate : bool, default=False
        Whether one pass over the training graphs estimates the statistics of batch
        normalisation before the first step. Use it for weights that were trained on
        parts of molecules, for instance by context prediction.
    adapters : {"bottleneck", "low-rank"} or None, default=None
        Small maps in parallel to each linear map, which are trained in place of the
        copied weights; these stay as with ``freeze=True``. At first they change
        nothing. A bottleneck has a nonlinearity inside, a low-rank adapter does not.
    adapter_size : int, default=16
        Width of the hidden states of the adapters.

    Raises
    ------
    ValueError
        In ``build``, if the source does not have weights, if it was built for other
        columns, if it has fewer layers than ``freeze``, or if layers are to be frozen
        beside adapters.

    Notes
    -----
    AdapterGNN [2]_ has two bottlenecks per layer of a GIN, before and after the
    messages, with batch normalisation and a learned scale. Those here are beside each
    linear map, so that every encoder can have them, and start at zero in place of a
    scale.

    See Also
    --------
    load_encoder : The encoder that the package ships.
    GraphEncoder : Base of the encoders.

    References
    ----------
    .. [1] W. Hu et al., "Strategies for Pre-training Graph Neural Networks",
       ICLR 2020.
    .. [2] S. Li, X. Han, J. Bai, "AdapterGNN: Parameter-Efficient Fine-Tuning Improves
       Generalization in GNNs", AAAI 2024, arXiv:2304.09595.

    Examples
    --------
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
    >>> from skgnn_mtl.encoders import GIN, Pretrained
    >>> X = SmilesToGraph().fit_transform(["CCO", "CCN", "CC", "CCCl"])
    >>> first = MultiTaskGNNRegressor(GIN(width=8), max_epochs=1, random_state=0)
    >>> source = first.fit(X, [46.1, 45.1, 30.1, 64.5]).module_.encoder
    >>> second = MultiTaskGNNRegressor(Pretrained(source, freeze=True), max_epochs=1)
    >>> second.fit(X, [0.1, 0.2, 0.3, 0.4]).predict(X).shape
    (4,)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "encoder": [GraphEncoder, StrOptions(set(SHIPPED))],
        "freeze": ["boolean", Numbers(Integral, 0, None, closed="left")],
        "lr_scale": [Numbers(Real, 0, None, closed="neither")],
        "recalibrate": ["boolean"],
        "adapters": [None, StrOptions(set(ADAPTERS))],
        "adapter_size": POSITIVE,
    }

    encoder: GraphEncoder | str
    trained: GraphEncoder

    def __init__(
        self,
        encoder: GraphEncoder | str = "zinc-descriptors",
        *,
        freeze: bool | int = False,
        lr_scale: float = 1.0,
        recalibrate: bool = False,
        adapters: str | None = None,
        adapter_size: int = 16,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.freeze = freeze
        self.lr_scale = lr_scale
        self.recalibrate = recalibrate
        self.adapters = adapters
        self.adapter_size = adapter_size

    def __setattr__(self, name: str, value: Any) -> None:
        # Not a submodule, because the source must not be trained, moved or saved.
        if name == "encoder":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def __sklearn_clone__(self) -> Pretrained:
        return Pretrained(
            self.encoder,
            freeze=self.freeze,
            lr_scale=self.lr_scale,
            recalibrate=self.recalibrate,
            adapters=self.adapters,
            adapter_size=self.adapter_size,
        )

    def set_params(self, **params: Any) -> Pretrained:
        """Set parameters of this part; the parameters of the source are fixed.

        Parameters
        ----------
        **params : dict
            Parameters by name.

        Returns
        -------
        self : Pretrained
            The part itself.

        Raises
        ------
        ValueError
            If a parameter of the source is named.
        """
        nested = [name for name in params if name.startswith("encoder__")]
        if nested:
            raise ValueError(
                f"{nested[0]} cannot be set, because the weights of a pretrained "
                "encoder depend on it. Pass another source as encoder."
            )
        super().set_params(**params)
        return self

    @property
    def source(self) -> GraphEncoder:
        """The encoder whose weights are copied."""
        given = self.encoder
        return load_encoder(given) if isinstance(given, str) else given

    @property
    def width(self) -> int:  # type: ignore[override]
        """Width of the node states."""
        return self.source.width

    @property
    def core(self) -> GraphEncoder:
        """The copy that is trained."""
        return self.trained.core

    def build(self, schema: GraphSchema) -> None:
        """Copy the source.

        Parameters
        ----------
        schema : GraphSchema
            Meaning of the columns of the graphs to come.
        """
        super().build(schema)
        self.source._check_schema(schema)
        self.trained = copy.deepcopy(self.source.core)
        self.trained.requires_grad_()
        for part in self._frozen():
            part.requires_grad_(False)
        if self.adapters is not None:
            # After the copy is frozen, so that only they are trained.
            adapt(self.trained, self.adapters, self.adapter_size)
        self.train(self.training)

    def _frozen(self) -> list[nn.Module]:
        """Parts of the copy that are not trained, beside adapters."""
        if isinstance(self.freeze, (bool, np.bool_)):
            keeps_all = self.freeze or self.adapters is not None
            return [self.trained] if keeps_all else []
        if self.adapters is not None:
            raise ValueError(
                f"adapters={self.adapters!r} keep all copied weights, but freeze="
                f"{self.freeze!r} keeps some layers; leave freeze out."
            )
        stages, n = self.trained.stages(), self.freeze
        if int(n) >= len(stages):
            raise ValueError(
                f"freeze must be a bool or a number of layers, at most "
                f"{max(len(stages) - 1, 0)} for this {type(self.source).__name__}, "
                f"got {n!r}."
            )
        return [part for stage in stages[: int(n) + 1] for part in stage]

    def train(self, mode: bool = True) -> Pretrained:
        """Set the mode; frozen parts stay in evaluation mode.

        Parameters
        ----------
        mode : bool, default=True
            True for training.

        Returns
        -------
        self : Pretrained
            The part itself.
        """
        super().train(mode)
        if self.schema is not None:
            for part in self._frozen():
                part.eval()
        return self

    def stages(self) -> list[list[nn.Module]]:
        """Give the stages of the copy.

        Returns
        -------
        stages : list of list of Module
            The same structure as that of the source.
        """
        return self.trained.stages()

    def cut(
        self, batch: GraphBatch
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]] | None:
        """Cut the copy behind the rows of the nodes.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        parts : tuple (rows, rest) or None
            Those of the copy.
        """
        return self.trained.cut(batch)

    def forward(self, batch: GraphBatch) -> Tensor:
        """Compute the node states.

        Parameters
        ----------
        batch : GraphBatch
            Graphs of the schema given to :meth:`build`.

        Returns
        -------
        states : Tensor of shape (n_nodes, width)
            One row per node.
        """
        states: Tensor = self.trained(batch)
        return states
