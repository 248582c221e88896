"""Tasks of more than two classes, beside tasks of two, with gaps."""

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold
from small_estimators import small

from skgnn_mtl import MultiTaskGNNClassifier, SmilesToGraph, load
from skgnn_mtl.curvature import TaskGaussNewton, task_spectra
from skgnn_mtl.datasets import load_physchem
from skgnn_mtl.encoders import GIN
from skgnn_mtl.estimators._class_columns import (
    by_task,
    class_errors,
    class_logits,
    class_probabilities,
    from_outputs,
    likeliest_labels,
    owners,
    to_probabilities,
)
from skgnn_mtl.graphs import Labels
from skgnn_mtl.inspection import atom_attributions
from skgnn_mtl.training import task_losses
from skgnn_mtl.training._curvature import gauss_newton_traces
from skgnn_mtl.training._jacobian import (
    fill_jacobian,
    representation_gramian,
    task_pass,
)
from skgnn_mtl.weighting import Curvature

CLASSES = [np.array(["a", "b", "c"]), np.array([0, 1]), np.array([7])]


def make(**changes):
    return small(MultiTaskGNNClassifier, **{"max_epochs": 30, **changes})


@pytest.fixture
def frame(graphs):
    """Size in three words, ring or not, size in four numbers, each with gaps."""
    n = graphs.n_nodes
    words = np.array(["small", "medium", "large"])[np.digitize(n, [4, 8])]
    ring = np.array(["1" in s for s in graphs.ids]).astype(float)
    quarter = np.digitize(n, [3, 5, 9]) * 10
    table = pd.DataFrame({"size": words, "ring": ring, "quarter": quarter})
    return table.mask(np.arange(90).reshape(30, 3) % 7 == 0)


# -- how classes become columns --------------------------------------------------------


def test_columns_of_tasks_stand_together():
    assert owners(CLASSES).tolist() == [0, 0, 1, 2]
    table = np.arange(8.0).reshape(2, 4)
    assert [part.shape for part in by_task(table, CLASSES)] == [(2, 2), (2, 1), (2, 1)]


def test_outputs_become_logits_relative_to_the_first_class():
    outputs = np.array([[1.0, 5.0, 6.0, 3.0, 0, 0, 0.5, 0, 0]])
    table = from_outputs(outputs, CLASSES)
    assert table.tolist() == [[2.0, -0.5, 5.0, 6.0]]
    logits = class_logits(table, CLASSES)
    assert [part.tolist() for part in logits] == [[[0, 2, -0.5]], [[0, 5]], [[0]]]
    found = class_probabilities(to_probabilities(table, CLASSES), CLASSES)
    for part, wanted in zip(found[:2], ([1.0, 3.0, 0.5], [0.0, 5.0]), strict=True):
        np.testing.assert_allclose(part, [softmax(wanted)], rtol=1e-12)
    assert found[2].tolist() == [[1.0]]


def test_an_invalid_row_has_no_label():
    table = np.array([[0.2, 0.7, 0.4, 1.0], [np.nan] * 4])
    scores = class_probabilities(table, CLASSES)
    assert all(np.isnan(part[1]).all() for part in scores)
    labels = likeliest_labels(scores, CLASSES)
    assert labels[0].tolist() == ["c", 0, 7]
    assert pd.isna(labels[1]).all()


def test_squared_errors_sum_to_the_brier_score():
    rng = np.random.default_rng(0)
    every = rng.dirichlet(np.ones(3), size=6)
    second = rng.random(6)
    codes = np.array([[0, 1], [1, 0], [2, 1], [2, 0], [np.nan, 1], [0, np.nan]])
    table = np.column_stack([every[:, 1:], second])
    first, other = class_errors(codes, table, CLASSES[:2])
    np.testing.assert_allclose(first[:4], every[:4] - np.eye(3)[[0, 1, 2, 2]])
    np.testing.assert_allclose(other[:5, 0], second[:5] - codes[:5, 1])
    assert np.isnan(first[4]).all()
    assert np.isnan(other[5]).all()


# -- the classifier --------------------------------------------------------------------


