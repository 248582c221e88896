"""Documentation that is true: code that runs, names that are listed."""

import importlib
import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [
    "skgnn_mtl",
    *(
        f"skgnn_mtl.{path.parent.name}"
        for path in sorted((ROOT / "skgnn_mtl").glob("*/__init__.py"))
        if path.parent.name != "training"  # private: estimators are the way in
    ),
]


def blocks(path: Path) -> str:
    """Join the Python blocks of a page."""
    text = path.read_text()
    if path.suffix == ".md":
        return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
    pattern = r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)"
    return "\n".join(textwrap.dedent(code) for code in re.findall(pattern, text))


# The guide shows what invalid rows do: they warn.
@pytest.mark.filterwarnings("default:.*invalid graphs:UserWarning")
@pytest.mark.filterwarnings("default:.*are left out:UserWarning")
@pytest.mark.parametrize("page", ["README.md", "docs/guide.rst", "docs/extend.rst"])
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = blocks(ROOT / page)
    assert code.count("\n") > 10
    exec(compile(code, page, "exec"), {"__name__": "page"})


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_is_sorted_listed_and_documented(room):
    module = importlib.import_module(room)
    assert sorted(module.__all__) == list(module.__all__)
    section = (ROOT / "docs" / "api.rst").read_text().split(f"{room}\n---")[1]
    listed = section.split("currentmodule")[1].split("\n---")[0]
    for name in module.__all__:
        assert f"\n   {name}\n" in listed + "\n", f"{room}.{name} is not in api.rst"
        member = getattr(module, name)
        # The ready-made scorers are objects; their page is that of the metric.
        assert member.__doc__ or name.endswith("_scorer"), f"{room}.{name}"


def test_links_of_the_readme_lead_somewhere():
    links = re.findall(r"\]\((docs/[^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert all((ROOT / link).is_file() for link in links)
