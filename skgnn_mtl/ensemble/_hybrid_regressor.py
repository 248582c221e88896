"""A network on graphs and a learner on descriptors, for numbers."""

from __future__ import annotations

from os import PathLike
from typing import Any, Self

import numpy as np

from skgnn_mtl._callbacks import fit_of_members
from skgnn_mtl.model_selection._fitting import as_rows

from ._hybrid import Hybrid
from ._widths import Mixture, MixtureTable, moments_of, takes_return_std

_CURE = (
    "Use a network and a learner that accept return_std, such as the default ones, or "
    "ConformalRegressor."
)


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
    target_transform : None, "log", "log10", transformer or dict, default=None
        Transform of the labels of each task, as in :class:`PerTaskRegressor`. Network
        and learner learn transformed labels. Mean and width are those of transformed
        predictions, which are then brought back into the units of ``y``.
    censored : {"raise", "drop", "bound"}, default="raise"
        What a label that is only a bound, such as ">100", does: it is an error, it is
        left out, or it counts. "bound" gives the network a one-sided loss of such
        labels. A learner without a parameter ``censored``, such as trees, learns the
        number of the bound.
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
    target_transforms_ : TargetTransforms
        The fitted transforms.
    oof_mse_ : ndarray of shape (t,)
        With ``embeddings=True``: mean squared error of the network out of fold, of
        exact labels, which are transformed if there is a transform.
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
        target_transform: Any = None,
        censored: str = "raise",
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
        self.target_transform = target_transform
        self.censored = censored
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
