"""Links from the pictures of estimators in notebooks to their pages."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

# A test compares it with the address of the documentation in pyproject.toml.
TEMPLATE = "https://skgnn-mtl.example/docs/generated/{page}.html"


def page_of(estimator: Any) -> dict[str, str]:
    """Name the page of an estimator, as scikit-learn asks for it.

    Parameters
    ----------
    estimator : estimator
        Instance of a class of this package.

    Returns
    -------
    fields : dict
        Of the template.
    """
    import skgnn_mtl

    cls = type(estimator)
    if cls.__name__ in skgnn_mtl.__all__:
        return {"page": f"skgnn_mtl.{cls.__name__}"}
    public = takewhile(lambda part: not part.startswith("_"), cls.__module__.split("."))
    return {"page": ".".join((*public, cls.__name__))}
