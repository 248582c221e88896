"""One fit, from what the user passed to a fitted state; nothing else is changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils.validation import check_consistent_length, column_or_1d

from skgnn_mtl import training
from skgnn_mtl._seeds import MAX_SEED, torch_stream
from skgnn_mtl.graphs import GraphDataset, GraphRows
from skgnn_mtl.metrics._tables import refuse_masked
from skgnn_mtl.training import (
    HeldOutRows,
    World,
    joined,
    recalibrate,
)
from skgnn_mtl.weighting import HeldOut, HeldOutWeighting, TaskWeighting

from ._checkpoint import Stage, graph_parts, group_parts, state_parts
from ._compute import seeded
from ._curvature import SpectrumRecorder
from ._fit_settings import FitData, FitSettings
from ._inputs import check_labels, read_row_weights
from ._network import FittedNetwork
from ._observers import Observers
from ._processes import require_same
from ._recipe import StepNeeds, build_weighting
from ._splits import hold_out, split_validation
from ._state import FittedState, with_result
from ._targets import Targets
from ._widths import learn_widths

# Makes an estimator that is fitted with a state, because scorers take estimators.
View = Callable[[FittedState], Any]


@dataclass(frozen=True)
class _Call:
    """One call of fit or partial_fit."""

    settings: FitSettings
    data: FitData
    view: View
    before: FittedState | None
    partial: bool
    stage: Stage | None
    world: World

    @property
    def weighting(self) -> TaskWeighting | None:
        """The task weighting, built if the training goes on."""
        before = self.before
        return self.settings.recipe.weighting if before is None else before.weighting


@dataclass(frozen=True)
class _Table:
    """Labels and weights of all rows."""

    targets: Targets
    labels: np.ndarray
    weights: np.ndarray
    row_weights: np.ndarray
    groups: np.ndarray | None
    # Rows that may train or validate.
    usable: np.ndarray
    # Positions of the target tasks.
    watched: np.ndarray


@dataclass(frozen=True)
class _Rows:
    """Positions: training rows, of these the rows of the steps, and the others."""

    train: np.ndarray
    steps: np.ndarray
    held_out: np.ndarray | None
    valid: np.ndarray | None

    @property
    def parts(self) -> list[np.ndarray]:
        """All of them, empty where there are none."""
        kinds = (self.train, self.steps, self.held_out, self.valid)
        return [np.empty(0, int) if rows is None else rows for rows in kinds]


def fit_network(
    settings: FitSettings,
    data: FitData,
    view: View,
    before: FittedState | None = None,
    *,
    partial: bool = False,
    stage: Stage | None = None,
) -> FittedState:
    """Train a network, or go on from a fitted state.

    Parameters
    ----------
    settings : FitSettings
        Parameters of the estimator.
    data : FitData
        Graphs and labels.
    view : callable
        Makes the estimator of a state, which a scorer receives.
    before : FittedState, optional
        State to go on from. It does not change, because a copy is trained.
    partial : bool, default=False
        Whether this is a call of ``partial_fit``.
    stage : Stage, optional
        Part of a checkpoint that the training goes on from, and keeps its state in.

    Returns
    -------
    state : FittedState
        ``interrupted`` tells that the user stopped the training; the state is then the
        best that was reached.

    Raises
    ------
    ValueError
        If labels, weights, groups or parameters are wrong.
    FloatingPointError
        If the training diverges.
    KeyboardInterrupt
        If the user interrupts before the first step.
    """
    if partial:
        settings = settings.for_one_epoch()
    with joined() as world:
        state = _fit(_Call(settings, data, view, before, partial, stage, world))
        if state.interrupted and not world.is_alone:
            # Because the other processes have reached other states.
            raise KeyboardInterrupt(
                "fit was interrupted in one of several processes; the estimator is "
                "as it was before."
            )
    return state


def _fit(call: _Call) -> FittedState:
    """Train a network together with the other processes."""
    settings, before, stage, world = call.settings, call.before, call.stage, call.world
    # Before a seed is drawn, because wrong labels must not advance a user's generator.
    table = _read(call)
    source = _random_source(call)
    # One number, because all randomness of a fit derives from one seed.
    seed = int(source.randint(MAX_SEED))
    if stage is not None:
        stage.require(**_pieces(call, table))
        # After the draw, because a user's generator must advance all the same.
        seed = stage.seed(seed)
    if not world.is_alone:
        seed = world.share(seed)
        require_same(world, call.data.graphs, table, before, stage)
    split_seed = (
        seed if before is None or before.split_seed is None else before.split_seed
    )
    with seeded(seed, settings.device, settings.n_threads):
        # All continuations divide the rows alike, so that rows that validate or are
        # held out are never trained on. Several processes take those of the main one,
        # because a user's splitter may draw others in each.
        rows = world.decide(lambda: _choose_rows(call, table, split_seed))
        if stage is not None:
            # Because a user's splitter may divide the rows otherwise in each call.
            stage.require(validation_rows=rows.parts)
        if before is None:
            start = _begin(call, table, rows, seed)
        else:
            start = _continued(before, table.targets, seed)
        call = replace(call, settings=settings.for_rows(len(rows.steps)))
        start = replace(
            start,
            split_seed=split_seed,
            # For partial_fit only, because fit draws from its parameter again.
            random_state=source if call.partial else None,
            held_out_rows=rows.held_out,
        )
        return _trained(call, start, table, rows)


def _pieces(call: _Call, table: _Table) -> dict[str, list[Any]]:
    """List the data by which a checkpoint knows a fit."""
    return {
        "X": graph_parts(call.data.graphs),
        "y": [*table.targets.names, table.labels],
        "sample_weight": [table.row_weights],
        "groups": group_parts(table.groups),
        "fitted_network": state_parts(call.before),
    }


def _read(call: _Call) -> _Table:
    """Read labels, weights and groups of all rows."""
    data, recipe = call.data, call.settings.recipe
    targets, graphs = call.settings.targets, data.graphs
    row_weights = read_row_weights(graphs, data.sample_weight)
    if call.before is None:
        targets, labels = targets.begin(graphs, data.y, row_weights > 0)
    else:
        # Present parameters, but the scales and classes of the first fit, because the
        # network was trained with them.
        targets = targets.with_learned(call.before.targets.learned)
        labels = targets.read(graphs, data.y)
    # scikit-learn's checks of estimators look for the first words of this message.
    if not recipe.entries(targets.names):
        raise ValueError(
            "This estimator requires y to be passed, but the target y is None: without "
            "auxiliary_tasks there is nothing else to learn."
        )
    # From here a gap is a label of weight 0, because losses multiply by weights.
    weights = np.where(np.isnan(labels), 0.0, row_weights[:, None])
    if call.before is None:
        # Not in a fit that goes on, because a chunk may lack a task.
        check_labels(weights, targets.names, "training")
    groups = data.groups
    if groups is not None:
        refuse_masked(groups, "groups", "give each row a group")
        groups = column_or_1d(groups)
        check_consistent_length(graphs, groups)
    usable: Any = (weights > 0).any(axis=1)
    # Rows without a label still serve auxiliary tasks or an alignment.
    if recipe.uses_unlabelled:
        usable = row_weights > 0
    if not usable.any():
        raise ValueError("No row of X has a label: there is nothing to fit.")
    watched = recipe.watched(targets.names)
    return _Table(targets, labels, weights, row_weights, groups, usable, watched)


def _random_source(call: _Call) -> np.random.RandomState:
    """Find the generator of this call's seed.

    Calls of ``partial_fit`` go on with a copy of the generator of the call before, so
    that a call that fails draws nothing from it.
    """
    if call.partial and call.before is not None and call.before.random_state:
        return copy.deepcopy(call.before.random_state)
    source: np.random.RandomState = check_random_state(call.settings.random_state)
    return source


def _choose_rows(call: _Call, table: _Table, seed: int) -> _Rows:
    """Divide the usable rows."""
    settings, names, watched = call.settings, table.targets.names, table.watched
    # Where all entries are targets, there are no others to learn about.
    has_others = len(watched) < len(settings.recipe.entries(names))
    part = _held_out_part(call.weighting) if has_others else None
    train_rows, valid_rows = np.flatnonzero(table.usable), None
    if settings.needs_validation:
        train_rows, valid_rows = split_validation(
            settings.validation,
            call.data.graphs,
            # In the dimensions of the user's y, because a splitter may stratify by it.
            # The numbers of bounds, because it does not know complex labels.
            table.targets.shaped(table.labels.real),
            table.weights,
            table.groups,
            table.usable,
            seed,
            names=names,
            # Without y these are auxiliary tasks, which do not have labels to count.
            watched=watched if names else [],
            held_out=part,
        )
        # Checked, because a user's splitter does not know the tasks.
        check_labels(table.weights[train_rows], names, "inner training")
        if names:
            watched_names = [names[task] for task in watched]
            weights = table.weights[valid_rows][:, watched]
            check_labels(weights, watched_names, "validation")
    if part is None:
        return _Rows(train_rows, train_rows, None, valid_rows)
    # After the validation rows, because rows are held out of the training rows.
    steps, held_out = hold_out(
        part,
        table.weights,
        table.groups,
        train_rows,
        seed,
        names=names,
        targets=watched,
    )
    return _Rows(train_rows, steps, held_out, valid_rows)


def _held_out_part(weighting: TaskWeighting | None) -> HeldOut | None:
    """Ask the weighting what it holds out."""
    if not isinstance(weighting, HeldOutWeighting):
        return None
    part: Any = weighting.held_out
    return part  # type: ignore[no-any-return]


def _begin(call: _Call, table: _Table, rows: _Rows, seed: int) -> FittedState:
    """Learn about y, and build the weighting and the network."""
    recipe, device, inputs = (
        call.settings.recipe,
        call.settings.device,
        call.data.inputs,
    )
    entries = recipe.entries(table.targets.names)
    weighting = recipe.weighting
    compares = weighting is not None and weighting.compares_norms and len(entries) > 1
    # From the training rows, because validation rows must not set scales.
    targets = table.targets.learn(
        table.labels[rows.train],
        table.weights[rows.train],
        table.watched.tolist() if compares else (),
    )
    # The weighting is first, because both draw from one generator.
    if weighting is not None:
        weighting = build_weighting(weighting, entries, targets.n_tasks, device)
    module: Any = recipe.network(inputs.schema, targets)
    # Moved after it is built, because one seed must give the same first weights on all
    # devices.
    module = module.to(device, getattr(torch, inputs.schema.dtype))
    features = call.data.graphs.graph_features[rows.train]
    module.features.learn(features, table.row_weights[rows.train])
    # A pretrained encoder may have the statistics of other graphs.
    if getattr(module.encoder, "recalibrate", False):
        recalibrate(module.encoder, GraphRows(call.data.graphs, rows.train), device)
    return FittedState(inputs, targets, module, weighting, seed, None)


def _continued(before: FittedState, targets: Targets, seed: int) -> FittedState:
    """Copy what a training changes in place."""
    return replace(
        before,
        targets=targets,
        module=copy.deepcopy(before.module),
        weighting=copy.deepcopy(before.weighting),
        optimizer_state=copy.deepcopy(before.optimizer_state),
        # Spectra and widths of the network before do not describe the one to come.
        spectrum=None,
        spectrum_path=None,
        widths={},
        interrupted=False,
        seed=seed,
    )


def _trained(
    call: _Call, start: FittedState, table: _Table, rows: _Rows
) -> FittedState:
    """Train the network of a state, and compute its curvature."""
    settings, seed = call.settings, start.seed
    recipe, options = settings.recipe, settings.options
    train_set, valid_set, held_out = _data_sets(call, start, table, rows)
    # A training that goes on, or a single epoch, has no beginning to rise from.
    goes_on = call.before is not None or call.partial
    n_epochs = 0 if goes_on else int(options.max_epochs)
    n_steps = 0 if goes_on else options.n_steps(len(train_set))
    needs = StepNeeds(
        start.targets, table.watched, n_steps, held_out, seed, n_epochs, call.world
    )
    step = recipe.step(start.weighting, needs)
    recorder = None
    if settings.spectrum is not None:
        # On the rows of the steps, because the network is not trained on others.
        recorder = SpectrumRecorder(
            start,
            # A copy, because curvature reads an array as a user passes it.
            GraphRows(call.data.graphs, rows.steps).taken(),
            table.labels[rows.steps],
            settings.spectrum,
            options.max_epochs,
            settings.device,
        )
    entries = recipe.entries(start.targets.names)
    result = training.train(
        start.module,
        step,
        train_set,
        valid_set,
        task_names=entries,
        watched=table.watched,
        options=options,
        device=settings.device,
        # A stream of its own, because no method may change the order of the batches.
        generator=torch_stream(seed, "batches"),
        # Not in a warm start, because its learning rate begins its course again.
        optimizer_state=start.optimizer_state if call.partial else None,
        scorer=_scorer(call, start, rows.valid),
        observer=_observer(settings, recorder, start),
        all_rows=_all_rows(call, start, table, rows),
        keeper=call.stage,
        world=call.world,
    )
    if not call.partial or options.weight_averaging is not None:
        # With few steps the running statistics lag behind the weights, and the
        # statistics of average weights are not the average of the statistics.
        try:
            _recalibrate(
                start.module, GraphRows(call.data.graphs, rows.steps), settings
            )
        except KeyboardInterrupt:
            # The training is complete, so that its network is kept.
            result.interrupted = True
    earlier = [] if call.before is None else call.before.history
    state = with_result(start, result, entries, earlier, call.partial)
    # Not after a single epoch, because its rows are not all that the network knows.
    if state.targets.has_widths and not call.partial:
        state = _with_widths(call, state, table, _rows_at_end(call, rows))
    # No spectrum then, because the user asked for an end.
    if recorder is None or state.interrupted:
        return state
    try:
        spectrum = recorder.compute()
    except KeyboardInterrupt:
        # The training is complete, so that its network is kept.
        return replace(state, interrupted=True)
    path = recorder.path if recorder.epochs else None
    return replace(state, spectrum=spectrum, spectrum_path=path)


def _observer(
    settings: FitSettings, recorder: SpectrumRecorder | None, state: FittedState
) -> SpectrumRecorder | Observers | None:
    on_epoch = settings.on_epoch
    if on_epoch is None:
        return recorder
    return Observers(recorder, lambda n_finished: on_epoch(n_finished, state))


def _with_widths(
    call: _Call, state: FittedState, table: _Table, rows: np.ndarray
) -> FittedState:
    """Learn how wrong the predictions of a trained network may be."""
    targets, settings = state.targets, call.settings
    network = FittedNetwork(
        state.module,
        settings.device,
        int(settings.options.batch_size),
        settings.n_threads,
    )
    encoded, weights = targets.encode(table.labels[rows]), table.weights[rows]
    # Of exact labels only, because a bound does not have a residual.
    if np.iscomplexobj(encoded):
        encoded, weights = encoded.real, np.where(encoded.imag == 0, weights, 0.0)
    graphs = GraphRows(call.data.graphs, rows)
    try:
        widths = learn_widths(network, graphs, encoded, weights, targets.names)
    except KeyboardInterrupt:
        # The training is complete, so that its network is kept.
        return replace(state, interrupted=True)
    return replace(state, widths=widths)


def _recalibrate(module: Any, graphs: GraphRows, settings: FitSettings) -> None:
    """Estimate the statistics of the encoder's normalisation, unless it is frozen."""
    # Not with a frozen layer, because its statistics belong to its weights.
    if all(parameter.requires_grad for parameter in module.encoder.parameters()):
        recalibrate(module.encoder, graphs, settings.device)


