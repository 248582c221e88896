"""Examples run, small, with the code that the reader sees."""

import importlib.util
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def test_plot_target_scales(tmp_path):
    spec = importlib.util.spec_from_file_location(
        "plot_target_scales", EXAMPLES / "plot_target_scales.py"
    )
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    path = tmp_path / "scales.png"
    scores = example.main(max_epochs=12, path=path)
    standardised = scores.filter(like="standardised")
    assert (standardised > 0.9).all(axis=None)
    assert (scores["raw targets, equal"].iloc[:5] < 0.5).all()
    assert path.stat().st_size > 10_000


def test_quickstart(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location(
        "quickstart", EXAMPLES / "quickstart.py"
    )
    quickstart = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quickstart)
    path = tmp_path / "parity.png"
    table = quickstart.main(n_molecules=300, max_epochs=12, n_trees=10, path=path)
    assert list(table.columns) == ["labels", "mean", "forest", "network"]
    assert len(table) == 8
    assert path.stat().st_size > 10_000
    assert (table["network"] < table["mean"]).mean() > 0.7
    assert "Parity plot" in capsys.readouterr().out