def test_labels_of_any_kind_come_back(graphs, frame):
    model = make(max_epochs=60).fit(graphs, frame)
    classes = [part.tolist() for part in model.classes_]
    assert classes == [["large", "medium", "small"], [0, 1], [0, 10, 20, 30]]
    labels, found = model.predict(graphs), model.predict_proba(graphs)
    assert [p.shape for p in found] == [(30, 3), (30, 2), (30, 4)]
    logits = model.predict_logits(graphs)
    for t, (part, p, z) in enumerate(zip(model.classes_, found, logits, strict=True)):
        np.testing.assert_allclose(p, softmax(z, axis=1), atol=1e-12)
        assert (z[:, 0] == 0).all()
        assert labels[:, t].tolist() == part[p.argmax(axis=1)].tolist()
        known = frame.iloc[:, t].notna().to_numpy()
        assert (labels[known, t] == frame.iloc[:, t][known]).mean() > 0.8


def test_losses_are_cross_entropies_of_the_labelled_rows(graphs, frame):
    model = make(max_epochs=1, batch_size=100, lr=1e-12).fit(graphs, frame)
    logits = model.predict_logits(graphs)
    for t, name in enumerate(frame):
        known = frame[name].notna().to_numpy()
        codes = np.searchsorted(model.classes_[t], frame[name][known].tolist())
        wanted = torch.nn.functional.cross_entropy(
            torch.from_numpy(logits[t][known]), torch.from_numpy(codes)
        )
        found = model.history_[0]["train_losses"][name]
        assert found == pytest.approx(wanted.item(), rel=1e-5)


def test_one_dimension_and_one_column_agree(graphs):
    y = np.digitize(graphs.n_nodes, [4, 8])
    flat, column = make().fit(graphs, y), make().fit(graphs, y[:, None])
    found = flat.predict_proba(graphs)
    assert found.shape == (30, 3)
    np.testing.assert_array_equal(found, column.predict_proba(graphs)[0])
    scores = flat.decision_function(graphs)
    np.testing.assert_array_equal(scores, column.predict_logits(graphs)[0])
    np.testing.assert_array_equal(flat.predict(graphs), scores.argmax(axis=1))
    assert not hasattr(column, "decision_function")


def test_a_task_of_two_classes_is_not_changed_by_a_third_label(graphs, frame):
    """Two classes have one logit, whether or not other tasks have more."""
    mixed = make().fit(graphs, frame)
    assert mixed.module_.heads.out_features == 3
    assert mixed.module_.further.out_features == 9
    assert make().fit(graphs, frame[["ring"]]).module_.further is None


def test_class_weights_are_weights_of_rows(graphs):
    y = np.digitize(graphs.n_nodes, [4, 8])
    options = {"max_epochs": 3, "batch_size": 100}
    by_class = make(class_weight={2: 3.0}, **options).fit(graphs, y)
    by_row = make(**options).fit(graphs, y, sample_weight=np.where(y == 2, 3.0, 1.0))
    np.testing.assert_allclose(
        by_class.predict_proba(graphs), by_row.predict_proba(graphs), rtol=1e-4
    )
    balanced = make(class_weight="balanced", **options)
    balanced.fit(graphs, np.column_stack([y, y > 0]))
    n = np.bincount(y)
    first, second = balanced.class_weight_
    np.testing.assert_allclose(first, 30 / (3 * n))
    np.testing.assert_allclose(second, [30 / (2 * n[0]), 30 / (2 * n[1:].sum()), 1.0])


def test_the_score_is_the_mean_of_each_class_against_the_rest(graphs, frame):
    model = make(max_epochs=5).fit(graphs, frame)
    expected = []
    for t, name in enumerate(frame):
        known = frame[name].notna().to_numpy()
        p, truth = model.predict_proba(graphs)[t][known], frame[name][known].tolist()
        two = p.shape[1] == 2
        expected.append(roc_auc_score(truth, p[:, 1] if two else p, multi_class="ovr"))
    assert model.score(graphs, frame) == pytest.approx(np.mean(expected))


def test_classes_are_known_from_the_first_chunk(graphs):
    y = np.digitize(graphs.n_nodes, [4, 8])
    two = y < 2
    model = make().partial_fit(graphs[two], y[two], classes=[0, 1, 2])
    model.partial_fit(graphs, y)
    assert model.predict_proba(graphs).shape == (30, 3)
    late = make().partial_fit(graphs[two], y[two])
    with pytest.raises(
        ValueError, match=r"'task_0' has the label 2, but .* first call"
    ):
        late.partial_fit(graphs, y)
    with pytest.raises(ValueError, match="'task_0' has the label 2"):
        make(warm_start=True).fit(graphs[two], y[two]).fit(graphs, y)