def _data_sets(
    call: _Call, state: FittedState, table: _Table, rows: _Rows
) -> tuple[GraphDataset, GraphDataset | None, HeldOutRows | None]:
    """Make the rows of the steps, of validation, and those held out."""
    recipe, graphs = call.settings.recipe, call.data.graphs
    targets = state.targets.encode(table.labels)
    weights = state.targets.weigh(table.labels, table.weights)
    train_set = _training_set(call, state, table, rows.steps)
    valid_set = held_out = None

    def parts(chosen: np.ndarray) -> tuple[GraphRows, np.ndarray, np.ndarray]:
        return GraphRows(graphs, chosen), targets[chosen], weights[chosen]

    if rows.valid is not None:
        valid_set = recipe.validation_set(state.module, *parts(rows.valid))
    if rows.held_out is not None:
        size = int(call.settings.options.batch_size)
        others = GraphDataset(*parts(rows.held_out))
        held_out = HeldOutRows(train_set, others, size, state.seed)
    return train_set, valid_set, held_out


def _training_set(
    call: _Call, state: FittedState, table: _Table, rows: np.ndarray
) -> GraphDataset:
    """Make rows to train on."""
    return call.settings.recipe.training_set(
        state.module,
        GraphRows(call.data.graphs, rows),
        state.targets.encode(table.labels)[rows],
        state.targets.weigh(table.labels, table.weights)[rows],
        table.row_weights[rows],
    )


