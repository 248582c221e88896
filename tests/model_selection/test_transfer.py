"""Comparing ways to learn scarce targets: what they see, and what is made of it."""

import warnings
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wilcoxon
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GroupKFold, KFold
from torch import nn

from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import GIN
from skgnn_mtl.model_selection import (
    LabelPresenceKFold,
    TransferComparison,
    TransferModel,
    compare_transfer,
    scaffold_groups,
)
from skgnn_mtl.model_selection._transfer_methods import (
    METHODS,
    _ridge,
    adapters,
    addition,
)

SOURCES, TARGETS = ["a", "b"], ["c", "d"]


@pytest.fixture
def data():
    """Rows that can be told apart, two sources, and targets with 40 and 18 labels.

    Half of these are in the first 30 rows.
    """
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    X[:, 2] = np.arange(60)
    y = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": 3 * X[:, 0], "d": X[:, 1]})
    y.loc[y.index % 3 == 0, "c"] = np.nan
    y.loc[y.index % 10 > 2, "d"] = np.nan
    return X, y


@pytest.fixture
def compare(data):
    """Compare on this data with networks that train in milliseconds."""

    def run(X=data[0], y=data[1], **changes) -> TransferComparison:
        options = {
            "sources": SOURCES,
            "targets": TARGETS,
            "sizes": (5, 12, None),
            "cv": 2,
            "encoder": GIN(width=8, n_layers=1, norm=None),
            "gate_parameters": {
                "latent_dim": 4,
                "encoder_hidden_dims": (8,),
                "transfer_hidden_dims": (4,),
                "head_hidden_dims": (4,),
            },
            "source_steps": 4,
            "target_steps": 3,
            **changes,
        }
        return compare_transfer(X, y, **options)

    return run


class Spy:
    """A method that predicts the mean and remembers what it was given."""

    def __init__(self):
        self.problems = []

    def __call__(self, problem):
        self.problems.append(problem)
        X, y = problem.labelled()
        return DummyRegressor().fit(X, y)


def test_one_row_a_method_target_size_fold_and_seed(compare):
    errors = compare(random_states=(0, 1)).errors
    keys = ["method", "target", "size", "fold", "seed"]
    assert not errors.duplicated(keys).any()
    assert list(errors["method"].unique()) == list(METHODS)
    assert np.isfinite(errors[["rmse", "error", "trained_parameters"]]).all(axis=None)
    # "d" has 9 labels in a fold: too few for 12, whatever the method.
    counts = errors.groupby(["target", "size"])["n_train"].agg(["size", "min"])
    n_cells = len(METHODS) * 2 * 2
    assert counts.loc[("c", "12")].tolist() == [n_cells, 12]
    assert counts.loc[("d", "5")].tolist() == [n_cells, 5]
    assert ("d", "12") not in counts.index
    assert counts.loc[("d", "all")].tolist() == [n_cells, 9]
    sources = errors.groupby("method")["source_seconds"].max()
    assert set(sources[sources == 0].index) == {"single-task", "hard-sharing", "gate"}


def test_no_label_of_a_test_molecule_is_seen(compare, data):
    X, y = data
    rows = next(KFold(2).split(X))
    spoilt = y.copy()
    spoilt.iloc[rows[1]] = 1e3 * np.random.default_rng(1).normal(size=(30, 4))
    predictions = {}
    for name, table in (("true", y), ("spoilt", spoilt)):
        predictions[name] = []

        def watched(problem, method, seen=predictions[name]):
            model = method(problem)
            seen.append(np.ravel(model.predict(X[rows[1]])))
            return model

        methods = {m: partial(watched, method=METHODS[m]) for m in METHODS}
        # Called by a function of the user, all methods go target by target.
        compare(y=table, methods=methods, cv=[rows], sizes=(5,))
    assert len(predictions["true"]) == 2 * len(METHODS)
    for true, other in zip(*predictions.values(), strict=True):
        assert np.array_equal(true, other)


def test_a_feature_that_is_rare_in_few_rows_does_not_blow_predictions_up():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 4))
    features[:20, 3] *= 1e-3  # silent in the rows with a label
    y = pd.DataFrame({"y": features[:20, 0] + rng.normal(size=20)})
    problem = SimpleNamespace(labelled=lambda: (features[:20], y))
    source = SimpleNamespace(module_=nn.Linear(4, 1), history_=[], best_epoch_=0)
    model = _ridge(problem, source, np.asarray)
    assert np.abs(model.predict(features[20:])).max() < 5
    assert model.trained_parameters == 5


def test_all_methods_see_the_same_nested_labels(compare, data):
    _, y = data
    first, second = Spy(), Spy()
    compare(methods={"one": first, "two": second}, sizes=(None, 5, 12))
    by_size = {}
    for one, two in zip(first.problems, second.problems, strict=True):
        assert one.y.equals(two.y)
        (target,) = one.targets
        assert list(one.y) == [*SOURCES, target]
        given = one.y[target].notna().to_numpy()
        ids = one.X[:, 2].astype(int)
        assert one.y[target][given].equals(y[target][ids[given]])
        assert one.y[SOURCES].notna().all(axis=None)
        by_size.setdefault((ids[0], target), []).append(set(ids[given]))
    for everything, five, *twelve in by_size.values():
        assert len(five) == 5
        assert five < everything
        for more in twelve:
            assert five < more < everything
    other = Spy()
    compare(methods={"other": other}, sizes=(5,), random_states=[1])
    assert not other.problems[0].y.equals(first.problems[2].y)