def test_search_pickle_and_files(graphs, frame, tmp_path):
    search = GridSearchCV(
        make(max_epochs=2, early_stopping=True, validation=0.3),
        {"task_weighting": ["equal", "upgrad"]},
        cv=KFold(2),
    ).fit(graphs, frame)
    best = search.best_estimator_
    best.save(tmp_path / "model")
    expected = best.predict_proba(graphs)
    for again in (pickle.loads(pickle.dumps(best)), load(tmp_path / "model")):
        found = again.predict_proba(graphs)
        assert all((a == b).all() for a, b in zip(found, expected, strict=True))
        assert (again.predict(graphs) == best.predict(graphs)).all()
        again.partial_fit(graphs, frame)


@pytest.mark.parametrize(
    "weighting",
    [
        "uncertainty",
        "nashmtl",
        "graddrop",
        Curvature(statistic="hessian_max", update_every=1),
    ],
    ids=str,
)
def test_weightings_see_one_loss_per_task(graphs, frame, weighting):
    model = make(max_epochs=2, task_weighting=weighting, auxiliary_tasks=["infomax"])
    model.fit(graphs, frame)
    assert list(model.history_[0]["train_losses"]) == [*frame, "infomax"]
    assert np.isfinite(model.task_weights_).all()


def test_gradients_of_a_task_go_through_all_of_its_logits(graphs, frame):
    model = make(max_epochs=2).fit(graphs, frame)
    targets, module = model.targets_, model.module_
    y = targets.read_in_order(graphs, frame)
    weights = torch.from_numpy(~np.isnan(y)).float()
    labels = Labels(torch.from_numpy(np.nan_to_num(y, nan=1)).float(), weights)
    batch, loss = graphs.batch(np.arange(30)), targets.elementwise_loss
    result = task_pass(module, batch, labels, loss)
    tasks, shared = torch.arange(3), module.shared_parameters()
    jacobian = torch.zeros(3, sum(p.numel() for p in shared))
    fill_jacobian(jacobian, result, tasks, shared)
    losses, _ = task_losses(module.evaluate(batch), labels.targets, weights, loss)
    for row, value in zip(jacobian, losses, strict=True):
        parts = torch.autograd.grad(value, shared, retain_graph=True)
        wanted = torch.cat([part.reshape(-1) for part in parts])
        torch.testing.assert_close(row, wanted, rtol=1e-3, atol=1e-6)
    closed = representation_gramian(result, tasks)
    open_form = representation_gramian(replace(result, head_weights=None), tasks)
    torch.testing.assert_close(closed, open_form)


def test_curvature_leaves_out_logits_that_a_task_lacks(graphs, frame):
    model = make(max_epochs=2).fit(graphs, frame)
    problem = model.task_problem(graphs, frame)
    assert [len(head) // 2 for head in problem.heads] == [3, 1, 4]
    spectra = task_spectra(problem, n_eigenvalues=1, n_probes=1, n_lanczos=60)
    assert np.isfinite(spectra.eigenvalues).all()


@pytest.fixture
def tiny(frame):
    """A network of few parameters, and its losses as functions of the shared ones."""
    X = np.random.default_rng(0).normal(size=(30, 2))
    encoder = GIN(width=2, n_layers=1, norm=None)
    model = make(encoder=encoder, max_epochs=2).fit(X, frame)
    return model, model.task_problem(X, frame, dtype="float64").block("shared")


def gauss_newton(problem, task):
    """J^T (diag(p) - p p^T) J with the Jacobian of the logits, summed over the rows."""
    ((batch, labels),) = problem.batches
    outputs, leaves = problem.outputs((batch, labels)), [*problem.parameters.values()]
    count = (3, 1, 4)[task]
    weights = labels.weights[:, task] / labels.weights[:, task].sum()
    total = torch.zeros(2 * [problem.n_parameters], dtype=torch.float64)
    for logits, weight in zip(outputs[:, task::3][:, :count], weights, strict=True):
        rows = [torch.autograd.grad(z, leaves, retain_graph=True) for z in logits]
        J = torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])
        p = logits.detach()
        p = p.sigmoid() if count == 1 else p.softmax(dim=0)
        total += weight * J.T @ (torch.diag(p) - torch.outer(p, p)) @ J
    return total


