"""Documentation that is true: code that runs, names that are listed."""

import importlib
import inspect
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


# The guide shows what invalid rows do: they warn.
@pytest.mark.filterwarnings("default:.*invalid graphs:UserWarning")
@pytest.mark.filterwarnings("default:.*are left out:UserWarning")
@pytest.mark.parametrize(
    "page", ["README.md", "docs/guide.rst", "docs/extend.rst", "docs/scaling.rst"]
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
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


def documented_parameters(doc: str) -> list[str]:
    """Names in the section Parameters of a numpydoc docstring."""
    section = re.search(r"\nParameters\n-+\n(.*?)(?=\n\n\w+( \w+)*\n---|\Z)", doc, re.S)
    heads = (
        re.findall(r"^(\S.*?)(?: : .*)?$", section.group(1), re.M) if section else []
    )
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