def test_every_training_takes_its_steps_in_whole_epochs(compare):
    def look(problem):
        steps, size = problem.budget.target_steps, 4
        for make in (problem.regressor, problem.gate):
            model = make(10, steps)
            assert model.max_epochs == 3  # 3 batches of at most 4 rows, 7 steps
            assert model.batch_size == size
            assert model.random_state == problem.seed == 5
        assert problem.gate(10, 7).add_task_steps == 7
        return DummyRegressor().fit(*problem.labelled())

    options = {"parameters": {"batch_size": 4}, "target_steps": 7}
    compare(methods={"look": look}, random_states=[5], **options)


def test_source_models_are_trained_once_a_fold_and_seed(compare, monkeypatch, tmp_path):
    fits, fit = [], MultiTaskGNNRegressor.fit

    def counted(self, X, y, *args):
        fits.append(list(y.columns))
        return fit(self, X, y, *args)

    monkeypatch.setattr(MultiTaskGNNRegressor, "fit", counted)
    methods = ["linear-probe", "source-predictions"]
    options = {"methods": methods, "random_states": (0, 1), "cache": tmp_path}
    first = compare(**options).errors
    assert fits == [SOURCES] * 4  # two folds, two seeds
    again = compare(**options).errors
    assert len(fits) == 4
    columns = ["method", "target", "size", "fold", "seed", "rmse"]
    pd.testing.assert_frame_equal(first[columns], again[columns])
    compare(**options, source_steps=5)
    assert len(fits) == 8


def test_other_source_labels_are_another_source_model(compare, data, tmp_path):
    options = {"methods": ["linear-probe"], "cache": tmp_path, "cv": 2}
    compare(**options)
    n_files = len(list(tmp_path.iterdir()))
    compare(**options, y=data[1].assign(a=-data[1]["a"]))
    assert len(list(tmp_path.iterdir())) == 2 * n_files


def test_an_addition_uses_the_sources_as_they_are(compare):
    calls = []

    def look(problem):
        gate = problem.source_model("gate")
        before = gate.predict(problem.X)
        model = addition(problem, add_task_steps=2)
        untrained = addition(problem, source={"n_steps": 1, "lr": 1e-12})
        assert np.array_equal(gate.predict(problem.X), before)
        assert gate.task_names_ == SOURCES
        assert problem.source_model("gate") is gate
        frames = addition(problem, kind="frames", n_unlabelled=3)
        predictions = [m.predict(problem.X) for m in (model, untrained, frames)]
        assert not np.allclose(predictions[0], predictions[1])
        own = 8 * 8 + 8 + 8 * 4 + 4 + 4 * (4 * 4 + 4) + 4 * 4 + 4 + 4 * 1 + 1
        assert model.trained_parameters == own
        calls.append(problem)
        return model

    errors = compare(methods={"look": look}, cv=2, sizes=(5,), targets=["c"]).errors
    assert len(calls) == 2
    assert (errors["source_seconds"] > 0).all()
    assert (errors["parameters"] > 3 * errors["trained_parameters"]).all()


def test_own_methods_may_tell_their_cost(compare):
    def method(problem):
        model = DummyRegressor().fit(*problem.labelled())
        return TransferModel(model.predict, trained_parameters=1)

    errors = compare(methods={"single-task": "single-task", "mean": method}).errors
    assert (errors.query("method == 'mean'")["trained_parameters"] == 1).all()
    silent = compare(methods={"mean": Spy()}).errors
    assert silent["trained_parameters"].isna().all()
    assert np.isfinite(silent["rmse"]).all()


def test_standardised_errors_do_not_depend_on_units(compare, data):
    _, y = data
    first = compare(methods=["single-task"]).errors
    kelvin = y.assign(c=1000 + 64 * y["c"])
    second = compare(y=kelvin, methods=["single-task"]).errors
    assert np.allclose(first["error"], second["error"], rtol=1e-5)
    in_c = first["target"] == "c"
    assert np.allclose(64 * first["rmse"][in_c], second["rmse"][in_c], rtol=1e-5)


