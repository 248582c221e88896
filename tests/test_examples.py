"""Examples run, small, with the code that the reader sees, and end in a figure."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))
# How long the tests may take: what a reader would wait for, made small.
SMALL = {
    "plot_models": {"N_MOLECULES": 120, "MAX_EPOCHS": 3, "N_SPLITS": 2},
    "plot_splits": {"N_MOLECULES": 200, "N_TREES": 5},
    "plot_confidence": {"N_MOLECULES": 200, "MAX_EPOCHS": 5},
    "plot_conflicts": {"N_MOLECULES": 200, "MAX_EPOCHS": 2},
    "plot_sharing": {"N_MOLECULES": 200, "MAX_EPOCHS": 2, "N_SPLITS": 2},
    "plot_curvature": {"N_MOLECULES": 150, "MAX_EPOCHS": 4, "N_LANCZOS": 10},
    "plot_search": {"N_MOLECULES": 150, "MAX_EPOCHS": 2, "WIDTHS": [8, 16]},
    "plot_embedding": {"N_MOLECULES": 200, "MAX_EPOCHS": 4},
}


def shrink(source: str, settings: dict) -> ast.Module:
    """Give the constants at the top of a script other values."""
    tree = ast.parse(source)
    missing = set(settings)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in settings:
                node.value = ast.parse(repr(settings[name]), mode="eval").body
                missing.discard(name)
    assert not missing, f"The script does not set {missing}."
    return ast.fix_missing_locations(tree)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run an example in an empty folder; give its variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: None)

    def run_example(name, **settings):
        source = (EXAMPLES / f"{name}.py").read_text()
        # joblib's caches look for the module of a function by its name.
        variables = {"__name__": "__main__"}
        exec(compile(shrink(source, settings), f"{name}.py", "exec"), variables)
        assert_readable(plt.figure(plt.get_fignums()[-1]))
        return variables

    return run_example


def assert_readable(figure) -> None:
    """A title, and words on the axes: the figure says what it shows."""
    words = [figure.get_suptitle(), figure.get_supxlabel(), figure.get_supylabel()]
    for ax in figure.axes:
        assert ax.has_data() or ax.get_label() == "<colorbar>" or not ax.axison
        words += [ax.get_title(), ax.get_xlabel(), ax.get_ylabel()]
        words += [text.get_text() for text in ax.texts]
    assert len(" ".join(filter(None, words)).split()) >= 4, words


# Ten steps of Lanczos are not enough for three eigenvalues, which the example takes.
@pytest.mark.filterwarnings("ignore:.*eigenvalues have not converged")
@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_example_ends_in_a_figure(name, run):
    run(name, **SMALL[name])


def test_quickstart(run, tmp_path, capsys):
    variables = run("quickstart", N_MOLECULES=300, MAX_EPOCHS=12, N_TREES=10)
    table = variables["errors"]
    assert list(table.columns) == ["mean", "boosting", "network", "hybrid"]
    assert len(table) == 8
    assert (tmp_path / "quickstart_parity.png").stat().st_size > 10_000
    assert (table["hybrid"] < table["mean"]).mean() > 0.7
    assert (table["hybrid"] < table["network"]).mean() > 0.7
    assert "Parity plot" in capsys.readouterr().out


def test_plot_target_scales(run):
    scores = run("plot_target_scales", MAX_EPOCHS=20)["scores"]
    standardised = scores.filter(like="standardised")
    assert (standardised > 0.9).all(axis=None)
    assert (scores["raw targets, equal"].iloc[:5] < 0.5).all()


def test_plot_auxiliary(run, capsys):
    variables = run(
        "plot_auxiliary",
        N_MOLECULES=500,
        PRETRAINING_EPOCHS=2,
        MAX_EPOCHS=4,
        N_SPLITS=2,
    )
    errors, cosines = variables["errors"], variables["cosines"]
    assert errors.shape == (2, 4)
    assert np.isfinite(errors).all(axis=None)
    # Splits, seeds and budget are shared: the ways differ, and in nothing else.
    assert (errors.nunique(axis=1) == 4).all()
    assert list(cosines.columns)[-1] == "descriptors"
    assert cosines.abs().max(axis=None) <= 1.0
    assert "Losses of the pretraining" in capsys.readouterr().out


def test_plot_crystals(run):
    table = run("plot_crystals", N_CRYSTALS=120, MAX_EPOCHS=12, N_SPLITS=2)["errors"]
    assert list(table.columns) == ["mean", "network"]
    assert len(table) == 4
    assert table.loc["log10 K (GPa)", "network"] < table.loc["log10 K (GPa)", "mean"]


def test_plot_atoms(run):
    pytest.importorskip("captum")
    variables = run("plot_atoms", N_MOLECULES=400, MAX_EPOCHS=30)
    table = variables["display"].table_
    assert list(table.columns) == ["graph", "atom", "element", "logP", "Tb (K)"]
    assert variables["step"] < 0
    assert variables["change"].argmin() == 0  # the added oxygen


def test_plot_task_addition(run, capsys):
    variables = run("plot_task_addition", N_MOLECULES=300, MAX_EPOCHS=3, STEPS=10)
    pipeline, comparison = variables["pipeline"], variables["comparison"]
    assert pipeline.predict(["CCO"]).shape == (1, 6)
    assert pipeline[-1].added_names_ == ["Tflash (K)", "log10 permittivity"]
    methods = {"single-task", "addition", "addition-unlabelled"}
    assert set(comparison.errors["method"]) == methods
    assert "bit for bit as before: True" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_an_example_needs_nothing_but_packages(name):
    """A downloaded script runs alone, and a notebook shows its figures."""
    source = (EXAMPLES / name).read_text()
    assert "matplotlib.use(" not in source
    neighbours = {path.stem for path in EXAMPLES.glob("*.py")}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module not in neighbours
        elif isinstance(node, ast.Import):
            assert not neighbours & {alias.name for alias in node.names}


def test_every_example_is_run_and_has_its_place_in_the_gallery(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    order = importlib.import_module("gallery_order").READING_ORDER
    assert sorted(order) == NAMES
    tests = Path(__file__).read_text()
    assert all(f'"{name[:-3]}"' in tests for name in NAMES)
