"""Ensembles in files that are safe to load."""

import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skgnn_mtl import (
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl._archive import read_archive, write_archive
from skgnn_mtl.encoders import DMPNN, GIN, Pretrained
from skgnn_mtl.ensemble import (
    BlendClassifier,
    BlendRegressor,
    CalibratedClassifier,
    ConformalClassifier,
    ConformalRegressor,
    EnsembleClassifier,
    EnsembleRegressor,
    HybridClassifier,
    HybridRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
    _files,
)
from skgnn_mtl.ensemble._trees import check_trees
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.metrics import (
    nan_average_precision_scorer,
    nan_r2_scorer,
    nan_roc_auc_scorer,
    neg_nan_mean_absolute_error_scorer,
)
from skgnn_mtl.model_selection import LabelPresenceKFold, scaffold_groups

pytest.importorskip("skops")
METRIC_SCORERS = (
    nan_r2_scorer,
    neg_nan_mean_absolute_error_scorer,
    nan_roc_auc_scorer,
    nan_average_precision_scorer,
)
FEW = SmilesToDescriptors(("MolWt", "TPSA"), 4)


def network(kind=MultiTaskGNNRegressor):
    return make_pipeline(
        SmilesToGraph("chemprop"), kind(DMPNN(width=8), max_epochs=1, random_state=0)
    )


def trees(model=None):
    return make_pipeline(FEW, PerTaskRegressor(model or ExtraTreesRegressor(3)))


REGRESSORS = {
    "hybrid": HybridRegressor(network(), descriptors=FEW, cv=2, random_state=0),
    "embeddings": HybridRegressor(
        network(), Ridge(), descriptors=FEW, embeddings=True, cv=2
    ),
    "blend": BlendRegressor(
        [("network", network()), ("trees", trees()), ("none", None)],
        weights="oof",
        cv=LabelPresenceKFold(2),
    ),
    "members": EnsembleRegressor(network(), 2, resample="folds", random_state=0),
    "tasks": EnsembleRegressor(trees(HistGradientBoostingRegressor(max_iter=3)), 2),
    "transforms": make_pipeline(
        FEW,
        PerTaskRegressor(
            make_pipeline(StandardScaler(), Ridge()),
            target_transform={"size": "log10", "rest": StandardScaler()},
        ),
    ),
}
CLASSIFIERS = {
    "hybrid": HybridClassifier(
        network(MultiTaskGNNClassifier), descriptors=FEW, cv=2, random_state=0
    ),
    "blend": BlendClassifier(
        [
            ("network", network(MultiTaskGNNClassifier)),
            ("line", make_pipeline(FEW, PerTaskClassifier(LogisticRegression()))),
        ]
    ),
    "members": EnsembleClassifier(
        make_pipeline(FEW, PerTaskClassifier(HistGradientBoostingClassifier())), 2
    ),
}


@pytest.fixture
def table(smiles):
    X, y = smiles
    return X, pd.DataFrame(y, columns=["size", "rest"])


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("name", REGRESSORS)
def test_a_file_keeps_predictions_and_parameters(name, table, tmp_path):
    X, y = table
    model = REGRESSORS[name].fit(X, y)
    if name == "transforms":
        model, X = model[-1], FEW.transform(X)
    model.save(tmp_path / "model")
    again = type(model).load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert repr(again) == repr(model)
    assert again.task_names_ == ["size", "rest"]
    left = {name for name in vars(model) if name not in vars(again)}
    assert not left
    if name == "members":
        np.testing.assert_array_equal(again.oof_predictions_, model.oof_predictions_)
    assert again.fit(X, y).predict(X).shape == y.shape


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_file_keeps_probabilities(name, table, tmp_path):
    X, y = table
    classes = (y > y.median()).astype(float).where(y.notna())
    model = CLASSIFIERS[name].fit(X, classes)
    model.save(tmp_path / "model")
    again = type(model).load(str(tmp_path / "model"))
    for found, expected in zip(
        again.predict_proba(X), model.predict_proba(X), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_weights_of_pretrained_encoders_are_kept(smiles, tmp_path):
    X, y = smiles
    graphs = SmilesToGraph("chemprop").transform(X)
    source = GNNPretrainer(GIN(8, n_layers=2), max_epochs=1).fit(graphs).encoder_
    member = MultiTaskGNNRegressor(Pretrained(source), max_epochs=1, random_state=0)
    model = EnsembleRegressor(member, 2, random_state=0).fit(graphs, y)
    model.save(tmp_path / "model")
    again = EnsembleRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(graphs), model.predict(graphs))
    found = again.estimator.encoder.encoder.embed(graphs)
    np.testing.assert_array_equal(found, source.embed(graphs))


def test_a_class_of_strings(smiles, tmp_path):
    X, y = smiles
    labels = np.where(y[:, 0] > 4, "large", "small")
    model = make_pipeline(FEW, PerTaskClassifier(LogisticRegression()))[-1]
    model.fit(FEW.transform(X), labels).save(tmp_path / "model")
    again = PerTaskClassifier.load(tmp_path / "model")
    assert again.classes_.tolist() == ["large", "small"]
    assert (again.predict(FEW.transform(X)) == model.predict(FEW.transform(X))).all()


@pytest.mark.parametrize("method", ["split", "cross"])
def test_a_file_keeps_intervals(method, table, tmp_path):
    X, y = table
    model = ConformalRegressor(
        EnsembleRegressor(trees(), 2, resample="folds", random_state=0),
        method=method,
        normalise="std",
        groups=scaffold_groups,
        cv=2,
        coverage=0.5,
        random_state=0,
    ).fit(X, y)
    model.save(tmp_path / "model")
    again = ConformalRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(
        again.predict_interval(X, 0.6), model.predict_interval(X, 0.6)
    )
    assert set(vars(again)) == set(vars(model))
    assert again.groups is scaffold_groups
    np.testing.assert_array_equal(again.fit(X, y).residuals_, model.residuals_)
    model.categories = len
    with pytest.raises(ValueError, match=r"ConformalRegressor\.categories is <built"):
        model.save(tmp_path / "model")


def test_a_file_keeps_a_frozen_estimator(table, tmp_path):
    X, y = table
    frozen = FrozenEstimator(network().fit(X[:10], y[:10]))
    model = ConformalRegressor(frozen, method="prefit", coverage=0.5).fit(X, y)
    model.save(tmp_path / "model")
    again = ConformalRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    np.testing.assert_array_equal(again.fit(X, y).residuals_, model.residuals_)


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_a_file_keeps_sets_and_calibrated_probabilities(method, table, tmp_path):
    X, y = table
    classes = (y > y.median()).astype(float).where(y.notna())
    line = make_pipeline(FEW, PerTaskClassifier(LogisticRegression()))
    inner = CalibratedClassifier(line, method=method, cv=2, random_state=0)
    model = ConformalClassifier(
        inner,
        method="cross",
        class_conditional=True,
        cv=2,
        coverage=0.5,
        random_state=0,
    ).fit(X, classes)
    model.save(tmp_path / "model")
    again = ConformalClassifier.load(tmp_path / "model")
    for ask in ("predict_set", "predict_proba"):
        pairs = zip(getattr(again, ask)(X), getattr(model, ask)(X), strict=True)
        for found, expected in pairs:
            np.testing.assert_array_equal(found, expected)


# -- what is refused --------------------------------------------------------------


class Own(DummyRegressor):
    pass


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (Own(), "estimator.*of type Own"),
        (make_pipeline(FunctionTransformer(lambda x: x), Ridge()), "FunctionTransf"),
        (Ridge(random_state=np.random.RandomState(0)), None),
    ],
)
def test_what_cannot_be_kept_is_named(numbers, estimator, message, tmp_path):
    X, y = numbers
    model = PerTaskRegressor(estimator).fit(X, y)
    if message is None:
        model.save(tmp_path / "model")
        return
    with pytest.raises(ValueError, match=message):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_descriptors_of_a_column_are_kept(smiles, tmp_path):
    X, y = smiles
    table = pd.DataFrame({"smiles": X, "t": np.arange(len(X))})
    parts = make_column_transformer((FEW, ["smiles"]), ("passthrough", ["t"]))
    model = PerTaskRegressor(make_pipeline(parts, Ridge())).fit(table, y)
    model.save(tmp_path / "model")
    again = PerTaskRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(table), model.predict(table))


