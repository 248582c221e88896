"""Meta-estimators on tasks of more than two classes, beside tasks of two, with gaps."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from small_estimators import SMILES, small

from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph, load
from skgnn_mtl.ensemble import (
    BlendClassifier,
    CalibratedClassifier,
    ConformalClassifier,
    EnsembleClassifier,
    GroupedClassifier,
    HybridClassifier,
    PerTaskClassifier,
)
from skgnn_mtl.ensemble._calibration import (
    at_class_points,
    at_temperature,
    fit_isotonic_classes,
    fit_temperature,
)
from skgnn_mtl.ensemble._recommended import negative_brier
from skgnn_mtl.featurizers import SmilesToDescriptors
from skgnn_mtl.metrics import nan_brier_score, nan_log_loss
from skgnn_mtl.model_selection import (
    compare_models,
    compare_with_single_task,
    cross_val_predict_with_gaps,
)

LINE = PerTaskClassifier(LogisticRegression())
BAYES = PerTaskClassifier(GaussianNB())


def draw(n):
    """X (n, 3), and a frame of three words, two numbers and four numbers."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    z = X + rng.normal(size=X.shape) * [0.7, 0.7, 0.4]
    words = np.array(["low", "mid", "top"])[np.digitize(z[:, 0], [-0.5, 0.8])]
    quarter = np.digitize(z[:, 2], [-0.8, 0, 0.8])
    y = pd.DataFrame({"w": words, "b": (z[:, 1] > 0).astype(int), "q": quarter})
    return X, y.mask(rng.random(y.shape) < 0.25)


@pytest.fixture(scope="module")
def data():
    return draw(240)


MODELS = {
    "ensemble": EnsembleClassifier(LINE, 3, resample="folds", random_state=0),
    "bootstrap": EnsembleClassifier(LINE, 3, resample="bootstrap", random_state=0),
    "blend": BlendClassifier([("a", LINE), ("b", BAYES)], weights="oof"),
    "grouped": GroupedClassifier(LINE, [["q", "w"], ["b"]]),
    "per task": LINE,
    "conformal": ConformalClassifier(LINE, random_state=0),
    "calibrated": CalibratedClassifier(BAYES, random_state=0),
    "isotonic": CalibratedClassifier(BAYES, method="isotonic", random_state=0),
}


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_in_the_form_of_scikit_learn(name, data, tmp_path):
    X, y = data
    model = clone(MODELS[name]).fit(X, y)
    classes = [part.tolist() for part in model.classes_]
    assert classes == [["low", "mid", "top"], [0, 1], [0, 1, 2, 3]]
    found, labels = model.predict_proba(X), model.predict(X)
    assert [p.shape[1] for p in found] == [3, 2, 4]
    for t, (part, p) in enumerate(zip(model.classes_, found, strict=True)):
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        assert p.min() >= 0
        assert labels[:, t].tolist() == part[p.argmax(axis=1)].tolist()
    assert model.score(X, y) > 0.8
    flat = clone(model)
    if isinstance(flat, GroupedClassifier):
        flat.set_params(task_groups=None)
    rows = y["q"].notna().to_numpy()
    flat.fit(X[rows], y["q"][rows].astype(int))
    assert flat.predict_proba(X).shape == (240, 4)
    assert set(flat.predict(X)) <= {0, 1, 2, 3}
    model.save(tmp_path / "m")
    again = load(tmp_path / "m").predict_proba(X)
    assert all((a == b).all() for a, b in zip(again, found, strict=True))


def test_groups_and_members_put_the_columns_of_a_task_in_place(data):
    X, y = data
    alone = LINE.fit(X, y).predict_proba(X)
    others = [
        GroupedClassifier(LINE, [["q", "w"], ["b"]]),
        EnsembleClassifier(LINE, 2),
        BlendClassifier([("a", LINE), ("b", LINE)], weights=[[0.3, 1, 0], [0.7, 0, 1]]),
    ]
    for other in others:
        found = other.fit(X, y).predict_proba(X)
        for a, b in zip(found, alone, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-12)


def test_a_member_without_a_class_gives_it_no_probability(data):
    X, y = data
    two = y["w"].where(y["w"] != "top")
    member = LINE.fit(X, two.to_frame())
    ensemble = EnsembleClassifier(LINE, 1).fit(X, y[["w"]])
    ensemble.estimators_ = [member]
    (found,) = ensemble.predict_proba(X)
    assert (found[:, 2] == 0).all()
    np.testing.assert_allclose(found[:, :2], member.predict_proba(X)[0], atol=1e-12)


