"""What a notebook shows: links, pictures, names to complete."""

import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import skgnn_mtl
from skgnn_mtl._links import TEMPLATE

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "docs" / "api.rst").read_text()
CLASSES = {
    (room, name): getattr(getattr(skgnn_mtl, room), name)
    for room in skgnn_mtl._ROOMS
    for name in getattr(skgnn_mtl, room).__all__
    if isinstance(getattr(getattr(skgnn_mtl, room), name), type)
    and issubclass(getattr(getattr(skgnn_mtl, room), name), BaseEstimator)
    and not inspect.isabstract(getattr(getattr(skgnn_mtl, room), name))
}


def test_links_lead_to_the_documentation_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert TEMPLATE.startswith(project["urls"]["Documentation"] + "/generated/")


@pytest.mark.parametrize(("room", "name"), CLASSES)
def test_every_class_has_the_link_to_its_page(room, name):
    cls = CLASSES[room, name]
    link = cls._get_doc_link(cls.__new__(cls))
    room = "skgnn_mtl" if name in skgnn_mtl.__all__ else f"skgnn_mtl.{room}"
    assert link == TEMPLATE.format(page=f"{room}.{name}")
    section = PAGES.split(f"\n{room}\n---")[1].split("\n---")[0]
    assert f"   {name}\n" in section


def test_the_representation_shows_the_link_and_users_classes_have_none():
    html = skgnn_mtl.MultiTaskGNNRegressor()._repr_html_()
    assert "generated/skgnn_mtl.MultiTaskGNNRegressor.html" in html

    class Own(skgnn_mtl.MultiTaskGNNRegressor):
        pass

    assert Own()._get_doc_link() == ""


def test_rooms_are_there_and_private_modules_are_not_offered():
    code = (
        "import sys, skgnn_mtl\n"
        "assert 'skgnn_mtl.datasets' not in sys.modules\n"
        "assert callable(skgnn_mtl.datasets.load_physchem)\n"
        "names = dir(skgnn_mtl)\n"
        "assert {'datasets', 'ensemble', 'save', '__version__'} <= set(names)\n"
        "assert not [n for n in names if n.startswith('_') and n != '__version__']\n"
        "assert names == sorted(names)\n"
        "assert all(hasattr(skgnn_mtl, name) for name in names)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    rooms = {path.parent.name for path in (ROOT / "skgnn_mtl").glob("*/__init__.py")}
    # private: estimators are the way in
    assert set(skgnn_mtl._ROOMS) == rooms - {"training", "gate"}
    with pytest.raises(AttributeError, match="no attribute 'dataset'"):
        skgnn_mtl.dataset  # noqa: B018


def test_molecules_are_drawn_and_counted():
    smiles = ["CCO", "C1CC", "CC(=O)O", *["C" * k for k in range(30, 40)]]
    with pytest.warns(UserWarning, match="became invalid graphs"):
        graphs = skgnn_mtl.SmilesToGraph(on_error="nan").transform(smiles)
    html = graphs._repr_html_()
    assert repr(graphs).replace("'", "&#x27;") in html
    assert html.count("<svg") == 5
    assert "(invalid)" in html
    assert "CC(=O)O</figcaption>" in html
    assert f"{'C' * 32}" in html
    assert "and 7 more" in html
    assert "<?xml" not in html
    assert "0 graphs" in graphs[:0]._repr_html_()


def test_crystals_and_graphs_without_names_are_a_table():
    cifs, _ = skgnn_mtl.datasets.load_elasticity(return_X_y=True)
    graphs = skgnn_mtl.CifToGraph().transform(cifs[:2])
    html = graphs._repr_html_()
    assert "<svg" not in html
    for k in range(2):
        assert f"<td>{graphs.n_nodes[k]}</td><td>{graphs.n_edges[k]}</td>" in html
    assert "more" not in html
    plain = skgnn_mtl.GraphArray.from_features([[1.0, 2.0]])
    assert "<td>1</td><td>0</td>" in plain._repr_html_()


def test_names_are_text_and_not_code():
    graphs = skgnn_mtl.GraphArray(
        skgnn_mtl.GraphArray.from_features([[1.0]]).schema,
        n_nodes=[1],
        n_edges=[0],
        node_features=[[1.0]],
        ids=["<script>"],
    )
    html = graphs._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
