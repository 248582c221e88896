"""Every backend of joblib gives the numbers of one process, and sends graphs once."""

import os
import warnings
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec

import numpy as np
import pytest
from crystals import CESIUM_CHLORIDE, QUARTZ
from joblib import Parallel, delayed, parallel_config
from sklearn.model_selection import GridSearchCV, cross_validate

from skgnn_mtl import CifToGraph, GraphArray, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.ensemble import EnsembleRegressor
from skgnn_mtl.featurizers import _base

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the backends themselves

SMILES = ["C" * (1 + k % 7) + "NO"[k % 2] + "C" * (k % 5) for k in range(30)]
Y = np.random.default_rng(0).normal(size=(30, 2))
Y[::4, 1] = np.nan
# One thread, because sums of several threads have another order.
MODEL = MultiTaskGNNRegressor(
    "gcn", max_epochs=2, batch_size=8, random_state=0, n_threads=1
)


@contextmanager
def dask():
    from dask.distributed import Client

    # Processes, because only they show what has to travel.
    with Client(
        n_workers=2, threads_per_worker=1, dashboard_address=None, processes=True
    ):
        yield


@contextmanager
def ray():
    import ray
    from ray.util.joblib import register_ray

    # No look at the network, and no password on the disk of who runs the tests.
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    register_ray()
    try:
        yield
    finally:
        ray.shutdown()


def needs(package):
    reason = f"{package} is not installed"
    return pytest.mark.skipif(find_spec(package) is None, reason=reason)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("multiprocessing", nullcontext), id="multiprocessing"),
        pytest.param(("dask", dask), id="dask", marks=needs("distributed")),
        pytest.param(("ray", ray), id="ray", marks=needs("ray")),
    ],
)
def backend(request):
    """Name of a backend with two workers."""
    name, cluster = request.param
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with cluster():
            yield name


@pytest.fixture(scope="module")
def graphs():
    return SmilesToGraph().transform(SMILES)


def is_mapped(X, threshold):
    columns = (X.node_codes, X.edge_index)
    return [isinstance(c.base, np.memmap) for c in columns if c.nbytes > threshold]


def test_processes_of_one_machine_map_the_graphs(graphs):
    # First of all, because ray takes the place of this backend while it runs.
    threshold = 1000
    assert not any(is_mapped(graphs, threshold))
    with parallel_config("multiprocessing", max_nbytes=threshold):
        found = Parallel(n_jobs=2)(delayed(is_mapped)(graphs, threshold) for _ in "ab")
    assert found == [[True, True]] * 2


def test_featurizing(backend, graphs, monkeypatch):
    monkeypatch.setattr(_base, "_CHUNK", 10)
    cifs = [QUARTZ, CESIUM_CHLORIDE] * 6
    with parallel_config(backend):
        assert SmilesToGraph(n_jobs=2).transform(SMILES) == graphs
        found = CifToGraph(n_jobs=2).transform(cifs)
        with pytest.raises(ValueError, match=r"X\[30\] = 'C1CC'"):
            SmilesToGraph(n_jobs=2).transform([*SMILES, "C1CC", *SMILES, None])
    assert found == CifToGraph().transform(cifs)


def test_searches_and_cross_validation(backend, graphs):
    search = GridSearchCV(MODEL, {"lr": [1e-3, 1e-2]}, cv=2)
    wanted = search.fit(graphs, Y).cv_results_["mean_test_score"]
    scores = cross_validate(MODEL, graphs, Y, cv=2)["test_score"]
    with parallel_config(backend):
        search.set_params(n_jobs=2).fit(graphs, Y)
        found = cross_validate(MODEL, graphs, Y, cv=2, n_jobs=2)["test_score"]
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], wanted)
    np.testing.assert_array_equal(found, scores)


def test_ensembles(backend, graphs):
    model = EnsembleRegressor(MODEL, n_members=2, random_state=0)
    wanted = model.fit(graphs, Y).predict(graphs)
    with parallel_config(backend):
        model.set_params(n_jobs=2).fit(graphs, Y)
    np.testing.assert_array_equal(model.predict(graphs), wanted)


def test_graphs_travel_once(backend, graphs, monkeypatch):
    """All tasks of a search share one copy."""
    if backend != "dask":
        pytest.skip("multiprocessing maps files; ray sends all arguments of each task")
    sent, plain = [], GraphArray.__getstate__

    def counted(self):
        sent.append(len(self))
        return plain(self)

    monkeypatch.setattr(GraphArray, "__getstate__", counted)
    search = GridSearchCV(MODEL, {"lr": [1e-3, 1e-2, 1e-1]}, cv=2, n_jobs=2)
    with parallel_config(backend):
        search.fit(graphs, Y)
    assert sent == [len(graphs)]