@pytest.mark.parametrize(
    "scoring", [*METRIC_SCORERS, "r2", "neg_mean_absolute_error"], ids=repr
)
def test_the_scoring_of_a_search_is_kept(scoring, tmp_path):
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = X > 0
    kind, model = PerTaskRegressor, Ridge()
    if "average_precision" in repr(scoring) or "roc_auc" in repr(scoring):
        kind, model = PerTaskClassifier, LogisticRegression()
    name = "alpha" if kind is PerTaskRegressor else "C"
    search = GridSearchCV(model, {name: [0.1, 1.0]}, scoring=scoring)
    fitted = kind(search).fit(X, y.astype(int))
    fitted.save(tmp_path / "search")
    again = kind.load(tmp_path / "search")
    assert repr(again.estimator.scoring) == repr(scoring)
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))


def test_a_function_as_descriptor_is_named(smiles, tmp_path):
    X, y = smiles
    own = SmilesToDescriptors(lambda molecule: molecule.GetNumAtoms(), 0)
    model = HybridRegressor(network(), Ridge(), descriptors=own).fit(X, y)
    with pytest.raises(ValueError, match=r"HybridRegressor.descriptors.descriptors is"):
        model.save(tmp_path / "model")
    with pytest.raises(NotFittedError):
        HybridRegressor().save(tmp_path / "model")


