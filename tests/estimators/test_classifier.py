"""The classifier: labels of any kind with gaps, class weights, scores."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    PredefinedSplit,
    cross_validate,
)
from small_estimators import small

from skgnn_mtl import MultiTaskGNNClassifier
from skgnn_mtl.metrics import nan_roc_auc_scorer, per_task_scorers
from skgnn_mtl.weighting import Curvature


def make(**changes):
    return small(MultiTaskGNNClassifier, **{"max_epochs": 30, **changes})


@pytest.fixture
def frame(graphs):
    """Large or not, oxygen or not (strings), ring or not (booleans), with gaps."""
    large = (graphs.n_nodes > 5).astype(float)
    oxygen = np.array(["O" in s or "o" in s for s in graphs.ids])
    ring = np.array(["1" in s for s in graphs.ids])
    large[[0, 4]] = np.nan
    return pd.DataFrame(
        {
            "large": large,
            "oxygen": np.where(oxygen, "yes", "no"),
            "ring": ring.astype(object),
        }
    ).mask(np.arange(30)[:, None] == [3, 7, 11])


def test_labels_of_any_kind_come_back_as_they_were(graphs, frame):
    model = make().fit(graphs, frame)
    assert model.task_names_ == ["large", "oxygen", "ring"]
    classes = [part.tolist() for part in model.classes_]
    assert classes == [[0.0, 1.0], ["no", "yes"], [False, True]]
    labels, probabilities = model.predict(graphs), model.predict_proba(graphs)
    assert labels.shape == (30, 3)
    assert [p.shape for p in probabilities] == [(30, 2)] * 3
    logits = model.predict_logits(graphs)
    for t, (part, p) in enumerate(zip(model.classes_, probabilities, strict=True)):
        np.testing.assert_allclose(p.sum(axis=1), 1.0)
        np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-logits[:, t])))
        assert labels[:, t].tolist() == part[p.argmax(axis=1)].tolist()
    assert (labels[:, 2] == frame["ring"]).mean() > 0.9


def test_one_dimension_and_one_column_agree(graphs):
    y = np.where(graphs.n_nodes > 5, 1, -1)
    flat, column = make().fit(graphs, y), make().fit(graphs, y[:, None])
    assert flat.classes_.tolist() == [-1, 1]
    assert flat.predict(graphs).dtype.kind == "i"
    np.testing.assert_array_equal(flat.predict(graphs), column.predict(graphs)[:, 0])
    np.testing.assert_array_equal(
        flat.predict_proba(graphs), column.predict_proba(graphs)[0]
    )
    np.testing.assert_array_equal(
        flat.decision_function(graphs), column.predict_logits(graphs)[:, 0]
    )
    assert hasattr(flat, "decision_function")
    assert not hasattr(column, "decision_function")


def test_gaps_take_part_in_nothing(graphs, frame):
    """The loss of a task is the mean logistic loss of its labelled rows."""
    y = (graphs.n_nodes > 5).astype(float)
    y[5:12] = np.nan
    known = ~np.isnan(y)
    a, b = make().fit(graphs, y), make().fit(graphs[known], y[known])
    np.testing.assert_array_equal(a.predict_proba(graphs), b.predict_proba(graphs))
    model = make(max_epochs=1, batch_size=100, lr=1e-12).fit(graphs, y)
    logits = torch.tensor(model.predict_logits(graphs)[known])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, torch.tensor(y[known])
    )
    found = model.history_[0]["train_losses"]["task_0"]
    assert found == pytest.approx(float(expected), rel=1e-5)


def test_class_weights_are_weights_of_rows(graphs):
    y = (graphs.n_nodes > 8).astype(int)
    options = {"max_epochs": 3, "batch_size": 100}
    by_class = make(class_weight={1: 3.0}, **options).fit(graphs, y)
    by_row = make(**options).fit(graphs, y, sample_weight=np.where(y == 1, 3.0, 1.0))
    np.testing.assert_allclose(
        by_class.predict_proba(graphs), by_row.predict_proba(graphs), rtol=1e-4
    )
    balanced = make(class_weight="balanced", **options).fit(graphs, y)
    n = np.bincount(y)
    np.testing.assert_allclose(balanced.class_weight_, [30 / (2 * n)])
    several = make(class_weight=[{0: 2.0}, None], **options)
    several.fit(graphs, np.column_stack([y, 1 - y]))
    assert several.class_weight_.tolist() == [[2.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ValueError, match="pass a list with one entry per task"):
        make(class_weight={0: 1}).fit(graphs, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="class_weight has 1 entries"):
        make(class_weight=[None]).fit(graphs, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="names the class 'a'"):
        make(class_weight={"a": 1}).fit(graphs, y)


def test_score_is_the_mean_over_tasks_with_both_classes(graphs, frame):
    model = make(max_epochs=3).fit(graphs, frame)
    logits = model.predict_logits(graphs)
    expected = []
    for t, name in enumerate(frame):
        known = frame[name].notna().to_numpy()
        positive = frame[name][known] == model.classes_[t][1]
        expected.append(roc_auc_score(positive, logits[known, t]))
    assert model.score(graphs, frame) == pytest.approx(np.mean(expected))
    assert nan_roc_auc_scorer(model, graphs, frame) == pytest.approx(np.mean(expected))
    # Rows of which one task has one class only.
    rows = np.flatnonzero(frame["ring"] == True)  # noqa: E712
    with pytest.warns(UserWarning, match="undefined for 2 of 3 tasks.*'ring'"):
        model.score(graphs[rows], frame.iloc[rows])
    result = cross_validate(
        make(max_epochs=2),
        graphs,
        frame,
        cv=KFold(2),  # a number would need labels without gaps
        scoring={
            "auc": nan_roc_auc_scorer,
            **per_task_scorers(frame.columns, "roc_auc"),
        },
    )
    tasks = [result[f"test_roc_auc_{name}"] for name in frame]
    np.testing.assert_allclose(result["test_auc"], np.mean(tasks, axis=0))


def test_a_single_class_is_trained_with_a_warning(graphs):
    y = np.column_stack([graphs.n_nodes > 5, np.ones(30)]).astype(int)
    with pytest.warns(UserWarning, match="'task_1' has labels of one class only"):
        model = make(max_epochs=2).fit(graphs, y)
    assert model.classes_[1].tolist() == [1]
    assert (model.predict(graphs)[:, 1] == 1).all()
    assert model.predict_proba(graphs)[1].tolist() == [[1.0]] * 30


def test_invalid_graphs_are_nan(frame):
    from skgnn_mtl import SmilesToGraph

    with pytest.warns(UserWarning, match="became invalid"):
        X = SmilesToGraph(on_error="nan").fit_transform(["CCO", "C1CC", "CCN", "CC"])
    for y, kind in (([0, 1, 1, 0], "f"), (["a", "b", "b", "a"], "O")):
        with pytest.warns(UserWarning, match="1 invalid graphs are left out"):
            model = make(max_epochs=1).fit(X, y)
        labels = model.predict(X)
        assert labels.dtype.kind == kind
        assert pd.isna(labels).tolist() == [False, True, False, False]
        assert np.isnan(model.predict_proba(X)[1]).all()


def test_wrong_labels_are_refused(graphs):
    y = np.arange(30)
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        make().fit(graphs, y + 0.5)
    with pytest.raises(ValueError, match="no label in the training rows"):
        make().fit(graphs, np.full(30, np.nan))
    for label in ([1.0], (0, 1), np.array([1.0]), {}):
        with pytest.raises(ValueError, match=r"single values, but task 'a'.* row 0"):
            make().fit(graphs, pd.Series([label] * 30, name="a").to_frame())
    with pytest.raises(ValueError, match="contains infinity"):
        make().fit(graphs, np.where(y == 3, np.inf, y % 2))


def test_continuation_needs_the_same_classes(graphs):
    y = (graphs.n_nodes > 5).astype(int)
    ones = y == 1
    with pytest.warns(UserWarning, match="one class only"):
        model = make().partial_fit(graphs[ones], y[ones], classes=[0, 1])
    model.partial_fit(graphs, y)
    assert model.classes_.tolist() == [0, 1]
    assert len(model.history_) == 2
    with pytest.raises(ValueError, match=r"label 2, but its classes are \[0, 1\]"):
        model.partial_fit(graphs, 2 * y)
    with pytest.raises(ValueError, match="one list per task"):
        make().partial_fit(graphs, np.column_stack([y, y]), classes=[[0, 1]])


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([0, 0.5, 1], "Task 'task_0' must have class labels"),
        ([[0, 1]], "one list per task"),
    ],
    ids=str,
)
def test_classes_of_a_continuation_are_checked(graphs, classes, message):
    y = (graphs.n_nodes > 5).astype(int)
    with pytest.raises(ValueError, match=message):
        make().partial_fit(graphs, y, classes=classes)


def test_a_missing_label_is_no_class(graphs):
    y = np.where(np.arange(30) == 3, np.nan, graphs.n_nodes > 5)
    model = make().partial_fit(graphs, y, classes=np.unique(y))
    assert model.classes_.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "weights", [{0: -1, 1: 1}, {0: np.nan}, {0: np.inf}, {0: 0, 1: 0}, ["none"]]
)
def test_class_weights_that_are_none_are_refused(graphs, weights):
    y = (graphs.n_nodes > 5).astype(int)
    with pytest.raises(ValueError, match="class_weight"):
        make(class_weight=weights).fit(graphs, y)


def test_the_score_is_that_of_the_scorer(graphs, frame):
    """Also where the training rows knew one class of a task, which is no order."""
    numbers = frame.assign(oxygen=frame["oxygen"] == "yes")[["large", "oxygen"]]
    y = numbers.astype(float).to_numpy()
    y[:15, 1] = 1.0
    with pytest.warns(UserWarning, match="one class only"):
        model = make(max_epochs=3).fit(graphs[:15], y[:15])
    score = model.score(graphs[15:], y[15:])
    assert score == nan_roc_auc_scorer(model, graphs[15:], y[15:])
    first = model.predict_logits(graphs[15:])[:, 0]
    known = ~np.isnan(y[15:, 0])
    alone = roc_auc_score(y[15:, 0][known], first[known])
    assert score == pytest.approx((alone + 0.5) / 2)


def test_the_score_finds_the_columns_of_a_frame(graphs, frame):
    model = make(max_epochs=3).fit(graphs, frame)
    swapped = frame[["ring", "large", "oxygen"]]
    assert model.score(graphs, swapped) == model.score(graphs, frame)
    with pytest.raises(ValueError, match=r"y has the columns \['ring', 'large'\]"):
        model.score(graphs, frame[["ring", "large"]])


@pytest.mark.parametrize("scoring", [None, nan_roc_auc_scorer], ids=["own", "scorer"])
def test_early_stopping_by_the_area_under_the_curve(graphs, frame, scoring):
    fold = np.where(np.arange(len(graphs)) % 3 == 1, 0, -1)
    settings = {"validation": PredefinedSplit(fold), "max_epochs": 12, "lr": 0.03}
    model = make(early_stopping=True, scoring=scoring, **settings).fit(graphs, frame)
    scores = [record["valid_score"] for record in model.history_]
    assert model.best_epoch_ == np.argmax(scores) + 1
    found = model.score(graphs[fold == 0], frame[fold == 0])
    assert found == pytest.approx(max(scores))


def test_one_class_among_the_validation_rows_is_told_once(graphs):
    y = np.column_stack([graphs.n_nodes > 5, graphs.n_nodes > 4]).astype(float)
    fold = np.where(np.arange(len(graphs)) % 3 == 0, 0, -1)
    y[fold == 0, 1] = 1.0
    model = make(scoring=None, validation=PredefinedSplit(fold), max_epochs=4)
    with pytest.warns(UndefinedMetricWarning) as caught:
        model.fit(graphs, y)
    assert len(caught) == 1
    y[fold == 0] = 1.0
    with pytest.raises(ValueError, match="validation rows .* two distinct labels"):
        model.fit(graphs, y)


def test_search_pickle_and_files(graphs, frame, tmp_path):
    search = GridSearchCV(
        make(max_epochs=2, early_stopping=True, validation=0.2),
        {"task_weighting": ["equal", "upgrad", "uncertainty"]},
        cv=KFold(2),  # a number would need labels without gaps
    ).fit(graphs, frame)
    best = search.best_estimator_
    expected = best.predict(graphs)
    again = pickle.loads(pickle.dumps(best))
    assert (again.predict(graphs) == expected).all()
    best.save(tmp_path / "model")
    loaded = MultiTaskGNNClassifier.load(tmp_path / "model")
    assert (loaded.predict(graphs) == expected).all()
    for a, b in zip(loaded.classes_, best.classes_, strict=True):
        assert a.tolist() == b.tolist()
        assert a.dtype == b.dtype


@pytest.mark.parametrize("weighting", ["rcgrad", Curvature(update_every=1)], ids=str)
def test_auxiliary_tasks_and_weightings_of_targets(graphs, frame, weighting):
    tasks = ["infomax", "motifprediction"]
    model = make(
        max_epochs=2,
        auxiliary_tasks=tasks,
        task_weighting=weighting,
        class_weight="balanced",
    )
    model.fit(graphs, frame)
    assert list(model.history_[0]["train_losses"]) == [*frame.columns, *tasks]
