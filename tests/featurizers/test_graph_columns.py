"""Tables of graphs and numbers: GraphColumns."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from crystals import COPPER, QUARTZ
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    StandardScaler,
    TargetEncoder,
)
from sklearn.utils.estimator_checks import estimator_checks_generator

from skgnn_mtl import CifToGraph, GraphColumns, SmilesToGraph

SMILES = ["CCO", "CC", "C1CC", "c1ccccc1"]
COLUMNS = {
    "name": ["a", "b", "c", "d"],
    "smiles": SMILES,
    "T": [300.0, 350.0, 400.0, np.nan],
    "pH": [4, 7, 7, 10],
    "solvent": ["w", "m", "w", "w"],
    "dry": [True, False, True, True],
}
PANDAS = pd.DataFrame(COLUMNS, index=[7, 3, 3, 1])
POLARS = pl.DataFrame(COLUMNS)
FEATURES = (
    ("scale", StandardScaler(), ["T", "pH"]),
    ("solvent", OneHotEncoder(), ["solvent"]),
)
SMALL, LARGE = [1.0, 2.0, 3.0, 4.0], [10.0, 20.0, 30.0, 40.0]
TOLERANT = SmilesToGraph(on_error="nan")
pytestmark = pytest.mark.filterwarnings("ignore:1 of 4 rows:UserWarning")


def columns(features=FEATURES, **options):
    return GraphColumns(graph_transformer=TOLERANT, features=features, **options)


@pytest.mark.parametrize("table", [PANDAS, POLARS], ids=["pandas", "polars"])
def test_numbers_stand_beside_the_graph_of_their_row(table):
    X = columns().fit_transform(table)
    assert X.schema.graph_features == (
        *("scale__T", "scale__pH"),
        *("solvent__solvent_m", "solvent__solvent_w"),
    )
    scaled = StandardScaler().fit_transform(PANDAS[["T", "pH"]])
    np.testing.assert_allclose(X.graph_features[:, :2], scaled, rtol=1e-6)
    assert X.graph_features[:, 2].tolist() == [0, 1, 0, 0]
    bare = TOLERANT.transform(SMILES)
    assert bare.with_features(X.graph_features, X.schema.graph_features) == X
    assert X.valid.tolist() == [True, True, False, True]
    assert np.isfinite(X.graph_features[2]).all()  # of the invalid graph
    assert np.isnan(X.graph_features[3, 0])


def test_rows_belong_together_by_position_and_labels_follow():
    fitted = columns().fit(PANDAS)
    expected = fitted.transform(PANDAS)
    turned = fitted.transform(PANDAS.iloc[::-1])
    assert turned == expected[::-1]
    assert turned.index.tolist() == [1, 3, 3, 7]
    frames = clone(fitted)
    frames.features[0][1].set_output(transform="pandas")
    assert frames.fit(PANDAS).transform(PANDAS.iloc[::-1]) == turned
    with sklearn.config_context(transform_output="pandas"):
        assert columns().fit(PANDAS).transform(PANDAS.iloc[::-1]) == turned
        assert columns().set_output(transform="pandas").fit_transform(PANDAS) == (
            expected
        )


def test_scales_are_learned_in_fit_only():
    fitted = columns([("scale", StandardScaler(), ["pH"])]).fit(PANDAS)
    assert fitted.columns_.named_transformers_["scale"].mean_.tolist() == [7.0]
    first = fitted.transform(PANDAS.iloc[:1])
    assert first == fitted.transform(PANDAS)[:1]


def test_fit_changes_neither_parameters_nor_parts():
    scaler, transformer = StandardScaler(), SmilesToGraph(on_error="nan")
    model = GraphColumns("smiles", transformer, [("scale", scaler, ["pH"])])
    before = repr(model.get_params())
    model.fit_transform(PANDAS)
    assert not hasattr(scaler, "mean_")
    assert not hasattr(transformer, "n_features_in_")
    assert repr(model.get_params()) == before


@pytest.mark.parametrize("table", [PANDAS, POLARS], ids=["pandas", "polars"])
def test_the_remainder_is_the_numbers_that_are_not_used(table):
    X = columns(FEATURES[1:], remainder="passthrough").fit_transform(table)
    assert X.schema.graph_features[2:] == (
        *("remainder__T", "remainder__pH", "remainder__dry"),
    )
    expected = PANDAS[["T", "pH", "dry"]].to_numpy(np.float32)
    np.testing.assert_array_equal(X.graph_features[:, 2:], expected)
    X = columns((), remainder="passthrough").fit_transform(table)
    assert X.graph_features.shape == (4, 3)
    nullable = PANDAS.convert_dtypes()
    assert columns((), remainder="passthrough").fit_transform(nullable) == X


@pytest.mark.parametrize("table", [PANDAS, POLARS], ids=["pandas", "polars"])
def test_without_features_there_are_graphs_alone(table):
    assert columns(()).fit_transform(table) == TOLERANT.transform(SMILES)
    assert GraphColumns().fit_transform(table[:2]) == SmilesToGraph().transform(
        SMILES[:2]
    )


@pytest.mark.parametrize(
    "chosen",
    [
        ["T", "pH"],
        [2, 3],
        [-4, -3],
        slice(2, 4),
        slice("T", "pH"),
        [False, False, True, True, False, False],
        make_column_selector(dtype_include=np.number),
        lambda table: ["T", "pH"],
    ],
    ids=lambda chosen: type(chosen).__name__,
)
def test_columns_are_chosen_in_every_way_of_scikit_learn(chosen):
    expected = columns(FEATURES[:1]).fit_transform(PANDAS)
    fitted = columns([("scale", StandardScaler(), chosen)]).fit(PANDAS)
    assert fitted.transform(PANDAS) == expected
    other_order = PANDAS[["dry", "pH", "solvent", "T", "smiles"]]
    assert fitted.transform(other_order) == expected
    assert fitted.transform(POLARS) == expected


@pytest.mark.parametrize("table", [PANDAS, POLARS], ids=["pandas", "polars"])
def test_the_columns_of_fit_are_noted(table):
    pipe = make_pipeline(columns(), "passthrough").fit(table)
    assert pipe.n_features_in_ == 6
    assert pipe.feature_names_in_.tolist() == list(COLUMNS)
    pipe.fit(PANDAS.rename(columns={"name": 0}))
    assert pipe.n_features_in_ == 6
    assert not hasattr(pipe[0], "feature_names_in_")


def test_integer_labels_of_columns_are_not_their_positions():
    table = pd.concat(
        [PANDAS[["smiles"]].reset_index(drop=True), pd.DataFrame({0: SMALL, 1: LARGE})],
        axis=1,
    )
    second, first = ("large", "passthrough", [2]), ("small", "passthrough", [1])
    X = columns([second, first]).fit_transform(table)
    np.testing.assert_array_equal(X.graph_features.T, [LARGE, SMALL])


def test_one_name_gives_a_transformer_a_column_without_second_axis():
    class Length(BaseEstimator):
        def fit(self, X, y=None):
            self.n_features_in_ = 1
            return self

        def transform(self, X):
            return np.array([[len(x)] for x in X])

        def get_feature_names_out(self, input_features=None):
            return ["length"]

    X = columns([("text", Length(), "solvent")]).fit_transform(PANDAS)
    assert X.graph_features.tolist() == [[1.0]] * 4


def test_functions_and_passthrough_are_transformers():
    logarithm = FunctionTransformer(np.log10, feature_names_out="one-to-one")
    X = columns([("log", logarithm, ["T"]), ("as", "passthrough", ["pH"])])
    X = X.fit_transform(PANDAS)
    assert X.schema.graph_features == ("log__T", "as__pH")
    np.testing.assert_allclose(X.graph_features[0], [np.log10(300), 4], rtol=1e-6)


def test_training_rows_are_coded_as_by_a_column_transformer():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"smiles": "C", "site": rng.integers(0, 9, 40).astype(str)})
    y = rng.normal(size=40)
    features = [("code", TargetEncoder(cv=KFold(4)), ["site"])]
    fitted = columns(features)
    # Each row without its own label.
    np.testing.assert_allclose(
        fitted.fit_transform(table, y).graph_features,
        ColumnTransformer(features).fit_transform(table, y),
        rtol=1e-6,
    )
    new = ColumnTransformer(features).fit(table, y).transform(table)
    for model in (fitted, columns(features).fit(table, y)):
        found = model.transform(table).graph_features
        np.testing.assert_allclose(found, new, rtol=1e-6)


def test_features_of_the_graphs_come_first():
    transformer = SmilesToGraph(descriptors=["MolWt"], on_error="nan")
    X = columns(FEATURES[:1]).set_params(graph_transformer=transformer)
    X = X.fit_transform(PANDAS)
    assert X.schema.graph_features == ("MolWt", "scale__T", "scale__pH")


def test_crystals_and_another_name_of_the_column():
    table = pd.DataFrame({"cif": [COPPER, QUARTZ], "P": [1.0, 2.0]})
    model = GraphColumns("cif", CifToGraph(), [("P", "passthrough", ["P"])])
    X = model.fit_transform(table)
    assert X.ids.tolist() == ["Cu_primitive", "quartz"]
    assert X.graph_features.ravel().tolist() == [1, 2]


def test_columns_that_were_not_used_may_be_missing_others_are_named():
    fitted = columns().fit(PANDAS)
    used = PANDAS[["pH", "T", "smiles", "solvent"]]
    assert fitted.transform(used) == fitted.transform(PANDAS)
    for name in used:
        with pytest.raises(ValueError, match=f"not have the column '{name}' that Gra"):
            fitted.transform(used.drop(columns=name))
        with pytest.raises(ValueError, match=f"not have the column '{name}' that Gra"):
            columns().fit(POLARS.drop(name))


@pytest.mark.parametrize(
    "X",
    [SMILES, PANDAS.to_numpy(), PANDAS["smiles"], COLUMNS],
    ids=lambda X: type(X).__name__,
)
def test_what_is_not_a_table_is_refused(X):
    with pytest.raises(TypeError, match="needs a table with named columns"):
        columns().fit(X)
    with pytest.raises(TypeError, match="needs a table with named columns"):
        columns().fit(PANDAS).transform(X)


BAD = {
    "text": ([("as", "passthrough", ["solvent"])], "row 0 of column 'as__solvent'"),
    "entries": ([("scale", StandardScaler())], "entries .name, transformer, columns."),
    "a name twice": ([*FEATURES, FEATURES[0]], "not unique"),
    "a name of a parameter": ([("graph", StandardScaler(), ["T"])], "conflict"),
    "an infinity": (
        [("inverse", FunctionTransformer(lambda T: T * np.inf), ["pH"])],
        "row 0 of column 'inverse__pH' is inf",
    ),
}


@pytest.mark.parametrize(("features", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_a_feature_is_named(features, message):
    for _, transformer, *_ in features[:1]:
        if isinstance(transformer, FunctionTransformer):
            transformer.set_params(feature_names_out="one-to-one")
    with pytest.raises((ValueError, TypeError), match=message):
        columns(features).fit_transform(PANDAS)


def test_other_transformers_of_graphs_are_refused():
    with pytest.raises(TypeError, match="make a GraphArray, but FunctionTransformer"):
        columns().set_params(graph_transformer=FunctionTransformer()).fit_transform(
            PANDAS
        )
    with pytest.raises(NotFittedError):
        columns().transform(PANDAS)


def test_parameters_of_the_parts_are_reached_by_name():
    model = columns()
    assert model.get_params()["scale__with_mean"] is True
    assert model.get_params()["graph_transformer__on_error"] == "nan"
    model = clone(model).set_params(
        scale__with_mean=False, graph_transformer__features="chemprop"
    )
    X = model.fit_transform(PANDAS)
    assert X.schema.name == "chemprop"
    assert X.graph_features[:, 1].min() > 0
    model.set_params(scale="passthrough", remainder="passthrough")
    assert model.features[0] == ("scale", "passthrough", ["T", "pH"])
    assert model.fit_transform(PANDAS).graph_features[0, 0] == 300
    assert FEATURES[0][1].with_mean  # clone left the original alone
    with pytest.raises(ValueError, match="Invalid parameter 'scales'"):
        model.set_params(scales__with_mean=False)


class FirstFeature(DummyRegressor):
    """Score how near the first feature is to the target, and know no more."""

    def fit(self, X, y):
        self.fitted_ = True
        return self

    def score(self, X, y):
        return -float(np.abs(X.graph_features[:, 0] - y).sum())


def test_a_grid_search_chooses_scales_and_graphs():
    table, y = PANDAS.iloc[[0, 1, 0, 1]], [300.0, 350.0, 300.0, 350.0]
    pipeline = make_pipeline(GraphColumns("smiles", SmilesToGraph()), FirstFeature())
    pipeline.set_params(graphcolumns__features=[("T", StandardScaler(), ["T"])])
    grid = {
        "graphcolumns__T": [StandardScaler(), "passthrough"],
        "graphcolumns__graph_transformer__features": ["ogb", "pyg"],
    }
    search = GridSearchCV(pipeline, grid, cv=KFold(2)).fit(table, y)
    assert search.best_params_["graphcolumns__T"] == "passthrough"
    assert search.best_score_ == 0


WITHOUT_X = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_tag",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
}


def test_checks_of_scikit_learn_that_make_no_table():
    done = set()
    for estimator, check in estimator_checks_generator(GraphColumns()):
        name = getattr(check, "func", check).__name__
        if name in WITHOUT_X:
            check(estimator)
            done.add(name)
    assert len(done) >= 8


def test_pickles_work():
    fitted = columns().fit(PANDAS)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.transform(PANDAS) == fitted.transform(PANDAS)
