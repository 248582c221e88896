"""scikit-learn's checks of CifToGraph, and their spirit on structures."""

import pickle
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from crystals import CESIUM_CHLORIDE, COPPER, ORDERED
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator

from skgnn_mtl import CifToGraph, GraphArray

# The checks that build no X: a suite of numbers has no crystals.
WITHOUT_X = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
}


def checks():
    for estimator, check in estimator_checks_generator(CifToGraph()):
        name = getattr(check, "func", check).__name__
        if name in WITHOUT_X:
            yield pytest.param(estimator, check, id=name)


@pytest.mark.parametrize(("estimator", "check"), list(checks()))
def test_check_of_the_suite(estimator, check):
    check(estimator)


def test_most_of_those_checks_exist():
    assert len(list(checks())) >= 9


@pytest.fixture
def X():
    return np.array([*ORDERED.values()], dtype=object)


def test_tags():
    tags = get_tags(CifToGraph())
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.requires_fit


def test_fit_and_transform_change_nothing(X):
    transformer = CifToGraph(cutoff=6.0, n_jobs=1)
    before = transformer.get_params()
    assert transformer.fit(X) is transformer
    assert transformer.get_params() == before
    fitted = dict(vars(transformer))
    graphs = transformer.transform(X)
    assert vars(transformer) == fitted
    assert clone(transformer).transform(X) == graphs
    assert clone(transformer).fit_transform(X) == graphs


def test_order_and_subsets(X):
    graphs = CifToGraph().transform(X)
    order = np.random.default_rng(1).permutation(len(X))
    assert CifToGraph().transform(X[order]) == graphs[order]
    assert CifToGraph().transform(X[[0, 0, 4]]) == graphs[[0, 0, 4]]


@pytest.mark.parametrize(
    "container",
    [
        list,
        tuple,
        pd.Series,
        pl.Series,
        lambda x: np.array(x, dtype="U2000"),
        lambda x: np.array(x, dtype=object)[:, None],
        lambda x: pd.DataFrame({"cif": x}),
        lambda x: pl.DataFrame({"cif": list(x)}),
    ],
)
def test_containers(container, X):
    assert CifToGraph().transform(container(X.tolist())) == CifToGraph().transform(X)


def test_names(X):
    frame = pd.DataFrame({"cif": X})
    transformer = CifToGraph().fit(frame)
    assert transformer.n_features_in_ == 1
    assert transformer.feature_names_in_.tolist() == ["cif"]
    assert transformer.get_feature_names_out().tolist() == ["graph"]
    with pytest.raises(ValueError, match="feature names should match"):
        transformer.transform(frame.rename(columns={"cif": "structure"}))


@pytest.mark.parametrize("output", ["default", "pandas", "polars"])
def test_output_is_always_a_graph_array(output, X):
    expected = CifToGraph().transform(X)
    with sklearn.config_context(transform_output=output):
        assert CifToGraph().fit_transform(X) == expected
        assert make_pipeline(CifToGraph(), "passthrough").fit_transform(X) == expected


@pytest.mark.parametrize("one", [CESIUM_CHLORIDE, 3.0])
def test_one_bare_row_is_a_type_error(one):
    with pytest.raises(TypeError, match=r"X is one string|X must be"):
        CifToGraph().fit(one)


def test_numbers_are_a_type_error():
    with pytest.raises(TypeError, match=r"X\[0\] = .* is a number"):
        CifToGraph().fit([[1.0], [2.0]])


def test_pickles_in_a_fresh_process_which_imports_the_readers_at_use(X, tmp_path):
    transformer = CifToGraph().fit(X)
    graphs = transformer.transform(X)
    assert pickle.loads(pickle.dumps(transformer)).transform(X) == graphs
    joblib.dump((transformer, X, graphs), tmp_path / "all.joblib")
    code = (
        "import sys, joblib, skgnn_mtl; assert 'gemmi' not in sys.modules; "
        "t, X, graphs = joblib.load(sys.argv[1]); assert t.transform(X) == graphs; "
        "assert 'gemmi' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "all.joblib"], check=True)


def test_saved_graphs_keep_their_table(X, tmp_path):
    graphs = CifToGraph().transform(X)
    graphs.save(tmp_path / "graphs")
    for mode in (None, "r"):
        loaded = GraphArray.load(tmp_path / "graphs", mmap_mode=mode)
        assert loaded == graphs
        assert loaded.schema.node_table == graphs.schema.node_table


def test_cache(X, tmp_path):
    pipeline = make_pipeline(CifToGraph(), "passthrough", memory=str(tmp_path))
    assert pipeline.fit_transform([COPPER]) == CifToGraph().transform([COPPER])
    assert pipeline.fit_transform([COPPER]) == CifToGraph().transform([COPPER])
