"""A network and a learner on descriptors."""

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crystals import CESIUM_CHLORIDE, ORDERED, structure_of
from rdkit import Chem
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin, clone
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skgnn_mtl import (
    CifToGraph,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.encoders import CGCNN, DMPNN
from skgnn_mtl.ensemble import (
    HybridClassifier,
    HybridRegressor,
    PerTaskClassifier,
    PerTaskRegressor,
)
from skgnn_mtl.ensemble._embeddings import aligned, embed
from skgnn_mtl.ensemble._recommended import (
    are_crystals,
    default_learner,
    default_network,
    make_descriptors,
    negative_brier,
)
from skgnn_mtl.featurizers import CifToDescriptors, SmilesToDescriptors

DESCRIPTORS = SmilesToDescriptors(("MolWt", "TPSA", "RingCount"), 8, on_error="nan")


def network(**parameters):
    parameters = {"max_epochs": 2, **parameters}
    return make_pipeline(
        SmilesToGraph("chemprop", on_error="nan"),
        MultiTaskGNNRegressor(DMPNN(width=16), **parameters),
    )


def hybrid(**parameters):
    parts = {"network": network(), "learner": Ridge(), "descriptors": DESCRIPTORS}
    return HybridRegressor(**{**parts, "random_state": 0, **parameters})


class Seer(RegressorMixin, BaseEstimator):
    """Embeds a row as its number, or 1000 if it was fitted on it."""

    def fit(self, X, y):
        self.seen_ = set(np.asarray(X)[:, 0])
        self.n_tasks_ = np.asarray(y).shape[1]
        return self

    def predict(self, X):
        return np.zeros((len(X), self.n_tasks_))

    def embed(self, X):
        first = np.asarray(X)[:, 0]
        return np.array([[1000.0 if x in self.seen_ else x, 1.0] for x in first])


class Keeper(RegressorMixin, BaseEstimator):
    def fit(self, X, y, sample_weight=None):
        self.X_, self.sample_weight_ = X, sample_weight
        return self

    def predict(self, X):
        return np.zeros(len(X))


# -- the mean of two --------------------------------------------------------------


def test_the_prediction_is_the_mean_of_network_and_learner(smiles):
    X, y = smiles
    model = hybrid().fit(X, y)
    side = PerTaskRegressor(Ridge()).fit(DESCRIPTORS.transform(X), y)
    learner = side.predict(DESCRIPTORS.transform(X))
    np.testing.assert_allclose(
        model.learner_.predict(DESCRIPTORS.transform(X)), learner
    )
    expected = (model.network_.predict(X) + learner) / 2
    np.testing.assert_allclose(model.predict(X), expected)
    alone = hybrid(blend=False).fit(X, y).predict(X)
    np.testing.assert_allclose(alone, learner)
    assert model.predict(X).shape == y.shape


def test_an_invalid_row_is_nan_and_does_not_spoil_the_others(smiles):
    X, y = smiles
    X[3] = "C1CC"
    with pytest.warns(UserWarning, match="rows of NaN|invalid graph"):
        model = hybrid().fit(X, y)
    with pytest.warns(UserWarning, match="rows of NaN|invalid graph"):
        found = model.predict(X)
    assert np.isnan(found).any(axis=1).nonzero()[0].tolist() == [3]
    rest = [k for k in range(24) if k != 3]
    side = PerTaskRegressor(Ridge())
    side.fit(DESCRIPTORS.transform([X[k] for k in rest]), y[rest])
    columns = model.descriptors_.transform([X[k] for k in rest])
    np.testing.assert_allclose(
        model.learner_.predict(columns), side.predict(columns), atol=1e-8
    )


class Lengths(TransformerMixin, BaseEstimator):
    """Makes a number of any string, also of one that is no molecule."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[float(len(row))] for row in X])


@pytest.mark.parametrize("blend", [True, False])
def test_what_the_network_cannot_read_the_learner_does_not_predict(smiles, blend):
    X, y = smiles
    model = hybrid(descriptors=Lengths(), blend=blend).fit(X, y)
    with pytest.warns(UserWarning, match="invalid graph"):
        found = model.predict(["CCO", "C1CC"])
    assert np.isnan(found).all(axis=1).tolist() == [False, True]


def test_graphs_have_their_descriptors_by_their_identifiers(smiles):
    X, y = smiles
    graphs = SmilesToGraph("chemprop").transform(X)
    on_graphs = hybrid(network=network()[-1]).fit(graphs, y).predict(graphs)
    np.testing.assert_allclose(on_graphs, hybrid().fit(X, y).predict(X), rtol=1e-5)


def test_one_dimension_names_and_weights(smiles):
    X, y = smiles
    weight = np.random.default_rng(0).random(24)
    frame = pd.DataFrame(y, columns=["Tb", "logP"])
    model = hybrid(learner=Keeper()).fit(X, frame, sample_weight=weight)
    assert model.task_names_ == ["Tb", "logP"]
    rows = frame["logP"].notna().to_numpy()
    kept = model.learner_.estimators_[1].sample_weight_
    np.testing.assert_array_equal(kept, weight[rows])
    assert hybrid().fit(X, y[:, 0]).predict(X).shape == (24,)


def test_a_seed_decides_everything_and_n_jobs_nothing(smiles):
    X, y = smiles
    trees = ExtraTreesRegressor(3)
    model = hybrid(learner=trees, embeddings=True, cv=2)
    one = model.fit(X, y).predict(X)
    two = clone(model).set_params(n_jobs=2).fit(X, y).predict(X)
    np.testing.assert_array_equal(one, two)
    other = clone(model).set_params(random_state=1).fit(X, y).predict(X)
    assert (one != other).any()
    assert trees.random_state is None


def test_without_a_seed_those_of_the_parts_stay(smiles):
    X, y = smiles
    model = hybrid(network=network(random_state=7), random_state=None)
    assert model.fit(X, y).network_[-1].random_state == 7
    np.testing.assert_array_equal(model.predict(X), model.fit(X, y).predict(X))


def test_it_is_cloned_searched_validated_and_pickled(smiles):
    X, y = smiles
    search = GridSearchCV(hybrid(), {"learner__alpha": [1.0, 10.0]}, cv=2, n_jobs=2)
    search.fit(X, y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    np.testing.assert_array_equal(again.predict(X), search.predict(X))
    assert len(cross_validate(hybrid(), X, y, cv=2)["test_score"]) == 2


# -- embeddings -------------------------------------------------------------------


def test_embeddings_of_training_rows_come_from_networks_without_them():
    X = np.arange(12.0)[:, None]
    y = np.column_stack([X[:, 0], X[:, 0]])
    identity = FunctionTransformer()
    cv = KFold(3)
    model = HybridRegressor(
        Seer(), Keeper(), descriptors=identity, embeddings=True, cv=cv
    ).fit(X, y)
    kept = model.learner_.estimators_[0].X_
    assert kept.shape == (12, 3)
    # The networks know their own rows only as 1000, which ridge maps to 1000: had the
    # final network embedded its training rows, all would be the same number.
    assert model.network_.embed(X)[:, 0].tolist() == [1000.0] * 12
    for train, test in cv.split(X):
        network = Seer().fit(X[train], y[train])
        expected = aligned(network.embed(X), model.network_.embed(X), train, test)
        np.testing.assert_allclose(kept[test, 1:], expected)


def test_alignment_undoes_a_rotation():
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(400, 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    vectors = 5 + 100 * reference @ rotation
    vectors[[1, 399]] = np.nan
    train, test = np.arange(300), np.arange(300, 400)
    found = aligned(vectors, reference, train, test)
    np.testing.assert_allclose(found[:-1], reference[300:399], atol=0.05)
    assert np.isnan(found[-1]).all()
    assert np.isfinite(
        aligned(np.ones((9, 2)), reference[:9], train[:5], train[5:9])
    ).all()


def test_the_last_step_of_a_pipeline_embeds(smiles):
    X, y = smiles
    pipe = network(random_state=0).fit(X, y)
    np.testing.assert_array_equal(embed(pipe, X), pipe[-1].embed(pipe[0].transform(X)))
    model = hybrid(network=PerTaskRegressor(network()), embeddings=True)
    with pytest.raises(TypeError, match="PerTaskRegressor does not have it"):
        model.fit(X, y)


# -- the recommended parts --------------------------------------------------------


def test_the_default_learner_is_the_better_of_two(smiles):
    X, y = smiles
    columns = DESCRIPTORS.transform(X)
    learner = default_learner(
        classifier=False, cv=3, groups=None, random_state=0, n_jobs=None
    ).fit(columns, y[:, 0])
    scores = {
        kind.__name__: cross_val_score(
            kind(random_state=0),
            columns,
            y[:, 0],
            cv=KFold(3, shuffle=True, random_state=0),
            scoring="neg_mean_squared_error",
        ).mean()
        for kind in (ExtraTreesRegressor, HistGradientBoostingRegressor)
    }
    best = max(scores, key=scores.get)
    assert type(learner.best_params_["model"]).__name__ == best
    assert learner.best_score_ == pytest.approx(scores[best])


def test_groups_reach_the_choice_of_the_learner(smiles):
    X, y = smiles
    groups = np.arange(24) % 4
    model = hybrid(learner=None, cv=2).fit(X, y, groups=groups)
    assert type(model.learner_.estimators_[0].cv).__name__ == "GroupKFold"


def test_without_arguments_it_takes_smiles(smiles):
    X, _ = smiles
    pipe = default_network(X, classifier=False)
    assert pipe[0].features == "chemprop"
    assert pipe[-1].encoder.width == 300
    assert pipe[-1].readout.norm == 20
    graphs = SmilesToGraph("chemprop").transform(X)
    assert isinstance(default_network(graphs, classifier=False), MultiTaskGNNRegressor)
    assert isinstance(default_network(graphs, classifier=True), MultiTaskGNNClassifier)
    for descriptors in (None, "rdkit2d"):
        for rows in (X, graphs):
            made = make_descriptors(descriptors, rows, 2)
            assert (made.morgan_counts, made.on_error, made.n_jobs) == (1024, "nan", 2)


def test_the_recommended_model_fits_a_table_with_gaps(smiles):
    X, y = smiles
    model = HybridRegressor(random_state=0).fit(X, y)
    assert model.predict(X).shape == y.shape
    assert model.score(X, y) > 0.7


SALT = structure_of(CESIUM_CHLORIDE)


@pytest.mark.parametrize(
    ("rows", "crystals"),
    [
        (["CCO", "data_x\n_cell_length_a 1"], False),
        (["CCO\n"], False),
        ([None, "data_x\n_cell_length_a 1"], True),
        ([Path("a.cif")], True),
        (["folder/a.CIF"], True),
        ([SALT], True),
        ([float("nan"), SALT.to_ase_atoms()], True),
        (pd.DataFrame({"cif": ["data_x\n"]}), True),
        ([Chem.MolFromSmiles("CC")], False),
        ([], False),
    ],
)
def test_crystals_are_told_from_molecules(rows, crystals):
    assert are_crystals(rows) is crystals
    kind = CifToDescriptors if crystals else SmilesToDescriptors
    assert type(make_descriptors(None, rows, None)) is kind
    pipe = default_network(rows, classifier=False)
    assert isinstance(pipe[-1].encoder, CGCNN if crystals else DMPNN)


def test_the_network_of_crystals():
    pipe = default_network([CESIUM_CHLORIDE], classifier=False)
    assert pipe[-1].loss == "absolute_error"
    assert pipe[-1].head_hidden_dims == (64,)
    assert pipe[-1].lr_schedule == "warmup_cosine"
    assert pipe[0].on_error == "nan"
    graphs = CifToGraph().transform([CESIUM_CHLORIDE])
    bare = default_network(graphs, classifier=False)
    assert repr(bare) == repr(pipe[-1])
    classifier = default_network(graphs, classifier=True)
    assert isinstance(classifier, MultiTaskGNNClassifier)
    assert isinstance(classifier.encoder, CGCNN)


@pytest.fixture(scope="module")
def crystals():
    """Twenty-five crystals in cells of five sizes, with their densities and a gap."""
    cells = [structure_of(text) for text in ORDERED.values()]
    rows = [
        cell.scale_lattice(cell.volume * k)
        for k in (0.9, 1, 1.1, 1.2, 1.3)
        for cell in cells
    ]
    y = np.array([[row.density, row.volume] for row in rows])
    y[3, 1] = np.nan
    return rows, y


def test_without_arguments_it_takes_crystals(crystals):
    X, y = crystals
    model = HybridRegressor(random_state=0).fit(X, y)
    assert isinstance(model.descriptors_, CifToDescriptors)
    assert isinstance(model.network_[-1].encoder, CGCNN)
    assert model.score(X, y) > 0.8
    texts = [row.copy().relabel_sites().to(fmt="cif") for row in X]
    np.testing.assert_allclose(model.predict(texts), model.predict(X), rtol=0.05)


def small_crystal_network():
    return MultiTaskGNNRegressor(CGCNN(width=8), max_epochs=2)


def test_graphs_of_crystals_bring_their_descriptors(crystals):
    X, y = crystals
    graphs = CifToGraph(descriptors="composition").transform(X)
    options = {"learner": Ridge(), "random_state": 0}
    model = HybridRegressor(small_crystal_network(), **options).fit(graphs, y)
    side = PerTaskRegressor(Ridge()).fit(graphs.graph_features, y)
    expected = model.network_.predict(graphs) + side.predict(graphs.graph_features)
    np.testing.assert_allclose(model.predict(graphs), expected / 2, rtol=1e-4)
    with pytest.raises(ValueError, match=r"CifToGraph\(descriptors='composition'\)"):
        HybridRegressor(**options).fit(CifToGraph().transform(X), y)


def test_invalid_crystals_are_nan(crystals):
    X, y = crystals
    pipe = make_pipeline(CifToGraph(on_error="nan"), small_crystal_network())
    model = HybridRegressor(pipe, Ridge(), random_state=0)
    rows = [*X[:-1], "data_x\n"]
    with pytest.warns(UserWarning, match="rows of NaN|invalid graph"):
        found = model.fit(rows, y).predict(rows)
    assert np.isnan(found).any(axis=1).nonzero()[0].tolist() == [24]


def test_a_model_of_molecules_refuses_crystals(smiles):
    X, y = smiles
    model = hybrid().fit(X, y)
    with pytest.warns(UserWarning, match="Could not read"):
        assert np.isnan(model.predict([CESIUM_CHLORIDE])).all()


def test_the_scorer_of_classes_knows_folds_of_one_class():
    X, y = np.arange(8.0)[:, None], np.array([0, 0, 0, 0, 1, 1, 1, 1])
    model = LogisticRegression().fit(X, y)
    expected = np.mean((model.predict_proba(X)[:, 1] - y) ** 2)
    assert negative_brier(model, X, y) == pytest.approx(-expected)
    assert np.isfinite(negative_brier(model, X[:3], y[:3]))


# -- bad input --------------------------------------------------------------------


class Lines(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.zeros(len(X))


class Nothing(Lines):
    def transform(self, X):
        return np.full((len(X), 2), np.inf)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"descriptors": "rdkit3d"}, ValueError, "descriptors must be None, 'rdkit2d'"),
        ({"descriptors": 3}, TypeError, "descriptors must be None, 'rdkit2d'"),
        ({"descriptors": Lines()}, ValueError, r"a table of 24 rows.*\(24,\)"),
        ({"descriptors": Nothing()}, ValueError, "descriptors are NaN in all rows"),
        ({"network": LogisticRegression()}, TypeError, "network must be a regressor"),
        ({"learner": Ridge}, TypeError, "learner must be an estimator"),
        ({"blend": "mean"}, ValueError, "blend"),
    ],
)
def test_wrong_parameters_are_refused(smiles, parameters, error, message):
    X, y = smiles
    with pytest.raises(error, match=message):
        hybrid(**parameters).fit(X, y)


def test_a_task_with_fewer_labels_than_folds_is_named(smiles):
    X, y = smiles
    y[3:, 1] = np.nan
    # Before the network is trained, which would complain of its own parameter.
    unable = network(batch_size=-1)
    with pytest.raises(ValueError, match="Task 'task_1' has 2 label.*Lower cv"):
        hybrid(network=unable, learner=None).fit(X, y)
    assert hybrid(learner=None, cv=2).fit(X, y).predict(X).shape == y.shape
    # Labels of rows without descriptors do not count.
    X[1] = "C1CC"
    with (
        pytest.warns(UserWarning, match="rows of NaN"),
        pytest.raises(ValueError, match="Task 'task_1' has 1 label"),
    ):
        hybrid(network=unable, learner=None, cv=2).fit(X, y)


def test_what_the_learner_refuses_is_known_before_the_network(smiles):
    X, y = smiles
    X[3] = "[Fe]"  # RDKit does not have its charge
    charges = SmilesToDescriptors(("MolWt", "BCUT2D_CHGHI"), 0)
    unable = network(batch_size=-1)
    with pytest.raises(ValueError, match="learner: Task 'task_0' .* contains NaN"):
        hybrid(network=unable, descriptors=charges).fit(X, y)


def test_a_class_with_fewer_labels_than_folds_is_named(smiles):
    X, y = smiles
    classes = np.column_stack([y[:, 0] > 3, np.full(24, np.nan)])
    classes[:6, 1] = [0, 0, 0, 0, 1, 1]
    pipe = make_pipeline(
        SmilesToGraph("chemprop"), MultiTaskGNNClassifier(DMPNN(width=16), max_epochs=2)
    )
    model = HybridClassifier(pipe, descriptors=DESCRIPTORS, cv=5, random_state=0)
    with pytest.raises(ValueError, match="Task 'task_1' has 6 label.*cv=5"):
        model.fit(X, classes)
    with pytest.warns(UserWarning, match="least populated class"):
        model.set_params(cv=4).fit(X, classes)
    # A single class needs no choice.
    classes[:6, 1] = [1, 1, 1, np.nan, np.nan, np.nan]
    with pytest.warns(UserWarning, match="labels of one class only"):
        model.set_params(cv=5).fit(X, classes)
    assert (model.predict(X)[:, 1] == 1).all()


# -- classes ----------------------------------------------------------------------


def test_probabilities_are_the_mean_of_both(smiles):
    X, y = smiles
    classes = np.where(np.isnan(y), np.nan, y > 3)
    pipe = make_pipeline(
        SmilesToGraph("chemprop"), MultiTaskGNNClassifier(DMPNN(width=16), max_epochs=2)
    )
    learner = make_pipeline(StandardScaler(), LogisticRegression())
    classes[:, 1] = np.where(np.isnan(y[:, 1]), np.nan, y[:, 1] > 0)
    model = HybridClassifier(pipe, learner, descriptors=DESCRIPTORS, random_state=0)
    model.fit(X, classes)
    side = PerTaskClassifier(learner).fit(DESCRIPTORS.transform(X), classes)
    parts = (
        model.network_.predict_proba(X),
        side.predict_proba(DESCRIPTORS.transform(X)),
    )
    for t, found in enumerate(model.predict_proba(X)):
        np.testing.assert_allclose(found, (parts[0][t] + parts[1][t]) / 2)
    assert 0.4 < model.score(X, classes) <= 1
    default = HybridClassifier(pipe, descriptors=DESCRIPTORS, cv=2, random_state=0)
    assert default.fit(X, classes).predict(X).shape == (24, 2)
