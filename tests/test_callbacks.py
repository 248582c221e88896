"""scikit-learn's callbacks: one task per epoch, nested in what is around a network."""

import sys
from importlib.util import find_spec, module_from_spec

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
    _callbacks,
)
from skgnn_mtl.ensemble import (
    BlendRegressor,
    ConformalRegressor,
    EnsembleRegressor,
    HybridRegressor,
    PerTaskRegressor,
)
from skgnn_mtl.metrics import nan_r2_scorer

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")

SMILES = [f"C{'C' * k}{end}" for k in range(10) for end in "ON"]
Y = np.array([[len(s), s.count("O")] for s in SMILES], dtype=float)
Y[3, 0] = np.nan


class Recorder:
    """Writes down what it is told; on all levels."""

    max_propagation_depth = None

    def __init__(self):
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append(("begin", *self.name(context)))

    def on_fit_task_end(self, estimator, context):
        self.events.append(("end", *self.name(context)))

    @staticmethod
    def name(context):
        return context.estimator_name, context.task_name, context.task_id

    def tree(self):
        """Tasks by depth; every task that begins ends, in the order of a tree."""
        assert self.events[0] == "setup"
        assert self.events[-1] == "teardown"
        path, tasks = [], []
        for kind, *task in self.events[1:-1]:
            if kind == "begin":
                tasks.append((len(path), *task[:2]))
                path.append(task)
            else:
                assert path.pop() == task
        assert path == []
        return tasks


def network(**options):
    return MultiTaskGNNRegressor(
        **{"max_epochs": 2, "head_hidden_dims": (), "random_state": 0, **options}
    )


def epochs(depth, name="MultiTaskGNNRegressor", n=2):
    return [(depth, name, "fit"), *[(depth + 1, name, "epoch")] * n]


def test_epochs_are_tasks_of_the_fit():
    recorder = Recorder()
    graphs = SmilesToGraph().transform(SMILES)
    network().set_callbacks(recorder).fit(graphs, Y)
    assert recorder.tree() == epochs(0)


def test_callbacks_do_not_change_the_network():
    graphs = SmilesToGraph().transform(SMILES)
    listened = network().set_callbacks(Recorder()).fit(graphs, Y)
    np.testing.assert_array_equal(
        listened.predict(graphs), network().fit(graphs, Y).predict(graphs)
    )
    assert not [name for name in vars(listened) if "callback_fit" in name]


