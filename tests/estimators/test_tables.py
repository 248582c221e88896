"""Tables of labels: rows by position, columns by labels of any type."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, make_pipeline

from skgnn_mtl import (
    GATERegressor,
    GNNPretrainer,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
)
from skgnn_mtl.encoders import GIN
from skgnn_mtl.inspection import ParityDisplay, gradient_similarity
from skgnn_mtl.model_selection import (
    LabelPresenceKFold,
    compare_transfer,
    compare_with_single_task,
)

nan = np.nan
SMALL = {"max_epochs": 1, "random_state": 0}


def watched(model) -> list[int]:
    """Positions of the target tasks."""
    return model._recipe().watched(model.task_names_).tolist()


ENCODER = GIN(width=8, n_layers=1)
LABELS = {
    "ints": [10, 20, 30],
    "tuples": pd.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)]),
    "None": [None, "x", 2],
    "mixed": [2.5, True, pd.Timestamp("2020")],
}


def pretrainer(**changes):
    return GNNPretrainer(ENCODER, **SMALL, **changes)


def classifier(**changes):
    return MultiTaskGNNClassifier(ENCODER, **SMALL, **changes)


# -- frames carry the index of their input --------------------------------------------


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("labels", ["permuted", "text", "repeated"])
def test_embeddings_stand_in_the_rows_of_their_molecules(scope, labels, smiles):
    index = {
        "permuted": np.arange(30)[::-1],
        "text": [f"row {k}" for k in range(30)],
        "repeated": [0] * 30,
    }[labels]
    frame = pd.DataFrame({"smiles": smiles, "T": np.arange(30.0)}, index=index)
    embedder = make_pipeline(SmilesToGraph(), pretrainer())
    both = ColumnTransformer([("e", embedder, ["smiles"]), ("T", "passthrough", ["T"])])
    plain = both.fit(frame).transform(frame)
    turned = frame.iloc[np.random.default_rng(0).permutation(30)]
    order = turned["T"].astype(int).to_numpy()
    if scope == "local":
        table = both.set_output(transform="pandas").fit(frame).transform(turned)
    else:
        with sklearn.config_context(transform_output="pandas"):
            table = both.fit(frame).transform(turned)
    np.testing.assert_allclose(table, plain[order], rtol=1e-4, atol=1e-6)
    assert table.index.equals(turned.index)
    assert table.columns[0] == "e__gnnpretrainer0"


def test_tables_of_graphs_and_of_numbers(smiles, graphs):
    model = pretrainer().fit(graphs).set_output(transform="pandas")
    labelled = graphs.with_index(pd.Index([f"m{k}" for k in range(30)]))
    assert model.transform(labelled[[3, 1]]).index.tolist() == ["m3", "m1"]
    assert model.transform(graphs).index.equals(pd.RangeIndex(30))
    assert model.fit_transform(labelled).index.tolist()[-1] == "m29"
    names = model.get_feature_names_out().tolist()
    assert model.transform(labelled).columns.tolist() == names
    union = FeatureUnion([("a", model), ("b", model)]).set_output(transform="pandas")
    assert union.fit_transform(labelled[::-1]).index.tolist()[0] == "m29"
    model.set_output(transform="polars")
    assert isinstance(model.transform(labelled), pl.DataFrame)
    model.set_output(transform="default")
    assert isinstance(model.transform(labelled), np.ndarray)
    numbers = pd.DataFrame(np.eye(5), index=list("edcba")).rename(columns=str)
    model = pretrainer(auxiliary_tasks=()).set_output(transform="pandas")
    assert model.fit(numbers, np.eye(5)).transform(numbers).index.tolist() == [*"edcba"]


def test_rows_of_all_arguments_are_paired_by_position(
    small, graphs, gaps, same_weights
):
    rng = np.random.default_rng(0)
    weight, groups = rng.random(30), rng.integers(0, 6, 30)
    options = {"early_stopping": True, "max_epochs": 2, "validation": 0.3}
    plain = small(**options).fit(graphs, gaps, sample_weight=weight, groups=groups)
    one, two, three = (rng.permutation(30) for _ in range(3))
    turned = small(**options).fit(
        graphs.with_index(pd.Index(one)),
        pd.DataFrame(gaps, columns=["task_0", "task_1", "task_2"], index=two),
        sample_weight=pd.Series(weight, index=three),
        groups=pd.Series(groups, index=one),
    )
    assert same_weights(plain, turned)
    polars = small(**options).fit(
        graphs,
        pl.DataFrame(gaps, schema=["task_0", "task_1", "task_2"]),
        sample_weight=pl.Series(weight),
        groups=pl.Series(groups),
    )
    assert same_weights(plain, polars)
    arrow = small(**options, scoring=None).fit(
        graphs,
        pa.table(dict(zip("abc", gaps.T, strict=True))),
        sample_weight=pa.array(weight),
        groups=pa.array(groups),
    )
    assert arrow.task_names_ == ["a", "b", "c"]
    truth = pd.DataFrame(gaps, index=two)
    assert plain.score(graphs, truth, pd.Series(weight, index=three)) == plain.score(
        graphs, gaps, weight
    )


# -- columns of any label -------------------------------------------------------------


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_columns_of_any_label(labels, small, graphs, table):
    y = pd.DataFrame(table, columns=labels)
    model = small(target_tasks=[y.columns[2]], task_weighting="gcs").fit(graphs, y)
    assert watched(model) == [2]
    assert len(set(model.task_names_)) == 3
    score = model.score(graphs, table)
    assert model.score(graphs, y) == score
    # Columns in another order are found by their labels.
    assert model.score(graphs, y.iloc[:, [2, 0, 1]]) == score
    polars = pl.DataFrame(table, schema=model.task_names_).select(
        model.task_names_[::-1]
    )
    assert model.score(graphs, polars) == score
    assert model.score(graphs, polars.to_arrow()) == score
    with pytest.raises(ValueError, match="y has the columns .*'other'"):
        model.score(graphs, y.set_axis(["other", *model.task_names_[1:]], axis=1))
    similar = gradient_similarity(model, graphs, y.iloc[:, ::-1], random_state=0)
    expected = gradient_similarity(model, graphs, table, random_state=0)
    np.testing.assert_array_equal(similar.cosines, expected.cosines)
    display = ParityDisplay.from_estimator(model, graphs, y, tasks=[y.columns[1]])
    assert display.axes_[0].get_title().startswith(model.task_names_[1])


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_gate_takes_columns_of_any_label(labels, graphs, table):
    y = pd.DataFrame(table, columns=labels)
    options = {"add_task_steps": 1, **SMALL}
    model = GATERegressor(ENCODER, target_tasks=[y.columns[1]], **options)
    model.fit(graphs, y)
    names = model.task_names_
    assert model.added_names_ == [names[1]]
    assert model.score(graphs, y) == model.score(graphs, table)
    assert model.score(graphs, y.iloc[:, [2]]) == pytest.approx(
        model.score(graphs, y.iloc[:, [2]].set_axis([names[2]], axis=1))
    )
    model.add_task(graphs, table[:, 0], name=("new", 1), sources=[y.columns[0]])
    model.add_task(graphs, pd.Series(table[:, 0], name=77))
    assert model.task_names_[3:] == ["('new', 1)", "77"]
    model.remove_task(("new", 1)).remove_task(77)
    assert model.task_names_ == names


def test_positions_that_could_be_names_are_refused(small, graphs, table):
    y = pd.DataFrame(table, columns=[1, 0, 2])
    with pytest.raises(ValueError, match="0 is the position of task '1', but also"):
        small(target_tasks=[0]).fit(graphs, y)
    model = small(target_tasks=["0"]).fit(graphs, y)
    assert watched(model) == [1]
    assert watched(small(target_tasks=2).fit(graphs, y)) == [2]
    for wrong, sentence in (([], "is empty"), ([7], "names 7, but the tasks are")):
        with pytest.raises(ValueError, match=f"target_tasks {sentence}"):
            small(target_tasks=wrong).fit(graphs, y)


@pytest.mark.parametrize("labels", [["a", "a", "b"], [1, "1", "b"], [None, nan, 2]])
def test_columns_of_one_name_are_refused(labels, small, graphs, table):
    y = pd.DataFrame(table, columns=pd.Index(labels, dtype=object))
    for model in (small(), pretrainer(), GATERegressor(ENCODER, **SMALL)):
        with pytest.raises(ValueError, match="Task names must differ"):
            model.fit(graphs, y)
    with pytest.raises(ValueError, match="Task names must differ"):
        classifier().fit(graphs, (y > 1).astype(float))


def test_comparisons_take_columns_of_any_label(graphs, table):
    y = pd.DataFrame(table, columns=[10, ("a", 1), None], index=[0] * 30)
    model = MultiTaskGNNRegressor(ENCODER, **SMALL)
    found = compare_with_single_task(model, graphs, y, cv=2).errors
    assert found["task"].unique().tolist() == ["10", "('a', 1)", "None"]
    arrow = pa.table(dict(zip("abc", table.T, strict=True)))
    again = compare_with_single_task(model, graphs, arrow, cv=2).errors
    np.testing.assert_array_equal(again["error"], found["error"])
    found = compare_transfer(
        graphs,
        y,
        sources=[10, None],
        targets=[("a", 1)],
        sizes=(5,),
        methods=["linear-probe"],
        encoder=ENCODER,
        cv=2,
        source_steps=1,
        target_steps=1,
    )
    assert found.errors["target"].unique().tolist() == ["('a', 1)"]
    with pytest.raises(ValueError, match=r"sources has \[11\], but the columns"):
        compare_transfer(graphs, y, sources=[11], targets=[10])


def test_folds_by_labels_see_gaps_of_any_kind():
    gaps = np.array([[1, 1], [1, 1], [1, nan], [1, nan]])
    tables = (
        np.ma.masked_array(np.ones((4, 2)), np.isnan(gaps)),
        pl.DataFrame({"a": [1] * 4, "b": [1, 1, None, None]}),
        pa.table({"a": [1] * 4, "b": [1, 1, None, None]}),
        pd.DataFrame(gaps, columns=[0, None], dtype="Int64"),
    )
    expected = list(LabelPresenceKFold(2, shuffle=False).split(gaps, gaps))
    for y in tables:
        found = list(LabelPresenceKFold(2, shuffle=False).split(gaps, y))
        np.testing.assert_array_equal(found, expected)


# -- entries --------------------------------------------------------------------------


def estimators():
    return (
        MultiTaskGNNRegressor(ENCODER, **SMALL),
        GATERegressor(ENCODER, **SMALL),
        GATERegressor(ENCODER, target_tasks=[0], **SMALL),
        pretrainer(),
    )


@pytest.mark.parametrize("text", ["", "1,5", "n/a"])
def test_text_among_numbers_names_task_and_row(text, graphs):
    y = pd.DataFrame({"a": np.arange(30.0), "logS": ["1.2"] * 30}, index=[5] * 30)
    y.iloc[17, 1] = text
    for model in estimators():
        with pytest.raises(ValueError, match="task 'logS' has .* in row 17"):
            model.fit(graphs, y)
        assert not hasattr(model, "module_")


def test_masked_labels_are_gaps(small, graphs, table, same_weights):
    mask = np.zeros((30, 3), dtype=bool)
    mask[::3, 1] = True
    masked = np.ma.masked_array(np.where(mask, 1e6, table), mask)
    gaps = np.where(mask, nan, table)
    assert same_weights(small().fit(graphs, masked), small().fit(graphs, gaps))
    model = small().fit(graphs, table)
    assert model.score(graphs, masked) == model.score(graphs, gaps)
    codes = np.ma.masked_array(table > table.mean(axis=0), mask)
    first = classifier().fit(graphs, codes)
    second = classifier().fit(graphs, np.where(mask, None, codes.data))
    assert same_weights(first, second)
    text = np.ma.masked_array(np.where(mask, "?", np.where(codes.data, "y", "n")), mask)
    assert classifier().fit(graphs, text).classes_[1].tolist() == ["n", "y"]


def test_masks_that_cannot_be_honoured_are_refused(small, graphs, table):
    mask = np.arange(30) == 4
    weight = np.ma.masked_array(np.ones(30), mask)
    with pytest.raises(ValueError, match="sample_weight has 1 masked .* row 4"):
        small().fit(graphs, table, sample_weight=weight)
    with pytest.raises(ValueError, match="groups has 1 masked .* row 4"):
        small().fit(graphs, table, groups=np.ma.masked_array(np.arange(30), mask))
    X = np.ma.masked_array(np.ones((30, 2)), np.column_stack([mask, mask]))
    with pytest.raises(ValueError, match="X has 2 masked .* row 4"):
        small().fit(X, table)
    model = small().fit(np.ma.masked_array(np.ones((30, 2)), False), table)
    with pytest.raises(ValueError, match="X has 2 masked"):
        model.predict(X)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (np.linspace(0, 1, 30), "class labels.*Unknown label type: continuous"),
        ([0, "x"] * 15, "text and other labels, such as 'x' and 0"),
        (pd.date_range("2020", periods=30), "must have class labels"),
        ([nan, np.inf] * 15, "contains infinity: task 'b', row 1"),
        ([None] * 30, "has no label in the training rows"),
    ],
)
def test_labels_that_are_no_classes_name_the_task(labels, sentence, graphs):
    y = pd.DataFrame({"a": [0, 1] * 15, "b": pd.Series(labels, dtype=object)})
    y["b"] = labels
    with pytest.raises(ValueError, match=f"(?s)'b'.*{sentence}|{sentence}.*") as caught:
        classifier().fit(graphs, y)
    assert "'b'" in str(caught.value)


def test_dates_are_no_classes(graphs):
    dates = np.array(["2020", "2021"] * 15, dtype="M8[ns]")
    with pytest.raises(ValueError, match="dates or times"):
        classifier().fit(graphs, dates)
