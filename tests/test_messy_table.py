"""The first ten minutes: from a messy table to a saved model, by public names only."""

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline

import skgnn_mtl
from skgnn_mtl import MultiTaskGNNRegressor, SmilesToGraph
from skgnn_mtl.datasets import load_physchem, read_table
from skgnn_mtl.metrics import per_task_scorers
from skgnn_mtl.model_selection import molecule_groups

BOILING, SURFACE = "Sdp. (K)", "Oberfläche [mJ]"


@pytest.fixture
def path(tmp_path):
    """Write a table as it leaves a laboratory: Windows, semicolons, commas, notes."""
    smiles, y = load_physchem(return_X_y=True)
    known = y.dropna(subset=["Tb (K)", "Hvap298 (J/mol)"]).index[:60]
    rows = [["Nr", " Struktur ", BOILING, SURFACE, "Bemerkung", "Labor"]]
    for k, row in enumerate(known):
        boiling = f"{y.loc[row, 'Tb (K)']:.2f}".replace(".", ",")
        heat = f"{y.loc[row, 'Hvap298 (J/mol)']:.0f} nJ"
        text = smiles[row]
        if k % 20 == 3:
            boiling = ">400"
        if k % 20 == 4:
            boiling, heat = "n.b.", ""
        if k % 20 == 5:
            text += ".Cl"
        if k == 7:
            text, boiling = "InChI=1S/CH4/h1H4", "04.03.2025"
        rows.append([str(k), text, boiling, heat, "ok", "1"])
        if k % 15 == 8:  # measured again, with another result
            rows.append(["", text, "300,5", "", "nochmal", "1"])
        if k == 30:
            rows.append([""] * 6)
    content = "".join(";".join(row) + "\r\n" for row in rows)
    path = tmp_path / "messung.csv"
    path.write_bytes(content.encode("cp1252"))
    return path


def test_a_messy_table_becomes_a_scored_and_saved_model(path, tmp_path):
    _, _, report = read_table(path, targets=["Sdp.", "Oberfläche", "Labor"])
    assert set(report["what"]) == {
        *("encoding", "decimal comma", "unit", "unit in a cell", "constant"),
        *("censored", "not a number", "date", "salt", "other notation", "blank row"),
        *("missing molecule", "duplicate", "contradiction", "nearly empty"),
    }
    X, y, _ = read_table(
        path,
        targets=["Sdp.", "Oberfläche"],
        units={"Oberfläche": "pJ"},
        duplicates="mean",
        salts="largest",
        unreadable="drop",
    )
    assert list(y) == [BOILING, "Oberfläche [pJ]"]
    assert molecule_groups(X).tolist() == list(range(len(X)))
    # The third molecule with a bound was measured again.
    assert y[BOILING].astype(str).str.startswith(">").sum() == 2
    assert np.isfinite(pd.to_numeric(y["Oberfläche [pJ]"])).sum() > 50
    model = make_pipeline(
        SmilesToGraph(),
        MultiTaskGNNRegressor(censored="bound", max_epochs=2, random_state=0),
    )
    scores = cross_validate(
        model,
        X,
        y,
        cv=GroupKFold(2),
        groups=molecule_groups(X),
        scoring=per_task_scorers(y.columns),
        error_score="raise",
    )
    assert all(np.isfinite(scores[f"test_mae_{name}"]).all() for name in y)
    skgnn_mtl.save(model.fit(X, y), tmp_path / "m", description="Boiling points.")
    loaded = skgnn_mtl.load(tmp_path / "m")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
