"""The project's own promises: versions, addresses, deprecations, dates."""

import ast
import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

import skgnn_mtl

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FILES = sorted((ROOT / "skgnn_mtl").rglob("*.py"))
DEPRECATING = {"DeprecationWarning", "FutureWarning", "PendingDeprecationWarning"}
# Functions that take the class of a warning and do not give one.
ASKING = {"filterwarnings", "isinstance", "issubclass", "simplefilter"}
PROMISE = r"is deprecated since \d+\.\d+ and will be removed in (\d+)\.(\d+); use \w"


def minor(version: str) -> tuple[int, int]:
    major, second, *_ = version.split(".")
    return int(major), int(second)


def text_of(node: ast.AST) -> str:
    """What can be read of a message before it is formatted; "x" in place of values."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    return str(node.value) if isinstance(node, ast.Constant) else "x"


def broken_promises(source: str, version: str) -> list[str]:
    """Deprecations without versions and replacement, or kept for too long."""
    problems = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        parts = [node.func, *node.args, *(k.value for k in node.keywords)]
        names = {getattr(p, "id", getattr(p, "attr", None)) for p in parts}
        if not names & DEPRECATING or names & ASKING:
            continue
        message = text_of(node.args[0]) if node.args else ""
        found = re.search(PROMISE, message)
        if not found:
            problems.append(f"line {node.lineno}: no versions or no replacement")
        elif minor(version) >= (int(found[1]), int(found[2])):
            problems.append(f"line {node.lineno}: to be removed by now")
    return problems


@pytest.mark.parametrize(
    "path", FILES, ids=lambda p: p.relative_to(ROOT / "skgnn_mtl").as_posix()
)
def test_deprecations_name_their_end_and_end_there(path):
    assert broken_promises(path.read_text(), skgnn_mtl.__version__) == []


GOOD = "A is deprecated since 0.2 and will be removed in 0.4; use B."


@pytest.mark.parametrize(
    ("source", "version", "n_problems"),
    [
        (f"warn('{GOOD}', FutureWarning)", "0.3.9", 0),
        (f"warn('{GOOD}', FutureWarning)", "0.4.0", 1),
        (f"warn('{GOOD}', FutureWarning)", "1.0.0", 1),
        (f"warnings.warn('{GOOD}', category=DeprecationWarning)", "0.4.0", 1),
        (f"warnings.warn(f'{{name}} {GOOD}', builtins.FutureWarning)", "0.3.0", 0),
        (f"warnings.warn(f'{{name}}{GOOD[1:]}', FutureWarning)", "0.4.1", 1),
        ("warn('A is deprecated.', FutureWarning)", "0.2.0", 1),
        ("warn('A is deprecated since 0.2; use B.', FutureWarning)", "0.2.0", 1),
        (f"warn('{GOOD[:-7]}', FutureWarning)", "0.2.0", 1),
        ("warn(message, DeprecationWarning)", "0.2.0", 1),
        (f"raise DeprecationWarning('{GOOD}')", "0.5.0", 1),
        ("warn('A is deprecated.', UserWarning)", "0.2.0", 0),
        ("warnings.simplefilter('ignore', FutureWarning)", "0.2.0", 0),
    ],
)
def test_a_broken_promise_is_found(source, version, n_problems):
    assert len(broken_promises(source, version)) == n_problems


def headings() -> list[tuple[str, str]]:
    """Version and date (or "unreleased") of each section of the changelog."""
    text = (ROOT / "docs" / "changelog.rst").read_text()
    lines = re.findall(r"^(\S.*)\n-+$", text, flags=re.MULTILINE)
    found = [re.fullmatch(r"(\d+\.\d+\.\d+) \((.+)\)", line) for line in lines]
    assert lines
    assert all(found)
    return [(match[1], match[2]) for match in found]


def test_the_changelog_is_dated_newest_first():
    (newest, when), *others = headings()
    assert newest == skgnn_mtl.__version__
    dates = [date.fromisoformat(d) for _, d in others]
    dates = dates if when == "unreleased" else [date.fromisoformat(when), *dates]
    assert dates == sorted(dates, reverse=True)
    versions = [tuple(map(int, v.split("."))) for v, _ in headings()]
    assert versions == sorted(set(versions), reverse=True)


def test_the_citation_has_this_version():
    text = (ROOT / "CITATION.cff").read_text()
    fields = dict(re.findall(r"^([a-z-]+): *(\S.*)$", text, flags=re.MULTILINE))
    assert fields["version"] == skgnn_mtl.__version__
    assert fields["license"] == PROJECT["project"]["license"]
    released = headings()[0][1] != "unreleased"
    assert fields.get("date-released", "unreleased") == headings()[0][1] or not released


def test_a_released_version_has_real_addresses():
    urls = PROJECT["project"]["urls"]
    wanted = ["Homepage", "Documentation", "Changelog", "Source", "Citation", "Issues"]
    assert set(wanted) <= set(urls)
    if headings()[0][1] != "unreleased":
        assert not [url for url in urls.values() if ".example" in url]


def test_crystals_need_no_extra():
    project = PROJECT["project"]
    needed = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert {"gemmi", "pymatgen", "spglib", "rdkit"} <= needed
    assert "crystals" not in project["optional-dependencies"]


def test_types_are_strict_and_the_list_of_exceptions_names_rooms_that_exist():
    mypy = PROJECT["tool"]["mypy"]
    assert mypy["strict"] is True
    rooms = {path.parent.name for path in (ROOT / "skgnn_mtl").glob("*/__init__.py")}
    loose = [m for o in mypy["overrides"] for m in o["module"] if "skgnn_mtl." in m]
    assert {m.split(".")[1] for m in loose} <= rooms