def test_without_skops_the_cure_is_named(numbers, tmp_path, monkeypatch):
    X, y = numbers
    monkeypatch.setitem(sys.modules, "skops", None)
    monkeypatch.setitem(sys.modules, "skops.io", None)
    with pytest.raises(ImportError, match=r"pip install skops\."):
        PerTaskRegressor(Ridge()).fit(X, y).save(tmp_path / "model")


def test_networks_alone_need_no_skops(smiles, tmp_path, monkeypatch):
    X, y = smiles
    monkeypatch.setitem(sys.modules, "skops.io", None)
    model = EnsembleRegressor(network(), 2).fit(X, y)
    model.save(tmp_path / "model")
    again = EnsembleRegressor.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def changed(path, change):
    """Write a file again with another header."""
    header, members = read_archive(path, "file")
    change(header["model"])
    write_archive(path, header, members)


def test_foreign_files_are_refused(numbers, tmp_path):
    X, y = numbers
    path = tmp_path / "model"
    for content in (b"", b"PK nothing", pickle.dumps([1])):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a saved PerTaskRegressor"):
            PerTaskRegressor.load(path)
    model = PerTaskRegressor(Ridge()).fit(X, y)
    model.save(path)
    with pytest.raises(ValueError, match="holds a PerTaskRegressor, not a Ensemb"):
        EnsembleRegressor.load(path)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"part": "os.system"}, r"unknown: os\.system"),
        ({"part": "model_selection.compare_models"}, "unknown"),
        ({"part": "ensemble._files"}, "unknown"),
        ({"part": "featurizers.Nothing"}, "unknown"),
        (
            {"parameters": {"dict": [["n_jobs", {"function": "compare_models"}]]}},
            "function that is unknown: compare_models",
        ),
        ({"learned": {"dict": [["predict", 3]]}}, "would replace PerTaskRegressor.pre"),
        ({"learned": {"dict": [["__class__", 3]]}}, "would replace"),
    ],
)
def test_a_file_makes_parts_of_this_package_only(numbers, part, message, tmp_path):
    X, y = numbers
    PerTaskRegressor(Ridge()).fit(X, y).save(tmp_path / "model")
    changed(tmp_path / "model", lambda model: model.update(part))
    with pytest.raises(ValueError, match=message):
        PerTaskRegressor.load(tmp_path / "model")


class Evil:
    def __reduce__(self):
        return (sys.exit, ("executed",))


def test_a_file_cannot_execute_code(numbers, tmp_path):
    X, y = numbers
    model = PerTaskRegressor(Ridge()).fit(X, y)
    model.save(tmp_path / "model")
    header, members = read_archive(tmp_path / "model", "file")
    evil = dict.fromkeys(members, pickle.dumps(Evil()))
    write_archive(tmp_path / "model", header, evil)
    with pytest.raises(ValueError, match="not a valid PerTaskRegressor"):
        PerTaskRegressor.load(tmp_path / "model")


def test_a_file_with_a_wrong_tree_is_refused(numbers, tmp_path, monkeypatch):
    X, y = numbers
    model = PerTaskRegressor(ExtraTreesRegressor(1)).fit(X, y)
    model.estimators_[0].estimators_[0].tree_.feature[0] = 10**6
    with pytest.raises(ValueError, match="feature that does not exist"):
        model.save(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(_files, "check_trees", lambda value: None)
        model.save(tmp_path / "model")
    with pytest.raises(ValueError, match="feature that does not exist"):
        PerTaskRegressor.load(tmp_path / "model")


def test_trees_must_have_their_children_and_features():
    X = np.random.default_rng(0).normal(size=(60, 3))
    for kind in (ExtraTreesRegressor(2), HistGradientBoostingRegressor(max_iter=2)):
        check_trees([kind.fit(X, X[:, 0])])
    forest = ExtraTreesRegressor(2).fit(X, X[:, 0])
    forest.n_features_in_ = 2
    forest.estimators_ = forest.estimators_[:1]
    del forest.estimators_[0].n_features_in_
    with pytest.raises(ValueError, match="3 features is in a model of 2"):
        check_trees({"a": (forest,)})
    for name, value in (("left", 10**6), ("right", 0), ("feature_idx", 3)):
        boosting = HistGradientBoostingRegressor(max_iter=2).fit(X, X[:, 0])
        boosting._predictors[1][0].nodes[name][0] = value
        with pytest.raises(ValueError, match="does not exist"):
            check_trees(np.array([boosting], dtype=object))
    categories = np.repeat(np.arange(3.0), 20)[:, None]
    boosting = HistGradientBoostingRegressor(max_iter=2, categorical_features=[0])
    predictor = boosting.fit(categories, categories[:, 0] % 2)._predictors[0][0]
    check_trees(boosting)
    predictor.nodes["bitset_idx"][0] = len(predictor.raw_left_cat_bitsets)
    with pytest.raises(ValueError, match="set of categories that does not exist"):
        check_trees(boosting)
    tree = ExtraTreesRegressor(1).fit(X, X[:, 0]).estimators_[0].tree_
    tree.feature[0] = 3
    with pytest.raises(ValueError, match="does not exist"):
        check_trees(tree)
