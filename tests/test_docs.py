"""Documentation that is true: code that runs, names that are listed."""

import ast
import importlib
import inspect
import pydoc
import re
import textwrap
from abc import ABC
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [
    "skgnn_mtl",
    *(
        f"skgnn_mtl.{path.parent.name}"
        for path in sorted((ROOT / "skgnn_mtl").glob("*/__init__.py"))
        # private: estimators are the way in
        if path.parent.name not in ("training", "gate")
    ),
]
MEMBERS = sorted(
    {
        getattr(importlib.import_module(room), name)
        for room in ROOMS
        for name in importlib.import_module(room).__all__
        if not name.endswith("_scorer") or name in ("task_scorer", "interval_scorer")
    },
    key=lambda member: member.__qualname__,
)
# Made by the training, for those who write a weighting.
WITHOUT_EXAMPLE = {
    *("Decision", "FreshBatch", "HeldOut", "HeldOutEvidence", "HeldOutReport"),
    "Labels",
}


# Names without arrays: strings of atoms, files, declarations of a method.
WITHOUT_SHAPES = {
    *("AtomColumn", "BondColumn", "GraphSchema", "GraphTransformer", "load", "save"),
    *("HeldOut", "HeldOutReport", "HeldOutWeighting"),
    *("SAM", "SAMO", "data_parallel"),
}
# No method of a paper: containers, constants, doors to other members.
WITHOUT_PAPER = {
    *("BatchContext", "Decision", "Fixed", "FreshBatch", "HeldOut", "HeldOutEvidence"),
    *("HeldOutReport", "SolverReport", "TaskProblem", "TraceEstimate"),
    *("as_task_weighting", "leading_eigenpairs", "task_spectra"),
}
ROOMS_OF_METHODS = ("auxiliary", "curvature", "encoders", "readouts", "weighting")


def blocks(path: Path) -> list[tuple[int, str]]:
    """Python blocks of a page, and the lines they begin at."""
    text = path.read_text()
    if path.suffix == ".md":
        pattern = r"```python\n(.*?)```"
    else:
        pattern = r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)"
    return [
        (text[: found.start(1)].count("\n"), textwrap.dedent(found.group(1)))
        for found in re.finditer(
            pattern, text, flags=re.DOTALL * (path.suffix == ".md")
        )
    ]


GUIDE = sorted(
    f"docs/guide/{path.name}"
    for path in (ROOT / "docs" / "guide").glob("*.rst")
    if path.name != "index.rst"
)
# Packages that a page shows and the package itself does not need.
SHOWN = {"docs/guide/interoperability.rst": ["optuna"]}


# Pages show what invalid rows do: they warn.
@pytest.mark.filterwarnings("default:.*invalid graphs:UserWarning")
@pytest.mark.filterwarnings("default:.*are left out:UserWarning")
@pytest.mark.parametrize("page", ["README.md", "docs/index.rst", *GUIDE])
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    for module in SHOWN.get(page, ()):
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    code = blocks(ROOT / page)
    assert code
    namespace = {"__name__": "page"}
    for line, block in code:
        # The blank lines make a traceback point into the page.
        exec(compile("\n" * line + block, page, "exec"), namespace)


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_sorted_and_are_those_of_the_api_page(room):
    module = importlib.import_module(room)
    assert sorted(module.__all__) == list(module.__all__)
    page = (ROOT / "docs" / "api.rst").read_text()
    section = page.split(f"\n{room}\n---")[1].split("\n---")[0]
    listed = re.findall(r"^(?:   |\.\. py:data:: )(\w+)$", section, flags=re.MULTILINE)
    assert sorted(listed) == module.__all__


def heads_of(doc: str, title: str) -> list[str]:
    """Names that begin the entries of a section of a numpydoc docstring."""
    pattern = rf"\n{title}\n-+\n(.*?)(?=\n\n\w+( \w+)*\n---|\Z)"
    section = re.search(pattern, doc, re.S)
    return re.findall(r"^(\S.*?)(?: : .*)?$", section.group(1), re.M) if section else []


def documented_parameters(doc: str) -> list[str]:
    """Names in the section Parameters of a numpydoc docstring."""
    heads = heads_of(doc, "Parameters")
    return [name.lstrip("*") for head in heads for name in head.split(", ")]


