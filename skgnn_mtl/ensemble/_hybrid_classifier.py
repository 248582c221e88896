"""A network on graphs and a learner on descriptors, for classes."""

from __future__ import annotations

from os import PathLike
from typing import Any, Self

from skgnn_mtl._callbacks import fit_of_members

from ._hybrid import Hybrid
from ._tables import ClassTable


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
