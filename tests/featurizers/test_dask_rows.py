"""Collections of dask are columns of strings like any other."""

import numpy as np
import pandas as pd
import pytest

from skgnn_mtl import GraphArray, MultiTaskGNNRegressor, SmilesToGraph, predict_stream
from skgnn_mtl.featurizers import SmilesToDescriptors

dask = pytest.importorskip("dask", reason="dask is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:Dask currently has limited support")

SMILES = ["C" * (1 + k % 9) for k in range(40)]
TABLE = pd.DataFrame({"smiles": SMILES, "y": np.arange(40.0)}, index=range(5, 45))


@pytest.fixture
def table():
    frames = pytest.importorskip("dask.dataframe", reason="dask lacks its frames")
    with dask.config.set(scheduler="synchronous"):
        yield frames.from_pandas(TABLE, npartitions=3)


def kinds(table):
    """One column, in all containers of dask."""
    return {
        "series": table["smiles"],
        "frame": table[["smiles"]],
        "array": table["smiles"].to_dask_array(lengths=True),
        "column": table[["smiles"]].to_dask_array(lengths=True),
        "bag": table["smiles"].to_bag(),
    }


@pytest.mark.parametrize("kind", ["series", "frame", "array", "column", "bag"])
def test_rows_are_those_of_pandas(table, kind, tmp_path):
    X, wanted = kinds(table)[kind], SmilesToGraph().transform(SMILES)
    assert SmilesToGraph().transform(X) == wanted
    assert SmilesToGraph().fit_transform(X) == wanted
    assert SmilesToGraph().transform_to(tmp_path / "graphs", X) == wanted
    numbers = SmilesToDescriptors(["TPSA", "MolWt"])
    np.testing.assert_array_equal(numbers.transform(X), numbers.transform(SMILES))


def test_labels_of_rows_are_kept(table):
    graphs = SmilesToGraph().transform(table["smiles"])
    assert graphs.index.equals(TABLE.index)


def test_a_column_is_named_once(table, tmp_path):
    SmilesToGraph().transform_to(tmp_path / "graphs", table, column="smiles")
    found = GraphArray.load(tmp_path / "graphs")
    assert found == SmilesToGraph().transform(SMILES)
    # A number is no molecule.
    with pytest.raises(TypeError, match=r"X\[0, 1\] = .* is a number"):
        SmilesToGraph().transform_to(tmp_path / "other", table)
    with pytest.raises(TypeError, match=r"X\[0, 1\] = .* is a number"):
        SmilesToGraph().transform(table)


def test_one_partition_at_a_time_is_in_memory(table, tmp_path):
    computed = []
    marked = table["smiles"].map_partitions(
        lambda part: computed.append(len(part)) or part, meta=("smiles", object)
    )
    rows = SmilesToGraph()
    seen = []

    def featurize(chunk):
        seen.append(list(computed))
        return type(rows)._featurize(rows, chunk)

    rows._featurize = featurize
    rows.transform_to(tmp_path / "graphs", marked, chunk_size=5)
    # The empty chunk is for the schema.
    assert seen[0] == []
    assert len(seen[1]) < len(seen[-1]) == 3


def test_partitions_are_predicted_one_by_one(table):
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(
        SmilesToGraph(), MultiTaskGNNRegressor("gcn", max_epochs=1, random_state=0)
    ).fit(SMILES, TABLE["y"])
    parts = list(predict_stream(model, table["smiles"]))
    assert [len(part) for part in parts] == [
        len(part.compute()) for part in table.partitions
    ]
    found, wanted = np.concatenate(parts), model.predict(SMILES)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