def parameters_of(member, doc: str) -> list[str]:
    """Documented names; ``**options`` stands for those of the base class."""
    names = documented_parameters(doc)
    if names[-1:] != ["options"]:
        return names
    base = inspect.getdoc(member.__mro__[1])
    own = names[:-1]
    return own + [name for name in documented_parameters(base) if name not in own]


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__qualname__)
def test_public_members_are_documented(member):
    doc = inspect.getdoc(member) or ""
    assert doc.split("\n\n")[0].endswith("."), "no sentence to begin with"
    if inspect.isabstract(member) or ABC in getattr(member, "__bases__", ()):
        return
    assert parameters_of(member, doc) == list(inspect.signature(member).parameters)
    returned = inspect.signature(member).return_annotation
    if inspect.isfunction(member) and returned != "None":
        assert "\nReturns\n---" in doc
    if member.__name__ not in WITHOUT_EXAMPLE:
        assert "\nExamples\n---" in doc


def is_base(member) -> bool:
    """Whether a class is made to be derived from."""
    return inspect.isclass(member) and (
        inspect.isabstract(member) or ABC in member.__bases__
    )


def raises(function) -> bool:
    """Whether an error is raised in the body itself."""
    source = inspect.getsource(function)
    # A continued line of a docstring may be indented less than the method.
    tree = ast.parse(f"class A:\n{source}" if source.startswith(" ") else source)
    return any(isinstance(node, ast.Raise) and node.exc for node in ast.walk(tree))


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__qualname__)
def test_public_members_say_where_to_go_on(member):
    """Relatives, shapes of arrays, and the paper of a method."""
    doc = inspect.getdoc(member)
    room, name = member.__module__.split(".")[1], member.__name__
    if not is_base(member) and name != "Decision":  # its base stands beside it
        assert "\nSee Also\n---" in doc
    if name not in WITHOUT_SHAPES and not is_base(member):
        assert re.search(r"shape|\((n|t)", doc), "no shapes"
    if room in ROOMS_OF_METHODS and name not in WITHOUT_PAPER and not is_base(member):
        assert "\nReferences\n---" in doc


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__qualname__)
def test_relatives_exist(member):
    """A name alone is one of the same room, or of the package."""
    homes = ["skgnn_mtl." + member.__module__.split(".")[1], "skgnn_mtl"]
    heads = heads_of(inspect.getdoc(member), "See Also")
    for name in [name for head in heads for name in re.split(r",\s*", head) if name]:
        places = [name, *(f"{home}.{name}" for home in homes)]
        assert any(pydoc.locate(place) is not None for place in places), name


@pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.__qualname__)
def test_errors_are_documented_where_they_are_raised(member):
    own = vars(member).values() if inspect.isclass(member) else [member]
    functions = [getattr(each, "__func__", each) for each in own]
    for function in filter(inspect.isfunction, functions):
        if not function.__name__.startswith("_") and raises(function):
            docs = (inspect.getdoc(function) or "") + (inspect.getdoc(member) or "")
            assert "\nRaises\n---" in docs, function.__qualname__


METHODS = [
    method
    for member in MEMBERS
    if inspect.isclass(member)
    for name, method in vars(member).items()
    if not name.startswith("_") and inspect.isfunction(method)
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_public_methods_are_documented(method):
    doc = inspect.getdoc(method) or ""
    assert doc.split("\n\n")[0].endswith("."), "no sentence to begin with"
    if "\n" in doc:  # one sentence may say it all
        parameters = list(inspect.signature(method).parameters)[1:]
        assert documented_parameters(doc) == parameters


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((docs/[^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert all((ROOT / link).is_file() for link in links)


def test_figures_of_pages_are_there_and_small():
    pages = [*(ROOT / "docs").rglob("*.rst")]
    for page in pages:
        if {"auto_examples", "generated", "_build"} & set(page.parts):
            continue
        pattern = r"^\s*\.\. (?:figure|image):: (\S+)$"
        for link in re.findall(pattern, page.read_text(), flags=re.MULTILINE):
            figure = page.parent / link
            assert figure.is_file(), f"{page.name}: {link}"
            assert figure.stat().st_size < 250_000, f"{page.name}: {link}"


def test_pages_of_figures_state_results_and_no_targets_of_the_project():
    """A number comes with its baseline; a figure that was hoped for is not a result."""
    words = r"\b(goal|our aim|aimed at|figure to reach|mission|acceptance|milestone)\b"
    for page in (ROOT / "docs" / "benchmarks").glob("*.rst"):
        assert not re.search(words, page.read_text(), flags=re.IGNORECASE), page.name


def test_no_file_names_a_folder_of_some_machine():
    folders = "|".join(["work", "opt", "tmp", "root", "home"])
    pattern = re.compile(rf"(?<![\w.}}\])~-])/(?:{folders})\b")
    files = [
        path
        for folder in (".ci", "docs", "examples", "skgnn_mtl", "tests")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {"", ".md", ".py", ".rst", ".csv"} and path.is_file()
    ]
    files += [ROOT / "README.md", ROOT / "pyproject.toml"]
    assert len(files) > 50
    named = [str(path) for path in files if pattern.search(path.read_text())]
    assert not named
