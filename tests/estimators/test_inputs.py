"""X: graphs, invalid graphs, strange molecules, numeric tables, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skgnn_mtl import GraphArray, MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.encoders import DMPNN, GAT, GCN, GIN
from skgnn_mtl.metrics import nan_r2_score

ENCODERS = [GIN(16, n_layers=2), GCN(16, n_layers=2), GAT(16, n_layers=2), DMPNN(16)]


def featurize(strings, n_invalid=0):
    transformer = SmilesToGraph(on_error="nan")
    if not n_invalid:
        return transformer.fit_transform(strings)
    with pytest.warns(UserWarning, match=f"^{n_invalid} of"):
        return transformer.fit_transform(strings)


@pytest.fixture
def holes(smiles):
    """Graphs of which rows 0, 4 and 29 are invalid."""
    strings = [*smiles]
    strings[0], strings[4], strings[29] = None, "not a molecule", ""
    return featurize(strings, 3)


# -- invalid graphs -------------------------------------------------------------------


def test_fit_leaves_invalid_graphs_out_and_lists_them(
    small, graphs, holes, gaps, same_weights
):
    kept = np.setdiff1d(np.arange(30), [0, 4, 29])
    with pytest.warns(UserWarning, match=r"3 invalid graphs.*rows 0, 4, 29") as records:
        model = small().fit(holes, gaps)
    assert len(records) == 1
    assert records[0].filename == __file__
    assert same_weights(model, small().fit(graphs[kept], gaps[kept]))


def test_partial_fit_lists_them_too(small, holes, gaps):
    with pytest.warns(UserWarning, match=r"rows 0, 4, 29") as records:
        small().partial_fit(holes, gaps)
    assert len(records) == 1
    assert records[0].filename == __file__


def test_a_long_list_of_rows_is_cut(small, graphs, smiles, table):
    mixed = GraphArray.concatenate([featurize(["?"] * 25, 25), graphs])
    with pytest.warns(UserWarning, match=r"25 invalid graphs.*0, 1, 2") as records:
        small().fit(mixed, np.concatenate([np.zeros((25, 3)), table]))
    assert len(str(records[0].message)) < 200


def test_an_invalid_graph_without_label_is_no_news(small, holes, gaps):
    # The row is named once although it has no label either.
    gaps[0] = np.nan
    with pytest.warns(UserWarning, match=r"rows 0, 4, 29") as records:
        small().fit(holes, gaps)
    assert len(records) == 1


def test_invalid_graphs_are_predicted_as_nan(small, graphs, holes, gaps):
    model = small().fit(graphs, gaps)
    expected = model.predict(graphs)
    expected[[0, 4, 29]] = np.nan
    np.testing.assert_allclose(model.predict(holes), expected, rtol=1e-5)
    embedding = model.embed(holes)
    assert np.flatnonzero(np.isnan(embedding).any(axis=1)).tolist() == [0, 4, 29]
    assert np.isnan(embedding[[0, 4, 29]]).all()


def test_one_dimensional_predictions_have_gaps_too(small, graphs, holes, table):
    predictions = small().fit(graphs, table[:, 0]).predict(holes)
    assert predictions.shape == (30,)
    assert np.flatnonzero(np.isnan(predictions)).tolist() == [0, 4, 29]


def test_score_ignores_invalid_graphs_and_counts_them(small, graphs, holes, gaps):
    model = small().fit(graphs, gaps)
    kept = np.setdiff1d(np.arange(30), [0, 4, 29])
    with pytest.warns(UserWarning, match="3 of 30 rows"):
        score = model.score(holes, gaps)
    assert score == pytest.approx(model.score(graphs[kept], gaps[kept]), rel=1e-6)


def test_fit_says_that_all_graphs_are_invalid(small, table):
    with (
        pytest.raises(ValueError, match="(?i)all.* invalid|no valid graph"),
        pytest.warns(UserWarning, match="invalid"),
    ):
        small().fit(featurize(["?"] * 3, 3), table[:3])


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("readout", ["mean", "sum", "attention"])
def test_predictions_without_a_single_valid_graph(
    small, graphs, gaps, encoder, readout
):
    model = small(encoder=encoder, readout=readout, max_epochs=1).fit(graphs, gaps)
    nothing = featurize(["?", None], 2)
    assert np.isnan(model.predict(nothing)).all()
    assert model.predict(nothing).shape == (2, 3)
    assert model.embed(nothing).shape == (2, 16)


# -- strange molecules ----------------------------------------------------------------

STRANGE = {
    "methane": "C",
    "salt": "[Na+].[Cl-]",
    "large salt": "CC(=O)[O-].[K+]",
    "metal": "[Fe]",
    "complex": "Cl[Pt](Cl)(N)N",
    "wildcard": "*CC*",
    "lone wildcard": "*",
    "hydrogen": "[H][H]",
    "radical": "[CH3]",
    "isotope": "[13CH4]",
    "superheavy": "[Og]",
    "large ring": "C1" + "C" * 30 + "1",
}


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_strange_molecules_can_be_fitted_and_predicted(small, encoder):
    X = featurize(list(STRANGE.values()))
    y = np.arange(len(X), dtype=float)
    model = small(encoder=encoder).fit(X, y)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("name", STRANGE)
def test_elements_and_graphs_that_fit_never_saw(small, encoder, name):
    X = featurize(["CC", "CCC", "CCCC", "C"])
    model = small(encoder=encoder, max_epochs=1).fit(X, [2.0, 3.0, 4.0, 1.0])
    assert np.isfinite(model.predict(featurize([STRANGE[name]]))).all()


@pytest.mark.parametrize("norm", ["batch", "layer", None])
def test_one_molecule_of_one_atom_is_enough(small, norm):
    X = featurize(["C"])
    model = small(encoder=GIN(16, n_layers=2, norm=norm)).fit(X, [[-161.5, np.pi]])
    assert np.isfinite(model.predict(X)).all()
    np.testing.assert_array_equal(model.target_mean_, [-161.5, np.pi])
    np.testing.assert_array_equal(model.target_scale_, [1.0, 1.0])


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda e: type(e).__name__)
def test_batches_of_one_atom(small, encoder):
    X = featurize(["C", "O", "N", "[Na+]", "F"])
    model = small(encoder=encoder, batch_size=1).fit(X, np.arange(5.0))
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_a_last_batch_of_one_graph_is_trained_on(small, batch_size):
    X = featurize(["C", "O", "N", "[Na+]", "F"])
    model = small(encoder=GIN(16, n_layers=2, norm="batch"), batch_size=batch_size)
    assert np.isfinite(model.fit(X, np.arange(5.0)).predict(X)).all()


# -- schemas and feature names --------------------------------------------------------


def test_another_featurization_at_predict_time_is_explained(
    small, graphs, gaps, smiles
):
    model = small().fit(graphs, gaps)
    other = SmilesToGraph("hu2020").fit_transform(smiles)
    for method in (model.predict, model.embed):
        with pytest.raises(ValueError, match=r"name: 'ogb' against 'hu2020'"):
            method(other)
    with pytest.raises(ValueError, match=r"'hu2020'"):
        model.partial_fit(other, gaps)
    with pytest.raises(ValueError, match=r"'hu2020'"):
        model.set_params(warm_start=True).fit(other, gaps)
    # A refused call leaves the estimator as it was.
    assert np.isfinite(model.predict(graphs)).all()


def test_a_table_after_graphs_and_graphs_after_a_table(small, graphs, gaps):
    X = np.random.default_rng(0).normal(size=(30, 1))
    with pytest.raises(ValueError, match="'ogb' against 'numeric'"):
        small().fit(graphs, gaps).predict(X)
    with pytest.raises(ValueError, match="'numeric' against 'ogb'"):
        small().fit(X, gaps).predict(graphs)


def test_graphs_and_tables_set_the_attributes_of_x(small, graphs, gaps):
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=(30, 2)), columns=["u", "v"]
    )
    model = small().fit(frame, gaps)
    assert model.n_features_in_ == 2
    assert model.feature_names_in_.tolist() == ["u", "v"]
    model.fit(graphs, gaps)
    assert model.n_features_in_ == 1
    assert not hasattr(model, "feature_names_in_")
    assert model.schema_ == graphs.schema


def test_columns_of_a_table_are_checked(small, gaps):
    frame = pd.DataFrame(
        np.random.default_rng(0).normal(size=(30, 2)), columns=["u", "v"]
    )
    model = small().fit(frame, gaps)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["v", "u"]])
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame[["u"]], gaps)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        assert np.isfinite(model.predict(frame.to_numpy())).all()


def test_tables_of_every_container_are_the_same(small, gaps, same_weights):
    X = np.random.default_rng(0).normal(size=(30, 2))
    expected = small().fit(X, gaps)
    for container in (
        X.tolist(),
        pd.DataFrame(X),
        pl.DataFrame(X, schema=["u", "v"]),
        X.astype(object),
        np.asfortranarray(X),
    ):
        assert same_weights(small().fit(container, gaps), expected)


def test_read_only_memory_maps_are_read(small, graphs, gaps, same_weights, tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 2))
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert same_weights(small().fit(mapped, gaps), small().fit(X, gaps))
    graphs.save(tmp_path / "graphs")
    stored = GraphArray.load(tmp_path / "graphs", mmap_mode="r")
    model = small().fit(stored, gaps)
    assert same_weights(model, small().fit(graphs, gaps))
    assert np.array_equal(model.predict(stored), model.predict(graphs))


def test_x_is_not_written_to(small, gaps):
    X = np.random.default_rng(0).normal(size=(30, 2))
    before = X.copy()
    small().fit(X, gaps).predict(X)
    assert np.array_equal(X, before)


# -- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        list,
        np.array,
        pd.Series,
        pl.Series,
        pd.DataFrame,
        lambda s: pl.DataFrame({"smiles": s}),
        lambda s: np.array(s, dtype=object)[:, None],
        lambda s: pd.DataFrame({"a": s, "b": s}),
        lambda s: [None, *s[1:]],
        lambda s: pd.Series([None, *s[1:]]),
        lambda s: pd.DataFrame({"smiles": [None, *s[1:]]}),
        lambda s: s[0],
    ],
    ids=[
        "list", "array", "Series", "polars Series", "DataFrame", "polars DataFrame",
        "column of objects", "two columns", "list with None", "Series with None",
        "DataFrame with None", "bare string",
    ],
)  # fmt: skip
def test_strings_are_sent_to_the_featurizer(small, smiles, table, wrap):
    with pytest.raises(TypeError, match=r"put SmilesToGraph\(\) in front"):
        small().fit(wrap(smiles), table)


def test_strings_at_predict_time_too(small, graphs, gaps, smiles):
    with pytest.raises(TypeError, match=r"put SmilesToGraph\(\) in front"):
        small().fit(graphs, gaps).predict(smiles)


def test_two_columns_of_strings_in_a_pipeline(small, smiles, table):
    frame = pd.DataFrame({"a": smiles, "b": smiles})
    model = make_pipeline(SmilesToGraph(), small()).fit(frame, table)
    assert model.predict(frame).shape == table.shape
    with pytest.raises(ValueError, match="now missing:\n- b"):
        model.predict(frame[["a"]])


def test_an_empty_list(small, graphs, gaps):
    with pytest.raises(ValueError, match="(?i)empty|0 sample"):
        make_pipeline(SmilesToGraph(), small()).fit([], [])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        small().fit(graphs[:0], gaps[:0])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        small().fit(np.empty((0, 2)), np.empty(0))
    model = small().fit(graphs, gaps)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        model.predict(graphs[:0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_table_must_be_finite(small, gaps, value):
    X = np.ones((30, 2))
    X[3, 1] = value
    with pytest.raises(ValueError, match="NaN|infinity"):
        small().fit(X, gaps)


def test_a_sparse_table_is_refused_by_name(small, gaps):
    with pytest.raises(TypeError, match="(?i)sparse.*dense"):
        small().fit(sparse.csr_array(np.eye(30)), gaps)


@pytest.mark.parametrize("method", ["predict", "embed", "score", "save"])
def test_nothing_works_before_fit(graphs, gaps, tmp_path, method):
    arguments = {"score": (graphs, gaps), "save": (tmp_path / "model",)}
    with pytest.raises(NotFittedError):
        getattr(MultiTaskGNNRegressor(), method)(*arguments.get(method, (graphs,)))


def test_twelve_lines_on_real_molecules(small, smiles, gaps):
    y = pd.DataFrame(gaps, columns=["atoms", "bonds", "hetero"])
    model = make_pipeline(SmilesToGraph(), small(max_epochs=30))
    model.fit(pd.Series(smiles), y)
    expected = nan_r2_score(y, model.predict(smiles))
    assert model.score(smiles, y) == pytest.approx(expected)
    assert model[-1].task_names_ == ["atoms", "bonds", "hetero"]
