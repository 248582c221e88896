"""Warnings name the line that called the package, and say a thing once."""

from __future__ import annotations

import ast
import inspect
import threading
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_estimators
import torch
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline

import skgnn_mtl
from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl._warn import warn, warnings_once
from skgnn_mtl.curvature import hessian_spectrum, top_eigenpairs
from skgnn_mtl.encoders import Pretrained
from skgnn_mtl.metrics import nan_r2_score, task_scorer
from skgnn_mtl.model_selection import (
    LabelPresenceKFold,
    ScaffoldKFold,
    compare_with_single_task,
)
from skgnn_mtl.weighting import BLO, RCGrad

PACKAGE = Path(skgnn_mtl.__file__).parent
SMILES = small_estimators.SMILES[:10]


@pytest.fixture(scope="module")
def X():
    return SmilesToGraph().transform(SMILES)


@pytest.fixture(scope="module")
def bad():
    """The same with the third graph invalid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SmilesToGraph(on_error="nan").transform([*SMILES[:2], "x", *SMILES[3:]])


@pytest.fixture
def y():
    y = np.column_stack([np.arange(10.0), np.arange(10.0)[::-1], np.arange(10.0) % 3])
    y[5:, 2] = np.nan
    return y


def small(cls=MultiTaskGNNRegressor, **changes):
    return small_estimators.small(cls, **{"max_epochs": 2, "device": "auto", **changes})


def fitted(X, y, **changes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return small(**changes).fit(X, y)


A = torch.diag(torch.linspace(1, 2, 50, dtype=torch.float64))
# Each gives what raises warnings, and a word of one of them. Lambdas are the caller.
CALLERS = {
    "featurizer": (
        "became invalid",
        lambda X, bad, y: SmilesToGraph(on_error="nan").transform(["C", "x"]),
    ),
    "pipeline": (
        "became invalid",
        lambda X, bad, y: make_pipeline(SmilesToGraph(on_error="nan"), small()).fit(
            ["x", *SMILES[1:]], y
        ),
    ),
    "invalid rows": ("left out of fit", lambda X, bad, y: small().fit(bad, y)),
    "invalid rows of a chunk": (
        "left out of fit",
        lambda X, bad, y: small().partial_fit(bad, y),
    ),
    "invalid rows of a pretrainer": (
        "left out of fit",
        lambda X, bad, y: small(GNNPretrainer).fit(bad),
    ),
    "stages": (
        "left out of fit",
        lambda X, bad, y: small(
            GATERegressor, target_tasks=[1, 2], add_task_steps=2
        ).fit(bad, y),
    ),
    "device": ("is not there", lambda X, bad, y: small(device="cuda:7").fit(X, y)),
    "device of stages": (
        "is not there",
        lambda X, bad, y: small(
            GATERegressor, device="hpu", target_tasks=2, add_task_steps=2
        ).fit(X, y),
    ),
    "rcgrad": (
        "all tasks are pooled",
        lambda X, bad, y: small(task_weighting="rcgrad").fit(X, y),
    ),
    "blo": (
        "all tasks are pooled",
        lambda X, bad, y: small(task_weighting=BLO(RCGrad())).fit(X, y),
    ),
    "one class": (
        "one class only",
        lambda X, bad, y: small(MultiTaskGNNClassifier).fit(X, np.zeros((10, 2))),
    ),
    "weights": (
        "has weights",
        lambda X, bad, y: MultiTaskGNNRegressor(
            fitted(X, y).module_.encoder, max_epochs=1
        ).fit(X, y),
    ),
    "frozen": (
        "are frozen",
        lambda X, bad, y: MultiTaskGNNRegressor(
            Pretrained(fitted(X, y).module_.encoder, freeze=True),
            head_hidden_dims=(),
            auxiliary_tasks=["infomax"],
            max_epochs=1,
        ).fit(X, y),
    ),
    "scales": (
        "far from 1",
        lambda X, bad, y: small(
            task_weighting="gns", target_tasks=[0], normalize_targets=False
        ).fit(X, 1000 * y),
    ),
    "encoder of an addition": (
        "changed the predictions",
        lambda X, bad, y: fitted(X, y, cls=GATERegressor, add_task_steps=2).add_task(
            X, y[:, 0], name="new", train_encoder=True
        ),
    ),
    "score": (
        "is undefined",
        lambda X, bad, y: nan_r2_score(np.c_[y[:, 0], np.zeros(10)], y[:, :2]),
    ),
    "score of a model": (
        "have no prediction",
        lambda X, bad, y: fitted(bad, y).score(bad, y),
    ),
    "scorer": (
        "is NaN",
        lambda X, bad, y: task_scorer("r2", 1)(fitted(X, y), X, 0 * y),
    ),
    "splitter": (
        "fewer labels than",
        lambda X, bad, y: next(LabelPresenceKFold(7).split(X, y)),
    ),
    "groups": (
        "groups parameter is ignored",
        lambda X, bad, y: next(ScaffoldKFold(2).split(X, y, np.arange(10))),
    ),
    "search": (
        "is not there",
        lambda X, bad, y: GridSearchCV(
            small(device="cuda:7"), {"lr": [1e-3]}, cv=2
        ).fit(X, y[:, :2]),
    ),
    "cross-validation": (
        "left out of fit",
        lambda X, bad, y: cross_validate(small(), bad, y[:, :2], cv=2),
    ),
    "comparison": (
        "is not there",
        lambda X, bad, y: compare_with_single_task(
            small(device="cuda:7"), X, y[:, :2], cv=2, random_states=[0]
        ),
    ),
    "spectrum": (
        "have not converged",
        lambda X, bad, y: hessian_spectrum(
            fitted(X, y), X, y, n_lanczos=4, n_probes=2, random_state=0
        ),
    ),
    "spectrum of a fit": (
        "have not converged",
        lambda X, bad, y: small(hessian_spectrum={"n_lanczos": 4, "n_probes": 2}).fit(
            X, y
        ),
    ),
    "eigenpairs": (
        "have not converged",
        lambda X, bad, y: top_eigenpairs(lambda V: A @ V, A.sum(0), 5, max_steps=6),
    ),
}
# What scikit-learn calls once for each candidate or fold is said once for each.
SEVERAL = {"search", "cross-validation"}


@pytest.mark.parametrize("name", CALLERS)
def test_a_warning_names_the_callers_line_once(name, X, bad, y):
    word, caller = CALLERS[name]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        caller(X, bad, y)
    lines, first = inspect.getsourcelines(caller)
    here = range(first, first + len(lines))
    told = [w for w in seen if word in str(w.message)]
    assert told
    for w in seen:
        assert (w.filename, w.lineno in here) == (__file__, True), w
    messages = [str(w.message) for w in told]
    if name not in SEVERAL:
        assert len(messages) == len(set(messages)) == 1


def file_named(modules) -> str:
    """File that a warning names whose callers, innermost first, are these modules."""

    def function():
        warn("x")

    own = {"warn": warn, "__name__": "skgnn_mtl"}
    function = type(function)(function.__code__, own)
    for name in modules:
        scope = {"function": function, "__name__": name}
        if name.startswith("-m "):
            spec = SimpleNamespace(name=name.removeprefix("-m "))
            scope |= {"__name__": "__main__", "__spec__": spec}
        exec(compile("def call():\n    function()", f"<{name}>", "exec"), scope)
        function = scope["call"]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        thread = threading.Thread(target=function)  # no frame of this file
        thread.start()
        thread.join()
    (one,) = seen
    return Path(one.filename).name


@pytest.mark.parametrize(
    ("modules", "expected"),
    [
        (["mine"], "<mine>"),
        (["sklearn.base", "skorch.net", "joblib", "torch.nn", "mine"], "<mine>"),
        (
            ["skgnn_mtl.x", "sklearn", "skgnn_mtl.y", "__main__", "sklearn"],
            "<__main__>",
        ),
        (["mine", "yours"], "<mine>"),
        (["sklearn_mine"], "<sklearn_mine>"),
        (["sklearn", "-m mine.script"], "<-m mine.script>"),
        # What starts workers and threads has no line of the user's.
        (["sklearn.x", "joblib.y", "concurrent.futures", "-m joblib.z"], "<sklearn.x>"),
        (["sklearn.x", "multiprocessing.process", "runpy"], "<sklearn.x>"),
        (["skgnn_mtl.x"], "threading.py"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_first_line_outside_the_tools_is_named(modules, expected):
    assert file_named(modules) == expected


def test_a_fit_that_a_thread_begins_with_names_the_thread(bad, y):
    model = small(max_epochs=1)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        thread = threading.Thread(target=model.fit, args=(bad, y))
        thread.start()
        thread.join()
    assert [Path(w.filename).name for w in seen] == ["threading.py"]


def test_a_message_is_said_once_in_a_context_and_again_in_the_next():
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for _ in range(2):
            with warnings_once():
                warn("a")
                with warnings_once():
                    warn("a")
                    warn("b")
                    warn("a", DeprecationWarning)
                warn("b")
        warn("c")
        warn("c")
    expected = ["a", "b", "a"] * 2 + ["c", "c"]
    assert [str(w.message) for w in seen] == expected


def test_an_error_ends_a_context():
    with pytest.raises(RuntimeError), warnings_once():
        raise RuntimeError
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warn("a")
        warn("a")
    assert len(seen) == 2


@pytest.mark.parametrize(
    "path",
    [path for path in PACKAGE.rglob("*.py") if path.name != "_warn.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_warnings_have_one_home(path):
    found = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("warn", "warn_explicit")
        and getattr(node.value, "id", "") == "warnings"
    ]
    assert not found, "call skgnn_mtl._warn.warn, which finds the caller's line"
