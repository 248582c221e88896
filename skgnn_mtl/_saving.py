"""Files of whole models: networks, ensembles, pipelines."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from skgnn_mtl import estimators
from skgnn_mtl._archive import Target, read_header
from skgnn_mtl.estimators._card import model_card
from skgnn_mtl.estimators._io import FORMAT


def save(model: Any, path: Target, *, description: str = "") -> None:
    """Write a fitted model into one file that is safe to load.

    Networks and featurizers of this package are kept as tensors and JSON, other
    estimators of scikit-learn by skops, an optional package. The file is a zip archive
    with a checksum and a text about the model, ``README.md``. A file at ``path`` is
    replaced as a whole: whatever happens, ``path`` holds the old or the new one.

    Parameters
    ----------
    model : estimator
        Network or ensemble of this package, or a pipeline.
    path : str, path-like or binary file
        The file.
    description : str, default=""
        What the model is for; stands in the text about it.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    ValueError
        If a part cannot be kept, such as a function or a class of your own; it is
        named. Pickle keeps those.
    ImportError
        If a part needs skops, and it is not installed.
    OSError
        If the file cannot be written, for instance because the disk is full.

    See Also
    --------
    load : Read the file.

    Examples
    --------
    >>> import io
    >>> from sklearn.pipeline import make_pipeline
    >>> import skgnn_mtl
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
    >>> model = make_pipeline(
    ...     SmilesToGraph(), MultiTaskGNNRegressor(max_epochs=1, random_state=0)
    ... ).fit(["CCO", "CC", "CCC"], [1.0, 2.0, 3.0])
    >>> file = io.BytesIO()  # or the name of a file
    >>> skgnn_mtl.save(model, file, description="Made for this example.")
    >>> _ = file.seek(0)
    >>> bool((skgnn_mtl.load(file).predict(["CO"]) == model.predict(["CO"])).all())
    True
    """
    check_is_fitted(model)
    if hasattr(model, "save"):
        model.save(path, description=description)
        return
    # Here, because the room of ensembles takes long to import.
    from skgnn_mtl.ensemble import _files

    _files.save(path, model, model_card(model, description))


def load(path: Target) -> Any:
    """Read what :func:`save` or the ``save`` of a model wrote.

    Never executes code from the file.

    Parameters
    ----------
    path : str, path-like or binary file
        The file.

    Returns
    -------
    model : estimator
        It predicts as the saved one. Estimators of scikit-learn need the version that
        they were saved with.

    Raises
    ------
    ValueError
        If the file is of something else, damaged, or of a newer version.
    ImportError
        If a part needs skops, and it is not installed.

    See Also
    --------
    save : Write the file.

    Examples
    --------
    >>> import io
    >>> import skgnn_mtl
    >>> from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
    >>> X = SmilesToGraph().transform(["CCO", "CC", "CCC"])
    >>> file = io.BytesIO()
    >>> MultiTaskGNNRegressor(max_epochs=1).fit(X, [1.0, 2.0, 3.0]).save(file)
    >>> _ = file.seek(0)
    >>> skgnn_mtl.load(file)
    MultiTaskGNNRegressor(max_epochs=1)
    """
    header = read_header(path, "model of skgnn_mtl")
    kind = str(header.get("kind"))
    if header["format"] == FORMAT:
        if kind not in estimators.__all__:
            raise ValueError(f"{path} holds a {kind}, which is unknown.")
        return getattr(estimators, kind).load(path)
    # Here, because the room of ensembles takes long to import.
    from skgnn_mtl.ensemble import _files

    return _files.load(path, kind)
