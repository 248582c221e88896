"""A text about a fitted model, for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import version
from typing import Any

from sklearn import config_context

from skgnn_mtl._pipelines import last_step

# What the numbers of a prediction depend on.
_PACKAGES = ("skgnn_mtl", "torch", "scikit-learn", "numpy")


def model_card(model: Any, description: str = "") -> str:
    """Describe a fitted model in Markdown.

    Parameters
    ----------
    model : estimator
        Fitted network, ensemble, or a pipeline that ends in one.
    description : str, default=""
        What it is for.

    Returns
    -------
    card : str
        Description, parameters, tasks, and of a network its size and training;
        versions of packages.
    """
    return "\n\n".join(_sections(model, description)) + "\n"


def _sections(model: Any, description: str) -> Iterator[str]:
    yield f"# {type(model).__name__}"
    if description:
        yield description
    with config_context(print_changed_only=True):
        yield f"```python\n{model.__repr__(N_CHAR_MAX=10_000)}\n```"
    last = last_step(model)
    names = getattr(last, "task_names_", None)
    if names:
        yield "## Tasks"
        yield _bullets(names)
    if hasattr(last, "module_"):
        yield "## Network"
        yield _bullets(_network(last))
    yield "## Versions"
    yield _bullets(f"{name} {version(name)}" for name in _PACKAGES)


def _network(network: Any) -> Iterator[str]:
    """Say what a network reads, how large it is and how it was trained."""
    for name, value in network.schema_.to_dict().items():
        yield f"{name}: {value}"
    yield f"{sum(p.numel() for p in network.module_.parameters()):,} parameters"
    if network.history_:
        yield f"{len(network.history_)} epochs; best epoch {network.best_epoch_}"


def _bullets(items: Iterable[Any]) -> str:
    return "\n".join(f"* {item}" for item in items)
