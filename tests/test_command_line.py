"""The command line does what the functions below it do."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import skgnn_mtl
from skgnn_mtl._command_line import main

# Rows that cannot be read are a warning, which the command prints.
pytestmark = pytest.mark.filterwarnings("default:.* of X became:UserWarning")

SMILES = [f"C{'C' * k}{end}" for k in range(10) for end in ("O", "N", "Cl")]


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    size = np.array([len(text) for text in SMILES], dtype=float)
    frame = pd.DataFrame({"smiles": SMILES, "size": size, "length (nm)": size / 10})
    frame.loc[0, "smiles"] = "CO.Cl"
    frame.loc[3, "smiles"] = "C1CC"
    frame["length (nm)"] = frame["length (nm)"].astype(object)
    frame.loc[5, "length (nm)"] = ">0.4"
    frame.to_csv("table.csv", index=False)
    return frame


def test_a_model_is_scored_saved_and_predicts_every_row(table, capsys):
    words = "fit table.csv --out m.skgnn --cv 2 --epochs 2 --description Made.here"
    log = ["--log10", "Size", "--report", "report.csv", "--units", "length=pm"]
    assert main([*words.split(), *log]) == 0
    out = capsys.readouterr().out
    assert "fit: 29 molecules, targets of numbers: size, length (pm)" in out
    assert "1 x unreadable in 'smiles'; row 3: 'C1CC': unclosed ring" in out
    assert "scores of 2 folds by molecule split" in out
    # An error, which is positive.
    assert re.search(r"^size +[\d.]+ ± ", out, re.MULTILINE)
    assert set(pd.read_csv("report.csv")["what"]) == {
        *("unit", "salt", "unreadable", "censored"),
    }
    model = skgnn_mtl.load("m.skgnn")
    network = model[-1]
    assert network.target_transform == {"size": "log10"}
    assert network.censored == "bound"
    assert network.max_epochs == 2
    assert main("predict m.skgnn table.csv --out p.csv".split()) == 0
    assert "30 rows, 1 without a prediction" in capsys.readouterr().out
    found = pd.read_csv("p.csv")
    assert found["smiles"].tolist() == table["smiles"].tolist()
    assert found.iloc[3, 1:].isna().all()
    with pytest.warns(UserWarning, match="invalid graphs"):
        expected = model.predict(table["smiles"])
    np.testing.assert_allclose(found[["size", "length (pm)"]], expected)


def test_warnings_and_errors_are_lines_of_text(table, capsys):
    main("fit table.csv --out m.skgnn --cv 0 --epochs 1 --targets size".split())
    assert main("predict m.skgnn table.csv --out p.csv".split()) == 0
    assert capsys.readouterr().err.startswith("warning: 1 of 30 rows of X became inv")
    for words, message in [
        ("fit none.csv --out m", "No such file"),
        ("fit table.csv --out m --targets sise", "Did you mean 'size'?"),
        ("fit table.csv --out m --units size:nm", "COLUMN=UNIT"),
        ("fit table.csv --out m --model hybrid --epochs 3", "--model network"),
        ("fit table.csv --out m --log10 mass", "--log10 names 'mass'"),
        ("predict table.csv table.csv --out p.csv", "table.csv"),
        ("fit table.csv --out none/m", "which is not a folder"),
    ]:
        assert main(words.split()) == 2
        assert message in capsys.readouterr().err


def test_bounds_are_left_out_on_request(table, capsys):
    words = "fit table.csv --out m.skgnn --cv 0 --epochs 1 --censored drop"
    assert main(words.split()) == 0
    assert "1 labels that are bounds" in capsys.readouterr().out
    assert skgnn_mtl.load("m.skgnn")[-1].censored == "raise"


def test_the_hybrid_is_fitted_and_saved(table, capsys, monkeypatch):
    words = "fit table.csv --out m.skgnn --cv 0 --model hybrid --log10 size".split()
    with monkeypatch.context() as patch:
        patch.setattr("skgnn_mtl._command_line.find_spec", lambda name: None)
        assert main(words) == 2
        assert "saved by skops" in capsys.readouterr().err
    assert main(words) == 0
    model = skgnn_mtl.load("m.skgnn")
    assert model.target_transforms_.steps == ("log10", None)
    assert model.network_[-1].censored == "bound"
    assert main("predict m.skgnn table.csv --out p.csv".split()) == 0
    found = pd.read_csv("p.csv")[["size", "length (nm)"]]
    assert found.notna().all(axis=1).tolist() == [k != 3 for k in range(30)]


def test_columns_of_two_values_are_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    frame = pd.DataFrame({"smiles": SMILES})
    frame["halide"] = [int("Cl" in text) for text in SMILES]
    frame["amine"] = ["yes" if "N" in text else "no" for text in SMILES]
    frame["size"] = [len(text) + 0.5 for text in SMILES]
    frame.to_parquet("t.parquet")
    words = "fit t.parquet --out m --epochs 2 --cv 2 --targets"
    assert main([*words.split(), "halide", "amine"]) == 0
    assert "roc_auc" in capsys.readouterr().out
    assert main("predict m t.parquet --out p.csv".split()) == 0
    found = pd.read_csv("p.csv")[["halide", "amine"]].to_numpy()
    assert ((found > 0) & (found < 1)).all()
    tasks = skgnn_mtl.load("m").predict_proba(frame["smiles"])
    np.testing.assert_allclose(found, np.column_stack([t[:, 1] for t in tasks]))
    assert main([*words.split(), "halide", "size"]) == 2
    assert "Targets ['halide'] have classes, the others" in capsys.readouterr().err


def test_each_of_three_classes_has_a_column(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"O": "alcohol", "N": "amine", "l": "halide"}
    kinds = [names[text[-1]] for text in SMILES]
    pd.DataFrame({"smiles": SMILES, "kind": kinds}).to_csv("t.csv", index=False)
    assert main("fit t.csv --out m --epochs 2 --cv 2 --targets kind".split()) == 0
    assert main("predict m t.csv --out p.csv".split()) == 0
    columns = [f"kind = {kind}" for kind in names.values()]
    found = pd.read_csv("p.csv")[columns]
    np.testing.assert_allclose(found.sum(axis=1), 1.0)


def test_salts_are_cut_before_predictions_where_asked(table):
    words = "fit table.csv --out m.skgnn --cv 0 --epochs 1 --salts largest"
    main(words.split())
    main("predict m.skgnn table.csv --out p.csv --salts largest".split())
    assert pd.read_csv("p.csv")["smiles"][0] == "CO"


def test_check_only_reads(table, capsys):
    assert main("check table.csv".split()) == 0
    out = capsys.readouterr().out
    assert "30 molecules; targets: size, length (nm)" in out
    assert "4 findings" in out


def test_help_is_printed_by_the_module():
    command = [sys.executable, "-m", "skgnn_mtl", "--help"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "python -m skgnn_mtl fit table.csv --out model.skgnn" in run.stdout
    for name in ("check", "fit", "predict"):
        assert name in run.stdout
