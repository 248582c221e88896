"""scikit-learn's checks of a transformer: those that build no X as they are, the
others in the same spirit on SMILES, which the suite cannot make."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted

from skgnn_mtl.featurizers import AtomColumn, SmilesToGraph
from skgnn_mtl.graphs import GraphArray

WITHOUT_X = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_transformer_n_iter",
    "check_valid_tag_types",
}


def checks():
    for estimator, check in estimator_checks_generator(SmilesToGraph()):
        name = getattr(check, "func", check).__name__
        if name in WITHOUT_X:
            yield pytest.param(estimator, check, id=name)


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_check_of_the_suite(estimator, check):
    check(estimator)


def test_most_of_those_checks_exist_in_this_scikit_learn():
    assert len(list(checks())) >= 10


@pytest.fixture
def X(varied):
    return np.array(varied, dtype=object)


def test_tags():
    tags = get_tags(SmilesToGraph())
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert tags.input_tags.two_d_array
    assert not tags.input_tags.allow_nan
    assert get_tags(SmilesToGraph(on_error="nan")).input_tags.allow_nan
    assert not tags.requires_fit
    assert tags.transformer_tags.preserves_dtype == []


def test_fit_returns_self_and_overwrites_no_parameter(X):
    estimator = SmilesToGraph(features="pyg", on_error="nan", n_jobs=1, verbose=0)
    before = estimator.get_params()
    assert estimator.fit(X) is estimator
    assert estimator.get_params() == before


def test_fit_adds_public_attributes_with_underscore_only(X):
    estimator = SmilesToGraph()
    before = set(vars(estimator))
    estimator.fit(X, y=np.zeros(len(X)))
    assert {name[-1] for name in set(vars(estimator)) - before} == {"_"}


def test_transform_changes_nothing(X):
    estimator = SmilesToGraph().fit(X)
    before = dict(vars(estimator))
    copy = X.copy()
    estimator.transform(X)
    assert vars(estimator) == before
    np.testing.assert_array_equal(X, copy)


def test_transform_works_without_fit_and_equals_fit_transform(X):
    graphs = SmilesToGraph().transform(X)
    assert SmilesToGraph().fit(X).transform(X) == graphs
    assert SmilesToGraph().fit_transform(X) == graphs
    assert SmilesToGraph().fit(["C"]).transform(X) == graphs
    assert clone(SmilesToGraph().fit(["C"])).transform(X) == graphs


def test_a_stateless_transformer_counts_as_fitted():
    try:
        check_is_fitted(SmilesToGraph())
    except NotFittedError:
        pytest.fail("SmilesToGraph needs no fit")


def test_one_sample():
    assert len(SmilesToGraph().fit_transform(["C"])) == 1


def test_order_and_subsets(X):
    graphs = SmilesToGraph().fit_transform(X)
    order = np.random.default_rng(1).permutation(len(X))
    assert SmilesToGraph().transform(X[order]) == graphs[order]
    for rows in (slice(3, 9), X != "C", [5], [0, 0, 4]):
        assert SmilesToGraph().transform(X[rows]) == graphs[rows]


def test_numbers_are_a_type_error():
    for numbers in (np.eye(2)[:, :1], np.arange(3.0), [[1.0], [2.0]]):
        with pytest.raises(TypeError, match=r"X\[0\] = .* is a number"):
            SmilesToGraph().fit(numbers)


# -- names ----------------------------------------------------------------------------


def test_names_and_number_of_features(X):
    estimator = SmilesToGraph().fit(X)
    assert estimator.n_features_in_ == 1
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.get_feature_names_out().tolist() == ["graph"]
    estimator.fit(pd.DataFrame({"smiles": X}))
    assert estimator.feature_names_in_.tolist() == ["smiles"]
    assert not hasattr(estimator.fit(X), "feature_names_in_")


def test_polars_names(X):
    estimator = SmilesToGraph().fit(pl.DataFrame({"smiles": X.tolist()}))
    assert estimator.n_features_in_ == 1
    assert getattr(estimator, "feature_names_in_", ["smiles"]) == ["smiles"]


def test_another_column_name_is_refused(X):
    estimator = SmilesToGraph().fit(pd.DataFrame({"smiles": X}))
    estimator.transform(pd.DataFrame({"smiles": X}))
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(pd.DataFrame({"SMILES": X}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        estimator.transform(X)


def test_without_fit_any_column_name_will_do(X):
    assert len(SmilesToGraph().transform(pd.DataFrame({"any": X}))) == len(X)


# -- output containers ----------------------------------------------------------------


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_output_is_always_a_graph_array(output, X):
    frame = pd.DataFrame({"smiles": X})
    expected = SmilesToGraph().transform(X)
    local = SmilesToGraph()
    assert local.set_output(transform=output) is local
    assert local.fit_transform(frame) == expected
    with sklearn.config_context(transform_output=output):
        assert SmilesToGraph().fit(frame).transform(frame) == expected
        assert SmilesToGraph().fit_transform(frame) == expected
        pipeline = make_pipeline(SmilesToGraph(), "passthrough")
        assert pipeline.fit_transform(frame) == expected
    pipeline = make_pipeline(SmilesToGraph()).set_output(transform=output)
    assert pipeline.fit_transform(frame) == expected


# -- persistence ----------------------------------------------------------------------


def own_getter(atom):
    return atom.GetDegree()


def test_pickle(X):
    features = ((AtomColumn("degree", own_getter, (1, 2, 3)),), ())
    for estimator in (SmilesToGraph(n_jobs=1), SmilesToGraph(features)):
        graphs = estimator.fit_transform(X)
        restored = pickle.loads(pickle.dumps(estimator))
        assert restored.transform(X) == graphs
        assert pickle.loads(pickle.dumps(graphs)) == graphs


def test_joblib_in_a_fresh_process_which_imports_rdkit_at_use(X, tmp_path):
    graphs = SmilesToGraph().fit_transform(X)
    joblib.dump((SmilesToGraph().fit(X), X, graphs), tmp_path / "all.joblib")
    code = (
        "import sys, joblib, skgnn_mtl; assert 'rdkit' not in sys.modules; "
        "t, X, graphs = joblib.load(sys.argv[1]); assert t.transform(X) == graphs; "
        "assert 'rdkit' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "all.joblib"], check=True)


def test_read_only_memory_maps(X, tmp_path):
    strings = np.array(X[:-1].tolist(), dtype="U300")
    joblib.dump(strings, tmp_path / "strings")
    mapped = joblib.load(tmp_path / "strings", mmap_mode="r")
    assert not mapped.flags.writeable
    graphs = SmilesToGraph().fit_transform(mapped)
    assert graphs == SmilesToGraph().transform(X[:-1])
    graphs.save(tmp_path / "graphs")
    assert GraphArray.load(tmp_path / "graphs", mmap_mode="r") == graphs


# -- in the company of other estimators -----------------------------------------------


class MeanOfCodes(DummyRegressor):
    """Any estimator that takes a GraphArray."""

    def fit(self, X, y, sample_weight=None):
        assert isinstance(X, GraphArray)
        return super().fit(np.zeros((len(X), 1)), y, sample_weight)

    def predict(self, X):
        return super().predict(np.zeros((len(X), 1)))


def test_pipeline_search_and_cache(X, tmp_path):
    y = np.arange(len(X), dtype=float)
    model = Pipeline(
        [("graph", SmilesToGraph()), ("mean", MeanOfCodes())], memory=str(tmp_path)
    )
    search = GridSearchCV(
        model, {"graph__features": ["ogb", "hu2020"]}, cv=2, error_score="raise"
    ).fit(X, y)
    assert search.predict(X[:3]).shape == (3,)
    assert np.isfinite(cross_val_score(model, X.tolist(), y, cv=2)).all()


@pytest.mark.parametrize("container", [list, pd.Series, pl.Series, pl.DataFrame])
def test_after_train_test_split(container, X):
    rows = (
        container({"s": X.tolist()})
        if container is pl.DataFrame
        else container(X.tolist())
    )
    train, test = train_test_split(rows, random_state=0)
    expected, _ = train_test_split(X, random_state=0)
    assert SmilesToGraph().fit_transform(train).ids.tolist() == expected.tolist()
    assert len(SmilesToGraph().fit(train).transform(test)) == len(test)


def test_column_transformer_hands_over_one_column(X):
    frame = pd.DataFrame({"smiles": X, "name": X})
    selector = ColumnTransformer([("keep", "passthrough", ["smiles"])])
    model = make_pipeline(selector, SmilesToGraph())
    assert model.fit_transform(frame) == SmilesToGraph().transform(X)