def test_errors_out_of_fold_are_brier_scores(data):
    X, y = data
    weight = np.random.default_rng(1).integers(1, 4, 240).astype(float)
    model = EnsembleClassifier(LINE, 3, resample="folds", random_state=0)
    model.fit(X, y, sample_weight=weight)
    expected = nan_brier_score(
        y, model.oof_predictions_, sample_weight=weight, multioutput="raw_values"
    )
    np.testing.assert_allclose(model.oof_mse_, expected)


def test_learned_weights_minimise_the_brier_score(data):
    X, y = data
    # Large ones, because the weights of the blend hardly depend on small ones.
    weight = np.random.default_rng(1).choice([1.0, 30.0], 240)
    folds = list(KFold(3).split(X))
    model = BlendClassifier([("a", LINE), ("b", BAYES)], weights="oof", cv=folds)
    model.fit(X, y, sample_weight=weight)
    tables = [
        cross_val_predict_with_gaps(
            part,
            X,
            y,
            cv=folds,
            method="predict_proba",
            params={"sample_weight": weight},
        )
        for part in (LINE, BAYES)
    ]
    for t, name in enumerate(y):

        def loss(w, t=t, name=name):
            mean = w * tables[0][t] + (1 - w) * tables[1][t]
            return nan_brier_score(y[name].to_numpy(), mean, sample_weight=weight)

        best = minimize(lambda w: loss(w[0]), [0.5], bounds=[(0, 1)]).x[0]
        trust = y[name].notna().sum() / (y[name].notna().sum() + 100)
        wanted = trust * best + (1 - trust) / 2
        assert model.weights_[0, t] == pytest.approx(wanted, abs=1e-3)
        errors = [
            nan_brier_score(y[name].to_numpy(), part[t], sample_weight=weight)
            for part in tables
        ]
        np.testing.assert_allclose(model.oof_mse_[:, t], errors)


def test_sets_hold_the_true_class_in_the_wanted_share(data):
    X, y = draw(4000)
    train, test = slice(0, 2000), slice(2000, None)
    model = ConformalClassifier(LINE, coverage=0.8, class_conditional=True, cv=2)
    model.fit(X[train], y[train])
    for t, (name, sets) in enumerate(zip(y, model.predict_set(X[test]), strict=True)):
        for k, label in enumerate(model.classes_[t].tolist()):
            rows = (y[name][test] == label).to_numpy()
            assert sets[rows, k].mean() == pytest.approx(0.8, abs=0.08)
    X, y = data
    # The definition, without classes of their own.
    plain = ConformalClassifier(LINE, method="cross", coverage=0.8, random_state=0)
    plain.fit(X, y)
    scores = plain.scores_[:, 2]
    scores = np.sort(scores[~np.isnan(scores)])
    quantile = scores[int(np.ceil((len(scores) + 1) * 0.8)) - 1]
    wanted = 1 - plain.predict_proba(X)[2] <= quantile + 1e-12
    assert (plain.predict_set(X)[2] == wanted).all()


def test_scores_of_calibration_are_one_minus_the_true_probability(data):
    X, y = data
    model = ConformalClassifier(LINE, method="cross", cv=list(KFold(4).split(X)))
    model.fit(X, y)
    p = cross_val_predict_with_gaps(
        LINE, X, y, cv=list(KFold(4).split(X)), method="predict_proba"
    )
    for t, name in enumerate(y):
        known = y[name].notna().to_numpy()
        codes = np.searchsorted(model.classes_[t], y[name][known].tolist())
        wanted = 1 - p[t][known, codes]
        np.testing.assert_allclose(model.scores_[known, t], wanted, atol=1e-12)
        assert np.isnan(model.scores_[~known, t]).all()


def test_a_temperature_minimises_the_log_loss():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 3))
    true = softmax(logits, axis=1)
    codes = np.array([rng.choice(3, p=p) for p in true]).astype(float)
    weight = rng.random(2000)
    shown = softmax(3.0 * logits, axis=1)
    temperature = fit_temperature(shown[:, 1:], codes, weight)
    assert temperature == pytest.approx(3.0, rel=0.1)
    best = at_temperature(shown[:, 1:], temperature)
    for factor in (0.9, 1.1):
        other = at_temperature(shown[:, 1:], factor * temperature)
        losses = [
            log_loss(
                codes, np.column_stack([1 - p.sum(axis=1), p]), sample_weight=weight
            )
            for p in (best, other)
        ]
        assert losses[0] < losses[1]
    np.testing.assert_allclose(at_temperature(shown[:, 1:], 3.0), true[:, 1:])
    assert np.isnan(at_temperature(np.full((1, 2), np.nan), 2.0)).all()


