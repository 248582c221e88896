"""Training of the modules of one task next to frozen sources."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from skgnn_mtl import training
from skgnn_mtl._gram import cosines
from skgnn_mtl._seeds import torch_stream
from skgnn_mtl.graphs import GraphArray, GraphDataset, GraphRows
from skgnn_mtl.training import Keeper, TrainingOptions, TrainingResult

from ._addition import AdditionModel, CachedDataset
from ._model import Embedded, GATEModel
from ._step import AdditionStep, GATEStep
from ._terms import GATETerms

# Rows that frozen modules evaluate at a time, and most epochs of an addition.
_CHUNK = 1024
_MOST_EPOCHS = 100
# Smallest mean share of labelled rows in a batch.
_LABELLED_SHARE = 0.25


@dataclass(frozen=True)
class NewTask:
    """Labels of a new task, in rows for training and rows for validation.

    Parameters
    ----------
    name : str
        Name of the task.
    graphs : GraphArray of shape (n,)
        The graphs; some may be unlabelled.
    targets, weights : ndarray of shape (n, 1)
        Standardised labels, complex if some are bounds, and their weights, 0 where one
        is missing.
    row_weights : ndarray of shape (n,)
        Weights of the rows.
    rows, valid_rows : ndarray of int, or None
        Positions of the training and validation rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.gate import NewTask
    >>> from skgnn_mtl.graphs import GraphArray
    >>> y, rows = np.array([[0.5], [0.0]]), np.arange(2)
    >>> weights = np.array([[1.0], [0.0]])  # the second graph is unlabelled
    >>> graphs = GraphArray.from_features(np.eye(2))
    >>> NewTask("gap", graphs, y, weights, np.ones(2), rows, None).labelled()
    array([0])
    """

    name: str
    graphs: GraphArray
    targets: np.ndarray
    weights: np.ndarray
    row_weights: np.ndarray
    rows: np.ndarray
    valid_rows: np.ndarray | None

    def labelled(self) -> np.ndarray:
        """List the positions of labelled training rows."""
        labelled: np.ndarray = self.rows[self.weights[self.rows, 0] > 0]
        return labelled

    def exact(self) -> np.ndarray:
        """List the positions of labelled training rows without bounds."""
        labelled = self.labelled()
        exact: np.ndarray = labelled[self.targets[labelled, 0].imag == 0]
        return exact

    def sampling(self, rows: np.ndarray) -> np.ndarray | None:
        """Compute frequencies of rows that raise a small share of labelled rows.

        Parameters
        ----------
        rows : ndarray of int of shape (m,)
            Positions.

        Returns
        -------
        shares : ndarray of shape (m,) or None
            Relative to an even draw; None where enough rows have a label.
        """
        labelled = self.weights[rows, 0] > 0
        share = labelled.mean()
        if share >= _LABELLED_SHARE:
            return None
        others = (1 - _LABELLED_SHARE) / (1 - share)
        shares: np.ndarray = np.where(labelled, _LABELLED_SHARE / share, others)
        return shares


def rank_correlations(predictions: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compute the modulus of Spearman's correlation of each column with y.

    Parameters
    ----------
    predictions : ndarray of shape (n, t)
        Columns to compare.
    y : ndarray of shape (n,)
        Values to compare with.

    Returns
    -------
    sizes : ndarray of shape (t,)
        In [0, 1]; 0 where the column or y is constant.

    Examples
    --------
    >>> import numpy as np
    >>> from skgnn_mtl.gate import rank_correlations
    >>> rank_correlations(np.array([[3.0], [2.0], [0.0]]), np.array([1.0, 4.0, 9.0]))
    array([1.])
    """
    ranks = rankdata(np.column_stack([predictions, y]), axis=0)
    # Centred, so that cosines of the ranks are correlations.
    ranks -= ranks.mean(axis=0)
    norms = np.sqrt((ranks**2).sum(axis=0))
    products = abs(ranks[:, :-1].T @ ranks[:, -1])
    # NaN of a constant column becomes 0, because it tells nothing about the others.
    sizes: np.ndarray = np.nan_to_num(cosines(products, norms[:-1] * norms[-1]))
    return sizes


