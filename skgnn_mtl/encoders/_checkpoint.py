"""Published weights of Hu et al. (2020): their names, shapes and meaning."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skgnn_mtl.graphs import HU2020

PathLike = str | os.PathLike[str]
Shape = tuple[int, ...]
Tensors = dict[str, Tensor]
# Statistics and parameters of a batch normalisation.
NORM = ("weight", "bias", "running_mean", "running_var")
_PREFIX = re.compile(r"^(model\.|molecule_model\.|gnn\.)+")


@dataclass(frozen=True)
class Published:
    """Names of the tensors of a layer in the published files of one architecture.

    Parameters
    ----------
    names : dict of str to str
        Name in ``layers.l`` of this package -> name in ``gnns.l`` of the file.
    shapes : callable
        Maps the width to the names and shapes in the file.
    n_heads : int
        Width of the tables of bonds, in units of the width.
    unit_rows : bool
        Whether the layer scales its rows to length one.
    """

    names: dict[str, str]
    shapes: Callable[[int], dict[str, Shape]]
    n_heads: int = 1
    unit_rows: bool = False


def load_content(path: PathLike) -> Any:
    """Load a file that torch saved, without executing code from it.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    content : object
        Tensors, numbers and texts in containers.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file holds other objects, or was not saved by torch.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    # Any exception, because a damaged file may raise any type.
    except Exception as error:
        raise ValueError(
            f"{path} does not hold weights that are safe to read."
        ) from error


def read_checkpoint(
    path: PathLike, name: str, published: Published
) -> tuple[dict[str, int], Tensors]:
    """Read a file of Hu et al. and translate it to the names of this package.

    Parameters
    ----------
    path : str or path-like
        The file.
    name : str
        Architecture that it must hold, for messages.
    published : Published
        Names and shapes of its tensors.

    Returns
    -------
    sizes : dict
        Constructor arguments: ``width``, ``n_layers``.
    tensors : dict of str to Tensor
        State of an encoder of this package.

    Raises
    ------
    ValueError
        If the file does not hold exactly these tensors, or those of another
        architecture.
    """
    found = _load(path, name)
    n_layers = len({key.split(".")[1] for key in found if key.startswith("gnns.")})
    table = found.get("x_embedding1.weight")
    width = table.shape[1] if table is not None and table.ndim == 2 else 300
    _check(found, _expected(n_layers, width, published), path, name)
    _check_rows(found, n_layers, published, path, name)
    return {"width": width, "n_layers": n_layers}, _translate(
        found, n_layers, width, published
    )


def _load(path: PathLike, name: str) -> Tensors:
    content = load_content(path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) and not value.is_complex()
        for key, value in content.items()
    ):
        found = "a dict" if isinstance(content, dict) else type(content).__name__
        keys = f" with the keys {list(content)[:5]}" if found == "a dict" else ""
        raise ValueError(
            f"{path} must hold a dict of tensors by name, as {name} needs, but holds "
            f"{found}{keys}."
        )
    tensors = {_PREFIX.sub("", key): value for key, value in content.items()}
    if len(tensors) < len(content):
        raise ValueError(f"{path} names a tensor twice, with and without a prefix.")
    for key, value in tensors.items():
        if not bool(torch.isfinite(value).all()) or (
            key.endswith("running_var") and bool((value < 0).any())
        ):
            raise ValueError(
                f"{path} does not hold usable weights: {key} has entries that are not "
                "finite, or negative variances."
            )
    return tensors


def _expected(n_layers: int, width: int, published: Published) -> dict[str, Shape]:
    """List the shapes of all tensors of a file."""
    (_, n_atoms), (_, n_chiral) = HU2020.node_columns
    (_, n_types), (_, n_directions) = HU2020.edge_columns
    shapes: dict[str, Shape] = {
        "x_embedding1.weight": (n_atoms, width),
        "x_embedding2.weight": (n_chiral, width),
    }
    for layer in range(n_layers):
        gnn, norm = f"gnns.{layer}.", f"batch_norms.{layer}."
        wide = published.n_heads * width
        shapes[gnn + "edge_embedding1.weight"] = (n_types, wide)
        shapes[gnn + "edge_embedding2.weight"] = (n_directions, wide)
        shapes |= {gnn + k: shape for k, shape in published.shapes(width).items()}
        shapes |= {norm + key: (width,) for key in NORM}
        shapes[norm + "num_batches_tracked"] = ()
    return shapes


def _check(
    found: Tensors, expected: dict[str, Shape], path: PathLike, name: str
) -> None:
    problems = [f"missing {key}" for key in expected if key not in found]
    problems += [f"unexpected {key}" for key in found if key not in expected]
    problems += [
        f"{key} of shape {tuple(found[key].shape)} in place of {shape}"
        for key, shape in expected.items()
        if key in found and tuple(found[key].shape) != shape
    ]
    if problems or "gnns.0.edge_embedding1.weight" not in expected:
        shown = "; ".join(problems[:12]) or "no layer"
        more = f"; and {len(problems) - 12} more" if len(problems) > 12 else ""
        raise ValueError(f"{path} does not hold a published {name}: {shown}{more}.")


def _check_rows(
    found: Tensors, n_layers: int, published: Published, path: PathLike, name: str
) -> None:
    """Distinguish GCN from GraphSAGE, whose files have equal keys and shapes.

    The mean squares of the columns of rows of length one sum to one. The running
    statistics of each layer contain these mean squares.
    """
    if "linear.weight" not in published.names.values():
        return
    squares = [
        found[f"batch_norms.{k}.running_var"].double()
        + found[f"batch_norms.{k}.running_mean"].double() ** 2
        for k in range(n_layers)
    ]
    unit = all(abs(float(square.sum()) - 1.0) < 0.1 for square in squares)
    if unit != published.unit_rows:
        other = "GraphSAGE" if unit else "GCN"
        raise ValueError(
            f"{path} holds a {other}, by its running statistics, not a {name}. Load it "
            f"with {other}.from_checkpoint."
        )


def _translate(
    found: Tensors, n_layers: int, width: int, published: Published
) -> Tensors:
    def table(prefix: str) -> Tensor:
        parts = [found[f"{prefix}{k}.weight"] for k in (1, 2)]
        return torch.cat(parts).t().contiguous()

    tensors = {"embedding.weight": table("x_embedding")}
    for k in range(n_layers):
        layer, gnn = f"layers.{k}.", f"gnns.{k}."
        tensors[layer + "edge_embedding.weight"] = table(gnn + "edge_embedding")
        for translated, published_name in published.names.items():
            tensors[layer + translated] = found[gnn + published_name]
        attention = found.get(gnn + "att")
        if attention is not None:
            target, message = attention[0].split(width, dim=1)
            tensors[layer + "att_target"] = target.contiguous()
            tensors[layer + "att_message"] = message.contiguous()
        for key in (*NORM, "num_batches_tracked"):
            tensors[f"norms.{k}.{key}"] = found[f"batch_norms.{k}.{key}"]
    return tensors
