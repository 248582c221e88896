"""Sphinx configuration."""

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

from skgnn_mtl import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for gallery_order

project = html_title = "skgnn_mtl"
release = __version__
extensions = [
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
html_show_sourcelink = False
# Wide tables need the room, and pages without children do not have a list.
html_sidebars = {
    page: []
    for page in ("benchmarks/*", "changelog", "contributing", "design", "papers")
}
autosummary_generate = True
autodoc_typehints = "none"  # the parameters have their types in words
templates_path = ["_templates"]
numpydoc_show_class_members = False
exclude_patterns = ["_build", "_templates"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"quickstart|plot_",
    "within_subsection_order": "gallery_order.ReadingOrder",
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("skgnn_mtl",),
    "show_memory": False,
    "remove_config_comments": True,
}


def mark_tables_of_figures(app: Sphinx, doctree: nodes.document) -> None:
    """Keep short cells on one line, because "386 ± / 23" cannot be read."""
    for table in doctree.findall(nodes.table):
        cells = [entry.astext() for entry in table.findall(nodes.entry)]
        if max(map(len, cells), default=0) <= 34:
            table["classes"].append("short-cells")


def keep_initials(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Escape "A. Author" behind a label, which else begins a list of items A, B, ..."""
    for i, line in enumerate(lines):
        lines[i] = re.sub(r"^(\s*\.\. \[[^\]]+\] )([A-Z]\. )", r"\1\\\2", line)


def setup(app: Sphinx) -> None:
    """Connect what the build needs beyond its extensions."""
    app.connect("doctree-read", mark_tables_of_figures)
    # numpydoc has made labels of the references by then.
    app.connect("autodoc-process-docstring", keep_initials, priority=900)
