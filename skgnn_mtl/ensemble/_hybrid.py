"""A network on graphs and a learner on descriptors, as one estimator."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from os import PathLike
from typing import Any, ClassVar, Self

import numpy as np
from joblib import delayed
from sklearn.base import clone
from sklearn.ensemble._base import _set_random_states
from sklearn.utils import check_random_state

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl._seeds import MAX_SEED
from skgnn_mtl.model_selection._fitting import as_rows, fit_arguments, fit_member, take
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
from ._tables import ClassTable, Table
from ._widths import Mixture, MixtureTable, moments_of, takes_return_std

_CURE = (
    "Use a network and a learner that accept return_std, such as the default ones, or "
    "ConformalRegressor."
)


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
        "embeddings": ["boolean"],
        "blend": ["boolean"],
        "n_jobs": [None, Integral],
        "checkpoint": [None, str, PathLike],
        "random_state": ["random_state"],
    }

    def _parts(self) -> Sequence[Any]:
        # Names of descriptors, and None, have no tags.
        return [part for part in (self.network, self.descriptors) if _has_fit(part)]

    def _fit_hybrid(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, classifier: bool
    ) -> None:
        self._validate_params()
        X, y = as_rows(X), as_rows(y)
        table = self._read_y(X, y, sample_weight)
        jobs = Jobs(self, X=X, y=y, sample_weight=sample_weight, groups=groups)
        seeds = self._seeds(jobs)
        network = self._make_network(X, seeds[0], classifier=classifier)
        # Before the fits, because the network is the expensive one.
        if self.embeddings:
            require_embedding(network)
        arguments = fit_arguments({"network": network}, sample_weight, groups)
        given = arguments["network"]
        descriptors = make_descriptors(self.descriptors, X, self.n_jobs)
        # Before the network, because a transformer that fails must do so early.
        columns = _as_table(descriptors.fit_transform(X), len(table))
        readable = np.isfinite(columns).any(axis=1)
        learner = self._make_learner(
            table[readable], groups, seeds[1], classifier=classifier
        )
        self.descriptors_ = descriptors
        if not self.embeddings:  # first, because the network may take hours
            self.learner_ = self._fit_learner(
                learner, columns, y, sample_weight, groups, jobs
            )
        self.__dict__.pop("oof_mse_", None)  # an earlier fit may have left it
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
                learner, columns, y, sample_weight, groups, jobs
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
            network = default_network(X, classifier=classifier)
        else:
            require_kind(self.network, classifier=classifier, name="network")
            network = clone(self.network)
        if seed is not None:
            # A private function, because scikit-learn has no public one that seeds
            # nested parts.
            _set_random_states(network, np.random.RandomState(seed))
        return network

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
        learner = clone(self.learner)
        if seed is not None:
            _set_random_states(learner, np.random.RandomState(seed))
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
        if self.embeddings:
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


class HybridRegressor(MixtureTable, Hybrid):
    """Mean of a network on graphs and a learner on descriptors.

    Without arguments it is the recommended model for a table of properties. The errors
    of both sides have little to do with each other, so that their mean has often a
    smaller error than the better one.

    Parameters
    ----------
    network : estimator or Pipeline, default=None
        Regressor of the whole table, which takes X as it is. None is a D-MPNN on
        SMILES (``SmilesToGraph("chemprop")``, ``DMPNN(width=300)``,
        ``readout=Sum(norm=20)``, ``head_hidden_dims=(300,)``,
        ``lr_schedule="warmup_cosine"``), or ``CGCNN()`` on crystals
        (``CifToGraph()``, ``head_hidden_dims=(64,)``, ``lr_schedule="warmup_cosine"``,
        ``loss="absolute_error"``).
    learner : estimator, default=None
        Regressor of one target on descriptors, which is cloned for each task, or a
        :class:`PerTaskRegressor`. None is the better of ``ExtraTreesRegressor`` and
        ``HistGradientBoostingRegressor`` for each task, by the squared error out of
        fold.
    descriptors : None, "rdkit2d", "composition" or transformer, default=None
        Makes a table of numbers of X. "rdkit2d" are the descriptors of RDKit and 1,024
        counts of Morgan fragments of radius 2
        (:class:`~skgnn_mtl.featurizers.SmilesToDescriptors`). "composition" are
        statistics of the elements, density and volume per atom of crystals
        (:class:`~skgnn_mtl.featurizers.CifToDescriptors`). None is the first for
        molecules and the second for crystals.
    embeddings : bool, default=False
        Whether the learner is given the network's ``embed(X)``, too. Those of the
        training rows come from networks that were fitted without them, one per fold.
    blend : bool, default=True
        Whether to predict the mean of network and learner; else the learner alone.
    cv : int or splitter, default=5
        Folds for the choice of the default learner, on the labelled rows of each task,
        and for the embeddings. A number stands for shuffled folds, or whole groups.
    random_state : int, RandomState instance or None, default=None
        Seed of network, learner and folds. If it is given, parameters named
        ``random_state`` of network and learner are set.
    n_jobs : int, default=None
        Number of fits, or chunks of molecules, at a time.
    checkpoint : path or None, default=None
        Folder that keeps members and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    network_ : estimator
        The fitted network.
    learner_ : PerTaskRegressor
        The fitted learners.
    descriptors_ : transformer
        The fitted transformer.
    oof_mse_ : ndarray of shape (t,)
        With ``embeddings=True``: mean squared error of the network out of fold.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the network counts them.
    feature_names_in_ : ndarray of str
        Column names of X, if the network has them.

    See Also
    --------
    BlendRegressor : Members of any kinds, with learned weights.

    Notes
    -----
    X are SMILES, graphs that have their SMILES as identifiers, CIF texts, paths and
    structures, or graphs made by ``CifToGraph(descriptors="composition")``. The first
    row that is not missing, or the schema of graphs, tells molecules from crystals. A
    row that cannot be read is left out of the fit and is predicted as NaN, with a
    warning.

    The embedding spaces of two networks differ. Therefore the vectors of a fold's
    network are mapped to those of the final network, by a ridge regression on the rows
    that both were fitted on.

    The variance is that of the mixture of both sides, as in :class:`BlendRegressor`.
    The variance of the network is its own, if it accepts ``return_std``, else
    ``oof_mse_``. That of the learner is its own, or that of the default learner's
    squared error out of fold. If one side has none, as the default network without
    embeddings, ``return_std`` is refused.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from skgnn_mtl.ensemble import HybridRegressor
    >>> from skgnn_mtl.featurizers import SmilesToDescriptors
    >>> smiles = ["C", "CC", "CCC", "CCCC", "CCO", "CCCO", "CCN", "CCCN"]
    >>> y = np.array([[-164.0, np.nan], [-89, 1.8], [-42, 2.4], [-1, 2.9], [78, -0.3],
    ...               [97, 0.3], [17, -0.1], [48, 0.5]])
    >>> model = HybridRegressor(  # small parts, for the example
    ...     learner=Ridge(),
    ...     descriptors=SmilesToDescriptors(["MolLogP", "TPSA", "MolWt"], 0),
    ...     random_state=0,
    ... )
    >>> model.fit(smiles, y).predict(["CCCCO"]).shape
    (1, 2)
    """

    def __init__(
        self,
        network: Any = None,
        learner: Any = None,
        *,
        descriptors: Any = None,
        embeddings: bool = False,
        blend: bool = True,
        cv: Any = 5,
        random_state: Any = None,
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.network = network
        self.learner = learner
        self.descriptors = descriptors
        self.embeddings = embeddings
        self.blend = blend
        self.cv = cv
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    @fit_of_members(lambda hybrid, y: None if hybrid.embeddings else 2)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit the network and the learners.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            SMILES, CIF, graphs, or what network and descriptors take.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels, NaN where missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, where network and learner take them.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which all folds keep together.

        Returns
        -------
        self : HybridRegressor
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has fewer labels than folds, or no row has descriptors.
        FloatingPointError
            If the training of the network diverges.
        """
        self._fit_hybrid(X, y, sample_weight, groups, classifier=False)
        return self

    def _takes_return_std(self) -> bool:
        learner = self.learner is None or takes_return_std(self.learner)
        default = self.network is None
        network = self.embeddings or default or takes_return_std(self.network)
        # Both or none, because a width beside an unknown one is refused.
        return learner == network if self.blend else learner

    def _mixture(self, X: Any) -> Mixture:
        X = as_rows(X)
        network, noise = moments_of(self.network_, X, self.n_tasks_, "network")
        if noise is None:
            noise = getattr(self, "oof_mse_", None)
        learner, variance = self._learner_moments(X, network)
        if not self.blend:
            return Mixture(learner[None], [variance], ["learner"], _CURE)
        return Mixture(
            np.stack([network, learner]),
            [noise, variance],
            ["network", "learner"],
            _CURE,
        )

    def _learner_moments(
        self, X: Any, network: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Predict by the learner; its variance is None if it is not known."""
        columns, readable = self._columns(X, len(network))
        mean, variance = np.full((2, *network.shape), np.nan)
        if not readable.any():
            return mean, variance
        mean[readable], found = moments_of(
            self.learner_, columns[readable], self.n_tasks_, "learner"
        )
        # A row that the network cannot read is not predicted by anything.
        mean[np.isnan(network)] = np.nan
        if found is None:
            return mean, None
        variance[readable] = found
        return mean, variance


class HybridClassifier(ClassTable, Hybrid):
    """Mean probability of a network on graphs and a learner on descriptors.

    Without arguments it is the recommended model for a table of classes.

    Parameters
    ----------
    network : estimator or Pipeline, default=None
        Classifier of the whole table with ``predict_proba``, which takes X as it is.
        None is the network of :class:`HybridRegressor`, as a classifier.
    learner : estimator, default=None
        Classifier of one target on descriptors, which is cloned for each task, or a
        :class:`PerTaskClassifier`. None is the better of ``ExtraTreesClassifier`` and
        ``HistGradientBoostingClassifier`` for each task, by the squared error of
        probabilities (Brier score) out of fold.
    descriptors : None, "rdkit2d", "composition" or transformer, default=None
        Makes a table of numbers of X, as in :class:`HybridRegressor`.
    embeddings : bool, default=False
        Whether the learner is given the network's ``embed(X)``, too. Those of the
        training rows come from networks that were fitted without them, one per fold.
    blend : bool, default=True
        Whether to predict the mean of network and learner; else the learner alone.
    cv : int or splitter, default=5
        Folds for the choice of the default learner, on the labelled rows of each task,
        and for the embeddings. A number stands for shuffled folds, or whole groups.
    random_state : int, RandomState instance or None, default=None
        Seed of network, learner and folds. If it is given, parameters named
        ``random_state`` of network and learner are set.
    n_jobs : int, default=None
        Number of fits, or chunks of molecules, at a time.
    checkpoint : path or None, default=None
        Folder that keeps members and networks in training, so that the next ``fit``
        with the same data and parameters goes on from it; see :ref:`checkpoints`.

    Attributes
    ----------
    network_ : estimator
        The fitted network.
    learner_ : PerTaskClassifier
        The fitted learners.
    descriptors_ : transformer
        The fitted transformer.
    oof_mse_ : ndarray of shape (t,)
        With ``embeddings=True``: mean squared error (Brier score) of the network out of
        fold.
    classes_ : ndarray of shape (n_classes,), or a list of them
        Classes in sorted order; a list with one array per task for a two-dimensional
        ``y``.
    task_names_ : list of str
        Column names of ``y``, or task_0, task_1, ...
    n_tasks_ : int
        Number of tasks.
    n_features_in_ : int
        Number of columns of X, if the network counts them.
    feature_names_in_ : ndarray of str
        Column names of X, if the network has them.

    See Also
    --------
    HybridRegressor : The same for numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skgnn_mtl.ensemble import HybridClassifier
    >>> from skgnn_mtl.featurizers import SmilesToDescriptors
    >>> smiles = ["C", "CC", "CCC", "CCCC", "CCO", "CCCO", "CCN", "CCCN"]
    >>> y = np.array([[0, 1], [0, np.nan], [0, 1], [0, 1], [1, 0], [1, 0], [1, 0],
    ...               [np.nan, 0]])
    >>> model = HybridClassifier(  # small parts, for the example
    ...     learner=LogisticRegression(),
    ...     descriptors=SmilesToDescriptors(["MolLogP", "TPSA"], 0),
    ...     random_state=0,
    ... )
    >>> model.fit(smiles, y).predict(["CCCCC", "CCCCO"])
    array([[0., 1.],
           [1., 0.]])
    """

    def __init__(
        self,
        network: Any = None,
        learner: Any = None,
        *,
        descriptors: Any = None,
        embeddings: bool = False,
        blend: bool = True,
        cv: Any = 5,
        random_state: Any = None,
        n_jobs: int | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> None:
        self.network = network
        self.learner = learner
        self.descriptors = descriptors
        self.embeddings = embeddings
        self.blend = blend
        self.cv = cv
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    @fit_of_members(lambda hybrid, y: None if hybrid.embeddings else 2)
    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, groups: Any = None
    ) -> Self:
        """Fit the network and the learners.

        Parameters
        ----------
        X : array-like of shape (n_samples,)
            SMILES, CIF, graphs, or what network and descriptors take.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            Labels of the classes of each task; NaN or None where missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, where network and learner take them.
        groups : array-like of shape (n_samples,), default=None
            Groups of the rows, which all folds keep together.

        Returns
        -------
        self : HybridClassifier
            The fitted estimator.

        Raises
        ------
        ValueError
            If a task has fewer labels than folds, or no row has descriptors.
        FloatingPointError
            If the training of the network diverges.
        """
        self._fit_hybrid(X, y, sample_weight, groups, classifier=True)
        return self


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
