"""Imports point downwards, and each outside package is known where it should be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import skgnn_mtl
import skgnn_mtl.estimators

PACKAGE = Path(skgnn_mtl.__file__).parent
LAYERS = {
    "_warn": -1,  # below all: every room warns
    "_callbacks": -1,
    "_links": -1,
    "_listed": -1,
    "_progress": -1,
    "_activations": 0,
    "_archive": 0,
    "_component": 0,
    "_flat": 0,
    "_gram": 0,
    "_overlap": 0,
    "_pipelines": 0,
    "_seeds": 0,
    "_target_transforms": 0,
    "graphs": 0,
    "metrics": 0,
    "featurizers": 1,
    "datasets": 1.5,  # a table of one's own is read by the featurizers' RDKit
    "encoders": 1,
    "readouts": 1,
    "weighting": 1,
    "auxiliary": 1,
    "curvature": 1,
    "optimizers": 1,
    "training": 2,
    "gate": 2.5,  # it may import training, never the reverse
    "estimators": 3,
    "inspection": 4,
    "model_selection": 4,
    "ensemble": 4.5,  # it may import model_selection, never the reverse
    "_predict_stream": 5,
    "_saving": 5,  # whole models, whatever they are made of
    "_command_line": 6,
    "__main__": 7,
}
# Who may know a package; a name without a slash stands for the whole folder.
ALLOWED = {
    "skorch": {"training/_epoch_callbacks.py", "training/_net.py"},
    "rdkit": {
        "auxiliary/_chemistry.py",
        "featurizers",
        "graphs/_display.py",
        "inspection/_drawing.py",
        "model_selection/_scaffold.py",
    },
    "gemmi": {"featurizers/_crystal.py"},
    "spglib": {"featurizers/_cif_reader.py"},
    "pymatgen": {"featurizers/_crystal.py", "featurizers/_neighbors.py"},
    "torch": {
        "_activations.py",
        "_component.py",
        "_flat.py",
        "_gram.py",
        "_seeds.py",
        "auxiliary",
        "graphs",
        "encoders",
        "readouts",
        "weighting",
        "training",
        "gate",
        "curvature",
        "optimizers",
        "estimators",
        "inspection/_atom_attributions.py",
    },
    "accelerate": {"training/_distributed.py"},
    "captum": {"inspection/_atom_attributions.py"},
    "torch_geometric": {"graphs/_array.py", "graphs/_data.py"},
    "pooch": {"datasets"},
    "matplotlib": {"inspection"},
    "pytorch_optimizer": {"training/_soap.py"},
    "crepes": {"ensemble/_crepes.py"},
}
FILES = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if "data" not in path.relative_to(PACKAGE).parts
)


def imported(path: Path) -> set[str]:
    """Absolute names of everything a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "skgnn_mtl" or len(parts) < 2:
            continue
        other = parts[1]
        assert LAYERS[other] < LAYERS[own], f"{path.name} imports {name}"


def test_every_room_has_a_layer():
    rooms = {p.name for p in PACKAGE.iterdir() if (p / "__init__.py").is_file()}
    assert rooms == {name for name in LAYERS if not name.startswith("_")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_outside_packages_are_known_in_their_place_only(path):
    relative = path.relative_to(PACKAGE)
    for name in imported(path):
        places = ALLOWED.get(name.split(".")[0])
        if places is not None:
            assert {relative.as_posix(), relative.parts[0]} & places, (
                f"{relative} imports {name}"
            )


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("skgnn_mtl.metrics", ["torch", "rdkit"]),
        ("skgnn_mtl.datasets", ["torch", "rdkit"]),
    ],
)
def test_light_rooms_stay_light_by_themselves(module, heavy):
    # The package's own __init__ imports torch, so look at the files, not sys.modules.
    folder = PACKAGE / module.split(".")[1]
    names = {n.split(".")[0] for path in folder.glob("*.py") for n in imported(path)}
    assert not names & set(heavy)


def test_importing_the_package_has_no_side_effect_on_the_outside():
    code = (
        "import sys, skgnn_mtl\n"
        "assert 'matplotlib' not in sys.modules\n"
        "assert 'rdkit' not in sys.modules\n"
        "assert not {'gemmi', 'pymatgen', 'spglib', 'ase'} & set(sys.modules)\n"
        "assert not {'skorch', 'torch_geometric'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


ESTIMATORS = [
    getattr(skgnn_mtl.estimators, name) for name in skgnn_mtl.estimators.__all__
]


def own_classes(cls) -> list[type]:
    return [c for c in cls.__mro__ if c.__module__.startswith("skgnn_mtl")]


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_estimators_hold_their_parts(cls):
    """Two classes of the package at most stand above an estimator."""
    assert len(own_classes(cls)) - 1 <= 2


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_no_implemented_method_is_overridden(cls):
    classes, found = own_classes(cls), {}
    for c in reversed(classes):
        for name, value in vars(c).items():
            if name.startswith("__") or not callable(getattr(value, "fget", value)):
                continue
            assert found.get(name, True), f"{c.__name__} overrides {name}"
            found[name] = getattr(value, "__isabstractmethod__", False)


@pytest.mark.parametrize("cls", ESTIMATORS, ids=lambda cls: cls.__name__)
def test_no_parameter_is_refused_or_blanked(cls):
    """Each parameter has a constraint, and there is none for another."""
    assert set(cls._parameter_constraints) == set(cls._get_param_names())
    blanked = {name for c in own_classes(cls) for name in vars(c)}
    assert not blanked & set(cls._get_param_names())
