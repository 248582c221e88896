"""Ready search spaces of hyper-parameters."""

from __future__ import annotations

from itertools import product
from typing import Any

from scipy.stats import loguniform
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from skgnn_mtl import encoders

from ._base import check_option

# Hyper-parameters of encoders, the few values of a grid and the many of random draws.
_OF_ENCODERS: dict[str, dict[str, list[Any]]] = {
    "grid": {"n_layers": [3, 5], "dropout": [0.0, 0.1]},
    "random": {
        "width": [150, 300, 600],
        "n_layers": [2, 3, 4, 5],
        "dropout": [0.0, 0.1, 0.2],
    },
}
# Parameters that may hold a network of another estimator.
_INNER = ("network", "estimator")


def search_space(estimator: Any, *, kind: str = "random") -> dict[str, Any]:
    """Make a search space of the hyper-parameters that matter most.

    They are the learning rate, the hidden layers in front of the heads, and depth and
    dropout of the encoder; random draws also vary its width, the batch size and the
    weight decay.

    Parameters
    ----------
    estimator : estimator
        A network of this package; a pipeline that ends in one; or an ensemble whose
        ``network`` or ``estimator`` is one of these. It is not changed.
    kind : {"random", "grid"}, default="random"
        "random" holds lists and continuous distributions of scipy, for
        ``RandomizedSearchCV`` and ``HalvingRandomSearchCV``. "grid" holds lists only,
        24 candidates at most, for ``GridSearchCV`` and ``HalvingGridSearchCV``.

    Returns
    -------
    space : dict of str to list or distribution
        Names of parameters as ``estimator.set_params`` takes them. An encoder that is
        given by its name is replaced by instances of its class.

    Raises
    ------
    ValueError
        If `kind` is unknown.
    TypeError
        If there is no network in `estimator`.

    See Also
    --------
    skgnn_mtl.MultiTaskGNNRegressor : Explains the parameters.

    Notes
    -----
    The entries are ordinary ones: change, add or delete them before the search.
    Distributions have the methods ``rvs`` and ``ppf`` of scipy, from which another
    searcher draws: ``space["lr"].ppf(u)`` for u in [0, 1].

    Examples
    --------
    >>> from sklearn.model_selection import RandomizedSearchCV
    >>> from sklearn.pipeline import make_pipeline
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
    >>> from skgnn_mtl.model_selection import search_space
    >>> model = make_pipeline(SmilesToGraph(), MultiTaskGNNRegressor(max_epochs=1))
    >>> space = search_space(model)
    >>> sorted(name.removeprefix("multitaskgnnregressor__") for name in space)
    ['batch_size', 'encoder', 'head_hidden_dims', 'lr', 'weight_decay']
    >>> search = RandomizedSearchCV(model, space, n_iter=2, cv=2, random_state=0)
    >>> smiles = ["CCO", "CCN", "CCC", "CO"]
    >>> search.fit(smiles, [1.0, 2.0, 3.0, 4.0]).predict(["CC"]).shape
    (1,)
    """
    check_option("kind", kind, ("random", "grid"))
    prefix, network = _network_of(estimator)
    space: dict[str, Any] = {
        "lr": [5e-4, 1e-3, 2e-3] if kind == "grid" else loguniform(2e-4, 5e-3),
        **_of_encoder(network.encoder, _OF_ENCODERS[kind]),
    }
    known = network.get_params(deep=False)
    if kind == "random":
        space["batch_size"] = [16, 32, 64, 128]
        space["weight_decay"] = loguniform(1e-6, 1e-2)
        space["head_hidden_dims"] = [(), (150,), (300,), (600,), (300, 300)]
    else:
        space["head_hidden_dims"] = [(300,), (300, 300)]
    # Some networks do not have all of these.
    usable = {name for name in space if name.split("__")[0] in known}
    return {prefix + name: space[name] for name in space if name in usable}


def _network_of(estimator: Any, prefix: str = "") -> tuple[str, Any]:
    """Find the network in an estimator, and the prefix of its parameters."""
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return _network_of(last, f"{prefix}{name}__")
    if isinstance(estimator, BaseEstimator):
        parameters = estimator.get_params(deep=False)
        if {"encoder", "lr"} <= set(parameters):
            return prefix, estimator
        for name in _INNER:
            if parameters.get(name) is not None:
                return _network_of(parameters[name], f"{prefix}{name}__")
    raise TypeError(
        "search_space needs a network of this package, a pipeline that ends in one, or "
        f"an ensemble with one, but {type(estimator).__name__} does not hold any. Give "
        "an ensemble its network: HybridRegressor(network=...)."
    )


def _of_encoder(encoder: Any, values: dict[str, list[Any]]) -> dict[str, Any]:
    """Vary the parameters of an encoder, or the encoder itself if it is a name."""
    if not isinstance(encoder, str):
        known = encoder.get_params(deep=False)
        return {f"encoder__{name}": values[name] for name in values if name in known}
    classes = {name.lower(): getattr(encoders, name) for name in encoders.__all__}
    cls = classes.get(encoder)
    # Weights that were learned before have their sizes.
    if cls is None or encoder == "pretrained":
        return {}
    names = [name for name in values if name in cls._get_param_names()]
    combinations = product(*(values[name] for name in names))
    return {"encoder": [cls(**dict(zip(names, c, strict=True))) for c in combinations]}
