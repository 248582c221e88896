"""What several processes of one fit have in common."""

from __future__ import annotations

from typing import Any

from sklearn.utils import check_random_state

from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl.graphs import GraphArray
from skgnn_mtl.training import World, joined

from ._checkpoint import Stage, digest, group_parts, state_parts
from ._state import FittedState


def require_same(
    world: World,
    graphs: GraphArray,
    table: Any,
    before: FittedState | None,
    stage: Stage | None,
) -> None:
    """Refuse data that differ between the processes.

    Parameters
    ----------
    world : World
        The processes.
    graphs : GraphArray of shape (n,)
        The graphs. Only their sizes are compared, because reading all columns of a
        mapped array takes long.
    table : object
        Has ``targets.names``, ``labels``, ``row_weights`` and ``groups``.
    before : FittedState or None
        Where the fit goes on.
    stage : Stage or None
        Part of a checkpoint.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    world.require_same(
        X=digest([str(graphs.schema), graphs.n_nodes, graphs.n_edges]),
        y=digest([*table.targets.names, table.labels]),
        sample_weight=digest([table.row_weights]),
        groups=digest(group_parts(table.groups)),
        fitted_network=digest(state_parts(before)),
        checkpoint=stage.n_epochs if stage is not None else 0,
    )


def draw_seed(random_state: Any) -> int:
    """Draw one number from a ``random_state``, the same in all processes.

    Parameters
    ----------
    random_state : int, RandomState or None
        Parameter of an estimator.

    Returns
    -------
    seed : int
        That of the main process.
    """
    with joined() as world:
        return world.share(int(check_random_state(random_state).randint(MAX_SEED)))