@pytest.mark.parametrize(
    "estimator",
    [
        MultiTaskGNNClassifier(max_epochs=2),
        GATERegressor(max_epochs=2),
        GNNPretrainer(auxiliary_tasks=["atommasking"], max_epochs=2),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_other_networks_have_them_as_well(estimator):
    recorder = Recorder()
    y = Y
    if isinstance(estimator, MultiTaskGNNClassifier):
        y = np.nan_to_num(Y) > np.nanmedian(Y, axis=0)
    estimator.set_callbacks(recorder)
    estimator.fit(SmilesToGraph().transform(SMILES), y.astype(float))
    assert recorder.tree() == epochs(0, type(estimator).__name__)


def test_an_early_stop_ends_its_tasks():
    recorder = Recorder()
    graphs = SmilesToGraph().transform(SMILES)
    model = network(max_epochs=40, early_stopping=True, n_iter_no_change=1, lr=0.5)
    model.set_callbacks(recorder).fit(graphs, Y)
    n_epochs = len(model.history_)
    assert n_epochs < 40
    # One more, which began and never ran.
    assert recorder.tree() == epochs(0, n=n_epochs + 1)


def test_an_error_tears_down_and_leaves_the_network_unfitted():
    recorder = Recorder()
    model = network(lr=1e30, optimizer="sgd").set_callbacks(recorder)
    with pytest.raises(FloatingPointError):
        model.fit(SmilesToGraph().transform(SMILES), Y)
    assert recorder.events[-1] == "teardown"
    assert not model.__sklearn_is_fitted__()


def test_the_number_of_epochs_is_told_where_it_is_known():
    class Length(Recorder):
        @staticmethod
        def name(context):
            return (context.max_subtasks,)

    graphs = SmilesToGraph().transform(SMILES)
    recorder = Length()
    network(max_epochs=3).set_callbacks(recorder).fit(graphs, Y)
    assert recorder.events[1] == ("begin", 3)
    options = network(max_epochs="auto")._options()
    assert options.n_epochs(20) == options.n_epochs(4000) == 100
    assert options.n_epochs(4001) is None
    assert network(max_epochs=7)._options().n_epochs(10**6) == 7


def test_a_monitor_scores_the_network_of_every_epoch():
    monitor = callback.ScoringMonitor(scoring=nan_r2_scorer)
    model = make_pipeline(SmilesToGraph(), network(max_epochs=3))
    model[-1].set_callbacks(monitor)
    model.fit(SMILES, Y)
    log = monitor.get_logs().data_as_pandas
    scores = log[log["task_name"] == "epoch"]["score"].tolist()
    assert len(set(scores)) == 3
    # The last epoch is the fitted network, and so is the whole fit.
    (whole,) = log[log["task_name"] == "fit"]["score"]
    assert scores[-1] == pytest.approx(model.score(SMILES, Y), abs=1e-6)
    assert whole == pytest.approx(model.score(SMILES, Y), abs=1e-6)


def test_a_network_that_a_callback_keeps_does_not_train_on():
    kept = []

    class Keep(Recorder):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            kept.append(fitted_estimator)

    graphs = SmilesToGraph().transform(SMILES)
    model = network().set_callbacks(Keep()).fit(graphs, Y)
    first, second, whole = (fitted.predict(graphs) for fitted in kept)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(second, whole)
    np.testing.assert_array_equal(whole, model.predict(graphs))


def test_partial_fit_tells_nothing():
    recorder = Recorder()
    model = network().set_callbacks(recorder)
    model.partial_fit(SmilesToGraph().transform(SMILES), Y)
    assert recorder.events == []


def test_tasks_are_nested_in_pipelines_and_searches():
    recorder = Recorder()
    model = make_pipeline(SmilesToGraph(), network())
    search = GridSearchCV(model, {"multitaskgnnregressor__lr": [1e-3, 1e-2]}, cv=2)
    search.set_callbacks(recorder).fit(SMILES, Y)
    tasks = recorder.tree()
    n_fits = 2 * 2 + 1
    assert tasks.count((0, "GridSearchCV", "fit")) == 1
    assert sum(task[1:] == ("SmilesToGraph", "fit") for task in tasks) == n_fits
    assert sum(task[1:] == ("MultiTaskGNNRegressor", "epoch") for task in tasks) == (
        2 * n_fits
    )


def test_members_of_ensembles_are_tasks():
    graphs = SmilesToGraph().transform(SMILES)
    for ensemble, root, n_fits in [
        (EnsembleRegressor(network(), n_members=2, random_state=0), "Ensemble", 2),
        (PerTaskRegressor(network()), "PerTask", 2),
        (BlendRegressor([("a", network()), ("b", network())]), "Blend", 2),
    ]:
        recorder = Recorder()
        ensemble.set_callbacks(recorder).fit(graphs, Y)
        assert recorder.tree() == [
            (0, f"{root}Regressor", "fit"),
            *epochs(1) * n_fits,
        ]


def test_a_calibration_tells_of_its_estimator():
    recorder = Recorder()
    graphs = SmilesToGraph().transform(["C" * k for k in range(1, 101)])
    conformal = ConformalRegressor(network(), random_state=0)
    conformal.set_callbacks(recorder).fit(graphs, np.arange(100.0))
    assert recorder.tree() == [(0, "ConformalRegressor", "fit"), *epochs(1)]


def test_the_hybrid_tells_of_its_network_and_its_learners():
    recorder = Recorder()
    learner = make_pipeline(StandardScaler(), Ridge())
    hybrid = HybridRegressor(make_pipeline(SmilesToGraph(), network()), learner)
    # Ridge does not have callbacks, which scikit-learn says.
    recorder.max_propagation_depth = 2
    hybrid.set_callbacks(recorder).fit(SMILES, Y)
    tasks = recorder.tree()
    assert tasks[0] == (0, "HybridRegressor", "fit")
    assert {name for depth, name, _ in tasks if depth == 1} == {
        "Pipeline",
        "PerTaskRegressor",
    }
    assert (3, "MultiTaskGNNRegressor", "epoch") in tasks


def test_members_in_other_threads_are_tasks_as_well():
    recorder = Recorder()
    graphs = SmilesToGraph().transform(SMILES)
    ensemble = EnsembleRegressor(network(), n_members=2, random_state=0, n_jobs=2)
    with parallel_config(backend="threading"):
        ensemble.set_callbacks(recorder).fit(graphs, Y)
    told = [event[1:3] for event in recorder.events if event[0] == "end"]
    assert told.count(("MultiTaskGNNRegressor", "epoch")) == 4


def test_callbacks_are_kept_by_clones_and_left_out_of_files(tmp_path):
    recorder = Recorder()
    graphs = SmilesToGraph().transform(SMILES)
    model = network().set_callbacks(recorder)
    clone(model).fit(graphs, Y).save(tmp_path / "m")
    assert recorder.events[-1] == "teardown"
    loaded = MultiTaskGNNRegressor.load(tmp_path / "m")
    assert not hasattr(loaded, "_skl_callbacks")


def test_a_progress_bar_of_scikit_learn_runs():
    pytest.importorskip("rich")
    bar = callback.ProgressBar()
    model = make_pipeline(SmilesToGraph(), network())
    model.set_callbacks(bar).fit(SMILES, Y)


def test_without_callbacks_in_scikit_learn_all_works(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.callback", None)
        spec = find_spec("skgnn_mtl._callbacks")
        old = module_from_spec(spec)
        spec.loader.exec_module(old)
    assert old.SUPPORT == ()
    assert _callbacks.SUPPORT != ()

    class Estimator:
        @old.one_task
        def fit(self, X, y=None):
            return (X, y)

        @old.ends_callbacks
        def _fit(self):
            with old.fit_task(self, None) as context:
                return context, old.in_tasks(self, [(len, ("ab",), {})])

    assert Estimator().fit(1, y=2) == (1, 2)
    assert Estimator()._fit() == (None, [(len, ("ab",), {})])
