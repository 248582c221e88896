"""Predictions chunk by chunk are those of all rows at once."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

from skgnn_mtl import (
    GraphArray,
    MultiTaskGNNClassifier,
    MultiTaskGNNRegressor,
    SmilesToGraph,
    predict_stream,
)
from skgnn_mtl.ensemble import EnsembleRegressor

SMILES = [f"{'C' * (k % 9 + 1)}{tail}" for k in range(9) for tail in ("O", "N", "Cl")]
Y = np.arange(27.0)
SMALL = {"max_epochs": 1, "random_state": 0}


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    return SmilesToGraph().transform_to(tmp_path_factory.mktemp("m") / "x", SMILES)


@pytest.fixture(scope="module")
def network(mapped):
    return MultiTaskGNNRegressor("gcn", **SMALL).fit(mapped, Y)


@pytest.fixture(scope="module")
def pipeline(network):
    return make_pipeline(SmilesToGraph(), network)


def joined(parts):
    return np.concatenate(list(parts))


def test_a_mapped_array_in_slices(network, mapped):
    sizes = []
    network_sees = network.predict

    class Spy(MultiTaskGNNRegressor):
        def predict(self, X):
            sizes.append((len(X), isinstance(X.node_codes.base, np.memmap)))
            return network_sees(X)

    spy = Spy()
    spy.__dict__.update(network.__dict__)
    found = joined(predict_stream(spy, mapped, chunk_size=10))
    np.testing.assert_allclose(found, network.predict(mapped), rtol=1e-6)
    assert sizes == [(10, True), (10, True), (7, True)]


@pytest.mark.parametrize(
    "source", [list, iter, pd.Series, lambda rows: np.array(rows, dtype=object)]
)
def test_rows_of_a_pipeline(pipeline, source):
    parts = list(predict_stream(pipeline, source(SMILES), chunk_size=12))
    assert [len(part) for part in parts] == [12, 12, 3]
    np.testing.assert_allclose(joined(parts), pipeline.predict(SMILES), rtol=1e-6)


@pytest.mark.parametrize(
    "as_chunk", [list, pd.Series, lambda rows: pd.DataFrame({"smiles": rows})]
)
def test_chunks_stay_as_they_are(pipeline, as_chunk):
    chunks = (as_chunk(SMILES[a:b]) for a, b in ((0, 1), (1, 20), (20, 27)))
    parts = list(predict_stream(pipeline, chunks, chunk_size=2))
    assert [len(part) for part in parts] == [1, 19, 7]
    np.testing.assert_allclose(joined(parts), pipeline.predict(SMILES), rtol=1e-6)


def test_chunks_of_graphs(network, mapped):
    found = joined(predict_stream(network, iter([mapped[:5], mapped[5:]])))
    np.testing.assert_allclose(found, network.predict(mapped), rtol=1e-6)


def test_rows_of_a_file(pipeline, tmp_path):
    pd.DataFrame({"smiles": SMILES, "y": Y}).to_csv(tmp_path / "a.csv", index=False)
    parts = predict_stream(pipeline, tmp_path / "a.csv", column="smiles", chunk_size=20)
    np.testing.assert_allclose(joined(parts), pipeline.predict(SMILES), rtol=1e-6)


def test_other_methods_and_their_options(network, mapped):
    parts = list(predict_stream(network, mapped, chunk_size=20, return_std=True))
    mean, std = network.predict(mapped, return_std=True)
    np.testing.assert_allclose(joined(p[0] for p in parts), mean, rtol=1e-6)
    np.testing.assert_allclose(joined(p[1] for p in parts), std, rtol=1e-6)
    classifier = MultiTaskGNNClassifier("gcn", **SMALL).fit(mapped, Y > 9)
    parts = predict_stream(classifier, mapped, method="predict_proba", chunk_size=20)
    wanted = classifier.predict_proba(mapped)
    np.testing.assert_allclose(joined(parts), wanted, rtol=1e-6)


def test_ensembles(mapped):
    member = MultiTaskGNNRegressor("gcn", **SMALL)
    model = EnsembleRegressor(member, n_members=2).fit(mapped, Y)
    found = joined(predict_stream(model, mapped, chunk_size=20))
    np.testing.assert_allclose(found, model.predict(mapped), rtol=1e-6)


def test_nothing_is_read_before_it_is_asked_for(pipeline):
    read = []
    rows = (read.append(row) or row for row in SMILES)
    parts = predict_stream(pipeline, rows, chunk_size=5)
    assert len(read) == 1  # tells rows from chunks
    next(parts)
    assert len(read) == 5
    assert list(predict_stream(pipeline, iter(()))) == []


def test_errors_come_at_once(network, pipeline):
    with pytest.raises(NotFittedError):
        predict_stream(MultiTaskGNNRegressor(), SMILES)
    with pytest.raises(AttributeError, match="transform_all"):
        predict_stream(network, SMILES, method="transform_all")
    with pytest.raises(ValueError, match="chunk_size must be an integer >= 1"):
        predict_stream(network, SMILES, chunk_size=0)
    with pytest.raises(ValueError, match="column='a' names a column of a file"):
        predict_stream(pipeline, SMILES, column="a")
    with pytest.raises(ValueError, match="name must end with"):
        predict_stream(pipeline, "CCO")


def peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_rows(network, mapped, tmp_path):
    GraphArray.concatenate([mapped] * 40).save(tmp_path / "few")
    GraphArray.concatenate([mapped] * 400).save(tmp_path / "many")
    few, many = (
        GraphArray.load(tmp_path / name, mmap_mode="r") for name in ("few", "many")
    )

    def consume(X):
        for _ in predict_stream(network, X, chunk_size=500, return_std=True):
            pass

    consume(few)
    assert peak(lambda: consume(many)) < 1.2 * peak(lambda: consume(few)) + 20_000
    # Predictions of all rows, and their positions, but no graphs.
    grown = peak(lambda: network.predict(many)) - peak(lambda: network.predict(few))
    assert grown < 40 * (len(many) - len(few))