def _rows_at_end(call: _Call, rows: _Rows) -> np.ndarray:
    """Rows of the last steps: those that validated are among them."""
    if rows.valid is None or not call.settings.options.ends_with_all_rows:
        return rows.steps
    return np.sort(np.concatenate([rows.steps, rows.valid]))


def _all_rows(
    call: _Call, state: FittedState, table: _Table, rows: _Rows
) -> Callable[[], GraphDataset] | None:
    """Make the rows for the end of a training with early stopping, if it has one."""
    last = _rows_at_end(call, rows)
    if last is rows.steps:
        return None
    # Made where it is used, because it holds a copy of the labels.
    return lambda: _training_set(call, state, table, last)


def _scorer(
    call: _Call, state: FittedState, rows: np.ndarray | None
) -> Callable[[], float] | None:
    """Make the score, on the validation rows, of the network in its present state."""
    scoring, data = call.settings.scoring, call.data
    if rows is None or (isinstance(scoring, str) and scoring == "loss"):
        return None
    estimator, weights = call.view(state), {}
    scorer = check_scoring(estimator, scoring)
    if data.sample_weight is not None:
        weights["sample_weight"] = np.asarray(data.sample_weight)[rows]
    # As the user passed them, because a scorer may be the user's own.
    X, y = _safe_indexing(data.X, rows), _safe_indexing(data.y, rows)
    return lambda: scorer(estimator, X, y, **weights)