@pytest.mark.parametrize("method", ["temperature", "isotonic"])
def test_calibration_lowers_the_log_loss(method):
    X, y = draw(1200)
    wide = np.hstack([X, X, X, X])  # the same four times makes it too sure
    train, test = slice(0, 800), slice(800, None)
    model = CalibratedClassifier(BAYES, method=method, random_state=0)
    model.fit(wide[train], y[train])
    plain = clone(BAYES).fit(wide[train], y[train])
    found, before = (
        nan_log_loss(y[test], m.predict_proba(wide[test])) for m in (model, plain)
    )
    assert found < before - 0.1
    if method == "temperature":
        assert (model.temperatures_ > 1.2).all()


def test_isotonic_functions_are_those_of_scikit_learn():
    """Each class against the rest, scaled; without a class that is not 0, equal."""
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 300)
    codes = np.array([rng.choice(3, p=q) for q in p]).astype(float)
    points = fit_isotonic_classes(p[:, 1:], codes, np.ones(300))
    found = at_class_points(p[:, 1:], points)
    models = [IsotonicRegression().fit(p[:, k], codes == k) for k in range(3)]
    each = np.column_stack([m.predict(q) for m, q in zip(models, p.T, strict=True)])
    wanted = each / each.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted[:, 1:], atol=1e-6)
    nothing = [np.array([[0.0, 1.0], [0.0, 0.0]])] * 3
    rows = np.array([[0.2, 0.3], [np.nan, np.nan]])
    assert at_class_points(rows, nothing)[0].tolist() == [1 / 3, 1 / 3]
    assert np.isnan(at_class_points(rows, nothing)[1]).all()


def test_the_default_learner_is_chosen_by_all_classes():
    X = np.random.default_rng(0).normal(size=(80, 2))
    y = np.digitize(X[:, 0], [-0.5, 0.5])
    model = LogisticRegression().fit(X, y)
    squares = (model.predict_proba(X) - np.eye(3)[y]) ** 2
    assert negative_brier(model, X, y) == pytest.approx(-squares.sum(axis=1).mean())


@pytest.mark.parametrize("embeddings", [False, True])
def test_a_hybrid_of_network_and_trees(embeddings):
    smiles = np.tile(SMILES, 3)
    sizes = np.array([len(s) for s in smiles])
    y = pd.DataFrame(
        {"size": np.digitize(sizes, [4, 8]), "oxygen": ["O" in s for s in smiles]}
    )
    y = y.astype(object).mask(np.arange(180).reshape(90, 2) % 7 == 0)
    model = HybridClassifier(
        make_pipeline(SmilesToGraph(), small(MultiTaskGNNClassifier, max_epochs=10)),
        LogisticRegression(),
        descriptors=SmilesToDescriptors(["MolLogP", "MolWt"], 0),
        embeddings=embeddings,
        cv=3,
        random_state=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of iterations of the regression
        model.fit(smiles, y)
    found = model.predict_proba(SMILES)
    assert [p.shape for p in found] == [(30, 3), (30, 2)]
    parts = model.network_.predict_proba(SMILES)
    if not embeddings:
        columns = model.descriptors_.transform(SMILES)
        for p, a, b in zip(
            found, parts, model.learner_.predict_proba(columns), strict=True
        ):
            np.testing.assert_allclose(p, (a + b) / 2, atol=1e-12)
    assert model.score(smiles, y) > 0.8


# -- tools of model selection ----------------------------------------------------------


def test_probabilities_out_of_fold_have_the_form_of_the_classifier(data):
    X, y = data
    found = cross_val_predict_with_gaps(LINE, X, y, cv=4, method="predict_proba")
    train, test = next(KFold(4).split(X))
    expected = clone(LINE).fit(X[train], y.iloc[train]).predict_proba(X[test])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a[test], b)
    alone = cross_val_predict_with_gaps(LINE, X, y["q"], cv=4, method="predict_proba")
    assert alone.shape == (240, 4)


def test_models_are_compared_by_the_area_of_each_class(data):
    X, y = data
    folds = list(KFold(2).split(X))
    found = compare_models({"line": LINE, "bayes": BAYES}, X, y, cv=folds).scores
    train, test = folds[1]
    model = clone(LINE).fit(X[train], y.iloc[train])
    rows = found[(found["model"] == "line") & (found["fold"] == 1)].set_index("task")
    assert rows["error"].mean() == pytest.approx(1 - model.score(X[test], y.iloc[test]))
    assert rows["n_test"].tolist() == y.iloc[test].notna().sum().tolist()


def test_differences_of_classes_are_no_error(data):
    X, y = data
    with pytest.raises(ValueError, match="Task 'q' has 4 classes.*compare_models"):
        compare_with_single_task(small(MultiTaskGNNClassifier), X, y[["b", "q"]])