@pytest.mark.parametrize("task", range(3))
def test_the_gauss_newton_matrix_is_that_of_the_softmax(tiny, task):
    problem = tiny[1]
    eye = torch.eye(problem.n_parameters, dtype=torch.float64)
    found = TaskGaussNewton(problem, 0).for_task(task).matmat(eye)
    torch.testing.assert_close(found, gauss_newton(problem, task))


def test_its_trace_is_estimated_by_classes_that_are_drawn(tiny):
    model, problem = tiny
    ((batch, labels),) = problem.batches
    module = deepcopy(model.module_).double()
    loss = model.targets_.elementwise_loss
    generator = torch.Generator().manual_seed(0)
    found, _ = gauss_newton_traces(module, batch, labels, loss, 1000, generator)
    wanted = [gauss_newton(problem, task).trace().item() for task in range(3)]
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0.1)


@pytest.mark.parametrize("statistic", ["ggn_trace", "ggn_max"])
def test_curvature_weights_tasks_of_several_classes(graphs, frame, statistic):
    weighting = Curvature(statistic=statistic, update_every=1)
    model = make(max_epochs=2, task_weighting=weighting).fit(graphs, frame)
    weights = model.task_weights_
    assert np.isfinite(weights).all()
    assert len(set(weights)) == 3


def test_attributions_explain_the_odds_of_one_class(frame, graphs):
    model = make(max_epochs=5).fit(graphs, frame)
    # Atoms without bonds, which all have the same baseline.
    atoms = SmilesToGraph().transform(["C", "O", "N"])
    labels = ["medium", 0.0, 20]
    found, difference = atom_attributions(
        model, atoms, label=labels, method="occlusion", return_difference=True
    )
    np.testing.assert_allclose(np.vstack(found), difference, rtol=1e-6)
    tasks = zip(model.predict_proba(atoms), model.classes_, labels, strict=True)
    for t, (p, known, label) in enumerate(tasks):
        own = p[:, known.tolist().index(label)]
        odds = np.log(own / (1 - own))
        expected = np.diff(odds)
        np.testing.assert_allclose(np.diff(difference[:, t]), expected, atol=1e-4)
    alone = atom_attributions(
        model, atoms, task="size", label="medium", method="occlusion"
    )
    np.testing.assert_array_equal(np.hstack(alone), np.vstack(found)[:, 0])
    second = atom_attributions(model, atoms, task="ring", method="occlusion")
    np.testing.assert_array_equal(np.hstack(second), -np.vstack(found)[:, 1])
    gradients, whole = atom_attributions(
        model,
        graphs[:5],
        task="quarter",
        label=10,
        n_steps=200,
        return_difference=True,
    )
    sums = [part.sum() for part in gradients]
    np.testing.assert_allclose(sums, whole, rtol=0.02, atol=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Task 'size' has 3 classes: say by label="),
        ({"label": "small"}, "list with a class for each of 3 task"),
        ({"label": ["small", 0.0]}, "list with a class for each of 3 task"),
        ({"task": "size", "label": "huge"}, "label of task 'size' must be in .*'huge'"),
    ],
)
def test_attributions_name_the_label_that_is_wanted(graphs, frame, arguments, message):
    model = make(max_epochs=1).fit(graphs, frame)
    with pytest.raises(ValueError, match=message):
        atom_attributions(model, graphs, method="occlusion", **arguments)


def test_many_classes_for_few_labels_are_told(graphs):
    with pytest.warns(UserWarning, match="'task_0' has 30 classes for 30 labels.*regr"):
        make(max_epochs=1).fit(graphs, np.arange(30))


def test_a_real_table_in_three_classes_beats_the_largest_class():
    smiles, y = load_physchem(return_X_y=True)
    smiles, y = smiles[:600], y[["Tb (K)", "logP"]][:600]
    cuts = y.quantile([0.4, 0.8])
    labels = pd.DataFrame({k: np.digitize(y[k], cuts[k]) for k in y}).astype(float)
    labels = labels.where(y.notna().to_numpy())
    X = SmilesToGraph().fit_transform(smiles)
    model = make(max_epochs=15, batch_size=32).fit(X[:450], labels[:450])
    test = labels[450:]
    hits = (model.predict(X[450:]) == test).where(test.notna()).mean()
    largest = (test == labels[:450].mode().iloc[0]).where(test.notna()).mean()
    assert (hits > largest + 0.1).all()
