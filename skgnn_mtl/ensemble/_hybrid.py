"""A network on graphs and a learner on descriptors, as one estimator."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from joblib import delayed
from sklearn.base import clone
from sklearn.utils import check_random_state

from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl.model_selection._fitting import (
    as_rows,
    fit_arguments,
    fit_member,
    seeded_clone,
    take,
)
from skgnn_mtl.model_selection._folds import Folds, require_partition, table_folds

from ._embeddings import embed, fit_and_embed, require_embedding
from ._jobs import Jobs
from ._members import mean_of, require_kind
from ._out_of_fold import gathered
from ._per_task import PerTask, PerTaskClassifier, PerTaskRegressor
from ._recommended import (
    default_learner,
    default_network,
    make_descriptors,
    require_labels_of_folds,
)
from ._tables import Table


class Hybrid(Table):
    """Abstract base: a network, descriptors, and one learner on them for each task."""

    network: Any
    learner: Any
    descriptors: Any
    embeddings: bool
    blend: bool
    cv: Any
    random_state: Any
    n_jobs: int | None
    checkpoint: str | PathLike[str] | None

    network_: Any
    learner_: Any
    descriptors_: Any
    oof_mse_: np.ndarray

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Table._parameter_constraints,
        "embeddings": ["boolean"],
        "blend": ["boolean"],
    }

    def _parts(self) -> Sequence[Any]:
        # Names of descriptors, and None, have no tags.
        return [part for part in (self.network, self.descriptors) if _has_fit(part)]

    def _fit_hybrid(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, classifier: bool
    ) -> None:
        self._validate_params()
        X, y = as_rows(X), as_rows(y)
        labels = self._read_y(X, y, sample_weight, groups)
        table = labels.exact
        jobs = Jobs(self, X=X, y=y, sample_weight=sample_weight, groups=groups)
        seeds = self._seeds(jobs)
        network = self._ready(self._make_network(X, seeds[0], classifier=classifier))
        # Before the fits, because the network is the expensive one.
        if self.embeddings:
            require_embedding(network)
        arguments = fit_arguments({"network": network}, sample_weight, groups)
        given = arguments["network"]
        descriptors = make_descriptors(self.descriptors, X, self.n_jobs)
        # Before the network, because a transformer that fails must do so early.
        columns = _as_table(descriptors.fit_transform(X), len(table))
        readable = np.isfinite(columns).any(axis=1)
        learner = self._ready(
            self._make_learner(
                labels.numbers[readable], groups, seeds[1], classifier=classifier
            )
        )
        # Text for a learner of bounds, which reads the others as numbers.
        learned, y = labels.of(learner), labels.of(network)
        self.descriptors_ = descriptors
        if not self.embeddings:  # first, because the network may take hours
            self.learner_ = self._fit_learner(
                learner, columns, learned, sample_weight, groups, jobs
            )
        self._forget("oof_mse_")
        fit = delayed(fit_member)(clone(network), X, y, None, given, "network")
        self.network_ = jobs.run_one("network", fit)
        if self.embeddings:
            folds = self._folds(X, y, table, groups, seeds[2])
            # Out of fold, because vectors of its own training rows tell a network's
            # labels.
            vectors, outputs = self._held_out(network, X, y, folds, given, jobs)
            self.oof_mse_ = self._mean_squares(table, outputs, sample_weight)
            columns = np.hstack([columns, vectors])
            self.learner_ = self._fit_learner(
                learner, columns, learned, sample_weight, groups, jobs
            )
        self._note_features(self.network_)
        jobs.finish()

    def _folds(
        self, X: Any, y: Any, table: np.ndarray, groups: Any, seed: int | None
    ) -> Folds:
        """Folds of the embeddings, each row in one."""
        presence = self._presence(table)
        folds = table_folds(self.cv, X, y, presence, groups, random_state=seed)
        require_partition(folds, len(table))
        return folds

    def _seeds(self, jobs: Jobs) -> list[int | None]:
        """Draw seeds of network, learner and folds; None without ``random_state``."""
        source = jobs.random_state(self.random_state)
        # None keeps the seeds that the user gave to the parts.
        if self.random_state is None:
            return [None, None, source]
        generator = check_random_state(source)
        return list(generator.randint(MAX_SEED, size=3).tolist())

    def _make_network(self, X: Any, seed: int | None, *, classifier: bool) -> Any:
        if self.network is None:
            return seeded_clone(default_network(X, classifier=classifier), seed)
        require_kind(self.network, classifier=classifier, name="network")
        return seeded_clone(self.network, seed)

    def _make_learner(
        self, table: np.ndarray, groups: Any, seed: int | None, *, classifier: bool
    ) -> PerTask:
        """Make the learner of the rows of y that have descriptors."""
        kind = PerTaskClassifier if classifier else PerTaskRegressor
        if self.learner is None:
            require_labels_of_folds(
                table, self.task_names_, self.cv, classifier=classifier
            )
            # Candidates and folds are fitted in parallel, because tasks may be few.
            choice = default_learner(
                classifier=classifier,
                cv=self.cv,
                groups=groups,
                random_state=seed,
                n_jobs=self.n_jobs,
            )
            return kind(choice)
        require_kind(self.learner, classifier=classifier, name="learner")
        learner = seeded_clone(self.learner, seed)
        if isinstance(learner, PerTask):
            return learner
        return kind(learner, n_jobs=self.n_jobs)

    def _fit_learner(
        self,
        learner: PerTask,
        columns: np.ndarray,
        y: Any,
        weight: Any,
        groups: Any,
        jobs: Jobs,
    ) -> PerTask:
        """Fit on the rows that have descriptors."""
        # A row of gaps alone could not be read; single gaps are the learner's matter.
        readable = np.isfinite(columns).any(axis=1)
        if not readable.any():
            raise ValueError("The descriptors are NaN in all rows of X.")
        rows = None if readable.all() else np.flatnonzero(readable)
        given = {"sample_weight": weight, "groups": groups}
        arguments = {k: np.asarray(v) for k, v in given.items() if v is not None}
        fit = delayed(fit_member)(
            learner, columns, take(y, rows), rows, arguments, "learner"
        )
        fitted: PerTask = jobs.run_one("learner", fit)
        return fitted

    def _held_out(
        self,
        network: Any,
        X: Any,
        y: Any,
        folds: Folds,
        arguments: dict[str, Any],
        jobs: Jobs,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embed and predict each training row by a network fitted without it."""
        reference = embed(self.network_, X)
        fits = [
            delayed(fit_and_embed)(
                clone(network), X, y, fold, arguments, reference, self._outputs
            )
            for fold in folds
        ]
        parts = jobs.run("fold", fits)
        table = gathered(parts, folds, (len(reference), parts[0].shape[1]))[0]
        width = reference.shape[1]
        return table[:, :width].astype(reference.dtype), table[:, width:]

    def _columns(self, X: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Make the inputs of the learner, and mark the rows that have some."""
        columns = _as_table(self.descriptors_.transform(X), n_rows)
        # As of the fit, because the parameter may have been set since then.
        if hasattr(self, "oof_mse_"):
            columns = np.hstack([columns, embed(self.network_, X)])
        return columns, np.isfinite(columns).any(axis=1)

    def _predict_table(self, X: Any) -> np.ndarray:
        X = as_rows(X)
        network = self._outputs(self.network_, X, "network")
        columns, readable = self._columns(X, len(network))
        learner = np.full_like(network, np.nan)
        if readable.any():
            rows = columns[readable]
            learner[readable] = self._outputs(self.learner_, rows, "learner")
        # A row that the network cannot read is not predicted by anything.
        learner[np.isnan(network)] = np.nan
        if not self.blend:
            return learner
        return mean_of(np.stack([network, learner]), ["network", "learner"])


def _has_fit(part: Any) -> bool:
    return hasattr(part, "fit") and not isinstance(part, type)


def _as_table(values: Any, n_rows: int) -> np.ndarray:
    """Read the output of the descriptors as a float table, infinite values as NaN."""
    if hasattr(values, "toarray"):
        values = values.toarray()
    # A copy, because infinite entries are replaced in place.
    table = np.array(values, dtype=np.float64)
    if table.ndim != 2 or len(table) != n_rows:
        raise ValueError(
            f"descriptors must make a table of {n_rows} rows, but made the shape "
            f"{table.shape}."
        )
    # NaN, because extra trees take it for a gap, but refuse an infinity.
    table[np.isinf(table)] = np.nan
    return table