def fit_addition(
    model: GATEModel,
    task: NewTask,
    vectors: torch.Tensor,
    *,
    sources: list[int],
    init: int | None,
    terms: GATETerms,
    options: TrainingOptions,
    n_steps: int,
    device: torch.device,
    seed: int,
    train_encoder: bool,
    keeper: Keeper | None = None,
) -> tuple[GATEModel, TrainingResult]:
    """Train the modules of a new task.

    Parameters
    ----------
    model : GATEModel
        In evaluation mode; it is not changed.
    task : NewTask
        Labels to learn.
    vectors : Tensor of shape (n, width)
        Embeddings of its graphs, on the device.
    sources : list of int
        Sources to learn from.
    init : int or None
        Source to start from.
    terms : GATETerms
        The alignment terms.
    options : TrainingOptions
        Options of the training; the number of epochs follows from ``n_steps``.
    n_steps : int
        Length of the training.
    device : torch.device
        Device of the training.
    seed : int
        Seed of the order of the batches.
    train_encoder : bool
        Whether the training includes the encoder, without a cache.
    keeper : Keeper, optional
        Keeps the state of the training after each epoch.

    Returns
    -------
    whole : GATEModel
        What the new modules belong to: it shares the other modules with the model, or
        is a copy if the encoder was trained.
    result : TrainingResult
        Records of the training.
    """
    # A new model, so that the predictions of the given one do not change.
    whole = copy.deepcopy(model) if train_encoder else with_added(model, model.added)
    perturbations = terms.perturbations(vectors[task.rows])
    addition = AdditionModel(whole, sources, perturbations, init, train_encoder)
    # Rows repeat in an epoch, because an epoch of few rows would have one or two steps.
    n, size = len(task.rows), min(options.batch_size, len(task.rows))
    repeats = max(1, ceil(n_steps / _MOST_EPOCHS) * size // n)

    def dataset(rows: np.ndarray, repeats: int) -> Any:
        row_weights, sampling = task.row_weights[rows, None], task.sampling(rows)
        if train_encoder:
            return GraphDataset(
                GraphRows(task.graphs, np.tile(rows, repeats)),
                np.tile(task.targets[rows], (repeats, 1)),
                np.tile(task.weights[rows], (repeats, 1)),
                [np.tile(row_weights, (repeats, 1))],
                None if sampling is None else np.tile(sampling, repeats),
            )
        return CachedDataset(
            _evaluate_sources(addition, vectors[rows]),
            task.targets[rows],
            task.weights[rows],
            row_weights,
            repeats,
            sampling,
        )

    all_rows = None
    if task.valid_rows is not None and options.ends_with_all_rows:
        both = np.sort(np.concatenate([task.rows, task.valid_rows]))
        all_rows = partial(dataset, both, repeats)
    result = training.train(
        addition,
        AdditionStep(terms, [task.name]),
        dataset(task.rows, repeats),
        None if task.valid_rows is None else dataset(task.valid_rows, 1),
        task_names=[task.name],
        watched=np.arange(1),
        options=replace(
            options,
            batch_size=size,
            # As many epochs as give n_steps steps.
            max_epochs=ceil(n_steps / ceil(n * repeats / size)),
        ),
        device=device,
        generator=torch_stream(seed, "batches"),
        all_rows=all_rows,
        keeper=keeper,
    )
    # An interrupted task is not a part of the model.
    if not result.interrupted:
        whole.added.append(addition.new)
    return whole, result


def with_added(model: GATEModel, added: Iterable[torch.nn.Module]) -> GATEModel:
    """Make a model of the same modules, but for those of added tasks.

    Parameters
    ----------
    model : GATEModel
        It is not changed.
    added : iterable of Module
        Modules of the added tasks.

    Returns
    -------
    whole : GATEModel
        It shares all modules with the model and with ``added``.
    """
    whole = copy.copy(model)
    # A dict of its own, because copy shares that of the model.
    whole._modules = dict(model._modules)
    whole.added = torch.nn.ModuleList(added)
    return whole


def _evaluate_sources(model: AdditionModel, vectors: torch.Tensor) -> Embedded:
    """Evaluate the sources once, in pieces, and keep their outputs on the CPU."""
    with torch.no_grad():
        parts = [
            model.evaluate_sources(part).to("cpu") for part in vectors.split(_CHUNK)
        ]
    return Embedded.concatenate(parts)


def fit_frames(
    model: GATEModel,
    vectors: torch.Tensor,
    names: list[str],
    *,
    terms: GATETerms,
    options: TrainingOptions,
    n_warmup: int,
    device: torch.device,
    seed: int,
) -> TrainingResult:
    """Train the maps of a pretrained model's sources towards its own predictions.

    Parameters
    ----------
    model : GATEModel
        With pretrained heads; only the maps of its sources change.
    vectors : Tensor of shape (n, width)
        Embeddings of some graphs.
    names : list of str
        Names of the sources.
    terms : GATETerms
        The alignment terms.
    options : TrainingOptions
        Options of the training.
    n_warmup : int
        Steps until the terms reach their weights.
    device : torch.device
        Device of the training.
    seed : int
        Seed of the order of the batches.

    Returns
    -------
    result : TrainingResult
        Records of the training.
    """
    with torch.no_grad():
        # The predictions are the labels, so that every graph has one per source.
        outputs = model.predict_sources(vectors).cpu().numpy()
    data = CachedDataset(
        Embedded.bare(vectors.cpu()),
        outputs,
        np.ones_like(outputs),
        np.ones_like(outputs[:, :1]),
    )
    return training.train(
        model,
        GATEStep(terms, names, n_warmup),
        data,
        None,
        task_names=names,
        watched=np.arange(len(names)),
        options=options,
        device=device,
        generator=torch_stream(seed, "batches"),
    )
