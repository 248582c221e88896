"""Training the modules of one task beside frozen sources."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from skgnn_mtl.graphs import GraphArray, GraphDataset
from skgnn_mtl.training import (
    AdditionModel,
    AdditionStep,
    CachedDataset,
    Embedded,
    GATEModel,
    GATEStep,
    GATETerms,
    TrainingOptions,
    TrainingResult,
    train,
)

# Rows that frozen modules look at in one go, and epochs that a budget of steps makes.
_CHUNK = 1024
_MOST_EPOCHS = 100
# Of the rows in a batch so many have a label, on average and at least.
_LABELLED_SHARE = 0.25


@dataclass(frozen=True)
class NewTask:
    """Labels of a task to be added, in rows that train and rows that watch.

    Parameters
    ----------
    name : str
        Its name.
    graphs : GraphArray of shape (n,)
        The graphs, of which some may have no label.
    targets, weights : ndarray of shape (n, 1)
        Standardised labels, and their weights, 0 where one is missing.
    row_weights : ndarray of shape (n,)
        Weights of the rows.
    rows, valid_rows : ndarray of int, or None
        Positions.
    """

    name: str
    graphs: GraphArray
    targets: np.ndarray
    weights: np.ndarray
    row_weights: np.ndarray
    rows: np.ndarray
    valid_rows: np.ndarray | None

    def labelled(self) -> np.ndarray:
        """Positions of labelled training rows."""
        return self.rows[self.weights[self.rows, 0] > 0]

    def sampling(self, rows: np.ndarray) -> np.ndarray | None:
        """How often rows are drawn, where few labels would drown in the others.

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
        return np.where(labelled, _LABELLED_SHARE / share, others)


def rank_correlations(predictions: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Size of Spearman's correlation of each column with y; 0 where one is constant.

    Parameters
    ----------
    predictions : ndarray of shape (n, t)
        Columns to compare.
    y : ndarray of shape (n,)
        What with.

    Returns
    -------
    sizes : ndarray of shape (t,)
        In [0, 1].
    """
    ranks = rankdata(np.column_stack([predictions, y]), axis=0)
    ranks -= ranks.mean(axis=0)
    norms = np.sqrt((ranks**2).sum(axis=0))
    products = abs(ranks[:, :-1].T @ ranks[:, -1])
    return products / np.where(norms[:-1] * norms[-1] > 0, norms[:-1] * norms[-1], 1.0)


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
) -> tuple[GATEModel, TrainingResult]:
    """Train the modules of a new task.

    Parameters
    ----------
    model : GATEModel
        In evaluation mode; it is not changed.
    task : NewTask
        What to learn.
    vectors : Tensor of shape (n, width)
        Embeddings of its graphs, on the device.
    sources : list of int
        Sources to learn from.
    init : int or None
        Source to start from.
    terms : GATETerms
        The alignment terms.
    options : TrainingOptions
        How to train; its number of epochs follows from ``n_steps``.
    n_steps : int
        Length of the training.
    device : torch.device
        Where.
    seed : int
        Of the order of the batches.
    train_encoder : bool
        Whether the encoder is trained along, without a cache.

    Returns
    -------
    whole : GATEModel
        The model, or if its encoder was trained a copy, that the new modules belong to.
    result : TrainingResult
        The records.
    """
    whole = copy.deepcopy(model) if train_encoder else model
    perturbations = terms.perturbations(vectors[task.rows])
    addition = AdditionModel(whole, sources, perturbations, init, train_encoder)
    # An epoch of a scarce task would be a step or two: it meets its rows more often.
    n, size = len(task.rows), min(options.batch_size, len(task.rows))
    repeats = max(1, ceil(n_steps / _MOST_EPOCHS) * size // n)

    def dataset(rows: np.ndarray, repeats: int) -> Any:
        row_weights, sampling = task.row_weights[rows, None], task.sampling(rows)
        if train_encoder:
            return GraphDataset(
                task.graphs[np.tile(rows, repeats)],
                np.tile(task.targets[rows], (repeats, 1)),
                np.tile(task.weights[rows], (repeats, 1)),
                [np.tile(row_weights, (repeats, 1))],
                None if sampling is None else np.tile(sampling, repeats),
            )
        return CachedDataset(
            _look(addition, vectors[rows]),
            task.targets[rows],
            task.weights[rows],
            row_weights,
            repeats,
            sampling,
        )

    result = train(
        addition,
        AdditionStep(terms, [task.name]),
        dataset(task.rows, repeats),
        None if task.valid_rows is None else dataset(task.valid_rows, 1),
        task_names=[task.name],
        watched=np.arange(1),
        options=replace(
            options,
            batch_size=size,
            max_epochs=ceil(n_steps / ceil(n * repeats / size)),
        ),
        device=device,
        generator=torch.Generator().manual_seed(seed),
    )
    if not result.interrupted:
        whole.added.append(addition.new)
    return whole, result


def _look(model: AdditionModel, vectors: torch.Tensor) -> Embedded:
    """Evaluate the sources once, in pieces, and keep what they say on the CPU."""
    with torch.no_grad():
        parts = [model.look(part).to("cpu") for part in vectors.split(_CHUNK)]
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
        How to train.
    n_warmup : int
        Steps until the terms have their weights.
    device : torch.device
        Where.
    seed : int
        Of the order of the batches.

    Returns
    -------
    result : TrainingResult
        The records.
    """
    with torch.no_grad():
        outputs = model.predict_sources(vectors).cpu().numpy()
    data = CachedDataset(
        Embedded.bare(vectors.cpu()),
        outputs,
        np.ones_like(outputs),
        np.ones_like(outputs[:, :1]),
    )
    return train(
        model,
        GATEStep(terms, names, n_warmup),
        data,
        None,
        task_names=names,
        watched=np.arange(len(names)),
        options=options,
        device=device,
        generator=torch.Generator().manual_seed(seed),
    )
