"""Tasks that are added to a network of GATE, and removed: states in, states out."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from skgnn_mtl._component import is_count
from skgnn_mtl._seeds import stream_seed
from skgnn_mtl._target_transforms import check_domain
from skgnn_mtl._warn import warn
from skgnn_mtl.gate import (
    GATEModel,
    NewTask,
    fit_addition,
    fit_frames,
    rank_correlations,
    with_added,
)
from skgnn_mtl.graphs import GraphArray, GraphRows
from skgnn_mtl.metrics._tables import column_names, name_of

from ._checkpoint import (
    Checkpoint,
    Stage,
    graph_parts,
    group_parts,
    state_parts,
)
from ._compute import seeded, stopped_by_sigterm
from ._fit_settings import FitSettings
from ._gate_recipe import GATERecipe
from ._inputs import check_labels, read_row_weights, read_targets
from ._network import FittedNetwork
from ._numeric import NumericTargets
from ._splits import split_validation
from ._state import Additions, FittedState
from ._widths import learn_widths


@dataclass(frozen=True)
class AdditionSettings:
    """What the parameters of an estimator say about an addition.

    Parameters
    ----------
    fit : FitSettings
        Settings of a fit; its recipe is that of GATE.
    sources : "all", str, int or list of str
        Sources to learn from.
    from_nearest : bool
        Whether the new maps start from those of the nearest source.
    n_steps : int
        Length of the training.
    """

    fit: FitSettings
    sources: Any
    from_nearest: bool
    n_steps: int

    @property
    def recipe(self) -> GATERecipe:
        """How the network is made."""
        # Always true, because only estimators of GATE make these settings.
        assert isinstance(self.fit.recipe, GATERecipe)
        return self.fit.recipe


@dataclass(frozen=True)
class AdditionData:
    """What the user passed to ``add_task``; X is read as graphs."""

    graphs: GraphArray
    y: Any
    sample_weight: Any = None
    groups: Any = None


def as_sources(state: FittedState) -> FittedState:
    """Note that all tasks of a state are sources."""
    targets = state.targets
    # A new record, because a fit of all tasks does not keep earlier additions.
    additions = Additions(targets.names, one_dimensional=targets.one_dimensional)
    return replace(state, additions=additions)


def free_name(state: FittedState, y: Any) -> str:
    """Find the name of a new task: that of y, else the first free ``task_k``."""
    given = next(iter(column_names(y)), None)
    made_up = (f"task_{k}" for k in count(state.targets.n_tasks))
    return given or next(name for name in made_up if name not in state.targets.names)


def add_task(
    state: FittedState,
    settings: AdditionSettings,
    data: AdditionData,
    name: str,
    *,
    train_encoder: bool = False,
    stage: Stage | None = None,
) -> FittedState:
    """Train the maps of a task next to the frozen sources of a state.

    Parameters
    ----------
    state : FittedState
        With additions. It is not changed.
    settings : AdditionSettings
        Parameters of the estimator.
    data : AdditionData
        Graphs and labels.
    name : str
        Name of the task.
    train_encoder : bool, default=False
        Whether the encoder is trained along.
    stage : Stage, optional
        Part of a checkpoint that the training goes on from, and keeps its state in.

    Returns
    -------
    state : FittedState
        With one more task.

    Raises
    ------
    ValueError
        If the name is taken, a source unknown, there are fewer than two labels, or the
        encoder to train is frozen.
    KeyboardInterrupt
        If the user interrupts; nothing of the task is kept.
    """
    names = state.targets.names
    if name in names:
        raise ValueError(
            f"There is a task {name!r} already: the tasks are {list(names)}. "
            "Give the new one another name, or remove_task first."
        )
    # Refused, because training a frozen encoder would have no effect.
    module: Any = state.module
    if train_encoder and not any(p.requires_grad for p in module.encoder.parameters()):
        raise ValueError(
            "train_encoder=True, but the encoder is frozen: fit with "
            "Pretrained(..., freeze=False), or leave train_encoder out."
        )
    # By the name, so that the order of additions does not matter.
    seed, fit = stream_seed(state.seed, name), settings.fit
    task, learned = _read_task(state, fit, data, name, seed)
    if stage is not None:
        stage.require(**_pieces(state, task, data.groups))
    # Computed once, because the frozen encoder gives the same vectors in all steps.
    vectors = embed(state, fit, data.graphs)
    with seeded(seed, fit.device, fit.n_threads):
        # A model that was made by from_pretrained without X learns its frames here,
        # from the training rows, because validation rows must not shape them.
        if not _additions(state).aligned:
            state = align(state, fit, vectors[task.rows], seed)
        sources, nearest = _choose_sources(state, settings.sources, task, vectors)
        whole, result = fit_addition(
            state.module,  # type: ignore[arg-type]
            task,
            vectors,
            sources=sources,
            init=nearest if settings.from_nearest else None,
            terms=settings.recipe.terms,
            options=fit.options,
            n_steps=settings.n_steps,
            device=fit.device,
            seed=seed,
            train_encoder=train_encoder,
            keeper=stage,
        )
    # Nothing is kept, because predict could not tell a task that is trained in part.
    if result.interrupted:
        raise KeyboardInterrupt(
            f"The addition of {name!r} was interrupted; the estimator is as before."
        )
    # Only now, because an interrupted addition has not changed anything.
    if train_encoder:
        warn(f"train_encoder=True changed the predictions of {list(names)}.")
    state = _with_task(state, whole, learned, result.history, not train_encoder)
    return _with_width(state, fit, task, vectors, not train_encoder)


def add_tasks(
    state: FittedState,
    settings: AdditionSettings,
    data: dict[str, AdditionData],
    checkpoint: Checkpoint | None,
) -> FittedState:
    """Add tasks one after the other, until the user interrupts.

    Parameters
    ----------
    state : FittedState
        With additions. It is not changed.
    settings : AdditionSettings
        Parameters of the estimator.
    data : dict of str to AdditionData
        Graphs and labels of each task.
    checkpoint : Checkpoint or None
        The file of the fit.

    Returns
    -------
    state : FittedState
        With the tasks that are complete.
    """
    try:
        for name, own in data.items():
            # Not the bare name, because a task may have that of the sources' stage.
            stage = checkpoint.stage(f"task {name}") if checkpoint else None
            with stopped_by_sigterm():
                state = add_task(state, settings, own, name, stage=stage)
    except KeyboardInterrupt:
        # The tasks so far are complete and are kept; _adopt tells the user.
        return replace(state, interrupted=True)
    return state


def _pieces(state: FittedState, task: NewTask, groups: Any) -> dict[str, list[Any]]:
    """List the data by which a checkpoint knows an addition."""
    valid = [] if task.valid_rows is None else [task.valid_rows]
    return {
        "X": graph_parts(task.graphs),
        "y": [task.targets, task.weights],
        "sample_weight": [task.row_weights],
        "groups": group_parts(groups),
        "validation_rows": [task.rows, *valid],
        "fitted_network": state_parts(state),
    }


def _additions(state: FittedState) -> Additions:
    assert state.additions is not None
    return state.additions


def _read_task(
    state: FittedState,
    settings: FitSettings,
    data: AdditionData,
    name: str,
    seed: int,
) -> tuple[NewTask, NumericTargets]:
    """Standardise the labels of a new task, and choose its validation rows."""
    graphs = data.graphs
    assert isinstance(settings.targets, NumericTargets)
    values, _ = read_targets(graphs, data.y, settings.targets.censored, name)
    table = values.reshape(len(values), -1)
    if table.shape[1] != 1:
        raise ValueError(
            f"add_task takes one task, but y has {table.shape[1]} columns; call it "
            "once for each."
        )
    row_weights = read_row_weights(graphs, data.sample_weight)
    weights = np.where(np.isnan(table), 0.0, row_weights[:, None])
    # One label has no rank, by which sources are compared, and no spread.
    n_labels = int((weights[table.imag == 0] > 0).sum())
    if n_labels < 2:
        raise ValueError(
            f"Task {name!r} has {n_labels} exact label(s) on valid graphs, but needs "
            "at least 2."
        )
    # Not the labelled rows alone, because the others take part in the alignment.
    rows, valid_rows = np.flatnonzero(row_weights > 0), None
    if settings.needs_validation:
        rows, valid_rows = split_validation(
            settings.validation,
            graphs,
            table.real,
            weights,
            data.groups,
            row_weights > 0,
            seed,
            names=[name],
            watched=[0],
        )
        # Checked, because a user's splitter does not know where the labels are.
        check_labels(weights[rows], [name], "inner training")
        check_labels(weights[valid_rows], [name], "validation")
    # Only the transform of this task, because a dict that names others is refused.
    new = replace(settings.targets.for_tasks([name]), names=(name,))
    # On all rows, because the message then names the row of the user's table.
    check_domain(new.transform, table.real, [name])
    # From the training rows, because validation rows must not set the scale.
    learned = new.learn(table[rows], weights[rows])
    targets = learned.encode(table)
    task = NewTask(name, graphs, targets, weights, row_weights, rows, valid_rows)
    return task, learned


def embed(
    state: FittedState, settings: FitSettings, graphs: GraphArray | GraphRows
) -> torch.Tensor:
    """Compute the embeddings (n, width) of graphs, on the device; NaN if invalid."""
    vectors = _network(state, settings).apply(graphs, GATEModel.embed)
    # The maps compute in this precision, but apply returns float64.
    dtype = getattr(torch, state.inputs.schema.dtype)
    return torch.from_numpy(vectors).to(settings.device, dtype)


def _network(state: FittedState, settings: FitSettings) -> FittedNetwork:
    """Put the network of a state to work."""
    size, n_threads = settings.options.batch_size, settings.n_threads
    return FittedNetwork(state.module, settings.device, size, n_threads)


def _choose_sources(
    state: FittedState, sources: Any, task: NewTask, vectors: torch.Tensor
) -> tuple[list[int], int]:
    """Find the positions of the sources to learn from, and of the nearest."""
    # Training rows, because validation rows must not choose the sources.
    known, rows, module = _additions(state).sources, task.exact(), state.module
    assert isinstance(module, GATEModel)
    with torch.no_grad():
        predictions = module.predict_sources(vectors[rows]).cpu().numpy()
    # Stable, because sources of equal correlation must keep the order of the fit.
    order = np.argsort(
        -rank_correlations(predictions, task.targets[rows, 0].real), kind="stable"
    )
    nearest = int(order[0])
    if is_count(sources):
        # Sorted, because ranks choose the sources, but must not order the training.
        return sorted(order[: int(sources)].tolist()), nearest
    names: Any = [sources] if isinstance(sources, str) else sources
    # The type first, because an array would compare elementwise.
    if isinstance(sources, str) and sources == "all":
        names = known
    is_listed = isinstance(names, Collection)
    names = list(map(name_of, names)) if is_listed else names
    if not is_listed or not 0 < len(set(names)) == len(names):
        raise ValueError(
            f"sources must name at least one source, and each once; got {sources!r}."
        )
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"sources names {unknown}, but the sources are {list(known)}.")
    return [known.index(name) for name in names], nearest


def _with_task(
    state: FittedState,
    module: GATEModel,
    learned: NumericTargets,
    history: list[dict[str, Any]],
    frozen: bool,
) -> FittedState:
    """Add a trained task to a state."""
    targets, additions = state.targets, _additions(state)
    assert isinstance(targets, NumericTargets)
    return replace(
        state,
        module=module.eval(),
        targets=targets.joined(learned),
        additions=replace(
            additions,
            added=additions.added + learned.names,
            # A new dict, because the state before must stay as it was.
            history={**additions.history, learned.names[0]: history},
            # Never True again, because one addition that trains the encoder moves all
            # sources.
            frozen=additions.frozen and frozen,
        ),
    )


def _with_width(
    state: FittedState,
    settings: FitSettings,
    task: NewTask,
    vectors: torch.Tensor,
    frozen: bool,
) -> FittedState:
    """Learn how wrong the predictions of an added task may be."""
    rows = task.exact()
    found = learn_widths(
        _network(state, settings),
        GraphRows(task.graphs, rows),
        task.targets[rows].real,
        task.weights[rows],
        [task.name],
        # The last output, because additions stand in order.
        state.targets.n_tasks - 1,
    )
    # Those of the sources belong to their encoder, which has moved otherwise.
    return replace(state, widths={**(state.widths if frozen else {}), **found})


def remove_task(state: FittedState, name: str) -> FittedState:
    """Forget an added task.

    Parameters
    ----------
    state : FittedState
        With additions. It is not changed.
    name : str
        Name of the task.

    Returns
    -------
    state : FittedState
        Without the task.

    Raises
    ------
    ValueError
        If no added task has this name.
    """
    additions, module = _additions(state), state.module
    assert isinstance(module, GATEModel)
    if name not in additions.added:
        raise ValueError(
            f"Only added tasks can be removed; these are {list(additions.added)}, not "
            f"{name!r}."
        )
    # By the order of additions, because columns of y may stand in another one.
    place = additions.added.index(name)
    groups = list(module.added)
    added = tuple(task for task in additions.added if task != name)
    kept = [task for task in state.targets.names if task != name]
    state = replace(
        state,
        module=with_added(module, groups[:place] + groups[place + 1 :]),
        additions=replace(
            additions,
            added=added,
            history={task: additions.history[task] for task in added},
        ),
        widths={task: w for task, w in state.widths.items() if task != name},
    )
    return in_order(state, kept)


def in_order(state: FittedState, names: Sequence[str]) -> FittedState:
    """Give a state whose predictions have these tasks as columns, in this order."""
    targets, additions = state.targets, _additions(state)
    assert isinstance(targets, NumericTargets)
    order = [targets.names.index(name) for name in names]
    # With its sources alone, a model predicts in the dimensions of their y.
    flat = additions.one_dimensional and not additions.added
    return replace(state, targets=targets.in_order(order, one_dimensional=flat))


# -- sources from elsewhere ------------------------------------------------------------


def take_over(regressor: FittedState, settings: FitSettings, seed: int) -> FittedState:
    """Make a state that predicts what a regressor does, with untrained maps.

    Parameters
    ----------
    regressor : FittedState
        With linear heads. It is not changed.
    settings : FitSettings
        Parameters of the estimator.
    seed : int
        Seed of the state. Torch's generator draws the weights of the maps.

    Returns
    -------
    state : FittedState
        Its sources are the tasks of the regressor; they are not aligned.
    """
    old: Any = regressor.module
    recipe, names = settings.recipe, regressor.targets.names
    assert isinstance(recipe, GATERecipe)
    # Clones with copied weights, because GATEModel builds its parts, and those of the
    # regressor must not change.
    new = GATEModel(
        clone(old.encoder),
        clone(old.readout),
        regressor.inputs.schema,
        len(names),
        recipe.layout,
        pretrained=old.architecture,
    )
    heads: Any = new.heads
    new.encoder.load_state_dict(old.encoder.state_dict())
    new.readout.load_state_dict(old.readout.state_dict())
    new.features.load_state_dict(old.features.state_dict())
    heads[0].load_state_dict(old.trunk.state_dict())
    heads[1].load_state_dict(old.heads.state_dict())
    dtype = getattr(torch, regressor.inputs.schema.dtype)
    return FittedState(
        regressor.inputs,
        settings.targets.with_learned(regressor.targets.learned),
        new.to(settings.device, dtype).eval(),
        None,
        seed=seed,
        # No rows of this model have been divided yet.
        split_seed=None,
        task_weights=np.ones(len(names)),
        additions=Additions(
            names,
            aligned=False,
            one_dimensional=regressor.targets.one_dimensional,
        ),
        # The same heads read the same vectors, but there are none of variances.
        widths=regressor.widths if old.log_variances is None else {},
    )


def align(
    state: FittedState, settings: FitSettings, vectors: torch.Tensor, seed: int
) -> FittedState:
    """Fit the frames of pretrained sources, whose predictions do not change.

    Parameters
    ----------
    state : FittedState
        Its sources are those of a regressor. It is not changed.
    settings : FitSettings
        Parameters of the estimator.
    vectors : Tensor of shape (n, width)
        Embeddings of some graphs.
    seed : int
        Seed of the order of the batches.

    Raises
    ------
    KeyboardInterrupt
        If the user interrupts.
    """
    options, recipe = settings.options.for_rows(len(vectors)), settings.recipe
    assert isinstance(recipe, GATERecipe)
    # There are no validation rows here, so that no plateau can be found, and no best
    # epoch.
    if options.watches_plateau:
        options = replace(options, lr_schedule="cosine")
    # A copy, because fit_frames trains in place, and a state is a value.
    module, additions = copy.deepcopy(state.module), _additions(state)
    result = fit_frames(
        module,  # type: ignore[arg-type]
        vectors,
        list(additions.sources),
        terms=recipe.terms,
        options=replace(options, early_stopping=False),
        n_warmup=recipe.n_warmup(options.n_steps(len(vectors))),
        device=settings.device,
        seed=seed,
    )
    if result.interrupted:
        raise KeyboardInterrupt(
            "The alignment of the sources was interrupted; nothing of it is kept."
        )
    return replace(
        state,
        module=module.eval(),
        history=result.history,
        best_epoch=result.best_epoch,
        additions=replace(additions, aligned=True),
    )
