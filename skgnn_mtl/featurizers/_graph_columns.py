"""Tables with a column of molecules or crystals and columns of numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn import config_context
from sklearn.base import TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.utils import Tags
from sklearn.utils._indexing import _get_column_indices
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl._callbacks import SUPPORT, one_task
from skgnn_mtl._links import TEMPLATE, page_of
from skgnn_mtl.graphs import GraphArray

from ._smiles import SmilesToGraph

# What a feature reads: as in ColumnTransformer.
Columns = str | int | slice | Sequence[str] | Sequence[int] | Callable[[Any], Any]
Feature = tuple[str, Any, Columns]
LabelledFeature = tuple[str, Any, str | list[Any]]


class GraphColumns(  # type: ignore[call-arg]
    *SUPPORT,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    _BaseComposition,  # type: ignore[misc]
    auto_wrap_output_keys=None,
):
    """Read tables of graphs and numbers, such as molecules at some temperature.

    One column becomes graphs. Others pass through the transformers of scikit-learn's
    :class:`~sklearn.compose.ColumnTransformer` and stand beside each graph, as
    ``graph_features``.

    Parameters
    ----------
    graph : str or list of str, default="smiles"
        Name of the column of SMILES, of crystals, or of what the transformer reads.
        Several names, such as ``["solute", "solvent"]``, make one graph of the
        molecules of each row; see :class:`SmilesToGraph`.
    graph_transformer : SmilesToGraph, CifToGraph or alike, default=None
        Makes graphs of that column; None stands for ``SmilesToGraph()``.
    features : sequence of (name, transformer, columns), default=()
        The numbers, in the form of :class:`~sklearn.compose.ColumnTransformer`: a
        transformer may be "passthrough", columns may be names, positions or a function
        of the table.
    remainder : {"drop", "passthrough"}, default="drop"
        Whether other columns of numbers stand beside the graphs, too. This concerns all
        of ``X``: labels and other text columns do not belong there.

    Attributes
    ----------
    graph_transformer_ : transformer
        The fitted transformer of graphs.
    columns_ : ColumnTransformer
        The fitted transformers of the numbers.
    n_features_in_ : int
        Number of columns of the table of ``fit``.
    feature_names_in_ : ndarray of str of shape (n_columns,)
        Their names, if all are strings.

    Raises
    ------
    ValueError
        If the table lacks a column, or if a number becomes infinite.
    TypeError
        If ``X`` is not a table with named columns, or if a column is not numeric at
        the end.

    See Also
    --------
    skgnn_mtl.GraphArray.with_features : The same for numbers that are there already.

    Notes
    -----
    The features of the graphs have the names of ``columns_.get_feature_names_out()``.
    Rows belong together by position, whatever the index of a frame. A graph that is
    invalid keeps its numbers. Missing numbers stay missing unless a transformer fills
    them. Columns that were not used in ``fit`` may be missing or added later, and the
    order of columns does not matter.

    Parameters of the parts are reached as ``graph_transformer__n_jobs`` and
    ``scale__with_mean``, the latter by the name of the feature.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skgnn_mtl import GraphColumns
    >>> table = pd.DataFrame({"smiles": ["CCO", "O"], "temperature": [300.0, 350.0]})
    >>> columns = GraphColumns(features=[("scale", StandardScaler(), ["temperature"])])
    >>> X = columns.fit_transform(table)
    >>> X
    GraphArray(2 graphs, 4 nodes, 4 edges, 'ogb')
    >>> X.schema.graph_features, X.graph_features.ravel()
    (('scale__temperature',), array([-1.,  1.], dtype=float32))
    """

    # For the "?" of the representation in notebooks.
    _doc_link_module: ClassVar[str] = "skgnn_mtl"
    _doc_link_template: ClassVar[str] = TEMPLATE
    _doc_link_url_param_generator = page_of

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "graph": [str, list],
        "graph_transformer": [None, HasMethods(["fit", "transform"])],
        "features": [list, tuple],
        "remainder": [StrOptions({"drop", "passthrough"})],
    }

    def __init__(
        self,
        graph: str | list[str] = "smiles",
        graph_transformer: Any = None,
        features: Sequence[Feature] = (),
        *,
        remainder: str = "drop",
    ) -> None:
        self.graph = graph
        self.graph_transformer = graph_transformer
        self.features = features
        self.remainder = remainder

    # -- parameters of the parts ---------------------------------------------------

    @property
    def _steps(self) -> Any:
        """Names and transformers, which scikit-learn's compositions consist of."""
        if not _are_entries(self.features):
            return self.features  # which fit refuses
        return [(name, transformer) for name, transformer, _ in self.features]

    @_steps.setter
    def _steps(self, steps: list[tuple[str, Any]]) -> None:
        self.features = [
            (name, transformer, columns)
            for (name, transformer), (*_, columns) in zip(
                steps, self.features, strict=True
            )
        ]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """List the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether those of the parts are listed, too.

        Returns
        -------
        params : dict
            Name -> value.
        """
        params: dict[str, Any] = self._get_params("_steps", deep=deep)
        return params

    def set_params(self, **params: Any) -> Self:
        """Change parameters, also those of the parts.

        Parameters
        ----------
        **params : object
            Such as ``graph``, ``graph_transformer__n_jobs``, ``scale__with_mean``.

        Returns
        -------
        self : GraphColumns
            The same object.
        """
        self._set_params("_steps", **params)
        return self

    # -- work ----------------------------------------------------------------------

    @one_task
    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit the transformers of the numbers.

        Parameters
        ----------
        X : pandas or polars DataFrame of shape (n_samples, n_columns)
            The table.
        y : array-like, default=None
            Passed on to the transformers.

        Returns
        -------
        self : GraphColumns
            The fitted transformer.
        """
        self._learn(X, y)
        return self

    @one_task
    def fit_transform(self, X: Any, y: Any = None) -> GraphArray:
        """Fit the transformers of the numbers, and make graphs with numbers.

        The numbers are those of each transformer's ``fit_transform``, which may differ
        from ``fit`` and ``transform``: a target encoder codes each row without its own
        label.

        Parameters
        ----------
        X : pandas or polars DataFrame of shape (n_samples, n_columns)
            The table.
        y : array-like, default=None
            Passed on to the transformers.

        Returns
        -------
        graphs : GraphArray of shape (n_samples,)
            One graph per row, in order.
        """
        numbers = self._learn(X, y)
        return self._joined(X, numbers)

    def _learn(self, X: Any, y: Any) -> np.ndarray | None:
        """Fit all parts; give the numbers of the rows (n, k), None without any."""
        self._validate_params()
        if not _are_entries(self.features):
            raise ValueError(
                "features must list entries (name, transformer, columns), but is "
                f"{self.features!r}."
            )
        self._validate_names([name for name, _ in self._steps])
        features = self._features_by_label(X)
        columns = [label for *_, labels in features for label in _listed(labels)]
        if self.remainder == "passthrough":
            columns += _numeric_columns(X)
        columns = list(dict.fromkeys(columns))
        # By position in these columns, because labels may be integers, which
        # ColumnTransformer takes for positions.
        features = [
            (name, part, _positions(labels, columns)) for name, part, labels in features
        ]
        transformer = self.graph_transformer
        transformer = SmilesToGraph() if transformer is None else clone(transformer)
        graph_transformer = transformer.fit(X[self.graph], y)
        transformers = ColumnTransformer(
            features, remainder=self.remainder, sparse_threshold=0
        )
        numbers = None
        if columns:
            # As arrays, because rows of frames would be joined by label.
            with config_context(transform_output="default"):
                numbers = transformers.fit_transform(_with_nan(X[columns]), y)
            transformers.get_feature_names_out()  # complains if one has none
        self.graph_transformer_, self.columns_ = graph_transformer, transformers
        self._number_columns = columns
        self._note_features(list(X.columns))
        return numbers

    def _note_features(self, labels: list[Any]) -> None:
        self.__dict__.pop("feature_names_in_", None)  # an earlier fit may have left it
        self.n_features_in_ = len(labels)
        # Only strings are names, as everywhere in scikit-learn.
        if all(isinstance(label, str) for label in labels):
            self.feature_names_in_ = np.array(labels, dtype=object)

    def transform(self, X: Any) -> GraphArray:
        """Make graphs with numbers beside them.

        Parameters
        ----------
        X : pandas or polars DataFrame of shape (n_samples, n_columns)
            The table.

        Returns
        -------
        graphs : GraphArray of shape (n_samples,)
            One graph per row, in order.
        """
        check_is_fitted(self, "columns_")
        _check_columns(X, [*_listed(self.graph), *self._number_columns])
        numbers = None
        if self._number_columns:
            with config_context(transform_output="default"):
                numbers = self.columns_.transform(_with_nan(X[self._number_columns]))
        return self._joined(X, numbers)

    def _joined(self, X: Any, numbers: np.ndarray | None) -> GraphArray:
        """Make the graphs, and put the numbers (n, k) beside them."""
        graphs = self.graph_transformer_.transform(X[self.graph])
        if not isinstance(graphs, GraphArray):
            raise TypeError(
                "graph_transformer must make a GraphArray, but "
                f"{type(self.graph_transformer_).__name__} makes a "
                f"{type(graphs).__name__}."
            )
        if numbers is None:
            return graphs
        names = self.columns_.get_feature_names_out()
        return graphs.with_features(numbers, names.tolist())

    def _features_by_label(self, X: Any) -> list[LabelledFeature]:
        """Replace positions, slices and functions of columns by labels."""
        named = [c for *_, columns in self.features for c in _listed(columns)]
        wanted = [*_listed(self.graph), *(c for c in named if isinstance(c, str))]
        _check_columns(X, wanted)
        labels, features = list(X.columns), []
        for name, transformer, columns in self.features:
            columns = columns(X) if callable(columns) else columns
            if not isinstance(columns, str):  # which stands for a column of shape (n,)
                columns = [labels[k] for k in _get_column_indices(X, columns)]
            features.append((name, transformer, columns))
        return features

    def set_output(self, *, transform: str | None = None) -> Self:
        """Accept scikit-learn's choice of output, which does not concern graphs.

        Parameters
        ----------
        transform : str, default=None
            Ignored: no table can hold graphs, the output is always a ``GraphArray``.

        Returns
        -------
        self : GraphColumns
            The same object.
        """
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.allow_nan = True
        # No input dtype can be kept in graphs.
        tags.transformer_tags.preserves_dtype = []
        return tags


def _listed(columns: Any) -> list[Any]:
    return list(columns) if isinstance(columns, (list, tuple)) else [columns]


def _positions(labels: str | list[Any], columns: list[Any]) -> str | list[int]:
    # A name alone stays, because it stands for a column of shape (n,).
    return labels if isinstance(labels, str) else list(map(columns.index, labels))


def _are_entries(features: Any) -> bool:
    return isinstance(features, (list, tuple)) and all(
        isinstance(entry, (list, tuple)) and len(entry) == 3 for entry in features
    )


def _check_columns(X: Any, wanted: Sequence[str]) -> None:
    """Refuse what is not a table, or lacks a column."""
    if not (hasattr(type(X), "columns") and hasattr(type(X), "to_numpy")):
        sparse = "sparse, " * hasattr(type(X), "nnz")
        raise TypeError(
            "GraphColumns needs a table with named columns (a pandas or polars "
            f"DataFrame), but X is {sparse}of type {type(X).__name__}."
        )
    present = list(X.columns)
    missing = [name for name in wanted if name not in present]
    if missing:
        raise ValueError(
            f"X does not have the column {missing[0]!r} that GraphColumns reads; it "
            f"has {present}."
        )


def _with_nan(table: Any) -> Any:
    """Write missing numbers of pandas' own types as NaN, which transformers read."""
    types = {
        name: "float64"
        for name, dtype in zip(table.columns, table.dtypes, strict=True)
        if getattr(dtype, "_is_numeric", False)
    }
    return table.astype(types) if types else table


def _numeric_columns(X: Any) -> list[Any]:
    pairs = zip(X.columns, X.dtypes, strict=True)
    return [name for name, dtype in pairs if _is_numeric(dtype)]


def _is_numeric(dtype: Any) -> bool:
    if hasattr(dtype, "is_numeric"):  # polars
        return bool(dtype.is_numeric()) or str(dtype) == "Boolean"
    if getattr(dtype, "_is_numeric", False):  # pandas' own types
        return True
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf"