def test_summaries_pair_folds_and_seeds():
    rng = np.random.default_rng(0)
    keys = [(t, s, f, r) for t in "cd" for s in (5, 50) for f in range(3) for r in "xy"]
    frame = pd.DataFrame(keys, columns=["target", "size", "fold", "seed"])
    single = frame.assign(method="single-task", error=rng.uniform(1, 2, len(frame)))
    other = frame.assign(method="other", error=rng.uniform(0.5, 2, len(frame)))
    errors = pd.concat([single, other]).assign(n_train=lambda e: e["size"])
    comparison = TransferComparison(errors.sample(frac=1, random_state=0))
    table = comparison.summary()
    assert list(table.index.names) == ["method", "target", "size"]
    for (method, target, size), line in table.iterrows():
        here = (frame["target"] == target) & (frame["size"].astype(str) == size)
        a, b = other["error"][here], single["error"][here]
        assert method == "other"
        assert line["pairs"] == 6
        assert line["change"] == pytest.approx(100 * np.mean(a / b - 1))
        assert line["wins"] == np.mean(a < b)
        assert line["p_value"] == pytest.approx(wilcoxon(a, b).pvalue)
    assert comparison.summary(by=["method"])["pairs"].tolist() == [24]
    turned = comparison.summary(to="other")
    assert set(turned.index.get_level_values("method")) == {"single-task"}
    curves = comparison.learning_curves()
    assert len(curves) == 8
    assert curves["n_train"].is_monotonic_increasing
    with pytest.raises(ValueError, match="must be one of the methods"):
        comparison.summary(to="nobody")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ["a", "z"]}, r"sources has \['z'\]"),
        ({"targets": "c"}, "targets must be a list"),
        ({"targets": ["a"]}, "must occur once, as a source"),
        ({"methods": ["magic"]}, r"got \['magic'\]"),
        ({"methods": []}, "methods must be names"),
        ({"sizes": (1,)}, "at least 2"),
        ({"sizes": (2.5,)}, "at least 2"),
        ({"sizes": (5, 5)}, "each once"),
        ({"sizes": 10}, "must list numbers"),
        ({"sizes": (500,)}, "No target has enough training labels"),
        ({"random_states": (0, 0)}, "random_states must differ"),
        ({"source_steps": 0}, "source_steps must be"),
    ],
)
def test_bad_input_is_refused(compare, changes, message):
    with pytest.raises(ValueError, match=message):
        compare(**changes)


def test_a_method_may_be_alone(compare):
    comparison = compare(methods="single-task", sizes=(5,))
    assert comparison.summary("single-task").empty


def test_invalid_graphs_teach_nothing_and_are_not_predicted(compare):
    """Their labels do not count, neither for a size nor for an error."""
    molecules = ["C" * k + "O" for k in range(1, 31)]
    broken = ["C1CC" if k % 5 == 2 else s for k, s in enumerate(molecules)]
    k = np.arange(30.0)
    y = pd.DataFrame({"a": k, "b": k % 7, "c": k**0.5})
    kinds = ["single-task", "linear-probe", "source-predictions", "addition-unlabelled"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*(invalid graphs|have collapsed)")
        X = SmilesToGraph(on_error="nan").fit_transform(broken)
        comparison = compare(
            X, y, targets=["c"], sizes=(None,), cv=KFold(2), methods=kinds
        )
    errors = comparison.errors
    assert (errors["n_train"] == 12).all()
    assert (errors["n_test"] == 12).all()
    assert np.isfinite(errors["error"]).all()


def test_a_source_without_labels_is_named(compare, data):
    _, y = data
    with pytest.raises(ValueError, match=r"\['a'\] have no label .* fold 0"):
        compare(y=y.assign(a=np.nan))


def test_joint_splits_of_the_full_table_leave_test_labels_of_every_task(shared_data):
    path = shared_data / "chemicals_multitask.csv.gz"
    if not path.is_file():
        pytest.skip("the table of physical properties is absent")
    table = pd.read_csv(path)
    y = table.drop(columns=["smiles", "CAS"])
    groups = scaffold_groups(table["smiles"], chirality=False, acyclic="own")
    folds = list(GroupKFold(5).split(y, groups=groups))
    assert [len(test) for _, test in folds] == [5103, 3948, 3948, 3947, 3947]
    fewest = pd.concat([y.iloc[test].count() for _, test in folds], axis=1).min(axis=1)
    least = {
        "dipole_D": 54,
        "Tflash_K": 156,
        "HvapTb_J_mol": 45,
        "Hfus_J_mol": 77,
        "Tautoign_K": 22,
        "permittivity": 194,
    }
    assert (fewest[list(least)] >= pd.Series(least)).all()
    # Molecules, not labels, are dealt out: yet every task is spread evenly.
    for _, test in LabelPresenceKFold(4, random_state=0).split(y, y):
        share = y.iloc[test].count() / y.count()
        assert share.between(0.24, 0.26).all()


def test_adapters_keep_the_weights_that_fine_tuning_trains(compare):
    narrow = partial(adapters, adapters="low-rank", adapter_size=1)
    methods = {"fine-tuning": "fine-tuning", "wide": "adapters", "narrow": narrow}
    errors = compare(methods=methods, sizes=(5,), targets=["c"]).errors
    counts = errors.groupby("method")[["trained_parameters", "parameters"]].first()
    kept = counts["parameters"] - counts["trained_parameters"]
    assert kept["fine-tuning"] == 0 < kept["wide"] == kept["narrow"]
    trained = counts["trained_parameters"]
    assert trained["narrow"] < min(trained["wide"], trained["fine-tuning"])
    assert errors["error"].notna().all()
